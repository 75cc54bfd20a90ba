//! Reading record batches as bytes.
//!
//! The records of an answer are slices of the frame it arrived in; nothing is copied or decoded here.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;

use bytes::Bytes;
use indexmap::IndexMap;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition as PartitionRequest, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::protocol::Request;
use uuid::Uuid;

use super::buffers::Reservation;
use super::client::topic_name;
use super::code::ErrorCode;
use super::connection::Connection;
use super::error::{Error, Operation};

/// How far a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark, aborted transactions and all.
    ReadUncommitted,
    /// Up to the last stable offset, with a list of the aborted transactions.
    ReadCommitted,
}

impl Isolation {
    pub(super) fn code(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

/// Limits of one fetch.
#[derive(Clone, Copy, Debug)]
pub struct FetchOptions {
    /// How long the broker may wait for `min_bytes`; well below the connection's request timeout.
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    /// Of the whole answer; a first batch that is larger comes all the same.
    pub max_bytes: i32,
    pub isolation: Isolation,
}

/// Where to read in one partition.
#[derive(Clone, Debug)]
pub struct FetchPartition {
    pub topic: String,
    /// Nil: unknown, then the topic is named.
    pub topic_id: Uuid,
    pub partition: i32,
    pub offset: i64,
    /// Refused when the broker's differs; -1 does not ask.
    pub current_leader_epoch: i32,
    pub max_bytes: i32,
}

/// What a broker gave for one partition.
#[derive(Clone, PartialEq, Eq)]
pub struct FetchedPartition {
    pub topic: String,
    pub partition: i32,
    pub error: ErrorCode,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// Producer id and first offset of transactions that were aborted; only for committed reads.
    pub aborted: Vec<(i64, i64)>,
    /// Whole batches; the first may begin before the offset asked for, the last may be cut off.
    pub records: Bytes,
}

/// Without the records themselves, which may be megabytes.
impl fmt::Debug for FetchedPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchedPartition")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("error", &self.error)
            .field("high_watermark", &self.high_watermark)
            .field("last_stable_offset", &self.last_stable_offset)
            .field("log_start_offset", &self.log_start_offset)
            .field("aborted", &self.aborted)
            .field("record_bytes", &self.records.len())
            .finish()
    }
}

/// Topic ids replace names from this version on.
const FIRST_WITH_IDS: i16 = 13;

/// Fetches from partitions that this broker leads. Queued at the call, like [`Connection::send`].
/// No fetch session is used, so every answer has all partitions asked for.
pub fn fetch(
    connection: &Connection,
    options: &FetchOptions,
    partitions: &[FetchPartition],
) -> impl Future<Output = Result<Vec<FetchedPartition>, Error>> + Send + 'static + use<> {
    fetch_into(connection, options, partitions, None)
}

/// As [`fetch`], into memory that was reserved: what is fetched counts as held until its last slice is dropped.
pub fn fetch_into(
    connection: &Connection,
    options: &FetchOptions,
    partitions: &[FetchPartition],
    memory: Option<Reservation>,
) -> impl Future<Output = Result<Vec<FetchedPartition>, Error>> + Send + 'static + use<> {
    let mut topics: IndexMap<(&str, Uuid), Vec<PartitionRequest>> = IndexMap::new();
    for partition in partitions {
        topics
            .entry((&partition.topic, partition.topic_id))
            .or_default()
            .push(
                PartitionRequest::default()
                    .with_partition(partition.partition)
                    .with_current_leader_epoch(partition.current_leader_epoch)
                    .with_fetch_offset(partition.offset)
                    .with_partition_max_bytes(partition.max_bytes),
            );
    }
    let all_have_ids = topics.keys().all(|(_, id)| !id.is_nil());
    let names: HashMap<Uuid, String> = topics
        .keys()
        .map(|&(name, id)| (id, name.to_owned()))
        .collect();
    let queued = connection.version::<FetchRequest>().and_then(|newest| {
        let version = if all_have_ids {
            newest
        } else {
            newest.min(FIRST_WITH_IDS - 1)
        };
        let topics = topics.into_iter().map(|((name, id), mut partitions)| {
            if version < 9 {
                for partition in &mut partitions {
                    partition.current_leader_epoch = -1;
                }
            }
            let topic = FetchTopic::default().with_partitions(partitions);
            if version >= FIRST_WITH_IDS {
                topic.with_topic_id(id)
            } else {
                topic.with_topic(topic_name(name))
            }
        });
        let request = FetchRequest::default()
            .with_max_wait_ms(options.max_wait_ms)
            .with_min_bytes(options.min_bytes)
            .with_max_bytes(options.max_bytes)
            .with_isolation_level(options.isolation.code())
            .with_session_epoch(-1)
            .with_topics(topics.collect());
        let body = connection.encode(&request, version)?;
        let answer = connection.queue_into(FetchRequest::KEY, version, vec![body], memory)?;
        Ok((answer, version))
    });
    let connection = connection.clone();
    async move {
        let (answer, version) = queued?;
        let frame = answer.frame().await?;
        let response = connection.decode::<FetchRequest>(frame, version)?;
        let address = connection.address();
        ErrorCode(response.error_code)
            .ok()
            .map_err(|code| Error::broker(code, None, Operation::Fetch, address))?;
        let mut fetched = Vec::new();
        for topic in response.responses {
            let name = if version >= FIRST_WITH_IDS {
                let name = names.get(&topic.topic_id).cloned();
                name.ok_or_else(|| Error::Protocol {
                    address: address.to_owned(),
                    during: "Fetch".to_owned(),
                    problem: format!(
                        "it has topic id {}, which was not asked for",
                        topic.topic_id
                    ),
                })?
            } else {
                topic.topic.0.to_string()
            };
            let partitions = topic.partitions.into_iter();
            fetched.extend(partitions.map(|data| fetched_partition(name.clone(), data)));
        }
        Ok(fetched)
    }
}

fn fetched_partition(topic: String, data: PartitionData) -> FetchedPartition {
    let aborted = data.aborted_transactions.unwrap_or_default();
    FetchedPartition {
        topic,
        partition: data.partition_index,
        error: ErrorCode(data.error_code),
        high_watermark: data.high_watermark,
        last_stable_offset: data.last_stable_offset,
        log_start_offset: data.log_start_offset,
        aborted: aborted
            .into_iter()
            .map(|transaction| (transaction.producer_id.0, transaction.first_offset))
            .collect(),
        records: data.records.unwrap_or_default(),
    }
}
