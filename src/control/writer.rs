//! Changing desired state, one holder at a time.
//!
//! Two things keep writers apart. The **lock record** is good manners: a newcomer that finds it
//! held and alive waits, then says who holds it. The holder renews it every [`RENEW_EVERY`]; one that
//! has not been renewed for [`STALE_AFTER`] while a newcomer watched, or is older than
//! [`STALE_BY_CLOCK`] by its own time, belongs to a holder that is gone and is taken over. **Fencing**
//! is the guarantee: only the last one to initialise the transactional id can write, so a holder that
//! was frozen and wakes up again, or the loser of a race, is refused by the broker.
//!
//! A newcomer that initialises the id in the very moment in which another one got the lock fences a
//! rightful holder. That one finds its own lock still standing in the log and takes the right back;
//! the newcomer finds a lock that is alive and waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::error::ControlError;
use super::log::{KeyValue, now_ms};
use super::records::{
    IncarnationId, LinkConfigsRecord, LinkRecord, LinksKey, LockRecord, MirrorRecord, SlotsRecord,
    SourceLinkRecord,
};
use super::store::{ControlState, LinksLog, ensure_topics, json};
use super::transaction::{Producer, Refusal};
use crate::kafka::{Backoff, Client};

/// How often a holder renews its lock record.
pub const RENEW_EVERY: Duration = Duration::from_secs(3);
/// A lock that is not renewed for so long under a newcomer's eyes is void.
pub const STALE_AFTER: Duration = Duration::from_secs(15);
/// A lock whose last renewal is so long ago by the holder's clock is void at once.
pub const STALE_BY_CLOCK: Duration = Duration::from_secs(60);

/// How often a newcomer looks whether the lock is free.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Newcomers that fence each other come to an end long before.
const RACE_PATIENCE: Duration = Duration::from_secs(30);
/// How often a rightful holder takes the right back before it gives up.
const RECLAIMS: usize = 5;

/// One change of desired state.
#[derive(Clone, Debug)]
pub enum Write {
    Link(LinkRecord),
    Mirror(MirrorRecord),
    DropLink(Uuid),
    DropMirror(IncarnationId),
    Slots(SlotsRecord),
    LinkConfigs(Uuid, LinkConfigsRecord),
    DropLinkConfigs(Uuid),
    SourceLink(SourceLinkRecord),
    DropSourceLink(Uuid),
}

/// Why the lock was not got.
#[derive(Clone, Debug)]
pub enum LockError {
    /// Somebody else holds it.
    Held {
        record: LockRecord,
        /// Since it was taken.
        age: Duration,
    },
    Control(ControlError),
}

impl<E: Into<ControlError>> From<E> for LockError {
    fn from(error: E) -> Self {
        Self::Control(error.into())
    }
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Held { record, age } => {
                let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
                write!(
                    f,
                    "{} has been at work on this cluster with `{}` for {age}; try again when it is done",
                    record.holder, record.command
                )
            }
            Self::Control(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LockError {}

/// The holder of a destination's lock. Dropped without [`release`](Self::release) it leaves the lock
/// to go stale.
#[derive(Debug)]
pub struct ControlWriter {
    state: ControlState,
    session: Arc<Mutex<Session>>,
    _renewing: DropGuard,
}

#[derive(Debug)]
struct Session {
    client: Client,
    lock: LockRecord,
    /// `None` after an error: the right has to be taken anew.
    producer: Option<Producer>,
    links: LinksLog,
    /// Set once somebody else has taken over for good.
    lost: Option<ControlError>,
    /// Set once the lock is being given back; it is not renewed any more.
    released: bool,
}

impl ControlWriter {
    /// Takes the lock of a destination, creating its internal topics where they are missing. While
    /// another holder is alive, waits for `lock_timeout` at most.
    ///
    /// # Errors
    /// [`LockError::Held`] with the holder, or what went wrong.
    pub async fn acquire(
        client: &Client,
        lock: LockRecord,
        lock_timeout: Duration,
    ) -> Result<Self, LockError> {
        ensure_topics(client).await?;
        let mut session = Session::new(client, lock);
        session.acquire(lock_timeout).await?;
        Ok(Self::hold(session))
    }

    /// Takes the lock from whoever holds it, alive or not; that one's changes are refused from then on.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn steal(client: &Client, lock: LockRecord) -> Result<Self, ControlError> {
        ensure_topics(client).await?;
        let mut session = Session::new(client, lock);
        session.steal().await?;
        Ok(Self::hold(session))
    }

    fn hold(session: Session) -> Self {
        let state = session.links.state().clone();
        let session = Arc::new(Mutex::new(session));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let renewed = Arc::clone(&session);
        tokio::spawn(async move {
            stopped.run_until_cancelled(renew(renewed)).await;
        });
        Self {
            state,
            session,
            _renewing: stop.drop_guard(),
        }
    }

    /// What is desired now, one's own commits included.
    pub fn state(&self) -> &ControlState {
        &self.state
    }

    /// Makes changes, all or none, and returns once readers see them.
    ///
    /// # Errors
    /// [`ControlError::Fenced`] when somebody else has taken over.
    pub async fn commit(&mut self, changes: Vec<Write>) -> Result<(), ControlError> {
        let records: Vec<KeyValue> = changes.iter().map(Write::record).collect();
        let mut session = self.session.lock().await;
        session.write(&records).await?;
        for change in changes {
            change.apply(&mut self.state);
        }
        Ok(())
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// As [`commit`](Self::commit). The lock then goes stale by itself.
    pub async fn release(self) -> Result<(), ControlError> {
        let mut session = self.session.lock().await;
        // Before the lock is given back: a renewal that waits for its turn would take it again.
        session.released = true;
        let tombstone = (json(&LinksKey::Lock), None);
        let released = session.write(&[tombstone]).await;
        if released.is_err() && session.links.lock.is_none() {
            // The first try had done it, only its answer got lost.
            return Ok(());
        }
        released
    }
}

/// Renews the lock until it is given back or lost.
async fn renew(session: Arc<Mutex<Session>>) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let mut session = session.lock().await;
        if session.released || session.lost.is_some() {
            return;
        }
        let record = session.lock_record();
        if let Err(error) = session.write(&[record]).await {
            tracing::warn!(
                cluster = session.client.cluster_name(),
                %error,
                "the lock on the control records could not be renewed"
            );
        }
    }
}

impl Session {
    fn new(client: &Client, lock: LockRecord) -> Self {
        Self {
            client: client.clone(),
            lock,
            producer: None,
            links: LinksLog::new(client),
            lost: None,
            released: false,
        }
    }

    async fn steal(&mut self) -> Result<(), ControlError> {
        for _ in 0..RECLAIMS {
            let mut producer = Producer::init(&self.client).await?;
            self.links.catch_up().await?;
            match producer.write(&[self.lock_record()]).await {
                Ok(_) => {
                    self.producer = Some(producer);
                    self.links.catch_up().await?;
                    return Ok(());
                }
                Err(Refusal::Superseded) => {}
                Err(Refusal::Kafka(error)) => return Err(error.into()),
            }
        }
        Err(ControlError::Fenced { by: None })
    }

    async fn acquire(&mut self, timeout: Duration) -> Result<(), LockError> {
        let started = Instant::now();
        let mut watched = Watched::default();
        let mut backoff = Backoff::for_requests();
        loop {
            self.links.catch_up().await?;
            if !self.is_free(&mut watched) {
                if started.elapsed() >= timeout {
                    return Err(self.held());
                }
                let left = timeout.saturating_sub(started.elapsed());
                tokio::time::sleep(LOOK_EVERY.min(left)).await;
                continue;
            }
            match self.take_over(&mut watched).await {
                Ok(true) => return Ok(()),
                // Another newcomer was quicker; its lock is there now or will be in a moment.
                Ok(false) if started.elapsed() < timeout + RACE_PATIENCE => backoff.sleep().await,
                Ok(false) => return Err(ControlError::Fenced { by: None }.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Fences whoever wrote before, looks again, and writes the own lock. `false`: somebody else has
    /// got the lock in the meantime.
    async fn take_over(&mut self, watched: &mut Watched) -> Result<bool, ControlError> {
        let mut producer = Producer::init(&self.client).await?;
        self.links.catch_up().await?;
        if !self.is_free(watched) {
            return Ok(false);
        }
        match producer.write(&[self.lock_record()]).await {
            Ok(_) => {
                self.producer = Some(producer);
                self.links.catch_up().await?;
                Ok(true)
            }
            Err(Refusal::Superseded) => Ok(false),
            Err(Refusal::Kafka(error)) => Err(error.into()),
        }
    }

    /// Whether nobody holds the lock, or its holder is gone.
    fn is_free(&self, watched: &mut Watched) -> bool {
        let Some(lock) = &self.links.lock else {
            return true;
        };
        let unrenewed = watched.see(lock.offset);
        let by_clock = Duration::from_millis(
            u64::try_from(now_ms().saturating_sub(lock.timestamp)).unwrap_or(0),
        );
        unrenewed >= STALE_AFTER || by_clock >= STALE_BY_CLOCK
    }

    fn held(&self) -> LockError {
        let lock = self.links.lock.as_ref();
        let record = lock
            .expect("a lock that is not free is held")
            .record
            .clone();
        let age = now_ms().saturating_sub(record.since_ms);
        LockError::Held {
            record,
            age: Duration::from_millis(u64::try_from(age).unwrap_or(0)),
        }
    }

    fn lock_record(&self) -> KeyValue {
        (json(&LinksKey::Lock), Some(json(&self.lock)))
    }

    /// Writes as the holder of the lock; takes the right to write back where that is due.
    async fn write(&mut self, records: &[KeyValue]) -> Result<(), ControlError> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        for _ in 0..RECLAIMS {
            let mut producer = match self.producer.take() {
                Some(producer) => producer,
                None => self.reclaim().await?,
            };
            match producer.write(records).await {
                Ok(_) => {
                    self.producer = Some(producer);
                    return Ok(());
                }
                Err(Refusal::Superseded) => {}
                Err(Refusal::Kafka(error)) => return Err(error.into()),
            }
        }
        Err(ControlError::Fenced { by: None })
    }

    /// The right to write, if the lock is still ours. Looks before it fences, so that a holder who has
    /// lost the lock does not disturb the new one.
    async fn reclaim(&mut self) -> Result<Producer, ControlError> {
        self.links.catch_up().await?;
        self.check_own()?;
        let producer = Producer::init(&self.client).await?;
        self.links.catch_up().await?;
        self.check_own()?;
        Ok(producer)
    }

    fn check_own(&mut self) -> Result<(), ControlError> {
        let found = self.links.lock.as_ref().map(|lock| &lock.record);
        if found == Some(&self.lock) {
            return Ok(());
        }
        let fenced = ControlError::Fenced { by: found.cloned() };
        self.lost = Some(fenced.clone());
        Err(fenced)
    }
}

/// How long a lock record has stood unrenewed under our eyes.
#[derive(Debug, Default)]
struct Watched {
    seen: Option<(i64, Instant)>,
}

impl Watched {
    fn see(&mut self, offset: i64) -> Duration {
        match self.seen {
            Some((seen, since)) if seen == offset => since.elapsed(),
            _ => {
                self.seen = Some((offset, Instant::now()));
                Duration::ZERO
            }
        }
    }
}

impl Write {
    fn record(&self) -> KeyValue {
        match self {
            Self::Link(record) => {
                let key = LinksKey::Link { id: record.id };
                (json(&key), Some(json(&record.as_written())))
            }
            Self::Mirror(record) => {
                let key = LinksKey::Mirror { id: record.id };
                (json(&key), Some(json(&record.as_written())))
            }
            Self::DropLink(id) => (json(&LinksKey::Link { id: *id }), None),
            Self::DropMirror(id) => (json(&LinksKey::Mirror { id: *id }), None),
            Self::Slots(record) => (json(&LinksKey::Slots), Some(json(record))),
            Self::LinkConfigs(id, record) => {
                (json(&LinksKey::LinkConfigs { id: *id }), Some(json(record)))
            }
            Self::DropLinkConfigs(id) => (json(&LinksKey::LinkConfigs { id: *id }), None),
            Self::SourceLink(record) => (
                json(&LinksKey::SourceLink { id: record.id }),
                Some(json(record)),
            ),
            Self::DropSourceLink(id) => (json(&LinksKey::SourceLink { id: *id }), None),
        }
    }

    pub(super) fn apply(self, state: &mut ControlState) {
        match self {
            Self::Link(record) => drop(state.links.insert(record.id, record)),
            Self::Mirror(record) => drop(state.mirrors.insert(record.id, record)),
            Self::DropLink(id) => drop(state.links.shift_remove(&id)),
            Self::DropMirror(id) => drop(state.mirrors.shift_remove(&id)),
            Self::Slots(record) => state.slots = record,
            Self::LinkConfigs(id, record) => drop(state.configs.insert(id, record)),
            Self::DropLinkConfigs(id) => drop(state.configs.shift_remove(&id)),
            Self::SourceLink(record) => drop(state.source_links.insert(record.id, record)),
            Self::DropSourceLink(id) => drop(state.source_links.shift_remove(&id)),
        }
    }
}
