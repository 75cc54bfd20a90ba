//! Workers that share a destination: they join, leave, are restarted one after the other, killed and frozen, and what is
//! not theirs flows on meanwhile.
//!
//! Records are written all the time, each with the time of its writing; a consumer of the copy sees how late each arrives.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::copy::topology;
use crate::storage::{becomes_same, says};
use crate::support::client::{self, Place};
use crate::support::cluster::Spec;
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::process::Process;
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

const PARTITIONS: i32 = 24;
/// What nobody touches is never later than this.
const UNTOUCHED: Duration = Duration::from_secs(10);
/// What has to change hands may wait for the session to end, for the group and for the end to settle.
const TOUCHED: Duration = Duration::from_secs(30);

pub fn tests() -> Vec<Test> {
    let test = |name, tier, seconds, body| Test {
        name,
        tier,
        brokers: 2,
        seconds,
        body,
    };
    vec![
        test(
            "sharing::workers_join_die_and_freeze",
            Tier::Readme,
            80,
            |lab| share(lab, 2, false),
        ),
        test(
            "sharing::five_workers_join_restart_die_and_freeze",
            Tier::Long,
            240,
            |lab| share(lab, 5, true),
        ),
        test(
            "sharing::uneven_sources_are_spread_over_workers",
            Tier::Long,
            180,
            uneven,
        ),
    ]
}

fn share(lab: &Lab, most: usize, rolling: bool) -> Result<()> {
    let source = Spec::new("source", Version::V4_3).start(lab)?;
    let destination = Spec::new("destination", Version::V4_3).start(lab)?;
    client::create_topics(&source.bootstrap(), &["app-live"], PARTITIONS)?;
    let from = Place::new(source.bootstrap(), "app-live");
    let copy = Place::new(destination.bootstrap(), "copy.app-live");
    let kmirror = Kmirror::new(lab, &topology(&source, &destination, "app-*"))?;
    kmirror.ok("apply", &["--yes"])?;

    let traffic = Traffic::start(&from, &copy)?;
    let mut group = Group {
        lab,
        workers: Vec::new(),
        started: 0,
    };
    for count in 1..=most {
        let name = format!("worker {count} of {most} joins");
        group.phase(&traffic, &name, |group| group.join())?;
    }
    if rolling {
        for n in 0..most {
            group.phase(&traffic, &format!("restart {} of {most}", n + 1), |group| {
                group.leave(0)?;
                group.join()
            })?;
        }
    }
    group.phase(&traffic, "the oldest is killed", |group| {
        let mut worker = group.workers.remove(0);
        worker.process.kill()
    })?;
    group.phase(&traffic, "another one joins", |group| group.join())?;
    group.phase(&traffic, "the oldest is frozen", |group| {
        group.workers[0].process.signal("STOP")
    })?;
    group.phase(&traffic, "it wakes", |group| {
        group.workers[0].process.signal("CONT")
    })?;
    while !group.workers.is_empty() {
        let left = group.workers.len() - 1;
        group.phase(&traffic, &format!("one leaves, {left} stay"), |group| {
            if left == 0 {
                group.join()?;
            }
            group.leave(0)
        })?;
        if left == 0 {
            break;
        }
    }
    traffic.stop()?;
    becomes_same(&from, &copy)?;
    group.leave(0)
}

/// Two partitions carry nearly everything and belong to the same worker: one of them moves to the other worker, once, and
/// the copies are exact.
fn uneven(lab: &Lab) -> Result<()> {
    let source = Spec::new("source", Version::V4_3).start(lab)?;
    let destination = Spec::new("destination", Version::V4_3).start(lab)?;
    client::create_topics(&source.bootstrap(), &["app-live"], PARTITIONS)?;
    let from = Place::new(source.bootstrap(), "app-live");
    let copy = Place::new(destination.bootstrap(), "copy.app-live");
    let kmirror = Kmirror::new(lab, &topology(&source, &destination, "app-*"))?;
    kmirror.ok("apply", &["--yes"])?;
    let traffic = Traffic::start(&from, &copy)?;
    let mut group = Group {
        lab,
        workers: Vec::new(),
        started: 0,
    };
    for n in 1..=2 {
        group.phase(&traffic, &format!("worker {n} joins"), |group| group.join())?;
    }
    let owners = group.owners();
    let crowded = (0..PARTITIONS).find_map(|a| {
        let same = |b: &i32| owners.contains_key(b) && owners.get(b) == owners.get(&a);
        (a + 1..PARTITIONS).find(same).map(|b| (a, b))
    });
    let (a, b) = crowded.context("two partitions of one worker")?;
    lab.note(format!("partitions {a} and {b} carry much"));
    let flood = Flood::start(&from, [a, b])?;
    let start = Instant::now();
    while group.owners().get(&a) == group.owners().get(&b) {
        ensure!(
            start.elapsed() < Duration::from_secs(150),
            "nothing has moved:\n{}",
            group.workers[0].process.log_text()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let logs = group.workers.iter().map(|worker| worker.process.log_text());
    ensure!(
        logs.collect::<String>()
            .contains("the work of the workers is uneven"),
        "they moved for another reason"
    );
    lab.note(format!(
        "one of them moved after {:.0} s",
        start.elapsed().as_secs_f64()
    ));
    // A balanced group is left alone.
    let before = group.assignments();
    std::thread::sleep(Duration::from_secs(45));
    ensure!(before == group.assignments(), "partitions move on");
    flood.stop()?;
    traffic.stop()?;
    becomes_same(&from, &copy)?;
    group.leave(0)?;
    group.leave(0)
}

/// Some MB a second into two partitions.
struct Flood {
    ended: Arc<AtomicBool>,
    writing: std::thread::JoinHandle<Result<()>>,
}

impl Flood {
    fn start(place: &Place, partitions: [i32; 2]) -> Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        let producer: BaseProducer = client::config(&place.bootstrap)
            .set("linger.ms", "20")
            .create()?;
        let topic = place.topic.clone();
        let writing = std::thread::spawn(move || {
            let value = vec![7; 100_000];
            while !stop.load(Ordering::Acquire) {
                for partition in partitions {
                    let record = BaseRecord::<[u8], [u8]>::to(&topic)
                        .partition(partition)
                        .payload(&value)
                        .timestamp(now_ms()?);
                    producer.send(record).map_err(|(error, _)| error)?;
                }
                // Four megabytes a second each, and little work for the machine.
                producer.poll(Duration::ZERO);
                std::thread::sleep(Duration::from_millis(25));
            }
            producer.flush(Duration::from_secs(30))?;
            Ok(())
        });
        Ok(Self { ended, writing })
    }

    fn stop(self) -> Result<()> {
        self.ended.store(true, Ordering::Release);
        self.writing.join().expect("the flood does not panic")
    }
}

/// The workers, and where each writes its log.
struct Group<'a> {
    lab: &'a Lab,
    workers: Vec<Worker>,
    started: usize,
}

struct Worker {
    process: Process,
}

impl Group<'_> {
    fn join(&mut self) -> Result<()> {
        self.started += 1;
        let log = self.lab.dir().join(format!("worker-{}.log", self.started));
        let file: PathBuf = self.lab.dir().join("topology.toml");
        let kmirror = Kmirror::with_file(self.lab, file).log_to(log);
        let process = kmirror.start(&["--session-timeout", "3s"])?;
        // It has its share.
        says(&process, "partition assigned")?;
        self.workers.push(Worker { process });
        Ok(())
    }

    fn leave(&mut self, index: usize) -> Result<()> {
        let mut worker = self.workers.remove(index);
        worker.process.signal("TERM")?;
        let status = worker.process.wait(Duration::from_secs(30))?;
        let log = worker.process.log_text();
        ensure!(status.success(), "a worker, asked to stop: {status}\n{log}");
        ensure!(!log.contains(" ERROR "), "a worker complained:\n{log}");
        Ok(())
    }

    /// How often each partition was taken over so far.
    fn assignments(&self) -> BTreeMap<i32, usize> {
        let mut counts = BTreeMap::new();
        for n in 1..=self.started {
            for (_, partition) in self.taken_over(n) {
                *counts.entry(partition).or_default() += 1;
            }
        }
        counts
    }

    /// Which worker was the last to take each partition over.
    fn owners(&self) -> BTreeMap<i32, usize> {
        let mut owners: BTreeMap<i32, (String, usize)> = BTreeMap::new();
        for n in 1..=self.started {
            for (time, partition) in self.taken_over(n) {
                let owner = owners.entry(partition).or_default();
                // Lines begin with their time, whose text sorts as times do.
                *owner = (time, n).max(owner.clone());
            }
        }
        owners
            .into_iter()
            .map(|(partition, (_, worker))| (partition, worker))
            .collect()
    }

    /// When a worker took which partition over.
    fn taken_over(&self, worker: usize) -> Vec<(String, i32)> {
        let log = self.lab.dir().join(format!("worker-{worker}.log"));
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines = text
            .lines()
            .filter(|line| line.contains("partition assigned"));
        lines
            .filter_map(|line| {
                let time = line.split_whitespace().next()?;
                let partition = line.split("partition=").nth(1)?;
                let partition = partition.split_whitespace().next()?.parse().ok()?;
                Some((time.to_owned(), partition))
            })
            .collect()
    }

    /// Does something, waits until records that were written after it have arrived in every partition, and looks how late
    /// the records between were.
    fn phase(
        &mut self,
        traffic: &Traffic,
        name: &str,
        action: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let before = self.assignments();
        let began = now_ms()?;
        action(self)?;
        let done = now_ms()?;
        traffic.await_records_of(done).context(name.to_owned())?;
        let after = self.assignments();
        let mut worst = (0, 0);
        let mut moved = 0;
        for partition in 0..PARTITIONS {
            let touched = before.get(&partition) != after.get(&partition);
            let lag = traffic.worst_lag(partition, began);
            moved += usize::from(touched);
            let worst = if touched { &mut worst.1 } else { &mut worst.0 };
            *worst = lag.max(*worst);
        }
        self.lab.note(format!(
            "{name}: {moved} of {PARTITIONS} partitions moved and were at most {} ms late, the others {} ms",
            worst.1, worst.0
        ));
        ensure!(
            u128::from(worst.0) < UNTOUCHED.as_millis(),
            "{name}: partitions that nobody touched were {} ms late",
            worst.0
        );
        ensure!(
            u128::from(worst.1) < TOUCHED.as_millis(),
            "{name}: partitions that changed hands were {} ms late",
            worst.1
        );
        Ok(())
    }
}

fn now_ms() -> Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_millis())?)
}

/// By partition: when each record was written, and how late it arrived, in milliseconds.
type Seen = BTreeMap<i32, Vec<(i64, u64)>>;

/// Records that are written and looked for all the time.
struct Traffic {
    ended: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    writing: std::thread::JoinHandle<Result<()>>,
    reading: std::thread::JoinHandle<Result<()>>,
}

impl Traffic {
    fn start(from: &Place, copy: &Place) -> Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let (place, stop) = (from.clone(), Arc::clone(&ended));
        let writing = std::thread::spawn(move || write(&place, &stop));
        let (place, stop, table) = (copy.clone(), Arc::clone(&ended), Arc::clone(&seen));
        let reading = std::thread::spawn(move || read(&place, &stop, &table));
        Ok(Self {
            ended,
            seen,
            writing,
            reading,
        })
    }

    /// Waits until every partition had a record arrive that was written later than this.
    fn await_records_of(&self, time: i64) -> Result<()> {
        let start = Instant::now();
        loop {
            let missing: Vec<i32> = {
                let seen = self.seen.lock().expect("no panic while the lock is held");
                let has = |partition: &i32| {
                    let records = seen.get(partition);
                    records.is_some_and(|all| all.last().is_some_and(|last| last.0 > time))
                };
                (0..PARTITIONS)
                    .filter(|partition| !has(partition))
                    .collect()
            };
            if missing.is_empty() {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(60) {
                bail!("nothing arrives in partitions {missing:?}");
            }
            ensure!(
                !self.reading.is_finished() && !self.writing.is_finished(),
                "the traffic came to an end"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How late the latest record was, of those written from `since` on.
    fn worst_lag(&self, partition: i32, since: i64) -> u64 {
        let seen = self.seen.lock().expect("no panic while the lock is held");
        let records = seen.get(&partition).into_iter().flatten();
        records
            .filter(|(written, _)| *written >= since)
            .map(|(_, late)| *late)
            .max()
            .unwrap_or(0)
    }

    fn stop(self) -> Result<()> {
        self.ended.store(true, Ordering::Release);
        for thread in [self.writing, self.reading] {
            thread.join().expect("the traffic does not panic")?;
        }
        Ok(())
    }
}

fn write(place: &Place, ended: &AtomicBool) -> Result<()> {
    let producer: BaseProducer = client::config(&place.bootstrap)
        .set("linger.ms", "0")
        .create()?;
    let mut count = 0_i32;
    while !ended.load(Ordering::Acquire) {
        let value = count.to_be_bytes();
        let record = BaseRecord::<[u8], [u8]>::to(&place.topic)
            .partition(count % PARTITIONS)
            .payload(&value)
            .timestamp(now_ms()?);
        producer.send(record).map_err(|(error, _)| error)?;
        count += 1;
        producer.poll(Duration::ZERO);
        std::thread::sleep(Duration::from_millis(5));
    }
    producer.flush(Duration::from_secs(30))?;
    Ok(())
}

fn read(place: &Place, ended: &AtomicBool, seen: &Mutex<Seen>) -> Result<()> {
    let consumer: BaseConsumer = client::config(&place.bootstrap)
        .set("group.id", "kmirror-tests-lag")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "50")
        .create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&place.topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    while !ended.load(Ordering::Acquire) {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let written = message
            .timestamp()
            .to_millis()
            .context("records have times")?;
        let late = u64::try_from(now_ms()? - written).unwrap_or(0);
        let mut seen = seen.lock().expect("no panic while the lock is held");
        seen.entry(message.partition())
            .or_default()
            .push((written, late));
    }
    Ok(())
}
