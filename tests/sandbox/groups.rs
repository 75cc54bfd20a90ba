//! Consumer groups, as librdkafka's members live in them.

use std::collections::BTreeSet;
use std::time::Duration;

use kmirror::sandbox::Sandbox;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, StreamConsumer};
use rdkafka::message::Message;
use rdkafka::producer::FutureProducer;

use crate::clients::{PATIENCE, config, create_topic, produce, sandbox, take};

fn member(sandbox: &Sandbox, group: &str, strategy: &str) -> StreamConsumer {
    config(sandbox)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "200")
        .set("partition.assignment.strategy", strategy)
        .create()
        .expect("a valid configuration")
}

fn assigned(member: &StreamConsumer) -> BTreeSet<i32> {
    let list = member.assignment().expect("an assignment");
    list.elements()
        .iter()
        .map(|element| element.partition())
        .collect()
}

/// Polls the members until their assignments are as wanted.
async fn settle(
    members: &[&StreamConsumer],
    done: impl Fn(&[BTreeSet<i32>]) -> bool,
) -> Vec<BTreeSet<i32>> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        for member in members {
            // Polling is what makes librdkafka carry out a rebalance; records are not wanted here.
            let _record = tokio::time::timeout(Duration::from_millis(20), member.recv()).await;
        }
        let now: Vec<_> = members.iter().map(|member| assigned(member)).collect();
        if done(&now) {
            return now;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "no agreement: {now:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_the_partitions_and_the_second_inherits() {
    for strategy in ["range", "cooperative-sticky"] {
        let sandbox = sandbox(2).await;
        create_topic(&sandbox, "t", 4, 1).await;
        let first = member(&sandbox, "g", strategy);
        first.subscribe(&["t"]).expect("subscribed");
        settle(&[&first], |now| now[0].len() == 4).await;
        let second = member(&sandbox, "g", strategy);
        second.subscribe(&["t"]).expect("subscribed");
        let shared = settle(&[&first, &second], |now| {
            now[0].len() == 2 && now[1].len() == 2
        })
        .await;
        assert!(shared[0].is_disjoint(&shared[1]), "{strategy}: {shared:?}");
        drop(first);
        settle(&[&second], |now| now[0].len() == 4).await;
        sandbox.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_offsets_are_where_the_next_member_begins() {
    let sandbox = sandbox(1).await;
    create_topic(&sandbox, "t", 1, 1).await;
    let producer: FutureProducer = config(&sandbox).create().expect("a valid configuration");
    produce(&producer, "t", 0, (0..10).map(|n| n.to_string())).await;
    let first = member(&sandbox, "g", "range");
    first.subscribe(&["t"]).expect("subscribed");
    let seen = take(&first, 4).await;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", 0, rdkafka::Offset::Offset(seen[3].offset() + 1))
        .expect("an offset");
    first.commit(&list, CommitMode::Sync).expect("committed");
    drop(first);
    let second = member(&sandbox, "g", "range");
    second.subscribe(&["t"]).expect("subscribed");
    assert_eq!(take(&second, 1).await[0].payload(), Some(&b"4"[..]));
    drop(second);
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_listed_with_their_members() {
    let sandbox = sandbox(1).await;
    create_topic(&sandbox, "t", 2, 1).await;
    let first = member(&sandbox, "g", "range");
    first.subscribe(&["t"]).expect("subscribed");
    settle(&[&first], |now| now[0].len() == 2).await;
    let viewer: BaseConsumer = config(&sandbox).create().expect("a valid configuration");
    // The list itself cannot leave the thread that asked for it.
    let asking = tokio::task::spawn_blocking(move || {
        let groups = viewer.fetch_group_list(None, PATIENCE).expect("a list");
        let group = &groups.groups()[0];
        let client = group.members()[0].client_id().to_owned();
        (
            group.name().to_owned(),
            group.state().to_owned(),
            group.members().len(),
            client,
        )
    });
    let (name, state, members, client) = asking.await.expect("no panic");
    assert_eq!((name.as_str(), state.as_str(), members), ("g", "Stable", 1));
    assert!(client.starts_with("rdkafka"), "{client}");
    drop(first);
    sandbox.shutdown().await;
}
