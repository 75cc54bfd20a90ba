//! The transaction coordinator: which producer id and epoch a transactional id has, and which
//! partitions and groups its open transaction touches.
//!
//! Markers are written by [`super::Cluster`], which has the logs; here is only what the
//! coordinator remembers. A transaction that is ended leaves its markers at once, where Kafka takes
//! a few milliseconds; an interrupted one is aborted first and its new owner told to ask again, as
//! Kafka does.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError as E;

/// Epochs end before the largest one, which a fence must still be able to use.
const LAST_EPOCH: i16 = i16::MAX - 1;
/// Kafka's default of `transaction.max.timeout.ms`.
const MAX_TIMEOUT_MS: i32 = 900_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Ongoing,
    Committed,
    Aborted,
}

/// What a transactional id stands for.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub producer_id: i64,
    pub epoch: i16,
    /// The epoch before the last bump, so that a repeated InitProducerId is recognised.
    last_epoch: i16,
    timeout_ms: i32,
    state: State,
    started: i64,
    pub partitions: BTreeSet<(String, i32)>,
    pub groups: BTreeSet<String>,
}

impl Transaction {
    #[must_use]
    pub fn is_ongoing(&self) -> bool {
        self.state == State::Ongoing
    }

    fn begin(&mut self, now: i64) {
        if self.state != State::Ongoing {
            self.partitions.clear();
            self.groups.clear();
            self.state = State::Ongoing;
            self.started = now;
        }
    }
}

/// A producer id with its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub producer_id: i64,
    pub epoch: i16,
}

/// What has to happen before a transactional id gets its new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    Ready(Identity),
    /// Its former owner left a transaction open.
    AbortFirst,
}

/// What EndTxn has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Write,
    /// A repeated request: done before.
    Done,
}

/// All transactional ids, and the next producer id of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Transactions {
    by_id: BTreeMap<String, Transaction>,
    next_producer_id: i64,
}

impl Transactions {
    /// A producer id that nobody has had before.
    pub fn new_producer_id(&mut self) -> i64 {
        let id = self.next_producer_id;
        self.next_producer_id += 1;
        id
    }

    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Transaction> {
        self.by_id.get(id)
    }

    /// InitProducerId with a transactional id. `known` is what the client believes to be.
    pub fn init(&mut self, id: &str, timeout_ms: i32, known: Option<Identity>) -> Result<Init, E> {
        if timeout_ms <= 0 || timeout_ms > MAX_TIMEOUT_MS {
            return Err(E::InvalidTransactionTimeout);
        }
        let fresh = self.next_producer_id;
        let Some(txn) = self.by_id.get_mut(id) else {
            self.next_producer_id += 1;
            let txn = Transaction {
                producer_id: fresh,
                epoch: 0,
                last_epoch: -1,
                timeout_ms,
                state: State::Empty,
                started: 0,
                partitions: BTreeSet::new(),
                groups: BTreeSet::new(),
            };
            self.by_id.insert(id.to_owned(), txn);
            return Ok(Init::Ready(Identity {
                producer_id: fresh,
                epoch: 0,
            }));
        };
        if let Some(known) = known {
            let owner = known.producer_id == txn.producer_id;
            if owner && known.epoch == txn.last_epoch && txn.last_epoch >= 0 {
                return Ok(Init::Ready(Identity {
                    producer_id: txn.producer_id,
                    epoch: txn.epoch,
                }));
            }
            if !owner || known.epoch != txn.epoch {
                return Err(E::ProducerFenced);
            }
        }
        if txn.state == State::Ongoing {
            return Ok(Init::AbortFirst);
        }
        txn.timeout_ms = timeout_ms;
        txn.state = State::Empty;
        txn.partitions.clear();
        txn.groups.clear();
        if txn.epoch >= LAST_EPOCH {
            self.next_producer_id += 1;
            txn.producer_id = fresh;
            txn.epoch = 0;
            txn.last_epoch = -1;
        } else {
            txn.last_epoch = if known.is_some() { txn.epoch } else { -1 };
            txn.epoch += 1;
        }
        Ok(Init::Ready(Identity {
            producer_id: txn.producer_id,
            epoch: txn.epoch,
        }))
    }

    /// The transaction, if this producer is its owner.
    fn owned(&mut self, id: &str, who: Identity) -> Result<&mut Transaction, E> {
        let txn = self.by_id.get_mut(id).ok_or(E::InvalidProducerIdMapping)?;
        if txn.producer_id != who.producer_id {
            return Err(E::InvalidProducerIdMapping);
        }
        if txn.epoch != who.epoch {
            return Err(E::ProducerFenced);
        }
        Ok(txn)
    }

    pub fn add_partitions(
        &mut self,
        id: &str,
        who: Identity,
        partitions: impl IntoIterator<Item = (String, i32)>,
        now: i64,
    ) -> Result<(), E> {
        let txn = self.owned(id, who)?;
        txn.begin(now);
        txn.partitions.extend(partitions);
        Ok(())
    }

    pub fn add_group(&mut self, id: &str, who: Identity, group: &str, now: i64) -> Result<(), E> {
        let txn = self.owned(id, who)?;
        txn.begin(now);
        txn.groups.insert(group.to_owned());
        Ok(())
    }

    /// Whether offsets of `group` may be committed in the open transaction.
    pub fn check_group(&mut self, id: &str, who: Identity, group: &str) -> Result<(), E> {
        let txn = self.owned(id, who)?;
        if txn.is_ongoing() && txn.groups.contains(group) {
            Ok(())
        } else {
            Err(E::InvalidTxnState)
        }
    }

    /// Whether a transactional batch of this producer may go to the partition.
    pub fn check_write(
        &mut self,
        id: Option<&str>,
        who: Identity,
        topic: &str,
        partition: i32,
    ) -> Result<(), E> {
        let txn = match id {
            Some(id) => self.owned(id, who).map_err(|error| match error {
                E::ProducerFenced => E::InvalidProducerEpoch,
                other => other,
            })?,
            None => return Err(E::InvalidRequest),
        };
        if txn.is_ongoing() && txn.partitions.contains(&(topic.to_owned(), partition)) {
            Ok(())
        } else {
            Err(E::InvalidTxnState)
        }
    }

    /// Whether EndTxn may go ahead.
    pub fn check_end(&mut self, id: &str, who: Identity, commit: bool) -> Result<End, E> {
        let txn = self.owned(id, who)?;
        match (txn.state, commit) {
            (State::Ongoing, _) => Ok(End::Write),
            (State::Committed, true) | (State::Aborted, false) => Ok(End::Done),
            _ => Err(E::InvalidTxnState),
        }
    }

    /// Closes the open transaction; returns it as it was. With `fence` its epoch is raised first, so
    /// that its owner is refused from then on.
    pub fn close(&mut self, id: &str, commit: bool, fence: bool) -> Option<Transaction> {
        let txn = self.by_id.get_mut(id).filter(|txn| txn.is_ongoing())?;
        if fence {
            txn.epoch = txn.epoch.saturating_add(1);
            txn.last_epoch = -1;
        }
        let was = txn.clone();
        txn.state = if commit {
            State::Committed
        } else {
            State::Aborted
        };
        txn.partitions.clear();
        txn.groups.clear();
        Some(was)
    }

    /// Transactional ids whose transactions have been open too long.
    #[must_use]
    pub fn overdue(&self, now: i64) -> Vec<String> {
        let open = self.by_id.iter().filter(|(_, txn)| txn.is_ongoing());
        open.filter(|(_, txn)| now - txn.started > i64::from(txn.timeout_ms))
            .map(|(id, _)| id.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(init: Result<Init, E>) -> Identity {
        match init {
            Ok(Init::Ready(identity)) => identity,
            other => panic!("not ready: {other:?}"),
        }
    }

    #[test]
    fn a_second_owner_gets_the_next_epoch_and_the_first_is_fenced() {
        let mut txns = Transactions::default();
        let first = ready(txns.init("t", 1000, None));
        assert_eq!(
            first,
            Identity {
                producer_id: 0,
                epoch: 0
            }
        );
        txns.add_partitions("t", first, [("a".into(), 0)], 5)
            .expect("owner");
        assert_eq!(txns.init("t", 1000, None), Ok(Init::AbortFirst));
        let open = txns.close("t", false, true).expect("open");
        assert_eq!((open.epoch, open.partitions.len()), (1, 1));
        let second = ready(txns.init("t", 1000, None));
        assert_eq!(
            second,
            Identity {
                producer_id: 0,
                epoch: 2
            }
        );
        assert_eq!(
            txns.add_partitions("t", first, [], 5),
            Err(E::ProducerFenced)
        );
        assert_eq!(txns.check_end("t", first, true), Err(E::ProducerFenced));
        assert_eq!(ready(txns.init("u", 1000, None)).producer_id, 1);
    }

    #[test]
    fn an_owner_may_raise_its_own_epoch_and_ask_again() {
        let mut txns = Transactions::default();
        let first = ready(txns.init("t", 1000, None));
        let second = ready(txns.init("t", 1000, Some(first)));
        assert_eq!(second.epoch, 1);
        assert_eq!(ready(txns.init("t", 1000, Some(first))), second);
        let third = ready(txns.init("t", 1000, Some(second)));
        assert_eq!(txns.init("t", 1000, Some(first)), Err(E::ProducerFenced));
        assert_eq!(third.epoch, 2);
    }

    #[test]
    fn ends_need_something_to_end_and_may_be_repeated() {
        let mut txns = Transactions::default();
        let who = ready(txns.init("t", 1000, None));
        assert_eq!(txns.check_end("t", who, true), Err(E::InvalidTxnState));
        txns.add_group("t", who, "g", 5).expect("owner");
        assert_eq!(txns.check_group("t", who, "g"), Ok(()));
        assert_eq!(txns.check_group("t", who, "h"), Err(E::InvalidTxnState));
        assert_eq!(txns.check_end("t", who, true), Ok(End::Write));
        txns.close("t", true, false).expect("open");
        assert_eq!(txns.check_end("t", who, true), Ok(End::Done));
        assert_eq!(txns.check_end("t", who, false), Err(E::InvalidTxnState));
    }

    #[test]
    fn writes_need_the_partition_in_the_open_transaction() {
        let mut txns = Transactions::default();
        let who = ready(txns.init("t", 1000, None));
        assert_eq!(
            txns.check_write(Some("t"), who, "a", 0),
            Err(E::InvalidTxnState)
        );
        txns.add_partitions("t", who, [("a".into(), 0)], 5)
            .expect("owner");
        assert_eq!(txns.check_write(Some("t"), who, "a", 0), Ok(()));
        assert_eq!(
            txns.check_write(Some("t"), who, "a", 1),
            Err(E::InvalidTxnState)
        );
        let stranger = Identity {
            producer_id: 99,
            epoch: 0,
        };
        assert_eq!(
            txns.check_write(Some("t"), stranger, "a", 0),
            Err(E::InvalidProducerIdMapping)
        );
    }

    #[test]
    fn transactions_run_out_of_time() {
        let mut txns = Transactions::default();
        let who = ready(txns.init("t", 1000, None));
        txns.add_partitions("t", who, [("a".into(), 0)], 5)
            .expect("owner");
        assert!(txns.overdue(1005).is_empty());
        assert_eq!(txns.overdue(1006), ["t"]);
        assert_eq!(txns.init("t", 0, None), Err(E::InvalidTransactionTimeout));
    }
}
