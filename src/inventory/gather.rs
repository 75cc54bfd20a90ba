//! Asking clusters for their links and mirrors, in batched calls.

use std::collections::HashMap;

use super::{ConfigView, LinkView, MirrorView, PartitionView};
use crate::control::records::{DesiredState, Owner};
use crate::control::store::{self, ControlState};
use crate::linking::LinkMode;
use crate::linking::operations::Held;
use crate::observe::model::{BrokerLinks, Linking, ObservedLink};
use crate::observe::platform::Platform;
use crate::observe::{Clusters, linking};
use crate::rest::documents::{Mirror, MirrorLag};
use crate::status::{self, MirrorStatus, MirrorTopicError, Source};
use crate::topology::engines::Engine;
use crate::topology::model::Topology;

/// Everything that was found, and what could not be asked.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// By cluster, then by name.
    pub links: Vec<LinkView>,
    pub mirrors: Vec<MirrorView>,
    /// Clusters of which nothing, or not all, is known, and why.
    pub unknown: Vec<(String, String)>,
}

/// Asks all clusters of a file that can be reached.
pub async fn gather(topology: &Topology, clusters: &Clusters) -> Inventory {
    let mut inventory = Inventory::default();
    let names = Names::of(clusters);
    for (cluster, error) in clusters.silent() {
        inventory.unknown.push((cluster, error));
    }
    let sources = sources(clusters);
    for cluster in topology.clusters.keys() {
        if !clusters.has(cluster) {
            continue;
        }
        if let Err(error) = recorded(cluster, clusters, &sources, &names, &mut inventory).await {
            inventory.unknown.push((cluster.clone(), error));
        }
        if topology.clusters[cluster].rest.is_none() {
            continue;
        }
        match carried(cluster, clusters).await {
            Linking::Known(there) => {
                let platform = clusters.brokers(cluster).await.platform;
                of_brokers(cluster, clusters, &there, platform, &names, &mut inventory);
            }
            Linking::Unknown { said, .. } => inventory.unknown.push((cluster.clone(), said)),
            Linking::NotAsked => {}
        }
    }
    // A server of kmirror's in front of a cluster tells of what its records tell, which come first.
    let place = |it: &LinkView| (it.cluster.clone(), it.link_name.clone());
    inventory.links.sort_by_key(place);
    inventory.links.dedup_by(|later, first| {
        later.cluster == first.cluster && later.link_name == first.link_name
    });
    inventory.mirrors.sort_by(|one, other| {
        let place = |it: &MirrorView| (it.cluster.clone(), it.mirror_topic_name.clone());
        place(one).cmp(&place(other))
    });
    inventory.mirrors.dedup_by(|later, first| {
        later.cluster == first.cluster && later.mirror_topic_name == first.mirror_topic_name
    });
    inventory
}

async fn carried(cluster: &str, clusters: &Clusters) -> Linking {
    match clusters.link_api(cluster) {
        Ok(api) => linking::read(&api, &clusters.client(cluster).cluster_id()).await,
        Err(error) => Linking::Unknown {
            why: crate::observe::model::NoLinking::Refused,
            said: error.to_string(),
        },
    }
}

/// Names of clusters by their ids.
struct Names(HashMap<String, String>);

impl Names {
    fn of(clusters: &Clusters) -> Self {
        let names = clusters.names().into_iter();
        let by_id = names.map(|name| (clusters.client(&name).cluster_id(), name));
        Self(by_id.collect())
    }

    fn get(&self, id: Option<&String>) -> Option<String> {
        self.0.get(id?).cloned()
    }
}

fn sources(clusters: &Clusters) -> HashMap<String, Source> {
    let names = clusters.names().into_iter();
    names
        .map(|name| {
            let client = clusters.client(&name);
            (client.cluster_id(), Source::Connected(client.clone()))
        })
        .collect()
}

async fn recorded(
    cluster: &str,
    clusters: &Clusters,
    sources: &HashMap<String, Source>,
    names: &Names,
    inventory: &mut Inventory,
) -> Result<(), String> {
    let client = clusters.client(cluster);
    let state = store::read(client)
        .await
        .map_err(|error| error.to_string())?;
    let Some(state) = state else {
        return Ok(());
    };
    let cluster_id = client.cluster_id();
    for held in Held::all(&state) {
        let link = of_record(cluster, &cluster_id, &held, &state, names);
        inventory.links.push(link);
    }
    let found = status::look(client, sources)
        .await
        .map_err(|error| error.to_string())?;
    let found = found.into_iter().flatten();
    inventory
        .mirrors
        .extend(found.map(|mirror| of_status(cluster, mirror)));
    Ok(())
}

fn of_record(
    cluster: &str,
    cluster_id: &str,
    held: &Held,
    state: &ControlState,
    names: &Names,
) -> LinkView {
    let (remote, owner, paused) = match held {
        Held::Destination { link, .. } => (
            &link.source_cluster_id,
            link.owner,
            link.state == DesiredState::Paused,
        ),
        Held::Source { link, .. } => (
            &link.destination_cluster_id,
            Owner::Rest,
            held.configs().is_paused(),
        ),
    };
    let mirrors = state.mirrors.values();
    let own = mirrors.filter(|mirror| mirror.id.link == held.id());
    let mut mirror_topics: Vec<String> = own.map(|it| it.destination_topic.clone()).collect();
    mirror_topics.sort();
    let shown = held.configs().shown().into_iter();
    LinkView {
        link_name: held.name().to_owned(),
        link_id: Some(held.id().to_string()),
        engine: Engine::Kmirror.name(),
        cluster: cluster.to_owned(),
        cluster_id: cluster_id.to_owned(),
        remote_cluster_id: Some(remote.clone()),
        remote_cluster: names.get(Some(remote)),
        link_mode: match held.configs().link_mode() {
            LinkMode::Destination => "DESTINATION",
            LinkMode::Source => "SOURCE",
            LinkMode::Bidirectional => "BIDIRECTIONAL",
        }
        .to_owned(),
        link_state: Some(if paused { "PAUSED" } else { "ACTIVE" }.to_owned()),
        link_error: None,
        platform: None,
        owner: Some(match owner {
            Owner::File => "file",
            Owner::Rest => "rest",
        }),
        mirror_topics,
        configs: shown
            .map(|config| ConfigView {
                source: config.source().to_owned(),
                name: config.name.to_owned(),
                value: config.value,
                default: config.default.map(str::to_owned),
                is_default: config.is_default,
                is_sensitive: config.is_sensitive,
                is_read_only: config.is_read_only,
            })
            .collect(),
    }
}

fn of_status(cluster: &str, mirror: MirrorStatus) -> MirrorView {
    let error = mirror.error != MirrorTopicError::NoError;
    MirrorView {
        link_name: mirror.link_name,
        engine: Engine::Kmirror.name(),
        cluster: cluster.to_owned(),
        mirror_topic_name: mirror.mirror_topic,
        source_topic_name: mirror.source_topic,
        mirror_status: mirror.state.name().to_owned(),
        mirror_topic_error: error.then(|| mirror.error.name().to_owned()),
        message: mirror.message,
        state_time_ms: mirror.since_ms,
        partitions: mirror
            .partitions
            .into_iter()
            .map(|it| PartitionView {
                partition: it.partition,
                lag: it.lag.and_then(|lag| u64::try_from(lag).ok()),
                last_source_fetch_offset: known(it.last_source_fetch_offset),
                source_end_offset: it.source_end,
                local_log_end_offset: it.destination_end,
                failure: it.failure.map(|failure| failure.message),
            })
            .collect(),
    }
}

/// Offsets and times that servers tell as negative are not known.
fn known(number: i64) -> Option<i64> {
    (number >= 0).then_some(number)
}

fn of_brokers(
    cluster: &str,
    clusters: &Clusters,
    there: &BrokerLinks,
    platform: Option<Platform>,
    names: &Names,
    inventory: &mut Inventory,
) {
    let cluster_id = clusters.client(cluster).cluster_id();
    for found in there.links.values() {
        let own = there.mirrors.values();
        let own = own.filter(|it| it.link_name == found.link.link_name);
        let topics = own.map(|it| it.mirror_topic_name.clone()).collect();
        let mut link = of_link(cluster, &cluster_id, found, topics, names);
        link.platform = platform.map(|it| it.to_string());
        inventory.links.push(link);
    }
    let mirrors = there.mirrors.values();
    inventory
        .mirrors
        .extend(mirrors.map(|mirror| of_mirror(cluster, mirror)));
}

fn of_link(
    cluster: &str,
    cluster_id: &str,
    found: &ObservedLink,
    mirror_topics: Vec<String>,
    names: &Names,
) -> LinkView {
    let link = &found.link;
    let mut ids = [
        &link.remote_cluster_id,
        &link.source_cluster_id,
        &link.destination_cluster_id,
    ]
    .into_iter()
    .flatten();
    let remote = ids.find(|id| *id != cluster_id);
    let error = link.link_error.clone();
    let error = error.filter(|error| error != "NO_ERROR");
    let error = match (error, &link.link_error_message) {
        (Some(error), Some(message)) => Some(format!("{error}: {message}")),
        (error, _) => error,
    };
    let mode = found.configs.get("link.mode");
    let mode = mode.and_then(|it| it.value.clone());
    LinkView {
        link_name: link.link_name.clone(),
        link_id: link.cluster_link_id.clone(),
        engine: Engine::ClusterLink.name(),
        cluster: cluster.to_owned(),
        cluster_id: cluster_id.to_owned(),
        remote_cluster: names.get(remote),
        remote_cluster_id: remote.cloned(),
        link_mode: mode.unwrap_or_else(|| "DESTINATION".to_owned()),
        link_state: link.link_state.as_ref().map(ToString::to_string),
        link_error: error,
        platform: None,
        owner: None,
        mirror_topics,
        configs: found
            .configs
            .values()
            .map(|config| ConfigView {
                name: config.name.clone(),
                value: config
                    .value
                    .clone()
                    .filter(|_| !config.is_sensitive && !linking::is_sensitive(&config.name)),
                default: None,
                is_default: !config.is_set(),
                is_sensitive: config.is_sensitive || linking::is_sensitive(&config.name),
                is_read_only: config.is_read_only,
                source: config.source.clone().unwrap_or_else(|| {
                    match config.is_set() {
                        true => "DYNAMIC_CLUSTER_LINK_CONFIG",
                        false => "DEFAULT_CONFIG",
                    }
                    .to_owned()
                }),
            })
            .collect(),
    }
}

fn of_mirror(cluster: &str, mirror: &Mirror) -> MirrorView {
    let error = mirror.mirror_topic_error.clone();
    let mut errors = mirror.mirror_state_transition_errors.iter();
    let message = errors.next().map(|error| match &error.error_message {
        Some(message) => format!("{}: {message}", error.error_code),
        None => error.error_code.clone(),
    });
    let ends = |lag: &MirrorLag| {
        let fetched = known(lag.last_source_fetch_offset)?;
        Some(fetched + i64::try_from(lag.known()?).ok()?)
    };
    MirrorView {
        link_name: mirror.link_name.clone(),
        engine: Engine::ClusterLink.name(),
        cluster: cluster.to_owned(),
        mirror_topic_name: mirror.mirror_topic_name.clone(),
        source_topic_name: mirror.source_topic_name.clone(),
        mirror_status: mirror.mirror_status.to_string(),
        mirror_topic_error: error.filter(|error| !matches!(error.as_str(), "NO_ERROR" | "NOT_SET")),
        message,
        state_time_ms: known(mirror.state_time_ms).filter(|time| *time > 0),
        partitions: mirror
            .mirror_lags
            .iter()
            .map(|lag| PartitionView {
                partition: lag.partition,
                lag: lag.known(),
                last_source_fetch_offset: known(lag.last_source_fetch_offset),
                source_end_offset: ends(lag),
                local_log_end_offset: None,
                failure: None,
            })
            .collect(),
    }
}
