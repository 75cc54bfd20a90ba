//! Many topics: what a plan and an apply of thousands cost, next to asking and creating topic by topic, on the same brokers
//! in the same run.
//!
//! Topic by topic is what providers do that refresh resource by resource, and tools that look at one topic after the other.
//! It is done here by kmirror's own client, on open connections and without the pauses that such tools make.
//! `scripts/bench scale` runs this; docs/performance.md has figures.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kmirror::kafka::admin::{Admin, ConfigResource, NewTopic};
use kmirror::kafka::{Client, ClientConfig, Topics};
use tokio::runtime::Runtime;

use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::{Heap, Version};
use crate::support::lab::Lab;
use crate::support::process;
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    vec![Test {
        name: "scale::thousands_of_topics",
        tier: Tier::Bench,
        brokers: 2,
        seconds: 400,
        body: thousands_of_topics,
    }]
}

/// Topics of each cluster, and how many of them are mirrored.
const TOPICS: usize = 5_000;
const MIRRORED: usize = 2_000;
/// Created one by one, for the comparison.
const SINGLY: usize = 500;

/// What is promised: the process's own time and memory.
const CPU_SECONDS: f64 = 2.0;
const MEMORY_MIB: f64 = 200.0;

fn thousands_of_topics(lab: &Lab) -> Result<()> {
    let spec = |name| {
        Spec::new(name, Version::V4_3)
            .heap(Heap::Fast)
            .config("num.io.threads", "4")
            .config("log.index.size.max.bytes", "4096")
    };
    let (east, west) = (spec("east").start(lab)?, spec("west").start(lab)?);
    let runtime = Runtime::new()?;
    let (from, to) = (admin(&runtime, &east)?, admin(&runtime, &west)?);
    let names = |prefix: &'static str, count: usize| {
        (0..count).map(move |number| format!("{prefix}-{number:04}"))
    };
    let started = Instant::now();
    let others = TOPICS - MIRRORED;
    create(
        &runtime,
        &from,
        names("mirrored", MIRRORED).chain(names("east", others)),
    )?;
    create(&runtime, &to, names("west", others))?;
    lab.note(format!("topics created in {:?}", started.elapsed()));

    let singly: Vec<String> = names("singly", SINGLY).collect();
    let started = Instant::now();
    for name in &singly {
        create(&runtime, &to, std::iter::once(name.clone()))?;
    }
    let created_singly = started.elapsed();
    for (name, result) in runtime.block_on(to.delete_topics(singly)) {
        result.with_context(|| name)?;
    }

    let file = format!(
        "kmirror = 1\n[clusters.east]\nbootstrap_servers = \"{}\"\n[clusters.west]\nbootstrap_servers = \"{}\"\n\
         [links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"mirrored-*\"]\n",
        east.bootstrap(),
        west.bootstrap()
    );
    let kmirror = Kmirror::new(lab, &file)?;
    let first = measure(lab, &kmirror, "plan", &["--detailed-exitcode"], 2)?;
    let apply = measure(lab, &kmirror, "apply", &["--yes"], 0)?;
    let quiet = measure(lab, &kmirror, "plan", &["--detailed-exitcode"], 0)?;
    let drift = measure(lab, &kmirror, "drift", &[], 0)?;

    let started = Instant::now();
    for admin in [&from, &to] {
        for name in names("mirrored", MIRRORED) {
            read_one(&runtime, admin, name)?;
        }
    }
    let read_singly = started.elapsed();

    println!(
        "\ntwo clusters with {TOPICS} topics each, {MIRRORED} of them mirrored\n{:>34} {:>9} {:>8} {:>11} {:>8} {:>9}",
        "", "requests", "time s", "own time s", "CPU s", "peak MiB"
    );
    for (name, figures) in [
        ("plan, nothing mirrored yet", &first),
        ("apply", &apply),
        ("plan, nothing to do", &quiet),
        ("drift", &drift),
    ] {
        // An apply waits, without asking all the time, until brokers show what they have created.
        let own = match name {
            "apply" => "-".to_owned(),
            _ => format!("{:.2}", figures.own.as_secs_f64()),
        };
        println!(
            "{name:>34} {:>9} {:>8.2} {own:>11} {:>8.2} {:>9.0}",
            figures.requests(),
            figures.time.as_secs_f64(),
            figures.cpu_seconds,
            figures.memory_mib
        );
    }
    let whole = created_singly.as_secs_f64() * MIRRORED as f64 / SINGLY as f64;
    println!(
        "{:>34} {:>9} {:>8.2}",
        "reading topic by topic",
        4 * MIRRORED,
        read_singly.as_secs_f64()
    );
    println!(
        "{:>34} {:>9} {whole:>8.2}  ({SINGLY} in {:.2} s)",
        "creating topic by topic",
        MIRRORED,
        created_singly.as_secs_f64()
    );
    for (name, figures) in [("first plan", &first), ("apply", &apply), ("plan", &quiet)] {
        println!("{name}: {:?}", figures.by_api);
    }
    for figures in [&first, &quiet, &drift] {
        ensure!(figures.requests() <= 150, "{} requests", figures.requests());
        ensure!(
            figures.cpu_seconds < CPU_SECONDS && figures.memory_mib < MEMORY_MIB,
            "{figures:?}"
        );
    }
    let creations = apply.by_api.get("CreateTopics").copied().unwrap_or(0);
    ensure!(creations <= 2 * MIRRORED / 100 + 5, "{creations} creations");
    Ok(())
}

fn admin(runtime: &Runtime, cluster: &Cluster) -> Result<Admin> {
    let config = ClientConfig::new("asked", vec![cluster.bootstrap()]);
    Ok(runtime.block_on(Client::connect(config))?.admin())
}

fn create(runtime: &Runtime, admin: &Admin, names: impl Iterator<Item = String>) -> Result<()> {
    let topics: Vec<NewTopic> = names
        .map(|name| NewTopic {
            name,
            partitions: Some(1),
            replication_factor: Some(1),
            configs: vec![
                ("retention.ms".to_owned(), "86400000".to_owned()),
                ("cleanup.policy".to_owned(), "compact,delete".to_owned()),
            ],
        })
        .collect();
    // Some at a time, so that each call stays within its time.
    for some in topics.chunks(500) {
        for (name, result) in runtime.block_on(admin.create_topics(some.to_vec(), false)) {
            result.with_context(|| name)?;
        }
    }
    Ok(())
}

/// What a tool asks that looks at one topic: what it is, and what it is set to.
fn read_one(runtime: &Runtime, admin: &Admin, name: String) -> Result<()> {
    runtime.block_on(async {
        let metadata = admin.metadata(Topics::Named(std::slice::from_ref(&name)));
        metadata.await?.topic(&name).context("it is there")?;
        let asked = vec![ConfigResource::Topic(name)];
        for (_, entries) in admin.describe_configs(asked).await {
            entries?;
        }
        Ok(())
    })
}

/// What one run of the program took.
#[derive(Debug)]
struct Figures {
    time: Duration,
    /// Of a run that traces: the time in which no answer was due.
    own: Duration,
    cpu_seconds: f64,
    memory_mib: f64,
    by_api: BTreeMap<String, usize>,
}

impl Figures {
    fn requests(&self) -> usize {
        self.by_api.values().sum()
    }
}

/// Runs it and watches the process. It traces the answers that it gets, some dozens of lines.
fn measure(
    lab: &Lab,
    kmirror: &Kmirror,
    command: &str,
    args: &[&str],
    code: i32,
) -> Result<Figures> {
    let log = lab.dir().join(format!("{command}.trace"));
    let mut process: Command = kmirror.invocation(command, args);
    process
        .env("KMIRROR_LOG", "kmirror::kafka::connection=trace")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log)?);
    let begun = Instant::now();
    let mut child = process.spawn()?;
    let (mut cpu_seconds, mut memory_mib) = (0.0_f64, 0.0_f64);
    let status = loop {
        // A process that has ended but was not waited for keeps its account of time.
        cpu_seconds = cpu_seconds.max(process::cpu_seconds(child.id()).unwrap_or(0.0));
        memory_mib = memory_mib.max(process::peak_memory_mib(child.id()).unwrap_or(0.0));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(300) {
            child.kill()?;
            bail!("{command} does not end");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let time = begun.elapsed();
    let text = std::fs::read_to_string(&log)?;
    ensure!(
        status.code() == Some(code),
        "{command}: {status}\n{}",
        process::tail(&log, 30)
    );
    let answers: Vec<Answer> = text.lines().filter_map(Answer::read).collect();
    let mut by_api: BTreeMap<String, usize> = BTreeMap::new();
    for answer in &answers {
        *by_api.entry(answer.api.clone()).or_default() += 1;
    }
    lab.note(format!("{command}: {time:?} {by_api:?}"));
    Ok(Figures {
        time,
        own: time.saturating_sub(waited(&answers)),
        cpu_seconds,
        memory_mib,
        by_api,
    })
}

/// A line of the client's trace.
struct Answer {
    api: String,
    /// Microseconds since the epoch.
    at: i64,
    took: i64,
}

impl Answer {
    fn read(line: &str) -> Option<Self> {
        let time: jiff::Timestamp = line.split_whitespace().next()?.parse().ok()?;
        let value = |key: &str| {
            let (_, rest) = line.split_once(&format!(" {key}="))?;
            rest.split_whitespace().next()
        };
        Some(Self {
            api: value("api")?.trim_matches('"').to_owned(),
            at: time.as_microsecond(),
            took: value("took_us")?.parse().ok()?,
        })
    }
}

/// The time in which at least one answer was due.
fn waited(answers: &[Answer]) -> Duration {
    let mut spans: Vec<(i64, i64)> = answers.iter().map(|it| (it.at - it.took, it.at)).collect();
    spans.sort_unstable();
    let (mut sum, mut until) = (0, i64::MIN);
    for (from, to) in spans {
        let from = from.max(until);
        if to > from {
            sum += to - from;
            until = to;
        }
    }
    Duration::from_micros(u64::try_from(sum).unwrap_or(0))
}
