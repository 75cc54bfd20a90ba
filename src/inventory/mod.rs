//! What links and mirrors there are on the clusters of a file, whoever carries them: what Cluster Linking's own tools show, for
//! every engine.
//!
//! Links of the built-in engine are those of the control records, of files and of the REST API alike, in Cluster Linking's
//! terms; links that brokers carry are asked for at their REST API. What is not known is absent, never made up.

mod gather;
mod replicas;

use serde::Serialize;

pub use gather::{Inventory, gather};
pub use replicas::{Asked, replicas};

/// A link, on the cluster that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkView {
    pub link_name: String,
    /// Of the half that this cluster holds.
    pub link_id: Option<String>,
    /// As the file calls the engine.
    pub engine: &'static str,
    /// The cluster's name in the file.
    pub cluster: String,
    pub cluster_id: String,
    pub remote_cluster_id: Option<String>,
    /// The remote cluster's name in the file, if it is one of the file's.
    pub remote_cluster: Option<String>,
    /// `DESTINATION`, `SOURCE` or `BIDIRECTIONAL`.
    pub link_mode: String,
    /// `ACTIVE`, `PAUSED` and so on, where it is told.
    pub link_state: Option<String>,
    pub link_error: Option<String>,
    /// The releases that the cluster's brokers can be of, where they carry the link and are Confluent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// `file` or `rest`, of links of the built-in engine.
    pub owner: Option<&'static str>,
    /// Mirror topics, by name.
    pub mirror_topics: Vec<String>,
    pub configs: Vec<ConfigView>,
}

/// A config of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigView {
    pub name: String,
    /// `None` where it is not set, and of what is sensitive.
    pub value: Option<String>,
    /// What it is where nobody sets it, if that is known.
    pub default: Option<String>,
    pub is_default: bool,
    pub is_sensitive: bool,
    pub is_read_only: bool,
    /// As the REST API names it.
    pub source: String,
}

/// A mirror topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MirrorView {
    pub link_name: String,
    pub engine: &'static str,
    /// The cluster that it is on, by its name in the file.
    pub cluster: String,
    pub mirror_topic_name: String,
    pub source_topic_name: String,
    /// In Cluster Linking's words.
    pub mirror_status: String,
    /// `None` where nothing is wrong.
    pub mirror_topic_error: Option<String>,
    /// What is worth knowing beyond the state.
    pub message: Option<String>,
    /// When it came into its state, in milliseconds since the epoch.
    pub state_time_ms: Option<i64>,
    pub partitions: Vec<PartitionView>,
}

impl MirrorView {
    /// Records that the mirror lacks; `None` where a partition does not tell.
    pub fn lag(&self) -> Option<u64> {
        self.partitions.iter().map(|partition| partition.lag).sum()
    }
}

/// One partition of a mirror topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionView {
    pub partition: i32,
    /// In records.
    pub lag: Option<u64>,
    /// The last source offset that was fetched.
    pub last_source_fetch_offset: Option<i64>,
    /// Where the source ends for consumers.
    pub source_end_offset: Option<i64>,
    /// Where the mirror ends for consumers.
    pub local_log_end_offset: Option<i64>,
    /// Why it stands still.
    pub failure: Option<String>,
}

/// A replica of a partition, with the columns of `kafka-replica-status`. What Kafka's protocol does not tell is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaView {
    /// The cluster that it is on, by its name in the file.
    pub cluster: String,
    pub topic: String,
    pub partition: i32,
    /// The broker's id.
    pub replica: i32,
    /// The link over which the topic is mirrored, for rows of its source.
    pub cluster_link: Option<String>,
    pub is_leader: bool,
    pub is_in_isr: bool,
    /// Whether it has everything that the leader has, as far as its broker tells.
    pub is_caught_up: Option<bool>,
    /// In records, behind the leader.
    pub offset_lag: Option<i64>,
    /// The leader's.
    pub log_start_offset: Option<i64>,
    pub log_end_offset: Option<i64>,
}
