//! Topics of one name that are mirrored both ways: each has records of its own, and those of the other.

use proptest::prelude::*;

use super::properties::{Topic, cases, model, topics};
use super::*;
use crate::observe::model::{Contents, Described};
use crate::plan::reason::{Blocker, Reason};

const MARKED: &str =
    "offsets = \"translate\"\non_foreign_write = \"translate\"\nprovenance_header = true\n";

fn link(name: &str, source: &str, destination: &str, more: &str) -> String {
    format!(
        "[links.{name}]\nsource = \"{source}\"\ndestination = \"{destination}\"\ntopics = [\"*\"]\n{more}"
    )
}

/// Links both ways, under names of which the first comes first.
fn both_ways((there, back): (&str, &str)) -> Topology {
    with_clusters(&format!(
        "{}{}",
        link(there, "east", "west", MARKED),
        link(back, "west", "east", MARKED)
    ))
}

/// Somebody has written into the topic.
fn fill(model: &Model, cluster: &str, topic: &str) {
    let contents = Contents {
        offsets: 10,
        written: 10,
    };
    model.with_topic(cluster, topic, |topic| {
        topic.contents = Described::Known(contents);
    });
}

fn partitions(model: &Model, topic: &str) -> [i32; 2] {
    ["east", "west"].map(|cluster| model.with_topic(cluster, topic, |topic| topic.partitions))
}

fn retention(model: &Model, cluster: &str) -> Option<String> {
    model.with_topic(cluster, "orders", |topic| {
        let configs = topic.configs.known().expect("the model knows them");
        configs["retention.ms"].value.clone()
    })
}

/// Without this, the second link would wait for a topic that the first one makes, or the plan would depend on names.
#[test]
fn a_topic_of_one_side_is_mirrored_there_and_back_in_one_apply() {
    for names in [("a", "b"), ("b", "a")] {
        let topology = both_ways(names);
        let model = Model::new(&["east", "west"]);
        model.add_topic("east", "orders", 3, 1, &[("retention.ms", "7")]);
        fill(&model, "east", "orders");
        let planned = plan(&topology, &model);
        assert!(!planned.is_blocked(), "{:?}", causes(&planned));
        let mirror = |link: &str| {
            let address = format!("mirror.{link}/orders").parse().expect("an address");
            planned.entry(&address).expect("it is planned")
        };
        assert!(mirror(names.0).reasons.contains(&Reason::InRing));
        assert!(
            mirror(names.1)
                .depends_on
                .contains(&mirror(names.0).address)
        );
        assert!(apply(&topology, &model).is_complete());
        for cluster in model.observed().clusters.values() {
            let control = cluster.control.as_ref().expect("applied");
            assert!(
                control
                    .mirrors
                    .iter()
                    .all(|mirror| mirror.provenance_header)
            );
        }
        assert_eq!(summary(&plan(&topology, &model)), [""; 0]);
        assert_eq!(retention(&model, "west").as_deref(), Some("7"));
    }
}

/// Configs that each link takes over from the other side would go back and forth with every apply.
#[test]
fn both_sides_keep_their_configs_and_grow_together() {
    let topology = both_ways(("a", "b"));
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 2, 1, &[("retention.ms", "7")]);
    model.add_topic("west", "orders", 5, 1, &[("retention.ms", "8")]);
    fill(&model, "east", "orders");
    fill(&model, "west", "orders");
    assert!(apply(&topology, &model).is_complete());
    assert_eq!(summary(&plan(&topology, &model)), [""; 0]);
    assert_eq!(partitions(&model, "orders"), [5, 5]);
    model.with_topic("east", "orders", |topic| topic.partitions = 7);
    model.set_config("west", "orders", "retention.ms", Some("9"));
    assert!(apply(&topology, &model).is_complete());
    assert_eq!(summary(&plan(&topology, &model)), [""; 0]);
    assert_eq!(partitions(&model, "orders"), [7, 7]);
    let kept = ["east", "west"].map(|cluster| retention(&model, cluster));
    assert_eq!(kept.map(Option::unwrap), ["7", "9"]);
}

/// Rule 6: a sequence number would stand for another record.
#[test]
fn rule_6_a_mirror_marks_all_of_its_records_or_none() {
    let one_way = |more: &str| with_clusters(&link("a", "east", "west", more));
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    assert!(apply(&one_way(""), &model).is_complete());
    let marked = one_way("provenance_header = true\n");
    let planned = plan(&marked, &model);
    assert!(changes(&planned).contains(&"provenance_header: none -> true".to_owned()));
    let said = causes(&planned);
    assert!(said[0].contains("made without headers"), "{said:?}");
    // Topics that come later are marked.
    model.add_topic("east", "audit", 1, 1, &[]);
    apply(&marked, &model);
    let marks = |topic: &str| {
        let observed = model.observed();
        let control = observed.clusters["west"].control.as_ref().expect("applied");
        let mut mirrors = control.mirrors.iter();
        let found = mirrors.find(|mirror| mirror.source_topic == topic);
        found.expect("it was made").provenance_header
    };
    assert_eq!(["orders", "audit"].map(marks), [false, true]);
    assert!(causes(&plan(&one_way(""), &model))[0].contains("made with headers"));
}

/// Without this, records that an older mirror copied without a mark would go round for ever.
#[test]
fn a_mirror_that_was_made_without_marks_is_no_part_of_a_ring() {
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    let unmarked = "offsets = \"translate\"\non_foreign_write = \"translate\"\n";
    let there = with_clusters(&link("a", "east", "west", unmarked));
    assert!(apply(&there, &model).is_complete());
    let both = both_ways(("a", "b"));
    let blocked = |planned: &Plan| -> Vec<(String, Blocker)> {
        let entries = planned.entries.iter();
        entries
            .flat_map(|entry| {
                let address = entry.address.to_string();
                let blocked = entry.blocked.iter().cloned();
                blocked.map(move |blocker| (address.clone(), blocker))
            })
            .collect()
    };
    let found = blocked(&plan(&both, &model));
    let [
        (there, Blocker::ProvenanceFixed { .. }),
        (back, Blocker::Loop { .. }),
    ] = &found[..]
    else {
        panic!("{found:?}");
    };
    assert_eq!(
        (there.as_str(), back.as_str()),
        ("mirror.a/orders", "mirror.b/orders")
    );
    apply(&both, &model);
    assert_eq!(blocked(&plan(&both, &model)), found);
    // Nor is one of another file.
    let back = with_clusters(&link("b", "west", "east", MARKED));
    let found = blocked(&plan(&back, &model));
    assert!(
        matches!(&found[..], [(_, Blocker::Loop { .. })]),
        "{found:?}"
    );
}

/// A file that owned one of the topics would be refused.
#[test]
fn nobody_is_told_to_let_the_file_own_a_topic_of_a_ring() {
    let named = |name, source, destination| {
        link(name, source, destination, MARKED).replace("\"*\"", "\"orders\"")
    };
    let topology = with_clusters(&format!(
        "{}{}",
        named("a", "east", "west"),
        named("b", "west", "east")
    ));
    let planned = plan(&topology, &Model::new(&["east", "west"]));
    let blocked = planned.entries.iter().flat_map(|entry| &entry.blocked);
    let remedies: Vec<String> = blocked
        .map(|blocker| crate::report::words::blocker(blocker).remedy)
        .collect();
    assert_eq!(remedies.len(), 2);
    assert!(
        remedies.iter().all(|remedy| !remedy.contains("this file")),
        "{remedies:?}"
    );
}

/// A ring of two files is as good as one of one file.
#[test]
fn links_of_two_files_make_a_ring() {
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    fill(&model, "east", "orders");
    let there = with_clusters(&link("a", "east", "west", MARKED));
    let back = with_clusters(&link("b", "west", "east", MARKED));
    for topology in [&there, &back] {
        assert!(apply(topology, &model).is_complete());
    }
    for topology in [&there, &back] {
        let planned = plan(topology, &model);
        assert!(!planned.is_blocked(), "{:?}", causes(&planned));
        assert_eq!(summary(&planned), [""; 0]);
    }
}

#[test]
fn a_ring_is_deleted_as_a_whole() {
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    assert!(apply(&both_ways(("a", "b")), &model).is_complete());
    let absent = |name: &str, source, destination| {
        let gone = format!(
            "{MARKED}state = \"absent\"\n[links.{name}.mirrors.orders]\nstate = \"absent\"\n"
        );
        link(name, source, destination, &gone)
    };
    let gone = with_clusters(&format!(
        "{}{}",
        absent("a", "east", "west"),
        absent("b", "west", "east")
    ));
    let outcome = apply(&gone, &model);
    assert!(outcome.is_complete(), "{outcome:?}");
    let observed = model.observed();
    let mut clusters = observed.clusters.values();
    assert!(clusters.all(|cluster| !cluster.topics.contains_key("orders")));
}

#[test]
fn three_clusters_make_a_ring_too() {
    let file = |marked: [&str; 3]| {
        format!(
            "[clusters.north]\nbootstrap_servers = \"127.0.0.1:9072\"\n{}{}{}",
            link("c", "east", "west", marked[0]),
            link("b", "west", "north", marked[1]),
            link("a", "north", "east", marked[2])
        )
    };
    let topology = with_clusters(&file([MARKED; 3]));
    let model = Model::new(&["east", "west", "north"]);
    model.add_topic("west", "orders", 2, 1, &[]);
    fill(&model, "west", "orders");
    assert!(apply(&topology, &model).is_complete());
    assert_eq!(summary(&plan(&topology, &model)), [""; 0]);
    model.with_topic("east", "orders", |topic| topic.partitions = 4);
    // Growth goes round once.
    for _ in 0..2 {
        assert!(apply(&topology, &model).is_complete());
    }
    assert_eq!(summary(&plan(&topology, &model)), [""; 0]);
}

proptest! {
    #![proptest_config(cases(60))]

    /// Two teams have had topics of the same names for years.
    #[test]
    fn whatever_both_sides_have_a_ring_is_quiet_once_it_is_applied(
        east in topics(),
        west in topics(),
        grown in any::<[bool; 2]>(),
        names in prop::sample::select(&[("a", "b"), ("b", "a")][..]),
    ) {
        let (topology, model) = (both_ways(names), model(&east, &west));
        for (cluster, topics) in [("east", &east), ("west", &west)] {
            topics.iter().for_each(|topic: &Topic| fill(&model, cluster, topic.name));
        }
        let first = plan(&topology, &model);
        let outcome = apply(&topology, &model);
        prop_assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
        let second = plan(&topology, &model);
        prop_assert!(!second.has_changes(), "{:?}", changes(&second));
        prop_assert_eq!(first.is_blocked(), second.is_blocked());
        for ((cluster, topics), grown) in [("east", &east), ("west", &west)].into_iter().zip(grown) {
            if let Some(topic) = topics.first().filter(|_| grown) {
                model.with_topic(cluster, topic.name, |topic| topic.partitions += 2);
            }
        }
        apply(&topology, &model);
        let third = plan(&topology, &model);
        prop_assert!(!third.has_changes(), "{:?}", changes(&third));
    }
}
