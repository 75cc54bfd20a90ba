//! The two tasks of a connection: one writes what is queued, one reads answers and watches the time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::shared::{InFlight, Outgoing, Queued, Shared};
use super::{Error, api_name};
use crate::kafka::error::io_words;
use crate::kafka::security::problem::Problem;

/// Small requests are gathered into one write up to this size.
const GATHER_BYTES: usize = 256 * 1024;
/// The system's limit of pieces a vectored write takes is 1024; far fewer do.
const GATHER_PIECES: usize = 64;
/// How long after a failed write the reading task may find out why.
const LAST_WORDS: Duration = Duration::from_millis(100);

pub(super) async fn write_loop<W: AsyncWrite + Unpin>(
    mut queue: mpsc::UnboundedReceiver<Queued>,
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
        let mut exclusive = match first {
            Some(Queued::Request(first)) => {
                let (count, exclusive) = {
                    let mut in_flight = shared.lock();
                    if !in_flight.open {
                        return;
                    }
                    gather(first, &mut queue, &mut pieces, &mut in_flight)
                };
                if write(&mut writer, &mut pieces, count, &shared)
                    .await
                    .is_none()
                {
                    return;
                }
                exclusive
            }
            Some(Queued::Exclusive(requests)) => Some(requests),
            None => return,
        };
        while let Some(requests) = &mut exclusive {
            let next = tokio::select! {
                biased;
                () = shared.closed.cancelled() => return,
                next = requests.recv() => next,
            };
            let Some(Outgoing { frame, pending }) = next else {
                exclusive = None;
                continue;
            };
            {
                let mut in_flight = shared.lock();
                if !in_flight.open {
                    return;
                }
                pieces.extend(frame);
                in_flight.requests.push_back(pending);
            }
            if write(&mut writer, &mut pieces, 1, &shared).await.is_none() {
                return;
            }
        }
    }
}

type Exclusive = mpsc::UnboundedReceiver<Outgoing>;

/// Takes what is queued for one write. Gives the number of requests, and what wants the line for itself after them.
fn gather(
    first: Outgoing,
    queue: &mut mpsc::UnboundedReceiver<Queued>,
    pieces: &mut VecDeque<Bytes>,
    in_flight: &mut InFlight,
) -> (usize, Option<Exclusive>) {
    let (mut size, mut count) = (0, 0);
    let mut next = Some(Queued::Request(first));
    loop {
        match next {
            Some(Queued::Request(Outgoing { frame, mut pending })) => {
                size += frame.iter().map(Bytes::len).sum::<usize>();
                count += 1;
                pieces.extend(frame);
                pending.sent = Instant::now();
                in_flight.requests.push_back(pending);
            }
            Some(Queued::Exclusive(requests)) => return (count, Some(requests)),
            None => return (count, None),
        }
        next = if size < GATHER_BYTES && pieces.len() < GATHER_PIECES {
            queue.try_recv().ok()
        } else {
            None
        };
    }
}

/// `None`: the connection has ended.
async fn write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    pieces: &mut VecDeque<Bytes>,
    requests: usize,
    shared: &Shared,
) -> Option<()> {
    let written = tokio::select! {
        biased;
        () = shared.closed.cancelled() => return None,
        written = write_pieces(writer, pieces, requests, shared) => written,
    };
    if let Err(error) = written {
        // What the peer said before it hung up waits to be read, and says more than this.
        tokio::select! {
            () = shared.closed.cancelled() => {}
            () = tokio::time::sleep(LAST_WORDS) => shared.close(Some(io_words(&error)), None),
        }
        return None;
    }
    Some(())
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
                piece.advance(left);
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

pub(super) async fn read_loop<R: AsyncRead + Unpin>(reader: R, shared: Arc<Shared>) {
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
    let size = reader
        .read_i32()
        .await
        .map_err(|error| lost(error, shared))?;
    if !shared.has_answered() && is_tls(size) {
        let security = &shared.options.security;
        let problem = Problem::TlsPort(security.protocol());
        let error = Error::from(security.at(&shared.options.address, problem));
        return Err((Some(error.to_string()), Some(error)));
    }
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
    let Some(memory) = shared.memory_of_oldest() else {
        let mut frame = BytesMut::with_capacity(size);
        fill(reader, &mut frame, size, shared).await?;
        return Ok(frame.freeze());
    };
    shared.lock().waits_for_memory = true;
    let mut buffer = memory.into_buffer(size).await;
    {
        let mut in_flight = shared.lock();
        in_flight.waits_for_memory = false;
        in_flight.last_read = Instant::now();
    }
    fill(reader, buffer.space(), size, shared).await?;
    Ok(buffer.freeze())
}

/// Reads `size` bytes into a buffer that has room for them: large pieces go there from the socket without a copy.
async fn fill<R: AsyncRead + Unpin>(
    reader: &mut R,
    buffer: &mut impl BufMut,
    size: usize,
    shared: &Shared,
) -> Result<(), Ended> {
    let mut left = size;
    while left > 0 {
        let count = reader
            .read_buf(&mut (&mut *buffer).limit(left))
            .await
            .map_err(|error| lost(error, shared))?;
        if count == 0 {
            return Err((Some("in the middle of an answer".to_owned()), None));
        }
        left -= count;
        shared.lock().last_read = Instant::now();
    }
    Ok(())
}

fn lost(error: std::io::Error, shared: &Shared) -> Ended {
    let options = &shared.options;
    if let Some(error) = options.security.transport_error(&options.address, &error) {
        return (Some(error.to_string()), Some(error));
    }
    let cause = (error.kind() != std::io::ErrorKind::UnexpectedEof).then(|| io_words(&error));
    (cause, None)
}

/// Whether an answer begins as a TLS record does, an alert or a handshake: the length of a Kafka answer is none.
fn is_tls(first: i32) -> bool {
    matches!(first.to_be_bytes(), [0x15 | 0x16, 0x03, 0x00..=0x04, _])
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
        in_flight.answered = true;
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
    tracing::trace!(
        address = shared.options.address,
        api = api_name(pending.api_key),
        bytes = frame.len(),
        took_us = u64::try_from(pending.sent.elapsed().as_micros()).unwrap_or(u64::MAX),
        "answer"
    );
    // Whoever asked may have gone; then nobody wants it.
    let _ = pending.answer.send(Ok(frame));
    Ok(())
}
