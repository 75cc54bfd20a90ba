//! The destination's controller: who leads, and what becomes of brokers that crash, freeze and come back.
//!
//! A broker that is away for longer than its session leads no more; one of those in sync takes its place, or nobody. Whoever
//! comes back follows, or leads again where it was the last one in sync.

use rand::Rng;

use super::destination::{ForBroker, Leadership};
use super::log::{Reached, Replica};
use super::plan::EXPIRY;
use super::world::{Happening, World};

/// How long a broker may be silent before the controller takes it for dead.
const BROKER_SESSION: u64 = 4_000;

impl World {
    /// The controller names a leader and tells everybody.
    pub fn elect(&mut self, leader: Option<usize>) {
        self.destination.control.leader = leader;
        self.destination.control.epoch += 1;
        self.tell_brokers();
    }

    fn tell_brokers(&mut self) {
        let control = self.destination.control;
        self.trace
            .note(self.now, || format!("the controller decides {control:?}"));
        for broker in 0..self.destination.brokers.len() {
            let delay = if self.calm {
                1
            } else {
                self.rng.random_range(1..=60)
            };
            self.later(delay, Happening::Broker(broker, ForBroker::Learn(control)));
        }
    }

    /// The next leader after `broker` is gone: somebody in sync, or nobody.
    pub fn elect_another(&mut self, broker: usize) {
        let control = &mut self.destination.control;
        if control.in_sync_count() > 1 {
            control.in_sync[broker] = false;
        }
        if control.leader.is_some_and(|leader| leader != broker) {
            return self.tell_brokers();
        }
        let in_sync = control.in_sync;
        let candidate = (0..self.destination.brokers.len()).find(|candidate| {
            let it = &self.destination.brokers[*candidate];
            in_sync[*candidate] && it.up && it.frozen_until <= self.now
        });
        self.elect(candidate);
    }

    pub fn crash_broker(&mut self, broker: usize, lost: usize, away: u64) {
        let remembered = self.rng.random_range(1..=5);
        let it = &mut self.destination.brokers[broker];
        if !it.up {
            return;
        }
        it.up = false;
        it.life += 1;
        it.fetching = false;
        it.waiting.clear();
        it.replica.lose(lost, remembered);
        it.replica.rebuild(remembered);
        let wall = self.wall_clock();
        // A restart does not load what has expired, and does load what the log says.
        if self.rng.random_bool(0.5) && self.plan.forgets {
            self.destination.brokers[broker]
                .replica
                .producers
                .expire(wall, EXPIRY);
        }
        self.close_broker(broker);
        let delay = self.rng.random_range(50..2_000);
        self.later(delay, Happening::Broker(broker, ForBroker::Session));
        self.later(away, Happening::Broker(broker, ForBroker::Restart));
    }

    /// The controller looks at a broker: one that is away leads no more.
    pub fn broker_session(&mut self, broker: usize) {
        let it = &self.destination.brokers[broker];
        if it.up && it.frozen_until <= self.now {
            return;
        }
        self.elect_another(broker);
    }

    pub fn restart_broker(&mut self, broker: usize) {
        let it = &mut self.destination.brokers[broker];
        if it.up {
            return;
        }
        it.up = true;
        it.frozen_until = 0;
        // It serves nobody before it has caught up with the controller; what was decided before is old news to it.
        it.knows = Leadership {
            leader: None,
            epoch: self.destination.control.epoch,
            in_sync: [false; 3],
        };
        self.trace
            .note(self.now, || format!("broker {broker} is back"));
        self.comes_back(broker);
    }

    /// A broker that was away is known to the controller again.
    pub fn comes_back(&mut self, broker: usize) {
        let control = self.destination.control;
        let leads = control
            .leader
            .is_some_and(|leader| leader != broker && self.destination.brokers[leader].up);
        if leads {
            return self.later(10, Happening::Broker(broker, ForBroker::Learn(control)));
        }
        // It led when it went away, or nobody does.
        if control.in_sync[broker] {
            self.elect(Some(broker));
        }
    }

    pub fn freeze_broker(&mut self, broker: usize, until: u64) {
        let it = &mut self.destination.brokers[broker];
        if !it.up || it.frozen_until > self.now {
            return;
        }
        it.frozen_until = until;
        if until > self.now + BROKER_SESSION {
            self.later(
                BROKER_SESSION,
                Happening::Broker(broker, ForBroker::Session),
            );
        }
        let soon = self.rng.random_range(1..80);
        self.at(until + soon, Happening::Broker(broker, ForBroker::Awake));
    }

    /// Somebody out of sync is made leader, and what it lacks is gone.
    pub fn elect_unclean(&mut self, broker: usize) {
        let control = &mut self.destination.control;
        control.in_sync = [false; 3];
        control.in_sync[broker] = true;
        self.judge.destination_lost = true;
        self.elect(Some(broker));
    }

    /// The leaders look for producers whose last record is too old.
    pub fn expire_producers(&mut self) {
        let now = self.wall_clock();
        for (number, broker) in self.destination.brokers.iter_mut().enumerate() {
            if broker.replica.producers.expire(now, EXPIRY) {
                self.trace
                    .note(self.now, || format!("broker {number} forgets producers"));
            }
        }
    }

    /// The mirror topic is deleted and created again, empty.
    pub fn recreate_destination(&mut self) {
        self.destination.incarnation += 1;
        self.judge.destination_recreated = true;
        for broker in &mut self.destination.brokers {
            broker.replica = Replica::new(0, Reached::NOTHING);
            broker.remote_end = [0; 3];
            broker.epoch_start = 0;
            broker.waiting.clear();
        }
        self.judge.start_over();
    }

    pub fn heal_brokers(&mut self) {
        for broker in 0..self.destination.brokers.len() {
            let it = &mut self.destination.brokers[broker];
            it.stalled_until = 0;
            it.muted_until = 0;
            if !it.up {
                self.restart_broker(broker);
            }
        }
        // A broker that was frozen and one that is back hear of the present state.
        let control = self.destination.control;
        let alone = control
            .leader
            .is_none_or(|leader| !self.destination.brokers[leader].up);
        if alone {
            let candidate = (0..self.destination.brokers.len()).find(|it| control.in_sync[*it]);
            self.elect(candidate);
        } else {
            self.tell_brokers();
        }
        for broker in 0..self.destination.brokers.len() {
            self.serve_all(broker);
        }
    }
}
