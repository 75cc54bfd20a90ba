//! `kmirror validate`: everything about topology files that can be known offline.

use std::path::{Path, PathBuf};

use super::{CliError, ErrorKind, ExitCode, Ui};
use crate::client::surroundings::{Elsewhere, Machine, Surroundings};
use crate::report::diagnostics::{self, Checked, Form};
use crate::topology::{self, Code, Diagnostics, Loaded, Severity, Topology};

/// Check topology files without touching a cluster
///
/// All mistakes of all files are reported in one run. Exits with 1 if there is one; warnings alone
/// do not fail.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Leave environment variables and files aside that the topology refers to, on a machine that
    /// does not hold them
    #[arg(long)]
    skip_references: bool,

    /// Form of what is found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people, on stderr
    Text,
    /// One document for programs, on stdout
    Json,
    /// Workflow commands of GitHub Actions, on stdout: annotations of a pull request
    Github,
    /// SARIF 2.1.0, on stdout, for code scanning
    Sarif,
}

impl Format {
    fn form(self) -> Option<Form> {
        match self {
            Self::Text => None,
            Self::Json => Some(Form::Json),
            Self::Github => Some(Form::Github),
            Self::Sarif => Some(Form::Sarif),
        }
    }
}

/// Checks each file.
///
/// # Errors
/// A file with mistakes, or that cannot be read.
pub fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let surroundings: &dyn Surroundings = if args.skip_references {
        &Elsewhere
    } else {
        &Machine
    };
    let results: Vec<_> = args
        .files
        .iter()
        .map(|file| (file, topology::load_in(file, surroundings)))
        .collect();
    match args.format.form() {
        None => {
            for (file, result) in &results {
                show(ui, file, result);
            }
            if let Some(code) = explicable(&results) {
                ui.say(&format!("for more on a code: kmirror explain {code}"));
            }
        }
        Some(form) => {
            let files: Vec<_> = results
                .iter()
                .map(|(path, result)| Checked {
                    path,
                    is_valid: result.is_ok(),
                    diagnostics: match result {
                        Ok(loaded) => &loaded.warnings,
                        Err(diagnostics) => diagnostics,
                    },
                })
                .collect();
            ui.document(&diagnostics::document(&files, form))?;
        }
    }
    if results.iter().any(|(_, result)| result.is_err()) {
        return Err(CliError::silent(ErrorKind::Topology));
    }
    Ok(ExitCode::Ok)
}

/// The code of the first mistake in a file that could be read.
fn explicable(results: &[(&PathBuf, Result<Loaded, Diagnostics>)]) -> Option<Code> {
    results
        .iter()
        .filter_map(|(_, result)| result.as_ref().err())
        .flat_map(Diagnostics::iter)
        .find(|one| one.severity == Severity::Error && one.code != Code::Unreadable)
        .map(|one| one.code)
}

fn show(ui: &Ui, file: &Path, result: &Result<Loaded, Diagnostics>) {
    let (diagnostics, verdict) = match result {
        Ok(loaded) => (
            &loaded.warnings,
            format!("valid: {}", summary(&loaded.topology)),
        ),
        Err(diagnostics) => (diagnostics, "not valid".to_owned()),
    };
    ui.show_diagnostics(diagnostics);
    if diagnostics.iter().any(|one| one.code == Code::Unreadable) {
        return;
    }
    let counts: Vec<_> = [(Severity::Error, "error"), (Severity::Warning, "warning")]
        .into_iter()
        .map(|(severity, noun)| (diagnostics.count(severity), noun))
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| counted(count, noun))
        .collect();
    let counts = if counts.is_empty() {
        String::new()
    } else {
        format!(" ({})", counts.join(", "))
    };
    ui.say(&format!("{}: {verdict}{counts}", file.display()));
}

fn summary(topology: &Topology) -> String {
    let mirrors = topology.links.values().map(|link| link.mirrors.len()).sum();
    let owned = topology
        .clusters
        .values()
        .map(|cluster| cluster.topics.len())
        .sum();
    [
        (topology.clusters.len(), "cluster"),
        (topology.links.len(), "link"),
        (mirrors, "mirror setting"),
        (owned, "owned topic"),
    ]
    .into_iter()
    .enumerate()
    // Clusters and links are always told, the rest where there is some.
    .filter(|(index, (count, _))| *index < 2 || *count > 0)
    .map(|(_, (count, noun))| counted(count, noun))
    .collect::<Vec<_>>()
    .join(", ")
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
