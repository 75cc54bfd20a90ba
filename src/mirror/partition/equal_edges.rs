//! Single situations of a partition with equal offsets, each of which once lost a record or passed over one.

use super::edges::{
    PRODUCER_ID, acknowledged, anchor, dense, failure, fetched, from, lies_at, lost, reads_tail,
    refused, sends, settings, tail, written,
};
use super::*;
use crate::control::records::{FillWay, HolePolicy};
use crate::mirror::batch::samples;
use kafka_protocol::records::Compression;

fn preserving() -> Settings {
    Settings {
        offsets: OffsetsSpec::Preserve {
            on_hole: HolePolicy::default(),
        },
        ..settings()
    }
}

/// A mirror with equal offsets that goes on from anchors.
pub(super) fn aligned_from(anchors: &[Anchor]) -> PartitionMirror {
    let stored = Stored {
        anchors: anchors.to_vec(),
        alignment: Alignment::Equal {
            start: 0,
            fill: FillWay::Records,
            filling: false,
        },
        ..Stored::default()
    };
    PartitionMirror::start(preserving(), stored).0
}

fn padded(mirror: &PartitionMirror, at: i64) -> Event {
    Event::Padded {
        attempt: mirror.attempt,
        answer: PadAnswer::Ends { at },
    }
}

/// All brokers lost power, and with it markers: the next batch was taken where they had been, which nothing at the source shows,
/// as it has no record there.
#[test]
fn a_batch_that_took_the_place_of_lost_markers_stops_the_mirror() {
    for anchors in [
        vec![anchor(96, 96, 82), anchor(101, 101, 82)],
        vec![anchor(96, 96, 82)],
    ] {
        let mut mirror = aligned_from(&anchors);
        mirror.confirmed = anchor(101, 101, 82);
        let mut last = written(&dense(101, 1), 82, PRODUCER_ID);
        last.header.base_offset = 96;
        let actions = mirror.handle(tail(97, Some(last), Some(83)));
        let short = Failure::DestinationTooShort {
            known: 101,
            end: 97,
        };
        assert_eq!(failure(&actions), Some(&short));
    }
}

/// The source was elected uncleanly while the partition ran nowhere, and its new log is longer than what was copied. With nothing
/// left at the destination to compare, only the epoch of what was stored tells.
#[test]
fn the_source_has_to_know_the_epoch_of_what_was_copied() {
    let stored = Anchor {
        source_leader_epoch: 3,
        ..anchor(10, 10, 10)
    };
    let mut mirror = aligned_from(&[anchor(0, 0, 0), stored, anchor(12, 12, 10)]);
    let actions = mirror.handle(tail(12, None, Some(10)));
    let known = actions.iter().find_map(|action| match action {
        Action::Fetch { known, .. } => Some(*known),
        _ => None,
    });
    assert_eq!(known, Some(KnownEpoch::of(&stored)), "{actions:?}");
    let attempt = mirror.attempt;
    let actions = mirror.handle(Event::SourceDiverged { attempt, end: 7 });
    let diverged = Failure::SourceDiverged {
        position: 12,
        end: 7,
    };
    assert_eq!(failure(&actions), Some(&diverged));
}

/// Somebody else wrote between the filler: its last record took the offset of the first that is copied.
#[test]
fn filler_that_was_shifted_does_not_take_the_place_of_a_record() {
    let mut mirror = aligned_from(&[anchor(0, 0, 0)]);
    mirror.alignment = Alignment::Equal {
        start: 143,
        fill: FillWay::Records,
        filling: true,
    };
    let filler = Chunk::filler(0, 43, false, 0);
    let mut last = written(&filler.batch, 100, PRODUCER_ID);
    last.header.base_offset = 101;
    mirror.handle(tail(144, Some(last), Some(143)));
    let actions = mirror.handle(fetched(&mirror, &[dense(143, 3)], 146));
    assert_eq!(failure(&actions), Some(&Failure::Displaced { offset: 143 }));
}

/// A leader that had lost its log took markers at offset 0: going on would leave them where records belong.
#[test]
fn fewer_markers_than_were_asked_for_are_compared_with_the_source() {
    let mut mirror = aligned_from(&[anchor(0, 0, 0), anchor(10, 10, 10)]);
    mirror.handle(tail(10, Some(lies_at(0, &dense(0, 10))), Some(10)));
    mirror.handle(fetched(&mirror, &[dense(0, 10), dense(23, 1)], 24));
    assert_eq!(mirror.padding, Some(23));
    assert!(reads_tail(&mirror.handle(padded(&mirror, 13))));
    mirror.handle(tail(13, None, None));
    let actions = mirror.handle(fetched(&mirror, &[dense(0, 10)], 24));
    assert_eq!(failure(&actions), Some(&Failure::Displaced { offset: 0 }));
}

/// The source was elected uncleanly, and a transaction that was rolled back is committed in its new log: its record must not be
/// sent behind the marker that is on its way for it.
#[test]
fn nothing_is_sent_while_markers_are_on_their_way() {
    let mut mirror = aligned_from(&[anchor(0, 0, 0)]);
    mirror.handle(tail(0, None, None));
    mirror.handle(fetched(&mirror, &[dense(1, 2)], 3));
    assert_eq!(mirror.padding, Some(1));
    let attempt = mirror.attempt;
    assert_eq!(
        failure(&mirror.handle(Event::SourceDiverged { attempt, end: 2 })),
        None
    );
    let actions = mirror.handle(fetched(&mirror, &[dense(0, 2)], 2));
    assert_eq!(sends(&actions), 0);
    let actions = mirror.handle(padded(&mirror, 1));
    assert_eq!(failure(&actions), Some(&Failure::Displaced { offset: 0 }));
}

/// Somebody else's record took the place of one among identical ones: the last batch looks right, and one record is missing.
#[test]
fn a_record_that_is_missing_among_identical_ones_is_noticed_by_counting() {
    let same = |base: i64, count: i64| {
        let mut records = samples::dense(base, count);
        for record in &mut records {
            (record.timestamp, record.key, record.value) = (0, None, None);
        }
        samples::batch(&records, Compression::None)
    };
    let source = [same(0, 2), same(2, 1), same(3, 1)];
    for (taken, ends) in [(3, Some(Failure::Displaced { offset: 2 })), (4, None)] {
        let mut mirror = aligned_from(&[anchor(0, 0, 0)]);
        let mut last = written(&same(3, 1), taken - 1, PRODUCER_ID);
        last.header.base_offset = 3;
        mirror.handle(tail(4, Some(last), Some(taken as i32)));
        assert_eq!(
            mirror.confirmed().source_offset,
            if taken == 3 { 0 } else { 3 }
        );
        let actions = mirror.handle(fetched(&mirror, &source, 4));
        assert_eq!(failure(&actions), ends.as_ref());
    }
}

/// The last thing that was read were markers or records that were rolled back: without the leader epoch that they carry, a mirror
/// that is paused while its source is cut back and written anew would go on in another history.
#[test]
fn offsets_without_a_record_keep_the_leader_epoch_too() {
    let rolled_back = samples::encode(&samples::dense(4, 1), Compression::None, true, 7);
    for mut mirror in [from(anchor(0, 0, 0)), aligned_from(&[anchor(0, 0, 0)])] {
        mirror.handle(tail(0, None, None));
        mirror.handle(Event::Fetched(Fetched {
            attempt: mirror.attempt,
            records: rolled_back.clone(),
            aborted: vec![(7, 4)],
            last_stable_offset: 5,
        }));
        if mirror.padding.is_some() {
            mirror.handle(padded(&mirror, 5));
        }
        let position = mirror.confirmed();
        assert_eq!(
            (position.source_offset, position.source_leader_epoch),
            (5, 3)
        );
    }
}

/// Two workers wrote the marker of one hole: the second one lies where the source has a record, which would never be copied.
#[test]
fn more_markers_than_were_asked_for_are_compared_with_the_source() {
    let mut mirror = aligned_from(&[anchor(0, 0, 0)]);
    mirror.handle(tail(0, None, None));
    let records = [dense(1, 2)];
    let actions = mirror.handle(fetched(&mirror, &records, 3));
    assert!(
        matches!(actions[..], [Action::Pad { from: 0, to: 1, .. }, ..]),
        "{actions:?}"
    );
    let attempt = mirror.attempt;
    let answer = PadAnswer::Ends { at: 2 };
    assert!(reads_tail(
        &mirror.handle(Event::Padded { attempt, answer })
    ));
    assert_eq!(mirror.confirmed().source_offset, 0);
    mirror.handle(tail(2, None, None));
    let actions = mirror.handle(fetched(&mirror, &records, 3));
    assert_eq!(failure(&actions), Some(&Failure::Displaced { offset: 1 }));
}

/// An unclean election took a record, and markers that were on their way took its offset: seen from the newest anchor
/// alone, nothing would be wrong.
#[test]
fn markers_over_a_record_that_was_lost_stop_the_mirror() {
    let mut mirror = aligned_from(&[anchor(0, 0, 0), anchor(12, 12, 12), anchor(18, 18, 18)]);
    let actions = mirror.handle(tail(29, None, Some(17)));
    assert!(
        matches!(actions[..], [Action::ReadTail { from: 0, .. }]),
        "{actions:?}"
    );
    let mut last = written(&dense(12, 5), 12, PRODUCER_ID);
    last.header.base_offset = 12;
    mirror.handle(tail(29, Some(last), Some(17)));
    assert_eq!(mirror.confirmed().destination_offset, 12);
    let actions = mirror.handle(fetched(&mirror, &[dense(12, 5), dense(17, 1)], 40));
    assert_eq!(failure(&actions), Some(&Failure::Displaced { offset: 17 }));
}

/// The source's last batch ends in offsets that its cleaner emptied: they are taken up also where the batch itself is
/// only compared, or the mirror would seem to lag behind until somebody produces.
#[test]
fn a_hole_at_the_end_of_what_was_compared_is_taken_up() {
    let mut mirror = aligned_from(&[anchor(0, 0, 0)]);
    let mut records = samples::dense(0, 3);
    // The batch keeps its last offset delta.
    let whole = samples::batch(&records, Compression::None);
    records.truncate(2);
    let mut cleaned = samples::batch(&records, Compression::None).to_vec();
    cleaned[23..27].copy_from_slice(&2_i32.to_be_bytes());
    let checksum = crc32c::crc32c(&cleaned[21..]);
    cleaned[17..21].copy_from_slice(&checksum.to_be_bytes());
    let last = written(&samples::batch(&records, Compression::None), 0, PRODUCER_ID);
    assert!(whole.len() > cleaned.len());
    mirror.handle(tail(2, Some(last), Some(2)));
    let actions = mirror.handle(fetched(&mirror, &[cleaned.into()], 3));
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::Pad { from: 2, to: 3, .. })),
        "{actions:?}"
    );
}

/// Without this, a topic with a small `max.message.bytes` would be sent the same filler for ever.
#[test]
fn filler_that_is_too_large_is_sent_in_smaller_batches() {
    let (mut mirror, _) = PartitionMirror::start(preserving(), Stored::default());
    mirror.handle(Event::StartResolved {
        source: 300,
        destination: LogSpan { start: 0, end: 0 },
        fill: FillWay::Records,
    });
    mirror.handle(Event::Saved);
    let mut sizes = Vec::new();
    let failed = (0..40).find_map(|_| {
        let actions = mirror.handle(tail(0, None, None));
        sizes.extend(actions.iter().find_map(|action| match action {
            Action::Send { batch, .. } => Some(batch.size()),
            _ => None,
        }));
        failure(&mirror.handle(refused(&mirror, 10))).cloned()
    });
    assert!(matches!(failed, Some(Failure::Refused { .. })));
    assert!(
        sizes.is_sorted_by(|a, b| a > b) && sizes.len() > 2,
        "{sizes:?}"
    );
}

/// A worker that is told to stop while markers are refused must not go on with transactions.
#[test]
fn a_stop_is_obeyed_while_a_right_for_markers_is_missing() {
    for stops in [false, true] {
        let mut mirror = aligned_from(&[anchor(0, 0, 0)]);
        mirror.handle(tail(0, None, None));
        let batch = dense(3, 2);
        let actions = mirror.handle(fetched(&mirror, &[batch], 5));
        assert!(
            matches!(
                actions[..],
                [
                    Action::Pad {
                        by_transactions: false,
                        ..
                    },
                    ..
                ]
            ),
            "{actions:?}"
        );
        if stops {
            mirror.handle(Event::Stop);
        }
        let attempt = mirror.attempt;
        let answer = PadAnswer::OnlyByTransactions;
        let actions = mirror.handle(Event::Padded { attempt, answer });
        let stored = actions.iter().any(|action| {
            matches!(
                action,
                Action::Save {
                    pads_by_transactions: true,
                    ..
                }
            )
        });
        assert_eq!(stored, !stops, "{actions:?}");
        let actions = mirror.handle(Event::Saved);
        assert_eq!(reads_tail(&actions), !stops, "{actions:?}");
        assert_eq!(mirror.is_stopped(), stops);
    }
}

/// Where offsets are equal, a restart compares the destination's last batch with the source's. Whoever looks for what is
/// missing must not be sent to records that are there.
#[test]
fn an_expired_source_names_only_what_was_not_copied() {
    for (log_start, missing) in [(10, None), (30, Some((10, 30)))] {
        let mut mirror = aligned_from(&[anchor(0, 0, 0)]);
        let last = written(&dense(8, 2), 8, PRODUCER_ID);
        mirror.handle(tail(10, Some(last), Some(10)));
        let actions = mirror.handle(Event::SourceLost {
            attempt: mirror.attempt,
            log_start,
            end: 100,
        });
        let named = match failure(&actions) {
            Some(Failure::SourceExpired { from, to }) => Some((*from, *to)),
            _ => None,
        };
        assert_eq!(named, missing, "{actions:?}");
    }
}

/// The destination lost its end, and the mirror copied it again. Without the anchor at the end, the next loss would be judged
/// from an older one, which knows nothing of markers in between.
#[test]
fn an_end_that_is_reached_again_is_stored_again() {
    let newest = Anchor {
        source_leader_epoch: 3,
        ..anchor(4, 4, 4)
    };
    let mut mirror = aligned_from(&[anchor(0, 0, 0), newest]);
    mirror.handle(tail(2, Some(lies_at(0, &dense(0, 2))), Some(2)));
    mirror.handle(fetched(&mirror, &[dense(0, 2), dense(2, 2)], 4));
    mirror.handle(acknowledged(&mirror, 2));
    assert_eq!(*mirror.confirmed(), newest);
    let actions = mirror.handle(Event::Stop);
    let saves = |action: &Action| matches!(action, Action::Save { anchors, .. } if anchors.last() == Some(&newest));
    assert!(actions.iter().any(saves), "{actions:?}");
}

fn pads(actions: &[Action]) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, Action::Pad { .. }))
}

/// A throttled broker still holds a batch that was given up, and the source's cleaner removed its record meanwhile: behind a marker
/// in its place it would come to lie at another offset than at the source, and those sent with it.
#[test]
fn no_marker_takes_the_place_of_a_record_that_may_still_come() {
    let mut mirror = aligned_from(&[anchor(0, 0, 0)]);
    mirror.handle(tail(0, None, None));
    assert_eq!(
        sends(&mirror.handle(fetched(&mirror, &[dense(0, 1)], 9))),
        1
    );
    assert!(reads_tail(&mirror.handle(lost(&mirror))));
    mirror.handle(tail(0, None, None));
    let cleaned = [dense(1, 2)];
    assert!(!pads(&mirror.handle(fetched(&mirror, &cleaned, 9))));
    assert!(mirror.awaits_tick());
    let waited = (0..200).take_while(|_| !reads_tail(&mirror.handle(Event::Tick)));
    assert_eq!(waited.count(), TICKS_LOST as usize - 1);
    // It did not come.
    mirror.handle(tail(0, None, None));
    assert!(pads(&mirror.handle(fetched(&mirror, &cleaned, 9))));
}

/// The same records are sent again at once: the sequence tells whose came first.
#[test]
fn records_that_are_there_still_do_not_wait_for_what_may_come() {
    let mut mirror = aligned_from(&[anchor(0, 0, 0)]);
    mirror.handle(tail(0, None, None));
    mirror.handle(fetched(&mirror, &[dense(0, 1)], 9));
    mirror.handle(lost(&mirror));
    mirror.handle(tail(0, None, None));
    let actions = mirror.handle(fetched(&mirror, &[dense(0, 1), dense(2, 1)], 9));
    assert_eq!(sends(&actions), 1);
    assert!(pads(&mirror.handle(acknowledged(&mirror, 0))));
}

/// A mirror that only took up offsets was paused and resumed, and its destination is empty: only the epoch tells that the source
/// lost and wrote anew what lies before the position.
#[test]
fn a_position_that_was_stored_keeps_its_leader_epoch() {
    let stored = Anchor {
        source_leader_epoch: 3,
        ..anchor(5, 5, 0)
    };
    let mut mirror = aligned_from(&[stored]);
    mirror.handle(tail(5, None, None));
    assert_eq!(mirror.confirmed(), &stored);
}
