//! Which slots this worker owns: group membership over the partitions of `_kmirror.work`.
//!
//! Workers of a destination are members of one consumer group; the group protocol hands each slot to one of
//! them. Nothing is ever read from the topic. A synchronous group commit on the owned slots, several times in
//! a third of the session timeout, is what renews the [`Lease`]: the coordinator refuses it to
//! whoever is no longer a member of the generation.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::lease::{Lease, Moment};
use crate::control::records::{WORK_TOPIC, WORKER_GROUP};

/// How long a rebalance waits for partitions of a revoked slot to stop.
const STOPPING: Duration = Duration::from_secs(8);
/// How long a worker that ends waits for its group to know.
const LEAVING: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(50);

/// A change of what this worker owns.
#[derive(Debug)]
pub enum Change {
    Assigned(Vec<i32>),
    /// The slots go to somebody else once `done` is dropped or used.
    Revoked {
        slots: Vec<i32>,
        done: std_mpsc::SyncSender<()>,
    },
    /// Something to tell people; the client goes on trying.
    Trouble(String),
    /// The coordinator will never take this member as it is configured.
    Refused(String),
}

/// A member of the worker group, until it is dropped or left.
#[derive(Debug)]
pub struct Membership {
    leaving: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How the member reaches its group.
#[derive(Clone, Debug)]
pub struct MemberConfig {
    pub bootstrap_servers: Vec<String>,
    pub client_id: String,
    pub session_timeout: Duration,
}

impl Membership {
    /// Joins the group; changes arrive on the channel.
    ///
    /// # Errors
    /// Where the client cannot be made of the configuration.
    pub fn join(
        config: &MemberConfig,
        lease: Arc<Lease>,
        changes: mpsc::UnboundedSender<Change>,
    ) -> Result<Self, KafkaError> {
        let consumer = consumer(config, Context { changes })?;
        consumer.subscribe(&[WORK_TOPIC])?;
        let leaving = Arc::new(AtomicBool::new(false));
        let every = config.session_timeout / 12;
        let left = Arc::clone(&leaving);
        let thread = std::thread::spawn(move || serve(&consumer, &lease, every, &left));
        Ok(Self {
            leaving,
            thread: Some(thread),
        })
    }

    /// Leaves the group, so that others take over at once. Where the brokers cannot be reached, the group notices
    /// by itself when the session ends.
    pub async fn leave(mut self) {
        self.leaving.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else {
            return;
        };
        let deadline = tokio::time::Instant::now() + LEAVING;
        while !thread.is_finished() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::Release);
    }
}

fn consumer(config: &MemberConfig, context: Context) -> Result<BaseConsumer<Context>, KafkaError> {
    let session_ms = config.session_timeout.as_millis();
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", config.bootstrap_servers.join(","))
        .set("client.id", &config.client_id)
        .set("group.id", WORKER_GROUP)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", session_ms.to_string())
        .set(
            "heartbeat.interval.ms",
            (session_ms / 10).max(100).to_string(),
        )
        .set("max.poll.interval.ms", session_ms.max(60_000).to_string())
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "latest")
        .set("allow.auto.create.topics", "false")
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("reconnect.backoff.max.ms", "2000")
        .set_log_level(RDKafkaLogLevel::Error);
    client.create_with_context(context)
}

fn serve(consumer: &BaseConsumer<Context>, lease: &Lease, every: Duration, leaving: &AtomicBool) {
    let mut last_renewal: Option<Instant> = None;
    while !leaving.load(Ordering::Acquire) {
        if let Some(Err(error)) = consumer.poll(POLL) {
            consumer.context().trouble(&error);
        }
        if consumer.assignment_lost() {
            lease.give_up();
        } else if last_renewal.is_none_or(|at| at.elapsed() >= every) {
            // Without slots nothing is asked, so that the first slot is confirmed at once.
            last_renewal = renew(consumer, lease).then(Instant::now);
        }
    }
    consumer.unsubscribe();
    // Dropping the consumer sends LeaveGroup, after the revocation was served.
    let until = Instant::now() + Duration::from_millis(200);
    while Instant::now() < until {
        consumer.poll(POLL);
    }
    lease.give_up();
}

/// A commit of nothing new, answered only to a member of the current generation. Whether it was tried.
fn renew(consumer: &BaseConsumer<Context>, lease: &Lease) -> bool {
    let Ok(assigned) = consumer.assignment() else {
        return false;
    };
    if assigned.count() == 0 {
        return false;
    }
    let mut offsets = TopicPartitionList::with_capacity(assigned.count());
    for slot in assigned.elements() {
        if offsets
            .add_partition_offset(slot.topic(), slot.partition(), Offset::Offset(0))
            .is_err()
        {
            return false;
        }
    }
    let asked = Moment::now();
    match consumer.commit(&offsets, CommitMode::Sync) {
        Ok(()) => lease.renew(asked),
        Err(error) => tracing::debug!(%error, "membership was not confirmed"),
    }
    true
}

#[derive(Debug)]
struct Context {
    changes: mpsc::UnboundedSender<Change>,
}

impl Context {
    fn trouble(&self, error: &KafkaError) {
        let change = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::InvalidSessionTimeout) => Change::Refused(
                "the session timeout is outside of what the brokers allow (group.min.session.timeout.ms, \
                 group.max.session.timeout.ms): choose another --session-timeout"
                    .to_owned(),
            ),
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                Change::Trouble(format!("Read on group {WORKER_GROUP} is not granted"))
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                Change::Trouble(format!("Read on topic {WORK_TOPIC} is not granted"))
            }
            _ => Change::Trouble(error.to_string()),
        };
        // Nobody listens any more when the worker is stopping.
        let _gone = self.changes.send(change);
    }
}

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "group membership");
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(slots) = rebalance else {
            return;
        };
        let (done, stopped) = std_mpsc::sync_channel(1);
        let slots = partitions(slots);
        if !slots.is_empty() && self.changes.send(Change::Revoked { slots, done }).is_ok() {
            // Dropped unused when the partitions have stopped; late ones are held back by lease and sequence.
            let _late = stopped.recv_timeout(STOPPING);
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(slots) => {
                if let Err(error) = consumer.pause(slots) {
                    self.trouble(&error);
                }
                let slots = partitions(slots);
                if !slots.is_empty() {
                    let _gone = self.changes.send(Change::Assigned(slots));
                }
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => self.trouble(error),
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<i32> {
    let slots: BTreeSet<i32> = list
        .elements()
        .iter()
        .filter(|slot| slot.topic() == WORK_TOPIC)
        .map(|slot| slot.partition())
        .collect();
    slots.into_iter().collect()
}
