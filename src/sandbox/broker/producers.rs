//! What a partition remembers of the producers that wrote to it: the check that makes a sequence
//! number a compare-and-append.
//!
//! Behaves as Kafka 3.9 and 4.1 were seen to: per producer id an epoch and the last five batches;
//! an id that is not known may start at any sequence, a known id's new epoch must start at 0; a
//! remembered batch is acknowledged again with its old offset, whatever its content; state expires
//! by the *record's* timestamp, not by the time of the write.

use std::collections::{BTreeMap, VecDeque};

use kafka_protocol::ResponseError as E;

use super::batch::{Header, sequence_after};

/// Batches remembered per producer id.
const REMEMBERED: usize = 5;
const NO_EPOCH: i16 = -1;

/// A batch that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: i64,
    pub timestamp: i64,
}

/// State of one producer id at one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    pub epoch: i16,
    pub coordinator_epoch: i32,
    /// Timestamp of the last batch or marker; what expiry looks at.
    pub last_timestamp: i64,
    /// First offset of its open transaction.
    pub open_since: Option<i64>,
    batches: VecDeque<Remembered>,
}

impl Producer {
    fn new() -> Self {
        Producer {
            epoch: NO_EPOCH,
            coordinator_epoch: -1,
            last_timestamp: -1,
            open_since: None,
            batches: VecDeque::new(),
        }
    }

    /// -1 when it has written nothing in its epoch.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }

    fn enter_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.batches.clear();
            self.epoch = epoch;
        }
    }
}

/// The answer to "may this batch be appended".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Append,
    /// Taken before; to be acknowledged with what was answered then.
    Duplicate(Remembered),
}

/// All producers of one partition.
#[derive(Clone, Debug, Default)]
pub struct Producers {
    by_id: BTreeMap<i64, Producer>,
}

impl Producers {
    /// Judges a data batch of a producer id.
    pub fn check(&self, header: &Header) -> Result<Verdict, (E, String)> {
        let Some(known) = self.by_id.get(&header.producer_id) else {
            return Ok(Verdict::Append);
        };
        let first = header.base_sequence;
        let last = header.last_sequence();
        if header.producer_epoch == known.epoch
            && let Some(batch) = known
                .batches
                .iter()
                .find(|b| b.first_sequence == first && b.last_sequence == last)
        {
            return Ok(Verdict::Duplicate(*batch));
        }
        if header.producer_epoch < known.epoch {
            return Err((
                E::InvalidProducerEpoch,
                format!(
                    "Epoch of producer {} is {}, which is smaller than the last seen epoch {}",
                    header.producer_id, header.producer_epoch, known.epoch
                ),
            ));
        }
        let expected = if header.producer_epoch != known.epoch {
            (known.epoch != NO_EPOCH).then_some(0)
        } else if known.batches.is_empty() {
            Some(0)
        } else {
            Some(sequence_after(known.last_sequence(), 1))
        };
        if expected.is_some_and(|expected| expected != first) {
            return Err((
                E::OutOfOrderSequenceNumber,
                format!(
                    "Out of order sequence number for producer {}: {first} (incoming seq. number), {} (current end sequence number)",
                    header.producer_id,
                    known.last_sequence()
                ),
            ));
        }
        if known.open_since.is_some() && !header.is_transactional() {
            return Err((
                E::InvalidTxnState,
                format!(
                    "Expected transactional write from producer {}",
                    header.producer_id
                ),
            ));
        }
        Ok(Verdict::Append)
    }

    /// Takes note of an appended data batch. `header` carries the offset it got.
    pub fn appended(&mut self, header: &Header) {
        let producer = self
            .by_id
            .entry(header.producer_id)
            .or_insert_with(Producer::new);
        producer.enter_epoch(header.producer_epoch);
        if producer.batches.len() == REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Remembered {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: header.base_offset,
            timestamp: header.max_timestamp,
        });
        producer.last_timestamp = header.max_timestamp;
        if header.is_transactional() && producer.open_since.is_none() {
            producer.open_since = Some(header.base_offset);
        }
    }

    /// Judges an end marker. Equal epochs are accepted, so markers are not deduplicated.
    pub fn check_marker(
        &self,
        producer_id: i64,
        epoch: i16,
        coordinator_epoch: i32,
    ) -> Result<(), E> {
        if producer_id < 0 {
            return Err(E::UnknownServerError);
        }
        match self.by_id.get(&producer_id) {
            Some(known) if epoch < known.epoch => Err(E::InvalidProducerEpoch),
            Some(known) if coordinator_epoch < known.coordinator_epoch => {
                Err(E::TransactionCoordinatorFenced)
            }
            _ => Ok(()),
        }
    }

    /// Takes note of an appended marker; returns the first offset of the transaction it ended.
    pub fn marked(
        &mut self,
        producer_id: i64,
        epoch: i16,
        coordinator_epoch: i32,
        now: i64,
    ) -> Option<i64> {
        let producer = self.by_id.entry(producer_id).or_insert_with(Producer::new);
        producer.enter_epoch(epoch);
        producer.coordinator_epoch = coordinator_epoch;
        producer.last_timestamp = now;
        producer.open_since.take()
    }

    /// Whether this id has a transaction open here.
    #[must_use]
    pub fn is_open(&self, producer_id: i64) -> bool {
        self.by_id
            .get(&producer_id)
            .is_some_and(|p| p.open_since.is_some())
    }

    /// First offset of the oldest open transaction.
    #[must_use]
    pub fn first_open_offset(&self) -> Option<i64> {
        self.by_id.values().filter_map(|p| p.open_since).min()
    }

    /// Forgets producers whose last record is older than `max_age_ms`, unless a transaction is open.
    pub fn expire(&mut self, now: i64, max_age_ms: i64) {
        self.by_id.retain(|_, producer| {
            producer.open_since.is_some() || now - producer.last_timestamp < max_age_ms
        });
    }

    pub fn forget_all(&mut self) {
        self.by_id.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, producer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(producer_id: i64, epoch: i16, sequence: i32, count: i32, offset: i64) -> Header {
        Header {
            base_offset: offset,
            length: 100,
            leader_epoch: 0,
            magic: 2,
            crc: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp: 5,
            max_timestamp: 5,
            producer_id,
            producer_epoch: epoch,
            base_sequence: sequence,
            count,
        }
    }

    /// Appends when the check allows it; the answer as a code, with duplicates as their offset.
    fn offer(producers: &mut Producers, header: Header) -> Result<Verdict, i16> {
        let verdict = producers
            .check(&header)
            .map_err(|(error, _)| error.code())?;
        if verdict == Verdict::Append {
            producers.appended(&header);
        }
        Ok(verdict)
    }

    fn duplicate_at(result: Result<Verdict, i16>) -> Option<i64> {
        match result {
            Ok(Verdict::Duplicate(batch)) => Some(batch.base_offset),
            _ => None,
        }
    }

    #[test]
    fn an_unknown_id_may_start_anywhere_and_then_must_continue() {
        let mut producers = Producers::default();
        assert_eq!(
            offer(&mut producers, header(1, 0, 77, 3, 0)),
            Ok(Verdict::Append)
        );
        assert_eq!(offer(&mut producers, header(1, 0, 81, 1, 3)), Err(45));
        assert_eq!(
            offer(&mut producers, header(1, 0, 80, 1, 3)),
            Ok(Verdict::Append)
        );
    }

    #[test]
    fn five_batches_are_remembered_and_the_sixth_back_is_out_of_order() {
        let mut producers = Producers::default();
        for n in 0..6 {
            assert_eq!(
                offer(&mut producers, header(1, 0, n, 1, i64::from(n))),
                Ok(Verdict::Append)
            );
        }
        assert_eq!(offer(&mut producers, header(1, 0, 0, 1, 9)), Err(45));
        for n in 1..6 {
            let again = offer(&mut producers, header(1, 0, n, 1, 9));
            assert_eq!(duplicate_at(again), Some(i64::from(n)));
        }
        // A range that overlaps differently is no duplicate.
        assert_eq!(offer(&mut producers, header(1, 0, 4, 2, 9)), Err(45));
    }

    #[test]
    fn sequences_wrap_inside_a_batch_and_its_duplicate_is_known() {
        let mut producers = Producers::default();
        let wrapping = header(1, 0, i32::MAX - 1, 4, 0);
        assert_eq!(offer(&mut producers, wrapping), Ok(Verdict::Append));
        assert_eq!(duplicate_at(offer(&mut producers, wrapping)), Some(0));
        assert_eq!(
            offer(&mut producers, header(1, 0, 2, 1, 4)),
            Ok(Verdict::Append)
        );
    }

    #[test]
    fn a_new_epoch_starts_at_zero_and_fences_the_old_one() {
        let mut producers = Producers::default();
        assert_eq!(
            offer(&mut producers, header(1, 0, 10, 1, 0)),
            Ok(Verdict::Append)
        );
        assert_eq!(offer(&mut producers, header(1, 1, 11, 1, 1)), Err(45));
        assert_eq!(
            offer(&mut producers, header(1, 1, 0, 1, 1)),
            Ok(Verdict::Append)
        );
        assert_eq!(offer(&mut producers, header(1, 0, 11, 1, 2)), Err(47));
    }

    #[test]
    fn a_marker_of_a_higher_epoch_fences_and_the_next_sequence_is_zero() {
        let mut producers = Producers::default();
        assert_eq!(
            offer(&mut producers, header(1, 0, 0, 5, 0)),
            Ok(Verdict::Append)
        );
        assert_eq!(producers.check_marker(1, 1, 0), Ok(()));
        producers.marked(1, 1, 0, 9);
        assert_eq!(offer(&mut producers, header(1, 0, 5, 1, 6)), Err(47));
        assert_eq!(offer(&mut producers, header(1, 1, 5, 1, 6)), Err(45));
        assert_eq!(
            offer(&mut producers, header(1, 1, 0, 1, 6)),
            Ok(Verdict::Append)
        );
    }

    #[test]
    fn a_marker_of_the_same_epoch_leaves_sequences_alone() {
        let mut producers = Producers::default();
        assert_eq!(
            offer(&mut producers, header(1, 0, 0, 5, 0)),
            Ok(Verdict::Append)
        );
        producers.marked(1, 0, 0, 9);
        assert_eq!(
            offer(&mut producers, header(1, 0, 5, 1, 6)),
            Ok(Verdict::Append)
        );
    }

    #[test]
    fn markers_are_guarded_by_epoch_and_coordinator_epoch() {
        let mut producers = Producers::default();
        producers.marked(1, 3, 8, 0);
        let cases = [
            (1, 2, 8, Err(47)),
            (1, 3, 7, Err(52)),
            (1, 3, 8, Ok(())),
            (-1, 0, 0, Err(-1)),
            (2, 0, 0, Ok(())),
        ];
        for (id, epoch, coordinator, expected) in cases {
            let got = producers
                .check_marker(id, epoch, coordinator)
                .map_err(|e| e.code());
            assert_eq!(got, expected, "{id} {epoch} {coordinator}");
        }
    }

    #[test]
    fn expiry_goes_by_the_records_time_and_then_any_sequence_is_accepted() {
        let mut producers = Producers::default();
        assert_eq!(
            offer(&mut producers, header(1, 0, 0, 1, 0)),
            Ok(Verdict::Append)
        );
        producers.expire(1_000, 2_000);
        assert_eq!(offer(&mut producers, header(1, 0, 9, 1, 1)), Err(45));
        producers.expire(1_000, 500);
        assert_eq!(
            offer(&mut producers, header(1, 0, 9, 1, 1)),
            Ok(Verdict::Append)
        );
    }

    #[test]
    fn plain_writes_are_refused_while_a_transaction_is_open() {
        let mut producers = Producers::default();
        let mut open = header(1, 0, 0, 1, 0);
        open.attributes = 1 << 4;
        assert_eq!(offer(&mut producers, open), Ok(Verdict::Append));
        assert_eq!(producers.first_open_offset(), Some(0));
        assert_eq!(offer(&mut producers, header(1, 0, 1, 1, 1)), Err(48));
        assert_eq!(producers.marked(1, 0, 0, 9), Some(0));
        assert_eq!(
            offer(&mut producers, header(1, 0, 1, 1, 2)),
            Ok(Verdict::Append)
        );
    }
}
