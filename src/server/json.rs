//! JSON in and out: documents of requests and responses, queries and parts of paths, with refusals in the API's own form.

use std::fmt;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::ApiError;

/// A response's document.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        raw(StatusCode::OK, bytes(&self.0))
    }
}

/// The text of a document.
pub(super) fn bytes(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents have nothing in them that JSON cannot say")
}

pub(super) fn raw(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// A request's document. What cannot be read is a 400, what is declared as something else a 415.
#[derive(Clone, Copy)]
pub struct Document<T>(pub T);

/// Without what is in it, which may be a secret.
impl<T> fmt::Debug for Document<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Document")
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Document<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !request.headers().get(CONTENT_TYPE).is_none_or(is_json) {
            return Err(ApiError::bare(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        // The whole body was taken in before, within its limits.
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|_| ApiError::malformed("the body cannot be read"))?;
        if body.is_empty() {
            return Err(ApiError::malformed("the request has no body"));
        }
        // Else serde takes an array for the values of an object.
        let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
        if first.is_some_and(|first| *first == b'[') {
            return Err(ApiError::malformed("the body is no JSON object"));
        }
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| ApiError::malformed(words(&error)))
    }
}

/// `application/json`, `application/vnd.kafka.v3+json`, whatever follows the semicolon.
fn is_json(value: &HeaderValue) -> bool {
    let Ok(value) = value.to_str() else {
        return false;
    };
    let kind = value.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// What is wrong with a document, without a value out of it: that may be a secret.
fn words(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let place = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        Category::Data => {
            let text = error.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            format!("the body is not as it should be: {}; {place}", masked(text))
        }
        Category::Eof => format!("the body ends too early; {place}"),
        Category::Syntax | Category::Io => format!("the body is no JSON; {place}"),
    }
}

/// serde names the kind of a wrong value, then the value: `invalid type: string "hunter2", expected …`.
fn masked(text: &str) -> String {
    match (text.find('"'), text.rfind('"')) {
        (Some(from), Some(to)) if from < to => {
            format!("{}…{}", &text[..from], &text[to + 1..])
        }
        _ => text.to_owned(),
    }
}

/// The request's query. Parameters that are not known here are left alone.
#[derive(Clone, Copy, Debug)]
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(query) = Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::malformed(rejection.body_text()))?;
        Ok(Self(query))
    }
}

/// Named parts of the path, decoded. One that is not what its place holds (a word for a number) leads nowhere: 404.
#[derive(Clone, Copy, Debug)]
pub struct Named<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(names) = Path::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::bare(StatusCode::NOT_FOUND))?;
        Ok(Self(names))
    }
}

/// `true` and `false` in a query, in any case; a name without a value is true, as in `?force`.
///
/// # Errors
/// Any other word.
pub fn flag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let text: String = serde::Deserialize::deserialize(deserializer)?;
    match text.to_ascii_lowercase().as_str() {
        "true" | "" => Ok(true),
        "false" => Ok(false),
        _ => Err(serde::de::Error::custom("it is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_body_never_repeats_its_values() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wanted {
            #[allow(dead_code)]
            count: i32,
        }
        let told = |text: &str| words(&serde_json::from_str::<Wanted>(text).unwrap_err());
        assert_eq!(
            told(r#"{"count": "hunter2"}"#),
            "the body is not as it should be: invalid type: string …, expected i32; line 1, column 19"
        );
        assert_eq!(
            told(r#"{"cuont": 1}"#),
            "the body is not as it should be: unknown field `cuont`, expected `count`; line 1, column 8"
        );
        assert_eq!(
            told("{\"count\": 1"),
            "the body ends too early; line 1, column 11"
        );
        assert_eq!(
            told("{'count': 1}"),
            "the body is no JSON; line 1, column 2"
        );
        assert!(!told(r#"{"count": "a\"hunter2"}"#).contains("hunter2"));
    }

    #[test]
    fn json_is_known_by_any_of_its_names() {
        for (name, is) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.kafka.v3+json", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            assert_eq!(is_json(&HeaderValue::from_static(name)), is, "{name}");
        }
    }
}
