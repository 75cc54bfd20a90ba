//! `/clusters/{id}/links/{link}/mirrors`: mirror topics, created, listed and described.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::documents::{List, Resource};
use super::links::{ErrorData, NewConfig, Scalar, Which};
use crate::linking::operations::{Held, MirrorView, NewMirror};
use crate::server::audit::Notes;
use crate::server::json::{self, Asked, Document, Json, Named};
use crate::server::problem::ApiError;
use crate::server::state::{ClusterState, InCluster};
use crate::status::{MirrorState, MirrorTopicError, PartitionStatus};

pub(super) fn routes() -> Router<Arc<ClusterState>> {
    Router::new()
        .route("/clusters/{cluster_id}/links/-/mirrors", get(all))
        .route(
            "/clusters/{cluster_id}/links/{link_name}/mirrors",
            get(list).post(create),
        )
        .route(
            "/clusters/{cluster_id}/links/{link_name}/mirrors/{mirror_topic_name}",
            get(one),
        )
}

/// `KafkaMirrorData`
#[derive(Clone, Debug, Serialize)]
pub struct MirrorData {
    pub link_name: String,
    pub mirror_topic_name: String,
    pub source_topic_name: String,
    pub num_partitions: usize,
    pub mirror_lags: Vec<LagData>,
    pub mirror_status: &'static str,
    pub mirror_topic_error: &'static str,
    pub state_time_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror_state_transition_errors: Option<Vec<ErrorData>>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct LagData {
    pub partition: i32,
    pub lag: i64,
    pub last_source_fetch_offset: i64,
}

impl From<&PartitionStatus> for LagData {
    fn from(partition: &PartitionStatus) -> Self {
        Self {
            partition: partition.partition,
            lag: partition.lag.unwrap_or(-1),
            last_source_fetch_offset: partition.last_source_fetch_offset,
        }
    }
}

#[derive(Debug, Deserialize)]
struct WhichMirror {
    link_name: String,
    mirror_topic_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ListQuery {
    mirror_status: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OneQuery {
    #[serde(deserialize_with = "json::flag")]
    include_state_transition_errors: bool,
}

/// `CreateMirrorTopicRequestData`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewMirrorData {
    source_topic_name: String,
    #[serde(default)]
    mirror_topic_name: Option<String>,
    #[serde(default)]
    replication_factor: Option<i16>,
    #[serde(default)]
    configs: Option<Vec<NewConfig>>,
}

async fn all(
    cluster: InCluster,
    State(state): State<Arc<ClusterState>>,
    Asked(query): Asked<ListQuery>,
) -> Result<Json<List<Resource<MirrorData>>>, ApiError> {
    let desk = state.desk()?;
    let desired = desk.state().await?;
    let views = desk.mirrors(&desired, None).await?;
    let url = cluster.urls.to(&["links", "-", "mirrors"]);
    Ok(Json(listed(&cluster, url, views, &query)))
}

async fn list(
    cluster: InCluster,
    State(state): State<Arc<ClusterState>>,
    Named(Which { link_name }): Named<Which>,
    Asked(query): Asked<ListQuery>,
) -> Result<Json<List<Resource<MirrorData>>>, ApiError> {
    let views = views(&state, &link_name).await?;
    let url = cluster.urls.to(&["links", &link_name, "mirrors"]);
    Ok(Json(listed(&cluster, url, views, &query)))
}

/// The mirrors of one link. The half at a source has none.
pub(super) async fn views(state: &ClusterState, link: &str) -> Result<Vec<MirrorView>, ApiError> {
    let desk = state.desk()?;
    let desired = desk.state().await?;
    match Held::find(&desired, link)? {
        Held::Destination { link, .. } => Ok(desk.mirrors(&desired, Some(&link)).await?),
        Held::Source { .. } => Ok(Vec::new()),
    }
}

fn listed(
    cluster: &InCluster,
    url: String,
    views: Vec<MirrorView>,
    query: &ListQuery,
) -> List<Resource<MirrorData>> {
    let asked = query.mirror_status.as_deref();
    let views = views
        .iter()
        .filter(|view| asked.is_none_or(|asked| view.state().eq_ignore_ascii_case(asked)));
    let documents = views.map(|view| document(cluster, view, false)).collect();
    List::new("KafkaMirrorDataList", url, documents)
}

async fn one(
    cluster: InCluster,
    State(state): State<Arc<ClusterState>>,
    Named(which): Named<WhichMirror>,
    Asked(query): Asked<OneQuery>,
) -> Result<Json<Resource<MirrorData>>, ApiError> {
    let views = views(&state, &which.link_name).await?;
    let found = views
        .iter()
        .find(|view| view.mirror_topic() == which.mirror_topic_name);
    let view = found.ok_or_else(|| {
        ApiError::not_found(format!(
            "The link `{}` has no mirror topic `{}`.",
            which.link_name, which.mirror_topic_name
        ))
    })?;
    let with_errors = query.include_state_transition_errors;
    Ok(Json(document(&cluster, view, with_errors)))
}

async fn create(
    _: InCluster,
    State(state): State<Arc<ClusterState>>,
    notes: Notes,
    Named(Which { link_name }): Named<Which>,
    Document(asked): Document<NewMirrorData>,
) -> Result<StatusCode, ApiError> {
    notes.add(format!("link {link_name}"));
    notes.add(format!("source topic {}", asked.source_topic_name));
    let configs = asked.configs.unwrap_or_default().into_iter();
    let configs = configs.map(|config| match config.value {
        Some(value) => Ok((config.name, text(value))),
        None => Err(ApiError::invalid(format!(
            "Config {} has no value.",
            config.name
        ))),
    });
    let mirror = NewMirror {
        source_topic: asked.source_topic_name,
        mirror_topic: asked.mirror_topic_name,
        replication_factor: asked.replication_factor,
        configs: configs.collect::<Result<_, _>>()?,
    };
    for (config, _) in &mirror.configs {
        notes.add(format!("config {config}"));
    }
    state.desk()?.create_mirror(&link_name, &mirror).await?;
    Ok(StatusCode::CREATED)
}

fn text(value: Scalar) -> String {
    match value {
        Scalar::Text(text) => text,
        Scalar::Bool(yes) => yes.to_string(),
        Scalar::Number(number) => number.to_string(),
    }
}

fn document(cluster: &InCluster, view: &MirrorView, with_errors: bool) -> Resource<MirrorData> {
    let status = &view.status;
    let (link, topic) = (status.link_name.as_str(), status.mirror_topic.as_str());
    let failure = status.message.as_ref();
    let reversal = status.ending.as_ref().and_then(|it| it.reversal.as_ref());
    let is_not_reversed = reversal.is_some_and(|reversal| reversal.trouble.is_some());
    let failure = failure.filter(|_| status.state == MirrorState::Failed || is_not_reversed);
    let errors = failure.map(|message| ErrorData {
        error_code: match status.error {
            MirrorTopicError::NoError => MirrorTopicError::Unknown.name(),
            error => error.name(),
        },
        error_message: message.clone(),
    });
    let data = MirrorData {
        link_name: link.to_owned(),
        mirror_topic_name: topic.to_owned(),
        source_topic_name: status.source_topic.clone(),
        num_partitions: status.partitions.len(),
        mirror_lags: status.partitions.iter().map(LagData::from).collect(),
        mirror_status: view.state(),
        mirror_topic_error: status.error.name(),
        state_time_ms: status.since_ms.unwrap_or(0),
        // What is wrong is told without being asked for, too.
        mirror_state_transition_errors: (with_errors || errors.is_some())
            .then(|| errors.into_iter().collect()),
    };
    Resource::new(
        "KafkaMirrorData",
        &cluster.urls,
        &["links", link, "mirrors", topic],
        &[("link", link), ("mirror", topic)],
        data,
    )
}
