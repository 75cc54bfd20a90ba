//! Single situations of a partition with equal offsets, each of which once lost a record or passed over one.

use super::edges::{
    PRODUCER_ID, aligned_from, anchor, dense, failure, fetched, from, lies_at, reads_tail, sends,
    tail, written,
};
use super::*;
use crate::mirror::batch::samples;
use kafka_protocol::records::Compression;

fn padded(mirror: &PartitionMirror, at: i64) -> Event {
    Event::Padded {
        attempt: mirror.attempt,
        answer: PadAnswer::Ends { at },
    }
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
    mirror.handle(Event::SourceDiverged { attempt, end: 2 });
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
