//! Whole clusters as servers of different versions tell of them.

use super::*;
use crate::observe::linking;
use crate::observe::model::{Linking, NoLinking};
use crate::rest::steps;

const CLUSTERS: &str = "GET /kafka/v3/clusters";
const LIST: &str = "GET /kafka/v3/clusters/lkc-1/links";
/// Its tasks; those of a server that does not tell of it by itself are not known.
const ONE: &str = "GET /kafka/v3/clusters/lkc-1/links/dr?include_tasks=true";
const TWO: &str = r#"{"data":[{"kind":"KafkaCluster","cluster_id":"lkc-1"}]}"#;

async fn read(script: Vec<Exchange>) -> (Linking, bool) {
    let server = StandIn::start(script).await;
    let found = linking::read(&server.api(), "lkc-1").await;
    (found, server.is_done())
}

fn why(found: &Linking) -> NoLinking {
    match found {
        Linking::Unknown { why, .. } => *why,
        other => panic!("{other:?}"),
    }
}

/// 7.0: states in lower case, no link_state, and configs with `default` in place of `is_default`.
#[tokio::test]
async fn a_link_of_7_0() {
    let links = r#"{"kind":"KafkaLinkDataList","data":[{"kind":"KafkaLinkData","source_cluster_id":"src","link_name":"dr","link_id":"0e5b1bf6-4c42-4d4e-9d41-2d1b9f7c5b5c","cluster_link_id":"a","topics_names":["orders"]}]}"#;
    let configs = r#"{"data":[{"name":"bootstrap.servers","value":"s:9092","default":false,"read_only":false,"sensitive":false,"source":"DYNAMIC_CLUSTER_LINK_CONFIG","synonyms":[]},{"name":"consumer.offset.sync.enable","value":"false","default":true,"read_only":false,"sensitive":false,"source":"DEFAULT_CONFIG","synonyms":[]}]}"#;
    let mirrors = r#"{"data":[{"link_name":"dr","mirror_topic_name":"orders","source_topic_name":"orders","num_partitions":1,"mirror_lags":[{"partition":0,"lag":-1,"last_source_fetch_offset":-1}],"mirror_status":"active","state_time_ms":0}]}"#;
    let (found, done) = read(vec![
        exchange(CLUSTERS, 200, TWO),
        exchange(LIST, 200, links),
        exchange(ONE, 404, "{}"),
        exchange(
            "GET /kafka/v3/clusters/lkc-1/links/dr/configs",
            200,
            configs,
        ),
        exchange(
            "GET /kafka/v3/clusters/lkc-1/links/dr/mirrors",
            200,
            mirrors,
        ),
    ])
    .await;
    let there = found.known().expect("it is told");
    assert!(done);
    let link = &there.links["dr"];
    assert_eq!(link.link.link_state, None);
    assert!(link.configs["bootstrap.servers"].is_set());
    assert!(!link.configs["consumer.offset.sync.enable"].is_set());
    let mirror = &there.mirrors["orders"];
    assert_eq!(mirror.mirror_status, MirrorState::Active);
    // Before the first fetch nothing is known of its lag.
    assert_eq!(mirror.mirror_lags[0].known(), None);
}

/// 7.1 and later: the half at the source has no mirrors, and is not asked for any. What is left of a link whose other half
/// was deleted has no name, and is passed over.
#[tokio::test]
async fn the_half_at_a_source_of_7_1() {
    let links = r#"{"data":[{"destination_cluster_id":"dst","link_name":"dr","cluster_link_id":"a","link_state":"ACTIVE"},{"link_name":"","cluster_link_id":"b","link_state":"UNMANAGED_SOURCE"}]}"#;
    let configs = r#"{"data":[{"name":"link.mode","value":"SOURCE","default":false,"source":"DYNAMIC_CLUSTER_LINK_CONFIG"},{"name":"sasl.jaas.config","value":null,"sensitive":true,"source":"DYNAMIC_CLUSTER_LINK_CONFIG"}]}"#;
    let (found, done) = read(vec![
        exchange(CLUSTERS, 200, TWO),
        exchange(LIST, 200, links),
        exchange(ONE, 404, "{}"),
        exchange(
            "GET /kafka/v3/clusters/lkc-1/links/dr/configs",
            200,
            configs,
        ),
    ])
    .await;
    let there = found.known().expect("it is told");
    assert!(done);
    assert_eq!(there.links.len(), 1);
    let jaas = &there.links["dr"].configs["sasl.jaas.config"];
    assert!(jaas.is_set() && jaas.is_sensitive && jaas.value.is_none());
}

/// Cloud: `is_default` and so on, null for what is not told, `remote_cluster_id` of a bidirectional link, unknown states kept.
#[tokio::test]
async fn a_bidirectional_link_of_cloud() {
    let links = r#"{"data":[{"source_cluster_id":null,"destination_cluster_id":null,"remote_cluster_id":"lkc-2","link_name":"dr","cluster_link_id":"a","topic_names":null,"link_error":"NO_ERROR","link_error_message":null,"link_state":"SOMETHING_NEW","tasks":null,"category_counts":null}]}"#;
    let configs = r#"{"data":[{"cluster_id":"lkc-1","link_name":"dr","name":"link.mode","value":"BIDIRECTIONAL","is_default":false,"is_read_only":true,"is_sensitive":false,"source":"DYNAMIC_CLUSTER_LINK_CONFIG","synonyms":["link.mode"]}]}"#;
    let one = r#"{"remote_cluster_id":"lkc-2","link_name":"dr","cluster_link_id":"a","link_state":"SOMETHING_NEW","tasks":[{"task_name":"AclSync","state":"IN_ERROR","errors":[{"error_code":"MISCONFIGURATION_ERROR","error_message":"no filter"}]}]}"#;
    let (found, _) = read(vec![
        exchange(CLUSTERS, 200, TWO),
        exchange(LIST, 200, links),
        exchange(ONE, 200, one),
        exchange(
            "GET /kafka/v3/clusters/lkc-1/links/dr/configs",
            200,
            configs,
        ),
        exchange(
            "GET /kafka/v3/clusters/lkc-1/links/dr/mirrors",
            200,
            r#"{"data":[]}"#,
        ),
    ])
    .await;
    let there = found.known().expect("it is told");
    let link = &there.links["dr"];
    assert_eq!(link.link.remote_cluster_id.as_deref(), Some("lkc-2"));
    assert_eq!(
        link.link.link_state,
        Some(LinkState::Other("SOMETHING_NEW".to_owned()))
    );
    assert!(link.configs["link.mode"].is_read_only);
    // A feature that was turned on without a filter fails there, and only there it is told.
    let task = &link.link.tasks[0];
    assert_eq!(task.errors[0].error_code, "MISCONFIGURATION_ERROR");
}

/// Without Cluster Linking, in a REST Proxy of another cluster, behind a login, and at an address of something else: each is told
/// apart, because each wants something else of whoever wrote the file.
#[tokio::test]
async fn a_server_that_tells_no_links_is_told_apart() {
    let none = r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#;
    let (found, _) = read(vec![
        exchange(CLUSTERS, 200, TWO),
        exchange(LIST, 404, none),
    ])
    .await;
    assert_eq!(why(&found), NoLinking::NotOffered);
    let other = r#"{"data":[{"cluster_id":"lkc-9"}]}"#;
    let (found, _) = read(vec![exchange(CLUSTERS, 200, other)]).await;
    assert_eq!(why(&found), NoLinking::OtherCluster);
    let (found, _) = read(vec![exchange(
        CLUSTERS,
        401,
        r#"{"error_code":40101,"message":"Unauthorized"}"#,
    )])
    .await;
    assert_eq!(why(&found), NoLinking::NotAllowed);
    let (found, _) = read(vec![exchange(CLUSTERS, 404, "<html>not here</html>")]).await;
    assert_eq!(why(&found), NoLinking::NotThere);
    // Cloud's Basic clusters refuse links as such.
    let disabled =
        r#"{"error_code":40002,"message":"Cluster linking is disabled in this cluster."}"#;
    let (found, _) = read(vec![
        exchange(CLUSTERS, 200, TWO),
        exchange(LIST, 400, disabled),
    ])
    .await;
    assert_eq!(why(&found), NoLinking::NotOffered);
}

/// Confluent Platform 7.5, the first with bidirectional links: `read_only` and `sensitive`, no tasks, and on the half that connects two
/// configs that nobody wrote, which the tool or the server fills in.
#[tokio::test]
async fn a_bidirectional_link_of_7_5() {
    let links = r#"{"data":[{"source_cluster_id":null,"destination_cluster_id":null,"remote_cluster_id":"two","link_name":"dr","link_id":"0e5b1bf6-4c42-4d4e-9d41-2d1b9f7c5b5c","cluster_link_id":"a","topic_names":[],"link_state":"ACTIVE","remote_link_state":"ACTIVE"}]}"#;
    let config = |name: &str, value: &str| {
        format!(
            r#"{{"name":"{name}","value":"{value}","read_only":true,"sensitive":false,"default":false,"source":"DYNAMIC_CLUSTER_LINK_CONFIG","synonyms":[]}}"#
        )
    };
    let configs = [
        ("link.mode", "BIDIRECTIONAL"),
        ("remote.link.connection.mode", "INBOUND"),
        ("local.listener.name", "INTERNAL"),
    ];
    let configs = configs.map(|(name, value)| config(name, value)).join(",");
    let (found, done) = read(vec![
        exchange(CLUSTERS, 200, TWO),
        exchange(LIST, 200, links),
        exchange(ONE, 404, "{}"),
        exchange(
            "GET /kafka/v3/clusters/lkc-1/links/dr/configs",
            200,
            &format!(r#"{{"data":[{configs}]}}"#),
        ),
        exchange(
            "GET /kafka/v3/clusters/lkc-1/links/dr/mirrors",
            200,
            r#"{"data":[]}"#,
        ),
    ])
    .await;
    let there = found.known().expect("it is told");
    assert!(done);
    let link = &there.links["dr"];
    assert_eq!(link.link.remote_cluster_id.as_deref(), Some("two"));
    assert_eq!(link.link.link_state, Some(LinkState::Active));
    assert!(link.configs["link.mode"].is_read_only);
    assert!(link.configs["remote.link.connection.mode"].is_set());
    assert!(link.link.tasks.is_empty());
}

/// Confluent Platform 8.1, from a link's creation to its end, with all that was seen of that version: a link that is not told of at once,
/// a mirror that is made too early, configs by PUT (its `configs:alter` answers POST with 405), a promotion that goes on behind its
/// answer, and 403 for a link that still has its mirror.
#[tokio::test]
async fn the_life_of_a_link_of_8_1() {
    let one = r#"{"link_name":"dr","cluster_link_id":"a","link_state":"ACTIVE"}"#;
    let absent = r#"{"error_code":404,"message":"Link dr does not exist."}"#;
    let mirror = |state: &str| {
        format!(
            r#"{{"link_name":"dr","mirror_topic_name":"orders","source_topic_name":"orders","num_partitions":1,"mirror_lags":[],"mirror_status":"{state}","state_time_ms":0}}"#
        )
    };
    let make =
        "POST /kafka/v3/clusters/lkc-1/links?link_name=dr&validate_only=false&validate_link=true";
    let mirrors = "POST /kafka/v3/clusters/lkc-1/links/dr/mirrors";
    let orders = "GET /kafka/v3/clusters/lkc-1/links/dr/mirrors/orders";
    let alter = "PUT /kafka/v3/clusters/lkc-1/links/dr/configs:alter?validate_only=false";
    let promote = "POST /kafka/v3/clusters/lkc-1/links/dr/mirrors:promote?validate_only=false";
    let accepted = r#"{"kind":"KafkaPromoteMirror","data":[{"kind":"AlterMirrorsData","mirror_topic_name":"orders","error_code":null,"error_message":null,"mirror_lags":[]}]}"#;
    let delete = "DELETE /kafka/v3/clusters/lkc-1/links/dr?force=false";
    let server = StandIn::start(vec![
        exchange(make, 201, ""),
        exchange(ONE, 404, absent),
        exchange(ONE, 200, one),
        exchange(
            mirrors,
            404,
            r#"{"error_code":404,"message":"Unable to resolve link information for dr"}"#,
        ),
        exchange(mirrors, 201, ""),
        exchange(orders, 200, &mirror("ACTIVE")),
        exchange(alter, 204, ""),
        exchange(
            delete,
            403,
            r#"{"error_code":403,"message":"Cannot delete cluster link with mirror topics"}"#,
        ),
        exchange(promote, 200, accepted),
        exchange(orders, 200, &mirror("PENDING_STOPPED")),
        exchange(orders, 200, &mirror("STOPPED")),
        exchange("DELETE /kafka/v3/clusters/lkc-1/topics/orders", 204, ""),
        exchange(
            orders,
            404,
            r#"{"error_code":404,"message":"Mirror topic orders not found"}"#,
        ),
        exchange(delete, 204, ""),
        exchange(ONE, 404, absent),
    ])
    .await;
    let api = server.api();
    let link = NewLink::default();
    steps::make_link(&api, "dr", &link).await.expect("made");
    let new = NewMirror {
        source_topic_name: "orders".to_owned(),
        mirror_topic_name: None,
        replication_factor: None,
        configs: Vec::new(),
    };
    steps::make_mirror(&api, "dr", &new).await.expect("made");
    let paused = ConfigChange {
        name: "cluster.link.paused".to_owned(),
        value: Some("false".to_owned()),
        operation: ConfigOperation::Set,
    };
    api.alter_configs("dr", &[paused]).await.expect("altered");
    let refused = steps::drop_link(&api, "dr").await;
    assert!(refused.is_err(), "{refused:?}");
    let topics = ["orders".to_owned()];
    let done = steps::act(&api, "dr", Action::Promote, &topics).await;
    assert!(matches!(done.as_slice(), [Ok(())]), "{done:?}");
    let gone = steps::drop_mirror(&api, "dr", "orders").await;
    gone.expect("the mirror is gone");
    steps::drop_link(&api, "dr").await.expect("gone");
    assert!(server.is_done());
}
