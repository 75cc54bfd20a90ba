//! Changing the cluster: topics, partitions, settings.

use std::collections::{BTreeMap, HashMap};

use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as ReplacedResource;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, ApiKey, CreatePartitionsRequest,
    CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use uuid::Uuid;

use super::dispatch::{Call, Handler};
use super::meta::{text, topic_name};
use crate::sandbox::broker::Cluster;
use crate::sandbox::broker::configs::{self, Change, Definition, Kind};
use crate::sandbox::broker::topics::{NewTopic, unknown};
use crate::sandbox::lock;

/// Resource types of configs.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Where a setting's value comes from.
const FROM_TOPIC: i8 = 1;
const FROM_STATIC_BROKER: i8 = 4;
const FROM_DEFAULT: i8 = 5;

type Refused = (E, String);

impl Handler {
    pub(super) fn create_topics(
        &self,
        request: &CreateTopicsRequest,
        call: &Call,
    ) -> CreateTopicsResponse {
        let mut times: HashMap<&str, usize> = HashMap::new();
        for topic in &request.topics {
            *times.entry(topic.name.as_str()).or_default() += 1;
        }
        let results = self.shared.change(|cluster| {
            let mut results = Vec::new();
            for topic in &request.topics {
                let name = topic.name.as_str();
                if times.get(name).copied() == Some(0) {
                    continue; // a duplicate that was answered already
                }
                let result = if times.insert(name, 0) > Some(1) {
                    Err((E::InvalidRequest, "Duplicate topic name.".to_owned()))
                } else {
                    self.create_topic(cluster, topic, request.validate_only, call.version)
                };
                results.push(result.unwrap_or_else(|(error, message)| {
                    CreatableTopicResult::default()
                        .with_name(topic.name.clone())
                        .with_error_code(error.code())
                        .with_error_message(Some(text(message)))
                }));
            }
            results
        });
        CreateTopicsResponse::default().with_topics(results)
    }

    fn create_topic(
        &self,
        cluster: &mut Cluster,
        asked: &CreatableTopic,
        validate_only: bool,
        version: i16,
    ) -> Result<CreatableTopicResult, Refused> {
        self.refuse_by_fault(ApiKey::CreateTopics, Some(&asked.name))?;
        let assignment: BTreeMap<i32, Vec<i32>> = asked
            .assignments
            .iter()
            .map(|one| {
                (
                    one.partition_index,
                    one.broker_ids.iter().map(|id| id.0).collect(),
                )
            })
            .collect();
        let new = NewTopic {
            name: asked.name.to_string(),
            partitions: asked.num_partitions,
            replication_factor: asked.replication_factor,
            assignment,
            config: asked
                .configs
                .iter()
                .map(|entry| {
                    (
                        entry.name.to_string(),
                        entry.value.as_ref().map(ToString::to_string),
                    )
                })
                .collect(),
        };
        let live = cluster.live_brokers();
        let topic = cluster
            .topics
            .prepare(&new, &live, cluster.settings.defaults)?;
        let mut answer = CreatableTopicResult::default().with_name(asked.name.clone());
        if version >= 5 {
            let entries = configs::TOPIC_CONFIGS.iter().map(|known| {
                let own = topic.config.get(known.name);
                CreatableTopicConfigs::default()
                    .with_name(text(known.name))
                    .with_value(Some(text(configs::value(&topic.config, known.name))))
                    .with_config_source(if own.is_some() {
                        FROM_TOPIC
                    } else {
                        FROM_DEFAULT
                    })
            });
            answer = answer
                .with_num_partitions(i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX))
                .with_replication_factor(topic.replication_factor())
                .with_configs(Some(entries.collect()));
        }
        if version >= 7 && !validate_only {
            answer = answer.with_topic_id(topic.id);
        }
        if !validate_only {
            cluster.topics.insert(&new.name, topic);
        }
        Ok(answer)
    }

    fn refuse_by_fault(&self, api: ApiKey, topic: Option<&str>) -> Result<(), Refused> {
        match self.shared.faults.failure(api, topic) {
            Some(error) => Err((error, "asked for by a fault rule".to_owned())),
            None => Ok(()),
        }
    }

    pub(super) fn delete_topics(
        &self,
        request: &DeleteTopicsRequest,
        call: &Call,
    ) -> DeleteTopicsResponse {
        let asked: Vec<(Option<String>, Uuid)> = if call.version >= 6 {
            let states = request.topics.iter();
            states
                .map(|state| {
                    (
                        state.name.as_ref().map(|name| name.to_string()),
                        state.topic_id,
                    )
                })
                .collect()
        } else {
            let names = request.topic_names.iter();
            names
                .map(|name| (Some(name.to_string()), Uuid::nil()))
                .collect()
        };
        let responses = self.shared.change(|cluster| {
            let mut responses = Vec::new();
            for (name, id) in asked {
                let by_id = name.is_none();
                let name = name.or_else(|| cluster.topics.name_of(id).map(str::to_owned));
                let result = match &name {
                    None => Err((
                        E::UnknownTopicId,
                        "This server does not host this topic ID.".to_owned(),
                    )),
                    Some(name) => self
                        .refuse_by_fault(ApiKey::DeleteTopics, Some(name))
                        .and_then(|()| cluster.delete_topic(name).ok_or_else(|| unknown(name))),
                };
                let mut answer = DeletableTopicResult::default();
                if !by_id || result.is_ok() {
                    answer = answer.with_name(name.as_deref().map(topic_name));
                }
                let mut topic_id = id;
                match result {
                    Ok(deleted) => topic_id = deleted,
                    Err((error, message)) => {
                        answer = answer.with_error_code(error.code());
                        if call.version >= 5 {
                            answer = answer.with_error_message(Some(text(message)));
                        }
                    }
                }
                if call.version >= 6 {
                    answer = answer.with_topic_id(topic_id);
                }
                responses.push(answer);
            }
            responses
        });
        DeleteTopicsResponse::default().with_responses(responses)
    }

    pub(super) fn create_partitions(
        &self,
        request: &CreatePartitionsRequest,
    ) -> CreatePartitionsResponse {
        let results = self.shared.change(|cluster| {
            let live = cluster.live_brokers();
            let mut results = Vec::new();
            for topic in &request.topics {
                let answer = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
                let result = self
                    .refuse_by_fault(ApiKey::CreatePartitions, Some(&topic.name))
                    .and_then(|()| {
                        cluster
                            .topics
                            .grow(&topic.name, topic.count, &live, request.validate_only)
                    });
                results.push(match result {
                    Ok(()) => answer,
                    Err((error, message)) => answer
                        .with_error_code(error.code())
                        .with_error_message(Some(text(message))),
                });
            }
            results
        });
        CreatePartitionsResponse::default().with_results(results)
    }

    pub(super) fn describe_configs(
        &self,
        request: &DescribeConfigsRequest,
        call: &Call,
    ) -> DescribeConfigsResponse {
        let cluster = lock(&self.shared.cluster);
        let results = request.resources.iter().map(|resource| {
            let answer = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            let entries = match resource.resource_type {
                TOPIC => topic_entries(&cluster, resource, request.include_synonyms, call.version),
                BROKER => Ok(self.broker_entries(&cluster, resource, call.version)),
                other => Err((
                    E::InvalidRequest,
                    format!("The sandbox has no configs of resource type {other}."),
                )),
            };
            match entries {
                Ok(entries) => answer.with_configs(entries),
                Err((error, message)) => answer
                    .with_error_code(error.code())
                    .with_error_message(Some(text(message))),
            }
        });
        DescribeConfigsResponse::default().with_results(results.collect())
    }

    /// The settings of a broker that tools ask for; none can be changed.
    fn broker_entries(
        &self,
        cluster: &Cluster,
        resource: &DescribeConfigsResource,
        version: i16,
    ) -> Vec<DescribeConfigsResourceResult> {
        let settings = &cluster.settings;
        let fixed = [
            (
                "auto.create.topics.enable",
                Kind::Boolean,
                settings.auto_create_topics.to_string(),
            ),
            (
                "default.replication.factor",
                Kind::Int,
                settings.defaults.replication_factor.to_string(),
            ),
            ("delete.topic.enable", Kind::Boolean, "true".to_owned()),
            (
                "group.initial.rebalance.delay.ms",
                Kind::Int,
                "0".to_owned(),
            ),
            ("node.id", Kind::Int, self.broker.to_string()),
            (
                "num.partitions",
                Kind::Int,
                settings.defaults.partitions.to_string(),
            ),
            ("offsets.retention.minutes", Kind::Int, "10080".to_owned()),
            (
                "producer.id.expiration.ms",
                Kind::Int,
                settings.producer_id_expiration_ms.to_string(),
            ),
            (
                "socket.request.max.bytes",
                Kind::Int,
                super::MAX_REQUEST_BYTES.to_string(),
            ),
        ];
        let of_topics = configs::TOPIC_CONFIGS
            .iter()
            .filter(|known| !known.broker_name.is_empty())
            .map(|known| {
                (
                    known.broker_name,
                    known.kind,
                    known.default.to_owned(),
                    FROM_DEFAULT,
                )
            });
        fixed
            .into_iter()
            .map(|(name, kind, value)| (name, kind, value, FROM_STATIC_BROKER))
            .chain(of_topics)
            .filter(|(name, ..)| asked_for(resource, name))
            .map(|(name, kind, value, source)| {
                let entry = DescribeConfigsResourceResult::default()
                    .with_name(text(name))
                    .with_value(Some(text(value)))
                    .with_read_only(true)
                    .with_config_source(source);
                if version >= 3 {
                    entry.with_config_type(kind as i8)
                } else {
                    entry
                }
            })
            .collect()
    }

    pub(super) fn incremental_alter_configs(
        &self,
        request: &IncrementalAlterConfigsRequest,
    ) -> IncrementalAlterConfigsResponse {
        let responses = self.shared.change(|cluster| {
            let mut responses = Vec::new();
            for resource in &request.resources {
                let answer = AlterConfigsResourceResponse::default()
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name.clone());
                let result = self
                    .refuse_by_fault(
                        ApiKey::IncrementalAlterConfigs,
                        Some(&resource.resource_name),
                    )
                    .and_then(|()| alter(cluster, resource, request.validate_only));
                responses.push(match result {
                    Ok(()) => answer,
                    Err((error, message)) => answer
                        .with_error_code(error.code())
                        .with_error_message(Some(text(message))),
                });
            }
            responses
        });
        IncrementalAlterConfigsResponse::default().with_responses(responses)
    }

    pub(super) fn alter_configs(&self, request: &AlterConfigsRequest) -> AlterConfigsResponse {
        let responses = self.shared.change(|cluster| {
            let mut responses = Vec::new();
            for resource in &request.resources {
                let answer = ReplacedResource::default()
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name.clone());
                let entries: Vec<(String, Option<String>)> = resource
                    .configs
                    .iter()
                    .map(|entry| {
                        (
                            entry.name.to_string(),
                            entry.value.as_ref().map(ToString::to_string),
                        )
                    })
                    .collect();
                let result = only_topics(resource.resource_type).and_then(|()| {
                    cluster.topics.replace_config(
                        &resource.resource_name,
                        &entries,
                        request.validate_only,
                    )
                });
                responses.push(match result {
                    Ok(()) => answer,
                    Err((error, message)) => answer
                        .with_error_code(error.code())
                        .with_error_message(Some(text(message))),
                });
            }
            responses
        });
        AlterConfigsResponse::default().with_responses(responses)
    }
}

fn only_topics(resource_type: i8) -> Result<(), Refused> {
    if resource_type == TOPIC {
        Ok(())
    } else {
        Err((
            E::InvalidRequest,
            "In the sandbox only settings of topics can be changed.".to_owned(),
        ))
    }
}

fn alter(
    cluster: &mut Cluster,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refused> {
    only_topics(resource.resource_type)?;
    let mut changes = Vec::new();
    for entry in &resource.configs {
        let value = || -> Result<String, Refused> {
            let value = entry.value.as_ref().map(ToString::to_string);
            value.ok_or_else(|| {
                (
                    E::InvalidRequest,
                    format!("Null value not supported for : {}", entry.name.as_str()),
                )
            })
        };
        let change = match entry.config_operation {
            0 => Change::Set(value()?),
            1 => Change::Delete,
            2 => Change::Append(value()?),
            3 => Change::Subtract(value()?),
            other => return Err((E::InvalidRequest, format!("Unknown operation type {other}"))),
        };
        changes.push((entry.name.to_string(), change));
    }
    cluster
        .topics
        .alter(&resource.resource_name, changes, validate_only)
}

fn asked_for(resource: &DescribeConfigsResource, name: &str) -> bool {
    match &resource.configuration_keys {
        None => true,
        Some(keys) => keys.iter().any(|key| key.as_str() == name),
    }
}

fn topic_entries(
    cluster: &Cluster,
    resource: &DescribeConfigsResource,
    synonyms: bool,
    version: i16,
) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
    let name = resource.resource_name.as_str();
    let topic = cluster.topics.get(name).ok_or_else(|| unknown(name))?;
    let entries = configs::TOPIC_CONFIGS
        .iter()
        .filter(|known| asked_for(resource, known.name));
    Ok(entries
        .map(|known| {
            let own = topic.config.get(known.name).map(String::as_str);
            topic_entry(known, own, synonyms, version)
        })
        .collect())
}

fn topic_entry(
    known: &Definition,
    own: Option<&str>,
    synonyms: bool,
    version: i16,
) -> DescribeConfigsResourceResult {
    let mut entry = DescribeConfigsResourceResult::default()
        .with_name(text(known.name))
        .with_value(Some(text(own.unwrap_or(known.default))))
        .with_config_source(if own.is_some() {
            FROM_TOPIC
        } else {
            FROM_DEFAULT
        });
    if version >= 3 {
        entry = entry.with_config_type(known.kind as i8);
    }
    if synonyms {
        let synonym = |name: &str, value: &str, source| {
            DescribeConfigsSynonym::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
                .with_source(source)
        };
        let mut all = Vec::new();
        if let Some(own) = own {
            all.push(synonym(known.name, own, FROM_TOPIC));
        }
        if !known.broker_name.is_empty() {
            all.push(synonym(known.broker_name, known.default, FROM_DEFAULT));
        }
        entry = entry.with_synonyms(all);
    }
    entry
}
