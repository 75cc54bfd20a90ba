//! Diagnostics as text for people (miette's graphical form) and as JSON.

use std::fmt;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};
use serde::Serialize;

use super::diagnostic::{Diagnostic, Diagnostics, Label, Severity, SourceFile};
use super::model::{FileId, Span};

/// Width used where stderr is no terminal.
pub const DEFAULT_WIDTH: usize = 100;

/// Every diagnostic with the lines it is about.
pub fn text(diagnostics: &Diagnostics, colour: bool, width: usize) -> String {
    each(diagnostics, colour, width).concat()
}

/// The same without colour, one by one.
pub fn texts(diagnostics: &Diagnostics, width: usize) -> Vec<String> {
    each(diagnostics, false, width)
}

fn each(diagnostics: &Diagnostics, colour: bool, width: usize) -> Vec<String> {
    let theme = if colour {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width.max(40))
        .with_context_lines(1)
        .without_syntax_highlighting();
    let files: Vec<File> = diagnostics
        .files()
        .map(|(_, source)| File::new(source))
        .collect();
    let render = |diagnostic| {
        let view = View {
            diagnostic,
            files: Files::new(&files, diagnostic),
        };
        let mut out = String::new();
        handler
            .render_report(&mut out, &view)
            .expect("writing to a string and reading text in memory cannot fail");
        out.push('\n');
        out
    };
    diagnostics.iter().map(render).collect()
}

/// A source under its name.
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
                .text()
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

/// All files as miette sees them: one after the other in a single range of offsets, the file of
/// the first label first, each cut into lines of its own.
#[derive(Debug)]
struct Files<'f> {
    /// Where each begins, by [`FileId`].
    starts: Vec<usize>,
    files: &'f [File],
}

impl<'f> Files<'f> {
    fn new(files: &'f [File], diagnostic: &Diagnostic) -> Self {
        let first = diagnostic.labels.first();
        let first = first.map_or(0, |label| index(files, label.span.file));
        let mut starts = vec![0; files.len()];
        // One more than it has bytes, so that its end is not the next one's beginning.
        let mut at = files[first].text.len() + 1;
        for (other, file) in files.iter().enumerate() {
            if other != first {
                starts[other] = at;
                at += file.text.len() + 1;
            }
        }
        Self { starts, files }
    }

    /// Offset and length of what is underlined.
    fn range(&self, span: Span) -> (usize, usize) {
        let index = index(self.files, span.file);
        let text = &self.files[index].text;
        let (mut start, end) = (span.start, span.end);
        // What is missing at the end of a line has no character of its own; miette leaves it out.
        let at_end = text
            .get(end..)
            .is_none_or(|rest| rest.starts_with('\n') || rest.is_empty());
        if start == end
            && at_end
            && let Some(before) = text
                .get(..start)
                .and_then(|before| before.chars().next_back())
            && before != '\n'
        {
            start -= before.len_utf8();
        }
        (self.starts[index] + start, end - start)
    }

    fn file(&self, id: FileId) -> &File {
        &self.files[index(self.files, id)]
    }
}

/// A place in no file that is there counts as one in the topology file.
fn index(files: &[File], id: FileId) -> usize {
    usize::try_from(id.0)
        .ok()
        .filter(|index| *index < files.len())
        .unwrap_or(0)
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

impl SourceCode for Files<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (start, file) = self
            .starts
            .iter()
            .zip(self.files)
            .find(|(start, file)| (**start..=**start + file.text.len()).contains(&span.offset()))
            .ok_or(MietteError::OutOfBounds)?;
        let text = file.text.as_str();
        let name = file.name.clone();
        let from = span.offset() - start;
        let to = from + span.len();
        // Snippets of two files are never made one: such a range ends outside of the first.
        let before = text.get(..from).ok_or(MietteError::OutOfBounds)?;
        let after = text.get(to..).ok_or(MietteError::OutOfBounds)?;
        if lines_before + lines_after == 0 {
            // miette asks like this for the line and column in the header.
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            return Ok(Box::new(MietteSpanContents::new_named(
                name,
                &text.as_bytes()[from..to],
                *span,
                before.matches('\n').count(),
                before[line_start..].chars().count(),
                1,
            )));
        }
        // Neighbouring lines tell nothing in a file of keys: a snippet is the label's own lines.
        let first = before.rfind('\n').map_or(0, |at| at + 1);
        let last = after.find('\n').map_or(text.len(), |at| to + at);
        let data = &text[first..last];
        Ok(Box::new(MietteSpanContents::new_named(
            name,
            data.as_bytes(),
            (start + first, data.len()).into(),
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
    files: Files<'a>,
}

impl View<'_> {
    fn labels(&self) -> impl Iterator<Item = &Label> {
        // An empty file has no line to show.
        let labels = self.diagnostic.labels.iter();
        labels.filter(|label| !self.files.file(label.span.file).text.is_empty())
    }
}

impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without a label no place is shown, so the file has to be named here.
        if self.labels().next().is_none() {
            let file = self.diagnostic.labels.first();
            let file = file.map_or(FileId::TOPOLOGY, |label| label.span.file);
            write!(f, "{}: ", self.files.file(file).name)?;
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
        Some(&self.files)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.labels().next()?;
        let labels = self.labels().enumerate();
        Some(Box::new(labels.map(|(index, label)| {
            let text = Some(printable(&label.text));
            let span = self.files.range(label.span);
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
    file: String,
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
                        file,
                        start,
                        end,
                        line,
                        column,
                    } = label.span;
                    JsonLabel {
                        file: diagnostics.file(file).path.display().to_string(),
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
    use crate::topology::codes::Code;
    use crate::topology::diagnostic::Places;
    use crate::topology::mask::Mask;
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
    fn labels_in_several_files_are_each_shown_in_their_own() {
        let file = |name: &str, text: &str| {
            SourceFile::new(Path::new(name), text, &Mask::of_toml(text, true))
        };
        let first = "kmirror = 1\nproperties_file = \"a\"\n";
        let second = "# of a\nsasl.password = hunter2\nx = 1";
        let span = |id, text, what: &str| {
            let start = str::find(text, what).expect("is there");
            Places::new(FileId(id), text).span(start..start + what.len())
        };
        let diagnostic = Diagnostic::error(Code::UnknownKey, "in two files")
            .at(span(1, second, "sasl.password"), "here")
            .at(span(1, second, "hunter2"), "its value")
            .at(span(0, first, "\"a\""), "named here")
            .at(Places::new(FileId(2), "").span(0..0), "not shown");
        let files = vec![file("a.properties", second), file("empty.properties", "")];
        let diagnostics = Diagnostics::new(file("t.toml", first), files, vec![diagnostic]);
        insta::with_settings!({
            snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
            prepend_module_to_snapshot => false,
        }, {
            insta::assert_snapshot!("diagnostics_of_two_files", text(&diagnostics, false, 80));
        });
        assert_eq!(
            diagnostics.to_string(),
            "a.properties:2:1: K0010: in two files"
        );
    }

    #[test]
    fn colour_is_only_there_when_asked_for() {
        assert!(shown("x = 1", true).contains('\u{1b}'));
        assert!(!shown("x = 1", false).contains('\u{1b}'));
    }
}
