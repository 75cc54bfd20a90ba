//! What a running worker does by itself on a link that was applied: mirrors for topics that match
//! later (where `auto_create` permits it), and partitions that a source topic got.
//!
//! It is the plan again, made from the link's record instead of the file, so that a topic gets the
//! same mirror whether it was there at the apply or came a day later. Configs of existing mirrors are
//! left to the next apply.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::brokers::Brokers;
use super::{Manner, Outcome, PARALLELISM, Progress, execute};
use crate::control::records::{
    DesiredState, IncarnationId, LinkRecord, MirrorRecord, Owner, StartSpec, TimestampsSpec,
    WantedState,
};
use crate::control::{ControlError, ControlState, ControlWriter, store};
use crate::kafka::{Client, Topics};
use crate::observe::model::{Control, Observed};
use crate::observe::{Clusters, Unreachable};
use crate::plan::model::{
    Action, Address, Entry, MirrorRecordChange, MirrorTopic, Operation, Plan,
};
use crate::plan::reason::Blocker;
use crate::report::words;
use crate::topology::broker_link::BrokerLink;
use crate::topology::engines::Engine;
use crate::topology::model::{
    Cluster, Link, LinkState, Mirror, MirrorState, Span, Spanned, Start, Timestamps, Topology,
};
use crate::topology::resolve::LinkRule;
use crate::topology::selector::TopicSelector;

/// A lock that is held for longer is a long apply's, or was left behind by somebody who was killed: nobody waits for that.
const LEFT_BEHIND_MS: i64 = 120_000;

/// What there is to do for one link.
#[derive(Debug)]
pub struct Follow {
    topology: Topology,
    clusters: Clusters,
    observed: Observed,
    plan: Plan,
}

/// Whether a [look](Follow::look) is worth its requests: decided from what a worker sees anyway, the
/// partition counts of both clusters' topics. A topic that can't be mirrored stays due.
pub fn is_due<'t>(
    link: &LinkRecord,
    state: &ControlState,
    source_topics: impl IntoIterator<Item = (&'t str, i32)>,
    destination_partitions: impl Fn(&str) -> Option<i32>,
) -> bool {
    let rule = LinkRule::from(link);
    let mirrored: HashMap<&str, (&str, bool)> = state
        .mirrors
        .values()
        .filter(|record| record.id.link == link.id)
        .map(|record| {
            (
                record.source_topic.as_str(),
                (record.destination_topic.as_str(), is_others(record)),
            )
        })
        .collect();
    source_topics.into_iter().any(|(topic, partitions)| {
        let grown = |mirror: &str| destination_partitions(mirror).is_some_and(|n| n < partitions);
        match mirrored.get(topic) {
            // Nobody's to change.
            Some((_, true)) => false,
            Some((mirror, false)) => grown(mirror) && rule.takes(topic).is_some(),
            None => may_create(link, topic) && rule.takes(topic).is_some(),
        }
    })
}

/// Whether a mirror may be made of a topic: one that was asked for by name over REST was permitted by that.
fn may_create(link: &LinkRecord, topic: &str) -> bool {
    link.auto_create || link.owner == Owner::Rest && link.mirrors.contains_key(topic)
}

impl Follow {
    /// Compares the link, as it was applied, with its two clusters.
    ///
    /// # Errors
    /// A cluster that can't be read.
    pub async fn look(
        source: &Client,
        destination: &Client,
        link: &LinkRecord,
    ) -> Result<Self, Unreachable> {
        let clusters = Clusters::of([source.clone(), destination.clone()]);
        let mut topology = topology_of(link, source, destination);
        if link.owner == Owner::Rest {
            take_by_name(&mut topology, link, source).await?;
        }
        let mut observed = clusters.observe(&topology).await?;
        plan_for_its_owner(&mut observed, destination.cluster_name(), link);
        let mut plan = crate::plan::plan(&topology, &observed);
        let ended = ended(&observed, destination.cluster_name(), link);
        plan.entries.retain_mut(|entry| {
            let topic = match &entry.address {
                Address::Mirror { source_topic, .. } => source_topic.as_str(),
                _ => "",
            };
            !ended.contains(topic) && !comes_from_here(entry, link) && is_workers(entry, link)
        });
        Ok(Self {
            topology,
            clusters,
            observed,
            plan,
        })
    }

    /// Topics of the source that would get mirrors now.
    pub fn new_topics(&self) -> BTreeSet<String> {
        let entries = self.plan.entries.iter();
        let new = entries.filter_map(|entry| new_topic(entry));
        new.map(str::to_owned).collect()
    }

    /// Of topics without a mirror, leaves out all but these.
    pub fn keep_new(&mut self, topics: &BTreeSet<String>) {
        self.plan
            .entries
            .retain(|entry| new_topic(entry).is_none_or(|topic| topics.contains(topic)));
    }

    /// Whether each topic that would get a mirror is known not to be one itself. A mirror's topic is made before its record is
    /// written, under the lock of its cluster: of two links that go both ways, the one would take for an ordinary topic what the other one is
    /// about to make.
    ///
    /// # Errors
    /// Control records of the source that can't be read.
    pub async fn is_settled(&self, source: &Client) -> Result<bool, ControlError> {
        if self.new_topics().is_empty() {
            return Ok(true);
        }
        let now = match store::read(source).await {
            Ok(Some(now)) => now,
            // Without these there are no mirrors, or none that anybody here could know of.
            Ok(None) => return Ok(true),
            Err(error) if error.is_authorization() => return Ok(true),
            Err(error) => return Err(error),
        };
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let seen = self.observed.clusters.get(source.cluster_name());
        let seen = seen.and_then(|cluster| cluster.control.as_ref());
        Ok(is_settled(&now, seen, now_ms))
    }

    /// Leaves out everything but one topic's mirror.
    pub fn narrow(&mut self, topic: &str) {
        self.plan.entries.retain(|entry| {
            matches!(&entry.address, Address::Mirror { source_topic, .. } if source_topic == topic)
        });
    }

    /// Whether anything has to be written.
    pub fn has_work(&self) -> bool {
        self.plan.has_changes()
    }

    /// Source topics that match and can't be mirrored as they are, with the causes.
    pub fn refused(&self) -> Vec<(String, String)> {
        self.plan
            .entries
            .iter()
            .filter_map(|entry| match &entry.address {
                Address::Mirror { source_topic, .. } => Some((source_topic, &entry.blocked)),
                _ => None,
            })
            .flat_map(|(topic, blocked)| {
                blocked
                    .iter()
                    .map(|blocker| (topic.clone(), words::blocker(blocker).cause))
            })
            .collect()
    }

    /// Does it, as the holder of the destination's lock, and gives the lock back to the caller.
    pub async fn carry_out(
        self,
        writer: ControlWriter,
        progress: &dyn Progress,
        stop: &CancellationToken,
    ) -> (Outcome, ControlWriter) {
        let destination = self
            .plan
            .entries
            .first()
            .map_or_else(String::new, |entry| entry.cluster.clone());
        let writers = BTreeMap::from([(destination, writer)]);
        let brokers = Brokers::new(&self.clusters, &self.topology, writers, PARALLELISM);
        let manner = Manner {
            progress,
            stop,
            parallelism: PARALLELISM,
        };
        let outcome = execute(&self.plan, &self.observed, &brokers, manner).await;
        let (_, writer) = brokers
            .into_writers()
            .next()
            .expect("one writer went in, one comes out");
        (outcome, writer)
    }
}

/// The source topic of an entry that makes a mirror of it.
fn new_topic(entry: &Entry) -> Option<&str> {
    match &entry.operation {
        Operation::Mirror(mirror) if matches!(mirror.record, MirrorRecordChange::New { .. }) => {
            Some(&mirror.source_topic)
        }
        _ => None,
    }
}

/// Whether nobody makes mirrors at a cluster, or has since its topics and records were looked at.
fn is_settled(now: &ControlState, seen: Option<&Control>, now_ms: i64) -> bool {
    let since = now.lock.as_ref().map(|lock| now_ms - lock.since_ms);
    let is_locked = since.is_some_and(|since| since < LEFT_BEHIND_MS);
    let is_known = |id: &IncarnationId| {
        let mut mirrors = seen.into_iter().flat_map(|seen| &seen.mirrors);
        mirrors.any(|mirror| mirror.id == *id)
    };
    !is_locked && now.mirrors.keys().all(is_known)
}

/// Whether the topic of a mirror is nobody's to change: it was handed over, or is about to be, or is still to be taken over.
fn is_others(mirror: &MirrorRecord) -> bool {
    mirror.ending.is_some() || mirror.has_not_taken_over()
}

/// Source topics of mirrors whose topics are nobody's to change.
fn ended(observed: &Observed, destination: &str, link: &LinkRecord) -> HashSet<String> {
    let cluster = observed.clusters.get(destination);
    let control = cluster.and_then(|cluster| cluster.control.as_ref());
    let mirrors = control.into_iter().flat_map(|control| &control.mirrors);
    let ended = mirrors.filter(|mirror| mirror.id.link == link.id && is_others(mirror));
    ended.map(|mirror| mirror.source_topic.clone()).collect()
}

/// Whether it would bring back what this cluster's own topics hold, by itself: of two links that go both ways, neither takes what the other one
/// brought.
fn comes_from_here(entry: &Entry, link: &LinkRecord) -> bool {
    let Address::Mirror { source_topic, .. } = &entry.address else {
        return false;
    };
    let is_loop = |blocker: &Blocker| matches!(blocker, Blocker::Loop { .. });
    !link.mirrors.contains_key(source_topic) && entry.blocked.iter().any(is_loop)
}

/// Keeps what a worker does by itself and what it can't do.
fn is_workers(entry: &mut Entry, link: &LinkRecord) -> bool {
    if entry.action == Action::Blocked {
        return true;
    }
    let Operation::Mirror(mirror) = &mut entry.operation else {
        return false;
    };
    // The record of the link is there; what was said about its creation does not apply.
    entry.depends_on.clear();
    match (&mut mirror.topic, &mirror.record) {
        (_, MirrorRecordChange::New { .. }) => may_create(link, &mirror.source_topic),
        (MirrorTopic::Alter(changes), MirrorRecordChange::Keep) => {
            match link.owner {
                Owner::File => changes.configs.clear(),
                // What the source topic has set. Other configs are whosoever set them at the mirror.
                Owner::Rest => changes.configs.retain(|(_, value)| value.is_some()),
            }
            changes.partitions.is_some() || !changes.configs.is_empty()
        }
        _ => false,
    }
}

/// Names what a link takes: which of its filters and names wins over which is not what a file would mean by them.
async fn take_by_name(
    topology: &mut Topology,
    record: &LinkRecord,
    source: &Client,
) -> Result<(), Unreachable> {
    let metadata = source.admin().metadata(Topics::All).await;
    let metadata = metadata
        .map_err(|error| Unreachable(vec![(source.cluster_name().to_owned(), error.into())]))?;
    let rule = LinkRule::from(record);
    let taken = metadata
        .topics
        .iter()
        .filter(|topic| rule.takes(&topic.name).is_some());
    let names = taken
        .map(|topic| nowhere(TopicSelector::Name(topic.name.clone())))
        .collect();
    if let Some(link) = topology.links.get_mut(&record.name) {
        link.topics = names;
        link.exclude.clear();
        // Those that the source has not got yet are nobody's mistake.
        link.mirrors
            .retain(|topic, _| metadata.topics.iter().any(|it| it.name == *topic));
    }
    Ok(())
}

/// The plan of a file leaves links alone that were made over REST; this plan is made for such a link.
fn plan_for_its_owner(observed: &mut Observed, destination: &str, record: &LinkRecord) {
    let cluster = observed.clusters.get_mut(destination);
    let links = cluster.and_then(|cluster| cluster.control.as_mut());
    for link in links.into_iter().flat_map(|control| &mut control.links) {
        if link.id == record.id {
            link.owner = Owner::File;
        }
    }
}

/// The link as a file would say it.
fn topology_of(link: &LinkRecord, source: &Client, destination: &Client) -> Topology {
    let clusters = [source, destination].map(|client| {
        let name = client.cluster_name().to_owned();
        let cluster = Cluster {
            name: name.clone(),
            bootstrap_servers: client.config().bootstrap_servers.clone(),
            title: None,
            rest: None,
            connect: None,
            client: client.config().security.settings().clone(),
            cluster_id: None,
            topics: indexmap::IndexMap::new(),
            span: Span::default(),
        };
        (name, cluster)
    });
    let link = link_of(link, source.cluster_name(), destination.cluster_name());
    Topology {
        path: PathBuf::new(),
        other_files: Vec::new(),
        clusters: clusters.into_iter().collect(),
        links: [(link.name.clone(), link)].into_iter().collect(),
        adopts: false,
        rewrites: BTreeSet::new(),
    }
}

fn nowhere<T>(value: T) -> Spanned<T> {
    Spanned {
        value,
        span: Span::default(),
    }
}

fn link_of(record: &LinkRecord, source: &str, destination: &str) -> Link {
    Link {
        name: record.name.clone(),
        source: source.to_owned(),
        destination: destination.to_owned(),
        moved: None,
        topics: record.topics.iter().cloned().map(nowhere).collect(),
        exclude: record.exclude.iter().cloned().map(nowhere).collect(),
        rename: record.rename.clone(),
        auto_create: record.auto_create,
        start: match record.start {
            StartSpec::Earliest => Start::Earliest,
            StartSpec::Latest => Start::Latest,
            StartSpec::Timestamp(ms) => Start::Timestamp(ms),
        },
        engine: Engine::Kmirror,
        offsets: record.offsets,
        timestamps: match record.timestamps {
            TimestampsSpec::AsConsumed => Timestamps::AsConsumed,
            TimestampsSpec::Original => Timestamps::Original,
        },
        replication_factor: record.replication_factor.map(nowhere),
        bytes_per_second: record.bytes_per_second.map(nowhere),
        acks: Some(nowhere(record.acks)),
        on_foreign_write: Some(nowhere(record.on_foreign_write)),
        brokers: BrokerLink::default(),
        provenance_header: Some(nowhere(record.provenance_header)),
        state: match record.state {
            DesiredState::Active => LinkState::Active,
            DesiredState::Paused => LinkState::Paused,
        },
        mirrors: record
            .mirrors
            .iter()
            .map(|(topic, settings)| {
                let mirror = Mirror {
                    source_topic: topic.clone(),
                    rename_to: settings.rename_to.clone().map(nowhere),
                    state: settings.state.map(|state| {
                        nowhere(match state {
                            WantedState::Active => MirrorState::Active,
                            WantedState::Paused => MirrorState::Paused,
                            WantedState::Absent => MirrorState::Absent,
                            WantedState::Promoted => MirrorState::Promoted,
                            WantedState::FailedOver => MirrorState::FailedOver,
                        })
                    }),
                    replication_factor: settings.replication_factor.map(nowhere),
                    config: settings
                        .config
                        .iter()
                        .map(|(key, value)| (key.clone(), nowhere(value.clone())))
                        .collect(),
                    span: Span::default(),
                };
                (topic.clone(), mirror)
            })
            .collect(),
        span: Span::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::records::{LockRecord, RECORD_VERSION};
    use uuid::Uuid;

    fn mirror() -> MirrorRecord {
        MirrorRecord {
            version: RECORD_VERSION,
            id: IncarnationId {
                link: Uuid::from_u128(1),
                source_topic: Uuid::from_u128(2),
                destination_topic: Uuid::from_u128(3),
            },
            source_topic: "orders".to_owned(),
            destination_topic: "orders".to_owned(),
            producer_id: 1,
            producer_epoch: 0,
            provenance_header: false,
            state: DesiredState::Active,
            initial_partitions: 1,
            generation: 1,
            ending: None,
            takes_over: None,
        }
    }

    fn lock(since_ms: i64) -> LockRecord {
        LockRecord {
            version: RECORD_VERSION,
            holder: "somebody".to_owned(),
            since_ms,
            command: "run".to_owned(),
        }
    }

    /// Two links that go both ways would otherwise make mirrors of each other's mirrors, of which one fails for good.
    #[test]
    fn a_topic_is_ordinary_once_nobody_can_be_about_to_make_it_a_mirror() {
        const NOW: i64 = 1_000_000;
        let record = mirror();
        let idle = ControlState::default();
        let made = ControlState {
            mirrors: [(record.id, record.clone())].into_iter().collect(),
            ..ControlState::default()
        };
        let locked = |since_ms| ControlState {
            lock: Some(lock(since_ms)),
            ..ControlState::default()
        };
        let seen = Control {
            mirrors: vec![record],
            ..Control::default()
        };
        assert!(is_settled(&idle, None, NOW));
        assert!(is_settled(&made, Some(&seen), NOW));
        // Its record came after its topic was seen.
        assert!(!is_settled(&made, None, NOW));
        assert!(!is_settled(&made, Some(&Control::default()), NOW));
        // It may still come.
        assert!(!is_settled(&locked(NOW), Some(&seen), NOW));
        assert!(
            !is_settled(&locked(NOW + 5_000), None, NOW),
            "clocks differ"
        );
        // Left behind by somebody who was killed.
        assert!(is_settled(&locked(NOW - LEFT_BEHIND_MS), None, NOW));
    }
}
