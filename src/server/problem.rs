//! Refusals as Kafka's REST API tells them: a status, and a document with a code and a message.
//!
//! The codes are those of Kafka REST: the status itself, or the status followed by two digits. What brokers answer is mapped as
//! Confluent's `rest-utils` does it (its `KafkaExceptionMapper`). Messages come from brokers or are our own; places in files
//! of whoever runs the server are told to its log, not to callers.

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use serde::Serialize;

use super::json;
use crate::control::ControlError;
use crate::kafka::{Error, ErrorClass, ErrorCode};
use crate::linking::operations::Refusal;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub status: StatusCode,
    pub error_code: i32,
    pub message: String,
    /// Seconds after which it may go better.
    pub retry_after: Option<u64>,
    /// Whether the connection cannot be used for another request.
    pub closes: bool,
}

/// What stands in the body.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorDocument<'a> {
    pub error_code: i32,
    pub message: &'a str,
}

/// Told beside a response, for the audit line.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusedWith(pub i32);

/// Codes that are more than their status.
pub mod codes {
    /// Kafka finds the request wrong: a name that is taken, a bad config, a policy.
    pub const KAFKA_BAD_REQUEST: i32 = 40002;
    /// The cluster, or this server, does not know how to do that.
    pub const UNSUPPORTED: i32 = 40035;
    pub const AUTHENTICATION: i32 = 40101;
    /// Something else has the name.
    pub const EXISTS: i32 = 40902;
    pub const AUTHORIZATION: i32 = 40301;
    pub const UNKNOWN_TOPIC_OR_PARTITION: i32 = 40403;
    pub const TIMEOUT: i32 = 40801;
    pub const RATE_LIMIT: i32 = 42901;
    pub const KAFKA_ERROR: i32 = 50002;
    pub const RETRIABLE_KAFKA_ERROR: i32 = 50003;
    pub const BROKER_NOT_AVAILABLE: i32 = 50302;
}

impl ApiError {
    pub fn new(status: StatusCode, error_code: i32, message: impl Into<String>) -> Self {
        Self {
            status,
            error_code,
            message: message.into(),
            retry_after: None,
            closes: false,
        }
    }

    /// With the status for its code.
    pub fn plain(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, i32::from(status.as_u16()), message)
    }

    /// With the status alone, in the words of Jersey, which Kafka REST is built on.
    pub fn bare(status: StatusCode) -> Self {
        Self::plain(status, format!("HTTP {status}"))
    }

    /// The request cannot be read.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::plain(StatusCode::BAD_REQUEST, message)
    }

    /// The request can be read, and asks for something that cannot be.
    pub fn invalid(message: impl Into<String>) -> Self {
        let code = codes::KAFKA_BAD_REQUEST;
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Something that is not offered here.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, codes::UNSUPPORTED, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::plain(StatusCode::NOT_FOUND, message)
    }

    /// A topic or partition that the cluster does not have, in the words of Kafka's clients.
    pub fn unknown_topic_or_partition() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            codes::UNKNOWN_TOPIC_OR_PARTITION,
            "This server does not host this topic-partition.",
        )
    }

    /// Not allowed, whoever asks.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::plain(StatusCode::FORBIDDEN, message)
    }

    pub fn too_many(message: impl Into<String>) -> Self {
        let code = codes::RATE_LIMIT;
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, message).retry_after(1)
    }

    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, codes::TIMEOUT, message)
    }

    /// The cluster cannot be asked at the moment.
    pub fn unavailable(message: impl Into<String>) -> Self {
        let code = codes::BROKER_NOT_AVAILABLE;
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(5)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::plain(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    #[must_use]
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// The document.
    pub fn body(&self) -> Vec<u8> {
        json::bytes(&ErrorDocument {
            error_code: self.error_code,
            message: &self.message,
        })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json::raw(self.status, self.body());
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
            .extensions_mut()
            .insert(RefusedWith(self.error_code));
        response
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match &error {
            Error::Broker { code, .. } => of_broker(*code, &error),
            Error::Unreachable { .. } => {
                tracing::warn!(%error, "a request cannot be carried out");
                Self::unavailable("no broker of the cluster can be reached")
            }
            Error::Timeout { during, .. } => Self::timeout(format!(
                "the broker did not answer {during} in time; it may have carried it out nevertheless"
            )),
            Error::Disconnected { during, .. } => retriable(format!(
                "the broker closed the connection during {during}; it may have carried it out nevertheless"
            )),
            Error::UnsupportedApi { .. } => Self::unsupported(
                "The version of this API is not supported in the underlying Kafka cluster.",
            ),
            Error::Protocol { .. } | Error::Oversized { .. } => {
                tracing::warn!(%error, "a request cannot be carried out");
                kafka_error("the broker's answer cannot be read")
            }
            // Whoever asks cannot do anything about our own access, and need not know of our files.
            Error::Security(_) => {
                tracing::error!(%error, "a request cannot be carried out");
                kafka_error("the cluster does not let this server in; its log says why")
            }
        }
    }
}

fn of_broker(code: ErrorCode, error: &Error) -> ApiError {
    if code.is_authorization() {
        let status = StatusCode::FORBIDDEN;
        return ApiError::new(status, codes::AUTHORIZATION, without_asked(error));
    }
    match code.0 {
        3 | 100 => ApiError::unknown_topic_or_partition(),
        7 => ApiError::timeout(words(code, error)),
        // BROKER_NOT_AVAILABLE, COORDINATOR_NOT_AVAILABLE
        8 | 15 => ApiError::unavailable(words(code, error)),
        35 => ApiError::unsupported(
            "The version of this API is not supported in the underlying Kafka cluster.",
        ),
        // GROUP_ID_NOT_FOUND
        69 => ApiError::not_found(words(code, error)),
        // What the broker finds wrong with the request itself: names, numbers, configs, policies, and UNKNOWN_SERVER_ERROR,
        // which `rest-utils` counts among them.
        -1 | 17 | 24 | 36..=40 | 42 | 44 | 54 | 73 => ApiError::invalid(words(code, error)),
        _ if code.class() != ErrorClass::Fatal => retriable(words(code, error)),
        _ => kafka_error(words(code, error)),
    }
}

/// The broker's own text, or what the code says in general.
fn words(code: ErrorCode, error: &Error) -> String {
    match error {
        Error::Broker {
            message: Some(message),
            ..
        } => message.clone(),
        _ => format!("{} ({})", code.description(), code.name()),
    }
}

/// A refusal with the right it takes, without the place where the user's name stands.
fn without_asked(error: &Error) -> String {
    let mut error = error.clone();
    let mut right = None;
    if let Error::Broker {
        asked, operation, ..
    } = &mut error
    {
        *asked = None;
        right = operation.right();
    }
    match right {
        Some(right) => format!("{error}; it takes the right {right}"),
        None => error.to_string(),
    }
}

fn retriable(message: impl Into<String>) -> ApiError {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    ApiError::new(status, codes::RETRIABLE_KAFKA_ERROR, message)
}

fn kafka_error(message: impl Into<String>) -> ApiError {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    ApiError::new(status, codes::KAFKA_ERROR, message)
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let words = refusal.to_string();
        match refusal {
            Refusal::NotFound(_) => Self::not_found(words),
            Refusal::Invalid(_)
            | Refusal::Remote(_)
            | Refusal::Unreachable { .. }
            | Refusal::Sealed(_) => Self::invalid(words),
            Refusal::Unsupported(_) => Self::unsupported(words),
            Refusal::Exists(_) => Self::new(StatusCode::CONFLICT, codes::EXISTS, words),
            Refusal::First(_) | Refusal::OwnedByFile { .. } => Self::forbidden(words),
            Refusal::Busy(_) => Self::unavailable(words),
            Refusal::Kafka(error) => (*error).into(),
            Refusal::Control(error) => error.into(),
        }
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Kafka(error) => error.into(),
            // The next try finds the lock as the other one left it.
            ControlError::Fenced { .. } => retriable(error.to_string()),
            ControlError::Newer { .. }
            | ControlError::Malformed { .. }
            | ControlError::Shape { .. } => {
                tracing::error!(%error, "the control records cannot be used");
                kafka_error(error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{Asked, Operation};

    fn refused(code: i16, message: Option<&str>) -> ApiError {
        let message = message.map(str::to_owned);
        Error::broker(code, message, Operation::Create, "topic orders").into()
    }

    #[test]
    fn brokers_refusals_have_the_codes_that_clients_of_kafka_rest_look_for() {
        for (code, status, error_code) in [
            (3, 404, 40403),
            (7, 408, 40801),
            (8, 503, 50302),
            (17, 400, 40002),
            (29, 403, 40301),
            (35, 400, 40035),
            (36, 400, 40002),
            (38, 400, 40002),
            (40, 400, 40002),
            (41, 500, 50003),
            (44, 400, 40002),
            (51, 500, 50003),
            (69, 404, 404),
            (87, 500, 50002),
        ] {
            let error = refused(code, None);
            assert_eq!(
                (error.status.as_u16(), error.error_code),
                (status, error_code),
                "code {code}"
            );
        }
    }

    #[test]
    fn the_brokers_own_words_are_passed_on() {
        let error = refused(36, Some("Topic 'orders' already exists."));
        assert_eq!(
            String::from_utf8(error.body()).unwrap(),
            r#"{"error_code":40002,"message":"Topic 'orders' already exists."}"#
        );
        assert_eq!(
            refused(36, None).message,
            "a topic of that name exists already (TOPIC_ALREADY_EXISTS)"
        );
    }

    #[test]
    fn a_missing_right_is_named_without_the_servers_own_files() {
        let error = Error::broker(29, None, Operation::Create, "topic orders").asked_by(|| Asked {
            cluster: "west".to_owned(),
            addresses: vec!["127.0.0.1:9092".to_owned()],
            user: "the user of sasl.username (mirror.toml:7)".to_owned(),
        });
        let error = ApiError::from(error);
        assert_eq!(
            error.message,
            "cannot create topic orders: this user has no right to do that on the topic (TOPIC_AUTHORIZATION_FAILED); it takes the right Create"
        );
    }
}
