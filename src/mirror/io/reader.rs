//! Fetch for all partitions of a source.
//!
//! Each broker has a few lanes; a lane is one connection with one fetch on its way, as a broker serves one
//! request a connection at a time. A partition asks for its next piece when it has room for it, and the
//! next free lane takes along all that ask. While the last free lane is in use its long poll is short, so
//! that a busy partition never waits long behind idle ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::{Events, TopicPartition};
use crate::kafka::admin::OffsetSpec;
use crate::kafka::fetch::{FetchOptions, FetchPartition, FetchedPartition, Isolation, fetch};
use crate::kafka::{Backoff, Client, Connection, Error, ErrorClass, ErrorCode, Operation, Topics};
use crate::mirror::partition::{Event, Failure, Fetched};

const LANES: usize = 3;
/// Bytes of one partition in one answer.
const PARTITION_BYTES: i32 = 1 << 20;
/// Bytes of one answer.
const ANSWER_BYTES: i32 = 32 << 20;
const LONG_POLL_MS: i32 = 500;
const SHORT_POLL_MS: i32 = 50;
/// Tries to find a partition that its cluster does not know, before it counts as deleted.
const TRIES_FOR_UNKNOWN: u32 = 12;

/// A partition that wants data.
#[derive(Debug)]
pub struct Wanted {
    pub source: TopicPartition,
    pub attempt: u64,
    pub offset: i64,
    pub events: Events,
    tries: u32,
    /// How often in a row the cluster did not know the topic.
    unknown: u32,
}

impl Wanted {
    pub fn new(source: TopicPartition, attempt: u64, offset: i64, events: Events) -> Self {
        Self {
            source,
            attempt,
            offset,
            events,
            tries: 0,
            unknown: 0,
        }
    }

    fn tell(&self, event: Event) {
        // A partition that is gone needs no data.
        let _gone = self.events.send(event);
    }
}

/// All lanes to a source.
#[derive(Debug)]
pub struct Reader {
    client: Client,
    brokers: Mutex<HashMap<i32, mpsc::UnboundedSender<Wanted>>>,
    leaders: Mutex<HashMap<(String, i32), i32>>,
}

impl Reader {
    pub fn new(client: Client) -> Arc<Self> {
        Arc::new(Self {
            client,
            brokers: Mutex::new(HashMap::new()),
            leaders: Mutex::new(HashMap::new()),
        })
    }

    /// Asks for a piece of the source's log; it comes as an event.
    pub fn want(self: &Arc<Self>, wanted: Wanted) {
        let key = (wanted.source.topic.clone(), wanted.source.partition);
        let leader = self
            .leaders
            .lock()
            .expect("the lock is held for lookups only")
            .get(&key)
            .copied();
        match leader {
            Some(leader) => self.hand_over(leader, wanted),
            None => self.find_leader(wanted),
        }
    }

    fn hand_over(self: &Arc<Self>, leader: i32, wanted: Wanted) {
        let mut brokers = self
            .brokers
            .lock()
            .expect("the lock is held for lookups only");
        let sender = brokers.entry(leader).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            // Weak: the lanes end when the last partition lets go of the reader.
            tokio::spawn(
                BrokerLanes::new(Arc::downgrade(self), self.client.clone(), leader).run(receiver),
            );
            sender
        });
        // The loop lives as long as its sender.
        let _never = sender.send(wanted);
    }

    fn forget_leader(&self, source: &TopicPartition) {
        let key = (source.topic.clone(), source.partition);
        self.leaders
            .lock()
            .expect("the lock is held for lookups only")
            .remove(&key);
    }

    /// Looks the leader up anew, with growing pauses, and hands the wish over.
    fn find_leader(self: &Arc<Self>, mut wanted: Wanted) {
        let reader = Arc::clone(self);
        tokio::spawn(async move {
            let mut backoff = Backoff::for_requests();
            for _ in 0..wanted.tries.min(6) {
                backoff.next_delay();
            }
            loop {
                if wanted.events.is_closed() {
                    return;
                }
                if wanted.tries > 0 {
                    backoff.sleep().await;
                }
                wanted.tries += 1;
                match reader.leader_of(&wanted).await {
                    Ok(leader) => {
                        let key = (wanted.source.topic.clone(), wanted.source.partition);
                        reader
                            .leaders
                            .lock()
                            .expect("the lock is held for lookups only")
                            .insert(key, leader);
                        return reader.hand_over(leader, wanted);
                    }
                    Err(LeaderError::Final(failure)) => return wanted.tell(Event::Failed(failure)),
                    Err(LeaderError::Unknown) => {
                        wanted.unknown += 1;
                        tracing::debug!(partition = %wanted.source, "the source does not know the topic");
                        if wanted.unknown >= TRIES_FOR_UNKNOWN {
                            let topic = wanted.source.topic.clone();
                            return wanted.tell(Event::Failed(Failure::SourceDeleted { topic }));
                        }
                    }
                    Err(LeaderError::Later(error)) => {
                        // A broker that was down for long may not know its topics yet when it is back.
                        wanted.unknown = 0;
                        tracing::debug!(partition = %wanted.source, %error, "looking for the leader again");
                    }
                }
            }
        });
    }

    async fn leader_of(&self, wanted: &Wanted) -> Result<i32, LeaderError> {
        let names = [wanted.source.topic.clone()];
        let metadata = self
            .client
            .metadata(Topics::Named(&names))
            .await
            .map_err(LeaderError::Later)?;
        let Some(topic) = metadata.topic(&wanted.source.topic) else {
            return Err(LeaderError::Unknown);
        };
        match topic.error {
            ErrorCode::NONE => {}
            code if code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                return Err(LeaderError::Unknown);
            }
            code if code.class() == ErrorClass::Fatal => {
                let error = Error::broker(
                    code,
                    None,
                    Operation::Describe,
                    format!("topic {}", names[0]),
                );
                return Err(LeaderError::Final(call_failure(
                    "look for the source topic",
                    &error.asked_by(|| self.client.asked()),
                )));
            }
            code => {
                return Err(LeaderError::Later(Error::broker(
                    code,
                    None,
                    Operation::Describe,
                    names[0].clone(),
                )));
            }
        }
        let id = wanted.source.topic_id;
        if !id.is_nil() && !topic.id.is_nil() && topic.id != id {
            return Err(LeaderError::Final(Failure::SourceRecreated {
                was: id,
                is: topic.id,
            }));
        }
        topic
            .partitions
            .iter()
            .find(|partition| partition.index == wanted.source.partition && partition.leader >= 0)
            .map(|partition| partition.leader)
            .ok_or_else(|| {
                let code = ErrorCode::LEADER_NOT_AVAILABLE;
                LeaderError::Later(Error::broker(
                    code,
                    None,
                    Operation::FindLeader,
                    wanted.source.to_string(),
                ))
            })
    }
}

enum LeaderError {
    Later(Error),
    /// The topic is not known (yet, or any more).
    Unknown,
    Final(Failure),
}

fn call_failure(operation: &'static str, cause: &dyn std::fmt::Display) -> Failure {
    Failure::Call {
        operation,
        cause: cause.to_string(),
        retried: true,
    }
}

struct BrokerLanes {
    reader: std::sync::Weak<Reader>,
    client: Client,
    broker: i32,
    idle: Vec<Option<Connection>>,
    waiting: Vec<Wanted>,
    in_flight: FuturesUnordered<BoxFuture<'static, Done>>,
}

/// An answer to one fetch, with the lane that is free again.
struct Done {
    wanted: Vec<Wanted>,
    outcome: Result<(Connection, Vec<FetchedPartition>), Error>,
}

impl BrokerLanes {
    fn new(reader: std::sync::Weak<Reader>, client: Client, broker: i32) -> Self {
        Self {
            reader,
            client,
            broker,
            idle: vec![None; LANES],
            waiting: Vec::new(),
            in_flight: FuturesUnordered::new(),
        }
    }

    async fn run(mut self, mut wishes: mpsc::UnboundedReceiver<Wanted>) {
        loop {
            tokio::select! {
                Some(done) = self.in_flight.next(), if !self.in_flight.is_empty() => self.done(done),
                wanted = wishes.recv() => {
                    let Some(wanted) = wanted else { break };
                    self.waiting.push(wanted);
                }
            }
            // Partitions answered together ask again together: let them, before the next fetch leaves.
            tokio::task::yield_now().await;
            while let Ok(wanted) = wishes.try_recv() {
                self.waiting.push(wanted);
            }
            self.fetch();
        }
    }

    fn fetch(&mut self) {
        self.waiting.retain(|wanted| !wanted.events.is_closed());
        while !self.waiting.is_empty() {
            let Some(lane) = self.idle.pop() else { return };
            let max_wait_ms = if self.idle.is_empty() {
                SHORT_POLL_MS
            } else {
                LONG_POLL_MS
            };
            let wanted = take_distinct(&mut self.waiting);
            let (client, broker) = (self.client.clone(), self.broker);
            self.in_flight.push(Box::pin(async move {
                let outcome = fetch_once(&client, broker, lane, max_wait_ms, &wanted).await;
                Done { wanted, outcome }
            }));
        }
    }

    fn done(&mut self, done: Done) {
        let Some(reader) = self.reader.upgrade() else {
            return;
        };
        match done.outcome {
            Ok((connection, partitions)) => {
                self.idle.push(Some(connection));
                let answer: usize = partitions.iter().map(|found| found.records.len()).sum();
                let mut partitions: HashMap<(String, i32), FetchedPartition> = partitions
                    .into_iter()
                    .map(|found| ((found.topic.clone(), found.partition), found))
                    .collect();
                for wanted in done.wanted {
                    let key = (wanted.source.topic.clone(), wanted.source.partition);
                    match partitions.remove(&key) {
                        Some(mut found) => {
                            found.records = unpinned(found.records, answer);
                            deliver(&reader, wanted, found);
                        }
                        // Nonsense of the broker; not to be asked again at once for ever.
                        None => {
                            let mut wanted = wanted;
                            wanted.tries = wanted.tries.max(1);
                            reader.find_leader(wanted);
                        }
                    }
                }
            }
            Err(error) => {
                tracing::debug!(broker = self.broker, %error, "a fetch failed");
                self.idle.push(None);
                for wanted in done.wanted {
                    reader.forget_leader(&wanted.source);
                    let mut wanted = wanted;
                    wanted.tries = wanted.tries.max(1);
                    reader.find_leader(wanted);
                }
            }
        }
    }
}

/// The wishes of one request, which may name a partition only once: a broker answers the last of several, and
/// nothing in its answer tells which. Mirrors of one topic are at different offsets, so one of them would
/// step over records. A wish that the same partition replaced by a newer one is void.
fn take_distinct(waiting: &mut Vec<Wanted>) -> Vec<Wanted> {
    let mut places: HashMap<(String, i32), usize> = HashMap::new();
    let mut taken: Vec<Wanted> = Vec::new();
    for wanted in std::mem::take(waiting) {
        let key = (wanted.source.topic.clone(), wanted.source.partition);
        let place = *places.entry(key).or_insert(taken.len());
        match taken.get_mut(place) {
            None => taken.push(wanted),
            Some(other) if !other.events.same_channel(&wanted.events) => waiting.push(wanted),
            Some(other) if other.attempt < wanted.attempt => *other = wanted,
            Some(_) => {}
        }
    }
    taken
}

/// Records that do not keep a whole answer in memory: a small part of a large one is copied out of it.
fn unpinned(records: Bytes, answer: usize) -> Bytes {
    if records.len() < answer / 8 {
        Bytes::copy_from_slice(&records)
    } else {
        records
    }
}

async fn fetch_once(
    client: &Client,
    broker: i32,
    lane: Option<Connection>,
    max_wait_ms: i32,
    wanted: &[Wanted],
) -> Result<(Connection, Vec<FetchedPartition>), Error> {
    let connection = match lane {
        Some(connection) if !connection.is_closed() => connection,
        _ => client.connect_broker(broker).await?,
    };
    let options = FetchOptions {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: ANSWER_BYTES,
        isolation: Isolation::ReadCommitted,
    };
    let partitions: Vec<FetchPartition> = wanted
        .iter()
        .map(|wanted| FetchPartition {
            topic: wanted.source.topic.clone(),
            topic_id: wanted.source.topic_id,
            partition: wanted.source.partition,
            offset: wanted.offset,
            current_leader_epoch: -1,
            max_bytes: PARTITION_BYTES,
        })
        .collect();
    let found = fetch(&connection, &options, &partitions).await?;
    Ok((connection, found))
}

fn deliver(reader: &Arc<Reader>, mut wanted: Wanted, found: FetchedPartition) {
    match found.error {
        ErrorCode::NONE => wanted.tell(Event::Fetched(Fetched {
            attempt: wanted.attempt,
            records: found.records,
            aborted: found.aborted,
            last_stable_offset: if found.last_stable_offset >= 0 {
                found.last_stable_offset
            } else {
                found.high_watermark
            },
        })),
        ErrorCode::OFFSET_OUT_OF_RANGE => find_bounds(reader, wanted),
        code if code.class() == ErrorClass::Fatal => {
            let error = Error::broker(code, None, Operation::Read, wanted.source.to_string())
                .asked_by(|| reader.client.asked());
            wanted.tell(Event::Failed(call_failure("fetch from the source", &error)));
        }
        code => {
            tracing::debug!(partition = %wanted.source, %code, "a partition has to be looked for again");
            reader.forget_leader(&wanted.source);
            wanted.tries = wanted.tries.max(1);
            reader.find_leader(wanted);
        }
    }
}

/// The source does not have the offset: what does it have?
fn find_bounds(reader: &Arc<Reader>, wanted: Wanted) {
    let reader = Arc::clone(reader);
    tokio::spawn(async move {
        let mut backoff = Backoff::for_requests();
        while !wanted.events.is_closed() {
            // Not at once: a leader that was just elected may not know its own end yet.
            tokio::time::sleep(backoff.next_delay().max(Duration::from_millis(100))).await;
            match bounds(&reader.client, &wanted.source).await {
                Ok((log_start, end)) => {
                    return wanted.tell(Event::SourceLost {
                        attempt: wanted.attempt,
                        log_start,
                        end,
                    });
                }
                Err(error) => tracing::debug!(partition = %wanted.source, %error, "no offsets yet"),
            }
        }
    });
}

/// The first offset and the one after the last of a partition.
///
/// # Errors
/// The call's own.
pub async fn bounds(client: &Client, partition: &TopicPartition) -> Result<(i64, i64), Error> {
    let start = offset_of(client, partition, OffsetSpec::Earliest).await?;
    let end = offset_of(client, partition, OffsetSpec::Latest).await?;
    Ok((start, end))
}

/// The offset that `spec` means in one partition, uncommitted records included.
///
/// # Errors
/// The call's own.
pub async fn offset_of(
    client: &Client,
    partition: &TopicPartition,
    spec: OffsetSpec,
) -> Result<i64, Error> {
    let asked = vec![(partition.topic.clone(), partition.partition, spec)];
    let found = client
        .admin()
        .list_offsets(asked, Isolation::ReadUncommitted)
        .await;
    let (_, offset) = found
        .into_iter()
        .next()
        .expect("one item was asked for, one is answered");
    Ok(offset?.offset)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn wanted(topic: &str, offset: i64, attempt: u64, events: &Events) -> Wanted {
        let source = TopicPartition {
            topic: topic.to_owned(),
            topic_id: Uuid::nil(),
            partition: 0,
        };
        Wanted::new(source, attempt, offset, events.clone())
    }

    /// Without this, of two mirrors of one topic one would get the records that the other asked for.
    #[test]
    fn a_request_names_a_partition_once() {
        let (first, _keep) = mpsc::unbounded_channel();
        let (second, _keep) = mpsc::unbounded_channel();
        let mut waiting = vec![
            wanted("a", 0, 5, &first),
            wanted("a", 1000, 2, &second),
            wanted("b", 7, 1, &second),
            // In any order: the newer attempt of the same partition counts.
            wanted("a", 40, 6, &first),
            wanted("a", 900, 1, &second),
        ];
        let offsets =
            |wishes: &[Wanted]| -> Vec<i64> { wishes.iter().map(|wanted| wanted.offset).collect() };
        assert_eq!(offsets(&take_distinct(&mut waiting)), [40, 7]);
        assert_eq!(offsets(&take_distinct(&mut waiting)), [1000]);
        assert!(waiting.is_empty());
    }

    /// Without this, a few small batches that wait for a slow destination would hold whole answers.
    #[test]
    fn a_small_part_of_an_answer_does_not_keep_it_in_memory() {
        let answer = Bytes::from(vec![0; 1 << 20]);
        let small = unpinned(answer.slice(..1000), answer.len());
        let large = unpinned(answer.slice(..500_000), answer.len());
        assert!(!answer.as_ptr_range().contains(&small.as_ptr()));
        assert!(answer.as_ptr_range().contains(&large.as_ptr()));
    }
}
