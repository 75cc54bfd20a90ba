//! One partition's log in memory: append, read, find, cut at the start.
//!
//! It decides offsets, watermarks and what an isolation level may see; what a producer may send is
//! judged in [`super::validate`] and [`super::producers`] before it comes here.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError as E;

use super::batch::{self, Header, Stamp};
use super::producers::{Producers, Verdict};

/// What a consumer may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

/// A batch in the log.
#[derive(Clone, Debug)]
pub struct StoredBatch {
    pub header: Header,
    pub bytes: Bytes,
}

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    pub producer_id: i64,
    pub first_offset: i64,
    /// Offset of its marker.
    pub last_offset: i64,
}

/// The answer to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: i64,
    pub last_offset: i64,
    /// -1 unless the topic stamps append time.
    pub log_append_time: i64,
    pub duplicate: bool,
}

/// What a read found.
#[derive(Clone, Debug, Default)]
pub struct Read {
    pub batches: Vec<Bytes>,
    pub size: usize,
    pub aborted: Vec<Aborted>,
}

/// A record's place, found by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub offset: i64,
    pub timestamp: i64,
    pub leader_epoch: i32,
}

/// The log of one partition.
#[derive(Clone, Debug, Default)]
pub struct Log {
    batches: VecDeque<StoredBatch>,
    start: i64,
    end: i64,
    /// Held back by a fault; otherwise the end.
    held_watermark: Option<i64>,
    leader_epoch: i32,
    /// Where each leader epoch began, oldest first.
    epochs: Vec<(i32, i64)>,
    pub producers: Producers,
    aborted: Vec<Aborted>,
}

impl Log {
    #[must_use]
    pub fn start(&self) -> i64 {
        self.start
    }

    #[must_use]
    pub fn end(&self) -> i64 {
        self.end
    }

    #[must_use]
    pub fn high_watermark(&self) -> i64 {
        self.held_watermark.unwrap_or(self.end)
    }

    /// The offset up to which every transaction is decided.
    #[must_use]
    pub fn last_stable_offset(&self) -> i64 {
        let watermark = self.high_watermark();
        self.producers
            .first_open_offset()
            .map_or(watermark, |open| open.min(watermark))
    }

    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// Bytes held.
    #[must_use]
    pub fn size(&self) -> usize {
        self.batches.iter().map(|batch| batch.bytes.len()).sum()
    }

    pub fn batches(&self) -> impl Iterator<Item = &StoredBatch> {
        self.batches.iter()
    }

    /// Appends a batch that has passed validation. `log_append_time` is the time stamped, -1 if none.
    pub fn append(
        &mut self,
        bytes: BytesMut,
        log_append_time: i64,
    ) -> Result<Appended, (E, String)> {
        let header = Header::parse(&bytes).expect("a validated batch has a whole header");
        if header.has_producer()
            && let Verdict::Duplicate(known) = self.producers.check(&header)?
        {
            return Ok(Appended {
                base_offset: known.base_offset,
                last_offset: known.base_offset + i64::from(header.last_offset_delta),
                log_append_time: if log_append_time < 0 {
                    -1
                } else {
                    known.timestamp
                },
                duplicate: true,
            });
        }
        let stored = self.store(bytes);
        if stored.has_producer() {
            self.producers.appended(&stored);
        }
        Ok(Appended {
            base_offset: stored.base_offset,
            last_offset: stored.last_offset(),
            log_append_time,
            duplicate: false,
        })
    }

    /// Appends the marker that ends a transaction of `producer_id`.
    pub fn append_marker(
        &mut self,
        producer_id: i64,
        epoch: i16,
        commit: bool,
        coordinator_epoch: i32,
        now: i64,
    ) -> Result<i64, E> {
        self.producers
            .check_marker(producer_id, epoch, coordinator_epoch)?;
        let marker = batch::end_marker(producer_id, epoch, commit, coordinator_epoch, now);
        let offset = self.store(marker).base_offset;
        let ended = self
            .producers
            .marked(producer_id, epoch, coordinator_epoch, now);
        if let (Some(first_offset), false) = (ended, commit) {
            self.aborted.push(Aborted {
                producer_id,
                first_offset,
                last_offset: offset,
            });
        }
        Ok(offset)
    }

    fn store(&mut self, bytes: BytesMut) -> Header {
        let bytes = batch::stamped(
            bytes,
            Stamp {
                base_offset: self.end,
                leader_epoch: self.leader_epoch,
            },
        );
        let header = Header::parse(&bytes).expect("a stamped batch has a whole header");
        if self
            .epochs
            .last()
            .is_none_or(|(epoch, _)| *epoch < self.leader_epoch)
        {
            self.epochs.push((self.leader_epoch, self.end));
        }
        self.end = header.last_offset() + 1;
        self.batches.push_back(StoredBatch { header, bytes });
        header
    }

    /// The end of what `isolation` may see.
    #[must_use]
    pub fn visible_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark(),
            Isolation::ReadCommitted => self.last_stable_offset(),
        }
    }

    /// Whole batches from the one that holds `offset`. The first is returned even when it is larger
    /// than `max_bytes`, if `at_least_one`.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
        isolation: Isolation,
    ) -> Result<Read, E> {
        if offset < self.start || offset > self.end {
            return Err(E::OffsetOutOfRange);
        }
        let limit = self.visible_end(isolation);
        let mut read = Read::default();
        let mut upto = offset;
        for stored in self.batches.range(self.index_of(offset)..) {
            if stored.header.base_offset >= limit {
                break;
            }
            let first = read.batches.is_empty();
            if read.size + stored.bytes.len() > max_bytes && !(first && at_least_one) {
                break;
            }
            read.size += stored.bytes.len();
            upto = stored.header.last_offset();
            read.batches.push(stored.bytes.clone());
        }
        if isolation == Isolation::ReadCommitted {
            read.aborted = self
                .aborted
                .iter()
                .filter(|txn| txn.last_offset >= offset && txn.first_offset <= upto)
                .copied()
                .collect();
        }
        Ok(read)
    }

    /// Index of the first batch that ends at or after `offset`.
    fn index_of(&self, offset: i64) -> usize {
        self.batches
            .partition_point(|stored| stored.header.last_offset() < offset)
    }

    /// The first record with this timestamp or a later one, below the visible end.
    #[must_use]
    pub fn find_by_time(&self, timestamp: i64, isolation: Isolation) -> Option<Found> {
        let limit = self.visible_end(isolation);
        self.batches
            .iter()
            .filter(|stored| stored.header.max_timestamp >= timestamp)
            .find_map(|stored| {
                self.record_times(stored)
                    .into_iter()
                    .find(|found| found.timestamp >= timestamp && found.offset >= self.start)
            })
            .filter(|found| found.offset < limit)
    }

    /// The first record with the largest timestamp.
    #[must_use]
    pub fn find_max_timestamp(&self) -> Option<Found> {
        // The first of equal ones: `max_by_key` alone would return the last.
        let newest = self
            .batches
            .iter()
            .rev()
            .max_by_key(|stored| stored.header.max_timestamp)?;
        self.record_times(newest)
            .into_iter()
            .rev()
            .max_by_key(|found| found.timestamp)
    }

    fn record_times(&self, stored: &StoredBatch) -> Vec<Found> {
        let header = &stored.header;
        let mut times = Vec::new();
        // What lies in the log was walked when it came in.
        let _walked = batch::walk(&stored.bytes, header, |record| {
            times.push(Found {
                offset: header.base_offset + i64::from(record.offset_delta),
                timestamp: if header.is_log_append_time() {
                    header.max_timestamp
                } else {
                    header.base_timestamp + record.timestamp_delta
                },
                leader_epoch: header.leader_epoch,
            });
        });
        times
    }

    /// Moves the log's start (-1: to the high watermark) and drops the batches wholly before it.
    pub fn delete_before(&mut self, offset: i64) -> Result<i64, E> {
        let offset = if offset == -1 {
            self.high_watermark()
        } else {
            offset
        };
        if offset < 0 || offset > self.high_watermark() {
            return Err(E::OffsetOutOfRange);
        }
        self.start = self.start.max(offset);
        while self
            .batches
            .front()
            .is_some_and(|stored| stored.header.last_offset() < self.start)
        {
            self.batches.pop_front();
        }
        self.aborted.retain(|txn| txn.last_offset >= self.start);
        Ok(self.start)
    }

    /// The largest epoch at most `epoch` and the offset where it ended; (-1, -1) when unknown.
    #[must_use]
    pub fn end_of_epoch(&self, epoch: i32) -> (i32, i64) {
        if epoch == self.leader_epoch {
            return (epoch, self.end);
        }
        let Some(index) = self.epochs.iter().rposition(|(known, _)| *known <= epoch) else {
            return (-1, -1);
        };
        let end = self
            .epochs
            .get(index + 1)
            .map_or(self.end, |(_, next_start)| *next_start);
        (self.epochs[index].0, end)
    }

    /// The leader epoch under which `offset` was written; -1 when nothing says.
    #[must_use]
    pub fn epoch_at(&self, offset: i64) -> i32 {
        let before = self.epochs.iter().rfind(|(_, start)| *start <= offset);
        before.map_or(-1, |(epoch, _)| *epoch)
    }

    /// A new leader took over. What lay above a held watermark is lost, as on a follower that had
    /// not copied it.
    pub fn enter_epoch(&mut self, leader_epoch: i32) {
        self.leader_epoch = leader_epoch;
        if let Some(watermark) = self.held_watermark.take() {
            self.truncate_to(watermark);
        }
    }

    fn truncate_to(&mut self, offset: i64) {
        while self
            .batches
            .back()
            .is_some_and(|stored| stored.header.last_offset() >= offset)
        {
            self.batches.pop_back();
        }
        self.end = offset.max(self.start);
        self.aborted.retain(|txn| txn.last_offset < offset);
        self.epochs.retain(|(_, start)| *start < offset);
        self.rebuild_producers();
    }

    /// The state a replica derives from the batches it holds.
    fn rebuild_producers(&mut self) {
        self.producers = Producers::default();
        for stored in &self.batches {
            let header = &stored.header;
            if header.is_control() {
                let coordinator_epoch = -1;
                self.producers.marked(
                    header.producer_id,
                    header.producer_epoch,
                    coordinator_epoch,
                    header.max_timestamp,
                );
            } else if header.has_producer() {
                self.producers.appended(header);
            }
        }
    }

    /// Freezes the high watermark where it is, or lets it follow the end again.
    pub fn hold_watermark(&mut self, hold: bool) {
        self.held_watermark = hold.then(|| self.high_watermark());
    }

    #[must_use]
    pub fn is_watermark_held(&self) -> bool {
        self.held_watermark.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::testing::Draft;
    use super::*;

    fn append(log: &mut Log, draft: &Draft) -> Appended {
        log.append(BytesMut::from(&draft.build()[..]), -1)
            .expect("accepted")
    }

    fn three_records() -> Draft {
        Draft {
            records: vec![(Some("k"), Some("v")); 3],
            ..Draft::default()
        }
    }

    #[test]
    fn offsets_and_leader_epoch_are_stamped() {
        let mut log = Log::default();
        log.enter_epoch(4);
        append(&mut log, &three_records());
        let second = append(&mut log, &three_records());
        assert_eq!((second.base_offset, second.last_offset), (3, 5));
        let stored = log.batches().nth(1).expect("two batches");
        assert_eq!(
            (stored.header.base_offset, stored.header.leader_epoch),
            (3, 4)
        );
        assert!(batch::crc_matches(&stored.bytes, &stored.header));
    }

    #[test]
    fn reads_begin_with_the_batch_that_holds_the_offset_and_return_one_at_least() {
        let mut log = Log::default();
        append(&mut log, &three_records());
        append(&mut log, &three_records());
        let all = log
            .read(1, 1 << 20, true, Isolation::ReadUncommitted)
            .expect("in range");
        assert_eq!(all.batches.len(), 2);
        let one = log
            .read(4, 1, true, Isolation::ReadUncommitted)
            .expect("in range");
        assert_eq!(one.batches.len(), 1);
        assert_eq!(
            Header::parse(&one.batches[0]).expect("header").base_offset,
            3
        );
        let none = log
            .read(4, 1, false, Isolation::ReadUncommitted)
            .expect("in range");
        assert!(none.batches.is_empty());
        assert!(
            log.read(6, 1, true, Isolation::ReadUncommitted)
                .expect("at the end")
                .batches
                .is_empty()
        );
        assert_eq!(
            log.read(7, 1, true, Isolation::ReadUncommitted).err(),
            Some(E::OffsetOutOfRange)
        );
    }

    #[test]
    fn an_open_transaction_holds_the_stable_offset_and_its_abort_is_listed() {
        let mut log = Log::default();
        append(&mut log, &three_records());
        append(
            &mut log,
            &Draft {
                producer_id: 9,
                epoch: 0,
                sequence: 0,
                transactional: true,
                ..three_records()
            },
        );
        append(&mut log, &three_records());
        assert_eq!((log.last_stable_offset(), log.high_watermark()), (3, 9));
        let committed = log
            .read(0, 1 << 20, true, Isolation::ReadCommitted)
            .expect("in range");
        assert_eq!(committed.batches.len(), 1);

        assert_eq!(log.append_marker(9, 0, false, 0, 50), Ok(9));
        assert_eq!(log.last_stable_offset(), 10);
        let after = log
            .read(4, 1 << 20, true, Isolation::ReadCommitted)
            .expect("in range");
        assert_eq!(
            after.aborted,
            vec![Aborted {
                producer_id: 9,
                first_offset: 3,
                last_offset: 9
            }]
        );
        assert!(
            log.read(0, 1, true, Isolation::ReadCommitted)
                .expect("in range")
                .aborted
                .is_empty()
        );
    }

    #[test]
    fn the_start_may_lie_inside_a_batch_which_is_then_returned_whole() {
        let mut log = Log::default();
        append(&mut log, &three_records());
        append(&mut log, &three_records());
        assert_eq!(log.delete_before(4), Ok(4));
        assert_eq!(log.batches().count(), 1);
        assert_eq!(
            log.read(3, 1, true, Isolation::ReadUncommitted).err(),
            Some(E::OffsetOutOfRange)
        );
        let read = log
            .read(4, 1, true, Isolation::ReadUncommitted)
            .expect("in range");
        assert_eq!(
            Header::parse(&read.batches[0]).expect("header").base_offset,
            3
        );
        assert_eq!(log.delete_before(7), Err(E::OffsetOutOfRange));
        assert_eq!(log.delete_before(-1), Ok(6));
    }

    #[test]
    fn records_are_found_by_time() {
        let mut log = Log::default();
        for timestamp in [100, 200, 150] {
            append(
                &mut log,
                &Draft {
                    timestamp,
                    ..three_records()
                },
            );
        }
        let found = |ts| {
            log.find_by_time(ts, Isolation::ReadUncommitted)
                .map(|f| (f.offset, f.timestamp))
        };
        assert_eq!(found(0), Some((0, 100)));
        assert_eq!(found(102), Some((2, 102)));
        assert_eq!(found(103), Some((3, 200)));
        assert_eq!(found(203), None);
        assert_eq!(log.find_max_timestamp().map(|f| f.offset), Some(5));
    }

    #[test]
    fn epochs_end_where_the_next_began() {
        let mut log = Log::default();
        append(&mut log, &three_records());
        log.enter_epoch(1);
        log.enter_epoch(2);
        append(&mut log, &three_records());
        assert_eq!(log.end_of_epoch(0), (0, 3));
        assert_eq!(log.end_of_epoch(1), (0, 3));
        assert_eq!(log.end_of_epoch(2), (2, 6));
    }

    #[test]
    fn a_leader_change_loses_what_was_not_replicated_and_the_producers_memory_of_it() {
        let mut log = Log::default();
        let idempotent = |sequence| Draft {
            producer_id: 5,
            epoch: 0,
            sequence,
            ..three_records()
        };
        append(&mut log, &idempotent(0));
        log.hold_watermark(true);
        append(&mut log, &idempotent(3));
        assert_eq!((log.high_watermark(), log.end()), (3, 6));
        log.enter_epoch(1);
        assert_eq!((log.high_watermark(), log.end()), (3, 3));
        assert!(!append(&mut log, &idempotent(3)).duplicate);
    }
}
