//! A flow of MirrorMaker 2 as a link.

use super::super::model::{Draft, Finding, LinkDraft, Place, Rename, Selector, StartDraft};
use super::super::settings::{Setting, Settings, list};
use super::super::{connect, patterns};
use super::{Flow, keys};
use crate::topology::names;
use crate::topology::selector::TopicSelector;

/// What is excluded where nothing else is said. Names that begin with `__` match no pattern anyway.
const EXCLUDED: [&str; 2] = [".*[-.]internal", ".*[.]replica"];

/// What a flow says, with the names of its clusters in the file. What is said for all flows is
/// told at the top of the file.
pub(super) fn read(flow: Flow, source: &str, destination: &str, draft: &mut Draft) -> LinkDraft {
    let mut settings = flow.settings;
    let mut link = LinkDraft {
        name: flow.name,
        source: source.to_owned(),
        destination: destination.to_owned(),
        paused: flow.paused,
        ..LinkDraft::default()
    };
    let prefix = rename(&mut link, &mut settings, &flow.source);
    topics(&mut link, &mut settings, &flow.place);
    exclude(&mut link, &mut settings);
    if let (true, Some(separator)) = (flow.returns, prefix) {
        exclude_returning(&mut link, &flow.target, &separator);
    }
    drop_excluded(&mut link, &flow.place);
    numbers_and_switches(&mut link, &mut settings);
    connect::converters(
        &mut link,
        &mut settings,
        &["key.converter", "value.converter", "header.converter"],
    );
    connect::transforms(&mut link, &mut settings);
    link.findings.extend(groups(&mut settings));
    if settings
        .take("enabled")
        .is_some_and(|enabled| enabled.is_false())
    {
        link.paused = true;
    }
    settings.take("name");
    let mut rules = keys::RULES.to_vec();
    rules.extend_from_slice(connect::RULES);
    if let Some(own) = &flow.own {
        // What is said for all flows is told once.
        let shared = settings.take_where(|setting| !setting.written.starts_with(own));
        for finding in shared.into_findings(&rules) {
            if !draft.findings.contains(&finding) {
                draft.findings.push(finding);
            }
        }
    }
    link.findings.extend(settings.into_findings(&rules));
    link
}

fn topics(link: &mut LinkDraft, settings: &mut Settings, place: &Place) {
    if let Some(filter) = settings.take("topic.filter.class")
        && !filter.value.trim().ends_with(".DefaultTopicFilter")
    {
        link.findings.push(
            filter
                .lost("kmirror runs no Java classes, so what this one leaves out is not known")
                .instead("say it with `topics` and `exclude`")
                .near("topics"),
        );
    }
    let Some((entries, setting)) = settings.take_list("topics") else {
        link.topics.push(Selector::Glob("*".to_owned()));
        return;
    };
    link.topics = selectors(link, &entries, &setting, "topics");
    if entries.is_empty() {
        let why = "no topic is named, so nothing is copied";
        let finding = Finding::lost("topics", place.clone(), why);
        link.findings
            .push(finding.instead("name the topics").near("topics"));
    }
}

fn exclude(link: &mut LinkDraft, settings: &mut Settings) {
    let given = ["topics.exclude", "topics.blacklist"]
        .into_iter()
        .find_map(|key| settings.take_list(key));
    link.exclude = match given {
        Some((entries, setting)) => selectors(link, &entries, &setting, "exclude"),
        None => EXCLUDED
            .iter()
            .map(|pattern| Selector::Regex((*pattern).to_owned()))
            .collect(),
    };
    // Internal topics match no pattern.
    let is_redundant = |selector: &Selector| match selector {
        Selector::Glob(glob) => glob.starts_with("__"),
        _ => false,
    };
    link.exclude.retain(|selector| !is_redundant(selector));
}

fn selectors(
    link: &mut LinkDraft,
    entries: &[String],
    setting: &Setting,
    near: &'static str,
) -> Vec<Selector> {
    let mut selectors = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        match patterns::of_java_list_entry(entry) {
            Ok(Selector::Name(name)) if near == "topics" && names::is_never_mirrored(&name) => {
                let why = format!("`{name}` means something only to the brokers that wrote it");
                link.findings.push(setting.lost(why).near(near));
            }
            Ok(selector) if selectors.contains(&selector) => {}
            Ok(selector) => selectors.push(selector),
            Err(why) => link.findings.push(
                setting
                    .lost(format!("entry {} of the list: {why}", index + 1))
                    .instead("name the topics, or write globs or another regex")
                    .near(near),
            ),
        }
    }
    selectors
}

/// Copies that came from the target are not sent back there: a name of which some part but the last
/// is the target's alias.
fn exclude_returning(link: &mut LinkDraft, target: &str, separator: &str) {
    let (alias, separator) = (
        regex_syntax::escape(target),
        regex_syntax::escape(separator),
    );
    let pattern = format!("(.*{separator})?{alias}{separator}.*");
    link.exclude.push(Selector::Regex(pattern));
}

/// A name that is excluded is not copied, and the file has no two opinions about it; where no pattern
/// is left, nothing has to be excluded.
fn drop_excluded(link: &mut LinkDraft, place: &Place) {
    let compiled: Vec<TopicSelector> = link
        .exclude
        .iter()
        .filter_map(|selector| match selector {
            Selector::Name(text) | Selector::Glob(text) => TopicSelector::from_text(text).ok(),
            Selector::Regex(pattern) => TopicSelector::from_regex(pattern).ok(),
        })
        .collect();
    let mut dropped = Vec::new();
    link.topics.retain(|topic| match topic {
        Selector::Name(name) if compiled.iter().any(|one| one.matches(name)) => {
            dropped.push(name.clone());
            false
        }
        _ => true,
    });
    for name in dropped {
        let why = format!("`{name}` is excluded, too, so it is not copied");
        link.findings
            .push(Finding::unneeded("topics", place.clone(), why));
    }
    if link
        .topics
        .iter()
        .all(|topic| matches!(topic, Selector::Name(_)))
    {
        link.exclude.clear();
    }
}

/// What copies are called. Returns the separator where the source's alias is put before a name.
fn rename(link: &mut LinkDraft, settings: &mut Settings, source: &str) -> Option<String> {
    let separator = settings.take("replication.policy.separator");
    let class = settings.take("replication.policy.class");
    let name = class.as_ref().map_or("", |class| class.value.trim());
    let last = name.rsplit('.').next().unwrap_or_default().to_owned();
    if last == "IdentityReplicationPolicy" {
        return None;
    }
    if let Some(class) = class.filter(|_| !matches!(last.as_str(), "" | "DefaultReplicationPolicy"))
    {
        link.findings.push(
            class
                .lost(
                    "kmirror runs no Java classes, so what this one calls the copies is not known",
                )
                .instead("say it with `rename`, or with `as` for each mirror")
                .near("rename"),
        );
        return None;
    }
    let text = separator
        .as_ref()
        .map_or(".", |separator| separator.value.as_str());
    let prefix = format!("{source}{text}");
    if names::validate_topic_name(&format!("{prefix}x")).is_err() {
        // Without a separator of the user's there is none that is not legal.
        if let Some(separator) = separator {
            link.findings.push(
                separator
                    .lost("it gives no legal topic names")
                    .instead("say it with `rename`")
                    .near("rename"),
            );
        }
        return None;
    }
    link.rename = Some(Rename::Prefix(prefix));
    Some(text.to_owned())
}

fn numbers_and_switches(link: &mut LinkDraft, settings: &mut Settings) {
    if let Some(setting) = settings.take("replication.factor") {
        match setting.number::<i16>() {
            Some(factor @ 1..) => link.replication_factor = Some(factor),
            // The broker's default, which a mirror has no word for.
            _ => link.findings.push(
                setting
                    .lost("it is no number of replicas; a mirror has as many as its source")
                    .near("replication_factor"),
            ),
        }
    }
    if let Some(setting) = settings.take("sync.topic.configs.enabled")
        && setting.is_false()
    {
        link.findings.push(
            setting
                .lost("configs of the source topic are followed")
                .instead("set those that have to differ in [links.NAME.mirrors.TOPIC]"),
        );
    }
    const ACLS: &str = "ACLs of topics are not synced";
    const ACLS_INSTEAD: &str = "create those that consumers need at the destination; where the source has none, nothing is missing";
    match settings.take("sync.topic.acls.enabled") {
        Some(setting) if setting.is_false() => {}
        Some(setting) => link.findings.push(setting.lost(ACLS).instead(ACLS_INSTEAD)),
        None => link.findings.push(
            Finding::lost("sync.topic.acls.enabled", Place::Default, ACLS).instead(ACLS_INSTEAD),
        ),
    }
    if let Some(setting) = settings.take("refresh.topics.enabled")
        && setting.is_false()
    {
        link.auto_create = Some(false);
    }
    let reset = [
        "source.consumer.auto.offset.reset",
        "consumer.auto.offset.reset",
    ]
    .into_iter()
    .find_map(|key| settings.take(key));
    match reset.as_ref().map(|reset| (reset, reset.value.trim())) {
        Some((_, "latest")) => link.start = Some(StartDraft::Latest),
        None | Some((_, "earliest")) => {}
        Some((reset, _)) => link.findings.push(
            reset
                .lost("a mirror begins at the earliest or latest offset, or at a time")
                .near("start"),
        ),
    }
}

/// What is done for consumer groups, if anything is.
pub(super) fn groups(settings: &mut Settings) -> Vec<Finding> {
    const WHY: &str = "offsets of consumer groups are not synced";
    const INSTEAD: &str = "groups at the destination begin with what they commit there; \
                           kafka-consumer-groups --reset-offsets sets them once";
    let mut found = Vec::new();
    if let Some(setting) = settings.take("sync.group.offsets.enabled")
        && setting.is_true()
    {
        let groups = settings
            .get("groups")
            .map(|groups| list(&groups.value).len());
        let why = match groups {
            Some(count @ 2..) => format!("{WHY} ({count} entries in `groups`)"),
            _ => WHY.to_owned(),
        };
        found.push(setting.lost(why).instead(INSTEAD));
    }
    if let Some(setting) = settings.take("emit.checkpoints.enabled")
        && setting.is_true()
    {
        let why = "no checkpoints are written, so RemoteClusterUtils finds none";
        found.push(setting.lost(why).instead(INSTEAD));
    }
    found
}
