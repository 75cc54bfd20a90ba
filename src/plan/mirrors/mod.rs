//! Mirrors: the topic at the destination and the record of the incarnation that writes to it.
//!
//! A destination topic is written only where its history is known: made by this plan, recorded as
//! this link's by the ids of both topics, or never written by anybody. Everything else is blocked,
//! because a copy on top of something else can't be told from that later.

mod identity;

use super::diff::{self, ConfigDiff, Others};
use super::endings;
use super::links::{self, PlannedLink};
use super::model::{
    Action, Address, Change, Entry, MirrorOperation, MirrorRecordChange, MirrorTopic, Operation,
    Origin, Place, Rehearsal, Route as ShownRoute, Side, TopicChanges,
};
use super::reason::{Blocker, Reason, Unread};
use super::routes::Route;
use super::sync::{self, DesiredTopic, MirrorWishes, SourceTopic};
use super::world::{TopicView, World};
use crate::control::records::{DesiredState, MirrorRecord};
use crate::mirror::batch::filler;
use crate::observe::model::{Configs, Described, ObservedTopic};
use crate::topology::model::{Link, Mirror, MirrorState, OffsetsSpec, Start};

/// Plans one mirror and lets the world know what its topic will be.
pub(super) fn plan_mirror(
    world: &mut World<'_>,
    planned: &PlannedLink<'_>,
    route: &Route,
) -> Entry {
    let topology = world.topology;
    let link = &topology.links[&route.link];
    let mut entry = new_entry(world, link, route);
    if !route.blocked.is_empty() {
        for blocker in &route.blocked {
            entry.block(blocker.clone());
        }
        return entry;
    }
    let topic = (link, route.source_topic.as_str());
    if endings::plan(world, planned, topic, &mut entry) {
        return entry;
    }
    let source = world
        .topic(&link.source, &route.source_topic)
        .expect("only topics that exist or will exist are resolved");
    depend(world, link, planned, &source, &mut entry);
    let Some((partitions, configs)) = readable_source(link, route, &source, &mut entry) else {
        return entry;
    };
    let mut mirror = MirrorPlanner {
        link,
        route,
        settings: link.mirrors.get(&route.source_topic),
        source: &source,
        partitions,
        configs,
        entry,
    };
    match world
        .cluster(&link.destination)
        .topics
        .get(&route.destination_topic)
    {
        None => mirror.create(world, planned),
        Some(live) => mirror.update(world, planned, live),
    }
    mirror.entry
}

/// Mirrors of the link that the file selects no more: they are paused, and keep what they have.
pub(super) fn plan_unselected(
    world: &World<'_>,
    link: &Link,
    planned: &PlannedLink<'_>,
    is_routed: impl Fn(&str) -> bool,
) -> Vec<Entry> {
    let (Some(applied), Some(control)) =
        (planned.applied, &world.cluster(&link.destination).control)
    else {
        return Vec::new();
    };
    let mut entries = Vec::new();
    for record in &control.mirrors {
        let gone = world.topic(&link.source, &record.source_topic).is_none();
        if record.id.link != applied.id
            || record.state == DesiredState::Paused
            || record.ending.is_some()
            || gone
            || is_routed(&record.source_topic)
        {
            continue;
        }
        let mut entry = Entry::new(
            Address::Mirror {
                link: link.name.clone(),
                source_topic: record.source_topic.clone(),
            },
            &link.destination,
        );
        entry.route = Some(shown_route(
            link,
            &record.source_topic,
            &record.destination_topic,
        ));
        entry.reasons.push(Reason::NoLongerSelected);
        entry.asked_by = world.place(link.span);
        entry.changes.push(Change {
            attribute: "state".to_owned(),
            old: Some(Side::new(links::state(record.state), Origin::Applied)),
            new: Some(Side::new("paused", Origin::Builtin)),
            asked_by: None,
        });
        entry.act(
            Action::Pause,
            Operation::Mirror(MirrorOperation {
                link: link.name.clone(),
                source_cluster: link.source.clone(),
                source_topic: record.source_topic.clone(),
                destination_topic: record.destination_topic.clone(),
                topic: MirrorTopic::Alter(TopicChanges::default()),
                record: MirrorRecordChange::State {
                    id: record.id,
                    state: DesiredState::Paused,
                    generation: record.generation,
                },
            }),
        );
        entries.push(entry);
    }
    entries
}

fn new_entry(world: &World<'_>, link: &Link, route: &Route) -> Entry {
    let mut entry = Entry::new(
        Address::Mirror {
            link: link.name.clone(),
            source_topic: route.source_topic.clone(),
        },
        &link.destination,
    );
    entry.asked_by = route.asked_by.and_then(|span| world.place(span));
    if !route.destination_topic.is_empty() {
        entry.route = Some(shown_route(
            link,
            &route.source_topic,
            &route.destination_topic,
        ));
    }
    entry
}

pub(super) fn shown_route(link: &Link, source: &str, destination: &str) -> ShownRoute {
    ShownRoute {
        source_cluster: link.source.clone(),
        source_topic: source.to_owned(),
        destination_cluster: link.destination.clone(),
        destination_topic: destination.to_owned(),
    }
}

fn depend(
    world: &World<'_>,
    link: &Link,
    planned: &PlannedLink<'_>,
    source: &TopicView,
    entry: &mut Entry,
) {
    if planned.applied.is_none() {
        entry.depends_on.push(planned.entry.address.clone());
    }
    if world.cluster(&link.destination).control.is_none() {
        entry
            .depends_on
            .push(Address::Control(link.destination.clone()));
    }
    entry.depends_on.extend(source.made_by.clone());
}

/// Partitions and configs of the source, or the reason why they are not known.
fn readable_source(
    link: &Link,
    route: &Route,
    source: &TopicView,
    entry: &mut Entry,
) -> Option<(i32, Configs)> {
    let Some(partitions) = source.partitions else {
        entry.block(Blocker::PartitionsUnknown {
            cluster: link.source.clone(),
            topic: route.source_topic.clone(),
        });
        return None;
    };
    match known(&source.configs) {
        Ok(configs) => Some((partitions, configs.clone())),
        Err(broker_says) => {
            entry.block(Blocker::NotReadable {
                cluster: link.source.clone(),
                topic: route.source_topic.clone(),
                what: Unread::Configs,
                broker_says,
            });
            None
        }
    }
}

fn known<T>(described: &Described<T>) -> Result<&T, String> {
    match described {
        Described::Known(value) => Ok(value),
        Described::Refused(words) => Err(words.clone()),
        Described::NotAsked => Err("it was not asked".to_owned()),
    }
}

/// One mirror while it is planned.
struct MirrorPlanner<'p> {
    link: &'p Link,
    route: &'p Route,
    settings: Option<&'p Mirror>,
    source: &'p TopicView,
    partitions: i32,
    configs: Configs,
    entry: Entry,
}

impl MirrorPlanner<'_> {
    fn create(&mut self, world: &mut World<'_>, planned: &PlannedLink<'_>) {
        let replaces = self.replaced(world, planned);
        let factors = (self.source.replication_factor, self.asked_factor());
        let defaults = &world.cluster(&self.link.destination).topic_defaults;
        let desired = self.desired(world, factors, defaults);
        for blocker in desired.blocked.clone() {
            self.entry.block(blocker);
        }
        self.entry.reasons.extend(desired.reasons.clone());
        if self.route.in_ring {
            self.entry.reasons.push(Reason::InRing);
        }
        self.show_creation(world, &desired);
        self.show_fill(world, &desired);
        let state = self.wanted_state();
        self.entry.rehearsal = Rehearsal::Pending;
        let operation = self.operation(
            MirrorTopic::Create(desired.spec()),
            MirrorRecordChange::New {
                state,
                initial_partitions: desired.partitions,
                provenance_header: self.link.marks_provenance(),
                replaces,
            },
        );
        self.entry.act(Action::Create, operation);
        if !self.entry.blocked.is_empty() {
            self.entry.rehearsal = Rehearsal::NotNeeded;
        }
        let configs = desired
            .configs
            .iter()
            .map(|(key, config)| (key.clone(), Some(config.value.clone())))
            .collect::<Vec<_>>();
        let mut after = world.cluster(&self.link.destination).topic_defaults.clone();
        diff::alter(&mut after, &configs);
        self.let_know(
            world,
            None,
            desired.partitions,
            desired.replication_factor,
            after,
        );
    }

    fn update(&mut self, world: &mut World<'_>, planned: &PlannedLink<'_>, live: &ObservedTopic) {
        let record = self.find_record(world, planned, live);
        if !self.entry.blocked.is_empty() {
            return;
        }
        let record = match record {
            Some(record) => Ok(record),
            None => Err(self.check_contents(live)),
        };
        if let Some(asked) = self.asked_factor()
            && asked != live.replication_factor
        {
            self.entry.block(Blocker::ReplicationFactorFixed {
                cluster: self.link.destination.clone(),
                topic: self.route.destination_topic.clone(),
                has: live.replication_factor,
                wanted: asked,
            });
        }
        // The topic has its factor: what follows from the factor follows from that one.
        let factors = (Some(live.replication_factor), None);
        let has = live.configs.known();
        let has = has.filter(|_| self.route.in_ring);
        let defaults = &world.cluster(&self.link.destination).topic_defaults;
        let desired = self.desired(world, factors, has.unwrap_or(defaults));
        for blocker in &desired.blocked {
            if !matches!(blocker, Blocker::TooFewBrokers { .. }) {
                self.entry.block(blocker.clone());
            }
        }
        let changes = self.topic_changes(world, live, &desired);
        let mut configs = live.configs.known().cloned().unwrap_or_default();
        diff::alter(&mut configs, &changes.configs);
        self.finish_update(world, live, record, changes, desired);
        let partitions = live.partitions.max(self.partitions);
        self.let_know(
            world,
            Some(live.id),
            partitions,
            Some(live.replication_factor),
            configs,
        );
    }

    fn finish_update(
        &mut self,
        world: &World<'_>,
        live: &ObservedTopic,
        record: Result<&MirrorRecord, Reason>,
        changes: TopicChanges,
        desired: DesiredTopic,
    ) {
        let state = self.wanted_state();
        let topic_changes = !changes.is_empty();
        if topic_changes {
            self.entry.rehearsal = Rehearsal::Pending;
        }
        let (action, change) = match record {
            Err(adopts) => {
                self.show_fill(world, &desired);
                self.entry.reasons.push(adopts);
                if self.route.in_ring {
                    self.entry.reasons.push(Reason::InRing);
                }
                self.entry.reasons.extend(desired.reasons);
                self.show_state(None, state);
                let change = MirrorRecordChange::New {
                    state,
                    initial_partitions: live.partitions.max(desired.partitions),
                    provenance_header: self.link.marks_provenance(),
                    replaces: Vec::new(),
                };
                (Action::Create, change)
            }
            Ok(record) if record.state != state => {
                self.show_state(Some(record.state), state);
                let change = MirrorRecordChange::State {
                    id: record.id,
                    state,
                    generation: record.generation,
                };
                let action = match state {
                    _ if topic_changes => Action::Update,
                    DesiredState::Paused => Action::Pause,
                    DesiredState::Active => Action::Resume,
                };
                (action, change)
            }
            Ok(_) if topic_changes => (Action::Update, MirrorRecordChange::Keep),
            Ok(_) => {
                self.entry.depends_on.clear();
                return;
            }
        };
        let operation = self.operation(MirrorTopic::Alter(changes), change);
        self.entry.act(action, operation);
        if !self.entry.blocked.is_empty() {
            self.entry.rehearsal = Rehearsal::NotNeeded;
        }
    }

    fn topic_changes(
        &mut self,
        world: &World<'_>,
        live: &ObservedTopic,
        desired: &DesiredTopic,
    ) -> TopicChanges {
        let mut changes = TopicChanges {
            name: desired.name.clone(),
            ..TopicChanges::default()
        };
        // In a ring, the source gets as many from there.
        if live.partitions > desired.partitions && !self.route.in_ring {
            self.entry.block(Blocker::MorePartitionsThanSource {
                cluster: self.link.destination.clone(),
                topic: desired.name.clone(),
                source: desired.partitions,
                destination: live.partitions,
            });
        } else if live.partitions < desired.partitions {
            changes.partitions = Some(desired.partitions);
            self.entry.reasons.push(Reason::SourceGrew {
                from: live.partitions,
                to: desired.partitions,
            });
            self.entry.changes.push(Change {
                attribute: "partitions".to_owned(),
                old: Some(Side::new(live.partitions, Origin::Live)),
                new: Some(Side::new(desired.partitions, Origin::Source)),
                asked_by: None,
            });
        }
        match known(&live.configs) {
            Ok(configs) => {
                let others = match self.route.in_ring {
                    true => Others::Leave,
                    false => Others::Reset,
                };
                let ConfigDiff {
                    changes: shown,
                    alterations,
                } = diff::config_diff(configs, &desired.configs, others, |key| {
                    self.config_place(world, key)
                });
                self.entry.changes.extend(shown);
                changes.configs = alterations;
            }
            Err(broker_says) => self.entry.block(Blocker::NotReadable {
                cluster: self.link.destination.clone(),
                topic: desired.name.clone(),
                what: Unread::Configs,
                broker_says,
            }),
        }
        changes
    }

    fn desired(
        &self,
        world: &World<'_>,
        (source_factor, asked_factor): (Option<i16>, Option<i16>),
        defaults: &Configs,
    ) -> DesiredTopic {
        let destination = world.cluster(&self.link.destination);
        let wishes = MirrorWishes {
            destination_topic: self.route.destination_topic.clone(),
            replication_factor: asked_factor,
            config: self
                .settings
                .into_iter()
                .flat_map(|settings| &settings.config)
                .map(|(key, value)| (key.clone(), value.value.clone()))
                .collect(),
        };
        sync::desired_topic(
            SourceTopic {
                partitions: self.partitions,
                replication_factor: source_factor,
                configs: &self.configs,
                is_followed: !self.keeps_own_configs(world),
            },
            sync::Destination {
                cluster: &self.link.destination,
                live_brokers: destination.live_brokers.len(),
                topic_defaults: defaults,
            },
            &wishes,
        )
    }

    /// Both topics of a ring have owners besides this link: configs that went back and forth would never come to rest. A topic that
    /// is made takes its source's, once.
    fn keeps_own_configs(&self, world: &World<'_>) -> bool {
        let there = &world.cluster(&self.link.destination).topics;
        self.route.in_ring && there.contains_key(&self.route.destination_topic)
    }

    fn show_creation(&mut self, world: &World<'_>, desired: &DesiredTopic) {
        let factor_place = self
            .settings
            .and_then(|settings| settings.replication_factor.as_ref())
            .or(self.link.replication_factor.as_ref())
            .filter(|_| desired.factor_origin == Origin::File)
            .and_then(|factor| world.place(factor.span));
        let factor = desired.replication_factor.map_or_else(
            || Side::new("the broker's default", Origin::Inherited),
            |factor| Side::new(factor, desired.factor_origin),
        );
        let mut changes = vec![
            created(
                "partitions",
                Side::new(desired.partitions, Origin::Source),
                None,
            ),
            created("replication_factor", factor, factor_place),
        ];
        for (key, config) in &desired.configs {
            changes.push(created(
                &diff::attribute(key),
                Side::new(config.value.clone(), config.origin),
                self.config_place(world, key),
            ));
        }
        self.entry.changes.extend(changes);
        self.show_state(None, self.wanted_state());
    }

    /// What it takes before the first record can have the offset that it has at the source.
    fn show_fill(&mut self, world: &World<'_>, desired: &DesiredTopic) {
        let source = world
            .cluster(&self.link.source)
            .topics
            .get(&self.route.source_topic);
        let (OffsetsSpec::Preserve { .. }, Some(contents)) = (
            self.link.offsets,
            source.and_then(|source| source.contents.known()),
        ) else {
            return;
        };
        let offsets = match self.link.start {
            Start::Earliest => contents.written - contents.offsets,
            // Not known before it is looked up; no more than this.
            Start::Latest | Start::Timestamp(_) => contents.written,
        };
        if offsets > 0 {
            let policy = desired.configs.get("cleanup.policy");
            let by_markers = policy.is_some_and(|policy| policy.value == "compact");
            let filler::Cost { bytes, seconds } = filler::cost(offsets, by_markers);
            self.entry.reasons.push(Reason::FillsStart {
                offsets,
                bytes,
                seconds,
            });
        }
    }

    /// A new mirror's state is worth a line only where it is not simply active.
    fn show_state(&mut self, old: Option<DesiredState>, new: DesiredState) {
        if self.link.state == crate::topology::model::LinkState::Paused && old.is_none() {
            self.entry.reasons.push(Reason::LinkPaused);
        }
        if old.is_none() && new == DesiredState::Active {
            return;
        }
        let origin = match self.settings.and_then(|settings| settings.state.as_ref()) {
            Some(_) => Origin::File,
            None => Origin::Builtin,
        };
        self.entry.changes.push(Change {
            attribute: "state".to_owned(),
            old: old.map(|old| Side::new(links::state(old), Origin::Applied)),
            new: Some(Side::new(links::state(new), origin)),
            asked_by: None,
        });
    }

    fn config_place(&self, world: &World<'_>, key: &str) -> Option<Place> {
        world.place(self.settings?.config.get(key)?.span)
    }

    fn asked_factor(&self) -> Option<i16> {
        let own = self
            .settings
            .and_then(|settings| settings.replication_factor.as_ref());
        own.or(self.link.replication_factor.as_ref())
            .map(|factor| factor.value)
    }

    fn wanted_state(&self) -> DesiredState {
        match self
            .settings
            .and_then(|it| it.state.as_ref())
            .map(|it| it.value)
        {
            // Absent ones are not routed.
            // And those that end are planned apart.
            Some(
                MirrorState::Paused
                | MirrorState::Promoted
                | MirrorState::FailedOver
                | MirrorState::Absent,
            ) => DesiredState::Paused,
            Some(MirrorState::Active) | None => DesiredState::Active,
        }
    }

    fn operation(&self, topic: MirrorTopic, record: MirrorRecordChange) -> Operation {
        Operation::Mirror(MirrorOperation {
            link: self.link.name.clone(),
            source_cluster: self.link.source.clone(),
            source_topic: self.route.source_topic.clone(),
            destination_topic: self.route.destination_topic.clone(),
            topic,
            record,
        })
    }

    fn let_know(
        &self,
        world: &mut World<'_>,
        id: Option<uuid::Uuid>,
        partitions: i32,
        replication_factor: Option<i16>,
        configs: Configs,
    ) {
        let changes = self.entry.action != Action::Unchanged;
        world.set(
            &self.link.destination,
            &self.route.destination_topic,
            TopicView {
                id,
                partitions: Some(partitions),
                replication_factor,
                configs: Described::Known(configs),
                made_by: changes.then(|| self.entry.address.clone()),
            },
        );
    }
}

fn created(attribute: &str, side: Side, asked_by: Option<Place>) -> Change {
    Change {
        attribute: attribute.to_owned(),
        old: None,
        new: Some(side),
        asked_by,
    }
}
