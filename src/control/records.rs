//! The records of the internal topics, in their versioned form.
//!
//! `_kmirror.links` (one partition, compacted) holds desired state: links, mirror incarnations and
//! the lock of whoever is changing them. `_kmirror.offsets` (compacted) holds progress: anchors and
//! the offset map. Keys are ids, never names; every value carries `version`, and a reader that
//! meets a newer version stops instead of guessing. Both topics live on the destination cluster.

use std::collections::BTreeMap;
use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use super::reversal::{ReversalRecord, TakeOverRecord, TakeOverStage};
pub use crate::topology::model::{Acks, ForeignWrites, HolePolicy, OffsetsSpec, OnHole};
use crate::topology::selector::{RenameRule, TopicSelector};

/// The version of records that any kmirror can obey.
pub const RECORD_VERSION: u16 = 1;
/// The version of records that speak of a mirror's end: a kmirror that knows nothing of that must not go by them, or it would
/// copy into a topic that was handed over. It stops reading where it meets one, and does not start any more.
pub const ENDING_VERSION: u16 = 2;
/// The version of records that speak of a reversed mirror: a kmirror that knows nothing of that would promote it and leave it at that, or take
/// what was there before for somebody else's.
pub const REVERSAL_VERSION: u16 = 3;
/// The newest version that this build reads.
pub const NEWEST_VERSION: u16 = REVERSAL_VERSION;

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
    Link {
        id: Uuid,
    },
    Mirror {
        id: IncarnationId,
    },
    Slots,
    /// Configs of a link that was made over REST.
    LinkConfigs {
        id: Uuid,
    },
    /// The half of a link that its source keeps, where that opens the connections.
    SourceLink {
        id: Uuid,
    },
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
    /// All that the source has is copied, then the topic belongs to whoever writes to it.
    Promoted,
    /// Nothing more is copied; the topic belongs to whoever writes to it.
    FailedOver,
}

impl WantedState {
    /// How a mirror ends in this state, if it does.
    pub fn ending(self) -> Option<EndingKind> {
        match self {
            Self::Promoted => Some(EndingKind::Promote),
            Self::FailedOver => Some(EndingKind::FailOver),
            Self::Active | Self::Paused | Self::Absent => None,
        }
    }
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

impl LinkRecord {
    /// The consumer group of the workers that carry the link.
    pub fn worker_group(&self) -> String {
        match self.owner {
            Owner::File => WORKER_GROUP.to_owned(),
            Owner::Rest => link_worker_group(self.id),
        }
    }

    /// With the version that a reader has to know at least.
    pub(super) fn as_written(&self) -> Self {
        let mut mirrors = self.mirrors.values();
        let speaks_of_an_end =
            mirrors.any(|mirror| mirror.state.and_then(WantedState::ending).is_some());
        Self {
            version: version_of(speaks_of_an_end),
            ..self.clone()
        }
    }
}

fn version_of(speaks_of_an_end: bool) -> u16 {
    if speaks_of_an_end {
        ENDING_VERSION
    } else {
        RECORD_VERSION
    }
}

/// The consumer group of the workers of a link that was made over REST.
pub fn link_worker_group(id: Uuid) -> String {
    format!("{WORKER_GROUP}-link-{id}")
}

/// Of links that were recorded before offsets could be kept equal.
fn translated() -> OffsetsSpec {
    OffsetsSpec::Translate
}

/// The configs of a link that was made over REST, as far as they were set: by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkConfigsRecord {
    pub version: u16,
    pub configs: BTreeMap<String, StoredConfig>,
}

/// The value of a link config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StoredConfig {
    Plain(String),
    Sealed { sealed: SealedText },
}

/// A text that only holders of a key can read.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedText {
    /// Says which key, and nothing about it.
    pub key: String,
    /// Base64.
    pub nonce: String,
    /// Base64.
    pub text: String,
}

impl fmt::Debug for SealedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedText(with key {})", self.key)
    }
}

/// The half of a link that is kept on its source cluster: who works beside the source finds the destination by it. What is
/// mirrored stands in the [`LinkRecord`] of the same name there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLinkRecord {
    pub version: u16,
    /// That of the other half, where it was there already.
    pub id: Uuid,
    pub name: String,
    pub source_cluster_id: String,
    pub destination_cluster_id: String,
    /// Raised by every change.
    pub generation: u64,
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
    /// Its promotion or failover, once one was asked for. There is no way back from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<EndingRecord>,
    /// Whether it began as the other direction of a mirror that was reversed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes_over: Option<TakeOverRecord>,
}

impl MirrorRecord {
    /// With the version that a reader has to know at least.
    pub(super) fn as_written(&self) -> Self {
        let ending = self.ending.as_ref();
        let is_reversed = ending.is_some_and(|ending| ending.reversal.is_some());
        let version = match is_reversed || self.takes_over.is_some() {
            true => REVERSAL_VERSION,
            false => version_of(ending.is_some()),
        };
        Self {
            version,
            ..self.clone()
        }
    }

    /// Whether it is to copy only once the mirror in the other direction has ended.
    pub fn waits_to_take_over(&self) -> bool {
        let stage = self.takes_over.as_ref().map(|it| &it.stage);
        self.ending.is_none() && stage == Some(&TakeOverStage::Waiting)
    }

    /// Why it can never copy: its topic has something else than the one that it was to copy from.
    pub fn parted(&self) -> Option<&str> {
        match &self.takes_over.as_ref()?.stage {
            TakeOverStage::Parted { message } if self.ending.is_none() => Some(message),
            _ => None,
        }
    }

    /// Whether it copies nothing, now or ever, because it was to take over.
    pub fn has_not_taken_over(&self) -> bool {
        self.waits_to_take_over() || self.parted().is_some()
    }

    /// Whether it has ended: its topic is an ordinary one.
    pub fn is_stopped(&self) -> bool {
        self.ending.as_ref().is_some_and(EndingRecord::is_over)
    }

    /// Its end, while that is still under way.
    pub fn pending(&self) -> Option<&EndingRecord> {
        self.ending.as_ref().filter(|ending| !ending.is_over())
    }
}

/// How a mirror ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndingKind {
    /// After all that the source had when it was asked for is copied.
    Promote,
    /// At once.
    FailOver,
}

/// A mirror's promotion or failover, from the request to the end.
///
/// Workers answer for each partition with a [`PartitionEndRecord`] beside its progress; once all have, what they said is put
/// together here and the mirror is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndingRecord {
    pub kind: EndingKind,
    /// The mirror's generation when it was asked for, which workers' answers name.
    pub generation: u64,
    /// Milliseconds since the epoch.
    pub requested_ms: i64,
    /// Partitions that the mirror topic had when it was stopped; none before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<EndedPartition>,
    /// Milliseconds since the epoch; `None` while it is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_ms: Option<i64>,
    /// What follows it, if the mirror is reversed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reversal: Option<ReversalRecord>,
}

impl EndingRecord {
    /// Whether the mirror goes on as if nothing were asked of it, until its source stands still.
    pub fn waits_for_source(&self) -> bool {
        let reversal = self.reversal.as_ref();
        !self.is_over() && reversal.is_some_and(|reversal| !reversal.is_agreed)
    }

    pub fn is_over(&self) -> bool {
        self.stopped_ms.is_some()
    }

    /// Whether a partition is protected from late writes of the mirror by time alone.
    pub fn is_unfenced(&self) -> bool {
        let unfenced = |partition: &EndedPartition| partition.fence == Fence::Waited;
        self.partitions.iter().any(unfenced)
    }
}

/// What is left of the mirror in one of its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedPartition {
    pub partition: i32,
    /// Everything before this source offset is copied; -1 where nothing ever was.
    pub source_offset: i64,
    /// The destination offset that follows the last one of the mirror; -1 where nothing was ever copied.
    pub destination_offset: i64,
    pub fence: Fence,
}

/// What keeps late writes of a mirror out of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fence {
    /// A control marker with the mirror's producer id at the next epoch: the leader refuses whatever carries the former one.
    Marker,
    /// The right for that was missing: whoever wrote before had certainly lost the right to, and the log's end had settled.
    Waited,
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
    /// Why the partition stands still; removed once it copies again.
    Failure {
        id: IncarnationId,
        partition: i32,
    },
    /// How far its promotion or failover has come.
    End {
        id: IncarnationId,
        partition: i32,
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

/// A partition that stands still and needs somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    pub version: u16,
    pub cause: FailureCause,
    /// The whole story, for people.
    pub message: String,
    /// Where at the source, as far as the cause has a place there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_offset: Option<i64>,
    /// Where at the destination: for a foreign write the first offset that is not the mirror's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_offset: Option<i64>,
    /// Milliseconds since the epoch.
    pub since_ms: i64,
    /// Whether it is tried again by itself, because granting a right or changing a setting mends it.
    #[serde(default)]
    pub is_retried: bool,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCause {
    /// Somebody else wrote to the mirror topic.
    ForeignWrite,
    /// The mirror's producer id was used there with a later epoch.
    Fenced,
    /// The destination lost records, or holds something else in their place.
    DestinationLost,
    DestinationDeleted,
    DestinationRecreated,
    /// Offsets cannot be kept equal as the link asks for.
    Offsets,
    /// The source deleted what was not copied yet.
    SourceExpired,
    /// The source lost what was copied already.
    SourceTruncated,
    SourceDeleted,
    SourceRecreated,
    /// A batch of the source cannot be read.
    Unreadable,
    /// The destination refuses a batch.
    Refused,
    /// A right is missing.
    Authorization,
    /// Something that a later kmirror knows.
    #[serde(other)]
    Other,
}

/// How far the end of one partition has come. Whoever takes the partition over goes on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionEndRecord {
    pub version: u16,
    /// As [`EndingRecord::generation`]; one of another generation counts for nothing.
    pub generation: u64,
    /// As [`EndedPartition::source_offset`].
    pub source_offset: i64,
    /// As [`EndedPartition::destination_offset`].
    pub destination_offset: i64,
    /// `None`: everything is copied that was to be, and the fence is still to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// Milliseconds since the epoch.
    pub at_ms: i64,
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
    /// Records that were there before the mirror, and are those of the source: it was reversed.
    Content,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As builds before there were promotions wrote it.
    const FORMER: &str = r#"{"version":1,"id":{"link":"00000000-0000-0000-0000-000000000001","source_topic":"00000000-0000-0000-0000-000000000002","destination_topic":"00000000-0000-0000-0000-000000000003"},"source_topic":"orders","destination_topic":"east.orders","producer_id":4711,"producer_epoch":0,"provenance_header":false,"state":"active","initial_partitions":3,"generation":1}"#;

    fn former() -> MirrorRecord {
        serde_json::from_str(FORMER).expect("former records stay readable")
    }

    fn promoted() -> MirrorRecord {
        MirrorRecord {
            ending: Some(EndingRecord {
                kind: EndingKind::Promote,
                generation: 2,
                requested_ms: 1_000,
                partitions: vec![EndedPartition {
                    partition: 0,
                    source_offset: 7,
                    destination_offset: 5,
                    fence: Fence::Marker,
                }],
                stopped_ms: Some(2_000),
                reversal: None,
            }),
            generation: 3,
            ..former()
        }
    }

    #[test]
    fn mirrors_of_former_builds_are_read_and_written_as_they_were() {
        let record = former();
        assert_eq!((record.pending(), record.is_stopped()), (None, false));
        let written = serde_json::to_string(&record.as_written()).expect("it can be written");
        assert_eq!(written, FORMER);
    }

    /// A build that knows nothing of promotions would go on copying into a topic that was handed over.
    #[test]
    fn a_mirror_that_ends_is_no_record_for_former_builds() {
        let written = serde_json::to_value(promoted().as_written()).expect("it can be written");
        assert_eq!(written["version"], json!(ENDING_VERSION));
        assert_eq!(
            written["ending"],
            json!({
                "kind": "promote",
                "generation": 2,
                "requested_ms": 1_000,
                "partitions": [{
                    "partition": 0, "source_offset": 7, "destination_offset": 5, "fence": "marker",
                }],
                "stopped_ms": 2_000,
            })
        );
        let mut read: MirrorRecord = serde_json::from_value(written).expect("it can be read");
        assert!(read.is_stopped() && read.pending().is_none());
        read.version = RECORD_VERSION;
        assert_eq!(read, promoted());
    }

    /// A build that knows nothing of reversals would copy over what is there, or promote and leave it at that.
    #[test]
    fn a_mirror_that_is_reversed_is_no_record_for_former_builds() {
        let mut ends = promoted();
        let ending = ends.ending.as_mut().expect("it ends");
        ending.stopped_ms = None;
        ending.reversal = Some(ReversalRecord {
            state: DesiredState::Active,
            is_agreed: false,
            trouble: None,
        });
        assert!(ending.waits_for_source());
        assert_eq!(ends.as_written().version, REVERSAL_VERSION);
        let stage = |stage| MirrorRecord {
            takes_over: Some(TakeOverRecord {
                generation: 2,
                stage,
            }),
            ..former()
        };
        let waiting = stage(TakeOverStage::Waiting);
        assert_eq!(waiting.as_written().version, REVERSAL_VERSION);
        assert!(waiting.waits_to_take_over() && waiting.has_not_taken_over());
        let parted = stage(TakeOverStage::Parted {
            message: "no".to_owned(),
        });
        assert!(parted.has_not_taken_over() && !parted.waits_to_take_over());
        let written = serde_json::to_string(&parted).expect("it can be written");
        let read: MirrorRecord = serde_json::from_str(&written).expect("it can be read");
        assert_eq!(read, parted);
        assert!(!stage(TakeOverStage::Begun).has_not_taken_over());
    }

    #[test]
    fn a_mirror_counts_as_unfenced_if_one_partition_is() {
        let mut ending = promoted().ending.expect("it ends");
        assert!(!ending.is_unfenced());
        ending.partitions[0].fence = Fence::Waited;
        assert!(ending.is_unfenced());
    }

    /// A later build may know causes that this one does not.
    #[test]
    fn a_failure_of_an_unknown_kind_is_still_a_failure() {
        let text = r#"{"version":2,"cause":"eaten_by_a_grue","message":"it is dark","since_ms":1}"#;
        let record: FailureRecord = serde_json::from_str(text).expect("it can be read");
        assert_eq!(record.cause, FailureCause::Other);
        assert_eq!(record.message, "it is dark");
    }

    #[test]
    fn keys_beside_progress_are_stable() {
        let id = former().id;
        let key = OffsetsKey::Failure { id, partition: 4 };
        let text = serde_json::to_string(&key).expect("a key");
        assert!(text.starts_with(r#"{"kind":"failure","id":{"#), "{text}");
        let key = OffsetsKey::End { id, partition: 4 };
        let text = serde_json::to_string(&key).expect("a key");
        assert!(text.starts_with(r#"{"kind":"end","id":{"#), "{text}");
        assert!(text.ends_with(r#","partition":4}"#), "{text}");
    }
}
