//! `/clusters/{id}/brokers`: the brokers that are up.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use serde::{Deserialize, Serialize};

use super::documents::{List, Related, Resource};
use crate::kafka::Broker;
use crate::server::json::{Json, Named};
use crate::server::problem::ApiError;
use crate::server::state::{ClusterState, InCluster};
use crate::server::urls::Urls;

pub(super) fn routes() -> Router<Arc<ClusterState>> {
    Router::new()
        .route("/clusters/{cluster_id}/brokers", get(list))
        .route("/clusters/{cluster_id}/brokers/{broker_id}", get(one))
}

/// `KafkaBroker`
#[derive(Clone, Debug, Serialize)]
pub struct BrokerData {
    pub cluster_id: String,
    pub broker_id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
    pub configs: Related,
    pub partition_replicas: Related,
}

#[derive(Debug, Deserialize)]
struct Which {
    broker_id: i32,
}

async fn list(cluster: InCluster) -> Result<Json<List<Resource<BrokerData>>>, ApiError> {
    let metadata = cluster.admin.describe_cluster().await?;
    let brokers = metadata.brokers.into_iter();
    let brokers = brokers.map(|broker| document(&cluster, broker)).collect();
    let url = cluster.urls.to(&["brokers"]);
    Ok(Json(List::new("KafkaBrokerList", url, brokers)))
}

async fn one(
    cluster: InCluster,
    Named(Which { broker_id }): Named<Which>,
) -> Result<Json<Resource<BrokerData>>, ApiError> {
    let metadata = cluster.admin.describe_cluster().await?;
    let broker = metadata.broker(broker_id).cloned();
    let broker = broker
        .ok_or_else(|| ApiError::not_found(format!("Broker {broker_id} cannot be found.")))?;
    Ok(Json(document(&cluster, broker)))
}

fn document(cluster: &InCluster, broker: Broker) -> Resource<BrokerData> {
    let urls: &Urls = &cluster.urls;
    let id = broker.id.to_string();
    let data = BrokerData {
        cluster_id: cluster.id.clone(),
        broker_id: broker.id,
        host: broker.host,
        port: broker.port,
        rack: broker.rack,
        configs: Related::to(urls, &["brokers", &id, "configs"]),
        partition_replicas: Related::to(urls, &["brokers", &id, "partition-replicas"]),
    };
    Resource::new(
        "KafkaBroker",
        urls,
        &["brokers", &id],
        &[("broker", &id)],
        data,
    )
}
