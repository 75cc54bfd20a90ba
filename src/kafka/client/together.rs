//! What many partitions ask for at the same time, in one request to each leader.
//!
//! When a worker starts, or a broker goes, thousands of partitions look where their logs end, several times each. A round is of
//! one leader, so that nobody waits for a broker that does not answer but those that it leads.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Client;
use super::gather::Gather;
use crate::kafka::admin::{ListedOffset, OffsetSpec, Outcomes, ProducerState, TopicPartition};
use crate::kafka::error::Error;
use crate::kafka::fetch::Isolation;

/// Partitions of one request.
const MOST: usize = 1_000;
/// One partition that its leader does not know any more must not keep the others for long.
const DEADLINE: Duration = Duration::from_secs(5);

type Answers<T> = Arc<HashMap<TopicPartition, Result<T, Error>>>;

type Round<T> = Arc<Gather<TopicPartition, Answers<T>>>;
/// `None`: the leader is not known.
type ByLeader<Q, T> = HashMap<(Q, Option<i32>), Round<T>>;

/// Questions of one kind that are being gathered, by leader.
#[derive(Debug)]
struct Rounds<Q, T> {
    rounds: Mutex<ByLeader<Q, T>>,
}

impl<Q, T> Default for Rounds<Q, T> {
    fn default() -> Self {
        Self {
            rounds: Mutex::default(),
        }
    }
}

impl<Q: Copy + Eq + Hash, T: Clone> Rounds<Q, T> {
    async fn ask<F>(
        &self,
        client: &Client,
        question: Q,
        partition: TopicPartition,
        ask: impl Fn(Vec<TopicPartition>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Outcomes<TopicPartition, T>>,
    {
        let leader = client.known().leader(&partition.0, partition.1);
        let gather = {
            let mut rounds = self.rounds.lock().expect("held for bookkeeping only");
            let round = rounds.entry((question, leader.and_then(Result::ok)));
            Arc::clone(round.or_insert_with(|| Arc::new(Gather::of(MOST))))
        };
        let ask = |partitions| {
            let asked = ask(partitions);
            async move { Arc::new(asked.await.into_iter().collect::<HashMap<_, _>>()) }
        };
        let answers = gather.ask(partition.clone(), ask).await;
        let answer = answers.get(&partition).cloned();
        answer.expect("each partition that is asked for has an outcome")
    }
}

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Point {
    Visible(OffsetSpec),
    /// The last stable offset.
    Stable,
    LogEnd,
}

#[derive(Debug, Default)]
pub(super) struct Together {
    offsets: Rounds<Point, ListedOffset>,
    producers: Rounds<(), Vec<ProducerState>>,
}

impl Client {
    /// As [`Admin::list_offsets`](crate::kafka::admin::Admin::list_offsets), uncommitted records included, for one of many partitions
    /// that ask at the same time.
    ///
    /// # Errors
    /// The call's own.
    pub async fn offset_together(
        &self,
        partition: TopicPartition,
        spec: OffsetSpec,
    ) -> Result<ListedOffset, Error> {
        let admin = &self.admin().with_deadline(DEADLINE);
        let ask = |partitions: Vec<TopicPartition>| async move {
            let spec = |(topic, partition)| (topic, partition, spec);
            let wanted = partitions.into_iter().map(spec).collect();
            admin.list_offsets(wanted, Isolation::ReadUncommitted).await
        };
        let rounds = &self.inner.together.offsets;
        rounds.ask(self, Point::Visible(spec), partition, ask).await
    }

    /// Where the `read_committed` view of a partition ends, for one of many that ask at the same time.
    ///
    /// # Errors
    /// The call's own.
    pub async fn stable_end_together(
        &self,
        partition: TopicPartition,
    ) -> Result<ListedOffset, Error> {
        let admin = &self.admin().with_deadline(DEADLINE);
        let ask = |partitions: Vec<TopicPartition>| async move {
            let spec = |(topic, partition)| (topic, partition, OffsetSpec::Latest);
            let wanted = partitions.into_iter().map(spec).collect();
            admin.list_offsets(wanted, Isolation::ReadCommitted).await
        };
        let rounds = &self.inner.together.offsets;
        rounds.ask(self, Point::Stable, partition, ask).await
    }

    /// As [`Admin::log_ends`](crate::kafka::admin::Admin::log_ends), for one of many partitions that ask at the same time.
    ///
    /// # Errors
    /// The call's own.
    pub async fn log_end_together(&self, partition: TopicPartition) -> Result<ListedOffset, Error> {
        let admin = &self.admin().with_deadline(DEADLINE);
        let ask = |partitions| async move { admin.log_ends(partitions).await };
        let rounds = &self.inner.together.offsets;
        rounds.ask(self, Point::LogEnd, partition, ask).await
    }

    /// As [`Admin::describe_producers`](crate::kafka::admin::Admin::describe_producers), for one of many partitions that ask at the
    /// same time.
    ///
    /// # Errors
    /// The call's own.
    pub async fn producers_together(
        &self,
        partition: TopicPartition,
    ) -> Result<Vec<ProducerState>, Error> {
        let admin = &self.admin().with_deadline(DEADLINE);
        let ask = |partitions| async move { admin.describe_producers(partitions).await };
        let rounds = &self.inner.together.producers;
        rounds.ask(self, (), partition, ask).await
    }
}
