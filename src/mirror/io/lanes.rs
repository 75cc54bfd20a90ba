//! The connections over which one broker is read.
//!
//! A lane is one connection with one fetch on its way, as a broker serves one request a connection at a time. A partition asks
//! for its next piece when it has room for it, and the next free lane takes along all that ask, as far as there is
//! memory for what may come (see [`super::ask`]). Partitions that have nothing to read stand together on a line of their own,
//! see [`super::standing`]. While the last free lane is in use its long poll is short, so that a busy partition never waits
//! long behind others.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ask::{self, Rest, choose};
use super::reader::{Reader, Wanted, deliver};
use super::share::Piece;
use super::standing::{Line, PIECE, Standing, Turn};
use crate::kafka::fetch::session::{SessionAnswer, fetch_new};
use crate::kafka::fetch::{FetchOptions, FetchPartition, FetchedPartition, Isolation, fetch_into};
use crate::kafka::{Buffers, Client, Connection, Error, ErrorCode, Reservation};

const LANES: usize = 4;
/// How long a broker waits for records, and how long on the last free lane.
const LONG_POLL: Duration = Duration::from_millis(500);
const SHORT_POLL: Duration = Duration::from_millis(50);

/// All lanes to a broker.
pub(super) struct BrokerLanes {
    reader: Weak<Reader>,
    client: Client,
    buffers: Arc<Buffers>,
    broker: i32,
    idle: Vec<Option<Connection>>,
    waiting: Vec<Wanted>,
    standing: Standing,
    /// When the answers to those are due that are as quiet as the ones that stand, and are not among them yet.
    others_due: Vec<Instant>,
    in_flight: FuturesUnordered<BoxFuture<'static, Done>>,
    /// The shortest time in which the broker answered, which comes close to a round trip. That of one answer says
    /// less: large ones and busy brokers take long at any distance.
    quickest: Duration,
}

/// An answer to one fetch.
enum Done {
    /// With the lane that is free again.
    Lane {
        wanted: Vec<(Wanted, usize)>,
        /// Where nobody had anything the last time: when the answer was due.
        quiet_until: Option<Instant>,
        took: Duration,
        outcome: Result<(Connection, Vec<FetchedPartition>), Error>,
    },
    Standing(Result<(Line, SessionAnswer), Error>),
}

impl BrokerLanes {
    pub fn new(reader: &Arc<Reader>, broker: i32) -> Self {
        Self {
            reader: Arc::downgrade(reader),
            client: reader.client().clone(),
            buffers: Arc::clone(reader.buffers()),
            broker,
            idle: vec![None; LANES],
            waiting: Vec::new(),
            standing: Standing::default(),
            others_due: Vec::new(),
            in_flight: FuturesUnordered::new(),
            quickest: Duration::MAX,
        }
    }

    /// Until the last partition let go of the reader.
    pub async fn run(mut self, mut wishes: mpsc::UnboundedReceiver<Wanted>) {
        let mut freed = self.buffers.freed();
        let mut rest = Rest::Nothing;
        loop {
            let (lacks_memory, until) = match rest {
                Rest::Nothing => (false, None),
                Rest::WaitsForMemory => (true, None),
                Rest::HeldUp(until) => (true, Some(until)),
            };
            tokio::select! {
                Some(done) = self.in_flight.next(), if !self.in_flight.is_empty() => self.done(done),
                wanted = wishes.recv() => {
                    let Some(wanted) = wanted else { break };
                    self.want(wanted);
                }
                Ok(()) = freed.changed(), if lacks_memory => {}
                () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            }
            // Partitions answered together ask again together: let them, before the next fetch leaves.
            tokio::task::yield_now().await;
            while let Ok(wanted) = wishes.try_recv() {
                self.want(wanted);
            }
            // What is given back from here on is not missed.
            freed.mark_unchanged();
            rest = self.fetch();
        }
    }

    fn want(&mut self, wanted: Wanted) {
        self.standing.withdraw(&wanted);
        self.waiting.push(wanted);
    }

    /// Sends what can be sent, and says what keeps the rest from the lanes that are free.
    fn fetch(&mut self) -> Rest {
        self.waiting.retain(|wanted| !wanted.events.is_closed());
        let now = Instant::now();
        let is_quiet = |wanted: &mut Wanted| wanted.knows_of_nothing();
        let mut quiet: Vec<Wanted> = self.waiting.extract_if(.., is_quiet).collect();
        if self.standing.is_free() {
            let standing = &mut self.standing;
            quiet = quiet
                .into_iter()
                .filter_map(|it| standing.join(it))
                .collect();
        }
        let rest = match self.standing.turn_of_others(now) {
            Turn::Ask(wait) => {
                self.waiting.append(&mut quiet);
                self.fill_lanes(now, wait)
            }
            Turn::Wait(until) => {
                let rest = self.fill_lanes(now, LONG_POLL);
                let join = (!quiet.is_empty()).then_some(Rest::HeldUp(until));
                rest.and(join.unwrap_or(Rest::Nothing))
            }
        };
        // Those that join in a moment; should that take longer, they are asked for by themselves.
        self.waiting.append(&mut quiet);
        rest.and(self.stand(now))
    }

    fn fill_lanes(&mut self, now: Instant, quiet_poll: Duration) -> Rest {
        while !self.waiting.is_empty() && !self.idle.is_empty() {
            let last = self.idle.len() == 1;
            let asked = match choose(&mut self.waiting, &self.buffers, last) {
                Ok(asked) => asked,
                Err(rest) => return rest,
            };
            let lane = self.idle.pop().expect("a lane is free");
            let max_wait = match asked.quiet {
                _ if last => SHORT_POLL,
                true => quiet_poll,
                false => LONG_POLL,
            };
            let quiet_until = asked.quiet.then(|| now + max_wait);
            self.others_due.extend(quiet_until);
            let (client, broker) = (self.client.clone(), self.broker);
            self.in_flight.push(Box::pin(async move {
                let (wanted, memory) = (&asked.wanted, asked.memory);
                let outcome = fetch_once(&client, broker, lane, max_wait, wanted, memory).await;
                Done::Lane {
                    wanted: asked.wanted,
                    quiet_until,
                    took: now.elapsed(),
                    outcome,
                }
            }));
        }
        Rest::Nothing
    }

    /// Asks for all that stand.
    fn stand(&mut self, now: Instant) -> Rest {
        let others = self.others_due.iter().min().copied();
        let wait = match self.standing.turn(now, others) {
            None => return Rest::Nothing,
            Some(Turn::Wait(until)) => return Rest::HeldUp(until),
            Some(Turn::Ask(wait)) => wait,
        };
        let Some(memory) = ask::quiet_answer(&self.buffers, self.standing.count()) else {
            return Rest::WaitsForMemory;
        };
        let Some(line) = self.standing.depart(now, wait) else {
            return Rest::Nothing;
        };
        let (client, broker) = (self.client.clone(), self.broker);
        self.in_flight.push(Box::pin(async move {
            Done::Standing(fetch_standing(&client, broker, line, wait, memory).await)
        }));
        Rest::Nothing
    }

    fn done(&mut self, done: Done) {
        let Some(reader) = self.reader.upgrade() else {
            return;
        };
        match done {
            Done::Lane {
                wanted,
                quiet_until,
                took,
                outcome,
            } => {
                let place = self
                    .others_due
                    .iter()
                    .position(|due| Some(*due) == quiet_until);
                if let Some(place) = place {
                    self.others_due.swap_remove(place);
                }
                self.lane_done(&reader, wanted, took, outcome);
            }
            Done::Standing(outcome) => self.standing_done(&reader, outcome),
        }
    }

    fn lane_done(
        &mut self,
        reader: &Arc<Reader>,
        wanted: Vec<(Wanted, usize)>,
        took: Duration,
        outcome: Result<(Connection, Vec<FetchedPartition>), Error>,
    ) {
        match outcome {
            Ok((connection, partitions)) => {
                self.idle.push(Some(connection));
                self.quickest = self.quickest.min(took);
                let answer: usize = partitions.iter().map(|found| found.records.len()).sum();
                let mut partitions: HashMap<(String, i32), FetchedPartition> = partitions
                    .into_iter()
                    .map(|found| ((found.topic.clone(), found.partition), found))
                    .collect();
                for (wanted, asked) in wanted {
                    let key = (wanted.source.topic.clone(), wanted.source.partition);
                    match partitions.remove(&key) {
                        Some(found) if says_nothing_new(&found, &wanted) => {
                            self.waiting.push(wanted);
                        }
                        Some(found) => {
                            tell(reader, wanted, found, asked, answer, self.quickest);
                        }
                        None => look_again(reader, wanted),
                    }
                }
            }
            Err(error) => {
                self.failed(&error);
                self.idle.push(None);
                for (wanted, _) in wanted {
                    reader.forget_leader(&wanted.source);
                    look_again(reader, wanted);
                }
            }
        }
    }

    fn standing_done(
        &mut self,
        reader: &Arc<Reader>,
        outcome: Result<(Line, SessionAnswer), Error>,
    ) {
        match outcome {
            Ok((line, answer)) => {
                self.standing.is_back(line);
                if answer.is_full {
                    for wanted in self.standing.take_all_but(&answer.partitions) {
                        look_again(reader, wanted);
                    }
                }
                let found = answer.partitions;
                let bytes: usize = found.iter().map(|found| found.records.len()).sum();
                for found in found {
                    let news = |wanted: &Wanted| !says_nothing_new(&found, wanted);
                    if let Some(wanted) = self.standing.take_if(&found.topic, found.partition, news)
                    {
                        tell(reader, wanted, found, PIECE, bytes, self.quickest);
                    }
                }
            }
            Err(error) => {
                self.failed(&error);
                for wanted in self.standing.is_lost() {
                    reader.forget_leader(&wanted.source);
                    look_again(reader, wanted);
                }
            }
        }
    }

    fn failed(&mut self, error: &Error) {
        tracing::debug!(broker = self.broker, %error, "a fetch failed");
        self.client.distrust(error);
        // The next connection may lead over another line.
        self.quickest = Duration::MAX;
        if matches!(error, Error::Timeout { .. }) {
            self.idle.fill(None);
        }
    }
}

/// Whether this is what the partition was told before: there is nothing to read.
fn says_nothing_new(found: &FetchedPartition, wanted: &Wanted) -> bool {
    found.error == ErrorCode::NONE
        && found.records.is_empty()
        && found.last_stable_offset <= wanted.offset
        && wanted.knows_of_nothing()
}

/// Not at once: whatever was wrong may not have passed.
fn look_again(reader: &Arc<Reader>, mut wanted: Wanted) {
    wanted.has_failed();
    reader.find_leader(wanted);
}

/// Hands a partition its part of an answer with so many bytes of records.
fn tell(
    reader: &Arc<Reader>,
    wanted: Wanted,
    mut found: FetchedPartition,
    asked: usize,
    answer: usize,
    round_trip: Duration,
) {
    let share = &wanted.share;
    share.pace(|pace| {
        pace.answered(Piece {
            asked,
            bytes: found.records.len(),
            more: found.last_stable_offset > wanted.offset,
            held: share.held(),
            round_trip,
        });
    });
    share.throttle().spend(found.records.len(), Instant::now());
    found.records = share.hold(found.records, answer);
    deliver(reader, wanted, found);
}

async fn fetch_once(
    client: &Client,
    broker: i32,
    lane: Option<Connection>,
    max_wait: Duration,
    wanted: &[(Wanted, usize)],
    memory: Reservation,
) -> Result<(Connection, Vec<FetchedPartition>), Error> {
    let connection = open(client, broker, lane).await?;
    let options = options(max_wait, &memory);
    let asked = wanted.iter().map(|(wanted, bytes)| wanted.asks(*bytes));
    let asked: Vec<FetchPartition> = asked.collect();
    let found = fetch_into(&connection, &options, &asked, Some(memory)).await?;
    Ok((connection, found))
}

async fn fetch_standing(
    client: &Client,
    broker: i32,
    mut line: Line,
    max_wait: Duration,
    memory: Reservation,
) -> Result<(Line, SessionAnswer), Error> {
    let connection = open(client, broker, line.connection.take()).await?;
    let options = options(max_wait, &memory);
    let answer = fetch_new(&connection, &options, &mut line.session, memory).await?;
    line.connection = Some(connection);
    Ok((line, answer))
}

async fn open(client: &Client, broker: i32, lane: Option<Connection>) -> Result<Connection, Error> {
    match lane {
        Some(connection) if !connection.is_closed() => Ok(connection),
        _ => client.connect_broker(broker).await,
    }
}

fn options(max_wait: Duration, memory: &Reservation) -> FetchOptions {
    FetchOptions {
        max_wait_ms: i32::try_from(max_wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: 1,
        max_bytes: i32::try_from(ask::records_in(memory)).unwrap_or(i32::MAX),
        isolation: Isolation::ReadCommitted,
    }
}
