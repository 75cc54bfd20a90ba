//! `kmirror apply`: plan, ask, do.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::plan::{make, now_ms, style};
use super::{CliError, ErrorKind, ExitCode, Style, Ui};
use crate::apply::{ApplyError, ApplyOptions, Event, Outcome, Progress, apply};
use crate::control::LockError;
use crate::observe::Clusters;
use crate::plan::model::{Operation, Plan};
use crate::report::text::TextOptions;
use crate::report::{clean, duration, grouped, text};

/// Make the live clusters what the file says
///
/// Shows the plan and asks before anything is written. Nothing is done while something is blocked,
/// and nothing if the clusters change between the plan and the answer.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Do not ask, not even before deletions
    #[arg(short, long)]
    yes: bool,

    /// Carry out the deletions that the file asks for with `state = "absent"`; each is confirmed by name
    #[arg(long)]
    allow_delete: bool,

    /// How long to wait for another apply to end, such as 30s or 5min
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    lock_timeout: Duration,
}

/// Plans, asks and applies.
///
/// # Errors
/// Mistakes in the file, clusters that can't be read or locked, blocked entries, entries that failed.
pub async fn run(args: Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let topology = ui.load_topology(&args.file)?;
    let clusters = Clusters::connect(&topology).await?;
    let plan = make(&topology, &clusters, args.allow_delete).await?;
    show(&plan, ui);
    if plan.is_blocked() {
        return Err(CliError::new(
            ErrorKind::Blocked,
            format!("nothing was done: {} blocked", plan.counts.blocked),
        )
        .with_hint("solve what is listed under \"blocked\" above, then apply again"));
    }
    if !plan.has_changes() {
        return Ok(ExitCode::Ok);
    }
    if !args.yes {
        confirm(ui, &plan).await?;
    }
    let stop = stop_on_signal(ui);
    let watch = Watch::new(ui, &plan);
    let options = ApplyOptions {
        lock_timeout: args.lock_timeout,
        holder: holder(),
        now_ms: now_ms(),
    };
    let result = apply(&topology, &clusters, &plan, &options, &watch, &stop).await;
    watch.finish();
    let outcome = result.map_err(CliError::from)?;
    conclude(&outcome, stop.is_cancelled(), ui)
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

/// What has to be typed before something is deleted: the topic's name with its cluster, or the link's.
fn names_to_type(plan: &Plan) -> Vec<String> {
    let mut names = Vec::new();
    for entry in &plan.entries {
        match &entry.operation {
            Operation::DeleteTopic(topic) => {
                names.push(format!("{}/{}", entry.cluster, topic.name));
            }
            Operation::DeleteMirror(mirror) if mirror.topics.is_empty() => {
                names.push(entry.address.to_string());
            }
            Operation::DeleteMirror(mirror) => {
                let topics = mirror.topics.iter();
                names.extend(topics.map(|topic| format!("{}/{}", entry.cluster, topic.name)));
            }
            Operation::DeleteLink { .. } => names.push(entry.address.to_string()),
            Operation::None
            | Operation::ControlTopics
            | Operation::CreateTopic(_)
            | Operation::AlterTopic(_)
            | Operation::Link(_)
            | Operation::Mirror(_) => {}
        }
    }
    names
}

/// Goes on only for what somebody typed: the name of each thing that is deleted, then `yes`.
async fn confirm(ui: &Ui, plan: &Plan) -> Result<(), CliError> {
    let nobody = |problem: &str| {
        CliError::new(
            ErrorKind::Usage,
            format!("nothing was done: {problem}, so nobody can confirm the plan"),
        )
        .with_hint("to apply without a question, say --yes")
    };
    if !ui.is_interactive() {
        return Err(nobody("stdin is not a terminal"));
    }
    for name in names_to_type(plan) {
        let name = clean(&name);
        let question = format!("\nTo delete {name} for good, type its name:");
        if ask(ui, question, nobody).await? != name {
            return Err(CliError::new(
                ErrorKind::Usage,
                format!("nothing was done: the answer was not `{name}`"),
            ));
        }
    }
    let question = "\nApply this plan? Only `yes` is taken for an answer:".to_owned();
    if ask(ui, question, nobody).await? == "yes" {
        Ok(())
    } else {
        Err(CliError::new(
            ErrorKind::Usage,
            "nothing was done: the answer was not `yes`",
        ))
    }
}

/// What somebody typed, without the spaces around it.
async fn ask(
    ui: &Ui,
    question: String,
    nobody: impl Fn(&str) -> CliError,
) -> Result<String, CliError> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    let asking = ui.clone();
    // A thread of its own: the runtime would wait for a blocked read when an interrupt ends the command.
    std::thread::spawn(move || {
        let said = asking.ask(&question);
        // If the command has ended meanwhile, nobody waits for the answer.
        let _ = answer.send(said);
    });
    let said = tokio::select! {
        said = answered => said,
        () = interrupted() => {
            ui.say("");
            return Err(CliError::new(ErrorKind::Interrupted, "nothing was done"));
        }
    };
    match said {
        Ok(Ok(Some(text))) => Ok(text.trim().to_owned()),
        Ok(Ok(None)) | Err(_) => Err(nobody("stdin was closed")),
        Ok(Err(error)) => Err(error),
    }
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

/// `user@host (pid)`.
/// Who this process is, for others that wait for the lock.
pub(super) fn holder() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_else(|| "unknown".to_owned());
    clean(&format!("{user}@{} ({})", host.trim(), std::process::id()))
}

/// A bar on a terminal, a line for each entry elsewhere.
struct Watch<'a> {
    ui: &'a Ui,
    bar: Option<ProgressBar>,
    state: Mutex<Lines>,
    started: Instant,
}

#[derive(Default)]
struct Lines {
    done: usize,
    total: usize,
}

/// So many entries get a line of their own in a log; of more, every hundredth.
const LINES: usize = 200;

impl<'a> Watch<'a> {
    fn new(ui: &'a Ui, plan: &Plan) -> Self {
        let total = plan
            .entries
            .iter()
            .filter(|entry| entry.action.changes())
            .count();
        let bar = ui.stderr_is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}")
                .expect("the template is fixed");
            let bar = ProgressBar::new(total as u64).with_style(style);
            ui.progress().add(bar)
        });
        Self {
            ui,
            bar,
            state: Mutex::new(Lines { done: 0, total }),
            started: Instant::now(),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        tracing::debug!(elapsed = ?self.started.elapsed(), "apply has ended");
    }

    fn step(&self, address: &str, line: &str, worth_a_line: bool) {
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        state.done += 1;
        match &self.bar {
            Some(bar) => {
                bar.inc(1);
                bar.set_message(address.to_owned());
                if worth_a_line {
                    self.ui.say(line);
                }
            }
            None if worth_a_line || state.total <= LINES => self.ui.say(line),
            None if state.done.is_multiple_of(100) => {
                self.ui
                    .say(&format!("{} of {} done", state.done, state.total));
            }
            None => {}
        }
    }
}

impl Progress for Watch<'_> {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Done(address) => {
                let address = clean(&address.to_string());
                self.step(&address, &format!("{address}: done"), false);
            }
            Event::Failed(address, failure) => {
                let address = clean(&address.to_string());
                let label = self.ui.paint_err(Style::Red, "failed");
                let failure = clean(&failure.to_string());
                self.step(&address, &format!("{address}: {label}: {failure}"), true);
            }
            Event::Skipped(address, because) => {
                let address = clean(&address.to_string());
                let label = self.ui.paint_err(Style::Yellow, "skipped");
                let because = clean(&because.to_string());
                let line =
                    format!("{address}: {label}: {because} comes before it and is not there");
                self.step(&address, &line, true);
            }
        }
    }
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
                for address in moved {
                    error = error.with_detail(format!(
                        "{}: is not as it was shown",
                        clean(&address.to_string())
                    ));
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
