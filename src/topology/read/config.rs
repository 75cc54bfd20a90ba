//! Topic configs: keys with dots may be quoted or not, values are written in their own types.

use std::collections::HashMap;

use indexmap::IndexMap;
use toml::de::{DeTable, DeValue};

use super::reader::{Node, Reader, Table, with_article};
use crate::nearest::nearest;
use crate::topology::codes::Code;
use crate::topology::diagnostic::Diagnostic;
use crate::topology::model::{Span, Spanned};

/// The topic configs of Apache Kafka, to recognise misspelt ones. A broker may know others.
const KNOWN: &[&str] = &[
    "cleanup.policy",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.downconversion.enable",
    "message.format.version",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.difference.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.copy.disable",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
];

/// Reads the `config` of a topic or a mirror.
pub(super) fn read(
    table: &Table<'_, '_>,
    reader: &mut Reader<'_>,
) -> IndexMap<String, Spanned<String>> {
    let mut flat = Flat::default();
    if let Some(node) = table.get("config") {
        match node.get_ref().as_table() {
            Some(entries) => flat.add(reader, "", entries),
            None => {
                let help = "write config = { \"retention.ms\" = 604800000 }".to_owned();
                reader.wrong_type("config", node, "a table", Some(help));
            }
        }
    }
    flat.values
}

/// Keys that were written already, whatever the quotes.
#[derive(Debug, Default)]
pub(super) struct Keys(HashMap<String, Span>);

impl Keys {
    /// False, and told, when the key is there a second time.
    pub(super) fn add(&mut self, reader: &mut Reader<'_>, key: &str, place: Span) -> bool {
        let Some(first) = self.0.insert(key.to_owned(), place) else {
            return true;
        };
        reader.report(
            Diagnostic::error(Code::DuplicateKey, format!("`{key}` is there twice"))
                .at(place, "again here")
                .at(first, "first here")
                .help("with and without quotes it is the same key: keep one of them"),
        );
        false
    }
}

/// A key inside the table at a key, as Kafka writes it.
pub(super) fn dotted(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// A plain value as Kafka's text; `None` for what is none, and for numbers of more than 64 bits.
pub(super) fn scalar(node: &Node<'_>) -> Option<String> {
    match node.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Float(float) => Some(float.as_str().to_owned()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .map(|value| value.to_string()),
        _ => None,
    }
}

#[derive(Default)]
struct Flat {
    values: IndexMap<String, Spanned<String>>,
    keys: Keys,
}

impl Flat {
    /// `retention.ms = 1` is a table in a table for TOML, and one key for Kafka.
    fn add(&mut self, reader: &mut Reader<'_>, prefix: &str, entries: &DeTable<'_>) {
        for (name, value) in entries {
            let key = dotted(prefix, name.get_ref());
            let place = reader.span(name.span());
            if let Some(inner) = value.get_ref().as_table().filter(|table| !table.is_empty()) {
                self.add(reader, &key, inner);
                continue;
            }
            if !self.keys.add(reader, &key, place) {
                continue;
            }
            if let Some(text) = plain(reader, &key, value) {
                warn_if_misspelt(reader, &key, place);
                let span = reader.span(value.span());
                self.values.insert(key, Spanned { value: text, span });
            }
        }
    }
}

/// The value as Kafka's text.
fn plain(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<String> {
    if let Some(text) = scalar(node) {
        return Some(text);
    }
    match node.get_ref() {
        DeValue::Integer(_) => {
            let span = reader.span(node.span());
            reader.report(
                Diagnostic::error(Code::InvalidValue, format!("`{key}` is out of range"))
                    .at(span, "Kafka's numbers have 64 bits"),
            );
            None
        }
        other => {
            let help = other.as_array().map_or_else(
                || format!("write {key:?} = \"VALUE\""),
                |array| {
                    let items: Vec<_> = array
                        .iter()
                        .filter_map(|item| item.get_ref().as_str())
                        .collect();
                    format!("Kafka's lists are one string: {:?}", items.join(","))
                },
            );
            let span = reader.span(node.span());
            reader.report(
                Diagnostic::error(
                    Code::ConfigValue,
                    format!("the topic config `{key}` has to be a plain value"),
                )
                .at(span, format!("this is {}", with_article(other.type_str())))
                .help(help),
            );
            None
        }
    }
}

fn warn_if_misspelt(reader: &mut Reader<'_>, key: &str, place: Span) {
    if KNOWN.contains(&key) {
        return;
    }
    let dotted = key.to_lowercase().replace(['_', '-'], ".");
    let meant = KNOWN.iter().copied().find(|known| *known == dotted);
    if let Some(meant) = meant.or_else(|| nearest(&dotted, KNOWN.iter().copied())) {
        reader.report(
            Diagnostic::warning(
                Code::SuspiciousConfig,
                format!("Apache Kafka has no topic config `{key}`"),
            )
            .at(place, "unknown key")
            .help(format!("did you mean `{meant}`?")),
        );
    }
}
