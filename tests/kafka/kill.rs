//! SIGKILL at random moments, and the copy is exact nevertheless.
//!
//! The source is written to while workers are killed: without that, the copy would be complete after the first of them.
//! Most kills wait until records are seen to arrive at the destination and then strike within a tenth of a second;
//! some strike earlier, while a worker is still starting, taking over or settling.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::copy::{reference_topology, same_records};
use crate::faults::{ACKS_1, three};
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
        Test {
            brokers: 4,
            ..test(
                "kill::fifty_times_acks_1",
                Tier::Long,
                600,
                fifty_times_acks_1,
            )
        },
        test(
            "kill::fifty_times_kafka_3_9",
            Tier::Long,
            600,
            fifty_times_3_9,
        ),
    ]
}

/// What is copied between.
#[derive(Debug, Clone, Copy)]
struct Given {
    version: Version,
    /// Records are three days old and producer state expires after a second.
    forgetful: bool,
    /// Leaders of three replicas acknowledge alone.
    acks_1: bool,
}

impl Default for Given {
    fn default() -> Self {
        Self {
            version: Version::V4_3,
            forgetful: false,
            acks_1: false,
        }
    }
}

impl Given {
    fn forgetful() -> Self {
        Self {
            forgetful: true,
            ..Self::default()
        }
    }
}

fn ten_times(lab: &Lab) -> Result<()> {
    kill(lab, &Given::default(), 10, 200_000)
}

fn ten_times_forgotten(lab: &Lab) -> Result<()> {
    kill(lab, &Given::forgetful(), 10, 200_000)
}

/// `KMIRROR_KILLS` asks for another number.
fn many_times(lab: &Lab) -> Result<()> {
    let kills = std::env::var("KMIRROR_KILLS")
        .ok()
        .map_or(Ok(200), |text| text.parse())?;
    kill(lab, &Given::default(), kills, 5_000 * kills)
}

fn fifty_times_forgotten(lab: &Lab) -> Result<()> {
    kill(lab, &Given::forgetful(), 50, 1_000_000)
}

fn fifty_times_3_9(lab: &Lab) -> Result<()> {
    let given = Given {
        version: Version::V3_9,
        ..Given::default()
    };
    kill(lab, &given, 50, 1_000_000)
}

fn fifty_times_acks_1(lab: &Lab) -> Result<()> {
    let given = Given {
        acks_1: true,
        ..Given::forgetful()
    };
    kill(lab, &given, 50, 500_000)
}

fn kill(lab: &Lab, given: &Given, kills: usize, records: usize) -> Result<()> {
    // The seed is new each time, and noted: what it decides about a run can be had again.
    let seed = std::env::var("KMIRROR_SEED")
        .ok()
        .map_or_else(|| Ok(rand::rng().random()), |s| s.parse())?;
    lab.note(format!("seed {seed} (KMIRROR_SEED)"));
    let mut source = Spec::new("source", given.version)
        .heap(Heap::Medium)
        .start(lab)?;
    let mut destination = if given.acks_1 {
        three("destination")
    } else {
        Spec::new("destination", given.version)
    }
    .heap(Heap::Medium);
    if given.forgetful {
        destination = destination
            .config("producer.id.expiration.ms", "1000")
            .config("producer.id.expiration.check.interval.ms", "200");
    }
    let destination = destination.start(lab)?;
    let ages = if given.forgetful {
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

    let mut text = reference_topology(&source, &destination);
    if given.acks_1 {
        let link = format!("replication_factor = 3\n{ACKS_1}");
        text = text.replace("replication_factor = 1\n", &link);
    }
    let kmirror = Kmirror::new(lab, &text)?;
    kmirror.ok("apply", &["--yes"])?;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut while_copying = 0;
    for round in 0..kills {
        let part = records / 2 + records / 2 * (round + 1) / kills;
        let written = AtomicBool::new(false);
        let struck = std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let outcome = writer.write_up_to(part);
                written.store(true, Ordering::Relaxed);
                outcome
            });
            let struck = one_kill(&kmirror, (&source, &destination), &mut rng, &written);
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
fn one_kill(
    kmirror: &Kmirror,
    (source, destination): (&Cluster, &Cluster),
    rng: &mut StdRng,
    written: &AtomicBool,
) -> Result<Struck> {
    let from = Place::new(source.bootstrap(), dataset::MIXED);
    let copy = Place::new(destination.bootstrap(), format!("copy.{}", dataset::MIXED));
    let before = client::watermarks(&copy)?;
    let mut worker = kmirror.start(&["--session-timeout", "1s"])?;
    let start = Instant::now();
    if rng.random_bool(0.25) {
        std::thread::sleep(Duration::from_millis(rng.random_range(0..1_500)));
    } else {
        while client::watermarks(&copy)? == before && start.elapsed() < Duration::from_secs(30) {
            // What is written comes in pieces, so that there is nothing new at times.
            if written.load(Ordering::Relaxed) && client::watermarks(&from)? == before {
                break;
            }
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
