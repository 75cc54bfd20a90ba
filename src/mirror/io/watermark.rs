//! How far the replicas of destination partitions have come.
//!
//! With `acks=1` an acknowledged batch is in the leader's log only. It stays whatever broker leads next once it is
//! below the high watermark, which the partitions' leaders are asked for: all partitions that wait, in one
//! request a broker, a few hundred times a second at most.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Events, TopicPartition};
use crate::kafka::admin::{ListedOffset, OffsetSpec};
use crate::kafka::{Client, Isolation};
use crate::mirror::partition::Event;

/// How long requests are gathered.
const GATHER: Duration = Duration::from_millis(4);

/// One partition's wish to know its high watermark.
#[derive(Debug)]
pub struct Ask {
    pub partition: TopicPartition,
    pub attempt: u64,
    pub events: Events,
}

/// Where wishes are sent; the service ends when the last sender is gone.
pub type Watermarks = mpsc::UnboundedSender<Ask>;

/// Starts the service for a destination.
pub fn start(client: Client) -> Watermarks {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(run(client, receiver));
    sender
}

async fn run(client: Client, mut asks: mpsc::UnboundedReceiver<Ask>) {
    let mut waiting: Vec<Ask> = Vec::new();
    loop {
        if waiting.is_empty() {
            match asks.recv().await {
                Some(ask) => waiting.push(ask),
                None => return,
            }
        }
        sleep(GATHER).await;
        while let Ok(ask) = asks.try_recv() {
            waiting.push(ask);
        }
        waiting.retain(|ask| !ask.events.is_closed());
        let asked = waiting
            .iter()
            .map(|ask| {
                let TopicPartition {
                    topic, partition, ..
                } = &ask.partition;
                (topic.clone(), *partition, OffsetSpec::Latest)
            })
            .collect();
        let found = client
            .admin()
            .with_deadline(Duration::from_secs(2))
            .list_offsets(asked, Isolation::ReadUncommitted)
            .await;
        let ends: HashMap<(String, i32), ListedOffset> = found
            .into_iter()
            .filter_map(|(partition, listed)| Some((partition, listed.ok()?)))
            .collect();
        // Whatever could not be asked just now is asked again.
        waiting.retain(|ask| {
            let key = (ask.partition.topic.clone(), ask.partition.partition);
            let Some(end) = ends.get(&key) else {
                return true;
            };
            ask.events.tell(Event::Watermark {
                attempt: ask.attempt,
                end: end.offset,
                leader_epoch: end.leader_epoch,
            });
            false
        });
    }
}
