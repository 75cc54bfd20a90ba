//! Gathering what states and lags follow from, in a few calls for all mirrors of a destination.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use futures::future::join_all;

use super::{Live, MirrorStatus, TopicEnds, Topics, mirrors};
use crate::control::records::LinkRecord;
use crate::control::store::{self, ControlState};
use crate::control::{ControlError, progress};
use crate::kafka::admin::OffsetSpec;
use crate::kafka::{self, Client, ErrorCode, Isolation, Operation};

/// A broker that does not answer must not keep the states of all other mirrors from whoever asks.
const PATIENCE: Duration = Duration::from_secs(5);

/// A cluster that links copy from.
#[derive(Clone, Debug)]
pub enum Source {
    Connected(Client),
    /// It cannot be reached, for this reason.
    Unreachable(String),
}

/// State and lag of all mirrors of a destination. `sources` are those that can be asked, by cluster id; of others the lag is
/// not known. `None`: nothing was ever applied there.
///
/// # Errors
/// That the destination's control records or what workers stored cannot be read.
pub async fn look(
    destination: &Client,
    sources: &HashMap<String, Source>,
) -> Result<Option<Vec<MirrorStatus>>, ControlError> {
    let Some(state) = store::read(destination).await? else {
        return Ok(None);
    };
    Ok(Some(look_at(destination, sources, &state).await?))
}

/// The same of what was read from `_kmirror.links`, or a part of it.
///
/// # Errors
/// As [`look`].
pub async fn look_at(
    destination: &Client,
    sources: &HashMap<String, Source>,
    state: &ControlState,
) -> Result<Vec<MirrorStatus>, ControlError> {
    let ids: HashSet<_> = state.mirrors.keys().copied().collect();
    let kept = progress::read(destination, &ids);
    let names: BTreeSet<String> = state
        .mirrors
        .values()
        .map(|mirror| mirror.destination_topic.clone())
        .collect();
    let here = ends(destination, names, Isolation::ReadUncommitted);
    let there = join_all(sources_of(state).into_iter().filter_map(|(id, names)| {
        let source = sources.get(&id)?.clone();
        Some(async move {
            let seen = match source {
                Source::Unreachable(cause) => Err(cause),
                Source::Connected(client) => {
                    let ends = ends(&client, names, Isolation::ReadCommitted);
                    match tokio::time::timeout(2 * PATIENCE, ends).await {
                        Ok(ends) => ends.map_err(|error| error.to_string()),
                        Err(_) => Err(format!(
                            "{} does not answer within {} seconds",
                            client.cluster_name(),
                            2 * PATIENCE.as_secs()
                        )),
                    }
                }
            };
            (id, seen)
        })
    }));
    let (kept, here, there, workers) =
        futures::join!(kept, here, there, workers(destination, state));
    let live = Live {
        destination: here?,
        sources: there.into_iter().collect(),
        workers,
    };
    Ok(mirrors(state, &kept?, &live))
}

/// The source topics of mirrors, by cluster id.
fn sources_of(state: &ControlState) -> HashMap<String, BTreeSet<String>> {
    let mut names: HashMap<String, BTreeSet<String>> = HashMap::new();
    for mirror in state.mirrors.values() {
        if let Some(link) = state.links.get(&mirror.id.link) {
            let topics = names.entry(link.source_cluster_id.clone()).or_default();
            topics.insert(mirror.source_topic.clone());
        }
    }
    names
}

/// Where topics of a cluster end; those that it does not have are left out.
async fn ends(
    client: &Client,
    names: BTreeSet<String>,
    isolation: Isolation,
) -> Result<Topics, kafka::Error> {
    if names.is_empty() {
        return Ok(Topics::new());
    }
    let names: Vec<String> = names.into_iter().collect();
    let admin = client.admin().with_deadline(PATIENCE);
    let metadata = admin.metadata(kafka::Topics::Named(&names)).await?;
    let mut topics = Topics::new();
    let mut wanted = Vec::new();
    for topic in metadata.topics {
        if topic.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
            continue;
        }
        if topic.error.is_authorization() {
            let resource = format!("topic {}", topic.name);
            let error = kafka::Error::broker(topic.error, None, Operation::Describe, resource);
            return Err(error.asked_by(|| client.asked()));
        }
        for partition in &topic.partitions {
            wanted.push((topic.name.clone(), partition.index, OffsetSpec::Latest));
        }
        let ends = TopicEnds {
            id: topic.id,
            ends: vec![None; topic.partitions.len()],
        };
        topics.insert(topic.name, ends);
    }
    for ((topic, partition), found) in admin.list_offsets(wanted, isolation).await {
        let ends = topics.get_mut(&topic).map(|topic| &mut topic.ends);
        let at = usize::try_from(partition).ok();
        if let (Some(ends), Some(at), Ok(found)) = (ends, at, found)
            && let Some(end) = ends.get_mut(at)
        {
            *end = Some(found.offset);
        }
    }
    Ok(topics)
}

/// How many workers there are for the links, as far as this user may know.
async fn workers(destination: &Client, state: &ControlState) -> HashMap<String, usize> {
    let groups: BTreeSet<String> = state.links.values().map(LinkRecord::worker_group).collect();
    let admin = destination.admin().with_deadline(PATIENCE);
    let asked = groups.into_iter().map(|group| {
        let admin = admin.clone();
        async move {
            let members = admin.members_of(&group).await;
            if let Err(error) = &members {
                tracing::debug!(group, %error, "the workers cannot be counted");
            }
            Some((group, members.ok()?))
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}
