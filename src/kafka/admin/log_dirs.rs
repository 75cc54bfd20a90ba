//! What brokers say of the replicas in their log directories (DescribeLogDirs, KIP-113).

use futures::future::join_all;
use kafka_protocol::messages::DescribeLogDirsRequest;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;

use super::{Admin, Error};
use crate::kafka::Target;
use crate::kafka::client::topic_name;
use crate::kafka::metadata::TopicMetadata;

/// How far a replica is behind the high watermark, as its broker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaLag {
    pub broker: i32,
    pub topic: String,
    pub partition: i32,
    /// In offsets.
    pub offset_lag: i64,
}

impl Admin {
    /// The lags of all replicas of some topics. Brokers that do not tell, for lack of the right Describe on the cluster
    /// or because they are down, are left out.
    pub async fn replica_lags(&self, topics: &[&TopicMetadata]) -> Vec<ReplicaLag> {
        let mut brokers: Vec<i32> = topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .flat_map(|partition| partition.replicas.iter().copied())
            .collect();
        brokers.sort_unstable();
        brokers.dedup();
        let asking = brokers.into_iter().map(|broker| async move {
            let told = self.replica_lags_at(broker, topics).await;
            told.unwrap_or_else(|error| {
                tracing::debug!(broker, %error, "its replicas are not known");
                Vec::new()
            })
        });
        join_all(asking).await.into_iter().flatten().collect()
    }

    async fn replica_lags_at(
        &self,
        broker: i32,
        topics: &[&TopicMetadata],
    ) -> Result<Vec<ReplicaLag>, Error> {
        let wanted: Vec<_> = topics
            .iter()
            .map(|topic| {
                let here = topic.partitions.iter();
                let here = here.filter(|partition| partition.replicas.contains(&broker));
                DescribableLogDirTopic::default()
                    .with_topic(topic_name(&topic.name))
                    .with_partitions(here.map(|partition| partition.index).collect())
            })
            .collect();
        self.one(Target::Broker(broker), |connection| {
            let request = DescribeLogDirsRequest::default().with_topics(Some(wanted.clone()));
            async move {
                let response = connection.send(&request).await?;
                let mut lags = Vec::new();
                for topic in response.results.into_iter().flat_map(|it| it.topics) {
                    let name = topic.name.0.to_string();
                    // A replica that is being moved within the broker is there twice.
                    let current = topic.partitions.into_iter();
                    let current = current.filter(|partition| !partition.is_future_key);
                    lags.extend(current.map(|partition| ReplicaLag {
                        broker,
                        topic: name.clone(),
                        partition: partition.partition_index,
                        offset_lag: partition.offset_lag,
                    }));
                }
                Ok(lags)
            }
        })
        .await
    }
}
