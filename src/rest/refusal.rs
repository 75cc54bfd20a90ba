//! Answers that are no success.

use std::fmt;

use hyper::StatusCode;
use serde::Deserialize;

/// The most of a server's own words that is repeated.
const MOST_WORDS: usize = 500;

/// What a server said instead of doing it.
///
/// The body is `{"error_code": …, "message": …}`, but a 429 may be a page of HTML and a 400 plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    /// Finer than the status, such as 40002; `None` where the body does not say it.
    pub code: Option<i64>,
    /// The server's own words, without what is not printable.
    pub message: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    error_code: Option<i64>,
    message: Option<String>,
}

impl Refusal {
    pub fn of(status: StatusCode, body: &[u8]) -> Self {
        let (code, message) = match serde_json::from_slice::<Body>(body) {
            Ok(body) => (body.error_code, body.message),
            Err(_) => (None, plain(body)),
        };
        let message = message.map(|words| printable(&words));
        Self {
            status,
            code,
            message: message.filter(|words| !words.is_empty()),
        }
    }

    /// Whether the link, mirror or topic that was named is not there.
    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// Whether the same may be answered differently a little later, whatever was asked: too many requests, or a broker
    /// that is not there just now.
    pub fn may_pass(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS
            || self.status == StatusCode::REQUEST_TIMEOUT
            || (self.status.is_server_error() && self.status != StatusCode::NOT_IMPLEMENTED)
    }

    /// Whether the server does not know this way of asking, so that another one may be tried.
    pub fn is_unknown_way(&self) -> bool {
        matches!(
            self.status,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
        )
    }

    /// Whether the cluster is of a type that has no links, such as Confluent Cloud's smallest.
    pub fn says_disabled(&self) -> bool {
        let message = self.message.as_deref().unwrap_or_default();
        message.to_ascii_lowercase().contains("disabled")
    }

    /// Whether what was asked for needs something that was made a moment ago and is not known everywhere yet: the other
    /// half of a link, or the link of a mirror.
    pub fn awaits_link(&self) -> bool {
        let says = |words: &[&str]| {
            let message = self.message.as_deref().unwrap_or_default();
            let message = message.to_ascii_lowercase();
            words.iter().all(|word| message.contains(word))
        };
        match self.status {
            StatusCode::NOT_FOUND => says(&["link"]) && !says(&["topic"]),
            StatusCode::BAD_REQUEST => {
                says(&["remote", "link", "not exist"]) || says(&["remote", "link", "not found"])
            }
            _ => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.message, self.code) {
            (Some(message), Some(code)) if code != i64::from(self.status.as_u16()) => {
                write!(f, "{message} ({}, error code {code})", self.status)
            }
            (Some(message), _) => write!(f, "{message} ({})", self.status),
            (None, Some(code)) => write!(f, "{} (error code {code})", self.status),
            (None, None) => write!(f, "{}", self.status),
        }
    }
}

/// Text that is no page of markup.
fn plain(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    (!text.starts_with('<')).then(|| text.to_owned())
}

fn printable(words: &str) -> String {
    let spaced = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let clean = spaced.chars().filter(|char| !char.is_control());
    clean.take(MOST_WORDS).collect()
}
