//! Fetch sessions (KIP-227), as a broker keeps them.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse, TopicName};
use uuid::Uuid;

use super::data::BY_TOPIC_ID;

/// As `max.incremental.fetch.session.cache.slots` of a broker by default. The oldest gives way to a new one.
const SLOTS: usize = 1000;

/// By name or by id, as the version has it.
type Topic = (TopicName, Uuid);

/// All sessions of a cluster's brokers.
#[derive(Debug, Default)]
pub struct Sessions {
    last: i32,
    open: BTreeMap<i32, Session>,
}

#[derive(Debug)]
struct Session {
    broker: i32,
    /// Of the next request.
    epoch: i32,
    by_id: bool,
    partitions: IndexMap<(Topic, i32), Asked>,
}

#[derive(Debug)]
struct Asked {
    partition: FetchPartition,
    /// High watermark and start of the log, as they were answered last.
    told: Option<(i64, i64)>,
}

/// What a request comes to.
pub struct Turn {
    /// 0: none.
    session: i32,
    /// Whether the answer leaves out what there is nothing to say of.
    only_news: bool,
    pub topics: Vec<FetchTopic>,
}

impl Sessions {
    /// Opens a session, or goes on with one.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH` and `FETCH_SESSION_TOPIC_ID_ERROR`.
    pub fn turn(&mut self, broker: i32, version: i16, request: &FetchRequest) -> Result<Turn, E> {
        let by_id = version >= BY_TOPIC_ID;
        let mut opened = None;
        let (id, only_news) = match request.session_epoch {
            ..0 => {
                self.open.remove(&request.session_id);
                return Ok(Turn {
                    session: 0,
                    only_news: false,
                    topics: request.topics.clone(),
                });
            }
            0 => {
                self.open.remove(&request.session_id);
                self.last = self.last.checked_add(1).unwrap_or(1);
                opened = Some(Session {
                    broker,
                    epoch: 0,
                    by_id,
                    partitions: IndexMap::new(),
                });
                (self.last, false)
            }
            _ => (request.session_id, true),
        };
        if let Some(session) = opened {
            if self.open.len() >= SLOTS {
                self.open.pop_first();
            }
            self.open.insert(id, session);
        }
        let session = self.open.get_mut(&id).filter(|it| it.broker == broker);
        let session = session.ok_or(E::FetchSessionIdNotFound)?;
        if session.epoch != request.session_epoch {
            return Err(E::InvalidFetchSessionEpoch);
        }
        if session.by_id != by_id {
            return Err(E::FetchSessionTopicIdError);
        }
        session.epoch = session.epoch.checked_add(1).unwrap_or(1);
        for topic in &request.forgotten_topics_data {
            for partition in &topic.partitions {
                let key = ((topic.topic.clone(), topic.topic_id), *partition);
                session.partitions.shift_remove(&key);
            }
        }
        for topic in &request.topics {
            for partition in &topic.partitions {
                let key = ((topic.topic.clone(), topic.topic_id), partition.partition);
                let asked = Asked {
                    partition: partition.clone(),
                    told: None,
                };
                match session.partitions.get_mut(&key) {
                    Some(known) => known.partition = asked.partition,
                    None => {
                        session.partitions.insert(key, asked);
                    }
                }
            }
        }
        Ok(Turn {
            session: id,
            only_news,
            topics: session.topics(),
        })
    }

    /// Notes what is answered, and leaves out what there is nothing to say of.
    pub fn answer(&mut self, turn: &Turn, response: &mut FetchResponse) {
        response.session_id = turn.session;
        let Some(session) = self.open.get_mut(&turn.session) else {
            return;
        };
        for topic in &mut response.responses {
            let name = (topic.topic.clone(), topic.topic_id);
            topic.partitions.retain(|found| {
                let now = (found.high_watermark, found.log_start_offset);
                let key = (name.clone(), found.partition_index);
                let Some(asked) = session.partitions.get_mut(&key) else {
                    return true;
                };
                let has_records = found.records.as_ref().is_some_and(|it| !it.is_empty());
                let is_news = found.error_code != 0 || has_records || asked.told != Some(now);
                asked.told = Some(now);
                is_news || !turn.only_news
            });
        }
        response.responses.retain(|it| !it.partitions.is_empty());
    }

    /// Drops all sessions of a broker, as its restart does.
    pub fn forget(&mut self, broker: i32) {
        self.open.retain(|_, session| session.broker != broker);
    }
}

impl Session {
    fn topics(&self) -> Vec<FetchTopic> {
        let mut topics: IndexMap<&Topic, Vec<FetchPartition>> = IndexMap::new();
        for ((topic, _), asked) in &self.partitions {
            let of_topic = topics.entry(topic).or_default();
            of_topic.push(asked.partition.clone());
        }
        let topics = topics.into_iter().map(|((name, id), partitions)| {
            FetchTopic::default()
                .with_topic(name.clone())
                .with_topic_id(*id)
                .with_partitions(partitions)
        });
        topics.collect()
    }
}
