//! Creating, deleting and growing topics.

use std::time::Duration;

use std::collections::HashSet;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Admin, Backoff, Error, ErrorCode, Item, Operation, Outcomes, Target, Throttle, Topics, in_order,
};
use crate::kafka::client::topic_name;

/// Topics in one request: some hundred are a second's work for a controller.
const TOPICS_A_REQUEST: usize = 100;

/// Records of its metadata log that one request may ask a controller for: topics, partitions and configs. A KRaft controller
/// refuses more than 10,000 (`QuorumController.MAX_RECORDS_PER_USER_OP`) with POLICY_VIOLATION.
const RECORDS_AT_ONCE: usize = 5_000;

/// The broker's own limit for one request; above it answers that the time is up.
const TIMEOUT_MS: i32 = 20_000;

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// `None`: the broker's default.
    pub partitions: Option<i32>,
    /// `None`: the broker's default.
    pub replication_factor: Option<i16>,
    pub configs: Vec<(String, String)>,
}

/// What a broker says of a topic that it has created, or would create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Nil where brokers know no ids (before 2.8) and for a rehearsal.
    pub id: Uuid,
    /// `None` where the broker does not say.
    pub partitions: Option<i32>,
    /// `None` where the broker does not say.
    pub replication_factor: Option<i16>,
}

/// Items in groups, in order, each of which weighs no more than `most`; what weighs more by itself is alone.
fn within<T>(most: usize, items: Vec<T>, weight: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut taken = 0;
    for item in items {
        let next = weight(&item);
        match groups.last_mut() {
            Some(group) if taken + next <= most => {
                group.push(item);
                taken += next;
            }
            _ => {
                groups.push(vec![item]);
                taken = next;
            }
        }
    }
    groups
}

impl Admin {
    /// Creates topics, or only asks whether they could be created. Under KRaft a topic is there for its
    /// controller first; this returns once a broker shows those created, leaders and all.
    pub async fn create_topics(
        &self,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Outcomes<String, CreatedTopic> {
        let records = |topic: &NewTopic| {
            let partitions = topic
                .partitions
                .and_then(|count| usize::try_from(count).ok());
            1 + partitions.unwrap_or(1) + topic.configs.len()
        };
        let mut outcomes = Vec::with_capacity(topics.len());
        for topics in within(RECORDS_AT_ONCE, topics, records) {
            outcomes.extend(self.create_these(topics, validate_only).await);
        }
        outcomes
    }

    async fn create_these(
        &self,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Outcomes<String, CreatedTopic> {
        let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        let throttle = &Throttle::default();
        let results = self
            .each_under_quota(
                topics,
                TOPICS_A_REQUEST,
                |_| Target::Controller,
                throttle,
                |connection, items| async move {
                    let request = CreateTopicsRequest::default()
                        .with_topics(items.iter().map(|item| creatable(&item.value)).collect())
                        .with_timeout_ms(TIMEOUT_MS)
                        .with_validate_only(validate_only);
                    let response = connection.send(&request).await?;
                    throttle.note(response.throttle_time_ms);
                    let answers = response
                        .topics
                        .into_iter()
                        .map(|topic| (topic.name.0.to_string(), topic))
                        .collect();
                    let wanted = items.iter().map(|item| item.value.name.clone());
                    let mut results = in_order(
                        &connection,
                        "CreateTopics",
                        wanted,
                        answers,
                        |name, answer| {
                            let message = answer.error_message.map(|text| text.to_string());
                            checked(answer.error_code, message, Operation::Create, name)?;
                            Ok(CreatedTopic {
                                id: answer.topic_id,
                                partitions: Some(answer.num_partitions).filter(|n| *n >= 0),
                                replication_factor: Some(answer.replication_factor)
                                    .filter(|n| *n >= 0),
                            })
                        },
                    );
                    for (item, result) in items.iter().zip(&mut results) {
                        self.mend_lost_creation(item, result).await;
                    }
                    Ok(results)
                },
            )
            .await;
        let outcomes: Outcomes<_, CreatedTopic> = names.into_iter().zip(results).collect();
        if !validate_only {
            let created = outcomes.iter().filter(|(_, outcome)| outcome.is_ok());
            self.wait_until_shown(created.map(|(name, _)| (name.clone(), 1)).collect())
                .await;
        }
        outcomes
    }

    /// Waits until a broker shows each topic with so many partitions and all their leaders. It only
    /// waits: what has been done is done, whether or not it shows before the deadline.
    async fn wait_until_shown(&self, mut topics: Vec<(String, usize)>) {
        let started = Instant::now();
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(500));
        while !topics.is_empty() && started.elapsed() < self.deadline {
            let names: Vec<String> = topics.iter().map(|(name, _)| name.clone()).collect();
            if let Ok(metadata) = self.client.metadata(Topics::Named(&names)).await {
                topics.retain(|(name, partitions)| {
                    !metadata.topic(name).is_some_and(|topic| {
                        topic.error.is_ok()
                            && topic.partitions.len() >= *partitions
                            && topic.partitions.iter().all(|p| p.leader >= 0)
                    })
                });
            }
            if !topics.is_empty() {
                backoff.sleep().await;
            }
        }
    }

    /// A topic "exists already" when the answer to its creation got lost: then it is ours.
    async fn mend_lost_creation(
        &self,
        item: &Item<NewTopic>,
        result: &mut Result<CreatedTopic, Error>,
    ) {
        let exists = result
            .as_ref()
            .is_err_and(|error| error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS));
        if !item.lost || !exists {
            return;
        }
        let name = &item.value.name;
        if let Ok(metadata) = self
            .client
            .metadata(Topics::Named(std::slice::from_ref(name)))
            .await
            && let Some(topic) = metadata.topic(name).filter(|topic| topic.error.is_ok())
        {
            *result = Ok(CreatedTopic {
                id: topic.id,
                partitions: i32::try_from(topic.partitions.len()).ok(),
                replication_factor: topic
                    .partitions
                    .first()
                    .and_then(|partition| i16::try_from(partition.replicas.len()).ok()),
            });
        }
    }

    /// Deletes topics by their names, whatever topics have them by then.
    pub async fn delete_topics(&self, names: Vec<String>) -> Outcomes<String, ()> {
        let topics = names.into_iter().map(|name| (name, Uuid::nil())).collect();
        self.delete_exactly(topics).await
    }

    /// Deletes topics by their ids (KIP-516): a topic that was recreated under the same name stays. By name where the id is
    /// nil, and where the broker takes no ids (DeleteTopics before version 6).
    pub async fn delete_exactly(&self, topics: Vec<(String, Uuid)>) -> Outcomes<String, ()> {
        let throttle = &Throttle::default();
        let results = self
            .each_under_quota(
                topics.clone(),
                TOPICS_A_REQUEST,
                |_| Target::Controller,
                throttle,
                |connection, items| async move {
                    let by_id = connection.version::<DeleteTopicsRequest>()? >= 6;
                    let request = DeleteTopicsRequest::default().with_timeout_ms(TIMEOUT_MS);
                    let topics = items.iter().map(|item| &item.value);
                    let request = if by_id {
                        let states = topics.map(|(name, id)| match id.is_nil() {
                            true => DeleteTopicState::default().with_name(Some(topic_name(name))),
                            false => DeleteTopicState::default().with_topic_id(*id),
                        });
                        request.with_topics(states.collect())
                    } else {
                        request.with_topic_names(topics.map(|(name, _)| topic_name(name)).collect())
                    };
                    let response = connection.send(&request).await?;
                    throttle.note(response.throttle_time_ms);
                    let key = |name: &str, id: Uuid| match by_id && !id.is_nil() {
                        true => id.to_string(),
                        false => name.to_owned(),
                    };
                    let asked: HashSet<Uuid> = items.iter().map(|item| item.value.1).collect();
                    let answers = response
                        .responses
                        .into_iter()
                        .map(|topic| {
                            let name = topic.name.as_ref().map_or("", |name| name.0.as_str());
                            // Answers to names carry ids too.
                            let id = match asked.contains(&topic.topic_id) {
                                true => topic.topic_id,
                                false => Uuid::nil(),
                            };
                            (key(name, id), topic)
                        })
                        .collect();
                    let wanted = items.iter().map(|item| key(&item.value.0, item.value.1));
                    let mut results =
                        in_order(&connection, "DeleteTopics", wanted, answers, |_, answer| {
                            let message = answer.error_message.map(|text| text.to_string());
                            Ok((answer.error_code, message))
                        });
                    let results = items.iter().zip(results.drain(..));
                    let results = results.map(|(item, answer)| {
                        let (code, message) = answer?;
                        let result = checked(code, message, Operation::Delete, &item.value.0);
                        let gone = result.as_ref().is_err_and(|error| {
                            [
                                Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                                Some(ErrorCode::UNKNOWN_TOPIC_ID),
                            ]
                            .contains(&error.code())
                        });
                        // The first request, whose answer got lost, has done it.
                        if item.lost && gone { Ok(()) } else { result }
                    });
                    Ok(results.collect())
                },
            )
            .await;
        for (name, _) in &topics {
            self.client.forget_leaders(name);
        }
        let names = topics.into_iter().map(|(name, _)| name);
        names.zip(results).collect()
    }

    /// Grows topics to a total number of partitions, or only asks whether they could be. Returns once a
    /// broker shows the new ones.
    pub async fn create_partitions(
        &self,
        totals: Vec<(String, i32)>,
        validate_only: bool,
    ) -> Outcomes<String, ()> {
        let records = |(_, total): &(String, i32)| usize::try_from(*total).unwrap_or(0);
        let mut outcomes = Vec::with_capacity(totals.len());
        for totals in within(RECORDS_AT_ONCE, totals, records) {
            outcomes.extend(self.grow_these(totals, validate_only).await);
        }
        outcomes
    }

    async fn grow_these(
        &self,
        totals: Vec<(String, i32)>,
        validate_only: bool,
    ) -> Outcomes<String, ()> {
        let throttle = &Throttle::default();
        let results = self
            .each_under_quota(
                totals.clone(),
                TOPICS_A_REQUEST,
                |_| Target::Controller,
                throttle,
                |connection, items| async move {
                    let topics = items.iter().map(|item| {
                        CreatePartitionsTopic::default()
                            .with_name(topic_name(&item.value.0))
                            .with_count(item.value.1)
                            .with_assignments(None)
                    });
                    let request = CreatePartitionsRequest::default()
                        .with_topics(topics.collect())
                        .with_timeout_ms(TIMEOUT_MS)
                        .with_validate_only(validate_only);
                    let response = connection.send(&request).await?;
                    throttle.note(response.throttle_time_ms);
                    let answers = response
                        .results
                        .into_iter()
                        .map(|topic| (topic.name.0.to_string(), topic))
                        .collect();
                    let wanted = items.iter().map(|item| item.value.0.clone());
                    let mut results = in_order(
                        &connection,
                        "CreatePartitions",
                        wanted,
                        answers,
                        |name, answer| {
                            let message = answer.error_message.map(|text| text.to_string());
                            checked(answer.error_code, message, Operation::AddPartitions, name)
                        },
                    );
                    for (item, result) in items.iter().zip(&mut results) {
                        self.mend_lost_growth(item, result).await;
                    }
                    Ok(results)
                },
            )
            .await;
        if !validate_only {
            let grown = totals.iter().zip(&results);
            let grown = grown.filter(|(_, result)| result.is_ok());
            let grown = grown.filter_map(|((name, total), _)| {
                Some((name.clone(), usize::try_from(*total).ok()?))
            });
            self.wait_until_shown(grown.collect()).await;
        }
        let names = totals.into_iter().map(|(name, _)| name);
        names.zip(results).collect()
    }

    /// A topic that "has that many already" after a lost answer has been grown by the first request.
    async fn mend_lost_growth(&self, item: &Item<(String, i32)>, result: &mut Result<(), Error>) {
        const INVALID_PARTITIONS: ErrorCode = ErrorCode(37);
        let refused = result
            .as_ref()
            .is_err_and(|error| error.code() == Some(INVALID_PARTITIONS));
        if !item.lost || !refused {
            return;
        }
        let (name, total) = &item.value;
        if let Ok(metadata) = self
            .client
            .metadata(Topics::Named(std::slice::from_ref(name)))
            .await
            && let Some(topic) = metadata.topic(name)
            && i32::try_from(topic.partitions.len()) == Ok(*total)
        {
            *result = Ok(());
        }
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let configs = topic.configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_string(name.clone()))
            .with_value(Some(StrBytes::from_string(value.clone())))
    });
    CreatableTopic::default()
        .with_name(topic_name(&topic.name))
        .with_num_partitions(topic.partitions.unwrap_or(-1))
        .with_replication_factor(topic.replication_factor.unwrap_or(-1))
        .with_configs(configs.collect())
}

fn checked(
    code: i16,
    message: Option<String>,
    operation: Operation,
    topic: &str,
) -> Result<(), Error> {
    let code = ErrorCode(code);
    code.ok()
        .map_err(|code| Error::broker(code, message, operation, format!("topic {topic}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty topics of five hundred partitions each were too much for one request.
    #[test]
    fn no_request_asks_for_more_than_a_controller_writes_at_once() {
        let groups = within(1_000, vec![500, 400, 200, 3_000, 1, 999, 1], |weight| {
            *weight
        });
        let expected = [
            vec![500, 400],
            vec![200],
            vec![3_000],
            vec![1, 999],
            vec![1],
        ];
        assert_eq!(groups, expected);
        assert!(within(10, Vec::<usize>::new(), |weight| *weight).is_empty());
    }
}
