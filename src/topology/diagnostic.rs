//! A mistake in a topology file, or in a file that it names, as data: code, message, places, help.
//!
//! Text is made in [`super::render`]; the same value serialises for machines.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::codes::Code;
use super::mask::Mask;
use super::model::{FileId, Span};
use super::read::keys::Kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// A place in the file and what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub span: Span,
    pub text: String,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub code: Code,
    pub severity: Severity,
    /// One line, without a full stop.
    pub message: String,
    /// The first is the place of the mistake, the others are other parties to it.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            labels: Vec::new(),
            help: None,
        }
    }

    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, message)
        }
    }

    #[must_use]
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether it is about a place in the file that may be hidden.
    pub(super) fn touches(&self, file: FileId, mask: &Mask) -> bool {
        self.labels
            .iter()
            .any(|Label { span, .. }| span.file == file && mask.touches(&(span.start..span.end)))
    }

    /// Whether one of the words is in what it says.
    pub(super) fn says(&self, hidden: &HiddenWords<'_>) -> bool {
        let labels = self.labels.iter().map(|label| &label.text);
        labels
            .chain([&self.message])
            .chain(&self.help)
            .any(|said| hidden.are_in(said))
    }

    /// Blanks out what it cites. For a place in which a secret may stand by mistake.
    pub(super) fn conceal(&mut self, hidden: &HiddenWords<'_>) {
        let labels = self.labels.iter_mut().map(|label| &mut label.text);
        for said in labels.chain([&mut self.message]).chain(&mut self.help) {
            if !hidden.are_in(said) {
                continue;
            }
            let parts = said.split('`').enumerate().map(|(index, part)| {
                let is_cited = index % 2 == 1;
                if is_cited && hidden.are_in(part) {
                    "***"
                } else {
                    part
                }
            });
            *said = parts.collect::<Vec<_>>().join("`");
        }
        // Examples are made of what the file says, without such marks.
        if self.help.as_ref().is_some_and(|help| hidden.are_in(help)) {
            self.help = None;
        }
    }

    /// Sorts by place; what concerns the whole file comes first.
    fn order(&self) -> (Option<(FileId, usize)>, Code) {
        let first = self.labels.first();
        (
            first.map(|label| (label.span.file, label.span.start)),
            self.code,
        )
    }
}

/// A file's text for pointing into it, without its secrets.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// As the user typed it.
    pub path: PathBuf,
    shown: Arc<str>,
}

impl SourceFile {
    pub(super) fn new(path: &Path, text: &str, mask: &Mask) -> Self {
        Self {
            path: path.to_owned(),
            shown: mask.apply(text).into(),
        }
    }

    /// Its text with every secret replaced by as many `*` as it has bytes.
    pub fn text(&self) -> &str {
        &self.shown
    }
}

/// The words that stand in a text only where it is hidden, but for those that keys consist of.
#[derive(Debug)]
pub(super) struct HiddenWords<'t>(HashSet<&'t str>);

impl<'t> HiddenWords<'t> {
    /// `shown` is the same text with its secrets hidden; `meant` are hidden parts of it as they
    /// read without escapes, which makes other words of them.
    pub(super) fn new(
        text: &'t str,
        shown: &str,
        meant: impl IntoIterator<Item = &'t str>,
    ) -> Self {
        let shown: HashSet<&str> = words(shown).collect();
        let hidden: HashSet<&str> = std::iter::once(text)
            .chain(meant)
            .flat_map(words)
            .filter(|word| !shown.contains(word))
            .collect();
        let of_keys: HashSet<&str> = crate::client::keys::all()
            .map(|key| key.name)
            .chain(Kind::ALL.into_iter().flat_map(Kind::keys))
            .flat_map(words)
            .collect();
        Self(hidden.difference(&of_keys).copied().collect())
    }

    fn are_in(&self, said: &str) -> bool {
        !self.0.is_empty() && words(said).any(|word| self.0.contains(word))
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    const SHORTEST: usize = 3;
    text.split(|char: char| !char.is_alphanumeric())
        .filter(|word| word.len() >= SHORTEST)
}

/// The mistakes in a topology file and the files that it names, in their order.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    /// By [`FileId`]; never empty.
    sources: Vec<SourceFile>,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// `others` are the files from `FileId(1)` on.
    pub fn new(source: SourceFile, others: Vec<SourceFile>, mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(Diagnostic::order);
        list.dedup();
        let mut sources = others;
        sources.insert(0, source);
        Self { sources, list }
    }

    /// For a file whose text is not known.
    pub fn of_unreadable(path: &Path, diagnostic: Diagnostic) -> Self {
        let source = SourceFile::new(path, "", &Mask::default());
        Self::new(source, Vec::new(), vec![diagnostic])
    }

    /// The topology file.
    pub fn topology_file(&self) -> &SourceFile {
        &self.sources[0]
    }

    /// The file that a label points into.
    pub fn file(&self, id: FileId) -> &SourceFile {
        usize::try_from(id.0)
            .ok()
            .and_then(|index| self.sources.get(index))
            .unwrap_or(&self.sources[0])
    }

    /// Line and column of the first character behind a place.
    pub fn end_of(&self, span: Span) -> (u32, u32) {
        let text = self.file(span.file).text();
        let covered = text.get(span.start..span.end).unwrap_or_default();
        let count = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        match covered.rsplit_once('\n') {
            None => (span.line, span.column.saturating_add(count(covered))),
            Some((before, last)) => {
                let lines = before.matches('\n').count() + 1;
                let lines = u32::try_from(lines).unwrap_or(u32::MAX);
                (
                    span.line.saturating_add(lines),
                    count(last).saturating_add(1),
                )
            }
        }
    }

    /// All files, the topology file first.
    pub fn files(&self) -> impl Iterator<Item = (FileId, &SourceFile)> {
        (0..).map(FileId).zip(&self.sources)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Diagnostic> {
        self.list.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.list
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    }

    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }
}

impl std::fmt::Display for Diagnostics {
    /// One line each, as compilers write them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match diagnostic.labels.first() {
                Some(Label { span, .. }) => {
                    let path = self.file(span.file).path.display();
                    write!(f, "{path}:{}:{}", span.line, span.column)?;
                }
                None => write!(f, "{}", self.topology_file().path.display())?,
            }
            write!(f, ": {}: {}", diagnostic.code, diagnostic.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Turns byte offsets into lines and columns.
#[derive(Debug)]
pub(super) struct Places<'t> {
    file: FileId,
    text: &'t str,
    line_starts: Vec<usize>,
}

impl<'t> Places<'t> {
    pub(super) fn new(file: FileId, text: &'t str) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            file,
            text,
            line_starts,
        }
    }

    /// A range of bytes as a span; whatever is out of bounds is moved inside.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        let start = self.boundary(range.start);
        let end = self.boundary(range.end).max(start);
        let line = self.line_starts.partition_point(|&first| first <= start);
        // The first line starts at 0, so at least one line starts at or before `start`.
        let line_start = self.line_starts[line - 1];
        let column = self.text[line_start..start].chars().count() + 1;
        Span {
            file: self.file,
            start,
            end,
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }

    fn boundary(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_and_survive_nonsense() {
        let places = Places::new(FileId::TOPOLOGY, "ä = 1\n\nb");
        let place = |range| {
            let span = places.span(range);
            (span.line, span.column)
        };
        assert_eq!(place(0..1), (1, 1));
        assert_eq!(place(3..4), (1, 3));
        assert_eq!(place(7..7), (2, 1));
        assert_eq!(place(8..9), (3, 1));
        assert_eq!(place(1..99), (1, 1));
        assert_eq!(place(99..100), (3, 2));
        assert_eq!(Places::new(FileId::TOPOLOGY, "").span(0..0).line, 1);
    }
}
