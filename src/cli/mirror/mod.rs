//! `kmirror mirror`: the mirror topics that there are, of every engine, and turning those of bidirectional links round.

mod turn;

use std::path::PathBuf;

use super::link::{Format, document, look};
use super::{CliError, ErrorKind, ExitCode, Ui};
use crate::inventory::{Inventory, MirrorView};
use crate::report::{clean, inventory};
use crate::rest::turn::Turn;

/// List, describe and turn round mirror topics
///
/// Those of the built-in engine, from files and from the REST API, and those that brokers fill, of all clusters of the file
/// that can be reached.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    List(Which),
    Describe(Which),
    /// Turn mirrors round: promote them, and make their sources mirrors of them that copy at once
    ///
    /// For mirrors of a bidirectional link that brokers carry. LINK is the link of the file whose destination has the mirrors.
    ReverseAndStart(turn::Args),
    /// The same, with the new mirrors paused
    ///
    /// For mirrors of a bidirectional link that brokers carry. LINK is the link of the file whose destination has the mirrors.
    ReverseAndPause(turn::Args),
    /// After a failover, make the former source a mirror: what it has beyond the place of the failover is DELETED
    ///
    /// For a bidirectional link that brokers carry. LINK is the link of the file whose destination is the former source.
    TruncateAndRestore(turn::Deleting),
}

/// Which mirror topics
#[derive(Debug, clap::Args)]
struct Which {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Names of mirror topics; all without one
    #[arg(value_name = "TOPIC")]
    topics: Vec<String>,

    /// Only those of this link
    #[arg(long, value_name = "NAME")]
    link: Option<String>,

    /// Only those in this state, such as active, paused, failed, pending-stopped or stopped
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<String>,

    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The states that Cluster Linking knows.
const STATES: &[&str] = &[
    "ACTIVE",
    "FAILED",
    "LINK_FAILED",
    "LINK_PAUSED",
    "PAUSED",
    "PENDING_MIRROR",
    "PENDING_RESTORE",
    "PENDING_SETUP_FOR_RESTORE",
    "PENDING_STOPPED",
    "PENDING_SYNCHRONIZE",
    "SOURCE_UNAVAILABLE",
    "STOPPED",
];

/// As the REST API spells it.
fn state(text: &str) -> Result<String, String> {
    let word = text.to_ascii_uppercase().replace('-', "_");
    if STATES.contains(&word.as_str()) {
        return Ok(word);
    }
    let known: Vec<String> = STATES
        .iter()
        .map(|state| state.to_ascii_lowercase().replace('_', "-"))
        .collect();
    Err(format!("no state; there are {}", known.join(", ")))
}

/// Lists, describes or turns round.
///
/// # Errors
/// Mistakes in the file, no cluster that can be asked, no such mirror.
pub async fn run(args: Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let (which, is_list) = match args.action {
        Action::List(which) => (which, true),
        Action::Describe(which) => (which, false),
        Action::ReverseAndStart(args) => return turn::run(Turn::ReverseAndStart, args, ui).await,
        Action::ReverseAndPause(args) => return turn::run(Turn::ReverseAndPause, args, ui).await,
        Action::TruncateAndRestore(args) => return turn::restore(args, ui).await,
    };
    let found = look(&which.file, ui).await?.found;
    let mirrors = meant(&found, &which)?;
    let text = match (which.format, is_list) {
        (Format::Json, _) => document(&mirrors)?,
        (Format::Text, true) => inventory::mirrors(&mirrors),
        (Format::Text, false) if mirrors.is_empty() => inventory::mirrors(&[]),
        (Format::Text, false) => {
            let now_ms = jiff::Timestamp::now().as_millisecond();
            let shown = mirrors.iter();
            let shown: Vec<String> = shown.map(|it| inventory::mirror(it, now_ms)).collect();
            shown.join("\n")
        }
    };
    ui.document(&text)?;
    Ok(ExitCode::Ok)
}

fn meant(found: &Inventory, which: &Which) -> Result<Vec<MirrorView>, CliError> {
    if let Some(link) = &which.link
        && !found.links.iter().any(|it| it.link_name == *link)
    {
        let error = CliError::new(
            ErrorKind::Usage,
            format!("there is no link `{}`", clean(link)),
        );
        return Err(error.with_hint("kmirror link list FILE shows those that there are"));
    }
    for topic in &which.topics {
        if !found
            .mirrors
            .iter()
            .any(|it| it.mirror_topic_name == *topic)
        {
            let error = CliError::new(
                ErrorKind::Usage,
                format!("there is no mirror topic `{}`", clean(topic)),
            );
            let names = found.mirrors.iter().map(|it| it.mirror_topic_name.as_str());
            return Err(match crate::nearest::nearest(topic, names) {
                Some(near) => error.with_hint(format!("did you mean `{}`?", clean(near))),
                None => error.with_hint("kmirror mirror list FILE shows those that there are"),
            });
        }
    }
    let mirrors = found.mirrors.iter();
    let mirrors = mirrors
        .filter(|it| which.link.as_ref().is_none_or(|link| it.link_name == *link))
        .filter(|it| which.topics.is_empty() || which.topics.contains(&it.mirror_topic_name))
        .filter(|it| {
            let state = which.state.as_ref();
            state.is_none_or(|state| it.mirror_status.eq_ignore_ascii_case(state))
        });
    Ok(mirrors.cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_spelt_as_people_do() {
        assert_eq!(state("pending-stopped"), Ok("PENDING_STOPPED".to_owned()));
        assert_eq!(state("Active"), Ok("ACTIVE".to_owned()));
        assert!(
            state("gone")
                .expect_err("there is none")
                .contains("source-unavailable")
        );
    }
}
