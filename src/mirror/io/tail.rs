//! Where a destination partition ends, once it no longer moves.
//!
//! A killed predecessor's requests may still be in a socket, so the end is watched until it stayed the same
//! for [`SETTLE`], nothing is appended beyond what is replicated, and the leader's memory of the producer id is not ahead of
//! what can be read. Then the last
//! data batch is fetched; control batches behind it are walked over.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::reader::bounds;
use super::{Route, TopicPartition};
use crate::kafka::fetch::{FetchOptions, FetchPartition, Isolation, fetch};
use crate::kafka::{Backoff, Client, Error, ErrorCode, Operation, Target};
use crate::mirror::batch::BatchHeader;
use crate::mirror::batch::header::{Batches, HeaderError};
use crate::mirror::batch::rewrite::sequence_of;
use crate::mirror::partition::{Failure, Tail, TailBatch};

/// How long the end has to stay where it is.
pub(super) const SETTLE: Duration = Duration::from_millis(400);
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Offsets that are looked through at a time for the last data batch, at first and at most.
const STRIDE: i64 = 64;
const LONGEST_STRIDE: i64 = 1 << 17;
/// Bytes of one answer while looking through them; a marker has 78.
const STRIDE_BYTES: i32 = 1 << 20;
/// Answers with batches of destinations that are on their way at once: what they take comes on top of the memory for records.
static ANSWERS: Semaphore = Semaphore::const_new(16);
/// Tries to find the topic before it counts as deleted.
const TRIES_FOR_UNKNOWN: u32 = 12;

/// Reads the tail, however long it takes; only what a person must mend ends it otherwise. Behind markers, the last data
/// batch is looked for down to offset `from`.
///
/// # Errors
/// A failure of the partition.
pub async fn read(
    client: &Client,
    route: &Arc<Route>,
    producer_id: i64,
    from: i64,
) -> Result<Tail, Failure> {
    patiently(client, route, || settled(client, route, producer_id, from)).await
}

/// Looks again until it succeeds or only a person can mend what is wrong.
pub(super) async fn patiently<T, F: Future<Output = Result<T, Trouble>>>(
    client: &Client,
    route: &Arc<Route>,
    look: impl Fn() -> F,
) -> Result<T, Failure> {
    let mut backoff = Backoff::for_requests();
    let (mut unknown, mut unsettled, mut deposed) = (0, 0u32, 0u32);
    loop {
        match look().await {
            Ok(tail) => return Ok(tail),
            Err(Trouble::Deposed { epoch }) => {
                unknown = 0;
                deposed = deposed.saturating_add(1);
                if deposed.is_power_of_two() && deposed > 2 {
                    tracing::warn!(
                        partition = %route.destination,
                        epoch,
                        seen = route.leader_epoch(),
                        "a broker answers as the leader of an epoch that is over: its end is not believed"
                    );
                }
            }
            Err(Trouble::Final(failure)) => return Err(failure),
            Err(Trouble::Unknown) => {
                unknown += 1;
                if unknown >= TRIES_FOR_UNKNOWN {
                    let topic = route.destination.topic.clone();
                    return Err(Failure::DestinationDeleted { topic });
                }
            }
            Err(Trouble::Call(error)) if !error.may_pass() => {
                let operation = "read the end of the mirror topic";
                return Err(Failure::Call {
                    operation,
                    cause: error.to_string(),
                    retried: true,
                });
            }
            Err(Trouble::Call(error)) => {
                tracing::debug!(partition = %route.destination, %error, "the tail has to be read again");
                unknown = 0;
            }
            Err(Trouble::Moving) => {
                unknown = 0;
                unsettled = unsettled.saturating_add(1);
                if unsettled.is_power_of_two() && unsettled > 1 {
                    tracing::warn!(
                        partition = %route.destination,
                        member = route.lease.is_held(),
                        "the end of the mirror topic does not settle: followers may be down, or somebody else writes to it"
                    );
                }
            }
        }
        client.forget_leaders(&route.destination.topic);
        backoff.sleep().await;
    }
}

pub(super) enum Trouble {
    Final(Failure),
    /// The topic is not known (yet, or any more).
    Unknown,
    Call(Error),
    /// The end moved all the time.
    Moving,
    /// Who answers was the leader in an earlier epoch (KIP-320): there is another one.
    Deposed {
        epoch: i32,
    },
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

async fn settled(
    client: &Client,
    route: &Route,
    producer_id: i64,
    from: i64,
) -> Result<Tail, Trouble> {
    find_leader(client, route).await?;
    let deadline = Instant::now() + 20 * SETTLE;
    let mut seen = look(client, route, producer_id).await?;
    let mut since = Instant::now();
    loop {
        sleep(LOOK_EVERY).await;
        let now = look(client, route, producer_id).await?;
        if now != seen {
            seen = now;
            since = Instant::now();
        } else if seen.log_end != seen.end {
            // Appended, and not replicated yet: it may still come below the high watermark.
            since = Instant::now();
        } else if since.elapsed() >= SETTLE && route.lease.is_held() {
            let last = last_data_batch(client, &route.destination, seen, from).await?;
            if is_consistent(&seen, last.as_ref(), producer_id) {
                // The topic may have been made again since its id was looked at, and what another leader's log holds
                // is not known by this one's.
                let epoch = find_leader(client, route).await?;
                if seen.leader_epoch >= 0 && epoch > seen.leader_epoch {
                    return Err(Trouble::Moving);
                }
                return Ok(Tail {
                    start: seen.start,
                    end: seen.end,
                    last,
                    producer_next_sequence: seen.next_sequence,
                    producer_epoch: seen.producer_epoch,
                    leader_epoch: seen.leader_epoch,
                });
            }
            // Appended, but not yet below the high watermark.
            since = Instant::now();
        }
        if Instant::now() > deadline {
            return Err(Trouble::Moving);
        }
    }
}

/// What was seen of a partition's end at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub start: i64,
    /// The high watermark.
    pub end: i64,
    /// Where the leader's log ends, replicated or not.
    pub log_end: i64,
    /// In which epoch it leads; -1 where it does not say.
    pub leader_epoch: i32,
    /// What the leader expects next of the producer id.
    pub next_sequence: Option<i32>,
    pub producer_epoch: Option<i32>,
}

pub(super) async fn look(
    client: &Client,
    route: &Route,
    producer_id: i64,
) -> Result<Seen, Trouble> {
    let partition = &route.destination;
    let key = || (partition.topic.clone(), partition.partition);
    let (start, end) = bounds(client, partition).await?;
    let log_end = client.log_end_together(key()).await?;
    let epoch = log_end.leader_epoch;
    if (0..route.leader_epoch()).contains(&epoch) {
        return Err(Trouble::Deposed { epoch });
    }
    route.note_leader_epoch(epoch);
    let producers = client.producers_together(key()).await?;
    let ours = producers
        .iter()
        .find(|producer| producer.producer_id == producer_id);
    let next_sequence = ours
        .filter(|producer| producer.last_sequence >= 0)
        .map(|producer| sequence_of(i64::from(producer.last_sequence) + 1));
    Ok(Seen {
        producer_epoch: ours.map(|producer| producer.producer_epoch),
        start,
        end,
        log_end: log_end.offset,
        leader_epoch: epoch,
        next_sequence,
    })
}

/// Whether the leader's memory and the last readable batch agree.
fn is_consistent(seen: &Seen, last: Option<&TailBatch>, producer_id: i64) -> bool {
    match (seen.next_sequence, last) {
        (Some(next), Some(last)) if last.header.producer_id == producer_id => {
            last.next_sequence() == next
        }
        _ => true,
    }
}

/// Looks the leader up; its epoch, -1 where the brokers do not say.
pub(super) async fn find_leader(client: &Client, route: &Route) -> Result<i32, Trouble> {
    let wanted = &route.destination;
    let metadata = client.metadata_of(&wanted.topic).await?;
    let topic = metadata.topic(&wanted.topic).ok_or(Trouble::Unknown)?;
    if topic.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
        return Err(Trouble::Unknown);
    }
    let refused = |code| {
        let resource = format!("topic {}", wanted.topic);
        let error = Error::broker(code, None, Operation::Describe, resource);
        Trouble::Call(error.asked_by(|| client.asked()))
    };
    topic.error.ok().map_err(refused)?;
    if !wanted.topic_id.is_nil() && !topic.id.is_nil() && topic.id != wanted.topic_id {
        return Err(Trouble::Final(Failure::DestinationRecreated {
            was: wanted.topic_id,
            is: topic.id,
        }));
    }
    let found = topic
        .partitions
        .iter()
        .find(|partition| partition.index == wanted.partition);
    let leader = found.map_or(-1, |partition| partition.leader);
    if leader < 0 {
        return Err(refused(ErrorCode::LEADER_NOT_AVAILABLE));
    }
    let epoch = found.map_or(-1, |partition| partition.leader_epoch);
    route.note_leader_epoch(epoch);
    route.set_leader(leader);
    Ok(epoch)
}

/// The batch that holds the last offset, or behind markers the last one with records that reaches beyond `from`.
async fn last_data_batch(
    client: &Client,
    partition: &TopicPartition,
    Seen {
        start,
        end,
        leader_epoch,
        ..
    }: Seen,
    from: i64,
) -> Result<Option<TailBatch>, Trouble> {
    if end <= start {
        return Ok(None);
    }
    // A log that lost its end may end before what is known of it.
    let from = if from > end { start } else { from.max(start) };
    // A fetch limited to one byte returns exactly the batch that holds the offset (KIP-74).
    let Some((header, batch)) = batches(client, partition, leader_epoch, (end - 1, 1))
        .await?
        .pop()
    else {
        return Ok(None);
    };
    // A batch that the cleaner emptied is kept for its sequence number.
    if !header.is_control() {
        return Ok(Some(TailBatch::new(header, batch)));
    }
    let (mut high, mut stride) = (header.base_offset, STRIDE);
    while high > from {
        let low = (high - stride).max(from);
        let found = last_data_batch_between(client, partition, leader_epoch, (low, high)).await?;
        if found.is_some() {
            return Ok(found);
        }
        high = low;
        stride = (stride * 8).min(LONGEST_STRIDE);
    }
    Ok(None)
}

async fn last_data_batch_between(
    client: &Client,
    partition: &TopicPartition,
    leader_epoch: i32,
    (low, high): (i64, i64),
) -> Result<Option<TailBatch>, Trouble> {
    let (mut position, mut last) = (low, None);
    while position < high {
        let found = batches(client, partition, leader_epoch, (position, STRIDE_BYTES)).await?;
        let Some((end, _)) = found.last() else { break };
        position = end.next_offset();
        for (header, batch) in found {
            if header.base_offset < high && !header.is_control() {
                last = Some(TailBatch::new(header, batch));
            }
        }
    }
    Ok(last)
}

/// The whole batches of one answer, from the one that holds `offset` on.
pub(super) async fn batches(
    client: &Client,
    partition: &TopicPartition,
    current_leader_epoch: i32,
    (offset, max_bytes): (i64, i32),
) -> Result<Vec<(BatchHeader, bytes::Bytes)>, Trouble> {
    let target = Target::Leader {
        topic: partition.topic.clone(),
        partition: partition.partition,
    };
    let connection = client.route(&target).await?;
    let _permit = ANSWERS.acquire().await.expect("it is never closed");
    let options = FetchOptions {
        max_wait_ms: 0,
        min_bytes: 0,
        max_bytes,
        isolation: Isolation::ReadUncommitted,
    };
    let wanted = FetchPartition {
        topic: partition.topic.clone(),
        topic_id: partition.topic_id,
        partition: partition.partition,
        offset,
        current_leader_epoch,
        max_bytes,
    };
    let found = fetch(&connection, &options, &[wanted]).await?;
    let Some(found) = found.into_iter().next() else {
        return Ok(Vec::new());
    };
    found.error.ok().map_err(|code| {
        let error = Error::broker(code, None, Operation::ReadEnd, partition.to_string());
        Trouble::Call(error.asked_by(|| client.asked()))
    })?;
    let mut batches = Vec::new();
    for batch in Batches::new(found.records) {
        let (header, bytes) = batch.map_err(old_format)?;
        if header.next_offset() > offset {
            batches.push((header, bytes));
        }
    }
    Ok(batches)
}

fn old_format(error: HeaderError) -> Trouble {
    Trouble::Final(Failure::Unreadable(error.to_string()))
}
