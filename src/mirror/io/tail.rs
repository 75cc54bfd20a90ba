//! Where a destination partition ends, once it no longer moves.
//!
//! A killed predecessor's requests may still be in a socket, so the end is watched until it stayed the same
//! for [`SETTLE`] and the leader's memory of the producer id is not ahead of what can be read. Then the last
//! data batch is fetched; control batches behind it are walked over.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::reader::bounds;
use super::{Route, TopicPartition};
use crate::kafka::fetch::{FetchOptions, FetchPartition, Isolation, fetch};
use crate::kafka::{Backoff, Client, Error, ErrorCode, Operation, Target, Topics};
use crate::mirror::batch::BatchHeader;
use crate::mirror::batch::header::{Batches, HeaderError};
use crate::mirror::batch::rewrite::sequence_of;
use crate::mirror::partition::{Failure, Tail, TailBatch};

/// How long the end has to stay where it is.
const SETTLE: Duration = Duration::from_millis(400);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Control batches that are walked over before the end counts as holding no data batch.
const MARKERS_WALKED: usize = 10_000;
/// Tries to find the topic before it counts as deleted.
const TRIES_FOR_UNKNOWN: u32 = 12;

/// Reads the tail, however long it takes; only what a person must mend ends it otherwise.
///
/// # Errors
/// A failure of the partition.
pub async fn read(client: &Client, route: &Arc<Route>, producer_id: i64) -> Result<Tail, Failure> {
    let mut backoff = Backoff::for_requests();
    let (mut unknown, mut unsettled) = (0, 0u32);
    loop {
        match settled(client, route, producer_id).await {
            Ok(tail) => return Ok(tail),
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

enum Trouble {
    Final(Failure),
    /// The topic is not known (yet, or any more).
    Unknown,
    Call(Error),
    /// The end moved all the time.
    Moving,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

async fn settled(client: &Client, route: &Route, producer_id: i64) -> Result<Tail, Trouble> {
    find_leader(client, route).await?;
    let deadline = Instant::now() + 20 * SETTLE;
    let mut seen = look(client, &route.destination, producer_id).await?;
    let mut since = Instant::now();
    loop {
        sleep(LOOK_EVERY).await;
        let now = look(client, &route.destination, producer_id).await?;
        if now != seen {
            seen = now;
            since = Instant::now();
        } else if since.elapsed() >= SETTLE && route.lease.is_held() {
            let last = last_data_batch(client, &route.destination, seen.start, seen.end).await?;
            if is_consistent(&seen, last.as_ref(), producer_id) {
                return Ok(Tail {
                    end: seen.end,
                    last,
                    producer_next_sequence: seen.next_sequence,
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
struct Seen {
    start: i64,
    end: i64,
    /// What the leader expects next of the producer id.
    next_sequence: Option<i32>,
}

async fn look(
    client: &Client,
    partition: &TopicPartition,
    producer_id: i64,
) -> Result<Seen, Error> {
    let (start, end) = bounds(client, partition).await?;
    let producers = client
        .admin()
        .describe_producers(&partition.topic, vec![partition.partition])
        .await
        .into_iter()
        .next()
        .expect("one partition was asked for, one is answered")
        .1?;
    let next_sequence = producers
        .iter()
        .find(|producer| producer.producer_id == producer_id && producer.last_sequence >= 0)
        .map(|producer| sequence_of(i64::from(producer.last_sequence) + 1));
    Ok(Seen {
        start,
        end,
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

async fn find_leader(client: &Client, route: &Route) -> Result<(), Trouble> {
    let wanted = &route.destination;
    let names = [wanted.topic.clone()];
    let metadata = client.metadata(Topics::Named(&names)).await?;
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
    let leader = topic
        .partitions
        .iter()
        .find(|partition| partition.index == wanted.partition)
        .map_or(-1, |partition| partition.leader);
    if leader < 0 {
        return Err(refused(ErrorCode::LEADER_NOT_AVAILABLE));
    }
    route.set_leader(leader);
    Ok(())
}

/// The last batch with records in [start, end), if there is one close enough to the end.
async fn last_data_batch(
    client: &Client,
    partition: &TopicPartition,
    start: i64,
    end: i64,
) -> Result<Option<TailBatch>, Trouble> {
    let mut offset = end - 1;
    for _ in 0..MARKERS_WALKED {
        if offset < start {
            return Ok(None);
        }
        let Some((header, batch)) = batch_at(client, partition, offset).await? else {
            return Ok(None);
        };
        // A batch that the cleaner emptied is kept for its sequence number.
        if !header.is_control() {
            return Ok(Some(TailBatch::read(header, &batch)));
        }
        offset = header.base_offset - 1;
    }
    Ok(None)
}

/// The batch that holds `offset`: a fetch limited to one byte returns exactly that one (KIP-74).
async fn batch_at(
    client: &Client,
    partition: &TopicPartition,
    offset: i64,
) -> Result<Option<(BatchHeader, bytes::Bytes)>, Trouble> {
    let target = Target::Leader {
        topic: partition.topic.clone(),
        partition: partition.partition,
    };
    let connection = client.route(&target).await?;
    let options = FetchOptions {
        max_wait_ms: 0,
        min_bytes: 0,
        max_bytes: 1,
        isolation: Isolation::ReadUncommitted,
    };
    let wanted = FetchPartition {
        topic: partition.topic.clone(),
        topic_id: partition.topic_id,
        partition: partition.partition,
        offset,
        current_leader_epoch: -1,
        max_bytes: 1,
    };
    let found = fetch(&connection, &options, &[wanted]).await?;
    let Some(found) = found.into_iter().next() else {
        return Ok(None);
    };
    found.error.ok().map_err(|code| {
        let error = Error::broker(code, None, Operation::ReadEnd, partition.to_string());
        Trouble::Call(error.asked_by(|| client.asked()))
    })?;
    for batch in Batches::new(found.records) {
        let (header, bytes) = batch.map_err(old_format)?;
        if header.next_offset() > offset {
            return Ok(Some((header, bytes)));
        }
    }
    Ok(None)
}

fn old_format(error: HeaderError) -> Trouble {
    Trouble::Final(Failure::Unreadable(error.to_string()))
}
