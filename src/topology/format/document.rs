//! A TOML text as lines and values that keep their comments, made of the parser's events.
//!
//! Every function here answers `None` for a sequence of events that a TOML text cannot have.

use toml_parser::Source;
use toml_parser::parser::{Event, EventKind, RecursionGuard, ValidateWhitespace, parse_document};

/// Deeper than the reader of topologies goes.
const DEEPEST: u32 = 200;

/// The lines of a document, in order.
#[derive(Debug, Default)]
pub(super) struct Document<'t> {
    pub(super) lines: Vec<Line<'t>>,
}

#[derive(Debug)]
pub(super) enum Line<'t> {
    Blank,
    Comment(&'t str),
    Header {
        /// With its brackets, without spaces.
        text: String,
        comment: Option<&'t str>,
    },
    Entry {
        key: String,
        value: Value<'t>,
        comment: Option<&'t str>,
    },
}

#[derive(Debug)]
pub(super) enum Value<'t> {
    /// As it is written, quotes included.
    Scalar(&'t str),
    Array(Container<'t>),
    Table(Container<'t>),
}

/// An array or an inline table.
#[derive(Debug, Default)]
pub(super) struct Container<'t> {
    /// Behind the opening bracket.
    pub(super) comment: Option<&'t str>,
    pub(super) elements: Vec<Element<'t>>,
    /// Whether a line ends between its brackets, apart from those inside its values.
    pub(super) has_line_ends: bool,
}

#[derive(Debug)]
pub(super) enum Element<'t> {
    Blank,
    Comment(&'t str),
    Item {
        /// In a table.
        key: Option<String>,
        value: Value<'t>,
        comment: Option<&'t str>,
    },
}

impl Value<'_> {
    /// Whether a line ends in it, apart from those inside strings.
    pub(super) fn has_line_ends(&self) -> bool {
        match self {
            Self::Scalar(_) => false,
            Self::Array(container) | Self::Table(container) => {
                container.has_line_ends
                    || container.elements.iter().any(|element| match element {
                        Element::Item { value, .. } => value.has_line_ends(),
                        Element::Blank | Element::Comment(_) => false,
                    })
            }
        }
    }
}

/// The parser's events, if it has nothing to complain about.
pub(super) fn events(text: &str) -> Option<Vec<Event>> {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut events: Vec<Event> = Vec::with_capacity(tokens.len());
    let mut error = None;
    {
        let mut guard = RecursionGuard::new(&mut events, DEEPEST);
        let mut receiver = ValidateWhitespace::new(&mut guard, source);
        parse_document(&tokens, &mut receiver, &mut error);
    }
    error.is_none().then_some(events)
}

pub(super) fn text_of<'t>(text: &'t str, event: &Event) -> &'t str {
    let span = event.span();
    text.get(span.start()..span.end()).unwrap_or_default()
}

/// Puts the events together.
pub(super) fn read<'t>(text: &'t str, events: &[Event]) -> Option<Document<'t>> {
    let mut reader = Reader {
        text,
        events: events.iter(),
    };
    let mut lines = Vec::new();
    let mut line_is_empty = true;
    while let Some(event) = reader.events.next() {
        match event.kind() {
            EventKind::Whitespace => continue,
            EventKind::Newline => {
                if line_is_empty {
                    lines.push(Line::Blank);
                }
                line_is_empty = true;
                continue;
            }
            EventKind::Comment => {
                let comment = reader.comment(event);
                match lines.last_mut() {
                    Some(
                        Line::Header { comment: place, .. } | Line::Entry { comment: place, .. },
                    ) if !line_is_empty => {
                        *place = Some(comment);
                    }
                    _ => lines.push(Line::Comment(comment)),
                }
            }
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                let text = reader.header(event)?;
                lines.push(Line::Header {
                    text,
                    comment: None,
                });
            }
            EventKind::SimpleKey => {
                let mut comments = Vec::new();
                let key = reader.key(event, &mut comments)?;
                let value = reader.value(&mut comments)?;
                if !comments.is_empty() {
                    return None;
                }
                lines.push(Line::Entry {
                    key,
                    value,
                    comment: None,
                });
            }
            _ => return None,
        }
        line_is_empty = false;
    }
    Some(Document { lines })
}

#[derive(Debug)]
struct Reader<'t, 'e> {
    text: &'t str,
    events: std::slice::Iter<'e, Event>,
}

impl<'t, 'e> Reader<'t, 'e> {
    fn written(&self, event: &Event) -> &'t str {
        text_of(self.text, event)
    }

    fn comment(&self, event: &Event) -> &'t str {
        self.written(event).trim_end()
    }

    fn header(&mut self, open: &Event) -> Option<String> {
        let mut header = self.written(open).to_owned();
        loop {
            let event = self.events.next()?;
            match event.kind() {
                EventKind::Whitespace => {}
                EventKind::SimpleKey | EventKind::KeySep => header.push_str(self.written(event)),
                EventKind::StdTableClose | EventKind::ArrayTableClose => {
                    header.push_str(self.written(event));
                    return Some(header);
                }
                _ => return None,
            }
        }
    }

    /// The rest of a key, up to and with its `=`. In inline tables comments may stand before that.
    fn key(&mut self, first: &Event, comments: &mut Vec<&'t str>) -> Option<String> {
        let mut key = self.written(first).to_owned();
        loop {
            let event = self.events.next()?;
            match event.kind() {
                EventKind::Whitespace | EventKind::Newline => {}
                EventKind::Comment => comments.push(self.comment(event)),
                EventKind::SimpleKey | EventKind::KeySep => key.push_str(self.written(event)),
                EventKind::KeyValSep => return Some(key),
                _ => return None,
            }
        }
    }

    /// The value that comes next, and comments that stand before it.
    fn value(&mut self, comments: &mut Vec<&'t str>) -> Option<Value<'t>> {
        loop {
            let event = self.events.next()?;
            match event.kind() {
                EventKind::Whitespace | EventKind::Newline => {}
                EventKind::Comment => comments.push(self.comment(event)),
                _ => return self.value_from(event),
            }
        }
    }

    fn value_from(&mut self, first: &Event) -> Option<Value<'t>> {
        match first.kind() {
            EventKind::Scalar => Some(Value::Scalar(self.written(first))),
            EventKind::ArrayOpen => self.container(EventKind::ArrayClose).map(Value::Array),
            EventKind::InlineTableOpen => self
                .container(EventKind::InlineTableClose)
                .map(Value::Table),
            _ => None,
        }
    }

    fn container(&mut self, close: EventKind) -> Option<Container<'t>> {
        let mut container = Container::default();
        let mut line_is_empty = false;
        loop {
            let event = self.events.next()?;
            match event.kind() {
                kind if kind == close => return Some(container),
                EventKind::Whitespace => {}
                EventKind::Newline => {
                    container.has_line_ends = true;
                    if line_is_empty {
                        container.elements.push(Element::Blank);
                    }
                    line_is_empty = true;
                }
                EventKind::Comment => {
                    container.has_line_ends = true;
                    let comment = self.comment(event);
                    container.add_comment(comment, line_is_empty);
                    line_is_empty = false;
                }
                EventKind::ValueSep => line_is_empty = false,
                kind => {
                    let mut comments = Vec::new();
                    let (key, value) = if kind == EventKind::SimpleKey {
                        let key = self.key(event, &mut comments)?;
                        (Some(key), self.value(&mut comments)?)
                    } else {
                        (None, self.value_from(event)?)
                    };
                    container.has_line_ends |= !comments.is_empty();
                    let comments = comments.into_iter().map(Element::Comment);
                    container.elements.extend(comments);
                    container.elements.push(Element::Item {
                        key,
                        value,
                        comment: None,
                    });
                    line_is_empty = false;
                }
            }
        }
    }
}

impl<'t> Container<'t> {
    /// Whether there is nothing between its brackets, not even a comment.
    pub(super) fn is_empty(&self) -> bool {
        let is_blank = |element: &Element<'_>| matches!(element, Element::Blank);
        self.comment.is_none() && self.elements.iter().all(is_blank)
    }

    /// A comment belongs to what stands before it on its line.
    fn add_comment(&mut self, text: &'t str, line_is_empty: bool) {
        match self.elements.last_mut() {
            Some(Element::Item {
                comment: comment @ None,
                ..
            }) if !line_is_empty => *comment = Some(text),
            None if !line_is_empty && self.comment.is_none() => self.comment = Some(text),
            _ => self.elements.push(Element::Comment(text)),
        }
    }
}
