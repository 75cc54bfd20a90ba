//! What a promotion copies before it ends: each of these would lose records, or never end.

use super::edges::{acknowledged, anchor, dense, failure, fetched, fetches, from, refused, tail};
use super::*;

fn asks_for_end(actions: &[Action]) -> bool {
    let asks = |action: &Action| matches!(action, Action::AskSourceEnd);
    actions.iter().any(asks)
}

fn saves(actions: &[Action]) -> Option<i64> {
    actions.iter().find_map(|action| match action {
        Action::Save { anchors, .. } => anchors.last().map(|last| last.source_offset),
        _ => None,
    })
}

/// Copying, with everything up to `end` at the destination.
fn copied_up_to(end: i64) -> PartitionMirror {
    let mut mirror = from(anchor(0, 0, 0));
    mirror.handle(tail(0, None, None));
    mirror.handle(fetched(&mirror, &[dense(0, end)], end));
    mirror.handle(acknowledged(&mirror, 0));
    mirror
}

#[test]
fn a_promotion_copies_what_the_source_has_and_stops_behind_it() {
    let mut mirror = copied_up_to(3);
    assert!(asks_for_end(&mirror.handle(Event::Drain)));
    // Two more were written before that was asked for.
    assert!(mirror.handle(Event::SourceEnd { end: 5 }).is_empty());
    mirror.handle(fetched(&mirror, &[dense(3, 2)], 5));
    let actions = mirror.handle(acknowledged(&mirror, 3));
    assert!(asks_for_end(&actions) && !mirror.is_drained());
    let actions = mirror.handle(Event::SourceEnd { end: 5 });
    assert_eq!(
        saves(&actions),
        Some(5),
        "what is stored says how far it came"
    );
    assert!(mirror.is_drained() && !mirror.is_stopped());
    mirror.handle(Event::Saved);
    assert!(mirror.is_stopped());
}

/// Nothing is fetched of an idle source, so no answer would say where it ends.
#[test]
fn an_idle_mirror_is_promoted_without_waiting_for_a_record() {
    let mut mirror = copied_up_to(3);
    mirror.handle(Event::Drain);
    mirror.handle(Event::SourceEnd { end: 3 });
    mirror.handle(Event::Saved);
    assert!(mirror.is_stopped() && mirror.is_drained());
}

/// What was committed at the source between two looks is part of it; what comes after the last one is not waited for.
#[test]
fn a_promotion_ends_though_producers_go_on_writing_to_the_source() {
    let mut mirror = copied_up_to(1);
    assert!(asks_for_end(&mirror.handle(Event::Drain)));
    let mut looks = 0;
    for end in 2..1_000 {
        let asked = asks_for_end(&mirror.handle(Event::SourceEnd { end }));
        assert!(!asked, "the end is not reached yet");
        looks += 1;
        mirror.handle(fetched(&mirror, &[dense(end - 1, 1)], end + 5));
        let actions = mirror.handle(acknowledged(&mirror, end - 1));
        if mirror.is_drained() {
            break;
        }
        assert!(asks_for_end(&actions));
    }
    assert_eq!(looks, 10);
}

#[test]
fn a_paused_mirror_goes_on_to_be_promoted() {
    let mut mirror = copied_up_to(3);
    mirror.handle(Event::Pause);
    mirror.handle(Event::Saved);
    assert!(mirror.is_paused());
    let actions = mirror.handle(Event::Drain);
    assert!(super::edges::reads_tail(&actions) && asks_for_end(&actions));
    // Told again with each look at what is wanted.
    assert!(mirror.handle(Event::Drain).is_empty());
}

/// Nobody can say that everything is copied.
#[test]
fn a_partition_that_fails_is_not_promoted() {
    let mut mirror = copied_up_to(3);
    mirror.handle(Event::Drain);
    mirror.handle(Event::SourceEnd { end: 5 });
    mirror.handle(fetched(&mirror, &[dense(3, 2)], 5));
    let actions = mirror.handle(refused(&mirror, 47));
    assert!(failure(&actions).is_some());
    assert!(mirror.is_failed() && !mirror.is_drained());
    // A failover ends it all the same.
    mirror.handle(Event::Stop);
    assert!(mirror.is_stopped() && !mirror.is_drained());
}

#[test]
fn an_error_on_the_last_stretch_is_recovered_from_as_ever() {
    let mut mirror = copied_up_to(3);
    mirror.handle(Event::Drain);
    mirror.handle(Event::SourceEnd { end: 5 });
    mirror.handle(fetched(&mirror, &[dense(3, 2)], 5));
    let actions = mirror.handle(refused(&mirror, 6));
    assert!(super::edges::reads_tail(&actions) && !mirror.is_drained());
    let written = super::edges::written(&dense(0, 3), 0, super::edges::PRODUCER_ID);
    assert!(fetches(&mirror.handle(tail(3, Some(written), Some(3)))));
}
