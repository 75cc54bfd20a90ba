//! Topics that match later, and partitions that a source topic got: the link's standing permission.
//!
//! One worker of a destination does this, the owner of slot 0. It looks when the source's topics or the link have
//! changed, plans as `apply` does, and writes as the holder of the same lock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{RwLock, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ConnectedCluster;
use super::reached::Reached;
use crate::apply::{Event, Follow, Progress, is_due};
use crate::control::ControlWriter;
use crate::control::records::{DesiredState, LinkRecord, LockRecord, RECORD_VERSION};
use crate::control::store::ControlState;
use crate::kafka::Topics;
use crate::linking::Configs;
use crate::plan::model::Address;

/// How long to wait for an apply at work; after that the next look tries again.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// What the follower obeys: the control records, and whether this worker is the one to do it.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    pub state: ControlState,
    pub leads: bool,
    /// Held for reading while something is done under the destination's lock: whoever stops waits for it, or the lock would
    /// be left to go stale.
    pub at_work: Arc<RwLock<()>>,
}

/// Follows the links of one destination until it is aborted.
pub async fn run(
    destination: ConnectedCluster,
    clusters: Reached,
    orders: watch::Receiver<Orders>,
    holder: String,
    every: Duration,
) {
    let mut follower = Follower {
        destination,
        clusters,
        holder,
        seen: HashMap::new(),
        synced: HashMap::new(),
        told: HashSet::new(),
        at_work: Arc::default(),
    };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = orders.borrow().clone();
        follower.at_work = Arc::clone(&now.at_work);
        if !now.leads {
            follower.seen.clear();
            continue;
        }
        for link in now.state.links.values() {
            if link.state == DesiredState::Active {
                follower.follow(link, &now.state).await;
            }
        }
    }
}

/// The link's generation and the source's topics with their partition counts.
type Fingerprint = (u64, BTreeMap<String, i32>);

struct Follower {
    destination: ConnectedCluster,
    clusters: Reached,
    /// Who is named to others that wait for the lock.
    holder: String,
    /// What each link was last compared with, so that nothing is described twice for nothing.
    seen: HashMap<Uuid, Fingerprint>,
    /// When the configs of a link's mirrors were last compared.
    synced: HashMap<Uuid, Instant>,
    /// Refusals that were told already.
    told: HashSet<(Uuid, String, String)>,
    at_work: Arc<RwLock<()>>,
}

impl Follower {
    async fn follow(&mut self, link: &LinkRecord, state: &ControlState) {
        let Some(source) = self.clusters.get(&link.source_cluster_id) else {
            return;
        };
        let (Some(topics), Some(mirrors)) =
            (counts(&source).await, counts(&self.destination).await)
        else {
            return;
        };
        let fingerprint = (link.generation, topics);
        let syncs = self.is_sync_due(link, state);
        if self.seen.get(&link.id) == Some(&fingerprint) && !syncs {
            return;
        }
        let source_topics = fingerprint
            .1
            .iter()
            .map(|(topic, count)| (topic.as_str(), *count));
        let due = is_due(link, state, source_topics, |topic| {
            mirrors.get(topic).copied()
        });
        if !(due || syncs) || self.bring_up_to_date(&source, link, state).await {
            self.seen.insert(link.id, fingerprint);
        }
    }

    /// Whether configs of mirrors are to be compared again: links that were made over REST say how often.
    fn is_sync_due(&mut self, link: &LinkRecord, state: &ControlState) -> bool {
        let Some(record) = state.configs.get(&link.id) else {
            return false;
        };
        let every = Configs::sealed(record).config_sync();
        let now = Instant::now();
        match self.synced.get(&link.id) {
            Some(at) if now.duration_since(*at) < every => false,
            _ => {
                self.synced.insert(link.id, now);
                true
            }
        }
    }

    /// Whether there is nothing left to do for what was seen.
    async fn bring_up_to_date(
        &mut self,
        source: &ConnectedCluster,
        link: &LinkRecord,
        state: &ControlState,
    ) -> bool {
        let Some(look) = self.look(source, link).await else {
            return false;
        };
        self.tell_refused(link, &look);
        if !look.has_work() {
            return true;
        }
        match look.is_settled(&source.client).await {
            Ok(true) => {}
            Ok(false) => return false,
            Err(error) => {
                tracing::debug!(link = link.name, %error, "the source's control records cannot be read just now");
                return false;
            }
        }
        let new = look.new_topics();
        let at_work = Arc::clone(&self.at_work);
        let _at_work = at_work.read().await;
        let lock = LockRecord {
            version: RECORD_VERSION,
            holder: self.holder.clone(),
            since_ms: jiff::Timestamp::now().as_millisecond(),
            command: "run".to_owned(),
        };
        let writer =
            match ControlWriter::acquire(&self.destination.client, lock, LOCK_TIMEOUT).await {
                Ok(writer) => writer,
                Err(error) => {
                    tracing::info!(link = link.name, %error, "new topics wait for the lock");
                    return false;
                }
            };
        // Whoever held the lock may have changed what there is to do.
        let Some(mut look) = self.look(source, link).await else {
            give_back(writer).await;
            return false;
        };
        look.keep_new(&new);
        let log = Log { link, state };
        let (outcome, writer) = look
            .carry_out(writer, &log, &CancellationToken::new())
            .await;
        give_back(writer).await;
        outcome.is_complete()
    }

    async fn look(&self, source: &ConnectedCluster, link: &LinkRecord) -> Option<Follow> {
        match Follow::look(&source.client, &self.destination.client, link).await {
            Ok(look) => Some(look),
            Err(error) => {
                tracing::warn!(link = link.name, %error, "the clusters cannot be compared just now");
                None
            }
        }
    }

    fn tell_refused(&mut self, link: &LinkRecord, look: &Follow) {
        for (topic, cause) in look.refused() {
            if self.told.insert((link.id, topic.clone(), cause.clone())) {
                tracing::warn!(
                    link = link.name,
                    topic,
                    cause,
                    "cannot be mirrored as it is"
                );
            }
        }
    }
}

/// Partition counts of all topics, unless the cluster cannot be asked just now.
async fn counts(cluster: &ConnectedCluster) -> Option<BTreeMap<String, i32>> {
    match cluster.client.metadata(Topics::All).await {
        Ok(metadata) => {
            let count = |partitions: usize| i32::try_from(partitions).unwrap_or(i32::MAX);
            let topics = metadata.topics.into_iter();
            Some(
                topics
                    .map(|topic| (topic.name, count(topic.partitions.len())))
                    .collect(),
            )
        }
        Err(error) => {
            tracing::debug!(cluster = cluster.name, %error, "the topics cannot be listed just now");
            None
        }
    }
}

pub(super) async fn give_back(writer: ControlWriter) {
    if let Err(error) = writer.release().await {
        // The lock ages out by itself.
        tracing::warn!(%error, "the lock could not be given back");
    }
}

/// One line for each mirror that was made or grew.
struct Log<'a> {
    link: &'a LinkRecord,
    state: &'a ControlState,
}

impl Progress for Log<'_> {
    fn event(&self, event: Event<'_>) {
        let link = &self.link.name;
        match event {
            Event::Done(Address::Mirror {
                source_topic: topic,
                ..
            }) => {
                let known =
                    self.state.mirrors.values().any(|mirror| {
                        mirror.id.link == self.link.id && mirror.source_topic == *topic
                    });
                if known {
                    tracing::info!(link, topic, "partitions added");
                } else {
                    tracing::info!(link, topic, "topic created");
                }
            }
            Event::Asked(..) | Event::Done(_) => {}
            Event::Failed(address, failure) => {
                tracing::warn!(link, %address, "could not be done: {failure}");
            }
            Event::Skipped(address, because) => {
                tracing::warn!(link, %address, %because, "was skipped");
            }
        }
    }
}
