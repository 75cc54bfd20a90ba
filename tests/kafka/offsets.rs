//! The same offsets on both clusters: starts above 0, transactions, compaction, partitions added later; read back by Kafka's
//! own console consumer, offsets and all.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::copy::{same, topology};
use crate::support::client::{self, Place};
use crate::support::cluster::{Cluster, Spec};
use crate::support::dataset::{self, Ages, Plan};
use crate::support::jars::{Heap, Version};
use crate::support::lab::Lab;
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
        test("offsets::equal_4_3", Tier::Readme, 60, equal_4_3),
        test("offsets::equal_3_9", Tier::Long, 60, equal_3_9),
        test("offsets::above_2_to_31", Tier::Long, 400, above_2_to_31),
    ]
}

fn equal_4_3(lab: &Lab) -> Result<()> {
    equal(lab, Version::V4_3)
}

fn equal_3_9(lab: &Lab) -> Result<()> {
    equal(lab, Version::V3_9)
}

/// A log that begins at 200,003.
const LATE: &str = "ref.late";
const LATE_START: i64 = 200_003;

fn equal(lab: &Lab, version: Version) -> Result<()> {
    let mut source = Spec::new("source", version).heap(Heap::Medium).start(lab)?;
    let destination = Spec::new("destination", version)
        .heap(Heap::Medium)
        .start(lab)?;
    let plan = Plan {
        records: 12_000,
        seed: 11,
        ages: Ages::OldAndNew,
    };
    dataset::generate_mixed(lab, &source, plan)?;
    dataset::generate_special(lab, &mut source, plan)?;
    late(lab, &source)?;
    java_transactions(lab, &source)?;
    let text = topology(&source, &destination, "ref.*").replace(
        "topics = [\"ref.*\"]",
        "topics = [\"ref.*\"]\nexclude = [\"ref.high-start\"]",
    );
    let kmirror = Kmirror::new(lab, &text)?;
    let planned = kmirror.ok("plan", &[])?;
    for said in [
        "200,003 offsets before the source's first record",
        "are taken up by control markers",
    ] {
        ensure!(
            planned.contains(said),
            "the plan does not say {said:?}:\n{planned}"
        );
    }
    kmirror.ok("apply", &["--yes"])?;
    kmirror.ok("run", &["--until-caught-up"])?;
    client::add_partitions(&source.bootstrap(), LATE, 2)?;
    client::produce(&Place::new(source.bootstrap(), LATE), "later", 300)?;
    kmirror.ok("apply", &["--yes"])?;
    kmirror.ok("run", &["--until-caught-up"])?;
    for topic in [
        dataset::MIXED,
        dataset::COMPACTED,
        dataset::APPEND_TIME,
        LATE,
        JAVA,
    ] {
        same(lab, &source, &destination, topic)?;
        same_ends(&source, &destination, topic)?;
    }
    for topic in [dataset::MIXED, LATE, JAVA] {
        same_output(lab, &source, &destination, topic)?;
    }
    let (start, _) =
        client::watermarks(&Place::new(destination.bootstrap(), format!("copy.{LATE}")))?[0];
    ensure!(
        start == LATE_START,
        "the copy begins at {start}, not at {LATE_START}"
    );
    translated(&kmirror)?;
    Ok(())
}

fn translated(kmirror: &Kmirror) -> Result<()> {
    let inside = (LATE_START + 97).to_string();
    for more in [&[][..], &["--reverse"]] {
        let arguments = [&["copy", LATE, "0", &inside][..], more].concat();
        let answer = kmirror.ok("offsets translate", &arguments)?;
        ensure!(answer.trim() == inside, "{answer}");
    }
    let behind = kmirror.command("offsets translate", &["copy", LATE, "0", "999999999"])?;
    ensure!(behind.status.code() == Some(1), "{}", behind.text());
    Ok(())
}

/// Fills a topic and has its beginning deleted, as retention does.
fn late(lab: &Lab, source: &Cluster) -> Result<()> {
    client::create_topics(&source.bootstrap(), &[LATE], 1)?;
    let place = Place::new(source.bootstrap(), LATE);
    for part in ["first", "second", "third"] {
        client::produce(&place, part, 80_000)?;
    }
    source
        .tools()
        .delete_records(LATE, 0, LATE_START, lab.dir())?;
    client::produce(&place, "late", 500)
}

/// Written by transactions of Java's producers.
const JAVA: &str = "ref.java";

/// Kafka's own copier, twice at the same time into the same partition: transactions of two producers lie between each
/// other, and some of them are aborted.
fn java_transactions(lab: &Lab, source: &Cluster) -> Result<()> {
    const SEED: &str = "seed";
    client::create_topics(&source.bootstrap(), &[SEED, JAVA], 1)?;
    client::produce(&Place::new(source.bootstrap(), SEED), "copied", 3_000)?;
    let copy = |name: &str| {
        let arguments = [
            "--input-topic",
            SEED,
            "--input-partition",
            "0",
            "--output-topic",
            JAVA,
            "--consumer-group",
            name,
            "--transactional-id",
            name,
            "--transaction-size",
            "37",
            "--enable-random-aborts",
        ];
        let class = "org.apache.kafka.tools.TransactionalMessageCopier";
        source.tools().run_raw(class, &arguments, None)
    };
    std::thread::scope(|scope| {
        let copiers = ["one", "another"].map(|name| scope.spawn(move || copy(name)));
        for copier in copiers {
            let done = copier.join().expect("the copier does not panic")?;
            ensure!(done.status.success(), "{}", done.text());
        }
        anyhow::Ok(())
    })?;
    let place = Place::new(source.bootstrap(), JAVA);
    let (_, end) = client::watermarks(&place)?[0];
    let records = client::read_partition(&place.bootstrap, JAVA, 0)?.len();
    lab.note(format!("{JAVA}: {records} records in {end} offsets"));
    // Both copied everything; a marker for each transaction, and the records of the aborted ones.
    ensure!(records == 6_000, "{records} records were committed");
    let markers = 2 * (3_000 / 37);
    ensure!(
        end > 6_000 + markers + 37,
        "no transaction was aborted: {end}"
    );
    Ok(())
}

/// The logs end at the same offsets, markers at the end included.
fn same_ends(source: &Cluster, destination: &Cluster, topic: &str) -> Result<()> {
    let ends = |bootstrap: String, topic: String| -> Result<Vec<i64>> {
        let marks = client::watermarks(&Place::new(bootstrap, topic))?;
        Ok(marks.into_iter().map(|(_, end)| end).collect())
    };
    let (left, right) = (
        ends(source.bootstrap(), topic.to_owned())?,
        ends(destination.bootstrap(), format!("copy.{topic}"))?,
    );
    ensure!(
        left == right,
        "{topic} ends at {left:?}, its copy at {right:?}"
    );
    Ok(())
}

/// What the console consumer prints of both is the same, also where a consumer of the copy reads uncommitted records:
/// only what was committed is copied.
fn same_output(lab: &Lab, source: &Cluster, destination: &Cluster, topic: &str) -> Result<()> {
    let copy = format!("copy.{topic}");
    let source = source.tools().consume_all(topic, "read_committed")?;
    ensure!(!source.is_empty(), "{topic} is empty, which proves nothing");
    let copied = destination.tools().consume_all(&copy, "read_uncommitted")?;
    let differs = source
        .iter()
        .zip(&copied)
        .find(|(left, right)| left != right);
    ensure!(
        source.len() == copied.len() && differs.is_none(),
        "{topic}: {} lines and {} of the copy, the first difference: {differs:?}",
        source.len(),
        copied.len()
    );
    lab.note(format!(
        "{topic}: {} lines of the console consumer are the same",
        source.len()
    ));
    Ok(())
}

/// Two thousand million offsets are filled before the first record is copied.
fn above_2_to_31(lab: &Lab) -> Result<()> {
    let mut source = Spec::new("source", Version::V4_3)
        .heap(Heap::Medium)
        .start(lab)?;
    let destination = Spec::new("destination", Version::V4_3)
        .heap(Heap::Medium)
        .start(lab)?;
    let plan = Plan {
        records: 20_000,
        seed: 3,
        ages: Ages::OldAndNew,
    };
    dataset::generate_special(lab, &mut source, plan)?;
    let text = topology(&source, &destination, dataset::HIGH_START);
    let kmirror = Kmirror::new(lab, &text)?;
    kmirror.ok("apply", &["--yes"])?;
    let patience = Duration::from_secs(1_500);
    let filled = kmirror.command_within(patience, "run", &["--until-caught-up"])?;
    ensure!(filled.status.success(), "{}", filled.text());
    same(lab, &source, &destination, dataset::HIGH_START)?;
    same_ends(&source, &destination, dataset::HIGH_START)
}
