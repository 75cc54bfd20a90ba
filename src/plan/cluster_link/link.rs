//! A link's own entry: its halves in the order in which they are made, and what stands in its way.

use super::configs::{self, Difference, Place};
use super::wanted::{self, Half};
use crate::observe::model::{BrokerLinks, Linking, ObservedLink};
use crate::plan::model::{
    Action, Address, BrokerLinkOperation, Change, Entry, HalfOperation, HalfRole, HalfStep,
    Operation, Origin, Rehearsal, Side,
};
use crate::plan::reason::{Blocker, End, Reason};
use crate::plan::{links, world::World};
use crate::rest::documents::{LinkState as LiveState, MirrorState, TaskState};
use crate::topology::model::{Link, LinkState};

/// A link's entry and what is there of it.
#[derive(Debug)]
pub(in crate::plan) struct PlannedBrokerLink<'a> {
    pub entry: Entry,
    /// The object that mirrors belong to.
    pub live: Option<&'a ObservedLink>,
}

/// Plans the halves of a link.
pub(in crate::plan) fn plan_link<'a>(world: &World<'a>, link: &Link) -> PlannedBrokerLink<'a> {
    let mut entry = links::entry(world, link);
    entry.depends_on = other_half_first(world, link);
    for cluster in [&link.source, &link.destination] {
        if world.blocked.contains_key(cluster) {
            entry.block(Blocker::ClusterBlocked {
                cluster: cluster.clone(),
            });
        }
    }
    if !entry.blocked.is_empty() {
        return PlannedBrokerLink { entry, live: None };
    }
    let Some(there) = known(world, &link.destination, &mut entry) else {
        return PlannedBrokerLink { entry, live: None };
    };
    check_ends(world, link, &mut entry);
    let live = there.links.get(link.broker_name());
    if link.state == LinkState::Absent {
        plan_deletion(world, link, there, &mut entry);
        return PlannedBrokerLink { entry, live };
    }
    if live.is_none() {
        check_prefix(link, there, &mut entry);
        check_release(world, link, &mut entry);
    }
    let mut plan = HalvesPlan::default();
    plan.half(world, link, Half::Destination, live, &mut entry);
    if link.has_half_at_source()
        && let Some(there) = known(world, &link.source, &mut entry)
    {
        let live = there.links.get(link.broker_name());
        plan.half(world, link, Half::Source, live, &mut entry);
    }
    entry.reasons.extend(live.into_iter().flat_map(health));
    let action = plan.action(&entry.changes);
    entry.rehearsal = if action.changes() {
        Rehearsal::Pending
    } else {
        Rehearsal::NotNeeded
    };
    let operation = match action {
        Action::Unchanged => Operation::None,
        _ => Operation::BrokerLink(BrokerLinkOperation {
            halves: plan.halves,
        }),
    };
    entry.act(action, operation);
    if !entry.blocked.is_empty() {
        entry.rehearsal = Rehearsal::NotNeeded;
    }
    PlannedBrokerLink { entry, live }
}

/// The half that waits for connections is made first, and of two that connect one after the other.
fn other_half_first(world: &World<'_>, link: &Link) -> Vec<Address> {
    let Some(other) = wanted::other_direction(world, link) else {
        return Vec::new();
    };
    let waits = |link: &Link| link.brokers.source_initiated.is_some();
    let other_is_first = match (waits(link), waits(other)) {
        (false, true) => true,
        (true, _) => false,
        (false, false) => other.name < link.name,
    };
    match other_is_first && other.state != LinkState::Absent {
        true => vec![Address::Link(other.name.clone())],
        false => Vec::new(),
    }
}

/// The links of a cluster, or why nobody knows them.
fn known<'a>(world: &World<'a>, cluster: &str, entry: &mut Entry) -> Option<&'a BrokerLinks> {
    match &world.cluster(cluster).linking {
        Linking::Known(links) => Some(links),
        Linking::NotAsked => None,
        Linking::Unknown { why, said } => {
            entry.block(Blocker::NoClusterLinking {
                cluster: cluster.to_owned(),
                why: *why,
                said: said.clone(),
            });
            None
        }
    }
}

fn check_ends(world: &World<'_>, link: &Link, entry: &mut Entry) {
    let id = |cluster: &str| &world.cluster(cluster).cluster_id;
    if id(&link.source) == id(&link.destination) {
        entry.block(Blocker::LinkToItself {
            cluster_id: id(&link.source).clone(),
        });
    }
}

/// A prefix belongs to one link of a cluster.
fn check_prefix(link: &Link, there: &BrokerLinks, entry: &mut Entry) {
    let Some(prefix) = link.prefix() else {
        return;
    };
    let taken = there.links.values().find(|other| {
        let has = other.configs.get("cluster.link.prefix");
        has.and_then(|it| it.value.as_deref()) == Some(prefix)
    });
    if let Some(other) = taken {
        entry.block(Blocker::PrefixTaken {
            cluster: link.destination.clone(),
            prefix: prefix.to_owned(),
            by: other.link.link_name.clone(),
        });
    }
}

/// Asks nothing for a new link of what its brokers surely do not have. What is there already they have.
fn check_release(world: &World<'_>, link: &Link, entry: &mut Entry) {
    let brokers = &link.brokers;
    let both = [&link.destination, &link.source];
    let mut ask = |feature: &str, since: (u8, u8), clusters: &[&String]| {
        for cluster in clusters {
            let platform = world.cluster(cluster).platform;
            if let Some(platform) = platform.filter(|platform| platform.is_before(since)) {
                entry.block(Blocker::LinkingTooOld {
                    cluster: (*cluster).clone(),
                    feature: feature.to_owned(),
                    since: format!("{}.{}", since.0, since.1),
                    platform,
                });
            }
        }
    };
    if brokers.bidirectional.is_some() {
        ask("`bidirectional`", (7, 5), &both);
    }
    if brokers.source_initiated.is_some() {
        ask("`initiated_by = \"source\"`", (7, 1), &both);
    }
    if brokers.acls.is_some() {
        ask("`acls`", (7, 1), &both[..1]);
    }
}

#[derive(Debug, Default)]
struct HalvesPlan {
    halves: Vec<HalfOperation>,
    /// Whether the half that mirrors belong to is there.
    is_there: bool,
}

impl HalvesPlan {
    fn half(
        &mut self,
        world: &World<'_>,
        link: &Link,
        half: Half,
        live: Option<&ObservedLink>,
        entry: &mut Entry,
    ) {
        let (cluster, other, attribute) = match half {
            Half::Destination => (&link.destination, &link.source, "config"),
            Half::Source => (&link.source, &link.destination, "at_source.config"),
        };
        let wanted = match wanted::configs(world, link, half) {
            Ok(wanted) => wanted,
            Err((cluster, problem)) => {
                entry.block(Blocker::NotForBrokers { cluster, problem });
                return;
            }
        };
        let place = Place {
            cluster,
            link: link.broker_name(),
            attribute,
            rewrites: world.topology.rewrites.contains(&link.name),
        };
        let other_id = world.cluster(other).cluster_id.clone();
        let difference = match live {
            None => configs::of_new(&wanted, place),
            Some(live) => {
                check_binding(link, half, live, &other_id, entry);
                configs::of_live(&wanted, &live.configs, place)
            }
        };
        self.is_there |= half == Half::Destination && live.is_some();
        let Difference {
            changes,
            steps,
            blocked,
            reasons,
        } = difference;
        entry.changes.extend(changes);
        entry.reasons.extend(reasons);
        for blocker in blocked {
            entry.block(blocker);
        }
        let step = match live {
            None => HalfStep::Create {
                role: match half {
                    Half::Source => HalfRole::SourceOf(other_id),
                    Half::Destination if link.brokers.bidirectional.is_some() => {
                        HalfRole::BothWays(other_id)
                    }
                    Half::Destination => HalfRole::DestinationOf(other_id),
                },
                configs: steps,
            },
            Some(_) if steps.is_empty() => return,
            Some(_) => HalfStep::Alter(steps),
        };
        self.halves.push(HalfOperation {
            cluster: cluster.clone(),
            link: link.broker_name().to_owned(),
            step,
        });
    }

    fn action(&self, changes: &[Change]) -> Action {
        if self.halves.is_empty() {
            return Action::Unchanged;
        }
        if !self.is_there {
            return Action::Create;
        }
        match changes {
            [only] if only.attribute == "config.cluster.link.paused" => {
                match only.new.as_ref().map(|side| &side.value) {
                    Some(value) if *value == "true".into() => Action::Pause,
                    _ => Action::Resume,
                }
            }
            _ => Action::Update,
        }
    }
}

/// A link goes on only between the clusters that it was made between.
fn check_binding(link: &Link, half: Half, live: &ObservedLink, other_id: &str, entry: &mut Entry) {
    let live = &live.link;
    // Which of the three is told depends on the role, and on the server's version.
    let told = [
        &live.source_cluster_id,
        &live.destination_cluster_id,
        &live.remote_cluster_id,
    ];
    let told: Vec<&String> = told.into_iter().flatten().collect();
    if told.is_empty() || told.iter().any(|id| *id == other_id) {
        return;
    }
    let (end, cluster) = match half {
        Half::Destination => (End::Source, &link.source),
        Half::Source => (End::Destination, &link.destination),
    };
    entry.block(Blocker::LinkBoundElsewhere {
        end,
        cluster: cluster.clone(),
        recorded: told[0].clone(),
        found: other_id.to_owned(),
    });
}

/// What the brokers say is wrong with a link.
fn health(live: &ObservedLink) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let link = &live.link;
    let error = link.link_error.as_deref();
    let error = error.filter(|error| !matches!(*error, "NO_ERROR" | "UNKNOWN"));
    let is_well = matches!(
        link.link_state,
        None | Some(LiveState::Active | LiveState::Paused)
    );
    if let Some(state) = link
        .link_state
        .as_ref()
        .filter(|_| !is_well || error.is_some())
    {
        reasons.push(Reason::LinkUnwell {
            state: state.to_string(),
            error: error.map(str::to_owned),
            message: link.link_error_message.clone(),
        });
    }
    for task in link
        .tasks
        .iter()
        .filter(|task| task.state == TaskState::InError)
    {
        let first = task.errors.first();
        reasons.push(Reason::LinkTaskFails {
            task: task.task_name.clone(),
            error: first.map(|error| error.error_code.clone()),
            message: first.and_then(|error| error.error_message.clone()),
        });
    }
    reasons
}

/// A link goes once none of its mirrors is left, the half that connects first.
fn plan_deletion(world: &World<'_>, link: &Link, there: &BrokerLinks, entry: &mut Entry) {
    let name = link.broker_name();
    let mut halves = Vec::new();
    let mut doomed = |cluster: &str, links: &BrokerLinks| {
        if links.links.contains_key(name) {
            halves.push(HalfOperation {
                cluster: cluster.to_owned(),
                link: name.to_owned(),
                step: HalfStep::Delete,
            });
        }
    };
    if link.has_half_at_source()
        && let Some(at_source) = known(world, &link.source, entry)
    {
        doomed(&link.source, at_source);
    }
    doomed(&link.destination, there);
    if halves.is_empty() {
        return;
    }
    let own = there.mirrors.values().filter(|it| it.link_name == name);
    let (mut pending, mut left) = (Vec::new(), Vec::new());
    for mirror in own {
        let is_absent = link
            .mirrors
            .get(&mirror.source_topic_name)
            .is_some_and(|it| it.is_absent());
        let topic = mirror.mirror_topic_name.clone();
        if is_absent {
            entry.depends_on.push(Address::Mirror {
                link: link.name.clone(),
                source_topic: mirror.source_topic_name.clone(),
            });
        } else if mirror.mirror_status.is_pending() {
            pending.push(topic);
        } else if mirror.mirror_status != MirrorState::Stopped {
            left.push(topic);
        }
    }
    if !pending.is_empty() {
        entry.block(Blocker::LinkHasPendingMirrors {
            link: name.to_owned(),
            topics: pending,
        });
    }
    if !left.is_empty() {
        entry.block(Blocker::BrokerLinkHasMirrors {
            link: name.to_owned(),
            topics: left,
        });
    }
    entry.changes.push(Change {
        attribute: "state".to_owned(),
        old: Some(Side::new("active", Origin::Live)),
        new: Some(Side::new("absent", Origin::File)),
        asked_by: None,
    });
    entry.act(
        Action::Delete,
        Operation::BrokerLink(BrokerLinkOperation { halves }),
    );
}
