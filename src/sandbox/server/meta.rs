//! Who is there: versions, brokers, topics, coordinators.

use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, DescribeClusterRequest, DescribeClusterResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::dispatch::{Call, Handler, OFFERED};
use crate::sandbox::broker::topics::{NewTopic, Topic, check_name};
use crate::sandbox::broker::{Broker, Cluster};
use crate::sandbox::lock;

/// All bits of the operations that there are on a cluster: nobody is asked who he is.
const EVERYTHING: i32 = 0b1_1111_1010_0000;

/// Key types of FindCoordinator.
const GROUP_COORDINATOR: i8 = 0;
const TRANSACTION_COORDINATOR: i8 = 1;

pub(super) fn text(value: impl Into<String>) -> StrBytes {
    StrBytes::from_string(value.into())
}

pub(super) fn topic_name(value: &str) -> TopicName {
    TopicName(text(value))
}

fn ids(of: &[i32]) -> Vec<BrokerId> {
    of.iter().copied().map(BrokerId).collect()
}

impl Handler {
    pub(super) fn api_versions(error: Option<E>, version: i16) -> ApiVersionsResponse {
        let keys = OFFERED.iter().map(|(key, min, max)| {
            ApiVersion::default()
                .with_api_key(*key as i16)
                .with_min_version(*min)
                .with_max_version(*max)
        });
        let answer = ApiVersionsResponse::default()
            .with_error_code(error.map_or(0, |error| error.code()))
            .with_api_keys(keys.collect());
        if version >= 3 {
            answer.with_finalized_features_epoch(0)
        } else {
            answer
        }
    }

    pub(super) fn metadata(&self, request: &MetadataRequest, call: &Call) -> MetadataResponse {
        let mut cluster = lock(&self.shared.cluster);
        let all = match &request.topics {
            None => true,
            Some(topics) => topics.is_empty() && call.version == 0,
        };
        let topics = if all {
            cluster
                .topics
                .iter()
                .map(|(name, topic)| describe(&cluster, name, topic))
                .collect()
        } else {
            let mut wanted = Vec::new();
            for asked in request.topics.iter().flatten() {
                wanted.push(self.one_topic(&mut cluster, asked, request.allow_auto_topic_creation));
            }
            wanted
        };
        let brokers = cluster.brokers.iter().filter(|broker| broker.up);
        MetadataResponse::default()
            .with_brokers(
                brokers
                    .map(|broker| {
                        MetadataResponseBroker::default()
                            .with_node_id(BrokerId(broker.id))
                            .with_host(text(broker.host.clone()))
                            .with_port(i32::from(broker.port))
                    })
                    .collect(),
            )
            .with_cluster_id(Some(text(cluster.settings.cluster_id.clone())))
            .with_controller_id(BrokerId(cluster.controller()))
            .with_topics(topics)
    }

    fn one_topic(
        &self,
        cluster: &mut Cluster,
        asked: &kafka_protocol::messages::metadata_request::MetadataRequestTopic,
        may_create: bool,
    ) -> MetadataResponseTopic {
        let by_id = asked.name.is_none();
        let name = match &asked.name {
            Some(name) => Some(name.to_string()),
            None => cluster.topics.name_of(asked.topic_id).map(str::to_owned),
        };
        let failed = |error: E| {
            MetadataResponseTopic::default()
                .with_error_code(error.code())
                .with_topic_id(asked.topic_id)
                .with_name(asked.name.clone())
        };
        let Some(name) = name else {
            return failed(E::UnknownTopicId);
        };
        if let Some(error) = self.shared.faults.failure(ApiKey::Metadata, Some(&name)) {
            return failed(error);
        }
        if cluster.topics.get(&name).is_none() && may_create && !by_id {
            auto_create(cluster, &name);
        }
        match cluster.topics.get(&name) {
            Some(topic) => describe(cluster, &name, topic),
            None if check_name(&name).is_err() => failed(E::InvalidTopicException),
            None => failed(E::UnknownTopicOrPartition),
        }
    }

    pub(super) fn describe_cluster(
        &self,
        request: &DescribeClusterRequest,
        call: &Call,
    ) -> DescribeClusterResponse {
        if call.version >= 1 && request.endpoint_type != 1 {
            return DescribeClusterResponse::default()
                .with_error_code(E::MismatchedEndpointType.code())
                .with_error_message(Some(text("The sandbox has brokers only, no controllers.")));
        }
        let cluster = lock(&self.shared.cluster);
        let live = cluster.brokers.iter().filter(|broker| broker.up);
        DescribeClusterResponse::default()
            .with_cluster_authorized_operations(if request.include_cluster_authorized_operations {
                EVERYTHING
            } else {
                i32::MIN
            })
            .with_cluster_id(text(cluster.settings.cluster_id.clone()))
            .with_controller_id(BrokerId(cluster.controller()))
            .with_brokers(
                live.map(|broker| {
                    DescribeClusterBroker::default()
                        .with_broker_id(BrokerId(broker.id))
                        .with_host(text(broker.host.clone()))
                        .with_port(i32::from(broker.port))
                })
                .collect(),
            )
    }

    pub(super) fn find_coordinator(
        &self,
        request: &FindCoordinatorRequest,
        call: &Call,
    ) -> FindCoordinatorResponse {
        let cluster = lock(&self.shared.cluster);
        let one = |key: &StrBytes| -> Coordinator {
            let failed = |error: E, message: &str| {
                Coordinator::default()
                    .with_key(key.clone())
                    .with_node_id(BrokerId(-1))
                    .with_port(-1)
                    .with_error_code(error.code())
                    .with_error_message(Some(text(message)))
            };
            if let Some(error) = self.shared.faults.failure(ApiKey::FindCoordinator, None) {
                return failed(error, "asked for by a fault rule");
            }
            if ![GROUP_COORDINATOR, TRANSACTION_COORDINATOR].contains(&request.key_type) {
                return failed(
                    E::InvalidRequest,
                    "The sandbox has coordinators of groups and transactions only.",
                );
            }
            match coordinator(&cluster, key) {
                Some(broker) => Coordinator::default()
                    .with_key(key.clone())
                    .with_node_id(BrokerId(broker.id))
                    .with_host(text(broker.host.clone()))
                    .with_port(i32::from(broker.port)),
                None => failed(E::CoordinatorNotAvailable, "No broker is up."),
            }
        };
        if call.version >= 4 {
            return FindCoordinatorResponse::default()
                .with_coordinators(request.coordinator_keys.iter().map(one).collect());
        }
        let found = one(&request.key);
        let answer = FindCoordinatorResponse::default()
            .with_error_code(found.error_code)
            .with_node_id(found.node_id)
            .with_host(found.host)
            .with_port(found.port);
        if call.version >= 1 {
            answer.with_error_message(found.error_message)
        } else {
            answer
        }
    }

    /// Refuses what only another broker may decide.
    pub(super) fn check_coordinator(&self, cluster: &Cluster, key: &str) -> Result<(), E> {
        match coordinator(cluster, key) {
            Some(broker) if broker.id == self.broker => Ok(()),
            Some(_) => Err(E::NotCoordinator),
            None => Err(E::CoordinatorNotAvailable),
        }
    }
}

/// The live broker that a group or transactional id belongs to.
fn coordinator<'a>(cluster: &'a Cluster, key: &str) -> Option<&'a Broker> {
    let live: Vec<&Broker> = cluster.brokers.iter().filter(|broker| broker.up).collect();
    let hash = key.bytes().fold(0usize, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(usize::from(byte))
    });
    (!live.is_empty()).then(|| live[hash % live.len()])
}

fn auto_create(cluster: &mut Cluster, name: &str) {
    if !cluster.settings.auto_create_topics {
        return;
    }
    let new = NewTopic {
        name: name.to_owned(),
        partitions: -1,
        replication_factor: -1,
        assignment: std::collections::BTreeMap::new(),
        config: Vec::new(),
    };
    let live = cluster.live_brokers();
    match cluster
        .topics
        .prepare(&new, &live, cluster.settings.defaults)
    {
        Ok(topic) => cluster.topics.insert(name, topic),
        Err((error, message)) => {
            tracing::debug!(
                name,
                ?error,
                message,
                "a topic was not created on first use"
            );
        }
    }
}

fn describe(cluster: &Cluster, name: &str, topic: &Topic) -> MetadataResponseTopic {
    let partitions = (0..).zip(&topic.partitions).map(|(index, partition)| {
        let in_sync = cluster.in_sync(partition);
        let offline: Vec<i32> = partition
            .replicas
            .iter()
            .copied()
            .filter(|id| !in_sync.contains(id))
            .collect();
        let error = if partition.leader.is_some() {
            0
        } else {
            E::LeaderNotAvailable.code()
        };
        MetadataResponsePartition::default()
            .with_error_code(error)
            .with_partition_index(index)
            .with_leader_id(BrokerId(partition.leader.unwrap_or(-1)))
            .with_leader_epoch(partition.log.leader_epoch())
            .with_replica_nodes(ids(&partition.replicas))
            .with_isr_nodes(ids(&in_sync))
            .with_offline_replicas(ids(&offline))
    });
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(name)))
        .with_topic_id(topic.id)
        .with_is_internal(matches!(name, "__consumer_offsets" | "__transaction_state"))
        .with_partitions(partitions.collect())
}
