//! A topology as a graph: what the file alone tells, for documents and reviews.
//!
//! [`Graph::of`] decides what is drawn, as plain data in the order of the file; [`mermaid`] and
//! [`dot`] write it down. Topics are drawn where the file knows them by name: those it owns,
//! mirrors with settings of their own, and what the links make of these. All else that a link
//! takes is one box with its names and patterns at the source, and one with the rename at the
//! destination.

use std::collections::{BTreeSet, HashMap};

use crate::topology::Topology;
use crate::topology::model::{Link, LinkState, MirrorState};
use crate::topology::resolve::LinkRule;
use crate::topology::selector::{RenameRule, TopicSelector};

mod dot;
mod mermaid;
#[cfg(test)]
mod tests;

/// The languages there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Mermaid,
    Dot,
}

/// The graph of a topology as text, with a final newline.
pub fn graph(topology: &Topology, language: Language) -> String {
    let graph = Graph::of(topology);
    match language {
        Language::Mermaid => mermaid::write(&graph),
        Language::Dot => dot::write(&graph),
    }
}

/// What is drawn.
#[derive(Debug, Default)]
struct Graph {
    clusters: Vec<Cluster>,
    edges: Vec<Edge>,
}

#[derive(Debug)]
struct Cluster {
    name: String,
    /// What is written at it.
    label: String,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    id: usize,
    kind: Kind,
    lines: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A topic that the file owns.
    Owned,
    /// Another topic that the file knows by name.
    Topic,
    /// What a link takes besides, and what it makes of that.
    Rule,
}

#[derive(Debug)]
struct Edge {
    from: usize,
    to: usize,
    label: String,
    /// Whether data flows, as far as the file says.
    is_active: bool,
}

impl Graph {
    fn of(topology: &Topology) -> Self {
        let mut drawing = Drawing::default();
        for (name, cluster) in &topology.clusters {
            drawing.graph.clusters.push(Cluster {
                name: name.clone(),
                label: match &cluster.title {
                    Some(title) => format!("{title} ({name})"),
                    None => name.clone(),
                },
                nodes: Vec::new(),
            });
            for topic in cluster.topics.keys() {
                drawing.topic(name, topic, Kind::Owned);
            }
        }
        let known = known_topics(topology);
        for link in topology.links.values() {
            drawing.link(link, &known[link.source.as_str()]);
        }
        drawing.graph
    }
}

/// The topics of each cluster that the file knows by name, directly or through links.
fn known_topics(topology: &Topology) -> HashMap<&str, BTreeSet<String>> {
    let mut known: HashMap<&str, BTreeSet<String>> = topology
        .clusters
        .iter()
        .map(|(name, cluster)| (name.as_str(), cluster.topics.keys().cloned().collect()))
        .collect();
    // A chain of links is followed to its end in as many rounds as there are links.
    for _ in 0..=topology.links.len() {
        let before: usize = known.values().map(BTreeSet::len).sum();
        for link in topology.links.values() {
            let mirrors = mirrors(link, &known[link.source.as_str()]);
            for (cluster, topics) in &mut known {
                for (source, destination) in &mirrors {
                    if *cluster == link.source {
                        topics.insert(source.clone());
                    }
                    if *cluster == link.destination {
                        topics.insert(destination.clone());
                    }
                }
            }
        }
        if known.values().map(BTreeSet::len).sum::<usize>() == before {
            break;
        }
    }
    known
}

/// Source and destination of the mirrors that are known by name: first those with settings of
/// their own, in the order of the file, then by name.
fn mirrors(link: &Link, at_source: &BTreeSet<String>) -> Vec<(String, String)> {
    let rule = LinkRule::from(link);
    let others = at_source
        .iter()
        .filter(|topic| !link.mirrors.contains_key(*topic));
    link.mirrors
        .keys()
        .chain(others)
        .filter(|topic| rule.takes(topic).is_some())
        // What cannot be named so is no mirror; `plan` tells.
        .filter_map(|topic| Some((topic.clone(), rule.destination(topic).ok()?)))
        .collect()
}

/// A graph in the making.
#[derive(Debug, Default)]
struct Drawing {
    graph: Graph,
    next_id: usize,
    /// Topics that have a node: cluster, topic, id.
    topics: HashMap<(String, String), usize>,
}

impl Drawing {
    fn node(&mut self, cluster: &str, kind: Kind, lines: Vec<String>) -> usize {
        let id = self.next_id;
        self.next_id += 1;
        let place = self
            .graph
            .clusters
            .iter_mut()
            .find(|place| place.name == cluster)
            .expect("links have been checked to lead between clusters of the file");
        place.nodes.push(Node { id, kind, lines });
        id
    }

    fn topic(&mut self, cluster: &str, topic: &str, kind: Kind) -> usize {
        let key = (cluster.to_owned(), topic.to_owned());
        if let Some(id) = self.topics.get(&key) {
            return *id;
        }
        let id = self.node(cluster, kind, vec![topic.to_owned()]);
        self.topics.insert(key, id);
        id
    }

    fn link(&mut self, link: &Link, known_at_source: &BTreeSet<String>) {
        let mirrors = mirrors(link, known_at_source);
        for (source, destination) in &mirrors {
            let from = self.topic(&link.source, source, Kind::Topic);
            let to = self.topic(&link.destination, destination, Kind::Topic);
            let own = link.mirrors.get(source);
            let own_state = own.and_then(|mirror| mirror.state.as_ref());
            let is_active = match own_state.map(|state| state.value) {
                Some(MirrorState::Active) => true,
                Some(
                    MirrorState::Paused
                    | MirrorState::Promoted
                    | MirrorState::FailedOver
                    | MirrorState::Absent,
                ) => false,
                None => link.state == LinkState::Active,
            };
            self.edge(from, to, link, is_active);
        }
        let is_drawn = |selector: &TopicSelector| {
            selector
                .as_name()
                .is_some_and(|name| mirrors.iter().any(|(source, _)| source == name))
        };
        let mut lines: Vec<_> = link
            .topics
            .iter()
            .filter(|selector| !is_drawn(&selector.value))
            .map(|selector| selector.value.to_string())
            .collect();
        if lines.is_empty() {
            return;
        }
        let excluded = link.exclude.iter();
        lines.extend(excluded.map(|selector| format!("except {}", selector.value)));
        let from = self.node(&link.source, Kind::Rule, lines);
        let to = self.node(&link.destination, Kind::Rule, naming(&link.rename));
        self.edge(from, to, link, link.state == LinkState::Active);
    }

    fn edge(&mut self, from: usize, to: usize, link: &Link, is_active: bool) {
        let label = if is_active {
            link.name.clone()
        } else {
            format!("{} (paused)", link.name)
        };
        self.graph.edges.push(Edge {
            from,
            to,
            label,
            is_active,
        });
    }
}

fn naming(rule: &RenameRule) -> Vec<String> {
    match rule {
        RenameRule::Keep => vec!["same names".to_owned()],
        RenameRule::Template(template) => vec![template.clone()],
        RenameRule::Prefix(prefix) => vec![format!("{prefix}${{topic}}")],
        RenameRule::Rules(rules) => rules
            .iter()
            .map(|rule| format!("regex {} to {}", rule.pattern(), rule.to()))
            .chain(["others: same names".to_owned()])
            .collect(),
    }
}
