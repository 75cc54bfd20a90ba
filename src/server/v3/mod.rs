//! Kafka's REST API v3 over one cluster, under `/kafka/v3` as Confluent Server has it and under `/v3` as the REST Proxy has it.
//!
//! The facts are those of the OpenAPI documents that Confluent publishes. Each part of the API is a module of its own with its routes,
//! handlers and documents; [`documents`] has what they share.

pub mod brokers;
pub mod clusters;
pub mod documents;
pub mod groups;
pub mod lags;
pub mod link_configs;
pub mod links;
pub mod mirror_actions;
pub mod mirrors;
pub mod partitions;
pub mod topic_configs;
pub mod topics;

use std::sync::Arc;

use axum::Router;

use super::state::ClusterState;

/// All routes, without the prefix.
pub(super) fn routes() -> Router<Arc<ClusterState>> {
    Router::new()
        .merge(clusters::routes())
        .merge(brokers::routes())
        .merge(topics::routes())
        .merge(topic_configs::routes())
        .merge(partitions::routes())
        .merge(groups::routes())
        .merge(links::routes())
        .merge(link_configs::routes())
        .merge(mirrors::routes())
        .merge(mirror_actions::routes())
}
