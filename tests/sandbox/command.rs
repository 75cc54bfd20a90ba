//! `kmirror sandbox` as a process.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::clients::PATIENCE;

/// A port that is free now, below the range from which outgoing connections take theirs.
fn free_port(from: u16) -> u16 {
    (from..from + 500)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port among 500")
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new()
        .suffix(".toml")
        .tempfile()
        .expect("a temporary file");
    std::fs::write(file.path(), text).expect("written");
    file
}

fn start(file: &tempfile::NamedTempFile) -> Child {
    Command::new(env!("CARGO_BIN_EXE_kmirror"))
        .arg("sandbox")
        .arg(file.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

fn end(child: &mut Child) -> (Option<i32>, String) {
    let mut text = String::new();
    let stderr = child.stderr.as_mut().expect("piped");
    stderr.read_to_string(&mut text).expect("text");
    (child.wait().expect("an end").code(), text)
}

#[test]
fn a_files_clusters_are_served_until_interrupted() {
    let (a, b) = (free_port(21_000), free_port(22_000));
    let file = file(&format!(
        "kmirror = 1\n[clusters.one]\nbootstrap_servers = \"127.0.0.1:{a}\"\ncluster_id = \"MkU3OEVBNTcwNTJENDM2Qg\"\n[clusters.two]\nbootstrap_servers = \"localhost:{b}\"\n"
    ));
    let mut child = start(&file);
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut shown = Vec::new();
    for line in lines.by_ref() {
        shown.push(line.expect("text"));
        if shown.last().is_some_and(|line| line.contains("Ctrl-C")) {
            break;
        }
    }
    assert_eq!(
        shown[0].split_whitespace().collect::<Vec<_>>(),
        ["cluster", "broker", "address", "protocol", "cluster", "id"]
    );
    assert!(
        shown[1].starts_with("one") && shown[1].ends_with("MkU3OEVBNTcwNTJENDM2Qg"),
        "{}",
        shown[1]
    );
    assert!(shown[2].contains(&format!("localhost:{b}")), "{}", shown[2]);
    for address in [format!("127.0.0.1:{a}"), format!("localhost:{b}")] {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &address)
            .create()
            .expect("a valid configuration");
        let metadata = client.fetch_metadata(None, PATIENCE).expect("metadata");
        assert_eq!(metadata.brokers().len(), 1);
    }
    interrupt(&child);
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    let order: Vec<_> = rest
        .iter()
        .filter(|line| line.starts_with("stopped"))
        .collect();
    assert!(
        order[0].contains("two") && order[1].contains("one"),
        "{rest:?}"
    );
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}

#[test]
fn addresses_that_are_taken_or_elsewhere_are_named() {
    let taken = TcpListener::bind(("127.0.0.1", free_port(23_000))).expect("free");
    let port = taken.local_addr().expect("bound").port();
    let cases = [
        (
            format!("127.0.0.1:{port}"),
            format!("cannot listen on 127.0.0.1:{port} for cluster one"),
        ),
        (
            "192.0.2.7:9092".to_owned(),
            "cluster one: 192.0.2.7:9092 is not a loopback address".to_owned(),
        ),
    ];
    for (address, expected) in cases {
        let file = file(&format!(
            "kmirror = 1\n[clusters.one]\nbootstrap_servers = \"{address}\"\n"
        ));
        let (code, text) = end(&mut start(&file));
        assert_eq!(code, Some(1));
        assert!(text.contains(&expected) && text.contains("hint:"), "{text}");
    }
}

/// A client that trusts what the sandbox wrote, and one that the file does not know.
#[test]
fn a_secured_file_is_served_to_whom_it_names() {
    let port = free_port(24_000);
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    let text = format!(
        "kmirror = 1\n[clusters.one]\nbootstrap_servers = \"127.0.0.1:{port}\"\n[clusters.one.client]\nsecurity.protocol = \"SASL_SSL\"\nsasl.mechanism = \"SCRAM-SHA-512\"\nsasl.username = \"ada\"\nsasl.password = \"s3cret-s3cret\"\nssl.ca.location = \"{}\"\n",
        ca.display()
    );
    let file = file(&text);
    // Nobody has made it yet.
    let (code, refused) = end(&mut start(&file));
    assert_eq!(code, Some(1));
    let hint = format!("--write-ca {}", ca.display());
    assert!(refused.contains(&hint), "{refused}");
    // One that its clients trust, and that the sandbox has no key of.
    let other = kmirror::sandbox::authority::Authority::new().expect("can be made");
    std::fs::write(&ca, other.pem().expect("can be written")).expect("is written");
    let (code, refused) = end(&mut start(&file));
    assert_eq!(code, Some(1));
    assert!(
        refused.contains("would not trust the sandbox's certificate")
            && refused.contains("--write-ca"),
        "{refused}"
    );
    std::fs::remove_file(&ca).expect("is removed");
    let mut child = Command::new(env!("CARGO_BIN_EXE_kmirror"))
        .arg("sandbox")
        .arg(file.path())
        .arg("--write-ca")
        .arg(&ca)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let (shown, rest) = until(&mut child, "Ctrl-C");
    let shown = shown.concat();
    assert!(
        shown.contains("SASL_SSL SCRAM-SHA-512") && !shown.contains("s3cret"),
        "{shown}"
    );
    let metadata = |password: &str| {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", format!("127.0.0.1:{port}"))
            .set("security.protocol", "sasl_ssl")
            .set("sasl.mechanism", "SCRAM-SHA-512")
            .set("sasl.username", "ada")
            .set("sasl.password", password)
            .set("ssl.ca.location", ca.display().to_string())
            .set("log_level", "0")
            .create()
            .expect("a valid configuration");
        client.fetch_metadata(None, std::time::Duration::from_secs(3))
    };
    assert_eq!(
        metadata("s3cret-s3cret")
            .expect("is let in")
            .brokers()
            .len(),
        1
    );
    assert!(metadata("another").is_err());
    // The commands come in with the same file.
    let plan = Command::new(env!("CARGO_BIN_EXE_kmirror"))
        .arg("plan")
        .arg(file.path())
        .output()
        .expect("the binary starts");
    assert!(plan.status.success(), "{plan:?}");
    let (_, taken) = end(&mut Command::new(env!("CARGO_BIN_EXE_kmirror"))
        .arg("sandbox")
        .arg(file.path())
        .arg("--write-ca")
        .arg(&ca)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts"));
    assert!(taken.contains("replaces none"), "{taken}");
    interrupt(&child);
    assert!(rest.last().is_some());
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    assert!(!ca.exists());
}

/// Everything that a process says on stderr until it has said `last`; the rest can be read on.
fn until(child: &mut Child, last: &str) -> (Vec<String>, impl Iterator<Item = String> + use<>) {
    let stderr = child.stderr.take().expect("piped");
    let mut lines = BufReader::new(stderr)
        .lines()
        .map(|line| line.expect("text"));
    let mut shown = Vec::new();
    for line in lines.by_ref() {
        shown.push(line);
        if shown.last().is_some_and(|line| line.contains(last)) {
            break;
        }
    }
    (shown, lines)
}

fn interrupt(child: &Child) {
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success());
}

fn demo(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_kmirror"))
        .arg("demo")
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

#[test]
fn the_demonstration_mirrors_compares_and_stops_what_it_started() {
    let began = std::time::Instant::now();
    let (code, text) = end(&mut demo(&[]));
    assert_eq!(code, Some(0), "{text}");
    let expected = [
        "Plan: 4 to create.",
        "Applied: 4 done.",
        "10,000 records",
        "lag 0",
        "all there, once, in order",
        "No changes.",
        "stopped the worker",
        "stopped cluster destination",
        "stopped cluster origin",
    ];
    let mut rest = text.as_str();
    for line in expected {
        let at = rest
            .find(line)
            .unwrap_or_else(|| panic!("`{line}` is missing or out of order in:\n{text}"));
        rest = &rest[at..];
    }
    assert!(
        began.elapsed() < std::time::Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_kept_demonstration_goes_on_until_interrupted() {
    let mut child = demo(&["--keep"]);
    let (shown, rest) = until(&mut child, " apply /");
    let file = shown
        .last()
        .and_then(|line| line.split_whitespace().last())
        .expect("a path")
        .to_owned();
    let plan = Command::new(env!("CARGO_BIN_EXE_kmirror"))
        .args(["plan", "--detailed-exitcode", &file])
        .output()
        .expect("the binary starts");
    assert_eq!(plan.status.code(), Some(0), "{plan:?}");
    interrupt(&child);
    let stopped: Vec<String> = rest.filter(|line| line.starts_with("stopped")).collect();
    assert_eq!(
        stopped,
        [
            "stopped the worker",
            "stopped cluster destination",
            "stopped cluster origin"
        ]
    );
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    assert!(!std::path::Path::new(&file).exists());
}

#[test]
fn an_interrupted_demonstration_stops_what_it_had_started() {
    let mut child = demo(&[]);
    let (_, rest) = until(&mut child, "in memory");
    interrupt(&child);
    let last = rest.last();
    assert_eq!(child.wait().expect("an end").code(), Some(130));
    assert_eq!(last.as_deref(), Some("stopped cluster origin"));
}
