//! JUnit's XML, as Jenkins, GitLab and others read it.
//!
//! Only what all of them agree on is written: suites, cases, failures and errors, with the attributes
//! of Jenkins' own schema.

use std::fmt::Write as _;

use super::clean;

/// Cases that belong together.
#[derive(Debug)]
pub(super) struct Suite {
    pub name: String,
    pub cases: Vec<Case>,
}

/// One thing that was looked at.
#[derive(Debug)]
pub(super) struct Case {
    pub class: String,
    pub name: String,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Passed,
    /// It is not as it should be.
    Failure(Fault),
    /// It could not be judged, or not be brought back.
    Error(Fault),
}

#[derive(Debug)]
pub(super) struct Fault {
    pub kind: String,
    /// One line.
    pub message: String,
    pub text: String,
}

/// The document, with a final newline.
pub(super) fn document(name: &str, suites: &[Suite]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let all = || suites.iter().flat_map(|suite| &suite.cases);
    write_line(
        &mut out,
        &format!(
            "<testsuites name=\"{}\" {}>",
            escaped(name),
            totals(all().map(|case| &case.outcome))
        ),
    );
    for suite in suites {
        write_line(
            &mut out,
            &format!(
                "  <testsuite name=\"{}\" {}>",
                escaped(&suite.name),
                totals(suite.cases.iter().map(|case| &case.outcome))
            ),
        );
        for case in &suite.cases {
            write_case(&mut out, case);
        }
        write_line(&mut out, "  </testsuite>");
    }
    write_line(&mut out, "</testsuites>");
    out
}

fn totals<'o>(outcomes: impl Iterator<Item = &'o Outcome>) -> String {
    let (mut tests, mut failures, mut errors) = (0, 0, 0);
    for outcome in outcomes {
        tests += 1;
        match outcome {
            Outcome::Passed => {}
            Outcome::Failure(_) => failures += 1,
            Outcome::Error(_) => errors += 1,
        }
    }
    format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\"")
}

fn write_case(out: &mut String, case: &Case) {
    let head = format!(
        "    <testcase classname=\"{}\" name=\"{}\"",
        escaped(&case.class),
        escaped(&case.name)
    );
    let (element, fault) = match &case.outcome {
        Outcome::Passed => return write_line(out, &format!("{head}/>")),
        Outcome::Failure(fault) => ("failure", fault),
        Outcome::Error(fault) => ("error", fault),
    };
    write_line(out, &format!("{head}>"));
    write_line(
        out,
        &format!(
            "      <{element} type=\"{}\" message=\"{}\">{}</{element}>",
            escaped(&fault.kind),
            escaped(&fault.message),
            escaped_lines(&fault.text)
        ),
    );
    write_line(out, "    </testcase>");
}

fn write_line(out: &mut String, line: &str) {
    writeln!(out, "{line}").expect("writing to a string cannot fail");
}

/// For attributes and single lines. Characters that XML has no place for are written out.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for char in clean(text).chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            char => escaped.push(char),
        }
    }
    escaped
}

fn escaped_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(escaped).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_leave_its_attribute_or_its_element() {
        assert_eq!(
            escaped("a\"><b>'&\u{0}\u{1b}\u{ffff}\n"),
            "a&quot;&gt;&lt;b&gt;&apos;&amp;\\u{0}\\u{1b}\u{fffd}\\u{a}"
        );
        assert_eq!(escaped_lines("]]>\nb"), "]]&gt;\nb");
    }
}
