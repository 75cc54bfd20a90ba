//! What one partition may take of the memory that all share.
//!
//! Two questions are decided here, apart from any socket. How many bytes a partition may ask for: as many as keep its
//! line full, see [`Pace`]. And whether there is memory for them: see [`allowance`]. A partition whose destination is
//! slow, or away, keeps what it fetched. What it may keep becomes less as memory does, so that something is left for the
//! others, and a part of the memory is left to those that hold next to nothing, which are the ones that keep up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::throttle::Throttle;
use crate::kafka::{Buffers, Reservation};
use bytes::Bytes;

/// Bytes of one partition in one answer: once its end was reached, from a near source, and from a distant one.
const LEAST: usize = 256 << 10;
const NEAR: usize = 1 << 20;
pub const MOST: usize = 16 << 20;
/// A source that answers within this time is near enough to be asked often.
const NEARBY: Duration = Duration::from_millis(20);
/// The least that is worth asking for. Small batches come whole in it; a larger one comes alone (KIP-74).
const SMALLEST: usize = 64 << 10;

/// The bytes that a partition may ask for now: `wanted` or fewer, or none, in which case it waits. `held` is what it
/// holds already, `free` what is left of the memory, `limit` all of it, and `partitions` are as many as share it.
///
/// A quarter is kept for small shares, one for each partition. Of the rest a partition may hold as much as is
/// left (dynamic thresholds: Choudhury and Hahne, 1998): with `n` partitions that are stuck each comes to hold one part
/// in `n + 1`, and the last part stays free for whoever is not.
pub fn allowance(
    wanted: usize,
    held: usize,
    free: usize,
    limit: usize,
    partitions: usize,
) -> Option<usize> {
    let kept = limit / 4;
    let small = (kept / partitions.max(1)).max(SMALLEST);
    let may_hold = free.saturating_sub(kept).max(small);
    let allowed = may_hold.saturating_sub(held).min(wanted);
    (allowed >= SMALLEST.min(wanted)).then_some(allowed)
}

/// How much is asked for at once.
///
/// One request of a partition is on its way at a time, because the next offset is known only from the answer. So what
/// a partition gets is its limit once in a round trip, and a distant source has to be asked for more. The sign of it is
/// a full answer of a distant source that found little left of the one before. A partition that is read to its end
/// is asked for little, so that waiting for records reserves next to no memory.
#[derive(Debug)]
pub struct Pace {
    limit: usize,
    last: Last,
}

/// How the last request ended, as far as it was not drawn a conclusion from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Unknown,
    /// The end of the log was reached; whether without a record.
    End {
        quiet: bool,
    },
    /// The answer was full.
    Full(Found),
    /// There were records, but the answer had no room for the first batch.
    TooSmall,
}

/// A partition's part of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// The bytes that were asked for, and those that came.
    pub asked: usize,
    pub bytes: usize,
    /// Whether the log goes on after the offset that was asked for.
    pub more: bool,
    /// What the partition still held when the answer came.
    pub held: usize,
    /// How long the source's broker takes to answer at least.
    pub round_trip: Duration,
}

/// What a full answer found when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Little was left of what came before, although the source is not near.
    Starved,
    Fed,
    /// Much more than one answer was still there.
    Sated,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            limit: NEAR,
            last: Last::Unknown,
        }
    }
}

impl Pace {
    /// The partition asks again: how many bytes.
    pub fn asks(&mut self) -> usize {
        match self.last {
            Last::Unknown => {}
            Last::End { .. } => self.limit = LEAST,
            Last::TooSmall => self.limit = (self.limit * 2).min(MOST),
            Last::Full(_) if self.limit < NEAR => self.limit *= 2,
            Last::Full(Found::Starved) => self.limit = (self.limit * 2).min(MOST),
            Last::Full(Found::Fed) => {}
            Last::Full(Found::Sated) => self.limit = (self.limit / 2).max(NEAR),
        }
        if !matches!(self.last, Last::End { .. }) {
            self.last = Last::Unknown;
        }
        self.limit
    }

    /// An answer came.
    pub fn answered(&mut self, answer: Piece) {
        self.last = if answer.bytes == 0 {
            if answer.more {
                Last::TooSmall
            } else {
                Last::End { quiet: true }
            }
        } else if answer.bytes < answer.asked / 4 * 3 {
            // Or others filled the answer; then it is soon asked for more again.
            Last::End { quiet: false }
        } else if answer.asked < self.limit {
            Last::Unknown
        } else if answer.held > self.limit * 3 {
            Last::Full(Found::Sated)
        } else if answer.held < self.limit / 2 * 3 && answer.round_trip > NEARBY {
            Last::Full(Found::Starved)
        } else {
            Last::Full(Found::Fed)
        };
    }

    /// Whether there was nothing to read the last time.
    pub fn is_quiet(&self) -> bool {
        self.last == Last::End { quiet: true }
    }
}

/// One partition's part of the memory, and its pace.
#[derive(Debug)]
pub struct Share {
    buffers: Arc<Buffers>,
    throttle: Arc<Throttle>,
    held: AtomicUsize,
    pace: Mutex<Pace>,
    ended_at: Mutex<Option<(u64, i64)>>,
}

impl Share {
    pub fn new(buffers: Arc<Buffers>, throttle: Arc<Throttle>) -> Arc<Self> {
        buffers.join();
        Arc::new(Self {
            buffers,
            throttle,
            held: AtomicUsize::new(0),
            pace: Mutex::default(),
            ended_at: Mutex::default(),
        })
    }

    /// Bytes that were fetched for the partition and are not yet dropped.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// Of the link that the partition belongs to.
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// As [`allowance`] says.
    pub fn allowance(&self, wanted: usize) -> Option<usize> {
        let buffers = &self.buffers;
        let held = self.held();
        allowance(
            wanted,
            held,
            buffers.free(),
            buffers.limit(),
            buffers.members(),
        )
    }

    /// The pace, for one look or change.
    pub fn pace<T>(&self, with: impl FnOnce(&mut Pace) -> T) -> T {
        with(&mut self.pace.lock().expect("held for arithmetic only"))
    }

    /// The attempt and the offset at which the partition was told last that there is nothing to read, if that was
    /// the last that it was told.
    pub fn ended_at(&self) -> Option<(u64, i64)> {
        *self.ended_at.lock().expect("held for a look only")
    }

    pub fn set_ended_at(&self, end: Option<(u64, i64)>) {
        *self.ended_at.lock().expect("held for a change only") = end;
    }

    /// `records`, counted as held until the last slice of them is dropped. `answer` is the size of the answer they lie
    /// in: a small part of a large one is copied out, so that it does not keep all of it in memory.
    pub fn hold(self: &Arc<Self>, records: Bytes, answer: usize) -> Bytes {
        if records.is_empty() {
            return Bytes::new();
        }
        let small = records.len() < answer / 16;
        let copy = small.then(|| self.buffers.reserve(records.len())).flatten();
        let records = if copy.is_some() {
            Bytes::copy_from_slice(&records)
        } else {
            records
        };
        self.held.fetch_add(records.len(), Ordering::AcqRel);
        Bytes::from_owner(Held {
            records,
            _copy: copy,
            share: Arc::clone(self),
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.buffers.leave();
    }
}

/// Records that a partition holds.
struct Held {
    records: Bytes,
    /// The memory they were copied into.
    _copy: Option<Reservation>,
    share: Arc<Share>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.records
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = self.records.len();
        self.records = Bytes::new();
        self.share.held.fetch_sub(bytes, Ordering::AcqRel);
        self.share.buffers.tell_freed();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MB: usize = 1 << 20;
    const LIMIT: usize = 256 * MB;

    /// Partitions that never give anything back, until none of them gets any more. What each holds.
    fn stuck(partitions: usize, of: usize) -> (Vec<usize>, usize) {
        let mut held = vec![0; partitions];
        let mut free = LIMIT;
        loop {
            let mut none = true;
            for held in &mut held {
                if let Some(bytes) = allowance(MB, *held, free, LIMIT, of)
                    && bytes <= free
                {
                    *held += bytes;
                    free -= bytes;
                    none = false;
                }
            }
            if none {
                return (held, free);
            }
        }
    }

    /// Without this, mirrors of a destination that is down would stop those of all others.
    #[test]
    fn partitions_that_are_stuck_leave_memory_to_others() {
        for partitions in [1, 4, 50, 999] {
            let (held, free) = stuck(partitions, partitions + 1);
            let most = held.iter().max().expect("there are some");
            assert!(*most <= LIMIT / 2, "{partitions}: {most}");
            let another = allowance(MB, 0, free, LIMIT, partitions + 1).expect("a share");
            assert!(
                SMALLEST <= another && another <= free,
                "{partitions}: {free}"
            );
        }
    }

    /// Without this, a distant source would be read with a part of the memory only.
    #[test]
    fn few_partitions_get_most_of_the_memory() {
        let (held, _) = stuck(4, 4);
        assert!(held.iter().sum::<usize>() > LIMIT / 2, "{held:?}");
    }

    proptest! {
        /// Whatever is held: nobody gets more than was wanted, and nobody less than what is worth a request.
        #[test]
        fn an_allowance_is_worth_a_request(
            wanted in 1_usize..64 * MB,
            held in 0_usize..LIMIT,
            free in 0_usize..=LIMIT,
            partitions in 0_usize..20_000,
        ) {
            match allowance(wanted, held, free, LIMIT, partitions) {
                Some(bytes) => prop_assert!(bytes <= wanted && bytes >= wanted.min(SMALLEST)),
                None => prop_assert!(held > 0),
            }
        }
    }

    fn piece(asked: usize, bytes: usize) -> Piece {
        Piece {
            asked,
            bytes,
            more: bytes > 0,
            held: 0,
            round_trip: Duration::from_millis(2),
        }
    }

    /// Full answers that took so long and found so much. What is asked for in the end.
    fn paced(pace: &mut Pace, rounds: u32, ms: u64, held: usize) -> usize {
        for _ in 0..rounds {
            let asked = pace.asks();
            pace.answered(Piece {
                held,
                round_trip: Duration::from_millis(ms),
                ..piece(asked, asked)
            });
        }
        pace.asks()
    }

    /// Without this, four partitions would get 40 MB/s over a round trip of 100 ms.
    #[test]
    fn a_distant_source_is_asked_for_more() {
        let mut pace = Pace::default();
        assert_eq!(paced(&mut pace, 5, 100, 1000), MOST);
        // What is on its way to a destination as distant as the source is no reason to ask for less.
        assert_eq!(paced(&mut pace, 5, 100, MOST), MOST);
        // A slow destination is.
        assert_eq!(paced(&mut pace, 5, 100, 4 * MOST), NEAR);
        assert_eq!(paced(&mut Pace::default(), 5, 2, 0), NEAR);
    }

    /// Without this, thousands of partitions that only wait for records would reserve the memory of those that have some.
    #[test]
    fn who_waits_for_records_asks_for_little() {
        let mut pace = Pace::default();
        paced(&mut pace, 5, 100, 0);
        pace.answered(piece(MOST, 1000));
        assert!(!pace.is_quiet());
        assert_eq!(pace.asks(), LEAST);
        pace.answered(piece(LEAST, 0));
        assert!(pace.is_quiet());
        // It falls behind again.
        assert_eq!(paced(&mut pace, 4, 2, 0), NEAR);
        assert!(!pace.is_quiet());
    }

    /// Without this, a batch larger than what is asked for would come only when its partition is alone.
    #[test]
    fn a_batch_that_found_no_room_is_asked_for_with_more() {
        let mut pace = Pace::default();
        let asked = pace.asks();
        pace.answered(Piece {
            more: true,
            ..piece(asked, 0)
        });
        assert_eq!(pace.asks(), 2 * asked);
    }

    /// Without this, a few small batches that wait for a slow destination would hold whole answers.
    #[test]
    fn a_small_part_of_an_answer_does_not_keep_it_in_memory() {
        let buffers = Buffers::new(LIMIT);
        let share = Share::new(Arc::clone(&buffers), Arc::default());
        let answer = Bytes::from(vec![0; MB]);
        let small = share.hold(answer.slice(..1000), answer.len());
        let large = share.hold(answer.slice(..500_000), answer.len());
        assert!(!answer.as_ptr_range().contains(&small.as_ptr()));
        assert!(answer.as_ptr_range().contains(&large.as_ptr()));
        assert_eq!(buffers.free(), LIMIT - 1000);
        assert_eq!(share.held.load(Ordering::Acquire), 501_000);
        drop((small, large));
        assert_eq!(buffers.free(), LIMIT);
        assert_eq!(share.held.load(Ordering::Acquire), 0);
    }
}
