//! The Replicator tutorial: `test-topic` on an origin becomes `test-topic.replica` on a destination.
//!
//! Both clusters are empty at the start and one `apply` makes everything; ten thousand numbers go in through Kafka's
//! console producer and come out of its console consumer. Once for each kind of cluster at either end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::support::client::{self, Offsets, Place};
use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    let test = |name, tier, brokers, body| Test {
        name,
        tier,
        brokers,
        seconds: 30,
        body,
    };
    vec![
        test(
            "tutorial::unchanged_file_on_its_own_ports",
            Tier::Readme,
            2,
            unchanged_file,
        ),
        test("tutorial::kraft_3_9", Tier::Readme, 2, kraft_3_9),
        test(
            "tutorial::zookeeper_origin",
            Tier::Readme,
            3,
            zookeeper_origin,
        ),
        test(
            "tutorial::zookeeper_destination",
            Tier::Readme,
            3,
            zookeeper_destination,
        ),
        test("tutorial::zookeeper_both", Tier::Readme, 4, zookeeper_both),
        test(
            "tutorial::kraft_4_3_three_nodes",
            Tier::Long,
            6,
            three_nodes,
        ),
    ]
}

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/topologies/replicator-tutorial.toml"
);
const TOPIC: &str = "test-topic";
const REPLICA: &str = "test-topic.replica";

fn unchanged_file(lab: &Lab) -> Result<()> {
    let origin = Spec::new("origin", Version::V4_3).port(9082).start(lab)?;
    let destination = Spec::new("destination", Version::V4_3)
        .port(9092)
        .start(lab)?;
    tutorial(
        lab,
        &Kmirror::with_file(lab, FILE.into()),
        &origin,
        &destination,
    )
}

fn kraft_3_9(lab: &Lab) -> Result<()> {
    on(
        lab,
        Spec::new("origin", Version::V3_9),
        Spec::new("destination", Version::V3_9),
    )
}

fn zookeeper_origin(lab: &Lab) -> Result<()> {
    on(
        lab,
        Spec::new("origin", Version::V3_9).zookeeper(),
        Spec::new("destination", Version::V4_3),
    )
}

fn zookeeper_destination(lab: &Lab) -> Result<()> {
    on(
        lab,
        Spec::new("origin", Version::V4_3),
        Spec::new("destination", Version::V3_9).zookeeper(),
    )
}

fn zookeeper_both(lab: &Lab) -> Result<()> {
    on(
        lab,
        Spec::new("origin", Version::V3_9).zookeeper(),
        Spec::new("destination", Version::V3_9).zookeeper(),
    )
}

fn three_nodes(lab: &Lab) -> Result<()> {
    on(
        lab,
        Spec::new("origin", Version::V4_3).nodes(3),
        Spec::new("destination", Version::V4_3).nodes(3),
    )
}

/// The tutorial's file with other addresses.
fn on(lab: &Lab, origin: Spec, destination: Spec) -> Result<()> {
    let (origin, destination) = (origin.start(lab)?, destination.start(lab)?);
    let text = std::fs::read_to_string(FILE)?
        .replace("127.0.0.1:9082", &origin.bootstrap())
        .replace("127.0.0.1:9092", &destination.bootstrap());
    tutorial(lab, &Kmirror::new(lab, &text)?, &origin, &destination)
}

fn tutorial(lab: &Lab, kmirror: &Kmirror, origin: &Cluster, destination: &Cluster) -> Result<()> {
    let before = kmirror.command("plan", &["--detailed-exitcode"])?;
    ensure!(
        before.status.code() == Some(2),
        "plan on empty clusters: {}\n{}",
        before.status,
        before.text()
    );
    lab.note(format!("plan:\n{}", before.stdout));
    kmirror.ok("apply", &["--yes"])?;
    lab.note("applied");
    let after = kmirror.command("plan", &["--detailed-exitcode"])?;
    ensure!(
        after.status.success(),
        "plan after apply: {}\n{}",
        after.status,
        after.text()
    );

    let mut worker = kmirror.start(&[])?;
    let numbers: String = (1..=10_000).map(|n| format!("{n}\n")).collect();
    origin.tools().console_producer(TOPIC, &numbers)?;
    let consumed = destination.tools().console_consumer(REPLICA, 10_000)?;
    ensure!(
        consumed == numbers,
        "the console consumer read {} lines and not just 1 to 10000:\n{}",
        consumed.lines().count(),
        worker.log_text()
    );
    lab.note("ten thousand numbers arrived, in order");
    worker.signal("TERM")?;
    let status = worker.wait(Duration::from_secs(20))?;
    ensure!(
        status.success(),
        "kmirror run, asked to stop: {status}\n{}",
        worker.log_text()
    );

    let records = client::assert_same(
        &Place::new(origin.bootstrap(), TOPIC),
        &Place::new(destination.bootstrap(), REPLICA),
        Offsets::Equal,
    )?;
    ensure!(records == 10_000, "{records} records instead of 10000");
    same_configuration(origin, destination)
}

/// The replica is described as the original is, with the factor that the file asks for.
fn same_configuration(origin: &Cluster, destination: &Cluster) -> Result<()> {
    let described = destination
        .tools()
        .topics(&["--describe", "--topic", REPLICA])?;
    for wanted in ["PartitionCount: 1", "ReplicationFactor: 1"] {
        ensure!(described.contains(wanted), "no {wanted} in\n{described}");
    }
    for key in [
        "message.timestamp.type",
        "segment.bytes",
        "cleanup.policy",
        "retention.ms",
        "max.message.bytes",
    ] {
        let original = config_of(origin, TOPIC, key)?;
        let replica = config_of(destination, REPLICA, key)?;
        ensure!(
            original == replica,
            "{key} is {original} at the origin and {replica} at the replica"
        );
    }
    ensure!(config_of(destination, REPLICA, "message.timestamp.type")? == "CreateTime");
    Ok(())
}

fn config_of(cluster: &Cluster, topic: &str, key: &str) -> Result<String> {
    let args = [
        "--describe",
        "--all",
        "--entity-type",
        "topics",
        "--entity-name",
        topic,
    ];
    let text = cluster.tools().configs(&args)?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))
        .with_context(|| format!("no {key} in\n{text}"))?;
    Ok(line
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned())
}
