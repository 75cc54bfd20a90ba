//! How a worker reads where the destination ends: step by step as `io::tail` does it.

use rand::Rng;

use super::destination::Broker;
use super::worker::ForWorker;
use super::world::{PRODUCER_ID, World, incarnation_id};
use crate::mirror::batch::rewrite::sequence_of;
use crate::mirror::partition::{Event, Failure, Tail, TailBatch};

/// How long the end has to stay where it is.
const SETTLE: u64 = 400;
const LOOK_EVERY: u64 = 100;

/// A tail that is being read.
#[derive(Debug)]
pub struct TailRead {
    operation: u64,
    tries: u32,
    deadline: u64,
    /// Before this offset nobody needs the last batch.
    from: i64,
    seen: Option<Seen>,
    since: u64,
    /// What is told, once the topic is known to be the same still.
    found: Option<Tail>,
}

/// The next thing to ask a broker.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    FindLeader,
    Look,
    LogEnd { start: i64, end: i64 },
    Producers { start: i64, end: i64, log_end: i64 },
    LastBatch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    start: i64,
    end: i64,
    /// Where the leader's log ends, replicated or not.
    log_end: i64,
    /// In which epoch it leads.
    leader_epoch: i32,
    next_sequence: Option<i32>,
    epoch: Option<i32>,
}

impl World {
    pub fn read_tail(&mut self, worker: usize, from: i64) {
        let deadline = self.now;
        let Some(task) = &mut self.workers[worker].task else {
            return;
        };
        // A former reading is given up.
        let operation = task.tail.as_ref().map_or(0, |tail| tail.operation) + 1;
        task.tail = Some(TailRead {
            operation,
            tries: 0,
            deadline,
            from,
            seen: None,
            since: deadline,
            found: None,
        });
        self.next_step(worker, 0, Step::FindLeader);
    }

    fn next_step(&mut self, worker: usize, wait: u64, step: Step) {
        let delay = self.delay() + 1;
        let Some(task) = &self.workers[worker].task else {
            return;
        };
        let Some(tail) = &task.tail else { return };
        let (task, operation) = (task.id, tail.operation);
        self.worker_later(
            worker,
            wait + delay,
            ForWorker::Tail {
                task,
                operation,
                step,
            },
        );
    }

    /// Something went wrong: wait a little longer each time, and begin with the leader.
    fn read_tail_anew(&mut self, worker: usize) {
        let Some(tail) = self.workers[worker]
            .task
            .as_mut()
            .and_then(|task| task.tail.as_mut())
        else {
            return;
        };
        let wait = 50u64 << tail.tries.min(5);
        tail.tries += 1;
        tail.found = None;
        self.next_step(worker, wait, Step::FindLeader);
    }

    pub fn read_tail_on(&mut self, worker: usize, task: u64, operation: u64, step: Step) {
        let current = self.workers[worker].task.as_ref().is_some_and(|running| {
            running.id == task
                && running
                    .tail
                    .as_ref()
                    .is_some_and(|tail| tail.operation == operation)
        });
        if !current {
            return;
        }
        if matches!(step, Step::FindLeader) {
            return self.find_leader(worker);
        }
        let running = self.workers[worker].task.as_mut().expect("checked above");
        let leader = running.leader.expect("found before anything is asked");
        let broker = &self.destination.brokers[leader];
        if !broker.up || broker.frozen_until > self.now {
            return self.read_tail_anew(worker);
        }
        match step {
            Step::FindLeader => {}
            Step::Look => match broker.bounds(leader) {
                Ok((start, end)) => self.next_step(worker, 0, Step::LogEnd { start, end }),
                Err(_) => self.read_tail_anew(worker),
            },
            Step::LogEnd { start, end } => match broker.log_end(leader) {
                Ok(log_end) => {
                    let step = Step::Producers {
                        start,
                        end,
                        log_end,
                    };
                    self.next_step(worker, 0, step);
                }
                Err(_) => self.read_tail_anew(worker),
            },
            Step::Producers {
                start,
                end,
                log_end,
            } => {
                if broker.knows.leader != Some(leader) {
                    return self.read_tail_anew(worker);
                }
                let seen = Seen {
                    start,
                    end,
                    log_end,
                    leader_epoch: broker.knows.epoch,
                    next_sequence: next_sequence(broker),
                    epoch: broker
                        .replica
                        .producers
                        .get(PRODUCER_ID)
                        .map(|known| i32::from(known.epoch)),
                };
                self.compare(worker, seen);
            }
            Step::LastBatch => self.read_last(worker, leader),
        }
    }

    fn find_leader(&mut self, worker: usize) {
        let asked = self.rng.random_range(0..self.destination.brokers.len());
        let broker = &self.destination.brokers[asked];
        let is = self.destination.incarnation;
        let deadline = self.now + 20 * SETTLE;
        if !broker.up || broker.frozen_until > self.now {
            return self.read_tail_anew(worker);
        }
        let Some(task) = &mut self.workers[worker].task else {
            return;
        };
        if task.destination_incarnation != is {
            let failure = Failure::DestinationRecreated {
                was: incarnation_id(task.destination_incarnation),
                is: incarnation_id(is),
            };
            return self.tell(worker, Event::Failed(failure));
        }
        let Some(leader) = broker.knows.leader else {
            return self.read_tail_anew(worker);
        };
        let is_same = task.leader.replace(leader) == Some(leader);
        let Some(tail) = &mut task.tail else { return };
        // What another leader's log holds is not known by that.
        if let Some(found) = tail.found.take().filter(|_| is_same) {
            return self.tell(worker, Event::Tail(found));
        }
        tail.deadline = deadline;
        tail.seen = None;
        self.next_step(worker, 0, Step::Look);
    }

    fn compare(&mut self, worker: usize, seen: Seen) {
        let held = self.holds_lease(worker);
        let now = self.now;
        let Some(tail) = self.workers[worker]
            .task
            .as_mut()
            .and_then(|task| task.tail.as_mut())
        else {
            return;
        };
        if tail.seen != Some(seen) {
            tail.seen = Some(seen);
            tail.since = now;
        } else if seen.log_end != seen.end {
            // Appended, and not replicated yet.
            tail.since = now;
        } else if now - tail.since >= SETTLE && held {
            return self.next_step(worker, 0, Step::LastBatch);
        }
        if now > tail.deadline {
            return self.read_tail_anew(worker);
        }
        self.next_step(worker, LOOK_EVERY, Step::Look);
    }

    fn read_last(&mut self, worker: usize, leader: usize) {
        let broker = &self.destination.brokers[leader];
        if broker.knows.leader != Some(leader) {
            return self.read_tail_anew(worker);
        }
        let Some(tail) = self.workers[worker]
            .task
            .as_mut()
            .and_then(|task| task.tail.as_mut())
        else {
            return;
        };
        let seen = tail
            .seen
            .expect("something was seen before the last batch is read");
        if broker.replica.start > seen.start {
            // What is asked for may be deleted: an error.
            return self.read_tail_anew(worker);
        }
        // A log that lost its end may end before what is known of it.
        let from = if tail.from > seen.end {
            seen.start
        } else {
            tail.from.max(seen.start)
        };
        let last = broker
            .replica
            .last_data_below(seen.end)
            // What holds the last offset is looked at in any case, what lies behind markers down to `from`.
            .filter(|_| seen.end > seen.start)
            .filter(|entry| entry.next == seen.end || entry.next > from)
            .map(|entry| TailBatch::new(entry.header, entry.bytes.clone()));
        let consistent = match (seen.next_sequence, &last) {
            (Some(next), Some(last)) if last.header.producer_id == PRODUCER_ID => {
                last.next_sequence() == next
            }
            _ => true,
        };
        if !consistent {
            tail.since = self.now;
            if self.now > tail.deadline {
                return self.read_tail_anew(worker);
            }
            return self.next_step(worker, LOOK_EVERY, Step::Look);
        }
        tail.found = Some(Tail {
            start: seen.start,
            producer_epoch: seen.epoch,
            leader_epoch: seen.leader_epoch,
            end: seen.end,
            last,
            producer_next_sequence: seen.next_sequence,
        });
        // The topic may have been made again since its id was looked at.
        self.next_step(worker, 0, Step::FindLeader);
    }
}

impl World {
    /// Some of what a leader holds from `from` on, looked for until there is some.
    pub fn read_back(&mut self, worker: usize, task: u64, attempt: u64, from: i64) {
        let delay = self.delay() + 1;
        let most = self.rng.random_range(1..=4);
        let running = self.workers[worker].task.as_ref();
        if running.is_none_or(|running| running.id != task) {
            return;
        }
        // Whoever leads by what some broker knows.
        let asked = self.rng.random_range(0..self.destination.brokers.len());
        let leader = self.destination.brokers[asked].knows.leader;
        let leader = leader.map(|leader| &self.destination.brokers[leader]);
        let replica = leader
            .filter(|it| it.up && it.frozen_until <= self.now)
            .map(|it| &it.replica);
        let (start, batches) = replica.map_or((from, Vec::new()), |replica| {
            let entries = replica.log.iter().filter(|entry| {
                entry.next > from.max(replica.start) && entry.next <= replica.high_watermark
            });
            let batches = entries
                .take(most)
                .map(|entry| TailBatch::new(entry.header, entry.bytes.clone()));
            (replica.start.max(from), batches.collect())
        });
        if batches.is_empty() && start == from {
            let again = ForWorker::ReadBack {
                task,
                attempt,
                from,
            };
            return self.worker_later(worker, 100, again);
        }
        let event = Event::ReadBack {
            attempt,
            start,
            batches,
        };
        self.worker_later(worker, delay, ForWorker::Mirror { task, event });
    }
}

/// What `DescribeProducers` says of the mirror's id.
fn next_sequence(broker: &Broker) -> Option<i32> {
    let known = broker.replica.producers.get(PRODUCER_ID)?;
    let last = known.last_sequence();
    (last >= 0).then(|| sequence_of(i64::from(last) + 1))
}
