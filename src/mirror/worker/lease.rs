//! The right to write, as long as the group coordinator confirmed it lately.
//!
//! Where the leader no longer knows the mirror's producer id, the sequence check protects nothing, so a
//! worker writes only as owner: its last group commit, which the coordinator refuses to whoever is no
//! longer a member of the generation, was answered less than a third of the session timeout ago. The
//! clock is the boot-time clock, which goes on while the machine sleeps or the process is stopped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// When the lease was last renewed, and for how long that holds.
#[derive(Debug)]
pub struct Lease {
    /// Boot-time nanoseconds of the last confirmed renewal, measured before the request was sent; 0: never.
    renewed: AtomicU64,
    holds: Duration,
}

impl Lease {
    /// A lease not yet held, for a group session of `session_timeout`.
    pub fn new(session_timeout: Duration) -> Self {
        Self {
            renewed: AtomicU64::new(0),
            holds: session_timeout / 3,
        }
    }

    /// The coordinator confirmed membership with an answer to a request sent at `asked`.
    pub fn renew(&self, asked: Moment) {
        self.renewed.fetch_max(asked.0, Ordering::AcqRel);
    }

    /// Membership is gone: nothing more may be written.
    pub fn give_up(&self) {
        self.renewed.store(0, Ordering::Release);
    }

    pub fn is_held(&self) -> bool {
        self.is_held_at(Moment::now())
    }

    fn is_held_at(&self, now: Moment) -> bool {
        let renewed = self.renewed.load(Ordering::Acquire);
        renewed != 0 && u128::from(now.0.saturating_sub(renewed)) < self.holds.as_nanos()
    }
}

/// A moment on the boot-time clock, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Self(
            seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(nanos)
                .max(1),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without this, a worker that was frozen past its session would write beside the new owner.
    #[test]
    fn a_lease_ends_a_third_of_the_session_after_the_renewal_was_asked_for() {
        let lease = Lease::new(Duration::from_secs(9));
        assert!(!lease.is_held_at(Moment(5)));
        lease.renew(Moment(1_000_000_000));
        assert!(lease.is_held_at(Moment(3_900_000_000)));
        assert!(!lease.is_held_at(Moment(4_000_000_000)));
        // A late answer to an older request takes nothing back.
        lease.renew(Moment(500_000_000));
        assert!(lease.is_held_at(Moment(3_900_000_000)));
        lease.give_up();
        assert!(!lease.is_held_at(Moment(1_000_000_001)));
    }
}
