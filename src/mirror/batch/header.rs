//! The 61-byte header of a record batch, magic 2 (KIP-98; `DefaultRecordBatch` in Apache Kafka).

use bytes::Bytes;
use thiserror::Error;

use super::crc;

/// Bytes before the records.
pub const HEADER_LEN: usize = 61;
/// Bytes before `batchLength` counts: base offset and the length itself.
pub const LENGTH_PREFIX: usize = 12;
/// First byte that the checksum covers: the attributes.
pub const CHECKSUMMED_FROM: usize = 21;

/// Where the format's number is, in messages of older formats too.
pub(super) const MAGIC_AT: usize = 16;
const CODEC_MASK: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;
/// Attribute bits that a copy must not carry: append time, transactional, control, delete horizon.
pub const CLEARED_ON_COPY: i16 = LOG_APPEND_TIME | TRANSACTIONAL | CONTROL | DELETE_HORIZON;

/// Why bytes are no record batch.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HeaderError {
    /// Fewer bytes than the batch says it has: the cut end of a fetch answer, no mistake.
    #[error("the batch is cut short")]
    Incomplete,
    #[error("message format v{magic} at offset {offset}, where a record batch (v2) should be")]
    OtherFormat { magic: i8, offset: i64 },
    #[error("batch at offset {offset} claims {length} bytes, less than a header")]
    TooShort { offset: i64, length: i64 },
    #[error(
        "batch at offset {offset} claims {count} records up to {delta} offsets after its first"
    )]
    Counts { offset: i64, count: i32, delta: i32 },
    #[error("a message says that it is at offset {offset}")]
    Offset { offset: i64 },
}

/// What the header of a batch says. Offsets are those of the log it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes of the whole batch, header included.
    pub len: usize,
    pub leader_epoch: i32,
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

/// Identifies a batch's records wherever a copy of it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentKey {
    pub payload_crc: u32,
    pub payload_len: usize,
    pub count: i32,
    pub base_timestamp: i64,
    pub codec: i16,
}

impl BatchHeader {
    /// Reads the header of the batch at the front of `bytes`.
    ///
    /// # Errors
    /// [`HeaderError::Incomplete`] where the batch is not whole, which is how a fetch answer may end.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() < MAGIC_AT + 1 {
            return Err(HeaderError::Incomplete);
        }
        let base_offset = i64::from_be_bytes(field(bytes, 0));
        let length = i32::from_be_bytes(field(bytes, 8));
        let magic = i8::from_be_bytes(field(bytes, MAGIC_AT));
        if magic != 2 {
            return Err(HeaderError::OtherFormat {
                magic,
                offset: base_offset,
            });
        }
        let len = usize::try_from(length)
            .ok()
            .map(|length| length + LENGTH_PREFIX)
            .filter(|len| *len >= HEADER_LEN)
            .ok_or(HeaderError::TooShort {
                offset: base_offset,
                length: i64::from(length),
            })?;
        if bytes.len() < len {
            return Err(HeaderError::Incomplete);
        }
        let delta = i32::from_be_bytes(field(bytes, 23));
        let count = i32::from_be_bytes(field(bytes, 57));
        let end = base_offset.checked_add(i64::from(delta) + 1);
        if base_offset < 0 || end.is_none() || count < 0 || i64::from(count) > i64::from(delta) + 1
        {
            return Err(HeaderError::Counts {
                offset: base_offset,
                count,
                delta,
            });
        }
        Ok(Self {
            base_offset,
            len,
            leader_epoch: i32::from_be_bytes(field(bytes, 12)),
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: i16::from_be_bytes(field(bytes, 21)),
            last_offset_delta: delta,
            base_timestamp: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)),
            producer_id: i64::from_be_bytes(field(bytes, 43)),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            count,
        })
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .wrapping_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether the broker stamped the batch on append (`message.timestamp.type=LogAppendTime`).
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn codec(&self) -> i16 {
        codec_of(self.attributes)
    }

    /// Whether every offset from first to last has a record, so that the records can stay as they are.
    pub fn is_dense(&self) -> bool {
        i64::from(self.last_offset_delta) + 1 == i64::from(self.count)
    }

    /// What identifies the records of `batch`, of which this is the header.
    pub fn content_key(&self, batch: &[u8]) -> ContentKey {
        let payload_len = self.len - HEADER_LEN;
        ContentKey {
            payload_crc: crc::of_payload(
                self.crc,
                &batch[CHECKSUMMED_FROM..HEADER_LEN],
                payload_len,
            ),
            payload_len,
            count: self.count,
            base_timestamp: self.base_timestamp,
            codec: self.codec(),
        }
    }
}

/// The codec that attributes name, in messages of older formats too.
pub(super) fn codec_of(attributes: i16) -> i16 {
    attributes & CODEC_MASK
}

/// `N` bytes at `at`; callers have checked the length.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has N bytes")
}

/// The whole batches at the front of a fetch answer; the cut one at its end is left out.
#[derive(Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    pub fn new(records: Bytes) -> Self {
        Self { rest: records }
    }

    /// What was not taken yet.
    pub(super) fn into_rest(self) -> Bytes {
        self.rest
    }
}

impl Iterator for Batches {
    type Item = Result<(BatchHeader, Bytes), HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        match BatchHeader::parse(&self.rest) {
            Ok(header) => {
                let batch = self.rest.split_to(header.len);
                Some(Ok((header, batch)))
            }
            Err(HeaderError::Incomplete) => None,
            Err(error) => {
                self.rest.clear();
                Some(Err(error))
            }
        }
    }
}

/// What a control record decides (`ControlRecordType`; key: version i16, type i16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    Abort,
    Commit,
    /// Leader changes and whatever later versions add: nothing for a copier.
    Other,
}

/// The marker in a control batch. Control batches are never compressed and hold one record.
pub fn marker(batch: &[u8]) -> Marker {
    let mut at = HEADER_LEN;
    // Record: length varint, attributes i8, timestamp delta varlong, offset delta varint, key length varint.
    let mut skip = |fixed: usize| -> Option<()> {
        at += fixed;
        while batch.get(at)? & 0x80 != 0 {
            at += 1;
        }
        at += 1;
        Some(())
    };
    let found = skip(0)
        .and_then(|()| skip(1))
        .and_then(|()| skip(0))
        .and_then(|()| skip(0));
    match found.and_then(|()| batch.get(at + 2..at + 4)) {
        Some([0, 0]) => Marker::Abort,
        Some([0, 1]) => Marker::Commit,
        _ => Marker::Other,
    }
}
