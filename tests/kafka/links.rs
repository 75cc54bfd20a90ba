//! Links that are made over REST between two secured clusters. The tutorial's own steps are in `examples`.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};

use crate::rest::Serving;
use crate::secured::{Pair, Way};
use crate::support::client;
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::support::secured::{ADMIN, Door, KMIRROR, Secured};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    vec![Test {
        name: "links::killed_in_the_middle",
        tier: Tier::Long,
        brokers: 2,
        seconds: 240,
        body: killed_in_the_middle,
    }]
}

const TOPIC: &str = "demo-link-topic";

/// Two clusters that are reached over SASL_SSL, and a key for what links keep secret.
pub struct Stage {
    pub pair: Pair,
    trust: String,
    pub key: String,
    started: AtomicU32,
}

impl Stage {
    pub fn new(lab: &Lab) -> Result<Self> {
        let pair = Pair::start(lab, Version::V4_3, &[Door::Sasl])?;
        let trust = std::fs::read_to_string(&pair.realm.authority.certificate)?;
        let made = Kmirror::new(lab, "kmirror = 1\n")?.without_file(&["key", "new"])?;
        ensure!(made.status.success(), "{}", made.text());
        Ok(Self {
            pair,
            trust,
            key: made.stdout.trim().to_owned(),
            started: AtomicU32::new(0),
        })
    }

    /// A worker that serves one cluster, with nothing but that in its file.
    pub fn worker(&self, lab: &Lab, name: &str, cluster: &Secured) -> Result<Serving> {
        let way = self
            .way(cluster)?
            .set("sasl.mechanism", "PLAIN")
            .set("sasl.jaas.config", &ADMIN.plain_jaas());
        let kmirror = self.knowing(lab, &way.cluster(name))?;
        Serving::of(kmirror.start(&["--http", "127.0.0.1:0"])?)
    }

    /// To a cluster, but for the user.
    pub fn way(&self, cluster: &Secured) -> Result<Way> {
        let ca = text(&self.pair.realm.authority.certificate)?;
        let way = Way::to(cluster.door(Door::Sasl)).set("security.protocol", "SASL_SSL");
        Ok(way.set("ssl.ca.location", ca))
    }

    /// The program with a file that holds these clusters and nothing else.
    pub fn knowing(&self, lab: &Lab, clusters: &str) -> Result<Kmirror> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        // Of its own: the address stands in its log.
        let own = lab.subdir(&format!("kmirror-{number}"))?;
        let path = own.join("topology.toml");
        std::fs::write(&path, format!("kmirror = 1\n{clusters}"))?;
        let kmirror = Kmirror::with_file(lab, path).log_to(own.join("kmirror.log"));
        Ok(kmirror.env("KMIRROR_KEY", &self.key))
    }

    /// How a cluster is reached, as configs of a link.
    fn reach(&self, cluster: &Secured, prefix: &str) -> Vec<Value> {
        let configs = [
            ("bootstrap.servers", cluster.door(Door::Sasl)),
            ("security.protocol", "SASL_SSL".to_owned()),
            ("sasl.mechanism", "PLAIN".to_owned()),
            ("sasl.jaas.config", ADMIN.plain_jaas()),
            ("ssl.truststore.type", "PEM".to_owned()),
            ("ssl.truststore.certificates", self.trust.clone()),
        ];
        let configs = configs.into_iter();
        configs
            .map(|(name, value)| json!({"name": format!("{prefix}{name}"), "value": value}))
            .collect()
    }

    /// Nothing that a cluster holds gives a password away.
    pub fn keeps_secrets(&self, cluster: &Secured) -> Result<()> {
        for record in client::read_everything(&cluster.bootstrap())? {
            let text = format!("{record:?}");
            let value = record.value.unwrap_or_default();
            let value = String::from_utf8_lossy(&value);
            for secret in [ADMIN.password, KMIRROR.password] {
                ensure!(!text.contains(secret), "{text}");
                ensure!(!value.contains(secret), "{value}");
            }
        }
        Ok(())
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a plain name")
}

fn id_of(cluster: &Secured) -> Result<String> {
    let consumer: BaseConsumer = client::config(&cluster.bootstrap()).create()?;
    let id = consumer.client().fetch_cluster_id(Duration::from_secs(10));
    id.context("a cluster id")
}

fn await_mirror(west: &Serving, at: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
    let started = Instant::now();
    loop {
        let mirror = west.get(at)?;
        if is_so(&mirror) {
            return Ok(());
        }
        ensure!(
            started.elapsed() < Duration::from_secs(60),
            "never: {mirror}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub fn stop(mut serving: Serving) -> Result<()> {
    serving.process.signal("TERM")?;
    let ended = serving.process.wait(Duration::from_secs(30))?;
    ensure!(ended.success(), "{ended}");
    let log = serving.process.log_text();
    ensure!(
        !log.contains(ADMIN.password),
        "the log gives a password away"
    );
    Ok(())
}

/// Whatever a killed server and worker left, the same call succeeds afterwards.
fn killed_in_the_middle(lab: &Lab) -> Result<()> {
    let stage = Stage::new(lab)?;
    client::create_topics(&stage.pair.east.bootstrap(), &[TOPIC], 1)?;
    client::produce(
        &client::Place::new(stage.pair.east.bootstrap(), TOPIC),
        "x",
        200,
    )?;
    let link = json!({
        "source_cluster_id": id_of(&stage.pair.east)?,
        "configs": stage.reach(&stage.pair.east, ""),
    });
    let mirror = json!({"source_topic_name": TOPIC});
    let topics = json!({"mirror_topic_names": [TOPIC]});
    let calls: [(&str, &str, Option<&Value>, &[u16]); 5] = [
        ("POST", "/links?link_name=demo-link", Some(&link), &[201]),
        ("POST", "/links/demo-link/mirrors", Some(&mirror), &[201]),
        (
            "POST",
            "/links/demo-link/mirrors:promote",
            Some(&topics),
            &[200],
        ),
        // Where the first try had done all of it, the second finds nothing.
        ("DELETE", "/topics/demo-link-topic", None, &[204, 404]),
        ("DELETE", "/links/demo-link", None, &[204, 404]),
    ];
    for after in [20, 90, 250] {
        for (method, path, body, wanted) in calls {
            let mut doomed = stage.worker(lab, "west", &stage.pair.west)?;
            let (address, at) = (doomed.address.clone(), doomed.at(path));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // Nobody waits for this answer.
                    let _cut_off = crate::rest::send(&address, method, &at, body);
                });
                std::thread::sleep(Duration::from_millis(after));
                doomed.process.signal("KILL")
            })?;
            let west = stage.worker(lab, "west", &stage.pair.west)?;
            let (status, answer) = west.send(method, &west.at(path), body)?;
            ensure!(
                wanted.contains(&status),
                "{after} ms, {method} {path}: {status} {answer}"
            );
            if path.ends_with(":promote") {
                let at = format!("/links/demo-link/mirrors/{TOPIC}");
                await_mirror(&west, &at, |mirror| mirror["mirror_status"] == "STOPPED")?;
                let copied =
                    client::watermarks(&client::Place::new(stage.pair.west.bootstrap(), TOPIC))?;
                // All of them and the marker that fences.
                ensure!(copied[0].1 == 201, "{copied:?}");
            }
            stop(west)?;
        }
        lab.note(format!("killed {after} ms after each call"));
    }
    Ok(())
}
