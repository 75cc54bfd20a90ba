//! `kmirror mirror reverse-and-start`, `reverse-and-pause` and `truncate-and-restore` against a stand-in for brokers with Cluster
//! Linking: what a user sees before, meanwhile and afterwards.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::assert_shown;
use crate::rest_links::{await_end, produce};
use crate::sandboxes::TwoClusters;
use crate::serve;
use crate::support::Ran;

/// Mirrors by cluster id and topic, with their states.
type Mirrors = BTreeMap<(String, String), String>;

/// The REST API of both clusters' brokers, as far as turning mirrors goes.
struct Brokers {
    address: String,
    mirrors: Arc<Mutex<Mirrors>>,
}

impl Brokers {
    fn start(mirrors: &[(&str, &str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let mirrors = mirrors.iter().map(|(cluster, topic, state)| {
            let key = ((*cluster).to_owned(), (*topic).to_owned());
            (key, (*state).to_owned())
        });
        let mirrors = Arc::new(Mutex::new(mirrors.collect()));
        let shared = Arc::clone(&mirrors);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let answered = answer(stream.expect("a connection"), &shared);
                answered.expect("the client listens");
            }
        });
        Self { address, mirrors }
    }

    fn states(&self) -> Vec<String> {
        let mirrors = self.mirrors.lock().expect("not poisoned");
        let states = mirrors.iter();
        states
            .map(|((cluster, topic), state)| format!("{cluster} {topic} {state}"))
            .collect()
    }
}

fn answer(stream: TcpStream, mirrors: &Mutex<Mirrors>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    stream.read_line(&mut head)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let target = head.split(' ').nth(1).unwrap_or_default();
    let mut mirrors = mirrors.lock().expect("not poisoned");
    let (status, answer) = match said(target, &body, &mut mirrors) {
        Some(answer) => (200, answer),
        None => (
            404,
            json!({"error_code": 404, "message": "HTTP 404 Not Found"}),
        ),
    };
    let answer = answer.to_string();
    let length = answer.len();
    write!(
        stream.get_mut(),
        "HTTP/1.1 {status} Word\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}"
    )
}

/// `None`: not found.
fn said(target: &str, body: &Value, mirrors: &mut Mirrors) -> Option<Value> {
    let path = target.strip_prefix("/kafka/v3/clusters/")?;
    let (cluster, path) = path.split_once("/links/dr/")?;
    if path == "configs" {
        return Some(json!({"data": [{"name": "link.mode", "value": "BIDIRECTIONAL"}]}));
    }
    if let Some(topic) = path.strip_prefix("mirrors/") {
        let state = mirrors.get(&(cluster.to_owned(), topic.to_owned()))?;
        return Some(json!({
            "link_name": "dr", "mirror_topic_name": topic, "source_topic_name": topic, "mirror_status": state,
            "mirror_lags": [{"partition": 0, "lag": 1200, "last_source_fetch_offset": 7}],
        }));
    }
    let (action, validate_only) = path
        .strip_prefix("mirrors:")?
        .split_once("?validate_only=")?;
    let names = body["mirror_topic_names"].as_array()?;
    let outcomes = names.iter().map(|name| {
        let topic = name.as_str().expect("a name");
        // Something that only the server knows.
        if topic == "eu-locked" {
            return json!({"mirror_topic_name": topic, "error_code": 400, "error_message": "Topic 'eu-locked' is being reassigned"});
        }
        let other = if cluster == "east-id" { "west-id" } else { "east-id" };
        let [local, remote] = match action {
            "reverse-and-start-mirror" => ["STOPPED", "ACTIVE"],
            "reverse-and-pause-mirror" => ["STOPPED", "PAUSED"],
            _ => ["ACTIVE", "STOPPED"],
        };
        if validate_only == "false" {
            for (cluster, state) in [(cluster, local), (other, remote)] {
                mirrors.insert((cluster.to_owned(), topic.to_owned()), state.to_owned());
            }
        }
        let truncated = (action == "truncate-and-restore").then_some(12);
        json!({"mirror_topic_name": topic, "error_code": null, "messages_truncated": truncated})
    });
    Some(json!({"data": outcomes.collect::<Vec<_>>()}))
}

/// Two clusters with a link of both ways at these brokers.
fn scene(brokers: &Brokers) -> TwoClusters {
    let clusters = TwoClusters::start(1, "");
    let mut text = "kmirror = 1\n".to_owned();
    for sandbox in [&clusters.east, &clusters.west] {
        text.push_str(&format!(
            "[clusters.{}]\nbootstrap_servers = \"{}\"\nrest = {{ url = \"http://{}/kafka\" }}\n",
            sandbox.name(),
            sandbox.bootstrap_servers(),
            brokers.address
        ));
    }
    text.push_str(
        r#"
[links.out]
source = "east"
destination = "west"
engine = "cluster-link"
bidirectional = "dr"
topics = ["orders", "eu-*"]

[links.back]
source = "west"
destination = "east"
engine = "cluster-link"
bidirectional = "dr"
topics = ["payments"]

[links.one-way]
source = "east"
destination = "west"
engine = "cluster-link"
topics = ["other"]

[links.own]
source = "east"
destination = "west"
topics = ["own"]
"#,
    );
    clusters.scenario.file("mirror.toml", text);
    clusters
}

fn turn(clusters: &TwoClusters, arguments: &[&str]) -> Ran {
    clusters.run(&[&["mirror"], arguments].concat())
}

#[test]
fn mirrors_are_turned_round_and_the_file_is_told_to_follow() {
    let brokers = Brokers::start(&[
        ("west-id", "orders", "ACTIVE"),
        ("west-id", "eu-orders", "ACTIVE"),
    ]);
    let clusters = scene(&brokers);
    let start = [
        "reverse-and-start",
        "mirror.toml",
        "out",
        "orders",
        "eu-orders",
    ];
    assert_shown("turn_unconfirmed", &turn(&clusters, &start));
    assert_eq!(
        brokers.states(),
        ["west-id eu-orders ACTIVE", "west-id orders ACTIVE"]
    );
    let mut started = turn(&clusters, &[&start[..], &["--yes"]].concat());
    // Topics are waited for side by side, and told of as they come.
    let mut lines: Vec<&str> = started.stderr.lines().collect();
    let told = |line: &&str| line.contains(" on west, ");
    let first = lines.iter().position(told).expect("they are told of");
    lines[first..first + 2].sort_unstable_by(|one, other| other.cmp(one));
    started.stderr = lines.join("\n") + "\n";
    assert_shown("turn_started", &started);
    let round = [
        "east-id eu-orders ACTIVE",
        "east-id orders ACTIVE",
        "west-id eu-orders STOPPED",
        "west-id orders STOPPED",
    ];
    assert_eq!(brokers.states(), round);
    // And back, which leaves them paused.
    let mut back = vec!["reverse-and-pause", "mirror.toml", "back", "orders"];
    back.extend(["--yes", "--format", "json"]);
    assert_shown("turn_paused_json", &turn(&clusters, &back));
    assert_shown("turn_stopped_already", &turn(&clusters, &back));
}

#[test]
fn records_are_deleted_only_where_somebody_lets_them() {
    let brokers = Brokers::start(&[("west-id", "orders", "STOPPED")]);
    let clusters = scene(&brokers);
    let restore = ["truncate-and-restore", "mirror.toml", "back", "orders"];
    let blocked = turn(&clusters, &[&restore[..], &["--yes"]].concat());
    assert_eq!(blocked.code, Some(3), "{blocked}");
    assert_shown("turn_not_allowed", &blocked);
    let arguments = [&["mirror"], &restore[..], &["--allow-delete"]].concat();
    let name = "east/orders for good, type its name:";
    let wrong = [(name, "orders")];
    let ran = clusters.scenario.run_on_terminal(&arguments, &wrong);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert_eq!(brokers.states(), ["west-id orders STOPPED"]);
    let right = [(name, "east/orders"), ("Only `yes`", "yes")];
    let ran = clusters.scenario.run_on_terminal(&arguments, &right);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_eq!(
        brokers.states(),
        ["east-id orders ACTIVE", "west-id orders STOPPED"]
    );
    let brokers = Brokers::start(&[("west-id", "orders", "STOPPED")]);
    let clusters = scene(&brokers);
    let allowed = [&restore[..], &["--yes", "--allow-delete"]].concat();
    assert_shown("turn_restored", &turn(&clusters, &allowed));
}

#[test]
fn what_cannot_be_turned_round_is_said_in_words() {
    let brokers = Brokers::start(&[
        ("west-id", "orders", "ACTIVE"),
        ("west-id", "eu-locked", "ACTIVE"),
    ]);
    let clusters = scene(&brokers);
    for (name, link, topics) in [
        ("turn_unknown", "ou", &["orders"][..]),
        ("turn_shared_name", "dr", &["orders"]),
        ("turn_one_way", "one-way", &["other"]),
        ("turn_own_engine", "own", &["own"]),
        ("turn_no_mirror", "out", &["orders", "absent"]),
        ("turn_refused", "out", &["orders", "eu-locked"]),
    ] {
        let arguments = [&["reverse-and-start", "mirror.toml", link, "--yes"], topics].concat();
        let ran = turn(&clusters, &arguments);
        assert_eq!(ran.code, Some(1), "{ran}");
        assert_shown(name, &ran);
    }
    assert_eq!(
        brokers.states(),
        ["west-id eu-locked ACTIVE", "west-id orders ACTIVE"]
    );
}

/// The same against kmirror's own API in front of plain Kafka, whose workers carry it out.
#[test]
fn kmirrors_own_server_turns_mirrors_round_too() {
    let clusters = TwoClusters::start(1, "");
    clusters.create(&clusters.east, "orders", 1, &[]);
    clusters.create(&clusters.west, "payments", 1, &[]);
    let run = [
        "run",
        "mirror.toml",
        "--http",
        "east=127.0.0.1:0",
        "--http",
        "west=127.0.0.1:0",
    ];
    let serving = serve::start(&clusters.scenario, &run);
    let mut text = "kmirror = 1\n".to_owned();
    for (sandbox, address) in [&clusters.east, &clusters.west]
        .iter()
        .zip(&serving.addresses)
    {
        text.push_str(&format!(
            "[clusters.{}]\nbootstrap_servers = \"{}\"\nrest = {{ url = \"http://{address}/kafka\" }}\n",
            sandbox.name(),
            sandbox.bootstrap_servers(),
        ));
    }
    for (name, source, destination, topics) in [
        ("out", "east", "west", "\"orders\""),
        ("back", "west", "east", "\"payments\""),
    ] {
        text.push_str(&format!(
            "[links.{name}]\nsource = \"{source}\"\ndestination = \"{destination}\"\nengine = \"cluster-link\"\n\
             bidirectional = \"dr\"\nreplication_factor = 1\ntopics = [{topics}]\n"
        ));
    }
    clusters.scenario.file("links.toml", text);
    let ran = clusters.run(&["apply", "--yes", "links.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    produce(&clusters.east, "orders", 3);
    await_end(&clusters, &clusters.west, "orders", 3);
    let turned = turn(
        &clusters,
        &["reverse-and-start", "links.toml", "out", "orders", "--yes"],
    );
    assert_eq!(turned.code, Some(0), "{turned}");
    let said = "orders: east mirrors it from west now";
    assert!(turned.stderr.contains(said), "{turned}");
    let listed = clusters.run(&["mirror", "list", "links.toml", "--state", "active"]);
    assert!(listed.stdout.contains("east"), "{listed}");
    // Kafka cannot cut off the end of a log, and says so before anybody is asked.
    let restored = turn(
        &clusters,
        &[
            "truncate-and-restore",
            "links.toml",
            "back",
            "orders",
            "--yes",
            "--allow-delete",
        ],
    );
    assert_eq!(restored.code, Some(1), "{restored}");
    assert_eq!(serving.end("-INT").1, Some(0));
}
