//! What the two brokers can do: records are fetched from the one and thrown away, while batches that lie in memory are
//! written to the other at the same pace. Whoever copies has to do at least that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use kmirror::kafka::admin::{NewTopic, OffsetSpec};
use kmirror::kafka::fetch::{FetchOptions, FetchPartition, fetch, fetch_into};
use kmirror::kafka::produce::{ProduceBatch, produce};
use kmirror::kafka::{Buffers, Client, Isolation};
use kmirror::mirror::batch::BatchHeader;
use kmirror::mirror::batch::header::Batches;
use kmirror::mirror::batch::rewrite::{Stamp, rewritten};

use super::load::{Load, TOPIC};
use crate::conformance::wire::connect;
use crate::support::cluster::Cluster;
use crate::wire::block_on;

/// Bytes that are kept in memory to be written again and again, and how many are written in all, at most.
const KEPT: usize = 64 << 20;
const WRITTEN: usize = 600 << 20;
/// Reading may be so far ahead of writing.
const AHEAD: u64 = 32 << 20;

/// Bytes a second that go through both brokers at once, with so many produce requests on their way; a request has
/// one batch of each partition.
pub fn replay(
    source: &Cluster,
    destination: &Cluster,
    load: Load,
    topic: &str,
    in_flight: usize,
    read_too: bool,
) -> Result<f64> {
    block_on(async {
        let (from, to) = (
            connect(&source.bootstrap()).await?,
            connect(&destination.bootstrap()).await?,
        );
        let kept = keep(&from, load).await?;
        let topics = vec![NewTopic {
            name: topic.to_owned(),
            partitions: Some(load.partitions),
            // The brokers' default.
            replication_factor: None,
            configs: Vec::new(),
        }];
        for (_, created) in to.admin().create_topics(topics, false).await {
            created?;
        }
        // Asked until their leaders know that they are.
        let ends =
            (0..load.partitions).map(|partition| (topic.to_owned(), partition, OffsetSpec::Latest));
        let admin = to.admin();
        let found = admin.list_offsets(ends.collect(), Isolation::ReadUncommitted);
        for (_, end) in found.await {
            end?;
        }
        let written = Arc::new(AtomicU64::new(0));
        let reading = read_too.then(|| tokio::spawn(read(from, load, Arc::clone(&written))));
        let began = Instant::now();
        // Small batches are slow; what there is of them is enough.
        let all = WRITTEN.min(usize::try_from(load.records)? * load.record_bytes);
        let bytes = write(&to, topic, &kept, in_flight, all, &written).await?;
        let time = began.elapsed();
        if let Some(reading) = reading {
            ensure!(!reading.is_finished(), "reading ended: {:?}", reading.await);
            reading.abort();
        }
        Ok(bytes as f64 / time.as_secs_f64())
    })
}

/// The first batches of each partition.
async fn keep(client: &Client, load: Load) -> Result<Vec<Vec<(BatchHeader, Bytes)>>> {
    let share = KEPT / load.partitions.unsigned_abs() as usize;
    let mut kept = Vec::new();
    for partition in 0..load.partitions {
        let (mut batches, mut offset, mut bytes) = (Vec::new(), 0, 0);
        let leader = client.leader(TOPIC, partition).await?;
        let connection = client.connect_broker(leader).await?;
        while bytes < share {
            let place = place(partition, offset);
            let found = fetch(&connection, &options(), &[place]).await?.pop();
            let records = found.context("one partition")?.records;
            let before = bytes;
            for batch in Batches::new(records) {
                let (header, batch) = batch?;
                offset = header.next_offset();
                bytes += batch.len();
                batches.push((header, batch));
            }
            if bytes == before {
                break;
            }
        }
        ensure!(!batches.is_empty(), "partition {partition} is empty");
        kept.push(batches);
    }
    Ok(kept)
}

fn place(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition {
        topic: TOPIC.to_owned(),
        topic_id: uuid::Uuid::nil(),
        partition,
        offset,
        current_leader_epoch: -1,
        max_bytes: 1 << 20,
    }
}

fn options() -> FetchOptions {
    FetchOptions {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 32 << 20,
        isolation: Isolation::ReadCommitted,
    }
}

/// Reads all partitions over and over, not far ahead of what is written.
async fn read(client: Client, load: Load, written: Arc<AtomicU64>) -> Result<()> {
    // As the mirror does: memory is used again.
    let buffers = Buffers::new(256 << 20);
    let connection = client
        .connect_broker(client.leader(TOPIC, 0).await?)
        .await?;
    let mut offsets = vec![0; load.partitions.unsigned_abs() as usize];
    let mut read = 0;
    loop {
        if read > written.load(Ordering::Relaxed) + AHEAD {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let places: Vec<FetchPartition> = (0..load.partitions)
            .zip(&offsets)
            .map(|(partition, offset)| place(partition, *offset))
            .collect();
        let memory = buffers.reserve(33 << 20);
        let found = fetch_into(&connection, &options(), &places, memory).await?;
        for found in found {
            let offset = &mut offsets[found.partition.unsigned_abs() as usize];
            read += found.records.len() as u64;
            let before = *offset;
            for batch in Batches::new(found.records) {
                *offset = batch?.0.next_offset();
            }
            if *offset == before {
                *offset = 0;
            }
        }
    }
}

async fn write(
    client: &Client,
    topic: &str,
    kept: &[Vec<(BatchHeader, Bytes)>],
    in_flight: usize,
    all: usize,
    written: &AtomicU64,
) -> Result<usize> {
    let producer = client.admin().init_producer_id(None, 0).await?;
    let connection = client
        .connect_broker(client.leader(topic, 0).await?)
        .await?;
    let mut counts = vec![0_i64; kept.len()];
    let (mut bytes, mut round) = (0, 0);
    let mut answers = VecDeque::new();
    while bytes < all || !answers.is_empty() {
        if bytes < all && answers.len() < in_flight {
            let mut request = Vec::new();
            let mut size = 0;
            for ((partition, batches), count) in (0..).zip(kept).zip(&mut counts) {
                let (header, batch) = &batches[round % batches.len()];
                let stamp = Stamp {
                    producer_id: producer.id,
                    producer_epoch: producer.epoch,
                    count: *count,
                };
                let copy = rewritten(header, batch, stamp);
                *count += i64::from(header.count);
                size += batch.len();
                request.push(ProduceBatch {
                    topic,
                    partition,
                    head: copy.header,
                    batch: copy.records,
                });
            }
            round += 1;
            bytes += size;
            answers.push_back((produce(&connection, -1, 20_000, &request), size));
            continue;
        }
        let (answer, size) = answers.pop_front().expect("one is on its way");
        for partition in answer.await? {
            partition
                .error
                .ok()
                .map_err(|code| anyhow::anyhow!("{code}"))?;
        }
        written.fetch_add(size as u64, Ordering::Relaxed);
    }
    Ok(bytes)
}
