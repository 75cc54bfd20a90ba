//! `kmirror fmt`: one layout for all topology files.

use std::io;
use std::path::{Path, PathBuf};

use super::{CliError, ErrorKind, ExitCode, Ui};
use crate::files;
use crate::report;
use crate::topology::format::{self, FormatError};
use crate::topology::{self, Diagnostics};

/// Lay out topology files in one way, keeping comments
///
/// Changes spaces, line breaks and blank lines only: keys, values and comments stay as they are, in
/// the order they are in. A file that is no TOML is left alone, and so is one that cannot be
/// written.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology files; - reads stdin and writes to stdout
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Write nothing; name the files that are laid out differently, and exit with 1 if there are any
    #[arg(long)]
    check: bool,
}

/// What is to be done with one file.
#[derive(Debug)]
enum Outcome {
    /// It is laid out like this already.
    Same,
    Differs,
    /// It could not be done, and that was said.
    Failed,
}

/// Formats each file.
///
/// # Errors
/// A file that is no TOML or cannot be read or written, or, with `--check`, that is laid out
/// differently.
pub fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let is_stdin = |file: &PathBuf| file.as_path() == Path::new("-");
    if args.files.iter().any(is_stdin) && args.files.len() > 1 {
        let problem = "`-` stands for stdin and cannot be combined with files";
        return Err(CliError::new(ErrorKind::Usage, problem));
    }
    let (mut differing, mut failed) = (0, 0);
    for file in &args.files {
        let outcome = if is_stdin(file) {
            stream(args.check, ui)?
        } else {
            in_place(file, args.check, ui)?
        };
        match outcome {
            Outcome::Same => {}
            Outcome::Differs => differing += 1,
            Outcome::Failed => failed += 1,
        }
    }
    if failed > 0 || (args.check && differing > 0) {
        return Err(CliError::silent(ErrorKind::Topology));
    }
    Ok(ExitCode::Ok)
}

fn in_place(file: &Path, check: bool, ui: &Ui) -> Result<Outcome, CliError> {
    let name = report::clean(&file.display().to_string());
    let text = match topology::read_file(file) {
        Ok(text) => text,
        Err(diagnostics) => return Ok(not_read(&diagnostics, ui)),
    };
    let Some(formatted) = formatted(file, &text, ui)? else {
        return Ok(Outcome::Failed);
    };
    if formatted == text {
        return Ok(Outcome::Same);
    }
    if check {
        ui.document(&format!("{name}\n"))?;
        return Ok(Outcome::Differs);
    }
    if let Err(error) = files::replace(file, formatted.as_bytes()) {
        ui.error(&format!("{name} cannot be written: {error}"));
        return Ok(Outcome::Failed);
    }
    ui.say(&format!("{name}: formatted"));
    Ok(Outcome::Differs)
}

fn stream(check: bool, ui: &Ui) -> Result<Outcome, CliError> {
    let path = Path::new("<stdin>");
    let text = match topology::read_stream(path, io::stdin().lock()) {
        Ok(text) => text,
        Err(diagnostics) => return Ok(not_read(&diagnostics, ui)),
    };
    let Some(formatted) = formatted(path, &text, ui)? else {
        return Ok(Outcome::Failed);
    };
    let differs = formatted != text;
    if !check {
        ui.document(&formatted)?;
    } else if differs {
        ui.document("<stdin>\n")?;
    }
    Ok(if differs {
        Outcome::Differs
    } else {
        Outcome::Same
    })
}

fn not_read(diagnostics: &Diagnostics, ui: &Ui) -> Outcome {
    ui.show_diagnostics(diagnostics);
    Outcome::Failed
}

/// `None` for a text without a layout, which is said.
fn formatted(path: &Path, text: &str, ui: &Ui) -> Result<Option<String>, CliError> {
    match format::format(path, text) {
        Ok(formatted) => Ok(Some(formatted)),
        Err(FormatError::Syntax(diagnostics)) => {
            ui.show_diagnostics(&diagnostics);
            Ok(None)
        }
        Err(error @ FormatError::Unfaithful) => Err(CliError::new(
            ErrorKind::Internal,
            format!("{}: {error}", report::clean(&path.display().to_string())),
        )),
    }
}
