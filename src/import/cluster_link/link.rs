//! A cluster link as a link of kmirror's.

use serde_json::Value;

use super::super::client::Clusters;
use super::super::model::{
    Draft, Finding, LinkDraft, MirrorDraft, Rename, Selector, StartDraft, StateDraft,
};
use super::super::settings::{Setting, Settings};
use super::documents::{Facts, Mirror};
use super::keys::RULES;
use crate::topology::names;
use crate::topology::selector::TopicSelector;

/// Whether only the half at the source is known, which knows no topics.
pub(super) fn is_half_at_the_source(facts: &Facts) -> bool {
    match facts.configs.get("link.mode") {
        Some(mode) => mode.value.eq_ignore_ascii_case("SOURCE"),
        None => {
            facts.destination_id.is_some() && facts.source_id.is_none() && facts.mirrors.is_empty()
        }
    }
}

/// Makes the link, and the source's cluster.
pub(super) fn read(
    facts: Facts,
    destination: &str,
    draft: &mut Draft,
    clusters: &mut Clusters,
) -> LinkDraft {
    let mut configs = facts.configs;
    let client = client(&mut configs);
    let source = clusters.add(draft, "source", client, &facts.place);
    let mut link = LinkDraft {
        name: facts.name,
        source,
        destination: destination.to_owned(),
        ..LinkDraft::default()
    };
    let id = facts.source_id.or(facts.remote_id);
    let cluster = draft
        .clusters
        .iter_mut()
        .find(|cluster| cluster.name == link.source);
    if let (Some(id), Some(cluster)) = (id, cluster) {
        cluster.cluster_id.get_or_insert(id);
    }
    let prefix = prefix(&mut link, &mut configs);
    automatic(&mut link, &mut configs);
    let mirrors = if facts.mirrors.is_empty() {
        // All that is known are names.
        let named = |(name, place): (String, _)| Mirror {
            source: name.strip_prefix(&prefix).unwrap_or(&name).to_owned(),
            name,
            status: "ACTIVE".to_owned(),
            place,
        };
        facts.topics.into_iter().map(named).collect()
    } else {
        facts.mirrors
    };
    for mirror in &mirrors {
        add_mirror(&mut link, mirror, &prefix);
    }
    if link.topics.is_empty() && link.mirrors.is_empty() {
        let why = "the link has no mirror topics as far as these documents tell";
        let finding = Finding::lost("mirrors", facts.place.clone(), why);
        link.findings.push(
            finding
                .instead("import what `confluent kafka mirror list -o json` prints, too, or name the topics")
                .near("topics"),
        );
    }
    switches(&mut link, &mut configs);
    link.findings.push(
        Finding::lost(
            "equal offsets",
            facts.place,
            "the offsets of a mirror are equal to those of its source only where nothing had to be left out",
        )
        .instead("an exact map of offsets is kept"),
    );
    link.findings.extend(configs.into_findings(RULES));
    link
}

/// Takes what reaching the source takes.
fn client(configs: &mut Settings) -> Settings {
    configs.take_where(|setting| {
        setting.key == "bootstrap.servers"
            || ["security.", "ssl.", "sasl."]
                .iter()
                .any(|family| setting.key.starts_with(family))
    })
}

fn prefix(link: &mut LinkDraft, configs: &mut Settings) -> String {
    let Some(setting) = configs
        .take("cluster.link.prefix")
        .filter(|prefix| !prefix.value.is_empty())
    else {
        return String::new();
    };
    if names::validate_topic_name(&format!("{}x", setting.value)).is_err() {
        link.findings
            .push(setting.lost("it gives no legal topic names").near("rename"));
        return String::new();
    }
    link.rename = Some(Rename::Prefix(setting.value.clone()));
    setting.value
}

/// Topics that are mirrored as soon as they are there.
fn automatic(link: &mut LinkDraft, configs: &mut Settings) {
    let Some(enable) = configs.take("auto.create.mirror.topics.enable") else {
        return;
    };
    if !enable.is_true() {
        return;
    }
    let Some(filters) = configs.take("auto.create.mirror.topics.filters") else {
        link.findings.push(
            enable
                .lost("there are no filters for it, so no topic is mirrored by itself")
                .near("topics"),
        );
        return;
    };
    let parsed: Option<Value> = serde_json::from_str(&filters.value).ok();
    let entries = parsed
        .as_ref()
        .and_then(|value| value.get("topicFilters")?.as_array());
    let Some(entries) = entries else {
        link.findings.push(
            filters
                .lost("the filters are not understood")
                .near("topics"),
        );
        return;
    };
    for (index, entry) in entries.iter().enumerate() {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let Some(selector) = selector(text("name"), text("patternType")) else {
            let why = format!("filter {} is not understood", index + 1);
            link.findings.push(filters.lost(why).near("topics"));
            continue;
        };
        let list = match text("filterType") {
            kind if kind.eq_ignore_ascii_case("EXCLUDE") => &mut link.exclude,
            _ => &mut link.topics,
        };
        if !list.contains(&selector) {
            list.push(selector);
        }
    }
}

fn selector(name: &str, pattern: &str) -> Option<Selector> {
    if name == "*" {
        return Some(Selector::Glob("*".to_owned()));
    }
    names::validate_topic_name(name).ok()?;
    if pattern.eq_ignore_ascii_case("LITERAL") {
        return Some(Selector::Name(name.to_owned()));
    }
    let is_prefix = ["PREFIXED", "PREFIX"]
        .iter()
        .any(|word| pattern.eq_ignore_ascii_case(word));
    is_prefix.then(|| {
        if name.ends_with('.') {
            // `a.*` looks like a regex.
            Selector::Regex(format!("{}.*", regex_syntax::escape(name)))
        } else {
            Selector::Glob(format!("{name}*"))
        }
    })
}

fn matches(selector: &Selector, topic: &str) -> bool {
    let compiled = match selector {
        Selector::Name(name) => return name == topic,
        Selector::Glob(glob) => TopicSelector::from_text(glob).ok(),
        Selector::Regex(pattern) => TopicSelector::from_regex(pattern).ok(),
    };
    compiled.is_some_and(|one| one.matches(topic))
}

fn add_mirror(link: &mut LinkDraft, mirror: &Mirror, prefix: &str) {
    let names = [&mirror.source, &mirror.name];
    if names
        .iter()
        .any(|name| names::validate_topic_name(name).is_err())
    {
        let why = "a topic of it has no legal name";
        link.findings
            .push(Finding::lost("mirror_topic_name", mirror.place.clone(), why).near("topics"));
        return;
    }
    let lost =
        |why: String| Finding::lost("mirror_status", mirror.place.clone(), why).near("topics");
    match mirror.status.as_str() {
        "STOPPED" | "PENDING_STOPPED" => {
            let why = format!(
                "mirroring `{}` has ended: the topic was promoted, so it is left out",
                mirror.source
            );
            link.findings
                .push(lost(why).instead("nothing, if it is written to by itself since then"));
            // A name cannot be both taken and excluded.
            let name = Selector::Name(mirror.source.clone());
            link.topics.retain(|topic| *topic != name);
            let is_taken = link
                .topics
                .iter()
                .any(|topic| matches(topic, &mirror.source));
            if is_taken && !link.exclude.contains(&name) {
                link.exclude.push(name);
            }
            return;
        }
        "FAILED" | "SOURCE_UNAVAILABLE" | "LINK_FAILED" => {
            let why = format!(
                "mirroring `{}` has failed there ({})",
                mirror.source, mirror.status
            );
            link.findings
                .push(lost(why).instead("look for the cause first; here the mirror is active"));
        }
        // Said for the whole link.
        "LINK_PAUSED" => link.paused = true,
        _ => {}
    }
    let rename_to =
        (mirror.name != format!("{prefix}{}", mirror.source)).then(|| mirror.name.clone());
    let state = (mirror.status == "PAUSED").then_some(StateDraft::Paused);
    // A topic that exists wins over a filter that was made later.
    let name = Selector::Name(mirror.source.clone());
    link.exclude.retain(|selector| *selector != name);
    if let Some(selector) = link
        .exclude
        .iter()
        .find(|selector| matches(selector, &mirror.source))
    {
        let shown = match selector {
            Selector::Name(text) | Selector::Glob(text) | Selector::Regex(text) => text,
        };
        let why = format!(
            "`{}` is mirrored, and left out by `{shown}` for topics to come",
            mirror.source
        );
        let finding = Finding::lost(
            "auto.create.mirror.topics.filters",
            mirror.place.clone(),
            why,
        );
        link.findings.push(
            finding
                .instead("change `exclude` so that it does not match this one")
                .near("exclude"),
        );
        return;
    }
    if rename_to.is_some() || state.is_some() {
        let made = MirrorDraft {
            rename_to,
            state,
            ..MirrorDraft::default()
        };
        link.mirrors.insert(mirror.source.clone(), made);
        link.topics.retain(|topic| *topic != name);
    } else if !link
        .topics
        .iter()
        .any(|topic| matches(topic, &mirror.source))
    {
        link.topics.push(name);
    }
}

fn switches(link: &mut LinkDraft, configs: &mut Settings) {
    if configs
        .take("cluster.link.paused")
        .is_some_and(|paused| paused.is_true())
    {
        link.paused = true;
    }
    for (key, why, instead) in [
        (
            "consumer.offset.sync.enable",
            "offsets of consumer groups are not synced",
            "groups at the destination begin with what they commit there; kafka-consumer-groups --reset-offsets sets them once",
        ),
        (
            "acl.sync.enable",
            "ACLs are not synced",
            "create those that consumers need at the destination",
        ),
    ] {
        if let Some(setting) = configs.take(key)
            && setting.is_true()
        {
            link.findings.push(setting.lost(why).instead(instead));
        }
    }
    start(link, configs.take("mirror.start.offset.spec"));
    let is = |setting: &Setting, word: &str| setting.value.eq_ignore_ascii_case(word);
    if let Some(mode) = configs
        .get("connection.mode")
        .filter(|mode| is(mode, "INBOUND"))
    {
        let why = "the source opens the connections of this link, whereas kmirror's workers open them to both clusters";
        let finding = mode
            .lost(why)
            .instead("run workers where both clusters can be reached");
        link.findings.push(finding.near("source"));
        configs.take("connection.mode");
    }
    if let Some(mode) = configs
        .get("link.mode")
        .filter(|mode| is(mode, "BIDIRECTIONAL"))
    {
        let why = "a link has one direction";
        let finding = mode
            .lost(why)
            .instead("import from the other cluster what is mirrored there, and let each of the two links exclude what comes from the other");
        link.findings.push(finding.near("source"));
        configs.take("link.mode");
    }
}

fn start(link: &mut LinkDraft, setting: Option<Setting>) {
    let Some(setting) = setting else { return };
    let text = setting.value.trim();
    if text.eq_ignore_ascii_case("earliest") {
        return;
    }
    if text.eq_ignore_ascii_case("latest") {
        link.start = Some(StartDraft::Latest);
        return;
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(time) if time.as_millisecond() >= 0 => {
            link.start = Some(StartDraft::Time(time.to_string()))
        }
        _ => link.findings.push(
            setting
                .lost("it is no time with an offset from UTC")
                .instead("write an RFC 3339 time")
                .near("start"),
        ),
    }
}
