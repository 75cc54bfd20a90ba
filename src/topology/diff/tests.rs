//! What counts as a difference, and that no secret is one to be seen.

use std::path::Path;

use super::*;

const CLUSTERS: &str = "kmirror = 1\n[clusters.east]\nbootstrap_servers = \"e:9092\"\n[clusters.west]\nbootstrap_servers = \"w:9092\"\n";

fn version(name: &str, text: &str) -> Version {
    match Version::parse(Path::new(name), text) {
        Ok(version) => version,
        Err(diagnostics) => panic!("{diagnostics}\n{text}"),
    }
}

fn between(old: &str, new: &str) -> TopologyDiff {
    diff(&version("old.toml", old), &version("new.toml", new))
}

/// `change address: key key`, one line each.
fn summary(old: &str, new: &str) -> Vec<String> {
    between(old, new)
        .entries
        .iter()
        .map(|entry| {
            let keys: Vec<_> = entry.keys.iter().map(|it| it.key.as_str()).collect();
            format!("{:?} {}: {}", entry.change, entry.address, keys.join(" "))
        })
        .collect()
}

fn link(body: &str) -> String {
    format!("{CLUSTERS}[links.copy]\nsource = \"east\"\ndestination = \"west\"\n{body}")
}

#[test]
fn what_is_written_in_another_way_is_no_difference() {
    let old = link(
        "topics = [\"a\", \"b\"]\n[links.copy.mirrors.a]\nconfig = { \"retention.ms\" = 5 }\n",
    );
    let new = "kmirror = 1 # one\n[links.copy]\nstate = \"active\"\nstart = \"earliest\"\ntopics = [\n  \"b\",\n  'a',\n]\n\
        destination = \"west\"\nsource = \"east\"\nmirrors.a.config.retention.ms = \"5\"\n\
        [clusters]\nwest.bootstrap_servers = [\"w:9092\"]\neast = { bootstrap_servers = \"e:9092\" }\n";
    assert_eq!(summary(&old, new), [""; 0]);
    assert_eq!(summary(new, &old), [""; 0]);
}

#[test]
fn everything_that_a_file_speaks_of_is_compared() {
    let old = link(
        "topics = [\"a\", \"b-*\"]\nrename = \"${topic}.x\"\n[links.copy.mirrors.a]\nas = \"one\"\n[links.copy.mirrors.b-1]\nreplication_factor = 2\n",
    );
    let old = format!("{old}[clusters.west.topics.audit]\npartitions = 3\n");
    let new = link(
        "topics = [\"b-*\", \"c\"]\nrename = { prefix = \"x.\" }\nstart = \"latest\"\n[links.copy.mirrors.c]\nas = \"three\"\n",
    );
    let new = format!(
        "{}[clusters.west.topics.other]\nconfig = {{ \"cleanup.policy\" = \"compact\" }}\n",
        new.replace("w:9092", "w:9093")
    );
    assert_eq!(
        summary(&old, &new),
        [
            "Changed cluster.west: bootstrap_servers",
            "Removed cluster.west/topic.audit: ",
            "Added cluster.west/topic.other: config.cleanup.policy",
            "Changed link.copy: rename start topics",
            "Removed mirror.copy/a: ",
            "Removed mirror.copy/b-1: ",
            "Added mirror.copy/c: as",
        ]
    );
    let found = between(&old, &new);
    let remarks: Vec<_> = found.entries.iter().filter_map(|it| it.remark).collect();
    assert_eq!(
        remarks,
        [
            Remark::TopicStays,
            Remark::NoLongerTaken,
            Remark::StillTaken
        ]
    );
    let start = found.entries[3].keys.iter().find(|it| it.key == "start");
    let start = start.expect("it changed");
    assert_eq!((&start.old, start.without), (&None, Some("earliest")));
    let at = &start.new.as_ref().expect("is written").at;
    assert_eq!((at.file.as_str(), at.line), ("new.toml", 11));
}

#[test]
fn a_renamed_link_is_the_same_link() {
    let old = link("topics = [\"a\"]\n[links.copy.mirrors.a]\nas = \"x\"\n");
    let new = old.replace("links.copy", "links.other").replace(
        "topics = [\"a\"]",
        "topics = [\"a\", \"b\"]\nmoved = \"copy\"",
    );
    assert_eq!(summary(&old, &new), ["Changed link.other: topics"]);
    let was = between(&old, &new).entries[0].was.clone();
    assert_eq!(was, Some(Thing::Link("copy".to_owned())));
    // Without `moved` they are two.
    let new = new.replace("moved = \"copy\"", "");
    assert_eq!(summary(&old, &new).len(), 4);
}

const SECURED: &str = "kmirror = 1\n[clusters.east]\nbootstrap_servers = \"e:9092\"\nproperties_file = \"absent.properties\"\n[clusters.east.client]\nsecurity.protocol = \"SASL_SSL\"\nsasl.mechanism = \"PLAIN\"\nsasl.username = \"ann\"\nsasl.password = \"hunter2\"\n";

#[test]
fn references_are_compared_as_references_and_secrets_are_never_shown() {
    let secrets = |new: &str| {
        let new = SECURED.replace("\"hunter2\"", new);
        let found = between(SECURED, &new);
        let documents = [
            crate::report::diff::json(&found),
            crate::report::diff::text(&found, crate::report::text::TextOptions::PLAIN),
            crate::report::markdown::diff(&found),
            format!("{found:?}"),
        ];
        for document in documents {
            for secret in ["hunter2", "hunter3"] {
                assert!(!document.contains(secret), "{document}");
            }
        }
        found
    };
    assert_eq!(secrets("\"hunter2\"").entries, []);
    let inline = secrets("\"hunter3\"");
    let key = &inline.entries[0].keys[0];
    let hidden = Some(&Shown::Secret(Secret::Inline));
    assert_eq!(key.key, "client.sasl.password");
    assert_eq!(key.old.as_ref().map(|it| &it.value), hidden);
    assert_eq!(key.new.as_ref().map(|it| &it.value), hidden);
    let moved = secrets("{ env = \"PASSWORD\" }");
    let key = &moved.entries[0].keys[0];
    let env = Shown::Env {
        env: "PASSWORD".to_owned(),
    };
    assert_eq!(key.new.as_ref().map(|it| &it.value), Some(&env));
    let jaas = |password: &str| {
        SECURED.replace(
            "sasl.username = \"ann\"\nsasl.password = \"hunter2\"",
            &format!("sasl.jaas.config = \"org.apache.kafka.common.security.plain.PlainLoginModule required username='ann' password='{password}';\""),
        )
    };
    let found = between(&jaas("hunter2"), &jaas("hunter3"));
    assert_eq!(found.entries[0].keys[0].key, "client.sasl.jaas.config");
    assert!(!crate::report::diff::json(&found).contains("hunter"));
}

#[test]
fn a_file_with_mistakes_is_not_compared() {
    assert!(Version::parse(Path::new("x.toml"), "kmirror = 1\nlink = 1\n").is_err());
}
