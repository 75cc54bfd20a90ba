//! One connection to one broker: requests go out in the order of the calls, answers come back in
//! that order, and many may be on their way at once.
//!
//! A task writes, a task reads. [`Connection::send`] encodes and queues at the call; the future it
//! returns only waits for the answer, so a caller controls the order on the wire by the order of its
//! calls. Once anything is out of step (a lost peer, an answer that belongs to no request, a request
//! without an answer in time) the connection ends for good and everything that waits on it fails:
//! after that nobody could tell which answer belongs to what.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{
    Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::code::ErrorCode;
use super::error::Error;
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
}

/// A connection whose versions have been negotiated. Clones share it; it closes with the last one.
#[derive(Clone, Debug)]
pub struct Connection {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    queue: mpsc::UnboundedSender<Outgoing>,
    shared: Arc<Shared>,
    versions: OnceLock<ApiVersions>,
    correlation: AtomicI32,
}

/// What the two tasks and the handle have in common.
#[derive(Debug)]
struct Shared {
    options: ConnectionOptions,
    in_flight: Mutex<InFlight>,
    closed: CancellationToken,
    /// Why it closed, in words; set before `closed`.
    cause: OnceLock<Option<String>>,
}

#[derive(Debug)]
struct InFlight {
    requests: VecDeque<Pending>,
    /// When the peer last sent something.
    last_read: Instant,
    open: bool,
}

#[derive(Debug)]
struct Pending {
    correlation_id: i32,
    api_key: i16,
    sent: Instant,
    answer: oneshot::Sender<Result<Bytes, Error>>,
}

#[derive(Debug)]
struct Outgoing {
    /// Pieces of one frame, so that record bytes need not be copied into it.
    frame: Vec<Bytes>,
    pending: Pending,
}

/// Small requests are gathered into one write up to this size.
const GATHER_BYTES: usize = 256 * 1024;
/// The system's limit of pieces a vectored write takes is 1024; far fewer do.
const GATHER_PIECES: usize = 64;
/// Known to every broker since 2.4; older ones answer with version 0.
const API_VERSIONS_VERSION: i16 = 3;

impl Connection {
    /// Connects over TCP and negotiates versions.
    ///
    /// # Errors
    /// [`Error::Disconnected`] or [`Error::Timeout`] when the peer cannot be connected to, and
    /// whatever the handshake meets.
    pub async fn connect(
        options: ConnectionOptions,
        connect_timeout: Duration,
    ) -> Result<Self, Error> {
        let unreachable = |cause: String| Error::Disconnected {
            address: options.address.clone(),
            during: CONNECTING.to_owned(),
            cause: Some(cause),
        };
        let connecting = TcpStream::connect(&options.address);
        let stream = tokio::time::timeout(connect_timeout, connecting)
            .await
            .map_err(|_| Error::Timeout {
                address: options.address.clone(),
                during: CONNECTING.to_owned(),
                after: connect_timeout,
            })?
            .map_err(|error| unreachable(io_words(&error)))?;
        stream
            .set_nodelay(true)
            .map_err(|error| unreachable(io_words(&error)))?;
        let (reader, writer) = stream.into_split();
        Self::handshake(Self::start(reader, writer, options)).await
    }

    /// Speaks over any transport and negotiates versions.
    ///
    /// # Errors
    /// Whatever the handshake meets.
    pub async fn open<T>(transport: T, options: ConnectionOptions) -> Result<Self, Error>
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(transport);
        Self::handshake(Self::start(reader, writer, options)).await
    }

    fn start<R, W>(reader: R, writer: W, options: ConnectionOptions) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::new(Shared {
            options,
            in_flight: Mutex::new(InFlight {
                requests: VecDeque::new(),
                last_read: Instant::now(),
                open: true,
            }),
            closed: CancellationToken::new(),
            cause: OnceLock::new(),
        });
        let (queue, outgoing) = mpsc::unbounded_channel();
        tokio::spawn(write_loop(outgoing, writer, Arc::clone(&shared)));
        tokio::spawn(read_loop(reader, Arc::clone(&shared)));
        Self {
            handle: Arc::new(Handle {
                queue,
                shared,
                versions: OnceLock::new(),
                correlation: AtomicI32::new(0),
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
            Error::broker(
                code,
                None,
                "say which versions it speaks",
                format!("({address})"),
            )
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
            answer,
        };
        // A queue that is gone drops the request, and its answer fails with the reason.
        let _ = self.handle.queue.send(Outgoing { frame, pending });
        Ok(Answer {
            waiting,
            api_key,
            handle: Arc::clone(&self.handle),
        })
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

impl Shared {
    fn lock(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    fn disconnected(&self, api_key: i16) -> Error {
        Error::Disconnected {
            address: self.options.address.clone(),
            during: api_name(api_key),
            cause: self.cause.get().cloned().flatten(),
        }
    }

    /// Ends the connection. The oldest request gets `error`, if there is one; the others learn that
    /// they were disconnected and why.
    fn close(&self, cause: Option<String>, error: Option<Error>) {
        let _ = self.cause.set(cause);
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
    fn overdue(&self) -> Option<i16> {
        let in_flight = self.lock();
        let oldest = in_flight.requests.front()?;
        let since = oldest.sent.max(in_flight.last_read);
        (since.elapsed() >= self.options.request_timeout).then_some(oldest.api_key)
    }

    fn oldest(&self) -> String {
        let in_flight = self.lock();
        let oldest = in_flight.requests.front();
        oldest.map_or_else(|| "no request".to_owned(), |p| api_name(p.api_key))
    }
}

async fn write_loop<W: AsyncWrite + Unpin>(
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    mut writer: W,
    shared: Arc<Shared>,
) {
    let mut pieces: VecDeque<Bytes> = VecDeque::new();
    loop {
        let first = tokio::select! {
            biased;
            () = shared.closed.cancelled() => return,
            next = queue.recv() => next,
        };
        let Some(first) = first else { return };
        let (mut size, mut count) = (0, 0);
        {
            let mut in_flight = shared.lock();
            if !in_flight.open {
                return;
            }
            let mut next = Some(first);
            while let Some(Outgoing { frame, mut pending }) = next {
                size += frame.iter().map(Bytes::len).sum::<usize>();
                count += 1;
                pieces.extend(frame);
                pending.sent = Instant::now();
                in_flight.requests.push_back(pending);
                next = if size < GATHER_BYTES && pieces.len() < GATHER_PIECES {
                    queue.try_recv().ok()
                } else {
                    None
                };
            }
        }
        let written = tokio::select! {
            biased;
            () = shared.closed.cancelled() => return,
            written = write_pieces(&mut writer, &mut pieces, count, &shared) => written,
        };
        if let Err(error) = written {
            shared.close(Some(io_words(&error)), None);
            return;
        }
    }
}

/// Writes everything; a request's time only starts to run once it has left.
async fn write_pieces<W: AsyncWrite + Unpin>(
    writer: &mut W,
    pieces: &mut VecDeque<Bytes>,
    requests: usize,
    shared: &Shared,
) -> std::io::Result<()> {
    while !pieces.is_empty() {
        let written = {
            let slices: Vec<_> = pieces
                .iter()
                .take(GATHER_PIECES)
                .map(|piece| std::io::IoSlice::new(piece))
                .collect();
            writer.write_vectored(&slices).await?
        };
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        let mut left = written;
        while left > 0 {
            let piece = pieces
                .front_mut()
                .expect("no more is written than was given");
            if piece.len() <= left {
                left -= piece.len();
                pieces.pop_front();
            } else {
                let _ = piece.split_to(left);
                left = 0;
            }
        }
        let now = Instant::now();
        let mut in_flight = shared.lock();
        // Answers come in order, so what this write carries is at the back.
        for pending in in_flight.requests.iter_mut().rev().take(requests) {
            pending.sent = now;
        }
    }
    writer.flush().await
}

async fn read_loop<R: AsyncRead + Unpin>(reader: R, shared: Arc<Shared>) {
    let mut reader = BufReader::with_capacity(32 * 1024, reader);
    let timeout = shared.options.request_timeout;
    let mut watch = tokio::time::interval(
        (timeout / 10).clamp(Duration::from_millis(5), Duration::from_secs(1)),
    );
    watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let reading = read_frame(&mut reader, &shared);
        tokio::pin!(reading);
        let frame = loop {
            tokio::select! {
                biased;
                () = shared.closed.cancelled() => return,
                frame = &mut reading => break frame,
                _ = watch.tick() => {
                    if let Some(api_key) = shared.overdue() {
                        let (address, during) = (shared.options.address.clone(), api_name(api_key));
                        let cause = format!("no answer to {during} within {:.1} s", timeout.as_secs_f64());
                        shared.close(Some(cause), Some(Error::Timeout { address, during, after: timeout }));
                        return;
                    }
                }
            }
        };
        let outcome = frame.and_then(|frame| deliver(frame, &shared));
        if let Err((cause, error)) = outcome {
            shared.close(cause, error);
            return;
        }
    }
}

/// Why reading ended: words for everything that waits, and the error of the oldest request.
type Ended = (Option<String>, Option<Error>);

async fn read_frame<R: AsyncRead + Unpin>(reader: &mut R, shared: &Shared) -> Result<Bytes, Ended> {
    let lost = |error: std::io::Error| {
        let cause = (error.kind() != std::io::ErrorKind::UnexpectedEof).then(|| io_words(&error));
        (cause, None)
    };
    let size = reader.read_i32().await.map_err(lost)?;
    let limit = shared.options.max_response_bytes;
    let size = match usize::try_from(size) {
        Ok(size) if size <= limit => size,
        _ => {
            let announced = u64::from(size.cast_unsigned());
            let error = Error::Oversized {
                address: shared.options.address.clone(),
                during: shared.oldest(),
                size: announced,
                limit: limit as u64,
            };
            return Err((
                Some(format!("an answer of {announced} bytes was announced")),
                Some(error),
            ));
        }
    };
    let mut frame = BytesMut::with_capacity(size);
    while frame.len() < size {
        let left = size - frame.len();
        let count = reader
            .read_buf(&mut (&mut frame).limit(left))
            .await
            .map_err(lost)?;
        if count == 0 {
            return Err((Some("in the middle of an answer".to_owned()), None));
        }
        shared.lock().last_read = Instant::now();
    }
    Ok(frame.freeze())
}

fn deliver(frame: Bytes, shared: &Shared) -> Result<(), Ended> {
    let malformed = |during: String, problem: String| {
        let address = shared.options.address.clone();
        let error = Error::Protocol {
            address,
            during,
            problem: problem.clone(),
        };
        (Some(problem), Some(error))
    };
    let Some(id) = frame.first_chunk::<4>() else {
        let problem = format!("an answer of {} bytes has no header", frame.len());
        return Err(malformed(shared.oldest(), problem));
    };
    let correlation_id = i32::from_be_bytes(*id);
    let pending = {
        let mut in_flight = shared.lock();
        in_flight.last_read = Instant::now();
        match in_flight.requests.front() {
            Some(oldest) if oldest.correlation_id == correlation_id => {
                in_flight.requests.pop_front()
            }
            _ => None,
        }
    };
    let Some(pending) = pending else {
        let problem = format!("answer {correlation_id} belongs to no request that is due");
        return Err(malformed(shared.oldest(), problem));
    };
    // Whoever asked may have gone; then nobody wants it.
    let _ = pending.answer.send(Ok(frame));
    Ok(())
}

/// An I/O error without the parts that say nothing to a user.
pub(super) fn io_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => "connection refused (nothing listens there)".to_owned(),
        Kind::ConnectionReset => "connection reset by the peer".to_owned(),
        Kind::BrokenPipe => "the peer no longer reads".to_owned(),
        Kind::HostUnreachable => "host unreachable".to_owned(),
        Kind::NetworkUnreachable => "network unreachable".to_owned(),
        Kind::TimedOut => "the network gave up waiting".to_owned(),
        _ => {
            let text = error.to_string();
            match text.strip_prefix("failed to lookup address information: ") {
                Some(reason) => format!("the host name cannot be resolved: {reason}"),
                None => text,
            }
        }
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
