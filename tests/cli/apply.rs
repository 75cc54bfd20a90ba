//! `kmirror apply` against embedded clusters.

use std::process::{Command, Stdio};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use kmirror::apply::{Event, Follow, Progress, is_due};
use kmirror::control::records::{LockRecord, RECORD_VERSION};
use kmirror::control::{self, ControlState, ControlWriter};
use kmirror::kafka::Topics;
use kmirror::kafka::admin::{ConfigChange, ConfigResource};
use rdkafka::ClientConfig as RdConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio_util::sync::CancellationToken;

use crate::assert_shown;
use crate::sandboxes::TwoClusters;

const TUTORIAL: &str = r#"
[clusters.east.topics.test-topic]
partitions = 1
replication_factor = 1
config = { "segment.bytes" = "10485760" }

[links.copy]
source = "east"
destination = "west"
topics = ["test-topic"]
rename = "${topic}.replica"
replication_factor = 1
"#;

const ALL: &str = "[links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"*\"]\n";

/// Requests that change something.
pub(crate) const WRITES: [ApiKey; 10] = [
    ApiKey::CreateTopics,
    ApiKey::CreatePartitions,
    ApiKey::DeleteTopics,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterConfigs,
    ApiKey::InitProducerId,
    ApiKey::AddPartitionsToTxn,
    ApiKey::EndTxn,
    ApiKey::DeleteRecords,
    ApiKey::Produce,
];

fn control_of(clusters: &TwoClusters) -> ControlState {
    let west = clusters.client(&clusters.west);
    clusters
        .block_on(control::read(&west))
        .expect("readable")
        .expect("applied")
}

fn lock(holder: &str) -> LockRecord {
    LockRecord {
        version: RECORD_VERSION,
        holder: holder.to_owned(),
        since_ms: jiff::Timestamp::now().as_millisecond() - 90_000,
        command: "apply".to_owned(),
    }
}

#[test]
fn check_1_the_tutorial_in_one_apply_and_a_second_one_sends_no_write() {
    let clusters = TwoClusters::start(1, TUTORIAL);
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_shown("cli_apply_tutorial", &ran);
    assert_eq!(clusters.east.topics(), ["test-topic"]);
    let state = control_of(&clusters);
    assert_eq!((state.links.len(), state.mirrors.len()), (1, 1));
    assert!(state.lock.is_none());

    for (cluster, writes) in clusters.take_writes() {
        assert!(!writes.is_empty(), "{cluster} is written by the first");
    }
    let ran = clusters.run(&["apply", "mirror.toml"]);
    assert_shown("cli_apply_second", &ran);
    assert_eq!(ran.code, Some(0));
    for (cluster, writes) in clusters.take_writes() {
        assert_eq!(writes, [""; 0], "{cluster}");
    }
}

#[test]
fn without_a_terminal_nobody_can_confirm() {
    let clusters = TwoClusters::start(1, TUTORIAL);
    let ran = clusters
        .scenario
        .run_with_input(&["apply", "mirror.toml"], "yes\n");
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("--yes"), "{ran}");
    assert_eq!(clusters.east.topics(), [""; 0]);
    assert_eq!(clusters.west.topics(), [""; 0]);
}

#[test]
fn what_is_blocked_blocks_the_whole_apply() {
    let clusters = TwoClusters::start(1, ALL);
    clusters.create(&clusters.east, "orders", 1, &[]);
    clusters.create(&clusters.east, "audit", 1, &[]);
    clusters.create(&clusters.west, "orders", 1, &[]);
    fill(&clusters, "orders", 3);
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(
        ran.stderr
            .contains("west/orders holds 3 records that this link did not write."),
        "{ran}"
    );
    assert!(ran.stderr.contains("nothing was done: 1 blocked"), "{ran}");
    assert_eq!(clusters.west.topics(), ["orders"]);
}

fn fill(clusters: &TwoClusters, topic: &str, records: usize) {
    let producer: BaseProducer = RdConfig::new()
        .set("bootstrap.servers", clusters.west.bootstrap_servers())
        .create()
        .expect("a producer");
    for _ in 0..records {
        producer
            .send(BaseRecord::<str, str>::to(topic).payload("x"))
            .expect("queued");
    }
    producer
        .flush(Duration::from_secs(10))
        .expect("the sandbox answers");
}

#[test]
fn drift_and_growth_are_mended() {
    let clusters = TwoClusters::start(1, ALL);
    clusters.create(
        &clusters.east,
        "orders",
        1,
        &[("retention.ms", "604800000")],
    );
    let first = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(first.code, Some(0), "{first}");
    let change = |name: &str, value: &str| ConfigChange {
        name: name.to_owned(),
        value: Some(value.to_owned()),
    };
    let west = clusters.client(&clusters.west).admin();
    let drift = vec![
        change("retention.ms", "1000"),
        change("compression.type", "zstd"),
        change("segment.bytes", "2000000"),
    ];
    let orders = ConfigResource::Topic("orders".to_owned());
    for (_, result) in
        clusters.block_on(west.incremental_alter_configs(vec![(orders, drift)], false))
    {
        result.expect("altered");
    }
    let east = clusters.client(&clusters.east).admin();
    for (_, result) in
        clusters.block_on(east.create_partitions(vec![("orders".to_owned(), 4)], false))
    {
        result.expect("grown");
    }
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_shown("cli_apply_drift", &ran);
    let names = ["orders".to_owned()];
    let metadata = clusters
        .block_on(west.metadata(Topics::Named(&names)))
        .expect("metadata");
    assert_eq!(metadata.topics[0].partitions.len(), 4);
    let quiet = clusters.run(&["plan", "--detailed-exitcode", "mirror.toml"]);
    assert_eq!(quiet.code, Some(0), "{quiet}");
}

#[test]
fn check_11_another_apply_is_named_with_its_age_and_waited_for_if_asked() {
    let clusters = TwoClusters::start(1, TUTORIAL);
    let west = clusters.client(&clusters.west);
    let writer = clusters
        .block_on(ControlWriter::acquire(
            &west,
            lock("ann@build-7 (4711)"),
            Duration::ZERO,
        ))
        .expect("nobody else is there");
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    for words in [
        "nothing was done",
        "ann@build-7 (4711)",
        "1min 30s",
        "--lock-timeout",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {ran}");
    }
    let ran = std::thread::scope(|scope| {
        let waiting = scope
            .spawn(|| clusters.run(&["apply", "--yes", "--lock-timeout", "30s", "mirror.toml"]));
        std::thread::sleep(Duration::from_secs(1));
        clusters.block_on(writer.release()).expect("released");
        waiting.join().expect("no panic")
    });
    assert_eq!(ran.code, Some(0), "{ran}");
}

#[test]
fn what_fails_is_told_at_the_end_and_done_by_the_next_apply() {
    let clusters = TwoClusters::start(1, ALL);
    clusters.create(&clusters.east, "orders", 1, &[]);
    clusters.create(&clusters.east, "audit", 1, &[]);
    clusters.create(&clusters.west, "_made-first", 1, &[]);
    // The first attempt is the rehearsal, which passes by the faults only once they are used up.
    let first = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(first.code, Some(0), "{first}");
    clusters.create(&clusters.east, "late", 1, &[]);
    clusters.west.faults().fail(
        ApiKey::InitProducerId,
        None,
        ResponseError::ClusterAuthorizationFailed,
        1,
    );
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    // Taking the lock needs the same right.
    assert_eq!(ran.code, Some(1), "{ran}");
    let again = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(again.code, Some(0), "{again}");
    assert_eq!(control_of(&clusters).mirrors.len(), 3);
}

struct Quiet;

impl Progress for Quiet {
    fn event(&self, _: Event<'_>) {}
}

#[test]
fn a_worker_makes_the_mirror_that_an_apply_would_make() {
    let clusters = TwoClusters::start(1, ALL);
    clusters.create(
        &clusters.east,
        "orders",
        1,
        &[("cleanup.policy", "compact")],
    );
    assert_eq!(
        clusters.run(&["apply", "--yes", "mirror.toml"]).code,
        Some(0)
    );
    let (east, west) = (
        clusters.client(&clusters.east),
        clusters.client(&clusters.west),
    );
    let link = control_of(&clusters).links[0].clone();
    let look = || {
        clusters
            .block_on(Follow::look(&east, &west, &link))
            .expect("readable")
    };
    assert!(!look().has_work());
    // Partition counts as a worker sees them: of `orders` on both sides, then of `late` at the source.
    let due = |topics: &[(&'static str, i32)]| {
        is_due(
            &link,
            &control_of(&clusters),
            topics.iter().copied(),
            |_| Some(1),
        )
    };
    assert!(!due(&[("orders", 1)]));
    assert!(due(&[("orders", 2)]));
    assert!(due(&[("orders", 1), ("late", 3)]));
    clusters.create(&clusters.east, "late", 3, &[("retention.ms", "5000")]);
    let follow = look();
    assert!(follow.has_work());
    let outcome = clusters.block_on(async {
        let writer = ControlWriter::acquire(&west, lock("worker"), Duration::ZERO)
            .await
            .expect("nobody else is there");
        let (outcome, writer) = follow
            .carry_out(writer, &Quiet, &CancellationToken::new())
            .await;
        writer.release().await.expect("released");
        outcome
    });
    assert!(outcome.is_complete(), "{outcome:?}");
    assert!(!look().has_work());
    let quiet = clusters.run(&["plan", "--detailed-exitcode", "mirror.toml"]);
    assert_eq!(quiet.code, Some(0), "{quiet}");
}

#[test]
fn an_interrupt_while_waiting_for_the_lock_ends_it_with_nothing_done() {
    let clusters = TwoClusters::start(1, TUTORIAL);
    let west = clusters.client(&clusters.west);
    let writer = clusters
        .block_on(ControlWriter::acquire(
            &west,
            lock("ann@build-7 (4711)"),
            Duration::ZERO,
        ))
        .expect("nobody else is there");
    let child = clusters
        .scenario
        .command(&["apply", "--yes", "--lock-timeout", "60s", "mirror.toml"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    std::thread::sleep(Duration::from_secs(1));
    let signal = format!("kill -INT {}", child.id());
    let sent = Command::new("sh").arg("-c").arg(signal).status();
    assert!(sent.expect("a shell").success());
    let output = child.wait_with_output().expect("the program ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("nothing was done"), "{stderr}");
    assert_eq!(clusters.east.topics(), [""; 0]);
    clusters.block_on(writer.release()).expect("released");
}

/// An apply is killed at some moment; nobody knows what it has done.
#[test]
fn check_9_what_a_killed_apply_has_not_done_is_the_next_plan() {
    const TOPICS: usize = 250;
    let clusters = TwoClusters::start(1, ALL);
    let topics = (0..TOPICS).map(|number| kmirror::kafka::admin::NewTopic {
        name: format!("topic-{number:03}"),
        partitions: Some(1),
        replication_factor: Some(1),
        configs: Vec::new(),
    });
    let east = clusters.client(&clusters.east).admin();
    for (topic, result) in clusters.block_on(east.create_topics(topics.collect(), false)) {
        result.unwrap_or_else(|error| panic!("{topic}: {error}"));
    }
    // The internal topics are there, so that what is counted are mirrors.
    clusters.write(&ALL.replace("\"*\"", "\"none-*\""));
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    clusters.write(ALL);
    let mirrors = || {
        let topics = clusters.west.topics();
        topics.iter().filter(|it| it.starts_with("topic-")).count()
    };
    clusters
        .west
        .faults()
        .delay(ApiKey::CreateTopics, Duration::from_millis(200));
    let mut apply = clusters
        .scenario
        .command(&["apply", "--yes", "mirror.toml"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    while mirrors() == 0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    // SIGKILL: no handler runs.
    apply.kill().expect("it runs");
    assert!(!apply.wait().expect("it ends").success());
    clusters.west.faults().clear();
    // A second request that had left may still be carried out.
    std::thread::sleep(Duration::from_secs(1));
    let there = mirrors();
    assert!((1..TOPICS).contains(&there), "{there}");
    let ran = clusters.run(&["plan", "--format", "json", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let plan: serde_json::Value = serde_json::from_str(&ran.stdout).expect("a JSON document");
    let entries = plan["entries"].as_array().expect("entries");
    let (mut to_create, mut to_adopt) = (0, 0);
    for entry in entries {
        if entry["address"]
            .as_str()
            .is_some_and(|it| it.starts_with("mirror."))
        {
            let reasons = entry["reasons"].as_array().expect("reasons");
            let adopts = reasons
                .iter()
                .any(|it| it["reason"] == "adopts_empty_topic");
            *(if adopts {
                &mut to_adopt
            } else {
                &mut to_create
            }) += 1;
        }
    }
    assert_eq!((to_adopt, to_create), (there, TOPICS - there));
    // Whoever has died holds its lock for a while.
    let ran = clusters.run(&["apply", "--yes", "--lock-timeout", "90s", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(
        (mirrors(), control_of(&clusters).mirrors.len()),
        (TOPICS, TOPICS)
    );
    let ran = clusters.run(&["plan", "--detailed-exitcode", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
}
