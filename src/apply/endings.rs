//! Mirrors whose promotion or failover was asked for, waited for until they have stopped.
//!
//! Workers carry it out; here is only looked at what they say, without the lock, so that they can get it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::control::ControlError;
use crate::control::records::MirrorRecord;
use crate::control::store::{self, ControlState};
use crate::observe::Clusters;
use crate::plan::model::{Address, MirrorRecordChange, Operation, Plan};
use crate::plan::reason::Note;
use crate::status::{self, MirrorStatus, Source};
use crate::topology::model::Topology;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// A mirror that is to stop.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Awaited {
    /// The destination, by its name in the file.
    pub cluster: String,
    pub link: String,
    pub source_topic: String,
}

/// The mirrors that stop when the plan is carried out, and those that were asked to before.
pub fn awaited(plan: &Plan) -> BTreeSet<Awaited> {
    let now = plan
        .entries
        .iter()
        .filter_map(|entry| match (&entry.address, &entry.operation) {
            (Address::Mirror { link, source_topic }, Operation::Mirror(mirror))
                if matches!(mirror.record, MirrorRecordChange::End { .. }) =>
            {
                Some(Awaited {
                    cluster: entry.cluster.clone(),
                    link: link.clone(),
                    source_topic: source_topic.clone(),
                })
            }
            _ => None,
        });
    let before = plan.notes.iter().filter_map(|note| match note {
        Note::EndingPending {
            link,
            cluster,
            source_topic,
            ..
        } => Some(Awaited {
            cluster: cluster.clone(),
            link: link.clone(),
            source_topic: source_topic.clone(),
        }),
        _ => None,
    });
    now.chain(before).collect()
}

/// Waits until mirrors have stopped, or for so long. `tell` hears of each that has. Gives those that have not, with what keeps
/// them.
///
/// # Errors
/// A destination whose records can't be read.
pub async fn wait_for(
    topology: &Topology,
    clusters: &Clusters,
    mut awaited: BTreeSet<Awaited>,
    patience: Duration,
    stop: &CancellationToken,
    tell: &(dyn Fn(&Awaited, &MirrorRecord) + Send + Sync),
) -> Result<Vec<(Awaited, MirrorStatus)>, ControlError> {
    let deadline = Instant::now() + patience;
    loop {
        for (cluster, state) in states(clusters, &awaited).await? {
            awaited.retain(|it| {
                let mirror = find(&state, it).filter(|_| it.cluster == cluster);
                let stopped = mirror.filter(|mirror| mirror.is_stopped());
                if let Some(mirror) = stopped {
                    tell(it, mirror);
                }
                stopped.is_none()
            });
        }
        if awaited.is_empty() {
            return Ok(Vec::new());
        }
        if Instant::now() >= deadline || stop.is_cancelled() {
            return left(topology, clusters, awaited).await;
        }
        tokio::select! {
            () = sleep(LOOK_EVERY.min(deadline.saturating_duration_since(Instant::now()))) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn states(
    clusters: &Clusters,
    awaited: &BTreeSet<Awaited>,
) -> Result<BTreeMap<String, ControlState>, ControlError> {
    let names: BTreeSet<&String> = awaited.iter().map(|it| &it.cluster).collect();
    let mut states = BTreeMap::new();
    for name in names {
        let state = store::read(clusters.client(name)).await?;
        states.insert(name.clone(), state.unwrap_or_default());
    }
    Ok(states)
}

/// The mirror of this name, of which the last one counts where there were several.
fn find<'s>(state: &'s ControlState, awaited: &Awaited) -> Option<&'s MirrorRecord> {
    let link = state.links.values().find(|it| it.name == awaited.link)?;
    let mirrors = state.mirrors.values();
    mirrors
        .filter(|mirror| mirror.id.link == link.id && mirror.source_topic == awaited.source_topic)
        .max_by_key(|mirror| mirror.ending.as_ref().map(|ending| ending.requested_ms))
}

/// What keeps mirrors from stopping.
async fn left(
    topology: &Topology,
    clusters: &Clusters,
    awaited: BTreeSet<Awaited>,
) -> Result<Vec<(Awaited, MirrorStatus)>, ControlError> {
    let mut sources = HashMap::new();
    for cluster in topology.clusters.values() {
        if clusters.has(&cluster.name) {
            let client = clusters.client(&cluster.name).clone();
            sources.insert(client.cluster_id(), Source::Connected(client));
        }
    }
    let mut left = Vec::new();
    for (cluster, mut state) in states(clusters, &awaited).await? {
        // Those whose source is not connected: no broker of it answered when the plan was made.
        for link in state.links.values() {
            let source = sources.entry(link.source_cluster_id.clone());
            source.or_insert_with(|| Source::Unreachable("no broker of it answers".to_owned()));
        }
        let pending: BTreeMap<_, Awaited> = awaited
            .iter()
            .filter(|it| it.cluster == cluster)
            .filter_map(|it| Some((find(&state, it)?.id, it.clone())))
            .collect();
        state.mirrors.retain(|id, _| pending.contains_key(id));
        let found = status::look_at(clusters.client(&cluster), &sources, &state).await?;
        for status in found {
            if let Some(awaited) = status.id.and_then(|id| pending.get(&id)) {
                left.push((awaited.clone(), status));
            }
        }
    }
    Ok(left)
}
