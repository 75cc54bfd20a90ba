//! Control records: transactions, the lock and its races, fencing, following, progress.
//!
//! Judged by real Kafka (tests/kafka) and by the sandbox (tests/conformance.rs) alike.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use indexmap::IndexMap;
use kmirror::control::progress::{self, Entry};
use kmirror::control::records::{
    Acks, Alignment, Anchor, DesiredState, ForeignWrites, IncarnationId, LINKS_TOPIC, LinkRecord,
    LockRecord, MapRecord, MirrorRecord, OFFSETS_TOPIC, OffsetsKey, OffsetsSpec, Owner,
    ProgressRecord, RECORD_VERSION, StartSpec, TimestampsSpec, WORK_TOPIC,
};
use kmirror::control::{self, ControlError, ControlWriter, LockError, Watch, Write};
use kmirror::kafka::{Client, Topics};
use kmirror::topology::selector::{RenameRule, TopicSelector};
use uuid::Uuid;

use super::wire::connect;

/// A destination that kmirror has never touched.
pub async fn fresh(bootstrap: &str) -> Result<Client> {
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

pub fn lock(holder: &str) -> LockRecord {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    LockRecord {
        version: RECORD_VERSION,
        holder: holder.to_owned(),
        since_ms: since.map_or(0, |since| since.as_millis() as i64),
        command: "apply".to_owned(),
    }
}

pub fn link(name: &str) -> LinkRecord {
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
        offsets: OffsetsSpec::Translate,
        replication_factor: None,
        bytes_per_second: None,
        acks: Acks::All,
        on_foreign_write: ForeignWrites::Stop,
        provenance_header: false,
        state: DesiredState::Active,
        mirrors: IndexMap::new(),
        generation: 1,
    }
}

pub fn mirror(link: Uuid, n: usize) -> MirrorRecord {
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
        provenance_header: false,
        state: DesiredState::Active,
        initial_partitions: 3,
        generation: 1,
        ending: None,
        takes_over: None,
    }
}

pub async fn state(client: &Client) -> Result<control::ControlState> {
    control::read(client).await?.context("the topic exists")
}

/// A whole story: nothing there, lock, links and mirrors in transactions, read back at once, released.
pub async fn keeps_what_is_desired(bootstrap: &str) -> Result<()> {
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
pub async fn a_live_holder_is_waited_for(bootstrap: &str) -> Result<()> {
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

/// Somebody who takes over by force: the one before is refused and learns by whom.
pub async fn a_fenced_holder_learns_by_whom(bootstrap: &str) -> Result<()> {
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

/// Writes another lock, as somebody who took over would have done. Dropped, it is not renewed.
async fn overwrite_lock(client: &Client, record: &LockRecord) -> Result<()> {
    drop(ControlWriter::steal(client, record.clone()).await?);
    Ok(())
}

/// Many newcomers at once: one after the other gets the lock, none of their changes is lost.
pub async fn newcomers_race_without_losing_anything(bootstrap: &str) -> Result<()> {
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
pub async fn a_watch_follows_changes(bootstrap: &str) -> Result<()> {
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
pub async fn keeps_progress(bootstrap: &str) -> Result<()> {
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
        alignment: Alignment::default(),
        pads_by_transactions: false,
        destination_leader_epoch: -1,
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
    for ((id, _), kept) in &stored {
        let stored = kept.progress.as_ref().context("it was stored")?;
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
