//! `kmirror apply`: plan, ask, do.

mod confirm;
mod endings;
mod saved;
mod watch;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub(super) use self::confirm::ask;
use self::confirm::confirm;
use self::watch::Watch;
use super::plan::{Choices, make, now_ms, rewrites, style};
use super::{CliError, ErrorKind, ExitCode, Style, Ui, journal};
use crate::apply::journal::Journal;
use crate::apply::{ApplyError, ApplyOptions, Event, Outcome, PARALLELISM, Progress, apply};
use crate::control::LockError;
use crate::observe::Clusters;
use crate::plan::model::Plan;
use crate::report::text::TextOptions;
use crate::report::{clean, duration, grouped, text};
use crate::topology::Topology;

/// Make the live clusters what the file says
///
/// Shows the plan and asks before anything is written. Nothing is done while something is blocked,
/// and nothing if the clusters change between the plan and the answer.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology file, or a plan that `kmirror plan --out` saved
    #[arg(value_name = "FILE|PLAN.json")]
    file: PathBuf,

    /// Do not ask, not even before deletions
    #[arg(short, long)]
    yes: bool,

    /// Carry out the deletions that the file asks for with `state = "absent"`; each is confirmed by name
    #[arg(long)]
    allow_delete: bool,

    /// Take over links that were made over REST and have the names of the file's; for a plan that was saved with --adopt, too
    #[arg(long)]
    adopt: bool,

    /// Send the secrets of a link that brokers carry again: they cannot be read back, so a plan does not see that a password
    /// was changed. May be given several times
    #[arg(long, value_name = "LINK")]
    rewrite_secrets: Vec<String>,

    /// Only what has this address, and what that depends on: mirror.LINK/TOPIC, link.LINK with its mirrors, cluster.NAME
    /// with its topics, cluster.NAME/topic.TOPIC; topics may be globs. May be given several times
    #[arg(long = "target", value_name = "ADDRESS")]
    targets: Vec<String>,

    /// Of a saved plan, do what is as it was planned and leave out the rest; then exit with 3
    #[arg(long)]
    skip_stale: bool,

    /// The topology file of a saved plan, where it is not at the path that the plan was made with
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,

    /// So many requests are under way at a time, each of up to 100 topics
    #[arg(long, value_name = "N", default_value_t = PARALLELISM)]
    parallelism: NonZeroUsize,

    /// Where to keep the journal of this apply; `kmirror journal` finds it without this
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,

    /// How long to wait for another apply to end, such as 30s or 5min
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    lock_timeout: Duration,

    /// How long to wait until mirrors that are promoted or failed over have stopped, such as 30s or 10min; 0s not at all
    #[arg(long, value_name = "TIME", default_value = endings::PATIENCE, value_parser = humantime::parse_duration)]
    wait: Duration,
}

/// Plans, asks and applies.
///
/// # Errors
/// Mistakes in the file, clusters that can't be read or locked, blocked entries, entries that failed.
pub async fn run(args: Args, ui: &Ui) -> Result<ExitCode, CliError> {
    if super::saved::is_saved_plan(&args.file) {
        return saved::run(&args, ui).await;
    }
    let for_saved = [
        ("--skip-stale", args.skip_stale),
        ("--topology", args.topology.is_some()),
    ];
    if let Some((flag, _)) = for_saved.into_iter().find(|(_, given)| *given) {
        return Err(CliError::new(
            ErrorKind::Usage,
            format!("{flag} is for saved plans, and this is none"),
        )
        .with_hint("save one with `kmirror plan --out PLAN.json FILE`"));
    }
    let mut topology = ui.load_topology(&args.file)?;
    topology.adopts = args.adopt;
    topology.rewrites = rewrites(&topology, &args.rewrite_secrets)?;
    let clusters = Clusters::connect_to_plan(&topology).await?;
    let choices = Choices {
        allow_delete: args.allow_delete,
        targets: &args.targets,
    };
    let plan = make(&topology, &clusters, choices).await?;
    let partial = !args.targets.is_empty();
    carry_out(&topology, &clusters, &plan, partial, &args, ui).await
}

/// Shows the plan, asks, and does it.
async fn carry_out(
    topology: &Topology,
    clusters: &Clusters,
    plan: &Plan,
    partial: bool,
    args: &Args,
    ui: &Ui,
) -> Result<ExitCode, CliError> {
    show(plan, ui);
    if plan.is_blocked() {
        return Err(CliError::new(
            ErrorKind::Blocked,
            format!("nothing was done: {} blocked", plan.counts.blocked),
        )
        .with_hint("solve what is listed under \"blocked\" above, then apply again"));
    }
    if !plan.has_changes() {
        // Asked for by an earlier apply, perhaps, that did not wait for it.
        if !crate::apply::awaited(plan).is_empty() {
            let stop = stop_on_signal(ui);
            endings::wait(topology, clusters, plan, args.wait, &stop, ui).await?;
        }
        return Ok(ExitCode::Ok);
    }
    if !args.yes {
        confirm(ui, plan).await?;
    }
    let kept = journal::begin(args.journal.as_deref(), ui)?;
    let stop = stop_on_signal(ui);
    let watch = Watch::new(ui, plan);
    let options = ApplyOptions {
        lock_timeout: args.lock_timeout,
        holder: holder(),
        now_ms: now_ms(),
        partial,
        parallelism: args.parallelism,
    };
    let witnesses = Witnesses {
        watch: &watch,
        journal: kept.as_ref().map(|kept| &kept.journal),
    };
    if let Some(journal) = witnesses.journal {
        journal.begin(plan, &options.holder);
    }
    let result = apply(topology, clusters, plan, &options, &witnesses, &stop).await;
    watch.finish();
    if let Some(journal) = witnesses.journal {
        journal.end(result.as_ref().map_err(ToString::to_string));
    }
    let outcome = result.map_err(CliError::from)?;
    let code = conclude(&outcome, stop.is_cancelled(), ui).inspect_err(|_| {
        if let Some(kept) = &kept {
            let path = clean(&kept.path.display().to_string());
            ui.say(&format!("The journal of this apply: {path}"));
        }
    })?;
    endings::wait(topology, clusters, plan, args.wait, &stop, ui).await?;
    Ok(code)
}

/// Who is told what happens.
struct Witnesses<'a> {
    watch: &'a Watch<'a>,
    journal: Option<&'a Journal>,
}

impl Progress for Witnesses<'_> {
    fn event(&self, event: Event<'_>) {
        // The journal first: nobody reads on the screen what it does not hold.
        if let Some(journal) = self.journal {
            journal.event(event);
        }
        self.watch.event(event);
    }
}

pub(super) fn show(plan: &Plan, ui: &Ui) {
    let paint = |emphasis, text: &str| ui.paint_err(style(emphasis), text);
    let options = TextOptions {
        width: ui.width_err(),
        paint: &paint,
        now_ms: now_ms(),
    };
    ui.say(text::plan(plan, options).trim_end());
}

/// The first interrupt ends the apply after the batch under way; a second one ends the process.
fn stop_on_signal(ui: &Ui) -> CancellationToken {
    let stop = CancellationToken::new();
    let (token, ui) = (stop.clone(), ui.clone());
    tokio::spawn(async move {
        interrupted().await;
        ui.say("interrupted: finishing what is under way");
        token.cancel();
        interrupted().await;
        #[expect(
            clippy::disallowed_methods,
            reason = "asked for twice: even an orderly end is not waited for"
        )]
        std::process::exit(ExitCode::Interrupted as i32);
    });
    stop
}

/// Until SIGINT or SIGTERM arrives. Where signals can't be had, for ever: they then end the process.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = async |kind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
    }
}

/// Who this process is, for others that wait for the lock: `user@host (pid)`.
pub(super) fn holder() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_else(|| "unknown".to_owned());
    clean(&format!("{user}@{} ({})", host.trim(), std::process::id()))
}

pub(super) fn conclude(outcome: &Outcome, stopped: bool, ui: &Ui) -> Result<ExitCode, CliError> {
    let done = outcome.done.len();
    if outcome.is_complete() {
        let line = format!("Applied: {} done.", grouped(done as u64));
        ui.say(&ui.paint_err(Style::Green, &line));
        return Ok(ExitCode::Ok);
    }
    let counts = format!(
        "{done} done, {} failed, {} skipped, {} not begun or not finished",
        outcome.failed.len(),
        outcome.skipped.len(),
        outcome.stopped.len()
    );
    if stopped && outcome.failed.is_empty() {
        let mut error = CliError::new(ErrorKind::Interrupted, counts);
        for address in &outcome.stopped {
            error = error.with_detail(format!("{}: left", clean(&address.to_string())));
        }
        return Err(error.with_hint("apply again to go on with what is left"));
    }
    let mut error = CliError::new(
        ErrorKind::Refused,
        format!("not everything was applied: {counts}"),
    );
    for (address, failure) in &outcome.failed {
        error = error.with_detail(clean(&format!("{address}: {failure}")));
    }
    Err(error.with_hint("solve what failed, then apply again: it goes on with what is left"))
}

impl From<ApplyError> for CliError {
    fn from(error: ApplyError) -> Self {
        let message = format!("nothing was done: {error}");
        match error {
            ApplyError::Observe(unreachable) => {
                let mut error = Self::from(unreachable);
                error.message = format!("nothing was done: {}", error.message);
                error
            }
            ApplyError::Stopped => Self::new(ErrorKind::Interrupted, "nothing was done"),
            ApplyError::Moved(moved) => {
                let mut error = Self::new(ErrorKind::Refused, message);
                for (address, how) in moved {
                    let address = clean(&address.to_string());
                    for difference in &how {
                        let words = crate::report::saved::difference(difference);
                        error = error.with_detail(format!("{address}: {words}"));
                    }
                }
                error.with_hint("look at the new plan and apply again")
            }
            ApplyError::Lock {
                cluster,
                error: LockError::Held { record, age },
            } => {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                let age = duration(age).unwrap_or_else(|| "less than a second".to_owned());
                Self::new(
                    ErrorKind::LockHeld,
                    format!(
                        "nothing was done: `{cluster}` is locked by {} (`{}`), for {age}",
                        clean(&record.holder),
                        clean(&record.command)
                    ),
                )
                .with_hint("wait for it to end, or let this one wait with --lock-timeout 5min; the lock of one that has died lapses within a minute")
            }
            ApplyError::Lock { error, .. } => {
                Self::new(ErrorKind::Refused, message).with_causes(&error)
            }
        }
    }
}
