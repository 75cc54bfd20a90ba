//! Documents of a cluster's REST API, asked for over HTTP with the same trust as brokers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};

use super::files::Files;
use super::http::{self, NoAnswer};
use super::tls::Tls;
use crate::client::Secret;
use crate::client::settings::TlsSettings;
use crate::client::url::HttpUrl;

/// Who asks, and whom it trusts.
#[derive(Debug)]
pub struct RestClient {
    tls: Option<Tls>,
    authorization: Option<HeaderValue>,
}

/// How the server is told who asks.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    /// HTTP's Basic authentication.
    Basic {
        username: &'a str,
        password: &'a Secret,
    },
    /// A bearer token (RFC 6750).
    Bearer(&'a Secret),
}

impl Asker<'_> {
    fn header(self) -> Result<HeaderValue, RestError> {
        let text = zeroize::Zeroizing::new(match self {
            Self::Basic { username, password } => {
                let pair = zeroize::Zeroizing::new(format!("{username}:{}", password.expose()));
                format!("Basic {}", STANDARD.encode(&*pair))
            }
            Self::Bearer(token) => format!("Bearer {}", token.expose()),
        });
        let mut value = HeaderValue::try_from(&*text).map_err(|_| RestError::Credentials)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Why there is no document. Never repeats who asked.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    #[error("{0}")]
    Material(String),
    #[error(
        "user name and password, or token, cannot be sent: one of them has a control character"
    )]
    Credentials,
    /// Nobody answered, or not as an HTTP server does.
    #[error("{0}")]
    NoAnswer(String),
    /// It answered with another status than 200.
    #[error("it answers {0}")]
    Status(StatusCode),
}

impl RestClient {
    /// # Errors
    /// Certificates that cannot be read.
    pub fn new(tls: &TlsSettings, asker: Option<Asker<'_>>) -> Result<Self, RestError> {
        let tls = Tls::read(tls, &mut Files::default())
            .map_err(|(problem, _)| RestError::Material(problem.to_string()))?;
        let authorization = asker.map(Asker::header).transpose()?;
        Ok(Self {
            tls: Some(tls),
            authorization,
        })
    }

    /// For servers without TLS, such as listeners on loopback; reads no certificates.
    pub fn without_tls() -> Self {
        Self {
            tls: None,
            authorization: None,
        }
    }

    /// What lies under an address.
    ///
    /// # Errors
    /// Nobody answers, or the answer is none with a document.
    pub async fn get(&self, url: &HttpUrl) -> Result<Bytes, RestError> {
        match self.call(Method::GET, url, None).await? {
            (StatusCode::OK, body) => Ok(body),
            (status, _) => Err(RestError::Status(status)),
        }
    }

    /// One request, with a JSON document where there is a body; the answer's status and body, whatever they are.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn call(
        &self,
        method: Method,
        url: &HttpUrl,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Bytes), RestError> {
        let tls = self.tls.as_ref().filter(|_| url.secure);
        if url.secure && tls.is_none() {
            let cause = "certificates are trusted by nobody here".to_owned();
            return Err(RestError::Material(cause));
        }
        let answer = http::call(method, url, tls, self.authorization.clone(), body)
            .await
            .map_err(|no| match no {
                NoAnswer::Passing(cause)
                | NoAnswer::Lasting(cause)
                | NoAnswer::Distrusted(cause) => RestError::NoAnswer(cause),
            })?;
        Ok((answer.status, answer.body))
    }
}
