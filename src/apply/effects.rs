//! Everything that an apply does to clusters, in batches with one result an item.

use async_trait::async_trait;
use uuid::Uuid;

use crate::control::Write;
use crate::control::records::IncarnationId;
use crate::plan::model::{
    DoomedTopic, HalfChange, HalfRole, MirrorAction, NewBrokerMirror, TopicSpec,
};

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

/// What is done through the REST API of clusters whose brokers carry links. Links and topics are named as brokers know them.
#[async_trait]
pub trait LinkEffects: Send + Sync {
    /// Makes one half of a link, and waits until brokers tell of it.
    async fn create_link(
        &self,
        cluster: &str,
        link: &str,
        role: &HalfRole,
        configs: &[HalfChange],
    ) -> Result<(), Failure>;

    async fn alter_link(
        &self,
        cluster: &str,
        link: &str,
        configs: &[HalfChange],
    ) -> Result<(), Failure>;

    /// Deletes one half, and waits until it is gone; one that is gone already counts as deleted.
    async fn delete_link(&self, cluster: &str, link: &str) -> Result<(), Failure>;

    async fn create_mirror(
        &self,
        cluster: &str,
        link: &str,
        mirror: &NewBrokerMirror,
    ) -> Result<(), Failure>;

    /// Asks for the same of several mirror topics, and waits until each has come to where that leads.
    async fn act_on_mirrors(
        &self,
        cluster: &str,
        link: &str,
        action: MirrorAction,
        topics: &[String],
    ) -> Vec<Result<(), Failure>>;

    /// Deletes mirror topics, and waits until brokers know nothing of them.
    async fn delete_mirrors(
        &self,
        cluster: &str,
        link: &str,
        topics: &[String],
    ) -> Vec<Result<(), Failure>>;
}

/// The clusters of a plan, by their names in the file. Results stand in the order of the items.
#[async_trait]
pub trait Effects: Send + Sync {
    /// What is done through the REST API.
    fn links(&self) -> &dyn LinkEffects;

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

    /// Whether a worker has stored that a partition of a mirror stands still. What can't be read is not known, and no reason to
    /// refuse anything.
    async fn has_failed(&self, cluster: &str, id: IncarnationId) -> bool;

    /// Ids of topics that were just created or seen; nil where brokers know none.
    async fn topic_ids(&self, cluster: &str, topics: &[String]) -> Vec<Result<Uuid, Failure>>;

    /// Fresh producer ids.
    async fn producer_ids(&self, cluster: &str, count: usize) -> Vec<Result<ProducerId, Failure>>;

    /// Writes control records in one transaction, as the holder of the lock.
    async fn commit(&self, cluster: &str, writes: Vec<Write>) -> Result<(), Failure>;
}
