//! Messages of formats v0 and v1, which brokers wrote before Kafka 0.11 and hand out as they are where such segments
//! are left (`LegacyRecord` and `AbstractLegacyRecordBatch` in Apache Kafka).
//!
//! A message stands for itself, or is a wrapper whose value is a compressed set of messages: then the wrapper's offset
//! is that of the last one inside. Inner offsets are the log's own in format v0 and count from any number in v1.
//! Here they become batches: a wrapper one of its codec, messages by themselves as many as fit into one. Key,
//! value and time are what a consumer of the source sees; headers did not exist.

use bytes::{Buf, Bytes};

use super::codec;
use super::header::{Batches, HeaderError, MAGIC_AT, codec_of, field};
use super::repack::{Kept, RawRecord, RepackError, Repacked, Want, compression_error};
use super::{BatchHeader, header::LENGTH_PREFIX};

/// Where what the checksum covers begins.
const CHECKSUMMED_FROM: usize = MAGIC_AT;
const LOG_APPEND_TIME: i16 = 1 << 3;
/// The time of a message that has none, which is every one of format v0.
const NO_TIMESTAMP: i64 = -1;
/// Messages by themselves are put together up to so many bytes, well below what a topic takes by default.
const TOGETHER: usize = 256 << 10;

/// What a log is made of.
#[derive(Debug)]
pub enum Entry {
    Batch(BatchHeader, Bytes),
    Message(Framed),
}

/// The whole entries at the front of a fetch answer; the cut one at its end is left out.
#[derive(Debug)]
pub struct Entries {
    rest: Bytes,
}

impl Entries {
    pub fn new(records: Bytes) -> Self {
        Self { rest: records }
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        if !matches!(self.rest.get(MAGIC_AT), Some(0 | 1)) {
            let mut batches = Batches::new(std::mem::take(&mut self.rest));
            let found = batches.next();
            self.rest = batches.into_rest();
            return found.map(|found| found.map(|(header, batch)| Entry::Batch(header, batch)));
        }
        match Framed::take(&mut self.rest) {
            Ok(message) => Some(Ok(Entry::Message(message))),
            Err(HeaderError::Incomplete) => None,
            Err(error) => {
                self.rest.clear();
                Some(Err(error))
            }
        }
    }
}

/// A message's bytes, not looked into yet.
#[derive(Clone, Debug)]
pub struct Framed {
    /// Where it lies; of a wrapper, where its last message does.
    pub offset: i64,
    magic: u8,
    /// All of it, offset and size included.
    bytes: Bytes,
}

impl Framed {
    /// Takes the message in front.
    fn take(rest: &mut Bytes) -> Result<Self, HeaderError> {
        if rest.len() <= MAGIC_AT {
            return Err(HeaderError::Incomplete);
        }
        let offset = i64::from_be_bytes(field(rest, 0));
        let size = i32::from_be_bytes(field(rest, 8));
        let magic = rest[MAGIC_AT];
        let least = match magic {
            // Checksum, format, attributes and the lengths of key and value.
            0 => 14,
            // And the time.
            1 => 22,
            other => {
                return Err(HeaderError::OtherFormat {
                    magic: other.cast_signed(),
                    offset,
                });
            }
        };
        // A message's offset is followed by another one.
        if !(0..i64::MAX).contains(&offset) {
            return Err(HeaderError::Offset { offset });
        }
        let len = usize::try_from(size)
            .ok()
            .filter(|size| *size >= least)
            .map(|size| size + LENGTH_PREFIX)
            .ok_or(HeaderError::TooShort {
                offset,
                length: i64::from(size),
            })?;
        if rest.len() < len {
            return Err(HeaderError::Incomplete);
        }
        Ok(Self {
            offset,
            magic,
            bytes: rest.split_to(len),
        })
    }

    /// The offset after it.
    pub fn next_offset(&self) -> i64 {
        self.offset + 1
    }

    fn malformed(&self, problem: &'static str) -> RepackError {
        RepackError::MalformedMessage {
            offset: self.offset,
            problem,
        }
    }

    fn decoded(&self) -> Result<Message, RepackError> {
        let checksum = u32::from_be_bytes(field(&self.bytes, LENGTH_PREFIX));
        if crc32fast::hash(&self.bytes[CHECKSUMMED_FROM..]) != checksum {
            return Err(RepackError::MessageChecksum {
                offset: self.offset,
            });
        }
        let mut rest = self.bytes.slice(MAGIC_AT + 1..);
        let attributes = i16::from(rest.get_u8());
        let timestamp = match self.magic {
            0 => NO_TIMESTAMP,
            _ => rest.get_i64(),
        };
        let key = take_bytes(&mut rest).ok_or_else(|| self.malformed("its key"))?;
        let value = take_bytes(&mut rest).ok_or_else(|| self.malformed("its value"))?;
        Ok(Message {
            offset: self.offset,
            attributes,
            timestamp,
            key,
            value,
        })
    }

    /// What a wrapper holds, as consumers see it.
    fn unwrapped(&self, wrapper: &Message, append_time: bool) -> Result<Vec<Message>, RepackError> {
        let value = wrapper.value.clone();
        let value = value.ok_or_else(|| self.malformed("it is compressed and has no value"))?;
        let inside = match self.magic {
            // Never written so: the first codec after these formats came with a broker that refuses it in them.
            _ if wrapper.codec() == ZSTD => Err(codec::CodecError::Unknown(ZSTD)),
            0 => codec::decompressed_v0(wrapper.codec(), value),
            _ => codec::decompressed(wrapper.codec(), value),
        };
        let mut inside = inside.map_err(|error| compression_error(self.offset, error))?;
        let stamped = (append_time && self.magic == 1 && wrapper.is_log_append_time())
            .then_some(wrapper.timestamp);
        let mut messages: Vec<Message> = Vec::new();
        loop {
            let framed = match Self::take(&mut inside) {
                Ok(framed) => framed,
                // Brokers and consumers take a cut end for the end, too.
                Err(HeaderError::Incomplete) => break,
                Err(_) => return Err(self.malformed("what it holds are no messages")),
            };
            let mut message = framed.decoded().map_err(|error| match error {
                RepackError::MessageChecksum { .. } => self.malformed("a checksum inside"),
                _ => self.malformed("a message inside"),
            })?;
            if message.codec() != 0 {
                return Err(self.malformed("what it holds is compressed once more"));
            }
            if let (1, Some(timestamp)) = (framed.magic, stamped) {
                message.timestamp = timestamp;
            }
            let ascends = messages
                .last()
                .is_none_or(|last| last.offset < message.offset);
            if !ascends {
                return Err(self.malformed("the offsets inside do not ascend"));
            }
            messages.push(message);
        }
        let last = messages.last().map(|last| last.offset);
        let last = last.ok_or_else(|| self.malformed("it holds nothing"))?;
        if last > self.offset {
            return Err(self.malformed("an offset inside lies behind it"));
        }
        if self.magic == 1 {
            for message in &mut messages {
                message.offset += self.offset - last;
            }
        }
        Ok(messages)
    }
}

const ZSTD: i16 = 4;

/// Bytes behind their length, -1 for null.
fn take_bytes(rest: &mut Bytes) -> Option<Option<Bytes>> {
    let length = rest.try_get_i32().ok()?;
    if length < 0 {
        return (length == -1).then_some(None);
    }
    let length = usize::try_from(length).ok()?;
    (length <= rest.len()).then(|| Some(rest.split_to(length)))
}

#[derive(Debug)]
struct Message {
    offset: i64,
    attributes: i16,
    timestamp: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
}

impl Message {
    fn codec(&self) -> i16 {
        codec_of(self.attributes)
    }

    fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }
}

/// Makes batches of messages that follow each other.
#[derive(Debug)]
pub struct Gathered<'a> {
    /// Messages in a wrapper that the source stamped on append get that time, where it asks for it.
    want: Want<'a>,
    /// Messages by themselves that have no batch yet.
    open: Option<Open>,
    done: Vec<Repacked>,
}

#[derive(Debug)]
struct Open {
    kept: Kept,
    codec: i16,
    first: i64,
    base_timestamp: i64,
}

impl<'a> Gathered<'a> {
    /// What is before the offset that `want` names is left to whoever [pushes](Self::push).
    pub fn new(want: Want<'a>) -> Self {
        Self {
            want,
            open: None,
            done: Vec::new(),
        }
    }

    /// Adds a message, or what a wrapper holds from offset `from` on.
    ///
    /// # Errors
    /// Where it does not match its checksum or does not decode.
    pub fn push(&mut self, framed: &Framed, from: i64) -> Result<(), RepackError> {
        let message = framed.decoded()?;
        match message.codec() {
            0 => self.put(&message, 0),
            codec => {
                self.close()?;
                for inner in framed.unwrapped(&message, self.want.append_time)? {
                    if inner.offset >= from {
                        self.put(&inner, codec)?;
                    }
                }
                // Wrappers are not put together: their producers decided how much is compressed at a time.
                self.close()
            }
        }
    }

    /// The batches in the order of their messages.
    ///
    /// # Errors
    /// As of [`push`](Self::push).
    pub fn finish(mut self) -> Result<Vec<Repacked>, RepackError> {
        self.close()?;
        Ok(self.done)
    }

    fn put(&mut self, message: &Message, codec: i16) -> Result<(), RepackError> {
        let joins = |open: &Open| {
            (!self.want.split_at_gaps || open.kept.is_followed_by(message.offset))
                && (codec != 0 || open.kept.records.len() < TOGETHER)
        };
        if !self.open.as_ref().is_some_and(joins) {
            self.close()?;
        }
        let open = self.open.get_or_insert_with(|| Open {
            kept: Kept::new(0),
            codec,
            first: message.offset,
            base_timestamp: message.timestamp,
        });
        let mut record = RawRecord::without_headers(message.key.as_ref(), message.value.as_ref());
        if let Some(provenance) = self.want.provenance {
            record = record.marked(provenance);
        }
        let delta = message.timestamp.wrapping_sub(open.base_timestamp);
        open.kept
            .put(&record, message.offset, message.timestamp, delta);
        Ok(())
    }

    fn close(&mut self) -> Result<(), RepackError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let batch = open
            .kept
            .encoded(open.codec, open.base_timestamp, open.first)?;
        let batch = batch.ok_or(RepackError::MalformedMessage {
            offset: open.first,
            problem: "it is longer than a batch can be",
        })?;
        self.done.push(batch);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
