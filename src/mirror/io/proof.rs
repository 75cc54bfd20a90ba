//! What was written, read back: for acknowledgements that may mean another batch (see `partition::doubt`).

use std::time::Duration;

use tokio::time::sleep;

use super::TopicPartition;
use super::reader::bounds;
use super::tail::batches;
use crate::kafka::{Backoff, Client};
use crate::mirror::partition::TailBatch;

/// Bytes of one answer.
const BYTES: i32 = 1 << 20;
/// How soon is looked again for what is not below the high watermark yet.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Some batches from `from` on that are below the high watermark, looked for until there are some, and the first offset
/// that is still there.
pub async fn read(client: &Client, partition: &TopicPartition, from: i64) -> (i64, Vec<TailBatch>) {
    let mut backoff = Backoff::for_requests();
    loop {
        match batches(client, partition, -1, (from, BYTES)).await {
            Ok(found) if !found.is_empty() => {
                let found = found.into_iter();
                let batches = found.map(|(header, batch)| TailBatch::new(header, batch));
                return (from, batches.collect());
            }
            Ok(_) => sleep(LOOK_EVERY).await,
            Err(_) => {
                if let Ok((start, _)) = bounds(client, partition).await
                    && start > from
                {
                    return (start, Vec::new());
                }
                client.forget_leaders(&partition.topic);
                backoff.sleep().await;
            }
        }
    }
}
