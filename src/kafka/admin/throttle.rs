//! Waiting as long as brokers ask for.
//!
//! Creating topics, deleting them and adding partitions have a quota of their own, `controller_mutation_rate` (KIP-599).
//! Above it a broker refuses with THROTTLING_QUOTA_EXCEEDED and says in `throttle_time_ms` when it will be below again.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::kafka::code::ErrorCode;
use crate::kafka::error::Error;

/// So many rounds in a row may wait without anything being done: the quota is then so small, or so busy, that a person
/// has to know.
const FRUITLESS_ROUNDS: u32 = 10;

/// What the answers of one call said of throttling.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// The longest time that an answer of this round asked for.
    wait_ms: AtomicU64,
    fruitless: AtomicU32,
    /// Items that were refused for the quota in the last round.
    refused: AtomicU32,
}

impl Throttle {
    /// Takes in the `throttle_time_ms` of an answer.
    pub fn note(&self, throttle_time_ms: i32) {
        let wait = u64::try_from(throttle_time_ms).unwrap_or(0);
        self.wait_ms.fetch_max(wait, Ordering::Relaxed);
    }

    /// How long to wait before the items that the quota refused are sent again; `None` if none was, or if nothing gets done
    /// any more.
    pub fn in_round<'e>(&self, errors: impl Iterator<Item = &'e Error>) -> Option<Duration> {
        let wait = Duration::from_millis(self.wait_ms.swap(0, Ordering::Relaxed));
        let exceeded = Some(ErrorCode::THROTTLING_QUOTA_EXCEEDED);
        let refused = errors.filter(|error| error.code() == exceeded).count();
        let refused = u32::try_from(refused).unwrap_or(u32::MAX);
        if refused == 0 {
            return None;
        }
        let before = self.refused.swap(refused, Ordering::Relaxed);
        if before == refused {
            let fruitless = self.fruitless.fetch_add(1, Ordering::Relaxed) + 1;
            return (fruitless < FRUITLESS_ROUNDS).then_some(wait);
        }
        self.fruitless.store(0, Ordering::Relaxed);
        Some(wait)
    }
}
