//! `kmirror validate`, whole screens of it.

use crate::assert_shown;
use crate::support::{Ran, Scenario};

const TWO_CLUSTERS: &str = r#"kmirror = 1

[clusters.east]
bootstrap_servers = "east-1:9092"

[clusters.west]
bootstrap_servers = "west-1:9092"
"#;

/// Validates a file that has the two clusters and `rest`.
fn validate(rest: &str) -> Ran {
    let scenario = Scenario::new();
    scenario.file(
        "mirror.toml",
        format!("{TWO_CLUSTERS}\n{}", rest.trim_start()),
    );
    scenario.run(&["validate", "mirror.toml"])
}

#[test]
fn a_valid_file_is_said_to_be_valid() {
    let ran = validate(
        r#"
[clusters.west.topics.audit]
partitions = 6
replication_factor = 3
config = { cleanup.policy = "compact", "retention.ms" = 604_800_000 }

[links.east-to-west]
source = "east"
destination = "west"
engine = "kmirror"
topics = ["orders", "payments-*", { regex = "eu-[a-z]+" }]
exclude = ["*-tmp"]
rename = "${topic}.replica"
auto_create = true
start = 2026-01-31T18:00:00Z
offsets = "translate"
timestamps = "as-consumed"
replication_factor = 3
state = "active"
moved = "old-name"

[links.east-to-west.mirrors.orders]
as = "orders-eu"
state = "paused"
replication_factor = 1
config = { retention.ms = 604800000 }
"#,
    );
    assert_shown("validate_valid", &ran);
}

#[test]
fn a_misspelt_key_gets_a_suggestion() {
    let ran = validate(
        r#"
[links.east-to-west]
source = "east"
destination = "west"
topcis = ["orders"]
"#,
    );
    assert_shown("validate_unknown_key", &ran);
}

#[test]
fn a_bad_regex_is_shown_where_it_goes_wrong() {
    let ran = validate(
        r#"
[links.east-to-west]
source = "east"
destination = "west"
topics = ["orders", { regex = "eu-[a-z+" }, { regex = "(?!tmp).*" }]
"#,
    );
    assert_shown("validate_bad_regex", &ran);
}

#[test]
fn two_mirrors_into_one_topic_are_both_shown() {
    let ran = validate(
        r#"
[links.east-to-west]
source = "east"
destination = "west"
topics = ["orders", "orders.eu"]

[links.east-to-west.mirrors.orders]
as = "orders_eu"

[links.again]
source = "east"
destination = "west"
topics = ["orders.*"]
"#,
    );
    assert_shown("validate_same_destination", &ran);
}

#[test]
fn a_loop_is_shown_with_all_its_links() {
    let ran = validate(
        r#"
[links.there]
source = "east"
destination = "west"
topics = ["orders", "payments"]

[links.back]
source = "west"
destination = "east"
topics = ["o*"]
"#,
    );
    assert_shown("validate_loop", &ran);
}

#[test]
fn check_14_ten_mistakes_are_ten_diagnostics_in_one_run() {
    let ran = validate(
        r#"
[links.east-to-west]
source = "eest"
destination = "west"
engine = "mirrormaker2"
topics = ["orders", "b|c", "__consumer_offsets"]
rename = [{ regex = "prod-(.*)", to = "dr-$1" }]
offsets = "kept"
state = "pausd"
replication_factor = 0

[links.east-to-west.mirrors.eu.orders]
config = { cleanup.policy = ["compact", "delete"] }
"#,
    );
    assert_shown("validate_ten_mistakes", &ran);
}

#[test]
fn check_13_a_promotion_that_cannot_be_is_refused_offline() {
    let ran = validate(
        r#"
[clusters.west.topics.audit]
state = "promoted"

[links.east-to-west]
source = "east"
destination = "west"
topics = ["orders"]
state = "failed-over"
"#,
    );
    assert_shown("validate_promotion", &ran);
}

#[test]
fn broken_syntax_is_shown_and_the_rest_still_checked() {
    let ran = validate(
        r#"
[links.one and only]
source = "east"

[links.two]
source = "east"
destination = west
topics = ["x"]
stat = "active"
stat = "paused"

[links.two]
topics = ["y"

[links.three]
source = "west"
"#,
    );
    assert_shown("validate_syntax", &ran);
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let scenario = Scenario::new();
    std::fs::create_dir(scenario.path("folder")).expect("the folder is writable");
    scenario
        .file("empty.toml", "")
        .file("latin1.toml", b"kmirror = 1\n# gr\xfcn\n")
        .file("good.toml", TWO_CLUSTERS);
    let ran = scenario.run(&[
        "validate",
        "absent.toml",
        "folder",
        "empty.toml",
        "latin1.toml",
        "good.toml",
    ]);
    assert_shown("validate_unreadable", &ran);
}

#[test]
fn warnings_do_not_fail() {
    let ran = validate(
        r#"
[clusters.south]
bootstrap_servers = ["WEST-1:9092", "0.0.0.0:9092"]

[links.east-to-west]
source = "east"
destination = "west"
topics = ["payments.*", "orders", "orders"]
mirrors.orders.config.retention_ms = 5
"#,
    );
    assert_shown("validate_warnings", &ran);
}

#[test]
fn json_is_a_document_on_stdout_whatever_the_outcome() {
    let scenario = Scenario::new();
    scenario
        .file("good.toml", TWO_CLUSTERS)
        .file("bad.toml", "kmirror = 1\nlink = 1\n");
    let ran = scenario.run(&["validate", "--format", "json", "good.toml", "bad.toml"]);
    assert_shown("validate_json", &ran);
    serde_json::from_str::<serde_json::Value>(&ran.stdout).expect("valid JSON");
}

#[test]
fn a_device_is_not_read_to_its_end() {
    let ran = Scenario::new().run(&["validate", "/dev/zero"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("larger than"), "{ran}");
}

#[test]
fn the_topologies_of_this_repository_are_valid() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/topologies");
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("the folder is readable").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        // Certificates and passwords are for their users to put there.
        let file = path.display().to_string();
        let ran = Scenario::new().run(&["validate", "--skip-references", &file]);
        assert_eq!(ran.code, Some(0), "{ran}");
        assert!(!ran.stderr.contains("warning"), "{ran}");
    }
}

#[test]
fn client_properties_and_references_are_checked_where_they_stand() {
    let scenario = Scenario::new();
    scenario
        .file(
            "east.properties",
            "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n\
             sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\\n    \
             username='mirror' password='hunter2'\nacks=all\n",
        )
        .file(
            "mirror.toml",
            r#"kmirror = 1

[clusters.east]
bootstrap_servers = "east-1:9093"
properties_file = "east.properties"

[clusters.west]
bootstrap_servers = { env = "KMIRROR_TEST_UNSET" }

[clusters.west.client]
security.protocol = "SASL_SSL"
sasl.mechanism = "SCRAM-SHA-512"
sasl.username = "mirror"
sasl.password = "hunter2"
ssl.ca.location = "absent.pem"
ssl.endpoint.identification.algorithm = "none"
"#,
        );
    make_private(&scenario.path("east.properties"));
    let ran = scenario.run(&["validate", "mirror.toml"]);
    assert!(!ran.stderr.contains("hunter2"), "{ran}");
    assert_shown("validate_client", &ran);
    let ran = scenario.run(&["validate", "--skip-references", "mirror.toml"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(!ran.stderr.contains("K0024"), "{ran}");
}

#[cfg(unix)]
#[test]
fn a_secret_that_others_can_read_is_told_with_the_command_that_ends_it() {
    use std::os::unix::fs::PermissionsExt;
    let scenario = Scenario::new();
    scenario.file("west.pw", "hunter2\n").file(
        "mirror.toml",
        r#"kmirror = 1
[clusters.west]
bootstrap_servers = "west-1:9093"
[clusters.west.client]
security.protocol = "SASL_SSL"
sasl.mechanism = "SCRAM-SHA-512"
sasl.username = "mirror"
sasl.password = { file = "west.pw" }
"#,
    );
    let path = scenario.path("west.pw");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("is ours");
    assert_shown(
        "validate_readable_secret",
        &scenario.run(&["validate", "mirror.toml"]),
    );
    make_private(&path);
    let ran = scenario.run(&["validate", "mirror.toml"]);
    assert!(!ran.stderr.contains("warning"), "{ran}");
    assert_eq!(ran.code, Some(0), "{ran}");
}

#[cfg(unix)]
fn make_private(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("is ours");
}

#[cfg(not(unix))]
fn make_private(_: &std::path::Path) {}
