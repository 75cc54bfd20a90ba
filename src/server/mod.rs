//! The HTTP server: Kafka's REST API v3 in front of clusters of a topology file, one listener a cluster.
//!
//! [`listener`] says where a listener listens and whether it may, [`connection`] keeps its connections within limits, [`gate`] is what
//! each request passes: [`guard`] (where it comes from), [`users`] (who asks), [`limits`] and [`audit`]. [`v3`] has the API itself,
//! [`openapi`] its description; [`problem`] and [`json`] are its refusals and documents, [`state`] is what it knows of its cluster.
//!
//! A listener knows its own cluster and no other: what is asked of another cluster's id is not found there.

pub mod audit;
pub mod connection;
pub mod gate;
pub mod guard;
pub mod json;
pub mod limits;
pub mod listener;
pub mod openapi;
pub mod problem;
mod stalled;
pub mod state;
pub mod urls;
pub mod users;
pub mod v3;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::get;
use hyper::StatusCode;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::gate::Site;
use self::guard::Names;
use self::limits::Limits;
use self::listener::{Bound, Listener, StartError};
use self::problem::ApiError;
use self::state::ClusterState;
use self::users::Users;
use crate::kafka::security::acceptor::Acceptor;

/// Who may ask, and how listeners are reached; for all listeners of a server.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// A file of users and their hashed passwords; without one nobody is asked who they are.
    pub users: Option<PathBuf>,
    /// PEM files of a certificate chain and its key; without them there is no TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Whether passwords may cross the network unencrypted.
    pub plaintext: bool,
    /// Further names of the server: those of proxies in front of it.
    pub hosts: Vec<String>,
}

/// Listeners that hold their addresses and take no connections yet.
#[derive(Debug)]
pub struct Prepared {
    bound: Vec<Bound>,
    users: Option<Arc<Users>>,
    tls: Option<Arc<Acceptor>>,
    hosts: Vec<String>,
}

/// Takes the addresses, and reads users and certificate.
///
/// # Errors
/// An address that is taken, or that must not be used without protection; files that cannot be used.
pub async fn prepare(listeners: Vec<Listener>, access: &Access) -> Result<Prepared, StartError> {
    let listeners = listener::resolve(listeners).await?;
    for listener in &listeners {
        listener.check(access)?;
    }
    let users = access.users.as_deref().map(Users::open).transpose()?;
    let tls = access.tls.as_ref();
    let tls = tls.map(|(certificate, key)| Acceptor::read(certificate, key));
    Ok(Prepared {
        users: users.map(Arc::new),
        tls: tls.transpose()?.map(Arc::new),
        hosts: access.hosts.clone(),
        bound: listener::bind(listeners).await?,
    })
}

/// A place where a cluster is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    pub cluster: String,
    /// `https://127.0.0.1:8090`
    pub url: String,
    pub address: SocketAddr,
}

/// A running server. Dropping it stops it at once; [`Server::stop`] lets requests come to their end.
#[derive(Debug)]
pub struct Server {
    served: Vec<Served>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    requests: Vec<Arc<Semaphore>>,
    limits: Limits,
}

impl Prepared {
    /// The clusters that are to be served, by their names in the file.
    pub fn clusters(&self) -> impl Iterator<Item = &str> {
        self.bound.iter().map(|bound| bound.cluster.as_str())
    }

    /// Begins to serve. `cluster` gives what is known of a cluster, by its name in the file.
    pub fn serve(self, limits: Limits, cluster: impl Fn(&str) -> Arc<ClusterState>) -> Server {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let mut served = Vec::new();
        let mut requests = Vec::new();
        for bound in self.bound {
            let cluster = cluster(&bound.cluster);
            let at_once = Arc::new(Semaphore::new(limits.requests));
            requests.push(Arc::clone(&at_once));
            let site = Site {
                names: Names {
                    loopback: bound.loopback,
                    secure: self.tls.is_some(),
                    hosts: self.hosts.clone(),
                },
                users: self.users.clone(),
                limits: limits.clone(),
                requests: at_once,
            };
            let scheme = if self.tls.is_some() { "https" } else { "http" };
            served.push(Served {
                cluster: bound.cluster,
                url: format!("{scheme}://{}", bound.address),
                address: bound.address,
            });
            let door = connection::Door {
                router: router(cluster, site),
                tls: self.tls.clone(),
                limits: limits.clone(),
                stop: stop.clone(),
            };
            tasks.spawn(door.keep(bound.sockets));
        }
        Server {
            served,
            stop,
            tasks,
            requests,
            limits,
        }
    }
}

impl Server {
    /// Where clusters are served, in the order in which they were asked for.
    pub fn served(&self) -> &[Served] {
        &self.served
    }

    /// Takes no more connections, and waits until the requests under way have been answered, if not for ever.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let done = async {
            while self.tasks.join_next().await.is_some() {}
            // A change goes on when its caller has gone away.
            let all = u32::try_from(self.limits.requests).unwrap_or(u32::MAX);
            for requests in &self.requests {
                // It fails where the semaphore is closed, which nobody does.
                drop(requests.acquire_many(all).await);
            }
        };
        if tokio::time::timeout(self.limits.farewell, done)
            .await
            .is_err()
        {
            tracing::warn!("requests that were under way are given up");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Everything that a listener answers.
fn router(cluster: Arc<ClusterState>, site: Site) -> Router {
    let api = v3::routes();
    Router::new()
        .nest("/kafka/v3", api.clone())
        .nest("/v3", api)
        .route("/openapi.yaml", get(openapi::describe))
        .fallback(|| async { ApiError::bare(StatusCode::NOT_FOUND) })
        .method_not_allowed_fallback(|| async { ApiError::bare(StatusCode::METHOD_NOT_ALLOWED) })
        .with_state(cluster)
        .layer(middleware::from_fn_with_state(Arc::new(site), gate::pass))
}
