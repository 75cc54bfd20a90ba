//! Mirrors of topics that were the source before: what lies before their beginning is others', and the source's.

use super::edges::{
    PRODUCER_ID, acknowledged, anchor, dense, failure, fetched, reads_tail, sends, settings, tail,
    written,
};
use super::*;
use crate::control::records::{FillWay, HolePolicy};

const START: i64 = 10;

fn taken_over(anchors: &[Anchor]) -> (PartitionMirror, Vec<Action>) {
    let settings = Settings {
        offsets: OffsetsSpec::Preserve {
            on_hole: HolePolicy::default(),
        },
        ..settings()
    };
    let stored = Stored {
        anchors: anchors.to_vec(),
        alignment: Alignment::Equal {
            start: START,
            fill: FillWay::Content,
            filling: false,
        },
        ..Stored::default()
    };
    let (mut mirror, actions) = PartitionMirror::start(settings, stored);
    mirror.doubt = Doubt::of_predecessors(0);
    (mirror, actions)
}

/// The last batch that was there before, as it lies.
fn others(offset: i64, count: i64) -> TailBatch {
    let mut last = written(&dense(offset, count), 0, PRODUCER_ID + 1);
    last.header.base_offset = offset;
    last
}

fn fetches_from(actions: &[Action]) -> Option<i64> {
    actions.iter().find_map(|action| match action {
        Action::Fetch { offset, .. } => Some(*offset),
        _ => None,
    })
}

fn padded(mirror: &PartitionMirror, at: i64) -> Event {
    Event::Padded {
        attempt: mirror.attempt,
        answer: PadAnswer::Ends { at },
    }
}

#[test]
fn a_mirror_begins_behind_what_was_there_and_takes_up_the_fence() {
    let (mut mirror, actions) = taken_over(&[anchor(START, START, 0)]);
    let from = actions.iter().find_map(|action| match action {
        Action::ReadTail { from, .. } => Some(*from),
        _ => None,
    });
    assert_eq!(from, Some(START), "what lies before says nothing");
    let actions = mirror.handle(tail(START, Some(others(7, 3)), None));
    assert_eq!(fetches_from(&actions), Some(START), "{actions:?}");
    mirror.handle(fetched(&mirror, &[dense(11, 2)], 13));
    assert_eq!(mirror.padding, Some(11));
    let actions = mirror.handle(padded(&mirror, 11));
    assert_eq!(sends(&actions), 1, "{actions:?}");
    let actions = mirror.handle(acknowledged(&mirror, 11));
    assert_eq!(failure(&actions), None);
    assert_eq!(mirror.confirmed().destination_offset, 13);
}

/// The worker was killed before it could store that the fence's offset is taken up.
#[test]
fn a_marker_that_nobody_stored_is_known_by_the_source() {
    let (mut mirror, _) = taken_over(&[anchor(START, START, 0)]);
    let actions = mirror.handle(tail(11, None, None));
    assert_eq!(failure(&actions), None, "{actions:?}");
    // The source must have no record where the marker is.
    assert_eq!(fetches_from(&actions), Some(START));
    let actions = mirror.handle(fetched(&mirror, &[dense(11, 1)], 12));
    assert_eq!(sends(&actions), 1, "{actions:?}");
    let (mut mirror, _) = taken_over(&[anchor(START, START, 0)]);
    mirror.handle(tail(11, None, None));
    let actions = mirror.handle(fetched(&mirror, &[dense(START, 2)], 12));
    assert_eq!(
        failure(&actions),
        Some(&Failure::Displaced { offset: START })
    );
}

/// A leader lost the marker that took up the fence's offset: the end is where the mirror began.
#[test]
fn a_lost_marker_is_written_again() {
    let (mut mirror, _) = taken_over(&[anchor(START, START, 0), anchor(11, 11, 0)]);
    let actions = mirror.handle(tail(START, Some(others(7, 3)), None));
    assert!(
        fetches_from(&actions) == Some(START) || reads_tail(&actions),
        "{actions:?}"
    );
    if reads_tail(&actions) {
        let actions = mirror.handle(tail(START, Some(others(7, 3)), None));
        assert_eq!(fetches_from(&actions), Some(START), "{actions:?}");
    }
}

/// What readers of this topic wrote and read is no business of the mirror's: it must neither fill that up nor delete it.
#[test]
fn a_topic_that_lost_what_was_there_before_stops_the_mirror() {
    for last in [None, Some(others(5, 3))] {
        let (mut mirror, _) = taken_over(&[anchor(START, START, 0)]);
        let actions = mirror.handle(tail(8, last, None));
        let short = Failure::DestinationTooShort {
            known: START,
            end: 8,
        };
        assert_eq!(failure(&actions), Some(&short));
    }
}

#[test]
fn a_producer_that_goes_on_writing_stops_the_mirror() {
    for (end, last) in [(12, others(START, 2)), (12, others(11, 1))] {
        let (mut mirror, _) = taken_over(&[anchor(START, START, 0)]);
        let actions = mirror.handle(tail(end, Some(last), None));
        let found = failure(&actions);
        assert!(
            matches!(found, Some(Failure::ForeignWrite { .. })),
            "{actions:?}"
        );
    }
}

/// Elsewhere, a mirror that has copied nothing yet begins where the source does by now. Here that would leave records out, and delete all
/// that was there before.
#[test]
fn the_first_records_may_not_be_missing() {
    let (mut mirror, _) = taken_over(&[anchor(START, START, 0)]);
    mirror.handle(tail(START, None, None));
    let actions = mirror.handle(Event::SourceLost {
        attempt: mirror.attempt,
        log_start: 15,
        end: 20,
    });
    let expired = Failure::SourceExpired {
        from: START,
        to: 15,
    };
    assert_eq!(failure(&actions), Some(&expired));
}
