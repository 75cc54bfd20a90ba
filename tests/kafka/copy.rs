//! Exact copies: the reference data set is mirrored, and both sides are read back and compared record by record.

use anyhow::{Result, ensure};

use crate::support::client::{self, Offsets, Place};
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
        test("copy::reference_data_set_4_3", Tier::Readme, 60, on_4_3),
        test(
            "copy::reference_data_set_3_9_to_4_3",
            Tier::Readme,
            60,
            from_3_9,
        ),
        test(
            "copy::reference_data_set_4_3_to_3_9",
            Tier::Long,
            60,
            to_3_9,
        ),
        test("copy::million_records", Tier::Long, 240, million_records),
    ]
}

fn on_4_3(lab: &Lab) -> Result<()> {
    reference(lab, Version::V4_3, Version::V4_3, 50_000)
}

fn from_3_9(lab: &Lab) -> Result<()> {
    reference(lab, Version::V3_9, Version::V4_3, 20_000)
}

fn to_3_9(lab: &Lab) -> Result<()> {
    reference(lab, Version::V4_3, Version::V3_9, 50_000)
}

fn million_records(lab: &Lab) -> Result<()> {
    reference(lab, Version::V4_3, Version::V4_3, 1_000_000)
}

fn reference(lab: &Lab, source: Version, destination: Version, records: usize) -> Result<()> {
    let mut source = Spec::new("source", source).heap(Heap::Medium).start(lab)?;
    let destination = Spec::new("destination", destination)
        .heap(Heap::Medium)
        .start(lab)?;
    dataset::generate(
        lab,
        &mut source,
        Plan {
            records,
            seed: 7,
            ages: Ages::OldAndNew,
        },
    )?;
    let kmirror = Kmirror::new(lab, &reference_topology(&source, &destination))?;
    kmirror.ok("apply", &["--yes"])?;
    kmirror.ok("run", &["--until-caught-up"])?;
    for topic in [dataset::MIXED, dataset::COMPACTED, dataset::APPEND_TIME] {
        same(lab, &source, &destination, topic)?;
    }
    same_records(
        lab,
        &source,
        &destination,
        dataset::HIGH_START,
        Offsets::Free,
    )?;
    // Once more: nothing to copy, and nothing is copied.
    kmirror.ok("run", &["--until-caught-up"])?;
    same(lab, &source, &destination, dataset::MIXED)?;
    Ok(())
}

/// Offsets are kept, but for the topic that begins so high that filling it takes minutes.
pub fn reference_topology(source: &Cluster, destination: &Cluster) -> String {
    let kept = topology(source, destination, "ref.*");
    let high = dataset::HIGH_START;
    let kept = kept.replace(
        "topics = [\"ref.*\"]",
        &format!("topics = [\"ref.*\"]\nexclude = [\"{high}\"]"),
    );
    format!(
        r#"{kept}
[links.high]
source = "source"
destination = "destination"
topics = ["{high}"]
rename = "copy.${{topic}}"
offsets = "translate"
replication_factor = 1
"#
    )
}

/// One link for all topics that match, renamed.
pub fn topology(source: &Cluster, destination: &Cluster, topics: &str) -> String {
    format!(
        r#"
kmirror = 1

[clusters.source]
bootstrap_servers = "{}"

[clusters.destination]
bootstrap_servers = "{}"

[links.copy]
source = "source"
destination = "destination"
topics = ["{topics}"]
rename = "copy.${{topic}}"
replication_factor = 1
"#,
        source.bootstrap(),
        destination.bootstrap()
    )
}

/// The same records at the same offsets.
pub fn same(lab: &Lab, source: &Cluster, destination: &Cluster, topic: &str) -> Result<u64> {
    same_records(lab, source, destination, topic, Offsets::Equal)
}

pub fn same_records(
    lab: &Lab,
    source: &Cluster,
    destination: &Cluster,
    topic: &str,
    offsets: Offsets,
) -> Result<u64> {
    let copy = format!("copy.{topic}");
    let records = client::assert_same(
        &Place::new(source.bootstrap(), topic),
        &Place::new(destination.bootstrap(), &copy),
        offsets,
    )?;
    ensure!(records > 0, "{topic} is empty, which proves nothing");
    lab.note(format!("{topic}: {records} records are the same in {copy}"));
    Ok(records)
}
