//! The last stretch of a mirror that is promoted: to the source's end, and no further.
//!
//! The source's end is looked up after the promotion was heard of, so everything that was committed before it was asked for
//! is copied. It is done when nothing was left at the moment of a look; else the end is looked up again once the position has come there. While
//! producers go on writing to the source it always has; then it is enough after [`LOOKS`] looks, since what they write from
//! now on is lost to the mirror whenever it stops.

use super::messages::Action;
use super::{PartitionMirror, Phase, Want};

/// Looks at a source's end that moves on each time.
const LOOKS: u32 = 10;

/// How far it has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Draining {
    /// Somebody looks.
    asked: bool,
    /// Where the source ended when it was looked at last.
    end: Option<i64>,
    /// It was looked at just now.
    is_fresh: bool,
    looks: u32,
    is_done: bool,
}

impl Draining {
    pub(super) fn ends_at(&mut self, end: i64) {
        self.asked = false;
        self.end = Some(end);
        self.is_fresh = true;
        self.looks += 1;
    }

    fn ask(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.asked, true) {
            actions.push(Action::AskSourceEnd);
        }
    }
}

impl PartitionMirror {
    /// Whether it stopped because everything that was to be copied is.
    pub fn is_drained(&self) -> bool {
        self.draining.is_done
    }

    pub(super) fn on_drain(&mut self, actions: &mut Vec<Action>) {
        if matches!(self.want, Want::Drain | Want::Stop) {
            return;
        }
        self.draining = Draining::default();
        self.go_on(Want::Drain, actions);
        self.draining.ask(actions);
    }

    /// Stops once everything up to the source's end is at the destination for good.
    pub(super) fn stop_if_drained(&mut self, actions: &mut Vec<Action>) {
        let is_fresh = std::mem::take(&mut self.draining.is_fresh);
        let Some(end) = self.draining.end else {
            return;
        };
        let is_there = self.want == Want::Drain
            && matches!(self.phase, Phase::Copying { .. })
            && self.filling_up_to().is_none()
            // Nothing counts of what is only passed over.
            && self.sent.count >= self.present
            && self.confirmed.source_offset >= end;
        if !is_there {
            return;
        }
        if is_fresh || self.draining.looks >= LOOKS {
            self.draining.is_done = true;
            self.on_halt(Want::Stop, actions);
        } else {
            self.draining.end = None;
            self.draining.ask(actions);
        }
    }
}
