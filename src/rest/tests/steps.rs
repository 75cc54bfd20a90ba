//! Changes that take a while, against servers that are not ready yet: each test stands for what was seen of one.

use super::*;
use crate::rest::steps::{self, StepError};

const LINK: &str = "GET /kafka/v3/clusters/lkc-1/links/dr?include_tasks=true";
const CREATE: &str =
    "POST /kafka/v3/clusters/lkc-1/links?link_name=dr&validate_only=false&validate_link=true";
const MIRRORS: &str = "POST /kafka/v3/clusters/lkc-1/links/dr/mirrors";
const MIRROR: &str = "GET /kafka/v3/clusters/lkc-1/links/dr/mirrors/orders";
const NOT_FOUND: &str = r#"{"error_code":404,"message":"Link dr does not exist."}"#;
const IS_THERE: &str = r#"{"kind":"KafkaLinkData","link_name":"dr","cluster_link_id":"a"}"#;

fn mirror(state: &str) -> String {
    format!(
        r#"{{"link_name":"dr","mirror_topic_name":"orders","source_topic_name":"orders","num_partitions":1,"mirror_lags":[{{"partition":0,"lag":3,"last_source_fetch_offset":7}}],"mirror_status":"{state}","state_time_ms":0}}"#
    )
}

fn orders() -> NewMirror {
    NewMirror {
        source_topic_name: "orders".to_owned(),
        mirror_topic_name: None,
        replication_factor: None,
        configs: Vec::new(),
    }
}

/// Confluent Platform 8.1: the half at the source is refused with 400 as long as the other half is not known there. And a link
/// that was made is not told of at once.
#[tokio::test]
async fn the_half_at_the_source_waits_for_the_other_one_and_for_being_known() {
    let unknown =
        r#"{"error_code":40002,"message":"Remote link dr does not exist on the remote cluster"}"#;
    let server = StandIn::start(vec![
        exchange(CREATE, 400, unknown),
        exchange(CREATE, 400, unknown),
        exchange(CREATE, 201, ""),
        exchange(LINK, 404, NOT_FOUND),
        exchange(LINK, 200, IS_THERE),
    ])
    .await;
    let made = steps::make_link(&server.api(), "dr", &NewLink::default()).await;
    made.expect("it is made in the end");
    assert!(server.is_done());
}

/// Any other refusal is final: a wrong password does not become right.
#[tokio::test]
async fn what_is_wrong_with_a_link_is_told_at_once() {
    let refusal = r#"{"error_code":40002,"message":"Unable to validate cluster link due to error: Client authentication failed"}"#;
    let server = StandIn::start(vec![exchange(CREATE, 400, refusal)]).await;
    let made = steps::make_link(&server.api(), "dr", &NewLink::default()).await;
    let error = made.expect_err("it is refused").to_string();
    assert!(
        error.contains("authentication failed") && server.is_done(),
        "{error}"
    );
}

/// Confluent Platform 8.1: a mirror that is made right after its link is refused with 404, since the link cannot be resolved yet.
#[tokio::test]
async fn a_mirror_waits_for_its_link() {
    let unknown = r#"{"error_code":404,"message":"Unable to resolve link information for dr"}"#;
    let server = StandIn::start(vec![
        exchange(MIRRORS, 404, unknown),
        exchange(MIRRORS, 204, ""),
        exchange(MIRROR, 200, &mirror("PENDING_MIRROR")),
    ])
    .await;
    let made = steps::make_mirror(&server.api(), "dr", &orders()).await;
    made.expect("it is made in the end");
    assert!(server.is_done());
}

/// A name that is taken is 40002, and stays so.
#[tokio::test]
async fn a_name_that_is_taken_is_told_at_once() {
    let taken = r#"{"error_code":40002,"message":"Topic 'orders' already exists."}"#;
    let server = StandIn::start(vec![exchange(MIRRORS, 400, taken)]).await;
    let made = steps::make_mirror(&server.api(), "dr", &orders()).await;
    let error = made.expect_err("it is refused").to_string();
    assert!(
        error.contains("already exists") && server.is_done(),
        "{error}"
    );
}

/// A promotion is only begun by its request: one that is believed done while it is PENDING_STOPPED may hang.
#[tokio::test]
async fn a_promotion_is_over_when_the_mirror_has_stopped() {
    let promote = "POST /kafka/v3/clusters/lkc-1/links/dr/mirrors:promote?validate_only=false";
    let accepted = r#"{"data":[{"mirror_topic_name":"orders","error_code":null,"error_message":null,"mirror_lags":[]}]}"#;
    let server = StandIn::start(vec![
        exchange(promote, 200, accepted),
        exchange(MIRROR, 200, &mirror("PENDING_STOPPED")),
        // 7.0 has it in lower case.
        exchange(MIRROR, 200, &mirror("stopped")),
    ])
    .await;
    let topics = ["orders".to_owned()];
    let done = steps::act(&server.api(), "dr", Action::Promote, &topics).await;
    assert!(matches!(done.as_slice(), [Ok(())]), "{done:?}");
    assert!(server.is_done());
}

/// One topic's refusal comes inside an answer of status 200, and the other topic goes on.
#[tokio::test]
async fn the_refusal_of_one_topic_is_found_inside_a_success() {
    let pause = "POST /kafka/v3/clusters/lkc-1/links/dr/mirrors:pause?validate_only=false";
    let outcomes = r#"{"data":[
        {"mirror_topic_name":"gone","error_code":400,"error_message":"Topic 'gone' has already stopped its mirror","mirror_lags":[]},
        {"mirror_topic_name":"orders","error_code":null,"error_message":null,"mirror_lags":[]}]}"#;
    let server = StandIn::start(vec![
        exchange(pause, 200, outcomes),
        exchange(MIRROR, 200, &mirror("PAUSED")),
    ])
    .await;
    let topics = ["gone".to_owned(), "orders".to_owned()];
    let done = steps::act(&server.api(), "dr", Action::Pause, &topics).await;
    match done.as_slice() {
        [Err(StepError::Refused(words)), Ok(())] => {
            assert!(words.contains("already stopped"), "{words}");
        }
        other => panic!("{other:?}"),
    }
}

/// A mirror that fails on the way does not stop by itself.
#[tokio::test]
async fn a_promotion_of_a_mirror_that_fails_is_told() {
    let promote = "POST /kafka/v3/clusters/lkc-1/links/dr/mirrors:promote?validate_only=false";
    let failed = mirror("FAILED").replace(
        "\"state_time_ms\"",
        "\"mirror_topic_error\":\"SOURCE_TOPIC_MAY_BE_DELETED\",\"state_time_ms\"",
    );
    let server = StandIn::start(vec![
        exchange(promote, 200, r#"{"data":[]}"#),
        exchange(MIRROR, 200, &failed),
    ])
    .await;
    let topics = ["orders".to_owned()];
    let done = steps::act(&server.api(), "dr", Action::Promote, &topics).await;
    match done.as_slice() {
        [Err(StepError::Late(words))] => {
            assert_eq!(words, "the mirror is FAILED: SOURCE_TOPIC_MAY_BE_DELETED");
        }
        other => panic!("{other:?}"),
    }
}

/// A deletion answers 204 (the document says 200) and is carried out later: the link is gone when it is not found.
#[tokio::test]
async fn a_link_is_deleted_when_it_is_not_found_any_more() {
    let delete = "DELETE /kafka/v3/clusters/lkc-1/links/dr?force=false";
    let server = StandIn::start(vec![
        exchange(delete, 204, ""),
        exchange(LINK, 200, IS_THERE),
        exchange(LINK, 404, NOT_FOUND),
    ])
    .await;
    let gone = steps::drop_link(&server.api(), "dr").await;
    gone.expect("it is gone in the end");
    assert!(server.is_done());
    // Asked for again, it is gone already.
    let server = StandIn::start(vec![exchange(delete, 404, NOT_FOUND)]).await;
    let gone = steps::drop_link(&server.api(), "dr").await;
    gone.expect("it was gone");
}

/// Confluent Platform 8.1 answers 403 while a link has mirrors. It is not asked by force.
#[tokio::test]
async fn a_link_that_has_mirrors_is_not_deleted_by_force() {
    let delete = "DELETE /kafka/v3/clusters/lkc-1/links/dr?force=false";
    let refusal = r#"{"error_code":403,"message":"Cannot delete cluster link with mirror topics"}"#;
    let server = StandIn::start(vec![exchange(delete, 403, refusal)]).await;
    let gone = steps::drop_link(&server.api(), "dr").await;
    let error = gone.expect_err("it has mirrors").to_string();
    assert!(
        error.contains("mirror topics") && server.is_done(),
        "{error}"
    );
}

/// There is no call for a mirror's deletion: its topic is deleted, and the mirror is gone when it is not found.
#[tokio::test]
async fn a_mirror_goes_with_its_topic() {
    let delete = "DELETE /kafka/v3/clusters/lkc-1/topics/orders";
    let gone = r#"{"error_code":404,"message":"Mirror topic orders not found"}"#;
    let server = StandIn::start(vec![
        exchange(delete, 204, ""),
        exchange(MIRROR, 200, &mirror("STOPPED")),
        exchange(MIRROR, 404, gone),
    ])
    .await;
    let dropped = steps::drop_mirror(&server.api(), "dr", "orders").await;
    dropped.expect("it is gone in the end");
    assert!(server.is_done());
}
