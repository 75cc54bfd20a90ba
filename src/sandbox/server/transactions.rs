//! Producer ids and transactions.

use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, ApiKey, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
    InitProducerIdResponse, ProducerId, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
    WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

use super::dispatch::{Call, Handler};
use super::now_ms;
use crate::sandbox::broker::group::Caller;
use crate::sandbox::broker::offsets::{Committed, MAX_METADATA};
use crate::sandbox::broker::transactions::Identity;

/// PRODUCER_FENCED is newer than these requests; below the version given it was code 47.
fn fenced_since(error: E, version: i16, since: i16) -> E {
    if error == E::ProducerFenced && version < since {
        E::InvalidProducerEpoch
    } else {
        error
    }
}

fn code(result: Result<(), E>) -> i16 {
    result.err().map_or(0, |error| error.code())
}

impl Handler {
    /// A fault rule's error for an API that is not about one topic.
    pub(super) fn faulted(&self, api: ApiKey) -> Result<(), E> {
        self.shared.faults.failure(api, None).map_or(Ok(()), Err)
    }

    pub(super) fn init_producer_id(
        &self,
        request: &InitProducerIdRequest,
        call: &Call,
    ) -> InitProducerIdResponse {
        let id = request.transactional_id.as_ref().map(|id| id.as_str());
        let known = (request.producer_id.0 >= 0).then_some(Identity {
            producer_id: request.producer_id.0,
            epoch: request.producer_epoch,
        });
        let result = self.faulted(ApiKey::InitProducerId).and_then(|()| {
            self.shared.change(|cluster| {
                if let Some(id) = id {
                    self.check_coordinator(cluster, id)?;
                }
                cluster.init_producer(id, request.transaction_timeout_ms, known, now_ms())
            })
        });
        match result {
            Ok(identity) => InitProducerIdResponse::default()
                .with_producer_id(ProducerId(identity.producer_id))
                .with_producer_epoch(identity.epoch),
            Err(error) => InitProducerIdResponse::default()
                .with_error_code(fenced_since(error, call.version, 4).code())
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1),
        }
    }

    pub(super) fn add_partitions_to_txn(
        &self,
        request: &AddPartitionsToTxnRequest,
        call: &Call,
    ) -> AddPartitionsToTxnResponse {
        let id = request.v3_and_below_transactional_id.as_str();
        let who = Identity {
            producer_id: request.v3_and_below_producer_id.0,
            epoch: request.v3_and_below_producer_epoch,
        };
        let places: Vec<(String, i32)> = request
            .v3_and_below_topics
            .iter()
            .flat_map(|topic| {
                topic
                    .partitions
                    .iter()
                    .map(|p| (topic.name.to_string(), *p))
            })
            .collect();
        let (unknown, result) = self.shared.change(|cluster| {
            let there = |(topic, index): &&(String, i32)| {
                cluster
                    .topics
                    .get(topic)
                    .and_then(|topic| topic.partition(*index))
                    .is_none()
            };
            let unknown: Vec<(String, i32)> = places.iter().filter(there).cloned().collect();
            let result = self
                .faulted(ApiKey::AddPartitionsToTxn)
                .and_then(|()| self.check_coordinator(cluster, id))
                .and_then(|()| {
                    // All or none: one unknown partition and the others are not tried.
                    if unknown.is_empty() {
                        cluster
                            .transactions
                            .add_partitions(id, who, places, now_ms())
                    } else {
                        Err(E::OperationNotAttempted)
                    }
                });
            (unknown, result)
        });
        let shared = code(result.map_err(|error| fenced_since(error, call.version, 2)));
        let topics = request.v3_and_below_topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|index| {
                let missing = unknown.contains(&(topic.name.to_string(), *index));
                let code = if missing {
                    E::UnknownTopicOrPartition.code()
                } else {
                    shared
                };
                AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(*index)
                    .with_partition_error_code(code)
            });
            AddPartitionsToTxnTopicResult::default()
                .with_name(topic.name.clone())
                .with_results_by_partition(partitions.collect())
        });
        AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics.collect())
    }

    pub(super) fn add_offsets_to_txn(
        &self,
        request: &AddOffsetsToTxnRequest,
        call: &Call,
    ) -> AddOffsetsToTxnResponse {
        let id = request.transactional_id.as_str();
        let who = Identity {
            producer_id: request.producer_id.0,
            epoch: request.producer_epoch,
        };
        let result = self.shared.change(|cluster| {
            self.faulted(ApiKey::AddOffsetsToTxn)?;
            self.check_coordinator(cluster, id)?;
            cluster
                .transactions
                .add_group(id, who, &request.group_id, now_ms())
        });
        let result = result.map_err(|error| fenced_since(error, call.version, 2));
        AddOffsetsToTxnResponse::default().with_error_code(code(result))
    }

    pub(super) fn end_txn(&self, request: &EndTxnRequest, call: &Call) -> EndTxnResponse {
        let id = request.transactional_id.as_str();
        let who = Identity {
            producer_id: request.producer_id.0,
            epoch: request.producer_epoch,
        };
        let result = self.shared.change(|cluster| {
            self.faulted(ApiKey::EndTxn)?;
            self.check_coordinator(cluster, id)?;
            cluster.end_transaction(id, who, request.committed, now_ms())
        });
        let result = result.map_err(|error| fenced_since(error, call.version, 2));
        EndTxnResponse::default().with_error_code(code(result))
    }

    /// Control markers of a client's own, one batch and one offset each.
    pub(super) fn write_txn_markers(
        &self,
        request: &WriteTxnMarkersRequest,
    ) -> WriteTxnMarkersResponse {
        let markers = self.shared.change(|cluster| {
            let mut answers = Vec::new();
            for marker in &request.markers {
                let mut answer =
                    WritableTxnMarkerResult::default().with_producer_id(marker.producer_id);
                for topic in &marker.topics {
                    let mut results = Vec::new();
                    for index in &topic.partition_indexes {
                        let api = ApiKey::WriteTxnMarkers;
                        let failure = self.shared.faults.failure(api, Some(&topic.name));
                        let result = failure
                            .map_or(Ok(()), Err)
                            .and_then(|()| cluster.led_log_mut(self.broker, &topic.name, *index))
                            .and_then(|log| {
                                log.append_marker(
                                    marker.producer_id.0,
                                    marker.producer_epoch,
                                    marker.transaction_result,
                                    marker.coordinator_epoch,
                                    now_ms(),
                                )
                            });
                        results.push(
                            WritableTxnMarkerPartitionResult::default()
                                .with_partition_index(*index)
                                .with_error_code(code(result.map(|_offset| ()))),
                        );
                    }
                    answer.topics.push(
                        WritableTxnMarkerTopicResult::default()
                            .with_name(topic.name.clone())
                            .with_partitions(results),
                    );
                }
                answers.push(answer);
            }
            answers
        });
        WriteTxnMarkersResponse::default().with_markers(markers)
    }

    pub(super) fn txn_offset_commit(
        &self,
        request: &TxnOffsetCommitRequest,
    ) -> TxnOffsetCommitResponse {
        let group_id = request.group_id.as_str();
        let who = Identity {
            producer_id: request.producer_id.0,
            epoch: request.producer_epoch,
        };
        let caller = Caller {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id,
        };
        let topics = self.shared.change(|cluster| {
            let allowed = self
                .faulted(ApiKey::TxnOffsetCommit)
                .and_then(|()| self.check_coordinator(cluster, group_id))
                .and_then(|()| {
                    cluster
                        .transactions
                        .check_group(&request.transactional_id, who, group_id)
                })
                .and_then(|()| {
                    cluster
                        .groups
                        .get_or_create(group_id)
                        .check_commit(caller, true)
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
                    let result = match allowed {
                        Err(error) => Err(error),
                        Ok(()) if metadata.len() > MAX_METADATA => Err(E::OffsetMetadataTooLarge),
                        Ok(()) if known.is_none() => Err(E::UnknownTopicOrPartition),
                        Ok(()) => {
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
                                .commit_pending(who.producer_id, place, committed);
                            Ok(())
                        }
                    };
                    results.push(
                        TxnOffsetCommitResponsePartition::default()
                            .with_partition_index(asked.partition_index)
                            .with_error_code(code(result)),
                    );
                }
                topics.push(
                    TxnOffsetCommitResponseTopic::default()
                        .with_name(topic.name.clone())
                        .with_partitions(results),
                );
            }
            topics
        });
        TxnOffsetCommitResponse::default().with_topics(topics)
    }
}
