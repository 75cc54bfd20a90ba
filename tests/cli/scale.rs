//! Many topics: the plan's requests must not grow with them.

use std::time::Instant;

use kmirror::kafka::admin::NewTopic;

use crate::sandboxes::TwoClusters;

#[test]
fn hundreds_of_topics_are_applied_in_batches() {
    let clusters = TwoClusters::start(
        1,
        "[links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"*\"]\n",
    );
    let topics = (0..600)
        .map(|number| NewTopic {
            name: format!("topic-{number:04}"),
            partitions: Some(2),
            replication_factor: Some(1),
            configs: vec![("retention.ms".to_owned(), "5000".to_owned())],
        })
        .collect();
    let admin = clusters.client(&clusters.east).admin();
    for (topic, result) in clusters.block_on(admin.create_topics(topics, false)) {
        result.unwrap_or_else(|error| panic!("{topic}: {error}"));
    }
    let started = Instant::now();
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr.len());
    assert!(ran.stderr.contains("Applied: 602 done."));
    let applied = started.elapsed();
    let ran = clusters.run(&["plan", "--detailed-exitcode", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    println!(
        "apply {applied:?}, second plan {:?}",
        started.elapsed() - applied
    );
}
