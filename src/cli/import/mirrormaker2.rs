//! `kmirror import mirrormaker2`.

use std::path::PathBuf;

use super::{Output, read};
use crate::cli::{CliError, ExitCode, Ui};
use crate::import::mirrormaker2;

/// From MirrorMaker 2: mm2.properties, or its connectors
///
/// Each file is an mm2.properties as connect-mirror-maker.sh takes it, or JSON with connectors: as
/// they are posted, the config alone, or what GET /connectors?expand=info&expand=status answers.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// mm2.properties, or JSON files with connectors
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    output: Output,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let draft = mirrormaker2::read(&read(&args.files)?)?;
    args.output.finish(&draft, ui)
}
