//! `kmirror plan` against embedded clusters.

use crate::assert_shown;
use crate::sandboxes::TwoClusters;
use crate::support::Scenario;

const TUTORIAL: &str = r#"
[clusters.east.topics.test-topic]
partitions = 1
replication_factor = 1
config = { "segment.bytes" = "10485760" }

[links.copy]
source = "east"
destination = "west"
topics = ["test-topic"]
rename = "${topic}.replica"
replication_factor = 1
"#;

#[test]
fn the_tutorial_on_empty_clusters() {
    let clusters = TwoClusters::start(1, TUTORIAL);
    let ran = clusters.run(&["plan", "mirror.toml"]);
    assert_shown("cli_plan_tutorial", &ran);
    assert_eq!(
        clusters
            .run(&["plan", "--detailed-exitcode", "mirror.toml"])
            .code,
        Some(2)
    );
    // Trying writes is not writing.
    assert_eq!(clusters.east.topics(), [""; 0]);
    assert_eq!(clusters.west.topics(), [""; 0]);
}

#[test]
fn two_plans_of_one_state_are_equal() {
    let clusters = TwoClusters::start(1, TUTORIAL);
    let first = clusters.run(&["plan", "--format", "json", "mirror.toml"]);
    let second = clusters.run(&["plan", "--format", "json", "mirror.toml"]);
    assert_eq!(first.code, Some(0), "{first}");
    assert_eq!(first.stderr, "");
    assert_eq!(first.stdout, second.stdout);
    let json: serde_json::Value = serde_json::from_str(&first.stdout).expect("a JSON document");
    assert_eq!(json["version"], 1);
    assert_eq!(json["counts"]["create"], 4);
}

#[test]
fn what_is_blocked_ends_with_its_own_code() {
    let clusters = TwoClusters::start(1, TUTORIAL);
    clusters.write(&TUTORIAL.replace("\"test-topic\"]", "\"test-topic\", \"nowhere\"]"));
    let ran = clusters.run(&["plan", "mirror.toml"]);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(
        ran.stdout.contains("`east` has no topic `nowhere`."),
        "{ran}"
    );
}

#[test]
fn what_a_broker_refuses_stands_in_the_plan_in_its_own_words() {
    let file = TUTORIAL.replace(
        "\"segment.bytes\" = \"10485760\"",
        "\"cleanup.policy\" = \"squash\"",
    );
    let clusters = TwoClusters::start(1, &file);
    let ran = clusters.run(&["plan", "mirror.toml"]);
    assert_shown("cli_plan_refused", &ran);
}

#[test]
fn every_unreachable_cluster_is_named_with_what_was_tried() {
    let scenario = Scenario::new();
    // Nothing listens on these ports.
    scenario.file(
        "mirror.toml",
        "kmirror = 1\n[clusters.east]\nbootstrap_servers = \"127.0.0.1:1\"\n[clusters.west]\nbootstrap_servers = [\"127.0.0.1:2\", \"127.0.0.1:3\"]\n\
         [links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"*\"]\n",
    );
    let ran = scenario.run(&["plan", "mirror.toml"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert_eq!(ran.stdout, "", "{ran}");
    for words in [
        "2 clusters can't be read",
        "127.0.0.1:1",
        "127.0.0.1:2",
        "127.0.0.1:3",
        "tried for",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {ran}");
    }
}

#[test]
fn a_file_that_is_not_there() {
    let ran = Scenario::new().run(&["plan", "absent.toml"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("absent.toml"), "{ran}");
}

/// Who cannot pause a mirror while its source burns has to delete something.
#[test]
fn a_link_is_paused_while_its_source_is_down() {
    let link = "[links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"orders\"]\n";
    let clusters = TwoClusters::start(1, link);
    clusters.create(&clusters.east, "orders", 1, &[]);
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    // Nobody listens there.
    let file = clusters.scenario.path("mirror.toml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    let text = text.replace(&clusters.east.bootstrap_servers(), "127.0.0.1:1");
    clusters.scenario.file("mirror.toml", &text);
    let ran = clusters.run(&["plan", "mirror.toml"]);
    assert_shown("cli_plan_source_down", &ran);
    assert_eq!(ran.code, Some(3));
    clusters
        .scenario
        .file("mirror.toml", format!("{text}state = \"paused\"\n"));
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_shown("cli_apply_source_down", &ran);
    assert_eq!(ran.code, Some(0));
    let drift = clusters.run(&["drift", "mirror.toml"]);
    assert_eq!(drift.code, Some(1), "{drift}");
}
