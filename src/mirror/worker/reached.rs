//! The clusters that a worker reaches: those that answer at its start, and those that come later.
//!
//! A source that is down keeps nobody from what needs none: what was failed over or paused is carried out, and other links are
//! copied. It is tried again until it answers, and its links begin then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::ConnectedCluster;
use crate::kafka::{Backoff, Buffers, Client, ClientConfig, Error};
use crate::mirror::io::reader::Reader;
use crate::observe::{Clusters, Unreachable};
use crate::topology::model::Topology;

const TRY_AGAIN: Duration = Duration::from_millis(500);
const TRY_AGAIN_AT_LAST: Duration = Duration::from_secs(5);

/// The clusters of a file at the start of a worker.
#[derive(Clone, Debug)]
pub struct Connected {
    pub clusters: Vec<ConnectedCluster>,
    /// As planning knows them, those included that no broker answered for.
    pub observed: Clusters,
    buffers: Arc<Buffers>,
}

/// Connects to every cluster of the file. What is read from all of them takes `memory` bytes at most. A cluster that no
/// broker answers for is left out ([`Connected::silent`]), unless nothing could be done without it.
///
/// # Errors
/// Every cluster that does not let us in, and all that do not answer where they are all to which anything is copied.
pub async fn connect(topology: &Topology, memory: usize) -> Result<Connected, Unreachable> {
    let buffers = Buffers::new(memory);
    let observed = Clusters::connect_to_plan(topology).await?;
    let mut links = topology.links.values().peekable();
    let is_idle = match links.peek() {
        Some(_) => !links.any(|link| observed.has(&link.destination)),
        None => observed.names().is_empty(),
    };
    if is_idle {
        return Err(observed.unreached());
    }
    let reached = topology.clusters.values();
    let reached = reached.filter(|cluster| observed.has(&cluster.name));
    let clusters = reached.map(|cluster| {
        let client = observed.client(&cluster.name).clone();
        connected(client, &cluster.bootstrap_servers, &buffers)
    });
    Ok(Connected {
        clusters: clusters.collect(),
        observed,
        buffers,
    })
}

fn connected(client: Client, servers: &[String], buffers: &Arc<Buffers>) -> ConnectedCluster {
    ConnectedCluster {
        name: client.cluster_name().to_owned(),
        cluster_id: client.cluster_id(),
        reader: Reader::new(client.clone(), Arc::clone(buffers)),
        client,
        bootstrap_servers: servers.to_vec(),
    }
}

impl Connected {
    /// The clusters that no broker answered for, and why.
    pub fn silent(&self) -> Vec<(String, String)> {
        self.observed.silent()
    }

    /// Tries to reach a cluster until it answers; `None` where `stop` turned true first.
    pub(super) fn come(
        &self,
        topology: &Topology,
        name: &str,
        mut stop: watch::Receiver<bool>,
    ) -> impl Future<Output = Option<ConnectedCluster>> + Send + use<> {
        let cluster = &topology.clusters[name];
        let servers = cluster.bootstrap_servers.clone();
        let config = ClientConfig::with_settings(name, servers.clone(), cluster.client.clone());
        let buffers = Arc::clone(&self.buffers);
        async move {
            let client = tokio::select! {
                client = reach(config) => client,
                // It fails where nobody is left who could say so.
                _ = stop.wait_for(|stop| *stop) => return None,
            };
            tracing::info!(
                cluster = client.cluster_name(),
                "the cluster is reached now"
            );
            Some(connected(client, &servers, &buffers))
        }
    }
}

async fn reach(config: ClientConfig) -> Client {
    let mut backoff = Backoff::new(TRY_AGAIN, TRY_AGAIN_AT_LAST);
    let mut is_told = false;
    loop {
        backoff.sleep().await;
        match Client::connect(config.clone()).await {
            Ok(client) => return client,
            // As it was told at the start.
            Err(Error::Unreachable { .. }) => {}
            Err(error) if !is_told => {
                is_told = true;
                tracing::warn!(cluster = config.cluster_name, %error, "the cluster answers and cannot be used");
            }
            Err(_) => {}
        }
    }
}

/// Clusters by their ids.
type ById = HashMap<String, ConnectedCluster>;

/// What all parts of a worker know of the clusters that are reached.
#[derive(Clone, Debug)]
pub struct Reached(watch::Receiver<Arc<ById>>);

/// Clusters that are all there will be.
impl From<ById> for Reached {
    fn from(clusters: ById) -> Self {
        Self(watch::channel(Arc::new(clusters)).1)
    }
}

impl Reached {
    /// The clusters that are reached so far; others are added with [`Arrivals::add`].
    pub(super) fn so_far(clusters: &[ConnectedCluster]) -> (Arrivals, Self) {
        let by_id = clusters
            .iter()
            .map(|cluster| (cluster.cluster_id.clone(), cluster.clone()));
        let (sender, receiver) = watch::channel(Arc::new(by_id.collect()));
        (Arrivals(sender), Self(receiver))
    }

    pub fn get(&self, cluster_id: &str) -> Option<ConnectedCluster> {
        self.0.borrow().get(cluster_id).cloned()
    }

    pub fn has(&self, cluster_id: &str) -> bool {
        self.0.borrow().contains_key(cluster_id)
    }

    /// All of them as they are now.
    pub fn all(&self) -> Arc<ById> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits until a cluster was added since this was last asked; for ever where none will be.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Where clusters are added that are reached later.
#[derive(Debug)]
pub(super) struct Arrivals(watch::Sender<Arc<ById>>);

impl Arrivals {
    pub(super) fn add(&self, cluster: &ConnectedCluster) {
        self.0.send_modify(|known| {
            let mut clusters = ById::clone(known);
            clusters.insert(cluster.cluster_id.clone(), cluster.clone());
            *known = Arc::new(clusters);
        });
    }
}
