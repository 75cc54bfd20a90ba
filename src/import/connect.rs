//! What all connectors of a Connect cluster have in common: the forms in which they are handed
//! around, and settings that belong to Connect itself.

use super::ImportError;
use super::input::Input;
use super::json::{Kind, Node};
use super::model::{LinkDraft, Place, Rename};
use super::patterns;
use super::settings::{Rule, Settings};

pub(super) const WORKER: &str = "there is no Connect worker";
pub(super) const TASKS: &str = "any number of workers share the partitions";
pub(super) const BYTES: &str = "records are copied as bytes";
pub(super) const LAYOUT: &str = "the clusters' tables say how they are reached";
const ONCE: &str = "every record is written once";

/// Settings of Connect's own.
pub(super) const RULES: &[Rule] = &[
    Rule::unneeded("name", WORKER),
    Rule::unneeded("enabled", WORKER),
    Rule::unneeded("connector.class", WORKER),
    Rule::unneeded("tasks.max", TASKS),
    Rule::unneeded("tasks.max.enforce", TASKS),
    Rule::unneeded("exactly.once.*", ONCE),
    Rule::unneeded("transaction.boundary*", ONCE),
    Rule::unneeded("offsets.storage.topic", ONCE),
    Rule::unneeded("config.action.reload", WORKER),
    Rule::unneeded(
        "config.providers*",
        "a reference of the topology file is { env = … } or { file = … }",
    ),
    Rule::unneeded("config.storage.*", WORKER),
    Rule::unneeded("offset.storage.*", WORKER),
    Rule::unneeded("status.storage.*", WORKER),
    Rule::unneeded("offset.flush.*", WORKER),
    Rule::unneeded("offset.storage.partitions", WORKER),
    Rule::unneeded("group.id", WORKER),
    Rule::unneeded("listeners*", WORKER),
    Rule::unneeded("rest.*", WORKER),
    Rule::unneeded("admin.listeners*", WORKER),
    Rule::unneeded("plugin.*", WORKER),
    Rule::unneeded("internal.*", WORKER),
    Rule::unneeded("worker.*", WORKER),
    Rule::unneeded("connect.protocol", WORKER),
    Rule::unneeded("connector.client.config.override.policy", WORKER),
    Rule::unneeded("dedicated.mode.*", WORKER),
    Rule::unneeded("heartbeat.interval.ms", WORKER),
    Rule::unneeded("session.timeout.ms", WORKER),
    Rule::unneeded("rebalance.timeout.ms", WORKER),
    Rule::unneeded("scheduled.rebalance.max.delay.ms", WORKER),
    Rule::unneeded("task.shutdown.*", WORKER),
    Rule::unneeded(
        "topic.creation.*",
        "mirrors are created with what their sources have",
    ),
    Rule::unneeded("metric*", "kmirror has no Java metrics"),
    Rule::unneeded("auto.include.jmx.reporter", "kmirror has no Java metrics"),
    Rule::unneeded("producer.*", "batches are copied as they are"),
    Rule::unneeded("consumer.*", "batches are copied as they are"),
    Rule::unneeded("admin.*", WORKER),
    Rule::lost(
        "errors.*",
        "a mirror whose records cannot be written stops and says why; nothing is skipped",
        "nothing: there are no records that a byte copy could not convert",
    ),
];

/// The settings that choose a form for records, which are copied as they are.
pub(super) const REPLICATOR_CONVERTERS: &[&str] = &[
    "key.converter",
    "value.converter",
    "header.converter",
    "src.key.converter",
    "src.value.converter",
    "src.header.converter",
];

/// A connector as it was found.
pub(super) struct Connector {
    pub(super) name: Option<String>,
    pub(super) settings: Settings,
    pub(super) place: Place,
    pub(super) paused: bool,
}

/// The connectors of a document: one as it is posted (`name` and `config`), a bare config, an array
/// of either, or what `GET /connectors?expand=info` answers.
///
/// # Errors
/// It is none of these.
pub(super) fn connectors(root: &Node, input: &Input) -> Result<Vec<Connector>, ImportError> {
    let mut found = Vec::new();
    let nodes: Vec<&Node> = match &root.kind {
        Kind::Array(items) => items.iter().collect(),
        Kind::Object(entries)
            if !entries.is_empty()
                && entries.iter().all(|(_, node)| node.get("info").is_some()) =>
        {
            for (_, node) in entries {
                let Some(info) = node.get("info") else {
                    continue;
                };
                let state = node
                    .get("status")
                    .and_then(|status| status.get("connector")?.text("state"));
                let mut connector = one(info, input)?;
                connector.paused = matches!(state, Some("PAUSED" | "STOPPED"));
                found.push(connector);
            }
            return Ok(found);
        }
        _ => vec![root],
    };
    for node in nodes {
        found.push(one(node, input)?);
    }
    if found.is_empty() {
        return Err(no_connector(input.place(0)));
    }
    Ok(found)
}

fn one(node: &Node, input: &Input) -> Result<Connector, ImportError> {
    let config = match node.get("config") {
        Some(config) if config.is_object() => config,
        _ => node,
    };
    if !config.is_object() || config.get("connector.class").is_none() {
        return Err(no_connector(node.place(input)));
    }
    let state = node.text("initial_state");
    Ok(Connector {
        name: node.text("name").map(str::to_owned),
        settings: Settings::of_json(config, input),
        place: node.place(input),
        paused: matches!(state, Some("PAUSED" | "STOPPED")),
    })
}

fn no_connector(place: Place) -> ImportError {
    ImportError::new(place, "there is no connector here").hint(
        "a connector is an object with `name` and `config`, or the config alone, with `connector.class` in it",
    )
}

/// Takes the connector's class and checks that it is one of these.
///
/// # Errors
/// It is another.
pub(super) fn expect_class(
    settings: &mut Settings,
    classes: &[&str],
    place: &Place,
    command: &str,
) -> Result<String, ImportError> {
    let class = settings.take("connector.class");
    let written = class.as_ref().map_or("", |class| class.value.trim());
    // Connect takes the last part alone, too, with or without its ending.
    let short = |class: &str| {
        let last = class.rsplit('.').next().unwrap_or_default().to_owned();
        last.strip_suffix("Connector").unwrap_or(&last).to_owned()
    };
    let found = classes.iter().find(|class| {
        **class == written || (!written.contains('.') && short(class) == short(written))
    });
    if let Some(found) = found {
        return Ok((*found).to_owned());
    }
    let other = [
        ("Replicator", "replicator"),
        ("org.apache.kafka.connect.mirror.", "mirrormaker2"),
    ]
    .into_iter()
    .find(|(word, other)| written.contains(word) && *other != command);
    let place = class
        .as_ref()
        .map_or_else(|| place.clone(), |class| class.place.clone());
    let error = ImportError::new(place, "the connector is of another class");
    Err(match other {
        Some((_, other)) => error.hint(format!("use kmirror import {other}")),
        None => error.hint(format!("this reads {}", classes.join(", "))),
    })
}

/// Takes the converters, which make no difference as long as they keep records as they are.
pub(super) fn converters(link: &mut LinkDraft, settings: &mut Settings, keys: &[&str]) {
    for key in keys {
        let Some(setting) = settings.take(key) else {
            continue;
        };
        // Options of the converter go with it.
        settings.take_prefixed(&format!("{key}."));
        if setting.value.trim().ends_with(".ByteArrayConverter") {
            continue;
        }
        link.findings.push(
            setting
                .lost("records are copied as bytes, and not converted")
                .instead("nothing, if both clusters are to hold the same bytes"),
        );
    }
}

const ROUTER: &str = "org.apache.kafka.connect.transforms.RegexRouter";

/// Takes the transforms. A single `RegexRouter` of names that are otherwise kept is a rename.
pub(super) fn transforms(link: &mut LinkDraft, settings: &mut Settings) {
    // Without a transform, no predicate is asked.
    settings.take("predicates");
    settings.take_prefixed("predicates.");
    let Some((names, list)) = settings.take_list("transforms") else {
        return;
    };
    let mut all = settings.take_prefixed("transforms.");
    if names.is_empty() {
        return;
    }
    if let [name] = names.as_slice() {
        let mut one = all.take_prefixed(&format!("{name}."));
        let is_router = one
            .take("type")
            .is_some_and(|class| class.value.trim() == ROUTER);
        let is_conditional = one.get("predicate").is_some();
        if let (true, false, None, Some(regex), Some(to)) = (
            is_router,
            is_conditional,
            &link.rename,
            one.take("regex"),
            one.take("replacement"),
        ) {
            let rule = patterns::regex(&regex.value)
                .and_then(|regex| Ok((regex, patterns::replacement(&to.value)?)));
            match rule {
                Ok(rule) => link.rename = Some(Rename::Rules(vec![rule])),
                Err(why) => link.findings.push(
                    regex
                        .lost(why)
                        .instead("write the link's `rename`, or `as` for each mirror")
                        .near("rename"),
                ),
            }
            return;
        }
    }
    link.findings.push(
        list.lost("records are copied as they are, without transforms")
            .instead("where they rename topics, write the link's `rename`, or `as` for each mirror")
            .near("rename"),
    );
}
