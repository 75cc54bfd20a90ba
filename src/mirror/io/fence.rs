//! The end of a mirror in its partitions: nothing that it wrote before may arrive later.
//!
//! A control marker with the mirror's producer id at the next epoch makes the leader refuse whatever carries the former one: a
//! request that is still in a socket, or a worker that was frozen and wakes. It is on all in-sync replicas when it is
//! answered, and counts once a leader says that it knows the new epoch and everything it has is below the high watermark.
//!
//! Where the right to write markers is missing, time has to do: whoever wrote before is out of the group, or this worker would
//! not own the slot; one session timeout more, and an end that has settled, say that nothing of it is left on its way. A leader
//! that holds a request back for longer would still take it, so such a partition is reported as waited for, not as fenced.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::pad::{MarkerProducer, Padder};
use super::{PartitionKey, Route, TopicPartition, tail};
use crate::control::ControlError;
use crate::control::progress::{self, Entry, Kept};
use crate::control::records::{
    ENDING_VERSION, EndingKind, Fence, IncarnationId, OffsetsKey, PartitionEndRecord,
};
use crate::kafka::admin::{OffsetSpec, ProducerIdentity, TopicPartition as Named};
use crate::kafka::fetch::Isolation;
use crate::kafka::{Backoff, Client, Error, Topics};
use crate::mirror::worker::lease::Lease;

type KeptByPartition = HashMap<(IncarnationId, i32), Kept>;

/// How long a marker may take to be seen; after that it is written again with the next attempt.
const PATIENCE: Duration = Duration::from_secs(10);

/// A partition in which a mirror ends, and nothing of it runs here any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub key: PartitionKey,
    pub topic: String,
    /// The mirror's own, as it writes.
    pub producer: ProducerIdentity,
    pub kind: EndingKind,
    /// Of the request.
    pub generation: u64,
}

/// What fencing needs around it.
#[derive(Clone, Debug)]
pub struct Fencer {
    pub client: Client,
    pub lease: Arc<Lease>,
    pub session_timeout: Duration,
    pub marker_producer: MarkerProducer,
}

impl Fencer {
    /// Fences partitions and stores that they are. Gives those for which that was done; the others are to be tried again.
    pub async fn end(&self, endings: Vec<Ending>) -> Vec<(PartitionKey, PartitionEndRecord)> {
        match self.try_end(endings).await {
            Ok(ended) => ended,
            Err(error) => {
                tracing::warn!(cluster = self.client.cluster_name(), %error, "mirrors cannot be ended just now");
                Vec::new()
            }
        }
    }

    async fn try_end(
        &self,
        endings: Vec<Ending>,
    ) -> Result<Vec<(PartitionKey, PartitionEndRecord)>, ControlError> {
        let ids = endings.iter().map(|ending| ending.key.id).collect();
        let kept = progress::read(&self.client, &ids).await?;
        let endings = self.still_there(endings).await?;
        // Whoever takes over from here on needs the source no more.
        let drained = endings
            .iter()
            .filter(|ending| ending.kind == EndingKind::Promote)
            .map(|ending| (ending.key, record(ending, &kept, None)));
        if !self.store(drained.collect()).await? {
            return Ok(Vec::new());
        }
        let fenced = self.fenced(&endings, &kept).await;
        let ended: Vec<(PartitionKey, PartitionEndRecord)> = endings
            .iter()
            .filter_map(|ending| {
                let fence = fenced.get(&ending.key)?;
                Some((ending.key, record(ending, &kept, Some(*fence))))
            })
            .collect();
        if !self.store(ended.clone()).await? {
            return Ok(Vec::new());
        }
        Ok(ended)
    }

    /// Leaves out partitions of topics that are not the mirrors' any more.
    async fn still_there(&self, endings: Vec<Ending>) -> Result<Vec<Ending>, Error> {
        let names: HashSet<String> = endings.iter().map(|ending| ending.topic.clone()).collect();
        let names: Vec<String> = names.into_iter().collect();
        let metadata = self.client.metadata(Topics::Named(&names)).await?;
        let is_there = |ending: &Ending| {
            let wanted = ending.key.id.destination_topic;
            metadata.topic(&ending.topic).is_some_and(|topic| {
                topic.error.is_ok() && (wanted.is_nil() || topic.id.is_nil() || topic.id == wanted)
            })
        };
        let (there, gone): (Vec<_>, Vec<_>) = endings.into_iter().partition(is_there);
        if let Some(ending) = gone.first() {
            tracing::warn!(
                cluster = self.client.cluster_name(),
                topic = ending.topic,
                "the mirror topic is gone or was made anew: its mirror cannot be ended"
            );
        }
        Ok(there)
    }

    async fn fenced(
        &self,
        endings: &[Ending],
        kept: &KeptByPartition,
    ) -> HashMap<PartitionKey, Fence> {
        let mut fenced = HashMap::new();
        let endings = self.without_open_transactions(endings, kept).await;
        let wanted = endings.iter().map(|ending| (named(ending), next(ending)));
        let outcomes = self.client.admin().fence_producers(wanted.collect()).await;
        let (mut marked, mut forbidden) = (Vec::new(), Vec::new());
        for (ending, (_, outcome)) in endings.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => marked.push(ending),
                Err(error) if error.code().is_some_and(|code| code.is_authorization()) => {
                    forbidden.push((ending, error));
                }
                Err(error) => tracing::warn!(
                    topic = ending.topic,
                    partition = ending.key.partition,
                    %error,
                    "the mirror's end cannot be marked just now"
                ),
            }
        }
        for key in self.seen(&marked).await {
            fenced.insert(key, Fence::Marker);
        }
        if let Some((_, error)) = forbidden.first() {
            tracing::warn!(
                cluster = self.client.cluster_name(),
                %error,
                partitions = forbidden.len(),
                "control markers may not be written: waiting until nothing of the mirror can be on its way any more"
            );
            sleep(self.session_timeout).await;
            let waits = forbidden.iter().map(|(ending, _)| self.has_settled(ending));
            for (settled, (ending, _)) in join_all(waits).await.into_iter().zip(&forbidden) {
                if settled {
                    fenced.insert(ending.key, Fence::Waited);
                }
            }
        }
        fenced
    }

    /// A transaction that a former owner left open would end with a marker at some later time.
    async fn without_open_transactions<'e>(
        &self,
        endings: &'e [Ending],
        kept: &KeptByPartition,
    ) -> Vec<&'e Ending> {
        let mut closed = Vec::with_capacity(endings.len());
        for ending in endings {
            let PartitionKey { id, partition } = ending.key;
            let kept = kept.get(&(id, partition));
            let progress = kept.and_then(|kept| kept.progress.as_ref());
            if progress.is_some_and(|progress| progress.record.pads_by_transactions) {
                let padder = Padder::new(
                    self.client.clone(),
                    self.route(ending),
                    ending.key,
                    self.marker_producer.clone(),
                );
                if let Err(error) = padder.fence().await {
                    tracing::warn!(topic = ending.topic, partition, %error, "a transaction that may be open cannot be ended just now");
                    continue;
                }
            }
            closed.push(ending);
        }
        closed
    }

    /// Those whose leader knows the new epoch, with everything that it has below the high watermark.
    async fn seen(&self, marked: &[&Ending]) -> Vec<PartitionKey> {
        let mut seen = Vec::new();
        let mut left: Vec<&Ending> = marked.to_vec();
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(500));
        let deadline = Instant::now() + PATIENCE;
        while !left.is_empty() {
            let admin = self.client.admin();
            let ends = admin.log_ends(left.iter().map(|ending| named(ending)).collect());
            let ends = ends.await;
            let producers =
                admin.describe_producers(left.iter().map(|ending| named(ending)).collect());
            let visible = left.iter().map(|ending| {
                let (topic, partition) = named(ending);
                (topic, partition, OffsetSpec::Latest)
            });
            let visible = admin.list_offsets(visible.collect(), Isolation::ReadUncommitted);
            let (producers, visible) = futures::join!(producers, visible);
            let mut again = Vec::new();
            let asked = left.into_iter().zip(ends).zip(producers).zip(visible);
            for (((ending, (_, end)), (_, producers)), (_, visible)) in asked {
                let knows = producers.is_ok_and(|producers| {
                    producers.iter().any(|producer| {
                        producer.producer_id == ending.producer.id
                            && producer.producer_epoch >= i32::from(next(ending).epoch)
                    })
                });
                let is_replicated = match (end, visible) {
                    (Ok(end), Ok(visible)) => visible.offset >= end.offset,
                    _ => false,
                };
                if knows && is_replicated {
                    seen.push(ending.key);
                } else {
                    again.push(ending);
                }
            }
            left = again;
            if left.is_empty() || Instant::now() >= deadline {
                break;
            }
            backoff.sleep().await;
        }
        if let Some(ending) = left.first() {
            tracing::warn!(
                topic = ending.topic,
                partition = ending.key.partition,
                "the marker at the mirror's end is not replicated yet"
            );
        }
        seen
    }

    /// Whether the log's end stands still, with this worker the owner.
    async fn has_settled(&self, ending: &Ending) -> bool {
        let route = self.route(ending);
        match tail::read(&self.client, &route, ending.producer.id, i64::MAX).await {
            Ok(_) => true,
            Err(failure) => {
                tracing::warn!(
                    topic = ending.topic,
                    partition = ending.key.partition,
                    "the mirror's end cannot be waited for just now: {failure}"
                );
                false
            }
        }
    }

    fn route(&self, ending: &Ending) -> Arc<Route> {
        let destination = TopicPartition {
            topic: ending.topic.clone(),
            topic_id: ending.key.id.destination_topic,
            partition: ending.key.partition,
        };
        Route::new(destination, Arc::clone(&self.lease))
    }

    /// `false`: this worker's membership is unconfirmed, and some may not be stored.
    async fn store(
        &self,
        ended: Vec<(PartitionKey, PartitionEndRecord)>,
    ) -> Result<bool, ControlError> {
        let entries: Vec<_> = ended
            .into_iter()
            .map(|(PartitionKey { id, partition }, record)| {
                let key = OffsetsKey::End { id, partition };
                (key, Some(Entry::End(record)))
            })
            .collect();
        progress::write_while(&self.client, &entries, &|| self.lease.is_held()).await
    }
}

fn named(ending: &Ending) -> Named {
    (ending.topic.clone(), ending.key.partition)
}

/// The producer id with the epoch that shuts the mirror out.
fn next(ending: &Ending) -> ProducerIdentity {
    ProducerIdentity {
        id: ending.producer.id,
        epoch: ending.producer.epoch.saturating_add(1),
    }
}

fn record(ending: &Ending, kept: &KeptByPartition, fence: Option<Fence>) -> PartitionEndRecord {
    let kept = kept.get(&(ending.key.id, ending.key.partition));
    let progress = kept.and_then(|kept| kept.progress.as_ref());
    let last = progress.and_then(|progress| progress.record.anchors.last());
    PartitionEndRecord {
        version: ENDING_VERSION,
        generation: ending.generation,
        source_offset: last.map_or(-1, |last| last.source_offset),
        destination_offset: last.map_or(-1, |last| last.destination_offset),
        fence,
        at_ms: jiff::Timestamp::now().as_millisecond(),
    }
}
