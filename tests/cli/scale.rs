//! Many topics: the requests of a plan and of an apply follow batches, not topics.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kafka_protocol::messages::ApiKey;
use kmirror::kafka::admin::NewTopic;

use crate::sandboxes::TwoClusters;

const LINK: &str = "[links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"*\"]\n";

/// Topics of one CreateTopics, resources of one DescribeConfigs: what one request carries at most.
const TOPICS: u64 = 100;
const RESOURCES: u64 = 200;

fn add_topics(clusters: &TwoClusters, numbers: std::ops::Range<u32>) {
    let topics = numbers
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
}

/// Requests by the name of their API, of one run of the program.
fn requests(clusters: &TwoClusters, arguments: &[&str], code: i32) -> BTreeMap<String, u64> {
    let sandboxes = [&clusters.east, &clusters.west];
    for sandbox in sandboxes {
        drop(sandbox.take_requests());
    }
    let ran = clusters.run(arguments);
    assert_eq!(ran.code, Some(code), "{}", ran.stderr);
    let mut sum = BTreeMap::new();
    for (api, count) in sandboxes.into_iter().flat_map(|it| it.take_requests()) {
        let api = ApiKey::try_from(api).expect("the sandbox knows it");
        *sum.entry(format!("{api:?}")).or_default() += count;
    }
    sum
}

fn of(requests: &BTreeMap<String, u64>, api: &str) -> u64 {
    requests.get(api).copied().unwrap_or(0)
}

/// A plan of thousands of topics would take minutes, as it does where every topic is asked for by itself.
#[test]
fn the_requests_of_a_plan_do_not_grow_with_topics_beyond_batching() {
    const PLAN: [&str; 3] = ["plan", "--detailed-exitcode", "mirror.toml"];
    let clusters = TwoClusters::start(1, LINK);
    add_topics(&clusters, 0..5);
    let few = requests(&clusters, &PLAN, 2);
    add_topics(&clusters, 5..80);
    // All in one batch: not one request more.
    assert_eq!(requests(&clusters, &PLAN, 2), few);
    add_topics(&clusters, 80..600);
    let many = requests(&clusters, &PLAN, 2);
    let mut expected = few.clone();
    for (api, batch) in [("DescribeConfigs", RESOURCES), ("CreateTopics", TOPICS)] {
        *expected.entry(api.to_owned()).or_default() += 600_u64.div_ceil(batch) - 1;
    }
    // Besides the topics, the internal ones are rehearsed.
    assert!(
        many.values().sum::<u64>() <= expected.values().sum(),
        "{many:?} instead of {expected:?}"
    );
    let applied = requests(&clusters, &["apply", "--yes", "mirror.toml"], 0);
    // Two looks and the rehearsal, then the creations; a producer id is the one thing that Kafka gives out singly.
    let creations = of(&applied, "CreateTopics");
    assert!(creations <= 2 * 600_u64.div_ceil(TOPICS) + 3, "{applied:?}");
    let ids = of(&applied, "InitProducerId");
    assert!((600..=604).contains(&ids), "{applied:?}");
    let others = applied.values().sum::<u64>() - creations - ids;
    assert!(others <= 120, "{applied:?}");
    let quiet = requests(&clusters, &PLAN, 0);
    let read = 2 * 600_u64.div_ceil(RESOURCES);
    assert!(of(&quiet, "DescribeConfigs") <= read + 2, "{quiet:?}");
    assert_eq!(of(&quiet, "CreateTopics"), 0, "{quiet:?}");
    assert!(quiet.values().sum::<u64>() <= 40, "{quiet:?}");
}

/// The same for topics that the file owns one by one.
#[test]
fn owned_topics_are_read_and_changed_in_batches() {
    let file = |retention: u32| {
        let mut text = String::new();
        for number in 0..150 {
            writeln!(
                text,
                "[clusters.west.topics.owned-{number}]\nconfig = {{ \"retention.ms\" = {retention} }}"
            )
            .expect("text takes everything");
        }
        text
    };
    let clusters = TwoClusters::start(1, &file(1_000));
    let applied = requests(&clusters, &["apply", "--yes", "mirror.toml"], 0);
    assert!(of(&applied, "CreateTopics") <= 4, "{applied:?}");
    clusters.write(&file(2_000));
    let changed = requests(&clusters, &["apply", "--yes", "mirror.toml"], 0);
    assert!(of(&changed, "IncrementalAlterConfigs") <= 3, "{changed:?}");
    assert!(changed.values().sum::<u64>() <= 40, "{changed:?}");
}
