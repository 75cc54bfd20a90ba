//! Plans in the forms that pull requests and pipelines read: whole screens, exit codes included.

use kmirror::kafka::admin::{ConfigChange, ConfigResource};
use serde_json::Value;

use crate::assert_shown;
use crate::formats::assert_sarif;
use crate::sandboxes::TwoClusters;

const FORMATS: [&str; 5] = ["text", "json", "markdown", "github", "sarif"];

const APPLIED: &str = r#"
[clusters.west.topics.audit]
partitions = 1
config = { "retention.ms" = 604800000 }

[links.copy]
source = "east"
destination = "west"
topics = ["orders"]
rename = "${topic}.replica"

[links.former]
source = "east"
destination = "west"
topics = ["orders"]
rename = "former.${topic}"
"#;

/// Something of everything: applied, then changed in the file and by hand.
pub(crate) fn changed() -> TwoClusters {
    let clusters = TwoClusters::start(1, APPLIED);
    clusters.create(&clusters.east, "orders", 1, &[("segment.ms", "7000")]);
    clusters.create(&clusters.east, "clicks", 1, &[]);
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    set(&clusters, "audit", "retention.ms", "1000");
    set(&clusters, "orders.replica", "segment.ms", "8000");
    let (now, _) = APPLIED.split_once("[links.former]").expect("is there");
    clusters.write(&now.replace("[\"orders\"]", "[\"orders\", \"clicks\", \"views\"]"));
    clusters
}

/// Somebody sets a config of a topic of `west` by hand.
pub(crate) fn set(clusters: &TwoClusters, topic: &str, key: &str, value: &str) {
    let change = ConfigChange {
        name: key.to_owned(),
        value: Some(value.to_owned()),
    };
    let admin = clusters.client(&clusters.west).admin();
    let changes = vec![(ConfigResource::Topic(topic.to_owned()), vec![change])];
    for (_, result) in clusters.block_on(admin.incremental_alter_configs(changes, false)) {
        result.expect("the sandbox takes it");
    }
}

#[test]
fn a_reviewer_sees_the_plan_in_every_form() {
    let clusters = changed();
    for format in ["text", "markdown", "github", "sarif"] {
        let ran = clusters.run(&["plan", "--format", format, "mirror.toml"]);
        assert_shown(&format!("plan_{format}"), &ran);
    }
}

#[test]
fn check_10_what_is_blocked_leaves_the_document_whole_and_the_exit_code_says_it() {
    let clusters = changed();
    for format in ["json", "sarif"] {
        let ran = clusters.run(&["plan", "--format", format, "mirror.toml"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(3), ""), "{ran}");
        let document: Value = serde_json::from_str(&ran.stdout).expect("a whole document");
        if format == "sarif" {
            assert_sarif(&document);
        } else {
            assert_eq!(document["counts"]["blocked"], 1);
            assert_eq!(document["counts"]["update"], 3);
        }
    }
    // The broker refuses what the file asks for: known while planning, and just as complete.
    clusters.write("[clusters.west.topics.t]\nconfig = { \"cleanup.policy\" = \"squash\" }\n");
    let ran = clusters.run(&["plan", "--format", "json", "mirror.toml"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(3), ""), "{ran}");
    let document: Value = serde_json::from_str(&ran.stdout).expect("a whole document");
    assert_eq!(document["entries"][0]["blocked"][0]["blocker"], "refused");
}

#[test]
fn check_16_stdout_holds_the_document_and_nothing_else() {
    let clusters = changed();
    // A warning of the file, and a log at its most talkative.
    let text = std::fs::read_to_string(clusters.scenario.path("mirror.toml")).expect("is there");
    let text = text.replacen(
        "[clusters.east]\n",
        "[clusters.east]\nclient = { \"linger.ms\" = 5 }\n",
        1,
    );
    clusters.scenario.file("mirror.toml", text);
    for format in FORMATS {
        let quiet = clusters.run(&["plan", "--format", format, "mirror.toml"]);
        let loud = clusters.run(&["plan", "-vv", "--format", format, "mirror.toml"]);
        assert!(quiet.stderr.contains("linger.ms"), "{quiet}");
        assert!(loud.stderr.contains("DEBUG"), "{}", loud.stderr.len());
        assert_eq!(quiet.stdout, loud.stdout);
        assert!(!quiet.stdout.contains("linger.ms"), "{quiet}");
        let line = |start: &str| quiet.stdout.starts_with(start);
        match format {
            "json" | "sarif" => {
                serde_json::from_str::<Value>(&quiet.stdout).expect("one document");
            }
            "github" => assert!(quiet.stdout.lines().all(|line| line.starts_with("::"))),
            "markdown" => assert!(line("## Plan for `mirror.toml`\n")),
            _ => assert!(line("Plan for mirror.toml\n")),
        }
    }
}
