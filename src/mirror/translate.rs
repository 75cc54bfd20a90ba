//! Which offset of one side corresponds to which of the other: a pure function of what is stored of a partition.

use crate::control::records::{Alignment, Anchor, Run};

/// What is stored of the offsets of one partition.
#[derive(Clone, Debug)]
pub struct OffsetView {
    pub alignment: Alignment,
    /// The position up to which records were copied.
    pub position: Anchor,
    /// The exact map, ascending, without what lies behind the position.
    pub runs: Vec<Run>,
}

/// Which way an offset is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToDestination,
    ToSource,
}

/// The corresponding offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translated {
    /// The same record, or the end of what was copied.
    Same(i64),
    /// The offset has no record on the other side; this is the next one that has.
    Next(i64),
    /// Nothing there was copied yet; it was up to this offset.
    NotYet { copied_to: i64 },
}

impl OffsetView {
    /// The runs of all chunks, ascending, cut at the position.
    pub fn new(alignment: Alignment, position: Anchor, mut runs: Vec<Run>) -> Self {
        runs.retain_mut(|run| {
            run.count = run.count.min(position.destination_offset - run.destination);
            run.count > 0
        });
        Self {
            alignment,
            position,
            runs,
        }
    }

    /// The offset on the other side that a consumer would go on at to miss nothing and repeat nothing.
    pub fn translate(&self, direction: Direction, offset: i64) -> Translated {
        let ends = (
            self.position.source_offset,
            self.position.destination_offset,
        );
        let (from_end, to_end) = match direction {
            Direction::ToDestination => ends,
            Direction::ToSource => (ends.1, ends.0),
        };
        if offset > from_end {
            return Translated::NotYet {
                copied_to: from_end,
            };
        }
        let equal_before = match self.alignment {
            Alignment::Equal { .. } => return Translated::Same(offset),
            Alignment::Translated { equal_before } => equal_before.unwrap_or(0),
        };
        if offset < equal_before {
            return Translated::Same(offset);
        }
        if offset == from_end {
            return Translated::Same(to_end);
        }
        let sides = |run: &Run| match direction {
            Direction::ToDestination => (run.source, run.destination),
            Direction::ToSource => (run.destination, run.source),
        };
        let index = self
            .runs
            .partition_point(|run| sides(run).0 + run.count <= offset);
        match self.runs.get(index).map(sides) {
            Some((from, to)) if from <= offset => Translated::Same(to + (offset - from)),
            Some((_, to)) => Translated::Next(to),
            None => Translated::Next(to_end),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(source_offset: i64, destination_offset: i64) -> Anchor {
        Anchor {
            source_offset,
            source_leader_epoch: -1,
            destination_offset,
            count: destination_offset,
            epoch: 0,
        }
    }

    #[test]
    fn equal_offsets_are_equal_as_far_as_they_were_copied() {
        let alignment = Alignment::Equal {
            start: 40,
            fill: crate::control::records::FillWay::Records,
            filling: false,
        };
        let view = OffsetView::new(alignment, position(100, 100), Vec::new());
        for direction in [Direction::ToDestination, Direction::ToSource] {
            assert_eq!(view.translate(direction, 73), Translated::Same(73));
            assert_eq!(view.translate(direction, 100), Translated::Same(100));
            let behind = Translated::NotYet { copied_to: 100 };
            assert_eq!(view.translate(direction, 101), behind);
        }
    }

    #[test]
    fn after_a_large_hole_offsets_come_from_the_map() {
        let alignment = Alignment::Translated {
            equal_before: Some(50),
        };
        let runs = vec![Run {
            source: 5_000_000,
            destination: 50,
            count: 10,
        }];
        let view = OffsetView::new(alignment, position(5_000_010, 60), runs);
        let there = |offset| view.translate(Direction::ToDestination, offset);
        let back = |offset| view.translate(Direction::ToSource, offset);
        assert_eq!(there(49), Translated::Same(49));
        assert_eq!(there(50), Translated::Next(50));
        assert_eq!(there(5_000_003), Translated::Same(53));
        assert_eq!(there(5_000_010), Translated::Same(60));
        assert_eq!(back(49), Translated::Same(49));
        assert_eq!(back(50), Translated::Same(5_000_000));
        assert_eq!(back(60), Translated::Same(5_000_010));
    }

    proptest! {
        /// A group that goes on at a translated offset must get the record that it would have got next.
        #[test]
        fn every_record_translates_there_and_back(
            steps in proptest::collection::vec((0i64..5, 1i64..20), 1..40),
            first in 0i64..1000,
        ) {
            let (mut source, mut destination) = (first, 0);
            let mut runs = Vec::new();
            let mut pairs = Vec::new();
            for (hole, count) in steps {
                source += hole;
                runs.push(Run { source, destination, count });
                pairs.extend((0..count).map(|n| (source + n, destination + n)));
                source += count;
                destination += count;
            }
            let alignment = Alignment::Translated { equal_before: None };
            let view = OffsetView::new(alignment, position(source, destination), runs);
            for (source, destination) in &pairs {
                prop_assert_eq!(view.translate(Direction::ToDestination, *source), Translated::Same(*destination));
                prop_assert_eq!(view.translate(Direction::ToSource, *destination), Translated::Same(*source));
            }
            for offset in 0..source {
                let next = pairs.iter().find(|(source, _)| *source >= offset).expect("it ends with a record").1;
                let (Translated::Same(found) | Translated::Next(found)) = view.translate(Direction::ToDestination, offset) else {
                    panic!("{offset} was copied");
                };
                prop_assert_eq!(found, next);
            }
        }
    }
}
