//! The faults: what strikes, whom, and for how long.

use rand::Rng;
use rand::rngs::SmallRng;

use super::plan::{EXPIRY, Fault};
use super::world::World;

impl World {
    /// How long late messages of somebody who is gone are under way, at most.
    fn lateness(&self, dice: &mut SmallRng) -> u64 {
        if self.plan.forgets {
            // They arrive while the end is being watched.
            dice.random_range(0..200)
        } else {
            [0, 50, 500, 5_000, 60_000][dice.random_range(0..5)]
        }
    }

    fn some_worker(&self, dice: &mut SmallRng) -> usize {
        match self.group.owner() {
            Some(owner) if dice.random_bool(0.7) => owner,
            _ => dice.random_range(0..self.workers.len()),
        }
    }

    fn some_broker(&self, dice: &mut SmallRng) -> usize {
        match self.destination.control.leader {
            Some(leader) if dice.random_bool(0.6) => leader,
            _ => dice.random_range(0..self.destination.brokers.len()),
        }
    }

    pub fn strike(&mut self, fault: Fault, dice: &mut SmallRng) {
        self.trace.note(self.now, || format!("*** {fault:?}"));
        self.struck.push(fault);
        match fault {
            Fault::KillWorker => {
                let worker = self.some_worker(dice);
                let (stall, away) = (self.lateness(dice), dice.random_range(10..3_000));
                self.kill_worker(worker, stall, away);
            }
            Fault::FreezeWorker => {
                let worker = self.some_worker(dice);
                let longest = [500, 3_000, 20_000][dice.random_range(0..3)];
                let until = self.now + dice.random_range(0..longest);
                self.freeze_worker(worker, until);
            }
            Fault::CutConnection | Fault::LoseAnswers => self.cut_some(fault, dice),
            Fault::MoveLeader => self.move_leader(dice),
            Fault::CrashBroker => {
                let (broker, away) = (self.some_broker(dice), dice.random_range(100..8_000));
                self.crash_broker(broker, 0, away);
            }
            Fault::PowerLoss => {
                let (broker, away) = (self.some_broker(dice), dice.random_range(100..8_000));
                let others = (0..self.destination.brokers.len()).any(|other| {
                    other != broker
                        && self.destination.control.in_sync[other]
                        && self.destination.brokers[other].up
                });
                let lost = if others { dice.random_range(0..5) } else { 0 };
                let was_up = self.destination.brokers[broker].up;
                self.crash_broker(broker, lost, away);
                if others && was_up {
                    // Whoever restarts uncleanly has to catch up first.
                    self.elect_another(broker);
                }
            }
            Fault::PowerCut => {
                self.judge.destination_lost = true;
                for broker in 0..self.destination.brokers.len() {
                    let (lost, away) = (dice.random_range(0..6), dice.random_range(100..3_000));
                    self.crash_broker(broker, lost, away);
                }
            }
            Fault::UncleanElection => {
                let broker = dice.random_range(0..self.destination.brokers.len());
                if self.destination.brokers[broker].up {
                    // It had not kept up.
                    let lost = dice.random_range(0..6);
                    self.cut_log(broker, lost);
                    if self.destination.brokers[broker].knows.leader == Some(broker) {
                        // It led before: what it lost went in a crash, which its connections did not survive, and it
                        // leads again once it is told so.
                        self.close_broker(broker);
                        self.destination.brokers[broker].knows.leader = None;
                    }
                    self.elect_unclean(broker);
                }
            }
            Fault::FreezeBroker => {
                let broker = self.some_broker(dice);
                let until = self.now + dice.random_range(100..10_000);
                self.freeze_broker(broker, until);
            }
            Fault::StallFollower => {
                let broker = dice.random_range(0..self.destination.brokers.len());
                self.destination.brokers[broker].stalled_until =
                    self.now + dice.random_range(100..12_000);
            }
            Fault::Throttle => {
                let broker = self.some_broker(dice);
                self.destination.brokers[broker].muted_until =
                    self.now + dice.random_range(10..2_000);
            }
            Fault::HandOver => self.hand_over(),
            Fault::PauseMirror => {
                let paused = !self.paused;
                self.set_paused(paused);
            }
            Fault::TwoOwners => {
                self.judge.unfenced = true;
                let until = self.now + dice.random_range(500..20_000);
                self.make_two_owners(until);
            }
            // Strikes where progress is written.
            Fault::LateSave => {}
            Fault::StaleEnd => self.see_stale_end(dice),
            Fault::SourceLag => {
                let until = self.now + dice.random_range(50..1_000);
                self.lag_source(until);
            }
            Fault::SourceRetention => {
                // Only what nobody needs any more.
                let needed = self.needed_source_offset();
                let upto = self
                    .source
                    .boundary(dice.random_range(0.0..1.0))
                    .min(needed);
                self.source.expire_before(upto);
            }
            Fault::ClearDestination => self.clear_destination(dice),
            Fault::Forget => self.expire_producers(),
            Fault::ClockJump => {
                // Ahead, and back again: what was forgotten stays forgotten.
                self.clock_ahead = dice.random_range(2 * EXPIRY..5 * EXPIRY);
                self.expire_producers();
                self.clock_ahead = 0;
            }
            _ => self.strike_for_good(fault, dice),
        }
    }

    /// Faults that change what is mirrored, or end the mirror.
    fn strike_for_good(&mut self, fault: Fault, dice: &mut SmallRng) {
        match fault {
            Fault::CompactSource => {
                let upto = self.source.boundary(dice.random_range(0.3..1.0));
                if self.source.compact(upto) {
                    self.judge.source_compacted = true;
                }
            }
            Fault::ForeignWrite => {
                self.judge.foreign_written = true;
                let producer_id = if dice.random_bool(0.5) { -1 } else { 999 };
                self.write_foreign(producer_id);
            }
            Fault::Fence => {
                self.judge.fenced = true;
                self.write_fence(1);
            }
            Fault::SmallLimit => {
                self.judge.limited = true;
                self.destination.largest = dice.random_range(61..400);
            }
            Fault::ExpireSource => {
                self.judge.source_expired = true;
                let upto = self.source.boundary(dice.random_range(0.5..1.0));
                self.source.expire_before(upto);
            }
            Fault::TruncateSource => {
                self.judge.source_truncated = true;
                let to = self.source.boundary(dice.random_range(0.5..1.0));
                self.source.truncate(to);
            }
            Fault::RecreateSource => {
                self.judge.source_recreated = true;
                self.source.recreate();
            }
            Fault::RecreateDestination => self.recreate_destination(),
            _ => {}
        }
    }

    fn cut_some(&mut self, fault: Fault, dice: &mut SmallRng) {
        let worker = self.some_worker(dice);
        let stall = self.lateness(dice);
        if dice.random_bool(0.5) {
            self.lose_markers(worker);
        }
        for connection in self.open_connections(worker) {
            if fault == Fault::LoseAnswers {
                self.deafen(connection);
            } else {
                let notice = dice.random_range(0..1_500);
                self.cut(connection, stall, Some(notice));
            }
        }
    }

    fn move_leader(&mut self, dice: &mut SmallRng) {
        let control = self.destination.control;
        let candidates: Vec<usize> = (0..self.destination.brokers.len())
            .filter(|broker| {
                control.in_sync[*broker]
                    && self.destination.brokers[*broker].up
                    && self.destination.brokers[*broker].frozen_until <= self.now
            })
            .collect();
        if !candidates.is_empty() {
            let next = candidates[dice.random_range(0..candidates.len())];
            self.elect(Some(next));
        }
    }

    /// Looks at the destination's end, and tells it much later.
    fn see_stale_end(&mut self, dice: &mut SmallRng) {
        use super::worker::ForWorker;
        use crate::mirror::partition::Event;
        let Some(leader) = self.destination.settled_leader() else {
            return;
        };
        let Ok((_, end)) = self.destination.brokers[leader].bounds(leader) else {
            return;
        };
        for worker in 0..self.workers.len() {
            if let Some(task) = self.workers[worker].task.as_ref().map(|task| task.id) {
                let event = Event::EndSeen { end };
                let delay = dice.random_range(0..3_000);
                self.worker_later(worker, delay, ForWorker::Mirror { task, event });
            }
        }
    }

    /// The first source offset that stored progress may lead back to.
    fn needed_source_offset(&self) -> i64 {
        let stored = self.store.anchors.first();
        stored.map_or(self.source.start, |anchor| anchor.source_offset)
    }

    /// Retention or `DeleteRecords` takes the beginning of the mirror topic, often all of it.
    fn clear_destination(&mut self, dice: &mut SmallRng) {
        let Some(leader) = self.destination.settled_leader() else {
            return;
        };
        let replica = &self.destination.brokers[leader].replica;
        let (start, end) = (replica.start, replica.high_watermark);
        let to = if dice.random_bool(0.5) {
            end
        } else {
            dice.random_range(start..=end.max(start))
        };
        self.judge.cleared = true;
        self.destination.brokers[leader].replica.start = to.max(start);
        self.wake_followers(leader);
    }

    fn cut_log(&mut self, broker: usize, lost: usize) {
        let remembered = self.rng.random_range(1..=5);
        let replica = &mut self.destination.brokers[broker].replica;
        replica.lose(lost, remembered);
    }
}
