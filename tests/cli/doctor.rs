//! `kmirror doctor` against embedded clusters: whole screens, exit codes included.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use kmirror::kafka::{Client, ClientConfig, Topics};
use serde_json::Value;

use crate::assert_shown;
use crate::outputs::set;
use crate::sandboxes::TwoClusters;
use crate::support::Scenario;

const FILE: &str = r#"
[links.copy]
source = "east"
destination = "west"
topics = ["orders"]
rename = "east.${topic}"
"#;

/// Names of all topics that a cluster has.
fn topics(clusters: &TwoClusters) -> Vec<String> {
    let servers = clusters.west.bootstrap_servers();
    let servers = servers.split(',').map(str::to_owned).collect();
    let connecting = Client::connect(ClientConfig::new("west", servers));
    let client = clusters.block_on(connecting).expect("the sandbox is there");
    let metadata = clusters.block_on(client.metadata(Topics::All));
    let topics = metadata.expect("the sandbox answers").topics.into_iter();
    topics.map(|topic| topic.name).collect()
}

#[test]
fn a_destination_that_behaves_passes_and_keeps_no_topic() {
    let clusters = TwoClusters::start(3, FILE);
    let ran = clusters.run(&["doctor", "--yes", "mirror.toml"]);
    assert_shown("doctor_passes", &ran);
    assert_eq!(topics(&clusters), Vec::<String>::new());
    let ran = clusters.run(&["doctor", "--yes", "--format", "json", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let document: Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    assert_eq!(document["version"], 1);
    assert_eq!(document["destinations"][0]["acks_one"], true);
    assert_eq!(document["destinations"][0]["markers"], true);
}

#[test]
fn nothing_is_created_without_a_yes() {
    let clusters = TwoClusters::start(1, FILE);
    let ran = clusters.run(&["doctor", "mirror.toml"]);
    assert_shown("doctor_wants_a_yes", &ran);
    assert_eq!(topics(&clusters), Vec::<String>::new());
}

/// A right that is missing, and settings of mirror topics that hurt, are told; they stop nobody.
#[test]
fn settings_that_hurt_are_told_with_what_they_do() {
    let clusters = TwoClusters::start(1, FILE);
    clusters.create(&clusters.east, "orders", 1, &[]);
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    set(&clusters, "east.orders", "compression.type", "zstd");
    set(
        &clusters,
        "east.orders",
        "unclean.leader.election.enable",
        "true",
    );
    let ran = clusters.run(&["doctor", "--yes", "mirror.toml"]);
    assert_shown("doctor_settings_that_hurt", &ran);
}

#[test]
fn a_cluster_on_which_topics_may_not_be_created_is_told_with_the_right() {
    let clusters = TwoClusters::start(1, FILE);
    let refusal = ResponseError::TopicAuthorizationFailed;
    clusters
        .west
        .faults()
        .fail(ApiKey::CreateTopics, None, refusal, 9);
    let ran = clusters.run(&["doctor", "--yes", "mirror.toml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran}");
    for text in [
        "error: not everything could be tried",
        "west: cannot create topic _kmirror.doctor-",
        "it takes the right Create",
        "hint: doctor wants to create and delete topics whose names begin with _kmirror.doctor-",
    ] {
        assert!(ran.stderr.contains(text), "{ran}");
    }
}

#[test]
fn clusters_are_chosen_by_name() {
    let clusters = TwoClusters::start(1, "");
    let ran = clusters.run(&["doctor", "--yes", "mirror.toml"]);
    assert_shown("doctor_without_links", &ran);
    let ran = clusters.run(&["doctor", "--yes", "--cluster", "wets", "mirror.toml"]);
    assert_shown("doctor_unknown_cluster", &ran);
    let ran = clusters.run(&["doctor", "--yes", "--cluster", "east", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(ran.stdout.contains("Destination east"), "{ran}");
    let ran = Scenario::new().run(&["doctor", "--yes", "no-such.toml"]);
    assert_eq!(ran.code, Some(1), "{ran}");
}
