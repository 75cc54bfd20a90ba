//! Workflow commands of GitHub Actions: a line for each diagnostic.

use std::fmt::Write as _;

use super::{Checked, main_label, summary};
use crate::report::{from_root, workflow};
use crate::topology::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(super) fn document(files: &[Checked<'_>]) -> String {
    files
        .iter()
        .flat_map(|checked| {
            let diagnostics = checked.diagnostics;
            diagnostics
                .iter()
                .map(|diagnostic| command(diagnostics, diagnostic))
        })
        .collect()
}

fn command(diagnostics: &Diagnostics, diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut properties = Vec::new();
    match main_label(diagnostics, diagnostic) {
        Some(label) => {
            let span = label.span;
            let (end_line, end_column) = diagnostics.end_of(span);
            let path = &diagnostics.file(span.file).path;
            properties.push(("file", from_root(path)));
            properties.push(("line", span.line.to_string()));
            properties.push(("endLine", end_line.to_string()));
            // GitHub takes columns for a part of one line only.
            if end_line == span.line {
                properties.push(("col", span.column.to_string()));
                properties.push(("endColumn", end_column.to_string()));
            }
        }
        None => {
            let path = &diagnostics.topology_file().path;
            properties.push(("file", from_root(path)));
        }
    }
    properties.push(("title", diagnostic.code.to_string()));
    let mut message = summary(diagnostics, diagnostic);
    for label in diagnostic.labels.iter().skip(1) {
        let path = from_root(&diagnostics.file(label.span.file).path);
        let place = format!("{path}:{}:{}", label.span.line, label.span.column);
        write!(message, "\n{place}: {}", label.text).expect("writing to a string cannot fail");
    }
    workflow::command(level, &properties, &message)
}
