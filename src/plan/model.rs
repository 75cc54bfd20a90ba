//! The plan as a value: what would change, from what to what, why, and what stands in the way.
//!
//! Everything a reader is told is data here; `report` makes words of it. The serialised form is the
//! document of `--format json`, and [`PLAN_VERSION`] is raised when a consumer of it would notice.
//! The effects ([`Operation`]) are for `apply` only and are not part of the document.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::reason::{Blocker, Note, Reason};
pub use crate::control::actions::MirrorAction;
use crate::control::records::{DesiredState, EndingKind, IncarnationId, LinkRecord};

/// Version of the serialised plan.
pub const PLAN_VERSION: u32 = 1;

/// The difference between a file and the live clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Plan {
    pub version: u32,
    /// The file as the user named it.
    pub file: String,
    /// Whether deletions were allowed; else they are blocked.
    #[serde(default)]
    pub allow_delete: bool,
    /// What the plan was narrowed to; empty for all that the file asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Links whose secrets were asked to be sent anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewrite_secrets: Vec<String>,
    /// By name.
    pub clusters: Vec<PlannedCluster>,
    /// Clusters first, then each link with its mirrors, all by name.
    pub entries: Vec<Entry>,
    pub notes: Vec<Note>,
    pub counts: Counts,
}

impl Plan {
    /// Whether an apply would write anything.
    pub fn has_changes(&self) -> bool {
        self.entries.iter().any(|entry| entry.action.changes())
    }

    pub fn is_blocked(&self) -> bool {
        self.counts.blocked > 0
    }

    /// Leaves only some entries in.
    pub(crate) fn narrow(&mut self, keep: impl Fn(&Address) -> bool) {
        self.entries.retain(|entry| keep(&entry.address));
        self.settle();
    }

    /// The entry with this address.
    pub fn entry(&self, address: &Address) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.address == *address)
    }

    /// Brings order and counts up to date after entries were added or changed.
    pub(crate) fn settle(&mut self) {
        self.entries
            .sort_by(|a, b| a.address.order().cmp(&b.address.order()));
        self.notes.sort();
        self.notes.dedup();
        self.counts = Counts::of(&self.entries);
    }
}

/// A cluster that the plan was made against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlannedCluster {
    pub name: String,
    pub cluster_id: String,
    pub brokers: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Counts {
    pub create: usize,
    pub update: usize,
    pub pause: usize,
    pub resume: usize,
    #[serde(default)]
    pub promote: usize,
    #[serde(default)]
    pub failover: usize,
    pub delete: usize,
    pub unchanged: usize,
    pub blocked: usize,
}

impl Counts {
    pub(crate) fn of<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Self {
        let mut counts = Self::default();
        for entry in entries {
            *match entry.action {
                Action::Create => &mut counts.create,
                Action::Update => &mut counts.update,
                Action::Pause => &mut counts.pause,
                Action::Resume => &mut counts.resume,
                Action::Promote => &mut counts.promote,
                Action::FailOver => &mut counts.failover,
                Action::Delete => &mut counts.delete,
                Action::Unchanged => &mut counts.unchanged,
                Action::Blocked => &mut counts.blocked,
            } += 1;
        }
        counts
    }
}

/// One thing that the file asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Entry {
    pub address: Address,
    pub action: Action,
    pub severity: Severity,
    /// The cluster on which it takes effect, by its name in the file.
    pub cluster: String,
    /// For mirrors: from where to where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    pub changes: Vec<Change>,
    pub reasons: Vec<Reason>,
    /// Why it can't be done; never empty for [`Action::Blocked`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<Blocker>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<Place>,
    /// What has to be done before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Address>,
    pub rehearsal: Rehearsal,
    /// What was seen of the things that the action is about, where an apply would write for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub basis: BTreeMap<String, String>,
    /// Of the action with all that it would write and its basis: as long as it is the same, so is what would be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    #[serde(skip)]
    pub operation: Operation,
}

impl Entry {
    /// An entry that asks for nothing yet.
    pub(crate) fn new(address: Address, cluster: &str) -> Self {
        Self {
            address,
            action: Action::Unchanged,
            severity: Severity::None,
            cluster: cluster.to_owned(),
            route: None,
            changes: Vec::new(),
            reasons: Vec::new(),
            blocked: Vec::new(),
            asked_by: None,
            depends_on: Vec::new(),
            rehearsal: Rehearsal::NotNeeded,
            basis: BTreeMap::new(),
            fingerprint: None,
            operation: Operation::None,
        }
    }

    /// Turns the entry into a blocked one: nothing of it is done.
    pub(crate) fn block(&mut self, blocker: Blocker) {
        self.blocked.push(blocker);
        self.action = Action::Blocked;
        self.severity = Severity::Blocked;
        self.operation = Operation::None;
        self.rehearsal = Rehearsal::NotNeeded;
        self.basis.clear();
        self.fingerprint = None;
    }

    /// Sets the action unless something stands in the way.
    pub(crate) fn act(&mut self, action: Action, operation: Operation) {
        if !self.blocked.is_empty() {
            return;
        }
        self.action = action;
        self.operation = operation;
        self.severity = match action {
            Action::Create => Severity::Additive,
            Action::Delete => Severity::Destructive,
            Action::Promote | Action::FailOver => Severity::Irreversible,
            Action::Unchanged => Severity::None,
            Action::Blocked => Severity::Blocked,
            Action::Update | Action::Pause | Action::Resume => {
                if self.changes.iter().any(|change| change.old.is_some()) {
                    Severity::Changing
                } else {
                    Severity::Additive
                }
            }
        };
    }
}

/// Where a thing is found in plans, in messages and in logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    Cluster(String),
    /// kmirror's internal topics on a cluster.
    Control(String),
    Topic {
        cluster: String,
        topic: String,
    },
    Link(String),
    Mirror {
        link: String,
        source_topic: String,
    },
}

impl Address {
    /// The place in a plan: clusters before links, a link before its mirrors, names in order.
    pub(crate) fn order(&self) -> (u8, &str, u8, &str) {
        match self {
            Self::Cluster(cluster) => (0, cluster, 0, ""),
            Self::Control(cluster) => (0, cluster, 1, ""),
            Self::Topic { cluster, topic } => (0, cluster, 2, topic),
            Self::Link(link) => (1, link, 0, ""),
            Self::Mirror { link, source_topic } => (1, link, 1, source_topic),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(cluster) => write!(f, "cluster.{cluster}"),
            Self::Control(cluster) => write!(f, "control.{cluster}"),
            Self::Topic { cluster, topic } => write!(f, "cluster.{cluster}/topic.{topic}"),
            Self::Link(link) => write!(f, "link.{link}"),
            Self::Mirror { link, source_topic } => write!(f, "mirror.{link}/{source_topic}"),
        }
    }
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address")]
pub struct NoAddress(pub String);

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let address = match text.split_once('.') {
            Some(("cluster", rest)) => match rest.split_once("/topic.") {
                Some((cluster, topic)) => Self::Topic {
                    cluster: cluster.to_owned(),
                    topic: topic.to_owned(),
                },
                None => Self::Cluster(rest.to_owned()),
            },
            Some(("control", cluster)) => Self::Control(cluster.to_owned()),
            Some(("link", link)) => Self::Link(link.to_owned()),
            Some(("mirror", rest)) => {
                let (link, topic) = rest
                    .split_once('/')
                    .ok_or_else(|| NoAddress(text.to_owned()))?;
                Self::Mirror {
                    link: link.to_owned(),
                    source_topic: topic.to_owned(),
                }
            }
            _ => return Err(NoAddress(text.to_owned())),
        };
        Ok(address)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Create,
    Update,
    Pause,
    Resume,
    /// All that the source has is copied, then the mirror topic is handed over to whoever writes to it.
    Promote,
    /// The mirror topic is handed over as it is.
    #[serde(rename = "failover")]
    FailOver,
    Delete,
    Unchanged,
    Blocked,
}

impl Action {
    /// Whether an apply writes for it.
    pub fn changes(self) -> bool {
        !matches!(self, Self::Unchanged | Self::Blocked)
    }
}

/// How careful to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    None,
    /// Only adds.
    Additive,
    /// Something that exists gets another value.
    Changing,
    /// There is no way back, though nothing is deleted.
    Irreversible,
    /// Something is gone afterwards, for good.
    Destructive,
    Blocked,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Route {
    pub source_cluster: String,
    pub source_topic: String,
    pub destination_cluster: String,
    pub destination_topic: String,
}

/// A place in the topology file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Place {
    pub file: String,
    pub line: u32,
    pub column: u32,
}

/// One attribute that gets another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Change {
    /// As the file spells it; topic configs are `config.<key>`.
    pub attribute: String,
    /// `None` where there was no such thing before.
    pub old: Option<Side>,
    /// `None` where it is reset and what it will inherit is not known.
    pub new: Option<Side>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<Place>,
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Side {
    pub value: Value,
    pub origin: Origin,
}

impl Side {
    pub fn new(value: impl Into<Value>, origin: Origin) -> Self {
        Self {
            value: value.into(),
            origin,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Value {
    /// The broker keeps the value to itself. Stands first, so that a document is not read as a text of these words.
    Hidden(Hidden),
    Int(i64),
    Bool(bool),
    Text(String),
    List(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Hidden {
    #[serde(rename = "(hidden by the broker)")]
    ByBroker,
    /// A secret of the file's, which nobody is shown.
    #[serde(rename = "(sensitive)")]
    Sensitive,
    /// A secret of the file's that is sent, whether or not it is the one that is there.
    #[serde(rename = "(sensitive value, sent anew)")]
    SentAnew,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<i16> for Value {
    fn from(value: i16) -> Self {
        Self::Int(value.into())
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        value.map_or(Self::Hidden(Hidden::ByBroker), Self::Text)
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Kafka's own default.
    Default,
    /// Set for all brokers of the cluster while they run.
    ClusterDefault,
    /// Set on one broker while it runs.
    Broker,
    /// The broker's properties file.
    StaticBroker,
    /// Inherited, and the broker did not say from what.
    Inherited,
    /// The source topic's own.
    Source,
    /// What every mirror needs.
    Required,
    /// The file says so.
    File,
    /// Set on the live topic.
    Topic,
    /// What the live topic has, where that is nothing one sets.
    Live,
    /// kmirror's own record of what was applied.
    Applied,
    /// kmirror's default.
    Builtin,
}

/// What became of trying a write with `validate_only`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Rehearsal {
    /// Nothing that a broker could check beforehand.
    NotNeeded,
    /// Not tried yet.
    Pending,
    /// The broker would do it.
    Passed,
    /// The right to try is missing; applying may work for somebody who has it.
    NotRehearsed { needs: String },
}

/// What `apply` does for an entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub enum Operation {
    #[default]
    None,
    /// Create the internal topics.
    ControlTopics,
    /// Create a topic that the file owns.
    CreateTopic(TopicSpec),
    /// Change a topic that the file owns.
    AlterTopic(TopicChanges),
    Link(LinkOperation),
    Mirror(MirrorOperation),
    /// Delete a topic that the file owned.
    DeleteTopic(DoomedTopic),
    DeleteMirror(MirrorDeletion),
    /// Delete the link's record; it has no mirrors left by then.
    DeleteLink {
        id: Uuid,
    },
    /// Make, change or delete a link that brokers carry.
    BrokerLink(BrokerLinkOperation),
    /// Make, change or delete a mirror topic that brokers fill.
    BrokerMirror(BrokerMirrorOperation),
}

/// The halves of a link that brokers carry, in the order in which something is done to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrokerLinkOperation {
    pub halves: Vec<HalfOperation>,
}

/// What is done to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HalfOperation {
    pub cluster: String,
    /// As brokers know the link.
    pub link: String,
    pub step: HalfStep,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum HalfStep {
    Create {
        role: HalfRole,
        configs: Vec<HalfChange>,
    },
    Alter(Vec<HalfChange>),
    Delete,
}

/// What the cluster is to the link, with the id of the other one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum HalfRole {
    DestinationOf(String),
    SourceOf(String),
    BothWays(String),
}

/// A config of a half; without a value it goes back to its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HalfChange {
    pub key: String,
    pub value: Option<HalfValue>,
}

/// A value, or where it is read when it is needed: no plan holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum HalfValue {
    Open(String),
    /// In the link's own configs, as the file has them.
    OfFile {
        link: String,
        at_source: bool,
    },
    /// Among what brokers need to reach a cluster of the file.
    OfCluster {
        cluster: String,
        property: String,
    },
}

/// What is done to one mirror topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrokerMirrorOperation {
    /// As brokers know the link.
    pub link: String,
    pub topic: String,
    pub create: Option<NewBrokerMirror>,
    /// Empty where its configs stay as they are.
    pub alter: TopicChanges,
    pub action: Option<MirrorAction>,
    pub delete: Option<DoomedTopic>,
}

/// A mirror topic to be made by brokers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewBrokerMirror {
    pub source_topic: String,
    /// Where it differs from the source's.
    pub mirror_topic: Option<String>,
    /// `None`: what brokers choose.
    pub replication_factor: Option<i16>,
    pub configs: Vec<(String, String)>,
}

/// A topic to be deleted: the one with this id, and no other of that name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoomedTopic {
    pub name: String,
    /// Nil where the brokers know no topic ids.
    pub id: Uuid,
}

/// A mirror's end: its topics, then its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MirrorDeletion {
    pub topics: Vec<DoomedTopic>,
    pub records: Vec<IncarnationId>,
}

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicSpec {
    pub name: String,
    /// `None`: the broker's default.
    pub partitions: Option<i32>,
    /// `None`: the broker's default.
    pub replication_factor: Option<i16>,
    /// In the order of the keys.
    pub configs: Vec<(String, String)>,
}

/// Changes to a topic that exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TopicChanges {
    pub name: String,
    /// The new total, where it grows.
    pub partitions: Option<i32>,
    /// `None` resets the key to what the topic inherits.
    pub configs: Vec<(String, Option<String>)>,
}

impl TopicChanges {
    pub fn is_empty(&self) -> bool {
        self.partitions.is_none() && self.configs.is_empty()
    }
}

/// The link's record to be written.
#[derive(Clone, Debug, Serialize)]
pub struct LinkOperation {
    /// With a nil id for a link that is new: it gets one when it is written.
    pub record: LinkRecord,
}

impl PartialEq for LinkOperation {
    fn eq(&self, other: &Self) -> bool {
        // Selectors hold compiled patterns; their serialised form is what they mean.
        serde_json::to_value(&self.record).ok() == serde_json::to_value(&other.record).ok()
    }
}

/// What a mirror needs: its topic, then its record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MirrorOperation {
    /// Name of the link, whose id is known when it is written.
    pub link: String,
    pub source_cluster: String,
    pub source_topic: String,
    pub destination_topic: String,
    pub topic: MirrorTopic,
    pub record: MirrorRecordChange,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum MirrorTopic {
    Create(TopicSpec),
    /// Empty where the topic stays as it is.
    Alter(TopicChanges),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum MirrorRecordChange {
    Keep,
    /// A new incarnation, with a fresh producer id.
    New {
        state: DesiredState,
        initial_partitions: i32,
        /// Fixed for the mirror's life.
        provenance_header: bool,
        /// Records of earlier incarnations, whose destination topic is gone.
        replaces: Vec<IncarnationId>,
    },
    /// Its promotion or failover is asked for; workers carry it out.
    End {
        id: IncarnationId,
        kind: EndingKind,
        /// What the record must still have when it is written.
        generation: u64,
    },
    State {
        id: IncarnationId,
        state: DesiredState,
        /// What the record must still have when it is written.
        generation: u64,
    },
}

/// Nil ids mean that the brokers know no topic ids, not that topics are the same.
pub(crate) fn same_topic(a: Uuid, b: Uuid) -> bool {
    a.is_nil() || b.is_nil() || a == b
}
