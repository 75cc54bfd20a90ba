//! Topics from before Kafka 0.11. The source is a 3.9 broker that still writes message formats v0 and v1, or a 4.3 one that has
//! such a segment on its disk; the destination knows only record batches.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::support::client::{self, Offsets, Place};
use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    let test = |name, seconds, body| Test {
        name,
        tier: Tier::Long,
        brokers: 2,
        seconds,
        body,
    };
    vec![
        test("formats::older_messages_3_9_to_4_3", 120, older_messages),
        test("formats::older_segment_at_4_3", 60, older_segment),
    ]
}

const PLAIN: &str = "old.plain";
const STAMPED: &str = "old.stamped";
const COMPACTED: &str = "old.compacted";
const TOPICS: [&str; 3] = [PLAIN, STAMPED, COMPACTED];

/// What `message.format.version` is set to, and the codecs of the format.
const FORMATS: [(&str, &[&str]); 3] = [
    ("0.9.0", &["none", "gzip", "snappy", "lz4"]),
    ("0.10.2", &["none", "gzip", "snappy", "lz4"]),
    ("2.8", &["none", "gzip", "snappy", "lz4", "zstd"]),
];

fn older_messages(lab: &Lab) -> Result<()> {
    let source = Spec::new("source", Version::V3_9)
        .zookeeper()
        // From 3.0 on, brokers ignore the setting of the topic.
        .config("inter.broker.protocol.version", "2.8")
        .start(lab)?;
    let destination = Spec::new("destination", Version::V4_3).start(lab)?;
    let tools = source.tools();
    // The times that are written are long past.
    tools.create_topic(PLAIN, 2, &["retention.ms=-1"])?;
    let stamped = ["message.timestamp.type=LogAppendTime"];
    tools.create_topic(STAMPED, 1, &stamped)?;
    let compacted = [
        "cleanup.policy=compact",
        "segment.ms=500",
        "min.cleanable.dirty.ratio=0.01",
        "max.compaction.lag.ms=1000",
    ];
    tools.create_topic(COMPACTED, 1, &compacted)?;
    let kmirror = Kmirror::new(lab, &topology(&source, &destination, ""))?;
    for (later, (format, codecs)) in (0..).zip(FORMATS) {
        for topic in TOPICS {
            set(&source, topic, &format!("message.format.version={format}"))?;
            write(&source, topic, format, codecs, later * 60_000)?;
        }
        // Each run takes over at a tail of another format than what follows.
        kmirror.ok("apply", &["--yes"])?;
        for topic in [PLAIN, STAMPED] {
            formats_are(lab, &source, topic, format)?;
        }
        kmirror.ok("run", &["--until-caught-up"])?;
    }
    // Only what holds still can be compared.
    await_cleaning(lab, &source)?;
    let more = [
        link("cleaned", &[COMPACTED], ""),
        link("closed", &[COMPACTED], "offsets = \"translate\""),
    ];
    let kmirror = Kmirror::new(lab, &topology(&source, &destination, &more.concat()))?;
    kmirror.ok("apply", &["--yes"])?;
    kmirror.ok("run", &["--until-caught-up"])?;
    let plain = Shown::of(&source, PLAIN)?;
    let stamped = Shown::of(&source, STAMPED)?;
    let compacted = Shown::of(&source, COMPACTED)?;
    plain.is_also(lab, &destination, "kept.old.plain", Offsets::Equal)?;
    plain.is_also(lab, &destination, "moved.old.plain", Offsets::Free)?;
    stamped.is_also(lab, &destination, "kept.old.stamped", Offsets::Equal)?;
    compacted.is_also(lab, &destination, "cleaned.old.compacted", Offsets::Equal)?;
    compacted.is_also(lab, &destination, "closed.old.compacted", Offsets::Free)?;
    // librdkafka sees the same in the copies, and nothing is copied twice.
    kmirror.ok("run", &["--until-caught-up"])?;
    for (copy, shown) in [
        ("kept.old.stamped", &stamped),
        ("closed.old.compacted", &compacted),
    ] {
        let records = client::read_partition(&destination.bootstrap(), copy, 0)?;
        ensure!(
            records.len() == shown.lines.len(),
            "{copy}: {}",
            records.len()
        );
    }
    Ok(())
}

/// A segment of three formats, as a 3.9 broker wrote it.
const SEGMENT: &[u8] = include_bytes!("../../src/mirror/batch/recorded/formats-3.9.log");

/// Brokers that were brought up to 4.x write no older formats, and hand out what lies on their disks all the same.
fn older_segment(lab: &Lab) -> Result<()> {
    let mut source = Spec::new("source", Version::V4_3).start(lab)?;
    let destination = Spec::new("destination", Version::V4_3).start(lab)?;
    let kept_for_good = ["retention.ms=-1"];
    for topic in [PLAIN, STAMPED] {
        source.tools().create_topic(topic, 1, &kept_for_good)?;
    }
    source.stop(0)?;
    for topic in [PLAIN, STAMPED] {
        let dir = source.data_dir(0).join(format!("{topic}-0"));
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            if path
                .file_name()
                .is_some_and(|name| name != "partition.metadata")
            {
                std::fs::remove_file(path)?;
            }
        }
        std::fs::write(dir.join("00000000000000000000.log"), SEGMENT)?;
    }
    source.start(0)?;
    let kmirror = Kmirror::new(lab, &topology(&source, &destination, ""))?;
    kmirror.ok("apply", &["--yes"])?;
    kmirror.ok("run", &["--until-caught-up"])?;
    // What is written behind it is copied from where it was.
    write(&source, PLAIN, "2.8", &["gzip", "zstd"], 0)?;
    kmirror.ok("run", &["--until-caught-up"])?;
    let plain = Shown::of(&source, PLAIN)?;
    ensure!(
        plain.lines.len() == 260 + 2 * RECORDS as usize,
        "{} lines",
        plain.lines.len()
    );
    plain.is_also(lab, &destination, "kept.old.plain", Offsets::Equal)?;
    plain.is_also(lab, &destination, "moved.old.plain", Offsets::Free)
}

fn topology(source: &Cluster, destination: &Cluster, more: &str) -> String {
    let topics = [PLAIN, STAMPED];
    let kept = link("kept", &topics, "");
    let moved = link("moved", &[PLAIN], "offsets = \"translate\"");
    format!(
        r#"
kmirror = 1

[clusters.source]
bootstrap_servers = "{}"

[clusters.destination]
bootstrap_servers = "{}"
{kept}{moved}{more}"#,
        source.bootstrap(),
        destination.bootstrap()
    )
}

fn link(name: &str, topics: &[&str], more: &str) -> String {
    format!(
        r#"
[links.{name}]
source = "source"
destination = "destination"
topics = {topics:?}
rename = "{name}.${{topic}}"
replication_factor = 1
{more}
"#
    )
}

fn set(cluster: &Cluster, topic: &str, setting: &str) -> Result<()> {
    let arguments = ["--alter", "--entity-type", "topics", "--entity-name"];
    let arguments = [&arguments[..], &[topic, "--add-config", setting]].concat();
    cluster.tools().configs(&arguments)?;
    Ok(())
}

const RECORDS: i32 = 400;

/// So many records of each codec: without key, without value, with times that go up and down.
///
/// Those of each format are `later` by more than a segment's age, so that the cleaner gets the ones before.
fn write(cluster: &Cluster, topic: &str, format: &str, codecs: &[&str], later: i64) -> Result<()> {
    let place = Place::new(cluster.bootstrap(), topic);
    let partitions = client::partition_count(&place)?;
    for codec in codecs {
        let producer: BaseProducer = client::config(&place.bootstrap)
            .set("compression.codec", *codec)
            .set("linger.ms", "50")
            .set("batch.num.messages", "90")
            .create()?;
        for n in 0..RECORDS {
            // Of each wrapper, a cleaner leaves some.
            let key = match n % 10 {
                7 => format!("only {format} {codec} {n}"),
                _ => format!("key-{}", n % 50),
            };
            let value = format!("{format} {codec} {n} {}", "compressible ".repeat(5));
            let time = 1_700_000_000_000 + later + i64::from(n % 7) * 1_000;
            let mut record = BaseRecord::<[u8], [u8]>::to(topic)
                .partition(n % partitions)
                .timestamp(time);
            if topic == COMPACTED || n % 5 != 0 {
                record = record.key(key.as_bytes());
            }
            if n % 11 != 3 {
                record = record.payload(value.as_bytes());
            }
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(Duration::from_secs(30))?;
        ensure!(
            producer.in_flight_count() == 0,
            "not everything was written"
        );
    }
    Ok(())
}

/// The broker's segments are in the formats that were asked for, or the test proves nothing.
fn formats_are(lab: &Lab, source: &Cluster, topic: &str, format: &str) -> Result<()> {
    let segment = source
        .data_dir(0)
        .join(format!("{topic}-0/00000000000000000000.log"));
    let dump = source.tools().dump_log(&segment)?;
    let wanted = match format {
        "0.9.0" => "magic: 0",
        "0.10.2" => "magic: 1",
        _ => "magic: 2",
    };
    let count = dump.matches(wanted).count();
    lab.note(format!("{topic}: {count} entries with {wanted}"));
    ensure!(count > 0, "nothing of {topic} has {wanted}:\n{dump}");
    Ok(())
}

/// Waits until wrappers lost some of their messages, then keeps the cleaner away.
fn await_cleaning(lab: &Lab, source: &Cluster) -> Result<()> {
    let written: i32 = FORMATS
        .iter()
        .map(|(_, codecs)| RECORDS * codecs.len() as i32)
        .sum();
    let start = Instant::now();
    loop {
        let left = Shown::of(source, COMPACTED)?.lines.len();
        if left < written as usize * 6 / 10 {
            lab.note(format!("{COMPACTED}: {left} of {written} records are left"));
            break;
        }
        if start.elapsed() > Duration::from_secs(60) {
            bail!("the cleaner left {left} of {written} records of {COMPACTED}");
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    for setting in [
        "min.cleanable.dirty.ratio=1.0",
        "max.compaction.lag.ms=9223372036854775807",
        "segment.ms=604800000",
    ] {
        set(source, COMPACTED, setting)?;
    }
    std::thread::sleep(Duration::from_secs(1));
    Ok(())
}

/// What Kafka's own consumer shows of a topic: partition, offset, time, headers, key and value.
///
/// librdkafka is not asked for the source: 2.12 ends the whole process (an assertion in `rdbuf.c`) on the compacted topic.
struct Shown {
    topic: String,
    lines: Vec<String>,
}

impl Shown {
    fn of(cluster: &Cluster, topic: &str) -> Result<Self> {
        let lines = cluster.tools().consume_all(topic, "read_committed")?;
        ensure!(!lines.is_empty(), "{topic} is empty, which proves nothing");
        // Who set the time may differ, and where nobody did, the copy says so by a time of -1.
        let told = |line: &String| {
            line.replace("NO_TIMESTAMP", "CreateTime:-1")
                .replace("LogAppendTime:", "CreateTime:")
        };
        // Newer versions say at last how many there were.
        let lines = lines.iter().map(told);
        Ok(Self {
            topic: topic.to_owned(),
            lines: lines.filter(|line| line.contains("Partition:")).collect(),
        })
    }

    fn is_also(&self, lab: &Lab, cluster: &Cluster, copy: &str, offsets: Offsets) -> Result<()> {
        let copied = Self::of(cluster, copy)?;
        let compared = |shown: &Self| -> Vec<String> {
            let mut lines: Vec<String> = shown
                .lines
                .iter()
                .map(|line| match offsets {
                    Offsets::Equal => line.clone(),
                    Offsets::Free => without_offset(line),
                })
                .collect();
            lines.sort();
            lines
        };
        let (left, right) = (compared(self), compared(&copied));
        let differs = left.iter().zip(&right).find(|(left, right)| left != right);
        ensure!(
            left.len() == right.len() && differs.is_none(),
            "{}: {} lines and {} of {copy}, the first difference: {differs:?}",
            self.topic,
            left.len(),
            right.len()
        );
        lab.note(format!(
            "{}: {} lines are the same in {copy}",
            self.topic,
            left.len()
        ));
        Ok(())
    }
}

fn without_offset(line: &str) -> String {
    let fields = line.split('\t');
    let kept: Vec<&str> = fields.filter(|it| !it.starts_with("Offset:")).collect();
    kept.join("\t")
}
