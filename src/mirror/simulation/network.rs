//! Connections to brokers of the destination, and the lanes of a worker that send over them.
//!
//! A lane does what `io::writer` does: one connection to a broker with a deep pipeline; what is void or not covered by
//! the lease is not sent; after a loss nothing goes out before everything lost was told; a broken connection is replaced.
//!
//! A connection is a pipe: requests arrive in order, the broker handles one at a time and answers in order. When
//! it breaks, or the worker dies, a part of what was on its way still arrives, later, and is not answered.

use std::collections::VecDeque;

use bytes::Bytes;
use rand::Rng;

use super::worker::ForWorker;
use super::world::{Happening, World};
use crate::mirror::partition::{Answer, Event};

/// Requests on their way on one lane.
const MOST_REQUESTS: usize = 32;
/// How long a client waits for an answer.
const REQUEST_TIMEOUT: u64 = 30_000;

/// A batch on its way to a broker.
#[derive(Clone, Debug)]
pub struct Request {
    pub batch: Bytes,
    /// The topic that was meant.
    pub incarnation: u32,
}

/// The broker's answer to the oldest request of a connection.
#[derive(Debug)]
pub struct Given(pub Answer);

#[derive(Debug)]
pub struct Connection {
    pub worker: usize,
    pub broker: usize,
    /// Whether the client still uses it.
    client_open: bool,
    /// Whether the broker still does.
    broker_open: bool,
    /// Requests under way, and those that have arrived and wait.
    wire: VecDeque<Request>,
    inbox: VecDeque<Request>,
    busy: bool,
    last_arrival: u64,
    last_answer: u64,
    /// Nothing arrives before.
    stalled_until: u64,
    /// Answers do not come back any more.
    deaf: bool,
    /// Nor does what is sent arrive.
    cut: bool,
}

/// A batch that a task wants written.
#[derive(Debug)]
pub struct Job {
    pub task: u64,
    pub attempt: u64,
    pub batch: Bytes,
    pub incarnation: u32,
}

/// What `io::writer` keeps for one broker.
#[derive(Debug, Default)]
pub struct Lane {
    connection: Option<usize>,
    connecting: bool,
    waiting: VecDeque<Job>,
    /// Task, attempt and time of what was sent and not answered.
    in_flight: VecDeque<(u64, u64, u64)>,
}

impl World {
    /// A task hands a batch to the writer.
    pub fn queue_job(&mut self, worker: usize, leader: Option<usize>, job: Job) {
        let Some(leader) = leader else {
            return self.lose(worker, job.task, job.attempt, "no leader is known");
        };
        self.workers[worker].lanes[leader].waiting.push_back(job);
        self.pump_lane(worker, leader);
    }

    fn pump_lane(&mut self, worker: usize, broker: usize) {
        loop {
            let lane = &self.workers[worker].lanes[broker];
            let open = lane
                .connection
                .is_some_and(|connection| self.connections[connection].client_open);
            if (!open && !lane.in_flight.is_empty())
                || lane.waiting.is_empty()
                || lane.in_flight.len() >= MOST_REQUESTS
                || lane.connecting
            {
                return;
            }
            if !open {
                self.workers[worker].lanes[broker].connecting = true;
                let delay = self.delay() + 1;
                return self.worker_later(worker, delay, ForWorker::Connected(broker));
            }
            self.send_next(worker, broker);
        }
    }

    fn send_next(&mut self, worker: usize, broker: usize) {
        let held = self.holds_lease(worker);
        let lane = &mut self.workers[worker].lanes[broker];
        let connection = lane.connection.expect("the lane is connected");
        let Some(job) = lane.waiting.pop_front() else {
            return;
        };
        let it = &self.workers[worker];
        let void = it
            .task
            .as_ref()
            .is_none_or(|task| task.id != job.task || job.attempt <= task.void);
        if void {
            return self.lose(worker, job.task, job.attempt, "given up");
        }
        let running = self.workers[worker].task.as_mut().expect("looked at above");
        if !running.goes_over(job.attempt, connection) {
            // The leader may have forgotten the producer id meanwhile: the tail is read, and one batch goes alone.
            return self.lose(worker, job.task, job.attempt, "connected anew");
        }
        if !held {
            return self.lose(worker, job.task, job.attempt, "membership is unconfirmed");
        }
        self.workers[worker].lanes[broker]
            .in_flight
            .push_back((job.task, job.attempt, self.now));
        let delay = self.delay();
        let it = &mut self.connections[connection];
        it.last_arrival = it.last_arrival.max(self.now + delay);
        if !it.cut {
            it.wire.push_back(Request {
                batch: job.batch,
                incarnation: job.incarnation,
            });
            let at = it.last_arrival;
            self.at(at, Happening::Arrive(connection));
        }
        self.worker_later(
            worker,
            REQUEST_TIMEOUT,
            ForWorker::RequestOverdue(connection),
        );
    }

    pub fn connected(&mut self, worker: usize, broker: usize) {
        let it = &self.destination.brokers[broker];
        let reached = it.up && (it.frozen_until <= self.now || self.rng.random_bool(0.5));
        let lane = &mut self.workers[worker].lanes[broker];
        lane.connecting = false;
        if !reached {
            for job in std::mem::take(&mut lane.waiting) {
                self.lose(
                    worker,
                    job.task,
                    job.attempt,
                    "the broker cannot be reached",
                );
            }
            return;
        }
        self.connections.push(Connection {
            worker,
            broker,
            client_open: true,
            broker_open: true,
            wire: VecDeque::new(),
            inbox: VecDeque::new(),
            busy: false,
            last_arrival: self.now,
            last_answer: self.now,
            stalled_until: 0,
            deaf: false,
            cut: false,
        });
        self.workers[worker].lanes[broker].connection = Some(self.connections.len() - 1);
        self.pump_lane(worker, broker);
    }

    /// A request that was queued or sent will not be answered: nothing of its attempt may follow.
    fn lose(&mut self, worker: usize, task: u64, attempt: u64, cause: &str) {
        self.answer_task(
            worker,
            task,
            attempt,
            Answer::Lost {
                cause: cause.to_owned(),
            },
        );
    }

    fn answer_task(&mut self, worker: usize, task: u64, attempt: u64, answer: Answer) {
        if !matches!(answer, Answer::Acknowledged { .. })
            && let Some(running) = &mut self.workers[worker].task
            && running.id == task
        {
            running.void = running.void.max(attempt);
        }
        let event = Event::Answer { attempt, answer };
        self.worker_later(worker, 0, ForWorker::Mirror { task, event });
    }

    /// The next request reaches the broker.
    pub fn arrive(&mut self, connection: usize) {
        let it = &mut self.connections[connection];
        let broker = it.broker;
        if !it.broker_open {
            it.wire.clear();
            return;
        }
        if it.stalled_until > self.now {
            let until = it.stalled_until;
            return self.put_off(until, Happening::Arrive(connection));
        }
        let Some(request) = it.wire.pop_front() else {
            return;
        };
        it.inbox.push_back(request);
        self.serve(broker, connection);
    }

    /// The broker handles what has arrived, one request at a time.
    fn serve(&mut self, broker: usize, connection: usize) {
        loop {
            let host = &self.destination.brokers[broker];
            let until = host.frozen_until.max(host.muted_until);
            let it = &mut self.connections[connection];
            if it.busy || !it.broker_open || it.inbox.is_empty() {
                return;
            }
            if until > self.now {
                let unmute = super::destination::ForBroker::Unmute;
                return self.at(until, Happening::Broker(broker, unmute));
            }
            let Some(request) = it.inbox.pop_front() else {
                return;
            };
            it.busy = true;
            if let Some(answer) = self.produce_at(broker, connection, &request) {
                self.finish_request(connection, Given(answer));
            }
        }
    }

    pub fn serve_all(&mut self, broker: usize) {
        for connection in 0..self.connections.len() {
            if self.connections[connection].broker == broker {
                self.serve(broker, connection);
            }
        }
    }

    /// The broker answers the request that it was busy with.
    pub fn finish_request(&mut self, connection: usize, given: Given) {
        let delay = self.delay();
        let it = &mut self.connections[connection];
        it.busy = false;
        if it.client_open && !it.deaf && it.broker_open {
            it.last_answer = it.last_answer.max(self.now + delay);
            let at = it.last_answer;
            self.at(at, Happening::Answer(connection, given));
        }
        if !self.connections[connection].inbox.is_empty() {
            let unmute = super::destination::ForBroker::Unmute;
            let broker = self.connections[connection].broker;
            self.later(0, Happening::Broker(broker, unmute));
        }
    }

    /// An answer has come back to the worker's machine.
    pub fn answered(&mut self, connection: usize, given: Given) {
        let it = &self.connections[connection];
        if !it.client_open || it.deaf {
            return;
        }
        let worker = it.worker;
        self.worker_later(worker, 0, ForWorker::Answered(connection, given));
    }

    /// The lane takes an answer in.
    pub fn take_answer(&mut self, worker: usize, connection: usize, given: Given) {
        let broker = self.connections[connection].broker;
        if !self.connections[connection].client_open {
            return;
        }
        let lane = &mut self.workers[worker].lanes[broker];
        let Some((task, attempt, _)) = lane.in_flight.pop_front() else {
            return;
        };
        self.answer_task(worker, task, attempt, given.0);
        self.pump_lane(worker, broker);
    }

    /// The worker's end notices that the connection is gone, or gives it up.
    pub fn noticed_closed(&mut self, connection: usize) {
        let worker = self.connections[connection].worker;
        if self.connections[connection].client_open {
            self.worker_later(worker, 0, ForWorker::Lost(connection));
        }
    }

    pub fn take_loss(&mut self, worker: usize, connection: usize) {
        if !std::mem::replace(&mut self.connections[connection].client_open, false) {
            return;
        }
        let broker = self.connections[connection].broker;
        self.trace.note(self.now, || {
            format!("worker {worker} lost its connection to broker {broker}")
        });
        let lane = &mut self.workers[worker].lanes[broker];
        lane.connection = None;
        for (task, attempt, _) in std::mem::take(&mut lane.in_flight) {
            self.lose(worker, task, attempt, "the connection was lost");
        }
        self.pump_lane(worker, broker);
    }

    /// The oldest request of a connection was not answered in time.
    pub fn overdue(&mut self, worker: usize, connection: usize) {
        let it = &self.connections[connection];
        let broker = it.broker;
        let oldest = self.workers[worker].lanes[broker].in_flight.front();
        let overdue = oldest.is_some_and(|(_, _, sent)| sent + REQUEST_TIMEOUT <= self.now);
        if it.client_open && overdue {
            self.take_loss(worker, connection);
        }
    }

    /// The connections that a worker has open.
    pub fn open_connections(&self, worker: usize) -> Vec<usize> {
        self.workers[worker]
            .lanes
            .iter()
            .filter_map(|lane| lane.connection)
            .collect()
    }

    /// A connection breaks: some of what is on its way still arrives, after `stall`, the client notices after `notice`.
    pub fn cut(&mut self, connection: usize, stall: u64, notice: Option<u64>) {
        let arriving = {
            let it = &self.connections[connection];
            self.rng.random_range(0..=it.wire.len())
        };
        let it = &mut self.connections[connection];
        it.deaf = true;
        it.cut = true;
        it.wire.truncate(arriving);
        it.stalled_until = self.now + stall;
        let broker = it.broker;
        self.trace.note(self.now, || {
            format!("a connection to broker {broker} breaks, {arriving} requests still arrive in {stall} ms")
        });
        if let Some(notice) = notice {
            self.later(notice, Happening::Closed(connection));
        }
    }

    /// The client's process is gone; its connection is half open until the broker is told.
    pub fn abandon_connections(&mut self, worker: usize, stall: u64) {
        for connection in self.open_connections(worker) {
            self.cut(connection, stall, None);
            self.connections[connection].client_open = false;
        }
        for lane in &mut self.workers[worker].lanes {
            *lane = Lane::default();
        }
    }

    /// Answers of a connection do not come back, while its requests arrive.
    pub fn deafen(&mut self, connection: usize) {
        self.connections[connection].deaf = true;
    }

    /// A broker is gone, with everything that it was told.
    pub fn close_broker(&mut self, broker: usize) {
        for connection in 0..self.connections.len() {
            let it = &mut self.connections[connection];
            if it.broker != broker || !it.broker_open {
                continue;
            }
            it.broker_open = false;
            it.wire.clear();
            it.inbox.clear();
            it.busy = false;
            let delay = self.delay();
            self.later(delay, Happening::Closed(connection));
        }
    }
}
