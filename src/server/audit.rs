//! Who changed what: one line of the log for each request that may change something, under the target `kmirror::audit`.
//!
//! A line tells who asked, from where, method and path, what was named in the body, and how it ended. Values are left out:
//! a config may be a secret.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRequestParts, Request};
use axum::response::Response;
use hyper::http::request::Parts;
use hyper::{Method, Uri};
use tokio::time::Instant;

use super::connection::Peer;
use super::problem::{ApiError, RefusedWith};
use crate::report::clean;

/// What a handler adds to its request's line: names, no values.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<Vec<String>>>);

/// More names than this are counted only.
const MOST_NOTES: usize = 50;
/// A longer path or query is cut.
const LONGEST: usize = 1000;

impl Notes {
    /// Adds what the request is about: `topic orders`.
    pub fn add(&self, note: impl AsRef<str>) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push(short(note.as_ref()));
    }

    fn told(&self) -> String {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = notes.iter().take(MOST_NOTES).cloned().collect::<Vec<_>>();
        if notes.len() > MOST_NOTES {
            told.push(format!("and {} more", notes.len() - MOST_NOTES));
        }
        told.join(", ")
    }
}

impl<S: Sync> FromRequestParts<S> for Notes {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

fn is_change(method: &Method) -> bool {
    !(method == Method::GET || method == Method::HEAD || method == Method::OPTIONS)
}

/// A request on its way, to be told when it has ended.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Once it is known.
    pub user: Option<String>,
    pub notes: Notes,
    peer: Peer,
    method: Method,
    uri: Uri,
    began: Instant,
}

impl Line {
    /// Of a request that may change something.
    pub fn of(request: &Request) -> Option<Self> {
        let peer = request.extensions().get::<Peer>();
        peer.filter(|_| is_change(request.method()))
            .map(|peer| Self {
                user: None,
                notes: Notes::default(),
                peer: *peer,
                method: request.method().clone(),
                uri: request.uri().clone(),
                began: Instant::now(),
            })
    }

    pub fn tell(&self, response: &Response) {
        let user = self.user.as_deref().map_or("-".to_owned(), clean);
        let path = self.uri.path_and_query();
        let path = short(path.map_or("", |path| path.as_str()));
        let Peer(peer) = self.peer;
        let about = self.notes.told();
        let status = response.status().as_u16();
        let refused = response.extensions().get::<RefusedWith>();
        let error = refused.map(|RefusedWith(code)| *code);
        tracing::info!(
            target: "kmirror::audit",
            %user, %peer, method = %self.method, %path, about, status, error,
            took = ?self.began.elapsed(),
            "audit"
        );
    }
}

/// On one line, and not longer than that.
fn short(text: &str) -> String {
    let mut text = clean(text);
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_whatever_is_named() {
        let notes = Notes::default();
        notes.add("topic a\nb");
        notes.add("x".repeat(5000));
        let told = notes.told();
        assert!(
            told.starts_with("topic a\\u{a}b, xxx") && told.len() < 1100,
            "{told}"
        );
        for _ in 0..100 {
            notes.add("y");
        }
        assert!(notes.told().ends_with("y, and 52 more"));
    }
}
