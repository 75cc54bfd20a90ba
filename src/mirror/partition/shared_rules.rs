//! What has to hold where others write to the mirror's topic as well.

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::edges::{
    PRODUCER_ID, acknowledged, anchor, dense, failure, fetched, lies_at, read_back, reads_tail,
    sends, settings, written,
};
use super::*;
use crate::control::records::Run;
use crate::mirror::batch::BatchHeader;
use crate::mirror::batch::rewrite::sequence_of;
use crate::mirror::map;

fn shared() -> Settings {
    Settings {
        foreign_writes: ForeignWrites::Translate,
        ..settings()
    }
}

fn from(anchors: &[Anchor]) -> PartitionMirror {
    // The records before each known point lie right before it.
    let mut map = MapTail::default();
    for pair in anchors.windows(2) {
        let count = pair[1].count - pair[0].count;
        map.push(Run {
            source: pair[1].source_offset - count,
            destination: pair[1].destination_offset - count,
            count,
        });
    }
    let stored = Stored {
        anchors: anchors.to_vec(),
        map,
        ..Stored::default()
    };
    let (mut mirror, actions) = PartitionMirror::start(shared(), stored);
    // Nothing of a predecessor may still arrive.
    mirror.doubt = Doubt::of_predecessors(0);
    assert_eq!(
        looks_behind(&actions),
        anchors.last().map(|it| it.destination_offset)
    );
    mirror
}

fn looks_behind(actions: &[Action]) -> Option<i64> {
    actions.iter().find_map(|action| match action {
        Action::ReadSharedTail { from, .. } => Some(*from),
        _ => None,
    })
}

/// A tail in which this mirror's batches have these offsets, counts before them, and sizes.
fn tail(end: i64, batches: &[(i64, i64, i64)]) -> SharedTail {
    SharedTail {
        start: 0,
        end,
        before: None,
        spans: batches
            .iter()
            .map(|(base_offset, first, count)| Span {
                base_offset: *base_offset,
                base_sequence: sequence_of(*first),
                count: *count,
            })
            .collect(),
        last: batches
            .last()
            .map(|(_, first, count)| written(&dense(*first, *count), *first, PRODUCER_ID)),
        producer_next_sequence: batches.last().map(|it| sequence_of(it.1 + it.2)),
        producer_epoch: batches.last().map(|_| 0),
    }
}

fn pairs(mirror: &PartitionMirror) -> Vec<(i64, i64)> {
    let runs = mirror.map.runs().iter();
    runs.flat_map(|run| (0..run.count).map(|n| (run.source + n, run.destination + n)))
        .collect()
}

/// Without this, the map would say that a record lies where somebody else's does.
#[test]
fn rule_4_where_others_write_the_acknowledgement_says_where_a_batch_is() {
    let mut mirror = from(&[anchor(0, 7, 0)]);
    mirror.handle(Event::SharedTail(tail(7, &[])));
    let batches = [dense(0, 2), dense(2, 2), dense(4, 2)];
    assert_eq!(sends(&mirror.handle(fetched(&mirror, &batches, 6))), 1);
    assert_eq!(sends(&mirror.handle(acknowledged(&mirror, 9))), 2);
    mirror.handle(acknowledged(&mirror, 11));
    let actions = mirror.handle(acknowledged(&mirror, 20));
    assert_eq!(failure(&actions), None);
    let confirmed = mirror.confirmed();
    let reached = (confirmed.source_offset, confirmed.destination_offset);
    assert_eq!((reached, confirmed.count), ((6, 22), 6));
    let said = pairs(&mirror);
    assert_eq!(said, [(0, 9), (1, 10), (2, 11), (3, 12), (4, 20), (5, 21)]);
    // Whatever comes behind is no matter of this mirror's.
    let actions = mirror.handle(Event::EndSeen { end: 1000 });
    assert!(actions.is_empty(), "{actions:?}");
}

/// Nobody needs to write for that: the log was cut back.
#[test]
fn rule_4_an_acknowledgement_below_the_batch_before_it_is_looked_into() {
    let mut mirror = from(&[anchor(0, 7, 0)]);
    mirror.handle(Event::SharedTail(tail(7, &[])));
    mirror.handle(fetched(&mirror, &[dense(0, 2), dense(2, 2)], 4));
    mirror.handle(acknowledged(&mirror, 9));
    let actions = mirror.handle(acknowledged(&mirror, 10));
    assert!(!reads_tail(&actions) && failure(&actions).is_none());
    assert_eq!(looks_behind(&actions), Some(11));
    assert_eq!(mirror.confirmed().count, 2);
}

/// Without this, a worker that takes over would copy records again, or map them by counting.
#[test]
fn rule_7_what_is_there_is_found_between_what_others_wrote() {
    let mut mirror = from(&[anchor(0, 7, 0)]);
    // Other boundaries than the source's, and more of others behind.
    let seen = tail(40, &[(9, 0, 1), (12, 1, 4), (30, 5, 2)]);
    mirror.handle(Event::SharedTail(seen));
    let batches = [dense(0, 3), dense(3, 3), dense(6, 3)];
    let actions = mirror.handle(fetched(&mirror, &batches, 9));
    assert_eq!((failure(&actions), sends(&actions)), (None, 1));
    let said = pairs(&mirror);
    let there = [(0, 9), (1, 12), (2, 13), (3, 14), (4, 15), (5, 30), (6, 31)];
    assert_eq!(said, there);
    assert_eq!(mirror.confirmed().count, 7);
    mirror.handle(acknowledged(&mirror, 41));
    assert_eq!(pairs(&mirror).last(), Some(&(8, 42)));
}

/// The log lost its end, and others filled it again: by its length alone nobody would know.
#[test]
fn rule_5_a_known_point_that_others_wrote_over_is_not_believed() {
    let anchors = [anchor(0, 7, 0), anchor(4, 20, 4), anchor(6, 30, 6)];
    let mut mirror = from(&anchors);
    let foreign = written(&dense(0, 2), 0, PRODUCER_ID + 1).header;
    let mut seen = tail(50, &[]);
    seen.before = Some(BatchHeader {
        base_offset: 28,
        ..foreign
    });
    let actions = mirror.handle(Event::SharedTail(seen));
    assert_eq!(looks_behind(&actions), Some(20));
    let ours = written(&dense(2, 2), 2, PRODUCER_ID).header;
    let mut seen = tail(50, &[]);
    seen.before = Some(BatchHeader {
        base_offset: 18,
        ..ours
    });
    mirror.handle(Event::SharedTail(seen));
    assert_eq!(mirror.confirmed().count, 4);
    let actions = mirror.handle(fetched(&mirror, &[dense(4, 2)], 6));
    assert_eq!((failure(&actions), sends(&actions)), (None, 1));
}

/// Less than was stored is there, and nothing older is known: going on would leave a gap.
#[test]
fn rule_5_a_log_that_lost_more_than_is_known_stops_the_mirror() {
    let mut mirror = from(&[anchor(4, 20, 4)]);
    let actions = mirror.handle(Event::SharedTail(tail(15, &[])));
    let found = failure(&actions);
    assert!(
        matches!(found, Some(Failure::DestinationTooShort { .. })),
        "{found:?}"
    );
}

/// A batch that got lost between two others can't be told from one that never was.
#[test]
fn rule_7_records_that_do_not_follow_each_other_stop_the_mirror() {
    let mut mirror = from(&[anchor(0, 7, 0)]);
    let actions = mirror.handle(Event::SharedTail(tail(40, &[(9, 0, 2), (12, 4, 2)])));
    let expected = Failure::Scattered {
        offset: 12,
        expected: 2,
        found: 4,
    };
    assert_eq!(failure(&actions), Some(&expected));
}

/// Retention took some of them while no worker ran.
#[test]
fn what_was_deleted_since_is_counted_and_not_mapped() {
    let mut mirror = from(&[anchor(0, 7, 0)]);
    let mut seen = tail(60, &[(50, 4, 2)]);
    seen.start = 45;
    mirror.handle(Event::SharedTail(seen));
    let batches = [dense(0, 3), dense(3, 3), dense(6, 3)];
    let actions = mirror.handle(fetched(&mirror, &batches, 9));
    assert_eq!((failure(&actions), sends(&actions)), (None, 1));
    assert_eq!(pairs(&mirror), [(4, 50), (5, 51)]);
    // Where nothing at all says how many there were, it says so.
    let mut mirror = from(&[anchor(0, 7, 0)]);
    let mut seen = tail(60, &[]);
    seen.start = 45;
    let actions = mirror.handle(Event::SharedTail(seen));
    let found = failure(&actions);
    assert!(
        matches!(found, Some(Failure::Uncountable { .. })),
        "{found:?}"
    );
}

/// Without this, what the leader has and nobody can read yet would be written again.
#[test]
fn rule_3_what_cannot_be_read_yet_is_waited_for_among_others_too() {
    let mut mirror = from(&[anchor(0, 7, 0)]);
    for _ in 0..3 {
        let mut seen = tail(9, &[]);
        seen.producer_next_sequence = Some(2);
        let actions = mirror.handle(Event::SharedTail(seen));
        assert_eq!((looks_behind(&actions), sends(&actions)), (Some(7), 0));
    }
    mirror.handle(Event::SharedTail(tail(11, &[(9, 0, 2)])));
    assert_eq!(mirror.present, 2);
}

/// Records that another worker copied before the source's beginning went would be taken for others.
#[test]
fn a_start_that_was_moved_is_not_taken_for_that_of_what_somebody_else_copied() {
    let mut mirror = from(&[anchor(0, 7, 0)]);
    mirror.handle(Event::SharedTail(tail(7, &[])));
    mirror.handle(Event::SourceLost {
        attempt: mirror.attempt,
        log_start: 10,
        end: 20,
    });
    mirror.handle(Event::Saved);
    let actions = mirror.handle(Event::SharedTail(tail(12, &[(9, 0, 2)])));
    let expected = Failure::SourceExpiredUncounted {
        from: 0,
        to: 10,
        present: 2,
    };
    assert_eq!(failure(&actions), Some(&expected));
}

/// What has to be read back before it counts lies between what others wrote.
#[test]
fn rule_6_others_between_doubtful_batches_are_passed_over() {
    let foreign = |offset, count| TailBatch {
        header: BatchHeader {
            producer_id: PRODUCER_ID + 1,
            ..lies_at(offset, &dense(0, count)).header
        },
        ..lies_at(offset, &dense(0, count))
    };
    let ours = |offset, count: i64, records: &Bytes| TailBatch {
        header: BatchHeader {
            base_offset: offset,
            ..written(records, count, PRODUCER_ID).header
        },
        ..written(records, count, PRODUCER_ID)
    };
    let batches = [dense(0, 2), dense(2, 2), dense(4, 2)];
    let sent = || {
        let mut mirror = from(&[anchor(0, 7, 0)]);
        mirror.doubt = Doubt::of_predecessors(1 << 20);
        mirror.handle(Event::SharedTail(tail(7, &[])));
        mirror.handle(fetched(&mirror, &batches, 6));
        let first = mirror.handle(acknowledged(&mirror, 9));
        assert!(is_read_back_from(&first, 9), "{first:?}");
        assert_eq!(mirror.confirmed().count, 0);
        let there = ours(9, 0, &batches[0]);
        mirror.handle(read_back(&mirror, vec![there, foreign(11, 3)]));
        assert_eq!(mirror.confirmed().count, 2);
        mirror.handle(acknowledged(&mirror, 14));
        mirror.handle(acknowledged(&mirror, 17));
        mirror
    };
    let mut mirror = sent();
    let there = vec![
        ours(14, 2, &batches[1]),
        foreign(16, 1),
        ours(17, 4, &batches[2]),
        foreign(19, 5),
    ];
    let actions = mirror.handle(read_back(&mirror, there));
    assert_eq!((failure(&actions), mirror.confirmed().count), (None, 6));
    // Nothing of this mirror is where its batch was acknowledged.
    let mut mirror = sent();
    let there = vec![foreign(14, 3), ours(17, 4, &batches[2])];
    let actions = mirror.handle(read_back(&mirror, there));
    assert_eq!(mirror.confirmed().count, 2);
    assert_eq!(looks_behind(&actions), Some(11));
}

fn is_read_back_from(actions: &[Action], offset: i64) -> bool {
    let mut actions = actions.iter();
    actions.any(|action| matches!(action, Action::ReadBack { from, .. } if *from == offset))
}

/// A batch in a partition's log.
struct Entry {
    base: i64,
    count: i64,
    /// This mirror's.
    own: Option<Bytes>,
}

impl Entry {
    fn as_read(&self) -> TailBatch {
        let mut found = match &self.own {
            Some(own) => TailBatch::new(BatchHeader::parse(own).expect("a batch"), own.clone()),
            None => written(&dense(0, self.count), 0, PRODUCER_ID + 1),
        };
        found.header.base_offset = self.base;
        found
    }
}

/// A leader to which others write as well, a mirror, and what is between them.
struct World {
    rng: SmallRng,
    source: Vec<Bytes>,
    records: i64,
    log: Vec<Entry>,
    end: i64,
    next: Option<i64>,
    mirror: PartitionMirror,
    events: Vec<Event>,
    requests: Vec<(u64, Bytes)>,
    late: Vec<Bytes>,
    broken: u64,
    anchors: Vec<Anchor>,
    chunks: std::collections::BTreeMap<u32, Vec<Run>>,
    chunk: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut source, mut records) = (Vec::new(), 0);
        for _ in 0..rng.random_range(1..40) {
            let count = rng.random_range(1..9);
            source.push(dense(records, count));
            records += count;
        }
        let (mirror, actions) = PartitionMirror::start(shared(), Stored::default());
        let mut world = Self {
            rng,
            source,
            records,
            log: Vec::new(),
            end: 0,
            next: None,
            mirror,
            events: Vec::new(),
            requests: Vec::new(),
            late: Vec::new(),
            broken: 0,
            anchors: Vec::new(),
            chunks: std::collections::BTreeMap::new(),
            chunk: 0,
        };
        world.foreign_write();
        world.carry_out(actions);
        world
    }

    fn append(&mut self, count: i64, own: Option<Bytes>) -> i64 {
        let base = self.end;
        self.log.push(Entry { base, count, own });
        self.end += count;
        base
    }

    fn foreign_write(&mut self) {
        let count = self.rng.random_range(1..5);
        self.append(count, None);
    }

    /// As a leader does: each once and in order, whatever lies in between.
    fn produce(&mut self, batch: Bytes) -> Answer {
        let header = BatchHeader::parse(&batch).expect("a batch");
        let (first, count) = (i64::from(header.base_sequence), i64::from(header.count));
        let known = self.log.iter().find(|entry| {
            let own = entry.own.as_ref();
            let own = own.map(|own| BatchHeader::parse(own).expect("a batch"));
            own.is_some_and(|own| {
                (own.base_sequence, own.count) == (header.base_sequence, header.count)
            })
        });
        if let (Some(next), Some(known)) = (self.next, known)
            && first < next
        {
            let base_offset = known.base;
            return Answer::Acknowledged { base_offset };
        }
        if self.next.is_some_and(|next| next != first) {
            let code = crate::kafka::ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
            let message = None;
            return Answer::Refused { code, message };
        }
        self.next = Some(first + count);
        let base_offset = self.append(count, Some(batch));
        Answer::Acknowledged { base_offset }
    }

    fn shared_tail(&self, from: i64) -> SharedTail {
        let before = self
            .log
            .iter()
            .find(|it| it.base < from && it.base + it.count >= from);
        let found = self.log.iter().filter(|entry| entry.base >= from);
        let own = found.filter(|entry| entry.own.is_some());
        let own: Vec<TailBatch> = own.map(Entry::as_read).collect();
        SharedTail {
            start: 0,
            end: self.end,
            before: before.map(|it| it.as_read().header),
            spans: own
                .iter()
                .map(|batch| Span {
                    base_offset: batch.header.base_offset,
                    base_sequence: batch.header.base_sequence,
                    count: batch.taken(),
                })
                .collect(),
            last: own.last().cloned(),
            producer_next_sequence: self.next.map(sequence_of),
            producer_epoch: self.next.map(|_| 0),
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::ResolveStart => self.events.push(Event::StartResolved {
                    source: 0,
                    destination: LogSpan {
                        start: 0,
                        end: self.end,
                    },
                    fill: crate::control::records::FillWay::Records,
                }),
                Action::ReadSharedTail { from, .. } => {
                    // Settling: what is still under way arrives before.
                    for batch in std::mem::take(&mut self.late) {
                        self.produce(batch);
                    }
                    self.events.push(Event::SharedTail(self.shared_tail(from)));
                }
                Action::Fetch {
                    attempt, offset, ..
                } => {
                    let rest = self.source.iter().filter(|batch| {
                        BatchHeader::parse(batch).expect("a batch").next_offset() > offset
                    });
                    let taken: Vec<Bytes> = rest.take(3).cloned().collect();
                    self.events.push(Event::Fetched(Fetched {
                        attempt,
                        records: taken.concat().into(),
                        aborted: Vec::new(),
                        last_stable_offset: self.records,
                    }));
                }
                Action::ReadBack { attempt, from } => {
                    let most = self.rng.random_range(1..4);
                    let found = self.log.iter().filter(|it| it.base + it.count > from);
                    let batches = found.take(most).map(Entry::as_read).collect();
                    self.events.push(Event::ReadBack {
                        attempt,
                        start: 0,
                        batches,
                    });
                }
                Action::Send { attempt, .. } if attempt <= self.broken => {
                    let cause = String::new();
                    let answer = Answer::Lost { cause };
                    self.events.push(Event::Answer { attempt, answer });
                }
                Action::Send { attempt, batch } => {
                    let whole = [&batch.header[..], &batch.records[..]].concat();
                    self.requests.push((attempt, whole.into()));
                }
                Action::Save {
                    anchors,
                    map_chunk,
                    map,
                    ..
                } => {
                    (self.anchors, self.chunk) = (anchors, map_chunk);
                    for (chunk, record) in map {
                        self.chunks.insert(chunk, map::decode(&record));
                    }
                    self.events.push(Event::Saved);
                }
                Action::Notify(Notice::Failed(failure)) => panic!("{failure}"),
                Action::Notify(_) | Action::Copied { .. } | Action::Abandon { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn tell(&mut self, event: Event) {
        let is_needless = matches!(event, Event::Tick) && !self.mirror.awaits_tick();
        let actions = self.mirror.handle(event);
        // Workers leave such ticks out.
        assert!(!is_needless || actions.is_empty(), "{actions:?}");
        self.carry_out(actions);
    }

    fn cut_off(&mut self) {
        let applied = self.rng.random_range(0..=self.requests.len());
        for (index, (attempt, batch)) in std::mem::take(&mut self.requests).into_iter().enumerate()
        {
            if index < applied {
                self.produce(batch);
            }
            self.broken = attempt;
            let cause = String::new();
            let answer = Answer::Lost { cause };
            self.events.push(Event::Answer { attempt, answer });
        }
    }

    fn kill(&mut self) {
        let reached = self.rng.random_range(0..=self.requests.len());
        let requests = std::mem::take(&mut self.requests).into_iter();
        self.late.extend(requests.take(reached).map(|it| it.1));
        self.events.clear();
        self.broken = 0;
        let (anchors, chunks) = (self.anchors.clone(), &self.chunks);
        let map = MapTail::load(self.chunk, anchors.first(), |chunk| {
            chunks.get(&chunk).cloned()
        });
        let stored = Stored {
            anchors,
            map,
            ..Stored::default()
        };
        let (mirror, actions) = PartitionMirror::start(shared(), stored);
        self.mirror = mirror;
        self.carry_out(actions);
    }

    fn step(&mut self, faults: bool) {
        match self.rng.random_range(0..100) {
            0 if faults => self.kill(),
            1 if faults => self.cut_off(),
            // Old records: the leader forgets the id at any moment.
            2 if faults => self.next = None,
            3..13 => self.foreign_write(),
            13..25 => self.tell(Event::Tick),
            25..30 => {
                let end = self.end;
                self.tell(Event::EndSeen { end });
            }
            30..60 if !self.requests.is_empty() => {
                let (attempt, batch) = self.requests.remove(0);
                let answer = self.produce(batch);
                self.events.push(Event::Answer { attempt, answer });
            }
            _ if !self.events.is_empty() => {
                let event = self.events.remove(0);
                self.tell(event);
            }
            _ => {}
        }
    }

    /// Source offset and destination offset of each record of this mirror, as the log has them.
    fn copied(&self) -> Vec<(String, i64)> {
        let own = self
            .log
            .iter()
            .filter_map(|it| Some((it.base, it.own.as_ref()?)));
        own.flat_map(|(base, batch)| {
            let mut batch = batch.clone();
            let set = kafka_protocol::records::RecordBatchDecoder::decode(&mut batch);
            let records = set.expect("it decodes").records.into_iter();
            let values = records.map(|record| record.value.expect("each has one"));
            let values = values.map(|value| String::from_utf8(value.to_vec()).expect("text"));
            values.zip(base..).collect::<Vec<_>>()
        })
        .collect()
    }
}

/// Without this, a kill or a lost answer would lose or repeat a record, or spoil the map, only because others write too.
#[test]
fn each_record_is_copied_once_and_mapped_exactly_whatever_others_write() {
    let seeds = std::env::var("KMIRROR_SEEDS").ok();
    let seeds = seeds.and_then(|text| text.parse().ok()).unwrap_or(300);
    for seed in 0..seeds {
        let mut world = World::new(seed);
        for _ in 0..2_000 {
            world.step(true);
        }
        let mut steps = 0;
        while world.mirror.confirmed().source_offset < world.records {
            world.step(false);
            steps += 1;
            assert!(steps < 100_000, "seed {seed}: {:?}", world.mirror.phase);
        }
        let copied = world.copied();
        let values: Vec<&str> = copied.iter().map(|it| it.0.as_str()).collect();
        let wanted: Vec<String> = (0..world.records).map(|n| format!("value-{n}")).collect();
        assert_eq!(values, wanted, "seed {seed}");
        for _ in 0..200 {
            world.step(false);
        }
        let runs = world
            .chunks
            .range(..=world.chunk)
            .flat_map(|(_, runs)| runs);
        let said: Vec<(String, i64)> = runs
            .flat_map(|run| {
                (0..run.count).map(|n| (format!("value-{}", run.source + n), run.destination + n))
            })
            .collect();
        assert_eq!(said, world.copied(), "seed {seed}");
    }
}
