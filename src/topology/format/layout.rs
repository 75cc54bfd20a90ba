//! The layout itself.
//!
//! - Lines begin at the left; what is inside brackets that span lines is indented by two spaces.
//! - One space on both sides of `=`, after commas and inside braces; none inside brackets.
//! - An array that does not fit on its line, or that spans lines already, has one item on each line
//!   and a comma after the last. Inline tables are never spread over lines, because many tools do
//!   not read that; one that spans lines already is laid out like an array.
//! - At most one blank line in a row; one before a table that follows keys. Where a comment stands
//!   between the two, nothing is inserted: it is not for a program to say which of them it is about.
//! - Comments at the ends of lines that follow each other are aligned.

use std::collections::HashMap;

use super::Style;
use super::document::{Container, Document, Element, Line, Value};

/// Columns that an array may reach on one line.
const WIDTH: usize = 100;

/// A line wider than this is left out when comments are aligned: it would push them far away.
const WIDEST_ALIGNED: usize = 60;

const INDENT: usize = 2;

/// The document as text.
pub(super) fn write(document: &Document<'_>, style: Style) -> String {
    let mut page = Page::default();
    let mut after_entry = false;
    for line in &document.lines {
        match line {
            Line::Blank => page.blank(),
            Line::Comment(comment) => page.text.push_str(comment),
            Line::Header { text, .. } => {
                if after_entry {
                    page.blank();
                }
                page.text.push_str(text);
            }
            Line::Entry { key, value, .. } => {
                page.text.push_str(key);
                page.text.push_str(" = ");
                page.value(value, 0);
            }
        }
        match line {
            Line::Blank => {}
            Line::Comment(_) => page.end_line(None),
            Line::Header { comment, .. } | Line::Entry { comment, .. } => page.end_line(*comment),
        }
        after_entry = matches!(line, Line::Entry { .. });
    }
    page.finish(style)
}

/// The rows that are written so far.
#[derive(Debug, Default)]
struct Page<'t> {
    rows: Vec<Row<'t>>,
    /// The row that is being written.
    text: String,
}

#[derive(Debug)]
enum Row<'t> {
    Blank,
    /// A string that spans lines makes one row with line ends in it.
    Text {
        text: String,
        comment: Option<&'t str>,
    },
}

impl<'t> Page<'t> {
    /// A blank row, unless there is one already or nothing to be kept apart.
    fn blank(&mut self) {
        if matches!(self.rows.last(), Some(Row::Text { .. })) {
            self.rows.push(Row::Blank);
        }
    }

    fn end_line(&mut self, comment: Option<&'t str>) {
        let text = std::mem::take(&mut self.text);
        self.rows.push(Row::Text { text, comment });
    }

    fn begin_line(&mut self, indent: usize) {
        self.text.extend(std::iter::repeat_n(' ', indent));
    }

    fn value(&mut self, value: &Value<'t>, indent: usize) {
        match value {
            Value::Scalar(text) => self.text.push_str(text),
            Value::Array(array) => {
                let fits = flat(value).is_some_and(|flat| self.fits(&flat));
                if fits || array.is_empty() {
                    self.in_line(array, ("[", "]"), indent);
                } else {
                    self.in_rows(array, ("[", "]"), indent);
                }
            }
            Value::Table(table) if table.has_line_ends && !table.is_empty() => {
                self.in_rows(table, ("{", "}"), indent);
            }
            Value::Table(table) => self.in_line(table, ("{ ", " }"), indent),
        }
    }

    /// Whether the text ends before the limit. What has line ends of its own is not counted.
    fn fits(&self, text: &str) -> bool {
        let column = width(self.text.rsplit('\n').next().unwrap_or_default());
        text.contains('\n') || column + width(text) <= WIDTH
    }

    fn in_line(&mut self, container: &Container<'t>, (open, close): (&str, &str), indent: usize) {
        let mut items = container.elements.iter().filter_map(Element::as_item);
        let Some(first) = items.next() else {
            self.text.push_str(open.trim_end());
            self.text.push_str(close.trim_start());
            return;
        };
        self.text.push_str(open);
        for (index, (key, value)) in std::iter::once(first).chain(items).enumerate() {
            if index > 0 {
                self.text.push_str(", ");
            }
            self.item(key, value, indent);
        }
        self.text.push_str(close);
    }

    fn in_rows(&mut self, container: &Container<'t>, (open, close): (&str, &str), indent: usize) {
        self.text.push_str(open);
        self.end_line(container.comment);
        let inner = indent + INDENT;
        let (mut is_first, mut after_blank) = (true, false);
        for element in &container.elements {
            if matches!(element, Element::Blank) {
                after_blank = true;
                continue;
            }
            if after_blank && !is_first {
                self.blank();
            }
            (is_first, after_blank) = (false, false);
            self.begin_line(inner);
            match element {
                Element::Blank => {}
                Element::Comment(comment) => {
                    self.text.push_str(comment);
                    self.end_line(None);
                }
                Element::Item {
                    key,
                    value,
                    comment,
                } => {
                    self.item(key.as_deref(), value, inner);
                    self.text.push(',');
                    self.end_line(*comment);
                }
            }
        }
        self.begin_line(indent);
        self.text.push_str(close);
    }

    fn item(&mut self, key: Option<&str>, value: &Value<'t>, indent: usize) {
        if let Some(key) = key {
            self.text.push_str(key);
            self.text.push_str(" = ");
        }
        self.value(value, indent);
    }

    /// Joins the rows. Comments begin in one column where rows are indented alike and no blank one
    /// is between them.
    fn finish(mut self, style: Style) -> String {
        while matches!(self.rows.last(), Some(Row::Blank)) {
            self.rows.pop();
        }
        let mut text = String::new();
        if style.byte_order_mark {
            text.push('\u{feff}');
        }
        for paragraph in self.rows.split_inclusive(|row| matches!(row, Row::Blank)) {
            let mut columns: HashMap<usize, usize> = HashMap::new();
            for (indent, width) in paragraph.iter().filter_map(Row::aligned) {
                let column = columns.entry(indent).or_default();
                *column = width.max(*column);
            }
            for row in paragraph {
                if let Row::Text {
                    text: code,
                    comment,
                } = row
                {
                    text.push_str(code);
                    if let Some(comment) = comment {
                        let spaces = row
                            .aligned()
                            .map_or(0, |(indent, width)| columns[&indent] - width);
                        text.extend(std::iter::repeat_n(' ', spaces + 1));
                        text.push_str(comment);
                    }
                }
                text.push_str(style.line_end);
            }
        }
        text
    }
}

impl Row<'_> {
    /// Indentation and width, for rows whose comment is aligned with others.
    fn aligned(&self) -> Option<(usize, usize)> {
        match self {
            Self::Text {
                text,
                comment: Some(_),
            } if !text.contains('\n') => {
                let indent = text.len() - text.trim_start_matches(' ').len();
                Some((indent, width(text))).filter(|(_, width)| *width <= WIDEST_ALIGNED)
            }
            Self::Text { .. } | Self::Blank => None,
        }
    }
}

impl<'t> Element<'t> {
    fn as_item(&self) -> Option<(Option<&str>, &Value<'t>)> {
        match self {
            Self::Item { key, value, .. } => Some((key.as_deref(), value)),
            Self::Blank | Self::Comment(_) => None,
        }
    }
}

/// The value on one line; `None` where it has line ends that are to stay.
fn flat(value: &Value<'_>) -> Option<String> {
    if value.has_line_ends() {
        return None;
    }
    let (container, open, close) = match value {
        Value::Scalar(text) => return Some((*text).to_owned()),
        Value::Array(container) => (container, "[", "]"),
        Value::Table(container) => (container, "{ ", " }"),
    };
    let items: Option<Vec<_>> = container
        .elements
        .iter()
        .filter_map(Element::as_item)
        .map(|(key, value)| {
            let value = flat(value)?;
            Some(match key {
                Some(key) => format!("{key} = {value}"),
                None => value,
            })
        })
        .collect();
    Some(format!("{open}{}{close}", items?.join(", ")))
}

fn width(text: &str) -> usize {
    text.chars().count()
}
