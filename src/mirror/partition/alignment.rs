//! The same offsets on both sides: the start of the log, and the offsets that no record takes.
//!
//! A leader gives a batch the next offset of its log, so a record gets the offset that it has at the source only
//! if the log ends there. What comes before the first record is filled with records that are then deleted; where the
//! source has no record later on (transaction markers, aborted batches, what its cleaner removed), control
//! markers take the offsets up, which no consumer sees.
//!
//! Filler is written with the mirror's producer id and counts as written, so that it is taken once and in order as
//! everything else is. Markers have no sequence: they are written only while nothing else is on its way and
//! everything before is replicated, and the end is looked up after them. A destination that is cut back in between all
//! the same shows it: the source has a record where there is a marker.

use super::content::{Compared, CountCheck};
use super::failure;
use super::messages::{Action, KnownEpoch, LogSpan, Notice, PadAnswer, Tail, TailBatch};
use super::{Failure, PartitionMirror, Phase};
use crate::control::records::{Alignment, Anchor, FillWay, HolePolicy, OffsetsSpec, OnHole};
use crate::mirror::batch::filler;
use crate::mirror::select::{Chunk, Step};

/// Markers in one request.
const MARKERS_A_REQUEST: i64 = 4_000;

impl PartitionMirror {
    pub(super) fn is_aligned(&self) -> bool {
        matches!(self.alignment, Alignment::Equal { .. })
    }

    /// Where the first source offset to copy is, if offsets before it are still to be taken up by records.
    pub(super) fn filling_up_to(&self) -> Option<i64> {
        match self.alignment {
            Alignment::Equal {
                start,
                filling: true,
                ..
            } => Some(start),
            _ => None,
        }
    }

    /// Where the mirror began behind records that were there before, and are the source's.
    pub(super) fn taken_over_at(&self) -> Option<i64> {
        match self.alignment {
            Alignment::Equal {
                start,
                fill: FillWay::Content,
                ..
            } => Some(start),
            _ => None,
        }
    }

    fn hole_policy(&self) -> HolePolicy {
        match self.settings.offsets {
            OffsetsSpec::Preserve { on_hole } => on_hole,
            // The link asks for equal offsets no more: the next hole ends them.
            OffsetsSpec::Translate => HolePolicy {
                larger_than: 0,
                then: OnHole::Translate,
            },
        }
    }

    pub(super) fn on_start_resolved(
        &mut self,
        source: i64,
        destination: LogSpan,
        fill: FillWay,
        actions: &mut Vec<Action>,
    ) {
        if self.phase != Phase::ResolvingStart {
            return;
        }
        let LogSpan { start, end } = destination;
        let mut position = Anchor {
            source_offset: source,
            source_leader_epoch: -1,
            destination_offset: end,
            count: 0,
            epoch: self.settings.producer_epoch,
        };
        self.alignment = Alignment::Translated { equal_before: None };
        if let OffsetsSpec::Preserve { on_hole } = self.settings.offsets {
            // Records that somebody else wrote must not be deleted with the filler.
            if source == end || (source > end && start == end) {
                position.source_offset = end;
                self.alignment = Alignment::Equal {
                    start: source,
                    fill,
                    filling: source > end && fill != FillWay::Markers,
                };
            } else {
                let failure = Failure::CannotAlign {
                    source_start: source,
                    start,
                    end,
                };
                if on_hole.then == OnHole::Stop {
                    return self.fail(failure, actions);
                }
                actions.push(Action::Notify(Notice::Translating {
                    from: source,
                    why: failure.to_string(),
                }));
            }
        }
        self.confirmed = position;
        self.sent = position;
        self.phase = Phase::SavingStart;
        self.save(actions);
    }

    /// Before the first record was copied, the source dropped its oldest ones: copying begins later.
    pub(super) fn move_start(&mut self, to: i64, actions: &mut Vec<Action>) {
        match &mut self.alignment {
            Alignment::Equal {
                start,
                fill,
                filling,
            } => {
                *start = to;
                *filling = *fill != FillWay::Markers;
                self.abandon(actions);
            }
            Alignment::Translated { .. } => {
                self.moved_from = Some(self.confirmed.source_offset);
                self.confirmed.source_offset = to;
                let anchor = self.confirmed;
                self.rewind(anchor);
            }
        }
        self.phase = Phase::SavingStart;
        self.save(actions);
    }

    /// With equal offsets the destination's end is the position; the last batch there is compared with the source's
    /// records at its offsets.
    pub(super) fn go_on_aligned(
        &mut self,
        tail: &Tail,
        present: i64,
        start: i64,
        actions: &mut Vec<Action>,
    ) {
        let end = tail.end;
        if let Some(known) = self.taken_over_at().filter(|known| end < *known) {
            // What was there before is lost, and no business of this mirror's to make up for.
            return self.fail(Failure::DestinationTooShort { known, end }, actions);
        }
        let stored = self.anchors.len();
        // What is stored may be ahead of a destination that lost its end, also where something else lies there since.
        self.anchors
            .retain(|known| known.count <= present || known.destination_offset > end);
        if self.anchors.len() < stored {
            // No data batch was looked for below what is not true any more.
            return self.read_tail(actions);
        }
        let mut known = self.anchors.iter().rev();
        if let Some(anchor) = known.find(|known| known.destination_offset <= end) {
            // Markers take offsets without counting; nothing counts without taking one.
            let known = anchor.destination_offset + (present - anchor.count);
            if known > end {
                return self.fail(Failure::DestinationTooShort { known, end }, actions);
            }
        }
        let ours = tail
            .last
            .as_ref()
            .filter(|last| last.header.producer_id == self.settings.producer_id);
        if let Some(known) = ours.and_then(|last| self.lies_too_low(last, present)) {
            return self.fail(Failure::DestinationTooShort { known, end }, actions);
        }
        // What lies behind an anchor may be another leader's; where nothing does, its epoch still holds.
        let mut anchors = self.anchors.iter();
        let here = anchors.rfind(|known| known.source_offset == end);
        let position = Anchor {
            source_offset: end,
            source_leader_epoch: here.map_or(-1, |known| known.source_leader_epoch),
            destination_offset: end,
            count: present,
            epoch: self.settings.producer_epoch,
        };
        // Behind it no data batch was found, if none was.
        let searched = self.searched_from(tail);
        self.anchors.retain(|known| known.destination_offset <= end);
        self.note_dropped_anchors();
        let before_start = ours.filter(|last| last.header.base_offset < start);
        let is_copied = match before_start.map(TailBatch::is_filler).transpose() {
            Ok(filler) => filler == Some(false),
            Err(error) => return self.fail(Failure::Unreadable(error.to_string()), actions),
        };
        if is_copied && end < start {
            // Another worker had begun to copy when the start was moved: records in between are gone.
            let (from, to) = (end, start);
            return self.fail(Failure::SourceExpired { from, to }, actions);
        }
        self.rewind(position);
        let last = ours.filter(|last| last.header.base_offset >= start);
        self.data_end = match (last, ours) {
            (Some(last), _) => last.header.next_offset(),
            (None, Some(last)) if is_copied => last.header.next_offset(),
            // Filler: what lies behind where it should end is not the source's.
            (None, Some(_)) => start,
            (None, None) => searched,
        }
        .max(start)
        .min(end);
        if let Err(failure) = self.compares_with(last, |last| last.header.base_offset) {
            return self.fail(failure, actions);
        }
        self.count_check = last.and_then(|last| self.count_check(last, present, start));
        if let Alignment::Equal { fill, filling, .. } = &mut self.alignment {
            // Records are copied only once the filler is gone. Where less than that is left, it is made anew.
            *filling = match end.cmp(&start) {
                std::cmp::Ordering::Less => *fill != FillWay::Markers,
                std::cmp::Ordering::Equal => *filling && !is_copied,
                std::cmp::Ordering::Greater => false,
            };
        }
        // Also what should hold nothing is read again: the source must have no record where a marker lies.
        let (from, count) = match (&self.count_check, last) {
            (Some(check), _) => (check.from, check.count),
            (None, Some(last)) => (last.header.base_offset, present - last.taken()),
            (None, None) => (self.data_end, present),
        };
        self.fetch_next = from.max(start);
        // What is read again may lie before it or behind: the destination has all that was read until then.
        let known = self.anchors.iter().rev();
        let mut known = known.filter(|known| known.source_leader_epoch >= 0);
        self.known_epoch = known.next().map_or(KnownEpoch::NONE, KnownEpoch::of);
        self.present = present;
        self.confirmed = self.compared_before(count, position);
        self.phase = Phase::Copying { primed: false };
        if let Some(to) = self.filling_up_to()
            && end < to
        {
            actions.push(Action::Notify(Notice::Filling { from: end, to }));
        }
        self.pump(actions);
    }

    /// What counts as copied while the end is still to be compared with the source: what lies before the last batch, or
    /// what was stored.
    fn compared_before(&self, count: i64, position: Anchor) -> Anchor {
        let offset = self.fetch_next;
        if offset >= position.source_offset {
            return position;
        }
        let before = Anchor {
            source_offset: offset,
            destination_offset: offset,
            count,
            ..position
        };
        let stored = self.anchors.back().copied();
        stored
            .filter(|stored| stored.destination_offset > offset)
            .unwrap_or(before)
    }

    /// How far the log reached before a batch that lies lower was written: markers before it are lost.
    fn lies_too_low(&self, last: &TailBatch, present: i64) -> Option<i64> {
        let (base, before) = (last.header.base_offset, present - last.taken());
        let known = self.anchors.iter().chain([&self.confirmed]);
        known
            .filter(|known| known.count <= before)
            .map(|known| known.destination_offset)
            .find(|known| *known > base)
    }

    /// What takes up offsets between the last anchor and the last batch should be markers, where the source has no
    /// record. Where it has more records than were counted there, one of them is missing, and among identical ones the last
    /// batch alone does not show it.
    fn count_check(&self, last: &TailBatch, present: i64, start: i64) -> Option<CountCheck> {
        let base = last.header.base_offset;
        let known = self
            .anchors
            .back()
            .filter(|known| known.destination_offset <= base)?;
        let from = match self.alignment {
            Alignment::Equal {
                fill: FillWay::Markers,
                ..
            } => known.destination_offset.max(start),
            _ => known.destination_offset,
        };
        let counted = present - last.taken() - known.count;
        (start..base)
            .contains(&from)
            .then_some(CountCheck {
                from,
                to: base,
                count: known.count,
                left: counted,
            })
            .filter(|_| counted < base - from)
    }

    /// The destination agrees with the source up to this offset, or up to its end.
    fn note_compared(&mut self, to: i64) {
        let to = to.min(self.sent.source_offset);
        if to >= self.data_end {
            // Idle partitions need not keep them.
            self.tail_check = None;
            self.count_check = None;
        }
        let is_quiet = self.in_flight.is_empty() && self.unproven.is_empty();
        if is_quiet && to >= self.data_end && to > self.confirmed.source_offset {
            self.confirmed = Anchor {
                source_offset: to,
                destination_offset: to,
                ..self.sent
            };
        }
    }

    /// From where on whoever read the tail looked for data batches (see [`Action::ReadTail`]).
    fn searched_from(&self, tail: &Tail) -> i64 {
        let from = Some(self.looks_from()).filter(|from| *from <= tail.end);
        from.unwrap_or(0).max(tail.start).min(tail.end)
    }

    /// The source no longer has what only was to be compared: nothing is lost by that.
    pub(super) fn passes_over_comparison(&mut self, log_start: i64) -> bool {
        let is_comparing = self.is_aligned() && self.fetch_next < self.sent.source_offset;
        if is_comparing && log_start <= self.sent.source_offset {
            self.tail_check = None;
            self.count_check = None;
            self.fetch_next = self.sent.source_offset;
            self.note_compared(self.fetch_next);
            return true;
        }
        false
    }

    /// Sends filler while there is room, and has it deleted once it reaches far enough.
    pub(super) fn pump_filler(&mut self, to: i64, actions: &mut Vec<Action>) {
        let Alignment::Equal { fill, .. } = self.alignment else {
            return;
        };
        while self.sent.source_offset < to {
            let mut count = (to - self.sent.source_offset).min(filler::RECORDS_A_BATCH);
            let keyed = fill == FillWay::KeyedRecords;
            let time = self.settings.filler_timestamp;
            let most = self.max_batch.unwrap_or(usize::MAX);
            let chunk = loop {
                let chunk = Chunk::filler(self.sent.source_offset, count, keyed, time);
                if chunk.batch.len() <= most || count == 1 {
                    break chunk;
                }
                count = count.div_euclid(2);
            };
            if !self.window_has_room(chunk.batch.len()) {
                return;
            }
            self.send(chunk, actions);
        }
        if self.in_flight.is_empty() && self.unproven.is_empty() {
            self.phase = Phase::DeletingFiller;
            actions.push(Action::DeleteBefore { offset: to });
        }
    }

    pub(super) fn on_deleted(&mut self, actions: &mut Vec<Action>) {
        if self.phase != Phase::DeletingFiller {
            return;
        }
        if let Alignment::Equal { filling, start, .. } = &mut self.alignment {
            *filling = false;
            self.data_end = *start;
        }
        self.phase = Phase::SavingStart;
        self.save(actions);
    }

    /// The next step where offsets are equal. `false`: it has to wait.
    pub(super) fn step_aligned(&mut self, actions: &mut Vec<Action>) -> bool {
        match self.queue.front() {
            None => false,
            Some(Step::Pass { next, leader_epoch }) => {
                let (next, leader_epoch) = (*next, *leader_epoch);
                self.note_compared(next);
                if next <= self.sent.source_offset {
                    self.queue.pop_front();
                    self.note_epoch(next, leader_epoch);
                    return true;
                }
                self.take_up(next, actions);
                false
            }
            Some(Step::Copy(chunk)) if chunk.first() < self.sent.source_offset => {
                self.compare_present(actions)
            }
            Some(Step::Copy(chunk)) if chunk.first() > self.sent.source_offset => {
                let first = chunk.first();
                self.note_compared(first);
                self.take_up(first, actions);
                false
            }
            Some(Step::Copy(chunk)) => {
                let first = chunk.first();
                self.note_compared(first);
                self.send_next(actions)
            }
        }
    }

    /// The position is behind a batch of this leader epoch.
    fn note_epoch(&mut self, position: i64, leader_epoch: i32) {
        for known in [&mut self.sent, &mut self.confirmed] {
            if known.source_offset == position {
                known.source_leader_epoch = leader_epoch;
            }
        }
    }

    /// A chunk of which the destination holds at least the beginning.
    fn compare_present(&mut self, actions: &mut Vec<Action>) -> bool {
        let Some(Step::Copy(chunk)) = self.queue.pop_front() else {
            return false;
        };
        self.queue_bytes -= chunk.batch.len();
        match self.compare_with_tail(&chunk) {
            // Offsets without a record at the batch's end are to be taken up, too.
            Ok(None) if chunk.next > self.sent.source_offset => {
                self.queue.push_front(Step::Pass {
                    next: chunk.next,
                    leader_epoch: chunk.origin.leader_epoch,
                });
            }
            Ok(None) => self.note_compared(chunk.next),
            Ok(Some(rest)) => {
                self.queue_bytes += rest.batch.len();
                self.queue.push_front(Step::Copy(rest));
            }
            Err(failure) => {
                self.fail(failure, actions);
                return false;
            }
        }
        true
    }

    /// What of the chunk is still to be copied.
    fn compare_with_tail(&mut self, chunk: &Chunk) -> Result<Option<Chunk>, Failure> {
        let unreadable = |error: crate::mirror::batch::repack::RepackError| {
            Failure::Unreadable(error.to_string())
        };
        let end = self.sent.source_offset;
        let offsets = chunk
            .segments
            .iter()
            .flat_map(|(first, count)| *first..first + count);
        if let Some(check) = &mut self.count_check
            && let Some(offset) = check.exceeded_at(offsets.clone())
        {
            return Err(Failure::Displaced { offset });
        }
        if let Some(check) = &mut self.tail_check
            && check.compare(chunk, offsets.clone()).map_err(unreadable)? == Compared::Other
        {
            return Err(Failure::NotACopy {
                source_offset: chunk.first(),
                destination_offset: chunk.first(),
            });
        }
        if let Some(offset) = offsets
            .clone()
            .find(|offset| (self.data_end..end).contains(offset))
        {
            return Err(Failure::Displaced { offset });
        }
        chunk.from(end).map_err(unreadable)
    }

    /// Has the offsets up to `to` taken up, as far as the policy allows it.
    fn take_up(&mut self, to: i64, actions: &mut Vec<Action>) {
        let is_quiet = self.in_flight.is_empty() && self.unproven.is_empty();
        if self.padding.is_some() || !is_quiet || self.outstanding > 0 {
            return;
        }
        if self.lost.may_come_behind(self.sent.count) {
            return;
        }
        let policy = self.hole_policy();
        let from = self.data_end;
        if to - from > policy.larger_than {
            let failure = Failure::HoleTooLarge {
                from,
                to,
                larger_than: policy.larger_than,
            };
            return match policy.then {
                OnHole::Stop => self.fail(failure, actions),
                OnHole::Translate => self.translate_from_here(&failure, actions),
            };
        }
        let to = to.min(self.sent.destination_offset + MARKERS_A_REQUEST);
        self.padding = Some(to);
        self.outstanding += 1;
        actions.push(Action::Pad {
            attempt: self.attempt,
            from: self.sent.destination_offset,
            to,
            by_transactions: self.pads_by_transactions,
        });
    }

    /// Offsets are equal up to here; later ones are counted at the destination and mapped.
    fn translate_from_here(&mut self, why: &Failure, actions: &mut Vec<Action>) {
        let from = self.confirmed.source_offset;
        actions.push(Action::Notify(Notice::Translating {
            from,
            why: why.to_string(),
        }));
        self.alignment = Alignment::Translated {
            equal_before: Some(from),
        };
        // Before it, counts and offsets do not rise together.
        self.anchors.clear();
        self.abandon(actions);
        self.phase = Phase::SavingStart;
        self.save(actions);
    }

    pub(super) fn on_padded(&mut self, attempt: u64, answer: PadAnswer, actions: &mut Vec<Action>) {
        self.outstanding = self.outstanding.saturating_sub(1);
        if attempt == self.attempt
            && let Some(to) = self.padding.take()
        {
            match answer {
                // More than was asked for may have taken the place of a record. Less is all that there is of a log that
                // lost its end: markers were written over what is missing.
                PadAnswer::Ends { at } if at == to => {
                    self.sent.destination_offset = at;
                    self.sent.source_offset = at;
                    self.sent.source_leader_epoch = -1;
                    self.confirmed = self.sent;
                    self.fruitless = 0;
                    self.refusals = 0;
                    self.pump(actions);
                }
                PadAnswer::Ends { at } => {
                    self.recover(format!("after markers the log ends at {at}"), actions);
                }
                // Whoever halts meanwhile asks again later.
                PadAnswer::OnlyByTransactions if self.phase == Phase::Draining => {}
                PadAnswer::OnlyByTransactions => {
                    // Whoever comes next has to know before the first transaction that one may be left open.
                    self.pads_by_transactions = true;
                    self.abandon(actions);
                    self.phase = Phase::SavingStart;
                    self.save(actions);
                }
                PadAnswer::Refused { code, message } if failure::is_authorization(code) => {
                    let failure = Failure::CannotPad {
                        code,
                        message,
                        offset: self.sent.destination_offset,
                    };
                    self.fail(failure, actions);
                }
                PadAnswer::Refused { code, .. } => self.recover(code.to_string(), actions),
                PadAnswer::Lost { cause } => self.recover(cause, actions),
            }
        }
        if self.outstanding == 0 && self.phase == Phase::Draining {
            self.drained(actions);
        }
    }
}
