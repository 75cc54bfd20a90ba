//! Records in and out, as librdkafka sees them.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use kmirror::sandbox::faults::Loss;
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::clients::{PATIENCE, admin, config, create_topic, produce, read, sandbox};

#[tokio::test(flavor = "multi_thread")]
async fn records_of_every_codec_come_back_as_they_were() {
    let sandbox = sandbox(1).await;
    create_topic(&sandbox, "t", 2, 1).await;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let producer: FutureProducer = config(&sandbox)
            .set("compression.type", codec)
            .set("linger.ms", "5")
            .create()
            .expect("a valid configuration");
        produce(&producer, "t", 1, (0..200).map(|n| format!("{codec} {n}"))).await;
    }
    let seen = read(
        &sandbox,
        "t",
        1,
        Offset::Beginning,
        1000,
        "read_uncommitted",
    )
    .await;
    let codecs: Vec<_> = (0..1000)
        .map(|n| ["none", "gzip", "snappy", "lz4", "zstd"][n / 200])
        .collect();
    for (n, message) in seen.iter().enumerate() {
        assert_eq!(message.offset(), n as i64);
        let expected = format!("{} {}", codecs[n], n % 200);
        assert_eq!(message.payload(), Some(expected.as_bytes()));
    }
    let log = sandbox.log("t", 1).expect("the partition");
    assert_eq!((log.start, log.end, log.high_watermark), (0, 1000, 1000));
    assert_eq!(log.records().len(), 1000);
    assert_eq!(sandbox.log("t", 0).expect("the partition").end, 0);
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_headers_timestamps_and_tombstones_survive() {
    let sandbox = sandbox(1).await;
    create_topic(&sandbox, "t", 1, 1).await;
    let producer: FutureProducer = config(&sandbox).create().expect("a valid configuration");
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "h",
            value: Some("1"),
        })
        .insert(Header {
            key: "h",
            value: None::<&str>,
        });
    let record = FutureRecord::<str, str>::to("t")
        .key("key")
        .timestamp(1_234_567)
        .headers(headers);
    producer
        .send(record, PATIENCE)
        .await
        .map_err(|(error, _)| error)
        .expect("delivered");
    let seen = read(&sandbox, "t", 0, Offset::Offset(0), 1, "read_committed").await;
    assert_eq!(seen[0].payload(), None);
    assert_eq!(seen[0].key(), Some(&b"key"[..]));
    assert_eq!(seen[0].timestamp().to_millis(), Some(1_234_567));
    let headers = seen[0].headers().expect("headers");
    assert_eq!((headers.count(), headers.get(1).value), (2, None));
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_waits_for_what_is_not_there_yet() {
    let sandbox = sandbox(1).await;
    create_topic(&sandbox, "t", 1, 1).await;
    let producer: FutureProducer = config(&sandbox).create().expect("a valid configuration");
    let reading = read(&sandbox, "t", 0, Offset::End, 1, "read_uncommitted");
    let writing = async {
        // The reader must have found the end before the record is written.
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        produce(&producer, "t", 0, ["late".to_owned()]).await;
    };
    let (seen, ()) = tokio::join!(reading, writing);
    assert_eq!(seen[0].payload(), Some(&b"late"[..]));
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_found_by_time_and_at_both_ends() {
    let sandbox = sandbox(1).await;
    create_topic(&sandbox, "t", 1, 1).await;
    let producer: FutureProducer = config(&sandbox).create().expect("a valid configuration");
    for n in 0..10i64 {
        let record = FutureRecord::<str, str>::to("t")
            .payload("v")
            .timestamp(1000 + n * 10);
        producer
            .send(record, PATIENCE)
            .await
            .map_err(|(error, _)| error)
            .expect("delivered");
    }
    let consumer: BaseConsumer = config(&sandbox).create().expect("a valid configuration");
    let offsets = tokio::task::spawn_blocking(move || {
        let ends = consumer
            .fetch_watermarks("t", 0, PATIENCE)
            .expect("watermarks");
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset("t", 0, Offset::Offset(1045))
            .expect("an offset");
        let times = consumer.offsets_for_times(list, PATIENCE).expect("offsets");
        (ends, times.elements()[0].offset())
    })
    .await
    .expect("no panic");
    assert_eq!(offsets, ((0, 10), Offset::Offset(5)));
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_are_spread_and_may_move() {
    let sandbox = sandbox(3).await;
    create_topic(&sandbox, "t", 3, 2).await;
    let producer: FutureProducer = config(&sandbox).create().expect("a valid configuration");
    let leaders: Vec<_> = (0..3)
        .map(|p| sandbox.log("t", p).expect("there").leader)
        .collect();
    assert_eq!(
        leaders
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        3
    );
    produce(&producer, "t", 0, (0..10).map(|n| n.to_string())).await;
    let epoch = sandbox
        .faults()
        .move_leader("t", 0, None)
        .expect("a live replica");
    assert_eq!(epoch, 1);
    assert_ne!(sandbox.log("t", 0).expect("there").leader, leaders[0]);
    produce(&producer, "t", 0, (10..20).map(|n| n.to_string())).await;
    let seen = read(&sandbox, "t", 0, Offset::Beginning, 20, "read_uncommitted").await;
    assert_eq!(seen[19].payload(), Some(&b"19"[..]));
    let batches = sandbox.log("t", 0).expect("there").batches;
    assert_eq!(batches.first().map(|b| b.header.leader_epoch), Some(0));
    assert_eq!(batches.last().map(|b| b.header.leader_epoch), Some(1));
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_broker_hands_its_partitions_over() {
    let sandbox = sandbox(2).await;
    create_topic(&sandbox, "t", 1, 2).await;
    let producer: FutureProducer = config(&sandbox).create().expect("a valid configuration");
    produce(&producer, "t", 0, ["a".to_owned()]).await;
    let leader = sandbox
        .log("t", 0)
        .expect("there")
        .leader
        .expect("a leader");
    sandbox.faults().stop_broker(leader);
    produce(&producer, "t", 0, ["b".to_owned()]).await;
    sandbox.faults().start_broker(leader);
    let values: Vec<_> = sandbox
        .log("t", 0)
        .expect("there")
        .records()
        .into_iter()
        .filter_map(|r| r.value)
        .collect();
    assert_eq!(values, ["a", "b"]);
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_producer_repeats_what_was_taken_when_the_answer_is_lost() {
    let sandbox = sandbox(1).await;
    create_topic(&sandbox, "t", 1, 1).await;
    let producer: FutureProducer = config(&sandbox).create().expect("a valid configuration");
    sandbox.faults().lose(ApiKey::Produce, 1, Loss::Answer);
    produce(&producer, "t", 0, ["twice".to_owned()]).await;
    assert_eq!(sandbox.log("t", 0).expect("there").end, 2);
    sandbox.faults().fail(
        ApiKey::Produce,
        Some("t"),
        ResponseError::NotLeaderOrFollower,
        2,
    );
    produce(&producer, "t", 0, ["once".to_owned()]).await;
    assert_eq!(sandbox.log("t", 0).expect("there").end, 3);
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_watermark_keeps_records_from_consumers_and_answers_from_producers() {
    let sandbox = sandbox(1).await;
    create_topic(&sandbox, "t", 1, 1).await;
    sandbox.faults().hold_watermark("t", 0, true);
    let producer: FutureProducer = config(&sandbox).create().expect("a valid configuration");
    let sending = produce(&producer, "t", 0, ["v".to_owned()]);
    let releasing = async {
        while sandbox.log("t", 0).expect("there").end == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(sandbox.log("t", 0).expect("there").high_watermark, 0);
        sandbox.faults().hold_watermark("t", 0, false);
    };
    let (offsets, ()) = tokio::join!(sending, releasing);
    assert_eq!(offsets, [0]);
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_refused_in_kafkas_words() {
    let sandbox = sandbox(1).await;
    let admin = admin(&sandbox);
    let topic = rdkafka::admin::NewTopic::new("t", 1, rdkafka::admin::TopicReplication::Fixed(1))
        .set("retention.ms", "abc");
    let results = admin
        .create_topics([&topic], &rdkafka::admin::AdminOptions::new())
        .await
        .expect("an answer");
    assert_eq!(
        results,
        vec![Err((
            "t".to_owned(),
            rdkafka::types::RDKafkaErrorCode::InvalidConfig
        ))]
    );
    assert!(sandbox.topics().is_empty());
    sandbox.shutdown().await;
}
