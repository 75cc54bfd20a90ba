//! Whose a destination topic is: this link's by the ids of both topics, nobody's, or something else.

use super::{MirrorPlanner, known};
use crate::control::records::{IncarnationId, MirrorRecord};
use crate::observe::model::ObservedTopic;
use crate::plan::links::PlannedLink;
use crate::plan::model::{Address, same_topic};
use crate::plan::reason::{Blocker, Reason, Unread};
use crate::plan::world::World;
use crate::topology::model::ForeignWrites;

impl MirrorPlanner<'_> {
    /// The record of this link for these two topics, both as they are now.
    pub(super) fn find_record<'w>(
        &mut self,
        world: &World<'w>,
        planned: &PlannedLink<'_>,
        live: &ObservedTopic,
    ) -> Option<&'w MirrorRecord> {
        let control = world.cluster(&self.link.destination).control.as_ref()?;
        let link_id = planned.applied.map(|applied| applied.id);
        let records = world.records(&self.link.destination)?;
        let mut found = None;
        let mut blockers = Vec::new();
        for &record in records.written_to(&self.route.destination_topic) {
            if !same_topic(record.id.destination_topic, live.id) {
                continue;
            }
            let ours = Some(record.id.link) == link_id;
            if ours && record.source_topic == self.route.source_topic {
                match self.source.id {
                    Some(id) if same_topic(record.id.source_topic, id) => found = Some(record),
                    id => blockers.push(Blocker::SourceRecreated {
                        cluster: self.link.source.clone(),
                        topic: self.route.source_topic.clone(),
                        recorded: record.id.source_topic,
                        found: id.unwrap_or_default(),
                        destination_cluster: self.link.destination.clone(),
                        destination_topic: self.route.destination_topic.clone(),
                    }),
                }
            } else {
                let link = control.links.iter().find(|link| link.id == record.id.link);
                let name =
                    link.map_or_else(|| record.id.link.to_string(), |link| link.name.clone());
                blockers.push(Blocker::DestinationTaken {
                    cluster: self.link.destination.clone(),
                    topic: self.route.destination_topic.clone(),
                    by: Address::Mirror {
                        link: name,
                        source_topic: record.source_topic.clone(),
                    }
                    .to_string(),
                });
            }
        }
        if found.is_some() {
            return found;
        }
        if blockers.is_empty() {
            blockers.extend(self.recreated_or_renamed(world, planned, live));
        }
        for blocker in blockers {
            self.entry.block(blocker);
        }
        None
    }

    /// The link has a record for one of the topics, but not for this pair.
    fn recreated_or_renamed(
        &self,
        world: &World<'_>,
        planned: &PlannedLink<'_>,
        live: &ObservedTopic,
    ) -> Option<Blocker> {
        let own = self.own_records(world, planned);
        let recreated = own.iter().find(|record| {
            record.destination_topic == self.route.destination_topic
                && record.source_topic == self.route.source_topic
        });
        if let Some(record) = recreated {
            return Some(Blocker::DestinationRecreated {
                cluster: self.link.destination.clone(),
                topic: self.route.destination_topic.clone(),
                recorded: record.id.destination_topic,
                found: live.id,
            });
        }
        self.renamed(world, planned)
    }

    /// The source topic has a mirror under another name, and that is still there.
    fn renamed(&self, world: &World<'_>, planned: &PlannedLink<'_>) -> Option<Blocker> {
        let topics = &world.cluster(&self.link.destination).topics;
        self.own_records(world, planned)
            .into_iter()
            .find(|record| {
                record.source_topic == self.route.source_topic
                    && record.destination_topic != self.route.destination_topic
                    && topics
                        .get(&record.destination_topic)
                        .is_some_and(|topic| same_topic(topic.id, record.id.destination_topic))
            })
            .map(|record| Blocker::MirrorRenamed {
                cluster: self.link.destination.clone(),
                from: record.destination_topic.clone(),
                to: self.route.destination_topic.clone(),
            })
    }

    /// Records whose destination topic is gone, and whose place the new mirror takes.
    pub(super) fn replaced(
        &mut self,
        world: &World<'_>,
        planned: &PlannedLink<'_>,
    ) -> Vec<IncarnationId> {
        if let Some(blocker) = self.renamed(world, planned) {
            self.entry.block(blocker);
            return Vec::new();
        }
        let replaced = self.own_records(world, planned);
        for record in &replaced {
            self.entry.reasons.push(Reason::DestinationGone {
                recorded_id: record.id.destination_topic,
            });
        }
        replaced.into_iter().map(|record| record.id).collect()
    }

    /// The link's records, as it was applied, for either of the two names; in the order of their ids.
    fn own_records<'w>(
        &self,
        world: &World<'w>,
        planned: &PlannedLink<'_>,
    ) -> Vec<&'w MirrorRecord> {
        let (Some(applied), Some(records)) =
            (planned.applied, world.records(&self.link.destination))
        else {
            return Vec::new();
        };
        let by_source = records.copied_from(&self.route.source_topic);
        let by_destination = records.written_to(&self.route.destination_topic);
        let mut own: Vec<&MirrorRecord> = by_source
            .iter()
            .chain(by_destination)
            .copied()
            .filter(|record| record.id.link == applied.id)
            .collect();
        own.sort_by_key(|record| record.id);
        own.dedup_by_key(|record| record.id);
        own
    }

    /// Whether a topic that is there may be taken over, and as what.
    pub(super) fn check_contents(&mut self, live: &ObservedTopic) -> Reason {
        let cluster = self.link.destination.clone();
        let topic = self.route.destination_topic.clone();
        let is_shared = self.link.foreign_writes() == ForeignWrites::Translate;
        match known(&live.contents) {
            Ok(contents) if contents.written == 0 => {}
            Ok(contents) if is_shared => {
                return Reason::AdoptsSharedTopic {
                    offsets: contents.offsets,
                };
            }
            Ok(contents) => self.entry.block(Blocker::DestinationHoldsData {
                cluster,
                topic,
                offsets: contents.offsets,
                written: contents.written,
            }),
            Err(broker_says) => self.entry.block(Blocker::NotReadable {
                cluster,
                topic,
                what: Unread::Contents,
                broker_says,
            }),
        }
        Reason::AdoptsEmptyTopic
    }
}
