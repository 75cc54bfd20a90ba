//! One layout for all topology files: spaces, line breaks and blank lines, nothing else.
//!
//! The text goes through TOML's own event parser ([`document`]) and is written again ([`layout`]):
//! keys, values and comments as they were, in the order they were in. What is about to be handed
//! out is read back and compared, so that a mistake made here cannot change a file's meaning.
//!
//! Why not a formatter that exists: taplo's takes 25 further crates, among them a second `syn`, and
//! loses comments inside inline tables; `toml_edit` can write a document again and has no layout of
//! its own. The parser used here is the one that `toml` brings along.

use std::path::Path;

use toml_parser::parser::{Event, EventKind};

use super::diagnostic::Diagnostics;

mod document;
mod layout;
#[cfg(test)]
mod tests;

/// Why a file is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// What is no TOML has no layout.
    #[error("{0}")]
    Syntax(Box<Diagnostics>),
    /// The result would not say what the file says. A mistake of the formatter's.
    #[error("formatting would change what the file says")]
    Unfaithful,
}

/// The text in the one layout. `path` is only cited.
///
/// # Errors
/// Text that is no TOML. Keys and values that mean nothing in a topology are no obstacle.
pub fn format(path: &Path, text: &str) -> Result<String, FormatError> {
    super::check_syntax(path, text)
        .map_err(|diagnostics| FormatError::Syntax(diagnostics.into()))?;
    let events = document::events(text).ok_or(FormatError::Unfaithful)?;
    let document = document::read(text, &events).ok_or(FormatError::Unfaithful)?;
    let formatted = layout::write(&document, style_of(text, &events));
    let again = document::events(&formatted).ok_or(FormatError::Unfaithful)?;
    if content(text, &events) == content(&formatted, &again) {
        Ok(formatted)
    } else {
        Err(FormatError::Unfaithful)
    }
}

/// What is kept of the way a file is stored.
#[derive(Clone, Copy, Debug)]
struct Style {
    /// Editors on Windows put it first.
    byte_order_mark: bool,
    line_end: &'static str,
}

fn style_of(text: &str, events: &[Event]) -> Style {
    // Not the first one in the text: that may be inside a string.
    let first_line_end = events
        .iter()
        .find(|event| event.kind() == EventKind::Newline)
        .map(|event| document::text_of(text, event));
    Style {
        byte_order_mark: text.starts_with('\u{feff}'),
        line_end: match first_line_end {
            Some("\r\n") => "\r\n",
            _ => "\n",
        },
    }
}

/// Everything but layout: what the file says, and the comments.
fn content<'t>(text: &'t str, events: &[Event]) -> (Vec<(EventKind, &'t str)>, Vec<&'t str>) {
    let mut said = Vec::new();
    let mut comments = Vec::new();
    for event in events {
        let written = document::text_of(text, event);
        match event.kind() {
            EventKind::Whitespace | EventKind::Newline | EventKind::ValueSep => {}
            EventKind::Comment => comments.push(written.trim_end()),
            kind => said.push((kind, written)),
        }
    }
    (said, comments)
}
