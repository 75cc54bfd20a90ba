//! A network that delays, loses and cuts what workers and brokers have to say to each other, and the copy is exact.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::faults::{Stage, plan};
use crate::support::cluster::Spec;
use crate::support::dataset::Ages;
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::proxy::{Direction, Flow, Proxy};
use crate::support::runner::{Test, Tier};

pub fn tests() -> Vec<Test> {
    let test = |name, tier, seconds, body| Test {
        name,
        tier,
        brokers: 2,
        seconds,
        body,
    };
    vec![
        test(
            "network::connections_are_cut_and_delayed",
            Tier::Readme,
            60,
            |lab| cut_and_delayed(lab, 1, 30_000, Ages::OldAndNew),
        ),
        test(
            "network::connections_are_cut_and_delayed_for_long",
            Tier::Long,
            180,
            |lab| cut_and_delayed(lab, 12, 300_000, Ages::Old),
        ),
        test(
            "network::a_connection_that_falls_silent",
            Tier::Long,
            180,
            silent,
        ),
    ]
}

fn proxied(name: &str) -> Spec {
    Spec::new(name, Version::V4_3).proxied()
}

/// Each round does everything to both ends, at moments that a seed decides.
fn cut_and_delayed(lab: &Lab, rounds: usize, records: usize, ages: Ages) -> Result<()> {
    let seed = std::env::var("KMIRROR_SEED")
        .ok()
        .map_or_else(|| Ok(rand::rng().random()), |s| s.parse())?;
    lab.note(format!("seed {seed} (KMIRROR_SEED)"));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut destination = proxied("destination");
    if ages == Ages::Old {
        destination = destination
            .config("producer.id.expiration.ms", "1000")
            .config("producer.id.expiration.check.interval.ms", "200");
    }
    let mut stage = Stage::between(
        lab,
        (proxied("source"), 1),
        (destination, 1),
        plan(records, ages),
    )?;
    let worker = stage.worker()?;
    stage.await_progress(0)?;
    for round in 1..=rounds {
        let counts = stage.while_writing((round, rounds), |source, destination| {
            let mut counts = [0; 4];
            for cluster in [&*destination, &*source] {
                let proxy = &cluster.proxies()[0];
                for _ in 0..3 {
                    counts[0] += usize::from(answers_lost(proxy, &mut rng));
                    counts[1] += usize::from(requests_lost(proxy, &mut rng));
                    proxy.cut();
                    counts[2] += 1;
                    pause(&mut rng, 300);
                }
                proxy.set(
                    Direction::ToBroker,
                    Flow::Delayed(Duration::from_millis(60)),
                );
                proxy.set(
                    Direction::ToClient,
                    Flow::Delayed(Duration::from_millis(60)),
                );
                pause(&mut rng, 1_000);
                proxy.open();
                counts[3] += 1;
            }
            Ok(counts)
        })?;
        lab.note(format!(
            "round {round}: {} records have arrived; cut after bytes that were not answered {}, not delivered {}, \
             at once {}; delayed {}",
            stage.arrived(),
            counts[0],
            counts[1],
            counts[2],
            counts[3]
        ));
    }
    stage.finish(lab, vec![worker])
}

/// Requests arrive and are carried out, the answers are lost, then the connection. Whether any request did.
fn answers_lost(proxy: &Proxy, rng: &mut StdRng) -> bool {
    proxy.set(Direction::ToClient, Flow::Lost);
    let before = proxy.forwarded();
    pause(rng, 300);
    let some = proxy.forwarded() > before;
    proxy.cut();
    proxy.open();
    some
}

/// Requests are held and then lost with the connection. Whether there were any.
fn requests_lost(proxy: &Proxy, rng: &mut StdRng) -> bool {
    proxy.set(Direction::ToBroker, Flow::Held);
    pause(rng, 300);
    let some = proxy.waiting() > 0;
    proxy.cut();
    proxy.open();
    some
}

fn pause(rng: &mut StdRng, at_most: u64) {
    std::thread::sleep(Duration::from_millis(rng.random_range(0..at_most)));
}

/// Nothing is cut, but one direction of what is connected carries nothing any more, as behind a firewall that forgot.
fn silent(lab: &Lab) -> Result<()> {
    let mut stage = Stage::between(
        lab,
        (proxied("source"), 1),
        (proxied("destination"), 1),
        plan(40_000, Ages::OldAndNew),
    )?;
    let worker = stage.worker()?;
    stage.await_progress(0)?;
    let mut part = 0;
    for which in ["destination", "source"] {
        for direction in [Direction::ToBroker, Direction::ToClient] {
            part += 1;
            let before = at_rest(&stage);
            let cluster = if which == "source" {
                &stage.source
            } else {
                &stage.destination
            };
            cluster.proxies()[0].silence(direction);
            stage.write_part(part, 4)?;
            let start = Instant::now();
            stage.await_progress(before)?;
            lab.note(format!(
                "{which}, {direction:?}: records arrived {:.1} s after the silence began",
                start.elapsed().as_secs_f64()
            ));
        }
    }
    stage.finish(lab, vec![worker])
}

/// How much has arrived once no more does.
fn at_rest(stage: &Stage) -> u64 {
    let mut last = (stage.arrived(), Instant::now());
    while last.1.elapsed() < Duration::from_secs(1) {
        let now = stage.arrived();
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    last.0
}
