//! The broker as plain state machines: no sockets, no clock, no waiting.
//!
//! [`Cluster`] is the state of one cluster, shared by its brokers. Every method takes the time it
//! needs as an argument and answers at once; who has to wait (a long poll, a joining member) is
//! the server's business. What real brokers were seen to do is kept in the tables of the tests.

pub mod batch;
pub mod configs;
pub mod group;
pub mod groups;
pub mod log;
pub mod offsets;
pub mod producers;
pub mod topics;
pub mod transactions;
pub mod validate;

use kafka_protocol::ResponseError as E;

use self::groups::Groups;
use self::log::{Appended, Log};
use self::topics::{Defaults, Partition, Topics};
use self::transactions::{End, Identity, Init, Transaction, Transactions};
use self::validate::{Accepted, Refusal};

/// The epoch under which this coordinator writes markers; it never hands over to another.
const COORDINATOR_EPOCH: i32 = 0;

/// One broker of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    /// What clients are told to connect to.
    pub host: String,
    pub port: u16,
    pub up: bool,
}

/// Settings of the whole cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    pub cluster_id: String,
    pub defaults: Defaults,
    pub auto_create_topics: bool,
    /// Age of a producer's last record after which it is forgotten.
    pub producer_id_expiration_ms: i64,
}

/// The state of one cluster.
#[derive(Debug)]
pub struct Cluster {
    pub settings: Settings,
    pub brokers: Vec<Broker>,
    pub topics: Topics,
    pub groups: Groups,
    pub transactions: Transactions,
}

impl Cluster {
    #[must_use]
    pub fn new(settings: Settings, brokers: Vec<Broker>) -> Self {
        Cluster {
            settings,
            brokers,
            topics: Topics::default(),
            groups: Groups::default(),
            transactions: Transactions::default(),
        }
    }

    #[must_use]
    pub fn broker(&self, id: i32) -> Option<&Broker> {
        self.brokers.iter().find(|broker| broker.id == id)
    }

    #[must_use]
    pub fn live_brokers(&self) -> Vec<i32> {
        self.brokers
            .iter()
            .filter(|broker| broker.up)
            .map(|broker| broker.id)
            .collect()
    }

    /// The live broker with the lowest id; -1 when all are down.
    #[must_use]
    pub fn controller(&self) -> i32 {
        self.live_brokers().first().copied().unwrap_or(-1)
    }

    /// The partition, if `broker` leads it.
    pub fn led_by(&self, broker: i32, topic: &str, index: i32) -> Result<&Partition, E> {
        let partition = self
            .topics
            .get(topic)
            .and_then(|topic| topic.partition(index))
            .ok_or(E::UnknownTopicOrPartition)?;
        if partition.leader == Some(broker) {
            Ok(partition)
        } else {
            Err(E::NotLeaderOrFollower)
        }
    }

    /// The log of a partition that `broker` leads, for writing.
    pub fn led_log_mut(&mut self, broker: i32, topic: &str, index: i32) -> Result<&mut Log, E> {
        self.led_by(broker, topic, index)?;
        let partition = self
            .topics
            .get_mut(topic)
            .and_then(|topic| topic.partition_mut(index))
            .ok_or(E::UnknownTopicOrPartition)?;
        Ok(&mut partition.log)
    }

    /// Replicas whose brokers are up; every live replica is in sync here.
    #[must_use]
    pub fn in_sync(&self, partition: &Partition) -> Vec<i32> {
        partition
            .replicas
            .iter()
            .copied()
            .filter(|id| self.broker(*id).is_some_and(|broker| broker.up))
            .collect()
    }

    /// Appends a validated batch at the partition's leader.
    pub fn append(
        &mut self,
        broker: i32,
        topic: &str,
        index: i32,
        accepted: Accepted,
        acks: i16,
        transactional_id: Option<&str>,
    ) -> Result<Appended, Refusal> {
        let bare = |error| Refusal {
            error,
            message: None,
            records: Vec::new(),
        };
        let partition = self.led_by(broker, topic, index).map_err(bare)?;
        let rules = self
            .topics
            .get(topic)
            .map(|topic| topic.rules)
            .ok_or_else(|| bare(E::UnknownTopicOrPartition))?;
        let in_sync = self.in_sync(partition).len();
        if acks == -1 && in_sync < rules.min_insync_replicas {
            return Err(Refusal::new(
                E::NotEnoughReplicas,
                format!(
                    "The size of the current ISR : {in_sync} is insufficient to satisfy the min.isr requirement of {} for partition {topic}-{index}",
                    rules.min_insync_replicas
                ),
            ));
        }
        let who = Identity {
            producer_id: accepted.producer_id,
            epoch: accepted.producer_epoch,
        };
        // Asked of the coordinator once per transaction and partition, as brokers do since 3.6.
        if accepted.transactional && !partition.log.producers.is_open(who.producer_id) {
            self.transactions
                .check_write(transactional_id, who, topic, index)
                .map_err(bare)?;
        }
        let log_append_time = accepted.log_append_time;
        self.led_log_mut(broker, topic, index)
            .map_err(bare)?
            .append(accepted.bytes, log_append_time)
            .map_err(Refusal::from)
    }

    /// Deletes a topic; returns its id.
    pub fn delete_topic(&mut self, name: &str) -> Option<uuid::Uuid> {
        let topic = self.topics.delete(name)?;
        for (_, group) in self.groups.iter_mut() {
            group.offsets.delete_topic(name);
        }
        Some(topic.id)
    }

    /// InitProducerId: a new id, or the next epoch of a transactional one.
    pub fn init_producer(
        &mut self,
        transactional_id: Option<&str>,
        timeout_ms: i32,
        known: Option<Identity>,
        now: i64,
    ) -> Result<Identity, E> {
        let Some(id) = transactional_id else {
            return Ok(Identity {
                producer_id: self.transactions.new_producer_id(),
                epoch: 0,
            });
        };
        if id.is_empty() {
            return Err(E::InvalidRequest);
        }
        match self.transactions.init(id, timeout_ms, known)? {
            Init::Ready(identity) => Ok(identity),
            Init::AbortFirst => {
                self.close_transaction(id, false, true, now);
                Err(E::ConcurrentTransactions)
            }
        }
    }

    /// EndTxn.
    pub fn end_transaction(
        &mut self,
        id: &str,
        who: Identity,
        commit: bool,
        now: i64,
    ) -> Result<(), E> {
        if self.transactions.check_end(id, who, commit)? == End::Write {
            self.close_transaction(id, commit, false, now);
        }
        Ok(())
    }

    /// Aborts transactions that have been open longer than their producers asked for.
    pub fn abort_overdue(&mut self, now: i64) -> bool {
        let overdue = self.transactions.overdue(now);
        for id in &overdue {
            self.close_transaction(id, false, true, now);
        }
        !overdue.is_empty()
    }

    fn close_transaction(&mut self, id: &str, commit: bool, fence: bool, now: i64) {
        let Some(txn) = self.transactions.close(id, commit, fence) else {
            return;
        };
        let Transaction {
            producer_id,
            epoch,
            partitions,
            groups,
            ..
        } = txn;
        for (topic, index) in partitions {
            let partition = self
                .topics
                .get_mut(&topic)
                .and_then(|t| t.partition_mut(index));
            // A partition that is gone, or has seen a later epoch, needs no marker any more.
            if let Some(partition) = partition {
                let _refused =
                    partition
                        .log
                        .append_marker(producer_id, epoch, commit, COORDINATOR_EPOCH, now);
            }
        }
        for group in groups {
            if let Some(group) = self.groups.get_mut(&group) {
                group.offsets.end_transaction(producer_id, commit);
            }
        }
    }

    /// Hands a partition to another leader under a new epoch; `None` chooses the next live replica.
    pub fn move_leader(&mut self, topic: &str, index: i32, to: Option<i32>) -> Result<i32, E> {
        let live = self.live_brokers();
        let partition = self
            .topics
            .get_mut(topic)
            .and_then(|topic| topic.partition_mut(index))
            .ok_or(E::UnknownTopicOrPartition)?;
        let candidates: Vec<i32> = partition
            .replicas
            .iter()
            .copied()
            .filter(|id| live.contains(id))
            .collect();
        let leader = match to {
            Some(id) if !live.contains(&id) => return Err(E::BrokerNotAvailable),
            Some(id) => {
                // A broker that had no copy takes the place of the last replica.
                if !partition.replicas.contains(&id) {
                    partition.replicas.pop();
                    partition.replicas.insert(0, id);
                }
                Some(id)
            }
            None => {
                let now = partition
                    .leader
                    .and_then(|id| candidates.iter().position(|c| *c == id));
                let next = now.map_or(0, |at| at + 1);
                (!candidates.is_empty()).then(|| candidates[next % candidates.len()])
            }
        };
        partition.leader = leader;
        let epoch = partition.log.leader_epoch() + 1;
        partition.log.enter_epoch(epoch);
        Ok(epoch)
    }

    /// Takes a broker down or up; its partitions get other leaders where there are replicas.
    pub fn set_broker_up(&mut self, id: i32, up: bool) {
        for broker in &mut self.brokers {
            if broker.id == id {
                broker.up = up;
            }
        }
        let affected: Vec<(String, i32)> = self
            .topics
            .iter()
            .flat_map(|(name, topic)| {
                (0..)
                    .zip(&topic.partitions)
                    .filter_map(move |(index, partition)| {
                        let concerned = if up {
                            partition.leader.is_none()
                        } else {
                            partition.leader == Some(id)
                        };
                        concerned.then(|| (name.to_owned(), index))
                    })
            })
            .collect();
        for (topic, index) in affected {
            // The partition was listed a moment ago under the same exclusive borrow.
            let _epoch = self.move_leader(&topic, index, None);
        }
    }

    /// Forgets producers whose last record is too old.
    pub fn expire_producers(&mut self, now: i64) {
        let max_age = self.settings.producer_id_expiration_ms;
        for (_, topic) in self.topics.iter_mut() {
            for partition in &mut topic.partitions {
                partition.log.producers.expire(now, max_age);
            }
        }
    }
}
