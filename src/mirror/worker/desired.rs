//! Which partitions have to run: a pure function of what was applied and what the clusters have.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::control::records::{
    Acks, DesiredState, EndingKind, ForeignWrites, LinkRecord, MirrorRecord, OffsetsSpec,
    SlotsRecord, StartSpec, TimestampsSpec, WORK_SLOTS,
};
use crate::control::store::ControlState;
use crate::mirror::batch::provenance::Provenance;
use crate::mirror::io::PartitionKey;

/// What a partition that runs is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    Copy,
    /// Keep its position.
    Rest,
    /// Copy what the source has, then stop: its mirror is promoted.
    Drain,
}

/// One partition that has to run, here or at another worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub link: String,
    pub source_cluster_id: String,
    pub source_topic: String,
    pub destination_topic: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub start: StartSpec,
    pub timestamps: TimestampsSpec,
    pub offsets: OffsetsSpec,
    pub foreign_writes: ForeignWrites,
    pub provenance: Option<Provenance>,
    pub acks: Acks,
    pub aim: Aim,
}

/// All partitions of all mirrors that copy: those that have ended or are failed over do not. `partitions` says how many a mirror can copy just now: the smaller count
/// of its two topics, or `None` while one of them is not there.
pub fn partitions(
    state: &ControlState,
    partitions: impl Fn(&LinkRecord, &MirrorRecord) -> Option<i32>,
) -> BTreeMap<PartitionKey, Wanted> {
    let mut wanted = BTreeMap::new();
    for mirror in state.mirrors.values() {
        let Some(link) = state.links.get(&mirror.id.link) else {
            continue;
        };
        let (Some(aim), Some(count)) = (aim(link, mirror), partitions(link, mirror)) else {
            continue;
        };
        for partition in 0..count {
            let key = PartitionKey {
                id: mirror.id,
                partition,
            };
            wanted.insert(key, wanted_partition(link, mirror, partition, aim));
        }
    }
    wanted
}

/// What is to be done with the source of a mirror; `None` where nothing is copied any more.
pub fn aim(link: &LinkRecord, mirror: &MirrorRecord) -> Option<Aim> {
    if mirror.has_not_taken_over() {
        return None;
    }
    match &mirror.ending {
        Some(ending) if ending.is_over() || ending.kind == EndingKind::FailOver => None,
        // Also where it was paused: it is to have all that the source has.
        Some(ending) if ending.waits_for_source() => Some(Aim::Copy),
        Some(_) => Some(Aim::Drain),
        None if [link.state, mirror.state].contains(&DesiredState::Paused) => Some(Aim::Rest),
        None => Some(Aim::Copy),
    }
}

fn wanted_partition(link: &LinkRecord, mirror: &MirrorRecord, partition: i32, aim: Aim) -> Wanted {
    Wanted {
        link: link.name.clone(),
        source_cluster_id: link.source_cluster_id.clone(),
        source_topic: mirror.source_topic.clone(),
        destination_topic: mirror.destination_topic.clone(),
        producer_id: mirror.producer_id,
        producer_epoch: mirror.producer_epoch,
        // What a partition added later holds was written after the link began.
        start: if partition < mirror.initial_partitions {
            link.start
        } else {
            StartSpec::Earliest
        },
        timestamps: link.timestamps,
        offsets: link.offsets,
        foreign_writes: link.on_foreign_write,
        provenance: mirror.provenance_header.then(|| {
            Provenance::new(
                (&link.source_cluster_id, &mirror.source_topic),
                (&link.destination_cluster_id, &mirror.destination_topic),
            )
        }),
        acks: match link.on_foreign_write {
            ForeignWrites::Stop => link.acks,
            // Above the high watermark somebody else's record may take the place of one that was acknowledged.
            ForeignWrites::Translate => Acks::All,
        },
        aim,
    }
}

/// In which slot each partition runs.
#[derive(Clone, Debug, Default)]
pub struct SlotMap {
    /// `None`: in none, while it changes its slot.
    placed: HashMap<PartitionKey, Option<i32>>,
}

impl SlotMap {
    pub fn new(record: &SlotsRecord) -> Self {
        let placed = record.placed.iter().map(|placed| {
            let key = PartitionKey {
                id: placed.id,
                partition: placed.partition,
            };
            (key, placed.from.is_none().then_some(placed.slot))
        });
        Self {
            placed: placed.collect(),
        }
    }

    /// The slot, or `None` while no worker may run the partition.
    pub fn slot(&self, key: &PartitionKey) -> Option<i32> {
        match self.placed.get(key) {
            Some(placed) => *placed,
            None => Some(slot_of(key)),
        }
    }
}

/// How many partitions of each link are to be copied.
pub fn active_by_link(wanted: &BTreeMap<PartitionKey, Wanted>) -> BTreeMap<Uuid, usize> {
    let mut counts = BTreeMap::new();
    for (key, wanted) in wanted {
        if wanted.aim != Aim::Rest {
            *counts.entry(key.id.link).or_default() += 1;
        }
    }
    counts
}

/// What a worker that has `mine` of `all` partitions of a link may read of it, in bytes a second. The parts of all workers
/// add up to the limit, without a word between them.
pub fn part_of(limit: u64, mine: usize, all: usize) -> f64 {
    limit as f64 * mine as f64 / all.max(mine).max(1) as f64
}

/// The slot that a partition belongs to unless it was moved: the same for every worker and for ever.
pub fn slot_of(key: &PartitionKey) -> i32 {
    let text = format!("{}/{}", key.id, key.partition);
    let slots = u32::try_from(WORK_SLOTS).expect("there are some slots");
    i32::try_from(crc32c::crc32c(text.as_bytes()) % slots)
        .expect("a slot is less than their number")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::records::IncarnationId;

    /// Without this, workers would read more than the link's limit together, or less.
    #[test]
    fn the_parts_of_all_workers_are_the_limit() {
        for owners in [vec![4], vec![1, 3], vec![2, 2, 2, 1], vec![0, 7]] {
            let all = owners.iter().sum();
            let sum: f64 = owners
                .iter()
                .map(|mine| part_of(200_000_000, *mine, all))
                .sum();
            assert!((sum - 200e6).abs() < 1.0, "{owners:?}: {sum}");
        }
    }

    #[test]
    fn a_partition_keeps_its_slot() {
        let id = IncarnationId {
            link: Uuid::from_u128(1),
            source_topic: Uuid::from_u128(2),
            destination_topic: Uuid::from_u128(3),
        };
        let slots: Vec<i32> = (0..4)
            .map(|partition| slot_of(&PartitionKey { id, partition }))
            .collect();
        assert!(slots.iter().all(|slot| (0..WORK_SLOTS).contains(slot)));
        // Other workers of another version must agree, or two would copy one partition.
        assert_eq!(slots, [40, 43, 31, 28]);
    }
}
