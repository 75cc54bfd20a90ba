//! librdkafka, set up for tests.

use std::time::Duration;

use kmirror::sandbox::{Sandbox, SandboxConfig};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::OwnedMessage;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

pub const PATIENCE: Duration = Duration::from_secs(20);

pub async fn sandbox(brokers: usize) -> Sandbox {
    Sandbox::start(SandboxConfig::new("test", brokers))
        .await
        .expect("free ports on loopback")
}

pub fn config(sandbox: &Sandbox) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", sandbox.bootstrap_servers())
        .set("broker.address.family", "v4")
        .set("log_level", "3");
    config
}

pub fn admin(sandbox: &Sandbox) -> AdminClient<DefaultClientContext> {
    config(sandbox).create().expect("a valid configuration")
}

pub async fn create_topic(sandbox: &Sandbox, name: &str, partitions: i32, replicas: i32) {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
    let results = admin(sandbox)
        .create_topics([&topic], &AdminOptions::new())
        .await
        .expect("an answer");
    assert_eq!(results, vec![Ok(name.to_owned())]);
}

/// Produces `values` to one partition; returns their offsets.
pub async fn produce(
    producer: &FutureProducer,
    topic: &str,
    partition: i32,
    values: impl IntoIterator<Item = String>,
) -> Vec<i64> {
    let mut sent = Vec::new();
    for value in values {
        let record = FutureRecord::to(topic)
            .partition(partition)
            .key("k")
            .payload(&value);
        sent.push(
            producer
                .send_result(record)
                .map_err(|(error, _)| error)
                .expect("queued"),
        );
    }
    let mut offsets = Vec::new();
    for delivery in sent {
        let delivered = delivery.await.expect("not cancelled");
        offsets.push(
            delivered
                .map_err(|(error, _)| error)
                .expect("delivered")
                .offset,
        );
    }
    offsets
}

/// Reads `count` records of one partition from `offset` without a group.
pub async fn read(
    sandbox: &Sandbox,
    topic: &str,
    partition: i32,
    offset: Offset,
    count: usize,
    isolation: &str,
) -> Vec<OwnedMessage> {
    let consumer: StreamConsumer = config(sandbox)
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .set("isolation.level", isolation)
        .create()
        .expect("a valid configuration");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, offset)
        .expect("an offset");
    consumer.assign(&list).expect("assigned");
    take(&consumer, count).await
}

pub async fn take(consumer: &StreamConsumer, count: usize) -> Vec<OwnedMessage> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let message = tokio::time::timeout(PATIENCE, consumer.recv())
            .await
            .unwrap_or_else(|_| panic!("only {} of {count} records arrived", seen.len()))
            .expect("a record");
        seen.push(message.detach());
    }
    seen
}
