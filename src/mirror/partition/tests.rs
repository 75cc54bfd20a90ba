//! How a mirror begins, and what it says where it cannot go on. Orders of faults are played in `mirror::simulation`.

use super::edges::{
    PRODUCER_ID, acknowledged, anchor, dense, failure, fetched, from, reads_tail, refused, sends,
    settings, tail, written,
};
use super::position::nearest_count;
use super::*;
use crate::control::records::FillWay;
use crate::mirror::batch::rewrite::sequence_of;

#[test]
fn nothing_is_written_before_the_first_anchor_is_stored() {
    let (mut mirror, actions) = PartitionMirror::start(settings(), Stored::default());
    assert!(matches!(actions[..], [Action::ResolveStart]));
    let actions = mirror.handle(Event::StartResolved {
        source: 0,
        destination: LogSpan { start: 0, end: 0 },
        fill: FillWay::Records,
    });
    assert!(matches!(actions[..], [Action::Save { .. }]));
    assert!(mirror.handle(Event::Tick).is_empty());
    assert!(matches!(
        mirror.handle(Event::Saved)[..],
        [Action::ReadTail { .. }]
    ));
}

/// Nothing is being written, so that only looking at the end shows it.
#[test]
fn a_foreign_record_stops_an_idle_mirror() {
    let mut mirror = from(anchor(0, 0, 0));
    mirror.handle(tail(0, None, None));
    mirror.handle(fetched(&mirror, &[dense(0, 2)], 2));
    mirror.handle(acknowledged(&mirror, 0));
    assert!(reads_tail(&mirror.handle(Event::EndSeen { end: 3 })));
    let foreign = written(&dense(2, 1), 0, PRODUCER_ID + 1);
    let actions = mirror.handle(tail(3, Some(foreign), Some(2)));
    assert!(
        matches!(failure(&actions), Some(Failure::ForeignWrite { .. })),
        "{actions:?}"
    );
}

#[test]
fn counts_are_found_from_sequences_across_the_wrap() {
    let wrap = 1i64 << 31;
    assert_eq!(nearest_count(0, 5), 5);
    assert_eq!(nearest_count(wrap - 2, 3), wrap + 3);
    assert_eq!(nearest_count(wrap + 3, sequence_of(wrap - 2)), wrap - 2);
    assert_eq!(nearest_count(5 * wrap, 0), 5 * wrap);
    // A destination that holds more than 2^30 records beyond the last anchor of a young mirror.
    assert_eq!(nearest_count(0, 1_500_000_000), 1_500_000_000);
}

#[test]
fn a_batch_too_large_for_the_topic_stops_the_mirror_with_the_setting_to_change() {
    let mut mirror = from(anchor(0, 0, 0));
    let batches = [dense(0, 64)];
    let mut tries = 0;
    let failed = loop {
        mirror.handle(tail(0, None, None));
        assert_eq!(sends(&mirror.handle(fetched(&mirror, &batches, 64))), 1);
        tries += 1;
        if let Some(failure) = failure(&mirror.handle(refused(&mirror, 10))) {
            break failure.to_string();
        }
    };
    // What can be made smaller is tried first.
    assert!(tries > 3, "{tries}");
    assert!(failed.contains("max.message.bytes"), "{failed}");
}
