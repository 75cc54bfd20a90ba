//! Holds connections back for a while after a refusal, and tells people of it once.
//!
//! A worker tries a lost connection again and again. With a password that was refused that would bring nothing but a locked
//! account and a log full of the same line. So after a refusal further tries fail at once with the same error, for a second at first and
//! for half a minute in the end; a file that was changed meanwhile opens the gate.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::files::Files;
use super::problem::SecurityError;

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// How soon the same thing is told again.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Different things that are remembered as told.
const REMEMBERED: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Gates {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By address; by the empty one for what concerns all.
    closed: HashMap<String, Closed>,
    /// Whether any connection was ever made: before that, whoever connects shows the error himself.
    was_open: bool,
    told: HashMap<String, Instant>,
}

#[derive(Debug)]
struct Closed {
    error: SecurityError,
    until: Instant,
    pause: Duration,
    files: Files,
}

impl Gates {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Whether a connection may be tried.
    pub fn admit(&self, address: &str) -> Result<(), Box<SecurityError>> {
        let state = self.lock();
        for key in [address, ""] {
            if let Some(closed) = state.closed.get(key)
                && Instant::now() < closed.until
                && closed.files.are_unchanged()
            {
                return Err(Box::new(closed.error.clone()));
            }
        }
        Ok(())
    }

    pub fn passed(&self, address: &str) {
        let mut state = self.lock();
        state.was_open = true;
        state.closed.remove(address);
        state.closed.remove("");
    }

    /// `files` are all that the connection depended on.
    pub fn refused(&self, address: &str, error: &SecurityError, files: Files) {
        let mut state = self.lock();
        let was_open = state.was_open;
        if error.is_worth_a_pause() {
            let key = if error.concerns_one_broker() {
                address
            } else {
                ""
            };
            let now = Instant::now();
            let pause = match state.closed.get(key) {
                // Tries that were on their way together count once.
                Some(closed) if now < closed.until => closed.pause,
                Some(closed) => (closed.pause * 2).min(LONGEST),
                None => SHORTEST,
            };
            let closed = Closed {
                error: error.clone(),
                until: now + pause,
                pause,
                files,
            };
            state.closed.insert(key.to_owned(), closed);
        }
        drop(state);
        if was_open {
            self.tell(&error.to_string());
        }
    }

    /// Says something, unless it was said just now.
    pub fn tell(&self, text: &str) {
        let mut state = self.lock();
        let now = Instant::now();
        state
            .told
            .retain(|_, at| now.saturating_duration_since(*at) < TELL_AGAIN);
        if state.told.contains_key(text) || state.told.len() >= REMEMBERED {
            return;
        }
        state.told.insert(text.to_owned(), now);
        drop(state);
        tracing::warn!("{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::security::problem::Problem;

    fn refusal() -> SecurityError {
        SecurityError {
            cluster: "west".into(),
            address: Some("b:1".into()),
            problem: Problem::Refused {
                mechanism: "PLAIN",
                message: "no".into(),
            },
            places: vec![],
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_password_is_not_tried_at_every_broker_at_once() {
        let gates = Gates::default();
        assert!(gates.admit("a:1").is_ok());
        gates.refused("b:1", &refusal(), Files::default());
        assert_eq!(gates.admit("a:1"), Err(Box::new(refusal())));
        tokio::time::advance(SHORTEST).await;
        assert!(gates.admit("a:1").is_ok());

        gates.refused("b:1", &refusal(), Files::default());
        tokio::time::advance(SHORTEST).await;
        assert!(gates.admit("a:1").is_err(), "the second pause is longer");
        gates.passed("a:1");
        assert!(gates.admit("b:1").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_password_is_tried_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pw");
        std::fs::write(&path, "old").unwrap();
        let mut files = Files::default();
        files.note(&path);
        let gates = Gates::default();
        gates.refused("b:1", &refusal(), files);
        assert!(gates.admit("b:1").is_err());
        std::fs::write(&path, "newer").unwrap();
        assert!(gates.admit("b:1").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_broker_with_a_bad_certificate_does_not_shut_out_the_others() {
        let gates = Gates::default();
        let mut error = refusal();
        error.problem = Problem::NotTls;
        gates.refused("b:1", &error, Files::default());
        assert!(gates.admit("b:1").is_err());
        assert!(gates.admit("a:1").is_ok());
    }
}
