//! Writes that brokers try without doing them (`validate_only`), so that a refusal stands in the plan.
//!
//! A refusal for lack of a right blocks nothing: whoever applies may have it.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::{Clusters, linking};
use crate::control::{self, ControlError};
use crate::kafka::admin::{ConfigChange, ConfigResource, NewTopic};
use crate::kafka::{Client, Error, ErrorCode};
use crate::plan::model::{
    Address, Entry, MirrorTopic, Operation, Plan, Rehearsal, TopicChanges, TopicSpec,
};
use crate::plan::reason::Blocker;
use crate::topology::model::Topology;

/// What one attempt was about and what the broker said.
type Attempt = (Address, Tried, Result<(), Refusal>);

#[derive(Debug)]
enum Refusal {
    Kafka(Error),
    /// The internal topics can't be what they have to be.
    Control(ControlError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    Create,
    Grow,
    Alter,
}

/// Lets the brokers check every write of the plan and brings their answers into it.
pub async fn rehearse(plan: &mut Plan, clusters: &Clusters, topology: &Topology) {
    let mut by_cluster: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in &plan.entries {
        if entry.rehearsal == Rehearsal::Pending {
            by_cluster.entry(&entry.cluster).or_default().push(entry);
        }
    }
    let attempts: Vec<Attempt> = join_all(
        by_cluster
            .into_iter()
            .map(|(cluster, entries)| rehearse_on(clusters, cluster, entries)),
    )
    .await
    .into_iter()
    .flatten()
    .collect();
    let linked = linking::rehearse(plan, clusters, topology).await;
    plan.rehearsed(
        attempts
            .into_iter()
            .map(|(address, tried, result)| {
                let result = match result {
                    Ok(()) => Ok(Rehearsal::Passed),
                    Err(error) => judge(tried, &error),
                };
                (address, result)
            })
            .chain(linked),
    );
}

async fn rehearse_on(clusters: &Clusters, cluster: &str, entries: Vec<&Entry>) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    let mut create: Vec<(&Address, &TopicSpec)> = Vec::new();
    let mut change: Vec<(&Address, &TopicChanges)> = Vec::new();
    for entry in entries {
        match &entry.operation {
            Operation::CreateTopic(spec) => create.push((&entry.address, spec)),
            Operation::AlterTopic(changes) => change.push((&entry.address, changes)),
            Operation::Mirror(mirror) => match &mirror.topic {
                MirrorTopic::Create(spec) => create.push((&entry.address, spec)),
                MirrorTopic::Alter(changes) => change.push((&entry.address, changes)),
            },
            Operation::ControlTopics => {
                let results = control_topics(clusters.client(cluster)).await;
                let of_entry = |result| (entry.address.clone(), Tried::Create, result);
                attempts.extend(results.into_iter().map(of_entry));
            }
            // Brokers cannot be asked whether they would delete.
            Operation::None
            | Operation::Link(_)
            // The REST API is asked about these.
            | Operation::BrokerLink(_)
            | Operation::BrokerMirror(_)
            | Operation::DeleteTopic(_)
            | Operation::DeleteMirror(_)
            | Operation::DeleteLink { .. } => {}
        }
    }
    let admin = clusters.client(cluster).admin();
    let specs = create.iter().map(|(_, spec)| new_topic(spec)).collect();
    let created = admin.create_topics(specs, true).await;
    attempts.extend(
        create
            .iter()
            .zip(created)
            .map(|((address, _), (_, result))| {
                let result = result.map(drop).map_err(Refusal::Kafka);
                ((*address).clone(), Tried::Create, result)
            }),
    );
    let growing: Vec<_> = change
        .iter()
        .filter_map(|(address, changes)| {
            Some((*address, (changes.name.clone(), changes.partitions?)))
        })
        .collect();
    let totals = growing.iter().map(|(_, total)| total.clone()).collect();
    let grown = admin.create_partitions(totals, true).await;
    attempts.extend(
        growing
            .iter()
            .zip(grown)
            .map(|((address, _), (_, result))| {
                let result = result.map_err(Refusal::Kafka);
                ((*address).clone(), Tried::Grow, result)
            }),
    );
    let altering: Vec<_> = change
        .iter()
        .filter(|(_, changes)| !changes.configs.is_empty())
        .collect();
    let wanted = altering
        .iter()
        .map(|(_, changes)| alteration(&changes.name, &changes.configs))
        .collect();
    let altered = admin.incremental_alter_configs(wanted, true).await;
    attempts.extend(
        altering
            .iter()
            .zip(altered)
            .map(|((address, _), (_, result))| {
                let result = result.map_err(Refusal::Kafka);
                ((*address).clone(), Tried::Alter, result)
            }),
    );
    attempts
}

async fn control_topics(client: &Client) -> Vec<Result<(), Refusal>> {
    let missing = match control::missing_topics(client).await {
        Ok(missing) => missing,
        Err(error) => return vec![Err(Refusal::Control(error))],
    };
    let results = client.admin().create_topics(missing, true).await;
    results
        .into_iter()
        .map(|(_, result)| result.map(drop).map_err(Refusal::Kafka))
        .collect()
}

/// A topic as the admin calls take it.
pub(crate) fn new_topic(spec: &TopicSpec) -> NewTopic {
    NewTopic {
        name: spec.name.clone(),
        partitions: spec.partitions,
        replication_factor: spec.replication_factor,
        configs: spec.configs.clone(),
    }
}

/// Config changes as the admin calls take them.
pub(crate) fn alteration(
    topic: &str,
    configs: &[(String, Option<String>)],
) -> (ConfigResource, Vec<ConfigChange>) {
    let changes = configs
        .iter()
        .map(|(name, value)| ConfigChange {
            name: name.clone(),
            value: value.clone(),
        })
        .collect();
    (ConfigResource::Topic(topic.to_owned()), changes)
}

fn judge(tried: Tried, refusal: &Refusal) -> Result<Rehearsal, (String, String)> {
    let error = match refusal {
        Refusal::Kafka(error) | Refusal::Control(ControlError::Kafka(error)) => error,
        Refusal::Control(other) => return Err(("internal topics".to_owned(), other.to_string())),
    };
    let unauthorized = [
        ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
    ];
    match error {
        Error::Broker { code, resource, .. } if unauthorized.contains(code) => {
            let right = match tried {
                Tried::Create => "Create",
                Tried::Grow => "Alter",
                Tried::Alter => "AlterConfigs",
            };
            Ok(Rehearsal::NotRehearsed {
                needs: format!("{right} on {resource}"),
            })
        }
        Error::Broker { code, message, .. } => Err((
            code.name(),
            message
                .clone()
                .unwrap_or_else(|| code.description().to_owned()),
        )),
        other => Err(("no answer".to_owned(), other.to_string())),
    }
}

impl Plan {
    /// Takes in what brokers said of each write. An entry may have several; refusals win.
    fn rehearsed(
        &mut self,
        results: impl IntoIterator<Item = (Address, Result<Rehearsal, (String, String)>)>,
    ) {
        let mut by_address: BTreeMap<Address, Vec<_>> = BTreeMap::new();
        for (address, result) in results {
            by_address.entry(address).or_default().push(result);
        }
        for entry in &mut self.entries {
            let results = by_address.remove(&entry.address).unwrap_or_default();
            if entry.rehearsal != Rehearsal::Pending {
                continue;
            }
            entry.rehearsal = if results.is_empty() {
                Rehearsal::NotNeeded
            } else {
                Rehearsal::Passed
            };
            for result in results {
                match result {
                    Ok(Rehearsal::Passed) => {}
                    Ok(other) => entry.rehearsal = other,
                    Err((error, broker_says)) => entry.block(Blocker::Refused {
                        cluster: entry.cluster.clone(),
                        error,
                        broker_says,
                    }),
                }
            }
        }
        self.settle();
    }
}
