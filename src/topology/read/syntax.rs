//! TOML's own errors as diagnostics, with the first place where a key is there twice.

use std::collections::HashSet;

use toml::de::{DeTable, DeValue};

use super::reader::Reader;
use crate::topology::codes::Code;
use crate::topology::diagnostic::Diagnostic;

/// Reports every error and returns the lines they are on.
pub(super) fn report(
    reader: &mut Reader<'_>,
    document: &DeTable<'_>,
    errors: &[toml::de::Error],
) -> HashSet<u32> {
    let mut lines = HashSet::new();
    for error in errors {
        let range = error.span().unwrap_or(0..0);
        let span = reader.span(range.clone());
        // One broken line can make several errors; the first says what is wrong.
        if !lines.insert(span.line) {
            continue;
        }
        let message = error.message();
        if message != "duplicate key" {
            reader.report(
                Diagnostic::error(Code::Syntax, format!("this is not TOML: {message}"))
                    .at(span, "here"),
            );
            continue;
        }
        let name = reader.text_at(range.clone()).to_owned();
        let mut diagnostic = Diagnostic::error(
            Code::DuplicateKey,
            format!("`{}` is there twice", name.trim_matches(['"', '\''])),
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

/// Where the key before the one at `again` stands. The parser does not say, so it is looked for:
/// a repeated header as text, a repeated key among those of the same section.
fn first_place(
    reader: &Reader<'_>,
    document: &DeTable<'_>,
    again: usize,
    name: &str,
) -> Option<crate::topology::model::Span> {
    let before = reader.text_at(0..again);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let rest = reader.text_at(line_start..usize::MAX);
    let line = rest.lines().next().unwrap_or_default().trim();
    if let Some(header) = line.strip_prefix('[') {
        let header = compact(header);
        let mut at = 0;
        for earlier in before[..line_start].split_inclusive('\n') {
            let trimmed = earlier.trim();
            if trimmed.strip_prefix('[').map(compact).as_deref() == Some(&header) {
                let found = earlier.rfind(name).filter(|_| !name.is_empty())?;
                return Some(reader.span(at + found..at + found + name.len()));
            }
            at += earlier.len();
        }
        return None;
    }
    let section = before
        .match_indices('\n')
        .map(|(at, _)| at + 1)
        .rfind(|&at| before[at..].starts_with('['))
        .unwrap_or(0);
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

/// A header without spaces and without what follows it.
fn compact(header: &str) -> String {
    let end = header.find(']').unwrap_or(header.len());
    header[..end].split_whitespace().collect()
}

fn visit<'d>(table: &DeTable<'d>, see: &mut impl FnMut(&toml::Spanned<toml::de::DeString<'d>>)) {
    for (key, value) in table {
        see(key);
        if let DeValue::Table(inner) = value.get_ref() {
            visit(inner, see);
        }
    }
}
