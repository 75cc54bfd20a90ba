//! Mirror topics that brokers fill.

use std::collections::BTreeSet;

use super::link::PlannedBrokerLink;
use crate::observe::model::{Configs as TopicConfigs, Described, ObservedTopic};
use crate::plan::model::{
    Action, Address, BrokerMirrorOperation, Change, DoomedTopic, Entry, MirrorAction,
    NewBrokerMirror, Operation, Origin, Rehearsal, Route as ShownRoute, Side, TopicChanges,
};
use crate::plan::reason::{Blocker, Note, Reason};
use crate::plan::routes::Route;
use crate::plan::world::{TopicView, World};
use crate::rest::documents::{Mirror as LiveMirror, MirrorLag, MirrorState as Live};
use crate::topology::model::{Link, Mirror, MirrorState, Span};

/// Topic configs that brokers always take over from the source.
const ALWAYS_SYNCED: &[&str] = &[
    "cleanup.policy",
    "max.message.bytes",
    "message.timestamp.difference.max.ms",
    "message.timestamp.type",
];

/// Ids of Confluent Cloud's clusters begin with this.
const CLOUD: &str = "lkc-";
/// What it gives every topic.
const CLOUD_REPLICAS: i16 = 3;

/// What the file wants of one mirror topic, with what is there.
struct Planner<'p> {
    link: &'p Link,
    route: &'p Route,
    settings: Option<&'p Mirror>,
    entry: Entry,
    operation: BrokerMirrorOperation,
}

/// Plans one mirror topic and lets the world know of it.
pub(in crate::plan) fn plan_mirror(
    world: &mut World<'_>,
    planned: &PlannedBrokerLink<'_>,
    route: &Route,
) -> Entry {
    let topology = world.topology;
    let link = &topology.links[&route.link];
    let mut entry = new_entry(world, link, &route.source_topic, &route.destination_topic);
    entry.asked_by = route.asked_by.and_then(|span| world.place(span));
    if !route.blocked.is_empty() {
        for blocker in &route.blocked {
            entry.block(blocker.clone());
        }
        return entry;
    }
    if planned.entry.action.changes() {
        entry.depends_on.push(planned.entry.address.clone());
    }
    let source = world.topic(&link.source, &route.source_topic);
    let made_by = source.as_ref().and_then(|source| source.made_by.clone());
    entry.depends_on.extend(made_by);
    let mut planner = Planner {
        link,
        route,
        settings: link.mirrors.get(&route.source_topic),
        operation: operation(link, &route.destination_topic),
        entry,
    };
    planner.check_factor(world);
    let destination = world.cluster(&link.destination);
    let live = destination.topics.get(&route.destination_topic);
    let linking = destination.linking.known();
    let mirror = linking.and_then(|it| it.mirrors.get(&route.destination_topic));
    match (mirror, live) {
        (Some(mirror), live) => planner.go_on(world, planned, mirror, live),
        (None, Some(_)) => planner.taken(),
        (None, None) => planner.create(world, source.as_ref()),
    }
    planner.entry
}

fn operation(link: &Link, topic: &str) -> BrokerMirrorOperation {
    BrokerMirrorOperation {
        link: link.broker_name().to_owned(),
        topic: topic.to_owned(),
        create: None,
        action: None,
        alter: TopicChanges {
            name: topic.to_owned(),
            ..TopicChanges::default()
        },
        delete: None,
    }
}

fn new_entry(world: &World<'_>, link: &Link, source: &str, destination: &str) -> Entry {
    let address = Address::Mirror {
        link: link.name.clone(),
        source_topic: source.to_owned(),
    };
    let mut entry = Entry::new(address, &link.destination);
    entry.asked_by = world.place(link.span);
    if !destination.is_empty() {
        entry.route = Some(ShownRoute {
            source_cluster: link.source.clone(),
            source_topic: source.to_owned(),
            destination_cluster: link.destination.clone(),
            destination_topic: destination.to_owned(),
        });
    }
    entry
}

/// The state that the file asks for, in its own words.
fn word(state: MirrorState) -> &'static str {
    match state {
        MirrorState::Active => "active",
        MirrorState::Paused => "paused",
        MirrorState::Promoted => "promoted",
        MirrorState::FailedOver => "failed-over",
        MirrorState::Absent => "absent",
    }
}

/// Messages that the mirror lacks, as far as all partitions tell.
fn lag(lags: &[MirrorLag]) -> Option<u64> {
    lags.iter().map(MirrorLag::known).sum()
}

impl Planner<'_> {
    fn wanted(&self) -> (MirrorState, Option<Span>) {
        let state = self.settings.and_then(|it| it.state.as_ref());
        state.map_or((MirrorState::Active, None), |it| (it.value, Some(it.span)))
    }

    fn destination(&self) -> &str {
        &self.link.destination
    }

    fn factor(&self) -> Option<(i16, Span)> {
        let own = self.settings.and_then(|it| it.replication_factor.as_ref());
        let factor = own.or(self.link.replication_factor.as_ref())?;
        Some((factor.value, factor.span))
    }

    fn check_factor(&mut self, world: &World<'_>) {
        let is_cloud = world
            .cluster(self.destination())
            .cluster_id
            .starts_with(CLOUD);
        if let Some((factor, _)) = self
            .factor()
            .filter(|it| is_cloud && it.0 != CLOUD_REPLICAS)
        {
            self.entry.block(Blocker::FactorOnCloud {
                cluster: self.link.destination.clone(),
                wanted: factor,
            });
        }
    }

    fn change(
        &mut self,
        attribute: &str,
        old: Option<Side>,
        new: Side,
        place: Option<Span>,
        world: &World<'_>,
    ) {
        self.entry.changes.push(Change {
            attribute: attribute.to_owned(),
            old,
            new: Some(new),
            asked_by: place.and_then(|span| world.place(span)),
        });
    }

    /// An ordinary topic of that name: what was promoted and forgotten, or never was a mirror.
    fn taken(&mut self) {
        if matches!(
            self.wanted().0,
            MirrorState::Promoted | MirrorState::FailedOver
        ) {
            return;
        }
        self.entry.block(Blocker::MirrorNameTaken {
            cluster: self.link.destination.clone(),
            topic: self.route.destination_topic.clone(),
        });
    }

    fn create(&mut self, world: &mut World<'_>, source: Option<&TopicView>) {
        let (state, place) = self.wanted();
        if matches!(state, MirrorState::Promoted | MirrorState::FailedOver) {
            self.entry.block(Blocker::NothingToPromote {
                cluster: self.link.destination.clone(),
                topic: self.route.destination_topic.clone(),
            });
        }
        let route = self.route;
        if let Some((factor, span)) = self.factor() {
            let new = Side::new(factor, Origin::File);
            self.change("replication_factor", None, new, Some(span), world);
        }
        let configs: Vec<(String, String)> = self
            .settings
            .into_iter()
            .flat_map(|it| &it.config)
            .map(|(key, value)| (key.clone(), value.value.clone()))
            .collect();
        for (key, value) in &configs {
            self.check_config(None, key);
            let new = Side::new(value.clone(), Origin::File);
            let place = self
                .settings
                .and_then(|it| it.config.get(key))
                .map(|it| it.span);
            self.change(&format!("config.{key}"), None, new, place, world);
        }
        if state == MirrorState::Paused {
            self.operation.action = Some(MirrorAction::Pause);
            let new = Side::new("paused", Origin::File);
            self.change("state", None, new, place, world);
        }
        let renamed = route.destination_topic != route.source_topic;
        self.operation.create = Some(NewBrokerMirror {
            source_topic: route.source_topic.clone(),
            mirror_topic: renamed.then(|| route.destination_topic.clone()),
            replication_factor: self.factor().map(|it| it.0),
            configs,
        });
        let operation = Operation::BrokerMirror(self.operation.clone());
        self.entry.act(Action::Create, operation);
        if self.entry.blocked.is_empty() {
            let view = TopicView {
                id: None,
                partitions: source.and_then(|source| source.partitions),
                replication_factor: self.factor().map(|it| it.0),
                configs: Described::NotAsked,
                made_by: Some(self.entry.address.clone()),
            };
            world.set(&self.link.destination, &route.destination_topic, view);
        }
    }

    /// A mirror that is there.
    fn go_on(
        &mut self,
        world: &World<'_>,
        planned: &PlannedBrokerLink<'_>,
        mirror: &LiveMirror,
        live: Option<&ObservedTopic>,
    ) {
        let is_own = mirror.link_name == self.link.broker_name()
            && mirror.source_topic_name == self.route.source_topic;
        if !is_own {
            self.entry.block(Blocker::DestinationTaken {
                cluster: self.link.destination.clone(),
                topic: self.route.destination_topic.clone(),
                by: format!("link.{} of its brokers", mirror.link_name),
            });
            return;
        }
        let step = self.step(world, mirror);
        if let (Some((factor, _)), Some(live)) = (self.factor(), live)
            && live.replication_factor != factor
        {
            self.entry.block(Blocker::ReplicationFactorFixed {
                cluster: self.link.destination.clone(),
                topic: self.route.destination_topic.clone(),
                has: live.replication_factor,
                wanted: factor,
            });
        }
        if let Some(configs) = live.and_then(|live| live.configs.known()) {
            self.alter(world, planned, configs);
        }
        let action = match step {
            Some(MirrorAction::Promote) => Action::Promote,
            Some(MirrorAction::FailOver) => Action::FailOver,
            Some(MirrorAction::Pause) if self.operation.alter.is_empty() => Action::Pause,
            Some(MirrorAction::Resume) if self.operation.alter.is_empty() => Action::Resume,
            Some(_) => Action::Update,
            None if self.operation.alter.is_empty() => return,
            None => Action::Update,
        };
        self.operation.action = step;
        if step.is_some() {
            self.entry.rehearsal = Rehearsal::Pending;
        }
        let operation = Operation::BrokerMirror(self.operation.clone());
        self.entry.act(action, operation);
        if !self.entry.blocked.is_empty() {
            self.entry.rehearsal = Rehearsal::NotNeeded;
        }
    }

    /// What leads from the state that the mirror has to the one that the file asks for.
    fn step(&mut self, world: &World<'_>, mirror: &LiveMirror) -> Option<MirrorAction> {
        let (wanted, place) = self.wanted();
        let state = &mirror.mirror_status;
        let lag = lag(&mirror.mirror_lags);
        let step = match (wanted, state) {
            (MirrorState::Promoted | MirrorState::FailedOver, Live::Stopped) => return None,
            (MirrorState::Promoted | MirrorState::FailedOver, Live::PendingStopped) => {
                self.tell(mirror);
                return None;
            }
            (_, Live::Stopped | Live::PendingStopped) => {
                self.entry.block(Blocker::MirrorEnded {
                    cluster: self.link.destination.clone(),
                    topic: self.route.destination_topic.clone(),
                });
                return None;
            }
            (MirrorState::Promoted, Live::Active | Live::Paused | Live::LinkPaused) => {
                self.entry.reasons.push(Reason::LagAtEnd { lag });
                MirrorAction::Promote
            }
            (MirrorState::Promoted, state) => {
                self.entry.block(Blocker::CannotPromote {
                    cluster: self.link.destination.clone(),
                    topic: self.route.destination_topic.clone(),
                    state: state.to_string(),
                });
                return None;
            }
            (MirrorState::FailedOver, _) => {
                self.entry.reasons.push(Reason::LagAtEnd { lag });
                MirrorAction::FailOver
            }
            (MirrorState::Active, Live::Paused) => MirrorAction::Resume,
            (MirrorState::Paused, Live::Paused) => return None,
            (MirrorState::Paused, Live::Failed) => {
                self.tell(mirror);
                return None;
            }
            (MirrorState::Paused, _) => MirrorAction::Pause,
            (MirrorState::Active | MirrorState::Absent, Live::Active) => return None,
            (MirrorState::Active | MirrorState::Absent, _) => {
                self.tell(mirror);
                return None;
            }
        };
        let old = Side::new(state.as_str().to_ascii_lowercase(), Origin::Live);
        let new = Side::new(word(wanted), Origin::File);
        self.change("state", Some(old), new, place, world);
        Some(step)
    }

    fn tell(&mut self, mirror: &LiveMirror) {
        let error = mirror.mirror_topic_error.clone();
        let error = error.filter(|error| !matches!(error.as_str(), "NO_ERROR" | "NOT_SET"));
        self.entry.reasons.push(Reason::MirrorInState {
            state: mirror.mirror_status.to_string(),
            error,
        });
    }

    /// Configs that the file sets on the mirror itself.
    fn alter(&mut self, world: &World<'_>, planned: &PlannedBrokerLink<'_>, live: &TopicConfigs) {
        let Some(settings) = self.settings else {
            return;
        };
        for (key, value) in &settings.config {
            self.check_config(Some(planned), key);
            let has = live.get(key);
            if has.and_then(|it| it.value.as_ref()) == Some(&value.value) {
                continue;
            }
            let old = has.map(|it| Side::new(it.value.clone(), Origin::Live));
            let new = Side::new(value.value.clone(), Origin::File);
            self.change(&format!("config.{key}"), old, new, Some(value.span), world);
            let configs = &mut self.operation.alter.configs;
            configs.push((key.clone(), Some(value.value.clone())));
        }
    }

    /// A config that brokers take over from the source is not the mirror's own.
    fn check_config(&mut self, planned: Option<&PlannedBrokerLink<'_>>, key: &str) {
        let link = planned.and_then(|planned| planned.live);
        let list = link.and_then(|live| live.configs.get("topic.config.sync.include"));
        let list = list.and_then(|it| it.value.as_deref()).unwrap_or_default();
        let written = self.link.brokers.configs.get("topic.config.sync.include");
        let list = written.map_or(list, |it| it.value.value.expose());
        let is_always = ALWAYS_SYNCED.contains(&key);
        if is_always || list.split(',').any(|it| it.trim() == key) {
            self.entry.block(Blocker::ConfigSyncedByBrokers {
                key: key.to_owned(),
                is_always,
            });
        }
    }
}

/// What is asked of a mirror that is there, whatever its source is like.
pub(super) fn plan_step(world: &World<'_>, link: &Link, mirror: &LiveMirror) -> Entry {
    let (source, topic) = (&mirror.source_topic_name, &mirror.mirror_topic_name);
    let entry = new_entry(world, link, source, topic);
    let route = Route {
        link: link.name.clone(),
        source_topic: source.clone(),
        destination_topic: topic.clone(),
        asked_by: None,
        blocked: Vec::new(),
        depth: 0,
        in_ring: false,
    };
    let mut planner = Planner {
        link,
        route: &route,
        settings: link.mirrors.get(source),
        operation: operation(link, topic),
        entry,
    };
    let step = planner.step(world, mirror);
    let Planner {
        mut entry,
        mut operation,
        ..
    } = planner;
    if let Some(step) = step {
        operation.action = Some(step);
        let action = match step {
            MirrorAction::Pause => Action::Pause,
            MirrorAction::Resume => Action::Resume,
            // No file asks for a reversal, whose first half is a promotion.
            MirrorAction::Promote
            | MirrorAction::ReverseAndStart
            | MirrorAction::ReverseAndPause => Action::Promote,
            MirrorAction::FailOver => Action::FailOver,
        };
        entry.rehearsal = Rehearsal::Pending;
        entry.act(action, Operation::BrokerMirror(operation));
    }
    entry
}

/// Mirror topics that the file wants to be gone.
pub(in crate::plan) fn plan_absent(world: &World<'_>, link: &Link) -> Vec<Entry> {
    let absent = link.mirrors.values().filter(|mirror| mirror.is_absent());
    absent
        .map(|mirror| plan_deletion(world, link, mirror))
        .collect()
}

fn plan_deletion(world: &World<'_>, link: &Link, mirror: &Mirror) -> Entry {
    let topic = match link.prefix() {
        Some(prefix) => format!("{prefix}{}", mirror.source_topic),
        None => mirror.source_topic.clone(),
    };
    let mut entry = new_entry(world, link, &mirror.source_topic, &topic);
    let place = mirror.state.as_ref().map(|state| state.span);
    entry.asked_by = place.and_then(|span| world.place(span));
    let destination = world.cluster(&link.destination);
    let there = destination.linking.known();
    let live = there.and_then(|it| it.mirrors.get(&topic));
    let own = live.filter(|it| it.link_name == link.broker_name());
    let Some(own) = own else {
        if destination.topics.contains_key(&topic) {
            entry.block(Blocker::MirrorNameTaken {
                cluster: link.destination.clone(),
                topic,
            });
        } else {
            entry.route = None;
        }
        return entry;
    };
    let Some(seen) = destination.topics.get(&topic) else {
        return entry;
    };
    entry.changes.push(Change {
        attribute: "state".to_owned(),
        old: Some(Side::new(
            own.mirror_status.as_str().to_ascii_lowercase(),
            Origin::Live,
        )),
        new: Some(Side::new("absent", Origin::File)),
        asked_by: entry.asked_by.clone(),
    });
    entry.reasons.push(Reason::DeletesTopic {
        cluster: link.destination.clone(),
        topic: topic.clone(),
        partitions: seen.partitions,
        offsets: seen.contents.known().map(|contents| contents.offsets),
    });
    let mut operation = operation(link, &topic);
    operation.delete = Some(DoomedTopic {
        name: topic,
        id: seen.id,
    });
    entry.act(Action::Delete, Operation::BrokerMirror(operation));
    entry
}

/// What brokers have and the file does not speak of: it is left alone.
pub(in crate::plan) fn notes(world: &World<'_>, routes: &[Route]) -> Vec<Note> {
    let mut notes = Vec::new();
    for (cluster, seen) in &world.observed.clusters {
        let Some(there) = seen.linking.known() else {
            continue;
        };
        for name in there.links.keys() {
            let halves = |link: &&Link| {
                link.destination == *cluster
                    || (link.has_half_at_source() && link.source == *cluster)
            };
            let mut links = world.topology.links.values();
            let declared = links.find(|link| halves(link) && link.broker_name() == name);
            let Some(link) = declared else {
                notes.push(Note::BrokerLinkNotInFile {
                    cluster: cluster.clone(),
                    link: name.clone(),
                });
                continue;
            };
            if link.destination != *cluster {
                continue;
            }
            let routed: BTreeSet<&str> = routes
                .iter()
                .filter(|route| route.link == link.name)
                .map(|route| route.source_topic.as_str())
                .collect();
            let own = there.mirrors.values().filter(|it| it.link_name == *name);
            let others: Vec<String> = own
                .filter(|it| it.mirror_status != Live::Stopped)
                .filter(|it| !routed.contains(it.source_topic_name.as_str()))
                .filter(|it| {
                    let named = link.mirrors.get(&it.source_topic_name);
                    !named.is_some_and(Mirror::is_absent)
                })
                .map(|it| it.mirror_topic_name.clone())
                .collect();
            if !others.is_empty() {
                notes.push(Note::BrokerMirrorsNotInFile {
                    link: link.name.clone(),
                    cluster: cluster.clone(),
                    topics: others,
                });
            }
        }
    }
    notes
}
