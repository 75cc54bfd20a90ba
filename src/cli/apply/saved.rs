//! An apply of what somebody saved and reviewed: never more than that, and less only where it is said.

use std::path::PathBuf;

use super::{Args, carry_out};
use crate::cli::plan::{Choices, make, rewrites};
use crate::cli::{CliError, ErrorKind, ExitCode, Style, Ui, saved};
use crate::observe::Clusters;
use crate::plan::model::{Address, Plan};
use crate::plan::saved::{Comparison, compare};
use crate::report::saved::difference;
use crate::report::{clean, grouped};

/// So many addresses are named in a list; the rest is counted.
const NAMED: usize = 20;

pub(super) async fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    check(args)?;
    let shown = clean(&args.file.display().to_string());
    let planned = saved::read(&args.file)?;
    if planned.is_blocked() {
        return Err(CliError::new(
            ErrorKind::Blocked,
            format!(
                "nothing was done: {} of what {shown} holds is blocked",
                grouped(planned.counts.blocked as u64)
            ),
        )
        .with_hint(format!(
            "`kmirror show {shown}` says what is blocked and why; plan again when that is solved, or plan a part with --target"
        )));
    }
    let topology = args
        .topology
        .clone()
        .unwrap_or_else(|| PathBuf::from(&planned.file));
    if !topology.exists() && args.topology.is_none() {
        let topology = clean(&topology.display().to_string());
        return Err(CliError::new(
            ErrorKind::Usage,
            format!("{shown} was made from `{topology}`, and there is no such file here"),
        )
        .with_hint(
            "say where it is with --topology, or go to the folder where the plan was made",
        ));
    }
    let mut topology = ui.load_topology(&topology)?;
    topology.adopts = args.adopt;
    topology.rewrites = rewrites(&topology, &planned.rewrite_secrets)?;
    if !planned.has_changes() {
        ui.say(&format!("{shown} holds nothing to do."));
        return Ok(ExitCode::Ok);
    }
    let clusters = Clusters::connect_to_plan(&topology).await?;
    let choices = Choices {
        allow_delete: planned.allow_delete,
        targets: &[],
    };
    let mut now = make(&topology, &clusters, choices).await?;
    if !planned.targets.is_empty() {
        now.narrow(|address| planned.entry(address).is_some());
    }
    let comparison = compare(&planned, &now);
    let left_out = comparison.stale.len() + comparison.held_up.len();
    if left_out > 0 && !args.skip_stale {
        return Err(refusal(&comparison, &shown));
    }
    tell(&comparison, ui);
    now.narrow(|address| comparison.fresh.contains(address));
    now.targets.clone_from(&planned.targets);
    if now.has_changes() {
        let code = carry_out(&topology, &clusters, &now, true, args, ui).await?;
        if code != ExitCode::Ok {
            return Ok(code);
        }
    } else if left_out == 0 {
        ui.say("Nothing is left to do.");
    }
    if left_out == 0 {
        return Ok(ExitCode::Ok);
    }
    Err(CliError::new(
        ErrorKind::Blocked,
        format!(
            "{} of {} actions in {shown} were left out: they are not as they were planned",
            grouped(left_out as u64),
            grouped(actions(&planned) as u64)
        ),
    )
    .with_hint("plan again to see what is left"))
}

/// What was decided when the plan was made can't be decided again.
fn check(args: &Args) -> Result<(), CliError> {
    let decided = [
        ("--allow-delete", args.allow_delete),
        ("--target", !args.targets.is_empty()),
        ("--rewrite-secrets", !args.rewrite_secrets.is_empty()),
    ];
    match decided.into_iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(CliError::new(
            ErrorKind::Usage,
            format!("{flag} is decided when a plan is made, and this is a saved one"),
        )
        .with_hint(format!("say {flag} to `kmirror plan --out`"))),
        None => Ok(()),
    }
}

fn actions(plan: &Plan) -> usize {
    let actions = plan.entries.iter();
    actions.filter(|entry| entry.action.changes()).count()
}

fn refusal(comparison: &Comparison, shown: &str) -> CliError {
    let left_out = comparison.stale.len() + comparison.held_up.len();
    let all = left_out + comparison.fresh.len() + comparison.done.len();
    let mut error = CliError::new(
        ErrorKind::Refused,
        format!(
            "nothing was done: {} of {} actions in {shown} are not as they were planned",
            grouped(left_out as u64),
            grouped(all as u64)
        ),
    );
    for line in stale_lines(comparison) {
        error = error.with_detail(line);
    }
    if !comparison.fresh.is_empty() {
        error = error.with_detail(format!("as planned: {}", names(&comparison.fresh)));
    }
    let hint = if comparison.fresh.is_empty() {
        "plan again, and look at the new plan"
    } else {
        "plan again, and look at the new plan; or do only what is as it was planned, with --skip-stale"
    };
    error.with_hint(hint)
}

fn stale_lines(comparison: &Comparison) -> Vec<String> {
    let mut lines = Vec::new();
    for (address, differences) in &comparison.stale {
        let address = clean(&address.to_string());
        let words = differences.iter().map(difference);
        lines.extend(words.map(|words| format!("{address}: {words}")));
    }
    for (address, on) in &comparison.held_up {
        let (address, on) = (clean(&address.to_string()), clean(&on.to_string()));
        lines.push(format!("{address}: {on} comes before it"));
    }
    lines
}

/// What is not done, before what is.
fn tell(comparison: &Comparison, ui: &Ui) {
    for line in stale_lines(comparison) {
        let label = ui.paint_err(Style::Yellow, "left out:");
        ui.say(&format!("{label} {line}"));
    }
    if !comparison.done.is_empty() {
        ui.say(&format!("Done already: {}.", names(&comparison.done)));
    }
    if !comparison.beyond.is_empty() {
        ui.say(&format!(
            "Not in this plan, and so left as it is: {}.",
            names(&comparison.beyond)
        ));
    }
}

fn names<'a>(addresses: impl IntoIterator<Item = &'a Address>) -> String {
    let all: Vec<String> = addresses
        .into_iter()
        .map(|address| clean(&address.to_string()))
        .collect();
    match all.len().checked_sub(NAMED) {
        Some(more @ 1..) => format!(
            "{} and {} more",
            all[..NAMED].join(", "),
            grouped(more as u64)
        ),
        _ => all.join(", "),
    }
}
