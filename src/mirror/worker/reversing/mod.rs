//! Mirrors that are reversed: one direction ends, and the other one begins where both logs are the same.
//!
//! The owner of slot 0 of the mirror's link does it, with the connections to both clusters that the link has anyway. Each step is recorded
//! before the next one, on the cluster that it is about, so that whoever takes over goes on from there:
//!
//! 1. A mirror in the other direction, which waits, is recorded on the other cluster. The mirror goes on copying.
//! 2. When everything is copied and the source has stood still for a while, the mirror is let end as a promoted one does: each owner copies what
//!    may have come since, and fences its partitions ([`super::ending`]).
//! 3. Then the former source is looked at once more. Where it ends where the mirror ended, the first positions of the mirror in the other
//!    direction are stored there, and it begins. Where somebody has written in between, it does not, and says what the former source alone holds.
//! 4. The mirror is recorded as stopped.
//!
//! Nothing keeps producers from writing to the former source between 3 and the first look of the mirror in the other direction, or after
//! that. That is a foreign write, which stops that mirror as it does any other.

mod decide;
mod look;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::ConnectedCluster;
use super::ending;
use super::follow::{Orders, give_back};
use super::lease::Lease;
use super::reached::Reached;
use crate::control::progress::{self, Ends, Entry, Kept};
use crate::control::records::{
    IncarnationId, LockRecord, MirrorRecord, OffsetsKey, ProgressRecord, RECORD_VERSION,
    TakeOverStage,
};
use crate::control::{self, ControlError, ControlState, ControlWriter, LockError, Write};
use crate::kafka::{Client, TopicMetadata};
use decide::{Other, PartitionSeen, Reversed, Verdict};
use look::{copied, settled_ends, stamps_records, topic};

/// How often it is looked how far reversals have come.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the source has to stand still before its mirror is ended.
const STANDS_STILL: Duration = Duration::from_secs(2);
/// How long something is waited for before people are told of it.
const UNTOLD: Duration = Duration::from_secs(6);
/// How long before they are told what it is by now.
const TOLD_AGAIN: Duration = Duration::from_secs(30);
/// How long to wait for somebody else at work; after that the next look tries again.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// A mirror, and the request to reverse it.
type Request = (IncarnationId, u64);

/// What became of a step.
enum Step {
    /// The next one can be taken.
    Done,
    /// It is waited for something that passes, or that a person has to mend.
    Waits(String),
}

/// Why a step was not taken just now.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Control(ControlError),
    #[error("{0}")]
    Lock(LockError),
    #[error("this worker's membership is unconfirmed")]
    Unconfirmed,
}

impl<E: Into<ControlError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Control(error.into())
    }
}

/// What this worker remembers of a reversal between looks.
#[derive(Debug)]
struct Progress {
    /// The other cluster has a mirror that waits.
    is_prepared: bool,
    /// Where all partitions end, and since when.
    stands: Option<(Vec<i64>, Instant)>,
    /// What is waited for, and since when.
    waits: Option<(String, Instant)>,
}

/// Reverses mirrors for which that was asked, until it is aborted.
pub async fn run(
    destination: ConnectedCluster,
    clusters: Reached,
    orders: watch::Receiver<Orders>,
    holder: String,
    lease: Arc<Lease>,
) {
    let mut reverser = Reverser {
        destination,
        clusters,
        holder,
        lease,
        ends: None,
        progress: HashMap::new(),
    };
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = orders.borrow().clone();
        let pending = requests(&now.state);
        if !now.leads || pending.is_empty() {
            reverser.progress.clear();
            reverser.ends = None;
            continue;
        }
        let known: HashSet<Request> = pending.iter().copied().collect();
        reverser
            .progress
            .retain(|request, _| known.contains(request));
        let _at_work = now.at_work.read().await;
        for request in pending {
            reverser.look_at(&now.state, request).await;
        }
    }
}

fn requests(state: &ControlState) -> Vec<Request> {
    let mirrors = state.mirrors.values();
    let pending = mirrors.filter_map(|mirror| {
        let ending = mirror.pending().filter(|it| it.reversal.is_some())?;
        Some((mirror.id, ending.generation))
    });
    pending.collect()
}

/// The mirror that is reversed, as it is recorded.
fn reversed(state: &ControlState, (id, generation): Request) -> Option<Reversed<'_>> {
    let mirror = state.mirrors.get(&id)?;
    let ending = mirror.pending()?;
    Some(Reversed {
        link: state.links.get(&id.link)?,
        mirror,
        reversal: ending.reversal.as_ref()?,
        generation,
    })
    .filter(|_| ending.generation == generation)
}

struct Reverser {
    destination: ConnectedCluster,
    clusters: Reached,
    /// Who is named to others that wait for the lock.
    holder: String,
    lease: Arc<Lease>,
    ends: Option<Ends>,
    progress: HashMap<Request, Progress>,
}

impl Reverser {
    async fn look_at(&mut self, state: &ControlState, request: Request) {
        let Some(found) = reversed(state, request) else {
            return;
        };
        // Whoever only stands in for a failover has no way to the source.
        let Some(source) = self.clusters.get(&found.link.source_cluster_id) else {
            return;
        };
        let source = source.client.clone();
        let step = match found.reversal.is_agreed {
            false => self.agree(&source, found, request).await,
            true => self.turn(&source, found, request).await,
        };
        let waits = match step {
            Ok(Step::Done) => None,
            Ok(Step::Waits(words)) => Some(words),
            Err(trouble) => Some(trouble.to_string()),
        };
        let Some(words) = waits else {
            self.progress_of(request).waits = None;
            return;
        };
        self.tell(found, request, words).await;
    }

    fn progress_of(&mut self, request: Request) -> &mut Progress {
        self.progress.entry(request).or_insert(Progress {
            is_prepared: false,
            stands: None,
            waits: None,
        })
    }

    /// Records what is waited for, once that lasts.
    async fn tell(&mut self, found: Reversed<'_>, request: Request, words: String) {
        let waits = &mut self.progress_of(request).waits;
        let since = waits.get_or_insert_with(|| (words.clone(), Instant::now()));
        since.0.clone_from(&words);
        let patience = match found.reversal.trouble {
            None => UNTOLD,
            Some(_) => TOLD_AGAIN,
        };
        if since.1.elapsed() < patience || found.reversal.trouble.as_ref() == Some(&words) {
            return;
        }
        since.1 = Instant::now();
        tracing::warn!(
            link = found.link.name,
            topic = found.mirror.destination_topic,
            "the mirror is not reversed yet: {words}"
        );
        let told = self.amend(request, |mirror| {
            let reversal = mirror.ending.as_mut().and_then(|it| it.reversal.as_mut());
            if let Some(reversal) = reversal {
                reversal.trouble = Some(words);
            }
        });
        if let Err(error) = told.await {
            tracing::debug!(%error, "what a reversal waits for is not recorded just now");
        }
    }

    /// Prepares the other cluster, and lets the mirror end once everything is copied and nothing more comes.
    async fn agree(
        &mut self,
        source: &Client,
        found: Reversed<'_>,
        request: Request,
    ) -> Result<Step, Trouble> {
        let partitions = match self.partitions(source, found).await? {
            Ok(partitions) => partitions,
            Err(words) => return Ok(Step::Waits(words)),
        };
        if !self.progress_of(request).is_prepared {
            if let Err(words) = self.prepare(source, found, partitions).await? {
                return Ok(Step::Waits(words));
            }
            self.progress_of(request).is_prepared = true;
        }
        let seen = self.seen(source, found, partitions).await?;
        let ends = match decide::standstill(&seen) {
            Ok(ends) => ends,
            Err(waits) => {
                self.progress_of(request).stands = None;
                return Ok(Step::Waits(waits.to_string()));
            }
        };
        let stands = &mut self.progress_of(request).stands;
        match stands {
            Some((before, since)) if *before == ends => {
                if since.elapsed() < STANDS_STILL {
                    return Ok(Step::Done);
                }
            }
            _ => {
                *stands = Some((ends, Instant::now()));
                return Ok(Step::Done);
            }
        }
        self.amend(request, |mirror| {
            let reversal = mirror.ending.as_mut().and_then(|it| it.reversal.as_mut());
            if let Some(reversal) = reversal {
                reversal.is_agreed = true;
                reversal.trouble = None;
            }
        })
        .await?;
        Ok(Step::Done)
    }

    /// How many partitions both topics have.
    async fn partitions(
        &self,
        source: &Client,
        found: Reversed<'_>,
    ) -> Result<Result<i32, String>, Trouble> {
        let mirror = found.mirror;
        let (there, here) = futures::try_join!(
            topic(source, &mirror.source_topic),
            topic(&self.destination.client, &mirror.destination_topic),
        )?;
        if mirror.id.source_topic.is_nil() || mirror.id.destination_topic.is_nil() {
            let words = "brokers from before Kafka 2.8 know no topic ids, by which reversed mirrors are told apart";
            return Ok(Err(words.to_owned()));
        }
        let is = |found: &Option<TopicMetadata>, id: uuid::Uuid| {
            found
                .as_ref()
                .is_some_and(|it| it.id == id || it.id.is_nil() || id.is_nil())
        };
        if !is(&there, mirror.id.source_topic) || !is(&here, mirror.id.destination_topic) {
            let words = "one of the two topics is gone, or was made anew: nothing can be reversed";
            return Ok(Err(words.to_owned()));
        }
        let count = |topic: Option<TopicMetadata>| topic.map_or(0, |it| it.partitions.len());
        let (there, here) = (count(there), count(here));
        if there != here {
            return Ok(Err(format!(
                "the source topic has {there} partitions and the mirror topic {here}: the reversal waits until they have as many"
            )));
        }
        Ok(Ok(i32::try_from(here).unwrap_or(i32::MAX)))
    }

    /// Records the mirror in the other direction, which waits.
    async fn prepare(
        &self,
        source: &Client,
        found: Reversed<'_>,
        partitions: i32,
    ) -> Result<Result<(), String>, Trouble> {
        let remote = control::read(source).await?.unwrap_or_default();
        match decide::is_prepared(&remote, found) {
            Ok(true) => return Ok(Ok(())),
            Ok(false) => {}
            Err(words) => return Ok(Err(words)),
        }
        if stamps_records(source, &found.mirror.source_topic).await? {
            return Ok(Err(format!(
                "the source topic {} has message.timestamp.type=LogAppendTime, and would give records that come back other times: set it to \
                 CreateTime",
                found.mirror.source_topic
            )));
        }
        let producer = source.admin().init_producer_id(None, 0).await?;
        let mut writer = self.lock(source).await?;
        let writes = decide::prepare(writer.state(), found, partitions, producer);
        let written = match writes {
            Ok(writes) => writer.commit(writes).await.map(Ok),
            Err(words) => Ok(Err(words)),
        };
        give_back(writer).await;
        Ok(written?)
    }

    async fn seen(
        &self,
        source: &Client,
        found: Reversed<'_>,
        partitions: i32,
    ) -> Result<Vec<PartitionSeen>, Trouble> {
        let mirror = found.mirror;
        let ids = HashSet::from([mirror.id]);
        let kept = progress::read(&self.destination.client, &ids).await?;
        let (there, here) = futures::join!(
            settled_ends(source, &mirror.source_topic, partitions),
            settled_ends(
                &self.destination.client,
                &mirror.destination_topic,
                partitions
            ),
        );
        let seen = (0..partitions).zip(there).zip(here);
        let seen = seen.map(|((partition, source), destination)| {
            let kept = kept.get(&(mirror.id, partition));
            PartitionSeen {
                source,
                destination,
                copied: kept.and_then(copied),
                has_failed: kept.is_some_and(|kept| kept.failure.is_some()),
            }
        });
        Ok(seen.collect())
    }

    /// Once all partitions are fenced: has the mirror in the other direction begin, or not, and the mirror stopped.
    async fn turn(
        &mut self,
        source: &Client,
        found: Reversed<'_>,
        request: Request,
    ) -> Result<Step, Trouble> {
        let Some(ended) = self.ended(found).await? else {
            return Ok(Step::Waits(
                "partitions of the mirror are not fenced yet".to_owned(),
            ));
        };
        let remote = control::read(source).await?.unwrap_or_default();
        let outcome = match decide::other_mirror(&remote, found) {
            Other::Begun => Ok(()),
            Other::None(words) => Err(words),
            Other::Waiting(other) => {
                match self
                    .take_over(source, &ended, &other, found.generation)
                    .await?
                {
                    Ok(outcome) => outcome,
                    Err(waits) => return Ok(Step::Waits(waits)),
                }
            }
        };
        let trouble = outcome.clone().err();
        let is_written = self.amend(request, |mirror| {
            mirror.ending.clone_from(&ended.ending);
            let reversal = mirror.ending.as_mut().and_then(|it| it.reversal.as_mut());
            if let Some(reversal) = reversal {
                reversal.trouble = trouble;
            }
        });
        if is_written.await? {
            let (link, topic) = (&found.link.name, &found.mirror.destination_topic);
            match outcome {
                Ok(()) => tracing::info!(link, topic, "STOPPED: the mirror is reversed"),
                Err(words) => tracing::error!(
                    link,
                    topic,
                    "STOPPED, and there is no mirror in the other direction: {words}"
                ),
            }
        }
        Ok(Step::Done)
    }

    /// The mirror with all that its partitions say of their ends, if all of them do.
    async fn ended(&mut self, found: Reversed<'_>) -> Result<Option<MirrorRecord>, Trouble> {
        let destination = &self.destination.client;
        let ends = self.ends.get_or_insert_with(|| Ends::new(destination));
        ends.catch_up().await?;
        let mirror = found.mirror;
        let topic = topic(destination, &mirror.destination_topic).await?;
        let count = topic.map_or(0, |topic| topic.partitions.len());
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let end = |partition| ends.of(mirror.id, partition);
        Ok(ending::ended(mirror, count, end, now_ms))
    }

    /// Says on the other cluster whether the mirror there takes over. The outer error is what is waited for.
    async fn take_over(
        &self,
        source: &Client,
        ended: &MirrorRecord,
        other: &MirrorRecord,
        generation: u64,
    ) -> Result<Result<Result<(), String>, String>, Trouble> {
        let partitions = ended.ending.iter().flat_map(|it| it.partitions.clone());
        let partitions: Vec<_> = partitions.collect();
        let there = topic(source, &other.destination_topic).await?;
        let count = there.map_or(0, |topic| topic.partitions.len());
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let ends = settled_ends(source, &other.destination_topic, count).await;
        let (agreed, outcome) = match decide::compare(&partitions, &ends) {
            Verdict::Unsettled(waits) => return Ok(Err(waits.to_string())),
            Verdict::Agrees(ends) => (ends, Ok(())),
            Verdict::Parted(message) => (Vec::new(), Err(message)),
        };
        let mut writer = self.lock(source).await?;
        let written = self
            .begin(source, &mut writer, other, generation, &agreed, &outcome)
            .await;
        give_back(writer).await;
        written?;
        Ok(Ok(outcome))
    }

    async fn begin(
        &self,
        source: &Client,
        writer: &mut ControlWriter,
        other: &MirrorRecord,
        generation: u64,
        agreed: &[i64],
        outcome: &Result<(), String>,
    ) -> Result<(), Trouble> {
        // Somebody may have ended it, or have done this already: the next look finds that.
        let recorded = writer.state().mirrors.get(&other.id);
        if recorded != Some(other) {
            return Err(Trouble::Unconfirmed);
        }
        let stage = match outcome {
            Ok(()) => {
                self.store_first(source, other, agreed).await?;
                TakeOverStage::Begun
            }
            Err(message) => TakeOverStage::Parted {
                message: message.clone(),
            },
        };
        let decided = decide::decided(other, generation, stage);
        writer.commit(vec![Write::Mirror(decided)]).await?;
        Ok(())
    }

    /// Stores where the mirror in the other direction begins, in place of what is left of its former life.
    async fn store_first(
        &self,
        source: &Client,
        other: &MirrorRecord,
        agreed: &[i64],
    ) -> Result<(), Trouble> {
        let id = other.id;
        let former = progress::read(source, &HashSet::from([id])).await?;
        let mut entries = Vec::new();
        for ((_, partition), kept) in &former {
            entries.extend(leftovers(id, *partition, kept));
        }
        for (partition, offset) in (0..).zip(agreed) {
            let first: ProgressRecord = decide::first_progress(*offset, other.producer_epoch);
            let key = OffsetsKey::Progress { id, partition };
            entries.push((key, Some(Entry::Progress(first))));
        }
        // A worker that was frozen must not set back what runs since.
        let is_written = progress::write_while(source, &entries, &|| self.lease.is_held()).await?;
        match is_written {
            true => Ok(()),
            false => Err(Trouble::Unconfirmed),
        }
    }

    /// Changes the mirror's record, if the request still stands. Whether it does.
    async fn amend(
        &self,
        request: Request,
        change: impl FnOnce(&mut MirrorRecord),
    ) -> Result<bool, Trouble> {
        let mut writer = self.lock(&self.destination.client).await?;
        let changed = reversed(writer.state(), request).map(|found| {
            let mut mirror = found.mirror.clone();
            mirror.generation += 1;
            change(&mut mirror);
            mirror
        });
        let written = match changed {
            Some(mirror) => writer
                .commit(vec![Write::Mirror(mirror)])
                .await
                .map(|()| true),
            None => Ok(false),
        };
        give_back(writer).await;
        Ok(written?)
    }

    async fn lock(&self, client: &Client) -> Result<ControlWriter, Trouble> {
        let lock = LockRecord {
            version: RECORD_VERSION,
            holder: self.holder.clone(),
            since_ms: jiff::Timestamp::now().as_millisecond(),
            command: "run".to_owned(),
        };
        ControlWriter::acquire(client, lock, LOCK_TIMEOUT)
            .await
            .map_err(Trouble::Lock)
    }
}

/// What is stored of a partition besides its progress, to be removed.
fn leftovers(id: IncarnationId, partition: i32, kept: &Kept) -> Vec<(OffsetsKey, Option<Entry>)> {
    let chunks = kept.progress.iter().flat_map(|it| it.chunks.keys());
    let mut entries: Vec<_> = chunks
        .map(|chunk| OffsetsKey::Map {
            id,
            partition,
            chunk: *chunk,
        })
        .collect();
    entries.extend(
        kept.failure
            .is_some()
            .then_some(OffsetsKey::Failure { id, partition }),
    );
    entries.extend(
        kept.end
            .is_some()
            .then_some(OffsetsKey::End { id, partition }),
    );
    entries.into_iter().map(|key| (key, None)).collect()
}
