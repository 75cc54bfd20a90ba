//! What is planned, and that it is planned once.

use super::*;
use crate::observe::model::{Contents, Described};

#[test]
fn the_tutorial_applies_to_two_empty_clusters_at_once_and_then_is_quiet() {
    let topology = with_clusters(
        r#"
[clusters.east.topics.test-topic]
partitions = 1
replication_factor = 1
config = { "segment.bytes" = "10485760" }
[links.copy]
source = "east"
destination = "west"
topics = ["test-*"]
rename = "${topic}.replica"
replication_factor = 1
"#,
    );
    let model = Model::new(&["east", "west"]);
    assert_eq!(
        summary(&plan(&topology, &model)),
        [
            "create cluster.east/topic.test-topic",
            "create control.west",
            "create link.copy",
            "create mirror.copy/test-topic",
        ]
    );
    assert!(apply(&topology, &model).is_complete());
    assert_eq!(
        model.take_writes(),
        [
            "create east/test-topic",
            "create west/test-topic.replica",
            "1 producer ids of west",
            "commit 2 records on west",
        ]
    );
    let replica = &model.observed().clusters["west"].topics["test-topic.replica"];
    let configs = replica.configs.known().expect("described");
    assert_eq!(configs["segment.bytes"].value.as_deref(), Some("10485760"));
    assert_eq!(
        configs["message.timestamp.type"].value.as_deref(),
        Some("CreateTime")
    );
    let second = plan(&topology, &model);
    assert_eq!(summary(&second), [""; 0]);
    assert!(!second.has_changes());
    assert!(apply(&topology, &model).is_complete());
    assert_eq!(model.take_writes(), [""; 0]);
}

#[test]
fn drift_of_a_mirror_is_mended_and_what_nobody_asked_for_is_reset() {
    let topology = copy("topics = [\"orders\"]");
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 2, 1, &[("cleanup.policy", "compact")]);
    assert!(apply(&topology, &model).is_complete());
    model.set_config("west", "orders", "cleanup.policy", None);
    model.set_config("west", "orders", "compression.type", Some("zstd"));
    model.set_config("west", "orders", "retention.ms", Some("5"));
    model.set_config(
        "west",
        "orders",
        "follower.replication.throttled.replicas",
        Some("*"),
    );
    let plan = plan(&topology, &model);
    assert_eq!(summary(&plan), ["update mirror.copy/orders"]);
    assert_eq!(
        changes(&plan),
        [
            "config.cleanup.policy: delete -> compact",
            "config.compression.type: zstd -> producer",
            "config.retention.ms: 5 -> 604800000",
        ]
    );
    assert!(apply(&topology, &model).is_complete());
    assert!(!super::plan(&topology, &model).has_changes());
}

#[test]
fn partitions_follow_the_source() {
    let topology = copy("topics = [\"orders\"]");
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 2, 1, &[]);
    assert!(apply(&topology, &model).is_complete());
    model.with_topic("east", "orders", |topic| topic.partitions = 5);
    let plan = plan(&topology, &model);
    assert_eq!(changes(&plan), ["partitions: 2 -> 5"]);
    model.take_writes();
    assert!(apply(&topology, &model).is_complete());
    assert_eq!(model.take_writes(), ["grow west/orders to 5"]);
    let record = &model.observed().clusters["west"]
        .control
        .clone()
        .expect("applied")
        .mirrors[0];
    assert_eq!(record.initial_partitions, 2);
}

#[test]
fn owned_topics_keep_what_the_file_does_not_name() {
    let topology = with_clusters(
        "[clusters.west.topics.audit]\npartitions = 4\nconfig = { \"cleanup.policy\" = \"compact\" }\n",
    );
    let model = Model::new(&["east", "west"]);
    model.add_topic("west", "audit", 2, 1, &[("retention.ms", "7")]);
    let first = plan(&topology, &model);
    assert_eq!(summary(&first), ["update cluster.west/topic.audit"]);
    assert_eq!(
        changes(&first),
        [
            "partitions: 2 -> 4",
            "config.cleanup.policy: delete -> compact"
        ]
    );
    assert!(apply(&topology, &model).is_complete());
    assert!(!plan(&topology, &model).has_changes());
    assert_eq!(
        model.take_writes(),
        ["grow west/audit to 4", "alter west/audit"]
    );
}

#[test]
fn a_mirror_of_an_owned_topic_follows_its_change_in_the_same_apply() {
    let file = |partitions: i32, retention: &str| {
        with_clusters(&format!(
            "[clusters.east.topics.orders]\npartitions = {partitions}\nconfig = {{ \"retention.ms\" = \"{retention}\" }}\n\
             [links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"orders\"]\n"
        ))
    };
    let model = Model::new(&["east", "west"]);
    assert!(apply(&file(1, "5"), &model).is_complete());
    let second = file(3, "6");
    let planned = plan(&second, &model);
    assert_eq!(
        summary(&planned),
        [
            "update cluster.east/topic.orders",
            "update mirror.copy/orders"
        ]
    );
    assert_eq!(
        planned.entries.last().expect("two").depends_on[0].to_string(),
        "cluster.east/topic.orders"
    );
    assert!(apply(&second, &model).is_complete());
    assert!(!plan(&second, &model).has_changes());
}

#[test]
fn a_chain_of_links_is_planned_from_its_start_in_one_apply() {
    let topology = topology(
        r#"
kmirror = 1
[clusters.a]
bootstrap_servers = "127.0.0.1:1"
[clusters.b]
bootstrap_servers = "127.0.0.1:2"
[clusters.c]
bootstrap_servers = "127.0.0.1:3"
[links.z-first]
source = "a"
destination = "b"
topics = ["*"]
rename = { prefix = "a." }
[links.a-second]
source = "b"
destination = "c"
topics = ["*"]
"#,
    );
    let model = Model::new(&["a", "b", "c"]);
    model.add_topic("a", "orders", 3, 1, &[("retention.ms", "5")]);
    let first = plan(&topology, &model);
    assert_eq!(
        summary(&first),
        [
            "create control.b",
            "create control.c",
            "create link.a-second",
            "create mirror.a-second/a.orders",
            "create link.z-first",
            "create mirror.z-first/orders",
        ]
    );
    assert!(apply(&topology, &model).is_complete());
    assert_eq!(
        model.observed().clusters["c"].topics["a.orders"].partitions,
        3
    );
    assert!(!plan(&topology, &model).has_changes());
}

#[test]
fn pausing_and_resuming_a_link_or_a_mirror_is_called_so() {
    let file = |link: &str, mirror: &str| {
        copy(&format!(
            "topics = [\"orders\"]\nstate = \"{link}\"\n[links.copy.mirrors.orders]\nstate = \"{mirror}\"\n"
        ))
    };
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    assert!(apply(&file("active", "active"), &model).is_complete());
    let steps = [
        ("paused", "active", vec!["pause link.copy"]),
        ("active", "active", vec!["resume link.copy"]),
        (
            "active",
            "paused",
            vec!["update link.copy", "pause mirror.copy/orders"],
        ),
        (
            "active",
            "active",
            vec!["update link.copy", "resume mirror.copy/orders"],
        ),
    ];
    for (link, mirror, expected) in steps {
        let topology = file(link, mirror);
        assert_eq!(summary(&plan(&topology, &model)), expected);
        assert!(apply(&topology, &model).is_complete());
        assert!(!plan(&topology, &model).has_changes());
    }
}

/// Without this, a limit would hold only for links that are new, or never be taken away.
#[test]
fn a_limit_is_set_changed_and_taken_away() {
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 2, 1, &[]);
    assert!(apply(&copy("topics = [\"orders\"]"), &model).is_complete());
    let limited = |size: &str| {
        copy(&format!(
            "topics = [\"orders\"]\nlimit = {{ bytes_per_second = {size} }}"
        ))
    };
    for (topology, change) in [
        (
            limited("\"64MiB\""),
            "limit.bytes_per_second: none -> 67,108,864",
        ),
        (
            limited("1000"),
            "limit.bytes_per_second: 67,108,864 -> 1,000",
        ),
        (
            copy("topics = [\"orders\"]"),
            "limit.bytes_per_second: 1,000 -> none",
        ),
    ] {
        let planned = plan(&topology, &model);
        assert_eq!(summary(&planned), ["update link.copy"]);
        assert_eq!(changes(&planned), [change]);
        assert!(apply(&topology, &model).is_complete());
        assert_eq!(summary(&plan(&topology, &model)), [""; 0]);
    }
}

#[test]
fn a_topic_that_is_no_longer_selected_pauses_its_mirror_and_comes_back_where_it_was() {
    let both = copy("topics = [\"orders\", \"audit\"]");
    let one = copy("topics = [\"orders\"]");
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    model.add_topic("east", "audit", 1, 1, &[]);
    assert!(apply(&both, &model).is_complete());
    assert_eq!(
        summary(&plan(&one, &model)),
        ["update link.copy", "pause mirror.copy/audit"]
    );
    assert!(apply(&one, &model).is_complete());
    assert!(!plan(&one, &model).has_changes());
    assert_eq!(
        summary(&plan(&both, &model)),
        ["update link.copy", "resume mirror.copy/audit"]
    );
    model.take_writes();
    assert!(apply(&both, &model).is_complete());
    assert_eq!(model.take_writes(), ["commit 2 records on west"]);
}

#[test]
fn a_moved_link_keeps_its_id_and_its_mirrors() {
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    let old = copy("topics = [\"orders\"]");
    assert!(apply(&old, &model).is_complete());
    let id = model.observed().clusters["west"]
        .control
        .clone()
        .expect("applied")
        .links[0]
        .id;
    let new = with_clusters(
        "[links.shipping]\nmoved = \"copy\"\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"orders\"]\n",
    );
    let planned = plan(&new, &model);
    assert_eq!(summary(&planned), ["update link.shipping"]);
    assert_eq!(changes(&planned), ["name: copy -> shipping"]);
    assert!(apply(&new, &model).is_complete());
    let control = model.observed().clusters["west"]
        .control
        .clone()
        .expect("applied");
    assert_eq!((control.links.len(), control.links[0].id), (1, id));
    assert_eq!(control.links[0].generation, 2);
    assert!(!plan(&new, &model).has_changes());
}

#[test]
fn an_empty_topic_is_adopted_with_its_configs_brought_in_line() {
    let topology = copy("topics = [\"orders\"]");
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 3, 1, &[]);
    model.add_topic("west", "orders", 2, 3, &[("retention.ms", "5")]);
    let planned = plan(&topology, &model);
    assert_eq!(
        summary(&planned),
        [
            "create control.west",
            "create link.copy",
            "create mirror.copy/orders"
        ]
    );
    assert_eq!(
        planned.entries.last().expect("three").reasons[1],
        crate::plan::reason::Reason::AdoptsEmptyTopic
    );
    assert!(apply(&topology, &model).is_complete());
    assert!(!plan(&topology, &model).has_changes());
    assert_eq!(
        model.take_writes(),
        [
            "grow west/orders to 3",
            "alter west/orders",
            "1 producer ids of west",
            "commit 2 records on west"
        ]
    );
}

#[test]
fn a_mirror_whose_topic_is_gone_is_made_anew_in_place_of_the_old_record() {
    let topology = copy("topics = [\"orders\"]");
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    assert!(apply(&topology, &model).is_complete());
    model.change(|observed| {
        let west = observed.clusters.get_mut("west").expect("known");
        west.topics.remove("orders");
    });
    assert_eq!(
        summary(&plan(&topology, &model)),
        ["create mirror.copy/orders"]
    );
    assert!(apply(&topology, &model).is_complete());
    let observed = model.observed();
    let west = &observed.clusters["west"];
    let mirrors = &west.control.as_ref().expect("applied").mirrors;
    assert_eq!(mirrors.len(), 1);
    assert_eq!(mirrors[0].id.destination_topic, west.topics["orders"].id);
    assert!(!plan(&topology, &model).has_changes());
}

#[test]
fn a_failure_stops_no_siblings_and_skips_what_depends_on_it_by_name() {
    let topology = with_clusters(
        r#"
[clusters.east.topics.orders]
[clusters.east.topics.audit]
[links.copy]
source = "east"
destination = "west"
topics = ["*"]
"#,
    );
    let mut model = Model::new(&["east", "west"]);
    model.refuses = vec!["orders".to_owned()];
    let outcome = apply(&topology, &model);
    assert_eq!(
        failures(&outcome)
            .iter()
            .map(|(address, failure)| format!("{address}: {failure}"))
            .collect::<Vec<_>>(),
        ["cluster.east/topic.orders: POLICY_VIOLATION: orders is not to my taste"]
    );
    assert_eq!(
        outcome
            .skipped
            .iter()
            .map(|(address, because)| format!("{address} because of {because}"))
            .collect::<Vec<_>>(),
        ["mirror.copy/orders because of cluster.east/topic.orders"]
    );
    // What could be done is done; the next plan holds exactly the rest.
    assert_eq!(
        summary(&plan(&topology, &model)),
        [
            "create cluster.east/topic.orders",
            "create mirror.copy/orders"
        ]
    );
}

#[test]
fn an_apply_that_is_stopped_says_what_is_left() {
    let topology = copy("topics = [\"*\"]");
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    model.ensure_control("west");
    let plan = plan(&topology, &model);
    let stop = CancellationToken::new();
    stop.cancel();
    let outcome =
        futures::executor::block_on(execute(&plan, &model.observed(), &model, manner(&stop)));
    assert_eq!(outcome.done, []);
    assert_eq!(
        outcome
            .stopped
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["link.copy", "mirror.copy/orders"]
    );
    assert_eq!(model.take_writes(), [""; 0]);
}

#[test]
fn links_of_others_are_mentioned_and_left_alone() {
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    assert!(apply(&copy("topics = [\"orders\"]"), &model).is_complete());
    let other = with_clusters(
        "[links.other]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"x*\"]\n",
    );
    let planned = plan(&other, &model);
    assert_eq!(summary(&planned), ["create link.other"]);
    let notes: Vec<_> = planned
        .notes
        .iter()
        .map(|note| crate::report::words::note(note, 0))
        .collect();
    assert_eq!(
        notes,
        [
            "link `copy` on `west` is not in this file and is left alone",
            "link.other: no topic matches `x*` at present",
        ]
    );
}

#[test]
fn thousands_of_topics_are_planned_in_a_moment() {
    let topology = copy("topics = [\"*\"]\nrename = { prefix = \"east.\" }");
    let model = Model::new(&["east", "west"]);
    for number in 0..5_000 {
        model.add_topic(
            "east",
            &format!("topic-{number:05}"),
            3,
            1,
            &[("retention.ms", "5")],
        );
    }
    assert!(apply(&topology, &model).is_complete());
    let observed = model.observed();
    let started = std::time::Instant::now();
    let second = crate::plan::plan(&topology, &observed);
    assert_eq!(second.counts.unchanged, 5_002);
    // Far below a second when optimised; what grows with the square would take minutes here.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

/// Without this, `acks` would hold only for links that are new, or never be taken back.
#[test]
fn acknowledgements_are_changed_and_changed_back() {
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 2, 1, &[]);
    let all = copy("topics = [\"orders\"]");
    assert!(apply(&all, &model).is_complete());
    let leaders = copy("topics = [\"orders\"]\nconfig = { acks = \"1\" }");
    for (topology, change) in [
        (leaders, "config.acks: none -> 1"),
        (all, "config.acks: 1 -> none"),
    ] {
        let planned = plan(&topology, &model);
        assert_eq!(summary(&planned), ["update link.copy"]);
        assert_eq!(changes(&planned), [change]);
        assert!(apply(&topology, &model).is_complete());
        assert_eq!(summary(&plan(&topology, &model)), [""; 0]);
    }
}

/// A topic that others write to holds records before a link comes, and a link may be told only later that they do.
#[test]
fn a_topic_that_others_write_to_is_taken_over_only_where_the_link_says_so() {
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 2, 1, &[]);
    model.add_topic("west", "orders", 2, 1, &[]);
    let mut observed = model.observed();
    let west = observed.clusters.get_mut("west").expect("it is there");
    let topic = west.topics.get_mut("orders").expect("it was added");
    topic.contents = Described::Known(Contents {
        offsets: 1234,
        written: 1234,
    });
    let translated = "topics = [\"orders\"]\noffsets = \"translate\"";
    let planned = crate::plan::plan(&copy(translated), &observed);
    assert!(planned.is_blocked(), "{:?}", summary(&planned));
    let shared = format!("{translated}\non_foreign_write = \"translate\"");
    let planned = crate::plan::plan(&copy(&shared), &observed);
    let said = reasons(&planned);
    let appended = |reason: &String| reason.contains("1,234 records of others");
    assert!(said.iter().any(appended), "{said:?}");
    assert!(changes(&planned).contains(&"on_foreign_write: none -> translate".to_owned()));
}

fn reasons(plan: &Plan) -> Vec<String> {
    let reasons = plan.entries.iter().flat_map(|entry| &entry.reasons);
    reasons.map(crate::report::words::reason).collect()
}

/// Whoever approves a first apply has to see how long a fill will take and which right is missing, not find out later.
#[test]
fn what_equal_offsets_will_take_is_said_before() {
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 2, 1, &[]);
    model.add_topic("east", "state", 1, 1, &[("cleanup.policy", "compact")]);
    let mut observed = model.observed();
    let west = observed.clusters.get_mut("west").expect("it is there");
    west.user = "the user of `sasl.username`".to_owned();
    let cluster = observed.clusters.get_mut("east").expect("it is there");
    for (topic, written) in [("orders", 4_294_967_296), ("state", 1_000_000)] {
        let contents = Contents {
            offsets: 100,
            written,
        };
        let topic = cluster.topics.get_mut(topic).expect("it was added");
        topic.contents = Described::Known(contents);
    }
    let said = |more: &str, markers: Option<bool>| {
        let mut observed = observed.clone();
        let west = observed.clusters.get_mut("west").expect("it is there");
        west.allows_markers = markers;
        let topology = copy(&format!("topics = [\"*\"]\n{more}"));
        reasons(&crate::plan::plan(&topology, &observed))
    };
    let planned = said("", Some(false));
    let right = "the user of `sasl.username` may not write control markers (Alter on the cluster)";
    assert!(planned[0].starts_with(right), "{planned:?}");
    assert_eq!(
        planned[1..],
        [
            "4,294,967,196 offsets before the source's first record are taken up and deleted first: some 2.4 GiB, 215 seconds",
            "999,900 offsets before the source's first record are taken up and deleted first: some 74.4 MiB, 20 seconds",
        ]
    );
    let with_markers = said("", Some(true));
    assert!(with_markers[0].ends_with("are taken up by control markers"));
    assert_eq!(said("", None).len(), 2, "what is not known is not said");
    assert_eq!(said("offsets = \"translate\"", Some(false)), [""; 0]);
}
