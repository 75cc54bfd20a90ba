//! Any file against any clusters: once applied it is quiet, and order means nothing.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Topic {
    name: &'static str,
    partitions: i32,
    factor: i16,
    configs: Vec<(&'static str, &'static str)>,
}

const NAMES: [&str; 6] = [
    "orders",
    "audit",
    "pay.in",
    "pay.out",
    "x-tmp",
    "east.orders",
];
const CONFIGS: [(&str, &str); 8] = [
    ("cleanup.policy", "compact"),
    ("compression.type", "zstd"),
    ("message.timestamp.type", "LogAppendTime"),
    ("max.message.bytes", "5000000"),
    ("min.insync.replicas", "2"),
    ("retention.ms", "604800000"),
    ("remote.storage.enable", "true"),
    ("leader.replication.throttled.replicas", "*"),
];

fn topics() -> impl Strategy<Value = Vec<Topic>> {
    let topic = (
        prop::sample::select(&NAMES[..]),
        1..4i32,
        1..4i16,
        prop::collection::vec(prop::sample::select(&CONFIGS[..]), 0..4),
    );
    prop::collection::vec(topic, 0..6).prop_map(|topics| {
        topics
            .into_iter()
            .map(|(name, partitions, factor, configs)| Topic {
                name,
                partitions,
                factor,
                configs,
            })
            .collect()
    })
}

fn links() -> impl Strategy<Value = String> {
    let selectors = prop::collection::vec(
        prop::sample::select(
            &[
                "\"*\"",
                "\"pay.*\"",
                "\"orders\"",
                "{ regex = \"a.*|x.*\" }",
            ][..],
        ),
        1..3,
    );
    let rename = prop::sample::select(
        &[
            "",
            "rename = \"${topic}.replica\"\n",
            "rename = { prefix = \"m.\" }\n",
        ][..],
    );
    let factor = prop::sample::select(&["", "replication_factor = 1\n"][..]);
    let state = prop::sample::select(&["", "state = \"paused\"\n"][..]);
    let mirror = prop::sample::select(
        &[
            "",
            "[links.copy.mirrors.audit]\nstate = \"paused\"\nconfig = { \"retention.ms\" = \"7\" }\n",
        ][..],
    );
    (selectors, rename, factor, state, mirror).prop_map(
        |(selectors, rename, factor, state, mirror)| {
            format!(
                "[links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [{}]\nexclude = [\"*-tmp\"]\n{rename}{factor}{state}{mirror}",
                selectors.join(", ")
            )
        },
    )
}

fn owned() -> impl Strategy<Value = String> {
    prop::sample::select(
        &[
            "",
            "[clusters.east.topics.orders]\npartitions = 3\nconfig = { \"retention.ms\" = \"9\" }\n",
            "[clusters.west.topics.local]\nreplication_factor = 2\n[clusters.east.topics.\"pay.x\"]\n",
        ][..],
    )
    .prop_map(str::to_owned)
}

fn model(east: &[Topic], west: &[Topic]) -> Model {
    let model = Model::new(&["east", "west"]);
    for (cluster, topics) in [("east", east), ("west", west)] {
        for topic in topics {
            model.add_topic(
                cluster,
                topic.name,
                topic.partitions,
                topic.factor,
                &topic.configs,
            );
        }
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn a_second_plan_finds_nothing_to_do_and_an_apply_of_it_writes_nothing(
        east in topics(),
        west in topics(),
        links in links(),
        owned in owned(),
    ) {
        let topology = with_clusters(&format!("{owned}{links}"));
        let model = model(&east, &west);
        let first = plan(&topology, &model);
        let blocked: Vec<_> = summary(&first)
            .into_iter()
            .filter(|line| line.starts_with("blocked"))
            .collect();
        // Here, unlike on the command line, what is not blocked is done.
        prop_assert!(apply(&topology, &model).is_complete());
        model.take_writes();
        let second = plan(&topology, &model);
        prop_assert_eq!(summary(&second), blocked);
        prop_assert!(!second.has_changes());
        prop_assert!(apply(&topology, &model).is_complete());
        prop_assert_eq!(model.take_writes(), Vec::<String>::new());
        // What was applied has not drifted, but for what no apply would do anything about.
        let drift = crate::plan::drift::drift(&second, &std::collections::BTreeSet::new());
        let mended = |entry: &crate::plan::drift::Drifted| {
            entry.blocked.is_empty() && entry.seen.is_none()
        };
        prop_assert!(!drift.entries.iter().any(mended), "{:?}", drift.entries);
    }

    #[test]
    fn the_plan_depends_on_no_order(
        east in topics(),
        west in topics(),
        links in links(),
    ) {
        // The first of two topics of one name counts, in either order.
        let unique = |topics: &[Topic]| {
            let mut seen = std::collections::BTreeSet::new();
            topics.iter().filter(|topic| seen.insert(topic.name)).cloned().collect::<Vec<_>>()
        };
        let (mut east, mut west) = (unique(&east), unique(&west));
        let topology = with_clusters(&links);
        let forward = model(&east, &west).observed();
        east.reverse();
        west.reverse();
        let mut backward = model(&east, &west).observed();
        // Ids follow the order of creation and are part of no plan for topics that are new.
        for (name, cluster) in &mut backward.clusters {
            for (topic, seen) in &mut cluster.topics {
                seen.id = forward.clusters[name].topics[topic].id;
            }
        }
        prop_assert_eq!(
            super::super::plan(&topology, &forward),
            super::super::plan(&topology, &backward)
        );
    }
}
