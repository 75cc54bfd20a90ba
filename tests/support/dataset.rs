//! The reference data set: what every test of exactness copies.
//!
//! Four topics. `ref.mixed` carries the bulk: old (three days) and new times, all codecs, batches of one record and of
//! a megabyte, runs of identical batches, headers, tombstones, null keys, and transactions, committed and aborted,
//! interleaved with each other and with plain writes. `ref.compacted` has the gaps that a cleaner leaves,
//! `ref.append-time` is stamped by the broker, `ref.high-start` starts above 2^31. A seed fixes the content; batch
//! boundaries are librdkafka's and vary a little.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

use super::client::{self, Place};
use super::cluster::Cluster;
use super::lab::Lab;

pub const MIXED: &str = "ref.mixed";
pub const COMPACTED: &str = "ref.compacted";
pub const APPEND_TIME: &str = "ref.append-time";
pub const HIGH_START: &str = "ref.high-start";

const PATIENCE: Duration = Duration::from_secs(120);
/// Of `ref.mixed`.
pub const PARTITIONS: i32 = 4;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// First offset of `ref.high-start`.
pub const HIGH_OFFSET: i64 = (1 << 31) + 12_345;

/// What to generate.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Records written to `ref.mixed` (aborted ones included); the other topics get a twentieth each.
    pub records: usize,
    pub seed: u64,
    pub ages: Ages,
}

/// How old the records of `ref.mixed` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ages {
    OldAndNew,
    /// All of them three days.
    Old,
}

/// Writes all four topics.
pub fn generate(lab: &Lab, cluster: &mut Cluster, plan: Plan) -> Result<()> {
    let start = Instant::now();
    generate_mixed(lab, cluster, plan)?;
    generate_special(lab, cluster, plan)?;
    lab.note(format!(
        "the reference data set took {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Writes the three smaller topics.
pub fn generate_special(lab: &Lab, cluster: &mut Cluster, plan: Plan) -> Result<()> {
    generate_compacted(lab, cluster, plan)?;
    generate_append_time(cluster, plan)?;
    generate_high_start(lab, cluster, plan)
}

/// Writes the whole of `ref.mixed`.
pub fn generate_mixed(lab: &Lab, cluster: &Cluster, plan: Plan) -> Result<()> {
    let start = Instant::now();
    let mut writer = Mixed::create(cluster, plan)?;
    writer.write_up_to(plan.records)?;
    writer.finish()?;
    lab.note(format!(
        "{MIXED}: {} records in {} runs, {:.1} s",
        writer.written,
        writer.runs,
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Sizes of batches, as far as a client decides them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    OneRecord,
    Small,
    Megabyte,
}

/// Writes `ref.mixed`, bit by bit if wanted.
pub struct Mixed {
    rng: StdRng,
    plan: Plan,
    /// Plain producers, by codec and shape.
    plain: Vec<(Shape, BaseProducer)>,
    transactional: Vec<BaseProducer>,
    written: usize,
    runs: usize,
}

impl Mixed {
    /// Creates the topic.
    pub fn create(cluster: &Cluster, plan: Plan) -> Result<Self> {
        Self::create_replicated(cluster, plan, 1)
    }

    /// Creates the topic with so many replicas.
    pub fn create_replicated(cluster: &Cluster, plan: Plan, replicas: u16) -> Result<Self> {
        cluster
            .tools()
            .create_replicated(MIXED, PARTITIONS as u32, replicas, &[])?;
        Self::new(&cluster.bootstrap(), plan)
    }

    /// Goes on until so many records have been written in all.
    pub fn write_up_to(&mut self, records: usize) -> Result<()> {
        while self.written < records.min(self.plan.records) {
            self.one_run()?;
        }
        Ok(())
    }

    fn new(bootstrap: &str, plan: Plan) -> Result<Self> {
        let mut plain = Vec::new();
        for codec in CODECS {
            for shape in [Shape::OneRecord, Shape::Small, Shape::Megabyte] {
                plain.push((shape, producer(bootstrap, codec, shape, None)?));
            }
        }
        let mut transactional = Vec::new();
        for (n, codec) in ["none", "lz4", "zstd"].into_iter().enumerate() {
            let producer = producer(
                bootstrap,
                codec,
                Shape::Small,
                Some(&format!("ref-{}-{n}", plan.seed)),
            )?;
            producer.init_transactions(PATIENCE)?;
            transactional.push(producer);
        }
        warm_up(&plain, &transactional)?;
        Ok(Self {
            rng: StdRng::seed_from_u64(plan.seed),
            plan,
            plain,
            transactional,
            written: 0,
            runs: 0,
        })
    }

    fn one_run(&mut self) -> Result<()> {
        self.runs += 1;
        // Many short runs rather than a few long ones, also when the whole is small.
        let left = (self.plan.records - self.written).min((self.plan.records / 50).max(100));
        match self.rng.random_range(0..100) {
            0..25 => self.interleaved_transactions(left.min(2_000)),
            25..40 => self.identical_batches(left.min(1_000)),
            _ => {
                let which = self.rng.random_range(0..self.plain.len());
                let most = match self.plain[which].0 {
                    Shape::OneRecord => 500,
                    Shape::Small => 10_000,
                    Shape::Megabyte => 20_000,
                };
                self.plain_run(which, left.min(most))
            }
        }
    }

    fn plain_run(&mut self, which: usize, count: usize) -> Result<()> {
        let (shape, producer) = &self.plain[which];
        let large = *shape == Shape::Megabyte && self.rng.random_bool(0.2);
        let base = base_time(&mut self.rng, self.plan.ages);
        for n in 0..count {
            let record = Content::random(&mut self.rng, self.written + n, base, large);
            send(producer, MIXED, &record)?;
            // A few records of nearly a megabyte are enough.
            if large && n > 40 {
                self.written += n + 1;
                return flush(producer);
            }
        }
        self.written += count;
        flush(producer)
    }

    /// The same record over and over, so that batch after batch has the same bytes.
    fn identical_batches(&mut self, count: usize) -> Result<()> {
        let base = base_time(&mut self.rng, self.plan.ages);
        let record = Content {
            time: base,
            ..Content::random(&mut self.rng, self.written, base, false)
        };
        let small: Vec<&BaseProducer> = self
            .plain
            .iter()
            .filter(|(shape, _)| *shape != Shape::Megabyte)
            .map(|(_, p)| p)
            .collect();
        let producer = small[self.rng.random_range(0..small.len())];
        for _ in 0..count {
            send(producer, MIXED, &record)?;
        }
        self.written += count;
        flush(producer)
    }

    /// Two transactions and plain writes take turns on the same partitions; each transaction is committed or aborted.
    fn interleaved_transactions(&mut self, count: usize) -> Result<()> {
        let first = self.rng.random_range(0..self.transactional.len());
        let second = (first + 1) % self.transactional.len();
        let (a, b) = (&self.transactional[first], &self.transactional[second]);
        a.begin_transaction()?;
        b.begin_transaction()?;
        let mut done = 0;
        while done < count {
            let turn = self.rng.random_range(1..200).min(count - done);
            let which = self.rng.random_range(0..self.plain.len());
            let producer = match self.rng.random_range(0..4) {
                0 => &self.plain[which].1,
                1 => b,
                _ => a,
            };
            let base = base_time(&mut self.rng, self.plan.ages);
            for n in 0..turn {
                send(
                    producer,
                    MIXED,
                    &Content::random(&mut self.rng, self.written + done + n, base, false),
                )?;
            }
            flush(producer)?;
            done += turn;
        }
        self.written += done;
        for producer in [b, a] {
            if self.rng.random_bool(0.4) {
                producer.abort_transaction(PATIENCE)?;
            } else {
                producer.commit_transaction(PATIENCE)?;
            }
        }
        Ok(())
    }

    /// Decides by seed whether the log ends with a plain record in each partition, or with whatever the last run wrote.
    pub fn finish(&mut self) -> Result<()> {
        if self.rng.random_bool(0.5) {
            return Ok(());
        }
        let base = base_time(&mut self.rng, self.plan.ages);
        for partition in 0..PARTITIONS {
            let record = Content {
                partition,
                ..Content::random(&mut self.rng, self.written, base, false)
            };
            send(&self.plain[0].1, MIXED, &record)?;
        }
        self.written += PARTITIONS as usize;
        flush(&self.plain[0].1)
    }
}

/// One record to be written.
#[derive(Debug, Clone)]
struct Content {
    partition: i32,
    time: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Content {
    fn random(rng: &mut StdRng, number: usize, base: i64, large: bool) -> Self {
        let key = rng
            .random_bool(0.9)
            .then(|| format!("key-{}", rng.random_range(0..100_000)).into_bytes());
        let value = if large {
            let mut bytes = vec![0; rng.random_range(200_000..900_000)];
            rng.fill_bytes(&mut bytes);
            Some(bytes)
        } else {
            rng.random_bool(0.98).then(|| small_value(rng, number))
        };
        let mut headers = Vec::new();
        if rng.random_bool(0.2) {
            for n in 0..rng.random_range(1..4) {
                // A repeated name, an empty value and a null one are all legal.
                let value = match rng.random_range(0..4) {
                    0 => None,
                    1 => Some(Vec::new()),
                    _ => Some(format!("header value {number}").into_bytes()),
                };
                headers.push((format!("h{}", n / 2), value));
            }
        }
        // Times within a run go up and down a little, as those of several producers do.
        let time = base + rng.random_range(-500..500);
        Self {
            partition: rng.random_range(0..PARTITIONS),
            time,
            key,
            value,
            headers,
        }
    }
}

fn small_value(rng: &mut StdRng, number: usize) -> Vec<u8> {
    let mut value = format!("record {number} ").into_bytes();
    let length = rng.random_range(0..200);
    if rng.random_bool(0.5) {
        let start = value.len();
        value.resize(start + length, 0);
        rng.fill_bytes(&mut value[start..]);
    } else {
        value.extend(b"compressible ".iter().cycle().take(length));
    }
    value
}

fn base_time(rng: &mut StdRng, ages: Ages) -> i64 {
    const THREE_DAYS: i64 = 3 * 24 * 3_600_000;
    let new = now_millis() - 10_000;
    if ages == Ages::Old || rng.random_bool(0.5) {
        new - THREE_DAYS
    } else {
        new
    }
}

fn now_millis() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is past 1970");
    i64::try_from(since.as_millis()).expect("milliseconds fit")
}

/// Writes `ref.compacted` and waits until the cleaner has made gaps, then keeps it from cleaning further.
fn generate_compacted(lab: &Lab, cluster: &Cluster, plan: Plan) -> Result<()> {
    let tools = cluster.tools();
    let config = [
        "cleanup.policy=compact",
        "segment.bytes=1048576",
        "segment.ms=500",
        "min.cleanable.dirty.ratio=0.01",
        "max.compaction.lag.ms=1000",
    ];
    tools.create_topic(COMPACTED, 1, &config)?;
    let producer = producer(&cluster.bootstrap(), "lz4", Shape::Small, None)?;
    let mut rng = StdRng::seed_from_u64(plan.seed ^ 1);
    let count = (plan.records / 20).max(2_000);
    let now = now_millis() - 60_000;
    let mut write = |from: usize, to: usize, time: i64| -> Result<()> {
        for n in from..to {
            let mut record = Content::random(&mut rng, n, time, false);
            record.partition = 0;
            record.key = Some(format!("key-{}", rng.random_range(0..count / 3)).into_bytes());
            send(&producer, COMPACTED, &record)?;
        }
        flush(&producer)
    };
    write(0, count, now)?;
    // The active segment is never cleaned. What rolls it are records that are later, by their own times, than segment.ms.
    write(count, count + 200, now + 30_000)?;
    let place = Place::new(cluster.bootstrap(), COMPACTED);
    let start = Instant::now();
    loop {
        let left = client::read_partition(&place.bootstrap, COMPACTED, 0)?.len();
        if left < count * 9 / 10 {
            lab.note(format!(
                "{COMPACTED}: {left} of {} records are left",
                count + 200
            ));
            break;
        }
        if start.elapsed() > Duration::from_secs(60) {
            bail!("the cleaner left {COMPACTED} alone for a minute");
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    // From here on the topic must hold still, or there would be nothing fixed to compare a copy with.
    let quiet = "min.cleanable.dirty.ratio=1.0,max.compaction.lag.ms=9223372036854775807,segment.ms=604800000";
    tools.configs(&[
        "--alter",
        "--entity-type",
        "topics",
        "--entity-name",
        COMPACTED,
        "--add-config",
        quiet,
    ])?;
    std::thread::sleep(Duration::from_secs(1));
    Ok(())
}

/// Writes `ref.append-time`.
fn generate_append_time(cluster: &Cluster, plan: Plan) -> Result<()> {
    cluster
        .tools()
        .create_topic(APPEND_TIME, 2, &["message.timestamp.type=LogAppendTime"])?;
    let mut rng = StdRng::seed_from_u64(plan.seed ^ 2);
    let producers = CODECS
        .iter()
        .map(|codec| producer(&cluster.bootstrap(), codec, Shape::Small, None))
        .collect::<Result<Vec<_>>>()?;
    for producer in &producers {
        for n in 0..(plan.records / 100).max(100) {
            let mut record = Content::random(&mut rng, n, now_millis() - 5_000, false);
            record.partition %= 2;
            send(producer, APPEND_TIME, &record)?;
        }
    }
    producers.iter().try_for_each(flush)
}

/// Writes `ref.high-start`: an empty topic whose log is made to begin above 2^31, then filled as usual.
///
/// Two thousand million filler records would do it too, in a minute and a half and a gigabyte. Instead the broker is
/// stopped and the empty first segment renamed: a segment's file name is its base offset.
fn generate_high_start(lab: &Lab, cluster: &mut Cluster, plan: Plan) -> Result<()> {
    cluster.tools().create_topic(HIGH_START, 1, &[])?;
    cluster.stop(0)?;
    let dir = cluster.data_dir(0).join(format!("{HIGH_START}-0"));
    for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        let Some(rest) = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_prefix("00000000000000000000"))
        else {
            continue;
        };
        fs::rename(&path, dir.join(format!("{HIGH_OFFSET:020}{rest}")))?;
    }
    cluster.start(0)?;
    let place = Place::new(cluster.bootstrap(), HIGH_START);
    let marks = client::watermarks(&place)?;
    if marks != [(HIGH_OFFSET, HIGH_OFFSET)] {
        bail!("{HIGH_START} should be empty at {HIGH_OFFSET}, but is {marks:?}");
    }
    let mut rng = StdRng::seed_from_u64(plan.seed ^ 3);
    let producer = producer(&cluster.bootstrap(), "zstd", Shape::Small, None)?;
    for n in 0..(plan.records / 20).max(200) {
        let mut record = Content::random(&mut rng, n, now_millis() - 5_000, false);
        record.partition = 0;
        send(&producer, HIGH_START, &record)?;
    }
    flush(&producer)?;
    lab.note(format!("{HIGH_START} begins at {HIGH_OFFSET}"));
    Ok(())
}

fn producer(
    bootstrap: &str,
    codec: &str,
    shape: Shape,
    transactional_id: Option<&str>,
) -> Result<BaseProducer> {
    let mut config = client::config(bootstrap);
    config
        .set("compression.codec", codec)
        .set("queue.buffering.max.messages", "1000000");
    config
        .set("linger.ms", "1000")
        .set("queue.buffering.max.kbytes", "200000");
    match shape {
        Shape::OneRecord => config
            .set("batch.num.messages", "1")
            .set("enable.idempotence", "true"),
        Shape::Small => config
            .set("batch.num.messages", "100")
            .set("enable.idempotence", "true"),
        // Without idempotence: batches with no producer id are part of the picture.
        Shape::Megabyte => config
            .set("batch.num.messages", "100000")
            .set("batch.size", "1000000"),
    };
    if let Some(id) = transactional_id {
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", "300000");
    }
    Ok(config.create()?)
}

fn send(producer: &BaseProducer, topic: &str, content: &Content) -> Result<()> {
    loop {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic)
            .partition(content.partition)
            .timestamp(content.time);
        if let Some(key) = &content.key {
            record = record.key(key);
        }
        if let Some(value) = &content.value {
            record = record.payload(value);
        }
        if !content.headers.is_empty() {
            let headers = content
                .headers
                .iter()
                .fold(OwnedHeaders::new(), |all, (key, value)| {
                    all.insert(Header {
                        key,
                        value: value.as_ref(),
                    })
                });
            record = record.headers(headers);
        }
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(20));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// The first record of a librdkafka producer for a partition takes up to a second; that is spent here for all together.
fn warm_up(plain: &[(Shape, BaseProducer)], transactional: &[BaseProducer]) -> Result<()> {
    for producer in transactional {
        producer.begin_transaction()?;
    }
    let all = || plain.iter().map(|(_, p)| p).chain(transactional);
    for producer in all() {
        for partition in 0..PARTITIONS {
            let record = Content {
                partition,
                time: now_millis(),
                key: None,
                value: Some(b"first".to_vec()),
                headers: Vec::new(),
            };
            send(producer, MIXED, &record)?;
        }
    }
    all().try_for_each(flush)?;
    for producer in transactional {
        producer.commit_transaction(PATIENCE)?;
    }
    Ok(())
}

/// Waits until everything is acknowledged.
///
/// `Producer::flush` looks only every tenth of a second; without it librdkafka's own threads look every second. So it is
/// called for its waking effect, with no patience, and the waiting is done here.
fn flush(producer: &BaseProducer) -> Result<()> {
    let start = Instant::now();
    while producer.in_flight_count() > 0 {
        if producer.flush(Duration::ZERO).is_ok() {
            break;
        }
        producer.poll(Duration::from_millis(3));
        if start.elapsed() > PATIENCE {
            bail!(
                "{} records are not acknowledged after {PATIENCE:?}",
                producer.in_flight_count()
            );
        }
    }
    Ok(())
}
