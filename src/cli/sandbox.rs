//! `kmirror sandbox`: the file's clusters, in memory, on the file's own addresses.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::signals::Signals;
use super::{CliError, ErrorKind, ExitCode, Ui};
use crate::client::settings::{Keyed, Pem, Trust};
use crate::client::surroundings::Elsewhere;
use crate::sandbox::Sandbox;
use crate::sandbox::authority::Authority;
use crate::sandbox::stage::{self, Signer, StageError};
use crate::topology::{self, Topology};

/// Run the file's clusters in memory, on the file's own loopback addresses
///
/// Each bootstrap server of the file becomes a broker that any Kafka client can talk to: kmirror,
/// kcat, Kafka's own tools. It lets in whom the file names, as the file says: with TLS or without, by
/// SASL PLAIN or SCRAM. Nothing is kept: when it stops, all topics and records are gone. It runs until
/// it is interrupted.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology file; its bootstrap servers must be loopback addresses
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Create a topic when a client first asks for it, as Kafka's brokers do by default
    #[arg(long)]
    auto_create_topics: bool,

    /// For clusters that are reached by TLS: make an authority for this run, and write its certificate to this file, which the file's clients trust (ssl.ca.location)
    #[arg(long, value_name = "PATH")]
    write_ca: Option<PathBuf>,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// A file with mistakes, an address that is not loopback or not free, clients that come in ways that the sandbox has not got.
pub async fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut signals = Signals::new()?;
    let authority = Authority::new().map_err(StageError::from)?;
    // Before the file is read, which may look for it.
    let ca = args.write_ca.as_deref();
    let written = ca.map(|path| CaFile::write(path, &authority)).transpose()?;
    let loaded = ui.load_topology(&args.file);
    let topology = loaded.map_err(|error| missing_authority(args).unwrap_or(error))?;
    let signer = Signer {
        authority: &authority,
        file: args.write_ca.as_deref(),
    };
    let mut configs = stage::configs(&topology, signer)?;
    for config in &mut configs {
        config.auto_create_topics = args.auto_create_topics;
    }
    let has_tls = configs.iter().any(|config| config.access.tls.is_some());
    let running = stage::start(configs).await?;
    ui.say(&table(&running, &topology));
    match &written {
        Some(CaFile(path)) if has_tls => ui.say(&format!(
            "Clients trust {}, which is removed when these clusters stop.",
            path.display()
        )),
        Some(_) => ui.warn("--write-ca: no cluster of the file is reached by TLS"),
        None => (),
    }
    ui.say("These clusters are in memory: what is written to them is gone when they stop.");
    ui.say("Press Ctrl-C to stop.");
    let signal = signals.received().await;
    ui.say(&format!("{signal} received"));
    stop(running, ui).await;
    Ok(ExitCode::Ok)
}

/// Where all that keeps the file from being read is a certificate that `--write-ca` would have made.
fn missing_authority(args: &Args) -> Option<CliError> {
    let loaded = topology::load_in(&args.file, &Elsewhere).ok()?;
    let clusters = loaded.topology.clusters.values();
    let mut trusted = clusters.filter_map(|cluster| match &cluster.client.tls.trust {
        Some(Keyed {
            value: Trust::Pem(Pem::File(path)),
            ..
        }) => Some(path),
        _ => None,
    });
    let missing = trusted.find(|path| !path.exists())?.display();
    let told = CliError::new(
        ErrorKind::Topology,
        format!("{missing}, which the file's clients are to trust, is not there"),
    );
    Some(told.with_hint(format!(
        "the sandbox writes its own certificate there, and removes it when it stops: --write-ca {missing}"
    )))
}

/// The certificate of this run's authority, in a file that goes with it.
struct CaFile(PathBuf);

impl CaFile {
    fn write(path: &Path, authority: &Authority) -> Result<Self, CliError> {
        let pem = authority.pem().map_err(StageError::from)?;
        let failed = |error: std::io::Error| {
            let refused = CliError::new(ErrorKind::Io, format!("{}: {error}", path.display()));
            match error.kind() {
                std::io::ErrorKind::AlreadyExists => refused.with_hint(
                    "--write-ca makes a file and replaces none; remove it, or name another and have the file's clients trust that",
                ),
                _ => refused,
            }
        };
        let mut file = std::fs::File::create_new(path).map_err(failed)?;
        let written = Self(path.to_owned());
        file.write_all(pem.as_bytes()).map_err(failed)?;
        Ok(written)
    }
}

impl Drop for CaFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!("{} is left: {error}", self.0.display());
        }
    }
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
fn table(running: &[Sandbox], topology: &Topology) -> String {
    let titles = ["cluster", "broker", "address", "protocol", "cluster id"];
    let mut rows = vec![titles.map(str::to_owned)];
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
            let protocol = protocol(topology, sandbox.name());
            rows.push([name, format!("{id}"), address, protocol, cluster_id]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// As the file's clients come: `SASL_SSL PLAIN`.
fn protocol(topology: &Topology, cluster: &str) -> String {
    let Some(cluster) = topology.clusters.get(cluster) else {
        return String::new();
    };
    let protocol = cluster.client.protocol.value.name();
    match &cluster.client.sasl {
        Some(sasl) => format!("{protocol} {}", sasl.value.mechanism()),
        None => protocol.to_owned(),
    }
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
            StageError::Unsupported { .. } => Self::new(ErrorKind::Usage, message).with_hint(
                "it knows PLAIN and SCRAM, with TLS or without; give the sandbox a file of its own with one of those",
            ),
            StageError::Distrusted { .. } => Self::new(ErrorKind::Usage, message).with_hint(
                "write `ssl.ca.location = \"sandbox-ca.pem\"` for the cluster in the file, and have that made: --write-ca sandbox-ca.pem (in the file's folder)",
            ),
            StageError::Secret { .. } => Self::new(ErrorKind::Io, message),
            StageError::Authority(_) | StageError::NoRandom(_) => {
                Self::new(ErrorKind::Internal, message)
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
