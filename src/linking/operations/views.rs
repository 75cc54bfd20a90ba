//! Mirrors as they are: state, lag, and what is wrong with them.
//!
//! What workers stored beside the copied data says how far they are, at most a second old; the source says how far it is itself.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Desk, Health, Refusal};
use crate::control::ControlState;
use crate::control::progress::{self, Kept};
use crate::control::records::{
    DesiredState, FailureCause, FailureRecord, IncarnationId, LinkRecord, MirrorRecord, WantedState,
};
use crate::kafka::admin::OffsetSpec;
use crate::kafka::{Client, Isolation, Topics};
use crate::topology::resolve::LinkRule;

/// A mirror's state, in the API's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Active,
    Paused,
    LinkPaused,
    LinkFailed,
    SourceUnavailable,
    Failed,
    PendingStopped,
    Stopped,
    PendingMirror,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Paused => "PAUSED",
            Self::LinkPaused => "LINK_PAUSED",
            Self::LinkFailed => "LINK_FAILED",
            Self::SourceUnavailable => "SOURCE_UNAVAILABLE",
            Self::Failed => "FAILED",
            Self::PendingStopped => "PENDING_STOPPED",
            Self::Stopped => "STOPPED",
            Self::PendingMirror => "PENDING_MIRROR",
        }
    }
}

/// How far one partition is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    pub partition: i32,
    /// Source offsets that are still to come; -1 where that is not known.
    pub lag: i64,
    /// The source offset from which on it copies; -1 before it began.
    pub last_source_fetch_offset: i64,
}

/// A mirror as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorView {
    pub link: String,
    pub mirror_topic: String,
    pub source_topic: String,
    pub status: Status,
    /// Why it is `FAILED`, in the API's words, and for people.
    pub failure: Option<(&'static str, String)>,
    /// When it came into its state, in milliseconds since the epoch; 0 where that is not known.
    pub state_time_ms: i64,
    pub lags: Vec<Lag>,
}

impl Desk {
    /// The mirrors of a link, or of all links of the cluster, sorted by link and topic.
    ///
    /// # Errors
    /// What workers stored, or the cluster's topics, cannot be read.
    pub async fn mirrors(
        &self,
        state: &ControlState,
        of: Option<&LinkRecord>,
    ) -> Result<Vec<MirrorView>, Refusal> {
        let links = state.links.values();
        let links: Vec<&LinkRecord> = links
            .filter(|link| of.is_none_or(|of| of.id == link.id))
            .collect();
        let ids = state.mirrors.keys().copied();
        let ids: HashSet<IncarnationId> = ids
            .filter(|id| links.iter().any(|link| link.id == id.link))
            .collect();
        let kept = match ids.is_empty() {
            true => HashMap::new(),
            false => progress::read(&self.client, &ids).await?,
        };
        let looking = links.iter().map(|link| self.look(state, link, &kept));
        let mut views = Vec::new();
        for seen in futures::future::join_all(looking).await {
            views.extend(seen?);
        }
        views.sort_by(|one: &MirrorView, other| {
            (&one.link, &one.mirror_topic).cmp(&(&other.link, &other.mirror_topic))
        });
        Ok(views)
    }

    async fn look(
        &self,
        state: &ControlState,
        link: &LinkRecord,
        kept: &HashMap<(IncarnationId, i32), Kept>,
    ) -> Result<Vec<MirrorView>, Refusal> {
        let mirrors: Vec<&MirrorRecord> = state
            .mirrors
            .values()
            .filter(|mirror| mirror.id.link == link.id)
            .collect();
        let health = self.health(state, link).await;
        let counts = counts(&self.client, &mirrors).await?;
        let ends = match (&health, self.source_of(state, link).await) {
            (Health::Active | Health::Paused, Ok(source)) => ends(&source, &mirrors, &counts).await,
            _ => HashMap::new(),
        };
        let mut views: Vec<MirrorView> = mirrors
            .iter()
            .map(|mirror| {
                let partitions = counts.get(mirror.destination_topic.as_str()).copied();
                view(link, mirror, &health, partitions.unwrap_or(0), kept, &ends)
            })
            .collect();
        views.extend(pending(link, &mirrors));
        Ok(views)
    }
}

/// Mirrors that were asked for and are still to be made, by the worker beside the source.
fn pending(link: &LinkRecord, mirrors: &[&MirrorRecord]) -> Vec<MirrorView> {
    let rule = LinkRule::from(link);
    let named = link.mirrors.iter().filter(|(topic, settings)| {
        let is_made = mirrors.iter().any(|mirror| mirror.source_topic == **topic);
        !is_made && settings.state != Some(WantedState::Absent)
    });
    named
        .filter_map(|(topic, _)| {
            Some(MirrorView {
                link: link.name.clone(),
                mirror_topic: rule.destination(topic).ok()?,
                source_topic: topic.clone(),
                status: Status::PendingMirror,
                failure: None,
                state_time_ms: 0,
                lags: Vec::new(),
            })
        })
        .collect()
}

fn view(
    link: &LinkRecord,
    mirror: &MirrorRecord,
    health: &Health,
    partitions: i32,
    kept: &HashMap<(IncarnationId, i32), Kept>,
    ends: &HashMap<(String, i32), i64>,
) -> MirrorView {
    let of = |partition: i32| kept.get(&(mirror.id, partition));
    let failures = (0..partitions).filter_map(|partition| of(partition)?.failure.as_ref());
    let failure = failures.min_by_key(|failure| failure.since_ms);
    let (status, since) = status(mirror, health, failure);
    let lags = (0..partitions).map(|partition| {
        let anchor = of(partition)
            .and_then(|kept| kept.progress.as_ref())
            .and_then(|stored| stored.record.anchors.last());
        let position = anchor.map_or(-1, |anchor| anchor.source_offset);
        let end = ends.get(&(mirror.source_topic.clone(), partition));
        let lag = match (status, end) {
            // What comes after its end is none of it.
            (Status::Stopped, _) => 0,
            (_, Some(end)) => (end - position.max(0)).max(0),
            (_, None) => -1,
        };
        Lag {
            partition,
            lag,
            last_source_fetch_offset: position,
        }
    });
    MirrorView {
        link: link.name.clone(),
        mirror_topic: mirror.destination_topic.clone(),
        source_topic: mirror.source_topic.clone(),
        lags: lags.collect(),
        status,
        failure: failure
            .filter(|_| status == Status::Failed)
            .map(|failure| (topic_error(failure.cause), failure.message.clone())),
        state_time_ms: since,
    }
}

fn status(
    mirror: &MirrorRecord,
    health: &Health,
    failure: Option<&FailureRecord>,
) -> (Status, i64) {
    if let Some(ending) = &mirror.ending {
        return match ending.stopped_ms {
            Some(at) => (Status::Stopped, at),
            None => (Status::PendingStopped, ending.requested_ms),
        };
    }
    if let Some(failure) = failure {
        return (Status::Failed, failure.since_ms);
    }
    let status = match (mirror.state, health) {
        (DesiredState::Paused, _) => Status::Paused,
        (DesiredState::Active, Health::Active) => Status::Active,
        (DesiredState::Active, Health::Paused) => Status::LinkPaused,
        (DesiredState::Active, Health::Failed(..)) => Status::LinkFailed,
        (DesiredState::Active, Health::Unavailable(..)) => Status::SourceUnavailable,
    };
    (status, 0)
}

/// The API's word for a failure, where it has one for the same cause.
fn topic_error(cause: FailureCause) -> &'static str {
    match cause {
        FailureCause::SourceDeleted => "SOURCE_TOPIC_MAY_BE_DELETED",
        FailureCause::SourceRecreated => "SOURCE_TOPIC_ID_CHANGED",
        FailureCause::SourceTruncated => "UNEXPECTED_TRUNCATION",
        FailureCause::Unreadable => "UNSUPPORTED_MESSAGE_FORMAT",
        FailureCause::ForeignWrite
        | FailureCause::Fenced
        | FailureCause::DestinationLost
        | FailureCause::DestinationDeleted
        | FailureCause::DestinationRecreated => "ILLEGAL_STATE",
        FailureCause::Offsets
        | FailureCause::SourceExpired
        | FailureCause::Refused
        | FailureCause::Authorization
        | FailureCause::Other => "UNKNOWN",
    }
}

/// Partitions of the mirror topics.
async fn counts(
    client: &Client,
    mirrors: &[&MirrorRecord],
) -> Result<BTreeMap<String, i32>, Refusal> {
    if mirrors.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names: Vec<String> = mirrors
        .iter()
        .map(|mirror| mirror.destination_topic.clone())
        .collect();
    let metadata = client.admin().metadata(Topics::Named(&names)).await?;
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let topics = metadata.topics.into_iter();
    Ok(topics
        .map(|topic| (topic.name, count(topic.partitions.len())))
        .collect())
}

/// How far the source's partitions are; those that cannot be asked are left out.
async fn ends(
    source: &Client,
    mirrors: &[&MirrorRecord],
    counts: &BTreeMap<String, i32>,
) -> HashMap<(String, i32), i64> {
    let asked = mirrors.iter().flat_map(|mirror| {
        let count = counts.get(mirror.destination_topic.as_str()).copied();
        (0..count.unwrap_or(0))
            .map(|partition| (mirror.source_topic.clone(), partition, OffsetSpec::Latest))
    });
    let asked: Vec<_> = asked.collect();
    if asked.is_empty() {
        return HashMap::new();
    }
    let found = source
        .admin()
        .list_offsets(asked, Isolation::ReadUncommitted)
        .await;
    let found = found.into_iter();
    found
        .filter_map(|((topic, partition), listed)| Some(((topic, partition), listed.ok()?.offset)))
        .collect()
}
