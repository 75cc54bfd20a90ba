//! The record that workers obey, as it follows from a link's configs; and configs as they follow from a file's link.

use uuid::Uuid;

use super::configs::Configs;
use crate::control::records::{
    Acks, DesiredState, ForeignWrites, HolePolicy, LinkRecord, MirrorRecord, MirrorSettings,
    OffsetsSpec, Owner, RECORD_VERSION, StartSpec, TimestampsSpec,
};
use crate::topology::resolve::LinkRule;
use crate::topology::selector::{RenameRule, TopicSelector};

/// What a link is besides its configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub id: Uuid,
    pub name: String,
    pub source_cluster_id: String,
    pub destination_cluster_id: String,
}

/// The record of a new link.
pub fn of(identity: Identity, configs: &Configs) -> LinkRecord {
    let mut record = LinkRecord {
        version: RECORD_VERSION,
        id: identity.id,
        name: identity.name,
        owner: Owner::Rest,
        source_cluster_id: identity.source_cluster_id,
        destination_cluster_id: identity.destination_cluster_id,
        topics: Vec::new(),
        exclude: Vec::new(),
        rename: match configs.prefix() {
            Some(prefix) => RenameRule::Prefix(prefix.to_owned()),
            None => RenameRule::Keep,
        },
        auto_create: false,
        start: StartSpec::Earliest,
        timestamps: TimestampsSpec::AsConsumed,
        offsets: OffsetsSpec::Preserve {
            on_hole: HolePolicy::default(),
        },
        replication_factor: None,
        bytes_per_second: None,
        acks: Acks::default(),
        on_foreign_write: ForeignWrites::default(),
        provenance_header: false,
        state: DesiredState::Active,
        mirrors: indexmap::IndexMap::new(),
        generation: 1,
    };
    obey(&mut record, configs);
    record
}

/// The record after its configs were altered. Mirrors that are there stay, whatever filters say now.
pub fn altered<'m>(
    record: &LinkRecord,
    configs: &Configs,
    mirrors: impl IntoIterator<Item = &'m MirrorRecord>,
) -> LinkRecord {
    let mut altered = record.clone();
    obey(&mut altered, configs);
    altered.generation += 1;
    let mut kept = Vec::new();
    {
        let rule = LinkRule::from(&altered);
        for mirror in mirrors {
            let is_own = mirror.id.link == record.id;
            if is_own && rule.takes(&mirror.source_topic).is_none() {
                let by_rule = altered.rename.apply(&mirror.source_topic);
                let is_renamed = by_rule.as_deref() != Ok(mirror.destination_topic.as_str());
                let settings = MirrorSettings {
                    rename_to: is_renamed.then(|| mirror.destination_topic.clone()),
                    ..MirrorSettings::default()
                };
                kept.push((mirror.source_topic.clone(), settings));
            }
        }
    }
    for (topic, settings) in kept {
        altered.mirrors.entry(topic).or_insert(settings);
    }
    altered
}

fn obey(record: &mut LinkRecord, configs: &Configs) {
    record.auto_create = configs.creates_mirrors();
    let filters = match record.auto_create {
        true => configs.topic_filters(),
        false => super::filters::TopicFilters::default(),
    };
    record.topics = filters.include;
    record.exclude = filters.exclude;
    record.start = configs.start();
    record.state = if configs.is_paused() {
        DesiredState::Paused
    } else {
        DesiredState::Active
    };
}

/// The configs that a file's link would have, as far as it can be said with configs: name and value.
pub fn configs_of(record: &LinkRecord) -> Vec<(&'static str, String)> {
    use super::keys;
    let mut configs = Vec::new();
    if let RenameRule::Prefix(prefix) = &record.rename {
        configs.push((keys::PREFIX, prefix.clone()));
    }
    if record.state == DesiredState::Paused {
        configs.push((keys::PAUSED, "true".to_owned()));
    }
    match record.start {
        StartSpec::Earliest => {}
        StartSpec::Latest => configs.push((keys::START, "latest".to_owned())),
        StartSpec::Timestamp(ms) => {
            if let Ok(time) = jiff::Timestamp::from_millisecond(ms) {
                configs.push((keys::START, time.to_string()));
            }
        }
    }
    if record.auto_create {
        configs.push((keys::AUTO_CREATE, "true".to_owned()));
        let include = record.topics.iter().map(|one| filter(one, "INCLUDE"));
        let exclude = record.exclude.iter().map(|one| filter(one, "EXCLUDE"));
        // A pattern that no filter can say leaves all of them out: half of them would say something else.
        let filters: Option<Vec<serde_json::Value>> = include.chain(exclude).collect();
        if let Some(filters) = filters {
            let text = serde_json::json!({ "topicFilters": filters }).to_string();
            configs.push((keys::AUTO_CREATE_FILTERS, text));
        }
    }
    configs
}

fn filter(selector: &TopicSelector, kind: &str) -> Option<serde_json::Value> {
    let (name, pattern) = match selector {
        TopicSelector::Name(name) => (name.as_str(), "LITERAL"),
        TopicSelector::Glob { pattern, .. } if pattern == "*" => ("*", "LITERAL"),
        TopicSelector::Glob { pattern, .. } => {
            let prefix = pattern.strip_suffix('*')?;
            let is_plain = !prefix.contains(['*', '?', '[', '{', '\\']);
            (is_plain.then_some(prefix)?, "PREFIXED")
        }
        TopicSelector::Regex { .. } => return None,
    };
    Some(serde_json::json!({ "name": name, "patternType": pattern, "filterType": kind }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Secret;
    use crate::linking::Change;

    fn configs(pairs: &[(&str, &str)]) -> Configs {
        let all = [("bootstrap.servers", "east:9092")];
        let pairs = all.iter().chain(pairs).map(|(name, value)| Change {
            name: (*name).to_owned(),
            value: Some(Secret::new(*value)),
        });
        Configs::new(pairs.collect()).expect("they are taken")
    }

    fn identity() -> Identity {
        Identity {
            id: Uuid::from_u128(1),
            name: "demo".to_owned(),
            source_cluster_id: "east-id".to_owned(),
            destination_cluster_id: "west-id".to_owned(),
        }
    }

    const ALL_BUT_TMP: &str = r#"{"topicFilters":[{"name":"*","patternType":"LITERAL","filterType":"INCLUDE"},{"name":"tmp","patternType":"PREFIXED","filterType":"EXCLUDE"}]}"#;

    fn automatic() -> Configs {
        configs(&[
            ("auto.create.mirror.topics.enable", "true"),
            ("auto.create.mirror.topics.filters", ALL_BUT_TMP),
            ("cluster.link.prefix", "east."),
            ("mirror.start.offset.spec", "2026-01-31T12:00:00Z"),
        ])
    }

    #[test]
    fn workers_take_what_filters_say_and_what_was_asked_for_by_name() {
        let mut record = of(identity(), &automatic());
        let takes =
            |record: &LinkRecord, topic: &str| LinkRule::from(record).takes(topic).is_some();
        assert!(takes(&record, "orders") && !takes(&record, "tmp-1"));
        assert_eq!(
            LinkRule::from(&record).destination("orders").as_deref(),
            Ok("east.orders")
        );
        // Asked for by name: the filters are about what the link does by itself.
        record
            .mirrors
            .insert("tmp-1".to_owned(), MirrorSettings::default());
        assert!(takes(&record, "tmp-1") && !takes(&record, "tmp-2"));
        let off = of(
            identity(),
            &configs(&[("auto.create.mirror.topics.filters", ALL_BUT_TMP)]),
        );
        assert!(!off.auto_create && !takes(&off, "orders"));
    }

    #[test]
    fn mirrors_stay_when_their_filter_goes() {
        let record = of(identity(), &automatic());
        let json = serde_json::json!({
            "version": 1, "source_topic": "orders", "destination_topic": "east.orders", "producer_id": 1, "producer_epoch": 0,
            "state": "active", "initial_partitions": 1, "generation": 1,
            "id": { "link": record.id, "source_topic": Uuid::from_u128(2), "destination_topic": Uuid::from_u128(3) },
        });
        let mirror: MirrorRecord = serde_json::from_value(json).expect("a record");
        let off = automatic()
            .altered(&[Change {
                name: "auto.create.mirror.topics.enable".to_owned(),
                value: None,
            }])
            .expect("is taken");
        let after = altered(&record, &off, [&mirror]);
        assert_eq!(after.generation, record.generation + 1);
        let rule = LinkRule::from(&after);
        assert!(rule.takes("orders").is_some() && rule.takes("audit").is_none());
        assert_eq!(rule.destination("orders").as_deref(), Ok("east.orders"));
    }

    #[test]
    fn a_files_link_is_told_in_configs_as_far_as_they_reach() {
        let record = of(identity(), &automatic());
        let told = Configs::of_record(&record);
        let names: Vec<&str> = told
            .shown()
            .into_iter()
            .filter(|it| !it.is_default)
            .map(|it| it.name)
            .collect();
        assert_eq!(
            names,
            [
                "auto.create.mirror.topics.enable",
                "auto.create.mirror.topics.filters",
                "cluster.link.prefix",
                "mirror.start.offset.spec"
            ]
        );
        assert_eq!(told.topic_filters(), automatic().topic_filters());
        assert_eq!(told.start(), automatic().start());
    }
}
