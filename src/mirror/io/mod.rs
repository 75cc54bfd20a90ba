//! The sockets around [`super::partition`]: what it asks for is done here, and told back as events.
//!
//! [`task`] runs one partition; [`reader`] fetches for all partitions of a source, [`writer`] produces for
//! all partitions of a destination, over a few connections a broker; [`lanes`] are those to a source's broker, and
//! [`standing`] asks for what has nothing to read there; [`tail`] reads where a
//! destination partition ends, [`watermark`] how far it is replicated, [`proof`] what was written; [`pad`] takes up offsets that no
//! record has; [`keeper`] stores progress; [`fence`] ends what a mirror writes. [`ask`] decides what a fetch asks for, [`share`] how much memory a
//! partition gets, [`throttle`] how fast it is read, [`turns`] whose batches go into a request, [`window`] how much is
//! on its way to a broker.

pub mod ask;
pub mod fence;
pub mod keeper;
pub mod lanes;
pub mod pad;
pub mod proof;
pub mod reader;
pub mod share;
pub mod shared_tail;
pub mod standing;
pub mod tail;
pub mod task;
pub mod throttle;
pub mod turns;
pub mod watermark;
pub mod window;
pub mod writer;

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use uuid::Uuid;

use super::partition::Event;
use super::worker::lease::Lease;
use crate::control::records::IncarnationId;

/// Where a partition is told what happened.
///
/// Boxed: a channel has room for dozens of events from the start, and most partitions never hear of more than one at a time.
#[derive(Clone, Debug)]
pub struct Events(mpsc::UnboundedSender<Box<Event>>);

/// What a partition is told.
pub type Incoming = mpsc::UnboundedReceiver<Box<Event>>;

impl Events {
    pub fn channel() -> (Self, Incoming) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    pub fn tell(&self, event: Event) {
        // A partition that is gone needs to hear nothing.
        let _gone = self.0.send(Box::new(event));
    }

    /// Whether the partition is gone.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Whether both tell the same partition.
    pub fn same_channel(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }
}

/// One end of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicPartition {
    pub topic: String,
    /// Nil where the brokers know no topic ids.
    pub topic_id: Uuid,
    pub partition: i32,
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// One partition of one incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionKey {
    pub id: IncarnationId,
    pub partition: i32,
}

/// What the writer has to know of a partition besides the batches.
#[derive(Debug)]
pub struct Route {
    /// No other route of this process has it.
    pub id: u64,
    pub destination: TopicPartition,
    pub lease: Arc<Lease>,
    /// The broker that leads the destination partition, -1 while unknown.
    leader: AtomicI32,
    /// The highest epoch of its leaders that anybody has seen, -1 while unknown.
    leader_epoch: AtomicI32,
    /// The attempt that was sent last, and over which of its lane's connections it began.
    began: Mutex<(u64, u64)>,
    /// Attempts up to this one are void: a batch of theirs was lost or refused, or they were given up.
    void: AtomicU64,
}

impl Route {
    pub fn new(destination: TopicPartition, lease: Arc<Lease>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            destination,
            lease,
            leader: AtomicI32::new(-1),
            leader_epoch: AtomicI32::new(-1),
            began: Mutex::new((0, 0)),
            void: AtomicU64::new(0),
        })
    }

    pub fn leader(&self) -> i32 {
        self.leader.load(Ordering::Acquire)
    }

    pub fn set_leader(&self, broker: i32) {
        self.leader.store(broker, Ordering::Release);
    }

    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
    }

    /// Epochs of a topic's leaders only rise: whoever answers with a smaller one was deposed.
    pub fn note_leader_epoch(&self, epoch: i32) {
        self.leader_epoch.fetch_max(epoch, Ordering::AcqRel);
    }

    /// Whether a batch of `attempt` may go over this connection: an attempt stays on the one that it began on.
    pub fn goes_over(&self, attempt: u64, connection: u64) -> bool {
        let mut began = self
            .began
            .lock()
            .expect("nothing panics while it holds the lock");
        if began.0 != attempt {
            *began = (attempt, connection);
        }
        began.1 == connection
    }

    /// Whether a batch of `attempt` may no longer be sent.
    pub fn is_void(&self, attempt: u64) -> bool {
        attempt <= self.void.load(Ordering::Acquire)
    }

    /// Whether the partition's slot was revoked, or its task has ended: nothing more may come of it, whatever slots this
    /// worker holds since.
    pub fn is_closed(&self) -> bool {
        self.is_void(u64::MAX)
    }

    /// After a loss or refusal nothing of the same attempt may follow: a leader that forgot the
    /// producer id would take it and leave a gap.
    pub fn make_void(&self, attempt: u64) {
        self.void.fetch_max(attempt, Ordering::AcqRel);
    }
}
