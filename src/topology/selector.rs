//! Which topics a link takes and what they are called at the destination.
//!
//! Both types have one serialised form, used in the control records: the way they are written in
//! the file (a string for names and globs, `{ regex = … }` otherwise).

use globset::{Glob, GlobMatcher};
use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

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
        // Compiled alone first: `a)(b` must not become legal through the group around it.
        Regex::new(pattern)?;
        let regex = Regex::new(&format!("^(?:{pattern})$"))?;
        Ok(Self::Regex {
            pattern: pattern.to_owned(),
            regex,
        })
    }

    /// Whether this selector takes the topic.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Name(name) => name == topic,
            Self::Glob { matcher, .. } => matcher.is_match(topic),
            Self::Regex { regex, .. } => regex.is_match(topic),
        }
    }
}

/// The link's rule for destination names.
#[derive(Clone, Debug)]
pub enum RenameRule {
    /// Same name as at the source.
    Keep,
    /// `"${topic}.replica"`.
    Template(String),
    /// `{ prefix = "east." }`.
    Prefix(String),
    /// `[{ regex = "^prod-(.*)$", to = "dr-$1" }]`: the first that matches wins, none keeps the name.
    Rules(Vec<RenameByRegex>),
}

#[derive(Clone, Debug)]
pub struct RenameByRegex {
    pub regex: Regex,
    /// With `${name}` or `${1}` for groups.
    pub to: String,
}

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

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum RenameForm {
    Keep(()),
    Template(String),
    Prefix { prefix: String },
    Rules(Vec<RenameRuleForm>),
}

#[derive(Serialize, Deserialize)]
struct RenameRuleForm {
    regex: String,
    to: String,
}

impl Serialize for RenameRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep => RenameForm::Keep(()),
            Self::Template(template) => RenameForm::Template(template.clone()),
            Self::Prefix(prefix) => RenameForm::Prefix {
                prefix: prefix.clone(),
            },
            Self::Rules(rules) => RenameForm::Rules(
                rules
                    .iter()
                    .map(|rule| RenameRuleForm {
                        regex: rule.regex.as_str().to_owned(),
                        to: rule.to.clone(),
                    })
                    .collect(),
            ),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RenameRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match RenameForm::deserialize(deserializer)? {
            RenameForm::Keep(()) => Self::Keep,
            RenameForm::Template(template) => Self::Template(template),
            RenameForm::Prefix { prefix } => Self::Prefix(prefix),
            RenameForm::Rules(rules) => Self::Rules(
                rules
                    .into_iter()
                    .map(|rule| {
                        Ok(RenameByRegex {
                            regex: Regex::new(&rule.regex).map_err(D::Error::custom)?,
                            to: rule.to,
                        })
                    })
                    .collect::<Result<_, D::Error>>()?,
            ),
        })
    }
}
