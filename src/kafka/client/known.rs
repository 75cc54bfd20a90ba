//! What a client remembers of its cluster.

use std::collections::HashMap;

use super::CoordinatorKind;
use crate::kafka::code::ErrorCode;
use crate::kafka::metadata::{Broker, ClusterMetadata, TopicMetadata};

/// What was last heard of the cluster.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub cluster_id: Option<String>,
    pub controller_id: Option<i32>,
    pub brokers: HashMap<i32, Broker>,
    pub topics: HashMap<String, TopicMetadata>,
    pub coordinators: HashMap<(CoordinatorKind, String), i32>,
}

impl Known {
    /// Takes in an answer: all brokers, and those topics that it describes.
    pub fn remember(&mut self, metadata: &ClusterMetadata) {
        self.cluster_id = Some(metadata.cluster_id.clone());
        self.controller_id = Some(metadata.controller_id).filter(|id| *id >= 0);
        self.brokers = metadata
            .brokers
            .iter()
            .map(|broker| (broker.id, broker.clone()))
            .collect();
        for topic in &metadata.topics {
            if topic.error.is_ok() {
                self.topics.insert(topic.name.clone(), topic.clone());
            } else {
                self.topics.remove(&topic.name);
            }
        }
    }

    /// `None`: the topic is not known. An error: the partition has no leader or does not exist.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<Result<i32, ErrorCode>> {
        let topic = self.topics.get(topic)?;
        Some(match topic.partition(partition) {
            Some(partition) if partition.leader >= 0 => Ok(partition.leader),
            Some(_) => Err(ErrorCode::LEADER_NOT_AVAILABLE),
            None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        })
    }
}
