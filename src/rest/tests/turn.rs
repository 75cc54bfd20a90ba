//! Mirrors that are turned round, against servers of different versions: each test stands for what was seen or documented of one.

use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::rest::turn::{Found, Objection, Side, Standing, Turn, Turned, carry_out, examine};

const CONFIGS: &str = "GET /kafka/v3/clusters/lkc-1/links/dr/configs";
const MIRROR: &str = "GET /kafka/v3/clusters/lkc-1/links/dr/mirrors/orders";
const BOTH_WAYS: &str =
    r#"{"data":[{"name":"link.mode","value":"BIDIRECTIONAL","is_default":false}]}"#;
const ACCEPTED: &str = r#"{"data":[{"mirror_topic_name":"orders","error_code":null,"error_message":null,"mirror_lags":[]}]}"#;

fn mirror(state: &str) -> String {
    format!(
        r#"{{"link_name":"dr","mirror_topic_name":"orders","source_topic_name":"orders","num_partitions":1,"mirror_lags":[{{"partition":0,"lag":3,"last_source_fetch_offset":7}}],"mirror_status":"{state}","state_time_ms":0}}"#
    )
}

fn asks(action: &str, validate_only: bool) -> &'static str {
    let url = format!(
        "POST /kafka/v3/clusters/lkc-1/links/dr/mirrors:{action}?validate_only={validate_only}"
    );
    Box::leak(url.into_boxed_str())
}

/// The cluster that is asked, and the other one.
struct Pair {
    local: StandIn,
    remote: StandIn,
}

impl Pair {
    async fn of(local: Vec<Exchange>, remote: Vec<Exchange>) -> Self {
        Self {
            local: StandIn::start(local).await,
            remote: StandIn::start(remote).await,
        }
    }

    fn is_done(&self) -> bool {
        self.local.is_done() && self.remote.is_done()
    }

    async fn examine(&self, turn: Turn) -> Result<Vec<Found>, Vec<Objection>> {
        let (here, there) = (self.local.api(), self.remote.api());
        let [local, remote] = sides(&here, &there);
        let topics = ["orders".to_owned()];
        let found = examine(turn, "dr", &local, &remote, &topics).await;
        found.expect("both answer")
    }

    /// What became of it, and how it was told to stand on the way.
    async fn carry_out(&self, turn: Turn, limit: Duration) -> (Vec<Turned>, Vec<Standing>) {
        let (here, there) = (self.local.api(), self.remote.api());
        let [local, remote] = sides(&here, &there);
        let topics = ["orders".to_owned()];
        let told = Mutex::new(Vec::new());
        let tell = |_: &str, standing: &Standing| {
            told.lock().expect("not poisoned").push(standing.clone());
        };
        let turned = carry_out(turn, "dr", &local, &remote, &topics, limit, &tell).await;
        let turned = turned.expect("it is taken");
        (turned, told.into_inner().expect("not poisoned"))
    }
}

fn sides<'a>(here: &'a LinkApi, there: &'a LinkApi) -> [Side<'a>; 2] {
    [
        Side {
            cluster: "west",
            api: here,
        },
        Side {
            cluster: "east",
            api: there,
        },
    ]
}

fn both_ways() -> Exchange {
    exchange(CONFIGS, 200, BOTH_WAYS)
}

const MINUTE: Duration = Duration::from_secs(60);

/// Confluent Cloud and newer Confluent Platform call it `reverse-and-start-mirror`; the answer of success is only a beginning: the
/// local mirror stops, and the remote one becomes active, after it was not there for a while.
#[tokio::test]
async fn a_reversal_is_over_when_both_clusters_are_done() {
    let pair = Pair::of(
        vec![
            both_ways(),
            exchange(MIRROR, 200, &mirror("ACTIVE")),
            exchange(asks("reverse-and-start-mirror", true), 200, ACCEPTED),
            exchange(asks("reverse-and-start-mirror", false), 200, ACCEPTED),
            exchange(MIRROR, 200, &mirror("PENDING_STOPPED")),
            exchange(MIRROR, 200, &mirror("STOPPED")),
            exchange(MIRROR, 200, &mirror("STOPPED")),
        ],
        vec![
            both_ways(),
            exchange(MIRROR, 404, "{}"),
            exchange(MIRROR, 200, &mirror("PENDING_SYNCHRONIZE")),
            exchange(MIRROR, 200, &mirror("active")),
        ],
    )
    .await;
    let found = pair.examine(Turn::ReverseAndStart).await;
    let found = found.expect("nothing is against it");
    assert_eq!((found[0].lag, found[0].truncates), (Some(3), None));
    let (turned, told) = pair.carry_out(Turn::ReverseAndStart, MINUTE).await;
    assert_eq!(turned[0].failure, None);
    let remote: Vec<_> = told.into_iter().map(|standing| standing.remote).collect();
    let active = Some(MirrorState::Active);
    assert_eq!(
        remote,
        [None, Some(MirrorState::PendingSynchronize), active]
    );
    assert!(pair.is_done());
}

/// The document of Confluent Platform knows it as `promote-local-and-pause-remote-mirror`.
#[tokio::test]
async fn a_server_of_confluent_platform_is_asked_by_the_former_name() {
    let unknown = r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#;
    let pair = Pair::of(
        vec![
            both_ways(),
            exchange(MIRROR, 200, &mirror("ACTIVE")),
            exchange(asks("reverse-and-pause-mirror", true), 404, unknown),
            exchange(
                asks("promote-local-and-pause-remote-mirror", true),
                200,
                ACCEPTED,
            ),
            exchange(asks("reverse-and-pause-mirror", false), 404, unknown),
            exchange(
                asks("promote-local-and-pause-remote-mirror", false),
                200,
                ACCEPTED,
            ),
            exchange(MIRROR, 200, &mirror("STOPPED")),
        ],
        vec![both_ways(), exchange(MIRROR, 200, &mirror("PAUSED"))],
    )
    .await;
    let found = pair.examine(Turn::ReverseAndPause).await;
    found.expect("nothing is against it");
    let (turned, _) = pair.carry_out(Turn::ReverseAndPause, MINUTE).await;
    assert_eq!((&turned[0].failure, pair.is_done()), (&None, true));
}

/// 7.0 and 7.1 have no such action under any name.
#[tokio::test]
async fn a_server_before_bidirectional_links_is_told_to_have_no_such_action() {
    let unknown = r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#;
    let pair = Pair::of(
        vec![
            both_ways(),
            exchange(asks("truncate-and-restore", true), 404, unknown),
        ],
        vec![both_ways(), exchange(MIRROR, 200, &mirror("STOPPED"))],
    )
    .await;
    let objections = pair.examine(Turn::TruncateAndRestore).await;
    let objections = objections.expect_err("there is none");
    assert!(
        matches!(&objections[..], [Objection::NoSuchAction { cluster, .. }] if cluster == "west"),
        "{objections:?}"
    );
    assert!(pair.is_done());
}

/// Only links of both ways are turned round, and none with a prefix; nothing is asked of a server for others.
#[tokio::test]
async fn links_of_one_way_and_with_a_prefix_are_not_turned_round() {
    let prefix = r#"{"data":[{"name":"link.mode","value":"bidirectional"},{"name":"cluster.link.prefix","value":"e."}]}"#;
    let pair = Pair::of(
        vec![exchange(CONFIGS, 200, r#"{"data":[]}"#)],
        vec![exchange(CONFIGS, 200, prefix)],
    )
    .await;
    let objections = pair.examine(Turn::ReverseAndStart).await;
    assert_eq!(
        objections.expect_err("neither fits"),
        [
            Objection::OneWay {
                cluster: "west".to_owned(),
                mode: "DESTINATION".to_owned()
            },
            Objection::Prefix {
                cluster: "east".to_owned(),
                prefix: "e.".to_owned()
            }
        ]
    );
    let pair = Pair::of(vec![exchange(CONFIGS, 404, "{}")], vec![both_ways()]).await;
    let objections = pair.examine(Turn::ReverseAndStart).await;
    let objections = objections.expect_err("it is not there");
    assert!(matches!(objections[..], [Objection::NoLink { .. }]));
}

/// A mirror that has stopped has nothing to turn round, and one that still mirrors is not restored.
#[tokio::test]
async fn a_mirror_in_another_state_is_told_before_anything_is_asked() {
    let pair = Pair::of(
        vec![both_ways(), exchange(MIRROR, 200, &mirror("stopped"))],
        vec![both_ways()],
    )
    .await;
    let stopped = pair.examine(Turn::ReverseAndStart).await;
    let words = stopped.expect_err("it has stopped")[0].to_string();
    assert_eq!(
        words,
        "mirror topic orders of cluster west is STOPPED, and would have to be ACTIVE"
    );
    let pair = Pair::of(
        vec![both_ways()],
        vec![both_ways(), exchange(MIRROR, 200, &mirror("ACTIVE"))],
    )
    .await;
    let active = pair.examine(Turn::TruncateAndRestore).await;
    let words = active.expect_err("it mirrors")[0].to_string();
    assert!(words.contains("of cluster east is ACTIVE"), "{words}");
}

/// What is refused of one topic comes inside an answer of success, with `validate_only` too.
#[tokio::test]
async fn the_refusal_of_a_topic_is_found_inside_a_success() {
    let refused = r#"{"data":[{"mirror_topic_name":"orders","error_code":40035,"error_message":"Reversal needs a bidirectional link","mirror_lags":[]}]}"#;
    let pair = Pair::of(
        vec![
            both_ways(),
            exchange(MIRROR, 200, &mirror("ACTIVE")),
            exchange(asks("reverse-and-start-mirror", true), 200, refused),
            exchange(asks("reverse-and-start-mirror", false), 200, refused),
        ],
        vec![both_ways()],
    )
    .await;
    let objections = pair.examine(Turn::ReverseAndStart).await;
    let words = objections.expect_err("it is refused")[0].to_string();
    assert_eq!(
        words,
        "orders: Reversal needs a bidirectional link (error code 40035)"
    );
    let (turned, told) = pair.carry_out(Turn::ReverseAndStart, MINUTE).await;
    assert!(turned[0].failure.is_some() && told.is_empty() && pair.is_done());
}

/// Cloud tells with the answer how many records go; elsewhere the number is null or left out.
#[tokio::test]
async fn a_restoration_tells_what_it_deletes() {
    let tells = r#"{"data":[{"mirror_topic_name":"orders","error_code":null,"messages_truncated":12,"partition_level_truncation_data":[{"partition_id":0,"offset_truncated_to":7,"messages_truncated":12}]}]}"#;
    for (answer, number) in [(tells, Some(12)), (ACCEPTED, None)] {
        let pair = Pair::of(
            vec![
                both_ways(),
                exchange(asks("truncate-and-restore", true), 200, answer),
                exchange(asks("truncate-and-restore", false), 200, answer),
                exchange(MIRROR, 200, &mirror("PENDING_SETUP_FOR_RESTORE")),
                exchange(MIRROR, 200, &mirror("PENDING_RESTORE_MIRROR")),
                exchange(MIRROR, 200, &mirror("ACTIVE")),
            ],
            vec![
                both_ways(),
                exchange(MIRROR, 200, &mirror("STOPPED")),
                exchange(MIRROR, 200, &mirror("STOPPED")),
                exchange(MIRROR, 200, &mirror("STOPPED")),
                exchange(MIRROR, 404, "{}"),
            ],
        )
        .await;
        let found = pair.examine(Turn::TruncateAndRestore).await;
        assert_eq!(found.expect("nothing is against it")[0].truncates, number);
        let (turned, told) = pair.carry_out(Turn::TruncateAndRestore, MINUTE).await;
        assert_eq!((&turned[0].failure, turned[0].truncated), (&None, number));
        assert_eq!((told.len(), pair.is_done()), (3, true));
    }
}

/// A mirror that fails on the way stays where it is, and one that does not come is not waited for without end.
#[tokio::test]
async fn what_does_not_come_to_its_end_is_told() {
    let failed = mirror("FAILED").replace(
        "\"state_time_ms\"",
        "\"mirror_topic_error\":\"UNEXPECTED_TRUNCATION\",\"state_time_ms\"",
    );
    let script = || {
        vec![
            exchange(asks("reverse-and-start-mirror", false), 200, ACCEPTED),
            exchange(MIRROR, 200, &mirror("STOPPED")),
        ]
    };
    let pair = Pair::of(script(), vec![exchange(MIRROR, 200, &failed)]).await;
    let (turned, _) = pair.carry_out(Turn::ReverseAndStart, MINUTE).await;
    let words = turned[0].failure.as_deref();
    assert_eq!(
        words,
        Some("it is FAILED on cluster east: UNEXPECTED_TRUNCATION")
    );
    let pair = Pair::of(script(), vec![exchange(MIRROR, 404, "{}")]).await;
    let (turned, _) = pair.carry_out(Turn::ReverseAndStart, Duration::ZERO).await;
    let words = turned[0].failure.as_deref();
    assert_eq!(words, Some("not in time; it may go on by itself"));
}
