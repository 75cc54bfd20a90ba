//! Everything that an apply does to clusters, in batches with one result an item.

use async_trait::async_trait;
use uuid::Uuid;

use crate::control::Write;
use crate::control::records::IncarnationId;
use crate::plan::model::{DoomedTopic, TopicSpec};

/// Why a broker did not do one thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}: {message}")]
pub struct Failure {
    /// The protocol's name of the error, or what went wrong on the way.
    pub error: String,
    /// The broker's own words.
    pub message: String,
}

/// New values for some configs of a topic; `None` resets one to what the topic inherits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigAlteration {
    pub topic: String,
    pub configs: Vec<(String, Option<String>)>,
}

/// A producer id, for one mirror's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerId {
    pub id: i64,
    pub epoch: i16,
}

/// The clusters of a plan, by their names in the file. Results stand in the order of the items.
#[async_trait]
pub trait Effects: Send + Sync {
    async fn create_topics(&self, cluster: &str, topics: &[TopicSpec]) -> Vec<Result<(), Failure>>;

    /// Raises each topic's partitions to the given total.
    async fn create_partitions(
        &self,
        cluster: &str,
        totals: &[(String, i32)],
    ) -> Vec<Result<(), Failure>>;

    async fn alter_configs(
        &self,
        cluster: &str,
        alterations: &[ConfigAlteration],
    ) -> Vec<Result<(), Failure>>;

    /// Deletes topics; one that is gone already counts as deleted.
    async fn delete_topics(
        &self,
        cluster: &str,
        topics: &[DoomedTopic],
    ) -> Vec<Result<(), Failure>>;

    /// Removes what is stored of the progress of mirrors that are no more.
    async fn forget_progress(&self, cluster: &str, ids: &[IncarnationId]) -> Result<(), Failure>;

    /// Ids of topics that were just created or seen; nil where brokers know none.
    async fn topic_ids(&self, cluster: &str, topics: &[String]) -> Vec<Result<Uuid, Failure>>;

    /// Fresh producer ids.
    async fn producer_ids(&self, cluster: &str, count: usize) -> Vec<Result<ProducerId, Failure>>;

    /// Writes control records in one transaction, as the holder of the lock.
    async fn commit(&self, cluster: &str, writes: Vec<Write>) -> Result<(), Failure>;
}
