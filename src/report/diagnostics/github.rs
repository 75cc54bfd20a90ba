//! Workflow commands of GitHub Actions: a line for each diagnostic.
//!
//! `::error file=mirror.toml,line=2,title=K0010::message`, with the escapes of GitHub's own toolkit.

use std::fmt::Write as _;

use super::{Checked, from_root, main_label, summary};
use crate::report::clean;
use crate::topology::diagnostic::{Diagnostic, Diagnostics, Severity};

pub(super) fn document(files: &[Checked<'_>]) -> String {
    let mut lines = String::new();
    for checked in files {
        for diagnostic in checked.diagnostics.iter() {
            let line = command(checked.diagnostics, diagnostic);
            writeln!(lines, "{line}").expect("writing to a string cannot fail");
        }
    }
    lines
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
    let properties: Vec<_> = properties
        .into_iter()
        .map(|(key, value)| format!("{key}={}", escaped_property(&value)))
        .collect();
    let mut message = summary(diagnostics, diagnostic);
    for label in diagnostic.labels.iter().skip(1) {
        let path = from_root(&diagnostics.file(label.span.file).path);
        let place = format!("{path}:{}:{}", label.span.line, label.span.column);
        write!(message, "\n{place}: {}", label.text).expect("writing to a string cannot fail");
    }
    format!("::{level} {}::{}", properties.join(","), escaped(&message))
}

/// A message is one line; what would end it or steer a terminal is written out.
fn escaped(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(clean).collect();
    lines.join("\n").replace('%', "%25").replace('\n', "%0A")
}

fn escaped_property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_file_can_start_another_command() {
        assert_eq!(escaped("100%\n::error::x"), "100%25%0A::error::x");
        assert_eq!(escaped("a\r\nb"), "a\\u{d}%0Ab");
        assert_eq!(escaped_property("C:\\a,b%\n"), "C%3A\\a%2Cb%25%0A");
    }
}
