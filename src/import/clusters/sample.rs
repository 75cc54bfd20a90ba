//! Whether one topic holds copies of another's records, by samples.
//!
//! In up to three partitions that hold something, at their start, middle and end, a batch of the
//! destination is read and looked for in the source's partition of the same number: at the same offset, from the
//! time of its first record on, and from the same offset on. A batch that was copied as bytes is known by the checksum of its payload; one that
//! was produced anew, by key, value and time of its first record. Every sample that the source may still hold
//! has to be there.

use std::collections::HashMap;

use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;
use uuid::Uuid;

use super::Verdict;
use crate::kafka::admin::OffsetSpec;
use crate::kafka::fetch::{FetchOptions, FetchPartition, Isolation, fetch};
use crate::kafka::{Backoff, Client, Error, Operation, Target};
use crate::mirror::batch::BatchHeader;
use crate::mirror::batch::header::{Batches, ContentKey};

/// Partitions that are looked into.
const PARTITIONS: usize = 3;
/// Bytes of one look: the first batch comes whole in any case.
const LOOK: i32 = 64 << 10;
/// Bytes that are searched for a record from its time on.
const SEARCH: i32 = 1 << 20;
/// Bytes that are searched from the same offset on, where time does not help: a copy's offsets lag behind
/// those of its source by what was not copied.
const SEARCH_ON: i32 = 8 << 20;
/// Bytes of one answer.
const LARGEST_READ: i32 = 1 << 20;
/// Times that a request is sent.
const TRIES: u32 = 4;

/// Where a log starts and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Bounds {
    fn is_empty(self) -> bool {
        self.end <= self.start
    }
}

/// A topic of one of the clusters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side<'c> {
    pub(super) client: &'c Client,
    pub(super) topic: &'c str,
    pub(super) bounds: &'c HashMap<(String, i32), Bounds>,
}

/// A batch and what its first record holds.
struct Sample {
    offset: i64,
    key: ContentKey,
    first: Option<Content>,
    timestamp: i64,
}

#[derive(PartialEq, Eq)]
struct Content {
    timestamp: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
}

impl Sample {
    /// Whether a batch is the same, or has the same record.
    fn is_in(&self, header: &BatchHeader, batch: &Bytes) -> bool {
        if header.content_key(batch) == self.key {
            return true;
        }
        let is_there = |wanted: &Content| contents(header, batch).contains(wanted);
        self.first.as_ref().is_some_and(is_there)
    }
}

enum Found {
    Yes,
    No,
    /// The source does not go back so far, or the batch cannot be judged.
    Unknown,
}

/// Compares two topics of as many partitions.
pub(super) async fn compare(source: Side<'_>, destination: Side<'_>, partitions: i32) -> Verdict {
    match judge(source, destination, partitions).await {
        Ok(verdict) => verdict,
        Err(error) => Verdict::Refused(error.to_string()),
    }
}

async fn judge(source: Side<'_>, destination: Side<'_>, partitions: i32) -> Result<Verdict, Error> {
    let filled: Vec<i32> = (0..partitions)
        .filter(|partition| {
            [source, destination]
                .iter()
                .all(|side| side.is_filled(*partition))
        })
        .collect();
    let mut equal = 0;
    for partition in spread(&filled) {
        let Some(bounds) = destination.bounds_of(partition) else {
            continue;
        };
        let middle = bounds.start + (bounds.end - bounds.start) / 2;
        let mut before = None;
        for place in [bounds.start, middle, bounds.end - 1] {
            let Some(sample) = destination.sample(partition, place).await? else {
                continue;
            };
            // A short log has one batch at all places.
            if before.replace(sample.offset) == Some(sample.offset) {
                continue;
            }
            match source.find(partition, &sample).await? {
                Found::Yes => equal += 1,
                Found::No => return Ok(Verdict::Other),
                Found::Unknown => {}
            }
        }
    }
    Ok(if equal > 0 {
        Verdict::Copy(equal)
    } else {
        Verdict::Nothing
    })
}

/// The first, a middle one and the last.
fn spread(partitions: &[i32]) -> Vec<i32> {
    if partitions.len() <= PARTITIONS {
        return partitions.to_vec();
    }
    let last = partitions.len() - 1;
    vec![partitions[0], partitions[last / 2], partitions[last]]
}

impl Side<'_> {
    fn bounds_of(self, partition: i32) -> Option<Bounds> {
        self.bounds
            .get(&(self.topic.to_owned(), partition))
            .copied()
    }

    fn is_filled(self, partition: i32) -> bool {
        self.bounds_of(partition)
            .is_some_and(|bounds| !bounds.is_empty())
    }

    /// The first batch with records that holds an offset or comes after it.
    async fn sample(self, partition: i32, offset: i64) -> Result<Option<Sample>, Error> {
        let records = self.read(partition, offset, LOOK).await?;
        let batches = Batches::new(records).map_while(Result::ok);
        let mut data =
            batches.filter(|(header, _)| header.next_offset() > offset && is_data(header));
        Ok(data.next().map(|(header, batch)| {
            let first = contents(&header, &batch).into_iter().next();
            Sample {
                offset: header.base_offset,
                key: header.content_key(&batch),
                timestamp: first
                    .as_ref()
                    .map_or(header.base_timestamp, |first| first.timestamp),
                first,
            }
        }))
    }

    /// Whether the source's partition holds what was sampled.
    async fn find(self, partition: i32, sample: &Sample) -> Result<Found, Error> {
        let Some(bounds) = self.bounds_of(partition) else {
            return Ok(Found::Unknown);
        };
        if (bounds.start..bounds.end).contains(&sample.offset)
            && self.holds(partition, sample.offset, LOOK, sample).await?
        {
            return Ok(Found::Yes);
        }
        let at = self.at_time(partition, sample.timestamp).await?;
        if at >= 0 && self.holds(partition, at, SEARCH, sample).await? {
            return Ok(Found::Yes);
        }
        let on = sample.offset.max(bounds.start);
        if self.holds(partition, on, SEARCH_ON, sample).await? {
            return Ok(Found::Yes);
        }
        // What the source has deleted is nothing against the copy.
        let oldest = self.sample(partition, bounds.start).await?;
        let is_older = oldest.is_none_or(|oldest| sample.timestamp < oldest.timestamp);
        Ok(if is_older || sample.first.is_none() {
            Found::Unknown
        } else {
            Found::No
        })
    }

    /// Whether the sample is in so many bytes from an offset on.
    async fn holds(
        self,
        partition: i32,
        offset: i64,
        mut bytes: i32,
        sample: &Sample,
    ) -> Result<bool, Error> {
        let end = self
            .bounds_of(partition)
            .map_or(offset, |bounds| bounds.end);
        let mut at = offset;
        while bytes > 0 && at < end {
            let records = self.read(partition, at, bytes.min(LARGEST_READ)).await?;
            let before = at;
            for (header, batch) in Batches::new(records).map_while(Result::ok) {
                if is_data(&header) && sample.is_in(&header, &batch) {
                    return Ok(true);
                }
                at = at.max(header.next_offset());
                bytes = bytes.saturating_sub(i32::try_from(header.len).unwrap_or(i32::MAX));
            }
            if at == before {
                break;
            }
        }
        Ok(false)
    }

    async fn at_time(self, partition: i32, timestamp: i64) -> Result<i64, Error> {
        let wanted = vec![(
            self.topic.to_owned(),
            partition,
            OffsetSpec::Timestamp(timestamp.max(0)),
        )];
        let admin = self.client.admin();
        let answers = admin.list_offsets(wanted, Isolation::ReadUncommitted).await;
        match answers.into_iter().next() {
            Some((_, answer)) => Ok(answer?.offset),
            None => Ok(-1),
        }
    }

    async fn read(self, partition: i32, offset: i64, bytes: i32) -> Result<Bytes, Error> {
        let mut backoff = Backoff::for_requests();
        for _ in 1..TRIES {
            match self.read_once(partition, offset, bytes).await {
                Err(error) if error.may_pass() => {
                    tracing::debug!(topic = self.topic, partition, %error, "a sample has to be read again");
                    self.client.forget_leaders(self.topic);
                    backoff.sleep().await;
                }
                outcome => return outcome,
            }
        }
        self.read_once(partition, offset, bytes).await
    }

    async fn read_once(self, partition: i32, offset: i64, bytes: i32) -> Result<Bytes, Error> {
        let target = Target::Leader {
            topic: self.topic.to_owned(),
            partition,
        };
        let connection = self.client.route(&target).await?;
        let options = FetchOptions {
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: bytes,
            isolation: Isolation::ReadUncommitted,
        };
        let wanted = FetchPartition {
            topic: self.topic.to_owned(),
            topic_id: Uuid::nil(),
            partition,
            offset,
            current_leader_epoch: -1,
            max_bytes: bytes,
        };
        let answers = fetch(&connection, &options, &[wanted]).await?;
        let Some(answer) = answers.into_iter().next() else {
            return Ok(Bytes::new());
        };
        answer.error.ok().map_err(|code| {
            let label = format!("{}-{partition}", self.topic);
            let error = Error::broker(code, None, Operation::Fetch, label);
            error.asked_by(|| self.client.asked())
        })?;
        Ok(answer.records)
    }
}

fn is_data(header: &BatchHeader) -> bool {
    !header.is_control() && header.count > 0
}

/// The records of a batch as consumers see them; none where it cannot be decoded.
fn contents(header: &BatchHeader, batch: &Bytes) -> Vec<Content> {
    let Ok(decoded) = RecordBatchDecoder::decode(&mut batch.clone()) else {
        tracing::debug!(
            offset = header.base_offset,
            "a batch cannot be decoded and is left out"
        );
        return Vec::new();
    };
    decoded
        .records
        .into_iter()
        .map(|record| Content {
            timestamp: if header.is_log_append_time() {
                header.max_timestamp
            } else {
                record.timestamp
            },
            key: record.key,
            value: record.value,
        })
        .collect()
}
