//! A one-off copy beside other workers: it is done when all is copied, by whichever of them.

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::sandboxes::TwoClusters;
use crate::worker::{PATIENCE, WorkerProcess};

const PARTITIONS: i32 = 16;
const RECORDS: usize = 40;

/// So slow that nobody is done before the work is shared.
const LINK: &str = r#"
[links.copy]
source = "east"
destination = "west"
topics = ["orders"]
rename = "${topic}.replica"
replication_factor = 1
limit = { bytes_per_second = "80KB" }
"#;

/// All partitions are written, and two workers share them.
fn start(clusters: &TwoClusters) -> (WorkerProcess, WorkerProcess) {
    clusters.create(&clusters.east, "orders", PARTITIONS, &[]);
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", clusters.east.bootstrap_servers())
        .set("batch.num.messages", "1")
        .create()
        .expect("a producer");
    let payload = [7_u8; 1_000];
    for partition in 0..PARTITIONS {
        for _ in 0..RECORDS {
            let record = BaseRecord::<[u8], [u8]>::to("orders").partition(partition);
            producer
                .send(record.payload(&payload))
                .expect("there is room");
        }
    }
    producer.flush(PATIENCE).expect("the sandbox takes them");
    let session = ["--session-timeout", "6s"];
    let first = WorkerProcess::start(clusters, "mirror.toml", &session, "first.log");
    first.await_word("first record copied");
    let once = [&session[..], &["--until-caught-up"]].concat();
    let second = WorkerProcess::start(clusters, "mirror.toml", &once, "second.log");
    second.await_word("partition assigned");
    (first, second)
}

/// Records of the mirror topic, all partitions together.
fn copied(clusters: &TwoClusters) -> usize {
    let logs = (0..PARTITIONS).filter_map(|it| clusters.west.log("orders.replica", it));
    logs.map(|log| log.records().len()).sum()
}

fn all() -> usize {
    RECORDS * usize::try_from(PARTITIONS).expect("a few")
}

/// The group keeps a dead worker's partitions for it until its session is over: a script that goes on after "caught up" would miss
/// them.
#[test]
fn what_a_dead_worker_has_is_waited_for() {
    let clusters = TwoClusters::start(1, LINK);
    let (first, second) = start(&clusters);
    first.freeze();
    let said = second.await_end();
    assert_eq!(copied(&clusters), all(), "{said}");
    assert!(
        said.contains("waiting for what other workers carry"),
        "{said}"
    );
    drop(first);
}

#[test]
fn what_another_worker_copies_is_waited_for() {
    let clusters = TwoClusters::start(1, LINK);
    let (first, second) = start(&clusters);
    let said = second.await_end();
    assert_eq!(copied(&clusters), all(), "{said}");
    first.end();
}
