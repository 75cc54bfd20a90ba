//! Idempotent and transactional producers.

use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kmirror::sandbox::Sandbox;
use kmirror::sandbox::faults::Loss;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::clients::{PATIENCE, config, create_topic, produce, read, sandbox};

/// A transactional producer that has its id.
async fn transactional(sandbox: &Sandbox, id: &str) -> FutureProducer {
    let producer: FutureProducer = config(sandbox)
        .set("transactional.id", id)
        .create()
        .expect("a valid configuration");
    blocking(&producer, |producer| producer.init_transactions(PATIENCE))
        .await
        .expect("initialised");
    producer
}

/// librdkafka's transaction calls block.
async fn blocking<R: Send + 'static>(
    producer: &FutureProducer,
    call: impl FnOnce(&FutureProducer) -> R + Send + 'static,
) -> R {
    let producer = producer.clone();
    tokio::task::spawn_blocking(move || call(&producer))
        .await
        .expect("no panic")
}

async fn transaction(producer: &FutureProducer, topic: &str, values: &[&str], commit: bool) {
    producer.begin_transaction().expect("begun");
    produce(
        producer,
        topic,
        0,
        values.iter().map(|value| (*value).to_owned()),
    )
    .await;
    blocking(producer, move |producer| {
        if commit {
            producer.commit_transaction(PATIENCE)
        } else {
            producer.abort_transaction(PATIENCE)
        }
    })
    .await
    .expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotent_producer_writes_once_though_answers_are_lost() {
    let sandbox = sandbox(1).await;
    create_topic(&sandbox, "t", 1, 1).await;
    let producer: FutureProducer = config(&sandbox)
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .create()
        .expect("a valid configuration");
    produce(&producer, "t", 0, ["first".to_owned()]).await;
    for nth in [1, 3, 4, 8] {
        sandbox.faults().lose(ApiKey::Produce, nth, Loss::Answer);
    }
    for n in 0..40 {
        produce(&producer, "t", 0, [n.to_string()]).await;
    }
    let log = sandbox.log("t", 0).expect("there");
    let values: Vec<_> = log
        .records()
        .into_iter()
        .filter_map(|record| record.value)
        .collect();
    assert_eq!(values.len(), 41);
    assert!(
        values[1..]
            .iter()
            .enumerate()
            .all(|(n, value)| *value == n.to_string())
    );
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_aborted_is_not_seen_by_committed_readers() {
    let sandbox = sandbox(2).await;
    create_topic(&sandbox, "t", 1, 1).await;
    let producer = transactional(&sandbox, "tx").await;
    transaction(&producer, "t", &["a", "b"], true).await;
    transaction(&producer, "t", &["x", "y", "z"], false).await;
    transaction(&producer, "t", &["c"], true).await;
    let committed = read(&sandbox, "t", 0, Offset::Beginning, 3, "read_committed").await;
    let values: Vec<_> = committed
        .iter()
        .map(|m| (m.offset(), m.payload().expect("a value")))
        .collect();
    assert_eq!(values, [(0, &b"a"[..]), (1, b"b"), (7, b"c")]);
    let all = read(&sandbox, "t", 0, Offset::Beginning, 6, "read_uncommitted").await;
    assert_eq!(all.len(), 6);
    let log = sandbox.log("t", 0).expect("there");
    assert_eq!((log.end, log.last_stable_offset), (9, 9));
    assert_eq!(
        log.batches
            .iter()
            .filter(|batch| batch.header.is_control())
            .count(),
        3
    );
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_hides_what_follows_it() {
    let sandbox = sandbox(1).await;
    create_topic(&sandbox, "t", 1, 1).await;
    let producer = transactional(&sandbox, "tx").await;
    producer.begin_transaction().expect("begun");
    produce(&producer, "t", 0, ["open".to_owned()]).await;
    let plain: FutureProducer = config(&sandbox).create().expect("a valid configuration");
    produce(&plain, "t", 0, ["after".to_owned()]).await;
    let log = sandbox.log("t", 0).expect("there");
    assert_eq!((log.end, log.last_stable_offset), (2, 0));
    let reader: StreamConsumer = config(&sandbox)
        .set("group.id", "unused")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a valid configuration");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", 0, Offset::Beginning)
        .expect("an offset");
    reader.assign(&list).expect("assigned");
    let early = tokio::time::timeout(Duration::from_millis(700), reader.recv()).await;
    assert!(
        early.is_err(),
        "a record was delivered before the transaction ended"
    );
    blocking(&producer, |producer| producer.commit_transaction(PATIENCE))
        .await
        .expect("committed");
    let first = tokio::time::timeout(PATIENCE, reader.recv())
        .await
        .expect("in time")
        .expect("a record");
    assert_eq!(first.payload(), Some(&b"open"[..]));
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_producer_of_the_same_id_fences_the_first() {
    let sandbox = sandbox(1).await;
    create_topic(&sandbox, "t", 1, 1).await;
    let first = transactional(&sandbox, "tx").await;
    first.begin_transaction().expect("begun");
    produce(&first, "t", 0, ["lost".to_owned()]).await;
    let second = transactional(&sandbox, "tx").await;
    transaction(&second, "t", &["kept"], true).await;
    let refused = blocking(&first, |first| first.commit_transaction(PATIENCE))
        .await
        .expect_err("fenced");
    assert!(
        matches!(
            refused.rdkafka_error_code(),
            Some(RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced)
        ),
        "{refused:?}"
    );
    let seen = read(&sandbox, "t", 0, Offset::Beginning, 1, "read_committed").await;
    assert_eq!(seen[0].payload(), Some(&b"kept"[..]));
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_committed_with_the_transaction_or_not_at_all() {
    let sandbox = sandbox(2).await;
    create_topic(&sandbox, "in", 1, 1).await;
    create_topic(&sandbox, "t", 1, 1).await;
    let producer = transactional(&sandbox, "tx").await;
    let consumer: StreamConsumer = config(&sandbox)
        .set("group.id", "g")
        .create()
        .expect("a valid configuration");
    for (offset, commit, expected) in [(5, true, 5), (9, false, 5)] {
        producer.begin_transaction().expect("begun");
        produce(&producer, "t", 0, ["out".to_owned()]).await;
        let metadata = consumer.group_metadata().expect("a group");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("in", 0, Offset::Offset(offset))
            .expect("an offset");
        blocking(&producer, move |producer| {
            producer.send_offsets_to_transaction(&list, &metadata, PATIENCE)?;
            if commit {
                producer.commit_transaction(PATIENCE)
            } else {
                producer.abort_transaction(PATIENCE)
            }
        })
        .await
        .expect("ended");
        let mut asked = TopicPartitionList::new();
        asked.add_partition("in", 0);
        let committed = consumer
            .committed_offsets(asked, PATIENCE)
            .expect("offsets");
        assert_eq!(committed.elements()[0].offset(), Offset::Offset(expected));
    }
    sandbox.shutdown().await;
}
