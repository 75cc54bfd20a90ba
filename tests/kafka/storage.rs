//! What happens to topics and disks under a running worker: limits that refuse a batch, full and read-only disks, topics
//! that are deleted, made again or trimmed. What can go on ends in an exact copy, what cannot says why and leaves the rest
//! alone.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::copy::topology;
use crate::faults::{Stage, copy_in, plan, three};
use crate::support::client::{self, Offsets, Place};
use crate::support::cluster::{Disk, Spec};
use crate::support::dataset::{self, Ages};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::process::Process;
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    let test = |name, tier, brokers, seconds, body| Test {
        name,
        tier,
        brokers,
        seconds,
        body,
    };
    vec![
        test(
            "storage::a_batch_too_large_for_the_mirror_topic",
            Tier::Long,
            2,
            60,
            too_large,
        ),
        test(
            "storage::topics_deleted_made_again_and_trimmed",
            Tier::Readme,
            2,
            60,
            topics_lost,
        ),
        test(
            "storage::a_full_disk_at_the_destination",
            Tier::Long,
            4,
            120,
            full_disk,
        ),
        test(
            "storage::a_read_only_folder_at_the_destination",
            Tier::Long,
            4,
            120,
            read_only,
        ),
    ]
}

/// FAILED with the broker's words and the setting to raise; the neighbour goes on; raised, it goes on by itself.
fn too_large(lab: &Lab) -> Result<()> {
    let source = Spec::new("source", Version::V4_3).start(lab)?;
    let destination = Spec::new("destination", Version::V4_3).start(lab)?;
    for topic in ["app-large", "app-small"] {
        source.tools().create_topic(topic, 1, &[])?;
        client::produce(&Place::new(source.bootstrap(), topic), "first", 500)?;
    }
    let kmirror = Kmirror::new(lab, &topology(&source, &destination, "app-*"))?;
    kmirror.ok("apply", &["--yes"])?;
    let limit = "max.message.bytes";
    // Batches are halved until they fit; not even one record does.
    client::set_config(&destination.bootstrap(), "copy.app-large", limit, "60")?;
    let mut worker = kmirror.start(&[])?;
    says(
        &worker,
        "FAILED: the destination refused the batch at source offset 0 (destination offset 0): MESSAGE_TOO_LARGE",
    )?;
    says(&worker, "raise max.message.bytes of the destination topic")?;
    let both = |topic: &str| {
        (
            Place::new(source.bootstrap(), topic),
            Place::new(destination.bootstrap(), format!("copy.{topic}")),
        )
    };
    let (small, copy) = both("app-small");
    becomes_same(&small, &copy)?;
    client::set_config(&destination.bootstrap(), "copy.app-large", limit, "1048588")?;
    let (large, copy) = both("app-large");
    client::produce(&large, "second", 500)?;
    becomes_same(&large, &copy)?;
    worker.signal("TERM")?;
    // What failed and went on is no failure.
    let status = worker.wait(Duration::from_secs(20))?;
    ensure!(status.success(), "the worker, asked to stop: {status}");
    Ok(())
}

/// A source topic made again, a destination topic made again, both deleted, and records that expire before they are
/// read: each mirror says so and stops, and another one goes on.
fn topics_lost(lab: &Lab) -> Result<()> {
    const TOPICS: [&str; 6] = [
        "app-source-again",
        "app-copy-again",
        "app-source-gone",
        "app-copy-gone",
        "app-expired",
        "app-untouched",
    ];
    let source = Spec::new("source", Version::V4_3).start(lab)?;
    let destination = Spec::new("destination", Version::V4_3).start(lab)?;
    client::create_topics(&source.bootstrap(), &TOPICS, 1)?;
    for topic in TOPICS {
        client::produce(&Place::new(source.bootstrap(), topic), "first", 200)?;
    }
    let text = topology(&source, &destination, "app-*");
    let kmirror = Kmirror::new(lab, &text)?;
    kmirror.ok("apply", &["--yes"])?;
    kmirror.ok("run", &["--until-caught-up"])?;
    // Nobody reads while these expire.
    let expired = Place::new(source.bootstrap(), "app-expired");
    client::produce(&expired, "expires", 200)?;
    source
        .tools()
        .delete_records("app-expired", 0, 300, lab.dir())?;

    let worker = kmirror.start(&[])?;
    says(
        &worker,
        "the source deleted offsets 200 to 299 before they were copied",
    )?;
    let delete = |tools: crate::support::tools::Tools, topic: &str| {
        tools.topics(&["--delete", "--topic", topic])
    };
    delete(source.tools(), "app-source-again")?;
    delete(source.tools(), "app-source-gone")?;
    delete(destination.tools(), "copy.app-copy-again")?;
    delete(destination.tools(), "copy.app-copy-gone")?;
    source.tools().create_topic("app-source-again", 1, &[])?;
    destination
        .tools()
        .create_topic("copy.app-copy-again", 1, &[])?;
    for topic in [
        "app-source-again",
        "app-copy-again",
        "app-copy-gone",
        "app-untouched",
    ] {
        client::produce(&Place::new(source.bootstrap(), topic), "second", 200)?;
    }
    says(
        &worker,
        "FAILED: the source topic was deleted and created again: the mirror copies topic id",
    )?;
    // What was written first tells that its log is another one.
    says_one_of(
        &worker,
        &[
            "FAILED: the destination topic was deleted and created again: the mirror writes to topic id",
            "FAILED: somebody else wrote to the mirror topic: offset 200 was expected next, the log is at 0",
        ],
    )?;
    says(
        &worker,
        "FAILED: the source topic app-source-gone no longer exists",
    )?;
    says(
        &worker,
        "FAILED: the destination topic copy.app-copy-gone no longer exists",
    )?;
    becomes_same(
        &Place::new(source.bootstrap(), "app-untouched"),
        &Place::new(destination.bootstrap(), "copy.app-untouched"),
    )?;
    // Nothing of the topic's second life is mixed with its first.
    let copied = client::read_partition(&destination.bootstrap(), "copy.app-source-again", 0)?;
    ensure!(
        copied.len() == 200,
        "the copy of a topic that was made again has {} records, not those 200 of its first life",
        copied.len()
    );
    let copied = client::read_partition(&destination.bootstrap(), "copy.app-expired", 0)?;
    ensure!(
        copied.len() == 200,
        "a copy goes on behind a gap: {} records",
        copied.len()
    );
    Ok(())
}

/// One of three nodes has no room left: it ends, the others lead, and with room it comes back.
fn full_disk(lab: &Lab) -> Result<()> {
    if !Disk::is_possible(lab)? {
        lab.note("not shown: this user may not mount");
        return Ok(());
    }
    let destination = three("destination").small_disk(1, 256);
    let mut stage = Stage::set(lab, destination, plan(100_000, Ages::OldAndNew), 3)?;
    let mut worker = stage.worker()?;
    let before = stage.await_progress(0)?;
    stage.while_writing((1, 2), |_, destination| {
        destination.disk().fill()?;
        ended_by_itself(lab, destination, 1)
    })?;
    stage.await_progress(before)?;
    stage.write_part(2, 2)?;
    ensure!(worker.exited()?.is_none(), "the worker ended");
    stage.destination.disk().free()?;
    stage.destination.start(1)?;
    stage.finish(lab, vec![worker])
}

/// The folders of one node's partitions take no more files, so that it cannot begin its next segment.
fn read_only(lab: &Lab) -> Result<()> {
    let destination = three("destination").config("log.segment.bytes", "1048576");
    let mut stage = Stage::set(lab, destination, plan(100_000, Ages::OldAndNew), 3)?;
    let worker = stage.worker()?;
    let before = stage.await_progress(0)?;
    let topic = copy_in(&stage.destination).topic;
    let folders: Vec<PathBuf> = (0..dataset::PARTITIONS)
        .map(|partition| {
            stage
                .destination
                .data_dir(1)
                .join(format!("{topic}-{partition}"))
        })
        .collect();
    let Some(immutable) = Immutable::make(folders) else {
        lab.note("not shown: this user or file system cannot make folders immutable");
        return Ok(());
    };
    stage.while_writing((1, 2), |_, destination| {
        ended_by_itself(lab, destination, 1)
    })?;
    stage.await_progress(before)?;
    stage.write_part(2, 2)?;
    drop(immutable);
    stage.destination.start(1)?;
    stage.finish(lab, vec![worker])
}

fn ended_by_itself(
    lab: &Lab,
    cluster: &mut crate::support::cluster::Cluster,
    node: usize,
) -> Result<()> {
    let start = Instant::now();
    while !cluster.has_ended(node)? {
        ensure!(
            start.elapsed() < Duration::from_secs(60),
            "node {} bears it",
            node + 1
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    lab.note(format!(
        "node {} ended after {:.1} s",
        node + 1,
        start.elapsed().as_secs_f64()
    ));
    cluster.kill(node)
}

/// Folders in which not even root makes files; dropped, they are ordinary again.
struct Immutable(Vec<PathBuf>);

impl Immutable {
    fn make(folders: Vec<PathBuf>) -> Option<Self> {
        let made = Self(folders);
        made.change("+i").then_some(made)
    }

    fn change(&self, flag: &str) -> bool {
        let output = Command::new("chattr").arg(flag).args(&self.0).output();
        output.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        self.change("-i");
    }
}

/// Waits until the worker's log has a text.
pub fn says(worker: &Process, text: &str) -> Result<()> {
    says_one_of(worker, &[text])
}

fn says_one_of(worker: &Process, texts: &[&str]) -> Result<()> {
    let start = Instant::now();
    loop {
        let log = worker.log_text();
        if texts.iter().any(|text| log.contains(text)) {
            return Ok(());
        }
        ensure!(
            start.elapsed() < Duration::from_secs(60),
            "the worker said none of {texts:?}:\n{log}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the copy is complete.
pub fn becomes_same(source: &Place, copy: &Place) -> Result<()> {
    let start = Instant::now();
    loop {
        match client::assert_same(source, copy, Offsets::Equal) {
            Ok(_) => return Ok(()),
            Err(error) if start.elapsed() > Duration::from_secs(60) => {
                return Err(error).context(format!("{} after a minute", source.topic));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}
