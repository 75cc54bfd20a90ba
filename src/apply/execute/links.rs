//! Links that brokers carry and the mirror topics on them: links first, then mirrors from the start of each chain, then what is asked
//! of mirrors that are there. Mirrors that the file wants gone go with the other deletions, and their links last of all.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};

use super::{Asked, Event, Execution, levels};
use crate::apply::effects::{ConfigAlteration, Failure};
use crate::plan::model::{
    BrokerLinkOperation, BrokerMirrorOperation, Entry, HalfStep, MirrorAction, Operation,
};

/// Mirrors of one request; answers to more would be slow to come.
const TOGETHER: usize = 100;

/// A mirror with what became of it; nothing once there was a stop.
type Created<'e> = Option<(&'e Entry, Result<(), Failure>)>;

/// Cluster, link and what is asked of mirrors there.
type Asking<'e> = (&'e str, &'e str, MirrorAction);

fn link_of(entry: &Entry) -> Option<&BrokerLinkOperation> {
    match &entry.operation {
        Operation::BrokerLink(link) => Some(link),
        _ => None,
    }
}

fn mirror_of(entry: &Entry) -> Option<&BrokerMirrorOperation> {
    match &entry.operation {
        Operation::BrokerMirror(mirror) => Some(mirror),
        _ => None,
    }
}

fn deletes(link: &BrokerLinkOperation) -> bool {
    let mut halves = link.halves.iter();
    halves.any(|half| half.step == HalfStep::Delete)
}

impl Execution<'_> {
    /// Links one after the other: a half is made when the one that it needs is there.
    pub(super) async fn broker_links(&mut self, entries: &[&Entry]) {
        let is_meant = |entry: &Entry| link_of(entry).is_some_and(|link| !deletes(link));
        for entry in levels(entries, is_meant).into_iter().flatten() {
            if self.stop.is_cancelled() {
                return;
            }
            if self.may_go_on(entry) {
                self.halves(entry).await;
            }
        }
    }

    async fn halves(&mut self, entry: &Entry) {
        let Some(operation) = link_of(entry) else {
            return;
        };
        self.progress
            .event(Event::Asked(&entry.address, Asked::Link));
        for half in &operation.halves {
            let (cluster, link) = (half.cluster.as_str(), half.link.as_str());
            let done = match &half.step {
                HalfStep::Create { role, configs } => {
                    self.effects
                        .links()
                        .create_link(cluster, link, role, configs)
                        .await
                }
                HalfStep::Alter(configs) => {
                    self.effects
                        .links()
                        .alter_link(cluster, link, configs)
                        .await
                }
                HalfStep::Delete => self.effects.links().delete_link(cluster, link).await,
            };
            if let Err(failure) = done {
                self.fail(&entry.address, failure);
                return;
            }
        }
        self.done(&entry.address);
    }

    /// Mirrors that are made, then what is changed about those that are there.
    pub(super) async fn broker_mirrors(&mut self, entries: &[&Entry]) {
        let is_new = |entry: &Entry| mirror_of(entry).is_some_and(|mirror| mirror.create.is_some());
        for level in levels(entries, is_new) {
            if self.stop.is_cancelled() {
                break;
            }
            self.create_mirrors(&level).await;
        }
        let there: Vec<&Entry> = entries
            .iter()
            .filter(|entry| mirror_of(entry).is_some_and(|mirror| mirror.delete.is_none()))
            .copied()
            .collect();
        self.alter_mirrors(&there).await;
        self.act(&there).await;
        for entry in there {
            if !self.is_settled(&entry.address) && !self.stop.is_cancelled() {
                self.done(&entry.address);
            }
        }
    }

    async fn create_mirrors(&mut self, entries: &[&Entry]) {
        let mut ready = Vec::new();
        for entry in entries {
            if self.may_go_on(entry) {
                self.progress
                    .event(Event::Asked(&entry.address, Asked::Topic));
                ready.push(*entry);
            }
        }
        let (effects, stop) = (self.effects, self.stop);
        let mut creating: Vec<BoxFuture<'_, Created<'_>>> = Vec::new();
        for entry in ready {
            let mirror = mirror_of(entry);
            let Some((mirror, new)) = mirror.and_then(|it| Some((it, it.create.as_ref()?))) else {
                continue;
            };
            let create = async move {
                if stop.is_cancelled() {
                    return None;
                }
                let created = effects
                    .links()
                    .create_mirror(&entry.cluster, &mirror.link, new);
                Some((entry, created.await))
            };
            creating.push(create.boxed());
        }
        let mut answers = futures::stream::iter(creating).buffered(self.parallelism.get());
        let mut failures = Vec::new();
        while let Some(answer) = answers.next().await {
            if let Some((entry, Err(failure))) = answer {
                failures.push((entry, failure));
            }
        }
        drop(answers);
        for (entry, failure) in failures {
            self.fail(&entry.address, failure);
        }
    }

    async fn alter_mirrors(&mut self, entries: &[&Entry]) {
        let mut by_cluster: BTreeMap<&str, Vec<(&Entry, ConfigAlteration)>> = BTreeMap::new();
        for entry in entries {
            let Some(mirror) = mirror_of(entry).filter(|it| !it.alter.configs.is_empty()) else {
                continue;
            };
            if !self.may_go_on(entry) {
                continue;
            }
            let alteration = ConfigAlteration {
                topic: mirror.alter.name.clone(),
                configs: mirror.alter.configs.clone(),
            };
            let work = (*entry, alteration);
            by_cluster.entry(&entry.cluster).or_default().push(work);
        }
        for (cluster, work) in by_cluster {
            if self.stop.is_cancelled() {
                return;
            }
            let (entries, alterations): (Vec<&Entry>, Vec<_>) = work.into_iter().unzip();
            for entry in &entries {
                self.progress
                    .event(Event::Asked(&entry.address, Asked::Topic));
            }
            let results = self.effects.alter_configs(cluster, &alterations).await;
            self.failed(&entries, results);
        }
    }

    /// One request for all mirrors of a link of which the same is asked.
    async fn act(&mut self, entries: &[&Entry]) {
        let mut groups: BTreeMap<Asking<'_>, Vec<(&Entry, String)>> = BTreeMap::new();
        for entry in entries {
            let Some(mirror) = mirror_of(entry) else {
                continue;
            };
            if let Some(action) = mirror.action
                && self.may_go_on(entry)
            {
                let key = (entry.cluster.as_str(), mirror.link.as_str(), action);
                let work = (*entry, mirror.topic.clone());
                groups.entry(key).or_default().push(work);
            }
        }
        for ((cluster, link, action), work) in groups {
            for work in work.chunks(TOGETHER) {
                if self.stop.is_cancelled() {
                    return;
                }
                let entries: Vec<&Entry> = work.iter().map(|(entry, _)| *entry).collect();
                let topics: Vec<String> = work.iter().map(|(_, topic)| topic.clone()).collect();
                for entry in &entries {
                    self.progress
                        .event(Event::Asked(&entry.address, Asked::Link));
                }
                let acting = self
                    .effects
                    .links()
                    .act_on_mirrors(cluster, link, action, &topics);
                let results = tokio::select! {
                    results = acting => results,
                    // What was asked for goes on without anybody who waits for it.
                    () = self.stop.cancelled() => return,
                };
                self.failed(&entries, results);
            }
        }
    }

    fn failed(&mut self, entries: &[&Entry], results: Vec<Result<(), Failure>>) {
        for (entry, result) in entries.iter().zip(results) {
            if let Err(failure) = result {
                self.fail(&entry.address, failure);
            }
        }
    }

    /// Mirror topics that are to be gone, then the links of which nothing is left.
    pub(super) async fn broker_deletions(&mut self, entries: &[&Entry]) {
        let mut by_link: BTreeMap<(&str, &str), Vec<&Entry>> = BTreeMap::new();
        for entry in entries {
            let Some(mirror) = mirror_of(entry).filter(|it| it.delete.is_some()) else {
                continue;
            };
            if self.may_go_on(entry) {
                let key = (entry.cluster.as_str(), mirror.link.as_str());
                by_link.entry(key).or_default().push(entry);
            }
        }
        for ((cluster, link), entries) in by_link {
            if self.stop.is_cancelled() {
                return;
            }
            self.delete_mirrors(cluster, link, &entries).await;
        }
        for entry in entries {
            if link_of(entry).is_some_and(deletes)
                && !self.stop.is_cancelled()
                && self.may_go_on(entry)
            {
                self.halves(entry).await;
            }
        }
    }

    async fn delete_mirrors(&mut self, cluster: &str, link: &str, entries: &[&Entry]) {
        for entry in entries {
            self.progress
                .event(Event::Asked(&entry.address, Asked::Deletion));
        }
        let topics: Vec<String> = entries
            .iter()
            .filter_map(|entry| Some(mirror_of(entry)?.topic.clone()))
            .collect();
        let links = self.effects.links();
        let waiting = links.delete_mirrors(cluster, link, &topics);
        let results = tokio::select! {
            results = waiting => results,
            () = self.stop.cancelled() => return,
        };
        self.failed(entries, results);
        for entry in entries {
            if !self.is_settled(&entry.address) {
                self.done(&entry.address);
            }
        }
    }
}
