//! What a link asks for besides topics: offsets, consumer groups, ACLs, limits, keys of its engine.
//!
//! Values are read and judged whether or not the engine carries the setting out, so that one run
//! finds every mistake.

use std::time::Duration;

use toml::de::DeValue;

use super::Kind;
use super::reader::{Node, Reader, Table};
use super::references;
use super::selectors::check_regex;
use crate::topology::broker_link::{GroupSync, NameFilter};
use crate::topology::codes::Code;
use crate::topology::diagnostic::Diagnostic;
use crate::topology::engines::{self, Engine, Setting};
use crate::topology::model::{
    Acks, ForeignWrites, HolePolicy, Link, LinkState, MirrorState, OffsetsSpec, OnHole, Span,
    Spanned,
};
use crate::topology::selector::{RenameRule, TopicSelector};

/// Reports settings that the link's engine does not carry out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge {
    /// `None` where the file names no engine that there is: then nothing is known of it.
    pub engine: Option<Engine>,
}

impl Judge {
    pub(super) fn refuse(self, reader: &mut Reader<'_>, setting: Setting, asked: &str, span: Span) {
        let found = self
            .engine
            .and_then(|engine| engines::check(engine, setting, asked, span));
        if let Some(diagnostic) = found {
            reader.report(diagnostic);
        }
    }
}

/// Reads `engine`; `None` when there is none of that name.
pub(super) fn engine(table: &Table<'_, '_>, reader: &mut Reader<'_>) -> Option<Engine> {
    let Some(node) = table.get("engine") else {
        return Some(Engine::default());
    };
    let written = reader.string("engine", node)?;
    let found = Engine::ALL
        .iter()
        .find(|engine| engine.name() == written.value);
    if found.is_none() {
        let engines: Vec<_> = Engine::ALL
            .iter()
            .map(|engine| format!("`{}`", engine.name()))
            .collect();
        reader.report(
            Diagnostic::error(
                Code::InvalidValue,
                format!("there is no engine `{}`", written.value),
            )
            .at(
                written.span,
                format!("the engine there is: {}", engines.join(", ")),
            )
            .help("leave `engine` out"),
        );
    }
    found.copied()
}

/// Reads everything that is asked of a link and not needed to say which topics it takes.
pub(super) fn read(table: &Table<'_, '_>, reader: &mut Reader<'_>, judge: Judge) -> OffsetsSpec {
    if let Some(node) = table.get("groups") {
        // With the engine that syncs them they are read with what else that is asked for.
        if judge.engine != Some(Engine::ClusterLink) {
            group_sync(reader, node);
        }
        let span = reader.span(node.span());
        judge.refuse(reader, Setting::Groups, "`groups`", span);
    }
    if let Some(node) = table.get("acls") {
        acls(reader, node, judge);
    }
    if let Some(node) = table.get("limit") {
        let span = reader.span(node.span());
        judge.refuse(reader, Setting::Limit, "`limit`", span);
    }
    let hole = table.get("on_hole").map(|node| {
        let policy = on_hole(reader, node);
        let span = reader.span(node.span());
        judge.refuse(reader, Setting::OnHole, "`on_hole`", span);
        (policy, span)
    });
    if let Some(node) = table.get("check_interval") {
        interval(reader, "check_interval", node);
        let span = reader.span(node.span());
        judge.refuse(reader, Setting::CheckInterval, "`check_interval`", span);
    }
    if let Some(node) = table.get("initiated_by") {
        let words = [("destination", false), ("source", true)];
        if let Some(source) = reader.word("initiated_by", node, &words)
            && source.value
        {
            let asked = "`initiated_by = \"source\"`";
            judge.refuse(reader, Setting::SourceInitiated, asked, source.span);
        }
    }
    if let Some(node) = table.get("properties_file") {
        // A missing file is not worth a word where the key has no use.
        let (path, span) = references::path(reader, "properties_file", node).unzip();
        if path.is_some() && judge.engine != Some(Engine::ClusterLink) {
            let span = span.unwrap_or(table.span);
            let asked = "`properties_file` of a link";
            judge.refuse(reader, Setting::LinkProperties, asked, span);
        }
    }
    if let Some(node) = table.get("offsets") {
        let words = [("translate", false), ("preserve", true)];
        match reader.word("offsets", node, &words) {
            Some(preserve) if preserve.value => {
                let asked = "`offsets = \"preserve\"`";
                judge.refuse(reader, Setting::OffsetsPreserve, asked, preserve.span);
            }
            Some(translate) => {
                let asked = "`offsets = \"translate\"`";
                judge.refuse(reader, Setting::OffsetsTranslate, asked, translate.span);
                if let Some((_, span)) = hole {
                    reader.report(
                        Diagnostic::error(Code::InvalidValue, "`on_hole` has nothing to decide")
                            .at(span, "holes are no matter here")
                            .at(translate.span, "the map says where each record is")
                            .help("leave `on_hole` out, or write offsets = \"preserve\""),
                    );
                }
                return OffsetsSpec::Translate;
            }
            None => {}
        }
    }
    OffsetsSpec::Preserve {
        on_hole: hole.map_or_else(HolePolicy::default, |(policy, _)| policy),
    }
}

/// Says which of the names that a link takes and gives its engine cannot handle.
pub(super) fn judge_names(
    reader: &mut Reader<'_>,
    judge: Judge,
    link: &Link,
    rename: Option<Span>,
) {
    for selector in link.topics.iter().chain(&link.exclude) {
        if matches!(selector.value, TopicSelector::Regex { .. }) {
            judge.refuse(reader, Setting::RegexTopics, "a regex", selector.span);
        }
    }
    let setting = match &link.rename {
        RenameRule::Keep => None,
        RenameRule::Prefix(_) => Some(Setting::RenamePrefix),
        RenameRule::Rules(_) => Some(Setting::RenameRules),
        RenameRule::Template(_) => Some(Setting::RenameTemplate),
    };
    if let (Some(setting), Some(span)) = (setting, rename) {
        judge.refuse(reader, setting, "this `rename`", span);
    }
    for mirror in link.mirrors.values() {
        if let Some(name) = &mirror.rename_to {
            judge.refuse(reader, Setting::RenameOne, "`as`", name.span);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Word<T> {
    State(T),
    /// A state that not every engine has.
    Judged(T, Setting),
}

/// Reads a link's `state`.
pub(super) fn link_state(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    judge: Judge,
) -> Option<LinkState> {
    let words = [
        ("active", Word::State(LinkState::Active)),
        ("paused", Word::State(LinkState::Paused)),
        (
            "absent",
            Word::Judged(LinkState::Absent, Setting::LinkAbsent),
        ),
    ];
    state(reader, node, &words, judge).map(|state| state.value)
}

/// Reads a mirror's `state`.
pub(super) fn mirror_state(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    judge: Judge,
) -> Option<Spanned<MirrorState>> {
    let words = [
        ("active", Word::State(MirrorState::Active)),
        ("paused", Word::State(MirrorState::Paused)),
        (
            "promoted",
            Word::Judged(MirrorState::Promoted, Setting::Promoted),
        ),
        (
            "failed-over",
            Word::Judged(MirrorState::FailedOver, Setting::FailedOver),
        ),
        (
            "absent",
            Word::Judged(MirrorState::Absent, Setting::MirrorAbsent),
        ),
    ];
    state(reader, node, &words, judge)
}

fn state<T: Copy>(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    words: &[(&str, Word<T>)],
    judge: Judge,
) -> Option<Spanned<T>> {
    let word = reader.word("state", node, words)?;
    let (value, setting) = match word.value {
        Word::State(value) => (value, None),
        Word::Judged(value, setting) => (value, Some(setting)),
    };
    if let Some(setting) = setting {
        let written = node.get_ref().as_str().unwrap_or_default();
        let asked = format!("`state = {written:?}`");
        judge.refuse(reader, setting, &asked, word.span);
    }
    Some(Spanned {
        value,
        span: word.span,
    })
}

/// A table of its own kind under a key of the link.
fn inner<'n, 'd>(
    reader: &mut Reader<'_>,
    key: &'static str,
    node: &'n Node<'d>,
    kind: Kind,
    example: &str,
) -> Option<Table<'n, 'd>> {
    let Some(entries) = node.get_ref().as_table() else {
        reader.wrong_type(
            key,
            node,
            "a table",
            Some(format!("write {key} = {example}")),
        );
        return None;
    };
    let span = reader.span(node.span());
    let table = Table::new(kind, vec![key.to_owned()], span, entries);
    table.finish(reader, &[]);
    Some(table)
}

/// Reads `groups`. Whoever carries it out filters by names and beginnings of names.
pub(super) fn group_sync(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<GroupSync> {
    let example = "{ include = [\"*\"], exclude = [\"console-*\"], interval = \"10s\" }";
    let table = inner(reader, "groups", node, Kind::Groups, example)?;
    let mut patterns = |key| {
        let node = table.get(key);
        node.map_or_else(Vec::new, |node| group_patterns(reader, key, node))
    };
    let (include, exclude) = (patterns("include"), patterns("exclude"));
    let every = table.get("interval");
    Some(GroupSync {
        include,
        exclude,
        interval: every.and_then(|node| interval(reader, "interval", node)),
        span: reader.span(node.span()),
    })
}

/// Names of groups are any text, so only patterns can be wrong.
fn group_patterns(reader: &mut Reader<'_>, key: &'static str, node: &Node<'_>) -> Vec<NameFilter> {
    let mut filters = Vec::new();
    let Some(nodes) = reader.array(key, node, "names and patterns of groups") else {
        return filters;
    };
    for node in nodes {
        let span = reader.span(node.span());
        if let Some(text) = node.get_ref().as_str() {
            match (globset::Glob::new(text), NameFilter::of(text)) {
                (Err(error), _) => reader.report(
                    Diagnostic::error(Code::BadGlob, format!("`{text}` is no glob"))
                        .at(span, error.kind().to_string()),
                ),
                (Ok(_), None) => reader.report(
                    Diagnostic::error(
                        Code::NotCarriedOut,
                        format!("no engine carries out the group pattern `{text}`"),
                    )
                    .at(
                        span,
                        "groups are synced by name, or by the beginning of their names",
                    )
                    .help("write names, or globs with a `*` at their end"),
                ),
                (Ok(_), Some(filter)) => filters.push(filter),
            }
        } else if let Some(entries) = node.get_ref().as_table() {
            let table = Table::new(Kind::Selector, vec![key.to_owned()], span, entries);
            table.finish(reader, &["regex"]);
            if let Some(node) = table.get("regex")
                && let Some(pattern) = reader.string("regex", node)
            {
                let is_regex = check_regex(reader, node, &pattern.value).is_some();
                if is_regex {
                    reader.report(
                        Diagnostic::error(
                            Code::NotCarriedOut,
                            "no engine carries out a regex of groups",
                        )
                        .at(
                            span,
                            "groups are synced by name, or by the beginning of their names",
                        )
                        .help("write names, or globs with a `*` at their end"),
                    );
                }
            }
        } else {
            let help = "write a name, a glob or { regex = \"…\" }".to_owned();
            reader.wrong_type(key, node, "an array of names and patterns", Some(help));
        }
    }
    filters
}

/// Shorter would be a load on both clusters' coordinators.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

fn interval(reader: &mut Reader<'_>, key: &'static str, node: &Node<'_>) -> Option<Duration> {
    let text = reader.string(key, node)?;
    let problem = match humantime::parse_duration(&text.value) {
        Ok(interval) if interval >= SHORTEST_INTERVAL => return Some(interval),
        Ok(_) => "has to be one second or more".to_owned(),
        Err(error) => error.to_string(),
    };
    reader.report(
        Diagnostic::error(
            Code::InvalidValue,
            format!("`{}` is no value of `{key}`", text.value),
        )
        .at(text.span, problem)
        .help("a duration looks like \"10s\" or \"1m 30s\""),
    );
    None
}

fn acls(reader: &mut Reader<'_>, node: &Node<'_>, judge: Judge) {
    let Some(table) = inner(reader, "acls", node, Kind::Acls, "{ sync = true }") else {
        return;
    };
    if let Some(sync) = table.get("sync")
        && reader.bool("sync", sync) == Some(true)
    {
        let span = reader.span(sync.span());
        judge.refuse(reader, Setting::Acls, "`acls = { sync = true }`", span);
    }
}

/// The bytes a second of `limit`.
pub fn limit(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Spanned<u64>> {
    const KEY: &str = "bytes_per_second";
    let example = "{ bytes_per_second = \"200MB\" }";
    let table = inner(reader, "limit", node, Kind::Limit, example)?;
    let node = table.get(KEY)?;
    let bytes = match node.get_ref() {
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|bytes| u64::try_from(bytes).ok()),
        DeValue::String(text) => text.parse::<bytesize::ByteSize>().ok().map(|size| size.0),
        _ => {
            let help = format!("write limit = {example}");
            reader.wrong_type(KEY, node, "a size or a number of bytes", Some(help));
            return None;
        }
    };
    let span = reader.span(node.span());
    let bytes = bytes.filter(|bytes| *bytes > 0);
    if bytes.is_none() {
        reader.report(
            Diagnostic::error(Code::InvalidValue, "`bytes_per_second` is no size")
                .at(span, "has to be more than nothing")
                .help("a size looks like \"200MB\", \"64MiB\" or 200000000"),
        );
    }
    bytes.map(|value| Spanned { value, span })
}

fn on_hole(reader: &mut Reader<'_>, node: &Node<'_>) -> HolePolicy {
    let example = "{ larger_than = 1000000, then = \"stop\" }";
    let mut policy = HolePolicy::default();
    let Some(table) = inner(reader, "on_hole", node, Kind::OnHole, example) else {
        return policy;
    };
    if let Some(node) = table.get("larger_than")
        && let Some(larger_than) = reader.count("larger_than", node, i64::MAX)
    {
        policy.larger_than = larger_than.value;
    }
    if let Some(node) = table.get("then") {
        let words = [("stop", OnHole::Stop), ("translate", OnHole::Translate)];
        if let Some(then) = reader.word("then", node, &words) {
            policy.then = then.value;
        }
    }
    policy
}

/// The `acks` among the keys of the engine's own.
pub(super) fn acks(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    judge: Judge,
) -> Option<Spanned<Acks>> {
    let span = reader.span(node.span());
    judge.refuse(reader, Setting::Config, "`config` of a link", span);
    if judge.engine == Some(Engine::ClusterLink) {
        // There it holds link configs.
        return None;
    }
    let table = inner(
        reader,
        "config",
        node,
        Kind::EngineConfig,
        "{ acks = \"1\" }",
    )?;
    let words = [("all", Acks::All), ("1", Acks::Leader)];
    reader.word("acks", table.get("acks")?, &words)
}

/// What a mirror does whose topic others write into, and whether the rest of the link lets it.
pub(super) fn on_foreign_write(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    judge: Judge,
    link: &Link,
) -> Option<Spanned<ForeignWrites>> {
    let words = [
        ("stop", ForeignWrites::Stop),
        ("translate", ForeignWrites::Translate),
    ];
    let written = reader.word("on_foreign_write", node, &words)?;
    if written.value == ForeignWrites::Stop {
        return Some(written);
    }
    let asked = "`on_foreign_write = \"translate\"`";
    judge.refuse(reader, Setting::ForeignWriteTranslate, asked, written.span);
    if judge.engine.is_some_and(|engine| {
        engine.support(Setting::ForeignWriteTranslate) != engines::Support::Yes
    }) {
        return Some(written);
    }
    if link.offsets != OffsetsSpec::Translate {
        reader.report(
            Diagnostic::error(
                Code::InvalidValue,
                "offsets cannot be kept where others write",
            )
            .at(written.span, "others take offsets that are the source's")
            .help("write offsets = \"translate\" too, or on_foreign_write = \"stop\""),
        );
    }
    let by_leaders = link.acks.as_ref().filter(|it| it.value == Acks::Leader);
    if let Some(acks) = by_leaders.map(|it| it.span) {
        reader.report(
            Diagnostic::error(
                Code::InvalidValue,
                "`acks = \"1\"` does not go with `on_foreign_write = \"translate\"`",
            )
            .at(
                acks,
                "what a leader alone acknowledged may be lost, and another's record lie in its place",
            )
            .at(written.span, "others may write")
            .help("leave `acks` out"),
        );
    }
    Some(written)
}
