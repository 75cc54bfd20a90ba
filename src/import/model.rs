//! What was understood of an input, whatever it was, and what could not be taken over.
//!
//! The parts of a topology file as plain values, without any secret. A [`Finding`] lies with the
//! table that it is about, so that the writer can put it there.

use std::fmt;
use std::path::Path;

use indexmap::IndexMap;

/// A topology that is about to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// Lines at the top of the file: what it was made from, what to look at.
    pub header: Vec<String>,
    pub clusters: Vec<ClusterDraft>,
    pub links: Vec<LinkDraft>,
    /// What concerns no table.
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterDraft {
    pub name: String,
    pub title: Option<String>,
    pub bootstrap: Option<Bootstrap>,
    /// As the topology file has to spell the path.
    pub properties_file: Option<String>,
    pub cluster_id: Option<String>,
    pub client: IndexMap<String, ClientValue>,
    pub topics: IndexMap<String, OwnedDraft>,
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    Servers(Vec<String>),
    /// The name of an environment variable.
    Env(String),
}

/// A client property. There is no way to hold a secret here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientValue {
    Plain(String),
    /// The name of an environment variable.
    Env(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedDraft {
    pub partitions: Option<i32>,
    pub replication_factor: Option<i16>,
    pub config: IndexMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkDraft {
    pub name: String,
    pub source: String,
    pub destination: String,
    pub topics: Vec<Selector>,
    pub exclude: Vec<Selector>,
    pub rename: Option<Rename>,
    pub auto_create: Option<bool>,
    pub start: Option<StartDraft>,
    pub replication_factor: Option<i16>,
    /// `limit`
    pub bytes_per_second: Option<u64>,
    /// `config = { acks = "1" }`
    pub acks_one: bool,
    /// `on_foreign_write = "translate"`
    pub shared_topics: bool,
    /// `provenance_header = true`
    pub provenance_header: bool,
    /// `timestamps = "original"`
    pub original_timestamps: bool,
    /// `offsets = "translate"`
    pub translated_offsets: bool,
    /// `larger_than` and `then` of `on_hole`
    pub on_hole: Option<(i64, &'static str)>,
    pub paused: bool,
    pub mirrors: IndexMap<String, MirrorDraft>,
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorDraft {
    pub rename_to: Option<String>,
    pub state: Option<StateDraft>,
    pub replication_factor: Option<i16>,
    pub config: IndexMap<String, String>,
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    Name(String),
    Glob(String),
    Regex(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rename {
    Template(String),
    Prefix(String),
    /// Regex and what it becomes.
    Rules(Vec<(String, String)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateDraft {
    Active,
    Paused,
    Absent,
    Promoted,
    FailedOver,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartDraft {
    Latest,
    /// An RFC 3339 time.
    Time(String),
}

/// A setting of an input and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub fate: Fate,
    /// As the input spells it; `None` where its name may not be repeated.
    pub key: Option<String>,
    pub place: Place,
    /// The key of the topology file above which it is to be said; `client.KEY` for a client property.
    pub near: Option<String>,
    pub why: String,
    pub instead: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// The result behaves differently.
    Lost,
    /// Its value has to be put somewhere by the user.
    ToProvide,
    /// There is nothing that would need it.
    Unneeded,
}

/// Where a setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `line` counts from 1; 0 is the whole file.
    File {
        name: String,
        line: usize,
    },
    CommandLine,
    /// It was not set: a default of the tool.
    Default,
    /// A cluster or an endpoint.
    Remote(String),
}

impl Place {
    pub fn file(path: &Path, line: usize) -> Self {
        Self::File {
            name: path.display().to_string(),
            line,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line: 0 } => f.write_str(name),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::CommandLine => f.write_str("command line"),
            Self::Default => f.write_str("a default"),
            Self::Remote(name) => f.write_str(name),
        }
    }
}

impl Finding {
    pub fn new(fate: Fate, key: &str, place: Place, why: impl Into<String>) -> Self {
        Self {
            fate,
            key: Some(key.to_owned()),
            place,
            near: None,
            why: why.into(),
            instead: None,
        }
    }

    pub fn lost(key: &str, place: Place, why: impl Into<String>) -> Self {
        Self::new(Fate::Lost, key, place, why)
    }

    pub fn to_provide(key: &str, place: Place, why: impl Into<String>) -> Self {
        Self::new(Fate::ToProvide, key, place, why)
    }

    pub fn unneeded(key: &str, place: Place, why: impl Into<String>) -> Self {
        Self::new(Fate::Unneeded, key, place, why)
    }

    #[must_use]
    pub fn instead(mut self, instead: impl Into<String>) -> Self {
        self.instead = Some(instead.into());
        self
    }

    #[must_use]
    pub fn near(mut self, near: impl Into<String>) -> Self {
        self.near = Some(near.into());
        self
    }

    /// What it is about: the key with its place.
    pub fn subject(&self) -> String {
        match &self.key {
            Some(key) => format!("{key} ({})", self.place),
            None => format!("a setting ({})", self.place),
        }
    }
}

impl Draft {
    /// Everything that was found, in the order of the file.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        let clusters = self.clusters.iter().flat_map(|cluster| &cluster.findings);
        let links = self.links.iter().flat_map(|link| {
            let mirrors = link.mirrors.values().flat_map(|mirror| &mirror.findings);
            link.findings.iter().chain(mirrors)
        });
        self.findings.iter().chain(clusters).chain(links)
    }

    /// A cluster under the wanted name, or one like it that is free.
    pub fn new_cluster(&self, wanted: &str) -> ClusterDraft {
        let name = free(&label(wanted, "cluster"), |name| {
            self.clusters.iter().any(|other| other.name == name)
        });
        ClusterDraft {
            name,
            ..ClusterDraft::default()
        }
    }

    /// Adds a link under a name that is free.
    pub fn add_link(&mut self, mut link: LinkDraft) {
        link.name = free(&label(&link.name, "link"), |name| {
            self.links.iter().any(|other| other.name == name)
        });
        self.links.push(link);
    }
}

/// A name that a topology file takes for clusters and links.
pub fn label(wanted: &str, otherwise: &str) -> String {
    const LONGEST: usize = 80;
    let mut name: String = wanted
        .chars()
        .take(LONGEST)
        .map(|char| {
            if char.is_ascii_alphanumeric() || char == '_' {
                char
            } else {
                '-'
            }
        })
        .collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    let name = name.trim_matches('-');
    if name.is_empty() { otherwise } else { name }.to_owned()
}

fn free(wanted: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(wanted) {
        return wanted.to_owned();
    }
    (2..)
        .map(|number: u32| format!("{wanted}-{number}"))
        .find(|name| !taken(name))
        .expect("some number is free")
}
