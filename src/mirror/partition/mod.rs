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
//! - Every acknowledgement's base offset must be the expected one, else somebody else wrote. Where others may write, it
//!   only has to be no lower ([`shared`]).

mod alignment;
mod content;
mod decisions;
mod doubt;
mod drain;
mod failure;
mod flow;
mod messages;
mod position;
mod shared;

#[cfg(test)]
mod drain_tests;
#[cfg(test)]
mod edges;
#[cfg(test)]
mod equal_edges;
#[cfg(test)]
mod misfits;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod shared_rules;
#[cfg(test)]
mod taken_over;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use failure::Failure;
pub use messages::{
    Action, Answer, Event, Fetched, KnownEpoch, LogSpan, Notice, PadAnswer, SharedTail, Span, Tail,
    TailBatch,
};

use content::{CountCheck, TailCheck};
use decisions::Decisions;
use doubt::Doubt;
use drain::Draining;
use shared::Placed;

use super::batch::provenance::Provenance;
use super::map::MapTail;
use super::select::{Chunk, Step};
use crate::control::records::{Acks, Alignment, Anchor, ForeignWrites, OffsetsSpec};

/// Anchors that are kept: enough to survive a destination that lost its last seconds.
pub const ANCHORS_KEPT: usize = 8;
/// Rounds of recovery without a new acknowledgement before a refusal is taken as final.
const FRUITLESS_ROUNDS: u32 = 3;
/// Ticks at the source's end, while records that were copied already are still to be passed over, before the
/// source counts as cut back: a leader that was just elected may lag behind itself for a while.
const TICKS_STARVED: u32 = 20;
/// Ticks between attempts of a mirror that failed for want of a right.
const TICKS_BETWEEN_RETRIES: u32 = 30;

/// Readings of a settled tail, in each of which the leader remembers more records than its log has room for, before they
/// count as lost.
const ROUNDS_BEHIND: u32 = 20;
/// Offsets before the newest anchor in which the last batch before it is looked for.
const LOOK_BACK: i64 = 10_000;
/// Ticks for which what the leader alone acknowledged may stay above the high watermark before the tail is read: the
/// leader may have gone, and the batch with it, while nothing more was sent that would have told.
const TICKS_UNPROVEN: u32 = 5;
/// Ticks after which a batch that was given up does not come any more: a broker may hold a request back for as long as it
/// throttles its client, or stands still.
const TICKS_LOST: u32 = 60;

/// What a partition needs to know once.
#[derive(Clone, Debug)]
pub struct Settings {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Repack batches that the source stamped on append (`timestamps = "as-consumed"`).
    pub append_time: bool,
    pub offsets: OffsetsSpec,
    pub foreign_writes: ForeignWrites,
    /// Marks each record with where it came from, and leaves out what came from the destination.
    pub provenance: Option<Provenance>,
    /// The time that filler carries, in milliseconds since the epoch.
    pub filler_timestamp: i64,
    pub acks: Acks,
    /// Which source batches are merged while the pipeline is the limit: those that are compressed have to be compressed anew,
    /// the others only numbered.
    pub merge_compressed: Merging,
    pub merge_plain: Merging,
    /// Bytes sent and not yet acknowledged, at most (one batch may exceed it alone).
    pub window_bytes: usize,
    /// Batches sent and not yet acknowledged, at most.
    pub window_batches: usize,
    /// Bytes fetched and not yet sent above which no more is fetched.
    pub queue_bytes: usize,
}

/// Small batches that follow each other go as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merging {
    /// Of fewer bytes than this.
    pub below: usize,
    /// Bytes of merged batches, about.
    pub to: usize,
}

/// What was stored of a partition when this worker took it over.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Oldest first; empty where nothing was ever copied.
    pub anchors: Vec<Anchor>,
    pub map: MapTail,
    pub alignment: Alignment,
    /// Whether a former owner may have left a transaction open.
    pub pads_by_transactions: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for the source offset that `start` means.
    ResolvingStart,
    /// Waits until what the next writes rely on is stored: the very first anchor, or how offsets follow from
    /// the source's.
    SavingStart,
    /// Waits for outstanding answers, then reads the tail or halts.
    Draining,
    ReadingTail,
    Copying {
        primed: bool,
    },
    /// Waits until what took up the offsets before the first record is deleted.
    DeletingFiller,
    /// Waits until the last anchor is stored.
    SavingLast,
    Paused,
    Stopped,
    Failed {
        ticks: Option<u32>,
    },
}

/// A batch on its way.
#[derive(Debug)]
struct InFlight {
    /// The position once it is acknowledged.
    after: Anchor,
    first: Anchor,
    bytes: usize,
    chunk: Chunk,
    /// An acknowledgement may mean another batch of the same sequence numbers (see [`Doubt`]).
    doubtful: bool,
}

/// Batches whose answers never came, or that were given up for another reason, and that may come late.
///
/// Where the source has the same records still, they are sent again, and the sequence tells who came first. Markers have no
/// sequence: one that takes the place of a record which the source's cleaner removed meanwhile would push a late batch to
/// another offset.
#[derive(Debug, Default)]
struct Lost {
    /// Records before the first one that cannot be among them.
    until: i64,
    ticks: u32,
    is_awaited: bool,
}

impl Lost {
    fn note(&mut self, until: i64) {
        self.until = self.until.max(until);
        self.ticks = 0;
    }

    /// Whether a marker behind so many records would come too early.
    fn may_come_behind(&mut self, count: i64) -> bool {
        self.is_awaited = count < self.until;
        self.is_awaited
    }

    /// A tick passed. Whether nothing comes any more that was waited for.
    fn has_waited(&mut self) -> bool {
        if !self.is_awaited {
            return false;
        }
        self.ticks += 1;
        let over = self.ticks >= TICKS_LOST;
        if over {
            *self = Self::default();
        }
        over
    }
}

/// The state of one partition of a mirror.
#[derive(Debug)]
pub struct PartitionMirror {
    settings: Settings,
    phase: Phase,
    /// Stored anchors, oldest first.
    anchors: VecDeque<Anchor>,
    map: MapTail,
    alignment: Alignment,
    pads_by_transactions: bool,
    /// Everything before it is at the destination for good.
    confirmed: Anchor,
    /// Everything before it is sent or was there already.
    sent: Anchor,
    /// Next source offset to fetch.
    fetch_next: i64,
    /// Up to where the source's history is known.
    known_epoch: KnownEpoch,
    /// Leader epoch of the source at the last known point, where nothing is left of the records after it that are to be passed
    /// over.
    uncompared: Option<i32>,
    lost: Lost,
    decisions: Decisions,
    queue: VecDeque<Step>,
    queue_bytes: usize,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// Acknowledged by the leader alone and not yet seen below the high watermark, or doubtful and not yet read back.
    unproven: VecDeque<InFlight>,
    unproven_bytes: usize,
    /// Ticks since something of it was proven.
    unproven_ticks: u32,
    asking_for_proof: bool,
    doubt: Doubt,
    /// Markers are being written, up to this offset.
    padding: Option<i64>,
    /// Where offsets are equal: the offset after the last record sent.
    data_end: i64,
    /// The largest batch that is sent, once the destination refused larger ones.
    max_batch: Option<usize>,
    /// Batches handed out whose answer has not come, of whatever attempt.
    outstanding: usize,
    /// Raised by every rewind: answers to older fetches and batches are void.
    attempt: u64,
    fetching: bool,
    /// Records that the destination holds according to its tail, and the epoch of the leader that has this tail.
    present: i64,
    leader_epoch: i32,
    tail_check: Option<TailCheck>,
    count_check: Option<CountCheck>,
    /// Where others write as well: the point behind which the tail is looked through, and where the records lie that were
    /// found there.
    looked_behind: Option<Anchor>,
    placed: VecDeque<Placed>,
    /// Recoveries since the last acknowledgement, and those of them that a doubtful refusal caused.
    fruitless: u32,
    refusals: u32,
    /// Where copying was to begin before its start was moved, as long as that was not followed by a look at the tail.
    moved_from: Option<i64>,
    /// The count at which the last doubtful refusal came.
    refused_at: Option<i64>,
    /// The source's last answer ended before the records that the destination holds.
    starved: bool,
    starved_ticks: u32,
    /// The leader holds records of this mirror that nobody can read yet.
    /// Readings of the tail in which that was so, one after the other.
    behind_leader: u32,
    /// Where the destination should have ended when it was last looked at.
    end_expected: Option<i64>,
    caught_up: bool,
    /// Of the source, as the last answer had it.
    last_stable_offset: i64,
    copied_any: bool,
    want: Want,
    draining: Draining,
    last_saved: Option<Anchor>,
    /// Saves asked for and not yet answered.
    saves_pending: u32,
}

/// What the link asks of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Run,
    Pause,
    /// Copy what the source has, then stop.
    Drain,
    Stop,
}

impl Want {
    /// Whether data is to flow.
    fn runs(self) -> bool {
        matches!(self, Self::Run | Self::Drain)
    }
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
        let mut anchors = stored.anchors;
        if let Alignment::Translated { equal_before } = stored.alignment {
            let led_to = stored.map.leads_to(&anchors, equal_before.unwrap_or(-1));
            anchors.truncate(led_to);
        }
        let newest = anchors.last().copied();
        let window_bytes = settings.window_bytes;
        let mut mirror = Self {
            settings,
            phase: Phase::ResolvingStart,
            anchors: anchors.into(),
            map: stored.map,
            alignment: stored.alignment,
            pads_by_transactions: stored.pads_by_transactions,
            confirmed: newest.unwrap_or(unknown),
            sent: newest.unwrap_or(unknown),
            fetch_next: -1,
            known_epoch: KnownEpoch::NONE,
            uncompared: None,
            lost: Lost::default(),
            decisions: Decisions::default(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            unproven: VecDeque::new(),
            unproven_bytes: 0,
            unproven_ticks: 0,
            asking_for_proof: false,
            doubt: Doubt::of_predecessors(window_bytes),
            padding: None,
            data_end: -1,
            max_batch: None,
            outstanding: 0,
            attempt: 0,
            fetching: false,
            present: 0,
            leader_epoch: -1,
            tail_check: None,
            count_check: None,
            looked_behind: None,
            placed: VecDeque::new(),
            fruitless: 0,
            refusals: 0,
            moved_from: None,
            refused_at: None,
            starved: false,
            starved_ticks: 0,
            behind_leader: 0,
            end_expected: None,
            caught_up: false,
            last_stable_offset: i64::MAX,
            copied_any: false,
            want: Want::Run,
            draining: Draining::default(),
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
                fill,
            } => {
                self.on_start_resolved(source, destination, fill, &mut actions);
            }
            Event::Padded { attempt, answer } => self.on_padded(attempt, answer, &mut actions),
            Event::Deleted => self.on_deleted(&mut actions),
            Event::Watermark {
                attempt,
                end,
                leader_epoch,
            } => self.on_watermark(attempt, end, leader_epoch, &mut actions),
            Event::Saved => self.on_saved(&mut actions),
            Event::Tail(tail) => self.on_tail(&tail, &mut actions),
            Event::SharedTail(tail) => self.on_shared_tail(&tail, &mut actions),
            Event::Fetched(fetched) => self.on_fetched(fetched, &mut actions),
            Event::SourceLost {
                attempt,
                log_start,
                end,
            } => {
                self.on_source_lost(attempt, log_start, end, &mut actions);
            }
            Event::SourceDiverged { attempt, end } => {
                self.on_source_diverged(attempt, end, &mut actions);
            }
            Event::Answer { attempt, answer } => self.on_answer(attempt, answer, &mut actions),
            Event::ReadBack {
                attempt,
                start,
                batches,
            } => self.on_read_back(attempt, start, &batches, &mut actions),
            Event::EndSeen { end } => self.on_end_seen(end, &mut actions),
            Event::Failed(failure) => self.fail(failure, &mut actions),
            Event::Run => self.on_run(&mut actions),
            Event::Pause => self.on_halt(Want::Pause, &mut actions),
            Event::Drain => self.on_drain(&mut actions),
            Event::SourceEnd { end } => self.draining.ends_at(end),
            Event::Stop => self.on_halt(Want::Stop, &mut actions),
            Event::Tick => self.on_tick(&mut actions),
        }
        self.note_if_caught_up(&mut actions);
        self.stop_if_drained(&mut actions);
        actions
    }

    fn on_saved(&mut self, actions: &mut Vec<Action>) {
        self.saves_pending = self.saves_pending.saturating_sub(1);
        match self.phase {
            Phase::SavingStart => self.read_tail(actions),
            _ if self.saves_pending > 0 => {}
            Phase::SavingLast if self.last_saved != Some(self.confirmed) => self.save(actions),
            Phase::SavingLast => self.halted(actions),
            _ => {}
        }
    }

    fn read_tail(&mut self, actions: &mut Vec<Action>) {
        if self.is_shared() {
            return self.read_shared_tail(self.confirmed, actions);
        }
        self.phase = Phase::ReadingTail;
        actions.push(Action::ReadTail {
            fence: self.pads_by_transactions,
            from: self.looks_from(),
        });
    }

    /// From where on the tail is looked for data batches. What lies before the newest anchor is counted in it; the last batch
    /// before it shows that the log still holds that, unless there are many markers to walk over.
    fn looks_from(&self) -> i64 {
        let mut known = self.anchors.iter().rev();
        let Some(newest) = known.next() else {
            return 0;
        };
        let older = known.find(|anchor| anchor.count < newest.count);
        older
            .map_or(0, |older| older.destination_offset)
            .max(newest.destination_offset - LOOK_BACK)
            .max(self.taken_over_at().unwrap_or(0))
    }

    /// Whether no record was ever copied.
    fn has_copied_nothing(&self) -> bool {
        match self.alignment {
            // What comes first may not be missing: others wrote it for this topic's readers.
            _ if self.taken_over_at().is_some() => false,
            Alignment::Equal { start, .. } => self.sent.destination_offset <= start,
            Alignment::Translated { .. } => self.sent.count == 0 && self.present == 0,
        }
    }

    fn rewind(&mut self, anchor: Anchor) {
        self.attempt += 1;
        self.confirmed = anchor;
        self.sent = anchor;
        self.fetch_next = anchor.source_offset;
        self.known_epoch = KnownEpoch::of(&anchor);
        self.decisions.clear();
        self.queue.clear();
        self.queue_bytes = 0;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.unproven.clear();
        self.unproven_bytes = 0;
        self.unproven_ticks = 0;
        self.asking_for_proof = false;
        self.padding = None;
        self.tail_check = None;
        self.uncompared = None;
        // Until a marker is to be written again.
        self.lost.is_awaited = false;
        self.count_check = None;
        self.placed.clear();
        self.fetching = false;
        self.starved = false;
        self.starved_ticks = 0;
    }

    /// After any error: no more is sent, outstanding answers arrive, then the tail decides.
    fn recover(&mut self, cause: String, actions: &mut Vec<Action>) {
        if self.phase == Phase::Draining {
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
        self.drain(actions);
    }

    /// Voids what is queued and on its way.
    fn abandon(&mut self, actions: &mut Vec<Action>) {
        if let Some(last) = self.in_flight.back() {
            self.lost.note(last.after.count);
        }
        let confirmed = self.confirmed;
        self.rewind(confirmed);
        actions.push(Action::Abandon {
            attempt: self.attempt,
        });
    }

    fn drain(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Draining;
        if self.outstanding == 0 {
            self.drained(actions);
        }
    }

    fn drained(&mut self, actions: &mut Vec<Action>) {
        match self.want {
            Want::Run | Want::Drain => self.read_tail(actions),
            Want::Pause | Want::Stop => self.save_last(actions),
        }
    }

    fn save_last(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::SavingLast;
        if self.confirmed.source_offset < 0 || self.last_saved == Some(self.confirmed) {
            if self.saves_pending == 0 {
                self.halted(actions);
            }
        } else {
            self.save(actions);
        }
    }

    /// The last anchor is stored. What is wanted may have changed meanwhile.
    fn halted(&mut self, actions: &mut Vec<Action>) {
        match self.want {
            Want::Stop => {
                self.phase = Phase::Stopped;
                actions.push(Action::Notify(Notice::Stopped));
            }
            Want::Pause => {
                self.phase = Phase::Paused;
                actions.push(Action::Notify(Notice::Paused));
            }
            Want::Run | Want::Drain => self.read_tail(actions),
        }
    }

    fn on_run(&mut self, actions: &mut Vec<Action>) {
        self.go_on(Want::Run, actions);
    }

    fn go_on(&mut self, want: Want, actions: &mut Vec<Action>) {
        if self.want == Want::Stop {
            return;
        }
        self.want = want;
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
        match self.phase {
            Phase::Copying { .. } => {
                // What was sent is waited for; what was only fetched is fetched again later.
                self.queue.clear();
                self.queue_bytes = 0;
                self.drain(actions);
            }
            Phase::ReadingTail | Phase::ResolvingStart | Phase::DeletingFiller | Phase::Paused => {
                self.save_last(actions)
            }
            Phase::Failed { .. } if want == Want::Stop => {
                self.phase = Phase::Stopped;
                actions.push(Action::Notify(Notice::Stopped));
            }
            Phase::SavingStart => self.phase = Phase::SavingLast,
            // What they wait for comes first; then they ask what is wanted.
            Phase::Draining | Phase::SavingLast | Phase::Stopped | Phase::Failed { .. } => {}
        }
    }

    /// Whether time matters now: anything that [`Event::Tick`] would count or do.
    pub fn awaits_tick(&self) -> bool {
        match self.phase {
            Phase::Failed { ticks } => ticks.is_some() && self.want.runs(),
            Phase::Copying { .. } => {
                let misses_some = self.is_aligned() && self.fetch_next < self.sent.source_offset
                    || self.sent.count < self.present;
                self.lost.is_awaited
                    || self.starved && misses_some
                    || self.last_saved != Some(self.confirmed)
                    || !self.unproven.is_empty()
            }
            _ => false,
        }
    }

    fn on_tick(&mut self, actions: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::Failed { ticks: Some(ticks) } if self.want.runs() => {
                *ticks += 1;
                // Markers that are still on their way have no sequence that would tell them from later ones.
                if *ticks >= TICKS_BETWEEN_RETRIES && self.outstanding == 0 {
                    if self.confirmed.source_offset < 0 {
                        self.phase = Phase::ResolvingStart;
                        actions.push(Action::ResolveStart);
                    } else {
                        self.read_tail(actions);
                    }
                }
            }
            Phase::Copying { .. } => {
                let is_behind_position =
                    self.is_aligned() && self.fetch_next < self.sent.source_offset;
                if self.starved && is_behind_position {
                    self.starved_ticks += 1;
                    if self.starved_ticks >= TICKS_STARVED {
                        let failure = Failure::SourceTruncated {
                            position: self.sent.source_offset,
                            end: self.fetch_next,
                        };
                        return self.fail(failure, actions);
                    }
                } else if self.starved && self.sent.count < self.present {
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
                if self.lost.has_waited() {
                    let cause = "what was on its way has had its time to come".to_owned();
                    return self.recover(cause, actions);
                }
                if !self.unproven.is_empty() {
                    self.unproven_ticks += 1;
                    if self.unproven_ticks >= TICKS_UNPROVEN {
                        let cause = "what the leader acknowledged cannot be read".to_owned();
                        self.recover(cause, actions);
                    }
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
            alignment: self.alignment,
            pads_by_transactions: self.pads_by_transactions,
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
            Want::Run | Want::Drain | Want::Pause => {
                self.phase = Phase::Failed {
                    ticks: failure.is_retried().then_some(0),
                };
                actions.push(Action::Notify(Notice::Failed(failure)));
            }
        }
    }
}

/// The position after `chunk` was written at `from`.
fn advanced(from: &Anchor, chunk: &Chunk) -> Anchor {
    Anchor {
        source_offset: chunk.next,
        source_leader_epoch: chunk.origin.leader_epoch,
        destination_offset: from.destination_offset + chunk.count(),
        count: from.count + chunk.count(),
        epoch: from.epoch,
    }
}
