//! `kmirror demo cluster-linking` as a process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use regex::Regex;

use crate::assert_shown;
use crate::support::{Ran, Scenario};

/// What is another thing in every run.
const VOLATILE: &[(&str, &str)] = &[
    (r"/\S*/kmirror-demo-\w{6}", "DEMO"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r#""port": \d+"#, r#""port": PORT"#),
    (r#"_id": "[\w-]{22}""#, r#"_id": "ID""#),
    (r"/clusters/[\w-]{22}", "/clusters/ID"),
    // How far the worker is at that moment.
    (
        r#""lag": (-1|0), "last_source_fetch_offset": -1"#,
        r#""lag": LAG, "last_source_fetch_offset": -1"#,
    ),
    (r#""state_time_ms": \d+"#, r#""state_time_ms": TIME"#),
    (
        r"made for this demonstration \(\S+\)",
        "made for this demonstration (KEY)",
    ),
    (r"\d+\.\d s\b", "N s"),
];

fn start(scenario: &Scenario, arguments: &[&str]) -> Child {
    scenario
        .command(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn interrupt(child: &Child) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.expect("kill runs").success());
}

/// Everything up to a line with `last` in it; the rest can be read on.
fn until(child: &mut Child, last: &str) -> (Vec<String>, BufReader<impl Read + use<>>) {
    let mut stderr = BufReader::new(child.stderr.take().expect("is piped"));
    let mut shown = Vec::new();
    loop {
        let mut line = String::new();
        let read = stderr.read_line(&mut line).expect("text");
        assert!(read > 0, "`{last}` never came:\n{}", shown.join("\n"));
        shown.push(line.trim_end().to_owned());
        if line.contains(last) {
            return (shown, stderr);
        }
    }
}

/// The folder that the demonstration says it has.
fn folder(shown: &[String]) -> PathBuf {
    let line = shown
        .iter()
        .find(|line| line.contains("The topology file, "));
    let path = line
        .and_then(|line| line.rsplit_once(", "))
        .expect("is told")
        .1;
    Path::new(path)
        .parent()
        .expect("lies in a folder")
        .to_owned()
}

#[test]
fn the_tutorial_of_cluster_linking_is_told_without_secrets() {
    let scenario = Scenario::new();
    let mut ran: Ran = scenario.run(&["demo", "cluster-linking"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(!ran.stderr.contains("password="), "{ran}");
    for (volatile, mask) in VOLATILE {
        let volatile = Regex::new(volatile).expect("a regular expression");
        ran.stderr = volatile.replace_all(&ran.stderr, *mask).into_owned();
    }
    assert_shown("cli_demo_cluster_linking", &ran);
}

#[test]
fn an_interrupted_story_leaves_nothing_behind() {
    let scenario = Scenario::new();
    let mut child = start(&scenario, &["demo", "cluster-linking"]);
    let (shown, mut rest) = until(&mut child, "A topic at the source");
    let folder = folder(&shown);
    assert!(folder.join("source.properties").exists());
    interrupt(&child);
    let mut text = String::new();
    rest.read_to_string(&mut text).expect("text");
    assert_eq!(child.wait().expect("ends").code(), Some(130), "{text}");
    let stopped = [
        "SIGINT received",
        "stopped the worker",
        "stopped the server",
        "removed ",
        "stopped cluster destination",
        "stopped cluster source",
    ];
    let mut left = text.as_str();
    for line in stopped {
        let at = left.find(line).unwrap_or_else(|| panic!("{line}: {text}"));
        left = &left[at..];
    }
    assert!(!folder.exists());
}

#[test]
fn nobody_has_to_read_it() {
    let scenario = Scenario::new();
    let mut child = start(&scenario, &["demo", "cluster-linking"]);
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}

#[test]
fn a_story_that_there_is_not_is_named_with_those_that_there_are() {
    let ran = Scenario::new().run(&["demo", "cluster-link"]);
    assert_eq!(ran.code, Some(1));
    for word in ["cluster-link", "mirroring", "cluster-linking"] {
        assert!(ran.stderr.contains(word), "{ran}");
    }
}

/// What is printed to go on with is true: the files are there, the addresses answer, and the link can be made again.
#[test]
fn a_kept_story_can_be_played_again_by_hand() {
    let scenario = Scenario::new();
    let mut child = start(&scenario, &["demo", "cluster-linking", "--keep"]);
    let (shown, mut rest) = until(&mut child, "Kafka's own tools");
    let folder = folder(&shown);
    let address = shown
        .iter()
        .find_map(|line| line.trim().strip_prefix("destination=http://"))
        .expect("is told");
    let (host, path) = address.split_once('/').expect("has a path");
    let body = std::fs::read_to_string(folder.join("link.json")).expect("is there");
    let mut stream = TcpStream::connect(host).expect("listens");
    let request = format!(
        "POST /{path}/links?link_name=demo-link HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answers");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let file = folder.join("demo.toml").display().to_string();
    let described = scenario.run(&["link", "describe", &file, "demo-link"]);
    assert_eq!(described.code, Some(0), "{described}");
    assert!(
        described.stdout.contains("SASL_SSL") && !described.stdout.contains("password="),
        "{described}"
    );
    interrupt(&child);
    let mut text = String::new();
    rest.read_to_string(&mut text).expect("text");
    assert_eq!(child.wait().expect("ends").code(), Some(0), "{text}");
    assert!(!folder.exists());
}
