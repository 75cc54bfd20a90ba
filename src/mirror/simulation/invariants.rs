//! What must hold after every step, whatever happened.
//!
//! - What is appended under the mirror's id continues the source's `read_committed` view: the next record after the one before it,
//!   nothing twice, nothing left out but what the cleaner took. It is checked at the leader's log, for every leader,
//!   one that was replaced without knowing it included.
//! - What the mirror takes for confirmed, and what is stored of it, has been below the high watermark.
//! - Anchors are true: between the last record before an anchor and its source offset the source shows nothing. So is the offset map:
//!   each pair that is stored is the source offset of the record at that destination offset.
//! - Where records are marked with where they came from, every one is, and none that came from the destination goes back there.
//! - A failure says what really happened.
//!
//! Less is promised where more is impossible, and then this:
//!
//! - The destination lost what was confirmed (unclean election, power cut of all brokers): anchors and map beyond its end are void. What
//!   is there is still a prefix, but for a window that a leader may take which lost its log and the producer id while
//!   the mirror was idle: nothing of that counts as confirmed, and the mirror stops.
//! - The source was truncated: what was copied before stays; whatever follows is what some version of the source showed next.
//! - The topic at the destination was created anew: the mirror stops. Without topic ids in Produce one window may have
//!   gone to the new topic.
//! - Progress was stored late: pieces of the map may be missing, none is wrong. The mirror may stop where the source has deleted what it
//!   leads back to, from which records would be counted.
//! - Progress was stored by a worker that was not the owner any more (frozen past its session, or two by mistake): stored progress may be
//!   set back or begin too late. The records are exact; the mirror may stop for that.
//! - Two owners at once, with equal offsets: only where no markers are needed, which have no sequence.

use std::rc::Rc;

use bytes::Bytes;

use super::content::{self, Came};
use super::log::{Entry, Reached, Replica, Writer};
use super::plan::Plan;
use super::source::{Fate, Source, View};
use super::world::World;
use crate::control::records::{Anchor, Run};
use crate::mirror::batch::BatchHeader;
use crate::mirror::partition::Failure;

/// What was committed, and what happened to whom.
#[derive(Debug)]
pub struct Judge {
    before: Reached,
    destination_start: i64,
    /// Whether destination offsets have to be those of the source.
    preserve: bool,
    /// A hole has ended that.
    pub translated: bool,
    /// Whether records have to say where they came from.
    provenance: bool,
    highest: i64,
    /// (source offset, destination offset) of every record below the high watermark.
    kept: Vec<(i64, i64)>,
    /// The most there ever were.
    most_kept: usize,
    /// Epoch of the leader that was elected last.
    led_in: i32,
    /// What was kept and lost again.
    lost: std::collections::HashSet<(i64, i64)>,
    pub foreign_written: bool,
    pub fenced: bool,
    pub destination_lost: bool,
    pub destination_recreated: bool,
    pub source_expired: bool,
    pub source_truncated: bool,
    pub source_recreated: bool,
    pub source_compacted: bool,
    pub limited: bool,
    /// The destination's beginning was deleted.
    pub cleared: bool,
    /// Progress was stored late.
    pub stored_late: bool,
    /// Progress was stored by a worker that was not the owner.
    pub unfenced: bool,
}

impl Judge {
    pub fn new(plan: &Plan) -> Self {
        let source = if plan.start_known {
            plan.source_start - 1
        } else {
            -1
        };
        Self {
            before: Reached {
                count: plan.written_before,
                source,
                gap: false,
            },
            destination_start: plan.destination_start,
            preserve: plan.preserve,
            translated: false,
            provenance: plan.provenance,
            highest: plan.destination_start,
            kept: Vec::new(),
            most_kept: 0,
            led_in: 0,
            lost: std::collections::HashSet::new(),
            foreign_written: false,
            fenced: false,
            destination_lost: false,
            destination_recreated: false,
            source_expired: false,
            source_truncated: false,
            source_recreated: false,
            source_compacted: false,
            limited: false,
            cleared: false,
            stored_late: false,
            unfenced: false,
        }
    }

    /// A leader appends a batch of the mirror after `reached`: which records of the source these are.
    pub fn appended(
        &mut self,
        reached: Reached,
        header: &BatchHeader,
        batch: &Bytes,
        source: &Source,
    ) -> (Reached, Rc<[i64]>) {
        let records = content::records(header, batch);
        let (mut last, mut gap) = (reached.source, reached.gap);
        let mut sources = Vec::with_capacity(records.len());
        for (index, (delta, id, came)) in records.iter().enumerate() {
            assert_eq!(
                *delta, index as i64,
                "records of a batch are numbered without gaps"
            );
            let first = last == self.before.source;
            if id.number == content::NO_VALUE {
                if self.preserve && self.destination_lost {
                    // What was copied is lost with the filler, or is deleted with what takes its place.
                    (last, gap) = (self.before.source, false);
                } else {
                    assert!(
                        self.preserve && first,
                        "filler comes before the first record alone"
                    );
                }
                sources.push(last);
                continue;
            }
            let expected = match self.provenance {
                true => Came::FromSource,
                false => Came::Unmarked,
            };
            assert_eq!(*came, expected, "{id:?} says where it came from");
            let views = std::iter::once(&source.view).chain(source.former_views.iter().rev());
            let found = views
                .map(|view| next_is(view, last, *id, first))
                .find_map(Result::ok);
            let Some(offset) = found else {
                if self.destination_recreated {
                    // Nothing is promised of what went to the new topic by the old name.
                    sources.push(last);
                    continue;
                }
                let expected = next_is(&source.view, last, *id, first);
                let ahead = source.view.records[source.view.at(last + 1)..]
                    .iter()
                    .chain(source.view.records.iter().filter(|_| self.source_truncated))
                    .find(|record| record.id == *id);
                if let Some(ahead) =
                    ahead.filter(|_| self.destination_lost || self.source_truncated)
                {
                    // After a truncation it goes on where it was, whatever stands there since.
                    gap |= self.destination_lost;
                    last = ahead.offset;
                    sources.push(last);
                    continue;
                }
                panic!(
                    "the destination gets {id:?} after source offset {last}, where the source has {expected:?} next"
                );
            };
            last = offset;
            sources.push(offset);
            assert!(
                !self.preserve
                    || self.translated
                    || gap
                    || self.foreign_written
                    || self.destination_lost
                    || self.destination_recreated
                    || offset == header.base_offset + delta,
                "source offset {offset} is written at {}",
                header.base_offset + delta
            );
        }
        let after = Reached {
            count: reached.count + records.len() as i64,
            source: last,
            gap,
        };
        (after, sources.into())
    }

    /// A marker takes up an offset of the destination: the source has no record there.
    pub fn marked(&self, offset: i64, source: &Source) {
        let found = source.view.there(offset);
        if found.is_none() && offset < source.last_stable_offset() {
            return;
        }
        assert!(
            self.source_truncated
                || self.source_recreated
                || self.destination_recreated
                || self.destination_lost
                || self.foreign_written
                || self.fenced,
            "a marker is written at {offset}, where the source has {found:?}"
        );
    }

    /// The mirror takes itself for complete: where offsets are equal, no marker has taken the place of a record.
    pub fn completed(&self, replica: &Replica, source: &Source) {
        if !self.preserve || self.destination_recreated || self.source_changed() {
            return;
        }
        let mut markers = replica.log.iter();
        let displaced = markers.find(|entry| {
            entry.writer == Writer::Marker
                && entry.base >= replica.start
                && source.view.there(entry.base).is_some()
        });
        if let Some(marker) = displaced {
            panic!(
                "a marker lies at {}, where the source has a record, and the mirror goes on",
                marker.base
            );
        }
    }

    /// The high watermark of a leader has moved, who leads in `epoch`.
    pub fn committed(&mut self, replica: &Replica, epoch: i32) {
        self.highest = self.highest.max(replica.high_watermark);
        if self.destination_lost && epoch < self.led_in {
            // It was replaced by one that has less, and does not know it yet: what it commits is lost already.
            let below = |entry: &&Rc<Entry>| entry.next <= replica.high_watermark;
            if let Some(last) = replica.log.iter().rev().find(below) {
                let records = last.after.count - self.before.count;
                self.most_kept = self.most_kept.max(records.max(0) as usize);
            }
            return;
        }
        let from = replica.log.partition_point(|entry| {
            entry.after.count <= self.before.count + self.kept.len() as i64
        });
        for entry in &replica.log[from..] {
            if entry.next > replica.high_watermark {
                break;
            }
            if entry.writer != Writer::Mirror {
                continue;
            }
            let first = entry.after.count - entry.sources.len() as i64;
            assert_eq!(
                first,
                self.before.count + self.kept.len() as i64,
                "what is committed follows what was committed before"
            );
            for (index, offset) in entry.sources.iter().enumerate() {
                self.kept.push((*offset, entry.base + index as i64));
            }
        }
        self.most_kept = self.most_kept.max(self.kept.len());
    }

    /// A broker has become leader.
    pub fn led_by(&mut self, replica: &Replica, epoch: i32) {
        self.led_in = epoch;
        let has = (replica.reached().count - self.before.count).max(0) as usize;
        if has < self.kept.len() {
            assert!(
                self.destination_lost || self.destination_recreated,
                "the model lost records that were committed"
            );
            self.lost.extend(self.kept.drain(has..));
        }
        if self.destination_lost {
            self.take_for_kept(replica);
        }
    }

    /// After a loss, what is committed is what the new leader says: records that are back with it, or what it took since.
    fn take_for_kept(&mut self, replica: &Replica) {
        let before = std::mem::take(&mut self.kept);
        self.lost.extend(&before);
        for entry in &replica.log {
            let was_kept = entry.after.count - self.before.count <= before.len() as i64;
            if entry.next > replica.high_watermark && !was_kept {
                break;
            }
            for (index, offset) in entry.sources.iter().enumerate() {
                self.kept.push((*offset, entry.base + index as i64));
            }
        }
        self.most_kept = self.most_kept.max(self.kept.len());
    }

    /// The destination topic is a new one.
    pub fn start_over(&mut self) {
        self.kept.clear();
        self.before = Reached::NOTHING;
    }

    /// The mirror takes everything before this anchor for copied.
    pub fn confirmed(&self, anchor: &Anchor, source: &Source) {
        if anchor.source_offset >= 0 && !(self.unfenced && anchor.count == self.before.count) {
            self.check_anchor(anchor, source, "confirmed");
        }
    }

    pub fn stored_anchor(&self, anchor: &Anchor, source: &Source) {
        if self.unfenced {
            return;
        }
        self.check_anchor(anchor, source, "stored");
    }

    fn check_anchor(&self, anchor: &Anchor, source: &Source, what: &str) {
        if self.destination_recreated {
            return;
        }
        let translated = self.translated && anchor.source_offset != anchor.destination_offset;
        if self.preserve && !translated {
            return self.check_equal(anchor, source, what);
        }
        let records = anchor.count - self.before.count;
        assert!(records >= 0, "{what}: {anchor:?} lies before the beginning");
        let records = records as usize;
        if records > self.kept.len() {
            assert!(
                self.destination_lost && records <= self.most_kept,
                "{what}: {anchor:?}, while only {} records are below the high watermark",
                self.kept.len()
            );
            return;
        }
        let (last, destination) = match records.checked_sub(1) {
            None => (self.before.source, self.destination_start),
            Some(last) => (self.kept[last].0, self.kept[last].1 + 1),
        };
        assert!(
            destination == anchor.destination_offset
                // Markers lie between.
                || (translated && destination < anchor.destination_offset)
                || self.foreign_written
                || self.fenced,
            "{what}: {anchor:?} belongs to destination offset {destination}"
        );
        assert!(
            // Of records that look alike, an expired one may have been meant. Of what was lost, something else may have taken
            // the place.
            anchor.source_offset > last
                || self.source_truncated
                || self.source_expired
                || !self.lost.is_empty(),
            "{what}: {anchor:?}, while source offset {last} is among its records"
        );
        if !source.former_views.is_empty() || anchor.source_offset <= last {
            return;
        }
        let view = &source.view;
        let between = &view.records[view.at(last + 1)..view.at(anchor.source_offset)];
        if let Some(skipped) = between.iter().find(|record| record.fate == Fate::There) {
            panic!("{what}: {anchor:?} steps over {skipped:?}");
        }
    }

    /// Where offsets are kept, the destination's end is the position.
    fn check_equal(&self, anchor: &Anchor, source: &Source, what: &str) {
        assert_eq!(
            anchor.source_offset, anchor.destination_offset,
            "{what}: {anchor:?} is of different offsets"
        );
        let end = anchor.destination_offset;
        assert!(
            end <= self.highest,
            "{what}: {anchor:?}, while the high watermark is {}",
            self.highest
        );
        if self.destination_lost || self.foreign_written || self.source_changed() {
            return;
        }
        if self.translated {
            // Looked at as what it was before.
            return;
        }
        let kept = self.kept.partition_point(|(_, kept)| *kept < end);
        let last = kept.checked_sub(1).map_or(-1, |last| self.kept[last].0);
        let view = &source.view;
        let between = &view.records[view.at(last + 1)..view.at(end)];
        if let Some(skipped) = between.iter().find(|record| record.fate == Fate::There) {
            panic!("{what}: {anchor:?} steps over {skipped:?}");
        }
    }

    pub fn stored_map(&self, runs: &[Run]) {
        if self.destination_recreated || self.unfenced {
            return;
        }
        for run in runs {
            let first = self
                .kept
                .partition_point(|(_, kept)| *kept < run.destination);
            for index in 0..run.count {
                let (source, destination) = (run.source + index, run.destination + index);
                match self.kept.get(first + index as usize) {
                    Some((of, kept)) if *kept == destination => assert!(
                        // What was true when it was confirmed is stored a little later.
                        *of == source
                            || self.source_changed()
                            || self.lost.contains(&(source, destination)),
                        "the map says that {destination} is source offset {source}, it is {of}"
                    ),
                    _ => assert!(
                        self.destination_lost,
                        "the map has {run:?}, and {destination} is not below the high watermark"
                    ),
                }
            }
        }
    }

    /// Whether the source showed different things at different times.
    pub fn source_changed(&self) -> bool {
        self.source_compacted || self.source_truncated || self.source_recreated
    }

    /// The mirror stands still: is it for the reason that it names?
    pub fn failed(&self, failure: &Failure, source: &Source) {
        let is_true = match failure {
            // Only where others may write.
            Failure::Scattered { .. } => false,
            Failure::ForeignWrite { .. } => self.foreign_written || self.unfenced,
            Failure::Fenced { .. } => self.fenced,
            Failure::DestinationCutBack { .. } => {
                self.destination_lost || self.destination_recreated
            }
            // A first anchor of two owners may be stored behind the other's records.
            Failure::DestinationTooShort { .. } => {
                self.destination_lost || self.destination_recreated || self.unfenced
            }
            Failure::Uncountable { .. } => self.cleared,
            Failure::Displaced { .. } => {
                self.destination_lost || self.foreign_written || self.source_changed()
            }
            Failure::MapTooShort { .. } => self.stored_late || self.unfenced,
            // With equal offsets a record of somebody else, or one that is gone, shifts those that come after it.
            Failure::NotACopy { .. } => {
                let shifted = self.foreign_written || self.destination_lost;
                // Of two owners one has stored a start behind the other's records.
                let moved = self.unfenced && self.source_expired;
                self.source_changed() || moved || self.preserve && shifted
            }
            // Progress that was set back leads to what retention took since; of two owners one may have seen the start move
            // before the other's first record.
            Failure::SourceExpired { to, .. } | Failure::SourceExpiredUncounted { to, .. } => {
                let set_back = self.stored_late || self.unfenced;
                *to <= source.start && (self.source_expired || set_back)
            }
            Failure::SourceTruncated { .. } => self.source_truncated,
            Failure::SourceDiverged { .. } | Failure::SourceUndecided { .. } => {
                self.source_truncated
            }
            Failure::SourceCutBack { .. } => self.source_truncated || self.source_compacted,
            Failure::SourceUncompared { .. } => self.cleared && self.source_truncated,
            Failure::SourceRecreated { .. } => self.source_recreated,
            Failure::DestinationRecreated { .. } => self.destination_recreated,
            Failure::Refused { code, .. } => match code.0 {
                10 => self.limited,
                47 => self.fenced,
                100 => self.destination_recreated,
                _ => false,
            },
            Failure::CannotAlign { .. } => self.foreign_written || self.fenced || self.unfenced,
            Failure::HoleTooLarge { .. }
            | Failure::CannotPad { .. }
            | Failure::SourceDeleted { .. }
            | Failure::DestinationDeleted { .. }
            | Failure::Unreadable(_)
            | Failure::Call { .. } => false,
        };
        assert!(is_true, "the mirror failed for no true reason: {failure}");
    }

    /// Everything that is stored once the mirror has stopped in good order.
    fn check_store(&self, anchor: Option<&Anchor>, runs: &[Run], translated_from: Option<i64>) {
        let count = self.before.count + self.kept.len() as i64;
        let anchor = anchor.expect("a mirror that stopped has stored where it is");
        self.stored_map(runs);
        let was_equal = self.preserve && translated_from.is_none();
        if self.stored_late || self.unfenced || self.destination_recreated || was_equal {
            return;
        }
        assert_eq!(
            anchor.count, count,
            "the last anchor is where the mirror is"
        );
        let mapped: i64 = runs.iter().map(|run| run.count).sum();
        let to_map = self.kept.iter();
        let to_map =
            to_map.filter(|(source, _)| translated_from.is_none_or(|from| *source >= from));
        assert_eq!(
            mapped,
            to_map.count() as i64,
            "the map covers every record: {runs:?}"
        );
    }
}

/// Source offset of the record that comes after `last`, if it is `id`; else what does come.
fn next_is(
    view: &View,
    last: i64,
    id: content::RecordId,
    first: bool,
) -> Result<i64, Option<super::source::Visible>> {
    let mut gone = None;
    for record in &view.records[view.at(last + 1)..] {
        // Of two that look alike, one that is still there is meant.
        if record.id == id && first && record.fate != Fate::There {
            gone = gone.or(Some(record.offset));
        } else if record.id == id {
            return Ok(record.offset);
        }
        let may_be_missing = match record.fate {
            Fate::There => false,
            Fate::Compacted => true,
            // What expired before anything was copied is no gap.
            Fate::Expired => first,
        };
        if !may_be_missing {
            return gone.ok_or(Some(*record));
        }
    }
    gone.ok_or(None)
}

impl World {
    pub fn check_store(&self) {
        let runs: Vec<Run> = self.store.map().copied().collect();
        let from = self.store.translated_from();
        self.judge
            .check_store(self.store.anchors.last(), &runs, from);
    }
}
