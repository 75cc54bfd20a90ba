//! Producer ids: allocating them, and what leaders remember of them.

use std::collections::HashMap;

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use kafka_protocol::messages::{
    DescribeProducersRequest, InitProducerIdRequest, ProducerId, TransactionalId,
    WriteTxnMarkersRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{
    Admin, Error, ErrorCode, Operation, Outcomes, Target, TopicPartition, by_topic, in_order,
    partition_label,
};
use crate::kafka::client::{CoordinatorKind, topic_name};

const PARTITIONS_A_REQUEST: usize = 2_000;
const MARKERS_A_REQUEST: usize = 500;

/// A producer id with its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProducerIdentity {
    pub id: i64,
    pub epoch: i16,
}

/// What a leader remembers of a producer on one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    pub producer_id: i64,
    pub producer_epoch: i32,
    /// -1: none since the last marker.
    pub last_sequence: i32,
    pub last_timestamp: i64,
    pub coordinator_epoch: i32,
    /// -1: no transaction is open.
    pub current_txn_start_offset: i64,
}

impl Admin {
    /// A producer id: a fresh one, or that of a transactional id with its epoch raised, which fences
    /// whoever used it before. `transaction_timeout_ms` counts only with a transactional id.
    ///
    /// # Errors
    /// The broker's own; `CONCURRENT_TRANSACTIONS` is waited for until the deadline.
    pub async fn init_producer_id(
        &self,
        transactional_id: Option<&str>,
        transaction_timeout_ms: i32,
    ) -> Result<ProducerIdentity, Error> {
        let mut results = self
            .each(
                vec![()],
                1,
                |()| transactional_id.map_or(Target::Any, coordinator),
                |connection, _| async move {
                    let request = InitProducerIdRequest::default()
                        .with_transactional_id(transactional_id.map(transactional))
                        .with_transaction_timeout_ms(transaction_timeout_ms);
                    let response = connection.send(&request).await?;
                    ErrorCode(response.error_code).ok().map_err(|code| {
                        let resource = match transactional_id {
                            Some(id) => format!("for transactional id {id}"),
                            None => "without transactional id".to_owned(),
                        };
                        Error::broker(code, None, Operation::InitProducerId, resource)
                    })?;
                    Ok(vec![Ok(ProducerIdentity {
                        id: response.producer_id.0,
                        epoch: response.producer_epoch,
                    })])
                },
            )
            .await;
        results.pop().expect("one item has one result")
    }

    /// The producers that the leaders of partitions remember. Wants brokers from 2.8 on.
    pub async fn describe_producers(
        &self,
        partitions: Vec<TopicPartition>,
    ) -> Outcomes<TopicPartition, Vec<ProducerState>> {
        let results = self
            .each(
                partitions.clone(),
                PARTITIONS_A_REQUEST,
                |(topic, partition)| Target::Leader {
                    topic: topic.clone(),
                    partition: *partition,
                },
                |connection, items| async move {
                    let partitions = items.iter().map(|item| item.value.clone());
                    let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
                        TopicRequest::default()
                            .with_name(topic_name(&topic))
                            .with_partition_indexes(partitions)
                    });
                    let request = DescribeProducersRequest::default().with_topics(topics.collect());
                    let response = connection.send(&request).await?;
                    let mut answers = HashMap::new();
                    for topic in response.topics {
                        let name = topic.name.0.to_string();
                        for partition in topic.partitions {
                            answers.insert((name.clone(), partition.partition_index), partition);
                        }
                    }
                    let wanted = items.iter().map(|item| item.value.clone());
                    Ok(in_order(
                        &connection,
                        "DescribeProducers",
                        wanted,
                        answers,
                        |(topic, partition), answer| {
                            ErrorCode(answer.error_code).ok().map_err(|code| {
                                let message = answer.error_message.map(|text| text.to_string());
                                let label = partition_label(topic, *partition);
                                Error::broker(code, message, Operation::DescribeProducers, label)
                            })?;
                            let states = answer.active_producers.into_iter();
                            Ok(states
                                .map(|state| ProducerState {
                                    producer_id: state.producer_id.0,
                                    producer_epoch: state.producer_epoch,
                                    last_sequence: state.last_sequence,
                                    last_timestamp: state.last_timestamp,
                                    coordinator_epoch: state.coordinator_epoch,
                                    current_txn_start_offset: state.current_txn_start_offset,
                                })
                                .collect())
                        },
                    ))
                },
            )
            .await;
        partitions.into_iter().zip(results).collect()
    }
}

impl Admin {
    /// Appends a commit marker of a producer to each partition, on all in-sync replicas before it is answered. From then on the
    /// leader refuses what carries a smaller epoch of that producer, for as long as it remembers it: as a rule a day from the
    /// marker's time, which is the leader's own. Wants the right Alter or ClusterAction on the cluster.
    ///
    /// A lost answer makes it be written again; a second marker does nothing but take up an offset.
    pub async fn fence_producers(
        &self,
        wanted: Vec<(TopicPartition, ProducerIdentity)>,
    ) -> Outcomes<TopicPartition, ()> {
        let keys: Vec<TopicPartition> = wanted.iter().map(|(key, _)| key.clone()).collect();
        let results = self
            .each(
                wanted,
                MARKERS_A_REQUEST,
                |((topic, partition), _)| Target::Leader {
                    topic: topic.clone(),
                    partition: *partition,
                },
                |connection, items| async move {
                    let mut producers: HashMap<ProducerIdentity, Vec<TopicPartition>> =
                        HashMap::new();
                    for item in &items {
                        let (partition, producer) = &item.value;
                        let partitions = producers.entry(*producer).or_default();
                        partitions.push(partition.clone());
                    }
                    let markers = producers.into_iter().map(|(producer, partitions)| {
                        let topics = by_topic(partitions.into_iter()).into_iter();
                        let topics = topics.map(|(topic, partitions)| {
                            WritableTxnMarkerTopic::default()
                                .with_name(topic_name(&topic))
                                .with_partition_indexes(partitions)
                        });
                        WritableTxnMarker::default()
                            .with_producer_id(ProducerId(producer.id))
                            .with_producer_epoch(producer.epoch)
                            .with_transaction_result(true)
                            .with_coordinator_epoch(0)
                            .with_topics(topics.collect())
                    });
                    let request = WriteTxnMarkersRequest::default().with_markers(markers.collect());
                    let response = connection.send(&request).await?;
                    let mut answers = HashMap::new();
                    for marker in response.markers {
                        for topic in marker.topics {
                            let name = topic.name.0.to_string();
                            for partition in topic.partitions {
                                let key = (name.clone(), partition.partition_index);
                                answers.insert((marker.producer_id.0, key), partition.error_code);
                            }
                        }
                    }
                    let wanted = items.iter().map(|item| {
                        let (partition, producer) = &item.value;
                        (producer.id, partition.clone())
                    });
                    Ok(in_order(
                        &connection,
                        "WriteTxnMarkers",
                        wanted,
                        answers,
                        |(_, (topic, partition)), code| {
                            ErrorCode(code).ok().map_err(|code| {
                                let label = partition_label(topic, *partition);
                                Error::broker(code, None, Operation::WriteMarkers, label)
                            })
                        },
                    ))
                },
            )
            .await;
        keys.into_iter().zip(results).collect()
    }
}

pub(crate) fn coordinator(transactional_id: &str) -> Target {
    Target::Coordinator {
        kind: CoordinatorKind::Transaction,
        key: transactional_id.to_owned(),
    }
}

pub(crate) fn transactional(id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(id.to_owned()))
}
