//! The worker: it obeys what was applied, for every destination that the file names.
//!
//! [`linked`] takes up links that were made over REST, [`scope`] keeps them apart from those of files.
//! [`destination`] keeps the partitions of one destination running, [`desired`] says which those are, [`membership`] and
//! [`lease`] say which of them are this worker's and whether it may write, [`follow`] makes mirrors of topics that match
//! later, [`figures`] counts, [`balance`] decides which partitions should change their slots, and [`slots`] sees to it;
//! [`ending`] ends mirrors that are promoted or failed over.

pub mod balance;
pub mod desired;
pub mod destination;
pub mod ending;
pub mod figures;
pub mod follow;
pub mod lease;
mod linked;
pub mod membership;
pub mod scope;
mod seen;
pub mod slots;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::kafka::{Buffers, Client};
use crate::linking::Key;
use crate::mirror::io::reader::Reader;
use crate::observe::{Clusters, Unreachable};
use crate::topology::model::Topology;
use figures::Figures;
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
}

/// Connects to every cluster of the file. What is read from all of them takes `memory` bytes at most.
///
/// # Errors
/// Every cluster that cannot be reached.
pub async fn connect(
    topology: &Topology,
    memory: usize,
) -> Result<Vec<ConnectedCluster>, Unreachable> {
    let buffers = Buffers::new(memory);
    let clusters = Clusters::connect(topology).await?;
    let connected = topology.clusters.values().map(|cluster| {
        let client = clusters.client(&cluster.name).clone();
        ConnectedCluster {
            name: cluster.name.clone(),
            cluster_id: client.cluster_id(),
            reader: Reader::new(client.clone(), Arc::clone(&buffers)),
            client,
            bootstrap_servers: cluster.bootstrap_servers.clone(),
        }
    });
    Ok(connected.collect())
}

/// Runs until `stop` turns true, or until everything is copied where that is asked for.
///
/// # Errors
/// A destination whose control records cannot be read, or whose group cannot be joined.
pub async fn run(
    topology: &Topology,
    clusters: Vec<ConnectedCluster>,
    options: Options,
    figures: Figures,
    stop: watch::Receiver<bool>,
) -> Result<Outcome, destination::RunError> {
    let difference = tokio::spawn(tell_difference(
        topology.clone(),
        Clusters::of(clusters.iter().map(|cluster| cluster.client.clone())),
    ));
    let by_id: HashMap<String, ConnectedCluster> = clusters
        .iter()
        .map(|cluster| (cluster.cluster_id.clone(), cluster.clone()))
        .collect();
    let mut carriers = JoinSet::new();
    let mut destinations = JoinSet::new();
    for cluster in clusters {
        carriers.spawn(linked::run(
            cluster.clone(),
            options.clone(),
            figures.clone(),
            stop.clone(),
        ));
        if !topology
            .links
            .values()
            .any(|link| link.destination == cluster.name)
        {
            continue;
        }
        let worker = destination::DestinationWorker::new(
            Scope::Files,
            cluster,
            by_id.clone(),
            options.clone(),
            figures.clone(),
        );
        destinations.spawn(worker.run(stop.clone()));
    }
    let mut outcome = Outcome::default();
    while let Some(ended) = destinations.join_next().await {
        match ended.map_err(|panic| destination::RunError::Panicked(panic.to_string()))?? {
            destination::Ended::Done => {}
            destination::Ended::NothingApplied(name) => outcome.nothing_applied.push(name),
        }
    }
    while let Some(ended) = carriers.join_next().await {
        ended.map_err(|panic| destination::RunError::Panicked(panic.to_string()))?;
    }
    difference.abort();
    Ok(outcome)
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
