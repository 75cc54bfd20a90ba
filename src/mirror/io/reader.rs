//! Fetch for all partitions of a source: who leads them, and what to do where that broker cannot answer. What is sent to a
//! broker is decided in [`super::lanes`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use super::lanes::BrokerLanes;
use super::share::Share;
use super::throttle::Throttle;
use super::{Events, TopicPartition};
use crate::kafka::admin::OffsetSpec;
use crate::kafka::epochs::EpochPosition;
use crate::kafka::fetch::{FetchPartition, FetchedPartition, Isolation};
use crate::kafka::{Backoff, Buffers, Client, Error, ErrorClass, ErrorCode, Operation};
use crate::mirror::partition::{Event, Failure, Fetched, KnownEpoch};

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

    /// What a request says of it.
    pub fn asks(&self, max_bytes: usize) -> FetchPartition {
        FetchPartition {
            topic: self.source.topic.clone(),
            topic_id: self.source.topic_id,
            partition: self.source.partition,
            offset: self.offset,
            current_leader_epoch: self.leader_epoch,
            max_bytes: i32::try_from(max_bytes).unwrap_or(i32::MAX),
        }
    }

    /// Whether the partition was told that there is nothing to read where it wants to. It need not hear that again.
    pub fn knows_of_nothing(&self) -> bool {
        self.share.ended_at() == Some((self.attempt, self.offset))
    }

    /// The next try comes after a pause.
    pub fn has_failed(&mut self) {
        self.tries = self.tries.max(1);
    }

    fn tell(&self, event: Event) {
        self.events.tell(event);
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

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn buffers(&self) -> &Arc<Buffers> {
        &self.buffers
    }

    /// The leader has to be looked up before the partition is asked for again.
    pub fn forget_leader(&self, source: &TopicPartition) {
        let key = (source.topic.clone(), source.partition);
        self.leaders
            .lock()
            .expect("the lock is held for lookups only")
            .remove(&key);
    }

    /// Looks the leader up anew, with growing pauses, and hands the wish over.
    pub fn find_leader(self: &Arc<Self>, mut wanted: Wanted) {
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

/// Tells a partition what its broker said of it, or does what has to be done about that.
pub fn deliver(reader: &Arc<Reader>, mut wanted: Wanted, found: FetchedPartition) {
    match found.error {
        ErrorCode::NONE => {
            let last_stable_offset = if found.last_stable_offset >= 0 {
                found.last_stable_offset
            } else {
                found.high_watermark
            };
            let is_end = found.records.is_empty() && last_stable_offset <= wanted.offset;
            wanted
                .share
                .set_ended_at(is_end.then_some((wanted.attempt, wanted.offset)));
            wanted.tell(Event::Fetched(Fetched {
                attempt: wanted.attempt,
                records: found.records,
                aborted: found.aborted,
                last_stable_offset,
            }));
        }
        ErrorCode::OFFSET_OUT_OF_RANGE => find_bounds(reader, wanted),
        code if code.class() == ErrorClass::Fatal => {
            let error = Error::broker(code, None, Operation::Read, wanted.source.to_string())
                .asked_by(|| reader.client.asked());
            wanted.tell(Event::Failed(call_failure("fetch from the source", &error)));
        }
        code => {
            tracing::debug!(partition = %wanted.source, %code, "a partition has to be looked for again");
            reader.forget_leader(&wanted.source);
            wanted.has_failed();
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
