//! A worker that believes to own everything, always: what the group of workers prevents, made on purpose.
//!
//! It is this test binary, started again with a variable that names the clusters. The worker inside is the product's own;
//! only its membership is replaced by a lease that nobody but itself renews.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use kmirror::kafka::{Buffers, Client};
use kmirror::mirror::io::reader::Reader;
use kmirror::mirror::worker::destination::DestinationWorker;
use kmirror::mirror::worker::figures::Figures;
use kmirror::mirror::worker::lease::Moment;
use kmirror::mirror::worker::membership::Change;
use kmirror::mirror::worker::scope::Scope;
use kmirror::mirror::worker::{ConnectedCluster, MEMORY, Options};
use tokio::sync::{mpsc, watch};

use crate::conformance::wire::connect;
use crate::support::lab::Lab;
use crate::support::process::Process;
use crate::wire::block_on;

/// `SOURCE;DESTINATION`, each as bootstrap servers.
const CLUSTERS: &str = "KMIRROR_TEST_RACER";

/// Starts one; its log is the test's `NAME.log`.
pub fn start(lab: &Lab, name: &str, source: &str, destination: &str) -> Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(CLUSTERS, format!("{source};{destination}"));
    Process::spawn(name, &mut command, &lab.dir().join(format!("{name}.log")))
}

/// Does not return in a process that was started as a racer.
#[expect(
    clippy::disallowed_methods,
    reason = "the runner of tests must not start in such a process"
)]
pub fn run_if_asked() {
    let Ok(clusters) = std::env::var(CLUSTERS) else {
        return;
    };
    let Err(error) = block_on(race(&clusters));
    eprintln!("{error:#}");
    std::process::exit(1);
}

async fn race(clusters: &str) -> Result<std::convert::Infallible> {
    tracing_subscriber::fmt().with_ansi(false).init();
    let (source, destination) = clusters.split_once(';').context("two clusters")?;
    let source = cluster("source", connect(source).await?, source);
    let destination = cluster("destination", connect(destination).await?, destination);
    let by_id: HashMap<String, ConnectedCluster> = [&source, &destination]
        .map(|cluster| (cluster.cluster_id.clone(), cluster.clone()))
        .into();
    let worker = DestinationWorker::new(
        Scope::Files,
        destination,
        by_id,
        Options::default(),
        Figures::default(),
    );
    let lease = worker.lease();
    std::thread::spawn(move || {
        loop {
            lease.renew(Moment::now());
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let (changes, told) = mpsc::unbounded_channel();
    let everything = (0..kmirror::control::records::WORK_SLOTS).collect();
    changes.send(Change::Assigned(everything))?;
    // Dropped, both would end the worker.
    let (_stop, stopped) = watch::channel(false);
    let ended = worker.serve(told, stopped).await;
    drop(changes);
    anyhow::bail!("a racer ended: {ended:?}")
}

fn cluster(name: &str, client: Client, bootstrap: &str) -> ConnectedCluster {
    ConnectedCluster {
        name: name.to_owned(),
        cluster_id: client.cluster_id(),
        reader: Reader::new(client.clone(), Buffers::new(MEMORY)),
        client,
        bootstrap_servers: bootstrap.split(',').map(str::to_owned).collect(),
    }
}
