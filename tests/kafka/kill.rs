//! SIGKILL at random moments, and the copy is exact nevertheless.
//!
//! The source is written to while workers are killed: without that, the copy would be complete after the first of them.
//! Most kills wait until records are seen to arrive at the destination and then strike within a tenth of a second;
//! some strike earlier, while a worker is still starting, taking over or settling.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::copy::{reference_topology, same_records};
use crate::support::client::{self, Offsets, Place};
use crate::support::cluster::{Cluster, Spec};
use crate::support::dataset::{self, Ages, Mixed, Plan};
use crate::support::jars::{Heap, Version};
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    let test = |name, tier, seconds, body| Test {
        name,
        tier,
        brokers: 2,
        seconds,
        body,
    };
    vec![
        test("kill::ten_times", Tier::Readme, 120, ten_times),
        test(
            "kill::ten_times_old_records_forgotten_producers",
            Tier::Readme,
            120,
            ten_times_forgotten,
        ),
        test("kill::two_hundred_times", Tier::Long, 900, many_times),
        test(
            "kill::fifty_times_old_records_forgotten_producers",
            Tier::Long,
            600,
            fifty_times_forgotten,
        ),
        test(
            "kill::fifty_times_kafka_3_9",
            Tier::Long,
            600,
            fifty_times_3_9,
        ),
    ]
}

/// Whether the destination remembers producers for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    Normal,
    /// Records are three days old and producer state expires after a second.
    Forgetful,
}

fn ten_times(lab: &Lab) -> Result<()> {
    kill(lab, Version::V4_3, Memory::Normal, 10, 200_000)
}

fn ten_times_forgotten(lab: &Lab) -> Result<()> {
    kill(lab, Version::V4_3, Memory::Forgetful, 10, 200_000)
}

/// `KMIRROR_KILLS` asks for another number.
fn many_times(lab: &Lab) -> Result<()> {
    let kills = std::env::var("KMIRROR_KILLS")
        .ok()
        .map_or(Ok(200), |text| text.parse())?;
    kill(lab, Version::V4_3, Memory::Normal, kills, 5_000 * kills)
}

fn fifty_times_forgotten(lab: &Lab) -> Result<()> {
    kill(lab, Version::V4_3, Memory::Forgetful, 50, 1_000_000)
}

fn fifty_times_3_9(lab: &Lab) -> Result<()> {
    kill(lab, Version::V3_9, Memory::Normal, 50, 1_000_000)
}

fn kill(lab: &Lab, version: Version, memory: Memory, kills: usize, records: usize) -> Result<()> {
    // The seed is new each time, and noted: what it decides about a run can be had again.
    let seed = std::env::var("KMIRROR_SEED")
        .ok()
        .map_or_else(|| Ok(rand::rng().random()), |s| s.parse())?;
    lab.note(format!("seed {seed} (KMIRROR_SEED)"));
    let mut source = Spec::new("source", version).heap(Heap::Medium).start(lab)?;
    let mut destination = Spec::new("destination", version).heap(Heap::Medium);
    if memory == Memory::Forgetful {
        destination = destination
            .config("producer.id.expiration.ms", "1000")
            .config("producer.id.expiration.check.interval.ms", "200");
    }
    let destination = destination.start(lab)?;
    let ages = if memory == Memory::Forgetful {
        Ages::Old
    } else {
        Ages::OldAndNew
    };
    let plan = Plan {
        records,
        seed,
        ages,
    };
    dataset::generate_special(
        lab,
        &mut source,
        Plan {
            records: records / 4,
            ..plan
        },
    )?;
    let mut writer = Mixed::create(&source, plan)?;
    writer.write_up_to(records / 2)?;
    lab.note("half of the data set is written");

    let kmirror = Kmirror::new(lab, &reference_topology(&source, &destination))?;
    kmirror.ok("apply", &["--yes"])?;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut while_copying = 0;
    for round in 0..kills {
        let part = records / 2 + records / 2 * (round + 1) / kills;
        let struck = std::thread::scope(|scope| {
            let writing = scope.spawn(|| writer.write_up_to(part));
            let struck = one_kill(&kmirror, &destination, &mut rng);
            writing.join().expect("the writer does not panic")?;
            struck
        })
        .with_context(|| format!("round {round}"))?;
        lab.note(format!("kill {}: {struck:?}", round + 1));
        while_copying += usize::from(struck == Struck::WhileCopying);
    }
    writer.finish()?;
    lab.note(format!(
        "{kills} kills, {while_copying} of them while records arrived"
    ));
    ensure!(
        while_copying * 3 > kills,
        "only {while_copying} of {kills} kills struck a worker that was copying"
    );

    kmirror.ok("run", &["--until-caught-up", "--session-timeout", "1s"])?;
    for topic in [
        dataset::MIXED,
        dataset::COMPACTED,
        dataset::APPEND_TIME,
        dataset::HIGH_START,
    ] {
        let offsets = match topic {
            dataset::HIGH_START => Offsets::Free,
            _ => Offsets::Equal,
        };
        same_records(lab, &source, &destination, topic, offsets)?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Struck {
    BeforeCopying,
    WhileCopying,
}

/// Starts a worker and kills it at a random moment.
fn one_kill(kmirror: &Kmirror, destination: &Cluster, rng: &mut StdRng) -> Result<Struck> {
    let copy = Place::new(destination.bootstrap(), format!("copy.{}", dataset::MIXED));
    let before = client::watermarks(&copy)?;
    let mut worker = kmirror.start(&["--session-timeout", "1s"])?;
    let start = Instant::now();
    if rng.random_bool(0.25) {
        std::thread::sleep(Duration::from_millis(rng.random_range(0..1_500)));
    } else {
        while client::watermarks(&copy)? == before && start.elapsed() < Duration::from_secs(30) {
            if let Some(status) = worker.exited()? {
                anyhow::bail!(
                    "kmirror run ended by itself: {status}\n{}",
                    worker.log_text()
                );
            }
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(0..100)));
    }
    worker.kill()?;
    let moved = client::watermarks(&copy)? != before;
    Ok(if moved {
        Struck::WhileCopying
    } else {
        Struck::BeforeCopying
    })
}
