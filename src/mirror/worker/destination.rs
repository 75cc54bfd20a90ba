//! The partitions of one destination, kept as what was applied says.
//!
//! Three things change what has to run: the control records, the topics of both clusters, and which slots the group
//! gave this worker. Each change leads to one reconciliation: what should run and does not is started,
//! what should not is stopped, and the rest is told its state.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::KafkaError;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::desired::{self, Wanted};
use super::figures::{Figures, Name};
use super::follow::{self, Orders};
use super::lease::Lease;
use super::membership::{Change, JoinError, MemberConfig, Membership};
use super::seen::Seen;
use super::{ConnectedCluster, Options};
use crate::control::ControlError;
use crate::control::progress;
use crate::control::records::{DesiredState, IncarnationId, MirrorRecord};
use crate::control::store::{self, ControlState};
use crate::kafka;
use crate::kafka::admin::OffsetSpec;
use crate::kafka::fetch::Isolation;
use crate::mirror::io::keeper::{self, Keeper};
use crate::mirror::io::task::{self, Running, Surroundings};
use crate::mirror::io::writer::Writer;
use crate::mirror::io::{PartitionKey, Route, TopicPartition};
use crate::mirror::map::{self, MapTail};
use crate::mirror::partition::{Event, Settings, Stored};

/// How often idle mirrors are looked at for records that somebody else wrote.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// How long a stopping worker waits for answers and for progress to be stored.
const STOPPING: Duration = Duration::from_secs(15);
/// How often a worker for which nothing was applied yet looks again.
const LOOK_FOR_LINKS: Duration = Duration::from_secs(2);
/// How soon the same trouble is told again.
const TROUBLE_AGAIN: Duration = Duration::from_secs(30);
/// Its owner is the one worker that makes mirrors of topics that match later.
const LEADING_SLOT: i32 = 0;
const WINDOW_BYTES: usize = 16 << 20;
const WINDOW_BATCHES: usize = 256;
const QUEUE_BYTES: usize = 4 << 20;

/// Why a worker cannot go on.
#[derive(Debug, Error)]
pub enum RunError {
    #[error("cluster {cluster}: {source}")]
    Control {
        cluster: String,
        source: ControlError,
    },
    #[error("cluster {cluster}: the worker group cannot be joined: {source}")]
    Group { cluster: String, source: KafkaError },
    #[error("the worker group cannot be joined: {0}")]
    Security(kafka::Error),
    #[error("cluster {cluster}: {cause}")]
    Refused { cluster: String, cause: String },
    #[error("a part of the worker broke down: {0}")]
    Panicked(String),
}

/// How a destination's worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Done,
    /// Nothing was ever applied to this cluster.
    NothingApplied(String),
}

#[derive(Debug)]
struct Partition {
    running: Running,
    wanted: Wanted,
    name: Name,
    stopping: bool,
}

/// The worker of one destination.
#[derive(Debug)]
pub struct DestinationWorker {
    cluster: ConnectedCluster,
    clusters: HashMap<String, ConnectedCluster>,
    options: Options,
    figures: Figures,
    lease: Arc<Lease>,
    writer: Arc<Writer>,
    keeper: Keeper,
    /// Why progress cannot be stored.
    unstored: watch::Receiver<Option<keeper::Trouble>>,
    state: ControlState,
    seen: Seen,
    slots: BTreeSet<i32>,
    /// Whether the group ever gave an answer.
    assigned: bool,
    partitions: BTreeMap<PartitionKey, Partition>,
    /// A right that is missing to begin at all.
    denied: Option<String>,
    /// What was last said of the group, and when.
    trouble: Option<(String, Instant)>,
    /// For the follower.
    orders: watch::Sender<Orders>,
    /// Links and mirrors that were named in the log already.
    known_links: HashSet<Uuid>,
    known_mirrors: HashSet<IncarnationId>,
}

impl DestinationWorker {
    pub fn new(
        cluster: ConnectedCluster,
        clusters: HashMap<String, ConnectedCluster>,
        options: Options,
        figures: Figures,
    ) -> Self {
        let client = cluster.client.clone();
        let (keeper, unstored) = keeper::start(client.clone());
        Self {
            lease: Arc::new(Lease::new(options.session_timeout)),
            writer: Writer::new(client),
            keeper,
            unstored,
            state: ControlState::default(),
            seen: Seen::new(&cluster.cluster_id),
            cluster,
            clusters,
            options,
            figures,
            slots: BTreeSet::new(),
            assigned: false,
            partitions: BTreeMap::new(),
            denied: None,
            trouble: None,
            orders: watch::Sender::new(Orders::default()),
            known_links: HashSet::new(),
            known_mirrors: HashSet::new(),
        }
    }

    /// Runs until told to stop, or until everything is copied where that is asked for.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<Ended, RunError> {
        if !self.wait_for_links(&mut stop).await? {
            let name = self.cluster.name.clone();
            let done = *stop.borrow();
            return Ok(if done {
                Ended::Done
            } else {
                Ended::NothingApplied(name)
            });
        }
        let mut watching = store::Watch::start(self.cluster.client.clone());
        let (sender, mut changes) = mpsc::unbounded_channel();
        let config = MemberConfig {
            bootstrap_servers: self.cluster.bootstrap_servers.clone(),
            client_id: self.cluster.client.config().client_id.clone(),
            session_timeout: self.options.session_timeout,
            security: Arc::clone(&self.cluster.client.config().security),
        };
        let membership = Membership::join(&config, Arc::clone(&self.lease), sender)
            .await
            .map_err(|source| match source {
                // It names the cluster itself.
                JoinError::Security(error) => RunError::Security(error),
                JoinError::Librdkafka(source) => RunError::Group {
                    cluster: self.cluster.name.clone(),
                    source,
                },
            })?;
        let following = self.follow();
        let mut refused = None;
        let mut refresh = interval(self.options.refresh);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut check = interval(CHECK_INTERVAL);
        let mut tidy = interval(Duration::from_millis(200));
        while !*stop.borrow() {
            tokio::select! {
                _ = stop.changed() => {}
                state = watching.changed() => match state {
                    Ok(state) => {
                        self.state = state;
                        self.seen.look(&self.state, &self.clusters).await;
                        self.reconcile().await;
                    }
                    // Told by the connection, once.
                    Err(error @ ControlError::Kafka(kafka::Error::Security(_))) => {
                        tracing::debug!(cluster = self.cluster.name, %error, "the control records cannot be followed just now");
                    }
                    Err(error) => tracing::warn!(cluster = self.cluster.name, %error, "the control records cannot be followed just now"),
                },
                Some(change) = changes.recv() => {
                    if let Change::Refused(cause) = change {
                        refused = Some(cause);
                        break;
                    }
                    self.on_change(change).await;
                }
                _ = refresh.tick() => {
                    self.seen.look(&self.state, &self.clusters).await;
                    self.reconcile().await;
                }
                _ = check.tick() => self.check_ends(),
                _ = tidy.tick() => {
                    if self.remove_ended() {
                        self.reconcile().await;
                    }
                    // A lasting worker waits for rights to be granted; one that is to end says what is missing.
                    if self.options.until_caught_up && self.denied.is_some() {
                        refused = self.denied.take();
                        break;
                    }
                    if self.options.until_caught_up
                        && (self.is_done() || self.unstored.borrow().as_ref().is_some_and(|it| it.denied))
                    {
                        break;
                    }
                }
            }
        }
        following.abort();
        let all: Vec<PartitionKey> = self.partitions.keys().copied().collect();
        self.stop_partitions(&all).await;
        if self.options.until_caught_up
            && refused.is_none()
            && let Some(trouble) = &*self.unstored.borrow()
        {
            refused = Some(format!("progress could not be stored: {}", trouble.cause));
        }
        // Nobody is left to stop anything for a revocation, so none is waited for.
        drop(changes);
        membership.leave().await;
        match refused {
            Some(cause) => Err(RunError::Refused {
                cluster: self.cluster.name,
                cause,
            }),
            None => Ok(Ended::Done),
        }
    }

    /// `false`: told to stop first, or there is nothing and nothing to wait for.
    async fn wait_for_links(&mut self, stop: &mut watch::Receiver<bool>) -> Result<bool, RunError> {
        let mut told = false;
        loop {
            let found =
                store::read(&self.cluster.client)
                    .await
                    .map_err(|source| RunError::Control {
                        cluster: self.cluster.name.clone(),
                        source,
                    })?;
            if let Some(state) = found {
                self.state = state;
                return Ok(true);
            }
            if self.options.until_caught_up {
                return Ok(false);
            }
            if !told {
                told = true;
                tracing::warn!(
                    cluster = self.cluster.name,
                    "nothing has been applied to this cluster yet: waiting for `kmirror apply`"
                );
            }
            tokio::select! {
                _ = stop.changed() => return Ok(false),
                () = tokio::time::sleep(LOOK_FOR_LINKS) => {}
            }
        }
    }

    fn follow(&self) -> AbortHandle {
        let orders = self.orders.subscribe();
        let (destination, clusters) = (self.cluster.clone(), self.clusters.clone());
        let (holder, every) = (self.options.holder.clone(), self.options.refresh);
        tokio::spawn(follow::run(destination, clusters, orders, holder, every)).abort_handle()
    }

    async fn on_change(&mut self, change: Change) {
        match change {
            Change::Assigned(slots) => {
                tracing::debug!(
                    cluster = self.cluster.name,
                    count = slots.len(),
                    "slots assigned"
                );
                self.assigned = true;
                self.denied = None;
                self.slots.extend(slots);
                self.reconcile().await;
            }
            Change::Revoked { slots, done } => {
                for slot in &slots {
                    self.slots.remove(slot);
                }
                let leaving: Vec<PartitionKey> = self
                    .partitions
                    .keys()
                    .filter(|key| slots.contains(&desired::slot_of(key)))
                    .copied()
                    .collect();
                self.stop_partitions(&leaving).await;
                drop(done);
            }
            Change::Refused(cause) | Change::Trouble(cause) => self.tell_trouble(cause),
            Change::Denied(right) => {
                let asked = self.cluster.client.asked();
                let addresses = asked.addresses.join(", ");
                let cause = format!("{right} is not granted to {} ({addresses})", asked.user);
                self.denied = Some(cause.clone());
                self.tell_trouble(cause);
            }
        }
    }

    /// The client repeats itself while a cluster is away; people are told once, and again after a while.
    fn tell_trouble(&mut self, cause: String) {
        let told = self.trouble.as_ref();
        if told.is_some_and(|(same, at)| *same == cause && at.elapsed() < TROUBLE_AGAIN) {
            return;
        }
        tracing::warn!(
            cluster = self.cluster.name,
            cause,
            "the worker group cannot be reached just now"
        );
        self.trouble = Some((cause, Instant::now()));
    }

    fn wanted(&self) -> BTreeMap<PartitionKey, Wanted> {
        desired::partitions(&self.state, |link, mirror| {
            self.seen.partition_count(link, mirror)
        })
    }

    async fn reconcile(&mut self) {
        self.orders.send_replace(Orders {
            state: self.state.clone(),
            leads: self.slots.contains(&LEADING_SLOT),
        });
        self.name_news();
        let mut wanted = self.wanted();
        wanted.retain(|key, wanted| {
            self.slots.contains(&desired::slot_of(key))
                && self.clusters.contains_key(&wanted.source_cluster_id)
        });
        for (key, partition) in &mut self.partitions {
            let goes_on = wanted
                .get(key)
                .is_some_and(|wanted| partition.wanted.is_same_work(wanted));
            if !goes_on && !partition.stopping {
                partition.stopping = true;
                partition.tell(Event::Stop);
            }
        }
        let mut missing = Vec::new();
        for (key, wanted) in wanted {
            match self.partitions.get_mut(&key) {
                Some(partition) if partition.wanted.state != wanted.state => {
                    partition.tell(event_of(wanted.state));
                    partition.wanted = wanted;
                }
                Some(_) => {}
                None => missing.push((key, wanted)),
            }
        }
        if !missing.is_empty() {
            self.start_partitions(missing).await;
        }
    }

    /// One line for each link and mirror that is new to this worker.
    fn name_news(&mut self) {
        for link in self.state.links.values() {
            if self.known_links.insert(link.id) {
                let from = self
                    .clusters
                    .get(&link.source_cluster_id)
                    .map(|cluster| cluster.name.clone());
                match from {
                    Some(from) => tracing::info!(
                        link = link.name,
                        from,
                        to = self.cluster.name,
                        "link started"
                    ),
                    None => tracing::warn!(
                        link = link.name,
                        source_cluster_id = link.source_cluster_id,
                        "the file names no cluster with this link's source cluster id: its mirrors are left to other workers"
                    ),
                }
            }
        }
        for mirror in self.state.mirrors.values() {
            if self.known_mirrors.insert(mirror.id)
                && let Some(link) = self.state.links.get(&mirror.id.link)
            {
                tracing::info!(
                    link = link.name,
                    topic = mirror.source_topic,
                    mirror = mirror.destination_topic,
                    "topic matched"
                );
            }
        }
    }

    async fn start_partitions(&mut self, missing: Vec<(PartitionKey, Wanted)>) {
        let ids: HashSet<IncarnationId> = missing.iter().map(|(key, _)| key.id).collect();
        let mut stored = match progress::read(&self.cluster.client, &ids).await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(cluster = self.cluster.name, %error, "stored progress cannot be read just now");
                if error.is_authorization() {
                    self.denied = Some(error.to_string());
                }
                return;
            }
        };
        for (key, wanted) in missing {
            let stored =
                stored
                    .remove(&(key.id, key.partition))
                    .map_or_else(Stored::default, |found| {
                        let stored = |chunk| found.chunks.get(&chunk).map(map::decode);
                        let oldest = found.record.anchors.first();
                        let map = MapTail::load(found.record.map_chunk, oldest, stored);
                        Stored {
                            anchors: found.record.anchors,
                            map,
                        }
                    });
            self.start_partition(key, wanted, stored);
        }
    }

    fn start_partition(&mut self, key: PartitionKey, wanted: Wanted, stored: Stored) {
        let Some(source) = self.clusters.get(&wanted.source_cluster_id) else {
            return;
        };
        let name = Name {
            link: wanted.link.clone(),
            topic: wanted.destination_topic.clone(),
            partition: key.partition,
        };
        let destination = TopicPartition {
            topic: wanted.destination_topic.clone(),
            topic_id: key.id.destination_topic,
            partition: key.partition,
        };
        let around = Surroundings {
            key,
            link: wanted.link.clone(),
            source: TopicPartition {
                topic: wanted.source_topic.clone(),
                topic_id: key.id.source_topic,
                partition: key.partition,
            },
            route: Route::new(destination, Arc::clone(&self.lease)),
            source_client: source.client.clone(),
            destination_client: self.cluster.client.clone(),
            reader: Arc::clone(&source.reader),
            writer: Arc::clone(&self.writer),
            keeper: self.keeper.clone(),
            start: wanted.start,
            settings: Settings {
                producer_id: wanted.producer_id,
                producer_epoch: wanted.producer_epoch,
                append_time: wanted.timestamps
                    == crate::control::records::TimestampsSpec::AsConsumed,
                window_bytes: WINDOW_BYTES,
                window_batches: WINDOW_BATCHES,
                queue_bytes: QUEUE_BYTES,
            },
            figures: self.figures.of(name.clone()),
        };
        tracing::info!(
            link = name.link,
            topic = name.topic,
            partition = key.partition,
            "partition assigned"
        );
        let running = task::start(around, stored);
        let partition = Partition {
            running,
            wanted,
            name,
            stopping: false,
        };
        if partition.wanted.state == DesiredState::Paused {
            partition.tell(Event::Pause);
        }
        self.partitions.insert(key, partition);
    }

    /// Stops partitions and waits until what they sent is answered and stored.
    async fn stop_partitions(&mut self, keys: &[PartitionKey]) {
        for key in keys {
            if let Some(partition) = self.partitions.get_mut(key) {
                partition.stopping = true;
                partition.tell(Event::Stop);
            }
        }
        let deadline = Instant::now() + STOPPING;
        for key in keys {
            let Some(partition) = self.partitions.get_mut(key) else {
                continue;
            };
            if tokio::time::timeout_at(deadline, &mut partition.running.handle)
                .await
                .is_err()
            {
                tracing::warn!(
                    topic = partition.name.topic,
                    partition = key.partition,
                    "was cut off before its answers arrived; the next start reads them from the destination"
                );
                partition.running.handle.abort();
            }
            if let Some(partition) = self.partitions.remove(key) {
                self.figures.forget(&partition.name);
            }
        }
    }

    /// Takes out partitions whose task ended. Whether there were any.
    fn remove_ended(&mut self) -> bool {
        let ended: Vec<PartitionKey> = self
            .partitions
            .iter()
            .filter(|(_, partition)| partition.running.handle.is_finished())
            .map(|(key, _)| *key)
            .collect();
        for key in &ended {
            if let Some(partition) = self.partitions.remove(key)
                && !partition.stopping
            {
                tracing::error!(
                    topic = partition.name.topic,
                    partition = key.partition,
                    "its task broke down and is started again"
                );
            }
        }
        !ended.is_empty()
    }

    /// Looks at the ends of all mirror partitions in one call, aside: with a topic or broker gone that lasts, and
    /// slots that are revoked meanwhile must not wait for it.
    fn check_ends(&self) {
        let (asked, events): (Vec<_>, Vec<_>) = self
            .partitions
            .values()
            .map(|partition| {
                let Name {
                    topic,
                    partition: index,
                    ..
                } = partition.name.clone();
                let events = partition.running.events.clone();
                ((topic, index, OffsetSpec::Latest), events)
            })
            .unzip();
        if asked.is_empty() {
            return;
        }
        let admin = self.cluster.client.admin();
        tokio::spawn(async move {
            let found = admin.list_offsets(asked, Isolation::ReadUncommitted).await;
            for (events, (_, outcome)) in events.into_iter().zip(found) {
                if let Ok(listed) = outcome {
                    // A task that ended needs no answer.
                    let _ended = events.send(Event::EndSeen { end: listed.offset });
                }
            }
        });
    }

    /// Whether every partition that the group gave this worker is caught up, paused or failed.
    fn is_done(&self) -> bool {
        let wanted = self.wanted();
        let every_mirror_is_seen =
            self.state.mirrors.values().all(|mirror| {
                wanted.keys().any(|key| key.id == mirror.id) || self.cannot_run(mirror)
            });
        self.assigned
            && every_mirror_is_seen
            && wanted
                .iter()
                .filter(|(key, _)| self.slots.contains(&desired::slot_of(key)))
                .filter(|(_, wanted)| self.clusters.contains_key(&wanted.source_cluster_id))
                .all(|(key, wanted)| self.is_settled(key, wanted))
    }

    /// Whether nothing here can be copied: no link, a source that the file does not name, or a missing topic.
    fn cannot_run(&self, mirror: &MirrorRecord) -> bool {
        let Some(link) = self.state.links.get(&mirror.id.link) else {
            return true;
        };
        if let Some((end, topic)) = self.seen.absent_end(link, mirror) {
            let name = Name {
                link: link.name.clone(),
                topic: mirror.destination_topic.clone(),
                partition: 0,
            };
            self.figures
                .of(name)
                .set_failed(format!("the {end} topic {topic} does not exist"));
            return true;
        }
        !self.clusters.contains_key(&link.source_cluster_id)
    }

    fn is_settled(&self, key: &PartitionKey, wanted: &Wanted) -> bool {
        wanted.state == DesiredState::Paused
            || self
                .partitions
                .get(key)
                .is_some_and(|partition| self.figures.of(partition.name.clone()).is_settled())
    }
}

impl Partition {
    fn tell(&self, event: Event) {
        // A task that ended is found and replaced by the next reconciliation.
        let _ended = self.running.events.send(event);
    }
}

impl Wanted {
    /// Whether only the state differs: then the running task can go on.
    fn is_same_work(&self, other: &Self) -> bool {
        let mut same = other.clone();
        same.state = self.state;
        same.link.clone_from(&self.link);
        *self == same
    }
}

fn event_of(state: DesiredState) -> Event {
    match state {
        DesiredState::Active => Event::Run,
        DesiredState::Paused => Event::Pause,
    }
}
