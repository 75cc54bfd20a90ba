//! Records on their way: fetched, selected, sent within the window, acknowledged or refused.

use super::failure::{self, Verdict};
use super::messages::{Action, Answer, Fetched, Notice};
use super::{FRUITLESS_ROUNDS, Failure, InFlight, PartitionMirror, Phase, advanced};
use crate::control::records::{Anchor, Run};
use crate::kafka::ErrorCode;
use crate::mirror::batch::Stamp;
use crate::mirror::batch::rewrite::rewritten;
use crate::mirror::select::{Chunk, Step, select};

impl PartitionMirror {
    pub(super) fn on_fetched(&mut self, fetched: Fetched, actions: &mut Vec<Action>) {
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

    pub(super) fn on_answer(&mut self, attempt: u64, answer: Answer, actions: &mut Vec<Action>) {
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
        if self.outstanding == 0 && self.phase == Phase::Draining {
            self.drained(actions);
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
    pub(super) fn note_copied(&mut self, chunk: &Chunk, first: &Anchor) {
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
        match failure::of_refusal(code) {
            None => self.recover(code.to_string(), actions),
            Some(Verdict::AfterRounds) if self.refusals < FRUITLESS_ROUNDS => {
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

    /// Sends what may be sent and fetches what there is room for.
    pub(super) fn pump(&mut self, actions: &mut Vec<Action>) {
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

    fn send(&mut self, chunk: Chunk, actions: &mut Vec<Action>) {
        let first = self.sent;
        let stamp = Stamp {
            producer_id: self.settings.producer_id,
            producer_epoch: self.settings.producer_epoch,
            count: first.count,
        };
        let batch = rewritten(&chunk.header, &chunk.batch, stamp);
        let bytes = batch.size();
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
