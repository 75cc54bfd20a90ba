//! Words and documents made of plain values: plans, drift and differences as text and Markdown for people, as
//! JSON, workflow commands, SARIF and JUnit's XML for programs.
//!
//! This is the only place where reasons and blockers become sentences. Names and messages that come
//! from remote clusters pass [`clean`] on their way to a terminal.

mod broker_words;
pub mod diagnostics;
pub mod diff;
pub mod doctor;
pub mod drift;
pub mod findings;
pub mod graph;
pub mod inventory;
pub mod journal;
pub mod json;
mod junit;
pub mod markdown;
mod sarif;
pub mod saved;
pub mod text;
pub mod turn;
mod units;
pub mod words;
mod workflow;

pub use units::{bytes, duration, grouped};

use std::fmt::Write as _;
use std::path::Path;

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

/// A path as it is from the folder where the program was started, which is the root of a repository
/// as far as a service is concerned that shows its files.
fn from_root(path: &Path) -> String {
    let path = path.to_string_lossy();
    path.strip_prefix("./").unwrap_or(&path).to_owned()
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
