//! Committed offsets of consumer groups, read and written from outside the group.

use std::collections::HashMap;

use indexmap::IndexMap;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;

use super::{
    Admin, Error, ErrorCode, Operation, Outcomes, Target, TopicPartition, by_topic, in_order,
    partition_label,
};
use crate::kafka::client::{CoordinatorKind, topic_name};
use crate::kafka::connection::Connection;
use crate::kafka::metadata::Broker;

const PARTITIONS_A_REQUEST: usize = 2_000;

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// -1: unknown.
    pub leader_epoch: i32,
    pub metadata: String,
}

/// An offset that a group has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: i64,
    /// -1: unknown.
    pub leader_epoch: i32,
    pub metadata: String,
}

impl Admin {
    /// Commits offsets for a group without being a member; refused while the group has members.
    pub async fn offset_commit(
        &self,
        group: &str,
        offsets: Vec<OffsetCommit>,
    ) -> Outcomes<TopicPartition, ()> {
        let keys: Vec<TopicPartition> = offsets
            .iter()
            .map(|offset| (offset.topic.clone(), offset.partition))
            .collect();
        let results = self
            .each(
                offsets,
                PARTITIONS_A_REQUEST,
                |_| coordinator(group),
                |connection, items| async move {
                    let partitions = items.iter().map(|item| {
                        let commit = &item.value;
                        let metadata = StrBytes::from_string(commit.metadata.clone());
                        let partition = OffsetCommitRequestPartition::default()
                            .with_partition_index(commit.partition)
                            .with_committed_offset(commit.offset)
                            .with_committed_leader_epoch(commit.leader_epoch)
                            .with_committed_metadata(Some(metadata));
                        (commit.topic.clone(), partition)
                    });
                    let has_epochs = connection.version::<OffsetCommitRequest>()? >= 6;
                    let topics = by_topic(partitions)
                        .into_iter()
                        .map(|(topic, mut partitions)| {
                            if !has_epochs {
                                for partition in &mut partitions {
                                    partition.committed_leader_epoch = -1;
                                }
                            }
                            OffsetCommitRequestTopic::default()
                                .with_name(topic_name(&topic))
                                .with_partitions(partitions)
                        });
                    let request = OffsetCommitRequest::default()
                        .with_group_id(group_id(group))
                        .with_generation_id_or_member_epoch(-1)
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
                        .map(|item| (item.value.topic.clone(), item.value.partition));
                    Ok(in_order(
                        &connection,
                        "OffsetCommit",
                        wanted,
                        answers,
                        |(topic, partition), answer| {
                            let label = partition_label(topic, *partition);
                            let resource = format!("group {group} for {label}");
                            ErrorCode(answer.error_code).ok().map_err(|code| {
                                Error::broker(code, None, Operation::CommitOffsets, resource)
                            })
                        },
                    ))
                },
            )
            .await;
        keys.into_iter().zip(results).collect()
    }

    /// What a group has committed: for the given partitions, or for all it has commits for. A
    /// partition without a commit is left out.
    ///
    /// # Errors
    /// The group's own error, or that of the first partition that has one.
    pub async fn offset_fetch(
        &self,
        group: &str,
        partitions: Option<Vec<TopicPartition>>,
    ) -> Result<IndexMap<TopicPartition, CommittedOffset>, Error> {
        let mut results = self
            .each(
                vec![partitions],
                1,
                |_| coordinator(group),
                |connection, mut items| async move {
                    let partitions = items.pop().and_then(|item| item.value);
                    Ok(vec![fetch_offsets(&connection, group, partitions).await])
                },
            )
            .await;
        results.pop().expect("one item has one result")
    }

    /// Which broker coordinates a group or a transactional id.
    ///
    /// # Errors
    /// The broker's own, when it lasts until the deadline.
    pub async fn find_coordinator(
        &self,
        kind: CoordinatorKind,
        key: &str,
    ) -> Result<Broker, Error> {
        self.retry(|| self.client.find_coordinator(kind, key)).await
    }
}

async fn fetch_offsets(
    connection: &Connection,
    group: &str,
    partitions: Option<Vec<TopicPartition>>,
) -> Result<IndexMap<TopicPartition, CommittedOffset>, Error> {
    let topics = partitions.map(|partitions| by_topic(partitions.into_iter()));
    let batched = connection.version::<OffsetFetchRequest>()? >= 8;
    let request = if batched {
        let topics = topics.map(|topics| {
            let topics = topics.into_iter().map(|(topic, partitions)| {
                OffsetFetchRequestTopics::default()
                    .with_name(topic_name(&topic))
                    .with_partition_indexes(partitions)
            });
            topics.collect()
        });
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(group))
            .with_topics(topics);
        OffsetFetchRequest::default().with_groups(vec![group])
    } else {
        let topics = topics.map(|topics| {
            let topics = topics.into_iter().map(|(topic, partitions)| {
                OffsetFetchRequestTopic::default()
                    .with_name(topic_name(&topic))
                    .with_partition_indexes(partitions)
            });
            topics.collect()
        });
        OffsetFetchRequest::default()
            .with_group_id(group_id(group))
            .with_topics(topics)
    };
    let response = connection.send(&request).await?;
    let mut code = response.error_code;
    let mut found = Vec::new();
    for topic in response.topics {
        let name = topic.name.0.to_string();
        for p in topic.partitions {
            let offset = committed(p.committed_offset, p.committed_leader_epoch, p.metadata);
            found.push((name.clone(), p.partition_index, p.error_code, offset));
        }
    }
    for group in response.groups {
        code = group.error_code;
        for topic in group.topics {
            let name = topic.name.0.to_string();
            for p in topic.partitions {
                let offset = committed(p.committed_offset, p.committed_leader_epoch, p.metadata);
                found.push((name.clone(), p.partition_index, p.error_code, offset));
            }
        }
    }
    let refused = |code: ErrorCode, resource: String| {
        Error::broker(code, None, Operation::FetchOffsets, resource)
    };
    ErrorCode(code)
        .ok()
        .map_err(|code| refused(code, format!("group {group}")))?;
    let mut offsets = IndexMap::new();
    for (topic, partition, code, offset) in found {
        ErrorCode(code).ok().map_err(|code| {
            let label = partition_label(&topic, partition);
            refused(code, format!("group {group} for {label}"))
        })?;
        if offset.offset >= 0 {
            offsets.insert((topic, partition), offset);
        }
    }
    Ok(offsets)
}

fn committed(offset: i64, leader_epoch: i32, metadata: Option<StrBytes>) -> CommittedOffset {
    CommittedOffset {
        offset,
        leader_epoch,
        metadata: metadata.map(|text| text.to_string()).unwrap_or_default(),
    }
}

fn coordinator(group: &str) -> Target {
    Target::Coordinator {
        kind: CoordinatorKind::Group,
        key: group.to_owned(),
    }
}

pub(super) fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}
