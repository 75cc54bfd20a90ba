//! What another version of a file says: clusters, topics, links and mirrors, key by key.
//!
//! Both versions are files without mistakes; no cluster is contacted and no reference is looked up. What
//! is compared is what is written, not how: the order of keys, of tables and of names in `topics`
//! means nothing, nor whether a default is written down. References are compared as references; a secret
//! that stands in the file itself is compared and never shown.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde::{Serialize, Serializer};

use super::model::{Spanned, Topology};
use super::read::key_table::Without;
use super::read::keys::Kind;
use super::resolve::LinkRule;
use super::{Diagnostics, parse_in};
use crate::client::surroundings::Elsewhere;

mod outline;
#[cfg(test)]
mod tests;

use outline::{Item, Outline, Setting};

/// Version of the serialised difference.
pub const DIFF_VERSION: u32 = 1;

/// A file that can be compared.
#[derive(Debug)]
pub struct Version {
    path: String,
    outline: Outline,
    topology: Topology,
    /// What is worth a look in it.
    pub warnings: Diagnostics,
}

impl Version {
    /// Reads a file's text. `path` is cited.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Diagnostics> {
        let loaded = parse_in(path, text, &Elsewhere)?;
        Ok(Self {
            path: path.display().to_string(),
            outline: Outline::of(text, loaded.warnings.topology_file().text()),
            topology: loaded.topology,
            warnings: loaded.warnings,
        })
    }
}

/// The difference between two versions of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopologyDiff {
    pub version: u32,
    /// The files as the user named them.
    pub old: String,
    pub new: String,
    /// Clusters with their topics first, then links with their mirrors, all by name.
    pub entries: Vec<Entry>,
    pub counts: Counts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
}

/// One thing that the versions say different things of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub address: Thing,
    pub change: Change,
    /// What it was called, for a link that was renamed and its mirrors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<Thing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Place>,
    pub keys: Vec<KeyChange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<Remark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Added,
    Changed,
    Removed,
}

/// What taking something out of a file does, and what it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Remark {
    /// The topic stays on the cluster.
    TopicStays,
    /// What was applied of the link stays at its destination.
    LinkStays,
    /// The link takes the topic also without settings of its own.
    StillTaken,
    /// The link does not take the topic any more.
    NoLongerTaken,
}

/// A thing that a file speaks of, addressed as plans do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thing {
    Cluster(String),
    Topic { cluster: String, topic: String },
    Link(String),
    Mirror { link: String, topic: String },
}

impl Thing {
    fn order(&self) -> (u8, &str, u8, &str) {
        match self {
            Self::Cluster(cluster) => (0, cluster, 0, ""),
            Self::Topic { cluster, topic } => (0, cluster, 1, topic),
            Self::Link(link) => (1, link, 0, ""),
            Self::Mirror { link, topic } => (1, link, 1, topic),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Cluster(_) => Kind::Cluster,
            Self::Topic { .. } => Kind::OwnedTopic,
            Self::Link(_) => Kind::Link,
            Self::Mirror { .. } => Kind::Mirror,
        }
    }
}

impl Ord for Thing {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Thing {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(cluster) => write!(f, "cluster.{cluster}"),
            Self::Topic { cluster, topic } => write!(f, "cluster.{cluster}/topic.{topic}"),
            Self::Link(link) => write!(f, "link.{link}"),
            Self::Mirror { link, topic } => write!(f, "mirror.{link}/{topic}"),
        }
    }
}

impl Serialize for Thing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    pub file: String,
    pub line: u32,
    pub column: u32,
}

/// A key with what each version says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// Dotted, from the table of the thing on.
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Written>,
    /// What is the case where it is not written, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without: Option<&'static str>,
    /// Whether the order of a list means nothing.
    #[serde(skip)]
    pub is_set: bool,
}

/// A value where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    pub value: Shown,
    pub at: Place,
}

/// A value as far as it may be seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Shown {
    Text(String),
    List(Vec<String>),
    /// `{ env = "NAME" }`
    Env {
        env: String,
    },
    /// `{ file = "PATH" }`
    File {
        file: String,
    },
    Secret(Secret),
}

/// It stands in the file itself and is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Secret {
    #[serde(rename = "(secret)")]
    Inline,
}

/// What the new version says that the old one does not.
pub fn diff(old: &Version, new: &Version) -> TopologyDiff {
    let former = |link: &str| {
        let item = new.outline.items.get(&Thing::Link(link.to_owned()))?;
        let former = item.moved.clone()?;
        let is_there = |version: &Version, name: &str| {
            let thing = Thing::Link(name.to_owned());
            version.outline.items.contains_key(&thing)
        };
        let is_renamed = is_there(old, &former) && !is_there(new, &former) && !is_there(old, link);
        is_renamed.then_some(former)
    };
    // What a thing of the new version was called in the old one.
    let was = |thing: &Thing| match thing {
        Thing::Link(link) => former(link).map(Thing::Link),
        Thing::Mirror { link, topic } => former(link).map(|link| Thing::Mirror {
            link,
            topic: topic.clone(),
        }),
        Thing::Cluster(_) | Thing::Topic { .. } => None,
    };
    let mut entries = Vec::new();
    let mut compared: BTreeSet<Thing> = BTreeSet::new();
    for (thing, after) in &new.outline.items {
        let was = was(thing);
        let old_name = was.clone().unwrap_or_else(|| thing.clone());
        let before = old.outline.items.get(&old_name);
        if before.is_some() {
            compared.insert(old_name);
        }
        entries.extend(entry((old, before), (new, after), thing, was));
    }
    for (thing, before) in &old.outline.items {
        if !compared.contains(thing) {
            entries.push(Entry {
                address: thing.clone(),
                change: Change::Removed,
                was: None,
                old: Some(place(old, before.line, before.column)),
                new: None,
                keys: Vec::new(),
                remark: remark(thing, new),
            });
        }
    }
    entries.sort_by(|a, b| a.address.cmp(&b.address));
    let count = |wanted| entries.iter().filter(|it| it.change == wanted).count();
    TopologyDiff {
        version: DIFF_VERSION,
        old: old.path.clone(),
        new: new.path.clone(),
        counts: Counts {
            added: count(Change::Added),
            changed: count(Change::Changed),
            removed: count(Change::Removed),
        },
        entries,
    }
}

fn entry(
    (old, before): (&Version, Option<&Item>),
    (new, after): (&Version, &Item),
    thing: &Thing,
    was: Option<Thing>,
) -> Option<Entry> {
    let mut names: BTreeSet<&String> = after.keys.keys().collect();
    names.extend(before.iter().flat_map(|before| before.keys.keys()));
    let keys: Vec<KeyChange> = names
        .into_iter()
        // A rename is told by itself.
        .filter(|key| !(was.is_some() && *key == "moved"))
        .filter_map(|key| {
            let before = before.and_then(|before| before.keys.get(key));
            let after = after.keys.get(key);
            let without = without(thing, key);
            if is_same(key, before, after, without) {
                return None;
            }
            Some(KeyChange {
                key: key.clone(),
                old: before.map(|setting| written(old, setting)),
                new: after.map(|setting| written(new, setting)),
                without: without.map(|(words, _)| words),
                is_set: outline::is_set(key),
            })
        })
        .collect();
    if before.is_some() && keys.is_empty() && was.is_none() {
        return None;
    }
    // A mirror of a renamed link is told only if it differs.
    if before.is_some() && keys.is_empty() && matches!(thing, Thing::Mirror { .. }) {
        return None;
    }
    Some(Entry {
        address: thing.clone(),
        change: match before {
            Some(_) => Change::Changed,
            None => Change::Added,
        },
        was,
        old: before.map(|before| place(old, before.line, before.column)),
        new: Some(place(new, after.line, after.column)),
        keys,
        remark: None,
    })
}

/// What is the case without a key, and the value that says the same.
fn without(thing: &Thing, key: &str) -> Option<(&'static str, Option<&'static str>)> {
    let key = thing.kind().table().iter().find(|it| it.name == key)?;
    match key.without {
        Without::Required => None,
        Without::Value(value) => {
            let value = value.trim_matches('"');
            Some((value, Some(value)))
        }
        Without::Words(words) => Some((words, None)),
    }
}

fn is_same(
    key: &str,
    before: Option<&Setting>,
    after: Option<&Setting>,
    without: Option<(&'static str, Option<&'static str>)>,
) -> bool {
    let default = without.and_then(|(_, value)| value);
    match (before, after) {
        (Some(before), Some(after)) => before.is_same(after, key),
        (Some(written), None) | (None, Some(written)) => {
            default.is_some_and(|default| written.is_text(default))
        }
        (None, None) => true,
    }
}

fn written(version: &Version, setting: &Setting) -> Written {
    Written {
        value: setting.shown.clone(),
        at: place(version, setting.line, setting.column),
    }
}

fn place(version: &Version, line: u32, column: u32) -> Place {
    Place {
        file: version.path.clone(),
        line,
        column,
    }
}

fn remark(removed: &Thing, new: &Version) -> Option<Remark> {
    match removed {
        Thing::Cluster(_) => None,
        Thing::Topic { .. } => Some(Remark::TopicStays),
        Thing::Link(_) => Some(Remark::LinkStays),
        Thing::Mirror { link, topic } => {
            let links = &new.topology.links;
            let renamed = || {
                let is_former = |moved: &Spanned<String>| moved.value == *link;
                let mut links = links.values();
                links.find(|link| link.moved.as_ref().is_some_and(is_former))
            };
            let link = links.get(link).or_else(renamed)?;
            Some(match LinkRule::from(link).takes(topic) {
                Some(_) => Remark::StillTaken,
                None => Remark::NoLongerTaken,
            })
        }
    }
}
