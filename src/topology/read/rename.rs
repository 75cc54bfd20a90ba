//! `rename`: a template, a prefix or rules by regex.

use super::Kind;
use super::reader::{Node, Reader, Table};
use super::selectors::check_regex;
use crate::topology::codes::Code;
use crate::topology::diagnostic::Diagnostic;
use crate::topology::names;
use crate::topology::rename::{
    self, Piece, PlaceholderError, PlaceholderProblem, RenameByRegex, RenameRule, RuleError,
};

const FORMS: &str = "write \"${topic}.suffix\", { prefix = \"east.\" } or \
                     [{ regex = \"prod-(.*)\", to = \"dr-${1}\" }]";

/// Reads the rule; `None` when it could not be understood.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<RenameRule> {
    if let Some(template) = node.get_ref().as_str() {
        return read_template(reader, node, template);
    }
    if let Some(array) = node.get_ref().as_array() {
        let rules: Vec<_> = array.iter().map(|rule| read_rule(reader, rule)).collect();
        return rules
            .into_iter()
            .collect::<Option<_>>()
            .map(RenameRule::Rules);
    }
    let Some(entries) = node.get_ref().as_table() else {
        let forms = "a template, a prefix or an array of rules";
        reader.wrong_type("rename", node, forms, Some(FORMS.to_owned()));
        return None;
    };
    let span = reader.span(node.span());
    if entries.contains_key("regex") || entries.contains_key("to") {
        reader.report(
            Diagnostic::error(Code::WrongType, "rules by regex have to be an array")
                .at(span, "this is one rule")
                .help("put it in brackets: rename = [{ regex = \"…\", to = \"…\" }]"),
        );
        return None;
    }
    let table = Table::new(Kind::Rename, vec!["rename".to_owned()], span, entries);
    table.finish(reader, &["prefix"]);
    let node = table.get("prefix")?;
    let prefix = reader.string("prefix", node)?;
    if prefix.value.is_empty() {
        reader.report(
            Diagnostic::error(Code::InvalidValue, "`prefix` is empty")
                .at(prefix.span, "this keeps every name")
                .help("leave `rename` out to keep the names"),
        );
        return None;
    }
    check_text(reader, node, 0, &prefix.value)?;
    Some(RenameRule::Prefix(prefix.value))
}

fn read_template(reader: &mut Reader<'_>, node: &Node<'_>, template: &str) -> Option<RenameRule> {
    let known = [rename::TOPIC.to_owned()];
    let pieces = match rename::pieces(template) {
        Ok(pieces) => pieces,
        Err(error) => {
            report_placeholder(reader, node, &error, &known);
            return None;
        }
    };
    let mut names_topic = false;
    let mut at = 0;
    let mut usable = true;
    for piece in pieces {
        match piece {
            Piece::Text(text) => {
                usable &= check_text(reader, node, at, text).is_some();
                at += text.len();
            }
            Piece::Placeholder(name, range) => {
                at = range.end;
                if name == rename::TOPIC {
                    names_topic = true;
                } else {
                    usable = false;
                    let error = PlaceholderError {
                        range,
                        problem: PlaceholderProblem::Unknown(name.to_owned()),
                    };
                    report_placeholder(reader, node, &error, &known);
                }
            }
        }
    }
    if usable && !names_topic {
        usable = false;
        let span = reader.span(node.span());
        reader.report(
            Diagnostic::error(
                Code::ConstantRename,
                "this rename gives every topic the same name",
            )
            .at(span, "`${topic}` is not in it")
            .help("put `${topic}` where the source topic's name belongs; to rename a single topic, set `as` in its [links.NAME.mirrors.TOPIC]"),
        );
    }
    usable.then(|| RenameRule::Template(template.to_owned()))
}

fn read_rule(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<RenameByRegex> {
    let Some(entries) = node.get_ref().as_table() else {
        reader.wrong_type("rename", node, "an array of rules", Some(FORMS.to_owned()));
        return None;
    };
    let span = reader.span(node.span());
    let table = Table::new(Kind::RenameRule, vec!["rename".to_owned()], span, entries);
    table.finish(reader, &["regex", "to"]);
    let pattern = table.get("regex").and_then(|node| {
        let pattern = reader.string("regex", node)?.value;
        check_regex(reader, node, &pattern).map(|()| pattern)
    });
    let to_node = table.get("to")?;
    let to = reader.string("to", to_node)?.value;
    // The text around placeholders can be judged without the regex.
    let mut usable = true;
    let mut at = 0;
    for piece in rename::pieces(&to).unwrap_or_default() {
        match piece {
            Piece::Text(text) => {
                usable &= check_text(reader, to_node, at, text).is_some();
                at += text.len();
            }
            Piece::Placeholder(_, range) => at = range.end,
        }
    }
    let pattern = pattern?;
    match RenameByRegex::new(&pattern, &to) {
        Ok(rule) => usable.then_some(rule),
        Err(RuleError::Placeholder(error)) => {
            report_placeholder(reader, to_node, &error, &RenameByRegex::groups(&pattern));
            None
        }
        // Reported by `check_regex`.
        Err(RuleError::Regex(_)) => None,
    }
}

fn report_placeholder(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    error: &PlaceholderError,
    known: &[String],
) {
    let known: Vec<_> = known.iter().map(|name| format!("`${{{name}}}`")).collect();
    let (label, mut help) = match &error.problem {
        PlaceholderProblem::Bare(name) => (
            "a bare `$` means nothing".to_owned(),
            format!("write `${{{name}}}`"),
        ),
        PlaceholderProblem::Unclosed => ("`}` is missing".to_owned(), String::new()),
        PlaceholderProblem::Unknown(name) => (format!("there is no `{name}`"), String::new()),
    };
    if help.is_empty() {
        help = if known.is_empty() {
            "the regex has no groups; put parentheses around what is to be kept".to_owned()
        } else {
            format!("there is {}", known.join(", "))
        };
    }
    let span = reader.inside(node, error.range.clone());
    reader.report(
        Diagnostic::error(Code::BadPlaceholder, error.to_string())
            .at(span, label)
            .help(help),
    );
}

/// Checks text that becomes part of a topic name. `at` is its place in the string.
fn check_text(reader: &mut Reader<'_>, node: &Node<'_>, at: usize, text: &str) -> Option<()> {
    if let Some((index, illegal)) = text
        .char_indices()
        .find(|(_, char)| !names::is_legal(*char))
    {
        let first = at + index;
        let span = reader.inside(node, first..first + illegal.len_utf8());
        reader.report(
            Diagnostic::error(
                Code::IllegalDestination,
                "this rename gives no legal topic name",
            )
            .at(
                span,
                format!("`{}` is in no topic name", illegal.escape_debug()),
            )
            .help("letters, digits, `.`, `_` and `-` are allowed"),
        );
        return None;
    }
    if at == 0 && text.starts_with(names::OWN_PREFIX) {
        let span = reader.inside(node, 0..text.len());
        reader.report(
            Diagnostic::error(
                Code::IllegalDestination,
                "this rename gives names that are kmirror's own",
            )
            .at(span, "kmirror keeps its state under this prefix"),
        );
        return None;
    }
    Some(())
}
