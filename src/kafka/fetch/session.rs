//! Fetch sessions (KIP-227): the broker remembers what is read from where, so that a request names only what is new to it, and
//! an answer only what has something to say. Thousands of partitions that have no records cost next to nothing this way.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;
use kafka_protocol::messages::fetch_request::ForgottenTopic;
use uuid::Uuid;

use super::{Ask, FIRST_WITH_IDS, FetchOptions, FetchPartition, FetchedPartition, exchange};
use crate::kafka::buffers::Reservation;
use crate::kafka::client::topic_name;
use crate::kafka::code::ErrorCode;
use crate::kafka::connection::Connection;
use crate::kafka::error::{Error, Operation};

/// The first version of Fetch with sessions.
const FIRST_WITH_SESSIONS: i16 = 7;
/// As an epoch: no session is asked for; the first request of one.
pub(super) const NO_SESSION: i32 = -1;
const FIRST_EPOCH: i32 = 0;

/// A partition of a topic. The id is nil where it is not known.
type Key = (String, Uuid, i32);

/// What one broker is asked for again and again.
///
/// A broker may have no room for a session, or drop it at any time; then everything is named again.
#[derive(Debug)]
pub struct FetchSession {
    /// The broker's number for it; 0 where there is none.
    id: i32,
    /// Counts the requests.
    epoch: i32,
    /// Whether the broker was told topic ids rather than names, which has to stay so.
    by_id: bool,
    partitions: HashMap<Key, FetchPartition>,
    /// How many of them have no topic id.
    without_id: usize,
    names: HashMap<Uuid, (String, usize)>,
    /// What the broker does not know yet.
    changed: HashSet<Key>,
    forgotten: HashSet<Key>,
}

/// What a broker said of a session's partitions.
#[derive(Debug)]
pub struct SessionAnswer {
    pub partitions: Vec<FetchedPartition>,
    /// Whether it had to name each of them; otherwise those that it does not name have nothing to read.
    pub is_full: bool,
}

impl Default for FetchSession {
    fn default() -> Self {
        Self {
            id: 0,
            epoch: FIRST_EPOCH,
            by_id: false,
            partitions: HashMap::new(),
            without_id: 0,
            names: HashMap::new(),
            changed: HashSet::new(),
            forgotten: HashSet::new(),
        }
    }
}

impl FetchSession {
    /// Takes a partition in, or says that it is read from elsewhere now.
    pub fn set(&mut self, partition: FetchPartition) {
        let key = key(&partition.topic, partition.topic_id, partition.partition);
        self.forgotten.remove(&key);
        self.changed.insert(key.clone());
        if self.partitions.insert(key, partition.clone()).is_some() {
            return;
        }
        if partition.topic_id.is_nil() {
            self.without_id += 1;
        } else {
            let name = self.names.entry(partition.topic_id);
            name.or_insert_with(|| (partition.topic, 0)).1 += 1;
        }
    }

    /// How many partitions are asked for.
    pub fn count(&self) -> usize {
        self.partitions.len()
    }

    /// Leaves a partition out from the next request on.
    pub fn forget(&mut self, topic: &str, topic_id: Uuid, partition: i32) {
        let key = key(topic, topic_id, partition);
        if self.partitions.remove(&key).is_none() {
            return;
        }
        self.changed.remove(&key);
        self.forgotten.insert(key);
        if topic_id.is_nil() {
            self.without_id -= 1;
        } else if let Some((_, count)) = self.names.get_mut(&topic_id) {
            *count -= 1;
            if *count == 0 {
                self.names.remove(&topic_id);
            }
        }
    }

    /// Names everything in the next request, as the broker may not know any more what it was told.
    pub fn begin_again(&mut self) {
        // With its id, so that the broker drops the former one.
        self.epoch = FIRST_EPOCH;
    }

    /// What the next request says, in this version.
    fn ask(&mut self, version: i16) -> Ask {
        let by_id = version >= FIRST_WITH_IDS;
        if by_id != self.by_id {
            self.begin_again();
            self.by_id = by_id;
        }
        if version < FIRST_WITH_SESSIONS {
            return Ask {
                session_id: 0,
                session_epoch: NO_SESSION,
                ..Ask::of(self.partitions.values())
            };
        }
        let named = |key: &Key| self.partitions.get(key);
        let mut ask = if self.epoch == FIRST_EPOCH {
            Ask::of(self.partitions.values())
        } else {
            Ask::of(self.changed.iter().filter_map(named))
        };
        if self.epoch != FIRST_EPOCH {
            ask.forgotten = self.forgotten_topics();
        }
        ask.session_id = self.id;
        ask.session_epoch = self.epoch;
        ask
    }

    fn forgotten_topics(&self) -> Vec<ForgottenTopic> {
        let mut topics: IndexMap<(&str, Uuid), Vec<i32>> = IndexMap::new();
        for (topic, id, partition) in &self.forgotten {
            topics.entry((topic, *id)).or_default().push(*partition);
        }
        let topics = topics.into_iter().map(|((name, id), partitions)| {
            let topic = ForgottenTopic::default().with_partitions(partitions);
            if self.by_id {
                topic.with_topic_id(id)
            } else {
                topic.with_topic(topic_name(name))
            }
        });
        topics.collect()
    }

    /// The broker took note of what it was told, under this number.
    fn answered(&mut self, id: i32) {
        self.changed.clear();
        self.forgotten.clear();
        self.id = id;
        self.epoch = match self.epoch {
            // It has no room for a session.
            _ if id == 0 => FIRST_EPOCH,
            i32::MAX => 1,
            epoch => epoch + 1,
        };
    }
}

/// Fetches what is new in the session's partitions, which this broker leads, into memory that was reserved.
///
/// # Errors
/// The broker's own; then the next request names everything again. A session that the broker dropped is no error: the
/// answer is empty.
pub async fn fetch_new(
    connection: &Connection,
    options: &FetchOptions,
    session: &mut FetchSession,
    memory: Reservation,
) -> Result<SessionAnswer, Error> {
    let answer = ask_for_new(connection, options, session, memory).await;
    if answer.is_err() {
        session.begin_again();
    }
    answer
}

async fn ask_for_new(
    connection: &Connection,
    options: &FetchOptions,
    session: &mut FetchSession,
    memory: Reservation,
) -> Result<SessionAnswer, Error> {
    let version = super::version_of(connection, session.without_id == 0)?;
    let ask = session.ask(version);
    let is_full = ask.session_epoch <= FIRST_EPOCH;
    let name_of = |id: &Uuid| session.names.get(id).map(|(name, _)| name.clone());
    let answer = exchange(connection, options, ask, version, Some(memory))?;
    let answer = answer.await?.named(name_of)?;
    match ErrorCode(answer.error) {
        ErrorCode::NONE => {
            session.answered(answer.session_id);
            Ok(SessionAnswer {
                partitions: answer.partitions,
                is_full,
            })
        }
        // Dropped in favour of others, or by a restart, or at odds about what was said in which order.
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
        | ErrorCode::INVALID_FETCH_SESSION_EPOCH
        | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
            if !is_full =>
        {
            session.begin_again();
            Ok(SessionAnswer {
                partitions: Vec::new(),
                is_full: false,
            })
        }
        code => Err(Error::broker(
            code,
            None,
            Operation::Fetch,
            connection.address(),
        )),
    }
}

fn key(topic: &str, topic_id: Uuid, partition: i32) -> Key {
    (topic.to_owned(), topic_id, partition)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BY_NAME: i16 = FIRST_WITH_IDS - 1;

    fn partition(topic: u32, index: i32, offset: i64) -> FetchPartition {
        FetchPartition {
            topic: format!("topic-{topic}"),
            topic_id: Uuid::from_u128(u128::from(topic) + 1),
            partition: index,
            offset,
            current_leader_epoch: 3,
            max_bytes: 1,
        }
    }

    fn named(ask: &Ask) -> Vec<(String, i32, i64)> {
        let topics = ask.topics.iter();
        let mut named: Vec<_> = topics
            .flat_map(|((topic, _), partitions)| {
                let named = |it: &super::super::PartitionRequest| {
                    (topic.clone(), it.partition, it.fetch_offset)
                };
                partitions.iter().map(named)
            })
            .collect();
        named.sort();
        named
    }

    /// Without this, thousands of idle partitions would be named in each request, or one would never be read again.
    #[test]
    fn a_request_names_only_what_is_new() {
        let mut session = FetchSession::default();
        session.set(partition(0, 0, 10));
        session.set(partition(0, 1, 20));
        let first = session.ask(FIRST_WITH_IDS);
        assert_eq!((first.session_id, first.session_epoch), (0, 0));
        assert_eq!(named(&first).len(), 2);
        session.answered(77);

        let next = session.ask(FIRST_WITH_IDS);
        assert_eq!((next.session_id, next.session_epoch), (77, 1));
        assert!(next.topics.is_empty() && next.forgotten.is_empty());
        session.answered(77);

        session.forget("topic-0", Uuid::from_u128(1), 0);
        session.set(partition(0, 1, 21));
        let changed = session.ask(FIRST_WITH_IDS);
        assert_eq!(named(&changed), [("topic-0".to_owned(), 1, 21)]);
        assert_eq!(changed.forgotten[0].topic_id, Uuid::from_u128(1));
        assert_eq!(changed.forgotten[0].partitions, [0]);
        assert_eq!(changed.session_epoch, 2);
    }

    /// Without this, a broker that has no room for sessions would be asked for nothing.
    #[test]
    fn without_a_session_everything_is_named() {
        let mut session = FetchSession::default();
        session.set(partition(0, 0, 10));
        for version in [FIRST_WITH_SESSIONS - 1, BY_NAME] {
            for _ in 0..2 {
                let ask = session.ask(version);
                assert_eq!(named(&ask).len(), 1);
                assert!(ask.session_epoch <= FIRST_EPOCH && ask.forgotten.is_empty());
                session.answered(0);
            }
        }
    }

    #[test]
    fn epochs_start_again_at_one() {
        let mut session = FetchSession {
            id: 5,
            epoch: i32::MAX,
            ..FetchSession::default()
        };
        session.answered(5);
        assert_eq!(session.epoch, 1);
        // A broker takes that as the end of the former session and the beginning of another.
        session.begin_again();
        assert_eq!((session.id, session.epoch), (5, 0));
    }

    /// What a broker remembers, as KIP-227 has it.
    #[derive(Default)]
    struct Broker {
        session: Option<(i32, i32)>,
        sessions: i32,
        known: HashMap<(String, i32), i64>,
    }

    impl Broker {
        fn answers(&mut self, ask: &Ask) -> Result<i32, ErrorCode> {
            if ask.session_epoch == FIRST_EPOCH {
                self.sessions += 1;
                self.known.clear();
            } else {
                let expected = self.session.ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
                if expected != (ask.session_id, ask.session_epoch) {
                    return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
                }
            }
            for topic in &ask.forgotten {
                for partition in &topic.partitions {
                    self.known.remove(&(topic.topic.to_string(), *partition));
                }
            }
            for (topic, partition, offset) in named(ask) {
                self.known.insert((topic, partition), offset);
            }
            self.session = Some((self.sessions, ask.session_epoch + 1));
            Ok(self.sessions)
        }
    }

    proptest! {
        /// Without this, a partition could be left out for ever, or be read from where it was before.
        #[test]
        fn the_broker_knows_what_is_wanted_after_each_answer(
            steps in proptest::collection::vec((0_u32..3, 0_i32..3, 0_i64..100, 0_u32..12), 1..120),
        ) {
            let mut session = FetchSession::default();
            let mut broker = Broker::default();
            for (topic, index, offset, what) in steps {
                let it = partition(topic, index, offset);
                match what {
                    0..4 => session.set(it),
                    4..7 => session.forget(&it.topic, it.topic_id, index),
                    // Dropped by the broker.
                    7 => broker.session = None,
                    // The answer is lost.
                    8 => {
                        let _ = broker.answers(&session.ask(BY_NAME));
                        session.begin_again();
                    }
                    _ => match broker.answers(&session.ask(BY_NAME)) {
                        Ok(id) => {
                            session.answered(id);
                            let wanted: HashMap<_, _> = session
                                .partitions
                                .values()
                                .map(|it| ((it.topic.clone(), it.partition), it.offset))
                                .collect();
                            prop_assert_eq!(&broker.known, &wanted);
                            let ids: HashSet<_> =
                                session.partitions.values().map(|it| it.topic_id).collect();
                            prop_assert_eq!(session.names.len(), ids.len());
                        }
                        Err(_) => session.begin_again(),
                    },
                }
            }
        }
    }
}
