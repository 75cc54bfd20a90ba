//! Text as it means, together with where each part of it is written.
//!
//! Escapes, continuation lines and quotes make a value differ from what stands in the file. A
//! mistake inside the value is nevertheless to be shown where it was made.

use std::ops::Range;

/// A decoded text that knows the bytes it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    text: String,
    /// For each byte of the text, and for its end, the offset in the source.
    places: Vec<usize>,
}

impl Written {
    /// Nothing, written at `at`.
    pub fn nothing(at: usize) -> Self {
        Self {
            text: String::new(),
            places: vec![at],
        }
    }

    /// Adds a character that is written in these bytes.
    pub fn push(&mut self, char: char, source: Range<usize>) {
        self.text.push(char);
        self.places.pop();
        let starts = std::iter::repeat_n(source.start, char.len_utf8());
        self.places.extend(starts);
        self.places.push(source.end);
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn into_string(self) -> String {
        self.text
    }

    /// The bytes of the source that a part of the text is written in. What is out of bounds counts
    /// as the end.
    pub fn source(&self, part: Range<usize>) -> Range<usize> {
        let last = self.places.last().copied().unwrap_or_default();
        let start = self.places.get(part.start).copied().unwrap_or(last);
        let end = match part.end.checked_sub(1).filter(|_| !part.is_empty()) {
            // The end of the last character, not the start of what follows it.
            Some(before) => self.end_of(before).unwrap_or(last),
            None => start,
        };
        start..end.max(start)
    }

    /// Where the source of the character with this byte ends.
    fn end_of(&self, at: usize) -> Option<usize> {
        let here = self.places.get(at)?;
        self.places[at..]
            .iter()
            .find(|place| *place > here)
            .copied()
    }

    /// All of it.
    pub fn whole(&self) -> Range<usize> {
        self.source(0..self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_where_it_is_written() {
        // `a\u0062` at 10, and a continuation line before `ä`.
        let mut written = Written::nothing(10);
        written.push('a', 10..11);
        written.push('b', 11..17);
        written.push('ä', 20..22);
        assert_eq!(written.as_str(), "abä");
        assert_eq!(written.source(0..1), 10..11);
        assert_eq!(written.source(1..2), 11..20);
        assert_eq!(written.source(2..4), 20..22);
        assert_eq!(written.source(4..4), 22..22);
        assert_eq!(written.source(9..12), 22..22);
        assert_eq!(written.whole(), 10..22);
        assert_eq!(Written::nothing(3).whole(), 3..3);
    }
}
