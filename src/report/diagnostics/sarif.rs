//! SARIF 2.1.0: one run, with a rule for each code that occurs and a result for each diagnostic.
//!
//! A rule's help is the section of docs/errors.md. Columns are counted in characters, which SARIF
//! has to be told. Paths are relative to the folder where the program was started, which is the
//! root of the sources as far as code scanning is concerned.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::{Checked, from_root, main_label, summary};
use crate::report::json;
use crate::topology::Code;
use crate::topology::diagnostic::{Diagnostic, Diagnostics, Label, Severity};
use crate::topology::explain::{self, Section};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

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
    json::document(&json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "kmirror",
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                },
            },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    }))
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

/// In messages, braces stand for arguments and `[…](…)` is a link, unless they are escaped.
fn message(text: &str) -> Value {
    let text = text
        .replace('{', "{{")
        .replace('}', "}}")
        .replace("](", "\\](");
    json!({ "text": text })
}

fn artifact(path: &Path) -> Value {
    let mut uri = String::new();
    for byte in from_root(path).replace('\\', "/").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            _ => write!(uri, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
    }
    if path.is_absolute() {
        json!({ "uri": format!("file://{uri}") })
    } else {
        json!({ "uri": uri, "uriBaseId": "%SRCROOT%" })
    }
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
    fn a_message_shows_what_the_file_says() {
        let shown = |text| message(text)["text"].clone();
        assert_eq!(shown("`${topic}` [a](b)"), "`${{topic}}` [a\\](b)");
        assert_eq!(shown("[clusters.a]"), "[clusters.a]");
    }

    #[test]
    fn paths_are_uris() {
        let uri = |path| artifact(Path::new(path))["uri"].clone();
        assert_eq!(uri("./a b/ä.toml"), "a%20b/%C3%A4.toml");
        assert_eq!(uri("/srv/a:b.toml"), "file:///srv/a%3Ab.toml");
        assert_eq!(uri("<stdin>"), "%3Cstdin%3E");
    }

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
