//! Numbered checks that every tool of this kind has failed at least once: what is planned, and what a
//! dead apply leaves. docs/testing.md lists them all.

use std::sync::Mutex;

use async_trait::async_trait;
use futures::FutureExt;
use uuid::Uuid;

use super::*;
use crate::apply::effects::{ConfigAlteration, Effects, LinkEffects, ProducerId};
use crate::control::Write;
use crate::control::records::IncarnationId;
use crate::observe::model::{ConfigSource, Described};
use crate::plan::drift;
use crate::plan::model::{Action, DoomedTopic, TopicSpec};
use crate::report::text::{self, TextOptions};
use crate::report::words;

fn has_drifted(plan: &Plan) -> bool {
    drift::drift(plan, &std::collections::BTreeSet::new()).has_drifted()
}

fn screen(plan: &Plan) -> String {
    text::plan(plan, TextOptions::PLAIN)
}

/// What somebody does with `kafka-configs --entity-default`: topics that have set nothing follow.
fn set_cluster_default(model: &Model, cluster: &str, key: &str, value: &str) {
    model.change(|observed| {
        let cluster = observed.clusters.get_mut(cluster).expect("known cluster");
        let topics = cluster.topics.values_mut().map(|topic| &mut topic.configs);
        let topics = topics.filter_map(|configs| match configs {
            Described::Known(configs) => Some(configs),
            Described::NotAsked | Described::Refused(_) => None,
        });
        for configs in topics.chain([&mut cluster.topic_defaults]) {
            let config = configs.get_mut(key).expect("the model has a default");
            match &mut config.inherited {
                Some(inherited) => {
                    inherited.value = Some(value.to_owned());
                    inherited.source = ConfigSource::DynamicDefaultBroker;
                }
                None => {
                    config.value = Some(value.to_owned());
                    config.source = ConfigSource::DynamicDefaultBroker;
                }
            }
        }
    });
}

#[test]
fn check_2_a_key_set_to_its_default_is_planned_once() {
    let topology = with_clusters(
        r#"
[clusters.west.topics.audit]
config = { "retention.ms" = 604800000 }
[links.copy]
source = "east"
destination = "west"
topics = ["orders"]
[links.copy.mirrors.orders]
config = { "segment.bytes" = 1073741824 }
"#,
    );
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    model.add_topic("west", "audit", 1, 1, &[]);
    let first = plan(&topology, &model);
    let lines = changes(&first);
    let audit = "config.retention.ms: 604800000 -> 604800000";
    assert!(lines.contains(&audit.to_owned()), "{lines:?}");
    // The same value twice would be a riddle without the reason.
    assert!(
        screen(&first).contains("604800000 (7d) -> 604800000 (7d)  Kafka's default -> in the file"),
        "{}",
        screen(&first)
    );
    assert!(apply(&topology, &model).is_complete());
    model.take_writes();
    assert_eq!(summary(&plan(&topology, &model)), [""; 0]);
    assert!(!has_drifted(&plan(&topology, &model)));
    // It is pinned: somebody's other default changes nothing.
    set_cluster_default(&model, "west", "retention.ms", "1000");
    set_cluster_default(&model, "west", "segment.bytes", "2000");
    assert_eq!(summary(&plan(&topology, &model)), [""; 0]);
    assert!(apply(&topology, &model).is_complete());
    assert_eq!(model.take_writes(), [""; 0]);
}

#[test]
fn check_3_a_changed_cluster_default_is_nobodys_difference() {
    let topology = with_clusters(
        r#"
[clusters.west.topics.audit]
config = { "segment.bytes" = 7000 }
[links.copy]
source = "east"
destination = "west"
topics = ["orders"]
"#,
    );
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[("cleanup.policy", "compact")]);
    assert!(apply(&topology, &model).is_complete());
    let before = plan(&topology, &model);
    for cluster in ["east", "west"] {
        set_cluster_default(&model, cluster, "retention.ms", "1000");
        set_cluster_default(&model, cluster, "cleanup.policy", "compact,delete");
        set_cluster_default(&model, cluster, "segment.bytes", "2000");
    }
    let after = plan(&topology, &model);
    assert_eq!(summary(&after), [""; 0]);
    assert_eq!(changes(&after), changes(&before));
    assert!(!has_drifted(&after));
    model.take_writes();
    assert!(apply(&topology, &model).is_complete());
    assert_eq!(model.take_writes(), [""; 0]);
}

#[test]
fn check_4_a_key_that_leaves_the_file_is_reset_in_sight() {
    let with = |config: &str| {
        copy(&format!(
            "topics = [\"orders\"]\n[links.copy.mirrors.orders]\n{config}"
        ))
    };
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[("segment.bytes", "7000")]);
    let overridden = with("config = { \"retention.ms\" = 1000, \"segment.bytes\" = 8000 }\n");
    assert!(apply(&overridden, &model).is_complete());
    let dropped = with("");
    let planned = plan(&dropped, &model);
    assert_eq!(
        summary(&planned),
        ["update link.copy", "update mirror.copy/orders"]
    );
    assert!(changes(&planned).ends_with(&[
        "config.retention.ms: 1000 -> 604800000".to_owned(),
        "config.segment.bytes: 8000 -> 7000".to_owned(),
    ]));
    let shown = screen(&planned);
    for words in [
        "1000 (1s) -> 604800000 (7d)       set on the topic -> Kafka's default",
        "8000 (7.8 KiB) -> 7000 (6.8 KiB)  set on the topic -> from the source",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(apply(&dropped, &model).is_complete());
    assert!(!plan(&dropped, &model).has_changes());
    let orders = &model.observed().clusters["west"].topics["orders"];
    let retention = &orders.configs.known().expect("described")["retention.ms"];
    assert_eq!(retention.source, ConfigSource::Default);
}

/// Nobody knows who set a key of an owned topic that the file does not name (any more), so that it stays; it is told.
#[test]
fn check_4_a_key_of_an_owned_topic_that_leaves_the_file_is_never_passed_over() {
    let with = |config: &str| with_clusters(&format!("[clusters.west.topics.audit]\n{config}"));
    let model = Model::new(&["east", "west"]);
    let named = with("config = { \"retention.ms\" = 1000 }\n");
    assert!(apply(&named, &model).is_complete());
    assert_eq!(plan(&named, &model).notes, []);
    let planned = plan(&with(""), &model);
    assert!(!planned.has_changes());
    let note = words::note(&planned.notes[0], 0);
    assert_eq!(
        note,
        "configs that are set on topics which the file owns, and that it does not name, stay as they are on `west` (other_configs = \"reset\" resets them): audit (retention.ms = 1000)"
    );
    assert!(screen(&planned).contains("audit (retention.ms = 1000)"));
    // With the word for it, the key is reset in sight.
    let resets = with("other_configs = \"reset\"\n");
    let planned = plan(&resets, &model);
    assert_eq!(summary(&planned), ["update cluster.west/topic.audit"]);
    assert_eq!(
        changes(&planned),
        ["config.retention.ms: 1000 -> 604800000"]
    );
    assert!(
        screen(&planned).contains("set on the topic -> Kafka's default (mirror.toml:8)"),
        "{}",
        screen(&planned)
    );
    assert!(apply(&resets, &model).is_complete());
    assert!(!plan(&resets, &model).has_changes());
    assert_eq!(plan(&resets, &model).notes, []);
    // What a tool sets for a while is nobody's wish.
    let model = Model::new(&["east", "west"]);
    let throttle = [("leader.replication.throttled.replicas", "*")];
    model.add_topic("west", "audit", 1, 1, &throttle);
    assert_eq!(plan(&with(""), &model).notes, []);
    assert!(!plan(&resets, &model).has_changes());
}

#[test]
fn check_5_what_kafka_cannot_do_is_blocked_and_never_done_by_deleting() {
    let model = Model::new(&["east", "west", "north"]);
    model.add_topic("east", "orders", 4, 1, &[]);
    model.add_topic("east", "clicks", 4, 1, &[]);
    model.add_topic("west", "audit", 4, 1, &[]);
    let file = |owned: &str, source: &str, more: &str| {
        topology(&format!(
            "{CLUSTERS}[clusters.north]\nbootstrap_servers = \"127.0.0.1:9072\"\n{owned}\
             [links.copy]\nsource = \"{source}\"\ndestination = \"west\"\ntopics = [\"orders\", \"clicks\"]\n{more}"
        ))
    };
    assert!(apply(&file("", "east", ""), &model).is_complete());
    model.take_writes();
    model.with_topic("west", "clicks", |topic| topic.partitions = 6);
    let shrunk = "[clusters.west.topics.audit]\npartitions = 2\nreplication_factor = 2\n";
    let renamed = file(shrunk, "east", "rename = \"${topic}.copy\"\n");
    let moved = file("", "north", "");
    let wide = file("", "east", "");
    let mut blocked = Vec::new();
    for topology in [&renamed, &moved, &wide] {
        let plan = plan(topology, &model);
        assert!(plan.is_blocked());
        assert!(plan.entries.iter().all(|it| it.action != Action::Delete));
        for entry in plan.entries.iter().filter(|it| !it.blocked.is_empty()) {
            let place = entry.asked_by.as_ref().expect("a line of the file");
            assert_eq!(entry.operation, Operation::None);
            for blocker in &entry.blocked {
                let obstacle = words::blocker(blocker);
                assert!(!obstacle.remedy.is_empty(), "{}", obstacle.cause);
                blocked.push(format!("{}: {}", entry.address, obstacle.cause));
                let screen = screen(&plan).replace("\n      ", " ");
                assert!(screen.contains(&format!("{}:{}", place.file, place.line)));
            }
        }
    }
    assert_eq!(
        blocked,
        [
            "cluster.west/topic.audit: west/audit has 4 partitions, the file asks for 2; partitions can't be taken away.",
            "cluster.west/topic.audit: west/audit has replication factor 1, the file asks for 2; kmirror moves no replicas.",
            "mirror.copy/clicks: The mirror is west/clicks; a topic can't be renamed to clicks.copy.",
            "mirror.copy/orders: The mirror is west/orders; a topic can't be renamed to orders.copy.",
            "link.copy: The link was applied with cluster east-id as its source; `north` is cluster north-id.",
            "mirror.copy/clicks: west/clicks has 6 partitions, its source only 4; partitions can't be taken away.",
        ]
    );
    // Also where what is blocked is left aside, nothing of it is done.
    for topology in [&renamed, &moved, &wide] {
        apply(topology, &model);
    }
    assert_eq!(model.take_writes(), ["commit 1 records on west"; 2]);
}

#[test]
fn check_13_what_already_is_as_asked_is_not_asked_for_again() {
    let orders = "topics = [\"orders\"]\n[links.copy.mirrors.orders]\n";
    let active = copy(orders);
    let paused = copy(&format!("{orders}state = \"paused\"\n"));
    let absent = copy(&format!("{orders}state = \"absent\"\n"));
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    let steps = [
        (
            &active,
            vec![
                "create control.west",
                "create link.copy",
                "create mirror.copy/orders",
            ],
        ),
        (&paused, vec!["pause mirror.copy/orders"]),
        (&active, vec!["resume mirror.copy/orders"]),
        (&absent, vec!["delete mirror.copy/orders"]),
    ];
    for (topology, expected) in steps {
        let planned = summary(&plan(topology, &model));
        let planned: Vec<&str> = planned
            .iter()
            .map(String::as_str)
            .filter(|it| *it != "update link.copy")
            .collect();
        assert_eq!(planned, expected);
        assert!(apply(topology, &model).is_complete());
        model.take_writes();
        assert_eq!(summary(&plan(topology, &model)), [""; 0]);
        assert!(apply(topology, &model).is_complete());
        assert_eq!(model.take_writes(), [""; 0]);
    }
}

/// The effects of a process that dies after so many writes.
struct Mortal<'m> {
    model: &'m Model,
    left: Mutex<usize>,
}

impl Mortal<'_> {
    /// How many of so many writes still reach the cluster.
    fn spend(&self, wanted: usize) -> usize {
        let mut left = self.left.lock().expect("no panic under the lock");
        let granted = wanted.min(*left);
        *left -= granted;
        granted
    }
}

/// What follows the last write never happens.
async fn unless_dead<R>(granted: usize, wanted: usize, results: R) -> R {
    if granted < wanted {
        std::future::pending::<()>().await;
    }
    results
}

#[async_trait]
impl Effects for Mortal<'_> {
    fn links(&self) -> &dyn LinkEffects {
        // None of these tests has links that brokers carry.
        self.model.links()
    }

    async fn create_topics(&self, cluster: &str, topics: &[TopicSpec]) -> Vec<Result<(), Failure>> {
        let granted = self.spend(topics.len());
        let results = self.model.create_topics(cluster, &topics[..granted]).await;
        unless_dead(granted, topics.len(), results).await
    }

    async fn create_partitions(
        &self,
        cluster: &str,
        totals: &[(String, i32)],
    ) -> Vec<Result<(), Failure>> {
        let granted = self.spend(totals.len());
        let done = &totals[..granted];
        let results = self.model.create_partitions(cluster, done).await;
        unless_dead(granted, totals.len(), results).await
    }

    async fn alter_configs(
        &self,
        cluster: &str,
        alterations: &[ConfigAlteration],
    ) -> Vec<Result<(), Failure>> {
        let granted = self.spend(alterations.len());
        let done = &alterations[..granted];
        let results = self.model.alter_configs(cluster, done).await;
        unless_dead(granted, alterations.len(), results).await
    }

    async fn delete_topics(
        &self,
        cluster: &str,
        topics: &[DoomedTopic],
    ) -> Vec<Result<(), Failure>> {
        let granted = self.spend(topics.len());
        let results = self.model.delete_topics(cluster, &topics[..granted]).await;
        unless_dead(granted, topics.len(), results).await
    }

    async fn has_failed(&self, cluster: &str, id: IncarnationId) -> bool {
        self.model.has_failed(cluster, id).await
    }

    async fn forget_progress(&self, cluster: &str, ids: &[IncarnationId]) -> Result<(), Failure> {
        let granted = self.spend(1);
        unless_dead(granted, 1, ()).await;
        self.model.forget_progress(cluster, ids).await
    }

    async fn topic_ids(&self, cluster: &str, topics: &[String]) -> Vec<Result<Uuid, Failure>> {
        self.model.topic_ids(cluster, topics).await
    }

    async fn producer_ids(&self, cluster: &str, count: usize) -> Vec<Result<ProducerId, Failure>> {
        self.model.producer_ids(cluster, count).await
    }

    async fn commit(&self, cluster: &str, writes: Vec<Write>) -> Result<(), Failure> {
        let granted = self.spend(1);
        unless_dead(granted, 1, ()).await;
        self.model.commit(cluster, writes).await
    }
}

/// Plans, and carries it out until so many writes are done. Whether it came to its end.
pub(super) fn apply_until(topology: &Topology, model: &Model, writes: usize) -> bool {
    let plan = plan(topology, model);
    for entry in &plan.entries {
        if entry.operation == Operation::ControlTopics {
            model.ensure_control(&entry.cluster);
        }
    }
    let mortal = Mortal {
        model,
        left: Mutex::new(writes),
    };
    let (observed, stop) = (model.observed(), CancellationToken::new());
    execute(&plan, &observed, &mortal, manner(&stop))
        .now_or_never()
        .is_some_and(|outcome| outcome.is_complete())
}

/// What was written; a producer id that nobody uses is nothing.
fn written(model: &Model) -> Vec<String> {
    let mut writes = model.take_writes();
    writes.retain(|write| !write.contains("producer ids"));
    writes
}

#[test]
fn check_9_after_any_number_of_writes_a_killed_apply_leaves_exactly_the_rest() {
    let topology = with_clusters(
        r#"
[clusters.east.topics.orders]
partitions = 3
[clusters.east.topics.audit]
config = { "retention.ms" = 5 }
[clusters.west.topics.local]
partitions = 2
config = { "retention.ms" = 7 }
[links.copy]
source = "east"
destination = "west"
topics = ["*"]
rename = { prefix = "east." }
[links.further]
source = "west"
destination = "north"
topics = ["east.*"]
[clusters.north]
bootstrap_servers = "127.0.0.1:9072"
"#,
    );
    let clusters = || {
        let model = Model::new(&["east", "west", "north"]);
        for topic in ["clicks", "payments", "returns"] {
            model.add_topic("east", topic, 2, 1, &[("cleanup.policy", "compact")]);
        }
        model.add_topic("west", "local", 1, 1, &[]);
        model
    };
    let whole = clusters();
    assert!(apply_until(&topology, &whole, usize::MAX));
    let writes = written(&whole);
    // Three owned topics in four steps, ten mirrors in two levels, records on two clusters.
    assert_eq!(writes.len(), 4 + 10 + 2, "{writes:?}");
    for killed_after in 0..writes.len() {
        let model = clusters();
        assert!(!apply_until(&topology, &model, killed_after));
        assert_eq!(written(&model), writes[..killed_after]);
        let planned = plan(&topology, &model);
        assert!(!planned.is_blocked(), "after {killed_after}");
        let creates = |writes: &[String]| {
            let created = writes.iter().filter(|it| it.starts_with("create "));
            created.count()
        };
        let new_topics = |plan: &Plan| {
            let entries = plan.entries.iter();
            let new = entries.filter(|entry| match &entry.operation {
                Operation::CreateTopic(_) => true,
                Operation::Mirror(mirror) => {
                    matches!(mirror.topic, crate::plan::model::MirrorTopic::Create(_))
                }
                _ => false,
            });
            new.count()
        };
        assert_eq!(new_topics(&planned), creates(&writes[killed_after..]));
        assert!(apply_until(&topology, &model, usize::MAX));
        assert_eq!(
            written(&model),
            writes[killed_after..],
            "after {killed_after}"
        );
        assert!(!plan(&topology, &model).has_changes());
    }
}
