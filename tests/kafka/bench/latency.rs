//! How much later a record can be read from the copy than from the source.
//!
//! One thread writes records at a steady rate. One consumer reads the source, another one the copy, both in this
//! process and with the same settings; the latency of the mirror is the difference between the two for each record.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::client::{self, Place};

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms",
            self.p50, self.p99, self.p999, self.max
        )
    }
}

/// Writes `per_second` records of 1 KB to the source and measures what the mirror adds.
pub fn added(source: &Place, copy: &Place, per_second: u32, lasts: Duration) -> Result<Latency> {
    let records = u64::from(per_second) * lasts.as_secs();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let begun = Instant::now();
        let read = |place| {
            let done = &done;
            scope.spawn(move || arrivals(place, records, begun, done))
        };
        let (at_source, at_copy) = (read(source), read(copy));
        // Consumers look for the end of the log; records come only after that.
        std::thread::sleep(Duration::from_secs(2));
        let producer: BaseProducer = client::config(&source.bootstrap)
            .set("linger.ms", "0")
            .create()?;
        let started = Instant::now();
        for n in 0..records {
            let due = started + Duration::from_secs_f64(n as f64 / f64::from(per_second));
            while Instant::now() < due {
                producer.poll(Duration::from_micros(200));
            }
            let mut payload = vec![b'x'; 1_000];
            payload[..8].copy_from_slice(&n.to_be_bytes());
            producer
                .send(
                    BaseRecord::<[u8], [u8]>::to(&source.topic)
                        .partition(0)
                        .payload(&payload),
                )
                .map_err(|(error, _)| error)?;
        }
        producer.flush(Duration::from_secs(10))?;
        std::thread::sleep(Duration::from_secs(3));
        done.store(true, Ordering::Relaxed);
        let first = at_source.join().expect("no panic")?;
        let second = at_copy.join().expect("no panic")?;
        ensure!(
            first.len() as u64 == records && second.len() as u64 == records,
            "{} records came from the source and {} from the copy, of {records}",
            first.len(),
            second.len()
        );
        let mut added: Vec<f64> = first
            .iter()
            .map(|(n, at)| (second[n].as_secs_f64() - at.as_secs_f64()) * 1_000.0)
            .collect();
        added.sort_by(f64::total_cmp);
        let at = |part: f64| added[((added.len() - 1) as f64 * part) as usize];
        Ok(Latency {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        })
    })
}

/// What anybody can write in an hour: reads records and sends each on at once, until told to end.
pub fn pass_on(source: &Place, copy: &Place, done: &AtomicBool) -> Result<()> {
    let consumer: BaseConsumer = client::config(&source.bootstrap)
        .set("group.id", "loop")
        .set("enable.auto.commit", "false")
        .set("fetch.min.bytes", "1")
        .create()?;
    let producer: BaseProducer = client::config(&copy.bootstrap)
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .create()?;
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(&source.topic, 0, Offset::End)?;
    consumer.assign(&all)?;
    while !done.load(Ordering::Relaxed) {
        producer.poll(Duration::ZERO);
        let Some(message) = consumer.poll(Duration::from_millis(1)) else {
            continue;
        };
        let message = message?;
        let payload = message.payload().context("a record of ours")?;
        producer
            .send(
                BaseRecord::<[u8], [u8]>::to(&copy.topic)
                    .partition(0)
                    .payload(payload),
            )
            .map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(10))?;
    Ok(())
}

/// When each record was read, by its number.
fn arrivals(
    place: &Place,
    records: u64,
    begun: Instant,
    done: &AtomicBool,
) -> Result<HashMap<u64, Duration>> {
    let consumer: BaseConsumer = client::config(&place.bootstrap)
        .set("group.id", "latency")
        .set("enable.auto.commit", "false")
        .set("fetch.min.bytes", "1")
        .create()?;
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(&place.topic, 0, Offset::End)?;
    consumer.assign(&all)?;
    let mut came = HashMap::new();
    while (came.len() as u64) < records && !done.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message?;
        let number = message
            .payload()
            .and_then(|payload| payload.first_chunk::<8>())
            .context("a record of ours")?;
        came.insert(u64::from_be_bytes(*number), begun.elapsed());
    }
    Ok(came)
}
