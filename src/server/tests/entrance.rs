//! Who is let in, and what is refused before it costs anything.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use hyper::Request;
use hyper::http::request::Builder;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::client::{Answer, Client};
use super::{CLUSTER_ID, Stand, serve, topology};
use crate::sandbox::{Sandbox, SandboxConfig};
use crate::server::limits::Limits;
use crate::server::listener::Listener;
use crate::server::state::ClusterState;
use crate::server::{Access, prepare};

#[tokio::test]
async fn what_is_not_there_is_told_as_kafka_rest_tells_it() {
    let stand = Stand::new().await;
    let client = stand.client();
    for (path, status, message) in [
        ("/", 404, "HTTP 404 Not Found"),
        ("/v3", 404, "HTTP 404 Not Found"),
        ("/v4/clusters", 404, "HTTP 404 Not Found"),
        ("/v3/clusters/", 404, "HTTP 404 Not Found"),
        ("/v3/clusters/other", 404, "Cluster other cannot be found."),
        (
            "/v3/clusters/other/brokers",
            404,
            "Cluster other cannot be found.",
        ),
    ] {
        let answer = client.get(path).await;
        assert_eq!(answer.refusal(), (status, i64::from(status)), "{path}");
        assert_eq!(answer.json()["message"], message, "{path}");
    }
    let broker = format!("/v3/clusters/{CLUSTER_ID}/brokers/");
    assert_eq!(
        client.get(&format!("{broker}9")).await.refusal(),
        (404, 404)
    );
    assert_eq!(
        client.get(&format!("{broker}x")).await.refusal(),
        (404, 404)
    );
}

#[tokio::test]
async fn a_wrong_verb_is_told_with_those_that_are_right() {
    let stand = Stand::new().await;
    let answer = stand.client().send(Request::post("/v3/clusters"), "").await;
    assert_eq!(answer.refusal(), (405, 405));
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));
}

fn small() -> Limits {
    Limits {
        connections: 2,
        body: 1000,
        head: 2000,
        head_time: Duration::from_millis(300),
        body_time: Duration::from_millis(300),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_or_not_it_says_so() {
    let stand = Stand::with(Access::default(), small()).await;
    let client = stand.client();
    let post = || Request::post("/v3/clusters");
    let answer = client.send(post(), &"x".repeat(1001)).await;
    assert_eq!(answer.refusal(), (413, 413));
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.send(post(), &"x".repeat(1000)).await.status, 405);

    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    let head =
        "POST /v3/clusters HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let told = client.raw(format!("{head}{chunk}{chunk}").as_bytes()).await;
    assert!(told.starts_with("HTTP/1.1 413 "), "{told}");
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let stand = Stand::with(Access::default(), small()).await;
    let request = Request::get("/v3/clusters").header("x-long", "x".repeat(2000));
    let answer = stand.client().send(request, "").await;
    assert_eq!(answer.refusal(), (431, 431));
}

#[tokio::test]
async fn who_is_slow_is_told_so_and_closed() {
    let stand = Stand::with(Access::default(), small()).await;
    let client = stand.client();
    let told = client
        .raw(b"GET /v3/clusters HTTP/1.1\r\nhost: local")
        .await;
    assert!(
        told.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{told}"
    );
    assert!(told.ends_with(r#""message":"the request's headers did not arrive in time"}"#));
    let told = client
        .raw(b"POST /v3/clusters HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nhalf")
        .await;
    assert!(
        told.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{told}"
    );
    assert!(told.ends_with(r#"{"error_code":40801,"message":"the body did not arrive in time"}"#));
    // A connection that is kept open for nothing is closed without a word.
    assert_eq!(client.raw(b"").await, "");
}

#[tokio::test]
async fn more_connections_than_there_are_places_for_are_told_so() {
    let limits = Limits {
        head_time: Duration::from_secs(60),
        ..small()
    };
    let stand = Stand::with(Access::default(), limits).await;
    let client = stand.client();
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(client.address).await.unwrap();
        // Answered, so it has its place.
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'H');
        kept.push(stream);
    }
    let told = client
        .raw(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    assert!(
        told.starts_with("HTTP/1.1 429 Too Many Requests\r\n"),
        "{told}"
    );
    assert!(told.contains(r#"{"error_code":42901,"#), "{told}");
    drop(kept);
    // The places are free again once the server has seen that they are.
    while client
        .raw(b"GET / HTTP/1.0\r\nhost: localhost\r\n\r\n")
        .await
        .contains(" 429 ")
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_for_which_there_is_no_room_for_long_is_sent_away() {
    let limits = Limits {
        requests: 0,
        turn: Duration::from_millis(50),
        ..Limits::default()
    };
    let stand = Stand::with(Access::default(), limits).await;
    let answer = stand.client().get("/v3/clusters").await;
    assert_eq!(answer.refusal(), (429, 42901));
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn requests_that_come_at_once_wait_for_their_turn() {
    let limits = Limits {
        requests: 1,
        ..Limits::default()
    };
    let stand = Stand::with(Access::default(), limits).await;
    let client = stand.client();
    let asking = (0..20).map(|_| client.get("/v3/clusters"));
    for answer in join_all(asking).await {
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn pages_of_elsewhere_and_foreign_hosts_get_nothing() {
    let stand = Stand::new().await;
    let client = stand.client();
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("host", "evil.example:8090"),
    ] {
        let answer = client
            .send(Request::get("/v3/clusters").header(name, value), "")
            .await;
        assert_eq!(answer.refusal(), (403, 403), "{name}");
        assert!(answer.header("access-control-allow-origin").is_none());
    }
    let answer = client.get("/v3/clusters").await;
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

/// A file with one user, `ada` with the password `lovelace`.
fn users() -> (tempfile::TempDir, Access) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let hash = bcrypt::hash("lovelace", 4).unwrap();
    std::fs::write(&path, format!("ada:{hash}\n")).unwrap();
    let access = Access {
        users: Some(path),
        ..Access::default()
    };
    (folder, access)
}

fn as_user(pair: &str) -> Builder {
    let pair = STANDARD.encode(pair);
    Request::get("/v3/clusters").header("authorization", format!("Basic {pair}"))
}

#[tokio::test]
async fn only_who_has_the_password_is_let_in_anywhere() {
    let (_folder, access) = users();
    let stand = Stand::with(access, Limits::default()).await;
    let client = stand.client();
    let answer = client.send(as_user("ada:lovelace"), "").await;
    assert_eq!(answer.status, 200);
    for (request, code) in [
        (as_user("ada:byron"), 40101),
        (as_user("eve:lovelace"), 40101),
        (Request::get("/v3/clusters"), 401),
        (Request::get("/nowhere"), 401),
        (Request::post("/v3/clusters"), 401),
    ] {
        let answer = client.send(request, "").await;
        assert_eq!(answer.refusal(), (401, code));
        assert_eq!(
            answer.header("www-authenticate"),
            Some(r#"Basic realm="kmirror", charset="UTF-8""#)
        );
    }
}

/// A certificate for 127.0.0.1 and its key, in the folder; and what trusts it.
fn certificate(folder: &Path) -> (Access, TlsConnector) {
    let names = vec!["127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let access = Access {
        tls: Some((folder.join("cert.pem"), folder.join("key.pem"))),
        ..Access::default()
    };
    (access, TlsConnector::from(Arc::new(config)))
}

async fn over_tls(client: &Client, connector: &TlsConnector) -> std::io::Result<Answer> {
    let stream = TcpStream::connect(client.address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = connector.connect(name, stream).await?;
    let request = Request::get("/v3/clusters");
    Ok(client.send_over(stream, request, "").await)
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (access, first) = certificate(folder.path());
    let stand = Stand::with(access, Limits::default()).await;
    let client = stand.client();
    let answer = over_tls(&client, &first).await.unwrap();
    let url = answer.json()["metadata"]["self"].to_string();
    assert!(url.starts_with("\"https://127.0.0.1:"), "{url}");

    let (_, second) = certificate(folder.path());
    assert!(over_tls(&client, &second).await.is_ok());
    assert!(over_tls(&client, &first).await.is_err());

    // One that cannot be used leaves the former in its place.
    std::fs::write(folder.path().join("key.pem"), "no key").unwrap();
    assert!(over_tls(&client, &second).await.is_ok());
}

#[tokio::test]
async fn a_key_of_another_certificate_is_refused_at_the_start() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut access, _) = certificate(one.path());
    certificate(two.path());
    let key = two.path().join("key.pem");
    access.tls = Some((one.path().join("cert.pem"), key));
    let listener = Listener {
        cluster: "west".to_owned(),
        address: "127.0.0.1:0".to_owned(),
    };
    let error = prepare(vec![listener], &access).await.unwrap_err();
    let told = error.to_string();
    assert!(
        told.starts_with("the server's certificate cannot be used: the private key in "),
        "{told}"
    );
}

#[tokio::test]
async fn a_cluster_that_was_not_reached_yet_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing listens on port 1.
    let cluster = ClusterState::new("west", topology(&folder, "127.0.0.1:1"));
    let error = cluster.connect().await.unwrap_err();
    assert!(error.may_pass(), "{error}");
    let server = serve(cluster, &Access::default(), Limits::default()).await;
    let answer = Client::of(&server).get("/v3/clusters").await;
    assert_eq!(answer.refusal(), (503, 50302));
}

#[tokio::test]
async fn a_cluster_that_comes_up_later_is_served_then() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let folder = tempfile::tempdir().unwrap();
    let cluster = ClusterState::new("west", topology(&folder, &address.to_string()));
    let stop = CancellationToken::new();
    let trying = tokio::spawn(Arc::clone(&cluster).keep_connecting(stop.clone()));
    let server = serve(cluster, &Access::default(), Limits::default()).await;
    let client = Client::of(&server);
    assert_eq!(client.get("/v3/clusters").await.status, 503);
    let mut config = SandboxConfig::new("west", 1);
    config.brokers[0].addresses = vec![address];
    let _sandbox = Sandbox::start(config).await.unwrap();
    trying.await.unwrap();
    assert_eq!(client.get("/v3/clusters").await.status, 200);
}

#[tokio::test]
async fn a_stopping_server_answers_what_it_was_asked_and_takes_no_more() {
    let stand = Stand::new().await;
    let client = stand.client();
    let mut kept = TcpStream::connect(client.address).await.unwrap();
    kept.write_all(b"GET /v3/clusters HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(kept.read_u8().await.unwrap(), b'H');
    stand.server.stop().await;
    let mut rest = String::new();
    kept.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("]}"), "{rest}");
    assert!(TcpStream::connect(client.address).await.is_err());
}
