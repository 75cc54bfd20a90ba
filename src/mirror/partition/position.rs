//! Where writing goes on: what the destination's tail and the anchors say, and the records that are there
//! already and have to be passed over.

use super::content::{Compared, TailCheck};
use super::messages::{Action, Notice, Tail, TailBatch};
use super::{Failure, PartitionMirror, Phase, ROUNDS_BEHIND, advanced};
use crate::control::records::{Alignment, Anchor, Run};
use crate::mirror::batch::repack::RepackError;
use crate::mirror::batch::rewrite::sequence_of;
use crate::mirror::batch::{BatchHeader, filler};
use crate::mirror::select::{Chunk, Step};

impl PartitionMirror {
    /// Where the tail says that writing goes on.
    pub(super) fn on_tail(&mut self, tail: &Tail, actions: &mut Vec<Action>) {
        if self.phase != Phase::ReadingTail {
            return;
        }
        if self.is_behind_its_leader(tail) {
            self.behind_leader += 1;
            match self.behind_leader {
                1 => actions.push(Action::Notify(Notice::Recovering {
                    cause: "the leader holds records that are not replicated yet".to_owned(),
                    round: self.fruitless,
                })),
                ROUNDS_BEHIND.. => {
                    // Nothing is appended there: what the leader remembers is gone from its log.
                    let (known, end) = (self.reach_of_leader(tail), tail.end);
                    let failure = Failure::DestinationTooShort { known, end };
                    return self.fail(failure, actions);
                }
                _ => {}
            }
            return self.read_tail(actions);
        }
        self.behind_leader = 0;
        self.leader_epoch = tail.leader_epoch;
        let present = match self.records_present(tail) {
            Ok(present) => present,
            Err(failure) => return self.fail(failure, actions),
        };
        if let Err(failure) = self.note_present(present) {
            return self.fail(failure, actions);
        }
        if let Alignment::Equal { start, .. } = self.alignment {
            return self.go_on_aligned(tail, present, start, actions);
        }
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
        if expected_end > tail.end {
            let (known, end) = (expected_end, tail.end);
            return self.fail(Failure::DestinationTooShort { known, end }, actions);
        }
        if expected_end < tail.end {
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
        self.note_dropped_anchors();
        self.present = present;
        self.rewind(anchor);
        let ours = tail
            .last
            .as_ref()
            .filter(|last| last.header.producer_id == self.settings.producer_id);
        if let Err(failure) = self.compares_with(ours, |last| present - last.taken()) {
            return self.fail(failure, actions);
        }
        self.phase = Phase::Copying { primed: false };
        self.pump(actions);
    }

    /// The destination's last batch has to be found again in the source's records.
    pub(super) fn compares_with(
        &mut self,
        last: Option<&TailBatch>,
        first: impl Fn(&TailBatch) -> i64,
    ) -> Result<(), Failure> {
        if last.is_none() && !self.is_aligned() && self.sent.source_leader_epoch >= 0 {
            // Only their number is known of those that follow.
            self.uncompared = Some(self.sent.source_leader_epoch);
        }
        let check = last.map(|last| TailCheck::new(last, first(last)));
        self.tail_check = check
            .transpose()
            .map_err(|error| Failure::Unreadable(error.to_string()))?;
        Ok(())
    }

    /// So many records are there, whoever wrote them.
    pub(super) fn note_present(&mut self, present: i64) -> Result<(), Failure> {
        if self.refused_at.take().is_some_and(|at| present > at) {
            // Another worker's batch was there first: that says nothing of this one's.
            self.refusals = 0;
        }
        match self.moved_from.take() {
            // Another worker had begun to copy when the start was moved: its records lie before that.
            Some(from) if present > 0 => Err(Failure::SourceExpiredUncounted {
                from,
                to: self.confirmed.source_offset,
                present,
            }),
            _ => Ok(()),
        }
    }

    /// Whether the leader took more of this mirror's records than can be read, and none can be read: with a
    /// follower down that may last as long as the follower counts as in sync. (Where the last readable
    /// batch is this mirror's, whoever read the tail compared it with the leader's memory.)
    fn is_behind_its_leader(&self, tail: &Tail) -> bool {
        if self.is_aligned() {
            // Markers make counts and offsets differ; whoever read the tail saw where the log ends.
            return false;
        }
        let ours = |last: &TailBatch| last.header.producer_id == self.settings.producer_id;
        !tail.last.as_ref().is_some_and(ours) && self.reach_of_leader(tail) > tail.end
    }

    /// Where the records end of which the leader remembers to have taken them; -1 where it remembers none.
    fn reach_of_leader(&self, tail: &Tail) -> i64 {
        let Some(next) = tail.producer_next_sequence else {
            return -1;
        };
        let near = &self.confirmed;
        let taken = nearest_count(near.count, next);
        near.destination_offset
            .saturating_add(taken.saturating_sub(near.count))
    }

    /// How many of this mirror's records the destination holds.
    fn records_present(&self, tail: &Tail) -> Result<i64, Failure> {
        let near = &self.confirmed;
        if let Some(epoch) = tail.producer_epoch
            && epoch > i32::from(self.settings.producer_epoch)
        {
            return Err(Failure::Fenced { epoch });
        }
        let is_others = |last: &&TailBatch| {
            let before = self.taken_over_at();
            before.is_some_and(|start| last.header.next_offset() <= start)
        };
        if let Some(last) = tail.last.as_ref().filter(|last| !is_others(last)) {
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
                    epoch: i32::from(header.producer_epoch),
                });
            }
            let next = last.next_sequence();
            return Ok(nearest_count(near.count, next));
        }
        if let Some(next) = tail.producer_next_sequence {
            return Ok(nearest_count(near.count, next));
        }
        self.count_without_trace(tail)
    }

    /// The leader forgot the id, and none of the mirror's records can be read: they expired, or there are none since the
    /// last known point.
    fn count_without_trace(&self, tail: &Tail) -> Result<i64, Failure> {
        let near = &self.confirmed;
        if self.filling_up_to().is_some_and(|to| tail.end <= to) {
            return Ok(near.count + (tail.end - near.destination_offset));
        }
        let mut known = std::iter::once(near).chain(self.anchors.iter().rev());
        if let Some(anchor) = known.find(|anchor| anchor.destination_offset == tail.end) {
            return Ok(anchor.count);
        }
        // All of it can be read and is markers.
        if self.is_aligned() && (tail.start..=tail.end).contains(&near.destination_offset) {
            return Ok(near.count);
        }
        let (known, end) = (near.destination_offset, tail.end);
        Err(if end < known {
            Failure::DestinationTooShort { known, end }
        } else {
            Failure::Uncountable { known, end }
        })
    }

    /// Where the last anchor that was stored is not true any more, what comes is stored even if it is the same again: anchors
    /// and map in between are stored without it.
    pub(super) fn note_dropped_anchors(&mut self) {
        if self.last_saved != self.anchors.back().copied() {
            self.last_saved = None;
        }
    }

    fn anchor_covering(&self, present: i64) -> Option<Anchor> {
        std::iter::once(&self.confirmed)
            .chain(self.anchors.iter().rev())
            .filter(|anchor| anchor.source_offset >= 0 && anchor.count <= present)
            .max_by_key(|anchor| (anchor.count, anchor.source_offset))
            .copied()
    }

    /// Counts a chunk that the destination holds already, wholly or in part.
    pub(super) fn pass_over_present(&mut self, chunk: Chunk) -> Result<(), Failure> {
        self.confirm_content(&chunk)?;
        let missing = self.present - self.sent.count;
        let is = chunk.origin.leader_epoch;
        if let Some(was) = self.uncompared.filter(|was| is >= 0 && is != *was) {
            // After an unclean election others may lie there.
            return Err(Failure::SourceUncompared {
                offset: self.sent.source_offset,
                present: missing,
                was,
                is,
            });
        }
        if chunk.count() > missing {
            let rest = chunk
                .after(missing)
                .map_err(|error| Failure::Unreadable(error.to_string()))?;
            if self.is_shared() {
                self.note_placed(&chunk, missing);
            } else {
                self.note_part(&chunk, missing);
            }
            if let Some(rest) = rest {
                self.queue_bytes += rest.batch.len();
                self.queue.push_front(Step::Copy(rest));
            }
            self.note_passed_over();
            return Ok(());
        }
        if self.is_shared() {
            self.note_placed(&chunk, chunk.count());
            self.sent.source_offset = chunk.next;
        } else {
            self.note_copied(&chunk, &self.sent.clone());
            self.sent = advanced(&self.sent, &chunk);
        }
        self.note_passed_over();
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
        self.sent.source_leader_epoch = chunk.origin.leader_epoch;
    }

    /// What was passed over is known to be right only once the batch at the tail was compared: until then nothing of
    /// it counts.
    fn note_passed_over(&mut self) {
        if self.sent.count >= self.present {
            self.confirmed = self.sent;
        }
    }

    /// The batch at the destination's tail must be what the source has at that count. Anything else means that the
    /// source holds other records than when they were copied (its cleaner ran meanwhile), and counting
    /// would step over some.
    fn confirm_content(&mut self, chunk: &Chunk) -> Result<(), Failure> {
        let Some(check) = &mut self.tail_check else {
            return Ok(());
        };
        let numbers = self.sent.count..self.sent.count + chunk.count();
        let is_last = numbers.end >= check.end();
        match check.compare(chunk, numbers) {
            Ok(Compared::NotReached | Compared::Same) => {
                // Idle partitions need not keep it.
                self.tail_check.take_if(|_| is_last);
                Ok(())
            }
            Ok(Compared::Other) => Err(Failure::NotACopy {
                source_offset: chunk.first(),
                destination_offset: self.sent.destination_offset,
            }),
            Err(error) => Err(Failure::Unreadable(error.to_string())),
        }
    }

    /// An idle mirror only learns by looking that its topic lost its end or was written to by somebody else.
    pub(super) fn on_end_seen(&mut self, end: i64, actions: &mut Vec<Action>) {
        let idle = matches!(self.phase, Phase::Copying { .. })
            && self.outstanding == 0
            && self.unproven.is_empty()
            && self.sent.count >= self.present;
        let expected = self.sent.destination_offset;
        let before = self.end_expected.replace(expected);
        // The end was looked up a moment ago: less than expected means something only if nothing was written
        // since the look before.
        let somebody_wrote = end > expected && !self.is_shared();
        if idle && (somebody_wrote || (end < expected && before == Some(expected))) {
            self.recover(format!("the destination's end moved to {end}"), actions);
        }
    }
}

/// The count nearest to `near` whose sequence number is `sequence`.
pub(super) fn nearest_count(near: i64, sequence: i32) -> i64 {
    const WRAP: i64 = 1 << 31;
    let ahead = (i64::from(sequence) - i64::from(sequence_of(near))).rem_euclid(WRAP);
    if ahead < WRAP / 2 || near + ahead < WRAP {
        near + ahead
    } else {
        near + ahead - WRAP
    }
}

impl TailBatch {
    /// How many records it held when it was written: a cleaner may have taken some out.
    pub fn taken(&self) -> i64 {
        i64::from(self.header.last_offset_delta) + 1
    }

    /// The sequence number that the next batch of its producer has to carry.
    pub fn next_sequence(&self) -> i32 {
        sequence_of(i64::from(self.header.base_sequence) + self.taken())
    }

    /// Whether it took up offsets before the first record, rather than being copied.
    ///
    /// # Errors
    /// Where its records do not decode.
    pub(super) fn is_filler(&self) -> Result<bool, RepackError> {
        filler::is_filler(&self.header, &self.batch)
    }

    /// A batch as it was read.
    pub fn new(header: BatchHeader, batch: bytes::Bytes) -> Self {
        Self { header, batch }
    }
}
