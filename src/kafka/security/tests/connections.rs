//! Connections that work, and each way in which they do not, in the words that users see.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::super::files::Files;
use super::super::tls::Tls;
use super::broker::{Listener, ServerTls};
use super::certificates::{Pair, Wish};
use crate::client::settings::{
    Credentials, Identity, Keyed, Pem, SaslSettings, ScramHash, TlsSettings, TokenSource, Trust,
    Verify,
};
use crate::client::{ClientSettings, Origin, Place, Secret, SecurityProtocol, Text};
use crate::kafka::{Client, ClientConfig, Error, ErrorClass, Target, Topics};

fn keyed<T>(value: T, key: &str, line: u32) -> Keyed<T> {
    Keyed {
        value,
        place: Place {
            key: key.to_owned(),
            at: format!("west.properties:{line}"),
        },
    }
}

fn settings(protocol: SecurityProtocol) -> ClientSettings {
    ClientSettings {
        protocol: keyed(protocol, "security.protocol", 1),
        ..ClientSettings::default()
    }
}

pub(super) fn trusting(authority: &Pair) -> ClientSettings {
    let pem = String::from_utf8(authority.certificate.to_pem().unwrap()).unwrap();
    let trust = Trust::Pem(Pem::Text(Text::inline(pem)));
    ClientSettings {
        tls: TlsSettings {
            trust: Some(keyed(trust, "ssl.ca.pem", 2)),
            ..TlsSettings::default()
        },
        ..settings(SecurityProtocol::Ssl)
    }
}

fn credentials(user: &str, password: Text) -> Credentials {
    Credentials {
        username: keyed(Text::inline(user), "sasl.username", 3),
        password: keyed(password, "sasl.password", 4),
    }
}

fn with_sasl(sasl: SaslSettings) -> ClientSettings {
    ClientSettings {
        sasl: Some(keyed(sasl, "sasl.mechanism", 5)),
        ..settings(SecurityProtocol::SaslPlaintext)
    }
}

fn plain(user: &str, password: &str) -> ClientSettings {
    with_sasl(SaslSettings::Plain(credentials(
        user,
        Text::inline(password),
    )))
}

fn scram(hash: ScramHash, user: &str, password: &str) -> ClientSettings {
    with_sasl(SaslSettings::Scram {
        hash,
        credentials: credentials(user, Text::inline(password)),
        token_auth: false,
    })
}

async fn connect_to(host: &str, port: u16, settings: ClientSettings) -> Result<Client, Error> {
    let servers = vec![format!("{host}:{port}")];
    Client::connect(ClientConfig::with_settings("west", servers, settings)).await
}

async fn connect(port: u16, settings: ClientSettings) -> Result<Client, Error> {
    connect_to("127.0.0.1", port, settings).await
}

/// What a user sees, with the port replaced.
async fn failure(port: u16, settings: ClientSettings) -> String {
    let error = connect(port, settings).await.expect_err("is refused");
    assert!(
        matches!(error, Error::Security(_)) && error.class() == ErrorClass::Fatal,
        "{error:?}"
    );
    error.to_string().replace(&port.to_string(), "PORT")
}

#[tokio::test]
async fn a_broker_with_a_certificate_of_our_authority_is_talked_to() {
    let authority = Pair::authority("Our CA");
    let broker = Pair::broker(&authority);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let tls = ServerTls {
            version,
            ..ServerTls::new(&broker)
        };
        let port = Listener::tls(tls).start().await;
        for host in ["localhost", "127.0.0.1"] {
            let client = connect_to(host, port, trusting(&authority)).await.unwrap();
            assert_eq!(client.cluster_id(), "scripted");
        }
    }
}

#[tokio::test]
async fn a_broker_of_a_foreign_authority_is_not_talked_to() {
    let broker = Pair::broker(&Pair::authority("Other CA"));
    let port = Listener::tls(ServerTls::new(&broker)).start().await;
    assert_eq!(
        failure(port, trusting(&Pair::authority("Our CA"))).await,
        "cluster west, 127.0.0.1:PORT: the broker's certificate CN=broker is not accepted: its issuer CN=Other CA is not \
         among the trusted certificate authorities; look at `ssl.ca.pem` (west.properties:2)"
    );
}

#[tokio::test]
async fn a_certificate_for_another_host_is_not_accepted() {
    let authority = Pair::authority("Our CA");
    let wish = Wish {
        cn: "broker",
        san: &["kafka-1.example", "10.0.0.1"],
        ..Wish::default()
    };
    let broker = Pair::make(wish, Some(&authority));
    let port = Listener::tls(ServerTls::new(&broker)).start().await;
    assert_eq!(
        failure(port, trusting(&authority)).await,
        "cluster west, 127.0.0.1:PORT: the broker's certificate CN=broker is not accepted: it is for kafka-1.example, \
         10.0.0.1, not for 127.0.0.1; look at `ssl.endpoint.identification.algorithm`"
    );
    let mut lenient = trusting(&authority);
    lenient.tls.verify.value = Verify::ChainOnly;
    assert!(connect(port, lenient).await.is_ok());
    let mut foreign = trusting(&Pair::authority("Other CA"));
    foreign.tls.verify.value = Verify::ChainOnly;
    assert!(failure(port, foreign.clone()).await.contains("its issuer"));
    foreign.tls.verify.value = Verify::Nothing;
    assert!(connect(port, foreign).await.is_ok());
}

#[tokio::test]
async fn a_certificate_outside_its_time_is_not_accepted_and_its_date_is_named() {
    let authority = Pair::authority("Our CA");
    for (wish, words) in [
        (
            Wish {
                ends: Some(-1),
                ..Wish::default()
            },
            "it expired on ",
        ),
        (
            Wish {
                begins: Some(2),
                ..Wish::default()
            },
            "it is valid only from ",
        ),
    ] {
        let wish = Wish {
            cn: "broker",
            san: &["127.0.0.1"],
            ..wish
        };
        let broker = Pair::make(wish, Some(&authority));
        let port = Listener::tls(ServerTls::new(&broker)).start().await;
        let error = failure(port, trusting(&authority)).await;
        assert!(error.contains(words) && error.contains(" GMT"), "{error}");
    }
    let wish = Wish {
        cn: "Old CA",
        authority: true,
        ends: Some(-1),
        ..Wish::default()
    };
    let old = Pair::make(wish, None);
    let port = Listener::tls(ServerTls::new(&Pair::broker(&old)))
        .start()
        .await;
    let error = failure(port, trusting(&old)).await;
    assert!(
        error.contains("CN=Old CA, which signed it, expired on"),
        "{error}"
    );
}

#[tokio::test]
async fn certificates_that_scripts_make_and_java_accepts_are_accepted() {
    let authority = Pair::authority("Our CA");
    let cn_only = Wish {
        cn: "localhost",
        ..Wish::default()
    };
    let version_1 = Wish {
        old: true,
        ..cn_only
    };
    let own_authority = Wish {
        authority: true,
        ..cn_only
    };
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        for wish in [cn_only, version_1] {
            let broker = Pair::make(wish, Some(&authority));
            let tls = ServerTls {
                version,
                ..ServerTls::new(&broker)
            };
            let port = Listener::tls(tls).start().await;
            let client = connect_to("localhost", port, trusting(&authority)).await;
            // Metadata leads to 127.0.0.1, which no CN can be; the first connection is the point.
            assert!(client.is_ok(), "{client:?}");
        }
        // Signed by themselves, and trusted as what they are.
        for wish in [cn_only, own_authority] {
            let broker = Pair::make(wish, None);
            let tls = ServerTls {
                version,
                ..ServerTls::new(&broker)
            };
            let port = Listener::tls(tls).start().await;
            let client = connect_to("localhost", port, trusting(&broker)).await;
            assert!(client.is_ok(), "{client:?}");
            let error = failure(port, trusting(&authority)).await;
            assert!(error.contains("signed by itself"), "{error}");
        }
    }
}

#[tokio::test]
async fn intermediate_authorities_are_followed() {
    let root = Pair::authority("Root CA");
    let wish = Wish {
        cn: "Issuing CA",
        authority: true,
        ..Wish::default()
    };
    let issuing = Pair::make(wish, Some(&root));
    let broker = Pair::broker(&issuing);
    let complete = ServerTls {
        chain: vec![issuing.clone()],
        ..ServerTls::new(&broker)
    };
    let port = Listener::tls(complete).start().await;
    assert!(connect(port, trusting(&root)).await.is_ok());
    let port = Listener::tls(ServerTls::new(&broker)).start().await;
    assert!(
        failure(port, trusting(&root))
            .await
            .contains("its issuer CN=Issuing CA")
    );
    // Java takes any certificate of the trust store for an anchor.
    assert!(connect(port, trusting(&issuing)).await.is_ok());
}

#[tokio::test]
async fn a_certificate_for_clients_does_not_make_a_broker() {
    let authority = Pair::authority("Our CA");
    let wish = Wish {
        cn: "somebody",
        san: &["127.0.0.1"],
        for_clients_only: true,
        ..Wish::default()
    };
    let broker = Pair::make(wish, Some(&authority));
    let port = Listener::tls(ServerTls::new(&broker)).start().await;
    let error = failure(port, trusting(&authority)).await;
    assert!(error.contains("not meant for servers"), "{error}");
}

/// mTLS with files.
pub(super) fn with_identity(
    authority: &Pair,
    certificate: PathBuf,
    key: PathBuf,
) -> ClientSettings {
    let mut settings = trusting(authority);
    let identity = Identity::Pem {
        certificates: Pem::File(certificate),
        key: Pem::File(key),
        key_password: None,
    };
    settings.tls.identity = Some(keyed(identity, "ssl.keystore.location", 6));
    settings
}

#[tokio::test]
async fn a_broker_that_asks_for_a_certificate_gets_ours_or_says_what_it_dislikes() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Pair::authority("Our CA");
    let broker = Pair::broker(&authority);
    let ours = Pair::client("client1", &authority);
    let foreign = Pair::client("client1", &Pair::authority("Other CA"));
    let wish = Wish {
        cn: "client1",
        ends: Some(-1),
        ..Wish::default()
    };
    let expired = Pair::make(wish, Some(&authority));
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let tls = ServerTls {
            clients: vec![authority.clone()],
            version,
            ..ServerTls::new(&broker)
        };
        let listener = Listener::tls(tls);
        let port = listener.start().await;
        let of = |pair: &Pair| {
            with_identity(
                &authority,
                pair.write_certificate(folder.path(), "client.crt"),
                pair.write_key(folder.path(), "client.key"),
            )
        };
        assert!(connect(port, of(&ours)).await.is_ok());
        let seen = listener.asked.client_certificates.lock().unwrap()[0].clone();
        assert_eq!(seen, ours.certificate.to_der().unwrap());

        assert_eq!(
            failure(port, trusting(&authority)).await,
            "cluster west, 127.0.0.1:PORT: the broker asks for a client certificate (mTLS), and none is configured: set \
             `ssl.keystore.location`, or `ssl.certificate.location` and `ssl.key.location`; look at `security.protocol` \
             (west.properties:1)"
        );
        let error = failure(port, of(&foreign)).await;
        assert!(
            error.contains("refuses our certificate CN=client1")
                && error
                    .contains("its issuer CN=Other CA is perhaps not in the broker's trust store")
                && error.ends_with("look at `ssl.keystore.location` (west.properties:6)"),
            "{error}"
        );
        let error = failure(port, of(&expired)).await;
        assert!(error.contains(": it expired on "), "{error}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_by_the_next_connection() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Pair::authority("Our CA");
    let tls = ServerTls {
        clients: vec![authority.clone()],
        ..ServerTls::new(&Pair::broker(&authority))
    };
    let listener = Listener::tls(tls);
    let port = listener.start().await;
    let first = Pair::client("first", &authority);
    let settings = with_identity(
        &authority,
        first.write_certificate(folder.path(), "client.crt"),
        first.write_key(folder.path(), "client.key"),
    );
    let client = connect(port, settings).await.unwrap();
    let second = Pair::client("second", &authority);
    second.write_certificate(folder.path(), "client.crt");
    // Half of the renewal: the key is still the former one's.
    client.connect_broker(1).await.unwrap();
    second.write_key(folder.path(), "client.key");
    client.connect_broker(1).await.unwrap();
    let seen = listener.asked.client_certificates.lock().unwrap().clone();
    let der = |pair: &Pair| pair.certificate.to_der().unwrap();
    assert_eq!(seen, [der(&first), der(&first), der(&second)]);
}

#[tokio::test]
async fn files_of_ours_are_looked_at_before_anything_is_connected_to() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Pair::authority("Our CA");
    let ours = Pair::client("client1", &authority);
    let key = ours.write_key(folder.path(), "client.key");
    let absent = folder.path().join("absent.crt");
    let error = connect(1, with_identity(&authority, absent.clone(), key))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cluster west: {} cannot be read: there is no such file; look at `ssl.keystore.location` (west.properties:6)",
            absent.display()
        )
    );
    let password = Text {
        origin: Origin::File(folder.path().join("absent.pw")),
        value: Secret::new("old"),
    };
    let error = connect(
        1,
        with_sasl(SaslSettings::Plain(credentials("bob", password))),
    )
    .await
    .unwrap_err();
    assert!(
        error.to_string().contains("absent.pw cannot be read"),
        "{error}"
    );
}

#[tokio::test]
async fn the_wrong_protocol_is_recognised_on_either_side() {
    let authority = Pair::authority("Our CA");
    let broker = Pair::broker(&authority);
    let port = Listener::tls(ServerTls::new(&broker)).start().await;
    assert_eq!(
        failure(port, settings(SecurityProtocol::Plaintext)).await,
        "cluster west, 127.0.0.1:PORT: the broker answers in TLS, and `security.protocol` is PLAINTEXT: this is a \
         listener for SSL or SASL_SSL; look at `security.protocol` (west.properties:1)"
    );

    let port = Listener::plain().start().await;
    let error = connect(port, trusting(&authority)).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let error = error.to_string();
    assert!(
        error.starts_with("no broker of cluster west can be reached")
            && error.contains("during the TLS handshake")
            && error.contains("is this the port of a listener without TLS")
            && error.contains("`security.protocol` (west.properties:1)"),
        "{error}"
    );
}

#[tokio::test]
async fn a_web_server_is_not_taken_for_a_tls_broker() {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        std::future::pending::<()>().await;
    });
    let error = failure(port, trusting(&Pair::authority("Our CA"))).await;
    assert!(error.contains("does not answer in TLS"), "{error}");
}

#[tokio::test]
async fn right_passwords_are_accepted_by_every_mechanism_with_and_without_tls() {
    let mechanisms = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
    let authority = Pair::authority("Our CA");
    let listener = Listener::sasl(&mechanisms, "bob", "bob-pw");
    let secured = Listener {
        tls: Some(ServerTls::new(&Pair::broker(&authority))),
        ..listener.clone()
    };
    let (open_port, tls_port) = (listener.start().await, secured.start().await);
    for settings in [
        plain("bob", "bob-pw"),
        scram(ScramHash::Sha256, "bob", "bob-pw"),
        scram(ScramHash::Sha512, "bob", "bob-pw"),
    ] {
        assert!(connect(open_port, settings.clone()).await.is_ok());
        let settings = ClientSettings {
            protocol: keyed(SecurityProtocol::SaslSsl, "security.protocol", 1),
            tls: trusting(&authority).tls,
            ..settings
        };
        assert!(connect(tls_port, settings).await.is_ok());
    }
}

#[tokio::test]
async fn wrong_passwords_are_refused_once_and_in_the_brokers_words() {
    let listener = Listener::sasl(&["PLAIN", "SCRAM-SHA-512"], "bob", "bob-pw");
    let port = listener.start().await;
    assert_eq!(
        failure(port, plain("bob", "guess")).await,
        "cluster west, 127.0.0.1:PORT: the broker refuses to authenticate with PLAIN: Authentication failed: Invalid \
         username or password; look at `sasl.password` (west.properties:4) and `sasl.username` (west.properties:3)"
    );
    let error = failure(port, scram(ScramHash::Sha512, "bob", "guess")).await;
    assert!(error.contains("invalid credentials"), "{error}");
    assert!(!error.contains("guess"));

    // No other bootstrap server is bothered with a password that was refused.
    let before = listener.asked.connections.load(Ordering::SeqCst);
    let servers = vec![format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    let config = ClientConfig::with_settings("west", servers, plain("bob", "guess"));
    assert!(Client::connect(config).await.is_err());
    let after = listener.asked.connections.load(Ordering::SeqCst);
    assert_eq!(after - before, 1);
}

#[tokio::test]
async fn a_mechanism_that_is_not_offered_is_named_with_those_that_are() {
    let port = Listener::sasl(&["PLAIN", "SCRAM-SHA-512"], "bob", "bob-pw")
        .start()
        .await;
    assert_eq!(
        failure(port, scram(ScramHash::Sha256, "bob", "bob-pw")).await,
        "cluster west, 127.0.0.1:PORT: the broker does not offer the SASL mechanism SCRAM-SHA-256; it offers PLAIN, \
         SCRAM-SHA-512; look at `sasl.mechanism` (west.properties:5)"
    );
    let port = Listener::plain().start().await;
    let error = failure(port, plain("bob", "bob-pw")).await;
    assert!(error.contains("does not use SASL"), "{error}");
}

#[tokio::test]
async fn a_listener_that_wants_sasl_is_suspected_when_it_hangs_up() {
    let port = Listener::sasl(&["PLAIN"], "bob", "bob-pw").start().await;
    let error = connect(port, settings(SecurityProtocol::Plaintext))
        .await
        .unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("does this listener ask for SASL? `security.protocol` (west.properties:1)"),
        "{error}"
    );
}

#[tokio::test]
async fn a_worker_stops_hammering_after_a_refusal_and_takes_up_a_new_password() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bob.pw");
    std::fs::write(&path, "bob-pw\n").unwrap();
    let listener = Listener::sasl(&["PLAIN"], "bob", "bob-pw");
    let port = listener.start().await;
    let password = Text {
        origin: Origin::File(path.clone()),
        value: Secret::new("bob-pw"),
    };
    let settings = with_sasl(SaslSettings::Plain(credentials("bob", password)));
    let client = connect(port, settings).await.unwrap();
    *listener.password.lock().unwrap() = "changed".to_owned();
    for _ in 0..10 {
        let error = client.connect_broker(1).await.unwrap_err();
        assert!(error.may_pass() && matches!(error, Error::Security(_)));
    }
    assert!(listener.asked.connections.load(Ordering::SeqCst) <= 3);
    std::fs::write(&path, "changed\n").unwrap();
    client.connect_broker(1).await.unwrap();
    client.metadata(Topics::All).await.unwrap();
}

#[tokio::test]
async fn a_token_is_accepted_or_refused_in_the_brokers_words() {
    let port = Listener::sasl(&["OAUTHBEARER"], "", "good-token")
        .start()
        .await;
    let with = |token: &str| {
        with_sasl(SaslSettings::OAuthBearer(TokenSource::Static {
            token: keyed(Text::inline(token), "sasl.oauthbearer.token", 7),
            extensions: vec![("logicalCluster".to_owned(), "lkc-1".to_owned())],
        }))
    };
    assert!(connect(port, with("good-token")).await.is_ok());
    assert_eq!(
        failure(port, with("bad-token")).await,
        "cluster west, 127.0.0.1:PORT: the broker refuses to authenticate with OAUTHBEARER: invalid_token; look at \
         `sasl.oauthbearer.token` (west.properties:7)"
    );
}

#[test]
fn a_certificate_that_should_have_been_renewed_is_warned_of_and_a_short_lived_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Pair::authority("Our CA");
    for (begins, ends, expected) in [
        (-300, 300, None),
        (-300, 5, Some("Soon")),
        (-1, 1, None),
        (-300, -1, Some("Over")),
    ] {
        let wish = Wish {
            cn: "client1",
            begins: Some(begins),
            ends: Some(ends),
            ..Wish::default()
        };
        let ours = Pair::make(wish, Some(&authority));
        let settings = with_identity(
            &authority,
            ours.write_certificate(folder.path(), "client.crt"),
            ours.write_key(folder.path(), "client.key"),
        );
        let tls = Tls::read(&settings.tls, &mut Files::default()).unwrap();
        let ending = tls.ending().map(|ending| format!("{ending:?}"));
        assert_eq!(
            ending.as_deref().and_then(|text| text.split('(').next()),
            expected,
            "from {begins} to {ends}"
        );
    }
}

#[tokio::test]
async fn a_session_over_tls_is_renewed_with_the_password_of_that_moment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bob.pw");
    std::fs::write(&path, "bob-pw").unwrap();
    let authority = Pair::authority("Our CA");
    let listener = Listener {
        tls: Some(ServerTls::new(&Pair::broker(&authority))),
        lifetime: 1_200,
        ..Listener::sasl(&["SCRAM-SHA-512"], "bob", "bob-pw")
    };
    let port = listener.start().await;
    let password = Text {
        origin: Origin::File(path.clone()),
        value: Secret::new("bob-pw"),
    };
    let settings = ClientSettings {
        protocol: keyed(SecurityProtocol::SaslSsl, "security.protocol", 1),
        tls: trusting(&authority).tls,
        ..with_sasl(SaslSettings::Scram {
            hash: ScramHash::Sha512,
            credentials: credentials("bob", password),
            token_auth: false,
        })
    };
    let client = connect(port, settings).await.unwrap();
    *listener.password.lock().unwrap() = "changed".to_owned();
    std::fs::write(&path, "changed").unwrap();
    let connection = client.route(&Target::Any).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert!(!connection.is_closed());
    assert_eq!(listener.asked.connections.load(Ordering::SeqCst), 1);
    assert!(listener.asked.logins.load(Ordering::SeqCst) >= 2);
    client.metadata(Topics::All).await.unwrap();
}

#[tokio::test]
async fn large_requests_in_many_pieces_pass_through_tls_whole() {
    let authority = Pair::authority("Our CA");
    let listener = Listener::tls(ServerTls::new(&Pair::broker(&authority)));
    let port = listener.start().await;
    let client = connect(port, trusting(&authority)).await.unwrap();
    let connection = client.connect_broker(1).await.unwrap();
    let answers: Vec<_> = (0..16)
        .map(|round| {
            let pieces = (0..200_u8).map(|n| Bytes::from(vec![n; 20_000 + round]));
            connection.queue(3, 12, pieces.collect()).unwrap()
        })
        .collect();
    for answer in answers {
        assert!(!answer.frame().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_token_endpoint_that_is_not_trusted_names_the_key_for_that() {
    let broker = Pair::broker(&Pair::authority("Endpoint CA"));
    let endpoint = Listener::tls(ServerTls::new(&broker)).start().await;
    let port = Listener::sasl(&["OAUTHBEARER"], "", "token").start().await;
    let text = |text: &str, key: &str| keyed(Text::inline(text), key, 8);
    let settings = with_sasl(SaslSettings::OAuthBearer(TokenSource::ClientCredentials {
        endpoint: keyed(
            format!("https://127.0.0.1:{endpoint}/token"),
            "sasl.oauthbearer.token.endpoint.url",
            7,
        ),
        client_id: text("kmirror", "sasl.oauthbearer.client.id"),
        client_secret: text("secret-1234", "sasl.oauthbearer.client.secret"),
        scope: None,
        extensions: vec![],
        trust: None,
    }));
    let error = failure(port, settings).await;
    assert!(
        error.contains("its certificate CN=broker is not accepted")
            && error.ends_with(
                "look at `https.ca.location` and `sasl.oauthbearer.token.endpoint.url` (west.properties:7)"
            ),
        "{error}"
    );
}
