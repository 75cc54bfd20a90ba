//! A topic that others write to as well (`on_foreign_write = "translate"`).
//!
//! Sequence numbers are counted for each producer, so the leader takes each batch of this mirror exactly once and in order, whatever
//! is written in between. What does not hold there is that destination offsets rise with the count of records. So an
//! acknowledgement says where its batch lies, never before the one before it. After a start or an error the log is looked
//! through from a known point on, for all batches of this mirror: the last one says how many records are there, and all of
//! them where each record is.
//!
//! A known point lies right behind a batch of this mirror. If that batch is not there any more, the log was cut back and
//! filled by others since, and what is there is found from an older point on.
//!
//! Where offsets are still equal to the source's, there is no room for anybody else: there a foreign record stops the
//! partition.

use super::messages::{Action, Notice, SharedTail};
use super::position::nearest_count;
use super::{Failure, InFlight, PartitionMirror, Phase, ROUNDS_BEHIND};
use crate::control::records::{Anchor, ForeignWrites, Run};
use crate::mirror::batch::BatchHeader;
use crate::mirror::batch::rewrite::sequence_of;
use crate::mirror::select::Chunk;

/// Where records of this mirror lie, by the count of those before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    offset: i64,
    first: i64,
    count: i64,
}

impl Placed {
    fn end(&self) -> i64 {
        self.first + self.count
    }
}

/// What a tail says.
enum Found {
    Present(i64),
    /// The log no longer holds what was known to be there.
    Less,
    /// The leader took records that nobody can read yet.
    NotYet,
}

impl PartitionMirror {
    /// Whether others may write to the partition.
    pub(super) fn is_shared(&self) -> bool {
        self.settings.foreign_writes == ForeignWrites::Translate && !self.is_aligned()
    }

    pub(super) fn read_shared_tail(&mut self, behind: Anchor, actions: &mut Vec<Action>) {
        self.phase = Phase::ReadingTail;
        self.looked_behind = Some(behind);
        actions.push(Action::ReadSharedTail {
            fence: self.pads_by_transactions,
            from: behind.destination_offset,
        });
    }

    pub(super) fn on_shared_tail(&mut self, tail: &SharedTail, actions: &mut Vec<Action>) {
        let (Phase::ReadingTail, Some(mut known)) = (&self.phase, self.looked_behind) else {
            return;
        };
        if known.count == 0 {
            // What the others lost is theirs.
            known.destination_offset = known.destination_offset.min(tail.end);
        }
        let found = match self.found_behind(&known, tail) {
            Ok(found) => found,
            Err(failure) => return self.fail(failure, actions),
        };
        let present = match found {
            Found::Present(present) => present,
            Found::Less => return self.look_further_back(&known, tail, actions),
            Found::NotYet => return self.wait_for_replicas(tail, actions),
        };
        self.behind_leader = 0;
        if let Err(failure) = self.note_present(present) {
            return self.fail(failure, actions);
        }
        let placed = match placed(&known, tail) {
            Ok(placed) => placed,
            Err(failure) => return self.fail(failure, actions),
        };
        if !self.map.rewind(&known) {
            return self.fail(Failure::MapTooShort { anchor: known }, actions);
        }
        self.anchors.retain(|anchor| anchor.count <= known.count);
        self.note_dropped_anchors();
        self.present = present;
        self.rewind(known);
        self.placed = placed.into();
        let last = tail.last.as_ref();
        if let Err(failure) = self.compares_with(last, |last| present - last.taken()) {
            return self.fail(failure, actions);
        }
        self.phase = Phase::Copying { primed: false };
        self.pump(actions);
    }

    /// How many of this mirror's records the destination holds, as far as can be seen behind a known point.
    fn found_behind(&self, known: &Anchor, tail: &SharedTail) -> Result<Found, Failure> {
        let ours = self.settings.producer_epoch;
        let last = tail.last.as_ref();
        let epochs = [
            tail.producer_epoch,
            last.map(|last| i32::from(last.header.producer_epoch)),
        ];
        if let Some(epoch) = epochs
            .into_iter()
            .flatten()
            .find(|it| *it > i32::from(ours))
        {
            return Err(Failure::Fenced { epoch });
        }
        if tail.end < known.destination_offset || self.is_gone(known, tail.before.as_ref()) {
            return Ok(Found::Less);
        }
        let was_deleted = tail.start > known.destination_offset;
        let remembered = tail
            .producer_next_sequence
            .map(|next| nearest_count(known.count, next));
        let present = match (last, remembered) {
            (Some(last), _) => nearest_count(known.count, last.next_sequence()),
            (None, Some(count)) if count > known.count && !was_deleted => return Ok(Found::NotYet),
            (None, Some(count)) => count,
            (None, None) if was_deleted => {
                return Err(Failure::Uncountable {
                    known: known.destination_offset,
                    end: tail.end,
                });
            }
            // All that was written since can be read, and nothing of it is this mirror's.
            (None, None) => known.count,
        };
        Ok(if present < known.count {
            Found::Less
        } else {
            Found::Present(present)
        })
    }

    /// Whether something else lies where a batch of this mirror ended.
    fn is_gone(&self, known: &Anchor, before: Option<&BatchHeader>) -> bool {
        let Some(header) = before.filter(|header| known.count > 0 && !header.is_control()) else {
            // Where the records before it had the source's offsets, a marker may lie there.
            return false;
        };
        let next = i64::from(header.base_sequence) + i64::from(header.last_offset_delta) + 1;
        header.producer_id != self.settings.producer_id
            || sequence_of(next) != sequence_of(known.count)
            || header.next_offset() != known.destination_offset
    }

    fn look_further_back(&mut self, known: &Anchor, tail: &SharedTail, actions: &mut Vec<Action>) {
        let mut older = self.anchors.iter().rev();
        if let Some(older) = older.find(|anchor| anchor.count < known.count).copied() {
            return self.read_shared_tail(older, actions);
        }
        let last = tail.last.as_ref().map(|last| last.next_sequence());
        let failure = match last.or(tail.producer_next_sequence) {
            Some(next) => Failure::DestinationCutBack {
                present: nearest_count(known.count, next),
                oldest: Some(*known),
            },
            None => Failure::DestinationTooShort {
                known: known.destination_offset,
                end: tail.end,
            },
        };
        self.fail(failure, actions);
    }

    fn wait_for_replicas(&mut self, tail: &SharedTail, actions: &mut Vec<Action>) {
        self.behind_leader += 1;
        match self.behind_leader {
            1 => actions.push(Action::Notify(Notice::Recovering {
                cause: "the leader holds records that are not replicated yet".to_owned(),
                round: self.fruitless,
            })),
            ROUNDS_BEHIND.. => {
                // Nothing is appended there: what the leader remembers is gone from its log.
                let known = self.confirmed.destination_offset;
                let failure = Failure::DestinationTooShort {
                    known,
                    end: tail.end,
                };
                return self.fail(failure, actions);
            }
            _ => {}
        }
        self.read_tail(actions);
    }

    /// Others wrote before an acknowledged batch: it lies `by` offsets behind where it was expected, and those that
    /// follow it can only lie behind that.
    pub(super) fn shift(&mut self, acknowledged: &mut InFlight, by: i64) {
        let later = self.in_flight.iter_mut();
        for batch in std::iter::once(acknowledged).chain(later) {
            batch.first.destination_offset += by;
            batch.after.destination_offset += by;
        }
        self.sent.destination_offset += by;
    }

    /// Writes records that are at the destination already into the offset map, where they were found.
    pub(super) fn note_placed(&mut self, chunk: &Chunk, records: i64) {
        let end = self.sent.count + records;
        let mut number = self.sent.count;
        for (first, count) in chunk.segments.iter() {
            let (mut source, segment_end) = (*first, end.min(number + count));
            while number < segment_end {
                while let Some(placed) = self.placed.front()
                    && placed.end() <= number
                {
                    self.placed.pop_front();
                }
                let (up_to, destination) = match self.placed.front() {
                    Some(placed) if placed.first <= number => {
                        let destination = placed.offset + (number - placed.first);
                        (placed.end().min(segment_end), Some(destination))
                    }
                    // Deleted at the destination since: no offset there is theirs any more.
                    Some(placed) => (placed.first.min(segment_end), None),
                    None => (segment_end, None),
                };
                let count = up_to - number;
                if let Some(destination) = destination {
                    self.map.push(Run {
                        source,
                        destination,
                        count,
                    });
                    self.sent.destination_offset = destination + count;
                }
                number = up_to;
                source += count;
            }
            if number > self.sent.count {
                self.sent.source_offset = source;
            }
            if number == end {
                break;
            }
        }
        self.sent.count = end;
        self.sent.source_leader_epoch = chunk.origin.leader_epoch;
    }
}

/// The records that were found, by count. They follow each other, and begin at the known point unless what followed it was deleted.
fn placed(known: &Anchor, tail: &SharedTail) -> Result<Vec<Placed>, Failure> {
    let mut expected = (tail.start <= known.destination_offset).then_some(known.count);
    let mut placed = Vec::with_capacity(tail.spans.len());
    for span in &tail.spans {
        let near = expected.unwrap_or(known.count);
        let found = nearest_count(near, span.base_sequence);
        if expected.is_some_and(|expected| expected != found) || found < near {
            return Err(Failure::Scattered {
                offset: span.base_offset,
                expected: near,
                found,
            });
        }
        placed.push(Placed {
            offset: span.base_offset,
            first: found,
            count: span.count,
        });
        expected = Some(found + span.count);
    }
    Ok(placed)
}
