//! The client-credentials grant (RFC 6749, section 4.4) at an OIDC token endpoint.
//!
//! Client id and secret go into the `Authorization` header as they are, which is what Kafka's own client does.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::super::files::Files;
use super::super::http::{self, Answer, NoAnswer};
use super::super::problem::TokenProblem;
use super::super::tls::Tls;
use super::Failure;

use crate::client::Secret;
use crate::client::settings::{TlsSettings, TokenSource};
use crate::client::url::HttpUrl;
use crate::kafka::backoff::Backoff;

/// How long an endpoint that is away or busy is asked again.
const PATIENCE: Duration = Duration::from_secs(6);

/// What the endpoint gave.
#[derive(Debug)]
pub(super) struct Granted {
    pub token: Secret,
    pub expires_in: Option<Duration>,
}

#[derive(Deserialize)]
struct Grant {
    access_token: Option<String>,
    /// A number, or, with some servers, a number in quotes.
    expires_in: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Refusal {
    error: Option<String>,
    error_description: Option<String>,
}

/// Asks for a token, again where that may help.
pub(super) async fn ask(source: &TokenSource) -> Result<Granted, Failure> {
    let TokenSource::ClientCredentials {
        endpoint,
        client_id,
        client_secret,
        scope,
        trust,
        ..
    } = source
    else {
        unreachable!("only this source has an endpoint");
    };
    let url = &endpoint.value;
    let target = HttpUrl::of(url).map_err(|cause| {
        TokenProblem::Unusable(format!(
            "`{url}` is no address of a token endpoint: {cause}"
        ))
    })?;
    if !target.secure && !target.is_local() {
        tracing::warn!(
            "the client secret for {url} and the tokens from there travel UNENCRYPTED: use https ({})",
            endpoint.place
        );
    }
    let mut files = Files::default();
    let mut read = |text: &crate::client::settings::Keyed<crate::client::Text>| {
        files
            .secret(&text.value)
            .map_err(|problem| Failure::from((problem, vec![text.place.clone()])))
    };
    let (id, secret) = (read(client_id)?, read(client_secret)?);
    let tls = if target.secure {
        let settings = TlsSettings {
            trust: trust.clone(),
            ..TlsSettings::default()
        };
        let read = tokio::task::spawn_blocking(move || Tls::read(&settings, &mut Files::default()));
        let tls = read
            .await
            .map_err(|panic| TokenProblem::Unusable(panic.to_string()))?;
        Some(tls?)
    } else {
        None
    };
    let basic = Zeroizing::new(format!("{}:{}", id.expose(), secret.expose()));
    let basic = Zeroizing::new(format!("Basic {}", STANDARD.encode(basic.as_bytes())));
    let mut authorization = HeaderValue::from_str(&basic)
        .map_err(|_| TokenProblem::Unusable("id and secret make no HTTP header".to_owned()))?;
    authorization.set_sensitive(true);
    let mut form = "grant_type=client_credentials".to_owned();
    if let Some(scope) = scope {
        form.push_str("&scope=");
        form.push_str(&encoded(scope));
    }

    let started = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(3));
    loop {
        let answer = http::post_form(&target, tls.as_ref(), authorization.clone(), form.clone());
        let cause = match answer.await {
            Ok(answer) => match judge(&answer) {
                Judged::Granted(granted) => return Ok(granted),
                Judged::Refused(cause) => {
                    let cause = without(&cause, &[&id, &secret]);
                    let endpoint = url.clone();
                    return Err(TokenProblem::Refused { endpoint, cause }.into());
                }
                Judged::Later(cause) => without(&cause, &[&id, &secret]),
            },
            Err(NoAnswer::Passing(cause)) => cause,
            Err(NoAnswer::Lasting(cause)) => {
                let endpoint = url.clone();
                return Err(TokenProblem::Refused { endpoint, cause }.into());
            }
            Err(NoAnswer::Distrusted(cause)) => {
                let endpoint = url.clone();
                return Err(TokenProblem::Distrusted { endpoint, cause }.into());
            }
        };
        let delay = backoff.next_delay();
        if started.elapsed() + delay >= PATIENCE {
            let endpoint = url.clone();
            return Err(TokenProblem::Passing { endpoint, cause }.into());
        }
        tracing::debug!(cause, "the token endpoint is asked again");
        tokio::time::sleep(delay).await;
    }
}

enum Judged {
    Granted(Granted),
    Refused(String),
    Later(String),
}

fn judge(answer: &Answer) -> Judged {
    let status = answer.status;
    if status.is_success() {
        return granted(answer).map_or_else(Judged::Refused, Judged::Granted);
    }
    if status.is_redirection() {
        let place = answer.location.as_deref().unwrap_or("another address");
        return Judged::Refused(format!("it redirects to {place}; give that address"));
    }
    let words = refusal(answer);
    let passing = status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        );
    if passing {
        Judged::Later(words)
    } else {
        Judged::Refused(words)
    }
}

fn granted(answer: &Answer) -> Result<Granted, String> {
    let grant: Grant = serde_json::from_slice(&answer.body)
        .map_err(|_| "its answer is not the JSON of a token; is this the token endpoint?")?;
    let token = grant
        .access_token
        .filter(|token| !token.is_empty())
        .ok_or("its answer has no access_token")?;
    let seconds = match grant.expires_in {
        Some(serde_json::Value::Number(number)) => number.as_f64(),
        Some(serde_json::Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    Ok(Granted {
        token: Secret::new(token),
        expires_in: seconds
            .filter(|seconds| (0.0..1e9).contains(seconds))
            .map(Duration::from_secs_f64),
    })
}

/// The endpoint's own words, bounded and on one line.
fn refusal(answer: &Answer) -> String {
    const MOST: usize = 400;
    let status = answer.status;
    let Ok(Refusal {
        error,
        error_description,
    }) = serde_json::from_slice(&answer.body)
    else {
        return format!("it answers {status}");
    };
    let words: Vec<String> = [error, error_description].into_iter().flatten().collect();
    let words: String = words
        .join(": ")
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(MOST)
        .collect();
    if words.is_empty() {
        format!("it answers {status}")
    } else {
        format!("{words} ({})", status.as_u16())
    }
}

/// A text of others without what they should not have repeated.
fn without(text: &str, secrets: &[&Secret]) -> String {
    secrets
        .iter()
        .map(|secret| secret.expose())
        .filter(|secret| secret.len() >= 4)
        .fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
}

/// As a form has it.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
