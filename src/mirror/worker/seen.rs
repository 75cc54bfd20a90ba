//! What the clusters have of the topics that the applied mirrors name.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures::future::join_all;

use super::ConnectedCluster;
use crate::control::records::{LinkRecord, MirrorRecord};
use crate::control::store::ControlState;
use crate::kafka::{Error, ErrorCode, TopicMetadata, Topics};

/// A topic: cluster id and name.
type Topic = (String, String);

/// What was last seen of the topics at both ends of the mirrors of one destination.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    destination: String,
    /// Partition counts, and whether a partition has several replicas.
    topics: HashMap<Topic, (i32, bool)>,
    /// Topics that their cluster said it does not have.
    absent: HashSet<Topic>,
}

impl Seen {
    pub(super) fn new(destination_cluster_id: &str) -> Self {
        Self {
            destination: destination_cluster_id.to_owned(),
            topics: HashMap::new(),
            absent: HashSet::new(),
        }
    }

    /// Looks up the topics of all mirrors on both sides. A cluster that does not answer leaves what
    /// was known of it.
    pub(super) async fn look(
        &mut self,
        state: &ControlState,
        clusters: &HashMap<String, ConnectedCluster>,
    ) {
        let mut names: HashMap<String, BTreeSet<String>> = HashMap::new();
        // What mirrors that have stopped may lack without anybody missing it.
        let mut awaited: HashSet<Topic> = HashSet::new();
        for mirror in state.mirrors.values() {
            let Some(link) = state.links.get(&mirror.id.link) else {
                continue;
            };
            for (cluster_id, topic) in self.ends(link, mirror) {
                if !mirror.is_stopped() {
                    awaited.insert((cluster_id.clone(), topic.clone()));
                }
                names.entry(cluster_id).or_default().insert(topic);
            }
        }
        let asked = names.into_iter().filter_map(|(cluster_id, names)| {
            let cluster = clusters.get(&cluster_id)?;
            Some(async move {
                let names: Vec<String> = names.into_iter().collect();
                let found = cluster.client.metadata(Topics::Named(&names)).await;
                (cluster_id, cluster, found)
            })
        });
        for (cluster_id, cluster, found) in join_all(asked).await {
            match found {
                Ok(metadata) => {
                    for topic in metadata.topics {
                        self.note(&cluster_id, &cluster.name, topic, &awaited);
                    }
                }
                Err(error @ Error::Security(_)) => {
                    // Told by the connection, once.
                    tracing::debug!(cluster = cluster.name, %error, "the cluster cannot be read just now");
                }
                Err(error) => {
                    tracing::warn!(cluster = cluster.name, %error, "the cluster cannot be read just now");
                }
            }
        }
    }

    /// How many partitions of a mirror can be copied: those that both topics have.
    pub(super) fn partition_count(&self, link: &LinkRecord, mirror: &MirrorRecord) -> Option<i32> {
        let [source, destination] = self.ends(link, mirror);
        let (source, _) = self.topics.get(&source)?;
        let (destination, _) = self.topics.get(&destination)?;
        Some(*source.min(destination))
    }

    /// How many partitions the two topics of a mirror have, as far as that is known.
    pub(super) fn counts(&self, link: &LinkRecord, mirror: &MirrorRecord) -> [Option<i32>; 2] {
        let ends = self.ends(link, mirror);
        ends.map(|topic| self.topics.get(&topic).map(|(count, _)| *count))
    }

    /// Whether what a leader of the destination topic alone has can be lost with it.
    pub(super) fn is_replicated(&self, destination_topic: &str) -> bool {
        let key = (self.destination.clone(), destination_topic.to_owned());
        self.topics.get(&key).is_some_and(|(_, several)| *several)
    }

    /// The end of a mirror that its cluster does not have (`source` or `destination`), and its topic.
    pub(super) fn absent_end(
        &self,
        link: &LinkRecord,
        mirror: &MirrorRecord,
    ) -> Option<(&'static str, String)> {
        let ends = ["source", "destination"]
            .into_iter()
            .zip(self.ends(link, mirror));
        ends.into_iter()
            .find(|(_, topic)| self.absent.contains(topic))
            .map(|(end, (_, topic))| (end, topic))
    }

    /// Source and destination topic.
    fn ends(&self, link: &LinkRecord, mirror: &MirrorRecord) -> [Topic; 2] {
        [
            (link.source_cluster_id.clone(), mirror.source_topic.clone()),
            (self.destination.clone(), mirror.destination_topic.clone()),
        ]
    }

    fn note(
        &mut self,
        cluster_id: &str,
        cluster: &str,
        topic: TopicMetadata,
        awaited: &HashSet<Topic>,
    ) {
        let key = (cluster_id.to_owned(), topic.name);
        match topic.error {
            ErrorCode::NONE => {
                let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
                self.absent.remove(&key);
                let several = topic.partitions.iter().any(|it| it.replicas.len() > 1);
                self.topics.insert(key, (count, several));
            }
            // Partitions that already run find out by themselves whether it was deleted.
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                if self.absent.insert(key.clone()) && awaited.contains(&key) {
                    tracing::warn!(
                        cluster,
                        topic = key.1,
                        "the topic does not exist: its mirror waits for it"
                    );
                }
            }
            code => tracing::warn!(cluster, topic = key.1, %code, "the topic cannot be described"),
        }
    }
}
