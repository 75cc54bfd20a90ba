//! Says who we are, at the beginning and again before the broker's patience with that ends (KIP-368).

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::{Request, StrBytes};
use rand::Rng;
use tokio::sync::mpsc;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::shared::{Outgoing, Queued, Shared};
use super::{Connection, Error, ErrorCode, Handle};
use crate::kafka::backoff::Backoff;
use crate::kafka::security::problem::Problem;
use crate::kafka::security::{Exchange, Security};

const UNSUPPORTED_SASL_MECHANISM: ErrorCode = ErrorCode(33);
const ILLEGAL_SASL_STATE: ErrorCode = ErrorCode(34);
const SASL_AUTHENTICATION_FAILED: ErrorCode = ErrorCode(58);
/// No mechanism takes more steps.
const MOST_STEPS: usize = 8;
/// Brokers take no renewal within the first second; a token that is about to end gives such sessions.
const SHORTEST_SESSION: Duration = Duration::from_millis(1_100);
/// The part of a session's life after which it is renewed, as in Java's client: somewhere in here, so that not all
/// connections come at once.
const RENEWAL: std::ops::Range<f64> = 0.85..0.95;

/// How requests of an authentication leave.
#[derive(Clone, Copy)]
enum Line<'a> {
    /// Behind everything else that is queued.
    Queue,
    /// With nothing of others in between.
    Exclusive(&'a mpsc::UnboundedSender<Outgoing>),
}

/// How long the broker takes us for who we said we are.
#[derive(Clone, Copy, Debug)]
struct Session {
    began: Instant,
    lifetime: Duration,
}

impl Connection {
    /// Authenticates, if the protocol has SASL.
    pub(super) async fn log_in(self) -> Result<Self, Error> {
        let security = self.security();
        let Some(exchange) = security.exchange(self.address()).await? else {
            return Ok(self);
        };
        let limit = self.handle.shared.options.request_timeout;
        let authenticating = self.authenticate(exchange, Line::Queue);
        let session = tokio::time::timeout(limit, authenticating)
            .await
            .unwrap_or_else(|_| {
                Err(Error::Timeout {
                    address: self.address().to_owned(),
                    during: "SaslAuthenticate".to_owned(),
                    after: limit,
                })
            })?;
        if let Some(session) = session {
            let shared = Arc::clone(&self.handle.shared);
            tokio::spawn(keep(Arc::downgrade(&self.handle), shared, session));
        }
        Ok(self)
    }

    /// Authenticates again while requests of others wait; their answers come before and after as they always do.
    async fn log_in_again(&self, exchange: Exchange) -> Result<Option<Session>, Error> {
        let (requests, receiver) = mpsc::unbounded_channel();
        // A queue that is gone drops the receiver, and the first request fails with the reason.
        let _ = self.handle.queue.send(Queued::Exclusive(receiver));
        self.authenticate(exchange, Line::Exclusive(&requests))
            .await
    }

    fn security(&self) -> Arc<Security> {
        Arc::clone(&self.handle.shared.options.security)
    }

    /// Goes through an exchange; gives how long the broker lets the session live, if it limits that.
    async fn authenticate(
        &self,
        mut exchange: Exchange,
        line: Line<'_>,
    ) -> Result<Option<Session>, Error> {
        let mechanism = exchange.mechanism();
        self.name_mechanism(mechanism, line).await?;
        let mut message = exchange.first();
        for _ in 0..MOST_STEPS {
            let request = SaslAuthenticateRequest::default()
                .with_auth_bytes(Bytes::copy_from_slice(&message));
            let response = self.ask(&request, line).await?;
            let code = ErrorCode(response.error_code);
            if !code.is_ok() {
                let said = response.error_message.map(|text| text.to_string());
                let said = exchange.refusal().or(said).unwrap_or_default();
                return Err(self.refused(mechanism, code, said));
            }
            let (reply, returned) = next(exchange, response.auth_bytes).await;
            exchange = returned;
            match reply {
                Ok(Some(reply)) => message = reply,
                Ok(None) => {
                    let lifetime = u64::try_from(response.session_lifetime_ms).unwrap_or(0);
                    return Ok((lifetime > 0).then(|| Session {
                        began: Instant::now(),
                        lifetime: Duration::from_millis(lifetime),
                    }));
                }
                Err(cause) => return Err(self.at_fault(Problem::Exchange { mechanism, cause })),
            }
        }
        let cause = "the broker does not come to an end".to_owned();
        Err(self.at_fault(Problem::Exchange { mechanism, cause }))
    }

    async fn name_mechanism(&self, mechanism: &'static str, line: Line<'_>) -> Result<(), Error> {
        let request =
            SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
        let response = self.ask(&request, line).await?;
        let problem = match ErrorCode(response.error_code) {
            ErrorCode::NONE => return Ok(()),
            UNSUPPORTED_SASL_MECHANISM => Problem::MechanismNotOffered {
                wanted: mechanism,
                offered: response
                    .mechanisms
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
            },
            ILLEGAL_SASL_STATE => Problem::NoSasl(self.security().protocol()),
            code => Problem::Exchange {
                mechanism,
                cause: format!("{} ({})", code.description(), code.name()),
            },
        };
        Err(self.at_fault(problem))
    }

    fn refused(&self, mechanism: &'static str, code: ErrorCode, said: String) -> Error {
        let message = match (code, said.is_empty()) {
            (SASL_AUTHENTICATION_FAILED, false) => said,
            (SASL_AUTHENTICATION_FAILED, true) => code.description().to_owned(),
            (code, true) => format!("{} ({})", code.description(), code.name()),
            (code, false) => format!("{said} ({})", code.name()),
        };
        self.at_fault(Problem::Refused { mechanism, message })
    }

    fn at_fault(&self, problem: Problem) -> Error {
        self.security().at(self.address(), problem).into()
    }

    async fn ask<R: Request>(&self, request: &R, line: Line<'_>) -> Result<R::Response, Error> {
        let version = self.version::<R>()?;
        let body = vec![self.encode(request, version)?];
        let answer = match line {
            Line::Queue => self.queue(R::KEY, version, body)?,
            Line::Exclusive(requests) => {
                let (outgoing, answer) = self.outgoing(R::KEY, version, body)?;
                // A line that is gone drops the request, and its answer fails with the reason.
                let _ = requests.send(outgoing);
                answer
            }
        };
        self.decode::<R>(answer.frame().await?, version)
    }
}

/// Key derivations take their time, so not where connections are served.
async fn next(
    mut exchange: Exchange,
    challenge: Bytes,
) -> (Result<Option<Zeroizing<Vec<u8>>>, String>, Exchange) {
    tokio::task::spawn_blocking(move || (exchange.next(&challenge), exchange))
        .await
        .expect("an exchange does not panic")
}

/// Renews a connection's session again and again, until the connection ends or cannot be kept.
async fn keep(handle: Weak<Handle>, shared: Arc<Shared>, mut session: Session) {
    let renewing = async {
        loop {
            let share = rand::rng().random_range(RENEWAL);
            let age = session.lifetime.mul_f64(share).max(SHORTEST_SESSION);
            tokio::time::sleep_until(session.began + age).await;
            let exchange = match credentials(&shared, session).await {
                Ok(exchange) => exchange,
                Err(error) => break Some(error),
            };
            // Held only meanwhile: the connection closes with its last user.
            let connection = Connection {
                handle: handle.upgrade()?,
            };
            match connection.log_in_again(exchange).await {
                Ok(Some(renewed)) => {
                    tracing::debug!(address = connection.address(), "session renewed");
                    session = renewed;
                }
                // The limit was lifted.
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        }
    };
    let failed = tokio::select! {
        () = shared.closed.cancelled() => return,
        failed = renewing => failed,
    };
    if let Some(error) = failed {
        let error = match error {
            Error::Security(mut error) => {
                error.problem = Problem::Renewal(Box::new(error.problem));
                Error::Security(error)
            }
            other => other,
        };
        let options = &shared.options;
        options.security.note(&options.address, Some(&error));
        shared.close(Some(error.to_string()), Some(error));
    }
}

/// What to authenticate with; where that cannot be had just now, it is tried until the session is over.
async fn credentials(shared: &Shared, session: Session) -> Result<Exchange, Error> {
    let options = &shared.options;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let error = match options.security.exchange(&options.address).await {
            Ok(Some(exchange)) => return Ok(exchange),
            Ok(None) => unreachable!("the session was begun with an exchange of the same settings"),
            Err(error) => error,
        };
        let delay = backoff.next_delay();
        if Instant::now() + delay >= session.began + session.lifetime {
            return Err(error.into());
        }
        tracing::debug!(%error, "no credentials to renew a session with");
        tokio::time::sleep(delay).await;
    }
}
