//! What a topic is called at the destination.
//!
//! In templates and in the `to` of rules only `${…}` is special; a bare `$` is refused, because it
//! is no legal character of a topic name and `$1` most likely means `${1}`. A rule's regex has to
//! match the whole topic name, as the regexes of `topics` do.

use std::ops::Range;

use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::names;

/// The one placeholder of a template.
pub const TOPIC: &str = "topic";

/// The link's rule for destination names.
#[derive(Clone, Debug)]
pub enum RenameRule {
    /// Same name as at the source.
    Keep,
    /// `"${topic}.replica"`.
    Template(String),
    /// `{ prefix = "east." }`.
    Prefix(String),
    /// `[{ regex = "prod-(.*)", to = "dr-${1}" }]`: the first that matches wins, none keeps the name.
    Rules(Vec<RenameByRegex>),
}

/// A rule whose placeholders are known to be groups of its regex.
#[derive(Clone, Debug)]
pub struct RenameByRegex {
    pattern: String,
    regex: Regex,
    to: String,
}

/// A topic that cannot be called what the rule makes of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenameError {
    #[error("`{destination}` is no legal topic name: {why}")]
    Illegal { destination: String, why: String },
    #[error("`{destination}` is reserved: {}", reserved_for(destination))]
    Reserved { destination: String },
    #[error("{0}")]
    Placeholder(#[from] PlaceholderError),
}

/// A `$` that means nothing. The range is in bytes of the template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct PlaceholderError {
    pub range: Range<usize>,
    pub problem: PlaceholderProblem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderProblem {
    #[error("a placeholder is written `${{{0}}}`")]
    Bare(String),
    #[error("`${{` without `}}`")]
    Unclosed,
    #[error("`${{{0}}}` is unknown here")]
    Unknown(String),
}

/// Why a rename rule cannot be built.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RuleError {
    #[error(transparent)]
    Regex(#[from] regex::Error),
    #[error(transparent)]
    Placeholder(#[from] PlaceholderError),
}

impl RenameRule {
    /// The topic's name at the destination.
    ///
    /// # Errors
    /// A name that brokers refuse, or that is reserved.
    pub fn apply(&self, topic: &str) -> Result<String, RenameError> {
        let destination = match self {
            Self::Keep => topic.to_owned(),
            Self::Prefix(prefix) => format!("{prefix}{topic}"),
            Self::Template(template) => expand(template, |name| (name == TOPIC).then_some(topic))?,
            Self::Rules(rules) => {
                for rule in rules {
                    if let Some(destination) = rule.apply(topic)? {
                        return check(destination);
                    }
                }
                topic.to_owned()
            }
        };
        check(destination)
    }
}

impl RenameByRegex {
    /// Checks the regex, and the placeholders against its groups.
    ///
    /// # Errors
    /// The regex's own complaint, or the placeholder that is no group.
    pub fn new(pattern: &str, to: &str) -> Result<Self, RuleError> {
        let regex = whole(pattern)?;
        expand(to, |name| {
            let known = match name.parse::<usize>() {
                Ok(index) => index < regex.captures_len(),
                Err(_) => regex.capture_names().flatten().any(|group| group == name),
            };
            known.then_some("")
        })?;
        Ok(Self {
            pattern: pattern.to_owned(),
            regex,
            to: to.to_owned(),
        })
    }

    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    pub fn to(&self) -> &str {
        &self.to
    }

    /// `${…}` names that `to` may use, without group 0.
    pub fn groups(pattern: &str) -> Vec<String> {
        let Ok(regex) = whole(pattern) else {
            return Vec::new();
        };
        regex
            .capture_names()
            .enumerate()
            .skip(1)
            .map(|(index, name)| name.map_or_else(|| index.to_string(), str::to_owned))
            .collect()
    }

    fn apply(&self, topic: &str) -> Result<Option<String>, PlaceholderError> {
        let Some(captures) = self.regex.captures(topic) else {
            return Ok(None);
        };
        expand(&self.to, |name| {
            let group = match name.parse::<usize>() {
                Ok(index) => captures.get(index),
                Err(_) => captures.name(name),
            };
            // A group that exists and took no part in the match stands for nothing.
            Some(group.map_or("", |group| group.as_str()))
        })
        .map(Some)
    }
}

/// Compiles `pattern` so that it has to match the whole name.
///
/// # Errors
/// The regex's own complaint.
pub(super) fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    // Compiled alone first: `a)(b` must not become legal through the group around it.
    Regex::new(pattern)?;
    Regex::new(&format!("^(?:{pattern})$"))
}

/// Whether a name may be a mirror's destination.
///
/// # Errors
/// Why it may not.
pub fn check(destination: String) -> Result<String, RenameError> {
    if let Err(why) = names::validate_topic_name(&destination) {
        return Err(RenameError::Illegal { destination, why });
    }
    if names::is_reserved_at_destination(&destination) {
        return Err(RenameError::Reserved { destination });
    }
    Ok(destination)
}

fn reserved_for(destination: &str) -> &'static str {
    if names::is_never_mirrored(destination) {
        "it holds the state of the cluster's own brokers"
    } else {
        "names that start with `_kmirror.` are kmirror's own"
    }
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'t> {
    Text(&'t str),
    /// The name between `${` and `}`, and the bytes of the whole placeholder.
    Placeholder(&'t str, Range<usize>),
}

/// Cuts a template into its pieces.
///
/// # Errors
/// The first `$` that starts no placeholder.
pub fn pieces(template: &str) -> Result<Vec<Piece<'_>>, PlaceholderError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(dollar) = template[at..].find('$').map(|found| at + found) {
        if dollar > at {
            pieces.push(Piece::Text(&template[at..dollar]));
        }
        let rest = &template[dollar + 1..];
        let Some(body) = rest.strip_prefix('{') else {
            let name: &str = &rest[..rest
                .find(|char: char| !char.is_ascii_alphanumeric() && char != '_')
                .unwrap_or(rest.len())];
            let range = dollar..dollar + 1 + name.len();
            let shown = if name.is_empty() { TOPIC } else { name };
            return Err(PlaceholderError {
                range,
                problem: PlaceholderProblem::Bare(shown.to_owned()),
            });
        };
        let Some(length) = body.find('}') else {
            return Err(PlaceholderError {
                range: dollar..template.len(),
                problem: PlaceholderProblem::Unclosed,
            });
        };
        // `${`, the name, `}`.
        at = dollar + 2 + length + 1;
        pieces.push(Piece::Placeholder(&body[..length], dollar..at));
    }
    if at < template.len() {
        pieces.push(Piece::Text(&template[at..]));
    }
    Ok(pieces)
}

fn expand<'v>(
    template: &str,
    value: impl Fn(&str) -> Option<&'v str>,
) -> Result<String, PlaceholderError> {
    let mut expanded = String::new();
    for piece in pieces(template)? {
        match piece {
            Piece::Text(text) => expanded.push_str(text),
            Piece::Placeholder(name, range) => {
                expanded.push_str(value(name).ok_or_else(|| PlaceholderError {
                    range,
                    problem: PlaceholderProblem::Unknown(name.to_owned()),
                })?);
            }
        }
    }
    Ok(expanded)
}

/// The serialised form: as it is written in the file, and null for "keep the name".
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Keep(()),
    Template(String),
    Prefix { prefix: String },
    Rules(Vec<RuleForm>),
}

#[derive(Serialize, Deserialize)]
struct RuleForm {
    regex: String,
    to: String,
}

impl Serialize for RenameRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep => Form::Keep(()),
            Self::Template(template) => Form::Template(template.clone()),
            Self::Prefix(prefix) => Form::Prefix {
                prefix: prefix.clone(),
            },
            Self::Rules(rules) => Form::Rules(
                rules
                    .iter()
                    .map(|rule| RuleForm {
                        regex: rule.pattern.clone(),
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
        Ok(match Form::deserialize(deserializer)? {
            Form::Keep(()) => Self::Keep,
            Form::Template(template) => Self::Template(template),
            Form::Prefix { prefix } => Self::Prefix(prefix),
            Form::Rules(rules) => Self::Rules(
                rules
                    .iter()
                    .map(|rule| RenameByRegex::new(&rule.regex, &rule.to))
                    .collect::<Result<_, _>>()
                    .map_err(D::Error::custom)?,
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(rules: &[(&str, &str)]) -> RenameRule {
        RenameRule::Rules(
            rules
                .iter()
                .map(|(regex, to)| RenameByRegex::new(regex, to).expect("legal rule"))
                .collect(),
        )
    }

    #[test]
    fn each_kind_of_rule_names_the_destination() {
        let template = RenameRule::Template("${topic}.replica".to_owned());
        assert_eq!(
            template.apply("test-topic"),
            Ok("test-topic.replica".into())
        );
        let prefix = RenameRule::Prefix("east.".to_owned());
        assert_eq!(prefix.apply("orders"), Ok("east.orders".into()));
        assert_eq!(RenameRule::Keep.apply("orders"), Ok("orders".into()));
        let by_regex = rules(&[
            (r"prod-(?<rest>.*)", "dr-${rest}"),
            (r"(.)(.*)", "${2}-${1}"),
        ]);
        assert_eq!(by_regex.apply("prod-orders"), Ok("dr-orders".into()));
        assert_eq!(by_regex.apply("orders"), Ok("rders-o".into()));
    }

    #[test]
    fn a_rule_that_matches_only_a_part_of_the_name_does_not_apply() {
        let rule = rules(&[("prod", "dr")]);
        assert_eq!(rule.apply("my-prod-x"), Ok("my-prod-x".into()));
        assert_eq!(rule.apply("prod"), Ok("dr".into()));
    }

    #[test]
    fn a_dollar_that_means_nothing_is_refused_with_its_place() {
        let error = |to| match RenameByRegex::new("a(b)", to).expect_err(to) {
            RuleError::Placeholder(error) => error,
            RuleError::Regex(error) => panic!("{error}"),
        };
        assert_eq!(error("dr-$1").range, 3..5);
        assert_eq!(error("dr-$1").problem, PlaceholderProblem::Bare("1".into()));
        assert_eq!(error("x${2}").range, 1..5);
        assert_eq!(
            error("x${2}").problem,
            PlaceholderProblem::Unknown("2".into())
        );
        assert_eq!(error("x${1").problem, PlaceholderProblem::Unclosed);
        assert_eq!(error("$ä").range, 0..1);
        assert!(RenameByRegex::new("a(b)", "${0}${1}").is_ok());
    }

    #[test]
    fn illegal_and_reserved_destinations_are_refused() {
        let prefix = |text: &str| RenameRule::Prefix(text.to_owned());
        assert!(matches!(
            prefix("a b").apply("x"),
            Err(RenameError::Illegal { .. })
        ));
        assert!(matches!(
            prefix("_kmirror.").apply("x"),
            Err(RenameError::Reserved { .. })
        ));
        assert!(matches!(
            prefix("__consumer").apply("_offsets"),
            Err(RenameError::Reserved { .. })
        ));
        assert!(rules(&[("(a)|b", "${1}")]).apply("b").is_err());
    }

    #[test]
    fn a_rule_survives_the_control_records() {
        for rule in [
            RenameRule::Keep,
            RenameRule::Template("${topic}.r".into()),
            RenameRule::Prefix("p.".into()),
            rules(&[("prod-(.*)", "dr-${1}")]),
        ] {
            let json = serde_json::to_string(&rule).expect("serialises");
            let back: RenameRule = serde_json::from_str(&json).expect("deserialises");
            assert_eq!(serde_json::to_string(&back).expect("serialises"), json);
            assert_eq!(back.apply("prod-x"), rule.apply("prod-x"));
        }
        let bad = r#"[{"regex":"a","to":"${7}"}]"#;
        assert!(serde_json::from_str::<RenameRule>(bad).is_err());
    }
}
