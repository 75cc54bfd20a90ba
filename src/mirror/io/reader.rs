//! Fetch for all partitions of a source.
//!
//! Each broker has a few lanes; a lane is one connection with one fetch on its way, as a broker serves one
//! request a connection at a time. A partition asks for its next piece when it has room for it, and the
//! next free lane takes along all that ask, as far as there is memory for what may come (see [`super::share`]). Partitions
//! that have nothing to read are asked for apart from those that have, so that a busy partition's requests do not name
//! thousands of others. While the last free lane is in use its long poll is short, so that a busy partition never waits
//! long behind idle ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ask::{self, Rest, choose};
use super::share::{Piece, Share};
use super::throttle::Throttle;
use super::{Events, TopicPartition};
use crate::kafka::admin::OffsetSpec;
use crate::kafka::epochs::EpochPosition;
use crate::kafka::fetch::{FetchOptions, FetchPartition, FetchedPartition, Isolation, fetch_into};
use crate::kafka::{
    Backoff, Buffers, Client, Connection, Error, ErrorClass, ErrorCode, Operation, Reservation,
};
use crate::mirror::partition::{Event, Failure, Fetched, KnownEpoch};

const LANES: usize = 4;
/// How long a broker waits for records of partitions that had none the last time, of others, and on the last free lane.
const QUIET_POLL_MS: i32 = 2_000;
const LONG_POLL_MS: i32 = 500;
const SHORT_POLL_MS: i32 = 50;
/// Tries to find a partition that its cluster does not know, before it counts as deleted.
const TRIES_FOR_UNKNOWN: u32 = 12;

/// Who leads a source partition.
#[derive(Clone, Copy, Debug)]
struct Leader {
    broker: i32,
    /// -1 where the brokers do not say.
    epoch: i32,
}

/// A partition that wants data.
#[derive(Debug)]
pub struct Wanted {
    pub source: TopicPartition,
    pub attempt: u64,
    pub offset: i64,
    known: KnownEpoch,
    /// Of the leader that is asked.
    leader_epoch: i32,
    pub events: Events,
    pub share: Arc<Share>,
    tries: u32,
    /// How often in a row the cluster did not know the topic.
    unknown: u32,
}

impl Wanted {
    pub fn new(
        source: TopicPartition,
        attempt: u64,
        offset: i64,
        known: KnownEpoch,
        events: Events,
        share: Arc<Share>,
    ) -> Self {
        Self {
            source,
            attempt,
            offset,
            known,
            leader_epoch: -1,
            events,
            share,
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
    buffers: Arc<Buffers>,
    brokers: Mutex<HashMap<i32, mpsc::UnboundedSender<Wanted>>>,
    leaders: Mutex<HashMap<(String, i32), Leader>>,
}

impl Reader {
    /// `buffers` is the memory for what is read.
    pub fn new(client: Client, buffers: Arc<Buffers>) -> Arc<Self> {
        Arc::new(Self {
            client,
            buffers,
            brokers: Mutex::new(HashMap::new()),
            leaders: Mutex::new(HashMap::new()),
        })
    }

    /// A partition's part of the memory, for as long as it reads here, at its link's pace.
    pub fn share(&self, throttle: Arc<Throttle>) -> Arc<Share> {
        Share::new(Arc::clone(&self.buffers), throttle)
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

    fn hand_over(self: &Arc<Self>, leader: Leader, mut wanted: Wanted) {
        wanted.leader_epoch = leader.epoch;
        let mut brokers = self
            .brokers
            .lock()
            .expect("the lock is held for lookups only");
        let sender = brokers.entry(leader.broker).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            // Weak: the lanes end when the last partition lets go of the reader.
            tokio::spawn(BrokerLanes::new(self, leader.broker).run(receiver));
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
                match reader.agreeing_leader(&wanted).await {
                    Ok(Agreed::Diverged { end }) => {
                        return wanted.tell(Event::SourceDiverged {
                            attempt: wanted.attempt,
                            end,
                        });
                    }
                    Ok(Agreed::With(leader)) => {
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

    /// The leader, once its log is known to go on from what was read: one that was elected uncleanly may have another one that
    /// is just as long (KIP-320).
    async fn agreeing_leader(&self, wanted: &Wanted) -> Result<Agreed, LeaderError> {
        let leader = self.leader_of(wanted).await?;
        if wanted.known.leader_epoch < 0 {
            return Ok(Agreed::With(leader));
        }
        let asked = EpochPosition {
            topic: &wanted.source.topic,
            partition: wanted.source.partition,
            current_leader_epoch: leader.epoch,
            leader_epoch: wanted.known.leader_epoch,
        };
        let found = self
            .client
            .epoch_end(leader.broker, asked)
            .await
            .map_err(LeaderError::Later)?;
        Ok(match found {
            // Brokers before 2.0 do not know the request.
            None => Agreed::With(leader),
            Some(found) if found.leader_epoch < wanted.known.leader_epoch => Agreed::Diverged {
                end: found.end_offset,
            },
            Some(found) if found.end_offset < wanted.known.before => Agreed::Diverged {
                end: found.end_offset,
            },
            Some(_) => Agreed::With(leader),
        })
    }

    async fn leader_of(&self, wanted: &Wanted) -> Result<Leader, LeaderError> {
        let name = &wanted.source.topic;
        let metadata = self
            .client
            .metadata_of(name)
            .await
            .map_err(LeaderError::Later)?;
        let Some(topic) = metadata.topic(name) else {
            return Err(LeaderError::Unknown);
        };
        match topic.error {
            ErrorCode::NONE => {}
            code if code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                return Err(LeaderError::Unknown);
            }
            code if code.class() == ErrorClass::Fatal => {
                let error = Error::broker(code, None, Operation::Describe, format!("topic {name}"));
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
                    name.clone(),
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
            .map(|partition| Leader {
                broker: partition.leader,
                epoch: partition.leader_epoch,
            })
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

enum Agreed {
    With(Leader),
    /// Of the epoch read last, the leader has what lies before `end`; -1: it knows nothing of it.
    Diverged {
        end: i64,
    },
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
    buffers: Arc<Buffers>,
    broker: i32,
    idle: Vec<Option<Connection>>,
    waiting: Vec<Wanted>,
    in_flight: FuturesUnordered<BoxFuture<'static, Done>>,
}

/// An answer to one fetch, with the lane that is free again.
struct Done {
    wanted: Vec<(Wanted, usize)>,
    took: Duration,
    outcome: Result<(Connection, Vec<FetchedPartition>), Error>,
}

impl BrokerLanes {
    fn new(reader: &Arc<Reader>, broker: i32) -> Self {
        Self {
            reader: Arc::downgrade(reader),
            client: reader.client.clone(),
            buffers: Arc::clone(&reader.buffers),
            broker,
            idle: vec![None; LANES],
            waiting: Vec::new(),
            in_flight: FuturesUnordered::new(),
        }
    }

    async fn run(mut self, mut wishes: mpsc::UnboundedReceiver<Wanted>) {
        let mut freed = self.buffers.freed();
        let mut rest = Rest::Nothing;
        loop {
            let (lacks_memory, held_up) = match rest {
                Rest::Nothing => (false, None),
                Rest::WaitsForMemory => (true, None),
                Rest::HeldUp(until) => (true, Some(until)),
            };
            tokio::select! {
                Some(done) = self.in_flight.next(), if !self.in_flight.is_empty() => self.done(done),
                wanted = wishes.recv() => {
                    let Some(wanted) = wanted else { break };
                    self.waiting.push(wanted);
                }
                Ok(()) = freed.changed(), if lacks_memory => {}
                () = tokio::time::sleep_until(held_up.unwrap_or_else(Instant::now)), if held_up.is_some() => {}
            }
            // Partitions answered together ask again together: let them, before the next fetch leaves.
            tokio::task::yield_now().await;
            while let Ok(wanted) = wishes.try_recv() {
                self.waiting.push(wanted);
            }
            // What is given back from here on is not missed.
            freed.mark_unchanged();
            rest = self.fetch();
        }
    }

    /// Sends what can be sent, and says what keeps the rest from the lanes that are free.
    fn fetch(&mut self) -> Rest {
        self.waiting.retain(|wanted| !wanted.events.is_closed());
        while !self.waiting.is_empty() && !self.idle.is_empty() {
            let last = self.idle.len() == 1;
            let asked = match choose(&mut self.waiting, &self.buffers, last) {
                Ok(asked) => asked,
                Err(rest) => return rest,
            };
            let lane = self.idle.pop().expect("a lane is free");
            let max_wait_ms = match asked.quiet {
                _ if last => SHORT_POLL_MS,
                true => QUIET_POLL_MS,
                false => LONG_POLL_MS,
            };
            let (client, broker) = (self.client.clone(), self.broker);
            self.in_flight.push(Box::pin(async move {
                let began = Instant::now();
                let (wanted, memory) = (&asked.wanted, asked.memory);
                let outcome = fetch_once(&client, broker, lane, max_wait_ms, wanted, memory).await;
                Done {
                    wanted: asked.wanted,
                    took: began.elapsed(),
                    outcome,
                }
            }));
        }
        Rest::Nothing
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
                let now = Instant::now();
                for (wanted, asked) in done.wanted {
                    let key = (wanted.source.topic.clone(), wanted.source.partition);
                    match partitions.remove(&key) {
                        Some(mut found) => {
                            wanted.share.pace(|pace| {
                                pace.answered(Piece {
                                    asked,
                                    bytes: found.records.len(),
                                    more: found.last_stable_offset > wanted.offset,
                                    held: wanted.share.held(),
                                    took: done.took,
                                });
                            });
                            wanted.share.throttle().spend(found.records.len(), now);
                            found.records = wanted.share.hold(found.records, answer);
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
                self.client.distrust(&error);
                if matches!(error, Error::Timeout { .. }) {
                    self.idle.fill(None);
                }
                self.idle.push(None);
                for (mut wanted, _) in done.wanted {
                    reader.forget_leader(&wanted.source);
                    wanted.tries = wanted.tries.max(1);
                    reader.find_leader(wanted);
                }
            }
        }
    }
}

async fn fetch_once(
    client: &Client,
    broker: i32,
    lane: Option<Connection>,
    max_wait_ms: i32,
    wanted: &[(Wanted, usize)],
    memory: Reservation,
) -> Result<(Connection, Vec<FetchedPartition>), Error> {
    let connection = match lane {
        Some(connection) if !connection.is_closed() => connection,
        _ => client.connect_broker(broker).await?,
    };
    let options = FetchOptions {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: protocol_bytes(ask::records_in(&memory)),
        isolation: Isolation::ReadCommitted,
    };
    let partitions: Vec<FetchPartition> = wanted
        .iter()
        .map(|(wanted, bytes)| FetchPartition {
            topic: wanted.source.topic.clone(),
            topic_id: wanted.source.topic_id,
            partition: wanted.source.partition,
            offset: wanted.offset,
            current_leader_epoch: wanted.leader_epoch,
            max_bytes: protocol_bytes(*bytes),
        })
        .collect();
    let found = fetch_into(&connection, &options, &partitions, Some(memory)).await?;
    Ok((connection, found))
}

fn protocol_bytes(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
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
    let ask = |spec| {
        let partition = (partition.topic.clone(), partition.partition);
        client.offset_together(partition, spec)
    };
    let start = ask(OffsetSpec::Earliest);
    let end = ask(OffsetSpec::Latest);
    let (start, end) = futures::try_join!(start, end)?;
    Ok((start.offset, end.offset))
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
