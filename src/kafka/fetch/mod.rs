//! Reading record batches as bytes.
//!
//! The records of an answer are slices of the frame it arrived in; nothing is copied or decoded here. [`session`]: what is
//! asked for again and again.

pub mod session;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;

use bytes::Bytes;
use indexmap::IndexMap;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{
    FetchPartition as PartitionRequest, FetchTopic, ForgottenTopic,
};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
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
    let ask = Ask::of(partitions.iter());
    let topics = ask.topics.keys();
    let names: HashMap<Uuid, String> = topics.map(|(name, id)| (*id, name.clone())).collect();
    let all_have_ids = !names.contains_key(&Uuid::nil());
    let queued = version_of(connection, all_have_ids)
        .and_then(|version| exchange(connection, options, ask, version, memory));
    let address = connection.address().to_owned();
    async move {
        let answer = queued?.await?.named(|id| names.get(id).cloned())?;
        ErrorCode(answer.error)
            .ok()
            .map_err(|code| Error::broker(code, None, Operation::Fetch, address))?;
        Ok(answer.partitions)
    }
}

/// The version to ask in. Names are needed where not all topics' ids are known.
fn version_of(connection: &Connection, all_have_ids: bool) -> Result<i16, Error> {
    let newest = connection.version::<FetchRequest>()?;
    Ok(if all_have_ids {
        newest
    } else {
        newest.min(FIRST_WITH_IDS - 1)
    })
}

/// What a request names, and of which session it is.
struct Ask {
    session_id: i32,
    session_epoch: i32,
    topics: IndexMap<(String, Uuid), Vec<PartitionRequest>>,
    forgotten: Vec<ForgottenTopic>,
}

impl Ask {
    /// These partitions, outside any session.
    fn of<'a>(partitions: impl Iterator<Item = &'a FetchPartition>) -> Self {
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
        let owned =
            |((name, id), partitions): ((&str, Uuid), _)| ((name.to_owned(), id), partitions);
        Self {
            session_id: 0,
            session_epoch: session::NO_SESSION,
            topics: topics.into_iter().map(owned).collect(),
            forgotten: Vec::new(),
        }
    }
}

/// A broker's answer, whose topics may be known by their ids only.
struct Answer {
    address: String,
    error: i16,
    session_id: i32,
    by_id: bool,
    topics: Vec<FetchableTopicResponse>,
}

/// An answer that says which topics it means.
struct NamedAnswer {
    error: i16,
    session_id: i32,
    partitions: Vec<FetchedPartition>,
}

impl Answer {
    fn named(self, name_of: impl Fn(&Uuid) -> Option<String>) -> Result<NamedAnswer, Error> {
        let mut partitions = Vec::new();
        for topic in self.topics {
            let name = if self.by_id {
                name_of(&topic.topic_id).ok_or_else(|| Error::Protocol {
                    address: self.address.clone(),
                    during: "Fetch".to_owned(),
                    problem: format!(
                        "it has topic id {}, which was not asked for",
                        topic.topic_id
                    ),
                })?
            } else {
                topic.topic.0.to_string()
            };
            let of_topic = topic.partitions.into_iter();
            partitions.extend(of_topic.map(|data| fetched_partition(name.clone(), data)));
        }
        Ok(NamedAnswer {
            error: self.error,
            session_id: self.session_id,
            partitions,
        })
    }
}

/// Queues a request, and waits for its answer.
fn exchange(
    connection: &Connection,
    options: &FetchOptions,
    ask: Ask,
    version: i16,
    memory: Option<Reservation>,
) -> Result<impl Future<Output = Result<Answer, Error>> + Send + 'static + use<>, Error> {
    let by_id = version >= FIRST_WITH_IDS;
    let topics = ask.topics.into_iter().map(|((name, id), mut partitions)| {
        if version < 9 {
            for partition in &mut partitions {
                partition.current_leader_epoch = -1;
            }
        }
        let topic = FetchTopic::default().with_partitions(partitions);
        if by_id {
            topic.with_topic_id(id)
        } else {
            topic.with_topic(topic_name(&name))
        }
    });
    let request = FetchRequest::default()
        .with_max_wait_ms(options.max_wait_ms)
        .with_min_bytes(options.min_bytes)
        .with_max_bytes(options.max_bytes)
        .with_isolation_level(options.isolation.code())
        .with_session_id(ask.session_id)
        .with_session_epoch(ask.session_epoch)
        .with_topics(topics.collect())
        .with_forgotten_topics_data(ask.forgotten);
    let body = connection.encode(&request, version)?;
    let answer = connection.queue_into(FetchRequest::KEY, version, vec![body], memory)?;
    let connection = connection.clone();
    Ok(async move {
        let frame = answer.frame().await?;
        let response = connection.decode::<FetchRequest>(frame, version)?;
        Ok(Answer {
            address: connection.address().to_owned(),
            error: response.error_code,
            session_id: response.session_id,
            by_id,
            topics: response.responses,
        })
    })
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
