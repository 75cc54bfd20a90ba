//! One replica of the destination partition: its log, and what it remembers of producers.
//!
//! The check of sequence numbers is Kafka's (`ProducerStateManager`, `ProducerAppendInfo`): the last five batches of an
//! id are remembered, one of them sent again is acknowledged at its old offset whatever it holds now, the next sequence
//! is taken, anything else is refused with 45; an id without an entry may begin anywhere, a higher epoch begins at
//! 0, a lower one is refused with 47. A control marker makes an entry that has an epoch and no sequence, after which
//! data begins at 0. Entries expire by the time of the last record or marker. Recorded traces of real brokers
//! are replayed against this file.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;

use crate::kafka::ErrorCode;
use crate::mirror::batch::BatchHeader;
use crate::mirror::batch::rewrite::sequence_of;

/// Batches remembered of a producer.
const REMEMBERED: usize = 5;

/// A batch that was taken: its sequences and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    first: i32,
    last: i32,
    base: i64,
}

/// What is known of one producer id.
#[derive(Clone, Debug)]
pub struct Known {
    pub id: i64,
    pub epoch: i16,
    pub coordinator_epoch: i32,
    batches: VecDeque<Taken>,
    last_time: i64,
}

impl Known {
    fn new(id: i64, epoch: i16) -> Self {
        Self {
            id,
            epoch,
            coordinator_epoch: -1,
            batches: VecDeque::new(),
            last_time: -1,
        }
    }

    /// -1 where only markers were written in this epoch.
    pub fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |taken| taken.last)
    }
}

/// All producers that a replica knows.
#[derive(Clone, Debug, Default)]
pub struct Producers {
    known: Vec<Known>,
}

/// What the check of a batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Append,
    /// It is there already, at this offset.
    Duplicate {
        base: i64,
    },
}

impl Producers {
    pub fn get(&self, id: i64) -> Option<&Known> {
        self.known.iter().find(|known| known.id == id)
    }

    /// The id has written so many records, the last of them just now, and they are gone.
    pub fn knows(&mut self, id: i64, records: i64) {
        let last = sequence_of(records + i64::from(i32::MAX));
        let known = self.entry(id, 0);
        known.last_time = i64::MAX;
        known.batches.push_back(Taken {
            first: last,
            last,
            base: 0,
        });
    }

    fn entry(&mut self, id: i64, epoch: i16) -> &mut Known {
        let at = match self.known.iter().position(|known| known.id == id) {
            Some(at) => at,
            None => {
                self.known.push(Known::new(id, epoch));
                self.known.len() - 1
            }
        };
        let known = &mut self.known[at];
        if known.epoch != epoch {
            known.epoch = epoch;
            known.batches.clear();
        }
        known
    }

    /// Whether a client's data batch may be appended.
    ///
    /// # Errors
    /// The code that the broker answers.
    pub fn check(&self, header: &BatchHeader) -> Result<Verdict, ErrorCode> {
        let Some(known) = self.get(header.producer_id) else {
            return Ok(Verdict::Append);
        };
        let (first, last) = (header.base_sequence, last_sequence(header));
        if known.epoch == header.producer_epoch {
            let same = |taken: &&Taken| taken.first == first && taken.last == last;
            if let Some(taken) = known.batches.iter().find(same) {
                return Ok(Verdict::Duplicate { base: taken.base });
            }
        }
        if header.producer_epoch < known.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        let expected = if known.epoch == header.producer_epoch {
            following(known.last_sequence())
        } else {
            0
        };
        if first == expected {
            Ok(Verdict::Append)
        } else {
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
        }
    }

    /// Whether a marker of `WriteTxnMarkers` may be appended.
    ///
    /// # Errors
    /// The code that the broker answers.
    pub fn check_marker(&self, id: i64, epoch: i16, coordinator: i32) -> Result<(), ErrorCode> {
        if id < 0 {
            return Err(ErrorCode::UNKNOWN_SERVER_ERROR);
        }
        match self.get(id) {
            Some(known) if epoch < known.epoch => Err(ErrorCode::INVALID_PRODUCER_EPOCH),
            Some(known) if coordinator < known.coordinator_epoch => {
                Err(TRANSACTION_COORDINATOR_FENCED)
            }
            _ => Ok(()),
        }
    }

    /// A data batch was appended at `base`.
    pub fn appended(&mut self, header: &BatchHeader, base: i64) {
        if header.producer_id < 0 {
            return;
        }
        let known = self.entry(header.producer_id, header.producer_epoch);
        known.batches.push_back(Taken {
            first: header.base_sequence,
            last: last_sequence(header),
            base,
        });
        if known.batches.len() > REMEMBERED {
            known.batches.pop_front();
        }
        known.last_time = header.max_timestamp;
    }

    /// A marker was appended at the time `now`.
    pub fn marked(&mut self, id: i64, epoch: i16, coordinator: i32, now: i64) {
        let known = self.entry(id, epoch);
        known.coordinator_epoch = coordinator;
        known.last_time = now;
    }

    /// The expiry check, at the broker's time `now`. Whether anybody was forgotten.
    pub fn expire(&mut self, now: i64, after: i64) -> bool {
        let before = self.known.len();
        self.known
            .retain(|known| now.saturating_sub(known.last_time) < after);
        self.known.len() < before
    }

    /// As after a restart or a truncation: of older batches only the snapshot's last one is known.
    pub fn remember_only(&mut self, batches: usize) {
        for known in &mut self.known {
            while known.batches.len() > batches.max(1) {
                known.batches.pop_front();
            }
        }
    }
}

/// TRANSACTION_COORDINATOR_FENCED.
pub const TRANSACTION_COORDINATOR_FENCED: ErrorCode = ErrorCode(52);

/// The sequence after this one; 0 follows the largest, and the -1 of nothing.
fn following(sequence: i32) -> i32 {
    if sequence == i32::MAX {
        0
    } else {
        sequence + 1
    }
}

fn last_sequence(header: &BatchHeader) -> i32 {
    let sum = i64::from(header.base_sequence) + i64::from(header.last_offset_delta);
    i32::try_from(sum & i64::from(i32::MAX)).expect("31 bits fit")
}

/// Who wrote a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    Mirror,
    Marker,
    Foreign,
}

/// What lies in the log up to here, of the mirror's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Records, from the first one that the mirror ever wrote.
    pub count: i64,
    /// Source offset of the last of them, -1 without any.
    pub source: i64,
    /// Whether records are missing before it, taken by a leader that had lost its log.
    pub gap: bool,
}

impl Reached {
    pub const NOTHING: Self = Self {
        count: 0,
        source: -1,
        gap: false,
    };
}

/// A batch in a log.
#[derive(Clone, Debug)]
pub struct Entry {
    pub base: i64,
    pub next: i64,
    pub header: BatchHeader,
    pub bytes: Bytes,
    pub writer: Writer,
    /// Coordinator epoch of a marker.
    pub coordinator: i32,
    pub after: Reached,
    /// Source offsets of the records, for those of the mirror.
    pub sources: Rc<[i64]>,
}

/// One broker's copy of the partition.
#[derive(Clone, Debug)]
pub struct Replica {
    pub log: Vec<Rc<Entry>>,
    /// The log's start, which may lie inside or behind its batches.
    pub start: i64,
    /// Where the log ended before its first batch.
    pub origin: i64,
    pub before: Reached,
    pub high_watermark: i64,
    pub producers: Producers,
}

impl Replica {
    pub fn new(origin: i64, before: Reached) -> Self {
        Self {
            log: Vec::new(),
            start: origin,
            origin,
            before,
            high_watermark: origin,
            producers: Producers::default(),
        }
    }

    pub fn end(&self) -> i64 {
        self.log.last().map_or(self.origin, |entry| entry.next)
    }

    pub fn reached(&self) -> Reached {
        self.log.last().map_or(self.before, |entry| entry.after)
    }

    /// Puts an entry at the end, as a leader that has checked it or as a follower.
    pub fn push(&mut self, entry: Rc<Entry>) {
        match entry.writer {
            Writer::Marker => self.producers.marked(
                entry.header.producer_id,
                entry.header.producer_epoch,
                entry.coordinator,
                entry.header.max_timestamp,
            ),
            Writer::Mirror | Writer::Foreign => self.producers.appended(&entry.header, entry.base),
        }
        self.log.push(entry);
    }

    /// Cuts the log to its first `batches` and builds the memory of producers anew from what is left.
    pub fn truncate(&mut self, batches: usize, remembered: usize) {
        if batches >= self.log.len() {
            return;
        }
        self.log.truncate(batches);
        self.high_watermark = self.high_watermark.min(self.end());
        self.rebuild(remembered);
    }

    /// Loses its last batches, but for what lies before the log's start: an empty log begins there.
    pub fn lose(&mut self, batches: usize, remembered: usize) {
        let deleted = self.log.partition_point(|entry| entry.base < self.start);
        let left = self.log.len().saturating_sub(batches);
        self.truncate(left.max(deleted), remembered);
    }

    /// The memory of producers as the log gives it.
    pub fn rebuild(&mut self, remembered: usize) {
        self.producers = Producers::default();
        for entry in std::mem::take(&mut self.log) {
            self.push(entry);
        }
        self.producers.remember_only(remembered);
    }

    /// How many batches both logs begin with.
    pub fn common(&self, other: &Self) -> usize {
        let shorter = self.log.len().min(other.log.len());
        // Logs share a prefix; the last common batch is found from the end.
        (0..shorter)
            .rev()
            .find(|index| Rc::ptr_eq(&self.log[*index], &other.log[*index]))
            .map_or(0, |index| index + 1)
    }

    /// The last batch below `end` that a reader would find, control batches left out.
    pub fn last_data_below(&self, end: i64) -> Option<&Rc<Entry>> {
        self.log
            .iter()
            .rev()
            .skip_while(|entry| entry.base >= end)
            .take_while(|entry| entry.next > self.start)
            .find(|entry| entry.writer != Writer::Marker)
    }
}
