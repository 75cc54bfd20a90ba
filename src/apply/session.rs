//! An apply from the plan that was confirmed to the released locks.
//!
//! What was shown is what is done: once every destination is locked the clusters are read again, and
//! if any entry would now be another one, nothing is written at all.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::brokers::Brokers;
use super::effects::Failure;
use super::{Manner, Outcome, Progress, execute};
use crate::control::records::{LockRecord, RECORD_VERSION};
use crate::control::{ControlError, ControlWriter, LockError};
use crate::observe::model::Observed;
use crate::observe::{Clusters, Unreachable};
use crate::plan::model::{Address, Operation, Plan};
use crate::plan::saved::{Difference, compare};
use crate::topology::model::Topology;

/// Why nothing was written, or only the internal topics were.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("`{cluster}` could not be locked")]
    Lock {
        cluster: String,
        #[source]
        error: LockError,
    },
    #[error("a cluster can't be read any more")]
    Observe(#[from] Unreachable),
    /// Entries that would now be others than those that were confirmed.
    #[error("the clusters changed after the plan was made")]
    Moved(BTreeMap<Address, Vec<Difference>>),
    #[error("stopped before anything was written")]
    Stopped,
}

/// How to go about it.
#[derive(Clone, Debug)]
pub struct ApplyOptions {
    /// How long to wait for somebody else's apply.
    pub lock_timeout: Duration,
    /// Who is told to others that wait for this one.
    pub holder: String,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
    /// Whether the plan is a part of what the file asks for, so that other entries do not matter.
    pub partial: bool,
    /// So many requests are under way at a time.
    pub parallelism: NonZeroUsize,
}

/// Carries out a plan that somebody has seen.
///
/// # Errors
/// Why it was not begun. What fails once it has begun stands in the [`Outcome`].
pub async fn apply(
    topology: &Topology,
    clusters: &Clusters,
    shown: &Plan,
    options: &ApplyOptions,
    progress: &dyn Progress,
    stop: &CancellationToken,
) -> Result<Outcome, ApplyError> {
    let mut writers = BTreeMap::new();
    let locked = lock_all(clusters, shown, options, stop, &mut writers).await;
    let result = match locked {
        Ok(()) => look_again(topology, clusters, shown, options.partial).await,
        Err(error) => Err(error),
    };
    let observed = match result {
        Ok(observed) if !stop.is_cancelled() => observed,
        other => {
            release_all(writers).await;
            return Err(other.err().unwrap_or(ApplyError::Stopped));
        }
    };
    let brokers = Brokers::new(clusters, topology, writers, options.parallelism);
    let manner = Manner {
        progress,
        stop,
        parallelism: options.parallelism,
    };
    let outcome = execute(shown, &observed, &brokers, manner).await;
    release_all(brokers.into_writers().collect()).await;
    Ok(outcome)
}

/// Locks every destination, in the order of cluster ids, so that two applies never wait for each other.
async fn lock_all(
    clusters: &Clusters,
    shown: &Plan,
    options: &ApplyOptions,
    stop: &CancellationToken,
    writers: &mut BTreeMap<String, ControlWriter>,
) -> Result<(), ApplyError> {
    let lock = LockRecord {
        version: RECORD_VERSION,
        holder: options.holder.clone(),
        since_ms: options.now_ms,
        command: "apply".to_owned(),
    };
    let mut held: BTreeSet<String> = BTreeSet::new();
    for (cluster_id, cluster) in destinations(shown) {
        // Two names of one cluster share its lock; the plan has seen to it that they don't collide.
        if !held.insert(cluster_id) {
            continue;
        }
        let client = clusters.client(&cluster);
        // Creates the internal topics where they are missing.
        let acquiring = ControlWriter::acquire(client, lock.clone(), options.lock_timeout);
        let writer = tokio::select! {
            writer = acquiring => writer,
            () = stop.cancelled() => return Err(ApplyError::Stopped),
        };
        let writer = writer.map_err(|error| ApplyError::Lock {
            cluster: cluster.clone(),
            error,
        })?;
        writers.insert(cluster, writer);
    }
    Ok(())
}

/// Clusters whose control records the plan changes: id and name.
fn destinations(shown: &Plan) -> BTreeSet<(String, String)> {
    let names: BTreeSet<&str> = shown
        .entries
        .iter()
        .filter(|entry| {
            matches!(
                entry.operation,
                Operation::ControlTopics
                    | Operation::Link(_)
                    | Operation::Mirror(_)
                    | Operation::DeleteMirror(_)
                    | Operation::DeleteLink { .. }
            )
        })
        .map(|entry| entry.cluster.as_str())
        .collect();
    shown
        .clusters
        .iter()
        .filter(|cluster| names.contains(cluster.name.as_str()))
        .map(|cluster| (cluster.cluster_id.clone(), cluster.name.clone()))
        .collect()
}

async fn look_again(
    topology: &Topology,
    clusters: &Clusters,
    shown: &Plan,
    partial: bool,
) -> Result<Observed, ApplyError> {
    let observed = clusters.observe(topology).await?;
    let mut now = crate::plan::plan(topology, &observed);
    crate::plan::guard(&mut now, shown.allow_delete);
    let moved = moved(shown, now, partial);
    if moved.is_empty() {
        Ok(observed)
    } else {
        Err(ApplyError::Moved(moved))
    }
}

/// Entries that are not what they were. The internal topics were made in between, by this apply.
fn moved(shown: &Plan, mut now: Plan, partial: bool) -> BTreeMap<Address, Vec<Difference>> {
    let is_control = |address: &Address| matches!(address, Address::Control(_));
    let mut shown = shown.clone();
    shown.narrow(|address| !is_control(address));
    now.narrow(|address| !is_control(address) && (!partial || shown.entry(address).is_some()));
    let comparison = compare(&shown, &now);
    let mut moved = comparison.stale;
    // What somebody else did meanwhile was not done by whoever confirmed it.
    let done = comparison.done.into_iter();
    moved.extend(done.map(|address| (address, vec![Difference::Done])));
    let beyond = comparison.beyond.into_iter();
    moved.extend(beyond.map(|address| (address, vec![Difference::NotPlanned])));
    moved
}

async fn release_all(writers: BTreeMap<String, ControlWriter>) {
    for (cluster, writer) in writers {
        if let Err(error) = writer.release().await {
            // The next holder takes it over once it is stale; the records themselves are written.
            tracing::warn!(%cluster, %error, "the lock could not be given back");
        }
    }
}

impl From<&ControlError> for Failure {
    fn from(error: &ControlError) -> Self {
        Self {
            error: "control records".to_owned(),
            message: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::model::Model;
    use crate::plan::plan;

    /// A link over everything, of which there is one topic.
    fn one_topic() -> (Topology, Model) {
        let text = "kmirror = 1\n[clusters.east]\nbootstrap_servers = \"a:1\"\n[clusters.west]\nbootstrap_servers = \"b:1\"\n\
                    [links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"*\"]\n";
        let topology = crate::topology::parse(std::path::Path::new("t.toml"), text)
            .expect("valid")
            .topology;
        let model = Model::new(&["east", "west"]);
        model.add_topic("east", "orders", 1, 1, &[]);
        (topology, model)
    }

    #[test]
    fn only_what_would_be_done_otherwise_counts_as_moved() {
        let (topology, model) = one_topic();
        let shown = plan(&topology, &model.observed());
        let moved = |partial| -> Vec<(String, Vec<Difference>)> {
            let now = plan(&topology, &model.observed());
            let moved = moved(&shown, now, partial).into_iter();
            moved
                .map(|(address, how)| (address.to_string(), how))
                .collect()
        };
        model.ensure_control("west");
        assert_eq!(moved(false), []);
        model.add_topic("west", "elsewhere", 1, 1, &[]);
        assert_eq!(moved(false), []);
        model.add_topic("east", "audit", 1, 1, &[]);
        assert_eq!(moved(true), []);
        let beyond = ("mirror.copy/audit".to_owned(), vec![Difference::NotPlanned]);
        assert_eq!(moved(false), std::slice::from_ref(&beyond));
        model.with_topic("east", "orders", |topic| topic.partitions = 2);
        let both = moved(false);
        assert_eq!(both[0], beyond);
        assert_eq!(both[1].0, "mirror.copy/orders");
        let grown = Difference::Basis {
            what: "source.partitions".to_owned(),
            planned: Some("1".to_owned()),
            now: Some("2".to_owned()),
        };
        assert!(both[1].1.contains(&grown), "{both:?}");
    }

    #[test]
    fn a_topic_made_anew_is_not_the_one_that_was_shown() {
        let (topology, model) = one_topic();
        let shown = plan(&topology, &model.observed());
        model.with_topic("east", "orders", |topic| {
            topic.id = uuid::Uuid::from_u128(4711);
        });
        let moved = moved(&shown, plan(&topology, &model.observed()), false);
        let how = moved.values().next().expect("one");
        assert!(
            matches!(
                how.as_slice(),
                [Difference::Basis { what, .. }] if what == "source.topic_id"
            ),
            "{how:?}"
        );
    }
}
