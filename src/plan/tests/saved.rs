//! Saved plans are read as they were written, and parts of plans are whole enough to be carried out.

use super::*;
use crate::plan::model::Address;
use crate::plan::saved::{Difference, ReadError, compare, read};
use crate::plan::target::{TargetError, narrow};
use crate::report::json;

const CHAIN: &str = r#"
[clusters.north]
bootstrap_servers = "127.0.0.1:9072"
[clusters.east.topics.audit]
partitions = 1
[links.copy]
source = "east"
destination = "west"
topics = ["orders", "pay-*", "absent", "audit"]
rename = { prefix = "m." }
[links.onward]
source = "west"
destination = "north"
topics = ["m.*"]
"#;

fn model() -> Model {
    let model = Model::new(&["east", "west", "north"]);
    model.add_topic("east", "orders", 1, 1, &[("min.insync.replicas", "2")]);
    model.add_topic("east", "pay-1", 4, 9, &[]);
    model
}

#[test]
fn a_plan_reads_as_it_was_written() {
    let topology = with_clusters(CHAIN);
    let model = model();
    let first = plan(&topology, &model);
    apply(&topology, &model);
    model.set_config("west", "m.orders", "segment.ms", Some("7"));
    let narrowed = {
        let mut plan = plan(&topology, &model);
        narrow(&mut plan, &["link.copy".to_owned()]).expect("it is there");
        plan
    };
    for plan in [first, plan(&topology, &model), narrowed] {
        let text = json::plan(&plan);
        let read = read(&text).expect("a plan");
        assert_eq!(json::plan(&read), text);
        let comparison = compare(&read, &plan);
        assert_eq!(comparison.stale, [].into());
        assert_eq!(comparison.held_up, [].into());
        let changing = plan.entries.iter().filter(|entry| entry.action.changes());
        assert_eq!(comparison.fresh.len(), changing.count());
    }
}

#[test]
fn a_document_of_another_version_is_not_guessed_at() {
    assert!(matches!(
        read("{\"version\": 2}"),
        Err(ReadError::OtherVersion { found: 2 })
    ));
    for text in ["", "{}", "[]", "{\"version\": 1}", "kmirror = 1"] {
        assert!(matches!(read(text), Err(ReadError::NotAPlan(_))), "{text}");
    }
}

#[test]
fn a_target_brings_what_it_depends_on() {
    let topology = with_clusters(CHAIN);
    let planned = |targets: &[&str]| {
        let mut plan = plan(&topology, &model());
        let targets: Vec<String> = targets.iter().map(|it| (*it).to_owned()).collect();
        narrow(&mut plan, &targets).map(|()| {
            let addresses = plan.entries.iter();
            addresses
                .map(|entry| entry.address.to_string())
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(
        planned(&["mirror.onward/m.audit"]).expect("it is there"),
        [
            "cluster.east/topic.audit",
            "control.north",
            "control.west",
            "link.copy",
            "mirror.copy/audit",
            "link.onward",
            "mirror.onward/m.audit",
        ]
    );
    assert_eq!(
        planned(&["mirror.copy/pay-*", "cluster.east"]).expect("it is there"),
        [
            "cluster.east/topic.audit",
            "control.west",
            "link.copy",
            "mirror.copy/pay-1"
        ]
    );
    assert_eq!(
        planned(&["mirror.copy/pay-2"]),
        Err(TargetError::Unknown {
            target: "mirror.copy/pay-2".to_owned(),
            nearest: Some("mirror.copy/pay-1".to_owned()),
        })
    );
    assert!(matches!(
        planned(&["pay-1"]),
        Err(TargetError::NoAddress { .. })
    ));
    assert!(matches!(
        planned(&["mirror.copy/["]),
        Err(TargetError::BadGlob { .. })
    ));
}

#[test]
fn what_depends_on_something_stale_is_held_up() {
    let topology = with_clusters(CHAIN);
    let model = model();
    model.add_topic("east", "pay-2", 4, 1, &[]);
    let mut saved = plan(&topology, &model);
    saved.narrow(|address| address.to_string() != "mirror.copy/absent");
    model.with_topic("east", "pay-2", |topic| topic.partitions = 8);
    let comparison = compare(&saved, &plan(&topology, &model));
    let stale: Vec<String> = comparison.stale.keys().map(Address::to_string).collect();
    // The onward mirror would have other partitions as well.
    assert_eq!(stale, ["mirror.copy/pay-2", "mirror.onward/m.pay-2"]);
    model.with_topic("east", "pay-2", |topic| topic.partitions = 4);
    model.with_topic("east", "pay-2", |topic| topic.id = uuid::Uuid::from_u128(9));
    let comparison = compare(&saved, &plan(&topology, &model));
    let stale: Vec<String> = comparison.stale.keys().map(Address::to_string).collect();
    assert_eq!(stale, ["mirror.copy/pay-2"]);
    let held_up: Vec<String> = comparison
        .held_up
        .iter()
        .map(|(address, on)| format!("{address} <- {on}"))
        .collect();
    assert_eq!(held_up, ["mirror.onward/m.pay-2 <- mirror.copy/pay-2"]);
    let beyond: Vec<String> = comparison.beyond.iter().map(Address::to_string).collect();
    let blocked = [
        "mirror.copy/absent",
        "mirror.copy/pay-1",
        "mirror.onward/m.pay-1",
    ];
    assert_eq!(beyond, blocked);
    assert!(comparison.stale.values().flatten().all(|difference| {
        matches!(difference, Difference::Basis { what, .. } if what == "source.topic_id")
    }));
}
