//! Where topics end up when all links of the file are followed.
//!
//! Names that the file mentions are followed from cluster to cluster, and so are a few made-up
//! names for each pattern. Whatever comes back to where it was, or comes back under ever longer
//! names, is a loop, unless all links on the way mark records with where they came from; two ways into one topic are a conflict, and so is a way into a topic that the
//! file owns. A conflict between patterns that depends on what the source happens to have is left
//! to planning.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::examples;
use crate::topology::codes::Code;
use crate::topology::diagnostic::Diagnostic;
use crate::topology::model::{ForeignWrites, Link, OffsetsSpec, Span};
use crate::topology::names;
use crate::topology::read::{Draft, DraftLink};
use crate::topology::rename::RenameError;
use crate::topology::resolve::LinkRule;

/// Topics followed before the search gives up. A file that multiplies its topics to more than
/// this is judged by what was seen until then.
const MOST_TOPICS: usize = 100_000;
const LONGEST_PATH: usize = 100;
/// A link taken this often on one path feeds itself under ever new names.
const MOST_REPEATS: usize = 3;

/// Follows every name and reports what is wrong.
pub(super) fn check(draft: &Draft) -> Vec<Diagnostic> {
    let mut flow = Flow::new(draft);
    // Known names first: what is visited by a known name is not visited again by a made-up one.
    for (cluster, topic) in flow.known_topics() {
        flow.follow(&cluster, &topic, true, &mut Vec::new());
    }
    for (cluster, topic) in flow.example_topics() {
        flow.follow(&cluster, &topic, false, &mut Vec::new());
    }
    flow.check_arrivals();
    flow.found
}

struct Flow<'d> {
    draft: &'d Draft,
    links: Vec<(&'d DraftLink, LinkRule<'d>)>,
    /// Second and further names of a cluster, with its first.
    aliases: HashMap<&'d str, &'d str>,
    by_source: HashMap<&'d str, Vec<usize>>,
    visited: HashSet<(String, String)>,
    /// By destination cluster and collision key.
    arrivals: BTreeMap<(String, String), Vec<Arrival>>,
    /// Sets of links whose loop was reported.
    loops: BTreeSet<Vec<usize>>,
    found: Vec<Diagnostic>,
}

/// A topic that a link brings to its destination.
#[derive(Clone, Debug)]
struct Arrival {
    link: usize,
    source: String,
    destination: String,
    /// The place that asks for it.
    span: Span,
    /// Whether the source topic is mentioned in the file, not made up.
    known: bool,
}

/// A step of a path: the link, and the topic before it.
#[derive(Clone, Debug)]
struct Step {
    link: usize,
    cluster: String,
    topic: String,
    span: Span,
}

/// A path that comes back to its step `first`, or to one like it under a longer name.
struct Closed {
    first: usize,
    grows: bool,
}

impl<'d> Flow<'d> {
    fn new(draft: &'d Draft) -> Self {
        let links: Vec<_> = draft
            .links
            .iter()
            .filter(|link| link.names_known && link.source.is_some() && link.destination.is_some())
            .map(|link| (link, LinkRule::from(&link.link)))
            .collect();
        let aliases = super::aliases(draft);
        let mut by_source: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, (link, _)) in links.iter().enumerate() {
            let source = link.link.source.as_str();
            let source = aliases.get(source).copied().unwrap_or(source);
            by_source.entry(source).or_default().push(index);
        }
        Self {
            draft,
            links,
            aliases,
            by_source,
            visited: HashSet::new(),
            arrivals: BTreeMap::new(),
            loops: BTreeSet::new(),
            found: Vec::new(),
        }
    }

    /// The cluster's first name, if the file names it twice.
    fn cluster<'n>(&self, name: &'n str) -> &'n str
    where
        'd: 'n,
    {
        self.aliases.get(name).copied().unwrap_or(name)
    }

    fn known_topics(&self) -> BTreeSet<(String, String)> {
        let named = self.links.iter().flat_map(|(link, rule)| {
            rule.literals()
                .map(|topic| (self.cluster(&link.link.source).to_owned(), topic.to_owned()))
        });
        let owned = self.draft.clusters.values().flat_map(|cluster| {
            cluster
                .topics
                .keys()
                .map(|topic| (self.cluster(&cluster.name).to_owned(), topic.clone()))
        });
        named.chain(owned).collect()
    }

    fn example_topics(&self) -> Vec<(String, String)> {
        let mut examples = Vec::new();
        for (link, _) in &self.links {
            for selector in &link.link.topics {
                let source = self.cluster(&link.link.source);
                let names = examples::of(&selector.value).into_iter();
                examples.extend(names.map(|name| (source.to_owned(), name)));
            }
        }
        examples
    }

    fn follow(&mut self, cluster: &str, topic: &str, known: bool, path: &mut Vec<Step>) {
        let node = (cluster.to_owned(), topic.to_owned());
        if path.len() > LONGEST_PATH
            || self.visited.len() > MOST_TOPICS
            || !self.visited.insert(node)
        {
            return;
        }
        for index in self.by_source.get(cluster).cloned().unwrap_or_default() {
            let (link, rule) = &self.links[index];
            let Some(reason) = rule.takes(topic) else {
                continue;
            };
            let asked = reason.span.unwrap_or(link.link.span);
            let destination = match rule.destination(topic) {
                Ok(destination) => destination,
                Err(error) => {
                    if known && path.is_empty() {
                        let diagnostic = illegal_destination(link, topic, asked, &error);
                        self.found.push(diagnostic);
                    }
                    continue;
                }
            };
            let renamed = link.link.mirrors.get(topic);
            let renamed = renamed.and_then(|mirror| mirror.rename_to.as_ref());
            let span = renamed.map_or(asked, |name| name.span);
            let to = self.cluster(&link.link.destination).to_owned();
            path.push(Step {
                link: index,
                cluster: cluster.to_owned(),
                topic: topic.to_owned(),
                span,
            });
            let closes = self.closes(path, &to, &destination);
            let is_allowed = match &closes {
                Some(closed) => self.may_close(&path[closed.first..], closed.grows),
                None => true,
            };
            if is_allowed {
                let key = (to.clone(), names::collision_key(&destination));
                self.arrivals.entry(key).or_default().push(Arrival {
                    link: index,
                    source: topic.to_owned(),
                    destination: destination.clone(),
                    span,
                    known,
                });
            }
            match closes {
                Some(closed) if !is_allowed => self.report_loop(path, closed, known),
                // What comes round is left out there.
                Some(_) => {}
                None => self.follow(&to, &destination, known, path),
            }
            path.pop();
        }
    }

    /// Whether the last step of the path leads back to an earlier one.
    fn closes(&self, path: &[Step], cluster: &str, topic: &str) -> Option<Closed> {
        let same = path
            .iter()
            .position(|step| step.cluster == cluster && step.topic == topic);
        if let Some(first) = same {
            return Some(Closed {
                first,
                grows: false,
            });
        }
        let last = &path[path.len() - 1];
        let times = path.iter().filter(|step| step.link == last.link).count();
        if times < MOST_REPEATS {
            return None;
        }
        // From the step before the last use of the link to now: one turn of the screw.
        let before = path[..path.len() - 1]
            .iter()
            .rposition(|step| step.link == last.link)
            .unwrap_or(0);
        Some(Closed {
            first: before + 1,
            grows: true,
        })
    }

    /// Whether every link of the turn leaves out what came from where it writes, and says where the rest came from.
    fn may_close(&self, turn: &[Step], grows: bool) -> bool {
        let mut links = turn.iter().map(|step| &self.links[step.link].0.link);
        !grows && turn.len() > 1 && links.all(Link::may_close_a_loop)
    }

    fn report_loop(&mut self, path: &[Step], Closed { first, grows }: Closed, known: bool) {
        let turn = &path[first..];
        let mut links: Vec<_> = turn.iter().map(|step| step.link).collect();
        links.sort_unstable();
        links.dedup();
        if self.loops.insert(links) {
            let origin = if grows {
                &path[0].topic
            } else {
                &turn[0].topic
            };
            let diagnostic = self.loop_diagnostic(turn, origin, known, grows);
            self.found.push(diagnostic);
        }
    }

    fn loop_diagnostic(&self, turn: &[Step], origin: &str, known: bool, grows: bool) -> Diagnostic {
        let such = if known {
            format!("`{origin}`")
        } else {
            format!("a topic such as `{origin}`")
        };
        let name = |step: &Step| format!("`{}`", self.links[step.link].0.link.name);
        let last = &turn[turn.len() - 1];
        let message = match (turn, grows) {
            ([only], false) => format!("link {} copies {such} onto itself", name(only)),
            ([only], true) => format!("link {} takes its own copies of {such} again", name(only)),
            (_, false) => {
                let cluster = &turn[0].cluster;
                format!("{such} comes back to `{cluster}`, where it came from")
            }
            (_, true) => format!("copies of {such} go round and round under ever new names"),
        };
        let mut diagnostic = Diagnostic::error(Code::Loop, message);
        let others = turn[..turn.len() - 1].iter();
        for step in std::iter::once(last).chain(others) {
            let (link, _) = &self.links[step.link];
            diagnostic = diagnostic.at(
                step.span,
                format!(
                    "from `{}` to `{}` by link {}",
                    step.cluster,
                    link.link.destination,
                    name(step)
                ),
            );
        }
        diagnostic.help(match (turn.len(), grows) {
            (1, false) => {
                "source and destination are one cluster: give the link a `rename`".to_owned()
            }
            (1, true) => "add the new names to the link's `exclude`".to_owned(),
            (_, true) => {
                "let each link `exclude` the names that arrive from the other side".to_owned()
            }
            (_, false) => self.help_with_ways_back(turn),
        })
    }

    fn help_with_ways_back(&self, turn: &[Step]) -> String {
        let marking = |step: &&Step| self.links[step.link].0.link.marks_provenance();
        if !turn.iter().any(|step| marking(&step)) {
            return "take the topic out of one of the links; to mirror both ways, give each link a prefix by `rename` \
                    and let the other `exclude` it, or write offsets = \"translate\", on_foreign_write = \"translate\" and \
                    provenance_header = true in each of them"
                .to_owned();
        }
        let mut lacks: Vec<String> = Vec::new();
        for step in turn {
            let link = &self.links[step.link].0.link;
            let wanted = [
                (link.marks_provenance(), "provenance_header = true"),
                (
                    link.offsets == OffsetsSpec::Translate,
                    "offsets = \"translate\"",
                ),
                (
                    link.foreign_writes() == ForeignWrites::Translate,
                    "on_foreign_write = \"translate\"",
                ),
            ];
            let missing = wanted.into_iter().filter(|(has, _)| !has);
            let missing: Vec<&str> = missing.map(|(_, what)| what).collect();
            if !missing.is_empty() {
                lacks.push(format!("link `{}` {}", link.name, missing.join(", ")));
            }
        }
        lacks.sort();
        lacks.dedup();
        format!(
            "each topic has records of its own and copies of the other's then, so that offsets cannot be the source's; \
             what is missing for that: {}",
            lacks.join("; ")
        )
    }

    fn check_arrivals(&mut self) {
        let mut reported = HashSet::new();
        for ((cluster, key), arrivals) in &self.arrivals {
            self.found.extend(self.check_owned(cluster, key, arrivals));
            for (index, second) in arrivals.iter().enumerate() {
                // The nearest relative is the most telling: the same topic by another link.
                let first = arrivals[..index]
                    .iter()
                    .filter(|first| self.conflict(first, second))
                    .max_by_key(|first| first.source == second.source);
                if let Some(first) = first
                    && reported.insert((first.span.start, second.span.start))
                {
                    let diagnostic = self.conflict_diagnostic(cluster, first, second);
                    self.found.push(diagnostic);
                }
            }
        }
    }

    /// Whether two arrivals at one topic are certain to be two mirrors.
    fn conflict(&self, first: &Arrival, second: &Arrival) -> bool {
        let source = |arrival: &Arrival| self.cluster(&self.links[arrival.link].0.link.source);
        let same_source = first.source == second.source && source(first) == source(second);
        if same_source {
            // The same topic by the same link is the same mirror.
            first.link != second.link
        } else {
            first.known && second.known
        }
    }

    fn conflict_diagnostic(&self, cluster: &str, one: &Arrival, two: &Arrival) -> Diagnostic {
        let (first, second) = if one.span.start <= two.span.start {
            (one, two)
        } else {
            (two, one)
        };
        let describe = |arrival: &Arrival| {
            let link = &self.links[arrival.link].0.link;
            let such = if arrival.known { "" } else { "such as " };
            format!(
                "{such}`{}` of `{}` by link `{}`",
                arrival.source, link.source, link.name
            )
        };
        let message = if first.destination == second.destination {
            format!(
                "two mirrors end in topic `{}` of `{cluster}`",
                first.destination
            )
        } else {
            format!(
                "the mirrors `{}` and `{}` collide on `{cluster}`",
                first.destination, second.destination
            )
        };
        let help = if first.destination != second.destination {
            "to a broker `.` and `_` are the same in topic names; rename one of them"
        } else if first.source == second.source && first.link != second.link {
            "let one of the links `exclude` it, or rename one of the mirrors with `as`"
        } else {
            "give one of them another name with `as`, or its link a `rename`"
        };
        Diagnostic::error(Code::SameDestination, message)
            .at(second.span, describe(second))
            .at(first.span, describe(first))
            .help(help)
    }

    fn check_owned(&self, cluster: &str, key: &str, arrivals: &[Arrival]) -> Option<Diagnostic> {
        let topic = self
            .draft
            .clusters
            .values()
            .filter(|owner| self.cluster(&owner.name) == cluster)
            .flat_map(|owner| owner.topics.values())
            .find(|topic| names::collision_key(&topic.name) == key)?;
        let arrival = arrivals.iter().find(|arrival| arrival.known)?;
        let link = &self.links[arrival.link].0.link;
        let message = if arrival.destination == topic.name {
            format!(
                "topic `{}` of `{cluster}` is both owned and a mirror",
                topic.name
            )
        } else {
            format!(
                "the mirror `{}` and the owned topic `{}` collide on `{cluster}`",
                arrival.destination, topic.name
            )
        };
        let text = format!(
            "`{}` of `{}` is mirrored to it",
            arrival.source, link.source
        );
        Some(
            Diagnostic::error(Code::MirrorIsOwned, message)
                .at(arrival.span, text)
                .at(topic.span, "owned here")
                .help(
                    "a mirror gets its partitions and configs from its source: remove the owned \
                     topic, or rename the mirror",
                ),
        )
    }
}

fn illegal_destination(
    link: &DraftLink,
    topic: &str,
    asked: Span,
    error: &RenameError,
) -> Diagnostic {
    let mut diagnostic = Diagnostic::error(
        Code::IllegalDestination,
        format!("`{topic}` cannot be renamed: {error}"),
    )
    .at(asked, "taken here");
    if let Some(span) = link.rename_span {
        diagnostic = diagnostic.at(span, "renamed here");
    }
    diagnostic.help(format!(
        "give it a name of its own: {} and below it as = \"NAME\"",
        crate::topology::read::header(
            &[
                "links".to_owned(),
                link.link.name.clone(),
                "mirrors".to_owned()
            ],
            topic
        )
    ))
}
