//! The worker group's coordinator: who owns the partition, and who may say so.
//!
//! One worker owns it. A member that is silent for a session is taken out and another one becomes owner. A handover asks
//! the owner to stop first and waits for it, eight seconds at most. A commit is confirmed to the owner alone; the fault of
//! two owners confirms it to a former one too.

use rand::Rng;

use super::worker::ForWorker;
use super::world::{Happening, World};

/// How long a rebalance waits for a partition to stop (`membership::STOPPING`).
const STOPPING: u64 = 8_000;

#[derive(Debug)]
pub struct Group {
    owner: Option<usize>,
    /// Which life of each worker is a member.
    members: Vec<Option<u32>>,
    heard: Vec<u64>,
    /// A handover under way: from whom to whom, and its number.
    handover: Option<(usize, usize, u64)>,
    handovers: u64,
    /// A worker that is taken for an owner by mistake, and until when.
    pub mistaken: Option<(usize, u64)>,
}

/// Something that happens to the coordinator.
#[derive(Clone, Copy, Debug)]
pub enum ForGroup {
    Join {
        worker: usize,
        life: u32,
    },
    /// A commit of a worker, sent at that moment.
    Commit {
        worker: usize,
        life: u32,
        asked: u64,
    },
    Session(usize),
    /// A worker has stopped what it had to hand over.
    Stopped {
        handover: u64,
    },
}

impl Group {
    pub fn new(workers: usize) -> Self {
        Self {
            owner: None,
            members: vec![None; workers],
            heard: vec![0; workers],
            handover: None,
            handovers: 0,
            mistaken: None,
        }
    }

    pub fn is_member(&self, worker: usize, life: u32) -> bool {
        self.members[worker] == Some(life)
    }

    pub fn owner(&self) -> Option<usize> {
        self.owner
    }
}

impl World {
    pub fn at_group(&mut self, what: ForGroup) {
        match what {
            ForGroup::Join { worker, life } => {
                // A former life has to be missed first.
                if self.workers[worker].life != life || self.group.members[worker].is_some() {
                    return;
                }
                self.group.members[worker] = Some(life);
                self.heard(worker);
                if self.group.owner.is_none() {
                    self.assign(worker);
                }
            }
            ForGroup::Commit {
                worker,
                life,
                asked,
            } => self.commit(worker, life, asked),
            ForGroup::Session(worker) => {
                let silent = self.group.heard[worker] + self.plan.session <= self.now;
                if self.group.members[worker].is_some() && silent {
                    self.expel(worker);
                }
            }
            ForGroup::Stopped { handover } => {
                if let Some((_, to, number)) = self.group.handover
                    && number == handover
                {
                    self.group.handover = None;
                    self.group.owner = None;
                    let to = self.group.members[to].map(|_| to);
                    if let Some(next) = to.or_else(|| self.any_member(None)) {
                        self.assign(next);
                    }
                }
            }
        }
    }

    fn heard(&mut self, worker: usize) {
        self.group.heard[worker] = self.now;
        let session = self.plan.session;
        self.later(session, Happening::Group(ForGroup::Session(worker)));
    }

    fn commit(&mut self, worker: usize, life: u32, asked: u64) {
        if self.workers[worker].life != life {
            return;
        }
        let delay = self.delay();
        if self.group.members[worker] != Some(life) {
            return self.worker_later(worker, delay, ForWorker::Expelled);
        }
        self.heard(worker);
        let mistaken = self
            .group
            .mistaken
            .is_some_and(|(who, until)| who == worker && until > self.now);
        if self.group.owner == Some(worker) || mistaken {
            self.worker_later(worker, delay, ForWorker::Renewed { asked });
            // The group's protocol sees to it that its members know what they own.
            let unaware = self.group.owner == Some(worker) && !self.workers[worker].owns;
            if unaware && self.group.handover.is_none() {
                self.worker_later(worker, delay, ForWorker::Assigned);
            }
        } else {
            self.worker_later(worker, delay, ForWorker::NotOwner);
        }
    }

    fn any_member(&mut self, except: Option<usize>) -> Option<usize> {
        let members: Vec<usize> = (0..self.workers.len())
            .filter(|worker| self.group.members[*worker].is_some() && Some(*worker) != except)
            .collect();
        if members.is_empty() {
            return None;
        }
        Some(members[self.rng.random_range(0..members.len())])
    }

    fn assign(&mut self, worker: usize) {
        self.group.owner = Some(worker);
        self.trace
            .note(self.now, || format!("worker {worker} becomes the owner"));
        let delay = self.delay();
        self.tell_member(worker, delay, ForWorker::Assigned);
    }

    /// Tells the life of a worker that is the member.
    fn tell_member(&mut self, worker: usize, delay: u64, what: ForWorker) {
        if let Some(life) = self.group.members[worker] {
            self.later(delay, Happening::Worker(worker, life, what));
        }
    }

    /// A member's session is over.
    pub fn expel(&mut self, worker: usize) {
        self.group.members[worker] = None;
        self.trace.note(self.now, || {
            format!("worker {worker} is no member any more")
        });
        if let Some((from, to, _)) = self.group.handover
            && (from == worker || to == worker)
        {
            self.group.handover = None;
        }
        if self.group.owner == Some(worker) {
            self.group.owner = None;
            if let Some(next) = self.any_member(None) {
                self.assign(next);
            }
        }
    }

    /// The partition's slot is to go to another worker.
    pub fn hand_over(&mut self) {
        let Some(owner) = self.group.owner else {
            return;
        };
        if self.group.handover.is_some() {
            return;
        }
        let Some(to) = self.any_member(Some(owner)) else {
            return;
        };
        self.group.handovers += 1;
        let handover = self.group.handovers;
        self.group.handover = Some((owner, to, handover));
        let delay = self.delay();
        self.tell_member(owner, delay, ForWorker::Revoked { handover });
        // Where late ones do harm, the rebalance is as long as it takes.
        if !self.plan.forgets {
            self.later(STOPPING, Happening::Group(ForGroup::Stopped { handover }));
        }
    }

    /// By mistake, a second worker is told that it owns the partition, while the owner goes on.
    pub fn make_two_owners(&mut self, until: u64) {
        let Some(owner) = self.group.owner else {
            return;
        };
        let Some(second) = self.any_member(Some(owner)) else {
            return;
        };
        if self.group.handover.is_some() {
            return;
        }
        self.group.mistaken = Some((owner, until));
        self.assign(second);
    }
}
