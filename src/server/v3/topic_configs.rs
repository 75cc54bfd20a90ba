//! `/clusters/{id}/topics/{topic}/configs`: read, set and reset, one by one or together.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::documents::{List, Resource};
use super::topics::{Which, refuse_own};
use crate::kafka::admin::{ConfigChange, ConfigEntry, ConfigResource, ConfigSource};
use crate::server::audit::Notes;
use crate::server::json::{Document, Json, Named};
use crate::server::problem::ApiError;
use crate::server::state::{ClusterState, InCluster};

pub(super) fn routes() -> Router<Arc<ClusterState>> {
    let topic = "/clusters/{cluster_id}/topics/{topic_name}";
    Router::new()
        .route(&format!("{topic}/configs"), get(list))
        .route(&format!("{topic}/configs:alter"), post(alter))
        .route(
            &format!("{topic}/configs/{{name}}"),
            get(one).put(set).delete(reset),
        )
}

/// `KafkaTopicConfig`
#[derive(Clone, Debug, Serialize)]
pub struct TopicConfigData {
    pub cluster_id: String,
    pub topic_name: String,
    pub name: String,
    /// Null for one that is sensitive.
    pub value: Option<String>,
    pub is_default: bool,
    pub is_read_only: bool,
    pub is_sensitive: bool,
    pub source: &'static str,
    pub synonyms: Vec<SynonymData>,
}

/// What would apply in turn; the first is in force.
#[derive(Clone, Debug, Serialize)]
pub struct SynonymData {
    pub name: String,
    pub value: Option<String>,
    pub source: &'static str,
}

/// `UpdateConfigRequestData`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewValue {
    value: Option<String>,
}

/// `AlterConfigBatchRequestData`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    data: Vec<Alteration>,
    #[serde(default)]
    validate_only: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Alteration {
    name: String,
    value: Option<String>,
    /// `SET` without it.
    operation: Option<Verb>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
enum Verb {
    Set,
    Delete,
}

#[derive(Debug, Deserialize)]
struct WhichConfig {
    topic_name: String,
    name: String,
}

async fn list(
    cluster: InCluster,
    Named(Which { topic_name }): Named<Which>,
) -> Result<Json<List<Resource<TopicConfigData>>>, ApiError> {
    let entries = entries(&cluster, &topic_name).await?;
    let configs = entries.into_iter();
    let configs = configs.map(|entry| document(&cluster, &topic_name, entry));
    let url = cluster.urls.to(&["topics", &topic_name, "configs"]);
    Ok(Json(List::new(
        "KafkaTopicConfigList",
        url,
        configs.collect(),
    )))
}

async fn one(
    cluster: InCluster,
    Named(WhichConfig { topic_name, name }): Named<WhichConfig>,
) -> Result<Json<Resource<TopicConfigData>>, ApiError> {
    let entries = entries(&cluster, &topic_name).await?;
    let entry = entries.into_iter().find(|entry| entry.name == name);
    let entry = entry.ok_or_else(|| unknown(&topic_name, &name))?;
    Ok(Json(document(&cluster, &topic_name, entry)))
}

async fn set(
    cluster: InCluster,
    notes: Notes,
    Named(WhichConfig { topic_name, name }): Named<WhichConfig>,
    Document(NewValue { value }): Document<NewValue>,
) -> Result<StatusCode, ApiError> {
    let change = change(name, value, Verb::Set)?;
    change_topic(&cluster, &notes, topic_name, vec![change], false).await
}

async fn reset(
    cluster: InCluster,
    notes: Notes,
    Named(WhichConfig { topic_name, name }): Named<WhichConfig>,
) -> Result<StatusCode, ApiError> {
    let change = change(name, None, Verb::Delete)?;
    change_topic(&cluster, &notes, topic_name, vec![change], false).await
}

async fn alter(
    cluster: InCluster,
    notes: Notes,
    Named(Which { topic_name }): Named<Which>,
    Document(batch): Document<Batch>,
) -> Result<StatusCode, ApiError> {
    let changes = batch.data.into_iter().map(|alteration| {
        let verb = alteration.operation.unwrap_or(Verb::Set);
        change(alteration.name, alteration.value, verb)
    });
    let changes = changes.collect::<Result<_, _>>()?;
    let validate_only = batch.validate_only == Some(true);
    change_topic(&cluster, &notes, topic_name, changes, validate_only).await
}

fn change(name: String, value: Option<String>, verb: Verb) -> Result<ConfigChange, ApiError> {
    match (verb, value) {
        (Verb::Delete, _) => Ok(ConfigChange { name, value: None }),
        (Verb::Set, Some(value)) => Ok(ConfigChange {
            name,
            value: Some(value),
        }),
        (Verb::Set, None) => Err(ApiError::invalid(format!("Config {name} has no value."))),
    }
}

async fn change_topic(
    cluster: &InCluster,
    notes: &Notes,
    topic: String,
    changes: Vec<ConfigChange>,
    validate_only: bool,
) -> Result<StatusCode, ApiError> {
    notes.add(format!("topic {topic}"));
    for change in &changes {
        notes.add(format!("config {}", change.name));
    }
    if validate_only {
        notes.add("only validated");
    }
    refuse_own(&topic)?;
    cluster.topic(&topic).await?;
    if !changes.is_empty() {
        let changes = vec![(ConfigResource::Topic(topic), changes)];
        let altered = cluster
            .admin
            .incremental_alter_configs(changes, validate_only);
        for (_, outcome) in altered.await {
            outcome?;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// In order of their names.
async fn entries(cluster: &InCluster, topic: &str) -> Result<Vec<ConfigEntry>, ApiError> {
    // Metadata tells at once where there is no such topic.
    cluster.topic(topic).await?;
    let resource = ConfigResource::Topic(topic.to_owned());
    let mut outcomes = cluster.admin.describe_configs(vec![resource]).await;
    let (_, outcome) = outcomes.pop().expect("one topic has one outcome");
    let mut entries = outcome?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn unknown(topic: &str, config: &str) -> ApiError {
    ApiError::not_found(format!("Config {config} of topic {topic} cannot be found."))
}

fn document(cluster: &InCluster, topic: &str, entry: ConfigEntry) -> Resource<TopicConfigData> {
    let name = entry.name.clone();
    let synonyms = entry.synonyms.into_iter().map(|synonym| SynonymData {
        name: synonym.name,
        value: synonym.value,
        source: source(synonym.source),
    });
    let data = TopicConfigData {
        cluster_id: cluster.id.clone(),
        topic_name: topic.to_owned(),
        name: entry.name,
        value: entry.value,
        is_default: entry.source == ConfigSource::Default,
        is_read_only: entry.read_only,
        is_sensitive: entry.sensitive,
        source: source(entry.source),
        synonyms: synonyms.collect(),
    };
    let path = ["topics", topic, "configs", &name];
    let names = [("topic", topic), ("config", &name)];
    Resource::new("KafkaTopicConfig", &cluster.urls, &path, &names, data)
}

/// As Kafka's admin client spells them.
fn source(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::Topic => "DYNAMIC_TOPIC_CONFIG",
        ConfigSource::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
        ConfigSource::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        ConfigSource::StaticBroker => "STATIC_BROKER_CONFIG",
        ConfigSource::Default => "DEFAULT_CONFIG",
        ConfigSource::DynamicBrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
        ConfigSource::ClientMetrics | ConfigSource::Group | ConfigSource::Unknown => "UNKNOWN",
    }
}
