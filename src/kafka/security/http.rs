//! One HTTP request with limits: the size of the answer and the time it may take.
//!
//! For token endpoints and, through [`super::rest`], the brokers' REST API.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT,
};
use hyper::http::request::Builder;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::problem::Problem;
use super::tls::{Failure, Tls};
use crate::client::url::HttpUrl;
use crate::kafka::error::io_words;

/// From name resolution to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tokens with many groups in them are long, but not that long.
const LARGEST_ANSWER: usize = 1 << 20;
/// A cluster with many thousands of topics has lists of that size.
const LARGEST_DOCUMENT: usize = 64 << 20;

#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub location: Option<String>,
    pub body: Bytes,
}

/// Why there was no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// May go better another time.
    Passing(String),
    /// The peer is no such server.
    Lasting(String),
    /// The peer's certificate is not accepted.
    Distrusted(String),
}

/// Sends a form.
pub(super) async fn post_form(
    target: &HttpUrl,
    tls: Option<&Tls>,
    authorization: HeaderValue,
    form: String,
) -> Result<Answer, NoAnswer> {
    let request = Request::post(&target.path)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(AUTHORIZATION, authorization);
    patiently(send(target, tls, request, form, LARGEST_ANSWER)).await
}

/// One call of a REST API, with a JSON document where there is a body.
pub(super) async fn call(
    method: Method,
    target: &HttpUrl,
    tls: Option<&Tls>,
    authorization: Option<HeaderValue>,
    body: Option<Vec<u8>>,
) -> Result<Answer, NoAnswer> {
    let mut request = Request::builder().method(method).uri(&target.path);
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let body = body.unwrap_or_default();
    patiently(send(target, tls, request, body, LARGEST_DOCUMENT)).await
}

async fn patiently(
    answer: impl Future<Output = Result<Answer, NoAnswer>>,
) -> Result<Answer, NoAnswer> {
    tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap_or_else(|_| {
            let limit = PATIENCE.as_secs();
            Err(NoAnswer::Passing(format!("no answer within {limit} s")))
        })
}

async fn send(
    target: &HttpUrl,
    tls: Option<&Tls>,
    request: Builder,
    body: impl Into<Bytes>,
    largest: usize,
) -> Result<Answer, NoAnswer> {
    let passing = |error: std::io::Error| NoAnswer::Passing(io_words(&error));
    let stream = TcpStream::connect((target.host.as_str(), target.port))
        .await
        .map_err(passing)?;
    let request = request
        .header(HOST, &target.authority)
        .header(USER_AGENT, concat!("kmirror/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .body(Full::new(body.into()))
        .map_err(|error| NoAnswer::Lasting(error.to_string()))?;
    let Some(tls) = tls else {
        return exchange(stream, request, largest)
            .await
            .map_err(|error| broken(&*error));
    };
    match tls.connect(&target.host, stream).await {
        Ok(stream) => {
            exchange(stream, request, largest)
                .await
                .map_err(|error| match alert(tls, &*error) {
                    Some(problem) => refused(problem),
                    None => broken(&*error),
                })
        }
        Err(Failure::Problem(problem)) => Err(refused(problem)),
        Err(Failure::Lost(error)) => Err(passing(error)),
    }
}

/// What the server has against us: in TLS 1.3 (RFC 8446, section 4.4.2.4) it says so after the handshake.
fn alert(tls: &Tls, error: &(dyn Error + 'static)) -> Option<Problem> {
    match error.downcast_ref() {
        Some(error) => tls.problem_of(error),
        None => alert(tls, error.source()?),
    }
}

fn refused(problem: Problem) -> NoAnswer {
    match problem {
        Problem::BrokerCertificate(problem) => NoAnswer::Distrusted(format!(
            "its certificate {} is not accepted: {}",
            problem.subject, problem.fault
        )),
        Problem::NotTls => {
            NoAnswer::Lasting("it does not answer in TLS; is it an http:// address?".to_owned())
        }
        Problem::ClientCertificate(problem) => NoAnswer::Lasting(problem.told_of("the server")),
        problem => NoAnswer::Lasting(problem.to_string()),
    }
}

fn broken(error: &dyn Error) -> NoAnswer {
    NoAnswer::Passing(format!("it does not answer as HTTP does: {error}"))
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    largest: usize,
) -> Result<Answer, Box<dyn Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the connection, or when it is no longer wanted.
    let _driver = Driver(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to an HTTP server");
        }
    }));
    let response = sender.send_request(request).await?;
    let status = response.status();
    let location = response
        .headers()
        .get(hyper::header::LOCATION)
        .and_then(|value| Some(value.to_str().ok()?.to_owned()));
    let body = Limited::new(response.into_body(), largest)
        .collect()
        .await?
        .to_bytes();
    Ok(Answer {
        status,
        location,
        body,
    })
}

struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
