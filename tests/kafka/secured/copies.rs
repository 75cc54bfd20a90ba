//! Copies over secured listeners: planned, applied, run, and compared record by record.

use anyhow::{Result, ensure};

use super::{Pair, Way, documented, text};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::support::secured::pki::{Encryption, Store, keep};
use crate::support::secured::{self, Door, KMIRROR, Realm, STORE_PASSWORD};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    let test = |name, tier, seconds, body| Test {
        name,
        tier,
        brokers: 2,
        seconds,
        body,
    };
    vec![
        test(
            "secured::tutorial_property_files",
            Tier::Readme,
            25,
            tutorial_property_files,
        ),
        test("secured::scram", Tier::Readme, 25, scram),
        test("secured::mutual_tls", Tier::Readme, 25, mutual_tls),
        test("secured::tokens", Tier::Readme, 25, tokens),
        test(
            "secured::the_other_way_round_3_9",
            Tier::Long,
            90,
            the_other_way_round,
        ),
    ]
}

const RECORDS: i32 = 400;

/// Plans, applies, copies and compares one topic.
pub fn copy(lab: &Lab, pair: &Pair, kmirror: &Kmirror, topic: &str, records: i32) -> Result<()> {
    let plan = kmirror.command("plan", &["--detailed-exitcode"])?;
    ensure!(
        plan.status.code() == Some(2),
        "plan for {topic}: {}\n{}",
        plan.status,
        plan.text()
    );
    ensure!(
        !plan.stdout.contains("not rehearsed"),
        "rights are missing:\n{}",
        plan.stdout
    );
    kmirror.ok("apply", &["--yes"])?;
    kmirror.ok("run", &["--until-caught-up"])?;
    pair.same(topic, u64::try_from(records)?)?;
    let after = kmirror.command("plan", &["--detailed-exitcode"])?;
    ensure!(
        after.status.success(),
        "plan for {topic} after everything: {}\n{}",
        after.status,
        after.text()
    );
    lab.note(format!("{topic}: {records} records are the same"));
    Ok(())
}

/// Java property files as the Cluster Linking tutorial has them: JKS with a password, JAAS in single quotes for the
/// one cluster and in double quotes for the other.
fn tutorial_property_files(lab: &Lab) -> Result<()> {
    let pair = Pair::start(lab, Version::V4_3, &[Door::Sasl])?;
    pair.topics(&["demo-link-topic"], RECORDS)?;
    let jks = pair.realm.trust_store(Store::Jks)?;
    let file = |name: &str, address: &str, quote: char| {
        let file = pair.realm.dir().join(name);
        let (user, password) = (KMIRROR.name, KMIRROR.password);
        let lines = format!(
            "bootstrap.servers={address}\n\
             security.protocol=SASL_SSL\n\
             sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
             username={quote}{user}{quote} password={quote}{password}{quote};\n\
             sasl.mechanism=PLAIN\n\
             ssl.truststore.location={}\n\
             ssl.truststore.password={STORE_PASSWORD}\n",
            text(&jks)
        );
        keep(&file, lines.as_bytes())?;
        anyhow::Ok(file)
    };
    let (east, west) = (pair.east.door(Door::Sasl), pair.west.door(Door::Sasl));
    let source = file("source.config", &east, '\'')?;
    let destination = file("destination.config", &west, '"')?;
    // Kafka's own tools take the same files.
    let tools = pair.east.tools_through(Door::Sasl, source.clone());
    ensure!(tools.get_offsets("demo-link-topic", -1)?.lines().count() == 2);

    let file = pair.file(
        &Way::to(east).properties_file(source),
        &Way::to(west).properties_file(destination),
        &["demo-link-topic"],
    );
    copy(
        lab,
        &pair,
        &Kmirror::new(lab, &file)?,
        "demo-link-topic",
        RECORDS,
    )
}

/// SCRAM with both hashes; passwords from the environment and from a file.
fn scram(lab: &Lab) -> Result<()> {
    let pair = Pair::start(lab, Version::V4_3, &[Door::Sasl])?;
    pair.topics(&["orders"], RECORDS)?;
    let ca = text(&pair.realm.authority.certificate);
    std::fs::copy(ca, lab.dir().join("west-ca.pem"))?;
    let password = format!("{}\n", KMIRROR.password);
    keep(&lab.dir().join("west.password"), password.as_bytes())?;
    let east = Way::to(pair.east.door(Door::Sasl))
        .set("security.protocol", "SASL_SSL")
        .set("sasl.mechanism", "SCRAM-SHA-256")
        .refer("sasl.username", "{ env = \"KMIRROR_USER\" }")
        .refer("sasl.password", "{ env = \"PASSWORD\" }")
        .set("ssl.truststore.type", "PEM")
        .set("ssl.truststore.location", ca);
    let west = Way::documented(pair.west.door(Door::Sasl), "SASL/SCRAM", 1)?;
    let kmirror = pair.kmirror(lab, &pair.file(&east, &west, &["orders"]))?;
    copy(lab, &pair, &kmirror, "orders", RECORDS)
}

/// Certificates: PEM with an encrypted key, and the stores of a Java client.
fn mutual_tls(lab: &Lab) -> Result<()> {
    const HEADING: &str = "Client certificates (mTLS)";
    let pair = Pair::start(lab, Version::V4_3, &[Door::Mtls])?;
    pair.topics(&["orders"], RECORDS)?;
    let client = pair.realm.client(KMIRROR.name)?;
    for (from, name) in [
        (&pair.realm.authority.certificate, "west-ca.pem"),
        (&client.chain, "kmirror.crt"),
        (
            &client.encrypted_key(Encryption::Pbes2, STORE_PASSWORD)?,
            "kmirror.key",
        ),
        (
            &client.key_store(Store::Pkcs12, STORE_PASSWORD)?,
            "kmirror.p12",
        ),
        (&pair.realm.trust_store(Store::Jks)?, "west.jks"),
    ] {
        std::fs::copy(from, lab.dir().join(name))?;
    }
    let east = Way::documented(pair.east.door(Door::Mtls), HEADING, 1)?;
    let west = Way::documented(pair.west.door(Door::Mtls), HEADING, 2)?;
    let kmirror = pair.kmirror(lab, &pair.file(&east, &west, &["orders"]))?;
    copy(lab, &pair, &kmirror, "orders", RECORDS)
}

/// A key store and a trust store as Java has them.
pub fn mutual_tls_by_stores(pair: &Pair, store: Store, address: String) -> Result<Way> {
    const PASSWORD: &str = "{ env = \"STORE_PASSWORD\" }";
    let client = pair.realm.client(KMIRROR.name)?;
    Ok(Way::to(address)
        .set("security.protocol", "SSL")
        .set("ssl.keystore.type", store.name())
        .set(
            "ssl.keystore.location",
            text(&client.key_store(store, STORE_PASSWORD)?),
        )
        .refer("ssl.keystore.password", PASSWORD)
        .refer("ssl.key.password", PASSWORD)
        .set("ssl.truststore.type", store.name())
        .set(
            "ssl.truststore.location",
            text(&pair.realm.trust_store(store)?),
        )
        .refer("ssl.truststore.password", PASSWORD))
}

/// OAUTHBEARER: client credentials at one end, a token from a file at the other.
fn tokens(lab: &Lab) -> Result<()> {
    let pair = Pair::start(lab, Version::V4_3, &[Door::Sasl])?;
    pair.topics(&["orders"], RECORDS)?;
    let east = client_credentials(lab, &pair, pair.east.door(Door::Sasl))?;
    let west = static_token(lab, &pair, pair.west.door(Door::Sasl))?;
    let kmirror = pair.kmirror(lab, &pair.file(&east, &west, &["orders"]))?;
    copy(lab, &pair, &kmirror, "orders", RECORDS)?;
    let asked = pair.realm.oidc.asked();
    ensure!(
        !asked.is_empty()
            && asked
                .iter()
                .all(|it| it.granted && it.scope.as_deref() == Some("kafka")),
        "what the token endpoint was asked: {asked:?}"
    );
    Ok(())
}

/// Tokens from the realm's provider, over HTTPS.
pub fn client_credentials(lab: &Lab, pair: &Pair, address: String) -> Result<Way> {
    for name in ["west-ca.pem", "login-ca.pem"] {
        std::fs::copy(&pair.realm.authority.certificate, lab.dir().join(name))?;
    }
    let url = pair.realm.oidc.token_url_https();
    Ok(Way::documented(address, TOKENS, 1)?.set("sasl.oauthbearer.token.endpoint.url", &url))
}

/// A token that somebody put into a file.
pub fn static_token(lab: &Lab, pair: &Pair, address: String) -> Result<Way> {
    std::fs::copy(
        &pair.realm.authority.certificate,
        lab.dir().join("west-ca.pem"),
    )?;
    let token = pair.realm.oidc.token(KMIRROR.name, 600)?;
    keep(&lab.dir().join("kmirror.token"), token.as_bytes())?;
    Way::documented(address, TOKENS, 2)
}

const TOKENS: &str = "Tokens (OAUTHBEARER)";

/// What the shorter tests leave out: each mechanism at the other end, older brokers, JKS key stores, no TLS, and
/// passwords that property files, JAAS, SASL and shells have opinions about.
fn the_other_way_round(lab: &Lab) -> Result<()> {
    const ODD: &str = r#"it's "100%" of\it: #1 = ${HOME} $x! ªº ü, "#;
    let mut realm = Realm::new(lab)?;
    realm.plain_user("odd", ODD);
    let doors = [Door::Sasl, Door::Mtls, Door::Bare];
    let pair = Pair::of(realm, lab, Version::V3_9, &doors)?;
    let topics = [
        "plain",
        "documented",
        "odd-plain",
        "odd-scram",
        "bare",
        "stores",
        "token",
    ];
    pair.topics(&topics, RECORDS)?;
    for side in [&pair.east, &pair.west] {
        side.scram_user("o,d=d", ODD)?;
    }
    for user in ["odd", "o,d=d"] {
        pair.allow(user, &topics)?;
    }
    let (east, west) = (pair.east.door(Door::Sasl), pair.west.door(Door::Sasl));
    let by = |address: &str, mechanism, user: &str, password: &str| {
        Way::to(address)
            .set("security.protocol", "SASL_SSL")
            .set("sasl.mechanism", mechanism)
            .set("sasl.username", user)
            .set("sasl.password", password)
            .set("ssl.ca.location", text(&pair.realm.authority.certificate))
    };
    let jaas = |address: &str, mechanism, module, user: &str| {
        Way::to(address)
            .set("security.protocol", "SASL_SSL")
            .set("sasl.mechanism", mechanism)
            .set(
                "sasl.jaas.config",
                &format!(
                    "org.apache.kafka.common.security.{module} required username={} password={};",
                    secured::jaas_quoted(user),
                    secured::jaas_quoted(ODD)
                ),
            )
            .set("ssl.ca.location", text(&pair.realm.authority.certificate))
    };
    let bare = |address: String| {
        Way::to(address)
            .set("security.protocol", "SASL_PLAINTEXT")
            .set("sasl.mechanism", "SCRAM-SHA-256")
            .set("sasl.username", KMIRROR.name)
            .set("sasl.password", KMIRROR.password)
    };
    let ways = [
        (
            "plain",
            by(&east, "SCRAM-SHA-512", KMIRROR.name, KMIRROR.password),
            by(&west, "PLAIN", KMIRROR.name, KMIRROR.password),
        ),
        (
            "documented",
            by(&east, "PLAIN", KMIRROR.name, KMIRROR.password),
            documented_plain(lab, &pair, west.clone())?,
        ),
        (
            "odd-plain",
            by(&east, "PLAIN", "odd", ODD),
            jaas(&west, "PLAIN", "plain.PlainLoginModule", "odd"),
        ),
        (
            "odd-scram",
            jaas(&east, "SCRAM-SHA-512", "scram.ScramLoginModule", "o,d=d"),
            by(&west, "SCRAM-SHA-256", "o,d=d", ODD),
        ),
        (
            "bare",
            bare(pair.east.door(Door::Bare)),
            bare(pair.west.door(Door::Bare)),
        ),
        (
            "stores",
            mutual_tls_by_stores(&pair, Store::Pkcs12, pair.east.door(Door::Mtls))?,
            mutual_tls_by_stores(&pair, Store::Jks, pair.west.door(Door::Mtls))?,
        ),
        (
            "token",
            static_token(lab, &pair, east.clone())?,
            client_credentials(lab, &pair, west.clone())?,
        ),
    ];
    for (topic, east, west) in ways {
        lab.note(topic);
        let kmirror = pair.kmirror(lab, &pair.link(topic, &east, &west, &[topic]))?;
        copy(lab, &pair, &kmirror, topic, RECORDS)?;
    }
    Ok(())
}

/// A property file without its passwords, which stand elsewhere.
fn documented_plain(lab: &Lab, pair: &Pair, address: String) -> Result<Way> {
    const HEADING: &str = "SASL/PLAIN";
    std::fs::copy(
        pair.realm.trust_store(Store::Jks)?,
        lab.dir().join("west.jks"),
    )?;
    let file = lab.dir().join("west.properties");
    keep(&file, documented("properties", HEADING, 1)?.as_bytes())?;
    Ok(Way::documented(address, HEADING, 1)?.properties_file("west.properties".into()))
}
