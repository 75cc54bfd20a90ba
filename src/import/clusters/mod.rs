//! What is copied from one live cluster to another.
//!
//! Links of kmirror's own are on the destination as they were applied, and those records are the
//! truth. What other tools copied is found by names first ([`candidates`]: the same, or one that
//! contains the other) and then by content ([`sample`]): samples of records at several places have to
//! be equal. [`look`] asks the clusters; what is decided here is pure.

pub mod look;
mod sample;

use std::collections::{BTreeMap, BTreeSet};

use super::model::{
    ClusterDraft, Draft, Finding, LinkDraft, MirrorDraft, OwnedDraft, Place, Rename, Selector,
    StartDraft, StateDraft,
};
use crate::control::records::{
    Acks, DesiredState, ForeignWrites, HolePolicy, LinkRecord, MirrorRecord, MirrorSettings,
    OffsetsSpec, OnHole, StartSpec, TimestampsSpec, WantedState,
};
use crate::topology::names;
use crate::topology::rename::RenameRule;
use crate::topology::selector::TopicSelector;

/// Names under which the two clusters stand in the file.
pub const SOURCE: &str = "source";
pub const DESTINATION: &str = "destination";

/// Topics of the destination that one topic of the source is compared with.
const MOST_FOR_ONE: usize = 20;
/// Pairs that are compared in all.
const MOST_PAIRS: usize = 5_000;
/// Names in a message.
const MOST_NAMES: usize = 10;

/// What was seen of both clusters.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub source: ClusterSeen,
    pub destination: ClusterSeen,
    /// kmirror's own, all of those on the destination.
    pub links: Vec<LinkRecord>,
    pub mirrors: Vec<MirrorRecord>,
    pub compared: Vec<(Pair, Verdict)>,
    /// Pairs that were left out because there are too many.
    pub left_out: usize,
    /// Topics to own whose configs were refused, with the broker's own words.
    pub without_configs: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default)]
pub struct ClusterSeen {
    pub id: String,
    pub topics: BTreeMap<String, TopicSeen>,
    /// Topics that the file is to own.
    pub owned: BTreeMap<String, OwnedDraft>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSeen {
    pub partitions: i32,
    pub replication_factor: i16,
}

/// A topic of the source and one of the destination that may be its copy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// What stands before and after the source's name.
    pub affixes: (String, String),
    pub source: String,
    pub destination: String,
}

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Equal at so many places.
    Copy(usize),
    /// A sample of the destination is not in the source.
    Other,
    /// There was nothing to compare.
    Nothing,
    /// A broker's own words.
    Refused(String),
}

impl Seen {
    /// kmirror's own links from this source.
    fn own_links(&self) -> impl Iterator<Item = &LinkRecord> {
        self.links
            .iter()
            .filter(|link| link.source_cluster_id == self.source.id)
    }

    /// Whether a topic of the destination belongs to a mirror of kmirror's, from wherever it comes.
    fn is_own_mirror(&self, destination: &str) -> bool {
        self.mirrors
            .iter()
            .any(|mirror| mirror.destination_topic == destination)
    }
}

/// The pairs that are worth comparing, and how many were left out.
pub fn candidates(seen: &Seen, patterns: &[TopicSelector]) -> (Vec<Pair>, usize) {
    let is_wanted = |topic: &str| {
        let is_matched =
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(topic));
        is_matched && !names::is_internal(topic)
    };
    let destinations: Vec<(&String, &TopicSeen)> = seen
        .destination
        .topics
        .iter()
        .filter(|(name, _)| !names::is_internal(name) && !seen.is_own_mirror(name))
        .collect();
    let (mut pairs, mut left_out) = (Vec::new(), 0);
    for (source, topic) in seen
        .source
        .topics
        .iter()
        .filter(|(name, _)| is_wanted(name))
    {
        let mut found: Vec<Pair> = destinations
            .iter()
            .filter(|(_, other)| other.partitions == topic.partitions)
            .filter_map(|(name, _)| pair(source, name))
            .collect();
        // The closest name first.
        found.sort_by_key(|pair| pair.destination.len());
        left_out += found.len().saturating_sub(MOST_FOR_ONE);
        pairs.extend(found.into_iter().take(MOST_FOR_ONE));
    }
    left_out += pairs.len().saturating_sub(MOST_PAIRS);
    pairs.truncate(MOST_PAIRS);
    (pairs, left_out)
}

fn pair(source: &str, destination: &str) -> Option<Pair> {
    let at = destination.find(source)?;
    let before = destination[..at].to_owned();
    let after = destination[at + source.len()..].to_owned();
    Some(Pair {
        affixes: (before, after),
        source: source.to_owned(),
        destination: destination.to_owned(),
    })
}

/// The topology of what was seen. `clusters` say how the two are reached.
pub fn draft(clusters: [ClusterDraft; 2], seen: &Seen) -> Draft {
    let [mut source, mut destination] = clusters;
    source.cluster_id = Some(seen.source.id.clone());
    destination.cluster_id = Some(seen.destination.id.clone());
    source.topics = owned(&seen.source);
    destination.topics = owned(&seen.destination);
    let copies = copies(seen);
    let mut draft = Draft {
        header: header(seen, copies.len()),
        clusters: vec![source, destination],
        ..Draft::default()
    };
    for record in seen.own_links() {
        draft.add_link(applied(record));
    }
    for record in &seen.links {
        if record.source_cluster_id != seen.source.id {
            let why = format!(
                "the link `{}` comes from another cluster, {}",
                record.name, record.source_cluster_id
            );
            let finding = Finding::lost("_kmirror.links", destination_place(), why);
            let instead = "import it with that cluster as --source, and put both files together";
            draft.findings.push(finding.instead(instead));
        }
    }
    let mut by_rule: BTreeMap<&(String, String), Vec<&Pair>> = BTreeMap::new();
    for pair in &copies {
        by_rule.entry(&pair.affixes).or_default().push(pair);
    }
    for (affixes, pairs) in by_rule {
        draft.add_link(found(affixes, &pairs, seen));
    }
    draft.findings.extend(doubts(seen, &copies));
    if draft.links.is_empty() {
        let why = "nothing was found that is copied from one to the other";
        let finding = Finding::lost("links", destination_place(), why);
        draft
            .findings
            .push(finding.instead("write the link by hand, if there is to be one"));
    }
    draft
}

fn destination_place() -> Place {
    Place::Remote(DESTINATION.to_owned())
}

fn owned(cluster: &ClusterSeen) -> indexmap::IndexMap<String, OwnedDraft> {
    let topics = cluster.owned.iter();
    topics
        .map(|(name, topic)| (name.clone(), topic.clone()))
        .collect()
}

fn header(seen: &Seen, copies: usize) -> Vec<String> {
    let mut lines = vec![
        "What is copied from one cluster to another, as `kmirror import` found it there."
            .to_owned(),
    ];
    if seen.own_links().next().is_some() {
        lines.push(String::new());
        lines.push("Links that kmirror carries out are as they were applied.".to_owned());
    }
    if copies > 0 {
        lines.push(String::new());
        let which = if lines.len() > 2 {
            "The other links"
        } else {
            "The links"
        };
        lines.push(format!(
            "{which} were found by samples: at several places, records of the destination are those of the \
             source. kmirror did not write them, so `kmirror plan` blocks these mirrors and says what to do."
        ));
    }
    lines
}

/// Copies, no two of which end in one topic.
fn copies(seen: &Seen) -> Vec<Pair> {
    let mut closest: BTreeMap<&str, &Pair> = BTreeMap::new();
    for (pair, verdict) in &seen.compared {
        if !matches!(verdict, Verdict::Copy(_)) {
            continue;
        }
        let held = closest.entry(&pair.destination).or_insert(pair);
        if pair.source.len() > held.source.len() {
            *held = pair;
        }
    }
    let mut copies: Vec<Pair> = closest.into_values().cloned().collect();
    copies.sort();
    copies
}

/// A link as it was applied.
fn applied(record: &LinkRecord) -> LinkDraft {
    LinkDraft {
        name: record.name.clone(),
        source: SOURCE.to_owned(),
        destination: DESTINATION.to_owned(),
        topics: record.topics.iter().map(selector).collect(),
        exclude: record.exclude.iter().map(selector).collect(),
        rename: match &record.rename {
            RenameRule::Keep => None,
            RenameRule::Template(template) => Some(Rename::Template(template.clone())),
            RenameRule::Prefix(prefix) => Some(Rename::Prefix(prefix.clone())),
            RenameRule::Rules(rules) => {
                let rules = rules
                    .iter()
                    .map(|rule| (rule.pattern().to_owned(), rule.to().to_owned()));
                Some(Rename::Rules(rules.collect()))
            }
        },
        auto_create: (!record.auto_create).then_some(false),
        start: match record.start {
            StartSpec::Earliest => None,
            StartSpec::Latest => Some(StartDraft::Latest),
            StartSpec::Timestamp(time) => jiff::Timestamp::from_millisecond(time)
                .ok()
                .map(|time| StartDraft::Time(time.to_string())),
        },
        original_timestamps: record.timestamps == TimestampsSpec::Original,
        translated_offsets: record.offsets == OffsetsSpec::Translate,
        on_hole: on_hole(record.offsets),
        replication_factor: record.replication_factor,
        bytes_per_second: record.bytes_per_second,
        acks_one: record.acks == Acks::Leader,
        shared_topics: record.on_foreign_write == ForeignWrites::Translate,
        provenance_header: record.provenance_header,
        paused: record.state == DesiredState::Paused,
        mirrors: record
            .mirrors
            .iter()
            .map(|(topic, settings)| (topic.clone(), mirror(settings)))
            .collect(),
        findings: Vec::new(),
    }
}

fn on_hole(offsets: OffsetsSpec) -> Option<(i64, &'static str)> {
    match offsets {
        OffsetsSpec::Preserve { on_hole } if on_hole != HolePolicy::default() => {
            let then = match on_hole.then {
                OnHole::Stop => "stop",
                OnHole::Translate => "translate",
            };
            Some((on_hole.larger_than, then))
        }
        _ => None,
    }
}

fn mirror(settings: &MirrorSettings) -> MirrorDraft {
    MirrorDraft {
        rename_to: settings.rename_to.clone(),
        state: settings.state.map(|state| match state {
            WantedState::Active => StateDraft::Active,
            WantedState::Paused => StateDraft::Paused,
            WantedState::Absent => StateDraft::Absent,
            WantedState::Promoted => StateDraft::Promoted,
            WantedState::FailedOver => StateDraft::FailedOver,
        }),
        replication_factor: settings.replication_factor,
        config: settings.config.clone(),
        findings: Vec::new(),
    }
}

fn selector(selector: &TopicSelector) -> Selector {
    match selector {
        TopicSelector::Name(name) => Selector::Name(name.clone()),
        TopicSelector::Glob { pattern, .. } => Selector::Glob(pattern.clone()),
        TopicSelector::Regex { pattern, .. } => Selector::Regex(pattern.clone()),
    }
}

/// A link for copies under one rule.
fn found(affixes: &(String, String), pairs: &[&Pair], seen: &Seen) -> LinkDraft {
    let rename = match affixes {
        (before, after) if before.is_empty() && after.is_empty() => None,
        (before, after) if after.is_empty() => Some(Rename::Prefix(before.clone())),
        (before, after) => Some(Rename::Template(format!("{before}${{topic}}{after}"))),
    };
    let factors = |pair: &Pair| {
        let source = seen.source.topics.get(&pair.source)?.replication_factor;
        let destination = seen
            .destination
            .topics
            .get(&pair.destination)?
            .replication_factor;
        Some((source, destination))
    };
    let all: BTreeSet<i16> = pairs
        .iter()
        .filter_map(|pair| Some(factors(pair)?.1))
        .collect();
    let differs = pairs
        .iter()
        .any(|pair| factors(pair).is_some_and(|(source, destination)| source != destination));
    // One factor for all, or each its own.
    let shared = all
        .iter()
        .next()
        .copied()
        .filter(|_| differs && all.len() == 1);
    let mut mirrors = indexmap::IndexMap::new();
    for pair in pairs {
        if let Some((source, destination)) = factors(pair).filter(|_| shared.is_none())
            && source != destination
        {
            let made = MirrorDraft {
                replication_factor: Some(destination),
                ..MirrorDraft::default()
            };
            mirrors.insert(pair.source.clone(), made);
        }
    }
    let topics = pairs
        .iter()
        .filter(|pair| !mirrors.contains_key(&pair.source))
        .map(|pair| Selector::Name(pair.source.clone()));
    LinkDraft {
        name: format!("{SOURCE}-to-{DESTINATION}"),
        source: SOURCE.to_owned(),
        destination: DESTINATION.to_owned(),
        topics: topics.collect(),
        rename,
        replication_factor: shared,
        mirrors,
        ..LinkDraft::default()
    }
}

/// What is not known for certain.
fn doubts(seen: &Seen, copies: &[Pair]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of = |wanted: fn(&Verdict) -> bool| -> Vec<&str> {
        seen.compared
            .iter()
            // Of other names, most have nothing to do with each other.
            .filter(|(pair, verdict)| pair.source == pair.destination && wanted(verdict))
            .map(|(pair, _)| pair.source.as_str())
            .collect()
    };
    let nothing = of(|verdict| *verdict == Verdict::Nothing);
    if !nothing.is_empty() {
        let why = format!(
            "there is nothing to compare in topics that both clusters have: {}",
            listed(&nothing)
        );
        let finding = Finding::lost("topics", destination_place(), why);
        findings.push(finding.instead("add them to `topics` if they are copies"));
    }
    let other = of(|verdict| *verdict == Verdict::Other);
    if !other.is_empty() {
        let why = format!(
            "topics that both clusters have hold different records: {}",
            listed(&other)
        );
        findings.push(Finding::unneeded("topics", destination_place(), why));
    }
    for (pair, verdict) in &seen.compared {
        if let Verdict::Refused(cause) = verdict {
            let why = format!(
                "`{}` cannot be compared with `{}`: {cause}",
                pair.source, pair.destination
            );
            let finding = Finding::lost("topics", destination_place(), why);
            findings.push(finding.instead(
                "import again with the right to read both, or add it to `topics` if it is a copy",
            ));
        }
    }
    for (topic, cause) in &seen.without_configs {
        let why =
            format!("the configs of `{topic}`, which the file is to own, are not known: {cause}");
        let finding = Finding::lost("--own", Place::CommandLine, why);
        findings
            .push(finding.instead(
                "write those that matter, or import again with the right DescribeConfigs",
            ));
    }
    if seen.left_out > 0 {
        let why = format!(
            "{} pairs of topics with similar names were not compared; {} copies were found among the others",
            seen.left_out,
            copies.len()
        );
        let finding = Finding::lost("topics", destination_place(), why);
        findings.push(finding.instead("import again with --topics for a part of them"));
    }
    findings
}

fn listed(names: &[&str]) -> String {
    let mut text = names
        .iter()
        .take(MOST_NAMES)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > MOST_NAMES {
        text.push_str(&format!(" and {} more", names.len() - MOST_NAMES));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(source: &[(&str, i32)], destination: &[(&str, i32)]) -> Seen {
        let cluster = |id: &str, topics: &[(&str, i32)]| ClusterSeen {
            id: id.to_owned(),
            topics: topics
                .iter()
                .map(|(name, partitions)| {
                    let topic = TopicSeen {
                        partitions: *partitions,
                        replication_factor: 3,
                    };
                    ((*name).to_owned(), topic)
                })
                .collect(),
            ..ClusterSeen::default()
        };
        Seen {
            source: cluster("s", source),
            destination: cluster("d", destination),
            ..Seen::default()
        }
    }

    fn clusters() -> [ClusterDraft; 2] {
        [SOURCE, DESTINATION].map(|name| Draft::default().new_cluster(name))
    }

    #[test]
    fn only_topics_that_can_be_copies_are_compared() {
        let seen = seen(
            &[("orders", 3), ("audit", 1), ("__consumer_offsets", 50)],
            &[
                ("orders", 3),
                ("dr-orders.x", 3),
                ("audit", 2),
                ("other", 3),
                ("__consumer_offsets", 50),
            ],
        );
        let names = |patterns: &[TopicSelector]| -> Vec<String> {
            let (pairs, left_out) = candidates(&seen, patterns);
            assert_eq!(left_out, 0);
            pairs.into_iter().map(|pair| pair.destination).collect()
        };
        assert_eq!(names(&[]), ["orders", "dr-orders.x"]);
        let pattern = TopicSelector::from_text("a*").expect("a glob");
        assert_eq!(names(&[pattern]), [""; 0]);
    }

    #[test]
    fn copies_under_one_rule_are_one_link_and_no_topic_is_filled_twice() {
        let mut seen = seen(
            &[("orders", 1), ("orders-eu", 1), ("audit", 1)],
            &[("dr-orders", 1), ("dr-orders-eu", 1), ("audit.copy", 1)],
        );
        let (pairs, _) = candidates(&seen, &[]);
        // `dr-orders-eu` may be a copy of `orders`, too, by its name.
        assert_eq!(pairs.len(), 4);
        seen.compared = pairs
            .into_iter()
            .map(|pair| (pair, Verdict::Copy(3)))
            .collect();
        let draft = draft(clusters(), &seen);
        let rules: Vec<_> = draft
            .links
            .iter()
            .map(|link| (link.name.as_str(), link.rename.clone(), link.topics.len()))
            .collect();
        assert_eq!(
            rules,
            [
                (
                    "source-to-destination",
                    Some(Rename::Template("${topic}.copy".to_owned())),
                    1
                ),
                (
                    "source-to-destination-2",
                    Some(Rename::Prefix("dr-".to_owned())),
                    2
                ),
            ]
        );
        assert_eq!(draft.findings().count(), 0);
    }

    #[test]
    fn what_is_not_certain_is_told() {
        let mut seen = seen(&[("a", 1), ("b", 1)], &[("a", 1), ("b", 1), ("ab", 1)]);
        let (pairs, _) = candidates(&seen, &[]);
        let verdict = |pair: &Pair| match (pair.source.as_str(), pair.destination.as_str()) {
            ("a", "a") => Verdict::Nothing,
            ("b", "b") => Verdict::Refused("no".to_owned()),
            _ => Verdict::Other,
        };
        seen.compared = pairs
            .into_iter()
            .map(|pair| (pair.clone(), verdict(&pair)))
            .collect();
        seen.left_out = 7;
        seen.without_configs = vec![("a".to_owned(), "no".to_owned())];
        let draft = draft(clusters(), &seen);
        assert!(draft.links.is_empty());
        assert_eq!(draft.findings().count(), 5);
    }

    #[test]
    fn a_replication_factor_that_differs_is_kept() {
        let mut seen = seen(&[("a", 1), ("b", 1)], &[("a", 1), ("b", 1)]);
        let (pairs, _) = candidates(&seen, &[]);
        seen.compared = pairs
            .into_iter()
            .map(|pair| (pair, Verdict::Copy(1)))
            .collect();
        let set = |seen: &mut Seen, topic: &str, factor: i16| {
            let topic = seen.destination.topics.get_mut(topic).expect("is there");
            topic.replication_factor = factor;
        };
        set(&mut seen, "a", 1);
        let link = &draft(clusters(), &seen).links[0];
        assert_eq!(
            (
                link.replication_factor,
                link.mirrors["a"].replication_factor
            ),
            (None, Some(1))
        );
        set(&mut seen, "b", 1);
        let link = &draft(clusters(), &seen).links[0];
        assert_eq!((link.replication_factor, link.mirrors.len()), (Some(1), 0));
    }
}
