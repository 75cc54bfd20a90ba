//! Memory for large answers: a budget of bytes, and buffers that are used again.
//!
//! Whoever asks for records reserves what the answer may have before the request leaves. The answer is read into a
//! buffer under that reservation, and the bytes go back when the last slice of it is dropped. So what the budget says
//! is what is held, however many partitions there are and wherever their batches wait.
//!
//! A broker may send more than was asked for: a batch that is larger than every limit comes whole (KIP-74). Where the
//! budget has no room for that, one such answer at a time may exceed it; others wait in their sockets. Memory is bounded
//! by the budget and the largest batch then, and nobody waits for ever: that one answer leaves without help of others.
//!
//! Buffers that are free again are kept for the next answers. Fresh memory costs a page fault for every 4 KiB, which is
//! a seventh of all time where records are only passed on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::watch;

/// Large buffers have a multiple of this; smaller ones are not kept.
const GRAIN: usize = 64 << 10;
/// Free buffers that are kept, together.
const KEPT: usize = 16 << 20;

/// A budget of bytes and the buffers in it.
#[derive(Debug)]
pub struct Buffers {
    limit: usize,
    state: Mutex<State>,
    /// Counts what was given back, for those who wait for it.
    freed: watch::Sender<u64>,
    /// How many share the budget.
    members: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// Reserved or in use.
    taken: usize,
    /// Whether an answer is held that exceeds the budget.
    exceeded: bool,
    idle: Vec<Vec<u8>>,
    idle_bytes: usize,
}

impl Buffers {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            state: Mutex::default(),
            freed: watch::Sender::new(0),
            members: AtomicUsize::new(0),
        })
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many share the budget, as they said themselves.
    pub fn members(&self) -> usize {
        self.members.load(Ordering::Relaxed)
    }

    pub fn join(&self) {
        self.members.fetch_add(1, Ordering::Relaxed);
    }

    pub fn leave(&self) {
        self.members.fetch_sub(1, Ordering::Relaxed);
    }

    /// Bytes that nobody has reserved.
    pub fn free(&self) -> usize {
        self.limit.saturating_sub(self.lock().taken)
    }

    /// Takes `bytes` out of the budget, or nothing where it has fewer.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let bytes = rounded(bytes);
        let mut state = self.lock();
        if state.taken + bytes > self.limit {
            return None;
        }
        state.taken += bytes;
        Some(Reservation {
            buffers: Arc::clone(self),
            bytes,
            exceeds: false,
        })
    }

    /// Changes whenever something was given back.
    pub fn freed(&self) -> watch::Receiver<u64> {
        self.freed.subscribe()
    }

    /// Wakes those who wait for memory, or for a partition to hold less of it.
    pub fn tell_freed(&self) {
        self.freed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

/// Bytes taken out of the budget; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    buffers: Arc<Buffers>,
    bytes: usize,
    exceeds: bool,
}

impl Reservation {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A buffer of `size` bytes under this reservation; what is not needed goes back at once. Waits where `size` is
    /// more than was reserved, the budget lacks the rest, and another answer exceeds it already.
    pub(super) async fn into_buffer(mut self, size: usize) -> Buffer {
        let needed = rounded(size);
        let mut freed = self.buffers.freed();
        while !self.covers(needed) {
            // The sender lives in what this holds, so this only ends with a change.
            let _changed = freed.changed().await;
        }
        let mut state = self.buffers.lock();
        let idle = state.take_idle(needed, self.bytes);
        let spare = self
            .bytes
            .saturating_sub(idle.as_ref().map_or(needed, Vec::capacity));
        state.taken -= spare;
        drop(state);
        if spare > 0 {
            self.bytes -= spare;
            self.buffers.tell_freed();
        }
        Buffer {
            bytes: idle.unwrap_or_else(|| Vec::with_capacity(needed)),
            reservation: self,
        }
    }

    /// Whether there is room for `needed` bytes now. What exceeds the budget is not counted in it, so that others are not
    /// held up for as long as it is there.
    fn covers(&mut self, needed: usize) -> bool {
        let Some(more) = needed.checked_sub(self.bytes) else {
            return true;
        };
        let mut state = self.buffers.lock();
        if state.taken + more <= self.buffers.limit {
            state.taken += more;
            self.bytes = needed;
            return true;
        }
        self.exceeds = !std::mem::replace(&mut state.exceeded, true);
        self.exceeds
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.buffers.lock();
        state.taken -= self.bytes;
        state.exceeded &= !self.exceeds;
        drop(state);
        self.buffers.tell_freed();
    }
}

impl State {
    /// A free buffer of `least` to `most` bytes, the one last used: it is the likeliest to be in a cache.
    fn take_idle(&mut self, least: usize, most: usize) -> Option<Vec<u8>> {
        let most = most.min(2 * least);
        let fits = |buffer: &Vec<u8>| (least..=most).contains(&buffer.capacity());
        let buffer = self.idle.remove(self.idle.iter().rposition(fits)?);
        self.idle_bytes -= buffer.capacity();
        Some(buffer)
    }

    fn keep(&mut self, mut buffer: Vec<u8>) {
        let size = buffer.capacity();
        if !(GRAIN..=KEPT / 4).contains(&size) {
            return;
        }
        buffer.clear();
        self.idle_bytes += size;
        self.idle.push(buffer);
        while self.idle_bytes > KEPT {
            // The one that was not used for longest.
            self.idle_bytes -= self.idle.remove(0).capacity();
        }
    }
}

/// The buffer for an answer of `bytes`: small ones are exact, large ones have few sizes, so that they fit again.
fn rounded(bytes: usize) -> usize {
    if bytes < GRAIN {
        bytes
    } else {
        bytes.next_multiple_of(GRAIN)
    }
}

/// Memory that an answer is read into.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    reservation: Reservation,
}

impl Buffer {
    /// To be filled; it has the capacity that was asked for.
    pub(super) fn space(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What was read, to be cut into slices. The last of them gives everything back.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.reservation.buffers.lock().keep(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MB: usize = 1 << 20;

    async fn filled(reservation: Reservation, size: usize) -> Bytes {
        let mut buffer = reservation.into_buffer(size).await;
        buffer.space().resize(size, 7);
        buffer.freeze()
    }

    /// Without this, a budget would be passed by the answers that are held, or lost by and by.
    #[tokio::test]
    async fn what_is_held_is_what_the_budget_counts() {
        let buffers = Buffers::new(4 * MB);
        let reservation = buffers.reserve(3 * MB).expect("room");
        assert!(buffers.reserve(2 * MB).is_none());
        let answer = filled(reservation, MB).await;
        assert_eq!(
            buffers.free(),
            3 * MB,
            "what was not needed goes back at once"
        );
        let batch = answer.slice(10..20);
        drop(answer);
        assert_eq!(buffers.free(), 3 * MB, "a slice keeps the whole answer");
        drop(batch);
        assert_eq!(buffers.free(), 4 * MB);
    }

    /// Without this, one batch larger than the budget would stop a worker, or several at once fill its memory.
    #[tokio::test(start_paused = true)]
    async fn one_answer_at_a_time_may_exceed_the_budget() {
        let buffers = Buffers::new(4 * MB);
        let (first, second) = (buffers.reserve(MB), buffers.reserve(MB));
        let large = filled(first.expect("room"), 100 * MB).await;
        let waiting = tokio::spawn(filled(second.expect("room"), 100 * MB));
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert!(!waiting.is_finished());
        assert_eq!(buffers.free(), 2 * MB, "others go on");
        drop(large);
        let second = waiting.await.expect("no panic");
        assert_eq!(second.len(), 100 * MB);
        drop(second);
        assert_eq!(buffers.free(), 4 * MB);
        // Nothing of that size is kept.
        assert_eq!(buffers.lock().idle_bytes, 0);
    }

    /// Without this, every answer would cost the page faults of fresh memory.
    #[tokio::test]
    async fn a_buffer_is_used_again() {
        let buffers = Buffers::new(8 * MB);
        let first = filled(buffers.reserve(MB).expect("room"), MB).await;
        let place = first.as_ptr();
        drop(first);
        let second = filled(buffers.reserve(MB).expect("room"), MB - 100).await;
        assert_eq!(second.as_ptr(), place);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever is asked for, read, sliced and dropped in whatever order: the budget is kept, and whole in the end.
        #[test]
        fn the_budget_is_kept_and_given_back(
            steps in proptest::collection::vec((0_usize..300_000, 1_usize..100, any::<bool>()), 1..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let limit = 800_000;
                let buffers = Buffers::new(limit);
                let mut held: Vec<Bytes> = Vec::new();
                for (size, percent, drop_one) in steps {
                    if let Some(reservation) = buffers.reserve(size) {
                        let answer = filled(reservation, size * percent / 100).await;
                        held.push(answer.slice(answer.len() / 2..));
                    } else if !held.is_empty() {
                        held.remove(percent % held.len());
                    }
                    if drop_one && !held.is_empty() {
                        held.remove(size % held.len());
                    }
                    let state = buffers.lock();
                    prop_assert!(state.taken <= limit);
                    prop_assert_eq!(state.idle_bytes, state.idle.iter().map(Vec::capacity).sum::<usize>());
                    prop_assert!(state.idle_bytes <= KEPT);
                }
                held.clear();
                prop_assert_eq!(buffers.free(), limit);
                Ok(())
            })?;
        }
    }
}
