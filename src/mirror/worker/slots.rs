//! What workers tell each other of their slots, and the one among them that moves partitions between slots.
//!
//! Word goes with the group commits that confirm membership anyway: the offset committed for a slot is the generation of
//! `_kmirror.links`' record of slots that its owner obeys, the metadata names the owner and the partitions that carry much.
//! The owner of slot 0 compares ([`super::balance`]) and writes the record as the holder of the lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::ConnectedCluster;
use super::balance::{Balancer, Heavy, Report, SlotSeen, Slots};
use super::follow::{Orders, give_back};
use crate::control::records::{
    LockRecord, RECORD_VERSION, SlotsRecord, WORK_SLOTS, WORK_TOPIC, WORKER_GROUP,
};
use crate::control::{ControlWriter, Write};
use crate::kafka::Error;
use crate::mirror::io::{PartitionKey, Route};

/// Bytes a second from which a partition is worth a word.
const HEAVY: u64 = 64 << 10;
/// Partitions named for one slot, at most: brokers take 4 KiB of metadata.
const NAMED: usize = 8;
/// How long to wait for an apply at work; after that the next look tries again.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// What this worker says of its slots.
#[derive(Debug)]
pub struct Announcement {
    worker: String,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// The brokers take no words, so none are said.
    silent: bool,
    obeyed: i64,
    heavy: BTreeMap<i32, Vec<Heavy>>,
    lacks_source: bool,
}

impl Announcement {
    pub fn new() -> Arc<Self> {
        let id = Uuid::new_v4().simple().to_string();
        Arc::new(Self {
            worker: id[..8].to_owned(),
            said: Mutex::default(),
        })
    }

    /// What this worker calls itself.
    pub fn worker(&self) -> &str {
        &self.worker
    }

    /// Whether something cannot be copied here, for want of its source.
    pub fn lacks_source(&self, lacks: bool) {
        self.said().lacks_source = lacks;
    }

    /// Offset and metadata to commit for a slot.
    pub fn of_slot(&self, slot: i32) -> (i64, String) {
        let said = self.said();
        if said.silent {
            return (said.obeyed, String::new());
        }
        let report = Report {
            worker: self.worker.clone(),
            heavy: said.heavy.get(&slot).cloned().unwrap_or_default(),
            lacks_source: said.lacks_source,
        };
        let text = serde_json::to_string(&report).expect("names and numbers can be written");
        (said.obeyed, text)
    }

    /// Everything that this generation takes from this worker has stopped.
    pub fn obeys(&self, generation: i64) {
        self.said().obeyed = generation;
    }

    /// Brokers with a small `offset.metadata.max.bytes` refuse what is said, and with it the word that confirms membership.
    pub fn fall_silent(&self) {
        self.said().silent = true;
    }

    pub fn carries(&self, heavy: BTreeMap<i32, Vec<Heavy>>) {
        self.said().heavy = heavy;
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said
            .lock()
            .expect("the lock is held for assignments and copies only")
    }
}

/// The ways out of the partitions that run here, by slot. A slot that was revoked is closed before another worker gets it,
/// whatever keeps this one from stopping its partitions in time.
#[derive(Debug, Default)]
pub struct Gates {
    routes: Mutex<HashMap<i32, Vec<Weak<Route>>>>,
}

impl Gates {
    pub fn add(&self, slot: i32, route: &Arc<Route>) {
        let mut routes = self.lock();
        let routes = routes.entry(slot).or_default();
        routes.retain(|route| route.strong_count() > 0);
        routes.push(Arc::downgrade(route));
    }

    /// Nothing more leaves from partitions of these slots that run now.
    pub fn close(&self, slots: &[i32]) {
        let mut routes = self.lock();
        let closed = slots.iter().filter_map(|slot| routes.remove(slot));
        for route in closed.flatten().filter_map(|route| route.upgrade()) {
            route.make_void(u64::MAX);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Vec<Weak<Route>>>> {
        self.routes
            .lock()
            .expect("the lock is held for insertions and removals only")
    }
}

/// Bytes a second, measured between looks.
#[derive(Debug)]
pub struct Rates {
    since: Instant,
    bytes: HashMap<PartitionKey, u64>,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            bytes: HashMap::new(),
        }
    }
}

impl Rates {
    /// Takes in the bytes that each partition has copied so far, with its slot; gives what to say of the slots.
    pub fn look(
        &mut self,
        now: impl Iterator<Item = (PartitionKey, i32, u64)>,
    ) -> BTreeMap<i32, Vec<Heavy>> {
        let elapsed = std::mem::replace(&mut self.since, Instant::now()).elapsed();
        let millis = u64::try_from(elapsed.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let before = std::mem::take(&mut self.bytes);
        let mut heavy: BTreeMap<i32, Vec<Heavy>> = BTreeMap::new();
        for (key, slot, bytes) in now {
            self.bytes.insert(key, bytes);
            // Nothing is known yet of what this worker has just got.
            let Some(former) = before.get(&key) else {
                continue;
            };
            let rate = bytes.saturating_sub(*former).saturating_mul(1_000) / millis;
            if rate >= HEAVY {
                heavy.entry(slot).or_default().push(Heavy {
                    id: key.id,
                    partition: key.partition,
                    rate,
                });
            }
        }
        for slot in heavy.values_mut() {
            slot.sort_by_key(|it| (std::cmp::Reverse(it.rate), it.id, it.partition));
            slot.truncate(NAMED);
        }
        heavy
    }
}

/// Keeps the work of a destination's workers even until it is aborted.
pub async fn run(
    destination: ConnectedCluster,
    orders: watch::Receiver<Orders>,
    holder: String,
    every: Duration,
) {
    let mut balancer = Balancer::default();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = orders.borrow().clone();
        if !now.leads {
            balancer = Balancer::default();
            continue;
        }
        let seen = match look(&destination).await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::debug!(cluster = destination.name, %error, "the workers' slots cannot be compared just now");
                continue;
            }
        };
        let exists = |id: &_| now.state.mirrors.contains_key(id);
        let now_ms = jiff::Timestamp::now().as_millisecond();
        if let Some(next) = balancer.next(&now.state.slots, &seen, exists, now_ms) {
            let _at_work = now.at_work.read().await;
            write(&destination, &now.state.slots, next, &holder).await;
        }
    }
}

/// What the owners of all slots said last.
pub(super) async fn look(destination: &ConnectedCluster) -> Result<Slots, Error> {
    let slots = (0..WORK_SLOTS).map(|slot| (WORK_TOPIC.to_owned(), slot));
    let admin = destination.client.admin();
    let found = admin
        .offset_fetch(WORKER_GROUP, Some(slots.collect()))
        .await?;
    let mut seen = Slots::new();
    for ((_, slot), committed) in found {
        // Written by somebody else, or cut off by a broker with a small limit: nothing is known of the slot.
        if let Ok(report) = serde_json::from_str(&committed.metadata) {
            let obeyed = committed.offset;
            seen.insert(slot, SlotSeen { obeyed, report });
        }
    }
    Ok(seen)
}

async fn write(
    destination: &ConnectedCluster,
    known: &SlotsRecord,
    next: SlotsRecord,
    holder: &str,
) {
    let lock = LockRecord {
        version: RECORD_VERSION,
        holder: holder.to_owned(),
        since_ms: next.since_ms,
        command: "run".to_owned(),
    };
    let mut writer = match ControlWriter::acquire(&destination.client, lock, LOCK_TIMEOUT).await {
        Ok(writer) => writer,
        Err(error) => {
            tracing::debug!(cluster = destination.name, %error, "a move of partitions waits for the lock");
            return;
        }
    };
    // Whoever held the lock may have moved something.
    if writer.state().slots == *known {
        let moving = next.placed.iter().filter(|it| it.from.is_some()).count();
        match writer.commit(vec![Write::Slots(next)]).await {
            Ok(()) if moving > 0 => tracing::info!(
                cluster = destination.name,
                partitions = moving,
                "the work of the workers is uneven: partitions change hands"
            ),
            Ok(()) => tracing::debug!(cluster = destination.name, "partitions have changed hands"),
            Err(error) => {
                tracing::warn!(cluster = destination.name, %error, "partitions could not be moved");
            }
        }
    }
    give_back(writer).await;
}

#[cfg(test)]
mod tests {
    use super::super::lease::Lease;
    use super::*;
    use crate::control::records::IncarnationId;
    use crate::mirror::io::TopicPartition;

    fn key(partition: i32) -> PartitionKey {
        let id = IncarnationId {
            link: Uuid::from_u128(u128::MAX),
            source_topic: Uuid::from_u128(u128::MAX),
            destination_topic: Uuid::from_u128(u128::MAX),
        };
        PartitionKey { id, partition }
    }

    #[tokio::test(start_paused = true)]
    async fn rates_are_those_between_two_looks() {
        let mut rates = Rates::default();
        let first = [(key(0), 3, 0), (key(1), 3, 500)];
        assert_eq!(rates.look(first.into_iter()), BTreeMap::new());
        tokio::time::advance(Duration::from_secs(10)).await;
        let second = [
            (key(0), 3, 10 << 20),
            (key(1), 3, 600),
            (key(2), 4, 1 << 40),
        ];
        let heavy = rates.look(second.into_iter());
        assert_eq!(heavy.keys().copied().collect::<Vec<_>>(), [3]);
        assert_eq!((heavy[&3].len(), heavy[&3][0].rate), (1, 1 << 20));
    }

    /// A worker that is kept from stopping its partitions would write beside the slot's new owner.
    #[test]
    fn what_runs_in_a_revoked_slot_sends_nothing_more() {
        let gates = Gates::default();
        let route = |partition| {
            let destination = TopicPartition {
                topic: "orders".to_owned(),
                topic_id: Uuid::nil(),
                partition,
            };
            Route::new(destination, Arc::new(Lease::new(Duration::from_secs(10))))
        };
        let (a, b, c) = (route(0), route(1), route(2));
        gates.add(5, &a);
        gates.add(5, &b);
        gates.add(6, &c);
        drop(b);
        gates.close(&[5, 7]);
        assert!(a.is_void(1_000) && !c.is_void(1));
        // The slot comes back, with other partitions.
        let d = route(3);
        gates.add(5, &d);
        assert!(!d.is_void(1));
    }

    /// A broker refuses more than 4,096 bytes, and with it the commit that confirms membership.
    #[tokio::test(start_paused = true)]
    async fn what_is_said_of_a_slot_fits_into_a_commit() {
        let mut rates = Rates::default();
        let at = |bytes| (0..1_000).map(move |n| (key(i32::MAX - n), 5, bytes));
        rates.look(at(0));
        tokio::time::advance(Duration::from_millis(1)).await;
        let announcement = Announcement::new();
        announcement.carries(rates.look(at(u64::MAX / 2_000)));
        announcement.obeys(7);
        let (obeyed, text) = announcement.of_slot(5);
        assert!(text.len() < 3_000, "{} bytes", text.len());
        let report: Report = serde_json::from_str(&text).expect("it can be read");
        assert_eq!((obeyed, report.heavy.len()), (7, NAMED));
        assert!(announcement.of_slot(6).1.len() < 100);
        announcement.fall_silent();
        assert_eq!(announcement.of_slot(5), (7, String::new()));
    }
}
