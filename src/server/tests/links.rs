//! Links and mirrors over HTTP, between two embedded clusters.

use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::header::CONTENT_TYPE;
use rdkafka::ClientConfig as RdConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::client::{Answer, Client};
use super::{CLUSTER_ID, Stand, topology};
use crate::kafka::admin::NewTopic;
use crate::kafka::{Client as KafkaClient, ClientConfig};
use crate::mirror::worker::figures::Figures;
use crate::mirror::worker::{self, Options};
use crate::sandbox::{Sandbox, SandboxConfig};

/// The served cluster, and one that its links copy from.
struct Two {
    stand: Stand,
    source: Sandbox,
}

impl Two {
    async fn new() -> Self {
        let mut config = SandboxConfig::new("east", 1);
        config.cluster_id = Some("east-id".to_owned());
        Self {
            stand: Stand::new().await,
            source: Sandbox::start(config).await.unwrap(),
        }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let client: Client = self.stand.client();
        let path = format!("/kafka/v3/clusters/{CLUSTER_ID}{path}");
        let request = Request::builder().method(method).uri(path);
        match body {
            Some(body) => {
                let request = request.header(CONTENT_TYPE, "application/json");
                client.send(request, &body.to_string()).await
            }
            None => client.send(request, "").await,
        }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, None).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// Status of a change; a refusal's message is in the panic of whoever expects another.
    async fn change(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let answer = self.ask(method, path, body).await;
        let status = answer.status.as_u16();
        (status, String::from_utf8_lossy(&answer.body).into_owned())
    }

    fn new_link(&self, more: &[(&str, &str)]) -> Value {
        let servers = self.source.bootstrap_servers();
        let mut configs = vec![json!({"name": "bootstrap.servers", "value": servers})];
        configs.extend(
            more.iter()
                .map(|(name, value)| json!({"name": name, "value": value})),
        );
        json!({"source_cluster_id": "east-id", "configs": configs})
    }

    async fn create_topic(&self, name: &str) {
        let config = ClientConfig::new("east", vec![self.source.bootstrap_servers()]);
        let client = KafkaClient::connect(config).await.unwrap();
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: Some(1),
            replication_factor: Some(1),
            configs: Vec::new(),
        };
        for (_, made) in client.admin().create_topics(vec![topic], false).await {
            made.unwrap();
        }
    }

    async fn produce(&self, topic: &'static str, count: usize) {
        let servers = self.source.bootstrap_servers();
        let produced = tokio::task::spawn_blocking(move || {
            let producer: BaseProducer = RdConfig::new()
                .set("bootstrap.servers", servers)
                .create()
                .unwrap();
            for number in 1..=count {
                let text = number.to_string();
                producer
                    .send(BaseRecord::to(topic).key(&text).payload(&text))
                    .unwrap();
            }
            producer.flush(Duration::from_secs(10)).unwrap();
        });
        produced.await.unwrap();
    }

    /// Waits until a mirror is as it should be.
    async fn await_mirror(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let mirror = self.get(path).await;
            if is_so(&mirror) {
                return mirror;
            }
            assert!(tokio::time::Instant::now() < deadline, "never: {mirror}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A worker with the served cluster in its file.
    async fn worker(&self) -> (watch::Sender<bool>, tokio::task::JoinHandle<()>) {
        let folder = tempfile::tempdir().unwrap();
        let topology = topology(&folder, &self.stand.servers());
        let connected = worker::connect(&topology, worker::MEMORY).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let options = Options {
            refresh: Duration::from_millis(300),
            ..Options::default()
        };
        let handle = tokio::spawn(async move {
            let topology = Arc::clone(&topology);
            worker::run(&topology, connected, options, Figures::default(), stopped)
                .await
                .unwrap();
        });
        (stop, handle)
    }
}

fn names(list: &Value, key: &str) -> Vec<String> {
    let rows = list["data"].as_array().unwrap().iter();
    rows.map(|row| row[key].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_created_listed_described_and_deleted_as_scripts_do_it() {
    let two = Two::new().await;
    assert_eq!(names(&two.get("/links").await, "link_name"), [""; 0]);
    let only = "/links?link_name=demo-link&validate_only=true";
    assert_eq!(
        two.change("POST", only, Some(two.new_link(&[]))).await.0,
        204
    );
    assert_eq!(names(&two.get("/links").await, "link_name"), [""; 0]);
    let create = "/links?link_name=demo-link";
    let (status, body) = two.change("POST", create, Some(two.new_link(&[]))).await;
    assert_eq!((status, body.as_str()), (201, ""));

    let list = two.get("/links").await;
    assert_eq!(list["kind"], "KafkaLinkDataList");
    let link = &list["data"][0];
    assert_eq!(link["link_name"], "demo-link");
    assert_eq!(link["source_cluster_id"], "east-id");
    assert_eq!(link["destination_cluster_id"], Value::Null);
    assert_eq!(
        (&link["link_state"], &link["link_error"]),
        (&json!("ACTIVE"), &json!("NO_ERROR"))
    );
    assert_eq!(link["link_id"].as_str().unwrap().len(), 36);
    assert_eq!(link["cluster_link_id"].as_str().unwrap().len(), 22);
    assert!(link.get("tasks").is_none());
    let one = two.get("/links/demo-link?include_tasks=true").await;
    assert_eq!(
        one["tasks"][3],
        json!({"task_name": "TopicConfigsSync", "state": "ACTIVE", "errors": []})
    );

    let again = two
        .change(
            "POST",
            create,
            Some(two.new_link(&[("cluster.link.paused", "true")])),
        )
        .await;
    assert_eq!(again.0, 409, "{}", again.1);
    let (status, _) = two
        .change("DELETE", "/links/demo-link?validate_only=true", None)
        .await;
    assert_eq!(status, 204);
    assert_eq!(two.change("DELETE", "/links/demo-link", None).await.0, 204);
    let gone = two.ask("GET", "/links/demo-link", None).await;
    assert_eq!(gone.refusal(), (404, 404));
    assert_eq!(
        two.ask("DELETE", "/links/demo-link", None).await.refusal(),
        (404, 404)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_link_is_told_with_the_codes_that_clients_look_for() {
    let two = Two::new().await;
    let create = |name: &str| format!("/links?link_name={name}");
    let itself = json!({"source_cluster_id": CLUSTER_ID, "configs": [{"name": "bootstrap.servers", "value": "a:1"}]});
    let sync = two.new_link(&[("consumer.offset.sync.enable", "true")]);
    let secret = two.new_link(&[
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.jaas.config", "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"hunter2\";"),
    ]);
    let both = two.new_link(&[("link.mode", "BIDIRECTIONAL")]);
    let id = json!({"remote_cluster_id": "east-id", "cluster_link_id": "too short", "configs": []});
    for (body, words) in [
        (itself, "a link from a cluster to itself"),
        (sync, "does not sync offsets of consumer groups"),
        (secret, "kmirror key new"),
        (both, "`remote_cluster_id` is missing"),
        (id, "cluster_link_id is no id"),
    ] {
        let answer = two.ask("POST", &create("a"), Some(body)).await;
        assert_eq!(answer.refusal(), (400, 40002));
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(
            message.contains(words) && !message.contains("hunter2"),
            "{message}"
        );
    }
    let nameless = two.ask("POST", "/links", Some(two.new_link(&[]))).await;
    assert_eq!(nameless.refusal(), (400, 400));
    assert_eq!(names(&two.get("/links").await, "link_name"), [""; 0]);

    // Not looked at when it is created, it is when it is described.
    let mut dead = two.new_link(&[]);
    dead["configs"][0]["value"] = json!("127.0.0.1:1");
    let unchecked = "/links?link_name=dead&validate_link=false";
    assert_eq!(two.change("POST", unchecked, Some(dead)).await.0, 201);
    let link = two.get("/links/dead").await;
    assert_eq!(link["link_state"], "UNAVAILABLE");
    assert_eq!(link["link_error"], "BOOTSTRAP_TCP_CONNECTION_FAILED_ERROR");
    let mirror = json!({"source_topic_name": "orders"});
    let made = two.ask("POST", "/links/dead/mirrors", Some(mirror)).await;
    assert_eq!(made.refusal(), (400, 40002));
}

#[tokio::test(flavor = "multi_thread")]
async fn configs_are_read_set_and_reset_one_by_one_and_all_at_once() {
    let two = Two::new().await;
    let link = two.new_link(&[("num.cluster.link.fetchers", "4")]);
    assert_eq!(
        two.change("POST", "/links?link_name=l", Some(link)).await.0,
        201
    );
    let list = two.get("/links/l/configs").await;
    assert_eq!(list["kind"], "KafkaLinkConfigDataList");
    let rows = list["data"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    let fetchers = row("num.cluster.link.fetchers");
    assert_eq!(
        (&fetchers["value"], &fetchers["is_default"]),
        (&json!("4"), &json!(false))
    );
    assert_eq!(fetchers["source"], "DYNAMIC_CLUSTER_LINK_CONFIG");
    let jaas = row("sasl.jaas.config");
    assert_eq!(
        (&jaas["value"], &jaas["is_sensitive"], &jaas["sensitive"]),
        (&Value::Null, &json!(true), &json!(true))
    );
    let mode = row("link.mode");
    assert_eq!(
        (&mode["value"], &mode["is_read_only"], &mode["source"]),
        (
            &json!("DESTINATION"),
            &json!(true),
            &json!("DEFAULT_CONFIG")
        )
    );

    let at = "/links/l/configs/cluster.link.paused";
    assert_eq!(
        two.change("PUT", at, Some(json!({"value": "true"})))
            .await
            .0,
        204
    );
    assert_eq!(two.get(at).await["value"], "true");
    assert_eq!(two.get("/links/l").await["link_state"], "PAUSED");
    assert_eq!(two.change("DELETE", at, None).await.0, 204);
    assert_eq!(two.get(at).await["value"], "false");

    let batch = |last: &str| {
        json!({"data": [
            {"name": "num.cluster.link.fetchers", "operation": "DELETE"},
            {"name": "cluster.link.paused", "value": "true", "operation": "SET"},
            {"name": "metadata.max.age.ms", "value": last},
        ]})
    };
    // All or none.
    let refused = two
        .ask("PUT", "/links/l/configs:alter", Some(batch("soon")))
        .await;
    assert_eq!(refused.refusal(), (400, 40002));
    let only = "/links/l/configs:alter?validate_only=true";
    assert_eq!(two.change("PUT", only, Some(batch("1000"))).await.0, 204);
    assert_eq!(
        two.get("/links/l/configs/num.cluster.link.fetchers").await["value"],
        "4"
    );
    for verb in ["PUT", "POST"] {
        assert_eq!(
            two.change(verb, "/links/l/configs:alter", Some(batch("1000")))
                .await
                .0,
            204
        );
    }
    assert_eq!(
        two.get("/links/l/configs/num.cluster.link.fetchers").await["value"],
        "1"
    );
    assert_eq!(
        two.get("/links/l/configs/metadata.max.age.ms").await["value"],
        "1000"
    );
    let unknown = two
        .ask("GET", "/links/l/configs/cluster.link.pasued", None)
        .await;
    assert_eq!(unknown.refusal(), (404, 404));
    let fixed = two
        .ask(
            "PUT",
            "/links/l/configs/link.mode",
            Some(json!({"value": "SOURCE"})),
        )
        .await;
    assert_eq!(fixed.refusal(), (400, 40002));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_made_copied_paused_and_acted_upon() {
    let two = Two::new().await;
    two.create_topic("orders").await;
    let (stop, worker) = two.worker().await;
    assert_eq!(
        two.change(
            "POST",
            "/links?link_name=demo-link",
            Some(two.new_link(&[]))
        )
        .await
        .0,
        201
    );
    let missing = two
        .ask(
            "POST",
            "/links/demo-link/mirrors",
            Some(json!({"source_topic_name": "none"})),
        )
        .await;
    assert_eq!(missing.refusal(), (400, 40002));
    let mirror = json!({"source_topic_name": "orders", "mirror_topic_name": "orders-eu", "replication_factor": 1, "configs": [{"name": "retention.ms", "value": "3600000"}]});
    let (status, body) = two
        .change("POST", "/links/demo-link/mirrors", Some(mirror))
        .await;
    assert_eq!((status, body.as_str()), (201, ""));
    two.produce("orders", 5).await;
    let at = "/links/demo-link/mirrors/orders-eu";
    let caught_up = two
        .await_mirror(at, |mirror| {
            mirror["mirror_lags"]
                == json!([{"partition": 0, "lag": 0, "last_source_fetch_offset": 4}])
        })
        .await;
    assert_eq!(caught_up["kind"], "KafkaMirrorData");
    assert_eq!(
        (
            &caught_up["mirror_status"],
            &caught_up["mirror_topic_error"]
        ),
        (&json!("ACTIVE"), &json!("NO_ERROR"))
    );
    assert_eq!(caught_up["source_topic_name"], "orders");
    assert_eq!(
        two.get("/links/demo-link").await["topic_names"],
        json!(["orders-eu"])
    );

    let act = |action: &str, topics: &[&str]| {
        let path = format!("/links/demo-link/mirrors:{action}");
        let body = json!({"mirror_topic_names": topics});
        let two = &two;
        async move { two.ask("POST", &path, Some(body)).await }
    };
    let paused = act("pause", &["orders-eu", "nothing"]).await;
    assert_eq!(paused.status, 200);
    let paused = paused.json();
    assert_eq!(paused["data"][0]["error_code"], Value::Null);
    assert_eq!(
        (
            &paused["data"][1]["error_code"],
            &paused["data"][1]["mirror_topic_name"]
        ),
        (&json!(404), &json!("nothing"))
    );
    assert_eq!(two.get(at).await["mirror_status"], "PAUSED");
    let all = two.get("/links/-/mirrors?mirror_status=paused").await;
    assert_eq!(names(&all, "mirror_topic_name"), ["orders-eu"]);
    let active = two
        .get("/links/demo-link/mirrors?mirror_status=ACTIVE")
        .await;
    assert_eq!(names(&active, "mirror_topic_name"), [""; 0]);
    assert_eq!(act("resume", &["orders-eu"]).await.status, 200);
    assert_eq!(two.get(at).await["mirror_status"], "ACTIVE");

    for action in [
        "truncate-and-restore",
        "truncate-and-restore?include_partition_level_truncation_data=true",
        "reverse-and-start-mirror",
        "promote-local-and-pause-remote-mirror",
    ] {
        assert_eq!(
            act(action, &["orders-eu"]).await.refusal(),
            (400, 40035),
            "{action}"
        );
    }
    assert_eq!(act("promote", &[]).await.refusal(), (400, 40002));
    let held = two.ask("DELETE", "/links/demo-link", None).await;
    assert_eq!(held.refusal(), (403, 403));

    let promoted = act("promote", &["orders-eu"]).await.json();
    assert_eq!(promoted["kind"], "KafkaPromoteMirror");
    assert_eq!(promoted["data"][0]["error_code"], Value::Null);
    let lag = json!([{"partition": 0, "lag": 0, "last_source_fetch_offset": 4}]);
    assert_eq!(promoted["data"][0]["mirror_lags"], lag);
    two.await_mirror(at, |mirror| mirror["mirror_status"] == "STOPPED")
        .await;
    let again = act("failover", &["orders-eu"]).await.json();
    assert_eq!(again["data"][0]["error_code"], 400);
    assert_eq!(two.change("DELETE", "/links/demo-link", None).await.0, 204);
    stop.send_replace(true);
    worker.await.unwrap();
}
