//! Asking the two clusters: topics, kmirror's own records, log ends, and samples of the pairs that may
//! be copies. Everything is read, and every read has a limit.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::StreamExt as _;

use super::sample::{self, Bounds};
use super::{ClusterSeen, DESTINATION, SOURCE, Seen, TopicSeen, candidates};
use crate::control;
use crate::import::model::OwnedDraft;
use crate::kafka::admin::{ConfigResource, ConfigSource, OffsetSpec};
use crate::kafka::metadata::{ClusterMetadata, TopicMetadata};
use crate::kafka::{Client, ErrorCode, Isolation, Topics};
use crate::observe::{Clusters, Unreachable, UnreadableCluster};
use crate::topology::names;
use crate::topology::selector::TopicSelector;

/// Pairs that are compared at the same time.
const AT_ONCE: usize = 8;

/// What to look for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Topics of the source that may be mirrored; all, if there are none.
    pub topics: Vec<TopicSelector>,
    /// Topics that the file is to own, unless a mirror fills them.
    pub owned: Vec<TopicSelector>,
}

/// Looks at both clusters.
///
/// # Errors
/// A cluster that cannot be read.
pub async fn look(clusters: &Clusters, wanted: &Wanted) -> Result<Seen, Unreachable> {
    let failed = |name: &str, error: UnreadableCluster| Unreachable(vec![(name.to_owned(), error)]);
    let (source, destination) = (clusters.client(SOURCE), clusters.client(DESTINATION));
    let (from, to) = futures::future::join(
        source.admin().metadata(Topics::All),
        destination.admin().metadata(Topics::All),
    )
    .await;
    let from = from.map_err(|error| failed(SOURCE, error.into()))?;
    let to = to.map_err(|error| failed(DESTINATION, error.into()))?;
    let control = control::read(destination)
        .await
        .map_err(|error| failed(DESTINATION, error.into()))?;
    let (links, mirrors) = control.map_or_else(Default::default, |state| {
        let mut links: Vec<_> = state.links.into_values().collect();
        links.sort_by(|one, other| one.name.cmp(&other.name));
        (links, state.mirrors.into_values().collect())
    });
    let mut seen = Seen {
        source: cluster(&from),
        destination: cluster(&to),
        links,
        mirrors,
        ..Seen::default()
    };
    if seen.source.id != seen.destination.id {
        compare(&mut seen, source, destination, wanted).await;
    }
    own(&mut seen, source, destination, wanted).await;
    Ok(seen)
}

fn cluster(metadata: &ClusterMetadata) -> ClusterSeen {
    let described = metadata
        .topics
        .iter()
        .filter(|topic| topic.error == ErrorCode::NONE);
    ClusterSeen {
        id: metadata.cluster_id.clone(),
        topics: described
            .map(|topic| (topic.name.clone(), topic_seen(topic)))
            .collect(),
        owned: BTreeMap::new(),
    }
}

fn topic_seen(topic: &TopicMetadata) -> TopicSeen {
    let replicas = topic.partitions.iter().map(|it| it.replicas.len()).min();
    TopicSeen {
        partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(replicas.unwrap_or(0)).unwrap_or(i16::MAX),
    }
}

async fn compare(seen: &mut Seen, source: &Client, destination: &Client, wanted: &Wanted) {
    let (pairs, left_out) = candidates(seen, &wanted.topics);
    seen.left_out = left_out;
    let of = |name: fn(&super::Pair) -> &String, cluster: &ClusterSeen| -> Vec<(String, i32)> {
        let names: BTreeSet<&String> = pairs.iter().map(name).collect();
        names
            .into_iter()
            .filter_map(|name| Some((name, cluster.topics.get(name)?.partitions)))
            .flat_map(|(name, count)| (0..count).map(|partition| (name.clone(), partition)))
            .collect()
    };
    let (from, to) = futures::future::join(
        bounds(source, of(|pair| &pair.source, &seen.source)),
        bounds(destination, of(|pair| &pair.destination, &seen.destination)),
    )
    .await;
    let comparing = pairs.into_iter().map(|pair| {
        let partitions = seen
            .source
            .topics
            .get(&pair.source)
            .map_or(0, |topic| topic.partitions);
        let (from, to) = (&from, &to);
        async move {
            let source = sample::Side {
                client: source,
                topic: &pair.source,
                bounds: from,
            };
            let destination = sample::Side {
                client: destination,
                topic: &pair.destination,
                bounds: to,
            };
            let verdict = sample::compare(source, destination, partitions).await;
            (pair, verdict)
        }
    });
    let compared: Vec<_> = futures::stream::iter(comparing)
        .buffered(AT_ONCE)
        .collect()
        .await;
    seen.compared = compared;
}

/// Where logs start and end. A partition that does not say is left out.
async fn bounds(client: &Client, partitions: Vec<(String, i32)>) -> HashMap<(String, i32), Bounds> {
    let at = |spec: OffsetSpec| {
        let wanted = partitions
            .iter()
            .map(|(topic, partition)| (topic.clone(), *partition, spec))
            .collect();
        let admin = client.admin();
        async move { admin.list_offsets(wanted, Isolation::ReadUncommitted).await }
    };
    if partitions.is_empty() {
        return HashMap::new();
    }
    let (starts, ends) =
        futures::future::join(at(OffsetSpec::Earliest), at(OffsetSpec::Latest)).await;
    starts
        .into_iter()
        .zip(ends)
        .filter_map(|((partition, start), (_, end))| {
            let bounds = Bounds {
                start: start.ok()?.offset,
                end: end.ok()?.offset,
            };
            Some((partition, bounds))
        })
        .collect()
}

/// Describes the topics that the file is to own.
async fn own(seen: &mut Seen, source: &Client, destination: &Client, wanted: &Wanted) {
    let filled: BTreeSet<String> = seen
        .compared
        .iter()
        .filter(|(_, verdict)| matches!(verdict, super::Verdict::Copy(_)))
        .map(|(pair, _)| pair.destination.clone())
        .chain(
            seen.mirrors
                .iter()
                .map(|mirror| mirror.destination_topic.clone()),
        )
        .collect();
    let nothing = BTreeSet::new();
    let mut refused = Vec::new();
    for (cluster, client, filled) in [
        (&mut seen.source, source, &nothing),
        (&mut seen.destination, destination, &filled),
    ] {
        let names: Vec<String> = cluster
            .topics
            .keys()
            .filter(|name| !filled.contains(*name) && !names::is_reserved_at_destination(name))
            .filter(|name| wanted.owned.iter().any(|pattern| pattern.matches(name)))
            .cloned()
            .collect();
        if names.is_empty() {
            continue;
        }
        let asked = names.into_iter().map(ConfigResource::Topic).collect();
        for (resource, entries) in client.admin().describe_configs(asked).await {
            let ConfigResource::Topic(name) = resource else {
                continue;
            };
            let Some(topic) = cluster.topics.get(&name) else {
                continue;
            };
            let entries = entries.unwrap_or_else(|error| {
                refused.push((name.clone(), error.to_string()));
                Vec::new()
            });
            let set = entries
                .into_iter()
                .filter(|entry| entry.source == ConfigSource::Topic && !entry.sensitive)
                .filter_map(|entry| Some((entry.name, entry.value?)));
            let made = OwnedDraft {
                partitions: Some(topic.partitions),
                replication_factor: Some(topic.replication_factor),
                config: set.collect(),
            };
            cluster.owned.insert(name, made);
        }
    }
    seen.without_configs = refused;
}
