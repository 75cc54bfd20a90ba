//! `topics` and `exclude`: names, globs and regexes.

use super::Kind;
use super::reader::{Node, Reader, Table};
use crate::topology::codes::Code;
use crate::topology::diagnostic::Diagnostic;
use crate::topology::model::{Span, Spanned};
use crate::topology::names;
use crate::topology::selector::TopicSelector;

/// What a plain string has when a regex was probably meant.
const REGEX_LOOKS: &[&str] = &[".*", "|", "(", "+"];

/// Reads the array at `key`. False when an entry could not be understood.
pub(super) fn read(
    table: &Table<'_, '_>,
    key: &'static str,
    reader: &mut Reader<'_>,
) -> (Vec<Spanned<TopicSelector>>, bool) {
    let mut selectors: Vec<Spanned<TopicSelector>> = Vec::new();
    let Some(node) = table.get(key) else {
        return (selectors, true);
    };
    let Some(nodes) = reader.array(key, node, "names and patterns") else {
        return (selectors, false);
    };
    let mut understood = true;
    for node in nodes {
        let Some(selector) = selector(key, reader, node) else {
            understood = false;
            continue;
        };
        selectors.push(Spanned {
            value: selector,
            span: reader.span(node.span()),
        });
    }
    warn_repeated(reader, key, &selectors);
    (selectors, understood)
}

fn warn_repeated(reader: &mut Reader<'_>, key: &str, selectors: &[Spanned<TopicSelector>]) {
    let mut seen: std::collections::HashMap<String, Span> = std::collections::HashMap::new();
    for selector in selectors {
        let text = selector.value.to_string();
        match seen.get(&text) {
            None => {
                seen.insert(text, selector.span);
            }
            Some(first) => reader.report(
                Diagnostic::warning(
                    Code::RepeatedSelector,
                    format!("`{text}` is in `{key}` twice"),
                )
                .at(selector.span, "again here")
                .at(*first, "first here"),
            ),
        }
    }
}

fn selector(key: &str, reader: &mut Reader<'_>, node: &Node<'_>) -> Option<TopicSelector> {
    if let Some(text) = node.get_ref().as_str() {
        return from_text(key, reader, node, text);
    }
    let Some(entries) = node.get_ref().as_table() else {
        let help = "write a name, a glob or { regex = \"…\" }".to_owned();
        reader.wrong_type(key, node, "an array of names and patterns", Some(help));
        return None;
    };
    let span = reader.span(node.span());
    let table = Table::new(Kind::Selector, vec![key.to_owned()], span, entries);
    table.finish(reader, &["regex"]);
    let node = table.get("regex")?;
    let pattern = reader.string("regex", node)?.value;
    check_regex(reader, node, &pattern)?;
    TopicSelector::from_regex(&pattern).ok()
}

fn from_text(
    key: &str,
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    text: &str,
) -> Option<TopicSelector> {
    let span = reader.span(node.span());
    let selector = match TopicSelector::from_text(text) {
        Ok(selector) => selector,
        Err(error) => {
            reader.report(
                Diagnostic::error(Code::BadGlob, format!("`{text}` is no glob"))
                    .at(span, error.kind().to_string())
                    .help(format!(
                        "globs have `*`, `?`, `[a-z]` and `{{a,b}}`; {}",
                        regex_form(text)
                    )),
            );
            return None;
        }
    };
    let looks_like_regex = REGEX_LOOKS.iter().any(|look| text.contains(look));
    match &selector {
        TopicSelector::Name(name) => {
            let help = looks_like_regex.then(|| regex_form(name));
            check_name(key, reader, name, span, help).then_some(selector)
        }
        _ => {
            if looks_like_regex {
                warn_ambiguous(reader, text, span);
            }
            Some(selector)
        }
    }
}

/// Whether the literal name may stand in `topics`, `exclude` or `mirrors`.
pub(super) fn check_name(
    key: &str,
    reader: &mut Reader<'_>,
    name: &str,
    span: Span,
    help: Option<String>,
) -> bool {
    if let Err(why) = names::validate_topic_name(name) {
        let mut diagnostic = Diagnostic::error(
            Code::IllegalTopicName,
            format!("`{name}` is no legal topic name"),
        )
        .at(span, why);
        diagnostic.help = help;
        reader.report(diagnostic);
        return false;
    }
    if key != "exclude" && names::is_never_mirrored(name) {
        reader.report(
            Diagnostic::error(Code::NeverMirrored, format!("`{name}` is never mirrored"))
                .at(span, "it means something only to the brokers that wrote it"),
        );
        return false;
    }
    true
}

fn regex_form(text: &str) -> String {
    format!("if a regex was meant: {{ regex = {text:?} }}")
}

fn warn_ambiguous(reader: &mut Reader<'_>, text: &str, span: Span) {
    let reading = if text.contains(".*") {
        let quiet = text.replace(".*", "[.]*");
        format!(
            "as a glob, `.*` is a dot and then anything: write {quiet:?} to say so; \
             as a regex, `.*` is anything at all: write {{ regex = {text:?} }}"
        )
    } else {
        format!(
            "as a glob, `|`, `(` and `+` stand for themselves and are in no topic name; \
             as a regex: write {{ regex = {text:?} }}"
        )
    };
    reader.report(
        Diagnostic::warning(
            Code::AmbiguousPattern,
            format!("`{text}` is read as a glob and looks like a regex"),
        )
        .at(span, "a plain string is a glob")
        .help(reading),
    );
}

/// Points at the place inside the pattern where the regex goes wrong.
pub(super) fn check_regex(reader: &mut Reader<'_>, node: &Node<'_>, pattern: &str) -> Option<()> {
    let (range, problem) = match regex_syntax::parse(pattern) {
        Ok(_) => match TopicSelector::from_regex(pattern) {
            Ok(_) => return Some(()),
            Err(error) => (0..pattern.len(), error.to_string()),
        },
        Err(regex_syntax::Error::Parse(error)) => (
            error.span().start.offset..error.span().end.offset,
            error.kind().to_string(),
        ),
        Err(regex_syntax::Error::Translate(error)) => (
            error.span().start.offset..error.span().end.offset,
            error.kind().to_string(),
        ),
        Err(error) => (0..pattern.len(), error.to_string()),
    };
    let mut diagnostic = Diagnostic::error(Code::BadRegex, format!("`{pattern}` is no regex"))
        .at(reader.inside(node, range), problem.clone());
    if problem.contains("look-around") {
        diagnostic = diagnostic.help("take more with `topics` and leave some out with `exclude`");
    } else if pattern.starts_with('*') {
        let glob = format!("a plain string is a glob: {pattern:?}");
        diagnostic = diagnostic.help(glob);
    }
    reader.report(diagnostic);
    None
}
