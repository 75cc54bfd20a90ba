//! `kmirror import clusters`: what is found on two live clusters, and what is planned for it.

use kmirror::sandbox::Sandbox;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::assert_shown;
use crate::import::imported;
use crate::sandboxes::TwoClusters;
use crate::support::Ran;

const BEGAN: i64 = 1_700_000_000_000;

/// Records from one number up to another, in every partition, in batches of a size.
fn produce(
    sandbox: &Sandbox,
    topic: &str,
    partitions: i32,
    numbers: std::ops::Range<i64>,
    batch: usize,
    word: &str,
) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", sandbox.bootstrap_servers())
        .set("batch.num.messages", batch.to_string())
        .set("compression.type", if batch > 10 { "gzip" } else { "none" })
        .create()
        .expect("a producer");
    for partition in 0..partitions {
        for number in numbers.clone() {
            let (key, value) = (number.to_string(), format!("{word}-{number}"));
            let record = BaseRecord::to(topic)
                .partition(partition)
                .key(&key)
                .payload(&value)
                .timestamp(BEGAN + number * 1000);
            producer.send(record).expect("the queue has room");
        }
    }
    producer
        .flush(std::time::Duration::from_secs(10))
        .expect("is written");
}

/// Imports, with the addresses that change replaced.
fn import(clusters: &TwoClusters, more: &[&str]) -> Ran {
    let (east, west) = (
        clusters.east.bootstrap_servers(),
        clusters.west.bootstrap_servers(),
    );
    let arguments = [
        &["clusters", "--source", &east, "--destination", &west],
        more,
    ]
    .concat();
    let mut ran = imported(&clusters.scenario, &arguments);
    for text in [&mut ran.command, &mut ran.stdout, &mut ran.stderr] {
        *text = text.replace(&east, "EAST:9092").replace(&west, "WEST:9092");
    }
    ran
}

#[test]
fn a_link_of_kmirrors_own_is_imported_as_it_was_applied_and_its_plan_is_empty() {
    let link = "\n[links.east-to-west]\nsource = \"east\"\ndestination = \"west\"\n\
                topics = [\"orders\", \"shop-*\", { regex = \"eu\\\\..*\" }]\nexclude = [\"shop-test\"]\n\
                rename = [{ regex = \"shop-(.*)\", to = \"dr-${1}\" }]\nauto_create = false\n\
                start = 2026-01-31T18:00:00Z\nreplication_factor = 1\ntimestamps = \"original\"\n\n\
                [links.east-to-west.mirrors.audit]\nas = \"audit-eu\"\nstate = \"paused\"\n\
                config = { \"retention.ms\" = 1000 }\n\n[links.east-to-west.mirrors.old]\nstate = \"absent\"\n";
    let clusters = TwoClusters::start(1, link);
    for topic in ["orders", "shop-1", "shop-test", "eu.x", "audit"] {
        clusters.create(&clusters.east, topic, 2, &[]);
    }
    let ran = clusters.run(&["apply", "--yes", "--allow-delete", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let ran = import(&clusters, &[]);
    assert_shown("import_clusters_applied", &ran);
    let ran = clusters.run(&[
        "plan",
        "--allow-delete",
        "--detailed-exitcode",
        "imported.toml",
    ]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(ran.stdout.contains("link east-to-west\n"), "{ran}");
}

#[test]
fn copies_of_other_tools_are_found_by_content_and_the_plan_says_why_they_are_blocked() {
    let clusters = TwoClusters::start(1, "");
    for topic in ["orders", "audit", "empty", "late"] {
        clusters.create(&clusters.east, topic, 2, &[]);
    }
    for topic in ["dr-orders", "audit", "empty", "dr-late", "dr-orders-2"] {
        clusters.create(&clusters.west, topic, 2, &[]);
    }
    clusters.create(&clusters.west, "dr-audit", 3, &[]);
    produce(&clusters.east, "orders", 2, 0..300, 7, "order");
    produce(&clusters.west, "dr-orders", 2, 0..250, 60, "order");
    produce(&clusters.east, "audit", 2, 0..20, 7, "one");
    produce(&clusters.west, "audit", 2, 0..20, 7, "other");
    produce(&clusters.west, "dr-audit", 3, 0..20, 7, "one");
    // Offsets of the copy are others.
    produce(&clusters.east, "late", 2, 0..90, 7, "late");
    produce(&clusters.west, "dr-late", 2, 40..90, 60, "late");
    // Begins like the source and goes on differently.
    produce(&clusters.west, "dr-orders-2", 2, 0..20, 7, "order");
    produce(&clusters.west, "dr-orders-2", 2, 20..40, 7, "different");
    let ran = import(&clusters, &[]);
    assert_shown("import_clusters_copies", &ran);
    let ran = clusters.run(&["plan", "imported.toml"]);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(ran.stdout.contains("that this link did not write"), "{ran}");
    // Nobody wrote anything.
    assert_eq!(clusters.west.topics().len(), 6);
}

#[test]
fn topics_are_owned_on_demand_and_others_are_left_out() {
    let clusters = TwoClusters::start(1, "");
    clusters.create(&clusters.east, "orders", 2, &[("retention.ms", "1000")]);
    clusters.create(&clusters.east, "secret", 1, &[]);
    clusters.create(&clusters.west, "audit.v1", 1, &[]);
    produce(&clusters.east, "orders", 2, 0..10, 7, "order");
    let ran = import(
        &clusters,
        &["--own", "orders", "--own", "audit*", "--topics", "x*"],
    );
    assert_shown("import_clusters_owned", &ran);
    let ran = clusters.run(&["plan", "--detailed-exitcode", "imported.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
}

#[test]
fn clusters_that_are_one_or_none_are_told() {
    let clusters = TwoClusters::start(1, "");
    let east = clusters.east.bootstrap_servers();
    let ran = clusters.run(&[
        "import",
        "clusters",
        "--source",
        &east,
        "--destination",
        &east,
    ]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran}");
    assert!(ran.stderr.contains("are one cluster, east-id"), "{ran}");
    let ran = clusters.run(&[
        "import",
        "clusters",
        "--source",
        &east,
        "--destination",
        "127.0.0.1:1",
    ]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran}");
    assert!(ran.stderr.contains("destination"), "{ran}");
    clusters.scenario.file(
        "c.properties",
        "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n",
    );
    let ran = clusters.run(&[
        "import",
        "clusters",
        "--source",
        &east,
        "--destination",
        &east,
        "--source-properties",
        "c.properties",
    ]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran}");
    assert!(ran.stderr.contains("K00"), "{ran}");
}
