//! A file as a flat list of what it says of each thing.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Secret, Shown, Thing};
use crate::topology::diagnostic::Places;
use crate::topology::model::FileId;
use crate::topology::read::keys::Kind;

type Node<'d> = Spanned<DeValue<'d>>;

/// Everything that a file says.
#[derive(Debug, Default)]
pub(super) struct Outline {
    pub items: BTreeMap<Thing, Item>,
}

/// What it says of one thing.
#[derive(Debug, Default)]
pub(super) struct Item {
    pub line: u32,
    pub column: u32,
    /// The former name of a link.
    pub moved: Option<String>,
    /// By dotted key.
    pub keys: BTreeMap<String, Setting>,
}

/// A value with its place.
#[derive(Debug)]
pub(super) struct Setting {
    pub shown: Shown,
    /// What is compared; it may hold a secret.
    meaning: Shown,
    pub line: u32,
    pub column: u32,
}

impl Setting {
    pub fn is_same(&self, other: &Self, key: &str) -> bool {
        if is_set(key) {
            return as_set(&self.meaning) == as_set(&other.meaning);
        }
        self.meaning == other.meaning
    }

    pub fn is_text(&self, text: &str) -> bool {
        self.meaning == Shown::Text(text.to_owned())
    }
}

/// Whether the order of the values means nothing.
pub(super) fn is_set(key: &str) -> bool {
    matches!(
        key,
        "topics" | "exclude" | "bootstrap_servers" | "groups.include" | "groups.exclude"
    )
}

fn as_set(value: &Shown) -> Vec<String> {
    let mut values = match value {
        Shown::List(values) => values.clone(),
        Shown::Text(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
        Shown::Env { .. } | Shown::File { .. } | Shown::Secret(_) => vec![inline(value)],
    };
    values.sort();
    values.dedup();
    values
}

/// A value in one line, as TOML would have it.
fn inline(value: &Shown) -> String {
    match value {
        Shown::Text(text) => text.clone(),
        Shown::List(values) => format!("[{}]", values.join(", ")),
        Shown::Env { env } => format!("{{ env = {env:?} }}"),
        Shown::File { file } => format!("{{ file = {file:?} }}"),
        Shown::Secret(Secret::Inline) => "(secret)".to_owned(),
    }
}

impl Outline {
    /// `text` is a file without mistakes, `masked` the same with its secrets hidden, byte for byte as long.
    pub fn of(text: &str, masked: &str) -> Self {
        let (document, _) = DeTable::parse_recoverable(text);
        let walk = Walk {
            text,
            masked,
            places: Places::new(FileId::TOPOLOGY, text),
        };
        let mut outline = Self::default();
        for (name, at, cluster) in walk.tables(document.get_ref(), "clusters") {
            for (topic, at, table) in walk.tables(cluster, "topics") {
                let thing = Thing::Topic {
                    cluster: name.clone(),
                    topic,
                };
                outline.items.insert(thing, walk.item(table, at, None));
            }
            let item = walk.item(cluster, at, Some("topics"));
            outline.items.insert(Thing::Cluster(name), item);
        }
        for (name, at, link) in walk.tables(document.get_ref(), "links") {
            for (topic, at, table) in walk.tables(link, "mirrors") {
                let thing = Thing::Mirror {
                    link: name.clone(),
                    topic,
                };
                outline.items.insert(thing, walk.item(table, at, None));
            }
            let mut item = walk.item(link, at, Some("mirrors"));
            item.moved = link
                .get("moved")
                .and_then(|node| node.get_ref().as_str().map(str::to_owned));
            outline.items.insert(Thing::Link(name), item);
        }
        outline
    }
}

struct Walk<'t> {
    text: &'t str,
    masked: &'t str,
    places: Places<'t>,
}

impl<'t> Walk<'t> {
    /// The tables below a key by name, each with the place of its name.
    fn tables<'n, 'd>(
        &self,
        table: &'n DeTable<'d>,
        key: &str,
    ) -> Vec<(String, Range<usize>, &'n DeTable<'d>)> {
        let inner = table.get(key).and_then(|node| node.get_ref().as_table());
        inner
            .into_iter()
            .flatten()
            .filter_map(|(name, node)| {
                let table = node.get_ref().as_table()?;
                Some((name.get_ref().to_string(), name.span(), table))
            })
            .collect()
    }

    fn item(&self, table: &DeTable<'_>, at: Range<usize>, but: Option<&str>) -> Item {
        let (line, column) = self.place(at);
        let mut item = Item {
            line,
            column,
            ..Item::default()
        };
        for (key, node) in table {
            let name = key.get_ref().as_ref();
            if Some(name) != but {
                self.add(&mut item.keys, name, key.span(), node);
            }
        }
        item
    }

    fn add(
        &self,
        keys: &mut BTreeMap<String, Setting>,
        key: &str,
        at: Range<usize>,
        node: &Node<'_>,
    ) {
        if let Some(table) = node.get_ref().as_table()
            && !is_reference(table)
            && key != "rename"
        {
            for (name, inner) in table {
                let name_at = name.span();
                self.add(keys, &format!("{key}.{}", name.get_ref()), name_at, inner);
            }
            return;
        }
        let (line, column) = self.place(at);
        let span = node.span();
        let is_secret = self.text.get(span.clone()) != self.masked.get(span);
        let meaning = value(node);
        let setting = Setting {
            shown: if is_secret {
                Shown::Secret(Secret::Inline)
            } else {
                meaning.clone()
            },
            meaning,
            line,
            column,
        };
        keys.insert(key.to_owned(), setting);
    }

    fn place(&self, at: Range<usize>) -> (u32, u32) {
        let span = self.places.span(at);
        (span.line, span.column)
    }
}

/// Whether a table stands for a value that is elsewhere.
fn is_reference(table: &DeTable<'_>) -> bool {
    !table.is_empty() && table.keys().all(|key| Kind::Reference.knows(key.get_ref()))
}

fn value(node: &Node<'_>) -> Shown {
    match node.get_ref() {
        DeValue::Array(values) => Shown::List(values.iter().map(item_text).collect()),
        DeValue::Table(table) if is_reference(table) => {
            let text = |key: &str| table.get(key).and_then(|node| node.get_ref().as_str());
            match (text("env"), text("file")) {
                (Some(env), _) => Shown::Env {
                    env: env.to_owned(),
                },
                (None, Some(file)) => Shown::File {
                    file: file.to_owned(),
                },
                (None, None) => Shown::Text(table_text(table)),
            }
        }
        _ => Shown::Text(item_text(node)),
    }
}

/// A value inside of another one.
fn item_text(node: &Node<'_>) -> String {
    match node.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Float(float) => float.as_str().to_owned(),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| integer.as_str().to_owned(), |value| value.to_string()),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(values) => {
            let values: Vec<_> = values.iter().map(item_text).collect();
            format!("[{}]", values.join(", "))
        }
        DeValue::Table(table) => match table.get("regex").filter(|_| table.len() == 1) {
            Some(regex) => format!("regex {}", item_text(regex)),
            None => table_text(table),
        },
    }
}

fn table_text(table: &DeTable<'_>) -> String {
    let mut pairs: Vec<_> = table
        .iter()
        .map(|(key, node)| format!("{} = {:?}", key.get_ref(), item_text(node)))
        .collect();
    pairs.sort();
    format!("{{ {} }}", pairs.join(", "))
}
