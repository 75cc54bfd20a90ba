//! Everything about all files in one JSON document.

use serde::Serialize;

use super::Checked;
use crate::report::json;
use crate::topology::render::{self, JsonDiagnostic};

const FORMAT_VERSION: u16 = 1;

#[derive(Debug, Serialize)]
struct Document<'a> {
    format_version: u16,
    files: Vec<File<'a>>,
}

#[derive(Debug, Serialize)]
struct File<'a> {
    file: String,
    valid: bool,
    diagnostics: Vec<JsonDiagnostic<'a>>,
}

pub(super) fn document(files: &[Checked<'_>]) -> String {
    json::document(&Document {
        format_version: FORMAT_VERSION,
        files: files
            .iter()
            .map(|checked| File {
                file: checked.path.display().to_string(),
                valid: checked.is_valid,
                diagnostics: render::json(checked.diagnostics),
            })
            .collect(),
    })
}
