//! What of a fetch answer is copied: the `read_committed` view of the source, batch by batch.
//!
//! Aborted transactions and control batches are left out without looking into a record: the answer
//! names the aborted producers with the first offset of each (KIP-98), and an abort marker ends one.
//! Batches that cannot pass as bytes are repacked here, and messages of older formats made into batches, so that what
//! comes out is ready to be stamped.

use std::collections::HashMap;

use bytes::Bytes;
use thiserror::Error;

use super::batch::header::{HeaderError, Marker, marker};
use super::batch::messages::{Entries, Entry, Gathered};
use super::batch::provenance::Provenance;
use super::batch::repack::{RepackError, Repacked, Want, digests, merge, repack, split};
use super::batch::{BatchHeader, filler};

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
    /// Offsets up to `next` hold nothing to copy (control, aborted, compacted away). The last batch of them carries
    /// `leader_epoch`.
    Pass { next: i64, leader_epoch: i32 },
}

impl Step {
    /// The source offset after this step.
    pub fn next(&self) -> i64 {
        match self {
            Self::Copy(chunk) => chunk.next,
            Self::Pass { next, .. } => *next,
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
    pub origin: Origin,
}

/// What the source's batch was, whatever became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Leader epoch that it carries.
    pub leader_epoch: i32,
    pub times: Times,
}

/// Which times its records may have at the destination, where they were copied before: a setting of the link, that may have been
/// another one then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Times {
    /// Their own.
    Own,
    /// Their own, or those at which these batches were appended at the source.
    Stamped(Vec<Bytes>),
    /// Not known any more: they are messages of an older format.
    Any,
}

impl Origin {
    fn of(header: &BatchHeader, batch: &Bytes) -> Self {
        Self {
            leader_epoch: header.leader_epoch,
            times: if header.is_log_append_time() {
                Times::Stamped(vec![batch.clone()])
            } else {
                Times::Own
            },
        }
    }

    fn of_messages() -> Self {
        Self {
            leader_epoch: -1,
            times: Times::Any,
        }
    }

    fn of_merged(chunks: &[Chunk], leader_epoch: i32) -> Self {
        let mut stamped: Vec<Bytes> = Vec::new();
        let mut times = Times::Own;
        for chunk in chunks {
            match &chunk.origin.times {
                Times::Own => {}
                Times::Stamped(batches) => stamped.extend(batches.iter().cloned()),
                Times::Any => times = Times::Any,
            }
        }
        if times == Times::Own && !stamped.is_empty() {
            times = Times::Stamped(stamped);
        }
        Self {
            leader_epoch,
            times,
        }
    }
}

impl Times {
    /// By source offset, the times that records may have besides the one that they are copied with now. `None`: any.
    ///
    /// # Errors
    /// Where the source's batches do not decode.
    pub fn others(&self) -> Result<Option<HashMap<i64, [i64; 2]>>, RepackError> {
        let batches = match self {
            Self::Own => &[][..],
            Self::Stamped(batches) => batches,
            Self::Any => return Ok(None),
        };
        let mut times = HashMap::new();
        for batch in batches {
            let header = BatchHeader::parse(batch).expect("it was parsed when it was read");
            for record in digests(&header, batch)? {
                let offset = header.base_offset + record.offset_delta;
                times.insert(offset, [record.timestamp, header.max_timestamp]);
            }
        }
        Ok(Some(times))
    }
}

impl Chunk {
    pub fn count(&self) -> i64 {
        i64::from(self.header.count)
    }

    /// The source offset of its first record.
    pub fn first(&self) -> i64 {
        let first = self.segments.iter().next();
        first.map_or(self.next, |(first, _)| *first)
    }

    /// The source offset after its last record, which may lie before [`next`](Self::next).
    pub fn end(&self) -> i64 {
        let last = self.segments.iter().next_back();
        last.map_or(self.next, |(first, count)| first + count)
    }

    /// The part of this chunk from source offset `from` on.
    ///
    /// # Errors
    /// Where the records do not decode.
    pub fn from(&self, from: i64) -> Result<Option<Self>, RepackError> {
        let before = |(first, count): &(i64, i64)| (from - first).clamp(0, *count);
        self.after(self.segments.iter().map(before).sum())
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
        let want = Want {
            // The chunk's own batch numbers its records densely; `written` is an index into it.
            from: self.header.base_offset + written,
            append_time: false,
            split_at_gaps: false,
            // Marked already, where it has to be.
            provenance: None,
        };
        let Some(rest) = repack(&self.header, &self.batch, want)?.pop() else {
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
            self.origin.clone(),
            vec![self.batch.clone()],
        )))
    }

    /// One chunk of several that follow each other, all of one codec.
    ///
    /// # Errors
    /// Where the records do not decode.
    pub fn merged(chunks: &[Self]) -> Result<Option<Self>, RepackError> {
        let [.., last] = chunks else { return Ok(None) };
        let batches = chunks.iter().map(|chunk| (&chunk.header, &chunk.batch));
        let Some(batch) = merge(batches)? else {
            return Ok(None);
        };
        let mut segments: Vec<(i64, i64)> = Vec::new();
        for (first, count) in chunks.iter().flat_map(|chunk| chunk.segments.iter()) {
            match segments.last_mut() {
                Some((before, known)) if *before + *known == *first => *known += count,
                _ => segments.push((*first, *count)),
            }
        }
        let whole = Repacked { batch, segments };
        let read_as = chunks.iter().map(|chunk| chunk.batch.clone()).collect();
        let origin = Origin::of_merged(chunks, last.origin.leader_epoch);
        let merged = Self::of_repacked(whole, last.next, origin, read_as);
        Ok(Some(merged))
    }

    /// The same records in about `pieces` chunks.
    ///
    /// # Errors
    /// Where the records do not decode.
    pub fn split(&self, pieces: usize) -> Result<Vec<Self>, RepackError> {
        let parts = split(&self.header, &self.batch, pieces)?;
        let mut offsets = self.segments.iter().copied();
        let mut left: Option<(i64, i64)> = None;
        let mut chunks = Vec::with_capacity(parts.len());
        for (batch, count) in parts {
            let mut segments = Vec::new();
            let mut missing = count;
            while missing > 0
                && let Some((first, has)) = left.take().or_else(|| offsets.next())
            {
                let taken = has.min(missing);
                segments.push((first, taken));
                missing -= taken;
                if has > taken {
                    left = Some((first + taken, has - taken));
                }
            }
            let next = segments
                .last()
                .map_or(self.next, |(first, count)| first + count);
            let part = Repacked { batch, segments };
            let read_as = vec![self.batch.clone()];
            chunks.push(Self::of_repacked(part, next, self.origin.clone(), read_as));
        }
        if let Some(last) = chunks.last_mut() {
            last.next = self.next;
        }
        Ok(chunks)
    }

    /// Records that take up `count` offsets from `first` on and stand for none of the source's.
    pub fn filler(first: i64, count: i64, keyed: bool, timestamp: i64) -> Self {
        let batch = filler::batch(count, keyed, timestamp);
        let header = BatchHeader::parse(&batch).expect("filler has a header");
        Self {
            batch,
            header,
            segments: Segments::one(first, count),
            next: first + count,
            origin: Origin {
                leader_epoch: -1,
                times: Times::Own,
            },
        }
    }

    /// `read_as` is what the records were decoded from: the memory that was reserved for it stands for the copy too.
    fn of_repacked(repacked: Repacked, next: i64, origin: Origin, read_as: Vec<Bytes>) -> Self {
        let header = BatchHeader::parse(&repacked.batch).expect("a repacked batch has a header");
        Self {
            batch: Bytes::from_owner(Copied {
                batch: repacked.batch,
                _read_as: read_as,
            }),
            header,
            segments: Segments(SegmentsForm::Many(repacked.segments)),
            next,
            origin,
        }
    }
}

/// A batch that was made anew, with what it was made of: that counts as held for as long as the copy is.
struct Copied {
    batch: Bytes,
    _read_as: Vec<Bytes>,
}

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.batch
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

/// How the source's batches are to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner<'a> {
    /// Repack batches that the source stamped on append with that time.
    pub append_time: bool,
    /// Records get the offsets that they have at the source, so a batch must not close a gap.
    pub same_offsets: bool,
    /// Mark each record with where it came from, and leave out what came from the destination.
    pub provenance: Option<&'a Provenance>,
}

/// The steps that a fetch answer gives from `position` on.
///
/// `aborted` are (producer id, first offset) as the answer lists them.
///
/// # Errors
/// Where something is damaged or does not decode.
pub fn select(
    records: Bytes,
    position: i64,
    aborted: &[(i64, i64)],
    manner: Manner<'_>,
) -> Result<Vec<Step>, SelectError> {
    let mut aborted = Aborted::new(aborted);
    let mut steps: Vec<Step> = Vec::new();
    let mut position = position;
    let mut messages: Option<Gathered> = None;
    for found in Entries::new(records.clone()) {
        match found? {
            Entry::Message(message) if message.next_offset() > position => {
                let gathered = messages.get_or_insert_with(|| {
                    Gathered::new(Want {
                        from: position,
                        append_time: manner.append_time,
                        split_at_gaps: manner.same_offsets,
                        provenance: manner.provenance,
                    })
                });
                gathered.push(&message, position)?;
                position = message.next_offset();
            }
            Entry::Batch(header, batch) if header.next_offset() > position => {
                if let Some(gathered) = messages.take() {
                    push_pieces(
                        &mut steps,
                        gathered.finish()?,
                        position,
                        Origin::of_messages(),
                        &records,
                    );
                }
                let leave_out = aborted.leaves_out(&header, &batch);
                if !leave_out && header.count > 0 {
                    push_batch(&mut steps, header, batch, position, manner)?;
                }
                position = header.next_offset();
                pass_to(&mut steps, position, header.leader_epoch);
            }
            Entry::Message(_) | Entry::Batch(..) => {}
        }
    }
    if let Some(gathered) = messages {
        push_pieces(
            &mut steps,
            gathered.finish()?,
            position,
            Origin::of_messages(),
            &records,
        );
    }
    Ok(steps)
}

fn push_batch(
    steps: &mut Vec<Step>,
    header: BatchHeader,
    batch: Bytes,
    position: i64,
    manner: Manner<'_>,
) -> Result<(), RepackError> {
    let append_time = manner.append_time && header.is_log_append_time();
    let as_it_is = !append_time && manner.provenance.is_none();
    if header.is_dense() && header.base_offset >= position && as_it_is {
        steps.push(Step::Copy(Chunk {
            segments: Segments::one(header.base_offset, i64::from(header.count)),
            next: header.next_offset(),
            origin: Origin::of(&header, &batch),
            header,
            batch,
        }));
        return Ok(());
    }
    let want = Want {
        from: position,
        append_time,
        split_at_gaps: manner.same_offsets,
        provenance: manner.provenance,
    };
    let pieces = repack(&header, &batch, want)?;
    let (next, origin) = (header.next_offset(), Origin::of(&header, &batch));
    push_pieces(steps, pieces, next, origin, &batch);
    Ok(())
}

/// Chunks of what was made of the records before `next`.
fn push_pieces(
    steps: &mut Vec<Step>,
    pieces: Vec<Repacked>,
    next: i64,
    origin: Origin,
    read_as: &Bytes,
) {
    let mut pieces = pieces.into_iter().peekable();
    while let Some(piece) = pieces.next() {
        let end = piece.segments.last().map(|(first, count)| first + count);
        // Offsets at the end that have no record are passed with the last piece.
        let next = match pieces.peek() {
            Some(_) => end.unwrap_or(next),
            None => next,
        };
        let read_as = vec![read_as.clone()];
        let origin = origin.clone();
        steps.push(Step::Copy(Chunk::of_repacked(piece, next, origin, read_as)));
    }
    pass_to(steps, next, origin.leader_epoch);
}

/// Passes the offsets up to `to` that no step covers.
fn pass_to(steps: &mut Vec<Step>, to: i64, epoch: i32) {
    match steps.last_mut() {
        Some(last) if last.next() >= to => {}
        Some(Step::Pass { next, leader_epoch }) => (*next, *leader_epoch) = (to, epoch),
        _ => steps.push(Step::Pass {
            next: to,
            leader_epoch: epoch,
        }),
    }
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

    const MANNER: Manner<'static> = Manner {
        append_time: true,
        same_offsets: false,
        provenance: None,
    };

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
                Step::Pass { next, .. } => (None, 0, *next),
            })
            .collect()
    }

    /// Without this, records of a transaction that was rolled back would appear in the replica.
    /// Bytes that say when they are given back.
    struct Reserved {
        bytes: Bytes,
        _memory: std::sync::Arc<()>,
    }

    impl AsRef<[u8]> for Reserved {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }

    /// Without this, a thousand partitions of compacted topics would hold far more than the budget for what is read.
    #[test]
    fn what_was_made_anew_holds_the_memory_of_what_it_was_made_of() {
        let memory = std::sync::Arc::new(());
        let mut plain = dense(0, 5);
        plain.remove(1);
        let gap = batch(&plain, Compression::None);
        let read = Bytes::from_owner(Reserved {
            bytes: gap,
            _memory: std::sync::Arc::clone(&memory),
        });
        let manner = Manner {
            append_time: false,
            same_offsets: false,
            provenance: None,
        };
        let mut steps = select(read, 0, &[], manner).expect("a batch");
        let Step::Copy(chunk) = steps.remove(0) else {
            panic!("{steps:?}");
        };
        let halves = chunk.split(2).expect("it decodes");
        let whole = Chunk::merged(&halves).expect("it decodes").expect("some");
        for part in [vec![chunk], halves, vec![whole]] {
            assert!(std::sync::Arc::strong_count(&memory) > 1, "{part:?}");
        }
        assert_eq!(std::sync::Arc::strong_count(&memory), 1);
    }

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
        let steps = select(log, 0, &[(7, 0)], MANNER).expect("selects");
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
            select(Bytes::from(bytes), 10, &[], MANNER)
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
            select(batch(&dense(10, 5), Compression::Zstd), 12, &[], MANNER).expect("selects");
        assert_eq!(summary(&steps), [(Some(12), 3, 15)]);
    }

    #[test]
    fn offsets_removed_by_compaction_are_no_records() {
        let mut records = dense(0, 6);
        records.remove(4);
        records.remove(1);
        let steps = select(batch(&records, Compression::None), 0, &[], MANNER).expect("selects");
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

    /// With the same offsets on both sides, gaps stay gaps.
    #[test]
    fn with_the_same_offsets_a_batch_is_copied_in_pieces_around_its_gaps() {
        let mut records = dense(0, 6);
        records.remove(4);
        records.remove(1);
        let manner = Manner {
            append_time: true,
            same_offsets: true,
            provenance: None,
        };
        let steps = select(batch(&records, Compression::Zstd), 0, &[], manner).expect("selects");
        assert_eq!(
            summary(&steps),
            [(Some(0), 1, 1), (Some(2), 2, 4), (Some(5), 1, 6)]
        );
        let Step::Copy(middle) = &steps[1] else {
            panic!("records to copy")
        };
        let rest = middle.from(3).expect("decodes").expect("one is left");
        assert_eq!((rest.first(), rest.end(), rest.next), (3, 4, 4));
        assert!(middle.from(4).expect("decodes").is_none());
    }

    #[test]
    fn the_cut_batch_at_the_end_waits_for_the_next_fetch() {
        let whole = batch(&dense(0, 2), Compression::None);
        let cut = batch(&dense(2, 2), Compression::None).slice(..70);
        let steps = select(join(&[whole, cut]), 0, &[], MANNER).expect("selects");
        assert_eq!(summary(&steps), [(Some(0), 2, 2)]);
    }

    #[test]
    fn batches_before_the_position_are_passed_over() {
        let log = join(&[
            batch(&dense(0, 2), Compression::None),
            batch(&dense(2, 2), Compression::None),
        ]);
        assert_eq!(
            summary(&select(log, 2, &[], MANNER).expect("selects")),
            [(Some(2), 2, 4)]
        );
    }
}
