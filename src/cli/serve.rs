//! `kmirror serve`: Kafka's REST API in front of clusters of a file, without copying anything.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::signals::Signals;
use super::{CliError, ErrorKind, ExitCode, Ui, http};
use crate::server::limits::Limits;
use crate::server::state::{ClusterState, ConnectError};

/// Serve Kafka's REST API v3 in front of the file's clusters
///
/// Each listener serves one cluster of the file, to whom it lets in with the rights that the file gives kmirror there. Beyond
/// loopback it wants users with passwords, and a certificate. Ends at SIGINT or SIGTERM, once requests under way are answered.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    http: http::Args,

    /// File with the key that secrets of links are encrypted with; KMIRROR_KEY or KMIRROR_KEY_FILE without it
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// A file with mistakes, an address that cannot be listened on, a cluster that does not let kmirror in.
pub async fn run(args: Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut signals = Signals::new()?;
    let topology = Arc::new(ui.load_topology(&args.file)?);
    if args.http.listeners.is_empty() {
        let error = CliError::new(ErrorKind::Usage, "nothing is served without an address");
        return Err(error.with_hint("say where: --http 127.0.0.1:8090"));
    }
    let key = super::key::look(args.key_file.as_deref())?.map(Arc::new);
    let prepared = args.http.prepare(&topology).await?;
    args.http.warn(ui);
    let clusters: BTreeMap<String, Arc<ClusterState>> = prepared
        .clusters()
        .map(|name| {
            let cluster = ClusterState::new(name, Arc::clone(&topology));
            let cluster = cluster.with_scribe(super::apply::holder(), key.clone());
            (name.to_owned(), cluster)
        })
        .collect();
    let stop = CancellationToken::new();
    let connecting = connect(clusters.values(), &stop, ui);
    tokio::select! {
        connected = connecting => connected?,
        signal = signals.received() => {
            ui.say(&format!("{signal} received"));
            return Ok(ExitCode::Ok);
        }
    }
    let server = prepared.serve(Limits::default(), |name| Arc::clone(&clusters[name]));
    http::tell(&server, ui);
    let signal = signals.received().await;
    ui.say(&format!(
        "{signal} received: waiting for requests under way"
    ));
    stop.cancel();
    server.stop().await;
    Ok(ExitCode::Ok)
}

/// Connects to all clusters. One whose brokers do not answer is tried again while the others are served; one that answers
/// and cannot be used ends the command, because somebody has to change something first.
async fn connect(
    clusters: impl Iterator<Item = &Arc<ClusterState>>,
    stop: &CancellationToken,
    ui: &Ui,
) -> Result<(), CliError> {
    let connecting = clusters.map(|cluster| async move { (cluster, cluster.connect().await) });
    for (cluster, connected) in join_all(connecting).await {
        let Err(error) = connected else {
            continue;
        };
        if !error.may_pass() {
            return Err(refused(cluster, &error));
        }
        ui.warn(&format!(
            "cluster {}: {error}; requests are answered with 503 until it is reached",
            cluster.name()
        ));
        tokio::spawn(Arc::clone(cluster).keep_connecting(stop.clone()));
    }
    Ok(())
}

fn refused(cluster: &ClusterState, error: &ConnectError) -> CliError {
    let kind = match error {
        ConnectError::Kafka(_) => ErrorKind::Unreachable,
        ConnectError::Other { .. } => ErrorKind::Refused,
    };
    let message = format!("cluster {} cannot be served", cluster.name());
    CliError::new(kind, message).with_detail(error.to_string())
}
