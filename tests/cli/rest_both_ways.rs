//! Links of both ways that are made over REST: a link of one name on each of two embedded clusters, and workers that carry both.

use std::time::Duration;

use kmirror::control::ControlWriter;
use kmirror::control::records::{LockRecord, RECORD_VERSION};
use kmirror::linking::operations::{NewLink, NewMirror, OtherEnd, Refusal};

use crate::rest_links::{CHECKED, await_end, changes, desk, mirror_of, produce, state, words};
use crate::sandboxes::TwoClusters;
use crate::worker::{Worker, eventually};

const BOTH: (&str, &str) = ("link.mode", "BIDIRECTIONAL");

/// The half of a link that a cluster holds.
fn half(remote: &str, configs: &[(&str, &str)]) -> NewLink {
    NewLink {
        name: "both".to_owned(),
        other: Some(OtherEnd::Remote(format!("{remote}-id"))),
        id: None,
        configs: changes(configs),
    }
}

/// Two halves, each of which opens its own connections.
pub fn link_both_ways(clusters: &TwoClusters, more: &[(&str, &str)]) {
    for (own, other) in [
        (&clusters.west, &clusters.east),
        (&clusters.east, &clusters.west),
    ] {
        let servers = other.bootstrap_servers();
        let mut configs = vec![BOTH, ("bootstrap.servers", servers.as_str())];
        configs.extend(more);
        let desk = desk(clusters, own, None);
        let created = desk.create_link(half(other.name(), &configs), CHECKED);
        clusters.block_on(created).expect("is created");
    }
}

/// Two halves, of which only the east's can open connections.
pub fn link_from_the_east(clusters: &TwoClusters) {
    let (west, east) = (
        desk(clusters, &clusters.west, None),
        desk(clusters, &clusters.east, None),
    );
    let waits = half("east", &[BOTH, ("connection.mode", "INBOUND")]);
    clusters
        .block_on(west.create_link(waits, CHECKED))
        .expect("is created");
    let servers = clusters.west.bootstrap_servers();
    let connects = half(
        "west",
        &[
            BOTH,
            ("remote.link.connection.mode", "INBOUND"),
            ("bootstrap.servers", &servers),
        ],
    );
    clusters
        .block_on(east.create_link(connects, CHECKED))
        .expect("is created");
}

#[test]
fn each_half_of_a_link_brings_mirrors_to_its_own_cluster() {
    let clusters = TwoClusters::start(1, "");
    clusters.create(&clusters.east, "orders", 1, &[]);
    clusters.create(&clusters.west, "invoices", 1, &[]);
    link_both_ways(&clusters, &[]);
    let (west, east) = (
        desk(&clusters, &clusters.west, None),
        desk(&clusters, &clusters.east, None),
    );
    let halves = [&clusters.west, &clusters.east].map(|sandbox| state(&clusters, sandbox));
    assert_eq!(halves[0].links[0].id, halves[1].links[0].id);
    // Asked for again, as after an answer that was lost.
    link_both_ways(&clusters, &[]);

    let workers =
        [&clusters.west, &clusters.east].map(|own| Worker::start(&clusters, &[own], None));
    for (desk, topic) in [(&west, "orders"), (&east, "invoices")] {
        let mirror = mirror_of(topic);
        let made = desk.create_mirror("both", &mirror);
        clusters.block_on(made).expect("is made");
    }
    produce(&clusters.east, "orders", 3);
    produce(&clusters.west, "invoices", 4);
    await_end(&clusters, &clusters.west, "orders", 3);
    await_end(&clusters, &clusters.east, "invoices", 4);
    // It would go round for ever.
    let renamed = NewMirror {
        mirror_topic: Some("orders-again".to_owned()),
        ..mirror_of("orders")
    };
    let refused = words(clusters.block_on(east.create_mirror("both", &renamed)));
    assert!(refused.contains("come back to the cluster"), "{refused}");
    for worker in workers {
        worker.stop(&clusters);
    }
}

/// Where only one of the clusters can open connections, workers beside that one carry both halves.
#[test]
fn the_side_that_can_connect_carries_both_halves() {
    let clusters = TwoClusters::start(1, "");
    clusters.create(&clusters.east, "orders", 1, &[]);
    clusters.create(&clusters.west, "invoices", 1, &[]);
    let (west, east) = (
        desk(&clusters, &clusters.west, None),
        desk(&clusters, &clusters.east, None),
    );
    link_from_the_east(&clusters);
    let beside_west = Worker::start(&clusters, &[&clusters.west], None);
    let beside_east = Worker::start(&clusters, &[&clusters.east], None);
    for (desk, topic) in [(&west, "orders"), (&east, "invoices")] {
        let mirror = mirror_of(topic);
        let made = desk.create_mirror("both", &mirror);
        clusters.block_on(made).expect("is asked for");
    }
    produce(&clusters.east, "orders", 3);
    produce(&clusters.west, "invoices", 4);
    await_end(&clusters, &clusters.west, "orders", 3);
    await_end(&clusters, &clusters.east, "invoices", 4);
    assert_eq!(beside_west.figures.snapshot().partitions, 0);
    assert_eq!(beside_east.figures.snapshot().partitions, 2);
    beside_west.stop(&clusters);
    beside_east.stop(&clusters);
}

/// Without it, filters that take everything would send each topic back to where it came from.
#[test]
fn filters_of_both_halves_take_no_mirrors_of_each_other() {
    let clusters = TwoClusters::start(1, "");
    clusters.create(&clusters.east, "orders", 1, &[]);
    clusters.create(&clusters.west, "invoices", 1, &[]);
    let filters =
        r#"{"topicFilters":[{"name":"*","patternType":"LITERAL","filterType":"INCLUDE"}]}"#;
    link_both_ways(
        &clusters,
        &[
            ("auto.create.mirror.topics.enable", "true"),
            ("auto.create.mirror.topics.filters", filters),
        ],
    );
    let workers =
        [&clusters.west, &clusters.east].map(|own| Worker::start(&clusters, &[own], None));
    let has = |sandbox: &kmirror::sandbox::Sandbox, topic: &str| {
        sandbox.topics().contains(&topic.to_owned())
    };
    eventually("both are mirrored", || {
        has(&clusters.west, "orders") && has(&clusters.east, "invoices")
    });
    produce(&clusters.east, "orders", 3);
    await_end(&clusters, &clusters.west, "orders", 3);
    // Later than anything that there was to do.
    clusters.create(&clusters.east, "late", 1, &[]);
    eventually("late is mirrored", || has(&clusters.west, "late"));
    for sandbox in [&clusters.west, &clusters.east] {
        for mirror in state(&clusters, sandbox).mirrors.values() {
            let own = match sandbox.name() {
                "west" => vec!["orders", "late"],
                _ => vec!["invoices"],
            };
            assert!(own.contains(&mirror.source_topic.as_str()), "{mirror:?}");
        }
    }
    for worker in workers {
        worker.stop(&clusters);
    }
}

/// A mirror's topic is there before its record, and the other half would send it back to where it came from.
#[test]
fn a_topic_that_somebody_may_just_make_as_a_mirror_is_left_alone() {
    let clusters = TwoClusters::start(1, "");
    let filters =
        r#"{"topicFilters":[{"name":"*","patternType":"LITERAL","filterType":"INCLUDE"}]}"#;
    link_both_ways(
        &clusters,
        &[
            ("auto.create.mirror.topics.enable", "true"),
            ("auto.create.mirror.topics.filters", filters),
        ],
    );
    let worker = Worker::start(&clusters, &[&clusters.east], None);
    let has = |topic: &str| clusters.east.topics().contains(&topic.to_owned());
    clusters.create(&clusters.west, "first", 1, &[]);
    eventually("first is mirrored", || has("first"));
    let lock = LockRecord {
        version: RECORD_VERSION,
        holder: "tests@here (3)".to_owned(),
        since_ms: jiff::Timestamp::now().as_millisecond(),
        command: "test".to_owned(),
    };
    let west = clusters.client(&clusters.west);
    let held = ControlWriter::acquire(&west, lock, Duration::from_secs(60));
    let held = clusters.block_on(held).expect("nobody has it for long");
    clusters.create(&clusters.west, "second", 1, &[]);
    // Several looks of the worker.
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(!has("second"), "it may be about to become a mirror");
    clusters.block_on(held.release()).expect("is given back");
    eventually("second is mirrored", || has("second"));
    worker.stop(&clusters);
}

#[test]
fn halves_that_do_not_fit_are_refused() {
    let clusters = TwoClusters::start(1, "");
    let (west, east) = (
        desk(&clusters, &clusters.west, None),
        desk(&clusters, &clusters.east, None),
    );
    let servers = clusters.west.bootstrap_servers();
    let to_west = [BOTH, ("bootstrap.servers", servers.as_str())];
    let one_way = NewLink {
        other: Some(OtherEnd::Source("east-id".to_owned())),
        configs: changes(&[("connection.mode", "INBOUND")]),
        ..half("east", &[])
    };
    clusters
        .block_on(west.create_link(one_way, CHECKED))
        .expect("is created");
    let refused = words(clusters.block_on(east.create_link(half("west", &to_west), CHECKED)));
    assert!(refused.contains("another link.mode"), "{refused}");
    clusters
        .block_on(west.delete_link("both", false, false))
        .expect("is deleted");

    let waits = half("east", &[BOTH, ("connection.mode", "INBOUND")]);
    clusters
        .block_on(west.create_link(waits, CHECKED))
        .expect("is created");
    let source_half = NewLink {
        other: Some(OtherEnd::Destination("west-id".to_owned())),
        configs: changes(&[("link.mode", "SOURCE"), ("bootstrap.servers", &servers)]),
        ..half("west", &[])
    };
    let refused = words(clusters.block_on(east.create_link(source_half, CHECKED)));
    assert!(refused.contains("BIDIRECTIONAL"), "{refused}");
    let mut other_id = half("west", &to_west);
    other_id.id = Some(uuid::Uuid::from_u128(7));
    let refused = words(clusters.block_on(east.create_link(other_id, CHECKED)));
    assert!(refused.contains("cluster_link_id"), "{refused}");
    let mut same_id = half("west", &to_west);
    same_id.id = Some(state(&clusters, &clusters.west).links[0].id);
    clusters
        .block_on(east.create_link(same_id, CHECKED))
        .expect("is created");
    let mut wrong_end = half("west", &to_west);
    wrong_end.other = Some(OtherEnd::Source("west-id".to_owned()));
    let refused = clusters.block_on(east.create_link(wrong_end, CHECKED));
    assert!(
        matches!(&refused, Err(Refusal::Invalid(words)) if words.contains("remote_cluster_id")),
        "{refused:?}"
    );
}

/// A file for brokers that carry links is carried out by plain brokers with a server of ours in front of them.
#[test]
fn a_file_links_both_ways_by_our_own_api() {
    let clusters = TwoClusters::start(1, "");
    clusters.create(&clusters.east, "orders", 1, &[]);
    clusters.create(&clusters.west, "invoices", 1, &[]);
    let serve = [
        "run",
        "mirror.toml",
        "--http",
        "east=127.0.0.1:0",
        "--http",
        "west=127.0.0.1:0",
    ];
    let serving = crate::serve::start(&clusters.scenario, &serve);
    let mut text = "kmirror = 1\n".to_owned();
    for (sandbox, address) in [&clusters.east, &clusters.west]
        .into_iter()
        .zip(&serving.addresses)
    {
        let (name, servers) = (sandbox.name(), sandbox.bootstrap_servers());
        text.push_str(&format!(
            "[clusters.{name}]\nbootstrap_servers = \"{servers}\"\nrest = {{ url = \"http://{address}/kafka\" }}\n"
        ));
    }
    for (from, to, topic) in [("east", "west", "orders"), ("west", "east", "invoices")] {
        text.push_str(&format!(
            "[links.to-{to}]\nsource = \"{from}\"\ndestination = \"{to}\"\nengine = \"cluster-link\"\nbidirectional = \"both\"\ntopics = [\"{topic}\"]\n"
        ));
    }
    clusters.scenario.file("links.toml", text);
    let applied = clusters.run(&["apply", "--yes", "links.toml"]);
    assert_eq!(applied.code, Some(0), "{applied}");
    produce(&clusters.east, "orders", 3);
    produce(&clusters.west, "invoices", 4);
    await_end(&clusters, &clusters.west, "orders", 3);
    await_end(&clusters, &clusters.east, "invoices", 4);
    let planned = clusters.run(&["plan", "--detailed-exitcode", "links.toml"]);
    assert_eq!(planned.code, Some(0), "{planned}");
    let (said, code) = serving.end("-TERM");
    assert_eq!(code, Some(0), "{said:?}");
}
