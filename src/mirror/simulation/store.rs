//! `_kmirror.offsets`: what is stored of the partition, and the keeper that writes it.
//!
//! A worker has one write under way at a time; what is wished meanwhile goes with the next one. The answer to a write may be
//! lost, then it is written again; and the first one may be late, so that it is applied after later ones.

use std::collections::BTreeMap;

use rand::Rng;

use super::plan::{Fault, Plan};
use super::worker::ForWorker;
use super::world::{Happening, World};
use crate::control::records::{Alignment, Anchor, MapRecord, Run};
use crate::mirror::map::{self, MapTail};
use crate::mirror::partition::{Event, Stored};

/// What a partition wants stored.
#[derive(Clone, Debug)]
pub struct Save {
    pub task: u64,
    pub anchors: Vec<Anchor>,
    pub map_chunk: u32,
    pub map: Vec<(u32, MapRecord)>,
    pub alignment: Alignment,
    pub pads_by_transactions: bool,
}

/// The record of a partition's progress.
#[derive(Clone, Debug)]
pub struct Progress {
    anchors: Vec<Anchor>,
    map_chunk: u32,
    alignment: Alignment,
    pads_by_transactions: bool,
}

/// A write on its way to the topic.
#[derive(Clone, Debug)]
pub struct Write {
    pub chunks: Vec<(u32, MapRecord)>,
    pub progress: Option<Progress>,
}

/// What `io::keeper` holds.
#[derive(Debug, Default)]
pub struct Keeper {
    wishes: Vec<Save>,
    writing: Vec<Save>,
    active: bool,
}

#[derive(Debug, Default)]
pub struct Store {
    pub anchors: Vec<Anchor>,
    pub map_chunk: u32,
    alignment: Alignment,
    pads_by_transactions: bool,
    pub chunks: BTreeMap<u32, Vec<Run>>,
}

impl Store {
    pub fn new(plan: &Plan) -> Self {
        let mut store = Self::default();
        if plan.start_known {
            store.anchors.push(Anchor {
                source_offset: plan.source_start,
                source_leader_epoch: -1,
                destination_offset: plan.destination_start,
                count: plan.written_before,
                epoch: 0,
            });
        }
        store
    }

    /// What a worker reads when it takes the partition over.
    pub fn load(&self) -> Stored {
        let chunk = |index: u32| self.chunks.get(&index).cloned();
        Stored {
            map: MapTail::load(self.map_chunk, self.anchors.first(), chunk),
            anchors: self.anchors.clone(),
            alignment: self.alignment,
            pads_by_transactions: self.pads_by_transactions,
        }
    }

    /// From which source offset on offsets are mapped, once they are not equal any more.
    pub fn translated_from(&self) -> Option<i64> {
        match self.alignment {
            Alignment::Translated { equal_before } => equal_before,
            Alignment::Equal { .. } => None,
        }
    }

    /// The whole map up to the growing chunk.
    pub fn map(&self) -> impl Iterator<Item = &Run> {
        self.chunks
            .range(..=self.map_chunk)
            .flat_map(|(_, runs)| runs)
    }
}

impl World {
    pub fn save(&mut self, worker: usize, save: Save) {
        let keeper = &mut self.workers[worker].keeper;
        keeper.wishes.push(save);
        if !keeper.active {
            keeper.active = true;
            self.worker_later(worker, 20, ForWorker::Gathered);
        }
    }

    /// The keeper writes what was wished, the last of each key; what is being written already goes first.
    pub fn gathered(&mut self, worker: usize) {
        let running = self.workers[worker].task.as_ref().map(|task| task.id);
        let running = running.filter(|_| !self.is_closed(worker));
        let held = self.holds_lease(worker);
        let keeper = &mut self.workers[worker].keeper;
        if keeper.writing.is_empty() {
            keeper.writing = std::mem::take(&mut keeper.wishes);
        }
        keeper.writing.retain(|save| Some(save.task) == running);
        let Some(last) = keeper.writing.last() else {
            return self.wrote(worker);
        };
        if !held {
            // A worker that was frozen past its session must not set back what its successor stored.
            return self.worker_later(worker, 20, ForWorker::Gathered);
        }
        let progress = Some(Progress {
            anchors: last.anchors.clone(),
            map_chunk: last.map_chunk,
            alignment: last.alignment,
            pads_by_transactions: last.pads_by_transactions,
        });
        let mut chunks: BTreeMap<u32, MapRecord> = BTreeMap::new();
        for save in &keeper.writing {
            chunks.extend(save.map.iter().cloned());
        }
        let chunks: Vec<(u32, MapRecord)> = chunks.into_iter().collect();
        let write = Write { chunks, progress };
        let delay = self.delay();
        let late = self.plan.has(Fault::LateSave) && !self.calm && self.rng.random_bool(0.2);
        if late {
            // The answer gets lost, the write itself comes whenever it comes, and is tried again.
            self.struck.push(Fault::LateSave);
            let whenever = self.rng.random_range(0..10_000);
            self.later(whenever, Happening::Write(write));
            self.judge.stored_late = true;
            return self.worker_later(worker, 200, ForWorker::Gathered);
        }
        if self.rng.random_bool(0.2) {
            // Two batches: a worker may die between them.
            let first = Write {
                chunks: write.chunks,
                progress: None,
            };
            self.later(delay, Happening::Write(first));
            let second = Write {
                chunks: Vec::new(),
                progress: write.progress,
            };
            return self.worker_later(worker, 2 * delay + 1, ForWorker::WriteRest(second));
        }
        self.later(delay, Happening::Write(write));
        self.worker_later(worker, 2 * delay + 1, ForWorker::Written);
    }

    pub fn write_rest(&mut self, worker: usize, rest: Write) {
        if !self.holds_lease(worker) {
            // Frozen between the two: all of it is written again, if at all.
            return self.worker_later(worker, 20, ForWorker::Gathered);
        }
        let delay = self.delay();
        self.later(delay, Happening::Write(rest));
        self.worker_later(worker, 2 * delay + 1, ForWorker::Written);
    }

    pub fn write_store(&mut self, write: Write) {
        for (index, record) in write.chunks {
            let runs = map::decode(&record);
            self.judge.stored_map(&runs);
            self.store.chunks.insert(index, runs);
        }
        if let Some(progress) = write.progress {
            for anchor in &progress.anchors {
                self.judge.stored_anchor(anchor, &self.source);
            }
            self.store.anchors = progress.anchors;
            self.store.map_chunk = progress.map_chunk;
            self.store.alignment = progress.alignment;
            self.store.pads_by_transactions = progress.pads_by_transactions;
        }
    }

    /// The write is answered: everybody whose wish was in it is told.
    pub fn written(&mut self, worker: usize) {
        let told = std::mem::take(&mut self.workers[worker].keeper.writing);
        for save in told {
            let event = Event::Saved;
            let task = save.task;
            self.worker_later(worker, 0, ForWorker::Mirror { task, event });
        }
        self.wrote(worker);
    }

    fn wrote(&mut self, worker: usize) {
        let keeper = &mut self.workers[worker].keeper;
        keeper.active = !keeper.wishes.is_empty();
        if keeper.active {
            self.worker_later(worker, 20, ForWorker::Gathered);
        }
    }
}
