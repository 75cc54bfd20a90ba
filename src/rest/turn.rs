//! Turning mirrors of a bidirectional link round: what is looked at first, what stands in the way, and the end on both clusters.
//!
//! `reverse-and-start` and `reverse-and-pause` are asked of the cluster that holds the mirror: its topic is promoted, and the source's
//! becomes a mirror of it. `truncate-and-restore` is asked of a former source after a failover: what its topic has beyond the place
//! where the other one was stopped is deleted, and it becomes a mirror. Each call only begins it, and refuses single topics inside an
//! answer of success.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;

use super::documents::{LinkConfig, Mirror, MirrorLag, MirrorState, Outcome};
use super::links::{Action, LinkApi, LinkError};
use super::steps::Patience;

/// Which way mirrors are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turn {
    ReverseAndStart,
    ReverseAndPause,
    TruncateAndRestore,
}

impl Turn {
    pub fn name(self) -> &'static str {
        match self {
            Self::ReverseAndStart => "reverse-and-start",
            Self::ReverseAndPause => "reverse-and-pause",
            Self::TruncateAndRestore => "truncate-and-restore",
        }
    }

    fn action(self) -> Action {
        match self {
            Self::ReverseAndStart => Action::ReverseAndStart,
            Self::ReverseAndPause => Action::ReverseAndPause,
            Self::TruncateAndRestore => Action::TruncateAndRestore,
        }
    }

    /// Where it leads to on the cluster that is asked.
    pub fn local_end(self) -> MirrorState {
        match self {
            Self::ReverseAndStart | Self::ReverseAndPause => MirrorState::Stopped,
            Self::TruncateAndRestore => MirrorState::Active,
        }
    }

    /// Where it leads to on the other cluster.
    pub fn remote_end(self) -> MirrorState {
        match self {
            Self::ReverseAndStart => MirrorState::Active,
            Self::ReverseAndPause => MirrorState::Paused,
            Self::TruncateAndRestore => MirrorState::Stopped,
        }
    }
}

/// One cluster's side of the link.
#[derive(Debug)]
pub struct Side<'a> {
    /// As the file calls the cluster.
    pub cluster: &'a str,
    pub api: &'a LinkApi,
}

/// Why nothing is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    #[error("the brokers of cluster {cluster} have no link {link}")]
    NoLink { cluster: String, link: String },
    #[error(
        "link.mode is {mode} on cluster {cluster}: only mirrors of a BIDIRECTIONAL link are turned round"
    )]
    OneWay { cluster: String, mode: String },
    #[error(
        "the link has the prefix {prefix} on cluster {cluster}: brokers turn no mirrors round whose names differ"
    )]
    Prefix { cluster: String, prefix: String },
    #[error("cluster {cluster} has no mirror topic {topic} of this link")]
    NoMirror { cluster: String, topic: String },
    #[error("mirror topic {topic} of cluster {cluster} is {state}, and would have to be {wanted}")]
    State {
        cluster: String,
        topic: String,
        state: String,
        wanted: &'static str,
    },
    #[error(
        "the brokers of cluster {cluster} keep their metadata in ZooKeeper, and truncate-and-restore needs KRaft"
    )]
    NeedsKraft { cluster: String },
    #[error("{topic}: {words}")]
    Refused { topic: String, words: String },
    #[error("the server of cluster {cluster} has no such action: {words}")]
    NoSuchAction { cluster: String, words: String },
}

/// What was found of one topic before anything is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub topic: String,
    /// The state of the mirror that ends, or ended: the local one of a reversal, the remote one of a restoration.
    pub state: MirrorState,
    /// In records; `None` where a partition does not tell.
    pub lag: Option<u64>,
    /// Records that would be deleted, where the server says so beforehand.
    pub truncates: Option<u64>,
}

/// Looks at both clusters and has the server try it. Everything that stands in the way is told at once.
///
/// # Errors
/// A server that does not answer, or not as it should.
pub async fn examine(
    turn: Turn,
    link: &str,
    local: &Side<'_>,
    remote: &Side<'_>,
    topics: &[String],
) -> Result<Result<Vec<Found>, Vec<Objection>>, LinkError> {
    let mut objections = Vec::new();
    for side in [local, remote] {
        let configs = side.api.configs(link).await?;
        objections.extend(of_link(side.cluster, link, configs.as_deref()));
    }
    if !objections.is_empty() {
        return Ok(Err(objections));
    }
    let holder = match turn {
        Turn::ReverseAndStart | Turn::ReverseAndPause => local,
        Turn::TruncateAndRestore => remote,
    };
    let mut found = Vec::new();
    for topic in topics {
        let mirror = holder.api.mirror(link, topic).await?;
        match of_mirror(turn, holder.cluster, topic, mirror.as_ref()) {
            Ok(ready) => found.push(ready),
            Err(objection) => objections.push(objection),
        }
    }
    if !objections.is_empty() {
        return Ok(Err(objections));
    }
    let tried = local.api.act(link, turn.action(), topics, true).await;
    let outcomes = match tried {
        Ok(outcomes) => by_topic(outcomes),
        Err(LinkError::Refused(refusal)) if refusal.is_unknown_way() => {
            return Ok(Err(vec![Objection::NoSuchAction {
                cluster: local.cluster.to_owned(),
                words: refusal.to_string(),
            }]));
        }
        Err(error) => return Err(error),
    };
    for ready in &mut found {
        let Some(outcome) = outcomes.get(&ready.topic) else {
            continue;
        };
        match outcome.refusal() {
            Some(words) => objections.push(Objection::Refused {
                topic: ready.topic.clone(),
                words,
            }),
            None => ready.truncates = outcome.truncated(),
        }
    }
    Ok(match objections.is_empty() {
        true => Ok(found),
        false => Err(objections),
    })
}

fn by_topic(outcomes: Vec<Outcome>) -> BTreeMap<String, Outcome> {
    let outcomes = outcomes.into_iter();
    outcomes
        .map(|outcome| (outcome.mirror_topic_name.clone(), outcome))
        .collect()
}

/// What the configs of one half say against it.
fn of_link(cluster: &str, link: &str, configs: Option<&[LinkConfig]>) -> Vec<Objection> {
    let cluster = cluster.to_owned();
    let Some(configs) = configs else {
        let link = link.to_owned();
        return vec![Objection::NoLink { cluster, link }];
    };
    let value = |name: &str| {
        let config = configs.iter().find(|config| config.name == name)?;
        config.value.as_deref().filter(|value| !value.is_empty())
    };
    let mode = value("link.mode").unwrap_or("DESTINATION");
    let mut objections = Vec::new();
    if !mode.eq_ignore_ascii_case("BIDIRECTIONAL") {
        let mode = mode.to_owned();
        let cluster = cluster.clone();
        objections.push(Objection::OneWay { cluster, mode });
    }
    if let Some(prefix) = value("cluster.link.prefix") {
        let prefix = prefix.to_owned();
        objections.push(Objection::Prefix { cluster, prefix });
    }
    objections
}

/// Whether a mirror is in a state that it can be turned in. States that this build does not know are left to the server.
fn of_mirror(
    turn: Turn,
    cluster: &str,
    topic: &str,
    mirror: Option<&Mirror>,
) -> Result<Found, Objection> {
    let Some(mirror) = mirror else {
        return Err(Objection::NoMirror {
            cluster: cluster.to_owned(),
            topic: topic.to_owned(),
        });
    };
    let state = &mirror.mirror_status;
    let (fits, wanted) = match turn {
        Turn::ReverseAndStart | Turn::ReverseAndPause => (
            matches!(
                state,
                MirrorState::Active | MirrorState::Paused | MirrorState::Other(_)
            ),
            "ACTIVE",
        ),
        Turn::TruncateAndRestore => (
            matches!(state, MirrorState::Stopped | MirrorState::Other(_)),
            "STOPPED",
        ),
    };
    if !fits {
        return Err(Objection::State {
            cluster: cluster.to_owned(),
            topic: topic.to_owned(),
            state: state.to_string(),
            wanted,
        });
    }
    Ok(Found {
        topic: topic.to_owned(),
        state: state.clone(),
        lag: lag(mirror),
        truncates: None,
    })
}

fn lag(mirror: &Mirror) -> Option<u64> {
    mirror.mirror_lags.iter().map(MirrorLag::known).sum()
}

/// How a topic stands on both clusters while it is turned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `None`: there is no mirror of this name (yet).
    pub local: Option<MirrorState>,
    pub remote: Option<MirrorState>,
    /// Of the local mirror.
    pub lag: Option<u64>,
}

/// What became of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turned {
    pub topic: String,
    /// Where it stood when it was last looked at.
    pub standing: Option<Standing>,
    /// Records that were deleted, where the server says so.
    pub truncated: Option<u64>,
    /// Why it has not come to its end.
    pub failure: Option<String>,
}

/// Asks for it and waits until every topic has come to its end on both clusters, for so long at most. `tell` hears of each change.
///
/// # Errors
/// The request as a whole was refused or not answered. What was not answered may have begun.
pub async fn carry_out(
    turn: Turn,
    link: &str,
    local: &Side<'_>,
    remote: &Side<'_>,
    topics: &[String],
    limit: Duration,
    tell: &(dyn Fn(&str, &Standing) + Sync),
) -> Result<Vec<Turned>, LinkError> {
    let outcomes = local.api.act(link, turn.action(), topics, false).await?;
    let outcomes = by_topic(outcomes);
    let waiting = topics.iter().map(|topic| {
        let outcome = outcomes.get(topic);
        let refusal = outcome.and_then(Outcome::refusal);
        let mut turned = Turned {
            topic: topic.clone(),
            standing: None,
            truncated: outcome.and_then(Outcome::truncated),
            failure: refusal,
        };
        async move {
            if turned.failure.is_none() {
                let patience = Patience::of(limit);
                turned.failure = settle(turn, link, local, remote, &mut turned, patience, tell)
                    .await
                    .err();
            }
            turned
        }
    });
    Ok(join_all(waiting).await)
}

/// Waits for one topic.
async fn settle(
    turn: Turn,
    link: &str,
    local: &Side<'_>,
    remote: &Side<'_>,
    turned: &mut Turned,
    mut patience: Patience,
    tell: &(dyn Fn(&str, &Standing) + Sync),
) -> Result<(), String> {
    let words = |side: &Side<'_>, error: LinkError| {
        format!(
            "it was asked for, and how it stands on cluster {} cannot be read: {error}",
            side.cluster
        )
    };
    loop {
        let topic = &turned.topic;
        let here = local.api.mirror(link, topic).await;
        let here = here.map_err(|error| words(local, error))?;
        let there = remote.api.mirror(link, topic).await;
        let there = there.map_err(|error| words(remote, error))?;
        let standing = Standing {
            lag: here.as_ref().and_then(lag),
            local: here.as_ref().map(|mirror| mirror.mirror_status.clone()),
            remote: there.as_ref().map(|mirror| mirror.mirror_status.clone()),
        };
        if turned.standing.as_ref() != Some(&standing) {
            tell(topic, &standing);
            turned.standing = Some(standing.clone());
        }
        if is_over(turn, &standing) {
            return Ok(());
        }
        for (side, mirror) in [(local, &here), (remote, &there)] {
            let failed = mirror
                .as_ref()
                .filter(|it| it.mirror_status == MirrorState::Failed);
            if let Some(mirror) = failed {
                let error = mirror.mirror_topic_error.as_deref();
                let error = error.unwrap_or("no reason given");
                return Err(format!("it is FAILED on cluster {}: {error}", side.cluster));
            }
        }
        if !patience.goes_on().await {
            return Err("not in time; it may go on by itself".to_owned());
        }
    }
}

fn is_over(turn: Turn, standing: &Standing) -> bool {
    let is_at = |state: &Option<MirrorState>, end: MirrorState| *state == Some(end);
    is_at(&standing.local, turn.local_end())
        // What was stopped there long ago may not be told of any more.
        && (turn == Turn::TruncateAndRestore || is_at(&standing.remote, turn.remote_end()))
}
