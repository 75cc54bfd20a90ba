//! What the demonstration has started, and its orderly end.

use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::{CliError, ErrorKind, Ui};
use super::secured::Secured;
use crate::mirror::worker::destination::RunError;
use crate::mirror::worker::figures::Figures;
use crate::mirror::worker::{self, Options, Outcome};
use crate::sandbox::stage::StageError;
use crate::sandbox::{Sandbox, SandboxConfig};
use crate::server::Server;
use crate::topology::Topology;

/// Clusters, files, the server, the worker: stopped in reverse order.
#[derive(Debug, Default)]
pub(super) struct Stage {
    clusters: Vec<Sandbox>,
    file: Option<PathBuf>,
    secured: Option<Secured>,
    server: Option<Server>,
    worker: Option<Worker>,
}

#[derive(Debug)]
struct Worker {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<Outcome, RunError>>,
}

impl Stage {
    /// Starts a cluster of one broker on a free port; returns its address.
    pub async fn start_cluster(&mut self, name: &str) -> Result<String, CliError> {
        self.start(SandboxConfig::new(name, 1)).await
    }

    async fn start(&mut self, config: SandboxConfig) -> Result<String, CliError> {
        let sandbox = Sandbox::start(config).await.map_err(StageError::from)?;
        let address = sandbox.bootstrap_servers();
        self.clusters.push(sandbox);
        Ok(address)
    }

    /// Takes what secured clusters have in common, and starts those clusters.
    pub async fn secure(&mut self, mut secured: Secured) -> Result<&Secured, CliError> {
        for config in secured.configs()? {
            let name = config.name.clone();
            let servers = self.start(config).await?;
            secured.is_at(&name, servers);
        }
        Ok(self.secured.insert(secured))
    }

    /// How many records a topic of a cluster holds, and whether a text stands in one of them.
    pub fn search(&self, cluster: &str, topic: &str, text: &str) -> (usize, bool) {
        let cluster = self.clusters.iter().find(|it| it.name() == cluster);
        let records = cluster
            .and_then(|cluster| cluster.log(topic, 0))
            .map(|log| log.records())
            .unwrap_or_default();
        let wanted = text.as_bytes();
        let holds = |bytes: &Option<Bytes>| {
            let bytes = bytes.as_ref();
            bytes.is_some_and(|bytes| bytes.windows(wanted.len()).any(|part| part == wanted))
        };
        let found = records.iter().any(|it| holds(&it.key) || holds(&it.value));
        (records.len(), found)
    }

    /// Writes what somebody goes on with by hand, where secured clusters were started.
    pub fn write_commands(&self, link: &serde_json::Value) -> Result<&std::path::Path, CliError> {
        let secured = self.secured.as_ref();
        let secured = secured.ok_or_else(|| super::wrong("no secured clusters were started"))?;
        secured.write_commands(link)
    }

    /// What listens, to be stopped with the rest.
    pub fn keep_server(&mut self, server: Server) {
        self.server = Some(server);
    }

    /// The address of the cluster that was started in this place.
    pub fn address(&self, index: usize) -> String {
        self.clusters[index].bootstrap_servers()
    }

    /// Puts the topology file where other processes find it.
    pub fn write_file(&mut self, text: &str) -> Result<PathBuf, CliError> {
        let path = std::env::temp_dir().join(format!("kmirror-demo-{}.toml", std::process::id()));
        std::fs::write(&path, text).map_err(|error| {
            CliError::new(ErrorKind::Io, format!("{}: {error}", path.display()))
        })?;
        self.file = Some(path.clone());
        Ok(path)
    }

    /// Starts the worker of `kmirror run`.
    pub async fn start_worker(&mut self, topology: &Topology) -> Result<Figures, CliError> {
        let options = Options {
            holder: super::apply::holder(),
            ..Options::default()
        };
        self.start_worker_with(topology, options).await
    }

    /// The same with options of one's own.
    pub async fn start_worker_with(
        &mut self,
        topology: &Topology,
        options: Options,
    ) -> Result<Figures, CliError> {
        let clusters = worker::connect(topology, worker::MEMORY).await?;
        let figures = Figures::default();
        let (stop, stopped) = watch::channel(false);
        let (topology, shown) = (topology.clone(), figures.clone());
        let task =
            tokio::spawn(
                async move { worker::run(&topology, clusters, options, shown, stopped).await },
            );
        self.worker = Some(Worker { stop, task });
        Ok(figures)
    }

    /// Why the worker has ended, if it has: it should go on until it is stopped.
    pub async fn worker_ended(&mut self) -> Option<CliError> {
        let ended = self.worker.take_if(|worker| worker.task.is_finished())?;
        Some(match ended.task.await {
            Ok(Err(error)) => error.into(),
            Ok(Ok(_)) => super::wrong("the worker ended by itself"),
            Err(_) => super::wrong("the worker panicked"),
        })
    }

    /// Stops everything in reverse order of start, and says so.
    pub async fn stop(mut self, ui: &Ui) {
        ui.say("");
        if let Some(worker) = self.worker.take() {
            worker.stop.send_replace(true);
            match worker.task.await {
                Ok(Ok(_)) => ui.say("stopped the worker"),
                Ok(Err(error)) => ui.say(&format!("the worker ended with an error: {error}")),
                Err(_) => ui.say("the worker panicked"),
            }
        }
        if let Some(server) = self.server.take() {
            server.stop().await;
            ui.say("stopped the server");
        }
        if let Some(secured) = self.secured.take() {
            ui.say(&secured.remove());
        }
        if let Some(path) = self.file.take() {
            match std::fs::remove_file(&path) {
                Ok(()) => ui.say(&format!("removed {}", path.display())),
                Err(error) => ui.say(&format!("{} is left: {error}", path.display())),
            }
        }
        while let Some(sandbox) = self.clusters.pop() {
            let name = sandbox.name().to_owned();
            sandbox.shutdown().await;
            ui.say(&format!("stopped cluster {name}"));
        }
    }
}
