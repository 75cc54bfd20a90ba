//! The independent client of the demonstration: librdkafka, which shares no code with kmirror.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::super::{CliError, ErrorKind};
use super::secured::End;
use crate::kafka::security::Security;

pub(super) const TOPIC: &str = "test-topic";
pub(super) const RECORDS: u64 = 10_000;
/// Time of the first record; each is a millisecond later than the one before.
const FIRST_TIME: i64 = 1_700_000_000_000;
const PATIENCE: Duration = Duration::from_secs(30);

fn config(address: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", address)
        .set("log_level", "0");
    config
}

/// For a user of a secured cluster.
async fn secured(end: &End) -> Result<ClientConfig, CliError> {
    let security = Security::new(end.name, end.guest.settings());
    let settings = security.librdkafka(&end.servers).await;
    let settings = settings.map_err(|error| super::wrong(&error.to_string()))?;
    let mut config = config(&end.servers);
    settings.apply(&mut config);
    Ok(config)
}

/// Produces numbers to a topic, in order.
pub(super) async fn write(
    end: &End,
    topic: &'static str,
    numbers: RangeInclusive<u64>,
) -> Result<(), CliError> {
    let config = secured(end).await?;
    blocking(move || {
        let producer: BaseProducer = config.create().map_err(failed)?;
        for number in numbers {
            let text = number.to_string();
            let record = BaseRecord::<(), str>::to(topic).payload(&text);
            producer.send(record).map_err(|(error, _)| failed(error))?;
        }
        producer.flush(PATIENCE).map_err(failed)
    })
    .await
}

/// Errors come with the records, the end of a partition among them; nobody wants to read of them twice.
struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "demo");
    }
}

impl ConsumerContext for Quiet {}

/// Reads a topic of one partition from its start, once it has so many records, to its end.
pub(super) async fn read(
    end: &End,
    topic: &'static str,
    count: u64,
) -> Result<Vec<String>, CliError> {
    let mut config = secured(end).await?;
    config
        .set("group.id", "demo")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true");
    blocking(move || {
        let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet).map_err(failed)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning)
            .map_err(failed)?;
        consumer.assign(&list).map_err(failed)?;
        let deadline = Instant::now() + PATIENCE;
        let mut values: Vec<String> = Vec::new();
        loop {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let value = message.payload().unwrap_or_default();
                    values.push(String::from_utf8_lossy(value).into_owned());
                }
                // The end so far; what is copied meanwhile comes after it.
                Some(Err(KafkaError::PartitionEOF(_))) if values.len() as u64 >= count => {
                    return Ok(values);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => (),
                Some(Err(error)) => return Err(failed(error)),
                None => (),
            }
            if Instant::now() > deadline {
                let seen = values.len();
                return Err(super::wrong(&format!("only {seen} records arrived")));
            }
        }
    })
    .await
}

/// Produces the numbered records.
pub(super) async fn produce(address: &str) -> Result<(), CliError> {
    let config = config(address);
    blocking(move || {
        let producer: BaseProducer = config.create().map_err(failed)?;
        for number in 1..=RECORDS {
            let (key, value) = record(number);
            let mut next = BaseRecord::to(TOPIC)
                .partition(0)
                .key(&key)
                .payload(&value)
                .timestamp(time(number));
            while let Err((error, back)) = producer.send(next) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(failed(error));
                }
                producer.poll(Duration::from_millis(10));
                next = back;
            }
        }
        producer.flush(PATIENCE).map_err(failed)
    })
    .await
}

/// Reads the replica from its start and compares every record; returns how many there were.
pub(super) async fn compare(address: &str) -> Result<u64, CliError> {
    let mut config = config(address);
    // librdkafka asks every consumer for a group; nothing is committed in it.
    config
        .set("group.id", "demo")
        .set("enable.auto.commit", "false");
    blocking(move || {
        let replica = format!("{TOPIC}.replica");
        let consumer: BaseConsumer = config.create().map_err(failed)?;
        let (start, end) = consumer
            .fetch_watermarks(&replica, 0, PATIENCE)
            .map_err(failed)?;
        if end - start != i64::try_from(RECORDS).unwrap_or(i64::MAX) {
            return Err(differs(&format!(
                "the replica holds {} offsets",
                end - start
            )));
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&replica, 0, Offset::Beginning)
            .map_err(failed)?;
        consumer.assign(&list).map_err(failed)?;
        let deadline = Instant::now() + PATIENCE;
        let mut seen = 0;
        while seen < RECORDS {
            match consumer.poll(Duration::from_millis(100)) {
                Some(message) => {
                    seen += 1;
                    check(&message.map_err(failed)?, seen)?;
                }
                None if Instant::now() > deadline => {
                    return Err(differs(&format!("only {seen} records arrived")));
                }
                None => (),
            }
        }
        Ok(seen)
    })
    .await
}

fn record(number: u64) -> (String, String) {
    (format!("key {number}"), number.to_string())
}

fn time(number: u64) -> i64 {
    FIRST_TIME + i64::try_from(number).unwrap_or(i64::MAX)
}

fn check(message: &BorrowedMessage<'_>, number: u64) -> Result<(), CliError> {
    let (key, value) = record(number);
    let equal = message.key() == Some(key.as_bytes())
        && message.payload() == Some(value.as_bytes())
        && message.timestamp().to_millis() == Some(time(number));
    if equal {
        Ok(())
    } else {
        Err(differs(&format!(
            "record {number} is another one at offset {}",
            message.offset()
        )))
    }
}

/// librdkafka's calls block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CliError> + Send + 'static,
) -> Result<T, CliError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(super::wrong("the client panicked")))
}

fn failed(error: KafkaError) -> CliError {
    CliError::new(ErrorKind::Internal, "librdkafka could not use the sandbox")
        .with_detail(error.to_string())
}

fn differs(how: &str) -> CliError {
    CliError::new(
        ErrorKind::Internal,
        format!("the replica differs from what was produced: {how}"),
    )
}
