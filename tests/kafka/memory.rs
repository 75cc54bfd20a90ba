//! What a worker holds in memory stays within what it was given, whatever it reads and however slow it gets rid of it, and
//! one partition that is stuck does not keep the others.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::copy::{same, topology};
use crate::support::client::{self, Place};
use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::{Heap, Version};
use crate::support::lab::Lab;
use crate::support::process::{self, Process};
use crate::support::proxy::{Direction, Flow};
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

const TOPIC: &str = "large";
const PATIENCE: Duration = Duration::from_secs(120);
/// What is given to the worker, in MiB.
const GIVEN: f64 = 64.0;
/// The rest of a process with a few partitions, and what its allocator keeps, in MiB.
const REST: f64 = 64.0;

pub fn tests() -> Vec<Test> {
    let test = |name, brokers, seconds, body| Test {
        name,
        tier: Tier::Long,
        brokers,
        seconds,
        body,
    };
    vec![
        test("memory::batches_of_90_mebibytes", 2, 60, huge_batches),
        test("memory::a_broker_that_hangs", 3, 60, hanging),
    ]
}

/// As large as the tools' own clients still read.
const HUGE: usize = 90 << 20;

fn spec(name: &str) -> Spec {
    Spec::new(name, Version::V4_3)
        .heap(Heap::Fast)
        .config("message.max.bytes", "100000000")
        .config("replica.fetch.max.bytes", "100000000")
}

fn producer(cluster: &Cluster) -> Result<BaseProducer> {
    Ok(client::config(&cluster.bootstrap())
        .set("message.max.bytes", "100000000")
        .set("queue.buffering.max.kbytes", "400000")
        .set("linger.ms", "20")
        .create()?)
}

fn send(producer: &BaseProducer, partition: i32, payload: &[u8]) -> Result<()> {
    let record = BaseRecord::to(TOPIC).partition(partition).payload(payload);
    client::send(producer, record)
}

fn random(bytes: usize, seed: u64) -> Vec<u8> {
    let mut payload = vec![0; bytes];
    StdRng::seed_from_u64(seed).fill_bytes(&mut payload);
    payload
}

/// Next offsets of the copy's partitions; 0 where there are none yet.
fn ends(cluster: &Cluster) -> Result<Vec<i64>> {
    let copy = Place::new(cluster.bootstrap(), format!("copy.{TOPIC}"));
    Ok(client::watermarks(&copy)?
        .into_iter()
        .map(|(_, end)| end)
        .collect())
}

/// Waits until the copy's partitions that are meant end where the source's do.
fn await_copies(
    worker: &mut Process,
    (source, destination): (&Cluster, &Cluster),
    meant: impl Fn(usize) -> bool,
) -> Result<()> {
    let wanted = client::watermarks(&Place::new(source.bootstrap(), TOPIC))?;
    let start = Instant::now();
    loop {
        let found = ends(destination)?;
        let mut pairs = wanted.iter().zip(&found).enumerate();
        if pairs.all(|(index, ((_, end), found))| !meant(index) || found == end) {
            return Ok(());
        }
        ensure!(
            worker.exited()?.is_none() && start.elapsed() < PATIENCE,
            "the copy ends at {found:?}, the source at {wanted:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Each is larger than all that was given: one at a time may exceed it.
fn huge_batches(lab: &Lab) -> Result<()> {
    let with_limits = |name| spec(name).config("socket.request.max.bytes", "150000000");
    let (source, destination) = (
        with_limits("source").start(lab)?,
        with_limits("destination").start(lab)?,
    );
    source
        .tools()
        .create_topic(TOPIC, 4, &["max.message.bytes=100000000"])?;
    let producer = producer(&source)?;
    for round in 0..2 {
        for partition in 0..4 {
            for n in 0..200 {
                send(&producer, partition, &random(1_000, n))?;
            }
            send(&producer, partition, &random(HUGE, round))?;
            producer.flush(PATIENCE)?;
        }
    }
    let kmirror = Kmirror::new(lab, &topology(&source, &destination, TOPIC))?;
    kmirror.ok("apply", &["--yes"])?;
    for round in 0..2 {
        let mut worker = kmirror.start(&["--memory", "64MiB"])?;
        await_copies(&mut worker, (&source, &destination), |_| true)?;
        let peak = process::peak_memory_mib(worker.pid())?;
        worker.stop(Duration::from_secs(60))?;
        lab.note(format!("round {round}: at most {peak:.0} MiB"));
        let most = GIVEN + (HUGE >> 20) as f64 + REST;
        ensure!(peak < most, "{peak:.0} MiB, of {most} MiB at most");
    }
    same(lab, &source, &destination, TOPIC)?;
    Ok(())
}

/// One of the destination's two brokers takes nothing any more, while ten times as much as was given is there to be copied
/// to each. The partitions that the other one leads are copied all the same.
fn hanging(lab: &Lab) -> Result<()> {
    const RECORDS: u64 = 160;
    let source = spec("source").start(lab)?;
    let destination = spec("destination").nodes(2).proxied().start(lab)?;
    source.tools().create_topic(TOPIC, 8, &[])?;
    let text = topology(&source, &destination, TOPIC).replacen(
        &destination.bootstrap(),
        &destination.proxied(),
        1,
    );
    let kmirror = Kmirror::new(lab, &text)?;
    kmirror.ok("apply", &["--yes"])?;
    let producer = producer(&source)?;
    for partition in 0..8 {
        send(&producer, partition, &random(1_000, 0))?;
    }
    producer.flush(PATIENCE)?;
    let mut worker = kmirror.start(&["--memory", "64MiB"])?;
    await_copies(&mut worker, (&source, &destination), |_| true)?;

    let copy = Place::new(destination.bootstrap(), format!("copy.{TOPIC}"));
    let leaders = (0..8).map(|partition| Ok(client::partition_state(&copy, partition)?.0));
    let leaders = leaders.collect::<Result<Vec<i32>>>()?;
    let (stuck, free) = (leaders[0], leaders.iter().position(|it| *it != leaders[0]));
    ensure!(free.is_some(), "one broker leads all: {leaders:?}");
    let proxy = &destination.proxies()[usize::try_from(stuck)? - 1];
    proxy.set(Direction::ToBroker, Flow::Held);
    for n in 0..RECORDS {
        for partition in 0..8 {
            send(&producer, partition, &random(1 << 20, n))?;
        }
    }
    producer.flush(PATIENCE)?;
    let both = (&source, &destination);
    await_copies(&mut worker, both, |partition| leaders[partition] != stuck)?;
    let peak = process::peak_memory_mib(worker.pid())?;
    let found = ends(&destination)?;
    lab.note(format!(
        "broker {stuck} hangs: the copy ends at {found:?}, and the worker had {peak:.0} MiB at most"
    ));
    ensure!(
        found
            .iter()
            .zip(&leaders)
            .all(|(end, leader)| *leader != stuck || *end < 20),
        "the proxy held nothing back: {found:?}, led by {leaders:?}"
    );
    ensure!(peak < GIVEN + REST, "{peak:.0} MiB");
    proxy.open();
    await_copies(&mut worker, both, |_| true)?;
    let peak = process::peak_memory_mib(worker.pid())?;
    ensure!(peak < GIVEN + REST, "{peak:.0} MiB");
    worker.stop(Duration::from_secs(60))?;
    same(lab, &source, &destination, TOPIC)?;
    Ok(())
}
