//! The wire client against real brokers, and through their losses.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kmirror::kafka::admin::{NewTopic, OffsetSpec};
use kmirror::kafka::{Isolation, Topics};

use crate::conformance::wire::{
    administers_topics, connect, handles_many_topics_at_once, keeps_group_offsets_and_producer_ids,
    moves_batches, names_what_cannot_be_reached, new_topic, one,
};
use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};

pub fn tests() -> Vec<Test> {
    let test = |name, tier, brokers, seconds, body| Test {
        name,
        tier,
        brokers,
        seconds,
        body,
    };
    vec![
        test("wire::every_call", Tier::Readme, 1, 30, |lab| {
            every_call(&Spec::new("kraft", Version::V4_3).start(lab)?)
        }),
        test("wire::every_call_on_3_9", Tier::Long, 1, 30, |lab| {
            every_call(&Spec::new("kraft", Version::V3_9).start(lab)?)
        }),
        test(
            "wire::every_call_with_zookeeper",
            Tier::Long,
            2,
            40,
            |lab| every_call(&Spec::new("zk", Version::V3_9).zookeeper().start(lab)?),
        ),
        test(
            "wire::brokers_come_and_go",
            Tier::Long,
            3,
            60,
            brokers_come_and_go,
        ),
        test(
            "wire::a_cluster_goes_and_returns",
            Tier::Long,
            1,
            40,
            a_cluster_goes_and_returns,
        ),
    ]
}

fn every_call(cluster: &Cluster) -> Result<()> {
    let bootstrap = cluster.bootstrap();
    block_on(async {
        administers_topics(&bootstrap).await?;
        handles_many_topics_at_once(&bootstrap).await?;
        moves_batches(&bootstrap).await?;
        keeps_group_offsets_and_producer_ids(&bootstrap).await?;
        names_what_cannot_be_reached(&bootstrap).await
    })
}

/// A runtime as the binary has it.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Runtime::new()?.block_on(future)
}

/// One client through the loss of each broker in turn, and of all of them.
fn brokers_come_and_go(lab: &Lab) -> Result<()> {
    let mut cluster = Spec::new("three", Version::V4_3).nodes(3).start(lab)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let client = runtime.block_on(connect(&cluster.bootstrap()))?;
    let admin = client.admin().with_deadline(Duration::from_secs(60));
    let name = "come-and-go".to_owned();
    let topic = NewTopic {
        replication_factor: Some(3),
        ..new_topic(&name, 6)
    };
    one(runtime.block_on(admin.create_topics(vec![topic], false)))?;
    let ends = || {
        let wanted = (0..6)
            .map(|p| (name.clone(), p, OffsetSpec::Latest))
            .collect();
        let outcomes = runtime.block_on(admin.list_offsets(wanted, Isolation::ReadCommitted));
        for (_, outcome) in outcomes {
            ensure!(outcome?.offset == 0);
        }
        anyhow::Ok(())
    };
    ends()?;
    for node in 0..3 {
        cluster.kill(node)?;
        ends()?;
        one(
            runtime.block_on(admin.create_partitions(vec![(name.clone(), 7 + node as i32)], false))
        )?;
        cluster.start(node)?;
        ends()?;
    }
    Ok(())
}

/// One client through the loss of the whole cluster.
fn a_cluster_goes_and_returns(lab: &Lab) -> Result<()> {
    let mut cluster = Spec::new("one", Version::V4_3).start(lab)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let client = runtime.block_on(connect(&cluster.bootstrap()))?;
    for _ in 0..2 {
        runtime.block_on(client.metadata(Topics::All))?;
        cluster.kill(0)?;
        let error = runtime.block_on(client.metadata(Topics::All)).err();
        let text = error.context("nobody is there")?.to_string();
        ensure!(
            text.contains("closed the connection")
                || text.contains("no broker of cluster test can be reached"),
            "{text}"
        );
        let error = runtime.block_on(client.metadata(Topics::All)).err();
        let text = error.context("nobody is there")?.to_string();
        ensure!(
            text.contains("no broker of cluster test can be reached"),
            "{text}"
        );
        cluster.start(0)?;
        runtime.block_on(client.admin().metadata(Topics::All))?;
    }
    Ok(())
}
