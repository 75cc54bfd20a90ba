//! What was seen of the live clusters: the pure planner's second input.
//!
//! A cluster that could not be read is not in here, but for its name: planning without it would call its topics
//! absent. Whatever a single topic's broker refused is kept beside that topic instead, so that one
//! missing right blocks one mirror and not the plan.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::platform::Platform;
use crate::control::records::{LinkRecord, LockRecord, MirrorRecord};
use crate::rest::documents::{Link, LinkConfig, Mirror};

/// Everything the plan needs to know, by the cluster's name in the file.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub clusters: BTreeMap<String, ObservedCluster>,
    /// Clusters that no broker answered for, and why. Only such that are sources of applied links and nothing else; without
    /// any other cluster there is no plan.
    pub unreachable: BTreeMap<String, String>,
    /// What brokers that carry links need to reach a cluster, or why they cannot.
    pub reach: BTreeMap<String, Result<Reach, String>>,
}

/// Client properties by which brokers reach a cluster, besides its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    pub open: BTreeMap<String, String>,
    /// Those whose values are read again when they are needed, and told nobody else.
    pub sensitive: BTreeSet<String>,
}

/// The links that a cluster's brokers carry.
#[derive(Clone, Debug, Default)]
pub enum Linking {
    #[default]
    NotAsked,
    Known(BrokerLinks),
    Unknown {
        why: NoLinking,
        /// The server's words, or those of the connection.
        said: String,
    },
}

impl Linking {
    pub fn known(&self) -> Option<&BrokerLinks> {
        match self {
            Self::Known(links) => Some(links),
            Self::NotAsked | Self::Unknown { .. } => None,
        }
    }
}

/// Why nobody knows what links a cluster's brokers carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NoLinking {
    /// There is no REST API of Kafka's under this address.
    NotThere,
    /// It is one, of another cluster.
    OtherCluster,
    /// It is one, and its brokers have no Cluster Linking.
    NotOffered,
    /// Whoever asks is not known there, or may not.
    NotAllowed,
    /// It answered, with something else.
    Refused,
    NoAnswer,
}

/// Links and mirror topics by name.
#[derive(Clone, Debug, Default)]
pub struct BrokerLinks {
    pub links: BTreeMap<String, ObservedLink>,
    pub mirrors: BTreeMap<String, Mirror>,
}

/// A link with its configs.
#[derive(Clone, Debug)]
pub struct ObservedLink {
    pub link: Link,
    pub configs: BTreeMap<String, LinkConfig>,
}

#[derive(Clone, Debug, Default)]
pub struct ObservedCluster {
    /// What the cluster calls itself.
    pub cluster_id: String,
    /// Ids of the brokers that are up.
    pub live_brokers: BTreeSet<i32>,
    /// Every topic of the cluster that the user may see; only those that matter are described further.
    pub topics: BTreeMap<String, ObservedTopic>,
    /// Of the topics that the plan relies on: those that the broker does not show to the user, so that nobody knows
    /// whether they exist.
    pub hidden: BTreeSet<String>,
    /// Who that user is, by the key that says so.
    pub user: String,
    /// Whether that user may write control markers; only asked of destinations, and not known of older brokers.
    pub allows_markers: Option<bool>,
    /// What a topic inherits, by *topic* config key; empty where the broker did not say.
    pub topic_defaults: Configs,
    /// Partitions and factor of a topic that is created without them, if the broker told.
    pub default_partitions: Option<i32>,
    pub default_replication_factor: Option<i16>,
    /// `None` where `_kmirror.links` does not exist.
    pub control: Option<Control>,
    /// Only asked for where the file has such links.
    pub linking: Linking,
    /// Where the brokers are Confluent's.
    pub platform: Option<Platform>,
}

impl ObservedCluster {
    /// The value that a topic without its own inherits, if the broker told.
    pub fn inherited(&self, key: &str) -> Option<&ConfigValue> {
        self.topic_defaults.get(key)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedTopic {
    /// Nil where the brokers know no topic ids (before 2.8).
    pub id: Uuid,
    pub internal: bool,
    pub partitions: i32,
    /// Length of the replica list, not of the in-sync set.
    pub replication_factor: i16,
    pub configs: Described<Configs>,
    pub contents: Described<Contents>,
}

/// Something that is only asked for where it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Described<T> {
    #[default]
    NotAsked,
    Known(T),
    /// The broker's own words.
    Refused(String),
}

impl<T> Described<T> {
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::NotAsked | Self::Refused(_) => None,
        }
    }
}

/// How much a topic holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Offsets between log start and log end, summed over the partitions.
    pub offsets: u64,
    /// The sum of the log ends: positive where something was ever written, even if it is deleted now.
    pub written: u64,
}

pub type Configs = BTreeMap<String, ConfigValue>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigValue {
    /// `None` where the broker hides it.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub read_only: bool,
    pub sensitive: bool,
    /// What the topic would inherit if its own value were reset.
    pub inherited: Option<InheritedValue>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InheritedValue {
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// Where a broker says that a topic's value comes from. Only [`ConfigSource::Topic`] is the topic's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    Topic,
    /// Set on one broker while it runs.
    DynamicBroker,
    /// Set for all brokers while they run.
    DynamicDefaultBroker,
    /// The broker's own properties file.
    StaticBroker,
    Default,
    /// Newer sources that this build has no name for.
    Other,
}

/// The control records as last committed.
#[derive(Clone, Debug, Default)]
pub struct Control {
    pub links: Vec<LinkRecord>,
    pub mirrors: Vec<MirrorRecord>,
    pub lock: Option<LockRecord>,
}
