//! The resolved topology: what a file means once every mistake has been ruled out.
//!
//! Everything that a later stage may want to point at keeps its place in the user's file
//! ([`Spanned`]), so that a plan line can cite `file:line`. Nothing here does I/O.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::broker_link::BrokerLink;
use super::engines::Engine;
use super::selector::{RenameRule, TopicSelector};
use crate::client::ClientSettings;
use crate::client::secret::Text;
use crate::client::settings::{Credentials, Keyed, TlsSettings};
use crate::client::url::HttpUrl;

/// Which of the files that a topology is made of: the topology file itself, or a properties file
/// that it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

impl FileId {
    /// The topology file.
    pub const TOPOLOGY: Self = Self(0);
}

/// A place in a file. `line` and `column` count from 1; `start..end` are byte offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    pub file: FileId,
    pub start: usize,
    pub end: usize,
    pub line: u32,
    pub column: u32,
}

/// A value together with the place that asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

/// One validated topology file.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The path as the user typed it, for `file:line` citations.
    pub path: PathBuf,
    /// Further files that it names, from `FileId(1)` on.
    pub other_files: Vec<PathBuf>,
    pub clusters: IndexMap<String, Cluster>,
    pub links: IndexMap<String, Link>,
    /// Whether links that were made over REST and have the name of one of the file's become the file's. No file says so.
    pub adopts: bool,
    /// Links that brokers carry whose secrets are sent to them again, though nobody can see that they differ. No file says so.
    pub rewrites: BTreeSet<String>,
}

impl Topology {
    /// The file that a span of this topology points into, as the user would name it.
    pub fn file(&self, id: FileId) -> &Path {
        let other = usize::try_from(id.0).ok().and_then(|id| id.checked_sub(1));
        other
            .and_then(|index| self.other_files.get(index))
            .unwrap_or(&self.path)
    }
}

/// A Kafka cluster that the file names.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub name: String,
    /// What people call it.
    pub title: Option<String>,
    /// `host:port` entries, never empty; but for a file whose references were not looked up.
    pub bootstrap_servers: Vec<String>,
    /// How it is reached and who kmirror is there.
    pub client: ClientSettings,
    /// The brokers' REST API.
    pub rest: Option<Endpoint>,
    /// The Connect cluster whose workers write here.
    pub connect: Option<Endpoint>,
    /// Optional pin: on another cluster nothing is planned or done.
    pub cluster_id: Option<Spanned<String>>,
    /// Topics that the file owns and that are no mirrors, by name.
    pub topics: IndexMap<String, OwnedTopic>,
    pub span: Span,
}

/// An HTTP server that belongs to a cluster.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub url: HttpUrl,
    /// Who asks.
    pub login: Option<Login>,
    /// Used where the URL begins with `https`.
    pub tls: TlsSettings,
    pub span: Span,
}

/// How an HTTP server knows who asks, besides by a client certificate.
#[derive(Clone, Debug)]
pub enum Login {
    /// HTTP's Basic authentication.
    Basic(Credentials),
    /// A token in the header (RFC 6750).
    Bearer(Keyed<Text>),
}

/// A topic that the file owns on one cluster.
#[derive(Clone, Debug)]
pub struct OwnedTopic {
    pub name: String,
    /// `None`: the broker's default when the topic is created, and whatever it has afterwards.
    pub partitions: Option<Spanned<i32>>,
    pub replication_factor: Option<Spanned<i16>>,
    /// Topic configs that the file sets explicitly, as Kafka spells keys and values.
    pub config: IndexMap<String, Spanned<String>>,
    /// Where the file says that configs which it does not name are reset (`other_configs = "reset"`).
    pub resets_others: Option<Span>,
    /// Where the file says that there is to be no such topic any more.
    pub absent: Option<Span>,
    pub span: Span,
}

/// A link from one cluster to another with the rule for what it mirrors.
#[derive(Clone, Debug)]
pub struct Link {
    pub name: String,
    /// Key into [`Topology::clusters`].
    pub source: String,
    /// Key into [`Topology::clusters`].
    pub destination: String,
    /// Former name, when the link was renamed (`moved = "old-name"`).
    pub moved: Option<Spanned<String>>,
    /// In the order of the file.
    pub topics: Vec<Spanned<TopicSelector>>,
    pub exclude: Vec<Spanned<TopicSelector>>,
    pub rename: RenameRule,
    /// Whether workers create topics that match later (decision 1).
    pub auto_create: bool,
    pub start: Start,
    pub engine: Engine,
    pub offsets: OffsetsSpec,
    pub timestamps: Timestamps,
    /// `None`: the source topic's own.
    pub replication_factor: Option<Spanned<i16>>,
    /// How fast the link may be read, by all workers together (`limit`).
    pub bytes_per_second: Option<Spanned<u64>>,
    /// `config.acks`.
    pub acks: Option<Spanned<Acks>>,
    pub on_foreign_write: Option<Spanned<ForeignWrites>>,
    /// Whether copies say where they came from, and what came from the destination is left out.
    pub provenance_header: Option<Spanned<bool>>,
    pub state: LinkState,
    /// Settings of single mirrors, by source topic name. A name listed here is mirrored.
    pub mirrors: IndexMap<String, Mirror>,
    /// What it asks of brokers that carry it themselves; nothing with another engine.
    pub brokers: BrokerLink,
    pub span: Span,
}

impl Link {
    /// What its mirrors do whose topics somebody else wrote into.
    pub fn foreign_writes(&self) -> ForeignWrites {
        let written = self.on_foreign_write.as_ref();
        written.map_or_else(ForeignWrites::default, |it| it.value)
    }

    pub fn marks_provenance(&self) -> bool {
        self.provenance_header.as_ref().is_some_and(|it| it.value)
    }

    /// Whether it may be one of several that lead records back to the topic which they came from: it leaves those out, and
    /// writes among others.
    pub fn may_close_a_loop(&self) -> bool {
        self.marks_provenance()
            && self.offsets == OffsetsSpec::Translate
            && self.foreign_writes() == ForeignWrites::Translate
    }
}

/// Settings of one mirror, by its source topic.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub source_topic: String,
    /// Explicit destination name; wins over the link's rename rule.
    pub rename_to: Option<Spanned<String>>,
    pub state: Option<Spanned<MirrorState>>,
    pub replication_factor: Option<Spanned<i16>>,
    /// Overrides what is synced from the source topic.
    pub config: IndexMap<String, Spanned<String>>,
    pub span: Span,
}

impl Mirror {
    /// Whether the destination topic is to be gone.
    pub fn is_absent(&self) -> bool {
        let state = self.state.as_ref();
        state.is_some_and(|state| state.value == MirrorState::Absent)
    }
}

/// Where a mirror that has never copied anything begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    /// Milliseconds since the epoch, from an RFC 3339 time.
    Timestamp(i64),
}

/// What is asked of destination offsets. It is recorded as it is written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OffsetsSpec {
    /// Those of the source, where a hole is not larger than this. A file's default.
    Preserve { on_hole: HolePolicy },
    /// Counted at the destination, with an exact map.
    Translate,
}

/// What is done about a run of source offsets that no record takes, where offsets are kept equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolePolicy {
    /// Up to so many offsets are taken up by control markers, whatever `then` says.
    pub larger_than: i64,
    /// What is done about more.
    pub then: OnHole,
}

impl Default for HolePolicy {
    fn default() -> Self {
        Self {
            larger_than: 1_000_000,
            then: OnHole::Stop,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnHole {
    /// The partition stops and says so.
    Stop,
    /// Its offsets are translated from there on.
    Translate,
}

/// What a mirror does whose topic somebody else wrote into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForeignWrites {
    /// The partition stops and says so.
    #[default]
    Stop,
    /// It goes on behind what the others wrote; the map says where its own records are.
    Translate,
}

/// When a leader acknowledges a batch. Nothing counts as copied before it is on all in-sync replicas, either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Acks {
    /// Once all in-sync replicas have it (`acks=all`).
    #[default]
    #[serde(rename = "all")]
    All,
    /// Once it is in its own log (`acks=1`). It counts as copied once it is below the high watermark.
    #[serde(rename = "1")]
    Leader,
}

/// What timestamp a consumer of the mirror sees for batches that the source stamped on append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// The same as a consumer of the source (such batches are repacked). The default.
    AsConsumed,
    /// The producer's own time, batches copied raw.
    Original,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    Active,
    Paused,
    /// The link is to be deleted, once none of its mirrors is left.
    Absent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorState {
    Active,
    Paused,
    /// After all that the source has is copied, the topic is handed over to whoever writes to it.
    Promoted,
    /// The topic is handed over as it is.
    FailedOver,
    /// The destination topic is to be deleted.
    Absent,
}
