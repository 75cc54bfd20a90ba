//! Mirrors that are reversed over REST on real Kafka: there and back, behind transactions, and with workers that are killed meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::rest::Serving;
use crate::support::client::{self, Offsets, Place};
use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::Version;
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
        test(
            "links::reversed_there_and_back",
            Tier::Readme,
            90,
            there_and_back,
        ),
        test(
            "links::reversed_while_workers_are_killed",
            Tier::Long,
            300,
            killed,
        ),
    ]
}

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 3;
const START: &str = "reverse-and-start-mirror";

/// Two clusters with a link of both ways, and how many workers were started.
struct Scene<'l> {
    lab: &'l Lab,
    east: Cluster,
    west: Cluster,
    started: u32,
}

impl<'l> Scene<'l> {
    fn start(lab: &'l Lab) -> Result<Self> {
        let east = Spec::new("east", Version::V4_3).start(lab)?;
        let west = Spec::new("west", Version::V4_3).start(lab)?;
        client::create_topics(&east.bootstrap(), &[TOPIC], PARTITIONS)?;
        Ok(Self {
            lab,
            east,
            west,
            started: 0,
        })
    }

    /// A worker beside each cluster, west's first; each knows one cluster by its file.
    fn workers(&mut self) -> Result<[Serving; 2]> {
        let mut start = |name: &str, cluster: &Cluster| {
            self.started += 1;
            let own = self.lab.subdir(&format!("{name}-{}", self.started))?;
            let path = own.join("topology.toml");
            let servers = cluster.bootstrap();
            std::fs::write(
                &path,
                format!("kmirror = 1\n[clusters.{name}]\nbootstrap_servers = \"{servers}\"\n"),
            )?;
            let kmirror = Kmirror::with_file(self.lab, path).log_to(own.join("kmirror.log"));
            let args = ["--http", "127.0.0.1:0", "--session-timeout", "6s"];
            Serving::of(kmirror.start(&args)?)
        };
        Ok([start("west", &self.west)?, start("east", &self.east)?])
    }

    /// A half on each cluster, and a mirror of the east's topic in the west.
    fn link(&self, [west, east]: [&Serving; 2]) -> Result<()> {
        for (serving, other) in [(west, &self.east), (east, &self.west)] {
            let link = json!({
                "remote_cluster_id": id_of(other)?,
                "configs": [
                    {"name": "link.mode", "value": "BIDIRECTIONAL"},
                    {"name": "bootstrap.servers", "value": other.bootstrap()},
                ],
            });
            asked(serving, "/links?link_name=both", &link, 201)?;
        }
        let ids = [west, east].map(|it| it.get("/links/both"));
        let [one, other] = ids;
        let (one, other) = (one?, other?);
        ensure!(
            one["cluster_link_id"] == other["cluster_link_id"],
            "{one} {other}"
        );
        let mirror = json!({"source_topic_name": TOPIC});
        asked(west, "/links/both/mirrors", &mirror, 201)?;
        Ok(())
    }

    fn place(&self, cluster: &Cluster) -> Place {
        Place::new(cluster.bootstrap(), TOPIC)
    }

    /// Waits until both sides are the same, and gives the number of records.
    fn same(&self) -> Result<u64> {
        let started = Instant::now();
        loop {
            let same = client::assert_same(
                &self.place(&self.east),
                &self.place(&self.west),
                Offsets::Equal,
            );
            if same.is_ok() || started.elapsed() > Duration::from_secs(60) {
                return same;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn id_of(cluster: &Cluster) -> Result<String> {
    let consumer: BaseConsumer = client::config(&cluster.bootstrap()).create()?;
    let id = consumer.client().fetch_cluster_id(Duration::from_secs(10));
    id.context("a cluster id")
}

/// Asks, and wants this status.
fn asked(serving: &Serving, path: &str, body: &Value, wanted: u16) -> Result<Value> {
    let (status, answer) = serving.send("POST", &serving.at(path), Some(body))?;
    ensure!(status == wanted, "{path}: {status} {answer}");
    Ok(answer)
}

fn reverse(serving: &Serving, action: &str) -> Result<()> {
    let topics = json!({"mirror_topic_names": [TOPIC]});
    let path = format!("/links/both/mirrors:{action}");
    let answer = asked(serving, &path, &topics, 200)?;
    ensure!(answer["data"][0]["error_code"].is_null(), "{answer}");
    Ok(())
}

fn await_state(serving: &Serving, wanted: &str) -> Result<()> {
    let started = Instant::now();
    let at = serving.at(&format!("/links/both/mirrors/{TOPIC}"));
    loop {
        let (_, mirror) = serving.send("GET", &at, None)?;
        if mirror["mirror_status"] == wanted {
            return Ok(());
        }
        ensure!(
            started.elapsed() < Duration::from_secs(90),
            "never {wanted}: {mirror}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Transactions that are committed and rolled back: their markers end the log.
fn transactions(place: &Place) -> Result<()> {
    let producer: BaseProducer = client::config(&place.bootstrap)
        .set("transactional.id", "reversal")
        .create()?;
    let patience = Duration::from_secs(20);
    producer.init_transactions(patience)?;
    for commits in [true, false, true, false] {
        producer.begin_transaction()?;
        for partition in 0..PARTITIONS {
            let record = BaseRecord::to(&place.topic)
                .partition(partition)
                .key("k".as_bytes())
                .payload("transaction".as_bytes());
            client::send(&producer, record)?;
        }
        producer.flush(patience)?;
        match commits {
            true => producer.commit_transaction(patience)?,
            false => producer.abort_transaction(patience)?,
        }
    }
    Ok(())
}

fn there_and_back(lab: &Lab) -> Result<()> {
    let mut scene = Scene::start(lab)?;
    let [west, east] = scene.workers()?;
    scene.link([&west, &east])?;
    let (at_west, at_east) = (scene.place(&scene.west), scene.place(&scene.east));
    client::produce(&at_east, "first", 3_000)?;
    transactions(&at_east)?;
    scene.same()?;
    reverse(&west, START)?;
    await_state(&west, "STOPPED")?;
    await_state(&east, "ACTIVE")?;
    client::produce(&at_west, "second", 3_000)?;
    transactions(&at_west)?;
    let there = scene.same()?;
    reverse(&east, "promote-local-and-pause-remote-mirror")?;
    await_state(&east, "STOPPED")?;
    await_state(&west, "PAUSED")?;
    client::produce(&at_east, "third", 3_000)?;
    let topics = json!({"mirror_topic_names": [TOPIC]});
    asked(&west, "/links/both/mirrors:resume", &topics, 200)?;
    await_state(&west, "ACTIVE")?;
    let back = scene.same()?;
    ensure!((there, back) == (6_012, 9_012), "{there} {back}");
    crate::links::stop(west)?;
    crate::links::stop(east)
}

/// Whatever step workers were killed at, the next ones go on from there.
fn killed(lab: &Lab) -> Result<()> {
    let seed = std::env::var("KMIRROR_SEED")
        .ok()
        .map_or_else(|| Ok(rand::rng().random()), |text| text.parse())?;
    lab.note(format!("seed {seed} (KMIRROR_SEED)"));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut scene = Scene::start(lab)?;
    let workers = scene.workers()?;
    let [west, east] = &workers;
    scene.link([west, east])?;
    let mut workers = Some(workers);
    for round in 0..8 {
        let [mut west, mut east] = match workers.take() {
            Some(workers) => workers,
            None => scene.workers()?,
        };
        let there = round % 2 == 0;
        let from = match there {
            true => scene.place(&scene.east),
            false => scene.place(&scene.west),
        };
        client::produce(&from, &format!("r{round}"), 2_000)?;
        scene.same()?;
        reverse(if there { &west } else { &east }, START)?;
        std::thread::sleep(Duration::from_millis(rng.random_range(0..5_000)));
        west.process.signal("KILL")?;
        east.process.signal("KILL")?;
        let [west, east] = scene.workers()?;
        await_state(&west, if there { "STOPPED" } else { "ACTIVE" })?;
        await_state(&east, if there { "ACTIVE" } else { "STOPPED" })?;
        let records = scene.same()?;
        ensure!(records == 2_000 * (round + 1), "{records} after {round}");
        workers = Some([west, east]);
    }
    for serving in workers.into_iter().flatten() {
        crate::links::stop(serving)?;
    }
    Ok(())
}
