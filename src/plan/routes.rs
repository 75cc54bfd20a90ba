//! Which topics go where, over all links of the file.
//!
//! Links are resolved together, not one by one: a link may take what another one brings, so the
//! topics that exist are what was observed, what the file creates and what the links' own mirrors
//! will be. That is repeated until nothing is added, and it ends because data never comes back to a
//! cluster that it came from: such a route is a loop and leads nowhere. Only where all mirrors on the way mark records with
//! where they came from may they lead back to the very topic that it began with: a *ring*, in which each topic has
//! records of its own too.

use std::collections::{BTreeMap, BTreeSet};

use super::model::same_topic;
use super::reason::{Blocker, Note};
use super::world::World;
use crate::control::records::{ForeignWrites, LinkRecord, MirrorRecord, OffsetsSpec};
use crate::topology::model::{Link, Span};
use crate::topology::names;
use crate::topology::resolve::{Conflict, LinkRule, Resolution, resolve_link};

/// One topic that a link takes.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub link: String,
    pub source_topic: String,
    pub destination_topic: String,
    pub asked_by: Option<Span>,
    pub blocked: Vec<Blocker>,
    /// How many mirrors have to be made before this one.
    pub depth: usize,
    /// Whether its destination's records come back to its source: both are more than a copy.
    pub in_ring: bool,
}

/// All routes, those that others depend on first.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub routes: Vec<Route>,
    pub notes: Vec<Note>,
}

/// A topic on a cluster, by the id that the cluster gives itself: two names in the file may mean one.
type Node = (String, String);

#[derive(Clone, Debug)]
struct Edge {
    from: Node,
    to: Node,
    /// As people know them: the clusters' names in the file.
    from_name: String,
    /// Leaves out what came from where it writes, and says where the rest came from.
    is_guarded: bool,
}

/// What lies before a route.
struct Upstream {
    depth: usize,
    in_ring: bool,
}

/// Resolves all links that are not blocked.
pub(super) fn resolve(world: &World<'_>) -> Routes {
    let links: Vec<&Link> = world
        .topology
        .links
        .values()
        .filter(|link| {
            !super::deletions::is_doomed(link)
                && [&link.source, &link.destination]
                    .iter()
                    .all(|cluster| !world.blocked.contains_key(*cluster))
        })
        .collect();
    let recorded = recorded_edges(world);
    let mut brought: BTreeSet<Node> = BTreeSet::new();
    // Each round lets chains grow by one link; no chain visits a cluster twice.
    for _ in 0..=world.topology.clusters.len() {
        let (routes, now) = resolve_round(world, &links, &recorded, &brought);
        if now == brought {
            return routes;
        }
        brought = now;
    }
    resolve_round(world, &links, &recorded, &brought).0
}

fn resolve_round(
    world: &World<'_>,
    links: &[&Link],
    recorded: &[Edge],
    brought: &BTreeSet<Node>,
) -> (Routes, BTreeSet<Node>) {
    let mut result = Routes::default();
    for link in links {
        let topics = topics_of(world, &link.source, brought);
        let resolution = resolve_link(&LinkRule::from(*link), topics.iter().map(String::as_str));
        if resolution == Resolution::default() {
            result.notes.push(Note::NothingMatches {
                link: link.name.clone(),
                selectors: link
                    .topics
                    .iter()
                    .map(|selector| super::links::selector_text(&selector.value))
                    .collect(),
            });
        }
        add_routes(world, link, resolution, &mut result.routes);
    }
    let edges: Vec<Option<Edge>> = result
        .routes
        .iter()
        .map(|route| edge(world, route))
        .collect();
    let mut known: Vec<Edge> = edges.iter().flatten().cloned().collect();
    known.extend(recorded.iter().cloned());
    let into = incoming(&known);
    for (route, edge) in result.routes.iter_mut().zip(&edges) {
        let Some(edge) = edge else { continue };
        if let Some(blocker) = changed_provenance(world, route) {
            route.blocked.push(blocker);
            continue;
        }
        match walk_back(edge, &into, world, route) {
            Ok(Upstream { depth, in_ring }) => (route.depth, route.in_ring) = (depth, in_ring),
            Err(blocker) => route.blocked.push(*blocker),
        }
    }
    block_two_into_one(world, &mut result.routes);
    block_owned(world, &mut result.routes);
    block_hidden(world, &mut result.routes);
    let now = result
        .routes
        .iter()
        .zip(&edges)
        .filter(|(route, _)| route.blocked.is_empty())
        .filter_map(|(_, edge)| Some(edge.as_ref()?.to.clone()))
        .collect();
    result.routes.sort_by(|a, b| {
        (a.depth, &a.link, &a.source_topic).cmp(&(b.depth, &b.link, &b.source_topic))
    });
    result.routes = makers_first(world, result.routes);
    (result, now)
}

/// In a ring each route comes after another. Those whose source topic is there, or is made by a route before, go first.
fn makers_first(world: &World<'_>, routes: Vec<Route>) -> Vec<Route> {
    if !routes.iter().any(|route| route.in_ring) {
        return routes;
    }
    let none = BTreeSet::new();
    let mut there: BTreeSet<Node> = BTreeSet::new();
    for cluster in world.topology.clusters.keys() {
        if !world.blocked.contains_key(cluster) {
            let id = &world.cluster(cluster).cluster_id;
            let topics = topics_of(world, cluster, &none).into_iter();
            there.extend(topics.map(|topic| (id.clone(), topic)));
        }
    }
    let mut ordered = Vec::with_capacity(routes.len());
    let mut left = routes;
    while !left.is_empty() {
        let mut later = Vec::new();
        let before = ordered.len();
        for route in left {
            let link = &world.topology.links[&route.link];
            let node = |cluster: &str, topic: &str| {
                (world.cluster(cluster).cluster_id.clone(), topic.to_owned())
            };
            let waits = route.blocked.is_empty()
                && !there.contains(&node(&link.source, &route.source_topic));
            if waits {
                later.push(route);
                continue;
            }
            if route.blocked.is_empty() {
                there.insert(node(&link.destination, &route.destination_topic));
            }
            ordered.push(route);
        }
        left = later;
        if ordered.len() == before {
            ordered.append(&mut left);
        }
    }
    ordered
}

fn topics_of(world: &World<'_>, cluster: &str, brought: &BTreeSet<Node>) -> BTreeSet<String> {
    let seen = world.cluster(cluster);
    let declared = &world.topology.clusters[cluster].topics;
    let stays = |topic: &&String| declared.get(*topic).is_none_or(|it| it.absent.is_none());
    let brought = brought
        .iter()
        .filter(|(id, _)| *id == seen.cluster_id)
        .map(|(_, topic)| topic);
    seen.topics
        .keys()
        .chain(declared.keys())
        .filter(stays)
        .chain(brought)
        .cloned()
        .collect()
}

fn add_routes(world: &World<'_>, link: &Link, resolution: Resolution, routes: &mut Vec<Route>) {
    let mut add = |source: String, destination: String, asked_by, blocked| {
        routes.push(Route {
            link: link.name.clone(),
            source_topic: source,
            destination_topic: destination,
            asked_by,
            blocked,
            depth: 0,
            in_ring: false,
        });
    };
    for mirror in resolution.mirrors {
        add(mirror.source, mirror.destination, mirror.asked_by, vec![]);
    }
    for absent in resolution.absent_literals {
        let blocker = world
            .hidden(&link.source, &absent.topic)
            .unwrap_or_else(|| Blocker::SourceTopicAbsent {
                cluster: link.source.clone(),
                topic: absent.topic.clone(),
                may_be_owned: !link.may_close_a_loop(),
            });
        add(absent.topic, String::new(), absent.asked_by, vec![blocker]);
    }
    for conflict in resolution.conflicts {
        match conflict {
            Conflict::SameDestination { mirrors } => {
                let sources: Vec<_> = mirrors
                    .iter()
                    .map(|mirror| format!("{}/{}", link.source, mirror.source))
                    .collect();
                for mirror in mirrors {
                    let blocker = Blocker::TwoIntoOne {
                        cluster: link.destination.clone(),
                        topic: mirror.destination.clone(),
                        sources: sources.clone(),
                    };
                    add(
                        mirror.source,
                        mirror.destination,
                        mirror.asked_by,
                        vec![blocker],
                    );
                }
            }
            Conflict::Unnameable {
                topic,
                asked_by,
                error,
            } => {
                let blocker = Blocker::RenameFails {
                    topic: topic.clone(),
                    problem: error.to_string(),
                };
                add(topic, String::new(), asked_by, vec![blocker]);
            }
        }
    }
}

fn edge(world: &World<'_>, route: &Route) -> Option<Edge> {
    if !route.blocked.is_empty() {
        return None;
    }
    let link = &world.topology.links[&route.link];
    let id = |cluster: &str| world.cluster(cluster).cluster_id.clone();
    Some(Edge {
        from: (id(&link.source), route.source_topic.clone()),
        to: (id(&link.destination), route.destination_topic.clone()),
        from_name: link.source.clone(),
        is_guarded: link.may_close_a_loop()
            && record_of(world, route).is_none_or(|record| record.provenance_header),
    })
}

/// What is recorded of the route's mirror, where its topic is the one that was recorded.
fn record_of<'w>(world: &World<'w>, route: &Route) -> Option<&'w MirrorRecord> {
    let link = &world.topology.links[&route.link];
    let seen = world.cluster(&link.destination);
    let live = seen.topics.get(&route.destination_topic)?;
    let control = seen.control.as_ref()?;
    let mut written = world
        .records(&link.destination)?
        .written_to(&route.destination_topic)
        .iter();
    let found = written.find(|record| {
        let of_link = control.links.iter().any(|known| {
            let former = link.moved.as_ref().map(|moved| moved.value.as_str());
            known.id == record.id.link
                && (known.name == link.name || former == Some(known.name.as_str()))
        });
        of_link
            && record.source_topic == route.source_topic
            && same_topic(record.id.destination_topic, live.id)
    })?;
    Some(found)
}

/// What a sequence number stands for must not change, so a mirror marks all of its records or none.
fn changed_provenance(world: &World<'_>, route: &Route) -> Option<Blocker> {
    let link = &world.topology.links[&route.link];
    let record = record_of(world, route)?;
    (record.provenance_header != link.marks_provenance()).then(|| Blocker::ProvenanceFixed {
        cluster: link.destination.clone(),
        topic: route.destination_topic.clone(),
        marks: record.provenance_header,
    })
}

/// Mirrors that links outside this file have, as far as they were applied to its clusters.
fn recorded_edges(world: &World<'_>) -> Vec<Edge> {
    let mut edges = Vec::new();
    for seen in world.observed.clusters.values() {
        let Some(control) = &seen.control else {
            continue;
        };
        // What was handed over brings nothing any more.
        for mirror in control.mirrors.iter().filter(|it| !it.is_stopped()) {
            let Some(link) = control.links.iter().find(|link| link.id == mirror.id.link) else {
                continue;
            };
            if in_file(world, link) {
                continue;
            }
            edges.push(Edge {
                from: (link.source_cluster_id.clone(), mirror.source_topic.clone()),
                to: (seen.cluster_id.clone(), mirror.destination_topic.clone()),
                from_name: name_of(world, &link.source_cluster_id),
                is_guarded: mirror.provenance_header
                    && link.offsets == OffsetsSpec::Translate
                    && link.on_foreign_write == ForeignWrites::Translate,
            });
        }
    }
    edges
}

/// Whether the file speaks of this link, by its name or by the former one.
pub(super) fn in_file(world: &World<'_>, record: &LinkRecord) -> bool {
    world.topology.links.values().any(|link| {
        let destination = &world.cluster(&link.destination).cluster_id;
        let former = link.moved.as_ref().map(|moved| moved.value.as_str());
        *destination == record.destination_cluster_id
            && (link.name == record.name || former == Some(record.name.as_str()))
    })
}

fn name_of(world: &World<'_>, cluster_id: &str) -> String {
    world
        .observed
        .clusters
        .iter()
        .find(|(_, seen)| seen.cluster_id == cluster_id)
        .map_or_else(|| cluster_id.to_owned(), |(name, _)| name.clone())
}

fn incoming(edges: &[Edge]) -> BTreeMap<&Node, Vec<&Edge>> {
    let mut into: BTreeMap<&Node, Vec<&Edge>> = BTreeMap::new();
    for edge in edges {
        into.entry(&edge.to).or_default().push(edge);
    }
    into
}

/// Follows the data back to where it comes from: how far that is, or the loop that it runs in.
fn walk_back(
    edge: &Edge,
    into: &BTreeMap<&Node, Vec<&Edge>>,
    world: &World<'_>,
    route: &Route,
) -> Result<Upstream, Box<Blocker>> {
    if edge.from == edge.to {
        return Err(Box::new(Blocker::SameTopic {
            cluster_id: edge.to.0.clone(),
            topic: edge.to.1.clone(),
        }));
    }
    let link = &world.topology.links[&route.link];
    let start = vec![
        format!("{}/{}", link.destination, edge.to.1),
        format!("{}/{}", link.source, edge.from.1),
    ];
    let mut upstream = Upstream {
        depth: 0,
        in_ring: false,
    };
    let mut seen = BTreeSet::from([(&edge.from, edge.is_guarded)]);
    let mut stack = vec![(&edge.from, edge.is_guarded, start)];
    while let Some((node, is_guarded, path)) = stack.pop() {
        upstream.depth = upstream.depth.max(path.len() - 2);
        for before in into.get(node).into_iter().flatten() {
            let is_guarded = is_guarded && before.is_guarded;
            if before.from == edge.to && is_guarded {
                upstream.in_ring = true;
                continue;
            }
            let mut path = path.clone();
            path.push(format!("{}/{}", before.from_name, before.from.1));
            if before.from.0 == edge.to.0 {
                path.reverse();
                return Err(Box::new(Blocker::Loop { path }));
            }
            if seen.insert((&before.from, is_guarded)) {
                stack.push((&before.from, is_guarded, path));
            }
        }
    }
    Ok(upstream)
}

/// Two links that would write to one topic; within one link the resolution has seen to it.
fn block_two_into_one(world: &World<'_>, routes: &mut [Route]) {
    let mut by_destination: BTreeMap<Node, Vec<usize>> = BTreeMap::new();
    for (index, route) in routes.iter().enumerate() {
        if route.blocked.is_empty() {
            let link = &world.topology.links[&route.link];
            let id = world.cluster(&link.destination).cluster_id.clone();
            by_destination
                .entry((id, names::collision_key(&route.destination_topic)))
                .or_default()
                .push(index);
        }
    }
    for indices in by_destination.into_values().filter(|all| all.len() > 1) {
        let mut sources: Vec<_> = indices
            .iter()
            .map(|&index| {
                let link = &world.topology.links[&routes[index].link];
                format!("{}/{}", link.source, routes[index].source_topic)
            })
            .collect();
        sources.sort();
        for index in indices {
            let route = &mut routes[index];
            route.blocked.push(Blocker::TwoIntoOne {
                cluster: world.topology.links[&route.link].destination.clone(),
                topic: route.destination_topic.clone(),
                sources: sources.clone(),
            });
        }
    }
}

/// A mirror topic that cannot be seen may hold anything.
fn block_hidden(world: &World<'_>, routes: &mut [Route]) {
    for route in routes {
        let cluster = &world.topology.links[&route.link].destination;
        if route.blocked.is_empty() {
            let hidden = world.hidden(cluster, &route.destination_topic);
            route.blocked.extend(hidden);
        }
    }
}

fn block_owned(world: &World<'_>, routes: &mut [Route]) {
    for route in routes {
        let cluster = &world.topology.links[&route.link].destination;
        let owned = &world.topology.clusters[cluster].topics;
        if route.blocked.is_empty() && owned.contains_key(&route.destination_topic) {
            route.blocked.push(Blocker::DestinationOwned {
                cluster: cluster.clone(),
                topic: route.destination_topic.clone(),
            });
        }
    }
}
