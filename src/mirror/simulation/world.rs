//! Everything of one run, its clock, and what happens next.
//!
//! Whatever takes time is an entry in one queue, ordered by time and by when it was put there; nothing else decides what comes
//! first, so that a seed gives the same run on every machine.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::destination::{Destination, ForBroker};
use super::group::{ForGroup, Group};
use super::invariants::Judge;
use super::network::{Connection, Given};
use super::plan::{BEGINNING, Fault, Plan};
use super::source::{Fate, Source, Visible};
use super::store::{Store, Write};
use super::trace::Trace;
use super::worker::{ForWorker, Worker};
use crate::mirror::partition::{Failure, KnownEpoch};

/// The producer id of the mirror.
pub const PRODUCER_ID: i64 = 4711;
/// How long a run may go on after its last fault, in milliseconds.
const PATIENCE: u64 = 900_000;

/// Something that is going to happen.
#[derive(Debug)]
pub enum Happening {
    /// To a worker, if it still lives that life.
    Worker(usize, u32, ForWorker),
    Broker(usize, ForBroker),
    Group(ForGroup),
    /// The next request on its way over a connection reaches the broker.
    Arrive(usize),
    Answer(usize, Given),
    /// The client's end of a connection notices that it is gone.
    Closed(usize),
    FetchSource(Asked),
    Write(Write),
    Produce,
    Strike(usize),
    /// A fault that lasted is over.
    Heal,
}

/// A fetch on its way to the source.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub worker: usize,
    pub life: u32,
    pub task: u64,
    pub attempt: u64,
    pub offset: i64,
    pub known: KnownEpoch,
    pub incarnation: u32,
    /// How often it found nothing.
    pub polls: u32,
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    order: u64,
    /// Apart, because the queue moves its entries about.
    what: Box<Happening>,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// The destination holds what the source shows.
    Equal,
    /// It stands still for a true reason.
    Failed(Failure),
}

/// One run.
#[derive(Debug)]
pub struct World {
    pub plan: Plan,
    pub rng: SmallRng,
    pub now: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    /// The order of what is happening now.
    present: u64,
    pub source: Source,
    pub destination: Destination,
    pub connections: Vec<Connection>,
    pub workers: Vec<Worker>,
    pub group: Group,
    pub store: Store,
    pub judge: Judge,
    pub trace: Trace,
    /// Whether the last fault is over.
    pub calm: bool,
    /// Added to the brokers' clocks.
    pub clock_ahead: i64,
    pub paused: bool,
    /// One for each kind of fault: taking a kind out leaves the times of the others as they are.
    dice: Vec<SmallRng>,
    produced: u32,
    pub steps: u64,
    pub struck: Vec<Fault>,
    source_lag_until: u64,
    pub next_task: u64,
    /// Whose task stops because all is done.
    ending_owner: Option<usize>,
}

impl World {
    pub fn new(plan: Plan, trace: Trace) -> Self {
        let seeded = |salt: u64| SmallRng::seed_from_u64(plan.seed ^ (salt << 40));
        let source = Source::new(plan.habits.clone(), plan.source_start, seeded(1));
        let judge = Judge::new(&plan);
        let mut world = Self {
            rng: seeded(2),
            now: 0,
            queue: BinaryHeap::new(),
            order: 0,
            present: 0,
            source,
            destination: Destination::new(&plan),
            connections: Vec::new(),
            workers: (0..plan.workers).map(|_| Worker::default()).collect(),
            group: Group::new(plan.workers),
            store: Store::new(&plan),
            judge,
            trace,
            calm: false,
            clock_ahead: 0,
            paused: false,
            dice: plan
                .strikes
                .iter()
                .map(|strikes| seeded(100 + strikes.fault as u64))
                .collect(),
            produced: 0,
            steps: 0,
            struck: Vec::new(),
            source_lag_until: 0,
            next_task: 0,
            ending_owner: None,
            plan,
        };
        for worker in 0..world.workers.len() {
            let delay = world.rng.random_range(0..1_000);
            world.worker_later(worker, delay, ForWorker::Renew);
        }
        world.at(0, Happening::Produce);
        for index in 0..world.plan.strikes.len() {
            world.schedule_strike(index);
        }
        let trouble = world.plan.trouble;
        world.at(trouble, Happening::Heal);
        world
    }

    /// The brokers' clock.
    pub fn wall_clock(&self) -> i64 {
        BEGINNING + self.now as i64 + self.clock_ahead
    }

    /// Lets something happen at a moment.
    pub fn at(&mut self, at: u64, what: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled {
            at: at.max(self.now),
            order: self.order,
            what: Box::new(what),
        }));
    }

    /// Puts off what is happening just now, without letting anything overtake it.
    pub fn put_off(&mut self, until: u64, what: Happening) {
        self.queue.push(Reverse(Scheduled {
            at: until,
            order: self.present,
            what: Box::new(what),
        }));
    }

    pub fn later(&mut self, delay: u64, what: Happening) {
        self.at(self.now + delay, what);
    }

    pub fn worker_later(&mut self, worker: usize, delay: u64, what: ForWorker) {
        let life = self.workers[worker].life;
        self.later(delay, Happening::Worker(worker, life, what));
    }

    /// A delay of the network.
    pub fn delay(&mut self) -> u64 {
        if self.calm {
            return self.rng.random_range(0..5);
        }
        let longest = self.plan.delay;
        if self.rng.random_bool(0.1) {
            self.rng.random_range(0..=longest)
        } else {
            self.rng.random_range(0..=longest / 5 + 1)
        }
    }

    fn schedule_strike(&mut self, index: usize) {
        let every = self.plan.strikes[index].every;
        let after = self.dice[index].random_range(1..=2 * every);
        if self.now + after < self.plan.trouble {
            self.later(after, Happening::Strike(index));
        }
    }

    /// Plays until the mirror has settled or stands still for good.
    pub fn run(&mut self) -> Ending {
        let deadline = self.plan.trouble + PATIENCE;
        loop {
            if self.calm
                && let Some(ending) = self.ending()
            {
                return ending;
            }
            let Some(Reverse(next)) = self.queue.pop() else {
                panic!("nothing happens any more, and the mirror has not settled");
            };
            self.now = next.at;
            self.present = next.order;
            self.steps += 1;
            assert!(
                self.now < deadline,
                "the mirror has not settled {} s after the last fault: {}",
                PATIENCE / 1000,
                self.describe()
            );
            self.happen(*next.what);
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Worker(worker, life, what) => self.at_worker(worker, life, what),
            Happening::Broker(broker, what) => self.at_broker(broker, what),
            Happening::Group(what) => self.at_group(what),
            Happening::Arrive(connection) => self.arrive(connection),
            Happening::Answer(connection, given) => self.answered(connection, given),
            Happening::Closed(connection) => self.noticed_closed(connection),
            Happening::FetchSource(asked) => self.fetch_source(asked),
            Happening::Write(write) => self.write_store(write),
            Happening::Produce => self.produce(),
            Happening::Strike(index) => {
                let fault = self.plan.strikes[index].fault;
                let mut dice = self.dice[index].clone();
                self.strike(fault, &mut dice);
                self.dice[index] = dice;
                self.schedule_strike(index);
            }
            Happening::Heal => self.heal(),
        }
    }

    fn produce(&mut self) {
        if self.produced < self.plan.batches && !self.calm {
            self.produced += 1;
            self.source.produce();
            let pause = self.plan.trouble / u64::from(self.plan.batches + 1);
            let delay = if self.rng.random_bool(0.5) {
                0
            } else {
                self.rng.random_range(0..=3 * pause)
            };
            self.later(delay, Happening::Produce);
        }
    }

    /// All faults are over; what was to be produced is.
    fn heal(&mut self) {
        self.calm = true;
        self.trace
            .note(self.now, || "--- the faults are over".to_owned());
        while self.produced < self.plan.batches {
            self.produced += 1;
            self.source.produce();
        }
        self.source.finish_all(self.plan.left_open);
        self.source_lag_until = 0;
        self.heal_brokers();
        self.heal_workers();
        self.set_paused(false);
    }

    pub fn lag_source(&mut self, until: u64) {
        self.source_lag_until = until;
    }

    fn fetch_source(&mut self, mut asked: Asked) {
        use crate::mirror::partition::{Event, Fetched};
        let Asked {
            worker,
            life,
            task,
            attempt,
            offset,
            ..
        } = asked;
        if self.workers[worker].life != life {
            return;
        }
        let delay = self.delay();
        let tell = |event| Happening::Worker(worker, life, ForWorker::Mirror { task, event });
        if asked.incarnation != self.source.incarnation {
            let failure = Failure::SourceRecreated {
                was: incarnation_id(asked.incarnation),
                is: incarnation_id(self.source.incarnation),
            };
            return self.later(delay, tell(Event::Failed(failure)));
        }
        if let Some(end) = self.source.parted_at(asked.known) {
            return self.later(delay, tell(Event::SourceDiverged { attempt, end }));
        }
        let lags = self.now < self.source_lag_until && self.rng.random_bool(0.7);
        let found = if lags {
            None
        } else {
            self.source.fetch(offset, &mut self.rng)
        };
        let Some(found) = found else {
            let (log_start, end) = (self.source.start, self.source.end);
            let event = Event::SourceLost {
                attempt,
                log_start,
                end,
            };
            return self.later(100 + delay, tell(event));
        };
        if found.records.is_empty() && asked.polls < 5 {
            // A long poll: new records end it, or half a second.
            asked.polls += 1;
            return self.later(100, Happening::FetchSource(asked));
        }
        let is_end = found.records.is_empty() && found.last_stable_offset <= offset;
        let here = is_end.then_some((attempt, offset));
        let running = self.workers[worker].task.as_mut();
        let Some(running) = running.filter(|it| it.id == task) else {
            return;
        };
        if is_end && running.ended_at == here {
            // It was told so before: the wish stands until there is something to read.
            return self.later(100, Happening::FetchSource(asked));
        }
        running.ended_at = here;
        let event = Event::Fetched(Fetched {
            attempt,
            records: found.records,
            aborted: found.aborted,
            last_stable_offset: found.last_stable_offset,
        });
        self.later(delay, tell(event));
    }

    /// Where the run stands, once nothing goes wrong any more.
    fn ending(&mut self) -> Option<Ending> {
        if let Some(owner) = self.ending_owner {
            if self.workers[owner].task.is_some() {
                return None;
            }
            self.check_store();
            return Some(Ending::Equal);
        }
        let owner = self.group.owner()?;
        if self.workers[owner].frozen_until > self.now || !self.runs_as_owner(owner) {
            return None;
        }
        let mut others = self.workers.iter().enumerate();
        if others.any(|(worker, it)| worker != owner && it.task.is_some()) {
            // It takes itself for the owner, and may still write.
            return None;
        }
        let task = self.workers[owner].task.as_ref()?;
        if let Some(failure) = task.failure.clone() {
            return Some(Ending::Failed(failure));
        }
        let confirmed = *task.mirror.confirmed();
        let leader = self.destination.settled_leader()?;
        let replica = &self.destination.brokers[leader].replica;
        let reached = replica.reached();
        let all_there = self.missing(reached.source).is_none();
        // It was empty both times, so that nothing tells that the topic is another one, and the count goes on.
        let unnoticed = self.judge.destination_recreated;
        // A topic that was made anew ends where nothing of the former one does: it has to be noticed.
        let settled = !self.judge.source_recreated
            && confirmed.source_offset >= self.source.last_stable_offset()
            && (self.plan.preserve || unnoticed || confirmed.count == reached.count)
            && confirmed.destination_offset == replica.end()
            && replica.high_watermark == replica.end()
            && all_there
            // Whoever waits for the copy to be complete hears of it.
            && task.caught_up
            // What it stores last is kept only by a member of the group.
            && self.holds_lease(owner);
        if settled {
            assert!(!reached.gap, "the mirror settled behind a gap");
            self.judge.completed(replica, &self.source);
            self.trace
                .note(self.now, || "--- settled; the task stops".to_owned());
            self.ending_owner = Some(owner);
            self.stop_task(owner);
        }
        None
    }

    /// The first record after `last` that is still there.
    fn missing(&self, last: i64) -> Option<&Visible> {
        let mut left = self.source.view.records[self.source.view.at(last + 1)..].iter();
        left.find(|record| record.fate == Fate::There)
    }

    pub fn describe(&self) -> String {
        let leader = self.destination.settled_leader();
        let missing = leader.map(|leader| {
            let reached = self.destination.brokers[leader].replica.reached();
            (reached.source, self.missing(reached.source))
        });
        let tasks: Vec<String> = self
            .workers
            .iter()
            .map(|worker| {
                let task = worker.task.as_ref();
                let state = task.map(|task| format!("confirmed {:?}", task.mirror.confirmed()));
                state.unwrap_or_else(|| "no task".to_owned())
            })
            .collect();
        format!(
            "owner {:?}, {}; source ends at {} (stable {}); last copied and next of the source {missing:?}; {}",
            self.group.owner(),
            tasks.join("; "),
            self.source.end,
            self.source.last_stable_offset(),
            self.destination.describe()
        )
    }
}

pub fn incarnation_id(incarnation: u32) -> uuid::Uuid {
    uuid::Uuid::from_u128(1 + u128::from(incarnation))
}
