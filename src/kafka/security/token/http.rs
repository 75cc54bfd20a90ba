//! One HTTP request with limits: the size of the answer and the time it may take.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT,
};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::super::problem::Problem;
use super::super::tls::{Failure, Tls};
use crate::kafka::connection::io_words;

/// From name resolution to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tokens with many groups in them are long, but not that long.
const LARGEST_ANSWER: usize = 1 << 20;

/// Where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub secure: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// As it stands in the `Host` header.
    authority: String,
    path: String,
}

impl Target {
    /// # Errors
    /// What is wrong with the address.
    pub fn of(url: &str) -> Result<Self, String> {
        let uri: Uri = url.trim().parse().map_err(|error| format!("{error}"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(other) => return Err(format!("{other} is not http or https")),
            None => return Err("it does not begin with https://".to_owned()),
        };
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("it has a user name in it".to_owned());
        }
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        Ok(Self {
            secure,
            host: host.to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if secure { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }

    /// Whether nobody else can listen in.
    pub fn is_local(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

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
    /// The peer is not who it should be, or is no such server.
    Lasting(String),
}

/// Sends a form.
pub(super) async fn post_form(
    target: &Target,
    tls: Option<&Tls>,
    authorization: HeaderValue,
    form: String,
) -> Result<Answer, NoAnswer> {
    tokio::time::timeout(PATIENCE, post(target, tls, authorization, form))
        .await
        .unwrap_or_else(|_| {
            let limit = PATIENCE.as_secs();
            Err(NoAnswer::Passing(format!("no answer within {limit} s")))
        })
}

async fn post(
    target: &Target,
    tls: Option<&Tls>,
    authorization: HeaderValue,
    form: String,
) -> Result<Answer, NoAnswer> {
    let passing = |error: std::io::Error| NoAnswer::Passing(io_words(&error));
    let stream = TcpStream::connect((target.host.as_str(), target.port))
        .await
        .map_err(passing)?;
    let request = Request::post(&target.path)
        .header(HOST, &target.authority)
        .header(USER_AGENT, concat!("kmirror/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(AUTHORIZATION, authorization)
        .header(CONNECTION, "close")
        .body(Full::new(Bytes::from(form)))
        .map_err(|error| NoAnswer::Lasting(error.to_string()))?;
    let Some(tls) = tls else {
        return exchange(stream, request).await;
    };
    match tls.connect(&target.host, stream).await {
        Ok(stream) => exchange(stream, request).await,
        Err(Failure::Problem(Problem::BrokerCertificate(problem))) => {
            Err(NoAnswer::Lasting(format!(
                "its certificate {} is not accepted: {}",
                problem.subject, problem.fault
            )))
        }
        Err(Failure::Problem(Problem::NotTls)) => Err(NoAnswer::Lasting(
            "it does not answer in TLS; is it an http:// address?".to_owned(),
        )),
        Err(Failure::Problem(problem)) => Err(NoAnswer::Lasting(problem.to_string())),
        Err(Failure::Lost(error)) => Err(passing(error)),
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: &dyn std::fmt::Display| {
        NoAnswer::Passing(format!("it does not answer as HTTP does: {error}"))
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    // Ends with the connection, or when it is no longer wanted.
    let _driver = Driver(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a token endpoint");
        }
    }));
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| broken(&error))?;
    let status = response.status();
    let location = response
        .headers()
        .get(hyper::header::LOCATION)
        .and_then(|value| Some(value.to_str().ok()?.to_owned()));
    let body = Limited::new(response.into_body(), LARGEST_ANSWER)
        .collect()
        .await
        .map_err(|error| broken(&error))?
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_bad_ones_named() {
        let target = Target::of("https://idp.example/realms/k/token?x=1").unwrap();
        assert_eq!(
            (target.host.as_str(), target.port, target.path.as_str()),
            ("idp.example", 443, "/realms/k/token?x=1")
        );
        let target = Target::of("http://[::1]:8080").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 8080));
        assert!(target.is_local() && !target.secure);
        for bad in [
            "idp.example/token",
            "ftp://idp",
            "https://me:pw@idp/",
            "https://",
        ] {
            let error = Target::of(bad).expect_err(bad);
            assert!(!error.contains("pw"), "{error}");
        }
    }
}
