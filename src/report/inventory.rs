//! Links, mirrors and replicas as people read them.

use std::fmt::Write as _;

use super::{clean, grouped};
use crate::inventory::{LinkView, MirrorView, PartitionView, ReplicaView};

/// What is not known.
pub(super) const UNKNOWN: &str = "-";

/// Columns that are as wide as they need to be.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).max(name.len())
        })
        .collect();
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn number(value: Option<i64>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), grouped)
}

pub(super) fn count(value: Option<u64>) -> String {
    number(value.and_then(|value| i64::try_from(value).ok()))
}

fn word(value: Option<&str>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), clean)
}

/// The remote cluster's name in the file, or its id.
fn remote(link: &LinkView) -> String {
    let name = link.remote_cluster.as_deref();
    word(name.or(link.remote_cluster_id.as_deref()))
}

/// One line a link.
pub fn links(links: &[LinkView]) -> String {
    if links.is_empty() {
        return "No links.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = links
        .iter()
        .map(|link| {
            vec![
                clean(&link.link_name),
                link.cluster.clone(),
                remote(link),
                clean(&link.link_mode),
                word(link.link_state.as_deref()),
                link.engine.to_owned(),
                word(link.owner),
                link.mirror_topics.len().to_string(),
            ]
        })
        .collect();
    let head = [
        "LINK", "CLUSTER", "REMOTE", "MODE", "STATE", "ENGINE", "OWNER", "MIRRORS",
    ];
    table(&head, &rows)
}

/// Everything about a link.
pub fn link(link: &LinkView) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<18} {value}");
    };
    line("Link", clean(&link.link_name));
    line("Link id", word(link.link_id.as_deref()));
    line("Engine", link.engine.to_owned());
    line("Owner", word(link.owner));
    line(
        "Cluster",
        format!("{} ({})", link.cluster, clean(&link.cluster_id)),
    );
    let id = word(link.remote_cluster_id.as_deref());
    line(
        "Remote cluster",
        match &link.remote_cluster {
            Some(name) => format!("{name} ({id})"),
            None => id,
        },
    );
    if let Some(platform) = &link.platform {
        line("Brokers", platform.clone());
    }
    line("Link mode", clean(&link.link_mode));
    line("Link state", word(link.link_state.as_deref()));
    if let Some(error) = &link.link_error {
        line("Link error", clean(error));
    }
    let topics: Vec<String> = link.mirror_topics.iter().map(|it| clean(it)).collect();
    line(
        "Mirror topics",
        match topics.is_empty() {
            true => "none".to_owned(),
            false => topics.join(", "),
        },
    );
    let rows: Vec<Vec<String>> = link
        .configs
        .iter()
        .map(|config| {
            let value = match (&config.value, config.is_sensitive, config.is_default) {
                (Some(value), ..) if value.is_empty() => "\"\"".to_owned(),
                (Some(value), ..) => clean(value),
                (None, true, false) => "(sensitive)".to_owned(),
                (None, ..) => UNKNOWN.to_owned(),
            };
            let default = match config.default.as_deref() {
                Some("") => "\"\"".to_owned(),
                other => word(other),
            };
            vec![clean(&config.name), value, clean(&config.source), default]
        })
        .collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&["CONFIG", "VALUE", "SOURCE", "DEFAULT"], &rows));
    }
    text
}

/// One line a mirror topic.
pub fn mirrors(mirrors: &[MirrorView]) -> String {
    if mirrors.is_empty() {
        return "No mirror topics.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = mirrors
        .iter()
        .map(|mirror| {
            vec![
                clean(&mirror.mirror_topic_name),
                mirror.cluster.clone(),
                clean(&mirror.link_name),
                clean(&mirror.source_topic_name),
                clean(&mirror.mirror_status),
                mirror.partitions.len().to_string(),
                count(mirror.lag()),
                word(mirror.mirror_topic_error.as_deref()),
            ]
        })
        .collect();
    let head = [
        "MIRROR TOPIC",
        "CLUSTER",
        "LINK",
        "SOURCE TOPIC",
        "STATE",
        "PARTITIONS",
        "LAG",
        "ERROR",
    ];
    table(&head, &rows)
}

/// A mirror topic and its partitions.
pub fn mirror(mirror: &MirrorView, now_ms: i64) -> String {
    let mut text = format!(
        "Topic: {}  Cluster: {}  Link: {}  Source topic: {}  State: {}",
        clean(&mirror.mirror_topic_name),
        mirror.cluster,
        clean(&mirror.link_name),
        clean(&mirror.source_topic_name),
        clean(&mirror.mirror_status),
    );
    let age = mirror
        .state_time_ms
        .map(|since| now_ms.saturating_sub(since));
    if let Some(age) = age.and_then(super::duration) {
        let _ = write!(text, " for {age}");
    }
    if let Some(error) = &mirror.mirror_topic_error {
        let _ = write!(text, "  Error: {}", clean(error));
    }
    text.push('\n');
    if let Some(message) = &mirror.message {
        let _ = writeln!(text, "  {}", clean(message));
    }
    let rows: Vec<Vec<String>> = mirror
        .partitions
        .iter()
        .map(|partition: &PartitionView| {
            vec![
                format!("  {}", partition.partition),
                match partition.failure {
                    Some(_) => "FAILED".to_owned(),
                    None => clean(&mirror.mirror_status),
                },
                number(partition.local_log_end_offset),
                number(partition.source_end_offset),
                number(partition.last_source_fetch_offset),
                count(partition.lag),
            ]
        })
        .collect();
    let head = [
        "  PARTITION",
        "STATE",
        "LOCAL END",
        "SOURCE END",
        "LAST FETCHED",
        "LAG",
    ];
    text.push_str(&table(&head, &rows));
    for partition in &mirror.partitions {
        if let Some(failure) = &partition.failure {
            let _ = writeln!(
                text,
                "  partition {}: {}",
                partition.partition,
                clean(failure)
            );
        }
    }
    text
}

fn yes(value: bool) -> String {
    if value { "true" } else { "false" }.to_owned()
}

/// One line a replica, with the columns of `kafka-replica-status` as far as Kafka's protocol tells them.
pub fn replicas(replicas: &[ReplicaView]) -> String {
    if replicas.is_empty() {
        return "No mirror topics.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = replicas
        .iter()
        .map(|replica| {
            vec![
                clean(&replica.topic),
                replica.partition.to_string(),
                replica.replica.to_string(),
                word(replica.cluster_link.as_deref()),
                yes(replica.is_leader),
                yes(replica.is_in_isr),
                replica.is_caught_up.map_or_else(|| UNKNOWN.to_owned(), yes),
                number(replica.offset_lag),
                number(replica.log_start_offset),
                number(replica.log_end_offset),
                replica.cluster.clone(),
            ]
        })
        .collect();
    let head = [
        "Topic",
        "Partition",
        "Replica",
        "ClusterLink",
        "IsLeader",
        "IsInIsr",
        "IsCaughtUp",
        "OffsetLag",
        "LogStartOffset",
        "LogEndOffset",
        "Cluster",
    ];
    table(&head, &rows)
}
