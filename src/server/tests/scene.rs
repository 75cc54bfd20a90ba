//! A cluster with something of everything in it: what the operations of the description are asked for.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::client::Client;
use super::{CLUSTER_ID, Stand};
use crate::client::Secret;
use crate::kafka::admin::NewTopic;
use crate::kafka::{Client as KafkaClient, ClientConfig as KafkaConfig};
use crate::linking::Change;
use crate::linking::operations::{Checks, NewLink, NewMirror, OtherEnd};
use crate::sandbox::{Sandbox, SandboxConfig};

/// The topic `orders` with two partitions and five records in the first, and the group `billing`, whose one member has read
/// two of them.
pub struct Scene {
    stand: Stand,
    member: String,
    _consumer: BaseConsumer,
    /// What the link copies from.
    source: Option<Sandbox>,
}

impl Scene {
    pub async fn new() -> Self {
        let stand = Stand::new().await;
        create(&stand, "orders", 2).await;
        let servers = stand.sandbox.bootstrap_servers();
        let consumer = tokio::task::spawn_blocking(move || {
            fill(&servers);
            join(&servers)
        });
        let consumer = consumer.await.unwrap();
        let path = format!("/v3/clusters/{CLUSTER_ID}/consumer-groups/billing/consumers");
        let members = stand.client().get(&path).await.json();
        let member = members["data"][0]["consumer_id"].as_str();
        Self {
            member: member.expect("the group has a member").to_owned(),
            stand,
            _consumer: consumer,
            source: None,
        }
    }

    /// With the link `demo-link` from another cluster, and its mirror topic `sales`.
    pub async fn linked() -> Self {
        let mut scene = Self::new().await;
        scene.source = Some(link(&scene.stand).await);
        scene
    }

    pub fn client(&self) -> Client {
        self.stand.client()
    }

    /// What parameters of paths are called here.
    pub fn names(&self) -> Vec<(&'static str, String)> {
        vec![
            ("broker_id", "1".to_owned()),
            ("topic_name", "orders".to_owned()),
            ("link_name", "demo-link".to_owned()),
            ("mirror_topic_name", "sales".to_owned()),
            ("config_name", "num.cluster.link.fetchers".to_owned()),
            ("name", "retention.ms".to_owned()),
            ("partition_id", "0".to_owned()),
            ("consumer_group_id", "billing".to_owned()),
            ("consumer_id", self.member.clone()),
        ]
    }
}

/// On the sandbox all replicas of a partition but the first exist in name only.
pub async fn create(stand: &Stand, topic: &str, partitions: i32) {
    let topic = NewTopic {
        name: topic.to_owned(),
        partitions: Some(partitions),
        replication_factor: Some(1),
        configs: vec![("retention.ms".to_owned(), "3600000".to_owned())],
    };
    let admin = stand.cluster.client().unwrap().admin();
    for (_, outcome) in admin.create_topics(vec![topic], false).await {
        outcome.unwrap();
    }
}

/// Makes the link, and the cluster that it copies from.
async fn link(stand: &Stand) -> Sandbox {
    let mut config = SandboxConfig::new("north", 1);
    config.cluster_id = Some("north-id".to_owned());
    let source = Sandbox::start(config).await.unwrap();
    let config = KafkaConfig::new("north", vec![source.bootstrap_servers()]);
    let admin = KafkaClient::connect(config).await.unwrap().admin();
    let topics = ["sales", "invoices"].map(|name| NewTopic {
        name: name.to_owned(),
        partitions: Some(1),
        replication_factor: Some(1),
        configs: Vec::new(),
    });
    for (_, outcome) in admin.create_topics(topics.to_vec(), false).await {
        outcome.unwrap();
    }
    let desk = stand.cluster.desk().unwrap();
    let link = NewLink {
        name: "demo-link".to_owned(),
        other: Some(OtherEnd::Source("north-id".to_owned())),
        id: None,
        configs: vec![Change {
            name: "bootstrap.servers".to_owned(),
            value: Some(Secret::new(source.bootstrap_servers())),
        }],
    };
    let checks = Checks {
        validate_only: false,
        validate_link: true,
    };
    desk.create_link(link, checks).await.unwrap();
    let mirror = NewMirror {
        source_topic: "sales".to_owned(),
        ..NewMirror::default()
    };
    desk.create_mirror("demo-link", &mirror).await.unwrap();
    source
}

fn fill(servers: &str) {
    let producer: BaseProducer = config(servers).create().unwrap();
    for _ in 0..5 {
        let record = BaseRecord::<(), str>::to("orders")
            .partition(0)
            .payload("x");
        producer.send(record).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
}

fn join(servers: &str) -> BaseConsumer {
    let mut config = config(servers);
    config.set("group.id", "billing").set("client.id", "till-1");
    config
        .set("group.instance.id", "till")
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&["orders"]).unwrap();
    while consumer.assignment().unwrap().count() < 2 {
        consumer.poll(Duration::from_millis(50));
    }
    let mut read = TopicPartitionList::new();
    for (partition, offset) in [(0, 2), (1, 0)] {
        read.add_partition_offset("orders", partition, Offset::Offset(offset))
            .unwrap();
    }
    consumer.commit(&read, CommitMode::Sync).unwrap();
    consumer
}

fn config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config
}
