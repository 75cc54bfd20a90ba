//! Changes with their ends: asking a cluster's REST API, and waiting until what was asked for is so.
//!
//! What was made a moment ago is not known everywhere at once: the other half of a link, the link of a mirror. Such refusals are
//! waited out, and so is everything that the API only begins: promotion, failover, deletion.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::documents::{Mirror, MirrorLag, MirrorState, NewLink, NewMirror};
use super::links::{Action, LinkApi, LinkError, Validation};

/// How long what was just made may be unknown elsewhere.
const PROPAGATION: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// How long a promotion or a failover may take.
const PROMOTION: Duration = Duration::from_secs(300);
/// How long a change of state, or a deletion, may take otherwise.
const CHANGE: Duration = Duration::from_secs(60);

/// Why a change did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Of several mirror topics this one was refused, inside an answer of success.
    #[error("{0}")]
    Refused(String),
    /// It was asked for, and is not so yet.
    #[error("{0}")]
    Late(String),
}

/// Pauses that grow, until a limit of time.
pub(super) struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    pub(super) fn of(limit: Duration) -> Self {
        Self {
            until: Instant::now() + limit,
            pause: FIRST_PAUSE,
        }
    }

    /// Waits; false once the time is up.
    pub(super) async fn goes_on(&mut self) -> bool {
        if Instant::now() + self.pause > self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// Asks again while what was just made is not known there yet.
async fn propagated<F>(mut ask: impl FnMut() -> F) -> Result<(), LinkError>
where
    F: Future<Output = Result<(), LinkError>>,
{
    let mut patience = Patience::of(PROPAGATION);
    loop {
        let error = match ask().await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let waits = error.refusal().is_some_and(|refusal| refusal.awaits_link());
        if !waits || !patience.goes_on().await {
            return Err(error);
        }
        tracing::debug!(%error, "not known there yet");
    }
}

/// Looks until something is there, or is not, as it is wanted.
async fn awaited<T, F>(
    mut look: impl FnMut() -> F,
    wanted: bool,
    limit: Duration,
    late: &str,
) -> Result<(), StepError>
where
    F: Future<Output = Result<Option<T>, LinkError>>,
{
    let mut patience = Patience::of(limit);
    loop {
        if look().await?.is_some() == wanted {
            return Ok(());
        }
        if !patience.goes_on().await {
            return Err(StepError::Late(late.to_owned()));
        }
    }
}

/// Makes one half of a link, and waits until brokers tell of it.
///
/// # Errors
/// See [`StepError`].
pub async fn make_link(api: &LinkApi, name: &str, link: &NewLink) -> Result<(), StepError> {
    let asked = || api.create_link(name, link, Validation::default());
    if let Err(error) = propagated(asked).await {
        // What was not answered may have been done.
        let is_there = error.refusal().is_none() && matches!(api.link(name).await, Ok(Some(_)));
        if !is_there {
            return Err(error.into());
        }
    }
    let late = "the link was made, and the brokers do not tell of it";
    awaited(|| api.link(name), true, PROPAGATION, late).await
}

/// Deletes one half of a link, and waits until it is gone. One that is gone already counts as deleted. Never by force.
///
/// # Errors
/// See [`StepError`].
pub async fn drop_link(api: &LinkApi, name: &str) -> Result<(), StepError> {
    match api.delete_link(name, false).await {
        Ok(()) => {}
        Err(LinkError::Refused(refusal)) if refusal.is_not_found() => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let late = "it was deleted, and the brokers still tell of it";
    awaited(|| api.link(name), false, CHANGE, late).await
}

/// Makes a mirror topic, and waits until brokers tell of it.
///
/// # Errors
/// See [`StepError`].
pub async fn make_mirror(api: &LinkApi, link: &str, mirror: &NewMirror) -> Result<(), StepError> {
    let topic = mirror.mirror_topic_name.as_ref();
    let topic = topic.unwrap_or(&mirror.source_topic_name);
    if let Err(error) = propagated(|| api.create_mirror(link, mirror)).await {
        let is_there =
            error.refusal().is_none() && matches!(api.mirror(link, topic).await, Ok(Some(_)));
        if !is_there {
            return Err(error.into());
        }
    }
    let late = "the mirror was made, and the brokers do not tell of it";
    awaited(|| api.mirror(link, topic), true, PROPAGATION, late).await
}

/// Deletes a mirror topic, and waits until brokers know nothing of it.
///
/// # Errors
/// See [`StepError`].
pub async fn drop_mirror(api: &LinkApi, link: &str, topic: &str) -> Result<(), StepError> {
    api.delete_mirror_topic(topic).await?;
    let late = "its topic is gone, and the brokers still tell of the mirror";
    awaited(|| api.mirror(link, topic), false, CHANGE, late).await
}

/// Asks for the same of several mirror topics, and waits until each has come to where that leads. What is refused of one
/// does not concern the others.
pub async fn act(
    api: &LinkApi,
    link: &str,
    action: Action,
    topics: &[String],
) -> Vec<Result<(), StepError>> {
    let outcomes = match api.act(link, action, topics, false).await {
        Ok(outcomes) => outcomes,
        Err(error) => {
            let words = error.to_string();
            let mut first = Some(StepError::Link(error));
            let all = topics.iter();
            return all
                .map(|_| {
                    let again = StepError::Refused(words.clone());
                    Err(first.take().unwrap_or(again))
                })
                .collect();
        }
    };
    let waiting = topics.iter().map(|topic| {
        let own = outcomes.iter().find(|it| it.mirror_topic_name == *topic);
        let refused = own.and_then(|it| it.refusal());
        async move {
            match refused {
                Some(words) => Err(StepError::Refused(words)),
                None => settled(api, link, topic, action).await,
            }
        }
    });
    join_all(waiting).await
}

/// Whether a mirror has come to where an action leads.
fn is_done(action: Action, state: &MirrorState) -> bool {
    match action {
        Action::Promote | Action::Failover | Action::ReverseAndStart | Action::ReverseAndPause => {
            *state == MirrorState::Stopped
        }
        Action::Pause => *state == MirrorState::Paused,
        // What keeps an active mirror from copying is another matter.
        Action::Resume => *state != MirrorState::Paused,
        Action::TruncateAndRestore => *state == MirrorState::Active,
    }
}

fn lag(mirror: &Mirror) -> String {
    let lag: Option<u64> = mirror.mirror_lags.iter().map(MirrorLag::known).sum();
    lag.map_or_else(|| "unknown".to_owned(), |lag| lag.to_string())
}

/// Waits until the mirror has come to where the action leads.
async fn settled(api: &LinkApi, link: &str, topic: &str, action: Action) -> Result<(), StepError> {
    let limit = match action {
        Action::Pause | Action::Resume => CHANGE,
        _ => PROMOTION,
    };
    let mut patience = Patience::of(limit);
    let mut told = None;
    loop {
        let Some(mirror) = api.mirror(link, topic).await? else {
            let words = format!("the brokers know no mirror {topic} any more");
            return Err(StepError::Late(words));
        };
        if is_done(action, &mirror.mirror_status) {
            return Ok(());
        }
        let state = (mirror.mirror_status.clone(), lag(&mirror));
        if told.as_ref() != Some(&state) {
            tracing::info!(link, topic, state = %state.0, lag = state.1, "waiting for the brokers");
            told = Some(state);
        }
        if mirror.mirror_status == MirrorState::Failed && action != Action::Failover {
            let error = mirror.mirror_topic_error.as_deref();
            let words = format!(
                "the mirror is FAILED: {}",
                error.unwrap_or("no reason given")
            );
            return Err(StepError::Late(words));
        }
        if !patience.goes_on().await {
            return Err(StepError::Late(format!(
                "after {} s it is still {}, lag {}; it may go on by itself: plan again to see",
                limit.as_secs(),
                mirror.mirror_status,
                lag(&mirror)
            )));
        }
    }
}
