//! The topology file of a draft.
//!
//! Written in the order in which people read it, with what could not be taken over as comments at
//! the place that they concern, and laid out by the formatter that `kmirror fmt` uses.

use std::fmt::Write as _;
use std::path::Path;

use indexmap::IndexMap;

use super::model::{
    Bootstrap, ClientValue, ClusterDraft, Draft, Fate, Finding, LinkDraft, MirrorDraft, OwnedDraft,
    Rename, Selector, StartDraft, StateDraft,
};
use crate::topology::format::{FormatError, format};

/// Columns of a comment.
const WIDTH: usize = 100;

/// The text of the file.
///
/// # Errors
/// What was written is no TOML: a mistake of kmirror's own.
pub fn write(draft: &Draft) -> Result<String, FormatError> {
    let mut out = String::new();
    for line in &draft.header {
        comment(&mut out, line);
    }
    comments(&mut out, &draft.findings, None);
    out.push_str("\nkmirror = 1\n");
    for cluster in &draft.clusters {
        write_cluster(&mut out, cluster);
    }
    for link in &draft.links {
        write_link(&mut out, link);
    }
    format(Path::new("import"), &out)
}

fn write_cluster(out: &mut String, cluster: &ClusterDraft) {
    let mut table = Table::begin(out, &["clusters", &cluster.name], &cluster.findings);
    if let Some(title) = &cluster.title {
        table.put("title", &string(title));
    }
    match &cluster.bootstrap {
        Some(Bootstrap::Servers(servers)) if servers.len() == 1 => {
            table.put("bootstrap_servers", &string(&servers[0]));
        }
        Some(Bootstrap::Servers(servers)) => {
            table.put(
                "bootstrap_servers",
                &array(servers.iter().map(|server| string(server))),
            );
        }
        Some(Bootstrap::Env(name)) => table.put("bootstrap_servers", &reference(name)),
        None => {}
    }
    if let Some(path) = &cluster.properties_file {
        table.put("properties_file", &string(path));
    }
    if let Some(id) = &cluster.cluster_id {
        table.put("cluster_id", &string(id));
    }
    table.end(|near| near == "client" || near.starts_with("client."));
    if cluster.client.is_empty() {
        comments(out, &cluster.findings, Some("client"));
    } else {
        header(out, &["clusters", &cluster.name, "client"]);
        comments(out, &cluster.findings, Some("client"));
        for (key, value) in &cluster.client {
            comments(out, &cluster.findings, Some(&format!("client.{key}")));
            let value = match value {
                ClientValue::Plain(text) => string(text),
                ClientValue::Env(name) => reference(name),
            };
            // `a` beside `a.b` would be a value and a table.
            let below = format!("{key}.");
            let is_above = cluster.client.keys().any(|other| other.starts_with(&below));
            let key = if is_above { quoted(key) } else { dotted(key) };
            let _ = writeln!(out, "{key} = {value}");
        }
    }
    for (name, topic) in &cluster.topics {
        write_topic(out, &cluster.name, name, topic);
    }
}

fn write_topic(out: &mut String, cluster: &str, name: &str, topic: &OwnedDraft) {
    let mut table = Table::begin(out, &["clusters", cluster, "topics", name], &[]);
    if let Some(partitions) = topic.partitions {
        table.put("partitions", &partitions.to_string());
    }
    if let Some(factor) = topic.replication_factor {
        table.put("replication_factor", &factor.to_string());
    }
    table.put_config(&topic.config);
}

fn write_link(out: &mut String, link: &LinkDraft) {
    let mut table = Table::begin(out, &["links", &link.name], &link.findings);
    table.put("source", &string(&link.source));
    table.put("destination", &string(&link.destination));
    if !link.topics.is_empty() {
        table.put("topics", &selectors(&link.topics));
    }
    if !link.exclude.is_empty() {
        table.put("exclude", &selectors(&link.exclude));
    }
    if let Some(rename) = &link.rename {
        table.put("rename", &rename_rule(rename));
    }
    if let Some(auto_create) = link.auto_create {
        table.put("auto_create", if auto_create { "true" } else { "false" });
    }
    match &link.start {
        Some(StartDraft::Latest) => table.put("start", "\"latest\""),
        Some(StartDraft::Time(time)) => table.put("start", &string(time)),
        None => {}
    }
    if link.original_timestamps {
        table.put("timestamps", "\"original\"");
    }
    if link.translated_offsets {
        table.put("offsets", "\"translate\"");
    }
    if let Some((larger_than, then)) = link.on_hole {
        let policy = format!("{{ larger_than = {larger_than}, then = \"{then}\" }}");
        table.put("on_hole", &policy);
    }
    if link.shared_topics {
        table.put("on_foreign_write", "\"translate\"");
    }
    if link.provenance_header {
        table.put("provenance_header", "true");
    }
    if let Some(factor) = link.replication_factor {
        table.put("replication_factor", &factor.to_string());
    }
    if let Some(bytes) = link.bytes_per_second {
        table.put("limit", &format!("{{ bytes_per_second = {bytes} }}"));
    }
    if link.acks_one {
        table.put("config", "{ acks = \"1\" }");
    }
    if link.paused {
        table.put("state", "\"paused\"");
    }
    table.end(|_| false);
    for (topic, mirror) in &link.mirrors {
        write_mirror(out, &link.name, topic, mirror);
    }
}

fn write_mirror(out: &mut String, link: &str, topic: &str, mirror: &MirrorDraft) {
    let mut table = Table::begin(out, &["links", link, "mirrors", topic], &mirror.findings);
    if let Some(name) = &mirror.rename_to {
        table.put("as", &string(name));
    }
    match mirror.state {
        Some(StateDraft::Active) => table.put("state", "\"active\""),
        Some(StateDraft::Paused) => table.put("state", "\"paused\""),
        Some(StateDraft::Absent) => table.put("state", "\"absent\""),
        Some(StateDraft::Promoted) => table.put("state", "\"promoted\""),
        Some(StateDraft::FailedOver) => table.put("state", "\"failed-over\""),
        None => {}
    }
    if let Some(factor) = mirror.replication_factor {
        table.put("replication_factor", &factor.to_string());
    }
    table.put_config(&mirror.config);
    table.end(|_| false);
}

/// A table that is being written.
struct Table<'o, 'f> {
    out: &'o mut String,
    findings: &'f [Finding],
    written: Vec<&'static str>,
}

impl<'o, 'f> Table<'o, 'f> {
    fn begin(out: &'o mut String, path: &[&str], findings: &'f [Finding]) -> Self {
        header(out, path);
        comments(out, findings, None);
        Self {
            out,
            findings,
            written: Vec::new(),
        }
    }

    /// A key, with what is to be said about it above.
    fn put(&mut self, key: &'static str, value: &str) {
        comments(self.out, self.findings, Some(key));
        let _ = writeln!(self.out, "{key} = {value}");
        self.written.push(key);
    }

    fn put_config(&mut self, config: &IndexMap<String, String>) {
        if config.is_empty() {
            return;
        }
        let entries: Vec<_> = config
            .iter()
            .map(|(key, value)| format!("{} = {}", quoted(key), string(value)))
            .collect();
        self.put("config", &format!("{{ {} }}", entries.join(", ")));
    }

    /// What was to be said about keys that are not there. What is `elsewhere` is said there.
    fn end(self, elsewhere: impl Fn(&str) -> bool) {
        let mut seen: Vec<&str> = Vec::new();
        for near in self
            .findings
            .iter()
            .filter_map(|finding| finding.near.as_deref())
        {
            if !self.written.contains(&near) && !elsewhere(near) && !seen.contains(&near) {
                seen.push(near);
                comments(self.out, self.findings, Some(near));
            }
        }
    }
}

fn header(out: &mut String, path: &[&str]) {
    let path: Vec<_> = path.iter().map(|part| quoted_unless_bare(part)).collect();
    let _ = writeln!(out, "\n[{}]", path.join("."));
}

/// The findings that belong here, as comments.
fn comments(out: &mut String, findings: &[Finding], near: Option<&str>) {
    for finding in findings
        .iter()
        .filter(|finding| finding.near.as_deref() == near)
    {
        let (subject, why) = (finding.subject(), &finding.why);
        let text = match (finding.fate, &finding.instead) {
            (Fate::Unneeded, _) => continue,
            (Fate::Lost, Some(instead)) => {
                format!("NOT CARRIED OVER: {subject}: {why}. Instead: {instead}.")
            }
            (Fate::Lost, None) => format!("NOT CARRIED OVER: {subject}: {why}."),
            (Fate::ToProvide, Some(instead)) => {
                format!("TO PROVIDE: {subject}: {why}. {instead}.")
            }
            (Fate::ToProvide, None) => format!("TO PROVIDE: {subject}: {why}."),
        };
        comment(out, &text);
    }
}

/// One paragraph, broken into lines. What would steer a terminal or end the comment is replaced.
fn comment(out: &mut String, text: &str) {
    let text: String = text
        .chars()
        .map(|char| {
            if char.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                char
            }
        })
        .collect();
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.len() > 1 && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(line.trim_end());
            out.push_str("\n#");
            line.clear();
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

fn selectors(selectors: &[Selector]) -> String {
    array(selectors.iter().map(|selector| match selector {
        Selector::Name(text) | Selector::Glob(text) => string(text),
        Selector::Regex(pattern) => format!("{{ regex = {} }}", string(pattern)),
    }))
}

fn rename_rule(rename: &Rename) -> String {
    match rename {
        Rename::Template(template) => string(template),
        Rename::Prefix(prefix) => format!("{{ prefix = {} }}", string(prefix)),
        Rename::Rules(rules) => array(
            rules
                .iter()
                .map(|(regex, to)| format!("{{ regex = {}, to = {} }}", string(regex), string(to))),
        ),
    }
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn reference(name: &str) -> String {
    format!("{{ env = {} }}", string(name))
}

/// A literal string where that saves escapes, as for regexes and Windows' paths.
fn string(text: &str) -> String {
    let is_literal = text.contains(['\\', '"'])
        && !text.contains('\'')
        && !text.chars().any(|char| char.is_control());
    if is_literal {
        return format!("'{text}'");
    }
    quoted(text)
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            char if char.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(char));
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

fn is_bare(key: &str) -> bool {
    !key.is_empty()
        && key
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-'))
}

fn quoted_unless_bare(key: &str) -> String {
    if is_bare(key) {
        key.to_owned()
    } else {
        quoted(key)
    }
}

/// A client property as it is written in a table: `sasl.mechanism`.
fn dotted(key: &str) -> String {
    if key.split('.').all(is_bare) {
        key.to_owned()
    } else {
        quoted(key)
    }
}
