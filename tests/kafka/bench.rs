//! What the mirror does against what others do, against what the brokers can do, and against its targets.
//!
//! A copier's clock and CPU account run from the first record seen at the destination to the last one, so that start-up
//! (of a JVM and of Connect in particular) counts for nobody. All of one row is measured on the same brokers, in one
//! run. `scripts/bench` runs these; docs/performance.md has figures.

mod copiers;
mod far;
mod latency;
mod load;
mod replay;

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::copy::topology;
use crate::faults::ACKS_1;
use crate::support::client::{self, Place, Watch};
use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::{Heap, Version};
use crate::support::lab::Lab;
use crate::support::ports::Port;
use crate::support::process;
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;
use copiers::{Outcome, TUNINGS};
use load::{Load, TOPIC, fill, settle};
use replay::replay;

pub fn tests() -> Vec<Test> {
    let test = |name, seconds, body| Test {
        name,
        tier: Tier::Bench,
        brokers: 3,
        seconds,
        body,
    };
    vec![
        test("bench::records_of_1_kilobyte", 400, |lab| {
            compare(lab, kilobyte("none"), 4.0, Some(0.5))
        }),
        test("bench::records_of_1_kilobyte_lz4", 400, |lab| {
            compare(lab, kilobyte("lz4"), 4.0, Some(0.5))
        }),
        test("bench::records_of_1_kilobyte_zstd", 400, |lab| {
            compare(lab, kilobyte("zstd"), 4.0, Some(0.5))
        }),
        test("bench::records_of_100_bytes_lz4", 400, |lab| {
            compare(lab, HUNDRED_BYTES, 7.0, Some(0.8))
        }),
        test("bench::one_record_batches_in_1_partition", 400, |lab| {
            compare(lab, one_record(1), 2.0, None)
        }),
        test("bench::one_record_batches_in_4_partitions", 400, |lab| {
            compare(lab, one_record(4), 2.0, None)
        }),
        test("bench::a_distant_source", 240, |lab| {
            distant(lab, End::Source)
        }),
        test("bench::a_distant_destination", 240, |lab| {
            distant(lab, End::Destination)
        }),
        test("bench::marked_records", 200, |lab| {
            marked(lab, kilobyte("none"))
        }),
        test("bench::marked_records_lz4", 200, |lab| {
            marked(lab, kilobyte("lz4"))
        }),
        test("bench::transactions", 240, transactions),
        test("bench::replicated_destination", 240, replicated),
        test("bench::latency", 300, latency_alone),
        test(
            "bench::latency_beside_a_catch_up",
            150,
            latency_beside_a_catch_up,
        ),
        test("bench::ten_thousand_idle_partitions", 600, idle),
        test("bench::limit", 120, limit),
    ]
}

fn kilobyte(codec: &'static str) -> Load {
    Load {
        title: match codec {
            "none" => "1 KB records, 256 KB batches, uncompressed",
            "lz4" => "1 KB records, 256 KB batches, lz4 (incompressible)",
            _ => "1 KB records, 256 KB batches, zstd (incompressible)",
        },
        partitions: 4,
        record_bytes: 1_000,
        records: 1_500_000,
        batch_bytes: 262_144,
        batch_records: 100_000,
        codec,
    }
}

const HUNDRED_BYTES: Load = Load {
    title: "100 B records, 16 KB batches, lz4 (incompressible)",
    partitions: 4,
    record_bytes: 100,
    records: 6_000_000,
    batch_bytes: 16_384,
    batch_records: 100_000,
    codec: "lz4",
};

fn one_record(partitions: i32) -> Load {
    Load {
        title: if partitions == 1 {
            "100 B records, one a batch, 1 partition"
        } else {
            "100 B records, one a batch, 4 partitions"
        },
        partitions,
        record_bytes: 100,
        records: 600_000,
        batch_bytes: 16_384,
        batch_records: 1,
        codec: "none",
    }
}

fn spec(name: &str) -> Spec {
    Spec::new(name, Version::V4_3)
        .heap(Heap::Fast)
        .config("num.io.threads", "4")
        // What a former run wrote must not fill the disk.
        .config("log.segment.delete.delay.ms", "1000")
}

/// One figure beside its target.
fn tell(what: &str, figure: f64, unit: &str, target: f64, at_least: bool) {
    let met = if at_least {
        figure >= target
    } else {
        figure <= target
    };
    println!(
        "{what:>44} {figure:>10.2} {unit:<8} target {} {target:<8} {}",
        if at_least { ">=" } else { "<=" },
        if met { "met" } else { "MISSED" }
    );
}

fn row(name: &str, outcome: &Outcome) {
    println!(
        "{name:>16} {:>10.0} {:>12.0} {:>12.2} {:>12.0}",
        outcome.megabytes_per_second(),
        outcome.records_per_second(),
        outcome.cpu_per_gigabyte(),
        outcome.peak_memory_mib
    );
}

fn heading(load: Load) {
    let average = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "\n{}, {} partitions, {} records (load average {})",
        load.title,
        load.partitions,
        load.records,
        average.split(' ').next().unwrap_or("unknown")
    );
    println!(
        "{:>16} {:>10} {:>12} {:>12} {:>12}",
        "", "MB/s", "records/s", "CPU s/GB", "peak MiB"
    );
}

fn compare(lab: &Lab, load: Load, times: f64, cpu: Option<f64>) -> Result<()> {
    let (source, destination) = (spec("source").start(lab)?, spec("destination").start(lab)?);
    fill(lab, &source, load)?;
    // Brokers run their hot paths several times as fast once they are compiled.
    replay(&source, &destination, load, "warm-up", 64, true)?;
    destination
        .tools()
        .topics(&["--delete", "--topic", "warm-up"])?;
    settle()?;
    heading(load);
    let early = copiers::kmirror(lab, &source, &destination, load)?;
    row("kmirror", &early);
    forget_mirror(&destination)?;
    let brokers = replay(&source, &destination, load, "limit", 64, true)? / 1e6;
    println!("{:>16} {brokers:>10.0}", "brokers' limit");
    destination
        .tools()
        .topics(&["--delete", "--topic", "limit"])?;
    settle()?;
    let mut theirs: Option<Outcome> = None;
    for tuning in TUNINGS {
        let outcome = copiers::mirror_maker(lab, &source, &destination, load, tuning)?;
        lab.note(format!("MirrorMaker 2 with {tuning:?}: {outcome:?}"));
        if theirs
            .as_ref()
            .is_none_or(|best| outcome.megabytes_per_second() > best.megabytes_per_second())
        {
            theirs = Some(outcome);
        }
        settle()?;
    }
    let theirs = theirs.context("MirrorMaker 2 was run")?;
    row("MirrorMaker 2", &theirs);
    let simple = copiers::librdkafka(lab, &source, &destination, load)?;
    row("librdkafka loop", &simple);
    settle()?;
    // MirrorMaker 2 has had several runs too, on brokers that had worked for longer.
    let late = copiers::kmirror(lab, &source, &destination, load)?;
    row("kmirror again", &late);
    let ours = if late.megabytes_per_second() > early.megabytes_per_second() {
        late
    } else {
        early
    };

    let ratio = ours.megabytes_per_second() / theirs.megabytes_per_second();
    tell("MirrorMaker 2's rate", ratio, "times", times, true);
    if let Some(cpu) = cpu {
        tell("CPU", ours.cpu_per_gigabyte(), "s/GB", cpu, false);
    }
    tell(
        "the brokers' own limit",
        ours.megabytes_per_second() / brokers,
        "times",
        0.9,
        true,
    );
    tell("peak memory", ours.peak_memory_mib, "MiB", 200.0, false);
    Ok(())
}

/// The next run begins with a cluster that knows no mirror.
fn forget_mirror(destination: &Cluster) -> Result<()> {
    let topics = format!("copy.{TOPIC}|_kmirror.*");
    destination
        .tools()
        .topics(&["--delete", "--topic", &topics])?;
    settle()
}

/// What it costs to mark each record with where it came from.
fn marked(lab: &Lab, load: Load) -> Result<()> {
    let (source, destination) = (spec("source").start(lab)?, spec("destination").start(lab)?);
    fill(lab, &source, load)?;
    replay(&source, &destination, load, "warm-up", 64, true)?;
    heading(load);
    let plain = copiers::kmirror(lab, &source, &destination, load)?;
    row("as bytes", &plain);
    forget_mirror(&destination)?;
    let text = topology(&source, &destination, TOPIC) + "provenance_header = true\n";
    let marked = copiers::kmirror_with(lab, &source, &destination, load, &text)?;
    row("marked", &marked);
    Ok(())
}

enum End {
    Source,
    Destination,
}

const ROUND_TRIP: Duration = Duration::from_millis(100);

/// A cluster whose clients reach it over a line with a round trip of 100 ms.
fn far_away(lab: &Lab, name: &str) -> Result<(Cluster, String)> {
    let proxy = Port::free()?;
    let listener = {
        let address = proxy.address();
        drop(proxy);
        TcpListener::bind(address)?
    };
    let address = listener.local_addr()?.to_string();
    let near = Port::free()?;
    let (number, near_address) = (near.number(), near.address());
    drop(near);
    let cluster = spec(name)
        .port(number)
        .listener("FAR", "PLAINTEXT")
        .config(
            "advertised.listeners",
            &format!("PLAINTEXT://{near_address},FAR://{address}"),
        )
        .start(lab)?;
    far::delay(listener, cluster.address("FAR"), ROUND_TRIP / 2);
    Ok((cluster, address))
}

fn distant(lab: &Lab, end: End) -> Result<()> {
    let load = Load {
        records: 1_500_000,
        ..kilobyte("none")
    };
    let ((source, from), (destination, to)) = match end {
        End::Source => (far_away(lab, "source")?, near(lab, "destination")?),
        End::Destination => (near(lab, "source")?, far_away(lab, "destination")?),
    };
    fill(lab, &source, load)?;
    replay(&source, &destination, load, "warm-up", 64, true)?;
    destination
        .tools()
        .topics(&["--delete", "--topic", "warm-up"])?;
    settle()?;
    heading(load);
    let text = topology(&source, &destination, TOPIC)
        .replacen(&source.bootstrap(), &from, 1)
        .replacen(&destination.bootstrap(), &to, 1);
    let ours = copiers::kmirror_with(lab, &source, &destination, load, &text)?;
    row("kmirror", &ours);
    let what = match end {
        End::Source => "a source 100 ms away",
        End::Destination => "a destination 100 ms away",
    };
    tell(what, ours.megabytes_per_second(), "MB/s", 250.0, true);
    Ok(())
}

fn near(lab: &Lab, name: &str) -> Result<(Cluster, String)> {
    let cluster = spec(name).start(lab)?;
    let bootstrap = cluster.bootstrap();
    Ok((cluster, bootstrap))
}

/// A source where 100 transactions a second are committed in each of four partitions.
fn transactions(lab: &Lab) -> Result<()> {
    const PRODUCERS: u32 = 12;
    const SECONDS: Duration = Duration::from_secs(20);
    let (source, destination) = (spec("source").start(lab)?, spec("destination").start(lab)?);
    source.tools().create_topic(TOPIC, 4, &[])?;
    let kmirror = Kmirror::new(lab, &topology(&source, &destination, TOPIC))?;
    kmirror.ok("apply", &["--yes"])?;
    let mut worker = kmirror.start(&[])?;
    let began = Instant::now();
    // librdkafka commits some ten times a second, so several take part.
    let bootstrap = source.bootstrap();
    let commits: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PRODUCERS)
            .map(|n| {
                let bootstrap = &bootstrap;
                scope.spawn(move || commit_for(bootstrap, n, SECONDS))
            })
            .collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        joined.sum::<Result<u32>>()
    })?;
    let (committed, took) = (Instant::now(), began.elapsed());
    let records = u64::from(commits) * RECORDS_A_COMMIT as u64;
    let watch = Watch::new(
        &Place::new(destination.bootstrap(), format!("copy.{TOPIC}")),
        4,
    )?;
    while watch.records() < records {
        ensure!(
            committed.elapsed() < Duration::from_secs(60),
            "{} of {records}",
            watch.records()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let behind = committed.elapsed();
    worker.stop(Duration::from_secs(30))?;
    println!("\ntransactions of 10 records in each of 4 partitions");
    let rate = f64::from(commits) / took.as_secs_f64();
    tell("commits in each partition", rate, "a second", 95.0, true);
    tell(
        "behind after the last commit",
        behind.as_secs_f64(),
        "s",
        1.0,
        false,
    );
    Ok(())
}

const RECORDS_A_COMMIT: usize = 40;

/// Commits transactions one after the other, each with records in all four partitions. How many.
fn commit_for(bootstrap: &str, number: u32, lasts: Duration) -> Result<u32> {
    let producer: BaseProducer = client::config(bootstrap)
        .set("transactional.id", format!("bench-{number}"))
        .create()?;
    producer.init_transactions(Duration::from_secs(30))?;
    let payload = vec![b'x'; 1_000];
    let began = Instant::now();
    let mut commits = 0;
    while began.elapsed() < lasts {
        producer.begin_transaction()?;
        for partition in (0..4).cycle().take(RECORDS_A_COMMIT) {
            let record = BaseRecord::<[u8], [u8]>::to(TOPIC)
                .partition(partition)
                .payload(&payload);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.commit_transaction(Duration::from_secs(30))?;
        commits += 1;
    }
    Ok(commits)
}

/// Three replicas, two of which have to have a record; against writing one batch a partition at a time.
fn replicated(lab: &Lab) -> Result<()> {
    let load = Load {
        title: "100 B records, 15 KB batches, uncompressed, 1 partition, to 3 replicas",
        // What is compared writes over one connection, to one leader.
        partitions: 1,
        batch_bytes: 15_000,
        records: 1_000_000,
        codec: "none",
        ..HUNDRED_BYTES
    };
    let source = spec("source").start(lab)?;
    let destination = spec("destination")
        .nodes(3)
        .config("default.replication.factor", "3")
        .config("min.insync.replicas", "2")
        .start(lab)?;
    fill(lab, &source, load)?;
    replay(&source, &destination, load, "warm-up", 16, false)?;
    destination
        .tools()
        .topics(&["--delete", "--topic", "warm-up"])?;
    settle()?;
    heading(load);
    let text = topology(&source, &destination, TOPIC)
        .replace("replication_factor = 1", "replication_factor = 3");
    let mut best: f64 = 0.0;
    for (name, setting) in [("kmirror acks=all", ""), ("kmirror acks=1", ACKS_1)] {
        let text = format!("{text}{setting}");
        let ours = copiers::kmirror_with(lab, &source, &destination, load, &text)?;
        row(name, &ours);
        best = best.max(ours.megabytes_per_second());
        forget_mirror(&destination)?;
    }
    let lock_step = replay(&source, &destination, load, "lock-step", 1, false)? / 1e6;
    println!("{:>16} {lock_step:>10.0}", "lock-step");
    tell(
        "acks=all in lock-step",
        best / lock_step,
        "times",
        3.0,
        true,
    );
    Ok(())
}

const LIVE: &str = "live";

fn latency_alone(lab: &Lab) -> Result<()> {
    let (source, destination) = (spec("source").start(lab)?, spec("destination").start(lab)?);
    source.tools().create_topic(LIVE, 1, &[])?;
    let kmirror = Kmirror::new(lab, &topology(&source, &destination, LIVE))?;
    kmirror.ok("apply", &["--yes"])?;
    destination.tools().create_topic("loop", 1, &[])?;
    let at = Place::new(source.bootstrap(), LIVE);
    let copy = Place::new(destination.bootstrap(), format!("copy.{LIVE}"));
    let looped = Place::new(destination.bootstrap(), "loop");
    // Brokers first compile what they run. Both then have their turns on the same ones.
    let (warm_up, run) = (Duration::from_secs(15), Duration::from_secs(15));
    let mut best: Option<latency::Latency> = None;
    for turn in 0..3 {
        let mut worker = kmirror.start(&[])?;
        latency::added(&at, &copy, 1_000, warm_up)?;
        let added = latency::added(&at, &copy, 1_000, run)?;
        worker.stop(Duration::from_secs(30))?;
        println!("\nlatency added at 1,000 records a second, turn {turn}: {added}");
        if best.is_none_or(|best| added.p99 < best.p99) {
            best = Some(added);
        }
        let done = AtomicBool::new(false);
        let added = std::thread::scope(|scope| {
            let passing = scope.spawn(|| latency::pass_on(&at, &looped, &done));
            let added = latency::added(&at, &looped, 1_000, Duration::from_secs(5))
                .and_then(|_| latency::added(&at, &looped, 1_000, run));
            done.store(true, Ordering::Relaxed);
            passing.join().expect("no panic")?;
            added
        })?;
        println!("the same by a loop around librdkafka: {added}");
    }
    let best = best.expect("there were turns");
    tell("p99", best.p99, "ms", 10.0, false);
    Ok(())
}

/// A live topic, while the same worker copies another one from its beginning.
fn latency_beside_a_catch_up(lab: &Lab) -> Result<()> {
    let load = Load {
        records: 4_000_000,
        ..kilobyte("none")
    };
    let (source, destination) = (spec("source").start(lab)?, spec("destination").start(lab)?);
    source.tools().create_topic(LIVE, 1, &[])?;
    fill(lab, &source, load)?;
    // A limit below what the machine can do, so that what is seen is the order of things and not the lack of cores.
    let both = topology(&source, &destination, LIVE)
        + &format!(
            "\n[links.past]\nsource = \"source\"\ndestination = \"destination\"\ntopics = [\"{TOPIC}\"]\n\
             rename = \"past.${{topic}}\"\nreplication_factor = 1\nlimit = {{ bytes_per_second = \"50MB\" }}\n"
        );
    let kmirror = Kmirror::new(lab, &both)?;
    kmirror.ok("apply", &["--yes"])?;
    let mut worker = kmirror.start(&[])?;
    let at = Place::new(source.bootstrap(), LIVE);
    let copy = Place::new(destination.bootstrap(), format!("copy.{LIVE}"));
    // The worker joins its group, both mirrors begin, and brokers compile what they run.
    latency::added(&at, &copy, 1_000, Duration::from_secs(25))?;
    let added = latency::added(&at, &copy, 1_000, Duration::from_secs(20))?;
    let past = Watch::new(
        &Place::new(destination.bootstrap(), format!("past.{TOPIC}")),
        4,
    )?;
    let still_behind = past.records() < load.records;
    worker.stop(Duration::from_secs(30))?;
    ensure!(
        still_behind,
        "the catch-up was over too soon to mean anything"
    );
    println!("\nlatency added at 1,000 records a second beside a catch-up: {added}");
    tell("p99", added.p99, "ms", 100.0, false);
    Ok(())
}

/// Many partitions in which nothing happens.
fn idle(lab: &Lab) -> Result<()> {
    const TOPICS: usize = 20;
    let (source, destination) = (spec("source").start(lab)?, spec("destination").start(lab)?);
    let names: Vec<String> = (0..TOPICS).map(|n| format!("idle-{n}")).collect();
    for name in &names {
        client::create_topics(&source.bootstrap(), &[name], 500)?;
    }
    // Brokers take a while until they show them all.
    std::thread::sleep(Duration::from_secs(20));
    let kmirror = Kmirror::new(lab, &topology(&source, &destination, "idle-*"))?;
    kmirror.ok("apply", &["--yes"])?;
    let mut worker = kmirror.start(&[])?;
    // Partitions start, store where they begin, and find nothing to do.
    std::thread::sleep(Duration::from_secs(90));
    let (cpu, began) = (process::cpu_seconds(worker.pid())?, Instant::now());
    std::thread::sleep(Duration::from_secs(20));
    let used = (process::cpu_seconds(worker.pid())? - cpu) / began.elapsed().as_secs_f64();
    let memory = process::peak_memory_mib(worker.pid())?;
    worker.stop(Duration::from_secs(60))?;
    println!("\n10,000 idle partitions");
    tell("of a core", used * 100.0, "%", 5.0, false);
    tell("peak memory", memory, "MiB", 300.0, false);
    Ok(())
}

/// A link with a limit, copied by one worker.
fn limit(lab: &Lab) -> Result<()> {
    let load = kilobyte("none");
    let (source, destination) = (spec("source").start(lab)?, spec("destination").start(lab)?);
    fill(lab, &source, load)?;
    heading(load);
    let text = topology(&source, &destination, TOPIC) + "limit = { bytes_per_second = \"60MB\" }\n";
    let ours = copiers::kmirror_with(lab, &source, &destination, load, &text)?;
    row("kmirror", &ours);
    let rate = ours.megabytes_per_second();
    println!("{:>44} {rate:>10.2} MB/s", "with a limit of 60 MB/s");
    ensure!((57.0..63.0).contains(&rate), "{rate} MB/s");
    Ok(())
}
