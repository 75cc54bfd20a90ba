//! Links whose source cannot be read: the brokers of the destination still tell what they have, and fail it over.

use super::mirrors;
use crate::observe::model::{BrokerLinks, Observed};
use crate::plan::model::{Entry, Rehearsal};
use crate::plan::reason::{Blocker, Note};
use crate::plan::{links, world::World};
use crate::rest::documents::Mirror;
use crate::topology::model::{Link, LinkState, MirrorState};

/// What the brokers of the destination tell, where they have the link.
pub(in crate::plan) fn carried<'o>(link: &Link, observed: &'o Observed) -> Option<&'o BrokerLinks> {
    let there = observed.clusters.get(&link.destination)?.linking.known()?;
    there
        .links
        .contains_key(link.broker_name())
        .then_some(there)
}

/// The link as it is, and of its mirrors those steps that do without the source: pause, resume, failover.
pub(in crate::plan) fn plan_without_source(
    world: &World<'_>,
    link: &Link,
) -> (Vec<Entry>, Vec<Note>) {
    let mut entry = links::entry(world, link);
    let cause = world.observed.unreachable[&link.source].clone();
    let blocker = Blocker::SourceUnreachable {
        cluster: link.source.clone(),
        cause: cause.clone(),
    };
    let Some(there) = carried(link, world.observed) else {
        entry.block(blocker);
        return (vec![entry], Vec::new());
    };
    if link.state == LinkState::Absent {
        entry.block(blocker.clone());
    }
    let own: Vec<&Mirror> = there
        .mirrors
        .values()
        .filter(|mirror| mirror.link_name == link.broker_name())
        .collect();
    let note = Note::SourceUnreachable {
        link: link.name.clone(),
        cluster: link.source.clone(),
        mirrors: own.len(),
        cause,
    };
    let mut entries = vec![entry];
    for mirror in own {
        let settings = link.mirrors.get(&mirror.source_topic_name);
        let wanted = settings.and_then(|it| it.state.as_ref());
        let mut entry = mirrors::plan_step(world, link, mirror);
        let needs_source = match wanted.map(|state| state.value) {
            None | Some(MirrorState::Active | MirrorState::Paused | MirrorState::FailedOver) => {
                false
            }
            // What it still has is waited for.
            Some(MirrorState::Promoted) => entry.action.changes(),
            Some(MirrorState::Absent) => true,
        };
        if needs_source {
            entry.block(blocker.clone());
        }
        if !entry.blocked.is_empty() {
            entry.rehearsal = Rehearsal::NotNeeded;
        }
        entries.push(entry);
    }
    (entries, vec![note])
}
