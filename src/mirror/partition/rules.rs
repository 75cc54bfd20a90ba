//! The numbered rules of docs/mirror-engine.md that the state machine keeps. Those that brokers judge, and what becomes of
//! records without them, are shown on real Kafka in `tests/kafka/rules.rs`.

use bytes::Bytes;
use kafka_protocol::records::{Compression, RecordBatchDecoder};

use super::edges::{
    PRODUCER_ID, acknowledged, anchor, answer, dense, failure, fetched, from, lies_at, lost,
    read_back, reads_tail, refused, sends, settings, tail, written,
};
use super::*;
use crate::mirror::batch::{BatchHeader, samples};

/// Producer id, base sequence and values of the batches that are sent.
fn sent(actions: &[Action]) -> Vec<(i64, i32, Vec<String>)> {
    let batch = |action: &Action| match action {
        Action::Send { batch, .. } => Some([&batch.header[..], &batch.records[..]].concat()),
        _ => None,
    };
    let read = |bytes: Vec<u8>| {
        let header = BatchHeader::parse(&bytes).expect("a batch");
        let records = RecordBatchDecoder::decode(&mut Bytes::from(bytes)).expect("it decodes");
        let text = |value: Option<Bytes>| String::from_utf8(value.expect("set").to_vec());
        let values = records.records.into_iter().map(|record| text(record.value));
        let values = values.collect::<Result<_, _>>().expect("text");
        (header.producer_id, header.base_sequence, values)
    };
    actions.iter().filter_map(batch).map(read).collect()
}

fn values(offsets: std::ops::Range<i64>) -> Vec<String> {
    offsets.map(|offset| format!("value-{offset}")).collect()
}

/// Everything was lost, or is on its way: an empty destination is no reason for another id.
#[test]
fn rule_1_a_destination_that_looks_empty_is_written_to_with_the_stored_id() {
    let mut mirror = from(anchor(0, 0, 0));
    for _ in 0..3 {
        mirror.handle(tail(0, None, None));
        let actions = mirror.handle(fetched(&mirror, &[dense(0, 2)], 2));
        assert_eq!(sent(&actions), [(PRODUCER_ID, 0, values(0..2))]);
        assert!(reads_tail(&mirror.handle(lost(&mirror))));
    }
    // Another worker, which knows what is stored and nothing else.
    let mut mirror = from(anchor(0, 0, 0));
    mirror.handle(tail(0, None, None));
    let actions = mirror.handle(fetched(&mirror, &[dense(0, 2)], 2));
    assert_eq!(sent(&actions), [(PRODUCER_ID, 0, values(0..2))]);
}

/// A leader that does not know the id takes any sequence: a second batch would leave a gap where the first is refused.
#[test]
fn rule_2_one_batch_goes_alone_after_a_start_an_error_and_a_lost_connection() {
    let causes: [fn(&PartitionMirror) -> Event; 3] = [
        |mirror| lost(mirror),
        |mirror| refused(mirror, 6),
        |mirror| refused(mirror, 45),
    ];
    for cause in causes {
        let mut mirror = from(anchor(0, 0, 0));
        let batches = [dense(0, 2), dense(2, 2), dense(4, 2), dense(6, 2)];
        mirror.handle(tail(0, None, None));
        assert_eq!(sends(&mirror.handle(fetched(&mirror, &batches, 8))), 1);
        assert_eq!(sends(&mirror.handle(acknowledged(&mirror, 0))), 3);
        let attempt = mirror.attempt;
        mirror.handle(cause(&mirror));
        for _ in 0..2 {
            let answer = Answer::Lost {
                cause: String::new(),
            };
            mirror.handle(Event::Answer { attempt, answer });
        }
        let last = written(&batches[0], 0, PRODUCER_ID);
        mirror.handle(tail(2, Some(last), Some(2)));
        assert_eq!(sends(&mirror.handle(fetched(&mirror, &batches[..], 8))), 1);
        let mut actions = mirror.handle(acknowledged(&mirror, 2));
        if actions
            .iter()
            .any(|action| matches!(action, Action::ReadBack { .. }))
        {
            // After an answer that was lost, an acknowledgement may be of what was sent before.
            let found = lies_at(2, &batches[1]);
            actions = mirror.handle(read_back(&mirror, vec![found]));
        }
        assert_eq!(sends(&actions), 2);
    }
}

/// What the leader took and nobody can read yet would be written again.
#[test]
fn rule_3_nothing_is_written_while_the_leader_is_ahead_of_what_can_be_read() {
    let mut mirror = from(anchor(0, 0, 0));
    for _ in 0..3 {
        let actions = mirror.handle(tail(0, None, Some(4)));
        assert!(reads_tail(&actions) && sends(&actions) == 0, "{actions:?}");
    }
    let last = written(&dense(2, 2), 2, PRODUCER_ID);
    mirror.handle(tail(4, Some(last), Some(4)));
    let batches = [dense(0, 2), dense(2, 2), dense(4, 2)];
    let actions = mirror.handle(fetched(&mirror, &batches, 6));
    assert_eq!(sent(&actions), [(PRODUCER_ID, 4, values(4..6))]);
}

/// Without it, a record that somebody else wrote would shift every later one, and the offset map with them.
#[test]
fn rule_4_an_acknowledgement_at_another_offset_stops_the_mirror() {
    for base_offset in [3, 5] {
        let mut mirror = from(anchor(0, 0, 0));
        mirror.handle(tail(0, None, None));
        let batches = [dense(0, 2), dense(2, 2), dense(4, 2)];
        mirror.handle(fetched(&mirror, &batches, 6));
        mirror.handle(acknowledged(&mirror, 0));
        let actions = mirror.handle(acknowledged(&mirror, base_offset));
        assert_eq!(
            failure(&actions),
            Some(&Failure::ForeignWrite {
                offset: 2,
                found: base_offset,
                producer_id: None
            })
        );
        assert_eq!(mirror.confirmed().count, 2);
        assert_eq!(sends(&mirror.handle(acknowledged(&mirror, 4))), 0);
    }
    // A lower one takes nobody else: the log was cut back, or it is another topic's. The tail says which.
    for base_offset in [-1, 1] {
        let mut mirror = from(anchor(0, 0, 0));
        mirror.handle(tail(0, None, None));
        let batches = [dense(0, 2), dense(2, 2), dense(4, 2)];
        mirror.handle(fetched(&mirror, &batches, 6));
        mirror.handle(acknowledged(&mirror, 0));
        let actions = mirror.handle(acknowledged(&mirror, base_offset));
        assert_eq!((failure(&actions), sends(&actions)), (None, 0));
        let actions = mirror.handle(acknowledged(&mirror, 4));
        assert!(reads_tail(&actions) && sends(&actions) == 0, "{actions:?}");
        assert_eq!(mirror.confirmed().count, 2);
    }
}

/// After an error nothing more is sent until the tail was read; then the same id goes on where the tail ends, whatever
/// was acknowledged, lost or refused before.
#[test]
fn rule_5_after_an_error_the_tail_decides_and_the_id_stays() {
    let batches = [dense(0, 2), dense(2, 2), dense(4, 2), dense(6, 2)];
    // How many of the three batches on their way had been taken.
    for taken in 0..=3_usize {
        let mut mirror = from(anchor(0, 0, 0));
        mirror.handle(tail(0, None, None));
        mirror.handle(fetched(&mirror, &batches[..3], 8));
        mirror.handle(acknowledged(&mirror, 0));
        let attempt = mirror.attempt;
        let actions = mirror.handle(lost(&mirror));
        assert!(sends(&actions) == 0 && !reads_tail(&actions), "{actions:?}");
        // More of the source arrives, and the last answer comes.
        assert_eq!(sends(&mirror.handle(fetched(&mirror, &batches[3..], 8))), 0);
        let base_offset = 4;
        let answer = Answer::Acknowledged { base_offset };
        let actions = mirror.handle(Event::Answer { attempt, answer });
        assert!(sends(&actions) == 0 && reads_tail(&actions), "{actions:?}");
        let there = taken.max(1) as i64 * 2;
        let last = written(&batches[taken.max(1) - 1], there - 2, PRODUCER_ID);
        mirror.handle(tail(there, Some(last), Some(there as i32)));
        let actions = mirror.handle(fetched(&mirror, &batches, 8));
        let next = values(there..there + 2);
        assert_eq!(sent(&actions), [(PRODUCER_ID, there as i32, next)]);
    }
}

/// A duplicate with other content is acknowledged and dropped: a sequence number has to mean the same record for ever,
/// also where the destination ends inside a batch of the source.
#[test]
fn rule_6_a_sequence_number_always_carries_the_same_record() {
    for there in 1..6 {
        let mut mirror = from(anchor(0, 0, 0));
        // Other boundaries than the source's: written by a worker that had merged or split.
        let last = written(&dense(there - 1, 1), there - 1, PRODUCER_ID);
        let mut seen = tail(there, Some(last), Some(there as i32));
        if let Event::Tail(tail) = &mut seen {
            // Its content is not compared where a batch of the source does not end there.
            tail.last = None;
        }
        mirror.handle(seen);
        let batches = [dense(0, 3), dense(3, 3), dense(6, 3)];
        let actions = mirror.handle(fetched(&mirror, &batches, 9));
        let end = if there < 3 { 3 } else { 6 };
        assert_eq!(
            sent(&actions),
            if there == 3 {
                [(PRODUCER_ID, 3, values(3..6))]
            } else {
                [(PRODUCER_ID, there as i32, values(there..end))]
            }
        );
    }
}

/// A batch whose answer was lost arrives after all, and the source's cleaner has run meanwhile: what the leader acknowledges as a
/// duplicate is not what was sent, and records would count as copied that are nowhere.
#[test]
fn rule_6_an_acknowledgement_counts_only_for_the_batch_that_was_sent() {
    let (cleaned, left) = (dense(0, 2), dense(4, 2));
    for arrives in [&cleaned, &left] {
        let mut mirror = from(anchor(0, 0, 0));
        mirror.handle(tail(0, None, None));
        mirror.handle(fetched(&mirror, std::slice::from_ref(&cleaned), 6));
        mirror.handle(lost(&mirror));
        mirror.handle(tail(0, None, None));
        mirror.handle(fetched(&mirror, std::slice::from_ref(&left), 6));
        let actions = mirror.handle(acknowledged(&mirror, 0));
        assert!(
            actions
                .iter()
                .any(|action| matches!(action, Action::ReadBack { from: 0, .. })),
            "{actions:?}"
        );
        assert_eq!(mirror.confirmed().count, 0);
        let found = lies_at(0, arrives);
        let actions = mirror.handle(read_back(&mirror, vec![found.clone()]));
        if arrives == &left {
            assert_eq!(mirror.confirmed().source_offset, 6);
            continue;
        }
        assert!(reads_tail(&actions), "{actions:?}");
        mirror.handle(tail(2, Some(found), Some(2)));
        let actions = mirror.handle(fetched(&mirror, std::slice::from_ref(&left), 6));
        assert!(
            matches!(failure(&actions), Some(Failure::NotACopy { .. })),
            "{actions:?}"
        );
        assert_eq!(mirror.confirmed().count, 0);
    }
}

/// Runs of the same batch again and again: content fits anywhere, so the position is counted from the anchor's pair.
#[test]
fn rule_7_among_identical_batches_the_count_decides() {
    let identical = |offset: i64| {
        let mut batch = samples::batch(&samples::dense(0, 1), Compression::None).to_vec();
        batch[..8].copy_from_slice(&offset.to_be_bytes());
        Bytes::from(batch)
    };
    let batches: Vec<Bytes> = (0..40).map(identical).collect();
    for (known, there) in [(0, 1), (0, 39), (7, 8), (7, 30), (20, 20)] {
        // Copied offsets lie 100 further on: they say nothing by themselves.
        let mut mirror = from(anchor(known, 100 + known, known));
        let last = (there > 0).then(|| written(&identical(0), there - 1, PRODUCER_ID));
        mirror.handle(tail(100 + there, last, Some(there as i32)));
        let rest = &batches[usize::try_from(known).expect("small")..];
        let actions = mirror.handle(fetched(&mirror, rest, 40));
        let found: Vec<i32> = sent(&actions).into_iter().map(|it| it.1).collect();
        assert_eq!(found, [there as i32], "{known} {there}");
        let mut base_offset = 100 + there;
        let mut copied = 1;
        loop {
            let more = sends(&mirror.handle(acknowledged(&mirror, base_offset)));
            base_offset += 1;
            copied += more as i64;
            if base_offset == 140 {
                break;
            }
        }
        assert_eq!((copied, mirror.confirmed().source_offset), (40 - there, 40));
    }
}

/// Sequences wrap to 0 after 2^31 - 1, within a batch too, and the count goes on.
#[test]
fn rule_7_the_count_goes_on_where_sequences_wrap() {
    const WRAP: i64 = 1 << 31;
    let start = WRAP - 3;
    let mut mirror = from(anchor(0, 0, start));
    mirror.handle(tail(0, None, None));
    let batches = [dense(0, 2), dense(2, 2), dense(4, 2)];
    let actions = mirror.handle(fetched(&mirror, &batches, 6));
    let first = i32::MAX - 2;
    assert_eq!(sent(&actions), [(PRODUCER_ID, first, values(0..2))]);
    let actions = mirror.handle(acknowledged(&mirror, 0));
    assert_eq!(
        sent(&actions),
        [
            (PRODUCER_ID, i32::MAX, values(2..4)),
            (PRODUCER_ID, 1, values(4..6))
        ]
    );
    // Killed here, with the last batch taken or not.
    for (there, next) in [(4, 1), (6, 3)] {
        let mut mirror = from(anchor(0, 0, start));
        let index = there / 2 - 1;
        let last = written(&dense(there - 2, 2), start + there - 2, PRODUCER_ID);
        assert_eq!(last.next_sequence(), next);
        mirror.handle(tail(there, Some(last), Some(next)));
        mirror.handle(fetched(&mirror, &batches, 6));
        assert_eq!(mirror.confirmed().count, start + there, "batch {index}");
    }
}

/// The id is the mirror's, and nothing that a partition is told gives it another.
#[test]
fn rule_1_an_answer_of_another_id_is_somebody_else() {
    let mut mirror = from(anchor(0, 0, 0));
    let foreign = written(&dense(0, 2), 0, PRODUCER_ID + 1);
    let actions = mirror.handle(tail(2, Some(foreign), None));
    assert!(
        matches!(failure(&actions), Some(Failure::ForeignWrite { producer_id: Some(id), .. }) if *id == PRODUCER_ID + 1),
        "{actions:?}"
    );
    assert_eq!(settings().producer_id, PRODUCER_ID);
    let cause = String::new();
    assert_eq!(
        sends(&mirror.handle(answer(&mirror, Answer::Lost { cause }))),
        0
    );
}
