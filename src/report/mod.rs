//! Words and documents made of plain values: the plan as text for people and as JSON for programs.
//!
//! This is the only place where reasons and blockers become sentences. Names and messages that come
//! from remote clusters pass [`clean`] on their way to a terminal.

pub mod diagnostics;
pub mod graph;
pub mod json;
pub mod text;
mod units;
pub mod words;

pub use units::{bytes, duration, grouped};

use std::fmt::Write as _;

/// Makes text from elsewhere harmless on a terminal: control and direction characters are spelt out.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for char in text.chars() {
        let steers = matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if char.is_control() || steers {
            // Writing to a string cannot fail.
            let _ = write!(cleaned, "\\u{{{:x}}}", u32::from(char));
        } else {
            cleaned.push(char);
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_steer_a_terminal_are_spelt_out() {
        assert_eq!(clean("orders.été-1"), "orders.été-1");
        assert_eq!(
            clean("a\x1b[2Jb\u{9b}c\u{202e}d\n"),
            "a\\u{1b}[2Jb\\u{9b}c\\u{202e}d\\u{a}"
        );
    }
}
