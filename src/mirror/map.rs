//! The exact offset map of a partition: runs of records whose source and destination offsets rise together.
//!
//! Nothing is left out of it: every record copied lies in one run, so a translation is exact for every
//! offset. It is stored in chunks; only the last one grows, and the others are never written again.

use std::collections::VecDeque;

use super::super::control::records::{Anchor, MapRecord, RECORD_VERSION, Run};

/// Runs in a chunk that is closed: some 20 KB of JSON. Few in tests, so that they cross chunks often.
pub const RUNS_PER_CHUNK: usize = if cfg!(test) { 8 } else { 1024 };

/// The growing end of a partition's offset map.
///
/// Besides the growing chunk it keeps the ones that an anchor may still lead back into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapTail {
    /// Index of the growing chunk.
    chunk: u32,
    /// The chunks before it that are kept, oldest first, without a gap.
    closed: VecDeque<Vec<Run>>,
    runs: Vec<Run>,
    /// The first chunk that changed since they were last taken for storage; all after it did too.
    changed_from: Option<u32>,
}

impl MapTail {
    /// The map whose growing chunk is `chunk`, with that chunk alone.
    pub fn new(chunk: u32, runs: Vec<Run>) -> Self {
        Self {
            chunk,
            closed: VecDeque::new(),
            runs,
            changed_from: None,
        }
    }

    /// The map as it is stored, with all chunks that may be needed to go back to `oldest`.
    pub fn load(
        chunk: u32,
        oldest: Option<&Anchor>,
        stored: impl Fn(u32) -> Option<Vec<Run>>,
    ) -> Self {
        let mut map = Self::new(chunk, stored(chunk).unwrap_or_default());
        let Some(oldest) = oldest else { return map };
        while map.first_destination() >= oldest.destination_offset
            && let Some(before) = map.first_chunk().checked_sub(1)
            && let Some(runs) = stored(before)
        {
            map.closed.push_front(runs);
        }
        map
    }

    /// How many of the `anchors`, oldest first, the map leads to: between each of them and the next it has as many records as
    /// were counted. `mapped_from` is the source offset from which on records are mapped.
    ///
    /// Chunks and anchors that did not fit one batch are stored one after the other, and a write that comes late brings back
    /// what an earlier one stored.
    pub fn leads_to(&self, anchors: &[Anchor], mapped_from: i64) -> usize {
        let runs = self.closed.iter().flatten().chain(&self.runs);
        let mapped = |from: i64, to: i64| -> i64 {
            let within = |run: &Run| {
                let end = run.destination.saturating_add(run.count).min(to);
                (end - run.destination.max(from)).max(0)
            };
            runs.clone().map(within).sum()
        };
        let misfit = anchors.windows(2).position(|pair| {
            let [before, after] = pair else { return false };
            before.source_offset >= mapped_from
                && mapped(before.destination_offset, after.destination_offset)
                    != after.count - before.count
        });
        misfit.map_or(anchors.len(), |before| before + 1)
    }

    /// The index of the growing chunk.
    pub fn chunk(&self) -> u32 {
        self.chunk
    }

    fn first_chunk(&self) -> u32 {
        let kept = u32::try_from(self.closed.len()).expect("far fewer chunks than that are kept");
        self.chunk.saturating_sub(kept)
    }

    /// Where the records begin that are kept here.
    fn first_destination(&self) -> i64 {
        let first = self.closed.front().unwrap_or(&self.runs).first();
        first.map_or(i64::MAX, |run| run.destination)
    }

    fn changed(&mut self) {
        let from = self.changed_from.unwrap_or(self.chunk);
        self.changed_from = Some(from.min(self.chunk));
    }

    /// Adds `count` records that follow everything added before.
    pub fn push(&mut self, run: Run) {
        self.changed();
        if let Some(last) = self.runs.last_mut()
            && last.source + last.count == run.source
            && last.destination + last.count == run.destination
        {
            last.count += run.count;
            return;
        }
        if self.runs.len() >= RUNS_PER_CHUNK {
            self.closed.push_back(std::mem::take(&mut self.runs));
            self.chunk += 1;
        }
        self.runs.push(run);
    }

    /// Forgets what lies at or after the anchor. `false` where that reaches into a chunk that is not kept.
    #[must_use]
    pub fn rewind(&mut self, anchor: &Anchor) -> bool {
        let end = anchor.destination_offset;
        loop {
            while let Some(last) = self.runs.last_mut() {
                if last.destination >= end {
                    self.runs.pop();
                    self.changed();
                    continue;
                }
                if last.destination + last.count > end {
                    last.count = end - last.destination;
                    self.changed();
                }
                return true;
            }
            // The anchor is where this chunk begins, or before it.
            let Some(before) = self.closed.pop_back() else {
                return self.chunk == 0;
            };
            self.runs = before;
            self.chunk -= 1;
            self.changed();
        }
    }

    /// What has to be stored: every chunk that changed since the last call. Chunks that no anchor from
    /// `oldest` on leads back into are let go.
    pub fn take_changed(&mut self, oldest: Option<&Anchor>) -> Vec<(u32, MapRecord)> {
        let first = self.first_chunk();
        let mut changed = Vec::new();
        if let Some(from) = self.changed_from.take() {
            let chunks = self.closed.iter().chain([&self.runs]);
            changed = (first..)
                .zip(chunks)
                .filter(|(chunk, _)| *chunk >= from)
                .map(|(chunk, runs)| (chunk, encode(runs)))
                .collect();
        }
        let oldest = oldest.map_or(i64::MAX, |anchor| anchor.destination_offset);
        // The chunk after it has to begin before the anchor: then going back ends there.
        while let Some(next) = self.closed.get(1).or(Some(&self.runs))
            && !self.closed.is_empty()
            && next.first().is_some_and(|run| run.destination < oldest)
        {
            self.closed.pop_front();
        }
        changed
    }

    /// Runs of the growing chunk.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }
}

/// Runs as they are stored: each by its distance from the end of the one before.
pub fn encode(runs: &[Run]) -> MapRecord {
    let (mut source, mut destination) = (0, 0);
    let runs = runs
        .iter()
        .map(|run| {
            let delta = [
                run.source - source,
                run.destination - destination,
                run.count,
            ];
            source = run.source + run.count;
            destination = run.destination + run.count;
            delta
        })
        .collect();
    MapRecord {
        version: RECORD_VERSION,
        runs,
    }
}

/// The runs of a stored chunk.
pub fn decode(record: &MapRecord) -> Vec<Run> {
    let (mut source, mut destination) = (0i64, 0i64);
    record
        .runs
        .iter()
        .map(|[source_gap, destination_gap, count]| {
            let run = Run {
                source: source.wrapping_add(*source_gap),
                destination: destination.wrapping_add(*destination_gap),
                count: *count,
            };
            source = run.source.wrapping_add(*count);
            destination = run.destination.wrapping_add(*count);
            run
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn anchor(destination_offset: i64) -> Anchor {
        Anchor {
            source_offset: 0,
            source_leader_epoch: -1,
            destination_offset,
            count: 0,
            epoch: 0,
        }
    }

    proptest! {
        #[test]
        fn a_stored_map_reads_back_as_it_was(steps in proptest::collection::vec((0i64..5, 0i64..3, 1i64..100), 0..50)) {
            let (mut source, mut destination) = (0, 0);
            let mut tail = MapTail::default();
            for (source_gap, destination_gap, count) in steps {
                source += source_gap;
                destination += destination_gap;
                tail.push(Run { source, destination, count });
                source += count;
                destination += count;
            }
            let stored = tail.take_changed(None);
            let runs: Vec<Run> = stored.iter().flat_map(|(_, record)| decode(record)).collect();
            prop_assert!(runs.ends_with(tail.runs()));
            // Neighbours that rise together are one run.
            for pair in runs.windows(2) {
                let gap = (pair[1].source - pair[0].source - pair[0].count, pair[1].destination - pair[0].destination - pair[0].count);
                prop_assert_ne!(gap, (0, 0));
            }
        }

        #[test]
        fn rewinding_forgets_exactly_what_lies_behind(counts in proptest::collection::vec(1i64..20, 1..40), cut in 0i64..400, reload in any::<bool>()) {
            let mut tail = MapTail::default();
            let mut destination = 0;
            let mut all = Vec::new();
            for (index, count) in counts.iter().enumerate() {
                let source = destination + index as i64; // a hole before each run
                tail.push(Run { source, destination, count: *count });
                all.extend((0..*count).map(|n| (source + n, destination + n)));
                destination += count;
            }
            // What was stored before, with what is stored after going back and loading anew in between.
            let mut stored: std::collections::BTreeMap<u32, MapRecord> = tail.take_changed(Some(&anchor(cut))).into_iter().collect();
            if reload {
                tail = MapTail::load(tail.chunk(), Some(&anchor(cut)), |chunk| stored.get(&chunk).map(decode));
            }
            prop_assert!(tail.rewind(&anchor(cut)));
            stored.extend(tail.take_changed(None));
            let left: Vec<_> = stored.range(..=tail.chunk()).flat_map(|(_, record)| decode(record))
                .flat_map(|run| (0..run.count).map(move |n| (run.source + n, run.destination + n))).collect();
            all.retain(|(_, destination)| *destination < cut);
            prop_assert_eq!(left, all);
        }
    }

    /// Without this, a hole in what was stored would stay in the map for ever.
    #[test]
    fn a_map_leads_to_anchors_up_to_its_first_hole() {
        let at = |source_offset, destination_offset, count| Anchor {
            source_offset,
            count,
            ..anchor(destination_offset)
        };
        let anchors = [at(0, 0, 0), at(12, 10, 10), at(30, 25, 25)];
        let map = |runs: &[(i64, i64, i64)]| {
            let run = |(source, destination, count): &(i64, i64, i64)| Run {
                source: *source,
                destination: *destination,
                count: *count,
            };
            MapTail::new(0, runs.iter().map(run).collect())
        };
        let whole = map(&[(2, 0, 10), (15, 10, 15)]);
        assert_eq!(whole.leads_to(&anchors, -1), 3);
        assert_eq!(map(&[(2, 0, 10)]).leads_to(&anchors, -1), 2);
        assert_eq!(map(&[(15, 10, 15)]).leads_to(&anchors, -1), 1);
        assert_eq!(map(&[(2, 0, 10), (15, 10, 10)]).leads_to(&anchors, -1), 2);
        // What lies before was copied to equal offsets, and is not mapped.
        assert_eq!(map(&[(15, 10, 15)]).leads_to(&anchors, 12), 3);
        assert_eq!(MapTail::default().leads_to(&[], -1), 0);
    }

    #[test]
    fn a_full_chunk_is_stored_once_and_the_next_one_grows() {
        let mut tail = MapTail::default();
        for index in 0..=RUNS_PER_CHUNK as i64 {
            tail.push(Run {
                source: index * 2,
                destination: index,
                count: 1,
            });
        }
        let changed = tail.take_changed(None);
        assert_eq!(
            changed
                .iter()
                .map(|(chunk, record)| (*chunk, record.runs.len()))
                .collect::<Vec<_>>(),
            [(0, RUNS_PER_CHUNK), (1, 1)]
        );
        assert!(tail.take_changed(None).is_empty());
        assert_eq!(tail.chunk(), 1);
    }
}
