//! The kit of secured clusters itself: Kafka's own tools and kcat come in through every door.

use anyhow::{Context, Result, ensure};

use super::text;
use crate::support::cluster::Spec;
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::support::secured::acl::{On, Right};
use crate::support::secured::pki::{Encryption, Store};
use crate::support::secured::{self, Door, Realm, Secured};

pub fn tests() -> Vec<Test> {
    let test = |name, body| Test {
        name,
        tier: Tier::Long,
        brokers: 1,
        seconds: 40,
        body,
    };
    vec![
        test("kit::secured_doors_4_3", doors_4_3),
        test("kit::secured_doors_3_9", doors_3_9),
    ]
}

fn doors_4_3(lab: &Lab) -> Result<()> {
    doors(lab, Version::V4_3)
}

fn doors_3_9(lab: &Lab) -> Result<()> {
    doors(lab, Version::V3_9)
}

/// Kafka's own tools come in through every door, so that a refusal elsewhere is kmirror's.
fn doors(lab: &Lab, version: Version) -> Result<()> {
    let realm = Realm::new(lab)?;
    let all = [
        Door::Sasl,
        Door::Short,
        Door::Mtls,
        Door::PlainOnly,
        Door::Bare,
    ];
    let cluster = realm.start(lab, Spec::new("doors", version), &all)?;
    cluster.tools().create_topic("t", 1, &[])?;
    let user = secured::KMIRROR;
    cluster.scram_user(user.name, user.password)?;
    cluster.allow(
        user.name,
        &[
            Right::new(On::Topic("t".into()), &["Read", "Write"]),
            Right::new(On::Group("g".into()), &["Read"]),
        ],
    )?;
    let jks = realm.trust_store(Store::Jks)?;
    let mut door = Through {
        realm: &realm,
        cluster: &cluster,
        written: 0,
    };
    let tls = [
        ("ssl.truststore.location", text(&jks)),
        ("ssl.truststore.password", secured::STORE_PASSWORD),
    ];
    let sasl = |mechanism, jaas| {
        let mut lines = vec![
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", mechanism),
            ("sasl.jaas.config", jaas),
        ];
        lines.extend(tls);
        lines
    };
    let (plain, scram) = (user.plain_jaas(), user.scram_jaas());
    door.pass(Door::Sasl, "plain", &sasl("PLAIN", &plain))?;
    door.pass(Door::Short, "short", &sasl("PLAIN", &plain))?;
    door.pass(Door::Sasl, "scram-256", &sasl("SCRAM-SHA-256", &scram))?;
    door.pass(Door::Sasl, "scram-512", &sasl("SCRAM-SHA-512", &scram))?;
    let token_url = realm.oidc.token_url();
    let oauth = format!(
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
         clientId=\"{}\" clientSecret=\"{}\" scope=\"mirror\";",
        user.name,
        secured::CLIENT_SECRET
    );
    let mut oauth = sasl("OAUTHBEARER", &oauth);
    oauth.push((
        "sasl.login.callback.handler.class",
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
    ));
    oauth.push(("sasl.oauthbearer.token.endpoint.url", &token_url));
    door.pass(Door::Sasl, "oauth", &oauth)?;
    let asked = realm.oidc.asked();
    ensure!(
        asked.len() == 2
            && asked
                .iter()
                .all(|a| a.granted && a.scope.as_deref() == Some("mirror")),
        "{asked:?}"
    );
    mutual_tls(&mut door, &tls)?;

    // Who may nothing is told so.
    let nobody = secured::NOBODY.plain_jaas();
    let file = realm.properties("nobody.properties", &sasl("PLAIN", &nobody))?;
    let refused = cluster.tools_through(Door::Sasl, file).run_raw(
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        &["--topic", "t", "--group", "g", "--timeout-ms", "20000"],
        None,
    )?;
    // The tool ends well, having said why it read nothing.
    ensure!(
        refused.stderr.contains("AuthorizationException"),
        "{}",
        refused.text()
    );
    Ok(())
}

fn mutual_tls(door: &mut Through<'_>, tls: &[(&'static str, &str)]) -> Result<()> {
    let client = door.realm.client(secured::KMIRROR.name)?;
    let with = |lines: &[(&'static str, &str)]| {
        let mut all: Vec<(&str, String)> = vec![("security.protocol", "SSL".to_owned())];
        all.extend(tls.iter().chain(lines).map(|(k, v)| (*k, (*v).to_owned())));
        all
    };
    let encrypted = client.both_encrypted(Encryption::Pbes1, secured::STORE_PASSWORD)?;
    let pem = with(&[
        ("ssl.keystore.type", "PEM"),
        ("ssl.keystore.location", text(&encrypted)),
        ("ssl.key.password", secured::STORE_PASSWORD),
    ]);
    let (pkcs12, jks) = (
        client.key_store(Store::Pkcs12, secured::STORE_PASSWORD)?,
        client.key_store(Store::Jks, secured::STORE_PASSWORD)?,
    );
    let store = |file, kind| {
        with(&[
            ("ssl.keystore.type", kind),
            ("ssl.keystore.location", text(file)),
            ("ssl.keystore.password", secured::STORE_PASSWORD),
            ("ssl.key.password", secured::STORE_PASSWORD),
        ])
    };
    for (name, lines) in [
        ("pem", pem),
        ("pkcs12", store(&pkcs12, "PKCS12")),
        ("jks", store(&jks, "JKS")),
    ] {
        let lines: Vec<(&str, &str)> = lines.iter().map(|(k, v)| (*k, v.as_str())).collect();
        door.pass(Door::Mtls, name, &lines)?;
    }
    // And kcat, which takes PEM files alone.
    let kcat = door.cluster.tools_through(Door::Mtls, client.key.clone());
    let options = [
        "security.protocol=SSL".to_owned(),
        format!("ssl.ca.location={}", text(client.issuer())),
        format!("ssl.certificate.location={}", text(&client.chain)),
        format!("ssl.key.location={}", text(&client.key)),
    ];
    let mut args = vec!["-C", "-t", "t", "-e", "-q"];
    for option in &options {
        args.extend(["-X", option]);
    }
    let read = kcat.kcat(&args, None)?;
    ensure!(read.lines().count() == door.written, "kcat read {read:?}");
    Ok(())
}

/// Writes and reads with Kafka's console tools through one door after the other.
struct Through<'a> {
    realm: &'a Realm,
    cluster: &'a Secured,
    written: usize,
}

impl Through<'_> {
    fn pass(&mut self, door: Door, name: &str, lines: &[(&str, &str)]) -> Result<()> {
        let file = self
            .realm
            .properties(&format!("{name}.properties"), lines)?;
        let urls = self.realm.oidc.urls();
        let tools = self.cluster.tools_through(door, file).with_java(format!(
            "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={urls}"
        ));
        tools
            .console_producer("t", &format!("{name}\n"))
            .with_context(|| format!("writing through {door:?} with {name}"))?;
        self.written += 1;
        let read = tools
            .console_consumer_of("t", self.written, "g")
            .with_context(|| format!("reading through {door:?} with {name}"))?;
        ensure!(read.lines().last() == Some(name), "{name}: {read:?}");
        Ok(())
    }
}
