//! The configs of a half as they are against those that it is to have.

use std::collections::{BTreeMap, BTreeSet};

use super::wanted::{Configs, MANAGED, Wanted, default_of};
use crate::observe::linking::is_sensitive;
use crate::plan::model::{Change, HalfChange, HalfValue, Hidden, Origin, Side, Value};
use crate::plan::reason::{Blocker, Reason};
use crate::rest::documents::LinkConfig;
use crate::topology::broker_link::same_value;

/// Configs that servers set by themselves.
const BY_SERVER: &[&str] = &[
    "link.prefix",
    "local.listener.name",
    "remote.link.connection.mode",
];

/// Configs that a link has for life.
const FIXED: &[&str] = &["cluster.link.prefix", "connection.mode", "link.mode"];

/// What is to be done about the configs of one half.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub changes: Vec<Change>,
    pub steps: Vec<HalfChange>,
    pub blocked: Vec<Blocker>,
    pub reasons: Vec<Reason>,
}

/// Where a half is, and what its attributes are called in a plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub cluster: &'a str,
    pub link: &'a str,
    /// `config` or `at_source.config`.
    pub attribute: &'a str,
    /// Whether secrets that are there are sent again.
    pub rewrites: bool,
}

/// All configs of a half that is not there yet.
pub(super) fn of_new(wanted: &Configs, place: Place<'_>) -> Difference {
    let mut difference = Difference::default();
    for (key, wanted) in wanted {
        difference.add(place, key, None, Some(wanted));
    }
    difference
}

/// What differs from a half that is there.
pub(super) fn of_live(
    wanted: &Configs,
    live: &BTreeMap<String, LinkConfig>,
    place: Place<'_>,
) -> Difference {
    let mut difference = Difference::default();
    let mut unreadable = BTreeSet::new();
    let managed = MANAGED.iter().map(|key| (*key).to_owned());
    let keys: BTreeSet<String> = wanted.keys().cloned().chain(managed).collect();
    for key in &keys {
        let (wanted, live) = (wanted.get(key), live.get(key));
        match wanted.map(|wanted| &wanted.value) {
            Some(HalfValue::OfFile { .. } | HalfValue::OfCluster { .. }) => {
                if !live.is_some_and(LinkConfig::is_set) {
                    difference.add(place, key, None, wanted);
                } else if place.rewrites {
                    difference.send_anew(place, key, wanted);
                } else {
                    unreadable.insert(key.clone());
                }
            }
            Some(HalfValue::Open(value)) => {
                let has = live.and_then(|it| it.value.as_deref()).or(default_of(key));
                if !has.is_some_and(|has| same_value(key, has, value)) {
                    difference.alter(place, key, live, wanted);
                }
            }
            None => {
                let is_set = live.is_some_and(LinkConfig::is_set);
                let has = live.and_then(|it| it.value.as_deref());
                let default = default_of(key).unwrap_or_default();
                // A role that the server tells of as set, and that is the default.
                if is_set && has.is_some_and(|has| !same_value(key, has, default)) {
                    difference.alter(place, key, live, None);
                }
            }
        }
    }
    if !unreadable.is_empty() {
        difference.reasons.push(Reason::SecretsNotCompared {
            keys: unreadable.into_iter().collect(),
        });
    }
    difference.tell_others(live, &keys);
    difference
}

impl Difference {
    fn alter(
        &mut self,
        place: Place<'_>,
        key: &str,
        live: Option<&LinkConfig>,
        wanted: Option<&Wanted>,
    ) {
        if FIXED.contains(&key) || live.is_some_and(|it| it.is_read_only) {
            let has = live.and_then(|it| it.value.clone());
            let wanted = wanted.and_then(|it| match &it.value {
                HalfValue::Open(value) => Some(value.clone()),
                HalfValue::OfFile { .. } | HalfValue::OfCluster { .. } => None,
            });
            let default = || default_of(key).unwrap_or_default().to_owned();
            self.blocked.push(Blocker::LinkConfigFixed {
                cluster: place.cluster.to_owned(),
                link: place.link.to_owned(),
                key: key.to_owned(),
                has: has.unwrap_or_else(default),
                wanted: wanted.unwrap_or_else(default),
            });
            return;
        }
        self.add(place, key, live, wanted);
    }

    fn add(
        &mut self,
        place: Place<'_>,
        key: &str,
        live: Option<&LinkConfig>,
        wanted: Option<&Wanted>,
    ) {
        let old = live.and_then(|it| Some((it.value.clone()?, it.is_set())));
        let old = old.map(|(value, is_set)| {
            let origin = if is_set {
                Origin::Live
            } else {
                Origin::Default
            };
            Side::new(value, origin)
        });
        let new = match wanted.map(|it| &it.value) {
            Some(HalfValue::Open(value)) => Some(Side::new(value.clone(), Origin::File)),
            Some(HalfValue::OfFile { .. } | HalfValue::OfCluster { .. }) => {
                Some(Side::new(Value::Hidden(Hidden::Sensitive), Origin::File))
            }
            None => default_of(key).map(|value| Side::new(value, Origin::Default)),
        };
        self.changes.push(Change {
            attribute: format!("{}.{key}", place.attribute),
            old,
            new,
            asked_by: wanted.and_then(|it| it.asked_by.clone()),
        });
        self.steps.push(HalfChange {
            key: key.to_owned(),
            value: wanted.map(|it| it.value.clone()),
        });
    }

    /// A secret over one that nobody can read.
    fn send_anew(&mut self, place: Place<'_>, key: &str, wanted: Option<&Wanted>) {
        self.changes.push(Change {
            attribute: format!("{}.{key}", place.attribute),
            old: Some(Side::new(Value::Hidden(Hidden::Sensitive), Origin::Live)),
            new: Some(Side::new(Value::Hidden(Hidden::SentAnew), Origin::File)),
            asked_by: wanted.and_then(|it| it.asked_by.clone()),
        });
        self.steps.push(HalfChange {
            key: key.to_owned(),
            value: wanted.map(|it| it.value.clone()),
        });
    }

    /// Configs that are set and that the file does not speak of: those that servers set by themselves, and the others.
    fn tell_others(&mut self, live: &BTreeMap<String, LinkConfig>, spoken_of: &BTreeSet<String>) {
        let mut by_server = BTreeMap::new();
        let mut others = BTreeMap::new();
        for (key, config) in live {
            if spoken_of.contains(key) || !config.is_set() {
                continue;
            }
            let hidden = config.is_sensitive || is_sensitive(key);
            let value = config.value.clone().filter(|_| !hidden);
            let value = value.unwrap_or_else(|| "(sensitive)".to_owned());
            let group = match BY_SERVER.contains(&key.as_str()) {
                true => &mut by_server,
                false => &mut others,
            };
            group.insert(key.clone(), value);
        }
        if !by_server.is_empty() {
            let configs = by_server;
            self.reasons.push(Reason::LinkConfigsOfServer { configs });
        }
        if !others.is_empty() {
            let configs = others;
            self.reasons.push(Reason::LinkConfigsNotInFile { configs });
        }
    }
}
