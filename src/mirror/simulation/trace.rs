//! The last steps of a run, in words, for the run that failed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

const KEPT: usize = 160;

/// Where steps are noted; without a sink nothing is even put into words.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<Arc<Mutex<VecDeque<String>>>>);

impl Trace {
    pub fn kept() -> Self {
        Self(Some(Arc::default()))
    }

    pub fn note(&self, now: u64, words: impl FnOnce() -> String) {
        let Some(lines) = &self.0 else { return };
        let mut lines = lines.lock().expect("noting a line does not panic");
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(format!("{now:>8} ms  {}", words()));
    }

    pub fn text(&self) -> String {
        let Some(lines) = &self.0 else {
            return String::new();
        };
        let lines = lines.lock().expect("noting a line does not panic");
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}
