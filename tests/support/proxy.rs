//! A TCP proxy that misbehaves on demand: between kmirror and one broker, bytes are delayed, held back, lost or cut off.
//!
//! Both directions are ruled apart from each other, so that requests can arrive whose answers never do. What was held back
//! for a client that is gone reaches the broker all the same, as bytes in a network do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::ports::Port;

/// What becomes of bytes in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Open,
    /// Each byte arrives so much later.
    Delayed(Duration),
    /// One request (or whatever arrived at once from the broker) after the other, so far apart.
    OneByOne(Duration),
    /// Kept until the flow is another one.
    Held,
    /// Never arrives; nobody is told.
    Lost,
}

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToBroker,
    ToClient,
}

/// A proxy before one broker.
#[derive(Debug)]
pub struct Proxy {
    port: Port,
    rules: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    target: String,
    state: Mutex<State>,
    ended: AtomicBool,
    /// Bytes that reached the broker.
    forwarded: AtomicU64,
    /// Bytes on their way to the broker.
    waiting: AtomicU64,
}

#[derive(Debug)]
struct State {
    to_broker: Flow,
    to_client: Flow,
    /// Raised by every cut: connections of before are closed.
    epoch: u64,
    connections: u64,
    /// Connections up to a number carry nothing in a direction any more.
    silenced: Vec<(Direction, u64)>,
    spy: Option<Spy>,
}

/// What to look for in produce requests.
#[derive(Debug)]
struct Spy {
    text: Vec<u8>,
    /// Connections that carried it, in the order in which they first did.
    found: Vec<u64>,
    /// So many of them still pass; from then on nothing goes to the broker.
    passing: Option<usize>,
}

const CHUNK: usize = 64 << 10;
/// Chunks between reader and writer: enough for a whole window of requests to be swallowed.
const CHUNKS: usize = 1024;
const LOOK: Duration = Duration::from_millis(20);

impl Proxy {
    /// Listens on a free port for connections to `target`.
    pub fn start(target: String) -> Result<Self> {
        let port = Port::free()?;
        let listener = TcpListener::bind(port.address()).with_context(|| port.address())?;
        let rules = Arc::new(Rules {
            target,
            state: Mutex::new(State {
                to_broker: Flow::Open,
                to_client: Flow::Open,
                epoch: 0,
                connections: 0,
                silenced: Vec::new(),
                spy: None,
            }),
            ended: AtomicBool::new(false),
            forwarded: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
        });
        let shared = Arc::clone(&rules);
        std::thread::spawn(move || shared.accept(&listener));
        Ok(Self { port, rules })
    }

    pub fn address(&self) -> String {
        self.port.address()
    }

    pub fn set(&self, direction: Direction, flow: Flow) {
        let mut state = self.rules.lock();
        // Of what is on its way already, nothing springs the trap again.
        if let Some(spy) = &mut state.spy {
            spy.passing = None;
        }
        match direction {
            Direction::ToBroker => state.to_broker = flow,
            Direction::ToClient => state.to_client = flow,
        }
    }

    /// Both directions open again.
    pub fn open(&self) {
        self.set(Direction::ToBroker, Flow::Open);
        self.set(Direction::ToClient, Flow::Open);
    }

    /// Closes every connection; later ones are taken.
    pub fn cut(&self) {
        self.rules.lock().epoch += 1;
    }

    /// Connections that are open carry nothing in this direction any more and stay open, as behind a firewall that forgot
    /// them; later ones are as usual.
    pub fn silence(&self, direction: Direction) {
        let mut state = self.rules.lock();
        let last = state.connections;
        state.silenced.push((direction, last));
    }

    /// Bytes that wait here for the broker.
    pub fn waiting(&self) -> u64 {
        self.rules.waiting.load(Ordering::Acquire)
    }

    /// Bytes that reached the broker so far.
    pub fn forwarded(&self) -> u64 {
        self.rules.forwarded.load(Ordering::Acquire)
    }

    /// From here on, notes which connections carry produce requests that contain `text`.
    pub fn spy(&self, text: &str) {
        self.look_for(text, None);
    }

    /// As [`Proxy::spy`]; so many of those requests pass, and whatever comes later on any connection is held.
    pub fn trap_after(&self, passing: usize, text: &str) {
        self.look_for(text, Some(passing));
    }

    fn look_for(&self, text: &str, passing: Option<usize>) {
        self.rules.lock().spy = Some(Spy {
            text: text.as_bytes().to_vec(),
            found: Vec::new(),
            passing,
        });
    }

    /// Connections that carried what is looked for, in the order in which they first did.
    pub fn spied(&self) -> Vec<u64> {
        let state = self.rules.lock();
        state
            .spy
            .as_ref()
            .map_or_else(Vec::new, |spy| spy.found.clone())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.rules.ended.store(true, Ordering::Release);
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.port.address());
    }
}

impl Rules {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the lock is held")
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.ended.load(Ordering::Acquire) {
                return;
            }
            // A client that hung up, or a broker that is away: the connection is closed, as a network would.
            let Ok(client) = client else { continue };
            let Ok(broker) = TcpStream::connect(&self.target) else {
                continue;
            };
            // Without it small answers wait for acknowledgements.
            let _ = (client.set_nodelay(true), broker.set_nodelay(true));
            let (epoch, number) = {
                let mut state = self.lock();
                state.connections += 1;
                (state.epoch, state.connections)
            };
            let (Ok(client_too), Ok(broker_too)) = (client.try_clone(), broker.try_clone()) else {
                continue;
            };
            let line = |direction| Line {
                rules: Arc::clone(&self),
                direction,
                epoch,
                number,
            };
            line(Direction::ToBroker).run(client, broker);
            line(Direction::ToClient).run(broker_too, client_too);
        }
    }
}

/// One direction of one connection.
struct Line {
    rules: Arc<Rules>,
    direction: Direction,
    epoch: u64,
    number: u64,
}

impl Line {
    fn run(self, from: TcpStream, to: TcpStream) {
        let (sender, receiver) = sync_channel(CHUNKS);
        let line = Arc::new(self);
        let writing = Arc::clone(&line);
        std::thread::spawn(move || line.read(from, &sender));
        std::thread::spawn(move || writing.write(to, &receiver));
    }

    fn is_cut(&self) -> bool {
        self.rules.lock().epoch != self.epoch
    }

    fn read(&self, mut from: TcpStream, chunks: &SyncSender<(Instant, Vec<u8>)>) {
        let mut frames = Frames::default();
        let mut buffer = vec![0; CHUNK];
        // So that a cut is noticed on a quiet connection.
        let _ = from.set_read_timeout(Some(LOOK));
        while !self.is_cut() {
            let count = match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => count,
                Err(error) if is_timeout(&error) => continue,
                Err(_) => return,
            };
            if self.direction == Direction::ToClient {
                if chunks
                    .send((Instant::now(), buffer[..count].to_vec()))
                    .is_err()
                {
                    return;
                }
                continue;
            }
            // Whole requests: what a client that is killed wrote half is of no use to the broker.
            frames.buffer.extend_from_slice(&buffer[..count]);
            while let Some(frame) = frames.next() {
                self.look_at(&frame[4..]);
                self.rules
                    .waiting
                    .fetch_add(frame.len() as u64, Ordering::AcqRel);
                if chunks.send((Instant::now(), frame)).is_err() {
                    return;
                }
            }
        }
        let _ = from.shutdown(Shutdown::Both);
    }

    fn look_at(&self, request: &[u8]) {
        let mut state = self.rules.lock();
        let Some(spy) = &mut state.spy else {
            return;
        };
        let is_produce = request.len() > 8 && request[..2] == [0, 0];
        let text = &spy.text[..];
        if !is_produce || !request.windows(text.len()).any(|part| part == text) {
            return;
        }
        if !spy.found.contains(&self.number) {
            spy.found.push(self.number);
        }
        match &mut spy.passing {
            Some(0) => state.to_broker = Flow::Held,
            Some(passing) => *passing -= 1,
            None => {}
        }
    }

    fn write(&self, mut to: TcpStream, chunks: &Receiver<(Instant, Vec<u8>)>) {
        while let Ok((since, bytes)) = chunks.recv() {
            let written = self.pass(&mut to, since, &bytes);
            if self.direction == Direction::ToBroker {
                self.rules
                    .waiting
                    .fetch_sub(bytes.len() as u64, Ordering::AcqRel);
            }
            if !written {
                break;
            }
        }
        // The other side learns that nothing more comes; what comes from there still does.
        let how = if self.is_cut() {
            Shutdown::Both
        } else {
            Shutdown::Write
        };
        let _ = to.shutdown(how);
    }

    /// `false`: the connection is over.
    fn pass(&self, to: &mut TcpStream, since: Instant, bytes: &[u8]) -> bool {
        loop {
            let Some(flow) = self.flow() else {
                return false;
            };
            match flow {
                Flow::Open => {}
                Flow::Lost => return true,
                Flow::Held => {
                    std::thread::sleep(LOOK);
                    continue;
                }
                Flow::Delayed(time) => {
                    let left = time.saturating_sub(since.elapsed());
                    if !left.is_zero() {
                        std::thread::sleep(left.min(LOOK));
                        continue;
                    }
                }
                Flow::OneByOne(time) => std::thread::sleep(time),
            }
            let written = to.write_all(bytes).is_ok();
            if written && self.direction == Direction::ToBroker {
                let count = bytes.len() as u64;
                self.rules.forwarded.fetch_add(count, Ordering::AcqRel);
            }
            return written;
        }
    }

    fn flow(&self) -> Option<Flow> {
        let state = self.rules.lock();
        let is_silenced = |(direction, last): &(Direction, u64)| {
            *direction == self.direction && self.number <= *last
        };
        (state.epoch == self.epoch).then_some(match self.direction {
            _ if state.silenced.iter().any(is_silenced) => Flow::Lost,
            Direction::ToBroker => state.to_broker,
            Direction::ToClient => state.to_client,
        })
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    )
}

/// Kafka's requests with their lengths, cut out of a stream.
#[derive(Default)]
struct Frames {
    buffer: Vec<u8>,
}

impl Frames {
    fn next(&mut self) -> Option<Vec<u8>> {
        let length = self.buffer.first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        if self.buffer.len() < 4 + length {
            return None;
        }
        Some(self.buffer.drain(..4 + length).collect())
    }
}
