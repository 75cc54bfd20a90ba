//! Which slots this worker owns: group membership over the partitions of `_kmirror.work`.
//!
//! Workers of a destination are members of one consumer group; the group protocol hands each slot to one of
//! them. Nothing is ever read from the topic. A synchronous group commit on the owned slots, several times in
//! a third of the session timeout, is what renews the [`Lease`]: the coordinator refuses it to
//! whoever is no longer a member of the generation. A thread of its own does that.
//!
//! librdkafka keeps the certificates and passwords that it was made with. When it cannot get through any more and their files
//! have changed, the member leaves and joins again with what the files hold now.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::lease::{Lease, Moment};
use super::slots::{Announcement, Gates};
use crate::control::records::WORK_TOPIC;
use crate::kafka::security::Librdkafka;
use crate::kafka::{self, Security};

/// How long a rebalance waits for partitions of a revoked slot to stop; before, whoever stops them has cut them off.
const STOPPING: Duration = Duration::from_secs(8);
/// How long a worker that ends waits for its group to know.
const LEAVING: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(50);
/// How soon an outage that lasts is told again.
const TELL_AGAIN: Duration = Duration::from_secs(30);
/// How long a member that ends waits for the revocation, and then for a renewal that is under way.
const PARTING: Duration = Duration::from_millis(200);
/// Between two tries to come back with other certificates or passwords.
const COME_BACK: Duration = Duration::from_secs(2);

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
    /// A right that has to be granted; the client goes on trying.
    Denied(String),
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
    pub group: String,
    pub bootstrap_servers: Vec<String>,
    pub client_id: String,
    pub session_timeout: Duration,
    pub security: Arc<Security>,
}

impl MemberConfig {
    async fn librdkafka(&self) -> Result<Librdkafka, kafka::Error> {
        let address = self.bootstrap_servers.first();
        let address = address.map_or("", String::as_str);
        self.security.librdkafka(address).await
    }
}

/// Why a member cannot be made.
#[derive(Debug, Error)]
pub enum JoinError {
    #[error(transparent)]
    Librdkafka(#[from] KafkaError),
    #[error(transparent)]
    Security(#[from] kafka::Error),
}

impl Membership {
    /// Joins the group; changes arrive on the channel.
    ///
    /// # Errors
    /// Where the client cannot be made of the configuration.
    pub async fn join(
        config: &MemberConfig,
        lease: Arc<Lease>,
        announcement: Arc<Announcement>,
        gates: Arc<Gates>,
        changes: mpsc::UnboundedSender<Change>,
    ) -> Result<Self, JoinError> {
        let security = config.librdkafka().await?;
        let consumer = consumer(config, security, Arc::clone(&gates), changes.clone())?;
        let leaving = Arc::new(AtomicBool::new(false));
        let member = Member {
            config: config.clone(),
            lease,
            announcement,
            gates,
            changes,
            leaving: Arc::clone(&leaving),
            runtime: Handle::current(),
        };
        let thread = std::thread::spawn(move || member.run(consumer));
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

fn consumer(
    config: &MemberConfig,
    security: Librdkafka,
    gates: Arc<Gates>,
    changes: mpsc::UnboundedSender<Change>,
) -> Result<BaseConsumer<Context>, KafkaError> {
    let session_ms = config.session_timeout.as_millis();
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", config.bootstrap_servers.join(","))
        .set("client.id", &config.client_id)
        .set("group.id", &config.group)
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
        // A minute is the default: so long would a member be without its slots behind a connection that fell silent.
        .set("socket.timeout.ms", "10000")
        .set_log_level(RDKafkaLogLevel::Error);
    security.apply(&mut client);
    let consumer: BaseConsumer<Context> = client.create_with_context(Context {
        group: config.group.clone(),
        changes,
        gates,
        security,
        stuck: AtomicBool::new(false),
        told: Mutex::default(),
    })?;
    consumer.subscribe(&[WORK_TOPIC])?;
    Ok(consumer)
}

/// What the member's thread works with.
struct Member {
    config: MemberConfig,
    lease: Arc<Lease>,
    announcement: Arc<Announcement>,
    gates: Arc<Gates>,
    changes: mpsc::UnboundedSender<Change>,
    leaving: Arc<AtomicBool>,
    runtime: Handle,
}

impl Member {
    fn run(self, consumer: BaseConsumer<Context>) {
        let mut next = Some(consumer);
        while let Some(consumer) = next {
            let consumer = Arc::new(consumer);
            let renewal = Renewal::start(
                Arc::clone(&consumer),
                Arc::clone(&self.lease),
                Arc::clone(&self.announcement),
                self.config.session_timeout / 12,
            );
            self.serve(&consumer);
            Self::part(consumer, &renewal);
            next = self.come_back();
        }
    }

    fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Until the member leaves, or has to come back with other settings.
    fn serve(&self, consumer: &BaseConsumer<Context>) {
        while !self.is_leaving() {
            if let Some(Err(error)) = consumer.poll(POLL) {
                consumer.context().trouble(&error);
            }
            if consumer.context().is_to_be_renewed() {
                tracing::info!(
                    "certificates or passwords have changed: joining the worker group anew"
                );
                return;
            }
            if consumer.assignment_lost() {
                self.lease.give_up();
            }
        }
    }

    fn part(consumer: Arc<BaseConsumer<Context>>, renewal: &Renewal) {
        consumer.unsubscribe();
        // Dropping the consumer sends LeaveGroup, after the revocation was served.
        let until = Instant::now() + PARTING;
        while Instant::now() < until {
            consumer.poll(POLL);
        }
        renewal.end();
        // A renewal that is under way keeps the consumer; where nobody answers, that lasts until its session is over.
        let until = Instant::now() + PARTING;
        while Arc::strong_count(&consumer) > 1 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `None`: the member leaves for good.
    fn come_back(&self) -> Option<BaseConsumer<Context>> {
        while !self.is_leaving() {
            let made = self
                .runtime
                .block_on(self.config.librdkafka())
                .map_err(JoinError::from)
                .and_then(|security| {
                    let gates = Arc::clone(&self.gates);
                    let changes = self.changes.clone();
                    Ok(consumer(&self.config, security, gates, changes)?)
                });
            match made {
                Ok(consumer) => return Some(consumer),
                Err(error) => {
                    let _gone = self.changes.send(Change::Trouble(error.to_string()));
                    let until = Instant::now() + COME_BACK;
                    while Instant::now() < until && !self.is_leaving() {
                        std::thread::sleep(POLL);
                    }
                }
            }
        }
        None
    }
}

/// The thread that renews the lease. A commit waits for its answer, for as long as a session lasts where nobody
/// answers; meanwhile the member goes on listening to what the group and its connections have to say.
struct Renewal {
    /// Empty once the member has ended.
    lease: Arc<Mutex<Option<Arc<Lease>>>>,
}

impl Renewal {
    fn start(
        consumer: Arc<BaseConsumer<Context>>,
        lease: Arc<Lease>,
        announcement: Arc<Announcement>,
        every: Duration,
    ) -> Self {
        let lease = Arc::new(Mutex::new(Some(lease)));
        let renewal = Self {
            lease: Arc::clone(&lease),
        };
        std::thread::spawn(move || {
            let mut last: Option<Instant> = None;
            while unpoisoned(&lease).is_some() {
                // Without slots nothing is asked, so that the first slot is confirmed at once.
                if last.is_none_or(|at| at.elapsed() >= every) && !consumer.assignment_lost() {
                    last = renew(&consumer, &lease, &announcement).then(Instant::now);
                }
                std::thread::sleep(POLL);
            }
        });
        renewal
    }

    /// From here on nothing renews the lease, not even an answer that is on its way.
    fn end(&self) {
        if let Some(lease) = unpoisoned(&self.lease).take() {
            lease.give_up();
        }
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("nothing panics while it holds this lock")
}

/// A commit that carries what there is to say of the slots, answered only to a member of the current generation. Whether
/// it was tried.
fn renew(
    consumer: &BaseConsumer<Context>,
    lease: &Mutex<Option<Arc<Lease>>>,
    announcement: &Announcement,
) -> bool {
    let Ok(assigned) = consumer.assignment() else {
        return false;
    };
    if assigned.count() == 0 {
        return false;
    }
    let mut offsets = TopicPartitionList::with_capacity(assigned.count());
    for slot in assigned.elements() {
        let (obeyed, report) = announcement.of_slot(slot.partition());
        let mut said = offsets.add_partition(slot.topic(), slot.partition());
        if said.set_offset(Offset::Offset(obeyed)).is_err() {
            return false;
        }
        said.set_metadata(report);
    }
    let asked = Moment::now();
    match consumer.commit(&offsets, CommitMode::Sync) {
        Ok(()) => {
            consumer.context().stuck.store(false, Ordering::Release);
            if let Some(lease) = &*unpoisoned(lease) {
                lease.renew(asked);
            }
        }
        Err(error) => {
            tracing::debug!(%error, "membership was not confirmed");
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::OffsetMetadataTooLarge) {
                announcement.fall_silent();
            }
            if error.rdkafka_error_code().is_some_and(is_about_rights) {
                consumer.context().trouble(&error);
            }
        }
    }
    true
}

#[derive(Debug)]
struct Context {
    group: String,
    changes: mpsc::UnboundedSender<Change>,
    gates: Arc<Gates>,
    security: Librdkafka,
    /// Whether brokers cannot be got through to.
    stuck: AtomicBool,
    /// When people were last told why.
    told: Mutex<Option<Instant>>,
}

impl Context {
    /// Whether another client may get through where this one does not.
    fn is_to_be_renewed(&self) -> bool {
        self.stuck.load(Ordering::Acquire) && self.security.is_outdated()
    }

    fn trouble(&self, error: &KafkaError) {
        if error.rdkafka_error_code().is_some_and(is_about_connections) {
            // Told as an event, with the reason.
            return;
        }
        let change = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::InvalidSessionTimeout) => Change::Refused(
                "the session timeout is outside of what the brokers allow (group.min.session.timeout.ms, \
                 group.max.session.timeout.ms): choose another --session-timeout"
                    .to_owned(),
            ),
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                Change::Denied(format!("Read on group {}", self.group))
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                Change::Denied(format!("Read on topic {WORK_TOPIC}"))
            }
            _ => Change::Trouble(error.to_string()),
        };
        // Nobody listens any more when the worker is stopping.
        let _gone = self.changes.send(change);
    }
}

fn is_about_rights(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed
    )
}

/// Errors of single connections, and of all together.
fn is_about_connections(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::SSL
            | Code::Authentication
            | Code::SaslAuthenticationFailed
    )
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(
        &self,
        _config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        Ok(self.security.token()?)
    }

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "group membership");
        let Some(code) = error
            .rdkafka_error_code()
            .filter(|code| is_about_connections(*code))
        else {
            return;
        };
        self.stuck.store(true, Ordering::Release);
        let mut told = unpoisoned(&self.told);
        if self.security.tell(code, reason) {
            *told = Some(Instant::now());
            return;
        }
        // A single broker that is away is everyday life, and that none is left follows from what was told just now.
        let is_news = told.is_none_or(|at| at.elapsed() >= TELL_AGAIN);
        if code == RDKafkaErrorCode::AllBrokersDown && is_news {
            *told = Some(Instant::now());
            let cause = "none of its brokers can be reached".to_owned();
            let _gone = self.changes.send(Change::Trouble(cause));
        }
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(slots) = rebalance else {
            return;
        };
        let (done, stopped) = std_mpsc::sync_channel(1);
        let slots = partitions(slots);
        let revoked = Change::Revoked {
            slots: slots.clone(),
            done,
        };
        if !slots.is_empty() && self.changes.send(revoked).is_ok() {
            // Dropped unused when the partitions have stopped; late ones find their way out closed.
            let _late = stopped.recv_timeout(STOPPING);
        }
        self.gates.close(&slots);
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(slots) => {
                self.stuck.store(false, Ordering::Release);
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
