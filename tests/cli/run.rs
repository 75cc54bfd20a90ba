//! `kmirror run` against embedded clusters: what a user is told when it cannot copy.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;

use crate::sandboxes::TwoClusters;
use crate::support::Ran;

const LINK: &str = r#"
[links.copy]
source = "east"
destination = "west"
topics = ["orders"]
replication_factor = 1
"#;

/// A one-off copy of a topic that exists and was applied.
fn applied() -> TwoClusters {
    let clusters = TwoClusters::start(1, LINK);
    clusters.create(&clusters.east, "orders", 1, &[]);
    let ran = clusters.run(&["apply", "mirror.toml", "--yes"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    clusters
}

fn run(clusters: &TwoClusters) -> Ran {
    clusters.run(&["run", "mirror.toml", "--until-caught-up"])
}

#[test]
fn a_copy_that_failed_is_no_success() {
    let clusters = applied();
    clusters.east.faults().fail(
        ApiKey::Fetch,
        Some("orders"),
        ResponseError::TopicAuthorizationFailed,
        1_000,
    );
    let ran = run(&clusters);
    assert_eq!(ran.code, Some(1), "{ran}");
    for wanted in ["FAILED copy orders-0", "one partition failed"] {
        assert!(ran.stderr.contains(wanted), "no {wanted} in {ran}");
    }
}

/// What is missing before anything can be copied is said at once too, instead of waiting for somebody to grant it.
#[test]
fn a_copy_that_cannot_begin_for_lack_of_a_right_ends() {
    let refused = [
        (
            ApiKey::ListOffsets,
            Some("_kmirror.offsets"),
            ResponseError::TopicAuthorizationFailed,
            "topic _kmirror.offsets",
        ),
        (
            ApiKey::FindCoordinator,
            None,
            ResponseError::GroupAuthorizationFailed,
            "Read on group kmirror is not granted to User:ANONYMOUS",
        ),
    ];
    for (api, topic, error, wanted) in refused {
        let clusters = applied();
        clusters.west.faults().fail(api, topic, error, 1_000);
        let ran = run(&clusters);
        assert_eq!(ran.code, Some(1), "{topic:?}: {ran}");
        assert!(ran.stderr.contains(wanted), "no {wanted} in {ran}");
    }
}
