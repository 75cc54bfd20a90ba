//! Tokens from an endpoint made of a script.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::client::settings::{Keyed, Pem, Trust};
use crate::client::{Origin, Text};
use crate::kafka::security::tests::broker::ServerTls;
use crate::kafka::security::tests::certificates::Pair;

/// Answers one request after the other with what is written down, the last answer again and again.
#[derive(Default)]
struct Endpoint {
    answers: Mutex<VecDeque<(u16, String)>>,
    asked: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

impl Endpoint {
    fn new(answers: &[(u16, &str)]) -> Arc<Self> {
        let answers = answers
            .iter()
            .map(|(code, body)| (*code, (*body).to_owned()));
        Arc::new(Self {
            answers: Mutex::new(answers.collect()),
            ..Self::default()
        })
    }

    async fn start(self: &Arc<Self>, tls: Option<ServerTls>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let endpoint = Arc::clone(self);
        let acceptor = tls.as_ref().map(ServerTls::acceptor);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (endpoint, acceptor) = (Arc::clone(&endpoint), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        Some(acceptor) => endpoint.serve(acceptor.accept(stream).await.ok()?).await,
                        None => endpoint.serve(stream).await,
                    }
                });
            }
        });
        port
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) -> Option<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"client_credentials")
            && !request.windows(6).any(|part| part == b"scope=")
        {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).await.ok()?;
            request.extend(piece.get(..count).filter(|piece| !piece.is_empty())?);
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let text = String::from_utf8_lossy(&request).into_owned();
        self.requests.lock().unwrap().push(text);
        let (code, body) = {
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 {
                answers.pop_front()?
            } else {
                answers.front()?.clone()
            }
        };
        let head = format!(
            "HTTP/1.1 {code} Whatever\r\nContent-Length: {}\r\nLocation: https://elsewhere/\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(body.as_bytes()).await.ok()?;
        stream.flush().await.ok()
    }
}

fn keyed(text: Text, key: &str) -> Keyed<Text> {
    Keyed {
        value: text,
        place: Place {
            key: key.to_owned(),
            at: "west.properties:9".to_owned(),
        },
    }
}

fn source(url: String) -> TokenSource {
    TokenSource::ClientCredentials {
        endpoint: Keyed {
            value: url,
            place: Place::default(),
        },
        client_id: keyed(Text::inline("kmirror-id"), "sasl.oauthbearer.client.id"),
        client_secret: keyed(
            Text::inline("kmirror-secret"),
            "sasl.oauthbearer.client.secret",
        ),
        scope: None,
        extensions: vec![("logicalCluster".to_owned(), "lkc-1".to_owned())],
        trust: None,
    }
}

fn tokens(port: u16) -> Arc<Tokens> {
    Tokens::new("west", source(format!("http://127.0.0.1:{port}/token")))
}

fn failure(result: Result<BearerToken, Failure>) -> String {
    let text = result.expect_err("is refused").problem.to_string();
    assert!(!text.contains("kmirror-secret"), "{text}");
    text
}

#[tokio::test]
async fn one_token_serves_everybody_until_most_of_its_life_is_over() {
    let endpoint = Endpoint::new(&[
        (
            200,
            r#"{"access_token":"one","expires_in":3600,"token_type":"Bearer"}"#,
        ),
        (200, r#"{"access_token":"two","expires_in":"3600"}"#),
    ]);
    let tokens = tokens(endpoint.start(None).await);
    let all = futures::future::join_all((0..20).map(|_| tokens.token("b-1"))).await;
    for token in all {
        let token = token.unwrap();
        assert_eq!(token.value.expose(), "one");
        assert_eq!(token.extensions.len(), 1);
        let life = token.expires.unwrap().duration_since(SystemTime::now());
        assert!(life.unwrap() > Duration::from_secs(3500));
    }
    assert_eq!(endpoint.asked.load(Ordering::SeqCst), 1);
    let request = endpoint.requests.lock().unwrap()[0].clone();
    assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
    assert!(
        request.contains("authorization: Basic a21pcnJvci1pZDprbWlycm9yLXNlY3JldA==\r\n"),
        "{request}"
    );

    // A broker did not take it.
    tokens.discard();
    assert_eq!(tokens.token("b-1").await.unwrap().value.expose(), "two");
    // Four fifths of its life are over.
    tokens.kept().token.as_mut().unwrap().renewed_at = SystemTime::now();
    tokens.token("b-1").await.unwrap();
    assert_eq!(endpoint.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_next_token_is_there_before_the_last_one_ends() {
    let endpoint = Endpoint::new(&[(200, r#"{"access_token":"one","expires_in":0.5}"#)]);
    let tokens = tokens(endpoint.start(None).await);
    tokens.token("b-1").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let asked = endpoint.asked.load(Ordering::SeqCst);
    assert!((2..=4).contains(&asked), "{asked}");
    assert!(tokens.fresh().is_some());
    // Nobody needs any more.
    drop(tokens);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let then = endpoint.asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(endpoint.asked.load(Ordering::SeqCst), then);
}

#[tokio::test]
async fn a_tokens_own_end_counts_when_it_comes_before_what_the_endpoint_says() {
    let exp = jiff::Timestamp::now().as_second() + 60;
    let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#));
    let answer = format!(r#"{{"access_token":"a.{claims}.c","expires_in":3600}}"#);
    let endpoint = Endpoint::new(&[(200, &answer)]);
    let tokens = tokens(endpoint.start(None).await);
    let token = tokens.token("b-1").await.unwrap();
    let life = token.expires.unwrap().duration_since(SystemTime::now());
    assert!(life.unwrap() <= Duration::from_secs(60));
}

#[tokio::test]
async fn an_endpoint_that_is_away_for_a_moment_disturbs_nobody() {
    let endpoint = Endpoint::new(&[
        (503, "try later"),
        (200, r#"{"access_token":"one","expires_in":3600}"#),
        (400, r#"{"error":"invalid_client"}"#),
    ]);
    let tokens = tokens(endpoint.start(None).await);
    // The first answer was asked for again.
    assert_eq!(tokens.token("b-1").await.unwrap().value.expose(), "one");
    tokens.kept().token.as_mut().unwrap().renewed_at = SystemTime::now();
    assert_eq!(tokens.token("b-1").await.unwrap().value.expose(), "one");
    assert_eq!(endpoint.asked.load(Ordering::SeqCst), 3);
    // The failure is everybody's for a moment.
    tokens.token("b-1").await.unwrap();
    assert_eq!(endpoint.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn refusals_carry_the_endpoints_words_and_never_the_secret() {
    for (code, body, words) in [
        (
            401,
            r#"{"error":"invalid_client","error_description":"no client\nwith kmirror-secret"}"#,
            "invalid_client: no client with … (401)",
        ),
        (403, "<html>", "it answers 403 Forbidden"),
        (302, "", "it redirects to https://elsewhere/"),
        (200, "<html>", "is this the token endpoint?"),
        (200, r#"{"token_type":"Bearer"}"#, "no access_token"),
    ] {
        let endpoint = Endpoint::new(&[(code, body)]);
        let port = endpoint.start(None).await;
        let error = failure(tokens(port).token("b-1").await);
        assert!(
            error.contains(words)
                && error.starts_with(&format!("http://127.0.0.1:{port}/token refuses a token: ")),
            "{error}"
        );
        assert_eq!(endpoint.asked.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_stays_away_is_named_after_a_while() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let tokens = tokens(port);
    let result = tokens.token("b-1").await;
    let problem = result.unwrap_err().problem;
    assert!(
        matches!(&problem, Problem::Token(TokenProblem::Passing { cause, .. }) if cause.contains("refused")),
        "{problem}"
    );
}

#[tokio::test]
async fn an_endpoint_of_endless_words_is_not_read_to_the_end() {
    let endless = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(2 << 20));
    let endpoint = Endpoint::new(&[(200, &endless), (400, "{}")]);
    let tokens = tokens(endpoint.start(None).await);
    assert!(failure(tokens.token("b-1").await).contains("400"));
    assert_eq!(endpoint.asked.load(Ordering::SeqCst), 2);
}

fn trusting(port: u16, trust: Option<&Path>) -> Arc<Tokens> {
    let mut all = source(format!("https://localhost:{port}/token"));
    if let TokenSource::ClientCredentials {
        trust: wanted,
        scope,
        ..
    } = &mut all
    {
        *scope = Some("kafka mirror/x".to_owned());
        *wanted = trust.map(|path| Keyed {
            value: Trust::Pem(Pem::File(path.to_owned())),
            place: Place::default(),
        });
    }
    Tokens::new("west", all)
}

#[tokio::test]
async fn an_endpoint_shows_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Pair::authority("Endpoint CA");
    let path = authority.write_certificate(folder.path(), "ca.pem");
    let endpoint = Endpoint::new(&[(200, r#"{"access_token":"one","expires_in":3600}"#)]);
    let tls = ServerTls::new(&Pair::broker(&authority));
    let port = endpoint.start(Some(tls)).await;
    let token = trusting(port, Some(&path)).token("b-1").await.unwrap();
    assert_eq!(token.value.expose(), "one");
    let request = endpoint.requests.lock().unwrap()[0].clone();
    assert!(
        request.ends_with("grant_type=client_credentials&scope=kafka+mirror%2Fx"),
        "{request}"
    );
    let foreign = Pair::authority("Other CA").write_certificate(folder.path(), "other.pem");
    let error = failure(trusting(port, Some(&foreign)).token("b-1").await);
    assert!(
        error.starts_with("no token from ")
            && error.contains("its certificate CN=broker is not accepted"),
        "{error}"
    );
}

#[tokio::test]
async fn a_static_token_is_read_anew_and_not_shown_after_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "one\n").unwrap();
    let tokens = Tokens::new(
        "west",
        TokenSource::Static {
            token: keyed(
                Text {
                    origin: Origin::File(path.clone()),
                    value: Secret::new("one"),
                },
                "sasl.oauthbearer.token",
            ),
            extensions: vec![],
        },
    );
    assert_eq!(tokens.token("b-1").await.unwrap().value.expose(), "one");
    std::fs::write(&path, "two\n").unwrap();
    assert_eq!(tokens.token("b-1").await.unwrap().value.expose(), "two");
    let claims = URL_SAFE_NO_PAD.encode(r#"{"exp":1000}"#);
    std::fs::write(&path, format!("a.{claims}.c")).unwrap();
    assert!(failure(tokens.token("b-1").await).contains("its life is over"));
    std::fs::remove_file(&path).unwrap();
    let failure = tokens.token("b-1").await.unwrap_err();
    assert_eq!(failure.places.unwrap()[0].key, "sasl.oauthbearer.token");
}
