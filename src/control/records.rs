//! The records of the internal topics, in their versioned form.
//!
//! `_kmirror.links` (one partition, compacted) holds desired state: links, mirror incarnations and
//! the lock of whoever is changing them. `_kmirror.offsets` (compacted) holds progress: anchors and
//! the offset map. Keys are ids, never names; every value carries `version`, and a reader that
//! meets a newer version stops instead of guessing. Both topics live on the destination cluster.

use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use crate::topology::model::{Acks, ForeignWrites, HolePolicy, OffsetsSpec, OnHole};
use crate::topology::selector::{RenameRule, TopicSelector};

/// The version written by this build, and the newest one it reads.
pub const RECORD_VERSION: u16 = 1;

pub const LINKS_TOPIC: &str = "_kmirror.links";
pub const OFFSETS_TOPIC: &str = "_kmirror.offsets";
pub const WORK_TOPIC: &str = "_kmirror.work";
/// Partitions of [`OFFSETS_TOPIC`]; a key's partition is derived from the key alone.
pub const OFFSETS_PARTITIONS: i32 = 8;
/// Slots that workers share: partitions of [`WORK_TOPIC`].
pub const WORK_SLOTS: i32 = 64;
/// The transactional id whose holder may write [`LINKS_TOPIC`] (KIP-98 fencing makes it one at a time).
pub const CONTROL_TRANSACTIONAL_ID: &str = "kmirror-control";
/// The consumer group of the workers of a destination.
pub const WORKER_GROUP: &str = "kmirror";

/// One mirror's life: a link and the two topics by id. A recreated topic is another incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IncarnationId {
    pub link: Uuid,
    /// Nil where the source's brokers know no topic ids (before 2.8).
    pub source_topic: Uuid,
    pub destination_topic: Uuid,
}

impl fmt::Display for IncarnationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}",
            self.link, self.source_topic, self.destination_topic
        )
    }
}

/// Key of a record in [`LINKS_TOPIC`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LinksKey {
    Lock,
    Link { id: Uuid },
    Mirror { id: IncarnationId },
    Slots,
}

/// Who is changing the control records, since when and with which command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRecord {
    pub version: u16,
    /// `user@host (pid)`.
    pub holder: String,
    /// Milliseconds since the epoch.
    pub since_ms: i64,
    /// `apply`, `run`.
    pub command: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    File,
    Rest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DesiredState {
    Active,
    Paused,
}

/// What a link says of one mirror's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WantedState {
    Active,
    Paused,
    /// There is to be none, whatever patterns match.
    Absent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartSpec {
    Earliest,
    Latest,
    /// Milliseconds since the epoch.
    Timestamp(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimestampsSpec {
    AsConsumed,
    Original,
}

/// A link as it was applied: what workers obey.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkRecord {
    pub version: u16,
    pub id: Uuid,
    /// A label, unique per destination.
    pub name: String,
    pub owner: Owner,
    pub source_cluster_id: String,
    pub destination_cluster_id: String,
    pub topics: Vec<TopicSelector>,
    pub exclude: Vec<TopicSelector>,
    pub rename: RenameRule,
    pub auto_create: bool,
    pub start: StartSpec,
    pub timestamps: TimestampsSpec,
    #[serde(default = "translated")]
    pub offsets: OffsetsSpec,
    pub replication_factor: Option<i16>,
    /// Bytes a second that all workers together may read; none: as fast as brokers allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    #[serde(default)]
    pub acks: Acks,
    #[serde(default)]
    pub on_foreign_write: ForeignWrites,
    /// Whether mirrors that are made mark records with where they came from.
    #[serde(default)]
    pub provenance_header: bool,
    pub state: DesiredState,
    /// Settings of single mirrors by source topic name.
    pub mirrors: IndexMap<String, MirrorSettings>,
    /// Raised by every change, so that a stale file cannot undo a later state.
    pub generation: u64,
}

/// Of links that were recorded before offsets could be kept equal.
fn translated() -> OffsetsSpec {
    OffsetsSpec::Translate
}

/// What a link says of one mirror.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorSettings {
    pub rename_to: Option<String>,
    pub state: Option<WantedState>,
    pub replication_factor: Option<i16>,
    pub config: IndexMap<String, String>,
}

/// One incarnation: the two topics and the producer id that it writes with for life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorRecord {
    pub version: u16,
    pub id: IncarnationId,
    pub source_topic: String,
    pub destination_topic: String,
    /// Allocated before the first write (`InitProducerId`), shared by the partitions.
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Whether its records say where they came from, and those are left out that came from its topic. Fixed for life: what a
    /// sequence number stands for must not change.
    #[serde(default)]
    pub provenance_header: bool,
    pub state: DesiredState,
    /// Partitions to which the link's `start` applies; those added later begin at the earliest offset.
    pub initial_partitions: i32,
    pub generation: u64,
}

/// Partitions of mirrors that run in another slot than the one that their key is hashed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotsRecord {
    pub version: u16,
    /// Raised by every change. Workers say which one they obey.
    pub generation: i64,
    /// When it was written, in milliseconds since the epoch.
    pub since_ms: i64,
    pub placed: Vec<PlacedPartition>,
}

impl Default for SlotsRecord {
    fn default() -> Self {
        Self {
            version: RECORD_VERSION,
            generation: 0,
            since_ms: 0,
            placed: Vec::new(),
        }
    }
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedPartition {
    pub id: IncarnationId,
    pub partition: i32,
    pub slot: i32,
    /// It leaves this slot, and runs nowhere until the owner of that has said that it stopped.
    pub from: Option<i32>,
}

/// Key of a record in [`OFFSETS_TOPIC`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OffsetsKey {
    Progress {
        id: IncarnationId,
        partition: i32,
    },
    /// A piece of the offset map; `chunk` counts from 0.
    Map {
        id: IncarnationId,
        partition: i32,
        chunk: u32,
    },
}

/// A pair of offsets known to correspond, and how many records had been written before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The next source offset to copy.
    pub source_offset: i64,
    /// Leader epoch of the last batch copied before it, -1 if none.
    pub source_leader_epoch: i32,
    /// The destination offset that record gets.
    pub destination_offset: i64,
    /// Data records written to the partition before it; the sequence number is this modulo 2^31.
    pub count: i64,
    /// Epoch of the producer id.
    pub epoch: i16,
}

/// Progress of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressRecord {
    pub version: u16,
    /// Oldest first; the last 8 at most, never empty.
    pub anchors: Vec<Anchor>,
    /// Index of the map chunk that is still growing.
    pub map_chunk: u32,
    #[serde(default)]
    pub alignment: Alignment,
    /// Whether offsets may have been taken up by empty transactions, of which one may have been left open.
    #[serde(default)]
    pub pads_by_transactions: bool,
    /// The highest leader epoch that was seen of the destination partition, -1 if none.
    #[serde(default = "unknown_epoch")]
    pub destination_leader_epoch: i32,
}

fn unknown_epoch() -> i32 {
    -1
}

/// How the destination's offsets of one partition follow from the source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alignment {
    /// Counted at the destination, as the map says.
    Translated {
        /// Records with smaller source offsets have the same offset at the destination, and are not in the map.
        equal_before: Option<i64>,
    },
    /// The same as at the source.
    Equal {
        /// The source offset at which copying began.
        start: i64,
        fill: FillWay,
        /// Whether offsets before `start` are still to be taken up.
        filling: bool,
    },
}

impl Default for Alignment {
    fn default() -> Self {
        Self::Translated { equal_before: None }
    }
}

/// What takes up the offsets before the one at which copying begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FillWay {
    /// Records, which are deleted before anything is copied.
    Records,
    /// The same with a key, as compacted topics want it.
    KeyedRecords,
    /// Control markers: from a topic that is only compacted, brokers delete no records on request.
    Markers,
}

/// `count` consecutive records: source offsets from `source` have destination offsets from `destination`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub source: i64,
    pub destination: i64,
    pub count: i64,
}

/// A piece of the exact offset map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapRecord {
    pub version: u16,
    /// Delta-coded: `[source gap, destination gap, count]` after the end of the run before
    /// (the first one counts from offset 0).
    pub runs: Vec<[i64; 3]>,
}
