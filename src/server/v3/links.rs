//! `/clusters/{id}/links`: cluster links, created, listed, described and deleted.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::documents::{List, Resource};
use crate::client::Secret;
use crate::control::ControlState;
use crate::linking::operations::{Checks, Desk, Health, Held, NewLink, OtherEnd, Trouble};
use crate::linking::{Change, LinkMode};
use crate::server::audit::Notes;
use crate::server::json::{self, Asked, Document, Json, Named};
use crate::server::problem::ApiError;
use crate::server::state::{ClusterState, InCluster};

pub(super) fn routes() -> Router<Arc<ClusterState>> {
    Router::new()
        .route("/clusters/{cluster_id}/links", get(list).post(create))
        .route(
            "/clusters/{cluster_id}/links/{link_name}",
            get(one).delete(delete),
        )
}

/// `KafkaLinkData`
#[derive(Clone, Debug, Serialize)]
pub struct LinkData {
    /// Of a link that copies to this cluster.
    pub source_cluster_id: Option<String>,
    /// Of the half that a source keeps.
    pub destination_cluster_id: Option<String>,
    /// Of a link of both ways.
    pub remote_cluster_id: Option<String>,
    pub link_name: String,
    pub link_id: String,
    /// The same 16 bytes in base64.
    pub cluster_link_id: String,
    pub topic_names: Vec<String>,
    pub link_state: &'static str,
    pub link_error: &'static str,
    pub link_error_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<TaskData>>,
}

#[derive(Clone, Debug, Serialize)]
pub struct TaskData {
    pub task_name: &'static str,
    pub state: &'static str,
    pub errors: Vec<ErrorData>,
}

/// An error whose code is a word.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorData {
    pub error_code: &'static str,
    pub error_message: String,
}

/// The link that a path names.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    pub link_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CreateQuery {
    link_name: String,
    #[serde(deserialize_with = "json::flag")]
    validate_only: bool,
    #[serde(deserialize_with = "json::flag", default = "yes")]
    validate_link: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DeleteQuery {
    #[serde(deserialize_with = "json::flag")]
    force: bool,
    #[serde(deserialize_with = "json::flag")]
    validate_only: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OneQuery {
    #[serde(deserialize_with = "json::flag")]
    include_tasks: bool,
}

/// `CreateLinkRequestData`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLinkData {
    source_cluster_id: Option<String>,
    destination_cluster_id: Option<String>,
    remote_cluster_id: Option<String>,
    /// What the other half of a link of both ways has.
    cluster_link_id: Option<String>,
    #[serde(default)]
    configs: Option<Vec<NewConfig>>,
}

/// A config with its value, which may be a secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewConfig {
    pub name: String,
    #[serde(default)]
    pub value: Option<Scalar>,
}

impl fmt::Debug for NewConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewConfig")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Values are strings. Kafka REST takes what else stands for one value as well.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Text(String),
    Bool(bool),
    Number(serde_json::Number),
}

impl From<Scalar> for Secret {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => Self::new(text),
            Scalar::Bool(yes) => Self::new(yes.to_string()),
            Scalar::Number(number) => Self::new(number.to_string()),
        }
    }
}

impl From<NewConfig> for Change {
    fn from(config: NewConfig) -> Self {
        Self {
            name: config.name,
            value: config.value.map(Secret::from),
        }
    }
}

async fn list(
    cluster: InCluster,
    State(state): State<Arc<ClusterState>>,
) -> Result<Json<List<Resource<LinkData>>>, ApiError> {
    let desk = state.desk()?;
    let desired = desk.state().await?;
    let links = Held::all(&desired);
    let documents = links
        .iter()
        .map(|link| document(&cluster, desk, &desired, link, false));
    let url = cluster.urls.to(&["links"]);
    Ok(Json(List::new(
        "KafkaLinkDataList",
        url,
        join_all(documents).await,
    )))
}

async fn one(
    cluster: InCluster,
    State(state): State<Arc<ClusterState>>,
    Named(Which { link_name }): Named<Which>,
    Asked(query): Asked<OneQuery>,
) -> Result<Json<Resource<LinkData>>, ApiError> {
    let desk = state.desk()?;
    let desired = desk.state().await?;
    let link = Held::find(&desired, &link_name)?;
    let document = document(&cluster, desk, &desired, &link, query.include_tasks);
    Ok(Json(document.await))
}

async fn create(
    _: InCluster,
    State(state): State<Arc<ClusterState>>,
    notes: Notes,
    Asked(query): Asked<CreateQuery>,
    Document(asked): Document<NewLinkData>,
) -> Result<StatusCode, ApiError> {
    notes.add(format!("link {}", query.link_name));
    if query.validate_only {
        notes.add("only validated");
    }
    if query.link_name.is_empty() {
        return Err(ApiError::malformed(
            "The query parameter link_name is missing.",
        ));
    }
    let configs = asked.configs.unwrap_or_default().into_iter();
    let configs: Vec<Change> = configs.map(Change::from).collect();
    for config in &configs {
        notes.add(format!("config {}", config.name));
    }
    let other = match (
        asked.source_cluster_id,
        asked.destination_cluster_id,
        asked.remote_cluster_id,
    ) {
        (Some(id), None, None) => Some(OtherEnd::Source(id)),
        (None, Some(id), None) => Some(OtherEnd::Destination(id)),
        (None, None, Some(id)) => Some(OtherEnd::Remote(id)),
        (None, None, None) => None,
        (_, _, Some(_)) => {
            return Err(ApiError::invalid(
                "remote_cluster_id is for links with link.mode BIDIRECTIONAL: no other cluster's id is given with it",
            ));
        }
        (Some(_), Some(_), None) => {
            return Err(ApiError::invalid(
                "source_cluster_id and destination_cluster_id are both given: one of them is this cluster",
            ));
        }
    };
    let id = asked.cluster_link_id.as_deref().map(link_id).transpose()?;
    let link = NewLink {
        name: query.link_name,
        other,
        id,
        configs,
    };
    let checks = Checks {
        validate_only: query.validate_only,
        validate_link: query.validate_link,
    };
    state.desk()?.create_link(link, checks).await?;
    Ok(match query.validate_only {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::CREATED,
    })
}

/// The bytes of a link's id, as this API shows it.
fn link_id(text: &str) -> Result<Uuid, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let id = bytes.and_then(|bytes| Uuid::from_slice(&bytes).ok());
    id.ok_or_else(|| ApiError::invalid("cluster_link_id is no id of a link: 16 bytes in base64"))
}

async fn delete(
    _: InCluster,
    State(state): State<Arc<ClusterState>>,
    notes: Notes,
    Named(Which { link_name }): Named<Which>,
    Asked(query): Asked<DeleteQuery>,
) -> Result<StatusCode, ApiError> {
    notes.add(format!("link {link_name}"));
    if query.validate_only {
        notes.add("only validated");
    }
    let desk = state.desk()?;
    desk.delete_link(&link_name, query.force, query.validate_only)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn document(
    cluster: &InCluster,
    desk: &Desk,
    desired: &ControlState,
    link: &Held,
    include_tasks: bool,
) -> Resource<LinkData> {
    let health = match link {
        Held::Destination { link, .. } => desk.health(desired, link).await,
        Held::Source { configs, .. } if configs.is_paused() => Health::Paused,
        Held::Source { .. } => Health::Active,
    };
    let (other, mut topics) = match link {
        Held::Destination { link, .. } => {
            let mirrors = desired.mirrors.values();
            let own = mirrors.filter(|mirror| mirror.id.link == link.id);
            let topics = own.map(|mirror| mirror.destination_topic.clone()).collect();
            (link.source_cluster_id.clone(), topics)
        }
        Held::Source { link, .. } => (link.destination_cluster_id.clone(), Vec::new()),
    };
    topics.sort();
    let mode = match link {
        Held::Destination { configs, .. } => configs.link_mode(),
        Held::Source { .. } => LinkMode::Source,
    };
    let other = |of| (mode == of).then(|| other.clone());
    let (state, error, message) = told(&health);
    let data = LinkData {
        source_cluster_id: other(LinkMode::Destination),
        destination_cluster_id: other(LinkMode::Source),
        remote_cluster_id: other(LinkMode::Bidirectional),
        link_name: link.name().to_owned(),
        link_id: link.id().to_string(),
        cluster_link_id: URL_SAFE_NO_PAD.encode(link.id().as_bytes()),
        topic_names: topics,
        link_state: state,
        link_error: error,
        link_error_message: message,
        tasks: include_tasks.then(|| tasks(link, &health)),
    };
    let name = link.name();
    Resource::new(
        "KafkaLinkData",
        &cluster.urls,
        &["links", name],
        &[("link", name)],
        data,
    )
}

/// State, error and message.
fn told(health: &Health) -> (&'static str, &'static str, Option<String>) {
    let word = |trouble: &Trouble| match trouble {
        Trouble::Authentication => "AUTHENTICATION_ERROR",
        Trouble::NotReached => "BOOTSTRAP_TCP_CONNECTION_FAILED_ERROR",
        Trouble::Timeout => "TIMEOUT_ERROR",
        Trouble::Other => "UNKNOWN",
    };
    match health {
        Health::Active => ("ACTIVE", "NO_ERROR", None),
        Health::Paused => ("PAUSED", "NO_ERROR", None),
        Health::Failed(trouble, words) => ("FAILED", word(trouble), Some(words.clone())),
        Health::Unavailable(trouble, words) => ("UNAVAILABLE", word(trouble), Some(words.clone())),
    }
}

/// What a link does besides copying.
fn tasks(link: &Held, health: &Health) -> Vec<TaskData> {
    let is_destination = matches!(link, Held::Destination { .. });
    let configured = [
        ("ConsumerOffsetSync", false),
        ("AclSync", false),
        (
            "AutoCreateMirror",
            is_destination && link.configs().creates_mirrors(),
        ),
        ("TopicConfigsSync", is_destination),
    ];
    let tasks = configured.into_iter().map(|(task_name, is_configured)| {
        let state = match (is_configured, health) {
            (false, _) => "NOT_CONFIGURED",
            (true, Health::Active) => "ACTIVE",
            (true, Health::Paused) => "LINK_PAUSED",
            (true, Health::Failed(..)) => "LINK_FAILED",
            (true, Health::Unavailable(..)) => "LINK_UNAVAILABLE",
        };
        TaskData {
            task_name,
            state,
            errors: Vec::new(),
        }
    });
    tasks.collect()
}
