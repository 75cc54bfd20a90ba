//! The destination partition: up to three replicas, their leader, and who of them is in sync.
//!
//! The controller decides, and brokers learn of it later, so that a leader that was replaced (frozen, cut off) goes on for
//! a while as if nothing had happened. Followers fetch from the leader whose epoch they know and cut their logs to
//! where both agree. The high watermark is what the leader knows all in-sync replicas to have, stands still below
//! the minimum of in-sync replicas, and is not told by a new leader before it has passed the start of its epoch
//! (KIP-207). A request with `acks=all` waits for it, and is answered 7 where it waits too long, 6 where the leader is
//! replaced meanwhile, 19 where it came when too few were in sync.

use std::rc::Rc;

use bytes::Bytes;
use rand::Rng;

use super::content::{self, Frame, Shape};
use super::log::{Entry, Reached, Replica, Verdict, Writer};
use super::markers::Mark;
use super::network::{Given, Request};
use super::plan::Plan;
use super::world::{Happening, PRODUCER_ID, World};
use crate::kafka::ErrorCode;
use crate::mirror::batch::BatchHeader;
use crate::mirror::partition::Answer;

/// How long a request may wait for the followers (`timeout.ms` of Produce).
const PRODUCE_TIMEOUT: u64 = 20_000;
/// `replica.lag.time.max.ms`, shortened.
const LAG_ALLOWED: u64 = 5_000;

/// Who leads, and who is in sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    pub leader: Option<usize>,
    pub epoch: i32,
    pub in_sync: [bool; 3],
}

impl Leadership {
    pub fn in_sync_count(&self) -> usize {
        self.in_sync.iter().filter(|is| **is).count()
    }
}

/// A request that waits for the followers.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    connection: usize,
    request: u64,
    base: i64,
    end: i64,
}

#[derive(Debug)]
pub struct Broker {
    pub up: bool,
    pub frozen_until: u64,
    /// Does not fetch from its leader until then.
    pub stalled_until: u64,
    /// Handles no request until then.
    pub muted_until: u64,
    pub replica: Replica,
    /// What it has learnt from the controller.
    pub knows: Leadership,
    /// The log's end when it became leader.
    pub epoch_start: i64,
    /// As leader: where the followers' logs end, and when each was last seen at its own log's end.
    pub remote_end: [i64; 3],
    caught_up_at: [u64; 3],
    pub fetching: bool,
    pub waiting: Vec<Waiting>,
    /// Counts lives: what was under way to a former one is gone.
    pub life: u32,
}

/// Something that happens to a broker.
#[derive(Clone, Copy, Debug)]
pub enum ForBroker {
    Learn(Leadership),
    /// It asks its leader for more.
    Fetch,
    /// It looks who lags.
    Look,
    TimeOut {
        request: u64,
        life: u32,
    },
    Restart,
    /// It goes on after it was frozen, and the controller hears of it again.
    Awake,
    Unmute,
    /// The controller looks whether the broker is still there.
    Session,
    /// A request for control markers.
    Mark(Mark),
}

/// The cluster, as far as the mirror's partition goes.
#[derive(Debug)]
pub struct Destination {
    pub brokers: Vec<Broker>,
    pub control: Leadership,
    min_in_sync: usize,
    pub incarnation: u32,
    /// `max.message.bytes`.
    pub largest: usize,
    requests: u64,
}

impl Destination {
    pub fn new(plan: &Plan) -> Self {
        let mut in_sync = [false; 3];
        in_sync[..plan.brokers].fill(true);
        let control = Leadership {
            leader: Some(0),
            epoch: 1,
            in_sync,
        };
        let before = Reached {
            count: plan.written_before,
            source: if plan.start_known {
                plan.source_start - 1
            } else {
                -1
            },
            gap: false,
        };
        let mut replica = Replica::new(plan.destination_start, before);
        if plan.id_known {
            replica.producers.knows(PRODUCER_ID, plan.written_before);
        }
        let broker = || Broker {
            up: true,
            frozen_until: 0,
            stalled_until: 0,
            muted_until: 0,
            replica: replica.clone(),
            knows: control,
            epoch_start: plan.destination_start,
            remote_end: [plan.destination_start; 3],
            caught_up_at: [0; 3],
            fetching: false,
            waiting: Vec::new(),
            life: 0,
        };
        Self {
            brokers: (0..plan.brokers).map(|_| broker()).collect(),
            control,
            min_in_sync: plan.min_in_sync,
            incarnation: 0,
            largest: usize::MAX,
            requests: 0,
        }
    }

    /// The leader, if everybody agrees on it and it is at work.
    pub fn settled_leader(&self) -> Option<usize> {
        let leader = self.control.leader?;
        let broker = &self.brokers[leader];
        (broker.up && broker.knows == self.control).then_some(leader)
    }

    pub fn describe(&self) -> String {
        let brokers: Vec<String> = self
            .brokers
            .iter()
            .map(|broker| {
                let replica = &broker.replica;
                format!(
                    "{}[{}..{} hw {} count {} knows {:?}/{}]",
                    if broker.up { "" } else { "down " },
                    replica.start,
                    replica.end(),
                    replica.high_watermark,
                    replica.reached().count,
                    broker.knows.leader,
                    broker.knows.epoch
                )
            })
            .collect();
        format!("destination {:?} {}", self.control, brokers.join(" "))
    }
}

impl Broker {
    fn leads(&self, me: usize) -> bool {
        self.knows.leader == Some(me)
    }

    /// The offsets that a consumer may see, or why it is not told.
    pub fn bounds(&self, me: usize) -> Result<(i64, i64), ErrorCode> {
        if !self.leads(me) {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        if self.replica.high_watermark < self.epoch_start {
            return Err(OFFSET_NOT_AVAILABLE);
        }
        Ok((self.replica.start, self.replica.high_watermark))
    }

    /// Where its log ends, replicated or not, as a debugging consumer is told.
    pub fn log_end(&self, me: usize) -> Result<i64, ErrorCode> {
        if !self.leads(me) {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        Ok(self.replica.end())
    }
}

const OFFSET_NOT_AVAILABLE: ErrorCode = ErrorCode(78);

impl World {
    pub fn at_broker(&mut self, broker: usize, what: ForBroker) {
        let it = &self.destination.brokers[broker];
        match what {
            ForBroker::Restart => return self.restart_broker(broker),
            ForBroker::Session => return self.broker_session(broker),
            _ if !it.up => return,
            _ if it.frozen_until > self.now => {
                let until = it.frozen_until;
                return self.put_off(until, Happening::Broker(broker, what));
            }
            _ => {}
        }
        match what {
            ForBroker::Learn(leadership) => self.learn(broker, leadership),
            ForBroker::Fetch => self.follow(broker),
            ForBroker::Look => self.look_who_lags(broker),
            ForBroker::TimeOut { request, life } => self.time_out(broker, request, life),
            ForBroker::Unmute => self.serve_all(broker),
            ForBroker::Awake => self.comes_back(broker),
            ForBroker::Mark(mark) => self.mark(broker, mark),
            ForBroker::Restart | ForBroker::Session => unreachable!("handled above"),
        }
    }

    /// A produce request is handled: what the broker answers, or `None` where it waits.
    pub fn produce_at(
        &mut self,
        broker: usize,
        connection: usize,
        request: &Request,
    ) -> Option<Answer> {
        let refused = |code| {
            Some(Answer::Refused {
                code,
                message: None,
            })
        };
        if !self.destination.brokers[broker].leads(broker) {
            return refused(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        if request.incarnation != self.destination.incarnation && self.plan.by_topic_id {
            return refused(ErrorCode::UNKNOWN_TOPIC_ID);
        }
        let header = BatchHeader::parse(&request.batch).expect("a whole batch is sent");
        assert_eq!(header.base_offset, 0, "a batch is sent with base offset 0");
        assert_eq!(
            crc32c::crc32c(&request.batch[21..]),
            header.crc,
            "a batch is sent with its checksum"
        );
        assert!(header.is_dense(), "a batch is sent without gaps");
        if request.batch.len() > self.destination.largest {
            return refused(ErrorCode::MESSAGE_TOO_LARGE);
        }
        let it = &self.destination.brokers[broker];
        let too_few = it.knows.in_sync_count() < self.destination.min_in_sync;
        if too_few && !self.plan.acks_leader {
            return refused(ErrorCode::NOT_ENOUGH_REPLICAS);
        }
        let (base, end) = match it.replica.producers.check(&header) {
            Err(code) => return refused(code),
            Ok(Verdict::Duplicate { base }) => (base, base + i64::from(header.count)),
            Ok(Verdict::Append) => {
                self.append(broker, header, request.batch.clone(), Writer::Mirror)
            }
        };
        self.advance(broker);
        let it = &mut self.destination.brokers[broker];
        if end <= it.replica.high_watermark || self.plan.acks_leader {
            return Some(Answer::Acknowledged { base_offset: base });
        }
        self.destination.requests += 1;
        let number = self.destination.requests;
        it.waiting.push(Waiting {
            connection,
            request: number,
            base,
            end,
        });
        let life = it.life;
        self.later(
            PRODUCE_TIMEOUT,
            Happening::Broker(
                broker,
                ForBroker::TimeOut {
                    request: number,
                    life,
                },
            ),
        );
        None
    }

    /// Why a write that waits for all in-sync replicas is refused.
    pub fn refuses_writes(&self, broker: usize) -> Option<ErrorCode> {
        let it = &self.destination.brokers[broker];
        if !it.leads(broker) {
            return Some(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        let too_few = it.knows.in_sync_count() < self.destination.min_in_sync;
        too_few.then_some(ErrorCode::NOT_ENOUGH_REPLICAS)
    }

    /// Puts a checked batch into the leader's log.
    pub fn append(
        &mut self,
        broker: usize,
        mut header: BatchHeader,
        bytes: Bytes,
        writer: Writer,
    ) -> (i64, i64) {
        let it = &mut self.destination.brokers[broker];
        let base = it.replica.end();
        header.base_offset = base;
        let before = it.replica.reached();
        let (after, sources) = match writer {
            Writer::Mirror => self.judge.appended(before, &header, &bytes, &self.source),
            Writer::Foreign | Writer::Marker => (before, Rc::from([])),
        };
        let next = header.next_offset();
        it.replica.push(Rc::new(Entry {
            base,
            next,
            header,
            bytes,
            writer,
            coordinator: 0,
            after,
            sources,
        }));
        self.trace.note(self.now, || {
            format!(
                "broker {broker} appends {base}..{next} seq {} ({writer:?})",
                header.base_sequence
            )
        });
        self.wake_followers(broker);
        (base, next)
    }

    /// Somebody else produces to the mirror topic.
    pub fn write_foreign(&mut self, producer_id: i64) {
        let Some(leader) = self.destination.settled_leader() else {
            return;
        };
        let frame = Frame {
            producer_id,
            producer_epoch: if producer_id < 0 { -1 } else { 0 },
            base_sequence: if producer_id < 0 { -1 } else { 0 },
            ..Frame::at(0, -1, self.wall_clock())
        };
        let shape = Shape {
            codec: 0,
            count: 1,
            gaps: 0,
            returns: 0,
        };
        let bytes = content::data(shape, frame);
        let header = BatchHeader::parse(&bytes).expect("a batch");
        self.append(leader, header, bytes, Writer::Foreign);
        self.advance(leader);
    }

    /// A marker with the mirror's id at the next epoch, as a promotion writes it.
    pub fn write_fence(&mut self, epoch: i16) {
        let Some(leader) = self.destination.settled_leader() else {
            return;
        };
        let producers = &self.destination.brokers[leader].replica.producers;
        if producers.check_marker(PRODUCER_ID, epoch, 0).is_err() {
            return;
        }
        let now = self.wall_clock();
        let frame = Frame {
            producer_id: PRODUCER_ID,
            producer_epoch: epoch,
            max_time: now,
            ..Frame::at(0, -1, now)
        };
        let bytes = content::marker(false, frame);
        let header = BatchHeader::parse(&bytes).expect("a batch");
        self.append(leader, header, bytes, Writer::Marker);
        self.advance(leader);
    }

    /// The leader's high watermark follows what it knows of its followers.
    pub fn advance(&mut self, leader: usize) {
        let min_in_sync = self.destination.min_in_sync;
        let it = &mut self.destination.brokers[leader];
        if it.knows.in_sync_count() < min_in_sync {
            return;
        }
        let own = it.replica.end();
        let common = (0..3)
            .filter(|broker| it.knows.in_sync[*broker])
            .map(|broker| {
                if broker == leader {
                    own
                } else {
                    it.remote_end[broker]
                }
            })
            .min()
            .unwrap_or(own)
            .min(own);
        if common <= it.replica.high_watermark {
            return;
        }
        it.replica.high_watermark = common;
        let done: Vec<Waiting> = it
            .waiting
            .extract_if(.., |waiting| waiting.end <= common)
            .collect();
        let it = &self.destination.brokers[leader];
        self.judge.committed(&it.replica, it.knows.epoch);
        for waiting in done {
            self.give(
                waiting.connection,
                Answer::Acknowledged {
                    base_offset: waiting.base,
                },
            );
        }
    }

    fn time_out(&mut self, broker: usize, request: u64, life: u32) {
        let it = &mut self.destination.brokers[broker];
        if it.life != life {
            return;
        }
        if let Some(at) = it
            .waiting
            .iter()
            .position(|waiting| waiting.request == request)
        {
            let waiting = it.waiting.remove(at);
            self.give(
                waiting.connection,
                Answer::Refused {
                    code: ErrorCode::REQUEST_TIMED_OUT,
                    message: None,
                },
            );
        }
    }

    pub fn wake_followers(&mut self, leader: usize) {
        for follower in 0..self.destination.brokers.len() {
            if follower != leader {
                self.wake_follower(follower);
            }
        }
    }

    fn wake_follower(&mut self, follower: usize) {
        let delay = if self.calm {
            1
        } else {
            self.rng.random_range(1..=self.plan.delay.min(60))
        };
        let it = &mut self.destination.brokers[follower];
        if it.up && !it.fetching {
            it.fetching = true;
            let at = (self.now + delay).max(it.stalled_until);
            self.at(at, Happening::Broker(follower, ForBroker::Fetch));
        }
    }

    /// A follower asks its leader: tells where it ends, and takes what is new.
    fn follow(&mut self, follower: usize) {
        let it = &mut self.destination.brokers[follower];
        it.fetching = false;
        let (Some(leader), epoch) = (it.knows.leader, it.knows.epoch) else {
            return;
        };
        if leader == follower {
            return;
        }
        if it.stalled_until > self.now {
            return self.wake_follower(follower);
        }
        let ahead = &self.destination.brokers[leader];
        // One that came back knows its epoch, and leads again only once it is told so.
        let leads = ahead.leads(leader) && ahead.knows.epoch == epoch;
        let serves = ahead.up && ahead.frozen_until <= self.now && leads;
        if !serves {
            let it = &mut self.destination.brokers[follower];
            it.fetching = true;
            return self.later(100, Happening::Broker(follower, ForBroker::Fetch));
        }
        let common = self.destination.brokers[follower]
            .replica
            .common(&ahead.replica);
        let remembered = self.rng.random_range(1..=5);
        let it = &mut self.destination.brokers[follower];
        it.replica.truncate(common, remembered);
        let end = it.replica.end();
        let leading = &mut self.destination.brokers[leader];
        leading.remote_end[follower] = end;
        if end == leading.replica.end() {
            leading.caught_up_at[follower] = self.now;
        }
        let joins = !leading.knows.in_sync[follower]
            && end >= leading.replica.high_watermark
            && end >= leading.epoch_start
            && leading.knows.epoch == self.destination.control.epoch;
        if joins {
            self.destination.control.in_sync[follower] = true;
            self.destination.brokers[leader].knows.in_sync[follower] = true;
            self.trace
                .note(self.now, || format!("broker {follower} is in sync again"));
        }
        self.advance(leader);
        let ahead = &self.destination.brokers[leader].replica;
        let take = self.rng.random_range(1..=4);
        let new: Vec<Rc<Entry>> = ahead.log[common..].iter().take(take).cloned().collect();
        let (start, high_watermark, last) = (ahead.start, ahead.high_watermark, ahead.end());
        let it = &mut self.destination.brokers[follower];
        for entry in new {
            it.replica.push(entry);
        }
        it.replica.start = start;
        it.replica.high_watermark = high_watermark.min(it.replica.end());
        let behind = it.replica.end() < last
            || it.replica.high_watermark < high_watermark
            || it.replica.end() > end;
        if behind {
            self.wake_follower(follower);
        }
    }

    /// The leader takes lagging followers out.
    fn look_who_lags(&mut self, leader: usize) {
        let it = &self.destination.brokers[leader];
        if !it.leads(leader) || it.knows.epoch != self.destination.control.epoch {
            return;
        }
        let end = it.replica.end();
        let mut again = false;
        for follower in 0..self.destination.brokers.len() {
            let it = &mut self.destination.brokers[leader];
            let lags =
                follower != leader && it.knows.in_sync[follower] && it.remote_end[follower] < end;
            if !lags {
                continue;
            }
            if self.now.saturating_sub(it.caught_up_at[follower]) > LAG_ALLOWED {
                it.knows.in_sync[follower] = false;
                self.destination.control.in_sync[follower] = false;
                self.trace
                    .note(self.now, || format!("broker {follower} is out of sync"));
            } else {
                again = true;
            }
        }
        self.advance(leader);
        if again {
            self.later(1_000, Happening::Broker(leader, ForBroker::Look));
        }
    }

    /// A broker hears of the controller's decision.
    fn learn(&mut self, broker: usize, leadership: Leadership) {
        let it = &mut self.destination.brokers[broker];
        if leadership.epoch < it.knows.epoch {
            return;
        }
        let was_leading = it.leads(broker);
        let is_new = leadership.epoch > it.knows.epoch;
        it.knows = leadership;
        if leadership.epoch == self.destination.control.epoch {
            // Messages of the controller arrive in order.
            it.knows.in_sync = self.destination.control.in_sync;
        }
        if is_new && leadership.leader == Some(broker) {
            let end = it.replica.end();
            it.epoch_start = end;
            it.remote_end = [it.replica.origin; 3];
            it.caught_up_at = [self.now; 3];
            // Who was frozen may take up a leadership that is long over.
            if leadership.epoch == self.destination.control.epoch {
                let it = &self.destination.brokers[broker];
                self.judge.led_by(&it.replica, leadership.epoch);
            }
            self.trace.note(self.now, || {
                format!(
                    "broker {broker} leads from offset {end}, epoch {}",
                    leadership.epoch
                )
            });
        }
        if was_leading && leadership.leader != Some(broker) {
            let it = &mut self.destination.brokers[broker];
            for waiting in std::mem::take(&mut it.waiting) {
                self.give(
                    waiting.connection,
                    Answer::Refused {
                        code: ErrorCode::NOT_LEADER_OR_FOLLOWER,
                        message: None,
                    },
                );
            }
        }
        match leadership.leader {
            Some(leader) if leader == broker => {
                self.wake_followers(broker);
                self.advance(broker);
                self.later(1_000, Happening::Broker(broker, ForBroker::Look));
            }
            _ => self.wake_follower(broker),
        }
    }

    pub fn give(&mut self, connection: usize, answer: Answer) {
        self.finish_request(connection, Given(answer));
    }
}
