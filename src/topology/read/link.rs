//! `[links.NAME]` and the settings of single mirrors.

use indexmap::IndexMap;
use toml::de::DeValue;

use super::policies::{self, Judge};
use super::reader::{Node, Reader, Table};
use super::{DraftLink, Kind, broker_link, check_label, cluster, config, rename, selectors};
use crate::topology::codes::Code;
use crate::topology::diagnostic::Diagnostic;
use crate::topology::engines::Setting;
use crate::topology::model::{Link, LinkState, Mirror, Spanned, Start, Timestamps};
use crate::topology::names;
use crate::topology::selector::RenameRule;

/// Reads a link; `None` when the table is none.
pub(super) fn read(table: &Table<'_, '_>, reader: &mut Reader<'_>) -> Option<DraftLink> {
    let misspelt = table.finish(reader, &["source", "destination"])?;
    check_label(table, reader);
    let end = |key, reader: &mut Reader<'_>| {
        table
            .get(key)
            .and_then(|node| reader.string(key, node))
            .filter(|name| !name.value.is_empty())
    };
    let source = end("source", reader);
    let destination = end("destination", reader);
    let engine = policies::engine(table, reader);
    let judge = Judge { engine };
    let (topics, topics_known) = selectors::read(table, "topics", reader);
    let (exclude, exclude_known) = selectors::read(table, "exclude", reader);
    let rename_node = table.get("rename");
    let rename = match rename_node {
        Some(node) => rename::read(reader, node),
        None => Some(RenameRule::Keep),
    };
    let (mirrors, mirrors_known) = read_mirrors(table, reader, judge);
    let misspelt = |key| misspelt.contains(&key);
    let topics_known = topics_known && !misspelt("topics");
    let exclude_known = exclude_known && !misspelt("exclude");
    let mirrors_known = mirrors_known && !misspelt("mirrors") && !misspelt("rename");
    let names_known = topics_known && exclude_known && mirrors_known && rename.is_some();
    if topics.is_empty() && mirrors.is_empty() && topics_known && mirrors_known {
        report_no_topics(table, reader);
    }
    let mut link = Link {
        name: table.name().to_owned(),
        source: source
            .as_ref()
            .map(|end| end.value.clone())
            .unwrap_or_default(),
        destination: destination
            .as_ref()
            .map(|end| end.value.clone())
            .unwrap_or_default(),
        moved: None,
        topics,
        exclude,
        rename: rename.unwrap_or(RenameRule::Keep),
        auto_create: true,
        start: Start::Earliest,
        engine: engine.unwrap_or_default(),
        offsets: policies::read(table, reader, judge),
        timestamps: Timestamps::AsConsumed,
        replication_factor: cluster::replication_factor(table, reader),
        bytes_per_second: None,
        acks: None,
        on_foreign_write: None,
        provenance_header: None,
        state: LinkState::Active,
        mirrors,
        brokers: broker_link::read(table, reader, judge),
        span: table.span,
    };
    read_settings(table, reader, judge, &mut link);
    let rename_span = rename_node.map(|node| reader.span(node.span()));
    policies::judge_names(reader, judge, &link, rename_span);
    broker_link::check(reader, &link, rename_span);
    Some(DraftLink {
        link,
        source,
        destination,
        rename_span,
        names_known,
    })
}

/// Replaces the defaults by what the table says.
fn read_settings(table: &Table<'_, '_>, reader: &mut Reader<'_>, judge: Judge, link: &mut Link) {
    if let Some(node) = table.get("moved") {
        link.moved = reader.string("moved", node);
    }
    if let Some(node) = table.get("auto_create") {
        link.auto_create = reader.bool("auto_create", node).unwrap_or(link.auto_create);
    }
    if let Some(node) = table.get("start") {
        link.start = read_start(reader, node).unwrap_or(link.start);
        if matches!(link.start, Start::Timestamp(_)) {
            let span = reader.span(node.span());
            judge.refuse(reader, Setting::StartTime, "a time as `start`", span);
        }
    }
    if let Some(word) = table
        .get("timestamps")
        .and_then(|node| reader.word("timestamps", node, TIMESTAMPS))
    {
        if word.value == Timestamps::Original {
            let asked = "`timestamps = \"original\"`";
            judge.refuse(reader, Setting::TimestampsOriginal, asked, word.span);
        }
        link.timestamps = word.value;
    }
    if let Some(node) = table.get("limit") {
        link.bytes_per_second = policies::limit(reader, node);
    }
    if let Some(node) = table.get("config") {
        link.acks = policies::acks(reader, node, judge);
    }
    if let Some(node) = table.get("on_foreign_write") {
        link.on_foreign_write = policies::on_foreign_write(reader, node, judge, link);
    }
    if let Some(node) = table.get("provenance_header") {
        let written = reader.bool("provenance_header", node);
        let span = reader.span(node.span());
        if written == Some(true) {
            let asked = "`provenance_header = true`";
            judge.refuse(reader, Setting::ProvenanceHeader, asked, span);
        }
        link.provenance_header = written.map(|value| Spanned { value, span });
    }
    if let Some(node) = table.get("state") {
        link.state = policies::link_state(reader, node, judge).unwrap_or(link.state);
    }
}

const TIMESTAMPS: &[(&str, Timestamps)] = &[
    ("as-consumed", Timestamps::AsConsumed),
    ("original", Timestamps::Original),
];

fn read_start(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Start> {
    let span = reader.span(node.span());
    let text = match node.get_ref() {
        DeValue::Datetime(time) => time.to_string(),
        DeValue::String(text) => match text.as_ref() {
            "earliest" => return Some(Start::Earliest),
            "latest" => return Some(Start::Latest),
            text => text.to_owned(),
        },
        _ => {
            let help = "write start = \"earliest\"".to_owned();
            reader.wrong_type("start", node, "a string or a time", Some(help));
            return None;
        }
    };
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        if time.as_millisecond() >= 0 {
            return Some(Start::Timestamp(time.as_millisecond()));
        }
        reader.report(
            Diagnostic::error(Code::InvalidValue, "`start` is before 1970")
                .at(span, "Kafka has no such timestamps")
                .help("write start = \"earliest\""),
        );
        return None;
    }
    let without_zone = text.parse::<jiff::civil::DateTime>().is_ok();
    let diagnostic = Diagnostic::error(
        Code::InvalidValue,
        format!("`{text}` is no value of `start`"),
    );
    reader.report(if without_zone {
        diagnostic
            .at(span, "the offset from UTC is missing")
            .help("write an RFC 3339 time with `Z` or an offset: 2026-01-31T18:00:00Z")
    } else {
        diagnostic
            .at(span, "has to be `earliest`, `latest` or an RFC 3339 time")
            .help("a time looks like 2026-01-31T18:00:00Z")
    });
    None
}

fn read_mirrors(
    table: &Table<'_, '_>,
    reader: &mut Reader<'_>,
    judge: Judge,
) -> (IndexMap<String, Mirror>, bool) {
    let before = reader.found.len();
    let mut mirrors = IndexMap::new();
    let mut understood = true;
    for mirror in table.named(reader, "mirrors", Kind::Mirror) {
        match read_mirror(&mirror, reader, judge) {
            Some(mirror) => {
                mirrors.insert(mirror.source_topic.clone(), mirror);
            }
            None => understood = false,
        }
    }
    // A value that is no table leaves no trace but its diagnostic.
    if mirrors.is_empty() && reader.found.len() > before {
        understood = false;
    }
    (mirrors, understood)
}

fn read_mirror(table: &Table<'_, '_>, reader: &mut Reader<'_>, judge: Judge) -> Option<Mirror> {
    let misspelt = table.finish(reader, &[])?;
    let topic = table.name();
    let help = topic.contains(['*', '?', '[', '{']).then(|| {
        "patterns belong into the link's `topics`; here is one topic by its name".to_owned()
    });
    let named = selectors::check_name("mirrors", reader, topic, table.span, help);
    let rename_to = match table.get("as") {
        Some(node) => Some(read_as(reader, node)?),
        None => None,
    };
    let mirror = Mirror {
        source_topic: topic.to_owned(),
        rename_to,
        state: table
            .get("state")
            .and_then(|node| policies::mirror_state(reader, node, judge)),
        replication_factor: cluster::replication_factor(table, reader),
        config: config::read(table, reader),
        span: table.span,
    };
    (named && !misspelt.contains(&"as")).then_some(mirror)
}

fn read_as(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Spanned<String>> {
    let name = reader.string("as", node)?;
    let problem = match names::validate_topic_name(&name.value) {
        Err(why) => why,
        Ok(()) if names::is_reserved_at_destination(&name.value) => {
            "brokers and kmirror keep their own state there".to_owned()
        }
        Ok(()) => return Some(name),
    };
    let mut diagnostic = Diagnostic::error(
        Code::IllegalDestination,
        format!("`{}` cannot be a mirror's name", name.value),
    )
    .at(name.span, problem);
    if name.value.contains("${") {
        diagnostic =
            diagnostic.help("`as` is the whole name; templates belong into the link's `rename`");
    }
    reader.report(diagnostic);
    None
}

fn report_no_topics(table: &Table<'_, '_>, reader: &mut Reader<'_>) {
    let span = match table.get("topics") {
        Some(node) => reader.span(node.span()),
        None => table.span,
    };
    reader.report(
        Diagnostic::error(
            Code::NoTopics,
            format!("link `{}` takes no topic", table.name()),
        )
        .at(span, "nothing is named here")
        .help("add topics = [\"orders\", \"payments-*\"], or topics = [\"*\"] for all"),
    );
}
