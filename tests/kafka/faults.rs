//! Brokers and workers fail while a copy runs, nothing is restarted by hand but what was killed, and the copy is exact.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::copy::{same, topology};
use crate::support::client::{self, Place};
use crate::support::cluster::{Cluster, Spec};
use crate::support::dataset::{self, Ages, Mixed, Plan};
use crate::support::jars::{Heap, Version};
use crate::support::lab::Lab;
use crate::support::process::Process;
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    let test = |name, tier, brokers, seconds, body| Test {
        name,
        tier,
        brokers,
        seconds,
        body,
    };
    vec![
        test(
            "faults::brokers_killed",
            Tier::Readme,
            2,
            90,
            brokers_killed,
        ),
        test(
            "faults::a_frozen_worker_wakes",
            Tier::Readme,
            2,
            90,
            frozen_worker,
        ),
        test(
            "faults::leaders_killed_on_three_nodes",
            Tier::Long,
            4,
            180,
            leaders_killed,
        ),
        test(
            "faults::workers_come_and_go",
            Tier::Long,
            2,
            180,
            workers_come_and_go,
        ),
    ]
}

/// A source that is written to, a destination, and what is known about them.
struct Stage {
    source: Cluster,
    destination: Cluster,
    writer: Mixed,
    plan: Plan,
    kmirror: Kmirror,
}

impl Stage {
    fn set(lab: &Lab, destination: Spec, plan: Plan, factor: u16) -> Result<Self> {
        let source = Spec::new("source", Version::V4_3)
            .heap(Heap::Medium)
            .start(lab)?;
        let destination = destination.heap(Heap::Medium).start(lab)?;
        let mut writer = Mixed::create(&source, plan)?;
        writer.write_up_to(plan.records / 2)?;
        let text = topology(&source, &destination, "ref.*");
        let text = text.replace(
            "replication_factor = 1",
            &format!("replication_factor = {factor}"),
        );
        let kmirror = Kmirror::new(lab, &text)?;
        kmirror.ok("apply", &["--yes"])?;
        Ok(Self {
            source,
            destination,
            writer,
            plan,
            kmirror,
        })
    }

    fn worker(&self) -> Result<Process> {
        self.kmirror.start(&["--session-timeout", "1s"])
    }

    /// Writes the next of `parts` shares of the second half.
    fn write_part(&mut self, part: usize, parts: usize) -> Result<()> {
        let half = self.plan.records / 2;
        self.writer.write_up_to(half + half * part / parts)
    }

    /// Waits until more has arrived at the destination than `before`.
    fn await_progress(&self, before: u64) -> Result<u64> {
        let start = Instant::now();
        loop {
            let now = self.arrived();
            if now > before {
                return Ok(now);
            }
            ensure!(
                start.elapsed() < Duration::from_secs(60),
                "no record arrived for a minute"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Offsets used so far in the copy, as far as its brokers answer.
    fn arrived(&self) -> u64 {
        let copy = Place::new(
            self.destination.bootstrap(),
            format!("copy.{}", dataset::MIXED),
        );
        client::watermarks(&copy).map_or(0, |marks| {
            marks
                .iter()
                .map(|(_, end)| u64::try_from(*end).unwrap_or(0))
                .sum()
        })
    }

    /// Stops the workers in order, lets one more finish, and compares.
    fn finish(mut self, lab: &Lab, workers: Vec<Process>) -> Result<()> {
        self.writer.write_up_to(self.plan.records)?;
        self.writer.finish()?;
        for mut worker in workers {
            if let Some(status) = worker.exited()? {
                bail!("a worker ended by itself: {status}\n{}", worker.log_text());
            }
            worker.signal("TERM")?;
            let status = worker.wait(Duration::from_secs(30))?;
            ensure!(
                status.success(),
                "a worker, asked to stop: {status}\n{}",
                worker.log_text()
            );
        }
        self.kmirror
            .ok("run", &["--until-caught-up", "--session-timeout", "1s"])?;
        same(lab, &self.source, &self.destination, dataset::MIXED)?;
        Ok(())
    }
}

fn plan(records: usize, ages: Ages) -> Plan {
    Plan {
        records,
        seed: 11,
        ages,
    }
}

fn brokers_killed(lab: &Lab) -> Result<()> {
    let destination = Spec::new("destination", Version::V4_3);
    let mut stage = Stage::set(lab, destination, plan(60_000, Ages::OldAndNew), 1)?;
    let worker = stage.worker()?;
    let mut arrived = stage.await_progress(0)?;
    for round in 1..=3 {
        stage.write_part(round, 3)?;
        if round == 2 {
            stage.source.kill(0)?;
            stage.source.start(0)?;
        } else {
            stage.destination.kill(0)?;
            stage.destination.start(0)?;
        }
        lab.note(format!(
            "round {round}: {arrived} records had arrived before the kill"
        ));
        arrived = arrived.max(stage.arrived());
    }
    stage.finish(lab, vec![worker])
}

/// SIGSTOP for longer than a session, while another worker takes over; the sleeper may not write when it wakes.
fn frozen_worker(lab: &Lab) -> Result<()> {
    let destination = Spec::new("destination", Version::V4_3)
        .config("producer.id.expiration.ms", "1000")
        .config("producer.id.expiration.check.interval.ms", "200");
    let mut stage = Stage::set(lab, destination, plan(60_000, Ages::Old), 1)?;
    let mut workers = vec![stage.worker()?, stage.worker()?];
    stage.await_progress(0)?;
    for round in 0..4 {
        let sleeper = round % 2;
        workers[sleeper].signal("STOP")?;
        stage.write_part(round + 1, 4)?;
        std::thread::sleep(Duration::from_millis(2_500));
        workers[sleeper].signal("CONT")?;
        lab.note(format!(
            "round {round}: {} records have arrived",
            stage.arrived()
        ));
        std::thread::sleep(Duration::from_millis(500));
    }
    stage.finish(lab, workers)
}

fn leaders_killed(lab: &Lab) -> Result<()> {
    let destination = Spec::new("destination", Version::V4_3)
        .nodes(3)
        .config("default.replication.factor", "3")
        .config("min.insync.replicas", "2")
        .config("broker.session.timeout.ms", "2000")
        .config("broker.heartbeat.interval.ms", "300")
        .config("replica.lag.time.max.ms", "2000")
        .config("replica.fetch.wait.max.ms", "200");
    let mut stage = Stage::set(lab, destination, plan(200_000, Ages::OldAndNew), 3)?;
    let worker = stage.worker()?;
    stage.await_progress(0)?;
    for round in 0..6 {
        stage.write_part(round + 1, 6)?;
        let node = round % 3;
        stage.destination.kill(node)?;
        std::thread::sleep(Duration::from_secs(3));
        stage.destination.start(node)?;
        // All replicas back in sync before the next one dies, or a quorum may be lost.
        let tools = stage.destination.tools();
        let start = Instant::now();
        while !tools
            .topics(&["--describe", "--under-replicated-partitions"])?
            .trim()
            .is_empty()
        {
            ensure!(
                start.elapsed() < Duration::from_secs(60),
                "replicas do not catch up"
            );
        }
        lab.note(format!(
            "round {round}: node {} was killed and is back",
            node + 1
        ));
    }
    stage.finish(lab, vec![worker])
}

/// Workers join, leave and are killed, up to three at a time.
fn workers_come_and_go(lab: &Lab) -> Result<()> {
    let destination = Spec::new("destination", Version::V4_3);
    let mut stage = Stage::set(lab, destination, plan(200_000, Ages::OldAndNew), 1)?;
    let mut workers = vec![stage.worker()?];
    stage.await_progress(0)?;
    for round in 0..8 {
        stage.write_part(round + 1, 8)?;
        workers.push(stage.worker()?);
        std::thread::sleep(Duration::from_millis(1_500));
        if workers.len() > 2 {
            let mut leaving = workers.remove(0);
            if round % 2 == 0 {
                leaving.kill()?;
            } else {
                leaving.signal("TERM")?;
                leaving
                    .wait(Duration::from_secs(30))
                    .context("a worker that was asked to stop")?;
            }
        }
        lab.note(format!(
            "round {round}: {} workers, {} records have arrived",
            workers.len(),
            stage.arrived()
        ));
    }
    stage.finish(lab, workers)
}
