//! Who comes in: TLS and SASL towards clients that know how, and towards those who do not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{
    ApiVersionsRequest, MetadataRequest, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;
use kmirror::client::settings::ScramHash;
use kmirror::client::{Secret, SecurityProtocol};
use kmirror::kafka::admin::NewTopic;
use kmirror::kafka::security::Security;
use kmirror::kafka::security::sasl::server::{Accounts, Mechanism};
use kmirror::kafka::{Client, ClientConfig as WireConfig};
use kmirror::sandbox::access::{Access, Guest};
use kmirror::sandbox::authority::Authority;
use kmirror::sandbox::{Sandbox, SandboxConfig};
use rdkafka::ClientConfig;
use rdkafka::producer::FutureProducer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clients::{PATIENCE, produce};
use crate::versions::Raw;

const PLAIN: Mechanism = Mechanism::Plain;
const SCRAM: Mechanism = Mechanism::Scram(ScramHash::Sha512);

/// A broker that ada may use, with `s3cret-s3cret`, and how she does it.
async fn secured(protocol: SecurityProtocol, mechanism: Mechanism) -> (Sandbox, Guest) {
    let authority = Authority::new().expect("can be made");
    let guest = Guest {
        protocol,
        mechanism,
        username: "ada".to_owned(),
        password: Secret::new("s3cret-s3cret"),
        authority: authority.pem().expect("can be written"),
    };
    let mut config = SandboxConfig::new("secured", 1);
    if protocol.has_sasl() {
        let users = [("ada", &guest.password)];
        let accounts = Accounts::new(&[mechanism], users).expect("random numbers");
        config.access.accounts = Some(Arc::new(accounts));
    }
    if protocol.has_tls() {
        let hosts = ["127.0.0.1".to_owned()];
        config.access.tls = Some(authority.server(&hosts).expect("can be made"));
    }
    assert_eq!(config.access.protocol(), protocol);
    let sandbox = Sandbox::start(config).await.expect("a free port");
    (sandbox, guest)
}

async fn wire(sandbox: &Sandbox, guest: &Guest) -> Result<Client, kmirror::kafka::Error> {
    let servers = vec![sandbox.bootstrap_servers()];
    let config = WireConfig::with_settings("secured", servers, guest.settings());
    Client::connect(config).await
}

async fn librdkafka(sandbox: &Sandbox, guest: &Guest) -> ClientConfig {
    let security = Security::new("secured", guest.settings());
    let address = sandbox.bootstrap_servers();
    let settings = security.librdkafka(&address).await.expect("can be done");
    let mut config = crate::clients::config(sandbox);
    settings.apply(&mut config);
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn both_client_stacks_come_in_by_every_way() {
    let mut ways = vec![(SecurityProtocol::Ssl, PLAIN)];
    for mechanism in Mechanism::ALL {
        ways.push((SecurityProtocol::SaslPlaintext, mechanism));
        ways.push((SecurityProtocol::SaslSsl, mechanism));
    }
    for (protocol, mechanism) in ways {
        let (sandbox, guest) = secured(protocol, mechanism).await;
        let client = wire(&sandbox, &guest).await.expect("is let in");
        let topic = NewTopic {
            name: "t".to_owned(),
            partitions: Some(1),
            replication_factor: Some(1),
            configs: Vec::new(),
        };
        for (_, made) in client.admin().create_topics(vec![topic], false).await {
            made.expect("is made");
        }
        let producer: FutureProducer = librdkafka(&sandbox, &guest)
            .await
            .create()
            .expect("a valid configuration");
        // More at a time than an unknown client may send.
        let large = "x".repeat(900_000);
        let offsets = produce(&producer, "t", 0, ["one".to_owned(), large]).await;
        assert_eq!(offsets, [0, 1], "{protocol:?} {mechanism:?}");
        sandbox.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_in_kafkas_words_by_both_stacks() {
    for (mechanism, words) in [
        (PLAIN, "Authentication failed: Invalid username or password"),
        (
            SCRAM,
            "due to invalid credentials with SASL mechanism SCRAM-SHA-512",
        ),
    ] {
        let (sandbox, mut guest) = secured(SecurityProtocol::SaslSsl, mechanism).await;
        guest.password = Secret::new("another");
        let error = wire(&sandbox, &guest).await.expect_err("is refused");
        let text = error.to_string();
        assert!(text.contains(words), "{text}");
        let config = librdkafka(&sandbox, &guest).await;
        let asked = tokio::task::spawn_blocking(move || {
            use rdkafka::consumer::{BaseConsumer, Consumer};
            let client: BaseConsumer = config.create().expect("a valid configuration");
            client
                .fetch_metadata(None, Duration::from_secs(2))
                .map(drop)
        });
        assert!(asked.await.expect("no panic").is_err());
        sandbox.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_trust_the_authority_stays_out() {
    let (sandbox, mut guest) = secured(SecurityProtocol::SaslSsl, PLAIN).await;
    let other = Authority::new().expect("can be made");
    guest.authority = other.pem().expect("can be written");
    let error = wire(&sandbox, &guest).await.expect_err("is not trusted");
    assert!(error.to_string().contains("certificate"), "{error}");
    sandbox.shutdown().await;
}

/// With TLS on one side only, either way: an end, and no waiting.
#[tokio::test(flavor = "multi_thread")]
async fn tls_on_one_side_alone_ends_the_connection() {
    let (sandbox, mut guest) = secured(SecurityProtocol::SaslSsl, PLAIN).await;
    let mut raw = Raw::connect(&sandbox).await;
    raw.send(18, 0, 1, &[]).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, raw.stream.read_to_end(&mut answer));
    // An alert of TLS at most, whose first byte says so.
    if read.await.expect("an end").is_ok() {
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    }
    guest.protocol = SecurityProtocol::SaslPlaintext;
    assert!(wire(&sandbox, &guest).await.is_err());
    sandbox.shutdown().await;

    let (sandbox, mut guest) = secured(SecurityProtocol::SaslPlaintext, PLAIN).await;
    guest.protocol = SecurityProtocol::SaslSsl;
    assert!(wire(&sandbox, &guest).await.is_err());
    sandbox.shutdown().await;
}

async fn name(raw: &mut Raw, mechanism: &'static str, version: i16) -> SaslHandshakeResponse {
    let request =
        SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
    raw.call(&request, version).await
}

async fn say(raw: &mut Raw, message: &[u8], version: i16) -> SaslAuthenticateResponse {
    let request =
        SaslAuthenticateRequest::default().with_auth_bytes(Bytes::copy_from_slice(message));
    raw.call(&request, version).await
}

async fn has_ended(raw: &mut Raw) -> bool {
    let mut byte = [0];
    let read = tokio::time::timeout(PATIENCE, raw.stream.read(&mut byte));
    matches!(read.await.expect("an end"), Ok(0) | Err(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_before_somebody_has_said_who_they_are() {
    let (sandbox, _) = secured(SecurityProtocol::SaslPlaintext, PLAIN).await;
    // Metadata, Produce, Fetch, CreateTopics.
    for (key, version) in [(3, 1), (0, 3), (1, 4), (19, 2)] {
        let mut raw = Raw::connect(&sandbox).await;
        raw.send(key, version, 1, &[0; 16]).await;
        assert!(raw.answer().await.is_none(), "API {key}");
    }
    // Neither between the two, nor a message without a mechanism.
    let mut raw = Raw::connect(&sandbox).await;
    raw.call(&ApiVersionsRequest::default(), 3).await;
    assert_eq!(name(&mut raw, "PLAIN", 1).await.error_code, 0);
    raw.send(3, 1, 1, &[0; 16]).await;
    assert!(raw.answer().await.is_none());
    let mut raw = Raw::connect(&sandbox).await;
    raw.send(36, 0, 1, &[0; 4]).await;
    assert!(raw.answer().await.is_none());
    assert!(sandbox.topics().is_empty());
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_answered_and_is_the_last_that_is_said() {
    let (sandbox, _) = secured(SecurityProtocol::SaslPlaintext, SCRAM).await;
    let mut raw = Raw::connect(&sandbox).await;
    let refused = name(&mut raw, "GSSAPI", 1).await;
    assert_eq!(refused.error_code, 33);
    assert_eq!(refused.mechanisms[0].as_str(), "SCRAM-SHA-512");
    assert!(has_ended(&mut raw).await);
    let mut raw = Raw::connect(&sandbox).await;
    // Its messages would come in frames of another form.
    assert_eq!(name(&mut raw, "SCRAM-SHA-512", 0).await.error_code, 35);
    assert!(has_ended(&mut raw).await);
    for version in 0..=2 {
        let mut raw = Raw::connect(&sandbox).await;
        assert_eq!(name(&mut raw, "SCRAM-SHA-512", 1).await.error_code, 0);
        let refused = say(&mut raw, b"n,,n=bob,r=abc", version).await;
        assert_eq!(refused.error_code, 58);
        let words = refused.error_message.expect("says why");
        assert!(words.ends_with("SASL mechanism SCRAM-SHA-512"), "{words:?}");
        assert!(has_ended(&mut raw).await);
    }
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_in_is_not_asked_again() {
    let (sandbox, _) = secured(SecurityProtocol::SaslPlaintext, PLAIN).await;
    let mut raw = Raw::connect(&sandbox).await;
    assert_eq!(name(&mut raw, "PLAIN", 1).await.error_code, 0);
    let welcome = say(&mut raw, b"\0ada\0s3cret-s3cret", 2).await;
    assert_eq!((welcome.error_code, welcome.session_lifetime_ms), (0, 0));
    raw.call(&MetadataRequest::default(), 12).await;
    assert_eq!(name(&mut raw, "PLAIN", 1).await.error_code, 34);
    let again = say(&mut raw, b"\0ada\0s3cret-s3cret", 2).await;
    assert_eq!(again.error_code, 34);
    raw.call(&MetadataRequest::default(), 12).await;
    sandbox.shutdown().await;
}

/// The limit of Kafka's brokers (`sasl.server.max.receive.size`), and no memory for what is above it.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_unknown_cannot_have_much_read() {
    let (sandbox, _) = secured(SecurityProtocol::SaslPlaintext, PLAIN).await;
    for length in [512 * 1024 + 1, i32::MAX, -1] {
        let mut stream = TcpStream::connect(sandbox.addresses().remove(0))
            .await
            .expect("connects");
        stream
            .write_all(&length.to_be_bytes())
            .await
            .expect("writes");
        let mut raw = Raw { stream };
        assert!(has_ended(&mut raw).await, "{length}");
    }
    let mut raw = Raw::connect(&sandbox).await;
    assert_eq!(name(&mut raw, "PLAIN", 1).await.error_code, 0);
    let long = vec![b'x'; 400 * 1024];
    assert_eq!(say(&mut raw, &long, 1).await.error_code, 58);
    assert!(has_ended(&mut raw).await);
    sandbox.shutdown().await;
}

#[test]
fn what_clients_are_told_is_complete_and_keeps_its_secret() {
    let guest = Guest {
        protocol: SecurityProtocol::SaslSsl,
        mechanism: PLAIN,
        username: "ada".to_owned(),
        password: Secret::new("s3cret-s3cret"),
        authority: "PEM".to_owned(),
    };
    let shown = format!(
        "{guest:?} {:?} {:?}",
        guest.properties(None),
        Access::default()
    );
    assert!(!shown.contains("s3cret-s3cret"), "{shown}");
    let keys = |ca: Option<&std::path::Path>| -> Vec<&str> {
        let properties = guest.properties(ca);
        properties.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(
        keys(Some("ca.pem".as_ref())),
        [
            "security.protocol",
            "sasl.mechanism",
            "sasl.jaas.config",
            "ssl.truststore.type",
            "ssl.truststore.location"
        ]
    );
    assert_eq!(keys(None)[4], "ssl.truststore.certificates");
}
