//! Waiting for mirrors that an apply has promoted or failed over.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::apply::{awaited, wait_for};
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::ui::{Style, Ui};
use crate::control::records::EndingKind;
use crate::observe::Clusters;
use crate::plan::model::Plan;
use crate::report::{clean, grouped};
use crate::topology::model::Topology;

/// How long it is waited without a word.
pub const PATIENCE: &str = "1min";

/// Waits for the mirrors that the plan ends.
///
/// # Errors
/// Those that have not stopped when the time is over, with what keeps them.
pub async fn wait(
    topology: &Topology,
    clusters: &Clusters,
    plan: &Plan,
    patience: Duration,
    stop: &CancellationToken,
    ui: &Ui,
) -> Result<(), CliError> {
    let awaited = awaited(plan);
    if awaited.is_empty() || patience.is_zero() {
        return Ok(());
    }
    let count = grouped(awaited.len() as u64);
    let mirrors = if awaited.len() == 1 {
        "mirror"
    } else {
        "mirrors"
    };
    let at_most = humantime::format_duration(patience);
    ui.say(&format!(
        "Waiting for {count} {mirrors} to stop, {at_most} at most."
    ));
    let tell = |it: &crate::apply::Awaited, mirror: &crate::control::records::MirrorRecord| {
        let ending = mirror.ending.as_ref();
        let ended = match ending.map(|ending| ending.kind) {
            Some(EndingKind::Promote) => "promoted",
            _ => "failed over",
        };
        let unfenced = match ending.is_some_and(|ending| ending.is_unfenced()) {
            true => {
                ", without a fence for want of the right to write control markers (Alter on the cluster)"
            }
            false => "",
        };
        let address = clean(&format!("mirror.{}/{}", it.link, it.source_topic));
        let line = format!("{address}: {ended} and STOPPED{unfenced}");
        ui.say(&ui.paint_err(Style::Green, &line));
    };
    let left = wait_for(topology, clusters, awaited, patience, stop, &tell).await;
    let left = left.map_err(|error| {
        CliError::new(
            ErrorKind::Refused,
            format!("it was asked for, and whether it is done cannot be read: {error}"),
        )
    })?;
    if left.is_empty() {
        return Ok(());
    }
    let kind = match stop.is_cancelled() {
        true => ErrorKind::Interrupted,
        false => ErrorKind::Refused,
    };
    let count = grouped(left.len() as u64);
    let mirrors = if left.len() == 1 {
        "mirror is"
    } else {
        "mirrors are"
    };
    let mut error = CliError::new(kind, format!("{count} {mirrors} still pending"));
    for (it, status) in left {
        let address = format!("mirror.{}/{}", it.link, it.source_topic);
        let lag: Option<i64> = status.partitions.iter().map(|it| it.lag).sum();
        let why = status.message.unwrap_or_else(|| match lag {
            Some(lag) if lag > 0 => format!("{} offsets are left to copy", grouped(lag)),
            _ => "workers are at it".to_owned(),
        });
        error = error.with_detail(clean(&format!("{address}: {}, {why}", status.state.name())));
    }
    Err(error.with_hint(
        "it is asked for and goes on by itself where workers run; apply again to wait for it, longer with --wait 10min",
    ))
}
