//! JSON whose parts know their lines.
//!
//! `serde_json` says whether a text is JSON and what a string or a number means; it does not say
//! where a value stands, which everything that is said about one has to.

use serde_json::Value;

use super::input::Input;
use super::{ImportError, Place};

/// A value with the line that it begins in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Object(Vec<(String, Node)>),
    Array(Vec<Node>),
    /// Anything else.
    Scalar(Value),
}

impl Node {
    /// Reads a whole file.
    ///
    /// # Errors
    /// It is no JSON; nothing of it is repeated.
    pub(super) fn read(input: &Input) -> Result<Self, ImportError> {
        let text = input.text()?;
        // The depth is limited there.
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text)
            .and_then(|_| serde_json::from_str::<Value>(text))
        {
            let what = match error.classify() {
                serde_json::error::Category::Eof => "the JSON ends in the middle",
                _ => "this is no JSON",
            };
            return Err(ImportError::new(input.place(error.line()), what));
        }
        let mut walk = Walk {
            text,
            at: 0,
            line: 1,
        };
        walk.node()
            .ok_or_else(|| ImportError::new(input.place(walk.line), "this is no JSON"))
    }

    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .rev()
            .find(|(name, _)| name == key)
            .map(|(_, node)| node)
    }

    pub(super) fn entries(&self) -> &[(String, Self)] {
        match &self.kind {
            Kind::Object(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::Array(items) => items,
            _ => &[],
        }
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self.kind, Kind::Object(_))
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// A string, number or boolean as properties have it; `None` for null and for what has parts.
    pub(super) fn plain(&self) -> Option<String> {
        match &self.kind {
            Kind::Scalar(Value::String(text)) => Some(text.clone()),
            Kind::Scalar(Value::Number(number)) => Some(number.to_string()),
            Kind::Scalar(Value::Bool(value)) => Some(value.to_string()),
            _ => None,
        }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        match self.plain()?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The string of a key.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    pub(super) fn place(&self, input: &Input) -> Place {
        input.place(self.line)
    }
}

/// Goes through a text that is known to be JSON.
struct Walk<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl<'t> Walk<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn skip(&mut self, bytes: usize) {
        let skipped = self.rest().get(..bytes).unwrap_or_default();
        self.line += skipped.matches('\n').count();
        self.at += skipped.len();
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.skip(rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len());
    }

    /// Whether this character is next, which is then behind.
    fn takes(&mut self, char: char) -> bool {
        self.skip_blanks();
        let is_next = self.rest().starts_with(char);
        if is_next {
            self.skip(char.len_utf8());
        }
        is_next
    }

    fn node(&mut self) -> Option<Node> {
        self.skip_blanks();
        let line = self.line;
        let kind = if self.takes('{') {
            let mut entries = Vec::new();
            while !self.takes('}') {
                let key = self.scalar()?.as_str()?.to_owned();
                self.takes(':').then_some(())?;
                entries.push((key, self.node()?));
                self.takes(',');
            }
            Kind::Object(entries)
        } else if self.takes('[') {
            let mut items = Vec::new();
            while !self.takes(']') {
                items.push(self.node()?);
                self.takes(',');
            }
            Kind::Array(items)
        } else {
            Kind::Scalar(self.scalar()?)
        };
        Some(Node { line, kind })
    }

    fn scalar(&mut self) -> Option<Value> {
        self.skip_blanks();
        let rest = self.rest();
        let length = if let Some(string) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = string.bytes().position(|byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            })?;
            end + 2
        } else {
            rest.find([',', ']', '}', ' ', '\t', '\r', '\n'])
                .unwrap_or(rest.len())
        };
        let value = serde_json::from_str(rest.get(..length)?).ok()?;
        self.skip(length);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Node, ImportError> {
        Node::read(&Input::new("x.json", text))
    }

    fn value(node: &Node) -> Value {
        match &node.kind {
            Kind::Object(entries) => entries
                .iter()
                .map(|(key, node)| (key.clone(), value(node)))
                .collect(),
            Kind::Array(items) => items.iter().map(value).collect(),
            Kind::Scalar(value) => value.clone(),
        }
    }

    #[test]
    fn values_know_their_lines() {
        let node = read("{\n \"a\": [1,\n  {\"b\\n\\\"\": null}],\n\"c\":\n true}").unwrap();
        assert_eq!((node.line, node.get("a").unwrap().line), (1, 2));
        let inner = &node.get("a").unwrap().items()[1];
        assert_eq!((inner.line, inner.entries()[0].0.as_str()), (3, "b\n\""));
        assert_eq!(node.get("c").unwrap().line, 5);
        assert_eq!(node.get("c").unwrap().as_bool(), Some(true));
    }

    #[test]
    fn what_is_no_json_is_told_with_its_line_and_not_repeated() {
        for (text, line) in [
            ("{\"a\": hunter2}", 1),
            ("{\n\"a\": \"hunter2\n", 2),
            ("", 1),
        ] {
            let error = read(text).unwrap_err();
            let file = Place::File {
                name: "x.json".to_owned(),
                line,
            };
            assert!(error.place == file || line == 1, "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert!(read(&"[".repeat(10_000)).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn the_walk_and_the_parser_read_the_same(text in "([{}\\[\\]:,\"]|\"a\"|\\\\|1|true|null| |\n){0,30}") {
            let expected = serde_json::from_str::<Value>(&text);
            let found = read(&text);
            prop_assert_eq!(expected.is_ok(), found.is_ok());
            if let (Ok(expected), Ok(found)) = (expected, found) {
                // Of a key that is there twice, both agree on the last.
                prop_assert_eq!(expected, value(&found));
            }
        }
    }
}
