//! Link records: what a link is to be against what was last applied.
//!
//! A link is known by its id and bound to two cluster ids. The file knows it by name, and says
//! `moved` when the name changes.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use uuid::Uuid;

use super::deletions;
use super::model::{Action, Address, Change, Entry, LinkOperation, Operation, Origin, Side, Value};
use super::reason::{Blocker, End, Reason};
use super::world::World;
use crate::control::records::{
    Acks, DesiredState, ForeignWrites, HolePolicy, LinkRecord, MirrorSettings, OffsetsSpec, OnHole,
    Owner, RECORD_VERSION, StartSpec, TimestampsSpec, WantedState,
};
use crate::topology::model::{Link, LinkState, Mirror, MirrorState, Start, Timestamps};
use crate::topology::selector::{RenameRule, TopicSelector};

/// A link's entry and what is known of it so far.
#[derive(Debug)]
pub(super) struct PlannedLink<'a> {
    pub entry: Entry,
    /// The link as it was applied.
    pub applied: Option<&'a LinkRecord>,
}

/// Plans a link's record. Whatever stands in the way of the link stands in the way of its mirrors.
pub(super) fn plan_link<'a>(world: &World<'a>, link: &Link) -> PlannedLink<'a> {
    let mut entry = entry(world, link);
    for cluster in [&link.source, &link.destination] {
        if world.blocked.contains_key(cluster) {
            entry.block(Blocker::ClusterBlocked {
                cluster: cluster.clone(),
            });
        }
    }
    if !entry.blocked.is_empty() {
        return PlannedLink {
            entry,
            applied: None,
        };
    }
    let applied = find_applied(world, link, &mut entry);
    if deletions::is_doomed(link) {
        return PlannedLink { entry, applied };
    }
    let wanted = wanted_record(world, link, applied);
    match applied {
        None => {
            entry
                .depends_on
                .push(Address::Control(link.destination.clone()));
            entry.changes = changes(world, link, None, &wanted);
            entry.act(
                Action::Create,
                Operation::Link(LinkOperation { record: wanted }),
            );
        }
        Some(applied) => {
            check_binding(world, link, applied, &mut entry);
            entry.changes = changes(world, link, Some(applied), &wanted);
            if entry
                .changes
                .iter()
                .any(|change| change.attribute == "start")
            {
                entry.reasons.push(Reason::StartOnlyForNew);
            }
            if applied.offsets == OffsetsSpec::Translate && wanted.offsets != applied.offsets {
                entry.reasons.push(Reason::OffsetsOnlyForNew);
            }
            let action = match entry.changes.as_slice() {
                [] => Action::Unchanged,
                [only] if only.attribute == "state" => match wanted.state {
                    DesiredState::Paused => Action::Pause,
                    DesiredState::Active => Action::Resume,
                },
                _ => Action::Update,
            };
            let operation = match action {
                Action::Unchanged => Operation::None,
                _ => Operation::Link(LinkOperation { record: wanted }),
            };
            entry.act(action, operation);
        }
    }
    let mut changes = entry.changes.iter();
    if changes.any(|change| change.attribute == "offsets") && link.offsets != OffsetsSpec::Translate
    {
        let destination = world.cluster(&link.destination);
        entry.reasons.extend(destination.allows_markers.map(|may| {
            if may {
                Reason::HolesByMarkers
            } else {
                Reason::HolesByTransactions {
                    user: destination.user.clone(),
                }
            }
        }));
    }
    PlannedLink { entry, applied }
}

/// The link's entry, asking for nothing yet.
pub(super) fn entry(world: &World<'_>, link: &Link) -> Entry {
    let mut entry = Entry::new(Address::Link(link.name.clone()), &link.destination);
    entry.asked_by = world.place(link.span);
    entry
}

/// The link as it was applied, by its name or its former one; what forbids the file to change it blocks the entry.
pub(super) fn find_applied<'a>(
    world: &World<'a>,
    link: &Link,
    entry: &mut Entry,
) -> Option<&'a LinkRecord> {
    let control = world.cluster(&link.destination).control.as_ref()?;
    let named = |name: &str| control.links.iter().find(|record| record.name == name);
    let by_name = named(&link.name);
    let moved = link.moved.as_ref();
    let by_former = moved.and_then(|moved| named(&moved.value));
    if let (Some(_), Some(former)) = (by_name, by_former) {
        entry.block(Blocker::MovedLinkExists {
            from: former.name.clone(),
            to: link.name.clone(),
        });
    }
    let applied = by_name.or(by_former)?;
    if applied.owner == Owner::Rest && !world.topology.adopts {
        entry.block(Blocker::LinkOwnedByRest);
    }
    Some(applied)
}

/// A link goes on only between the clusters that it was applied with.
pub(super) fn check_binding(
    world: &World<'_>,
    link: &Link,
    applied: &LinkRecord,
    entry: &mut Entry,
) {
    let ends = [
        (End::Source, &link.source, &applied.source_cluster_id),
        (
            End::Destination,
            &link.destination,
            &applied.destination_cluster_id,
        ),
    ];
    for (end, cluster, recorded) in ends {
        let found = &world.cluster(cluster).cluster_id;
        if recorded != found {
            entry.block(Blocker::LinkBoundElsewhere {
                end,
                cluster: cluster.clone(),
                recorded: recorded.clone(),
                found: found.clone(),
            });
        }
    }
}

/// The record that the file asks for: the applied one's successor, or one with a nil id. A source that can't be read is
/// taken for the one that was applied.
pub(super) fn wanted_record(
    world: &World<'_>,
    link: &Link,
    applied: Option<&LinkRecord>,
) -> LinkRecord {
    let source_cluster_id = match applied {
        Some(applied) if world.observed.unreachable.contains_key(&link.source) => {
            applied.source_cluster_id.clone()
        }
        _ => world.cluster(&link.source).cluster_id.clone(),
    };
    LinkRecord {
        version: RECORD_VERSION,
        id: applied.map_or(Uuid::nil(), |applied| applied.id),
        name: link.name.clone(),
        owner: Owner::File,
        source_cluster_id,
        destination_cluster_id: world.cluster(&link.destination).cluster_id.clone(),
        topics: link.topics.iter().map(|it| it.value.clone()).collect(),
        exclude: link.exclude.iter().map(|it| it.value.clone()).collect(),
        rename: link.rename.clone(),
        auto_create: link.auto_create,
        start: match link.start {
            Start::Earliest => StartSpec::Earliest,
            Start::Latest => StartSpec::Latest,
            Start::Timestamp(ms) => StartSpec::Timestamp(ms),
        },
        timestamps: match link.timestamps {
            Timestamps::AsConsumed => TimestampsSpec::AsConsumed,
            Timestamps::Original => TimestampsSpec::Original,
        },
        offsets: link.offsets,
        replication_factor: link.replication_factor.as_ref().map(|it| it.value),
        bytes_per_second: link.bytes_per_second.as_ref().map(|it| it.value),
        acks: link.acks.as_ref().map_or_else(Acks::default, |it| it.value),
        on_foreign_write: link.foreign_writes(),
        provenance_header: link.marks_provenance(),
        state: match link.state {
            LinkState::Active => DesiredState::Active,
            // A link that is to be deleted copies nothing meanwhile.
            LinkState::Paused | LinkState::Absent => DesiredState::Paused,
        },
        mirrors: link
            .mirrors
            .iter()
            .map(|(topic, mirror)| (topic.clone(), settings(mirror)))
            .collect(),
        generation: applied.map_or(0, |applied| applied.generation) + 1,
    }
}

fn on_hole(offsets: OffsetsSpec) -> Option<Value> {
    let OffsetsSpec::Preserve { on_hole } = offsets else {
        return None;
    };
    let then = match on_hole.then {
        OnHole::Stop => "stop",
        OnHole::Translate => "translate",
    };
    let larger_than = on_hole.larger_than;
    (on_hole != HolePolicy::default())
        .then(|| format!("larger_than = {larger_than}, then = {then}").into())
}

/// What the file says of one mirror, in the form of the control records.
pub(super) fn settings(mirror: &Mirror) -> MirrorSettings {
    let mut config: Vec<_> = mirror
        .config
        .iter()
        .map(|(key, value)| (key.clone(), value.value.clone()))
        .collect();
    config.sort();
    MirrorSettings {
        rename_to: mirror.rename_to.as_ref().map(|it| it.value.clone()),
        state: mirror.state.as_ref().map(|state| match state.value {
            MirrorState::Active => WantedState::Active,
            MirrorState::Paused => WantedState::Paused,
            MirrorState::Absent => WantedState::Absent,
            MirrorState::Promoted => WantedState::Promoted,
            MirrorState::FailedOver => WantedState::FailedOver,
        }),
        replication_factor: mirror.replication_factor.as_ref().map(|it| it.value),
        config: config.into_iter().collect(),
    }
}

/// The attributes of a record as they are shown, in the order in which they are shown.
fn attributes(record: &LinkRecord) -> Vec<(String, Option<Value>)> {
    let mut list = vec![
        ("name".to_owned(), Some(record.name.as_str().into())),
        // Of a link that a file adopts; all others are files'.
        (
            "owner".to_owned(),
            (record.owner == Owner::Rest).then(|| "rest".into()),
        ),
        ("topics".to_owned(), Some(selectors(&record.topics))),
        (
            "exclude".to_owned(),
            (!record.exclude.is_empty()).then(|| selectors(&record.exclude)),
        ),
        ("rename".to_owned(), rename(&record.rename)),
        ("auto_create".to_owned(), Some(record.auto_create.into())),
        ("start".to_owned(), Some(start(record.start))),
        (
            "timestamps".to_owned(),
            Some(Value::from(match record.timestamps {
                TimestampsSpec::AsConsumed => "as-consumed",
                TimestampsSpec::Original => "original",
            })),
        ),
        (
            "offsets".to_owned(),
            Some(Value::from(match record.offsets {
                OffsetsSpec::Preserve { .. } => "preserve",
                OffsetsSpec::Translate => "translate",
            })),
        ),
        ("on_hole".to_owned(), on_hole(record.offsets)),
        (
            "replication_factor".to_owned(),
            record.replication_factor.map(Value::from),
        ),
        (
            "limit.bytes_per_second".to_owned(),
            record
                .bytes_per_second
                .map(|bytes| Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX))),
        ),
        (
            "config.acks".to_owned(),
            (record.acks == Acks::Leader).then(|| "1".into()),
        ),
        (
            "on_foreign_write".to_owned(),
            (record.on_foreign_write == ForeignWrites::Translate).then(|| "translate".into()),
        ),
        (
            "provenance_header".to_owned(),
            record.provenance_header.then(|| true.into()),
        ),
        ("state".to_owned(), Some(state(record.state))),
    ];
    let mut mirrors: Vec<_> = record.mirrors.iter().collect();
    mirrors.sort_by_key(|(topic, _)| topic.as_str());
    for (topic, settings) in mirrors {
        let at = |what: &str| format!("mirrors.{topic}.{what}");
        list.push((at("as"), settings.rename_to.as_deref().map(Value::from)));
        list.push((at("state"), settings.state.map(wanted_state)));
        list.push((
            at("replication_factor"),
            settings.replication_factor.map(Value::from),
        ));
        for (key, value) in &settings.config {
            list.push((at(&format!("config.{key}")), Some(value.as_str().into())));
        }
        // A mirror that is only named, without settings of its own, is still selected by that.
        if *settings == MirrorSettings::default() {
            list.push((format!("mirrors.{topic}"), Some("selected".into())));
        }
    }
    list
}

pub(super) fn changes(
    world: &World<'_>,
    link: &Link,
    applied: Option<&LinkRecord>,
    wanted: &LinkRecord,
) -> Vec<Change> {
    let old: IndexMap<_, _> = applied
        .map(attributes)
        .unwrap_or_default()
        .into_iter()
        .collect();
    let new: IndexMap<_, _> = attributes(wanted).into_iter().collect();
    let gone = old
        .keys()
        .filter(|attribute| !new.contains_key(*attribute))
        .cloned();
    let all: Vec<String> = new.keys().cloned().chain(gone).collect();
    let mut changes = Vec::new();
    for attribute in all {
        let before = old.get(&attribute).cloned().flatten();
        let after = new.get(&attribute).cloned().flatten();
        // For a link that is created, its name and its mirrors' settings are told elsewhere.
        let told = applied.is_none() && (attribute == "name" || attribute.starts_with("mirrors."));
        // In whatever order they are written, they take the same topics.
        let unordered = attribute == "topics" || attribute == "exclude";
        if before == after || told || unordered && same_items(before.as_ref(), after.as_ref()) {
            continue;
        }
        changes.push(Change {
            asked_by: place_of(world, link, &attribute),
            old: before.map(|value| Side::new(value, Origin::Applied)),
            new: after.map(|value| {
                let origin = if is_default(&attribute, &value) {
                    Origin::Builtin
                } else {
                    Origin::File
                };
                Side::new(value, origin)
            }),
            attribute,
        });
    }
    changes
}

fn same_items(one: Option<&Value>, other: Option<&Value>) -> bool {
    match (one, other) {
        (Some(Value::List(one)), Some(Value::List(other))) => {
            let items = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
            items(one) == items(other)
        }
        _ => false,
    }
}

/// What a link has without a word in the file.
fn is_default(attribute: &str, value: &Value) -> bool {
    let default: Value = match attribute {
        "auto_create" => true.into(),
        "start" => "earliest".into(),
        "timestamps" => "as-consumed".into(),
        "offsets" => "preserve".into(),
        "state" => "active".into(),
        _ => return false,
    };
    *value == default
}

fn place_of(world: &World<'_>, link: &Link, attribute: &str) -> Option<super::model::Place> {
    let span = match attribute {
        "name" => link.moved.as_ref().map(|it| it.span),
        "topics" => link.topics.first().map(|it| it.span),
        "exclude" => link.exclude.first().map(|it| it.span),
        "replication_factor" => link.replication_factor.as_ref().map(|it| it.span),
        "limit.bytes_per_second" => link.bytes_per_second.as_ref().map(|it| it.span),
        "config.acks" => link.acks.as_ref().map(|it| it.span),
        "on_foreign_write" => link.on_foreign_write.as_ref().map(|it| it.span),
        "provenance_header" => link.provenance_header.as_ref().map(|it| it.span),
        _ => link
            .mirrors
            .iter()
            .find(|(topic, _)| {
                attribute
                    .strip_prefix("mirrors.")
                    .and_then(|rest| rest.strip_prefix(topic.as_str()))
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
            .map(|(_, mirror)| mirror.span),
    };
    world.place(span?)
}

pub(super) fn selector_text(selector: &TopicSelector) -> String {
    match selector {
        TopicSelector::Name(text) | TopicSelector::Glob { pattern: text, .. } => text.clone(),
        TopicSelector::Regex { pattern, .. } => format!("regex {pattern}"),
    }
}

fn selectors(selectors: &[TopicSelector]) -> Value {
    Value::List(selectors.iter().map(selector_text).collect())
}

fn rename(rule: &RenameRule) -> Option<Value> {
    Some(match rule {
        RenameRule::Keep => return None,
        RenameRule::Template(template) => template.as_str().into(),
        RenameRule::Prefix(prefix) => Value::Text(format!("{prefix}${{topic}}")),
        RenameRule::Rules(rules) => Value::List(
            rules
                .iter()
                .map(|rule| format!("regex {} to {}", rule.pattern(), rule.to()))
                .collect(),
        ),
    })
}

fn start(start: StartSpec) -> Value {
    match start {
        StartSpec::Earliest => "earliest".into(),
        StartSpec::Latest => "latest".into(),
        StartSpec::Timestamp(ms) => jiff::Timestamp::from_millisecond(ms)
            .map_or_else(|_| Value::Int(ms), |time| Value::Text(time.to_string())),
    }
}

fn wanted_state(state: WantedState) -> Value {
    match state {
        WantedState::Active => "active".into(),
        WantedState::Paused => "paused".into(),
        WantedState::Absent => "absent".into(),
        WantedState::Promoted => "promoted".into(),
        WantedState::FailedOver => "failed-over".into(),
    }
}

pub(super) fn state(state: DesiredState) -> Value {
    match state {
        DesiredState::Active => "active".into(),
        DesiredState::Paused => "paused".into(),
    }
}
