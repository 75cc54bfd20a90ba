//! How much may be on its way over one connection.
//!
//! A long line needs many bytes on their way to be full; over a short one, or to a slow broker, the same bytes only
//! queue up, hold memory, and make a batch that comes later wait. So the window goes by how long answers take: against one that
//! was sent while nothing else was on its way, they may take a little longer, which keeps the broker busy, but not much. The
//! comparison is renewed at times, by letting the line run empty once.

use std::time::Duration;

use tokio::time::Instant;

/// Always allowed: a few large batches.
const LEAST: usize = 1 << 20;
/// A round trip of 100 ms carries 640 MB/s with it.
const MOST: usize = 64 << 20;
/// Waiting that shows a full line without hurting anybody.
const SHORT: Duration = Duration::from_millis(10);
/// Waiting that is too long.
const LONG: Duration = Duration::from_millis(40);
/// How old the comparison may get.
const RENEWED: Duration = Duration::from_secs(20);

/// The window of one connection, fed with what is sent and answered.
#[derive(Debug)]
pub struct Window {
    limit: usize,
    in_flight: usize,
    /// How long an answer takes when nothing else is on its way, and when that was last tried.
    alone: Option<Duration>,
    tried: Instant,
}

/// A request on its way.
#[derive(Debug)]
pub struct Ticket {
    bytes: usize,
    sent: Instant,
    alone: bool,
    /// Whether the window was what kept more from being sent.
    full: bool,
}

impl Window {
    pub fn new(now: Instant) -> Self {
        Self {
            limit: LEAST,
            in_flight: 0,
            alone: None,
            tried: now,
        }
    }

    /// Whether anything more may be sent. A request may exceed the window, so that any fits.
    pub fn has_room(&self, now: Instant) -> bool {
        self.in_flight == 0 || (self.in_flight < self.limit && now < self.tried + RENEWED)
    }

    pub fn send(&mut self, bytes: usize, now: Instant) -> Ticket {
        let alone = self.in_flight == 0;
        if alone {
            self.tried = now;
        }
        self.in_flight += bytes;
        Ticket {
            bytes,
            sent: now,
            alone,
            full: self.in_flight >= self.limit,
        }
    }

    /// The answer came, however it turned out.
    pub fn answered(&mut self, ticket: &Ticket, now: Instant) {
        self.in_flight -= ticket.bytes;
        let took = now - ticket.sent;
        if ticket.alone {
            self.alone = Some(took);
            return;
        }
        let waited = took.saturating_sub(self.alone.unwrap_or_default());
        if waited > LONG {
            self.limit -= ticket.bytes.min(self.limit) / 4;
        } else if waited < SHORT && ticket.full {
            self.limit += ticket.bytes;
        }
        self.limit = self.limit.clamp(LEAST, MOST);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const KB: usize = 1 << 10;
    const MB: usize = 1 << 20;

    /// Sends requests of `size` as fast as the window lets it, over a line with this round trip to a broker that works
    /// off so many bytes a second. Gives bytes a second and the longest answer of the second half.
    fn run(
        mut window: Window,
        size: usize,
        round_trip: Duration,
        per_second: f64,
        lasts: Duration,
    ) -> (f64, Duration, Window) {
        let begin = Instant::now();
        let (mut now, mut busy_until) = (begin, begin);
        let mut on_their_way: VecDeque<(Ticket, Instant)> = VecDeque::new();
        let (mut bytes, mut longest) = (0_usize, Duration::ZERO);
        let half = begin + lasts / 2;
        while now < begin + lasts {
            while window.has_room(now) {
                let ticket = window.send(size, now);
                let work = Duration::from_secs_f64(size as f64 / per_second);
                busy_until = busy_until.max(now + round_trip / 2) + work;
                on_their_way.push_back((ticket, busy_until + round_trip / 2));
            }
            let (ticket, answered) = on_their_way.pop_front().expect("one is on its way");
            now = answered;
            if now > half {
                bytes += size;
                longest = longest.max(now - ticket.sent);
            }
            window.answered(&ticket, now);
        }
        (bytes as f64 / (lasts / 2).as_secs_f64(), longest, window)
    }

    /// Without this, a distant cluster would get a fraction of what the line carries.
    #[test]
    fn a_long_line_gets_full() {
        let line = Duration::from_millis(100);
        let (rate, _, _) = run(
            Window::new(Instant::now()),
            256 * KB,
            line,
            300e6,
            Duration::from_secs(60),
        );
        assert!(rate > 270e6, "{rate}");
    }

    /// Without this, a batch would wait behind seconds of others, on a slow broker or a near one.
    #[test]
    fn a_batch_does_not_wait_long_behind_others() {
        for (line, size) in [(1, 256 * KB), (1, 16 * KB), (100, 256 * KB)] {
            let line = Duration::from_millis(line);
            let window = Window::new(Instant::now());
            let (rate, longest, _) = run(window, size, line, 200e6, Duration::from_secs(60));
            let most = line * 3 / 2 + Duration::from_millis(100);
            assert!(longest < most, "{longest:?}");
            assert!(rate > 180e6, "{rate}");
        }
    }

    /// Without this, a line that became longer would never be full again.
    #[test]
    fn a_line_that_became_longer_gets_full_again() {
        let (_, _, window) = run(
            Window::new(Instant::now()),
            256 * KB,
            Duration::from_millis(1),
            300e6,
            Duration::from_secs(60),
        );
        let window = Window {
            tried: Instant::now(),
            ..window
        };
        let (rate, _, _) = run(
            Window {
                in_flight: 0,
                ..window
            },
            256 * KB,
            Duration::from_millis(100),
            300e6,
            Duration::from_secs(120),
        );
        assert!(rate > 270e6, "{rate}");
    }

    /// Without this, a batch larger than the window would never leave.
    #[test]
    fn any_request_fits_when_nothing_else_is_on_its_way() {
        let mut window = Window::new(Instant::now());
        let now = Instant::now();
        assert!(window.has_room(now));
        let ticket = window.send(100 * MB, now);
        assert!(!window.has_room(now));
        window.answered(&ticket, now);
        assert!(window.has_room(now));
    }
}
