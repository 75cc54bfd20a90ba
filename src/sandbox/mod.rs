//! The embedded broker: in memory, on loopback, for trying things and for tests.
//!
//! A [`Sandbox`] is one Kafka cluster of one or more brokers inside this process. It speaks
//! Kafka's protocol on real sockets, so that any client can use it: kmirror itself, librdkafka,
//! kcat, Kafka's console tools. It keeps nothing: what was written is gone when it stops, nothing is
//! ever cleaned or expired by retention, and replicas exist in name only.
//!
//! [`broker`] decides, [`server`] does the I/O, [`faults`] makes it fail on demand. [`access`] says who comes in and how,
//! with certificates of an [`authority`] of its own.

pub mod access;
pub mod authority;
pub mod broker;
pub mod faults;
mod server;
pub mod stage;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;

use self::access::Access;
use self::broker::batch::{self, Header};
use self::broker::topics::Defaults;
use self::broker::{Broker, Cluster, Settings};
use self::faults::Loss;
use self::server::{Shared, now_ms};

/// How often time-dependent state is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Locks a mutex whose holders never panic half-way through a change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Where one broker listens.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The name that clients are told to connect to.
    pub host: String,
    /// The sockets to open; port 0 takes a free one, and then there is only one socket.
    pub addresses: Vec<SocketAddr>,
}

impl Listen {
    /// A free port on 127.0.0.1.
    #[must_use]
    pub fn anywhere() -> Self {
        Listen {
            host: Ipv4Addr::LOCALHOST.to_string(),
            addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        }
    }
}

/// What a sandbox shall be.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// For messages and logs.
    pub name: String,
    /// `None`: a random one.
    pub cluster_id: Option<String>,
    /// One entry per broker; their ids count from 1.
    pub brokers: Vec<Listen>,
    /// What all its brokers ask of clients.
    pub access: Access,
    /// Whether asking for an unknown topic creates it (off, unlike Kafka's default).
    pub auto_create_topics: bool,
    /// Partitions of a topic whose creator does not say.
    pub default_partitions: i32,
    /// Session timeouts of group members below this are refused (Kafka: six seconds).
    pub shortest_session_timeout: Duration,
    /// Age of a producer's last record after which partitions forget it (Kafka: a day).
    pub producer_id_expiration: Duration,
    /// How often such producers are looked for (Kafka: ten minutes).
    pub producer_id_expiration_check: Duration,
}

impl SandboxConfig {
    /// A cluster of `brokers` brokers on free loopback ports.
    #[must_use]
    pub fn new(name: &str, brokers: usize) -> Self {
        SandboxConfig {
            name: name.to_owned(),
            cluster_id: None,
            brokers: vec![Listen::anywhere(); brokers],
            access: Access::default(),
            auto_create_topics: false,
            default_partitions: 1,
            shortest_session_timeout: Duration::from_secs(6),
            producer_id_expiration: Duration::from_secs(86_400),
            producer_id_expiration_check: Duration::from_secs(600),
        }
    }
}

/// Why a sandbox could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address} for cluster {cluster}: {cause}")]
    Listen {
        cluster: String,
        address: SocketAddr,
        cause: io::Error,
    },
}

/// A running cluster. Dropping it stops it; [`Sandbox::shutdown`] waits until it has stopped.
#[derive(Debug)]
pub struct Sandbox {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Sandbox {
    /// Opens the sockets and begins to serve.
    pub async fn start(config: SandboxConfig) -> Result<Sandbox, StartError> {
        let mut brokers = Vec::new();
        let mut listeners = Vec::new();
        for (id, listen) in (1..).zip(&config.brokers) {
            let mut port = 0;
            for listener in bind(&config.name, listen).await? {
                port = listener.local_addr().map_or(port, |local| local.port());
                listeners.push((id, listener));
            }
            brokers.push(Broker {
                id,
                host: listen.host.clone(),
                port,
                up: true,
            });
        }
        let settings = Settings {
            cluster_id: config.cluster_id.unwrap_or_else(random_cluster_id),
            defaults: Defaults {
                partitions: config.default_partitions,
                replication_factor: 1,
            },
            auto_create_topics: config.auto_create_topics,
            producer_id_expiration_ms: millis(config.producer_id_expiration),
        };
        let mut cluster = Cluster::new(settings, brokers);
        let longest = *cluster.groups.session_timeouts_ms.end();
        let shortest =
            i32::try_from(config.shortest_session_timeout.as_millis()).unwrap_or(longest);
        cluster.groups.session_timeouts_ms = shortest..=longest;
        let shared = Arc::new(Shared::new(config.name, config.access, cluster));
        let mut tasks = JoinSet::new();
        for (id, listener) in listeners {
            tasks.spawn(server::listen(Arc::clone(&shared), id, listener));
        }
        tasks.spawn(keep_time(
            Arc::clone(&shared),
            config.producer_id_expiration_check,
        ));
        Ok(Sandbox { shared, tasks })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    #[must_use]
    pub fn cluster_id(&self) -> String {
        lock(&self.shared.cluster).settings.cluster_id.clone()
    }

    /// `host:port` of each broker.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let cluster = lock(&self.shared.cluster);
        let brokers = cluster.brokers.iter();
        brokers
            .map(|broker| format!("{}:{}", broker.host, broker.port))
            .collect()
    }

    /// The addresses as clients take them, separated by commas.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.addresses().join(",")
    }

    /// Faults on demand, and events such as a leader change.
    #[must_use]
    pub fn faults(&self) -> Faults {
        Faults {
            shared: Arc::clone(&self.shared),
        }
    }

    /// What lies in a partition's log; `None` if there is no such partition.
    #[must_use]
    pub fn log(&self, topic: &str, partition: i32) -> Option<LogView> {
        let cluster = lock(&self.shared.cluster);
        let partition = cluster.topics.get(topic)?.partition(partition)?;
        let log = &partition.log;
        Some(LogView {
            start: log.start(),
            end: log.end(),
            high_watermark: log.high_watermark(),
            last_stable_offset: log.last_stable_offset(),
            leader: partition.leader,
            leader_epoch: log.leader_epoch(),
            batches: log
                .batches()
                .map(|stored| BatchView {
                    header: stored.header,
                    bytes: stored.bytes.clone(),
                })
                .collect(),
        })
    }

    /// Names of all topics.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        let cluster = lock(&self.shared.cluster);
        cluster
            .topics
            .iter()
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// How many requests of each API (by its number) have come in since this was last asked.
    #[must_use]
    pub fn take_requests(&self) -> BTreeMap<i16, u64> {
        std::mem::take(&mut lock(&self.shared.requests))
    }

    /// Ends all connections and returns once the ports are free.
    pub async fn shutdown(mut self) {
        self.shared.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Opens a broker's sockets. `localhost` may stand for an address that this machine does not have
/// (often ::1); one of its addresses is enough.
async fn bind(cluster: &str, listen: &Listen) -> Result<Vec<TcpListener>, StartError> {
    let mut open = Vec::new();
    let mut missing = None;
    for address in &listen.addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => open.push(listener),
            Err(cause) => {
                let absent = cause.kind() == io::ErrorKind::AddrNotAvailable;
                let error = StartError::Listen {
                    cluster: cluster.to_owned(),
                    address: *address,
                    cause,
                };
                if !absent {
                    return Err(error);
                }
                missing = Some(error);
            }
        }
    }
    match missing {
        Some(error) if open.is_empty() => Err(error),
        _ => Ok(open),
    }
}

/// Kafka's form of a cluster id: 16 random bytes in URL-safe base64. One that begins with `-` would
/// be taken for an option by Kafka's tools.
fn random_cluster_id() -> String {
    loop {
        let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Uuid::new_v4().as_bytes());
        if !id.starts_with('-') {
            return id;
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Lets time pass in the state machines.
async fn keep_time(shared: Arc<Shared>, expiration_check: Duration) {
    let mut tick = tokio::time::interval(TICK);
    let mut checked = tokio::time::Instant::now();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = tick.tick() => (),
        }
        {
            let mut cluster = lock(&shared.cluster);
            let now = now_ms();
            let moved = cluster.groups.tick(now) | cluster.abort_overdue(now);
            drop(cluster);
            if moved {
                shared.changed.notify_waiters();
            }
        }
        if checked.elapsed() >= expiration_check {
            checked = tokio::time::Instant::now();
            shared.change(|cluster| cluster.expire_producers(now_ms()));
        }
    }
}

/// A partition's log at one moment.
#[derive(Clone, Debug)]
pub struct LogView {
    pub start: i64,
    pub end: i64,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    pub batches: Vec<BatchView>,
}

impl LogView {
    /// All data records, those of aborted transactions included, control records left out.
    #[must_use]
    pub fn records(&self) -> Vec<RecordView> {
        let data = self
            .batches
            .iter()
            .filter(|batch| !batch.header.is_control());
        data.flat_map(BatchView::records).collect()
    }
}

/// One stored batch.
#[derive(Clone, Debug)]
pub struct BatchView {
    pub header: Header,
    pub bytes: Bytes,
}

impl BatchView {
    #[must_use]
    pub fn records(&self) -> Vec<RecordView> {
        let header = &self.header;
        let mut records = Vec::new();
        batch::walk(&self.bytes, header, |record| {
            records.push(RecordView {
                offset: header.base_offset + i64::from(record.offset_delta),
                timestamp: if header.is_log_append_time() {
                    header.max_timestamp
                } else {
                    header.base_timestamp + record.timestamp_delta
                },
                key: record.key,
                value: record.value,
                headers: record.headers,
            });
        })
        .expect("stored batches were walked when they came in");
        records
    }
}

/// One record as a consumer would see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordView {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Makes a sandbox misbehave. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Faults {
    shared: Arc<Shared>,
}

impl Faults {
    /// Every answer to `api` is held back this long; zero ends it.
    pub fn delay(&self, api: ApiKey, delay: Duration) {
        self.shared.faults.set_delay(api, delay);
    }

    /// Closes the connection at the `nth` request from now on (1: the next).
    pub fn lose(&self, api: ApiKey, nth: u32, loss: Loss) {
        self.shared.faults.lose(api, nth, loss);
    }

    /// The next `times` items of `api` (of this topic) get `error`; nothing is carried out for them.
    pub fn fail(&self, api: ApiKey, topic: Option<&str>, error: ResponseError, times: u32) {
        self.shared.faults.fail(api, topic, error, times);
    }

    /// Ends all delays, losses and failures.
    pub fn clear(&self) {
        self.shared.faults.clear();
    }

    /// Closes the connections to one broker, or to all.
    pub fn drop_connections(&self, broker: Option<i32>) {
        let ids: Vec<i32> = match broker {
            Some(id) => vec![id],
            None => lock(&self.shared.cluster)
                .brokers
                .iter()
                .map(|b| b.id)
                .collect(),
        };
        for id in ids {
            self.shared.drop_connections(id);
        }
    }

    /// Hands a partition to `to`, or to its next live replica, under a new leader epoch (returned).
    /// With one broker it stays the leader and only the epoch rises.
    pub fn move_leader(
        &self,
        topic: &str,
        partition: i32,
        to: Option<i32>,
    ) -> Result<i32, ResponseError> {
        self.shared
            .change(|cluster| cluster.move_leader(topic, partition, to))
    }

    /// Takes a broker down: its connections close and new ones are closed at once.
    pub fn stop_broker(&self, id: i32) {
        self.shared
            .change(|cluster| cluster.set_broker_up(id, false));
        self.shared.drop_connections(id);
        self.forget_fetch_sessions(id);
    }

    /// Makes a broker forget its fetch sessions, as where others need the room.
    pub fn forget_fetch_sessions(&self, broker: i32) {
        lock(&self.shared.sessions).forget(broker);
    }

    /// Brings a broker back.
    pub fn start_broker(&self, id: i32) {
        self.shared
            .change(|cluster| cluster.set_broker_up(id, true));
    }

    /// Makes a partition forget all producers, as after their expiry.
    pub fn forget_producers(&self, topic: &str, partition: i32) {
        self.with_log(topic, partition, |log| log.producers.forget_all());
    }

    /// Stops the high watermark where it is, as when followers have stopped; a leader change
    /// then loses what lies above it. `false` lets it catch up.
    pub fn hold_watermark(&self, topic: &str, partition: i32, hold: bool) {
        self.with_log(topic, partition, |log| log.hold_watermark(hold));
    }

    fn with_log(&self, topic: &str, partition: i32, with: impl FnOnce(&mut broker::log::Log)) {
        self.shared.change(|cluster| {
            let found = cluster
                .topics
                .get_mut(topic)
                .and_then(|topic| topic.partition_mut(partition));
            if let Some(partition) = found {
                with(&mut partition.log);
            }
        });
    }
}
