//! `/clusters`: the one cluster that a listener knows.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use serde::Serialize;

use super::documents::{List, Related, Resource};
use crate::server::json::Json;
use crate::server::problem::ApiError;
use crate::server::state::{ClusterState, InCluster, OwnCluster};
use crate::server::urls::Base;

pub(super) fn routes() -> Router<Arc<ClusterState>> {
    Router::new()
        .route("/clusters", get(list))
        .route("/clusters/{cluster_id}", get(one))
}

/// `KafkaCluster`
#[derive(Clone, Debug, Serialize)]
pub struct Cluster {
    pub cluster_id: String,
    /// Left out while no controller is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<Related>,
    pub acls: Related,
    pub brokers: Related,
    pub broker_configs: Related,
    pub consumer_groups: Related,
    pub topics: Related,
    pub partition_reassignments: Related,
}

async fn list(
    axum::Extension(base): axum::Extension<Base>,
    OwnCluster(cluster): OwnCluster,
) -> Result<Json<List<Resource<Cluster>>>, ApiError> {
    let own = document(&cluster).await?;
    Ok(Json(List::new(
        "KafkaClusterList",
        base.clusters(),
        vec![own],
    )))
}

async fn one(cluster: InCluster) -> Result<Json<Resource<Cluster>>, ApiError> {
    Ok(Json(document(&cluster).await?))
}

async fn document(cluster: &InCluster) -> Result<Resource<Cluster>, ApiError> {
    let metadata = cluster.admin.describe_cluster().await?;
    let urls = &cluster.urls;
    let to = |path: &[&str]| Related::to(urls, path);
    let controller = (metadata.controller_id >= 0)
        .then(|| to(&["brokers", &metadata.controller_id.to_string()]));
    let data = Cluster {
        cluster_id: cluster.id.clone(),
        controller,
        acls: to(&["acls"]),
        brokers: to(&["brokers"]),
        broker_configs: to(&["broker-configs"]),
        consumer_groups: to(&["consumer-groups"]),
        topics: to(&["topics"]),
        partition_reassignments: to(&["topics", "-", "partitions", "-", "reassignment"]),
    };
    Ok(Resource::new("KafkaCluster", urls, &[], &[], data))
}
