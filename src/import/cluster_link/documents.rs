//! Rows about links, configs and mirror topics, whoever printed them.
//!
//! REST answers `{"kind": …, "data": […]}` or one object; the command line prints an array or one
//! object, with names of its own. A row is known by its keys.

use indexmap::IndexMap;

use super::super::ImportError;
use super::super::input::Input;
use super::super::json::{Kind, Node};
use super::super::model::Place;
use super::super::settings::{Settings, is_plain_name};
use super::Document;

/// What is known about a link.
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) source_id: Option<String>,
    pub(super) destination_id: Option<String>,
    pub(super) remote_id: Option<String>,
    /// The id of the cluster that holds the link.
    pub(super) local_id: Option<String>,
    /// Those that somebody set. What is masked has no value.
    pub(super) configs: Settings,
    pub(super) mirrors: Vec<Mirror>,
    /// Names of mirror topics, where nothing more is known about them.
    pub(super) topics: Vec<(String, Place)>,
}

pub(super) struct Mirror {
    pub(super) source: String,
    pub(super) name: String,
    /// In upper case.
    pub(super) status: String,
    pub(super) place: Place,
}

/// All links of the documents.
///
/// # Errors
/// A document is no JSON, has rows that say nothing, or it is not clear which link they are about.
pub(super) fn read(documents: &[Document]) -> Result<Vec<Facts>, ImportError> {
    let mut links: IndexMap<String, Facts> = IndexMap::new();
    let mut nameless = Vec::new();
    for document in documents {
        let input = &document.input;
        let root = Node::read(input)?;
        let rows = rows(&root);
        if rows.iter().any(|row| !is_about_links(row)) {
            return Err(ImportError::new(root.place(input), "this says nothing about cluster links").hint(
                "it takes what `confluent kafka link list`, `link configuration list` and `mirror list` print with -o json, \
                 and what the REST API answers about links, their configs and mirrors",
            ));
        }
        for row in rows {
            let name = row
                .text("link_name")
                .or(link_name(row))
                .or(document.link.as_deref());
            match name {
                Some(name) => {
                    let name = checked(name, row, input)?;
                    let facts = links
                        .entry(name.to_owned())
                        .or_insert_with(|| new(name, row.place(input)));
                    add(facts, row, input)?;
                }
                // The leftover of a link whose other half was deleted.
                None if row.get("link_name").is_some() => {}
                None => nameless.push((row.clone(), input)),
            }
        }
    }
    for (row, input) in nameless {
        let only = if links.len() == 1 {
            links.values_mut().next()
        } else {
            None
        };
        let Some(facts) = only else {
            return Err(ImportError::new(
                row.place(input),
                "it is not clear which link this is about",
            )
            .hint("write LINK=FILE, such as my-link=configs.json"));
        };
        add(facts, &row, input)?;
    }
    Ok(links.into_values().collect())
}

/// A name that may stand in messages.
fn checked<'n>(name: &'n str, row: &Node, input: &Input) -> Result<&'n str, ImportError> {
    if is_plain_name(name) {
        Ok(name)
    } else {
        Err(ImportError::new(
            row.place(input),
            "this is no name of a link",
        ))
    }
}

fn new(name: &str, place: Place) -> Facts {
    Facts {
        name: name.to_owned(),
        place,
        source_id: None,
        destination_id: None,
        remote_id: None,
        local_id: None,
        configs: Settings::default(),
        mirrors: Vec::new(),
        topics: Vec::new(),
    }
}

fn rows(root: &Node) -> Vec<&Node> {
    let node = root.get("data").unwrap_or(root);
    match &node.kind {
        Kind::Array(items) => items.iter().collect(),
        Kind::Object(_) => vec![node],
        Kind::Scalar(_) => vec![root],
    }
}

fn is_mirror(row: &Node) -> bool {
    row.get("mirror_topic_name").is_some()
}

fn config_name(row: &Node) -> Option<&str> {
    row.text("config_name").or_else(|| {
        let is_config = ["value", "synonyms", "is_sensitive", "sensitive"]
            .iter()
            .any(|key| row.get(key).is_some());
        row.text("name").filter(|_| is_config)
    })
}

/// The name of a row about a link itself, under an older key.
fn link_name(row: &Node) -> Option<&str> {
    let is_link = config_name(row).is_none() && row.get("source_cluster_id").is_some();
    row.text("name").filter(|_| is_link)
}

fn is_about_links(row: &Node) -> bool {
    row.is_object()
        && (row.get("link_name").is_some()
            || config_name(row).is_some()
            || link_name(row).is_some())
}

fn add(facts: &mut Facts, row: &Node, input: &Input) -> Result<(), ImportError> {
    let id = |keys: [&str; 2]| {
        let id = keys.iter().find_map(|key| row.text(key));
        id.filter(|id| is_plain_name(id)).map(str::to_owned)
    };
    let place = row.place(input);
    if is_mirror(row) {
        let name = row.text("mirror_topic_name").unwrap_or_default();
        facts.mirrors.push(Mirror {
            // An older server has no other name for it.
            source: row.text("source_topic_name").unwrap_or(name).to_owned(),
            name: name.to_owned(),
            status: row.text("mirror_status").unwrap_or("ACTIVE").to_uppercase(),
            place,
        });
        return Ok(());
    }
    if let Some(name) = config_name(row) {
        add_config(facts, name, row, place);
        return Ok(());
    }
    facts.source_id = id(["source_cluster_id", "source_cluster"]).or(facts.source_id.take());
    facts.destination_id =
        id(["destination_cluster_id", "destination_cluster"]).or(facts.destination_id.take());
    facts.remote_id = id(["remote_cluster_id", "remote_cluster"]).or(facts.remote_id.take());
    let topics = row.get("topic_names").map(Node::items).unwrap_or_default();
    let names = topics
        .iter()
        .filter_map(Node::as_str)
        .chain(row.text("topic_name"));
    facts
        .topics
        .extend(names.map(|name| (name.to_owned(), place.clone())));
    Ok(())
}

fn add_config(facts: &mut Facts, name: &str, row: &Node, place: Place) {
    let value = row.get("config_value").or(row.get("value"));
    let value = value.and_then(Node::plain).unwrap_or_default();
    // The command line's own row.
    if name == "dest.cluster.id" {
        facts.local_id = Some(value).filter(|id| is_plain_name(id));
        return;
    }
    if let Some(id) = row.text("cluster_id").filter(|id| is_plain_name(id)) {
        facts.local_id = Some(id.to_owned());
    }
    let flag = |keys: [&str; 2]| keys.iter().find_map(|key| row.get(key)?.as_bool());
    let source = row.text("source").unwrap_or_default();
    let is_set = match source {
        "DYNAMIC_CLUSTER_LINK_CONFIG" => true,
        "DEFAULT_CONFIG" => false,
        _ => flag(["is_default", "default"]) != Some(true),
    };
    let is_secret = flag(["is_sensitive", "sensitive"]) == Some(true);
    if is_set && (!value.is_empty() || is_secret) {
        facts.configs.set(name, value, place);
    }
}
