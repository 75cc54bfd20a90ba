//! Reading and building the logs of the internal topics: small keyed records, committed ones only.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use indexmap::IndexMap;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, Record,
    RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use tokio::time::Instant;

use super::error::ControlError;
use crate::kafka::admin::{OffsetSpec, ProducerIdentity};
use crate::kafka::fetch::{FetchOptions, FetchPartition, FetchedPartition, fetch};
use crate::kafka::{Backoff, Client, Connection, Error, ErrorCode, Isolation, Operation};

/// A committed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub offset: i64,
    /// Milliseconds since the epoch, by the writer's clock.
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
}

/// Follows one partition of a topic from its start.
#[derive(Debug)]
pub(super) struct Follower {
    client: Client,
    topic: String,
    partition: i32,
    connection: Option<Connection>,
    /// The next offset to read; `None` before the start is known.
    position: Option<i64>,
}

/// One answer of a follower.
#[derive(Debug, Default)]
pub(super) struct Polled {
    /// What was read before is void: the log begins anew.
    pub restarted: bool,
    pub entries: Vec<Entry>,
}

const FETCH_BYTES: i32 = 4 * 1024 * 1024;
/// How long reading to the end of a log may stand still.
const READ_PATIENCE: Duration = Duration::from_secs(30);

impl Follower {
    pub(super) fn new(client: &Client, topic: &str, partition: i32) -> Self {
        Self {
            client: client.clone(),
            topic: topic.to_owned(),
            partition,
            connection: None,
            position: None,
        }
    }

    /// Reads everything that was committed before the call, piece by piece.
    pub(super) async fn catch_up(
        &mut self,
        mut take: impl FnMut(Polled) -> Result<(), ControlError> + Send,
    ) -> Result<(), ControlError> {
        let end = self.offset(OffsetSpec::Latest).await?;
        let mut backoff = Backoff::for_requests();
        let mut moved = Instant::now();
        // An empty log needs no fetch; of one that begins later the start is not known yet.
        while end > 0 && self.position.is_none_or(|position| position < end) {
            let before = self.position;
            match self.poll(0).await {
                Ok(polled) => take(polled)?,
                Err(error) if error.is_final() || moved.elapsed() > READ_PATIENCE => {
                    return Err(error);
                }
                Err(_) => {}
            }
            if self.position != before {
                moved = Instant::now();
                backoff.reset();
            } else if moved.elapsed() > READ_PATIENCE {
                // Half a log must never be taken for all of it.
                return Err(Error::Timeout {
                    address: self.client.cluster_name().to_owned(),
                    during: format!("a read of topic {} up to offset {end}", self.topic),
                    after: moved.elapsed(),
                }
                .into());
            } else {
                backoff.sleep().await;
            }
        }
        Ok(())
    }

    /// One fetch that waits up to `max_wait_ms` for something new.
    pub(super) async fn poll(&mut self, max_wait_ms: i32) -> Result<Polled, ControlError> {
        let polled = self.try_poll(max_wait_ms).await;
        if polled.is_err() {
            self.connection = None;
            self.client.forget_leaders(&self.topic);
        }
        polled
    }

    async fn try_poll(&mut self, max_wait_ms: i32) -> Result<Polled, ControlError> {
        let position = match self.position {
            Some(position) => position,
            None => {
                let start = self.offset(OffsetSpec::Earliest).await?;
                self.position = Some(start);
                start
            }
        };
        let topic_id = self.client.topic(&self.topic).await?.id;
        let connection = self.connected().await?;
        let options = FetchOptions {
            max_wait_ms,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            isolation: Isolation::ReadCommitted,
        };
        let place = FetchPartition {
            topic: self.topic.clone(),
            topic_id,
            partition: self.partition,
            offset: position,
            current_leader_epoch: -1,
            max_bytes: FETCH_BYTES,
        };
        let mut answers = fetch(&connection, &options, &[place]).await?;
        let answer = answers.pop().ok_or_else(|| Error::Protocol {
            address: connection.address().to_owned(),
            during: "Fetch".to_owned(),
            problem: "it leaves out the partition asked for".to_owned(),
        })?;
        match answer.error {
            ErrorCode::NONE => {}
            // The log was cut, or is another log: begin again.
            ErrorCode::OFFSET_OUT_OF_RANGE
            | ErrorCode::UNKNOWN_TOPIC_ID
            | ErrorCode::INCONSISTENT_TOPIC_ID => {
                self.position = None;
                self.connection = None;
                self.client.forget_leaders(&self.topic);
                return Ok(Polled {
                    restarted: true,
                    entries: Vec::new(),
                });
            }
            code => {
                let resource = format!("partition {} of topic {}", self.partition, self.topic);
                let error = Error::broker(code, None, Operation::Read, resource);
                return Err(error.asked_by(|| self.client.asked()).into());
            }
        }
        let (next, entries) =
            committed(&answer, position).map_err(|problem| ControlError::Malformed {
                topic: self.topic.clone(),
                offset: position,
                problem,
            })?;
        self.position = Some(next);
        Ok(Polled {
            restarted: false,
            entries,
        })
    }

    async fn connected(&mut self) -> Result<Connection, Error> {
        if let Some(connection) = self.connection.as_ref().filter(|c| !c.is_closed()) {
            return Ok(connection.clone());
        }
        let leader = self.client.leader(&self.topic, self.partition).await?;
        // Of its own: a long poll would hold up everything else on a shared one.
        let connection = self.client.connect_broker(leader).await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    async fn offset(&self, spec: OffsetSpec) -> Result<i64, Error> {
        let wanted = vec![(self.topic.clone(), self.partition, spec)];
        let mut found = self
            .client
            .admin()
            .list_offsets(wanted, Isolation::ReadCommitted)
            .await;
        let (_, found) = found.pop().expect("one item has one result");
        Ok(found?.offset)
    }
}

/// The committed records of an answer from `position` on, and where to read next.
fn committed(answer: &FetchedPartition, position: i64) -> Result<(i64, Vec<Entry>), String> {
    /// Of a batch's header: base offset 8, length 4, epoch 4, magic 1, checksum 4, attributes 2, last
    /// offset delta 4, two timestamps 16, producer id 8 ...
    const HEADER: usize = 61;
    let mut aborted: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for &(producer, first_offset) in &answer.aborted {
        aborted.entry(first_offset).or_default().push(producer);
    }
    let mut aborting: HashSet<i64> = HashSet::new();
    let mut entries = Vec::new();
    let mut next = position;
    let mut rest = answer.records.clone();
    while rest.len() >= HEADER {
        let field = |at: usize, length: usize| &rest[at..at + length];
        let base = i64::from_be_bytes(field(0, 8).try_into().expect("eight bytes"));
        let length = i32::from_be_bytes(field(8, 4).try_into().expect("four bytes"));
        let size = usize::try_from(length).map_err(|_| "a batch of negative length")? + 12;
        if rest[16] != 2 {
            return Err(format!("a batch of format {} at offset {base}", rest[16]));
        }
        if size < HEADER {
            return Err(format!("a batch of {size} bytes at offset {base}"));
        }
        if rest.len() < size {
            break;
        }
        let attributes = i16::from_be_bytes(field(21, 2).try_into().expect("two bytes"));
        let delta = i32::from_be_bytes(field(23, 4).try_into().expect("four bytes"));
        let producer = i64::from_be_bytes(field(43, 8).try_into().expect("eight bytes"));
        let last = base + i64::from(delta);
        let (transactional, control) = (attributes & 0x10 != 0, attributes & 0x20 != 0);
        while let Some(begun) = aborted.first_entry().filter(|entry| *entry.key() <= last) {
            aborting.extend(begun.remove());
        }
        let mut batch = rest.split_to(size);
        if control {
            // Whatever this marker ended, the producer's next transaction has an entry of its own.
            aborting.remove(&producer);
        } else if !(transactional && aborting.contains(&producer)) {
            let decoded = RecordBatchDecoder::decode(&mut batch)
                .map_err(|error| format!("the batch at offset {base} cannot be read: {error:#}"))?;
            let records = decoded.records.into_iter();
            entries.extend(
                records
                    .filter(|record| record.offset >= position)
                    .map(|record| Entry {
                        offset: record.offset,
                        timestamp: record.timestamp,
                        key: record.key,
                        value: record.value,
                    }),
            );
        }
        next = next.max(last + 1);
    }
    Ok((next, entries))
}

/// A key and its value, or its tombstone, in the bytes that are written.
pub(super) type KeyValue = (Bytes, Option<Bytes>);

/// Records are gathered into batches of about so many bytes, well below a broker's usual 1 MB.
const BATCH_BYTES: usize = 500 * 1024;

/// The bytes that a record takes in a batch, at most: lengths, deltas and attributes are fewer than 32.
fn size_of((key, value): &KeyValue) -> usize {
    key.len() + value.as_ref().map_or(0, Bytes::len) + 32
}

/// Groups of records put together as long as they fit one batch, in order. A group is divided only where it alone does not fit.
pub(super) fn together(groups: impl IntoIterator<Item = Vec<KeyValue>>) -> Vec<Vec<KeyValue>> {
    let mut batches: Vec<Vec<KeyValue>> = Vec::new();
    let mut size = 0;
    for group in groups {
        let bytes: usize = group.iter().map(size_of).sum();
        match batches.last_mut() {
            Some(batch) if size + bytes <= BATCH_BYTES => {
                batch.extend(group);
                size += bytes;
            }
            _ => {
                batches.extend(runs(&group).into_iter().map(<[KeyValue]>::to_vec));
                size = bytes;
            }
        }
    }
    batches
}

/// Splits records into runs that fit one batch each, in order.
pub(super) fn runs(records: &[KeyValue]) -> Vec<&[KeyValue]> {
    let mut runs = Vec::new();
    let (mut begin, mut size) = (0, 0);
    for (index, record) in records.iter().enumerate() {
        let next = size_of(record);
        if size + next > BATCH_BYTES && index > begin {
            runs.push(&records[begin..index]);
            (begin, size) = (index, 0);
        }
        size += next;
    }
    if begin < records.len() {
        runs.push(&records[begin..]);
    }
    runs
}

/// One batch, either plain or as part of a producer's transaction from `sequence` on.
pub(super) fn batch(
    records: &[KeyValue],
    transaction: Option<(ProducerIdentity, i32)>,
) -> Result<Bytes, String> {
    let now = now_ms();
    let (id, epoch, sequence) = match transaction {
        Some((producer, sequence)) => (producer.id, producer.epoch, sequence),
        None => (NO_PRODUCER_ID, NO_PRODUCER_EPOCH, -1),
    };
    let records: Vec<Record> = (0_i32..)
        .zip(records)
        .map(|(index, (key, value))| Record {
            transactional: transaction.is_some(),
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: id,
            producer_epoch: epoch,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(index),
            // The encoder keeps records in one batch while offset and sequence grow together.
            sequence: sequence.wrapping_add(index),
            timestamp: now,
            key: Some(key.clone()),
            value: value.clone(),
            headers: IndexMap::new(),
        })
        .collect();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    let mut buffer = BytesMut::new();
    RecordBatchEncoder::encode(&mut buffer, &records, &options)
        .map_err(|error| format!("records cannot be encoded: {error:#}"))?;
    Ok(buffer.freeze())
}

/// Milliseconds since the epoch.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: Option<&str>) -> KeyValue {
        let value = value.map(|text| Bytes::from(text.to_owned()));
        (Bytes::from(key.to_owned()), value)
    }

    fn at(base: i64, batch: &Bytes) -> Bytes {
        let mut bytes = batch.to_vec();
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        Bytes::from(bytes)
    }

    fn marker(base: i64, producer: i64) -> Bytes {
        let producer = ProducerIdentity {
            id: producer,
            epoch: 0,
        };
        let marker = batch(&[record("marker", None)], Some((producer, 0))).unwrap();
        let mut bytes = at(base, &marker).to_vec();
        bytes[22] |= 0x20;
        Bytes::from(bytes)
    }

    fn fetched(aborted: Vec<(i64, i64)>, batches: &[Bytes]) -> FetchedPartition {
        FetchedPartition {
            topic: "t".into(),
            partition: 0,
            error: ErrorCode::NONE,
            high_watermark: 0,
            last_stable_offset: 0,
            log_start_offset: 0,
            aborted,
            records: batches.concat().into(),
        }
    }

    #[test]
    fn plain_records_are_one_batch_without_producer() {
        let records = [
            record("a", Some("1")),
            record("b", None),
            record("c", Some("3")),
        ];
        let batch = batch(&records, None).unwrap();
        assert_eq!(batch[43..57], [0xff; 14], "no id, epoch or sequence");
        let (next, entries) = committed(&fetched(vec![], &[batch]), 0).unwrap();
        assert_eq!((next, entries.len()), (3, 3));
        assert_eq!(entries[1].value, None);
        assert_eq!(entries[2].key.as_deref(), Some(&b"c"[..]));
    }

    #[test]
    fn aborted_transactions_markers_and_what_is_cut_off_are_left_out() {
        let producer = |id| ProducerIdentity { id, epoch: 0 };
        let data =
            |id, key: &str| batch(&[record(key, Some("x"))], Some((producer(id), 0))).unwrap();
        let batches = [
            at(10, &data(1, "aborted")),
            at(11, &data(2, "kept")),
            marker(12, 1),
            at(13, &data(1, "kept too")),
            marker(14, 1),
            marker(15, 2),
        ];
        let (next, entries) = committed(&fetched(vec![(1, 10)], &batches), 10).unwrap();
        let keys: Vec<_> = entries
            .iter()
            .map(|entry| entry.key.clone().unwrap())
            .collect();
        assert_eq!(keys, ["kept", "kept too"]);
        assert_eq!(next, 16);
        let mut cut = fetched(vec![(1, 10)], &batches);
        cut.records.truncate(cut.records.len() - 1);
        assert_eq!(committed(&cut, 10).unwrap().0, 15);
        let (_, later) = committed(&fetched(vec![(1, 10)], &batches), 12).unwrap();
        assert_eq!(
            later.len(),
            1,
            "records before the position are not given twice"
        );
    }

    #[test]
    fn garbage_is_an_error() {
        let mut bytes = vec![0_u8; 100];
        bytes[16] = 1;
        let garbage = fetched(vec![], &[Bytes::from(bytes)]);
        assert!(committed(&garbage, 0).is_err());
    }

    #[test]
    fn many_records_become_several_batches_in_order() {
        let value = "x".repeat(10_000);
        let records: Vec<_> = (0..200)
            .map(|n| record(&n.to_string(), Some(&value)))
            .collect();
        let runs = runs(&records);
        assert_eq!(runs.concat(), records);
        assert_eq!(runs.len(), 4);
        let huge = [record("huge", Some(&"x".repeat(2_000_000)))];
        assert_eq!(super::runs(&huge).len(), 1);
        assert!(super::runs(&[]).is_empty());
    }

    /// A worker may die between two batches: what belongs together would be stored in part.
    #[test]
    fn groups_of_records_share_batches_and_are_not_divided() {
        let value = "x".repeat(100_000);
        let group = |name: &str, count: usize| -> Vec<KeyValue> {
            (0..count)
                .map(|n| record(&format!("{name}{n}"), Some(&value)))
                .collect()
        };
        let groups = [group("a", 3), group("b", 3), group("c", 2), group("d", 12)];
        let batches = together(groups.clone());
        assert_eq!(batches.concat(), groups.concat());
        let sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
        assert_eq!(sizes, [3, 5, 5, 5, 2]);
    }
}
