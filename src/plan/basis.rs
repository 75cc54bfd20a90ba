//! What each action rests on, so that a plan made today can be held against the clusters of tomorrow.
//!
//! An action's *basis* is what was seen of the things that it is about: which clusters they are, the ids and partitions of
//! topics, the state of kmirror's own records. Its *fingerprint* is a digest of the action with everything that it would
//! write and of that basis. Values that the action would change stand in its changes. A topic that somebody deleted and made
//! anew with the same settings has another basis, so what was meant for the former is not done to it.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use serde::Serialize;

use super::model::{Action, Address, Change, Entry, Operation, Plan, Side};
use super::world::World;
use crate::control::records::{DesiredState, LinkRecord};
use crate::observe::model::ObservedCluster;
use crate::topology::engines::Engine;
use crate::topology::model::Link;

/// Says of what is not there that it is not.
const NONE: &str = "none";

/// Says so of a cluster that can't be read.
const NOT_READ: &str = "not read";

/// Gives every entry that an apply would write for its basis and its fingerprint.
pub(super) fn bind(plan: &mut Plan, world: &World<'_>) {
    for entry in &mut plan.entries {
        if entry.action.changes() {
            entry.basis = basis(entry, world);
            entry.fingerprint = Some(fingerprint(entry));
        }
    }
}

fn basis(entry: &Entry, world: &World<'_>) -> BTreeMap<String, String> {
    let mut basis = Basis::default();
    let (topology, cluster) = (world.topology, |name: &str| {
        world.observed.clusters.get(name)
    });
    match &entry.address {
        Address::Cluster(name) | Address::Control(name) => basis.cluster("cluster", cluster(name)),
        Address::Topic {
            cluster: name,
            topic,
        } => {
            basis.cluster("cluster", cluster(name));
            basis.topic("topic", cluster(name), topic);
        }
        Address::Link(name) => {
            let link = &topology.links[name];
            let destination = cluster(&link.destination);
            basis.cluster("source", cluster(&link.source));
            basis.cluster("destination", destination);
            let former = link.moved.as_ref().map(|moved| moved.value.as_str());
            let names = [Some(name.as_str()), former];
            let record = records(destination)
                .find(|record| names.into_iter().flatten().any(|name| record.name == *name));
            if link.engine == Engine::ClusterLink {
                basis.set("link", broker_link(link, world));
            } else {
                basis.set("record", record.map(link_record));
            }
        }
        Address::Mirror { link, source_topic } => {
            let link = &topology.links[link];
            let (source, destination) = (cluster(&link.source), cluster(&link.destination));
            basis.cluster("source", source);
            basis.cluster("destination", destination);
            basis.topic("source", source, source_topic);
            if let Some(route) = &entry.route {
                basis.topic("destination", destination, &route.destination_topic);
            }
            if link.engine == Engine::ClusterLink {
                basis.set("mirror", broker_mirror(entry, link, world));
            } else {
                basis.set("record", mirror_record(entry, &link.destination, world));
            }
        }
    }
    basis.0
}

#[derive(Default)]
struct Basis(BTreeMap<String, String>);

impl Basis {
    fn set(&mut self, key: &str, value: Option<String>) {
        let value = value.unwrap_or_else(|| NONE.to_owned());
        self.0.insert(key.to_owned(), value);
    }

    fn cluster(&mut self, end: &str, cluster: Option<&ObservedCluster>) {
        let id = cluster.map_or(NOT_READ, |cluster| &cluster.cluster_id);
        self.set(&format!("{end}.cluster_id"), Some(id.to_owned()));
    }

    fn topic(&mut self, end: &str, cluster: Option<&ObservedCluster>, topic: &str) {
        let Some(cluster) = cluster else {
            return;
        };
        let seen = cluster.topics.get(topic);
        self.set(
            &format!("{end}.topic_id"),
            seen.map(|topic| topic.id.to_string()),
        );
        self.set(
            &format!("{end}.partitions"),
            seen.map(|topic| topic.partitions.to_string()),
        );
    }
}

fn records(cluster: Option<&ObservedCluster>) -> impl Iterator<Item = &LinkRecord> {
    let control = cluster.and_then(|cluster| cluster.control.as_ref());
    control.into_iter().flat_map(|control| &control.links)
}

fn link_record(record: &LinkRecord) -> String {
    let (id, generation) = (record.id, record.generation);
    format!("{id}, {}, generation {generation}", state(record.state))
}

/// The link that brokers have, by the id that is the same for both halves.
fn broker_link(link: &Link, world: &World<'_>) -> Option<String> {
    let there = world
        .observed
        .clusters
        .get(&link.destination)?
        .linking
        .known()?;
    let live = &there.links.get(link.broker_name())?.link;
    let id = live.cluster_link_id.as_deref().unwrap_or("no id");
    Some(format!("{}, {id}", live.link_name))
}

/// The mirror topic that brokers have.
fn broker_mirror(entry: &Entry, link: &Link, world: &World<'_>) -> Option<String> {
    let topic = &entry.route.as_ref()?.destination_topic;
    let there = world
        .observed
        .clusters
        .get(&link.destination)?
        .linking
        .known()?;
    let live = there.mirrors.get(topic)?;
    Some(format!("{}, {}", live.link_name, live.mirror_status))
}

/// What is recorded of whoever writes, or wrote, to the mirror's topic.
fn mirror_record(entry: &Entry, destination: &str, world: &World<'_>) -> Option<String> {
    let topic = &entry.route.as_ref()?.destination_topic;
    let records = world.records(destination)?.written_to(topic).iter();
    let mut records: Vec<String> = records
        .map(|record| {
            let (id, generation) = (record.id, record.generation);
            format!("{id}, {}, generation {generation}", state(record.state))
        })
        .collect();
    records.sort();
    (!records.is_empty()).then(|| records.join("; "))
}

fn state(state: DesiredState) -> &'static str {
    match state {
        DesiredState::Active => "active",
        DesiredState::Paused => "paused",
    }
}

/// The parts of an entry that decide what is done; neither its lines in the file nor its reasons.
#[derive(Serialize)]
struct Bound<'e> {
    address: &'e Address,
    action: Action,
    changes: Vec<Sides<'e>>,
    basis: &'e BTreeMap<String, String>,
    operation: &'e Operation,
}

type Sides<'e> = (&'e str, Option<&'e Side>, Option<&'e Side>);

fn sides(change: &Change) -> Sides<'_> {
    (&change.attribute, change.old.as_ref(), change.new.as_ref())
}

/// 128 bits of a SHA-256, in hexadecimal digits.
fn fingerprint(entry: &Entry) -> String {
    let bound = Bound {
        address: &entry.address,
        action: entry.action,
        changes: entry.changes.iter().map(sides).collect(),
        basis: &entry.basis,
        operation: &entry.operation,
    };
    let bytes = serde_json::to_vec(&bound).expect("an entry has only serialisable parts");
    let digest = digest(&SHA256, &bytes);
    digest.as_ref()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
