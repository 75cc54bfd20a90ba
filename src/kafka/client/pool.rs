//! One shared connection to each address that is needed, opened when it is, paced when it fails.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::Client;
use crate::kafka::backoff::Backoff;
use crate::kafka::connection::{CONNECTING, Connection, ConnectionOptions};
use crate::kafka::error::{Attempt, Error};

/// The pooled connection to one address.
#[derive(Debug)]
pub(super) struct Slot {
    connection: Option<Connection>,
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl Client {
    /// A connection of the caller's own, so that nothing else waits in front of its requests.
    ///
    /// # Errors
    /// The broker is unknown or cannot be connected to.
    pub async fn connect_broker(&self, id: i32) -> Result<Connection, Error> {
        let address = self.address_of(id).await?;
        let started = Instant::now();
        self.open(&address)
            .await
            .map_err(|error| self.advertised(id, &address, error, started))
    }

    pub(super) async fn broker(&self, id: i32) -> Result<Connection, Error> {
        let address = self.address_of(id).await?;
        let started = Instant::now();
        let slot = self.slot(&address);
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.live() {
            return Ok(connection);
        }
        if let Some(not_before) = slot.not_before {
            tokio::time::sleep_until(not_before).await;
        }
        let opened = slot.keep(self.open(&address).await);
        drop(slot);
        opened.map_err(|error| {
            // It may have moved; the next one who asks hears the address it has now.
            self.known().brokers.remove(&id);
            self.advertised(id, &address, error, started)
        })
    }

    /// Any live connection, else the first broker that answers: those last heard of, then the
    /// bootstrap servers, which still know the way when the whole cluster has moved.
    pub(super) async fn any(&self) -> Result<Connection, Error> {
        let started = Instant::now();
        let mut addresses: Vec<String> = {
            let known = self.known();
            let mut ids: Vec<_> = known.brokers.keys().copied().collect();
            ids.sort_unstable();
            ids.iter().map(|id| known.brokers[id].address()).collect()
        };
        for server in &self.inner.config.bootstrap_servers {
            if !addresses.contains(server) {
                addresses.push(server.clone());
            }
        }
        for address in &addresses {
            let slot = self.slot(address);
            // A slot that is locked is just being connected by somebody else.
            let live = slot.try_lock().ok().and_then(|mut slot| slot.live());
            if let Some(connection) = live {
                return Ok(connection);
            }
        }
        let mut attempts = Vec::new();
        let mut distrusted = None;
        for address in &addresses {
            let slot = self.slot(address);
            let mut slot = slot.lock().await;
            if let Some(connection) = slot.live() {
                return Ok(connection);
            }
            match slot.keep(self.open(address).await) {
                Ok(connection) => return Ok(connection),
                // Another broker may have a better certificate, but none a better password for us.
                Err(Error::Security(error)) if !error.concerns_one_broker() => {
                    return Err(Error::Security(error));
                }
                Err(error) => {
                    attempts.push(Attempt {
                        address: address.clone(),
                        cause: cause_of(&error, address),
                    });
                    if matches!(error, Error::Security(_)) {
                        distrusted.get_or_insert(error);
                    }
                }
            }
        }
        if let Some(error) = distrusted {
            // Says more than that nobody can be reached, and waiting does not change it.
            return Err(error);
        }
        Err(Error::Unreachable {
            cluster: self.cluster_name().to_owned(),
            attempts,
            elapsed: started.elapsed(),
        })
    }

    /// A broker that left a request of some connection without an answer may not hear the shared one either: the next request
    /// opens another. Behind a firewall that forgot, each would wait for its own time to run out, one after the other.
    pub fn distrust(&self, error: &Error) {
        let Error::Timeout { address, .. } = error else {
            return;
        };
        self.renew_at(address);
    }

    /// The next requests open new connections: those that are open have kept somebody waiting for longer than they may.
    pub fn renew(&self) {
        let addresses: Vec<String> = {
            let pool = self.inner.pool.lock();
            let pool = pool.expect("nothing panics while it holds this lock");
            pool.keys().cloned().collect()
        };
        for address in addresses {
            self.renew_at(&address);
        }
    }

    fn renew_at(&self, address: &str) {
        // A slot that is locked is just being connected.
        if let Ok(mut slot) = self.slot(address).try_lock() {
            slot.connection = None;
        }
    }

    /// Boxed: handshakes and logins take more than ten kilobytes, for which every call would have to have room otherwise.
    fn open(&self, address: &str) -> BoxFuture<'static, Result<Connection, Error>> {
        let config = &self.inner.config;
        let options = ConnectionOptions {
            address: address.to_owned(),
            client_id: config.client_id.clone(),
            request_timeout: config.request_timeout,
            max_response_bytes: config.max_response_bytes,
            security: Arc::clone(&config.security),
        };
        Box::pin(Connection::connect(options, config.connect_timeout))
    }

    /// An address that only the cluster itself gave: the user has to know where it comes from.
    fn advertised(&self, id: i32, address: &str, error: Error, started: Instant) -> Error {
        if matches!(
            error,
            Error::Broker { .. }
                | Error::Oversized { .. }
                | Error::UnsupportedApi { .. }
                | Error::Security(_)
        ) {
            return error;
        }
        let cause = cause_of(&error, address);
        Error::Unreachable {
            cluster: self.cluster_name().to_owned(),
            attempts: vec![Attempt {
                address: address.to_owned(),
                cause: format!("{cause} (broker {id} advertises this address)"),
            }],
            elapsed: started.elapsed(),
        }
    }

    fn slot(&self, address: &str) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut pool = self
            .inner
            .pool
            .lock()
            .expect("nothing panics while it holds this lock");
        let slot = pool.entry(address.to_owned()).or_default();
        Arc::clone(slot)
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            connection: None,
            backoff: Backoff::for_requests(),
            not_before: None,
        }
    }
}

impl Slot {
    fn live(&mut self) -> Option<Connection> {
        self.connection.take_if(|connection| connection.is_closed());
        self.connection.clone()
    }

    fn keep(&mut self, opened: Result<Connection, Error>) -> Result<Connection, Error> {
        match &opened {
            Ok(connection) => {
                self.connection = Some(connection.clone());
                self.backoff.reset();
                self.not_before = None;
            }
            Err(_) => self.not_before = Some(Instant::now() + self.backoff.next_delay()),
        }
        opened
    }
}

/// The cause alone, where the address stands beside it.
fn cause_of(error: &Error, address: &str) -> String {
    match error {
        Error::Disconnected {
            during,
            cause: Some(cause),
            ..
        } if during == CONNECTING => cause.clone(),
        Error::Timeout { during, after, .. } if during == CONNECTING => {
            format!("no connection within {:.1} s", after.as_secs_f64())
        }
        other => {
            let text = other.to_string();
            let text = text.strip_prefix(address).unwrap_or(&text).trim_start();
            text.to_owned()
        }
    }
}
