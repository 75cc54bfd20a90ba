//! The sources of links that files declare, which have no configs of their own: reached as the server's file says, where it names them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::control::records::LinkRecord;
use crate::kafka::{Client, ClientConfig};
use crate::status::Source;
use crate::topology::Topology;
use crate::topology::model::Cluster;

/// How long a source may take to let us in: somebody waits for what else there is to tell.
const PATIENCE: Duration = Duration::from_secs(5);

/// The clusters of a file, and connections to those that were asked for.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// `None`: no file is known.
    file: Option<Arc<Topology>>,
    /// By the cluster's name.
    clients: Mutex<HashMap<String, Client>>,
}

impl Neighbours {
    pub(super) fn of(file: Arc<Topology>) -> Self {
        Self {
            file: Some(file),
            clients: Mutex::default(),
        }
    }

    /// The source of a link; `None` where the file does not name it, or names another cluster so.
    pub(super) async fn source_of(&self, link: &LinkRecord) -> Option<Source> {
        let cluster = self.named(link)?;
        let kept = self.clients.lock().await.get(&cluster.name).cloned();
        let client = match kept {
            Some(client) => client,
            None => match connect(cluster).await {
                Ok(client) => {
                    let mut clients = self.clients.lock().await;
                    clients
                        .entry(cluster.name.clone())
                        .or_insert(client)
                        .clone()
                }
                Err(cause) => return Some(Source::Unreachable(cause)),
            },
        };
        (client.cluster_id() == link.source_cluster_id).then_some(Source::Connected(client))
    }

    /// The cluster of the file that is the link's source: the one with its id, else the source of the file's link of that name.
    fn named(&self, link: &LinkRecord) -> Option<&Cluster> {
        let file = self.file.as_ref()?;
        let mut clusters = file.clusters.values();
        let pinned = clusters.find(|cluster| {
            let pin = cluster.cluster_id.as_ref();
            pin.is_some_and(|pin| pin.value == link.source_cluster_id)
        });
        let declared = || file.clusters.get(&file.links.get(&link.name)?.source);
        pinned.or_else(declared)
    }
}

async fn connect(cluster: &Cluster) -> Result<Client, String> {
    let config = ClientConfig::with_settings(
        &cluster.name,
        cluster.bootstrap_servers.clone(),
        cluster.client.clone(),
    );
    match tokio::time::timeout(PATIENCE, Client::connect(config)).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "cluster {} does not answer within {} seconds",
            cluster.name,
            PATIENCE.as_secs()
        )),
    }
}
