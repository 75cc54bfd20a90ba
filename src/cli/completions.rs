//! `kmirror completions`: what a shell needs to complete commands and options.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, CliError, ExitCode, Ui};

/// Print a script with which a shell completes commands and options
///
/// For example: kmirror completions bash > /etc/bash_completion.d/kmirror;
/// kmirror completions zsh > "${fpath[1]}/_kmirror";
/// kmirror completions fish > ~/.config/fish/completions/kmirror.fish
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// Stdout's.
pub fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kmirror", &mut script);
    ui.document(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::Ok)
}
