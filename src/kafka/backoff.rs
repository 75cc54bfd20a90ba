//! One back-off for everything that is tried again: exponential, bounded, with jitter.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Delays that double from `initial` up to `max`, each shortened at random by up to a fifth, so that
/// many clients that lost one broker do not return at the same instant.
#[derive(Clone, Debug)]
pub struct Backoff<R = SmallRng> {
    initial: Duration,
    max: Duration,
    attempt: u32,
    rng: R,
}

impl Backoff {
    /// The delays used for requests: 50 ms to 2 s.
    pub fn for_requests() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(2))
    }

    /// A back-off seeded by the operating system.
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self::with_rng(initial, max, SmallRng::from_os_rng())
    }
}

impl<R: Rng> Backoff<R> {
    /// A back-off with a random source of the caller's, for tests and simulations.
    pub fn with_rng(initial: Duration, max: Duration, rng: R) -> Self {
        Self {
            initial,
            max: max.max(initial),
            attempt: 0,
            rng,
        }
    }

    /// How long to wait before the next try.
    pub fn next_delay(&mut self) -> Duration {
        let doubled = self
            .initial
            .saturating_mul(2_u32.saturating_pow(self.attempt));
        self.attempt = self.attempt.saturating_add(1);
        doubled
            .min(self.max)
            .mul_f64(self.rng.random_range(0.8..=1.0))
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// Tries since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Sleeps for the next delay.
    pub async fn sleep(&mut self) {
        let delay = self.next_delay();
        tokio::time::sleep(delay).await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn delays_stay_between_the_bounds_and_start_over(
            initial in 1_u64..1_000,
            factor in 1_u64..1_000,
            seed in any::<u64>(),
            tries in 1_usize..100,
        ) {
            let (initial, max) = (Duration::from_millis(initial), Duration::from_millis(initial * factor));
            let mut backoff = Backoff::with_rng(initial, max, SmallRng::seed_from_u64(seed));
            let mut longest = initial;
            for _ in 0..tries {
                let delay = backoff.next_delay();
                prop_assert!(delay >= longest.mul_f64(0.79), "{delay:?} after {longest:?}");
                prop_assert!(delay <= max);
                longest = (longest * 2).min(max);
            }
            backoff.reset();
            prop_assert!(backoff.next_delay() <= initial);
        }

        #[test]
        fn the_same_seed_gives_the_same_delays(seed in any::<u64>()) {
            let delays = |seed| {
                let rng = SmallRng::seed_from_u64(seed);
                let mut backoff = Backoff::with_rng(Duration::from_millis(10), Duration::from_secs(1), rng);
                (0..10).map(|_| backoff.next_delay()).collect::<Vec<_>>()
            };
            prop_assert_eq!(delays(seed), delays(seed));
        }
    }
}
