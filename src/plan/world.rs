//! The clusters as they will be while the plan is being carried out.
//!
//! A link may take a topic that the same file creates, on the source cluster or as another link's
//! mirror. So planning looks at topics through [`World`]: what was observed, overlaid with what the
//! entries planned so far will have made of it.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::model::{Address, Place};
use super::reason::Blocker;
use crate::control::records::MirrorRecord;
use crate::observe::model::{Configs, Control, Described, Observed, ObservedCluster};
use crate::topology::model::{Span, Topology};

/// A topic as a link finds it.
#[derive(Clone, Debug)]
pub(super) struct TopicView {
    /// `None` for a topic that does not exist yet.
    pub id: Option<Uuid>,
    /// `None` where it will be the broker's default and that is not known.
    pub partitions: Option<i32>,
    pub replication_factor: Option<i16>,
    pub configs: Described<Configs>,
    /// The entry that has to be done first.
    pub made_by: Option<Address>,
}

#[derive(Debug)]
pub(super) struct World<'a> {
    pub topology: &'a Topology,
    pub observed: &'a Observed,
    /// The file as the user named it.
    pub file: String,
    /// Clusters on which nothing is planned.
    pub blocked: BTreeMap<String, Blocker>,
    overlay: HashMap<(String, String), TopicView>,
    records: BTreeMap<&'a str, Records<'a>>,
}

/// The mirror records of one cluster, found by name: thousands of mirrors ask for theirs.
#[derive(Debug, Default)]
pub(super) struct Records<'a> {
    by_destination: HashMap<&'a str, Vec<&'a MirrorRecord>>,
    by_source: HashMap<&'a str, Vec<&'a MirrorRecord>>,
}

impl<'a> Records<'a> {
    fn of(control: &'a Control) -> Self {
        let mut records = Self::default();
        for record in &control.mirrors {
            records
                .by_destination
                .entry(&record.destination_topic)
                .or_default()
                .push(record);
            records
                .by_source
                .entry(&record.source_topic)
                .or_default()
                .push(record);
        }
        records
    }

    /// Records of any link that write to a topic of this name.
    pub fn written_to(&self, topic: &str) -> &[&'a MirrorRecord] {
        self.by_destination.get(topic).map_or(&[], Vec::as_slice)
    }

    /// Records of any link that copy a topic of this name.
    pub fn copied_from(&self, topic: &str) -> &[&'a MirrorRecord] {
        self.by_source.get(topic).map_or(&[], Vec::as_slice)
    }
}

impl<'a> World<'a> {
    pub fn new(topology: &'a Topology, observed: &'a Observed) -> Self {
        Self {
            topology,
            observed,
            file: topology.path.display().to_string(),
            blocked: BTreeMap::new(),
            overlay: HashMap::new(),
            records: observed
                .clusters
                .iter()
                .filter_map(|(name, seen)| {
                    Some((name.as_str(), Records::of(seen.control.as_ref()?)))
                })
                .collect(),
        }
    }

    /// The cluster as it was seen.
    pub fn cluster(&self, name: &str) -> &'a ObservedCluster {
        self.observed
            .clusters
            .get(name)
            .expect("every cluster of the file was observed")
    }

    /// The mirror records of a cluster; none where nothing was ever applied.
    pub fn records(&self, cluster: &str) -> Option<&Records<'a>> {
        self.records.get(cluster)
    }

    /// The topic as it will be, if there is going to be one.
    pub fn topic(&self, cluster: &str, topic: &str) -> Option<TopicView> {
        let key = (cluster.to_owned(), topic.to_owned());
        if let Some(view) = self.overlay.get(&key) {
            return Some(view.clone());
        }
        let seen = self.cluster(cluster).topics.get(topic)?;
        Some(TopicView {
            id: Some(seen.id),
            partitions: Some(seen.partitions),
            replication_factor: Some(seen.replication_factor),
            configs: seen.configs.clone(),
            made_by: None,
        })
    }

    /// What is in the way where the broker does not show a topic to the user.
    pub fn hidden(&self, cluster: &str, topic: &str) -> Option<Blocker> {
        let seen = self.cluster(cluster);
        seen.hidden.contains(topic).then(|| Blocker::TopicHidden {
            cluster: cluster.to_owned(),
            topic: topic.to_owned(),
            user: seen.user.clone(),
        })
    }

    /// From now on the topic counts as this.
    pub fn set(&mut self, cluster: &str, topic: &str, view: TopicView) {
        self.overlay
            .insert((cluster.to_owned(), topic.to_owned()), view);
    }

    /// A place in the file; none for what no line asks for.
    pub fn place(&self, span: Span) -> Option<Place> {
        (span.line > 0).then(|| Place {
            file: self.topology.file(span.file).display().to_string(),
            line: span.line,
            column: span.column,
        })
    }
}
