//! Saved plans as files: `plan --out` writes them, `apply` and `show` read them.

use std::fs::File;
use std::io::{ErrorKind as IoKind, Read};
use std::path::Path;

use super::{CliError, ErrorKind};
use crate::plan::model::Plan;
use crate::plan::saved;
use crate::report::{clean, json};

/// The largest document that is read; a plan of 100,000 entries has a tenth of this.
const LARGEST: u64 = 1 << 30;

/// So much of a file says whether it is a plan.
const HEAD: u64 = 4096;

/// Whether the file holds a document of JSON, as plans are and topology files can't be. A file that can't be read is none:
/// whoever reads it next says why.
pub(super) fn is_saved_plan(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    let first = head.iter().find(|byte| !byte.is_ascii_whitespace());
    read.is_ok() && first == Some(&b'{')
}

/// Reads what [`save`] wrote.
pub(super) fn read(path: &Path) -> Result<Plan, CliError> {
    let shown = clean(&path.display().to_string());
    let failed = |problem: String| {
        CliError::new(
            ErrorKind::Usage,
            format!("`{shown}` can't be taken: {problem}"),
        )
        .with_hint("save a plan with `kmirror plan --out PLAN.json FILE`")
    };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| {
        CliError::new(ErrorKind::Io, format!("`{shown}` can't be read: {error}"))
    })?;
    match file.take(LARGEST).read_to_string(&mut text) {
        Ok(size) if size as u64 == LARGEST => {
            return Err(failed("it is too large for a plan".to_owned()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == IoKind::InvalidData => {
            return Err(failed("it is no text".to_owned()));
        }
        Err(error) => {
            let problem = format!("`{shown}` can't be read: {error}");
            return Err(CliError::new(ErrorKind::Io, problem));
        }
    }
    saved::read(&text).map_err(|error| failed(clean(&error.to_string())))
}

/// Writes the plan, and over no file that is anything but a plan.
pub(super) fn save(path: &Path, plan: &Plan) -> Result<(), CliError> {
    let shown = clean(&path.display().to_string());
    let is_there = path.metadata().is_ok_and(|file| file.len() > 0);
    if is_there && !is_saved_plan(path) {
        return Err(CliError::new(
            ErrorKind::Usage,
            format!("`{shown}` is no saved plan, so it is not overwritten"),
        )
        .with_hint("give --out another name"));
    }
    crate::files::write(path, json::plan(plan).as_bytes()).map_err(|error| {
        CliError::new(
            ErrorKind::Io,
            format!("the plan can't be saved in `{shown}`: {error}"),
        )
    })
}

/// What to do with a plan that was saved.
pub(super) fn farewell(path: &Path, plan: &Plan) -> String {
    let shown = clean(&path.display().to_string());
    if plan.is_blocked() {
        format!("Saved in {shown}. It can't be applied: something is blocked.")
    } else if plan.has_changes() {
        format!("Saved in {shown}. To do exactly this: kmirror apply {shown}")
    } else {
        format!("Saved in {shown}.")
    }
}
