//! Workflow commands: a line for each finding.

use std::path::Path;

use super::{Finding, FoundAt, Level};
use crate::report::{from_root, workflow};

pub(super) fn document(findings: &[Finding]) -> String {
    findings.iter().map(command).collect()
}

fn command(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Notice => "notice",
    };
    let mut properties = match &finding.place {
        FoundAt::Line(place) => vec![
            ("file", from_root(Path::new(&place.file))),
            ("line", place.line.to_string()),
            ("col", place.column.to_string()),
        ],
        FoundAt::File(file) => vec![("file", from_root(Path::new(file)))],
    };
    let title = finding.address.clone();
    properties.push(("title", title.unwrap_or_else(|| finding.rule.title.into())));
    workflow::command(level, &properties, &finding.message())
}
