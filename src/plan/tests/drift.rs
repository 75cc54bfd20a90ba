//! Drift: which way something differs, and that nothing else is called drift.

use std::collections::BTreeSet;

use super::*;
use crate::plan::drift::{self, Direction, Drift};
use crate::plan::model::Origin;

fn drift(topology: &Topology, model: &Model) -> Drift {
    drift::drift(&plan(topology, model), &BTreeSet::new())
}

/// `direction address`, and `direction attribute` for each difference of what is not missing.
fn directions(drift: &Drift) -> Vec<String> {
    let mut list = Vec::new();
    for entry in &drift.entries {
        list.push(format!("{:?} {}", entry.direction, entry.address));
        for difference in &entry.differences {
            if entry.direction != Some(Direction::DeclaredButMissing) {
                list.push(format!(
                    "{:?} {}",
                    difference.direction, difference.attribute
                ));
            }
        }
    }
    list
}

const FILE: &str = "topics = [\"orders\"]\nrename = { prefix = \"m.\" }\n";

fn applied(file: &str) -> (Topology, Model) {
    let topology = copy(file);
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[("retention.ms", "5000")]);
    assert!(apply(&topology, &model).is_complete());
    (topology, model)
}

#[test]
fn what_was_applied_has_not_drifted_until_somebody_changes_it() {
    let (topology, model) = applied(FILE);
    let quiet = drift(&topology, &model);
    assert_eq!(directions(&quiet), [""; 0]);
    assert_eq!(quiet.counts.as_declared, 3);
    assert!(!quiet.has_drifted() && !quiet.is_blocked());
    model.set_config("west", "m.orders", "retention.ms", Some("7"));
    model.set_config("west", "m.orders", "segment.ms", Some("8"));
    model.set_config("west", "m.orders", "compression.type", None);
    assert_eq!(
        directions(&drift(&topology, &model)),
        [
            "Some(ChangedLive) mirror.copy/orders",
            "DeclaredButMissing config.compression.type",
            "ChangedLive config.retention.ms",
            "LiveButUndeclared config.segment.ms",
        ]
    );
}

#[test]
fn a_changed_cluster_default_has_not_drifted() {
    let (topology, model) = applied(FILE);
    model.change(|observed| {
        let west = observed.clusters.get_mut("west").expect("known");
        for config in west.topic_defaults.values_mut() {
            config.source = crate::observe::model::ConfigSource::DynamicDefaultBroker;
        }
    });
    assert_eq!(directions(&drift(&topology, &model)), [""; 0]);
}

#[test]
fn an_edited_file_differs_from_what_was_applied_and_the_clusters_did_nothing() {
    let (_, model) = applied(FILE);
    model.add_topic("east", "clicks", 1, 1, &[]);
    let edited = copy("topics = [\"clicks\"]\nrename = { prefix = \"m.\" }\nstart = \"latest\"\n");
    assert_eq!(
        directions(&drift(&edited, &model)),
        [
            "Some(DeclaredButNotApplied) link.copy",
            "DeclaredButNotApplied topics",
            "DeclaredButNotApplied start",
            "Some(DeclaredButMissing) mirror.copy/clicks",
            "Some(LiveButUndeclared) mirror.copy/orders",
            "LiveButUndeclared state",
        ]
    );
}

#[test]
fn leftovers_are_found_by_the_names_that_a_link_gives() {
    let (topology, model) =
        applied("topics = [\"orders\", \"pay-*\"]\nrename = \"m.${topic}.copy\"\n");
    for topic in [
        "m.pay-1.copy",
        "m.other.copy",
        "pay-2",
        "m..copy",
        "m.pay-3",
    ] {
        model.add_topic("west", topic, 1, 1, &[]);
    }
    let found = drift(&topology, &model);
    assert_eq!(
        directions(&found),
        ["Some(LiveButUndeclared) cluster.west/topic.m.pay-1.copy"]
    );
    // Its source appears: it is the mirror's topic, and no leftover.
    model.add_topic("east", "pay-1", 1, 1, &[]);
    assert_eq!(
        directions(&drift(&topology, &model)),
        ["Some(DeclaredButMissing) mirror.copy/pay-1"]
    );
    // Without a rename every topic would look like a mirror.
    let (same_names, model) = applied("topics = [\"orders\", \"pay-*\"]\n");
    model.add_topic("west", "pay-1", 1, 1, &[]);
    assert_eq!(directions(&drift(&same_names, &model)), [""; 0]);
}

#[test]
fn a_source_that_went_away_is_missing_also_where_a_pattern_took_it() {
    let (topology, model) = applied("topics = [\"ord*\"]\nrename = { prefix = \"m.\" }\n");
    model.change(|observed| {
        let east = observed.clusters.get_mut("east").expect("known");
        east.topics.remove("orders");
    });
    let found = drift(&topology, &model);
    assert_eq!(
        directions(&found),
        ["Some(DeclaredButMissing) mirror.copy/orders"]
    );
    assert!(found.entries[0].asked_by.is_some());
}

#[test]
fn every_direction_can_be_left_aside_alone() {
    let (topology, model) = applied(FILE);
    model.set_config("west", "m.orders", "retention.ms", Some("7"));
    model.set_config("west", "m.orders", "segment.ms", Some("8"));
    let plan = plan(&topology, &model);
    let without = |ignored: &[Direction]| {
        let found = drift::drift(&plan, &ignored.iter().copied().collect());
        (directions(&found), found.counts.ignored)
    };
    assert_eq!(
        without(&[Direction::ChangedLive]),
        (
            vec![
                "Some(LiveButUndeclared) mirror.copy/orders".to_owned(),
                "LiveButUndeclared config.segment.ms".to_owned(),
            ],
            0
        )
    );
    assert_eq!(
        without(&[Direction::ChangedLive, Direction::LiveButUndeclared]),
        (vec![], 1)
    );
}

#[test]
fn a_value_that_would_be_inherited_is_told_as_such() {
    let (topology, model) = applied(FILE);
    model.set_config("west", "m.orders", "segment.ms", Some("8"));
    let found = drift(&topology, &model);
    let difference = &found.entries[0].differences[0];
    let declared = difference.declared.as_ref().map(|side| side.origin);
    assert!(declared.is_none_or(drift::is_inherited), "{declared:?}");
    assert_eq!(
        difference.live.as_ref().map(|side| side.origin),
        Some(Origin::Topic)
    );
}
