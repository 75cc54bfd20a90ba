//! Control records on real brokers, and through their losses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kmirror::control::records::LinkRecord;
use kmirror::control::{ControlError, ControlWriter, LockError, Write};

use crate::conformance::control::{
    a_fenced_holder_learns_by_whom, a_live_holder_is_waited_for, a_watch_follows_changes, fresh,
    keeps_progress, keeps_what_is_desired, link, lock, mirror,
    newcomers_race_without_losing_anything, state,
};
use crate::conformance::wire::connect;
use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::wire::block_on;

pub fn tests() -> Vec<Test> {
    let test = |name, tier, brokers, seconds, body| Test {
        name,
        tier,
        brokers,
        seconds,
        body,
    };
    vec![
        test("control::records", Tier::Readme, 1, 60, |lab| {
            records(&Spec::new("kraft", Version::V4_3).start(lab)?)
        }),
        test("control::records_on_3_9", Tier::Long, 1, 60, |lab| {
            records(&Spec::new("kraft", Version::V3_9).start(lab)?)
        }),
        test(
            "control::records_with_zookeeper",
            Tier::Long,
            2,
            60,
            |lab| records(&Spec::new("zk", Version::V3_9).zookeeper().start(lab)?),
        ),
        test(
            "control::records_on_three_nodes",
            Tier::Long,
            3,
            90,
            |lab| records(&Spec::new("three", Version::V4_3).nodes(3).start(lab)?),
        ),
        test(
            "control::brokers_die_under_commits",
            Tier::Long,
            3,
            120,
            brokers_die_under_commits,
        ),
        test("control::a_dead_holder", Tier::Long, 1, 60, |lab| {
            let cluster = Spec::new("kraft", Version::V4_3).start(lab)?;
            let bootstrap = cluster.bootstrap();
            block_on(a_dead_holder_is_taken_over_and_refused(&bootstrap))
        }),
    ]
}

/// Brokers are killed in turn while a holder commits: what commit() acknowledged stands, in order.
fn brokers_die_under_commits(lab: &Lab) -> Result<()> {
    let mut cluster = Spec::new("three", Version::V4_3).nodes(3).start(lab)?;
    let bootstrap = cluster.bootstrap();
    let stop = AtomicBool::new(false);
    let (acknowledged, link) = std::thread::scope(|scope| {
        let committing = scope.spawn(|| {
            block_on(async {
                let client = connect(&bootstrap).await?;
                let mut writer =
                    ControlWriter::acquire(&client, lock("holder"), Duration::ZERO).await?;
                let link = link("l");
                let mut acknowledged = 0;
                while !stop.load(Ordering::Relaxed) {
                    let record = LinkRecord {
                        generation: acknowledged + 1,
                        ..link.clone()
                    };
                    let mirror = mirror(link.id, 1);
                    match writer
                        .commit(vec![Write::Link(record), Write::Mirror(mirror)])
                        .await
                    {
                        Ok(()) => acknowledged += 1,
                        Err(ControlError::Kafka(error)) => eprintln!("not this time: {error}"),
                        Err(error) => return Err(error.into()),
                    }
                }
                writer.release().await?;
                anyhow::Ok((acknowledged, link.id))
            })
        });
        let killing = (0..6).try_for_each(|round| {
            std::thread::sleep(Duration::from_secs(1));
            cluster.kill(round % 3)?;
            std::thread::sleep(Duration::from_secs(3));
            cluster.start(round % 3)
        });
        stop.store(true, Ordering::Relaxed);
        let committed = committing.join().expect("committing does not panic");
        killing?;
        committed
    })?;
    lab.note(format!("{acknowledged} commits"));
    let found = block_on(async { state(&connect(&bootstrap).await?).await })?;
    let generation = found.links[&link].generation;
    ensure!(
        generation == acknowledged && found.lock.is_none(),
        "{acknowledged} acknowledged, {generation} found"
    );
    // Each commit carried one more mirror.
    ensure!(
        found.mirrors.len() as u64 >= acknowledged,
        "{} mirrors after {acknowledged} commits",
        found.mirrors.len()
    );
    Ok(())
}

fn records(cluster: &Cluster) -> Result<()> {
    let bootstrap = cluster.bootstrap();
    block_on(async {
        keeps_what_is_desired(&bootstrap).await?;
        a_live_holder_is_waited_for(&bootstrap).await?;
        a_fenced_holder_learns_by_whom(&bootstrap).await?;
        newcomers_race_without_losing_anything(&bootstrap).await?;
        a_watch_follows_changes(&bootstrap).await?;
        keeps_progress(&bootstrap).await
    })
}

/// A holder that is renewed stays the holder beyond the bound; one that died without a word is taken
/// over after it, and is told who did it should it wake up.
async fn a_dead_holder_is_taken_over_and_refused(bootstrap: &str) -> Result<()> {
    let client = fresh(bootstrap).await?;
    let renewed = ControlWriter::acquire(&client, lock("alive"), Duration::ZERO).await?;
    let other = connect(bootstrap).await?;
    let refused = ControlWriter::acquire(&other, lock("other"), Duration::from_secs(17)).await;
    ensure!(
        matches!(refused, Err(LockError::Held { .. })),
        "renewed, so alive"
    );
    // Dropped without release: it looks like a holder that was killed.
    drop(renewed);
    let started = Instant::now();
    let mut writer = ControlWriter::acquire(&other, lock("other"), Duration::from_secs(40)).await?;
    ensure!(
        (12..25).contains(&started.elapsed().as_secs()),
        "{:?}",
        started.elapsed()
    );
    writer.commit(vec![Write::Link(link("l"))]).await?;
    writer.release().await?;
    Ok(())
}
