//! The commands: one file each, with arguments, help and a call; the logic lives below.
//!
//! A command is a module with `Args` and `run(args, &Ui) -> Result<ExitCode, CliError>`, a variant
//! of [`Command`] and a line in [`Command::run`]. Text for people goes through [`Ui`] to stderr,
//! requested documents through [`Ui::document`] to stdout.

use clap::{ArgAction, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

pub mod apply;
pub mod completions;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod drift;
mod error;
pub mod explain;
pub mod fmt;
pub mod graph;
pub mod http;
pub mod import;
pub mod journal;
pub mod key;
pub mod link;
pub mod logging;
pub mod man;
pub mod mirror;
pub mod offsets;
pub mod plan;
pub mod replica;
pub mod run;
pub mod sandbox;
mod saved;
pub mod schema;
pub mod serve;
pub mod show;
mod signals;
mod ui;
pub mod user;
pub mod validate;

pub use error::{CliError, ErrorKind};
pub use ui::{Style, Ui};

/// Declarative mirroring between Kafka clusters.
#[derive(Debug, Parser)]
#[command(name = "kmirror", version, max_term_width = 100)]
#[command(disable_help_subcommand = true, subcommand_required = true, after_help = after_help())]
pub struct Cli {
    /// Log more to stderr (-v: info, -vv: debug, -vvv: trace); KMIRROR_LOG takes a filter such as kmirror::kafka=debug
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    #[command(subcommand)]
    pub command: Command,
}

/// The table of commands, in the order of `--help`.
#[derive(Debug, Subcommand)]
pub enum Command {
    Validate(validate::Args),
    Plan(plan::Args),
    Apply(apply::Args),
    Drift(drift::Args),
    Diff(diff::Args),
    Show(show::Args),
    Journal(journal::Args),
    Run(run::Args),
    Serve(serve::Args),
    User(user::Args),
    Key(key::Args),
    Link(link::Args),
    Mirror(mirror::Args),
    Replica(replica::Args),
    Offsets(offsets::Args),
    Doctor(doctor::Args),
    Sandbox(sandbox::Args),
    Demo(demo::Args),
    Fmt(fmt::Args),
    Graph(graph::Args),
    Import(import::Args),
    Explain(explain::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
}

impl Command {
    /// What is logged without `--verbose`: little, unless a command's log is what people read.
    pub fn default_level(&self) -> LevelFilter {
        match self {
            Self::Validate(_)
            | Self::Plan(_)
            | Self::Apply(_)
            | Self::Drift(_)
            | Self::Diff(_)
            | Self::Show(_)
            | Self::Journal(_)
            | Self::Key(_)
            | Self::Link(_)
            | Self::Mirror(_)
            | Self::Replica(_)
            | Self::Offsets(_)
            | Self::Doctor(_)
            | Self::Sandbox(_)
            | Self::Demo(_)
            | Self::Fmt(_)
            | Self::Graph(_)
            | Self::Import(_)
            | Self::Explain(_)
            | Self::Schema(_)
            | Self::Completions(_)
            | Self::User(_)
            | Self::Man(_) => LevelFilter::WARN,
            Self::Run(_) | Self::Serve(_) => LevelFilter::INFO,
        }
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// Whatever the command ends in, ready to be reported.
    pub async fn run(self, ui: &Ui) -> Result<ExitCode, CliError> {
        match self {
            Self::Validate(args) => validate::run(&args, ui),
            Self::Plan(args) => plan::run(args, ui).await,
            Self::Apply(args) => apply::run(args, ui).await,
            Self::Drift(args) => drift::run(args, ui).await,
            Self::Diff(args) => diff::run(&args, ui),
            Self::Show(args) => show::run(&args, ui),
            Self::Journal(args) => journal::run(&args, ui),
            Self::Run(args) => run::run(args, ui).await,
            Self::Serve(args) => serve::run(args, ui).await,
            Self::User(args) => user::run(&args, ui),
            Self::Key(args) => key::run(args, ui).await,
            Self::Link(args) => link::run(args, ui).await,
            Self::Mirror(args) => mirror::run(args, ui).await,
            Self::Replica(args) => replica::run(args, ui).await,
            Self::Offsets(args) => offsets::run(args, ui).await,
            Self::Doctor(args) => doctor::run(args, ui).await,
            Self::Sandbox(args) => sandbox::run(&args, ui).await,
            Self::Demo(args) => demo::run(&args, ui).await,
            Self::Fmt(args) => fmt::run(&args, ui),
            Self::Graph(args) => graph::run(&args, ui),
            Self::Import(args) => import::run(args, ui).await,
            Self::Explain(args) => explain::run(&args, ui),
            Self::Schema(args) => schema::run(&args, ui),
            Self::Completions(args) => completions::run(&args, ui),
            Self::Man(args) => man::run(&args, ui),
        }
    }
}

/// What each exit code means, for help and manual.
const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "done, or nothing to do"),
    ("1", "an error"),
    ("2", "there are changes (--detailed-exitcode), or drift"),
    ("3", "something is blocked until a person decides"),
    ("130", "interrupted"),
];

/// The variables that are read, for the manual.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        logging::FILTER_VARIABLE,
        "what is logged, instead of --verbose: a filter such as kmirror::kafka=debug",
    ),
    (
        "XDG_STATE_HOME",
        "where applies keep their journals, in kmirror/journal; ~/.local/state without it",
    ),
    (
        "KMIRROR_REST_USERNAME",
        "who asks a REST API (import cluster-link), instead of --username",
    ),
    (
        "KMIRROR_REST_PASSWORD",
        "the password for it, instead of --password-file",
    ),
    (
        crate::linking::seal::KEY_VARIABLE,
        "what secrets of links made over REST are encrypted with: 32 bytes in base64 or hex",
    ),
    (
        crate::linking::seal::KEY_FILE_VARIABLE,
        "a file with that key, instead",
    ),
    (
        key::OLD_KEY_VARIABLE,
        "the key that they are encrypted with so far (key rotate), instead of --old-key-file",
    ),
    ("NO_COLOR", "if set to anything, output has no colour"),
];

fn after_help() -> String {
    let mut text = "Exit codes:".to_owned();
    for (code, meaning) in EXIT_CODES {
        text.push_str(&format!("\n  {code:<4} {meaning}"));
    }
    text
}

/// How the process ends. The numbers are part of the interface: scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// Done, or nothing to do.
    Ok = 0,
    Error = 1,
    /// There are changes, for `--detailed-exitcode`; there is drift.
    Changes = 2,
    /// Something is blocked until a person decides.
    Blocked = 3,
    /// SIGINT, as shells report it.
    Interrupted = 130,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_every_flag_is_in_the_documentation() {
        let page = include_str!("../../docs/commands.md");
        let sections: Vec<(&str, &str)> = page
            .split("\n## kmirror ")
            .skip(1)
            .filter_map(|section| section.split_once('\n'))
            .collect();
        let command = Cli::command();
        let mut missing = Vec::new();
        for command in command.get_subcommands() {
            let name = command.get_name();
            let Some((_, section)) = sections.iter().find(|(title, _)| *title == name) else {
                missing.push(name.to_owned());
                continue;
            };
            let below = command.get_subcommands();
            let arguments = below.flat_map(clap::Command::get_arguments);
            let arguments = command.get_arguments().chain(arguments);
            for flag in arguments.filter_map(clap::Arg::get_long) {
                if !section.contains(&format!("--{flag}")) {
                    missing.push(format!("{name} --{flag}"));
                }
            }
        }
        assert!(missing.is_empty(), "{}", missing.join("\n"));
        assert_eq!(sections.len(), command.get_subcommands().count());
    }
}
