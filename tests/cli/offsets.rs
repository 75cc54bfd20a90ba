//! `kmirror offsets translate` against embedded clusters: what it answers, and what it says where it cannot.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::assert_shown;
use crate::sandboxes::TwoClusters;
use crate::support::Ran;

const FILE: &str = r#"
[links.copy]
source = "east"
destination = "west"
topics = ["orders", "empty"]
rename = "east.${topic}"
"#;

fn translate(clusters: &TwoClusters, arguments: &[&str]) -> Ran {
    clusters.run(&[&["offsets", "translate", "mirror.toml"], arguments].concat())
}

pub fn produce(clusters: &TwoClusters, records: usize) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", clusters.east.bootstrap_servers())
        .create()
        .expect("a producer");
    for n in 0..records {
        let value = format!("record {n}");
        let record = BaseRecord::<str, str>::to("orders").partition(0);
        producer
            .send(record.payload(&value))
            .expect("the queue has room");
    }
    producer
        .flush(Duration::from_secs(20))
        .expect("the sandbox takes them");
}

/// A group that is moved to the wrong offset skips records or gets them twice: whoever cannot be answered has to learn why.
#[test]
fn an_offset_is_translated_or_it_is_said_why_not() {
    let clusters = TwoClusters::start(1, FILE);
    for topic in ["orders", "empty"] {
        clusters.create(&clusters.east, topic, 1, &[]);
    }
    assert_shown(
        "offsets_nothing_applied",
        &translate(&clusters, &["copy", "orders", "0", "7"]),
    );
    produce(&clusters, 20);
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_shown(
        "offsets_nothing_copied",
        &translate(&clusters, &["copy", "orders", "0", "7"]),
    );
    let ran = clusters.run(&["run", "mirror.toml", "--until-caught-up"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    for (name, arguments) in [
        ("offsets_to_the_mirror", &["copy", "orders", "0", "7"][..]),
        (
            "offsets_to_the_source",
            &["copy", "east.orders", "0", "7", "--reverse"],
        ),
        ("offsets_not_copied_yet", &["copy", "orders", "0", "21"]),
        ("offsets_no_such_link", &["cpoy", "orders", "0", "7"]),
        ("offsets_no_such_topic", &["copy", "order", "0", "7"]),
        ("offsets_no_such_partition", &["copy", "orders", "1", "7"]),
        ("offsets_no_number", &["copy", "orders", "0", "seven"]),
        ("offsets_negative", &["copy", "orders", "0", "-1"]),
    ] {
        assert_shown(name, &translate(&clusters, arguments));
    }
}
