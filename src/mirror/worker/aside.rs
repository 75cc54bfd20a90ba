//! When a worker leaves the work to others: it does not reach a source that they reach.
//!
//! The group hands out slots by their number, whatever a member can do with them. So a worker that was started while a
//! source does not answer takes part only as long as nobody does who lacks nothing. What its source is needed for would stand
//! still in its slots, and be copied in theirs. Each worker says with its reports of slots whether it lacks a source.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;

use super::desired;
use super::destination::DestinationWorker;
use super::scope::Scope;
use super::slots;
use super::{ConnectedCluster, balance};
use crate::control::records::{DesiredState, LinkRecord};
use crate::control::store::{self, ControlState};
use crate::kafka::Error;

/// How often a worker that stands aside looks whether it is needed.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The links for which a source is needed that is not reached.
pub fn lacking(
    state: &ControlState,
    reaches: impl Fn(&str) -> bool,
) -> impl Iterator<Item = &LinkRecord> {
    let links = state.links.values();
    links.filter(move |link| !reaches(&link.source_cluster_id) && needs_source(state, link))
}

/// Whether there is something to copy, or may be: mirrors that rest or have ended need nothing more.
fn needs_source(state: &ControlState, link: &LinkRecord) -> bool {
    let mut mirrors = state.mirrors.values().filter(|it| it.id.link == link.id);
    let mut mirrors = mirrors.by_ref().peekable();
    if mirrors.peek().is_none() {
        return link.auto_create && link.state == DesiredState::Active;
    }
    mirrors.any(|mirror| {
        let aim = desired::aim(link, mirror);
        aim.is_some_and(|aim| aim != desired::Aim::Rest)
    })
}

/// Whether somebody else at work lacks nothing.
pub fn others_lack_nothing(seen: &balance::Slots, own: &str) -> bool {
    let reports = seen.values().map(|slot| &slot.report);
    let mut others = reports.filter(|report| report.worker != own);
    others.any(|report| !report.lacks_source)
}

/// Whether others carry what this worker would keep from being copied. What is said of slots outlives who said it, so it counts
/// only where the group has members.
///
/// # Errors
/// The coordinator's own.
pub(super) async fn others_carry(destination: &ConnectedCluster, own: &str) -> Result<bool, Error> {
    let group = Scope::Files.group();
    if destination.client.admin().members_of(&group).await? == 0 {
        return Ok(false);
    }
    Ok(others_lack_nothing(&slots::look(destination).await?, own))
}

/// The same for a worker that has these slots itself: what is said of them is its own, or older.
pub(super) async fn others_carry_beside(
    destination: &ConnectedCluster,
    own: &BTreeSet<i32>,
) -> bool {
    match slots::look(destination).await {
        Ok(mut seen) => {
            seen.retain(|slot, _| !own.contains(slot));
            others_lack_nothing(&seen, "")
        }
        Err(error) => {
            tracing::debug!(cluster = destination.name, %error, "the workers' slots cannot be seen just now");
            false
        }
    }
}

impl DestinationWorker {
    /// Whether this worker keeps slots from others that could do more with them. Those of a link that was made over REST
    /// join once they reach all that it needs.
    pub(super) fn lacks_source(&self) -> bool {
        let reaches = |id: &str| self.clusters.has(id);
        self.scope == Scope::Files && lacking(&self.state, reaches).next().is_some()
    }

    /// Waits until it is this worker's turn; `false` where it was told to stop first, or is to do what there is and no more.
    pub(super) async fn wait_for_turn(&mut self, stop: &mut watch::Receiver<bool>) -> bool {
        let mut told = false;
        while self.lacks_source() {
            match others_carry(&self.cluster, self.announcement.worker()).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    // Who may not look cannot join either, and is told so there.
                    tracing::debug!(cluster = self.cluster.name, %error, "the workers' slots cannot be seen just now");
                    break;
                }
            }
            if self.options.until_caught_up {
                return false;
            }
            if !told {
                told = true;
                tracing::warn!(
                    cluster = self.cluster.name,
                    "other workers reach sources that this one does not: it leaves the work to them until it reaches all, or they are gone"
                );
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return false,
                () = self.clusters.changed() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            match store::read(&self.cluster.client).await {
                Ok(Some(state)) => self.learn(state),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(cluster = self.cluster.name, %error, "the control records cannot be read just now");
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::balance::{Report, SlotSeen, Slots};
    use super::*;

    fn seen(reports: &[(&str, bool)]) -> Slots {
        let slots = (0..).zip(reports).map(|(slot, (worker, lacks_source))| {
            let report = Report {
                worker: (*worker).to_owned(),
                heavy: Vec::new(),
                lacks_source: *lacks_source,
            };
            (slot, SlotSeen { obeyed: 1, report })
        });
        slots.collect()
    }

    /// Two workers that lack the same would otherwise leave to each other what both can do.
    #[test]
    fn only_a_worker_that_lacks_nothing_is_left_the_work() {
        assert!(!others_lack_nothing(&seen(&[]), "me"));
        assert!(!others_lack_nothing(
            &seen(&[("me", true), ("you", true)]),
            "me"
        ));
        // Said before its source went away.
        assert!(!others_lack_nothing(&seen(&[("me", false)]), "me"));
        assert!(others_lack_nothing(
            &seen(&[("me", true), ("you", true), ("they", false)]),
            "me"
        ));
    }

    /// Workers of versions that did not start without all sources say nothing of it.
    #[test]
    fn who_says_nothing_of_sources_lacks_none() {
        let report: Report = serde_json::from_str("{\"worker\":\"you\",\"heavy\":[]}").unwrap();
        assert!(!report.lacks_source);
        let text = serde_json::to_string(&report).unwrap();
        assert!(
            !text.contains("lacks"),
            "a commit has room for 4 KiB: {text}"
        );
    }
}
