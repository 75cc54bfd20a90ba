//! Cluster Linking's tutorial by its REST API, on plain Kafka: two secured clusters, links that are made over HTTP, and workers that
//! find them.

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
use crate::support::secured::{ADMIN, Door, Secured};
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
        test("links::tutorial", Tier::Readme, 60, tutorial),
        test(
            "links::opened_by_the_source",
            Tier::Readme,
            60,
            opened_by_the_source,
        ),
        test(
            "links::killed_in_the_middle",
            Tier::Long,
            240,
            killed_in_the_middle,
        ),
    ]
}

const TOPIC: &str = "demo-link-topic";

/// Two clusters that are reached over SASL_SSL, and a key for what links keep secret.
pub struct Stage {
    pub pair: Pair,
    trust: String,
    key: String,
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
        let way = Way::to(cluster.door(Door::Sasl))
            .set("security.protocol", "SASL_SSL")
            .set("sasl.mechanism", "PLAIN")
            .set("sasl.jaas.config", &ADMIN.plain_jaas())
            .set(
                "ssl.ca.location",
                text(&self.pair.realm.authority.certificate)?,
            );
        let file = format!("kmirror = 1\n{}", way.cluster(name));
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        // Of its own: the address stands in its log.
        let own = lab.subdir(&format!("{name}-{number}"))?;
        let path = own.join("topology.toml");
        std::fs::write(&path, file)?;
        let kmirror = Kmirror::with_file(lab, path)
            .log_to(own.join("kmirror.log"))
            .env("KMIRROR_KEY", &self.key);
        Serving::of(kmirror.start(&["--http", "127.0.0.1:0"])?)
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
            ensure!(!text.contains(ADMIN.password), "{text}");
            let value = record.value.unwrap_or_default();
            let value = String::from_utf8_lossy(&value);
            ensure!(!value.contains(ADMIN.password), "{value}");
        }
        Ok(())
    }

    /// Produces 1 to 5 at the source, consumes them at the destination, promotes, writes there too, and deletes everything.
    fn rest_of_the_tutorial(&self, west: &Serving) -> Result<()> {
        let mirror = json!({"source_topic_name": TOPIC, "configs": []});
        done(west, "POST", "/links/demo-link/mirrors", Some(&mirror), 201)?;
        let numbers: String = (1..=5).map(|n| format!("{n}\n")).collect();
        self.pair.east.tools().console_producer(TOPIC, &numbers)?;
        let consumed = self.pair.west.tools().console_consumer(TOPIC, 5)?;
        ensure!(consumed.lines().eq(["1", "2", "3", "4", "5"]), "{consumed}");
        let at = format!("/links/demo-link/mirrors/{TOPIC}");
        await_mirror(west, &at, |mirror| {
            mirror["mirror_status"] == "ACTIVE"
                && mirror["mirror_lags"][0]["last_source_fetch_offset"] == 4
        })?;
        let topics = json!({"mirror_topic_names": [TOPIC]});
        let promote = west.at("/links/demo-link/mirrors:promote");
        let (status, answer) = west.send("POST", &promote, Some(&topics))?;
        ensure!(
            status == 200 && answer["data"][0]["error_code"].is_null(),
            "{answer}"
        );
        await_mirror(west, &at, |mirror| mirror["mirror_status"] == "STOPPED")?;
        self.pair.west.tools().console_producer(TOPIC, "6\n")?;
        let consumed = self.pair.west.tools().console_consumer(TOPIC, 6)?;
        ensure!(consumed.lines().last() == Some("6"), "{consumed}");
        done(west, "DELETE", &format!("/topics/{TOPIC}"), None, 204)?;
        ensure!(!self.pair.west.tools().topics(&["--list"])?.contains(TOPIC));
        done(west, "DELETE", "/links/demo-link", None, 204)?;
        let left = west.get("/links")?;
        ensure!(left["data"] == json!([]), "{left}");
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

/// Asks, and wants this status.
fn done(
    serving: &Serving,
    method: &str,
    path: &str,
    body: Option<&Value>,
    wanted: u16,
) -> Result<()> {
    let (status, answer) = serving.send(method, &serving.at(path), body)?;
    ensure!(status == wanted, "{method} {path}: {status} {answer}");
    Ok(())
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

fn tutorial(lab: &Lab) -> Result<()> {
    let stage = Stage::new(lab)?;
    client::create_topics(&stage.pair.east.bootstrap(), &[TOPIC], 1)?;
    let west = stage.worker(lab, "west", &stage.pair.west)?;
    let link = json!({
        "source_cluster_id": id_of(&stage.pair.east)?,
        "configs": stage.reach(&stage.pair.east, ""),
    });
    done(
        &west,
        "POST",
        "/links?link_name=demo-link",
        Some(&link),
        201,
    )?;
    let links = west.get("/links")?;
    ensure!(links["data"][0]["link_state"] == "ACTIVE", "{links}");
    let jaas = west.get("/links/demo-link/configs/sasl.jaas.config")?;
    ensure!(
        jaas["value"].is_null() && jaas["is_sensitive"] == true,
        "{jaas}"
    );
    stage.rest_of_the_tutorial(&west)?;
    stage.keeps_secrets(&stage.pair.west)?;
    stop(west)
}

/// The worker beside the destination knows nothing of the source, and the other way round.
fn opened_by_the_source(lab: &Lab) -> Result<()> {
    let stage = Stage::new(lab)?;
    let (east, west) = (&stage.pair.east, &stage.pair.west);
    client::create_topics(&east.bootstrap(), &[TOPIC], 1)?;
    let at_west = stage.worker(lab, "west", west)?;
    let at_east = stage.worker(lab, "east", east)?;
    let inbound = json!({
        "source_cluster_id": id_of(east)?,
        "configs": [
            {"name": "link.mode", "value": "DESTINATION"},
            {"name": "connection.mode", "value": "INBOUND"},
        ],
    });
    let mut configs = stage.reach(west, "");
    configs.extend(stage.reach(east, "local."));
    configs.push(json!({"name": "link.mode", "value": "SOURCE"}));
    configs.push(json!({"name": "connection.mode", "value": "OUTBOUND"}));
    let outbound = json!({"destination_cluster_id": id_of(west)?, "configs": configs});
    let create = "/links?link_name=demo-link";
    let early = at_east.change("POST", create, Some(&outbound))?;
    ensure!(early == (400, json!(40002)), "{early:?}");
    done(&at_west, "POST", create, Some(&inbound), 201)?;
    done(&at_east, "POST", create, Some(&outbound), 201)?;
    stage.rest_of_the_tutorial(&at_west)?;
    done(&at_east, "DELETE", "/links/demo-link", None, 204)?;
    stage.keeps_secrets(east)?;
    stop(at_east)?;
    stop(at_west)
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
