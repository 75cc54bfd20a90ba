//! What every request passes on its way in, and its answer on the way out.
//!
//! In this order, so that the cheap looks come first and only those who may ask cost anything: the size of the headers, where the request
//! comes from, who asks, whether there is room for it, its body. A change is carried through even if whoever asked for it has
//! gone away meanwhile: half of one is worse than one whose answer nobody hears.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::Body as _;
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::audit;
use super::guard::Names;
use super::limits::Limits;
use super::problem::ApiError;
use super::urls::Base;
use super::users::Users;

/// What a listener lets in.
#[derive(Debug)]
pub(super) struct Site {
    pub names: Names,
    pub users: Option<Arc<Users>>,
    pub limits: Limits,
    pub requests: Arc<Semaphore>,
}

/// Lets a request through to its handler, or refuses it.
pub(super) async fn pass(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let mut line = audit::Line::of(&request);
    let mut response = match site.admit(request, &mut line).await {
        Ok(admitted) => site.carry_out(admitted, line, next).await,
        Err(refusal) => {
            let response = refusal.into_response();
            if let Some(line) = line {
                line.tell(&response);
            }
            response
        }
    };
    dress(&mut response);
    response
}

/// A request that may be carried out.
struct Admitted {
    request: Request,
    room: OwnedSemaphorePermit,
}

impl Site {
    /// `line` learns who asks.
    async fn admit(
        &self,
        request: Request,
        line: &mut Option<audit::Line>,
    ) -> Result<Admitted, ApiError> {
        let (mut parts, body) = request.into_parts();
        let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
        let headers: usize = parts.headers.iter().map(size).sum();
        let path = parts
            .uri
            .path_and_query()
            .map_or(0, |path| path.as_str().len());
        if headers + path > self.limits.head {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(ApiError::bare(status).closing());
        }
        let host = self.names.admit(&parts.uri, &parts.headers)?;
        if let Some(users) = &self.users {
            let user = users.identify(parts.headers.get(AUTHORIZATION)).await?;
            if let Some(line) = line {
                line.user = Some(user);
            }
        }
        let turn = Arc::clone(&self.requests).acquire_owned();
        let Ok(Ok(room)) = tokio::time::timeout(self.limits.turn, turn).await else {
            return Err(ApiError::too_many(
                "this server works on as many requests as it takes",
            ));
        };
        let body = self.body(body).await?;
        let scheme = self.names.scheme(&host, &parts.headers);
        parts.extensions.insert(Base::of(scheme, &host, &parts.uri));
        Ok(Admitted {
            request: Request::from_parts(parts, Body::from(body)),
            room,
        })
    }

    /// The whole body, within its limits.
    async fn body(&self, body: Body) -> Result<Bytes, ApiError> {
        let limit = self.limits.body;
        let too_large = || ApiError::bare(StatusCode::PAYLOAD_TOO_LARGE).closing();
        // One that says so itself is not read at all.
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large());
        }
        let reading = Limited::new(body, limit).collect();
        match tokio::time::timeout(self.limits.body_time, reading).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(ApiError::malformed("the body cannot be read").closing()),
            Err(_) => Err(ApiError::timeout("the body did not arrive in time").closing()),
        }
    }

    /// `line` is there for what may change something.
    async fn carry_out(
        &self,
        admitted: Admitted,
        line: Option<audit::Line>,
        next: Next,
    ) -> Response {
        let Admitted { mut request, room } = admitted;
        let is_change = line.is_some();
        if let Some(line) = &line {
            request.extensions_mut().insert(line.notes.clone());
        }
        let unheard = line.clone();
        let work = tokio::spawn(async move {
            let response = next.run(request).await;
            if let Some(line) = line {
                line.tell(&response);
            }
            drop(room);
            response
        });
        // What only reads is given up with its caller.
        let _given_up = (!is_change).then(|| GivenUp(work.abort_handle()));
        match tokio::time::timeout(self.limits.answer_time, work).await {
            Ok(Ok(response)) => response,
            Ok(Err(panic)) => {
                tracing::error!(%panic, "a request ended in a mistake of kmirror's own");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                let response = ApiError::bare(status).into_response();
                if let Some(line) = unheard {
                    line.tell(&response);
                }
                response
            }
            Err(_) if is_change => {
                ApiError::timeout("this takes longer than an answer may; it is carried on")
                    .into_response()
            }
            Err(_) => ApiError::timeout("this takes longer than an answer may").into_response(),
        }
    }
}

struct GivenUp(AbortHandle);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What browsers and caches should know of every answer.
fn dress(response: &mut Response) {
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    let fixed = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in fixed {
        // A page that needs more says so itself.
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if is_unauthorized {
        let how = HeaderValue::from_static(r#"Basic realm="kmirror", charset="UTF-8""#);
        headers.insert(WWW_AUTHENTICATE, how);
    }
}
