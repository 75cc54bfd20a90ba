//! Two embedded clusters, a topic on each, and one partition of a mirror between them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kmirror::control::records::Acks;
use kmirror::control::records::{
    Alignment, Anchor, ForeignWrites, IncarnationId, MapRecord, OffsetsSpec, StartSpec,
};
use kmirror::kafka::admin::NewTopic;
use kmirror::kafka::{Buffers, Client, ClientConfig, Topics};
use kmirror::mirror::batch::provenance::Provenance;
use kmirror::mirror::io::keeper::{Keeper, Wish};
use kmirror::mirror::io::pad::MarkerProducer;
use kmirror::mirror::io::reader::Reader;
use kmirror::mirror::io::task::{self, Running, Surroundings};
use kmirror::mirror::io::watermark;
use kmirror::mirror::io::writer::Writer;
use kmirror::mirror::io::{PartitionKey, Route, TopicPartition};
use kmirror::mirror::map::{self, MapTail};
use kmirror::mirror::partition::{Event, Merging, Settings, Stored};
use kmirror::mirror::worker::figures::PartitionFigures;
use kmirror::mirror::worker::lease::{Lease, Moment};
use kmirror::sandbox::{RecordView, Sandbox, SandboxConfig};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub const SOURCE: &str = "orders";
pub const MIRROR: &str = "orders.replica";
const PATIENCE: Duration = Duration::from_secs(30);

/// What a keeper was asked to store, as it would be read back.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    pub anchors: Vec<Anchor>,
    pub chunks: Vec<(u32, MapRecord)>,
    pub alignment: Alignment,
    pub pads_by_transactions: bool,
}

pub struct Lab {
    pub source: Arc<Sandbox>,
    pub destination: Arc<Sandbox>,
    /// Names of the two topics.
    topics: [&'static str; 2],
    pub source_client: Client,
    pub destination_client: Client,
    pub producer_id: i64,
    pub ids: (Uuid, Uuid),
    pub kept: Arc<Mutex<Kept>>,
    pub lease: Arc<Lease>,
    pub reader: Arc<Reader>,
    pub offsets: OffsetsSpec,
    pub foreign_writes: ForeignWrites,
    pub provenance: bool,
}

impl Lab {
    /// `brokers` of the destination; the source has one.
    pub async fn new(brokers: usize) -> Self {
        let source = Sandbox::start(SandboxConfig::new("east", 1))
            .await
            .expect("free ports");
        let destination = Sandbox::start(SandboxConfig::new("west", brokers))
            .await
            .expect("free ports");
        let source_client = connect("east", &source).await;
        let destination_client = connect("west", &destination).await;
        let ids = (
            create(&source_client, SOURCE, 1).await,
            create(
                &destination_client,
                MIRROR,
                i16::try_from(brokers).expect("few brokers"),
            )
            .await,
        );
        let producer = destination_client
            .admin()
            .init_producer_id(None, 0)
            .await
            .expect("an id");
        let lease = Arc::new(Lease::new(Duration::from_secs(3600)));
        lease.renew(Moment::now());
        let reader = Reader::new(source_client.clone(), Buffers::new(64 << 20));
        Self {
            source: Arc::new(source),
            destination: Arc::new(destination),
            topics: [SOURCE, MIRROR],
            source_client,
            destination_client,
            producer_id: producer.id,
            ids,
            kept: Arc::default(),
            lease,
            reader,
            offsets: OffsetsSpec::Translate,
            foreign_writes: ForeignWrites::Stop,
            provenance: false,
        }
    }

    /// The mirror that leads back, of the same kind.
    pub async fn back(&self) -> Self {
        let admin = self.source_client.admin();
        let producer_id = admin.init_producer_id(None, 0).await.expect("an id").id;
        Self {
            source: Arc::clone(&self.destination),
            destination: Arc::clone(&self.source),
            topics: [self.topics[1], self.topics[0]],
            source_client: self.destination_client.clone(),
            destination_client: self.source_client.clone(),
            producer_id,
            ids: (self.ids.1, self.ids.0),
            kept: Arc::default(),
            lease: Arc::clone(&self.lease),
            reader: Reader::new(self.destination_client.clone(), Buffers::new(64 << 20)),
            offsets: self.offsets,
            foreign_writes: self.foreign_writes,
            provenance: self.provenance,
        }
    }

    /// Another mirror of the source topic from its start, in the same worker: its topic and itself.
    pub async fn start_beside(&self) -> (String, Running) {
        let admin = self.destination_client.admin();
        let producer_id = admin.init_producer_id(None, 0).await.expect("an id").id;
        let topic = format!("{MIRROR}.{producer_id}");
        let id = create(&self.destination_client, &topic, 1).await;
        let running = self.start_as(&topic, id, producer_id, Arc::default());
        (topic, running)
    }

    /// A worker's partition, started from what was kept.
    pub fn start(&self) -> Running {
        let keep = Arc::clone(&self.kept);
        self.start_as(self.topics[1], self.ids.1, self.producer_id, keep)
    }

    fn start_as(
        &self,
        mirror: &str,
        mirror_id: Uuid,
        producer_id: i64,
        keep: Arc<Mutex<Kept>>,
    ) -> Running {
        let kept = keep.lock().expect("not poisoned").clone();
        let chunk = kept
            .chunks
            .iter()
            .map(|(chunk, _)| *chunk)
            .max()
            .unwrap_or(0);
        let runs = kept.chunks.iter().find(|(known, _)| *known == chunk);
        let runs = runs
            .map(|(_, record)| map::decode(record))
            .unwrap_or_default();
        let stored = Stored {
            anchors: kept.anchors,
            map: MapTail::new(chunk, runs),
            alignment: kept.alignment,
            pads_by_transactions: kept.pads_by_transactions,
        };
        let key = PartitionKey {
            id: IncarnationId {
                link: Uuid::from_u128(1),
                source_topic: self.ids.0,
                destination_topic: mirror_id,
            },
            partition: 0,
        };
        let partition = |topic: &str, topic_id| TopicPartition {
            topic: topic.to_owned(),
            topic_id,
            partition: 0,
        };
        let around = Surroundings {
            key,
            link: "east-to-west".to_owned(),
            source: partition(self.topics[0], self.ids.0),
            route: Route::new(partition(mirror, mirror_id), Arc::clone(&self.lease)),
            source_client: self.source_client.clone(),
            destination_client: self.destination_client.clone(),
            reader: Arc::clone(&self.reader),
            throttle: Arc::default(),
            writer: Writer::new(self.destination_client.clone()),
            keeper: keeper(keep),
            watermarks: watermark::start(self.destination_client.clone()),
            marker_producer: MarkerProducer::default(),
            start: StartSpec::Earliest,
            settings: Settings {
                producer_id,
                producer_epoch: 0,
                append_time: true,
                offsets: self.offsets,
                foreign_writes: self.foreign_writes,
                provenance: self.provenance.then(|| {
                    let source = (self.source_client.cluster_name(), self.topics[0]);
                    Provenance::new(source, (self.destination_client.cluster_name(), mirror))
                }),
                filler_timestamp: 1_700_000_000_000,
                acks: Acks::All,
                merge_compressed: Merging {
                    below: 4 << 10,
                    to: 64 << 10,
                },
                merge_plain: Merging {
                    below: 32 << 10,
                    to: 256 << 10,
                },
                window_bytes: 1 << 20,
                window_batches: 64,
                queue_bytes: 1 << 20,
            },
            figures: Arc::new(PartitionFigures::default()),
        };
        task::start(around, stored, false)
    }

    pub async fn produce(&self, range: std::ops::Range<u32>) {
        self.produce_of(range, 0).await;
    }

    /// Records whose values are `bytes` longer than those of [`produce`](Self::produce).
    pub async fn produce_of(&self, range: std::ops::Range<u32>, bytes: usize) {
        let filling = "x".repeat(bytes);
        let producer: FutureProducer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", self.source.bootstrap_servers())
            .set("broker.address.family", "v4")
            .set("batch.num.messages", "7")
            .set("compression.type", if bytes == 0 { "lz4" } else { "none" })
            .create()
            .expect("a valid configuration");
        let mut sent = Vec::new();
        for number in range {
            let (key, value) = (format!("key-{number}"), format!("value-{number}{filling}"));
            let record = FutureRecord::to(self.topics[0])
                .partition(0)
                .key(&key)
                .payload(&value);
            sent.push(
                producer
                    .send_result(record)
                    .map_err(|(error, _)| error)
                    .expect("queued"),
            );
        }
        for delivery in sent {
            delivery
                .await
                .expect("not cancelled")
                .map_err(|(error, _)| error)
                .expect("delivered");
        }
    }

    /// Somebody else who writes to the mirror's topic, until the task is cut off.
    pub fn write_as_another(&self) -> JoinHandle<()> {
        let producer: FutureProducer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", self.destination.bootstrap_servers())
            .set("broker.address.family", "v4")
            .create()
            .expect("a valid configuration");
        tokio::spawn(async move {
            loop {
                let record = FutureRecord::to(MIRROR)
                    .partition(0)
                    .key("another")
                    .payload("by another");
                // The sandbox may refuse it just now.
                let _outcome = producer.send(record, Duration::from_secs(1)).await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    }

    /// Waits until `count` records of the source are in a topic that others write to, and checks that each is there once, in
    /// order, and where the map says.
    pub async fn expect_copy_among_others(&self, count: usize, running: Running) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let copied = || {
            let mut records = self.copied();
            records.retain(|record| record.key.as_deref() != Some(&b"another"[..]));
            records
        };
        // Only who has read what others left there knows where it lies.
        let stored = || {
            let kept = self.kept.lock().expect("not poisoned");
            kept.anchors.last().map_or(0, |last| last.count)
        };
        while copied().len() < count || stored() < count as i64 {
            assert!(tokio::time::Instant::now() < deadline, "{}", copied().len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop(running).await;
        let (source, copied) = (records(&self.source, SOURCE), copied());
        let values = |records: &[RecordView]| -> Vec<_> {
            records.iter().map(|record| record.value.clone()).collect()
        };
        assert_eq!(values(&source), values(&copied));
        let kept = self.kept.lock().expect("not poisoned").clone();
        let runs = kept.chunks.iter().flat_map(|(_, chunk)| map::decode(chunk));
        let said: Vec<_> = runs
            .flat_map(|run| (0..run.count).map(move |n| (run.source + n, run.destination + n)))
            .collect();
        let lies: Vec<_> = source
            .iter()
            .zip(&copied)
            .map(|(source, copied)| (source.offset, copied.offset))
            .collect();
        assert_eq!(said, lies);
        assert!(self.copied().len() > count, "nobody else wrote");
    }

    /// Waits until the destination holds `count` records, and checks that they are the source's.
    pub async fn expect_copy(&self, count: usize) {
        self.expect_copy_in(MIRROR, count).await;
    }

    pub async fn expect_copy_in(&self, mirror: &str, count: usize) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let copied = || records(&self.destination, mirror);
        while copied().len() < count {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{} of {count} records arrived",
                copied().len()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let source = records(&self.source, SOURCE);
        let copied = copied();
        assert_eq!(source.len(), count);
        assert_eq!(copied.len(), count);
        for (source, copied) in source.iter().zip(&copied) {
            assert_eq!(
                (
                    &source.key,
                    &source.value,
                    source.timestamp,
                    &source.headers
                ),
                (
                    &copied.key,
                    &copied.value,
                    copied.timestamp,
                    &copied.headers
                )
            );
        }
    }

    /// What both topics hold.
    pub fn both(&self) -> [Vec<RecordView>; 2] {
        [
            records(&self.source, self.topics[0]),
            records(&self.destination, self.topics[1]),
        ]
    }

    pub fn copied(&self) -> Vec<RecordView> {
        records(&self.destination, MIRROR)
    }
}

/// Ends a partition as a worker does, and waits for it.
pub async fn stop(mut running: Running) {
    running.events.tell(Event::Stop);
    tokio::time::timeout(PATIENCE, &mut running.handle)
        .await
        .expect("stops in time")
        .expect("no panic");
}

/// Ends a partition as SIGKILL does.
pub async fn kill(running: Running) {
    running.handle.abort();
    assert!(running.handle.await.is_err(), "was cut off");
}

fn records(sandbox: &Sandbox, topic: &str) -> Vec<RecordView> {
    sandbox.log(topic, 0).expect("the topic is there").records()
}

fn keeper(kept: Arc<Mutex<Kept>>) -> Keeper {
    let (sender, mut saves) = mpsc::unbounded_channel::<Wish>();
    tokio::spawn(async move {
        while let Some(wish) = saves.recv().await {
            let Wish::Progress(save) = wish else {
                continue;
            };
            {
                let mut kept = kept.lock().expect("not poisoned");
                kept.anchors = save.anchors;
                kept.alignment = save.alignment;
                kept.pads_by_transactions = save.pads_by_transactions;
                for (chunk, record) in save.map {
                    kept.chunks.retain(|(known, _)| *known != chunk);
                    kept.chunks.push((chunk, record));
                }
            }
            save.events.tell(Event::Saved);
        }
    });
    sender
}

async fn connect(name: &str, sandbox: &Sandbox) -> Client {
    Client::connect(ClientConfig::new(name, sandbox.addresses()))
        .await
        .expect("the sandbox listens")
}

async fn create(client: &Client, topic: &str, factor: i16) -> Uuid {
    let spec = NewTopic {
        name: topic.to_owned(),
        partitions: Some(1),
        replication_factor: Some(factor),
        configs: Vec::new(),
    };
    for (_, outcome) in client.admin().create_topics(vec![spec], false).await {
        outcome.expect("created");
    }
    let names = [topic.to_owned()];
    let metadata = client
        .metadata(Topics::Named(&names))
        .await
        .expect("metadata");
    metadata.topic(topic).expect("is there").id
}
