//! The end of mirrors on real brokers: whatever is frozen or killed, nothing of a mirror arrives after it has stopped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::copy::topology;
use crate::support::client::{self, Offsets, Place};
use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

const PARTITIONS: i32 = 3;
const SESSION: [&str; 2] = ["--session-timeout", "3s"];
const PATIENCE: Duration = Duration::from_secs(60);

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
            "life::a_frozen_worker_appends_nothing_after_a_failover",
            Tier::Readme,
            60,
            frozen,
        ),
        test(
            "life::a_worker_started_without_its_source_fails_over_and_copies_the_rest_once_it_is_back",
            Tier::Readme,
            60,
            started_blind,
        ),
        test(
            "life::a_promotion_under_load_loses_nothing",
            Tier::Readme,
            60,
            promoted_under_load,
        ),
        test(
            "life::workers_killed_while_mirrors_end_leave_what_others_finish",
            Tier::Long,
            300,
            killed,
        ),
        test(
            "life::a_frozen_worker_appends_nothing_after_a_failover_kafka_3_9",
            Tier::Long,
            60,
            frozen_3_9,
        ),
    ]
}

/// Two clusters, a topic at the source, and a file that mirrors it.
struct Scene<'l> {
    lab: &'l Lab,
    source: Cluster,
    destination: Cluster,
    file: String,
}

impl<'l> Scene<'l> {
    fn start(lab: &'l Lab, version: Version, topics: &[&str]) -> Result<Self> {
        let source = Spec::new("source", version).start(lab)?;
        let destination = Spec::new("destination", version).start(lab)?;
        client::create_topics(&source.bootstrap(), topics, PARTITIONS)?;
        let file = topology(&source, &destination, "life.*");
        let scene = Self {
            lab,
            source,
            destination,
            file,
        };
        scene.kmirror("")?.ok("apply", &["--yes"])?;
        Ok(scene)
    }

    /// The program with the file and `more` behind it.
    fn kmirror(&self, more: &str) -> Result<Kmirror> {
        Kmirror::new(self.lab, &format!("{}{more}", self.file))
    }

    fn from(&self, topic: &str) -> Place {
        Place::new(self.source.bootstrap(), topic)
    }

    fn copy(&self, topic: &str) -> Place {
        Place::new(self.destination.bootstrap(), format!("copy.{topic}"))
    }

    /// Waits until all that the source has is copied.
    fn caught_up(&self, topic: &str) -> Result<()> {
        until("the mirror is caught up", || {
            Ok(client::watermarks(&self.copy(topic))? == client::watermarks(&self.from(topic))?)
        })
    }
}

fn ends(topic: &str, state: &str) -> String {
    format!("[links.copy.mirrors.\"{topic}\"]\nstate = \"{state}\"\n")
}

fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        ensure!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn frozen(lab: &Lab) -> Result<()> {
    freeze(lab, Version::V4_3)
}

fn frozen_3_9(lab: &Lab) -> Result<()> {
    freeze(lab, Version::V3_9)
}

/// Without the fence, and with a lease that is only looked at before a batch is made, a worker that wakes would append behind
/// what applications wrote meanwhile.
fn freeze(lab: &Lab, version: Version) -> Result<()> {
    let topic = "life.orders";
    let scene = Scene::start(lab, version, &[topic])?;
    client::produce(&scene.from(topic), "before", 3_000)?;
    let log = lab.dir().join("frozen.log");
    let mut frozen = scene.kmirror("")?.log_to(log).start(&SESSION)?;
    scene.caught_up(topic)?;
    // It is in the middle of copying when it freezes.
    client::produce(&scene.from(topic), "meanwhile", 60_000)?;
    frozen.signal("STOP")?;
    let held = client::watermarks(&scene.copy(topic))?;
    lab.note(format!("frozen with the mirror at {held:?}"));

    let kmirror = scene.kmirror(&ends(topic, "failed-over"))?;
    let mut second = kmirror.start(&SESSION)?;
    let said = kmirror.command("apply", &["--yes", "--wait", "60s"])?;
    ensure!(said.status.success(), "{}", said.text());
    ensure!(
        said.text().contains("failed over and STOPPED"),
        "{}",
        said.text()
    );
    ensure!(!said.text().contains("without a fence"), "{}", said.text());
    client::produce(&scene.copy(topic), "native", 600)?;
    let native = client::watermarks(&scene.copy(topic))?;

    frozen.signal("CONT")?;
    let before = frozen.log_text().len();
    client::produce(&scene.from(topic), "after", 3_000)?;
    until("the woken worker has said something", || {
        Ok(frozen.log_text().len() > before)
    })?;
    frozen.stop(Duration::from_secs(30))?;
    second.stop(Duration::from_secs(30))?;
    ensure!(
        client::watermarks(&scene.copy(topic))? == native,
        "something was appended after the failover: {}",
        frozen.log_text()
    );
    Ok(())
}

/// The machine of the workers went down with the source, and comes back first.
fn started_blind(lab: &Lab) -> Result<()> {
    let (lost, kept) = ("life.orders", "life.payments");
    let mut scene = Scene::start(lab, Version::V4_3, &[lost, kept])?;
    let mut worker = scene.kmirror("")?.start(&SESSION)?;
    for topic in [lost, kept] {
        client::produce(&scene.from(topic), "before", 3_000)?;
        scene.caught_up(topic)?;
    }
    worker.stop(Duration::from_secs(30))?;
    client::produce(&scene.from(kept), "unseen", 3_000)?;
    scene.source.stop(0)?;

    let log = lab.dir().join("blind.log");
    let kmirror = scene.kmirror(&ends(lost, "failed-over"))?.log_to(log);
    let mut blind = kmirror.start(&SESSION)?;
    let said = kmirror.command("apply", &["--yes", "--wait", "60s"])?;
    ensure!(said.status.success(), "{}", said.text());
    ensure!(
        said.text().contains("failed over and STOPPED"),
        "{}",
        said.text()
    );
    client::produce(&scene.copy(lost), "native", 600)?;
    let native = client::watermarks(&scene.copy(lost))?;

    scene.source.start(0)?;
    client::produce(&scene.from(lost), "late", 3_000)?;
    scene.caught_up(kept)?;
    blind.stop(Duration::from_secs(30))?;
    client::assert_same(&scene.from(kept), &scene.copy(kept), Offsets::Equal)?;
    ensure!(client::watermarks(&scene.copy(lost))? == native);
    let said = blind.log_text();
    for once in ["the cluster is not reached", "the cluster is reached now"] {
        ensure!(said.matches(once).count() == 1, "{once}: {said}");
    }
    Ok(())
}

fn promoted_under_load(lab: &Lab) -> Result<()> {
    let topic = "life.payments";
    let scene = Scene::start(lab, Version::V4_3, &[topic])?;
    let mut worker = scene.kmirror("")?.start(&SESSION)?;
    client::produce(&scene.from(topic), "first", 3_000)?;
    scene.caught_up(topic)?;
    let kmirror = scene.kmirror(&ends(topic, "promoted"))?;
    // Producers that nobody stopped: everything up to the place that is recorded has to be there.
    let is_over = AtomicBool::new(false);
    let (said, written) = std::thread::scope(|scope| {
        let load = scope.spawn(|| -> Result<i32> {
            let mut rounds = 0;
            while !is_over.load(Ordering::Relaxed) {
                client::produce(&scene.from(topic), &format!("load {rounds}"), 300)?;
                rounds += 1;
            }
            Ok(rounds)
        });
        let said = kmirror.command("apply", &["--yes", "--wait", "60s"]);
        is_over.store(true, Ordering::Relaxed);
        let rounds = load.join().expect("the writer does not panic")?;
        anyhow::Ok((said?, rounds))
    })?;
    ensure!(said.status.success(), "{}", said.text());
    ensure!(written > 1, "nothing was written meanwhile");
    worker.stop(Duration::from_secs(30))?;
    let copied = same_up_to_the_end(&scene, topic)?;
    lab.note(format!("{copied} records copied under load"));
    ensure!(copied >= 3_000);
    Ok(())
}

/// Each partition of the copy is the source's, as far as it goes: none left out, none twice. Gives their number.
fn same_up_to_the_end(scene: &Scene<'_>, topic: &str) -> Result<usize> {
    let mut total = 0;
    for partition in 0..PARTITIONS {
        let source = client::read_partition(&scene.source.bootstrap(), topic, partition)?;
        let copy = scene.copy(topic);
        let copy = client::read_partition(&copy.bootstrap, &copy.topic, partition)?;
        ensure!(
            copy.len() <= source.len(),
            "partition {partition} has more than the source"
        );
        for (left, right) in source.iter().zip(&copy) {
            ensure!(
                (left.offset, &left.key, &left.value) == (right.offset, &right.key, &right.value),
                "partition {partition} differs at offset {}",
                left.offset
            );
        }
        total += copy.len();
    }
    Ok(total)
}

/// Whatever step a worker was killed at, the next one goes on from there, and asking again finds it done.
fn killed(lab: &Lab) -> Result<()> {
    let seed = std::env::var("KMIRROR_SEED")
        .ok()
        .map_or_else(|| Ok(rand::rng().random()), |text| text.parse())?;
    lab.note(format!("seed {seed} (KMIRROR_SEED)"));
    let mut rng = StdRng::seed_from_u64(seed);
    let topics: Vec<String> = (0..12).map(|n| format!("life.t{n}")).collect();
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let scene = Scene::start(lab, Version::V4_3, &names)?;
    let mut file = String::new();
    for (n, topic) in names.iter().enumerate() {
        let state = if n % 2 == 0 {
            "promoted"
        } else {
            "failed-over"
        };
        client::produce(&scene.from(topic), "first", 3_000)?;
        let mut worker = scene.kmirror(&file)?.start(&SESSION)?;
        scene.caught_up(topic)?;
        client::produce(&scene.from(topic), "last", 3_000)?;
        file.push_str(&ends(topic, state));
        let kmirror = scene.kmirror(&file)?;
        let asked = kmirror.command("apply", &["--yes", "--wait", "0s"])?;
        ensure!(asked.status.success(), "{}", asked.text());
        std::thread::sleep(Duration::from_millis(rng.random_range(0..1_500)));
        worker.kill()?;
        let mut next = kmirror.start(&SESSION)?;
        let again = kmirror.command("apply", &["--yes", "--wait", "60s"])?;
        ensure!(again.status.success(), "{topic}: {}", again.text());
        next.stop(Duration::from_secs(30))?;
        if state == "promoted" {
            client::assert_same(&scene.from(topic), &scene.copy(topic), Offsets::Equal)
                .with_context(|| format!("{topic} was promoted"))?;
        } else {
            same_up_to_the_end(&scene, topic)?;
        }
    }
    Ok(())
}
