//! Batches that take up offsets before a copy begins.
//!
//! A log's records get the offsets that they have at the source only where it already reaches up to the
//! first of them. Nothing but records moves a log's end that far, so it is filled with the smallest there
//! are and its start is moved behind them (`DeleteRecords`) before anything is copied. A batch of
//! 100,000 null records takes some 60 KB in zstd, and brokers take some 20 million of them a second; with larger batches
//! they get slower.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::compression::{Compressor, Zstd};

use super::BatchHeader;
use super::repack::{RepackError, Shape, digests, put_varint};

/// Records in a full batch; few in tests, which write and read many.
pub const RECORDS_A_BATCH: i64 = if cfg!(test) { 100 } else { 100_000 };

/// What taking up offsets costs, about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Written to the destination's log.
    pub bytes: u64,
    pub seconds: u64,
}

/// What it costs to take up so many offsets before the first record: by filler, or by control markers where a topic is only
/// compacted. As measured with one broker on two cores.
pub fn cost(offsets: u64, by_markers: bool) -> Cost {
    let (bytes_of_a_million, a_second) = if by_markers {
        (78_000_000, 50_000)
    } else {
        (600_000, 20_000_000)
    };
    Cost {
        bytes: offsets.div_ceil(1_000) * (bytes_of_a_million / 1_000),
        seconds: offsets.div_ceil(a_second),
    }
}

/// The attribute bits of zstd.
const ZSTD: i16 = 4;
/// The key that all filler records of a compacted topic have: such a topic takes none without a key.
const KEY: &[u8] = b"_kmirror.filler";

/// A batch of `count` records without a value; with a key where the topic is (also) compacted.
///
/// `count` is between 1 and [`RECORDS_A_BATCH`].
pub fn batch(count: i64, keyed: bool, timestamp: i64) -> Bytes {
    let shape = Shape {
        attributes: ZSTD,
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        count: i32::try_from(count).expect("a batch holds at most RECORDS_A_BATCH"),
    };
    shape
        .batch(&records(count, keyed))
        .expect("compressed filler is far smaller than a batch can be")
}

/// Whether a batch is of this kind.
///
/// # Errors
/// Where its records do not decode.
pub fn is_filler(header: &BatchHeader, batch: &Bytes) -> Result<bool, RepackError> {
    if header.codec() != ZSTD || header.base_timestamp != header.max_timestamp {
        return Ok(false);
    }
    let known =
        [false, true].map(|keyed| crc32c::crc32c_append(crc32c::crc32c(&[0]), &body(keyed)));
    let found = digests(header, batch)?;
    Ok(found.iter().all(|found| known.contains(&found.content)))
}

/// Compressed records; full batches are encoded once.
fn records(count: i64, keyed: bool) -> Bytes {
    static FULL: LazyLock<Mutex<HashMap<bool, Bytes>>> = LazyLock::new(Mutex::default);
    if count < RECORDS_A_BATCH {
        return encode(count, keyed);
    }
    let mut full = FULL.lock().expect("encoding does not panic");
    let entry = full.entry(keyed);
    entry.or_insert_with(|| encode(count, keyed)).clone()
}

/// A record from its key on.
fn body(keyed: bool) -> Bytes {
    let mut body = BytesMut::new();
    if keyed {
        put_varint(
            &mut body,
            i64::try_from(KEY.len()).expect("a short constant"),
        );
        body.put_slice(KEY);
    } else {
        put_varint(&mut body, -1);
    }
    put_varint(&mut body, -1); // no value
    put_varint(&mut body, 0); // no headers
    body.freeze()
}

fn encode(count: i64, keyed: bool) -> Bytes {
    let body = body(keyed);
    let mut out = BytesMut::new();
    Zstd::compress(&mut out, |buf| {
        let mut record = BytesMut::new();
        for delta in 0..count {
            record.clear();
            record.put_u8(0); // attributes
            put_varint(&mut record, 0);
            put_varint(&mut record, delta);
            record.put_slice(&body);
            let mut length = BytesMut::new();
            put_varint(
                &mut length,
                i64::try_from(record.len()).expect("a few bytes"),
            );
            buf.put_slice(&length);
            buf.put_slice(&record);
        }
        Ok(())
    })
    .expect("compressing into memory does not fail");
    out.freeze()
}

#[cfg(test)]
mod tests {
    use kafka_protocol::records::{Compression, RecordBatchDecoder};

    use super::super::header::CHECKSUMMED_FROM;
    use super::super::samples;
    use super::*;

    /// A batch with another number of records than it says would be refused, or shift every offset after it.
    #[test]
    fn filler_is_a_batch_of_exactly_so_many_records() {
        for (count, keyed) in [(1, false), (77, true), (RECORDS_A_BATCH, false)] {
            let batch = batch(count, keyed, 1_700_000_000_000);
            let header = BatchHeader::parse(&batch).expect("filler is a batch");
            assert!(header.is_dense());
            assert_eq!(crc32c::crc32c(&batch[CHECKSUMMED_FROM..]), header.crc);
            let records = RecordBatchDecoder::decode(&mut batch.clone())
                .expect("it decodes")
                .records;
            assert_eq!(records.len() as i64, count);
            assert!(
                records.iter().all(|record| record.value.is_none()
                    && record.key.as_deref() == keyed.then_some(KEY))
            );
            assert_eq!(records.last().expect("some").offset, count - 1);
            assert!(is_filler(&header, &batch).expect("it decodes"));
            // Tombstones of a source are none.
            let mut keyed = samples::dense(0, count);
            for record in &mut keyed {
                record.timestamp = 5;
                record.value = None;
            }
            let copied = samples::batch(&keyed, Compression::Zstd);
            let header = BatchHeader::parse(&copied).expect("a batch");
            assert!(!is_filler(&header, &copied).expect("it decodes"));
        }
        assert!(encode(100_000, false).len() < 100_000);
    }
}
