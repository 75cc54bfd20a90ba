//! What the server answers, for programs that make clients or calls of it: an OpenAPI description, served as it is checked in.
//!
//! Tests ask for every operation that it has, hold the answers against its schemas, and find paths that it leaves out.

use axum::response::{IntoResponse, Response};
use hyper::header::{CONTENT_TYPE, HeaderValue};

/// `schemas/rest-api.openapi.yaml`
pub const DESCRIPTION: &str = include_str!("../../schemas/rest-api.openapi.yaml");

pub(super) async fn describe() -> Response {
    let mut response = DESCRIPTION.into_response();
    // RFC 9512
    let yaml = HeaderValue::from_static("application/yaml");
    response.headers_mut().insert(CONTENT_TYPE, yaml);
    response
}
