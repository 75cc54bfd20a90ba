//! Those that copy: kmirror, MirrorMaker 2, and a loop around librdkafka. Each is watched from the first record seen at the
//! destination to the last one.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::load::{Load, TOPIC, log_bytes};
use crate::copy::topology;
use crate::support::client::{self, Place, Watch};
use crate::support::cluster::Cluster;
use crate::support::lab::Lab;
use crate::support::process::{self, Process};
use crate::support::worker::Kmirror;

/// What one copier did.
#[derive(Debug, Clone)]
pub struct Outcome {
    records: u64,
    /// Bytes on disk, as records lie in the source's log.
    bytes: f64,
    time: Duration,
    cpu_seconds: f64,
    pub peak_memory_mib: f64,
}

impl Outcome {
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes / 1e6 / self.time.as_secs_f64()
    }

    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.time.as_secs_f64()
    }

    pub fn cpu_per_gigabyte(&self) -> f64 {
        self.cpu_seconds / (self.bytes / 1e9)
    }
}

/// Settings of MirrorMaker 2 that are tried; the best run counts.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    pub tasks: u32,
    pub batch_bytes: u32,
    pub linger_ms: u32,
    pub partition_fetch_bytes: u32,
}

pub const TUNINGS: [Tuning; 3] = [
    Tuning {
        tasks: 2,
        batch_bytes: 262_144,
        linger_ms: 20,
        partition_fetch_bytes: 4_194_304,
    },
    Tuning {
        tasks: 4,
        batch_bytes: 262_144,
        linger_ms: 20,
        partition_fetch_bytes: 4_194_304,
    },
    Tuning {
        tasks: 2,
        batch_bytes: 1_000_000,
        linger_ms: 5,
        partition_fetch_bytes: 1_048_576,
    },
];

pub fn mirror_maker(
    lab: &Lab,
    source: &Cluster,
    destination: &Cluster,
    load: Load,
    tuning: Tuning,
) -> Result<Outcome> {
    let file = lab.dir().join("mm2.properties");
    std::fs::write(
        &file,
        mirror_maker_properties(source, destination, load, tuning),
    )?;
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
    // The next run begins with nothing.
    destination
        .tools()
        .topics(&["--delete", "--topic", &format!("a.{TOPIC}|mm2-.*")])?;
    std::fs::remove_file(lab.dir().join("mm2.log"))?;
    Ok(outcome)
}

/// Dedicated mode, tuned: large fetches and batches, two tasks, nothing but the data.
fn mirror_maker_properties(
    source: &Cluster,
    destination: &Cluster,
    load: Load,
    tuning: Tuning,
) -> String {
    format!(
        "clusters=a,b\n\
         a.bootstrap.servers={}\n\
         b.bootstrap.servers={}\n\
         a->b.enabled=true\n\
         a->b.topics={TOPIC}\n\
         b->a.enabled=false\n\
         plugin.discovery=service_load\n\
         tasks.max={}\n\
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
         a.consumer.max.partition.fetch.bytes={}\n\
         a.consumer.max.poll.records=5000\n\
         b.producer.compression.type={}\n\
         b.producer.batch.size={}\n\
         b.producer.linger.ms={}\n\
         b.producer.buffer.memory=134217728\n",
        source.bootstrap(),
        destination.bootstrap(),
        tuning.tasks,
        tuning.partition_fetch_bytes,
        load.codec,
        tuning.batch_bytes,
        tuning.linger_ms
    )
}

pub fn kmirror(lab: &Lab, source: &Cluster, destination: &Cluster, load: Load) -> Result<Outcome> {
    kmirror_with(
        lab,
        source,
        destination,
        load,
        &topology(source, destination, TOPIC),
    )
}

pub fn kmirror_with(
    lab: &Lab,
    source: &Cluster,
    destination: &Cluster,
    load: Load,
    topology: &str,
) -> Result<Outcome> {
    let kmirror = Kmirror::new(lab, topology)?;
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
    let watch = Watch::new(copy, load.partitions)?;
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
                bytes: log_bytes(source, load)? * share,
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

/// What anybody can write in an hour: one thread that polls records and sends them on.
pub fn librdkafka(
    lab: &Lab,
    source: &Cluster,
    destination: &Cluster,
    load: Load,
) -> Result<Outcome> {
    const COPY: &str = "loop";
    destination
        .tools()
        .create_topic(COPY, load.partitions.unsigned_abs(), &[])?;
    let consumer: BaseConsumer = client::config(&source.bootstrap())
        .set("group.id", "loop")
        .set("enable.auto.commit", "false")
        .set("fetch.message.max.bytes", "4194304")
        .create()?;
    let producer: BaseProducer = client::config(&destination.bootstrap())
        .set("enable.idempotence", "true")
        .set("compression.codec", load.codec)
        .set("batch.size", "1000000")
        .set("linger.ms", "20")
        .create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..load.partitions {
        all.add_partition_offset(TOPIC, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let pid = std::process::id();
    let (mut copied, mut first) = (0, None);
    while copied < load.records {
        let Some(message) = consumer.poll(Duration::from_secs(10)) else {
            bail!("the loop got {copied} of {} records", load.records);
        };
        let message = message?;
        let (began, _) = *first.get_or_insert((Instant::now(), process::cpu_seconds(pid)?));
        ensure!(
            began.elapsed() < Duration::from_secs(300),
            "the loop takes too long"
        );
        let payload = message.payload().unwrap_or_default();
        let record = BaseRecord::to(COPY)
            .partition(message.partition())
            .payload(payload);
        client::send(&producer, record)?;
        copied += 1;
        if copied % 1_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(120))?;
    let (began, cpu_before) = first.unwrap_or((Instant::now(), 0.0));
    let outcome = Outcome {
        records: copied,
        bytes: log_bytes(source, load)?,
        time: began.elapsed(),
        cpu_seconds: process::cpu_seconds(pid)? - cpu_before,
        peak_memory_mib: process::peak_memory_mib(pid)?,
    };
    destination.tools().topics(&["--delete", "--topic", COPY])?;
    lab.note(format!("librdkafka: {outcome:?}"));
    Ok(outcome)
}
