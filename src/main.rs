//! The binary: parse what was typed, run the command, map its outcome to an exit code.
//!
//! Everything else is in the library. Errors are turned into words in one place,
//! [`kmirror::cli::CliError::report`].

use clap::Parser;
use kmirror::cli::{Cli, ExitCode, Ui, logging};

fn main() -> std::process::ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are documents, the rest are mistakes. clap's own code for those is 2,
        // which here means "changes present".
        Err(error) => {
            let code = if error.use_stderr() {
                ExitCode::Error
            } else {
                ExitCode::Ok
            };
            // Nobody is left to tell when the terminal itself is gone.
            let _ = error.print();
            return code.into();
        }
    };
    let ui = Ui::from_environment();
    run(cli, &ui)
        .unwrap_or_else(|error| error.report(&ui))
        .into()
}

fn run(cli: Cli, ui: &Ui) -> Result<ExitCode, kmirror::cli::CliError> {
    logging::init(cli.verbose, cli.command.default_level(), ui)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads())
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(cli.command.run(ui));
    // A read of stdin that nobody answers any more must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// One for every two cores. Records are passed on in small steps, each of which wakes the next; with more threads than
/// the work needs, waking them costs more than the steps do. One carries gigabits a second.
fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}
