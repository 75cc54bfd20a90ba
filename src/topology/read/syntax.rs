//! TOML's own errors as diagnostics, with the first place where a key is there twice.

use std::collections::HashSet;

use toml::de::{DeTable, DeValue};

use super::reader::Reader;
use crate::topology::codes::Code;
use crate::topology::diagnostic::Diagnostic;

/// What the parser says of a repeated key.
const DUPLICATE: &str = "duplicate key";

/// Reports every error and returns the lines they are on.
pub(super) fn report(
    reader: &mut Reader<'_>,
    document: &DeTable<'_>,
    errors: &[toml::de::Error],
) -> HashSet<u32> {
    let mut lines = HashSet::new();
    // Sections whose header is there twice: their keys repeat for that reason alone.
    let mut reopened = HashSet::new();
    let mut last_message = String::new();
    for error in errors {
        let range = error.span().unwrap_or(0..0);
        let span = reader.span(range.clone());
        let message = error.message();
        // One mistake can make several errors: on its own line, or the same one over and over.
        let follows = lines.contains(&span.line) || last_message == message;
        lines.insert(span.line);
        if message != DUPLICATE {
            if !follows {
                let (message, help) = in_our_words(message, reader.cited(range));
                let mut diagnostic =
                    Diagnostic::error(Code::Syntax, format!("this is not TOML: {message}"))
                        .at(span, "here");
                diagnostic.help = help;
                reader.report(diagnostic);
            }
            error.message().clone_into(&mut last_message);
            continue;
        }
        let section = section_start(reader, range.start);
        if reopened.contains(&section) && section != line_start(reader, range.start) {
            continue;
        }
        if is_header(reader, range.start) {
            reopened.insert(section);
        }
        let name = reader.text_at(range.clone()).to_owned();
        let cited = reader.cited(range.clone()).unwrap_or("a key");
        let mut diagnostic = Diagnostic::error(
            Code::DuplicateKey,
            format!("`{}` is there twice", cited.trim_matches(['"', '\''])),
        )
        .at(span, "again here")
        .help("keep one of them; a table can be opened only once");
        if let Some(first) = first_place(reader, document, range.start, &name) {
            diagnostic = diagnostic.at(first, "first here");
        }
        reader.report(diagnostic);
    }
    lines
}

/// The parser's message and, for what happens to everybody, what to do about it.
fn in_our_words(message: &str, text: Option<&str>) -> (String, Option<String>) {
    if message.contains("string values must be quoted") {
        let help = text.map(|text| format!("write {text:?}"));
        return ("a string has to be in quotes".to_owned(), help);
    }
    let help = if message.contains("unclosed table") {
        "close the header with `]`; a name with blanks or dots has to be in quotes"
    } else if message.contains("missing comma between array elements") {
        "put a comma before it, or close the array with `]`"
    } else {
        return (message.to_owned(), None);
    };
    (message.to_owned(), Some(help.to_owned()))
}

/// Where the key before the one at `again` stands. The parser does not say, so it is looked for:
/// a repeated header as text, a repeated key among those of the same section.
fn first_place(
    reader: &Reader<'_>,
    document: &DeTable<'_>,
    again: usize,
    name: &str,
) -> Option<crate::topology::model::Span> {
    if is_header(reader, again) {
        let line_start = line_start(reader, again);
        let header = compact(reader.line_at(line_start));
        let mut at = 0;
        for earlier in reader.text_at(0..line_start).split_inclusive('\n') {
            if earlier.trim_start().starts_with('[') && compact(earlier) == header {
                let found = earlier.rfind(name).filter(|_| !name.is_empty())?;
                return Some(reader.span(at + found..at + found + name.len()));
            }
            at += earlier.len();
        }
        return None;
    }
    let section = section_start(reader, again);
    let mut best = None;
    visit(document, &mut |key| {
        let range = key.span();
        let is_candidate = range.start >= section
            && range.start < again
            && reader.text_at(range.clone()) == name
            && best
                .as_ref()
                .is_none_or(|best: &std::ops::Range<usize>| best.start < range.start);
        if is_candidate {
            best = Some(range);
        }
    });
    best.map(|range| reader.span(range))
}

fn line_start(reader: &Reader<'_>, at: usize) -> usize {
    reader.text_at(0..at).rfind('\n').map_or(0, |at| at + 1)
}

fn is_header(reader: &Reader<'_>, at: usize) -> bool {
    let line = reader.line_at(line_start(reader, at));
    line.trim_start().starts_with('[')
}

/// Where the line of the header above (or at) this place begins.
fn section_start(reader: &Reader<'_>, at: usize) -> usize {
    let mut start = line_start(reader, at);
    while start > 0 && !reader.line_at(start).trim_start().starts_with('[') {
        start = line_start(reader, start - 1);
    }
    start
}

/// A header without spaces and without what follows it.
fn compact(line: &str) -> String {
    let end = line.find(']').unwrap_or(line.len());
    line[..end].split_whitespace().collect()
}

fn visit<'d>(table: &DeTable<'d>, see: &mut impl FnMut(&toml::Spanned<toml::de::DeString<'d>>)) {
    for (key, value) in table {
        see(key);
        if let DeValue::Table(inner) = value.get_ref() {
            visit(inner, see);
        }
    }
}
