//! What was written, read back: for acknowledgements that may mean another batch (see `partition::doubt`).

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::TopicPartition;
use super::reader::bounds;
use super::tail::batches;
use crate::kafka::{Backoff, Client};
use crate::mirror::partition::TailBatch;

/// Bytes of one answer, and answers on their way: what they take comes on top of the memory for records.
const BYTES: i32 = 1 << 20;
const AT_A_TIME: usize = 16;
/// How soon is looked again for what is not below the high watermark yet.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Reads back for all partitions of a destination.
#[derive(Debug)]
pub struct Proofs {
    client: Client,
    permits: Semaphore,
}

impl Proofs {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            permits: Semaphore::new(AT_A_TIME),
        }
    }

    /// Some batches from `from` on that are below the high watermark, looked for until there are some, and the first offset
    /// that is still there.
    pub async fn read(&self, partition: &TopicPartition, from: i64) -> (i64, Vec<TailBatch>) {
        let mut backoff = Backoff::for_requests();
        loop {
            let found = {
                let _permit = self.permits.acquire().await.expect("it is never closed");
                batches(&self.client, partition, -1, (from, BYTES)).await
            };
            match found {
                Ok(found) if !found.is_empty() => {
                    let found = found.into_iter();
                    let batches = found.map(|(header, batch)| TailBatch::new(header, batch));
                    return (from, batches.collect());
                }
                Ok(_) => sleep(LOOK_EVERY).await,
                Err(_) => {
                    if let Ok((start, _)) = bounds(&self.client, partition).await
                        && start > from
                    {
                        return (start, Vec::new());
                    }
                    self.client.forget_leaders(&partition.topic);
                    backoff.sleep().await;
                }
            }
        }
    }
}
