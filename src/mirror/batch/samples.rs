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
