//! `kmirror import replicator`.

use std::path::PathBuf;

use super::{Output, read};
use crate::cli::{CliError, ErrorKind, ExitCode, Ui};
use crate::import::input::Input;
use crate::import::replicator::{self, CommandLine, Executable};

/// From Confluent Replicator: its properties files, its command line, or its connectors
///
/// For the executable, name its properties files, or give its whole command line behind --:
/// kmirror import replicator -- bin/replicator --cluster.id replicator --consumer.config
/// consumer.properties --producer.config producer.properties --whitelist orders. Flags win over
/// files. For connectors, name JSON files: as they are posted, the config alone, or what GET
/// /connectors?expand=info&expand=status answers.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// JSON files with connectors
    #[arg(value_name = "CONNECTOR")]
    connectors: Vec<PathBuf>,

    /// Properties file of the consumer: the source
    #[arg(
        long,
        alias = "consumer.config",
        value_name = "FILE",
        conflicts_with = "connectors"
    )]
    consumer_config: Option<PathBuf>,

    /// Properties file of the producer: the destination
    #[arg(
        long,
        alias = "producer.config",
        value_name = "FILE",
        conflicts_with = "connectors"
    )]
    producer_config: Option<PathBuf>,

    /// Properties file of the replication: topics and names
    #[arg(
        long,
        alias = "replication.config",
        value_name = "FILE",
        conflicts_with = "connectors"
    )]
    replication_config: Option<PathBuf>,

    /// The command line of the executable
    #[arg(
        last = true,
        value_name = "COMMAND LINE",
        conflicts_with = "connectors"
    )]
    command_line: Vec<String>,

    #[command(flatten)]
    output: Output,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let is_executable = args.consumer_config.is_some()
        || args.producer_config.is_some()
        || args.replication_config.is_some()
        || !args.command_line.is_empty();
    let draft = if is_executable {
        replicator::executable(&given(args)?, &args.output.spell())?
    } else if args.connectors.is_empty() {
        return Err(CliError::new(ErrorKind::Usage, "there is nothing to import").with_hint(
            "name the executable's properties files, its command line behind --, or JSON files with connectors",
        ));
    } else {
        replicator::connectors(&read(&args.connectors)?)?
    };
    args.output.finish(&draft, ui)
}

/// The files, as far as they are named: here, or in the command line.
fn given(args: &Args) -> Result<Executable, CliError> {
    let command_line = CommandLine::read(&args.command_line);
    let file = |here: &Option<PathBuf>, there: &Option<PathBuf>| {
        let path = here.as_ref().or(there.as_ref());
        path.map(|path| Input::read(path)).transpose()
    };
    Ok(Executable {
        consumer: file(&args.consumer_config, &command_line.consumer_config)?,
        producer: file(&args.producer_config, &command_line.producer_config)?,
        replication: file(&args.replication_config, &command_line.replication_config)?,
        command_line,
    })
}
