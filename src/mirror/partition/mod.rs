//! One partition of a mirror as a state machine: fed with [`Event`]s, it answers with [`Action`]s.
//!
//! It has no clock and no socket, so any order of faults can be played through it. What it relies on:
//!
//! - The mirror's producer id is fixed before the first write, and a batch's base sequence is the count of
//!   records written before it. The leader then takes each batch exactly once and in order, whoever sends it.
//! - The destination's tail is the progress: after a start or any error the tail is read, and its last batch's
//!   sequence says how many records are there.
//! - Anchors (source offset, destination offset, count) say which source offset a count means. From the newest anchor
//!   that the tail still covers, the source is read again and what is already there is passed over by
//!   counting; the last batch passed over must be the one at the tail.
//! - After a start or an error one batch is sent alone and its base offset checked before more follow, because a
//!   leader that does not know the id takes any sequence.
//! - Every acknowledgement's base offset must be the expected one, else somebody else wrote.

mod failure;
mod messages;

#[cfg(test)]
mod edges;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use failure::Failure;
pub use messages::{Action, Answer, Event, Fetched, Notice, Tail, TailBatch};

use super::batch::header::ContentKey;
use super::batch::rewrite::{rewritten, sequence_of};
use super::batch::{BatchHeader, Stamp};
use super::map::MapTail;
use super::select::{Chunk, Step, select};
use crate::control::records::{Anchor, Run};
use crate::kafka::ErrorCode;

/// Anchors that are kept: enough to survive a destination that lost its last seconds.
pub const ANCHORS_KEPT: usize = 8;
/// Rounds of recovery without a new acknowledgement before a refusal is taken as final.
const FRUITLESS_ROUNDS: u32 = 3;
/// Ticks at the source's end, while records that were copied already are still to be passed over, before the
/// source counts as cut back: a leader that was just elected may lag behind itself for a while.
const TICKS_STARVED: u32 = 20;
/// Ticks between attempts of a mirror that failed for want of a right.
const TICKS_BETWEEN_RETRIES: u32 = 30;

/// What a partition needs to know once.
#[derive(Clone, Debug)]
pub struct Settings {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Repack batches that the source stamped on append (`timestamps = "as-consumed"`).
    pub append_time: bool,
    /// Bytes sent and not yet acknowledged, at most (one batch may exceed it alone).
    pub window_bytes: usize,
    /// Batches sent and not yet acknowledged, at most.
    pub window_batches: usize,
    /// Bytes fetched and not yet sent above which no more is fetched.
    pub queue_bytes: usize,
}

/// What was stored of a partition when this worker took it over.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Oldest first; empty where nothing was ever copied.
    pub anchors: Vec<Anchor>,
    pub map: MapTail,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for the source offset that `start` means.
    ResolvingStart,
    /// Waits until the very first anchor is stored: before that nothing may be written.
    SavingStart,
    /// Waits for outstanding answers, then reads the tail (or stops, or pauses).
    Draining(After),
    ReadingTail,
    Copying {
        primed: bool,
    },
    /// Waits until the last anchor is stored.
    SavingLast(After),
    Paused,
    Stopped,
    Failed {
        ticks: Option<u32>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    ReadTail,
    Pause,
    Stop,
}

/// A batch on its way.
#[derive(Debug)]
struct InFlight {
    /// The position once it is acknowledged.
    after: Anchor,
    first: Anchor,
    bytes: usize,
    chunk: Chunk,
}

/// The state of one partition of a mirror.
#[derive(Debug)]
pub struct PartitionMirror {
    settings: Settings,
    phase: Phase,
    /// Stored anchors, oldest first.
    anchors: VecDeque<Anchor>,
    map: MapTail,
    /// Everything before it is acknowledged.
    confirmed: Anchor,
    /// Everything before it is sent or was there already.
    sent: Anchor,
    /// Next source offset to fetch.
    fetch_next: i64,
    queue: VecDeque<Step>,
    queue_bytes: usize,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// Batches handed out whose answer has not come, of whatever attempt.
    outstanding: usize,
    /// Raised by every rewind: answers to older fetches and batches are void.
    attempt: u64,
    fetching: bool,
    /// Records that the destination holds according to its tail.
    present: i64,
    tail_key: Option<(i64, ContentKey)>,
    /// Recoveries since the last acknowledgement, and those of them that a doubtful refusal caused.
    fruitless: u32,
    refusals: u32,
    /// The source's last answer ended before the records that the destination holds.
    starved: bool,
    starved_ticks: u32,
    /// The leader holds records of this mirror that nobody can read yet.
    unreplicated: bool,
    /// Where the destination should have ended when it was last looked at.
    end_expected: Option<i64>,
    caught_up: bool,
    copied_any: bool,
    want: Want,
    last_saved: Option<Anchor>,
    /// Saves asked for and not yet answered.
    saves_pending: u32,
}

/// What the link asks of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Run,
    Pause,
    Stop,
}

impl PartitionMirror {
    /// A partition as it was stored, and what to do first.
    pub fn start(settings: Settings, stored: Stored) -> (Self, Vec<Action>) {
        let unknown = Anchor {
            source_offset: -1,
            source_leader_epoch: -1,
            destination_offset: -1,
            count: 0,
            epoch: settings.producer_epoch,
        };
        let newest = stored.anchors.last().copied();
        let mut mirror = Self {
            settings,
            phase: Phase::ResolvingStart,
            anchors: stored.anchors.into(),
            map: stored.map,
            confirmed: newest.unwrap_or(unknown),
            sent: newest.unwrap_or(unknown),
            fetch_next: -1,
            queue: VecDeque::new(),
            queue_bytes: 0,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            outstanding: 0,
            attempt: 0,
            fetching: false,
            present: 0,
            tail_key: None,
            fruitless: 0,
            refusals: 0,
            starved: false,
            starved_ticks: 0,
            unreplicated: false,
            end_expected: None,
            caught_up: false,
            copied_any: false,
            want: Want::Run,
            last_saved: newest,
            saves_pending: 0,
        };
        let mut actions = Vec::new();
        if newest.is_some() {
            mirror.read_tail(&mut actions);
        } else {
            actions.push(Action::ResolveStart);
        }
        (mirror, actions)
    }

    /// Everything before this position is at the destination for good.
    pub fn confirmed(&self) -> &Anchor {
        &self.confirmed
    }

    /// Whether nothing more will come of this partition.
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    pub fn is_failed(&self) -> bool {
        matches!(self.phase, Phase::Failed { .. })
    }

    pub fn is_paused(&self) -> bool {
        self.phase == Phase::Paused
    }

    /// Takes in what happened and says what to do.
    pub fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::StartResolved {
                source,
                destination,
            } => {
                self.on_start_resolved(source, destination, &mut actions);
            }
            Event::Saved => self.on_saved(&mut actions),
            Event::Tail(tail) => self.on_tail(&tail, &mut actions),
            Event::Fetched(fetched) => self.on_fetched(fetched, &mut actions),
            Event::SourceLost {
                attempt,
                log_start,
                end,
            } => {
                self.on_source_lost(attempt, log_start, end, &mut actions);
            }
            Event::Answer { attempt, answer } => self.on_answer(attempt, answer, &mut actions),
            Event::EndSeen { end } => self.on_end_seen(end, &mut actions),
            Event::Failed(failure) => self.fail(failure, &mut actions),
            Event::Run => self.on_run(&mut actions),
            Event::Pause => self.on_halt(Want::Pause, &mut actions),
            Event::Stop => self.on_halt(Want::Stop, &mut actions),
            Event::Tick => self.on_tick(&mut actions),
        }
        actions
    }

    fn on_start_resolved(&mut self, source: i64, destination: i64, actions: &mut Vec<Action>) {
        if self.phase != Phase::ResolvingStart {
            return;
        }
        let start = Anchor {
            source_offset: source,
            source_leader_epoch: -1,
            destination_offset: destination,
            count: 0,
            epoch: self.settings.producer_epoch,
        };
        self.confirmed = start;
        self.sent = start;
        self.phase = Phase::SavingStart;
        self.save(actions);
    }

    fn on_saved(&mut self, actions: &mut Vec<Action>) {
        self.saves_pending = self.saves_pending.saturating_sub(1);
        match self.phase {
            Phase::SavingStart => self.read_tail(actions),
            _ if self.saves_pending > 0 => {}
            Phase::SavingLast(_) if self.last_saved != Some(self.confirmed) => self.save(actions),
            Phase::SavingLast(after) => self.finish(after, actions),
            _ => {}
        }
    }

    fn read_tail(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::ReadingTail;
        actions.push(Action::ReadTail);
    }

    /// Where the tail says that writing goes on.
    fn on_tail(&mut self, tail: &Tail, actions: &mut Vec<Action>) {
        if self.phase != Phase::ReadingTail {
            return;
        }
        if self.is_behind_its_leader(tail) {
            if !std::mem::replace(&mut self.unreplicated, true) {
                actions.push(Action::Notify(Notice::Recovering {
                    cause: "the leader holds records that are not replicated yet".to_owned(),
                    round: self.fruitless,
                }));
            }
            return self.read_tail(actions);
        }
        self.unreplicated = false;
        let present = match self.records_present(tail) {
            Ok(present) => present,
            Err(failure) => return self.fail(failure, actions),
        };
        let Some(anchor) = self.anchor_covering(present) else {
            return self.fail(
                Failure::DestinationCutBack {
                    present,
                    oldest: self.anchors.front().copied(),
                },
                actions,
            );
        };
        // Only this mirror writes here, so destination offsets rise with the count.
        let expected_end = anchor.destination_offset + (present - anchor.count);
        if expected_end != tail.end {
            return self.fail(
                Failure::ForeignWrite {
                    offset: expected_end,
                    found: tail.end,
                    producer_id: tail.last.as_ref().map(|last| last.header.producer_id),
                },
                actions,
            );
        }
        if !self.map.rewind(&anchor) {
            return self.fail(Failure::MapTooShort { anchor }, actions);
        }
        self.anchors.retain(|known| known.count <= anchor.count);
        self.present = present;
        self.tail_key = tail
            .last
            .as_ref()
            // A batch that the destination's cleaner thinned out says nothing about content.
            .filter(|last| {
                last.header.producer_id == self.settings.producer_id && last.header.is_dense()
            })
            .map(|last| (present - i64::from(last.header.count), last.key));
        self.rewind(anchor);
        self.phase = Phase::Copying { primed: false };
        self.pump(actions);
    }

    /// Whether the leader took more of this mirror's records than can be read, and none can be read: with a
    /// follower down that may last as long as the follower counts as in sync. (Where the last readable
    /// batch is this mirror's, whoever read the tail compared it with the leader's memory.)
    fn is_behind_its_leader(&self, tail: &Tail) -> bool {
        let ours = |last: &TailBatch| last.header.producer_id == self.settings.producer_id;
        let (Some(next), false) = (
            tail.producer_next_sequence,
            tail.last.as_ref().is_some_and(ours),
        ) else {
            return false;
        };
        let near = &self.confirmed;
        let taken = nearest_count(near.count, next);
        near.destination_offset
            .saturating_add(taken.saturating_sub(near.count))
            > tail.end
    }

    /// How many of this mirror's records the destination holds.
    fn records_present(&self, tail: &Tail) -> Result<i64, Failure> {
        let near = &self.confirmed;
        if let Some(last) = &tail.last {
            let header = &last.header;
            if header.producer_id != self.settings.producer_id {
                // Written before this mirror began, or by somebody else since.
                if near.count == 0 && tail.end == near.destination_offset {
                    return Ok(0);
                }
                return Err(Failure::ForeignWrite {
                    offset: near.destination_offset,
                    found: tail.end,
                    producer_id: Some(header.producer_id),
                });
            }
            if header.producer_epoch > self.settings.producer_epoch {
                return Err(Failure::Fenced {
                    epoch: header.producer_epoch,
                });
            }
            let next = last.next_sequence();
            return Ok(nearest_count(near.count, next));
        }
        match tail.producer_next_sequence {
            Some(next) => Ok(nearest_count(near.count, next)),
            // The leader forgot the id and nothing readable is left: the end offset counts.
            None => Ok(near.count + (tail.end - near.destination_offset)),
        }
    }

    fn anchor_covering(&self, present: i64) -> Option<Anchor> {
        std::iter::once(&self.confirmed)
            .chain(self.anchors.iter().rev())
            .filter(|anchor| anchor.source_offset >= 0 && anchor.count <= present)
            .max_by_key(|anchor| (anchor.count, anchor.source_offset))
            .copied()
    }

    fn rewind(&mut self, anchor: Anchor) {
        self.attempt += 1;
        self.confirmed = anchor;
        self.sent = anchor;
        self.fetch_next = anchor.source_offset;
        self.queue.clear();
        self.queue_bytes = 0;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.fetching = false;
        self.starved = false;
        self.starved_ticks = 0;
    }

    fn on_fetched(&mut self, fetched: Fetched, actions: &mut Vec<Action>) {
        if fetched.attempt != self.attempt || !matches!(self.phase, Phase::Copying { .. }) {
            return;
        }
        self.fetching = false;
        let steps = match select(
            fetched.records,
            self.fetch_next,
            &fetched.aborted,
            self.settings.append_time,
        ) {
            Ok(steps) => steps,
            Err(error) => return self.fail(Failure::Unreadable(error.to_string()), actions),
        };
        if let Some(last) = steps.last() {
            self.fetch_next = last.next();
            self.starved_ticks = 0;
        }
        // An empty answer below the end says nothing: other partitions filled it, or the batch is a large one.
        self.starved = steps.is_empty() && fetched.last_stable_offset <= self.fetch_next;
        for step in steps {
            self.queue_bytes += step.bytes();
            self.queue.push_back(step);
        }
        self.pump(actions);
        self.note_caught_up(fetched.last_stable_offset, actions);
    }

    fn note_caught_up(&mut self, last_stable_offset: i64, actions: &mut Vec<Action>) {
        let idle = matches!(self.phase, Phase::Copying { .. })
            && self.queue.is_empty()
            && self.in_flight.is_empty();
        if idle && !self.caught_up && self.confirmed.source_offset >= last_stable_offset {
            self.caught_up = true;
            actions.push(Action::Notify(Notice::CaughtUp {
                offset: self.confirmed.source_offset,
            }));
        }
    }

    /// An idle mirror only learns by looking that its topic lost its end or was written to by somebody else.
    fn on_end_seen(&mut self, end: i64, actions: &mut Vec<Action>) {
        let idle = matches!(self.phase, Phase::Copying { .. })
            && self.outstanding == 0
            && self.sent.count >= self.present;
        let expected = self.confirmed.destination_offset;
        let before = self.end_expected.replace(expected);
        // The end was looked up a moment ago: less than expected means something only if nothing was written
        // since the look before.
        if idle && (end > expected || (end < expected && before == Some(expected))) {
            self.recover(format!("the destination's end moved to {end}"), actions);
        }
    }

    fn on_source_lost(
        &mut self,
        attempt: u64,
        log_start: i64,
        end: i64,
        actions: &mut Vec<Action>,
    ) {
        if attempt != self.attempt || !matches!(self.phase, Phase::Copying { .. }) {
            return;
        }
        self.fetching = false;
        let next = self.fetch_next;
        if (log_start..=end).contains(&next) {
            // It has the offset after all: a new leader had not caught up with its own log.
            return self.pump(actions);
        }
        let nothing_copied =
            self.confirmed.count == 0 && self.present == 0 && self.outstanding == 0;
        if nothing_copied && next < log_start {
            // So nothing is lost between two copied records.
            actions.push(Action::Notify(Notice::StartMoved {
                from: next,
                to: log_start,
            }));
            self.confirmed.source_offset = log_start;
            let anchor = self.confirmed;
            self.rewind(anchor);
            return self.pump(actions);
        }
        let failure = if next < log_start {
            Failure::SourceExpired {
                from: next,
                to: log_start,
            }
        } else {
            Failure::SourceTruncated {
                position: next,
                end,
            }
        };
        self.fail(failure, actions);
    }

    fn on_answer(&mut self, attempt: u64, answer: Answer, actions: &mut Vec<Action>) {
        self.outstanding = self.outstanding.saturating_sub(1);
        let current = attempt == self.attempt;
        match answer {
            Answer::Acknowledged { base_offset } if current => {
                self.on_acknowledged(base_offset, actions)
            }
            Answer::Refused { code, message } if current => self.on_refused(code, message, actions),
            Answer::Lost { cause } if current => self.recover(cause, actions),
            _ => {}
        }
        if self.outstanding == 0
            && let Phase::Draining(after) = self.phase
        {
            self.drained(after, actions);
        }
    }

    fn on_acknowledged(&mut self, base_offset: i64, actions: &mut Vec<Action>) {
        let Some(batch) = self.in_flight.pop_front() else {
            return;
        };
        self.in_flight_bytes -= batch.bytes;
        let expected = batch.first.destination_offset;
        if base_offset != expected {
            let failure = Failure::ForeignWrite {
                offset: expected,
                found: base_offset,
                producer_id: None,
            };
            return self.fail(failure, actions);
        }
        self.note_copied(&batch.chunk, &batch.first);
        self.confirmed = batch.after;
        self.fruitless = 0;
        self.refusals = 0;
        if !self.copied_any {
            self.copied_any = true;
            let first = batch
                .chunk
                .segments
                .iter()
                .next()
                .map_or(0, |(first, _)| *first);
            actions.push(Action::Notify(Notice::FirstRecord {
                source_offset: first,
                destination_offset: expected,
            }));
        }
        actions.push(Action::Copied {
            records: batch.chunk.count(),
            bytes: batch.bytes as u64,
        });
        if let Phase::Copying { primed } = &mut self.phase {
            *primed = true;
            self.pump(actions);
        }
    }

    /// Writes the chunk's records into the offset map, from destination offset `first` on.
    fn note_copied(&mut self, chunk: &Chunk, first: &Anchor) {
        let mut destination = first.destination_offset;
        for (source, count) in chunk.segments.iter() {
            self.map.push(Run {
                source: *source,
                destination,
                count: *count,
            });
            destination += count;
        }
    }

    fn on_refused(&mut self, code: ErrorCode, message: Option<String>, actions: &mut Vec<Action>) {
        match failure::of_refusal(code, message.as_deref()) {
            None => self.recover(code.to_string(), actions),
            Some(failure::Verdict::AfterRounds) if self.refusals < FRUITLESS_ROUNDS => {
                self.refusals += 1;
                self.recover(code.to_string(), actions);
            }
            Some(_) => {
                let failure = Failure::Refused {
                    code,
                    message,
                    source_offset: self.confirmed.source_offset,
                    destination_offset: self.confirmed.destination_offset,
                };
                self.fail(failure, actions);
            }
        }
    }

    /// After any error: no more is sent, outstanding answers arrive, then the tail decides.
    fn recover(&mut self, cause: String, actions: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Draining(_)) {
            // Halting anyway. What was taken after this batch is not told apart by its answers any more:
            // the tail will be read.
            return self.abandon(actions);
        }
        if !matches!(self.phase, Phase::Copying { .. }) {
            return;
        }
        self.fruitless += 1;
        actions.push(Action::Notify(Notice::Recovering {
            cause,
            round: self.fruitless,
        }));
        self.abandon(actions);
        self.phase = Phase::Draining(After::ReadTail);
        if self.outstanding == 0 {
            self.drained(After::ReadTail, actions);
        }
    }

    /// Voids what is queued and on its way.
    fn abandon(&mut self, actions: &mut Vec<Action>) {
        let confirmed = self.confirmed;
        self.rewind(confirmed);
        actions.push(Action::Abandon {
            attempt: self.attempt,
        });
    }

    fn drained(&mut self, after: After, actions: &mut Vec<Action>) {
        match after {
            After::ReadTail => match self.want {
                Want::Run => self.read_tail(actions),
                Want::Pause => self.save_last(After::Pause, actions),
                Want::Stop => self.save_last(After::Stop, actions),
            },
            After::Pause | After::Stop => self.save_last(after, actions),
        }
    }

    fn save_last(&mut self, after: After, actions: &mut Vec<Action>) {
        self.phase = Phase::SavingLast(after);
        if self.confirmed.source_offset < 0 || self.last_saved == Some(self.confirmed) {
            if self.saves_pending == 0 {
                self.finish(after, actions);
            }
        } else {
            self.save(actions);
        }
    }

    fn finish(&mut self, after: After, actions: &mut Vec<Action>) {
        match (after, self.want) {
            (_, Want::Stop) => {
                self.phase = Phase::Stopped;
                actions.push(Action::Notify(Notice::Stopped));
            }
            (_, Want::Pause) => {
                self.phase = Phase::Paused;
                actions.push(Action::Notify(Notice::Paused));
            }
            (_, Want::Run) => self.read_tail(actions),
        }
    }

    fn on_run(&mut self, actions: &mut Vec<Action>) {
        if self.want == Want::Stop {
            return;
        }
        self.want = Want::Run;
        if self.phase == Phase::Paused {
            self.caught_up = false;
            if self.confirmed.source_offset < 0 {
                self.phase = Phase::ResolvingStart;
                actions.push(Action::ResolveStart);
            } else {
                self.read_tail(actions);
            }
        }
    }

    fn on_halt(&mut self, want: Want, actions: &mut Vec<Action>) {
        if self.want == Want::Stop {
            return;
        }
        self.want = want;
        let after = if want == Want::Stop {
            After::Stop
        } else {
            After::Pause
        };
        match self.phase {
            Phase::Copying { .. } => {
                // What was sent is waited for; what was only fetched is fetched again later.
                self.queue.clear();
                self.queue_bytes = 0;
                self.phase = Phase::Draining(after);
                if self.outstanding == 0 {
                    self.drained(after, actions);
                }
            }
            Phase::ReadingTail | Phase::ResolvingStart | Phase::Paused => {
                self.save_last(after, actions);
            }
            Phase::Failed { .. } if want == Want::Stop => {
                self.phase = Phase::Stopped;
                actions.push(Action::Notify(Notice::Stopped));
            }
            Phase::SavingStart => self.phase = Phase::SavingLast(after),
            Phase::Draining(_) => self.phase = Phase::Draining(after),
            Phase::SavingLast(_) => self.phase = Phase::SavingLast(after),
            Phase::Stopped | Phase::Failed { .. } => {}
        }
    }

    fn on_tick(&mut self, actions: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::Failed { ticks: Some(ticks) } if self.want == Want::Run => {
                *ticks += 1;
                if *ticks >= TICKS_BETWEEN_RETRIES {
                    if self.confirmed.source_offset < 0 {
                        self.phase = Phase::ResolvingStart;
                        actions.push(Action::ResolveStart);
                    } else {
                        self.read_tail(actions);
                    }
                }
            }
            Phase::Copying { .. } => {
                if self.starved && self.sent.count < self.present {
                    self.starved_ticks += 1;
                    if self.starved_ticks >= TICKS_STARVED {
                        let failure = Failure::SourceCutBack {
                            offset: self.fetch_next,
                            missing: self.present - self.sent.count,
                        };
                        return self.fail(failure, actions);
                    }
                }
                if self.last_saved != Some(self.confirmed) && self.saves_pending == 0 {
                    self.save(actions);
                }
            }
            _ => {}
        }
    }

    fn save(&mut self, actions: &mut Vec<Action>) {
        if self
            .anchors
            .back()
            .is_none_or(|last| last.count < self.confirmed.count)
        {
            self.anchors.push_back(self.confirmed);
        } else if let Some(last) = self.anchors.back_mut() {
            // Nothing new was copied: the position only moved over offsets without records.
            *last = self.confirmed;
        }
        while self.anchors.len() > ANCHORS_KEPT {
            self.anchors.pop_front();
        }
        self.last_saved = Some(self.confirmed);
        self.saves_pending += 1;
        actions.push(Action::Save {
            anchors: self.anchors.iter().copied().collect(),
            map_chunk: self.map.chunk(),
            map: self.map.take_changed(self.anchors.front()),
        });
    }

    fn fail(&mut self, failure: Failure, actions: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Stopped) {
            return;
        }
        if self.confirmed.source_offset >= 0 {
            self.abandon(actions);
        }
        match self.want {
            Want::Stop => {
                self.phase = Phase::Stopped;
                actions.push(Action::Notify(Notice::Stopped));
            }
            Want::Run | Want::Pause => {
                self.phase = Phase::Failed {
                    ticks: failure.is_retried().then_some(0),
                };
                actions.push(Action::Notify(Notice::Failed(failure)));
            }
        }
    }

    /// Sends what may be sent and fetches what there is room for.
    fn pump(&mut self, actions: &mut Vec<Action>) {
        while matches!(self.phase, Phase::Copying { .. }) {
            match self.queue.front() {
                Some(Step::Pass { next }) => {
                    let next = *next;
                    self.queue.pop_front();
                    self.pass(next);
                }
                Some(Step::Copy(chunk)) if self.sent.count < self.present => {
                    let bytes = chunk.batch.len();
                    let Some(Step::Copy(chunk)) = self.queue.pop_front() else {
                        break;
                    };
                    self.queue_bytes -= bytes;
                    if let Err(failure) = self.pass_over_present(chunk) {
                        return self.fail(failure, actions);
                    }
                }
                Some(Step::Copy(chunk)) => {
                    if !self.window_has_room(chunk.batch.len()) {
                        break;
                    }
                    let Some(Step::Copy(chunk)) = self.queue.pop_front() else {
                        break;
                    };
                    self.queue_bytes -= chunk.batch.len();
                    self.send(chunk, actions);
                }
                None => break,
            }
        }
        let copying = matches!(self.phase, Phase::Copying { .. });
        if copying && !self.fetching && self.queue_bytes < self.settings.queue_bytes {
            self.fetching = true;
            actions.push(Action::Fetch {
                attempt: self.attempt,
                offset: self.fetch_next,
            });
        }
    }

    fn pass(&mut self, next: i64) {
        self.sent.source_offset = next;
        match self.in_flight.back_mut() {
            Some(last) => last.after.source_offset = next,
            None => self.confirmed.source_offset = next,
        }
    }

    fn window_has_room(&self, bytes: usize) -> bool {
        let Phase::Copying { primed } = self.phase else {
            return false;
        };
        if self.in_flight.is_empty() {
            // Answers of an attempt that was given up may still come; they are waited for elsewhere.
            return true;
        }
        primed
            && self.in_flight.len() < self.settings.window_batches
            && self.in_flight_bytes + bytes <= self.settings.window_bytes
    }

    /// Counts a chunk that the destination holds already, wholly or in part.
    fn pass_over_present(&mut self, chunk: Chunk) -> Result<(), Failure> {
        self.confirm_content(&chunk)?;
        let missing = self.present - self.sent.count;
        if chunk.count() > missing {
            let rest = chunk
                .after(missing)
                .map_err(|error| Failure::Unreadable(error.to_string()))?;
            self.note_part(&chunk, missing);
            if let Some(rest) = rest {
                self.queue_bytes += rest.batch.len();
                self.queue.push_front(Step::Copy(rest));
            }
            return Ok(());
        }
        self.note_copied(&chunk, &self.sent.clone());
        self.sent = advanced(&self.sent, &chunk);
        self.confirmed = self.sent;
        Ok(())
    }

    fn note_part(&mut self, chunk: &Chunk, records: i64) {
        let mut left = records;
        let mut destination = self.sent.destination_offset;
        for (source, count) in chunk.segments.iter() {
            let taken = left.min(*count);
            if taken == 0 {
                break;
            }
            self.map.push(Run {
                source: *source,
                destination,
                count: taken,
            });
            destination += taken;
            left -= taken;
            self.sent.source_offset = source + taken;
        }
        self.sent.count += records;
        self.sent.destination_offset = destination;
        self.sent.source_leader_epoch = chunk.leader_epoch;
        self.confirmed = self.sent;
    }

    /// The batch at the destination's tail must be the source's batch with that count. Batches are copied one
    /// to one, so a source batch that ends elsewhere means that the source holds other records than when
    /// they were copied (its cleaner ran meanwhile), and counting would step over some.
    fn confirm_content(&self, chunk: &Chunk) -> Result<(), Failure> {
        let Some((first, tail)) = self.tail_key else {
            return Ok(());
        };
        if self.sent.count + chunk.count() < self.present {
            return Ok(());
        }
        let key = chunk.header.content_key(&chunk.batch);
        let same = if self.sent.count != first || key.count != tail.count {
            false
        } else if key.codec == tail.codec && !chunk.repacked {
            key == tail
        } else {
            // Compressed anew, here or by the broker: the bytes differ, count and time do not.
            key.base_timestamp == tail.base_timestamp
        };
        if same {
            return Ok(());
        }
        Err(Failure::NotACopy {
            source_offset: chunk.segments.iter().next().map_or(-1, |(first, _)| *first),
            destination_offset: self.sent.destination_offset,
        })
    }

    fn send(&mut self, chunk: Chunk, actions: &mut Vec<Action>) {
        let first = self.sent;
        let stamp = Stamp {
            producer_id: self.settings.producer_id,
            producer_epoch: self.settings.producer_epoch,
            count: first.count,
        };
        let batch = rewritten(&chunk.header, &chunk.batch, stamp);
        let bytes = batch.len();
        let after = advanced(&first, &chunk);
        actions.push(Action::Send {
            attempt: self.attempt,
            batch,
        });
        self.outstanding += 1;
        self.in_flight_bytes += bytes;
        self.in_flight.push_back(InFlight {
            after,
            first,
            bytes,
            chunk,
        });
        self.sent = after;
    }
}

/// The position after `chunk` was written at `from`.
fn advanced(from: &Anchor, chunk: &Chunk) -> Anchor {
    Anchor {
        source_offset: chunk.next,
        source_leader_epoch: chunk.leader_epoch,
        destination_offset: from.destination_offset + chunk.count(),
        count: from.count + chunk.count(),
        epoch: from.epoch,
    }
}

/// The count nearest to `near` whose sequence number is `sequence`.
fn nearest_count(near: i64, sequence: i32) -> i64 {
    const WRAP: i64 = 1 << 31;
    let ahead = (i64::from(sequence) - i64::from(sequence_of(near))).rem_euclid(WRAP);
    if ahead < WRAP / 2 || near + ahead < WRAP {
        near + ahead
    } else {
        near + ahead - WRAP
    }
}

impl TailBatch {
    /// The sequence number that the next batch of its producer has to carry.
    pub fn next_sequence(&self) -> i32 {
        // By offsets, not by records: a cleaner may have taken some out.
        let taken = i64::from(self.header.last_offset_delta) + 1;
        sequence_of(i64::from(self.header.base_sequence) + taken)
    }

    /// What the batch at the tail says of itself.
    pub fn read(header: BatchHeader, batch: &[u8]) -> Self {
        Self {
            header,
            key: header.content_key(batch),
        }
    }
}
