//! Names that a pattern takes, made up for following them through the links.
//!
//! A pattern's topics are not known offline. A few names that it certainly matches are enough to
//! find two-way links and overlapping patterns; what they miss is found when the source is read.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::topology::names;
use crate::topology::selector::TopicSelector;

/// As many as are made for one pattern.
const MOST: usize = 8;
/// Characters tried in this order where a pattern leaves the choice.
const PREFERRED: &str = "xa1-_.zbcdefghijklmnopqrstuvwy023456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Legal topic names that the pattern matches; none where none are found.
pub(super) fn of(selector: &TopicSelector) -> Vec<String> {
    let hir = match selector {
        TopicSelector::Name(_) => return Vec::new(),
        TopicSelector::Glob { matcher, .. } => regex_syntax::ParserBuilder::new()
            .utf8(false)
            .unicode(false)
            .build()
            .parse(matcher.glob().regex()),
        TopicSelector::Regex { pattern, .. } => regex_syntax::parse(pattern),
    };
    let Ok(hir) = hir else {
        return Vec::new();
    };
    let mut names = strings(&hir);
    names.retain(|name| names::validate_topic_name(name).is_ok() && selector.matches(name));
    names.dedup();
    names
}

/// Some strings of the expression's language, assertions left out of account.
fn strings(hir: &Hir) -> Vec<String> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![String::new()],
        HirKind::Literal(literal) => vec![String::from_utf8_lossy(&literal.0).into_owned()],
        HirKind::Class(class) => PREFERRED
            .chars()
            .filter(|char| contains(class, *char))
            .take(3)
            .map(String::from)
            .collect(),
        HirKind::Repetition(repetition) => {
            let times = if repetition.max == Some(0) {
                0
            } else {
                repetition.min.max(1)
            };
            // Longer than any topic name: no example.
            let Some(times) = usize::try_from(times)
                .ok()
                .filter(|times| *times <= names::MAX_TOPIC_NAME)
            else {
                return Vec::new();
            };
            strings(&repetition.sub)
                .into_iter()
                .map(|text| text.repeat(times))
                .collect()
        }
        HirKind::Capture(capture) => strings(&capture.sub),
        HirKind::Concat(parts) => {
            let mut all = vec![String::new()];
            for part in parts {
                let next = strings(part);
                all = all
                    .iter()
                    .flat_map(|head| next.iter().map(move |tail| format!("{head}{tail}")))
                    .take(MOST)
                    .collect();
                all.retain(|text| text.len() <= names::MAX_TOPIC_NAME);
            }
            all
        }
        HirKind::Alternation(parts) => parts.iter().flat_map(strings).take(MOST).collect(),
    }
}

fn contains(class: &Class, char: char) -> bool {
    match class {
        Class::Unicode(class) => class
            .iter()
            .any(|range| (range.start()..=range.end()).contains(&char)),
        Class::Bytes(class) => u8::try_from(char).is_ok_and(|byte| {
            class
                .iter()
                .any(|range| (range.start()..=range.end()).contains(&byte))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_match_their_pattern() {
        for text in ["*", "orders-*", "{a,b}-?", "[!x]*", "a[0-9][0-9]"] {
            let glob = TopicSelector::from_text(text).expect("legal glob");
            assert!(!of(&glob).is_empty(), "{text}");
        }
        for pattern in [".*", "^eu-[a-z]+$", "(a|b){2,3}", r"\w+\.v\d", "x?"] {
            let regex = TopicSelector::from_regex(pattern).expect("legal regex");
            assert!(!of(&regex).is_empty(), "{pattern}");
        }
        let both = TopicSelector::from_regex("orders|payments").expect("legal regex");
        assert_eq!(of(&both), ["orders", "payments"]);
    }
}
