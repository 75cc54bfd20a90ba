//! An independent client: librdkafka reads what is in a topic, record by record, and compares two topics.
//!
//! It shares nothing with the program under test but the brokers, and reads as a consumer of a user would:
//! read_committed, with checksums verified.

use std::fmt;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// A record as a consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    pub stamp: Stamp,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A record's time and who set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    None,
    Create(i64),
    Append(i64),
}

impl Stamp {
    pub fn millis(self) -> Option<i64> {
        match self {
            Self::None => None,
            Self::Create(ms) | Self::Append(ms) => Some(ms),
        }
    }
}

impl Record {
    fn from_message(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers
                .iter()
                .map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec)))
                .collect()
        });
        Self {
            offset: message.offset(),
            stamp: match message.timestamp() {
                Timestamp::NotAvailable => Stamp::None,
                Timestamp::CreateTime(ms) => Stamp::Create(ms),
                Timestamp::LogAppendTime(ms) => Stamp::Append(ms),
            },
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "offset {}, {:?}, key {}",
            self.offset,
            self.stamp,
            shown(self.key.as_deref())
        )?;
        write!(f, ", value {}", shown(self.value.as_deref()))?;
        for (name, value) in &self.headers {
            write!(f, ", header {name}={}", shown(value.as_deref()))?;
        }
        Ok(())
    }
}

fn shown(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "null".to_owned(),
        Some(bytes) if bytes.len() > 60 => {
            format!(
                "\"{}\"... ({} bytes)",
                bytes[..60].escape_ascii(),
                bytes.len()
            )
        }
        Some(bytes) => format!("\"{}\"", bytes.escape_ascii()),
    }
}

/// A consumer that notices ends and damage.
fn reader(bootstrap: &str) -> Result<BaseConsumer> {
    Ok(config(bootstrap)
        .set("group.id", "kmirror-tests-reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "50")
        .create()?)
}

/// The records of one partition from its start to where it ends now.
pub struct Reader {
    consumer: BaseConsumer,
    place: String,
}

impl Reader {
    pub fn open(bootstrap: &str, topic: &str, partition: i32) -> Result<Self> {
        let consumer = reader(bootstrap)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
        consumer.assign(&list)?;
        Ok(Self {
            consumer,
            place: format!("{topic}/{partition} at {bootstrap}"),
        })
    }

    /// The next record, or `None` at the end.
    pub fn next(&mut self) -> Result<Option<Record>> {
        let start = Instant::now();
        loop {
            match self.consumer.poll(Duration::from_millis(500)) {
                Some(Ok(message)) => return Ok(Some(Record::from_message(&message))),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
                Some(Err(error)) if start.elapsed() > Duration::from_secs(30) => {
                    return Err(anyhow!(error).context(format!("reading {}", self.place)));
                }
                None if start.elapsed() > Duration::from_secs(30) => {
                    bail!("nothing from {} for 30 s", self.place)
                }
                Some(Err(_)) | None => {}
            }
        }
    }
}

/// All records of one partition.
pub fn read_partition(bootstrap: &str, topic: &str, partition: i32) -> Result<Vec<Record>> {
    let mut reader = Reader::open(bootstrap, topic, partition)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next()? {
        records.push(record);
    }
    Ok(records)
}

/// Every record of every topic of a cluster, Kafka's own topics included, with one consumer.
pub fn read_everything(bootstrap: &str) -> Result<Vec<Record>> {
    let consumer = reader(bootstrap)?;
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(20))?;
    let mut list = TopicPartitionList::new();
    for topic in metadata.topics() {
        for partition in topic.partitions() {
            list.add_partition_offset(topic.name(), partition.id(), Offset::Beginning)?;
        }
    }
    consumer.assign(&list)?;
    let (mut records, mut ended) = (Vec::new(), 0);
    let start = Instant::now();
    while ended < list.count() {
        ensure!(
            start.elapsed() < Duration::from_secs(60),
            "{bootstrap} has no end"
        );
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) => records.push(Record::from_message(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(_)) | None => {}
        }
    }
    Ok(records)
}

/// One topic on one cluster.
#[derive(Debug, Clone)]
pub struct Place {
    pub bootstrap: String,
    pub topic: String,
}

impl Place {
    pub fn new(bootstrap: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            topic: topic.into(),
        }
    }
}

/// Whether offsets are compared too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offsets {
    Equal,
    Free,
}

/// Compares the read_committed views of two topics, partition by partition, in order; returns the record count.
///
/// Times must be equal as consumers see them, and the copy's must be create times.
pub fn assert_same(source: &Place, copy: &Place, offsets: Offsets) -> Result<u64> {
    let partitions = partition_count(source)?;
    let copies = partition_count(copy)?;
    if partitions != copies {
        bail!(
            "{} has {partitions} partitions, its copy {} has {copies}",
            source.topic,
            copy.topic
        );
    }
    let mut total = 0;
    for partition in 0..partitions {
        total += same_partition(source, copy, partition, offsets).with_context(|| {
            format!(
                "{} and its copy {} differ in partition {partition}",
                source.topic, copy.topic
            )
        })?;
    }
    Ok(total)
}

fn same_partition(source: &Place, copy: &Place, partition: i32, offsets: Offsets) -> Result<u64> {
    let mut left = Reader::open(&source.bootstrap, &source.topic, partition)?;
    let mut right = Reader::open(&copy.bootstrap, &copy.topic, partition)?;
    let mut count = 0;
    let mut before: Option<(Record, Record)> = None;
    loop {
        match (left.next()?, right.next()?) {
            (None, None) => return Ok(count),
            (Some(a), Some(b)) => {
                if !same_record(&a, &b, offsets) {
                    let context = before.map_or_else(String::new, |(a, b)| {
                        format!("the last equal pair:\n  source {a}\n  copy   {b}\n")
                    });
                    bail!("{context}record number {count} differs:\n  source {a}\n  copy   {b}");
                }
                before = Some((a, b));
                count += 1;
            }
            (Some(a), None) => bail!(
                "the copy ends after {count} records; {} more at the source, the first: {a}",
                1 + remaining(&mut left)?
            ),
            (None, Some(b)) => bail!(
                "the source ends after {count} records; {} more in the copy, the first: {b}",
                1 + remaining(&mut right)?
            ),
        }
    }
}

fn same_record(source: &Record, copy: &Record, offsets: Offsets) -> bool {
    (offsets == Offsets::Free || source.offset == copy.offset)
        && source.stamp.millis() == copy.stamp.millis()
        && !matches!(copy.stamp, Stamp::Append(_))
        && source.key == copy.key
        && source.value == copy.value
        && source.headers == copy.headers
}

fn remaining(reader: &mut Reader) -> Result<u64> {
    let mut count = 0;
    while reader.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// Creates topics of so many partitions with one replica, all in one request.
pub fn create_topics(bootstrap: &str, names: &[&str], partitions: i32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create()?;
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1)))
        .collect();
    let created = block_on(admin.create_topics(&topics, &AdminOptions::new()))??;
    for outcome in created {
        outcome.map_err(|(name, code)| anyhow!("creating {name}: {code}"))?;
    }
    Ok(())
}

/// Gives a topic more partitions: so many from then on.
pub fn add_partitions(bootstrap: &str, topic: &str, partitions: usize) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create()?;
    let wanted = NewPartitions::new(topic, partitions);
    let grown = block_on(admin.create_partitions(&[wanted], &AdminOptions::new()))??;
    for outcome in grown {
        outcome.map_err(|(name, code)| anyhow!("growing {name}: {code}"))?;
    }
    Ok(())
}

/// Sets a topic's configuration, all of it.
pub fn set_config(bootstrap: &str, topic: &str, key: &str, value: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create()?;
    let wanted = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
    let altered = block_on(admin.alter_configs(&[wanted], &AdminOptions::new()))??;
    for outcome in altered {
        outcome.map_err(|(resource, code)| anyhow!("configuring {resource:?}: {code}"))?;
    }
    Ok(())
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(future))
}

/// Writes records with keys, headers and times of their own, evenly over the partitions; `tag` tells runs apart.
pub fn produce(place: &Place, tag: &str, records: i32) -> Result<()> {
    let partitions = partition_count(place)?;
    let producer: BaseProducer = config(&place.bootstrap).set("linger.ms", "2").create()?;
    // Recent enough for every retention.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let first = i64::try_from(now)? - 3_600_000;
    for n in 0..records {
        let (key, value) = (format!("{tag}-{}", n % 7), format!("{tag} {n}"));
        let headers = OwnedHeaders::new().insert(Header {
            key: "n",
            value: Some(&n.to_be_bytes()),
        });
        producer
            .send(
                BaseRecord::to(&place.topic)
                    .partition(n % partitions)
                    .key(&key)
                    .payload(&value)
                    .headers(headers)
                    .timestamp(first + i64::from(n)),
            )
            .map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(30))?;
    ensure!(
        producer.in_flight_count() == 0,
        "not everything was written"
    );
    Ok(())
}

/// Queues a record, as soon as there is room for it.
pub fn send(producer: &BaseProducer, record: BaseRecord<'_, [u8], [u8]>) -> Result<()> {
    let mut next = record;
    while let Err((error, again)) = producer.send(next) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
            return Err(error.into());
        }
        producer.poll(Duration::from_millis(5));
        next = again;
    }
    Ok(())
}

/// How many partitions a topic has.
pub fn partition_count(place: &Place) -> Result<i32> {
    let consumer: BaseConsumer = config(&place.bootstrap).create()?;
    let metadata = consumer.fetch_metadata(Some(&place.topic), Duration::from_secs(20))?;
    let topic = metadata
        .topics()
        .first()
        .context("the answer names no topic")?;
    if let Some(error) = topic.error() {
        bail!("topic {} at {}: {error:?}", place.topic, place.bootstrap);
    }
    Ok(i32::try_from(topic.partitions().len())?)
}

/// What a cluster says of one partition: the id of its leader, how many replicas it has, and how many are in sync.
pub fn partition_state(place: &Place, partition: i32) -> Result<(i32, usize, usize)> {
    let consumer: BaseConsumer = config(&place.bootstrap).create()?;
    let metadata = consumer.fetch_metadata(Some(&place.topic), Duration::from_secs(20))?;
    let topic = metadata
        .topics()
        .first()
        .context("the answer names no topic")?;
    let found = topic.partitions().iter().find(|it| it.id() == partition);
    let found = found.with_context(|| format!("{} has no partition {partition}", place.topic))?;
    Ok((found.leader(), found.replicas().len(), found.isr().len()))
}

/// First and next offset of every partition, as read_committed consumers are told them.
pub fn watermarks(place: &Place) -> Result<Vec<(i64, i64)>> {
    let consumer: BaseConsumer = config(&place.bootstrap)
        .set("isolation.level", "read_committed")
        .create()?;
    (0..partition_count(place)?)
        .map(|partition| {
            let start = Instant::now();
            loop {
                let timeout = Duration::from_secs(20);
                match consumer.fetch_watermarks(&place.topic, partition, timeout) {
                    Ok(found) => return Ok(found),
                    // A broker that was just restarted, or a topic that was just made, has its leader a moment later.
                    Err(error) if is_without_leader(&error) && start.elapsed() < timeout => {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        })
        .collect()
}

fn is_without_leader(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
        )
    )
}

/// Looks often and cheaply at how many records a topic holds by now.
pub struct Watch {
    consumer: BaseConsumer,
    place: Place,
    partitions: i32,
}

impl Watch {
    pub fn new(place: &Place, partitions: i32) -> Result<Self> {
        let consumer = config(&place.bootstrap).create()?;
        Ok(Self {
            consumer,
            place: place.clone(),
            partitions,
        })
    }

    /// The sum of all end offsets; 0 while the topic does not exist.
    pub fn records(&self) -> u64 {
        (0..self.partitions)
            .filter_map(|p| {
                self.consumer
                    .fetch_watermarks(&self.place.topic, p, Duration::from_secs(5))
                    .ok()
            })
            .map(|(_, end)| u64::try_from(end).unwrap_or(0))
            .sum()
    }
}

/// How many brokers this one knows, if it answers.
pub fn metadata_brokers(address: &str) -> Option<usize> {
    // A refused connection is the usual answer while a broker starts; a client per attempt would be wasteful.
    let socket = address.to_socket_addrs().ok()?.next()?;
    TcpStream::connect_timeout(&socket, Duration::from_millis(500)).ok()?;
    let consumer: BaseConsumer = config(address).create().ok()?;
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(2)).ok()?;
    Some(metadata.brokers().len())
}

/// Client settings that every test client shares.
pub fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("broker.address.family", "v4")
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .set("topic.metadata.refresh.fast.interval.ms", "50");
    config
}
