//! `kmirror show`: a saved plan, to be read.

use std::path::PathBuf;

use super::plan::{Format, document};
use super::{CliError, ExitCode, Ui, saved};

/// Show a saved plan
///
/// Reads the file and asks no cluster: this is what was planned, not what would be planned now.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A plan that `kmirror plan --out` saved
    #[arg(value_name = "PLAN.json")]
    file: PathBuf,

    /// Form of the plan on stdout
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Prints the plan.
///
/// # Errors
/// The file is no plan; stdout's.
pub fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let plan = saved::read(&args.file)?;
    ui.document(&document(&plan, args.format, ui))?;
    Ok(ExitCode::Ok)
}
