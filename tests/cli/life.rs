//! Promotion and failover on embedded clusters: what is asked for is carried out by workers, and there is no way back.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use kmirror::control::actions::{self, ActionRefusal, Asked, MirrorAction};
use kmirror::control::records::{
    EndingKind, FailureCause, Fence, LockRecord, MirrorRecord, RECORD_VERSION,
};
use kmirror::control::{self, ControlState, progress};
use kmirror::status::{self, MirrorState, MirrorStatus, Source};

use crate::assert_shown;
use crate::offsets::produce;
use crate::sandboxes::TwoClusters;

const LINK: &str = "[links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"orders\"]\n\
                    rename = \"${topic}.replica\"\nreplication_factor = 1\n";

/// Ten records of two partitions, mirrored.
fn mirrored() -> TwoClusters {
    let clusters = TwoClusters::start(1, LINK);
    clusters.create(&clusters.east, "orders", 2, &[]);
    let ran = clusters.run(&["apply", "mirror.toml", "--yes"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    produce(&clusters, 10);
    work(&clusters);
    assert_eq!(copied(&clusters), 10);
    clusters
}

fn work(clusters: &TwoClusters) {
    let ran = clusters.run(&["run", "mirror.toml", "--until-caught-up"]);
    assert_eq!(ran.code, Some(0), "{ran}");
}

/// Records of both partitions of the mirror.
fn copied(clusters: &TwoClusters) -> usize {
    let records = |partition| {
        let log = clusters.west.log("orders.replica", partition);
        log.map_or(0, |log| log.records().len())
    };
    records(0) + records(1)
}

fn state(clusters: &TwoClusters) -> ControlState {
    let west = clusters.client(&clusters.west);
    let state = clusters.block_on(control::read(&west));
    state.expect("readable").expect("applied")
}

fn mirror(clusters: &TwoClusters) -> MirrorRecord {
    let state = state(clusters);
    state.mirrors.values().next().expect("one mirror").clone()
}

fn ask(clusters: &TwoClusters, action: MirrorAction) -> Result<Asked, ActionRefusal> {
    let west = clusters.client(&clusters.west);
    let link = mirror(clusters).id.link;
    let lock = LockRecord {
        version: RECORD_VERSION,
        holder: "a test".to_owned(),
        since_ms: 1,
        command: "promote".to_owned(),
    };
    let topics = ["orders.replica".to_owned()];
    let patience = Duration::from_secs(5);
    let asked = actions::ask(&west, lock, patience, link, &topics, action, 1_000);
    let mut outcomes = clusters.block_on(asked).expect("the lock is free");
    outcomes.pop().expect("one topic has one outcome").1
}

#[test]
fn a_promotion_copies_the_rest_fences_and_stops() {
    let clusters = mirrored();
    produce(&clusters, 7);
    assert_eq!(ask(&clusters, MirrorAction::Promote), Ok(Asked::Written));
    assert!(mirror(&clusters).pending().is_some(), "no worker runs");
    work(&clusters);
    assert_eq!(copied(&clusters), 17);
    let mirror = mirror(&clusters);
    let ending = mirror.ending.clone().expect("it was asked for");
    assert!(mirror.is_stopped() && !ending.is_unfenced());
    assert_eq!(
        (ending.kind, ending.partitions.len()),
        (EndingKind::Promote, 2)
    );
    let sum: i64 = ending.partitions.iter().map(|it| it.source_offset).sum();
    assert_eq!(sum, 17, "it says how far it came");
    for partition in 0..2 {
        let log = clusters.west.log("orders.replica", partition);
        let last = log.expect("it is there").batches.pop().expect("a marker");
        assert!(last.header.is_control(), "{last:?}");
        assert_eq!(last.header.producer_id, mirror.producer_id);
        assert_eq!(last.header.producer_epoch, mirror.producer_epoch + 1);
    }
    // What comes later is the source's own, and asking again finds it done.
    produce(&clusters, 3);
    work(&clusters);
    assert_eq!(copied(&clusters), 17);
    let refused = ask(&clusters, MirrorAction::Resume).expect_err("it has stopped");
    assert!(
        refused.to_string().contains("already stopped mirroring"),
        "{refused}"
    );
}

#[test]
fn a_failover_stops_at_once_and_needs_no_source() {
    let clusters = mirrored();
    produce(&clusters, 7);
    assert_eq!(ask(&clusters, MirrorAction::FailOver), Ok(Asked::Written));
    // Nothing of the source can be read.
    clusters.east.faults().fail(
        ApiKey::Fetch,
        None,
        ResponseError::TopicAuthorizationFailed,
        1_000_000,
    );
    work(&clusters);
    assert_eq!(copied(&clusters), 10);
    let mirror = mirror(&clusters);
    let ending = mirror.ending.clone().expect("it was asked for");
    assert!(mirror.is_stopped() && !ending.is_unfenced());
    assert_eq!(ending.kind, EndingKind::FailOver);
}

/// Without the right to write markers there is no fence, and people have to know.
#[test]
fn a_mirror_that_could_not_be_fenced_says_so() {
    let clusters = mirrored();
    clusters.west.faults().fail(
        ApiKey::WriteTxnMarkers,
        None,
        ResponseError::ClusterAuthorizationFailed,
        1_000_000,
    );
    assert_eq!(ask(&clusters, MirrorAction::FailOver), Ok(Asked::Written));
    let ran = clusters.run(&["run", "mirror.toml", "--until-caught-up"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(ran.stderr.contains("STOPPED without a fence"), "{ran}");
    let ending = mirror(&clusters).ending.expect("it was asked for");
    assert!(ending.is_over() && ending.is_unfenced());
    assert!(ending.partitions.iter().all(|it| it.fence == Fence::Waited));
}

/// Somebody else than the worker has to see that a partition stands still, and that it does no more.
#[test]
fn a_failure_is_stored_until_the_partition_copies_again() {
    let clusters = mirrored();
    let failures = || {
        let west = clusters.client(&clusters.west);
        let id = mirror(&clusters).id;
        let kept = clusters.block_on(progress::read(&west, &HashSet::from([id])));
        let kept = kept.expect("readable").into_values();
        kept.filter_map(|kept| kept.failure).collect::<Vec<_>>()
    };
    assert_eq!(failures(), []);
    clusters.west.faults().fail(
        ApiKey::Produce,
        Some("orders.replica"),
        ResponseError::TopicAuthorizationFailed,
        1_000_000,
    );
    produce(&clusters, 4);
    let ran = clusters.run(&["run", "mirror.toml", "--until-caught-up"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    let stored = failures();
    assert!(!stored.is_empty());
    for failure in stored {
        assert_eq!(failure.cause, FailureCause::Authorization);
        assert!(failure.message.contains("grant Write"), "{failure:?}");
        assert!(failure.since_ms > 1_000_000_000_000 && failure.is_retried);
    }
    let refused = ask(&clusters, MirrorAction::Promote).expect_err("it has failed");
    assert!(refused.to_string().contains("has FAILED"), "{refused}");
    clusters.west.faults().clear();
    work(&clusters);
    assert_eq!(copied(&clusters), 14);
    assert_eq!(failures(), []);
    assert_eq!(ask(&clusters, MirrorAction::Promote), Ok(Asked::Written));
}

fn status_of(clusters: &TwoClusters, sources: &HashMap<String, Source>) -> MirrorStatus {
    let west = clusters.client(&clusters.west);
    let found = clusters.block_on(status::look(&west, sources));
    let mut found = found.expect("readable").expect("applied");
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// State and lag come from what is stored and what the clusters say; no worker runs here.
#[test]
fn states_and_lags_are_known_without_a_worker() {
    let clusters = mirrored();
    produce(&clusters, 7);
    let east = clusters.client(&clusters.east);
    let sources = HashMap::from([("east-id".to_owned(), Source::Connected(east))]);
    let found = status_of(&clusters, &sources);
    assert_eq!(found.state, MirrorState::Active);
    let short = |status: &MirrorStatus| -> Vec<(Option<i64>, i64)> {
        let partitions = status.partitions.iter();
        partitions
            .map(|it| (it.lag, it.last_source_fetch_offset))
            .collect()
    };
    assert_eq!(short(&found), [(Some(7), 9), (Some(0), -1)]);
    assert_eq!(
        found.message.as_deref(),
        Some("no worker runs, so nothing is copied")
    );
    ask(&clusters, MirrorAction::Promote).expect("it is active");
    let found = status_of(&clusters, &sources);
    assert_eq!(found.state, MirrorState::PendingStopped);
    let message = found.message.unwrap_or_default();
    assert!(message.contains("no worker runs"), "{message}");
    work(&clusters);
    let found = status_of(&clusters, &sources);
    assert_eq!(
        (found.state, found.message.as_deref()),
        (MirrorState::Stopped, None)
    );
    assert_eq!(short(&found), [(Some(0), 16), (Some(0), -1)]);
    // Without the source, what is recorded is still known.
    let found = status_of(&clusters, &HashMap::new());
    assert_eq!(found.partitions[0].last_source_fetch_offset, 16);
}

fn with_state(state: &str) -> String {
    format!("{LINK}\n[links.copy.mirrors.orders]\nstate = \"{state}\"\n")
}

/// The file's word is carried out, waited for, and cannot be taken back by another file.
#[test]
fn a_file_promotes_a_mirror_and_no_older_file_takes_it_back() {
    let clusters = mirrored();
    produce(&clusters, 5);
    clusters.write(&with_state("promoted"));
    let ran = clusters.run(&["plan", "mirror.toml"]);
    assert_shown("cli_promote_planned", &ran);
    // Nobody carries it out: it is said so, and asking again waits on.
    for _ in 0..2 {
        let ran = clusters.run(&["apply", "--yes", "--wait", "1s", "mirror.toml"]);
        assert_eq!(ran.code, Some(1), "{ran}");
        assert!(ran.stderr.contains("1 mirror is still pending"), "{ran}");
        assert!(
            ran.stderr.contains("PENDING_STOPPED, no worker runs"),
            "{ran}"
        );
    }
    work(&clusters);
    assert_eq!(copied(&clusters), 15);
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(mirror(&clusters).is_stopped());
    for state in ["active", "paused"] {
        clusters.write(&with_state(state));
        let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
        assert_eq!(ran.code, Some(3), "{ran}");
        assert!(ran.stderr.contains("The mirror was promoted"), "{ran}");
    }
    clusters.write(LINK);
    let ran = clusters.run(&["plan", "mirror.toml"]);
    assert_shown("cli_promoted_blocked", &ran);
    // A word that comes too late changes nothing.
    clusters.write(&with_state("failed-over"));
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let ending = mirror(&clusters).ending.expect("it ended");
    assert_eq!(ending.kind, EndingKind::Promote);
}

/// The day for which there is a failover: nobody answers at the source, and a promotion would never end.
#[test]
fn a_file_fails_over_without_its_source_and_promotes_not() {
    let clusters = mirrored();
    for id in 0..2 {
        clusters.east.faults().stop_broker(id);
    }
    clusters.write(&with_state("promoted"));
    let ran = clusters.run(&["plan", "mirror.toml"]);
    assert_eq!(ran.code, Some(3), "{ran}");
    clusters.write(&with_state("failed-over"));
    let ran = clusters.run(&["plan", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(ran.stdout.contains("1 to fail over"), "{ran}");
    let ran = clusters.run(&["apply", "--yes", "--wait", "0s", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let pending = mirror(&clusters).pending().map(|ending| ending.kind);
    assert_eq!(pending, Some(EndingKind::FailOver));
}
