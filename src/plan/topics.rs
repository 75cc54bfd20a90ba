//! Topics that the file owns and that are no mirrors.
//!
//! They are created, their partitions grow, the configs that the file names are set. Keys that the
//! file does not name stay as they are, and the plan says so, or are reset where the file wants that. Nothing here shrinks,
//! moves or deletes.

use std::collections::BTreeMap;

use super::diff::{self, Others};
use super::model::{
    Action, Address, Change, Entry, Operation, Origin, Rehearsal, Side, TopicChanges, TopicSpec,
};
use super::reason::{Blocker, NotSynced, Note, OtherConfigs, Unread};
use super::sync::{DesiredConfig, never_synced, too_few_brokers};
use super::world::{TopicView, World};
use crate::observe::model::{Described, ObservedTopic};
use crate::topology::model::OwnedTopic;

/// Plans one owned topic and lets the world know what will become of it.
pub(super) fn plan_owned(world: &mut World<'_>, cluster: &str, owned: &OwnedTopic) -> Entry {
    let address = Address::Topic {
        cluster: cluster.to_owned(),
        topic: owned.name.clone(),
    };
    let mut entry = Entry::new(address, cluster);
    entry.asked_by = world.place(owned.span);
    match world.cluster(cluster).topics.get(&owned.name) {
        None => create(world, &mut entry, owned),
        Some(live) => update(world, &mut entry, owned, live),
    }
    entry
}

/// Configs of owned topics that the file does not name, a note a cluster. They may have been in the file once, so that
/// they are not passed over in silence.
pub(super) fn not_in_file(world: &World<'_>) -> Vec<Note> {
    let clusters = world.topology.clusters.values();
    let clusters = clusters.filter(|cluster| !world.blocked.contains_key(&cluster.name));
    let notes = clusters.filter_map(|cluster| {
        let live = &world.cluster(&cluster.name).topics;
        let mut topics: Vec<OtherConfigs> = cluster
            .topics
            .values()
            .filter(|owned| owned.absent.is_none() && owned.resets_others.is_none())
            .filter_map(|owned| other_configs(owned, live.get(&owned.name)?))
            .collect();
        topics.sort();
        (!topics.is_empty()).then(|| Note::ConfigsNotInFile {
            cluster: cluster.name.clone(),
            topics,
        })
    });
    notes.collect()
}

fn other_configs(owned: &OwnedTopic, live: &ObservedTopic) -> Option<OtherConfigs> {
    let others = live.configs.known()?.iter().filter(|(key, config)| {
        diff::is_own(config)
            && !config.read_only
            && !config.sensitive
            && !owned.config.contains_key(*key)
            // Set by a reassignment, for as long as it takes.
            && never_synced(key) != Some(NotSynced::Throttle)
    });
    let configs: BTreeMap<String, String> = others
        .filter_map(|(key, config)| Some((key.clone(), config.value.clone()?)))
        .collect();
    (!configs.is_empty()).then(|| OtherConfigs {
        topic: owned.name.clone(),
        configs,
    })
}

fn create(world: &mut World<'_>, entry: &mut Entry, owned: &OwnedTopic) {
    let cluster = world.cluster(&entry.cluster);
    let partitions = owned.partitions.as_ref();
    let factor = owned.replication_factor.as_ref();
    if let Some(blocker) = too_few_brokers(
        &entry.cluster,
        factor.map(|factor| factor.value),
        cluster.live_brokers.len(),
        false,
    ) {
        entry.block(blocker);
    }
    let shown = |attribute: &str, asked, wanted: Option<i64>, default: Option<i64>| {
        let side = match (wanted, default) {
            (Some(wanted), _) => Side::new(super::model::Value::Int(wanted), Origin::File),
            (None, Some(default)) => {
                Side::new(super::model::Value::Int(default), Origin::Inherited)
            }
            (None, None) => Side::new("the broker's default", Origin::Inherited),
        };
        Change {
            attribute: attribute.to_owned(),
            old: None,
            new: Some(side),
            asked_by: asked,
        }
    };
    entry.changes = vec![
        shown(
            "partitions",
            partitions.and_then(|it| world.place(it.span)),
            partitions.map(|it| it.value.into()),
            cluster.default_partitions.map(Into::into),
        ),
        shown(
            "replication_factor",
            factor.and_then(|it| world.place(it.span)),
            factor.map(|it| it.value.into()),
            cluster.default_replication_factor.map(Into::into),
        ),
    ];
    let mut configs = BTreeMap::new();
    for (key, value) in &owned.config {
        configs.insert(key.clone(), value.value.clone());
        entry.changes.push(Change {
            attribute: diff::attribute(key),
            old: None,
            new: Some(Side::new(value.value.clone(), Origin::File)),
            asked_by: world.place(value.span),
        });
    }
    entry.changes[2..].sort_by(|a, b| a.attribute.cmp(&b.attribute));
    world.set(
        &entry.cluster,
        &owned.name,
        TopicView {
            id: None,
            partitions: partitions.map(|it| it.value).or(cluster.default_partitions),
            replication_factor: factor
                .map(|it| it.value)
                .or(cluster.default_replication_factor),
            configs: Described::Known(diff::configs_when_created(
                &cluster.topic_defaults,
                &configs,
            )),
            made_by: Some(entry.address.clone()),
        },
    );
    entry.rehearsal = Rehearsal::Pending;
    entry.act(
        Action::Create,
        Operation::CreateTopic(TopicSpec {
            name: owned.name.clone(),
            partitions: partitions.map(|it| it.value),
            replication_factor: factor.map(|it| it.value),
            configs: configs.into_iter().collect(),
        }),
    );
}

fn update(world: &mut World<'_>, entry: &mut Entry, owned: &OwnedTopic, live: &ObservedTopic) {
    let mut changes = TopicChanges {
        name: owned.name.clone(),
        ..TopicChanges::default()
    };
    if let Some(wanted) = &owned.partitions {
        if wanted.value < live.partitions {
            entry.block(Blocker::PartitionsShrink {
                cluster: entry.cluster.clone(),
                topic: owned.name.clone(),
                has: live.partitions,
                wanted: wanted.value,
            });
        } else if wanted.value > live.partitions {
            changes.partitions = Some(wanted.value);
            entry.changes.push(Change {
                attribute: "partitions".to_owned(),
                old: Some(Side::new(live.partitions, Origin::Live)),
                new: Some(Side::new(wanted.value, Origin::File)),
                asked_by: world.place(wanted.span),
            });
        }
    }
    if let Some(wanted) = &owned.replication_factor
        && wanted.value != live.replication_factor
    {
        entry.block(Blocker::ReplicationFactorFixed {
            cluster: entry.cluster.clone(),
            topic: owned.name.clone(),
            has: live.replication_factor,
            wanted: wanted.value,
        });
    }
    let mut configs = live.configs.clone();
    match &mut configs {
        Described::Known(known) => {
            let wanted = owned
                .config
                .iter()
                .map(|(key, value)| {
                    let config = DesiredConfig {
                        value: value.value.clone(),
                        origin: Origin::File,
                    };
                    (key.clone(), config)
                })
                .collect();
            let others = match owned.resets_others {
                Some(_) => Others::ResetAll,
                None => Others::Leave,
            };
            let diff = diff::config_diff(known, &wanted, others, |key| {
                let named = owned.config.get(key).map(|value| value.span);
                world.place(named.or(owned.resets_others)?)
            });
            entry.changes.extend(diff.changes);
            diff::alter(known, &diff.alterations);
            changes.configs = diff.alterations;
        }
        // A file that names no configs need not read them.
        Described::NotAsked | Described::Refused(_)
            if owned.config.is_empty() && owned.resets_others.is_none() => {}
        Described::NotAsked => unreachable!("configs of owned topics are always asked for"),
        Described::Refused(words) => entry.block(Blocker::NotReadable {
            cluster: entry.cluster.clone(),
            topic: owned.name.clone(),
            what: Unread::Configs,
            broker_says: words.clone(),
        }),
    }
    if changes.is_empty() {
        return;
    }
    world.set(
        &entry.cluster,
        &owned.name,
        TopicView {
            id: Some(live.id),
            partitions: Some(changes.partitions.unwrap_or(live.partitions)),
            replication_factor: Some(live.replication_factor),
            configs,
            made_by: Some(entry.address.clone()),
        },
    );
    entry.rehearsal = Rehearsal::Pending;
    entry.act(Action::Update, Operation::AlterTopic(changes));
}
