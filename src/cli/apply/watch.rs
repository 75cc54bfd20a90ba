//! What is shown while an apply goes on.

use std::sync::Mutex;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::apply::{Event, Progress};
use crate::cli::{Style, Ui};
use crate::plan::model::Plan;
use crate::report::clean;

/// A bar on a terminal, a line for each entry elsewhere.
pub(super) struct Watch<'a> {
    ui: &'a Ui,
    bar: Option<ProgressBar>,
    state: Mutex<Lines>,
    started: Instant,
}

#[derive(Default)]
struct Lines {
    done: usize,
    total: usize,
}

/// So many entries get a line of their own in a log; of more, every hundredth.
const LINES: usize = 200;

impl<'a> Watch<'a> {
    pub(super) fn new(ui: &'a Ui, plan: &Plan) -> Self {
        let total = plan
            .entries
            .iter()
            .filter(|entry| entry.action.changes())
            .count();
        let bar = ui.stderr_is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}")
                .expect("the template is fixed");
            let bar = ProgressBar::new(total as u64).with_style(style);
            ui.progress().add(bar)
        });
        Self {
            ui,
            bar,
            state: Mutex::new(Lines { done: 0, total }),
            started: Instant::now(),
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        tracing::debug!(elapsed = ?self.started.elapsed(), "apply has ended");
    }

    fn step(&self, address: &str, line: &str, worth_a_line: bool) {
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        state.done += 1;
        match &self.bar {
            Some(bar) => {
                bar.inc(1);
                bar.set_message(address.to_owned());
                if worth_a_line {
                    self.ui.say(line);
                }
            }
            None if worth_a_line || state.total <= LINES => self.ui.say(line),
            None if state.done.is_multiple_of(100) => {
                self.ui
                    .say(&format!("{} of {} done", state.done, state.total));
            }
            None => {}
        }
    }
}

impl Progress for Watch<'_> {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Asked(..) => {}
            Event::Done(address) => {
                let address = clean(&address.to_string());
                self.step(&address, &format!("{address}: done"), false);
            }
            Event::Failed(address, failure) => {
                let address = clean(&address.to_string());
                let label = self.ui.paint_err(Style::Red, "failed");
                let failure = clean(&failure.to_string());
                self.step(&address, &format!("{address}: {label}: {failure}"), true);
            }
            Event::Skipped(address, because) => {
                let address = clean(&address.to_string());
                let label = self.ui.paint_err(Style::Yellow, "skipped");
                let because = clean(&because.to_string());
                let line =
                    format!("{address}: {label}: {because} comes before it and is not there");
                self.step(&address, &line, true);
            }
        }
    }
}
