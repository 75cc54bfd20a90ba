//! Figures of a running worker: what a display shows and `--until-caught-up` waits for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a partition is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Starting,
    Copying,
    Paused,
    Failed(String),
}

/// Figures of one partition, written by its task.
#[derive(Debug, Default)]
pub struct PartitionFigures {
    records: AtomicU64,
    bytes: AtomicU64,
    position: AtomicI64,
    source_end: AtomicI64,
    caught_up: AtomicBool,
    state: Mutex<State>,
}

impl PartitionFigures {
    pub fn copied(&self, records: i64, bytes: u64) {
        self.records
            .fetch_add(u64::try_from(records).unwrap_or(0), Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes copied so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn set_position(&self, offset: i64) {
        self.position.store(offset, Ordering::Relaxed);
    }

    pub fn set_source_end(&self, offset: i64) {
        self.source_end.store(offset, Ordering::Relaxed);
    }

    pub fn set_caught_up(&self) {
        self.caught_up.store(true, Ordering::Relaxed);
        self.set_state(State::Copying);
    }

    pub fn set_state(&self, state: State) {
        *self.state() = state;
    }

    pub fn set_failed(&self, cause: String) {
        self.set_state(State::Failed(cause));
    }

    pub fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Relaxed)
    }

    /// Whether nothing more will happen without somebody: caught up once, or failed.
    pub fn is_settled(&self) -> bool {
        self.is_caught_up() || self.is_failed()
    }

    /// Whether it stands still until somebody does something.
    pub fn is_failed(&self) -> bool {
        matches!(*self.state(), State::Failed(_))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("the lock is held for an assignment only")
    }

    /// Records at the source that are not yet at the destination, counted in offsets.
    pub fn lag(&self) -> u64 {
        let end = self.source_end.load(Ordering::Relaxed);
        let position = self.position.load(Ordering::Relaxed);
        if position < 0 {
            0
        } else {
            u64::try_from(end - position).unwrap_or(0)
        }
    }
}

/// A partition by link, destination topic and index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub link: String,
    pub topic: String,
    pub partition: i32,
}

/// Figures of all partitions of a worker.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    partitions: BTreeMap<Name, Arc<PartitionFigures>>,
    /// What partitions copied that this worker no longer has.
    gone: (u64, u64),
}

/// All figures at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub partitions: usize,
    pub caught_up: usize,
    pub paused: usize,
    /// Records and bytes acknowledged since the worker started.
    pub records: u64,
    pub bytes: u64,
    pub lag: u64,
    /// What failed, with the cause.
    pub failed: Vec<(Name, String)>,
}

impl Figures {
    /// The figures of a partition, made new if it has none.
    pub fn of(&self, name: Name) -> Arc<PartitionFigures> {
        Arc::clone(self.lock().partitions.entry(name).or_default())
    }

    /// A partition that this worker no longer has. Its failure, if it ended in one, stays known.
    pub fn forget(&self, name: &Name) {
        let mut inner = self.lock();
        let Some(figures) = inner.partitions.get(name).cloned() else {
            return;
        };
        if matches!(*figures.state(), State::Failed(_)) {
            return;
        }
        inner.gone.0 += figures.records.load(Ordering::Relaxed);
        inner.gone.1 += figures.bytes.load(Ordering::Relaxed);
        inner.partitions.remove(name);
    }

    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        let mut snapshot = Snapshot {
            records: inner.gone.0,
            bytes: inner.gone.1,
            ..Snapshot::default()
        };
        for (name, figures) in &inner.partitions {
            snapshot.partitions += 1;
            snapshot.records += figures.records.load(Ordering::Relaxed);
            snapshot.bytes += figures.bytes.load(Ordering::Relaxed);
            match &*figures.state() {
                State::Failed(cause) => snapshot.failed.push((name.clone(), cause.clone())),
                State::Paused => snapshot.paused += 1,
                State::Starting | State::Copying => {
                    snapshot.lag += figures.lag();
                    snapshot.caught_up += usize::from(figures.is_caught_up());
                }
            }
        }
        snapshot
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("the lock is held for lookups only")
    }
}
