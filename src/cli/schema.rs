//! `kmirror schema`: what editors need to complete and check topology files.

use super::{CliError, ExitCode, Ui};
use crate::topology::schema;

/// Print the JSON schema of topology files, for editors
///
/// For example: kmirror schema > topology.schema.json, and as the first line of a topology file:
/// #:schema ./topology.schema.json
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints the schema.
///
/// # Errors
/// Stdout's.
pub fn run(_: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    ui.document(&schema::document())?;
    Ok(ExitCode::Ok)
}
