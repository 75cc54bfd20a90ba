//! `kmirror import clusters`.

use std::path::{Path, PathBuf};

use super::Output;
use crate::cli::{CliError, ErrorKind, ExitCode, Ui};
use crate::client::surroundings::Machine;
use crate::import;
use crate::import::clusters::look::{Wanted, look};
use crate::import::clusters::{self, DESTINATION, SOURCE};
use crate::import::input::Input;
use crate::import::model::{ClusterDraft, Draft};
use crate::observe::Clusters;
use crate::topology;
use crate::topology::selector::TopicSelector;

/// From two live clusters: kmirror's own links, and topics that hold the same records
///
/// Links that kmirror carries out are read from the destination. Other copies are found by their names
/// (the same, or one with something before or after it) and by samples of their records. Nothing is
/// changed on either cluster.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Addresses of the source, with commas
    #[arg(long, value_name = "HOST:PORT")]
    source: String,

    /// Addresses of the destination, with commas
    #[arg(long, value_name = "HOST:PORT")]
    destination: String,

    /// Client properties file for the source
    #[arg(long, value_name = "FILE")]
    source_properties: Option<PathBuf>,

    /// Client properties file for the destination
    #[arg(long, value_name = "FILE")]
    destination_properties: Option<PathBuf>,

    /// Look only at topics of the source that match this name or glob; may be given several times
    #[arg(long, value_name = "PATTERN", value_parser = TopicSelector::from_text)]
    topics: Vec<TopicSelector>,

    /// Write topics that match this name or glob and are no mirrors as topics that the file owns; may
    /// be given several times
    #[arg(long, value_name = "PATTERN", value_parser = TopicSelector::from_text)]
    own: Vec<TopicSelector>,

    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(args: Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let ends = [
        end(
            &args.output,
            SOURCE,
            &args.source,
            args.source_properties.as_deref(),
        )?,
        end(
            &args.output,
            DESTINATION,
            &args.destination,
            args.destination_properties.as_deref(),
        )?,
    ];
    let clusters = connect(&args.output, &ends, ui).await?;
    let wanted = Wanted {
        topics: args.topics,
        owned: args.own,
    };
    let seen = look(&clusters, &wanted).await?;
    if seen.source.id == seen.destination.id {
        return Err(CliError::new(
            ErrorKind::Usage,
            format!(
                "--source and --destination are one cluster, {}",
                crate::report::clean(&seen.source.id)
            ),
        ));
    }
    args.output.finish(&clusters::draft(ends, &seen), ui)
}

/// How a cluster is reached.
fn end(
    output: &Output,
    name: &str,
    servers: &str,
    properties: Option<&Path>,
) -> Result<ClusterDraft, CliError> {
    let properties = match properties {
        Some(path) => Some((Input::read(path)?, output.spell()(path))),
        None => None,
    };
    Ok(import::reached(name, servers, properties.as_ref()))
}

/// Connects as any command does that has a file.
async fn connect(output: &Output, ends: &[ClusterDraft; 2], ui: &Ui) -> Result<Clusters, CliError> {
    let draft = Draft {
        clusters: ends.to_vec(),
        ..Draft::default()
    };
    let text = import::write(&draft).map_err(|error| {
        CliError::new(
            ErrorKind::Internal,
            format!("the result is no TOML: {error}"),
        )
    })?;
    let path = output.path();
    match topology::parse_in(path, &text, &Machine) {
        Ok(loaded) => Ok(Clusters::connect(&loaded.topology).await?),
        Err(diagnostics) => {
            ui.show_diagnostics(&diagnostics);
            Err(CliError::silent(ErrorKind::Topology))
        }
    }
}
