//! Plan and apply where only real brokers can judge: their config sources, their refusals, their authorizer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kmirror::control::ControlWriter;
use kmirror::control::records::{LockRecord, RECORD_VERSION};
use kmirror::kafka::{Client, ClientConfig};

use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::process::Output;
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    vec![
        Test {
            name: "plan::drift_growth_and_refusals",
            tier: Tier::Readme,
            brokers: 2,
            seconds: 40,
            body: drift_growth_and_refusals,
        },
        Test {
            name: "plan::old_source_without_ids",
            tier: Tier::Long,
            brokers: 3,
            seconds: 40,
            body: zookeeper_source,
        },
        Test {
            name: "plan::without_rights",
            tier: Tier::Long,
            brokers: 2,
            seconds: 40,
            body: without_rights,
        },
    ]
}

fn file(source: &Cluster, destination: &Cluster, link: &str) -> String {
    format!(
        "kmirror = 1\n\
         [clusters.east]\nbootstrap_servers = \"{}\"\n\
         [clusters.west]\nbootstrap_servers = \"{}\"\n\
         [links.copy]\nsource = \"east\"\ndestination = \"west\"\n{link}",
        source.bootstrap(),
        destination.bootstrap()
    )
}

fn expect(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    ensure!(
        output.status.code() == Some(code),
        "exit code {:?} instead of {code}\n{}",
        output.status.code(),
        output.text()
    );
    let text = output.text();
    for words in words {
        ensure!(text.contains(words), "{words:?} is missing in\n{text}");
    }
    Ok(())
}

fn quiet(kmirror: &Kmirror) -> Result<()> {
    expect(
        &kmirror.command("plan", &["--detailed-exitcode"])?,
        0,
        &["No changes."],
    )?;
    expect(&kmirror.command("drift", &[])?, 0, &["No drift."])
}

fn drift_growth_and_refusals(lab: &Lab) -> Result<()> {
    let east = Spec::new("east", Version::V4_3).start(lab)?;
    let west = Spec::new("west", Version::V4_3)
        .config("message.max.bytes", "500000")
        .start(lab)?;
    let (from, to) = (east.tools(), west.tools());
    from.create_topic(
        "orders",
        2,
        &["cleanup.policy=compact", "retention.ms=604800000"],
    )?;
    from.create_topic(
        "stamped",
        1,
        &[
            "message.timestamp.type=LogAppendTime",
            "min.insync.replicas=2",
            "leader.replication.throttled.replicas=*",
        ],
    )?;
    let all = Kmirror::new(lab, &file(&east, &west, "topics = [\"*\"]\n"))?;
    let first = all.command("plan", &["--detailed-exitcode"])?;
    lab.note(&first.stdout);
    expect(
        &first,
        2,
        &["Plan: 4 to create.", "not synced: min.insync.replicas = 2"],
    )?;
    all.ok("apply", &["--yes"])?;
    quiet(&all)?;
    // The destination's brokers allow less than the source's topics, so the mirrors say it themselves.
    let described = to.configs(&[
        "--describe",
        "--entity-type",
        "topics",
        "--entity-name",
        "orders",
    ])?;
    for config in [
        "cleanup.policy=compact",
        "compression.type=producer",
        "max.message.bytes=1048588",
        "message.timestamp.type=CreateTime",
        "retention.ms=604800000",
    ] {
        ensure!(
            described.contains(config),
            "{config} is missing in {described}"
        );
    }

    drift(&all, &west)?;
    from.topics(&["--alter", "--topic", "orders", "--partitions", "5"])?;
    expect(
        &all.command("apply", &["--yes"])?,
        0,
        &["2 -> 5", "Applied: 1 done."],
    )?;
    quiet(&all)?;
    lock_held(&all, &west)?;
    blocked(lab, &all, &east, &west)?;
    refused(lab, &east, &west)
}

fn drift(kmirror: &Kmirror, west: &Cluster) -> Result<()> {
    let to = west.tools();
    // A default for the whole cluster is nobody's drift.
    to.configs(&[
        "--alter",
        "--entity-type",
        "brokers",
        "--entity-default",
        "--add-config",
        "log.retention.ms=777777",
    ])?;
    quiet(kmirror)?;
    to.configs(&[
        "--alter",
        "--entity-type",
        "topics",
        "--entity-name",
        "orders",
        "--add-config",
        "compression.type=zstd,cleanup.policy=delete,segment.ms=1000000",
    ])?;
    expect(
        &kmirror.command("plan", &["--detailed-exitcode"])?,
        2,
        &[
            "zstd -> producer",
            "delete -> compact",
            "1000000 (16min 40s) -> reset to what is inherited",
            "Plan: 1 to update",
        ],
    )?;
    expect(
        &kmirror.command("drift", &[])?,
        2,
        &[
            "mirror.copy/orders: changed live",
            "config.compression.type: live zstd, set on the topic; declared producer, every mirror needs it",
            "config.cleanup.policy: live delete, set on the topic; declared compact, from the source",
            "config.segment.ms: live 1000000 (16min 40s), set on the topic; nothing is declared",
            "Drift: 1 changed live",
        ],
    )?;
    kmirror.ok("apply", &["--yes"])?;
    quiet(kmirror)
}

fn lock_held(kmirror: &Kmirror, west: &Cluster) -> Result<()> {
    // Something to do, so that a lock is wanted at all.
    west.tools().configs(&[
        "--alter",
        "--entity-type",
        "topics",
        "--entity-name",
        "orders",
        "--add-config",
        "retention.ms=1",
    ])?;
    let runtime = tokio::runtime::Runtime::new()?;
    let writer = runtime.block_on(async {
        let config = ClientConfig::new("west", vec![west.bootstrap()]);
        let client = Client::connect(config).await?;
        let lock = LockRecord {
            version: RECORD_VERSION,
            holder: "ann@build-7 (4711)".to_owned(),
            since_ms: jiff::Timestamp::now().as_millisecond() - 125_000,
            command: "apply".to_owned(),
        };
        ControlWriter::acquire(&client, lock, Duration::from_secs(10))
            .await
            .context("nobody else holds the lock")
    })?;
    expect(
        &kmirror.command("apply", &["--yes"])?,
        1,
        &["nothing was done", "ann@build-7 (4711)", "2min"],
    )?;
    runtime.block_on(writer.release())?;
    kmirror.ok("apply", &["--yes"])?;
    quiet(kmirror)
}

fn blocked(lab: &Lab, all: &Kmirror, east: &Cluster, west: &Cluster) -> Result<()> {
    let (from, to) = (east.tools(), west.tools());
    from.create_topic("filled", 1, &[])?;
    from.create_topic("wide", 1, &[])?;
    to.create_topic("filled", 1, &[])?;
    to.console_producer("filled", "one\ntwo\n")?;
    to.create_topic("wide", 3, &[])?;
    let before = to.topics(&["--list"])?;
    expect(
        &all.command("apply", &["--yes"])?,
        3,
        &[
            "west/filled holds 2 records that this link did not write.",
            "west/wide has 3 partitions, its source only 1",
            "nothing was done: 2 blocked",
        ],
    )?;
    ensure!(to.topics(&["--list"])? == before);
    let wanted = Kmirror::new(
        lab,
        &file(
            east,
            west,
            "topics = [\"orders\", \"nowhere\"]\nreplication_factor = 3\n",
        ),
    )?;
    expect(
        &wanted.command("plan", &[])?,
        3,
        &[
            "`east` has no topic `nowhere`.",
            "west/orders has replication factor 1, the file asks for 3",
        ],
    )?;
    // A recreated mirror is not the mirror that was written.
    to.topics(&["--delete", "--topic", "orders"])?;
    to.create_topic("orders", 5, &[])?;
    let all = Kmirror::new(lab, &file(east, west, "topics = [\"orders\"]\n"))?;
    expect(
        &all.command("plan", &[])?,
        3,
        &["west/orders was recreated"],
    )?;
    expect(
        &all.command("drift", &["--format", "junit"])?,
        3,
        &["<error type=\"blocked\"", "west/orders was recreated"],
    )?;
    to.topics(&["--delete", "--topic", "orders"])?;
    expect(
        &all.command("apply", &["--yes"])?,
        0,
        &["is gone; a new one is filled from the start"],
    )?;
    quiet(&all)
}

fn refused(lab: &Lab, east: &Cluster, west: &Cluster) -> Result<()> {
    let kmirror = Kmirror::new(
        lab,
        &file(
            east,
            west,
            "topics = [\"orders\"]\n[links.copy.mirrors.orders]\nconfig = { \"segment.bytes\" = \"12\" }\n",
        ),
    )?;
    expect(
        &kmirror.command("plan", &[])?,
        3,
        &["refuses it (INVALID_CONFIG)", "segment.bytes"],
    )
}

fn zookeeper_source(lab: &Lab) -> Result<()> {
    let east = Spec::new("east", Version::V3_9).zookeeper().start(lab)?;
    let west = Spec::new("west", Version::V4_3).start(lab)?;
    east.tools()
        .create_topic("orders", 2, &["retention.ms=604800000"])?;
    let kmirror = Kmirror::new(lab, &file(&east, &west, "topics = [\"ord*\"]\n"))?;
    kmirror.ok("apply", &["--yes"])?;
    quiet(&kmirror)
}

fn without_rights(lab: &Lab) -> Result<()> {
    let east = Spec::new("east", Version::V4_3).start(lab)?;
    let west = Spec::new("west", Version::V4_3)
        .config(
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        )
        .config("allow.everyone.if.no.acl.found", "true")
        .start(lab)?;
    east.tools().create_topic("orders", 1, &[])?;
    // The brokers are the same nameless principal, so all but Create stays allowed.
    for acl in [
        ["--allow-principal", "All", "--cluster", "kafka-cluster"],
        ["--deny-principal", "Create", "--topic", "orders"],
        ["--deny-principal", "Create", "--cluster", "kafka-cluster"],
    ] {
        let [verdict, operation, kind, name] = acl;
        let mut arguments = vec![
            "--add",
            verdict,
            "User:ANONYMOUS",
            "--operation",
            operation,
            kind,
        ];
        if kind == "--topic" {
            arguments.push(name);
        }
        west.tools()
            .run("org.apache.kafka.tools.AclCommand", &arguments, None)?;
    }
    let kmirror = Kmirror::new(lab, &file(&east, &west, "topics = [\"orders\"]\n"))?;
    expect(
        &kmirror.command("plan", &[])?,
        0,
        &["not rehearsed: needs Create on topic orders"],
    )
}
