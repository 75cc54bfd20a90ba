//! `kmirror sandbox`: the file's clusters, in memory, on the file's own addresses.

use std::path::PathBuf;

use super::signals::Signals;
use super::{CliError, ErrorKind, ExitCode, Ui};
use crate::sandbox::Sandbox;
use crate::sandbox::stage::{self, StageError};

/// Run the file's clusters in memory, on the file's own loopback addresses
///
/// Each bootstrap server of the file becomes a broker that any Kafka client can talk to: kmirror,
/// kcat, Kafka's own tools. Nothing is kept: when it stops, all topics and records are gone. It
/// runs until it is interrupted.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology file; its bootstrap servers must be loopback addresses
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Create a topic when a client first asks for it, as Kafka's brokers do by default
    #[arg(long)]
    auto_create_topics: bool,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// A file with mistakes, an address that is not loopback or not free.
pub async fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut signals = Signals::new()?;
    let topology = ui.load_topology(&args.file)?;
    let mut configs = stage::configs(&topology)?;
    for config in &mut configs {
        config.auto_create_topics = args.auto_create_topics;
    }
    let running = stage::start(configs).await?;
    ui.say(&table(&running));
    ui.say("These clusters are in memory: what is written to them is gone when they stop.");
    ui.say("Press Ctrl-C to stop.");
    let signal = signals.received().await;
    ui.say(&format!("{signal} received"));
    stop(running, ui).await;
    Ok(ExitCode::Ok)
}

/// Stops in reverse order of start.
pub async fn stop(mut running: Vec<Sandbox>, ui: &Ui) {
    while let Some(sandbox) = running.pop() {
        let name = sandbox.name().to_owned();
        sandbox.shutdown().await;
        ui.say(&format!(
            "stopped cluster {name}; its topics and records are gone"
        ));
    }
}

/// Names and addresses, one line a broker.
fn table(running: &[Sandbox]) -> String {
    let mut rows = vec![["cluster", "broker", "address", "cluster id"].map(str::to_owned)];
    for sandbox in running {
        for (id, address) in (1..).zip(sandbox.addresses()) {
            let first = id == 1;
            let name = if first {
                sandbox.name().to_owned()
            } else {
                String::new()
            };
            let cluster_id = if first {
                sandbox.cluster_id()
            } else {
                String::new()
            };
            rows.push([name, format!("{id}"), address, cluster_id]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..4).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

impl From<StageError> for CliError {
    fn from(error: StageError) -> Self {
        let message = error.to_string();
        match error {
            StageError::Malformed { .. } => Self::new(ErrorKind::Topology, message),
            StageError::NotLoopback { .. } | StageError::Unresolved { .. } => {
                Self::new(ErrorKind::Usage, message).with_hint(
                    "the sandbox listens on this machine only: use addresses such as 127.0.0.1:9092 or localhost:9092 in the file",
                )
            }
            StageError::Shared { .. } => Self::new(ErrorKind::Usage, message)
                .with_hint("give each cluster of the file its own port"),
            StageError::Start(crate::sandbox::StartError::Listen { address, cause, .. }) => {
                let error = Self::new(ErrorKind::Io, message);
                if cause.kind() == std::io::ErrorKind::AddrInUse {
                    error.with_hint(format!(
                        "something listens on {address} already; `ss -ltnp` shows what, or change the port in the file"
                    ))
                } else {
                    error
                }
            }
        }
    }
}
