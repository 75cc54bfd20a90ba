//! The worker: it obeys what was applied, for every destination that the file names.
//!
//! [`linked`] takes up links that were made over REST, [`scope`] keeps them apart from those of files.
//! [`destination`] keeps the partitions of one destination running, [`desired`] says which those are, [`membership`] and
//! [`lease`] say which of them are this worker's and whether it may write, [`follow`] makes mirrors of topics that match
//! later, [`figures`] counts, [`balance`] decides which partitions should change their slots, and [`slots`] sees to it;
//! [`ending`] ends mirrors that are promoted or failed over, [`reversing`] has them begin in the other direction. [`reached`] tries to reach clusters that do not answer, and
//! [`aside`] says when others can do more meanwhile.

pub mod aside;
pub mod balance;
pub mod desired;
pub mod destination;
pub mod ending;
pub mod figures;
pub mod follow;
pub mod lease;
mod linked;
pub mod membership;
pub mod reached;
mod reversing;
pub mod scope;
mod seen;
pub mod slots;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::kafka::Client;
use crate::linking::Key;
use crate::mirror::io::reader::Reader;
use crate::observe::Clusters;
use crate::topology::model::Topology;
use destination::{DestinationWorker, Ended, RunError};
use figures::Figures;
use reached::Reached;
pub use reached::{Connected, connect};
use scope::Scope;

/// How a worker runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long the group waits for a worker that is silent.
    pub session_timeout: Duration,
    /// How often topics and partitions are looked for.
    pub refresh: Duration,
    /// How often the work of workers is compared.
    pub compare: Duration,
    /// Copy what is there, then stop.
    pub until_caught_up: bool,
    /// Who is named to others that wait for the lock.
    pub holder: String,
    /// Bytes of records that may be held, whatever the number of partitions; one larger batch may exceed it.
    pub memory: usize,
    /// What secrets of links that were made over REST are sealed with, if this worker has it.
    pub key: Option<Arc<Key>>,
}

/// [`Options::memory`] unless something else is said.
pub const MEMORY: usize = 256 << 20;

impl Default for Options {
    fn default() -> Self {
        Self {
            session_timeout: Duration::from_secs(10),
            refresh: Duration::from_secs(3),
            compare: Duration::from_secs(10),
            until_caught_up: false,
            holder: "kmirror run".to_owned(),
            memory: MEMORY,
            key: None,
        }
    }
}

/// A cluster that the file names, connected.
#[derive(Clone, Debug)]
pub struct ConnectedCluster {
    pub name: String,
    pub cluster_id: String,
    pub client: Client,
    pub reader: Arc<Reader>,
    pub bootstrap_servers: Vec<String>,
}

/// How a worker ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Destinations on which nothing was ever applied (only with `until_caught_up`).
    pub nothing_applied: Vec<String>,
    /// Links that were left out because a cluster of theirs is not reached (only with `until_caught_up`).
    pub lacking: Vec<String>,
}

/// Runs until `stop` turns true, or until everything is copied where that is asked for. A cluster that did not answer is waited
/// for, unless the worker is to do what there is and end.
///
/// # Errors
/// A destination whose control records cannot be read, or whose group cannot be joined.
pub async fn run(
    topology: &Topology,
    connected: Connected,
    options: Options,
    figures: Figures,
    stop: watch::Receiver<bool>,
) -> Result<Outcome, RunError> {
    let difference = tokio::spawn(tell_difference(
        topology.clone(),
        connected.observed.clone(),
    ));
    let (arrivals, reached) = Reached::so_far(&connected.clusters);
    let mut outcome = Outcome::default();
    let mut coming = JoinSet::new();
    for (name, cause) in connected.silent() {
        if options.until_caught_up {
            let links = topology.links.values();
            let left = links.filter(|link| link.destination == name);
            outcome.lacking.extend(left.map(|link| link.name.clone()));
            continue;
        }
        tracing::warn!(
            cluster = name,
            cause,
            "the cluster is not reached: its links copy nothing until it is, what needs no source is done meanwhile"
        );
        coming.spawn(connected.come(topology, &name, stop.clone()));
    }
    let mut work = Work {
        topology,
        reached,
        options,
        figures,
        stop,
        carriers: JoinSet::new(),
        destinations: JoinSet::new(),
    };
    for cluster in connected.clusters {
        work.begin(cluster);
    }
    loop {
        tokio::select! {
            Some(come) = coming.join_next() => {
                if let Some(cluster) = come.map_err(panicked)? {
                    arrivals.add(&cluster);
                    work.begin(cluster);
                }
            }
            Some(ended) = work.destinations.join_next() => match ended.map_err(panicked)?? {
                Ended::Done | Ended::StoodAside => {}
                Ended::NothingApplied(name) => outcome.nothing_applied.push(name),
                Ended::Lacking(links) => outcome.lacking.extend(links),
            },
            else => break,
        }
    }
    while let Some(ended) = work.carriers.join_next().await {
        ended.map_err(panicked)?;
    }
    difference.abort();
    Ok(outcome)
}

fn panicked(error: JoinError) -> RunError {
    RunError::Panicked(error.to_string())
}

/// What runs for the clusters that are reached.
struct Work<'t> {
    topology: &'t Topology,
    reached: Reached,
    options: Options,
    figures: Figures,
    stop: watch::Receiver<bool>,
    carriers: JoinSet<()>,
    destinations: JoinSet<Result<Ended, RunError>>,
}

impl Work<'_> {
    fn begin(&mut self, cluster: ConnectedCluster) {
        self.carriers.spawn(linked::run(
            cluster.clone(),
            self.options.clone(),
            self.figures.clone(),
            self.stop.clone(),
        ));
        let mut links = self.topology.links.values();
        if links.any(|link| link.destination == cluster.name) {
            self.destinations.spawn(copy_to(
                cluster,
                self.reached.clone(),
                self.options.clone(),
                self.figures.clone(),
                self.stop.clone(),
            ));
        }
    }
}

/// One destination's worker, as often as it takes up the work again that it had left to others.
async fn copy_to(
    cluster: ConnectedCluster,
    reached: Reached,
    options: Options,
    figures: Figures,
    stop: watch::Receiver<bool>,
) -> Result<Ended, RunError> {
    loop {
        let worker = DestinationWorker::new(
            Scope::Files,
            cluster.clone(),
            reached.clone(),
            options.clone(),
            figures.clone(),
        );
        match worker.run(stop.clone()).await? {
            Ended::StoodAside => {}
            ended => return Ok(ended),
        }
    }
}

/// The file only says how clusters are reached; where it asks for something else than was applied, people
/// should know that nothing is done about it here.
async fn tell_difference(topology: Topology, clusters: Clusters) {
    match clusters.observe(&topology).await {
        Ok(observed) => {
            let plan = crate::plan::plan(&topology, &observed);
            if plan.has_changes() || plan.is_blocked() {
                tracing::warn!(
                    "the file differs from what was applied; the worker goes by what was applied. `kmirror plan {}` shows the difference",
                    topology.path.display()
                );
            }
        }
        Err(error) => tracing::debug!(%error, "the file could not be compared with the clusters"),
    }
}
