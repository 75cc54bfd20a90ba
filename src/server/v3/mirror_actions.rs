//! `/clusters/{id}/links/{link}/mirrors:ACTION`: what is done to mirror topics that are there.
//!
//! What is refused for one topic is told inside an answer of status 200, beside what was done to the others.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde::{Deserialize, Serialize};

use super::documents::{Metadata, Resource};
use super::links::Which;
use super::mirrors::{LagData, views};
use crate::control::actions::{ActionRefusal, MirrorAction};
use crate::linking::operations::{ActedOn, Held, MirrorView};
use crate::server::audit::Notes;
use crate::server::json::{self, Asked, Document, Json, Named};
use crate::server::problem::ApiError;
use crate::server::state::{ClusterState, InCluster};
use crate::topology::selector::TopicSelector;

pub(super) fn routes() -> Router<Arc<ClusterState>> {
    let at =
        |action: &str| format!("/clusters/{{cluster_id}}/links/{{link_name}}/mirrors:{action}");
    let mut router = Router::new();
    for (name, action) in [
        ("promote", MirrorAction::Promote),
        ("failover", MirrorAction::FailOver),
        ("pause", MirrorAction::Pause),
        ("resume", MirrorAction::Resume),
        // Under these names since 7.5, and under the others before.
        ("reverse-and-start-mirror", MirrorAction::ReverseAndStart),
        ("reverse-and-pause-mirror", MirrorAction::ReverseAndPause),
        (
            "promote-local-and-start-remote-mirror",
            MirrorAction::ReverseAndStart,
        ),
        (
            "promote-local-and-pause-remote-mirror",
            MirrorAction::ReverseAndPause,
        ),
    ] {
        router = router.route(
            &at(name),
            post(move |cluster, state, notes, which, query, body| {
                act((name, action), cluster, state, notes, which, query, body)
            }),
        );
    }
    router.route(&at("truncate-and-restore"), post(truncate))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Query {
    #[serde(deserialize_with = "json::flag")]
    validate_only: bool,
}

/// `AlterMirrorsRequestData`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AlterMirrors {
    #[serde(default)]
    mirror_topic_names: Option<Vec<String>>,
    /// A regular expression for whole names.
    #[serde(default)]
    mirror_topic_name_pattern: Option<String>,
}

/// The answer of every action.
#[derive(Clone, Debug, Serialize)]
struct Answer {
    kind: &'static str,
    metadata: Metadata,
    data: Vec<Resource<OutcomeData>>,
}

/// `AlterMirrorsData`
#[derive(Clone, Debug, Serialize)]
struct OutcomeData {
    mirror_topic_name: String,
    error_code: Option<i32>,
    error_message: Option<String>,
    mirror_lags: Vec<LagData>,
}

async fn act(
    (name, action): (&'static str, MirrorAction),
    cluster: InCluster,
    State(state): State<Arc<ClusterState>>,
    notes: Notes,
    Named(Which { link_name }): Named<Which>,
    Asked(query): Asked<Query>,
    Document(asked): Document<AlterMirrors>,
) -> Result<Json<Answer>, ApiError> {
    notes.add(format!("link {link_name}"));
    if query.validate_only {
        notes.add("only validated");
    }
    let views = views(&state, &link_name).await?;
    let topics = topics(asked, &views)?;
    for topic in &topics {
        notes.add(format!("mirror {topic}"));
    }
    let desk = state.desk()?;
    let outcomes = desk
        .act(&link_name, &topics, action, query.validate_only)
        .await?;
    let outcomes = outcomes.into_iter();
    let data = outcomes.map(|outcome| document(&cluster, &link_name, &views, outcome));
    let path = format!("mirrors:{name}");
    Ok(Json(Answer {
        kind: "KafkaPromoteMirror",
        metadata: Metadata {
            url: cluster.urls.to(&["links", &link_name, &path]),
            resource_name: cluster.urls.resource(&[("link", &link_name)]),
        },
        data: data.collect(),
    }))
}

/// The topics that are meant, each once.
fn topics(asked: AlterMirrors, views: &[MirrorView]) -> Result<Vec<String>, ApiError> {
    let mut topics = asked.mirror_topic_names.unwrap_or_default();
    if let Some(pattern) = asked.mirror_topic_name_pattern {
        let pattern = TopicSelector::from_regex(&pattern)
            .map_err(|_| ApiError::invalid("mirror_topic_name_pattern is no regular expression"))?;
        let names = views.iter().map(|view| view.mirror_topic().to_owned());
        topics.extend(names.filter(|name| pattern.matches(name)));
    }
    if topics.is_empty() {
        return Err(ApiError::invalid("mirror_topic_names names no topic."));
    }
    let mut seen = std::collections::HashSet::new();
    topics.retain(|topic| seen.insert(topic.clone()));
    Ok(topics)
}

fn document(
    cluster: &InCluster,
    link: &str,
    views: &[MirrorView],
    (topic, outcome): ActedOn,
) -> Resource<OutcomeData> {
    let view = views.iter().find(|view| view.mirror_topic() == topic);
    let lags = view.into_iter().flat_map(|view| &view.status.partitions);
    let refusal = outcome.err();
    let data = OutcomeData {
        error_code: refusal.as_ref().map(|refusal| match refusal {
            ActionRefusal::NoSuchMirror { .. } => 404,
            ActionRefusal::Stopped { .. }
            | ActionRefusal::Pending { .. }
            | ActionRefusal::Failed { .. }
            | ActionRefusal::Reversing { .. }
            | ActionRefusal::NotTakenOver { .. } => 400,
        }),
        error_message: refusal.map(|refusal| refusal.to_string()),
        mirror_lags: lags.map(LagData::from).collect(),
        mirror_topic_name: topic.clone(),
    };
    Resource::new(
        "AlterMirrorsData",
        &cluster.urls,
        &["links", link, "mirrors", &topic],
        &[("link", link), ("mirror", &topic)],
        data,
    )
}

async fn truncate(
    _: InCluster,
    State(state): State<Arc<ClusterState>>,
    Named(Which { link_name }): Named<Which>,
) -> Result<(), ApiError> {
    known(&state, &link_name).await?;
    Err(ApiError::unsupported(
        "Kafka cannot cut off the end of a log, so nothing can be truncated and restored: delete the topic and mirror it anew.",
    ))
}

/// # Errors
/// 404 where there is no such link.
async fn known(state: &ClusterState, link: &str) -> Result<(), ApiError> {
    let desired = state.desk()?.state().await?;
    Held::find(&desired, link)?;
    Ok(())
}
