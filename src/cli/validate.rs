//! `kmirror validate`: everything about topology files that can be known offline.

use std::path::PathBuf;

use super::{CliError, ErrorKind, ExitCode, Ui};

/// Check topology files without touching a cluster
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Checks each file.
///
/// # Errors
/// A file with mistakes, or that cannot be read.
pub fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    for file in &args.files {
        let text = std::fs::read_to_string(file).map_err(|error| {
            CliError::new(ErrorKind::Io, format!("{}: {error}", file.display()))
        })?;
        text.parse::<toml::Table>().map_err(|error| {
            CliError::new(ErrorKind::Topology, format!("{}: {error}", file.display()))
        })?;
        ui.say(&format!("{}: valid", file.display()));
    }
    Ok(ExitCode::Ok)
}
