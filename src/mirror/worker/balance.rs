//! Which partitions should run in another slot: pure decisions.
//!
//! The group hands out slots by their number. Where a few partitions carry most of the bytes, one worker may get
//! them all; then some are moved to slots of a worker with less to do. A move takes two steps, each a change of the
//! record in `_kmirror.links`: first the partition runs nowhere, and once the owner of its former slot has said that it obeys
//! this, it runs in the other slot. So no two workers run it, and where a mistake of membership makes them, the sequence
//! check holds them apart as ever.
//!
//! Moves are rare: only a clear and lasting difference leads to any, only those that make it clearly smaller are made,
//! and never more than a few at a time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::desired::slot_of;
use crate::control::records::{
    IncarnationId, PlacedPartition, RECORD_VERSION, SlotsRecord, WORK_SLOTS,
};
use crate::mirror::io::PartitionKey;

/// Moves in one change.
const MOST_MOVES: usize = 4;
/// A worker has too much when it exceeds the mean by a quarter and by so many bytes a second.
const MARGIN: u64 = 1 << 20;
/// Looks in a row that have to find the same worker with too much.
const PATIENCE: u32 = 3;
/// After a change, nothing more is moved until figures are those of the change.
const REST_MS: i64 = 60_000;
/// How long the owner of a former slot may take to say that it stopped, before the partition stays where it was.
const MOVING_MS: i64 = 60_000;

/// A partition with a share of the work that is worth a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heavy {
    pub id: IncarnationId,
    pub partition: i32,
    /// Bytes a second.
    pub rate: u64,
}

impl Heavy {
    fn key(&self) -> PartitionKey {
        PartitionKey {
            id: self.id,
            partition: self.partition,
        }
    }
}

/// What the owner of a slot says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The owner, by a name that it gave itself.
    pub worker: String,
    pub heavy: Vec<Heavy>,
    /// Whether it does not reach a source of which something is to be copied ([`super::aside`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lacks_source: bool,
}

/// A report, and the generation of the record that the owner obeys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSeen {
    pub obeyed: i64,
    pub report: Report,
}

/// All slots that have an owner.
pub type Slots = BTreeMap<i32, SlotSeen>;

/// Decides over time.
#[derive(Debug, Default)]
pub struct Balancer {
    /// Who had too much at the last looks, and how often in a row.
    burdened: Option<(String, u32)>,
}

impl Balancer {
    /// The record that should be written, if another one should. `exists`: mirrors that there are.
    pub fn next(
        &mut self,
        record: &SlotsRecord,
        seen: &Slots,
        exists: impl Fn(&IncarnationId) -> bool,
        now_ms: i64,
    ) -> Option<SlotsRecord> {
        let change = |placed: Vec<PlacedPartition>| SlotsRecord {
            version: RECORD_VERSION,
            generation: record.generation + 1,
            since_ms: now_ms,
            placed: placed
                .into_iter()
                .filter(|it| exists(&it.id) && (it.from.is_some() || !is_at_home(it)))
                .collect(),
        };
        if record.placed.iter().any(|placed| placed.from.is_some()) {
            return finished(record, seen, now_ms).map(change);
        }
        let burdened = burdened(&loads(seen));
        let times = match (&burdened, &self.burdened) {
            (Some(now), Some((before, times))) if now == before => times + 1,
            _ => 1,
        };
        self.burdened = burdened.map(|worker| (worker, times));
        let is_due = self.burdened.is_some()
            && times >= PATIENCE
            && now_ms.saturating_sub(record.since_ms) >= REST_MS;
        if !is_due {
            return None;
        }
        self.burdened = None;
        let moves = moves(seen);
        if moves.is_empty() {
            return None;
        }
        let mut placed = record.placed.clone();
        placed.retain(|it| {
            let is_same = |to: &PlacedPartition| to.id == it.id && to.partition == it.partition;
            !moves.iter().any(is_same)
        });
        placed.extend(moves);
        Some(change(placed))
    }
}

fn is_at_home(placed: &PlacedPartition) -> bool {
    let key = PartitionKey {
        id: placed.id,
        partition: placed.partition,
    };
    slot_of(&key) == placed.slot
}

/// Ends moves whose former owners obey, and takes back those that wait too long. `None`: nothing to do yet.
fn finished(record: &SlotsRecord, seen: &Slots, now_ms: i64) -> Option<Vec<PlacedPartition>> {
    let is_late = now_ms.saturating_sub(record.since_ms) >= MOVING_MS;
    let mut changed = false;
    let placed = record.placed.iter().map(|placed| {
        let Some(from) = placed.from else {
            return *placed;
        };
        let obeyed = seen
            .get(&from)
            .is_some_and(|slot| slot.obeyed >= record.generation);
        let slot = if obeyed { placed.slot } else { from };
        if !obeyed && !is_late {
            return *placed;
        }
        changed = true;
        PlacedPartition {
            slot,
            from: None,
            ..*placed
        }
    });
    let placed: Vec<PlacedPartition> = placed.collect();
    // One change for all of them, as the generation that is waited for is that of all.
    let waits = placed.iter().any(|placed| placed.from.is_some());
    (changed && !waits).then_some(placed)
}

/// Bytes a second by worker; those with nothing to do included.
fn loads(seen: &Slots) -> BTreeMap<&str, u64> {
    let mut loads = BTreeMap::new();
    for slot in seen.values() {
        let rates = slot.report.heavy.iter().map(|heavy| heavy.rate);
        let load: &mut u64 = loads.entry(slot.report.worker.as_str()).or_default();
        *load = rates.fold(*load, u64::saturating_add);
    }
    loads
}

/// The worker with the most to do, if that is too much.
fn burdened(loads: &BTreeMap<&str, u64>) -> Option<String> {
    let (worker, most) = loads.iter().max_by_key(|(_, load)| **load)?;
    let total = loads
        .values()
        .fold(0_u64, |sum, load| sum.saturating_add(*load));
    let mean = total / u64::try_from(loads.len()).ok()?.max(1);
    let is_too_much = *most
        > mean
            .saturating_add(mean / 4)
            .max(mean.saturating_add(MARGIN));
    (loads.len() > 1 && is_too_much).then(|| (*worker).to_owned())
}

/// The moves that make the work more even: from the worker with the most to the one with the least, each time the partition
/// that makes the larger of both least.
fn moves(seen: &Slots) -> Vec<PlacedPartition> {
    // Without a word of some slots, nobody knows what their owners have to do.
    if seen.len() < usize::try_from(WORK_SLOTS).unwrap_or(usize::MAX) {
        return Vec::new();
    }
    let mut seen = seen.clone();
    let mut moves: Vec<PlacedPartition> = Vec::new();
    while moves.len() < MOST_MOVES {
        let loads = loads(&seen);
        let Some(giver) = burdened(&loads) else {
            break;
        };
        let Some((taker, least)) = loads.iter().min_by_key(|(_, load)| **load) else {
            break;
        };
        let (taker, least) = ((*taker).to_owned(), *least);
        let most = loads[giver.as_str()];
        let owned = seen.iter().filter(|(_, slot)| slot.report.worker == giver);
        let candidates = owned
            .flat_map(|(slot, seen)| seen.report.heavy.iter().map(move |heavy| (*slot, *heavy)));
        let after = |heavy: &Heavy| (most - heavy.rate).max(least.saturating_add(heavy.rate));
        let best = candidates
            // What was moved stays for now.
            .filter(|(_, heavy)| {
                !moves
                    .iter()
                    .any(|it| it.id == heavy.id && it.partition == heavy.partition)
            })
            .min_by_key(|(slot, heavy)| (after(heavy), *slot, heavy.key()));
        let Some((from, heavy)) = best else {
            break;
        };
        if after(&heavy) > most - most / 10 {
            break;
        }
        let load_of = |slot: &SlotSeen| {
            let rates = slot.report.heavy.iter().map(|heavy| heavy.rate);
            rates.fold(0, u64::saturating_add)
        };
        let to = seen
            .iter()
            .filter(|(_, slot)| slot.report.worker == taker)
            .min_by_key(|(slot, seen)| (load_of(seen), **slot))
            .map(|(slot, _)| *slot);
        let Some(to) = to else {
            break;
        };
        if let Some(slot) = seen.get_mut(&from) {
            slot.report.heavy.retain(|it| it.key() != heavy.key());
        }
        if let Some(slot) = seen.get_mut(&to) {
            slot.report.heavy.push(heavy);
        }
        moves.push(PlacedPartition {
            id: heavy.id,
            partition: heavy.partition,
            slot: to,
            from: Some(from),
        });
    }
    moves
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const MB: u64 = 1 << 20;

    fn id() -> IncarnationId {
        IncarnationId {
            link: Uuid::from_u128(1),
            source_topic: Uuid::from_u128(2),
            destination_topic: Uuid::from_u128(3),
        }
    }

    /// Slots in turn for so many workers; partition n has the n-th rate and runs in the slot of its hash.
    fn slots(workers: i32, rates: &[u64]) -> Slots {
        let mut slots: Slots = (0..WORK_SLOTS)
            .map(|slot| {
                let report = Report {
                    worker: format!("w{}", slot % workers),
                    heavy: Vec::new(),
                    lacks_source: false,
                };
                (slot, SlotSeen { obeyed: 0, report })
            })
            .collect();
        for (partition, rate) in (0..).zip(rates) {
            let heavy = Heavy {
                id: id(),
                partition,
                rate: *rate,
            };
            let slot = slots
                .get_mut(&slot_of(&heavy.key()))
                .expect("all are there");
            slot.report.heavy.push(heavy);
        }
        slots
    }

    /// As if the group had carried out a record: partitions stand where it says, and all obey it.
    fn carried_out(seen: &Slots, record: &SlotsRecord) -> Slots {
        let mut seen = seen.clone();
        let all: Vec<Heavy> = seen
            .values_mut()
            .flat_map(|slot| std::mem::take(&mut slot.report.heavy))
            .collect();
        for heavy in all {
            let placed = record
                .placed
                .iter()
                .find(|it| it.id == heavy.id && it.partition == heavy.partition);
            let slot = match placed {
                Some(placed) if placed.from.is_some() => continue,
                Some(placed) => placed.slot,
                None => slot_of(&heavy.key()),
            };
            seen.get_mut(&slot)
                .expect("a slot")
                .report
                .heavy
                .push(heavy);
        }
        for slot in seen.values_mut() {
            slot.obeyed = record.generation;
        }
        seen
    }

    /// Looks until something is to be written or clearly nothing is.
    fn look(
        balancer: &mut Balancer,
        record: &SlotsRecord,
        seen: &Slots,
        now: &mut i64,
    ) -> Option<SlotsRecord> {
        for _ in 0..10 {
            *now += 10_000;
            let next = balancer.next(record, seen, |_| true, *now);
            if next.is_some() {
                return next;
            }
        }
        None
    }

    fn most(seen: &Slots) -> u64 {
        loads(seen).values().copied().max().unwrap_or(0)
    }

    #[test]
    fn heavy_partitions_of_one_worker_are_spread_in_two_steps() {
        // Both in slots of one worker.
        let (a, b) = (0..50)
            .flat_map(|a| (0..a).map(move |b| (a, b)))
            .find(|(a, b)| {
                let slot = |partition| {
                    slot_of(&PartitionKey {
                        id: id(),
                        partition,
                    }) % 2
                };
                slot(*a) == slot(*b)
            })
            .expect("two that meet");
        let mut rates = vec![0; 50];
        rates[usize::try_from(a).expect("small")] = 50 * MB;
        rates[usize::try_from(b).expect("small")] = 50 * MB;
        let seen = slots(2, &rates);
        let (mut balancer, mut now) = (Balancer::default(), 1_000_000);
        let first = SlotsRecord::default();
        let parked = look(&mut balancer, &first, &seen, &mut now).expect("a move");
        assert_eq!(
            (parked.generation, parked.placed.len()),
            (1, 1),
            "{parked:?}"
        );
        let from = parked.placed[0].from.expect("it leaves a slot");
        // Nobody has said that it stopped.
        assert_eq!(balancer.next(&parked, &seen, |_| true, now + 1_000), None);
        let mut obeyed = seen.clone();
        obeyed.get_mut(&from).expect("a slot").obeyed = 1;
        let placed = balancer.next(&parked, &obeyed, |_| true, now + 1_000);
        let placed = placed.expect("the second step");
        assert_eq!((placed.generation, placed.placed[0].from), (2, None));
        assert_eq!(placed.placed[0].slot, parked.placed[0].slot);
        let balanced = carried_out(&seen, &placed);
        assert_eq!(most(&balanced), 50 * MB);
        assert_eq!(look(&mut balancer, &placed, &balanced, &mut now), None);
    }

    /// Its former owner may be gone for good, and nobody would run it.
    #[test]
    fn a_move_that_nobody_confirms_is_taken_back() {
        let placed = PlacedPartition {
            id: id(),
            partition: 7,
            slot: (slot_of(&PartitionKey {
                id: id(),
                partition: 7,
            }) + 1)
                % WORK_SLOTS,
            from: Some(slot_of(&PartitionKey {
                id: id(),
                partition: 7,
            })),
        };
        let record = SlotsRecord {
            generation: 5,
            since_ms: 1_000,
            placed: vec![placed],
            ..SlotsRecord::default()
        };
        let mut balancer = Balancer::default();
        let seen = slots(3, &[]);
        assert_eq!(
            balancer.next(&record, &seen, |_| true, 1_000 + MOVING_MS - 1),
            None
        );
        let back = balancer.next(&record, &seen, |_| true, 1_000 + MOVING_MS);
        // In the slot of its hash it needs no entry.
        assert_eq!(back.expect("taken back").placed, []);
    }

    #[test]
    fn a_short_rush_an_unknown_slot_and_a_lone_worker_move_nothing() {
        let mut rates = vec![0; 30];
        rates[..8].fill(40 * MB);
        let uneven = slots(4, &rates);
        let even = slots(4, &[]);
        let (mut balancer, record) = (Balancer::default(), SlotsRecord::default());
        for turn in 0..20 {
            let seen = if turn % 3 == 2 { &even } else { &uneven };
            assert_eq!(
                balancer.next(&record, seen, |_| true, 1_000_000 + turn),
                None
            );
        }
        let mut now = 2_000_000;
        let mut unknown = uneven.clone();
        unknown.remove(&63);
        assert_eq!(look(&mut balancer, &record, &unknown, &mut now), None);
        let lone = slots(1, &rates);
        assert_eq!(look(&mut balancer, &record, &lone, &mut now), None);
    }

    #[test]
    fn entries_of_mirrors_that_are_gone_leave_with_the_next_change() {
        let gone = IncarnationId {
            link: Uuid::from_u128(9),
            ..id()
        };
        let moving = |id, partition| PlacedPartition {
            id,
            partition,
            slot: 1,
            from: Some(0),
        };
        let record = SlotsRecord {
            generation: 1,
            placed: vec![moving(gone, 0), moving(id(), 1)],
            ..SlotsRecord::default()
        };
        let mut seen = slots(2, &[]);
        seen.get_mut(&0).expect("a slot").obeyed = 1;
        let next = Balancer::default().next(&record, &seen, |it| *it == id(), 5);
        let next = next.expect("the moves end");
        assert!(next.placed.iter().all(|it| it.id == id()), "{next:?}");
    }

    proptest! {
        /// Whatever the rates: few moves, each round makes the most burdened worker's share smaller, and after a few
        /// rounds nothing moves any more.
        #[test]
        fn moves_are_few_help_and_come_to_an_end(
            workers in 1..6_i32,
            rates in proptest::collection::vec(prop_oneof![Just(0), 0..200 * MB], 0..60),
        ) {
            let mut seen = slots(workers, &rates);
            let mut record = SlotsRecord::default();
            let (mut balancer, mut now) = (Balancer::default(), 1_000_000);
            let mut rounds = 0;
            while let Some(parked) = look(&mut balancer, &record, &seen, &mut now) {
                let moved = parked.placed.iter().filter(|it| it.from.is_some()).count();
                prop_assert!((1..=MOST_MOVES).contains(&moved));
                let before = most(&seen);
                let stopped = carried_out(&seen, &parked);
                let placed = balancer
                    .next(&parked, &stopped, |_| true, now + 1)
                    .expect("all obey");
                prop_assert!(placed.placed.iter().all(|it| it.from.is_none() && !is_at_home(it)));
                let after = carried_out(&seen, &placed);
                let total = |seen: &Slots| loads(seen).values().sum::<u64>();
                prop_assert_eq!(total(&after), total(&seen));
                prop_assert!(most(&after) <= before);
                (seen, record) = (after, placed);
                rounds += 1;
                prop_assert!(rounds < 100, "it never rests");
            }
        }
    }
}
