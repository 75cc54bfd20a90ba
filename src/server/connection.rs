//! Connections: accepted up to a number, encrypted where that is asked for, and closed when they are slow.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use super::problem::ApiError;
use super::stalled::Stalled;
use crate::kafka::security::acceptor::Acceptor;

/// Requests that hyper reads whole before it hands them on; what is between this and [`Limits::head`] is refused with a document.
const LARGEST_HEAD: usize = 64 << 10;
/// Connections over the limit that are told so at a time; more are only closed.
const FAREWELLS: usize = 32;
/// How long it takes at most to tell them.
const FAREWELL: Duration = Duration::from_secs(1);

/// Whom a request comes from; an extension of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub SocketAddr);

/// Takes in a listener's connections.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub router: Router,
    pub tls: Option<Arc<Acceptor>>,
    pub limits: Limits,
    pub stop: CancellationToken,
}

impl Door {
    /// Accepts on all sockets until the server stops, then waits for the connections.
    pub async fn keep(self, sockets: Vec<TcpListener>) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let farewells = Arc::new(Semaphore::new(FAREWELLS));
        let mut accepting = JoinSet::new();
        for socket in sockets {
            let (door, places) = (self.clone(), Arc::clone(&places));
            accepting.spawn(door.accept(socket, places, Arc::clone(&farewells)));
        }
        while accepting.join_next().await.is_some() {}
    }

    async fn accept(self, socket: TcpListener, places: Arc<Semaphore>, farewells: Arc<Semaphore>) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(pair) => pair,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of file descriptors, most likely; some may be closed soon.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    connections.spawn(self.clone().serve(stream, peer, place));
                }
                Err(_) => {
                    tracing::debug!(%peer, "too many connections");
                    // Those that speak TLS would not understand it.
                    if let (None, Ok(turn)) =
                        (&self.tls, Arc::clone(&farewells).try_acquire_owned())
                    {
                        connections.spawn(turn_away(stream, turn));
                    }
                }
            }
        }
        // Those that wait take no more connections meanwhile.
        drop(socket);
        while connections.join_next().await.is_some() {}
    }

    async fn serve(self, stream: TcpStream, peer: SocketAddr, _place: OwnedSemaphorePermit) {
        // Answers are small, and nobody should wait for the next one to fill a packet.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "a connection cannot be set up");
        }
        let Some(tls) = &self.tls else {
            return self.exchange(stream, peer).await;
        };
        let accepting = tls.accept(stream);
        match tokio::time::timeout(self.limits.handshake, accepting).await {
            Ok(Ok(stream)) => self.exchange(stream, peer).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS connection"),
            Err(_) => tracing::debug!(%peer, "no TLS connection in time"),
        }
    }

    /// Requests and answers, one after the other.
    async fn exchange<S>(self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let routes = TowerToHyperService::new(self.router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            Box::pin(routes.call(request))
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_time)
            .max_buf_size(LARGEST_HEAD)
            .serve_connection(
                TokioIo::new(Stalled::new(stream, self.limits.stalled)),
                service,
            );
        let mut stopping = false;
        let ended = loop {
            let polled = poll_fn(|context| connection.poll_without_shutdown(context));
            tokio::select! {
                ended = polled => break ended,
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        let parts = connection.into_parts();
        let mut stream = parts.io.into_inner();
        match ended {
            Ok(()) => {}
            // Nobody has begun a request on a connection that was only kept open.
            Err(error) if error.is_timeout() && !parts.read_buf.is_empty() => {
                let refusal = ApiError::timeout("the request's headers did not arrive in time");
                let told = tokio::time::timeout(FAREWELL, tell(&mut stream, &refusal)).await;
                tracing::debug!(%peer, ?told, "a request's headers did not arrive in time");
            }
            Err(error) => tracing::debug!(%peer, %error, "a connection ended"),
        }
        // The peer may be gone already.
        let _ = stream.shutdown().await;
    }
}

/// Tells who comes while all places are taken.
async fn turn_away(mut stream: TcpStream, _turn: OwnedSemaphorePermit) {
    let refusal = ApiError::too_many("this server has as many connections as it takes");
    let telling = async {
        tell(&mut stream, &refusal).await?;
        stream.shutdown().await?;
        // What was sent already has to be read: a connection that is closed before resets the answer, too.
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    // Whoever does not listen is not waited for.
    let _ = tokio::time::timeout(FAREWELL, telling).await;
}

/// An answer to a request that was never read whole.
async fn tell<S: AsyncWrite + Unpin>(stream: &mut S, refusal: &ApiError) -> io::Result<()> {
    let body = refusal.body();
    let retry = refusal.retry_after.map_or(String::new(), |seconds| {
        format!("retry-after: {seconds}\r\n")
    });
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\n{retry}content-length: {}\r\nconnection: close\r\n\r\n",
        refusal.status,
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.flush().await
}
