//! What of a fetch answer is copied: the `read_committed` view of the source, batch by batch.
//!
//! Aborted transactions and control batches are left out without looking into a record: the answer
//! names the aborted producers with the first offset of each (KIP-98), and an abort marker ends one.
//! Batches that cannot pass as bytes are repacked here, so that what comes out is ready to be stamped.

use bytes::Bytes;
use thiserror::Error;

use super::batch::BatchHeader;
use super::batch::header::{Batches, HeaderError, Marker, marker};
use super::batch::repack::{RepackError, Repacked, Want, repack};

/// Why a fetch answer cannot be copied.
#[derive(Debug, Error)]
pub enum SelectError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Repack(#[from] RepackError),
}

/// One step through the source log, in offset order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Records to copy.
    Copy(Chunk),
    /// Offsets up to `next` hold nothing to copy (control, aborted, compacted away).
    Pass { next: i64 },
}

impl Step {
    /// The source offset after this step.
    pub fn next(&self) -> i64 {
        match self {
            Self::Copy(chunk) => chunk.next,
            Self::Pass { next } => *next,
        }
    }

    /// Bytes that the step keeps in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Copy(chunk) => chunk.batch.len(),
            Self::Pass { .. } => 0,
        }
    }
}

/// One batch to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The source's batch as it was read, or a repacked one; without gaps either way.
    pub batch: Bytes,
    pub header: BatchHeader,
    /// Source offsets of its records as (first, count), ascending.
    pub segments: Segments,
    /// The source offset after it.
    pub next: i64,
    /// Leader epoch that the source's batch carries.
    pub leader_epoch: i32,
    /// Whether the records were encoded anew: then its bytes say nothing about the source's.
    pub repacked: bool,
}

impl Chunk {
    pub fn count(&self) -> i64 {
        i64::from(self.header.count)
    }

    /// The part of this chunk after its first `written` records.
    ///
    /// # Errors
    /// Where the records do not decode.
    pub fn after(&self, written: i64) -> Result<Option<Self>, RepackError> {
        let mut left = written;
        let first = self.segments.iter().find_map(|(first, count)| {
            if left < *count {
                Some(*first + left)
            } else {
                left -= *count;
                None
            }
        });
        let Some(first) = first else { return Ok(None) };
        // The chunk's own batch numbers its records densely; `written` is an index into it.
        let from = self.header.base_offset + written;
        let Some(rest) = repack(
            &self.header,
            &self.batch,
            Want {
                from,
                append_time: false,
            },
        )?
        else {
            return Ok(None);
        };
        let mut segments = Vec::new();
        for (start, count) in self.segments.iter() {
            let end = start + count;
            if end > first {
                let start = (*start).max(first);
                segments.push((start, end - start));
            }
        }
        Ok(Some(Self::of_repacked(
            Repacked {
                batch: rest.batch,
                segments,
            },
            self.next,
            self.leader_epoch,
        )))
    }

    fn of_repacked(repacked: Repacked, next: i64, leader_epoch: i32) -> Self {
        let header = BatchHeader::parse(&repacked.batch).expect("a repacked batch has a header");
        Self {
            batch: repacked.batch,
            header,
            segments: Segments(SegmentsForm::Many(repacked.segments)),
            next,
            leader_epoch,
            repacked: true,
        }
    }
}

/// Source offsets of a chunk's records; nearly always one segment, which needs no allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments(SegmentsForm);

#[derive(Clone, Debug, PartialEq, Eq)]
enum SegmentsForm {
    One((i64, i64)),
    Many(Vec<(i64, i64)>),
}

impl Segments {
    pub fn one(first: i64, count: i64) -> Self {
        Self(SegmentsForm::One((first, count)))
    }

    pub fn iter(&self) -> std::slice::Iter<'_, (i64, i64)> {
        match &self.0 {
            SegmentsForm::One(segment) => std::slice::from_ref(segment).iter(),
            SegmentsForm::Many(segments) => segments.iter(),
        }
    }
}

/// The steps that a fetch answer gives from `position` on.
///
/// `aborted` are (producer id, first offset) as the answer lists them. With `append_time`, batches that
/// the source stamped on append are repacked with that time.
///
/// # Errors
/// Where a batch is in an old format or does not decode.
pub fn select(
    records: Bytes,
    position: i64,
    aborted: &[(i64, i64)],
    append_time: bool,
) -> Result<Vec<Step>, SelectError> {
    let mut aborted = Aborted::new(aborted);
    let mut steps: Vec<Step> = Vec::new();
    let mut position = position;
    for found in Batches::new(records) {
        let (header, batch) = found?;
        if header.next_offset() <= position {
            continue;
        }
        let leave_out = aborted.leaves_out(&header, &batch);
        let chunk = if leave_out || header.count == 0 {
            None
        } else {
            chunk_of(header, batch, position, append_time)?
        };
        position = header.next_offset();
        match (chunk, steps.last_mut()) {
            (Some(chunk), _) => steps.push(Step::Copy(chunk)),
            (None, Some(Step::Pass { next })) => *next = position,
            (None, _) => steps.push(Step::Pass { next: position }),
        }
    }
    Ok(steps)
}

fn chunk_of(
    header: BatchHeader,
    batch: Bytes,
    position: i64,
    append_time: bool,
) -> Result<Option<Chunk>, RepackError> {
    let append_time = append_time && header.is_log_append_time();
    if header.is_dense() && header.base_offset >= position && !append_time {
        return Ok(Some(Chunk {
            segments: Segments::one(header.base_offset, i64::from(header.count)),
            next: header.next_offset(),
            leader_epoch: header.leader_epoch,
            repacked: false,
            header,
            batch,
        }));
    }
    let repacked = repack(
        &header,
        &batch,
        Want {
            from: position,
            append_time,
        },
    )?;
    Ok(repacked
        .map(|repacked| Chunk::of_repacked(repacked, header.next_offset(), header.leader_epoch)))
}

/// The producers whose open transaction is known to end in an abort.
struct Aborted {
    /// Not yet reached, by first offset descending.
    ahead: Vec<(i64, i64)>,
    active: Vec<i64>,
}

impl Aborted {
    fn new(aborted: &[(i64, i64)]) -> Self {
        let mut ahead = aborted.to_vec();
        ahead.sort_unstable_by_key(|(_, first)| std::cmp::Reverse(*first));
        Self {
            ahead,
            active: Vec::new(),
        }
    }

    fn leaves_out(&mut self, header: &BatchHeader, batch: &[u8]) -> bool {
        while let Some((producer, _)) = self
            .ahead
            .pop_if(|(_, first)| *first <= header.last_offset())
        {
            self.active.push(producer);
        }
        if header.is_control() {
            if marker(batch) == Marker::Abort {
                self.active
                    .retain(|producer| *producer != header.producer_id);
            }
            return true;
        }
        header.is_transactional() && self.active.contains(&header.producer_id)
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use kafka_protocol::records::Compression;

    use super::super::batch::samples::{batch, dense, encode};
    use super::*;

    fn marker_batch(offset: i64, producer_id: i64, kind: i16) -> Bytes {
        let mut plain = dense(offset, 1);
        let mut key = BytesMut::new();
        key.put_i16(0);
        key.put_i16(kind);
        plain[0].key = Some(key.freeze());
        let mut bytes = encode(&plain, Compression::None, true, producer_id).to_vec();
        let attributes = i16::from_be_bytes([bytes[21], bytes[22]]) | (1 << 5);
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        Bytes::from(bytes)
    }

    fn join(parts: &[Bytes]) -> Bytes {
        Bytes::from(parts.concat())
    }

    fn summary(steps: &[Step]) -> Vec<(Option<i64>, i64, i64)> {
        steps
            .iter()
            .map(|step| match step {
                Step::Copy(chunk) => (
                    chunk.segments.iter().next().map(|(first, _)| *first),
                    chunk.count(),
                    chunk.next,
                ),
                Step::Pass { next } => (None, 0, *next),
            })
            .collect()
    }

    /// Without this, records of a transaction that was rolled back would appear in the replica.
    #[test]
    fn aborted_transactions_and_markers_are_left_out() {
        let log = join(&[
            encode(&dense(0, 2), Compression::None, true, 7), // aborted
            encode(&dense(2, 3), Compression::None, true, 8), // committed
            batch(&dense(5, 1), Compression::Lz4),            // no transaction
            marker_batch(6, 7, 0),
            encode(&dense(7, 2), Compression::None, true, 7), // the next one of 7 commits
            marker_batch(9, 8, 1),
            marker_batch(10, 7, 1),
        ]);
        let steps = select(log, 0, &[(7, 0)], true).expect("selects");
        assert_eq!(
            summary(&steps),
            [
                (None, 0, 2),
                (Some(2), 3, 5),
                (Some(5), 1, 6),
                (None, 0, 7),
                (Some(7), 2, 9),
                (None, 0, 11)
            ]
        );
    }

    /// Counts like these would be added to offsets and sequence numbers.
    #[test]
    fn nonsense_in_a_header_is_an_error() {
        let spoilt = |at: usize, with: &[u8]| {
            let mut bytes = batch(&dense(10, 3), Compression::None).to_vec();
            bytes[at..at + with.len()].copy_from_slice(with);
            select(Bytes::from(bytes), 10, &[], true)
        };
        assert!(spoilt(57, &(-1i32).to_be_bytes()).is_err());
        assert!(spoilt(57, &4i32.to_be_bytes()).is_err());
        assert!(spoilt(23, &(-2i32).to_be_bytes()).is_err());
        assert!(spoilt(0, &(i64::MAX - 1).to_be_bytes()).is_err());
        assert!(spoilt(0, &(-5i64).to_be_bytes()).is_err());
    }

    #[test]
    fn a_start_inside_a_batch_takes_the_rest_of_it() {
        let steps =
            select(batch(&dense(10, 5), Compression::Zstd), 12, &[], true).expect("selects");
        assert_eq!(summary(&steps), [(Some(12), 3, 15)]);
    }

    #[test]
    fn offsets_removed_by_compaction_are_no_records() {
        let mut records = dense(0, 6);
        records.remove(4);
        records.remove(1);
        let steps = select(batch(&records, Compression::None), 0, &[], true).expect("selects");
        let Step::Copy(chunk) = &steps[0] else {
            panic!("records to copy")
        };
        assert_eq!(
            chunk.segments.iter().copied().collect::<Vec<_>>(),
            [(0, 1), (2, 2), (5, 1)]
        );
        assert_eq!(chunk.next, 6);
        let rest = chunk
            .after(2)
            .expect("decodes")
            .expect("two records are left");
        assert_eq!(
            rest.segments.iter().copied().collect::<Vec<_>>(),
            [(3, 1), (5, 1)]
        );
        assert_eq!(rest.count(), 2);
    }

    #[test]
    fn the_cut_batch_at_the_end_waits_for_the_next_fetch() {
        let whole = batch(&dense(0, 2), Compression::None);
        let cut = batch(&dense(2, 2), Compression::None).slice(..70);
        let steps = select(join(&[whole, cut]), 0, &[], true).expect("selects");
        assert_eq!(summary(&steps), [(Some(0), 2, 2)]);
    }

    #[test]
    fn batches_before_the_position_are_passed_over() {
        let log = join(&[
            batch(&dense(0, 2), Compression::None),
            batch(&dense(2, 2), Compression::None),
        ]);
        assert_eq!(
            summary(&select(log, 2, &[], true).expect("selects")),
            [(Some(2), 2, 4)]
        );
    }
}
