//! Whatever happens to connections, brokers and the worker, the copy is exact.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use kmirror::control::records::ForeignWrites;
use kmirror::kafka::Buffers;
use kmirror::mirror::batch::provenance::HEADER;
use kmirror::mirror::io::reader::Reader;
use kmirror::mirror::partition::Event;
use kmirror::sandbox::RecordView;
use kmirror::sandbox::faults::Loss;

use super::lab::{Lab, MIRROR, SOURCE, kill, stop};

#[tokio::test(flavor = "multi_thread")]
async fn records_are_copied_and_the_copy_goes_on_where_it_stopped() {
    let lab = Lab::new(1).await;
    lab.produce(0..500).await;
    let running = lab.start();
    lab.expect_copy(500).await;
    lab.produce(500..700).await;
    lab.expect_copy(700).await;
    stop(running).await;
    lab.produce(700..800).await;
    let running = lab.start();
    lab.expect_copy(800).await;
    stop(running).await;
}

/// Without this, a killed worker's successor would lose or repeat what was on its way.
#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_leave_an_exact_copy() {
    let lab = Lab::new(1).await;
    lab.destination
        .faults()
        .delay(ApiKey::Produce, Duration::from_millis(15));
    lab.produce(0..3000).await;
    for round in 0..6 {
        let running = lab.start();
        tokio::time::sleep(Duration::from_millis(450 + 70 * round)).await;
        kill(running).await;
    }
    lab.destination.faults().clear();
    let running = lab.start();
    lab.expect_copy(3000).await;
    stop(running).await;
}

/// The answer to a batch that was appended never arrives: it must not be appended twice.
#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_and_connections_leave_an_exact_copy() {
    let lab = Lab::new(1).await;
    lab.produce(0..1500).await;
    for nth in [2, 9, 30] {
        lab.destination
            .faults()
            .lose(ApiKey::Produce, nth, Loss::Answer);
    }
    lab.destination
        .faults()
        .lose(ApiKey::Produce, 17, Loss::Request);
    lab.source.faults().lose(ApiKey::Fetch, 2, Loss::Answer);
    let running = lab.start();
    lab.expect_copy(1500).await;
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_moves_is_followed() {
    let lab = Lab::new(3).await;
    lab.produce(0..400).await;
    let running = lab.start();
    lab.expect_copy(400).await;
    for round in 1..4u32 {
        let leader = lab
            .destination
            .log(MIRROR, 0)
            .expect("is there")
            .leader
            .expect("has one");
        lab.destination
            .faults()
            .move_leader(MIRROR, 0, Some(leader % 3 + 1))
            .expect("has that broker");
        lab.produce(round * 400..(round + 1) * 400).await;
        lab.expect_copy(usize::try_from((round + 1) * 400).expect("small"))
            .await;
    }
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_refusals_are_waited_out() {
    let lab = Lab::new(1).await;
    lab.produce(0..300).await;
    let faults = lab.destination.faults();
    faults.fail(
        ApiKey::Produce,
        Some(MIRROR),
        ResponseError::NotEnoughReplicas,
        3,
    );
    faults.fail(
        ApiKey::DescribeProducers,
        Some(MIRROR),
        ResponseError::NotLeaderOrFollower,
        1,
    );
    lab.source.faults().fail(
        ApiKey::Fetch,
        Some(SOURCE),
        ResponseError::NotLeaderOrFollower,
        2,
    );
    let running = lab.start();
    lab.expect_copy(300).await;
    stop(running).await;
}

/// A leader that forgot the producer id takes any sequence: reading the tail keeps the copy exact.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_forgot_the_id_gets_an_exact_copy() {
    let lab = Lab::new(1).await;
    lab.destination
        .faults()
        .delay(ApiKey::Produce, Duration::from_millis(10));
    lab.produce(0..1500).await;
    for _ in 0..4 {
        let running = lab.start();
        tokio::time::sleep(Duration::from_millis(700)).await;
        lab.destination.faults().forget_producers(MIRROR, 0);
        kill(running).await;
    }
    lab.destination.faults().clear();
    let running = lab.start();
    lab.expect_copy(1500).await;
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_mirror_writes_nothing_until_it_runs_again() {
    let lab = Lab::new(1).await;
    lab.produce(0..100).await;
    let running = lab.start();
    lab.expect_copy(100).await;
    running.events.tell(Event::Pause);
    tokio::time::sleep(Duration::from_millis(300)).await;
    lab.produce(100..150).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(lab.copied().len(), 100);
    running.events.tell(Event::Run);
    lab.expect_copy(150).await;
    stop(running).await;
}

/// Without a confirmed membership nothing is written, whatever was fetched.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_its_lease_does_not_write() {
    let lab = Lab::new(1).await;
    lab.produce(0..50).await;
    lab.lease.give_up();
    let running = lab.start();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(lab.copied().is_empty());
    lab.lease
        .renew(kmirror::mirror::worker::lease::Moment::now());
    lab.expect_copy(50).await;
    stop(running).await;
}

/// Mirrors of one topic share the connections to its source, each at an offset of its own. Without care one of
/// them gets the records that the other asked for, and steps over its own.
#[tokio::test(flavor = "multi_thread")]
async fn two_mirrors_of_one_topic_do_not_get_each_others_records() {
    let lab = Lab::new(1).await;
    // Many answers of the most that one may hold.
    lab.produce_of(0..800, 20_000).await;
    lab.source
        .faults()
        .delay(ApiKey::Fetch, Duration::from_millis(20));
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(lab.start_beside().await);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let running = lab.start();
    lab.expect_copy(800).await;
    for (topic, running) in others {
        lab.expect_copy_in(&topic, 800).await;
        stop(running).await;
    }
    stop(running).await;
}

/// A broker remembers what idle mirrors wait for, until it needs the room or restarts. Without care a mirror would wait for ever
/// then, or for what it has read already.
#[tokio::test(flavor = "multi_thread")]
async fn idle_mirrors_hear_of_new_records_whatever_the_broker_forgets() {
    let lab = Lab::new(1).await;
    lab.produce(0..10).await;
    // Both want the same partition, of which a broker remembers one offset for each that asks.
    let (other, beside) = lab.start_beside().await;
    let running = lab.start();
    for round in 1..=6 {
        let next = round * 10;
        lab.expect_copy(next as usize).await;
        lab.expect_copy_in(&other, next as usize).await;
        // Until it is asked for with those that have nothing to read.
        tokio::time::sleep(Duration::from_millis(700)).await;
        let faults = lab.source.faults();
        match round {
            1 | 2 => {}
            3 => faults.forget_fetch_sessions(1),
            4 => faults.drop_connections(None),
            _ => {
                faults.stop_broker(1);
                faults.start_broker(1);
            }
        }
        lab.produce(next..next + 10).await;
    }
    lab.expect_copy(70).await;
    lab.expect_copy_in(&other, 70).await;
    stop(beside).await;
    stop(running).await;
}

/// Without this, a batch larger than the memory, or several mirrors that share too little of it, would stand still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_get_through_memory_that_is_smaller_than_a_batch() {
    let mut lab = Lab::new(1).await;
    let buffers = Buffers::new(256 << 10);
    lab.reader = Reader::new(lab.source_client.clone(), Arc::clone(&buffers));
    lab.produce_of(0..60, 100_000).await;
    let running = lab.start();
    let (topic, beside) = lab.start_beside().await;
    lab.expect_copy(60).await;
    lab.expect_copy_in(&topic, 60).await;
    stop(running).await;
    stop(beside).await;
    // All of it comes back, but for what is on its way for a poll that goes on.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while buffers.free() < buffers.limit() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{} are free",
            buffers.free()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Without this, a topic that others write to would lose or repeat records whenever a worker is killed.
#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_leave_an_exact_copy_in_a_topic_that_others_write_to() {
    let mut lab = Lab::new(1).await;
    lab.foreign_writes = ForeignWrites::Translate;
    lab.destination
        .faults()
        .delay(ApiKey::Produce, Duration::from_millis(10));
    lab.produce(0..2000).await;
    let another = lab.write_as_another();
    for round in 0..5 {
        let running = lab.start();
        tokio::time::sleep(Duration::from_millis(800 + 70 * round)).await;
        if round % 2 == 1 {
            lab.destination.faults().forget_producers(MIRROR, 0);
        }
        kill(running).await;
    }
    lab.destination.faults().clear();
    lab.expect_copy_among_others(2000, lab.start()).await;
    another.abort();
}

/// Without this, records that are mirrored both ways would go round for ever, or be lost or repeated when a worker is killed.
#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_leave_each_record_once_on_both_sides() {
    const RECORDS: usize = 1000;
    let mut there = Lab::new(1).await;
    there.foreign_writes = ForeignWrites::Translate;
    there.provenance = true;
    let back = there.back().await;
    for lab in [&there, &back] {
        lab.destination
            .faults()
            .delay(ApiKey::Produce, Duration::from_millis(10));
    }
    // Keys and values of both sides are told apart by their numbers.
    let half = RECORDS as u32 / 2;
    tokio::join!(there.produce(0..half), back.produce(10_000..10_000 + half));
    for round in 0..5 {
        let (one, other) = (there.start(), back.start());
        let first = half + round * 100;
        tokio::join!(
            there.produce(first..first + 100),
            back.produce(10_000 + first..10_000 + first + 100),
            tokio::time::sleep(Duration::from_millis(900 + 90 * u64::from(round))),
        );
        if round % 2 == 1 {
            there.destination.faults().forget_producers(MIRROR, 0);
            back.destination.faults().forget_producers(SOURCE, 0);
        }
        kill(one).await;
        kill(other).await;
    }
    for lab in [&there, &back] {
        lab.destination.faults().clear();
    }
    let (one, other) = (there.start(), back.start());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while there.both().iter().any(|side| side.len() < 2 * RECORDS) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{:?}",
            there.both().map(|side| side.len())
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Long enough for a loop to show.
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop(one).await;
    stop(other).await;
    let sides = there.both();
    for (side, from) in sides.iter().zip(["west/orders.replica", "east/orders"]) {
        let is_copy = |record: &&RecordView| !record.headers.is_empty();
        let (copies, own): (Vec<&RecordView>, Vec<&RecordView>) = side.iter().partition(is_copy);
        assert_eq!((own.len(), copies.len()), (RECORDS, RECORDS));
        let mark = (HEADER.into(), Some(from.into()));
        assert!(copies.iter().all(|copy| copy.headers == [mark.clone()]));
        let other = sides.iter().find(|it| !std::ptr::eq(*it, side));
        let written = other.expect("there are two").iter();
        let written = written.filter(|record| record.headers.is_empty());
        let values = |records: Vec<&RecordView>| -> Vec<_> {
            records.iter().map(|record| record.value.clone()).collect()
        };
        assert_eq!(values(copies), values(written.collect()));
    }
}
