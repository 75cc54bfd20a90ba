//! The difference between a file and the live clusters: a pure function of both.
//!
//! [`plan`] reads nothing and writes nothing. It is called with what [`crate::observe`] saw, and its
//! result ([`model::Plan`]) is what `report` shows and what `apply` does. [`interest`] tells the
//! observer which topics have to be described beyond their names.
//!
//! The order of planning is the order of doing: clusters, then the topics that the file owns, then
//! links with their mirrors, chains from their start. Each step sees what the former ones will have
//! done ([`world::World`]), so that a file applies to empty clusters at once and a second plan finds
//! nothing to do.

use std::collections::{BTreeMap, BTreeSet};

use self::cluster_link::PlannedBrokerLink;
use self::deletions::Doomed;
use self::model::{
    Action, Address, Change, Counts, Entry, Operation, Origin, PLAN_VERSION, Plan, PlannedCluster,
    Rehearsal, Side, Value,
};
use self::reason::{Blocker, Note};
use self::world::World;
use crate::control::records::{LINKS_TOPIC, OFFSETS_TOPIC, Owner, WORK_TOPIC};
use crate::observe::model::Observed;
use crate::topology::engines::Engine;
use crate::topology::model::{Link, OffsetsSpec, Topology};
use crate::topology::resolve::LinkRule;

mod basis;
mod cluster_link;
mod dead;
mod deletions;
mod diff;
pub mod drift;
mod endings;
mod links;
mod mirrors;
pub mod model;
mod naming;
pub mod reason;
mod routes;
pub mod saved;
pub mod sync;
pub mod target;
mod topics;
mod unseen;
mod world;

pub use dead::{can_do_without, reachable};
pub use deletions::guard;
pub use unseen::unseen;

#[cfg(test)]
mod tests;

/// Replicas of the internal topics, where there are as many brokers.
const CONTROL_REPLICAS: usize = 3;

/// The JSON schema of the serialised plan. A test makes it of the types and compares.
pub const SCHEMA: &str = include_str!("../../schemas/plan.schema.json");

/// What would have to be done for the clusters to be as the file says.
///
/// Every cluster of the file has to be in `observed`, with the topics of [`interest`] described, or, where
/// [nothing but pausing](can_do_without) depends on it, in [`Observed::unreachable`].
pub fn plan(topology: &Topology, observed: &Observed) -> Plan {
    let (mut plan, blocked) = plan_reachable(&reachable(topology, observed), observed);
    let mut world = World::new(topology, observed);
    world.blocked = blocked;
    dead::plan(&mut plan, &world);
    basis::bind(&mut plan, &world);
    plan.settle();
    plan
}

/// The plan for clusters that were read, and those of them on which nothing is planned.
fn plan_reachable(topology: &Topology, observed: &Observed) -> (Plan, BTreeMap<String, Blocker>) {
    let mut world = World::new(topology, observed);
    let mut plan = Plan {
        version: PLAN_VERSION,
        file: world.file.clone(),
        allow_delete: true,
        targets: Vec::new(),
        rewrite_secrets: topology.rewrites.iter().cloned().collect(),
        clusters: clusters(topology, observed),
        entries: check_pins(&mut world),
        notes: notes(&world),
        counts: Counts::default(),
    };
    for cluster in topology.clusters.values() {
        if world.blocked.contains_key(&cluster.name) {
            continue;
        }
        for owned in cluster.topics.values() {
            if owned.absent.is_none() {
                plan.entries
                    .push(topics::plan_owned(&mut world, &cluster.name, owned));
            }
        }
    }
    plan.notes.extend(topics::not_in_file(&world));
    let routes = routes::resolve(&world);
    plan.notes.extend(routes.notes.iter().cloned());
    plan_links(&mut world, &routes.routes, &mut plan);
    (plan, world.blocked)
}

/// Topics of one cluster that the plan has to know more about than their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    pub configs: BTreeSet<String>,
    pub contents: BTreeSet<String>,
}

/// What [`plan`] will ask about single topics, by cluster. Needs metadata and control records only.
pub fn interest(topology: &Topology, observed: &Observed) -> BTreeMap<String, Interest> {
    let mut world = World::new(topology, observed);
    check_pins(&mut world);
    let mut interest: BTreeMap<String, Interest> = BTreeMap::new();
    for cluster in topology.clusters.values() {
        if world.blocked.contains_key(&cluster.name) {
            continue;
        }
        let live = &world.cluster(&cluster.name).topics;
        let interest = interest.entry(cluster.name.clone()).or_default();
        for (topic, owned) in &cluster.topics {
            if !live.contains_key(topic) {
                continue;
            }
            match owned.absent {
                None => interest.configs.insert(topic.clone()),
                // How much is deleted is worth knowing.
                Some(_) => interest.contents.insert(topic.clone()),
            };
        }
    }
    for (cluster, topic) in deletions::mirror_topics(&world) {
        let interest = interest.entry(cluster).or_default();
        interest.contents.insert(topic);
    }
    for route in routes::resolve(&world).routes {
        if !route.blocked.is_empty() {
            continue;
        }
        let link = &topology.links[&route.link];
        if link.engine == Engine::ClusterLink {
            // Brokers keep its configs; only what the file sets on the mirror itself is compared.
            let settings = link.mirrors.get(&route.source_topic);
            if settings.is_some_and(|it| !it.config.is_empty()) {
                let destination = interest.entry(link.destination.clone()).or_default();
                destination.configs.insert(route.destination_topic);
            }
            continue;
        }
        if world
            .cluster(&link.source)
            .topics
            .contains_key(&route.source_topic)
        {
            let source = interest.entry(link.source.clone()).or_default();
            let recorded = world
                .records(&link.destination)
                .is_some_and(|records| !records.copied_from(&route.source_topic).is_empty());
            if !recorded && link.offsets != OffsetsSpec::Translate {
                source.contents.insert(route.source_topic.clone());
            }
            source.configs.insert(route.source_topic);
        }
        let seen = world.cluster(&link.destination);
        if seen.topics.contains_key(&route.destination_topic) {
            let destination = interest.entry(link.destination.clone()).or_default();
            let recorded = world
                .records(&link.destination)
                .is_some_and(|records| !records.written_to(&route.destination_topic).is_empty());
            if !recorded {
                destination.contents.insert(route.destination_topic.clone());
            }
            destination.configs.insert(route.destination_topic);
        }
    }
    interest
}

fn clusters(topology: &Topology, observed: &Observed) -> Vec<PlannedCluster> {
    let mut clusters: Vec<_> = topology
        .clusters
        .keys()
        .filter_map(|name| {
            let seen = observed.clusters.get(name)?;
            Some(PlannedCluster {
                name: name.clone(),
                cluster_id: seen.cluster_id.clone(),
                brokers: seen.live_brokers.len(),
            })
        })
        .collect();
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    clusters
}

/// Nothing is planned on a cluster that is not the one the file means.
fn check_pins(world: &mut World<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for cluster in world.topology.clusters.values() {
        let found = &world.cluster(&cluster.name).cluster_id;
        let Some(pin) = cluster
            .cluster_id
            .as_ref()
            .filter(|pin| pin.value != *found)
        else {
            continue;
        };
        let blocker = Blocker::ClusterIdMismatch {
            cluster: cluster.name.clone(),
            pinned: pin.value.clone(),
            found: found.clone(),
        };
        let mut entry = Entry::new(Address::Cluster(cluster.name.clone()), &cluster.name);
        entry.asked_by = world.place(pin.span);
        entry.block(blocker.clone());
        entries.push(entry);
        world.blocked.insert(cluster.name.clone(), blocker);
    }
    entries
}

fn plan_links(world: &mut World<'_>, routes: &[routes::Route], plan: &mut Plan) {
    let topology = world.topology;
    let (by_brokers, by_workers): (Vec<&Link>, Vec<&Link>) = topology
        .links
        .values()
        .partition(|link| link.engine == Engine::ClusterLink);
    let planned: BTreeMap<&str, links::PlannedLink<'_>> = by_workers
        .into_iter()
        .map(|link| (link.name.as_str(), links::plan_link(world, link)))
        .collect();
    let of_brokers: BTreeMap<&str, PlannedBrokerLink<'_>> = by_brokers
        .into_iter()
        .map(|link| (link.name.as_str(), cluster_link::plan_link(world, link)))
        .collect();
    plan.entries.extend(plan_control(world, &planned));
    let doomed = plan_deletions(world, &planned, plan);
    for route in routes {
        if let Some(link) = of_brokers.get(route.link.as_str()) {
            if link.entry.blocked.is_empty() {
                let entry = cluster_link::plan_mirror(world, link, route);
                plan.entries.push(entry);
            }
            continue;
        }
        let link = &planned[route.link.as_str()];
        // A blocked link says so once, not once a mirror.
        if link.entry.blocked.is_empty() {
            plan.entries.push(mirrors::plan_mirror(world, link, route));
        }
    }
    for (name, link) in planned {
        let declared = &topology.links[name];
        if deletions::is_doomed(declared) {
            let entry = match link.entry.blocked.is_empty() {
                true => doomed.plan_link(world, declared, link.applied, link.entry),
                false => link.entry,
            };
            plan.entries.push(entry);
            continue;
        }
        if link.entry.blocked.is_empty() {
            let routed: BTreeSet<&str> = routes
                .iter()
                .filter(|route| route.link == name)
                .map(|route| route.source_topic.as_str())
                .collect();
            let is_routed =
                |topic: &str| routed.contains(topic) || deletions::is_absent(declared, topic);
            plan.entries.extend(mirrors::plan_unselected(
                world,
                &topology.links[name],
                &link,
                is_routed,
            ));
            plan.notes
                .extend(endings::pending(world, &topology.links[name], &link));
            plan.notes
                .extend(gone_sources(world, &topology.links[name], &link));
            plan.notes
                .extend(naming::unowned(world, &topology.links[name], routes));
        }
        plan.entries.push(link.entry);
    }
    plan.notes.extend(cluster_link::notes(world, routes));
    for (name, link) in of_brokers {
        if link.entry.blocked.is_empty() || deletions::is_doomed(&topology.links[name]) {
            plan.entries
                .extend(cluster_link::plan_absent(world, &topology.links[name]));
        }
        plan.entries.push(link.entry);
    }
}

/// Whatever the file wants to be gone, except links, which go last.
fn plan_deletions(
    world: &World<'_>,
    planned: &BTreeMap<&str, links::PlannedLink<'_>>,
    plan: &mut Plan,
) -> Doomed {
    let topology = world.topology;
    let links = || {
        planned
            .iter()
            .filter(|(_, link)| link.entry.blocked.is_empty())
            .map(|(name, link)| (&topology.links[*name], link.applied))
    };
    let doomed = Doomed::find(world, links());
    for (link, applied) in links() {
        plan.entries
            .extend(doomed.plan_mirrors(world, link, applied));
    }
    for cluster in topology.clusters.values() {
        if world.blocked.contains_key(&cluster.name) {
            continue;
        }
        for owned in cluster.topics.values() {
            if owned.absent.is_some() {
                plan.entries
                    .push(doomed.plan_owned(world, &cluster.name, owned));
            }
        }
    }
    doomed
}

/// The internal topics, on each destination that has not got them all.
fn plan_control(world: &World<'_>, planned: &BTreeMap<&str, links::PlannedLink<'_>>) -> Vec<Entry> {
    let destinations: BTreeSet<&str> = planned
        .iter()
        .filter(|(name, link)| {
            link.entry.blocked.is_empty() && !deletions::is_doomed(&world.topology.links[**name])
        })
        .map(|(_, link)| link.entry.cluster.as_str())
        .collect();
    let mut entries = Vec::new();
    for cluster in destinations {
        let seen = world.cluster(cluster);
        let mut entry = Entry::new(Address::Control(cluster.to_owned()), cluster);
        let missing: Vec<String> = [LINKS_TOPIC, OFFSETS_TOPIC, WORK_TOPIC]
            .into_iter()
            .filter(|topic| !seen.topics.contains_key(*topic))
            .map(str::to_owned)
            .collect();
        if !missing.is_empty() {
            let replicas = CONTROL_REPLICAS.min(seen.live_brokers.len());
            entry.changes = vec![
                Change {
                    attribute: "topics".to_owned(),
                    old: None,
                    new: Some(Side::new(Value::List(missing), Origin::Builtin)),
                    asked_by: None,
                },
                Change {
                    attribute: "replication_factor".to_owned(),
                    old: None,
                    new: Some(Side::new(
                        Value::Int(i64::try_from(replicas).unwrap_or(1)),
                        Origin::Builtin,
                    )),
                    asked_by: None,
                },
            ];
            entry.rehearsal = Rehearsal::Pending;
            entry.act(Action::Create, Operation::ControlTopics);
        }
        entries.push(entry);
    }
    entries
}

/// Mirrors that a pattern still takes and whose source topic is gone.
fn gone_sources(
    world: &World<'_>,
    link: &crate::topology::model::Link,
    planned: &links::PlannedLink<'_>,
) -> Vec<Note> {
    let (Some(applied), Some(control)) =
        (planned.applied, &world.cluster(&link.destination).control)
    else {
        return Vec::new();
    };
    let rule = LinkRule::from(link);
    control
        .mirrors
        .iter()
        .filter(|record| record.id.link == applied.id)
        .filter(|record| world.topic(&link.source, &record.source_topic).is_none())
        .filter(|record| {
            rule.takes(&record.source_topic)
                .is_some_and(|reason| !reason.literal)
        })
        .map(|record| {
            let (link, cluster) = (link.name.clone(), link.source.clone());
            let source_topic = record.source_topic.clone();
            let destination_topic = record.destination_topic.clone();
            let seen = world.cluster(&cluster);
            if seen.hidden.contains(&source_topic) {
                Note::SourceHidden {
                    link,
                    cluster,
                    source_topic,
                    destination_topic,
                    user: seen.user.clone(),
                }
            } else {
                Note::SourceGone {
                    link,
                    cluster,
                    source_topic,
                    destination_topic,
                }
            }
        })
        .collect()
}

fn notes(world: &World<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    for (name, seen) in &world.observed.clusters {
        let Some(control) = &seen.control else {
            continue;
        };
        for link in &control.links {
            if link.destination_cluster_id == seen.cluster_id && !routes::in_file(world, link) {
                notes.push(Note::LinkNotInFile {
                    cluster: name.clone(),
                    link: link.name.clone(),
                    rest: link.owner == Owner::Rest,
                });
            }
        }
        if let Some(lock) = &control.lock {
            notes.push(Note::Locked {
                cluster: name.clone(),
                holder: lock.holder.clone(),
                command: lock.command.clone(),
                since_ms: lock.since_ms,
            });
        }
    }
    notes
}
