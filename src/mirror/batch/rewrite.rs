//! A batch made ready for the destination by changing its header alone.
//!
//! The base offset becomes 0 and the leader epoch -1 (a leader sets both, and refuses a client's
//! batch that does not start at 0); producer id, epoch and sequence become the mirror's own; the
//! bits for append time, transactions, control and delete horizon are cleared. The records stay
//! the same bytes in the same compression.

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{CHECKSUMMED_FROM, CLEARED_ON_COPY, LENGTH_PREFIX};
use super::{BatchHeader, HEADER_LEN, crc};

/// Whose batch it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Data records written to the partition before this batch.
    pub count: i64,
}

impl Stamp {
    /// The base sequence: the count modulo 2^31, as the sequence wraps to 0 after 2^31 - 1.
    pub fn sequence(&self) -> i32 {
        sequence_of(self.count)
    }
}

/// The sequence number of the record written after `count` others.
pub fn sequence_of(count: i64) -> i32 {
    i32::try_from(count & i64::from(i32::MAX)).expect("31 bits fit")
}

/// A batch as it goes to the destination: a header of its own, the source's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    pub header: Bytes,
    /// The source's bytes, not copied.
    pub records: Bytes,
}

impl Rewritten {
    /// Bytes of the whole batch.
    pub fn size(&self) -> usize {
        self.header.len() + self.records.len()
    }
}

/// `batch`, whose header is `header`, as the destination's leader takes it.
pub fn rewritten(header: &BatchHeader, batch: &Bytes, stamp: Stamp) -> Rewritten {
    let payload_len = batch.len() - HEADER_LEN;
    let mut head = BytesMut::with_capacity(HEADER_LEN);
    head.put_i64(0);
    head.put_slice(&batch[8..LENGTH_PREFIX]);
    head.put_i32(-1);
    head.put_i8(2);
    head.put_u32(0); // the checksum, known only once the rest of the header is
    head.put_i16(header.attributes & !CLEARED_ON_COPY);
    head.put_i32(header.last_offset_delta);
    head.put_i64(header.base_timestamp);
    head.put_i64(header.max_timestamp);
    head.put_i64(stamp.producer_id);
    head.put_i16(stamp.producer_epoch);
    head.put_i32(stamp.sequence());
    head.put_i32(header.count);
    let patched = crc::patched(
        header.crc,
        &batch[CHECKSUMMED_FROM..HEADER_LEN],
        &head[CHECKSUMMED_FROM..HEADER_LEN],
        payload_len,
    );
    head[17..21].copy_from_slice(&patched.to_be_bytes());
    Rewritten {
        header: head.freeze(),
        records: batch.slice(HEADER_LEN..),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    proptest! {
        #[test]
        fn a_copy_keeps_the_records_and_has_a_right_checksum(
            sample in samples::any_batch(),
            producer_id in 0i64..1_000_000,
            count in 0i64..(1 << 40),
        ) {
            let header = BatchHeader::parse(&sample).expect("a sample is a batch");
            let stamp = Stamp { producer_id, producer_epoch: 0, count };
            let copy = rewritten(&header, &sample, stamp);
            let copy = [&copy.header[..], &copy.records[..]].concat();
            let copied = BatchHeader::parse(&copy).expect("a copy is a batch");
            prop_assert_eq!(crc32c::crc32c(&copy[CHECKSUMMED_FROM..]), copied.crc);
            prop_assert_eq!(&copy[HEADER_LEN..], &sample[HEADER_LEN..]);
            prop_assert_eq!(copied.base_offset, 0);
            prop_assert_eq!(copied.producer_id, producer_id);
            prop_assert_eq!(i64::from(copied.base_sequence), count % (1 << 31));
            prop_assert_eq!(copied.count, header.count);
            prop_assert!(!copied.is_transactional() && !copied.is_control());
            prop_assert_eq!(copied.content_key(&copy), header.content_key(&sample));
        }
    }

    #[test]
    fn the_sequence_wraps_to_zero_after_its_largest_value() {
        assert_eq!(sequence_of(i64::from(i32::MAX)), i32::MAX);
        assert_eq!(sequence_of(i64::from(i32::MAX) + 1), 0);
    }
}
