//! Mistakes as JUnit's test cases: an error for each.

use super::{Checked, main_label, summary};
use crate::report::junit::{self, Case, Fault, Outcome, Suite};

pub(super) fn document(files: &[Checked<'_>]) -> String {
    let suites: Vec<Suite> = files.iter().map(suite).collect();
    junit::document("kmirror", &suites)
}

fn suite(checked: &Checked<'_>) -> Suite {
    let diagnostics = checked.diagnostics;
    let case = |diagnostic| {
        let diagnostic: &crate::topology::Diagnostic = diagnostic;
        let place = main_label(diagnostics, diagnostic).map(|label| {
            let path = &diagnostics.file(label.span.file).path;
            let (line, column) = (label.span.line, label.span.column);
            format!("{}:{line}:{column}", path.display())
        });
        let place = place.unwrap_or_else(|| checked.path.display().to_string());
        let code = diagnostic.code.to_string();
        Case {
            class: code.clone(),
            name: format!("{place}: {}", diagnostic.message),
            outcome: Outcome::Error(Fault {
                kind: code,
                message: diagnostic.message.clone(),
                text: format!("{place}\n{}", summary(diagnostics, diagnostic)),
            }),
        }
    };
    Suite {
        name: checked.path.display().to_string(),
        cases: diagnostics.iter().map(case).collect(),
    }
}
