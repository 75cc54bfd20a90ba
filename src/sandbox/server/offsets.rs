//! Offsets that groups commit.

use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    ApiKey, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetFetchResponse,
};

use super::dispatch::{Call, Handler};
use super::meta::{text, topic_name};
use crate::sandbox::broker::Cluster;
use crate::sandbox::broker::group::Caller;
use crate::sandbox::broker::offsets::{Committed, MAX_METADATA, Offsets};
use crate::sandbox::lock;

impl Handler {
    pub(super) fn offset_commit(&self, request: &OffsetCommitRequest) -> OffsetCommitResponse {
        let group_id = request.group_id.as_str();
        let caller = Caller {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id_or_member_epoch,
        };
        let mut cluster = lock(&self.shared.cluster);
        let allowed = self
            .faulted(ApiKey::OffsetCommit)
            .and_then(|()| self.check_coordinator(&cluster, group_id))
            .and_then(|()| match cluster.groups.get(group_id) {
                Some(group) => group.check_commit(caller, false),
                None if group_id.is_empty() => Err(E::InvalidGroupId),
                None if caller.generation < 0 => Ok(()),
                None => Err(E::IllegalGeneration),
            });
        let mut topics = Vec::new();
        for topic in &request.topics {
            let mut results = Vec::new();
            for asked in &topic.partitions {
                let metadata = asked.committed_metadata.as_deref().unwrap_or_default();
                let known = cluster
                    .topics
                    .get(&topic.name)
                    .and_then(|topic| topic.partition(asked.partition_index));
                let error = match allowed {
                    Err(error) => Some(error),
                    Ok(()) if known.is_none() => Some(E::UnknownTopicOrPartition),
                    Ok(()) if metadata.len() > MAX_METADATA => Some(E::OffsetMetadataTooLarge),
                    Ok(()) => None,
                };
                if error.is_none() {
                    let committed = Committed {
                        offset: asked.committed_offset,
                        leader_epoch: asked.committed_leader_epoch,
                        metadata: metadata.to_owned(),
                    };
                    let place = (topic.name.to_string(), asked.partition_index);
                    cluster
                        .groups
                        .get_or_create(group_id)
                        .offsets
                        .commit(place, committed);
                }
                results.push(
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(asked.partition_index)
                        .with_error_code(error.map_or(0, |error| error.code())),
                );
            }
            topics.push(
                OffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(results),
            );
        }
        OffsetCommitResponse::default().with_topics(topics)
    }

    pub(super) fn offset_fetch(
        &self,
        request: &OffsetFetchRequest,
        call: &Call,
    ) -> OffsetFetchResponse {
        let cluster = lock(&self.shared.cluster);
        if call.version >= 8 {
            let groups = request.groups.iter();
            let groups =
                groups.map(|asked| self.fetch_group(&cluster, asked, request.require_stable));
            return OffsetFetchResponse::default().with_groups(groups.collect());
        }
        let group_id = request.group_id.as_str();
        if let Err(error) = self.may_fetch(&cluster, group_id) {
            let answer = OffsetFetchResponse::default().with_error_code(error.code());
            return if call.version >= 2 {
                answer
            } else {
                answer.with_error_code(0)
            };
        }
        let wanted: Option<Vec<(String, Vec<i32>)>> = request.topics.as_ref().map(|topics| {
            let topics = topics.iter();
            topics
                .map(|topic| (topic.name.to_string(), topic.partition_indexes.clone()))
                .collect()
        });
        let offsets = cluster.groups.get(group_id).map(|group| &group.offsets);
        let found = look_up(offsets, wanted, request.require_stable);
        let topics = found.into_iter().map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(|found| {
                let answer = OffsetFetchResponsePartition::default()
                    .with_partition_index(found.partition)
                    .with_committed_offset(found.offset)
                    .with_metadata(Some(text(found.metadata)))
                    .with_error_code(found.error);
                if call.version >= 5 {
                    answer.with_committed_leader_epoch(found.leader_epoch)
                } else {
                    answer
                }
            });
            OffsetFetchResponseTopic::default()
                .with_name(topic_name(&topic))
                .with_partitions(partitions.collect())
        });
        OffsetFetchResponse::default().with_topics(topics.collect())
    }

    fn may_fetch(&self, cluster: &Cluster, group_id: &str) -> Result<(), E> {
        self.faulted(ApiKey::OffsetFetch)?;
        self.check_coordinator(cluster, group_id)
    }

    fn fetch_group(
        &self,
        cluster: &Cluster,
        asked: &OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> OffsetFetchResponseGroup {
        let answer = OffsetFetchResponseGroup::default().with_group_id(asked.group_id.clone());
        if let Err(error) = self.may_fetch(cluster, &asked.group_id) {
            return answer.with_error_code(error.code());
        }
        let wanted: Option<Vec<(String, Vec<i32>)>> = asked.topics.as_ref().map(|topics| {
            let topics = topics.iter();
            topics
                .map(|topic| (topic.name.to_string(), topic.partition_indexes.clone()))
                .collect()
        });
        let offsets = cluster
            .groups
            .get(&asked.group_id)
            .map(|group| &group.offsets);
        let topics = look_up(offsets, wanted, require_stable).into_iter();
        let topics = topics.map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(|found| {
                OffsetFetchResponsePartitions::default()
                    .with_partition_index(found.partition)
                    .with_committed_offset(found.offset)
                    .with_committed_leader_epoch(found.leader_epoch)
                    .with_metadata(Some(text(found.metadata)))
                    .with_error_code(found.error)
            });
            OffsetFetchResponseTopics::default()
                .with_name(topic_name(&topic))
                .with_partitions(partitions.collect())
        });
        answer.with_topics(topics.collect())
    }

    pub(super) fn offset_delete(&self, request: &OffsetDeleteRequest) -> OffsetDeleteResponse {
        let group_id = request.group_id.as_str();
        let mut cluster = lock(&self.shared.cluster);
        if let Err(error) = self.check_coordinator(&cluster, group_id) {
            return OffsetDeleteResponse::default().with_error_code(error.code());
        }
        let Some(group) = cluster.groups.get_mut(group_id) else {
            return OffsetDeleteResponse::default().with_error_code(E::GroupIdNotFound.code());
        };
        if !group.is_empty() {
            // Which topics the members are subscribed to is the members' secret here.
            return OffsetDeleteResponse::default().with_error_code(E::NonEmptyGroup.code());
        }
        let mut topics = Vec::new();
        for topic in &request.topics {
            let partitions = topic.partitions.iter().map(|asked| {
                group
                    .offsets
                    .delete(&(topic.name.to_string(), asked.partition_index));
                OffsetDeleteResponsePartition::default().with_partition_index(asked.partition_index)
            });
            let partitions = partitions.collect();
            topics.push(
                OffsetDeleteResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions),
            );
        }
        OffsetDeleteResponse::default().with_topics(topics)
    }
}

/// One partition's answer, before it takes a version's form.
struct Found {
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: String,
    error: i16,
}

/// The offsets asked for by topic; `wanted` is `None` for all there are.
fn look_up(
    offsets: Option<&Offsets>,
    wanted: Option<Vec<(String, Vec<i32>)>>,
    require_stable: bool,
) -> Vec<(String, Vec<Found>)> {
    let wanted = wanted.unwrap_or_else(|| {
        let mut all: Vec<(String, Vec<i32>)> = Vec::new();
        for ((topic, partition), _) in offsets.iter().flat_map(|offsets| offsets.iter()) {
            match all.last_mut() {
                Some((last, partitions)) if last == topic => partitions.push(*partition),
                _ => all.push((topic.clone(), vec![*partition])),
            }
        }
        all
    });
    let one = |topic: &str, partition: i32| {
        let place = (topic.to_owned(), partition);
        let unstable = require_stable && offsets.is_some_and(|offsets| offsets.is_pending(&place));
        let committed = offsets
            .and_then(|offsets| offsets.get(&place))
            .filter(|_| !unstable);
        let (offset, leader_epoch, metadata) = committed.map_or((-1, -1, String::new()), |c| {
            (c.offset, c.leader_epoch, c.metadata.clone())
        });
        let error = if unstable {
            E::UnstableOffsetCommit.code()
        } else {
            0
        };
        Found {
            partition,
            offset,
            leader_epoch,
            metadata,
            error,
        }
    };
    wanted
        .into_iter()
        .map(|(topic, partitions)| {
            let found = partitions
                .into_iter()
                .map(|index| one(&topic, index))
                .collect();
            (topic, found)
        })
        .collect()
}
