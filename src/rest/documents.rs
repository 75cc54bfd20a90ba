//! The documents about links, their configs and mirror topics.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// A list, or one page of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Page<T> {
    #[serde(default)]
    pub metadata: Metadata,
    pub data: Vec<T>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Metadata {
    /// The address of the next page.
    #[serde(default)]
    pub next: Option<String>,
}

/// A cluster, in `GET /clusters`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Cluster {
    pub cluster_id: String,
}

/// A link as the cluster that holds it knows it.
///
/// Which of the three ids is filled tells the role of that cluster. Before 7.1 the id of the other cluster of a link that its
/// source began was told as `source_cluster_id`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Link {
    /// Empty for what is left of a link whose other half was deleted.
    #[serde(default, deserialize_with = "or_default")]
    pub link_name: String,
    pub source_cluster_id: Option<String>,
    pub destination_cluster_id: Option<String>,
    /// Of a bidirectional link.
    pub remote_cluster_id: Option<String>,
    /// 16 bytes in base64, the same for both halves.
    pub cluster_link_id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub topic_names: Vec<String>,
    /// Not told by older servers. `ACTIVE` is no proof that records flow.
    pub link_state: Option<LinkState>,
    /// `NO_ERROR`, or what is wrong.
    pub link_error: Option<String>,
    pub link_error_message: Option<String>,
    /// Where they were asked for.
    #[serde(default, deserialize_with = "or_default")]
    pub tasks: Vec<Task>,
}

/// Something that a link does besides copying, such as `ConsumerOffsetSync`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Task {
    pub task_name: String,
    pub state: TaskState,
    #[serde(default, deserialize_with = "or_default")]
    pub errors: Vec<NamedError>,
}

/// An error whose code is a word, such as `MISCONFIGURATION_ERROR`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct NamedError {
    pub error_code: String,
    pub error_message: Option<String>,
}

/// A config of a link.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(from = "SpelledConfig")]
pub struct LinkConfig {
    pub name: String,
    /// `None` where it is not set, or not told because it is sensitive.
    pub value: Option<String>,
    /// Not told by every server.
    pub is_default: Option<bool>,
    pub is_read_only: bool,
    pub is_sensitive: bool,
    /// `DYNAMIC_CLUSTER_LINK_CONFIG` where somebody set it.
    pub source: Option<String>,
}

/// Confluent Cloud writes `is_default` and so on, the document of Confluent Platform `default`; servers may send both.
#[derive(Deserialize)]
struct SpelledConfig {
    name: String,
    value: Option<String>,
    is_default: Option<bool>,
    default: Option<bool>,
    is_read_only: Option<bool>,
    read_only: Option<bool>,
    is_sensitive: Option<bool>,
    sensitive: Option<bool>,
    source: Option<String>,
}

impl From<SpelledConfig> for LinkConfig {
    fn from(config: SpelledConfig) -> Self {
        Self {
            name: config.name,
            value: config.value,
            is_default: config.is_default.or(config.default),
            is_read_only: config.is_read_only.or(config.read_only) == Some(true),
            is_sensitive: config.is_sensitive.or(config.sensitive) == Some(true),
            source: config.source,
        }
    }
}

/// Without the value, which may be a password where a server does not know that it is sensitive.
impl fmt::Debug for LinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkConfig")
            .field("name", &self.name)
            .field("is_default", &self.is_default)
            .field("is_read_only", &self.is_read_only)
            .field("is_sensitive", &self.is_sensitive)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl LinkConfig {
    /// Whether somebody set it for this link, as far as the server tells.
    pub fn is_set(&self) -> bool {
        match (self.is_default, self.source.as_deref()) {
            (Some(is_default), _) => !is_default,
            (None, Some(source)) => source == "DYNAMIC_CLUSTER_LINK_CONFIG",
            (None, None) => self.value.is_some() || self.is_sensitive,
        }
    }
}

/// A mirror topic.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Mirror {
    #[serde(default, deserialize_with = "or_default")]
    pub link_name: String,
    pub mirror_topic_name: String,
    pub source_topic_name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub num_partitions: i32,
    #[serde(default, deserialize_with = "or_default")]
    pub mirror_lags: Vec<MirrorLag>,
    pub mirror_status: MirrorState,
    /// `NO_ERROR`, `NOT_SET`, or why it is `FAILED`.
    pub mirror_topic_error: Option<String>,
    /// When it came into this state, in milliseconds since 1970; 0 where that is not known.
    #[serde(default, deserialize_with = "or_default")]
    pub state_time_ms: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub mirror_state_transition_errors: Vec<NamedError>,
}

/// How far a partition of a mirror is behind.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct MirrorLag {
    pub partition: i32,
    /// In messages; negative before the first fetch.
    pub lag: i64,
    /// -1 before the first fetch.
    pub last_source_fetch_offset: i64,
}

impl MirrorLag {
    /// The lag, where it is known.
    pub fn known(&self) -> Option<u64> {
        u64::try_from(self.lag).ok()
    }
}

/// What became of an action on one mirror topic. A refusal comes inside an answer of status 200.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Outcome {
    pub mirror_topic_name: String,
    pub error_code: Option<i32>,
    pub error_message: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub mirror_lags: Vec<MirrorLag>,
    /// Of `truncate-and-restore`, where the server tells.
    pub messages_truncated: Option<i64>,
}

impl Outcome {
    /// Records that are deleted; `None` where that is not told.
    pub fn truncated(&self) -> Option<u64> {
        u64::try_from(self.messages_truncated?).ok()
    }

    /// Why it was refused, if it was.
    pub fn refusal(&self) -> Option<String> {
        let code = self.error_code.filter(|code| *code != 0 && *code != 200)?;
        Some(match &self.error_message {
            Some(message) => format!("{message} (error code {code})"),
            None => format!("error code {code}"),
        })
    }
}

/// The body of a link's creation. Only one of the ids.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct NewLink {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_cluster_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_cluster_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_cluster_id: Option<String>,
    /// That of the other half of a bidirectional link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_link_id: Option<String>,
    pub configs: Vec<NewConfig>,
}

/// A config with its value. Never shown: the value may be a password.
#[derive(Clone, Serialize, PartialEq, Eq)]
pub struct NewConfig {
    pub name: String,
    pub value: String,
}

impl fmt::Debug for NewConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewConfig")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The body of a mirror topic's creation.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct NewMirror {
    pub source_topic_name: String,
    /// Only where it differs: 7.0 and 7.1 do not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror_topic_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<i16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<NewConfig>,
}

/// A change of one config.
#[derive(Clone, Serialize, PartialEq, Eq)]
pub struct ConfigChange {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    pub operation: ConfigOperation,
}

impl fmt::Debug for ConfigChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigChange")
            .field("name", &self.name)
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum ConfigOperation {
    Set,
    /// Back to the default.
    Delete,
}

/// A set of words that a server may add to.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$of])* $variant,)+
            /// One that this build does not know, as the server spells it.
            Other(String),
        }

        impl $name {
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        /// 7.0 spells them in lower case.
        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word.to_ascii_uppercase().as_str() {
                    $($word => Self::$variant,)+
                    _ => Self::Other(word.to_owned()),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self::from(String::deserialize(deserializer)?.as_str()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// How a link is.
    LinkState {
        Active = "ACTIVE",
        Failed = "FAILED",
        Unavailable = "UNAVAILABLE",
        Paused = "PAUSED",
        /// The other half was deleted.
        UnmanagedSource = "UNMANAGED_SOURCE",
    }
}

words! {
    /// How a mirror topic is.
    MirrorState {
        Active = "ACTIVE",
        Paused = "PAUSED",
        LinkPaused = "LINK_PAUSED",
        LinkFailed = "LINK_FAILED",
        SourceUnavailable = "SOURCE_UNAVAILABLE",
        Failed = "FAILED",
        /// Promotion or failover is under way.
        PendingStopped = "PENDING_STOPPED",
        /// An ordinary topic again.
        Stopped = "STOPPED",
        PendingMirror = "PENDING_MIRROR",
        PendingSynchronize = "PENDING_SYNCHRONIZE",
        PendingSetupForRestore = "PENDING_SETUP_FOR_RESTORE",
        PendingRestore = "PENDING_RESTORE",
    }
}

words! {
    /// How a link's task is.
    TaskState {
        Active = "ACTIVE",
        InError = "IN_ERROR",
        NotConfigured = "NOT_CONFIGURED",
        LinkFailed = "LINK_FAILED",
        LinkUnavailable = "LINK_UNAVAILABLE",
        LinkPaused = "LINK_PAUSED",
    }
}

impl MirrorState {
    /// Whether a step is under way during which the link must not be deleted.
    pub fn is_pending(&self) -> bool {
        self.as_str().to_ascii_uppercase().starts_with("PENDING_")
    }
}

/// What is there with `null` counts as not there.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
