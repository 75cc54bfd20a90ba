//! `kmirror journal`: what an apply did. And where the journals of applies are kept.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{CliError, ErrorKind, ExitCode, Ui};
use crate::apply::journal::{Journal, read};
use crate::report::{self, clean};

/// So many journals are kept in the folder of their own.
const KEPT: usize = 50;

const EXTENSION: &str = "jsonl";

/// Show what an apply did
///
/// Every apply keeps a journal, line by line while it works, so that also one that was killed can be told of: what was done,
/// what failed, and of what nobody knows.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The journal; the one of the last apply on this machine without it
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Prints a journal in words.
///
/// # Errors
/// There is none, or the file is none.
pub fn run(args: &Args, ui: &Ui) -> Result<ExitCode, CliError> {
    let path = match &args.file {
        Some(path) => path.clone(),
        None => last()?,
    };
    let shown = clean(&path.display().to_string());
    let text = fs::read_to_string(&path).map_err(|error| {
        CliError::new(ErrorKind::Io, format!("`{shown}` can't be read: {error}"))
    })?;
    let account = read(&text).map_err(|error| {
        let problem = clean(&error.to_string());
        CliError::new(
            ErrorKind::Usage,
            format!("`{shown}` can't be taken: {problem}"),
        )
    })?;
    if args.file.is_none() {
        ui.say(&format!("{shown}:"));
    }
    ui.document(&report::journal::text(&account))?;
    Ok(ExitCode::Ok)
}

fn last() -> Result<PathBuf, CliError> {
    let none = |problem: String| {
        CliError::new(ErrorKind::Usage, problem).with_hint(
            "name one: `kmirror journal FILE`, as written by `kmirror apply --journal FILE`",
        )
    };
    let Some(folder) = folder() else {
        return Err(none(
            "there is no folder of journals: neither XDG_STATE_HOME nor HOME is set".to_owned(),
        ));
    };
    let shown = clean(&folder.display().to_string());
    journals(&folder)
        .pop()
        .ok_or_else(|| none(format!("there is no journal in {shown}")))
}

/// Where journals are kept, by the XDG base directory specification.
fn folder() -> Option<PathBuf> {
    let absolute = |name| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let state =
        absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("kmirror").join("journal"))
}

/// Journals of a folder, oldest first: their names begin with the time.
fn journals(folder: &Path) -> Vec<PathBuf> {
    let Ok(files) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut journals: Vec<PathBuf> = files
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|it| it == EXTENSION))
        .collect();
    journals.sort();
    journals
}

/// A journal and where it is.
#[derive(Debug)]
pub(super) struct Kept {
    pub journal: Journal,
    pub path: PathBuf,
}

/// Begins the journal of an apply: in the file that the user names, else in the folder of journals. Only the former has to
/// work; without the latter the apply has none.
pub(super) fn begin(wanted: Option<&Path>, ui: &Ui) -> Result<Option<Kept>, CliError> {
    let open = |path: &Path| {
        let journal = Journal::create(path)?;
        let path = path.to_owned();
        Ok::<_, std::io::Error>(Kept { journal, path })
    };
    if let Some(path) = wanted {
        return open(path).map(Some).map_err(|error| {
            let shown = clean(&path.display().to_string());
            let problem =
                format!("nothing was done: no journal can be begun in `{shown}`: {error}");
            CliError::new(ErrorKind::Io, problem)
        });
    }
    let Some(folder) = folder() else {
        return Ok(None);
    };
    let time = Timestamp::now().strftime("%Y-%m-%dT%H%M%S%.3fZ");
    let path = folder.join(format!("{time}-{}.{EXTENSION}", std::process::id()));
    let begun = private(&folder).and_then(|()| open(&path));
    match begun {
        Ok(kept) => {
            prune(&folder);
            Ok(Some(kept))
        }
        Err(error) => {
            let shown = clean(&folder.display().to_string());
            ui.warn(&format!(
                "no journal is kept, for {shown} can't be written to: {error}"
            ));
            Ok(None)
        }
    }
}

/// Makes the folder, for the user alone.
fn private(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(folder)
}

fn prune(folder: &Path) {
    let journals = journals(folder);
    let many = journals.len().saturating_sub(KEPT);
    for old in &journals[..many] {
        if let Err(error) = fs::remove_file(old) {
            tracing::debug!(path = %old.display(), %error, "an old journal can't be removed");
        }
    }
}
