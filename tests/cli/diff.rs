//! `kmirror diff`: whole screens, exit codes included.

use serde_json::Value;

use crate::assert_shown;
use crate::support::Scenario;

const OLD: &str = r#"kmirror = 1

[clusters.east]
bootstrap_servers = "east-1:9092"

[clusters.west]
bootstrap_servers = "west-1:9092"

[clusters.west.client]
security.protocol = "SASL_SSL"
sasl.mechanism = "SCRAM-SHA-512"
sasl.username = { env = "WEST_USER" }
sasl.password = { env = "WEST_PASSWORD" }

[clusters.west.topics.audit]
partitions = 6

[links.east-to-west]
source = "east"
destination = "west"
topics = ["orders", "payments-*", "clicks"]
rename = "${topic}.replica"

[links.east-to-west.mirrors.orders]
as = "orders-eu"

[links.east-to-west.mirrors.clicks]
state = "paused"
"#;

const NEW: &str = r#"kmirror = 1

[clusters.east]
bootstrap_servers = ["east-1:9092", "east-2:9092"]

[clusters.west]
bootstrap_servers = "west-1:9092"

[clusters.west.client]
security.protocol = "SASL_SSL"
sasl.mechanism = "SCRAM-SHA-512"
sasl.username = { env = "WEST_USER" }
sasl.password = { file = "west.pw" }

[links.eu]
moved = "east-to-west"
source = "east"
destination = "west"
topics = ["payments-*", "orders", "views"]
rename = { prefix = "eu." }
start = "latest"

[links.eu.mirrors.orders]
as = "orders-eu"
config = { "retention.ms" = 604800000 }
"#;

fn scenario() -> Scenario {
    let scenario = Scenario::new();
    scenario.file("old.toml", OLD).file("new.toml", NEW);
    scenario
}

#[test]
fn a_reviewer_sees_what_a_pull_request_changes() {
    let scenario = scenario();
    for format in ["text", "json", "markdown"] {
        let ran = scenario.run(&["diff", "--format", format, "old.toml", "new.toml"]);
        assert_shown(&format!("diff_{format}"), &ran);
    }
}

#[test]
fn the_same_says_so_and_the_exit_code_tells_them_apart() {
    let scenario = scenario();
    let ran = scenario.run(&["diff", "--detailed-exitcode", "old.toml", "old.toml"]);
    assert_shown("diff_none", &ran);
    let ran = scenario.run(&["diff", "--detailed-exitcode", "old.toml", "new.toml"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(2), ""), "{ran}");
}

#[test]
fn the_former_version_can_come_from_stdin() {
    let scenario = scenario();
    let ran = scenario.run_with_input(&["diff", "-", "new.toml"], OLD);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran}");
    assert!(
        ran.stdout.starts_with("Diff of <stdin> -> new.toml\n"),
        "{ran}"
    );
    let ran = scenario.run(&["diff", "-", "-"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran}");
}

#[test]
fn mistakes_in_both_files_are_told_at_once_in_the_form_that_was_asked_for() {
    let scenario = scenario();
    scenario.file("bad.toml", "kmirror = 1\nlink = 1\n");
    let ran = scenario.run(&["diff", "--format", "json", "bad.toml", "absent.toml"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran}");
    let document: Value = serde_json::from_str(&ran.stdout).expect("valid JSON");
    let files: Vec<_> = document["files"]
        .as_array()
        .expect("both files")
        .iter()
        .map(|file| &file["file"])
        .collect();
    assert_eq!(files, ["bad.toml", "absent.toml"]);
    let ran = scenario.run(&["diff", "bad.toml", "new.toml"]);
    assert_shown("diff_mistakes", &ran);
}

#[test]
fn check_8_no_secret_is_in_any_form_also_when_everything_is_logged() {
    let scenario = Scenario::new();
    let secret =
        |password: &str| OLD.replace("{ env = \"WEST_PASSWORD\" }", &format!("\"{password}\""));
    scenario
        .file("old.toml", secret("hunter2"))
        .file("new.toml", secret("hunter3"));
    for format in ["text", "json", "markdown"] {
        let ran = scenario.run(&["diff", "-vvv", "--format", format, "old.toml", "new.toml"]);
        assert_eq!(ran.code, Some(0), "{ran}");
        assert!(ran.stdout.contains("client.sasl.password"), "{ran}");
        assert!(!ran.to_string().contains("hunter"), "{ran}");
    }
}

#[test]
fn check_15_a_hundred_runs_print_the_same_lines_in_the_same_order() {
    let scenario = scenario();
    let first = scenario.run(&["diff", "old.toml", "new.toml"]);
    for _ in 1..100 {
        let again = scenario.run(&["diff", "old.toml", "new.toml"]);
        assert_eq!(again.stdout, first.stdout);
    }
}
