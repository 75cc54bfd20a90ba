//! What a destination's worker tells people and looks up about its partitions, besides running them.

use tokio::time::Instant;

use super::{Aim, DestinationWorker, Name, PartitionKey, TROUBLE_AGAIN, Wanted};
use crate::control::records::{EndingKind, MirrorRecord};
use crate::kafka::admin::OffsetSpec;
use crate::kafka::fetch::Isolation;
use crate::mirror::partition::Event;

impl DestinationWorker {
    /// The client repeats itself while a cluster is away; people are told once, and again after a while.
    pub(super) fn tell_trouble(&mut self, cause: String) {
        let told = self.trouble.as_ref();
        if told.is_some_and(|(same, at)| *same == cause && at.elapsed() < TROUBLE_AGAIN) {
            return;
        }
        tracing::warn!(
            cluster = self.cluster.name,
            cause,
            "the worker group cannot be reached just now"
        );
        self.trouble = Some((cause, Instant::now()));
    }

    /// One line for each link and mirror that is new to this worker.
    pub(super) fn name_news(&mut self) {
        for link in self.state.links.values() {
            let source = self.clusters.get(&link.source_cluster_id);
            let told = self.known_links.insert(link.id, source.is_some());
            match source {
                Some(source) if told != Some(true) => tracing::info!(
                    link = link.name,
                    from = source.name,
                    to = self.cluster.name,
                    "link started"
                ),
                None if told.is_none() => tracing::warn!(
                    link = link.name,
                    source_cluster_id = link.source_cluster_id,
                    "no cluster with this link's source cluster id is reached: nothing of it is copied here; failovers are carried out"
                ),
                Some(_) | None => {}
            }
        }
        for mirror in self.state.mirrors.values() {
            if self.known_mirrors.insert(mirror.id)
                && let Some(link) = self.state.links.get(&mirror.id.link)
            {
                tracing::info!(
                    link = link.name,
                    topic = mirror.source_topic,
                    mirror = mirror.destination_topic,
                    "topic matched"
                );
            }
        }
    }

    /// Looks at the ends of all mirror partitions in one call, aside: with a topic or broker gone that lasts, and
    /// slots that are revoked meanwhile must not wait for it.
    pub(super) fn check_ends(&self) {
        let (asked, events): (Vec<_>, Vec<_>) = self
            .partitions
            .values()
            .map(|partition| {
                let Name {
                    topic,
                    partition: index,
                    ..
                } = partition.name.clone();
                let events = partition.running.events.clone();
                ((topic, index, OffsetSpec::Latest), events)
            })
            .unzip();
        if asked.is_empty() {
            return;
        }
        let admin = self.cluster.client.admin();
        tokio::spawn(async move {
            let found = admin.list_offsets(asked, Isolation::ReadUncommitted).await;
            for (events, (_, outcome)) in events.into_iter().zip(found) {
                if let Ok(listed) = outcome {
                    // A task that ended needs no answer.
                    events.tell(Event::EndSeen { end: listed.offset });
                }
            }
        });
    }

    /// Whether every partition that the group gave this worker is caught up, paused or failed.
    pub(super) fn is_done(&self) -> bool {
        let wanted = self.wanted();
        let every_mirror_is_seen = self.state.mirrors.values().all(|mirror| {
            mirror.ending.is_some()
                || mirror.has_not_taken_over()
                || wanted.keys().any(|key| key.id == mirror.id)
                || self.cannot_run(mirror)
        });
        // What changes its slot is nobody's for a moment, and may become this worker's.
        let nothing_moves =
            self.state.slots.placed.iter().all(|placed| {
                placed.from.is_none() || !self.state.mirrors.contains_key(&placed.id)
            });
        self.assigned
            && every_mirror_is_seen
            && nothing_moves
            && !self.has_to_end_some()
            && wanted
                .iter()
                .filter(|(key, _)| self.is_mine(key) && !self.has_drained(key))
                .filter(|(_, wanted)| self.clusters.has(&wanted.source_cluster_id))
                .all(|(key, wanted)| self.is_settled(key, wanted))
    }

    /// Whether mirrors that are promoted or failed over wait for this worker. One that has failed waits for a person.
    fn has_to_end_some(&self) -> bool {
        let leads = self.slots.contains(&super::LEADING_SLOT);
        self.state.mirrors.values().any(|mirror| {
            let Some(ending) = mirror.pending() else {
                return false;
            };
            let link = self.state.links.get(&mirror.id.link);
            let [source, destination] = link.map_or([None; 2], |it| self.seen.counts(it, mirror));
            let needs_source = ending.kind == EndingKind::Promote;
            if destination.is_none() || needs_source && source.is_none() {
                return false;
            }
            let failed = |key: &PartitionKey| {
                let running = self.partitions.get(key);
                running.is_some_and(|running| self.figures.of(running.name.clone()).is_failed())
            };
            let mut keys = (0..destination.unwrap_or(0)).map(|partition| PartitionKey {
                id: mirror.id,
                partition,
            });
            !keys.clone().any(|key| failed(&key))
                && (leads
                    || keys.any(|key| {
                        self.is_mine(&key) && !self.steps.is_fenced(&key, ending.generation)
                    }))
        })
    }

    /// Whether nothing here can be copied: no link, a source that the file does not name, or a missing topic.
    fn cannot_run(&self, mirror: &MirrorRecord) -> bool {
        let Some(link) = self.state.links.get(&mirror.id.link) else {
            return true;
        };
        if let Some((end, topic)) = self.seen.absent_end(link, mirror) {
            let name = Name {
                link: link.name.clone(),
                topic: mirror.destination_topic.clone(),
                partition: 0,
            };
            self.figures
                .of(name)
                .set_failed(format!("the {end} topic {topic} does not exist"));
            return true;
        }
        !self.clusters.has(&link.source_cluster_id)
    }

    fn is_settled(&self, key: &PartitionKey, wanted: &Wanted) -> bool {
        wanted.aim == Aim::Rest
            || self
                .partitions
                .get(key)
                .is_some_and(|partition| self.figures.of(partition.name.clone()).is_settled())
    }
}
