//! What a user is told when a secured cluster does not let kmirror in, or does not let it do something: which cluster, at which
//! address, why, and which key to look at.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use super::copies::{client_credentials, mutual_tls_by_stores};
use super::{Pair, Way, text};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::support::secured::oidc::Mood;
use crate::support::secured::pki::{Store, Validity, keep};
use crate::support::secured::{Door, KMIRROR, STORE_PASSWORD};

pub fn tests() -> Vec<Test> {
    let test = |name, tier, body| Test {
        name,
        tier,
        brokers: 2,
        seconds: 40,
        body,
    };
    vec![test(
        "secured::a_refusal_says_why",
        Tier::Readme,
        a_refusal_says_why,
    )]
}

const DOORS: [Door; 7] = [
    Door::Sasl,
    Door::Mtls,
    Door::PlainOnly,
    Door::Bare,
    Door::Expired,
    Door::Foreign,
    Door::Elsewhere,
];

fn a_refusal_says_why(lab: &Lab) -> Result<()> {
    let pair = Pair::start(lab, Version::V4_3, &DOORS)?;
    pair.topics(&["orders"], 10)?;
    let screens = Screens::new(lab, &pair, &DOORS);
    screens.record("secured_refused_tls", &transport(&pair)?)?;
    screens.record("secured_refused_users", &users(&pair))?;
    screens.record("secured_refused_certificates", &certificates(&pair)?)?;
    tokens(&pair, &screens)
}

/// One attempt: a title, the way to `east`, and a key that the answer has to name.
struct Attempt {
    title: &'static str,
    way: Way,
    key: &'static str,
    /// What is named instead of the cluster, where the file's own check finds it.
    before: Option<&'static str>,
}

fn attempt(title: &'static str, way: Way, key: &'static str) -> Attempt {
    Attempt {
        title,
        way,
        key,
        before: None,
    }
}

fn plain(pair: &Pair, door: Door) -> Way {
    plain_to(pair, pair.east.door(door))
}

/// The password is in a variable that [`Pair::kmirror`] sets.
pub fn plain_to(pair: &Pair, address: String) -> Way {
    Way::to(address)
        .set("security.protocol", "SASL_SSL")
        .set("sasl.mechanism", "PLAIN")
        .set("sasl.username", KMIRROR.name)
        .refer("sasl.password", "{ env = \"PASSWORD\" }")
        .set("ssl.ca.location", text(&pair.realm.authority.certificate))
}

/// The address is right and the transport is not.
fn transport(pair: &Pair) -> Result<Vec<Attempt>> {
    let jks = pair.realm.trust_store(Store::Jks)?;
    let with_store = |file| {
        plain(pair, Door::Sasl)
            .without("ssl.ca.location")
            .set("ssl.truststore.location", file)
            .refer("ssl.truststore.password", "{ env = \"WRONG\" }")
    };
    let open = pair.east.bootstrap();
    Ok(vec![
        attempt(
            "the broker's certificate has expired",
            plain(pair, Door::Expired),
            "ssl.ca.location",
        ),
        attempt(
            "the broker's certificate is from an authority that is not trusted",
            plain(pair, Door::Foreign),
            "ssl.ca.location",
        ),
        attempt(
            "nothing is said about whom to trust",
            plain(pair, Door::Sasl).without("ssl.ca.location"),
            "ssl.truststore.location",
        ),
        attempt(
            "the broker's certificate is for another host",
            plain(pair, Door::Elsewhere),
            "ssl.endpoint.identification.algorithm",
        ),
        attempt(
            "plain text to a port with TLS",
            Way::to(pair.east.door(Door::Mtls)),
            "security.protocol",
        ),
        attempt(
            "SASL without TLS to a port with both",
            plain(pair, Door::Sasl)
                .without("ssl.ca.location")
                .set("security.protocol", "SASL_PLAINTEXT"),
            "security.protocol",
        ),
        attempt(
            "TLS to a port without",
            Way::to(open.clone())
                .set("security.protocol", "SSL")
                .set("ssl.ca.location", text(&pair.realm.authority.certificate)),
            "security.protocol",
        ),
        attempt(
            "SASL and TLS to a port with SASL alone",
            Way {
                address: pair.east.door(Door::Bare),
                ..plain(pair, Door::Sasl)
            },
            "security.protocol",
        ),
        attempt(
            "plain text to a port with SASL",
            Way::to(pair.east.door(Door::Bare)),
            "security.protocol",
        ),
        attempt(
            "TLS alone to a port with SASL and TLS",
            plain(pair, Door::Sasl)
                .without("sasl.mechanism")
                .without("sasl.username")
                .without("sasl.password")
                .set("security.protocol", "SSL"),
            "security.protocol",
        ),
        attempt(
            "SASL to a port that has none",
            Way {
                address: open,
                ..plain(pair, Door::Sasl)
                    .without("ssl.ca.location")
                    .set("security.protocol", "SASL_PLAINTEXT")
            },
            "security.protocol",
        ),
        attempt(
            "the trust store's password is wrong",
            with_store(text(&jks)),
            "ssl.truststore.password",
        ),
        Attempt {
            before: Some("topology.toml:11"),
            ..attempt(
                "the trust store is not there",
                with_store("nowhere.jks"),
                "ssl.truststore.location",
            )
        },
    ])
}

/// The transport is right and the user is not.
fn users(pair: &Pair) -> Vec<Attempt> {
    let scram = plain(pair, Door::Sasl).set("sasl.mechanism", "SCRAM-SHA-512");
    vec![
        attempt(
            "a wrong password, PLAIN",
            plain(pair, Door::Sasl).refer("sasl.password", "{ env = \"WRONG\" }"),
            "sasl.password",
        ),
        attempt(
            "a wrong password, SCRAM",
            scram.clone().refer("sasl.password", "{ env = \"WRONG\" }"),
            "sasl.password",
        ),
        attempt(
            "an unknown user, SCRAM",
            scram.clone().set("sasl.username", "kmiror"),
            "sasl.username",
        ),
        attempt(
            "a wrong password in sasl.jaas.config",
            plain(pair, Door::Sasl)
                .without("sasl.username")
                .without("sasl.password")
                .set(
                    "sasl.jaas.config",
                    "org.apache.kafka.common.security.plain.PlainLoginModule required \
                     username='kmirror' password='wrong-Aeth5aip';",
                ),
            "sasl.jaas.config",
        ),
        attempt(
            "a mechanism that is not offered",
            Way {
                address: pair.east.door(Door::PlainOnly),
                ..scram
            },
            "sasl.mechanism",
        ),
    ]
}

/// The broker wants a certificate.
fn certificates(pair: &Pair) -> Result<Vec<Attempt>> {
    let address = pair.east.door(Door::Mtls);
    let ca = text(&pair.realm.authority.certificate).to_owned();
    let foreign = pair
        .realm
        .foreign
        .issue("foreign-client", KMIRROR.name, &[], Validity::Valid)?;
    let expired =
        pair.realm
            .authority
            .issue("expired-client", KMIRROR.name, &[], Validity::Expired)?;
    let with = |identity: &crate::support::secured::pki::Identity| {
        Way::to(&address)
            .set("security.protocol", "SSL")
            .set("ssl.ca.location", &ca)
            .set("ssl.certificate.location", text(&identity.chain))
            .set("ssl.key.location", text(&identity.key))
    };
    Ok(vec![
        attempt(
            "no certificate",
            Way::to(&address)
                .set("security.protocol", "SSL")
                .set("ssl.ca.location", &ca),
            "ssl.keystore.location",
        ),
        attempt(
            "a certificate of an authority that the broker does not trust",
            with(&foreign),
            "ssl.certificate.location",
        ),
        attempt(
            "a certificate that has expired",
            with(&expired),
            "ssl.certificate.location",
        ),
        attempt(
            "a password that does not open the key store",
            mutual_tls_by_stores(pair, Store::Pkcs12, address.clone())?
                .refer("ssl.keystore.password", "{ env = \"WRONG\" }"),
            "ssl.keystore.password",
        ),
    ])
}

fn tokens(pair: &Pair, screens: &Screens<'_>) -> Result<()> {
    let way = client_credentials(screens.lab, pair, pair.east.door(Door::Sasl))?;
    let endpoint = "sasl.oauthbearer.token.endpoint.url";
    let oidc = &pair.realm.oidc;
    let with = |file: &str, token: &str| {
        keep(&screens.lab.dir().join(file), token.as_bytes())?;
        let way = Way::to(pair.east.door(Door::Sasl))
            .set("security.protocol", "SASL_SSL")
            .set("sasl.mechanism", "OAUTHBEARER")
            .refer(
                "sasl.oauthbearer.token",
                &format!("{{ file = \"{file}\" }}"),
            )
            .set("ssl.ca.location", text(&pair.realm.authority.certificate));
        anyhow::Ok(way)
    };
    let expired = with("expired.token", &oidc.token(KMIRROR.name, -60)?)?;
    let token = oidc.token(KMIRROR.name, 600)?;
    let (signed, _) = token.rsplit_once('.').context("a JWT has three parts")?;
    let forged = with("forged.token", &format!("{signed}.AAAA"))?;
    screens.record(
        "secured_refused_tokens",
        &[
            attempt(
                "a wrong client secret",
                way.clone().refer(
                    "sasl.oauthbearer.client.credentials.client.secret",
                    "{ env = \"WRONG\" }",
                ),
                "sasl.oauthbearer.client.credentials.client.secret",
            ),
            attempt(
                "nobody at the token endpoint",
                way.clone()
                    .set(endpoint, "https://127.0.0.1:1/oauth2/token"),
                endpoint,
            ),
            attempt(
                "something else at the token endpoint's address",
                way.clone()
                    .set(endpoint, &oidc.token_url_https().replace("/token", "/")),
                endpoint,
            ),
            attempt(
                "a token that has expired",
                expired,
                "sasl.oauthbearer.token",
            ),
            attempt(
                "a token with a wrong signature",
                forged,
                "sasl.oauthbearer.token",
            ),
        ],
    )?;
    oidc.set_mood(Mood::Unavailable);
    screens.record(
        "secured_refused_tokens_unavailable",
        &[attempt(
            "a token endpoint that is down",
            way.clone(),
            endpoint,
        )],
    )?;
    oidc.set_mood(Mood::Nonsense);
    screens.record(
        "secured_refused_tokens_nonsense",
        &[attempt(
            "a token endpoint that makes no sense",
            way,
            endpoint,
        )],
    )?;
    oidc.set_mood(Mood::Well);
    Ok(())
}

/// Runs `kmirror plan` and makes of what it says something that is the same on every machine.
pub struct Screens<'a> {
    lab: &'a Lab,
    pair: &'a Pair,
    /// What stands for what, longest first.
    names: BTreeMap<String, String>,
}

impl<'a> Screens<'a> {
    pub fn new(lab: &'a Lab, pair: &'a Pair, doors: &[Door]) -> Self {
        let mut names = BTreeMap::new();
        for &door in doors {
            names.insert(
                pair.east.door(door),
                format!("127.0.0.1:{}", format!("{door:?}").to_uppercase()),
            );
            names.insert(
                pair.west.door(door),
                format!("127.0.0.1:WEST-{}", format!("{door:?}").to_uppercase()),
            );
        }
        names.insert(pair.east.bootstrap(), "127.0.0.1:PLAINTEXT".to_owned());
        names.insert(pair.west.bootstrap(), "127.0.0.1:WEST".to_owned());
        for url in [
            pair.realm.oidc.token_url(),
            pair.realm.oidc.token_url_https(),
        ] {
            let authority = url.split('/').nth(2).unwrap_or_default().to_owned();
            names.insert(authority, "127.0.0.1:OIDC".to_owned());
        }
        Self { lab, pair, names }
    }

    fn record(&self, name: &str, attempts: &[Attempt]) -> Result<()> {
        let mut screen = String::new();
        let mut faults = Vec::new();
        for attempt in attempts {
            let west = Way::to(self.pair.west.bootstrap());
            let file = self.pair.file(&attempt.way, &west, &["orders"]);
            let file = file.replace(&format!("{}/", text(self.lab.dir())), "");
            let kmirror = self
                .pair
                .kmirror(self.lab, &file)?
                .at_home()
                .env("WRONG", "wrong-Aeth5aip");
            let output = kmirror.command("plan", &[])?;
            let said = self.same_everywhere(&output.text());
            self.lab.note(format!("{}\n{said}", attempt.title));
            writeln!(
                screen,
                "# {}\n{said}exit code {:?}\n",
                attempt.title,
                output.status.code()
            )?;
            if output.status.code() != Some(1) {
                faults.push(format!("{}: {}", attempt.title, output.status));
            }
            let cluster = attempt.before.unwrap_or("east");
            for wanted in [cluster, attempt.key] {
                if !said.contains(wanted) {
                    faults.push(format!("{}: no word of {wanted}", attempt.title));
                }
            }
            for secret in [KMIRROR.password, "wrong-Aeth5aip", STORE_PASSWORD] {
                ensure!(
                    !said.contains(secret),
                    "{}: a secret is shown",
                    attempt.title
                );
            }
        }
        ensure!(faults.is_empty(), "{}\n\n{screen}", faults.join("\n"));
        keep_screen(name, &screen);
        Ok(())
    }

    pub fn same_everywhere(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (what, name) in self.names.iter().rev() {
            text = text.replace(what, name);
        }
        for (varies, stays) in [
            (r"(?m)(The journal of this apply:).*$", "$1 JOURNAL"),
            (r"\d+\.\d s\b", "… s"),
            // Which one it is depends on the broker's Java.
            (r"alert \d+: [a-z ]+", "alert"),
            (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
            (r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4} GMT", "DATE"),
        ] {
            let varies = regex::Regex::new(varies).expect("a valid regex");
            text = varies.replace_all(&text, stays).into_owned();
        }
        text
    }
}

/// What was said, compared with what was said before.
pub fn keep_screen(name: &str, screen: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, screen));
}
