//! A running worker follows what changes: topics that match later, partitions that are added, a file that is edited and
//! applied again.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::copy::topology;
use crate::support::client::{self, Offsets, Place};
use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    let test = |name, tier, body| Test {
        name,
        tier,
        brokers: 2,
        seconds: 60,
        body,
    };
    vec![
        test("live::changes_are_followed_4_3", Tier::Readme, followed_4_3),
        test("live::changes_are_followed_3_9", Tier::Long, followed_3_9),
    ]
}

fn followed_4_3(lab: &Lab) -> Result<()> {
    followed(lab, Version::V4_3)
}

fn followed_3_9(lab: &Lab) -> Result<()> {
    followed(lab, Version::V3_9)
}

fn followed(lab: &Lab, version: Version) -> Result<()> {
    let source = Spec::new("source", version).start(lab)?;
    let destination = Spec::new("destination", version).start(lab)?;
    source.tools().create_topic("app-one", 1, &[])?;
    source.tools().console_producer("app-one", "a\nb\n")?;
    let text = topology(&source, &destination, "app-*");
    Kmirror::new(lab, &text)?.ok("apply", &["--yes"])?;
    let kmirror = Kmirror::new(lab, &text)?;
    let mut worker = kmirror.start(&[])?;
    arrives(lab, &source, &destination, "app-one", 2)?;

    source.tools().create_topic("app-two", 2, &[])?;
    source
        .tools()
        .kcat(&["-P", "-t", "app-two", "-p", "1"], Some(b"c\nd\n"))?;
    arrives(lab, &source, &destination, "app-two", 2)?;

    source
        .tools()
        .topics(&["--alter", "--topic", "app-two", "--partitions", "4"])?;
    source
        .tools()
        .kcat(&["-P", "-t", "app-two", "-p", "3"], Some(b"e\n"))?;
    arrives(lab, &source, &destination, "app-two", 3)?;

    source.tools().create_topic("extra", 1, &[])?;
    source.tools().console_producer("extra", "f\n")?;
    let edited = text.replace(r#"topics = ["app-*"]"#, r#"topics = ["app-*", "extra"]"#);
    ensure!(edited != text);
    Kmirror::new(lab, &edited)?.ok("apply", &["--yes"])?;
    arrives(lab, &source, &destination, "extra", 1)?;

    // Paused: nothing more arrives; active again: what was missed does.
    let paused = format!("{edited}\n[links.copy.mirrors.extra]\nstate = \"paused\"\n");
    Kmirror::new(lab, &paused)?.ok("apply", &["--yes"])?;
    std::thread::sleep(Duration::from_secs(8));
    source.tools().console_producer("extra", "g\n")?;
    std::thread::sleep(Duration::from_secs(3));
    let copy = client::read_partition(&destination.bootstrap(), "copy.extra", 0)?;
    ensure!(
        copy.len() == 1,
        "a paused mirror copied: {} records",
        copy.len()
    );
    Kmirror::new(lab, &edited)?.ok("apply", &["--yes"])?;
    arrives(lab, &source, &destination, "extra", 2)?;

    // A mirror is deleted under the worker, which goes on with the others and does not make it again although the pattern
    // matches.
    let tombstone = format!("{edited}\n[links.copy.mirrors.app-one]\nstate = \"absent\"\n");
    let deleting = Kmirror::new(lab, &tombstone)?;
    let refused = deleting.command("apply", &["--yes"])?;
    ensure!(
        refused.status.code() == Some(3),
        "a deletion without --allow-delete: {}\n{}",
        refused.status,
        refused.text()
    );
    deleting.ok("apply", &["--yes", "--allow-delete"])?;
    source.tools().console_producer("app-one", "h\n")?;
    source.tools().create_topic("app-three", 1, &[])?;
    source.tools().console_producer("app-three", "i\n")?;
    arrives(lab, &source, &destination, "app-three", 1)?;
    let topics = destination.tools().topics(&["--list"])?;
    ensure!(
        !topics.lines().any(|topic| topic == "copy.app-one"),
        "a deleted mirror is there again: {topics}"
    );
    let quiet = deleting.command("plan", &["--detailed-exitcode", "--allow-delete"])?;
    ensure!(
        quiet.status.code() == Some(0),
        "something is left: {}",
        quiet.text()
    );

    worker.signal("TERM")?;
    let status = worker.wait(Duration::from_secs(20))?;
    ensure!(status.success(), "the worker, asked to stop: {status}");
    let log = worker.log_text();
    ensure!(!log.contains(" ERROR "), "the worker complained:\n{log}");
    Ok(())
}

/// Waits until the copy is complete, some seconds at most.
fn arrives(
    lab: &Lab,
    source: &Cluster,
    destination: &Cluster,
    topic: &str,
    records: u64,
) -> Result<()> {
    let start = Instant::now();
    let copy = Place::new(destination.bootstrap(), format!("copy.{topic}"));
    loop {
        let outcome = client::assert_same(
            &Place::new(source.bootstrap(), topic),
            &copy,
            Offsets::Equal,
        );
        match outcome {
            Ok(found) if found == records => break,
            Ok(found) => bail!("{topic} has {found} records, not {records}"),
            Err(error) if start.elapsed() > Duration::from_secs(30) => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    lab.note(format!(
        "{topic}: {records} records after {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}
