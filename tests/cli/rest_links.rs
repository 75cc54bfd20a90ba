//! Links that are made over REST: what is done to them, and workers that carry them, against embedded clusters.

use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use kmirror::client::Secret;
use kmirror::control::actions::MirrorAction;
use kmirror::control::records::{DesiredState, LockRecord, Owner, RECORD_VERSION, StoredConfig};
use kmirror::control::{self, ControlState};
use kmirror::kafka::Isolation;
use kmirror::kafka::admin::{ConfigChange, ConfigResource, OffsetSpec};
use kmirror::linking::operations::{Checks, Desk, NewLink, NewMirror, OtherEnd, Refusal};
use kmirror::linking::{Change, Configs, Key};
use kmirror::sandbox::{Sandbox, SandboxConfig};
use rdkafka::ClientConfig as RdConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::sandboxes::TwoClusters;
use crate::worker::{Worker, eventually};

pub const CHECKED: Checks = Checks {
    validate_only: false,
    validate_link: true,
};
pub const UNCHECKED: Checks = Checks {
    validate_only: false,
    validate_link: false,
};

pub fn changes(pairs: &[(&str, &str)]) -> Vec<Change> {
    pairs
        .iter()
        .map(|(name, value)| Change {
            name: (*name).to_owned(),
            value: Some(Secret::new(*value)),
        })
        .collect()
}

fn from_east(clusters: &TwoClusters, more: &[(&str, &str)]) -> NewLink {
    let servers = clusters.east.bootstrap_servers();
    let mut pairs = vec![("bootstrap.servers", servers.as_str())];
    pairs.extend(more);
    NewLink {
        name: "demo-link".to_owned(),
        other: Some(OtherEnd::Source("east-id".to_owned())),
        id: None,
        configs: changes(&pairs),
    }
}

pub fn mirror_of(topic: &str) -> NewMirror {
    NewMirror {
        source_topic: topic.to_owned(),
        ..NewMirror::default()
    }
}

pub fn desk(clusters: &TwoClusters, sandbox: &Sandbox, key: Option<&Arc<Key>>) -> Desk {
    Desk::new(clusters.client(sandbox), key.cloned(), "tests@here (1)")
}

pub fn state(clusters: &TwoClusters, sandbox: &Sandbox) -> ControlState {
    let client = clusters.client(sandbox);
    let state = clusters.block_on(control::read(&client));
    state.expect("readable").unwrap_or_default()
}

pub fn produce(sandbox: &Sandbox, topic: &str, count: usize) {
    let producer: BaseProducer = RdConfig::new()
        .set("bootstrap.servers", sandbox.bootstrap_servers())
        .create()
        .expect("a producer");
    for number in 1..=count {
        let text = number.to_string();
        let record = BaseRecord::to(topic).key(&text).payload(&text);
        producer.send(record).expect("there is room");
    }
    producer
        .flush(Duration::from_secs(10))
        .expect("all are taken");
}

/// Waits until the topic has so many offsets.
pub fn await_end(clusters: &TwoClusters, sandbox: &Sandbox, topic: &str, wanted: i64) {
    let admin = clusters.client(sandbox).admin();
    let what = format!("{topic} on {} has {wanted} records", sandbox.name());
    eventually(&what, || {
        let asked = vec![(topic.to_owned(), 0, OffsetSpec::Latest)];
        let found = clusters.block_on(admin.list_offsets(asked, Isolation::ReadUncommitted));
        let end = found[0].1.as_ref().map_or(-1, |listed| listed.offset);
        assert!(end <= wanted, "{topic} has {end} records");
        end == wanted
    });
}

pub fn words<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
    result.expect_err("is refused").to_string()
}

#[test]
fn a_link_made_over_rest_is_carried_promoted_and_deleted() {
    let clusters = TwoClusters::start(1, "");
    clusters.create(&clusters.east, "orders", 1, &[("retention.ms", "86400000")]);
    let desk = desk(&clusters, &clusters.west, None);
    let worker = Worker::start(&clusters, &[&clusters.west], None);
    let link = from_east(&clusters, &[("cluster.link.prefix", "east.")]);
    clusters
        .block_on(desk.create_link(link.clone(), CHECKED))
        .expect("is created");
    // Again, as after an answer that was lost.
    clusters
        .block_on(desk.create_link(link.clone(), CHECKED))
        .expect("is there");
    let other = from_east(&clusters, &[]);
    let refused = clusters.block_on(desk.create_link(other, CHECKED));
    assert!(matches!(refused, Err(Refusal::Exists(_))), "{refused:?}");

    clusters
        .block_on(desk.create_mirror("demo-link", &mirror_of("orders")))
        .expect("is made");
    clusters
        .block_on(desk.create_mirror("demo-link", &mirror_of("orders")))
        .expect("is there");
    assert!(clusters.west.topics().contains(&"east.orders".to_owned()));
    produce(&clusters.east, "orders", 5);
    await_end(&clusters, &clusters.west, "east.orders", 5);

    let topics = ["east.orders".to_owned(), "nothing".to_owned()];
    let acted = |action| {
        clusters
            .block_on(desk.act("demo-link", &topics, action, false))
            .expect("is asked")
    };
    let paused = acted(MirrorAction::Pause);
    assert!(paused[0].1.is_ok() && paused[1].1.is_err(), "{paused:?}");
    assert_eq!(
        state(&clusters, &clusters.west).mirrors[0].state,
        DesiredState::Paused
    );
    assert!(acted(MirrorAction::Resume)[0].1.is_ok());
    produce(&clusters.east, "orders", 2);
    await_end(&clusters, &clusters.west, "east.orders", 7);

    let refused = words(clusters.block_on(desk.delete_link("demo-link", false, false)));
    assert_eq!(
        refused,
        "the link `demo-link` has mirror topics: east.orders; promote, fail over or delete them first"
    );
    let promote = |topics: &[String]| {
        let acted = desk.act("demo-link", topics, MirrorAction::Promote, false);
        clusters.block_on(acted).expect("is asked")
    };
    assert!(promote(&topics[..1])[0].1.is_ok());
    await_stopped(&clusters, 1);
    assert!(
        promote(&topics[..1])[0].1.is_err(),
        "it has stopped already"
    );
    // An ordinary topic by now.
    produce(&clusters.west, "east.orders", 3);
    produce(&clusters.east, "orders", 1);
    let end = clusters.west.topics();
    assert!(end.contains(&"east.orders".to_owned()));
    let refused = clusters.block_on(desk.delete_link("demo-link", false, true));
    refused.expect("nothing is mirrored any more");
    assert!(
        clusters
            .block_on(desk.delete_mirror_topic("east.orders"))
            .expect("is deleted")
    );
    assert!(!clusters.west.topics().contains(&"east.orders".to_owned()));
    assert!(
        !clusters
            .block_on(desk.delete_mirror_topic("east.orders"))
            .expect("is gone")
    );
    clusters
        .block_on(desk.delete_link("demo-link", false, false))
        .expect("is deleted");
    let gone = clusters.block_on(desk.delete_link("demo-link", false, false));
    assert!(matches!(gone, Err(Refusal::NotFound(_))), "{gone:?}");
    let left = state(&clusters, &clusters.west);
    assert_eq!(
        (left.links.len(), left.configs.len(), left.mirrors.len()),
        (0, 0, 0)
    );
    eventually("the worker runs nothing", || {
        worker.figures.snapshot().partitions == 0
    });
    worker.stop(&clusters);
}

fn await_stopped(clusters: &TwoClusters, count: usize) {
    let client = clusters.client(&clusters.west);
    eventually("the mirrors have stopped", || {
        let state = clusters.block_on(control::read(&client));
        let state = state.expect("readable").unwrap_or_default();
        let stopped = state.mirrors.values().filter(|it| it.is_stopped());
        stopped.count() == count
    });
}

/// A failover is for the day on which nobody reaches the source any more, and its workers are gone with it.
#[test]
fn mirrors_are_failed_over_where_the_source_is_gone() {
    let clusters = TwoClusters::start(1, "");
    let mut config = SandboxConfig::new("north", 1);
    config.cluster_id = Some("north-id".to_owned());
    let north = clusters.block_on(Sandbox::start(config));
    let north = north.expect("a free port on loopback");
    clusters.create(&north, "orders", 1, &[]);
    clusters.create(&north, "audit", 1, &[]);
    let desk = desk(&clusters, &clusters.west, None);
    let there = self::desk(&clusters, &north, None);
    let inbound = NewLink {
        name: "inbound".to_owned(),
        other: Some(OtherEnd::Source("north-id".to_owned())),
        id: None,
        configs: changes(&[("connection.mode", "INBOUND")]),
    };
    let from_north = NewLink {
        name: "demo-link".to_owned(),
        other: Some(OtherEnd::Source("north-id".to_owned())),
        id: None,
        configs: changes(&[("bootstrap.servers", &north.bootstrap_servers())]),
    };
    let servers = clusters.west.bootstrap_servers();
    let outbound = NewLink {
        name: "inbound".to_owned(),
        other: Some(OtherEnd::Destination("west-id".to_owned())),
        id: None,
        configs: changes(&[("link.mode", "SOURCE"), ("bootstrap.servers", &servers)]),
    };
    clusters
        .block_on(desk.create_link(from_north, CHECKED))
        .expect("is created");
    clusters
        .block_on(desk.create_link(inbound, CHECKED))
        .expect("is created");
    clusters
        .block_on(there.create_link(outbound, CHECKED))
        .expect("is created");
    let both = Worker::start(&clusters, &[&north, &clusters.west], None);
    for (link, topic) in [("demo-link", "orders"), ("inbound", "audit")] {
        clusters
            .block_on(desk.create_mirror(link, &mirror_of(topic)))
            .expect("is made");
        produce(&north, topic, 2);
        await_end(&clusters, &clusters.west, topic, 2);
    }
    both.stop(&clusters);
    let west = Worker::start(&clusters, &[&clusters.west], None);
    clusters.block_on(north.shutdown());
    for (link, topic) in [("demo-link", "orders"), ("inbound", "audit")] {
        let topics = [topic.to_owned()];
        let acted = desk.act(link, &topics, MirrorAction::FailOver, false);
        let acted = clusters.block_on(acted).expect("is asked");
        assert!(acted[0].1.is_ok(), "{acted:?}");
    }
    await_stopped(&clusters, 2);
    west.stop(&clusters);
}

/// Without workers nobody could end mirrors, and a link could never go.
#[test]
fn a_link_goes_by_force_with_its_mirrors_and_leaves_their_topics() {
    let clusters = TwoClusters::start(1, "");
    clusters.create(&clusters.east, "orders", 1, &[]);
    let desk = desk(&clusters, &clusters.west, None);
    clusters
        .block_on(desk.create_link(from_east(&clusters, &[]), CHECKED))
        .expect("is created");
    clusters
        .block_on(desk.create_mirror("demo-link", &mirror_of("orders")))
        .expect("is made");
    let worker = Worker::start(&clusters, &[&clusters.west], None);
    produce(&clusters.east, "orders", 2);
    await_end(&clusters, &clusters.west, "orders", 2);
    clusters
        .block_on(desk.delete_link("demo-link", true, false))
        .expect("is deleted");
    let left = state(&clusters, &clusters.west);
    assert_eq!((left.links.len(), left.mirrors.len()), (0, 0));
    assert!(clusters.west.topics().contains(&"orders".to_owned()));
    worker.stop(&clusters);
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_written() {
    let clusters = TwoClusters::start(1, "");
    clusters.create(&clusters.east, "orders", 1, &[]);
    clusters.create(&clusters.west, "taken", 1, &[]);
    clusters.create(&clusters.east, "taken", 1, &[]);
    let desk = desk(&clusters, &clusters.west, None);
    let create = |link| words(clusters.block_on(desk.create_link(link, CHECKED)));
    let mut elsewhere = from_east(&clusters, &[]);
    elsewhere.other = Some(OtherEnd::Source("north-id".to_owned()));
    assert!(create(elsewhere).contains("has the id east-id, not north-id"));
    let mut itself = from_east(&clusters, &[]);
    itself.other = Some(OtherEnd::Source("west-id".to_owned()));
    assert!(create(itself).contains("both west-id"));
    let mut own = from_east(&clusters, &[]);
    own.other = None;
    own.configs = changes(&[("bootstrap.servers", &clusters.west.bootstrap_servers())]);
    assert!(create(own).contains("is this one"));
    let mut nobody = from_east(&clusters, &[]);
    nobody.configs = changes(&[("bootstrap.servers", "127.0.0.1:1")]);
    assert!(create(nobody).contains("cannot be reached as its configs say"));
    let mut nameless = from_east(&clusters, &[]);
    nameless.name = "a b".to_owned();
    assert!(create(nameless).contains("no legal name"));
    assert_eq!(state(&clusters, &clusters.west).links.len(), 0);
    let only = Checks {
        validate_only: true,
        validate_link: true,
    };
    clusters
        .block_on(desk.create_link(from_east(&clusters, &[]), only))
        .expect("it would do");
    assert_eq!(state(&clusters, &clusters.west).links.len(), 0);

    clusters
        .block_on(desk.create_link(from_east(&clusters, &[]), CHECKED))
        .expect("is created");
    let make =
        |mirror: &NewMirror| words(clusters.block_on(desk.create_mirror("demo-link", mirror)));
    assert!(make(&mirror_of("nothing")).contains("has no topic `nothing`"));
    assert_eq!(make(&mirror_of("taken")), "Topic 'taken' already exists.");
    assert!(make(&mirror_of("__consumer_offsets")).contains("never mirrored"));
    let odd = NewMirror {
        configs: vec![("no.such.config".to_owned(), "1".to_owned())],
        ..mirror_of("orders")
    };
    let refused = make(&odd);
    assert!(refused.contains("no.such.config"), "{refused}");
    let many = NewMirror {
        replication_factor: Some(3),
        ..mirror_of("orders")
    };
    let refused = make(&many);
    assert!(refused.contains("orders"), "{refused}");
    let after = state(&clusters, &clusters.west);
    assert_eq!(
        (after.mirrors.len(), after.links[0].mirrors.len()),
        (0, 0),
        "nothing is left of it"
    );
    let renamed = NewMirror {
        mirror_topic: Some("orders-eu".to_owned()),
        ..mirror_of("orders")
    };
    clusters
        .block_on(desk.create_mirror("demo-link", &renamed))
        .expect("is made");
    assert!(make(&mirror_of("orders")).contains("mirrors `orders` to `orders-eu` already"));
    let missing = clusters.block_on(desk.create_mirror("no-link", &mirror_of("orders")));
    assert!(matches!(missing, Err(Refusal::NotFound(_))), "{missing:?}");
}

/// Does not wait until the lock of a killed one goes stale.
pub async fn void_lock(client: &kmirror::kafka::Client) {
    let lock = LockRecord {
        version: RECORD_VERSION,
        holder: "tests@here (2)".to_owned(),
        since_ms: jiff::Timestamp::now().as_millisecond(),
        command: "test".to_owned(),
    };
    let stolen = control::ControlWriter::steal(client, lock).await;
    let released = stolen.expect("nobody is alive").release().await;
    released.expect("is given back");
}

/// A server may be killed at any moment: a repeated call has to succeed.
#[test]
fn what_a_killed_call_left_is_finished_by_repeating_it() {
    let clusters = TwoClusters::start(1, "");
    for round in 0..8u32 {
        let topic = format!("orders-{round}");
        clusters.create(&clusters.east, &topic, 1, &[]);
        let after = Duration::from_millis(u64::from(10 + 25 * round));
        let name = format!("link-{round}");
        let link = NewLink {
            name: name.clone(),
            ..from_east(&clusters, &[])
        };
        // Each of them in a process of its own, of which nothing is left but the lock.
        let cut_off = |call: &dyn Fn(Desk) -> LocalBoxFuture<'static, Result<(), Refusal>>| {
            let doomed = call(desk(&clusters, &clusters.west, None));
            let _cut_off = clusters.block_on(async { tokio::time::timeout(after, doomed).await });
            clusters.block_on(void_lock(&clusters.client(&clusters.west)));
            let again = call(desk(&clusters, &clusters.west, None));
            clusters.block_on(again)
        };
        let made = cut_off(&|desk| {
            let link = link.clone();
            Box::pin(async move { desk.create_link(link, CHECKED).await })
        });
        made.expect("the link is there");
        let made = cut_off(&|desk| {
            let (name, mirror) = (name.clone(), mirror_of(&topic));
            Box::pin(async move { desk.create_mirror(&name, &mirror).await })
        });
        made.expect("the mirror is there");
        let mirrors = state(&clusters, &clusters.west).mirrors;
        assert_eq!(mirrors.len(), 1, "round {round}");
        let gone = cut_off(&|desk| {
            let topic = topic.clone();
            Box::pin(async move { desk.delete_mirror_topic(&topic).await.map(drop) })
        });
        gone.expect("the topic is gone");
        assert!(!clusters.west.topics().contains(&topic));
        let gone = cut_off(&|desk| {
            let name = name.clone();
            Box::pin(async move {
                match desk.delete_link(&name, false, false).await {
                    // The first one had done it.
                    Err(Refusal::NotFound(_)) => Ok(()),
                    other => other,
                }
            })
        });
        gone.expect("the link is gone");
        let left = state(&clusters, &clusters.west);
        assert_eq!(
            (left.links.len(), left.mirrors.len(), left.configs.len()),
            (0, 0, 0)
        );
    }
}

#[test]
fn topics_that_match_later_get_mirrors_and_follow_their_sources_configs() {
    let clusters = TwoClusters::start(1, "");
    clusters.create(&clusters.east, "orders", 1, &[]);
    clusters.create(&clusters.east, "tmp-1", 1, &[]);
    let filters = r#"{"topicFilters":[{"name":"*","patternType":"LITERAL","filterType":"INCLUDE"},{"name":"tmp","patternType":"PREFIXED","filterType":"EXCLUDE"}]}"#;
    let link = from_east(
        &clusters,
        &[
            ("auto.create.mirror.topics.enable", "true"),
            ("auto.create.mirror.topics.filters", filters),
            ("topic.config.sync.ms", "1000"),
        ],
    );
    let desk = desk(&clusters, &clusters.west, None);
    clusters
        .block_on(desk.create_link(link, CHECKED))
        .expect("is created");
    let worker = Worker::start(&clusters, &[&clusters.west], None);
    let has = |topic: &str| clusters.west.topics().contains(&topic.to_owned());
    eventually("orders is mirrored", || has("orders"));
    clusters.create(&clusters.east, "late", 2, &[]);
    eventually("late is mirrored", || has("late"));
    assert!(!has("tmp-1"));
    // Asked for by name, whatever the filters leave out.
    clusters
        .block_on(desk.create_mirror("demo-link", &mirror_of("tmp-1")))
        .expect("is made");
    produce(&clusters.east, "tmp-1", 3);
    await_end(&clusters, &clusters.west, "tmp-1", 3);

    let east = clusters.client(&clusters.east).admin();
    let resource = ConfigResource::Topic("orders".to_owned());
    let set = ConfigChange {
        name: "retention.ms".to_owned(),
        value: Some("1234567".to_owned()),
    };
    let set = (resource, vec![set]);
    for (_, altered) in clusters.block_on(east.incremental_alter_configs(vec![set], false)) {
        altered.expect("is set");
    }
    let west = clusters.client(&clusters.west).admin();
    eventually("the mirror follows", || {
        let asked = vec![ConfigResource::Topic("orders".to_owned())];
        let found = clusters.block_on(west.describe_configs(asked));
        let entries = found[0].1.as_ref().expect("it is described");
        let retention = entries.iter().find(|entry| entry.name == "retention.ms");
        retention.and_then(|entry| entry.value.clone()).as_deref() == Some("1234567")
    });

    // Deleted by somebody, it does not come back by itself; asked for again, it does.
    clusters
        .block_on(desk.delete_mirror_topic("late"))
        .expect("is deleted");
    clusters.create(&clusters.east, "later", 1, &[]);
    eventually("later is mirrored", || has("later"));
    assert!(!has("late"));
    clusters
        .block_on(desk.create_mirror("demo-link", &mirror_of("late")))
        .expect("is made");
    assert!(has("late"));

    // Without filters, mirrors that are there go on.
    let off = changes(&[("auto.create.mirror.topics.enable", "false")]);
    clusters
        .block_on(desk.alter_link("demo-link", &off, false))
        .expect("is altered");
    produce(&clusters.east, "orders", 2);
    await_end(&clusters, &clusters.west, "orders", 2);
    worker.stop(&clusters);
}

#[test]
fn the_source_carries_a_link_that_its_destination_cannot_open() {
    let clusters = TwoClusters::start(1, "");
    clusters.create(&clusters.east, "orders", 1, &[]);
    let (west, east) = (
        desk(&clusters, &clusters.west, None),
        desk(&clusters, &clusters.east, None),
    );
    let servers = clusters.west.bootstrap_servers();
    let outbound = NewLink {
        name: "demo-link".to_owned(),
        other: Some(OtherEnd::Destination("west-id".to_owned())),
        id: None,
        configs: changes(&[
            ("link.mode", "SOURCE"),
            ("connection.mode", "OUTBOUND"),
            ("bootstrap.servers", &servers),
            (
                "local.bootstrap.servers",
                &clusters.east.bootstrap_servers(),
            ),
            ("local.security.protocol", "PLAINTEXT"),
        ]),
    };
    let early = words(clusters.block_on(east.create_link(outbound.clone(), CHECKED)));
    assert!(early.contains("has no link `demo-link` yet"), "{early}");
    let inbound = NewLink {
        name: "demo-link".to_owned(),
        other: Some(OtherEnd::Source("east-id".to_owned())),
        id: None,
        configs: changes(&[("link.mode", "DESTINATION"), ("connection.mode", "INBOUND")]),
    };
    clusters
        .block_on(west.create_link(inbound, CHECKED))
        .expect("is created");
    clusters
        .block_on(east.create_link(outbound, CHECKED))
        .expect("is created");
    let halves = (
        state(&clusters, &clusters.west),
        state(&clusters, &clusters.east),
    );
    assert_eq!(halves.0.links[0].id, halves.1.source_links[0].id);

    // It reaches no more than the source by its file.
    let beside_source = Worker::start(&clusters, &[&clusters.east], None);
    let beside_destination = Worker::start(&clusters, &[&clusters.west], None);
    clusters
        .block_on(west.create_mirror("demo-link", &mirror_of("orders")))
        .expect("is asked for");
    produce(&clusters.east, "orders", 5);
    await_end(&clusters, &clusters.west, "orders", 5);
    assert_eq!(beside_destination.figures.snapshot().partitions, 0);
    assert_eq!(beside_source.figures.snapshot().partitions, 1);
    let refused = words(clusters.block_on(east.create_mirror("demo-link", &mirror_of("orders"))));
    assert!(refused.contains("the source's half of a link"), "{refused}");

    clusters
        .block_on(east.delete_link("demo-link", false, false))
        .expect("is deleted");
    eventually("nobody carries it", || {
        beside_source.figures.snapshot().partitions == 0
    });
    assert_eq!(
        state(&clusters, &clusters.west).mirrors.len(),
        1,
        "the other half stays"
    );
    beside_source.stop(&clusters);
    beside_destination.stop(&clusters);
}

const JAAS: &str = r#"org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password="hunter2";"#;

/// A link whose secrets this worker cannot read is left to others, and the others are none the worse for it.
#[test]
fn a_worker_without_the_key_leaves_a_link_alone_and_carries_the_others() {
    let clusters = TwoClusters::start(1, "");
    clusters.create(&clusters.east, "orders", 1, &[]);
    let key = Arc::new(Key::generate());
    let with_key = desk(&clusters, &clusters.west, Some(&key));
    let secured = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.jaas.config", JAAS),
    ];
    let secret = NewLink {
        name: "secret-link".to_owned(),
        ..from_east(&clusters, &secured)
    };
    let refused = words(
        clusters
            .block_on(desk(&clusters, &clusters.west, None).create_link(secret.clone(), UNCHECKED)),
    );
    assert!(
        refused.contains("kmirror key new") && !refused.contains("hunter2"),
        "{refused}"
    );
    clusters
        .block_on(with_key.create_link(secret, UNCHECKED))
        .expect("is created");
    let plain = from_east(&clusters, &[]);
    clusters
        .block_on(with_key.create_link(plain, CHECKED))
        .expect("is created");
    clusters
        .block_on(with_key.create_mirror("demo-link", &mirror_of("orders")))
        .expect("is made");
    let worker = Worker::start(&clusters, &[&clusters.west], None);
    produce(&clusters.east, "orders", 4);
    await_end(&clusters, &clusters.west, "orders", 4);
    worker.stop(&clusters);

    let client = clusters.client(&clusters.west);
    let stored = clusters
        .block_on(control::read(&client))
        .expect("readable")
        .expect("there");
    let text = format!(
        "{stored:?} {}",
        serde_json::to_string(&stored.configs.values().collect::<Vec<_>>()).expect("JSON")
    );
    assert!(!text.contains("hunter2"));
}

#[test]
fn a_key_is_rotated_once_and_for_all() {
    let clusters = TwoClusters::start(1, "");
    let made = clusters.run(&["key", "new"]);
    assert_eq!(made.code, Some(0), "{made}");
    let old = Arc::new(Key::parse(&made.stdout, "stdout").expect("a key"));
    let new = Key::generate();
    clusters.scenario.file("old.key", made.stdout.clone());
    clusters.scenario.file("new.key", new.text().as_str());
    let secured = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.jaas.config", JAAS),
    ];
    let link = from_east(&clusters, &secured);
    let desk = desk(&clusters, &clusters.west, Some(&old));
    clusters
        .block_on(desk.create_link(link, UNCHECKED))
        .expect("is created");

    let refused = clusters.run(&["key", "rotate", "mirror.toml", "--key-file", "new.key"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(
        refused.stderr.contains(old.id()) && refused.stderr.contains("KMIRROR_OLD_KEY"),
        "{refused}"
    );
    let rotate = [
        "key",
        "rotate",
        "mirror.toml",
        "--key-file",
        "new.key",
        "--old-key-file",
        "old.key",
    ];
    let rotated = clusters.run(&rotate);
    assert_eq!(rotated.code, Some(0), "{rotated}");
    assert!(
        rotated.stderr.contains("west: 1 links encrypted anew"),
        "{rotated}"
    );
    let again = clusters.run(&["key", "rotate", "mirror.toml", "--key-file", "new.key"]);
    assert!(
        again.stderr.contains("west: 0 links encrypted anew"),
        "{again}"
    );

    let state = state(&clusters, &clusters.west);
    let link = &state.links[0];
    assert_eq!(link.owner, Owner::Rest);
    let record = &state.configs[&link.id];
    assert!(
        matches!(&record.configs["sasl.jaas.config"], StoredConfig::Sealed { sealed } if sealed.key == new.id())
    );
    assert!(Configs::open(record, link.id, Some(&new)).is_ok());
    assert!(Configs::open(record, link.id, Some(&old)).is_err());
    assert_eq!(
        clusters.east.topics(),
        [""; 0],
        "a cluster without links is left alone"
    );
}

#[test]
fn a_files_link_is_not_changed_over_rest() {
    let clusters = TwoClusters::start(
        1,
        "[links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"orders\"]\n",
    );
    clusters.create(&clusters.east, "orders", 1, &[]);
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let desk = desk(&clusters, &clusters.west, None);
    let paused = changes(&[("cluster.link.paused", "true")]);
    for refused in [
        words(clusters.block_on(desk.alter_link("copy", &paused, false))),
        words(clusters.block_on(desk.delete_link("copy", true, false))),
        words(clusters.block_on(desk.create_mirror("copy", &mirror_of("orders")))),
        words(clusters.block_on(desk.act("copy", &[], MirrorAction::Pause, false))),
        words(clusters.block_on(desk.delete_mirror_topic("orders"))),
    ] {
        assert!(
            refused.contains("the link `copy` belongs to a topology file"),
            "{refused}"
        );
    }
}

#[test]
fn a_file_takes_over_a_link_that_was_made_over_rest_when_told_to() {
    let text =
        "[links.demo-link]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"orders\"]\n";
    let clusters = TwoClusters::start(1, text);
    clusters.create(&clusters.east, "orders", 1, &[]);
    let desk = desk(&clusters, &clusters.west, None);
    clusters
        .block_on(desk.create_link(from_east(&clusters, &[]), CHECKED))
        .expect("is created");
    clusters
        .block_on(desk.create_mirror("demo-link", &mirror_of("orders")))
        .expect("is made");
    produce(&clusters.east, "orders", 4);
    let before = state(&clusters, &clusters.west);
    let blocked = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(blocked.code, Some(3), "{blocked}");
    assert!(blocked.stderr.contains("--adopt"), "{blocked}");

    let adopted = clusters.run(&["apply", "--yes", "--adopt", "mirror.toml"]);
    assert_eq!(adopted.code, Some(0), "{adopted}");
    let after = state(&clusters, &clusters.west);
    assert_eq!(after.links[0].owner, Owner::File);
    assert_eq!(after.links[0].id, before.links[0].id);
    assert_eq!(after.configs.len(), 0, "the file says how it is reached");
    assert_eq!(
        after.mirrors.keys().collect::<Vec<_>>(),
        before.mirrors.keys().collect::<Vec<_>>(),
        "its mirrors go on where they are"
    );
    let again = clusters.run(&["plan", "--detailed-exitcode", "mirror.toml"]);
    assert_eq!(again.code, Some(0), "{again}");
    let ran = clusters.run(&["run", "--until-caught-up", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    await_end(&clusters, &clusters.west, "orders", 4);
}
