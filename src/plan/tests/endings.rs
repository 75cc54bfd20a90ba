//! Promotion and failover in plans: asked for once, waited for, and never taken back.

use super::*;
use crate::control::records::{EndingKind, MirrorRecord};
use crate::plan::drift::{Direction, drift};
use crate::plan::model::{Action, Severity};
use crate::plan::reason::Note;

fn file(state: &str) -> Topology {
    let state = match state {
        "" => String::new(),
        state => format!("[links.copy.mirrors.orders]\nstate = \"{state}\"\n"),
    };
    copy(&format!("topics = [\"orders\", \"audit\"]\n{state}"))
}

/// Both topics mirrored.
fn mirrored() -> Model {
    let model = Model::new(&["east", "west"]);
    for topic in ["orders", "audit"] {
        model.add_topic("east", topic, 1, 1, &[]);
    }
    assert!(apply(&file(""), &model).is_complete());
    model.take_writes();
    model
}

fn with_record<R>(model: &Model, change: impl FnOnce(&mut MirrorRecord) -> R) -> R {
    model.change(|observed| {
        let west = observed.clusters.get_mut("west").expect("it is there");
        let control = west.control.as_mut().expect("applied");
        let mut mirrors = control.mirrors.iter_mut();
        let orders = mirrors.find(|record| record.source_topic == "orders");
        change(orders.expect("it is mirrored"))
    })
}

/// A worker has carried out what was asked for.
fn stop(model: &Model) {
    with_record(model, |record| {
        let ending = record.ending.as_mut().expect("it was asked for");
        ending.stopped_ms = Some(1);
    });
}

fn pending(plan: &Plan) -> usize {
    let is_pending = |note: &&Note| matches!(note, Note::EndingPending { .. });
    plan.notes.iter().filter(is_pending).count()
}

#[test]
fn an_end_is_asked_for_once_and_what_is_under_way_is_said() {
    for (state, action, kind) in [
        ("promoted", Action::Promote, EndingKind::Promote),
        ("failed-over", Action::FailOver, EndingKind::FailOver),
    ] {
        let model = mirrored();
        let first = plan(&file(state), &model);
        let word = format!("{action:?}").to_lowercase();
        assert_eq!(
            summary(&first),
            [
                "update link.copy".to_owned(),
                format!("{word} mirror.copy/orders")
            ]
        );
        let entry = first.entries.iter().find(|entry| entry.action == action);
        let entry = entry.expect("it is planned");
        assert_eq!(entry.severity, Severity::Irreversible);
        assert!(apply(&file(state), &model).is_complete());
        assert_eq!(model.take_writes(), ["commit 2 records on west"]);
        let ending = with_record(&model, |record| record.ending.clone());
        assert_eq!(ending.expect("it was asked for").kind, kind);
        let second = plan(&file(state), &model);
        assert!(!second.has_changes() && pending(&second) == 1, "{second:?}");
        stop(&model);
        let third = plan(&file(state), &model);
        assert!(!third.has_changes() && pending(&third) == 0, "{third:?}");
    }
}

/// The source may die while a promotion waits for it; the other way round nothing is left to wait for.
#[test]
fn a_promotion_under_way_can_become_a_failover() {
    let model = mirrored();
    apply(&file("promoted"), &model);
    assert_eq!(
        summary(&plan(&file("failed-over"), &model)),
        ["update link.copy", "failover mirror.copy/orders"]
    );
    apply(&file("failed-over"), &model);
    let back = plan(&file("promoted"), &model);
    assert_eq!(summary(&back), ["update link.copy"]);
    stop(&model);
    assert!(!plan(&file("promoted"), &model).is_blocked());
}

/// An old file, or one that nobody edited, must not bring a mirror back over what applications wrote.
#[test]
fn no_file_takes_a_failover_back() {
    for is_over in [false, true] {
        let model = mirrored();
        apply(&file("failed-over"), &model);
        if is_over {
            stop(&model);
        }
        for state in ["active", "paused", ""] {
            let planned = plan(&file(state), &model);
            assert_eq!(
                causes(&planned),
                [
                    "The mirror was failed over: west/orders belongs to whoever writes to it, and nothing is copied into it again."
                ],
                "{state}"
            );
            let drifted = drift(&planned, &Default::default());
            let mut entries = drifted.entries.iter();
            let entry = entries.find(|entry| entry.address.to_string() == "mirror.copy/orders");
            let direction = entry.expect("it is drift").direction;
            assert_eq!(direction, Some(Direction::ChangedLive));
        }
        // Nor is it taken for a mirror that the file selects no more.
        let other = plan(&copy("topics = [\"audit\"]\n"), &model);
        assert!(!other.is_blocked(), "{:?}", causes(&other));
        assert!(!summary(&other).iter().any(|it| it.contains("orders")));
    }
}

#[test]
fn a_topic_that_was_handed_over_is_left_as_it_is() {
    let model = mirrored();
    apply(&file("promoted"), &model);
    stop(&model);
    model.set_config("west", "orders", "retention.ms", Some("7"));
    model.with_topic("east", "orders", |topic| topic.partitions = 5);
    let planned = plan(&file("promoted"), &model);
    assert_eq!(summary(&planned), [""; 0]);
    assert!(!planned.is_blocked());
}

#[test]
fn only_a_mirror_can_end() {
    let model = Model::new(&["east", "west"]);
    for topic in ["orders", "audit"] {
        model.add_topic("east", topic, 1, 1, &[]);
    }
    assert_eq!(
        causes(&plan(&file("promoted"), &model)),
        ["There is no mirror of orders that could be promoted."]
    );
}

#[test]
fn a_mirror_is_not_deleted_while_it_is_handed_over() {
    let model = mirrored();
    apply(&file("promoted"), &model);
    let mut planned = plan(&file("absent"), &model);
    crate::plan::guard(&mut planned, true);
    assert_eq!(
        causes(&planned),
        ["The mirror west/orders is being handed over, which is not finished."]
    );
    stop(&model);
    let mut planned = plan(&file("absent"), &model);
    crate::plan::guard(&mut planned, true);
    assert!(summary(&planned).contains(&"delete mirror.copy/orders".to_owned()));
}
