//! `kmirror import cluster-link`: documents of the command line and of the REST API, and the API itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::assert_shown;
use crate::import::imported;
use crate::support::Scenario;

/// As `confluent kafka link list -o json` prints it.
const LINKS: &str = r#"[
  {
    "link_name": "dr-link",
    "source_cluster": "lkc-src1",
    "destination_cluster": "",
    "remote_cluster": "",
    "state": "ACTIVE"
  },
  { "link_name": "", "source_cluster": "lkc-gone", "state": "UNMANAGED_SOURCE" }
]"#;

/// As `confluent kafka link configuration list dr-link -o json` prints it.
const CONFIGS: &str = r#"[
  {"config_name": "bootstrap.servers", "config_value": "src-1:9092,src-2:9092", "read_only": false, "sensitive": false, "source": "DYNAMIC_CLUSTER_LINK_CONFIG", "synonyms": null},
  {"config_name": "security.protocol", "config_value": "SASL_SSL", "read_only": false, "sensitive": false, "source": "DYNAMIC_CLUSTER_LINK_CONFIG", "synonyms": null},
  {"config_name": "sasl.mechanism", "config_value": "PLAIN", "read_only": false, "sensitive": false, "source": "DYNAMIC_CLUSTER_LINK_CONFIG", "synonyms": null},
  {"config_name": "sasl.jaas.config", "config_value": "", "read_only": false, "sensitive": true, "source": "DYNAMIC_CLUSTER_LINK_CONFIG", "synonyms": null},
  {"config_name": "ssl.keystore.password", "config_value": "", "read_only": false, "sensitive": true, "source": "DEFAULT_CONFIG", "synonyms": null},
  {"config_name": "cluster.link.prefix", "config_value": "dr-", "read_only": false, "sensitive": false, "source": "DYNAMIC_CLUSTER_LINK_CONFIG", "synonyms": null},
  {"config_name": "auto.create.mirror.topics.enable", "config_value": "true", "read_only": false, "sensitive": false, "source": "DYNAMIC_CLUSTER_LINK_CONFIG", "synonyms": null},
  {"config_name": "auto.create.mirror.topics.filters", "config_value": "{\"topicFilters\":[{\"name\":\"shop-\",\"patternType\":\"PREFIXED\",\"filterType\":\"INCLUDE\"},{\"name\":\"eu.\",\"patternType\":\"PREFIXED\",\"filterType\":\"INCLUDE\"},{\"name\":\"shop-test\",\"patternType\":\"LITERAL\",\"filterType\":\"EXCLUDE\"}]}", "read_only": false, "sensitive": false, "source": "DYNAMIC_CLUSTER_LINK_CONFIG", "synonyms": null},
  {"config_name": "consumer.offset.sync.enable", "config_value": "true", "read_only": false, "sensitive": false, "source": "DYNAMIC_CLUSTER_LINK_CONFIG", "synonyms": null},
  {"config_name": "consumer.offset.group.filters", "config_value": "{\"groupFilters\":[]}", "read_only": false, "sensitive": false, "source": "DYNAMIC_CLUSTER_LINK_CONFIG", "synonyms": null},
  {"config_name": "mirror.start.offset.spec", "config_value": "2026-01-31T18:00:00Z", "read_only": false, "sensitive": false, "source": "DYNAMIC_CLUSTER_LINK_CONFIG", "synonyms": null},
  {"config_name": "num.cluster.link.fetchers", "config_value": "4", "read_only": false, "sensitive": false, "source": "DYNAMIC_CLUSTER_LINK_CONFIG", "synonyms": null},
  {"config_name": "metadata.max.age.ms", "config_value": "300000", "read_only": true, "sensitive": false, "source": "DEFAULT_CONFIG", "synonyms": null},
  {"config_name": "dest.cluster.id", "config_value": "lkc-dst1", "read_only": true, "sensitive": true, "source": "", "synonyms": null}
]"#;

/// As `confluent kafka mirror list -o json` prints it.
const MIRRORS: &str = r#"[
  {"link_name": "dr-link", "mirror_topic_name": "dr-orders", "num_partition": 3, "max_per_partition_mirror_lag": 0, "source_topic_name": "orders", "mirror_status": "ACTIVE", "status_time_ms": 1},
  {"link_name": "dr-link", "mirror_topic_name": "dr-audit", "num_partition": 1, "max_per_partition_mirror_lag": 0, "source_topic_name": "audit", "mirror_status": "PAUSED", "status_time_ms": 1},
  {"link_name": "dr-link", "mirror_topic_name": "dr-shop-1", "num_partition": 1, "max_per_partition_mirror_lag": 0, "source_topic_name": "shop-1", "mirror_status": "ACTIVE", "status_time_ms": 1},
  {"link_name": "dr-link", "mirror_topic_name": "dr-shop-2", "num_partition": 1, "max_per_partition_mirror_lag": 0, "source_topic_name": "shop-2", "mirror_status": "STOPPED", "status_time_ms": 1},
  {"link_name": "dr-link", "mirror_topic_name": "dr-logs", "num_partition": 1, "max_per_partition_mirror_lag": -1, "source_topic_name": "logs", "mirror_status": "SOURCE_UNAVAILABLE", "status_time_ms": 1}
]"#;

fn of_the_command_line() -> Scenario {
    let scenario = Scenario::new();
    scenario
        .file("links.json", LINKS)
        .file("configs.json", CONFIGS)
        .file("mirrors.json", MIRRORS);
    scenario
}

#[test]
fn what_the_confluent_command_line_prints_becomes_a_topology() {
    let scenario = of_the_command_line();
    let arguments = [
        "cluster-link",
        "links.json",
        "configs.json",
        "mirrors.json",
        "--bootstrap-server",
        "dst-1:9092",
    ];
    assert_shown("import_link_cli", &imported(&scenario, &arguments));
}

#[test]
fn documents_in_any_order_and_with_the_link_named_say_the_same() {
    let scenario = of_the_command_line();
    let first = imported(
        &scenario,
        &["cluster-link", "links.json", "configs.json", "mirrors.json"],
    );
    let other = imported(
        &scenario,
        &[
            "cluster-link",
            "dr-link=configs.json",
            "mirrors.json",
            "links.json",
        ],
    );
    let body = |text: &str| {
        text.split_once("\nkmirror = 1\n")
            .expect("has a head")
            .1
            .replace("links.json", "")
            .replace("configs.json", "")
    };
    let sorted = |text: &str| {
        let mut lines: Vec<_> = body(text)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&first.stdout), sorted(&other.stdout));
}

#[test]
fn what_says_nothing_about_links_is_refused() {
    let scenario = of_the_command_line();
    scenario
        .file(
            "topics.json",
            r#"{"kind":"KafkaTopicList","data":[{"topic_name":"orders"}]}"#,
        )
        .file(
            "half.json",
            r#"{"link_name":"out","destination_cluster_id":"lkc-2","link_state":"ACTIVE"}"#,
        )
        .file(
            "two.json",
            LINKS.replace("\"link_name\": \"\"", "\"link_name\": \"other\""),
        );
    for (name, arguments) in [
        ("nothing", &[][..]),
        ("topics", &["topics.json"]),
        ("half", &["half.json"]),
        ("unclear", &["two.json", "configs.json"]),
        (
            "no_password",
            &["--url", "http://127.0.0.1:1", "--username", "me"],
        ),
        ("bad_url", &["--url", "https://me:hunter2@127.0.0.1:1"]),
        (
            "nobody",
            &["--url", "http://127.0.0.1:1/kafka/v3", "--cluster-id", "x"],
        ),
    ] {
        let ran = scenario.run(&[&["import", "cluster-link"], arguments].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran}");
        assert!(!ran.stderr.contains("hunter2"), "{ran}");
        assert_shown(&format!("import_link_error_{name}"), &ran);
    }
}

/// A REST API of one cluster with one link; who asks without the right name and password is refused.
struct Api {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

const AUTHORITY: [&str; 1] = ["localhost"];

impl Api {
    /// With TLS if there is a key. The API ends with the process.
    fn start(tls: Option<rcgen::CertifiedKey<rcgen::KeyPair>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("is bound").port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = format!("{scheme}://localhost:{port}");
        let config = tls.map(|key| {
            let chain = vec![key.cert.der().clone()];
            let private =
                rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der())
                    .expect("a key");
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(chain, private)
                .expect("a certificate");
            Arc::new(config)
        });
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (base, log) = (address.clone(), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = match &config {
                    None => serve(&stream, &stream, &base, &log),
                    Some(config) => serve_tls(stream, Arc::clone(config), &base, &log),
                };
                // Who does not trust the certificate goes away in the middle.
                drop(served);
            }
        });
        Self { address, asked }
    }
}

fn serve_tls(
    mut stream: TcpStream,
    config: Arc<rustls::ServerConfig>,
    base: &str,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut connection = rustls::ServerConnection::new(config).map_err(std::io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    let mut tls = rustls::StreamOwned::new(connection, stream);
    let request = head(&mut tls)?;
    tls.write_all(answer(&request, base, log).as_bytes())?;
    tls.conn.send_close_notify();
    tls.flush()
}

fn serve(
    input: impl Read,
    mut output: impl Write,
    base: &str,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let request = head(input)?;
    output.write_all(answer(&request, base, log).as_bytes())
}

/// The request's lines up to the empty one.
fn head(input: impl Read) -> std::io::Result<Vec<String>> {
    let mut lines = Vec::new();
    for line in BufReader::with_capacity(1, input).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    Ok(lines)
}

fn answer(request: &[String], base: &str, log: &Mutex<Vec<String>>) -> String {
    let path = request[0].split(' ').nth(1).unwrap_or_default();
    log.lock().expect("not poisoned").push(path.to_owned());
    let expected = format!("Basic {}", STANDARD.encode("me:hunter2"));
    let is_known = request.iter().any(|line| {
        line.split_once(':').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("authorization") && value.trim() == expected
        })
    });
    let root = "/kafka/v3/clusters";
    let body = match path.strip_prefix(root) {
        _ if !is_known => None,
        Some("") => Some(r#"{"kind":"KafkaClusterList","data":[{"cluster_id":"dest-id"}]}"#.to_owned()),
        Some("/strange-id/links") => Some(
            r#"{"metadata":{"next":"http://localhost:9/kafka/v3/clusters/strange-id/links?page=2"},"data":[]}"#
                .to_owned(),
        ),
        Some("/dest-id/links") => Some(
            r#"{"kind":"KafkaLinkDataList","metadata":{"self":"","next":null},"data":[{"kind":"KafkaLinkData","source_cluster_id":"src-id","destination_cluster_id":null,"remote_cluster_id":null,"link_name":"demo-link","link_id":"x","cluster_link_id":"y","topic_names":["demo-link-topic"],"link_state":"ACTIVE"}]}"#.to_owned(),
        ),
        Some("/dest-id/links/demo-link/configs") => Some(
            r#"{"kind":"KafkaLinkConfigDataList","data":[{"kind":"KafkaLinkConfigData","cluster_id":"dest-id","link_name":"demo-link","name":"bootstrap.servers","value":"src:9092","is_default":false,"is_sensitive":false,"source":"DYNAMIC_CLUSTER_LINK_CONFIG"},{"name":"sasl.jaas.config","link_name":"demo-link","value":null,"is_default":false,"is_sensitive":true,"source":"DYNAMIC_CLUSTER_LINK_CONFIG"},{"name":"acl.sync.ms","link_name":"demo-link","value":"5000","is_default":true,"is_sensitive":false,"source":"DEFAULT_CONFIG"}]}"#.to_owned(),
        ),
        Some("/dest-id/links/demo-link/mirrors") => Some(format!(
            r#"{{"kind":"KafkaMirrorDataList","metadata":{{"next":"{base}{root}/dest-id/links/demo-link/mirrors?page=2"}},"data":[{{"link_name":"demo-link","mirror_topic_name":"demo-link-topic","source_topic_name":"demo-link-topic","mirror_status":"ACTIVE","num_partitions":1,"mirror_lags":[]}}]}}"#
        )),
        Some("/dest-id/links/demo-link/mirrors?page=2") => Some(
            r#"{"kind":"KafkaMirrorDataList","data":[{"link_name":"demo-link","mirror_topic_name":"more","source_topic_name":"more","mirror_status":"active","num_partitions":1,"mirror_lags":[]}]}"#.to_owned(),
        ),
        _ => Some(String::new()),
    };
    match body {
        None => {
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
        }
        Some(body) if body.is_empty() => {
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
        }
        Some(body) => format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ),
    }
}

/// The output without the port that changes.
fn without_port(mut ran: crate::support::Ran, api: &Api) -> crate::support::Ran {
    for text in [&mut ran.command, &mut ran.stdout, &mut ran.stderr] {
        *text = text.replace(&api.address, "API");
    }
    ran
}

#[test]
fn a_live_rest_api_is_asked_with_basic_authentication() {
    let api = Api::start(None);
    let scenario = Scenario::new();
    scenario.file("rest.pw", "hunter2\n");
    let arguments = [
        "cluster-link",
        "--url",
        &api.address,
        "--username",
        "me",
        "--password-file",
        "rest.pw",
    ];
    let ran = imported(&scenario, &arguments);
    assert_shown("import_link_live", &without_port(ran, &api));
    let asked = api.asked.lock().expect("not poisoned").clone();
    assert_eq!(asked.len(), 5, "{asked:?}");

    // The base may be given whole, and the password in the environment.
    let url = format!("{}/kafka/v3/", api.address);
    let output = scenario
        .command(&[
            "import",
            "cluster-link",
            "--url",
            &url,
            "--cluster-id",
            "dest-id",
            "--username",
            "me",
        ])
        .env("KMIRROR_REST_PASSWORD", "hunter2")
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("[links.demo-link]"));
}

#[test]
fn a_refusal_of_the_rest_api_is_told_without_the_password() {
    let api = Api::start(None);
    let scenario = Scenario::new();
    scenario.file("rest.pw", "hunter3");
    let ran = scenario.run(&[
        "import",
        "cluster-link",
        "--url",
        &api.address,
        "--username",
        "me",
        "--password-file",
        "rest.pw",
    ]);
    assert!(!ran.to_string().contains("hunter3"), "{ran}");
    assert_shown("import_link_refused", &without_port(ran, &api));
    scenario.file("rest.pw", "hunter2");
    let ran = scenario.run(&[
        "import",
        "cluster-link",
        "--url",
        &api.address,
        "--cluster-id",
        "other",
        "--username",
        "me",
        "--password-file",
        "rest.pw",
    ]);
    assert_shown("import_link_absent", &without_port(ran, &api));
}

#[test]
fn a_certificate_that_nobody_vouches_for_gets_no_password() {
    let key =
        rcgen::generate_simple_self_signed(AUTHORITY.map(str::to_owned)).expect("a certificate");
    let pem = key.cert.pem();
    let api = Api::start(Some(key));
    let scenario = Scenario::new();
    scenario.file("rest.pw", "hunter2").file("ca.pem", pem);
    let arguments = [
        "cluster-link",
        "--url",
        &api.address,
        "--username",
        "me",
        "--password-file",
        "rest.pw",
    ];
    let ran = scenario.run(&[&["import"], &arguments[..]].concat());
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran}");
    assert!(ran.stderr.contains("certificate"), "{ran}");
    assert!(api.asked.lock().expect("not poisoned").is_empty());
    let ran = imported(
        &scenario,
        &[&arguments[..], &["--ca-location", "ca.pem"]].concat(),
    );
    assert!(ran.stdout.contains("[links.demo-link]"), "{ran}");
}

#[test]
fn a_list_that_goes_on_at_another_server_is_not_followed() {
    let api = Api::start(None);
    let scenario = Scenario::new();
    scenario.file("rest.pw", "hunter2");
    let ran = scenario.run(&[
        "import",
        "cluster-link",
        "--url",
        &api.address,
        "--cluster-id",
        "strange-id",
        "--username",
        "me",
        "--password-file",
        "rest.pw",
    ]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran}");
    assert!(
        ran.stderr.contains("the next page is on another server"),
        "{ran}"
    );
}
