//! The wire client: every call once, with the broker's own words where it refuses.
//!
//! Judged by real Kafka (tests/kafka) and by the sandbox (tests/conformance.rs) alike.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use kmirror::kafka::admin::{
    ConfigChange, ConfigResource, ConfigSource, NewTopic, OffsetCommit, OffsetSpec,
};
use kmirror::kafka::fetch::{FetchOptions, FetchPartition, fetch};
use kmirror::kafka::produce::{ProduceBatch, produce};
use kmirror::kafka::{Client, ClientConfig, CoordinatorKind, ErrorCode, Isolation, Target, Topics};
use uuid::Uuid;

pub async fn connect(bootstrap: &str) -> Result<Client> {
    let servers = bootstrap.split(',').map(str::to_owned).collect();
    Ok(Client::connect(ClientConfig::new("test", servers)).await?)
}

pub fn new_topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions: Some(partitions),
        replication_factor: Some(1),
        configs: vec![("retention.ms".into(), "123456789".into())],
    }
}

pub fn batch(producer: (i64, i16), sequence: i32, values: &[&str]) -> Bytes {
    let records: Vec<Record> = values
        .iter()
        .enumerate()
        .map(|(index, value)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: producer.0,
            producer_epoch: producer.1,
            timestamp_type: TimestampType::Creation,
            offset: index as i64,
            sequence: sequence + index as i32,
            timestamp: 1_700_000_000_000 + index as i64,
            key: Some(Bytes::from(format!("k{index}"))),
            value: Some(Bytes::from((*value).to_owned())),
            headers: indexmap::IndexMap::default(),
        })
        .collect();
    let mut buffer = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut buffer, &records, &options).expect("records encode");
    buffer.freeze()
}

pub fn one<T>(mut outcomes: Vec<(impl Sized, Result<T, kmirror::kafka::Error>)>) -> Result<T> {
    ensure!(outcomes.len() == 1, "one result for one item");
    Ok(outcomes.pop().context("one item")?.1?)
}

fn refused<T: std::fmt::Debug>(
    mut outcomes: Vec<(impl Sized, Result<T, kmirror::kafka::Error>)>,
) -> kmirror::kafka::Error {
    let (_, outcome) = outcomes.pop().expect("one item");
    outcome.expect_err("the broker refuses this")
}

/// Topics, configurations and partitions: created, described, changed, rehearsed, refused, deleted.
pub async fn administers_topics(bootstrap: &str) -> Result<()> {
    let client = connect(bootstrap).await?;
    let admin = client.admin();
    let cluster = admin.describe_cluster().await?;
    ensure!(!cluster.cluster_id.is_empty() && cluster.brokers.len() == 1);
    ensure!(cluster.controller_id == cluster.brokers[0].id);
    let broker = cluster.brokers[0].id;

    let name = format!("wire-{}", Uuid::new_v4());
    let rehearsed = admin.create_topics(vec![new_topic(&name, 3)], true).await;
    one(rehearsed)?;
    let named = [name.clone()];
    let absent = admin.metadata(Topics::Named(&named)).await?;
    ensure!(absent.topics[0].error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);

    let created = one(admin.create_topics(vec![new_topic(&name, 3)], false).await)?;
    ensure!(created.partitions == Some(3) && created.replication_factor == Some(1));
    let described = client.topic(&name).await?;
    ensure!(described.partitions.len() == 3 && described.id == created.id);
    ensure!(described.partitions[2].leader == broker);

    let again = refused(admin.create_topics(vec![new_topic(&name, 3)], false).await);
    ensure!(
        again.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS),
        "{again}"
    );
    let mut many = new_topic("wire-many", 1);
    many.replication_factor = Some(3);
    let text = refused(admin.create_topics(vec![many], true).await).to_string();
    ensure!(
        text.contains("INVALID_REPLICATION_FACTOR")
            && text.contains("cannot create topic wire-many"),
        "{text}"
    );
    let mut wrong = new_topic("wire-wrong", 1);
    wrong.configs = vec![("retention.ms".into(), "soon".into())];
    let text = refused(admin.create_topics(vec![wrong], true).await).to_string();
    ensure!(
        text.contains("retention.ms"),
        "the broker's own words: {text}"
    );

    one(admin.create_partitions(vec![(name.clone(), 5)], true).await)?;
    one(admin
        .create_partitions(vec![(name.clone(), 5)], false)
        .await)?;
    ensure!(client.topic(&name).await?.partitions.len() == 5);
    let fewer = refused(
        admin
            .create_partitions(vec![(name.clone(), 2)], false)
            .await,
    );
    ensure!(fewer.to_string().contains("INVALID_PARTITIONS"), "{fewer}");

    let topic = ConfigResource::Topic(name.clone());
    let resources = vec![topic.clone(), ConfigResource::Broker(broker)];
    let configs = admin.describe_configs(resources).await;
    let entries = configs[0].1.as_ref().map_err(Clone::clone)?;
    let retention = entries
        .iter()
        .find(|e| e.name == "retention.ms")
        .context("retention.ms")?;
    ensure!(retention.value.as_deref() == Some("123456789"));
    ensure!(retention.source == ConfigSource::Topic && !retention.sensitive);
    let policy = entries
        .iter()
        .find(|e| e.name == "cleanup.policy")
        .context("cleanup.policy")?;
    ensure!(policy.source == ConfigSource::Default && !policy.synonyms.is_empty());
    let entries = configs[1].1.as_ref().map_err(Clone::clone)?;
    ensure!(entries.iter().any(|e| e.read_only));

    let change = |value: Option<&str>| {
        let change = ConfigChange {
            name: "retention.ms".into(),
            value: value.map(Into::into),
        };
        vec![(topic.clone(), vec![change])]
    };
    one(admin
        .incremental_alter_configs(change(Some("77")), true)
        .await)?;
    one(admin
        .incremental_alter_configs(change(Some("99")), false)
        .await)?;
    let text = refused(
        admin
            .incremental_alter_configs(change(Some("x")), true)
            .await,
    )
    .to_string();
    ensure!(text.contains("retention.ms"), "{text}");
    // A broker hears of a change a moment after it was made.
    let started = Instant::now();
    loop {
        let entries = one(admin.describe_configs(vec![topic.clone()]).await)?;
        if entries
            .iter()
            .any(|e| e.name == "retention.ms" && e.value.as_deref() == Some("99"))
        {
            break;
        }
        ensure!(
            started.elapsed() < Duration::from_secs(5),
            "the change arrives"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    one(admin.incremental_alter_configs(change(None), false).await)?;

    one(admin.delete_topics(vec![name.clone()]).await)?;
    let gone = refused(admin.delete_topics(vec![name.clone()]).await);
    ensure!(
        gone.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        "{gone}"
    );
    Ok(())
}

/// Five hundred topics in a few requests, then their offsets and configurations, then gone again.
pub async fn handles_many_topics_at_once(bootstrap: &str) -> Result<()> {
    let client = connect(bootstrap).await?;
    let admin = client.admin();
    let prefix = Uuid::new_v4();
    let names: Vec<String> = (0..500).map(|n| format!("many-{prefix}-{n}")).collect();
    let topics = names.iter().map(|name| new_topic(name, 1)).collect();
    let created = admin.create_topics(topics, false).await;
    ensure!(
        created.iter().map(|(name, _)| name).eq(&names),
        "in the order given"
    );
    for (_, outcome) in created {
        outcome?;
    }
    let wanted = names
        .iter()
        .map(|name| (name.clone(), 0, OffsetSpec::Latest))
        .collect();
    for (_, outcome) in admin.list_offsets(wanted, Isolation::ReadCommitted).await {
        ensure!(outcome?.offset == 0);
    }
    let resources = names.iter().cloned().map(ConfigResource::Topic).collect();
    for (_, outcome) in admin.describe_configs(resources).await {
        outcome?;
    }
    for (_, outcome) in admin.delete_topics(names).await {
        outcome?;
    }
    Ok(())
}

/// Batches in, batches out, ends of the log, lookups by time, producers, deleted records.
pub async fn moves_batches(bootstrap: &str) -> Result<()> {
    let client = connect(bootstrap).await?;
    let admin = client.admin();
    let name = format!("batches-{}", Uuid::new_v4());
    let created = one(admin.create_topics(vec![new_topic(&name, 2)], false).await)?;
    one(admin
        .incremental_alter_configs(
            vec![(
                ConfigResource::Topic(name.clone()),
                vec![ConfigChange {
                    name: "retention.ms".into(),
                    value: Some("-1".into()),
                }],
            )],
            false,
        )
        .await)?;
    let leader = client.leader(&name, 0).await?;
    let connection = client.connect_broker(leader).await?;
    let producer = admin.init_producer_id(None, 0).await?;

    let send = |partition: i32, batch: Bytes| {
        let batch = ProduceBatch {
            head: Bytes::new(),
            topic: &name,
            partition,
            batch,
        };
        produce(&connection, -1, 10_000, &[batch])
    };
    // A deep pipeline: queued by the calls, awaited afterwards.
    let identity = (producer.id, producer.epoch);
    let answers: Vec<_> = (0..50)
        .map(|n| send(0, batch(identity, n * 2, &["a", "b"])))
        .collect();
    for (n, answer) in answers.into_iter().enumerate() {
        let answer = answer.await?.pop().context("one partition")?;
        ensure!(
            answer.error.is_ok() && answer.base_offset == n as i64 * 2,
            "{answer:?}"
        );
    }
    let gap = send(0, batch(identity, 500, &["x"]))
        .await?
        .pop()
        .context("one")?;
    ensure!(
        gap.error == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        "{gap:?}"
    );
    let both = [0, 1].map(|partition| ProduceBatch {
        head: Bytes::new(),
        topic: &name,
        partition,
        batch: batch(identity, if partition == 0 { 100 } else { 0 }, &["c"]),
    });
    let answers = produce(&connection, 1, 10_000, &both).await?;
    ensure!(
        answers.iter().map(|a| a.base_offset).eq([100, 0]),
        "{answers:?}"
    );
    let mut broken = batch(identity, 101, &["x"]).to_vec();
    broken[60] ^= 1;
    let refused = send(0, Bytes::from(broken)).await?.pop().context("one")?;
    ensure!(refused.error == ErrorCode::CORRUPT_MESSAGE, "{refused:?}");

    let offset = |spec| {
        let admin = &admin;
        let wanted = vec![(name.clone(), 0, spec)];
        async move { one(admin.list_offsets(wanted, Isolation::ReadCommitted).await) }
    };
    ensure!(offset(OffsetSpec::Latest).await?.offset == 101);
    ensure!(offset(OffsetSpec::Earliest).await?.offset == 0);
    let found = offset(OffsetSpec::Timestamp(1_700_000_000_001)).await?;
    ensure!(
        found.offset == 1 && found.timestamp == 1_700_000_000_001,
        "{found:?}"
    );
    ensure!(
        offset(OffsetSpec::Timestamp(1_900_000_000_000))
            .await?
            .offset
            == -1
    );

    let options = FetchOptions {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation: Isolation::ReadCommitted,
    };
    let place = |topic_id, partition, offset| FetchPartition {
        topic: name.clone(),
        topic_id,
        partition,
        offset,
        current_leader_epoch: -1,
        max_bytes: 1 << 20,
    };
    for id in [created.id, Uuid::nil()] {
        let answers = fetch(&connection, &options, &[place(id, 0, 3), place(id, 1, 0)]).await?;
        let answer = answers
            .iter()
            .find(|a| a.partition == 0)
            .context("partition 0")?;
        ensure!(
            answer.topic == name && answer.error.is_ok() && answer.high_watermark == 101,
            "{answer:?}"
        );
        let mut records = answer.records.clone();
        let records: Vec<Record> = RecordBatchDecoder::decode_all(&mut records)?
            .into_iter()
            .flat_map(|set| set.records)
            .collect();
        ensure!(
            records[0].offset == 2 && records.last().map(|r| r.offset) == Some(100),
            "whole batches"
        );
        ensure!(answers.len() == 2);
    }
    let beyond = fetch(&connection, &options, &[place(created.id, 0, 1000)]).await?;
    ensure!(beyond[0].error == ErrorCode::OFFSET_OUT_OF_RANGE);
    // Brokers before 3.1 fetch by name.
    if connection.version::<FetchRequest>()? >= 13 {
        let stranger = fetch(&connection, &options, &[place(Uuid::new_v4(), 0, 0)]).await?;
        ensure!(
            stranger[0].error == ErrorCode::UNKNOWN_TOPIC_ID,
            "{stranger:?}"
        );
    }

    let partitions = [0, 1].map(|partition| (name.clone(), partition));
    let states = admin.describe_producers(partitions.to_vec()).await;
    let state = states[0].1.as_ref().map_err(Clone::clone)?;
    ensure!(
        state.len() == 1 && state[0].producer_id == producer.id && state[0].last_sequence == 100,
        "{state:?}"
    );

    let start = one(admin.delete_records(vec![(name.clone(), 0, 42)]).await)?;
    ensure!(start == 42 && offset(OffsetSpec::Earliest).await?.offset == 42);
    one(admin.delete_topics(vec![name]).await)?;
    Ok(())
}

/// Offsets of a group that has no members; coordinators; ids of transactional producers.
pub async fn keeps_group_offsets_and_producer_ids(bootstrap: &str) -> Result<()> {
    let client = connect(bootstrap).await?;
    let admin = client.admin();
    let name = format!("groups-{}", Uuid::new_v4());
    one(admin.create_topics(vec![new_topic(&name, 3)], false).await)?;
    let group = format!("group-{}", Uuid::new_v4());
    ensure!(admin.offset_fetch(&group, None).await?.is_empty());
    let commits = (0..2).map(|partition| OffsetCommit {
        topic: name.clone(),
        partition,
        offset: 7 + i64::from(partition),
        leader_epoch: 0,
        metadata: "by hand".into(),
    });
    for (_, outcome) in admin.offset_commit(&group, commits.collect()).await {
        outcome?;
    }
    let all = admin.offset_fetch(&group, None).await?;
    ensure!(all.len() == 2 && all[&(name.clone(), 1)].offset == 8);
    let wanted = vec![(name.clone(), 0), (name.clone(), 2)];
    let some = admin.offset_fetch(&group, Some(wanted)).await?;
    ensure!(some.len() == 1 && some[&(name.clone(), 0)].metadata == "by hand");
    let coordinator = admin
        .find_coordinator(CoordinatorKind::Group, &group)
        .await?;
    ensure!(coordinator.id == client.metadata(Topics::Named(&[])).await?.brokers[0].id);

    let first = admin.init_producer_id(Some("wire-tx"), 60_000).await?;
    let second = admin.init_producer_id(Some("wire-tx"), 60_000).await?;
    ensure!(
        first.id == second.id && second.epoch > first.epoch,
        "{first:?} {second:?}"
    );
    let plain = admin.init_producer_id(None, 0).await?;
    ensure!(plain.id != first.id);
    one(admin.delete_topics(vec![name]).await)?;
    Ok(())
}

/// What a user is told when there is no broker, or something that is none.
pub async fn names_what_cannot_be_reached(bootstrap: &str) -> Result<()> {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = closed.local_addr()?.to_string();
    drop(closed);
    let servers = vec![address.clone(), "no-such-host.invalid:9092".to_owned()];
    let error = Client::connect(ClientConfig::new("east", servers))
        .await
        .err()
        .context("no cluster")?;
    let text = error.to_string();
    ensure!(
        text.contains("cluster east")
            && text.contains(&address)
            && text.contains("connection refused"),
        "{text}"
    );
    ensure!(
        text.contains("no-such-host.invalid:9092: the host name cannot be resolved"),
        "{text}"
    );
    // A dead server in front of a live one costs nothing.
    let servers = vec![address, bootstrap.to_owned()];
    let client = Client::connect(ClientConfig::new("east", servers)).await?;
    let unknown = client
        .call(
            Target::Broker(4711),
            kafka_protocol::messages::MetadataRequest::default(),
        )
        .await;
    let text = unknown.err().context("no such broker")?.to_string();
    ensure!(
        text.contains("broker 4711") && text.contains("live brokers of cluster east"),
        "{text}"
    );
    Ok(())
}
