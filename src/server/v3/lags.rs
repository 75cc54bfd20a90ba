//! How far consumer groups are behind: the offset that each has committed next to the one that consumers can read up to.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use serde::{Deserialize, Serialize};

use super::documents::{List, Related, Resource};
use super::groups::{Which, describe};
use crate::kafka::admin::{GroupMember, OffsetSpec, TopicPartition};
use crate::kafka::{ErrorCode, Isolation};
use crate::server::json::{Json, Named};
use crate::server::problem::ApiError;
use crate::server::state::{ClusterState, InCluster};

pub(super) fn routes(group: &str) -> Router<Arc<ClusterState>> {
    Router::new()
        .route(&format!("{group}/lag-summary"), get(summary))
        .route(&format!("{group}/lags"), get(list))
        .route(
            &format!("{group}/lags/{{topic_name}}/partitions/{{partition_id}}"),
            get(one),
        )
}

/// `KafkaConsumerLag`
#[derive(Clone, Debug, Serialize)]
pub struct LagData {
    pub cluster_id: String,
    pub consumer_group_id: String,
    pub topic_name: String,
    pub partition_id: i32,
    pub current_offset: i64,
    pub log_end_offset: i64,
    pub lag: i64,
    /// Empty where nobody reads the partition.
    pub consumer_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
}

/// `KafkaConsumerGroupLagSummary`
#[derive(Clone, Debug, Serialize)]
pub struct SummaryData {
    pub cluster_id: String,
    pub consumer_group_id: String,
    pub max_lag_consumer_id: String,
    pub max_lag_instance_id: Option<String>,
    pub max_lag_client_id: String,
    pub max_lag_topic_name: String,
    pub max_lag_partition_id: i32,
    pub max_lag: i64,
    pub total_lag: i64,
    pub max_lag_consumer: Related,
    pub max_lag_partition: Related,
}

#[derive(Debug, Deserialize)]
struct WhichLag {
    consumer_group_id: String,
    topic_name: String,
    partition_id: i32,
}

async fn list(
    cluster: InCluster,
    Named(Which { consumer_group_id }): Named<Which>,
) -> Result<Json<List<Resource<LagData>>>, ApiError> {
    let lags = lags(&cluster, &consumer_group_id, None).await?;
    let lags = lags.into_iter().map(|lag| document(&cluster, lag));
    let url = cluster
        .urls
        .to(&["consumer-groups", &consumer_group_id, "lags"]);
    Ok(Json(List::new("KafkaConsumerLagList", url, lags.collect())))
}

async fn one(
    cluster: InCluster,
    Named(which): Named<WhichLag>,
) -> Result<Json<Resource<LagData>>, ApiError> {
    let partition = (which.topic_name, which.partition_id);
    let lags = lags(&cluster, &which.consumer_group_id, Some(partition)).await?;
    let lag = lags.into_iter().next();
    let lag = lag.ok_or_else(|| ApiError::not_found("Consumer lag cannot be found."))?;
    Ok(Json(document(&cluster, lag)))
}

async fn summary(
    cluster: InCluster,
    Named(Which { consumer_group_id }): Named<Which>,
) -> Result<Json<Resource<SummaryData>>, ApiError> {
    let id = consumer_group_id;
    let lags = lags(&cluster, &id, None).await?;
    let total_lag = lags.iter().map(|lag| lag.lag).sum();
    // Of equals the first.
    let most = lags.into_iter().rev().max_by_key(|lag| lag.lag);
    let most = most.ok_or_else(|| {
        ApiError::not_found(format!("Consumer group {id} has committed no offsets."))
    })?;
    let urls = &cluster.urls;
    let partition = most.partition_id.to_string();
    let data = SummaryData {
        cluster_id: cluster.id.clone(),
        consumer_group_id: id.clone(),
        max_lag_consumer: Related::to(
            urls,
            &["consumer-groups", &id, "consumers", &most.consumer_id],
        ),
        max_lag_partition: Related::to(
            urls,
            &["topics", &most.topic_name, "partitions", &partition],
        ),
        max_lag_consumer_id: most.consumer_id,
        max_lag_instance_id: most.instance_id,
        max_lag_client_id: most.client_id,
        max_lag_topic_name: most.topic_name,
        max_lag_partition_id: most.partition_id,
        max_lag: most.lag,
        total_lag,
    };
    let path = ["consumer-groups", &id, "lag-summary"];
    let names = [("consumer-group", id.as_str())];
    let mut document = Resource::new("KafkaConsumerGroupLagSummary", urls, &path, &names, data);
    document.metadata.resource_name.push_str("/lag-summary");
    Ok(Json(document))
}

/// Of all partitions for which the group has committed an offset, or of one, by topic and partition. Those of topics that are
/// gone are left out.
async fn lags(
    cluster: &InCluster,
    group: &str,
    only: Option<TopicPartition>,
) -> Result<Vec<LagData>, ApiError> {
    let described = describe(cluster, group).await?;
    let mut committed = cluster
        .admin
        .offset_fetch(group, only.map(|only| vec![only]))
        .await?;
    committed.sort_unstable_keys();
    let readers = readers(&described.members);
    let wanted = committed
        .keys()
        .map(|(topic, partition)| (topic.clone(), *partition, OffsetSpec::Latest));
    let wanted = wanted.collect();
    let ends = cluster
        .admin
        .list_offsets(wanted, Isolation::ReadUncommitted)
        .await;
    let mut lags = Vec::with_capacity(committed.len());
    for ((partition, committed), (_, end)) in committed.into_iter().zip(ends) {
        let end = match end {
            Ok(end) => end.offset,
            Err(error) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => continue,
            Err(error) => return Err(error.into()),
        };
        let (topic_name, partition_id) = partition;
        let reader = readers.get(&(topic_name.as_str(), partition_id)).copied();
        lags.push(LagData {
            cluster_id: cluster.id.clone(),
            consumer_group_id: group.to_owned(),
            topic_name,
            partition_id,
            current_offset: committed.offset,
            log_end_offset: end,
            // Committed beyond the end: the topic was made anew, or its log was cut.
            lag: (end - committed.offset).max(0),
            consumer_id: reader.map(|member| member.id.clone()).unwrap_or_default(),
            instance_id: reader.and_then(|member| member.instance_id.clone()),
            client_id: reader
                .map(|member| member.client_id.clone())
                .unwrap_or_default(),
        });
    }
    Ok(lags)
}

fn readers(members: &[GroupMember]) -> HashMap<(&str, i32), &GroupMember> {
    let mut readers = HashMap::new();
    for member in members {
        for (topic, partitions) in &member.partitions {
            for partition in partitions {
                readers.insert((topic.as_str(), *partition), member);
            }
        }
    }
    readers
}

fn document(cluster: &InCluster, lag: LagData) -> Resource<LagData> {
    let partition = lag.partition_id.to_string();
    let (group, topic) = (lag.consumer_group_id.clone(), lag.topic_name.clone());
    let path = [
        "consumer-groups",
        &group,
        "lags",
        &topic,
        "partitions",
        &partition,
    ];
    let names = [
        ("consumer-group", group.as_str()),
        ("lag", &topic),
        ("partition", &partition),
    ];
    Resource::new("KafkaConsumerLag", &cluster.urls, &path, &names, lag)
}
