//! Any file against any clusters: once applied it is quiet, and order means nothing.

use proptest::prelude::*;

use super::*;

/// Few enough for every build; PROPTEST_CASES asks for more.
pub(super) fn cases(few: u32) -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(few),
    }
}

#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub name: &'static str,
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

pub(super) fn topics() -> impl Strategy<Value = Vec<Topic>> {
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
            "[links.copy.mirrors.orders]\nstate = \"absent\"\n",
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
            "[clusters.west.topics.\"x-tmp\"]\nstate = \"absent\"\n[clusters.east.topics.local]\nstate = \"absent\"\n",
        ][..],
    )
    .prop_map(str::to_owned)
}

pub(super) fn model(east: &[Topic], west: &[Topic]) -> Model {
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
    #![proptest_config(cases(120))]

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

    /// An apply dies at any moment, its link is edited, and the next one can't finish it.
    #[test]
    fn a_killed_apply_is_finished_by_the_next_one(
        east in topics(),
        west in topics(),
        before in links(),
        links in links(),
        owned in owned(),
        killed_after in 0..14usize,
    ) {
        let (former, topology) = (with_clusters(&before), with_clusters(&format!("{owned}{links}")));
        let (model, whole) = (model(&east, &west), model(&east, &west));
        for model in [&model, &whole] {
            prop_assert!(apply(&former, model).is_complete());
        }
        prop_assert!(apply(&topology, &whole).is_complete());
        checks::apply_until(&topology, &model, killed_after);
        prop_assert!(apply(&topology, &model).is_complete());
        let (mended, expected) = (plan(&topology, &model), plan(&topology, &whole));
        prop_assert!(!mended.has_changes(), "{:?}", changes(&mended));
        prop_assert_eq!(summary(&mended), summary(&expected));
        let topics = |model: &Model| {
            let clusters = model.observed().clusters.into_iter();
            let names = clusters.map(|(name, seen)| (name, seen.topics.into_keys().collect::<Vec<_>>()));
            names.collect::<Vec<_>>()
        };
        prop_assert_eq!(topics(&model), topics(&whole));
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

/// Everything of a file in pieces that may stand in any order.
fn pieces() -> impl Strategy<Value = Vec<String>> {
    let copy = selectors([
        "\"*\"",
        "\"pay.*\"",
        "\"orders\"",
        "{ regex = \"a.*|x.*\" }",
    ]);
    let further = selectors([
        "\"m.*\"",
        "\"m.orders\"",
        "\"local\"",
        "{ regex = \"m.a.*\" }",
    ]);
    let excluded = selectors(["\"*-tmp\"", "\"x*\"", "{ regex = \".*z\" }", "\"y\""]);
    (copy, further, excluded).prop_map(|(copy, further, excluded)| {
        [
            "[clusters.east]\nbootstrap_servers = \"127.0.0.1:9082\"\n".to_owned(),
            "[clusters.west]\nbootstrap_servers = \"127.0.0.1:9092\"\n".to_owned(),
            "[clusters.north]\nbootstrap_servers = \"127.0.0.1:9072\"\n".to_owned(),
            format!("[links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [{copy}]\nexclude = [{excluded}]\nrename = {{ prefix = \"m.\" }}\n"),
            format!("[links.further]\nsource = \"west\"\ndestination = \"north\"\ntopics = [{further}]\n"),
            "[links.copy.mirrors.audit]\nstate = \"paused\"\nconfig = { \"retention.ms\" = 7, \"segment.ms\" = 8 }\n".to_owned(),
            "[links.copy.mirrors.orders]\nconfig = { \"segment.ms\" = 9, \"retention.ms\" = 3 }\n".to_owned(),
            "[clusters.west.topics.local]\npartitions = 2\nconfig = { \"segment.ms\" = 1, \"retention.ms\" = 4 }\n".to_owned(),
            "[clusters.west.topics.another]\n".to_owned(),
            "[clusters.east.topics.\"pay.x\"]\npartitions = 1\n".to_owned(),
        ]
        .to_vec()
    })
}

/// Any number of these, in any order, as they stand in a list.
fn selectors(all: [&'static str; 4]) -> impl Strategy<Value = String> {
    let some = prop::sample::subsequence(all.to_vec(), 1..=4);
    some.prop_shuffle().prop_map(|some| some.join(", "))
}

fn file_of(pieces: &[String]) -> Topology {
    topology(&format!("kmirror = 1\n{}", pieces.concat()))
}

/// The document without what follows the file's own order: its lines, and lists as they are written there.
fn without_places(plan: &Plan) -> String {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => {
                map.remove("asked_by");
                // These count changes.
                map.remove("basis");
                map.remove("fingerprint");
                map.values_mut().for_each(strip);
            }
            serde_json::Value::Array(list) => {
                list.iter_mut().for_each(strip);
                if list.iter().all(serde_json::Value::is_string) {
                    list.sort_by_key(ToString::to_string);
                }
            }
            _ => {}
        }
    }
    let mut document = serde_json::to_value(plan).expect("a plan is a document");
    strip(&mut document);
    serde_json::to_string_pretty(&document).expect("it is a document")
}

fn three(east: &[Topic], west: &[Topic]) -> Model {
    let model = model(east, west);
    let north = Model::new(&["north"]).observed().clusters["north"].clone();
    model.change(|observed| observed.clusters.insert("north".to_owned(), north));
    model
}

/// Words of a file of which each can be one or another.
const CHOICES: [&[&str]; 7] = [
    &["", "state = \"paused\"\n"],
    &["", "auto_create = false\n"],
    &["", "start = \"latest\"\n"],
    &["", "exclude = [\"pay.*\"]\n"],
    &["", "state = \"paused\"\n"],
    &[
        "",
        "config = { \"retention.ms\" = 7 }\n",
        "config = { \"retention.ms\" = 8, \"cleanup.policy\" = \"delete\" }\n",
    ],
    &["1000", "2000"],
];

fn choices() -> impl Strategy<Value = Vec<usize>> {
    CHOICES.map(|choice| 0..choice.len()).to_vec()
}

fn chosen(choices: &[usize]) -> Topology {
    let words: Vec<&str> = CHOICES
        .iter()
        .zip(choices)
        .map(|(choice, index)| choice[*index])
        .collect();
    with_clusters(&format!(
        "[clusters.west.topics.local]\nconfig = {{ \"retention.ms\" = {} }}\n\
         [links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"*\"]\n{}\
         [links.copy.mirrors.audit]\n{}[links.copy.mirrors.orders]\n{}",
        words[6],
        words[..4].concat(),
        words[4],
        words[5],
    ))
}

/// All that an apply can change, but for the counters of changes.
fn live(model: &Model) -> String {
    let mut observed = model.observed();
    for cluster in observed.clusters.values_mut() {
        if let Some(control) = &mut cluster.control {
            control.links.iter_mut().for_each(|it| it.generation = 0);
            control.mirrors.iter_mut().for_each(|it| it.generation = 0);
        }
    }
    format!("{observed:#?}")
}

fn first_difference(one: &str, other: &str) -> String {
    let mut lines = one.lines().zip(other.lines()).enumerate();
    let differs = lines.find(|(_, (one, other))| one != other);
    format!("{differs:?}")
}

proptest! {
    #![proptest_config(cases(60))]

    /// Somebody sorts the file, and a reviewer gets a page of changes; or the next run shows another one.
    #[test]
    fn no_order_in_the_file_or_in_what_clusters_answer_makes_a_difference(
        east in topics(),
        west in topics(),
        (pieces, shuffled) in pieces().prop_flat_map(|pieces| {
            (Just(pieces.clone()), Just(pieces).prop_shuffle())
        }),
        turn in 0..7usize,
    ) {
        let (one, other) = (file_of(&pieces), file_of(&shuffled));
        let model = three(&east, &west);
        let first = plan(&one, &model);
        let (first, second) = (without_places(&first), without_places(&plan(&other, &model)));
        prop_assert!(first == second, "{}", first_difference(&first, &second));
        prop_assert!(apply(&one, &model).is_complete());
        // What is recorded comes in the order of a log that was compacted at any time.
        let before = plan(&other, &model);
        prop_assert!(!before.has_changes(), "{:?}", changes(&before));
        model.change(|observed| {
            for cluster in observed.clusters.values_mut() {
                if let Some(control) = &mut cluster.control {
                    let (links, mirrors) = (control.links.len(), control.mirrors.len());
                    control.links.rotate_left(turn.min(links));
                    control.mirrors.rotate_left(turn.min(mirrors));
                }
            }
        });
        prop_assert_eq!(&plan(&other, &model), &before);
        let (first, second) = (without_places(&before), without_places(&plan(&one, &model)));
        prop_assert!(first == second, "{}", first_difference(&first, &second));
    }

    /// A change is taken back, and something of it stays.
    #[test]
    fn a_change_that_is_flipped_back_restores_the_plan_and_the_clusters(
        east in topics(),
        before in choices(),
        between in choices(),
    ) {
        let mut before = before;
        // What an apply has made is not unmade by a line that goes: such mirrors are paused.
        before[3] = 0;
        let (one, other) = (chosen(&before), chosen(&between));
        let model = model(&east, &[]);
        prop_assert!(apply(&one, &model).is_complete());
        let (quiet, there, state) = (plan(&one, &model), plan(&other, &model), live(&model));
        prop_assert!(apply(&other, &model).is_complete());
        let back = plan(&one, &model);
        prop_assert_eq!(there.has_changes(), back.has_changes());
        prop_assert!(apply(&one, &model).is_complete());
        prop_assert_eq!(&plan(&one, &model), &quiet);
        let (first, second) = (without_places(&there), without_places(&plan(&other, &model)));
        prop_assert!(first == second, "{}", first_difference(&first, &second));
        let restored = live(&model);
        prop_assert!(restored == state, "{}", first_difference(&state, &restored));
    }
}
