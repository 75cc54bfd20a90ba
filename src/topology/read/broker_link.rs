//! What a link of the engine `cluster-link` asks of brokers: link configs, halves, groups and ACLs, and the rules that brokers have
//! for these.

use indexmap::IndexMap;
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::policies::{self, Judge};
use super::reader::{Node, Reader, Table, with_article};
use super::references::{self, Sensitivity};
use super::{Kind, config, properties};
use crate::client::keys;
use crate::client::secret::Text;
use crate::client::sensitive::looks_secret;
use crate::nearest::nearest;
use crate::topology::broker_link::{BrokerLink, LinkConfig, LinkConfigs, NameFilter};
use crate::topology::codes::Code;
use crate::topology::diagnostic::Diagnostic;
use crate::topology::engines::{Engine, Setting};
use crate::topology::model::{FileId, Link, Span, Spanned};
use crate::topology::selector::TopicSelector;

/// Link configs besides those of Kafka's clients, to recognise misspelt ones. A server may know others.
const KNOWN: &[&str] = &[
    "acl.filters",
    "acl.sync.enable",
    "acl.sync.ms",
    "auto.create.mirror.topics.enable",
    "auto.create.mirror.topics.filters",
    "availability.check.consecutive.failure.threshold",
    "availability.check.ms",
    "cluster.link.retry.timeout.ms",
    "consumer.group.prefix.enable",
    "consumer.offset.group.filters",
    "consumer.offset.sync.enable",
    "consumer.offset.sync.ms",
    "local.bootstrap.servers",
    "local.listener.name",
    "num.cluster.link.fetchers",
    "replica.fetch.backoff.ms",
    "replica.fetch.max.bytes",
    "replica.fetch.min.bytes",
    "replica.fetch.response.max.bytes",
    "replica.fetch.wait.max.ms",
    "replica.socket.receive.buffer.bytes",
    "replica.socket.timeout.ms",
    "topic.config.sync.include",
    "topic.config.sync.ms",
];

/// Configs that have a key of their own in the file, and which.
const ELSEWHERE: &[(&str, &str)] = &[
    ("cluster.link.paused", "state = \"paused\""),
    ("cluster.link.prefix", "rename = { prefix = \"…\" }"),
    ("connection.mode", "initiated_by"),
    ("link.mode", "initiated_by or bidirectional"),
    ("mirror.start.offset.spec", "start"),
    ("remote.link.connection.mode", "initiated_by"),
];

/// Each feature's switch, its filters, and what turns it on in the file.
const FEATURES: &[(&str, &str, &str)] = &[
    (
        "consumer.offset.sync.enable",
        "consumer.offset.group.filters",
        "groups = { include = [\"*\"] }",
    ),
    (
        "auto.create.mirror.topics.enable",
        "auto.create.mirror.topics.filters",
        "topics = [\"orders-*\"]",
    ),
    (
        "acl.sync.enable",
        "acl.filters",
        "acls = { sync = true } and acl.filters in `config`",
    ),
];

/// Reads the parts of a link that only this engine has.
pub(super) fn read(table: &Table<'_, '_>, reader: &mut Reader<'_>, judge: Judge) -> BrokerLink {
    let mut link = BrokerLink::default();
    if let Some(node) = table.get("bidirectional") {
        let span = reader.span(node.span());
        judge.refuse(reader, Setting::Bidirectional, "`bidirectional`", span);
        link.bidirectional = reader.string("bidirectional", node);
    }
    if let Some(node) = table.get("at_source") {
        let span = reader.span(node.span());
        judge.refuse(reader, Setting::AtSource, "`at_source`", span);
        match node.get_ref().as_table() {
            Some(entries) => {
                let mut path = table.path.clone();
                path.push("at_source".to_owned());
                let half = Table::new(Kind::AtSource, path, span, entries);
                half.finish(reader, &[]);
                if judge.engine == Some(Engine::ClusterLink) {
                    link.at_source = configs(&half, reader);
                }
            }
            None => {
                let help = "write at_source = { config = { … } }".to_owned();
                reader.wrong_type("at_source", node, "a table", Some(help));
            }
        }
    }
    if judge.engine == Some(Engine::ClusterLink) {
        link.source_initiated = table.get("initiated_by").and_then(|node| {
            let is_source = node.get_ref().as_str() == Some("source");
            is_source.then(|| reader.span(node.span()))
        });
        link.configs = configs(table, reader);
        link.groups = table.get("groups").and_then(|node| {
            let groups = policies::group_sync(reader, node)?;
            Some(groups)
        });
        link.acls = table.get("acls").and_then(|node| {
            let acls = node.get_ref().as_table()?;
            let sync = acls.get("sync")?;
            (sync.get_ref().as_bool() == Some(true)).then(|| reader.span(sync.span()))
        });
    }
    link
}

/// The `properties_file` and the `config` of a link or of its half; what stands in `config` wins.
fn configs(table: &Table<'_, '_>, reader: &mut Reader<'_>) -> LinkConfigs {
    let mut found = IndexMap::new();
    if let Some(node) = table.get("properties_file")
        && let Some(index) = properties::read(reader, node)
    {
        let span = reader.span(node.span());
        let file = &reader.others[index];
        let id = FileId(u32::try_from(index + 1).unwrap_or(u32::MAX));
        let places = crate::topology::diagnostic::Places::new(id, &file.text);
        let read: Vec<(String, Text, Span)> = file
            .properties
            .properties
            .iter()
            .map(|property| {
                let span = places.span(property.value.whole());
                let key = property.key.as_str().to_owned();
                (key, Text::inline(property.value.as_str()), span)
            })
            .collect();
        for (key, value, place) in read {
            if refuse_elsewhere(reader, &key, span) {
                continue;
            }
            let is_secret = is_secret(&key);
            let config = LinkConfig {
                value,
                is_secret,
                span: place,
            };
            found.insert(key, config);
        }
    }
    let Some(node) = table.get("config") else {
        return found;
    };
    match node.get_ref().as_table() {
        Some(entries) => {
            let mut flat = config::Keys::default();
            add(reader, &mut flat, "", entries, &mut found);
        }
        None => {
            let help = "write config = { \"consumer.offset.sync.ms\" = 10000 }".to_owned();
            reader.wrong_type("config", node, "a table", Some(help));
        }
    }
    found
}

fn add(
    reader: &mut Reader<'_>,
    flat: &mut config::Keys,
    prefix: &str,
    entries: &DeTable<'_>,
    found: &mut LinkConfigs,
) {
    for (name, node) in entries {
        let key = config::dotted(prefix, name.get_ref());
        let is_filter = key.ends_with(".filters");
        let inner = node
            .get_ref()
            .as_table()
            .filter(|table| !table.is_empty() && !is_filter && !references::is_reference(node));
        if let Some(inner) = inner {
            add(reader, flat, &key, inner, found);
            continue;
        }
        let place = reader.span(name.span());
        if !flat.add(reader, &key, place) || refuse_elsewhere(reader, &key, place) {
            continue;
        }
        warn_if_misspelt(reader, &key, place);
        if let Some(value) = value(reader, &key, node) {
            let config = LinkConfig {
                value,
                is_secret: is_secret(&key),
                span: reader.span(node.span()),
            };
            found.insert(key, config);
        }
    }
}

/// A value as brokers take it: text, or what stands for one.
fn value(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<Text> {
    if references::is_reference(node) {
        let sensitivity = if is_secret(key) {
            Sensitivity::Secret
        } else {
            Sensitivity::Open
        };
        return references::reference(reader, key, node, sensitivity);
    }
    if let Some(text) = config::scalar(node) {
        if key.ends_with(".filters") && !text.is_empty() {
            let problem = match serde_json::from_str::<Value>(&text) {
                Ok(value) => filter_problem(key, &value),
                Err(error) => Some(format!("it is no JSON: {error}")),
            };
            if let Some(problem) = problem {
                bad_filter(reader, key, node, &problem);
                return None;
            }
        }
        if is_secret(key) {
            return references::inline(reader, key, node, &text, Sensitivity::Secret).text;
        }
        return Some(Text::inline(text));
    }
    if key.ends_with(".filters") {
        let json = json(node)?;
        if let Some(problem) = filter_problem(key, &json) {
            bad_filter(reader, key, node, &problem);
            return None;
        }
        return Some(Text::inline(json.to_string()));
    }
    if let Some(array) = node.get_ref().as_array() {
        let items: Option<Vec<String>> = array.iter().map(config::scalar).collect();
        if let Some(items) = items {
            return Some(Text::inline(items.join(",")));
        }
    }
    let found = with_article(node.get_ref().type_str());
    let span = reader.span(node.span());
    reader.report(
        Diagnostic::error(
            Code::ConfigValue,
            format!("the link config `{key}` has to be a plain value"),
        )
        .at(span, format!("this is {found}"))
        .help(format!(
            "write {key:?} = \"VALUE\", or {key:?} = {{ env = \"NAME\" }}"
        )),
    );
    None
}

fn bad_filter(reader: &mut Reader<'_>, key: &str, node: &Node<'_>, problem: &str) {
    let span = reader.span(node.span());
    let example = match key {
        "acl.filters" => {
            "{ aclFilters = [{ resourceFilter = { resourceType = \"topic\", patternType = \"any\" }, accessFilter = { operation = \"any\", permissionType = \"any\" } }] }"
        }
        "consumer.offset.group.filters" => {
            "{ groupFilters = [{ name = \"*\", patternType = \"LITERAL\", filterType = \"INCLUDE\" }] }"
        }
        _ => {
            "{ topicFilters = [{ name = \"orders-\", patternType = \"PREFIXED\", filterType = \"INCLUDE\" }] }"
        }
    };
    reader.report(
        Diagnostic::error(Code::InvalidValue, format!("`{key}` is no filter"))
            .at(span, problem)
            .help(format!("write {key:?} = {example}")),
    );
}

/// Why brokers would not understand a filter.
fn filter_problem(key: &str, filter: &Value) -> Option<String> {
    let (list, of) = match key {
        "acl.filters" => ("aclFilters", &["resourceFilter", "accessFilter"][..]),
        "consumer.offset.group.filters" => {
            ("groupFilters", &["name", "patternType", "filterType"][..])
        }
        "auto.create.mirror.topics.filters" => {
            ("topicFilters", &["name", "patternType", "filterType"][..])
        }
        _ => return None,
    };
    let Some(entries) = filter.get(list).and_then(Value::as_array) else {
        return Some(format!("it has to be a table with a list `{list}`"));
    };
    for (index, entry) in entries.iter().enumerate() {
        let lacks = of.iter().find(|key| entry.get(**key).is_none());
        if let Some(key) = lacks {
            return Some(format!("entry {} of `{list}` has no `{key}`", index + 1));
        }
        for (key, words) in [
            ("patternType", &["LITERAL", "PREFIXED"][..]),
            ("filterType", &["INCLUDE", "EXCLUDE"][..]),
        ] {
            let word = entry.get(key).and_then(Value::as_str);
            let is_known = |word: &str| words.iter().any(|known| known.eq_ignore_ascii_case(word));
            if list != "aclFilters" && !word.is_some_and(is_known) {
                let words = words.join(" or ");
                return Some(format!("`{key}` of entry {} has to be {words}", index + 1));
            }
        }
    }
    None
}

/// TOML as JSON; `None` for times, which JSON has not got.
fn json(node: &Node<'_>) -> Option<Value> {
    Some(match node.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()?
            .into(),
        DeValue::Float(float) => serde_json::from_str(float.as_str()).ok()?,
        DeValue::Array(items) => Value::Array(items.iter().map(json).collect::<Option<_>>()?),
        DeValue::Table(table) => {
            let entries = table.iter();
            let entries =
                entries.map(|(key, value)| Some((key.get_ref().to_string(), json(value)?)));
            Value::Object(entries.collect::<Option<_>>()?)
        }
        DeValue::Datetime(_) => return None,
    })
}

fn is_secret(key: &str) -> bool {
    let plain = key.strip_prefix("local.").unwrap_or(key);
    keys::find(plain).map_or_else(|| looks_secret(plain), keys::Key::is_secret)
}

/// Whether the config has a key of its own in the file, which is told.
fn refuse_elsewhere(reader: &mut Reader<'_>, key: &str, span: Span) -> bool {
    let Some((_, instead)) = ELSEWHERE.iter().find(|(known, _)| *known == key) else {
        return false;
    };
    reader.report(
        Diagnostic::error(
            Code::InvalidValue,
            format!("`{key}` has a key of its own in the file"),
        )
        .at(span, "set twice, the two could differ")
        .help(format!("leave it out here, and write {instead}")),
    );
    true
}

fn warn_if_misspelt(reader: &mut Reader<'_>, key: &str, place: Span) {
    let plain = key.strip_prefix("local.").unwrap_or(key);
    if KNOWN.contains(&key) || keys::find(plain).is_some() {
        return;
    }
    let dotted = key.to_lowercase().replace(['_', '-'], ".");
    let meant = KNOWN.iter().copied().find(|known| *known == dotted);
    if let Some(meant) = meant.or_else(|| nearest(&dotted, KNOWN.iter().copied())) {
        reader.report(
            Diagnostic::warning(
                Code::SuspiciousConfig,
                format!("links have no config `{key}` as far as is known"),
            )
            .at(place, "unknown key")
            .help(format!("did you mean `{meant}`?")),
        );
    }
}

/// Reports what brokers would refuse, or take and do something else with.
pub(super) fn check(reader: &mut Reader<'_>, link: &Link, rename: Option<Span>) {
    if link.engine != Engine::ClusterLink {
        return;
    }
    check_features(reader, link);
    check_prefix(reader, link, rename);
    check_patterns(reader, link);
    let brokers = &link.brokers;
    if brokers.source_initiated.is_none()
        && let Some(config) = brokers.at_source.values().next()
    {
        reader.report(
            Diagnostic::error(
                Code::InvalidValue,
                format!("link `{}` has no half at the source", link.name),
            )
            .at(config.span, "this would belong to it")
            .help("write initiated_by = \"source\" too, or leave `at_source` out"),
        );
    }
    if let (Some(source), Some(shared)) = (brokers.source_initiated, &brokers.bidirectional)
        && !brokers.at_source.is_empty()
    {
        reader.report(
            Diagnostic::error(
                Code::InvalidValue,
                "the other half of a bidirectional link is a link of its own",
            )
            .at(shared.span, "bidirectional")
            .at(source, "begun by the other half")
            .help("move what stands in `at_source` into the `config` of the link with the same `bidirectional`"),
        );
    }
}

/// The text of a config that the file sets.
fn set<'l>(link: &'l Link, key: &str) -> Option<Spanned<&'l str>> {
    let config = link.brokers.configs.get(key)?;
    Some(Spanned {
        value: config.value.value.expose(),
        span: config.span,
    })
}

fn is_on(link: &Link, key: &str) -> Option<Span> {
    let config = set(link, key)?;
    config
        .value
        .eq_ignore_ascii_case("true")
        .then_some(config.span)
}

fn check_features(reader: &mut Reader<'_>, link: &Link) {
    for (switch, filters, instead) in FEATURES {
        let asked_elsewhere = match *switch {
            "consumer.offset.sync.enable" => link.brokers.groups.as_ref().map(|it| it.span),
            "acl.sync.enable" => link.brokers.acls,
            _ => None,
        };
        if let (Some(elsewhere), Some(here)) = (asked_elsewhere, set(link, switch)) {
            reader.report(
                Diagnostic::error(Code::InvalidValue, format!("`{switch}` is set twice"))
                    .at(here.span, "here")
                    .at(elsewhere, "and by this")
                    .help("keep one of the two"),
            );
            continue;
        }
        let on = is_on(link, switch).or(match *switch {
            "acl.sync.enable" => link.brokers.acls,
            _ => None,
        });
        let has_filters = set(link, filters).is_some_and(|it| !it.value.is_empty())
            || (*switch == "auto.create.mirror.topics.enable"
                && link.auto_create_filters().is_some());
        if let Some(span) = on
            && !has_filters
        {
            // Brokers take it, and the task sits in error: MISCONFIGURATION_ERROR.
            reader.report(
                Diagnostic::error(Code::MissingKey, format!("`{filters}` is missing"))
                    .at(span, "on, and nothing says for what")
                    .help(format!("add `{filters}` to `config`, or write {instead}")),
            );
        }
    }
}

/// Longer ones are refused, as far as is known.
const LONGEST_PREFIX: usize = 12;

fn check_prefix(reader: &mut Reader<'_>, link: &Link, rename: Option<Span>) {
    let by_groups = is_on(link, "consumer.group.prefix.enable");
    let Some(prefix) = link.prefix() else {
        if let Some(span) = by_groups {
            reader.report(
                Diagnostic::error(Code::MissingKey, "there is no prefix for groups")
                    .at(span, "it puts the link's prefix before the names of groups")
                    .help("write rename = { prefix = \"…\" } too, or leave it out"),
            );
        }
        return;
    };
    let at = rename.unwrap_or(link.span);
    let acls = link.brokers.acls.or(is_on(link, "acl.sync.enable"));
    if let Some(acls) = acls {
        reader.report(
            Diagnostic::error(
                Code::InvalidValue,
                "ACLs are not synced over a link with a prefix",
            )
            .at(acls, "asked for here")
            .at(at, "the prefix")
            .help("leave one of the two out"),
        );
    }
    if let (Some(span), Some(_)) = (by_groups, &link.brokers.bidirectional) {
        reader.report(
            Diagnostic::error(
                Code::InvalidValue,
                "groups get no prefix on a bidirectional link",
            )
            .at(span, "brokers refuse it")
            .help("leave it out"),
        );
    }
    if prefix.len() > LONGEST_PREFIX {
        reader.report(
            Diagnostic::warning(
                Code::SuspiciousConfig,
                format!("the prefix `{prefix}` has more than {LONGEST_PREFIX} characters"),
            )
            .at(at, "brokers may refuse it")
            .help("choose a shorter one: it cannot be changed later"),
        );
    }
}

/// What brokers are to take by themselves has to be a name or a beginning of names.
fn check_patterns(reader: &mut Reader<'_>, link: &Link) {
    let patterns = |list: &[Spanned<TopicSelector>]| -> Vec<(String, Span)> {
        list.iter()
            .filter(|it| matches!(it.value, TopicSelector::Glob { .. }))
            .filter(|it| NameFilter::of_selector(&it.value).is_none())
            .map(|it| (it.value.to_string(), it.span))
            .collect()
    };
    let takes_patterns = link.topics.iter().any(|it| it.value.as_name().is_none());
    if !link.auto_create || !takes_patterns {
        return;
    }
    for (pattern, span) in patterns(&link.topics)
        .into_iter()
        .chain(patterns(&link.exclude))
    {
        reader.report(
            Diagnostic::error(
                Code::NotCarriedOut,
                format!("the engine `cluster-link` does not carry out `{pattern}`"),
            )
            .at(span, "brokers know names and beginnings of names")
            .help("write a glob with a `*` at its end, or auto_create = false: then topics are taken that are there when the file is applied"),
        );
    }
}
