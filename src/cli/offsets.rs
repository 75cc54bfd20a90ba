//! `kmirror offsets`: which offset of a mirror corresponds to which of its source.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use super::doctor::connect;
use super::{CliError, ErrorKind, ExitCode, Ui};
use crate::control::ControlError;
use crate::control::progress::{self, Stored};
use crate::control::records::{MirrorRecord, Run};
use crate::control::store::{self, ControlState};
use crate::kafka::Client;
use crate::mirror::map;
use crate::mirror::translate::{Direction, OffsetView, Translated};
use crate::report::clean;
use crate::topology::Topology;

/// Ask which offset corresponds to which
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Translate(Translate),
}

/// Translate an offset of a source partition into the mirror's, or back
///
/// Prints the offset at which a consumer of the other side goes on with the same record: nothing is missed and nothing repeated.
/// Where the offset has no record on the other side, it is that of the next record that has. What workers stored is asked, which
/// may lag a second behind them.
#[derive(Debug, clap::Args)]
struct Translate {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Name of the link
    #[arg(value_name = "LINK")]
    link: String,

    /// The mirror's topic, by its name at the source or at the destination
    #[arg(value_name = "TOPIC")]
    topic: String,

    /// Its number, the same on both sides
    #[arg(value_name = "PARTITION", value_parser = clap::value_parser!(i32).range(0..))]
    partition: i32,

    /// An offset of the source, with --reverse of the destination
    #[arg(value_name = "OFFSET", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(0..))]
    offset: i64,

    /// OFFSET is the destination's, and the source's is printed
    #[arg(long)]
    reverse: bool,
}

/// Translates and prints.
///
/// # Errors
/// Mistakes in the file, a destination that can't be asked, a mirror that is not there, an offset that is not copied yet.
pub async fn run(args: Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let Action::Translate(args) = args.action;
    let topology = ui.load_topology_or_report(&args.file, None)?;
    let client = destination(&topology, &args.link).await?;
    let cluster = client.cluster_name().to_owned();
    let state = store::read(&client)
        .await
        .map_err(|error| refused(&cluster, &error))?;
    let Some(state) = state else {
        let error = CliError::new(
            ErrorKind::Usage,
            format!("nothing was ever applied to cluster {cluster}"),
        );
        return Err(error.with_hint("kmirror apply FILE"));
    };
    let mirror = mirror(&state, &args)?;
    let stored = progress::read(&client, &HashSet::from([mirror.id]))
        .await
        .map_err(|error| refused(&cluster, &error))?;
    let view = stored
        .get(&(mirror.id, args.partition))
        .and_then(|kept| view(kept.progress.as_ref()?))
        .ok_or_else(|| {
            CliError::new(
                ErrorKind::Usage,
                format!(
                    "nothing of partition {} of {} was copied yet",
                    args.partition,
                    clean(&mirror.source_topic)
                ),
            )
            .with_hint("kmirror run FILE copies it, if the topic has that partition")
        })?;
    let direction = if args.reverse {
        Direction::ToSource
    } else {
        Direction::ToDestination
    };
    let (side, other) = if args.reverse {
        (&mirror.destination_topic, &mirror.source_topic)
    } else {
        (&mirror.source_topic, &mirror.destination_topic)
    };
    match view.translate(direction, args.offset) {
        Translated::Same(offset) => ui.document(&format!("{offset}\n"))?,
        Translated::Next(offset) => {
            ui.document(&format!("{offset}\n"))?;
            ui.say(&format!(
                "offset {} of {} has no record of {}: {offset} is the next one",
                args.offset,
                clean(side),
                clean(other)
            ));
        }
        Translated::NotYet { copied_to } => {
            let error = CliError::new(
                ErrorKind::Refused,
                format!(
                    "offset {} of {} is not copied yet: partition {} was copied up to {copied_to}",
                    args.offset,
                    clean(side),
                    args.partition
                ),
            );
            return Err(error.with_hint(
                "progress is stored once a second; ask again, or look whether a worker runs",
            ));
        }
    }
    Ok(ExitCode::Ok)
}

fn refused(cluster: &str, error: &ControlError) -> CliError {
    CliError::new(
        ErrorKind::Refused,
        format!("cluster {cluster}: {}", clean(&error.to_string())),
    )
}

/// The destination of the link that the file names.
async fn destination(topology: &Topology, link: &str) -> Result<Client, CliError> {
    let Some(found) = topology.links.get(link) else {
        let known: Vec<&str> = topology.links.keys().map(String::as_str).collect();
        let error = CliError::new(
            ErrorKind::Usage,
            format!("the file has no link `{}`", clean(link)),
        );
        return Err(error.with_hint(format!("its links are {}", known.join(", "))));
    };
    let destination = BTreeSet::from([found.destination.clone()]);
    let mut clients = connect(topology, &destination).await?;
    Ok(clients.pop().expect("one cluster was asked for"))
}

fn mirror<'a>(state: &'a ControlState, args: &Translate) -> Result<&'a MirrorRecord, CliError> {
    let link = state.links.values().find(|link| link.name == args.link);
    let of_link = || {
        let mirrors = state.mirrors.values();
        mirrors.filter(|mirror| link.is_some_and(|link| link.id == mirror.id.link))
    };
    let by_source = of_link().find(|mirror| mirror.source_topic == args.topic);
    let by_destination = || of_link().find(|mirror| mirror.destination_topic == args.topic);
    by_source.or_else(by_destination).ok_or_else(|| {
        let known: Vec<String> = of_link()
            .take(10)
            .map(|mirror| clean(&mirror.source_topic))
            .collect();
        let message = format!(
            "no mirror of topic {} was applied for link {}",
            clean(&args.topic),
            clean(&args.link)
        );
        let error = CliError::new(ErrorKind::Usage, message);
        if known.is_empty() {
            error.with_hint("kmirror apply FILE")
        } else {
            error.with_hint(format!("it mirrors {}", known.join(", ")))
        }
    })
}

fn view(stored: &Stored) -> Option<OffsetView> {
    let position = *stored.record.anchors.last()?;
    let mut chunks: Vec<_> = stored
        .chunks
        .iter()
        // What lies behind the growing chunk was taken back.
        .filter(|(chunk, _)| **chunk <= stored.record.map_chunk)
        .collect();
    chunks.sort_by_key(|(chunk, _)| **chunk);
    let runs: Vec<Run> = chunks
        .into_iter()
        .flat_map(|(_, record)| map::decode(record))
        .collect();
    Some(OffsetView::new(stored.record.alignment, position, runs))
}
