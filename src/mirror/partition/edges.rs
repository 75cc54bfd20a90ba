//! Single situations of a partition, each of which once lost records or stopped a mirror for no reason.

use bytes::Bytes;
use kafka_protocol::records::Compression;

use super::*;
use crate::control::records::Run;
use crate::kafka::ErrorCode;
use crate::mirror::batch::rewrite::{Stamp, rewritten};
use crate::mirror::batch::{BatchHeader, samples};

pub(super) const PRODUCER_ID: i64 = 4711;

pub(super) fn settings() -> Settings {
    Settings {
        producer_id: PRODUCER_ID,
        producer_epoch: 0,
        append_time: true,
        offsets: OffsetsSpec::Translate,
        foreign_writes: ForeignWrites::Stop,
        provenance: None,
        filler_timestamp: 0,
        acks: Acks::All,
        merge_compressed: Merging { below: 0, to: 0 },
        merge_plain: Merging { below: 0, to: 0 },
        window_bytes: 1 << 20,
        window_batches: 64,
        queue_bytes: 1 << 20,
    }
}

pub(super) fn anchor(source_offset: i64, destination_offset: i64, count: i64) -> Anchor {
    Anchor {
        source_offset,
        source_leader_epoch: -1,
        destination_offset,
        count,
        epoch: 0,
    }
}

/// A mirror that goes on from an anchor.
pub(super) fn from(anchor: Anchor) -> PartitionMirror {
    let stored = Stored {
        anchors: vec![anchor],
        map: MapTail::default(),
        alignment: Alignment::default(),
        pads_by_transactions: false,
    };
    let mut mirror = PartitionMirror::start(settings(), stored).0;
    // Nothing of a predecessor may still arrive.
    mirror.doubt = Doubt::of_predecessors(0);
    mirror
}

/// The same with `acks = "1"`.
pub(super) fn acks_1_from(anchor: Anchor) -> PartitionMirror {
    let mut mirror = from(anchor);
    mirror.settings.acks = Acks::Leader;
    mirror
}

pub(super) fn dense(base: i64, count: i64) -> Bytes {
    samples::batch(&samples::dense(base, count), Compression::None)
}

/// `batch` as the destination's last one, after `count` records.
pub(super) fn written(batch: &Bytes, count: i64, producer_id: i64) -> TailBatch {
    let header = BatchHeader::parse(batch).expect("a batch");
    let stamp = Stamp {
        producer_id,
        producer_epoch: 0,
        count,
    };
    let copy = rewritten(&header, batch, stamp);
    let copy = [&copy.header[..], &copy.records[..]].concat();
    TailBatch::new(BatchHeader::parse(&copy).expect("a batch"), copy.into())
}

/// `batch` as it lies at `offset`, after as many records.
pub(super) fn lies_at(offset: i64, batch: &Bytes) -> TailBatch {
    let mut found = written(batch, offset, PRODUCER_ID);
    found.header.base_offset = offset;
    found
}

pub(super) fn read_back(mirror: &PartitionMirror, batches: Vec<TailBatch>) -> Event {
    Event::ReadBack {
        attempt: mirror.attempt,
        start: 0,
        batches,
    }
}

pub(super) fn tail(end: i64, last: Option<TailBatch>, next: Option<i32>) -> Event {
    Event::Tail(Tail {
        start: 0,
        end,
        last,
        producer_next_sequence: next,
        producer_epoch: next.map(|_| 0),
        leader_epoch: -1,
    })
}

pub(super) fn fetched(
    mirror: &PartitionMirror,
    batches: &[Bytes],
    last_stable_offset: i64,
) -> Event {
    Event::Fetched(Fetched {
        attempt: mirror.attempt,
        records: batches.concat().into(),
        aborted: Vec::new(),
        last_stable_offset,
    })
}

pub(super) fn answer(mirror: &PartitionMirror, answer: Answer) -> Event {
    Event::Answer {
        attempt: mirror.attempt,
        answer,
    }
}

pub(super) fn acknowledged(mirror: &PartitionMirror, base_offset: i64) -> Event {
    answer(mirror, Answer::Acknowledged { base_offset })
}

pub(super) fn refused(mirror: &PartitionMirror, code: i16) -> Event {
    let code = ErrorCode(code);
    answer(
        mirror,
        Answer::Refused {
            code,
            message: None,
        },
    )
}

pub(super) fn lost(mirror: &PartitionMirror) -> Event {
    let cause = "disconnected".to_owned();
    answer(mirror, Answer::Lost { cause })
}

pub(super) fn failure(actions: &[Action]) -> Option<&Failure> {
    actions.iter().find_map(|action| match action {
        Action::Notify(Notice::Failed(failure)) => Some(failure),
        _ => None,
    })
}

pub(super) fn sends(actions: &[Action]) -> usize {
    let is_send = |action: &&Action| matches!(action, Action::Send { .. });
    actions.iter().filter(is_send).count()
}

pub(super) fn reads_tail(actions: &[Action]) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, Action::ReadTail { .. }))
}

pub(super) fn fetches(actions: &[Action]) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, Action::Fetch { .. }))
}

/// The first of several batches is refused while the mirror is being paused, and the ones after it were taken
/// (code 7: appended, but not yet replicated). Their offsets are no sign of a foreign writer.
#[test]
fn a_refusal_while_pausing_leaves_the_rest_to_the_tail() {
    let mut mirror = from(anchor(0, 0, 0));
    mirror.handle(tail(0, None, None));
    let batches = [dense(0, 2), dense(2, 2), dense(4, 2)];
    mirror.handle(fetched(&mirror, &batches, 6));
    assert_eq!(sends(&mirror.handle(acknowledged(&mirror, 0))), 2);
    mirror.handle(Event::Pause);
    let attempt = mirror.attempt;
    mirror.handle(refused(&mirror, 7));
    let actions = mirror.handle(Event::Answer {
        attempt,
        answer: Answer::Acknowledged { base_offset: 4 },
    });
    assert_eq!(failure(&actions), None);
    mirror.handle(Event::Saved);
    assert!(mirror.is_paused(), "{:?}", mirror.phase);
    assert_eq!(mirror.confirmed().count, 2);
    assert!(reads_tail(&mirror.handle(Event::Run)));
    let actions = mirror.handle(tail(6, Some(written(&batches[2], 4, PRODUCER_ID)), Some(6)));
    assert_eq!(failure(&actions), None);
}

#[test]
fn a_mirror_that_was_paused_while_it_waited_for_a_right_does_not_write() {
    let mut mirror = from(anchor(0, 0, 0));
    mirror.handle(tail(0, None, None));
    mirror.handle(Event::Failed(Failure::Call {
        operation: "fetch from the source",
        cause: "no right".to_owned(),
        retried: true,
    }));
    mirror.handle(Event::Pause);
    for _ in 0..100 {
        assert!(!reads_tail(&mirror.handle(Event::Tick)));
    }
    mirror.handle(Event::Run);
    assert!((0..100).any(|_| reads_tail(&mirror.handle(Event::Tick))));
}

/// Raising the limit of a topic is enough; nobody has to restart anything.
#[test]
fn a_batch_that_a_setting_of_the_topic_forbids_is_tried_again_after_a_while() {
    for code in [10, 18, 32, 87] {
        let mut mirror = from(anchor(0, 0, 0));
        mirror.handle(tail(0, None, None));
        mirror.handle(fetched(&mirror, &[dense(0, 1)], 1));
        let actions = mirror.handle(refused(&mirror, code));
        assert!(failure(&actions).is_some(), "{code}: {actions:?}");
        let waited = (0..100).take_while(|_| !reads_tail(&mirror.handle(Event::Tick)));
        assert!((20..40).contains(&waited.count()), "{code}");
        mirror.handle(tail(0, None, None));
        assert_eq!(
            sends(&mirror.handle(fetched(&mirror, &[dense(0, 2)], 2))),
            1
        );
    }
}

/// A worker was killed before its first progress was stored, and the source's oldest records expired: where
/// the records lie that the destination holds can no longer be counted.
#[test]
fn a_start_that_expired_is_not_moved_once_records_were_copied() {
    let mut mirror = from(anchor(0, 0, 0));
    let last = written(&dense(8, 2), 8, PRODUCER_ID);
    mirror.handle(tail(10, Some(last), Some(10)));
    let actions = mirror.handle(Event::SourceLost {
        attempt: mirror.attempt,
        log_start: 5,
        end: 100,
    });
    assert!(
        matches!(
            failure(&actions),
            Some(Failure::SourceExpiredUncounted {
                from: 0,
                to: 5,
                present: 10
            })
        ),
        "{actions:?}"
    );
}

/// A leader that was elected uncleanly wrote other records where the mirror has read: going on would mix two histories.
#[test]
fn a_source_that_parted_from_what_was_copied_stops_the_mirror() {
    for (end, stops) in [(1, true), (-1, true), (2, false), (3, false)] {
        let mut mirror = from(anchor(0, 0, 0));
        mirror.handle(tail(0, None, None));
        mirror.handle(fetched(&mirror, &[dense(0, 2)], 4));
        let read = mirror.handle(fetched(&mirror, &[dense(2, 2)], 4));
        assert!(
            matches!(
                read[..],
                [Action::Fetch {
                    offset: 4,
                    known: KnownEpoch {
                        before: 4,
                        leader_epoch: 3,
                    },
                    ..
                }]
            ),
            "{read:?}"
        );
        // Two records were sent, two only read: one batch goes alone.
        let attempt = mirror.attempt;
        let actions = mirror.handle(Event::SourceDiverged { attempt, end });
        match failure(&actions) {
            Some(Failure::SourceDiverged {
                position: 2,
                end: found,
            }) => {
                assert!(stops && *found == end, "{actions:?}");
            }
            Some(other) => panic!("{other:?}"),
            None => {
                assert!(!stops, "{actions:?}");
                assert!(
                    matches!(actions[..], [Action::Fetch { offset: 2, .. }]),
                    "{actions:?}"
                );
            }
        }
    }
}

/// The new leader has the records of a transaction and not its marker: it may be committed where it was rolled back, or the
/// other way round, and the copy would hold what nobody committed.
#[test]
fn a_source_that_lost_only_the_end_of_a_transaction_stops_the_mirror() {
    let records = |first, count, producer_id| {
        let transactional = producer_id >= 0;
        let records = samples::dense(first, count);
        samples::encode(&records, Compression::None, transactional, producer_id)
    };
    let marker = |offset, producer_id| {
        let mut marker = records(offset, 1, producer_id).to_vec();
        marker[22] |= 1 << 5;
        let checksum = crc32c::crc32c(&marker[21..]);
        marker[17..21].copy_from_slice(&checksum.to_be_bytes());
        Bytes::from(marker)
    };
    // A transaction at 0, other records from 1 on, its marker at 5, more from 6 on. One batch goes alone.
    let log = [
        records(0, 1, 7),
        records(1, 2, -1),
        records(3, 2, -1),
        marker(5, 7),
        records(6, 2, -1),
    ];
    for (aborted, end, stops) in [
        (vec![], 4, true),
        (vec![(7, 0)], 4, true),
        (vec![], 6, false),
        (vec![(7, 0)], 6, false),
    ] {
        let mut mirror = from(anchor(0, 0, 0));
        mirror.handle(tail(0, None, None));
        mirror.handle(Event::Fetched(Fetched {
            attempt: mirror.attempt,
            records: log.concat().into(),
            aborted,
            last_stable_offset: 8,
        }));
        let attempt = mirror.attempt;
        let actions = mirror.handle(Event::SourceDiverged { attempt, end });
        let undecided = stops.then_some(Failure::SourceUndecided { end });
        assert_eq!(failure(&actions), undecided.as_ref());
    }
}

/// With a follower down, the first batches may be appended for as long as half a minute before anybody can
/// read them: the leader knows their sequence, the log looks empty.
#[test]
fn records_above_the_high_watermark_of_an_empty_log_are_waited_for() {
    let mut mirror = from(anchor(0, 0, 0));
    let actions = mirror.handle(tail(0, None, Some(10)));
    assert_eq!(failure(&actions), None);
    assert!(reads_tail(&actions), "{actions:?}");
    let last = written(&dense(8, 2), 8, PRODUCER_ID);
    let actions = mirror.handle(tail(10, Some(last), Some(10)));
    assert!(fetches(&actions), "{actions:?}");
    // The same behind records that were there before the mirror began.
    let mut mirror = from(anchor(0, 7, 0));
    let foreign = written(&dense(5, 2), 5, 99);
    let actions = mirror.handle(tail(7, Some(foreign), Some(10)));
    assert!(reads_tail(&actions) && !fetches(&actions), "{actions:?}");
    // Where everything expired, the end says that nothing is missing.
    let mut mirror = from(anchor(0, 0, 0));
    assert!(fetches(&mirror.handle(tail(10, None, Some(10)))));
}

/// Lost connections say nothing about the batch, however often they come.
#[test]
fn an_outage_does_not_make_the_next_refusal_final() {
    let mut mirror = from(anchor(0, 0, 0));
    for _ in 0..6 {
        mirror.handle(tail(0, None, None));
        mirror.handle(fetched(&mirror, &[dense(0, 2)], 2));
        assert!(reads_tail(&mirror.handle(lost(&mirror))));
    }
    for round in 0..4 {
        mirror.handle(tail(0, None, None));
        mirror.handle(fetched(&mirror, &[dense(0, 2)], 2));
        let actions = mirror.handle(refused(&mirror, 45));
        assert_eq!(failure(&actions).is_some(), round == 3, "round {round}");
    }
}

/// The worker was killed before it stored what it had copied, and until the next start the source's cleaner removed
/// some of those records: counting would step over records that were never copied.
#[test]
fn a_source_that_was_compacted_while_no_worker_ran_is_not_counted_wrongly() {
    let mut mirror = from(anchor(0, 0, 0));
    let last = written(&dense(2, 2), 2, PRODUCER_ID);
    mirror.handle(tail(4, Some(last), Some(4)));
    // Of offsets 0 and 1 only 1 is left; 4 and 5 are new.
    let batches = [dense(1, 1), dense(2, 2), dense(4, 2)];
    let actions = mirror.handle(fetched(&mirror, &batches, 6));
    assert!(
        matches!(failure(&actions), Some(Failure::NotACopy { .. })),
        "{actions:?}"
    );
}

/// Answers without data come fast where other partitions are busy, and when a batch is larger than the limit.
#[test]
fn empty_answers_below_the_sources_end_are_no_sign_of_truncation() {
    let mut mirror = from(anchor(0, 0, 0));
    let last = written(&dense(2, 2), 2, PRODUCER_ID);
    mirror.handle(tail(4, Some(last), Some(4)));
    for _ in 0..200 {
        let actions = mirror.handle(fetched(&mirror, &[], 100));
        assert_eq!(failure(&actions), None);
        assert!(fetches(&actions));
        mirror.handle(Event::Tick);
    }
    // A leader that was just elected may be behind for a moment.
    for _ in 0..200 {
        assert_eq!(failure(&mirror.handle(fetched(&mirror, &[], 0))), None);
    }
    let mut ticks = (0..200).map(|_| mirror.handle(Event::Tick));
    assert!(ticks.any(|actions| matches!(
        failure(&actions),
        Some(Failure::SourceCutBack { missing: 4, .. })
    )));
}

/// The end was looked up before the last batches were acknowledged.
#[test]
fn an_end_that_was_looked_up_a_moment_ago_does_not_interrupt_a_mirror() {
    let mut mirror = from(anchor(0, 0, 0));
    mirror.handle(tail(0, None, None));
    mirror.handle(fetched(&mirror, &[dense(0, 2)], 2));
    mirror.handle(acknowledged(&mirror, 0));
    assert!(!reads_tail(&mirror.handle(Event::EndSeen { end: 0 })));
    // Nothing was written since, and the end is still there: records are gone.
    assert!(reads_tail(&mirror.handle(Event::EndSeen { end: 0 })));
}

/// A source's new leader refused the offset before it had caught up with its own log.
#[test]
fn an_offset_that_the_source_has_after_all_is_fetched_again() {
    let mut mirror = from(anchor(50, 50, 50));
    mirror.handle(tail(50, None, None));
    let actions = mirror.handle(Event::SourceLost {
        attempt: mirror.attempt,
        log_start: 0,
        end: 100,
    });
    assert_eq!(failure(&actions), None);
    assert!(fetches(&actions), "{actions:?}");
}

/// With acks=1 the only leader that had the last batch failed, and nothing else was sent that its successor could have
/// refused: a mirror that only waited for the watermark would wait for ever, without the batch.
#[test]
fn a_batch_that_went_with_its_leader_is_copied_again_although_nothing_follows_it() {
    let mut mirror = acks_1_from(anchor(0, 0, 0));
    mirror.handle(tail(0, None, None));
    mirror.handle(fetched(&mirror, &[dense(0, 2)], 2));
    mirror.handle(acknowledged(&mirror, 0));
    let attempt = mirror.attempt;
    let waited = (0..100).take_while(|_| {
        let (end, leader_epoch) = (0, -1);
        mirror.handle(Event::Watermark {
            attempt,
            end,
            leader_epoch,
        });
        !reads_tail(&mirror.handle(Event::Tick))
    });
    assert!((2..10).contains(&waited.count()));
    mirror.handle(tail(0, None, None));
    assert_eq!(
        sends(&mirror.handle(fetched(&mirror, &[dense(0, 2)], 2))),
        1
    );
}

/// After an unclean election nobody else has written: said otherwise, people would look for a writer that there is not.
#[test]
fn a_destination_that_became_shorter_is_said_to_have_lost_records() {
    let short = |known, end| Some(Failure::DestinationTooShort { known, end });
    // A leader that had lost log and memory took the next batch at the front.
    let mut mirror = from(anchor(21, 21, 21));
    let last = written(&dense(0, 4), 21, PRODUCER_ID);
    let actions = mirror.handle(tail(4, Some(last), Some(25)));
    assert_eq!(failure(&actions).cloned(), short(25, 4));
    // Nothing is left that says how much is missing.
    let mut mirror = from(anchor(5, 5, 5));
    let actions = mirror.handle(tail(0, None, None));
    assert_eq!(failure(&actions).cloned(), short(5, 0));
    let mut mirror = from(anchor(5, 5, 5));
    let actions = mirror.handle(tail(9, None, None));
    let uncountable = Failure::Uncountable { known: 5, end: 9 };
    assert_eq!(failure(&actions), Some(&uncountable));
}

/// The settled log stays shorter than what its leader remembers: waiting for ever would say nothing to anybody.
#[test]
fn a_leader_that_remembers_more_than_its_log_holds_is_not_waited_for_for_ever() {
    let mut mirror = from(anchor(0, 0, 0));
    let mut failures = (0..50).map(|_| mirror.handle(tail(4, None, Some(10))));
    let failed = failures.find_map(|actions| failure(&actions).cloned());
    let short = Failure::DestinationTooShort { known: 10, end: 4 };
    assert_eq!(failed, Some(short));
}

/// A worker died between storing a piece of the map, which it had cut after the destination lost its end, and storing where it
/// was: going on from the position before would leave a hole in the map.
#[test]
fn a_partition_goes_on_from_where_its_map_ends() {
    let mut map = MapTail::default();
    map.push(Run {
        source: 0,
        destination: 0,
        count: 4,
    });
    let stored = Stored {
        anchors: vec![anchor(0, 0, 0), anchor(4, 4, 4), anchor(9, 9, 9)],
        map,
        ..Stored::default()
    };
    let (mut mirror, _) = PartitionMirror::start(settings(), stored);
    let actions = mirror.handle(tail(
        9,
        Some(written(&dense(4, 5), 4, PRODUCER_ID)),
        Some(9),
    ));
    assert!(
        matches!(actions[..], [Action::Fetch { offset: 4, .. }]),
        "{actions:?}"
    );
    mirror.handle(fetched(&mirror, &[dense(4, 5)], 9));
    let [run] = mirror.map.runs() else {
        panic!("{:?}", mirror.map)
    };
    assert_eq!((run.source, run.count), (0, 9));
}

/// The link asked for other times when the last batch was copied (`timestamps`): the mirror must not stop for that, where the
/// source stamps its records. A record that was stamped at yet another time is another record, whatever it says.
#[test]
fn records_that_the_source_stamps_are_known_by_both_of_their_times() {
    const APPENDED: i64 = 1_700_000_005_000;
    let mut stamped = dense(0, 3).to_vec();
    stamped[22] |= 1 << 3;
    stamped[35..43].copy_from_slice(&APPENDED.to_be_bytes());
    let checksum = crc32c::crc32c(&stamped[21..]);
    stamped[17..21].copy_from_slice(&checksum.to_be_bytes());
    let source = Bytes::from(stamped);
    let all_at = |time: Option<i64>| {
        let mut records = samples::dense(0, 3);
        for record in &mut records {
            record.timestamp = time.unwrap_or(record.timestamp);
        }
        samples::batch(&records, Compression::None)
    };
    for append_time in [false, true] {
        for (time, is_copy) in [
            (None, true),
            (Some(APPENDED), true),
            (Some(APPENDED + 1), false),
        ] {
            let settings = Settings {
                append_time,
                ..settings()
            };
            let stored = Stored {
                anchors: vec![anchor(0, 0, 0)],
                ..Stored::default()
            };
            let (mut mirror, _) = PartitionMirror::start(settings, stored);
            mirror.handle(tail(3, Some(lies_at(0, &all_at(time))), Some(3)));
            let actions = mirror.handle(fetched(&mirror, std::slice::from_ref(&source), 6));
            assert_eq!(failure(&actions).is_none(), is_copy, "{actions:?}");
        }
    }
}

/// Thousands of partitions in which nothing happens would hold a batch each for ever, and those that wait for a source that is
/// down would hold as much as their largest batches.
#[test]
fn partitions_that_wait_hold_no_large_batches() {
    let large = dense(0, 1_000);
    assert!(large.len() > 4 << 10);
    for mut mirror in [
        from(anchor(0, 0, 0)),
        super::equal_edges::aligned_from(&[anchor(0, 0, 0)]),
    ] {
        let last = lies_at(0, &large);
        mirror.handle(tail(1_000, Some(last), Some(1_000)));
        let check = mirror.tail_check.as_ref().expect("not compared yet");
        assert!(!check.holds_batch());
        mirror.handle(fetched(&mirror, std::slice::from_ref(&large), 1_000));
        assert_eq!(mirror.confirmed().source_offset, 1_000);
        assert!(mirror.tail_check.is_none());
    }
}
