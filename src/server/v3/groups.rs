//! `/clusters/{id}/consumer-groups`: groups, their consumers, and how far each is behind. Nothing here can be changed.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use serde::{Deserialize, Serialize};

use super::documents::{List, Related, Resource};
use crate::kafka::admin::{GroupDescription, GroupMember};
use crate::kafka::{CoordinatorKind, ErrorCode};
use crate::server::json::{Json, Named};
use crate::server::problem::ApiError;
use crate::server::state::{ClusterState, InCluster};

pub(super) fn routes() -> Router<Arc<ClusterState>> {
    let all = "/clusters/{cluster_id}/consumer-groups";
    let group = format!("{all}/{{consumer_group_id}}");
    Router::new()
        .route(all, get(list))
        .route(&group, get(one))
        .route(&format!("{group}/consumers"), get(consumers))
        .route(&format!("{group}/consumers/{{consumer_id}}"), get(consumer))
        .merge(super::lags::routes(&group))
}

/// `KafkaConsumerGroup`
#[derive(Clone, Debug, Serialize)]
pub struct GroupData {
    pub cluster_id: String,
    pub consumer_group_id: String,
    /// Whether offsets were committed for it without any member.
    pub is_simple: bool,
    pub partition_assignor: String,
    pub state: String,
    pub coordinator: Related,
    pub consumers: Related,
    pub lag_summary: Related,
}

/// `KafkaConsumer`
#[derive(Clone, Debug, Serialize)]
pub struct ConsumerData {
    pub cluster_id: String,
    pub consumer_group_id: String,
    pub consumer_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub assignments: Related,
}

/// The group that a path names.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    pub consumer_group_id: String,
}

#[derive(Debug, Deserialize)]
struct WhichConsumer {
    consumer_group_id: String,
    consumer_id: String,
}

async fn list(cluster: InCluster) -> Result<Json<List<Resource<GroupData>>>, ApiError> {
    let listed = cluster.admin.list_consumer_groups().await?;
    let described = cluster.admin.describe_listed_groups(&listed).await;
    let mut groups = Vec::with_capacity(listed.len());
    for (listed, (id, outcome)) in listed.iter().zip(described) {
        match outcome {
            Ok(group) => groups.push(document(&cluster, &id, &group, listed.coordinator)),
            // It has ended since.
            Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let url = cluster.urls.to(&["consumer-groups"]);
    Ok(Json(List::new("KafkaConsumerGroupList", url, groups)))
}

async fn one(
    cluster: InCluster,
    Named(Which { consumer_group_id }): Named<Which>,
) -> Result<Json<Resource<GroupData>>, ApiError> {
    let id = consumer_group_id;
    let group = describe(&cluster, &id).await?;
    let coordinator = cluster
        .admin
        .find_coordinator(CoordinatorKind::Group, &id)
        .await?;
    Ok(Json(document(&cluster, &id, &group, coordinator.id)))
}

async fn consumers(
    cluster: InCluster,
    Named(Which { consumer_group_id }): Named<Which>,
) -> Result<Json<List<Resource<ConsumerData>>>, ApiError> {
    let id = consumer_group_id;
    let group = describe(&cluster, &id).await?;
    let members = group.members.iter();
    let members = members.map(|member| consumer_document(&cluster, &id, member));
    let url = cluster.urls.to(&["consumer-groups", &id, "consumers"]);
    Ok(Json(List::new("KafkaConsumerList", url, members.collect())))
}

async fn consumer(
    cluster: InCluster,
    Named(which): Named<WhichConsumer>,
) -> Result<Json<Resource<ConsumerData>>, ApiError> {
    let group = describe(&cluster, &which.consumer_group_id).await?;
    let mut members = group.members.iter();
    let member = members.find(|member| member.id == which.consumer_id);
    let member = member.ok_or_else(|| {
        ApiError::not_found(format!("Consumer {} cannot be found.", which.consumer_id))
    })?;
    Ok(Json(consumer_document(
        &cluster,
        &which.consumer_group_id,
        member,
    )))
}

/// The group as its coordinator knows it.
pub(super) async fn describe(cluster: &InCluster, id: &str) -> Result<GroupDescription, ApiError> {
    let described = cluster.admin.describe_consumer_groups(vec![id.to_owned()]);
    let (_, outcome) = described.await.pop().expect("one group has one outcome");
    outcome.map_err(|error| match error.code() {
        Some(ErrorCode::GROUP_ID_NOT_FOUND) => unknown(id),
        _ => error.into(),
    })
}

pub(super) fn unknown(group: &str) -> ApiError {
    ApiError::not_found(format!("Consumer group {group} cannot be found."))
}

fn document(
    cluster: &InCluster,
    id: &str,
    group: &GroupDescription,
    coordinator: i32,
) -> Resource<GroupData> {
    let urls = &cluster.urls;
    let path = ["consumer-groups", id];
    let to = |more: &str| Related::to(urls, &["consumer-groups", id, more]);
    let data = GroupData {
        cluster_id: cluster.id.clone(),
        consumer_group_id: id.to_owned(),
        is_simple: group.protocol_type.is_empty(),
        partition_assignor: group.assignor.clone(),
        state: spelled(&group.state),
        coordinator: Related::to(urls, &["brokers", &coordinator.to_string()]),
        consumers: to("consumers"),
        lag_summary: to("lag-summary"),
    };
    Resource::new(
        "KafkaConsumerGroup",
        urls,
        &path,
        &[("consumer-group", id)],
        data,
    )
}

fn consumer_document(
    cluster: &InCluster,
    group: &str,
    member: &GroupMember,
) -> Resource<ConsumerData> {
    let urls = &cluster.urls;
    let path = ["consumer-groups", group, "consumers", &member.id];
    let data = ConsumerData {
        cluster_id: cluster.id.clone(),
        consumer_group_id: group.to_owned(),
        consumer_id: member.id.clone(),
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        assignments: Related::to(urls, &[&path[..], &["assignments"]].concat()),
    };
    let names = [("consumer-group", group), ("consumer", &member.id)];
    Resource::new("KafkaConsumer", urls, &path, &names, data)
}

/// `PreparingRebalance` as `PREPARING_REBALANCE`.
fn spelled(state: &str) -> String {
    let mut spelled = String::with_capacity(state.len() + 4);
    for (index, letter) in state.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            spelled.push('_');
        }
        spelled.push(letter.to_ascii_uppercase());
    }
    spelled
}

#[cfg(test)]
mod tests {
    use super::spelled;

    #[test]
    fn states_are_spelled_as_kafka_rest_does() {
        assert_eq!(spelled("Stable"), "STABLE");
        assert_eq!(spelled("CompletingRebalance"), "COMPLETING_REBALANCE");
    }
}
