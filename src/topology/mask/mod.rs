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

use crate::client::sensitive::looks_secret;

mod lines;
#[cfg(test)]
mod tests;
mod walk;

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
        walk::hide(text, &mut mask);
        if broken {
            lines::hide(text, &mut mask);
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
        let secret = lines::secret_in(comment, false);
        if let Some(at) = secret {
            self.hide(range.start + at..range.end);
        }
        secret.is_some()
    }
}

fn find(text: &str, from: usize, what: &str) -> Option<usize> {
    text.get(from..)?.find(what).map(|at| from + at)
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
