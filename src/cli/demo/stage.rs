//! What the demonstration has started, and its orderly end.

use std::path::PathBuf;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::{CliError, ErrorKind, Ui};
use crate::mirror::worker::destination::RunError;
use crate::mirror::worker::figures::Figures;
use crate::mirror::worker::{self, Options, Outcome};
use crate::sandbox::stage::StageError;
use crate::sandbox::{Sandbox, SandboxConfig};
use crate::topology::Topology;

/// Clusters, the file, the worker: stopped in reverse order.
#[derive(Debug, Default)]
pub(super) struct Stage {
    clusters: Vec<Sandbox>,
    file: Option<PathBuf>,
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
        let sandbox = Sandbox::start(SandboxConfig::new(name, 1))
            .await
            .map_err(StageError::from)?;
        let address = sandbox.bootstrap_servers();
        self.clusters.push(sandbox);
        Ok(address)
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
        let clusters = worker::connect(topology, worker::MEMORY).await?;
        let figures = Figures::default();
        let (stop, stopped) = watch::channel(false);
        let (topology, shown) = (topology.clone(), figures.clone());
        let options = Options {
            holder: super::apply::holder(),
            ..Options::default()
        };
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
