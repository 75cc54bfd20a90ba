//! Numbered checks that every tool of this kind has failed at least once, where real brokers judge. docs/testing.md lists
//! them all.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kmirror::control;
use kmirror::kafka::admin::NewTopic;
use kmirror::kafka::{Client, ClientConfig, Topics};
use serde_json::Value;

use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::process::Output;
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    let test = |name, body| Test {
        name,
        tier: Tier::Readme,
        brokers: 2,
        seconds: 40,
        body,
    };
    vec![
        test(
            "checks::check_2_3_4_values_and_where_they_come_from",
            values,
        ),
        test(
            "checks::check_9_11_killed_and_two_at_once",
            killed_and_two_at_once,
        ),
        test("checks::check_7_a_saved_plan_and_what_moved", what_moved),
    ]
}

const PLAN: [&str; 1] = ["--detailed-exitcode"];

fn start(lab: &Lab) -> Result<(Cluster, Cluster)> {
    std::thread::scope(|scope| {
        let east = scope.spawn(|| Spec::new("east", Version::V4_3).start(lab));
        let west = Spec::new("west", Version::V4_3).start(lab)?;
        Ok((east.join().expect("starting does not panic")?, west))
    })
}

fn file(east: &Cluster, west: &Cluster, more: &str) -> String {
    file_of(&east.bootstrap(), &west.bootstrap(), more)
}

fn file_of(east: &str, west: &str, more: &str) -> String {
    format!(
        "kmirror = 1\n[clusters.east]\nbootstrap_servers = \"{east}\"\n[clusters.west]\nbootstrap_servers = \"{west}\"\n{more}"
    )
}

fn expect(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let text = output.text();
    ensure!(
        output.status.code() == Some(code),
        "{} instead of {code}:\n{text}",
        output.status
    );
    for words in words {
        ensure!(text.contains(words), "{words:?} is missing in\n{text}");
    }
    Ok(())
}

/// Nothing to do, nothing drifted, and an apply that needs no answer because it has no question.
fn quiet(kmirror: &Kmirror) -> Result<()> {
    expect(&kmirror.command("plan", &PLAN)?, 0, &["No changes."])?;
    expect(&kmirror.command("drift", &[])?, 0, &["No drift."])?;
    expect(&kmirror.command("apply", &[])?, 0, &["No changes."])
}

fn values(lab: &Lab) -> Result<()> {
    let (east, west) = start(lab)?;
    east.tools()
        .create_topic("orders", 1, &["segment.ms=7000"])?;
    west.tools().create_topic("audit", 1, &[])?;
    let with = |audit: &str, orders: &str| {
        let links = format!(
            "[clusters.west.topics.audit]\n{audit}\
             [links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"orders\"]\n\
             [links.copy.mirrors.orders]\n{orders}"
        );
        Kmirror::new(lab, &file(&east, &west, &links))
    };

    // 2: 604800000 is what Kafka has by default.
    let pinned = with("config = { \"retention.ms\" = 604800000 }\n", "")?;
    let first = pinned.command("plan", &PLAN)?;
    lab.note(&first.stdout);
    expect(
        &first,
        2,
        &["604800000 (7d) -> 604800000 (7d)  Kafka's default -> in the file"],
    )?;
    pinned.ok("apply", &["--yes"])?;
    quiet(&pinned)?;

    // 3: somebody sets defaults for the whole cluster, at both ends.
    for cluster in [&east, &west] {
        cluster.tools().configs(&[
            "--alter",
            "--entity-type",
            "brokers",
            "--entity-default",
            "--add-config",
            "log.retention.ms=777777,log.segment.bytes=123456789,log.cleanup.policy=compact",
        ])?;
    }
    let admin = Admin::of(&west)?;
    admin.wait_for_config("orders", "retention.ms", "777777")?;
    quiet(&pinned)?;
    let (value, own) = admin.config("audit", "retention.ms")?;
    ensure!((value.as_str(), own) == ("604800000", true), "{value}");

    // 4: keys leave the file again, of a mirror and of an owned topic.
    let overridden = with(
        "config = { \"retention.ms\" = 604800000 }\n",
        "config = { \"retention.ms\" = 1000, \"segment.ms\" = 8000 }\n",
    )?;
    overridden.ok("apply", &["--yes"])?;
    quiet(&overridden)?;
    let dropped = with("", "")?;
    let planned = dropped.command("plan", &PLAN)?;
    lab.note(&planned.stdout);
    expect(
        &planned,
        2,
        &[
            "1000 (1s) -> 777777",
            "8000 (8s) -> 7000 (7s)",
            "Plan: 2 to update",
            "audit (retention.ms = 604800000)",
        ],
    )?;
    dropped.ok("apply", &["--yes"])?;
    quiet(&dropped)?;
    let (value, own) = admin.config("orders", "retention.ms")?;
    ensure!((value.as_str(), own) == ("777777", false), "{value} {own}");
    let (value, own) = admin.config("orders", "segment.ms")?;
    ensure!((value.as_str(), own) == ("7000", true), "{value} {own}");

    // Whoever wants it has what the file does not name reset on owned topics too.
    let reset = with("other_configs = \"reset\"\n", "")?;
    let planned = reset.command("plan", &PLAN)?;
    expect(
        &planned,
        2,
        &["604800000 (7d) -> 777777", "Plan: 1 to update"],
    )?;
    reset.ok("apply", &["--yes"])?;
    admin.wait_for_config("audit", "retention.ms", "777777")?;
    quiet(&reset)
}

const MANY: usize = 350;

/// 7, and then a source that is down: a plan that was saved is refused where the clusters moved, and its link can be paused.
fn what_moved(lab: &Lab) -> Result<()> {
    let (mut east, west) = start(lab)?;
    for topic in ["orders", "payments", "stock"] {
        east.tools().create_topic(topic, 2, &[])?;
    }
    west.tools()
        .create_topic("audit", 1, &["retention.ms=1000"])?;
    let (from, to) = (east.bootstrap(), west.bootstrap());
    let text = |link: &str| {
        let more = format!(
            "[clusters.west.topics.audit]\nconfig = {{ \"retention.ms\" = 604800000 }}\n\
             [links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"orders\", \"payments\", \"stock\"]\n{link}"
        );
        file_of(&from, &to, &more)
    };
    let kmirror = Kmirror::new(lab, &text(""))?;
    let saved = lab.dir().join("plan.json");
    let saved = saved.to_str().expect("a plain path");
    kmirror.ok("plan", &["--out", saved])?;
    let plan = Kmirror::with_file(lab, saved.into());

    // One is another topic by now, one has other values; what is not in the plan does not matter.
    let admin = Admin::of(&east)?;
    let former = admin.id("orders")?;
    east.tools().topics(&["--delete", "--topic", "orders"])?;
    east.tools().create_topic("orders", 2, &[])?;
    let begun = Instant::now();
    while admin.id("orders").is_ok_and(|id| id == former) || admin.id("orders").is_err() {
        ensure!(begun.elapsed() < Duration::from_secs(20), "it is not there");
        std::thread::sleep(Duration::from_millis(50));
    }
    west.tools().configs(&[
        "--alter",
        "--entity-type",
        "topics",
        "--entity-name",
        "audit",
        "--add-config",
        "retention.ms=5000",
    ])?;
    west.tools().create_topic("unrelated", 1, &[])?;
    let before = west.tools().topics(&["--list"])?;
    let refused = plan.command("apply", &["--yes"])?;
    lab.note(refused.text());
    expect(
        &refused,
        1,
        &[
            "nothing was done: 2 of 6 actions",
            "cluster.west/topic.audit: config.retention.ms: planned 1000 (1s) -> 604800000 (7d); now 5000 (5s) -> 604800000 (7d)",
            "mirror.copy/orders: the source topic's id was ",
            "as planned: control.west, link.copy, mirror.copy/payments, mirror.copy/stock",
        ],
    )?;
    ensure!(
        west.tools().topics(&["--list"])? == before,
        "something was done"
    );
    let some = plan.command("apply", &["--yes", "--skip-stale"])?;
    expect(&some, 3, &["Applied: 4 done.", "2 of 6 actions"])?;
    let rest = kmirror.command("plan", &PLAN)?;
    expect(
        &rest,
        2,
        &[
            "5000 (5s) -> 604800000 (7d)",
            "Plan: 1 to create, 1 to update",
        ],
    )?;
    kmirror.ok("apply", &["--yes"])?;
    quiet(&kmirror)?;

    let (active, paused) = (text(""), text("state = \"paused\"\n"));
    east.kill(0)?;
    let planned = Kmirror::new(lab, &active)?.command("plan", &[])?;
    expect(&planned, 3, &["The source `east` can't be read"])?;
    let paused = Kmirror::new(lab, &paused)?;
    let applied = paused.command("apply", &["--yes"])?;
    lab.note(applied.text());
    expect(
        &applied,
        0,
        &["link.copy will be paused", "Applied: 1 done."],
    )?;
    expect(&paused.command("plan", &[])?, 3, &["1 blocked"])
}

fn killed_and_two_at_once(lab: &Lab) -> Result<()> {
    let (east, west) = start(lab)?;
    let (from, to) = (Admin::of(&east)?, Admin::of(&west)?);
    from.create((0..MANY).map(|number| format!("topic-{number:03}")))?;
    let link = "[links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"topic-*\"]\n";
    let kmirror = Kmirror::new(lab, &file(&east, &west, link))?;

    // 9: killed once a few of many topics are there.
    let mut apply = kmirror.start_command("apply", &["--yes"])?;
    let begun = Instant::now();
    while to.mirrors()? == 0 {
        ensure!(apply.exited()?.is_none(), "it ended: {}", apply.log_text());
        ensure!(begun.elapsed() < Duration::from_secs(60), "no topic yet");
    }
    apply.kill()?;
    let there = to.settled_mirrors("killed")?;
    lab.note(format!("killed: {there} of {MANY} topics are there"));
    ensure!(there < MANY, "it was killed too late to show anything");
    let plan = kmirror.command("plan", &["--format", "json"])?;
    let document: Value = serde_json::from_str(&plan.stdout)?;
    let (mut adopted, mut created) = (0, 0);
    for entry in document["entries"].as_array().into_iter().flatten() {
        let address = entry["address"].as_str().unwrap_or_default();
        if address.starts_with("mirror.") && entry["action"] == "create" {
            let reasons = entry["reasons"].as_array();
            let mut reasons = reasons.into_iter().flatten();
            match reasons.any(|it| it["reason"] == "adopts_empty_topic") {
                true => adopted += 1,
                false => created += 1,
            }
        }
    }
    ensure!(
        (adopted, created) == (there, MANY - there),
        "{adopted} adopted, {created} created, after {there} of {MANY}"
    );

    // 11: one apply is in the middle of its work; it stands still, so that the other can't be too late.
    let mut first = kmirror.start_command("apply", &["--yes", "--lock-timeout", "90s"])?;
    let begun = Instant::now();
    while to.mirrors()? == there {
        ensure!(first.exited()?.is_none(), "it ended: {}", first.log_text());
        ensure!(begun.elapsed() < Duration::from_secs(100), "no more topics");
    }
    first.signal("STOP")?;
    ensure!(first.exited()?.is_none(), "it ended: {}", first.log_text());
    // The request that is under way goes on without it.
    to.settled_mirrors("stopped")?;
    ensure!(to.locked()?, "the lock is held");
    let second = kmirror.command("apply", &["--yes"])?;
    lab.note(second.text());
    expect(
        &second,
        1,
        &["nothing was done", "`west` is locked by", "(`apply`), for"],
    )?;
    ensure!(second.text().contains(&format!("({})", first.pid())));
    first.signal("CONT")?;
    let status = first.wait(Duration::from_secs(120))?;
    ensure!(status.success(), "{status}: {}", first.log_text());
    ensure!(to.mirrors()? == MANY);
    ensure!(!to.locked()?, "the lock is given back");
    quiet(&kmirror)
}

/// Questions to a cluster by kmirror's own client, which is quicker than a tool.
struct Admin {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Admin {
    fn of(cluster: &Cluster) -> Result<Self> {
        let runtime = tokio::runtime::Runtime::new()?;
        let config = ClientConfig::new("asked", vec![cluster.bootstrap()]);
        let client = runtime.block_on(Client::connect(config))?;
        Ok(Self { runtime, client })
    }

    fn create(&self, names: impl Iterator<Item = String>) -> Result<()> {
        let topics = names.map(|name| NewTopic {
            name,
            partitions: Some(1),
            replication_factor: Some(1),
            configs: Vec::new(),
        });
        let admin = self.client.admin();
        let results = self
            .runtime
            .block_on(admin.create_topics(topics.collect(), false));
        for (_, result) in results {
            result?;
        }
        Ok(())
    }

    fn mirrors(&self) -> Result<usize> {
        let admin = self.client.admin();
        let metadata = self.runtime.block_on(admin.metadata(Topics::All))?;
        let names = metadata.topics.iter().map(|topic| &topic.name);
        Ok(names.filter(|name| name.starts_with("topic-")).count())
    }

    /// Once nothing comes any more: a request that has left outlives its sender. A controller does one thing after the
    /// other, so that all that was asked before is there when `barrier` is.
    fn settled_mirrors(&self, barrier: &str) -> Result<usize> {
        std::thread::sleep(Duration::from_millis(500));
        self.create(std::iter::once(barrier.to_owned()))?;
        self.mirrors()
    }

    fn id(&self, topic: &str) -> Result<uuid::Uuid> {
        let admin = self.client.admin();
        let topics = [topic.to_owned()];
        let metadata = self
            .runtime
            .block_on(admin.metadata(Topics::Named(&topics)))?;
        let topic = metadata.topic(topic).filter(|topic| topic.error.is_ok());
        topic.map(|topic| topic.id).context("no such topic")
    }

    fn locked(&self) -> Result<bool> {
        let state = self.runtime.block_on(control::read(&self.client))?;
        Ok(state.is_some_and(|state| state.lock.is_some()))
    }

    /// A value, and whether the topic has set it itself.
    fn config(&self, topic: &str, key: &str) -> Result<(String, bool)> {
        use kmirror::kafka::admin::{ConfigResource, ConfigSource};
        let admin = self.client.admin();
        let asked = vec![ConfigResource::Topic(topic.to_owned())];
        for (_, entries) in self.runtime.block_on(admin.describe_configs(asked)) {
            for entry in entries? {
                if entry.name == key {
                    let own = entry.source == ConfigSource::Topic;
                    return Ok((entry.value.unwrap_or_default(), own));
                }
            }
        }
        bail!("{topic} has no {key}")
    }

    /// A broker's dynamic default takes a moment.
    fn wait_for_config(&self, topic: &str, key: &str, value: &str) -> Result<()> {
        let begun = Instant::now();
        while self.config(topic, key)?.0 != value {
            ensure!(
                begun.elapsed() < Duration::from_secs(20),
                "{key} of {topic}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}
