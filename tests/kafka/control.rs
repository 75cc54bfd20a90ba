//! Control records on real brokers: transactions, the lock and its races, fencing, following, progress.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use indexmap::IndexMap;
use kmirror::control::progress::{self, Entry};
use kmirror::control::records::{
    Anchor, DesiredState, IncarnationId, LINKS_TOPIC, LinkRecord, LockRecord, MapRecord,
    MirrorRecord, OFFSETS_TOPIC, OffsetsKey, Owner, ProgressRecord, RECORD_VERSION, StartSpec,
    TimestampsSpec, WORK_TOPIC,
};
use kmirror::control::{self, ControlError, ControlWriter, LockError, Watch, Write};
use kmirror::kafka::{Client, Topics};
use kmirror::topology::selector::{RenameRule, TopicSelector};
use uuid::Uuid;

use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::wire::{block_on, connect};

pub fn tests() -> Vec<Test> {
    let test = |name, tier, brokers, seconds, body| Test {
        name,
        tier,
        brokers,
        seconds,
        body,
    };
    vec![
        test("control::records", Tier::Readme, 1, 60, |lab| {
            records(&Spec::new("kraft", Version::V4_3).start(lab)?)
        }),
        test("control::records_on_3_9", Tier::Long, 1, 60, |lab| {
            records(&Spec::new("kraft", Version::V3_9).start(lab)?)
        }),
        test(
            "control::records_with_zookeeper",
            Tier::Long,
            2,
            60,
            |lab| records(&Spec::new("zk", Version::V3_9).zookeeper().start(lab)?),
        ),
        test(
            "control::records_on_three_nodes",
            Tier::Long,
            3,
            90,
            |lab| records(&Spec::new("three", Version::V4_3).nodes(3).start(lab)?),
        ),
        test(
            "control::brokers_die_under_commits",
            Tier::Long,
            3,
            120,
            brokers_die_under_commits,
        ),
        test("control::a_dead_holder", Tier::Long, 1, 60, |lab| {
            let cluster = Spec::new("kraft", Version::V4_3).start(lab)?;
            let bootstrap = cluster.bootstrap();
            block_on(a_dead_holder_is_taken_over_and_refused(&bootstrap))
        }),
    ]
}

/// Brokers are killed in turn while a holder commits: what commit() acknowledged stands, in order.
fn brokers_die_under_commits(lab: &Lab) -> Result<()> {
    let mut cluster = Spec::new("three", Version::V4_3).nodes(3).start(lab)?;
    let bootstrap = cluster.bootstrap();
    let stop = AtomicBool::new(false);
    let (acknowledged, link) = std::thread::scope(|scope| {
        let committing = scope.spawn(|| {
            block_on(async {
                let client = connect(&bootstrap).await?;
                let mut writer =
                    ControlWriter::acquire(&client, lock("holder"), Duration::ZERO).await?;
                let link = link("l");
                let mut acknowledged = 0;
                while !stop.load(Ordering::Relaxed) {
                    let record = LinkRecord {
                        generation: acknowledged + 1,
                        ..link.clone()
                    };
                    let mirror = mirror(link.id, 1);
                    match writer
                        .commit(vec![Write::Link(record), Write::Mirror(mirror)])
                        .await
                    {
                        Ok(()) => acknowledged += 1,
                        Err(ControlError::Kafka(error)) => eprintln!("not this time: {error}"),
                        Err(error) => return Err(error.into()),
                    }
                }
                writer.release().await?;
                anyhow::Ok((acknowledged, link.id))
            })
        });
        let killing = (0..6).try_for_each(|round| {
            std::thread::sleep(Duration::from_secs(1));
            cluster.kill(round % 3)?;
            std::thread::sleep(Duration::from_secs(3));
            cluster.start(round % 3)
        });
        stop.store(true, Ordering::Relaxed);
        let committed = committing.join().expect("committing does not panic");
        killing?;
        committed
    })?;
    lab.note(format!("{acknowledged} commits"));
    let found = block_on(async { state(&connect(&bootstrap).await?).await })?;
    let generation = found.links[&link].generation;
    ensure!(
        generation == acknowledged && found.lock.is_none(),
        "{acknowledged} acknowledged, {generation} found"
    );
    // Each commit carried one more mirror.
    ensure!(
        found.mirrors.len() as u64 >= acknowledged,
        "{} mirrors after {acknowledged} commits",
        found.mirrors.len()
    );
    Ok(())
}

fn records(cluster: &Cluster) -> Result<()> {
    let bootstrap = cluster.bootstrap();
    block_on(async {
        keeps_what_is_desired(&bootstrap).await?;
        a_live_holder_is_waited_for(&bootstrap).await?;
        a_fenced_holder_learns_by_whom(&bootstrap).await?;
        newcomers_race_without_losing_anything(&bootstrap).await?;
        a_watch_follows_changes(&bootstrap).await?;
        keeps_progress(&bootstrap).await
    })
}

/// A destination that kmirror has never touched.
async fn fresh(bootstrap: &str) -> Result<Client> {
    let client = connect(bootstrap).await?;
    let names = [LINKS_TOPIC, OFFSETS_TOPIC, WORK_TOPIC].map(str::to_owned);
    client.admin().delete_topics(names.to_vec()).await;
    let started = Instant::now();
    loop {
        let metadata = client.metadata(Topics::Named(&names)).await?;
        if metadata.topics.iter().all(|topic| !topic.error.is_ok()) {
            return Ok(client);
        }
        ensure!(
            started.elapsed() < Duration::from_secs(20),
            "the topics go away"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn lock(holder: &str) -> LockRecord {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    LockRecord {
        version: RECORD_VERSION,
        holder: holder.to_owned(),
        since_ms: since.map_or(0, |since| since.as_millis() as i64),
        command: "apply".to_owned(),
    }
}

fn link(name: &str) -> LinkRecord {
    LinkRecord {
        version: RECORD_VERSION,
        id: Uuid::new_v4(),
        name: name.to_owned(),
        owner: Owner::File,
        source_cluster_id: "source".into(),
        destination_cluster_id: "destination".into(),
        topics: vec![
            TopicSelector::from_text("orders-*").expect("a glob"),
            TopicSelector::from_regex("eu-[a-z]+").expect("a regex"),
        ],
        exclude: vec![],
        rename: RenameRule::Prefix("east.".into()),
        auto_create: true,
        start: StartSpec::Earliest,
        timestamps: TimestampsSpec::AsConsumed,
        replication_factor: None,
        state: DesiredState::Active,
        mirrors: IndexMap::new(),
        generation: 1,
    }
}

fn mirror(link: Uuid, n: usize) -> MirrorRecord {
    MirrorRecord {
        version: RECORD_VERSION,
        id: IncarnationId {
            link,
            source_topic: Uuid::new_v4(),
            destination_topic: Uuid::new_v4(),
        },
        source_topic: format!("orders-{n}"),
        destination_topic: format!("east.orders-{n}"),
        producer_id: n as i64,
        producer_epoch: 0,
        state: DesiredState::Active,
        initial_partitions: 3,
        generation: 1,
    }
}

async fn state(client: &Client) -> Result<control::ControlState> {
    control::read(client).await?.context("the topic exists")
}

/// A whole story: nothing there, lock, links and mirrors in transactions, read back at once, released.
async fn keeps_what_is_desired(bootstrap: &str) -> Result<()> {
    let client = fresh(bootstrap).await?;
    ensure!(
        control::read(&client).await?.is_none(),
        "nothing was ever applied"
    );
    let me = lock("me@here (1)");
    let mut writer = ControlWriter::acquire(&client, me.clone(), Duration::ZERO).await?;
    ensure!(state(&client).await?.lock == Some(me));
    let link = link("east-to-west");
    let mirrors: Vec<_> = (0..3000).map(|n| mirror(link.id, n)).collect();
    let mut changes = vec![Write::Link(link.clone())];
    changes.extend(mirrors.iter().cloned().map(Write::Mirror));
    writer.commit(changes).await?;
    // Another reader sees it as soon as commit() has returned, all of it.
    let other = connect(bootstrap).await?;
    for (round, dropped) in mirrors.iter().enumerate().take(20) {
        let found = state(&other).await?;
        ensure!(found.mirrors.len() == 3000 - round && found.links.len() == 1);
        ensure!(writer.state().mirrors.len() == 3000 - round);
        let kept = &found.links[&link.id];
        ensure!(kept.topics[0].matches("orders-1") && kept.topics[1].matches("eu-x"));
        writer.commit(vec![Write::DropMirror(dropped.id)]).await?;
    }
    writer.commit(vec![]).await?;
    writer.release().await?;
    ensure!(state(&client).await?.lock.is_none());
    // The next one builds on it.
    let mut writer = ControlWriter::acquire(&client, lock("next"), Duration::ZERO).await?;
    ensure!(writer.state().mirrors.len() == 2980);
    writer.commit(vec![Write::DropLink(link.id)]).await?;
    writer.release().await?;
    ensure!(state(&client).await?.links.is_empty());
    control::ensure_topics(&client).await?;
    Ok(())
}

/// A live holder is named; once it lets go, the one who waits gets the lock.
async fn a_live_holder_is_waited_for(bootstrap: &str) -> Result<()> {
    let client = fresh(bootstrap).await?;
    let first = lock("first@here (1)");
    let holder = ControlWriter::acquire(&client, first.clone(), Duration::ZERO).await?;
    let second = connect(bootstrap).await?;
    let started = Instant::now();
    let refused = ControlWriter::acquire(&second, lock("second"), Duration::from_secs(2)).await;
    match refused {
        Err(LockError::Held { record, age }) => {
            ensure!(record == first && age < Duration::from_secs(10), "{age:?}");
        }
        other => anyhow::bail!("{other:?}"),
    }
    ensure!((2..4).contains(&started.elapsed().as_secs()));
    // The holder was not disturbed by the look.
    let waiting = tokio::spawn(async move {
        ControlWriter::acquire(&second, lock("second"), Duration::from_secs(20)).await
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    holder.release().await?;
    let writer = waiting.await??;
    ensure!(writer.state().lock.is_none() || state(&client).await?.lock.is_some());
    writer.release().await?;
    Ok(())
}

/// A holder that is renewed stays the holder beyond the bound; one that died without a word is taken
/// over after it, and is told who did it should it wake up.
async fn a_dead_holder_is_taken_over_and_refused(bootstrap: &str) -> Result<()> {
    let client = fresh(bootstrap).await?;
    let renewed = ControlWriter::acquire(&client, lock("alive"), Duration::ZERO).await?;
    let other = connect(bootstrap).await?;
    let refused = ControlWriter::acquire(&other, lock("other"), Duration::from_secs(17)).await;
    ensure!(
        matches!(refused, Err(LockError::Held { .. })),
        "renewed, so alive"
    );
    // Dropped without release: it looks like a holder that was killed.
    drop(renewed);
    let started = Instant::now();
    let mut writer = ControlWriter::acquire(&other, lock("other"), Duration::from_secs(40)).await?;
    ensure!(
        (12..25).contains(&started.elapsed().as_secs()),
        "{:?}",
        started.elapsed()
    );
    writer.commit(vec![Write::Link(link("l"))]).await?;
    writer.release().await?;
    Ok(())
}

/// Somebody who takes over by force: the one before is refused and learns by whom.
async fn a_fenced_holder_learns_by_whom(bootstrap: &str) -> Result<()> {
    let client = fresh(bootstrap).await?;
    let mut first = ControlWriter::acquire(&client, lock("first"), Duration::ZERO).await?;
    let link = link("l");
    first.commit(vec![Write::Link(link.clone())]).await?;
    // Fenced by a newcomer that then does nothing: the lock still stands, so the right is taken back.
    let admin = client.admin();
    let id = kmirror::control::records::CONTROL_TRANSACTIONAL_ID;
    for n in 0..5 {
        admin.init_producer_id(Some(id), 30_000).await?;
        first
            .commit(vec![Write::Mirror(mirror(link.id, n))])
            .await?;
    }
    ensure!(state(&client).await?.mirrors.len() == 5);
    // The lock is taken by another record: over.
    let usurper = lock("usurper");
    overwrite_lock(&client, &usurper).await?;
    let refused = first.commit(vec![Write::DropLink(link.id)]).await;
    match refused {
        Err(ControlError::Fenced { by: Some(by) }) => ensure!(by == usurper),
        other => anyhow::bail!("{other:?}"),
    }
    ensure!(
        state(&client).await?.links.len() == 1,
        "nothing was changed"
    );
    ensure!(matches!(
        first.release().await,
        Err(ControlError::Fenced { .. })
    ));
    ensure!(
        state(&client).await?.lock == Some(usurper),
        "nor was the lock"
    );
    Ok(())
}

/// Releases what stands and writes another lock, as somebody who took over would have done.
async fn overwrite_lock(client: &Client, record: &LockRecord) -> Result<()> {
    let writer = ControlWriter::steal(client, record.clone()).await?;
    // Forgotten, so that it neither renews nor releases.
    std::mem::forget(writer);
    Ok(())
}

/// Many newcomers at once: one after the other gets the lock, none of their changes is lost.
async fn newcomers_race_without_losing_anything(bootstrap: &str) -> Result<()> {
    const RACERS: usize = 6;
    let client = fresh(bootstrap).await?;
    control::ensure_topics(&client).await?;
    let counter = link("counter");
    let id = counter.id;
    let mut writer = ControlWriter::acquire(&client, lock("setup"), Duration::ZERO).await?;
    writer
        .commit(vec![Write::Link(LinkRecord {
            generation: 0,
            ..counter
        })])
        .await?;
    writer.release().await?;
    let racers = (0..RACERS).map(|n| {
        let bootstrap = bootstrap.to_owned();
        tokio::spawn(async move {
            let client = connect(&bootstrap).await?;
            for round in 0..3 {
                let lock = lock(&format!("racer {n}.{round}"));
                let mut writer =
                    ControlWriter::acquire(&client, lock, Duration::from_secs(120)).await?;
                let mut record = writer.state().links[&id].clone();
                record.generation += 1;
                writer.commit(vec![Write::Link(record)]).await?;
                writer.release().await?;
            }
            anyhow::Ok(())
        })
    });
    for racer in racers.collect::<Vec<_>>() {
        racer.await??;
    }
    let found = state(&client).await?;
    ensure!(
        found.links[&id].generation == (RACERS * 3) as u64,
        "{}",
        found.links[&id].generation
    );
    ensure!(found.lock.is_none());
    Ok(())
}

/// A worker hears of changes, and only of those.
async fn a_watch_follows_changes(bootstrap: &str) -> Result<()> {
    let client = fresh(bootstrap).await?;
    control::ensure_topics(&client).await?;
    let mut watch = Watch::start(connect(bootstrap).await?);
    ensure!(
        watch.changed().await?.links.is_empty(),
        "the first state comes at once"
    );
    let mut writer = ControlWriter::acquire(&client, lock("me"), Duration::ZERO).await?;
    let link = link("l");
    for generation in 1..=5 {
        let record = LinkRecord {
            generation,
            ..link.clone()
        };
        let started = Instant::now();
        writer
            .commit(vec![Write::Link(record), Write::Mirror(mirror(link.id, 1))])
            .await?;
        let seen = tokio::time::timeout(Duration::from_secs(5), watch.changed()).await??;
        ensure!(seen.links[&link.id].generation == generation);
        ensure!(
            seen.mirrors.len() as u64 == generation,
            "a transaction is seen whole"
        );
        ensure!(started.elapsed() < Duration::from_secs(3));
    }
    // Renewals of the lock are no news.
    let quiet = tokio::time::timeout(Duration::from_secs(5), watch.changed()).await;
    ensure!(quiet.is_err(), "{quiet:?}");
    writer.release().await?;
    Ok(())
}

/// Progress is written in batches and read back, the last record of each key.
async fn keeps_progress(bootstrap: &str) -> Result<()> {
    let client = fresh(bootstrap).await?;
    control::ensure_topics(&client).await?;
    let ids: Vec<_> = (0..20).map(|n| mirror(Uuid::new_v4(), n).id).collect();
    let all: HashSet<_> = ids.iter().copied().collect();
    ensure!(progress::read(&client, &all).await?.is_empty());
    let record = |n: i64| ProgressRecord {
        version: RECORD_VERSION,
        anchors: vec![Anchor {
            source_offset: n,
            source_leader_epoch: 0,
            destination_offset: n,
            count: n,
            epoch: 0,
        }],
        map_chunk: 1,
    };
    for round in 0..30_i64 {
        let mut entries: Vec<(OffsetsKey, Option<Entry>)> = Vec::new();
        for &id in &ids {
            for partition in 0..10 {
                let map = MapRecord {
                    version: RECORD_VERSION,
                    runs: vec![[round, 0, 1]; 50],
                };
                entries.push((
                    OffsetsKey::Progress { id, partition },
                    Some(Entry::Progress(record(round))),
                ));
                entries.push((
                    OffsetsKey::Map {
                        id,
                        partition,
                        chunk: round as u32 % 2,
                    },
                    Some(Entry::Map(map)),
                ));
            }
        }
        progress::write(&client, &entries).await?;
    }
    let some: HashSet<_> = ids[..5].iter().copied().collect();
    let stored = progress::read(&client, &some).await?;
    ensure!(stored.len() == 50);
    for ((id, _), stored) in &stored {
        ensure!(some.contains(id) && stored.record == record(29) && stored.chunks.len() == 2);
        ensure!(stored.chunks[&1].runs[0][0] == 29 && stored.chunks[&0].runs[0][0] == 28);
    }
    let id = ids[0];
    let gone: Vec<_> = (0..10)
        .map(|partition| (OffsetsKey::Progress { id, partition }, None))
        .collect();
    progress::write(&client, &gone).await?;
    let left: HashMap<_, _> = progress::read(&client, &some).await?;
    ensure!(left.len() == 40);
    Ok(())
}
