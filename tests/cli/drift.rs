//! `kmirror drift` against embedded clusters: whole screens, exit codes included.

use kmirror::kafka::admin::NewTopic;
use kmirror::kafka::admin::{ConfigChange, ConfigResource};
use kmirror::sandbox::Sandbox;
use serde_json::Value;

use crate::assert_shown;
use crate::formats::assert_sarif;
use crate::outputs::{changed, set};
use crate::sandboxes::TwoClusters;
use crate::support::Scenario;

const FORMATS: [&str; 6] = ["text", "json", "markdown", "github", "sarif", "junit"];

const FILE: &str = r#"
[clusters.west.topics.audit]
partitions = 1
config = { "retention.ms" = 604800000, "segment.ms" = 7000 }

[links.copy]
source = "east"
destination = "west"
topics = ["orders", "pay-*"]
rename = "east.${topic}"
"#;

const FORMER: &str = r#"
[links.former]
source = "east"
destination = "west"
topics = ["orders"]
rename = "former.${topic}"
"#;

/// Applied, and then everything that a hand can do to a cluster.
fn drifted() -> TwoClusters {
    let clusters = TwoClusters::start(1, &format!("{FILE}{FORMER}"));
    clusters.create(&clusters.east, "orders", 1, &[]);
    clusters.create(&clusters.east, "pay-in", 1, &[]);
    clusters.create(&clusters.east, "pay-out", 1, &[]);
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    // A config is changed, one is taken away, one is added, topics go and come.
    set(&clusters, "audit", "retention.ms", "1000");
    reset(&clusters, &clusters.west, "audit", "segment.ms");
    set(&clusters, "east.orders", "retention.bytes", "4096");
    delete(&clusters, &clusters.west, "east.pay-in");
    delete(&clusters, &clusters.east, "pay-out");
    clusters.create(&clusters.west, "east.pay-old", 1, &[]);
    clusters.create(&clusters.west, "other", 1, &[]);
    clusters.write(FILE);
    clusters
}

fn reset(clusters: &TwoClusters, sandbox: &Sandbox, topic: &str, key: &str) {
    let change = ConfigChange {
        name: key.to_owned(),
        value: None,
    };
    let admin = clusters.client(sandbox).admin();
    let changes = vec![(ConfigResource::Topic(topic.to_owned()), vec![change])];
    for (_, result) in clusters.block_on(admin.incremental_alter_configs(changes, false)) {
        result.expect("the sandbox takes it");
    }
}

fn delete(clusters: &TwoClusters, sandbox: &Sandbox, topic: &str) {
    let admin = clusters.client(sandbox).admin();
    for (topic, result) in clusters.block_on(admin.delete_topics(vec![topic.to_owned()])) {
        result.unwrap_or_else(|error| panic!("{topic}: {error}"));
    }
}

#[test]
fn what_was_changed_by_hand_is_told_with_its_direction_in_every_form() {
    let clusters = drifted();
    for format in FORMATS {
        let ran = clusters.run(&["drift", "--format", format, "mirror.toml"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(2), ""), "{ran}");
        if format == "sarif" {
            assert_sarif(&serde_json::from_str(&ran.stdout).expect("valid JSON"));
        } else {
            assert_shown(&format!("drift_{format}"), &ran);
        }
    }
}

#[test]
fn there_is_no_drift_after_an_apply_and_nothing_is_written_or_tried() {
    let clusters = TwoClusters::start(1, FILE);
    clusters.create(&clusters.east, "orders", 1, &[]);
    let before = clusters.run(&["drift", "mirror.toml"]);
    assert_eq!(before.code, Some(2), "{before}");
    assert_eq!(clusters.west.topics(), [""; 0]);
    clusters.run(&["apply", "--yes", "mirror.toml"]);
    // A write would now fail, also one that is only tried.
    for faults in clusters.faults() {
        for api in crate::apply::WRITES {
            let refused = kafka_protocol::ResponseError::PolicyViolation;
            faults.fail(api, None, refused, u32::MAX);
        }
    }
    assert_shown("drift_none", &clusters.run(&["drift", "mirror.toml"]));
    set_is_refused(&clusters);
}

/// The faults are what the test above relies on.
fn set_is_refused(clusters: &TwoClusters) {
    let topic = NewTopic {
        name: "x".to_owned(),
        partitions: Some(1),
        replication_factor: Some(1),
        configs: Vec::new(),
    };
    let admin = clusters.client(&clusters.west).admin();
    let results = clusters.block_on(admin.create_topics(vec![topic], true));
    assert!(results.into_iter().all(|(_, result)| result.is_err()));
}

#[test]
fn check_10_what_an_apply_cannot_bring_back_ends_with_its_own_code() {
    let clusters = TwoClusters::start(1, FILE);
    clusters.create(&clusters.east, "orders", 1, &[]);
    clusters.run(&["apply", "--yes", "mirror.toml"]);
    delete(&clusters, &clusters.west, "east.orders");
    clusters.create(&clusters.west, "east.orders", 1, &[]);
    set(&clusters, "audit", "retention.ms", "1000");
    // A whole document and an exit code that says it, also where something is blocked.
    let ran = clusters.run(&["drift", "--format", "json", "mirror.toml"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(3), ""), "{ran}");
    let document: Value = serde_json::from_str(&ran.stdout).expect("a whole document");
    assert_eq!(document["counts"]["blocked"], 1);
    assert_eq!(document["counts"]["changed_live"], 1);
    assert_shown("drift_blocked", &clusters.run(&["drift", "mirror.toml"]));
}

#[test]
fn directions_can_be_left_aside() {
    let clusters = drifted();
    let ran = clusters.run(&[
        "drift",
        "--ignore",
        "live-but-undeclared",
        "--ignore",
        "declared-but-missing",
        "mirror.toml",
    ]);
    assert_shown("drift_ignored", &ran);
    let ran = clusters.run(&[
        "drift",
        "--ignore=live-but-undeclared",
        "--ignore=declared-but-missing",
        "--ignore=changed-live",
        "mirror.toml",
    ]);
    assert_eq!(ran.code, Some(0), "{ran}");
}

#[test]
fn an_edited_file_is_no_change_of_the_live_side() {
    let clusters = changed();
    let ran = clusters.run(&["drift", "--format", "json", "mirror.toml"]);
    let document: Value = serde_json::from_str(&ran.stdout).expect("valid JSON");
    let link = &document["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .find(|entry| entry["address"] == "link.copy")
        .expect("the link differs")["direction"];
    assert_eq!(link, "declared_but_not_applied");
}

#[test]
fn check_16_of_drift_stdout_holds_the_document_and_nothing_else() {
    let clusters = drifted();
    for format in FORMATS {
        let quiet = clusters.run(&["drift", "--format", format, "mirror.toml"]);
        let loud = clusters.run(&["drift", "-vv", "--format", format, "mirror.toml"]);
        assert!(loud.stderr.contains("DEBUG"), "{}", loud.stderr.len());
        assert_eq!(quiet.stdout, loud.stdout);
    }
}

#[test]
fn a_cluster_that_cannot_be_read_never_passes_for_one_without_drift() {
    let scenario = Scenario::new();
    // Nothing listens on these ports.
    scenario.file(
        "mirror.toml",
        "kmirror = 1\n[clusters.east]\nbootstrap_servers = \"127.0.0.1:1\"\n[clusters.west]\nbootstrap_servers = \"127.0.0.1:2\"\n\
         [links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"*\"]\n",
    );
    let ran = scenario.run(&["drift", "--format", "junit", "mirror.toml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran}");
    assert!(ran.stderr.contains("2 clusters can't be read"), "{ran}");
}

#[test]
fn mistakes_in_the_file_are_told_in_the_form_that_was_asked_for() {
    let scenario = Scenario::new();
    scenario.file("bad.toml", "kmirror = 1\nlink = \"<&>\"\n");
    let ran = scenario.run(&["drift", "--format", "junit", "bad.toml"]);
    assert_shown("drift_mistakes_junit", &ran);
    assert_junit(&ran.stdout);
}

#[test]
fn junit_is_what_its_readers_expect() {
    let clusters = drifted();
    let ran = clusters.run(&["drift", "--format", "junit", "mirror.toml"]);
    assert_junit(&ran.stdout);
}

/// The elements and attributes of the schema that Jenkins validates against.
fn assert_junit(text: &str) {
    let document = roxmltree::Document::parse(text).expect("well-formed XML");
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let parent = node.parent_element().map(|parent| parent.tag_name().name());
        let (parents, required, optional): (&[Option<&str>], &[&str], &[&str]) =
            match node.tag_name().name() {
                "testsuites" => (&[None], &[], &["name", "tests", "failures", "errors"]),
                "testsuite" => (
                    &[Some("testsuites")],
                    &["name", "tests", "failures", "errors"],
                    &[],
                ),
                "testcase" => (&[Some("testsuite")], &["name"], &["classname"]),
                "failure" | "error" => (&[Some("testcase")], &[], &["type", "message"]),
                other => panic!("{other} is no element of JUnit's"),
            };
        assert!(parents.contains(&parent), "{node:?}");
        for name in required {
            assert!(node.has_attribute(*name), "{name} of {node:?}");
        }
        for attribute in node.attributes() {
            let name = attribute.name();
            assert!(
                required.contains(&name) || optional.contains(&name),
                "{name}"
            );
        }
    }
    let root = document.root_element();
    for (element, attribute) in [
        ("testcase", "tests"),
        ("failure", "failures"),
        ("error", "errors"),
    ] {
        let found = root.descendants().filter(|node| node.has_tag_name(element));
        let told = root.attribute(attribute).and_then(|text| text.parse().ok());
        assert_eq!(told, Some(found.count()), "{element}");
    }
}
