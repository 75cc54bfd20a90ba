//! A link's rule applied to the topics that exist at the source.
//!
//! Planning and workers resolve alike: one from the file, the others from the link's record. The
//! result does not depend on the order in which topics are given.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use crate::control::records::{LinkRecord, Owner, WantedState};

use super::model::{Link, MirrorState, Span};
use super::names;
use super::rename::{self, RenameError, RenameRule};
use super::selector::TopicSelector;

/// Which topics a link takes and what it calls them.
#[derive(Clone, Debug)]
pub struct LinkRule<'a> {
    /// Topics named literally, in `topics` or as a mirror of their own.
    literals: HashMap<&'a str, Option<Span>>,
    patterns: Vec<(&'a TopicSelector, Option<Span>)>,
    exclude: Vec<&'a TopicSelector>,
    rename: &'a RenameRule,
    /// Explicit destination names by source topic.
    renamed: HashMap<&'a str, &'a str>,
    /// Topics of which there is to be no mirror.
    absent: HashSet<&'a str>,
    /// Topics that `exclude` does not leave out.
    asked_for: HashSet<&'a str>,
}

/// Why a link takes a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The place that asked for it; `None` when the rule came from a record.
    pub span: Option<Span>,
    /// Whether the topic was named, not matched by a pattern.
    pub literal: bool,
}

/// One topic that a link takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedMirror {
    pub source: String,
    pub destination: String,
    /// The place that asked for it; `None` when the rule came from a record.
    pub asked_by: Option<Span>,
}

/// A topic that the link names and the source does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsentLiteral {
    pub topic: String,
    pub asked_by: Option<Span>,
}

/// Topics that are taken and cannot be mirrored as asked. They are not among the mirrors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Several source topics would end in one destination topic, or in topics whose names brokers
    /// hold to be the same.
    SameDestination { mirrors: Vec<ResolvedMirror> },
    /// The rename rule makes no usable name of the topic's.
    Unnameable {
        topic: String,
        asked_by: Option<Span>,
        error: RenameError,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameDestination { mirrors } => {
                let sources: Vec<_> = mirrors
                    .iter()
                    .map(|mirror| format!("`{}`", mirror.source))
                    .collect();
                let targets: BTreeSet<_> = mirrors
                    .iter()
                    .map(|mirror| format!("`{}`", mirror.destination))
                    .collect();
                let targets: Vec<_> = targets.into_iter().collect();
                write!(f, "{} would end in one topic, ", sources.join(" and "))?;
                write!(f, "{}", targets.join(" = "))
            }
            Self::Unnameable { topic, error, .. } => write!(f, "`{topic}`: {error}"),
        }
    }
}

/// Everything a link's rule says about the topics of its source, sorted by source topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    pub mirrors: Vec<ResolvedMirror>,
    pub absent_literals: Vec<AbsentLiteral>,
    pub conflicts: Vec<Conflict>,
}

impl<'a> From<&'a Link> for LinkRule<'a> {
    fn from(link: &'a Link) -> Self {
        let mut rule = Self::new(
            link.topics
                .iter()
                .map(|selector| (&selector.value, Some(selector.span))),
            link.exclude.iter().map(|selector| &selector.value),
            &link.rename,
        );
        for (topic, mirror) in &link.mirrors {
            rule.literals.insert(topic, Some(mirror.span));
            if let Some(name) = &mirror.rename_to {
                rule.renamed.insert(topic, &name.value);
            }
            if mirror
                .state
                .as_ref()
                .is_some_and(|state| state.value == MirrorState::Absent)
            {
                rule.absent.insert(topic);
            }
        }
        rule
    }
}

impl<'a> From<&'a LinkRecord> for LinkRule<'a> {
    fn from(link: &'a LinkRecord) -> Self {
        let mut rule = Self::new(
            link.topics.iter().map(|selector| (selector, None)),
            &link.exclude,
            &link.rename,
        );
        // Filters of a link that was made over REST say what it does by itself; a mirror that somebody asked for is made.
        if link.owner == Owner::Rest {
            rule.asked_for = link.mirrors.keys().map(String::as_str).collect();
        }
        for (topic, mirror) in &link.mirrors {
            rule.literals.insert(topic, None);
            if let Some(name) = &mirror.rename_to {
                rule.renamed.insert(topic, name);
            }
            if mirror.state == Some(WantedState::Absent) {
                rule.absent.insert(topic);
            }
        }
        rule
    }
}

impl<'a> LinkRule<'a> {
    fn new(
        topics: impl IntoIterator<Item = (&'a TopicSelector, Option<Span>)>,
        exclude: impl IntoIterator<Item = &'a TopicSelector>,
        rename: &'a RenameRule,
    ) -> Self {
        let mut literals = HashMap::new();
        let mut patterns = Vec::new();
        for (selector, span) in topics {
            match selector.as_name() {
                Some(name) => {
                    literals.entry(name).or_insert(span);
                }
                None => patterns.push((selector, span)),
            }
        }
        Self {
            literals,
            patterns,
            exclude: exclude.into_iter().collect(),
            rename,
            renamed: HashMap::new(),
            absent: HashSet::new(),
            asked_for: HashSet::new(),
        }
    }

    /// Whether the link takes a topic of this name, and why. `absent` wins over everything, and so does `exclude` but for
    /// mirrors that were asked for by name over REST.
    pub fn takes(&self, topic: &str) -> Option<Reason> {
        if names::is_never_mirrored(topic) || self.absent.contains(topic) {
            return None;
        }
        let reason = match self.literals.get(topic) {
            Some(&span) => Reason {
                span,
                literal: true,
            },
            None => {
                let (_, span) = self
                    .patterns
                    .iter()
                    .find(|(selector, _)| selector.matches(topic))?;
                Reason {
                    span: *span,
                    literal: false,
                }
            }
        };
        let excluded = self.exclude.iter().any(|selector| selector.matches(topic));
        let stays = !excluded || self.asked_for.contains(topic);
        stays.then_some(reason)
    }

    /// What the link calls the topic at the destination.
    ///
    /// # Errors
    /// A name that cannot be used.
    pub fn destination(&self, topic: &str) -> Result<String, RenameError> {
        match self.renamed.get(topic) {
            Some(name) => rename::check((*name).to_owned()),
            None => self.rename.apply(topic),
        }
    }

    /// The topics that the link names, in no particular order.
    pub fn literals(&self) -> impl Iterator<Item = &'a str> {
        self.literals.keys().copied()
    }
}

/// Applies the rule to the names of all topics at the source.
pub fn resolve_link<'t>(
    rule: &LinkRule<'_>,
    source_topics: impl Iterator<Item = &'t str>,
) -> Resolution {
    // Sorted and without duplicates, so that the result depends on nothing else.
    let topics: BTreeSet<&str> = source_topics.collect();
    let mut resolution = Resolution::default();
    let mut by_key: BTreeMap<String, Vec<ResolvedMirror>> = BTreeMap::new();
    for &topic in &topics {
        let Some(reason) = rule.takes(topic) else {
            continue;
        };
        match rule.destination(topic) {
            Ok(destination) => by_key
                .entry(names::collision_key(&destination))
                .or_default()
                .push(ResolvedMirror {
                    source: topic.to_owned(),
                    destination,
                    asked_by: reason.span,
                }),
            Err(error) => resolution.conflicts.push(Conflict::Unnameable {
                topic: topic.to_owned(),
                asked_by: reason.span,
                error,
            }),
        }
    }
    for mut mirrors in by_key.into_values() {
        if mirrors.len() == 1 {
            resolution.mirrors.append(&mut mirrors);
        } else {
            resolution
                .conflicts
                .push(Conflict::SameDestination { mirrors });
        }
    }
    resolution.mirrors.sort_by(|a, b| a.source.cmp(&b.source));
    resolution.absent_literals = absent(rule, &topics);
    resolution
}

fn absent(rule: &LinkRule<'_>, topics: &BTreeSet<&str>) -> Vec<AbsentLiteral> {
    let mut absent: Vec<_> = rule
        .literals()
        .filter(|topic| !topics.contains(topic))
        .filter_map(|topic| {
            rule.takes(topic).map(|reason| AbsentLiteral {
                topic: topic.to_owned(),
                asked_by: reason.span,
            })
        })
        .collect();
    absent.sort_by(|a, b| a.topic.cmp(&b.topic));
    absent
}
