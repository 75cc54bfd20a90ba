//! Mirrors that end, or have ended: promotion and failover, which nothing leads back from.
//!
//! Whether a mirror has ended is what is recorded of it, not what any file says: a file that still wants it active is an old one,
//! or is mistaken, and is told so.

use super::links::{self, PlannedLink};
use super::mirrors::shown_route;
use super::model::{
    Action, Change, Entry, MirrorOperation, MirrorRecordChange, MirrorTopic, Operation, Origin,
    Side, TopicChanges, Value, same_topic,
};
use super::reason::{Blocker, Note, Reason};
use super::world::World;
use crate::control::records::{EndingKind, MirrorRecord};
use crate::topology::model::{Link, MirrorState};

/// How the file wants a mirror to end, if it does.
pub(super) fn wanted(link: &Link, source_topic: &str) -> Option<EndingKind> {
    let state = link.mirrors.get(source_topic)?.state.as_ref()?;
    match state.value {
        MirrorState::Promoted => Some(EndingKind::Promote),
        MirrorState::FailedOver => Some(EndingKind::FailOver),
        MirrorState::Active | MirrorState::Paused | MirrorState::Absent => None,
    }
}

/// Plans a mirror that the file wants to end, or that has. `false`: neither, and nothing was planned.
pub(super) fn plan(
    world: &World<'_>,
    planned: &PlannedLink<'_>,
    (link, source_topic): (&Link, &str),
    entry: &mut Entry,
) -> bool {
    let wanted = wanted(link, source_topic);
    let record = find(world, planned, link, source_topic);
    match (wanted, record) {
        (None, Some(record)) if record.ending.is_some() => {
            if !is_there(world, link, record) {
                // Nothing is left that could be undone: it may be mirrored anew.
                return false;
            }
            entry.block(handed_over(link, record));
            true
        }
        (None, _) => false,
        (Some(kind), None) => {
            entry.block(Blocker::NothingToEnd {
                link: link.name.clone(),
                source_topic: source_topic.to_owned(),
                kind: word(kind),
            });
            true
        }
        (Some(kind), Some(record)) => {
            plan_end(world, link, record, kind, entry);
            true
        }
    }
}

/// Plans the end of one mirror, unless that is under way or over.
pub(super) fn plan_end(
    world: &World<'_>,
    link: &Link,
    record: &MirrorRecord,
    kind: EndingKind,
    entry: &mut Entry,
) {
    entry.route = Some(shown_route(
        link,
        &record.source_topic,
        &record.destination_topic,
    ));
    if !is_due(record, kind) {
        entry.depends_on.clear();
        return;
    }
    let settings = link.mirrors.get(&record.source_topic);
    let state = settings.and_then(|mirror| mirror.state.as_ref());
    entry.changes.push(Change {
        attribute: "state".to_owned(),
        old: Some(Side::new(state_of(record), Origin::Applied)),
        new: Some(Side::new(word(kind), Origin::File)),
        asked_by: state.and_then(|state| world.place(state.span)),
    });
    entry.reasons.push(match kind {
        EndingKind::Promote => Reason::Promotes,
        EndingKind::FailOver => Reason::FailsOver,
    });
    entry.act(
        match kind {
            EndingKind::Promote => Action::Promote,
            EndingKind::FailOver => Action::FailOver,
        },
        Operation::Mirror(MirrorOperation {
            link: link.name.clone(),
            source_cluster: link.source.clone(),
            source_topic: record.source_topic.clone(),
            destination_topic: record.destination_topic.clone(),
            topic: MirrorTopic::Alter(TopicChanges {
                name: record.destination_topic.clone(),
                ..TopicChanges::default()
            }),
            record: MirrorRecordChange::End {
                id: record.id,
                kind,
                generation: record.generation,
            },
        }),
    );
}

/// Whether it is still to be asked for: a promotion under way can become a failover.
pub(super) fn is_due(record: &MirrorRecord, kind: EndingKind) -> bool {
    match &record.ending {
        None => true,
        Some(ending) => {
            !ending.is_over() && ending.kind == EndingKind::Promote && kind == EndingKind::FailOver
        }
    }
}

/// That the file wants a mirror back which has ended.
pub(super) fn handed_over(link: &Link, record: &MirrorRecord) -> Blocker {
    let kind = record.ending.as_ref().map(|ending| ending.kind);
    Blocker::HandedOver {
        cluster: link.destination.clone(),
        topic: record.destination_topic.clone(),
        link: link.name.clone(),
        source_topic: record.source_topic.clone(),
        state: word(kind.unwrap_or(EndingKind::Promote)),
    }
}

/// Mirrors of a link whose end is under way.
pub(super) fn pending(world: &World<'_>, link: &Link, planned: &PlannedLink<'_>) -> Vec<Note> {
    let (Some(applied), Some(control)) =
        (planned.applied, &world.cluster(&link.destination).control)
    else {
        return Vec::new();
    };
    notes(
        link,
        control.mirrors.iter().filter(|it| it.id.link == applied.id),
    )
}

/// The same of some records.
pub(super) fn notes<'r>(link: &Link, records: impl Iterator<Item = &'r MirrorRecord>) -> Vec<Note> {
    let pending = records.filter_map(|record| Some((record, record.pending()?)));
    pending
        .map(|(record, ending)| Note::EndingPending {
            link: link.name.clone(),
            cluster: link.destination.clone(),
            source_topic: record.source_topic.clone(),
            destination_topic: record.destination_topic.clone(),
            kind: word(ending.kind),
            since_ms: ending.requested_ms,
        })
        .collect()
}

/// A mirror's state as it is recorded.
pub(super) fn state_of(record: &MirrorRecord) -> Value {
    match &record.ending {
        Some(ending) => word(ending.kind).into(),
        None => links::state(record.state),
    }
}

/// As the file spells it.
fn word(kind: EndingKind) -> String {
    match kind {
        EndingKind::Promote => "promoted".to_owned(),
        EndingKind::FailOver => "failed-over".to_owned(),
    }
}

/// The link's record of a source topic's mirror: the one whose topic is there, if any is.
fn find<'w>(
    world: &World<'w>,
    planned: &PlannedLink<'_>,
    link: &Link,
    source_topic: &str,
) -> Option<&'w MirrorRecord> {
    let applied = planned.applied?;
    let records = world.records(&link.destination)?.copied_from(source_topic);
    let own = || {
        records
            .iter()
            .copied()
            .filter(|it| it.id.link == applied.id)
    };
    own()
        .find(|record| is_there(world, link, record))
        .or_else(|| own().max_by_key(|record| record.generation))
}

fn is_there(world: &World<'_>, link: &Link, record: &MirrorRecord) -> bool {
    let topics = &world.cluster(&link.destination).topics;
    topics
        .get(&record.destination_topic)
        .is_some_and(|live| same_topic(live.id, record.id.destination_topic))
}
