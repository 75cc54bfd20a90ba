//! Topics that others write to as well: copies between the records of others, and topics of one name that are mirrored both ways,
//! while workers are killed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::copy;
use crate::support::client::{self, Place, Record};
use crate::support::cluster::Spec;
use crate::support::dataset::{self, Ages, Plan};
use crate::support::jars::{Heap, Version};
use crate::support::lab::Lab;
use crate::support::process::Process;
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
        test("shared::among_others_4_3", Tier::Readme, 90, among_4_3),
        test("shared::among_others_3_9", Tier::Long, 90, among_3_9),
        test(
            "shared::among_others_forgotten_producers",
            Tier::Long,
            120,
            among_forgotten,
        ),
        test("shared::marked_copies_4_3", Tier::Readme, 60, marked_4_3),
        test("shared::marked_copies_3_9", Tier::Long, 60, marked_3_9),
        test("shared::both_ways_4_3", Tier::Readme, 120, both_ways_4_3),
        test("shared::both_ways_3_9", Tier::Long, 120, both_ways_3_9),
        test("shared::both_ways_twenty_kills", Tier::Long, 300, many),
    ]
}

const EXAMPLE: &str = include_str!("../../topologies/active-active.toml");
const SHARED: &str = "offsets = \"translate\"\non_foreign_write = \"translate\"";
const TOPIC: &str = "orders";
const PARTITIONS: i32 = 3;
const HEADER: &str = "kmirror.provenance";

fn seed(lab: &Lab) -> Result<u64> {
    let seed = std::env::var("KMIRROR_SEED")
        .ok()
        .map_or_else(|| Ok(rand::rng().random()), |text| text.parse())?;
    lab.note(format!("seed {seed} (KMIRROR_SEED)"));
    Ok(seed)
}

fn among_4_3(lab: &Lab) -> Result<()> {
    among_others(lab, Version::V4_3, false)
}

fn among_3_9(lab: &Lab) -> Result<()> {
    among_others(lab, Version::V3_9, false)
}

fn among_forgotten(lab: &Lab) -> Result<()> {
    among_others(lab, Version::V4_3, true)
}

/// Whoever writes to the mirror's topic meanwhile, no record of the source is missing or there twice, and each is where the map says.
fn among_others(lab: &Lab, version: Version, forgetful: bool) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed(lab)?);
    let source = Spec::new("source", version).heap(Heap::Medium).start(lab)?;
    let mut destination = Spec::new("destination", version).heap(Heap::Medium);
    if forgetful {
        destination = destination
            .config("producer.id.expiration.ms", "1000")
            .config("producer.id.expiration.check.interval.ms", "200");
    }
    let destination = destination.start(lab)?;
    for cluster in [&source, &destination] {
        client::create_topics(&cluster.bootstrap(), &[TOPIC], PARTITIONS)?;
    }
    let (from, to) = (
        Place::new(source.bootstrap(), TOPIC),
        Place::new(destination.bootstrap(), TOPIC),
    );
    client::produce(&to, "before", 500)?;
    let text =
        copy::topology(&source, &destination, TOPIC).replace("rename = \"copy.${topic}\"", SHARED);
    let kmirror = Kmirror::new(lab, &text)?;
    let planned = kmirror.ok("plan", &[])?;
    ensure!(
        planned.contains("copies are appended to them"),
        "the plan does not say that others write there:\n{planned}"
    );
    kmirror.ok("apply", &["--yes"])?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writing = [(&from, "ours"), (&to, "theirs")].map(|(place, tag)| {
            let done = &done;
            scope.spawn(move || write_until(place, tag, done))
        });
        let killed = kills(&kmirror, &to, 5, &mut rng);
        done.store(true, Ordering::Relaxed);
        for writing in writing {
            writing.join().expect("the writer does not panic")?;
        }
        killed
    })?;
    kmirror.ok("run", &["--until-caught-up", "--session-timeout", "1s"])?;
    let mut compared = 0;
    for partition in 0..PARTITIONS {
        let written = client::read_partition(&from.bootstrap, TOPIC, partition)?;
        let there = client::read_partition(&to.bootstrap, TOPIC, partition)?;
        let is_copy = |record: &&Record| tag(record).starts_with("ours");
        let copies: Vec<&Record> = there.iter().filter(is_copy).collect();
        ensure!(copies.len() < there.len(), "nobody else wrote");
        ensure!(
            written.len() == copies.len(),
            "partition {partition}: {} records and {} copies",
            written.len(),
            copies.len()
        );
        for (record, copy) in written.iter().zip(&copies) {
            ensure!(
                same(record, copy) && record.headers == copy.headers,
                "partition {partition}: {record} and {copy}"
            );
        }
        compared += copies.len();
        for _ in 0..5 {
            let at = rng.random_range(0..written.len());
            let offset = written[at].offset.to_string();
            let index = partition.to_string();
            let said = kmirror.ok("offsets translate", &["copy", TOPIC, &index, &offset])?;
            ensure!(
                said.trim() == copies[at].offset.to_string(),
                "{offset} of partition {partition} is said to be {said}, it is {}",
                copies[at].offset
            );
        }
    }
    lab.note(format!("{compared} records among those of others"));
    Ok(())
}

fn marked_4_3(lab: &Lab) -> Result<()> {
    marked(lab, Version::V4_3)
}

fn marked_3_9(lab: &Lab) -> Result<()> {
    marked(lab, Version::V3_9)
}

/// A header for each record, and nothing else of it changes: offsets neither, whatever batches it lies in, also those that are as large as
/// their topic takes before.
fn marked(lab: &Lab, version: Version) -> Result<()> {
    let mut source = Spec::new("source", version).heap(Heap::Medium).start(lab)?;
    let destination = Spec::new("destination", version)
        .heap(Heap::Medium)
        .start(lab)?;
    let plan = Plan {
        records: 12_000,
        seed: 5,
        ages: Ages::OldAndNew,
    };
    dataset::generate_mixed(lab, &source, plan)?;
    dataset::generate_special(lab, &mut source, plan)?;
    let named = "topics = [\"ref.*\"]";
    let high = dataset::HIGH_START;
    let more = format!("{named}\nexclude = [\"{high}\"]\nprovenance_header = true");
    let text = copy::topology(&source, &destination, "ref.*").replace(named, &more);
    let kmirror = Kmirror::new(lab, &text)?;
    kmirror.ok("apply", &["--yes"])?;
    kmirror.ok("run", &["--until-caught-up"])?;
    for topic in [dataset::MIXED, dataset::COMPACTED, dataset::APPEND_TIME] {
        let place = Place::new(source.bootstrap(), topic);
        let mut compared = 0;
        for partition in 0..client::partition_count(&place)? {
            let written = client::read_partition(&source.bootstrap(), topic, partition)?;
            let name = format!("copy.{topic}");
            let copies = client::read_partition(&destination.bootstrap(), &name, partition)?;
            ensure!(
                written.len() == copies.len(),
                "partition {partition} of {topic}: {} records and {} copies",
                written.len(),
                copies.len()
            );
            for (record, copy) in written.iter().zip(&copies) {
                ensure!(
                    is_marked_copy(record, copy) && record.offset == copy.offset,
                    "partition {partition} of {topic}: {record} and {copy}"
                );
            }
            compared += copies.len();
        }
        ensure!(compared > 0, "{topic} is empty, which proves nothing");
        lab.note(format!("{topic}: {compared} records have one more header"));
    }
    Ok(())
}

fn both_ways_4_3(lab: &Lab) -> Result<()> {
    both_ways(lab, Version::V4_3, 6)
}

fn both_ways_3_9(lab: &Lab) -> Result<()> {
    both_ways(lab, Version::V3_9, 6)
}

fn many(lab: &Lab) -> Result<()> {
    both_ways(lab, Version::V4_3, 20)
}

/// Each side has each record once, its own and the other's, and none goes round.
fn both_ways(lab: &Lab, version: Version, rounds: usize) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed(lab)?);
    let east = Spec::new("source", version).heap(Heap::Medium).start(lab)?;
    let west = Spec::new("destination", version)
        .heap(Heap::Medium)
        .start(lab)?;
    let places = [&east, &west].map(|cluster| Place::new(cluster.bootstrap(), TOPIC));
    // One side has a past, and more partitions come with the first plan; the other has no such topic yet.
    client::create_topics(&east.bootstrap(), &[TOPIC], PARTITIONS)?;
    client::produce(&places[0], "past", 1_000)?;
    east.tools()
        .console_producer(TOPIC, &lines("east-console", 200))?;
    let text = EXAMPLE
        .replace("kafka.east.example:9092", &east.bootstrap())
        .replace("kafka.west.example:9092", &west.bootstrap());
    let kmirror = Kmirror::new(lab, &text)?;
    kmirror.ok("apply", &["--yes"])?;
    let again = kmirror.command("plan", &["--detailed-exitcode"])?;
    ensure!(
        again.status.code() == Some(0),
        "a second plan is not empty:\n{}",
        again.text()
    );
    west.tools()
        .console_producer(TOPIC, &lines("west-console", 200))?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writing = [(&places[0], "east"), (&places[1], "west")].map(|(place, tag)| {
            let done = &done;
            scope.spawn(move || write_until(place, tag, done))
        });
        let killed = kills(&kmirror, &places[1], rounds, &mut rng);
        done.store(true, Ordering::Relaxed);
        for writing in writing {
            writing.join().expect("the writer does not panic")?;
        }
        killed
    })?;
    let ends = |place: &Place| client::watermarks(place);
    kmirror.ok("run", &["--until-caught-up", "--session-timeout", "1s"])?;
    // What one link brought while the other was done already.
    kmirror.ok("run", &["--until-caught-up", "--session-timeout", "1s"])?;
    let rested = [ends(&places[0])?, ends(&places[1])?];
    let mut worker = kmirror.start(&["--session-timeout", "1s"])?;
    std::thread::sleep(Duration::from_secs(5));
    worker.stop(Duration::from_secs(20))?;
    let now = [ends(&places[0])?, ends(&places[1])?];
    ensure!(rested == now, "records go round: {rested:?}, then {now:?}");
    let native = |side: usize, record: &Record| {
        let came = record.headers.iter().any(|(name, _)| name == HEADER);
        let other = if tag(record).starts_with("west") {
            1
        } else {
            0
        };
        ensure!(
            came == (other != side),
            "{record} lies at {}, and is {}marked",
            ["east", "west"][side],
            if came { "" } else { "not " }
        );
        Ok(!came)
    };
    for partition in 0..PARTITIONS {
        let sides = [
            client::read_partition(&places[0].bootstrap, TOPIC, partition)?,
            client::read_partition(&places[1].bootstrap, TOPIC, partition)?,
        ];
        for (side, other) in [(0, 1), (1, 0)] {
            let mut own = Vec::new();
            for record in &sides[side] {
                if native(side, record)? {
                    own.push(record);
                }
            }
            let mut copies = Vec::new();
            for record in &sides[other] {
                if !native(other, record)? {
                    copies.push(record);
                }
            }
            ensure!(
                own.len() == copies.len() && !own.is_empty(),
                "partition {partition}: {} records of {} and {} copies",
                own.len(),
                ["east", "west"][side],
                copies.len()
            );
            for (record, copy) in own.iter().zip(&copies) {
                ensure!(
                    is_marked_copy(record, copy),
                    "partition {partition}: {record} and {copy}"
                );
            }
            once(&sides[side])?;
        }
        lab.note(format!(
            "partition {partition}: {} records on both sides",
            sides[0].len()
        ));
    }
    // A consumer of each side sees as many.
    let seen = [&east, &west].map(|cluster| cluster.tools().consume_all(TOPIC, "read_committed"));
    let [east, west] = seen;
    ensure!(
        east?.len() == west?.len(),
        "consumers see different numbers"
    );
    Ok(())
}

fn once(records: &[Record]) -> Result<()> {
    let mut seen: HashMap<&Option<Vec<u8>>, usize> = HashMap::new();
    for record in records {
        *seen.entry(&record.value).or_default() += 1;
    }
    let twice = seen.into_iter().find(|(_, times)| *times > 1);
    ensure!(twice.is_none(), "{twice:?} is there twice");
    Ok(())
}

/// Kills workers one after the other, most of them while records arrive.
fn kills(kmirror: &Kmirror, place: &Place, rounds: usize, rng: &mut StdRng) -> Result<()> {
    for round in 0..rounds {
        let before = client::watermarks(place).unwrap_or_default();
        let mut worker: Process = kmirror.start(&["--session-timeout", "1s"])?;
        std::thread::sleep(Duration::from_millis(rng.random_range(1_500..5_000)));
        if let Some(status) = worker.exited()? {
            anyhow::bail!(
                "round {round}: ended by itself: {status}\n{}",
                worker.log_text()
            );
        }
        worker.kill()?;
        ensure!(
            client::watermarks(place)? != before,
            "round {round}: nothing happened"
        );
    }
    Ok(())
}

/// Writes all the time, in batches of all sizes.
fn write_until(place: &Place, tag: &str, done: &AtomicBool) -> Result<()> {
    let mut part = 0;
    while !done.load(Ordering::Relaxed) {
        let records = [3, 40, 400, 2_000][part % 4];
        client::produce(place, &format!("{tag}-{part}"), records)?;
        part += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn lines(tag: &str, records: usize) -> String {
    (0..records).map(|n| format!("{tag} {n}\n")).collect()
}

/// What the writer said who it was.
fn tag(record: &Record) -> String {
    String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned()
}

fn same(record: &Record, copy: &Record) -> bool {
    record.stamp.millis() == copy.stamp.millis()
        && record.key == copy.key
        && record.value == copy.value
}

fn is_marked_copy(record: &Record, copy: &Record) -> bool {
    let marked = copy.headers.split_last();
    same(record, copy)
        && marked.is_some_and(|(mark, others)| record.headers == others && mark.0 == HEADER)
}
