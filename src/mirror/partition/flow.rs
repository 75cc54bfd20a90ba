//! Records on their way: fetched, selected, sent within the window, acknowledged or refused.

use std::cmp::Ordering;

use super::failure::{self, Verdict};
use super::messages::{Action, Answer, Fetched, KnownEpoch, Notice};
use super::{Acks, FRUITLESS_ROUNDS, Failure, InFlight, PartitionMirror, Phase, advanced};
use crate::control::records::{Anchor, Run};
use crate::kafka::ErrorCode;
use crate::mirror::batch::Stamp;
use crate::mirror::batch::rewrite::rewritten;
use crate::mirror::select::{Chunk, Manner, Step, select};

/// Batches on their way from which on more small ones are merged rather than sent each by itself.
const BUSY_FROM: usize = 2;
/// Batches on their way from which on small ones wait for more of them.
const FULL_FROM: usize = 4;

impl PartitionMirror {
    pub(super) fn on_fetched(&mut self, fetched: Fetched, actions: &mut Vec<Action>) {
        if fetched.attempt != self.attempt || !matches!(self.phase, Phase::Copying { .. }) {
            return;
        }
        self.fetching = false;
        let leader_epoch =
            self.decisions
                .read(&fetched.records, self.fetch_next, self.sent.source_offset);
        let steps = match select(
            fetched.records,
            self.fetch_next,
            &fetched.aborted,
            Manner {
                append_time: self.settings.append_time,
                same_offsets: self.is_aligned(),
                provenance: self.settings.provenance.as_ref(),
            },
        ) {
            Ok(steps) => steps,
            Err(error) => return self.fail(Failure::Unreadable(error.to_string()), actions),
        };
        if let Some(last) = steps.last() {
            self.fetch_next = last.next();
            if self.fetch_next >= self.known_epoch.before {
                self.known_epoch = KnownEpoch {
                    before: self.fetch_next,
                    leader_epoch,
                };
            }
            self.starved_ticks = 0;
        }
        // An empty answer below the end says nothing: other partitions filled it, or the batch is a large one.
        self.starved = steps.is_empty() && fetched.last_stable_offset <= self.fetch_next;
        for step in steps {
            self.queue_bytes += step.bytes();
            self.queue.push_back(step);
        }
        self.last_stable_offset = fetched.last_stable_offset;
        self.pump(actions);
    }

    pub(super) fn note_if_caught_up(&mut self, actions: &mut Vec<Action>) {
        let idle = matches!(self.phase, Phase::Copying { .. })
            && self.queue.is_empty()
            && self.in_flight.is_empty()
            && self.unproven.is_empty();
        if idle && !self.caught_up && self.confirmed.source_offset >= self.last_stable_offset {
            self.caught_up = true;
            actions.push(Action::Notify(Notice::CaughtUp {
                offset: self.confirmed.source_offset,
            }));
        }
    }

    pub(super) fn on_source_lost(
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
        if self.passes_over_comparison(log_start) {
            return self.pump(actions);
        }
        let nothing_copied = self.outstanding == 0 && self.has_copied_nothing();
        if nothing_copied && next < log_start {
            // So nothing is lost between two copied records.
            actions.push(Action::Notify(Notice::StartMoved {
                from: next,
                to: log_start,
            }));
            return self.move_start(log_start, actions);
        }
        let to_pass_over = self.present - self.sent.count;
        let failure = if next < log_start && to_pass_over > 0 && !self.is_aligned() {
            Failure::SourceExpiredUncounted {
                from: next,
                to: log_start,
                present: to_pass_over,
            }
        } else if next < log_start {
            Failure::SourceExpired {
                // Where offsets are equal, what lies before this was only to be compared.
                from: if self.is_aligned() {
                    next.max(self.sent.source_offset)
                } else {
                    next
                },
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

    /// Another leader's log parted from what was read: nothing that was written may lie behind that place.
    pub(super) fn on_source_diverged(&mut self, attempt: u64, end: i64, actions: &mut Vec<Action>) {
        if attempt != self.attempt || !matches!(self.phase, Phase::Copying { .. }) {
            return;
        }
        self.fetching = false;
        let position = self.sent.source_offset;
        if end < position {
            return self.fail(Failure::SourceDiverged { position, end }, actions);
        }
        // Markers that are on their way take up what was left out.
        let written = self.padding.map_or(position, |to| position.max(to));
        if self.decisions.rest_on(end, written) {
            return self.fail(Failure::SourceUndecided { end }, actions);
        }
        // Only what was read and not written yet is gone.
        self.queue.clear();
        self.queue_bytes = 0;
        self.fetch_next = position;
        self.known_epoch = KnownEpoch::of(&self.sent);
        self.decisions.cut_back(position);
        self.pump(actions);
    }

    pub(super) fn on_answer(&mut self, attempt: u64, answer: Answer, actions: &mut Vec<Action>) {
        self.outstanding = self.outstanding.saturating_sub(1);
        let current = attempt == self.attempt;
        if matches!(answer, Answer::Lost { .. }) {
            self.doubt.begins();
        }
        match answer {
            Answer::Acknowledged { base_offset } if current => {
                self.on_acknowledged(base_offset, actions)
            }
            Answer::Refused { code, message } if current => self.on_refused(code, message, actions),
            Answer::Lost { cause } if current => self.recover(cause, actions),
            _ => {}
        }
        if self.outstanding == 0 && self.phase == Phase::Draining {
            self.drained(actions);
        }
    }

    fn on_acknowledged(&mut self, base_offset: i64, actions: &mut Vec<Action>) {
        let Some(mut batch) = self.in_flight.pop_front() else {
            return;
        };
        self.in_flight_bytes -= batch.bytes;
        let expected = batch.first.destination_offset;
        if base_offset < expected {
            // Nobody needs to write for that: the log was cut back, or is another topic's.
            self.in_flight.push_front(batch);
            let cause = format!("the batch for offset {expected} was written at {base_offset}");
            return self.recover(cause, actions);
        }
        if base_offset > expected && self.is_shared() {
            self.shift(&mut batch, base_offset - expected);
        } else if base_offset > expected {
            let failure = Failure::ForeignWrite {
                offset: expected,
                found: base_offset,
                producer_id: None,
            };
            return self.fail(failure, actions);
        }
        self.fruitless = 0;
        self.refusals = 0;
        self.unproven_bytes += batch.bytes;
        self.unproven.push_back(batch);
        self.keep_proven(i64::MIN, actions);
        self.ask_for_proof(actions);
        self.pump(actions);
    }

    /// Keeps what needs no proof, or is below the high watermark as far as that is known.
    fn keep_proven(&mut self, watermark: i64, actions: &mut Vec<Action>) {
        while let Some(batch) = self.unproven.front()
            && !batch.doubtful
            && (self.settings.acks == Acks::All
                || batch.first.destination_offset + batch.chunk.count() <= watermark)
        {
            self.keep_first(actions);
        }
    }

    /// The batch that was sent first of those acknowledged is at the destination for good.
    pub(super) fn keep_first(&mut self, actions: &mut Vec<Action>) {
        let Some(batch) = self.unproven.pop_front() else {
            return;
        };
        self.unproven_bytes -= batch.bytes;
        self.unproven_ticks = 0;
        self.keep(&batch, actions);
    }

    /// After what was told, whatever can be kept is, and the rest is asked for.
    pub(super) fn go_on_proven(&mut self, watermark: i64, actions: &mut Vec<Action>) {
        self.keep_proven(watermark, actions);
        self.ask_for_proof(actions);
        self.pump(actions);
    }

    fn ask_for_proof(&mut self, actions: &mut Vec<Action>) {
        let Some(first) = self.unproven.front() else {
            return;
        };
        let attempt = self.attempt;
        let ask = if first.doubtful {
            Action::ReadBack {
                attempt,
                from: first.first.destination_offset,
            }
        } else {
            Action::AskWatermark { attempt }
        };
        if !std::mem::replace(&mut self.asking_for_proof, true) {
            actions.push(ask);
        }
    }

    /// What is below the high watermark of the leader that acknowledged it stays, whatever broker leads next. Another one may
    /// have something else there.
    pub(super) fn on_watermark(
        &mut self,
        attempt: u64,
        end: i64,
        leader_epoch: i32,
        actions: &mut Vec<Action>,
    ) {
        if attempt != self.attempt {
            return;
        }
        self.asking_for_proof = false;
        let is_other = self.leader_epoch >= 0 && leader_epoch >= 0;
        match leader_epoch.cmp(&self.leader_epoch) {
            Ordering::Greater if is_other => {
                let cause = "what a former leader acknowledged may be lost".to_owned();
                self.recover(cause, actions);
            }
            // It was deposed and does not know it yet.
            Ordering::Less if is_other => self.ask_for_proof(actions),
            _ => self.go_on_proven(end, actions),
        }
    }

    /// The batch is at the destination for good.
    fn keep(&mut self, batch: &InFlight, actions: &mut Vec<Action>) {
        self.confirmed = batch.after;
        // Not earlier: a replica that leads without having any batch of the id would take whatever follows.
        if let Phase::Copying { primed } = &mut self.phase {
            *primed = true;
        }
        if self.filling_up_to().is_some() {
            return;
        }
        self.note_copied(&batch.chunk, &batch.first);
        if !self.copied_any {
            self.copied_any = true;
            actions.push(Action::Notify(Notice::FirstRecord {
                source_offset: batch.chunk.first(),
                destination_offset: batch.first.destination_offset,
            }));
        }
        actions.push(Action::Copied {
            records: batch.chunk.count(),
            bytes: batch.bytes as u64,
        });
    }

    /// Writes the chunk's records into the offset map, from destination offset `first` on.
    pub(super) fn note_copied(&mut self, chunk: &Chunk, first: &Anchor) {
        if self.is_aligned() {
            return;
        }
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
        if failure::is_about_size(code) && self.can_send_smaller() {
            return self.recover(code.to_string(), actions);
        }
        match failure::of_refusal(code) {
            None => self.recover(code.to_string(), actions),
            Some(Verdict::AfterRounds) if self.refusals < FRUITLESS_ROUNDS => {
                self.refusals += 1;
                self.refused_at = self.in_flight.front().map(|it| it.first.count);
                self.recover(code.to_string(), actions);
            }
            Some(_) => {
                // What was acknowledged before it may not be replicated yet.
                let refused = self.in_flight.front().map_or(self.confirmed, |it| it.first);
                let failure = Failure::Refused {
                    code,
                    message,
                    source_offset: refused.source_offset,
                    destination_offset: refused.destination_offset,
                };
                self.fail(failure, actions);
            }
        }
    }

    /// The batch that was refused is too large: from here on batches are at most half of it. `false` where it is one
    /// record.
    fn can_send_smaller(&mut self) -> bool {
        let Some(refused) = self.in_flight.front() else {
            return false;
        };
        if refused.chunk.count() <= 1 {
            return false;
        }
        self.max_batch = Some((refused.bytes / 2).max(1));
        true
    }

    /// Sends what may be sent and fetches what there is room for.
    pub(super) fn pump(&mut self, actions: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Copying { .. }) {
            return;
        }
        if let Some(to) = self.filling_up_to() {
            return self.pump_filler(to, actions);
        }
        while matches!(self.phase, Phase::Copying { .. }) && self.step(actions) {}
        let copying = matches!(self.phase, Phase::Copying { .. });
        if copying && !self.fetching && self.queue_bytes < self.settings.queue_bytes {
            self.fetching = true;
            actions.push(Action::Fetch {
                attempt: self.attempt,
                offset: self.fetch_next,
                known: self.known_epoch,
            });
        }
    }

    /// The next step of the queue. `false`: there is none, or it has to wait.
    fn step(&mut self, actions: &mut Vec<Action>) -> bool {
        if self.is_aligned() {
            return self.step_aligned(actions);
        }
        match self.queue.front() {
            Some(Step::Pass { next, leader_epoch }) => {
                let (next, leader_epoch) = (*next, *leader_epoch);
                self.queue.pop_front();
                self.pass(next, leader_epoch);
                true
            }
            Some(Step::Copy(_)) if self.sent.count < self.present => {
                let Some(Step::Copy(chunk)) = self.queue.pop_front() else {
                    return false;
                };
                self.queue_bytes -= chunk.batch.len();
                if let Err(failure) = self.pass_over_present(chunk) {
                    self.fail(failure, actions);
                    return false;
                }
                true
            }
            Some(Step::Copy(_)) => self.send_next(actions),
            None => false,
        }
    }

    fn pass(&mut self, next: i64, leader_epoch: i32) {
        self.sent.source_offset = next;
        self.sent.source_leader_epoch = leader_epoch;
        if self.sent.count < self.present {
            // Of what is passed over nothing counts before the tail was compared.
            return;
        }
        let on_its_way = self.in_flight.back_mut();
        let position = match on_its_way.or_else(|| self.unproven.back_mut()) {
            Some(last) => &mut last.after,
            None => &mut self.confirmed,
        };
        position.source_offset = next;
        position.source_leader_epoch = leader_epoch;
    }

    pub(super) fn window_has_room(&self, bytes: usize) -> bool {
        let Phase::Copying { primed } = self.phase else {
            return false;
        };
        if self.padding.is_some() {
            return false;
        }
        if self.in_flight.is_empty() && self.unproven.is_empty() {
            // Answers of an attempt that was given up may still come; they are waited for elsewhere.
            return true;
        }
        primed
            && self.in_flight.len() < self.settings.window_batches
            && self.in_flight_bytes + bytes <= self.settings.window_bytes
            && self.unproven_bytes + bytes <= self.settings.window_bytes
    }

    /// Sends what is in front of the queue: a batch as the source has it, several small ones as one, or a
    /// part of one that is too large. `false`: it has to wait.
    pub(super) fn send_next(&mut self, actions: &mut Vec<Action>) -> bool {
        let Some(Step::Copy(chunk)) = self.queue.front() else {
            return false;
        };
        let bytes = chunk.batch.len();
        if self.max_batch.is_some_and(|most| bytes > most) && chunk.count() > 1 {
            return self.split_front(actions);
        }
        if !self.window_has_room(bytes) {
            return false;
        }
        let small = self.small_ones();
        if small.waits {
            return false;
        }
        let mut taken = Vec::with_capacity(small.chunks.max(1));
        for _ in 0..small.chunks.max(1) {
            let Some(Step::Copy(chunk)) = self.queue.pop_front() else {
                break;
            };
            self.queue_bytes -= chunk.batch.len();
            taken.push(chunk);
        }
        let chunk = match taken.len() {
            1 => Ok(taken.pop()),
            _ => Chunk::merged(&taken),
        };
        match chunk {
            Ok(Some(chunk)) => {
                self.send(chunk, actions);
                true
            }
            Ok(None) => false,
            Err(error) => {
                self.fail(Failure::Unreadable(error.to_string()), actions);
                false
            }
        }
    }

    /// How many batches in front of the queue are sent as one. A request carries one batch of a partition, so that with
    /// small ones the number of requests on their way is the limit; while few are on their way, batches go as they are.
    fn small_ones(&self) -> Small {
        let most = self.max_batch.unwrap_or(usize::MAX);
        let alone = Small {
            chunks: 1,
            waits: false,
        };
        if self.in_flight.len() < BUSY_FROM {
            return alone;
        }
        let (mut chunks, mut bytes) = (0, 0);
        let mut before: Option<&Chunk> = None;
        for step in &self.queue {
            let Step::Copy(chunk) = step else { break };
            let follows = before.is_none_or(|before| {
                before.header.codec() == chunk.header.codec()
                    && (!self.is_aligned() || before.end() == chunk.first())
            });
            let len = chunk.batch.len();
            let merging = match chunk.header.codec() {
                0 => self.settings.merge_plain,
                _ => self.settings.merge_compressed,
            };
            if !follows || len >= merging.below || bytes + len > merging.to.min(most) {
                // What comes next cannot join, so there is nothing to wait for.
                return Small {
                    chunks: chunks.max(1),
                    waits: false,
                };
            }
            chunks += 1;
            bytes += len;
            before = Some(chunk);
        }
        Small {
            chunks: chunks.max(1),
            waits: self.in_flight.len() >= FULL_FROM,
        }
    }

    fn split_front(&mut self, actions: &mut Vec<Action>) -> bool {
        let (Some(Step::Copy(chunk)), Some(most)) = (self.queue.pop_front(), self.max_batch) else {
            return false;
        };
        self.queue_bytes -= chunk.batch.len();
        match chunk.split(chunk.batch.len().div_ceil(most)) {
            Ok(parts) => {
                for part in parts.into_iter().rev() {
                    self.queue_bytes += part.batch.len();
                    self.queue.push_front(Step::Copy(part));
                }
                true
            }
            Err(error) => {
                self.fail(Failure::Unreadable(error.to_string()), actions);
                false
            }
        }
    }

    pub(super) fn send(&mut self, chunk: Chunk, actions: &mut Vec<Action>) {
        let first = self.sent;
        let stamp = Stamp {
            producer_id: self.settings.producer_id,
            producer_epoch: self.settings.producer_epoch,
            count: first.count,
        };
        let batch = rewritten(&chunk.header, &chunk.batch, stamp);
        let bytes = batch.size();
        let mut after = advanced(&first, &chunk);
        if self.is_aligned() {
            after.source_offset = after.destination_offset;
            self.data_end = after.destination_offset;
            if chunk.next > after.source_offset {
                self.queue.push_front(Step::Pass {
                    next: chunk.next,
                    leader_epoch: chunk.origin.leader_epoch,
                });
            }
        }
        self.tail_check = None;
        self.count_check = None;
        actions.push(Action::Send {
            attempt: self.attempt,
            batch,
        });
        self.outstanding += 1;
        self.in_flight_bytes += bytes;
        // Records at equal offsets are the same whenever they are read.
        let doubtful = self.doubt.sent(&first, &chunk, bytes) && !self.is_aligned();
        self.in_flight.push_back(InFlight {
            after,
            first,
            bytes,
            chunk,
            doubtful,
        });
        self.sent = after;
    }
}

/// What of the queue's front goes as one batch.
#[derive(Clone, Copy, Debug)]
struct Small {
    chunks: usize,
    waits: bool,
}
