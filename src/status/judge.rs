//! What the records, what workers stored and what was seen of the clusters come to.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    Live, MirrorState, MirrorStatus, MirrorTopicError, PartitionStatus, TopicEnds, Topics,
};
use crate::control::progress::{Kept, Stored};
use crate::control::records::{
    Alignment, DesiredState, EndingKind, FailureCause, FailureRecord, ForeignWrites, IncarnationId,
    LinkRecord, MirrorRecord, WantedState,
};
use crate::control::store::ControlState;
use crate::topology::resolve::LinkRule;

/// What is kept of partitions.
type KeptByPartition = HashMap<(IncarnationId, i32), Kept>;

/// All mirrors of a destination, by the names of their link and source topic.
pub fn mirrors(state: &ControlState, kept: &KeptByPartition, live: &Live) -> Vec<MirrorStatus> {
    let mut found = BTreeMap::new();
    for mirror in state.mirrors.values() {
        if let Some(link) = state.links.get(&mirror.id.link) {
            let status = Judge { link, mirror, live }.status(kept);
            let key = (
                link.name.clone(),
                mirror.source_topic.clone(),
                Some(mirror.id),
            );
            found.insert(key, status);
        }
    }
    for link in state.links.values() {
        for status in to_be_made(state, link) {
            let key = (link.name.clone(), status.source_topic.clone(), None);
            found.insert(key, status);
        }
    }
    found.into_values().collect()
}

/// Topics that the link names, and of which it has no mirror.
fn to_be_made(state: &ControlState, link: &LinkRecord) -> Vec<MirrorStatus> {
    let rule = LinkRule::from(link);
    let mirrored: HashSet<&str> = state
        .mirrors
        .values()
        .filter(|mirror| mirror.id.link == link.id)
        .map(|mirror| mirror.source_topic.as_str())
        .collect();
    let ended = |topic: &str| {
        let settings = link.mirrors.get(topic);
        let wanted = settings.and_then(|settings| settings.state);
        wanted.and_then(WantedState::ending).is_some()
    };
    rule.literals()
        .filter(|topic| rule.takes(topic).is_some())
        .filter(|topic| !mirrored.contains(topic) && !ended(topic))
        .filter_map(|topic| {
            Some(MirrorStatus {
                link: link.id,
                link_name: link.name.clone(),
                source_topic: topic.to_owned(),
                mirror_topic: rule.destination(topic).ok()?,
                id: None,
                state: MirrorState::PendingMirror,
                error: MirrorTopicError::NoError,
                message: None,
                since_ms: None,
                ending: None,
                partitions: Vec::new(),
            })
        })
        .collect()
}

/// One mirror with all that says something about it.
struct Judge<'a> {
    link: &'a LinkRecord,
    mirror: &'a MirrorRecord,
    live: &'a Live,
}

/// What keeps a mirror from being well.
struct Trouble {
    error: MirrorTopicError,
    message: String,
    since_ms: Option<i64>,
}

impl Judge<'_> {
    fn status(&self, kept: &KeptByPartition) -> MirrorStatus {
        let (link, mirror) = (self.link, self.mirror);
        let source = self.source().and_then(Result::ok);
        let source = source.and_then(|topics| topics.get(&mirror.source_topic));
        let source = source.filter(|found| same(found.id, mirror.id.source_topic));
        let destination = self.live.destination.get(&mirror.destination_topic);
        let count = [
            source.map_or(0, |it| it.ends.len()),
            destination.map_or(0, |it| it.ends.len()),
            usize::try_from(mirror.initial_partitions).unwrap_or(0),
        ];
        let count = match destination {
            Some(destination) => destination.ends.len(),
            None => count.into_iter().max().unwrap_or(0),
        };
        let partitions: Vec<PartitionStatus> = (0..count)
            .filter_map(|index| {
                let partition = i32::try_from(index).ok()?;
                let end = |topic: Option<&TopicEnds>| topic?.ends.get(index).copied().flatten();
                let kept = kept.get(&(mirror.id, partition));
                Some(self.partition(partition, kept, (end(source), end(destination))))
            })
            .collect();
        let trouble = self.trouble(&partitions);
        let state = self.state(trouble.is_some());
        let ending = mirror.ending.as_ref();
        let since_ms = match state {
            MirrorState::Stopped => ending.and_then(|ending| ending.stopped_ms),
            MirrorState::PendingStopped => ending.map(|ending| ending.requested_ms),
            MirrorState::Failed => trouble.as_ref().and_then(|trouble| trouble.since_ms),
            _ => None,
        };
        let error = match (&trouble, state) {
            (_, MirrorState::Stopped) | (None, _) => MirrorTopicError::NoError,
            (Some(trouble), _) => trouble.error,
        };
        MirrorStatus {
            link: link.id,
            link_name: link.name.clone(),
            source_topic: mirror.source_topic.clone(),
            mirror_topic: mirror.destination_topic.clone(),
            id: Some(mirror.id),
            state,
            error,
            message: self.message(state, trouble),
            since_ms,
            ending: mirror.ending.clone(),
            partitions,
        }
    }

    /// What was seen of the source's topics; `None`: nobody asked.
    fn source(&self) -> Option<Result<&Topics, &str>> {
        let seen = self.live.sources.get(&self.link.source_cluster_id)?;
        Some(seen.as_ref().map_err(String::as_str))
    }

    fn state(&self, in_trouble: bool) -> MirrorState {
        let paused = DesiredState::Paused;
        match &self.mirror.ending {
            Some(ending) if ending.is_over() => MirrorState::Stopped,
            Some(_) => MirrorState::PendingStopped,
            None if self.mirror.waits_to_take_over() => MirrorState::PendingSynchronize,
            None if in_trouble => MirrorState::Failed,
            None if self.link.state == paused => MirrorState::LinkPaused,
            None if self.mirror.state == paused => MirrorState::Paused,
            None if self.source().is_some_and(|seen| seen.is_err()) => {
                MirrorState::SourceUnavailable
            }
            None => MirrorState::Active,
        }
    }

    /// What needs a person: seen on the clusters, or stored by a worker.
    fn trouble(&self, partitions: &[PartitionStatus]) -> Option<Trouble> {
        if let Some(message) = self.mirror.parted() {
            return Some(Trouble {
                error: MirrorTopicError::Unknown,
                message: message.to_owned(),
                since_ms: None,
            });
        }
        self.lost_topic(partitions).or_else(|| {
            let failed = partitions.iter().filter_map(|partition| {
                let failure = partition.failure.as_ref()?;
                Some((partition.partition, failure))
            });
            let (partition, first) = failed.min_by_key(|(_, failure)| failure.since_ms)?;
            let count = partitions.iter().filter(|it| it.failure.is_some()).count();
            let more = match count {
                1 => String::new(),
                count => format!(" ({} more partitions failed)", count - 1),
            };
            Some(Trouble {
                error: error_of(first),
                message: format!("partition {partition}: {}{more}", first.message),
                since_ms: Some(first.since_ms),
            })
        })
    }

    /// A topic that is not the one that was applied any more.
    fn lost_topic(&self, partitions: &[PartitionStatus]) -> Option<Trouble> {
        let mirror = self.mirror;
        let trouble = |error, message| {
            Some(Trouble {
                error,
                message,
                since_ms: None,
            })
        };
        match self.live.destination.get(&mirror.destination_topic) {
            None => {
                let message = format!("the mirror topic {} is gone", mirror.destination_topic);
                return trouble(MirrorTopicError::Unknown, message);
            }
            Some(found) if !same(found.id, mirror.id.destination_topic) => {
                let message = format!(
                    "the mirror topic {} was deleted and created again",
                    mirror.destination_topic
                );
                return trouble(MirrorTopicError::Unknown, message);
            }
            Some(_) => {}
        }
        let topic = &mirror.source_topic;
        let Some(found) = self.source()?.ok()?.get(topic) else {
            let message = format!("the source topic {topic} does not exist, or is not shown");
            return trouble(MirrorTopicError::SourceTopicMayBeDeleted, message);
        };
        if !same(found.id, mirror.id.source_topic) {
            let message = format!("the source topic {topic} was deleted and created again");
            return trouble(MirrorTopicError::SourceTopicIdChanged, message);
        }
        let used = partitions
            .iter()
            .filter(|partition| partition.last_source_fetch_offset >= 0)
            .map(|partition| usize::try_from(partition.partition).unwrap_or(0) + 1)
            .max()
            .unwrap_or(0);
        if found.ends.len() < used {
            let has = found.ends.len();
            let message =
                format!("the source topic {topic} has {has} partitions, {used} were copied");
            return trouble(MirrorTopicError::SourcePartitionsDecreased, message);
        }
        None
    }

    fn partition(
        &self,
        partition: i32,
        kept: Option<&Kept>,
        (source_end, destination_end): (Option<i64>, Option<i64>),
    ) -> PartitionStatus {
        // What is stored is of a former life.
        let kept = kept.filter(|_| !self.mirror.has_not_taken_over());
        let progress = kept.and_then(|kept| kept.progress.as_ref());
        let next = match &self.mirror.ending {
            // Others write to the mirror topic since.
            Some(ending) if ending.is_over() => ending
                .partitions
                .iter()
                .find(|it| it.partition == partition)
                .map(|it| it.source_offset)
                .filter(|next| *next >= 0),
            _ => progress.and_then(|stored| self.next_offset(stored, source_end, destination_end)),
        };
        let ended = self
            .mirror
            .ending
            .as_ref()
            .filter(|ending| ending.is_over());
        let lag = match ended.map(|ending| ending.kind) {
            // It had everything, and the source goes its own way.
            Some(EndingKind::Promote) => Some(0),
            Some(EndingKind::FailOver) => None,
            None => source_end
                .zip(next)
                .map(|(end, next)| end.saturating_sub(next).max(0)),
        };
        PartitionStatus {
            partition,
            lag,
            last_source_fetch_offset: next.map_or(-1, |next| next - 1),
            source_end,
            destination_end,
            failure: kept.and_then(|kept| kept.failure.clone()),
        }
    }

    /// The next source offset to copy. What is stored is up to a second old; where nobody else writes, the destination's end says
    /// how many records have come since.
    fn next_offset(
        &self,
        stored: &Stored,
        source_end: Option<i64>,
        destination_end: Option<i64>,
    ) -> Option<i64> {
        let last = stored.record.anchors.last()?;
        let by_end = match stored.record.alignment {
            Alignment::Equal { filling: true, .. } => None,
            Alignment::Equal { .. } => destination_end,
            Alignment::Translated { .. }
                if self.link.on_foreign_write == ForeignWrites::Translate =>
            {
                None
            }
            Alignment::Translated { .. } => {
                let since = destination_end.map(|end| end - last.destination_offset);
                since.map(|since| last.source_offset + since.max(0))
            }
        };
        let next = by_end.unwrap_or(0).max(last.source_offset);
        // More than the source has is no guess of ours.
        let most = source_end.map_or(i64::MAX, |end| end.max(last.source_offset));
        Some(next.min(most))
    }

    fn message(&self, state: MirrorState, trouble: Option<Trouble>) -> Option<String> {
        let workers = || self.live.workers.get(&self.link.worker_group()).copied();
        let reversal = self
            .mirror
            .ending
            .as_ref()
            .and_then(|it| it.reversal.as_ref());
        let not_reversed = reversal.and_then(|reversal| reversal.trouble.clone());
        match state {
            MirrorState::Stopped if not_reversed.is_some() => {
                not_reversed.map(|why| format!("there is no mirror in the other direction: {why}"))
            }
            MirrorState::PendingSynchronize => {
                Some("it begins once the mirror in the other direction has ended".to_owned())
            }
            MirrorState::Stopped => {
                let unfenced = self
                    .mirror
                    .ending
                    .as_ref()
                    .is_some_and(|it| it.is_unfenced());
                unfenced.then(|| {
                    "it ended without a fence, for want of the right to write control markers"
                        .to_owned()
                })
            }
            MirrorState::PendingStopped => match (trouble, workers()) {
                (_, Some(0)) => {
                    Some("no worker runs that could end it: start `kmirror run`".to_owned())
                }
                (Some(trouble), _) => Some(trouble.message),
                (None, _) if not_reversed.is_some() => not_reversed,
                (None, _) => match self.source() {
                    Some(Err(cause)) if self.is_promoted() => Some(format!(
                        "the source cannot be reached, so it cannot be promoted, only failed over: {cause}"
                    )),
                    _ => None,
                },
            },
            MirrorState::SourceUnavailable => match self.source() {
                Some(Err(cause)) => Some(cause.to_owned()),
                _ => None,
            },
            MirrorState::Active if workers() == Some(0) => {
                Some("no worker runs, so nothing is copied".to_owned())
            }
            _ => trouble.map(|trouble| trouble.message),
        }
    }

    fn is_promoted(&self) -> bool {
        let ending = self.mirror.pending();
        ending.is_some_and(|ending| ending.kind == EndingKind::Promote)
    }
}

/// Nil ids mean that the brokers know none.
fn same(a: uuid::Uuid, b: uuid::Uuid) -> bool {
    a.is_nil() || b.is_nil() || a == b
}

fn error_of(failure: &FailureRecord) -> MirrorTopicError {
    match failure.cause {
        FailureCause::SourceDeleted => MirrorTopicError::SourceTopicMayBeDeleted,
        FailureCause::SourceRecreated => MirrorTopicError::SourceTopicIdChanged,
        FailureCause::SourceTruncated => MirrorTopicError::UnexpectedTruncation,
        FailureCause::ForeignWrite
        | FailureCause::Fenced
        | FailureCause::DestinationLost
        | FailureCause::DestinationDeleted
        | FailureCause::DestinationRecreated
        | FailureCause::Offsets
        | FailureCause::SourceExpired
        | FailureCause::Unreadable
        | FailureCause::Refused
        | FailureCause::Authorization
        | FailureCause::Other => MirrorTopicError::Unknown,
    }
}
