//! A REST API that wants to know who asks: by a certificate, a token, or a name and a password.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::broker::ServerTls;
use super::certificates::Pair;
use super::connections::{trusting, with_identity};
use crate::client::Secret;
use crate::client::settings::TlsSettings;
use crate::client::url::HttpUrl;
use crate::kafka::security::rest::{Asker, RestClient, RestError};

/// What a server saw of each request: the client's certificate, and the head.
type Seen = Arc<Mutex<Vec<(Option<Vec<u8>>, String)>>>;

/// A server over TLS that answers everybody it lets in, until the test ends; gives its address.
async fn start(tls: ServerTls) -> (HttpUrl, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/kafka/v3", listener.local_addr().unwrap());
    let seen = Seen::default();
    let notes = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = tls.acceptor().accept(stream).await else {
                continue;
            };
            let certificates = stream.get_ref().1.peer_certificates();
            let leaf = certificates.and_then(|chain| Some(chain.first()?.to_vec()));
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else {
                    break;
                };
                head.push(byte);
            }
            let head = String::from_utf8(head).unwrap();
            notes.lock().unwrap().push((leaf, head));
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (HttpUrl::of(&url).unwrap(), seen)
}

async fn ask(url: &HttpUrl, tls: &TlsSettings, asker: Option<Asker<'_>>) -> Result<(), RestError> {
    let client = RestClient::new(tls, asker)?;
    client
        .get(url)
        .await
        .map(|body| assert_eq!(&body[..], b"{}"))
}

/// Where the API asks for certificates (mTLS), nothing else lets anybody in.
#[tokio::test]
async fn an_api_that_asks_for_a_certificate_gets_ours() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Pair::authority("Our CA");
    let server = Pair::broker(&authority);
    let ours = Pair::client("client1", &authority);
    let (url, seen) = start(ServerTls {
        clients: vec![authority.clone()],
        ..ServerTls::new(&server)
    })
    .await;
    let path: &Path = folder.path();
    let identified = with_identity(
        &authority,
        ours.write_certificate(path, "client.crt"),
        ours.write_key(path, "client.key"),
    );
    ask(&url, &identified.tls, None).await.expect("is let in");
    let (leaf, head) = seen.lock().unwrap()[0].clone();
    assert_eq!(leaf, Some(ours.certificate.to_der().unwrap()));
    assert!(head.starts_with("GET /kafka/v3 HTTP/1.1\r\n"), "{head}");

    let refused = ask(&url, &trusting(&authority).tls, None).await;
    let told = refused
        .expect_err("nobody is known without one")
        .to_string();
    assert!(
        told.starts_with("the server asks for a client certificate (mTLS), and none is configured"),
        "{told}"
    );
}

#[tokio::test]
async fn a_token_or_a_name_and_a_password_go_with_each_request() {
    let authority = Pair::authority("Our CA");
    let server = Pair::broker(&authority);
    let (url, seen) = start(ServerTls::new(&server)).await;
    let tls = trusting(&authority).tls;
    let secret = Secret::new("s3cret");
    let basic = Asker::Basic {
        username: "ada",
        password: &secret,
    };
    for (asker, wanted) in [
        (
            Asker::Bearer(&secret),
            "\r\nauthorization: Bearer s3cret\r\n",
        ),
        (basic, "\r\nauthorization: Basic YWRhOnMzY3JldA==\r\n"),
    ] {
        ask(&url, &tls, Some(asker)).await.expect("is let in");
        let (_, head) = seen.lock().unwrap().pop().unwrap();
        assert!(head.contains(wanted), "{head}");
    }
    // Never to somebody who only claims to be the server.
    let other = trusting(&Pair::authority("Other CA")).tls;
    let refused = ask(&url, &other, Some(Asker::Bearer(&secret))).await;
    let told = refused.expect_err("is not trusted").to_string();
    assert!(seen.lock().unwrap().is_empty());
    assert!(!told.contains("s3cret"), "{told}");
}
