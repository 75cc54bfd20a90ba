//! What is refused while planning, with its cause.

use super::*;

/// A link `copy` for `orders` that was applied, with three records at the source.
fn applied() -> (Topology, Model) {
    let topology = copy("topics = [\"orders\"]");
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 2, 1, &[]);
    assert!(apply(&topology, &model).is_complete());
    (topology, model)
}

fn assert_blocked(plan: &Plan, address: &str, cause: &str) {
    assert_eq!(causes(plan), [cause]);
    assert!(plan.is_blocked());
    let entry = plan
        .entries
        .iter()
        .find(|entry| !entry.blocked.is_empty())
        .expect("something is blocked");
    assert_eq!(entry.address.to_string(), address);
    assert_eq!(entry.operation, Operation::None);
}

#[test]
fn a_literal_that_the_source_lacks() {
    let model = Model::new(&["east", "west"]);
    assert_blocked(
        &plan(&copy("topics = [\"orders\"]"), &model),
        "mirror.copy/orders",
        "`east` has no topic `orders`.",
    );
}

fn hide(model: &Model, cluster: &str, topic: &str) {
    model.change(|observed| {
        let seen = observed.clusters.get_mut(cluster).expect("is there");
        seen.topics.remove(topic);
        seen.hidden.insert(topic.to_owned());
        seen.user = "the user of `sasl.username` (mirror.toml:7)".to_owned();
    });
}

#[test]
fn a_source_topic_that_the_user_may_not_see() {
    let model = Model::new(&["east", "west"]);
    hide(&model, "east", "orders");
    assert_blocked(
        &plan(&copy("topics = [\"orders\"]"), &model),
        "mirror.copy/orders",
        "`east` does not show topic `orders` to the user of `sasl.username` (mirror.toml:7), if there is one.",
    );
}

/// Were it taken for gone, it would be made and filled anew.
#[test]
fn a_mirror_topic_that_the_user_may_not_see() {
    let (topology, model) = applied();
    hide(&model, "west", "orders");
    assert_blocked(
        &plan(&topology, &model),
        "mirror.copy/orders",
        "`west` does not show topic `orders` to the user of `sasl.username` (mirror.toml:7), if there is one.",
    );
}

#[test]
fn what_a_cluster_does_not_list_is_asked_for_by_name() {
    let (_, model) = applied();
    let topology = copy("topics = [\"orders\", \"other-*\"]\n[links.copy.mirrors.named]\n");
    let named = |model: &Model| crate::plan::unseen(&topology, &model.observed());
    let only = |cluster: &str, topic: &str| (cluster.to_owned(), [topic.to_owned()].into());
    assert_eq!(named(&model), [only("east", "named")].into());
    hide(&model, "west", "orders");
    assert_eq!(
        named(&model),
        [only("east", "named"), only("west", "orders")].into()
    );
}

#[test]
fn a_destination_topic_that_somebody_else_filled() {
    let topology = copy("topics = [\"orders\"]");
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    model.add_topic("west", "orders", 1, 1, &[]);
    model.with_topic("west", "orders", |topic| {
        topic.contents = crate::observe::model::Described::Known(crate::observe::model::Contents {
            offsets: 1234,
            written: 2000,
        });
    });
    assert_blocked(
        &plan(&topology, &model),
        "mirror.copy/orders",
        "west/orders holds 1,234 records that this link did not write.",
    );
}

#[test]
fn fewer_partitions_at_the_source_than_at_the_destination() {
    let (topology, model) = applied();
    model.with_topic("west", "orders", |topic| topic.partitions = 3);
    assert_blocked(
        &plan(&topology, &model),
        "mirror.copy/orders",
        "west/orders has 3 partitions, its source only 2; partitions can't be taken away.",
    );
}

#[test]
fn a_factor_above_the_live_brokers() {
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 4, &[]);
    assert_blocked(
        &plan(&copy("topics = [\"orders\"]"), &model),
        "mirror.copy/orders",
        "Replication factor 4, the source topic's, needs 4 brokers; `west` has 3.",
    );
    let explicit = copy("topics = [\"orders\"]\nreplication_factor = 2");
    assert!(!plan(&explicit, &model).is_blocked());
}

#[test]
fn shrinking_or_moving_an_owned_topic() {
    let topology =
        with_clusters("[clusters.west.topics.audit]\npartitions = 2\nreplication_factor = 2\n");
    let model = Model::new(&["east", "west"]);
    model.add_topic("west", "audit", 4, 1, &[]);
    assert_eq!(
        causes(&plan(&topology, &model)),
        [
            "west/audit has 4 partitions, the file asks for 2; partitions can't be taken away.",
            "west/audit has replication factor 1, the file asks for 2; kmirror moves no replicas.",
        ]
    );
}

#[test]
fn recreated_topics() {
    let (topology, model) = applied();
    let before = model.observed();
    let found = model.fresh_id();
    model.with_topic("east", "orders", |topic| topic.id = found);
    let recorded = before.clusters["east"].topics["orders"].id;
    assert_blocked(
        &plan(&topology, &model),
        "mirror.copy/orders",
        &format!(
            "east/orders was recreated: the mirror copied the topic with id {recorded}, now it has id {found}."
        ),
    );
    model.with_topic("east", "orders", |topic| topic.id = recorded);
    model.with_topic("west", "orders", |topic| topic.id = found);
    let recorded = before.clusters["west"].topics["orders"].id;
    assert_blocked(
        &plan(&topology, &model),
        "mirror.copy/orders",
        &format!(
            "west/orders was recreated: the mirror wrote to the topic with id {recorded}, now it has id {found}."
        ),
    );
}

#[test]
fn brokers_without_topic_ids_are_taken_at_their_names() {
    let (topology, model) = applied();
    model.with_topic("east", "orders", |topic| topic.id = uuid::Uuid::nil());
    assert!(!plan(&topology, &model).has_changes());
}

#[test]
fn a_renamed_mirror() {
    let (_, model) = applied();
    let renamed = copy("topics = [\"orders\"]\nrename = { prefix = \"east.\" }");
    assert_blocked(
        &plan(&renamed, &model),
        "mirror.copy/orders",
        "The mirror is west/orders; a topic can't be renamed to east.orders.",
    );
}

#[test]
fn a_topic_that_another_link_writes() {
    let (_, model) = applied();
    let other = with_clusters(
        "[links.other]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"orders\"]\n",
    );
    assert_blocked(
        &plan(&other, &model),
        "mirror.other/orders",
        "west/orders is written by mirror.copy/orders.",
    );
}

#[test]
fn another_cluster_than_the_pinned_one_blocks_it_and_its_links_once() {
    let topology = topology(
        r#"
kmirror = 1
[clusters.east]
bootstrap_servers = "127.0.0.1:9082"
[clusters.west]
bootstrap_servers = "127.0.0.1:9092"
cluster_id = "MkU3OEVBNTcwNTJENDM2Qg"
[clusters.west.topics.audit]
[links.copy]
source = "east"
destination = "west"
topics = ["*"]
"#,
    );
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    assert_eq!(
        summary(&plan(&topology, &model)),
        ["blocked cluster.west", "blocked link.copy"]
    );
}

#[test]
fn a_link_that_was_bound_to_another_cluster() {
    let (topology, model) = applied();
    model.change(|observed| {
        let east = observed.clusters.get_mut("east").expect("known");
        east.cluster_id = "another".to_owned();
    });
    assert_blocked(
        &plan(&topology, &model),
        "link.copy",
        "The link was applied with cluster east-id as its source; `east` is cluster another.",
    );
}

#[test]
fn one_cluster_under_two_names() {
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    model.change(|observed| {
        let east = observed.clusters["east"].clone();
        observed.clusters.insert("west".to_owned(), east);
    });
    assert_blocked(
        &plan(&copy("topics = [\"orders\"]"), &model),
        "mirror.copy/orders",
        "Source and destination are the same topic `orders` of the same cluster east-id.",
    );
}

#[test]
fn data_that_would_come_back() {
    // Within one file this is found offline; across two files the records tell.
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    let there = with_clusters(
        "[links.there]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"*\"]\nrename = { prefix = \"east.\" }\n",
    );
    assert!(apply(&there, &model).is_complete());
    let back = with_clusters(
        "[links.back]\nsource = \"west\"\ndestination = \"east\"\ntopics = [\"*\"]\nrename = { prefix = \"west.\" }\n",
    );
    assert_eq!(
        summary(&plan(&back, &model)),
        [
            "create control.east",
            "create link.back",
            "blocked mirror.back/east.orders"
        ]
    );
    assert_eq!(
        causes(&plan(&back, &model)),
        [
            "The data would come back to the cluster that it came from: east/orders -> west/east.orders -> east/west.east.orders."
        ]
    );
}

#[test]
fn two_links_into_one_topic() {
    let topology = topology(
        r#"
kmirror = 1
[clusters.a]
bootstrap_servers = "127.0.0.1:1"
[clusters.b]
bootstrap_servers = "127.0.0.1:2"
[clusters.c]
bootstrap_servers = "127.0.0.1:3"
[links.from-a]
source = "a"
destination = "c"
topics = ["*"]
[links.from-b]
source = "b"
destination = "c"
topics = ["*"]
"#,
    );
    let model = Model::new(&["a", "b", "c"]);
    model.add_topic("a", "orders", 1, 1, &[]);
    model.add_topic("b", "orders", 1, 1, &[]);
    let cause = "a/orders and b/orders would all be written to c/orders.";
    assert_eq!(causes(&plan(&topology, &model)), [cause, cause]);
}

#[test]
fn a_source_whose_configs_may_not_be_read() {
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    model.with_topic("east", "orders", |topic| {
        topic.configs =
            crate::observe::model::Described::Refused("TOPIC_AUTHORIZATION_FAILED".to_owned());
    });
    assert_blocked(
        &plan(&copy("topics = [\"orders\"]"), &model),
        "mirror.copy/orders",
        "The configs of east/orders can't be read: TOPIC_AUTHORIZATION_FAILED",
    );
}

#[test]
fn a_pattern_whose_source_is_gone_is_a_note_and_nothing_is_done() {
    let topology = copy("topics = [\"ord*\"]");
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    assert!(apply(&topology, &model).is_complete());
    model.change(|observed| {
        let east = observed.clusters.get_mut("east").expect("known");
        east.topics.clear();
    });
    let planned = plan(&topology, &model);
    assert_eq!(summary(&planned), [""; 0]);
    assert!(
        planned
            .notes
            .iter()
            .any(|note| matches!(note, crate::plan::reason::Note::SourceGone { .. }))
    );
}
