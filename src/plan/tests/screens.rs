//! Whole plans as people and programs see them.

use super::*;
use crate::report::text::TextOptions;

macro_rules! assert_screen {
    ($name:expr, $text:expr) => {
        insta::with_settings!({
            snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
            prepend_module_to_snapshot => false,
        }, {
            insta::assert_snapshot!($name, $text);
        });
    };
}

fn text(plan: &Plan) -> String {
    crate::report::text::plan(plan, TextOptions::PLAIN)
}

fn everything() -> Topology {
    topology(
        r#"
kmirror = 1

[clusters.east]
bootstrap_servers = "127.0.0.1:9082"

[clusters.east.topics.test-topic]
partitions = 1
config = { "segment.bytes" = "10485760" }

[clusters.west]
bootstrap_servers = "127.0.0.1:9092"

[clusters.west.topics.audit]
partitions = 2

[links.east-to-west]
source = "east"
destination = "west"
topics = ["test-topic", "payments.*", "missing"]
exclude = ["*-tmp"]
rename = "${topic}.replica"

[links.east-to-west.mirrors.orders]
as = "orders-eu"
config = { "retention.ms" = "604800000" }
"#,
    )
}

fn clusters() -> Model {
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 3, 2, &[("min.insync.replicas", "1")]);
    model.add_topic(
        "east",
        "payments.in",
        1,
        1,
        &[
            ("retention.ms", "86400000"),
            ("message.format.version", "2.8"),
        ],
    );
    model.add_topic("west", "audit", 4, 1, &[]);
    model
}

#[test]
fn a_first_plan() {
    let plan = plan(&everything(), &clusters());
    assert_screen!("plan_first_text", text(&plan));
    assert_screen!("plan_first_json", crate::report::json::plan(&plan));
}

#[test]
fn a_later_plan_and_a_quiet_one() {
    let topology = everything();
    let model = clusters();
    apply(&topology, &model);
    // Somebody mends what was blocked, and somebody else changes things by hand.
    model.add_topic("east", "missing", 1, 1, &[]);
    model.with_topic("west", "audit", |topic| topic.partitions = 2);
    assert!(apply(&topology, &model).is_complete());
    let quiet = plan(&topology, &model);
    assert_screen!("plan_quiet_text", text(&quiet));
    model.set_config("west", "orders-eu", "retention.ms", Some("1000"));
    model.set_config("west", "orders-eu", "segment.bytes", Some("2000000"));
    model.with_topic("east", "payments.in", |topic| topic.partitions = 4);
    let changed = plan(&topology, &model);
    assert_screen!("plan_later_text", text(&changed));
}

#[test]
fn a_narrow_terminal_wraps_sentences_and_colour_is_only_emphasis() {
    let plan = plan(&everything(), &clusters());
    let narrow = crate::report::text::plan(
        &plan,
        TextOptions {
            width: Some(60),
            paint: &|_, text| text.to_owned(),
            now_ms: 0,
        },
    );
    assert_screen!("plan_narrow_text", narrow);
    let painted = crate::report::text::plan(
        &plan,
        TextOptions {
            width: None,
            paint: &|_, text| format!("<{text}>"),
            now_ms: 0,
        },
    );
    assert_eq!(
        painted.replace(['<', '>'], ""),
        text(&plan).replace(['<', '>'], "")
    );
}

#[test]
fn what_clusters_say_can_not_steer_the_terminal() {
    let model = clusters();
    model.change(|observed| {
        let west = observed.clusters.get_mut("west").expect("known");
        west.cluster_id = "id\u{1b}[2J\u{9b}1A".to_owned();
    });
    let plan = plan(&everything(), &model);
    let steers = |text: &str| text.chars().any(|char| char.is_control() && char != '\n');
    assert!(!steers(&text(&plan)));
    assert!(!steers(&crate::report::json::plan(&plan)));
}
