//! The effects of an apply on real clusters.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::effects::{ConfigAlteration, Effects, Failure, LinkEffects, ProducerId};
use crate::control::actions;
use crate::control::records::IncarnationId;
use crate::control::{ControlWriter, Write, progress};
use crate::kafka::{Backoff, ClusterMetadata, Error, ErrorCode, Operation, TopicMetadata, Topics};
use crate::observe::halves::Halves;
use crate::observe::{Clusters, alteration, new_topic};
use crate::plan::model::{DoomedTopic, TopicSpec};
use crate::topology::model::Topology;

/// How long a new topic may be unknown to the broker that is asked.
const NEW_TOPIC_GRACE: Duration = Duration::from_secs(10);

/// Connections, and the lock on each destination.
#[derive(Debug)]
pub struct Brokers<'a> {
    clusters: &'a Clusters,
    topology: &'a Topology,
    writers: BTreeMap<String, Mutex<ControlWriter>>,
    /// Producer ids can't be asked for in batches: so many requests for them are under way at a time.
    parallelism: NonZeroUsize,
}

impl<'a> Brokers<'a> {
    pub fn new(
        clusters: &'a Clusters,
        topology: &'a Topology,
        writers: BTreeMap<String, ControlWriter>,
        parallelism: NonZeroUsize,
    ) -> Self {
        Self {
            clusters,
            topology,
            parallelism,
            writers: writers
                .into_iter()
                .map(|(name, writer)| (name, Mutex::new(writer)))
                .collect(),
        }
    }

    pub(super) fn clusters(&self) -> &Clusters {
        self.clusters
    }

    /// Where values of link configs are looked up.
    pub(super) fn halves(&self) -> Halves<'_> {
        Halves {
            clusters: self.clusters,
            topology: self.topology,
        }
    }

    /// The locks back, to be released.
    pub fn into_writers(self) -> impl Iterator<Item = (String, ControlWriter)> {
        self.writers
            .into_iter()
            .map(|(name, writer)| (name, writer.into_inner()))
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        match error {
            Error::Broker {
                code,
                message,
                operation,
                resource,
                asked,
            } => {
                let words = message.as_deref().unwrap_or_else(|| code.description());
                Self {
                    error: code.name(),
                    message: match (asked, operation.right()) {
                        (Some(asked), Some(right)) => {
                            let words = words.trim_end_matches('.');
                            format!(
                                "{words}; it takes the right {right} on {resource}; asked of {asked}"
                            )
                        }
                        (Some(asked), None) => format!("{words}; asked of {asked}"),
                        (None, _) => words.to_owned(),
                    },
                }
            }
            other => Self {
                error: "no answer".to_owned(),
                message: other.to_string(),
            },
        }
    }
}

fn outcome<T>((_, result): (impl Sized, Result<T, Error>)) -> Result<(), Failure> {
    result.map(drop).map_err(|error| Failure::from(&error))
}

fn ids_in(metadata: &ClusterMetadata, topics: &[String]) -> Vec<Result<Uuid, Error>> {
    let by_name: BTreeMap<&str, &TopicMetadata> = metadata
        .topics
        .iter()
        .map(|topic| (topic.name.as_str(), topic))
        .collect();
    topics
        .iter()
        .map(|name| match by_name.get(name.as_str()) {
            Some(topic) if topic.error.is_ok() => Ok(topic.id),
            found => {
                let code = found.map_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, |it| it.error);
                Err(Error::broker(
                    code,
                    None,
                    Operation::Describe,
                    format!("topic {name}"),
                ))
            }
        })
        .collect()
}

#[async_trait]
impl Effects for Brokers<'_> {
    fn links(&self) -> &dyn LinkEffects {
        self
    }

    async fn create_topics(&self, cluster: &str, topics: &[TopicSpec]) -> Vec<Result<(), Failure>> {
        let admin = self.clusters.client(cluster).admin();
        let topics = topics.iter().map(new_topic).collect();
        let results = admin.create_topics(topics, false).await;
        results.into_iter().map(outcome).collect()
    }

    async fn create_partitions(
        &self,
        cluster: &str,
        totals: &[(String, i32)],
    ) -> Vec<Result<(), Failure>> {
        let admin = self.clusters.client(cluster).admin();
        let results = admin.create_partitions(totals.to_vec(), false).await;
        results.into_iter().map(outcome).collect()
    }

    async fn alter_configs(
        &self,
        cluster: &str,
        alterations: &[ConfigAlteration],
    ) -> Vec<Result<(), Failure>> {
        let admin = self.clusters.client(cluster).admin();
        let changes = alterations
            .iter()
            .map(|wanted| alteration(&wanted.topic, &wanted.configs))
            .collect();
        let results = admin.incremental_alter_configs(changes, false).await;
        results.into_iter().map(outcome).collect()
    }

    async fn delete_topics(
        &self,
        cluster: &str,
        topics: &[DoomedTopic],
    ) -> Vec<Result<(), Failure>> {
        let admin = self.clusters.client(cluster).admin();
        let topics = topics.iter().map(|it| (it.name.clone(), it.id)).collect();
        let results = admin.delete_exactly(topics).await;
        let gone = [
            Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            Some(ErrorCode::UNKNOWN_TOPIC_ID),
        ];
        results
            .into_iter()
            .map(|(name, result)| match result {
                // Somebody else was quicker.
                Err(error) if gone.contains(&error.code()) => Ok(()),
                result => outcome((name, result)),
            })
            .collect()
    }

    async fn forget_progress(&self, cluster: &str, ids: &[IncarnationId]) -> Result<(), Failure> {
        let client = self.clusters.client(cluster);
        progress::forget(client, ids)
            .await
            .map_err(|error| Failure::from(&error))
    }

    async fn has_failed(&self, cluster: &str, id: IncarnationId) -> bool {
        let client = self.clusters.client(cluster);
        match actions::failed(client, &std::collections::HashSet::from([id])).await {
            Ok(failed) => failed.contains(&id),
            Err(error) => {
                tracing::warn!(%cluster, %error, "whether the mirror has failed cannot be read");
                false
            }
        }
    }

    async fn topic_ids(&self, cluster: &str, topics: &[String]) -> Vec<Result<Uuid, Failure>> {
        let admin = self.clusters.client(cluster).admin();
        let started = Instant::now();
        let mut backoff = Backoff::for_requests();
        loop {
            let metadata = match admin.metadata(Topics::Named(topics)).await {
                Ok(metadata) => metadata,
                Err(error) => return topics.iter().map(|_| Err(Failure::from(&error))).collect(),
            };
            let ids = ids_in(&metadata, topics);
            // A topic that was just created takes a moment to reach every broker.
            if ids.iter().all(Result::is_ok) || started.elapsed() > NEW_TOPIC_GRACE {
                return ids
                    .into_iter()
                    .map(|id| id.map_err(|error| Failure::from(&error)))
                    .collect();
            }
            backoff.sleep().await;
        }
    }

    async fn producer_ids(&self, cluster: &str, count: usize) -> Vec<Result<ProducerId, Failure>> {
        let admin = self.clusters.client(cluster).admin();
        futures::stream::iter(0..count)
            .map(|_| async {
                let identity = admin.init_producer_id(None, 0).await;
                identity
                    .map(|identity| ProducerId {
                        id: identity.id,
                        epoch: identity.epoch,
                    })
                    .map_err(|error| Failure::from(&error))
            })
            .buffered(self.parallelism.get())
            .collect()
            .await
    }

    async fn commit(&self, cluster: &str, writes: Vec<Write>) -> Result<(), Failure> {
        self.writers
            .get(cluster)
            .expect("a destination is locked before its records are written")
            .lock()
            .await
            .commit(writes)
            .await
            .map_err(|error| Failure::from(&error))
    }
}
