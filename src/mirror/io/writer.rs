//! Produce for all partitions of a destination.
//!
//! Each broker has a few lanes, each one connection with a deep pipeline; a partition always uses the same
//! lane of its leader, because several connections on one partition only fight over the order. A request
//! carries one batch a partition (the protocol's limit), of those whose turn it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::turns::Turns;
use super::window::{Ticket, Window};

use super::{Events, Route};
use crate::control::records::Acks;
use crate::kafka::produce::{ProduceBatch, ProducedPartition, produce};
use crate::kafka::{Client, Connection, Error, ErrorCode};
use crate::mirror::batch::Rewritten;
use crate::mirror::partition::{Answer, Event};

/// Connections a broker, which serves one request a connection at a time: two of its cores can check batches.
const LANES: usize = 2;
/// Requests on their way on one lane, however small.
const MAX_REQUESTS: usize = 512;
/// Bytes in one request, unless a single batch is larger.
const REQUEST_BYTES: usize = 8 << 20;
/// How long a broker may wait for its followers before it answers.
const ACKS_TIMEOUT_MS: i32 = 20_000;

/// One batch to write and whom to tell.
#[derive(Debug)]
pub struct Job {
    pub route: Arc<Route>,
    pub acks: Acks,
    pub attempt: u64,
    pub batch: Rewritten,
    pub events: Events,
}

impl Job {
    fn answer(&self, answer: Answer) {
        if !matches!(answer, Answer::Acknowledged { .. }) {
            self.route.make_void(self.attempt);
        }
        self.events.tell(Event::Answer {
            attempt: self.attempt,
            answer,
        });
    }
}

/// What the requests of a lane have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Destination {
    broker: i32,
    lane: usize,
    acks: Acks,
}

/// All lanes to a destination.
#[derive(Debug)]
pub struct Writer {
    client: Client,
    lanes: Mutex<HashMap<Destination, mpsc::UnboundedSender<Job>>>,
}

impl Writer {
    pub fn new(client: Client) -> Arc<Self> {
        Arc::new(Self {
            client,
            lanes: Mutex::new(HashMap::new()),
        })
    }

    /// Queues a batch; its answer comes as an event, in order.
    pub fn send(&self, job: Job) {
        let destination = Destination {
            broker: job.route.leader(),
            lane: usize::try_from(job.route.destination.partition).unwrap_or(0) % LANES,
            acks: job.acks,
        };
        let mut lanes = self
            .lanes
            .lock()
            .expect("no lane panics while it holds the lock");
        let sender = lanes.entry(destination).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            tokio::spawn(Lane::new(self.client.clone(), destination).run(receiver));
            sender
        });
        if let Err(refused) = sender.send(job) {
            refused.0.answer(Answer::Lost {
                cause: "the worker is stopping".to_owned(),
            });
        }
    }
}

struct Lane {
    client: Client,
    broker: i32,
    /// As Produce has it: -1 for all in-sync replicas.
    acks: i16,
    connection: Option<Connection>,
    /// How many connections there were, the present one included.
    connections: u64,
    /// Batches not yet sent, by route. A partition that was stopped and started again has two routes for a moment, but
    /// all that the former one sent is void by then.
    waiting: Turns<Job>,
    in_flight: FuturesOrdered<BoxFuture<'static, Sent>>,
    window: Window,
}

/// A request that was answered, or never will be.
struct Sent {
    jobs: Vec<Job>,
    ticket: Ticket,
    outcome: Result<Vec<ProducedPartition>, Error>,
}

impl Lane {
    fn new(client: Client, destination: Destination) -> Self {
        Self {
            client,
            broker: destination.broker,
            acks: match destination.acks {
                Acks::All => -1,
                Acks::Leader => 1,
            },
            connection: None,
            connections: 0,
            waiting: Turns::default(),
            in_flight: FuturesOrdered::new(),
            window: Window::new(Instant::now()),
        }
    }

    async fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        loop {
            tokio::select! {
                biased;
                Some(sent) = self.in_flight.next(), if !self.in_flight.is_empty() => self.answered(sent),
                job = jobs.recv() => {
                    let Some(job) = job else { break };
                    self.queue(job);
                }
            }
            // Partitions that were fetched together send together: let them, before the next request leaves.
            tokio::task::yield_now().await;
            while let Ok(job) = jobs.try_recv() {
                self.queue(job);
            }
            while self.has_room() {
                self.send_one().await;
            }
        }
    }

    fn has_room(&self) -> bool {
        // What was lost with a connection is said first, which voids what was to follow it: else that
        // would leave over the next connection, and a leader that forgot the producer id would take it.
        let lost = self.connection.as_ref().is_none_or(Connection::is_closed);
        if lost && !self.in_flight.is_empty() {
            return false;
        }
        !self.waiting.is_empty()
            && self.in_flight.len() < MAX_REQUESTS
            && self.window.has_room(Instant::now())
    }

    fn queue(&mut self, job: Job) {
        let (route, bytes) = (job.route.id, job.batch.size());
        self.waiting.push(route, job, bytes);
    }

    /// The next request: one batch of each partition whose turn it is, up to the size of a request.
    fn next_request(&mut self) -> (Vec<Job>, usize) {
        let (mut jobs, mut bytes) = (Vec::new(), 0usize);
        for route in self.waiting.next_round() {
            if bytes >= REQUEST_BYTES {
                break;
            }
            while let Some(job) = self.waiting.pop(route) {
                if job.route.is_void(job.attempt) {
                    job.answer(Answer::Lost {
                        cause: "given up".to_owned(),
                    });
                    continue;
                }
                if !job.route.goes_over(job.attempt, self.connections) {
                    // Whatever made the connection end may have made the leader forget the producer id, and then
                    // it would take any sequence: the tail is read and one batch goes alone.
                    job.answer(Answer::Lost {
                        cause: "connected anew".to_owned(),
                    });
                    continue;
                }
                if !job.route.lease.is_held() {
                    job.answer(Answer::Lost {
                        cause: "this worker's membership is unconfirmed".to_owned(),
                    });
                    continue;
                }
                bytes += job.batch.size();
                jobs.push(job);
                break;
            }
        }
        (jobs, bytes)
    }

    async fn send_one(&mut self) {
        let connection = match self.connect().await {
            Ok(connection) => connection,
            Err(error) => return self.lose_all(&error),
        };
        let (jobs, bytes) = self.next_request();
        if jobs.is_empty() {
            return;
        }
        let batches: Vec<ProduceBatch<'_>> = jobs
            .iter()
            .map(|job| ProduceBatch {
                topic: &job.route.destination.topic,
                partition: job.route.destination.partition,
                head: job.batch.header.clone(),
                batch: job.batch.records.clone(),
            })
            .collect();
        // Queued here, in order; only the answer is waited for later.
        let answers = produce(&connection, self.acks, ACKS_TIMEOUT_MS, &batches);
        let ticket = self.window.send(bytes, Instant::now());
        self.in_flight.push_back(Box::pin(async move {
            let outcome = answers.await;
            Sent {
                jobs,
                ticket,
                outcome,
            }
        }));
    }

    /// The broker's own words; where a right is missing, who lacks it.
    fn words(&self, code: ErrorCode, message: Option<String>) -> Option<String> {
        if !code.is_authorization() {
            return message;
        }
        let words = message.unwrap_or_else(|| code.description().to_owned());
        Some(format!("{words}; asked of {}", self.client.asked()))
    }

    async fn connect(&mut self) -> Result<Connection, Error> {
        if let Some(connection) = &self.connection
            && !connection.is_closed()
        {
            return Ok(connection.clone());
        }
        let connection = self.client.connect_broker(self.broker).await?;
        self.connections += 1;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    fn lose_all(&mut self, error: &Error) {
        for job in self.waiting.take_all() {
            job.answer(Answer::Lost {
                cause: error.to_string(),
            });
        }
    }

    fn answered(&mut self, sent: Sent) {
        self.window.answered(&sent.ticket, Instant::now());
        match sent.outcome {
            Ok(partitions) => {
                for (job, found) in sent.jobs.iter().zip(partitions) {
                    job.answer(if found.error.is_ok() {
                        Answer::Acknowledged {
                            base_offset: found.base_offset,
                        }
                    } else {
                        Answer::Refused {
                            code: found.error,
                            message: self.words(found.error, found.message),
                        }
                    });
                }
            }
            Err(error) => {
                // What the broker did with it is unknown: the tail will tell. Whatever the error was, nothing
                // more goes over this connection.
                self.client.distrust(&error);
                if let Some(connection) = self.connection.take() {
                    connection.close();
                }
                for job in sent.jobs {
                    job.answer(Answer::Lost {
                        cause: error.to_string(),
                    });
                }
            }
        }
    }
}
