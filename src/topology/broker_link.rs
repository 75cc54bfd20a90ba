//! What a link asks of brokers that carry it themselves (`engine = "cluster-link"`).

use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::model::{Link, Span, Spanned};
use super::selector::{RenameRule, TopicSelector};
use crate::client::secret::Text;

/// What only such links ask for.
#[derive(Clone, Debug, Default)]
pub struct BrokerLink {
    /// What the link is called at the brokers where it is one direction of a bidirectional one.
    pub bidirectional: Option<Spanned<String>>,
    /// Where the file says that the source's brokers open the connections.
    pub source_initiated: Option<Span>,
    /// Link configs that the file sets, at the cluster that the mirrors are on.
    pub configs: LinkConfigs,
    /// The same at the source, of a link that is begun there.
    pub at_source: LinkConfigs,
    pub groups: Option<GroupSync>,
    /// Where the file says that ACLs are synced.
    pub acls: Option<Span>,
}

/// Link configs by key, as brokers spell both.
pub type LinkConfigs = IndexMap<String, LinkConfig>;

/// A link config that the file sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    pub value: Text,
    /// Whether the value must not be seen.
    pub is_secret: bool,
    pub span: Span,
}

/// Consumer groups whose offsets are synced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSync {
    pub include: Vec<NameFilter>,
    pub exclude: Vec<NameFilter>,
    pub interval: Option<Duration>,
    pub span: Span,
}

/// A name, or the beginning of names: all that brokers filter by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameFilter {
    pub name: String,
    pub is_prefix: bool,
}

/// Beginnings of the names of topics that no pattern takes.
const INTERNAL: &[&str] = &["__", "_confluent", "_kmirror", "_schemas"];

impl NameFilter {
    /// The filter that takes what a name or a glob does; `None` where there is none.
    pub fn of(text: &str) -> Option<Self> {
        const SPECIAL: [char; 5] = ['*', '?', '[', '{', '\\'];
        let (name, is_prefix) = match text.strip_suffix('*') {
            Some("") => ("*", false),
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        let is_plain = name == "*" || !name.contains(SPECIAL);
        is_plain.then(|| Self {
            name: name.to_owned(),
            is_prefix,
        })
    }

    pub fn of_selector(selector: &TopicSelector) -> Option<Self> {
        match selector {
            TopicSelector::Name(text) | TopicSelector::Glob { pattern: text, .. } => Self::of(text),
            TopicSelector::Regex { .. } => None,
        }
    }

    fn literal(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_prefix: false,
        }
    }

    /// Whether both may take one name.
    fn may_meet(&self, prefix: &str) -> bool {
        self.name == "*"
            || self.name.starts_with(prefix)
            || (self.is_prefix && prefix.starts_with(&self.name))
    }

    fn entry(&self, takes: bool) -> Value {
        json!({
            "name": self.name,
            "patternType": if self.is_prefix { "PREFIXED" } else { "LITERAL" },
            "filterType": if takes { "INCLUDE" } else { "EXCLUDE" },
        })
    }
}

fn filters(key: &str, include: &[NameFilter], exclude: &[NameFilter]) -> String {
    let include = include.iter().map(|filter| filter.entry(true));
    let exclude = exclude.iter().map(|filter| filter.entry(false));
    json!({ key: include.chain(exclude).collect::<Vec<_>>() }).to_string()
}

impl GroupSync {
    /// As `consumer.offset.group.filters` takes it.
    pub fn filters(&self) -> String {
        let all = [NameFilter::literal("*")];
        let include = match self.include.as_slice() {
            [] => &all[..],
            some => some,
        };
        filters("groupFilters", include, &self.exclude)
    }
}

impl Link {
    /// What brokers call the link.
    pub fn broker_name(&self) -> &str {
        let shared = self.brokers.bidirectional.as_ref();
        shared.map_or(&self.name, |shared| &shared.value)
    }

    /// Whether a half of it lies on the source cluster, which opens the connections.
    pub fn has_half_at_source(&self) -> bool {
        self.brokers.source_initiated.is_some() && self.brokers.bidirectional.is_none()
    }

    /// What its mirrors' names begin with.
    pub fn prefix(&self) -> Option<&str> {
        match &self.rename {
            RenameRule::Prefix(prefix) => Some(prefix),
            _ => None,
        }
    }

    /// The patterns of topics that brokers are to mirror as soon as they are there, as `auto.create.mirror.topics.filters`
    /// takes them; `None` where the link takes only topics that it names.
    pub fn auto_create_filters(&self) -> Option<String> {
        let patterns = self.topics.iter().map(|it| &it.value);
        let patterns = patterns.filter(|selector| selector.as_name().is_none());
        let include: Vec<_> = patterns.filter_map(NameFilter::of_selector).collect();
        if !self.auto_create || include.is_empty() {
            return None;
        }
        let written = self.exclude.iter().map(|it| &it.value);
        let mut exclude: Vec<_> = written.filter_map(NameFilter::of_selector).collect();
        let gone = self.mirrors.values().filter(|mirror| mirror.is_absent());
        exclude.extend(gone.map(|mirror| NameFilter::literal(&mirror.source_topic)));
        for prefix in INTERNAL {
            if include.iter().any(|filter| filter.may_meet(prefix)) {
                exclude.push(NameFilter {
                    name: (*prefix).to_owned(),
                    is_prefix: true,
                });
            }
        }
        Some(filters("topicFilters", &include, &exclude))
    }
}

/// Whether two values of a link config are the same to brokers: words in any case, lists in any order, filters as JSON.
pub fn same_value(key: &str, one: &str, other: &str) -> bool {
    if one == other || one.eq_ignore_ascii_case(other) && is_word(one) {
        return true;
    }
    if key.ends_with(".filters") {
        return match (parsed(one), parsed(other)) {
            (Some(one), Some(other)) => canonical(one) == canonical(other),
            _ => false,
        };
    }
    if key == "topic.config.sync.include" || key == "bootstrap.servers" {
        let items = |list: &str| {
            let mut items: Vec<String> = list.split(',').map(|it| it.trim().to_owned()).collect();
            items.sort();
            items
        };
        return items(one) == items(other);
    }
    false
}

fn is_word(text: &str) -> bool {
    text.len() <= 20 && text.chars().all(|char| char.is_ascii_alphabetic())
}

/// An empty filter is one that takes nothing.
fn parsed(text: &str) -> Option<Value> {
    match text.trim() {
        "" => Some(Value::Null),
        text => serde_json::from_str(text).ok(),
    }
}

/// Keys in order, and the entries of filters, whose order does not matter.
fn canonical(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(canonical).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            let entries = entries
                .into_iter()
                .map(|(key, value)| (key, canonical(value)));
            Value::Object(entries.collect())
        }
        Value::String(text) => match text.to_ascii_uppercase().as_str() {
            word @ ("LITERAL" | "PREFIXED" | "INCLUDE" | "EXCLUDE" | "ANY" | "ALL") => {
                Value::String(word.to_owned())
            }
            _ => Value::String(text),
        },
        other => other,
    }
}
