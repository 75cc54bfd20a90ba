//! Reading and changing configurations of topics and brokers.

use std::collections::HashMap;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use kafka_protocol::protocol::StrBytes;

use super::{Admin, Error, ErrorCode, Operation, Outcomes, Target, in_order};

/// Resources in one request: an answer has some 40 entries for each.
const RESOURCES_A_REQUEST: usize = 200;

/// What a configuration belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ConfigResource {
    Topic(String),
    Broker(i32),
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigSource {
    /// Set on the topic itself.
    Topic,
    /// Set on this broker at run time.
    DynamicBroker,
    /// Set for all brokers at run time.
    DynamicDefaultBroker,
    /// In the broker's properties file.
    StaticBroker,
    /// Kafka's own default.
    Default,
    DynamicBrokerLogger,
    ClientMetrics,
    Group,
    /// A source that this build does not know.
    Unknown,
}

/// One configuration key of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// `None` for a sensitive one, which is never told, and where none is set.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub read_only: bool,
    pub sensitive: bool,
    /// The values that would apply in turn if the ones before were not set; the first is in force.
    pub synonyms: Vec<ConfigSynonym>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    pub name: String,
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// A key to set, or to reset to what applies without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    pub name: String,
    /// `None` removes the key.
    pub value: Option<String>,
}

impl Admin {
    /// All configuration entries of topics and brokers.
    pub async fn describe_configs(
        &self,
        resources: Vec<ConfigResource>,
    ) -> Outcomes<ConfigResource, Vec<ConfigEntry>> {
        let results = self
            .each(
                resources.clone(),
                RESOURCES_A_REQUEST,
                ConfigResource::target,
                |connection, items| async move {
                    let resources = items.iter().map(|item| {
                        let (kind, name) = item.value.wire();
                        DescribeConfigsResource::default()
                            .with_resource_type(kind)
                            .with_resource_name(name)
                            .with_configuration_keys(None)
                    });
                    let request = DescribeConfigsRequest::default()
                        .with_resources(resources.collect())
                        .with_include_synonyms(true);
                    let response = connection.send(&request).await?;
                    let answers: HashMap<_, _> = response
                        .results
                        .into_iter()
                        .map(|answer| {
                            let key = (answer.resource_type, answer.resource_name.to_string());
                            (key, answer)
                        })
                        .collect();
                    let wanted = items.iter().map(|item| key_of(&item.value));
                    Ok(in_order(
                        &connection,
                        "DescribeConfigs",
                        wanted,
                        answers,
                        |key, answer| {
                            let message = answer.error_message.map(|text| text.to_string());
                            checked(answer.error_code, message, Operation::DescribeConfigs, key)?;
                            Ok(answer.configs.into_iter().map(entry).collect())
                        },
                    ))
                },
            )
            .await;
        resources.into_iter().zip(results).collect()
    }

    /// Sets and removes single keys, or only asks whether the broker would accept that.
    pub async fn incremental_alter_configs(
        &self,
        changes: Vec<(ConfigResource, Vec<ConfigChange>)>,
        validate_only: bool,
    ) -> Outcomes<ConfigResource, ()> {
        let results = self
            .each(
                changes.clone(),
                RESOURCES_A_REQUEST,
                |(resource, _)| resource.target(),
                |connection, items| async move {
                    let resources = items.iter().map(|item| alteration(&item.value));
                    let request = IncrementalAlterConfigsRequest::default()
                        .with_resources(resources.collect())
                        .with_validate_only(validate_only);
                    let response = connection.send(&request).await?;
                    let answers: HashMap<_, _> = response
                        .responses
                        .into_iter()
                        .map(|answer| {
                            let key = (answer.resource_type, answer.resource_name.to_string());
                            (key, answer)
                        })
                        .collect();
                    let wanted = items.iter().map(|item| key_of(&item.value.0));
                    Ok(in_order(
                        &connection,
                        "IncrementalAlterConfigs",
                        wanted,
                        answers,
                        |key, answer| {
                            let message = answer.error_message.map(|text| text.to_string());
                            checked(answer.error_code, message, Operation::AlterConfigs, key)
                        },
                    ))
                },
            )
            .await;
        let resources = changes.into_iter().map(|(resource, _)| resource);
        resources.zip(results).collect()
    }
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

impl ConfigResource {
    /// Topics are described by any broker; a broker knows its own best.
    fn target(&self) -> Target {
        match self {
            Self::Topic(_) => Target::Any,
            Self::Broker(id) => Target::Broker(*id),
        }
    }

    fn wire(&self) -> (i8, StrBytes) {
        let (kind, name) = key_of(self);
        (kind, StrBytes::from_string(name))
    }
}

impl ConfigSource {
    fn from_code(code: i8) -> Self {
        match code {
            1 => Self::Topic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicDefaultBroker,
            4 => Self::StaticBroker,
            5 => Self::Default,
            6 => Self::DynamicBrokerLogger,
            7 => Self::ClientMetrics,
            8 => Self::Group,
            _ => Self::Unknown,
        }
    }
}

fn key_of(resource: &ConfigResource) -> (i8, String) {
    match resource {
        ConfigResource::Topic(name) => (TOPIC, name.clone()),
        ConfigResource::Broker(id) => (BROKER, id.to_string()),
    }
}

fn checked(
    code: i16,
    message: Option<String>,
    operation: Operation,
    (kind, name): &(i8, String),
) -> Result<(), Error> {
    ErrorCode(code).ok().map_err(|code| {
        let kind = if *kind == TOPIC { "topic" } else { "broker" };
        Error::broker(code, message, operation, format!("{kind} {name}"))
    })
}

fn entry(entry: DescribeConfigsResourceResult) -> ConfigEntry {
    let text = |value: Option<StrBytes>| value.map(|value| value.to_string());
    ConfigEntry {
        name: entry.name.to_string(),
        value: text(entry.value).filter(|_| !entry.is_sensitive),
        source: ConfigSource::from_code(entry.config_source),
        read_only: entry.read_only,
        sensitive: entry.is_sensitive,
        synonyms: entry
            .synonyms
            .into_iter()
            .map(|synonym| ConfigSynonym {
                name: synonym.name.to_string(),
                value: text(synonym.value).filter(|_| !entry.is_sensitive),
                source: ConfigSource::from_code(synonym.source),
            })
            .collect(),
    }
}

fn alteration((resource, changes): &(ConfigResource, Vec<ConfigChange>)) -> AlterConfigsResource {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    let (kind, name) = resource.wire();
    let configs = changes.iter().map(|change| {
        AlterableConfig::default()
            .with_name(StrBytes::from_string(change.name.clone()))
            .with_config_operation(if change.value.is_some() { SET } else { DELETE })
            .with_value(change.value.clone().map(StrBytes::from_string))
    });
    AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(name)
        .with_configs(configs.collect())
}
