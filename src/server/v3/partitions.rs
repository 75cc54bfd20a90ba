//! `/clusters/{id}/topics/{topic}/partitions` and their replicas.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use serde::{Deserialize, Serialize};

use super::documents::{List, Related, Resource};
use super::topics::Which;
use crate::kafka::PartitionMetadata;
use crate::server::json::{Json, Named};
use crate::server::problem::ApiError;
use crate::server::state::{ClusterState, InCluster};

pub(super) fn routes() -> Router<Arc<ClusterState>> {
    let all = "/clusters/{cluster_id}/topics/{topic_name}/partitions";
    Router::new()
        .route(all, get(list))
        .route(&format!("{all}/{{partition_id}}"), get(one))
        .route(&format!("{all}/{{partition_id}}/replicas"), get(replicas))
        .route(
            &format!("{all}/{{partition_id}}/replicas/{{broker_id}}"),
            get(replica),
        )
}

/// `KafkaPartition`
#[derive(Clone, Debug, Serialize)]
pub struct PartitionData {
    pub cluster_id: String,
    pub topic_name: String,
    pub partition_id: i32,
    /// Left out while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<Related>,
    pub replicas: Related,
    pub reassignment: Related,
}

/// `KafkaReplica`
#[derive(Clone, Debug, Serialize)]
pub struct ReplicaData {
    pub cluster_id: String,
    pub topic_name: String,
    pub partition_id: i32,
    pub broker_id: i32,
    pub is_leader: bool,
    pub is_in_sync: bool,
    pub broker: Related,
}

#[derive(Debug, Deserialize)]
struct WhichPartition {
    topic_name: String,
    partition_id: i32,
}

#[derive(Debug, Deserialize)]
struct WhichReplica {
    topic_name: String,
    partition_id: i32,
    broker_id: i32,
}

async fn list(
    cluster: InCluster,
    Named(Which { topic_name }): Named<Which>,
) -> Result<Json<List<Resource<PartitionData>>>, ApiError> {
    let topic = cluster.topic(&topic_name).await?;
    let partitions = topic.partitions.iter();
    let partitions = partitions.map(|partition| document(&cluster, &topic_name, partition));
    let url = cluster.urls.to(&["topics", &topic_name, "partitions"]);
    Ok(Json(List::new(
        "KafkaPartitionList",
        url,
        partitions.collect(),
    )))
}

async fn one(
    cluster: InCluster,
    Named(which): Named<WhichPartition>,
) -> Result<Json<Resource<PartitionData>>, ApiError> {
    let partition = find(&cluster, &which.topic_name, which.partition_id).await?;
    Ok(Json(document(&cluster, &which.topic_name, &partition)))
}

async fn replicas(
    cluster: InCluster,
    Named(which): Named<WhichPartition>,
) -> Result<Json<List<Resource<ReplicaData>>>, ApiError> {
    let topic = &which.topic_name;
    let partition = find(&cluster, topic, which.partition_id).await?;
    let replicas = partition.replicas.iter();
    let replicas = replicas.map(|broker| replica_document(&cluster, topic, &partition, *broker));
    let index = partition.index.to_string();
    let path = ["topics", topic, "partitions", &index, "replicas"];
    let list = List::new(
        "KafkaReplicaList",
        cluster.urls.to(&path),
        replicas.collect(),
    );
    Ok(Json(list))
}

async fn replica(
    cluster: InCluster,
    Named(which): Named<WhichReplica>,
) -> Result<Json<Resource<ReplicaData>>, ApiError> {
    let partition = find(&cluster, &which.topic_name, which.partition_id).await?;
    if !partition.replicas.contains(&which.broker_id) {
        let message = format!("Broker {} has no replica of it.", which.broker_id);
        return Err(ApiError::not_found(message));
    }
    let document = replica_document(&cluster, &which.topic_name, &partition, which.broker_id);
    Ok(Json(document))
}

async fn find(
    cluster: &InCluster,
    topic: &str,
    partition: i32,
) -> Result<PartitionMetadata, ApiError> {
    let topic = cluster.topic(topic).await?;
    let partition = topic.partition(partition).cloned();
    partition.ok_or_else(ApiError::unknown_topic_or_partition)
}

fn document(
    cluster: &InCluster,
    topic: &str,
    partition: &PartitionMetadata,
) -> Resource<PartitionData> {
    let urls = &cluster.urls;
    let index = partition.index.to_string();
    let path = ["topics", topic, "partitions", &index];
    let to = |more: &[&str]| Related::to(urls, &[&path[..], more].concat());
    let leader = (partition.leader >= 0).then(|| to(&["replicas", &partition.leader.to_string()]));
    let data = PartitionData {
        cluster_id: cluster.id.clone(),
        topic_name: topic.to_owned(),
        partition_id: partition.index,
        leader,
        replicas: to(&["replicas"]),
        reassignment: to(&["reassignment"]),
    };
    let names = [("topic", topic), ("partition", &index)];
    Resource::new("KafkaPartition", urls, &path, &names, data)
}

fn replica_document(
    cluster: &InCluster,
    topic: &str,
    partition: &PartitionMetadata,
    broker: i32,
) -> Resource<ReplicaData> {
    let urls = &cluster.urls;
    let (index, id) = (partition.index.to_string(), broker.to_string());
    let data = ReplicaData {
        cluster_id: cluster.id.clone(),
        topic_name: topic.to_owned(),
        partition_id: partition.index,
        broker_id: broker,
        is_leader: partition.leader == broker,
        is_in_sync: partition.isr.contains(&broker),
        broker: Related::to(urls, &["brokers", &id]),
    };
    let path = ["topics", topic, "partitions", &index, "replicas", &id];
    let names = [("topic", topic), ("partition", &index), ("replica", &id)];
    Resource::new("KafkaReplica", urls, &path, &names, data)
}
