//! Batches for tests, made by an encoder that is not ours.

use bytes::{Bytes, BytesMut};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use proptest::prelude::*;

pub const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// A record of a sample: offset, timestamp, key and value.
#[derive(Clone, Debug)]
pub struct Plain {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
}

pub fn record(plain: &Plain, transactional: bool, producer_id: i64) -> Record {
    Record {
        transactional,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 3,
        producer_id,
        producer_epoch: if producer_id < 0 { -1 } else { 0 },
        timestamp_type: TimestampType::Creation,
        offset: plain.offset,
        // The encoder starts a new batch where sequence and offset drift apart.
        sequence: plain.offset as i32,
        timestamp: plain.timestamp,
        key: plain.key.clone(),
        value: plain.value.clone(),
        headers: [(
            kafka_protocol::protocol::StrBytes::from_static_str("h"),
            Some(Bytes::from_static(b"header")),
        )]
        .into_iter()
        .collect(),
    }
}

/// One batch of `records`, whose offsets must ascend.
pub fn batch(records: &[Plain], compression: Compression) -> Bytes {
    encode(records, compression, false, -1)
}

pub fn encode(
    records: &[Plain],
    compression: Compression,
    transactional: bool,
    producer_id: i64,
) -> Bytes {
    let records: Vec<Record> = records
        .iter()
        .map(|plain| record(plain, transactional, producer_id))
        .collect();
    let mut buf = BytesMut::new();
    RecordBatchEncoder::encode(
        &mut buf,
        &records,
        &RecordEncodeOptions {
            version: 2,
            compression,
        },
    )
    .expect("samples can be encoded");
    buf.freeze()
}

/// `count` records from `base` on, one after the other.
pub fn dense(base: i64, count: i64) -> Vec<Plain> {
    (base..base + count)
        .map(|offset| Plain {
            offset,
            timestamp: 1_700_000_000_000 + offset,
            key: Some(Bytes::from(format!("key-{offset}"))),
            value: Some(Bytes::from(format!("value-{offset}"))),
        })
        .collect()
}

pub fn any_batch() -> impl Strategy<Value = Bytes> {
    (0i64..1 << 40, 1i64..30, 0usize..5, any::<bool>()).prop_map(
        |(base, count, codec, transactional)| {
            encode(
                &dense(base, count),
                CODECS[codec],
                transactional,
                if transactional { 7 } else { -1 },
            )
        },
    )
}

/// A message of format v0 or v1 as a log holds it.
pub fn message(magic: u8, attributes: u8, plain: &Plain) -> Bytes {
    let mut body = vec![magic, attributes];
    if magic == 1 {
        body.extend(plain.timestamp.to_be_bytes());
    }
    for bytes in [&plain.key, &plain.value] {
        let length = bytes.as_ref().map_or(-1, |it| it.len() as i32);
        body.extend(length.to_be_bytes());
        body.extend(bytes.iter().flatten());
    }
    let mut out = plain.offset.to_be_bytes().to_vec();
    out.extend((body.len() as i32 + 4).to_be_bytes());
    out.extend(crc32fast::hash(&body).to_be_bytes());
    out.extend(body);
    Bytes::from(out)
}

/// A compressed set of messages, as a producer of that format sends it and a broker stores it: codec 1 gzip, 2 snappy
/// (framed), 3 lz4, or 4 for snappy as one block. `stamped` is the time that the broker gave it.
pub fn wrapper(magic: u8, codec: u8, inner: &[Plain], stamped: Option<i64>) -> Bytes {
    use std::io::Write;
    let base = inner.first().map_or(0, |it| it.offset);
    let mut set = Vec::new();
    for plain in inner {
        let offset = match magic {
            0 => plain.offset,
            _ => plain.offset - base,
        };
        let plain = Plain {
            offset,
            ..plain.clone()
        };
        set.extend(message(magic, 0, &plain));
    }
    let block = |bytes: &[u8]| {
        snap::raw::Encoder::new()
            .compress_vec(bytes)
            .expect("short")
    };
    let value = match codec {
        1 => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(&set).expect("memory");
            encoder.finish().expect("memory")
        }
        2 => {
            let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
            for part in set.chunks(100) {
                let part = block(part);
                out.extend((part.len() as u32).to_be_bytes());
                out.extend(part);
            }
            out
        }
        3 => {
            let mut encoder = lz4::EncoderBuilder::new()
                .build(Vec::new())
                .expect("memory");
            encoder.write_all(&set).expect("memory");
            let mut out = encoder.finish().0;
            // Producers of format v0 took the checksum over the wrong bytes.
            out[6] ^= u8::from(magic == 0);
            out
        }
        _ => block(&set),
    };
    let times = inner.iter().map(|it| it.timestamp);
    let plain = Plain {
        offset: inner.last().map_or(0, |it| it.offset),
        timestamp: stamped.or(times.max()).unwrap_or(-1),
        key: None,
        value: Some(Bytes::from(value)),
    };
    let codec = if codec == 4 { 2 } else { codec };
    message(magic, codec | u8::from(stamped.is_some()) << 3, &plain)
}
