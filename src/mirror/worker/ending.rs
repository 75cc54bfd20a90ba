//! How mirrors end: what each worker does for its partitions, and the one that puts together what all of them did.
//!
//! Who owns a partition of a mirror that is promoted copies what the source has; who owns one that is failed over only stops.
//! Either then fences the partition ([`crate::mirror::io::fence`]) and stores that beside its progress. The owner of slot 0
//! looks whether all partitions of a mirror are done, and says in `_kmirror.links` that it has stopped. Each step is stored
//! before the next one begins, so that whoever takes over goes on from there.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::ConnectedCluster;
use super::follow::{Orders, give_back};
use crate::control::progress::{self, Ends};
use crate::control::records::{
    EndedPartition, EndingKind, IncarnationId, LinkRecord, LockRecord, MirrorRecord,
    PartitionEndRecord, RECORD_VERSION,
};
use crate::control::store::ControlState;
use crate::control::{ControlError, ControlWriter, Write};
use crate::kafka::admin::ProducerIdentity;
use crate::kafka::{Client, Topics};
use crate::mirror::io::PartitionKey;
use crate::mirror::io::fence::Ending;

/// How often it is looked whether all partitions of a mirror are done.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long to wait for an apply at work; after that the next look tries again.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// What a worker knows of the ends of its partitions.
#[derive(Debug, Default)]
pub struct Steps {
    known: HashMap<PartitionKey, PartitionEndRecord>,
    /// Partitions that have copied everything, by the request's generation.
    drained: HashSet<(PartitionKey, u64)>,
    /// Requests for which it was looked what is stored.
    read: HashSet<(IncarnationId, u64)>,
    /// Somebody is at it.
    fencing: HashSet<PartitionKey>,
}

impl Steps {
    /// Somebody else may have owned partitions since.
    pub fn forget(&mut self) {
        self.read.clear();
    }

    /// Reads what is stored of mirrors whose end was asked for since the last time.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn read(
        &mut self,
        client: &Client,
        state: &ControlState,
    ) -> Result<(), ControlError> {
        let new: HashSet<(IncarnationId, u64)> = state
            .mirrors
            .values()
            .filter_map(|mirror| Some((mirror.id, mirror.pending()?.generation)))
            .filter(|asked| !self.read.contains(asked))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let kept = progress::read(client, &new.iter().map(|(id, _)| *id).collect()).await?;
        for ((id, partition), kept) in kept {
            if let Some(end) = kept.end {
                self.known.insert(PartitionKey { id, partition }, end);
            }
        }
        self.read.extend(new);
        Ok(())
    }

    /// Everything that was to be copied is.
    pub fn note_drained(&mut self, key: PartitionKey, generation: u64) {
        self.drained.insert((key, generation));
    }

    pub fn note_begun(&mut self, endings: &[Ending]) {
        self.fencing.extend(endings.iter().map(|ending| ending.key));
    }

    /// What was tried has come to an end, with these partitions done.
    pub fn note_ended(
        &mut self,
        tried: &[PartitionKey],
        ended: Vec<(PartitionKey, PartitionEndRecord)>,
    ) {
        for key in tried {
            self.fencing.remove(key);
        }
        self.known.extend(ended);
    }

    /// Whether nothing is left to copy of a partition for this request.
    pub fn is_drained(&self, key: &PartitionKey, generation: u64) -> bool {
        self.drained.contains(&(*key, generation))
            || self
                .known
                .get(key)
                .is_some_and(|end| end.generation == generation)
    }

    pub fn is_fenced(&self, key: &PartitionKey, generation: u64) -> bool {
        self.known
            .get(key)
            .is_some_and(|end| end.generation == generation && end.fence.is_some())
    }

    /// The partitions that are to be fenced now. `counts` says how many partitions the source and the mirror topic have, `may`
    /// whether a partition is this worker's and does not run here.
    pub fn due(
        &self,
        state: &ControlState,
        counts: impl Fn(&LinkRecord, &MirrorRecord) -> [Option<i32>; 2],
        may: impl Fn(&PartitionKey) -> bool,
    ) -> Vec<Ending> {
        let mut due = Vec::new();
        for mirror in state.mirrors.values() {
            let (Some(ending), Some(link)) = (mirror.pending(), state.links.get(&mirror.id.link))
            else {
                continue;
            };
            if ending.waits_for_source() {
                continue;
            }
            let [source, destination] = counts(link, mirror);
            for partition in 0..destination.unwrap_or(0) {
                let key = PartitionKey {
                    id: mirror.id,
                    partition,
                };
                let is_ready = match ending.kind {
                    EndingKind::FailOver => true,
                    // Nothing can be copied into a partition that the source does not have.
                    EndingKind::Promote => {
                        self.is_drained(&key, ending.generation)
                            || source.is_some_and(|source| partition >= source)
                    }
                };
                let is_known = self.read.contains(&(mirror.id, ending.generation));
                if is_ready
                    && is_known
                    && !self.is_fenced(&key, ending.generation)
                    && !self.fencing.contains(&key)
                    && may(&key)
                {
                    due.push(Ending {
                        key,
                        topic: mirror.destination_topic.clone(),
                        producer: ProducerIdentity {
                            id: mirror.producer_id,
                            epoch: mirror.producer_epoch,
                        },
                        kind: ending.kind,
                        generation: ending.generation,
                    });
                }
            }
        }
        due
    }
}

/// The mirrors whose partitions are all done, as they are to be recorded, but for those that are reversed. `partitions` says how many a
/// mirror topic has.
fn stopped<'e>(
    state: &ControlState,
    partitions: impl Fn(&MirrorRecord) -> Option<i32>,
    end: impl Fn(IncarnationId, i32) -> Option<&'e PartitionEndRecord>,
    now_ms: i64,
) -> Vec<MirrorRecord> {
    let pending = state.mirrors.values().filter(|mirror| {
        let pending = mirror.pending();
        pending.is_some_and(|ending| ending.reversal.is_none())
    });
    let stopped = pending.filter_map(|mirror| {
        let count = partitions(mirror)?;
        ended(mirror, count, |partition| end(mirror.id, partition), now_ms)
    });
    stopped.collect()
}

/// A mirror as it is to be recorded once its partitions are all done, if they are.
pub(super) fn ended<'e>(
    mirror: &MirrorRecord,
    partitions: i32,
    end: impl Fn(i32) -> Option<&'e PartitionEndRecord>,
    now_ms: i64,
) -> Option<MirrorRecord> {
    let generation = mirror.pending()?.generation;
    let ended: Option<Vec<EndedPartition>> = (0..partitions)
        .map(|partition| {
            let end = end(partition)?;
            let fence = end.fence.filter(|_| end.generation == generation)?;
            Some(EndedPartition {
                partition,
                source_offset: end.source_offset,
                destination_offset: end.destination_offset,
                fence,
            })
        })
        .collect();
    let partitions = ended.filter(|ended| !ended.is_empty())?;
    let mut mirror = mirror.clone();
    mirror.generation += 1;
    if let Some(ending) = &mut mirror.ending {
        ending.partitions = partitions;
        ending.stopped_ms = Some(now_ms);
    }
    Some(mirror)
}

/// Says of mirrors that they have stopped, as soon as they have, until it is aborted.
pub async fn run(destination: ConnectedCluster, orders: watch::Receiver<Orders>, holder: String) {
    let mut ends = None;
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = orders.borrow().clone();
        let is_pending = now.state.mirrors.values().any(|it| it.pending().is_some());
        if !now.leads || !is_pending {
            ends = None;
            continue;
        }
        let ends = ends.get_or_insert_with(|| Ends::new(&destination.client));
        let _at_work = now.at_work.read().await;
        if let Err(error) = finish(&destination, &now.state, ends, &holder).await {
            tracing::debug!(cluster = destination.name, %error, "mirrors that end cannot be looked at just now");
        }
    }
}

async fn finish(
    destination: &ConnectedCluster,
    state: &ControlState,
    ends: &mut Ends,
    holder: &str,
) -> Result<(), ControlError> {
    ends.catch_up().await?;
    let pending = state.mirrors.values().filter(|it| it.pending().is_some());
    let names: Vec<String> = pending.map(|it| it.destination_topic.clone()).collect();
    let metadata = destination.client.metadata(Topics::Named(&names)).await?;
    let partitions = |mirror: &MirrorRecord| {
        let topic = metadata.topic(&mirror.destination_topic)?;
        i32::try_from(topic.partitions.len()).ok()
    };
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let of = |state: &ControlState| stopped(state, partitions, |id, at| ends.of(id, at), now_ms);
    if of(state).is_empty() {
        return Ok(());
    }
    let lock = LockRecord {
        version: RECORD_VERSION,
        holder: holder.to_owned(),
        since_ms: now_ms,
        command: "run".to_owned(),
    };
    let mut writer = match ControlWriter::acquire(&destination.client, lock, LOCK_TIMEOUT).await {
        Ok(writer) => writer,
        Err(error) => {
            tracing::info!(cluster = destination.name, %error, "mirrors that have ended wait for the lock");
            return Ok(());
        }
    };
    // Whoever held the lock may have asked for something else.
    let stopped = of(writer.state());
    let written = match stopped.is_empty() {
        true => Ok(()),
        false => {
            let writes = stopped.iter().cloned().map(Write::Mirror);
            writer.commit(writes.collect()).await
        }
    };
    give_back(writer).await;
    written?;
    for mirror in stopped {
        let ending = mirror.ending.as_ref();
        let topic = mirror.destination_topic;
        match ending.is_some_and(|ending| ending.is_unfenced()) {
            false => tracing::info!(topic, "STOPPED: the mirror topic is an ordinary one now"),
            true => tracing::warn!(
                topic,
                "STOPPED without a fence, for want of the right to write control markers: the mirror topic is an ordinary one now"
            ),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::control::records::{
        DesiredState, EndingRecord, Fence, OffsetsSpec, Owner, StartSpec, TimestampsSpec,
    };
    use crate::topology::selector::RenameRule;

    fn id() -> IncarnationId {
        IncarnationId {
            link: Uuid::from_u128(1),
            source_topic: Uuid::from_u128(2),
            destination_topic: Uuid::from_u128(3),
        }
    }

    fn key(partition: i32) -> PartitionKey {
        PartitionKey {
            id: id(),
            partition,
        }
    }

    fn asked_for(kind: EndingKind, generation: u64) -> ControlState {
        let mut state = ControlState::default();
        state.links.insert(
            id().link,
            LinkRecord {
                version: RECORD_VERSION,
                id: id().link,
                name: "l".to_owned(),
                owner: Owner::File,
                source_cluster_id: "east".to_owned(),
                destination_cluster_id: "west".to_owned(),
                topics: Vec::new(),
                exclude: Vec::new(),
                rename: RenameRule::Keep,
                auto_create: true,
                start: StartSpec::Earliest,
                timestamps: TimestampsSpec::AsConsumed,
                offsets: OffsetsSpec::Translate,
                replication_factor: None,
                bytes_per_second: None,
                acks: Default::default(),
                on_foreign_write: Default::default(),
                provenance_header: false,
                state: DesiredState::Paused,
                mirrors: Default::default(),
                generation: 1,
            },
        );
        state.mirrors.insert(
            id(),
            MirrorRecord {
                version: RECORD_VERSION,
                id: id(),
                source_topic: "t".to_owned(),
                destination_topic: "t.replica".to_owned(),
                producer_id: 4711,
                producer_epoch: 0,
                provenance_header: false,
                state: DesiredState::Active,
                initial_partitions: 3,
                generation,
                ending: Some(EndingRecord {
                    kind,
                    generation,
                    requested_ms: 1,
                    partitions: Vec::new(),
                    stopped_ms: None,
                    reversal: None,
                }),
                takes_over: None,
            },
        );
        state
    }

    fn end(generation: u64, fence: Option<Fence>) -> PartitionEndRecord {
        PartitionEndRecord {
            version: 2,
            generation,
            source_offset: 7,
            destination_offset: 5,
            fence,
            at_ms: 9,
        }
    }

    fn looked(state: &ControlState) -> Steps {
        let mut steps = Steps::default();
        let generation = state.mirrors[&id()].generation;
        steps.read.insert((id(), generation));
        steps
    }

    fn due(steps: &Steps, state: &ControlState) -> Vec<i32> {
        let due = steps.due(state, |_, _| [Some(2), Some(3)], |_| true);
        due.into_iter().map(|it| it.key.partition).collect()
    }

    #[test]
    fn a_failover_fences_at_once_and_a_promotion_only_what_is_copied() {
        let state = asked_for(EndingKind::FailOver, 4);
        assert_eq!(due(&looked(&state), &state), [0, 1, 2]);
        // What is stored was not looked at: a partition may be fenced already.
        assert_eq!(due(&Steps::default(), &state), [0; 0]);
        let state = asked_for(EndingKind::Promote, 4);
        let mut steps = looked(&state);
        assert_eq!(
            due(&steps, &state),
            [2],
            "the source has no third partition"
        );
        steps.note_drained(key(1), 4);
        assert_eq!(due(&steps, &state), [1, 2]);
    }

    #[test]
    fn what_another_worker_did_is_not_done_again() {
        let state = asked_for(EndingKind::Promote, 4);
        let mut steps = looked(&state);
        steps.known.insert(key(0), end(4, Some(Fence::Marker)));
        steps.known.insert(key(1), end(4, None));
        assert_eq!(due(&steps, &state), [1, 2]);
        assert!(steps.is_drained(&key(1), 4), "without the source");
        steps.note_begun(&steps.due(&state, |_, _| [Some(2), Some(3)], |_| true));
        assert_eq!(due(&steps, &state), [0; 0]);
        steps.note_ended(
            &[key(1), key(2)],
            vec![(key(1), end(4, Some(Fence::Waited)))],
        );
        assert_eq!(
            due(&steps, &state),
            [2],
            "what did not succeed is tried again"
        );
    }

    /// A failover may follow a promotion whose source died; partitions that answered that one answer again.
    #[test]
    fn answers_to_a_former_request_do_not_count() {
        let state = asked_for(EndingKind::FailOver, 5);
        let mut steps = looked(&state);
        steps.known.insert(key(0), end(4, Some(Fence::Marker)));
        assert_eq!(due(&steps, &state), [0, 1, 2]);
        let old = end(4, Some(Fence::Marker));
        assert!(stopped(&state, |_| Some(1), |_, _| Some(&old), 10).is_empty());
    }

    #[test]
    fn a_mirror_has_stopped_when_its_last_partition_is_fenced() {
        let state = asked_for(EndingKind::Promote, 4);
        let (fenced, drained) = (end(4, Some(Fence::Marker)), end(4, None));
        let but_one = |_, at| Some(if at == 2 { &drained } else { &fenced });
        assert!(stopped(&state, |_| Some(3), but_one, 10).is_empty());
        assert!(stopped(&state, |_| None, |_, _| Some(&fenced), 10).is_empty());
        let stopped = stopped(&state, |_| Some(3), |_, _| Some(&fenced), 10);
        let [mirror] = stopped.as_slice() else {
            panic!("{stopped:?}");
        };
        let ending = mirror.ending.as_ref().expect("it ended");
        assert!(mirror.is_stopped() && mirror.generation == 5);
        assert_eq!((ending.stopped_ms, ending.partitions.len()), (Some(10), 3));
        assert_eq!(ending.partitions[2].source_offset, 7);
    }
}
