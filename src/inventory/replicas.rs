//! Where the replicas of topics are and what they hold.

use std::collections::{BTreeMap, BTreeSet};

use super::{MirrorView, ReplicaView};
use crate::kafka::admin::{Admin, OffsetSpec, ReplicaLag};
use crate::kafka::fetch::Isolation;
use crate::kafka::metadata::{PartitionMetadata, TopicMetadata};
use crate::kafka::{Client, Error, Topics};
use crate::observe::Clusters;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Mirror topics; empty for all.
    pub topics: &'a [String],
    /// Whether the sources of mirrors are shown, too.
    pub include_linked: bool,
    /// Names of clusters by the links whose sources they are: cluster of the mirror and link, then source.
    pub sources: &'a BTreeMap<(String, String), String>,
}

/// The replicas of mirror topics, and of their sources where that is asked for.
///
/// # Errors
/// A cluster that cannot be asked, by its name.
pub async fn replicas(
    clusters: &Clusters,
    mirrors: &[MirrorView],
    asked: Asked<'_>,
) -> Result<Vec<ReplicaView>, (String, Error)> {
    // By cluster: topics, with the link of which a topic is the source.
    let mut wanted: BTreeMap<String, BTreeSet<(String, Option<String>)>> = BTreeMap::new();
    for mirror in mirrors {
        let is_asked = asked.topics.is_empty() || asked.topics.contains(&mirror.mirror_topic_name);
        if !is_asked {
            continue;
        }
        let own = (mirror.mirror_topic_name.clone(), None);
        wanted
            .entry(mirror.cluster.clone())
            .or_default()
            .insert(own);
        let key = (mirror.cluster.clone(), mirror.link_name.clone());
        if let Some(source) = asked.sources.get(&key).filter(|_| asked.include_linked) {
            let linked = (
                mirror.source_topic_name.clone(),
                Some(mirror.link_name.clone()),
            );
            wanted.entry(source.clone()).or_default().insert(linked);
        }
    }
    let mut rows = Vec::new();
    for (cluster, topics) in wanted {
        if !clusters.has(&cluster) {
            continue;
        }
        let found = on_cluster(&cluster, clusters.client(&cluster), &topics).await;
        rows.extend(found.map_err(|error| (cluster.clone(), error))?);
    }
    rows.sort_by(|one, other| {
        let place = |it: &ReplicaView| {
            let link = it.cluster_link.clone();
            (it.topic.clone(), it.partition, link, it.replica)
        };
        place(one).cmp(&place(other))
    });
    Ok(rows)
}

async fn on_cluster(
    cluster: &str,
    client: &Client,
    topics: &BTreeSet<(String, Option<String>)>,
) -> Result<Vec<ReplicaView>, Error> {
    let admin = client.admin();
    let names: BTreeSet<String> = topics.iter().map(|(name, _)| name.clone()).collect();
    let names: Vec<String> = names.into_iter().collect();
    let metadata = admin.metadata(Topics::Named(&names)).await?;
    let there = metadata.topics.iter().filter(|topic| topic.error.is_ok());
    let there: Vec<&TopicMetadata> = there.collect();
    let (starts, ends) = (
        offsets(&admin, &there, OffsetSpec::Earliest).await,
        offsets(&admin, &there, OffsetSpec::Latest).await,
    );
    let lags = admin.replica_lags(&there).await;
    let mut rows = Vec::new();
    for (name, link) in topics {
        let Some(topic) = metadata.topic(name) else {
            continue;
        };
        for partition in &topic.partitions {
            let key = (name.clone(), partition.index);
            let place = Place {
                cluster,
                topic: name,
                link: link.as_ref(),
                start: starts.get(&key).copied(),
                end: ends.get(&key).copied(),
            };
            rows.extend(place.rows(partition, &lags));
        }
    }
    Ok(rows)
}

/// Offsets by partition, as far as leaders tell.
async fn offsets(
    admin: &Admin,
    topics: &[&TopicMetadata],
    spec: OffsetSpec,
) -> BTreeMap<(String, i32), i64> {
    let partitions = topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|partition| (topic.name.clone(), partition.index, spec))
    });
    let listed = admin
        .list_offsets(partitions.collect(), Isolation::ReadUncommitted)
        .await;
    let known = listed.into_iter();
    known
        .filter_map(|(partition, offset)| Some((partition, offset.ok()?.offset)))
        .collect()
}

struct Place<'a> {
    cluster: &'a str,
    topic: &'a str,
    link: Option<&'a String>,
    start: Option<i64>,
    end: Option<i64>,
}

impl Place<'_> {
    fn rows(&self, partition: &PartitionMetadata, lags: &[ReplicaLag]) -> Vec<ReplicaView> {
        let replicas = partition.replicas.iter();
        replicas
            .map(|replica| {
                let is_leader = *replica == partition.leader;
                let told = lags.iter().find(|lag| {
                    lag.broker == *replica
                        && lag.topic == self.topic
                        && lag.partition == partition.index
                });
                let lag = match is_leader {
                    true => Some(0),
                    false => told.map(|it| it.offset_lag),
                };
                ReplicaView {
                    cluster: self.cluster.to_owned(),
                    topic: self.topic.to_owned(),
                    partition: partition.index,
                    replica: *replica,
                    cluster_link: self.link.cloned(),
                    is_leader,
                    is_in_isr: partition.isr.contains(replica),
                    is_caught_up: lag.map(|lag| lag == 0),
                    offset_lag: lag,
                    log_start_offset: self.start.filter(|_| is_leader),
                    log_end_offset: self.end.zip(lag).map(|(end, lag)| end - lag),
                }
            })
            .collect()
    }
}
