//! Files with one mistake each.

use std::path::Path;

mod broker_links;
mod clients;
mod properties;
mod secrets;

pub(super) use properties::cases;

use super::diagnostic::Diagnostics;
use super::model::{Start, Topology};
use super::resolve::{Conflict, LinkRule, resolve_link};
use super::{Loaded, parse, parse_in};
use clients::Shelf;

/// Everything there is, so that changing any part of it tries something new.
pub(super) const EVERYTHING: &str = r#"kmirror = 1 # format version

[clusters.east]
bootstrap_servers = ["east-1:9092", "[::1]:9092"]
cluster_id = "MkU3OEVBNTcwNTJENDM2Qg"

[clusters.west]
title = "West"
bootstrap_servers = "west-1:9092, west-2:9092"
rest = { url = "https://west-1:8090/kafka", username = "u", password = "hunter2" }

[clusters.west.connect]
url = "https://connect-1:8083"
"ssl.key.password" = "hunter2"

[clusters.west.client]
security.protocol = "SASL_SSL"
"sasl.mechanism" = "PLAIN"
sasl.jaas.config = '''
org.apache.kafka.common.security.plain.PlainLoginModule required
  username="u" password="hunter2";'''
ssl = { endpoint.identification.algorithm = "https", enabled.protocols = "TLSv1.3" }
request.timeout.ms = 30_000

[clusters.west.topics."audit.v1"]
partitions = 6
replication_factor = 3
config = { "cleanup.policy" = "compact", retention.ms = 0x10, min.cleanable.dirty.ratio = 0.5 }

[links.east-to-west]
source = "east"
destination = 'west'
engine = "kmirror"
topics = ["orders", "payments-*", { regex = "^eu-[a-z]+$" }]
exclude = ["*-tmp"]
rename = [{ regex = "prod-(?<rest>.*)", to = "dr-${rest}" }]
auto_create = false
start = 2026-01-31T18:00:00Z
offsets = "translate"
timestamps = "original"
replication_factor = 3
state = "paused"
moved = "old-name"

[links.east-to-west.mirrors.orders]
as = "orders-eu"
state = "active"
replication_factor = 1
[links.east-to-west.mirrors.orders.config]
retention.ms = 604_800_000
preallocate = true

[links.back]
source = "west"
destination = "east"
topics = ["""x"""]
rename = "${topic}.from-west"
"#;

fn check(text: &str) -> Result<Loaded, Diagnostics> {
    parse(Path::new("t.toml"), text)
}

fn topology(text: &str) -> Topology {
    match check(text) {
        Ok(loaded) => loaded.topology,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

/// `K0010@5:1` for each diagnostic, with clusters a, b and c before `rest`, which starts on line 5.
fn codes(rest: &str) -> Vec<String> {
    let text = format!(
        "kmirror = 1\nclusters.a.bootstrap_servers = \"a:1\"\n\
         clusters.b.bootstrap_servers = \"b:1\"\nclusters.c.bootstrap_servers = \"c:1\"\n{rest}"
    );
    let diagnostics = match check(&text) {
        Ok(loaded) => loaded.warnings,
        Err(diagnostics) => diagnostics,
    };
    diagnostics
        .iter()
        .map(|diagnostic| {
            let span = diagnostic.labels[0].span;
            format!("{}@{}:{}", diagnostic.code, span.line, span.column)
        })
        .collect()
}

/// The same for a link from a to b with one more line, which is line 6.
fn codes_in_link(line: &str) -> Vec<String> {
    codes(&format!(
        "links.l = {{ source = \"a\", destination = \"b\", topics = [\"orders\"],\n{line} }}"
    ))
}

/// Collects what is not as expected, so that one run shows all of it.
fn compare(wrong: &mut Vec<String>, input: &str, mut found: Vec<String>, expected: &[&str]) {
    let mut expected = expected.to_vec();
    found.sort();
    expected.sort_unstable();
    if found != expected {
        wrong.push(format!("{input}: found {found:?}, expected {expected:?}"));
    }
}

#[test]
fn everything_is_understood() {
    let topology = topology(EVERYTHING);
    let west = &topology.clusters["west"];
    assert_eq!(west.bootstrap_servers, ["west-1:9092", "west-2:9092"]);
    let audit = &west.topics["audit.v1"];
    assert_eq!(audit.config["retention.ms"].value, "16");
    assert_eq!(audit.config["min.cleanable.dirty.ratio"].value, "0.5");
    let link = &topology.links["east-to-west"];
    assert_eq!(link.start, Start::Timestamp(1_769_882_400_000));
    assert_eq!(link.topics[1].span.line, 34);
    let sasl = west.client.sasl.as_ref().expect("is set");
    assert_eq!(sasl.value.mechanism(), "PLAIN");
    assert_eq!(west.rest.as_ref().expect("is set").url.port, 8090);
    assert_eq!(link.rename.apply("prod-x"), Ok("dr-x".to_owned()));
    assert_eq!(link.mirrors["orders"].config["preallocate"].value, "true");
    // In the order of the file, not of the alphabet.
    let names: Vec<_> = topology.links.keys().collect();
    assert_eq!(names, ["east-to-west", "back"]);
}

#[test]
fn the_examples_of_the_documentation_are_valid() {
    let page = include_str!("../../../docs/topology.md");
    let examples: Vec<_> = page
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    assert_eq!(examples.len(), 7);
    let clusters = examples[0]
        .split("[links")
        .next()
        .expect("clusters come first");
    for text in [examples[0].to_owned(), format!("{clusters}{}", examples[6])] {
        assert_eq!(topology(&text).clusters.len(), 2);
    }
    let shelf = Shelf::default()
        .variable("WEST_PASSWORD", "x")
        .variable("WEST_USER", "x")
        .variable("CONNECT_URL", "http://connect-1:8083")
        .file("west.pw", "")
        .file("west-ca.pem", "")
        .file("connect-ca.pem", "");
    for (example, said) in [
        (examples[1], &[][..]),
        (examples[2], &[]),
        (examples[3], &[]),
        (examples[4], &[]),
        (examples[5], &["K0029", "K0029", "K0077"]),
    ] {
        let loaded = parse_in(Path::new("t.toml"), example, &shelf);
        let loaded = loaded.unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        let codes: Vec<_> = loaded
            .warnings
            .iter()
            .map(|one| one.code.to_string())
            .collect();
        assert_eq!(codes, said);
    }
}

#[test]
fn defaults_are_those_of_the_reference() {
    let topology = topology(
        "kmirror = 1\nclusters.a.bootstrap_servers = \"a:1\"\n\
         clusters.b.bootstrap_servers = \"b:1\"\n\
         links.l = { source = \"a\", destination = \"b\", topics = [\"*\"] }",
    );
    let link = &topology.links["l"];
    assert!(link.auto_create);
    assert_eq!(link.start, Start::Earliest);
    assert_eq!(link.replication_factor, None);
    assert_eq!(link.rename.apply("x"), Ok("x".to_owned()));
}

#[test]
fn each_mistake_in_a_link_is_found_where_it_is() {
    let mut wrong = Vec::new();
    for (line, expected) in [
        ("", &[][..]),
        ("auto_create = \"yes\"", &["K0012@6:15"]),
        ("auto_create = \"true\"", &["K0012@6:15"]),
        ("start = \"now\"", &["K0013@6:9"]),
        ("start = 2026-01-31T18:00:00", &["K0013@6:9"]),
        ("start = 2026-01-31", &["K0013@6:9"]),
        ("start = 1969-01-31T18:00:00Z", &["K0013@6:9"]),
        ("start = \"2026-01-31T18:00:00+01:00\"", &[]),
        ("start = 5", &["K0012@6:9"]),
        ("offsets = \"preserve\"", &[]),
        ("offsets = \"kept\"", &["K0013@6:11"]),
        ("on_hole = { larger_than = 0 }", &["K0013@6:27"]),
        ("on_hole = { then = \"go\" }", &["K0013@6:20"]),
        ("on_hole = { larger_than = 5, then = \"translate\" }", &[]),
        ("on_foreign_write = \"stop\"", &[]),
        ("on_foreign_write = \"translate\"", &["K0013@6:20"]),
        (
            "on_foreign_write = \"translate\", offsets = \"translate\"",
            &[],
        ),
        (
            "on_foreign_write = \"translate\", offsets = \"translate\", config = { acks = \"1\" }",
            &["K0013@6:74"],
        ),
        ("provenance_header = true", &[]),
        ("provenance_header = false, offsets = \"preserve\"", &[]),
        ("provenance_header = \"true\"", &["K0012@6:21"]),
        ("groups = { include = [\"*\"] }", &["K0060@6:10"]),
        (
            "groups = { include = [\"a[\"], exclude = [{ regex = \"(\" }], interval = \"10\" }",
            &["K0032@6:23", "K0031@6:52", "K0013@6:70", "K0060@6:10"],
        ),
        (
            "groups = { interval = \"10ms\" }",
            &["K0013@6:23", "K0060@6:10"],
        ),
        ("groups = [\"*\"]", &["K0012@6:10", "K0060@6:10"]),
        ("acls = { sync = false }", &[]),
        ("acls = { sync = true }", &["K0060@6:17"]),
        ("acls = { sink = true }", &["K0010@6:10"]),
        ("limit = { bytes_per_second = \"200MB\" }", &[]),
        ("limit = { bytes_per_second = 200_000 }", &[]),
        ("limit = { bytes_per_second = \"fast\" }", &["K0013@6:30"]),
        ("limit = { bytes_per_second = 0 }", &["K0013@6:30"]),
        ("limit = { bytes_per_second = true }", &["K0012@6:30"]),
        ("limit = 200", &["K0012@6:9"]),
        ("config = {}", &[]),
        ("config = { tasks = 4 }", &["K0010@6:12"]),
        ("config = { acks = \"1\" }", &[]),
        ("config = { acks = 1 }", &["K0012@6:19"]),
        ("config = \"x\"", &["K0012@6:10"]),
        ("check_interval = \"30s\"", &["K0060@6:18"]),
        ("check_interval = 30", &["K0012@6:18", "K0060@6:18"]),
        ("initiated_by = \"destination\"", &[]),
        ("initiated_by = \"source\"", &["K0060@6:16"]),
        ("initiated_by = \"me\"", &["K0013@6:16"]),
        ("properties_file = \"link.properties\"", &["K0060@6:19"]),
        ("properties_file = \"\"", &["K0013@6:19"]),
        ("state = \"promoted\"", &["K0013@6:9"]),
        ("mirrors.x.state = \"promoted\"", &[]),
        ("mirrors.x.state = \"failed-over\"", &[]),
        ("timestamps = \"raw\"", &["K0013@6:14"]),
        ("replication_factor = 0", &["K0013@6:22"]),
        ("replication_factor = 32768", &["K0013@6:22"]),
        (
            "replication_factor = 9999999999999999999999",
            &["K0013@6:22"],
        ),
        ("replication_factor = \"3\"", &["K0012@6:22"]),
        ("exclude = \"x\"", &["K0012@6:11"]),
        ("exclude = [1]", &["K0012@6:12"]),
        ("exclude = [{ regx = \"a\" }]", &["K0010@6:14"]),
        ("exclude = [{ regex = \"[\" }]", &["K0031@6:23"]),
        ("exclude = [{ regex = \"\\u005b\" }]", &["K0031@6:22"]),
        ("exclude = [\"a[\"]", &["K0032@6:12"]),
        ("exclude = [\"\"]", &["K0030@6:12"]),
        ("exclude = [\"a b\"]", &["K0030@6:12"]),
        ("exclude = [\"(a|b)*\"]", &["K0033@6:12"]),
        ("exclude = [\"__consumer_offsets\"]", &[]),
        ("exclude = [\"ord*\"]", &["K0036@5:56"]),
        ("mirrors.__transaction_state = {}", &["K0037@6:9"]),
        ("mirrors.\"o*\" = {}", &["K0030@6:9"]),
        ("mirrors.x = 1", &["K0012@6:13"]),
        ("mirrors.x.y.as = \"z\"", &["K0015@6:11"]),
        ("mirrors.x.as = \"${topic}.x\"", &["K0041@6:16"]),
        ("mirrors.x.as = \"_kmirror.links\"", &["K0041@6:16"]),
        ("mirrors.x.as = \"__consumer_offsets\"", &["K0041@6:16"]),
        ("mirrors.x.as = \"orders\"", &["K0050@6:16"]),
        ("mirrors.x.config.retention = { ms = [1] }", &["K0017@6:37"]),
        (
            "mirrors.x.config = { retention.ms = 1, \"retention.ms\" = 2 }",
            &["K0004@6:40"],
        ),
        ("rename = \"$topic.r\"", &["K0040@6:11"]),
        ("rename = \"${name}.r\"", &["K0040@6:11"]),
        ("rename = \"r\"", &["K0042@6:10"]),
        ("rename = \"${topic} r\"", &["K0041@6:19"]),
        ("rename = \"_kmirror.${topic}\"", &["K0041@6:11"]),
        ("rename = { prefix = \"\" }", &["K0013@6:21"]),
        ("rename = { prefix = \"a/\" }", &["K0041@6:23"]),
        ("rename = { suffix = \"a\" }", &["K0010@6:12", "K0011@6:10"]),
        ("rename = { regex = \"a\", to = \"b\" }", &["K0012@6:10"]),
        ("rename = [{ regex = \"a\" }]", &["K0011@6:11"]),
        (
            "rename = [{ regex = \"(\", to = \"b c\" }]",
            &["K0031@6:22", "K0041@6:33"],
        ),
        (
            "rename = [{ regex = \"(a)\", to = \"${2}\" }]",
            &["K0040@6:34"],
        ),
        (
            "rename = [{ regex = \"(o).*\", to = \".\" }]",
            &["K0041@5:56"],
        ),
        ("rename = true", &["K0012@6:10"]),
        ("moved = \"l\"", &["K0053@6:9"]),
        ("moved = \"\"", &["K0053@6:9"]),
        ("engine = \"replicator\"", &["K0013@6:10"]),
        ("partitions = 3", &["K0010@6:1"]),
    ] {
        compare(&mut wrong, line, codes_in_link(line), expected);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_mistake_elsewhere_is_found_where_it_is() {
    let mut wrong = Vec::new();
    for (text, expected) in [
        ("clusters.d = {}", &["K0011@5:10"][..]),
        ("clusters.d.bootstrap_servers = []", &["K0020@5:32"]),
        ("clusters.d.bootstrap_servers = [1]", &["K0012@5:33"]),
        ("clusters.d.bootstrap_servers = \"d:1,x\"", &["K0020@5:37"]),
        ("clusters.d.bootstrap_servers = \"d:1,\"", &["K0020@5:37"]),
        ("clusters.d.bootstrap.servers = \"d:1\"", &["K0010@5:12"]),
        ("clusters.d.eu.bootstrap_servers = \"d:1\"", &["K0015@5:12"]),
        (
            "clusters.\"d.e\".bootstrap_servers = \"d:1\"",
            &["K0016@5:10"],
        ),
        (
            "clusters.d = { bootstrap_servers = \"d:1,d:1\" }",
            &["K0021@5:41"],
        ),
        (
            "clusters.d = { bootstrap_servers = \"A:1\" }",
            &["K0021@5:37"],
        ),
        (
            "clusters.a.cluster_id = \"i\"\nclusters.b.cluster_id = \"i\"",
            &["K0021@6:25"],
        ),
        ("clusters.a.cluster_id = \"\"", &["K0013@5:25"]),
        ("clusters.a.topics.x = { partitions = 0 }", &["K0013@5:38"]),
        ("clusters.a.topics.x.y.partitions = 1", &["K0015@5:21"]),
        (
            "clusters.a.topics = { \"x.y\" = {}, x_y = {} }",
            &["K0038@5:35"],
        ),
        ("clusters.a.topics.__consumer_offsets = {}", &["K0030@5:19"]),
        ("clusters.a.topics.x.state = \"active\"", &[]),
        ("clusters.a.topics.x.state = \"paused\"", &["K0060@5:29"]),
        ("clusters.a.topics.x.state = \"gone\"", &["K0013@5:29"]),
        ("clusters.a.rest = \"https://a\"", &["K0012@5:19"]),
        ("clusters.a.rest = {}", &["K0011@5:19"]),
        ("clusters.a.rest.url = \"a:8090\"", &["K0028@5:23"]),
        ("clusters.a.rest.url = \"https://a/?b\"", &["K0028@5:23"]),
        (
            "clusters.a.rest.url = \"https://me:hunter2@a\"",
            &["K0028@5:23"],
        ),
        ("clusters.a.connect.uri = \"https://a\"", &["K0010@5:20"]),
        ("clusters.a.rest = { url = \"https://a\" }", &["K0029@5:19"]),
        (
            "clusters.a.rest = { url = \"https://a\", username = \"x\" }",
            &["K0076@5:51", "K0029@5:19"],
        ),
        (
            "clusters.a.rest = { url = \"http://a\", username = \"x\", password = \"y\" }",
            &["K0025@5:66", "K0078@5:27", "K0029@5:19"],
        ),
        (
            "clusters.a.rest = { url = \"https://a\", ssl.protokol = \"x\", \"ssl.ca.location\" = \"absent\" }",
            &["K0070@5:40", "K0024@5:80", "K0029@5:19"],
        ),
        ("links.l.topics = [\"x\"]", &["K0011@5:7", "K0011@5:7"]),
        (
            "links.l = { source = \"a\", destination = \"b\" }",
            &["K0034@5:7"],
        ),
        (
            "links.l = { source = \"a\", destination = \"b\", topics = [] }",
            &["K0034@5:55"],
        ),
        (
            "links.l = { source = \"a\", destination = \"x\", topics = [\"x\"] }",
            &["K0022@5:41"],
        ),
        ("links = 1", &["K0012@5:9"]),
        ("kmirror = 1", &["K0004@5:1"]),
        ("x = 1", &["K0010@5:1"]),
    ] {
        compare(&mut wrong, text, codes(text), expected);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (text, expected) in [
        ("", "K0014"),
        ("kmirror = 2", "K0014"),
        ("kmirror = \"1\"", "K0012"),
        ("\u{feff}kmirror = 1\nx = 1", "K0010"),
    ] {
        let diagnostics = check(text).expect_err(text);
        let found: Vec<_> = diagnostics.iter().map(|one| one.code.to_string()).collect();
        assert_eq!(found, [expected], "{text}");
    }
}

/// `(name, source, destination, rest)` as one link each, on lines 5, 6 and so on.
fn codes_of_links(links: &[(&str, &str, &str)]) -> Vec<String> {
    let lines: Vec<_> = links
        .iter()
        .enumerate()
        .map(|(index, (source, destination, rest))| {
            format!("links.l{index} = {{ source = \"{source}\", destination = \"{destination}\", {rest} }}")
        })
        .collect();
    let mut codes = codes(&lines.join("\n"));
    for code in &mut codes {
        code.truncate(code.find(':').unwrap_or(code.len()));
    }
    codes
}

const MARKED: &str = "topics = [\"*\"], offsets = \"translate\", on_foreign_write = \"translate\", provenance_header = true";
const MARKED_X: &str = "topics = [\"x\"], offsets = \"translate\", on_foreign_write = \"translate\", provenance_header = true";
const MARKED_RENAMED: &str = "topics = [\"*\"], rename = \"${topic}.r\", offsets = \"translate\", on_foreign_write = \"translate\", provenance_header = true";

#[test]
fn loops_are_found_whatever_their_form() {
    let none: &[&str] = &[];
    let mut wrong = Vec::new();
    for (links, expected) in [
        (&[("a", "a", "topics = [\"x\"]")][..], &["K0052@5"][..]),
        (&[("a", "a", "topics = [\"*\"]")], &["K0052@5"]),
        (
            &[("a", "a", "topics = [\"x\"], rename = \"${topic}.r\"")],
            none,
        ),
        // Each copy is taken again.
        (
            &[("a", "a", "topics = [\"x*\"], rename = \"${topic}.r\"")],
            &["K0052@5"],
        ),
        (
            &[(
                "a",
                "a",
                "topics = [\"x*\"], exclude = [\"*.r\"], rename = \"${topic}.r\"",
            )],
            none,
        ),
        (
            &[
                ("a", "b", "topics = [\"*\"]"),
                ("b", "a", "topics = [\"*\"]"),
            ],
            &["K0052@6"],
        ),
        (
            &[
                ("a", "b", "topics = [\"x\"]"),
                ("b", "a", "topics = [\"y\"]"),
            ],
            none,
        ),
        (
            &[
                ("a", "b", "topics = [\"o*\"]"),
                ("b", "a", "topics = [{ regex = \".*s\" }]"),
            ],
            none,
        ),
        (
            &[
                ("a", "b", "topics = [\"*\"]"),
                ("b", "a", "topics = [\"orders-*\"]"),
            ],
            &["K0052@5"],
        ),
        (
            &[
                ("a", "b", "topics = [\"x\"], rename = { prefix = \"a.\" }"),
                ("b", "c", "topics = [\"a.*\"], rename = { prefix = \"b.\" }"),
                (
                    "c",
                    "a",
                    "topics = [\"b.a.x\"], mirrors.\"b.a.x\".as = \"x\"",
                ),
            ],
            &["K0052@7", "K0033@6"],
        ),
        // Active-active, once with and once without excluding the other side's copies.
        (
            &[
                (
                    "a",
                    "b",
                    "topics = [\"*\"], exclude = [\"b-*\"], rename = { prefix = \"a-\" }",
                ),
                (
                    "b",
                    "a",
                    "topics = [\"*\"], exclude = [\"a-*\"], rename = { prefix = \"b-\" }",
                ),
            ],
            none,
        ),
        (
            &[
                ("a", "b", "topics = [\"*\"], rename = { prefix = \"a-\" }"),
                ("b", "a", "topics = [\"*\"], rename = { prefix = \"b-\" }"),
            ],
            &["K0052@5"],
        ),
        // Records say where they came from, on both ways, on one, or where there is no room for others'.
        (&[("a", "b", MARKED), ("b", "a", MARKED)], none),
        (
            &[("a", "b", MARKED), ("b", "c", MARKED), ("c", "a", MARKED)],
            none,
        ),
        (
            &[("a", "b", MARKED), ("b", "a", "topics = [\"*\"]")],
            &["K0052@6"],
        ),
        (
            &[
                ("a", "b", "topics = [\"x\"], provenance_header = true"),
                ("b", "a", "topics = [\"x\"], provenance_header = true"),
            ],
            &["K0052@6"],
        ),
        (&[("a", "a", MARKED)], &["K0052@5"]),
        // A third one's records would come to each of two by two ways.
        (
            &[
                ("a", "b", MARKED_X),
                ("b", "a", MARKED_X),
                ("c", "a", MARKED_X),
            ],
            &["K0050@7"],
        ),
        // Under another name nobody knows them.
        (
            &[("a", "b", MARKED_RENAMED), ("b", "a", MARKED)],
            &["K0052@5"],
        ),
    ] {
        compare(
            &mut wrong,
            &format!("{links:?}"),
            codes_of_links(links),
            expected,
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_second_name_hides_no_loop() {
    let found = codes(
        "clusters.d.bootstrap_servers = \"A:1\"\n\
         links.l = { source = \"a\", destination = \"d\", topics = [\"x\"] }\n\
         clusters.e = { bootstrap_servers = \"e:1,d:2\", cluster_id = \"i\" }\n\
         clusters.f = { bootstrap_servers = \"b:1\", cluster_id = \"i\" }\n\
         links.m = { source = \"b\", destination = \"e\", topics = [\"y\"] }",
    );
    let codes: Vec<_> = found.iter().map(|code| &code[..7]).collect();
    assert_eq!(
        codes,
        ["K0021@5", "K0052@6", "K0021@8", "K0021@8", "K0052@9"]
    );
}

#[test]
fn two_ways_into_one_topic_are_found() {
    let none: &[&str] = &[];
    let mut wrong = Vec::new();
    for (links, expected) in [
        (
            &[
                ("a", "c", "topics = [\"x\"]"),
                ("b", "c", "topics = [\"x\"]"),
            ][..],
            &["K0050@6"][..],
        ),
        (
            &[
                ("a", "c", "topics = [\"x.y\"]"),
                ("b", "c", "topics = [\"x_y\"]"),
            ],
            &["K0050@6"],
        ),
        (
            &[
                ("a", "b", "topics = [\"x\"]"),
                ("a", "c", "topics = [\"x\"]"),
            ],
            none,
        ),
        // What b has is not known, so that is for planning to say.
        (
            &[
                ("a", "c", "topics = [\"x\"]"),
                ("b", "c", "topics = [\"*\"]"),
            ],
            none,
        ),
        (
            &[
                ("a", "c", "topics = [\"*\"]"),
                ("b", "c", "topics = [\"*\"]"),
            ],
            none,
        ),
        // Whatever a has, both links take it.
        (
            &[
                ("a", "c", "topics = [\"*\"]"),
                ("a", "c", "topics = [\"o*\"]"),
            ],
            &["K0050@6"],
        ),
        (
            &[
                ("a", "c", "topics = [\"*\"], exclude = [\"o*\"]"),
                ("a", "c", "topics = [\"o*\"]"),
            ],
            none,
        ),
        // By way of b.
        (
            &[
                ("a", "b", "topics = [\"x\"]"),
                ("a", "c", "topics = [\"x\"]"),
                ("b", "c", "topics = [\"x\"]"),
            ],
            &["K0050@7"],
        ),
    ] {
        compare(
            &mut wrong,
            &format!("{links:?}"),
            codes_of_links(links),
            expected,
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_mirror_that_is_owned_is_found() {
    let link = "topics = [\"x\"]";
    let owned = |name: &str, link: &str| {
        codes(&format!(
            "clusters.b.topics.{name} = {{}}\n\
             links.l = {{ source = \"a\", destination = \"b\", {link} }}"
        ))
    };
    assert_eq!(owned("x", link).len(), 1);
    assert_eq!(owned("y", link), [""; 0]);
    assert_eq!(owned("\"x.y\"", "topics = [\"x_y\"]").len(), 1);
    // A pattern is a mistake only if the source is known to have such a topic.
    assert_eq!(owned("x", "topics = [\"*\"]"), [""; 0]);
    let both = codes(
        "clusters.a.topics.x = {}\nclusters.b.topics.x = {}\n\
         links.l = { source = \"a\", destination = \"b\", topics = [\"*\"] }",
    );
    assert_eq!(both.len(), 1);
    assert!(both[0].starts_with("K0051@7"), "{both:?}");
}

#[test]
fn a_link_takes_what_is_there_and_says_what_is_not() {
    let topology = topology(
        "kmirror = 1\nclusters.a.bootstrap_servers = \"a:1\"\n\
         clusters.b.bootstrap_servers = \"b:1\"\n\
         [links.l]\nsource = \"a\"\ndestination = \"b\"\n\
         topics = [\"orders\", \"o*\", \"_schemas\", \"gone\"]\nexclude = [\"*-tmp\"]\n\
         rename = [{ regex = \"o(.)\", to = \"x\" }, { regex = \"o-(.*)\", to = \"${1}\" }]\n\
         [links.l.mirrors.payments]\nas = \"paid\"",
    );
    let rule = LinkRule::from(&topology.links["l"]);
    let topics = [
        "payments",
        "orders",
        "o1",
        "o2",
        "o-",
        "o-tmp",
        "_schemas",
        "__consumer_offsets",
        "else",
    ];
    let resolution = resolve_link(&rule, topics.into_iter());
    let mirrors: Vec<_> = resolution
        .mirrors
        .iter()
        .map(|mirror| {
            let line = mirror.asked_by.expect("from a file").line;
            (mirror.source.as_str(), mirror.destination.as_str(), line)
        })
        .collect();
    assert_eq!(
        mirrors,
        [
            ("_schemas", "_schemas", 7),
            ("orders", "orders", 7),
            ("payments", "paid", 10)
        ]
    );
    let absent: Vec<_> = resolution
        .absent_literals
        .iter()
        .map(|absent| absent.topic.as_str())
        .collect();
    assert_eq!(absent, ["gone"]);
    let conflicts: Vec<_> = resolution
        .conflicts
        .iter()
        .map(ToString::to_string)
        .collect();
    // `o-` is caught by the first rule, as `o1` and `o2` are.
    assert_eq!(
        conflicts,
        ["`o-` and `o1` and `o2` would end in one topic, `x`"]
    );
    assert!(matches!(
        resolution.conflicts[0],
        Conflict::SameDestination { .. }
    ));
}

#[test]
fn a_large_file_is_checked_quickly() {
    let topics: Vec<_> = (0..10_000)
        .map(|index| format!("\"topic-{index}\""))
        .collect();
    let text = format!(
        "kmirror = 1\nclusters.a.bootstrap_servers = \"a:1\"\n\
         clusters.b.bootstrap_servers = \"b:1\"\n\
         links.l = {{ source = \"a\", destination = \"b\", topics = [{}] }}",
        topics.join(",")
    );
    let start = std::time::Instant::now();
    assert!(check(&text).is_ok());
    // A debug build on a busy machine; what must not happen is quadratic time.
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}
