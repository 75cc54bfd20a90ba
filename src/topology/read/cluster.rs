//! `[clusters.NAME]` and the topics that the file owns there.

use super::reader::{Node, Reader, Table};
use super::references::{self, Sensitivity};
use super::{Draft, Kind, address, check_label, client, config, endpoint};
use crate::topology::codes::Code;
use crate::topology::diagnostic::Diagnostic;
use crate::topology::model::{Cluster, OwnedTopic, Span, Spanned};
use crate::topology::names;

pub(super) fn read(table: &Table<'_, '_>, reader: &mut Reader<'_>, draft: &mut Draft) {
    let Some(misspelt) = table.finish(reader, &[]) else {
        return;
    };
    check_label(table, reader);
    let name = table.name().to_owned();
    draft.cluster_names.insert(name.clone(), table.span);
    let client = client::read(table, reader);
    let servers = match (table.get("bootstrap_servers"), client.bootstrap_servers) {
        (Some(node), _) => bootstrap_servers(reader, node),
        (None, Some(servers)) => servers,
        (None, None) => {
            if !misspelt.contains(&"bootstrap_servers") && !client.file_unknown {
                table.report_missing(reader, "bootstrap_servers");
            }
            Vec::new()
        }
    };
    let mut topics = indexmap::IndexMap::new();
    for topic in table.named(reader, "topics", Kind::OwnedTopic) {
        if let Some(topic) = owned_topic(&topic, reader) {
            topics.insert(topic.name.clone(), topic);
        }
    }
    report_collisions(reader, topics.values());
    let cluster = Cluster {
        title: table
            .get("title")
            .and_then(|node| reader.string("title", node))
            .map(|title| title.value),
        client: client.settings,
        rest: endpoint::read(table, "rest", reader),
        connect: endpoint::read(table, "connect", reader),
        cluster_id: table
            .get("cluster_id")
            .and_then(|node| cluster_id(reader, node)),
        bootstrap_servers: servers.iter().map(|server| server.value.clone()).collect(),
        topics,
        span: table.span,
        name: name.clone(),
    };
    draft
        .addresses
        .extend(servers.into_iter().map(|server| (name.clone(), server)));
    draft.clusters.insert(name, cluster);
}

fn cluster_id(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Spanned<String>> {
    let id = reader.string("cluster_id", node)?;
    if id.value.trim().is_empty() || id.value.contains(char::is_whitespace) {
        reader.report(
            Diagnostic::error(Code::InvalidValue, "`cluster_id` is no cluster id")
                .at(id.span, "empty, or with a blank")
                .help("leave it out, or copy the id that the cluster reports"),
        );
        return None;
    }
    Some(id)
}

fn bootstrap_servers(reader: &mut Reader<'_>, node: &Node<'_>) -> Vec<Spanned<String>> {
    const KEY: &str = "bootstrap_servers";
    let mut servers: Vec<Spanned<String>> = Vec::new();
    let strings: Vec<&Node<'_>> = if let Some(array) = node.get_ref().as_array() {
        array.iter().collect()
    } else {
        vec![node]
    };
    if strings.is_empty() {
        let span = reader.span(node.span());
        reader.report(
            Diagnostic::error(Code::BadAddress, "`bootstrap_servers` is empty")
                .at(span, "at least one HOST:PORT is needed"),
        );
    }
    for string in strings {
        if references::is_reference(string) {
            let span = reader.span(string.span());
            // What could not be looked up has been said, or is not to be known here.
            if let Some(text) = references::reference(reader, KEY, string, Sensitivity::Open) {
                for (_, server) in address::split(text.value.expose()) {
                    address::read(reader, server, span, &mut servers);
                }
            }
            continue;
        }
        let Some(list) = string.get_ref().as_str() else {
            let help = "write bootstrap_servers = \"HOST:9092\"".to_owned();
            reader.wrong_type(KEY, string, "a string or an array of strings", Some(help));
            continue;
        };
        for (range, server) in address::split(list) {
            let span = reader.inside(string, range);
            address::read(reader, server, span, &mut servers);
        }
    }
    servers
}

fn owned_topic(table: &Table<'_, '_>, reader: &mut Reader<'_>) -> Option<OwnedTopic> {
    table.finish(reader, &[])?;
    let name = table.name();
    let problem = match names::validate_topic_name(name) {
        Err(why) => Some(why),
        Ok(()) if names::is_reserved_at_destination(name) => {
            Some("brokers and kmirror keep their own state there".to_owned())
        }
        Ok(()) => None,
    };
    if let Some(problem) = problem {
        reader.report(
            Diagnostic::error(
                Code::IllegalTopicName,
                format!("`{name}` cannot be an owned topic"),
            )
            .at(table.span, problem),
        );
        return None;
    }
    let absent = absent(table, reader);
    let partitions = table
        .get("partitions")
        .and_then(|node| reader.count("partitions", node, i32::MAX.into()))
        .map(|count| Spanned {
            value: i32::try_from(count.value).expect("checked to be an i32"),
            span: count.span,
        });
    Some(OwnedTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: replication_factor(table, reader),
        config: config::read(table, reader),
        resets_others: resets_others(table, reader),
        absent,
        span: table.span,
    })
}

/// Where the file says that configs which it does not name are reset.
fn resets_others(table: &Table<'_, '_>, reader: &mut Reader<'_>) -> Option<Span> {
    let words = [("keep", false), ("reset", true)];
    let node = table.get("other_configs")?;
    let rule = reader.word("other_configs", node, &words)?;
    rule.value.then_some(rule.span)
}

/// Where the file says that the topic is to be gone. Topics have no other life cycle.
fn absent(table: &Table<'_, '_>, reader: &mut Reader<'_>) -> Option<Span> {
    let words = [("active", false), ("absent", true), ("paused", false)];
    let node = table.get("state")?;
    let state = reader.word("state", node, &words)?;
    let written = node.get_ref().as_str().unwrap_or_default();
    if written == "paused" {
        reader.report(
            Diagnostic::error(
                Code::NotCarriedOut,
                "`state = \"paused\"` of an owned topic is not carried out",
            )
            .at(state.span, "a topic has nothing to pause")
            .help("leave it out; mirrors and links can be paused"),
        );
    }
    state.value.then_some(state.span)
}

pub(super) fn replication_factor(
    table: &Table<'_, '_>,
    reader: &mut Reader<'_>,
) -> Option<Spanned<i16>> {
    table
        .get("replication_factor")
        .and_then(|node| reader.count("replication_factor", node, i16::MAX.into()))
        .map(|count| Spanned {
            value: i16::try_from(count.value).expect("checked to be an i16"),
            span: count.span,
        })
}

fn report_collisions<'a>(reader: &mut Reader<'_>, topics: impl Iterator<Item = &'a OwnedTopic>) {
    let mut seen: indexmap::IndexMap<String, &OwnedTopic> = indexmap::IndexMap::new();
    for topic in topics {
        match seen.get(&names::collision_key(&topic.name)) {
            None => {
                seen.insert(names::collision_key(&topic.name), topic);
            }
            Some(first) => reader.report(
                Diagnostic::error(
                    Code::CollidingTopics,
                    format!("`{}` and `{}` collide", topic.name, first.name),
                )
                .at(topic.span, "brokers refuse the second of the two")
                .at(first.span, "this one")
                .help("to a broker `.` and `_` are the same in topic names"),
            ),
        }
    }
}
