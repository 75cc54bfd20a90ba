//! Deletions, last of all: mirrors stop, then their topics go, then topics from which they were filled, then what was recorded
//! of them, then links.
//!
//! A mirror's record stays until its topic is gone, so that whoever goes on after an interruption still
//! knows whose the topic is.

use std::collections::BTreeMap;

use super::{Asked, BATCH, Event, Execution};
use crate::control::Write;
use crate::control::records::{DesiredState, IncarnationId, MirrorRecord};
use crate::plan::model::{Address, DoomedTopic, Entry, Operation};

impl Execution<'_> {
    pub(super) async fn deletions(&mut self, entries: &[&Entry]) {
        let doomed: Vec<&Entry> = entries
            .iter()
            .filter(|entry| {
                matches!(
                    entry.operation,
                    Operation::DeleteTopic(_)
                        | Operation::DeleteMirror(_)
                        | Operation::DeleteLink { .. }
                )
            })
            .copied()
            .collect();
        self.pause(&doomed).await;
        // Chains from their end: a mirror that others are filled from depends on those.
        let mut left: Vec<&Entry> = doomed
            .iter()
            .filter(|entry| !matches!(entry.operation, Operation::DeleteLink { .. }))
            .copied()
            .collect();
        while !left.is_empty() && !self.stop.is_cancelled() {
            let waits = |entry: &&Entry| {
                let mut before = entry.depends_on.iter();
                before.any(|on| *on != entry.address && left.iter().any(|it| it.address == *on))
            };
            let (later, mut ready): (Vec<&Entry>, Vec<&Entry>) =
                left.iter().copied().partition(waits);
            if ready.is_empty() {
                // A ring of mirrors: none of them copies any more, so all go together.
                ready = later;
                left = Vec::new();
            } else {
                left = later;
            }
            self.delete(&ready).await;
        }
        self.delete_links(&doomed).await;
    }

    /// Workers stop copying to what is about to go.
    async fn pause(&mut self, doomed: &[&Entry]) {
        let mut by_cluster: BTreeMap<&str, Vec<(&Address, Vec<Write>)>> = BTreeMap::new();
        for entry in doomed {
            let Operation::DeleteMirror(mirror) = &entry.operation else {
                continue;
            };
            let active = mirror
                .records
                .iter()
                .map(|id| self.recorded(&entry.cluster, *id))
                .filter(|record| record.state == DesiredState::Active);
            let writes: Vec<Write> = active
                .map(|record| {
                    Write::Mirror(MirrorRecord {
                        state: DesiredState::Paused,
                        generation: record.generation + 1,
                        ..record.clone()
                    })
                })
                .collect();
            if !writes.is_empty() {
                let work = (&entry.address, writes);
                by_cluster.entry(&entry.cluster).or_default().push(work);
            }
        }
        for (cluster, work) in by_cluster {
            if self.stop.is_cancelled() {
                return;
            }
            let (addresses, writes): (Vec<_>, Vec<_>) = work.into_iter().unzip();
            for address in &addresses {
                self.progress.event(Event::Asked(address, Asked::Pause));
            }
            let writes = writes.into_iter().flatten().collect();
            if let Err(failure) = self.effects.commit(cluster, writes).await {
                for address in addresses {
                    self.fail(address, failure.clone());
                }
            }
        }
    }

    /// Topics of entries that wait for nothing any more, then the records of mirrors among them.
    async fn delete(&mut self, ready: &[&Entry]) {
        let mut by_cluster: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in ready {
            if self.may_go_on(entry) {
                by_cluster.entry(&entry.cluster).or_default().push(entry);
            }
        }
        for (cluster, entries) in by_cluster {
            for batch in entries.chunks(BATCH) {
                if self.stop.is_cancelled() {
                    return;
                }
                for entry in batch {
                    self.progress
                        .event(Event::Asked(&entry.address, Asked::Deletion));
                }
                self.delete_topics(cluster, batch).await;
                self.forget_mirrors(cluster, batch).await;
            }
        }
    }

    async fn delete_topics(&mut self, cluster: &str, entries: &[&Entry]) {
        let (addresses, topics): (Vec<&Address>, Vec<DoomedTopic>) = entries
            .iter()
            .flat_map(|entry| {
                let topics = match &entry.operation {
                    Operation::DeleteTopic(topic) => std::slice::from_ref(topic),
                    Operation::DeleteMirror(mirror) => &mirror.topics,
                    _ => &[],
                };
                topics.iter().map(|topic| (&entry.address, topic.clone()))
            })
            .unzip();
        if !topics.is_empty() {
            let results = self.effects.delete_topics(cluster, &topics).await;
            for (address, result) in addresses.into_iter().zip(results) {
                if let Err(failure) = result {
                    self.fail(address, failure);
                }
            }
        }
        for entry in entries {
            let topic_alone = matches!(entry.operation, Operation::DeleteTopic(_));
            if topic_alone && !self.troubled.contains(&entry.address) {
                self.done(&entry.address);
            }
        }
    }

    async fn forget_mirrors(&mut self, cluster: &str, entries: &[&Entry]) {
        let gone: Vec<(&Address, &[IncarnationId])> = entries
            .iter()
            .filter(|entry| !self.troubled.contains(&entry.address))
            .filter_map(|entry| match &entry.operation {
                Operation::DeleteMirror(mirror) => {
                    Some((&entry.address, mirror.records.as_slice()))
                }
                _ => None,
            })
            .collect();
        if gone.is_empty() {
            return;
        }
        let ids: Vec<IncarnationId> = gone
            .iter()
            .flat_map(|(_, ids)| ids.iter().copied())
            .collect();
        let mut result = self.effects.forget_progress(cluster, &ids).await;
        if result.is_ok() {
            let writes = ids.into_iter().map(Write::DropMirror).collect();
            result = self.effects.commit(cluster, writes).await;
        }
        for (address, _) in gone {
            match &result {
                Ok(()) => self.done(address),
                Err(failure) => self.fail(address, failure.clone()),
            }
        }
    }

    async fn delete_links(&mut self, doomed: &[&Entry]) {
        let mut by_cluster: BTreeMap<&str, Vec<(&Address, Write)>> = BTreeMap::new();
        for entry in doomed {
            if let Operation::DeleteLink { id } = entry.operation
                && self.may_go_on(entry)
            {
                let work = (&entry.address, Write::DropLink(id));
                by_cluster.entry(&entry.cluster).or_default().push(work);
            }
        }
        for (cluster, work) in by_cluster {
            if self.stop.is_cancelled() {
                return;
            }
            let (addresses, writes): (Vec<_>, Vec<_>) = work.into_iter().unzip();
            for address in &addresses {
                self.progress.event(Event::Asked(address, Asked::Record));
            }
            let result = self.effects.commit(cluster, writes).await;
            for address in addresses {
                match &result {
                    Ok(()) => self.done(address),
                    Err(failure) => self.fail(address, failure.clone()),
                }
            }
        }
    }
}
