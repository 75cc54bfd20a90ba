//! Whether an acknowledgement is of the batch that was sent.
//!
//! A leader answers a batch whose sequence numbers it has seen as a duplicate, and does not look at its records. After an answer
//! that did not come, the batch it was for may still arrive: a broker reads what a throttled connection brought when its time is
//! over, although the connection is closed. It is then taken first, and the batch of the next attempt acknowledged. Both
//! hold the same records, unless the source has lost some in between (its cleaner ran, or its beginning expired): records
//! that were never written would count as copied. So what may share its sequence numbers with a batch of an earlier attempt is
//! read back before it counts. With equal offsets the offsets differ then, too, and nothing needs to be read.

use super::content::{Compared, TailCheck};
use super::messages::{Action, TailBatch};
use super::{Failure, PartitionMirror};
use crate::control::records::Anchor;
use crate::mirror::batch::repack::RepackError;
use crate::mirror::select::Chunk;

/// Which batches may share sequence numbers with one that may still arrive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    /// Those with records below this count.
    until: i64,
    /// The count after the last record that was ever sent.
    highest: i64,
    /// And this many bytes: what a predecessor may have had on its way.
    bytes: usize,
}

impl Doubt {
    pub fn of_predecessors(window_bytes: usize) -> Self {
        Self {
            until: i64::MIN,
            highest: i64::MIN,
            bytes: window_bytes,
        }
    }

    /// An answer was lost.
    pub fn begins(&mut self) {
        self.until = self.highest;
    }

    /// A batch leaves: whether it is doubtful.
    pub fn sent(&mut self, first: &Anchor, chunk: &Chunk, bytes: usize) -> bool {
        let doubtful = self.bytes > 0 || first.count < self.until;
        self.highest = self.highest.max(first.count + chunk.count());
        self.bytes = self.bytes.saturating_sub(bytes);
        doubtful
    }
}

/// Whether a batch is what the mirror sent for offset `at`.
fn is_copy(
    found: &TailBatch,
    sent: &Chunk,
    at: i64,
    producer_id: i64,
) -> Result<bool, RepackError> {
    let header = &found.header;
    if header.producer_id != producer_id
        || header.is_control()
        || header.base_offset != at
        || found.taken() != sent.count()
    {
        return Ok(false);
    }
    let mut check = TailCheck::now(found, at);
    Ok(check.compare(sent, at..at + sent.count())? == Compared::Same)
}

impl PartitionMirror {
    /// What was read back must be what was sent there.
    pub(super) fn on_read_back(
        &mut self,
        attempt: u64,
        start: i64,
        batches: &[TailBatch],
        actions: &mut Vec<Action>,
    ) {
        if attempt != self.attempt {
            return;
        }
        self.asking_for_proof = false;
        // What is deleted already contradicts nothing.
        while let Some(sent) = self.unproven.front().filter(|sent| sent.doubtful)
            && sent.first.destination_offset + sent.chunk.count() <= start
        {
            self.keep_first(actions);
        }
        for found in batches {
            let Some(sent) = self.unproven.front().filter(|sent| sent.doubtful) else {
                break;
            };
            let at = sent.first.destination_offset;
            if found.header.next_offset() <= at {
                continue;
            }
            match is_copy(found, &sent.chunk, at, self.settings.producer_id) {
                Ok(true) => self.keep_first(actions),
                Ok(false) => {
                    let cause = format!("the batch at offset {at} is another than was sent");
                    return self.recover(cause, actions);
                }
                Err(error) => return self.fail(Failure::Unreadable(error.to_string()), actions),
            }
        }
        self.go_on_proven(i64::MIN, actions);
    }
}
