//! SARIF 2.1.0: a rule for each code that occurs and a result for each diagnostic.
//!
//! A rule's help is the section of docs/errors.md.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Checked, main_label, summary};
use crate::report::sarif::{self, artifact, message};
use crate::topology::Code;
use crate::topology::diagnostic::{Diagnostic, Diagnostics, Label, Severity};
use crate::topology::explain::{self, Section};

pub(super) fn document(files: &[Checked<'_>]) -> String {
    let codes: BTreeSet<Code> = files
        .iter()
        .flat_map(|checked| checked.diagnostics.iter())
        .map(|diagnostic| diagnostic.code)
        .collect();
    let codes: Vec<Code> = codes.into_iter().collect();
    let rules: Vec<Value> = codes.iter().map(|code| rule(*code)).collect();
    let results: Vec<Value> = files
        .iter()
        .flat_map(|checked| {
            let diagnostics = checked.diagnostics;
            diagnostics
                .iter()
                .map(|diagnostic| result(diagnostics, diagnostic, &codes))
        })
        .collect();
    sarif::document(&rules, &results)
}

fn rule(code: Code) -> Value {
    let section = explain::section(code);
    let help = without_relative_links(section);
    json!({
        "id": code.to_string(),
        "shortDescription": { "text": section.title },
        "fullDescription": { "text": section.meaning() },
        "help": { "text": help, "markdown": help },
        "defaultConfiguration": {
            "level": if section.is_warning() { "warning" } else { "error" },
        },
    })
}

fn result(diagnostics: &Diagnostics, diagnostic: &Diagnostic, codes: &[Code]) -> Value {
    let mut result = json!({
        "ruleId": diagnostic.code.to_string(),
        "ruleIndex": codes.iter().position(|code| *code == diagnostic.code),
        "level": match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "message": message(&summary(diagnostics, diagnostic)),
    });
    let place = match main_label(diagnostics, diagnostic) {
        Some(label) => physical_location(diagnostics, label),
        None => json!({ "artifactLocation": artifact(&diagnostics.topology_file().path) }),
    };
    result["locations"] = json!([{ "physicalLocation": place }]);
    let related: Vec<Value> = diagnostic
        .labels
        .iter()
        .skip(1)
        .map(|label| {
            json!({
                "physicalLocation": physical_location(diagnostics, label),
                "message": message(&label.text),
            })
        })
        .collect();
    if !related.is_empty() {
        result["relatedLocations"] = Value::Array(related);
    }
    result
}

fn physical_location(diagnostics: &Diagnostics, label: &Label) -> Value {
    let span = label.span;
    let (end_line, end_column) = diagnostics.end_of(span);
    json!({
        "artifactLocation": artifact(&diagnostics.file(span.file).path),
        "region": {
            "startLine": span.line,
            "startColumn": span.column,
            "endLine": end_line,
            "endColumn": end_column,
        },
    })
}

/// Links between pages of the documentation lead nowhere in a viewer: only their text is kept.
fn without_relative_links(section: &Section) -> String {
    let text = section.text();
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(middle) = rest.find("](") {
        let (before, after) = rest.split_at(middle);
        let target = after[2..].split(')').next().unwrap_or_default();
        let is_relative = target.ends_with(".md") && !target.contains("://");
        match before.rfind('[').filter(|_| is_relative) {
            Some(open) => {
                kept.push_str(&before[..open]);
                kept.push_str(&before[open + 1..]);
                rest = &after[2 + target.len() + 1..];
            }
            None => {
                kept.push_str(before);
                kept.push_str("](");
                rest = &after[2..];
            }
        }
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_has_no_links_that_lead_nowhere() {
        for section in explain::sections() {
            let help = without_relative_links(section);
            assert!(!help.contains(".md)"), "{}", section.code);
            assert_eq!(
                help.matches("](http").count(),
                section.body.matches("](http").count()
            );
        }
    }
}
