//! Single situations in which what is stored, what the source still has and what the destination holds do not fit together: the
//! destination fell back, the source's oldest records are gone, or a second worker wrote.

use super::edges::{
    PRODUCER_ID, acknowledged, acks_1_from, anchor, dense, failure, fetched, from, reads_tail,
    refused, sends, settings, tail, written,
};
use super::*;
use crate::control::records::{FillWay, HolePolicy, Run};
use crate::mirror::batch::filler;
use crate::mirror::map;

/// The destination lost its end, a worker stored the map of what was left and died before it stored the position. Where
/// its successor copies up to the stored position again, the map is all that is to be stored.
#[test]
fn offsets_of_records_that_are_copied_again_are_not_left_out_of_the_map() {
    let stored_last = Anchor {
        source_leader_epoch: 3,
        ..anchor(4, 4, 4)
    };
    let left = Run {
        source: 0,
        destination: 0,
        count: 2,
    };
    let stored = Stored {
        anchors: vec![anchor(0, 0, 0), stored_last],
        map: MapTail::new(0, vec![left]),
        ..Stored::default()
    };
    let (mut mirror, _) = PartitionMirror::start(settings(), stored);
    mirror.doubt = Doubt::of_predecessors(0);
    let last = written(&dense(0, 2), 0, PRODUCER_ID);
    mirror.handle(tail(2, Some(last), Some(2)));
    let batches = [dense(0, 2), dense(2, 2)];
    assert_eq!(sends(&mirror.handle(fetched(&mirror, &batches, 4))), 1);
    mirror.handle(acknowledged(&mirror, 2));
    assert_eq!(*mirror.confirmed(), stored_last);
    let actions = mirror.handle(Event::Stop);
    let saved = actions.iter().find_map(|action| match action {
        Action::Save { map, .. } => map.last().map(|(_, record)| map::decode(record)),
        _ => None,
    });
    let all = Run { count: 4, ..left };
    assert_eq!(saved, Some(vec![all]), "{actions:?}");
}

/// With acks=1, what only the leader has is a record all the same: a start that is moved behind it leaves a gap after it.
#[test]
fn a_start_that_expired_is_not_moved_while_the_first_record_is_being_replicated() {
    let mut mirror = acks_1_from(anchor(0, 0, 0));
    mirror.handle(tail(0, None, None));
    mirror.handle(fetched(&mirror, &[dense(0, 1)], 10));
    mirror.handle(acknowledged(&mirror, 0));
    let actions = mirror.handle(Event::SourceLost {
        attempt: mirror.attempt,
        log_start: 5,
        end: 100,
    });
    let expired = Failure::SourceExpired { from: 1, to: 5 };
    assert_eq!(failure(&actions), Some(&expired));
}

/// A worker that was replaced without knowing it writes for a while. Its successor, whose batches come second, must not
/// stop for that: soon it is alone.
#[test]
fn a_worker_whose_batches_come_second_does_not_stop_the_mirror() {
    let mut mirror = from(anchor(0, 0, 0));
    let batches: Vec<_> = (0..12).map(|index| dense(2 * index, 2)).collect();
    for there in 0..10_usize {
        let last = there.checked_sub(1).map(|last| {
            let count = i64::try_from(2 * last).expect("few");
            written(&batches[last], count, PRODUCER_ID)
        });
        let end = i64::try_from(2 * there).expect("few");
        let next = i32::try_from(end).ok().filter(|next| *next > 0);
        mirror.handle(tail(end, last, next));
        let read = mirror.handle(fetched(&mirror, &batches[..=there], 24));
        assert_eq!(sends(&read), 1, "{read:?}");
        let actions = mirror.handle(refused(&mirror, 45));
        assert_eq!(failure(&actions), None, "round {there}");
    }
}

/// The start was moved to offset 10, because the source's oldest records had expired and none was copied, while a request of
/// another worker was on its way with the record at offset 4. It must not be deleted as if it were filler, and what
/// lies between is missing.
#[test]
fn a_record_that_somebody_else_copied_is_not_deleted_with_filler() {
    let take = |last: TailBatch, end: i64| {
        let stored = Stored {
            anchors: vec![anchor(0, 0, 0)],
            alignment: Alignment::Equal {
                start: 10,
                fill: FillWay::Records,
                filling: true,
            },
            ..Stored::default()
        };
        let offsets = OffsetsSpec::Preserve {
            on_hole: HolePolicy::default(),
        };
        let settings = Settings {
            offsets,
            ..settings()
        };
        let (mut mirror, _) = PartitionMirror::start(settings, stored);
        let next = i32::try_from(end).ok();
        mirror.handle(tail(end, Some(last), next))
    };
    let record = |base: i64, count: i64| {
        let mut last = written(&dense(base, count), base, PRODUCER_ID);
        last.header.base_offset = base;
        last
    };
    let expired = Failure::SourceExpired { from: 5, to: 10 };
    assert_eq!(failure(&take(record(4, 1), 5)), Some(&expired));
    let deletes = |actions: &[Action]| {
        let mut actions = actions.iter();
        actions.any(|action| matches!(action, Action::DeleteBefore { .. }))
    };
    let whole = take(record(4, 6), 10);
    assert!(failure(&whole).is_none() && !deletes(&whole), "{whole:?}");
    let filled = |count: i64| written(&filler::batch(count, false, 7), 0, PRODUCER_ID);
    assert_eq!(sends(&take(filled(5), 5)), 1);
    assert!(deletes(&take(filled(10), 10)));
}

/// The same without equal offsets: the destination's records are counted from the start, and lie before it.
#[test]
fn a_start_that_was_moved_is_not_taken_for_that_of_records_that_somebody_else_copied() {
    let mut mirror = from(anchor(0, 0, 0));
    mirror.handle(tail(0, None, None));
    mirror.handle(Event::SourceLost {
        attempt: mirror.attempt,
        log_start: 10,
        end: 20,
    });
    mirror.handle(Event::Saved);
    let late = written(&dense(0, 2), 0, PRODUCER_ID);
    let actions = mirror.handle(tail(2, Some(late), Some(2)));
    let expected = Failure::SourceExpiredUncounted {
        from: 0,
        to: 10,
        present: 2,
    };
    assert_eq!(failure(&actions), Some(&expected));
}

/// With acks=1 a leader that was frozen acknowledged a batch, and its successor has something else at that offset: what the
/// successor has replicated says nothing of the batch, which would be missing for good.
#[test]
fn a_batch_that_a_replaced_leader_acknowledged_does_not_count_by_what_its_successor_holds() {
    for (leader_epoch, confirmed, recovers) in [(5, 2, false), (4, 0, false), (6, 0, true)] {
        let mut mirror = acks_1_from(anchor(0, 0, 0));
        let Event::Tail(empty) = tail(0, None, None) else {
            unreachable!("a tail is made")
        };
        mirror.handle(Event::Tail(Tail {
            leader_epoch: 5,
            ..empty
        }));
        mirror.handle(fetched(&mirror, &[dense(0, 2)], 2));
        mirror.handle(acknowledged(&mirror, 0));
        let actions = mirror.handle(Event::Watermark {
            attempt: mirror.attempt,
            end: 2,
            leader_epoch,
        });
        assert_eq!(mirror.confirmed().count, confirmed, "{leader_epoch}");
        assert_eq!(reads_tail(&actions), recovers, "{actions:?}");
    }
}

/// The source elected a leader uncleanly and the destination deleted what was copied last before anything was stored of it: the
/// next record of the new leader would be taken for it and never be copied.
#[test]
fn records_that_nothing_is_left_of_are_not_counted_among_those_of_another_leader() {
    for (was, passes) in [(3, true), (2, false), (-1, true)] {
        let known = Anchor {
            source_leader_epoch: was,
            ..anchor(5, 5, 5)
        };
        let mut mirror = from(known);
        mirror.handle(tail(6, None, Some(6)));
        let actions = mirror.handle(fetched(&mirror, &[dense(5, 2)], 7));
        let failed = Failure::SourceUncompared {
            offset: 5,
            present: 1,
            was,
            is: 3,
        };
        assert_eq!(sends(&actions), usize::from(passes), "{actions:?}");
        assert_eq!(failure(&actions), (!passes).then_some(&failed));
    }
}
