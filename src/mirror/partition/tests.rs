//! The state machine against a model of source, destination and network, over many orders of faults.
//!
//! A seed fixes a whole run: when answers arrive, are lost or come late, when the worker is killed
//! and what of its requests still reaches the leader, when the leader forgets the producer id, when the
//! destination loses its unreplicated end. After each run the destination must hold the source's records,
//! each once and in order.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use kafka_protocol::records::Compression;
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::position::nearest_count;
use super::*;
use crate::control::records::{FillWay, HolePolicy, OnHole, Run};
use crate::kafka::ErrorCode;
use crate::mirror::batch::header::Batches;
use crate::mirror::batch::rewrite::sequence_of;
use crate::mirror::batch::{BatchHeader, samples};
use crate::mirror::map;

const PRODUCER_ID: i64 = 4711;

/// Anchors, the growing chunk, and the chunks of the map.
type StoredParts = (Vec<Anchor>, u32, Vec<(u32, Vec<Run>)>);

/// First sequence, count and base offset of a batch.
type Remembered = (i32, i32, i64);

/// What lies in the destination's log: a batch, or a control marker.
#[derive(Clone)]
struct Entry {
    base: i64,
    batch: Option<(BatchHeader, Bytes)>,
}

impl Entry {
    fn end(&self) -> i64 {
        let count = self.batch.as_ref().map_or(1, |(header, _)| header.count);
        self.base + i64::from(count)
    }
}

/// The destination partition as a leader keeps it.
#[derive(Default)]
struct Leader {
    log: Vec<Entry>,
    end: i64,
    start: i64,
    /// Entries that all replicas have; the others are lost with their leader.
    replicated: usize,
    /// Whether it answers before the others have a batch.
    answers_early: bool,
    most_bytes: Option<usize>,
    /// The next sequence, and the batches remembered.
    producer: Option<(i32, VecDeque<Remembered>)>,
}

impl Leader {
    fn append(&mut self, batch: &Bytes) -> Answer {
        let header = BatchHeader::parse(batch).expect("a batch is sent");
        assert_eq!(
            header.base_offset, 0,
            "a leader takes only batches that begin at 0"
        );
        assert_eq!(header.producer_id, PRODUCER_ID);
        assert_eq!(
            crc32c::crc32c(&batch[21..]),
            header.crc,
            "a leader checks the checksum"
        );
        if self.most_bytes.is_some_and(|most| batch.len() > most) {
            return Answer::Refused {
                code: ErrorCode::MESSAGE_TOO_LARGE,
                message: None,
            };
        }
        if let Some((next, remembered)) = &self.producer {
            if let Some((_, _, base_offset)) = remembered
                .iter()
                .find(|(first, count, _)| *first == header.base_sequence && *count == header.count)
            {
                return Answer::Acknowledged {
                    base_offset: *base_offset,
                };
            }
            if *next != header.base_sequence {
                return Answer::Refused {
                    code: ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
                    message: None,
                };
            }
        }
        let base_offset = self.end;
        self.push(Some((header, batch.clone())));
        self.remember(&header, base_offset);
        Answer::Acknowledged { base_offset }
    }

    fn push(&mut self, batch: Option<(BatchHeader, Bytes)>) {
        let entry = Entry {
            base: self.end,
            batch,
        };
        self.end = entry.end();
        self.log.push(entry);
        if !self.answers_early {
            self.replicated = self.log.len();
        }
    }

    /// Markers go to all replicas before they are answered.
    fn pad(&mut self, count: i64) {
        for _ in 0..count {
            self.push(None);
        }
        self.replicated = self.log.len();
    }

    fn remember(&mut self, header: &BatchHeader, base_offset: i64) {
        let next = sequence_of(i64::from(header.base_sequence) + i64::from(header.count));
        let (expected, remembered) = self.producer.get_or_insert_with(Default::default);
        *expected = next;
        remembered.push_back((header.base_sequence, header.count, base_offset));
        if remembered.len() > 5 {
            remembered.pop_front();
        }
    }

    /// An unclean election: the last `entries` are gone, the new leader knows what its log says.
    fn lose(&mut self, entries: usize) {
        self.log.truncate(self.log.len().saturating_sub(entries));
        self.elected();
    }

    /// Another replica leads: what only the former leader had is gone.
    fn fail_over(&mut self) {
        self.log.truncate(self.replicated);
        self.elected();
    }

    fn elected(&mut self) {
        self.replicated = self.log.len();
        self.end = self.log.last().map_or(0, Entry::end);
        self.producer = None;
        let kept: Vec<_> = self
            .log
            .iter()
            .filter_map(|entry| Some((entry.batch.as_ref()?.0, entry.base)))
            .collect();
        for (header, base) in kept {
            self.remember(&header, base);
        }
    }

    fn high_watermark(&self) -> i64 {
        let replicated = self.replicated.checked_sub(1);
        replicated.map_or(0, |last| self.log[last].end())
    }

    fn tail(&mut self) -> Tail {
        // Whoever reads it waits until nothing is above the high watermark.
        self.replicated = self.log.len();
        let data = self.log.iter().rev();
        let last = data
            .filter(|entry| entry.end() > self.start)
            .find_map(|entry| Some((entry.base, entry.batch.as_ref()?)));
        Tail {
            start: self.start,
            end: self.end,
            last: last.map(|(base, (header, batch))| {
                let header = BatchHeader {
                    base_offset: base,
                    ..*header
                };
                TailBatch::new(header, batch.clone())
            }),
            producer_next_sequence: self.producer.as_ref().map(|(next, _)| *next),
            producer_epoch: self.producer.as_ref().map(|_| 0),
        }
    }

    /// Every record that a consumer sees, with its offset.
    fn records(&self) -> Vec<(i64, String)> {
        self.log
            .iter()
            .filter_map(|entry| Some((entry.base, &entry.batch.as_ref()?.1)))
            .flat_map(|(base, batch)| (base..).zip(values(batch)))
            .filter(|(offset, _)| *offset >= self.start)
            .collect()
    }

    fn values(&self) -> Vec<String> {
        let records = self.records().into_iter();
        records.map(|(_, value)| value).collect()
    }
}

fn values(batch: &Bytes) -> Vec<String> {
    let mut buf = batch.clone();
    kafka_protocol::records::RecordBatchDecoder::decode(&mut buf)
        .expect("what a leader took decodes")
        .records
        .iter()
        // Filler has no value.
        .map(|record| {
            String::from_utf8(record.value.clone().unwrap_or_default().to_vec()).expect("is text")
        })
        .collect()
}

/// The source's log: batches of many sizes and codecs, some with gaps, and transactions of which some abort.
struct Source {
    start: i64,
    batches: Vec<Bytes>,
    aborted: Vec<(i64, i64)>,
    committed: Vec<String>,
    end: i64,
}

fn source(rng: &mut SmallRng, start: i64, batches: usize) -> Source {
    let mut source = Source {
        start,
        batches: Vec::new(),
        aborted: Vec::new(),
        committed: Vec::new(),
        end: start,
    };
    for index in 0..batches {
        if index > 0 && rng.random_bool(0.2) {
            // Control markers, or what a cleaner removed.
            source.end += rng.random_range(1..4);
        }
        let count = if rng.random_bool(0.3) {
            1
        } else {
            rng.random_range(1..12)
        };
        let mut records = samples::dense(source.end, count);
        source.end += count;
        if count > 2 && rng.random_bool(0.2) {
            records.remove(rng.random_range(0..records.len() - 1));
        }
        let aborts = rng.random_bool(0.15);
        let producer = 100 + index as i64;
        if aborts {
            source.aborted.push((producer, records[0].offset));
        } else {
            source.committed.extend(records.iter().map(|record| {
                String::from_utf8(record.value.clone().expect("set").to_vec()).expect("text")
            }));
        }
        let codec = samples::CODECS[rng.random_range(0..5)];
        source.batches.push(samples::encode(
            &records,
            codec,
            aborts,
            if aborts { producer } else { -1 },
        ));
    }
    source
}

impl Source {
    fn fetch(&self, offset: i64, rng: &mut SmallRng) -> Bytes {
        let mut out = BytesMut::new();
        let mut left = rng.random_range(1..6);
        for batch in &self.batches {
            let header = BatchHeader::parse(batch).expect("a batch");
            if header.next_offset() > offset && left > 0 {
                out.extend_from_slice(batch);
                left -= 1;
            }
        }
        out.freeze()
    }
}

/// A worker's partition with what is around it.
struct World {
    rng: SmallRng,
    source: Source,
    leader: Leader,
    mirror: PartitionMirror,
    /// Events that will reach the mirror, in any order between kinds.
    events: VecDeque<Event>,
    /// Requests on their way to the leader, oldest first.
    requests: VecDeque<(u64, Bytes)>,
    /// The newest attempt that lost a batch: what it still hands out is not sent.
    broken: u64,
    /// Requests of a killed worker that may still arrive.
    ghosts: VecDeque<Bytes>,
    /// Markers on their way, with their attempt, and how many of a killed worker's may still arrive.
    padding: Option<(u64, i64)>,
    ghost_markers: i64,
    /// Anchors, the growing chunk, all chunks.
    stored: StoredParts,
    alignment: Alignment,
    failure: Option<Failure>,
    manner: Manner,
}

/// What makes a run harder than plain kills.
#[derive(Clone, Copy, Default)]
struct Manner {
    forgets: bool,
    loses: bool,
    /// Offsets are kept equal, from this one on.
    preserve_from: Option<i64>,
    /// Holes larger than this are translated.
    translate_over: Option<i64>,
    /// `acks=1`
    early: bool,
    /// `max.message.bytes`
    most_bytes: Option<usize>,
}

const START_AT_ZERO: Event = Event::StartResolved {
    source: 0,
    destination: LogSpan { start: 0, end: 0 },
    fill: FillWay::Records,
};

fn settings() -> Settings {
    Settings {
        producer_id: PRODUCER_ID,
        producer_epoch: 0,
        append_time: true,
        offsets: OffsetsSpec::Translate,
        filler_timestamp: 1_700_000_000_000,
        acks: Acks::All,
        merge_below: 400,
        merge_to: 1500,
        window_bytes: 4096,
        window_batches: 8,
        queue_bytes: 2048,
    }
}

impl World {
    fn new(seed: u64, manner: Manner) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let batches = rng.random_range(1..60);
        let start = manner.preserve_from.unwrap_or(0);
        let source = source(&mut rng, start, batches);
        let (mirror, actions) = PartitionMirror::start(Self::settings(manner), Stored::default());
        let mut world = Self {
            rng,
            source,
            leader: Leader {
                answers_early: manner.early,
                most_bytes: manner.most_bytes,
                ..Leader::default()
            },
            mirror,
            events: VecDeque::new(),
            requests: VecDeque::new(),
            broken: 0,
            ghosts: VecDeque::new(),
            padding: None,
            ghost_markers: 0,
            stored: (Vec::new(), 0, Vec::new()),
            alignment: Alignment::default(),
            failure: None,
            manner,
        };
        world.take(actions);
        world
    }

    fn settings(manner: Manner) -> Settings {
        let mut settings = settings();
        if manner.preserve_from.is_some() {
            let on_hole = HolePolicy {
                larger_than: manner.translate_over.unwrap_or(1_000_000),
                then: OnHole::Translate,
            };
            settings.offsets = OffsetsSpec::Preserve { on_hole };
        }
        if manner.early {
            settings.acks = Acks::Leader;
        }
        settings
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::ResolveStart => {
                    self.events.push_back(Event::StartResolved {
                        source: self.source.start,
                        destination: LogSpan {
                            start: self.leader.start,
                            end: self.leader.end,
                        },
                        fill: FillWay::Records,
                    });
                }
                Action::ReadTail { .. } => {
                    // Settling: what is still under way arrives before the tail is read.
                    while let Some(ghost) = self.ghosts.pop_front() {
                        self.leader.append(&ghost);
                    }
                    self.leader.pad(std::mem::take(&mut self.ghost_markers));
                    self.events.push_back(Event::Tail(self.leader.tail()));
                }
                Action::Pad {
                    attempt, from, to, ..
                } => {
                    assert_eq!(from, self.leader.end, "nothing is on its way");
                    self.padding = Some((attempt, to - from));
                }
                Action::DeleteBefore { offset } => {
                    assert!(offset <= self.leader.high_watermark());
                    self.leader.start = offset;
                    self.events.push_back(Event::Deleted);
                }
                Action::AskWatermark { attempt } => {
                    let end = self.leader.high_watermark();
                    self.events.push_back(Event::Watermark { attempt, end });
                }
                Action::Fetch {
                    attempt, offset, ..
                } => {
                    let records = self.source.fetch(offset, &mut self.rng);
                    let aborted = self.source.aborted.clone();
                    let last_stable_offset = self.source.end;
                    self.events.push_back(Event::Fetched(Fetched {
                        attempt,
                        records,
                        aborted,
                        last_stable_offset,
                    }));
                }
                Action::Send { attempt, .. } if attempt <= self.broken => {
                    let answer = Answer::Lost {
                        cause: "the connection was lost".into(),
                    };
                    self.events.push_back(Event::Answer { attempt, answer });
                }
                Action::Send { attempt, batch } => {
                    let whole = [&batch.header[..], &batch.records[..]].concat();
                    self.requests.push_back((attempt, Bytes::from(whole)));
                }
                Action::Save {
                    anchors,
                    map_chunk,
                    map,
                    alignment,
                    ..
                } => {
                    self.alignment = alignment;
                    self.stored.0 = anchors;
                    self.stored.1 = map_chunk;
                    for (chunk, record) in map {
                        self.stored.2.retain(|(known, _)| *known != chunk);
                        self.stored.2.push((chunk, map::decode(&record)));
                    }
                    // Stored and never answered would stop everything: the store retries until it is done.
                    if self.rng.random_bool(0.9) {
                        self.events.push_back(Event::Saved);
                    } else {
                        self.events.push_front(Event::Saved);
                    }
                }
                Action::Notify(Notice::Failed(failure)) => self.failure = Some(failure),
                Action::Notify(_) | Action::Copied { .. } | Action::Abandon { .. } => {}
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let actions = self.mirror.handle(event);
        self.take(actions);
    }

    /// The worker dies; what it had sent may or may not have left its socket.
    fn kill(&mut self) {
        let reached = self.rng.random_range(0..=self.requests.len());
        self.ghosts.extend(
            self.requests
                .drain(..)
                .take(reached)
                .map(|(_, batch)| batch),
        );
        self.requests.clear();
        self.events.clear();
        if let Some((_, count)) = self.padding.take() {
            self.ghost_markers = self.rng.random_range(0..=count);
        }
        self.broken = 0;
        let (anchors, chunk, chunks) = self.stored.clone();
        let runs = |chunk| {
            let mut chunks = chunks.iter();
            chunks
                .find(|(known, _)| *known == chunk)
                .map(|(_, runs)| runs.clone())
        };
        let map = MapTail::load(chunk, anchors.first(), runs);
        let stored = Stored {
            anchors,
            map,
            alignment: self.alignment,
            pads_by_transactions: false,
        };
        let (mirror, actions) = PartitionMirror::start(Self::settings(self.manner), stored);
        self.mirror = mirror;
        self.take(actions);
    }

    /// Something goes wrong.
    fn fault(&mut self) {
        match self.rng.random_range(0..6) {
            0 => self.kill(),
            1 => self.disconnect(),
            2 if self.manner.forgets => self.leader.producer = None,
            4 if self.manner.early => {
                self.leader.fail_over();
                self.disconnect();
            }
            3 if self.manner.loses => {
                let batches = self.rng.random_range(0..3);
                self.leader.lose(batches);
                self.disconnect();
            }
            _ => {
                if let Some(ghost) = self.ghosts.pop_front() {
                    self.leader.append(&ghost);
                }
            }
        }
    }

    /// Every request under way is lost, applied without an answer, or applied in part.
    fn disconnect(&mut self) {
        let applied = self.rng.random_range(0..=self.requests.len());
        for (index, (attempt, batch)) in std::mem::take(&mut self.requests).into_iter().enumerate()
        {
            if index < applied {
                self.leader.append(&batch);
            }
            self.broken = attempt;
            self.events.push_back(Event::Answer {
                attempt,
                answer: Answer::Lost {
                    cause: "disconnected".into(),
                },
            });
        }
    }

    /// Markers arrive, wholly or in part, with or without an answer.
    fn pad(&mut self) {
        let Some((attempt, count)) = self.padding.take() else {
            return;
        };
        let whole = self.rng.random_bool(0.8);
        let written = if whole {
            count
        } else {
            self.rng.random_range(0..=count)
        };
        self.leader.pad(written);
        let answer = if self.rng.random_bool(0.9) {
            PadAnswer::Ends {
                at: self.leader.end,
            }
        } else {
            PadAnswer::Lost {
                cause: "disconnected".into(),
            }
        };
        self.events.push_back(Event::Padded { attempt, answer });
    }

    fn step(&mut self) {
        self.pad();
        if self.rng.random_bool(0.5) {
            self.leader.replicated = self.leader.log.len();
        }
        match self.rng.random_range(0..10) {
            0..5 if !self.events.is_empty() => {
                let event = self.events.pop_front().expect("is not empty");
                self.handle(event);
            }
            5..9 => {
                if let Some((attempt, batch)) = self.requests.pop_front() {
                    let answer = self.leader.append(&batch);
                    self.events.push_back(Event::Answer { attempt, answer });
                }
            }
            _ => {
                self.handle(Event::Tick);
                let end = self.leader.end;
                self.handle(Event::EndSeen { end });
            }
        }
    }

    fn settled(&self) -> bool {
        self.requests.is_empty()
            && self.ghosts.is_empty()
            && self.mirror.confirmed().source_offset == self.source.end
            && self.padding.is_none()
            && self.mirror.outstanding == 0
            && self.mirror.confirmed().destination_offset == self.leader.end
            && matches!(self.mirror.phase, Phase::Copying { .. })
    }

    fn run(&mut self, fault_rate: f64) {
        for _ in 0..4000 {
            if self.rng.random_bool(fault_rate) {
                self.fault();
            }
            self.step();
            if self.failure.is_some() {
                return;
            }
        }
        for _ in 0..100_000 {
            if self.settled() || self.failure.is_some() {
                return;
            }
            self.step();
        }
        panic!(
            "the mirror never settled: {:?}, source end {}",
            self.mirror, self.source.end
        );
    }

    fn check(&mut self, seed: u64) {
        assert_eq!(self.failure, None, "seed {seed}");
        assert_eq!(self.leader.values(), self.source.committed, "seed {seed}");
        self.handle(Event::Stop);
        for _ in 0..100 {
            while let Some(event) = self.events.pop_front() {
                self.handle(event);
            }
        }
        assert!(
            self.mirror.is_stopped(),
            "seed {seed}: {:?}",
            self.mirror.phase
        );
        self.check_map(seed);
    }

    /// Which source offset is said to be at a destination offset, by the map or because they are equal.
    fn equal_before(&self) -> i64 {
        match self.alignment {
            Alignment::Equal { .. } => i64::MAX,
            Alignment::Translated { equal_before } => equal_before.unwrap_or(0),
        }
    }

    /// The stored map says for every destination offset which source record is there.
    fn check_map(&self, seed: u64) {
        let mut chunks = self.stored.2.clone();
        // What lies behind the growing chunk is void: the destination lost it, and it was stored before.
        chunks.retain(|(chunk, _)| *chunk <= self.stored.1);
        chunks.sort_by_key(|(chunk, _)| *chunk);
        let mapped: Vec<(i64, i64)> = chunks
            .iter()
            .flat_map(|(_, runs)| runs.iter())
            .flat_map(|run| (0..run.count).map(|n| (run.source + n, run.destination + n)))
            .collect();
        let equal_before = self.equal_before();
        let (equal, translated): (Vec<_>, Vec<_>) = self
            .leader
            .records()
            .into_iter()
            .partition(|(offset, _)| *offset < equal_before);
        for (offset, value) in equal {
            assert_eq!(value, format!("value-{offset}"), "seed {seed}");
        }
        let said: Vec<_> = mapped
            .iter()
            .map(|(source, destination)| (*destination, format!("value-{source}")))
            .collect();
        assert_eq!(translated, said, "seed {seed}");
    }
}

fn seeds() -> u64 {
    std::env::var("KMIRROR_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(300)
}

/// Without this, a killed or cut-off worker would lose or repeat records.
#[test]
fn kills_and_lost_connections_leave_an_exact_copy() {
    for seed in 0..seeds() {
        let mut world = World::new(seed, Manner::default());
        world.run(0.02);
        world.check(seed);
    }
}

/// Old records: the leader forgets the id at any moment, so only settling keeps the copy exact.
#[test]
fn a_leader_that_forgets_the_producer_id_gets_an_exact_copy() {
    for seed in 0..seeds() {
        let mut world = World::new(
            1_000_000 + seed,
            Manner {
                forgets: true,
                ..Manner::default()
            },
        );
        world.run(0.02);
        world.check(seed);
    }
}

/// With equal offsets every record has to be where the source has it, filler has to be gone, and kills or lost
/// answers must neither shift nor repeat a marker.
#[test]
fn offsets_stay_equal_whatever_is_killed_or_lost() {
    for seed in 0..seeds() {
        for (forgets, early) in [(false, false), (true, false), (false, true)] {
            let manner = Manner {
                forgets,
                early,
                preserve_from: Some([0, 3, 257][seed as usize % 3]),
                ..Manner::default()
            };
            let mut world = World::new(4_000_000 + seed, manner);
            world.run(0.02);
            world.check(seed);
            assert!(world.mirror.is_aligned());
        }
    }
}

/// A hole that is larger than the link allows ends equal offsets; the map has to be exact from there on.
#[test]
fn offsets_are_translated_exactly_after_a_large_hole() {
    for seed in 0..seeds() {
        let manner = Manner {
            preserve_from: Some(20),
            translate_over: Some(seed as i64 % 8),
            early: seed % 2 == 0,
            ..Manner::default()
        };
        let mut world = World::new(5_000_000 + seed, manner);
        world.run(0.02);
        world.check(seed);
    }
}

/// With acks=1 what the leader acknowledged is gone with it, unless it was below the high watermark.
#[test]
fn leaders_that_fail_with_what_only_they_had_leave_an_exact_copy() {
    for seed in 0..seeds() {
        let manner = Manner {
            early: true,
            ..Manner::default()
        };
        let mut world = World::new(6_000_000 + seed, manner);
        world.run(0.02);
        world.check(seed);
    }
}

/// A destination that takes less than the source's batches gets the same records in smaller ones.
#[test]
fn batches_that_are_too_large_are_split() {
    for seed in 0..seeds() {
        for preserve_from in [None, Some(5)] {
            let manner = Manner {
                preserve_from,
                most_bytes: Some(250),
                early: seed % 2 == 1,
                ..Manner::default()
            };
            let mut world = World::new(7_000_000 + seed, manner);
            world.run(0.01);
            world.check(seed);
        }
    }
}

/// An unclean election takes back what was acknowledged; it is copied again from an older anchor.
#[test]
fn a_destination_that_lost_its_end_is_filled_again() {
    for seed in 0..seeds() {
        let mut world = World::new(
            2_000_000 + seed,
            Manner {
                loses: true,
                ..Manner::default()
            },
        );
        world.run(0.01);
        if let Some(failure) = &world.failure {
            // More was lost than the anchors reach back: said, not papered over.
            assert!(
                matches!(
                    failure,
                    Failure::DestinationCutBack { .. }
                        | Failure::DestinationTooShort { .. }
                        | Failure::ForeignWrite { .. }
                ),
                "seed {seed}: {failure}"
            );
            continue;
        }
        world.check(seed);
    }
}

#[test]
fn a_foreign_record_stops_the_mirror_at_once() {
    let mut world = World::new(5, Manner::default());
    world.run(0.0);
    world.leader.end += 1;
    let end = world.leader.end;
    world.handle(Event::EndSeen { end });
    while let Some(event) = world.events.pop_front() {
        world.handle(event);
    }
    assert!(
        matches!(world.failure, Some(Failure::ForeignWrite { .. })),
        "{:?}",
        world.failure
    );
}

#[test]
fn nothing_is_written_before_the_first_anchor_is_stored() {
    let (mut mirror, actions) = PartitionMirror::start(settings(), Stored::default());
    assert!(matches!(actions[..], [Action::ResolveStart]));
    let actions = mirror.handle(START_AT_ZERO);
    assert!(matches!(actions[..], [Action::Save { .. }]));
    assert!(mirror.handle(Event::Tick).is_empty());
    assert!(matches!(
        mirror.handle(Event::Saved)[..],
        [Action::ReadTail { .. }]
    ));
}

#[test]
fn one_batch_goes_alone_until_the_leader_has_shown_where_it_lies() {
    let (mut mirror, _) = PartitionMirror::start(settings(), Stored::default());
    mirror.handle(START_AT_ZERO);
    mirror.handle(Event::Saved);
    mirror.handle(Event::Tail(Tail {
        start: 0,
        end: 0,
        last: None,
        producer_next_sequence: None,
        producer_epoch: None,
    }));
    let records: Bytes = (0..3)
        .map(|n| samples::batch(&samples::dense(n * 2, 2), Compression::None))
        .collect::<Vec<_>>()
        .concat()
        .into();
    assert_eq!(Batches::new(records.clone()).count(), 3);
    let fetched = Fetched {
        attempt: 1,
        records,
        aborted: Vec::new(),
        last_stable_offset: 6,
    };
    let sends = |actions: &[Action]| {
        actions
            .iter()
            .filter(|action| matches!(action, Action::Send { .. }))
            .count()
    };
    assert_eq!(sends(&mirror.handle(Event::Fetched(fetched))), 1);
    let answer = Answer::Acknowledged { base_offset: 0 };
    assert_eq!(
        sends(&mirror.handle(Event::Answer { attempt: 1, answer })),
        2
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
    let mut world = World::new(3, Manner::default());
    let mut records = i32::MAX;
    for _ in 0..1000 {
        if let Some((attempt, batch)) = world.requests.pop_front() {
            records = BatchHeader::parse(&batch).expect("a batch").count;
            let answer = Answer::Refused {
                code: ErrorCode::MESSAGE_TOO_LARGE,
                message: None,
            };
            world.handle(Event::Answer { attempt, answer });
        } else if let Some(event) = world.events.pop_front() {
            world.handle(event);
        }
    }
    // What can be made smaller is tried first.
    assert_eq!(records, 1);
    let failure = world.failure.expect("it failed").to_string();
    assert!(failure.contains("max.message.bytes"), "{failure}");
}
