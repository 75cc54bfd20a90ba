//! What is copied: topics filled with so many records of a kind.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::support::client;
use crate::support::cluster::Cluster;
use crate::support::lab::Lab;
use crate::support::process;

/// A workload.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub title: &'static str,
    pub partitions: i32,
    pub record_bytes: usize,
    pub records: u64,
    pub batch_bytes: u32,
    /// Records of a batch, at most.
    pub batch_records: u32,
    pub codec: &'static str,
}

pub const TOPIC: &str = "bench";

/// Bytes of the source topic's segments.
pub fn log_bytes(cluster: &Cluster, load: Load) -> Result<f64> {
    let mut bytes = 0;
    for partition in 0..load.partitions {
        for entry in std::fs::read_dir(cluster.data_dir(0).join(format!("{TOPIC}-{partition}")))? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|e| e == "log") {
                bytes += entry.metadata()?.len();
            }
        }
    }
    Ok(bytes as f64)
}

/// Waits for the kernel to write back what is dirty.
pub fn settle() -> Result<()> {
    process::run(
        &mut std::process::Command::new("sync"),
        None,
        Duration::from_secs(120),
    )?;
    std::thread::sleep(Duration::from_secs(2));
    Ok(())
}

pub fn fill(lab: &Lab, source: &Cluster, load: Load) -> Result<()> {
    let start = Instant::now();
    source
        .tools()
        .create_topic(TOPIC, load.partitions.unsigned_abs(), &[])?;
    let producer: BaseProducer = client::config(&source.bootstrap())
        .set("compression.codec", load.codec)
        .set("batch.size", load.batch_bytes.to_string())
        .set("batch.num.messages", load.batch_records.to_string())
        .set("linger.ms", if load.batch_records > 1 { "50" } else { "0" })
        .set("queue.buffering.max.messages", "400000")
        .set("queue.buffering.max.kbytes", "400000")
        .create()?;
    // Random bytes, so that no codec gains anything; each record starts elsewhere in them.
    let mut pool = vec![0; 4 << 20];
    StdRng::seed_from_u64(1).fill_bytes(&mut pool);
    for n in 0..load.records {
        let at = (n as usize * 997) % (pool.len() - load.record_bytes);
        // Whole batches in turn, as a sticky partitioner fills them.
        let partition = (n / 2_000 % u64::from(load.partitions.unsigned_abs())) as i32;
        let payload = &pool[at..at + load.record_bytes];
        let record = BaseRecord::to(TOPIC).partition(partition).payload(payload);
        client::send(&producer, record)?;
    }
    producer.flush(Duration::from_secs(120))?;
    lab.note(format!(
        "{} records, {:.2} GB, in {:.1} s",
        load.records,
        log_bytes(source, load)? / 1e9,
        start.elapsed().as_secs_f64()
    ));
    settle()
}
