//! Progress stored for many partitions at once, and why some stand still.
//!
//! What partitions ask to have stored is gathered for a moment and written in a few requests; each is
//! told once it is kept. A write that fails is repeated until it succeeds: without it the partitions
//! go on copying, but nothing newer counts as stored.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Events, PartitionKey, Route};
use crate::control::progress::{self, Entry};
use crate::control::records::{
    Alignment, Anchor, FailureRecord, MapRecord, OffsetsKey, ProgressRecord, RECORD_VERSION,
};
use crate::kafka::{Backoff, Client};
use crate::mirror::partition::Event;
use crate::mirror::worker::lease::Lease;

/// How long requests are gathered.
const GATHER: Duration = Duration::from_millis(20);

/// One partition's wish to have its progress stored.
#[derive(Debug)]
pub struct Save {
    pub key: PartitionKey,
    pub anchors: Vec<Anchor>,
    pub map_chunk: u32,
    pub map: Vec<(u32, MapRecord)>,
    pub alignment: Alignment,
    pub pads_by_transactions: bool,
    pub destination_leader_epoch: i32,
    pub route: Arc<Route>,
    pub events: Events,
}

/// What a partition wants to have stored.
#[derive(Debug)]
pub enum Wish {
    Progress(Save),
    /// Why it stands still; `None`: it copies again.
    Failure {
        key: PartitionKey,
        record: Option<FailureRecord>,
        route: Arc<Route>,
        events: Events,
    },
}

impl Wish {
    /// Whether the partition is gone or its slot revoked.
    fn is_void(&self) -> bool {
        let (Self::Progress(Save { route, events, .. }) | Self::Failure { route, events, .. }) =
            self;
        events.is_closed() || route.is_closed()
    }
}

/// How soon a failure that lasts is told again.
const TELL_AGAIN: Duration = Duration::from_secs(30);

/// Where wishes are sent; the keeper ends when the last sender is gone.
pub type Keeper = mpsc::UnboundedSender<Wish>;

/// Why progress cannot be stored at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub cause: String,
    /// Whether a right is missing, so that it lasts until somebody grants it.
    pub denied: bool,
}

/// Starts the keeper for a destination; the second is empty as long as all is well.
pub fn start(client: Client, lease: Arc<Lease>) -> (Keeper, watch::Receiver<Option<Trouble>>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (trouble, seen) = watch::channel(None);
    tokio::spawn(run(client, lease, receiver, trouble));
    (sender, seen)
}

async fn run(
    client: Client,
    lease: Arc<Lease>,
    mut saves: mpsc::UnboundedReceiver<Wish>,
    trouble: watch::Sender<Option<Trouble>>,
) {
    while let Some(first) = saves.recv().await {
        tokio::time::sleep(GATHER).await;
        let mut gathered = vec![first];
        while let Ok(save) = saves.try_recv() {
            gathered.push(save);
        }
        write(&client, &lease, &mut gathered, &trouble).await;
        for wish in gathered {
            if let Wish::Progress(save) = wish {
                save.events.tell(Event::Saved);
            }
        }
    }
}

async fn write(
    client: &Client,
    lease: &Lease,
    saves: &mut Vec<Wish>,
    trouble: &watch::Sender<Option<Trouble>>,
) {
    let mut backoff = Backoff::for_requests();
    let mut told: Option<Instant> = None;
    loop {
        // Whoever took a partition over that was cut off stores its progress, and must not find it set back.
        // The lease is the worker's: it may hold it again, for other slots.
        saves.retain(|wish| !wish.is_void());
        // Nor may a worker that was frozen past its session set back what its successor stored.
        let written = if saves.is_empty() {
            Ok(true)
        } else {
            progress::write_while(client, &entries(saves), &|| lease.is_held()).await
        };
        let error = match written {
            Ok(true) => {
                trouble.send_if_modified(|trouble| trouble.take().is_some());
                return;
            }
            Ok(false) => {
                tokio::time::sleep(GATHER).await;
                continue;
            }
            Err(error) => error,
        };
        let now = Trouble {
            cause: error.to_string(),
            denied: error.is_authorization(),
        };
        let is_new = trouble.send_if_modified(|before| before.replace(now.clone()) != Some(now));
        if is_new || told.is_none_or(|at| at.elapsed() >= TELL_AGAIN) {
            told = Some(Instant::now());
            tracing::warn!(cluster = client.cluster_name(), %error, "progress could not be stored yet");
        }
        backoff.sleep().await;
    }
}

fn entries(wishes: &[Wish]) -> Vec<(OffsetsKey, Option<Entry>)> {
    // A later wish of the same partition replaces an earlier one, so keys are written once.
    let mut entries: HashMap<OffsetsKey, Option<Entry>> = HashMap::new();
    for wish in wishes {
        let save = match wish {
            Wish::Progress(save) => save,
            Wish::Failure { key, record, .. } => {
                let PartitionKey { id, partition } = *key;
                let entry = record.clone().map(Entry::Failure);
                entries.insert(OffsetsKey::Failure { id, partition }, entry);
                continue;
            }
        };
        let PartitionKey { id, partition } = save.key;
        for (chunk, map) in &save.map {
            entries.insert(
                OffsetsKey::Map {
                    id,
                    partition,
                    chunk: *chunk,
                },
                Some(Entry::Map(map.clone())),
            );
        }
        let record = ProgressRecord {
            version: RECORD_VERSION,
            anchors: save.anchors.clone(),
            map_chunk: save.map_chunk,
            alignment: save.alignment,
            pads_by_transactions: save.pads_by_transactions,
            destination_leader_epoch: save.destination_leader_epoch,
        };
        entries.insert(
            OffsetsKey::Progress { id, partition },
            Some(Entry::Progress(record)),
        );
    }
    entries.into_iter().collect()
}
