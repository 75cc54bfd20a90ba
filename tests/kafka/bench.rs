//! kmirror against MirrorMaker 2: the same source topic, the same two brokers, one after the other.
//!
//! A copier's clock and CPU account run from the first record seen at the destination to the last one, so that start-up
//! (of a JVM and of Connect in particular) counts for nobody. `scripts/bench` runs these; docs/performance.md has figures.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

use crate::copy::topology;
use crate::support::client::{self, Place, Watch};
use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::{Heap, Version};
use crate::support::lab::Lab;
use crate::support::process::{self, Process};
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    let test = |name, body| Test {
        name,
        tier: Tier::Bench,
        brokers: 3,
        seconds: 240,
        body,
    };
    vec![
        test("bench::records_of_1_kilobyte", kilobyte),
        test("bench::records_of_1_kilobyte_lz4", kilobyte_lz4),
        test("bench::records_of_100_bytes_lz4", hundred_bytes),
    ]
}

/// A workload.
#[derive(Debug, Clone, Copy)]
struct Load {
    title: &'static str,
    record_bytes: usize,
    records: u64,
    batch_bytes: u32,
    codec: &'static str,
}

const TOPIC: &str = "bench";
const PARTITIONS: i32 = 4;

fn kilobyte(lab: &Lab) -> Result<()> {
    measure(
        lab,
        Load {
            title: "1 KB records, 256 KB batches, uncompressed",
            record_bytes: 1_000,
            records: 1_500_000,
            batch_bytes: 262_144,
            codec: "none",
        },
    )
}

fn kilobyte_lz4(lab: &Lab) -> Result<()> {
    measure(
        lab,
        Load {
            title: "1 KB records, 256 KB batches, lz4 (incompressible)",
            record_bytes: 1_000,
            records: 1_500_000,
            batch_bytes: 262_144,
            codec: "lz4",
        },
    )
}

fn hundred_bytes(lab: &Lab) -> Result<()> {
    measure(
        lab,
        Load {
            title: "100 B records, 16 KB batches, lz4 (incompressible)",
            record_bytes: 100,
            records: 6_000_000,
            batch_bytes: 16_384,
            codec: "lz4",
        },
    )
}

fn measure(lab: &Lab, load: Load) -> Result<()> {
    let spec = |name| {
        Spec::new(name, Version::V4_3)
            .heap(Heap::Fast)
            .config("num.io.threads", "4")
    };
    let (source, destination) = (spec("source").start(lab)?, spec("destination").start(lab)?);
    fill(lab, &source, load)?;

    // What MirrorMaker 2 leaves behind in dirty pages must not be kmirror's burden.
    let theirs = mirror_maker(lab, &source, &destination, load)?;
    settle()?;
    lab.note(format!(
        "MirrorMaker 2: {:.0} MB/s, {:.2} CPU s/GB, {theirs:?}",
        theirs.megabytes_per_second(),
        theirs.cpu_per_gigabyte()
    ));
    let ours = kmirror(lab, &source, &destination, load)?;

    println!(
        "\n{}, {PARTITIONS} partitions, {} records",
        load.title, load.records
    );
    println!(
        "{:>16} {:>10} {:>12} {:>12} {:>12}",
        "", "MB/s", "records/s", "CPU s/GB", "peak MiB"
    );
    for (name, result) in [("MirrorMaker 2", &theirs), ("kmirror", &ours)] {
        println!(
            "{name:>16} {:>10.0} {:>12.0} {:>12.2} {:>12.0}",
            result.megabytes_per_second(),
            result.records_per_second(),
            result.cpu_per_gigabyte(),
            result.peak_memory_mib
        );
    }
    println!(
        "{:>16} {:>9.1}x {:>11.1}x {:>11.3}x {:>11.2}x",
        "kmirror is",
        ours.megabytes_per_second() / theirs.megabytes_per_second(),
        ours.records_per_second() / theirs.records_per_second(),
        ours.cpu_per_gigabyte() / theirs.cpu_per_gigabyte(),
        ours.peak_memory_mib / theirs.peak_memory_mib
    );
    Ok(())
}

/// What one copier did.
#[derive(Debug)]
struct Outcome {
    records: u64,
    /// Bytes on disk, as records lie in the source's log.
    bytes: f64,
    time: Duration,
    cpu_seconds: f64,
    peak_memory_mib: f64,
}

impl Outcome {
    fn megabytes_per_second(&self) -> f64 {
        self.bytes / 1e6 / self.time.as_secs_f64()
    }

    fn records_per_second(&self) -> f64 {
        self.records as f64 / self.time.as_secs_f64()
    }

    fn cpu_per_gigabyte(&self) -> f64 {
        self.cpu_seconds / (self.bytes / 1e9)
    }
}

fn mirror_maker(lab: &Lab, source: &Cluster, destination: &Cluster, load: Load) -> Result<Outcome> {
    let file = lab.dir().join("mm2.properties");
    std::fs::write(&file, mirror_maker_properties(source, destination, load))?;
    let mut command = destination.distribution().java_with_heap(2_048);
    command
        // So that its log shows which settings reached which of its clients.
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=info")
        .arg("org.apache.kafka.connect.mirror.MirrorMaker")
        .arg(&file);
    let mut process = Process::spawn("MirrorMaker 2", &mut command, &lab.dir().join("mm2.log"))?;
    let outcome = follow(
        lab,
        &mut process,
        source,
        &Place::new(destination.bootstrap(), format!("a.{TOPIC}")),
        load,
    )?;
    process.stop(Duration::from_secs(20))?;
    Ok(outcome)
}

/// Dedicated mode, tuned: large fetches and batches, two tasks, nothing but the data.
fn mirror_maker_properties(source: &Cluster, destination: &Cluster, load: Load) -> String {
    format!(
        "clusters=a,b\n\
         a.bootstrap.servers={}\n\
         b.bootstrap.servers={}\n\
         a->b.enabled=true\n\
         a->b.topics={TOPIC}\n\
         b->a.enabled=false\n\
         plugin.discovery=service_load\n\
         tasks.max=2\n\
         replication.factor=1\n\
         offset-syncs.topic.replication.factor=1\n\
         checkpoints.topic.replication.factor=1\n\
         heartbeats.topic.replication.factor=1\n\
         config.storage.replication.factor=1\n\
         offset.storage.replication.factor=1\n\
         status.storage.replication.factor=1\n\
         emit.checkpoints.enabled=false\n\
         emit.heartbeats.enabled=false\n\
         sync.topic.acls.enabled=false\n\
         a.consumer.fetch.max.bytes=16777216\n\
         a.consumer.max.partition.fetch.bytes=4194304\n\
         a.consumer.max.poll.records=5000\n\
         b.producer.compression.type={}\n\
         b.producer.batch.size=262144\n\
         b.producer.linger.ms=20\n\
         b.producer.buffer.memory=134217728\n",
        source.bootstrap(),
        destination.bootstrap(),
        load.codec
    )
}

fn kmirror(lab: &Lab, source: &Cluster, destination: &Cluster, load: Load) -> Result<Outcome> {
    let kmirror = Kmirror::new(lab, &topology(source, destination, TOPIC))?;
    kmirror.ok("apply", &["--yes"])?;
    let mut process = kmirror.start(&["--until-caught-up"])?;
    let copy = Place::new(destination.bootstrap(), format!("copy.{TOPIC}"));
    let outcome = follow(lab, &mut process, source, &copy, load)?;
    let status = process.wait(Duration::from_secs(60))?;
    ensure!(
        status.success(),
        "kmirror run: {status}\n{}",
        process.log_text()
    );
    Ok(outcome)
}

/// Watches a copier from its first record to its last.
fn follow(
    lab: &Lab,
    process: &mut Process,
    source: &Cluster,
    copy: &Place,
    load: Load,
) -> Result<Outcome> {
    let pid = process.pid();
    let watch = Watch::new(copy, PARTITIONS)?;
    let begun = Instant::now();
    let mut first = None;
    let mut peak: f64 = 0.0;
    loop {
        let (now, cpu, there) = (Instant::now(), process::cpu_seconds(pid)?, watch.records());
        // A copier that has done its work and ended has no memory any more.
        peak = peak.max(process::peak_memory_mib(pid).unwrap_or(0.0));
        if there > 0 && first.is_none() {
            first = Some((now, cpu, there));
        }
        if there >= load.records
            && let Some((start, cpu_before, there_before)) = first
        {
            let records = load.records - there_before;
            let share = records as f64 / load.records as f64;
            lab.note(format!(
                "{}: {there_before} records were there at the first look",
                copy.topic
            ));
            return Ok(Outcome {
                records,
                bytes: log_bytes(source)? * share,
                time: now - start,
                cpu_seconds: cpu - cpu_before,
                peak_memory_mib: peak,
            });
        }
        if there < load.records && process.exited()?.is_some() && watch.records() < load.records {
            bail!(
                "the copier ended after {there} of {} records:\n{}",
                load.records,
                process.log_text()
            );
        }
        if begun.elapsed() > Duration::from_secs(300) {
            bail!(
                "{there} of {} records after five minutes:\n{}",
                load.records,
                process.log_text()
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Bytes of the source topic's segments.
fn log_bytes(cluster: &Cluster) -> Result<f64> {
    let mut bytes = 0;
    for partition in 0..PARTITIONS {
        for entry in std::fs::read_dir(cluster.data_dir(0).join(format!("{TOPIC}-{partition}")))? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|e| e == "log") {
                bytes += entry.metadata()?.len();
            }
        }
    }
    Ok(bytes as f64)
}

/// Waits for the kernel to write back what is dirty.
fn settle() -> Result<()> {
    process::run(
        &mut std::process::Command::new("sync"),
        None,
        Duration::from_secs(120),
    )?;
    std::thread::sleep(Duration::from_secs(2));
    Ok(())
}

fn fill(lab: &Lab, source: &Cluster, load: Load) -> Result<()> {
    let start = Instant::now();
    source.tools().create_topic(TOPIC, PARTITIONS as u32, &[])?;
    let producer: BaseProducer = client::config(&source.bootstrap())
        .set("compression.codec", load.codec)
        .set("batch.size", load.batch_bytes.to_string())
        .set("batch.num.messages", "100000")
        .set("linger.ms", "50")
        .set("queue.buffering.max.messages", "400000")
        .set("queue.buffering.max.kbytes", "400000")
        .create()?;
    // Random bytes, so that no codec gains anything; each record starts elsewhere in them.
    let mut pool = vec![0; 4 << 20];
    StdRng::seed_from_u64(1).fill_bytes(&mut pool);
    for n in 0..load.records {
        let at = (n as usize * 997) % (pool.len() - load.record_bytes);
        // Whole batches in turn, as a sticky partitioner fills them.
        let partition = (n / 2_000 % PARTITIONS as u64) as i32;
        let payload = &pool[at..at + load.record_bytes];
        while let Err((error, _)) = producer.send(
            BaseRecord::<[u8], [u8]>::to(TOPIC)
                .partition(partition)
                .payload(payload),
        ) {
            let KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) = error else {
                return Err(error.into());
            };
            producer.poll(Duration::from_millis(10));
        }
    }
    producer.flush(Duration::from_secs(120))?;
    lab.note(format!(
        "{} records, {:.2} GB, in {:.1} s",
        load.records,
        log_bytes(source)? / 1e9,
        start.elapsed().as_secs_f64()
    ));
    settle()
}
