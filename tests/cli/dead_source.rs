//! Workers that do not reach a source: what needs none is done, others are left what they can do better, and copying begins once
//! it is there.

use kmirror::control::{self, ControlState};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::sandboxes::TwoClusters;
use crate::worker::{PATIENCE, WorkerProcess, eventually};
use kmirror::sandbox::Sandbox;

/// One record to each partition.
fn produce(sandbox: &Sandbox, topic: &str, partitions: i32) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", sandbox.bootstrap_servers())
        .create()
        .expect("a producer");
    for partition in 0..partitions {
        let record = BaseRecord::<str, str>::to(topic).partition(partition);
        producer.send(record.payload("x")).expect("there is room");
    }
    producer.flush(PATIENCE).expect("the sandbox takes them");
}

/// How many partitions of a topic have records.
fn filled(sandbox: &Sandbox, topic: &str, partitions: i32) -> usize {
    let logs = (0..partitions).filter_map(|partition| sandbox.log(topic, partition));
    logs.filter(|log| !log.records().is_empty()).count()
}

fn state(clusters: &TwoClusters) -> ControlState {
    let west = clusters.client(&clusters.west);
    let state = clusters.block_on(control::read(&west));
    state.expect("readable").expect("applied")
}

fn is_stopped(clusters: &TwoClusters, topic: &str) -> bool {
    let state = state(clusters);
    let mut mirrors = state.mirrors.values();
    mirrors.any(|mirror| mirror.source_topic == topic && mirror.is_stopped())
}

fn applied(clusters: &TwoClusters, arguments: &[&str]) {
    let ran = clusters.run(&[&["apply", "--yes"], arguments, &["mirror.toml"]].concat());
    assert_eq!(ran.code, Some(0), "{ran}");
}

fn link(name: &str, [from, to]: [&str; 2], topic: &str) -> String {
    format!(
        "[links.{name}]\nsource = \"{from}\"\ndestination = \"{to}\"\ntopics = [\"{topic}\"]\n\
         rename = \"${{topic}}.replica\"\nreplication_factor = 1\n"
    )
}

/// The day for which there is a failover is also one on which workers are started anew.
#[test]
fn a_worker_that_is_started_without_its_source_fails_over_and_copies_once_it_is_there() {
    let from_east = [
        link("copy", ["east", "west"], "orders"),
        link("more", ["east", "west"], "payments"),
    ]
    .concat();
    let links = format!("{from_east}{}", link("back", ["west", "east"], "invoices"));
    let clusters = TwoClusters::start(1, &links);
    for topic in ["orders", "payments"] {
        clusters.create(&clusters.east, topic, 1, &[]);
        produce(&clusters.east, topic, 1);
    }
    clusters.create(&clusters.west, "invoices", 1, &[]);
    produce(&clusters.west, "invoices", 1);
    applied(&clusters, &[]);
    clusters.east.faults().stop_broker(1);
    let ends = "[links.copy.mirrors.orders]\nstate = \"failed-over\"\n";
    clusters.write(&format!("{links}{ends}"));
    // What goes to the source can't be planned without it, and is none of the failover's business.
    applied(&clusters, &["--wait", "0s", "--target", "link.copy"]);
    let worker = WorkerProcess::start(&clusters, "mirror.toml", &[], "worker.log");
    eventually("the mirror has stopped", || is_stopped(&clusters, "orders"));
    assert_eq!(filled(&clusters.west, "orders.replica", 1), 0);
    worker.await_word("the cluster is not reached");

    clusters.east.faults().start_broker(1);
    eventually("the other links are copied", || {
        filled(&clusters.west, "payments.replica", 1) == 1
            && filled(&clusters.east, "invoices.replica", 1) == 1
    });
    assert_eq!(filled(&clusters.west, "orders.replica", 1), 0);
    let said = worker.end();
    for once in ["the cluster is not reached", "the cluster is reached now"] {
        assert_eq!(said.matches(once).count(), 1, "{once}: {said}");
    }
    for link in ["more", "back"] {
        let started = format!("link started link=\"{link}\"");
        assert_eq!(said.matches(&started).count(), 1, "{started}: {said}");
    }
}

/// A job that copies what there is must not end well where it could not look.
#[test]
fn what_is_to_be_copied_once_fails_without_its_source_and_a_failover_does_not() {
    let only = link("copy", ["east", "west"], "orders");
    let clusters = TwoClusters::start(1, &only);
    clusters.create(&clusters.east, "orders", 1, &[]);
    applied(&clusters, &[]);
    clusters.east.faults().stop_broker(1);
    let once = ["run", "mirror.toml", "--until-caught-up"];
    let ran = clusters.run(&once);
    assert_eq!(ran.code, Some(1), "{ran}");
    let unread = "cluster `east` can't be read";
    assert!(ran.stderr.contains(unread), "{ran}");
    clusters.write(&format!(
        "{only}[links.copy.mirrors.orders]\nstate = \"failed-over\"\n"
    ));
    applied(&clusters, &["--wait", "0s"]);
    let ran = clusters.run(&once);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(is_stopped(&clusters, "orders"));
    // Nobody is there to copy to.
    clusters.west.faults().stop_broker(1);
    let ran = clusters.run(&["run", "mirror.toml"]);
    assert_eq!(ran.code, Some(1), "{ran}");
}

/// Half of the partitions would stand still at the one that cannot read them.
#[test]
fn a_worker_that_lacks_a_source_leaves_the_work_to_those_that_reach_it() {
    const PARTITIONS: i32 = 12;
    let only = link("copy", ["east", "west"], "orders");
    let clusters = TwoClusters::start(1, &only);
    clusters.create(&clusters.east, "orders", PARTITIONS, &[]);
    applied(&clusters, &[]);
    let file = std::fs::read_to_string(clusters.scenario.path("mirror.toml")).expect("written");
    // Nobody listens there.
    let blind = file.replace(&clusters.east.bootstrap_servers(), "127.0.0.1:1");
    clusters.scenario.file("blind.toml", blind);

    // Alone, it does what it can.
    let blind = WorkerProcess::start(&clusters, "blind.toml", &[], "blind.log");
    blind.await_word("nothing of it is copied here");
    let sighted = WorkerProcess::start(&clusters, "mirror.toml", &[], "sighted.log");
    blind.await_word("the work is left to them");
    produce(&clusters.east, "orders", PARTITIONS);
    let all = usize::try_from(PARTITIONS).expect("a few");
    eventually("all partitions are copied", || {
        filled(&clusters.west, "orders.replica", PARTITIONS) == all
    });
    // It waits, and is there when the others are gone.
    blind.await_word("it leaves the work to them until");
    sighted.end();
    clusters.write(&format!(
        "{only}[links.copy.mirrors.orders]\nstate = \"failed-over\"\n"
    ));
    applied(&clusters, &["--wait", "60s"]);
    assert!(is_stopped(&clusters, "orders"));
    blind.end();
}
