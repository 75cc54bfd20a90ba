//! Batches that cannot be passed on as bytes: decoded, renumbered and encoded again.
//!
//! Needed where a batch has offsets without a record (compaction), where only its end is wanted (a
//! start inside a batch), and where the source stamped the append time and consumers of the copy are to
//! see that time. A record's own bytes from the key on are taken over as they are; only its length,
//! timestamp delta and offset delta are written anew. A header patched over records with gaps would
//! be *accepted* by a broker where the batch is not compressed, and give wrong offsets: hence this.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::compression::{Compressor, Decompressor, Gzip, Lz4, Snappy, Zstd};
use thiserror::Error;

use super::header::{CHECKSUMMED_FROM, CLEARED_ON_COPY, LENGTH_PREFIX};
use super::{BatchHeader, HEADER_LEN};

/// Why a batch could not be decoded.
#[derive(Debug, Error)]
pub enum RepackError {
    #[error("the records of the batch at offset {offset} cannot be decompressed: {cause}")]
    Compression { offset: i64, cause: String },
    #[error("the batch at offset {offset} is malformed in record {record} of {count}")]
    Malformed {
        offset: i64,
        record: i32,
        count: i32,
    },
    /// Encoding it anew would give wrong bytes a right checksum.
    #[error("the batch at offset {offset} does not match its checksum")]
    Checksum { offset: i64 },
    #[error("the batch at offset {offset} uses codec {codec}, which is unknown here")]
    UnknownCodec { offset: i64, codec: i16 },
}

/// What to keep of a batch and how to stamp it.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// Records before this source offset are left out.
    pub from: i64,
    /// Give every record the batch's append time, as a consumer of the source sees it.
    pub append_time: bool,
}

/// A batch without gaps, and where its records lay at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repacked {
    /// A whole batch with a right checksum, offsets from 0, no producer.
    pub batch: Bytes,
    /// Source offsets of its records as (first, count), ascending.
    pub segments: Vec<(i64, i64)>,
}

/// The batch with only what `want` keeps; `None` where nothing is left.
///
/// # Errors
/// Where the records cannot be decompressed or do not decode.
pub fn repack(
    header: &BatchHeader,
    batch: &Bytes,
    want: Want,
) -> Result<Option<Repacked>, RepackError> {
    if crc32c::crc32c(&batch[CHECKSUMMED_FROM..]) != header.crc {
        return Err(RepackError::Checksum {
            offset: header.base_offset,
        });
    }
    let records = decompressed(header, batch)?;
    let kept = renumbered(header, records, want)?;
    if kept.count == 0 {
        return Ok(None);
    }
    let base_timestamp = if want.append_time {
        header.max_timestamp
    } else {
        header.base_timestamp
    };
    let mut out = BytesMut::with_capacity(HEADER_LEN + kept.records.len());
    out.put_i64(0);
    out.put_i32(0); // length, below
    out.put_i32(-1);
    out.put_i8(2);
    out.put_u32(0); // checksum, below
    out.put_i16(header.attributes & !CLEARED_ON_COPY);
    out.put_i32(kept.count - 1);
    out.put_i64(base_timestamp);
    out.put_i64(kept.max_timestamp);
    out.put_i64(-1);
    out.put_i16(-1);
    out.put_i32(-1);
    out.put_i32(kept.count);
    out.put_slice(&compressed(header, kept.records)?);
    let length = i32::try_from(out.len() - LENGTH_PREFIX).map_err(|_| RepackError::Malformed {
        offset: header.base_offset,
        record: 0,
        count: header.count,
    })?;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    let checksum = crc32c::crc32c(&out[CHECKSUMMED_FROM..]);
    out[17..21].copy_from_slice(&checksum.to_be_bytes());
    Ok(Some(Repacked {
        batch: out.freeze(),
        segments: kept.segments,
    }))
}

struct Kept {
    records: BytesMut,
    count: i32,
    max_timestamp: i64,
    segments: Vec<(i64, i64)>,
}

fn renumbered(header: &BatchHeader, mut records: Bytes, want: Want) -> Result<Kept, RepackError> {
    let mut kept = Kept {
        records: BytesMut::with_capacity(records.len()),
        count: 0,
        max_timestamp: i64::MIN,
        segments: Vec::new(),
    };
    let mut next_delta = 0;
    for index in 0..header.count {
        let malformed = || RepackError::Malformed {
            offset: header.base_offset,
            record: index,
            count: header.count,
        };
        let record = RawRecord::take(&mut records).ok_or_else(malformed)?;
        // Wrapping: these are a broker's bytes, and nonsense must not stop the worker.
        let offset = header.base_offset.wrapping_add(record.offset_delta);
        if record.offset_delta < next_delta
            || record.offset_delta > i64::from(header.last_offset_delta)
        {
            return Err(malformed());
        }
        next_delta = record.offset_delta + 1;
        if offset < want.from {
            continue;
        }
        let (timestamp, timestamp_delta) = if want.append_time {
            (header.max_timestamp, 0)
        } else {
            (
                header.base_timestamp.wrapping_add(record.timestamp_delta),
                record.timestamp_delta,
            )
        };
        record.put(&mut kept.records, timestamp_delta, i64::from(kept.count));
        kept.count += 1;
        kept.max_timestamp = kept.max_timestamp.max(timestamp);
        match kept.segments.last_mut() {
            Some((first, count)) if first.wrapping_add(*count) == offset => *count += 1,
            _ => kept.segments.push((offset, 1)),
        }
    }
    Ok(kept)
}

/// A record with everything behind the offset delta left encoded.
struct RawRecord {
    attributes: u8,
    timestamp_delta: i64,
    offset_delta: i64,
    /// Key, value and headers.
    body: Bytes,
}

impl RawRecord {
    fn take(records: &mut Bytes) -> Option<Self> {
        let length = usize::try_from(take_varint(records)?).ok()?;
        if length > records.len() {
            return None;
        }
        let mut record = records.split_to(length);
        if record.is_empty() {
            return None;
        }
        let attributes = record.get_u8();
        let timestamp_delta = take_varint(&mut record)?;
        let offset_delta = take_varint(&mut record)?;
        Some(Self {
            attributes,
            timestamp_delta,
            offset_delta,
            body: record,
        })
    }

    fn put(&self, out: &mut BytesMut, timestamp_delta: i64, offset_delta: i64) {
        let length = 1 + varint_len(timestamp_delta) + varint_len(offset_delta) + self.body.len();
        put_varint(
            out,
            i64::try_from(length).expect("a record is shorter than 2^63 bytes"),
        );
        out.put_u8(self.attributes);
        put_varint(out, timestamp_delta);
        put_varint(out, offset_delta);
        out.put_slice(&self.body);
    }
}

/// A zigzag varint of up to ten bytes (Kafka's varint and varlong).
fn take_varint(buf: &mut Bytes) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        if buf.is_empty() {
            return None;
        }
        let byte = buf.get_u8();
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.put_u8(u8::try_from(rest & 0x7f).expect("seven bits fit") | 0x80);
        rest >>= 7;
    }
    out.put_u8(u8::try_from(rest).expect("seven bits fit"));
}

fn varint_len(value: i64) -> usize {
    let bits = 64 - zigzag(value).leading_zeros() as usize;
    bits.div_ceil(7).max(1)
}

fn decompressed(header: &BatchHeader, batch: &Bytes) -> Result<Bytes, RepackError> {
    let mut payload = batch.slice(HEADER_LEN..);
    fn whole<B: Buf>(buf: &mut B) -> anyhow::Result<Bytes> {
        Ok(buf.copy_to_bytes(buf.remaining()))
    }
    let result = match header.codec() {
        0 => Ok(payload),
        1 => Gzip::decompress(&mut payload, whole),
        2 => Snappy::decompress(&mut payload, whole),
        3 => Lz4::decompress(&mut payload, whole),
        4 => Zstd::decompress(&mut payload, whole),
        codec => {
            return Err(RepackError::UnknownCodec {
                offset: header.base_offset,
                codec,
            });
        }
    };
    result.map_err(|cause| compression_error(header, &cause))
}

fn compressed(header: &BatchHeader, records: BytesMut) -> Result<Bytes, RepackError> {
    let mut out = BytesMut::new();
    let fill = |buf: &mut BytesMut| {
        buf.put_slice(&records);
        Ok(())
    };
    let result = match header.codec() {
        0 => return Ok(records.freeze()),
        1 => Gzip::compress(&mut out, fill),
        2 => Snappy::compress(&mut out, fill),
        3 => Lz4::compress(&mut out, fill),
        4 => Zstd::compress(&mut out, fill),
        codec => {
            return Err(RepackError::UnknownCodec {
                offset: header.base_offset,
                codec,
            });
        }
    };
    result.map_err(|cause| compression_error(header, &cause))?;
    Ok(out.freeze())
}

fn compression_error(header: &BatchHeader, cause: &anyhow::Error) -> RepackError {
    RepackError::Compression {
        offset: header.base_offset,
        cause: format!("{cause:#}"),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::records::RecordBatchDecoder;
    use proptest::prelude::*;

    use super::super::samples::{self, CODECS, Plain};
    use super::*;

    fn decoded(batch: &Bytes) -> Vec<kafka_protocol::records::Record> {
        let mut buf = batch.clone();
        RecordBatchDecoder::decode(&mut buf)
            .expect("a repacked batch decodes")
            .records
    }

    proptest! {
        /// Without this, a compacted topic would arrive with other records, keys or times.
        #[test]
        fn every_wanted_record_arrives_once_with_its_content(
            keep in proptest::collection::vec(any::<bool>(), 1..40),
            codec in 0usize..5,
            from in 0i64..45,
            base in 0i64..1 << 40,
        ) {
            let records: Vec<Plain> = samples::dense(base, keep.len() as i64)
                .into_iter()
                .zip(&keep)
                .filter_map(|(record, keep)| keep.then_some(record))
                .collect();
            prop_assume!(!records.is_empty());
            let batch = gappy(&records, CODECS[codec]);
            let header = BatchHeader::parse(&batch).expect("a sample is a batch");
            let from = base + from;
            let wanted: Vec<&Plain> = records.iter().filter(|record| record.offset >= from).collect();
            let repacked = repack(&header, &batch, Want { from, append_time: false }).expect("it decodes");
            let Some(repacked) = repacked else {
                prop_assert!(wanted.is_empty());
                return Ok(());
            };
            let out = BatchHeader::parse(&repacked.batch).expect("a repacked batch is a batch");
            prop_assert!(out.is_dense());
            prop_assert_eq!(out.codec(), header.codec());
            prop_assert_eq!(crc32c::crc32c(&repacked.batch[CHECKSUMMED_FROM..]), out.crc);
            let got = decoded(&repacked.batch);
            prop_assert_eq!(got.len(), wanted.len());
            for (index, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
                prop_assert_eq!(got.offset, index as i64);
                prop_assert_eq!(got.timestamp, wanted.timestamp);
                prop_assert_eq!(&got.key, &wanted.key);
                prop_assert_eq!(&got.value, &wanted.value);
                prop_assert_eq!(got.headers.len(), 1);
            }
            let offsets: Vec<i64> = repacked
                .segments
                .iter()
                .flat_map(|(first, count)| *first..first + count)
                .collect();
            prop_assert_eq!(offsets, wanted.iter().map(|record| record.offset).collect::<Vec<_>>());
        }

        #[test]
        fn garbage_is_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), codec in 0i16..5) {
            let mut batch = samples::batch(&samples::dense(0, 3), samples::CODECS[0]).to_vec();
            batch.truncate(HEADER_LEN);
            batch.extend_from_slice(&bytes);
            let length = i32::try_from(batch.len() - LENGTH_PREFIX).expect("small");
            batch[8..12].copy_from_slice(&length.to_be_bytes());
            batch[21..23].copy_from_slice(&codec.to_be_bytes());
            let checksum = crc32c::crc32c(&batch[CHECKSUMMED_FROM..]);
            batch[17..21].copy_from_slice(&checksum.to_be_bytes());
            let batch = Bytes::from(batch);
            let header = BatchHeader::parse(&batch).expect("the header is whole");
            let _outcome = repack(&header, &batch, Want { from: 0, append_time: false });
        }
    }

    /// A batch as the log cleaner leaves it: one batch, offsets missing inside.
    fn gappy(records: &[Plain], compression: kafka_protocol::records::Compression) -> Bytes {
        samples::batch(records, compression)
    }

    /// Without this, a byte that was spoilt on its way would arrive with a right checksum.
    #[test]
    fn a_spoilt_batch_is_not_encoded_anew() {
        let mut spoilt = samples::batch(&samples::dense(10, 5), CODECS[0]).to_vec();
        let last = spoilt.len() - 1;
        spoilt[last] ^= 1;
        let spoilt = Bytes::from(spoilt);
        let header = BatchHeader::parse(&spoilt).expect("the header is whole");
        let want = Want {
            from: 12,
            append_time: false,
        };
        let outcome = repack(&header, &spoilt, want);
        assert!(
            matches!(outcome, Err(RepackError::Checksum { offset: 10 })),
            "{outcome:?}"
        );
    }

    #[test]
    fn append_time_becomes_the_time_of_every_record() {
        let batch = samples::batch(&samples::dense(10, 5), CODECS[3]);
        let header = BatchHeader::parse(&batch).expect("a sample is a batch");
        let repacked = repack(
            &header,
            &batch,
            Want {
                from: 0,
                append_time: true,
            },
        )
        .expect("it decodes")
        .expect("records are left");
        for record in decoded(&repacked.batch) {
            assert_eq!(record.timestamp, header.max_timestamp);
        }
    }

    #[test]
    fn varints_take_the_bytes_they_say() {
        for value in [0, -1, 1, 63, 64, -64, -65, 1 << 20, i64::MAX, i64::MIN] {
            let mut buf = BytesMut::new();
            put_varint(&mut buf, value);
            assert_eq!(buf.len(), varint_len(value));
            assert_eq!(take_varint(&mut buf.freeze()), Some(value));
        }
    }
}
