//! The thin I/O around the broker: listeners, connections, frames.
//!
//! A connection handles one request at a time, in order, as Kafka's brokers do: a client that
//! pipelines gets its answers in the order of its requests. Whatever waits (a long poll, a joining
//! member) waits here, outside the cluster's lock.

mod admin;
mod data;
mod dispatch;
mod groups;
mod login;
mod meta;
mod offsets;
mod sessions;
mod transactions;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::dispatch::{Handler, Outcome};
use self::sessions::Sessions;
use super::access::Access;
use super::broker::Cluster;
use super::faults::FaultTable;
use super::lock;

/// Kafka's own default of `socket.request.max.bytes`.
pub const MAX_REQUEST_BYTES: usize = 100 * 1024 * 1024;
/// What is read from a socket at once; larger requests grow the buffer as they arrive.
const READ_CHUNK: usize = 64 * 1024;
/// Who takes longer to shake hands is no client.
const TLS_PATIENCE: Duration = Duration::from_secs(10);

/// Everything that the connections of one cluster share.
#[derive(Debug)]
pub struct Shared {
    pub name: String,
    pub access: Access,
    pub cluster: Mutex<Cluster>,
    /// Rung whenever something changed that a waiting request may be waiting for.
    pub changed: Notify,
    pub faults: FaultTable,
    /// Requests that were understood, by API.
    pub requests: Mutex<BTreeMap<i16, u64>>,
    pub sessions: Mutex<Sessions>,
    pub stop: CancellationToken,
    /// By broker id: cancelling one closes the connections made under it.
    connections: Mutex<HashMap<i32, CancellationToken>>,
}

impl Shared {
    pub fn new(name: String, access: Access, cluster: Cluster) -> Self {
        Shared {
            name,
            access,
            cluster: Mutex::new(cluster),
            changed: Notify::new(),
            faults: FaultTable::default(),
            requests: Mutex::default(),
            sessions: Mutex::default(),
            stop: CancellationToken::new(),
            connections: Mutex::new(HashMap::new()),
        }
    }

    /// Changes the cluster's state and wakes whoever waits for a change.
    pub fn change<R>(&self, with: impl FnOnce(&mut Cluster) -> R) -> R {
        let result = with(&mut lock(&self.cluster));
        self.changed.notify_waiters();
        result
    }

    fn connection_token(&self, broker: i32) -> CancellationToken {
        lock(&self.connections)
            .entry(broker)
            .or_insert_with(|| self.stop.child_token())
            .child_token()
    }

    /// Closes all connections to a broker.
    pub fn drop_connections(&self, broker: i32) {
        if let Some(token) = lock(&self.connections).remove(&broker) {
            token.cancel();
        }
    }
}

/// Milliseconds since the epoch.
#[must_use]
pub fn now_ms() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// Accepts connections for one broker until the sandbox stops.
pub async fn listen(shared: Arc<Shared>, broker: i32, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(pair) => pair,
            Err(error) => {
                tracing::warn!(cluster = shared.name, broker, %error, "sandbox cannot accept a connection");
                // Out of file descriptors, most likely; some may be closed soon.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let up = lock(&shared.cluster)
            .broker(broker)
            .is_some_and(|broker| broker.up);
        if !up {
            // The listener stays, so that nobody else takes the port of a broker that is down.
            drop(stream);
            continue;
        }
        let stop = shared.connection_token(broker);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let result = tokio::select! {
                () = stop.cancelled() => Ok(()),
                result = serve(&shared, broker, stream, peer) => result,
            };
            if let Err(error) = result {
                tracing::debug!(cluster = shared.name, broker, %peer, %error, "sandbox closed a connection");
            }
        });
    }
}

async fn serve(
    shared: &Arc<Shared>,
    broker: i32,
    stream: TcpStream,
    peer: SocketAddr,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let handler = Handler::new(Arc::clone(shared), broker, peer);
    match &shared.access.tls {
        None => talk(handler, stream).await,
        Some(tls) => {
            let shaken = tokio::time::timeout(TLS_PATIENCE, tls.accept(stream)).await;
            talk(handler, shaken??).await
        }
    }
}

/// Answers requests until one of both sides has had enough.
async fn talk<S>(mut handler: Handler, mut stream: S) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = BytesMut::new();
    loop {
        let longest = handler.longest_request();
        let Some(frame) = read_frame(&mut stream, &mut buffer, longest).await? else {
            return Ok(());
        };
        match handler.handle(frame.freeze()).await {
            Outcome::Answer(answer) => {
                stream.write_all(&answer).await?;
                // TLS keeps back what it has not been told to send.
                stream.flush().await?;
            }
            Outcome::Last(answer) => {
                stream.write_all(&answer).await?;
                return stream.shutdown().await;
            }
            Outcome::Silence => (),
            Outcome::Close(why) => {
                if !why.is_empty() {
                    let (cluster, broker, peer) =
                        (&handler.shared.name, handler.broker, handler.peer);
                    tracing::warn!(cluster, broker, %peer, "sandbox closes a connection: {why}");
                }
                return Ok(());
            }
        }
    }
}

/// The next request without its length; `None` when the client has closed. The length is judged
/// before memory is taken, and the buffer grows only with what has arrived.
async fn read_frame<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
    longest: usize,
) -> std::io::Result<Option<BytesMut>> {
    loop {
        if buffer.len() >= 4 {
            let length = i32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
            let length = usize::try_from(length)
                .ok()
                .filter(|length| *length <= longest)
                .ok_or_else(|| {
                    std::io::Error::new(
                        std::io::ErrorKind::InvalidData,
                        format!("a request of {length} bytes is refused; the limit is {longest}"),
                    )
                })?;
            if buffer.len() >= 4 + length {
                buffer.advance(4);
                return Ok(Some(buffer.split_to(length)));
            }
        }
        buffer.reserve(READ_CHUNK);
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}
