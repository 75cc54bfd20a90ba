//! What real brokers answer to the scripts of `conformance::traces`, against what is recorded in `tests/traces`.
//!
//! `KMIRROR_UPDATE_TRACES=1` records anew. The sandbox and the simulator's broker replay the recordings in `cargo test`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use kmirror::kafka::Target;
use kmirror::kafka::admin::NewTopic;
use kmirror::kafka::produce::{ProduceBatch, produce};

use crate::conformance::traces::format::Trace;
use crate::conformance::traces::{
    EXPIRY, EXPIRY_CHECK, batch, compare, path, perform, recorded, scripts,
};
use crate::conformance::wire::{connect, new_topic, one};
use crate::support::cluster::Spec;
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::wire::block_on;

pub fn tests() -> Vec<Test> {
    let test = |name, tier, body| Test {
        name,
        tier,
        brokers: 1,
        seconds: 60,
        body,
    };
    vec![
        test("traces::kafka_4_3", Tier::Readme, |lab| {
            play(lab, Version::V4_3, "4.3")
        }),
        test("traces::kafka_3_9", Tier::Long, |lab| {
            play(lab, Version::V3_9, "3.9")
        }),
        Test {
            brokers: 3,
            ..test("traces::log_end_kafka_4_3", Tier::Long, |lab| {
                log_end(lab, Version::V4_3)
            })
        },
        Test {
            brokers: 3,
            ..test("traces::log_end_kafka_3_9", Tier::Long, |lab| {
                log_end(lab, Version::V3_9)
            })
        },
    ]
}

fn play(lab: &Lab, version: Version, kafka: &str) -> Result<()> {
    let mut cluster = Spec::new("traced", version)
        .config("producer.id.expiration.ms", &EXPIRY.as_millis().to_string())
        .config(
            "producer.id.expiration.check.interval.ms",
            &EXPIRY_CHECK.as_millis().to_string(),
        )
        .start(lab)?;
    let bootstrap = cluster.bootstrap();
    for (name, about, steps) in scripts() {
        let mut restart = || {
            cluster.stop(0)?;
            cluster.start(0)
        };
        let taken = block_on(perform(&bootstrap, &steps, &mut restart)).context(name)?;
        if std::env::var_os("KMIRROR_UPDATE_TRACES").is_some() {
            let trace = Trace {
                about: about.to_owned(),
                kafka: kafka.to_owned(),
                steps: taken,
            };
            std::fs::write(path(name, kafka), text(&trace)?)?;
        } else {
            compare(&recorded(name, kafka)?, &taken).context(name)?;
        }
        lab.note(format!("{name}: as recorded"));
    }
    Ok(())
}

/// One step a line.
fn text(trace: &Trace) -> Result<String> {
    let steps: Vec<String> = trace
        .steps
        .iter()
        .map(|taken| Ok(format!("    {}", serde_json::to_string(taken)?)))
        .collect::<Result<_>>()?;
    Ok(format!(
        "{{\n  \"about\": {},\n  \"kafka\": {},\n  \"steps\": [\n{}\n  ]\n}}\n",
        serde_json::to_string(&trace.about)?,
        serde_json::to_string(&trace.kafka)?,
        steps.join(",\n")
    ))
}

/// What is appended, and not below the high watermark yet, shows to nobody but a debugging replica (-2): by that
/// a leader tells where its log ends. Whoever takes over a partition can so see late requests that followers hold up.
fn log_end(lab: &Lab, version: Version) -> Result<()> {
    let mut cluster = Spec::new("held-up", version)
        .nodes(3)
        .config("min.insync.replicas", "2")
        .start(lab)?;
    let bootstrap = cluster.bootstrap();
    let runtime = tokio::runtime::Runtime::new()?;
    let client = runtime.block_on(connect(&bootstrap))?;
    let wanted = NewTopic {
        replication_factor: Some(3),
        ..new_topic("held-up", 1)
    };
    one(runtime.block_on(client.admin().create_topics(vec![wanted], false)))?;
    let producer = runtime.block_on(client.admin().init_producer_id(None, 0))?;
    let write = |acks, sequence| -> Result<()> {
        let batch = ProduceBatch {
            head: Bytes::new(),
            topic: "held-up",
            partition: 0,
            batch: batch(producer.id, 0, sequence, 3, 0)?,
        };
        let answers = runtime.block_on(async {
            let connection = client.route(&leader()).await?;
            produce(&connection, acks, 10_000, &[batch]).await
        })?;
        ensure!(answers[0].error.is_ok(), "{answers:?}");
        Ok(())
    };
    let end = |replica: i32| -> Result<i64> {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(0)
            .with_timestamp(-1);
        let topic = ListOffsetsTopic::default()
            .with_name(TopicName(StrBytes::from_static_str("held-up")))
            .with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(replica.into())
            .with_topics(vec![topic]);
        let response = runtime.block_on(async {
            let connection = client.route(&leader()).await?;
            connection.send(&request).await
        })?;
        let found = &response.topics[0].partitions[0];
        ensure!(found.error_code == 0, "{found:?}");
        Ok(found.offset)
    };
    write(-1, 0)?;
    let led_by = runtime.block_on(client.leader("held-up", 0))?;
    let followers: Vec<usize> = (0..3).filter(|node| node + 1 != led_by as usize).collect();
    for node in &followers {
        cluster.signal(*node, "STOP")?;
    }
    let write_and_look = || -> Result<(i64, i64)> {
        write(1, 3)?;
        write(1, 6)?;
        Ok((end(-1)?, end(-2)?))
    };
    let held_up = write_and_look();
    for node in &followers {
        cluster.signal(*node, "CONT")?;
    }
    ensure!(held_up? == (3, 9), "the high watermark, then the log's end");
    let began = Instant::now();
    while end(-1)? < 9 {
        ensure!(
            began.elapsed() < Duration::from_secs(30),
            "followers catch up"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn leader() -> Target {
    Target::Leader {
        topic: "held-up".to_owned(),
        partition: 0,
    }
}
