//! Records in and out: produce, fetch, offsets.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse as ProducersPartition, ProducerState, TopicResponse as ProducersTopic,
};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, LeaderIdAndEpoch as FetchLeader, PartitionData,
};
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, DeleteRecordsRequest, DeleteRecordsResponse, DescribeProducersRequest,
    DescribeProducersResponse, FetchRequest, FetchResponse, ListOffsetsRequest,
    ListOffsetsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, ProduceRequest,
    ProduceResponse, ProducerId,
};
use tokio::time::Instant;

use super::dispatch::{Call, Handler};
use super::meta::{text, topic_name};
use super::now_ms;
use crate::sandbox::broker::Cluster;
use crate::sandbox::broker::log::{Appended, Isolation, Log};
use crate::sandbox::broker::validate::{self, Refusal};
use crate::sandbox::lock;

/// Special timestamps of ListOffsets.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// First Produce and Fetch version that names topics by id.
pub(super) const BY_TOPIC_ID: i16 = 13;

/// A fetch that has been tried: what it would answer, and how much that is.
struct Attempt {
    topics: Vec<FetchedTopic>,
    bytes: usize,
    /// An error is answered at once, however little data there is.
    failed: bool,
}

struct FetchedTopic {
    answer: FetchableTopicResponse,
    /// By partition of `answer`: the batches, not yet copied together.
    records: Vec<Vec<Bytes>>,
}

impl Handler {
    pub(super) async fn produce(&self, request: ProduceRequest, call: &Call) -> ProduceResponse {
        let deadline = Instant::now() + millis(request.timeout_ms);
        let transactional_id = request.transactional_id.as_ref().map(|id| id.as_str());
        let mut responses = Vec::new();
        for topic in request.topic_data {
            let name = if call.version >= BY_TOPIC_ID {
                lock(&self.shared.cluster)
                    .topics
                    .name_of(topic.topic_id)
                    .map(str::to_owned)
            } else {
                Some(topic.name.to_string())
            };
            let mut answer = TopicProduceResponse::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id);
            for partition in topic.partition_data {
                let records = partition.records.unwrap_or_default();
                let result = match &name {
                    Some(name) => self.produce_one(
                        name,
                        partition.index,
                        &records,
                        request.acks,
                        transactional_id,
                        call,
                    ),
                    None => Err(Refusal {
                        error: E::UnknownTopicId,
                        message: None,
                        records: Vec::new(),
                    }),
                };
                let name = name.as_deref().unwrap_or_default();
                let one = self.produced(name, partition.index, result, call.version);
                answer.partition_responses.push(one);
            }
            responses.push((name, answer));
        }
        if request.acks == -1 {
            for (name, answer) in &mut responses {
                let name = name.as_deref().unwrap_or_default();
                for partition in &mut answer.partition_responses {
                    self.await_replication(name, partition, deadline).await;
                }
            }
        }
        ProduceResponse::default()
            .with_responses(responses.into_iter().map(|(_, answer)| answer).collect())
    }

    fn produce_one(
        &self,
        topic: &str,
        index: i32,
        records: &Bytes,
        acks: i16,
        transactional_id: Option<&str>,
        call: &Call,
    ) -> Result<Appended, Refusal> {
        let bare = |error| Refusal {
            error,
            message: None,
            records: Vec::new(),
        };
        if let Some(error) = self.shared.faults.failure(ApiKey::Produce, Some(topic)) {
            return Err(bare(error));
        }
        if !(-1..=1).contains(&acks) {
            return Err(bare(E::InvalidRequiredAcks));
        }
        let rules = {
            let cluster = lock(&self.shared.cluster);
            cluster.led_by(self.broker, topic, index).map_err(bare)?;
            cluster.topics.get(topic).map(|topic| topic.rules)
        }
        .ok_or_else(|| bare(E::UnknownTopicOrPartition))?;
        let place = format!("{topic}-{index}");
        let accepted = validate::validate(records, call.version, &rules, &place, now_ms())?;
        self.shared.change(|cluster| {
            cluster.append(self.broker, topic, index, accepted, acks, transactional_id)
        })
    }

    fn produced(
        &self,
        topic: &str,
        index: i32,
        result: Result<Appended, Refusal>,
        version: i16,
    ) -> PartitionProduceResponse {
        let answer = PartitionProduceResponse::default().with_index(index);
        let cluster = lock(&self.shared.cluster);
        let partition = cluster
            .topics
            .get(topic)
            .and_then(|topic| topic.partition(index));
        match result {
            Ok(appended) => answer
                .with_base_offset(appended.base_offset)
                .with_log_append_time_ms(appended.log_append_time)
                .with_log_start_offset(partition.map_or(-1, |partition| partition.log.start())),
            Err(refusal) => {
                let mut answer = answer
                    .with_error_code(refusal.error.code())
                    .with_base_offset(-1)
                    .with_log_append_time_ms(-1)
                    .with_log_start_offset(-1);
                if version >= 8 {
                    let records = refusal.records.into_iter().map(|(at, why)| {
                        BatchIndexAndErrorMessage::default()
                            .with_batch_index(at)
                            .with_batch_index_error_message(Some(text(why)))
                    });
                    answer = answer
                        .with_record_errors(records.collect())
                        .with_error_message(refusal.message.map(text));
                }
                if let (E::NotLeaderOrFollower, Some(partition), true) =
                    (refusal.error, partition, version >= 10)
                {
                    answer = answer.with_current_leader(
                        LeaderIdAndEpoch::default()
                            .with_leader_id(BrokerId(partition.leader.unwrap_or(-1)))
                            .with_leader_epoch(partition.log.leader_epoch()),
                    );
                }
                answer
            }
        }
    }

    /// With acks=all an answer waits for the high watermark, which only a fault holds back here.
    async fn await_replication(
        &self,
        topic: &str,
        answer: &mut PartitionProduceResponse,
        deadline: Instant,
    ) {
        if answer.error_code != 0 {
            return;
        }
        loop {
            let notified = self.shared.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            {
                let cluster = lock(&self.shared.cluster);
                match cluster.led_by(self.broker, topic, answer.index) {
                    Ok(partition) if partition.log.high_watermark() > answer.base_offset => return,
                    // The new leader may have lost what was appended here.
                    Ok(partition)
                        if !partition.log.is_watermark_held()
                            && partition.log.end() > answer.base_offset =>
                    {
                        return;
                    }
                    Ok(partition) if partition.log.is_watermark_held() => (),
                    Ok(_) => {
                        answer.error_code = E::NotLeaderOrFollower.code();
                        return;
                    }
                    Err(error) => {
                        answer.error_code = error.code();
                        return;
                    }
                }
            }
            if tokio::time::timeout_at(deadline, notified).await.is_err() {
                answer.error_code = E::RequestTimedOut.code();
                return;
            }
        }
    }

    pub(super) async fn fetch(&self, request: &FetchRequest, call: &Call) -> FetchResponse {
        let sessions = &self.shared.sessions;
        let turn = match lock(sessions).turn(self.broker, call.version, request) {
            Ok(turn) => turn,
            Err(error) => return FetchResponse::default().with_error_code(error.code()),
        };
        let wanted = usize::try_from(request.min_bytes).unwrap_or(0);
        let deadline = Instant::now() + millis(request.max_wait_ms);
        loop {
            let notified = self.shared.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let attempt = self.try_fetch(request, &turn.topics, call);
            let enough = attempt.bytes >= wanted || attempt.failed || turn.topics.is_empty();
            if enough || tokio::time::timeout_at(deadline, notified).await.is_err() {
                let mut response = assembled(attempt);
                lock(sessions).answer(&turn, &mut response);
                return response;
            }
        }
    }

    fn try_fetch(&self, request: &FetchRequest, topics: &[FetchTopic], call: &Call) -> Attempt {
        let cluster = lock(&self.shared.cluster);
        let isolation = isolation(request.isolation_level);
        let mut left = usize::try_from(request.max_bytes).unwrap_or(0);
        let mut attempt = Attempt {
            topics: Vec::new(),
            bytes: 0,
            failed: false,
        };
        for topic in topics {
            let name = if call.version >= BY_TOPIC_ID {
                cluster.topics.name_of(topic.topic_id)
            } else {
                Some(topic.topic.as_str())
            };
            let mut answer = FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_topic_id(topic.topic_id);
            let mut records = Vec::new();
            for partition in &topic.partitions {
                let first = attempt.bytes == 0;
                let (one, batches) =
                    self.fetch_one(&cluster, name, partition, isolation, left, first, call);
                attempt.failed |= one.error_code != 0;
                let size: usize = batches.iter().map(Bytes::len).sum();
                attempt.bytes += size;
                left = left.saturating_sub(size);
                answer.partitions.push(one);
                records.push(batches);
            }
            attempt.topics.push(FetchedTopic { answer, records });
        }
        attempt
    }

    #[allow(clippy::too_many_arguments)] // one partition of a request with what the request says of all
    fn fetch_one(
        &self,
        cluster: &Cluster,
        topic: Option<&str>,
        asked: &FetchPartition,
        isolation: Isolation,
        left: usize,
        first: bool,
        call: &Call,
    ) -> (PartitionData, Vec<Bytes>) {
        let answer = PartitionData::default()
            .with_partition_index(asked.partition)
            .with_high_watermark(-1)
            .with_records(Some(Bytes::new()));
        let failed =
            |answer: PartitionData, error: E| (answer.with_error_code(error.code()), Vec::new());
        let Some(topic) = topic else {
            return failed(answer, E::UnknownTopicId);
        };
        if let Some(error) = self.shared.faults.failure(ApiKey::Fetch, Some(topic)) {
            return failed(answer, error);
        }
        let partition = match cluster.led_by(self.broker, topic, asked.partition) {
            Ok(partition) => partition,
            Err(error) => {
                let (mut answer, none) = failed(answer, error);
                if let (true, Some(partition)) = (
                    call.version >= 12,
                    cluster
                        .topics
                        .get(topic)
                        .and_then(|t| t.partition(asked.partition)),
                ) {
                    answer = answer.with_current_leader(
                        FetchLeader::default()
                            .with_leader_id(BrokerId(partition.leader.unwrap_or(-1)))
                            .with_leader_epoch(partition.log.leader_epoch()),
                    );
                }
                return (answer, none);
            }
        };
        let log = &partition.log;
        if let Err(error) = check_epoch(log, asked.current_leader_epoch) {
            return failed(answer, error);
        }
        let limit = left.min(usize::try_from(asked.partition_max_bytes).unwrap_or(0));
        match log.read(asked.fetch_offset, limit, first, isolation) {
            Ok(read) => {
                let aborted = (isolation == Isolation::ReadCommitted).then(|| {
                    read.aborted
                        .iter()
                        .map(|txn| {
                            AbortedTransaction::default()
                                .with_producer_id(ProducerId(txn.producer_id))
                                .with_first_offset(txn.first_offset)
                        })
                        .collect()
                });
                let answer = answer
                    .with_high_watermark(log.high_watermark())
                    .with_last_stable_offset(log.last_stable_offset())
                    .with_log_start_offset(log.start())
                    .with_aborted_transactions(aborted);
                (answer, read.batches)
            }
            Err(error) => failed(answer, error),
        }
    }

    pub(super) fn list_offsets(
        &self,
        request: &ListOffsetsRequest,
        call: &Call,
    ) -> ListOffsetsResponse {
        let cluster = lock(&self.shared.cluster);
        let isolation = isolation(request.isolation_level);
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let answer = ListOffsetsPartitionResponse::default()
                    .with_partition_index(asked.partition_index)
                    .with_timestamp(-1)
                    .with_offset(-1);
                let found = self
                    .shared
                    .faults
                    .failure(ApiKey::ListOffsets, Some(&topic.name))
                    .map_or(Ok(()), Err)
                    .and_then(|()| cluster.led_by(self.broker, &topic.name, asked.partition_index))
                    .and_then(|partition| find_offset(&partition.log, asked, isolation));
                match found {
                    Ok((offset, timestamp, epoch)) => {
                        let answer = answer.with_offset(offset).with_timestamp(timestamp);
                        if call.version >= 4 {
                            answer.with_leader_epoch(epoch)
                        } else {
                            answer
                        }
                    }
                    Err(error) => answer.with_error_code(error.code()),
                }
            });
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }

    pub(super) fn offset_for_leader_epoch(
        &self,
        request: &OffsetForLeaderEpochRequest,
    ) -> OffsetForLeaderEpochResponse {
        let cluster = lock(&self.shared.cluster);
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let answer = EpochEndOffset::default()
                    .with_partition(asked.partition)
                    .with_leader_epoch(-1)
                    .with_end_offset(-1);
                let found = cluster
                    .led_by(self.broker, &topic.topic, asked.partition)
                    .and_then(|partition| {
                        check_epoch(&partition.log, asked.current_leader_epoch)?;
                        Ok(partition.log.end_of_epoch(asked.leader_epoch))
                    });
                match found {
                    Ok((epoch, end)) => answer.with_leader_epoch(epoch).with_end_offset(end),
                    Err(error) => answer.with_error_code(error.code()),
                }
            });
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions.collect())
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    }

    pub(super) fn delete_records(&self, request: &DeleteRecordsRequest) -> DeleteRecordsResponse {
        self.shared.change(|cluster| {
            let mut topics = Vec::new();
            for topic in &request.topics {
                let mut answer = DeleteRecordsTopicResult::default().with_name(topic.name.clone());
                for asked in &topic.partitions {
                    let result = cluster
                        .led_log_mut(self.broker, &topic.name, asked.partition_index)
                        .and_then(|log| log.delete_before(asked.offset));
                    let one = DeleteRecordsPartitionResult::default()
                        .with_partition_index(asked.partition_index);
                    answer.partitions.push(match result {
                        Ok(start) => one.with_low_watermark(start),
                        Err(error) => one.with_low_watermark(-1).with_error_code(error.code()),
                    });
                }
                topics.push(answer);
            }
            DeleteRecordsResponse::default().with_topics(topics)
        })
    }

    pub(super) fn describe_producers(
        &self,
        request: &DescribeProducersRequest,
    ) -> DescribeProducersResponse {
        let cluster = lock(&self.shared.cluster);
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|index| {
                let answer = ProducersPartition::default().with_partition_index(*index);
                match cluster.led_by(self.broker, &topic.name, *index) {
                    Ok(partition) => answer.with_active_producers(active_producers(&partition.log)),
                    Err(error) => answer.with_error_code(error.code()),
                }
            });
            ProducersTopic::default()
                .with_name(topic_name(&topic.name))
                .with_partitions(partitions.collect())
        });
        DescribeProducersResponse::default().with_topics(topics.collect())
    }
}

fn active_producers(log: &Log) -> Vec<ProducerState> {
    log.producers
        .iter()
        .map(|(id, producer)| {
            ProducerState::default()
                .with_producer_id(ProducerId(id))
                .with_producer_epoch(i32::from(producer.epoch))
                .with_last_sequence(producer.last_sequence())
                .with_last_timestamp(producer.last_timestamp)
                .with_coordinator_epoch(producer.coordinator_epoch)
                .with_current_txn_start_offset(producer.open_since.unwrap_or(-1))
        })
        .collect()
}

/// Offset, timestamp and leader epoch for one asked partition; -1 for what is not there.
fn find_offset(
    log: &Log,
    asked: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<(i64, i64, i32), E> {
    check_epoch(log, asked.current_leader_epoch)?;
    let found = match asked.timestamp {
        LATEST => return Ok((log.visible_end(isolation), -1, log.leader_epoch())),
        EARLIEST | EARLIEST_LOCAL => return Ok((log.start(), -1, log.epoch_at(log.start()))),
        LATEST_TIERED => None,
        MAX_TIMESTAMP => log.find_max_timestamp(),
        timestamp => log.find_by_time(timestamp, isolation),
    };
    Ok(found.map_or((-1, -1, -1), |found| {
        (found.offset, found.timestamp, found.leader_epoch)
    }))
}

/// -1 means that the client does not know the epoch.
fn check_epoch(log: &Log, known: i32) -> Result<(), E> {
    match known {
        -1 => Ok(()),
        older if older < log.leader_epoch() => Err(E::FencedLeaderEpoch),
        newer if newer > log.leader_epoch() => Err(E::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

fn isolation(level: i8) -> Isolation {
    if level == 1 {
        Isolation::ReadCommitted
    } else {
        Isolation::ReadUncommitted
    }
}

fn millis(number: i32) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}

fn assembled(attempt: Attempt) -> FetchResponse {
    let topics = attempt.topics.into_iter().map(|topic| {
        let mut answer = topic.answer;
        for (partition, batches) in answer.partitions.iter_mut().zip(topic.records) {
            partition.records = Some(match <[Bytes; 1]>::try_from(batches) {
                Ok([only]) => only,
                Err(batches) => {
                    let mut all = BytesMut::with_capacity(batches.iter().map(Bytes::len).sum());
                    for batch in batches {
                        all.extend_from_slice(&batch);
                    }
                    all.freeze()
                }
            });
        }
        answer
    });
    FetchResponse::default().with_responses(topics.collect())
}
