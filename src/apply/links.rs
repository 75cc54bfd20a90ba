//! The effects of an apply on links that brokers carry, through their REST API.
//!
//! What was made a moment ago is not known everywhere at once: the other half of a link, the link of a mirror. Such refusals are
//! waited out, and so is everything that the API only begins: promotion, failover, deletion.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::brokers::Brokers;
use super::effects::{Failure, LinkEffects};
use crate::observe::halves::Unreadable;
use crate::plan::model::{HalfChange, HalfRole, MirrorAction, NewBrokerMirror};
use crate::rest::documents::{Mirror, MirrorLag, MirrorState, NewConfig, NewMirror};
use crate::rest::links::{Action, LinkApi, LinkError, Validation};

/// How long what was just made may be unknown elsewhere.
const PROPAGATION: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// How long a promotion or a failover may take.
const PROMOTION: Duration = Duration::from_secs(300);
/// How long a change of state, or a deletion, may take otherwise.
const CHANGE: Duration = Duration::from_secs(60);

impl From<&LinkError> for Failure {
    fn from(error: &LinkError) -> Self {
        match error {
            LinkError::Refused(refusal) => Self {
                error: match refusal.code {
                    Some(code) => format!("error code {code}"),
                    None => refusal.status.to_string(),
                },
                message: refusal.to_string(),
            },
            other => Self {
                error: "no answer".to_owned(),
                message: other.to_string(),
            },
        }
    }
}

impl From<Unreadable> for Failure {
    fn from(unreadable: Unreadable) -> Self {
        Self {
            error: "nothing was asked".to_owned(),
            message: unreadable.to_string(),
        }
    }
}

/// Pauses that grow, until a limit of time.
struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn of(limit: Duration) -> Self {
        Self {
            until: Instant::now() + limit,
            pause: FIRST_PAUSE,
        }
    }

    /// Waits; false once the time is up.
    async fn goes_on(&mut self) -> bool {
        if Instant::now() + self.pause > self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// Asks again while what was just made is not known there yet.
async fn propagated<T, F>(mut ask: impl FnMut() -> F) -> Result<T, LinkError>
where
    F: Future<Output = Result<T, LinkError>>,
{
    let mut patience = Patience::of(PROPAGATION);
    loop {
        let error = match ask().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let waits = error.refusal().is_some_and(|refusal| refusal.awaits_link());
        if !waits || !patience.goes_on().await {
            return Err(error);
        }
        tracing::debug!(%error, "not known there yet");
    }
}

/// What did not happen in time.
fn late(what: impl Into<String>) -> Failure {
    Failure {
        error: "not in time".to_owned(),
        message: what.into(),
    }
}

impl Brokers<'_> {
    fn api(&self, cluster: &str) -> Result<LinkApi, Failure> {
        let api = self.clusters().link_api(cluster);
        api.map_err(|error| Failure::from(&error))
    }
}

fn new_mirror(mirror: &NewBrokerMirror) -> NewMirror {
    let configs = mirror.configs.iter();
    NewMirror {
        source_topic_name: mirror.source_topic.clone(),
        mirror_topic_name: mirror.mirror_topic.clone(),
        replication_factor: mirror.replication_factor,
        configs: configs
            .map(|(name, value)| NewConfig {
                name: name.clone(),
                value: value.clone(),
            })
            .collect(),
    }
}

/// Whether a mirror has come to where an action leads.
fn is_done(action: MirrorAction, state: &MirrorState) -> bool {
    match action {
        MirrorAction::Promote | MirrorAction::FailOver => *state == MirrorState::Stopped,
        MirrorAction::Pause => *state == MirrorState::Paused,
        // What keeps an active mirror from copying is another matter.
        MirrorAction::Resume => *state != MirrorState::Paused,
    }
}

fn lag(mirror: &Mirror) -> String {
    let lag: Option<u64> = mirror.mirror_lags.iter().map(MirrorLag::known).sum();
    lag.map_or_else(|| "unknown".to_owned(), |lag| lag.to_string())
}

/// Waits until the mirror has come to where the action leads.
async fn settled(
    api: &LinkApi,
    link: &str,
    topic: &str,
    action: MirrorAction,
) -> Result<(), Failure> {
    let limit = match action {
        MirrorAction::Promote | MirrorAction::FailOver => PROMOTION,
        MirrorAction::Pause | MirrorAction::Resume => CHANGE,
    };
    let mut patience = Patience::of(limit);
    let mut told = None;
    loop {
        let mirror = api.mirror(link, topic).await;
        let mirror = mirror.map_err(|error| Failure::from(&error))?;
        let Some(mirror) = mirror else {
            return Err(late(format!("the brokers know no mirror {topic} any more")));
        };
        if is_done(action, &mirror.mirror_status) {
            return Ok(());
        }
        let state = (mirror.mirror_status.clone(), lag(&mirror));
        if told.as_ref() != Some(&state) {
            tracing::info!(link, topic, state = %state.0, lag = state.1, "waiting for the brokers");
            told = Some(state);
        }
        if mirror.mirror_status == MirrorState::Failed && action != MirrorAction::FailOver {
            return Err(late(format!(
                "the mirror is FAILED: {}",
                mirror
                    .mirror_topic_error
                    .as_deref()
                    .unwrap_or("no reason given")
            )));
        }
        if !patience.goes_on().await {
            return Err(late(format!(
                "after {} s it is still {}, lag {}; it may go on by itself: plan again to see",
                limit.as_secs(),
                mirror.mirror_status,
                lag(&mirror)
            )));
        }
    }
}

#[async_trait]
impl LinkEffects for Brokers<'_> {
    async fn create_link(
        &self,
        cluster: &str,
        link: &str,
        role: &HalfRole,
        configs: &[HalfChange],
    ) -> Result<(), Failure> {
        let api = self.api(cluster)?;
        let wanted = self.halves().link(role, configs).await?;
        let asked = || api.create_link(link, &wanted, Validation::default());
        if let Err(error) = propagated(asked).await {
            // What was not answered may have been done.
            let unknown = error.refusal().is_none();
            let is_there = unknown && matches!(api.link(link).await, Ok(Some(_)));
            if !is_there {
                return Err(Failure::from(&error));
            }
        }
        let mut patience = Patience::of(PROPAGATION);
        loop {
            match api.link(link).await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) if patience.goes_on().await => {}
                Ok(None) => {
                    return Err(late("the link was made, and the brokers do not tell of it"));
                }
                Err(error) => return Err(Failure::from(&error)),
            }
        }
    }

    async fn alter_link(
        &self,
        cluster: &str,
        link: &str,
        configs: &[HalfChange],
    ) -> Result<(), Failure> {
        let api = self.api(cluster)?;
        let changes = self.halves().changes(configs).await?;
        let done = api.alter_configs(link, &changes).await;
        done.map_err(|error| Failure::from(&error))
    }

    async fn delete_link(&self, cluster: &str, link: &str) -> Result<(), Failure> {
        let api = self.api(cluster)?;
        match api.delete_link(link, false).await {
            Ok(()) => {}
            Err(LinkError::Refused(refusal)) if refusal.is_not_found() => return Ok(()),
            Err(error) => return Err(Failure::from(&error)),
        }
        let mut patience = Patience::of(CHANGE);
        loop {
            match api.link(link).await {
                Ok(None) => return Ok(()),
                Ok(Some(_)) if patience.goes_on().await => {}
                Ok(Some(_)) => return Err(late("the brokers still tell of it")),
                Err(error) => return Err(Failure::from(&error)),
            }
        }
    }

    async fn create_mirror(
        &self,
        cluster: &str,
        link: &str,
        mirror: &NewBrokerMirror,
    ) -> Result<(), Failure> {
        let api = self.api(cluster)?;
        let wanted = new_mirror(mirror);
        let topic = mirror.mirror_topic.as_ref().unwrap_or(&mirror.source_topic);
        if let Err(error) = propagated(|| api.create_mirror(link, &wanted)).await {
            let unknown = error.refusal().is_none();
            let is_there = unknown && matches!(api.mirror(link, topic).await, Ok(Some(_)));
            if !is_there {
                return Err(Failure::from(&error));
            }
        }
        let mut patience = Patience::of(PROPAGATION);
        loop {
            match api.mirror(link, topic).await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) if patience.goes_on().await => {}
                Ok(None) => {
                    return Err(late(
                        "the mirror was made, and the brokers do not tell of it",
                    ));
                }
                Err(error) => return Err(Failure::from(&error)),
            }
        }
    }

    async fn act_on_mirrors(
        &self,
        cluster: &str,
        link: &str,
        action: MirrorAction,
        topics: &[String],
    ) -> Vec<Result<(), Failure>> {
        let all = |failure: Failure| topics.iter().map(|_| Err(failure.clone())).collect();
        let api = match self.api(cluster) {
            Ok(api) => api,
            Err(failure) => return all(failure),
        };
        let outcomes = match api.act(link, Action::from(action), topics, false).await {
            Ok(outcomes) => outcomes,
            Err(error) => return all(Failure::from(&error)),
        };
        let waiting = topics.iter().map(|topic| {
            // A refusal of one topic comes inside an answer of success.
            let own = outcomes.iter().find(|it| it.mirror_topic_name == *topic);
            let refused = own.and_then(|it| {
                it.refusal().map(|message| Failure {
                    error: "refused".to_owned(),
                    message,
                })
            });
            let api = &api;
            async move {
                match refused {
                    Some(failure) => Err(failure),
                    None => settled(api, link, topic, action).await,
                }
            }
        });
        futures::future::join_all(waiting).await
    }

    async fn delete_mirrors(
        &self,
        cluster: &str,
        link: &str,
        topics: &[String],
    ) -> Vec<Result<(), Failure>> {
        let api = match self.api(cluster) {
            Ok(api) => api,
            Err(failure) => return topics.iter().map(|_| Err(failure.clone())).collect(),
        };
        let waiting = topics.iter().map(|topic| async {
            let deleted = api.delete_mirror_topic(topic).await;
            deleted.map_err(|error| Failure::from(&error))?;
            let mut patience = Patience::of(CHANGE);
            loop {
                match api.mirror(link, topic).await {
                    Ok(None) => return Ok(()),
                    Ok(Some(_)) if patience.goes_on().await => {}
                    Ok(Some(_)) => {
                        return Err(late("its topic is gone, and the brokers still tell of it"));
                    }
                    Err(error) => return Err(Failure::from(&error)),
                }
            }
        });
        futures::future::join_all(waiting).await
    }
}
