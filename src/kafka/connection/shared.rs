//! What the two tasks of a connection and its handle have in common: the requests on their way, and
//! how everything ends.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{ConnectionOptions, Error, api_name};
use crate::kafka::buffers::Reservation;

/// What the two tasks and the handle have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub options: ConnectionOptions,
    pub in_flight: Mutex<InFlight>,
    pub closed: CancellationToken,
    /// Why it closed, in words; set before `closed`.
    pub cause: OnceLock<Option<String>>,
    /// The refusal that ended it, if trust or authentication did; set before `closed`. A broker's word on our certificate can
    /// arrive before anything was asked (TLS 1.3), and whoever asks then has to hear it.
    refusal: OnceLock<Error>,
}

#[derive(Debug)]
pub(super) struct InFlight {
    pub requests: VecDeque<Pending>,
    /// When the peer last sent something.
    pub last_read: Instant,
    /// Whether anything was ever answered.
    pub answered: bool,
    pub open: bool,
    /// Whether an answer has come and waits for memory: then nobody but ourselves is late.
    pub waits_for_memory: bool,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub correlation_id: i32,
    pub api_key: i16,
    pub sent: Instant,
    /// What a large answer is read into.
    pub memory: Option<Reservation>,
    pub answer: oneshot::Sender<Result<Bytes, Error>>,
}

/// What waits for the writing task.
#[derive(Debug)]
pub(super) enum Queued {
    Request(Outgoing),
    /// Nothing but what comes from here is written until it ends; then it goes on with the queue.
    Exclusive(mpsc::UnboundedReceiver<Outgoing>),
}

#[derive(Debug)]
pub(super) struct Outgoing {
    /// Pieces of one frame, so that record bytes need not be copied into it.
    pub frame: Vec<Bytes>,
    pub pending: Pending,
}

impl Shared {
    pub fn new(options: ConnectionOptions) -> Self {
        Self {
            options,
            in_flight: Mutex::new(InFlight {
                requests: VecDeque::new(),
                last_read: Instant::now(),
                answered: false,
                open: true,
                waits_for_memory: false,
            }),
            closed: CancellationToken::new(),
            cause: OnceLock::new(),
            refusal: OnceLock::new(),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    pub fn disconnected(&self, api_key: i16) -> Error {
        if let Some(refusal) = self.refusal.get() {
            return refusal.clone();
        }
        Error::Disconnected {
            address: self.options.address.clone(),
            during: api_name(api_key),
            cause: self.cause.get().cloned().flatten(),
        }
    }

    /// Ends the connection. The oldest request gets `error`, if there is one; the others learn that
    /// they were disconnected and why. A refusal concerns them all.
    pub fn close(&self, cause: Option<String>, error: Option<Error>) {
        let _ = self.cause.set(cause);
        if let Some(refusal @ Error::Security(_)) = &error {
            let _ = self.refusal.set(refusal.clone());
        }
        let requests = {
            let mut in_flight = self.lock();
            in_flight.open = false;
            std::mem::take(&mut in_flight.requests)
        };
        self.closed.cancel();
        let mut error = error;
        for pending in requests {
            let error = error
                .take()
                .unwrap_or_else(|| self.disconnected(pending.api_key));
            let _ = pending.answer.send(Err(error));
        }
    }

    /// The oldest request, if it has been silent for too long.
    pub fn overdue(&self) -> Option<i16> {
        let in_flight = self.lock();
        let oldest = in_flight.requests.front()?;
        if in_flight.waits_for_memory {
            return None;
        }
        let since = oldest.sent.max(in_flight.last_read);
        (since.elapsed() >= self.options.request_timeout).then_some(oldest.api_key)
    }

    /// What the answer that comes next is to be read into, where that was said. Answers come in order.
    pub fn memory_of_oldest(&self) -> Option<Reservation> {
        self.lock().requests.front_mut()?.memory.take()
    }

    pub fn has_answered(&self) -> bool {
        self.lock().answered
    }

    pub fn oldest(&self) -> String {
        let in_flight = self.lock();
        let oldest = in_flight.requests.front();
        oldest.map_or_else(|| "no request".to_owned(), |p| api_name(p.api_key))
    }
}
