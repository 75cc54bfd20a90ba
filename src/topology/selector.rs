//! Which topics a link takes.
//!
//! A selector has one serialised form, used in the control records: the way it is written in the
//! file (a string for names and globs, `{ regex = … }` otherwise).

use std::fmt;

use globset::{Glob, GlobMatcher};
use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

pub use super::rename::{RenameByRegex, RenameError, RenameRule};
use super::{names, rename};

/// One entry of `topics` or `exclude`.
#[derive(Clone, Debug)]
pub enum TopicSelector {
    /// A literal name (no `*`, `?`, `[` or `{`).
    Name(String),
    Glob {
        pattern: String,
        matcher: GlobMatcher,
    },
    /// `{ regex = "…" }`, matched against the whole name.
    Regex { pattern: String, regex: Regex },
}

impl TopicSelector {
    /// A literal name or, where `text` has glob characters, a glob.
    ///
    /// # Errors
    /// The glob's own complaint.
    pub fn from_text(text: &str) -> Result<Self, globset::Error> {
        if !text.contains(['*', '?', '[', '{']) {
            return Ok(Self::Name(text.to_owned()));
        }
        let matcher = Glob::new(text)?.compile_matcher();
        Ok(Self::Glob {
            pattern: text.to_owned(),
            matcher,
        })
    }

    /// A regex that has to match the whole topic name.
    ///
    /// # Errors
    /// The regex's own complaint.
    pub fn from_regex(pattern: &str) -> Result<Self, regex::Error> {
        Ok(Self::Regex {
            pattern: pattern.to_owned(),
            regex: rename::whole(pattern)?,
        })
    }

    /// Whether this is a literal name, the only way to take an internal topic.
    pub fn as_name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Glob { .. } | Self::Regex { .. } => None,
        }
    }

    /// Whether this selector takes the topic. An internal topic matches no pattern.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Name(name) => name == topic,
            Self::Glob { matcher, .. } => !names::is_internal(topic) && matcher.is_match(topic),
            Self::Regex { regex, .. } => !names::is_internal(topic) && regex.is_match(topic),
        }
    }
}

/// As it is written in the file: `orders-*` or `regex orders-.*`.
impl fmt::Display for TopicSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(text) | Self::Glob { pattern: text, .. } => f.write_str(text),
            Self::Regex { pattern, .. } => write!(f, "regex {pattern}"),
        }
    }
}

/// Two selectors are equal if they were written alike.
impl PartialEq for TopicSelector {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(one), Self::Name(two)) => one == two,
            (Self::Glob { pattern: one, .. }, Self::Glob { pattern: two, .. })
            | (Self::Regex { pattern: one, .. }, Self::Regex { pattern: two, .. }) => one == two,
            _ => false,
        }
    }
}

impl Eq for TopicSelector {}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum SelectorForm {
    Text(String),
    Regex { regex: String },
}

impl Serialize for TopicSelector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(text) | Self::Glob { pattern: text, .. } => {
                SelectorForm::Text(text.clone()).serialize(serializer)
            }
            Self::Regex { pattern, .. } => SelectorForm::Regex {
                regex: pattern.clone(),
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TopicSelector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match SelectorForm::deserialize(deserializer)? {
            SelectorForm::Text(text) => Self::from_text(&text).map_err(D::Error::custom),
            SelectorForm::Regex { regex } => Self::from_regex(&regex).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> TopicSelector {
        TopicSelector::from_text(text).expect("legal glob")
    }

    fn regex(pattern: &str) -> TopicSelector {
        TopicSelector::from_regex(pattern).expect("legal regex")
    }

    #[test]
    fn patterns_take_whole_names() {
        assert!(glob("orders-*").matches("orders-eu"));
        assert!(!glob("orders-*").matches("my-orders-eu"));
        assert!(glob("{a,b}[0-9]?").matches("b7x"));
        assert!(glob("*").matches(".hidden"));
        assert!(regex("eu-[a-z]+|us").matches("us"));
        assert!(!regex("eu-[a-z]+|us").matches("us-east"));
        assert!(!regex("orders").matches("orders\n"));
        assert!(TopicSelector::from_regex("a)(b").is_err());
    }

    #[test]
    fn internal_topics_match_no_pattern_but_their_own_name() {
        for topic in [
            "__consumer_offsets",
            "_schemas",
            "connect-offsets",
            "_kmirror.links",
        ] {
            assert!(!glob("*").matches(topic));
            assert!(!regex(".*").matches(topic));
            assert!(!glob("[_c]*").matches(topic));
            assert!(glob(topic).matches(topic));
        }
    }

    #[test]
    fn a_selector_survives_the_control_records() {
        for selector in [glob("orders"), glob("orders-*"), regex("orders-.*")] {
            let json = serde_json::to_string(&selector).expect("serialises");
            let back: TopicSelector = serde_json::from_str(&json).expect("deserialises");
            assert_eq!(back, selector);
        }
        assert_eq!(
            serde_json::to_string(&regex("a+")).expect("serialises"),
            r#"{"regex":"a+"}"#
        );
        assert!(serde_json::from_str::<TopicSelector>(r#"{"regex":"("}"#).is_err());
    }
}
