//! How much of the machine a listener may take.

use std::time::Duration;

/// The limits of one listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time; who comes later is told so and closed.
    pub connections: usize,
    /// Requests that are worked on at a time.
    pub requests: usize,
    /// How long a request waits for its turn where there are more.
    pub turn: Duration,
    /// Bytes of a request's body.
    pub body: usize,
    /// Bytes of a request's line and headers.
    pub head: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the end of an answer, or from the connection's beginning, to the end of the next request's headers.
    pub head_time: Duration,
    /// From a request's headers to the end of its body.
    pub body_time: Duration,
    /// From the end of a request to its answer.
    pub answer_time: Duration,
    /// How long a peer may take nothing of its answer.
    pub stalled: Duration,
    /// How long a stopping server waits for requests that are under way.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            requests: 32,
            turn: Duration::from_secs(5),
            body: 1 << 20,
            head: 16 << 10,
            handshake: Duration::from_secs(10),
            head_time: Duration::from_secs(15),
            body_time: Duration::from_secs(30),
            answer_time: Duration::from_secs(60),
            stalled: Duration::from_secs(30),
            farewell: Duration::from_secs(10),
        }
    }
}
