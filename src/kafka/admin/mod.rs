//! Calls that describe or change a cluster: batched by broker, one result per item, tried again
//! inside a deadline.
//!
//! Every method takes many items and gives as many results, each with the broker's own words. Items
//! are grouped by the broker they are for; what answers with a passing error is sent again after a
//! look at the cluster, until the deadline; what is final stays as it is. A request whose answer got
//! lost is sent again too: its second answer is read in that light ([`Item::lost`]).

mod configs;
mod consumer_groups;
mod groups;
mod log_dirs;
mod members;
mod offsets;
pub(crate) mod producers;
mod throttle;
mod topics;

use std::future::Future;
use std::time::Duration;

use futures::future::join_all;
use indexmap::IndexMap;
use kafka_protocol::messages::DescribeClusterRequest;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::client::{Client, Target, Topics};
use super::code::{ErrorClass, ErrorCode};
use super::connection::Connection;
use super::error::{Error, Operation};
use super::metadata::ClusterMetadata;

pub use configs::{ConfigChange, ConfigEntry, ConfigResource, ConfigSource, ConfigSynonym};
pub use consumer_groups::{GroupDescription, GroupMember, ListedGroup};
use throttle::Throttle;

pub use groups::{CommittedOffset, OffsetCommit};
pub use log_dirs::ReplicaLag;
pub use offsets::{ListedOffset, OffsetSpec};
pub use producers::{ProducerIdentity, ProducerState};
pub use topics::{CreatedTopic, NewTopic};

/// A partition by name.
pub type TopicPartition = (String, i32);

/// Items and what became of each, in the order they were given.
pub type Outcomes<K, T> = Vec<(K, Result<T, Error>)>;

/// A topic that is unknown to a broker is asked for again for so long: a new one takes a moment to
/// reach every broker, and one that does not exist should not cost the whole deadline.
const UNKNOWN_TOPIC_GRACE: Duration = Duration::from_secs(2);

/// The administrative calls of a cluster.
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
    deadline: Duration,
}

impl Client {
    /// The administrative calls, with 30 s for each.
    pub fn admin(&self) -> Admin {
        Admin::new(self)
    }
}

/// One item on its way.
#[derive(Clone, Debug)]
struct Item<I> {
    value: I,
    /// An earlier request for it got no clear answer, so it may have been carried out.
    lost: bool,
}

/// Operations that a user may carry out on the cluster: a bit each, numbered as Kafka's `AclOperation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterOperations(i32);

impl ClusterOperations {
    const ALTER: i32 = 1 << 7;
    const CLUSTER_ACTION: i32 = 1 << 9;

    /// Whether `WriteTxnMarkers` is allowed. ClusterAction is not shown to who may not Describe the cluster.
    pub fn allow_markers(self) -> bool {
        self.0 & (Self::ALTER | Self::CLUSTER_ACTION) != 0
    }
}

impl Admin {
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            deadline: Duration::from_secs(30),
        }
    }

    /// The same calls with another time for each.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Brokers and topics: all, or those named. An absent topic has its error in its entry.
    ///
    /// # Errors
    /// When no broker answers until the deadline.
    pub async fn metadata(&self, topics: Topics<'_>) -> Result<ClusterMetadata, Error> {
        self.retry(|| self.client.metadata(topics)).await
    }

    /// Brokers, controller and cluster id.
    ///
    /// # Errors
    /// When no broker answers until the deadline.
    pub async fn describe_cluster(&self) -> Result<ClusterMetadata, Error> {
        self.metadata(Topics::Named(&[])).await
    }

    /// What this user may do with the cluster as a resource (KIP-430, KIP-700). Wants no right, and brokers from 2.8 on.
    ///
    /// # Errors
    /// When no broker answers until the deadline, or none knows the request.
    pub async fn cluster_operations(&self) -> Result<ClusterOperations, Error> {
        self.one(Target::Any, |connection| async move {
            let request =
                DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
            let response = connection.send(&request).await?;
            ErrorCode(response.error_code).ok().map_err(|code| {
                let message = response.error_message.as_ref().map(ToString::to_string);
                Error::broker(code, message, Operation::Describe, "the cluster".to_owned())
            })?;
            Ok(ClusterOperations(response.cluster_authorized_operations))
        })
        .await
    }

    /// One request to one broker, under the same rules as the calls here.
    pub(crate) async fn one<T, F>(
        &self,
        target: Target,
        send: impl Fn(Connection) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut results = self
            .each(
                vec![()],
                1,
                |()| target.clone(),
                |connection, _| {
                    let sent = send(connection);
                    async move { Ok(vec![sent.await]) }
                },
            )
            .await;
        results.pop().expect("one item has one result")
    }

    /// Tries one thing until it works, fails for good, or the deadline has passed. A cluster that
    /// cannot be reached at all fails at once: the caller decides how long to wait for one.
    async fn retry<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let started = Instant::now();
        let mut backoff = Backoff::for_requests();
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let passing = !matches!(error, Error::Unreachable { .. })
                && matches!(error.class(), ErrorClass::Retriable | ErrorClass::Refresh);
            let delay = backoff.next_delay();
            if !passing || started.elapsed() + delay >= self.deadline {
                return Err(error);
            }
            tokio::time::sleep(delay).await;
        }
    }

    /// Sends items to the brokers they are for, `chunk` to a request, until each has a final result.
    ///
    /// `send` gives one result for each item, in their order.
    async fn each<I, T, F>(
        &self,
        items: Vec<I>,
        chunk: usize,
        target: impl Fn(&I) -> Target,
        send: impl Fn(Connection, Vec<Item<I>>) -> F,
    ) -> Vec<Result<T, Error>>
    where
        I: Clone,
        F: Future<Output = Result<Vec<Result<T, Error>>, Error>>,
    {
        self.each_under_quota(items, chunk, target, &Throttle::default(), send)
            .await
    }

    /// The same for what a broker's quota may hold back: `send` notes the throttle time of each answer. Waiting for the quota
    /// does not count against the deadline, as long as something gets done between the waits.
    async fn each_under_quota<I, T, F>(
        &self,
        items: Vec<I>,
        chunk: usize,
        target: impl Fn(&I) -> Target,
        throttle: &Throttle,
        send: impl Fn(Connection, Vec<Item<I>>) -> F,
    ) -> Vec<Result<T, Error>>
    where
        I: Clone,
        F: Future<Output = Result<Vec<Result<T, Error>>, Error>>,
    {
        let mut started = Instant::now();
        let mut backoff = Backoff::for_requests();
        let mut items: Vec<Item<I>> = items
            .into_iter()
            .map(|value| Item { value, lost: false })
            .collect();
        let mut results: Vec<Option<Result<T, Error>>> = items.iter().map(|_| None).collect();
        loop {
            let pending: Vec<usize> = (0..items.len())
                .filter(|&index| results[index].is_none())
                .collect();
            if pending.is_empty() {
                break;
            }
            let targets: Vec<Target> = pending
                .iter()
                .map(|&index| target(&items[index].value))
                .collect();
            let asked = pending.len();
            let round = self.round(&items, &pending, &targets, chunk, &send).await;
            let throttled =
                throttle.in_round(round.iter().filter_map(|result| result.as_ref().err()));
            if throttled.is_some() {
                // The time spent so far bought something, or this is one of few tries that did not.
                started = Instant::now();
                backoff.reset();
            }
            let delay = backoff.next_delay().max(throttled.unwrap_or_default());
            if let Some(wait) = throttled {
                self.tell_of_quota(asked, wait);
            }
            let mut again = false;
            for ((index, target), result) in pending.into_iter().zip(targets).zip(round) {
                let error = match result {
                    Ok(value) => {
                        results[index] = Some(Ok(value));
                        continue;
                    }
                    Err(error) => error,
                };
                if error.class() == ErrorClass::Refresh {
                    self.client.forget(&target);
                }
                items[index].lost |= error.outcome_is_unknown();
                let spent = started.elapsed();
                // A wait for the quota may be longer than the deadline.
                let at = throttled.map_or(spent + delay, |_| spent);
                if self.is_worth_another_try(&error, at) {
                    again = true;
                } else {
                    results[index] = Some(Err(error.asked_by(|| self.client.asked())));
                }
            }
            if again {
                tokio::time::sleep(delay).await;
            }
        }
        results
            .into_iter()
            .map(|result| result.expect("the loop ends when every item has its result"))
            .collect()
    }

    fn tell_of_quota(&self, asked: usize, wait: Duration) {
        let cluster = self.client.cluster_name();
        if wait >= Duration::from_secs(1) {
            tracing::warn!(%cluster, items = asked, ?wait, "the brokers' quota for changes (controller_mutation_rate) makes this wait");
        } else {
            tracing::debug!(%cluster, items = asked, ?wait, "waiting for the brokers' quota for changes");
        }
    }

    fn is_worth_another_try(&self, error: &Error, at: Duration) -> bool {
        let limit = match error.code() {
            Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID) => {
                self.deadline.min(UNKNOWN_TOPIC_GRACE)
            }
            _ => self.deadline,
        };
        at < limit && matches!(error.class(), ErrorClass::Retriable | ErrorClass::Refresh)
    }

    /// One try of all pending items, brokers side by side.
    async fn round<I, T, F>(
        &self,
        items: &[Item<I>],
        pending: &[usize],
        targets: &[Target],
        chunk: usize,
        send: &impl Fn(Connection, Vec<Item<I>>) -> F,
    ) -> Vec<Result<T, Error>>
    where
        I: Clone,
        F: Future<Output = Result<Vec<Result<T, Error>>, Error>>,
    {
        let mut results: Vec<Option<Result<T, Error>>> = pending.iter().map(|_| None).collect();
        let mut groups: IndexMap<Target, Vec<usize>> = IndexMap::new();
        let brokers = self.resolve(targets).await;
        for (position, broker) in brokers.into_iter().enumerate() {
            match broker {
                Ok(broker) => groups.entry(broker).or_default().push(position),
                Err(error) => results[position] = Some(Err(error)),
            }
        }
        let requests = groups.iter().flat_map(|(broker, positions)| {
            positions.chunks(chunk).map(move |positions| async move {
                let part = positions
                    .iter()
                    .map(|&position| items[pending[position]].clone())
                    .collect();
                let answer = match self.client.route(broker).await {
                    Ok(connection) => send(connection, part).await,
                    Err(error) => Err(error),
                };
                (positions, answer)
            })
        });
        for (positions, answer) in join_all(requests).await {
            match answer {
                Ok(answers) => {
                    for (&position, answer) in positions.iter().zip(answers) {
                        results[position] = Some(answer);
                    }
                }
                Err(error) => {
                    for &position in positions {
                        results[position] = Some(Err(error.clone()));
                    }
                }
            }
        }
        results
            .into_iter()
            .map(|result| result.expect("send() gives a result for each of its items"))
            .collect()
    }

    /// Targets as brokers, all leaders in one question.
    async fn resolve(&self, targets: &[Target]) -> Vec<Result<Target, Error>> {
        let led: Vec<TopicPartition> = targets
            .iter()
            .filter_map(|target| match target {
                Target::Leader { topic, partition } => Some((topic.clone(), *partition)),
                _ => None,
            })
            .collect();
        let mut leaders = self.client.leaders(&led).await.into_iter();
        let mut others: IndexMap<&Target, Result<Target, Error>> = IndexMap::new();
        for target in targets {
            if let Target::Coordinator { kind, key } = target
                && !others.contains_key(target)
            {
                let found = self.client.coordinator(*kind, key).await;
                others.insert(target, found.map(Target::Broker));
            }
        }
        targets
            .iter()
            .map(|target| match target {
                Target::Leader { .. } => leaders
                    .next()
                    .expect("every leader asked for has an answer")
                    .map(Target::Broker),
                Target::Coordinator { .. } => others[target].clone(),
                Target::Any | Target::Broker(_) | Target::Controller => Ok(target.clone()),
            })
            .collect()
    }
}

/// Answers of a response in the order of the items; one that is left out is a protocol error.
fn in_order<K, V, T>(
    connection: &Connection,
    api: &str,
    wanted: impl Iterator<Item = K>,
    mut answers: std::collections::HashMap<K, V>,
    read: impl Fn(&K, V) -> Result<T, Error>,
) -> Vec<Result<T, Error>>
where
    K: std::hash::Hash + Eq + std::fmt::Debug,
{
    wanted
        .map(|key| match answers.remove(&key) {
            Some(answer) => read(&key, answer),
            None => Err(Error::Protocol {
                address: connection.address().to_owned(),
                during: api.to_owned(),
                problem: format!("it leaves out {key:?}"),
            }),
        })
        .collect()
}

/// Groups partitions by topic, as requests want them.
fn by_topic<P>(partitions: impl Iterator<Item = (String, P)>) -> IndexMap<String, Vec<P>> {
    let mut topics: IndexMap<String, Vec<P>> = IndexMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().push(partition);
    }
    topics
}

fn partition_label(topic: &str, partition: i32) -> String {
    format!("partition {partition} of topic {topic}")
}

#[cfg(test)]
mod tests;
