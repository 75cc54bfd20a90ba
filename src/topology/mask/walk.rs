//! Token by token, so that the key is known that each value belongs to.

use toml_parser::lexer::{Token, TokenKind};

use super::{Mask, hidden_in_address, secret_in_value};
use crate::client::keys;
use crate::client::sensitive::looks_secret;
use crate::nearest::nearest;
use crate::topology::read::keys::Kind;

/// Hides the values of secrets, what stands where only a reference to one can stand, and comments
/// about them.
pub(super) fn hide(text: &str, mask: &mut Mask) {
    Walk::new(text).run(mask);
}

/// The value of a secret, as far as it has been read.
struct Value {
    start: usize,
    end: usize,
    /// How many brackets were open where it began.
    depth: usize,
    /// Of a server; only a part of it can be secret.
    is_address: bool,
}

/// Goes through the tokens of a TOML text and keeps track of which key each value belongs to.
struct Walk<'t> {
    text: &'t str,
    /// Of the header above.
    section: Vec<String>,
    /// Brackets that are open; tables with the key they belong to.
    open: Vec<Option<Vec<String>>>,
    /// Parts of the key that is being read.
    key: Vec<String>,
    key_start: usize,
    expects_key: bool,
    value: Option<Value>,
    /// There was a secret in this line, so its comment may repeat it.
    line_is_secret: bool,
    /// The last key was one of a secret, so that the comments below may be about it.
    is_below_secret: bool,
    /// The last key was one of an address.
    is_below_address: bool,
}

impl<'t> Walk<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            section: Vec::new(),
            open: Vec::new(),
            key: Vec::new(),
            key_start: 0,
            expects_key: true,
            value: None,
            line_is_secret: false,
            is_below_secret: false,
            is_below_address: false,
        }
    }

    fn run(mut self, mask: &mut Mask) {
        let tokens = toml_parser::Source::new(self.text).lex().into_vec();
        let mut index = 0;
        while index < tokens.len() {
            let token = tokens[index];
            if self.at_line_start() && token.kind() == TokenKind::LeftSquareBracket {
                index = self.header(&tokens, index, mask);
                continue;
            }
            self.step(token, tokens.get(index + 1..).unwrap_or_default(), mask);
            index += 1;
        }
        self.end_value(mask);
    }

    fn at_line_start(&self) -> bool {
        self.open.is_empty() && self.expects_key && self.key.is_empty()
    }

    /// Reads a header and returns the index of what follows it.
    fn header(&mut self, tokens: &[Token], from: usize, mask: &mut Mask) -> usize {
        self.section.clear();
        self.is_below_secret = false;
        let mut key = Vec::new();
        for (index, token) in tokens.iter().enumerate().skip(from) {
            match token.kind() {
                TokenKind::Newline | TokenKind::Eof => {
                    self.section = key;
                    return index;
                }
                TokenKind::Comment => self.comment(*token, mask),
                _ => self.add_key_part(&mut key, *token),
            }
        }
        tokens.len()
    }

    fn step(&mut self, token: Token, next: &[Token], mask: &mut Mask) {
        match token.kind() {
            TokenKind::Newline => {
                if self.open.is_empty() {
                    self.end_value(mask);
                    self.begin_key();
                }
                self.line_is_secret = self.value.as_ref().is_some_and(|value| !value.is_address);
            }
            TokenKind::Comment => self.comment(token, mask),
            TokenKind::Equals if self.expects_key => self.begin_value(token, next, mask),
            TokenKind::LeftCurlyBracket => {
                let path = self.path();
                self.open.push(Some(path));
                self.begin_key();
            }
            TokenKind::LeftSquareBracket => {
                self.open.push(None);
                self.expects_key = false;
            }
            TokenKind::RightCurlyBracket | TokenKind::RightSquareBracket => {
                self.end_value_inside(mask);
                self.open.pop();
                self.expects_key = false;
            }
            TokenKind::Comma => {
                self.end_value_inside(mask);
                if matches!(self.open.last(), Some(Some(_))) {
                    self.begin_key();
                }
            }
            _ if self.expects_key => {
                let mut key = std::mem::take(&mut self.key);
                if key.is_empty() {
                    self.key_start = token.span().start();
                }
                self.add_key_part(&mut key, token);
                self.key = key;
            }
            TokenKind::BasicString
            | TokenKind::LiteralString
            | TokenKind::MlBasicString
            | TokenKind::MlLiteralString => {
                let range = token.span().start()..token.span().end();
                let text = self.text.get(range.clone()).unwrap_or_default();
                if let Some(at) = secret_in_value(text, &['=', ':']) {
                    mask.hide(range.start + at..range.end);
                }
            }
            _ => {}
        }
        let is_text = !matches!(
            token.kind(),
            TokenKind::Whitespace | TokenKind::Comment | TokenKind::Newline
        );
        if let Some(value) = self.value.as_mut().filter(|_| is_text) {
            value.end = value.end.max(token.span().end());
        }
    }

    fn begin_key(&mut self) {
        self.key.clear();
        self.expects_key = true;
    }

    fn begin_value(&mut self, equals: Token, next: &[Token], mask: &mut Mask) {
        self.expects_key = false;
        let first = next
            .iter()
            .find(|token| token.kind() != TokenKind::Whitespace);
        // The keys of a table are judged one by one.
        let is_table = first.is_some_and(|token| token.kind() == TokenKind::LeftCurlyBracket);
        let path = self.path();
        if let [parent @ .., last] = path.as_slice()
            && !matches!(last.as_str(), "env" | "file")
            && self.open.last().is_some_and(Option::is_some)
            && holds_secret(parent)
        {
            // A secret where only a reference to one can stand.
            mask.hide(self.key_start..equals.span().start());
        }
        // A line that was broken in two makes the rest of a secret a key, or the value of one.
        let is_rest_of_address = self.is_below_address
            && self
                .text
                .get(self.key_start..equals.span().start())
                .is_some_and(|key| key.contains(['@', ':', '/']));
        let is_stray = is_rest_of_address || self.is_below_secret && !is_known(&path);
        if is_stray {
            mask.hide(self.key_start..equals.span().start());
        }
        let is_secret = is_stray || is_secret(&path);
        let is_address =
            !is_secret && matches!(path.last().map(String::as_str), Some("url" | "uri"));
        if !is_table && self.value.is_none() && (is_secret || is_address) {
            let start = first.map_or(equals.span().end(), |token| token.span().start());
            self.value = Some(Value {
                start,
                end: start,
                depth: self.open.len(),
                is_address,
            });
            self.line_is_secret |= is_secret;
        }
        self.is_below_secret = is_secret;
        self.is_below_address = is_address;
    }

    fn end_value(&mut self, mask: &mut Mask) {
        if let Some(value) = self.value.take() {
            let text = self.text.get(value.start..value.end).unwrap_or_default();
            let hidden = if value.is_address {
                hidden_in_address(text)
            } else {
                0..text.len()
            };
            mask.hide(value.start + hidden.start..value.start + hidden.end);
        }
    }

    /// Ends the value if it stands in the innermost open bracket.
    fn end_value_inside(&mut self, mask: &mut Mask) {
        if self.value.as_ref().map(|value| value.depth) == Some(self.open.len()) {
            self.end_value(mask);
        }
    }

    /// From the root to the key that is being read.
    fn path(&self) -> Vec<String> {
        let mut path = self
            .open
            .iter()
            .rev()
            .find_map(|open| open.clone())
            .unwrap_or_else(|| self.section.clone());
        path.extend(self.key.iter().cloned());
        path
    }

    fn add_key_part(&self, key: &mut Vec<String>, token: Token) {
        let text = self
            .text
            .get(token.span().start()..token.span().end())
            .unwrap_or_default();
        let part = match token.kind() {
            TokenKind::Atom => text,
            // What an escape makes of it is not worth knowing: it counts as a secret.
            TokenKind::BasicString if text.contains('\\') => "secret",
            TokenKind::BasicString | TokenKind::LiteralString => text.trim_matches(['"', '\'']),
            _ => return,
        };
        key.extend(part.split('.').map(str::to_lowercase));
    }

    fn comment(&mut self, token: Token, mask: &mut Mask) {
        let range = token.span().start()..token.span().end();
        if self.line_is_secret || self.is_below_secret {
            mask.hide(range.start + 1..range.end);
        } else {
            self.is_below_secret = mask.hide_comment(self.text, range);
        }
    }
}

/// Whether the value of the key at this path is hidden.
fn is_secret(path: &[String]) -> bool {
    match path {
        [.., last] if path.len() > 1 && matches!(last.as_str(), "env" | "file") => false,
        // Of the client properties only those are shown that are known to be harmless.
        _ => match client_property(path) {
            Some(property) => !keys::is_harmless(&property),
            None => looks_secret(&own_words(path)),
        },
    }
}

/// Whether the last part of the path is a key of the file, perhaps misspelt, or belongs to one.
fn is_known(path: &[String]) -> bool {
    let keys = || Kind::ALL.into_iter().flat_map(Kind::keys);
    path.last()
        .is_some_and(|last| nearest(last, keys()).is_some())
        || path.iter().any(|part| part == "config")
        || client_property(path).is_some()
}

/// Whether the keys of a table at this path stand where only a reference to a secret can stand.
fn holds_secret(path: &[String]) -> bool {
    match client_property(path) {
        // Else it is the first part of a dotted key.
        Some(property) => keys::find(&property).is_some_and(keys::Key::is_secret),
        None => looks_secret(&own_words(path)),
    }
}

fn client_property(path: &[String]) -> Option<String> {
    let [clusters, _, client, property @ ..] = path else {
        return None;
    };
    let is_client = clusters == "clusters" && client == "client" && !property.is_empty();
    is_client.then(|| property.join("."))
}

/// The path without the names of the user's choice, which say nothing.
fn own_words(path: &[String]) -> String {
    let mut parts: Vec<&str> = path.iter().map(String::as_str).collect();
    for (level, names) in [(0, ["clusters", "links"]), (1, ["topics", "mirrors"])] {
        if parts.len() > level + 1 && names.contains(&parts[level]) {
            parts.remove(level + 1);
        }
    }
    parts.join(".")
}
