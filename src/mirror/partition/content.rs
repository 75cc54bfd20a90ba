//! Whether what lies at the destination's end is what the source has there.
//!
//! Where a batch was copied as it is, its payload's checksum says so without looking into a record. Batches that were merged,
//! split or compressed anew have other boundaries and other bytes: then records are compared one by one.
//!
//! Thousands of partitions may wait for their source at once, so of a large batch only digests are kept.

use bytes::Bytes;

use super::messages::TailBatch;
use crate::mirror::batch::BatchHeader;
use crate::mirror::batch::header::ContentKey;
use crate::mirror::batch::repack::{Digest, RepackError, digests};
use crate::mirror::select::Chunk;

/// The destination's last data batch, to be found again in what the source gives.
#[derive(Debug)]
pub(super) struct TailCheck {
    /// Where it begins, in the numbers that records are found by: counts of records, or offsets that are equal
    /// on both sides.
    first: i64,
    /// After its last record.
    end: i64,
    header: BatchHeader,
    key: ContentKey,
    records: Records,
}

/// A batch of no more bytes is kept as it is.
const KEPT_WHOLE: usize = 4 << 10;

#[derive(Debug)]
enum Records {
    Whole(Bytes),
    /// By offset delta, ascending.
    Digests(Vec<Digest>),
}

/// How many records the source may have in a stretch of which the destination's count says how many were written.
#[derive(Clone, Copy, Debug)]
pub(super) struct CountCheck {
    /// Source offsets, which are those of the destination.
    pub from: i64,
    pub to: i64,
    /// Records before the stretch.
    pub count: i64,
    /// Those in the stretch that the source has not shown yet.
    pub left: i64,
}

impl CountCheck {
    /// Counts records at these offsets. The first that is one too many; fewer are none, because a cleaner may have taken some.
    pub fn exceeded_at(&mut self, offsets: impl Iterator<Item = i64>) -> Option<i64> {
        for offset in offsets.filter(|offset| (self.from..self.to).contains(offset)) {
            self.left -= 1;
            if self.left < 0 {
                return Some(offset);
            }
        }
        None
    }
}

/// What a comparison shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// The chunk lies before the batch.
    NotReached,
    Same,
    Other,
}

impl TailCheck {
    /// A check that may take a while.
    ///
    /// # Errors
    /// Where records do not decode.
    pub(super) fn new(tail: &TailBatch, first: i64) -> Result<Self, RepackError> {
        let mut check = Self::now(tail, first);
        if tail.batch.len() > KEPT_WHOLE {
            check.digests()?;
        } else {
            // It may be a small part of what was read.
            check.records = Records::Whole(Bytes::copy_from_slice(&tail.batch));
        }
        Ok(check)
    }

    /// A check that is made at once.
    pub(super) fn now(tail: &TailBatch, first: i64) -> Self {
        Self {
            first,
            end: first + i64::from(tail.header.last_offset_delta) + 1,
            header: tail.header,
            key: tail.header.content_key(&tail.batch),
            records: Records::Whole(tail.batch.clone()),
        }
    }

    /// After the batch's last record.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    #[cfg(test)]
    pub(super) fn holds_batch(&self) -> bool {
        matches!(self.records, Records::Whole(_))
    }

    fn digests(&mut self) -> Result<&[Digest], RepackError> {
        if let Records::Whole(batch) = &self.records {
            self.records = Records::Digests(digests(&self.header, batch)?);
        }
        match &self.records {
            Records::Digests(digests) => Ok(digests),
            Records::Whole(_) => unreachable!("they were made of it just now"),
        }
    }

    /// Compares the chunk's records, whose numbers are `numbers`, with those of the batch. A record that the
    /// destination's cleaner took out is no difference, nor is the other time of one that the source has stamped: the link may have
    /// asked for that when it was copied.
    ///
    /// # Errors
    /// Where records do not decode.
    pub(super) fn compare(
        &mut self,
        chunk: &Chunk,
        numbers: impl Iterator<Item = i64> + Clone,
    ) -> Result<Compared, RepackError> {
        let (mut low, mut high) = (i64::MAX, i64::MIN);
        for number in numbers.clone() {
            low = low.min(number);
            high = high.max(number);
        }
        if high < self.first {
            return Ok(Compared::NotReached);
        }
        let is_whole = low == self.first && high + 1 == self.end && self.header.is_dense();
        if is_whole && chunk.header.content_key(&chunk.batch) == self.key {
            return Ok(Compared::Same);
        }
        let ours = digests(&chunk.header, &chunk.batch)?;
        let (first, end) = (self.first, self.end);
        let was_cleaned = !self.header.is_dense();
        let theirs = self.digests()?;
        let mut other_times: Vec<(i64, i64)> = Vec::new();
        let offsets = chunk
            .segments
            .iter()
            .flat_map(|(first, count)| *first..first + count);
        for ((number, ours), offset) in numbers.zip(ours).zip(offsets) {
            if !(first..end).contains(&number) {
                continue;
            }
            match theirs.binary_search_by_key(&(number - first), |it| it.offset_delta) {
                Ok(at) if theirs[at].content != ours.content => return Ok(Compared::Other),
                Ok(at) if theirs[at].timestamp != ours.timestamp => {
                    other_times.push((offset, theirs[at].timestamp));
                }
                Err(_) if !was_cleaned => return Ok(Compared::Other),
                Ok(_) | Err(_) => {}
            }
        }
        if other_times.is_empty() {
            return Ok(Compared::Same);
        }
        let same = chunk.origin.times.others()?.is_none_or(|may_have| {
            let mut found = other_times.iter();
            found.all(|(offset, time)| may_have.get(offset).is_some_and(|may| may.contains(time)))
        });
        Ok(if same {
            Compared::Same
        } else {
            Compared::Other
        })
    }
}
