//! What a cluster says of itself: brokers, topics, partitions and who leads them.

use kafka_protocol::messages::metadata_response::{
    MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataResponse, TopicName};
use uuid::Uuid;

use super::code::ErrorCode;

/// One answer to a metadata request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterMetadata {
    pub cluster_id: String,
    /// Under KRaft some live broker that forwards to the controller. -1: none is known at the moment.
    pub controller_id: i32,
    /// Live brokers, by id.
    pub brokers: Vec<Broker>,
    /// By name.
    pub topics: Vec<TopicMetadata>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broker {
    pub id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    pub name: String,
    /// Nil where the brokers know no topic ids (before 2.8).
    pub id: Uuid,
    /// What the broker calls internal: `__consumer_offsets` and the like.
    pub internal: bool,
    pub error: ErrorCode,
    /// By index.
    pub partitions: Vec<PartitionMetadata>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    pub index: i32,
    /// -1: none at the moment.
    pub leader: i32,
    /// -1 where the broker does not say.
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub error: ErrorCode,
}

impl ClusterMetadata {
    /// The topic's entry in this answer.
    pub fn topic(&self, name: &str) -> Option<&TopicMetadata> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    pub fn broker(&self, id: i32) -> Option<&Broker> {
        self.brokers.iter().find(|broker| broker.id == id)
    }

    /// Reads an answer. `None` if it names no cluster id.
    pub(super) fn from_response(response: MetadataResponse) -> Option<Self> {
        let mut brokers: Vec<_> = response
            .brokers
            .into_iter()
            .map(|broker| Broker {
                id: broker.node_id.0,
                host: broker.host.to_string(),
                port: broker.port,
                rack: broker.rack.map(|rack| rack.to_string()),
            })
            .collect();
        brokers.sort_by_key(|broker| broker.id);
        let mut topics: Vec<_> = response
            .topics
            .into_iter()
            .filter_map(TopicMetadata::from_response)
            .collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Some(Self {
            cluster_id: response.cluster_id?.to_string(),
            controller_id: response.controller_id.0,
            brokers,
            topics,
        })
    }
}

impl Broker {
    /// `host:port`, with brackets around an IPv6 address.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl TopicMetadata {
    pub fn partition(&self, index: i32) -> Option<&PartitionMetadata> {
        self.partitions
            .iter()
            .find(|partition| partition.index == index)
    }

    fn from_response(topic: MetadataResponseTopic) -> Option<Self> {
        let mut partitions: Vec<_> = topic
            .partitions
            .into_iter()
            .map(PartitionMetadata::from)
            .collect();
        partitions.sort_by_key(|partition| partition.index);
        Some(Self {
            name: topic.name.map(|TopicName(name)| name.to_string())?,
            id: topic.topic_id,
            internal: topic.is_internal,
            error: ErrorCode(topic.error_code),
            partitions,
        })
    }
}

impl From<MetadataResponsePartition> for PartitionMetadata {
    fn from(partition: MetadataResponsePartition) -> Self {
        let ids = |nodes: Vec<kafka_protocol::messages::BrokerId>| {
            nodes.into_iter().map(|node| node.0).collect()
        };
        Self {
            index: partition.partition_index,
            leader: partition.leader_id.0,
            leader_epoch: partition.leader_epoch,
            replicas: ids(partition.replica_nodes),
            isr: ids(partition.isr_nodes),
            error: ErrorCode(partition.error_code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_host_is_bracketed() {
        let broker = |host: &str| Broker {
            id: 1,
            host: host.into(),
            port: 9092,
            rack: None,
        };
        assert_eq!(broker("::1").address(), "[::1]:9092");
        assert_eq!(broker("east-1").address(), "east-1:9092");
    }
}
