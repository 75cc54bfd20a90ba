//! The order of an apply: topics that the file owns, mirror topics from the start of each chain,
//! then producer ids and, in one transaction a destination, the control records.
//!
//! Workers obey control records, so these come after the topics: whatever is recorded is there. Deletions go last and the
//! other way round: mirrors are paused, their topics deleted, then topics they were filled from, then records. What fails does
//! not stop its siblings; what depends on it is skipped and says on whom. A stop is obeyed between
//! batches, never within one.

mod deletions;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::apply::effects::{ConfigAlteration, Effects, Failure, ProducerId};
use crate::control::Write;
use crate::control::records::{IncarnationId, MirrorRecord, RECORD_VERSION};
use crate::observe::model::Observed;
use crate::plan::model::{
    Address, Entry, MirrorOperation, MirrorRecordChange, MirrorTopic, Operation, Plan,
    TopicChanges, TopicSpec,
};

/// Items of one request. Brokers handle thousands; this keeps a stop and the progress prompt.
const BATCH: usize = 200;

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

/// What happens while it happens.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    Done(&'a Address),
    Failed(&'a Address, &'a Failure),
    Skipped(&'a Address, &'a Address),
}

/// Whoever watches an apply.
pub trait Progress: Send + Sync {
    fn event(&self, event: Event<'_>);
}

/// Carries out the plan's changes. `observed` is what the plan was made from.
pub async fn execute(
    plan: &Plan,
    observed: &Observed,
    effects: &dyn Effects,
    progress: &dyn Progress,
    stop: &CancellationToken,
) -> Outcome {
    let mut run = Execution {
        effects,
        progress,
        stop,
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
    for level in levels(&entries) {
        run.mirror_topics(&level).await;
    }
    run.records(&entries).await;
    run.deletions(&entries).await;
    for entry in &entries {
        if !run.is_settled(&entry.address) {
            run.outcome.stopped.push(entry.address.clone());
        }
    }
    run.outcome
}

/// Mirrors whose source is another entry's mirror come after that one.
fn levels<'p>(entries: &[&'p Entry]) -> Vec<Vec<&'p Entry>> {
    let mirrors: BTreeMap<&Address, &'p Entry> = entries
        .iter()
        .filter(|entry| matches!(entry.operation, Operation::Mirror(_)))
        .map(|entry| (&entry.address, *entry))
        .collect();
    let mut placed: BTreeSet<&Address> = BTreeSet::new();
    let mut levels = Vec::new();
    while placed.len() < mirrors.len() {
        let level: Vec<&Entry> = mirrors
            .values()
            .filter(|entry| !placed.contains(&entry.address))
            .filter(|entry| {
                entry
                    .depends_on
                    .iter()
                    .all(|on| !mirrors.contains_key(on) || placed.contains(on))
            })
            .copied()
            .collect();
        // The plan knows no loops; if it did, the rest would still be done, together.
        let level = if level.is_empty() {
            let rest = |entry: &&&Entry| !placed.contains(&entry.address);
            mirrors.values().filter(rest).copied().collect()
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
                | Operation::DeleteLink { .. } => {}
            }
        }
        let reached = self.topic_work(&work).await;
        for address in reached {
            if !self.troubled.contains(&address) {
                self.done(&address);
            }
        }
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
        let reached = self.topic_work(&work).await;
        // Without a record to write, the topic was all there was to do.
        for item in &work {
            let Operation::Mirror(mirror) = &item.entry.operation else {
                continue;
            };
            let address = &item.entry.address;
            if mirror.record == MirrorRecordChange::Keep
                && reached.contains(address)
                && !self.troubled.contains(address)
            {
                self.done(address);
            }
        }
    }

    /// Creates, grows and alters topics, cluster by cluster at the same time. Returns what was reached
    /// before a stop.
    async fn topic_work(&mut self, work: &[TopicWork<'_>]) -> BTreeSet<Address> {
        let mut by_cluster: BTreeMap<&str, Vec<&TopicWork<'_>>> = BTreeMap::new();
        for item in work {
            by_cluster
                .entry(&item.entry.cluster)
                .or_default()
                .push(item);
        }
        let (effects, stop) = (self.effects, self.stop);
        let results = join_all(
            by_cluster
                .into_iter()
                .map(|(cluster, items)| cluster_work(effects, stop, cluster, items)),
        )
        .await;
        let mut reached = BTreeSet::new();
        for (address, result) in results.into_iter().flatten() {
            reached.insert(address.clone());
            if let Err(failure) = result {
                self.fail(&address, failure);
            }
        }
        reached
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
                | Operation::DeleteLink { .. } => false,
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
        match self.effects.commit(cluster, writes).await {
            Ok(()) => written.iter().for_each(|address| self.done(address)),
            Err(failure) => {
                for address in written {
                    self.fail(address, failure.clone());
                }
            }
        }
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
        state: *state,
        initial_partitions: *initial_partitions,
        generation: 1,
    }));
    writes
}

/// One cluster's topics, in batches, until done or stopped.
async fn cluster_work(
    effects: &dyn Effects,
    stop: &CancellationToken,
    cluster: &str,
    items: Vec<&TopicWork<'_>>,
) -> Vec<(Address, Result<(), Failure>)> {
    let mut results = Vec::new();
    for batch in items.chunks(BATCH) {
        if stop.is_cancelled() {
            break;
        }
        let mut failures: HashMap<&Address, Failure> = HashMap::new();
        create(effects, cluster, batch, &mut failures).await;
        grow(effects, cluster, batch, &mut failures).await;
        alter(effects, cluster, batch, &mut failures).await;
        for item in batch {
            let address = &item.entry.address;
            let result = failures.remove(address).map_or(Ok(()), Err);
            results.push((address.clone(), result));
        }
    }
    results
}

async fn create<'p>(
    effects: &dyn Effects,
    cluster: &str,
    batch: &[&TopicWork<'p>],
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
    batch: &[&TopicWork<'p>],
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
    batch: &[&TopicWork<'p>],
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
