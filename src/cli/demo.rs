//! `kmirror demo`: the whole story on embedded brokers.
//!
//! It does what a user would do with `plan`, `apply` and `run`, through the same functions, and
//! judges the result with a client that shares no code with kmirror ([`client`], on librdkafka).
//! There are two stories: a topology file that is planned, applied and run, here; and Cluster Linking over Kafka's REST
//! API, in [`linking`].

mod client;
mod linking;
mod secured;
mod stage;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use self::client::{RECORDS, TOPIC};
use self::stage::Stage;
use super::signals::Signals;
use super::{CliError, ErrorKind, ExitCode, Style, Ui, apply, plan};
use crate::apply::{ApplyOptions, Event, Progress};
use crate::mirror::worker::figures::{Figures, Snapshot};
use crate::observe::Clusters;
use crate::topology::{self, Topology};

/// Show what kmirror does, on two clusters in memory
///
/// Starts two brokers inside this process, plans and applies a topology file, produces 10,000
/// records with librdkafka, mirrors them under another name, reads them back with librdkafka and
/// compares. Or, as cluster-linking, makes a link and a mirror topic over the REST API, and promotes it.
/// Needs nothing else and leaves nothing behind.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is shown
    #[arg(value_name = "STORY", value_enum, default_value_t)]
    story: Story,

    /// Leave brokers, worker and server up, print commands to go on with, and stop at Ctrl-C
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Story {
    /// A topology file: plan, apply, run
    #[default]
    Mirroring,
    /// Cluster Linking over Kafka's REST API, between clusters that are reached by SASL_SSL: create a link and a mirror topic, copy, promote, delete
    ClusterLinking,
}

/// The demonstration fails rather than waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs the demonstration, and stops what it started in reverse order, however it ends.
///
/// # Errors
/// Whatever went wrong in it: that would be a mistake of kmirror's.
pub async fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut signals = Signals::new()?;
    let mut stage = Stage::default();
    let telling = async {
        match args.story {
            Story::Mirroring => tell(args, ui, &mut stage).await,
            Story::ClusterLinking => linking::tell(args, ui, &mut stage).await,
        }
    };
    let result = tokio::select! {
        told = telling => told.map(|()| None),
        signal = signals.received() => Ok(Some(signal)),
    };
    let code = match result {
        Err(error) => {
            stage.stop(ui).await;
            return Err(error);
        }
        Ok(Some(signal)) => {
            ui.say(&format!("\n{signal} received"));
            ExitCode::Interrupted
        }
        Ok(None) if args.keep => {
            let signal = signals.received().await;
            ui.say(&format!("\n{signal} received"));
            ExitCode::Ok
        }
        Ok(None) => ExitCode::Ok,
    };
    // Whoever asks twice does not want to wait for the orderly end.
    tokio::select! {
        () = stage.stop(ui) => Ok(code),
        signal = signals.received() => {
            ui.say(&format!("{signal} received again: stopped at once"));
            Ok(ExitCode::Interrupted)
        }
    }
}

async fn tell(args: &Args, ui: &Ui, stage: &mut Stage) -> Result<(), CliError> {
    let began = Instant::now();
    let say = |line: &str| ui.say(&format!("\n{}", ui.paint_err(Style::Bold, line)));

    say("Two Kafka clusters, in memory, inside this process");
    for name in ["origin", "destination"] {
        let address = stage.start_cluster(name).await?;
        ui.say(&format!("  {name:11}  {address}"));
    }
    let (origin, destination) = (stage.address(0), stage.address(1));

    let text = topology_file(&origin, &destination);
    let path = if args.keep {
        stage.write_file(&text)?
    } else {
        PathBuf::from("demo.toml")
    };
    say(&format!("The topology file, {}", path.display()));
    ui.say(text.trim_end());
    let topology = parse(&path, &text)?;

    say("kmirror plan");
    let clusters = Clusters::connect(&topology).await?;
    let first = plan::make(&topology, &clusters, plan::Choices::default()).await?;
    apply::show(&first, ui);

    say("kmirror apply");
    let options = ApplyOptions {
        lock_timeout: Duration::ZERO,
        holder: apply::holder(),
        partial: false,
        parallelism: crate::apply::PARALLELISM,
        now_ms: plan::now_ms(),
    };
    let token = CancellationToken::new();
    let outcome =
        crate::apply::apply(&topology, &clusters, &first, &options, &Silent, &token).await?;
    apply::conclude(&outcome, false, ui)?;

    say(&format!(
        "kmirror run, while librdkafka produces {} records to {TOPIC}",
        HumanCount(RECORDS)
    ));
    let figures = stage.start_worker(&topology).await?;
    wait(ui, stage, &figures, "looking for partitions", |now| {
        now.partitions > 0 && now.caught_up > 0
    })
    .await?;
    let copying = Instant::now();
    client::produce(&origin).await?;
    let now = wait(ui, stage, &figures, "mirroring", |now| {
        now.records >= RECORDS && now.lag == 0
    })
    .await?;
    ui.say(&copied(&now, copying.elapsed()));

    say("Read back from the replica with librdkafka");
    let compared = client::compare(&destination).await?;
    let line = format!(
        "  {} records: all there, once, in order, with equal keys, values and times",
        HumanCount(compared)
    );
    ui.say(&ui.paint_err(Style::Green, &line));

    say("kmirror plan, again");
    let second = plan::make(&topology, &clusters, plan::Choices::default()).await?;
    apply::show(&second, ui);
    if second.has_changes() || second.is_blocked() {
        return Err(wrong("the second plan is not empty"));
    }
    ui.say(&format!(
        "\nDone in {:.1} s.",
        began.elapsed().as_secs_f64()
    ));
    if args.keep {
        ui.say(&commands(&path, &origin, &destination));
    }
    Ok(())
}

fn topology_file(origin: &str, destination: &str) -> String {
    format!(
        r#"kmirror = 1

[clusters.origin]
bootstrap_servers = "{origin}"

[clusters.origin.topics.{TOPIC}]
partitions = 1
replication_factor = 1

[clusters.destination]
bootstrap_servers = "{destination}"

[links.demo]
source = "origin"
destination = "destination"
topics = ["{TOPIC}"]
rename = "${{topic}}.replica"
"#
    )
}

fn parse(path: &Path, text: &str) -> Result<Topology, CliError> {
    match topology::parse(path, text) {
        Ok(loaded) => Ok(loaded.topology),
        Err(_) => Err(wrong("the demonstration's own topology file is refused")),
    }
}

/// Something that cannot happen to a user who did nothing wrong.
fn wrong(message: &str) -> CliError {
    CliError::new(ErrorKind::Internal, message)
}

/// Watches the worker's figures until they are as wanted.
async fn wait(
    ui: &Ui,
    stage: &mut Stage,
    figures: &Figures,
    what: &'static str,
    enough: impl Fn(&Snapshot) -> bool,
) -> Result<Snapshot, CliError> {
    let deadline = Instant::now() + PATIENCE;
    let bar = ui.progress().add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    let result = loop {
        let now = figures.snapshot();
        bar.set_message(format!(
            "{what}: {} records, lag {}",
            HumanCount(now.records),
            HumanCount(now.lag)
        ));
        bar.tick();
        if enough(&now) {
            break Ok(now);
        }
        if let Some((name, cause)) = now.failed.first() {
            break Err(wrong(&format!(
                "the mirror of {}-{} failed: {cause}",
                name.topic, name.partition
            )));
        }
        if let Some(error) = stage.worker_ended().await {
            break Err(error);
        }
        if Instant::now() > deadline {
            let seconds = PATIENCE.as_secs();
            break Err(wrong(&format!(
                "{what} was not finished after {seconds} seconds"
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    bar.finish_and_clear();
    ui.progress().remove(&bar);
    result
}

fn copied(now: &Snapshot, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    // Precision is of no interest in a rate that is shown to people.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let rate = (now.records as f64 / seconds) as u64;
    format!(
        "  {} records ({}) produced and mirrored in {seconds:.2} s: {} records/s; lag {}",
        HumanCount(now.records),
        HumanBytes(now.bytes),
        HumanCount(rate),
        HumanCount(now.lag),
    )
}

fn commands(path: &Path, origin: &str, destination: &str) -> String {
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "kmirror".to_owned());
    let file = path.display();
    format!(
        "
The brokers and the worker stay up until Ctrl-C. In another terminal:

  seq 10001 20000 | kcat -b {origin} -P -t {TOPIC}
  kcat -b {destination} -C -t {TOPIC}.replica -o -5 -e
  {program} plan {file}

Edit {file} and apply it; the worker takes it up:

  {program} apply {file}"
    )
}

/// The entries are shown by the plan and counted at the end; that is enough here.
struct Silent;

impl Progress for Silent {
    fn event(&self, event: Event<'_>) {
        tracing::debug!(?event, "demo");
    }
}
