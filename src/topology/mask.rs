//! What of a file is never shown: the places of its secrets.
//!
//! Every text that ends in a snippet goes through a [`Mask`] first, also one that could not be
//! parsed. A mask replaces what it hides by as many `*` as there were bytes, so that the places of
//! labels hold. It is made in three steps, each of which only knows more than the one before:
//! the names of keys ([`Mask::of_toml`]), lines of a text that is no TOML (the same, with
//! `broken`), and exact places which the reader of a value adds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use toml_parser::lexer::{Token, TokenKind};

use super::read::keys::Kind;
use crate::client::keys;
use crate::client::sensitive::looks_secret;
use crate::nearest::nearest;

/// The hidden parts of one text.
#[derive(Clone, Debug, Default)]
pub(super) struct Mask {
    /// By start; none of them meet.
    hidden: BTreeMap<usize, usize>,
    revealed: Vec<Range<usize>>,
}

impl Mask {
    pub(super) fn hide(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        // What it meets becomes a part of it.
        while let Some((&before, &until)) = self.hidden.range(..=end).next_back()
            && until >= start
        {
            self.hidden.remove(&before);
            start = start.min(before);
            end = end.max(until);
        }
        self.hidden.insert(start, end);
    }

    /// Shows again what a reader has recognised as harmless, whatever else hides it.
    pub(super) fn reveal(&mut self, range: Range<usize>) {
        if !range.is_empty() {
            self.revealed.push(range);
        }
    }

    /// Whether any of these bytes may be hidden.
    pub(super) fn touches(&self, range: &Range<usize>) -> bool {
        self.hidden
            .range(..range.end)
            .next_back()
            .is_some_and(|(_, until)| *until > range.start)
    }

    /// The text with its secrets replaced, byte for byte as long as before.
    pub(super) fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.hidden.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut is_hidden = vec![false; text.len()];
        let hidden = self.hidden.iter().map(|(start, end)| (*start..*end, true));
        let revealed = self.revealed.iter().map(|range| (range.clone(), false));
        for (range, hidden) in hidden.chain(revealed) {
            let end = range.end.min(text.len());
            if let Some(part) = is_hidden.get_mut(range.start..end) {
                part.fill(hidden);
            }
        }
        let shown = text.char_indices().map(|(at, char)| {
            let bytes = at..at + char.len_utf8();
            (is_hidden[bytes].contains(&true), char)
        });
        let mut masked = String::with_capacity(text.len());
        for (hidden, char) in shown {
            match char {
                // Lines stay lines.
                '\n' | '\r' => masked.push(char),
                _ if hidden => masked.extend(std::iter::repeat_n('*', char.len_utf8())),
                _ => masked.push(char),
            }
        }
        Cow::Owned(masked)
    }

    /// Hides what the names of keys and the form of values give away. `broken`: the text is no
    /// TOML, so that nothing is sure about where a value ends.
    pub(super) fn of_toml(text: &str, broken: bool) -> Self {
        let mut mask = Self::default();
        Walk::new(text).run(&mut mask);
        if broken {
            mask.hide_lines(text);
        }
        mask.hide_everywhere(text, broken);
        mask
    }

    /// Hides what is a secret in any kind of file: keys in PEM form, passwords in addresses.
    pub(super) fn hide_everywhere(&mut self, text: &str, broken: bool) {
        let mut at = 0;
        while let Some(begin) = find(text, at, "-----BEGIN ") {
            let end = find(text, begin, "-----END ").map_or(text.len(), |end| {
                find(text, end + "-----END ".len(), "-----").map_or(text.len(), |end| end + 5)
            });
            self.hide(begin..end);
            at = end;
        }
        let mut at = 0;
        while let Some(scheme) = find(text, at, "://") {
            at = scheme + "://".len();
            let rest = &text[at..];
            let end = rest
                .find(|char: char| match char {
                    '\n' => true,
                    // Quotes and blanks do not end it: a password may have them.
                    _ => !broken && "/?".contains(char),
                })
                .unwrap_or(rest.len());
            if let Some(user) = rest[..end].rfind('@') {
                self.hide(at..at + user);
            }
            let end = rest
                .find(|char: char| char.is_whitespace() || "\"',".contains(char))
                .unwrap_or(rest.len());
            let hidden = hidden_behind_scheme(&rest[..end]);
            self.hide(at + hidden.start..at + hidden.end);
        }
    }

    /// A comment may hold the value that a key had before, or be about one. Returns whether it seems
    /// to.
    pub(super) fn hide_comment(&mut self, text: &str, range: Range<usize>) -> bool {
        let comment = text.get(range.clone()).unwrap_or_default();
        let secret = secret_in_line(comment, false);
        if let Some(at) = secret {
            self.hide(range.start + at..range.end);
        }
        secret.is_some()
    }

    /// Line by line, for a text in which quotes and brackets may be out of step.
    fn hide_lines(&mut self, text: &str) {
        let mut start = 0;
        // A line before hides something that may go on.
        let mut goes_on = false;
        let mut in_client = false;
        for line in text.split_inclusive('\n') {
            let end = start + line.trim_end().len();
            let trimmed = line.trim();
            let indent = line.len() - line.trim_start().len();
            let header = header_end(line);
            if let Some(at) = header {
                in_client = is_client_header(&line[..at]);
            }
            let secret = match header {
                // One that is not closed may have run into any key below it.
                Some(at) => secret_in_line(&line[at..], in_client)
                    .or_else(|| line[at..].find('=').map(|equals| equals + 1))
                    .map(|behind| at + behind),
                None => secret_in_line(line, in_client),
            };
            let secret = match (secret, stray_string(line)) {
                (Some(secret), Some(stray)) => Some(secret.min(stray)),
                (secret, stray) => secret.or(stray),
            };
            let begins_anew = header.is_some() || begins_anew(trimmed);
            if goes_on && !begins_anew {
                self.hide(start + indent..end);
            } else if let Some(at) = secret {
                self.hide(start + at..end);
                goes_on = true;
            } else if !trimmed.is_empty() {
                // Of an address that was broken in two the rest is below, even if the quote was
                // closed before it.
                goes_on = line.contains("://");
            }
            start += line.len();
        }
    }
}

fn find(text: &str, from: usize, what: &str) -> Option<usize> {
    text.get(from..)?.find(what).map(|at| from + at)
}

/// Where the names in a header end, also in one that is not closed; `None` for any other line that
/// begins with a bracket.
fn header_end(line: &str) -> Option<usize> {
    let names = line.trim_start().trim_start_matches(['[', ' ', '\t']);
    let bracket = line.trim_start().starts_with('[');
    let first = names
        .split(|char: char| !char.is_alphanumeric())
        .next()
        .unwrap_or_default();
    let is_header = bracket && matches!(first, "clusters" | "links");
    let length = names
        .find(|char: char| char.is_whitespace() || "]=#".contains(char))
        .unwrap_or(names.len());
    is_header.then(|| line.len() - names.len() + length)
}

/// `[clusters.NAME.client`, however badly it is written.
fn is_client_header(header: &str) -> bool {
    header
        .split(|char: char| !char.is_alphanumeric())
        .rfind(|word| !word.is_empty())
        == Some("client")
}

/// Whether the line gives a value to a key of the file. Any other `=` may be a part of a secret that
/// goes on, such as the end of a Base64 text; and what looks like a comment may be as well.
fn begins_anew(line: &str) -> bool {
    let Some((key, _)) = line.split_once('=') else {
        return false;
    };
    let name = key.trim().replace(['"', '\''], "");
    let is_key = |name: &str| {
        Kind::ALL
            .into_iter()
            .any(|kind| kind.keys().any(|key| key == name))
    };
    match name.split_once('.') {
        Some(("client", property)) => keys::find(property).is_some(),
        Some((table, key)) => is_key(table) && (is_key(key) || keys::find(key).is_some()),
        None => is_key(&name),
    }
}

/// Where in a harmless value a secret begins that a mistake has brought there: a line that was not
/// ended, quotes that were not closed. `separators` are those that may follow the secret's name.
pub(super) fn secret_in_value(value: &str, separators: &[char]) -> Option<usize> {
    let mut at = 0;
    for word in value.split_inclusive(|char| !is_word(char)) {
        let name = word.trim_end_matches(|char| !is_word(char));
        let end = at + name.len();
        at += word.len();
        let rest = &value[end..];
        // Also on the next line, and through the quotes of a key.
        let between = |char: char| char.is_whitespace() || matches!(char, '"' | '\'' | '\\');
        let follows = rest.find(|char| !between(char) || separators.contains(&char));
        let is_assigned = follows.is_some_and(|at| rest[at..].starts_with(separators));
        if is_assigned && looks_secret(name) {
            return Some(end);
        }
    }
    None
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '-' | '.')
}

/// Where in a line a string begins that belongs to no key, because the `=` is missing.
fn stray_string(line: &str) -> Option<usize> {
    let quotes = ['"', '\''];
    line.match_indices(quotes).map(|(at, _)| at).find(|at| {
        let before = line[..*at].trim_end_matches([' ', '\t']);
        let has_gap = before.len() < *at;
        has_gap && before.ends_with(|char: char| is_word(char) || quotes.contains(&char))
    })
}

/// Where in a line that may be broken anywhere the value of a secret begins.
fn secret_in_line(line: &str, mut in_client: bool) -> Option<usize> {
    let mut at = 0;
    while at < line.len() {
        let rest = &line[at..];
        let length = rest.find(|char| !is_word(char)).unwrap_or(rest.len());
        if length == 0 {
            at += rest.chars().next()?.len_utf8();
            continue;
        }
        let word = &rest[..length];
        at += length;
        let rest = &line[at..];
        let value = rest.trim_start_matches([' ', '\t', '"', '\'']);
        let assigned = value.strip_prefix(['=', ':']);
        // Of the client properties only those are shown that are known to be harmless.
        let property = match word.rsplit_once("client.") {
            Some((_, property)) => Some(property),
            None => in_client.then_some(word),
        };
        let is_secret = match property {
            Some(property) if assigned.is_some() || property.contains('.') => {
                !keys::is_harmless(property)
            }
            _ => looks_secret(word),
        };
        in_client |= word == "client";
        if is_secret {
            let value = assigned.map_or(rest, str::trim_start);
            return Some(line.len() - value.len());
        }
    }
    None
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

/// What of an address may be secret, also of one that is written so badly that it is none.
pub(super) fn hidden_in_address(address: &str) -> Range<usize> {
    let quotes = ['"', '\''];
    let text = address.trim_end_matches(quotes);
    let first = text.len() - text.trim_start_matches(quotes).len();
    if text[first..].trim_start().starts_with("file:") {
        return 0..0;
    }
    let start = text.find("://").map_or(first, |at| at + "://".len());
    let hidden = hidden_behind_scheme(&text[start..]);
    start + hidden.start..start + hidden.end
}

/// A host with a port and a path can be shown, and neither a user nor a query.
fn hidden_behind_scheme(rest: &str) -> Range<usize> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, ""),
    };
    let is_plain = host
        .chars()
        .all(|char| is_word(char) || "[]:".contains(char))
        && (!host.contains(':') || host.starts_with('['))
        && port.chars().all(|char| char.is_ascii_digit());
    let start = match rest.find(['?', '#', '@']) {
        _ if !is_plain => 0,
        Some(at) if rest[at..].starts_with('@') => 0,
        Some(at) => at,
        None => rest.len(),
    };
    start..rest.len()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str, broken: bool) -> String {
        let masked = Mask::of_toml(text, broken).apply(text).into_owned();
        assert_eq!(masked.len(), text.len());
        masked
    }

    #[test]
    fn no_secret_of_a_valid_file_is_shown_and_the_rest_is() {
        for (text, shown) in [
            (
                "client.sasl.password = \"hunter2\" # hunter2\nstate = 1",
                "client.sasl.password = ********* #********\nstate = 1",
            ),
            (
                "rest = { password = 'hunter2', url = \"x\" }",
                "rest = { password = *********, url = \"x\" }",
            ),
            (
                "\"sasl.jaas.config\" = \"\"\"\nhunter2\n hunter2\"\"\"\nstate = 1",
                "\"sasl.jaas.config\" = ***\n*******\n***********\nstate = 1",
            ),
            (
                "[clusters.a.client]\n\"ssl.keystore.key\" = 'hunter2'\nssl.ca.location = 'ca'",
                "[clusters.a.client]\n\"ssl.keystore.key\" = *********\nssl.ca.location = 'ca'",
            ),
            (
                "password = { env = \"NAME\" }\nsecret = { hunter2 = \"hunter2\" }",
                "password = { env = \"NAME\" }\nsecret = { ********= ********* }",
            ),
            (
                "\"p\\u0061ssword\" = \"hunter2\"",
                "\"p\\u0061ssword\" = *********",
            ),
            (
                "tokens = [\n \"hunter2\", # hunter2\n \"b\" ]\nstate = 1",
                "tokens = *\n*********************\n******\nstate = 1",
            ),
            (
                "sasl.password = ''\n# hunter2\nstate = 1\n# b",
                "sasl.password = **\n#********\nstate = 1\n# b",
            ),
            (
                "# sasl.password\nhunter2 = 'hunter2'\ntopics = []",
                "# sasl.password\n********= *********\ntopics = []",
            ),
            (
                "a = [ # sasl.password=hunter2\n 1 ]",
                "a = [ # sasl.password=*******\n 1 ]",
            ),
            (
                "[clusters.token]\nbootstrap_servers = \"a:1\"\n[links.secret.mirrors.tokens]\nas = \"x\"",
                "[clusters.token]\nbootstrap_servers = \"a:1\"\n[links.secret.mirrors.tokens]\nas = \"x\"",
            ),
            (
                "url = \"https://bob:hunter2@host:1/a@b\"",
                "url = \"https://**********************\"",
            ),
            (
                "url = \"https://bob\"\n\":hunter2@host/\" = 1\nulr = 1",
                "url = \"https://bob\"\n*****************= *\nulr = 1",
            ),
            (
                "url = \"https://b:1/a?hunter2\"",
                "url = \"https://b:1/a********\"",
            ),
            (
                "title = \"http://[::1]:80/a\"",
                "title = \"http://[::1]:80/a\"",
            ),
            (
                "title = \"http://bob:hunter2\"",
                "title = \"http://***********\"",
            ),
            (
                "title = \"http://a/bob:hunter2@b\"",
                "title = \"http://***************\"",
            ),
            ("password = \"grün\"", "password = *******"),
        ] {
            assert_eq!(masked(text, false), shown, "{text}");
        }
    }

    #[test]
    fn no_secret_of_a_broken_file_is_shown() {
        for text in [
            "password = hunter2",
            "password hunter2",
            "password: hunter2",
            "\"sasl.password\" \"hunter2\"",
            "sasl.pasword = hunter2",
            "password = \"hunter2",
            "password = \"a\"hunter2\"",
            "rest = { url = \"x\", password = \"a\"hunter2, hunter2\" }",
            "rest = { url = \"x\", password \"hunter2\" }",
            "a = \"\"\"\nb = 1\npassword = \"hunter2\"",
            "a = [\npassword = \"hunter2\"\n",
            "password =\n  \"hunter2\"",
            "ssl.keystore.key = \"\"\n-----BEGIN PRIVATE KEY-----\nhunter2\nhunter2==\n",
            "ssl.keystore.key = \"\"\nhunter2\n\nhunter2==\nb = 1",
            "[clusters.a.client]\nssl.kez = hunter2",
            "clusters.a.client.ssl.kez = hunter2",
            "# password = hunter2\nx = ",
            "password = \"\"\"\nhunter2\n",
            "password = '''hunter2\n[links]\nhunter2",
            "client.\"sasl.password\" \n[,[ \"hunter2\"\n[clusters.b]",
            "client.sasl.oauthbearer.token.endpoint.url = \"https://bob\n:hunter2@b/\"\n",
            "client.sasl.oauthbearer.token.endpoint.url = \"https://bob\"\n:hunter2@b/\"\n",
            "rest.url = \"https://bob\"\n\n# or\na =:hunter2@b/\"\n",
            "client = { sasl.paswordaa \"hunter2\" }",
            "client = { x.y, \"hunter2\" }",
            "rest = { key \"hunter2\" }",
            "[links.l password \"hunter2\"\nhunter2",
            "[clusters.a.client ssl.kez = hunter2",
        ] {
            let shown = masked(text, true);
            assert!(!shown.contains("hunter2"), "{text}\n{shown}");
        }
        assert_eq!(
            masked("state = active\nsecret = x\nstart = 1\n[links.a]", true),
            "state = active\nsecret = *\nstart = 1\n[links.a]"
        );
        assert_eq!(
            masked(
                "rest.url = \"https://b\"\nclient.\"sasl.mechanism\" = \"PLAIN\"\nacks = x\nrest.ssl.protocol = x",
                true
            ),
            "rest.url = \"https://b\"\nclient.\"sasl.mechanism\" = \"PLAIN\"\nacks = x\nrest.ssl.protocol = x"
        );
    }
}
