//! `kmirror diff`: what another version of a file says, without a cluster.

use std::path::{Path, PathBuf};

use super::plan::style;
use super::{CliError, ErrorKind, ExitCode, Ui};
use crate::report::diagnostics::{self, Checked, Form};
use crate::report::text::TextOptions;
use crate::report::{self, markdown};
use crate::topology::diff::{Version, diff};
use crate::topology::{self, Diagnostics};

/// Tell what a pull request changes in a topology file
///
/// Compares two versions of a file, key by key: clusters, the topics that the file owns, links and
/// mirrors. No cluster is asked and no reference is looked up; secrets are never shown. `-` reads
/// one of the two from stdin: git show main:mirror.toml | kmirror diff - mirror.toml
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file as it was, or -
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// The file as it is, or -
    #[arg(value_name = "NEW")]
    new: PathBuf,

    /// Form of the difference on stdout; mistakes in the files are told in the same form
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Exit with 2 if there is a difference
    #[arg(long)]
    detailed_exitcode: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One document for programs
    Json,
    /// For a comment on a pull request: at most 65,536 characters, details folded
    Markdown,
}

/// Compares and prints the difference.
///
/// # Errors
/// Mistakes in one of the files.
pub fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    if is_stdin(&args.old) && is_stdin(&args.new) {
        return Err(CliError::new(
            ErrorKind::Usage,
            "only one of the two files can come from stdin",
        ));
    }
    let (old, new) = match (read(&args.old), read(&args.new)) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => {
            let wrong: Vec<_> = [(&args.old, old.err()), (&args.new, new.err())]
                .into_iter()
                .filter_map(|(path, diagnostics)| Some((shown(path), diagnostics?)))
                .collect();
            return Err(tell(&wrong, args.format, ui)?);
        }
    };
    ui.show_diagnostics(&new.warnings);
    let found = diff(&old, &new);
    let document = match args.format {
        Format::Text => {
            let paint = |emphasis, text: &str| ui.paint_out(style(emphasis), text);
            let options = TextOptions {
                width: ui.width_out(),
                paint: &paint,
                ..TextOptions::PLAIN
            };
            report::diff::text(&found, options)
        }
        Format::Json => report::diff::json(&found),
        Format::Markdown => markdown::diff(&found),
    };
    ui.document(&document)?;
    Ok(if args.detailed_exitcode && !found.entries.is_empty() {
        ExitCode::Changes
    } else {
        ExitCode::Ok
    })
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// The name under which a file is cited.
fn shown(path: &Path) -> &Path {
    if is_stdin(path) {
        Path::new("<stdin>")
    } else {
        path
    }
}

fn read(path: &Path) -> Result<Version, Diagnostics> {
    let text = if is_stdin(path) {
        topology::read_stream(shown(path), std::io::stdin().lock())?
    } else {
        topology::read_file(path)?
    };
    Version::parse(shown(path), &text)
}

/// Mistakes of both files at once.
fn tell(wrong: &[(&Path, Diagnostics)], format: Format, ui: &Ui) -> Result<CliError, CliError> {
    let checked: Vec<Checked<'_>> = wrong
        .iter()
        .map(|(path, diagnostics)| Checked {
            path,
            is_valid: false,
            diagnostics,
        })
        .collect();
    match format {
        Format::Text => {
            for (_, diagnostics) in wrong {
                ui.show_diagnostics(diagnostics);
            }
        }
        Format::Json => ui.document(&diagnostics::document(&checked, Form::Json))?,
        Format::Markdown => ui.document(&diagnostics::document(&checked, Form::Markdown))?,
    }
    Ok(CliError::silent(ErrorKind::Topology))
}
