//! Sandboxes for a topology file: one cluster per cluster of the file, on the file's own addresses.

use std::net::{SocketAddr, ToSocketAddrs};

use indexmap::IndexMap;

use super::{Listen, Sandbox, SandboxConfig, StartError};
use crate::topology::model::{Cluster, Topology};

/// Why a file's clusters cannot be had on this machine.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("cluster {cluster}: {address} is not an address of the form host:port")]
    Malformed { cluster: String, address: String },
    #[error("cluster {cluster}: {address} is not a loopback address")]
    NotLoopback { cluster: String, address: String },
    #[error("cluster {cluster}: {address} cannot be resolved: {cause}")]
    Unresolved {
        cluster: String,
        address: String,
        cause: std::io::Error,
    },
    #[error("clusters {first} and {second} both have the address {address}")]
    Shared {
        first: String,
        second: String,
        address: String,
    },
    #[error(transparent)]
    Start(#[from] StartError),
}

/// What each cluster of the file would be, in the file's order. Opens nothing.
pub fn configs(topology: &Topology) -> Result<Vec<SandboxConfig>, StageError> {
    let mut taken: IndexMap<SocketAddr, &str> = IndexMap::new();
    let mut configs = Vec::new();
    for cluster in topology.clusters.values() {
        let mut brokers = Vec::new();
        for address in &cluster.bootstrap_servers {
            let listen = listen(cluster, address)?;
            for socket in &listen.addresses {
                if let Some(first) = taken.insert(*socket, &cluster.name) {
                    return Err(StageError::Shared {
                        first: first.to_owned(),
                        second: cluster.name.clone(),
                        address: address.clone(),
                    });
                }
            }
            brokers.push(listen);
        }
        configs.push(SandboxConfig {
            cluster_id: cluster.cluster_id.as_ref().map(|id| id.value.clone()),
            brokers,
            ..SandboxConfig::new(&cluster.name, 0)
        });
    }
    Ok(configs)
}

fn listen(cluster: &Cluster, address: &str) -> Result<Listen, StageError> {
    let malformed = || StageError::Malformed {
        cluster: cluster.name.clone(),
        address: address.to_owned(),
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let port: u16 = port.parse().map_err(|_| malformed())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|cause| StageError::Unresolved {
            cluster: cluster.name.clone(),
            address: address.to_owned(),
            cause,
        })?
        .collect();
    if addresses.is_empty() || !addresses.iter().all(|address| address.ip().is_loopback()) {
        return Err(StageError::NotLoopback {
            cluster: cluster.name.clone(),
            address: address.to_owned(),
        });
    }
    Ok(Listen {
        host: host.to_owned(),
        addresses,
    })
}

/// Starts them in order; when one cannot start, those before it are stopped again.
pub async fn start(configs: Vec<SandboxConfig>) -> Result<Vec<Sandbox>, StageError> {
    let mut running = Vec::new();
    for config in configs {
        match Sandbox::start(config).await {
            Ok(sandbox) => running.push(sandbox),
            Err(error) => {
                while let Some(sandbox) = running.pop() {
                    sandbox.shutdown().await;
                }
                return Err(error.into());
            }
        }
    }
    Ok(running)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology;

    fn of(text: &str) -> Result<Vec<SandboxConfig>, StageError> {
        let loaded = topology::parse("t.toml".as_ref(), text).expect("a valid file");
        configs(&loaded.topology)
    }

    #[test]
    fn every_bootstrap_server_is_a_broker() {
        let configs = of(
            "kmirror = 1\n[clusters.a]\nbootstrap_servers = [\"127.0.0.1:19082\", \"127.0.0.1:19083\"]\ncluster_id = \"MkU3OEVBNTcwNTJENDM2Qg\"\n[clusters.b]\nbootstrap_servers = \"localhost:19092\"\n",
        )
        .expect("loopback");
        assert_eq!(configs.len(), 2);
        assert_eq!(configs[0].brokers.len(), 2);
        assert_eq!(
            configs[0].cluster_id.as_deref(),
            Some("MkU3OEVBNTcwNTJENDM2Qg")
        );
        assert_eq!(configs[1].brokers[0].host, "localhost");
    }

    #[test]
    fn addresses_elsewhere_are_refused() {
        let error = of("kmirror = 1\n[clusters.a]\nbootstrap_servers = \"192.0.2.1:9092\"\n")
            .expect_err("not here");
        assert_eq!(
            error.to_string(),
            "cluster a: 192.0.2.1:9092 is not a loopback address"
        );
    }

    #[test]
    fn two_clusters_cannot_share_an_address() {
        let result = of(
            "kmirror = 1\n[clusters.a]\nbootstrap_servers = \"127.0.0.1:19092\"\n[clusters.b]\nbootstrap_servers = \"127.0.0.1:19092\"\n",
        );
        assert!(
            matches!(result, Err(StageError::Shared { .. })),
            "{result:?}"
        );
    }
}
