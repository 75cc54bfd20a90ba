//! The partitions of one destination, kept as what was applied says.
//!
//! Four things change what has to run: the control records, the topics of both clusters, which slots the group
//! gave this worker, and which sources it reaches. Each change leads to one reconciliation: what should run and does not is started,
//! what should not is stopped, and the rest is told its state.

mod elsewhere;
mod look;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::protocol::Request;
use rdkafka::error::KafkaError;
use thiserror::Error;
use tokio::sync::{RwLock, mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::desired::{self, Aim, SlotMap, Wanted};
use super::ending::{self, Steps};
use super::figures::{Figures, Name, PartitionFigures};
use super::follow::{self, Orders};
use super::lease::Lease;
use super::membership::{Change, JoinError, MemberConfig, Membership};
use super::reached::Reached;
use super::reversing;
use super::scope::Scope;
use super::seen::Seen;
use super::slots::{self, Announcement, Gates, Rates};
use super::{ConnectedCluster, Options, aside};
use crate::control::ControlError;
use crate::control::progress;
use crate::control::records::{Acks, EndingKind, IncarnationId, PartitionEndRecord};
use crate::control::store::{self, ControlState};
use crate::kafka::{self, Target};
use crate::mirror::io::fence::Fencer;
use crate::mirror::io::keeper::{self, Keeper};
use crate::mirror::io::pad::MarkerProducer;
use crate::mirror::io::task::{self, Running, Surroundings};
use crate::mirror::io::throttle::Throttle;
use crate::mirror::io::watermark::{self, Watermarks};
use crate::mirror::io::writer::Writer;
use crate::mirror::io::{PartitionKey, Route, TopicPartition};
use crate::mirror::map::{self, MapTail};
use crate::mirror::partition::{Event, Merging, Settings, Stored};
use elsewhere::Elsewhere;

/// How often idle mirrors are looked at for records that somebody else wrote.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// How long a stopping worker waits for answers and for progress to be stored.
const STOPPING: Duration = Duration::from_secs(15);
/// The same where slots go to another worker: less than the rebalance waits, so that nothing leaves after it.
const HANDING_OVER: Duration = Duration::from_secs(6);
/// How long a stopping worker waits for what it does under the destination's lock.
const FINISHING: Duration = Duration::from_secs(5);
/// How often a worker for which nothing was applied yet looks again.
const LOOK_FOR_LINKS: Duration = Duration::from_secs(2);
/// How soon the same trouble is told again.
const TROUBLE_AGAIN: Duration = Duration::from_secs(30);
/// Its owner is the one worker that makes mirrors of topics that match later.
const LEADING_SLOT: i32 = 0;
/// The newest Produce version of Kafka 3.7, from which on `acks = "1"` was tried.
const ACKS_ONE_FROM_PRODUCE: i16 = 10;
const WINDOW_BYTES: usize = 16 << 20;
const WINDOW_BATCHES: usize = 1024;
const QUEUE_BYTES: usize = 4 << 20;
/// Source batches smaller than this are merged where the number of requests is the limit.
const MERGE_COMPRESSED: Merging = Merging {
    below: 4 << 10,
    to: 64 << 10,
};
const MERGE_PLAIN: Merging = Merging {
    below: 32 << 10,
    to: 256 << 10,
};

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
    /// Links were left out whose sources are not reached (only with `until_caught_up`).
    Lacking(Vec<String>),
    /// The work is left to others, which reach more sources. It may be taken up again.
    StoodAside,
}

#[derive(Debug)]
struct Partition {
    running: Running,
    wanted: Wanted,
    name: Name,
    /// The slot for which it runs here.
    slot: i32,
    route: Arc<Route>,
    figures: Arc<PartitionFigures>,
    stopping: bool,
}

/// Partitions that somebody tried to fence, and those for which it was done.
type Fenced = (Vec<PartitionKey>, Vec<(PartitionKey, PartitionEndRecord)>);

/// What somebody found who looked.
#[derive(Debug)]
struct Looked {
    seen: Seen,
    /// Others reach more than this worker does, and are at work.
    others_carry: bool,
}

/// What was found, once somebody looks.
async fn looked(looking: &mut Option<JoinHandle<Looked>>) -> Looked {
    let Some(task) = looking else {
        return std::future::pending().await;
    };
    let seen = task.await.expect("looking does not panic");
    *looking = None;
    seen
}

/// The worker of one destination.
#[derive(Debug)]
pub struct DestinationWorker {
    pub(super) scope: Scope,
    pub(super) cluster: ConnectedCluster,
    pub(super) clusters: Reached,
    pub(super) options: Options,
    figures: Figures,
    lease: Arc<Lease>,
    writer: Arc<Writer>,
    keeper: Keeper,
    watermarks: Watermarks,
    marker_producer: MarkerProducer,
    /// Why progress cannot be stored.
    unstored: watch::Receiver<Option<keeper::Trouble>>,
    pub(super) state: ControlState,
    /// As the state has it.
    slot_map: SlotMap,
    pub(super) announcement: Arc<Announcement>,
    gates: Arc<Gates>,
    rates: Rates,
    seen: Seen,
    /// Somebody looks, apart: a cluster that does not answer must not keep this worker from what its group tells it.
    looking: Option<JoinHandle<Looked>>,
    /// There is more to look at than when they began.
    look_again: bool,
    slots: BTreeSet<i32>,
    /// Whether the group ever gave an answer.
    assigned: bool,
    partitions: BTreeMap<PartitionKey, Partition>,
    /// What others carry; only with `until_caught_up`.
    elsewhere: Elsewhere,
    /// How far the ends of this worker's partitions have come.
    steps: Steps,
    /// What was tried to be fenced, and what was.
    fenced: (
        mpsc::UnboundedSender<Fenced>,
        mpsc::UnboundedReceiver<Fenced>,
    ),
    /// What falls to this worker of the limit of each link.
    throttles: HashMap<Uuid, Arc<Throttle>>,
    /// A right that is missing to begin at all.
    denied: Option<String>,
    /// What was last said of the group, and when.
    trouble: Option<(String, Instant)>,
    /// For the follower.
    orders: watch::Sender<Orders>,
    /// Held while a part of this worker changes what is desired.
    at_work: Arc<RwLock<()>>,
    /// Links that were named in the log already, and whether their source was reached then.
    known_links: HashMap<Uuid, bool>,
    /// The same of mirrors.
    known_mirrors: HashSet<IncarnationId>,
}

impl DestinationWorker {
    pub fn new(
        scope: Scope,
        cluster: ConnectedCluster,
        clusters: impl Into<Reached>,
        options: Options,
        figures: Figures,
    ) -> Self {
        let client = cluster.client.clone();
        let lease = Arc::new(Lease::new(options.session_timeout));
        let (keeper, unstored) = keeper::start(client.clone(), Arc::clone(&lease));
        Self {
            scope,
            lease,
            writer: Writer::new(client.clone()),
            watermarks: watermark::start(client),
            marker_producer: MarkerProducer::default(),
            keeper,
            unstored,
            state: ControlState::default(),
            slot_map: SlotMap::default(),
            announcement: Announcement::new(),
            gates: Arc::default(),
            rates: Rates::default(),
            seen: Seen::new(&cluster.cluster_id),
            looking: None,
            look_again: false,
            cluster,
            clusters: clusters.into(),
            options,
            figures,
            slots: BTreeSet::new(),
            assigned: false,
            partitions: BTreeMap::new(),
            elsewhere: Elsewhere::default(),
            steps: Steps::default(),
            fenced: mpsc::unbounded_channel(),
            throttles: HashMap::new(),
            denied: None,
            trouble: None,
            orders: watch::Sender::new(Orders::default()),
            at_work: Arc::default(),
            known_links: HashMap::new(),
            known_mirrors: HashSet::new(),
        }
    }

    /// What says whether this worker may write. Its membership renews it.
    pub fn lease(&self) -> Arc<Lease> {
        Arc::clone(&self.lease)
    }

    /// Joins the group of workers and runs until told to stop, or until everything is copied where that is asked for.
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
        if !self.wait_for_turn(&mut stop).await {
            return Ok(self.ended());
        }
        let (sender, changes) = mpsc::unbounded_channel();
        let config = MemberConfig {
            group: self.scope.group(),
            bootstrap_servers: self.cluster.bootstrap_servers.clone(),
            client_id: self.cluster.client.config().client_id.clone(),
            session_timeout: self.options.session_timeout,
            security: Arc::clone(&self.cluster.client.config().security),
        };
        let membership = Membership::join(
            &config,
            Arc::clone(&self.lease),
            Arc::clone(&self.announcement),
            Arc::clone(&self.gates),
            sender,
        )
        .await
        .map_err(|source| match source {
            // It names the cluster itself.
            JoinError::Security(error) => RunError::Security(error),
            JoinError::Librdkafka(source) => RunError::Group {
                cluster: self.cluster.name.clone(),
                source,
            },
        })?;
        let ended = self.serve(changes, stop).await;
        membership.leave().await;
        ended
    }

    /// Runs the partitions of the slots that `changes` tell of, however those were come by.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn serve(
        mut self,
        mut changes: mpsc::UnboundedReceiver<Change>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Ended, RunError> {
        let mut watching = store::Watch::start(self.cluster.client.clone());
        let leading = self.lead();
        let mut refused = None;
        let mut stands_aside = false;
        let mut refresh = interval(self.options.refresh);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut check = interval(CHECK_INTERVAL);
        let mut compare = interval(self.options.compare);
        let mut tidy = interval(Duration::from_millis(200));
        while !*stop.borrow() {
            tokio::select! {
                _ = stop.changed() => {}
                state = watching.changed() => match state {
                    Ok(state) => {
                        self.learn(state);
                        if self.is_gone() {
                            break;
                        }
                        self.look();
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
                _ = refresh.tick() => self.look(),
                () = self.clusters.changed() => {
                    self.look();
                    self.reconcile().await;
                }
                found = looked(&mut self.looking) => {
                    self.seen = found.seen;
                    if found.others_carry && self.lacks_source() {
                        stands_aside = true;
                        break;
                    }
                    if std::mem::take(&mut self.look_again) {
                        self.look();
                    }
                    self.reconcile().await;
                }
                Some((tried, ended)) = self.fenced.1.recv() => {
                    self.steps.note_ended(&tried, ended);
                }
                _ = check.tick() => self.check_ends(),
                _ = compare.tick() => self.say_what_is_carried(),
                _ = tidy.tick() => {
                    self.say_what_is_obeyed();
                    if self.remove_ended() {
                        self.reconcile().await;
                    }
                    // A lasting worker waits for rights to be granted; one that is to end says what is missing.
                    if self.options.until_caught_up && self.denied.is_some() {
                        refused = self.denied.take();
                        break;
                    }
                    if self.options.until_caught_up
                        && (self.is_done() && self.others_are_done() || self.unstored.borrow().as_ref().is_some_and(|it| it.denied))
                    {
                        break;
                    }
                }
            }
        }
        // Once it has the right alone, nothing is under way, and nothing more begins.
        let at_work = Arc::clone(&self.at_work);
        let _idle = tokio::time::timeout(FINISHING, at_work.write()).await;
        for task in leading {
            task.abort();
        }
        if let Some(looking) = self.looking.take() {
            looking.abort();
        }
        let all: Vec<PartitionKey> = self.partitions.keys().copied().collect();
        self.stop_partitions(&all, STOPPING).await;
        if self.options.until_caught_up
            && refused.is_none()
            && let Some(trouble) = &*self.unstored.borrow()
        {
            refused = Some(format!("progress could not be stored: {}", trouble.cause));
        }
        // Nobody is left to stop anything for a revocation, so none is waited for.
        drop(changes);
        match refused {
            Some(cause) => Err(RunError::Refused {
                cluster: self.cluster.name,
                cause,
            }),
            None if stands_aside && !self.options.until_caught_up => {
                tracing::info!(
                    cluster = self.cluster.name,
                    "other workers reach sources that this one does not: the work is left to them"
                );
                Ok(Ended::StoodAside)
            }
            None => Ok(self.ended()),
        }
    }

    /// How it ends that there is nothing left to do here.
    fn ended(&self) -> Ended {
        if !self.options.until_caught_up || !self.lacks_source() {
            return Ended::Done;
        }
        let lacking = aside::lacking(&self.state, |id| self.clusters.has(id));
        Ended::Lacking(lacking.map(|link| link.name.clone()).collect())
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
                self.learn(state);
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

    /// What one of the workers does for all: follows the links, and keeps the work even.
    fn lead(&self) -> Vec<AbortHandle> {
        let (destination, clusters) = (self.cluster.clone(), self.clusters.clone());
        let holder = self.options.holder.clone();
        let (refresh, compare) = (self.options.refresh, self.options.compare);
        let orders = self.orders.subscribe();
        let following = follow::run(
            destination.clone(),
            clusters,
            orders.clone(),
            holder.clone(),
            refresh,
        );
        let ending = ending::run(destination.clone(), orders.clone(), holder.clone());
        let reversing = reversing::run(
            destination.clone(),
            self.clusters.clone(),
            orders.clone(),
            holder.clone(),
            self.lease(),
        );
        let mut leading = vec![
            tokio::spawn(following).abort_handle(),
            tokio::spawn(ending).abort_handle(),
            tokio::spawn(reversing).abort_handle(),
        ];
        // The record of moved partitions is that of one group.
        if self.scope == Scope::Files {
            let balancing = slots::run(destination, orders, holder, compare);
            leading.push(tokio::spawn(balancing).abort_handle());
        }
        leading
    }

    /// Has the topics of all mirrors looked up.
    fn look(&mut self) {
        if self.looking.is_some() {
            self.look_again = true;
            return;
        }
        let (mut seen, state) = (self.seen.clone(), self.state.clone());
        let clusters = self.clusters.all();
        // Before there are slots, what is said of them may be the word of workers that are gone.
        let is_to_ask = self.assigned && self.lacks_source();
        let asking = is_to_ask.then(|| (self.cluster.clone(), self.slots.clone()));
        self.looking = Some(tokio::spawn(async move {
            seen.look(&state, &clusters).await;
            let others_carry = match asking {
                Some((destination, own)) => aside::others_carry_beside(&destination, &own).await,
                None => false,
            };
            Looked { seen, others_carry }
        }));
    }

    /// Takes in what is desired. Word that is older than what was read at the last assignment leaves the slots alone: by
    /// then somebody may rely on them.
    pub(super) fn learn(&mut self, mut state: ControlState) {
        self.scope.narrow(&mut state);
        if state.slots.generation < self.state.slots.generation {
            state.slots = self.state.slots.clone();
        }
        self.slot_map = SlotMap::new(&state.slots);
        self.state = state;
        self.announcement.lacks_source(self.lacks_source());
    }

    /// Whether the one link that this worker is for was deleted.
    fn is_gone(&self) -> bool {
        matches!(self.scope, Scope::Link(id) if !self.state.links.contains_key(&id))
    }

    /// Whether a partition runs in a slot that is this worker's.
    fn is_mine(&self, key: &PartitionKey) -> bool {
        let slot = self.slot_map.slot(key);
        slot.is_some_and(|slot| self.slots.contains(&slot))
    }

    /// Says which moves of partitions have been carried out here.
    fn say_what_is_obeyed(&self) {
        if self
            .partitions
            .values()
            .all(|partition| !partition.stopping)
        {
            self.announcement.obeys(self.state.slots.generation);
        }
    }

    /// Says which partitions carry much.
    fn say_what_is_carried(&mut self) {
        let now = self
            .partitions
            .iter()
            .map(|(key, partition)| (*key, partition.slot, partition.figures.bytes()));
        let heavy = self.rates.look(now);
        self.announcement.carries(heavy);
    }

    async fn on_change(&mut self, change: Change) {
        match change {
            Change::Assigned(slots) => {
                tracing::debug!(
                    cluster = self.cluster.name,
                    count = slots.len(),
                    "slots assigned"
                );
                // The former owner may have said that it obeys a newer record than this worker has heard of.
                let reading = store::read(&self.cluster.client);
                match tokio::time::timeout(HANDING_OVER, reading).await {
                    Ok(Ok(Some(state))) => self.learn(state),
                    Ok(Ok(None)) => {}
                    Err(_) => {
                        tracing::debug!(
                            cluster = self.cluster.name,
                            "the control records take long to read"
                        );
                        self.cluster.client.renew();
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(cluster = self.cluster.name, %error, "the control records cannot be read just now");
                    }
                }
                self.assigned = true;
                self.denied = None;
                self.steps.forget();
                self.slots.extend(slots);
                self.reconcile().await;
            }
            Change::Revoked { slots, done } => {
                for slot in &slots {
                    self.slots.remove(slot);
                }
                let leaving: Vec<PartitionKey> = self
                    .partitions
                    .iter()
                    .filter(|(_, partition)| slots.contains(&partition.slot))
                    .map(|(key, _)| *key)
                    .collect();
                self.stop_partitions(&leaving, HANDING_OVER).await;
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

    fn wanted(&self) -> BTreeMap<PartitionKey, Wanted> {
        desired::partitions(&self.state, |link, mirror| {
            self.seen.partition_count(link, mirror)
        })
    }

    async fn reconcile(&mut self) {
        self.announcement.lacks_source(self.lacks_source());
        self.orders.send_replace(Orders {
            state: self.state.clone(),
            leads: self.slots.contains(&LEADING_SLOT),
            at_work: Arc::clone(&self.at_work),
        });
        self.name_news();
        if let Err(error) = self.steps.read(&self.cluster.client, &self.state).await {
            tracing::warn!(cluster = self.cluster.name, %error, "what is stored of mirrors that end cannot be read just now");
        }
        let mut wanted = self.wanted();
        let all = desired::active_by_link(&wanted);
        wanted.retain(|key, wanted| {
            self.is_mine(key)
                && self.clusters.has(&wanted.source_cluster_id)
                && !self.has_drained(key)
        });
        self.set_throttles(&all, &desired::active_by_link(&wanted));
        for (key, partition) in &mut self.partitions {
            let stays = self.slot_map.slot(key) == Some(partition.slot);
            let goes_on = wanted
                .get(key)
                .is_some_and(|wanted| stays && partition.wanted.is_same_work(wanted));
            if !goes_on && !partition.stopping {
                partition.stopping = true;
                partition.tell(Event::Stop);
            }
        }
        let mut missing = Vec::new();
        for (key, wanted) in wanted {
            match self.partitions.get_mut(&key) {
                Some(partition) if partition.wanted.aim != wanted.aim => {
                    partition.tell(event_of(wanted.aim));
                    partition.wanted = wanted;
                }
                Some(_) => {}
                None => missing.push((key, wanted)),
            }
        }
        if !missing.is_empty() {
            self.start_partitions(missing).await;
        }
        self.fence();
    }

    /// Whether nothing is left to copy of a partition whose mirror is promoted.
    fn has_drained(&self, key: &PartitionKey) -> bool {
        let pending = self.state.mirrors.get(&key.id).and_then(|it| it.pending());
        pending.is_some_and(|ending| self.steps.is_drained(key, ending.generation))
    }

    /// Fences the partitions of this worker in which mirrors end and nothing runs any more.
    fn fence(&mut self) {
        let due = self.steps.due(
            &self.state,
            |link, mirror| self.seen.counts(link, mirror),
            |key| self.is_mine(key) && !self.partitions.contains_key(key),
        );
        if due.is_empty() {
            return;
        }
        self.steps.note_begun(&due);
        let fencer = Fencer {
            client: self.cluster.client.clone(),
            lease: Arc::clone(&self.lease),
            session_timeout: self.options.session_timeout,
            marker_producer: self.marker_producer.clone(),
        };
        let done = self.fenced.0.clone();
        tokio::spawn(async move {
            let tried = due.iter().map(|ending| ending.key).collect();
            let ended = fencer.end(due).await;
            // A worker that is gone needs to hear nothing.
            let _gone = done.send((tried, ended));
        });
    }

    /// Gives each link that is copied here its part of the link's limit.
    fn set_throttles(&mut self, all: &BTreeMap<Uuid, usize>, mine: &BTreeMap<Uuid, usize>) {
        let now = Instant::now();
        for (link, mine) in mine {
            let record = self.state.links.get(link);
            let limit = record.and_then(|record| record.bytes_per_second);
            let rate = limit.map(|limit| {
                let all = all.get(link).copied().unwrap_or(*mine);
                desired::part_of(limit, *mine, all)
            });
            self.throttles.entry(*link).or_default().set(rate, now);
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
        let takes_leaders_word = self.takes_leaders_word(&missing).await;
        for (key, wanted) in missing {
            let acks = if takes_leaders_word && self.seen.is_replicated(&wanted.destination_topic) {
                wanted.acks
            } else {
                // Without a second replica both mean the same, and this one needs no second look.
                Acks::All
            };
            let found = stored.remove(&(key.id, key.partition)).unwrap_or_default();
            self.start_partition(key, wanted, acks, found);
        }
    }

    /// Whether leaders of this cluster may acknowledge alone where a link asks for it.
    async fn takes_leaders_word(&self, missing: &[(PartitionKey, Wanted)]) -> bool {
        if missing.iter().all(|(_, wanted)| wanted.acks == Acks::All) {
            return false;
        }
        let found = match self.cluster.client.route(&Target::Any).await {
            Ok(connection) => connection.versions().offered(ProduceRequest::KEY),
            Err(error) => {
                tracing::debug!(cluster = self.cluster.name, %error, "no broker says its version just now");
                return false;
            }
        };
        let is_new = found.is_some_and(|(_, newest)| newest >= ACKS_ONE_FROM_PRODUCE);
        if !is_new {
            tracing::warn!(
                cluster = self.cluster.name,
                "acks = \"1\" is tried on Kafka 3.7 and later: acks = \"all\" is used with these brokers"
            );
        }
        is_new
    }

    fn start_partition(
        &mut self,
        key: PartitionKey,
        wanted: Wanted,
        acks: Acks,
        kept: progress::Kept,
    ) {
        let (Some(source), Some(slot)) = (
            self.clusters.get(&wanted.source_cluster_id),
            self.slot_map.slot(&key),
        ) else {
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
        let route = Route::new(destination, Arc::clone(&self.lease));
        let is_stored_failed = kept.failure.is_some();
        let stored = kept.progress.map_or_else(Stored::default, |found| {
            route.note_leader_epoch(found.record.destination_leader_epoch);
            let stored = |chunk| found.chunks.get(&chunk).map(map::decode);
            let oldest = found.record.anchors.first();
            let map = MapTail::load(found.record.map_chunk, oldest, stored);
            Stored {
                anchors: found.record.anchors,
                map,
                alignment: found.record.alignment,
                pads_by_transactions: found.record.pads_by_transactions,
            }
        });
        self.gates.add(slot, &route);
        let figures = self.figures.of(name.clone());
        let around = Surroundings {
            key,
            link: wanted.link.clone(),
            source: TopicPartition {
                topic: wanted.source_topic.clone(),
                topic_id: key.id.source_topic,
                partition: key.partition,
            },
            route: Arc::clone(&route),
            source_client: source.client.clone(),
            destination_client: self.cluster.client.clone(),
            reader: Arc::clone(&source.reader),
            throttle: Arc::clone(self.throttles.entry(key.id.link).or_default()),
            writer: Arc::clone(&self.writer),
            keeper: self.keeper.clone(),
            watermarks: self.watermarks.clone(),
            marker_producer: self.marker_producer.clone(),
            start: wanted.start,
            settings: Settings {
                producer_id: wanted.producer_id,
                producer_epoch: wanted.producer_epoch,
                append_time: wanted.timestamps
                    == crate::control::records::TimestampsSpec::AsConsumed,
                offsets: wanted.offsets,
                foreign_writes: wanted.foreign_writes,
                provenance: wanted.provenance.clone(),
                filler_timestamp: now_ms(),
                acks,
                merge_compressed: MERGE_COMPRESSED,
                merge_plain: MERGE_PLAIN,
                window_bytes: WINDOW_BYTES,
                window_batches: WINDOW_BATCHES,
                queue_bytes: QUEUE_BYTES,
            },
            figures: Arc::clone(&figures),
        };
        tracing::info!(
            link = name.link,
            topic = name.topic,
            partition = key.partition,
            acks = match acks {
                Acks::All => "all",
                Acks::Leader => "1",
            },
            "partition assigned"
        );
        let running = task::start(around, stored, is_stored_failed);
        let partition = Partition {
            running,
            wanted,
            name,
            slot,
            route,
            figures,
            stopping: false,
        };
        if partition.wanted.aim != Aim::Copy {
            partition.tell(event_of(partition.wanted.aim));
        }
        self.partitions.insert(key, partition);
    }

    /// Stops partitions and waits until what they sent is answered and stored.
    async fn stop_partitions(&mut self, keys: &[PartitionKey], patience: Duration) {
        for key in keys {
            if let Some(partition) = self.partitions.get_mut(key) {
                partition.stopping = true;
                partition.tell(Event::Stop);
            }
        }
        let deadline = Instant::now() + patience;
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
                // At once; the task ends a moment later.
                partition.route.make_void(u64::MAX);
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
            let Some(mut partition) = self.partitions.remove(key) else {
                continue;
            };
            let outcome = (&mut partition.running.handle).now_or_never();
            let pending = self.state.mirrors.get(&key.id).and_then(|it| it.pending());
            if let (Some(Ok(task::Ended::Drained)), Some(ending)) = (&outcome, pending)
                && ending.kind == EndingKind::Promote
            {
                self.steps.note_drained(*key, ending.generation);
                self.figures.forget(&partition.name);
            } else if !partition.stopping {
                tracing::error!(
                    topic = partition.name.topic,
                    partition = key.partition,
                    "its task broke down and is started again"
                );
            }
        }
        !ended.is_empty()
    }
}

impl Partition {
    fn tell(&self, event: Event) {
        // A task that ended is found and replaced by the next reconciliation.
        self.running.events.tell(event);
    }
}

impl Wanted {
    /// Whether only the state differs: then the running task can go on.
    fn is_same_work(&self, other: &Self) -> bool {
        let mut same = other.clone();
        same.aim = self.aim;
        same.link.clone_from(&self.link);
        *self == same
    }
}

/// Milliseconds since the epoch.
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

fn event_of(aim: Aim) -> Event {
    match aim {
        Aim::Copy => Event::Run,
        Aim::Rest => Event::Pause,
        Aim::Drain => Event::Drain,
    }
}
