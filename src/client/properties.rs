//! Java's properties files, as `java.util.Properties` reads them, with the place of everything.
//!
//! A logical line is a key, a separator (`=`, `:` or blanks) and a value. A backslash at the end of
//! a line continues it on the next, whose leading blanks are dropped; elsewhere it escapes the
//! character after it. Nothing but a malformed `\uXXXX` is a mistake in such a file.
//!
//! Java reads the bytes as ISO-8859-1. Files are UTF-8 nowadays, so bytes that are UTF-8 are read
//! as such and [`decode`] says where the two differ.

use std::ops::Range;

use super::written::Written;

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// In the order of the file, repeated keys included.
    pub properties: Vec<Property>,
    /// Comment lines, without their ends.
    pub comments: Vec<Range<usize>>,
    /// Escapes `\u` without four hexadecimal digits after them.
    pub bad_escapes: Vec<Range<usize>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    pub key: Written,
    pub value: Written,
    /// From the first byte of the value to the end of its last line, as they stand in the file.
    pub value_lines: Range<usize>,
}

/// A file's text and what is to be said about its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    pub text: String,
    pub encoding: Encoding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Every reader takes it for the same text.
    Ascii,
    /// Java takes it for other characters.
    Utf8,
    /// No UTF-8, so it was read as Java does.
    Latin1,
}

/// Makes text of a file's bytes.
pub fn decode(bytes: Vec<u8>) -> Decoded {
    let is_ascii = bytes.is_ascii();
    match String::from_utf8(bytes) {
        Ok(text) => Decoded {
            text,
            encoding: if is_ascii {
                Encoding::Ascii
            } else {
                Encoding::Utf8
            },
        },
        Err(error) => Decoded {
            text: error.as_bytes().iter().copied().map(char::from).collect(),
            encoding: Encoding::Latin1,
        },
    }
}

/// Reads a whole file. Every text is a properties file.
pub fn parse(text: &str) -> Properties {
    let mut found = Properties::default();
    let mut scan = Scan { text, at: 0 };
    while scan.skip_blanks_and_ends() {
        let start = scan.at;
        if matches!(scan.peek(), Some('#' | '!')) {
            scan.skip_line();
            found.comments.push(start..scan.at);
            continue;
        }
        // Nothing, continued: the next line is as good as the first.
        if scan.rest().starts_with('\\') && scan.rest()[1..].starts_with(is_end) {
            scan.at += 1;
            continue;
        }
        let key = scan.read(Part::Key, &mut found.bad_escapes);
        scan.skip_separator();
        let value_start = scan.at;
        let value = scan.read(Part::Value, &mut found.bad_escapes);
        found.properties.push(Property {
            key,
            value,
            value_lines: value_start..scan.at,
        });
    }
    found
}

fn is_blank(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\u{c}')
}

fn is_end(char: char) -> bool {
    matches!(char, '\n' | '\r')
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Key,
    Value,
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
}

impl Scan<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self, which: impl Fn(char) -> bool) {
        self.at += self.rest().len() - self.rest().trim_start_matches(which).len();
    }

    /// Goes to the first character of the next logical line; false at the end of the file.
    fn skip_blanks_and_ends(&mut self) -> bool {
        self.skip(|char| is_blank(char) || is_end(char));
        self.at < self.text.len()
    }

    fn skip_line(&mut self) {
        self.skip(|char| !is_end(char));
    }

    /// Skips the end of a line and the blanks that begin the next.
    fn skip_continuation(&mut self) {
        if self.rest().starts_with("\r\n") {
            self.at += 1;
        }
        self.at += 1;
        self.skip(is_blank);
    }

    /// Blanks, continued lines among them.
    fn skip_blanks(&mut self) {
        loop {
            self.skip(is_blank);
            let rest = self.rest().strip_prefix('\\');
            if !rest.is_some_and(|rest| rest.starts_with(is_end)) {
                return;
            }
            self.at += 1;
            self.skip_continuation();
        }
    }

    fn skip_separator(&mut self) {
        self.skip_blanks();
        if matches!(self.peek(), Some('=' | ':')) {
            self.at += 1;
            self.skip_blanks();
        }
    }

    fn read(&mut self, part: Part, bad_escapes: &mut Vec<Range<usize>>) -> Written {
        let mut written = Written::nothing(self.at);
        while let Some(char) = self.peek() {
            let start = self.at;
            if is_end(char) {
                break;
            }
            if part == Part::Key && (is_blank(char) || matches!(char, '=' | ':')) {
                break;
            }
            self.at += char.len_utf8();
            if char != '\\' {
                written.push(char, start..self.at);
                continue;
            }
            // A lone backslash at the end of the file means nothing.
            let Some(escaped) = self.peek() else { break };
            if is_end(escaped) {
                self.skip_continuation();
                continue;
            }
            self.at += escaped.len_utf8();
            let meant = match escaped {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                'f' => '\u{c}',
                'u' => match self.unicode() {
                    Some(char) => char,
                    None => {
                        bad_escapes.push(start..self.at);
                        char::REPLACEMENT_CHARACTER
                    }
                },
                other => other,
            };
            written.push(meant, start..self.at);
        }
        written
    }

    /// The four digits after `\u`, and those of a second escape where the two are a surrogate pair.
    fn unicode(&mut self) -> Option<char> {
        let first = self.four_digits()?;
        if let Some(char) = char::from_u32(first) {
            return Some(char);
        }
        let before = self.at;
        if (0xD800..0xDC00).contains(&first) && self.rest().starts_with("\\u") {
            self.at += "\\u".len();
            let low = self
                .four_digits()
                .filter(|low| (0xDC00..0xE000).contains(low));
            if let Some(low) = low {
                let code = 0x1_0000 + ((first - 0xD800) << 10) + (low - 0xDC00);
                return char::from_u32(code);
            }
            self.at = before;
        }
        None
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let code = u32::from_str_radix(digits, 16).ok()?;
        self.at += digits.len();
        Some(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text)
            .properties
            .into_iter()
            .map(|property| (property.key.into_string(), property.value.into_string()))
            .collect()
    }

    /// What `java.util.Properties` (OpenJDK 17) makes of the same texts.
    #[test]
    fn a_file_means_what_it_means_to_java() {
        for (text, expected) in [
            ("", &[][..]),
            ("a=b", &[("a", "b")]),
            ("a = b ", &[("a", "b ")]),
            ("a:b\r\nc d\re", &[("a", "b"), ("c", "d"), ("e", "")]),
            ("a==b", &[("a", "=b")]),
            ("a : = b", &[("a", "= b")]),
            ("  \t\u{c}a\u{c}b", &[("a", "b")]),
            ("# a=b\n ! c=d\na=#x", &[("a", "#x")]),
            ("# a\\\nb=c", &[("b", "c")]),
            ("a=b\\\n   c\\\r\n\td", &[("a", "bcd")]),
            ("a=b\\\n\nc=d", &[("a", "b"), ("c", "d")]),
            ("a=b\\\n#c", &[("a", "b#c")]),
            ("a\\\n  b=c", &[("ab", "c")]),
            ("a \\\n = \\\n b", &[("a", "b")]),
            ("a=b\\\\\nc=d", &[("a", "b\\"), ("c", "d")]),
            ("a=b\\", &[("a", "b")]),
            ("a\\ b\\=\\:c=d", &[("a b=:c", "d")]),
            ("a=\\t\\n\\r\\f\\q\\\"", &[("a", "\t\n\r\u{c}q\"")]),
            ("a=\\u00e9\\u20AC", &[("a", "é€")]),
            ("a=\\ud83d\\ude00", &[("a", "😀")]),
            ("=b", &[("", "b")]),
            ("a=1\na=2", &[("a", "1"), ("a", "2")]),
            ("a=grün", &[("a", "grün")]),
            ("\\\na=b", &[("a", "b")]),
            ("\\\n\\\n\n#x=1\na=b", &[("a", "b")]),
            ("  \\\n#x=1", &[]),
            ("a\\\n#b", &[("a#b", "")]),
            ("a=b\\\n \\\n c", &[("a", "bc")]),
            ("\\", &[("", "")]),
        ] {
            let expected: Vec<_> = expected
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(pairs(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_malformed_escape_is_told_with_its_place() {
        for (text, bad) in [
            ("a=x\\u12", 3..5),
            ("a=\\u00zz", 2..4),
            ("a=\\ud800", 2..8),
            ("a=\\ud800\\u0041", 2..8),
            ("a=\\u+123", 2..4),
        ] {
            assert_eq!(parse(text).bad_escapes, [bad], "{text}");
        }
    }

    #[test]
    fn values_know_where_they_are_written() {
        let text = "# c\nkey = one\\\n  two\nb";
        let found = parse(text);
        assert_eq!(&text[found.comments[0].clone()], "# c");
        let value = &found.properties[0].value;
        assert_eq!(&text[value.source(0..3)], "one\\\n  ");
        assert_eq!(&text[value.source(3..6)], "two");
        assert_eq!(
            &text[found.properties[0].value_lines.clone()],
            "one\\\n  two"
        );
        assert_eq!(&text[found.properties[1].key.whole()], "b");
    }

    #[test]
    fn bytes_that_are_no_utf8_are_read_as_java_reads_them() {
        assert_eq!(decode(b"a=b".to_vec()).encoding, Encoding::Ascii);
        assert_eq!(decode("a=ü".into()).encoding, Encoding::Utf8);
        let latin = decode(b"a=\xfc".to_vec());
        assert_eq!(
            (latin.text.as_str(), latin.encoding),
            ("a=ü", Encoding::Latin1)
        );
    }
}
