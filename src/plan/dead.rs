//! Links that have a cluster which can't be read.
//!
//! A source that is down is no reason to keep its mirrors from being paused: what was resolved when the link was applied is
//! in the control records at the destination. Whatever else is asked of such a link is blocked, since nobody can say what its
//! topics are like. Where the cluster is the destination of a link as well, nothing is planned for that one. All other links are planned as ever.

use std::borrow::Cow;

use super::model::{
    Action, Address, Change, Entry, LinkOperation, MirrorOperation, MirrorRecordChange,
    MirrorTopic, Operation, Origin, Plan, Route, Side, TopicChanges, Value,
};
use super::reason::{Blocker, Note};
use super::world::World;
use super::{cluster_link, endings, links};
use crate::control::records::{DesiredState, EndingKind, LinkRecord, MirrorRecord};
use crate::observe::model::Observed;
use crate::topology::engines::Engine;
use crate::topology::model::{Link, MirrorState, Topology};

/// The file without the clusters that can't be read and the links from them.
pub fn reachable<'t>(topology: &'t Topology, observed: &Observed) -> Cow<'t, Topology> {
    if observed.unreachable.is_empty() {
        return Cow::Borrowed(topology);
    }
    let mut topology = topology.clone();
    topology
        .clusters
        .retain(|name, _| !observed.unreachable.contains_key(name));
    let is_dead = |cluster: &String| observed.unreachable.contains_key(cluster);
    topology
        .links
        .retain(|_, link| !is_dead(&link.source) && !is_dead(&link.destination));
    Cow::Owned(topology)
}

/// Whether anything can be planned without this cluster: it is the source of links, all of which were applied.
pub fn can_do_without(topology: &Topology, observed: &Observed, cluster: &str) -> bool {
    let mut links = topology
        .links
        .values()
        .filter(|link| link.source == cluster)
        .peekable();
    links.peek().is_some() && links.all(|link| is_known(link, observed))
}

/// Whether it is known what the link has, without its source: by what was applied, or by the brokers that carry it.
fn is_known(link: &Link, observed: &Observed) -> bool {
    if link.engine == Engine::ClusterLink {
        // The half at the source is asked about at the source.
        return !link.has_half_at_source() && cluster_link::carried(link, observed).is_some();
    }
    applied(link, observed).is_some()
}

/// The link as it was applied, by its name or its former one.
fn applied<'o>(link: &Link, observed: &'o Observed) -> Option<&'o LinkRecord> {
    let control = observed.clusters.get(&link.destination)?.control.as_ref()?;
    let named = |name: &str| control.links.iter().find(|record| record.name == name);
    named(&link.name).or_else(|| named(&link.moved.as_ref()?.value))
}

/// Adds the entries of links whose source can't be read, and tells of the file's own topics there.
pub(super) fn plan(plan: &mut Plan, world: &World<'_>) {
    let observed = world.observed;
    plan.notes
        .extend(world.topology.clusters.values().filter_map(|cluster| {
            let cause = observed.unreachable.get(&cluster.name)?;
            (!cluster.topics.is_empty()).then(|| Note::TopicsUnread {
                cluster: cluster.name.clone(),
                topics: cluster.topics.len(),
                cause: cause.clone(),
            })
        }));
    let dead = |link: &&Link| observed.unreachable.contains_key(&link.source);
    let names: Vec<&str> = world
        .topology
        .links
        .values()
        .filter(dead)
        .flat_map(|link| {
            let former = link.moved.as_ref().map(|moved| moved.value.as_str());
            [Some(link.name.as_str()), former]
        })
        .flatten()
        .collect();
    // They are in the file, if not in the part of it that was planned so far.
    plan.notes.retain(
        |note| !matches!(note, Note::LinkNotInFile { link, .. } if names.contains(&link.as_str())),
    );
    let links = world.topology.links.values();
    let carried: Vec<&str> = links.filter(dead).map(Link::broker_name).collect();
    plan.notes.retain(|note| {
        !matches!(note, Note::BrokerLinkNotInFile { link, .. } if carried.contains(&link.as_str()))
    });
    for link in world.topology.links.values().filter(dead) {
        let (entries, notes) = match link.engine {
            Engine::ClusterLink => cluster_link::plan_without_source(world, link),
            _ => plan_link(world, link),
        };
        plan.entries.extend(entries);
        plan.notes.extend(notes);
    }
    for link in world.topology.links.values() {
        if let Some(cause) = observed.unreachable.get(&link.destination) {
            let mut entry = links::entry(world, link);
            entry.block(Blocker::DestinationUnreachable {
                cluster: link.destination.clone(),
                cause: cause.clone(),
            });
            plan.entries.push(entry);
        }
    }
}

fn plan_link(world: &World<'_>, link: &Link) -> (Vec<Entry>, Vec<Note>) {
    let mut entry = links::entry(world, link);
    if world.blocked.contains_key(&link.destination) {
        entry.block(Blocker::ClusterBlocked {
            cluster: link.destination.clone(),
        });
        return (vec![entry], Vec::new());
    }
    let Some(applied) = links::find_applied(world, link, &mut entry) else {
        return (Vec::new(), Vec::new());
    };
    if !entry.blocked.is_empty() {
        return (vec![entry], Vec::new());
    }
    let cause = world.observed.unreachable[&link.source].clone();
    let blocker = Blocker::SourceUnreachable {
        cluster: link.source.clone(),
        cause: cause.clone(),
    };
    let control = world.cluster(&link.destination).control.iter();
    let mirrors: Vec<&MirrorRecord> = control
        .flat_map(|control| &control.mirrors)
        .filter(|record| record.id.link == applied.id)
        .collect();
    let wanted = links::wanted_record(world, link, Some(applied));
    entry.changes = links::changes(world, link, Some(applied), &wanted);
    if entry
        .changes
        .iter()
        .any(|change| !needs_no_source(link, change, &mirrors))
    {
        entry.block(blocker.clone());
    } else if let [first, ..] = entry.changes.as_slice() {
        let action = match first.attribute == "state" && entry.changes.len() == 1 {
            true => Action::Pause,
            false => Action::Update,
        };
        let operation = Operation::Link(LinkOperation { record: wanted });
        entry.act(action, operation);
    }
    let mut entries: Vec<Entry> = mirrors
        .iter()
        .filter_map(|record| plan_mirror(world, link, record, &blocker))
        .collect();
    let mut notes = endings::notes(link, mirrors.iter().copied());
    let asks = |entry: &Entry| entry.action != Action::Unchanged;
    // What is under way is waited for.
    let all_have_ended = !mirrors.is_empty() && mirrors.iter().all(|it| is_over(link, it));
    if !asks(&entry) && !entries.iter().any(asks) && notes.is_empty() && !all_have_ended {
        // That nothing has to be done is not known.
        entry.block(blocker);
    }
    let note = entry.blocked.is_empty().then(|| Note::SourceUnreachable {
        link: link.name.clone(),
        cluster: link.source.clone(),
        mirrors: mirrors.len(),
        cause,
    });
    entries.push(entry);
    notes.extend(note);
    (entries, notes)
}

/// Whether nothing of the source concerns a mirror any more, as the file has it.
fn is_over(link: &Link, record: &MirrorRecord) -> bool {
    let wanted = endings::wanted(link, &record.source_topic);
    record.is_stopped() && wanted.is_some_and(|kind| !endings::is_due(record, kind))
}

/// Whether a change of a link's record stops copying and does nothing else, or says what has happened already.
fn needs_no_source(link: &Link, change: &Change, mirrors: &[&MirrorRecord]) -> bool {
    let mirror = change.attribute.strip_prefix("mirrors.");
    let Some(new) = change.new.as_ref().map(|side| &side.value) else {
        // One that was selected by its name alone, and ends: its state is a change of its own.
        return mirror.is_some_and(|topic| endings::wanted(link, topic).is_some());
    };
    let mirror = mirror.and_then(|rest| rest.strip_suffix(".state"));
    let has_ended = |topic: &str| {
        let mut own = mirrors.iter().filter(|it| it.source_topic == topic);
        own.any(|record| endings::state_of(record) == *new)
    };
    match mirror {
        Some(topic) => {
            *new == Value::from("paused")
                || *new == Value::from("failed-over")
                || *new == Value::from("promoted") && has_ended(topic)
        }
        None => change.attribute == "state" && *new == Value::from("paused"),
    }
}

/// A mirror that ends or has ended. Failing it over takes nothing of the source.
fn plan_end(
    world: &World<'_>,
    link: &Link,
    record: &MirrorRecord,
    blocker: &Blocker,
) -> Option<Entry> {
    let settings = link.mirrors.get(&record.source_topic);
    let address = Address::Mirror {
        link: link.name.clone(),
        source_topic: record.source_topic.clone(),
    };
    let mut entry = Entry::new(address, &link.destination);
    entry.asked_by = settings.and_then(|mirror| world.place(mirror.span));
    match endings::wanted(link, &record.source_topic) {
        Some(kind) if !endings::is_due(record, kind) => return None,
        Some(kind) => {
            endings::plan_end(world, link, record, kind, &mut entry);
            if kind == EndingKind::Promote {
                entry.block(blocker.clone());
            }
        }
        // Whether a pattern still takes the topic can't be told; that somebody wants it back can.
        None => {
            let state = settings.and_then(|mirror| mirror.state.as_ref())?;
            match state.value {
                MirrorState::Absent => entry.block(blocker.clone()),
                _ => entry.block(endings::handed_over(link, record)),
            }
        }
    }
    Some(entry)
}

/// A mirror by its record; none where nothing is asked of it.
fn plan_mirror(
    world: &World<'_>,
    link: &Link,
    record: &MirrorRecord,
    blocker: &Blocker,
) -> Option<Entry> {
    let settings = link.mirrors.get(&record.source_topic);
    let ends = endings::wanted(link, &record.source_topic);
    if ends.is_some() || record.ending.is_some() {
        return plan_end(world, link, record, blocker);
    }
    let asked = settings.and_then(|mirror| mirror.state.as_ref());
    let wanted = match asked.map(|state| state.value) {
        Some(
            MirrorState::Paused
            | MirrorState::Promoted
            | MirrorState::FailedOver
            | MirrorState::Absent,
        ) => DesiredState::Paused,
        // Paused because no line selected it any more, maybe: without the source nobody can tell.
        None => record.state,
        Some(MirrorState::Active) => DesiredState::Active,
    };
    let doomed = asked.is_some_and(|state| state.value == MirrorState::Absent);
    if wanted == record.state && !doomed {
        return None;
    }
    let address = Address::Mirror {
        link: link.name.clone(),
        source_topic: record.source_topic.clone(),
    };
    let mut entry = Entry::new(address, &link.destination);
    entry.asked_by = settings.and_then(|mirror| world.place(mirror.span));
    entry.route = Some(Route {
        source_cluster: link.source.clone(),
        source_topic: record.source_topic.clone(),
        destination_cluster: link.destination.clone(),
        destination_topic: record.destination_topic.clone(),
    });
    if doomed || wanted != DesiredState::Paused {
        entry.block(blocker.clone());
        return Some(entry);
    }
    entry.changes.push(Change {
        attribute: "state".to_owned(),
        old: Some(Side::new(links::state(record.state), Origin::Applied)),
        new: Some(Side::new(links::state(wanted), Origin::File)),
        asked_by: None,
    });
    let operation = Operation::Mirror(MirrorOperation {
        link: link.name.clone(),
        source_cluster: link.source.clone(),
        source_topic: record.source_topic.clone(),
        destination_topic: record.destination_topic.clone(),
        topic: MirrorTopic::Alter(TopicChanges {
            name: record.destination_topic.clone(),
            ..TopicChanges::default()
        }),
        record: MirrorRecordChange::State {
            id: record.id,
            state: wanted,
            generation: record.generation,
        },
    });
    entry.act(Action::Pause, operation);
    Some(entry)
}
