//! `kmirror schema`: what editors and programs need to understand kmirror's documents.

use super::{CliError, ExitCode, Ui};
use crate::{plan, topology};

/// Print the JSON schema of topology files, for editors, or of plans, for programs
///
/// For example: kmirror schema > topology.schema.json, and as the first line of a topology file:
/// #:schema ./topology.schema.json
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What the schema is of
    #[arg(value_enum, value_name = "DOCUMENT", default_value_t = Document::Topology)]
    document: Document,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Document {
    /// Topology files
    Topology,
    /// What `kmirror plan --format json` prints
    Plan,
}

/// Prints the schema.
///
/// # Errors
/// Stdout's.
pub fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    match args.document {
        Document::Topology => ui.document(&topology::schema::document())?,
        Document::Plan => ui.document(plan::SCHEMA)?,
    }
    Ok(ExitCode::Ok)
}
