//! What a listener knows of its cluster, and the cluster as a request sees it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{FromRequestParts, RawPathParams};
use hyper::StatusCode;
use hyper::http::request::Parts;
use tokio_util::sync::CancellationToken;

use super::problem::ApiError;
use super::urls::{Base, Urls};
use crate::kafka::{Admin, Backoff, Client, ClientConfig, Error};
use crate::linking::Key;
use crate::linking::operations::Desk;
use crate::topology::Topology;

/// What brokers get for a call, so that its answer still fits into [`super::limits::Limits::answer_time`].
const DEADLINE: Duration = Duration::from_secs(25);

/// A cluster that is served.
#[derive(Debug)]
pub struct ClusterState {
    name: String,
    topology: Arc<Topology>,
    client: OnceLock<Client>,
    scribe: OnceLock<Scribe>,
    desk: OnceLock<Desk>,
}

/// Who changes links.
#[derive(Debug)]
struct Scribe {
    /// As others are told that wait for the lock.
    holder: String,
    /// What secrets of links are sealed with, if this server has it.
    key: Option<Arc<Key>>,
}

/// Why a cluster cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Kafka(#[from] Error),
    #[error("the file says that cluster {name} is {pinned}, and the one that answers is {found}")]
    Other {
        name: String,
        pinned: String,
        found: String,
    },
}

impl ConnectError {
    /// Whether it may go better without anybody changing something.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Kafka(error) if error.class() != crate::kafka::ErrorClass::Fatal)
    }
}

impl ClusterState {
    /// A cluster of the file that was not connected to yet.
    pub fn new(name: &str, topology: Arc<Topology>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            topology,
            client: OnceLock::new(),
            scribe: OnceLock::new(),
            desk: OnceLock::new(),
        })
    }

    /// A cluster of the file over a connection that there is.
    pub fn connected(client: Client, topology: Arc<Topology>) -> Arc<Self> {
        Arc::new(Self {
            name: client.cluster_name().to_owned(),
            topology,
            client: OnceLock::from(client),
            scribe: OnceLock::new(),
            desk: OnceLock::new(),
        })
    }

    /// Says who changes links, and gives the key that their secrets are sealed with. What was said first stays.
    #[must_use]
    pub fn with_scribe(self: Arc<Self>, holder: String, key: Option<Arc<Key>>) -> Arc<Self> {
        let _ = self.scribe.set(Scribe { holder, key });
        self
    }

    /// Who does what is asked of links.
    ///
    /// # Errors
    /// 503 as long as no broker has answered.
    pub fn desk(&self) -> Result<&Desk, ApiError> {
        let client = self.client()?;
        let desk = || {
            let desk = match self.scribe.get() {
                Some(scribe) => Desk::new(client.clone(), scribe.key.clone(), &scribe.holder),
                None => Desk::new(client.clone(), None, "a server"),
            };
            desk.beside(Arc::clone(&self.topology))
        };
        Ok(self.desk.get_or_init(desk))
    }

    /// The cluster's name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file, for how other clusters are reached.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// The cluster's connections.
    ///
    /// # Errors
    /// 503 as long as no broker has answered.
    pub fn client(&self) -> Result<&Client, ApiError> {
        let none = || ApiError::unavailable("no broker of the cluster has been reached yet");
        self.client.get().ok_or_else(none)
    }

    /// Connects once.
    ///
    /// # Errors
    /// No broker answers, one does not let us in, or it is another cluster than the file says.
    pub async fn connect(&self) -> Result<(), ConnectError> {
        if self.client.get().is_some() {
            return Ok(());
        }
        let cluster = self.topology.clusters.get(&self.name);
        let cluster = cluster.expect("only clusters of the file are served");
        let config = ClientConfig::with_settings(
            &cluster.name,
            cluster.bootstrap_servers.clone(),
            cluster.client.clone(),
        );
        let client = Client::connect(config).await?;
        let found = client.cluster_id();
        if let Some(pinned) = cluster.cluster_id.as_ref().filter(|pin| pin.value != found) {
            return Err(ConnectError::Other {
                name: self.name.clone(),
                pinned: pinned.value.clone(),
                found,
            });
        }
        // Whoever else has connected meanwhile is as good.
        let _ = self.client.set(client);
        Ok(())
    }

    /// Tries until it is connected or told to stop.
    pub async fn keep_connecting(self: Arc<Self>, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));
        loop {
            tokio::select! {
                () = backoff.sleep() => {}
                () = stop.cancelled() => return,
            }
            let connected = tokio::select! {
                connected = self.connect() => connected,
                () = stop.cancelled() => return,
            };
            match connected {
                Ok(()) => {
                    tracing::info!(cluster = self.name, "connected");
                    return;
                }
                Err(error) => tracing::warn!(cluster = self.name, %error, "not connected yet"),
            }
        }
    }
}

/// The listener's cluster, for a request that names it by its id.
#[derive(Clone, Debug)]
pub struct InCluster {
    pub client: Client,
    pub admin: Admin,
    /// The cluster's own id.
    pub id: String,
    pub urls: Urls,
}

impl InCluster {
    fn new(client: &Client, base: Base) -> Self {
        let id = client.cluster_id();
        Self {
            client: client.clone(),
            admin: client.admin().with_deadline(DEADLINE),
            urls: Urls::new(base, id.clone()),
            id,
        }
    }
}

/// Refuses the ids of all other clusters: 404, in Kafka REST's words.
impl FromRequestParts<Arc<ClusterState>> for InCluster {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<ClusterState>,
    ) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|_| ApiError::bare(StatusCode::NOT_FOUND))?;
        let asked = params.iter().find(|(name, _)| *name == "cluster_id");
        let OwnCluster(cluster) = OwnCluster::from_request_parts(parts, state).await?;
        match asked {
            Some((_, id)) if id == cluster.id => Ok(cluster),
            Some((_, id)) => Err(ApiError::not_found(format!(
                "Cluster {id} cannot be found."
            ))),
            None => Err(ApiError::bare(StatusCode::NOT_FOUND)),
        }
    }
}

/// The listener's cluster, for a request that names none.
#[derive(Clone, Debug)]
pub struct OwnCluster(pub InCluster);

impl FromRequestParts<Arc<ClusterState>> for OwnCluster {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<ClusterState>,
    ) -> Result<Self, ApiError> {
        let base = parts.extensions.get::<Base>().cloned();
        let base = base.ok_or_else(|| ApiError::internal("the request passed no gate"))?;
        Ok(Self(InCluster::new(state.client()?, base)))
    }
}
