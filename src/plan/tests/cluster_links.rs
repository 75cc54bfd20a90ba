//! Links that brokers carry: what a file asks for, what is there, and what stands between the two.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::observe::model::{Linking, NoLinking, Reach};
use crate::observe::platform::Platform;
use crate::plan::drift::{self, Direction};
use crate::plan::model::{Action, Address};
use crate::rest::documents::{LinkConfig, LinkState, MirrorState, Task, TaskState};

macro_rules! assert_screen {
    ($name:expr, $text:expr) => {
        insta::with_settings!({
            snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
            prepend_module_to_snapshot => false,
        }, {
            insta::assert_snapshot!($name, $text);
        });
    };
}

const ENDS: &str = r#"
kmirror = 1
[clusters.east]
bootstrap_servers = "east:9092"
rest = { url = "https://east:8090/kafka" }
[clusters.west]
bootstrap_servers = "west:9092"
rest = { url = "https://west:8090/kafka" }
"#;

/// A link `dr` from east to west that brokers carry, plus whatever else.
fn dr(more: &str) -> Topology {
    topology(&format!(
        "{ENDS}[links.dr]\nsource = \"east\"\ndestination = \"west\"\nengine = \"cluster-link\"\n{more}"
    ))
}

/// Both clusters offer links; the source is reached with a password, and holds two topics.
fn clusters() -> Model {
    let model = Model::new(&["east", "west"]);
    for cluster in ["east", "west"] {
        model.offer_links(cluster);
        model.change(|observed| {
            let reach = Reach {
                open: BTreeMap::from([
                    ("sasl.mechanism".to_owned(), "PLAIN".to_owned()),
                    ("security.protocol".to_owned(), "SASL_SSL".to_owned()),
                ]),
                sensitive: BTreeSet::from(["sasl.jaas.config".to_owned()]),
            };
            observed.reach.insert(cluster.to_owned(), Ok(reach));
        });
    }
    model.add_topic("east", "orders", 3, 3, &[]);
    model.add_topic("east", "payments", 3, 3, &[]);
    model
}

fn shown(plan: &Plan) -> String {
    crate::report::text::plan(plan, crate::report::text::TextOptions::PLAIN)
}

fn done(topology: &Topology, model: &Model) {
    let outcome = apply(topology, model);
    assert!(outcome.is_complete(), "{outcome:?}");
    let again = plan(topology, model);
    assert_eq!(summary(&again), Vec::<String>::new());
    assert!(!drift::drift(&again, &BTreeSet::new()).has_drifted());
}

fn state(model: &Model, topic: &str, state: MirrorState) {
    model.with_links("west", |links| {
        let mirror = links.mirrors.get_mut(topic).expect("known mirror");
        mirror.mirror_status = state;
    });
}

fn set(model: &Model, key: &str, value: &str) {
    model.with_links("west", |links| {
        let link = links.links.get_mut("dr").expect("known link");
        let config = LinkConfig {
            name: key.to_owned(),
            value: Some(value.to_owned()),
            is_default: Some(false),
            is_read_only: false,
            is_sensitive: false,
            source: None,
        };
        link.configs.insert(key.to_owned(), config);
    });
}

#[test]
fn a_link_with_its_mirrors_is_made_once_and_holds_no_secret_in_the_plan() {
    let (file, model) = (dr("topics = [\"orders\", \"payments\"]\n"), clusters());
    let first = plan(&file, &model);
    assert_eq!(
        summary(&first),
        [
            "create link.dr",
            "create mirror.dr/orders",
            "create mirror.dr/payments"
        ]
    );
    assert_eq!(
        changes(&first),
        [
            "config.bootstrap.servers: none -> east:9092",
            "config.sasl.jaas.config: none -> (sensitive)",
            "config.sasl.mechanism: none -> PLAIN",
            "config.security.protocol: none -> SASL_SSL",
        ]
    );
    done(&file, &model);
    assert_eq!(
        model.take_writes(),
        [
            "link west/dr",
            "mirror west/orders over dr",
            "create west/orders",
            "mirror west/payments over dr",
            "create west/payments"
        ]
        .into_iter()
        .filter(|write| !write.starts_with("create"))
        .collect::<Vec<_>>()
    );
}

#[test]
fn secrets_that_brokers_have_are_not_compared_and_lost_ones_are_set_again() {
    let (file, model) = (dr("topics = [\"orders\"]\n"), clusters());
    done(&file, &model);
    let link = Address::Link("dr".to_owned());
    let again = plan(&file, &model);
    let told = again.entry(&link).expect("planned").reasons.iter();
    let told: Vec<String> = told.map(crate::report::words::reason).collect();
    assert_eq!(
        told,
        ["set there, and told to nobody, so not compared: sasl.jaas.config"]
    );
    model.with_links("west", |links| {
        let link = links.links.get_mut("dr").expect("known link");
        link.configs.remove("sasl.jaas.config");
    });
    let again = plan(&file, &model);
    assert_eq!(
        changes(&again),
        ["config.sasl.jaas.config: none -> (sensitive)"]
    );
}

/// A rotated password would otherwise never reach the brokers: nobody can see that theirs is the old one.
#[test]
fn rotated_secrets_are_sent_to_both_halves_of_the_link_that_is_named() {
    let model = clusters();
    let mut file = dr("topics = [\"orders\"]\ninitiated_by = \"source\"\n\
         [links.dr.at_source.config]\n\"ssl.key.password\" = \"opensesame\"\n");
    done(&file, &model);
    model.take_writes();
    file.rewrites = BTreeSet::from(["dr".to_owned()]);
    let again = plan(&file, &model);
    assert_eq!(summary(&again), ["update link.dr"]);
    let anew = "(sensitive) -> (sensitive value, sent anew)";
    assert_eq!(
        changes(&again),
        [
            format!("at_source.config.local.sasl.jaas.config: {anew}"),
            format!("at_source.config.sasl.jaas.config: {anew}"),
            format!("at_source.config.ssl.key.password: {anew}"),
        ]
    );
    let outcome = apply(&file, &model);
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(model.take_writes(), ["alter link east/dr"]);

    // What was saved says for which links; a plan that was made without is not the same permission.
    let saved = crate::report::json::plan(&again);
    let saved = crate::plan::saved::read(&saved).expect("its own document");
    assert_eq!(saved.rewrite_secrets, ["dr"]);
    let link = BTreeSet::from([Address::Link("dr".to_owned())]);
    let compared = crate::plan::saved::compare(&saved, &plan(&file, &model));
    assert_eq!(compared.fresh, link);
    file.rewrites.clear();
    let compared = crate::plan::saved::compare(&saved, &plan(&file, &model));
    assert_eq!((compared.fresh.len(), compared.done), (0, link));
}

#[test]
fn a_link_that_its_source_begins_has_two_halves_and_the_waiting_one_is_made_first() {
    let model = clusters();
    let file = dr("topics = [\"orders\"]\ninitiated_by = \"source\"\n\
         groups = { include = [\"*\"], exclude = [\"console-*\"], interval = \"10s\" }\n\
         [links.dr.at_source.config]\n\"local.listener.name\" = \"INTERNAL\"\n");
    let first = plan(&file, &model);
    assert_screen!("plan_cluster_link_begun_at_source", shown(&first));
    done(&file, &model);
    let writes = model.take_writes();
    assert_eq!(writes[..2], ["link west/dr", "link east/dr"]);
    // And taken apart the other way round.
    let gone = dr(
        "topics = [\"orders\"]\ninitiated_by = \"source\"\nstate = \"absent\"\n\
         [links.dr.mirrors.orders]\nstate = \"absent\"\n",
    );
    let outcome = apply(&gone, &model);
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(
        model.take_writes(),
        ["delete west/orders", "unlink east/dr", "unlink west/dr"]
    );
}

#[test]
fn the_two_directions_of_a_bidirectional_link_are_made_one_after_the_other() {
    let model = clusters();
    model.add_topic("west", "users", 1, 1, &[]);
    let both = |first: &str, second: &str| {
        topology(&format!(
            "{ENDS}[links.a]\nsource = \"east\"\ndestination = \"west\"\nengine = \"cluster-link\"\n\
             bidirectional = \"both\"\ntopics = [\"orders\"]\n{first}\n\
             [links.b]\nsource = \"west\"\ndestination = \"east\"\nengine = \"cluster-link\"\n\
             bidirectional = \"both\"\ntopics = [\"users\"]\n{second}\n"
        ))
    };
    done(&both("", ""), &model);
    let writes = model.take_writes();
    assert_eq!(writes[..2], ["link west/both", "link east/both"]);
    // Where east cannot be reached from west, the half that waits is west's, and first.
    let model = clusters();
    model.add_topic("west", "users", 1, 1, &[]);
    let file = both("initiated_by = \"source\"", "");
    let first = plan(&file, &model);
    assert_screen!("plan_cluster_link_bidirectional", shown(&first));
    done(&file, &model);
    assert_eq!(
        model.take_writes()[..2],
        ["link west/both", "link east/both"]
    );
    let model = clusters();
    model.add_topic("west", "users", 1, 1, &[]);
    done(&both("", "initiated_by = \"source\""), &model);
    assert_eq!(
        model.take_writes()[..2],
        ["link east/both", "link west/both"]
    );
}

#[test]
fn what_somebody_turned_on_by_hand_is_drift_and_turned_off_with_its_filter() {
    let (file, model) = (dr("topics = [\"orders\"]\n"), clusters());
    done(&file, &model);
    set(&model, "consumer.offset.sync.enable", "true");
    set(
        &model,
        "consumer.offset.group.filters",
        "{\"groupFilters\": []}",
    );
    let found = plan(&file, &model);
    assert_eq!(
        changes(&found),
        [
            "config.consumer.offset.group.filters: {\"groupFilters\": []} -> \"\"",
            "config.consumer.offset.sync.enable: true -> false"
        ]
    );
    let drift = drift::drift(&found, &BTreeSet::new());
    assert_eq!(
        drift.entries[0].direction,
        Some(Direction::LiveButUndeclared)
    );
    done(&file, &model);
}

#[test]
fn filters_are_compared_as_json_and_words_in_any_case() {
    let model = clusters();
    let file = dr(
        "topics = [\"orders\", \"pay*\"]\nexclude = [\"pay-tmp*\"]\n\
         config = { \"acl.sync.enable\" = true, \"acl.filters\" = { aclFilters = [{ resourceFilter = { resourceType = \"topic\", patternType = \"any\" }, accessFilter = { operation = \"any\", permissionType = \"any\" } }] } }\n",
    );
    done(&file, &model);
    set(&model, "acl.sync.enable", "TRUE");
    set(
        &model,
        "acl.filters",
        "{ \"aclFilters\": [ { \"accessFilter\": {\"permissionType\":\"ANY\",\"operation\":\"ANY\"},\n \"resourceFilter\": {\"resourceType\":\"topic\",\"patternType\":\"ANY\"} } ] }",
    );
    assert_eq!(changes(&plan(&file, &model)), Vec::<String>::new());
    set(&model, "acl.filters", "{\"aclFilters\":[]}");
    assert_eq!(changes(&plan(&file, &model)).len(), 1);
}

#[test]
fn patterns_are_told_to_brokers_as_filters_without_internal_topics() {
    let model = clusters();
    let file = dr("topics = [\"orders\", \"*\"]\nexclude = [\"tmp-*\"]\n\
         [links.dr.mirrors.payments]\nstate = \"absent\"\n");
    let first = changes(&plan(&file, &model));
    let filters = first
        .iter()
        .find(|change| change.starts_with("config.auto.create.mirror.topics.filters"))
        .expect("told");
    for part in [
        r#"{"name":"*","patternType":"LITERAL","filterType":"INCLUDE"}"#,
        r#"{"name":"tmp-","patternType":"PREFIXED","filterType":"EXCLUDE"}"#,
        r#"{"name":"payments","patternType":"LITERAL","filterType":"EXCLUDE"}"#,
        r#"{"name":"__","patternType":"PREFIXED","filterType":"EXCLUDE"}"#,
    ] {
        assert!(filters.contains(part), "{filters}");
    }
    let without = dr("topics = [\"orders\", \"*\"]\nauto_create = false\n");
    let first = plan(&without, &model);
    assert!(!changes(&first).iter().any(|it| it.contains("auto.create")));
    assert_eq!(summary(&first).len(), 3);
}

#[test]
fn mirrors_are_paused_resumed_promoted_and_failed_over_in_one_request_each() {
    let model = clusters();
    let of = |state: &str| {
        dr(&format!(
            "topics = [\"payments\"]\n[links.dr.mirrors.orders]\nstate = \"{state}\"\n[links.dr.mirrors.payments]\nstate = \"{state}\"\n"
        ))
    };
    done(&of("paused"), &model);
    model.take_writes();
    done(&of("active"), &model);
    assert_eq!(model.take_writes(), ["Resume orders payments on west/dr"]);
    let promoting = plan(&of("promoted"), &model);
    assert_eq!(
        summary(&promoting),
        ["promote mirror.dr/orders", "promote mirror.dr/payments"]
    );
    done(&of("promoted"), &model);
    assert_eq!(model.take_writes(), ["Promote orders payments on west/dr"]);
    // There is no way back, and none is taken.
    assert_eq!(
        causes(&plan(&of("active"), &model)),
        [
            "The mirror west/orders has ended: it was promoted or failed over.",
            "The mirror west/payments has ended: it was promoted or failed over."
        ]
    );
    assert_eq!(
        summary(&plan(&of("failed-over"), &model)),
        Vec::<String>::new()
    );
}

#[test]
fn a_promotion_needs_a_source_and_a_failover_does_not() {
    let model = clusters();
    let of = |state: &str| dr(&format!("[links.dr.mirrors.orders]\nstate = \"{state}\"\n"));
    done(&of("active"), &model);
    for unwell in [
        MirrorState::SourceUnavailable,
        MirrorState::Failed,
        MirrorState::LinkFailed,
    ] {
        state(&model, "orders", unwell.clone());
        let promoting = causes(&plan(&of("promoted"), &model));
        assert_eq!(
            promoting,
            [format!(
                "The mirror west/orders is {unwell}: a promotion waits for what the source still has."
            )]
        );
        let failing = plan(&of("failed-over"), &model);
        assert_eq!(summary(&failing), ["failover mirror.dr/orders"]);
    }
    // Under way already: nothing is asked twice.
    state(&model, "orders", MirrorState::PendingStopped);
    assert_eq!(
        summary(&plan(&of("promoted"), &model)),
        Vec::<String>::new()
    );
}

#[test]
fn a_link_goes_only_when_none_of_its_mirrors_is_left_or_on_its_way() {
    let model = clusters();
    done(&dr("topics = [\"orders\", \"payments\"]\n"), &model);
    let absent = dr("topics = [\"orders\", \"payments\"]\nstate = \"absent\"\n");
    state(&model, "orders", MirrorState::PendingStopped);
    assert_eq!(
        causes(&plan(&absent, &model)),
        [
            "Mirror topics of dr are being stopped or set up: orders.",
            "Brokers still fill mirror topics over dr: payments."
        ]
    );
    state(&model, "orders", MirrorState::Stopped);
    state(&model, "payments", MirrorState::Stopped);
    assert_eq!(summary(&plan(&absent, &model)), ["delete link.dr"]);
    let mut guarded = plan(&absent, &model);
    crate::plan::guard(&mut guarded, false);
    assert_eq!(summary(&guarded), ["blocked link.dr"]);
    done(&absent, &model);
}

#[test]
fn what_a_link_has_for_life_is_not_changed_behind_anybodys_back() {
    let model = clusters();
    done(
        &dr("topics = [\"orders\"]\nrename = { prefix = \"e.\" }\n"),
        &model,
    );
    let other = dr("topics = [\"orders\"]\nrename = { prefix = \"f.\" }\n");
    assert_eq!(
        causes(&plan(&other, &model)),
        ["cluster.link.prefix of link dr on `west` is e. for life; the file asks for f.."]
    );
    let begun =
        dr("topics = [\"orders\"]\nrename = { prefix = \"e.\" }\ninitiated_by = \"source\"\n");
    let found = causes(&plan(&begun, &model));
    assert_eq!(
        found,
        ["connection.mode of link dr on `west` is OUTBOUND for life; the file asks for INBOUND."]
    );
}

#[test]
fn a_name_that_is_taken_at_the_destination_is_found_before_anything_is_asked() {
    let model = clusters();
    model.add_topic("west", "orders", 1, 1, &[]);
    let file = dr("topics = [\"orders\"]\n");
    assert_eq!(
        causes(&plan(&file, &model)),
        ["west/orders exists and is no mirror topic of the brokers."]
    );
    let model = clusters();
    done(&file, &model);
    model.with_links("west", |links| {
        let mirror = links.mirrors.get_mut("orders").expect("known mirror");
        mirror.link_name = "other".to_owned();
    });
    assert_eq!(
        causes(&plan(&file, &model)),
        ["west/orders is written by link.other of its brokers."]
    );
}

#[test]
fn a_cluster_that_offers_no_links_is_told_with_what_works_there() {
    for (why, part) in [
        (NoLinking::NotOffered, "offer no Cluster Linking"),
        (NoLinking::NotThere, "no REST API of Kafka's"),
        (NoLinking::OtherCluster, "that of another cluster"),
        (NoLinking::NotAllowed, "lets nobody in"),
        (NoLinking::NoAnswer, "does not answer"),
        (NoLinking::Refused, "does not tell its links"),
    ] {
        let model = clusters();
        model.change(|observed| {
            let west = observed.clusters.get_mut("west").expect("known");
            west.linking = Linking::Unknown {
                why,
                said: "HTTP 404 Not Found".to_owned(),
            };
        });
        let found = plan(&dr("topics = [\"orders\"]\n"), &model);
        assert_eq!(summary(&found), ["blocked link.dr"]);
        assert!(causes(&found)[0].contains(part), "{:?}", causes(&found));
    }
}

/// Confluent Platform has bidirectional links since 7.5, and links that the source begins and ACLs since 7.1. What cannot be known
/// is left to the brokers.
#[test]
fn what_a_release_surely_lacks_is_refused_and_nothing_else() {
    let begun = dr("topics = [\"orders\"]\ninitiated_by = \"source\"\n");
    let both = topology(&format!(
        "{ENDS}[links.a]\nsource = \"east\"\ndestination = \"west\"\nengine = \"cluster-link\"\ntopics = [\"orders\"]\n\
         bidirectional = \"dr\"\n\
         [links.b]\nsource = \"west\"\ndestination = \"east\"\nengine = \"cluster-link\"\ntopics = [\"others\"]\n\
         bidirectional = \"dr\"\n"
    ));
    let old = |fetch: i16| {
        let model = clusters();
        model.change(|observed| {
            let platform = Platform::of(["confluent.cluster.link.enable"].into_iter(), fetch);
            let east = observed.clusters.get_mut("east").expect("known cluster");
            east.platform = platform;
        });
        model
    };
    let too_old = |file: &Topology, fetch: i16| {
        let causes = causes(&plan(file, &old(fetch))).into_iter();
        causes
            .filter(|it| it.contains("came with"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        too_old(&begun, 12),
        [
            "`east` is of Confluent Platform 7.0 or older, and `initiated_by = \"source\"` came with 7.1."
        ]
    );
    let words = "`east` is of Confluent Platform 7.1 to 7.4, and `bidirectional` came with 7.5.";
    assert_eq!(too_old(&both, 14), [words, words]);
    assert_eq!(too_old(&begun, 13), [""; 0]);
    assert_eq!(too_old(&both, 15), [""; 0]);
    // Of what is there, nobody says that it cannot be.
    let model = clusters();
    done(&begun, &model);
    model.change(|observed| {
        let platform = Platform::of(["confluent.cluster.link.enable"].into_iter(), 12);
        let east = observed.clusters.get_mut("east").expect("known cluster");
        east.platform = platform;
    });
    assert_eq!(causes(&plan(&begun, &model)), [""; 0]);
}

#[test]
fn a_cluster_is_not_linked_to_itself() {
    let model = clusters();
    model.change(|observed| {
        let id = observed.clusters["west"].cluster_id.clone();
        observed.clusters.get_mut("east").expect("known").cluster_id = id;
    });
    let found = plan(&dr("topics = [\"orders\"]\n"), &model);
    assert!(causes(&found).contains(&"Both ends are the cluster west-id.".to_owned()));
}

#[test]
fn what_brokers_have_and_the_file_does_not_name_is_left_alone_and_told() {
    let model = clusters();
    done(&dr("topics = [\"orders\", \"payments\"]\n"), &model);
    set(&model, "local.listener.name", "BROKER");
    set(&model, "availability.check.ms", "1000");
    let fewer = plan(&dr("topics = [\"orders\"]\n"), &model);
    assert_eq!(summary(&fewer), Vec::<String>::new());
    let notes: Vec<String> = fewer
        .notes
        .iter()
        .map(|note| crate::report::words::note(note, 0))
        .collect();
    assert_eq!(
        notes,
        [
            "link.dr: mirror topics on `west` that this file does not select are left alone: payments"
        ]
    );
    let link = fewer.entry(&Address::Link("dr".to_owned())).expect("there");
    let told: Vec<String> = link
        .reasons
        .iter()
        .map(crate::report::words::reason)
        .collect();
    assert_eq!(
        told[1..],
        [
            "set by the server itself: local.listener.name = BROKER",
            "also set there, not named by the file, and left as it is: availability.check.ms = 1000"
        ]
    );
    let none = topology(ENDS.trim());
    let found = plan(&none, &model);
    let notes: Vec<String> = found
        .notes
        .iter()
        .map(|note| crate::report::words::note(note, 0))
        .collect();
    assert_eq!(
        notes,
        ["link dr of the brokers of `west` is not in this file and is left alone"]
    );
    assert!(drift::drift(&found, &BTreeSet::new()).has_drifted());
}

#[test]
fn a_link_that_does_not_work_and_a_task_that_fails_are_told() {
    let (file, model) = (dr("topics = [\"orders\"]\n"), clusters());
    done(&file, &model);
    model.with_links("west", |links| {
        let link = &mut links.links.get_mut("dr").expect("known link").link;
        link.link_state = Some(LinkState::Unavailable);
        link.link_error = Some("AUTHENTICATION_ERROR".to_owned());
        link.tasks = vec![Task {
            task_name: "AclSync".to_owned(),
            state: TaskState::InError,
            errors: vec![crate::rest::documents::NamedError {
                error_code: "MISCONFIGURATION_ERROR".to_owned(),
                error_message: Some("no filter".to_owned()),
            }],
        }];
    });
    let found = plan(&file, &model);
    let link = found.entry(&Address::Link("dr".to_owned())).expect("there");
    let told: Vec<String> = link
        .reasons
        .iter()
        .map(crate::report::words::reason)
        .collect();
    assert_eq!(
        told[1..],
        [
            "the brokers say UNAVAILABLE: AUTHENTICATION_ERROR",
            "its task AclSync fails: MISCONFIGURATION_ERROR: no filter"
        ]
    );
}

#[test]
fn a_mirrors_own_configs_are_those_that_brokers_do_not_keep() {
    let model = clusters();
    let file = dr(
        "[links.dr.mirrors.orders]\nreplication_factor = 2\nconfig = { \"retention.ms\" = 1000 }\n",
    );
    done(&file, &model);
    let file = dr("[links.dr.mirrors.orders]\nconfig = { \"retention.ms\" = 2000 }\n");
    let found = plan(&file, &model);
    assert_eq!(changes(&found), ["config.retention.ms: 1000 -> 2000"]);
    done(&file, &model);
    set(
        &model,
        "topic.config.sync.include",
        "retention.ms,cleanup.policy",
    );
    let other = dr(
        "[links.dr.mirrors.orders]\nconfig = { \"retention.ms\" = 3000, \"cleanup.policy\" = \"compact\" }\n",
    );
    assert_eq!(
        causes(&plan(&other, &model)),
        [
            "Brokers keep retention.ms as it is at the source: it is in the link's topic.config.sync.include.",
            "Brokers always keep cleanup.policy as it is at the source."
        ]
    );
    let factor = dr("[links.dr.mirrors.orders]\nreplication_factor = 3\n");
    let found = plan(&factor, &model);
    assert_eq!(
        found.entries.last().map(|it| it.action),
        Some(Action::Blocked)
    );
}

#[test]
fn confluent_clouds_three_replicas_are_not_asked_to_be_others() {
    let model = clusters();
    model.change(|observed| {
        observed.clusters.get_mut("west").expect("known").cluster_id = "lkc-1".to_owned();
    });
    let found = plan(
        &dr("topics = [\"orders\"]\nreplication_factor = 1\n"),
        &model,
    );
    assert_eq!(
        causes(&found),
        ["`west` is on Confluent Cloud, where topics have three replicas, not 1."]
    );
}

#[test]
fn with_a_dead_source_mirrors_are_failed_over_and_not_promoted() {
    let model = clusters();
    let of = |state: &str| {
        dr(&format!(
            "topics = [\"payments\"]\n[links.dr.mirrors.orders]\nstate = \"{state}\"\n"
        ))
    };
    done(&of("active"), &model);
    model.take_writes();
    model.change(|observed| {
        observed.clusters.remove("east");
        let cause = "connection refused".to_owned();
        observed.unreachable.insert("east".to_owned(), cause);
    });
    let observed = model.observed();
    assert!(crate::plan::can_do_without(
        &of("active"),
        &observed,
        "east"
    ));
    let promoting = plan(&of("promoted"), &model);
    assert_eq!(summary(&promoting), ["blocked mirror.dr/orders"]);
    let failing = plan(&of("failed-over"), &model);
    assert_eq!(summary(&failing), ["failover mirror.dr/orders"]);
    assert_eq!(failing.notes.len(), 1, "{:?}", failing.notes);
    let outcome = apply(&of("failed-over"), &model);
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(model.take_writes(), ["FailOver orders on west/dr"]);
    assert_eq!(
        summary(&plan(&of("failed-over"), &model)),
        Vec::<String>::new()
    );
}
