//! Record batches as bytes: their 61-byte header, the walk over their records, and the few fields
//! that a broker stamps.
//!
//! A broker keeps the bytes that the producer sent and changes the header only; the same is done
//! here, so that what goes in comes out byte for byte. Records are walked without copying them.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::compression::{self, Compressor, Decompressor};

/// Length of a v2 batch header.
pub const HEADER_LEN: usize = 61;
/// Bytes before the length counted by the header's own length field.
const LOG_OVERHEAD: usize = 12;
/// First byte covered by the checksum.
const CRC_FROM: usize = 21;

const ATTRIBUTE_CODEC: i16 = 0b111;
const ATTRIBUTE_LOG_APPEND_TIME: i16 = 1 << 3;
const ATTRIBUTE_TRANSACTIONAL: i16 = 1 << 4;
const ATTRIBUTE_CONTROL: i16 = 1 << 5;

/// The header of one v2 record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub base_offset: i64,
    /// Whole length in bytes, header included.
    pub length: usize,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` when they are too few or the length field
    /// makes no sense. The magic byte is not judged here.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        if bytes.len() < HEADER_LEN {
            return None;
        }
        let length = usize::try_from(i32_at(bytes, 8)).ok()? + LOG_OVERHEAD;
        if length < HEADER_LEN {
            return None;
        }
        Some(Header {
            base_offset: i64_at(bytes, 0),
            length,
            leader_epoch: i32_at(bytes, 12),
            magic: i8::from_be_bytes([bytes[16]]),
            crc: u32::from_be_bytes(array_at(bytes, 17)),
            attributes: i16::from_be_bytes(array_at(bytes, 21)),
            last_offset_delta: i32_at(bytes, 23),
            base_timestamp: i64_at(bytes, 27),
            max_timestamp: i64_at(bytes, 35),
            producer_id: i64_at(bytes, 43),
            producer_epoch: i16::from_be_bytes(array_at(bytes, 51)),
            base_sequence: i32_at(bytes, 53),
            count: i32_at(bytes, 57),
        })
    }

    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    #[must_use]
    pub fn codec(&self) -> i16 {
        self.attributes & ATTRIBUTE_CODEC
    }

    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0
    }

    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & ATTRIBUTE_TRANSACTIONAL != 0
    }

    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }

    #[must_use]
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence number of the last record; sequences wrap from the largest `i32` to 0.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        sequence_after(self.base_sequence, self.last_offset_delta)
    }
}

/// The sequence number `steps` after `sequence`, wrapping as Kafka's do.
#[must_use]
pub fn sequence_after(sequence: i32, steps: i32) -> i32 {
    let modulus = i64::from(i32::MAX) + 1;
    let sum = (i64::from(sequence) + i64::from(steps)) % modulus;
    i32::try_from(sum).expect("a remainder of 2^31 fits an i32")
}

/// Whether the stored checksum is the one of the bytes.
#[must_use]
pub fn crc_matches(bytes: &[u8], header: &Header) -> bool {
    crc32c::crc32c(&bytes[CRC_FROM..header.length]) == header.crc
}

/// One record, as it lies in a decompressed batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkedRecord {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Why the records of a batch could not be walked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    #[error("the compressed records cannot be read: {0}")]
    Compression(String),
    #[error("the records end before the declared count")]
    Short,
    #[error("records remain after the declared count")]
    Long,
    #[error("a record is malformed")]
    Malformed,
}

/// The records' bytes of a batch, decompressed.
pub fn payload(batch: &Bytes, header: &Header) -> Result<Bytes, WalkError> {
    let mut raw = batch.slice(HEADER_LEN..header.length);
    let keep = |plain: &mut Bytes| Ok(plain.clone());
    let result = match header.codec() {
        0 => return Ok(raw),
        1 => compression::Gzip::decompress(&mut raw, |b| Ok(to_bytes(b))),
        2 => compression::Snappy::decompress(&mut raw, keep),
        3 => compression::Lz4::decompress(&mut raw, keep),
        4 => compression::Zstd::decompress(&mut raw, |b| Ok(to_bytes(b))),
        other => return Err(WalkError::Compression(format!("unknown codec {other}"))),
    };
    result.map_err(|error| WalkError::Compression(error.to_string()))
}

fn to_bytes<B: bytes::Buf>(buffer: &mut B) -> Bytes {
    buffer.copy_to_bytes(buffer.remaining())
}

/// Calls `visit` for each of the batch's declared records and makes sure that there are exactly
/// that many.
pub fn walk(
    batch: &Bytes,
    header: &Header,
    mut visit: impl FnMut(WalkedRecord),
) -> Result<(), WalkError> {
    let plain = payload(batch, header)?;
    let mut cursor = Cursor { plain, at: 0 };
    for _ in 0..header.count {
        if cursor.at == cursor.plain.len() {
            return Err(WalkError::Short);
        }
        visit(cursor.record()?);
    }
    if cursor.at == cursor.plain.len() {
        Ok(())
    } else {
        Err(WalkError::Long)
    }
}

/// Reads varints and byte strings without copying.
struct Cursor {
    plain: Bytes,
    at: usize,
}

impl Cursor {
    fn record(&mut self) -> Result<WalkedRecord, WalkError> {
        let length = usize::try_from(self.varint()?).map_err(|_| WalkError::Malformed)?;
        let end = self.at.checked_add(length).ok_or(WalkError::Malformed)?;
        if end > self.plain.len() {
            return Err(WalkError::Short);
        }
        self.at += 1; // the record's attributes: unused by Kafka
        let timestamp_delta = self.varint()?;
        let offset_delta = i32::try_from(self.varint()?).map_err(|_| WalkError::Malformed)?;
        let key = self.byte_string()?;
        let value = self.byte_string()?;
        let header_count = self.varint()?;
        let mut headers = Vec::new();
        for _ in 0..header_count {
            let name = self.byte_string()?.ok_or(WalkError::Malformed)?;
            headers.push((name, self.byte_string()?));
        }
        if self.at != end {
            return Err(WalkError::Malformed);
        }
        Ok(WalkedRecord {
            timestamp_delta,
            offset_delta,
            key,
            value,
            headers,
        })
    }

    fn varint(&mut self) -> Result<i64, WalkError> {
        let mut raw: u64 = 0;
        for shift in (0..70).step_by(7) {
            let byte = *self.plain.get(self.at).ok_or(WalkError::Short)?;
            self.at += 1;
            raw |= u64::from(byte & 0x7f) << shift.min(63);
            if byte & 0x80 == 0 {
                // Zigzag: the lowest bit is the sign.
                return Ok(((raw >> 1) as i64) ^ -((raw & 1) as i64));
            }
        }
        Err(WalkError::Malformed)
    }

    fn byte_string(&mut self) -> Result<Option<Bytes>, WalkError> {
        let length = self.varint()?;
        if length < 0 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| WalkError::Malformed)?;
        let end = self.at.checked_add(length).ok_or(WalkError::Malformed)?;
        if end > self.plain.len() {
            return Err(WalkError::Short);
        }
        let slice = self.plain.slice(self.at..end);
        self.at = end;
        Ok(Some(slice))
    }
}

/// What the leader changes in an accepted batch.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    pub base_offset: i64,
    pub leader_epoch: i32,
}

/// The batch with its place in the log. Neither field is covered by the checksum.
#[must_use]
pub fn stamped(mut batch: BytesMut, stamp: Stamp) -> Bytes {
    batch[0..8].copy_from_slice(&stamp.base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&stamp.leader_epoch.to_be_bytes());
    batch.freeze()
}

/// Sets timestamp type and largest timestamp, and mends the checksum.
pub fn set_timestamps(batch: &mut BytesMut, log_append_time: bool, max_timestamp: i64) {
    let mut attributes = i16::from_be_bytes(array_at(batch, 21));
    if log_append_time {
        attributes |= ATTRIBUTE_LOG_APPEND_TIME;
    } else {
        attributes &= !ATTRIBUTE_LOG_APPEND_TIME;
    }
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    mend_crc(batch);
}

fn mend_crc(batch: &mut BytesMut) {
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// The batch with its records compressed by another codec.
pub fn recompressed(batch: &Bytes, header: &Header, codec: i16) -> Result<BytesMut, WalkError> {
    let plain = payload(batch, header)?;
    let mut out = BytesMut::from(&batch[..HEADER_LEN]);
    let put = |buffer: &mut BytesMut| {
        buffer.put_slice(&plain);
        Ok(())
    };
    let result = match codec {
        0 => put(&mut out),
        1 => compression::Gzip::compress(&mut out, put),
        2 => compression::Snappy::compress(&mut out, put),
        3 => compression::Lz4::compress(&mut out, put),
        _ => compression::Zstd::compress(&mut out, put),
    };
    result.map_err(|error: anyhow::Error| WalkError::Compression(error.to_string()))?;
    let length = i32::try_from(out.len() - LOG_OVERHEAD)
        .map_err(|_| WalkError::Compression("larger than 2 GiB".to_owned()))?;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    let attributes = (header.attributes & !ATTRIBUTE_CODEC) | codec;
    out[21..23].copy_from_slice(&attributes.to_be_bytes());
    mend_crc(&mut out);
    Ok(out)
}

/// A control batch that ends a transaction: one record, one offset, never shown to a consumer.
#[must_use]
pub fn end_marker(
    producer_id: i64,
    producer_epoch: i16,
    commit: bool,
    coordinator_epoch: i32,
    now: i64,
) -> BytesMut {
    let mut record = BytesMut::with_capacity(24);
    record.put_u8(0); // attributes
    record.put_u8(0); // timestamp delta
    record.put_u8(0); // offset delta
    record.put_u8(8); // key length 4, zigzag
    record.put_i16(0); // key version
    record.put_i16(i16::from(commit)); // 0 abort, 1 commit
    record.put_u8(12); // value length 6, zigzag
    record.put_i16(0); // value version
    record.put_i32(coordinator_epoch);
    record.put_u8(0); // no headers

    let mut batch = BytesMut::with_capacity(HEADER_LEN + 1 + record.len());
    batch.put_i64(0);
    let length = HEADER_LEN + 1 + record.len() - LOG_OVERHEAD;
    batch.put_i32(i32::try_from(length).expect("a marker has 78 bytes"));
    batch.put_i32(-1);
    batch.put_i8(2);
    batch.put_u32(0);
    batch.put_i16(ATTRIBUTE_TRANSACTIONAL | ATTRIBUTE_CONTROL);
    batch.put_i32(0);
    batch.put_i64(now);
    batch.put_i64(now);
    batch.put_i64(producer_id);
    batch.put_i16(producer_epoch);
    batch.put_i32(-1);
    batch.put_i32(1);
    batch.put_u8(u8::try_from(record.len() * 2).expect("a marker's record has 17 bytes"));
    batch.put_slice(&record);
    mend_crc(&mut batch);
    batch
}

/// Whether a control batch is a commit; `None` for an abort's or any other control type.
#[must_use]
pub fn is_commit_marker(batch: &Bytes, header: &Header) -> bool {
    let mut commit = false;
    // A control batch that cannot be walked was never written by this broker.
    let _walked = walk(batch, header, |record| {
        commit = record
            .key
            .is_some_and(|key| key.len() >= 4 && key[2..4] == [0, 1]);
    });
    commit
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("the slice has the array's length")
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(array_at(bytes, at))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(array_at(bytes, at))
}

#[cfg(test)]
pub mod testing {
    //! Batches for tests of the broker's parts.

    use super::*;
    use kafka_protocol::records::{
        Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
    };

    /// A batch as a producer sends it.
    #[derive(Clone, Debug)]
    pub struct Draft {
        pub producer_id: i64,
        pub epoch: i16,
        pub sequence: i32,
        pub transactional: bool,
        pub compression: Compression,
        pub timestamp: i64,
        pub records: Vec<(Option<&'static str>, Option<&'static str>)>,
    }

    impl Default for Draft {
        fn default() -> Self {
            Draft {
                producer_id: -1,
                epoch: -1,
                sequence: -1,
                transactional: false,
                compression: Compression::None,
                timestamp: 1_000,
                records: vec![(Some("k"), Some("v"))],
            }
        }
    }

    impl Draft {
        pub fn build(&self) -> Bytes {
            let records: Vec<Record> = self
                .records
                .iter()
                .enumerate()
                .map(|(index, (key, value))| Record {
                    transactional: self.transactional,
                    control: false,
                    delete_horizon: false,
                    partition_leader_epoch: -1,
                    producer_id: self.producer_id,
                    producer_epoch: self.epoch,
                    timestamp_type: TimestampType::Creation,
                    offset: index as i64,
                    sequence: if self.sequence < 0 {
                        // The encoder closes a batch where offset - sequence changes.
                        index as i32 - 1
                    } else {
                        self.sequence.wrapping_add(index as i32)
                    },
                    timestamp: self.timestamp + index as i64,
                    key: key.map(|k| Bytes::from_static(k.as_bytes())),
                    value: value.map(|v| Bytes::from_static(v.as_bytes())),
                    headers: Default::default(),
                })
                .collect();
            let mut out = BytesMut::new();
            let options = RecordEncodeOptions {
                version: 2,
                compression: self.compression,
            };
            RecordBatchEncoder::encode(&mut out, &records, &options).expect("records encode");
            out.freeze()
        }
    }

    /// The bytes with one header field changed and the checksum mended.
    pub fn patched(batch: &Bytes, at: usize, field: &[u8]) -> Bytes {
        let mut bytes = BytesMut::from(&batch[..]);
        bytes[at..at + field.len()].copy_from_slice(field);
        mend_crc(&mut bytes);
        bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Draft, patched};
    use super::*;
    use kafka_protocol::records::{Compression, RecordBatchDecoder};

    #[test]
    fn header_and_records_of_every_codec_are_read() {
        for compression in [
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let batch = Draft {
                compression,
                records: vec![(Some("a"), Some("1")), (None, None), (Some(""), Some("3"))],
                ..Draft::default()
            }
            .build();
            let header = Header::parse(&batch).expect("a whole header");
            assert_eq!(header.count, 3);
            assert_eq!(header.codec(), compression as i16);
            assert!(crc_matches(&batch, &header));
            let mut seen = Vec::new();
            walk(&batch, &header, |record| {
                seen.push((record.offset_delta, record.key))
            })
            .expect("walks");
            assert_eq!(seen[1], (1, None));
            assert_eq!(seen[2], (2, Some(Bytes::new())));
        }
    }

    #[test]
    fn a_wrong_count_is_noticed() {
        let batch = Draft {
            records: vec![(Some("a"), None); 3],
            ..Draft::default()
        }
        .build();
        for (count, error) in [(2i32, WalkError::Long), (4, WalkError::Short)] {
            let bad = patched(&batch, 57, &count.to_be_bytes());
            let header = Header::parse(&bad).expect("a whole header");
            assert_eq!(walk(&bad, &header, |_| ()), Err(error));
        }
    }

    #[test]
    fn the_marker_is_the_one_that_kafka_writes() {
        let marker = end_marker(7, 1, true, 3, 1_000).freeze();
        assert_eq!(marker.len(), 78);
        let header = Header::parse(&marker).expect("a whole header");
        assert!(header.is_control() && header.is_transactional());
        assert!(crc_matches(&marker, &header));
        assert!(is_commit_marker(&marker, &header));
        let set = RecordBatchDecoder::decode(&mut marker.clone()).expect("decodes");
        assert!(set.records[0].control);
    }

    #[test]
    fn recompression_keeps_records() {
        let batch = Draft::default().build();
        let header = Header::parse(&batch).expect("a whole header");
        for codec in 0..=4 {
            let other = recompressed(&batch, &header, codec)
                .expect("compresses")
                .freeze();
            let set = RecordBatchDecoder::decode(&mut other.clone()).expect("decodes");
            assert_eq!(set.records[0].value.as_deref(), Some(&b"v"[..]));
            assert_eq!(Header::parse(&other).expect("a header").codec(), codec);
        }
    }

    #[test]
    fn sequences_wrap_at_the_largest_int() {
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
        assert_eq!(sequence_after(5, 0), 5);
    }
}
