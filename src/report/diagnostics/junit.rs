//! Mistakes as JUnit's test cases: an error for each, a case that passes for each warning.

use super::{Checked, main_label, summary};
use crate::report::junit::{self, Case, Fault, Outcome, Suite};
use crate::topology::diagnostic::{Diagnostic, Severity};

pub(super) fn document(files: &[Checked<'_>]) -> String {
    let suites: Vec<Suite> = files.iter().map(suite).collect();
    junit::document("kmirror", &suites)
}

fn suite(checked: &Checked<'_>) -> Suite {
    let diagnostics = checked.diagnostics;
    let case = |diagnostic: &Diagnostic| {
        let place = main_label(diagnostics, diagnostic).map(|label| {
            let path = &diagnostics.file(label.span.file).path;
            let (line, column) = (label.span.line, label.span.column);
            format!("{}:{line}:{column}", path.display())
        });
        let place = place.unwrap_or_else(|| checked.path.display().to_string());
        let code = diagnostic.code.to_string();
        let outcome = match diagnostic.severity {
            // Warnings alone fail nothing.
            Severity::Warning => Outcome::Passed,
            Severity::Error => Outcome::Error(Fault {
                kind: code.clone(),
                message: diagnostic.message.clone(),
                text: format!("{place}\n{}", summary(diagnostics, diagnostic)),
            }),
        };
        Case {
            class: code,
            name: format!("{place}: {}", diagnostic.message),
            outcome,
        }
    };
    Suite {
        name: checked.path.display().to_string(),
        cases: diagnostics.iter().map(case).collect(),
    }
}
