//! `kmirror graph`: a topology as a picture.

use std::path::PathBuf;

use super::{CliError, ExitCode, Ui};
use crate::report::graph::{self, Language};

/// Draw a topology: clusters, their topics, and what the links take and make of it
///
/// Nothing is asked of a cluster, and what the file refers to is not looked up. Topics are drawn where the file knows them by name; what a link
/// takes besides is one box with its patterns at the source and one with the rename at the
/// destination. Owned topics have a thick border, paused mirrors a dashed arrow.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Language of the graph on stdout
    #[arg(long, value_enum, default_value_t = Format::Mermaid)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A flowchart for Markdown, to be fenced as ```mermaid
    Mermaid,
    /// For Graphviz: kmirror graph --format dot FILE | dot -Tsvg > graph.svg
    Dot,
}

/// Prints the graph.
///
/// # Errors
/// Mistakes in the file.
pub fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let topology = ui.load_topology_offline(&args.file)?;
    let language = match args.format {
        Format::Mermaid => Language::Mermaid,
        Format::Dot => Language::Dot,
    };
    ui.document(&graph::graph(&topology, language))?;
    Ok(ExitCode::Ok)
}
