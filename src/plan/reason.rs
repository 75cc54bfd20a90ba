//! Why an entry is as it is, and what stands in its way: data, of which `report` makes sentences.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::observe::model::NoLinking;
use crate::observe::platform::Platform;

/// Why something is planned, or what is worth knowing about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// The destination topic exists, holds nothing and was never written.
    AdoptsEmptyTopic,
    /// The topic exists and others write to it. Copies are appended to what it holds.
    AdoptsSharedTopic { offsets: u64 },
    /// The source takes records from the topic, too: what came from there is left out, and both keep their own configs.
    InRing,
    /// The topic of the recorded mirror is gone; a new one is filled from the start.
    DestinationGone { recorded_id: Uuid },
    /// The source has more partitions than the mirror.
    SourceGrew { from: i32, to: i32 },
    /// The file does not select the topic any more. Topic and position are kept.
    NoLongerSelected,
    /// A source config that the mirror does not take over.
    NotSynced {
        key: String,
        value: String,
        why: NotSynced,
    },
    /// The override lets through less than the source holds.
    SmallerMessages { source: i64, mirror: i64 },
    /// `start` changed: it applies only to mirrors that have not begun.
    StartOnlyForNew,
    /// `offsets = "preserve"` on a link that translates: it applies only to mirrors that have not begun.
    OffsetsOnlyForNew,
    /// Offsets before the source's first record are taken up before anything is copied; what that costs, about.
    FillsStart {
        offsets: u64,
        bytes: u64,
        seconds: u64,
    },
    /// Offsets that no record takes are taken up by control markers, which the user may write.
    HolesByMarkers,
    /// The user may not write control markers: empty transactions take such offsets up, with rights of their own.
    HolesByTransactions { user: String },
    /// The link is paused: the mirror is made ready, nothing is copied.
    LinkPaused,
    /// A topic and what it holds will be gone.
    DeletesTopic {
        cluster: String,
        topic: String,
        partitions: i32,
        /// Between log starts and log ends, where that is known.
        offsets: Option<u64>,
    },
    /// What the source has is copied, then the topic is handed over for good.
    Promotes,
    /// The topic is handed over for good as it is.
    FailsOver,
    /// The topic to be deleted is not there any more; what is recorded of it goes.
    TopicGoneAlready { cluster: String, topic: String },
    /// Configs of a link that brokers carry which are set there, and which nobody can read back.
    SecretsNotCompared { keys: Vec<String> },
    /// Configs that the server has set by itself.
    LinkConfigsOfServer { configs: BTreeMap<String, String> },
    /// Configs that are set on the link and that the file does not name: they stay.
    LinkConfigsNotInFile { configs: BTreeMap<String, String> },
    /// What brokers say of a link that does not work.
    LinkUnwell {
        state: String,
        error: Option<String>,
        message: Option<String>,
    },
    /// Something that a link does besides copying, and that fails.
    LinkTaskFails {
        task: String,
        error: Option<String>,
        message: Option<String>,
    },
    /// The state that brokers have a mirror in, where that is not the one that was asked for.
    MirrorInState {
        state: String,
        error: Option<String>,
    },
    /// Records that the mirror lacked when it was looked at; unknown where no partition tells.
    LagAtEnd { lag: Option<u64> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NotSynced {
    /// More in-sync replicas than the mirror has replicas.
    MoreThanReplicas,
    /// Belongs to a reassignment under way at the source.
    Throttle,
    /// Belongs to the source's storage tiers.
    TieredStorage,
    /// A setting of the source's distribution.
    Vendor,
    /// Old record format settings that newer brokers refuse.
    RecordFormat,
    /// Bounds that are meant for the moment of the first append.
    TimestampBounds,
    /// The broker hides the value.
    Hidden,
}

/// Why an entry cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "blocker", rename_all = "snake_case")]
pub enum Blocker {
    ClusterIdMismatch {
        cluster: String,
        pinned: String,
        found: String,
    },
    /// Something on a blocked cluster.
    ClusterBlocked {
        cluster: String,
    },
    /// Nobody knows what was applied to the destination of the link.
    DestinationUnreachable {
        cluster: String,
        cause: String,
    },
    /// Nobody knows what the source of the link holds.
    SourceUnreachable {
        cluster: String,
        cause: String,
    },
    SourceTopicAbsent {
        cluster: String,
        topic: String,
        /// Whether the file may own it; not where it may be a mirror as well.
        may_be_owned: bool,
    },
    /// The topic may exist: the broker does not show it to the user.
    TopicHidden {
        cluster: String,
        topic: String,
        user: String,
    },
    /// Neither `partitions` nor the broker's default is known.
    PartitionsUnknown {
        cluster: String,
        topic: String,
    },
    DestinationHoldsData {
        cluster: String,
        topic: String,
        offsets: u64,
        written: u64,
    },
    /// The broker did not let us look.
    NotReadable {
        cluster: String,
        topic: String,
        what: Unread,
        broker_says: String,
    },
    MorePartitionsThanSource {
        cluster: String,
        topic: String,
        source: i32,
        destination: i32,
    },
    PartitionsShrink {
        cluster: String,
        topic: String,
        has: i32,
        wanted: i32,
    },
    ReplicationFactorFixed {
        cluster: String,
        topic: String,
        has: i16,
        wanted: i16,
    },
    TooFewBrokers {
        cluster: String,
        wanted: i16,
        live: usize,
        /// Whether the factor is the source topic's own.
        from_source: bool,
    },
    SourceRecreated {
        cluster: String,
        topic: String,
        recorded: Uuid,
        found: Uuid,
        destination_cluster: String,
        destination_topic: String,
    },
    DestinationRecreated {
        cluster: String,
        topic: String,
        recorded: Uuid,
        found: Uuid,
    },
    MirrorRenamed {
        cluster: String,
        from: String,
        to: String,
    },
    /// Another mirror has this destination topic.
    DestinationTaken {
        cluster: String,
        topic: String,
        by: String,
    },
    /// The file owns the topic.
    DestinationOwned {
        cluster: String,
        topic: String,
    },
    TwoIntoOne {
        cluster: String,
        topic: String,
        sources: Vec<String>,
    },
    RenameFails {
        topic: String,
        problem: String,
    },
    SameTopic {
        cluster_id: String,
        topic: String,
    },
    /// A mirror marks all of its records with where they came from, or none.
    ProvenanceFixed {
        cluster: String,
        topic: String,
        /// Whether it does.
        marks: bool,
    },
    /// Data would come back to the cluster that it came from.
    Loop {
        path: Vec<String>,
    },
    LinkBoundElsewhere {
        end: End,
        cluster: String,
        recorded: String,
        found: String,
    },
    LinkOwnedByRest,
    /// Nobody knows the links of a cluster.
    NoClusterLinking {
        cluster: String,
        why: NoLinking,
        said: String,
    },
    /// The release that a cluster's brokers are of has no such links.
    LinkingTooOld {
        cluster: String,
        /// What is asked for, as the file has it.
        feature: String,
        /// The first release that has it.
        since: String,
        platform: Platform,
    },
    /// Both ends are one cluster.
    LinkToItself {
        cluster_id: String,
    },
    /// Brokers cannot be told how to reach a cluster as this program does.
    NotForBrokers {
        cluster: String,
        problem: String,
    },
    /// A config that a link has for life.
    LinkConfigFixed {
        cluster: String,
        link: String,
        key: String,
        has: String,
        wanted: String,
    },
    /// Another link to the cluster has the prefix.
    PrefixTaken {
        cluster: String,
        prefix: String,
        by: String,
    },
    /// A link that is to be deleted while some of its mirrors are being stopped or set up.
    LinkHasPendingMirrors {
        link: String,
        topics: Vec<String>,
    },
    /// A link that is to be deleted, and mirror topics that brokers still fill over it.
    BrokerLinkHasMirrors {
        link: String,
        topics: Vec<String>,
    },
    /// A topic of the mirror's name that is no mirror.
    MirrorNameTaken {
        cluster: String,
        topic: String,
    },
    /// There is no mirror, so none can be promoted.
    NothingToPromote {
        cluster: String,
        topic: String,
    },
    /// A mirror that was promoted or failed over does not become one again.
    MirrorEnded {
        cluster: String,
        topic: String,
    },
    /// Promotion waits for what the source still has, which a mirror in this state never gets.
    CannotPromote {
        cluster: String,
        topic: String,
        state: String,
    },
    /// Confluent Cloud gives every topic three replicas.
    FactorOnCloud {
        cluster: String,
        wanted: i16,
    },
    /// A config of the source's that brokers keep the mirror at.
    ConfigSyncedByBrokers {
        key: String,
        /// Whatever the link says; else because of `topic.config.sync.include`.
        is_always: bool,
    },
    MovedLinkExists {
        from: String,
        to: String,
    },
    /// An override that would break the mirror.
    RequiredConfig {
        key: String,
        wanted: String,
        required: String,
    },
    /// A deletion without `--allow-delete`.
    DeletionNotAllowed,
    /// A topic that is to be deleted, and mirrors that are filled from it.
    StillMirrored {
        cluster: String,
        topic: String,
        by: Vec<String>,
    },
    /// A link that is to be deleted, and source topics of which it has mirrors.
    LinkHasMirrors {
        link: String,
        topics: Vec<String>,
    },
    /// A mirror that was promoted or failed over, and that the file wants otherwise.
    HandedOver {
        cluster: String,
        topic: String,
        link: String,
        source_topic: String,
        /// What it is, as the file would say it.
        state: String,
    },
    /// A mirror that is to be promoted or failed over, and that there is not.
    NothingToEnd {
        link: String,
        source_topic: String,
        /// The state that is asked for.
        kind: String,
    },
    /// A mirror that is to be deleted while its promotion or failover is under way.
    EndingUnderWay {
        cluster: String,
        topic: String,
    },
    /// The broker refused the rehearsal.
    Refused {
        cluster: String,
        error: String,
        broker_says: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum End {
    Source,
    Destination,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Unread {
    Configs,
    Contents,
}

/// Something to know that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// A link in the control records that the file does not mention: left alone.
    LinkNotInFile {
        cluster: String,
        link: String,
        rest: bool,
    },
    /// The source of the link can't be read, so its mirrors are only paused where the file says so.
    SourceUnreachable {
        link: String,
        cluster: String,
        mirrors: usize,
        cause: String,
    },
    /// The file has topics of its own on a cluster that can't be read. What is planned does without them.
    TopicsUnread {
        cluster: String,
        topics: usize,
        cause: String,
    },
    /// A mirror whose source topic is gone. Its topic keeps what it has.
    SourceGone {
        link: String,
        cluster: String,
        source_topic: String,
        destination_topic: String,
    },
    /// A mirror whose source topic the broker does not show (any more).
    SourceHidden {
        link: String,
        cluster: String,
        source_topic: String,
        destination_topic: String,
        user: String,
    },
    /// A pattern that takes no topic at present.
    NothingMatches {
        link: String,
        selectors: Vec<String>,
    },
    /// A topic that is called as the link would call a mirror, and that no mirror owns.
    UnownedTopic {
        link: String,
        cluster: String,
        topic: String,
    },
    /// Configs that topics of the file have set and that the file does not name: nobody knows who set them, so they stay.
    ConfigsNotInFile {
        cluster: String,
        topics: Vec<OtherConfigs>,
    },
    /// A link that brokers carry and that the file does not mention: left alone.
    BrokerLinkNotInFile { cluster: String, link: String },
    /// Mirror topics that brokers fill and that the file does not select: left alone.
    BrokerMirrorsNotInFile {
        link: String,
        cluster: String,
        topics: Vec<String>,
    },
    /// A mirror whose promotion or failover was asked for and is not over.
    EndingPending {
        link: String,
        /// The destination.
        cluster: String,
        source_topic: String,
        destination_topic: String,
        /// The state that it is to come to.
        kind: String,
        since_ms: i64,
    },
    /// Somebody is at work on the cluster.
    Locked {
        cluster: String,
        holder: String,
        command: String,
        since_ms: i64,
    },
}

/// What else a topic has set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OtherConfigs {
    pub topic: String,
    pub configs: BTreeMap<String, String>,
}
