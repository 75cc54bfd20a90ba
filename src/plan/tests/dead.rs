//! A source that is down: its mirrors can be paused, and nothing else is claimed to be known.

use super::*;
use crate::observe::model::Observed;
use crate::plan::can_do_without;
use crate::plan::reason::Note;

const TWO_SOURCES: &str = r#"
[clusters.north]
bootstrap_servers = "127.0.0.1:9072"
[links.onward]
source = "north"
destination = "west"
topics = ["stock"]
"#;

fn file(more: &str) -> Topology {
    copy(&format!(
        "topics = [\"orders\", \"pay-*\"]\n{more}{TWO_SOURCES}"
    ))
}

/// Applied once, with `east` gone since.
fn dead(clusters: &[&str]) -> (Model, impl Fn(&Topology, &Model) -> Plan) {
    let model = Model::new(&["east", "west", "north"]);
    for topic in ["orders", "pay-1", "pay-2"] {
        model.add_topic("east", topic, 1, 1, &[]);
    }
    model.add_topic("north", "stock", 1, 1, &[]);
    apply(&file(""), &model);
    let gone: Vec<String> = clusters.iter().map(|it| (*it).to_owned()).collect();
    let plan = move |topology: &Topology, model: &Model| {
        super::super::plan(topology, &without(model.observed(), &gone))
    };
    (model, plan)
}

fn without(mut observed: Observed, clusters: &[String]) -> Observed {
    for cluster in clusters {
        observed.clusters.remove(cluster);
        let cause = "a:1: connection refused".to_owned();
        observed.unreachable.insert(cluster.clone(), cause);
    }
    observed
}

fn carry_out(plan: &Plan, model: &Model, gone: &[&str]) -> Outcome {
    let gone: Vec<String> = gone.iter().map(|it| (*it).to_owned()).collect();
    let observed = without(model.observed(), &gone);
    let stop = CancellationToken::new();
    futures::executor::block_on(execute(plan, &observed, model, manner(&stop)))
}

#[test]
fn a_link_can_be_paused_while_its_source_is_down() {
    let (model, plan) = dead(&["east"]);
    let paused = file("state = \"paused\"\n");
    let first = plan(&paused, &model);
    assert_eq!(summary(&first), ["pause link.copy"]);
    assert_eq!(first.notes.len(), 1, "{:?}", first.notes);
    assert!(carry_out(&first, &model, &["east"]).is_complete());
    // Now there is nothing left that could be known.
    let second = plan(&paused, &model);
    assert_eq!(summary(&second), ["blocked link.copy"]);
    assert_eq!(
        causes(&second),
        ["The source `east` can't be read: a:1: connection refused."]
    );
}

#[test]
fn one_mirror_can_be_paused_while_the_source_is_down() {
    let (model, plan) = dead(&["east"]);
    let paused = file("[links.copy.mirrors.orders]\nstate = \"paused\"\n");
    let first = plan(&paused, &model);
    assert_eq!(
        summary(&first),
        ["update link.copy", "pause mirror.copy/orders"]
    );
    assert!(carry_out(&first, &model, &["east"]).is_complete());
    assert!(plan(&paused, &model).is_blocked());
    // With the source back there is nothing to do any more.
    assert!(!super::plan(&paused, &model).has_changes());
}

#[test]
fn whatever_else_is_asked_is_blocked_and_other_links_go_on() {
    let (model, plan) = dead(&["east"]);
    model.set_config("west", "stock", "retention.ms", Some("7"));
    for more in [
        "",
        "auto_create = false\n",
        "exclude = [\"pay-2\"]\n",
        "state = \"paused\"\nauto_create = false\n",
        "[links.copy.mirrors.orders]\nstate = \"absent\"\n",
        "[links.copy.mirrors.orders]\nconfig = { \"retention.ms\" = 5 }\n",
    ] {
        let planned = plan(&file(more), &model);
        let told = summary(&planned);
        assert!(
            told.contains(&"update mirror.onward/stock".to_owned()),
            "{told:?}"
        );
        assert!(planned.is_blocked(), "{more}: {told:?}");
        let changed: Vec<_> = planned
            .entries
            .iter()
            .filter(|entry| entry.action.changes())
            .map(|entry| entry.address.to_string())
            .filter(|address| address.contains("copy"))
            .collect();
        assert_eq!(changed, [""; 0], "{more}");
    }
}

/// Two clusters that mirror each other: the one that is left has to be failed over to.
#[test]
fn a_link_to_the_dead_cluster_is_blocked_and_the_one_from_it_fails_over() {
    let back = "[links.back]\nsource = \"west\"\ndestination = \"east\"\ntopics = [\"invoices\"]\n";
    let file = |more: &str| copy(&format!("topics = [\"orders\"]\n{more}{back}"));
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    model.add_topic("west", "invoices", 1, 1, &[]);
    assert!(apply(&file(""), &model).is_complete());
    let gone = ["east".to_owned()];
    let observed = without(model.observed(), &gone);
    assert!(can_do_without(&file(""), &observed, "east"));
    let lost = file("[links.copy.mirrors.orders]\nstate = \"failed-over\"\n");
    let mut planned = super::super::plan(&lost, &observed);
    assert_eq!(
        summary(&planned),
        [
            "blocked link.back",
            "update link.copy",
            "failover mirror.copy/orders"
        ]
    );
    assert_eq!(
        causes(&planned),
        ["The destination `east` can't be read: a:1: connection refused."]
    );
    let only = ["link.copy".to_owned()];
    crate::plan::target::narrow(&mut planned, &only).expect("it is planned");
    assert!(carry_out(&planned, &model, &["east"]).is_complete());
}

#[test]
fn only_a_source_of_applied_links_can_be_done_without() {
    let (model, _) = dead(&[]);
    let observed = |gone: &str| without(model.observed(), &[gone.to_owned()]);
    let can = |more: &str, cluster: &str| can_do_without(&file(more), &observed(cluster), cluster);
    assert!(can("", "east"));
    assert!(can("", "north"));
    assert!(!can("", "west"));
    // Topics of the file's own are no reason to keep its mirrors from being failed over.
    assert!(can("[clusters.east.topics.audit]\n", "east"));
    // Not applied yet; a cluster that no link is about.
    let new = "[links.new]\nsource = \"east\"\ndestination = \"north\"\ntopics = [\"a\"]\n";
    assert!(!can(new, "east"));
    assert!(!can(
        "[clusters.south]\nbootstrap_servers = \"d:1\"\n",
        "south"
    ));
    let never = Model::new(&["east", "west", "north"]);
    let observed = without(never.observed(), &["east".to_owned()]);
    assert!(!can_do_without(&file(""), &observed, "east"));
}

#[test]
fn what_forbids_a_change_forbids_it_also_while_the_source_is_down() {
    let text = format!(
        "{CLUSTERS}[links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"orders\"]\nstate = \"paused\"\n"
    );
    let (model, plan) = dead(&["east"]);
    let pinned = text.replace(
        "[clusters.west]\n",
        "[clusters.west]\ncluster_id = \"another\"\n",
    );
    assert_eq!(
        summary(&plan(&topology(&pinned), &model)),
        ["blocked cluster.west", "blocked link.copy"]
    );
    model.change(|observed| {
        let west = observed.clusters.get_mut("west").expect("known");
        for link in &mut west.control.as_mut().expect("applied").links {
            link.owner = crate::control::records::Owner::Rest;
        }
    });
    let planned = plan(&topology(&text), &model);
    assert!(!planned.has_changes(), "{:?}", summary(&planned));
    assert!(planned.is_blocked());
}

/// The day for which there is a failover. What is recorded says which mirrors there are.
#[test]
fn mirrors_are_failed_over_while_the_source_is_down_and_not_promoted() {
    let (model, plan) = dead(&["east"]);
    let state = |state: &str| {
        file(&format!(
            "[links.copy.mirrors.orders]\nstate = \"{state}\"\n"
        ))
    };
    let promoted = plan(&state("promoted"), &model);
    assert!(promoted.is_blocked(), "{:?}", summary(&promoted));
    let first = plan(&state("failed-over"), &model);
    assert_eq!(
        summary(&first),
        ["update link.copy", "failover mirror.copy/orders"]
    );
    assert!(carry_out(&first, &model, &["east"]).is_complete());
    // It is under way, and can be waited for.
    let second = plan(&state("failed-over"), &model);
    assert!(!second.has_changes() && !second.is_blocked());
    let back = plan(&state("active"), &model);
    let told = causes(&back);
    assert!(
        told.iter()
            .any(|it| it.starts_with("The mirror was failed over")),
        "{told:?}"
    );
}

/// The file of somebody who has just lost a data centre: one mirror, named, and the topic at the source is the file's as well.
#[test]
fn a_mirror_that_is_named_alone_is_failed_over_although_its_source_topic_is_the_files_own() {
    let file = |state: &str| {
        copy(&format!(
            "[links.copy.mirrors.orders]\n{state}[clusters.east.topics.orders]\npartitions = 1\n"
        ))
    };
    let model = Model::new(&["east", "west"]);
    apply(&file(""), &model);
    let gone = ["east".to_owned()];
    let observed = without(model.observed(), &gone);
    assert!(can_do_without(&file(""), &observed, "east"));
    let plan = |text| super::super::plan(&file(text), &without(model.observed(), &gone));
    let first = plan("state = \"failed-over\"\n");
    assert_eq!(
        summary(&first),
        ["update link.copy", "failover mirror.copy/orders"]
    );
    let told = |plan: &Plan| {
        let notes = plan.notes.iter();
        notes
            .filter(|note| matches!(note, Note::TopicsUnread { topics: 1, .. }))
            .count()
    };
    assert_eq!(told(&first), 1);
    assert!(carry_out(&first, &model, &["east"]).is_complete());
    model.change(|observed| {
        let west = observed.clusters.get_mut("west").expect("known");
        for mirror in &mut west.control.as_mut().expect("applied").mirrors {
            mirror.ending.as_mut().expect("asked for").stopped_ms = Some(1);
        }
    });
    // Nothing of the source is missed any more.
    let after = plan("state = \"failed-over\"\n");
    assert!(
        !after.has_changes() && !after.is_blocked(),
        "{:?}",
        summary(&after)
    );
    assert_eq!(told(&after), 1);
    // Without anything asked, nobody can say that all is well.
    let idle = super::super::plan(&file(""), &observed);
    assert!(idle.is_blocked() && told(&idle) == 1);
}
