//! State and lag of mirrors as data, for whoever shows them: what is recorded, what workers stored, and where logs end now.
//!
//! [`mirrors`] makes it of these without a word to a cluster; [`look`] gathers them in a few batched calls. No worker has to run
//! for it. States and errors are called as Cluster Linking's REST API calls them, whose clients know them.

mod judge;
mod look;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde::Serialize;
use uuid::Uuid;

pub use judge::mirrors;
pub use look::{Source, look, look_at};

use crate::control::records::{EndingRecord, FailureRecord, IncarnationId};

/// One mirror, or a topic that a link names and has no mirror of yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorStatus {
    pub link: Uuid,
    pub link_name: String,
    pub source_topic: String,
    pub mirror_topic: String,
    /// `None` before it was made.
    pub id: Option<IncarnationId>,
    pub state: MirrorState,
    pub error: MirrorTopicError,
    /// What is worth saying beyond the state, for people.
    pub message: Option<String>,
    /// When it came into its state, in milliseconds since the epoch, where that is known.
    pub since_ms: Option<i64>,
    /// Its promotion or failover.
    pub ending: Option<EndingRecord>,
    /// By index; none of a mirror whose topic is still to be made.
    pub partitions: Vec<PartitionStatus>,
}

/// One partition of a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    pub partition: i32,
    /// Offsets of the source that are not at the destination yet; `None` where that is not known.
    pub lag: Option<i64>,
    /// The last source offset that was copied, -1 before the first.
    pub last_source_fetch_offset: i64,
    /// Where the source's `read_committed` view ends.
    pub source_end: Option<i64>,
    /// Where the mirror topic ends (its high watermark).
    pub destination_end: Option<i64>,
    /// Why it stands still.
    pub failure: Option<FailureRecord>,
}

/// As `mirror_status` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MirrorState {
    Active,
    Paused,
    LinkPaused,
    /// The source cannot be reached from here.
    SourceUnavailable,
    /// It needs a person.
    Failed,
    /// Promotion or failover is under way.
    PendingStopped,
    /// An ordinary topic.
    Stopped,
    /// Its topic is still to be made.
    PendingMirror,
    /// It begins once the mirror in the other direction, which is reversed, has ended.
    PendingSynchronize,
}

impl MirrorState {
    /// As the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Paused => "PAUSED",
            Self::LinkPaused => "LINK_PAUSED",
            Self::SourceUnavailable => "SOURCE_UNAVAILABLE",
            Self::Failed => "FAILED",
            Self::PendingStopped => "PENDING_STOPPED",
            Self::Stopped => "STOPPED",
            Self::PendingMirror => "PENDING_MIRROR",
            Self::PendingSynchronize => "PENDING_SYNCHRONIZE",
        }
    }
}

/// As `mirror_topic_error` has it, where the cause is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MirrorTopicError {
    NoError,
    SourceTopicMayBeDeleted,
    SourceTopicIdChanged,
    SourcePartitionsDecreased,
    UnexpectedTruncation,
    /// A cause that Cluster Linking has no name for; the message tells it.
    Unknown,
}

impl MirrorTopicError {
    /// As the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoError => "NO_ERROR",
            Self::SourceTopicMayBeDeleted => "SOURCE_TOPIC_MAY_BE_DELETED",
            Self::SourceTopicIdChanged => "SOURCE_TOPIC_ID_CHANGED",
            Self::SourcePartitionsDecreased => "SOURCE_PARTITIONS_DECREASED",
            Self::UnexpectedTruncation => "UNEXPECTED_TRUNCATION",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// What was seen of the clusters.
#[derive(Clone, Debug, Default)]
pub struct Live {
    pub destination: Topics,
    /// By cluster id: what was seen, or why nothing was. Sources that nobody asked are missing.
    pub sources: HashMap<String, Result<Topics, String>>,
    /// Members of the worker groups, as far as they could be counted.
    pub workers: HashMap<String, usize>,
}

/// The topics of one cluster; those that it does not have are missing.
pub type Topics = HashMap<String, TopicEnds>;

/// Where the partitions of a topic end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicEnds {
    /// Nil where the brokers know no topic ids.
    pub id: Uuid,
    /// By index; `None` where the leader did not say.
    pub ends: Vec<Option<i64>>,
}
