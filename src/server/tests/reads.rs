//! What can be read of a cluster.

use serde_json::Value;

use super::client::Client;
use super::scene::{Scene, create};
use super::{CLUSTER_ID, Stand};
use crate::server::v3::topics::is_own;

#[tokio::test]
async fn a_cluster_is_found_under_both_prefixes_and_leads_on_by_the_same() {
    let stand = Stand::new().await;
    let client = stand.client();
    for prefix in ["/kafka/v3", "/v3"] {
        let list = client.get(&format!("{prefix}/clusters")).await.json();
        let base = format!("http://{}{prefix}", client.address);
        assert_eq!(list["metadata"]["self"], format!("{base}/clusters"));
        assert_eq!(list["data"][0]["cluster_id"], CLUSTER_ID);
        let own = list["data"][0]["metadata"]["self"].as_str().unwrap();
        assert_eq!(own, format!("{base}/clusters/{CLUSTER_ID}"));
        let path = own.strip_prefix(&format!("http://{}", client.address));
        assert_eq!(client.get(path.unwrap()).await.json(), list["data"][0]);
    }
}

/// The documents as they are, with what differs from run to run left out.
async fn shown(client: &Client, path: &str, hidden: &[(String, &str)]) -> String {
    let path = format!("/kafka/v3/clusters/{CLUSTER_ID}{path}");
    let answer = client.get(&path).await;
    let mut text = format!(
        "GET {path}\n{}\n{}\n",
        answer.status,
        serde_json::to_string_pretty(&answer.json()).unwrap()
    );
    for (value, name) in hidden {
        text = text.replace(value, name);
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_those_of_kafka_rest() {
    let scene = Scene::new().await;
    let client = scene.client();
    let member = scene
        .names()
        .into_iter()
        .find(|(name, _)| *name == "consumer_id");
    let (_, member) = member.unwrap();
    let mut hidden = vec![(client.address.to_string(), "HOST"), (member, "MEMBER")];
    let brokers = client
        .get(&format!("/v3/clusters/{CLUSTER_ID}/brokers"))
        .await
        .json();
    for broker in brokers["data"].as_array().unwrap() {
        hidden.push((format!("\"port\": {}", broker["port"]), "\"port\": PORT"));
    }
    let mut text = String::new();
    for path in [
        "",
        "/brokers/1",
        "/topics",
        "/topics/orders",
        "/topics/orders/configs/retention.ms",
        "/topics/orders/partitions/0",
        "/topics/orders/partitions/0/replicas",
        "/consumer-groups",
        "/consumer-groups/billing/consumers",
        "/consumer-groups/billing/lag-summary",
        "/consumer-groups/billing/lags",
        "/topics/absent",
        "/topics/absent/configs",
        "/topics/orders/configs/absent",
        "/topics/orders/partitions/9",
        "/topics/orders/partitions/0/replicas/9",
        "/consumer-groups/absent",
        "/consumer-groups/absent/lags",
        "/consumer-groups/billing/consumers/absent",
        "/consumer-groups/billing/lags/orders/partitions/9",
    ] {
        text.push_str(&shown(&client, path, &hidden).await);
    }
    // The broker that coordinates a group follows from its name, the one that leads a partition does not.
    let place =
        regex::Regex::new(r"(brokers|replicas|replica=|broker=|broker_id.: )(/?)\d").unwrap();
    let text = place.replace_all(&text, "$1${2}N");
    insta::with_settings!({
        snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("rest_reads", text);
    });
}

#[tokio::test]
async fn own_topics_are_shown_as_internal() {
    let stand = Stand::new().await;
    create(&stand, "_kmirror.links", 1).await;
    create(&stand, "orders", 1).await;
    let path = format!("/v3/clusters/{CLUSTER_ID}/topics");
    let list = stand.client().get(&path).await.json();
    let shown: Vec<(&str, bool)> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|topic: &Value| {
            let name = topic["topic_name"].as_str().unwrap();
            (name, topic["is_internal"].as_bool().unwrap())
        })
        .collect();
    assert_eq!(shown, [("_kmirror.links", true), ("orders", false)]);
    assert!(is_own("_kmirror.links") && !is_own("orders"));
}
