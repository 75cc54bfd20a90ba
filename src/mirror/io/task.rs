//! One partition at work: its state machine between the reader, the writer and the keeper.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, sleep};

use super::keeper::{Keeper, Save, Wish};
use super::pad::{MarkerProducer, Padder};
use super::reader::{Reader, Wanted, bounds};
use super::share::Share;
use super::throttle::Throttle;
use super::watermark::{Ask, Watermarks};
use super::writer::{Job, Writer};
use super::{Events, Incoming, PartitionKey, Route, TopicPartition, proof, shared_tail, tail};
use crate::control::records::{FailureRecord, FillWay, OffsetsSpec, StartSpec};
use crate::kafka::admin::{ConfigResource, OffsetSpec};
use crate::kafka::{Backoff, Client, Error};
use crate::mirror::partition::{
    Action, Event, Failure, LogSpan, Notice, PartitionMirror, Settings, Stored,
};
use crate::mirror::worker::figures::{PartitionFigures, State};

/// How soon the start is looked for again by a worker whose membership is not confirmed.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Everything a partition needs around it.
#[derive(Debug)]
pub struct Surroundings {
    pub key: PartitionKey,
    /// The link's name, for the log.
    pub link: String,
    pub source: TopicPartition,
    pub route: Arc<Route>,
    pub source_client: Client,
    pub destination_client: Client,
    pub reader: Arc<Reader>,
    /// Of the link.
    pub throttle: Arc<Throttle>,
    pub writer: Arc<Writer>,
    pub keeper: Keeper,
    pub watermarks: Watermarks,
    pub marker_producer: MarkerProducer,
    pub start: StartSpec,
    pub settings: Settings,
    pub figures: Arc<PartitionFigures>,
}

/// A running partition: events go in, and its end can be waited for.
#[derive(Debug)]
pub struct Running {
    pub events: Events,
    pub handle: JoinHandle<Ended>,
}

/// How a partition's task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Stopped,
    /// All that it was to copy before its mirror ends is copied.
    Drained,
}

/// Starts a partition. `is_stored_failed`: whether a former owner has stored that it stands still.
pub fn start(around: Surroundings, stored: Stored, is_stored_failed: bool) -> Running {
    let (events, receiver) = Events::channel();
    let sender = events.clone();
    let handle = tokio::spawn(run(around, stored, is_stored_failed, sender, receiver));
    Running { events, handle }
}

async fn run(
    around: Surroundings,
    stored: Stored,
    is_stored_failed: bool,
    events: Events,
    mut incoming: Incoming,
) -> Ended {
    let (mut mirror, actions) = PartitionMirror::start(around.settings.clone(), stored);
    let padder = Padder::new(
        around.destination_client.clone(),
        Arc::clone(&around.route),
        around.key,
        around.marker_producer.clone(),
    );
    let mut doer = Doer {
        share: around.reader.share(Arc::clone(&around.throttle)),
        around,
        events,
        padder,
        background: None,
        padding: None,
        reading_back: None,
        looking: None,
        is_stored_failed,
    };
    doer.carry_out(actions);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticking = true;
    while !mirror.is_stopped() {
        // Thousands of partitions at rest are not to be woken every second.
        if !std::mem::replace(&mut ticking, mirror.awaits_tick()) && ticking {
            ticks.reset();
        }
        let event = tokio::select! {
            event = incoming.recv() => match event {
                Some(event) => *event,
                None => break,
            },
            _ = ticks.tick(), if ticking => Event::Tick,
        };
        if let Event::Fetched(fetched) = &event {
            doer.around
                .figures
                .set_source_end(fetched.last_stable_offset);
        }
        let rested = mirror.is_failed() || mirror.is_paused();
        let actions = mirror.handle(event);
        let rests = mirror.is_failed() || mirror.is_paused() || mirror.is_stopped();
        if rested && !rests {
            // Resumed, or tried again by itself: no longer settled, and no longer shown as such. What is stopped
            // while it rests stays as it was: a failure has to reach the exit code.
            doer.around.figures.set_state(State::Starting);
        }
        doer.carry_out(actions);
        doer.around
            .figures
            .set_position(mirror.confirmed().source_offset);
    }
    match mirror.is_drained() {
        true => Ended::Drained,
        false => Ended::Stopped,
    }
}

struct Doer {
    around: Surroundings,
    events: Events,
    /// Its part of the memory for what is read.
    share: Arc<Share>,
    padder: Arc<Padder>,
    /// Finding the start, reading the tail or deleting filler; never two of them.
    background: Option<JoinHandle<()>>,
    /// Writing markers: not given up for anything else, because its answer is waited for.
    padding: Option<JoinHandle<()>>,
    reading_back: Option<JoinHandle<()>>,
    looking: Option<JoinHandle<()>>,
    /// Whether it is stored that the partition stands still.
    is_stored_failed: bool,
}

/// However the partition ends, nothing of it goes on: a cut-off one's batches must not leave later.
impl Drop for Doer {
    fn drop(&mut self) {
        self.around.route.make_void(u64::MAX);
        let tasks = [
            self.background.take(),
            self.padding.take(),
            self.reading_back.take(),
            self.looking.take(),
        ];
        for task in tasks.into_iter().flatten() {
            task.abort();
        }
    }
}

impl Doer {
    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::ResolveStart => self.resolve_start(),
                Action::ReadTail { fence, from } => self.read_tail(fence, from, false),
                Action::ReadSharedTail { fence, from } => self.read_tail(fence, from, true),
                Action::Fetch {
                    attempt,
                    offset,
                    known,
                } => {
                    let source = self.around.source.clone();
                    self.around.reader.want(Wanted::new(
                        source,
                        attempt,
                        offset,
                        known,
                        self.events.clone(),
                        Arc::clone(&self.share),
                    ));
                }
                Action::Send { attempt, batch } => self.around.writer.send(Job {
                    route: Arc::clone(&self.around.route),
                    acks: self.around.settings.acks,
                    attempt,
                    batch,
                    events: self.events.clone(),
                }),
                // The attempt named is the new one; what came before is void.
                Action::Abandon { attempt } => self.around.route.make_void(attempt - 1),
                Action::Save {
                    anchors,
                    map_chunk,
                    map,
                    alignment,
                    pads_by_transactions,
                } => {
                    let save = Save {
                        key: self.around.key,
                        anchors,
                        map_chunk,
                        map,
                        alignment,
                        pads_by_transactions,
                        destination_leader_epoch: self.around.route.leader_epoch(),
                        route: Arc::clone(&self.around.route),
                        events: self.events.clone(),
                    };
                    // The keeper outlives the partitions that hold a sender to it.
                    let _never = self.around.keeper.send(Wish::Progress(save));
                }
                Action::Pad {
                    attempt,
                    from,
                    to,
                    by_transactions,
                } => {
                    let (padder, events) = (Arc::clone(&self.padder), self.events.clone());
                    self.padding = Some(tokio::spawn(async move {
                        let answer = padder.pad(from, to, by_transactions).await;
                        events.tell(Event::Padded { attempt, answer });
                    }));
                }
                Action::DeleteBefore { offset } => self.delete_before(offset),
                Action::AskSourceEnd => self.ask_source_end(),
                Action::AskWatermark { attempt } => {
                    let ask = Ask {
                        partition: self.around.route.destination.clone(),
                        attempt,
                        events: self.events.clone(),
                    };
                    // The service outlives the partitions that hold a sender to it.
                    let _never = self.around.watermarks.send(ask);
                }
                Action::ReadBack { attempt, from } => self.read_back(attempt, from),
                Action::Copied { records, bytes } => {
                    self.around.figures.copied(records, bytes);
                    self.copies_again();
                }
                Action::Notify(notice) => self.notify(notice),
            }
        }
    }

    /// What was stored of a failure holds no more.
    fn copies_again(&mut self) {
        if std::mem::take(&mut self.is_stored_failed) {
            self.store_failure(None);
        }
    }

    fn store_failure(&self, record: Option<FailureRecord>) {
        let wish = Wish::Failure {
            key: self.around.key,
            record,
            route: Arc::clone(&self.around.route),
            events: self.events.clone(),
        };
        // The keeper outlives the partitions that hold a sender to it.
        let _never = self.around.keeper.send(wish);
    }

    fn spawn(&mut self, work: impl Future<Output = Event> + Send + 'static) {
        let events = self.events.clone();
        let task = tokio::spawn(async move {
            events.tell(work.await);
        });
        if let Some(former) = self.background.replace(task) {
            former.abort();
        }
    }

    fn read_tail(&mut self, fence: bool, from: i64, is_shared: bool) {
        let client = self.around.destination_client.clone();
        let route = Arc::clone(&self.around.route);
        let padder = Arc::clone(&self.padder);
        let producer_id = self.around.settings.producer_id;
        self.spawn(async move {
            if fence {
                let fenced = until_done("end a transaction that may be open", || padder.fence());
                if let Err(failure) = fenced.await {
                    return Event::Failed(failure);
                }
            }
            let found = if is_shared {
                let found = shared_tail::read(&client, &route, producer_id, from).await;
                found.map(Event::SharedTail)
            } else {
                let found = tail::read(&client, &route, producer_id, from).await;
                found.map(Event::Tail)
            };
            found.unwrap_or_else(Event::Failed)
        });
    }

    fn read_back(&mut self, attempt: u64, from: i64) {
        let client = self.around.destination_client.clone();
        let partition = self.around.route.destination.clone();
        let events = self.events.clone();
        let task = tokio::spawn(async move {
            let (start, batches) = proof::read(&client, &partition, from).await;
            events.tell(Event::ReadBack {
                attempt,
                start,
                batches,
            });
        });
        if let Some(former) = self.reading_back.replace(task) {
            former.abort();
        }
    }

    fn ask_source_end(&mut self) {
        let client = self.around.source_client.clone();
        let source = self.around.source.clone();
        let events = self.events.clone();
        let task = tokio::spawn(async move {
            let look = || async {
                let key = (source.topic.clone(), source.partition);
                let found = client.stable_end_together(key).await?;
                Ok(Event::SourceEnd { end: found.offset })
            };
            let found = until_done("look where the source ends", look).await;
            events.tell(found.unwrap_or_else(Event::Failed));
        });
        if let Some(former) = self.looking.replace(task) {
            former.abort();
        }
    }

    fn resolve_start(&mut self) {
        let (source_client, destination_client) = (
            self.around.source_client.clone(),
            self.around.destination_client.clone(),
        );
        let (source, destination) = (
            self.around.source.clone(),
            self.around.route.destination.clone(),
        );
        let start = self.around.start;
        let same_offsets = self.around.settings.offsets != OffsetsSpec::Translate;
        let lease = Arc::clone(&self.around.route.lease);
        self.spawn(async move {
            let look = || async {
                let source = start_offset(&source_client, &source, start).await?;
                let (log_start, end) = bounds(&destination_client, &destination).await?;
                let fill = if same_offsets && source > end {
                    fill_way(&destination_client, &destination.topic).await?
                } else {
                    FillWay::Records
                };
                let destination = LogSpan {
                    start: log_start,
                    end,
                };
                Ok(Event::StartResolved {
                    source,
                    destination,
                    fill,
                })
            };
            loop {
                let found = until_done("find where to start", look).await;
                // A worker that was frozen past its session may have seen what its successor copied.
                if found.is_err() || lease.is_held() {
                    return found.unwrap_or_else(Event::Failed);
                }
                sleep(LOOK_AGAIN).await;
            }
        });
    }

    fn delete_before(&mut self, offset: i64) {
        let client = self.around.destination_client.clone();
        let destination = self.around.route.destination.clone();
        self.spawn(async move {
            let done = until_done(
                "delete what took up the offsets before the first record",
                || async {
                    let before = vec![(destination.topic.clone(), destination.partition, offset)];
                    let mut outcomes = client.admin().delete_records(before).await;
                    let (_, outcome) = outcomes.pop().expect("one item has one result");
                    outcome?;
                    Ok(Event::Deleted)
                },
            );
            done.await.unwrap_or_else(Event::Failed)
        });
    }

    /// One line for each thing that people may want to know.
    fn notify(&mut self, notice: Notice) {
        match &notice {
            Notice::CaughtUp { .. } | Notice::FirstRecord { .. } => self.copies_again(),
            Notice::Failed(failure) => {
                self.is_stored_failed = true;
                self.store_failure(Some(failure.record(now_ms())));
            }
            _ => {}
        }
        let around = &self.around;
        let (link, topic) = (&around.link, &around.route.destination.topic);
        let partition = around.key.partition;
        match notice {
            Notice::FirstRecord {
                source_offset,
                destination_offset,
            } => {
                around.figures.set_state(State::Copying);
                tracing::info!(
                    link,
                    topic,
                    partition,
                    source_offset,
                    destination_offset,
                    "first record copied"
                );
            }
            Notice::CaughtUp { offset } => {
                around.figures.set_caught_up();
                tracing::info!(link, topic, partition, source_offset = offset, "caught up");
            }
            Notice::StartMoved { from, to } => {
                tracing::warn!(
                    link,
                    topic,
                    partition,
                    from,
                    to,
                    "the source dropped its oldest records before the first was copied"
                );
            }
            Notice::Filling { from, to } => {
                tracing::info!(
                    link,
                    topic,
                    partition,
                    from,
                    to,
                    "taking up the offsets before the source's first record"
                );
            }
            Notice::Translating { from, why } => {
                tracing::warn!(
                    link,
                    topic,
                    partition,
                    source_offset = from,
                    why,
                    "offsets are translated from here on"
                );
            }
            Notice::Recovering { cause, round } => {
                tracing::info!(
                    link,
                    topic,
                    partition,
                    cause,
                    round,
                    "reading the destination's tail again"
                );
            }
            Notice::Paused => {
                around.figures.set_state(State::Paused);
                tracing::info!(link, topic, partition, "paused");
            }
            Notice::Stopped => tracing::debug!(link, topic, partition, "stopped"),
            Notice::Failed(failure) => {
                around.figures.set_failed(failure.to_string());
                tracing::error!(link, topic, partition, "FAILED: {failure}");
            }
        }
    }
}

/// Milliseconds since the epoch.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Calls until it works, or until only a person can help.
async fn until_done<T, F>(operation: &'static str, call: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut backoff = Backoff::for_requests();
    loop {
        match call().await {
            Ok(done) => return Ok(done),
            Err(error) if !error.may_pass() => {
                return Err(Failure::Call {
                    operation,
                    cause: error.to_string(),
                    retried: true,
                });
            }
            Err(error) => tracing::debug!(operation, %error, "not yet"),
        }
        backoff.sleep().await;
    }
}

/// What can take up offsets before the first record of a topic.
async fn fill_way(client: &Client, topic: &str) -> Result<FillWay, Error> {
    let resource = vec![ConfigResource::Topic(topic.to_owned())];
    let mut described = client.admin().describe_configs(resource).await;
    let (_, entries) = described.pop().expect("one item has one result");
    let policy = entries?
        .into_iter()
        .find(|entry| entry.name == "cleanup.policy")
        .and_then(|entry| entry.value)
        .unwrap_or_default();
    let has = |word: &str| policy.split(',').any(|policy| policy.trim() == word);
    Ok(match (has("compact"), has("delete")) {
        (false, _) => FillWay::Records,
        (true, true) => FillWay::KeyedRecords,
        // Kafka deletes no records on request from a topic that is only compacted.
        (true, false) => FillWay::Markers,
    })
}

/// The source offset that the link's `start` means now.
async fn start_offset(
    client: &Client,
    source: &TopicPartition,
    start: StartSpec,
) -> Result<i64, Error> {
    let ask = |spec| client.offset_together((source.topic.clone(), source.partition), spec);
    let found = match start {
        StartSpec::Earliest => ask(OffsetSpec::Earliest).await?,
        StartSpec::Latest => ask(OffsetSpec::Latest).await?,
        StartSpec::Timestamp(time) => match ask(OffsetSpec::Timestamp(time)).await? {
            // No record is that late yet: those to come are.
            found if found.offset < 0 => ask(OffsetSpec::Latest).await?,
            found => found,
        },
    };
    Ok(found.offset)
}
