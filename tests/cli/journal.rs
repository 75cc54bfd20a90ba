//! Journals of applies, also of such that were killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;

use crate::assert_shown;
use crate::sandboxes::TwoClusters;

const COPY: &str = r#"
[links.copy]
source = "east"
destination = "west"
topics = ["orders", "payments"]
"#;

fn copy() -> TwoClusters {
    let clusters = TwoClusters::start(1, COPY);
    for topic in ["orders", "payments"] {
        clusters.create(&clusters.east, topic, 1, &[]);
    }
    clusters
}

fn journals(clusters: &TwoClusters) -> Vec<std::path::PathBuf> {
    let folder = clusters.scenario.path("state/kmirror/journal");
    let files = fs::read_dir(folder).map_or(Vec::new(), |files| files.flatten().collect());
    files.into_iter().map(|file| file.path()).collect()
}

#[test]
fn what_an_apply_did_can_be_read_afterwards() {
    let clusters = copy();
    let none = clusters.run(&["journal"]);
    assert_shown("cli_journal_none", &none);
    let west = clusters.west.faults();
    west.fail(
        ApiKey::CreateTopics,
        Some("orders"),
        ResponseError::PolicyViolation,
        1,
    );
    // The rehearsal asks first; its refusal would block the plan.
    let planned = clusters.run(&["plan", "mirror.toml"]);
    assert_eq!(planned.code, Some(3), "{planned}");
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_shown("cli_journal_of_an_apply", &clusters.run(&["journal"]));
    let journals = journals(&clusters);
    assert_eq!(journals.len(), 1);
    let mode = fs::metadata(&journals[0])
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // Nothing to do leaves no journal.
    clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(self::journals(&clusters).len(), 1);
}

#[test]
fn a_failed_apply_names_its_journal() {
    let clusters = copy();
    // Both create requests of the rehearsal pass, the third fails.
    let west = clusters.west.faults();
    west.fail(
        ApiKey::InitProducerId,
        None,
        ResponseError::ClusterAuthorizationFailed,
        u32::MAX,
    );
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    let told = clusters.run(&["journal"]);
    assert_eq!(told.code, Some(0), "{told}");
    assert!(told.stdout.contains("Nothing was done: "), "{told}");
}

#[test]
fn a_journal_of_ones_own_is_begun_before_anything_is_done_or_not_at_all() {
    let clusters = copy();
    let ran = clusters.run(&["apply", "--yes", "--journal", "absent/j", "mirror.toml"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(
        ran.stderr
            .contains("nothing was done: no journal can be begun"),
        "{ran}"
    );
    assert_eq!(clusters.west.topics(), [""; 0]);
    let ran = clusters.run(&["apply", "--yes", "--journal", "j", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let told = clusters.run(&["journal", "j"]);
    assert!(
        told.stdout.contains("created: mirror.copy/orders"),
        "{told}"
    );
    assert!(journals(&clusters).is_empty());
    let ran = clusters.run(&["journal", "mirror.toml"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("it is no journal of an apply"), "{ran}");
}

#[test]
fn an_apply_without_a_place_for_its_journal_goes_on() {
    let clusters = copy();
    clusters
        .scenario
        .file("state", "a file where a folder should be");
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(ran.stderr.contains("warning: no journal is kept"), "{ran}");
}

/// Check 9 of those that other tools taught: an apply is killed after some of its writes.
#[test]
fn check_9_a_killed_apply_is_told_of_and_the_next_plan_shows_what_is_left() {
    let topics: String = (0..250)
        .map(|number| format!("[clusters.west.topics.t{number:03}]\npartitions = 1\n"))
        .collect();
    let clusters = TwoClusters::start(1, &topics);
    let west = clusters.west.faults();
    let arguments = [
        "apply",
        "--yes",
        "--parallelism",
        "1",
        "--journal",
        "j",
        "mirror.toml",
    ];
    let mut command = clusters.scenario.command(&arguments);
    // The rehearsal is over once the journal has begun; from then on answers take their time.
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let lines = |event: &str| {
        let text = fs::read_to_string(clusters.scenario.path("j")).unwrap_or_default();
        text.matches(&format!("\"event\":\"{event}\"")).count()
    };
    let started = Instant::now();
    west.delay(ApiKey::CreateTopics, Duration::from_millis(400));
    while lines("asked") < 200 {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it did not come that far"
        );
        assert!(child.try_wait().expect("a child").is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("it can be killed");
    child.wait().expect("a child");
    let done = lines("done");
    assert!((100..250).contains(&done), "{done}");
    west.delay(ApiKey::CreateTopics, Duration::ZERO);

    let told = clusters.run(&["journal", "j"]);
    assert_eq!(told.code, Some(0), "{told}");
    assert_eq!(told.stdout.matches("\n  created: ").count(), done);
    assert!(told.stdout.contains("The journal has no end"), "{told}");
    let unknown = told.stdout.matches("\n  not known: ").count();
    assert_eq!(unknown, lines("asked") - done, "{told}");

    let live = clusters.west.topics().len();
    assert!((done..=done + unknown).contains(&live), "{live}");
    let left = clusters.run(&["plan", "mirror.toml"]);
    assert!(
        left.stdout
            .contains(&format!("Plan: {} to create", 250 - live)),
        "{left}"
    );
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_eq!(clusters.west.topics().len(), 250);
}
