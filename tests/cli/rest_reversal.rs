//! Mirrors that are reversed over REST, on two embedded clusters: there, back, while somebody writes, and with workers that are killed.

use std::time::Duration;

use kmirror::control::actions::MirrorAction;
use kmirror::linking::operations::{Desk, MirrorView};
use kmirror::sandbox::Sandbox;
use rdkafka::ClientConfig as RdConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::rest_both_ways::{link_both_ways, link_from_the_east};
use crate::rest_links::{await_end, desk, mirror_of, produce, state, void_lock, words};
use crate::sandboxes::TwoClusters;
use crate::worker::{Worker, WorkerProcess, eventually};

/// A record as consumers see it: offset, key and value.
type Seen = (i64, String, String);

/// All records of a topic's only partition.
fn records(sandbox: &Sandbox, topic: &str) -> Vec<Seen> {
    let consumer: BaseConsumer = RdConfig::new()
        .set("bootstrap.servers", sandbox.bootstrap_servers())
        .set("group.id", "tests")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let mut assigned = TopicPartitionList::new();
    assigned
        .add_partition_offset(topic, 0, Offset::Beginning)
        .expect("a legal offset");
    consumer.assign(&assigned).expect("it can be assigned");
    let mut seen = Vec::new();
    loop {
        let polled = consumer.poll(Duration::from_secs(10));
        match polled.expect("it is read to its end in time") {
            Ok(message) => {
                let text = |bytes: Option<&[u8]>| {
                    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
                };
                let (key, value) = (text(message.key()), text(message.payload()));
                seen.push((message.offset(), key, value));
            }
            Err(KafkaError::PartitionEOF(_)) => return seen,
            Err(error) => panic!("{topic} cannot be read: {error}"),
        }
    }
}

/// Both ends of the link `both`, with a worker beside each.
struct Pair {
    clusters: TwoClusters,
    west: Desk,
    east: Desk,
}

impl Pair {
    fn start() -> Self {
        Self::linked(|clusters| link_both_ways(clusters, &[]))
    }

    fn linked(link: impl Fn(&TwoClusters)) -> Self {
        let clusters = TwoClusters::start(1, "");
        clusters.create(&clusters.east, "orders", 1, &[]);
        link(&clusters);
        let west = desk(&clusters, &clusters.west, None);
        let made = clusters.block_on(west.create_mirror("both", &mirror_of("orders")));
        made.expect("is made");
        Self {
            east: desk(&clusters, &clusters.east, None),
            west,
            clusters,
        }
    }

    fn workers(&self) -> [Worker; 2] {
        [&self.clusters.west, &self.clusters.east]
            .map(|own| Worker::start(&self.clusters, &[own], None))
    }

    fn stop(&self, workers: [Worker; 2]) {
        for worker in workers {
            worker.stop(&self.clusters);
        }
    }

    fn ask(&self, desk: &Desk, action: MirrorAction) -> Result<(), String> {
        let topics = ["orders".to_owned()];
        let acted = self
            .clusters
            .block_on(desk.act("both", &topics, action, false));
        let (_, outcome) = acted.expect("is asked").remove(0);
        outcome.map(drop).map_err(|refusal| refusal.to_string())
    }

    fn view(&self, desk: &Desk) -> Option<MirrorView> {
        let state = self.clusters.block_on(desk.state()).expect("readable");
        let views = self.clusters.block_on(desk.mirrors(&state, None));
        let views = views.expect("readable").into_iter();
        views
            .into_iter()
            .find(|view| view.mirror_topic() == "orders")
    }

    fn state_of(&self, desk: &Desk) -> &'static str {
        self.view(desk).map_or("none", |view| view.state())
    }

    fn await_states(&self, west: &str, east: &str) {
        eventually(&format!("west {west}, east {east}"), || {
            self.state_of(&self.west) == west && self.state_of(&self.east) == east
        });
    }

    /// Waits until consumers see the same on both sides, so many records.
    fn await_same(&self, count: usize) -> Vec<Seen> {
        let mut found = Vec::new();
        eventually(&format!("both sides have {count} records"), || {
            let [west, east] =
                [&self.clusters.west, &self.clusters.east].map(|side| records(side, "orders"));
            assert!(
                west.len() <= count && east.len() <= count,
                "{west:?} {east:?}"
            );
            found.clone_from(&west);
            west.len() == count && west == east
        });
        found
    }
}

#[test]
fn a_mirror_is_reversed_there_and_back_and_keeps_every_offset() {
    let pair = Pair::start();
    let workers = pair.workers();
    produce(&pair.clusters.east, "orders", 5);
    await_end(&pair.clusters, &pair.clusters.west, "orders", 5);

    let reverse = MirrorAction::ReverseAndStart;
    pair.ask(&pair.west, reverse).expect("is asked for");
    // Asked for again, as after an answer that was lost.
    match pair.ask(&pair.west, reverse) {
        Ok(()) => {}
        Err(stopped) => assert!(stopped.contains("already stopped"), "{stopped}"),
    }
    pair.await_states("STOPPED", "ACTIVE");
    produce(&pair.clusters.west, "orders", 3);
    let seen = pair.await_same(8);
    let offsets: Vec<i64> = seen.iter().map(|it| it.0).collect();
    // The fence has one.
    assert_eq!(offsets, [0, 1, 2, 3, 4, 6, 7, 8]);

    pair.ask(&pair.east, reverse).expect("is asked for");
    pair.await_states("ACTIVE", "STOPPED");
    produce(&pair.clusters.east, "orders", 2);
    pair.await_same(10);
    // And there again, with the other direction at rest.
    let and_pause = MirrorAction::ReverseAndPause;
    pair.ask(&pair.west, and_pause).expect("is asked for");
    pair.await_states("STOPPED", "PAUSED");
    produce(&pair.clusters.west, "orders", 4);
    pair.ask(&pair.east, MirrorAction::Resume)
        .expect("is resumed");
    pair.await_states("STOPPED", "ACTIVE");
    pair.await_same(14);
    for desk in [&pair.west, &pair.east] {
        let state = pair.clusters.block_on(desk.state()).expect("readable");
        assert_eq!(state.mirrors.len(), 1);
    }
    pair.stop(workers);
}

/// Whoever still writes to the source would lose what they wrote.
#[test]
fn a_reversal_waits_for_the_source_and_tells_of_it() {
    let pair = Pair::start();
    produce(&pair.clusters.east, "orders", 5);
    let workers = pair.workers();
    await_end(&pair.clusters, &pair.clusters.west, "orders", 5);
    pair.ask(&pair.west, MirrorAction::ReverseAndStart)
        .expect("is asked for");
    let mut count = 5;
    let mut told = String::new();
    eventually("it is told what is waited for", || {
        produce(&pair.clusters.east, "orders", 1);
        count += 1;
        let view = pair.view(&pair.west).expect("it is there");
        told = view.status.message.clone().unwrap_or_default();
        assert_eq!(view.state(), "PENDING_STOPPED");
        told.contains("stop its producers")
    });
    assert_eq!(pair.state_of(&pair.east), "PENDING_SYNCHRONIZE");
    // Nobody writes any more.
    pair.await_states("STOPPED", "ACTIVE");
    assert_eq!(pair.await_same(count).len(), count);
    pair.stop(workers);
}

/// Each step is recorded before the next one.
#[test]
fn workers_may_be_killed_at_any_moment_of_a_reversal() {
    let pair = Pair::start();
    let session = ["--session-timeout", "6s"];
    let worker = |log: &str| WorkerProcess::start(&pair.clusters, "mirror.toml", &session, log);
    let mut count = 0;
    for (round, after) in [700, 4_300, 5_200].into_iter().enumerate() {
        let there = round % 2 == 0;
        let (from, to) = match there {
            true => (&pair.clusters.east, &pair.west),
            false => (&pair.clusters.west, &pair.east),
        };
        let doomed = worker("killed.log");
        produce(from, "orders", 3);
        count += 3;
        pair.await_same(count);
        pair.ask(to, MirrorAction::ReverseAndStart)
            .expect("is asked for");
        // Any moment will do.
        std::thread::sleep(Duration::from_millis(after));
        doomed.kill();
        for side in [&pair.clusters.west, &pair.clusters.east] {
            let client = pair.clusters.client(side);
            pair.clusters.block_on(void_lock(&client));
        }
        let next = worker("next.log");
        match there {
            true => pair.await_states("STOPPED", "ACTIVE"),
            false => pair.await_states("ACTIVE", "STOPPED"),
        }
        pair.await_same(count);
        next.kill();
    }
}

#[test]
fn a_reversal_can_be_given_up_at_both_clusters() {
    let pair = Pair::start();
    produce(&pair.clusters.east, "orders", 2);
    let workers = pair.workers();
    await_end(&pair.clusters, &pair.clusters.west, "orders", 2);
    pair.ask(&pair.west, MirrorAction::ReverseAndStart)
        .expect("is asked for");
    eventually("the other cluster is prepared", || {
        pair.state_of(&pair.east) == "PENDING_SYNCHRONIZE"
    });
    let refused = pair.ask(&pair.east, MirrorAction::Resume);
    assert!(refused.expect_err("it waits").contains("has not begun"));
    pair.ask(&pair.west, MirrorAction::FailOver)
        .expect("is failed over");
    pair.ask(&pair.east, MirrorAction::FailOver)
        .expect("is given up");
    pair.await_states("STOPPED", "STOPPED");
    pair.stop(workers);
}

#[test]
fn what_cannot_be_reversed_is_refused_at_once() {
    let pair = Pair::start();
    let topics = ["orders".to_owned()];
    let reverse = MirrorAction::ReverseAndStart;
    let act = |link: &str| {
        let acted = pair.west.act(link, &topics, reverse, false);
        words(pair.clusters.block_on(acted))
    };
    let deleted = pair.east.delete_link("both", false, false);
    pair.clusters.block_on(deleted).expect("is deleted");
    assert!(act("both").contains("has no link `both`"));
    let pending = state(&pair.clusters, &pair.clusters.west).mirrors[0].clone();
    assert_eq!(pending.ending, None);
}

/// Where the cluster that holds the mirror cannot reach the other one, who carries it does.
#[test]
fn a_mirror_that_its_source_carries_is_reversed_as_well() {
    let pair = Pair::linked(link_from_the_east);
    let worker = Worker::start(&pair.clusters, &[&pair.clusters.east], None);
    produce(&pair.clusters.east, "orders", 5);
    pair.await_same(5);
    let reverse = MirrorAction::ReverseAndStart;
    pair.ask(&pair.west, reverse).expect("is asked for");
    pair.await_states("STOPPED", "ACTIVE");
    produce(&pair.clusters.west, "orders", 3);
    pair.await_same(8);
    pair.ask(&pair.east, reverse).expect("is asked for");
    pair.await_states("ACTIVE", "STOPPED");
    produce(&pair.clusters.east, "orders", 1);
    pair.await_same(9);
    worker.stop(&pair.clusters);
}

/// An application that was forgotten goes on writing to the former source.
#[test]
fn what_is_written_to_the_former_source_stops_the_mirror_there() {
    let pair = Pair::start();
    let workers = pair.workers();
    produce(&pair.clusters.east, "orders", 5);
    pair.await_same(5);
    pair.ask(&pair.west, MirrorAction::ReverseAndStart)
        .expect("is asked for");
    pair.await_states("STOPPED", "ACTIVE");
    produce(&pair.clusters.east, "orders", 1);
    produce(&pair.clusters.west, "orders", 2);
    pair.await_states("STOPPED", "FAILED");
    let view = pair.view(&pair.east).expect("it is there");
    let message = view.status.message.unwrap_or_default();
    assert!(message.contains("somebody else"), "{message}");
    // What belongs to the new source is there, and was not doubled.
    assert_eq!(records(&pair.clusters.west, "orders").len(), 7);
    pair.stop(workers);
}
