//! One producer's transactions on `_kmirror.links`, and the right to make them.
//!
//! The right belongs to whoever was the last to initialise [`CONTROL_TRANSACTIONAL_ID`]: the
//! coordinator fences everybody before. Between that and the first write nobody else can have
//! written, so what is read then is what the write builds on.

use bytes::Bytes;
use std::time::Duration;
use tokio::time::Instant;

use super::log::{KeyValue, batch, runs};
use super::records::{CONTROL_TRANSACTIONAL_ID, LINKS_TOPIC};
use crate::kafka::admin::producers::coordinator;
use crate::kafka::admin::{OffsetSpec, ProducerIdentity};
use crate::kafka::produce::{ProduceBatch, produce_as};
use crate::kafka::{Backoff, Client, Error, ErrorCode, Isolation, Operation, Target, transactions};

/// A crashed holder's open transaction hides later records from readers for so long at most.
const TRANSACTION_TIMEOUT_MS: i32 = 30_000;
const PRODUCE_TIMEOUT_MS: i32 = 10_000;

/// Why a transaction was not made.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Somebody else has initialised the id since, or the coordinator has given up on us.
    Superseded,
    Kafka(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error.code() {
            Some(
                ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
                | ErrorCode::DUPLICATE_SEQUENCE_NUMBER
                | ErrorCode::INVALID_PRODUCER_EPOCH
                | ErrorCode::INVALID_TXN_STATE
                | ErrorCode::INVALID_PRODUCER_ID_MAPPING
                | ErrorCode::PRODUCER_FENCED
                | UNKNOWN_PRODUCER_ID
                | TRANSACTION_ABORTABLE
                | ErrorCode::UNKNOWN_SERVER_ERROR,
            ) => Self::Superseded,
            _ => Self::Kafka(error),
        }
    }
}

const UNKNOWN_PRODUCER_ID: ErrorCode = ErrorCode(59);
const TRANSACTION_ABORTABLE: ErrorCode = ErrorCode(120);

// UNKNOWN_SERVER_ERROR stands in the list because of Kafka 4.3: while a coordinator is fencing a
// producer, that one's EndTxn makes it trip over its own state ("PREPARE_EPOCH_FENCE").

/// The producer that writes control records.
#[derive(Debug)]
pub(super) struct Producer {
    client: Client,
    identity: ProducerIdentity,
    sequence: i32,
}

impl Producer {
    /// Takes the right to write, and ends whatever transaction the former holder left open.
    pub(super) async fn init(client: &Client) -> Result<Self, Error> {
        let identity = client
            .admin()
            .init_producer_id(Some(CONTROL_TRANSACTIONAL_ID), TRANSACTION_TIMEOUT_MS)
            .await?;
        Ok(Self {
            client: client.clone(),
            identity,
            sequence: 0,
        })
    }

    /// Writes records in one transaction and waits until readers see them. Gives their offsets.
    ///
    /// After an error the producer is of no more use: whether its batches got in is unknown.
    pub(super) async fn write(&mut self, records: &[KeyValue]) -> Result<Vec<i64>, Refusal> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        self.add_partition().await?;
        let offsets = match self.produce(records).await {
            Ok(offsets) => offsets,
            Err(refusal) => {
                if !matches!(refusal, Refusal::Superseded) {
                    // Best effort: the next holder ends it otherwise.
                    let _ = self.end(false).await;
                }
                return Err(refusal);
            }
        };
        self.end(true).await?;
        let last = *offsets.last().expect("records have offsets");
        self.wait_until_visible(last).await?;
        Ok(offsets)
    }

    async fn add_partition(&self) -> Result<(), Refusal> {
        let partition = (LINKS_TOPIC.to_owned(), 0);
        let partition = &partition;
        self.client
            .admin()
            .one(control_coordinator(), |connection| async move {
                let id = CONTROL_TRANSACTIONAL_ID;
                let code = transactions::add_partition(&connection, id, self.identity, partition);
                refused(code.await?, Operation::BeginTransaction)
            })
            .await
            .map_err(Refusal::from)
    }

    async fn produce(&mut self, records: &[KeyValue]) -> Result<Vec<i64>, Refusal> {
        let mut offsets = Vec::with_capacity(records.len());
        for run in runs(records) {
            let batch = batch(run, Some((self.identity, self.sequence)))
                .map_err(|problem| self.cannot_encode(problem))?;
            let batch = ProduceBatch {
                head: Bytes::new(),
                topic: LINKS_TOPIC,
                partition: 0,
                batch,
            };
            let leader = Target::Leader {
                topic: LINKS_TOPIC.to_owned(),
                partition: 0,
            };
            let base = self
                .client
                .admin()
                .one(leader, async |connection| {
                    let batches = std::slice::from_ref(&batch);
                    let id = Some(CONTROL_TRANSACTIONAL_ID);
                    let mut answers =
                        produce_as(&connection, id, -1, PRODUCE_TIMEOUT_MS, batches).await?;
                    let answer = answers.pop().expect("one batch has one answer");
                    answer.error.ok().map_err(|code| {
                        Error::broker(code, answer.message, Operation::Write, topic())
                    })?;
                    Ok(answer.base_offset)
                })
                .await?;
            let count = i32::try_from(run.len()).expect("a batch has fewer than 2^31 records");
            self.sequence = self.sequence.wrapping_add(count) & i32::MAX;
            offsets.extend((0..i64::from(count)).map(|index| base + index));
        }
        Ok(offsets)
    }

    async fn end(&self, commit: bool) -> Result<(), Refusal> {
        self.client
            .admin()
            .one(control_coordinator(), |connection| async move {
                let id = CONTROL_TRANSACTIONAL_ID;
                let code = transactions::end(&connection, id, self.identity, commit);
                refused(code.await?, Operation::EndTransaction)
            })
            .await
            .map_err(Refusal::from)
    }

    /// A coordinator answers before its marker is in the log; a reader that comes at once would not
    /// see what was just committed.
    async fn wait_until_visible(&self, offset: i64) -> Result<(), Error> {
        const PATIENCE: Duration = Duration::from_secs(30);
        let started = Instant::now();
        let mut backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(100));
        loop {
            let end = vec![(LINKS_TOPIC.to_owned(), 0, OffsetSpec::Latest)];
            let mut found = self
                .client
                .admin()
                .list_offsets(end, Isolation::ReadCommitted)
                .await;
            let (_, found) = found.pop().expect("one item has one result");
            // Committed for certain; that it shows late is no reason to say otherwise.
            if found?.offset > offset || started.elapsed() > PATIENCE {
                return Ok(());
            }
            backoff.sleep().await;
        }
    }

    fn cannot_encode(&self, problem: String) -> Error {
        Error::Protocol {
            address: self.client.cluster_name().to_owned(),
            during: "Produce".to_owned(),
            problem,
        }
    }
}

fn refused(code: ErrorCode, operation: Operation) -> Result<(), Error> {
    code.ok()
        .map_err(|code| Error::broker(code, None, operation, topic()))
}

fn topic() -> String {
    format!("topic {LINKS_TOPIC}")
}

fn control_coordinator() -> Target {
    coordinator(CONTROL_TRANSACTIONAL_ID)
}
