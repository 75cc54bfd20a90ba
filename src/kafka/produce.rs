//! Appending ready-made record batches.
//!
//! The request is put together here and not by the message library, so that a batch goes from where
//! it was fetched to the socket without being copied into the request first.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;

use bytes::{BufMut, Bytes, BytesMut};
use indexmap::IndexMap;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use kafka_protocol::protocol::Request;

use super::code::ErrorCode;
use super::connection::Connection;
use super::error::Error;

/// One v2 batch for one partition.
#[derive(Clone)]
pub struct ProduceBatch<'a> {
    /// By name, in every version that is spoken.
    pub topic: &'a str,
    pub partition: i32,
    /// The front of the batch where it lies apart from the rest, as a rewritten header does; else empty.
    pub head: Bytes,
    /// The batch, or what follows `head`.
    pub batch: Bytes,
}

/// Without the records themselves, which may be megabytes.
impl fmt::Debug for ProduceBatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProduceBatch")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("bytes", &(self.head.len() + self.batch.len()))
            .finish()
    }
}

/// The leader's answer for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducedPartition {
    pub error: ErrorCode,
    /// Offset of the batch's first record; -1 with an error.
    pub base_offset: i64,
    /// -1 unless the topic stamps records on append.
    pub log_append_time_ms: i64,
    pub log_start_offset: i64,
    /// The broker's own words, about the batch or about single records of it.
    pub message: Option<String>,
}

/// Sends one batch for each of several partitions, all led by this broker. Queued at the call, like
/// [`Connection::send`]. Answers stand in the order of `batches`. A partition may appear once.
///
/// `acks` is 1 or -1: without acknowledgement there would be no answer to wait for.
pub fn produce(
    connection: &Connection,
    acks: i16,
    timeout_ms: i32,
    batches: &[ProduceBatch<'_>],
) -> impl Future<Output = Result<Vec<ProducedPartition>, Error>> + Send + 'static + use<> {
    produce_as(connection, None, acks, timeout_ms, batches)
}

/// As [`produce`], inside the transaction of a transactional id.
pub(crate) fn produce_as(
    connection: &Connection,
    transactional_id: Option<&str>,
    acks: i16,
    timeout_ms: i32,
    batches: &[ProduceBatch<'_>],
) -> impl Future<Output = Result<Vec<ProducedPartition>, Error>> + Send + 'static + use<> {
    assert_ne!(
        acks, 0,
        "a produce request without acknowledgement has no answer"
    );
    let asked: Vec<(String, i32)> = batches
        .iter()
        .map(|batch| (batch.topic.to_owned(), batch.partition))
        .collect();
    let queued = connection.version::<ProduceRequest>().and_then(|version| {
        let body = encode(version, transactional_id, acks, timeout_ms, batches);
        let answer = connection.queue(ProduceRequest::KEY, version, body)?;
        Ok((answer, version))
    });
    let connection = connection.clone();
    async move {
        let (answer, version) = queued?;
        let frame = answer.frame().await?;
        let response = connection.decode::<ProduceRequest>(frame, version)?;
        in_order(&connection, response, &asked)
    }
}

/// The answers as they were asked for: a broker gives them in an order of its own.
fn in_order(
    connection: &Connection,
    response: ProduceResponse,
    asked: &[(String, i32)],
) -> Result<Vec<ProducedPartition>, Error> {
    let answers: HashMap<(&str, i32), &PartitionProduceResponse> = response
        .responses
        .iter()
        .flat_map(|topic| {
            let partitions = topic.partition_responses.iter();
            partitions.map(|partition| ((topic.name.as_str(), partition.index), partition))
        })
        .collect();
    asked
        .iter()
        .map(|(topic, partition)| {
            let answer =
                answers
                    .get(&(topic.as_str(), *partition))
                    .ok_or_else(|| Error::Protocol {
                        address: connection.address().to_owned(),
                        during: "Produce".to_owned(),
                        problem: format!("it leaves out partition {partition} of topic {topic}"),
                    })?;
            Ok(ProducedPartition {
                error: ErrorCode(answer.error_code),
                base_offset: answer.base_offset,
                log_append_time_ms: answer.log_append_time_ms,
                log_start_offset: answer.log_start_offset,
                message: words(answer),
            })
        })
        .collect()
}

/// What the broker says of the batch, or of the first records it minds.
fn words(answer: &PartitionProduceResponse) -> Option<String> {
    const SHOWN: usize = 3;
    let whole = answer.error_message.as_ref().map(ToString::to_string);
    let records: Vec<String> = answer
        .record_errors
        .iter()
        .filter_map(|record| {
            let text = record.batch_index_error_message.as_ref()?;
            Some(format!(
                "record {} of the batch: {text}",
                record.batch_index
            ))
        })
        .take(SHOWN)
        .collect();
    let parts: Vec<String> = whole.into_iter().chain(records).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The body of a Produce request, versions 3 to 11, in pieces: the batches are pieces of their own.
fn encode(
    version: i16,
    transactional_id: Option<&str>,
    acks: i16,
    timeout_ms: i32,
    batches: &[ProduceBatch<'_>],
) -> Vec<Bytes> {
    let mut topics: IndexMap<&str, Vec<&ProduceBatch<'_>>> = IndexMap::new();
    for batch in batches {
        topics.entry(batch.topic).or_default().push(batch);
    }
    let mut body = Body {
        flexible: version >= 9,
        pieces: Vec::with_capacity(2 * batches.len() + 1),
        buffer: BytesMut::with_capacity(64 + 64 * batches.len()),
    };
    body.nullable_string(transactional_id);
    body.buffer.put_i16(acks);
    body.buffer.put_i32(timeout_ms);
    body.length(topics.len(), LengthOf::Array);
    for (topic, partitions) in topics {
        body.nullable_string(Some(topic));
        body.length(partitions.len(), LengthOf::Array);
        for batch in partitions {
            body.buffer.put_i32(batch.partition);
            body.length(batch.head.len() + batch.batch.len(), LengthOf::Bytes);
            body.piece(batch.head.clone());
            body.piece(batch.batch.clone());
            body.no_tags();
        }
        body.no_tags();
    }
    body.no_tags();
    body.pieces.push(body.buffer.freeze());
    body.pieces
}

struct Body {
    /// From version 9 on lengths are varints and structures end with tagged fields.
    flexible: bool,
    pieces: Vec<Bytes>,
    buffer: BytesMut,
}

#[derive(Clone, Copy)]
enum LengthOf {
    String,
    Array,
    Bytes,
}

impl Body {
    fn length(&mut self, length: usize, of: LengthOf) {
        const FITS: &str = "no part of a request reaches 2 GiB; connections refuse such requests";
        if self.flexible {
            let mut left = u32::try_from(length).expect(FITS) + 1;
            while left >= 0x80 {
                self.buffer.put_u8((left & 0x7f) as u8 | 0x80);
                left >>= 7;
            }
            self.buffer.put_u8(left as u8);
        } else {
            match of {
                LengthOf::String => {
                    let length =
                        i16::try_from(length).expect("topic names and ids are shorter than 32 KiB");
                    self.buffer.put_i16(length);
                }
                LengthOf::Array | LengthOf::Bytes => {
                    self.buffer.put_i32(i32::try_from(length).expect(FITS));
                }
            }
        }
    }

    fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => {
                self.length(text.len(), LengthOf::String);
                self.buffer.put_slice(text.as_bytes());
            }
            None if self.flexible => self.buffer.put_u8(0),
            None => self.buffer.put_i16(-1),
        }
    }

    fn piece(&mut self, bytes: Bytes) {
        self.pieces.push(self.buffer.split().freeze());
        self.pieces.push(bytes);
    }

    fn no_tags(&mut self) {
        if self.flexible {
            self.buffer.put_u8(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TransactionalId;
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::protocol::{Encodable, StrBytes};
    use proptest::prelude::*;

    use super::super::client::topic_name;
    use super::*;

    fn with_the_library(
        version: i16,
        transactional_id: Option<&str>,
        acks: i16,
        batches: &[ProduceBatch<'_>],
    ) -> BytesMut {
        let mut topics: IndexMap<&str, Vec<PartitionProduceData>> = IndexMap::new();
        for batch in batches {
            topics.entry(batch.topic).or_default().push(
                PartitionProduceData::default()
                    .with_index(batch.partition)
                    .with_records(Some(Bytes::from([&batch.head[..], &batch.batch].concat()))),
            );
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            TopicProduceData::default()
                .with_name(topic_name(topic))
                .with_partition_data(partitions)
        });
        let request = ProduceRequest::default()
            .with_transactional_id(
                transactional_id.map(|id| TransactionalId(StrBytes::from_string(id.to_owned()))),
            )
            .with_acks(acks)
            .with_timeout_ms(30_000)
            .with_topic_data(topics.collect());
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap();
        body
    }

    proptest! {
        /// Our bytes are those of the generated encoder, in every version that may be spoken.
        #[test]
        fn a_request_is_encoded_as_the_schema_says(
            version in 3_i16..=11,
            transactional in proptest::option::of("[a-z-]{0,200}"),
            acks in prop_oneof![Just(1_i16), Just(-1)],
            sizes in proptest::collection::vec((0_u8..4, 0_usize..40_000), 0..12),
        ) {
            let names: Vec<String> = (0..4)
                .map(|topic| format!("topic-{topic}").repeat(topic * 7 + 1))
                .collect();
            let batches: Vec<_> = sizes
                .iter()
                .enumerate()
                .map(|(index, &(topic, size))| ProduceBatch {
                    head: Bytes::from(vec![0xfe; size % 62]),
                    topic: &names[usize::from(topic)],
                    partition: index as i32,
                    batch: Bytes::from(vec![index as u8; size]),
                })
                .collect();
            let pieces = encode(version, transactional.as_deref(), acks, 30_000, &batches);
            let ours: Vec<u8> = pieces.iter().flatten().copied().collect();
            let theirs = with_the_library(version, transactional.as_deref(), acks, &batches);
            prop_assert!(ours[..] == theirs[..]);
        }
    }

    #[test]
    fn a_batch_is_handed_on_without_a_copy() {
        let batch = Bytes::from(vec![7; 1000]);
        let pieces = encode(
            11,
            None,
            1,
            1000,
            &[ProduceBatch {
                head: Bytes::new(),
                topic: "t",
                partition: 0,
                batch: batch.clone(),
            }],
        );
        assert!(pieces.iter().any(|piece| piece.as_ptr() == batch.as_ptr()));
    }
}
