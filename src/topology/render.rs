//! Diagnostics as text for people (miette's graphical form) and as JSON.

use std::fmt;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};
use serde::Serialize;

use super::diagnostic::{Diagnostic, Diagnostics, Severity, SourceFile};
use super::model::Span;

/// Width used where stderr is no terminal.
pub const DEFAULT_WIDTH: usize = 100;

/// Every diagnostic with the lines it is about.
pub fn text(diagnostics: &Diagnostics, colour: bool, width: usize) -> String {
    let theme = if colour {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width.max(40))
        .with_context_lines(1)
        .without_syntax_highlighting();
    let file = File::new(&diagnostics.source);
    let mut out = String::new();
    for diagnostic in diagnostics.iter() {
        let view = View {
            diagnostic,
            file: &file,
        };
        handler
            .render_report(&mut out, &view)
            .expect("writing to a string and reading text in memory cannot fail");
        out.push('\n');
    }
    out
}

/// The source under its name, cut into lines by miette.
#[derive(Debug)]
struct File {
    name: String,
    text: String,
}

impl File {
    fn new(source: &SourceFile) -> Self {
        Self {
            name: printable(&source.path.display().to_string()),
            // Of the same length, so that the places hold.
            text: source
                .text
                .chars()
                .map(|char| match (is_harmful(char), char, char.len_utf8()) {
                    (false, ..) => char,
                    (true, '\r', _) => ' ',
                    (true, _, 1) => '?',
                    (true, _, 2) => '¿',
                    (true, ..) => char::REPLACEMENT_CHARACTER,
                })
                .collect(),
        }
    }
}

/// Whether a terminal would obey the character instead of showing it.
fn is_harmful(char: char) -> bool {
    let moves_text =
        matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    moves_text || (char.is_control() && !matches!(char, '\n' | '\t'))
}

/// Text from the user's file, with harmful characters written out.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if is_harmful(char) {
            shown.extend(char.escape_unicode());
        } else {
            shown.push(char);
        }
    }
    shown
}

impl SourceCode for File {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let text = self.text.as_str();
        let name = self.name.clone();
        let (from, to) = (span.offset(), span.offset() + span.len());
        if lines_before + lines_after == 0 {
            // miette asks like this for the line and column in the header.
            let contents = text.read_span(span, 0, 0)?;
            return Ok(Box::new(MietteSpanContents::new_named(
                name,
                contents.data(),
                *contents.span(),
                contents.line(),
                contents.column(),
                contents.line_count(),
            )));
        }
        // Neighbouring lines tell nothing in a file of keys: a snippet is the label's own lines.
        let before = text.get(..from).ok_or(MietteError::OutOfBounds)?;
        let after = text.get(to..).ok_or(MietteError::OutOfBounds)?;
        let first = before.rfind('\n').map_or(0, |at| at + 1);
        let last = after.find('\n').map_or(text.len(), |at| to + at);
        let data = &text[first..last];
        Ok(Box::new(MietteSpanContents::new_named(
            name,
            data.as_bytes(),
            (first, data.len()).into(),
            before.matches('\n').count(),
            0,
            // One more than there are, so that snippets with one line between them become one.
            data.matches('\n').count() + 2,
        )))
    }
}

/// A diagnostic as miette wants to see it.
#[derive(Debug)]
struct View<'a> {
    diagnostic: &'a Diagnostic,
    file: &'a File,
}

impl View<'_> {
    /// An empty file has no line to show.
    fn is_without_place(&self) -> bool {
        self.diagnostic.labels.is_empty() || self.file.text.is_empty()
    }
}

impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without a label no place is shown, so the file has to be named here.
        if self.is_without_place() {
            write!(f, "{}: ", self.file.name)?;
        }
        f.write_str(&printable(&self.diagnostic.message))
    }
}

impl std::error::Error for View<'_> {}

impl miette::Diagnostic for View<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let kind = match self.diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        Some(Box::new(format!("{kind} {}", self.diagnostic.code)))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.diagnostic
            .help
            .as_ref()
            .map(|help| Box::new(printable(help)) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.file)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.is_without_place() {
            return None;
        }
        let labels = self.diagnostic.labels.iter().enumerate();
        Some(Box::new(labels.map(|(index, label)| {
            let text = Some(printable(&label.text));
            let span = (label.span.start, label.span.end - label.span.start);
            if index == 0 {
                LabeledSpan::new_primary_with_span(text, span)
            } else {
                LabeledSpan::new_with_span(text, span)
            }
        })))
    }
}

/// A diagnostic for machines. Lines and columns count from 1, columns in characters.
#[derive(Debug, Serialize)]
pub struct JsonDiagnostic<'a> {
    code: String,
    severity: Severity,
    message: &'a str,
    help: Option<&'a str>,
    labels: Vec<JsonLabel<'a>>,
}

#[derive(Debug, Serialize)]
struct JsonLabel<'a> {
    line: u32,
    column: u32,
    /// Byte offsets.
    start: usize,
    end: usize,
    text: &'a str,
}

/// The diagnostics as values to be serialised.
pub fn json(diagnostics: &Diagnostics) -> Vec<JsonDiagnostic<'_>> {
    diagnostics
        .iter()
        .map(|diagnostic| JsonDiagnostic {
            code: diagnostic.code.to_string(),
            severity: diagnostic.severity,
            message: &diagnostic.message,
            help: diagnostic.help.as_deref(),
            labels: diagnostic
                .labels
                .iter()
                .map(|label| {
                    let Span {
                        start,
                        end,
                        line,
                        column,
                    } = label.span;
                    JsonLabel {
                        line,
                        column,
                        start,
                        end,
                        text: &label.text,
                    }
                })
                .collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::topology::parse;

    fn shown(file: &str, colour: bool) -> String {
        let diagnostics = parse(Path::new("t.toml"), file).expect_err("has a mistake");
        text(&diagnostics, colour, 80)
    }

    #[test]
    fn a_file_cannot_command_the_terminal() {
        let file = "kmirror = 1\r\n\"a\\u001b[31m\" = 1 # \u{9b}31m\u{202e}\r\n\u{1b}[31m = 1\r\n";
        let shown = shown(file, false);
        assert!(!shown.contains(is_harmful), "{shown:?}");
        assert!(shown.contains("\\u{1b}[31m"), "{shown}");
    }

    #[test]
    fn colour_is_only_there_when_asked_for() {
        assert!(shown("x = 1", true).contains('\u{1b}'));
        assert!(!shown("x = 1", false).contains('\u{1b}'));
    }
}
