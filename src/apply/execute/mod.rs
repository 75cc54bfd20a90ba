//! The order of an apply: topics that the file owns, mirror topics from the start of each chain,
//! then producer ids and, in one transaction a destination, the control records.
//!
//! Workers obey control records, so these come after the topics: whatever is recorded is there. Deletions go last and the
//! other way round: mirrors are paused, their topics deleted, then topics they were filled from, then records. What fails does
//! not stop its siblings; what depends on it is skipped and says on whom. A stop is obeyed between
//! batches, never within one.

mod deletions;
mod links;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZeroUsize;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::apply::effects::{ConfigAlteration, Effects, Failure, ProducerId};
use crate::control::Write;
use crate::control::actions::{self, ActionRefusal, MirrorAction};
use crate::control::records::{EndingKind, IncarnationId, MirrorRecord, Owner, RECORD_VERSION};
use crate::observe::model::Observed;
use crate::plan::model::{
    Address, Entry, MirrorOperation, MirrorRecordChange, MirrorTopic, Operation, Plan,
    TopicChanges, TopicSpec,
};

/// Items of one request. Brokers handle thousands; this keeps a stop and the progress prompt.
const BATCH: usize = 100;

/// What became of each entry that had something to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub done: Vec<Address>,
    pub failed: Vec<(Address, Failure)>,
    /// Skipped, and the entry because of which.
    pub skipped: Vec<(Address, Address)>,
    /// Not finished when the stop came.
    pub stopped: Vec<Address>,
}

impl Outcome {
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.skipped.is_empty() && self.stopped.is_empty()
    }
}

/// What a request is about to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// A topic created, grown or altered.
    Topic,
    /// kmirror's own records written.
    Record,
    /// A mirror paused because it is about to go.
    Pause,
    /// Topics deleted, and what is recorded of them.
    Deletion,
    /// A link that brokers carry made, changed or deleted, or something asked of a mirror on it.
    Link,
}

/// What happens while it happens.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// From here on it may have been done, whether or not an answer comes.
    Asked(&'a Address, Asked),
    Done(&'a Address),
    Failed(&'a Address, &'a Failure),
    Skipped(&'a Address, &'a Address),
}

/// Whoever watches an apply.
pub trait Progress: Send + Sync {
    fn event(&self, event: Event<'_>);
}

/// How to go about it.
#[derive(Clone, Copy)]
pub struct Manner<'a> {
    pub progress: &'a dyn Progress,
    /// Obeyed between requests.
    pub stop: &'a CancellationToken,
    /// So many requests are under way at a time, over all clusters.
    pub parallelism: NonZeroUsize,
}

impl std::fmt::Debug for Manner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manner")
            .field("stop", &self.stop.is_cancelled())
            .field("parallelism", &self.parallelism)
            .finish_non_exhaustive()
    }
}

/// As many requests under way as a controller takes without keeping others waiting.
pub const PARALLELISM: NonZeroUsize = NonZeroUsize::new(8).expect("it is not 0");

/// Carries out the plan's changes. `observed` is what the plan was made from.
pub async fn execute(
    plan: &Plan,
    observed: &Observed,
    effects: &dyn Effects,
    manner: Manner<'_>,
) -> Outcome {
    let Manner {
        progress,
        stop,
        parallelism,
    } = manner;
    let mut run = Execution {
        effects,
        progress,
        stop,
        parallelism,
        observed,
        outcome: Outcome::default(),
        troubled: HashSet::new(),
        finished: HashSet::new(),
    };
    let entries: Vec<&Entry> = plan
        .entries
        .iter()
        .filter(|entry| entry.action.changes())
        .collect();
    // The internal topics are there once the lock is held.
    for entry in &entries {
        if entry.operation == Operation::ControlTopics {
            run.done(&entry.address);
        }
    }
    run.owned_topics(&entries).await;
    run.broker_links(&entries).await;
    run.broker_mirrors(&entries).await;
    let is_mirror = |entry: &Entry| matches!(entry.operation, Operation::Mirror(_));
    for level in levels(&entries, is_mirror) {
        run.mirror_topics(&level).await;
    }
    run.records(&entries).await;
    run.broker_deletions(&entries).await;
    run.deletions(&entries).await;
    for entry in &entries {
        if !run.is_settled(&entry.address) {
            run.outcome.stopped.push(entry.address.clone());
        }
    }
    run.outcome
}

/// Those of the entries that are meant, what depends on others of them after these: a mirror whose source is another
/// mirror, a half of a link that needs the other one.
fn levels<'p>(entries: &[&'p Entry], is_meant: impl Fn(&Entry) -> bool) -> Vec<Vec<&'p Entry>> {
    let meant: BTreeMap<&Address, &'p Entry> = entries
        .iter()
        .filter(|entry| is_meant(entry))
        .map(|entry| (&entry.address, *entry))
        .collect();
    let mut placed: BTreeSet<&Address> = BTreeSet::new();
    let mut levels = Vec::new();
    while placed.len() < meant.len() {
        let level: Vec<&Entry> = meant
            .values()
            .filter(|entry| !placed.contains(&entry.address))
            .filter(|entry| {
                entry
                    .depends_on
                    .iter()
                    .all(|on| !meant.contains_key(on) || placed.contains(on))
            })
            .copied()
            .collect();
        // In a ring of mirrors each would come after another: the rest is done together.
        let level = if level.is_empty() {
            let rest = |entry: &&&Entry| !placed.contains(&entry.address);
            meant.values().filter(rest).copied().collect()
        } else {
            level
        };
        placed.extend(level.iter().map(|entry| &entry.address));
        levels.push(level);
    }
    levels
}

struct Execution<'a> {
    effects: &'a dyn Effects,
    progress: &'a dyn Progress,
    stop: &'a CancellationToken,
    parallelism: NonZeroUsize,
    observed: &'a Observed,
    outcome: Outcome,
    /// Entries that failed or were skipped.
    troubled: HashSet<Address>,
    finished: HashSet<Address>,
}

/// What an entry asks of its topic.
struct TopicWork<'p> {
    entry: &'p Entry,
    create: Option<&'p TopicSpec>,
    changes: Option<&'p TopicChanges>,
}

impl TopicWork<'_> {
    /// The topic of a mirror may stay as it is.
    fn asks_for_something(&self) -> bool {
        self.create.is_some() || self.changes.is_some_and(|changes| !changes.is_empty())
    }
}

impl Execution<'_> {
    fn done(&mut self, address: &Address) {
        self.progress.event(Event::Done(address));
        self.outcome.done.push(address.clone());
        self.finished.insert(address.clone());
    }

    fn fail(&mut self, address: &Address, failure: Failure) {
        // Partitions and configs of one topic can both fail; the first says enough.
        if self.troubled.insert(address.clone()) {
            self.progress.event(Event::Failed(address, &failure));
            self.outcome.failed.push((address.clone(), failure));
        }
    }

    fn is_settled(&self, address: &Address) -> bool {
        self.troubled.contains(address) || self.finished.contains(address)
    }

    /// Skips what depends on something that failed.
    fn may_go_on(&mut self, entry: &Entry) -> bool {
        if self.troubled.contains(&entry.address) {
            return false;
        }
        let Some(because) = entry
            .depends_on
            .iter()
            .find(|on| self.troubled.contains(*on))
        else {
            return true;
        };
        self.progress.event(Event::Skipped(&entry.address, because));
        self.outcome
            .skipped
            .push((entry.address.clone(), because.clone()));
        self.troubled.insert(entry.address.clone());
        false
    }

    async fn owned_topics(&mut self, entries: &[&Entry]) {
        let mut work = Vec::new();
        for entry in entries {
            match &entry.operation {
                Operation::CreateTopic(spec) => work.push(TopicWork {
                    entry,
                    create: Some(spec),
                    changes: None,
                }),
                Operation::AlterTopic(changes) => work.push(TopicWork {
                    entry,
                    create: None,
                    changes: Some(changes),
                }),
                Operation::None
                | Operation::ControlTopics
                | Operation::Link(_)
                | Operation::Mirror(_)
                | Operation::DeleteTopic(_)
                | Operation::DeleteMirror(_)
                | Operation::DeleteLink { .. }
                | Operation::BrokerLink(_)
                | Operation::BrokerMirror(_) => {}
            }
        }
        self.topic_work(work).await;
    }

    async fn mirror_topics(&mut self, level: &[&Entry]) {
        let mut work = Vec::new();
        for entry in level {
            if !self.may_go_on(entry) {
                continue;
            }
            if let Operation::Mirror(mirror) = &entry.operation {
                work.push(match &mirror.topic {
                    MirrorTopic::Create(spec) => TopicWork {
                        entry,
                        create: Some(spec),
                        changes: None,
                    },
                    MirrorTopic::Alter(changes) => TopicWork {
                        entry,
                        create: None,
                        changes: Some(changes),
                    },
                });
            }
        }
        self.topic_work(work).await;
    }

    /// Creates, grows and alters topics, in batches side by side. What has no record to be written is done with that.
    async fn topic_work(&mut self, work: Vec<TopicWork<'_>>) {
        let mut by_cluster: BTreeMap<&str, Vec<TopicWork<'_>>> = BTreeMap::new();
        for item in work {
            by_cluster
                .entry(&item.entry.cluster)
                .or_default()
                .push(item);
        }
        let mut clusters: Vec<_> = by_cluster
            .iter()
            .map(|(cluster, items)| (*cluster, items.chunks(BATCH)))
            .collect();
        // Clusters by turns: one with many topics must not keep the others waiting.
        let mut batches = Vec::new();
        while !clusters.is_empty() {
            clusters.retain_mut(|(cluster, rest)| {
                let batch = rest.next();
                batches.extend(batch.map(|batch| (*cluster, batch)));
                batch.is_some()
            });
        }
        let (effects, progress, stop) = (self.effects, self.progress, self.stop);
        let mut requests: Vec<BoxFuture<'_, BatchResults<'_>>> = Vec::new();
        for (cluster, batch) in batches {
            requests.push(batch_work(effects, progress, stop, cluster, batch).boxed());
        }
        let mut answers = futures::stream::iter(requests).buffered(self.parallelism.get());
        while let Some(answer) = answers.next().await {
            for (entry, result) in answer {
                match result {
                    Err(failure) => self.fail(&entry.address, failure),
                    Ok(()) if ends_with_topic(entry) => self.done(&entry.address),
                    Ok(()) => {}
                }
            }
        }
    }

    /// Writes the records of links and mirrors, one transaction a destination.
    async fn records(&mut self, entries: &[&Entry]) {
        let mut by_cluster: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in entries {
            let writes = match &entry.operation {
                Operation::Link(_) => true,
                Operation::Mirror(mirror) => mirror.record != MirrorRecordChange::Keep,
                Operation::None
                | Operation::ControlTopics
                | Operation::CreateTopic(_)
                | Operation::AlterTopic(_)
                | Operation::DeleteTopic(_)
                | Operation::DeleteMirror(_)
                | Operation::DeleteLink { .. }
                | Operation::BrokerLink(_)
                | Operation::BrokerMirror(_) => false,
            };
            if writes && self.may_go_on(entry) {
                by_cluster.entry(&entry.cluster).or_default().push(entry);
            }
        }
        for (cluster, entries) in by_cluster {
            if self.stop.is_cancelled() {
                return;
            }
            self.records_on(cluster, &entries).await;
        }
    }

    async fn records_on(&mut self, cluster: &str, entries: &[&Entry]) {
        let mut links = self.applied_links(cluster);
        let mut writes = Vec::new();
        let mut written: Vec<&Address> = Vec::new();
        for entry in entries {
            if let Operation::Link(link) = &entry.operation {
                let mut record = link.record.clone();
                if record.id.is_nil() {
                    record.id = Uuid::new_v4();
                }
                links.insert(record.name.clone(), record.id);
                if self.was_made_over_rest(cluster, record.id) {
                    // From now on the file says how the source is reached; what REST kept secret goes.
                    writes.push(Write::DropLinkConfigs(record.id));
                }
                writes.push(Write::Link(record));
                written.push(&entry.address);
            }
        }
        let mirrors: Vec<(&Entry, &MirrorOperation)> = entries
            .iter()
            .filter_map(|entry| match &entry.operation {
                Operation::Mirror(mirror) => Some((*entry, mirror)),
                _ => None,
            })
            .collect();
        for (entry, writes_of_mirror) in self.mirror_records(cluster, &links, &mirrors).await {
            writes.extend(writes_of_mirror);
            written.push(&entry.address);
        }
        if writes.is_empty() {
            return;
        }
        for address in &written {
            self.progress.event(Event::Asked(address, Asked::Record));
        }
        match self.effects.commit(cluster, writes).await {
            Ok(()) => written.iter().for_each(|address| self.done(address)),
            Err(failure) => {
                for address in written {
                    self.fail(address, failure.clone());
                }
            }
        }
    }

    fn was_made_over_rest(&self, cluster: &str, id: Uuid) -> bool {
        let control = self.observed.clusters[cluster].control.iter();
        let mut links = control.flat_map(|control| &control.links);
        links.any(|link| link.id == id && link.owner == Owner::Rest)
    }

    fn applied_links(&self, cluster: &str) -> HashMap<String, Uuid> {
        self.observed.clusters[cluster]
            .control
            .iter()
            .flat_map(|control| &control.links)
            .map(|link| (link.name.clone(), link.id))
            .collect()
    }

    /// The records of mirrors, with ids that are only known now.
    async fn mirror_records<'p>(
        &mut self,
        cluster: &str,
        links: &HashMap<String, Uuid>,
        mirrors: &[(&'p Entry, &'p MirrorOperation)],
    ) -> Vec<(&'p Entry, Vec<Write>)> {
        let mut written = Vec::new();
        let mut fresh = Vec::new();
        for (entry, mirror) in mirrors {
            match &mirror.record {
                MirrorRecordChange::Keep => {}
                MirrorRecordChange::New { .. } => fresh.push((*entry, *mirror)),
                MirrorRecordChange::End { id, kind, .. } => {
                    let action = match kind {
                        EndingKind::Promote => MirrorAction::Promote,
                        EndingKind::FailOver => MirrorAction::FailOver,
                    };
                    if action == MirrorAction::Promote && self.has_failed(cluster, *id).await {
                        let refusal = ActionRefusal::Failed {
                            topic: mirror.destination_topic.clone(),
                        };
                        let failure = Failure {
                            error: "refused".to_owned(),
                            message: refusal.to_string(),
                        };
                        self.fail(&entry.address, failure);
                        continue;
                    }
                    let now_ms = jiff::Timestamp::now().as_millisecond();
                    let record = actions::changed(self.recorded(cluster, *id), action, now_ms);
                    written.push((*entry, vec![Write::Mirror(record)]));
                }
                MirrorRecordChange::State {
                    id,
                    state,
                    generation,
                } => {
                    let record = self.recorded(cluster, *id);
                    let record = MirrorRecord {
                        state: *state,
                        generation: generation + 1,
                        ..record.clone()
                    };
                    written.push((*entry, vec![Write::Mirror(record)]));
                }
            }
        }
        let ids = self.fresh_ids(cluster, &fresh).await;
        for ((entry, mirror), ids) in fresh.into_iter().zip(ids) {
            match ids {
                Ok(ids) => written.push((entry, new_mirror(mirror, links, ids))),
                Err(failure) => self.fail(&entry.address, failure),
            }
        }
        written
    }

    /// Whether a worker has stored that a partition of the mirror stands still; what can't be read is found out later.
    async fn has_failed(&self, cluster: &str, id: IncarnationId) -> bool {
        self.effects.has_failed(cluster, id).await
    }

    fn recorded(&self, cluster: &str, id: IncarnationId) -> &MirrorRecord {
        self.observed.clusters[cluster]
            .control
            .iter()
            .flat_map(|control| &control.mirrors)
            .find(|record| record.id == id)
            .expect("the plan was made from this observation")
    }

    async fn fresh_ids(
        &self,
        cluster: &str,
        fresh: &[(&Entry, &MirrorOperation)],
    ) -> Vec<Result<FreshIds, Failure>> {
        if fresh.is_empty() {
            return Vec::new();
        }
        let destinations: Vec<String> = fresh
            .iter()
            .map(|(_, mirror)| mirror.destination_topic.clone())
            .collect();
        let mut by_source: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (_, mirror) in fresh {
            by_source
                .entry(&mirror.source_cluster)
                .or_default()
                .push(mirror.source_topic.clone());
        }
        let mut sources = HashMap::new();
        for (source, topics) in by_source {
            let ids = self.effects.topic_ids(source, &topics).await;
            for (topic, id) in topics.into_iter().zip(ids) {
                sources.insert((source, topic), id);
            }
        }
        let destinations = self.effects.topic_ids(cluster, &destinations).await;
        let producers = self.effects.producer_ids(cluster, fresh.len()).await;
        fresh
            .iter()
            .zip(destinations.into_iter().zip(producers))
            .map(|((_, mirror), (destination_topic, producer))| {
                let key = (mirror.source_cluster.as_str(), mirror.source_topic.clone());
                let source_topic = sources
                    .get(&key)
                    .cloned()
                    .expect("every source topic was asked for")?;
                Ok(FreshIds {
                    source_topic,
                    destination_topic: destination_topic?,
                    producer: producer?,
                })
            })
            .collect()
    }
}

struct FreshIds {
    source_topic: Uuid,
    destination_topic: Uuid,
    producer: ProducerId,
}

fn new_mirror(
    mirror: &MirrorOperation,
    links: &HashMap<String, Uuid>,
    ids: FreshIds,
) -> Vec<Write> {
    let MirrorRecordChange::New {
        state,
        initial_partitions,
        provenance_header,
        replaces,
    } = &mirror.record
    else {
        return Vec::new();
    };
    let mut writes: Vec<_> = replaces.iter().map(|id| Write::DropMirror(*id)).collect();
    writes.push(Write::Mirror(MirrorRecord {
        version: RECORD_VERSION,
        id: IncarnationId {
            link: links[&mirror.link],
            source_topic: ids.source_topic,
            destination_topic: ids.destination_topic,
        },
        source_topic: mirror.source_topic.clone(),
        destination_topic: mirror.destination_topic.clone(),
        producer_id: ids.producer.id,
        producer_epoch: ids.producer.epoch,
        provenance_header: *provenance_header,
        state: *state,
        initial_partitions: *initial_partitions,
        generation: 1,
        ending: None,
        takes_over: None,
    }));
    writes
}

/// Whether the topic is all that there is to do for the entry.
fn ends_with_topic(entry: &Entry) -> bool {
    match &entry.operation {
        Operation::Mirror(mirror) => mirror.record == MirrorRecordChange::Keep,
        _ => true,
    }
}

type BatchResults<'p> = Vec<(&'p Entry, Result<(), Failure>)>;

/// One batch of one cluster's topics; nothing once there is a stop.
async fn batch_work<'p>(
    effects: &dyn Effects,
    progress: &dyn Progress,
    stop: &CancellationToken,
    cluster: &str,
    batch: &[TopicWork<'p>],
) -> BatchResults<'p> {
    if stop.is_cancelled() {
        return Vec::new();
    }
    for item in batch.iter().filter(|item| item.asks_for_something()) {
        progress.event(Event::Asked(&item.entry.address, Asked::Topic));
    }
    let mut failures: HashMap<&Address, Failure> = HashMap::new();
    create(effects, cluster, batch, &mut failures).await;
    grow(effects, cluster, batch, &mut failures).await;
    alter(effects, cluster, batch, &mut failures).await;
    batch
        .iter()
        .map(|item| {
            let failure = failures.remove(&item.entry.address);
            (item.entry, failure.map_or(Ok(()), Err))
        })
        .collect()
}

async fn create<'p>(
    effects: &dyn Effects,
    cluster: &str,
    batch: &[TopicWork<'p>],
    failures: &mut HashMap<&'p Address, Failure>,
) {
    let (addresses, specs): (Vec<_>, Vec<_>) = batch
        .iter()
        .filter_map(|item| Some((&item.entry.address, item.create?.clone())))
        .unzip();
    if !specs.is_empty() {
        collect(
            addresses,
            effects.create_topics(cluster, &specs).await,
            failures,
        );
    }
}

async fn grow<'p>(
    effects: &dyn Effects,
    cluster: &str,
    batch: &[TopicWork<'p>],
    failures: &mut HashMap<&'p Address, Failure>,
) {
    let (addresses, totals): (Vec<_>, Vec<_>) = batch
        .iter()
        .filter_map(|item| {
            let changes = item.changes?;
            Some((
                &item.entry.address,
                (changes.name.clone(), changes.partitions?),
            ))
        })
        .unzip();
    if !totals.is_empty() {
        collect(
            addresses,
            effects.create_partitions(cluster, &totals).await,
            failures,
        );
    }
}

async fn alter<'p>(
    effects: &dyn Effects,
    cluster: &str,
    batch: &[TopicWork<'p>],
    failures: &mut HashMap<&'p Address, Failure>,
) {
    let (addresses, alterations): (Vec<_>, Vec<_>) = batch
        .iter()
        .filter_map(|item| {
            let changes = item.changes.filter(|changes| !changes.configs.is_empty())?;
            Some((
                &item.entry.address,
                ConfigAlteration {
                    topic: changes.name.clone(),
                    configs: changes.configs.clone(),
                },
            ))
        })
        .unzip();
    if !alterations.is_empty() {
        collect(
            addresses,
            effects.alter_configs(cluster, &alterations).await,
            failures,
        );
    }
}

fn collect<'p>(
    addresses: Vec<&'p Address>,
    results: Vec<Result<(), Failure>>,
    failures: &mut HashMap<&'p Address, Failure>,
) {
    for (address, result) in addresses.into_iter().zip(results) {
        if let Err(failure) = result {
            failures.insert(address, failure);
        }
    }
}
