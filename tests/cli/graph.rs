//! `kmirror graph`: the document is on stdout, and only there.

use crate::assert_shown;
use crate::support::Scenario;

const TUTORIAL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/topologies/replicator-tutorial.toml"
);

#[test]
fn a_topology_is_drawn() {
    let scenario = Scenario::new();
    scenario.file("tutorial.toml", std::fs::read(TUTORIAL).unwrap());
    let ran = scenario.run(&["graph", "tutorial.toml"]);
    assert_shown("graph_tutorial", &ran);
    let ran = scenario.run(&["graph", "--format", "dot", "tutorial.toml"]);
    assert!(ran.stdout.starts_with("digraph topology {\n"), "{ran}");
    assert_eq!(ran.stderr, "", "{ran}");
}

#[test]
fn a_file_with_mistakes_is_not_drawn() {
    let scenario = Scenario::new();
    scenario.file("bad.toml", "kmirror = 1\nlink = 1\n");
    let ran = scenario.run(&["graph", "bad.toml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran}");
    assert!(ran.stderr.contains("K0010"), "{ran}");
}

#[test]
fn a_topology_is_drawn_where_its_secrets_are_not() {
    let scenario = Scenario::new();
    scenario.file(
        "secured.toml",
        r#"kmirror = 1

[clusters.east]
bootstrap_servers = { env = "KMIRROR_TEST_ABSENT" }
client = { security.protocol = "SASL_SSL", sasl.mechanism = "PLAIN", sasl.username = "x", sasl.password = { env = "KMIRROR_TEST_ABSENT" } }
"#,
    );
    let ran = scenario.run(&["graph", "secured.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(ran.stdout.contains("east"), "{ran}");
}
