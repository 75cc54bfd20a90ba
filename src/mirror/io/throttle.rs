//! How fast a link may be read (`limit`).
//!
//! A bucket fills at the link's rate, and what an answer brought is taken out of it. Nobody knows before how much that
//! will be, so the bucket may go below nothing; then partitions wait until it is filled again. Over some seconds
//! the rate is exact, whatever the sizes of answers.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// How much may be caught up on after nothing was there to read.
const SAVED_UP: Duration = Duration::from_millis(250);
/// A single request asks for what the rate brings in this time, at most.
const ONE_REQUEST: Duration = Duration::from_millis(125);
/// But for no less than this: a larger batch comes whole anyway.
const SMALLEST_REQUEST: usize = 64 << 10;

/// The bytes that a link has left.
#[derive(Debug)]
struct Bucket {
    /// Bytes a second.
    rate: f64,
    /// Below zero: bytes that were read too soon.
    left: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: f64, now: Instant) -> Self {
        Self {
            rate,
            left: 0.0,
            at: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let most = self.rate * SAVED_UP.as_secs_f64();
        let came = self.rate * (now - self.at).as_secs_f64();
        self.left = (self.left + came).min(most);
        self.at = now;
    }

    /// How long nothing may be asked for.
    fn wait(&mut self, now: Instant) -> Duration {
        self.fill(now);
        Duration::try_from_secs_f64(-self.left / self.rate).unwrap_or(Duration::ZERO)
    }
}

/// The part of a link's limit that falls to this worker. Without a limit nothing is ever held up.
#[derive(Debug, Default)]
pub struct Throttle {
    bucket: Mutex<Option<Bucket>>,
}

impl Throttle {
    /// Sets the bytes a second, from now on.
    pub fn set(&self, rate: Option<f64>, now: Instant) {
        self.with(|bucket| match (rate, bucket) {
            (Some(rate), Some(bucket)) => {
                bucket.fill(now);
                bucket.rate = rate;
            }
            (Some(rate), bucket @ None) => *bucket = Some(Bucket::new(rate, now)),
            (None, bucket) => *bucket = None,
        });
    }

    /// The bytes of `wanted` that may be asked for.
    ///
    /// # Errors
    /// How long nothing may be.
    pub fn admit(&self, wanted: usize, now: Instant) -> Result<usize, Duration> {
        self.with(|bucket| {
            let Some(bucket) = bucket else {
                return Ok(wanted);
            };
            let wait = bucket.wait(now);
            if wait > Duration::ZERO {
                return Err(wait);
            }
            let one_request = bucket.rate * ONE_REQUEST.as_secs_f64();
            Ok(wanted.min((one_request as usize).max(SMALLEST_REQUEST)))
        })
    }

    /// So many bytes were read.
    pub fn spend(&self, bytes: usize, now: Instant) {
        self.with(|bucket| {
            if let Some(bucket) = bucket {
                bucket.fill(now);
                bucket.left -= bytes as f64;
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Option<Bucket>) -> T) -> T {
        work(&mut self.bucket.lock().expect("held for arithmetic only"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Without this, a link would take more than its limit from others, or less than it may. Several partitions
        /// read side by side, each with answers of other sizes that take other times, and all have always more to read.
        #[test]
        fn over_some_seconds_the_rate_is_kept(
            rate in 1e6..1e9_f64,
            partitions in 1_usize..9,
            answers in proptest::collection::vec((1_usize..=100, 0_u64..60), 1..50),
        ) {
            let throttle = Throttle::default();
            let begin = Instant::now();
            throttle.set(Some(rate), begin);
            let lasts = Duration::from_secs(20);
            // When each partition's answer comes, and with how much.
            let mut due: Vec<(Instant, usize)> = vec![(begin, 0); partitions];
            let mut answers = answers.iter().cycle();
            let mut read = 0;
            loop {
                let next = due.iter_mut().min_by_key(|(at, _)| *at).expect("partitions");
                let (now, bytes) = *next;
                if now > begin + lasts {
                    break;
                }
                throttle.spend(bytes, now);
                read += bytes;
                *next = match throttle.admit(1 << 20, now) {
                    Err(wait) => (now + wait + Duration::from_micros(1), 0),
                    Ok(asked) => {
                        let (percent, ms) = answers.next().expect("a cycle");
                        // Less than is wanted only where there is no more, which is not so here.
                        (now + Duration::from_millis(*ms), (asked * percent.max(&50) / 100).max(1))
                    }
                };
            }
            // The slowest that they can be: half a request each 60 ms.
            let slowest = partitions as f64 * (SMALLEST_REQUEST / 2) as f64 / 0.06;
            let expected = rate * lasts.as_secs_f64();
            prop_assert!(read as f64 <= expected * 1.05, "{} of {}", read, expected);
            // A line that is slower than the limit is no fault of the limit's.
            if slowest > rate * 2.0 {
                prop_assert!(read as f64 >= expected * 0.95, "{} of {}", read, expected);
            }
        }
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let throttle = Throttle::default();
        let now = Instant::now();
        throttle.spend(usize::MAX, now);
        assert_eq!(throttle.admit(5, now), Ok(5));
    }

    /// Without this, a limit that is raised or taken away would hold for what was read before.
    #[test]
    fn a_limit_changes_at_once() {
        let throttle = Throttle::default();
        let now = Instant::now();
        throttle.set(Some(1e6), now);
        throttle.spend(1_000_000, now);
        assert_eq!(throttle.admit(5, now), Err(Duration::from_secs(1)));
        throttle.set(Some(4e6), now);
        assert_eq!(throttle.admit(5, now), Err(Duration::from_millis(250)));
        throttle.set(None, now);
        assert_eq!(throttle.admit(5, now), Ok(5));
    }
}
