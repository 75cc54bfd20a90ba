//! What can be changed of a cluster, and what cannot.

use std::time::{Duration, Instant};

use hyper::Request;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::client::Client;
use super::scene::create;
use super::{CLUSTER_ID, Stand};
use crate::server::Access;
use crate::server::limits::Limits;

fn at(path: &str) -> String {
    format!("/kafka/v3/clusters/{CLUSTER_ID}{path}")
}

async fn value(client: &Client, topic: &str, config: &str) -> Value {
    let path = at(&format!("/topics/{topic}/configs/{config}"));
    client.get(&path).await.json()["value"].take()
}

#[tokio::test]
async fn a_topic_is_created_changed_and_deleted() {
    let stand = Stand::new().await;
    let client = stand.client();
    let new = json!({
        "topic_name": "orders", "partitions_count": 3, "replication_factor": 2,
        "configs": [{"name": "retention.ms", "value": "1000"}],
    });
    let mut rehearsal = new.clone();
    rehearsal["validate_only"] = json!(true);
    assert_eq!(client.post(&at("/topics"), &rehearsal).await.status, 200);
    assert_eq!(
        client.get(&at("/topics/orders")).await.refusal(),
        (404, 40403)
    );

    let created = client.post(&at("/topics"), &new).await;
    assert_eq!(created.status, 201);
    assert_eq!(
        client.get(&at("/topics/orders")).await.json(),
        created.json()
    );
    let document = created.json();
    assert_eq!(document["partitions_count"], 3);
    assert_eq!(document["replication_factor"], 2);
    let again = client.post(&at("/topics"), &new).await;
    assert_eq!(again.refusal(), (400, 40002));

    let config = at("/topics/orders/configs/retention.ms");
    assert_eq!(value(&client, "orders", "retention.ms").await, "1000");
    assert_eq!(
        client.put(&config, &json!({"value": "2000"})).await.status,
        204
    );
    assert_eq!(value(&client, "orders", "retention.ms").await, "2000");
    let alter = at("/topics/orders/configs:alter");
    let batch = |validate_only: bool| {
        json!({"validate_only": validate_only, "data": [
            {"name": "retention.ms", "operation": "DELETE"},
            {"name": "cleanup.policy", "value": "compact"},
        ]})
    };
    assert_eq!(client.post(&alter, &batch(true)).await.status, 204);
    assert_eq!(value(&client, "orders", "cleanup.policy").await, "delete");
    assert_eq!(client.post(&alter, &batch(false)).await.status, 204);
    assert_eq!(value(&client, "orders", "cleanup.policy").await, "compact");
    assert_ne!(value(&client, "orders", "retention.ms").await, "2000");
    assert_eq!(
        client
            .delete(&at("/topics/orders/configs/cleanup.policy"))
            .await
            .status,
        204
    );
    assert_eq!(value(&client, "orders", "cleanup.policy").await, "delete");

    assert_eq!(client.delete(&at("/topics/orders")).await.status, 204);
    assert_eq!(
        client.delete(&at("/topics/orders")).await.refusal(),
        (404, 40403)
    );
}

/// Half of a change is worse than one whose answer nobody hears.
#[tokio::test]
async fn a_change_is_carried_through_when_its_caller_goes_away() {
    let stand = Stand::new().await;
    let client = stand.client();
    let body = r#"{"topic_name": "orders"}"#;
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        at("/topics"),
        body.len()
    );
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    drop(stream);
    let patience = Instant::now() + Duration::from_secs(20);
    while client.get(&at("/topics/orders")).await.status != 200 {
        assert!(Instant::now() < patience, "it was given up");
    }
}

#[tokio::test]
async fn who_waits_too_long_is_told_so_and_a_change_is_carried_on() {
    let limits = Limits {
        answer_time: Duration::from_millis(200),
        ..Limits::default()
    };
    let stand = Stand::with(Access::default(), limits).await;
    let client = stand.client();
    for api in [ApiKey::Metadata, ApiKey::CreateTopics] {
        stand
            .sandbox
            .faults()
            .delay(api, Duration::from_millis(600));
    }
    let answer = client.get(&at("/topics")).await;
    assert_eq!(answer.refusal(), (408, 40801));
    let new = json!({"topic_name": "orders"});
    let answer = client.post(&at("/topics"), &new).await;
    assert_eq!(answer.refusal(), (408, 40801));
    let message = answer.json()["message"].to_string();
    assert!(message.contains("it is carried on"), "{message}");
    stand.sandbox.faults().clear();
    let patience = Instant::now() + Duration::from_secs(20);
    while !stand.sandbox.topics().contains(&"orders".to_owned()) {
        assert!(Instant::now() < patience, "it was given up");
        tokio::task::yield_now().await;
    }
}

/// What brokers refuse comes through with its code, whatever was asked.
#[tokio::test]
async fn a_missing_right_is_a_403_that_names_it() {
    let stand = Stand::new().await;
    let client = stand.client();
    stand.sandbox.faults().fail(
        ApiKey::CreateTopics,
        None,
        ResponseError::TopicAuthorizationFailed,
        1,
    );
    let answer = client
        .post(&at("/topics"), &json!({"topic_name": "orders"}))
        .await;
    assert_eq!(answer.refusal(), (403, 40301));
    let message = answer.json()["message"].to_string();
    assert!(message.contains("it takes the right Create"), "{message}");
}

#[tokio::test]
async fn a_request_that_cannot_be_says_why() {
    let stand = Stand::new().await;
    create(&stand, "orders", 1).await;
    let client = stand.client();
    let topics = at("/topics");
    let alter = at("/topics/orders/configs:alter");
    let mut told = String::new();
    for (path, body) in [
        (&topics, "{"),
        (&topics, ""),
        (&topics, "[]"),
        (&topics, r#"{"partitions_count": 1}"#),
        (&topics, r#"{"topic_name": "a", "partitions_count": "all"}"#),
        (&topics, r#"{"topic_name": "a", "partition_count": 1}"#),
        (
            &topics,
            r#"{"topic_name": "a", "replicas_assignments": [{"partition_id": 0, "broker_ids": [1]}]}"#,
        ),
        (&topics, r#"{"topic_name": "a/b"}"#),
        (&topics, r#"{"topic_name": "a", "replication_factor": 9}"#),
        (
            &topics,
            r#"{"topic_name": "a", "configs": [{"name": "retention.ms", "value": null}]}"#,
        ),
        (
            &topics,
            r#"{"topic_name": "a", "configs": [{"name": "nonsense", "value": "1"}]}"#,
        ),
        (&topics, r#"{"topic_name": "_kmirror.links"}"#),
        (&alter, r#"{"data": [{"name": "retention.ms"}]}"#),
        (
            &alter,
            r#"{"data": [{"name": "retention.ms", "operation": "APPEND", "value": "1"}]}"#,
        ),
        (
            &alter,
            r#"{"data": [{"name": "retention.ms", "value": "soon"}]}"#,
        ),
    ] {
        let request = Request::post(path.as_str()).header("content-type", "application/json");
        let answer = client.send(request, body).await;
        let document = String::from_utf8(answer.body.to_vec()).unwrap();
        told.push_str(&format!(
            "{body}\n  {} {document}\n",
            answer.status.as_u16()
        ));
    }
    insta::with_settings!({
        snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("rest_refusals", told);
    });
    let form = Request::post(&topics).header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(
        client.send(form, "topic_name=a").await.refusal(),
        (415, 415)
    );
}

#[tokio::test]
async fn what_kmirror_goes_by_cannot_be_touched_from_here() {
    let stand = Stand::new().await;
    create(&stand, "_kmirror.links", 1).await;
    let client = stand.client();
    let topic = at("/topics/_kmirror.links");
    let value = json!({"value": "1"});
    let config = format!("{topic}/configs/retention.ms");
    for answer in [
        client.delete(&topic).await,
        client.put(&config, &value).await,
        client.delete(&config).await,
        client
            .post(&format!("{topic}/configs:alter"), &json!({"data": []}))
            .await,
    ] {
        assert_eq!(answer.refusal(), (403, 403));
    }
    assert_eq!(client.get(&topic).await.status, 200);
}
