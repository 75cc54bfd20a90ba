//! Trying out what the mirror engine relies on.
//!
//! One scratch topic is created with a partition for each broker, so that each broker leads one; everything is tried at
//! every leader. The topic is removed afterwards, whatever happened.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::future::join_all;
use kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, CreateTopicsRequest, DeleteRecordsRequest, DescribeConfigsRequest,
    DescribeProducersRequest, EndTxnRequest, FetchRequest, InitProducerIdRequest,
    ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, ProduceRequest, ProducerId,
    TopicName, WriteTxnMarkersRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use uuid::Uuid;

use super::settings::{self, TopicSettings};
use super::{Check, Examined, Outcome, SCRATCH_PREFIX, Subject};
use crate::control::store;
use crate::kafka::admin::{ConfigChange, ConfigResource, NewTopic, OffsetSpec, ProducerIdentity};
use crate::kafka::fetch::{FetchOptions, FetchPartition, Isolation, fetch};
use crate::kafka::produce::{ProduceBatch, ProducedPartition, produce};
use crate::kafka::{Client, ClusterMetadata, Connection, Error, ErrorCode, Topics};
use crate::mirror::batch::header::Batches;
use crate::mirror::batch::rewrite::rewritten;
use crate::mirror::batch::{BatchHeader, HEADER_LEN, Stamp};

/// Brokers that are tried, at most: each costs a partition and some fifty requests.
const MOST_BROKERS: usize = 16;
/// How long what was written may take to be seen.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PRODUCE_TIMEOUT_MS: i32 = 10_000;
/// What a clock may differ by before people should know.
const SKEW: Duration = Duration::from_secs(5);
/// Since this version of Produce (Kafka 3.7), the high watermark does not move while fewer replicas than
/// `min.insync.replicas` are in sync; before, what one leader alone has could count as safe.
const WATERMARK_KEEPS_MIN_ISR: i16 = 10;

/// A name for a scratch topic that nobody else uses.
pub fn scratch_name() -> String {
    let id = Uuid::new_v4().simple().to_string();
    format!("{SCRATCH_PREFIX}{}", &id[..8])
}

/// Examines a destination: creates the topic `scratch`, tries everything, and removes the topic.
///
/// # Errors
/// The cluster can't be asked, or does not let the topic be created.
pub async fn examine(client: &Client, scratch: &str) -> Result<Examined, Error> {
    let metadata = client.admin().metadata(Topics::All).await?;
    let mut checks = requests(client, &metadata).await?;
    create(client, scratch, &metadata).await?;
    let tried = on_scratch(client, scratch, &metadata).await;
    let removed = remove(client, scratch).await;
    checks.extend(tried?);
    checks.sort_by_key(|check| check.subject);
    Ok(Examined {
        cluster: client.cluster_name().to_owned(),
        cluster_id: metadata.cluster_id.clone(),
        brokers: metadata.brokers.len(),
        checks,
        left_behind: removed.err().map(|error| format!("{scratch}: {error}")),
    })
}

/// Whether every broker knows what the engine sends.
async fn requests(client: &Client, metadata: &ClusterMetadata) -> Result<Vec<Check>, Error> {
    let mut lacking = Vec::new();
    let mut oldest: Option<(i16, &str)> = None;
    for broker in &metadata.brokers {
        let connection = client.connect_broker(broker.id).await?;
        let needed = [
            connection.version::<ProduceRequest>(),
            connection.version::<FetchRequest>(),
            connection.version::<ListOffsetsRequest>(),
            connection.version::<MetadataRequest>(),
            connection.version::<InitProducerIdRequest>(),
            connection.version::<DescribeProducersRequest>(),
            connection.version::<AddPartitionsToTxnRequest>(),
            connection.version::<EndTxnRequest>(),
            connection.version::<OffsetCommitRequest>(),
            connection.version::<CreateTopicsRequest>(),
            connection.version::<DescribeConfigsRequest>(),
            connection.version::<DeleteRecordsRequest>(),
        ];
        for error in needed.into_iter().filter_map(Result::err) {
            lacking.push(Check::failed(
                Subject::Requests,
                format!("broker {}: {error}", broker.id),
            ));
        }
        let release = release(&connection);
        if oldest.is_none_or(|(version, _)| release.0 < version) {
            oldest = Some(release);
        }
    }
    if !lacking.is_empty() {
        return Ok(lacking);
    }
    let release = oldest.map_or("", |(_, release)| release);
    Ok(vec![Check::passed(
        Subject::Requests,
        match metadata.brokers.len() {
            1 => format!("the broker knows all that mirrors send ({release})"),
            count => format!("all {count} brokers know all that mirrors send ({release})"),
        },
    )])
}

/// The newest release that a broker surely is, by its newest Fetch, and that version.
fn release(connection: &Connection) -> (i16, &'static str) {
    let fetch = connection.versions().offered(FetchRequest::KEY);
    let newest = fetch.map_or(0, |(_, newest)| newest);
    let release = match newest {
        ..12 => "older than Kafka 2.7",
        12 => "Kafka 2.7 or later",
        13 | 14 => "Kafka 3.1 or later",
        15 => "Kafka 3.5 or later",
        16 => "Kafka 3.7 or later",
        17 => "Kafka 3.9 or later",
        18.. => "Kafka 4.1 or later",
    };
    (newest, release)
}

async fn create(client: &Client, scratch: &str, metadata: &ClusterMetadata) -> Result<(), Error> {
    let count = metadata.brokers.len().clamp(1, MOST_BROKERS);
    let topic = NewTopic {
        name: scratch.to_owned(),
        partitions: Some(i32::try_from(count).expect("a few")),
        replication_factor: Some(i16::try_from(count.min(3)).expect("a few")),
        configs: Vec::new(),
    };
    let created = client.admin().create_topics(vec![topic], false).await;
    only(created).map(drop)
}

async fn remove(client: &Client, scratch: &str) -> Result<(), Error> {
    only(client.admin().delete_topics(vec![scratch.to_owned()]).await)
}

/// The outcome of the one item that was asked for.
fn only<K, T>(outcomes: Vec<(K, Result<T, Error>)>) -> Result<T, Error> {
    let (_, outcome) = outcomes
        .into_iter()
        .next()
        .expect("one item has one outcome");
    outcome
}

async fn on_scratch(
    client: &Client,
    scratch: &str,
    metadata: &ClusterMetadata,
) -> Result<Vec<Check>, Error> {
    // Before any setting of the scratch topic is changed.
    let mut checks = settings::judge(&topic_settings(client, scratch, metadata).await?);
    let names = [scratch.to_owned()];
    let topic = client.admin().metadata(Topics::Named(&names)).await?;
    let partitions = topic.topic(scratch).map_or(0, |it| it.partitions.len());
    let partitions = i32::try_from(partitions).expect("a few");
    let mut places = Vec::new();
    for partition in 0..partitions {
        let leader = client.leader(scratch, partition).await?;
        places.push((partition, leader));
    }
    places.sort_by_key(|(_, leader)| *leader);
    places.dedup_by_key(|(_, leader)| *leader);
    let probes = places.iter().map(|(partition, leader)| async {
        let producer = client.admin().init_producer_id(None, 0).await?;
        let connection = client.connect_broker(*leader).await?;
        let mut probe = Probe {
            client,
            connection,
            topic: scratch,
            partition: *partition,
            leader: *leader,
            producer,
            count: 0,
            end: 0,
            checks: Vec::new(),
        };
        probe.run().await?;
        Ok(probe.checks)
    });
    let found = join_all(probes).await;
    let found: Vec<Vec<Check>> = found.into_iter().collect::<Result<_, Error>>()?;
    checks.extend(merged(&found));
    checks.extend(clocks(client, scratch, &places).await);
    Ok(checks)
}

/// Each thing once that leaders agree on; what differs names its broker.
fn merged(found: &[Vec<Check>]) -> Vec<Check> {
    let mut merged: Vec<Check> = Vec::new();
    for check in found.iter().flatten() {
        if !merged.contains(check) {
            merged.push(check.clone());
        }
    }
    let tried = [
        Subject::TakenOnce,
        Subject::GapRefused,
        Subject::HeaderRewritten,
        Subject::ProducerState,
        Subject::AcksOne,
        Subject::ControlMarkers,
        Subject::DeleteRecords,
    ];
    for subject in tried {
        // Where one leader failed early, the others' success says nothing of it.
        let times = found
            .iter()
            .filter(|checks| checks.iter().any(|check| check.subject == subject));
        if times.count() < found.len() {
            let detail = "not tried at every broker, because of what failed before";
            merged.push(Check::new(subject, Outcome::Untried, detail));
        }
    }
    merged
}

/// The tries at one leader.
struct Probe<'a> {
    client: &'a Client,
    connection: Connection,
    topic: &'a str,
    partition: i32,
    leader: i32,
    producer: ProducerIdentity,
    /// Records written with the producer id.
    count: i64,
    /// Where the log ends.
    end: i64,
    checks: Vec<Check>,
}

impl Probe<'_> {
    async fn run(&mut self) -> Result<(), Error> {
        if self.takes_once().await? && self.rewrites_headers().await? {
            self.tells_producers().await?;
            self.acknowledges_alone().await?;
            self.writes_markers().await?;
            self.deletes_records().await?;
        }
        Ok(())
    }

    fn pass(&mut self, subject: Subject, detail: &str) {
        self.checks.push(Check::passed(subject, detail));
    }

    fn fail(&mut self, subject: Subject, detail: &str) {
        let detail = format!("broker {}: {detail}", self.leader);
        self.checks.push(Check::failed(subject, detail));
    }

    async fn takes_once(&mut self) -> Result<bool, Error> {
        let first = own_batch(self.producer, 0, 3);
        let taken = self.send(&first, -1).await?;
        if let Err(code) = taken.error.ok() {
            let words = taken.message.unwrap_or_default();
            self.fail(
                Subject::TakenOnce,
                &format!("a first batch was refused: {code} {words}"),
            );
            return Ok(false);
        }
        let gap = self.send(&own_batch(self.producer, 13, 1), -1).await?;
        if gap.error == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER {
            self.pass(Subject::GapRefused, "a batch that leaves a gap is refused");
        } else {
            let said = said(&gap);
            self.fail(
                Subject::GapRefused,
                &format!("a batch that leaves a gap was not refused as such: {said}"),
            );
        }
        let again = self.send(&first, -1).await?;
        (self.count, self.end) = (3, 3);
        let end = self.end_reaches(self.end).await?;
        let known = again.error.is_ok() && again.base_offset == taken.base_offset;
        if known && end == self.end {
            self.pass(
                Subject::TakenOnce,
                "a batch that is sent twice is taken once and acknowledged where it lies",
            );
            return Ok(true);
        }
        let said = said(&again);
        self.fail(
            Subject::TakenOnce,
            &format!("a batch that is sent twice: {said}; the log ends at {end}, not at 3"),
        );
        Ok(false)
    }

    /// A batch as it lies in a source's log, with the mirror's header.
    async fn rewrites_headers(&mut self) -> Result<bool, Error> {
        let source = batch(77, 5, Compression::Lz4, (12_345, 3, 900));
        let header = BatchHeader::parse(&source).expect("what was just encoded");
        let stamp = Stamp {
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            count: self.count,
        };
        let copy = rewritten(&header, &source, stamp);
        let written = self
            .produce(copy.header.clone(), copy.records.clone(), -1)
            .await?;
        if !written.error.is_ok() || written.base_offset != self.end {
            let said = said(&written);
            self.fail(
                Subject::HeaderRewritten,
                &format!("a batch with a rewritten header: {said}"),
            );
            return Ok(false);
        }
        (self.count, self.end) = (self.count + 5, self.end + 5);
        self.end_reaches(self.end).await?;
        match self.read_at(written.base_offset).await? {
            Some((_, bytes)) if bytes[HEADER_LEN..] == source[HEADER_LEN..] => self.pass(
                Subject::HeaderRewritten,
                "a batch with a rewritten header keeps its records byte for byte",
            ),
            Some((header, _)) if header.count == 5 => self.checks.push(Check::new(
                Subject::HeaderRewritten,
                Outcome::Warning,
                "the broker compresses batches anew (compression.type is not producer)",
            )),
            _ => self.fail(
                Subject::HeaderRewritten,
                "a batch with a rewritten header cannot be read back",
            ),
        }
        Ok(true)
    }

    async fn tells_producers(&mut self) -> Result<(), Error> {
        let partitions = vec![(self.topic.to_owned(), self.partition)];
        let admin = self.client.admin();
        let told = only(admin.describe_producers(partitions).await);
        match told {
            Ok(producers) => {
                let own = producers
                    .iter()
                    .find(|producer| producer.producer_id == self.producer.id);
                let last = own.map(|producer| i64::from(producer.last_sequence));
                if last == Some(self.count - 1) {
                    self.pass(
                        Subject::ProducerState,
                        "leaders tell the last sequence that they took",
                    );
                } else {
                    let expected = self.count - 1;
                    self.fail(
                        Subject::ProducerState,
                        &format!(
                            "DescribeProducers tells {last:?} as last sequence, not {expected}"
                        ),
                    );
                }
            }
            Err(error) => self.fail(Subject::ProducerState, &error.to_string()),
        }
        Ok(())
    }

    async fn acknowledges_alone(&mut self) -> Result<(), Error> {
        let sequence = i32::try_from(self.count).expect("a few");
        let written = self.send(&own_batch(self.producer, sequence, 2), 1).await?;
        if !written.error.is_ok() || written.base_offset != self.end {
            let said = said(&written);
            self.fail(
                Subject::AcksOne,
                &format!("a batch that the leader acknowledges alone: {said}"),
            );
            return Ok(());
        }
        (self.count, self.end) = (self.count + 2, self.end + 2);
        let end = self.end_reaches(self.end).await?;
        let produce = self.connection.versions().offered(ProduceRequest::KEY);
        if end != self.end {
            let expected = self.end;
            self.fail(
                Subject::AcksOne,
                &format!("the high watermark stays at {end} and does not reach {expected}"),
            );
        } else if produce.is_some_and(|(_, newest)| newest >= WATERMARK_KEEPS_MIN_ISR) {
            self.pass(
                Subject::AcksOne,
                "what the leader acknowledged alone comes below the high watermark, which keeps min.insync.replicas",
            );
        } else {
            let detail = format!(
                "broker {} is older than Kafka 3.7, whose high watermark keeps min.insync.replicas: mirrors wait for all replicas",
                self.leader
            );
            self.checks
                .push(Check::new(Subject::AcksOne, Outcome::Warning, detail));
        }
        Ok(())
    }

    async fn writes_markers(&mut self) -> Result<(), Error> {
        let topic = WritableTxnMarkerTopic::default()
            .with_name(TopicName(StrBytes::from_string(self.topic.to_owned())))
            .with_partition_indexes(vec![self.partition]);
        let marker = WritableTxnMarker::default()
            .with_producer_id(ProducerId(self.producer.id))
            .with_producer_epoch(self.producer.epoch)
            .with_transaction_result(false)
            .with_coordinator_epoch(0)
            .with_topics(vec![topic]);
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
        let response = match self.connection.send(&request).await {
            Ok(response) => response,
            Err(error @ Error::UnsupportedApi { .. }) => {
                let detail = format!("{error}; holes of the source take empty transactions");
                self.checks.push(Check::new(
                    Subject::ControlMarkers,
                    Outcome::Warning,
                    detail,
                ));
                return Ok(());
            }
            // A broker that refuses the request as a whole hangs up.
            Err(error) => return Err(error),
        };
        let code = response
            .markers
            .iter()
            .flat_map(|marker| &marker.topics)
            .flat_map(|topic| &topic.partitions)
            .map(|partition| ErrorCode(partition.error_code))
            .next()
            .unwrap_or(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
        if code.is_authorization() {
            let user = self.client.asked().user;
            let detail = format!(
                "Alter or ClusterAction on the cluster is not granted to {user}: holes of the source take empty transactions, which are slower"
            );
            self.checks.push(Check::new(
                Subject::ControlMarkers,
                Outcome::Warning,
                detail,
            ));
            return Ok(());
        }
        if !code.is_ok() {
            self.fail(
                Subject::ControlMarkers,
                &format!("a marker was refused: {code}"),
            );
            return Ok(());
        }
        let place = self.end;
        let end = self.end_reaches(place + 1).await?;
        let is_control = self
            .read_at(place)
            .await?
            .is_some_and(|(header, _)| header.is_control());
        self.end = end;
        let sequence = i32::try_from(self.count).expect("a few");
        let after = self
            .send(&own_batch(self.producer, sequence, 1), -1)
            .await?;
        if end == place + 1 && is_control && after.error.is_ok() && after.base_offset == end {
            (self.count, self.end) = (self.count + 1, self.end + 1);
            self.end_reaches(self.end).await?;
            self.pass(
                Subject::ControlMarkers,
                "a marker takes one offset that no consumer sees, and the sequence goes on behind it",
            );
        } else {
            let said = said(&after);
            self.fail(
                Subject::ControlMarkers,
                &format!(
                    "after a marker the log ends at {end}, not {}; the next batch: {said}",
                    place + 1
                ),
            );
        }
        Ok(())
    }

    async fn deletes_records(&mut self) -> Result<(), Error> {
        const START: i64 = 2;
        let admin = self.client.admin();
        let before = vec![(self.topic.to_owned(), self.partition, START)];
        let moved = only(admin.delete_records(before).await);
        let start = match moved {
            Ok(_) => self.offset(OffsetSpec::Earliest).await?,
            Err(error) if error.code().is_some_and(ErrorCode::is_authorization) => {
                let detail = format!("{error}: a source that begins later cannot keep its offsets");
                self.checks
                    .push(Check::new(Subject::DeleteRecords, Outcome::Warning, detail));
                return Ok(());
            }
            Err(error) => {
                self.fail(Subject::DeleteRecords, &error.to_string());
                return Ok(());
            }
        };
        if start == START {
            self.pass(Subject::DeleteRecords, "the start of a log can be moved");
        } else {
            self.fail(
                Subject::DeleteRecords,
                &format!("the log starts at {start}, not at {START}"),
            );
        }
        Ok(())
    }

    async fn send(&self, batch: &Bytes, acks: i16) -> Result<ProducedPartition, Error> {
        self.produce(Bytes::new(), batch.clone(), acks).await
    }

    async fn produce(
        &self,
        head: Bytes,
        batch: Bytes,
        acks: i16,
    ) -> Result<ProducedPartition, Error> {
        let batch = ProduceBatch {
            topic: self.topic,
            partition: self.partition,
            head,
            batch,
        };
        let answers = produce(&self.connection, acks, PRODUCE_TIMEOUT_MS, &[batch]).await?;
        Ok(answers
            .into_iter()
            .next()
            .expect("one batch has one answer"))
    }

    async fn offset(&self, spec: OffsetSpec) -> Result<i64, Error> {
        let wanted = vec![(self.topic.to_owned(), self.partition, spec)];
        let admin = self.client.admin();
        let found = only(admin.list_offsets(wanted, Isolation::ReadUncommitted).await)?;
        Ok(found.offset)
    }

    /// The end that readers see, once it is there or nothing more is to be expected.
    async fn end_reaches(&self, expected: i64) -> Result<i64, Error> {
        let started = Instant::now();
        loop {
            let end = self.offset(OffsetSpec::Latest).await?;
            if end >= expected || started.elapsed() > PATIENCE {
                return Ok(end);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The batch that holds an offset.
    async fn read_at(&self, offset: i64) -> Result<Option<(BatchHeader, Bytes)>, Error> {
        let options = FetchOptions {
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: 1 << 20,
            isolation: Isolation::ReadUncommitted,
        };
        let wanted = FetchPartition {
            topic: self.topic.to_owned(),
            topic_id: Uuid::nil(),
            partition: self.partition,
            offset,
            current_leader_epoch: -1,
            max_bytes: 1 << 20,
        };
        let found = fetch(&self.connection, &options, &[wanted]).await?;
        let records = found.into_iter().next().map(|found| found.records);
        let batches = Batches::new(records.unwrap_or_default());
        Ok(batches
            .filter_map(Result::ok)
            .find(|(header, _)| header.next_offset() > offset))
    }
}

/// What a broker said of a batch.
fn said(answer: &ProducedPartition) -> String {
    match answer.error.ok() {
        Ok(()) => format!("taken at offset {}", answer.base_offset),
        Err(code) => match &answer.message {
            Some(words) => format!("{code}: {words}"),
            None => code.to_string(),
        },
    }
}

/// How far the clocks of leaders are from ours, told by the times that they give to records.
async fn clocks(client: &Client, scratch: &str, places: &[(i32, i32)]) -> Vec<Check> {
    let change = ConfigChange {
        name: "message.timestamp.type".to_owned(),
        value: Some("LogAppendTime".to_owned()),
    };
    let changes = vec![(ConfigResource::Topic(scratch.to_owned()), vec![change])];
    let altered = client
        .admin()
        .incremental_alter_configs(changes, false)
        .await;
    if let Err(error) = only(altered) {
        let detail = format!("the brokers' clocks were not looked at: {error}");
        return vec![Check::new(Subject::Clock, Outcome::Untried, detail)];
    }
    let mut checks = Vec::new();
    let mut most = 0;
    for (partition, leader) in places {
        match clock(client, scratch, *partition, *leader).await {
            Ok(Some(ahead)) if ahead.unsigned_abs() > SKEW.as_millis() as u64 => {
                let way = if ahead > 0 { "ahead" } else { "behind" };
                let seconds = ahead.abs() / 1_000;
                let detail = format!(
                    "the clock of broker {leader} is {seconds} s {way}: times and expiries differ by that"
                );
                checks.push(Check::new(Subject::Clock, Outcome::Warning, detail));
            }
            Ok(Some(ahead)) => most = most.max(ahead.abs()),
            Ok(None) => {
                let detail = format!("broker {leader} does not tell its time");
                checks.push(Check::new(Subject::Clock, Outcome::Untried, detail));
            }
            Err(error) => {
                let detail = format!("the clock of broker {leader} was not looked at: {error}");
                checks.push(Check::new(Subject::Clock, Outcome::Untried, detail));
            }
        }
    }
    if checks.is_empty() {
        let whole = most / 1_000 + 1;
        let detail = format!("the brokers' clocks are within {whole} s of this machine's");
        checks.push(Check::passed(Subject::Clock, detail));
    }
    checks
}

/// Milliseconds by which a leader's clock is ahead of ours.
async fn clock(
    client: &Client,
    scratch: &str,
    partition: i32,
    leader: i32,
) -> Result<Option<i64>, Error> {
    let connection = client.connect_broker(leader).await?;
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let batch = ProduceBatch {
            topic: scratch,
            partition,
            head: Bytes::new(),
            batch: batch(0, 1, Compression::None, (-1, -1, -1)),
        };
        let before = now_ms();
        let answers = produce(&connection, -1, PRODUCE_TIMEOUT_MS, &[batch]).await?;
        let after = now_ms();
        let stamp = answers.first().map_or(-1, |it| it.log_append_time_ms);
        if stamp >= 0 {
            // Within the time that the request took, nothing can be told.
            let ahead = match stamp {
                stamp if stamp < before => stamp - before,
                stamp if stamp > after => stamp - after,
                _ => 0,
            };
            return Ok(Some(ahead));
        }
        // The broker has not heard of the setting yet.
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(None)
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A batch of the scratch topic's own producer.
fn own_batch(producer: ProducerIdentity, sequence: i32, count: i64) -> Bytes {
    batch(
        0,
        count,
        Compression::None,
        (producer.id, producer.epoch, sequence),
    )
}

fn batch(
    first: i64,
    count: i64,
    compression: Compression,
    (producer_id, producer_epoch, sequence): (i64, i16, i32),
) -> Bytes {
    let now = now_ms();
    let records: Vec<Record> = (first..first + count)
        .zip(0..)
        .map(|(offset, index)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id,
            producer_epoch,
            timestamp_type: TimestampType::Creation,
            offset,
            sequence: if sequence < 0 { -1 } else { sequence + index },
            timestamp: now,
            key: Some(Bytes::from_static(b"kmirror doctor")),
            value: Some(Bytes::from(format!("record {offset} of a trial"))),
            headers: Default::default(),
        })
        .collect();
    let mut buffer = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression,
    };
    RecordBatchEncoder::encode(&mut buffer, &records, &options)
        .expect("a few plain records can be encoded");
    buffer.freeze()
}

/// Settings of the topics that mirrors write to, and those that new topics get.
async fn topic_settings(
    client: &Client,
    scratch: &str,
    metadata: &ClusterMetadata,
) -> Result<Vec<TopicSettings>, Error> {
    let mut names = vec![(scratch.to_owned(), "new topics".to_owned())];
    if let Ok(Some(state)) = store::read(client).await {
        let mirrors = state.mirrors.values();
        let known = mirrors.filter(|mirror| metadata.topic(&mirror.destination_topic).is_some());
        names.extend(known.map(|mirror| {
            let topic = mirror.destination_topic.clone();
            let label = format!("topic {topic}");
            (topic, label)
        }));
    }
    let replicas = |topic: &str| {
        let partitions = metadata.topic(topic).map(|topic| &topic.partitions);
        let first = partitions.and_then(|partitions| partitions.first());
        first.map_or(metadata.brokers.len().min(3), |it| it.replicas.len())
    };
    let resources = names
        .iter()
        .map(|(topic, _)| ConfigResource::Topic(topic.clone()))
        .collect();
    let described = client.admin().describe_configs(resources).await;
    let mut settings = Vec::new();
    for ((topic, name), (_, outcome)) in names.into_iter().zip(described) {
        let values = outcome?
            .into_iter()
            .map(|entry| (entry.name, entry.value.unwrap_or_default()))
            .collect();
        settings.push(TopicSettings {
            name,
            replicas: replicas(&topic),
            values,
        });
    }
    Ok(settings)
}
