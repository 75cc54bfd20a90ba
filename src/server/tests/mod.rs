//! The server over an embedded cluster, asked as clients ask.

mod changes;
mod client;
mod description;
mod entrance;
mod links;
mod reads;
mod scene;

use std::sync::Arc;

use client::Client;

use super::limits::Limits;
use super::listener::Listener;
use super::state::ClusterState;
use super::{Access, Server};
use crate::sandbox::{Sandbox, SandboxConfig};
use crate::topology::Topology;

pub(super) const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";

/// A cluster with a listener before it.
struct Stand {
    sandbox: Sandbox,
    cluster: Arc<ClusterState>,
    server: Server,
}

impl Stand {
    async fn new() -> Self {
        Self::with(Access::default(), Limits::default()).await
    }

    async fn with(access: Access, limits: Limits) -> Self {
        let mut config = SandboxConfig::new("west", 3);
        config.cluster_id = Some(CLUSTER_ID.to_owned());
        let sandbox = Sandbox::start(config).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let topology = topology(&folder, &sandbox.addresses().join(","));
        let cluster = ClusterState::new("west", topology);
        cluster.connect().await.unwrap();
        Self {
            server: serve(Arc::clone(&cluster), &access, limits).await,
            cluster,
            sandbox,
        }
    }

    fn client(&self) -> Client {
        Client::of(&self.server)
    }

    /// Where the brokers are.
    fn servers(&self) -> String {
        self.sandbox.addresses().join(",")
    }
}

async fn serve(cluster: Arc<ClusterState>, access: &Access, limits: Limits) -> Server {
    let listener = Listener {
        cluster: "west".to_owned(),
        address: "127.0.0.1:0".to_owned(),
    };
    let prepared = super::prepare(vec![listener], access).await.unwrap();
    prepared.serve(limits, |_| Arc::clone(&cluster))
}

fn topology(folder: &tempfile::TempDir, servers: &str) -> Arc<Topology> {
    let path = folder.path().join("west.toml");
    let text = format!("kmirror = 1\n[clusters.west]\nbootstrap_servers = \"{servers}\"\n");
    std::fs::write(&path, text).unwrap();
    Arc::new(crate::topology::load(&path).unwrap().topology)
}
