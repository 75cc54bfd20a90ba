//! What workers have copied, in `_kmirror.offsets`.
//!
//! All records of one mirror partition stand in one partition of the topic, in the order in which
//! they were written: those of one [`write`] are one batch there, which is kept or lost as a whole.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use serde::Serialize;

use super::error::ControlError;
use super::log::{Follower, KeyValue, batch, together};
use super::records::{
    FailureRecord, IncarnationId, MapRecord, OFFSETS_PARTITIONS, OFFSETS_TOPIC, OffsetsKey,
    PartitionEndRecord, ProgressRecord,
};
use super::store::{json, key_of, value_of};
use crate::kafka::produce::{ProduceBatch, produce};
use crate::kafka::{Client, Error, Operation, Target};

const PRODUCE_TIMEOUT_MS: i32 = 10_000;

/// A value in `_kmirror.offsets`.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Entry {
    Map(MapRecord),
    Progress(ProgressRecord),
    Failure(FailureRecord),
    End(PartitionEndRecord),
}

/// How far one partition of a mirror has come.
#[derive(Clone, Debug)]
pub struct Stored {
    pub record: ProgressRecord,
    /// The offset map, by chunk.
    pub chunks: HashMap<u32, MapRecord>,
}

/// All that is stored of one partition of a mirror.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// `None` where nothing was ever copied.
    pub progress: Option<Stored>,
    /// Why it stands still.
    pub failure: Option<FailureRecord>,
    /// How far its promotion or failover has come.
    pub end: Option<PartitionEndRecord>,
}

/// Writes progress; `None` removes a record. Returns once all in-sync replicas have it.
///
/// What belongs to one mirror partition is written in one batch, if it fits; map pieces go before the progress that relies on
/// them. Writes of the same keys must not overlap in
/// time: the last one to arrive counts.
///
/// # Errors
/// The first one that lasts. Other partitions' records may have been written then; writing the same
/// again does no harm.
pub async fn write(
    client: &Client,
    entries: &[(OffsetsKey, Option<Entry>)],
) -> Result<(), ControlError> {
    write_while(client, entries, &|| true).await?;
    Ok(())
}

/// As [`write`], as long as `may_write` says so, which is asked right before each batch leaves: a process may be frozen at any
/// moment, and must not set back what somebody else stored since. `false`: some of it was not sent.
///
/// # Errors
/// As [`write`].
pub async fn write_while(
    client: &Client,
    entries: &[(OffsetsKey, Option<Entry>)],
    may_write: &(dyn Fn() -> bool + Sync),
) -> Result<bool, ControlError> {
    let mut groups: HashMap<(IncarnationId, i32), Vec<KeyValue>> = HashMap::new();
    let (maps, progress): (Vec<_>, Vec<_>) = entries
        .iter()
        .partition(|(key, _)| matches!(key, OffsetsKey::Map { .. }));
    for (key, value) in maps.into_iter().chain(progress) {
        let record = (json(key), value.as_ref().map(json));
        groups.entry(owner_of(key)).or_default().push(record);
    }
    let mut partitions: HashMap<i32, Vec<Vec<KeyValue>>> = HashMap::new();
    for (owner, records) in groups {
        partitions
            .entry(partition_of(owner))
            .or_default()
            .push(records);
    }
    let writes = partitions
        .into_iter()
        .map(|(partition, groups)| write_partition(client, partition, together(groups), may_write));
    let mut all = true;
    for outcome in join_all(writes).await {
        all &= outcome?;
    }
    Ok(all)
}

/// Reads what is stored of some mirrors, all their partitions.
///
/// # Errors
/// See [`ControlError`].
pub async fn read(
    client: &Client,
    ids: &HashSet<IncarnationId>,
) -> Result<HashMap<(IncarnationId, i32), Kept>, ControlError> {
    let partitions =
        (0..OFFSETS_PARTITIONS).map(|partition| read_partition(client, partition, ids));
    let parts = try_join_all(partitions).await?;
    Ok(parts.into_iter().flatten().collect())
}

/// What partitions have said of their ends, followed as it is stored.
#[derive(Debug)]
pub struct Ends {
    followers: Vec<Follower>,
    /// Of each partition of the topic.
    ends: Vec<HashMap<(IncarnationId, i32), PartitionEndRecord>>,
}

impl Ends {
    pub fn new(client: &Client) -> Self {
        let partitions = 0..OFFSETS_PARTITIONS;
        Self {
            followers: partitions
                .clone()
                .map(|partition| Follower::new(client, OFFSETS_TOPIC, partition))
                .collect(),
            ends: partitions.map(|_| HashMap::new()).collect(),
        }
    }

    /// Reads what was stored before the call and is new.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn catch_up(&mut self) -> Result<(), ControlError> {
        let parts = self.followers.iter_mut().zip(&mut self.ends);
        try_join_all(parts.map(|(follower, ends)| follow_ends(follower, ends))).await?;
        Ok(())
    }

    /// What was said last of a partition.
    pub fn of(&self, id: IncarnationId, partition: i32) -> Option<&PartitionEndRecord> {
        let key = (id, partition);
        self.ends.iter().find_map(|ends| ends.get(&key))
    }
}

async fn follow_ends(
    follower: &mut Follower,
    ends: &mut HashMap<(IncarnationId, i32), PartitionEndRecord>,
) -> Result<(), ControlError> {
    follower
        .catch_up(|polled| {
            if polled.restarted {
                ends.clear();
            }
            for entry in polled.entries {
                let key = key_of::<OffsetsKey>(OFFSETS_TOPIC, &entry)?;
                if let Some(OffsetsKey::End { id, partition }) = key {
                    match value_of(OFFSETS_TOPIC, &entry)? {
                        Some(end) => drop(ends.insert((id, partition), end)),
                        None => drop(ends.remove(&(id, partition))),
                    }
                }
            }
            Ok(())
        })
        .await
}

/// Removes all that is stored of some mirrors.
///
/// # Errors
/// The first one that lasts; doing it again does no harm.
pub async fn forget(client: &Client, ids: &[IncarnationId]) -> Result<(), ControlError> {
    let stored = read(client, &ids.iter().copied().collect()).await?;
    let mut entries = Vec::new();
    for ((id, partition), kept) in stored {
        if let Some(progress) = kept.progress {
            entries.push((OffsetsKey::Progress { id, partition }, None));
            for chunk in progress.chunks.into_keys() {
                let key = OffsetsKey::Map {
                    id,
                    partition,
                    chunk,
                };
                entries.push((key, None));
            }
        }
        if kept.failure.is_some() {
            entries.push((OffsetsKey::Failure { id, partition }, None));
        }
        if kept.end.is_some() {
            entries.push((OffsetsKey::End { id, partition }, None));
        }
    }
    write(client, &entries).await
}

/// The mirror partition that a key belongs to.
fn owner_of(key: &OffsetsKey) -> (IncarnationId, i32) {
    let (OffsetsKey::Progress { id, partition }
    | OffsetsKey::Map { id, partition, .. }
    | OffsetsKey::Failure { id, partition }
    | OffsetsKey::End { id, partition }) = key;
    (*id, *partition)
}

/// Where the records of a mirror partition stand.
fn partition_of((id, partition): (IncarnationId, i32)) -> i32 {
    let hash = crc32c::crc32c(format!("{id}/{partition}").as_bytes());
    let partitions = u32::try_from(OFFSETS_PARTITIONS).expect("a small positive number");
    i32::try_from(hash % partitions).expect("below the number of partitions")
}

async fn write_partition(
    client: &Client,
    partition: i32,
    batches: Vec<Vec<KeyValue>>,
    may_write: &(dyn Fn() -> bool + Sync),
) -> Result<bool, Error> {
    for records in &batches {
        let batch = batch(records, None).map_err(|problem| Error::Protocol {
            address: client.cluster_name().to_owned(),
            during: "Produce".to_owned(),
            problem,
        })?;
        let batch = ProduceBatch {
            head: Bytes::new(),
            topic: OFFSETS_TOPIC,
            partition,
            batch,
        };
        let leader = Target::Leader {
            topic: OFFSETS_TOPIC.to_owned(),
            partition,
        };
        let batch = &batch;
        let is_sent = client
            .admin()
            .one(leader, |connection| async move {
                if !may_write() {
                    return Ok(false);
                }
                let batches = std::slice::from_ref(batch);
                let mut answers = produce(&connection, -1, PRODUCE_TIMEOUT_MS, batches).await?;
                let answer = answers.pop().expect("one batch has one answer");
                answer.error.ok().map_err(|code| {
                    let resource = format!("topic {OFFSETS_TOPIC}");
                    Error::broker(code, answer.message, Operation::Write, resource)
                })?;
                Ok(true)
            })
            .await?;
        if !is_sent {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn read_partition(
    client: &Client,
    partition: i32,
    ids: &HashSet<IncarnationId>,
) -> Result<HashMap<(IncarnationId, i32), Kept>, ControlError> {
    // The last record of a key counts; only those are kept, and worth decoding.
    let mut latest: HashMap<Bytes, super::log::Entry> = HashMap::new();
    Follower::new(client, OFFSETS_TOPIC, partition)
        .catch_up(|polled| {
            if polled.restarted {
                latest.clear();
            }
            for entry in polled.entries {
                latest.insert(entry.key.clone().unwrap_or_default(), entry);
            }
            Ok(())
        })
        .await?;
    let mut records: HashMap<(IncarnationId, i32), ProgressRecord> = HashMap::new();
    let mut maps: HashMap<(IncarnationId, i32), HashMap<u32, MapRecord>> = HashMap::new();
    let mut kept: HashMap<(IncarnationId, i32), Kept> = HashMap::new();
    for entry in latest.into_values() {
        let Some(key) = key_of::<OffsetsKey>(OFFSETS_TOPIC, &entry)? else {
            continue;
        };
        let owner = owner_of(&key);
        if !ids.contains(&owner.0) {
            continue;
        }
        match key {
            OffsetsKey::Progress { .. } => {
                if let Some(record) = value_of(OFFSETS_TOPIC, &entry)? {
                    records.insert(owner, record);
                }
            }
            OffsetsKey::Map { chunk, .. } => {
                if let Some(map) = value_of(OFFSETS_TOPIC, &entry)? {
                    maps.entry(owner).or_default().insert(chunk, map);
                }
            }
            OffsetsKey::Failure { .. } => {
                if let Some(failure) = value_of(OFFSETS_TOPIC, &entry)? {
                    kept.entry(owner).or_default().failure = Some(failure);
                }
            }
            OffsetsKey::End { .. } => {
                if let Some(end) = value_of(OFFSETS_TOPIC, &entry)? {
                    kept.entry(owner).or_default().end = Some(end);
                }
            }
        }
    }
    for (owner, record) in records {
        let chunks = maps.remove(&owner).unwrap_or_default();
        kept.entry(owner).or_default().progress = Some(Stored { record, chunks });
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn id(link: u128) -> IncarnationId {
        IncarnationId {
            link: Uuid::from_u128(link),
            source_topic: Uuid::from_u128(2),
            destination_topic: Uuid::from_u128(3),
        }
    }

    #[test]
    fn all_records_of_a_mirror_partition_stand_together() {
        let mut used = HashSet::new();
        for link in 0..50 {
            let (id, partition) = (id(link), 3);
            assert_eq!(
                owner_of(&OffsetsKey::Progress { id, partition }),
                (id, partition)
            );
            for chunk in 0..5 {
                let map = OffsetsKey::Map {
                    id,
                    partition,
                    chunk,
                };
                assert_eq!(owner_of(&map), (id, partition));
            }
            used.insert(partition_of((id, partition)));
        }
        assert_eq!(used, (0..OFFSETS_PARTITIONS).collect());
    }

    /// A changed hash would look for stored progress in the wrong place.
    #[test]
    fn the_place_of_a_record_never_changes() {
        assert_eq!(
            (partition_of((id(1), 0)), partition_of((id(7), 12))),
            (0, 3)
        );
    }
}
