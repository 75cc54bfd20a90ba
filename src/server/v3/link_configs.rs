//! `/clusters/{id}/links/{link}/configs`: read, and set one by one or several at once.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, put};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::documents::{List, Resource};
use super::links::{Scalar, Which};
use crate::client::Secret;
use crate::linking::operations::Held;
use crate::linking::{Change, Shown};
use crate::server::audit::Notes;
use crate::server::json::{self, Asked, Document, Json, Named};
use crate::server::problem::ApiError;
use crate::server::state::{ClusterState, InCluster};

pub(super) fn routes() -> Router<Arc<ClusterState>> {
    Router::new()
        .route(
            "/clusters/{cluster_id}/links/{link_name}/configs",
            get(list),
        )
        .route(
            "/clusters/{cluster_id}/links/{link_name}/configs/{config_name}",
            get(one).put(set).delete(reset),
        )
        // POST was the verb of the first servers, before 7.1.
        .route(
            "/clusters/{cluster_id}/links/{link_name}/configs:alter",
            put(alter).post(alter),
        )
}

/// `KafkaLinkConfigData`, with the names that Confluent Cloud gives the flags and those that Confluent Platform's document gives them.
#[derive(Clone, Debug, Serialize)]
pub struct LinkConfigData {
    pub cluster_id: String,
    pub link_name: String,
    pub name: &'static str,
    /// Null where it is not set, and of secrets.
    pub value: Option<String>,
    pub is_default: bool,
    pub is_read_only: bool,
    pub is_sensitive: bool,
    pub default: bool,
    pub read_only: bool,
    pub sensitive: bool,
    pub source: &'static str,
    pub synonyms: Vec<&'static str>,
}

#[derive(Debug, Deserialize)]
struct WhichConfig {
    link_name: String,
    config_name: String,
}

/// `UpdateLinkConfigRequestData`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewValue {
    value: Option<Scalar>,
}

/// `AlterConfigBatchRequestData`
#[derive(Debug, Deserialize)]
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
    #[serde(default)]
    value: Option<Scalar>,
    #[serde(default)]
    operation: Option<String>,
}

impl fmt::Debug for Alteration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alteration")
            .field("name", &self.name)
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AlterQuery {
    #[serde(deserialize_with = "json::flag")]
    validate_only: bool,
}

async fn list(
    cluster: InCluster,
    State(state): State<Arc<ClusterState>>,
    Named(Which { link_name }): Named<Which>,
) -> Result<Json<List<Resource<LinkConfigData>>>, ApiError> {
    let desired = state.desk()?.state().await?;
    let link = Held::find(&desired, &link_name)?;
    let shown = link.configs().shown().into_iter();
    let configs = shown.map(|shown| document(&cluster, &link_name, shown));
    let url = cluster.urls.to(&["links", &link_name, "configs"]);
    Ok(Json(List::new(
        "KafkaLinkConfigDataList",
        url,
        configs.collect(),
    )))
}

async fn one(
    cluster: InCluster,
    State(state): State<Arc<ClusterState>>,
    Named(which): Named<WhichConfig>,
) -> Result<Json<Resource<LinkConfigData>>, ApiError> {
    let desired = state.desk()?.state().await?;
    let link = Held::find(&desired, &which.link_name)?;
    let shown = link.configs().shown_one(&which.config_name);
    let shown = shown.map_err(ApiError::not_found)?;
    Ok(Json(document(&cluster, &which.link_name, shown)))
}

async fn set(
    _: InCluster,
    State(state): State<Arc<ClusterState>>,
    notes: Notes,
    Named(which): Named<WhichConfig>,
    Document(asked): Document<NewValue>,
) -> Result<StatusCode, ApiError> {
    let change = Change {
        name: which.config_name,
        value: asked.value.map(Secret::from),
    };
    change_one(&state, &notes, &which.link_name, change).await
}

async fn reset(
    _: InCluster,
    State(state): State<Arc<ClusterState>>,
    notes: Notes,
    Named(which): Named<WhichConfig>,
) -> Result<StatusCode, ApiError> {
    let change = Change {
        name: which.config_name,
        value: None,
    };
    change_one(&state, &notes, &which.link_name, change).await
}

async fn change_one(
    state: &ClusterState,
    notes: &Notes,
    link: &str,
    change: Change,
) -> Result<StatusCode, ApiError> {
    notes.add(format!("link {link}"));
    notes.add(format!("config {}", change.name));
    state.desk()?.alter_link(link, &[change], false).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn alter(
    _: InCluster,
    State(state): State<Arc<ClusterState>>,
    notes: Notes,
    Named(Which { link_name }): Named<Which>,
    Asked(query): Asked<AlterQuery>,
    Document(batch): Document<Batch>,
) -> Result<StatusCode, ApiError> {
    notes.add(format!("link {link_name}"));
    let validate_only = query.validate_only || batch.validate_only == Some(true);
    if validate_only {
        notes.add("only validated");
    }
    let changes = batch.data.into_iter().map(change);
    let changes = changes.collect::<Result<Vec<Change>, ApiError>>()?;
    for change in &changes {
        notes.add(format!("config {}", change.name));
    }
    let desk = state.desk()?;
    desk.alter_link(&link_name, &changes, validate_only).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn change(alteration: Alteration) -> Result<Change, ApiError> {
    let operation = alteration.operation.as_deref().unwrap_or("SET");
    let value = if operation.eq_ignore_ascii_case("DELETE") {
        None
    } else if operation.eq_ignore_ascii_case("SET") {
        alteration.value.map(Secret::from)
    } else {
        return Err(ApiError::invalid("operation has to be SET or DELETE"));
    };
    Ok(Change {
        name: alteration.name,
        value,
    })
}

fn document(cluster: &InCluster, link: &str, shown: Shown) -> Resource<LinkConfigData> {
    let data = LinkConfigData {
        cluster_id: cluster.id.clone(),
        link_name: link.to_owned(),
        name: shown.name,
        is_default: shown.is_default,
        is_read_only: shown.is_read_only,
        is_sensitive: shown.is_sensitive,
        default: shown.is_default,
        read_only: shown.is_read_only,
        sensitive: shown.is_sensitive,
        source: shown.source(),
        synonyms: vec![shown.name],
        value: shown.value,
    };
    Resource::new(
        "KafkaLinkConfigData",
        &cluster.urls,
        &["links", link, "configs", data.name],
        &[("link", link), ("config", data.name)],
        data,
    )
}
