//! `/clusters/{id}/topics`: listed, described, created and deleted.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::documents::{List, Related, Resource};
use crate::kafka::admin::{CreatedTopic, NewTopic};
use crate::kafka::{TopicMetadata, Topics};
use crate::server::audit::Notes;
use crate::server::json::{Document, Json, Named};
use crate::server::problem::ApiError;
use crate::server::state::{ClusterState, InCluster};
use crate::topology::names::OWN_PREFIX;

pub(super) fn routes() -> Router<Arc<ClusterState>> {
    Router::new()
        .route("/clusters/{cluster_id}/topics", get(list).post(create))
        .route(
            "/clusters/{cluster_id}/topics/{topic_name}",
            get(one).delete(delete),
        )
}

/// `KafkaTopic`
#[derive(Clone, Debug, Serialize)]
pub struct TopicData {
    pub cluster_id: String,
    pub topic_name: String,
    /// Kafka's own, or kmirror's.
    pub is_internal: bool,
    pub replication_factor: i32,
    pub partitions_count: i32,
    pub partitions: Related,
    pub configs: Related,
    pub partition_reassignments: Related,
}

/// `CreateTopicRequestData`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTopicData {
    topic_name: String,
    partitions_count: Option<i32>,
    replication_factor: Option<i16>,
    #[serde(default)]
    replicas_assignments: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(default)]
    configs: Option<Vec<NewConfig>>,
    #[serde(default)]
    validate_only: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewConfig {
    name: String,
    value: Option<String>,
}

/// The value may be a secret as far as is known here.
impl std::fmt::Debug for NewConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewConfig")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The topic that a path names.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    pub topic_name: String,
}

/// Whether kmirror keeps what it goes by in the topic.
pub fn is_own(topic: &str) -> bool {
    topic.starts_with(OWN_PREFIX)
}

/// Keeps what kmirror goes by from changes.
///
/// # Errors
/// 403 for a topic of kmirror's own.
pub fn refuse_own(topic: &str) -> Result<(), ApiError> {
    if is_own(topic) {
        return Err(ApiError::forbidden(format!(
            "Topic {topic} belongs to kmirror and cannot be changed over this API."
        )));
    }
    Ok(())
}

impl InCluster {
    /// A topic as the cluster has it now.
    ///
    /// # Errors
    /// 404 where it has none of that name, or what the broker says.
    pub async fn topic(&self, name: &str) -> Result<TopicMetadata, ApiError> {
        let metadata = self
            .admin
            .metadata(Topics::Named(&[name.to_owned()]))
            .await?;
        let topic = metadata.topic(name).cloned();
        let topic = topic.ok_or_else(ApiError::unknown_topic_or_partition)?;
        topic.error.ok().map_err(|code| {
            let resource = format!("topic {name}");
            ApiError::from(crate::kafka::Error::broker(
                code,
                None,
                crate::kafka::Operation::Describe,
                resource,
            ))
        })?;
        Ok(topic)
    }
}

async fn list(cluster: InCluster) -> Result<Json<List<Resource<TopicData>>>, ApiError> {
    let metadata = cluster.admin.metadata(Topics::All).await?;
    let topics = metadata.topics.iter().filter(|topic| topic.error.is_ok());
    let topics = topics.map(|topic| described(&cluster, topic)).collect();
    let url = cluster.urls.to(&["topics"]);
    Ok(Json(List::new("KafkaTopicList", url, topics)))
}

async fn one(
    cluster: InCluster,
    Named(Which { topic_name }): Named<Which>,
) -> Result<Json<Resource<TopicData>>, ApiError> {
    let topic = cluster.topic(&topic_name).await?;
    Ok(Json(described(&cluster, &topic)))
}

async fn create(
    cluster: InCluster,
    notes: Notes,
    Document(asked): Document<NewTopicData>,
) -> Result<Response, ApiError> {
    let validate_only = asked.validate_only == Some(true);
    let name = asked.topic_name.clone();
    notes.add(format!("topic {name}"));
    if validate_only {
        notes.add("only validated");
    }
    refuse_own(&name)?;
    let topic = new_topic(asked)?;
    for (config, _) in &topic.configs {
        notes.add(format!("config {config}"));
    }
    let (wanted_partitions, wanted_replicas) = (topic.partitions, topic.replication_factor);
    let mut outcomes = cluster
        .admin
        .create_topics(vec![topic], validate_only)
        .await;
    let (_, outcome) = outcomes.pop().expect("one topic has one outcome");
    let CreatedTopic {
        partitions,
        replication_factor,
        ..
    } = outcome?;
    let partitions = partitions.or(wanted_partitions).unwrap_or_default();
    let replicas = replication_factor.or(wanted_replicas).unwrap_or_default();
    let document = document(&cluster, &name, false, i32::from(replicas), partitions);
    let status = match validate_only {
        true => StatusCode::OK,
        false => StatusCode::CREATED,
    };
    Ok((status, Json(document)).into_response())
}

fn new_topic(asked: NewTopicData) -> Result<NewTopic, ApiError> {
    if asked
        .replicas_assignments
        .is_some_and(|given| !given.is_empty())
    {
        return Err(ApiError::unsupported(
            "replicas_assignments is not supported here; give partitions_count and replication_factor, and the brokers place the replicas",
        ));
    }
    let configs = asked.configs.unwrap_or_default().into_iter();
    let configs = configs.map(|config| match config.value {
        Some(value) => Ok((config.name, value)),
        None => Err(ApiError::invalid(format!(
            "Config {} has no value.",
            config.name
        ))),
    });
    Ok(NewTopic {
        name: asked.topic_name,
        partitions: asked.partitions_count,
        replication_factor: asked.replication_factor,
        configs: configs.collect::<Result<_, _>>()?,
    })
}

/// A mirror topic goes with all that is known of its mirror.
async fn delete(
    cluster: InCluster,
    State(state): State<Arc<ClusterState>>,
    notes: Notes,
    Named(Which { topic_name }): Named<Which>,
) -> Result<StatusCode, ApiError> {
    notes.add(format!("topic {topic_name}"));
    refuse_own(&topic_name)?;
    if state.desk()?.delete_mirror_topic(&topic_name).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    // By its id: a topic that takes its name meanwhile stays.
    let topic = cluster.topic(&topic_name).await?;
    let deleted = cluster.admin.delete_exactly(vec![(topic_name, topic.id)]);
    for (_, outcome) in deleted.await {
        outcome?;
    }
    Ok(StatusCode::NO_CONTENT)
}

fn described(cluster: &InCluster, topic: &TopicMetadata) -> Resource<TopicData> {
    let count = |many: usize| i32::try_from(many).unwrap_or(i32::MAX);
    let first = topic.partitions.first();
    let replicas = first.map_or(0, |partition| partition.replicas.len());
    let internal = topic.internal || is_own(&topic.name);
    let partitions = count(topic.partitions.len());
    document(cluster, &topic.name, internal, count(replicas), partitions)
}

fn document(
    cluster: &InCluster,
    name: &str,
    is_internal: bool,
    replication_factor: i32,
    partitions_count: i32,
) -> Resource<TopicData> {
    let urls = &cluster.urls;
    let to = |path: &[&str]| Related::to(urls, &[&["topics", name], path].concat());
    let data = TopicData {
        cluster_id: cluster.id.clone(),
        topic_name: name.to_owned(),
        is_internal,
        replication_factor,
        partitions_count,
        partitions: to(&["partitions"]),
        configs: to(&["configs"]),
        partition_reassignments: to(&["partitions", "-", "reassignment"]),
    };
    Resource::new(
        "KafkaTopic",
        urls,
        &["topics", name],
        &[("topic", name)],
        data,
    )
}
