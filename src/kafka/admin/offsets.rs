//! Log ends, lookups by time, and moving the start of a log.

use std::collections::HashMap;

use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{DeleteRecordsRequest, ListOffsetsRequest};

use super::{
    Admin, Error, ErrorCode, Operation, Outcomes, Target, TopicPartition, by_topic, in_order,
    partition_label,
};
use crate::kafka::client::topic_name;
use crate::kafka::fetch::Isolation;

const PARTITIONS_A_REQUEST: usize = 2_000;
const TIMEOUT_MS: i32 = 20_000;
/// Replica ids of clients (`ListOffsetsRequest`): consumers are told what they may read, a debugging consumer where the
/// log ends.
const CONSUMER: i32 = -1;
const DEBUGGING_CONSUMER: i32 = -2;

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OffsetSpec {
    /// The first one that is still there.
    Earliest,
    /// One past the last that the isolation level shows: high watermark or last stable offset.
    Latest,
    /// The first record with this time or a later one, in milliseconds since the epoch.
    Timestamp(i64),
}

/// An offset that was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// -1: no record is as late as the time asked for.
    pub offset: i64,
    /// Of the record found by time, else -1.
    pub timestamp: i64,
    /// -1 where the broker does not say.
    pub leader_epoch: i32,
}

impl Admin {
    /// Looks up offsets at the partitions' leaders.
    pub async fn list_offsets(
        &self,
        wanted: Vec<(String, i32, OffsetSpec)>,
        isolation: Isolation,
    ) -> Outcomes<TopicPartition, ListedOffset> {
        self.list_offsets_as(CONSUMER, wanted, isolation).await
    }

    /// Where logs end at their leaders, above the high watermark too: what is appended and not replicated yet.
    pub async fn log_ends(
        &self,
        wanted: Vec<TopicPartition>,
    ) -> Outcomes<TopicPartition, ListedOffset> {
        let latest = |(topic, partition)| (topic, partition, OffsetSpec::Latest);
        let wanted = wanted.into_iter().map(latest).collect();
        self.list_offsets_as(DEBUGGING_CONSUMER, wanted, Isolation::ReadUncommitted)
            .await
    }

    async fn list_offsets_as(
        &self,
        replica_id: i32,
        wanted: Vec<(String, i32, OffsetSpec)>,
        isolation: Isolation,
    ) -> Outcomes<TopicPartition, ListedOffset> {
        let keys: Vec<TopicPartition> = wanted
            .iter()
            .map(|(topic, partition, _)| (topic.clone(), *partition))
            .collect();
        let results = self
            .each(
                wanted,
                PARTITIONS_A_REQUEST,
                |(topic, partition, _)| Target::Leader {
                    topic: topic.clone(),
                    partition: *partition,
                },
                |connection, items| async move {
                    let partitions = items.iter().map(|item| {
                        let (topic, partition, spec) = &item.value;
                        let partition = ListOffsetsPartition::default()
                            .with_partition_index(*partition)
                            .with_timestamp(spec.code());
                        (topic.clone(), partition)
                    });
                    let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
                        ListOffsetsTopic::default()
                            .with_name(topic_name(&topic))
                            .with_partitions(partitions)
                    });
                    let request = ListOffsetsRequest::default()
                        .with_replica_id(replica_id.into())
                        .with_isolation_level(isolation.code())
                        .with_topics(topics.collect());
                    let response = connection.send(&request).await?;
                    let mut answers = HashMap::new();
                    for topic in response.topics {
                        let name = topic.name.0.to_string();
                        for partition in topic.partitions {
                            answers.insert((name.clone(), partition.partition_index), partition);
                        }
                    }
                    let wanted = items
                        .iter()
                        .map(|item| (item.value.0.clone(), item.value.1));
                    Ok(in_order(
                        &connection,
                        "ListOffsets",
                        wanted,
                        answers,
                        |(topic, partition), answer| {
                            checked(answer.error_code, Operation::ListOffsets, topic, *partition)?;
                            Ok(ListedOffset {
                                offset: answer.offset,
                                timestamp: answer.timestamp,
                                leader_epoch: answer.leader_epoch,
                            })
                        },
                    ))
                },
            )
            .await;
        keys.into_iter().zip(results).collect()
    }

    /// Moves the start of logs up to an offset (-1: the high watermark). Gives the new starts.
    pub async fn delete_records(
        &self,
        before: Vec<(String, i32, i64)>,
    ) -> Outcomes<TopicPartition, i64> {
        let keys: Vec<TopicPartition> = before
            .iter()
            .map(|(topic, partition, _)| (topic.clone(), *partition))
            .collect();
        let results = self
            .each(
                before,
                PARTITIONS_A_REQUEST,
                |(topic, partition, _)| Target::Leader {
                    topic: topic.clone(),
                    partition: *partition,
                },
                |connection, items| async move {
                    let partitions = items.iter().map(|item| {
                        let (topic, partition, offset) = &item.value;
                        let partition = DeleteRecordsPartition::default()
                            .with_partition_index(*partition)
                            .with_offset(*offset);
                        (topic.clone(), partition)
                    });
                    let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
                        DeleteRecordsTopic::default()
                            .with_name(topic_name(&topic))
                            .with_partitions(partitions)
                    });
                    let request = DeleteRecordsRequest::default()
                        .with_topics(topics.collect())
                        .with_timeout_ms(TIMEOUT_MS);
                    let response = connection.send(&request).await?;
                    let mut answers = HashMap::new();
                    for topic in response.topics {
                        let name = topic.name.0.to_string();
                        for partition in topic.partitions {
                            answers.insert((name.clone(), partition.partition_index), partition);
                        }
                    }
                    let wanted = items
                        .iter()
                        .map(|item| (item.value.0.clone(), item.value.1));
                    Ok(in_order(
                        &connection,
                        "DeleteRecords",
                        wanted,
                        answers,
                        |(topic, partition), answer| {
                            checked(
                                answer.error_code,
                                Operation::DeleteRecords,
                                topic,
                                *partition,
                            )?;
                            Ok(answer.low_watermark)
                        },
                    ))
                },
            )
            .await;
        keys.into_iter().zip(results).collect()
    }
}

impl OffsetSpec {
    fn code(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest => -1,
            Self::Timestamp(milliseconds) => milliseconds,
        }
    }
}

fn checked(code: i16, operation: Operation, topic: &str, partition: i32) -> Result<(), Error> {
    ErrorCode(code)
        .ok()
        .map_err(|code| Error::broker(code, None, operation, partition_label(topic, partition)))
}
