//! The source partition: what is produced, what a `read_committed` reader sees of it, and what time does to it.
//!
//! The log holds batches of all codecs and sizes, plain ones and those of transactions, which interleave, commit, abort or
//! stay open. Retention takes its beginning, the cleaner takes records out of its middle, an unclean election
//! its end, after which other records stand at the same offsets under a higher leader epoch.
//!
//! [`View`] is the other half: the committed records in order, with what became of each. A copy is judged by it.

use bytes::{Bytes, BytesMut};
use rand::Rng;
use rand::rngs::SmallRng;

use super::content::{self, Came, Frame, GAPS, MOST_RECORDS, RETURNS, RecordId, Shape};
use crate::mirror::batch::BatchHeader;
use crate::mirror::partition::KnownEpoch;

/// How the records of a source come about.
#[derive(Clone, Debug)]
pub struct Habits {
    pub codecs: Vec<u8>,
    /// Probability that a step of the producers belongs to a transaction.
    pub transactions: f64,
    /// Probability that a batch is stamped by the broker.
    pub append_time: f64,
    /// Probability that a batch has the very bytes of the one before.
    pub identical: f64,
    /// Probability that a batch was thinned out by the cleaner before anybody read it.
    pub gappy: f64,
    /// Probability that records of a batch came from the destination, which a mirror leaves out that knows it.
    pub returns: f64,
    /// Time of the first record.
    pub first_time: i64,
}

#[derive(Clone, Debug)]
struct Batch {
    base: i64,
    next: i64,
    bytes: Bytes,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Data {
        shape: Shape,
        frame: Frame,
        transaction: Option<usize>,
    },
    Marker,
}

#[derive(Clone, Debug)]
struct Transaction {
    producer_id: i64,
    first: i64,
    /// Offset of its marker, and whether it was rolled back.
    ended: Option<(i64, bool)>,
}

/// What became of a committed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    There,
    /// The cleaner took it.
    Compacted,
    /// Retention or `DeleteRecords` took it.
    Expired,
}

/// A record that a `read_committed` reader could see.
#[derive(Clone, Copy, Debug)]
pub struct Visible {
    pub offset: i64,
    pub id: RecordId,
    pub fate: Fate,
}

/// Committed records by offset.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub records: Vec<Visible>,
}

impl View {
    /// Index of the first record at or after `offset`.
    pub fn at(&self, offset: i64) -> usize {
        self.records
            .partition_point(|record| record.offset < offset)
    }

    /// The record at `offset`, if there is one and it is still there.
    pub fn there(&self, offset: i64) -> Option<&Visible> {
        let found = self.records.get(self.at(offset));
        found.filter(|it| it.offset == offset && it.fate == Fate::There)
    }
}

/// A fetch answer.
#[derive(Debug)]
pub struct Answer {
    pub records: Bytes,
    pub aborted: Vec<(i64, i64)>,
    pub last_stable_offset: i64,
}

/// The source partition.
#[derive(Debug)]
pub struct Source {
    habits: Habits,
    rng: SmallRng,
    batches: Vec<Batch>,
    transactions: Vec<Transaction>,
    open: Vec<usize>,
    pub start: i64,
    pub end: i64,
    pub leader_epoch: i32,
    /// Leader epochs and where each begins, of what is in the log.
    epochs: Vec<(i32, i64)>,
    /// Counts topics of this name.
    pub incarnation: u32,
    pub view: View,
    /// What was visible before an unclean election took it.
    pub former_views: Vec<View>,
    /// Up to where `view` is filled.
    decided: i64,
    /// Up to where transactions that are left were decided before an unclean election took their markers. What was left out then,
    /// by a reader that does not remember it after a restart, may be visible since; it counts as what may be missing.
    decided_once: i64,
    next_time: i64,
    last_frame: Option<(Shape, Frame)>,
}

impl Source {
    pub fn new(habits: Habits, start: i64, rng: SmallRng) -> Self {
        Self {
            next_time: habits.first_time,
            habits,
            rng,
            batches: Vec::new(),
            transactions: Vec::new(),
            open: Vec::new(),
            start,
            end: start,
            leader_epoch: 3,
            epochs: vec![(3, start)],
            incarnation: 0,
            view: View::default(),
            former_views: Vec::new(),
            decided: start,
            decided_once: start,
            last_frame: None,
        }
    }

    pub fn last_stable_offset(&self) -> i64 {
        let open = self.open.iter();
        open.map(|index| self.transactions[*index].first)
            .min()
            .unwrap_or(self.end)
    }

    /// Somebody produces something.
    pub fn produce(&mut self) {
        if !self.rng.random_bool(self.habits.transactions) {
            return self.append_data(None);
        }
        match self.rng.random_range(0..4) {
            0 | 1 if !self.open.is_empty() => {
                let index = self.open[self.rng.random_range(0..self.open.len())];
                if self.rng.random_bool(0.5) {
                    self.append_data(Some(index));
                } else {
                    let abort = self.rng.random_bool(0.4);
                    self.finish(index, abort);
                }
            }
            _ => {
                let producer_id = 100 + self.rng.random_range(0..5);
                let taken = |index: &usize| self.transactions[*index].producer_id == producer_id;
                if self.open.iter().any(taken) {
                    return self.append_data(None);
                }
                self.transactions.push(Transaction {
                    producer_id,
                    first: self.end,
                    ended: None,
                });
                let index = self.transactions.len() - 1;
                self.open.push(index);
                self.append_data(Some(index));
            }
        }
    }

    /// All transactions but `keep` come to an end.
    pub fn finish_all(&mut self, keep: usize) {
        while self.open.len() > keep {
            let abort = self.rng.random_bool(0.4);
            let index = self.open[self.open.len() - 1];
            self.finish(index, abort);
        }
    }

    fn finish(&mut self, index: usize, abort: bool) {
        self.open.retain(|open| *open != index);
        let offset = self.end;
        self.transactions[index].ended = Some((offset, abort));
        let frame = Frame {
            producer_id: self.transactions[index].producer_id,
            producer_epoch: 0,
            ..Frame::at(offset, self.leader_epoch, self.next_time)
        };
        self.push(Batch {
            base: offset,
            next: offset + 1,
            bytes: content::marker(!abort, frame),
            what: What::Marker,
        });
    }

    fn append_data(&mut self, transaction: Option<usize>) {
        let again = self
            .last_frame
            .filter(|_| transaction.is_none() && self.rng.random_bool(self.habits.identical));
        let (shape, frame) = match again {
            Some((shape, frame)) => (
                shape,
                Frame {
                    base_offset: self.end,
                    leader_epoch: self.leader_epoch,
                    ..frame
                },
            ),
            None => self.fresh(transaction),
        };
        self.last_frame = transaction.is_none().then_some((shape, frame));
        let base = self.end;
        self.push(Batch {
            base,
            next: base + i64::from(shape.count),
            bytes: content::data(shape, frame),
            what: What::Data {
                shape,
                frame,
                transaction,
            },
        });
    }

    fn fresh(&mut self, transaction: Option<usize>) -> (Shape, Frame) {
        let rng = &mut self.rng;
        let codec = self.habits.codecs[rng.random_range(0..self.habits.codecs.len())];
        let count = if rng.random_bool(0.35) {
            1
        } else {
            rng.random_range(2..=MOST_RECORDS)
        };
        let gaps = if rng.random_bool(self.habits.gappy) {
            rng.random_range(1..GAPS)
        } else {
            0
        };
        self.next_time += 100;
        let mut frame = Frame::at(self.end, self.leader_epoch, self.next_time);
        frame.append_time = rng.random_bool(self.habits.append_time);
        if let Some(index) = transaction {
            frame.transactional = true;
            frame.producer_id = self.transactions[index].producer_id;
            frame.producer_epoch = 0;
            frame.base_sequence = 0;
        }
        let returns = if self.habits.returns > 0.0 && rng.random_bool(self.habits.returns) {
            rng.random_range(1..RETURNS)
        } else {
            0
        };
        let shape = Shape {
            codec,
            count,
            gaps,
            returns,
        };
        (shape, frame)
    }

    fn push(&mut self, batch: Batch) {
        self.end = batch.next;
        self.batches.push(batch);
        self.decide();
    }

    /// Fills the view up to the last stable offset.
    fn decide(&mut self) {
        let stable = self.last_stable_offset();
        if stable <= self.decided {
            return;
        }
        let from = self
            .batches
            .partition_point(|batch| batch.base < self.decided);
        for batch in &self.batches[from..] {
            if batch.base >= stable {
                break;
            }
            let What::Data { transaction, .. } = &batch.what else {
                continue;
            };
            let aborted = transaction
                .is_some_and(|index| matches!(self.transactions[index].ended, Some((_, true))));
            if aborted {
                continue;
            }
            let header = BatchHeader::parse(&batch.bytes).expect("the source's batches are whole");
            for (delta, id, came) in content::records(&header, &batch.bytes) {
                if came == Came::FromDestination {
                    continue;
                }
                let offset = batch.base + delta;
                let again = transaction.is_some() && offset < self.decided_once;
                let fate = if again { Fate::Compacted } else { Fate::There };
                self.view.records.push(Visible { offset, id, fate });
            }
        }
        self.decided = stable;
    }

    /// Where this leader's log parted from what a reader has read (OffsetForLeaderEpoch); -1 where it knows nothing of the
    /// epoch, `None` where both agree.
    pub fn parted_at(&self, read: KnownEpoch) -> Option<i64> {
        let epoch = read.leader_epoch;
        if epoch < 0 {
            return None;
        }
        let known = self.epochs.iter().rev().find(|(known, _)| *known <= epoch);
        let Some((found, _)) = known else {
            return Some(-1);
        };
        let next = self.epochs.iter().find(|(other, _)| other > found);
        let end = next.map_or(self.end, |(_, start)| *start);
        (*found < epoch || end < read.before).then_some(end)
    }

    /// What a fetch from `offset` gives; `None` where the log does not have it.
    pub fn fetch(&self, offset: i64, rng: &mut SmallRng) -> Option<Answer> {
        if !(self.start..=self.end).contains(&offset) {
            return None;
        }
        let stable = self.last_stable_offset();
        let mut records = BytesMut::new();
        let mut upper = offset;
        let from = self.batches.partition_point(|batch| batch.next <= offset);
        let most = rng.random_range(1..6);
        for batch in self.batches[from..].iter().take(most) {
            if batch.base >= stable {
                break;
            }
            records.extend_from_slice(&batch.bytes);
            upper = batch.next;
        }
        if upper > offset && rng.random_bool(0.2) {
            // The next batch did not fit whole.
            let cut = self.batches.iter().find(|batch| batch.base >= upper);
            if let Some(batch) = cut.filter(|batch| batch.base < stable) {
                let length = rng.random_range(1..batch.bytes.len());
                records.extend_from_slice(&batch.bytes[..length]);
            }
        }
        let aborted = self
            .transactions
            .iter()
            .filter_map(|transaction| match transaction.ended {
                Some((marker, true)) if marker >= offset && transaction.first < upper => {
                    Some((transaction.producer_id, transaction.first))
                }
                _ => None,
            })
            .collect();
        Some(Answer {
            records: records.freeze(),
            aborted,
            last_stable_offset: stable,
        })
    }

    /// Retention, or somebody's `DeleteRecords`.
    pub fn expire_before(&mut self, offset: i64) {
        self.start = self.start.max(offset.min(self.last_stable_offset()));
        let start = self.start;
        self.batches.retain(|batch| batch.next > start);
        let gone = self.view.at(start);
        // What the cleaner took before was a gap to every reader, and stays one.
        for record in &mut self.view.records[..gone] {
            if record.fate == Fate::There {
                record.fate = Fate::Expired;
            }
        }
    }

    /// A batch boundary between the log's start and its last stable offset, nearer to the start for small `share`.
    pub fn boundary(&self, share: f64) -> i64 {
        let stable = self.last_stable_offset();
        let bases: Vec<i64> = self
            .batches
            .iter()
            .map(|batch| batch.base)
            .filter(|base| *base < stable && *base >= self.start)
            .collect();
        let index = (bases.len() as f64 * share) as usize;
        bases.get(index).copied().unwrap_or(self.start)
    }

    /// An unclean election: the batches from `offset` on are gone, others will take their place.
    pub fn truncate(&mut self, offset: i64) {
        let cut = self.batches.partition_point(|batch| batch.next <= offset);
        self.batches.truncate(cut);
        self.end = self.batches.last().map_or(self.start, |batch| batch.next);
        self.leader_epoch += 1;
        let end = self.end;
        self.epochs.retain(|(_, start)| *start < end);
        self.epochs.push((self.leader_epoch, end));
        // Transactions that began behind the cut never were; markers behind it are undone.
        self.open.clear();
        for (index, transaction) in self.transactions.iter_mut().enumerate() {
            if transaction.first >= end {
                transaction.ended = Some((i64::MIN, false));
                continue;
            }
            if transaction.ended.is_some_and(|(marker, _)| marker >= end) {
                transaction.ended = None;
            }
            if transaction.ended.is_none() {
                self.open.push(index);
            }
        }
        self.decided_once = self.decided_once.max(self.decided).min(end);
        self.former_views.push(self.view.clone());
        let keep = self.view.at(self.last_stable_offset());
        self.view.records.truncate(keep);
        self.decided = self.decided.min(self.last_stable_offset());
        self.last_frame = None;
    }

    /// The cleaner: some batches lose records or vanish. Whether any did.
    pub fn compact(&mut self, up_to: i64) -> bool {
        let stable = self.last_stable_offset().min(up_to);
        let mut changed = false;
        let mut kept: Vec<Batch> = Vec::with_capacity(self.batches.len());
        for mut batch in std::mem::take(&mut self.batches) {
            let eligible = batch.next <= stable && batch.base >= self.start;
            if let What::Data {
                shape,
                frame,
                transaction,
            } = &mut batch.what
                && eligible
                && shape.gaps == 0
                && self.rng.random_bool(0.3)
            {
                changed = true;
                let (first, last) = (self.view.at(batch.base), self.view.at(batch.next));
                let whole = transaction.is_none() && self.rng.random_bool(0.3);
                shape.gaps = self.rng.random_range(1..GAPS);
                for record in &mut self.view.records[first..last] {
                    let number = (record.offset - batch.base) as u32;
                    if whole || !shape.keeps(number) {
                        record.fate = Fate::Compacted;
                    }
                }
                if whole {
                    continue;
                }
                batch.bytes = content::data(*shape, *frame);
            }
            kept.push(batch);
        }
        self.batches = kept;
        changed
    }

    /// The topic is deleted and created again, empty.
    pub fn recreate(&mut self) {
        self.incarnation += 1;
        self.former_views.push(std::mem::take(&mut self.view));
        self.batches.clear();
        self.transactions.clear();
        self.open.clear();
        self.start = 0;
        self.end = 0;
        self.decided = 0;
        self.decided_once = 0;
        self.leader_epoch = 0;
        self.epochs = vec![(0, 0)];
    }
}
