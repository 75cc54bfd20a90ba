//! The halves of links as the REST API takes them, with the values that no plan holds.

use super::Clusters;
use super::linking;
use crate::client::Secret;
use crate::kafka::Error;
use crate::plan::model::{HalfChange, HalfRole, HalfValue};
use crate::rest::documents::{ConfigChange, ConfigOperation, NewConfig, NewLink};
use crate::topology::model::Topology;

/// Why a value is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("`{key}` cannot be read: {error}")]
    Config { key: String, error: std::io::Error },
    #[error(transparent)]
    Cluster(#[from] Error),
    #[error(
        "what reaching `{cluster}` takes changed since the plan was made (`{property}`): plan again"
    )]
    Gone { cluster: String, property: String },
}

/// Where values are looked up.
#[derive(Clone, Copy, Debug)]
pub struct Halves<'a> {
    pub clusters: &'a Clusters,
    pub topology: &'a Topology,
}

impl Halves<'_> {
    /// A half that is to be made.
    ///
    /// # Errors
    /// A value that cannot be read.
    pub async fn link(
        self,
        role: &HalfRole,
        configs: &[HalfChange],
    ) -> Result<NewLink, Unreadable> {
        let mut link = NewLink::default();
        match role {
            HalfRole::DestinationOf(id) => link.source_cluster_id = Some(id.clone()),
            HalfRole::SourceOf(id) => link.destination_cluster_id = Some(id.clone()),
            HalfRole::BothWays(id) => link.remote_cluster_id = Some(id.clone()),
        }
        for config in configs {
            if let Some(value) = &config.value {
                link.configs.push(NewConfig {
                    name: config.key.clone(),
                    value: self.value(&config.key, value).await?.expose().to_owned(),
                });
            }
        }
        Ok(link)
    }

    /// Configs that are to be other ones.
    ///
    /// # Errors
    /// A value that cannot be read.
    pub async fn changes(self, configs: &[HalfChange]) -> Result<Vec<ConfigChange>, Unreadable> {
        let mut changes = Vec::new();
        for config in configs {
            let value = match &config.value {
                None => None,
                Some(value) => Some(self.value(&config.key, value).await?),
            };
            changes.push(ConfigChange {
                name: config.key.clone(),
                operation: match value {
                    Some(_) => ConfigOperation::Set,
                    None => ConfigOperation::Delete,
                },
                value: value.map(|value| value.expose().to_owned()),
            });
        }
        Ok(changes)
    }

    async fn value(self, key: &str, value: &HalfValue) -> Result<Secret, Unreadable> {
        match value {
            HalfValue::Open(text) => Ok(Secret::new(text.clone())),
            HalfValue::OfFile { link, at_source } => {
                let link = &self.topology.links[link];
                let configs = match at_source {
                    true => &link.brokers.at_source,
                    false => &link.brokers.configs,
                };
                let config = configs.get(key).expect("the plan is made of the file");
                config.value.current().map_err(|error| Unreadable::Config {
                    key: key.to_owned(),
                    error,
                })
            }
            HalfValue::OfCluster { cluster, property } => {
                let properties = linking::properties(self.clusters, cluster).await?;
                let found = properties.into_iter().find(|(name, _)| name == property);
                found
                    .map(|(_, value)| value)
                    .ok_or_else(|| Unreadable::Gone {
                        cluster: cluster.clone(),
                        property: property.clone(),
                    })
            }
        }
    }
}
