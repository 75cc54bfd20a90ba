//! What is deleted: mirrors, links and owned topics whose state is `absent`.
//!
//! Nothing is deleted because the file does not name it. A mirror's topic goes only where its id is the recorded one; a topic
//! that others still copy stays; a link goes when none of its mirrors is left. [`guard`] holds back every deletion
//! that was not allowed besides.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{
    Action, Address, Change, DoomedTopic, Entry, MirrorDeletion, Operation, Origin, Plan, Route,
    Side, same_topic,
};
use super::reason::{Blocker, Reason};
use super::world::World;
use super::{endings, links};
use crate::control::records::{IncarnationId, LinkRecord, MirrorRecord};
use crate::observe::model::{Described, ObservedTopic};
use crate::topology::model::{Link, LinkState, Mirror, MirrorState, OwnedTopic, Span};

/// Deletions that nobody allowed become blocked entries.
pub fn guard(plan: &mut Plan, allowed: bool) {
    plan.allow_delete = allowed;
    if allowed {
        return;
    }
    for entry in &mut plan.entries {
        if entry.action == Action::Delete {
            entry.block(Blocker::DeletionNotAllowed);
        }
    }
    plan.settle();
}

/// Mirrors that the plan deletes, and the entries that do it: what depends on their being gone comes after.
#[derive(Debug, Default)]
pub(super) struct Doomed {
    mirrors: BTreeMap<IncarnationId, Address>,
}

/// Whether the file wants a mirror of this topic to be gone.
pub(super) fn is_absent(link: &Link, source_topic: &str) -> bool {
    link.mirrors
        .get(source_topic)
        .is_some_and(|mirror| absent_since(mirror).is_some())
}

/// The place that says so.
fn absent_since(mirror: &Mirror) -> Option<Span> {
    mirror
        .state
        .as_ref()
        .filter(|state| state.value == MirrorState::Absent)
        .map(|state| state.span)
}

impl Doomed {
    /// Finds the mirrors that the file wants gone, over all links that are not blocked.
    pub fn find<'w>(
        world: &World<'w>,
        links: impl Iterator<Item = (&'w Link, Option<&'w LinkRecord>)>,
    ) -> Self {
        let mut doomed = Self::default();
        for (link, applied) in links {
            for topic in link.mirrors.keys().filter(|topic| is_absent(link, topic)) {
                let address = mirror_address(link, topic);
                for record in records_of(world, link, applied, topic) {
                    doomed.mirrors.insert(record.id, address.clone());
                }
            }
        }
        doomed
    }

    /// The link's mirrors with state `absent`.
    pub fn plan_mirrors(
        &self,
        world: &World<'_>,
        link: &Link,
        applied: Option<&LinkRecord>,
    ) -> Vec<Entry> {
        link.mirrors
            .iter()
            .filter_map(|(topic, mirror)| Some((topic, absent_since(mirror)?)))
            .map(|(topic, span)| self.plan_mirror(world, link, applied, topic, span))
            .collect()
    }

    fn plan_mirror(
        &self,
        world: &World<'_>,
        link: &Link,
        applied: Option<&LinkRecord>,
        topic: &str,
        span: Span,
    ) -> Entry {
        let mut entry = Entry::new(mirror_address(link, topic), &link.destination);
        entry.asked_by = world.place(span);
        let records = records_of(world, link, applied, topic);
        let Some(last) = records.last() else {
            return entry;
        };
        entry.route = Some(Route {
            source_cluster: link.source.clone(),
            source_topic: topic.to_owned(),
            destination_cluster: link.destination.clone(),
            destination_topic: last.destination_topic.clone(),
        });
        entry.changes.push(Change {
            attribute: "state".to_owned(),
            old: Some(Side::new(endings::state_of(last), Origin::Applied)),
            new: Some(Side::new("absent", Origin::File)),
            asked_by: world.place(span),
        });
        let mut topics = Vec::new();
        for record in &records {
            if record.pending().is_some() {
                entry.block(Blocker::EndingUnderWay {
                    cluster: link.destination.clone(),
                    topic: record.destination_topic.clone(),
                });
            }
            topics.extend(self.topic_of_record(world, link, record, &mut entry));
        }
        entry.act(
            Action::Delete,
            Operation::DeleteMirror(MirrorDeletion {
                topics,
                records: records.iter().map(|record| record.id).collect(),
            }),
        );
        entry
    }

    /// The mirror's topic, where it is there and nobody else's.
    fn topic_of_record(
        &self,
        world: &World<'_>,
        link: &Link,
        record: &MirrorRecord,
        entry: &mut Entry,
    ) -> Option<DoomedTopic> {
        let name = &record.destination_topic;
        if let Some(blocker) = world.hidden(&link.destination, name) {
            entry.block(blocker);
            return None;
        }
        let Some(live) = world.cluster(&link.destination).topics.get(name) else {
            entry.reasons.push(Reason::TopicGoneAlready {
                cluster: link.destination.clone(),
                topic: name.clone(),
            });
            return None;
        };
        if !same_topic(live.id, record.id.destination_topic) {
            entry.block(Blocker::DestinationRecreated {
                cluster: link.destination.clone(),
                topic: name.clone(),
                recorded: record.id.destination_topic,
                found: live.id,
            });
            return None;
        }
        self.keep_for_readers(world, &link.destination, name, entry);
        entry.reasons.push(deletes(&link.destination, name, live));
        Some(DoomedTopic {
            name: name.clone(),
            id: live.id,
        })
    }

    /// A topic that the file owned.
    pub fn plan_owned(&self, world: &World<'_>, cluster: &str, owned: &OwnedTopic) -> Entry {
        let mut entry = Entry::new(
            Address::Topic {
                cluster: cluster.to_owned(),
                topic: owned.name.clone(),
            },
            cluster,
        );
        entry.asked_by = world.place(owned.absent.unwrap_or(owned.span));
        if let Some(blocker) = world.hidden(cluster, &owned.name) {
            entry.block(blocker);
            return entry;
        }
        let Some(live) = world.cluster(cluster).topics.get(&owned.name) else {
            return entry;
        };
        for record in world
            .records(cluster)
            .map_or(&[][..], |records| records.written_to(&owned.name))
        {
            if same_topic(record.id.destination_topic, live.id)
                && !self.mirrors.contains_key(&record.id)
            {
                entry.block(Blocker::DestinationTaken {
                    cluster: cluster.to_owned(),
                    topic: owned.name.clone(),
                    by: address_of(world, cluster, record).to_string(),
                });
            }
        }
        self.keep_for_readers(world, cluster, &owned.name, &mut entry);
        entry.reasons.push(deletes(cluster, &owned.name, live));
        entry.changes.push(Change {
            attribute: "state".to_owned(),
            old: Some(Side::new("active", Origin::Live)),
            new: Some(Side::new("absent", Origin::File)),
            asked_by: owned.absent.and_then(|span| world.place(span)),
        });
        entry.act(
            Action::Delete,
            Operation::DeleteTopic(DoomedTopic {
                name: owned.name.clone(),
                id: live.id,
            }),
        );
        entry
    }

    /// A topic from which mirrors are filled stays; those that are deleted in the same plan go first.
    fn keep_for_readers(&self, world: &World<'_>, cluster: &str, topic: &str, entry: &mut Entry) {
        let id = &world.cluster(cluster).cluster_id;
        let mut readers = BTreeSet::new();
        for (destination, seen) in &world.observed.clusters {
            let Some(control) = &seen.control else {
                continue;
            };
            for record in world
                .records(destination)
                .map_or(&[][..], |records| records.copied_from(topic))
            {
                let from_here = control
                    .links
                    .iter()
                    .any(|link| link.id == record.id.link && link.source_cluster_id == *id);
                if !from_here {
                    continue;
                }
                match self.mirrors.get(&record.id) {
                    Some(address) => entry.depends_on.push(address.clone()),
                    None => {
                        readers.insert(address_of(world, destination, record).to_string());
                    }
                }
            }
        }
        if !readers.is_empty() {
            entry.block(Blocker::StillMirrored {
                cluster: cluster.to_owned(),
                topic: topic.to_owned(),
                by: readers.into_iter().collect(),
            });
        }
    }

    /// A link with state `absent`.
    pub fn plan_link(
        &self,
        world: &World<'_>,
        link: &Link,
        applied: Option<&LinkRecord>,
        mut entry: Entry,
    ) -> Entry {
        let (Some(applied), Some(control)) = (applied, &world.cluster(&link.destination).control)
        else {
            return entry;
        };
        links::check_binding(world, link, applied, &mut entry);
        let mut left = BTreeSet::new();
        let own = control
            .mirrors
            .iter()
            .filter(|record| record.id.link == applied.id);
        for record in own {
            match self.mirrors.get(&record.id) {
                Some(address) => entry.depends_on.push(address.clone()),
                None => {
                    left.insert(record.source_topic.clone());
                }
            }
        }
        entry.depends_on.sort();
        entry.depends_on.dedup();
        if !left.is_empty() {
            entry.block(Blocker::LinkHasMirrors {
                link: link.name.clone(),
                topics: left.into_iter().collect(),
            });
        }
        entry.changes.push(Change {
            attribute: "state".to_owned(),
            old: Some(Side::new(links::state(applied.state), Origin::Applied)),
            new: Some(Side::new("absent", Origin::File)),
            asked_by: None,
        });
        entry.act(Action::Delete, Operation::DeleteLink { id: applied.id });
        entry
    }
}

/// Destination topics of mirrors that are to be deleted, by cluster, as far as they are there.
pub(super) fn mirror_topics(world: &World<'_>) -> Vec<(String, String)> {
    let mut topics = Vec::new();
    for link in world.topology.links.values() {
        if world.blocked.contains_key(&link.destination) {
            continue;
        }
        let seen = world.cluster(&link.destination);
        let Some(control) = &seen.control else {
            continue;
        };
        let Some(applied) = control.links.iter().find(|it| it.name == link.name) else {
            continue;
        };
        for topic in link.mirrors.keys().filter(|topic| is_absent(link, topic)) {
            for record in records_of(world, link, Some(applied), topic) {
                if seen.topics.contains_key(&record.destination_topic) {
                    topics.push((link.destination.clone(), record.destination_topic.clone()));
                }
            }
        }
    }
    topics
}

/// The records that this link has for a source topic: one, or more where topics were recreated.
fn records_of<'w>(
    world: &World<'w>,
    link: &Link,
    applied: Option<&LinkRecord>,
    topic: &str,
) -> Vec<&'w MirrorRecord> {
    let (Some(applied), Some(records)) = (applied, world.records(&link.destination)) else {
        return Vec::new();
    };
    let mut own: Vec<&MirrorRecord> = records
        .copied_from(topic)
        .iter()
        .copied()
        .filter(|record| record.id.link == applied.id)
        .collect();
    own.sort_by_key(|record| record.id);
    own
}

fn mirror_address(link: &Link, source_topic: &str) -> Address {
    Address::Mirror {
        link: link.name.clone(),
        source_topic: source_topic.to_owned(),
    }
}

/// A recorded mirror by the name that its link has there.
fn address_of(world: &World<'_>, destination: &str, record: &MirrorRecord) -> Address {
    let links = world.cluster(destination).control.iter();
    let name = links
        .flat_map(|control| &control.links)
        .find(|link| link.id == record.id.link)
        .map_or_else(|| record.id.link.to_string(), |link| link.name.clone());
    Address::Mirror {
        link: name,
        source_topic: record.source_topic.clone(),
    }
}

fn deletes(cluster: &str, topic: &str, live: &ObservedTopic) -> Reason {
    Reason::DeletesTopic {
        cluster: cluster.to_owned(),
        topic: topic.to_owned(),
        partitions: live.partitions,
        offsets: match &live.contents {
            Described::Known(contents) => Some(contents.offsets),
            Described::NotAsked | Described::Refused(_) => None,
        },
    }
}

/// Whether the link is on its way out.
pub(super) fn is_doomed(link: &Link) -> bool {
    link.state == LinkState::Absent
}
