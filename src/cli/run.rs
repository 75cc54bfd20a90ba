//! `kmirror run`: the worker that keeps the data flowing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{CliError, ErrorKind, ExitCode, Style, Ui, http};
use crate::linking::Key;
use crate::mirror::worker::destination::RunError;
use crate::mirror::worker::figures::{Figures, Snapshot};
use crate::mirror::worker::{self, Connected, Options};
use crate::server::limits::Limits;
use crate::server::state::ClusterState;
use crate::server::{Prepared, Server};
use crate::topology;

/// Copy data for what was applied: the worker
///
/// The file says how the clusters are reached; what is copied is what `kmirror apply` wrote to the
/// destination. Any number of workers can run; they share the partitions. Ends at SIGINT or SIGTERM,
/// once what was sent is answered and the positions are stored.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Stop once everything that the sources hold is copied, by this worker or by others beside it
    #[arg(long)]
    until_caught_up: bool,

    /// How long a silent worker keeps its partitions; the brokers' group.min.session.timeout.ms is the least
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    session_timeout: Duration,

    /// Records that may be held in memory, of all partitions together; one larger batch may exceed it
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = memory)]
    memory: usize,

    #[command(flatten)]
    http: http::Args,

    /// File with the key that secrets of links made over REST are encrypted with; KMIRROR_KEY or KMIRROR_KEY_FILE without it
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,
}

/// Less would not hold a default batch of every lane to a broker.
const LEAST_MEMORY: u64 = 16 << 20;

fn memory(text: &str) -> Result<usize, String> {
    let size: bytesize::ByteSize = text
        .parse()
        .map_err(|_| "no size; write one like 256MiB".to_owned())?;
    if size.0 < LEAST_MEMORY {
        return Err("too little; 16MiB is the least".to_owned());
    }
    usize::try_from(size.0).map_err(|_| "more than this machine can address".to_owned())
}

/// How often figures are logged where there is no terminal, and how often they are looked at for that.
const LOG_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const REDRAW_EVERY: Duration = Duration::from_millis(250);

/// Runs the worker.
///
/// # Errors
/// A file with mistakes, a cluster that cannot be reached, or mirrors that failed with `--until-caught-up`.
pub async fn run(args: Args, ui: &Ui) -> Result<ExitCode, CliError> {
    if args.session_timeout < Duration::from_secs(1) {
        return Err(
            CliError::new(ErrorKind::Usage, "--session-timeout is too short").with_hint(
                "brokers want 6s or more unless group.min.session.timeout.ms says otherwise",
            ),
        );
    }
    let topology = ui.load_topology(&args.file)?;
    let prepared = match args.http.listeners.is_empty() {
        true => None,
        false => Some(args.http.prepare(&topology).await?),
    };
    let key = super::key::look(args.key_file.as_deref())?.map(Arc::new);
    let (stop, stopped) = watch::channel(false);
    let interrupted = listen_for_signals(stop, ui.clone())?;
    let figures = Figures::default();
    let options = Options {
        session_timeout: args.session_timeout,
        until_caught_up: args.until_caught_up,
        holder: super::apply::holder(),
        memory: args.memory,
        key: key.clone(),
        ..Options::default()
    };
    let began = Instant::now();
    let display = tokio::spawn(show(ui.clone(), figures.clone()));
    let serve = |connected: &Connected, stop: CancellationToken| {
        let server =
            prepared.map(|prepared| serve(prepared, &topology, connected, key.as_ref(), stop));
        if let Some(server) = &server {
            args.http.warn(ui);
            http::tell(server, ui);
        }
        server
    };
    let result = work(&topology, options, figures.clone(), serve, stopped).await;
    display.abort();
    ui.progress().clear()?;
    let outcome = result?;
    let snapshot = figures.snapshot();
    ui.say(&summary(&snapshot, began.elapsed()));
    if let Some(cluster) = outcome.nothing_applied.first() {
        return Err(CliError::new(
            ErrorKind::Usage,
            format!("nothing has been applied to cluster {cluster} yet"),
        )
        .with_hint(format!("run: kmirror apply {}", args.file.display())));
    }
    finish(&args, ui, &snapshot, *interrupted.borrow())
}

async fn work(
    topology: &topology::Topology,
    options: Options,
    figures: Figures,
    serve: impl FnOnce(&Connected, CancellationToken) -> Option<Server>,
    mut stopped: watch::Receiver<bool>,
) -> Result<worker::Outcome, CliError> {
    let connected = tokio::select! {
        connected = worker::connect(topology, options.memory) => connected?,
        _ = stopped.wait_for(|stop| *stop) => return Ok(worker::Outcome::default()),
    };
    let unreached = connected.observed.unreached();
    let connecting = CancellationToken::new();
    let server = serve(&connected, connecting.clone());
    let outcome = worker::run(topology, connected, options, figures, stopped).await;
    connecting.cancel();
    if let Some(server) = server {
        server.stop().await;
    }
    let outcome = outcome?;
    match outcome.lacking.is_empty() || unreached.0.is_empty() {
        true => Ok(outcome),
        false => Err(unreached.into()),
    }
}

/// Serves clusters over the connections that the worker has; requests for one that is not reached yet are answered with 503
/// until it is.
fn serve(
    prepared: Prepared,
    topology: &topology::Topology,
    connected: &Connected,
    key: Option<&Arc<Key>>,
    stop: CancellationToken,
) -> Server {
    let key = key.cloned();
    let topology = Arc::new(topology.clone());
    prepared.serve(Limits::default(), |name| {
        let mut clusters = connected.clusters.iter();
        let served = match clusters.find(|cluster| cluster.name == name) {
            Some(cluster) => ClusterState::connected(cluster.client.clone(), Arc::clone(&topology)),
            None => {
                let served = ClusterState::new(name, Arc::clone(&topology));
                tokio::spawn(Arc::clone(&served).keep_connecting(stop.clone()));
                served
            }
        };
        served.with_scribe(super::apply::holder(), key.clone())
    })
}

fn finish(
    args: &Args,
    ui: &Ui,
    snapshot: &Snapshot,
    interrupted: bool,
) -> Result<ExitCode, CliError> {
    for (name, cause) in &snapshot.failed {
        let place = format!("{} {}-{}", name.link, name.topic, name.partition);
        ui.say(&format!(
            "{} {place}: {cause}",
            ui.paint_err(Style::Red, "FAILED")
        ));
    }
    if !args.until_caught_up {
        return Ok(ExitCode::Ok);
    }
    if interrupted {
        return Ok(ExitCode::Interrupted);
    }
    match snapshot.failed.len() {
        0 => Ok(ExitCode::Ok),
        1 => Err(CliError::new(
            ErrorKind::Refused,
            "one partition failed; see above",
        )),
        n => Err(CliError::new(
            ErrorKind::Refused,
            format!("{n} partitions failed; see above"),
        )),
    }
}

/// The first signal stops the worker in good order, the second one at once.
fn listen_for_signals(
    stop: watch::Sender<bool>,
    ui: Ui,
) -> Result<watch::Receiver<bool>, CliError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let receiver = stop.subscribe();
    tokio::spawn(async move {
        for round in 0.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if round > 0 {
                ui.say(
                    "stopped at once; the next start reads from the destination what had arrived",
                );
                #[expect(
                    clippy::disallowed_methods,
                    reason = "asked for twice: nothing is waited for, and the destination's log needs no farewell"
                )]
                std::process::exit(i32::from(ExitCode::Interrupted as u8));
            }
            ui.say("stopping: waiting for answers, then storing positions (a second signal stops at once)");
            stop.send_replace(true);
        }
    });
    Ok(receiver)
}

/// Keeps people posted: a line that is redrawn on a terminal, a log line now and then elsewhere.
async fn show(ui: Ui, figures: Figures) {
    let bar = ui.progress().add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    let mut rate = Rate::new();
    let mut logged = Instant::now();
    loop {
        // Nobody sees more than a line now and then without a terminal, and looking at thousands of partitions is not free.
        let pause = if ui.stderr_is_terminal() {
            REDRAW_EVERY
        } else {
            LOOK_EVERY
        };
        tokio::time::sleep(pause).await;
        let snapshot = figures.snapshot();
        rate.add(&snapshot);
        if ui.stderr_is_terminal() {
            bar.set_message(line(&snapshot, &rate));
            bar.tick();
        } else if logged.elapsed() >= LOG_EVERY {
            logged = Instant::now();
            tracing::info!("{}", line(&snapshot, &rate));
        }
    }
}

/// Bytes and records a second over the last few seconds.
struct Rate {
    seen: std::collections::VecDeque<(Instant, u64, u64)>,
}

impl Rate {
    const SPAN: Duration = Duration::from_secs(5);

    fn new() -> Self {
        Self {
            seen: std::collections::VecDeque::new(),
        }
    }

    fn add(&mut self, snapshot: &Snapshot) {
        let now = Instant::now();
        self.seen.push_back((now, snapshot.records, snapshot.bytes));
        while self
            .seen
            .front()
            .is_some_and(|(at, ..)| now.duration_since(*at) > Self::SPAN)
        {
            self.seen.pop_front();
        }
    }

    /// (records, bytes) a second.
    fn per_second(&self) -> (u64, u64) {
        let (Some((from, records, bytes)), Some((to, later_records, later_bytes))) =
            (self.seen.front(), self.seen.back())
        else {
            return (0, 0);
        };
        let millis = u64::try_from(to.duration_since(*from).as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let rate = |early: u64, late: u64| late.saturating_sub(early).saturating_mul(1000) / millis;
        (rate(*records, *later_records), rate(*bytes, *later_bytes))
    }
}

fn line(snapshot: &Snapshot, rate: &Rate) -> String {
    let (records, bytes) = rate.per_second();
    let mut text = format!(
        "{} partitions, {} caught up: {} records, {}/s ({} records/s), lag {}",
        snapshot.partitions,
        snapshot.caught_up,
        HumanCount(snapshot.records),
        HumanBytes(bytes),
        HumanCount(records),
        HumanCount(snapshot.lag),
    );
    if snapshot.paused > 0 {
        text.push_str(&format!(", {} paused", snapshot.paused));
    }
    if !snapshot.failed.is_empty() {
        text.push_str(&format!(", {} FAILED", snapshot.failed.len()));
    }
    text
}

fn summary(snapshot: &Snapshot, took: Duration) -> String {
    format!(
        "copied {} records ({}) in {}",
        HumanCount(snapshot.records),
        HumanBytes(snapshot.bytes),
        HumanDuration(took),
    )
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Control { cluster, source } => Self::new(
                ErrorKind::Refused,
                format!("cluster {cluster}: the control records cannot be read"),
            )
            .with_causes(&source),
            RunError::Group { .. } | RunError::Refused { .. } | RunError::Security(_) => {
                Self::new(ErrorKind::Refused, error.to_string())
            }
            RunError::Panicked(_) => Self::new(ErrorKind::Internal, error.to_string()),
        }
    }
}
