//! One connection to one broker: requests go out in the order of the calls, answers come back in
//! that order, and many may be on their way at once.
//!
//! A task writes, a task reads. [`Connection::send`] encodes and queues at the call; the future it
//! returns only waits for the answer, so a caller controls the order on the wire by the order of its
//! calls. Once anything is out of step (a lost peer, an answer that belongs to no request, a request
//! without an answer in time) the connection ends for good and everything that waits on it fails:
//! after that nobody could tell which answer belongs to what.

mod authenticate;
mod io;
mod shared;

use std::future::Future;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{
    Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use shared::{Outgoing, Pending, Queued, Shared};

use super::buffers::Reservation;
use super::code::ErrorCode;
use super::error::{Error, Operation, io_words};
use super::security::{Security, TLS_HANDSHAKE, Transport};
use super::versions::{ApiVersions, api_name, usable};

/// What a connection has to know of its peer and its limits.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// For messages.
    pub address: String,
    pub client_id: String,
    /// How long an answer that is due may stay silent.
    pub request_timeout: Duration,
    pub max_response_bytes: usize,
    /// The cluster's.
    pub security: Arc<Security>,
}

/// A connection whose versions have been negotiated. Clones share it; it closes with the last one.
#[derive(Clone, Debug)]
pub struct Connection {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    queue: mpsc::UnboundedSender<Queued>,
    shared: Arc<Shared>,
    versions: OnceLock<ApiVersions>,
    correlation: AtomicI32,
}

/// How long a peer may take to say which versions it speaks.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Known to every broker since 2.4; older ones answer with version 0.
const API_VERSIONS_VERSION: i16 = 3;

impl Connection {
    /// Connects over TCP, with TLS where the protocol has it, negotiates versions, and authenticates.
    ///
    /// # Errors
    /// [`Error::Disconnected`] or [`Error::Timeout`] when the peer cannot be connected to, [`Error::Security`] when
    /// one side does not trust the other, and whatever the handshake meets.
    pub async fn connect(
        options: ConnectionOptions,
        connect_timeout: Duration,
    ) -> Result<Self, Error> {
        let (security, address) = (Arc::clone(&options.security), options.address.clone());
        security.admit(&address)?;
        let connected = Self::connect_now(options, connect_timeout).await;
        security.note(&address, connected.as_ref().err());
        connected
    }

    async fn connect_now(
        options: ConnectionOptions,
        connect_timeout: Duration,
    ) -> Result<Self, Error> {
        let unreachable = |error: std::io::Error| Error::Disconnected {
            address: options.address.clone(),
            during: CONNECTING.to_owned(),
            cause: Some(io_words(&error)),
        };
        let late = |during: &str, after| Error::Timeout {
            address: options.address.clone(),
            during: during.to_owned(),
            after,
        };
        let connecting = TcpStream::connect(&options.address);
        let stream = tokio::time::timeout(connect_timeout, connecting)
            .await
            .map_err(|_| late(CONNECTING, connect_timeout))?
            .map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        // Something that listens but is no broker should not take the time of a slow answer.
        let patience = HANDSHAKE.max(connect_timeout).min(options.request_timeout);
        let securing = options.security.handshake(&options.address, stream);
        let transport = tokio::time::timeout(patience, securing)
            .await
            .unwrap_or_else(|_| Err(late(TLS_HANDSHAKE, patience)))?;
        let late_versions = late(&api_name(ApiVersionsRequest::KEY), patience);
        let connection = match transport {
            Transport::Plain(stream) => {
                let (reader, writer) = stream.into_split();
                Self::start(reader, writer, options)
            }
            Transport::Tls(stream) => {
                let (reader, writer) = tokio::io::split(stream);
                Self::start(reader, writer, options)
            }
        };
        let connection = tokio::time::timeout(patience, connection.handshake())
            .await
            .unwrap_or(Err(late_versions))?;
        connection.log_in().await
    }

    /// Speaks over any transport, negotiates versions, and authenticates.
    ///
    /// # Errors
    /// Whatever the handshake meets.
    pub async fn open<T>(transport: T, options: ConnectionOptions) -> Result<Self, Error>
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(transport);
        let connection = Self::start(reader, writer, options).handshake().await?;
        connection.log_in().await
    }

    fn start<R, W>(reader: R, writer: W, options: ConnectionOptions) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::new(Shared::new(options));
        let (queue, outgoing) = mpsc::unbounded_channel();
        tokio::spawn(io::write_loop(outgoing, writer, Arc::clone(&shared)));
        tokio::spawn(io::read_loop(reader, Arc::clone(&shared)));
        Self {
            handle: Arc::new(Handle {
                queue,
                shared,
                versions: OnceLock::new(),
                // Not 0, which is what a stray answer of something else is likely to begin with.
                correlation: AtomicI32::new(1),
            }),
        }
    }

    async fn handshake(self) -> Result<Self, Error> {
        let mut response = self.api_versions(API_VERSIONS_VERSION).await?;
        if ErrorCode(response.error_code) == ErrorCode::UNSUPPORTED_VERSION {
            response = self.api_versions(0).await?;
        }
        ErrorCode(response.error_code).ok().map_err(|code| {
            let address = &self.handle.shared.options.address;
            Error::broker(code, None, Operation::Negotiate, address)
        })?;
        let versions = ApiVersions::from_response(&response);
        self.handle
            .versions
            .set(versions)
            .expect("a connection shakes hands once");
        Ok(self)
    }

    /// A broker that does not know the version of this request answers in version 0.
    async fn api_versions(&self, version: i16) -> Result<ApiVersionsResponse, Error> {
        let request = if version >= 3 {
            ApiVersionsRequest::default()
                .with_client_software_name(StrBytes::from_static_str("kmirror"))
                .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")))
        } else {
            ApiVersionsRequest::default()
        };
        let body = self.encode(&request, version)?;
        let frame = self
            .queue(ApiVersionsRequest::KEY, version, vec![body])?
            .frame()
            .await?;
        // The header of this answer is always version 0: the correlation id alone; then the code.
        let unsupported = ErrorCode::UNSUPPORTED_VERSION.0.to_be_bytes();
        let version = if frame.get(4..6) == Some(&unsupported) {
            0
        } else {
            version
        };
        self.decode::<ApiVersionsRequest>(frame, version)
    }

    /// Sends a request in the newest version that both sides know. It is queued at the call: two calls
    /// one after the other reach the broker in that order, whether or not their futures are polled.
    pub fn send<R: Request>(
        &self,
        request: &R,
    ) -> impl Future<Output = Result<R::Response, Error>> + Send + 'static + use<R> {
        let queued = self.version::<R>().and_then(|version| {
            let body = self.encode(request, version)?;
            let answer = self.queue(R::KEY, version, vec![body])?;
            Ok((answer, version))
        });
        let connection = self.clone();
        async move {
            let (answer, version) = queued?;
            connection.decode::<R>(answer.frame().await?, version)
        }
    }

    /// The version in which [`send`](Self::send) speaks a request, for requests whose fields depend on it.
    ///
    /// # Errors
    /// [`Error::UnsupportedApi`] when there is none.
    pub fn version<R: Request>(&self) -> Result<i16, Error> {
        self.versions()
            .pick::<R>()
            .map_err(|offered| Error::UnsupportedApi {
                address: self.address().to_owned(),
                api: api_name(R::KEY),
                needed: usable::<R>(),
                offered,
            })
    }

    /// What the broker offers.
    pub fn versions(&self) -> &ApiVersions {
        self.handle
            .versions
            .get()
            .expect("a connection is handed out after its handshake")
    }

    /// Queues a request whose body is already encoded, in pieces.
    pub(super) fn queue(
        &self,
        api_key: i16,
        version: i16,
        body: Vec<Bytes>,
    ) -> Result<Answer, Error> {
        self.queue_into(api_key, version, body, None)
    }

    /// The same, with memory for its answer.
    pub(super) fn queue_into(
        &self,
        api_key: i16,
        version: i16,
        body: Vec<Bytes>,
        memory: Option<Reservation>,
    ) -> Result<Answer, Error> {
        let (mut outgoing, answer) = self.outgoing(api_key, version, body)?;
        outgoing.pending.memory = memory;
        // A queue that is gone drops the request, and its answer fails with the reason.
        let _ = self.handle.queue.send(Queued::Request(outgoing));
        Ok(answer)
    }

    /// A request as it will leave, and what its answer will come to.
    fn outgoing(
        &self,
        api_key: i16,
        version: i16,
        body: Vec<Bytes>,
    ) -> Result<(Outgoing, Answer), Error> {
        let shared = &self.handle.shared;
        let correlation_id = self.handle.correlation.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let header = RequestHeader::default()
            .with_request_api_key(api_key)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(StrBytes::from_string(
                shared.options.client_id.clone(),
            )));
        let mut head = BytesMut::with_capacity(64 + shared.options.client_id.len());
        head.put_i32(0);
        encode_request_header_into_buffer(&mut head, &header)
            .map_err(|error| self.cannot_encode(api_key, &error.to_string()))?;
        let size = head.len() - 4 + body.iter().map(Bytes::len).sum::<usize>();
        let size = i32::try_from(size)
            .map_err(|_| self.cannot_encode(api_key, "the request exceeds 2 GiB"))?;
        head[..4].copy_from_slice(&size.to_be_bytes());

        let mut frame = Vec::with_capacity(1 + body.len());
        frame.push(head.freeze());
        frame.extend(body.into_iter().filter(|piece| !piece.is_empty()));
        let (answer, waiting) = oneshot::channel();
        let pending = Pending {
            correlation_id,
            api_key,
            sent: Instant::now(),
            memory: None,
            answer,
        };
        let answer = Answer {
            waiting,
            api_key,
            handle: Arc::clone(&self.handle),
        };
        Ok((Outgoing { frame, pending }, answer))
    }

    pub(super) fn encode<R: Request>(&self, request: &R, version: i16) -> Result<Bytes, Error> {
        let encode = || {
            let mut body = BytesMut::with_capacity(request.compute_size(version)?);
            request.encode(&mut body, version)?;
            anyhow::Ok(body.freeze())
        };
        encode().map_err(|error| self.cannot_encode(R::KEY, &error.to_string()))
    }

    pub(super) fn decode<R: Request>(
        &self,
        mut frame: Bytes,
        version: i16,
    ) -> Result<R::Response, Error> {
        let decode = |frame: &mut Bytes| {
            ResponseHeader::decode(frame, R::Response::header_version(version))?;
            R::Response::decode(frame, version)
        };
        let malformed = |problem: String| Error::Protocol {
            address: self.address().to_owned(),
            during: api_name(R::KEY),
            problem,
        };
        let response = decode(&mut frame).map_err(|error| {
            malformed(format!("version {version} of it cannot be read: {error:#}"))
        })?;
        if frame.is_empty() {
            Ok(response)
        } else {
            let left = frame.len();
            Err(malformed(format!(
                "{left} bytes are left over after version {version} of it"
            )))
        }
    }

    fn cannot_encode(&self, api_key: i16, problem: &str) -> Error {
        Error::Protocol {
            address: self.address().to_owned(),
            during: api_name(api_key),
            problem: format!("the request could not be encoded: {problem}"),
        }
    }

    /// `host:port` of the peer.
    pub fn address(&self) -> &str {
        &self.handle.shared.options.address
    }

    /// Requests that wait for their answers.
    pub fn in_flight(&self) -> usize {
        self.handle.shared.lock().requests.len()
    }

    /// Whether it has ended; it never comes back.
    pub fn is_closed(&self) -> bool {
        self.handle.shared.closed.is_cancelled()
    }

    /// Waits until it has ended.
    pub async fn closed(&self) {
        self.handle.shared.closed.cancelled().await;
    }

    /// Ends it; everything that waits on it fails.
    pub fn close(&self) {
        self.handle
            .shared
            .close(Some("closed by kmirror".to_owned()), None);
    }
}

/// Stands in for a request's name while there is no connection yet.
pub(super) const CONNECTING: &str = "connecting";

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close(None, None);
    }
}

/// An answer that is due. It keeps the connection open.
#[derive(Debug)]
pub(super) struct Answer {
    waiting: oneshot::Receiver<Result<Bytes, Error>>,
    api_key: i16,
    handle: Arc<Handle>,
}

impl Answer {
    /// The whole frame without its length.
    pub(super) async fn frame(self) -> Result<Bytes, Error> {
        match self.waiting.await {
            Ok(result) => result,
            // The request was dropped because the connection had ended.
            Err(_) => Err(self.handle.shared.disconnected(self.api_key)),
        }
    }
}

#[cfg(test)]
mod tests;
