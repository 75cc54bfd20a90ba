//! What `--until-caught-up` waits for beside this worker's own partitions: those that others carry.
//!
//! A worker that was killed is a member of its group until its session is over, and even gets slots. So nobody counts as a
//! worker because it owns a slot; a partition is copied once its stored position has come to where its source ended. What belonged to a
//! member that is gone becomes this worker's meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Aim, DestinationWorker, Name, Wanted};
use crate::control::ControlError;
use crate::control::progress::{self, Kept};
use crate::control::records::IncarnationId;
use crate::kafka::Client;
use crate::kafka::admin::{OffsetSpec, TopicPartition};
use crate::kafka::fetch::Isolation;
use crate::mirror::io::PartitionKey;

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// After so many of this worker's sessions in which nobody's slots changed, whoever said that a partition failed is taken to be at
/// work.
const SESSIONS_UNCHANGED: u32 = 3;

/// The partitions that other workers carry, as far as they are known.
#[derive(Debug)]
pub(super) struct Elsewhere {
    partitions: BTreeMap<PartitionKey, Standing>,
    /// Since when they have been the same ones.
    since: Instant,
    looking: Option<oneshot::Receiver<Found>>,
    looked: Option<Instant>,
}

/// What is known of one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Standing {
    /// Where its source ended when that was first known. What comes later is not waited for.
    goal: Option<i64>,
    reached: bool,
    failure: Option<String>,
}

/// One look at all of them.
#[derive(Debug, Default)]
struct Found {
    ends: HashMap<PartitionKey, i64>,
    kept: HashMap<(IncarnationId, i32), Kept>,
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self {
            partitions: BTreeMap::new(),
            since: Instant::now(),
            looking: None,
            looked: None,
        }
    }
}

impl Elsewhere {
    /// These are carried elsewhere now.
    fn follow(&mut self, keys: &BTreeSet<PartitionKey>) {
        if self.partitions.keys().eq(keys) {
            return;
        }
        self.since = Instant::now();
        self.partitions.retain(|key, _| keys.contains(key));
        for key in keys {
            self.partitions.entry(*key).or_default();
        }
    }

    fn take_in(&mut self, found: &Found) {
        for (key, standing) in &mut self.partitions {
            let kept = found.kept.get(&(key.id, key.partition));
            standing.take_in(found.ends.get(key).copied(), kept);
        }
    }

    /// Those that failed, once nothing more is to be waited for.
    fn outcome(&self, unchanged: Duration) -> Option<Vec<(PartitionKey, String)>> {
        let lasts = self.since.elapsed() >= unchanged;
        let mut failed = Vec::new();
        for (key, standing) in &self.partitions {
            match &standing.failure {
                Some(failure) if lasts => failed.push((*key, failure.clone())),
                None if standing.reached => {}
                _ => return None,
            }
        }
        Some(failed)
    }
}

impl Standing {
    fn take_in(&mut self, end: Option<i64>, kept: Option<&Kept>) {
        self.goal = self.goal.or(end);
        self.failure = kept.and_then(|kept| Some(kept.failure.as_ref()?.message.clone()));
        let position = kept.and_then(|kept| kept.progress.as_ref()?.record.anchors.last());
        self.reached |= self
            .goal
            .zip(position)
            .is_some_and(|(goal, position)| position.source_offset >= goal);
    }
}

impl DestinationWorker {
    /// Whether all that other workers carry is copied, paused or failed. Looks at it meanwhile.
    pub(super) fn others_are_done(&mut self) -> bool {
        let wanted = self.carried_elsewhere();
        self.elsewhere.follow(&wanted.keys().copied().collect());
        if wanted.is_empty() {
            return true;
        }
        if let Some(looking) = &mut self.elsewhere.looking {
            match looking.try_recv() {
                Ok(found) => self.elsewhere.take_in(&found),
                Err(oneshot::error::TryRecvError::Empty) => return false,
                // It could not be seen; the next look may.
                Err(oneshot::error::TryRecvError::Closed) => {}
            }
            self.elsewhere.looking = None;
        }
        let unchanged = self.options.session_timeout * SESSIONS_UNCHANGED;
        if let Some(failed) = self.elsewhere.outcome(unchanged) {
            for (key, message) in failed {
                let name = Name {
                    link: wanted[&key].link.clone(),
                    topic: wanted[&key].destination_topic.clone(),
                    partition: key.partition,
                };
                self.figures.of(name).set_failed(message);
            }
            return true;
        }
        match self.elsewhere.looked {
            Some(looked) if looked.elapsed() < LOOK_AGAIN => {}
            looked => {
                if looked.is_none() {
                    tracing::info!(
                        cluster = self.cluster.name,
                        partitions = wanted.len(),
                        "waiting for what other workers carry"
                    );
                }
                self.elsewhere.looked = Some(Instant::now());
                self.look_elsewhere(wanted);
            }
        }
        false
    }

    fn carried_elsewhere(&self) -> BTreeMap<PartitionKey, Wanted> {
        let mut wanted = self.wanted();
        wanted.retain(|key, wanted| {
            !self.is_mine(key)
                && !self.has_drained(key)
                && wanted.aim != Aim::Rest
                && self.clusters.has(&wanted.source_cluster_id)
        });
        wanted
    }

    fn look_elsewhere(&mut self, wanted: BTreeMap<PartitionKey, Wanted>) {
        let mut sources: HashMap<String, Asked> = HashMap::new();
        let ids: HashSet<IncarnationId> = wanted.keys().map(|key| key.id).collect();
        for (key, wanted) in wanted {
            if let Some(source) = self.clusters.get(&wanted.source_cluster_id) {
                let asked = sources.entry(wanted.source_cluster_id);
                let asked = asked.or_insert_with(|| (source.client.clone(), HashMap::new()));
                let mirrored = asked.1.entry((wanted.source_topic, key.partition));
                mirrored.or_default().push(key);
            }
        }
        let destination = self.cluster.client.clone();
        let (sender, receiver) = oneshot::channel();
        self.elsewhere.looking = Some(receiver);
        tokio::spawn(async move {
            match look(&destination, sources.into_values(), &ids).await {
                Ok(found) => {
                    // A worker that has ended needs no answer.
                    let _gone = sender.send(found);
                }
                Err(error) => {
                    tracing::debug!(%error, "what other workers have stored cannot be read just now");
                }
            }
        });
    }
}

/// One source, and what mirrors each of its partitions.
type Asked = (Client, HashMap<TopicPartition, Vec<PartitionKey>>);

async fn look(
    destination: &Client,
    sources: impl Iterator<Item = Asked>,
    ids: &HashSet<IncarnationId>,
) -> Result<Found, ControlError> {
    let asking = sources.map(|(client, mirrored)| async move {
        let asked = mirrored.keys().cloned();
        let asked = asked.map(|(topic, partition)| (topic, partition, OffsetSpec::Latest));
        let admin = client.admin();
        let found = admin.list_offsets(asked.collect(), Isolation::ReadCommitted);
        let ends = found.await.into_iter().filter_map(|(place, listed)| {
            let (keys, end) = (mirrored.get(&place)?, listed.ok()?.offset);
            Some(keys.iter().map(move |key| (*key, end)).collect::<Vec<_>>())
        });
        ends.flatten().collect::<Vec<_>>()
    });
    let ends = futures::future::join_all(asking).await;
    Ok(Found {
        ends: ends.into_iter().flatten().collect(),
        kept: progress::read(destination, ids).await?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::progress::Stored;
    use crate::control::records::{
        Alignment, Anchor, FailureCause, FailureRecord, ProgressRecord, RECORD_VERSION,
    };
    use uuid::Uuid;

    const UNCHANGED: Duration = Duration::from_secs(30);

    fn key(partition: i32) -> PartitionKey {
        let id = IncarnationId {
            link: Uuid::from_u128(1),
            source_topic: Uuid::from_u128(2),
            destination_topic: Uuid::from_u128(3),
        };
        PartitionKey { id, partition }
    }

    fn keys(partitions: impl IntoIterator<Item = i32>) -> BTreeSet<PartitionKey> {
        partitions.into_iter().map(key).collect()
    }

    fn stored(source_offset: i64) -> Kept {
        let anchor = Anchor {
            source_offset,
            source_leader_epoch: -1,
            destination_offset: 0,
            count: 0,
            epoch: 0,
        };
        let record = ProgressRecord {
            version: RECORD_VERSION,
            anchors: vec![anchor],
            map_chunk: 0,
            alignment: Alignment::default(),
            pads_by_transactions: false,
            destination_leader_epoch: -1,
        };
        Kept {
            progress: Some(Stored {
                record,
                chunks: HashMap::new(),
            }),
            ..Kept::default()
        }
    }

    fn failed(kept: Kept) -> Kept {
        let failure = FailureRecord {
            version: RECORD_VERSION,
            cause: FailureCause::Other,
            message: "it is broken".to_owned(),
            source_offset: None,
            destination_offset: None,
            since_ms: 0,
            is_retried: false,
        };
        Kept {
            failure: Some(failure),
            ..kept
        }
    }

    /// Partition, end of the source, what is stored.
    fn found(seen: impl IntoIterator<Item = (i32, i64, Kept)>) -> Found {
        let mut found = Found::default();
        for (partition, end, kept) in seen {
            found.ends.insert(key(partition), end);
            found.kept.insert((key(partition).id, partition), kept);
        }
        found
    }

    /// What a worker that was killed left behind would be missing for good once this one ended with "caught up".
    #[tokio::test(start_paused = true)]
    async fn all_that_others_carry_has_to_come_to_where_its_source_ended() {
        let mut elsewhere = Elsewhere::default();
        elsewhere.follow(&keys([0, 1]));
        assert_eq!(elsewhere.outcome(UNCHANGED), None, "nobody has looked");
        elsewhere.take_in(&found([(0, 10, stored(10)), (1, 0, stored(0))]));
        assert_eq!(elsewhere.outcome(UNCHANGED), Some(vec![]));

        elsewhere.follow(&keys([0, 1, 2]));
        elsewhere.take_in(&found([(2, 10, Kept::default())]));
        assert_eq!(elsewhere.outcome(UNCHANGED), None, "nobody has begun it");
        tokio::time::advance(10 * UNCHANGED).await;
        elsewhere.take_in(&found([(2, 20, stored(9))]));
        assert_eq!(elsewhere.outcome(UNCHANGED), None, "one is missing");
        // It is written to all the time, and was caught up in between.
        elsewhere.take_in(&found([(2, 30, stored(10))]));
        assert_eq!(elsewhere.outcome(UNCHANGED), Some(vec![]));

        elsewhere.follow(&keys([3]));
        elsewhere.take_in(&Found::default());
        assert_eq!(elsewhere.outcome(UNCHANGED), None, "its source is silent");
        elsewhere.follow(&keys([]));
        assert_eq!(elsewhere.outcome(UNCHANGED), Some(vec![]), "it came here");
    }

    /// A failure that a dead worker left behind may be gone once this one tries; one that lasts is told instead of waited for.
    #[tokio::test(start_paused = true)]
    async fn a_failure_counts_once_it_is_somebodys_at_work() {
        let mut elsewhere = Elsewhere::default();
        elsewhere.follow(&keys([0, 1]));
        let seen = found([(0, 10, failed(stored(10))), (1, 10, stored(10))]);
        elsewhere.take_in(&seen);
        assert_eq!(elsewhere.outcome(UNCHANGED), None);
        tokio::time::advance(UNCHANGED).await;
        elsewhere.follow(&keys([0, 1]));
        let told = vec![(key(0), "it is broken".to_owned())];
        assert_eq!(elsewhere.outcome(UNCHANGED), Some(told));
        elsewhere.take_in(&found([(0, 10, stored(10))]));
        assert_eq!(elsewhere.outcome(UNCHANGED), Some(vec![]), "it works again");
        elsewhere.take_in(&seen);
        elsewhere.follow(&keys([0]));
        assert_eq!(elsewhere.outcome(UNCHANGED), None, "the group changes");
    }
}
