//! The effects of an apply on links that brokers carry, through their REST API.

use async_trait::async_trait;
use futures::future::join_all;

use super::brokers::Brokers;
use super::effects::{Failure, LinkEffects};
use crate::observe::halves::Unreadable;
use crate::plan::model::{HalfChange, HalfRole, MirrorAction, NewBrokerMirror};
use crate::rest::documents::{NewConfig, NewMirror};
use crate::rest::links::{Action, LinkApi, LinkError};
use crate::rest::steps::{self, StepError};

impl From<&LinkError> for Failure {
    fn from(error: &LinkError) -> Self {
        match error {
            LinkError::Refused(refusal) => Self {
                error: match refusal.code {
                    Some(code) => format!("error code {code}"),
                    None => refusal.status.to_string(),
                },
                message: refusal.to_string(),
            },
            other => Self {
                error: "no answer".to_owned(),
                message: other.to_string(),
            },
        }
    }
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        let kind = match &error {
            StepError::Link(error) => return Self::from(error),
            StepError::Refused(_) => "refused",
            StepError::Late(_) => "not in time",
        };
        Self {
            error: kind.to_owned(),
            message: error.to_string(),
        }
    }
}

impl From<Unreadable> for Failure {
    fn from(unreadable: Unreadable) -> Self {
        Self {
            error: "nothing was asked".to_owned(),
            message: unreadable.to_string(),
        }
    }
}

impl Brokers<'_> {
    fn api(&self, cluster: &str) -> Result<LinkApi, Failure> {
        let api = self.clusters().link_api(cluster);
        api.map_err(|error| Failure::from(&error))
    }
}

fn new_mirror(mirror: &NewBrokerMirror) -> NewMirror {
    let configs = mirror.configs.iter();
    NewMirror {
        source_topic_name: mirror.source_topic.clone(),
        mirror_topic_name: mirror.mirror_topic.clone(),
        replication_factor: mirror.replication_factor,
        configs: configs
            .map(|(name, value)| NewConfig {
                name: name.clone(),
                value: value.clone(),
            })
            .collect(),
    }
}

#[async_trait]
impl LinkEffects for Brokers<'_> {
    async fn create_link(
        &self,
        cluster: &str,
        link: &str,
        role: &HalfRole,
        configs: &[HalfChange],
    ) -> Result<(), Failure> {
        let wanted = self.halves().link(role, configs).await?;
        Ok(steps::make_link(&self.api(cluster)?, link, &wanted).await?)
    }

    async fn alter_link(
        &self,
        cluster: &str,
        link: &str,
        configs: &[HalfChange],
    ) -> Result<(), Failure> {
        let changes = self.halves().changes(configs).await?;
        let done = self.api(cluster)?.alter_configs(link, &changes).await;
        done.map_err(|error| Failure::from(&error))
    }

    async fn delete_link(&self, cluster: &str, link: &str) -> Result<(), Failure> {
        Ok(steps::drop_link(&self.api(cluster)?, link).await?)
    }

    async fn create_mirror(
        &self,
        cluster: &str,
        link: &str,
        mirror: &NewBrokerMirror,
    ) -> Result<(), Failure> {
        Ok(steps::make_mirror(&self.api(cluster)?, link, &new_mirror(mirror)).await?)
    }

    async fn act_on_mirrors(
        &self,
        cluster: &str,
        link: &str,
        action: MirrorAction,
        topics: &[String],
    ) -> Vec<Result<(), Failure>> {
        let api = match self.api(cluster) {
            Ok(api) => api,
            Err(failure) => return topics.iter().map(|_| Err(failure.clone())).collect(),
        };
        let results = steps::act(&api, link, Action::from(action), topics).await;
        let results = results.into_iter();
        results.map(|it| it.map_err(Failure::from)).collect()
    }

    async fn delete_mirrors(
        &self,
        cluster: &str,
        link: &str,
        topics: &[String],
    ) -> Vec<Result<(), Failure>> {
        let api = match self.api(cluster) {
            Ok(api) => api,
            Err(failure) => return topics.iter().map(|_| Err(failure.clone())).collect(),
        };
        let deleting = topics.iter();
        let deleting = deleting.map(|topic| steps::drop_mirror(&api, link, topic));
        let results = join_all(deleting).await.into_iter();
        results.map(|it| it.map_err(Failure::from)).collect()
    }
}
