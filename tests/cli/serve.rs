//! `kmirror serve` and `kmirror user` as processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::assert_shown;
use crate::sandboxes::TwoClusters;
use crate::support::{Ran, Scenario};

const LINK: &str = r#"
[links.copy]
source = "east"
destination = "west"
topics = ["orders"]
replication_factor = 1
"#;

/// A server that has said where it listens.
pub struct Serving {
    child: Child,
    /// `127.0.0.1:…`, of the first listener.
    address: String,
    /// Of all listeners.
    pub addresses: Vec<String>,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

pub fn start(scenario: &Scenario, arguments: &[&str]) -> Serving {
    start_command(scenario.command(arguments), arguments)
}

/// The same for a command that was made ready.
pub fn start_command(mut command: Command, arguments: &[&str]) -> Serving {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let listeners = arguments.iter().filter(|argument| **argument == "--http");
    let listeners = listeners.count();
    let mut shown = Vec::new();
    let mut addresses = Vec::new();
    while addresses.len() < listeners {
        let Some(line) = lines.next() else {
            panic!("it ended: {shown:?}");
        };
        let line = line.expect("text");
        if let Some((_, address)) = line.split_once(" at http://") {
            let address = address.strip_suffix("/kafka/v3").expect("the prefix");
            addresses.push(address.to_owned());
        }
        shown.push(line);
    }
    Serving {
        child,
        address: addresses[0].clone(),
        addresses,
        lines,
    }
}

impl Serving {
    fn ask(&self, request: &str) -> String {
        self.ask_at(&self.address, request)
    }

    fn ask_at(&self, address: &str, request: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("it listens");
        let head = format!(
            "{request} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    /// Ends it; what it said since, and its exit code.
    pub fn end(mut self, signal: &str) -> (Vec<String>, Option<i32>) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.expect("kill runs").success());
        let said = self.lines.map(|line| line.expect("text")).collect();
        (said, self.child.wait().expect("it ends").code())
    }
}

#[test]
fn a_cluster_is_served_until_the_server_is_told_to_stop() {
    let clusters = TwoClusters::start(1, LINK);
    let arguments = ["serve", "mirror.toml", "--http", "127.0.0.1:0"];
    let serving = start(&clusters.scenario, &arguments);
    let answer = serving.ask("GET /kafka/v3/clusters");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("west-id"), "{answer}");
    assert!(!answer.contains("east-id"), "{answer}");
    let answer = serving.ask("DELETE /v3/clusters");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    // A page of elsewhere, in a browser on this machine.
    let answer = serving.ask("POST /v3/clusters HTTP/1.1\r\norigin: https://evil.example\r\nx:");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let (said, code) = serving.end("-TERM");
    assert_eq!(code, Some(0), "{said:?}");
    let says = |words: &[&str]| {
        let mut lines = said.iter();
        assert!(
            lines.any(|line| words.iter().all(|word| line.contains(word))),
            "no {words:?} in {said:?}"
        );
    };
    says(&["SIGTERM received"]);
    says(&[
        "INFO audit",
        "method=DELETE",
        "path=/v3/clusters",
        "status=405",
    ]);
}

#[test]
fn each_listener_knows_its_own_cluster_and_no_other() {
    let clusters = TwoClusters::start(1, LINK);
    let arguments = [
        "serve",
        "mirror.toml",
        "--http",
        "east=127.0.0.1:0",
        "--http",
        "west=127.0.0.1:0",
    ];
    let serving = start(&clusters.scenario, &arguments);
    for (address, own, other) in [
        (&serving.addresses[0], "east-id", "west-id"),
        (&serving.addresses[1], "west-id", "east-id"),
    ] {
        let answer = serving.ask_at(address, "GET /v3/clusters");
        assert!(answer.contains(own) && !answer.contains(other), "{answer}");
        let answer = serving.ask_at(address, &format!("GET /v3/clusters/{own}/topics"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let answer = serving.ask_at(address, &format!("GET /v3/clusters/{other}/topics"));
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(
            answer.contains(&format!("Cluster {other} cannot be found.")),
            "{answer}"
        );
    }
    assert_eq!(serving.end("-INT").1, Some(0));
}

#[test]
fn a_worker_serves_while_it_copies() {
    let clusters = TwoClusters::start(1, LINK);
    clusters.create(&clusters.east, "orders", 1, &[]);
    let ran = clusters.run(&["apply", "mirror.toml", "--yes"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let arguments = ["run", "mirror.toml", "--http", "east=127.0.0.1:0"];
    let serving = start(&clusters.scenario, &arguments);
    let answer = serving.ask("GET /v3/clusters/east-id/brokers");
    assert!(answer.contains("\"KafkaBroker\""), "{answer}");
    let (said, code) = serving.end("-INT");
    assert_eq!(code, Some(0), "{said:?}");
}

/// Whoever watches mirrors over REST would take those of files for copied, or for dead.
#[test]
fn the_lag_of_a_files_mirror_is_told_over_rest() {
    let clusters = TwoClusters::start(1, LINK);
    clusters.create(&clusters.east, "orders", 1, &[]);
    let ran = clusters.run(&["apply", "mirror.toml", "--yes"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    crate::offsets::produce(&clusters, 10);
    let ran = clusters.run(&["run", "mirror.toml", "--until-caught-up"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let arguments = ["serve", "mirror.toml", "--http", "west=127.0.0.1:0"];
    let serving = start(&clusters.scenario, &arguments);
    let mirror = || serving.ask("GET /v3/clusters/west-id/links/copy/mirrors/orders");
    let answer = mirror();
    assert!(answer.contains("\"lag\":0"), "{answer}");
    crate::offsets::produce(&clusters, 7);
    let answer = mirror();
    assert!(answer.contains("\"lag\":7"), "{answer}");
    clusters.east.faults().stop_broker(1);
    let answer = mirror();
    let unknown = answer.contains("\"lag\":-1") && answer.contains("SOURCE_UNAVAILABLE");
    assert!(unknown, "{answer}");
    assert_eq!(serving.end("-INT").1, Some(0));
}

/// What is shown with the free port of a run left out.
fn without(ran: Ran, port: u16) -> Ran {
    let hide = |text: String| text.replace(&port.to_string(), "PORT");
    Ran {
        command: hide(ran.command),
        stderr: hide(ran.stderr),
        ..ran
    }
}

#[test]
fn a_server_that_cannot_start_says_what_to_do() {
    let clusters = TwoClusters::start(1, LINK);
    clusters.scenario.file("users", "ada:secret\n");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let at = format!("127.0.0.1:{port}");
    let cases: &[(&str, &[&str])] = &[
        ("taken", &["--http", &at]),
        ("unknown", &["--http", "wets=127.0.0.1:0"]),
        ("no_address", &[]),
        ("no_port", &["--http", "west=127.0.0.1"]),
        (
            "twice",
            &["--http", "127.0.0.1:8090", "--http", "east=127.0.0.1:8090"],
        ),
        ("exposed", &["--http", "0.0.0.0:0"]),
        ("users", &["--http", "127.0.0.1:0", "--http-users", "users"]),
        (
            "no_users",
            &["--http", "127.0.0.1:0", "--http-users", "absent"],
        ),
        (
            "no_certificate",
            &[
                "--http",
                "127.0.0.1:0",
                "--http-certificate",
                "a.pem",
                "--http-key",
                "b.pem",
            ],
        ),
        (
            "no_key",
            &["--http", "127.0.0.1:0", "--http-certificate", "a.pem"],
        ),
    ];
    for (name, flags) in cases {
        let arguments = [&["serve", "mirror.toml"], *flags].concat();
        let ran = without(clusters.run(&arguments), port);
        assert_eq!(ran.code, Some(1), "{ran}");
        assert_shown(&format!("serve_{name}"), &ran);
    }
}

#[test]
fn passwords_beyond_loopback_without_tls_have_to_be_asked_for_loudly() {
    let clusters = TwoClusters::start(1, LINK);
    let ran = clusters
        .scenario
        .run_with_input(&["user", "users", "ada"], "lovelace\n");
    assert_eq!(ran.code, Some(0), "{ran}");
    let mut flags = vec!["serve", "mirror.toml", "--http", "0.0.0.0:0"];
    flags.extend(["--http-users", "users"]);
    let ran = clusters.run(&flags);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert_shown("serve_unencrypted", &ran);
    flags.push("--http-allow-plaintext");
    let serving = start(&clusters.scenario, &flags);
    let answer = serving.ask("GET /v3/clusters");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert_eq!(serving.end("-INT").1, Some(0));
}

#[test]
fn a_cluster_of_another_id_than_the_file_says_is_not_served() {
    let clusters = TwoClusters::start(1, LINK);
    let servers = clusters.west.bootstrap_servers();
    let text = format!(
        "kmirror = 1\n[clusters.west]\nbootstrap_servers = \"{servers}\"\ncluster_id = \"MkU3OEVBNTcwNTJENDM2Qg\"\n"
    );
    clusters.scenario.file("pinned.toml", text);
    let ran = clusters.run(&["serve", "pinned.toml", "--http", "127.0.0.1:0"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert_shown("serve_pinned", &ran);
}

#[test]
fn users_are_added_changed_and_removed() {
    use std::os::unix::fs::PermissionsExt;
    let scenario = Scenario::new();
    let user = |arguments: &[&str], input: &str| {
        let ran = scenario.run_with_input(&[&["user"], arguments].concat(), input);
        (ran.code, ran.stderr)
    };
    let ok = |text: &str| (Some(0), format!("{text}\n"));
    assert_eq!(
        user(&["users", "ada"], "lovelace\nrest"),
        ok("added user ada in users")
    );
    let mode = std::fs::metadata(scenario.path("users"))
        .expect("it is there")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    assert_eq!(
        user(&["users", "eve"], "apple\n"),
        ok("added user eve in users")
    );
    assert_eq!(
        user(&["users", "ada"], "byron\n"),
        ok("changed the password of user ada in users")
    );
    assert_eq!(
        user(&["users", "eve", "--delete"], ""),
        ok("removed user eve from users")
    );
    let text = std::fs::read_to_string(scenario.path("users")).expect("text");
    let hash = text.strip_prefix("ada:").expect("one user").trim_end();
    assert!(bcrypt::verify("byron", hash).expect("a hash"));
    for (arguments, input, said) in [
        (["users", "bob"], "\n", "error: the password is empty\n"),
        (
            ["users", "a:b"],
            "x\n",
            "error: a user name has neither colons nor control characters in it\n",
        ),
    ] {
        assert_eq!(user(&arguments, input), (Some(1), said.to_owned()));
    }
    let gone = user(&["users", "bob", "--delete"], "");
    assert_eq!(gone, (Some(1), "error: users has no user bob\n".to_owned()));
}

#[test]
fn a_password_that_is_typed_is_not_shown_and_asked_for_twice() {
    let scenario = Scenario::new();
    let typed = |second: &str| {
        let answers = [("Password:", "lovelace"), ("Once more:", second)];
        scenario.run_on_terminal(&["user", "users", "ada"], &answers)
    };
    let ran = typed("byron");
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("the two passwords differ"), "{ran}");
    let ran = typed("lovelace");
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(!ran.stderr.contains("lovelace"), "{ran}");
}
