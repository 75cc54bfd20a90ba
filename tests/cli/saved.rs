//! Saved plans and parts of plans against embedded clusters.

use kafka_protocol::ResponseError;
use kmirror::kafka::admin::{ConfigChange, ConfigResource};

use crate::apply::WRITES;
use crate::assert_shown;
use crate::sandboxes::TwoClusters;

const TWO_LINKS: &str = r#"
[clusters.west.topics.audit]
partitions = 1
replication_factor = 1
config = { "retention.ms" = 604800000 }

[links.copy]
source = "east"
destination = "west"
topics = ["orders", "payments"]

[links.other]
source = "east"
destination = "west"
topics = ["stock"]
rename = { prefix = "other." }
"#;

fn clusters() -> TwoClusters {
    let clusters = TwoClusters::start(1, TWO_LINKS);
    for topic in ["orders", "payments", "stock"] {
        clusters.create(&clusters.east, topic, 2, &[]);
    }
    clusters
}

fn read(clusters: &TwoClusters, name: &str) -> String {
    std::fs::read_to_string(clusters.scenario.path(name)).expect("it is there")
}

fn set(clusters: &TwoClusters, topic: &str, key: &str, value: &str) {
    let admin = clusters.client(&clusters.west).admin();
    let change = ConfigChange {
        name: key.to_owned(),
        value: Some(value.to_owned()),
    };
    let resource = ConfigResource::Topic(topic.to_owned());
    let results =
        clusters.block_on(admin.incremental_alter_configs(vec![(resource, vec![change])], false));
    for (resource, result) in results {
        result.unwrap_or_else(|error| panic!("{resource:?}: {error}"));
    }
}

fn delete(clusters: &TwoClusters, topic: &str) {
    let admin = clusters.client(&clusters.east).admin();
    for (topic, result) in clusters.block_on(admin.delete_topics(vec![topic.to_owned()])) {
        result.unwrap_or_else(|error| panic!("{topic}: {error}"));
    }
}

#[test]
fn a_saved_plan_is_shown_and_carried_out_as_it_was_reviewed() {
    let clusters = clusters();
    let ran = clusters.run(&["plan", "--out", "plan.json", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(
        ran.stderr
            .contains("Saved in plan.json. To do exactly this: kmirror apply plan.json"),
        "{ran}"
    );
    for form in ["text", "json", "markdown", "github", "sarif"] {
        let planned = clusters.run(&["plan", "--format", form, "mirror.toml"]);
        let shown = clusters.run(&["show", "--format", form, "plan.json"]);
        assert_eq!(shown.stdout, planned.stdout, "{form}");
        assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    }
    let ran = clusters.run(&["apply", "--yes", "plan.json"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(ran.stderr.contains("Applied: 7 done."), "{ran}");
    // Once more: all is done, so there is nothing to refuse and nothing to write.
    for faults in clusters.faults() {
        for api in WRITES {
            faults.fail(api, None, ResponseError::PolicyViolation, u32::MAX);
        }
    }
    let ran = clusters.run(&["apply", "plan.json"]);
    assert_shown("cli_saved_done_already", &ran);
    assert_eq!(ran.code, Some(0));
}

/// Check 7 of those that other tools taught: plan saved, cluster touched.
#[test]
fn check_7_what_moved_since_the_plan_was_saved_is_refused_by_name() {
    let clusters = clusters();
    clusters.create(&clusters.west, "audit", 1, &[("retention.ms", "1000")]);
    clusters.run(&["plan", "--out", "plan.json", "mirror.toml"]);
    set(&clusters, "audit", "retention.ms", "5000");
    delete(&clusters, "orders");
    let before = clusters.west.topics();
    let ran = clusters.run(&["apply", "--yes", "plan.json"]);
    assert_shown("cli_saved_stale", &ran);
    assert_eq!(ran.code, Some(1));
    assert_eq!(clusters.west.topics(), before);

    let ran = clusters.run(&["apply", "--yes", "--skip-stale", "plan.json"]);
    assert_shown("cli_saved_skip_stale", &ran);
    assert_eq!(ran.code, Some(3));
    let topics = clusters.west.topics();
    assert!(topics.contains(&"payments".to_owned()), "{topics:?}");
    assert!(!topics.contains(&"orders".to_owned()), "{topics:?}");
    let left = clusters.run(&["plan", "mirror.toml"]);
    assert!(
        left.stdout.contains("5000 (5s) -> 604800000 (7d)"),
        "{left}"
    );
}

#[test]
fn a_topic_made_anew_is_not_touched_by_a_plan_for_the_former() {
    let clusters = clusters();
    clusters.create(&clusters.west, "audit", 1, &[("retention.ms", "1000")]);
    let only = "--target=cluster.west/topic.audit";
    clusters.run(&["plan", only, "--out", "plan.json", "mirror.toml"]);
    let admin = clusters.client(&clusters.west).admin();
    for (topic, result) in clusters.block_on(admin.delete_topics(vec!["audit".to_owned()])) {
        result.unwrap_or_else(|error| panic!("{topic}: {error}"));
    }
    clusters.create(&clusters.west, "audit", 1, &[("retention.ms", "1000")]);
    let ran = clusters.run(&["apply", "--yes", "plan.json"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(
        ran.stderr
            .contains("cluster.west/topic.audit: the topic's id was "),
        "{ran}"
    );
}

#[test]
fn what_came_up_since_is_named_and_left_alone() {
    let clusters = clusters();
    clusters.run(&[
        "plan",
        "--target=link.other",
        "--out",
        "plan.json",
        "mirror.toml",
    ]);
    let plain = clusters.run(&["apply", "--yes", "plan.json"]);
    assert_eq!(plain.code, Some(0), "{plain}");
    assert!(clusters.west.topics().contains(&"other.stock".to_owned()));
    assert!(!clusters.west.topics().contains(&"orders".to_owned()));

    clusters.run(&["plan", "--out", "plan.json", "mirror.toml"]);
    clusters.write(&TWO_LINKS.replace("\"stock\"]", "\"stock\", \"new-*\"]"));
    clusters.create(&clusters.east, "new-one", 1, &[]);
    let ran = clusters.run(&["apply", "--yes", "plan.json"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(
        ran.stderr
            .contains("Not in this plan, and so left as it is: link.other, mirror.other/new-one."),
        "{ran}"
    );
    assert!(!clusters.west.topics().contains(&"other.new-one".to_owned()));
}

#[test]
fn deletions_of_a_saved_plan_were_allowed_when_it_was_made() {
    let clusters = clusters();
    clusters.run(&["apply", "--yes", "mirror.toml"]);
    let doomed = format!("{TWO_LINKS}\n[links.copy.mirrors.orders]\nstate = \"absent\"\n");
    clusters.write(&doomed);
    let ran = clusters.run(&["plan", "--out", "plan.json", "mirror.toml"]);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(
        ran.stderr
            .contains("It can't be applied: something is blocked."),
        "{ran}"
    );
    let ran = clusters.run(&["apply", "--yes", "plan.json"]);
    assert_shown("cli_saved_blocked", &ran);
    let ran = clusters.run(&["apply", "--yes", "--allow-delete", "plan.json"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(
        ran.stderr
            .contains("--allow-delete is decided when a plan is made"),
        "{ran}"
    );
    assert!(clusters.west.topics().contains(&"orders".to_owned()));

    clusters.run(&["plan", "--allow-delete", "-o", "plan.json", "mirror.toml"]);
    let ran = clusters.run(&["apply", "--yes", "plan.json"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(!clusters.west.topics().contains(&"orders".to_owned()));
}

#[test]
fn an_edited_plan_does_nothing_that_the_file_does_not_ask_for() {
    let clusters = clusters();
    clusters.run(&["plan", "--out", "plan.json", "mirror.toml"]);
    let plan = read(&clusters, "plan.json");
    let scenario = &clusters.scenario;
    scenario.file(
        "plan.json",
        plan.replace("\"fingerprint\": \"", "\"fingerprint\": \"0"),
    );
    let ran = clusters.run(&["apply", "--yes", "--skip-stale", "plan.json"]);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert_eq!(clusters.west.topics(), [""; 0]);
    // The shown route is not what decides: what is done is what the file says.
    scenario.file("plan.json", plan.replace("other.stock", "stolen"));
    let ran = clusters.run(&["apply", "--yes", "plan.json"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let topics = clusters.west.topics();
    assert!(!topics.contains(&"stolen".to_owned()), "{topics:?}");
    assert!(topics.contains(&"other.stock".to_owned()), "{topics:?}");
}

#[test]
fn a_part_of_a_plan_brings_what_it_depends_on_and_nothing_else() {
    let clusters = clusters();
    // What is blocked elsewhere is no hindrance.
    delete(&clusters, "payments");
    let ran = clusters.run(&[
        "apply",
        "--yes",
        "--target",
        "mirror.copy/ord*",
        "mirror.toml",
    ]);
    assert_shown("cli_apply_target", &ran);
    assert_eq!(ran.code, Some(0));
    let mut topics = clusters.west.topics();
    topics.retain(|topic| !topic.starts_with("_kmirror"));
    assert_eq!(topics, ["orders"]);
    let again = clusters.run(&["apply", "--target", "mirror.copy/ord*", "mirror.toml"]);
    assert_eq!(again.code, Some(0), "{again}");
    assert!(again.stderr.contains("No changes."), "{again}");
}

#[test]
fn targets_and_files_that_are_none_are_told() {
    let clusters = clusters();
    for (name, arguments) in [
        (
            "cli_target_typo",
            vec!["plan", "--target", "mirror.copy/order", "mirror.toml"],
        ),
        (
            "cli_target_no_address",
            vec!["plan", "--target", "orders", "mirror.toml"],
        ),
        ("cli_show_topology", vec!["show", "mirror.toml"]),
        ("cli_show_absent", vec!["show", "absent.json"]),
        (
            "cli_plan_over_topology",
            vec!["plan", "-o", "mirror.toml", "mirror.toml"],
        ),
        (
            "cli_skip_stale_without_plan",
            vec!["apply", "--skip-stale", "mirror.toml"],
        ),
    ] {
        let ran = clusters.run(&arguments);
        assert_shown(name, &ran);
        assert_eq!(ran.code, Some(1), "{name}");
    }
    clusters.scenario.file("plan.json", "{\"version\": 9}");
    let ran = clusters.run(&["apply", "plan.json"]);
    assert_shown("cli_apply_other_version", &ran);
    clusters.run(&["plan", "-o", "plan.json", "mirror.toml"]);
    let file = clusters.scenario.path("mirror.toml");
    std::fs::rename(&file, clusters.scenario.path("elsewhere.toml")).expect("it is ours");
    assert_shown(
        "cli_saved_without_file",
        &clusters.run(&["apply", "plan.json"]),
    );
    let ran = clusters.run(&[
        "apply",
        "--yes",
        "--topology",
        "elsewhere.toml",
        "plan.json",
    ]);
    assert_eq!(ran.code, Some(0), "{ran}");
    clusters.scenario.file("plan.json", "{\"version\": 1}");
    let ran = clusters.run(&["apply", "plan.json"]);
    assert_shown("cli_apply_no_plan", &ran);
}

/// Check 8, for saved plans.
#[test]
fn check_8_a_saved_plan_holds_no_secret() {
    let clusters = clusters();
    let text = read(&clusters, "mirror.toml").replace(
        "[clusters.west]\n",
        "[clusters.west]\nclient = { \"security.protocol\" = \"PLAINTEXT\", \"sasl.username\" = \"somebody\", \"sasl.password\" = \"hunter2hunter2\" }\n",
    );
    clusters.scenario.file("mirror.toml", text);
    let ran = clusters.run(&["plan", "-o", "plan.json", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let plan = read(&clusters, "plan.json");
    assert!(plan.contains("other.stock"));
    assert!(!plan.contains("hunter2"), "{plan}");
}
