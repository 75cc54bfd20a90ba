//! Bearer tokens: read from a file, asked of an OIDC token endpoint, or signed for Amazon MSK.
//!
//! One [`Tokens`] belongs to a cluster and is shared by all its connections, and by librdkafka's. A token of an endpoint is kept until
//! most of its life is over, then another one is asked for, whether or not anybody needs it just then: an endpoint that
//! is away while brokers restart does not matter so. When no new one can be had, the one at hand serves until its end.

mod aws;
mod endpoint;
mod jwt;
mod sigv4;

use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, SystemTime};

use super::files::Files;
use super::problem::{Problem, TokenProblem};
use super::stores::Failed;
use crate::client::settings::TokenSource;
use crate::client::{Place, Secret};

/// Of a token's life, when another one is asked for.
const RENEWED_AFTER: f64 = 0.8;
/// A token that ends this soon is of no use to a connection that is just being made.
const TOO_SHORT: Duration = Duration::from_secs(5);
/// How long a token is kept that says nothing of its life.
const ASSUMED_LIFE: Duration = Duration::from_secs(300);
/// How soon an endpoint that did not give a token in time is asked again.
const ASKED_AGAIN: Duration = Duration::from_secs(20);
/// How long everybody who waits for the endpoint gets the failure of the first who asked.
const FAILURE_HOLDS: Duration = Duration::from_secs(2);

/// A token, ready to be shown to a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BearerToken {
    pub value: Secret,
    /// SASL extensions (KIP-342).
    pub extensions: Vec<(String, String)>,
    pub expires: Option<SystemTime>,
}

/// What came of asking for a token.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub problem: Problem,
    /// Known where a file is at fault; else the source's own keys decide.
    pub places: Option<Vec<Place>>,
}

impl From<TokenProblem> for Failure {
    fn from(problem: TokenProblem) -> Self {
        Self {
            problem: problem.into(),
            places: None,
        }
    }
}

impl From<Failed> for Failure {
    fn from((problem, places): Failed) -> Self {
        Self {
            problem: problem.into(),
            places: Some(places),
        }
    }
}

/// Where a cluster's tokens come from.
#[derive(Debug)]
pub(super) struct Tokens {
    /// For messages.
    cluster: String,
    source: TokenSource,
    /// Held while one is asked for, so that only one asks.
    asking: tokio::sync::Mutex<()>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<KeptToken>,
    failure: Option<(Failure, SystemTime)>,
    /// Whether a task asks for the next token in time.
    is_renewed: bool,
}

#[derive(Clone, Debug)]
struct KeptToken {
    token: BearerToken,
    renewed_at: SystemTime,
}

impl Tokens {
    pub fn new(cluster: &str, source: TokenSource) -> Arc<Self> {
        Arc::new(Self {
            cluster: cluster.to_owned(),
            source,
            asking: tokio::sync::Mutex::default(),
            kept: Mutex::default(),
        })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// A token for a broker at this host.
    pub async fn token(self: &Arc<Self>, host: &str) -> Result<BearerToken, Failure> {
        match &self.source {
            TokenSource::Static { token, extensions } => {
                let value = Files::default()
                    .secret(&token.value)
                    .map_err(|problem| Failure::from((problem, vec![token.place.clone()])))?;
                let expires = jwt::life(&value).and_then(|life| life.expires);
                if expires.is_some_and(|at| at <= SystemTime::now()) {
                    let cause = "its life is over (`exp`)".to_owned();
                    return Err(TokenProblem::Unusable(cause).into());
                }
                Ok(BearerToken {
                    value,
                    extensions: extensions.clone(),
                    expires,
                })
            }
            TokenSource::MskIam { profile, region } => {
                let environment = |name: &str| std::env::var(name).ok();
                let profile = profile.as_deref();
                aws::token(profile, region.as_deref(), host, &environment)
                    .map_err(|cause| TokenProblem::Unusable(cause).into())
            }
            TokenSource::ClientCredentials { .. } => self.of_endpoint().await,
        }
    }

    /// Forgets the token that a broker did not take.
    pub fn discard(&self) {
        self.kept().token = None;
    }

    async fn of_endpoint(self: &Arc<Self>) -> Result<BearerToken, Failure> {
        let token = self.kept_or_asked().await?;
        if !std::mem::replace(&mut self.kept().is_renewed, true) {
            tokio::spawn(renew(Arc::downgrade(self)));
        }
        Ok(token)
    }

    async fn kept_or_asked(&self) -> Result<BearerToken, Failure> {
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        let _asking = self.asking.lock().await;
        // Somebody else may have asked meanwhile.
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        if let Some(failure) = self.recent_failure() {
            return self.old_one_or(failure);
        }
        match endpoint::ask(&self.source).await {
            Ok(answer) => Ok(self.keep(answer)),
            Err(failure) => {
                self.kept().failure = Some((failure.clone(), SystemTime::now()));
                self.old_one_or(failure)
            }
        }
    }

    fn fresh(&self) -> Option<BearerToken> {
        let kept = self.kept();
        let kept = kept.token.as_ref()?;
        (SystemTime::now() < kept.renewed_at).then(|| kept.token.clone())
    }

    fn recent_failure(&self) -> Option<Failure> {
        let kept = self.kept();
        let (failure, at) = kept.failure.as_ref()?;
        let age = SystemTime::now().duration_since(*at).ok()?;
        (age < FAILURE_HOLDS).then(|| failure.clone())
    }

    /// The token that was asked for last, while it lives.
    pub fn at_hand(&self) -> Option<BearerToken> {
        let kept = self.kept();
        let token = &kept.token.as_ref()?.token;
        let end = SystemTime::now() + TOO_SHORT;
        (end < token.expires?).then(|| token.clone())
    }

    /// An endpoint that is away for a moment disturbs nobody.
    fn old_one_or(&self, failure: Failure) -> Result<BearerToken, Failure> {
        let token = self.at_hand().ok_or_else(|| failure.clone())?;
        tracing::debug!(problem = %failure.problem, "the token at hand serves a while longer");
        Ok(token)
    }

    fn keep(&self, answer: endpoint::Granted) -> BearerToken {
        let now = SystemTime::now();
        let own = jwt::life(&answer.token);
        let said = answer.expires_in.map(|life| now + life);
        let expires = match (own.and_then(|life| life.expires), said) {
            (Some(own), Some(said)) => Some(own.min(said)),
            (own, said) => own.or(said),
        };
        let life = match expires {
            Some(expires) => expires.duration_since(now).unwrap_or_default(),
            None => ASSUMED_LIFE,
        };
        let extensions = match &self.source {
            TokenSource::ClientCredentials { extensions, .. } => extensions.clone(),
            TokenSource::Static { .. } | TokenSource::MskIam { .. } => vec![],
        };
        let token = BearerToken {
            value: answer.token,
            extensions,
            expires,
        };
        let mut kept = self.kept();
        kept.failure = None;
        kept.token = Some(KeptToken {
            token: token.clone(),
            renewed_at: now + life.mul_f64(RENEWED_AFTER),
        });
        token
    }
}

/// Asks for each next token in time, as long as there is anybody to use it.
async fn renew(tokens: Weak<Tokens>) {
    let mut failing = false;
    let mut pause = Duration::ZERO;
    loop {
        let due = {
            let Some(tokens) = tokens.upgrade() else {
                return;
            };
            let kept = tokens.kept();
            kept.token.as_ref().map(|kept| kept.renewed_at)
        };
        let left = match due {
            Some(due) => due.duration_since(SystemTime::now()).unwrap_or_default(),
            // Discarded: whoever connects next asks for another.
            None => ASKED_AGAIN,
        };
        tokio::time::sleep(left.max(pause)).await;
        pause = Duration::ZERO;
        let Some(tokens) = tokens.upgrade() else {
            return;
        };
        if due.is_none() || tokens.fresh().is_some() {
            continue;
        }
        let asked = tokens.kept_or_asked().await;
        if tokens.fresh().is_some() {
            failing = false;
            continue;
        }
        // More often when the end is near.
        let left = asked.as_ref().ok().and_then(|token| token.expires);
        let left = left.and_then(|expires| expires.duration_since(SystemTime::now()).ok());
        pause = left.map_or(ASKED_AGAIN, |left| {
            (left / 2).clamp(Duration::from_secs(1), ASKED_AGAIN)
        });
        if std::mem::replace(&mut failing, true) {
            continue;
        }
        let cause = tokens
            .kept()
            .failure
            .as_ref()
            .map(|(failure, _)| failure.problem.to_string());
        let cause = cause.unwrap_or_default();
        let meanwhile = if asked.is_ok() {
            "the token at hand serves a while longer"
        } else {
            "there is none left to use"
        };
        tracing::warn!("cluster {}: {cause}; {meanwhile}", tokens.cluster);
    }
}

#[cfg(test)]
mod tests;
