//! A plan that was saved, held against one that was just made.
//!
//! What was saved is permission and not instruction: what is done is what the file asks for now, and only where that
//! is, by its fingerprint, what was saved. So a saved plan can lose actions and never gain any.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::model::{Action, Address, Change, Entry, PLAN_VERSION, Plan};
use super::reason::Blocker;

/// Why a text is no saved plan.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("it is no plan: {0}")]
    NotAPlan(String),
    #[error("it is a plan of version {found}; this kmirror reads version {PLAN_VERSION}")]
    OtherVersion { found: u64 },
}

/// Reads the document of `--format json`.
///
/// # Errors
/// It is none, or of a version that means something else.
pub fn read(text: &str) -> Result<Plan, ReadError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    let not_a_plan = |error: serde_json::Error| ReadError::NotAPlan(error.to_string());
    let Versioned { version } = serde_json::from_str(text).map_err(not_a_plan)?;
    if version != u64::from(PLAN_VERSION) {
        return Err(ReadError::OtherVersion { found: version });
    }
    let mut plan: Plan = serde_json::from_str(text).map_err(not_a_plan)?;
    // Order and counts are not taken from a file that anybody may have edited.
    plan.settle();
    Ok(plan)
}

/// What became of the actions of a saved plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// As they were.
    pub fresh: BTreeSet<Address>,
    /// Nothing is left to do for them.
    pub done: BTreeSet<Address>,
    /// No longer what was planned.
    pub stale: BTreeMap<Address, Vec<Difference>>,
    /// As they were, but what has to come before them is not.
    pub held_up: BTreeMap<Address, Address>,
    /// Not in the saved plan, or without anything to do there, and to be done or blocked now.
    pub beyond: BTreeSet<Address>,
}

/// How an entry is another one now.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// The file does not ask for it any more.
    NotAsked,
    /// Nothing is left to do.
    Done,
    /// It was not planned at all.
    NotPlanned,
    Blocked(Vec<Blocker>),
    /// Something that the action rests on.
    Basis {
        what: String,
        planned: Option<String>,
        now: Option<String>,
    },
    Action {
        planned: Action,
        now: Action,
    },
    Change {
        attribute: String,
        planned: Option<Box<Change>>,
        now: Option<Box<Change>>,
    },
    /// What would be written is not the same, though it is shown alike.
    Otherwise,
}

/// Holds a saved plan against one of the same targets that was made now.
pub fn compare(saved: &Plan, now: &Plan) -> Comparison {
    let mut comparison = Comparison::default();
    let by_address: BTreeMap<&Address, &Entry> = now
        .entries
        .iter()
        .map(|entry| (&entry.address, entry))
        .collect();
    let actions: BTreeMap<&Address, &Entry> = saved
        .entries
        .iter()
        .filter(|entry| entry.action.changes())
        .map(|entry| (&entry.address, entry))
        .collect();
    for (address, planned) in &actions {
        let address = (*address).clone();
        match by_address.get(&address) {
            None => drop(comparison.stale.insert(address, vec![Difference::NotAsked])),
            Some(now) if now.action == Action::Unchanged => {
                comparison.done.insert(address);
            }
            Some(now) if now.fingerprint == planned.fingerprint && now.action.changes() => {
                comparison.fresh.insert(address);
            }
            Some(now) => drop(comparison.stale.insert(address, differences(planned, now))),
        }
    }
    comparison.beyond = now
        .entries
        .iter()
        .filter(|entry| entry.action != Action::Unchanged)
        .filter(|entry| !actions.contains_key(&entry.address))
        .map(|entry| entry.address.clone())
        .collect();
    hold_up(&mut comparison, now);
    comparison
}

/// Takes out of what is fresh whatever depends on something that will not be done.
fn hold_up(comparison: &mut Comparison, now: &Plan) {
    loop {
        let left_out = |address: &Address| {
            comparison.stale.contains_key(address)
                || comparison.held_up.contains_key(address)
                || comparison.beyond.contains(address)
        };
        let found: Vec<(Address, Address)> = now
            .entries
            .iter()
            .filter(|entry| comparison.fresh.contains(&entry.address))
            .filter_map(|entry| {
                let on = entry.depends_on.iter().find(|on| left_out(on))?;
                Some((entry.address.clone(), on.clone()))
            })
            .collect();
        if found.is_empty() {
            return;
        }
        for (address, on) in found {
            comparison.fresh.remove(&address);
            comparison.held_up.insert(address, on);
        }
    }
}

fn differences(planned: &Entry, now: &Entry) -> Vec<Difference> {
    if !now.blocked.is_empty() {
        return vec![Difference::Blocked(now.blocked.clone())];
    }
    let mut differences: Vec<Difference> = both(&planned.basis, &now.basis)
        .map(|(what, planned, now)| Difference::Basis {
            what: what.clone(),
            planned: planned.cloned(),
            now: now.cloned(),
        })
        .collect();
    if planned.action != now.action {
        differences.push(Difference::Action {
            planned: planned.action,
            now: now.action,
        });
    }
    let (before, after) = (by_attribute(planned), by_attribute(now));
    differences.extend(
        both(&before, &after).map(|(attribute, planned, now)| Difference::Change {
            attribute: attribute.clone(),
            planned: planned.cloned().map(Box::new),
            now: now.cloned().map(Box::new),
        }),
    );
    if differences.is_empty() {
        differences.push(Difference::Otherwise);
    }
    differences
}

/// The changes without the lines that ask for them.
fn by_attribute(entry: &Entry) -> BTreeMap<String, Change> {
    entry
        .changes
        .iter()
        .map(|change| {
            let change = Change {
                asked_by: None,
                ..change.clone()
            };
            (change.attribute.clone(), change)
        })
        .collect()
}

/// What is not the same in two maps, by key.
fn both<'m, V: PartialEq>(
    before: &'m BTreeMap<String, V>,
    after: &'m BTreeMap<String, V>,
) -> impl Iterator<Item = (&'m String, Option<&'m V>, Option<&'m V>)> {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .map(|key| (key, before.get(key), after.get(key)))
        .filter(|(_, before, after)| before != after)
}
