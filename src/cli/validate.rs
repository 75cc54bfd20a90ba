//! `kmirror validate`: everything about topology files that can be known offline.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{CliError, ErrorKind, ExitCode, Ui};
use crate::topology::render::{self, JsonDiagnostic};
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

    /// text: for people, on stderr; json: every diagnostic, on stdout
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// The document of `--format json`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    format_version: u16,
    files: Vec<JsonFile<'a>>,
}

#[derive(Debug, Serialize)]
struct JsonFile<'a> {
    file: String,
    valid: bool,
    diagnostics: Vec<JsonDiagnostic<'a>>,
}

/// Checks each file.
///
/// # Errors
/// A file with mistakes, or that cannot be read.
pub fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let results: Vec<_> = args
        .files
        .iter()
        .map(|file| (file, topology::load(file)))
        .collect();
    match args.format {
        Format::Text => {
            for (file, result) in &results {
                show(ui, file, result);
            }
        }
        Format::Json => ui.document(&json(&results)?)?,
    }
    if results.iter().any(|(_, result)| result.is_err()) {
        return Err(CliError::silent(ErrorKind::Topology));
    }
    Ok(ExitCode::Ok)
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

fn json(results: &[(&PathBuf, Result<Loaded, Diagnostics>)]) -> Result<String, CliError> {
    let document = Document {
        format_version: 1,
        files: results
            .iter()
            .map(|(file, result)| JsonFile {
                file: file.display().to_string(),
                valid: result.is_ok(),
                diagnostics: match result {
                    Ok(loaded) => render::json(&loaded.warnings),
                    Err(diagnostics) => render::json(diagnostics),
                },
            })
            .collect(),
    };
    let mut text = serde_json::to_string_pretty(&document)
        .map_err(|error| CliError::new(ErrorKind::Internal, error.to_string()))?;
    text.push('\n');
    Ok(text)
}
