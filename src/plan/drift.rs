//! The plan read from the other side: what is not as it was declared, and in which direction.
//!
//! A plan says what an apply would do; drift says what happened: something that was declared is missing,
//! something was changed, something is there that nobody declared. Both are made of the same
//! comparison, so that there is no drift exactly where a plan finds nothing to do and nothing to note.

use std::collections::BTreeSet;

use serde::Serialize;

use super::model::{
    Action, Address, Change, Entry, Origin, Place, Plan, PlannedCluster, Route, Side,
};
use super::reason::{Blocker, Note, Reason};

/// Version of the serialised drift.
pub const DRIFT_VERSION: u32 = 1;

/// What is not as it was declared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drift {
    pub version: u32,
    /// The file as the user named it.
    pub file: String,
    /// By name.
    pub clusters: Vec<PlannedCluster>,
    /// In the order of plans.
    pub entries: Vec<Drifted>,
    /// What is worth knowing and no drift.
    pub notes: Vec<Note>,
    pub counts: DriftCounts,
    /// What was looked at and is as declared.
    #[serde(skip)]
    pub as_declared: Vec<Address>,
}

impl Drift {
    /// Whether anything drifted, blocked entries aside.
    pub fn has_drifted(&self) -> bool {
        self.entries.iter().any(|entry| entry.blocked.is_empty())
    }

    pub fn is_blocked(&self) -> bool {
        self.counts.blocked > 0
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DriftCounts {
    pub declared_but_missing: usize,
    pub changed_live: usize,
    pub live_but_undeclared: usize,
    pub declared_but_not_applied: usize,
    pub blocked: usize,
    pub as_declared: usize,
    /// Drifted in a direction that was not asked about.
    pub ignored: usize,
}

/// Which side has what the other has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    DeclaredButMissing,
    /// Both have it, with different values.
    ChangedLive,
    LiveButUndeclared,
    /// The file says something else than what was last applied: no change of the live side's.
    DeclaredButNotApplied,
}

/// One thing that is not as declared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drifted {
    pub address: Address,
    /// Unknown for what is blocked by the file itself or could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// The cluster that it is about, by its name in the file.
    pub cluster: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    pub differences: Vec<Difference>,
    pub reasons: Vec<Reason>,
    /// What was seen, where there is nothing that an apply would do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<Note>,
    /// Why an apply could not bring it back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<Blocker>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<Place>,
}

/// One attribute with both its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// As the file spells it; topic configs are `config.<key>`.
    pub attribute: String,
    pub direction: Direction,
    /// `None`: nobody declared a value. One that would be inherited is told with its origin.
    pub declared: Option<Side>,
    /// `None`: there is none.
    pub live: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<Place>,
}

/// What the plan says about drift, but for the directions that are to be ignored.
pub fn drift(plan: &Plan, ignored: &BTreeSet<Direction>) -> Drift {
    let mut drift = Drift {
        version: DRIFT_VERSION,
        file: plan.file.clone(),
        clusters: plan.clusters.clone(),
        entries: Vec::new(),
        notes: Vec::new(),
        counts: DriftCounts::default(),
        as_declared: Vec::new(),
    };
    let mut found = Vec::new();
    for entry in &plan.entries {
        match entry.action {
            Action::Unchanged => drift.as_declared.push(entry.address.clone()),
            Action::Create
            | Action::Update
            | Action::Pause
            | Action::Resume
            | Action::Promote
            | Action::FailOver
            | Action::Delete
            | Action::Blocked => found.push(of_entry(entry)),
        }
    }
    for note in &plan.notes {
        match of_note(note, plan) {
            Some(drifted) => found.push(drifted),
            None => drift.notes.push(note.clone()),
        }
    }
    for mut entry in found {
        if entry.blocked.is_empty() {
            let before = entry.differences.len();
            entry
                .differences
                .retain(|difference| !ignored.contains(&difference.direction));
            let nothing_left = before > 0 && entry.differences.is_empty();
            if before > entry.differences.len() && !nothing_left {
                entry.direction = common(&entry.differences);
            }
            let ignores = |direction| ignored.contains(&direction);
            if nothing_left || entry.direction.is_some_and(ignores) {
                drift.counts.ignored += 1;
                continue;
            }
        }
        drift.entries.push(entry);
    }
    drift.entries.sort_by(|a, b| {
        (a.address.order(), &a.cluster, &a.seen).cmp(&(b.address.order(), &b.cluster, &b.seen))
    });
    drift.counts.as_declared = drift.as_declared.len();
    for entry in &drift.entries {
        let counts = &mut drift.counts;
        *match entry.direction {
            _ if !entry.blocked.is_empty() => &mut counts.blocked,
            Some(Direction::DeclaredButMissing) => &mut counts.declared_but_missing,
            Some(Direction::LiveButUndeclared) => &mut counts.live_but_undeclared,
            Some(Direction::DeclaredButNotApplied) => &mut counts.declared_but_not_applied,
            Some(Direction::ChangedLive) | None => &mut counts.changed_live,
        } += 1;
    }
    drift
}

fn of_entry(entry: &Entry) -> Drifted {
    let differences: Vec<Difference> = entry
        .changes
        .iter()
        .map(|change| Difference {
            attribute: change.attribute.clone(),
            direction: direction(entry, change),
            declared: change.new.clone(),
            live: change.old.clone(),
            asked_by: change.asked_by.clone(),
        })
        .collect();
    let direction = match entry.action {
        Action::Blocked => entry.blocked.iter().find_map(of_blocker),
        Action::Create => Some(Direction::DeclaredButMissing),
        // What is declared is that it be gone.
        Action::Delete => Some(Direction::LiveButUndeclared),
        _ if entry.reasons.contains(&Reason::NoLongerSelected) => {
            Some(Direction::LiveButUndeclared)
        }
        Action::Update
        | Action::Pause
        | Action::Resume
        | Action::Promote
        | Action::FailOver
        | Action::Unchanged => common(&differences),
    };
    Drifted {
        address: entry.address.clone(),
        direction,
        cluster: entry.cluster.clone(),
        route: entry.route.clone(),
        // Of what is blocked, the obstacles tell everything.
        differences: if entry.blocked.is_empty() {
            differences
        } else {
            Vec::new()
        },
        reasons: entry.reasons.clone(),
        seen: None,
        blocked: entry.blocked.clone(),
        asked_by: entry.asked_by.clone(),
    }
}

/// The direction that all share; without one it is simply changed.
fn common(differences: &[Difference]) -> Option<Direction> {
    let all: BTreeSet<Direction> = differences.iter().map(|it| it.direction).collect();
    match all.first() {
        Some(only) if all.len() == 1 => Some(*only),
        _ => Some(Direction::ChangedLive),
    }
}

fn direction(entry: &Entry, change: &Change) -> Direction {
    if entry.action == Action::Create {
        return Direction::DeclaredButMissing;
    }
    if entry.action == Action::Delete || entry.reasons.contains(&Reason::NoLongerSelected) {
        return Direction::LiveButUndeclared;
    }
    // A link of the built-in engine has no live form besides the record of what was applied.
    let is_recorded = change
        .old
        .as_ref()
        .is_none_or(|old| old.origin == Origin::Applied);
    let is_broker_config =
        change.attribute.contains("config.") && !change.attribute.starts_with("mirrors.");
    if matches!(entry.address, Address::Link(_)) && is_recorded && !is_broker_config {
        return Direction::DeclaredButNotApplied;
    }
    match (&change.old, &change.new) {
        (None, _) => Direction::DeclaredButMissing,
        (Some(live), _) if live.origin == Origin::Applied => Direction::DeclaredButNotApplied,
        (Some(live), _) if is_inherited(live.origin) => Direction::DeclaredButMissing,
        (Some(_), None) => Direction::LiveButUndeclared,
        (Some(_), Some(declared)) if is_inherited(declared.origin) => Direction::LiveButUndeclared,
        (Some(_), Some(_)) => Direction::ChangedLive,
    }
}

/// Whether a value is what a topic has that says nothing itself.
pub fn is_inherited(origin: Origin) -> bool {
    match origin {
        Origin::Default
        | Origin::ClusterDefault
        | Origin::Broker
        | Origin::StaticBroker
        | Origin::Inherited => true,
        Origin::Source
        | Origin::Required
        | Origin::File
        | Origin::Topic
        | Origin::Live
        | Origin::Applied
        | Origin::Builtin => false,
    }
}

/// What an obstacle says about the live side. Some are the file's own, some keep from looking.
fn of_blocker(blocker: &Blocker) -> Option<Direction> {
    match blocker {
        Blocker::SourceTopicAbsent { .. } => Some(Direction::DeclaredButMissing),
        Blocker::ClusterIdMismatch { .. }
        | Blocker::DestinationHoldsData { .. }
        | Blocker::MorePartitionsThanSource { .. }
        | Blocker::PartitionsShrink { .. }
        | Blocker::ReplicationFactorFixed { .. }
        | Blocker::SourceRecreated { .. }
        | Blocker::DestinationRecreated { .. }
        | Blocker::LinkBoundElsewhere { .. } => Some(Direction::ChangedLive),
        Blocker::MirrorRenamed { .. } => Some(Direction::DeclaredButNotApplied),
        Blocker::LinkConfigFixed { .. }
        | Blocker::MirrorEnded { .. }
        | Blocker::CannotPromote { .. }
        | Blocker::MirrorNameTaken { .. } => Some(Direction::ChangedLive),
        Blocker::NothingToPromote { .. } => Some(Direction::DeclaredButMissing),
        Blocker::DeletionNotAllowed
        | Blocker::StillMirrored { .. }
        | Blocker::LinkHasPendingMirrors { .. }
        | Blocker::BrokerLinkHasMirrors { .. }
        | Blocker::LinkHasMirrors { .. } => Some(Direction::LiveButUndeclared),
        Blocker::ProvenanceFixed { .. } => Some(Direction::DeclaredButNotApplied),
        // Somebody handed it over without the file.
        Blocker::HandedOver { .. } => Some(Direction::ChangedLive),
        Blocker::NothingToEnd { .. } => Some(Direction::DeclaredButMissing),
        Blocker::ClusterBlocked { .. }
        | Blocker::DestinationUnreachable { .. }
        | Blocker::SourceUnreachable { .. }
        | Blocker::TopicHidden { .. }
        | Blocker::PartitionsUnknown { .. }
        | Blocker::NotReadable { .. }
        | Blocker::TooFewBrokers { .. }
        | Blocker::DestinationTaken { .. }
        | Blocker::DestinationOwned { .. }
        | Blocker::TwoIntoOne { .. }
        | Blocker::RenameFails { .. }
        | Blocker::SameTopic { .. }
        | Blocker::Loop { .. }
        | Blocker::LinkOwnedByRest
        | Blocker::MovedLinkExists { .. }
        | Blocker::RequiredConfig { .. }
        | Blocker::NoClusterLinking { .. }
        | Blocker::LinkingTooOld { .. }
        | Blocker::LinkToItself { .. }
        | Blocker::NotForBrokers { .. }
        | Blocker::PrefixTaken { .. }
        | Blocker::FactorOnCloud { .. }
        | Blocker::ConfigSyncedByBrokers { .. }
        | Blocker::EndingUnderWay { .. }
        | Blocker::Refused { .. } => None,
    }
}

/// Notes that are drift.
fn of_note(note: &Note, plan: &Plan) -> Option<Drifted> {
    let (address, cluster, direction, link) = match note {
        // A link that was made through REST is declared, only not in a file.
        Note::LinkNotInFile { rest: true, .. }
        | Note::SourceHidden { .. }
        | Note::SourceUnreachable { .. }
        | Note::TopicsUnread { .. }
        | Note::NothingMatches { .. }
        | Note::ConfigsNotInFile { .. }
        | Note::EndingPending { .. }
        | Note::Locked { .. } => return None,
        Note::LinkNotInFile {
            cluster,
            link,
            rest: false,
        } => (
            Address::Link(link.clone()),
            cluster,
            Direction::LiveButUndeclared,
            None,
        ),
        Note::BrokerLinkNotInFile { cluster, link } => (
            Address::Link(link.clone()),
            cluster,
            Direction::LiveButUndeclared,
            None,
        ),
        Note::BrokerMirrorsNotInFile { link, cluster, .. } => (
            Address::Link(link.clone()),
            cluster,
            Direction::LiveButUndeclared,
            Some(link),
        ),
        Note::SourceGone {
            link,
            cluster,
            source_topic,
            ..
        } => (
            Address::Mirror {
                link: link.clone(),
                source_topic: source_topic.clone(),
            },
            cluster,
            Direction::DeclaredButMissing,
            Some(link),
        ),
        Note::UnownedTopic {
            link,
            cluster,
            topic,
        } => (
            Address::Topic {
                cluster: cluster.clone(),
                topic: topic.clone(),
            },
            cluster,
            Direction::LiveButUndeclared,
            Some(link),
        ),
    };
    Some(Drifted {
        address,
        direction: Some(direction),
        cluster: cluster.clone(),
        route: None,
        differences: Vec::new(),
        reasons: Vec::new(),
        seen: Some(note.clone()),
        blocked: Vec::new(),
        asked_by: link
            .and_then(|link| plan.entry(&Address::Link(link.clone())))
            .and_then(|entry| entry.asked_by.clone()),
    })
}
