//! Control markers in a destination partition, to take up offsets for which the source has no record.
//!
//! They carry a producer id of their own. A marker for an id of which the leader remembers nothing makes it remember
//! the id without a sequence, and from then on it takes only sequence 0 of it: written under the mirror's own id, markers
//! would stop a mirror of old records, whose id leaders forget.
//!
//! Where the right to write markers is missing, empty transactions leave them: one a transaction, with the coordinator's
//! round trips for each. A transaction that its owner did not end would be ended by the coordinator at some later
//! time, with a marker; so whoever takes the partition over initialises the same transactional id first, which
//! ends it, and only then looks where the log ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use super::reader::offset_of;
use super::{PartitionKey, Route};
use crate::kafka::admin::producers::coordinator;
use crate::kafka::admin::{OffsetSpec, ProducerIdentity, TopicPartition};
use crate::kafka::{Backoff, Client, Error, ErrorCode, Target, transactions};
use crate::mirror::partition::PadAnswer;

/// A transaction that its owner does not end is ended by the coordinator after so long.
const TRANSACTION_TIMEOUT_MS: i32 = 10_000;
/// How long a marker may take from the end of its transaction into the log.
const PATIENCE: Duration = Duration::from_secs(10);
/// CONCURRENT_TRANSACTIONS: the transaction before is not quite over.
const CONCURRENT_TRANSACTIONS: ErrorCode = ErrorCode(51);

/// The producer id under which a worker writes markers to a destination; allocated when the first is needed.
#[derive(Clone, Debug, Default)]
pub struct MarkerProducer(Arc<OnceCell<ProducerIdentity>>);

impl MarkerProducer {
    async fn of(&self, client: &Client) -> Result<ProducerIdentity, Error> {
        let allocated = self
            .0
            .get_or_try_init(|| async { client.admin().init_producer_id(None, 0).await });
        allocated.await.copied()
    }
}

/// Takes up offsets of one partition.
#[derive(Debug)]
pub struct Padder {
    client: Client,
    route: Arc<Route>,
    partition: TopicPartition,
    producer: MarkerProducer,
    transactional_id: String,
    /// The producer of the empty transactions, once it was initialised.
    transactional: Mutex<Option<ProducerIdentity>>,
    /// Whether the broker refused markers for want of a right.
    refused: AtomicBool,
}

impl Padder {
    pub fn new(
        client: Client,
        route: Arc<Route>,
        key: PartitionKey,
        producer: MarkerProducer,
    ) -> Arc<Self> {
        let PartitionKey { id, partition } = key;
        Arc::new(Self {
            client,
            partition: (route.destination.topic.clone(), route.destination.partition),
            route,
            producer,
            transactional_id: format!(
                "kmirror.{}.{}.{partition}",
                id.link.simple(),
                id.destination_topic.simple()
            ),
            transactional: Mutex::new(None),
            refused: AtomicBool::new(false),
        })
    }

    /// Ends a transaction that a former owner may have left open; its marker is in the log afterwards.
    ///
    /// # Errors
    /// The coordinator's own.
    pub async fn fence(&self) -> Result<(), Error> {
        let mut transactional = self.transactional.lock().await;
        *transactional = None;
        *transactional = Some(self.initialise().await?);
        Ok(())
    }

    async fn initialise(&self) -> Result<ProducerIdentity, Error> {
        let id = Some(self.transactional_id.as_str());
        self.client
            .admin()
            .init_producer_id(id, TRANSACTION_TIMEOUT_MS)
            .await
    }

    /// Writes markers until the log, which ends at `from`, ends at `to`: control markers where this user may write them, else
    /// empty transactions, once it is stored (`by_transactions`) that there may be some.
    pub async fn pad(&self, from: i64, to: i64, by_transactions: bool) -> PadAnswer {
        let answer = self.in_one_way(from, to, by_transactions).await;
        answer.unwrap_or_else(|error| PadAnswer::Lost {
            cause: error.to_string(),
        })
    }

    async fn in_one_way(
        &self,
        from: i64,
        to: i64,
        by_transactions: bool,
    ) -> Result<PadAnswer, Error> {
        if !self.refused.load(Ordering::Relaxed) {
            let answer = self.markers(from, to).await?;
            if !is_missing_right(&answer) {
                return Ok(answer);
            }
            self.refused.store(true, Ordering::Relaxed);
        }
        let answer = if by_transactions {
            self.empty_transactions(from, to).await?
        } else {
            // Nothing is begun by that; a transaction is, only when whoever comes next would know of it.
            match self.initialised().await? {
                Ok(_) => PadAnswer::OnlyByTransactions,
                Err(refused) => refused,
            }
        };
        if is_missing_right(&answer) {
            // Either right may be granted.
            self.refused.store(false, Ordering::Relaxed);
        }
        Ok(answer)
    }

    fn refused(&self, code: ErrorCode) -> PadAnswer {
        let message = code
            .is_authorization()
            .then(|| format!("{}; asked of {}", code.description(), self.client.asked()));
        PadAnswer::Refused { code, message }
    }

    async fn markers(&self, from: i64, to: i64) -> Result<PadAnswer, Error> {
        let (topic, partition) = self.partition.clone();
        let leader = Target::Leader { topic, partition };
        let producer = self.producer.of(&self.client).await?;
        let connection = self.client.route(&leader).await?;
        if let Some(lost) = self.not_allowed() {
            return Ok(lost);
        }
        let count = usize::try_from(to - from).unwrap_or(0);
        let code =
            transactions::write_markers(&connection, producer, &self.partition, count).await?;
        if !code.is_ok() {
            self.client.forget_leaders(&self.partition.0);
            return Ok(self.refused(code));
        }
        Ok(PadAnswer::Ends {
            at: self.end().await?,
        })
    }

    async fn empty_transactions(&self, from: i64, to: i64) -> Result<PadAnswer, Error> {
        let producer = match self.initialised().await? {
            Ok(producer) => producer,
            Err(refused) => return Ok(refused),
        };
        for next in from + 1..=to {
            if let Some(lost) = self.not_allowed() {
                return Ok(lost);
            }
            let code = self.empty_transaction(producer).await?;
            if !code.is_ok() {
                *self.transactional.lock().await = None;
                return Ok(self.refused(code));
            }
            let at = self.wait_for(next).await?;
            if at != next {
                return Ok(PadAnswer::Ends { at });
            }
        }
        Ok(PadAnswer::Ends { at: to })
    }

    /// The producer of the empty transactions, or the right that it lacks.
    async fn initialised(&self) -> Result<Result<ProducerIdentity, PadAnswer>, Error> {
        let mut transactional = self.transactional.lock().await;
        if let Some(producer) = *transactional {
            return Ok(Ok(producer));
        }
        match self.initialise().await {
            Ok(producer) => Ok(Ok(*transactional.insert(producer))),
            Err(error) => match error.code().filter(|code| code.is_authorization()) {
                Some(code) => Ok(Err(self.refused(code))),
                None => Err(error),
            },
        }
    }

    async fn empty_transaction(&self, producer: ProducerIdentity) -> Result<ErrorCode, Error> {
        let id = self.transactional_id.as_str();
        let connection = self.client.route(&coordinator(id)).await?;
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let added = transactions::add_partition(&connection, id, producer, &self.partition);
            match added.await? {
                CONCURRENT_TRANSACTIONS if Instant::now() < deadline => backoff.sleep().await,
                ErrorCode::NONE => break,
                code => return Ok(code),
            }
        }
        transactions::end(&connection, id, producer, true).await
    }

    /// A coordinator answers before its marker is in the log.
    async fn wait_for(&self, offset: i64) -> Result<i64, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let end = self.end().await?;
            if end >= offset || Instant::now() >= deadline {
                return Ok(end);
            }
            backoff.sleep().await;
        }
    }

    async fn end(&self) -> Result<i64, Error> {
        offset_of(&self.client, &self.route.destination, OffsetSpec::Latest).await
    }

    /// Markers have no sequence, so only the owner writes them.
    fn not_allowed(&self) -> Option<PadAnswer> {
        let allowed = self.route.lease.is_held() && !self.route.is_closed();
        (!allowed).then(|| PadAnswer::Lost {
            cause: "this worker's membership is unconfirmed".to_owned(),
        })
    }
}

fn is_missing_right(answer: &PadAnswer) -> bool {
    matches!(answer, PadAnswer::Refused { code, .. } if code.is_authorization())
}
