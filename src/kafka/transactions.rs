//! Parts of transactions: adding a partition, ending, and the control markers that end them in a log.
//!
//! Each is one request on a given connection, and gives the code that the broker answers. None is tried again
//! here: whether a marker was written is not known after a lost answer, and writing it again would write two.

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, ProducerId, WriteTxnMarkersRequest,
};

use super::admin::producers::transactional;
use super::admin::{ProducerIdentity, TopicPartition};
use super::client::topic_name;
use super::code::ErrorCode;
use super::connection::Connection;
use super::error::Error;

/// Adds a partition to the producer's transaction (KIP-98), which begins with the first one.
///
/// # Errors
/// The connection's.
pub async fn add_partition(
    coordinator: &Connection,
    transactional_id: &str,
    producer: ProducerIdentity,
    (topic, partition): &TopicPartition,
) -> Result<ErrorCode, Error> {
    let topic = AddPartitionsToTxnTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![*partition]);
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(transactional(transactional_id))
        .with_v3_and_below_producer_id(ProducerId(producer.id))
        .with_v3_and_below_producer_epoch(producer.epoch)
        .with_v3_and_below_topics(vec![topic]);
    let response = coordinator.send(&request).await?;
    Ok(response
        .results_by_topic_v3_and_below
        .iter()
        .flat_map(|topic| &topic.results_by_partition)
        .map(|partition| ErrorCode(partition.partition_error_code))
        .find(|code| !code.is_ok())
        .unwrap_or(ErrorCode(response.error_code)))
}

/// Commits or aborts the producer's transaction. The markers are in the logs a moment later.
///
/// # Errors
/// The connection's.
pub async fn end(
    coordinator: &Connection,
    transactional_id: &str,
    producer: ProducerIdentity,
    commit: bool,
) -> Result<ErrorCode, Error> {
    let request = EndTxnRequest::default()
        .with_transactional_id(transactional(transactional_id))
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_committed(commit);
    let response = coordinator.send(&request).await?;
    Ok(ErrorCode(response.error_code))
}

/// Appends `count` commit markers of a producer to one partition, where no transaction of it is open. Each takes one
/// offset and is shown to no consumer. Wants the right Alter or ClusterAction on the cluster.
///
/// The markers carry coordinator epoch 0. An answer names each producer once, so it does not say how many of
/// several markers got in if some did not: the caller looks at the log's end.
///
/// # Errors
/// The connection's.
pub async fn write_markers(
    leader: &Connection,
    producer: ProducerIdentity,
    (topic, partition): &TopicPartition,
    count: usize,
) -> Result<ErrorCode, Error> {
    let marker = WritableTxnMarker::default()
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_transaction_result(true)
        .with_coordinator_epoch(0)
        .with_topics(vec![
            WritableTxnMarkerTopic::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(vec![*partition]),
        ]);
    let request = WriteTxnMarkersRequest::default().with_markers(vec![marker; count]);
    let response = leader.send(&request).await?;
    let codes = response
        .markers
        .iter()
        .flat_map(|marker| &marker.topics)
        .flat_map(|topic| &topic.partitions)
        .map(|partition| ErrorCode(partition.error_code));
    Ok(codes
        .into_iter()
        .find(|code| !code.is_ok())
        .unwrap_or(ErrorCode::NONE))
}
