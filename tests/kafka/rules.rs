//! The numbered rules of docs/mirror-engine.md where a broker's behaviour is the point. Each test says in one sentence what
//! was seen without its rule.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kmirror::control::progress::{self, Entry};
use kmirror::control::records::{Alignment, Anchor, OffsetsKey, ProgressRecord, RECORD_VERSION};
use kmirror::control::store;
use kmirror::kafka::admin::{NewTopic, OffsetSpec};
use kmirror::kafka::produce::{ProduceBatch, ProducedPartition, produce};
use kmirror::kafka::{ErrorCode, Isolation};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

use crate::conformance::wire::{batch, connect, new_topic, one};
use crate::copy::topology;
use crate::faults::{Stage, plan};
use crate::racer;
use crate::storage::{becomes_same, says};
use crate::support::client::{self, Offsets, Place};
use crate::support::cluster::{Cluster, Spec};
use crate::support::dataset::{self, Ages};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::process::Process;
use crate::support::proxy::{Direction, Flow};
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;
use crate::wire::block_on;

pub fn tests() -> Vec<Test> {
    let test = |name, tier, brokers, seconds, body| Test {
        name,
        tier,
        brokers,
        seconds,
        body,
    };
    vec![
        test(
            "rules::rule_1_late_requests_of_a_killed_worker",
            Tier::Readme,
            2,
            40,
            late_requests,
        ),
        test(
            "rules::rule_2_rule_5_and_rule_6_as_leaders_keep_them_4_3",
            Tier::Readme,
            1,
            20,
            |lab| {
                block_on(as_leaders_keep_them(
                    &Spec::new("one", Version::V4_3).start(lab)?,
                ))
            },
        ),
        test(
            "rules::rule_2_rule_5_and_rule_6_as_leaders_keep_them_3_9",
            Tier::Long,
            1,
            20,
            |lab| {
                block_on(as_leaders_keep_them(
                    &Spec::new("one", Version::V3_9).start(lab)?,
                ))
            },
        ),
        test(
            "rules::rule_3_requests_that_trickle_in_after_the_leader_forgot",
            Tier::Readme,
            2,
            40,
            trickle,
        ),
        test(
            "rules::rule_4_and_rule_8_one_connection_and_every_offset",
            Tier::Readme,
            2,
            40,
            one_connection,
        ),
        test(
            "rules::rule_5_two_workers_on_the_same_partitions",
            Tier::Readme,
            2,
            60,
            |lab| race(lab, 2, 2, 20_000),
        ),
        test(
            "rules::rule_5_three_workers_on_the_same_partitions",
            Tier::Long,
            2,
            400,
            |lab| race(lab, 3, 60, 600_000),
        ),
        test(
            "rules::rule_7_identical_batches",
            Tier::Readme,
            2,
            60,
            identical,
        ),
        test("rules::rule_7_sequences_wrap", Tier::Readme, 2, 60, wrap),
    ]
}

/// A worker is killed before anything of it reached the log; its requests arrive after its successor is done, and the
/// leader refuses them because both write with the stored id. (A successor with a fresh id left the late records there
/// twice; that a leader takes a fresh id at any place is the end of the test.)
fn late_requests(lab: &Lab) -> Result<()> {
    let source = Spec::new("source", Version::V4_3).start(lab)?;
    let destination = Spec::new("destination", Version::V4_3)
        .proxied()
        .start(lab)?;
    client::create_topics(&source.bootstrap(), &["app-late"], 1)?;
    let from = Place::new(source.bootstrap(), "app-late");
    let copy = Place::new(destination.bootstrap(), "copy.app-late");
    write_batches(&from, 50, 100, 0, |n| vec![n as u8; 700])?;
    let text = topology(&source, &destination, "app-*");
    let successor = Kmirror::new(lab, &text)?;
    successor.ok("apply", &["--yes"])?;
    let file = lab.dir().join("proxied.toml");
    std::fs::write(
        &file,
        text.replace(&destination.bootstrap(), &destination.proxied()),
    )?;
    let proxy = &destination.proxies()[0];
    proxy.trap_after(0, &copy.topic);
    let mut killed = Kmirror::with_file(lab, file).start(&["--session-timeout", "1s"])?;
    let start = Instant::now();
    while proxy.spied().is_empty() {
        ensure!(start.elapsed() < Duration::from_secs(60), "nothing is sent");
        std::thread::sleep(Duration::from_millis(2));
    }
    killed.kill()?;
    let late = proxy.waiting();
    successor.ok("run", &["--until-caught-up", "--session-timeout", "1s"])?;
    let records = client::assert_same(&from, &copy, Offsets::Equal)?;
    proxy.open();
    let start = Instant::now();
    while proxy.waiting() > 0 {
        ensure!(
            start.elapsed() < Duration::from_secs(30),
            "the proxy keeps what it holds"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    lab.note(format!("{late} bytes arrived late"));
    // The broker has looked at what arrived before this by the time it answers it.
    let again = block_on(async {
        let client = connect(&destination.bootstrap()).await?;
        let producer = client.admin().init_producer_id(None, 0).await?;
        let fresh = batch((producer.id, producer.epoch), 0, &["of a fresh id"]);
        std::thread::sleep(Duration::from_millis(500));
        send(&client, &copy.topic, fresh).await
    })?;
    ensure!(
        again.error.is_ok() && again.base_offset == i64::try_from(records)?,
        "late requests of a killed worker were taken: {again:?} after {records} records"
    );
    Ok(())
}

async fn send(
    client: &kmirror::kafka::Client,
    topic: &str,
    batch: bytes::Bytes,
) -> Result<ProducedPartition> {
    let leader = client.leader(topic, 0).await?;
    let connection = client.connect_broker(leader).await?;
    let batch = ProduceBatch {
        head: bytes::Bytes::new(),
        topic,
        partition: 0,
        batch,
    };
    let answers = produce(&connection, -1, 10_000, &[batch]).await?;
    answers.into_iter().next().context("one answer")
}

/// What the engine relies on, of a leader by itself.
async fn as_leaders_keep_them(cluster: &Cluster) -> Result<()> {
    let client = connect(&cluster.bootstrap()).await?;
    let admin = client.admin();
    let topic = "rules";
    let forever = ("retention.ms".to_owned(), "-1".to_owned());
    let new = NewTopic {
        configs: vec![forever],
        ..new_topic(topic, 1)
    };
    one(admin.create_topics(vec![new], false).await)?;
    let fresh = || async {
        let producer = admin.init_producer_id(None, 0).await?;
        anyhow::Ok((producer.id, producer.epoch))
    };
    let end = || async {
        let wanted = vec![(topic.to_owned(), 0, OffsetSpec::Latest)];
        anyhow::Ok(one(admin.list_offsets(wanted, Isolation::ReadUncommitted).await)?.offset)
    };
    // Rule 2: of an id that it does not know, a leader takes any sequence; of one that it knows only the next.
    let id = fresh().await?;
    let first = send(&client, topic, batch(id, 500, &["a", "b", "c", "d"])).await?;
    ensure!(first.error.is_ok() && first.base_offset == 0, "{first:?}");
    let gap = send(&client, topic, batch(id, 505, &["x"])).await?;
    ensure!(
        gap.error == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        "{gap:?}"
    );
    // Rule 5: what overlaps with what is there, in whatever way, is refused as a whole.
    for (sequence, values) in [
        (498, &["x", "x", "x", "x"][..]),
        (501, &["b"]),
        (502, &["c", "d"]),
        (502, &["c", "d", "e", "f"]),
        (500, &["a", "b", "c", "d", "e"]),
    ] {
        let overlap = send(&client, topic, batch(id, sequence, values)).await?;
        ensure!(
            overlap.error == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
                || overlap.error == ErrorCode(46),
            "sequences from {sequence}, {} of them: {overlap:?}",
            values.len()
        );
        ensure!(end().await? == 4);
    }
    // Rule 6: the same sequences with other content are acknowledged where they lie, and dropped.
    let other = send(&client, topic, batch(id, 500, &["q", "q", "q", "q"])).await?;
    ensure!(other.error.is_ok() && other.base_offset == 0, "{other:?}");
    ensure!(end().await? == 4);
    let values: Vec<_> = client::read_partition(&cluster.bootstrap(), topic, 0)?
        .into_iter()
        .filter_map(|record| record.value)
        .collect();
    ensure!(values == [b"a", b"b", b"c", b"d"], "{values:?}");
    let next = send(&client, topic, batch(id, 504, &["e"])).await?;
    ensure!(next.error.is_ok() && next.base_offset == 4, "{next:?}");
    Ok(())
}

/// The records are three days old, so the leader forgets the id within a moment; a killed worker's requests arrive one by
/// one while its successor takes over. (With a settling time of nothing, the successor wrote between them, and a
/// thousand records were there twice.)
fn trickle(lab: &Lab) -> Result<()> {
    let source = Spec::new("source", Version::V4_3).start(lab)?;
    let destination = Spec::new("destination", Version::V4_3)
        .proxied()
        .config("producer.id.expiration.ms", "1000")
        .config("producer.id.expiration.check.interval.ms", "100")
        .start(lab)?;
    client::create_topics(&source.bootstrap(), &["app-old"], 1)?;
    let from = Place::new(source.bootstrap(), "app-old");
    let copy = Place::new(destination.bootstrap(), "copy.app-old");
    // Batches of many sizes, none of them small.
    let three_days = 3 * 24 * 3_600_000;
    write_batches(&from, 400, 100, three_days, |n| vec![n as u8; 700])?;
    let text = topology(&source, &destination, "app-*");
    let direct = Kmirror::new(lab, &text)?;
    direct.ok("apply", &["--yes"])?;
    let file = lab.dir().join("proxied.toml");
    std::fs::write(
        &file,
        text.replace(&destination.bootstrap(), &destination.proxied()),
    )?;
    let proxy = &destination.proxies()[0];
    // The first batch goes alone; the rest of the window follows once it is answered.
    proxy.trap_after(3, &copy.topic);
    let mut killed = Kmirror::with_file(lab, file).start(&["--session-timeout", "1s"])?;
    let start = Instant::now();
    while proxy.waiting() < 300_000 && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(10));
    }
    killed.kill()?;
    let held = proxy.waiting();
    let arrived = client::watermarks(&copy)?[0].1;
    ensure!(
        held > 50_000,
        "only {held} bytes were on their way when the worker was killed; {arrived} records had arrived"
    );
    let log = lab.dir().join("successor");
    std::fs::create_dir_all(&log)?;
    let mut successor = Kmirror::with_file(lab, lab.dir().join("topology.toml"))
        .log_to(log.join("kmirror.log"))
        .start(&["--session-timeout", "1s"])?;
    says(&successor, "partition assigned")?;
    proxy.set(
        Direction::ToBroker,
        Flow::OneByOne(Duration::from_millis(200)),
    );
    let mut trickled = 0;
    while proxy.waiting() > 0 {
        trickled = client::watermarks(&copy)?[0].1 - arrived;
        std::thread::sleep(Duration::from_millis(50));
    }
    lab.note(format!(
        "{held} bytes were held, {trickled} records trickled in"
    ));
    becomes_same(&from, &copy)?;
    successor.signal("TERM")?;
    successor.wait(Duration::from_secs(20))?;
    Ok(())
}

/// Writes batches of `size` records of this age, evenly over the partitions.
fn write_batches(
    place: &Place,
    batches: usize,
    size: usize,
    age_ms: i64,
    value: impl Fn(usize) -> Vec<u8>,
) -> Result<()> {
    let partitions = client::partition_count(place)?;
    let producer: BaseProducer = client::config(&place.bootstrap)
        .set("linger.ms", "1000")
        .set("batch.num.messages", size.to_string())
        .create()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let time = i64::try_from(now.as_millis())? - age_ms;
    for n in 0..batches * size {
        let partition = i32::try_from(n / size)? % partitions;
        let value = value(n);
        let mut record = BaseRecord::<[u8], [u8]>::to(&place.topic)
            .partition(partition)
            .payload(&value)
            .timestamp(time);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((error, back))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) =>
                {
                    producer.poll(Duration::from_millis(10));
                    record = back;
                }
                Err((error, _)) => bail!(error),
            }
        }
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(())
}

/// All batches of a partition take one connection, and a record that somebody else wrote between them stops the mirror with
/// the offset. (Over two connections in turn, the copy had come to 165 of 15,000 records after a minute;
/// without the check of base offsets, it went on behind the foreign record.)
fn one_connection(lab: &Lab) -> Result<()> {
    let source = Spec::new("source", Version::V4_3).start(lab)?;
    let destination = Spec::new("destination", Version::V4_3)
        .proxied()
        .start(lab)?;
    client::create_topics(&source.bootstrap(), &["app-one"], 1)?;
    let from = Place::new(source.bootstrap(), "app-one");
    let copy = Place::new(destination.bootstrap(), "copy.app-one");
    write_batches(&from, 3_000, 5, 60_000, |n| {
        format!("value {n}").into_bytes()
    })?;
    let text = topology(&source, &destination, "app-*")
        .replace(&destination.bootstrap(), &destination.proxied());
    let kmirror = Kmirror::new(lab, &text)?;
    kmirror.ok("apply", &["--yes"])?;
    let proxy = &destination.proxies()[0];
    proxy.spy(&copy.topic);
    let worker = kmirror.start(&[])?;
    becomes_same(&from, &copy)?;
    let connections = proxy.spied();
    ensure!(
        connections.len() == 1,
        "one partition took the connections {connections:?}"
    );
    let log = worker.log_text();
    ensure!(
        !log.contains("reading the destination's tail again"),
        "{log}"
    );
    client::produce(&copy, "foreign", 1)?;
    client::produce(&from, "own", 10)?;
    let text = "FAILED: somebody else wrote to the mirror topic: offset 15000 was expected next, the log is at 15001";
    says(&worker, text)
}

/// Workers that all believe to own every partition, killed with SIGKILL at random moments and started again. (Where each
/// of them took a producer id of its own, the copy differed from its nineteenth record on.)
fn race(lab: &Lab, workers: usize, kills: usize, records: usize) -> Result<()> {
    let seed = std::env::var("KMIRROR_SEED")
        .ok()
        .map_or_else(|| Ok(rand::rng().random()), |s| s.parse())?;
    lab.note(format!("seed {seed} (KMIRROR_SEED)"));
    let mut rng = StdRng::seed_from_u64(seed);
    let destination = Spec::new("destination", Version::V4_3);
    let mut stage = Stage::translated(lab, destination, plan(records, Ages::OldAndNew))?;
    let start = |stage: &Stage, n: usize| {
        let (source, destination) = (stage.source.bootstrap(), stage.destination.bootstrap());
        racer::start(lab, &format!("racer-{n}"), &source, &destination)
    };
    let mut racers: Vec<Process> = (0..workers)
        .map(|n| start(&stage, n))
        .collect::<Result<_>>()?;
    stage.await_progress(0)?;
    // In small parts: while one of them writes, the others wait for the end to stand still. At rest, all are there.
    let parts = kills * 10;
    for part in 1..=parts {
        let rest = Duration::from_millis(rng.random_range(0..600));
        if part % 10 != 0 {
            stage.write_part(part, parts)?;
            std::thread::sleep(rest);
            continue;
        }
        let victim = rng.random_range(0..workers);
        stage.while_writing((part, parts), |_, _| {
            std::thread::sleep(rest);
            racers[victim].kill()
        })?;
        racers[victim] = start(&stage, victim)?;
        let alive = racers.iter_mut().map(Process::exited);
        for (n, ended) in alive.enumerate() {
            ensure!(ended?.is_none(), "racer {n} ended:\n{}", racers_log(lab, n));
        }
    }
    drop(racers);
    for n in 0..workers {
        let log = racers_log(lab, n);
        let again = log.matches("reading the destination's tail again").count();
        let copied = log.matches("first record copied").count();
        lab.note(format!(
            "racer {n} wrote to a partition {copied} times and read the tail again {again} times"
        ));
        ensure!(!log.contains("somebody else wrote"), "racer {n}:\n{log}");
    }
    stage.finish(lab, Vec::new())
}

fn racers_log(lab: &Lab, n: usize) -> String {
    let file = lab.dir().join(format!("racer-{n}.log"));
    std::fs::read_to_string(file).unwrap_or_default()
}

/// The source holds the same batch again and again, so that content says nothing about the position. (Where the
/// first batch that looks like the last one was taken for it, records were there twice.)
fn identical(lab: &Lab) -> Result<()> {
    const ROUNDS: usize = 3;
    const BATCHES: usize = 3_000;
    let source = Spec::new("source", Version::V4_3).start(lab)?;
    let destination = Spec::new("destination", Version::V4_3).start(lab)?;
    client::create_topics(&source.bootstrap(), &["app-same"], 2)?;
    let from = Place::new(source.bootstrap(), "app-same");
    let copy = Place::new(destination.bootstrap(), "copy.app-same");
    let kmirror = Kmirror::new(lab, &topology(&source, &destination, "app-*"))?;
    kmirror.ok("apply", &["--yes"])?;
    let mut before = 0;
    for round in 0..ROUNDS {
        let mut worker = kmirror.start(&["--session-timeout", "1s"])?;
        write_batches(&from, BATCHES, 3, 0, |_| b"the same".to_vec())?;
        let start = Instant::now();
        loop {
            let now = client::watermarks(&copy)?.iter().map(|(_, end)| *end).sum();
            if now > before {
                before = now;
                break;
            }
            ensure!(start.elapsed() < Duration::from_secs(30), "nothing arrives");
        }
        worker.kill()?;
        lab.note(format!("round {round}: {before} records had arrived"));
    }
    kmirror.ok("run", &["--until-caught-up", "--session-timeout", "1s"])?;
    let records = client::assert_same(&from, &copy, Offsets::Equal)?;
    let written = u64::try_from(ROUNDS * BATCHES * 3)?;
    ensure!(records == written, "{records} records");
    Ok(())
}

/// A mirror that has copied nearly 2^31 records: the sequence wraps while workers are killed. (With a sequence that goes on
/// beyond 2^31 - 1, every batch after it was refused.)
fn wrap(lab: &Lab) -> Result<()> {
    let destination = Spec::new("destination", Version::V4_3);
    let mut stage = Stage::translated(lab, destination, plan(20_000, Ages::OldAndNew))?;
    let copied = |partition: i32| (1 << 31) - 700 * (i64::from(partition) + 1);
    block_on(async {
        let client = connect(&stage.destination.bootstrap()).await?;
        let state = store::read(&client)
            .await?
            .context("something was applied")?;
        let (id, mirror) = state.mirrors.first().context("a mirror")?;
        let entries: Vec<_> = (0..dataset::PARTITIONS)
            .map(|partition| {
                let anchor = Anchor {
                    source_offset: 0,
                    source_leader_epoch: -1,
                    destination_offset: 0,
                    count: copied(partition),
                    epoch: mirror.producer_epoch,
                };
                let record = ProgressRecord {
                    version: RECORD_VERSION,
                    anchors: vec![anchor],
                    map_chunk: 0,
                    alignment: Alignment::default(),
                    pads_by_transactions: false,
                    destination_leader_epoch: -1,
                };
                let key = OffsetsKey::Progress { id: *id, partition };
                (key, Some(Entry::Progress(record)))
            })
            .collect();
        Ok(progress::write(&client, &entries).await?)
    })?;
    let mut before = 0;
    for kill in 1..=4 {
        let mut worker = stage.worker()?;
        before = stage.while_writing((kill, 4), |_, destination| {
            crate::faults::await_more(destination, before)
        })?;
        worker.kill()?;
    }
    stage.write_part(4, 4)?;
    let (bootstrap, topic) = {
        let copy = crate::faults::copy_in(&stage.destination);
        (copy.bootstrap, copy.topic)
    };
    stage
        .kmirror
        .ok("run", &["--until-caught-up", "--session-timeout", "1s"])?;
    block_on(async {
        let client = connect(&bootstrap).await?;
        let partitions = (0..dataset::PARTITIONS).map(|partition| (topic.clone(), partition));
        let described = client
            .admin()
            .describe_producers(partitions.collect())
            .await;
        for ((_, partition), producers) in described {
            let end =
                client::watermarks(&Place::new(&bootstrap, &topic))?[usize::try_from(partition)?].1;
            let wanted = copied(partition) + end - 1 - (1 << 31);
            let found: Vec<i32> = producers?.iter().map(|it| it.last_sequence).collect();
            ensure!(
                wanted > 0 && found == [i32::try_from(wanted)?],
                "partition {partition}: {found:?}, not {wanted}"
            );
        }
        anyhow::Ok(())
    })?;
    stage.finish(lab, Vec::new())
}
