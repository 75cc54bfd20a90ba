//! The kit itself: brokers start, tools work, and the comparison sees what it should.

use anyhow::{Result, bail, ensure};

use crate::support::client::{self, Offsets, Place};
use crate::support::cluster::Spec;
use crate::support::dataset::{self, Ages, Plan};
use crate::support::jars::{Heap, Version};
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};

pub fn tests() -> Vec<Test> {
    vec![
        Test {
            name: "kit::three_nodes",
            tier: Tier::Long,
            brokers: 3,
            seconds: 20,
            body: three_nodes,
        },
        Test {
            name: "kit::zookeeper",
            tier: Tier::Long,
            brokers: 2,
            seconds: 20,
            body: zookeeper,
        },
        Test {
            name: "kit::tools",
            tier: Tier::Long,
            brokers: 1,
            seconds: 20,
            body: tools,
        },
        Test {
            name: "kit::reference_data_set",
            tier: Tier::Readme,
            brokers: 1,
            seconds: 40,
            body: reference_data_set,
        },
    ]
}

fn three_nodes(lab: &Lab) -> Result<()> {
    let mut cluster = Spec::new("three", Version::V4_3).nodes(3).start(lab)?;
    let tools = cluster.tools();
    tools.topics(&[
        "--create",
        "--topic",
        "t",
        "--partitions",
        "3",
        "--replication-factor",
        "3",
    ])?;
    cluster.kill(2)?;
    tools.console_producer("t", "one\ntwo\n")?;
    cluster.start(2)?;
    ensure!(tools.console_consumer("t", 2)?.lines().count() == 2);
    Ok(())
}

fn zookeeper(lab: &Lab) -> Result<()> {
    let mut cluster = Spec::new("zk", Version::V3_9).zookeeper().start(lab)?;
    let tools = cluster.tools();
    tools.create_topic("t", 1, &[])?;
    tools.console_producer("t", "one\n")?;
    cluster.kill(0)?;
    cluster.start(0)?;
    tools.kcat(&["-P", "-t", "t", "-p", "0"], Some(b"two\n"))?;
    ensure!(tools.console_consumer("t", 2)? == "one\ntwo\n");
    Ok(())
}

fn tools(lab: &Lab) -> Result<()> {
    let cluster = Spec::new("tools", Version::V3_9).start(lab)?;
    let tools = cluster.tools();
    tools.create_topic("t", 1, &["segment.bytes=1000000"])?;
    tools.console_producer("t", "one\ntwo\nthree\n")?;
    tools.delete_records("t", 0, 2, lab.dir())?;
    ensure!(tools.get_offsets("t", -2)? == "t:0:2\n");
    ensure!(tools.get_offsets("t", -1)? == "t:0:3\n");
    let read = tools.kcat(
        &[
            "-e",
            "-q",
            "-X",
            "auto.offset.reset=earliest",
            "-G",
            "readers",
            "t",
        ],
        None,
    )?;
    ensure!(
        read == "three
",
        "{read}"
    );
    ensure!(tools.groups(&["--list"])?.contains("readers"));
    let segment = cluster.data_dir(0).join("t-0/00000000000000000000.log");
    ensure!(tools.dump_log(&segment)?.contains("lastOffset: 2"));
    Ok(())
}

fn reference_data_set(lab: &Lab) -> Result<()> {
    let mut cluster = Spec::new("source", Version::V4_3)
        .heap(Heap::Medium)
        .start(lab)?;
    dataset::generate(
        lab,
        &mut cluster,
        Plan {
            records: 20_000,
            seed: 1,
            ages: Ages::OldAndNew,
        },
    )?;
    let at = |topic| Place::new(cluster.bootstrap(), topic);
    for topic in [dataset::MIXED, dataset::COMPACTED, dataset::HIGH_START] {
        let records = client::assert_same(&at(topic), &at(topic), Offsets::Equal)?;
        lab.note(format!(
            "{topic}: {records} visible records, {:?}",
            client::watermarks(&at(topic))?
        ));
        ensure!(records > 0);
    }
    // A reader that could not tell two topics apart would pass everything.
    let Err(difference) = client::assert_same(
        &at(dataset::HIGH_START),
        &at(dataset::COMPACTED),
        Offsets::Free,
    ) else {
        bail!("different topics were taken for equal");
    };
    ensure!(
        format!("{difference:#}").contains("record number 0 differs"),
        "{difference:#}"
    );
    // Broker-stamped times may not stay so in a copy.
    ensure!(
        client::assert_same(
            &at(dataset::APPEND_TIME),
            &at(dataset::APPEND_TIME),
            Offsets::Equal
        )
        .is_err()
    );
    Ok(())
}
