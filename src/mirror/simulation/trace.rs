//! The last steps of a run, in words, for the run that failed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Where steps are noted; without a sink nothing is even put into words.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<(usize, Arc<Mutex<VecDeque<String>>>)>);

impl Trace {
    /// Keeps the last `lines`.
    pub fn kept(lines: usize) -> Self {
        Self(Some((lines, Arc::default())))
    }

    pub fn note(&self, now: u64, words: impl FnOnce() -> String) {
        let Some((most, lines)) = &self.0 else { return };
        let mut lines = lines.lock().expect("noting a line does not panic");
        if lines.len() == *most {
            lines.pop_front();
        }
        lines.push_back(format!("{now:>8} ms  {}", words()));
    }

    pub fn text(&self) -> String {
        let Some((_, lines)) = &self.0 else {
            return String::new();
        };
        let lines = lines.lock().expect("noting a line does not panic");
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}
