//! Replicator's settings as a link.

use super::super::connect;
use super::super::model::{Finding, LinkDraft, MirrorDraft, Place, Rename, Selector};
use super::super::patterns;
use super::super::settings::{Setting, Settings};
use super::keys;
use crate::topology::names;

/// Takes what is said about connections to the source.
pub(super) fn source_client(settings: &mut Settings) -> Settings {
    let mut client = settings.take_prefixed("src.kafka.");
    // They are about a topic, not about connections.
    for setting in client.take_prefixed("timestamps.").iter() {
        settings.set(
            &setting.written,
            setting.value.clone(),
            setting.place.clone(),
        );
    }
    // A consumer has settings of its own, which have no effect; what both have is the client's.
    client.fill(&settings.take_prefixed("src.consumer."));
    client
}

/// Takes what is said about connections to the destination. Records are written by the worker's
/// producer, which may be sent elsewhere than the rest.
pub(super) fn destination_client(settings: &mut Settings, found: &mut Vec<Finding>) -> Settings {
    let mut client = settings.take_prefixed("dest.kafka.");
    // An older name of `dest.topic.replication.factor`, found in examples.
    if let Some(factor) = client.take("replication.factor")
        && settings.get("dest.topic.replication.factor").is_none()
    {
        settings.set("dest.topic.replication.factor", factor.value, factor.place);
    }
    let data = settings.take_prefixed("producer.override.");
    const SERVERS: &str = "bootstrap.servers";
    if let (Some(admin), Some(data)) = (client.get(SERVERS), data.get(SERVERS))
        && admin.value.trim() != data.value.trim()
    {
        found.push(
            data.lost("records are written to other addresses than topics are created at")
                .instead("make sure that both are the destination's, and name those that can be reached from kmirror")
                .near("bootstrap_servers"),
        );
    }
    client.fill(&data);
    client
}

/// What the settings that are left say about a link.
pub(super) fn read(
    name: &str,
    source: &str,
    destination: &str,
    mut settings: Settings,
    place: &Place,
) -> LinkDraft {
    let mut link = LinkDraft {
        name: name.to_owned(),
        source: source.to_owned(),
        destination: destination.to_owned(),
        ..LinkDraft::default()
    };
    topics(&mut link, &mut settings, place);
    rename(&mut link, &mut settings);
    replication_factor(&mut link, &mut settings);
    creation(&mut link, &mut settings);
    let offsets_are_off = |setting: &Setting| setting.value.trim() == "0";
    if settings
        .get("offset.translator.tasks.max")
        .is_some_and(offsets_are_off)
    {
        // Nothing is translated, so whatever else is said about it is lost on nobody.
        settings.take_prefixed("offset.translator.");
    }
    if let Some(setting) = settings.take("provenance.header.enable")
        && setting.is_true()
    {
        provenance(&mut link, &setting);
    }
    connect::converters(&mut link, &mut settings, connect::REPLICATOR_CONVERTERS);
    connect::transforms(&mut link, &mut settings);
    let mut rules = keys::RULES.to_vec();
    rules.extend_from_slice(connect::RULES);
    link.findings.extend(settings.into_findings(&rules));
    link
}

/// It is turned on where two connectors copy topics of one name back and forth.
fn provenance(link: &mut LinkDraft, setting: &Setting) {
    link.provenance_header = true;
    link.shared_topics = true;
    link.translated_offsets = true;
    link.findings.push(
        setting
            .lost(
                "headers that Replicator wrote are not read, so what it has copied would be copied back",
            )
            .instead(
                "begin with start = \"latest\" while nobody writes; every link that leads back has to have the header",
            )
            .near("provenance_header"),
    );
}

fn topics(link: &mut LinkDraft, settings: &mut Settings, place: &Place) {
    let mut nothing_named = true;
    if let Some((entries, setting)) = settings.take_list("topic.whitelist") {
        nothing_named &= entries.is_empty();
        link.topics = topic_names(link, &entries, &setting, "topics");
    }
    if let Some(setting) = settings
        .take("topic.regex")
        .filter(|setting| !setting.value.is_empty())
    {
        nothing_named = false;
        match patterns::of_java(setting.value.trim()) {
            Ok(selector) => link.topics.push(selector),
            Err(why) => link.findings.push(
                setting
                    .lost(why)
                    .instead("name the topics, or write globs or another regex")
                    .near("topics"),
            ),
        }
    }
    if let Some((entries, setting)) = settings.take_list("topic.blacklist") {
        link.exclude = topic_names(link, &entries, &setting, "exclude");
        // `exclude` wins in both.
        let excluded = link.exclude.clone();
        link.topics.retain(|topic| !excluded.contains(topic));
    }
    if nothing_named {
        let why = "neither topics nor a regex are set, so Replicator copies nothing";
        let finding = Finding::lost("topic.whitelist", place.clone(), why);
        link.findings
            .push(finding.instead("name the topics").near("topics"));
    }
}

fn topic_names(
    link: &mut LinkDraft,
    entries: &[String],
    setting: &Setting,
    near: &'static str,
) -> Vec<Selector> {
    let mut selectors = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        if names::validate_topic_name(entry).is_err() {
            let why = format!("entry {} of the list is no legal topic name", index + 1);
            link.findings.push(setting.lost(why).near(near));
        } else if near == "topics" && names::is_never_mirrored(entry) {
            let why = format!("`{entry}` means something only to the brokers that wrote it");
            link.findings.push(setting.lost(why).near(near));
        } else {
            let selector = Selector::Name(entry.clone());
            if !selectors.contains(&selector) {
                selectors.push(selector);
            }
        }
    }
    selectors
}

fn rename(link: &mut LinkDraft, settings: &mut Settings) {
    const TOPIC: &str = "${topic}";
    let Some(setting) = settings.take("topic.rename.format") else {
        return;
    };
    let format = setting.value.trim();
    if format == TOPIC || format.is_empty() {
        return;
    }
    if names::validate_topic_name(&format.replace(TOPIC, "x")).is_err() {
        let why = "it gives no legal topic name";
        link.findings.push(
            setting
                .lost(why)
                .instead("write a template with `${topic}` in it")
                .near("rename"),
        );
        return;
    }
    if format.contains(TOPIC) {
        link.rename = Some(Rename::Template(format.to_owned()));
        return;
    }
    // One name for all: fine where there is but one topic.
    if let [Selector::Name(topic)] = link.topics.as_slice() {
        let mirror = MirrorDraft {
            rename_to: Some(format.to_owned()),
            ..MirrorDraft::default()
        };
        link.mirrors.insert(topic.clone(), mirror);
        link.topics.clear();
    } else {
        link.findings.push(
            setting
                .lost("it gives every topic the same name, so that records of several topics are mixed")
                .instead("give each mirror a name of its own with `as`")
                .near("rename"),
        );
    }
}

fn replication_factor(link: &mut LinkDraft, settings: &mut Settings) {
    for key in ["replication.factor", "dest.topic.replication.factor"] {
        let Some(setting) = settings.take(key) else {
            continue;
        };
        match setting.number::<i16>() {
            // As many as at the source.
            Some(0) => link.replication_factor = None,
            Some(factor) if factor > 0 => link.replication_factor = Some(factor),
            _ => link.findings.push(
                setting
                    .lost("it is no number of replicas")
                    .near("replication_factor"),
            ),
        }
    }
}

fn creation(link: &mut LinkDraft, settings: &mut Settings) {
    if let Some(setting) = settings.take("topic.auto.create")
        && setting.is_false()
    {
        link.auto_create = Some(false);
        link.findings.push(
            setting
                .lost("topics that come to match later are not created, but `kmirror apply` does create the mirrors that are missing")
                .instead("see in the plan which ones it would create")
                .near("auto_create"),
        );
    }
    if let Some(setting) = settings.take("topic.preserve.partitions")
        && setting.is_false()
    {
        link.findings.push(setting.lost(
            "a mirror has the partitions of its source, and each record stays in its partition",
        ));
    }
    if let Some(setting) = settings.take("topic.config.sync")
        && setting.is_false()
    {
        link.findings.push(
            setting
                .lost("configs of the source topic are followed")
                .instead("set those that have to differ in [links.NAME.mirrors.TOPIC]"),
        );
    }
    if let Some(setting) = settings.take("topic.timestamp.type")
        && !setting.value.trim().eq_ignore_ascii_case("CreateTime")
    {
        link.findings.push(
            setting.lost(
                "a mirror keeps the timestamps that consumers of the source see (CreateTime)",
            ),
        );
    }
}
