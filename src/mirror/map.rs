//! The exact offset map of a partition: runs of records whose source and destination offsets rise together.
//!
//! Nothing is left out of it: every record copied lies in one run, so a translation is exact for every
//! offset. It is stored in chunks; only the last one grows, and the others are never written again.

use super::super::control::records::{Anchor, MapRecord, RECORD_VERSION, Run};

/// Runs in a chunk that is closed: some 20 KB of JSON.
pub const RUNS_PER_CHUNK: usize = 1024;

/// The growing end of a partition's offset map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapTail {
    chunk: u32,
    runs: Vec<Run>,
    /// Chunks that were closed since they were last taken for storage.
    closed: Vec<(u32, Vec<Run>)>,
    dirty: bool,
}

impl MapTail {
    pub fn new(chunk: u32, runs: Vec<Run>) -> Self {
        Self {
            chunk,
            runs,
            closed: Vec::new(),
            dirty: false,
        }
    }

    /// The index of the growing chunk.
    pub fn chunk(&self) -> u32 {
        self.chunk
    }

    /// Adds `count` records that follow everything added before.
    pub fn push(&mut self, run: Run) {
        self.dirty = true;
        if let Some(last) = self.runs.last_mut()
            && last.source + last.count == run.source
            && last.destination + last.count == run.destination
        {
            last.count += run.count;
            return;
        }
        if self.runs.len() == RUNS_PER_CHUNK {
            let full = std::mem::take(&mut self.runs);
            self.closed.push((self.chunk, full));
            self.chunk += 1;
        }
        self.runs.push(run);
    }

    /// Forgets what lies at or after the anchor. `false` where that reaches into an earlier chunk,
    /// which has to be read again first.
    #[must_use]
    pub fn rewind(&mut self, anchor: &Anchor) -> bool {
        let end = anchor.destination_offset;
        while let Some(last) = self.runs.last_mut() {
            if last.destination >= end {
                self.runs.pop();
                self.dirty = true;
                continue;
            }
            if last.destination + last.count > end {
                last.count = end - last.destination;
                self.dirty = true;
            }
            return true;
        }
        // The anchor is where this chunk begins, or before it.
        self.chunk == 0
    }

    /// What has to be stored: chunks closed since the last call, and the growing one if it changed.
    pub fn take_changed(&mut self) -> Vec<(u32, MapRecord)> {
        let mut changed: Vec<(u32, MapRecord)> = std::mem::take(&mut self.closed)
            .into_iter()
            .map(|(chunk, runs)| (chunk, encode(&runs)))
            .collect();
        if std::mem::take(&mut self.dirty) {
            changed.push((self.chunk, encode(&self.runs)));
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
            prop_assert_eq!(decode(&encode(tail.runs())), tail.runs());
            // Neighbours that rise together are one run.
            for pair in tail.runs().windows(2) {
                let gap = (pair[1].source - pair[0].source - pair[0].count, pair[1].destination - pair[0].destination - pair[0].count);
                prop_assert_ne!(gap, (0, 0));
            }
        }

        #[test]
        fn rewinding_forgets_exactly_what_lies_behind(counts in proptest::collection::vec(1i64..20, 1..20), cut in 0i64..200) {
            let mut tail = MapTail::default();
            let mut destination = 0;
            let mut all = Vec::new();
            for (index, count) in counts.iter().enumerate() {
                let source = destination + index as i64; // a hole before each run
                tail.push(Run { source, destination, count: *count });
                all.extend((0..*count).map(|n| (source + n, destination + n)));
                destination += count;
            }
            prop_assert!(tail.rewind(&anchor(cut)));
            let left: Vec<_> = tail.runs().iter().flat_map(|run| (0..run.count).map(|n| (run.source + n, run.destination + n))).collect();
            all.retain(|(_, destination)| *destination < cut);
            prop_assert_eq!(left, all);
        }
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
        let changed = tail.take_changed();
        assert_eq!(
            changed
                .iter()
                .map(|(chunk, record)| (*chunk, record.runs.len()))
                .collect::<Vec<_>>(),
            [(0, 1024), (1, 1)]
        );
        assert!(tail.take_changed().is_empty());
        assert_eq!(tail.chunk(), 1);
    }
}
