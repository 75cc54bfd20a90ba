//! What is deleted, what is not, and in which order.

use super::*;
use crate::plan::guard;
use crate::plan::model::{Action, Severity};

const OWNED: &str =
    "[clusters.east.topics.orders]\npartitions = 2\n[clusters.east.topics.audit]\npartitions = 1\n";

fn absent(what: &str) -> String {
    format!("[links.copy.mirrors.{what}]\nstate = \"absent\"\n")
}

/// Two topics mirrored.
fn applied() -> Model {
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 2, 1, &[]);
    model.add_topic("east", "audit", 1, 1, &[]);
    assert!(apply(&copy("topics = [\"*\"]\n"), &model).is_complete());
    model.take_writes();
    model
}

/// A team's topic would be gone because somebody edited another line.
#[test]
fn check_6_nothing_is_deleted_because_the_file_does_not_name_it() {
    let model = applied();
    for text in [
        copy("topics = [\"nothing\"]\n[links.copy.mirrors.x]\nstate = \"absent\"\n"),
        copy("state = \"paused\"\ntopics = [\"orders\"]\n"),
        with_clusters(""),
    ] {
        let plan = plan(&text, &model);
        let deleted = plan.entries.iter().any(|it| it.action == Action::Delete);
        assert!(!deleted, "{:?}", summary(&plan));
    }
}

/// The tombstone alone is no permission.
#[test]
fn check_6_a_tombstone_without_the_flag_is_blocked() {
    let model = applied();
    let topology = copy(&format!("topics = [\"*\"]\n{}", absent("orders")));
    let mut plan = plan(&topology, &model);
    assert_eq!(
        summary(&plan),
        ["update link.copy", "delete mirror.copy/orders"]
    );
    let entry = &plan.entries[plan.entries.len() - 1];
    assert_eq!(entry.severity, Severity::Destructive);
    guard(&mut plan, false);
    assert_eq!(
        summary(&plan),
        ["update link.copy", "blocked mirror.copy/orders"]
    );
    assert_eq!(causes(&plan), ["Deletions are not allowed."]);
    assert_eq!((plan.counts.delete, plan.counts.blocked), (0, 1));
}

#[test]
fn a_mirror_stops_before_its_topic_goes_and_is_not_made_again() {
    let model = applied();
    let topology = copy(&format!("topics = [\"*\"]\n{}", absent("orders")));
    assert!(apply(&topology, &model).is_complete());
    assert_eq!(
        model.take_writes(),
        [
            "commit 1 records on west",
            "commit 1 records on west",
            "delete west/orders",
            "forget 1 mirrors on west",
            "commit 1 records on west",
        ]
    );
    let west = &model.observed().clusters["west"];
    assert!(!west.topics.contains_key("orders"));
    let control = west.control.as_ref().expect("applied");
    let left: Vec<_> = control.mirrors.iter().map(|it| &it.source_topic).collect();
    assert_eq!(left, ["audit"]);
    // Workers go by the link's record: the pattern still matches, and the topic is not taken.
    let rule = crate::topology::resolve::LinkRule::from(&control.links[0]);
    assert!(rule.takes("orders").is_none() && rule.takes("audit").is_some());
    // The tombstone stays in the file without doing anything more.
    let second = plan(&topology, &model);
    assert_eq!(summary(&second), [""; 0]);
}

/// Everything that the tutorial made, in one apply, source topics after their mirrors and the link last.
#[test]
fn a_whole_link_goes_in_the_order_of_dependence() {
    let model = applied();
    let text = format!(
        "{}[links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"*\"]\nstate = \"absent\"\n{}{}",
        OWNED.replace("partitions = 2", "state = \"absent\""),
        absent("orders"),
        absent("audit"),
    );
    let topology = with_clusters(&text);
    assert_eq!(
        summary(&plan(&topology, &model)),
        [
            "delete cluster.east/topic.orders",
            "delete link.copy",
            "delete mirror.copy/audit",
            "delete mirror.copy/orders",
        ]
    );
    assert!(apply(&topology, &model).is_complete());
    assert_eq!(
        model.take_writes(),
        [
            "commit 2 records on west",
            "delete west/audit",
            "delete west/orders",
            "forget 2 mirrors on west",
            "commit 2 records on west",
            "delete east/orders",
            "commit 1 records on west",
        ]
    );
    assert_eq!(summary(&plan(&topology, &model)), [""; 0]);
    let control = model.observed().clusters["west"].control.clone();
    let control = control.expect("the internal topics stay");
    assert!(control.links.is_empty() && control.mirrors.is_empty());
}

#[test]
fn a_link_with_mirrors_left_stays() {
    let model = applied();
    let topology = copy(&format!(
        "topics = [\"*\"]\nstate = \"absent\"\n{}",
        absent("orders")
    ));
    let plan = plan(&topology, &model);
    assert_eq!(
        summary(&plan),
        ["blocked link.copy", "delete mirror.copy/orders"]
    );
    assert_eq!(causes(&plan), ["The link has mirrors left: audit."]);
}

#[test]
fn a_topic_that_is_still_copied_stays() {
    let model = applied();
    let text = format!(
        "{}[links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"audit\"]\n",
        OWNED.replace("partitions = 2", "state = \"absent\"")
    );
    let plan = plan(&with_clusters(&text), &model);
    assert_eq!(
        causes(&plan),
        ["east/orders is where mirror.copy/orders is filled from."]
    );
}

#[test]
fn a_mirror_topic_of_a_mirror_that_stays_is_not_deleted_as_an_owned_one() {
    let model = applied();
    let topology = with_clusters("[clusters.west.topics.orders]\nstate = \"absent\"\n");
    let plan = plan(&topology, &model);
    assert_eq!(summary(&plan), ["blocked cluster.west/topic.orders"]);
}

/// Somebody made another topic of the same name, which has nothing to do with the mirror.
#[test]
fn a_topic_that_was_recreated_is_not_deleted() {
    let model = applied();
    let other = model.fresh_id();
    model.with_topic("west", "orders", |topic| topic.id = other);
    let topology = copy(&format!("topics = [\"*\"]\n{}", absent("orders")));
    let plan = plan(&topology, &model);
    assert!(
        summary(&plan).contains(&"blocked mirror.copy/orders".to_owned()),
        "{:?}",
        summary(&plan)
    );
}

/// An apply that was killed between the topic and its record goes on where it was.
#[test]
fn a_record_whose_topic_is_gone_already_goes_too() {
    let model = applied();
    model.change(|observed| {
        let west = observed.clusters.get_mut("west").expect("known");
        west.topics.remove("orders");
    });
    let topology = copy(&format!("topics = [\"*\"]\n{}", absent("orders")));
    assert!(apply(&topology, &model).is_complete());
    let writes = model.take_writes();
    assert!(!writes.contains(&"delete west/orders".to_owned()));
    assert_eq!(summary(&plan(&topology, &model)), [""; 0]);
}

/// The record would be gone and nobody would know any more whose the topic is.
#[test]
fn what_is_recorded_stays_where_the_topic_could_not_be_deleted() {
    let mut model = applied();
    model.refuses.push("orders".to_owned());
    let topology = copy(&format!("topics = [\"*\"]\n{}", absent("orders")));
    let outcome = apply(&topology, &model);
    assert_eq!(failures(&outcome).len(), 1);
    let control = model.observed().clusters["west"].control.clone();
    assert_eq!(control.expect("applied").mirrors.len(), 2);
    model.refuses.clear();
    assert!(apply(&topology, &model).is_complete());
    assert_eq!(summary(&plan(&topology, &model)), [""; 0]);
}

#[test]
fn a_chain_goes_from_its_end() {
    let text = |state: &str| {
        format!(
            "[clusters.south]\nbootstrap_servers = \"c:1\"\n\
             [links.first]\nsource = \"east\"\ndestination = \"west\"\n[links.first.mirrors.orders]\n{state}\
             [links.second]\nsource = \"west\"\ndestination = \"south\"\n[links.second.mirrors.orders]\n{state}"
        )
    };
    let model = Model::new(&["east", "west", "south"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    assert!(apply(&with_clusters(&text("")), &model).is_complete());
    model.take_writes();
    let topology = with_clusters(&text("state = \"absent\"\n"));
    assert!(apply(&topology, &model).is_complete());
    let deleted: Vec<_> = model
        .take_writes()
        .into_iter()
        .filter(|line| line.starts_with("delete"))
        .collect();
    assert_eq!(deleted, ["delete south/orders", "delete west/orders"]);
}
