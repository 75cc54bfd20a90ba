//! `plan` and `apply` against older kinds of clusters at both ends; `plan.rs` looks closer on the newest.

use anyhow::{Result, ensure};

use crate::copy::topology;
use crate::support::cluster::Spec;
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    let test = |name, tier, brokers, body| Test {
        name,
        tier,
        brokers,
        seconds: 40,
        body,
    };
    vec![
        test("apply::life_of_a_mirror_3_9", Tier::Long, 2, life_3_9),
        test(
            "apply::life_of_a_mirror_zookeeper",
            Tier::Readme,
            4,
            life_zookeeper,
        ),
        test("apply::a_quota_for_changes_4_3", Tier::Readme, 2, quota),
    ]
}

fn life_3_9(lab: &Lab) -> Result<()> {
    life(
        lab,
        Spec::new("source", Version::V3_9),
        Spec::new("destination", Version::V3_9),
    )
}

fn life_zookeeper(lab: &Lab) -> Result<()> {
    let spec = |name| Spec::new(name, Version::V3_9).zookeeper();
    life(lab, spec("source"), spec("destination"))
}

/// With a quota for changes (KIP-599) an apply takes as long as the brokers ask for, and loses nothing.
fn quota(lab: &Lab) -> Result<()> {
    let source = Spec::new("source", Version::V4_3).start(lab)?;
    let destination = Spec::new("destination", Version::V4_3).start(lab)?;
    source.tools().create_topic("orders-first", 1, &[])?;
    let kmirror = Kmirror::new(lab, &topology(&source, &destination, "orders-*"))?;
    // kmirror's own topics, and those that brokers make for transactions, are there before the quota is.
    expect(lab, &kmirror, "apply", &["--yes"], 0)?;
    for number in 0..6 {
        let topic = format!("orders-{number}");
        source.tools().create_topic(&topic, 20, &[])?;
    }
    let change = ["--alter", "--entity-type", "users", "--entity-default"];
    let rate = ["--add-config", "controller_mutation_rate=10"];
    destination
        .tools()
        .configs(&[&change[..], &rate].concat())?;
    let applied = kmirror.command("apply", &["--yes", "--parallelism", "1"])?;
    ensure!(applied.status.success(), "{}", applied.text());
    ensure!(
        applied.text().contains("controller_mutation_rate"),
        "the quota was not felt:\n{}",
        applied.text()
    );
    expect(lab, &kmirror, "plan", &["--detailed-exitcode"], 0)?;
    Ok(())
}

/// Created with the source's configuration; nothing to do the second time; drift is shown and mended; growth is followed.
fn life(lab: &Lab, source: Spec, destination: Spec) -> Result<()> {
    let (source, destination) = (source.start(lab)?, destination.start(lab)?);
    let settings = [
        "segment.bytes=12345678",
        "retention.ms=123456789",
        "cleanup.policy=compact,delete",
    ];
    source.tools().create_topic("orders", 2, &settings)?;
    let kmirror = Kmirror::new(lab, &topology(&source, &destination, "orders"))?;

    expect(lab, &kmirror, "plan", &["--detailed-exitcode"], 2)?;
    expect(lab, &kmirror, "apply", &["--yes"], 0)?;
    let described = destination
        .tools()
        .topics(&["--describe", "--topic", "copy.orders"])?;
    for wanted in ["PartitionCount: 2", "ReplicationFactor: 1"]
        .iter()
        .chain(&settings)
    {
        ensure!(described.contains(wanted), "no {wanted} in\n{described}");
    }
    expect(lab, &kmirror, "plan", &["--detailed-exitcode"], 0)?;
    expect(lab, &kmirror, "apply", &[], 0)?;

    let alter = [
        "--alter",
        "--entity-type",
        "topics",
        "--entity-name",
        "copy.orders",
    ];
    let by_hand = ["--add-config", "retention.ms=5000,compression.type=zstd"];
    destination
        .tools()
        .configs(&[&alter[..], &by_hand].concat())?;
    source
        .tools()
        .topics(&["--alter", "--topic", "orders", "--partitions", "5"])?;
    let drift = expect(lab, &kmirror, "plan", &["--detailed-exitcode"], 2)?;
    for wanted in ["retention.ms", "compression.type", "2 -> 5"] {
        ensure!(drift.contains(wanted), "no {wanted} in\n{drift}");
    }
    expect(lab, &kmirror, "apply", &["--yes"], 0)?;
    expect(lab, &kmirror, "plan", &["--detailed-exitcode"], 0)?;
    let mended = destination
        .tools()
        .topics(&["--describe", "--topic", "copy.orders"])?;
    for wanted in [
        "PartitionCount: 5",
        "retention.ms=123456789",
        "compression.type=producer",
    ] {
        ensure!(mended.contains(wanted), "no {wanted} in\n{mended}");
    }
    Ok(())
}

/// Runs a command, insists on its exit code, returns all it said.
fn expect(lab: &Lab, kmirror: &Kmirror, command: &str, args: &[&str], code: i32) -> Result<String> {
    let output = kmirror.command(command, args)?;
    let text = output.text();
    lab.note(format!(
        "$ kmirror {command} FILE {}\n{text}",
        args.join(" ")
    ));
    ensure!(
        output.status.code() == Some(code),
        "kmirror {command} {args:?} ended with {}, not {code}:\n{text}",
        output.status
    );
    Ok(text)
}
