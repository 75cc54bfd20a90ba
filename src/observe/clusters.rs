//! Connections to the clusters of a file, and reading them.
//!
//! Reading takes two steps: names, brokers and control records of all clusters at the same time;
//! then, for the topics that the plan will ask about ([`crate::plan::interest`]), configs and log
//! ends. The number of requests follows the number of clusters and brokers, not that of topics.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::protocol::Request;

use super::linking;
use super::model::{
    ConfigSource, ConfigValue, Configs, Contents, Control, Described, InheritedValue, Linking,
    NoLinking, Observed, ObservedCluster, ObservedTopic,
};
use super::platform::{Brokers, Platform, uses_zookeeper};
use crate::control;
use crate::control::records::LINKS_TOPIC;
use crate::kafka::admin::{self, ConfigEntry, ConfigResource, OffsetSpec};
use crate::kafka::fetch::Isolation;
use crate::kafka::metadata::{ClusterMetadata, TopicMetadata};
use crate::kafka::{Client, ClientConfig, Error, ErrorCode, Target, Topics};
use crate::plan::{Interest, can_do_without, interest, reachable, unseen};
use crate::rest::links::{LinkApi, LinkError};
use crate::topology::model::{Endpoint, Topology};

/// What topics inherit from their broker, as far as a mirror depends on it: topic key, broker key.
const INHERITED: [(&str, &str); 6] = [
    ("compression.type", "compression.type"),
    ("max.message.bytes", "message.max.bytes"),
    (
        "message.timestamp.after.max.ms",
        "log.message.timestamp.after.max.ms",
    ),
    (
        "message.timestamp.before.max.ms",
        "log.message.timestamp.before.max.ms",
    ),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("min.insync.replicas", "min.insync.replicas"),
];

/// Clusters that could not be read, all of them at once.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|(name, error)| format!("{name}: {error}")).collect::<Vec<_>>().join("\n"))]
pub struct Unreachable(pub Vec<(String, UnreadableCluster)>);

/// Why a cluster could not be read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableCluster {
    #[error(transparent)]
    Kafka(#[from] Error),
    #[error(transparent)]
    Control(#[from] control::ControlError),
}

/// Connections to the clusters of a file, by their names in it.
#[derive(Clone, Debug)]
pub struct Clusters {
    clients: BTreeMap<String, Client>,
    /// Those that no broker answered for; only [`Clusters::connect_to_plan`] leaves any.
    silent: BTreeMap<String, Error>,
    /// Where their brokers are asked for the links that they carry.
    endpoints: BTreeMap<String, Endpoint>,
}

impl Clusters {
    /// Connects to all clusters at the same time.
    ///
    /// # Errors
    /// Every cluster that can't be reached, with the addresses that were tried.
    pub async fn connect(topology: &Topology) -> Result<Self, Unreachable> {
        let clusters = Self::connect_to_plan(topology).await?;
        match clusters.silent.is_empty() {
            true => Ok(clusters),
            false => Err(clusters.unreached()),
        }
    }

    /// The same for planning, which can do without a source that is down: then [`Clusters::observe`] tells whether it can.
    ///
    /// # Errors
    /// Every cluster that can't be reached for another reason than that no broker answers.
    pub async fn connect_to_plan(topology: &Topology) -> Result<Self, Unreachable> {
        let connecting = topology.clusters.values().map(|cluster| async move {
            let config = ClientConfig::with_settings(
                &cluster.name,
                cluster.bootstrap_servers.clone(),
                cluster.client.clone(),
            );
            (cluster.name.clone(), Client::connect(config).await)
        });
        let mut silent = BTreeMap::new();
        let mut others = Vec::new();
        for (name, result) in join_all(connecting).await {
            match result {
                Err(error @ Error::Unreachable { .. }) => drop(silent.insert(name, error)),
                result => others.push((name, result)),
            }
        }
        match all(others) {
            Ok(clients) => Ok(Self {
                clients,
                silent,
                endpoints: endpoints(topology),
            }),
            Err(mut unreachable) => {
                // All of them are told at once.
                let silent = silent.into_iter().map(|(name, error)| (name, error.into()));
                unreachable.0.extend(silent);
                unreachable.0.sort_by(|(a, _), (b, _)| a.cmp(b));
                Err(unreachable)
            }
        }
    }

    /// All that no broker answered for, as an error.
    pub fn unreached(&self) -> Unreachable {
        self.unreachable(|_| true)
    }

    fn unreachable(&self, is_meant: impl Fn(&str) -> bool) -> Unreachable {
        let silent = self.silent.iter().filter(|(name, _)| is_meant(name));
        let silent = silent.map(|(name, error)| (name.clone(), error.clone().into()));
        Unreachable(silent.collect())
    }

    /// Connections that somebody else has made.
    pub fn of(clients: impl IntoIterator<Item = Client>) -> Self {
        let clients = clients
            .into_iter()
            .map(|client| (client.cluster_name().to_owned(), client))
            .collect();
        Self {
            clients,
            silent: BTreeMap::new(),
            endpoints: BTreeMap::new(),
        }
    }

    /// The clusters that there is a connection to.
    pub fn names(&self) -> Vec<String> {
        self.clients.keys().cloned().collect()
    }

    /// Those that no broker answered for, and why.
    pub fn silent(&self) -> Vec<(String, String)> {
        let silent = self.silent.iter();
        silent
            .map(|(name, error)| (name.clone(), error.to_string()))
            .collect()
    }

    /// Whether there is a connection to this cluster.
    pub fn has(&self, cluster: &str) -> bool {
        self.clients.contains_key(cluster)
    }

    /// The links of a cluster, whose brokers' REST API the file names.
    ///
    /// # Errors
    /// Certificates or secrets that cannot be read.
    pub fn link_api(&self, cluster: &str) -> Result<LinkApi, LinkError> {
        let endpoint = self.endpoints.get(cluster);
        let endpoint = endpoint.expect("a file with such links names the API, or is refused");
        let http = linking::rest_client(endpoint)?;
        let cluster_id = self.client(cluster).cluster_id();
        Ok(LinkApi::new(http, &endpoint.url.to_string(), &cluster_id))
    }

    /// The connection to a cluster of the file.
    pub fn client(&self, cluster: &str) -> &Client {
        self.clients
            .get(cluster)
            .expect("every cluster of the file is connected")
    }

    /// What the brokers of a cluster show of themselves; nothing where they show no configs.
    pub async fn brokers(&self, cluster: &str) -> Brokers {
        let client = self.client(cluster);
        let Ok(metadata) = client.admin().metadata(Topics::Named(&[])).await else {
            return Brokers::default();
        };
        let configs = broker_configs(client, &metadata).await;
        let values = configs.iter();
        let values = values.map(|entry| (entry.name.as_str(), entry.value.as_deref()));
        Brokers {
            uses_zookeeper: uses_zookeeper(values),
            platform: platform(client, &configs).await,
        }
    }

    /// Reads what the plan needs to know.
    ///
    /// # Errors
    /// Every cluster that can't be read.
    pub async fn observe(&self, topology: &Topology) -> Result<Observed, Unreachable> {
        let reading = self.clients.iter().map(|(name, client)| async move {
            let mut links = topology.links.values();
            let is_destination = links.any(|link| link.destination == *name);
            (name.clone(), read_cluster(client, is_destination).await)
        });
        let mut observed = Observed {
            clusters: all(join_all(reading).await)?,
            ..Observed::default()
        };
        let silent = self.silent.iter();
        observed.unreachable = silent
            .map(|(name, error)| (name.clone(), why_silent(error)))
            .collect();
        let asking = linking::asked(topology).into_iter();
        let asking = asking.filter(|name| self.has(name)).map(|name| async move {
            let linking = match self.link_api(name) {
                Ok(api) => linking::read(&api, &self.client(name).cluster_id()).await,
                Err(error) => Linking::Unknown {
                    why: NoLinking::Refused,
                    said: error.to_string(),
                },
            };
            (name.to_owned(), linking)
        });
        for (name, linking) in join_all(asking).await {
            if let Some(cluster) = observed.clusters.get_mut(&name) {
                cluster.linking = linking;
            }
        }
        observed.reach = linking::reaches(self, linking::reached(topology)).await;
        let needed = self.unreachable(|name| !can_do_without(topology, &observed, name));
        if !needed.0.is_empty() {
            return Err(needed);
        }
        let topology = &*reachable(topology, &observed);
        let looking = unseen(topology, &observed)
            .into_iter()
            .map(|(name, topics)| async {
                let hidden = hidden(self.client(&name), topics).await;
                (name, hidden)
            });
        for (name, hidden) in all(join_all(looking).await)? {
            if let Some(cluster) = observed.clusters.get_mut(&name) {
                cluster.hidden = hidden;
            }
        }
        let wanted = interest(topology, &observed);
        let describing = observed.clusters.iter_mut().map(|(name, cluster)| {
            let client = self.client(name);
            let interest = wanted.get(name).cloned().unwrap_or_default();
            async move {
                describe_configs(client, cluster, &interest).await;
                describe_contents(client, cluster, &interest).await;
            }
        });
        join_all(describing).await;
        Ok(observed)
    }
}

/// What each address said, without the time that it took: two plans of one state are the same.
fn why_silent(error: &Error) -> String {
    match error {
        Error::Unreachable { attempts, .. } => {
            let attempts = attempts.iter();
            let causes = attempts.map(|attempt| format!("{}: {}", attempt.address, attempt.cause));
            causes.collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

fn endpoints(topology: &Topology) -> BTreeMap<String, Endpoint> {
    let clusters = topology.clusters.values();
    let endpoints = clusters.filter_map(|it| Some((it.name.clone(), it.rest.clone()?)));
    endpoints.collect()
}

/// All results, or all errors.
fn all<T, E: Into<UnreadableCluster>>(
    results: Vec<(String, Result<T, E>)>,
) -> Result<BTreeMap<String, T>, Unreachable> {
    let mut good = BTreeMap::new();
    let mut bad = Vec::new();
    for (name, result) in results {
        match result {
            Ok(value) => {
                good.insert(name, value);
            }
            Err(error) => bad.push((name, error.into())),
        }
    }
    if bad.is_empty() {
        Ok(good)
    } else {
        Err(Unreachable(bad))
    }
}

async fn read_cluster(
    client: &Client,
    is_destination: bool,
) -> Result<ObservedCluster, UnreadableCluster> {
    let metadata = client.admin().metadata(Topics::All).await?;
    // At a destination it is asked for by name: a user who may not see it must not take it for absent.
    let control = if is_destination || metadata.topic(LINKS_TOPIC).is_some() {
        match control::read(client).await {
            Ok(state) => state.map(|state| Control {
                links: state.links.into_values().collect(),
                mirrors: state.mirrors.into_values().collect(),
                lock: state.lock,
            }),
            Err(error) if !is_destination && error.is_authorization() => {
                tracing::debug!(cluster = client.cluster_name(), %error, "its own links are not known");
                None
            }
            Err(error) => return Err(error.into()),
        }
    } else {
        None
    };
    let allows_markers = if is_destination {
        match client.admin().cluster_operations().await {
            Ok(operations) => Some(operations.allow_markers()),
            Err(error) => {
                tracing::debug!(cluster = client.cluster_name(), %error, "what the user may do is not known");
                None
            }
        }
    } else {
        None
    };
    let defaults = broker_configs(client, &metadata).await;
    let number = |key: &str| {
        defaults
            .iter()
            .find(|entry| entry.name == key)?
            .value
            .clone()
    };
    Ok(ObservedCluster {
        cluster_id: metadata.cluster_id.clone(),
        live_brokers: metadata.brokers.iter().map(|broker| broker.id).collect(),
        default_partitions: number("num.partitions").and_then(|text| text.parse().ok()),
        default_replication_factor: number("default.replication.factor")
            .and_then(|text| text.parse().ok()),
        topic_defaults: topic_defaults(&defaults),
        topics: metadata
            .topics
            .iter()
            .map(|topic| (topic.name.clone(), topic_seen(topic)))
            .collect(),
        hidden: BTreeSet::new(),
        linking: Linking::NotAsked,
        platform: platform(client, &defaults).await,
        user: client.asked().user,
        allows_markers,
        control,
    })
}

/// Those of the topics that the broker does not show. Its list of all topics leaves them out as if they did not exist;
/// asked for by name, it says which of the two it is.
async fn hidden(client: &Client, topics: BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
    let names: Vec<String> = topics.into_iter().collect();
    let metadata = client.admin().metadata(Topics::Named(&names)).await?;
    let refused = |topic: &&TopicMetadata| topic.error == ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    let topics = metadata.topics.iter().filter(refused);
    Ok(topics.map(|topic| topic.name.clone()).collect())
}

fn topic_seen(topic: &TopicMetadata) -> ObservedTopic {
    let replicas = topic.partitions.iter().map(|it| it.replicas.len()).min();
    ObservedTopic {
        id: topic.id,
        internal: topic.internal,
        partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(replicas.unwrap_or(0)).unwrap_or(i16::MAX),
        configs: Described::NotAsked,
        contents: Described::NotAsked,
    }
}

/// One broker's configs stand for all; without the right to read them, nothing is taken for granted.
async fn broker_configs(client: &Client, metadata: &ClusterMetadata) -> Vec<ConfigEntry> {
    let Some(broker) = metadata.brokers.first() else {
        return Vec::new();
    };
    let asked = vec![ConfigResource::Broker(broker.id)];
    let answers = client.admin().describe_configs(asked).await;
    match answers.into_iter().next() {
        Some((_, Ok(entries))) => entries,
        Some((_, Err(error))) => {
            tracing::debug!(cluster = client.cluster_name(), %error, "broker configs are not known");
            Vec::new()
        }
        None => Vec::new(),
    }
}

/// By what any broker offers and what another one shows; a cluster whose brokers differ is about to be what the newer ones are.
async fn platform(client: &Client, broker: &[ConfigEntry]) -> Option<Platform> {
    let connection = client.route(&Target::Any).await.ok()?;
    let (_, fetch) = connection.versions().offered(FetchRequest::KEY)?;
    Platform::of(broker.iter().map(|entry| entry.name.as_str()), fetch)
}

fn topic_defaults(broker: &[ConfigEntry]) -> Configs {
    INHERITED
        .iter()
        .filter_map(|(topic_key, broker_key)| {
            let entry = broker.iter().find(|entry| entry.name == *broker_key)?;
            let mut value = config_value(entry);
            value.read_only = false;
            value.inherited = None;
            Some(((*topic_key).to_owned(), value))
        })
        .collect()
}

async fn describe_configs(client: &Client, cluster: &mut ObservedCluster, interest: &Interest) {
    let resources: Vec<_> = interest
        .configs
        .iter()
        .map(|topic| ConfigResource::Topic(topic.clone()))
        .collect();
    if resources.is_empty() {
        return;
    }
    for (resource, result) in client.admin().describe_configs(resources).await {
        let ConfigResource::Topic(name) = resource else {
            continue;
        };
        let Some(topic) = cluster.topics.get_mut(&name) else {
            continue;
        };
        topic.configs = match result {
            Ok(entries) => Described::Known(
                entries
                    .iter()
                    .map(|entry| (entry.name.clone(), config_value(entry)))
                    .collect(),
            ),
            Err(error) => Described::Refused(error.to_string()),
        };
    }
}

async fn describe_contents(client: &Client, cluster: &mut ObservedCluster, interest: &Interest) {
    let partitions: Vec<(&str, i32)> = interest
        .contents
        .iter()
        .filter_map(|name| Some((name.as_str(), cluster.topics.get(name)?.partitions)))
        .flat_map(|(name, count)| (0..count).map(move |partition| (name, partition)))
        .collect();
    if partitions.is_empty() {
        return;
    }
    let at = |spec: OffsetSpec| {
        let wanted = partitions
            .iter()
            .map(|(topic, partition)| ((*topic).to_owned(), *partition, spec))
            .collect();
        let admin = client.admin();
        async move { admin.list_offsets(wanted, Isolation::ReadUncommitted).await }
    };
    let (starts, ends) =
        futures::future::join(at(OffsetSpec::Earliest), at(OffsetSpec::Latest)).await;
    let mut contents: BTreeMap<String, Described<Contents>> = BTreeMap::new();
    for (((topic, _), start), (_, end)) in starts.into_iter().zip(ends) {
        let so_far = contents
            .entry(topic)
            .or_insert(Described::Known(Contents::default()));
        match (start, end) {
            (Ok(start), Ok(end)) => {
                if let Described::Known(sum) = so_far {
                    let count = |offset: i64| u64::try_from(offset).unwrap_or(0);
                    sum.offsets += count(end.offset - start.offset);
                    sum.written += count(end.offset);
                }
            }
            (Err(error), _) | (_, Err(error)) => *so_far = Described::Refused(error.to_string()),
        }
    }
    for (name, contents) in contents {
        if let Some(topic) = cluster.topics.get_mut(&name) {
            topic.contents = contents;
        }
    }
}

fn config_value(entry: &ConfigEntry) -> ConfigValue {
    // The first synonym is the value in force; the next is what a reset would bring back.
    let inherited = entry
        .synonyms
        .iter()
        .find(|synonym| synonym.source != admin::ConfigSource::Topic)
        .filter(|_| entry.source == admin::ConfigSource::Topic)
        .map(|synonym| InheritedValue {
            value: synonym.value.clone(),
            source: source(synonym.source),
        });
    ConfigValue {
        value: entry.value.clone(),
        source: source(entry.source),
        read_only: entry.read_only,
        sensitive: entry.sensitive,
        inherited,
    }
}

fn source(source: admin::ConfigSource) -> ConfigSource {
    match source {
        admin::ConfigSource::Topic => ConfigSource::Topic,
        admin::ConfigSource::DynamicBroker => ConfigSource::DynamicBroker,
        admin::ConfigSource::DynamicDefaultBroker => ConfigSource::DynamicDefaultBroker,
        admin::ConfigSource::StaticBroker => ConfigSource::StaticBroker,
        admin::ConfigSource::Default => ConfigSource::Default,
        admin::ConfigSource::DynamicBrokerLogger
        | admin::ConfigSource::ClientMetrics
        | admin::ConfigSource::Group
        | admin::ConfigSource::Unknown => ConfigSource::Other,
    }
}
