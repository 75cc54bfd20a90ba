//! Brokers and workers fail while a copy runs, nothing is restarted by hand but what was killed, and the copy is exact.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::copy::{same_records, topology};
use crate::storage::says;
use crate::support::client::{self, Offsets, Place};
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
            "faults::leaders_killed_and_moved",
            Tier::Readme,
            4,
            60,
            |lab| destination_leaders(lab, Acknowledged::ByAll),
        ),
        test(
            "faults::leaders_killed_and_moved_acks_1",
            Tier::Readme,
            4,
            60,
            |lab| destination_leaders(lab, Acknowledged::ByTheLeader),
        ),
        test(
            "faults::leaders_lost_and_moved_on_both_sides_acks_1",
            Tier::Long,
            6,
            240,
            |lab| leaders_on_both_sides(lab, Acknowledged::ByTheLeader),
        ),
        test(
            "faults::leaders_lost_and_moved_on_both_sides",
            Tier::Long,
            6,
            240,
            |lab| leaders_on_both_sides(lab, Acknowledged::ByAll),
        ),
        test(
            "faults::an_unclean_election_at_the_source",
            Tier::Readme,
            4,
            60,
            unclean_election,
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

/// Leaders acknowledge what only they have.
pub const ACKS_1: &str = "config = { acks = \"1\" }\n";

/// A source that is written to, a destination, and what is known about them.
pub struct Stage {
    pub source: Cluster,
    pub destination: Cluster,
    pub kmirror: Kmirror,
    writer: Mixed,
    plan: Plan,
    offsets: Offsets,
}

impl Stage {
    /// A source of one node.
    pub fn set(lab: &Lab, destination: Spec, plan: Plan, factor: u16) -> Result<Self> {
        let source = Spec::new("source", Version::V4_3);
        Self::between(lab, (source, 1), (destination, factor), plan)
    }

    /// Two clusters, each with the number of replicas that topics have there. Workers reach those with proxies
    /// through them.
    pub fn between(
        lab: &Lab,
        (source, source_factor): (Spec, u16),
        (destination, factor): (Spec, u16),
        plan: Plan,
    ) -> Result<Self> {
        let ends = ((source, source_factor), (destination, factor));
        Self::with(lab, ends, plan, "", Offsets::Equal)
    }

    /// One node on each side, and `offsets = "translate"`: for what equal offsets do not stand, as several workers that
    /// write at once.
    pub fn translated(lab: &Lab, destination: Spec, plan: Plan) -> Result<Self> {
        let source = Spec::new("source", Version::V4_3);
        let ends = ((source, 1), (destination, 1));
        Self::with(lab, ends, plan, "offsets = \"translate\"\n", Offsets::Free)
    }

    /// `link` is what the link says besides.
    fn with(
        lab: &Lab,
        ((source, source_factor), (destination, factor)): ((Spec, u16), (Spec, u16)),
        plan: Plan,
        link: &str,
        offsets: Offsets,
    ) -> Result<Self> {
        let source = source.heap(Heap::Medium).start(lab)?;
        let destination = destination.heap(Heap::Medium).start(lab)?;
        let mut writer = Mixed::create_replicated(&source, plan, source_factor)?;
        writer.write_up_to(plan.records / 2)?;
        let mut text = topology(&source, &destination, "ref.*").replace(
            "replication_factor = 1",
            &format!("replication_factor = {factor}"),
        );
        text.push_str(link);
        for cluster in [&source, &destination] {
            if !cluster.proxies().is_empty() {
                text = text.replace(&cluster.bootstrap(), &cluster.proxied());
            }
        }
        let kmirror = Kmirror::new(lab, &text)?;
        kmirror.ok("apply", &["--yes"])?;
        Ok(Self {
            source,
            destination,
            kmirror,
            writer,
            plan,
            offsets,
        })
    }

    pub fn worker(&self) -> Result<Process> {
        self.kmirror.start(&["--session-timeout", "1s"])
    }

    /// Writes the next of `parts` shares of the second half.
    pub fn write_part(&mut self, part: usize, parts: usize) -> Result<()> {
        let half = self.plan.records / 2;
        self.writer.write_up_to(half + half * part / parts)
    }

    /// The same while something goes wrong with source or destination.
    pub fn while_writing<T>(
        &mut self,
        (part, parts): (usize, usize),
        wrong: impl FnOnce(&mut Cluster, &mut Cluster) -> Result<T>,
    ) -> Result<T> {
        let half = self.plan.records / 2;
        let Self {
            source,
            destination,
            writer,
            ..
        } = self;
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| writer.write_up_to(half + half * part / parts));
            let done = wrong(source, destination);
            writing.join().expect("the writer does not panic")?;
            done
        })
    }

    /// Waits until more has arrived at the destination than `before`.
    pub fn await_progress(&self, before: u64) -> Result<u64> {
        await_more(&self.destination, before)
    }

    /// Offsets used so far in the copy, as far as its brokers answer.
    pub fn arrived(&self) -> u64 {
        arrived(&self.destination)
    }

    /// Stops the workers in order, lets one more finish, and compares.
    pub fn finish(mut self, lab: &Lab, workers: Vec<Process>) -> Result<()> {
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
        same_records(
            lab,
            &self.source,
            &self.destination,
            dataset::MIXED,
            self.offsets,
        )?;
        Ok(())
    }
}

/// Where the copy of `ref.mixed` lies.
pub fn copy_in(destination: &Cluster) -> Place {
    Place::new(destination.bootstrap(), format!("copy.{}", dataset::MIXED))
}

/// Offsets used so far in the copy, as far as its brokers answer.
pub fn arrived(destination: &Cluster) -> u64 {
    client::watermarks(&copy_in(destination)).map_or(0, |marks| {
        let ends = marks
            .iter()
            .map(|(_, end)| u64::try_from(*end).unwrap_or(0));
        ends.sum()
    })
}

/// Waits until more has arrived at the destination than `before`.
pub fn await_more(destination: &Cluster, before: u64) -> Result<u64> {
    let start = Instant::now();
    loop {
        let now = arrived(destination);
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

pub fn plan(records: usize, ages: Ages) -> Plan {
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

/// Three nodes of which one may be lost, and which notice soon.
pub fn three(name: &str) -> Spec {
    Spec::new(name, Version::V4_3)
        .nodes(3)
        .config("default.replication.factor", "3")
        .config("min.insync.replicas", "2")
        .config("broker.session.timeout.ms", "2000")
        .config("broker.heartbeat.interval.ms", "300")
        .config("replica.lag.time.max.ms", "2000")
        .config("replica.fetch.wait.max.ms", "200")
}

/// Who has a batch before it is acknowledged.
#[derive(Debug, Clone, Copy)]
enum Acknowledged {
    ByAll,
    ByTheLeader,
}

impl Acknowledged {
    fn setting(self) -> &'static str {
        match self {
            Self::ByAll => "",
            Self::ByTheLeader => ACKS_1,
        }
    }
}

/// What happens to the leader of a topic's first partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// SIGKILL, and started again while the others lead.
    Killed,
    /// An orderly stop and a start.
    Restarted,
    /// Replicas are reassigned, and another one is elected as preferred leader.
    Moved,
    /// SIGSTOP for longer than its session with the controller, then SIGCONT.
    Frozen,
}

impl Blow {
    fn strike(self, lab: &Lab, cluster: &mut Cluster, topic: &str) -> Result<()> {
        let place = Place::new(cluster.bootstrap(), topic);
        let (leader, ..) = client::partition_state(&place, 0)?;
        let node = usize::try_from(leader - 1).context("a partition has a leader")?;
        match self {
            Self::Killed => {
                cluster.kill(node)?;
                led_by_another(&place, leader)?;
                cluster.start(node)?;
            }
            Self::Restarted => {
                cluster.stop(node)?;
                led_by_another(&place, leader)?;
                cluster.start(node)?;
            }
            Self::Moved => {
                let others: Vec<usize> = (1..=3).filter(|id| *id != node + 1).collect();
                let tools = cluster.tools();
                tools.lead_from(topic, dataset::PARTITIONS, &others, lab.dir())?;
                led_by_another(&place, leader)?;
                let all = [others[1], node + 1, others[0]];
                tools.lead_from(topic, dataset::PARTITIONS, &all, lab.dir())?;
            }
            Self::Frozen => {
                cluster.signal(node, "STOP")?;
                let moved = led_by_another(&place, leader);
                // The one that was frozen wakes up among bytes that were sent to it meanwhile.
                std::thread::sleep(Duration::from_millis(500));
                cluster.signal(node, "CONT")?;
                moved?;
            }
        }
        in_sync(&place, dataset::PARTITIONS)?;
        lab.note(format!("{topic}: node {leader}, its leader, was {self:?}"));
        Ok(())
    }
}

fn led_by_another(place: &Place, than: i32) -> Result<()> {
    let start = Instant::now();
    loop {
        let found = client::partition_state(place, 0);
        match found {
            Ok((leader, ..)) if leader > 0 && leader != than => return Ok(()),
            found => ensure!(
                start.elapsed() < Duration::from_secs(60),
                "nobody else leads {}: {found:?}",
                place.topic
            ),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until all replicas are in sync, so that the next one may be lost.
fn in_sync(place: &Place, partitions: i32) -> Result<()> {
    let start = Instant::now();
    for partition in 0..partitions {
        loop {
            let found = client::partition_state(place, partition);
            match found {
                Ok((_, replicas, in_sync)) if in_sync == replicas => break,
                found => ensure!(
                    start.elapsed() < Duration::from_secs(60),
                    "replicas of {} do not catch up: {found:?}",
                    place.topic
                ),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// The destination's leader is killed and moved while records are copied.
fn destination_leaders(lab: &Lab, acknowledged: Acknowledged) -> Result<()> {
    let source = Spec::new("source", Version::V4_3);
    let ends = ((source, 1), (three("destination"), 3));
    let plan = plan(60_000, Ages::OldAndNew);
    let mut stage = Stage::with(lab, ends, plan, acknowledged.setting(), Offsets::Equal)?;
    let worker = stage.worker()?;
    stage.await_progress(0)?;
    let copy = copy_in(&stage.destination).topic;
    let blows = [Blow::Killed, Blow::Moved];
    for (round, blow) in blows.into_iter().enumerate() {
        let share = (round + 1, blows.len());
        stage.while_writing(share, |_, destination| blow.strike(lab, destination, &copy))?;
    }
    stage.finish(lab, vec![worker])
}

/// Every blow to both clusters, records old enough for the destination to forget who wrote them.
fn leaders_on_both_sides(lab: &Lab, acknowledged: Acknowledged) -> Result<()> {
    let destination = three("destination")
        .config("producer.id.expiration.ms", "1000")
        .config("producer.id.expiration.check.interval.ms", "200");
    let ends = ((three("source"), 3), (destination, 3));
    let plan = plan(200_000, Ages::OldAndNew);
    let mut stage = Stage::with(lab, ends, plan, acknowledged.setting(), Offsets::Equal)?;
    let worker = stage.worker()?;
    let mut before = stage.await_progress(0)?;
    let copy = copy_in(&stage.destination).topic;
    let blows = [Blow::Killed, Blow::Restarted, Blow::Moved, Blow::Frozen];
    for (round, blow) in blows.into_iter().cycle().take(8).enumerate() {
        let share = (round + 1, 8);
        if round < 4 {
            stage.while_writing(share, |_, destination| blow.strike(lab, destination, &copy))?;
        } else {
            // Whoever writes to the source is no part of the test.
            stage.write_part(share.0, share.1)?;
            blow.strike(lab, &mut stage.source, dataset::MIXED)?;
        }
        before = before.max(stage.arrived());
        lab.note(format!("round {round}: {before} records have arrived"));
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

/// The source's leader dies with records that only it had, and another one writes more than those: the log is longer than
/// what was read, and is another one. (Without the leader epochs, the mirror kept the lost records and went on behind them.)
fn unclean_election(lab: &Lab) -> Result<()> {
    const TOPICS: [&str; 2] = ["app-equal", "old-translated"];
    let mut source = three("source")
        .config("min.insync.replicas", "1")
        .start(lab)?;
    let destination = Spec::new("destination", Version::V4_3).start(lab)?;
    for topic in TOPICS {
        let config = ["unclean.leader.election.enable=true"];
        source.tools().create_replicated(topic, 1, 2, &config)?;
        source.tools().lead_from(topic, 1, &[1, 2], lab.dir())?;
    }
    let places = TOPICS.map(|topic| Place::new(source.bootstrap(), topic));
    for place in &places {
        client::produce(place, "on both", 100)?;
        in_sync(place, 1)?;
    }
    let text = topology(&source, &destination, "app-*");
    let (_, link) = text.split_once("[links.copy]").context("a link")?;
    let link = link.replace("app-*", "old-*");
    let text = format!("{text}\n[links.translated]{link}offsets = \"translate\"\n");
    let kmirror = Kmirror::new(lab, &text)?;
    kmirror.ok("apply", &["--yes"])?;
    source.kill(1)?;
    for place in &places {
        client::produce(place, "on one", 50)?;
    }
    kmirror.ok("run", &["--until-caught-up"])?;
    let links = ["copy", "translated"];
    let mut worker = kmirror.start(&[])?;
    for (link, topic) in links.into_iter().zip(TOPICS) {
        says(
            &worker,
            &format!("caught up link=\"{link}\" topic=\"copy.{topic}\""),
        )?;
    }
    source.kill(0)?;
    source.start(1)?;
    for place in &places {
        led_by_another(place, 1)?;
        client::produce(place, "instead", 100)?;
    }
    let parted = "the source lost records that were copied: the mirror has read up to offset 150, and what the source holds from 100 on was written anew";
    for (link, topic) in links.into_iter().zip(TOPICS) {
        let which = format!("link=\"{link}\" topic=\"copy.{topic}\" partition=0");
        says(
            &worker,
            &format!(
                "FAILED: {parted} (unclean leader election); delete the mirror and have it copied anew, or mirror the topic under another name {which}"
            ),
        )?;
    }
    worker.signal("TERM")?;
    worker.wait(Duration::from_secs(20))?;
    let again = kmirror.command("run", &["--until-caught-up"])?.text();
    for said in [
        format!("FAILED translated copy.old-translated-0: {parted}"),
        "FAILED copy copy.app-equal-0: ".to_owned(),
    ] {
        ensure!(again.contains(&said), "no word of {said:?}:\n{again}");
    }
    for topic in TOPICS {
        let copied = client::read_partition(&destination.bootstrap(), &format!("copy.{topic}"), 0)?;
        ensure!(copied.len() == 150, "{topic}: {} records", copied.len());
    }
    Ok(())
}
