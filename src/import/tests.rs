//! Whatever is in an input: no panic, no secret in the result, and a result with one layout.

use std::path::Path;

use proptest::prelude::*;

use super::cluster_link::{self, Document, Holder};
use super::input::Input;
use super::mirrormaker2;
use super::model::{Draft, Fate, Selector};
use super::replicator::{self, CommandLine, Executable};
use super::{ImportError, write};
use crate::client::surroundings::Elsewhere;
use crate::topology::{format, parse_in};

const SECRET: &str = "hunter2";

/// Few enough for every build; PROPTEST_CASES asks for more.
fn cases() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(100),
    }
}

/// Everything that could be shown of a result.
fn shown(result: &Result<Draft, ImportError>) -> String {
    match result {
        Ok(draft) => {
            let text = write(draft).expect("is TOML");
            let again = format::format(Path::new("t.toml"), &text).expect("is TOML");
            assert_eq!(text, again, "the formatter changes it");
            format!("{text}\n{draft:?}")
        }
        Err(error) => format!("{error}\n{error:?}"),
    }
}

/// The result's text, which `validate` takes.
fn valid(result: Result<Draft, ImportError>) -> String {
    let draft = result.expect("is understood");
    let text = write(&draft).expect("is TOML");
    if let Err(diagnostics) = parse_in(Path::new("t.toml"), &text, &Elsewhere) {
        panic!("{diagnostics}\n{text}");
    }
    text
}

fn spelled(path: &Path) -> std::path::PathBuf {
    path.to_owned()
}

const CLIENT: &str = "bootstrap.servers=a-1:9092,a-2:9092
security.protocol=SASL_SSL
sasl.mechanism=PLAIN
#
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
   username=\"me\" password=\"hunter2\";
# end of the login module
ssl.truststore.type=PKCS12
ssl.truststore.password=hunter2
ssl.key.password : hunter2
client.id=replicator
";

const REPLICATION: &str = "topic.whitelist=orders,payments
topic.regex=eu-.*
topic.rename.format=${topic}.replica
replication.factor=1
# ------------------------------
confluent.license=hunter2
# ------------------------------
schema.registry.client.basic.auth.user.info=hunter2
src.kafka.sasl.jaas.config=x required password='hunter2';
# ------------------------------
topic.auto.create=false
tasks.max=2
";

const CONNECTOR: &str = r#"{
  "name": "copy",
  "config": {
    "connector.class": "io.confluent.connect.replicator.ReplicatorSourceConnector",
    "topic.whitelist": "orders",
    "topic.rename.format": "${topic}.replica",
    "src.kafka.bootstrap.servers": "a:1",
    "src.kafka.sasl.jaas.config": "x required password=\"hunter2\";",
    "src.kafka.ssl.key.password": "hunter2",
    "src.kafka.sasl.mechanism": "PLAIN",
    "src.kafka.security.protocol": "SASL_SSL",
    "dest.kafka.bootstrap.servers": "b:1",
    "confluent.license": "hunter2",
    "dest.kafka.ssl.keystore.key": "-----BEGIN PRIVATE KEY----- hunter2",
    "dest.kafka.sasl.oauthbearer.token.endpoint.url": "https://me:hunter2@b/",
    "tasks.max": 2
  }
}"#;

fn executable(consumer: &str, producer: &str, replication: &str, flags: &[&str]) -> Executable {
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let input = |name: &str, text: &str| Some(Input::new(name, text));
    Executable {
        consumer: input("c.properties", consumer),
        producer: input("p.properties", producer),
        replication: input("r.properties", replication),
        command_line: CommandLine::read(&flags),
    }
}

/// The same text with some cuts and insertions.
fn mutated(text: &str, cuts: &[(prop::sample::Index, usize, String)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, length, insert) in cuts {
        let at = at.index(chars.len().max(1)).min(chars.len());
        let end = (at + length).min(chars.len());
        chars.splice(at..end, insert.chars());
    }
    chars.into_iter().collect()
}

fn cuts() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, String)>> {
    prop::collection::vec(
        (any::<prop::sample::Index>(), 0usize..8, "[\\PC\n]{0,2}"),
        0..4,
    )
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_text_makes_a_reader_of_replicator_panic(text in "([a-z.]{1,8}|topic.whitelist|=|:|,|\\$|\\{|\\}|\"|\\\\|\n| |\\PC){0,40}") {
        shown(&replicator::executable(&executable(&text, &text, &text, &[]), &spelled));
        shown(&replicator::connectors(&[Input::new("c.json", text)]));
    }

    #[test]
    fn no_bytes_make_a_reader_of_replicator_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let input = Some(Input::new("c", bytes.clone()));
        let given = Executable { consumer: input.clone(), producer: input.clone(), replication: input, ..Executable::default() };
        shown(&replicator::executable(&given, &spelled));
        shown(&replicator::connectors(&[Input::new("c.json", bytes)]));
    }

    #[test]
    fn no_command_line_makes_its_reader_panic(flags in prop::collection::vec("(--)?[a-z.=]{0,12}", 0..8)) {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        shown(&replicator::executable(&executable(CLIENT, CLIENT, "", &flags), &spelled));
    }

    #[test]
    fn no_secret_of_replicators_files_is_in_the_result_whatever_is_wrong_with_them(
        consumer in cuts(), producer in cuts(), replication in cuts(), connector in cuts(),
    ) {
        let given = executable(
            &mutated(CLIENT, &consumer),
            // A property that is refused makes them be taken over one by one.
            &mutated(&format!("{CLIENT}sasl.kerberos.service.name=kafka\n"), &producer),
            &mutated(REPLICATION, &replication),
            &["bin/replicator", "--confluent.license", SECRET],
        );
        let text = shown(&replicator::executable(&given, &spelled));
        prop_assert!(!text.contains(SECRET), "{}", text);
        let input = Input::new("c.json", mutated(CONNECTOR, &connector));
        let text = shown(&replicator::connectors(&[input]));
        prop_assert!(!text.contains(SECRET), "{}", text);
    }

    #[test]
    fn topics_of_replicator_are_those_that_are_mirrored(
        names in prop::collection::btree_set("[a-z][a-z0-9._-]{0,8}", 1..5), factor in 1i16..5,
    ) {
        let list: Vec<&str> = names.iter().map(String::as_str).collect();
        let text = format!("topic.whitelist={}\ndest.topic.replication.factor={factor}\n", list.join(" , "));
        let draft = replicator::executable(&executable(CLIENT, "bootstrap.servers=b:1", &text, &[]), &spelled);
        let draft = draft.expect("is understood");
        let expected: Vec<_> = names.iter().map(|name| Selector::Name(name.clone())).collect();
        prop_assert_eq!(&draft.links[0].topics, &expected);
        prop_assert_eq!(draft.links[0].replication_factor, Some(factor));
        prop_assert!(draft.findings().all(|finding| finding.fate == Fate::Unneeded));
    }
}

const MM2: &str = "clusters=a,b
a.bootstrap.servers=a:1
b.bootstrap.servers=b:1
# ------------------------------
a.sasl.jaas.config=x required password='hunter2';
# ------------------------------
b.ssl.key.password=hunter2
# ------------------------------
ssl.keystore.password=hunter2
# ------------------------------
a.consumer.sasl.password=hunter2
# ------------------------------
a->b.enabled=true
a->b.topics=orders, eu-.*
# ------------------------------
a->b.producer.override.sasl.jaas.config=hunter2
# ------------------------------
b->a.enabled=true
replication.factor=2
";

const MM2_CONNECTOR: &str = r#"{"name": "copy", "config": {
  "connector.class": "MirrorSourceConnector",
  "source.cluster.bootstrap.servers": "a:1",
  "target.cluster.bootstrap.servers": "b:1",
  "source.cluster.sasl.jaas.config": "x required password=\"hunter2\";",
  "target.cluster.ssl.key.password": "hunter2",
  "producer.override.sasl.password": "hunter2",
  "transforms.x.password": "hunter2",
  "transforms": "x",
  "topics": "orders,eu-.*"
}}"#;

fn mm2(text: &str) -> Result<Draft, ImportError> {
    mirrormaker2::read(&[Input::new("mm2", text)])
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_text_makes_a_reader_of_mirrormaker_panic(
        text in "(clusters=a,b\n)?([a-z.]{1,6}|a->b|enabled|topics|true|=|:|,|\\{|\\}|\\[|\"|\\\\|\n| |\\PC){0,40}"
    ) {
        shown(&mm2(&text));
    }

    #[test]
    fn no_secret_of_mirrormakers_files_is_in_the_result_whatever_is_wrong_with_them(
        properties in cuts(), connector in cuts(),
    ) {
        let text = shown(&mm2(&mutated(MM2, &properties)));
        prop_assert!(!text.contains(SECRET), "{}", text);
        let text = shown(&mm2(&mutated(MM2_CONNECTOR, &connector)));
        prop_assert!(!text.contains(SECRET), "{}", text);
    }
}

#[test]
fn a_flow_wins_over_what_is_said_for_all_and_gets_its_own_rename() {
    let draft = mm2(
        "clusters=a,b\na.bootstrap.servers=a:1\nb.bootstrap.servers=b:1\ntopics=all\nreplication.factor=2\n\
         a->b.enabled=true\na->b.topics=mine\nreplication.policy.separator=-\nsync.topic.acls.enabled=false\n",
    )
    .expect("is understood");
    let [link] = draft.links.as_slice() else {
        panic!("{draft:?}")
    };
    assert_eq!(link.topics, [Selector::Name("mine".to_owned())]);
    assert_eq!(
        link.rename,
        Some(super::model::Rename::Prefix("a-".to_owned()))
    );
    assert_eq!((link.replication_factor, link.exclude.len()), (Some(2), 0));
    assert_eq!(draft.findings().count(), 0, "{draft:?}");
}

#[test]
fn flows_both_ways_leave_out_what_came_from_the_other_side() {
    let text = valid(mm2(
        "clusters=a,b\na.bootstrap.servers=a:1\nb.bootstrap.servers=b:1\na->b.enabled=true\nb->a.enabled=true\n",
    ));
    assert!(text.contains(r"{ regex = '(.*\.)?b\..*' }"), "{text}");
    assert!(text.contains(r"{ regex = '(.*\.)?a\..*' }"), "{text}");
}

const LINK: &str = r#"{"data": [
  {"link_name": "l", "source_cluster_id": "s"},
  {"link_name": "l", "name": "bootstrap.servers", "value": "a:1"},
  {"link_name": "l", "name": "security.protocol", "value": "SASL_SSL"},
  {"link_name": "l", "name": "sasl.jaas.config", "value": "x required password=\"hunter2\";"},
  {"link_name": "l", "name": "local.sasl.jaas.config", "value": "hunter2"},
  {"link_name": "l", "name": "ssl.keystore.key", "value": "hunter2", "is_sensitive": true},
  {"link_name": "l", "name": "cluster.link.prefix", "value": "dr-"},
  {"link_name": "l", "mirror_topic_name": "dr-orders", "source_topic_name": "orders", "mirror_status": "ACTIVE"}
]}"#;

fn cluster_link(text: &str) -> Result<Draft, ImportError> {
    let input = Input::new("links.json", text);
    cluster_link::read(&[Document { link: None, input }], &Holder::default())
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_json_makes_a_reader_of_cluster_links_panic(
        text in "(\\[|\\{|\\}|\\]|:|,|\"(link_name|name|value|data|mirror_topic_name|a)\"|null|1| |\n){0,30}"
    ) {
        shown(&cluster_link(&text));
    }

    #[test]
    fn no_topic_filter_makes_a_reader_of_cluster_links_panic(filters in "\\PC{0,40}") {
        let on = r#"{"link_name":"l","name":"auto.create.mirror.topics.enable","value":"true"}"#;
        let filters = serde_json::json!({"link_name": "l", "name": "auto.create.mirror.topics.filters", "value": filters});
        shown(&cluster_link(&format!("[{on},{filters}]")));
    }

    #[test]
    fn no_secret_of_a_cluster_link_is_in_the_result_whatever_is_wrong_with_it(cuts in cuts()) {
        let text = shown(&cluster_link(&mutated(LINK, &cuts)));
        prop_assert!(!text.contains(SECRET), "{}", text);
    }
}

#[test]
fn a_filter_that_takes_a_mirror_leaves_it_unnamed_and_a_promoted_one_is_excluded() {
    let filters = serde_json::json!({"topicFilters": [{"name": "*", "patternType": "LITERAL", "filterType": "INCLUDE"}]});
    let rows = serde_json::json!([
        {"link_name": "l", "name": "auto.create.mirror.topics.enable", "value": "true"},
        {"link_name": "l", "name": "auto.create.mirror.topics.filters", "value": filters.to_string()},
        {"link_name": "l", "mirror_topic_name": "a", "source_topic_name": "a", "mirror_status": "active"},
        {"link_name": "l", "mirror_topic_name": "b", "source_topic_name": "b", "mirror_status": "stopped"},
        {"link_name": "l", "mirror_topic_name": "_schemas", "source_topic_name": "_schemas", "mirror_status": "ACTIVE"},
    ]);
    let draft = cluster_link(&rows.to_string()).expect("is understood");
    let link = &draft.links[0];
    let all = [
        Selector::Glob("*".to_owned()),
        Selector::Name("_schemas".to_owned()),
    ];
    assert_eq!(link.topics, all);
    assert_eq!(link.exclude, [Selector::Name("b".to_owned())]);
}

fn link_of(replication: &str, flags: &[&str]) -> super::model::LinkDraft {
    let given = executable(
        "bootstrap.servers=a:1",
        "bootstrap.servers=b:1",
        replication,
        flags,
    );
    let draft = replicator::executable(&given, &spelled).expect("is understood");
    draft.links.into_iter().next().expect("one link")
}

#[test]
fn a_flag_wins_over_the_file_and_the_last_of_a_repeated_one_counts() {
    let file = "topic.whitelist=file\ntopic.rename.format=file.${topic}\n";
    let link = link_of(file, &["--whitelist", "one", "--whitelist=two"]);
    assert_eq!(link.topics, [Selector::Name("two".to_owned())]);
    let text = valid(replicator::executable(
        &executable(
            "bootstrap.servers=a:1",
            "bootstrap.servers=b:1",
            file,
            &["--topic.rename.format", "${topic}"],
        ),
        &spelled,
    ));
    assert!(!text.contains("rename"), "{text}");
}

#[test]
fn a_rename_to_one_name_is_kept_for_one_topic_and_refused_for_several() {
    let link = link_of("topic.whitelist=a\ntopic.rename.format=b\n", &[]);
    assert_eq!(link.mirrors["a"].rename_to.as_deref(), Some("b"));
    assert!(link.topics.is_empty() && link.findings.is_empty());
    let link = link_of("topic.whitelist=a,b\ntopic.rename.format=c\n", &[]);
    assert_eq!((link.rename, link.findings.len()), (None, 1));
    assert_eq!(link.findings[0].fate, Fate::Lost);
}

#[test]
fn names_that_are_never_mirrored_and_names_that_are_none_are_told() {
    let link = link_of(
        "topic.whitelist=__consumer_offsets,a b,orders,orders,_schemas\n",
        &[],
    );
    let names: Vec<_> = ["orders", "_schemas"]
        .map(|name| Selector::Name(name.to_owned()))
        .into();
    assert_eq!(link.topics, names);
    assert_eq!(link.findings.len(), 2);
}

#[test]
fn settings_that_say_what_kmirror_does_anyway_are_not_worth_a_word() {
    let link = link_of(
        "topic.whitelist=a\ntopic.auto.create=true\ntopic.preserve.partitions=true\ntopic.config.sync=true\n\
         topic.timestamp.type=CreateTime\nprovenance.header.enable=false\noffset.translator.tasks.max=0\n\
         key.converter=io.confluent.connect.replicator.util.ByteArrayConverter\n",
        &[],
    );
    assert_eq!(link.findings, []);
}

#[test]
fn a_properties_file_is_named_and_never_copied() {
    let text = valid(replicator::executable(
        &executable(CLIENT, "bootstrap.servers=b:1", "topic.whitelist=a", &[]),
        &spelled,
    ));
    assert!(
        text.contains("properties_file = \"c.properties\""),
        "{text}"
    );
    assert!(!text.contains("sasl"), "{text}");
}
