//! Secrets never leave: not on stdout or stderr, at no log level, in no plan, in no file, and in no record of any topic.
//!
//! Every command runs at trace level, with secrets in every place where a file may have them, with right files and with
//! wrong ones. Then everything that came out is searched for each secret, as it is and in the forms that it takes on its
//! way to a broker.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::copies::{client_credentials, mutual_tls_by_stores, static_token};
use super::{Pair, Way, text};
use crate::support::client;
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::support::secured::pki::{Encryption, Store};
use crate::support::secured::{CLIENT_SECRET, Door, KMIRROR, STORE_PASSWORD};

pub fn tests() -> Vec<Test> {
    vec![Test {
        name: "secured::secrets_never_leave",
        tier: Tier::Readme,
        brokers: 2,
        seconds: 60,
        body: secrets_never_leave,
    }]
}

/// A password that nobody has; it is as secret as a right one.
const WRONG: &str = "wrong-Aeth5aip";

fn secrets_never_leave(lab: &Lab) -> Result<()> {
    let pair = Pair::start(lab, Version::V4_3, &[Door::Sasl, Door::Mtls])?;
    pair.topics(&["inline", "references", "files", "keys"], 50)?;
    let mut seen = Seen {
        lab,
        pair: &pair,
        home: lab.subdir("home")?,
        texts: Vec::new(),
    };
    let saved = seen.home.join("plan.json");
    for (topic, east, west) in right(lab, &pair)? {
        let file = pair.link(topic, &east, &west, &[topic]);
        for (command, args, code) in [
            ("validate", &[][..], 0),
            ("plan", &[], 0),
            ("plan", &["--format", "json", "--out", text(&saved)], 0),
            ("apply", &["--yes"], 0),
            ("run", &["--until-caught-up"], 0),
        ] {
            seen.run(topic, &file, command, args, Some(code))?;
        }
        pair.same(topic, 50)?;
    }
    for (title, file) in wrong(&pair) {
        for command in ["validate", "plan", "apply", "run"] {
            seen.run(title, &file, command, &[], None)?;
        }
    }
    for (name, bytes) in seen.files()? {
        seen.texts.push((name, bytes));
    }
    for (side, cluster) in [("east", &pair.east), ("west", &pair.west)] {
        let bytes = everything(&cluster.bootstrap())?;
        ensure!(bytes.len() > 1_000, "{side}: topics were not read");
        seen.texts.push((format!("the topics of {side}"), bytes));
    }
    let size: usize = seen.texts.iter().map(|(_, text)| text.len()).sum();
    lab.note(format!("{} texts, {size} bytes", seen.texts.len()));
    let result = search(&seen.texts, &needles(&pair)?);
    lab.note("searched");
    result
}

/// Secrets in every place that works.
fn right(lab: &Lab, pair: &Pair) -> Result<Vec<(&'static str, Way, Way)>> {
    let (east, west) = (pair.east.door(Door::Sasl), pair.west.door(Door::Sasl));
    let jks = pair.realm.trust_store(Store::Jks)?;
    let ca = text(&pair.realm.authority.certificate);
    let inline = |address: &str, mechanism| {
        Way::to(address)
            .set("security.protocol", "SASL_SSL")
            .set("sasl.mechanism", mechanism)
            .set("sasl.username", KMIRROR.name)
            .set("sasl.password", KMIRROR.password)
            .set("ssl.truststore.location", text(&jks))
            .set("ssl.truststore.password", STORE_PASSWORD)
    };
    let file = |name, mechanism, jaas: &str| {
        pair.realm.properties(
            name,
            &[
                ("security.protocol", "SASL_SSL"),
                ("sasl.mechanism", mechanism),
                ("sasl.jaas.config", jaas),
                ("ssl.truststore.location", text(&jks)),
                ("ssl.truststore.password", STORE_PASSWORD),
            ],
        )
    };
    let client = pair.realm.client(KMIRROR.name)?;
    let key = fs::read_to_string(client.encrypted_key(Encryption::Pbes2, STORE_PASSWORD)?)?;
    let chain = fs::read_to_string(&client.chain)?;
    let keys = Way::to(pair.east.door(Door::Mtls))
        .set("security.protocol", "SSL")
        .set("ssl.ca.location", ca)
        .set("ssl.keystore.type", "PEM")
        .set("ssl.keystore.certificate.chain", &chain)
        .set("ssl.keystore.key", &key)
        .refer("ssl.key.password", "{ env = \"KEY_PASSWORD\" }");
    Ok(vec![
        (
            "inline",
            inline(&east, "PLAIN"),
            inline(&west, "SCRAM-SHA-256"),
        ),
        (
            "references",
            client_credentials(lab, pair, east.clone())?,
            static_token(lab, pair, west.clone())?,
        ),
        (
            "files",
            Way::to(&east).properties_file(file(
                "scram.properties",
                "SCRAM-SHA-512",
                &KMIRROR.scram_jaas(),
            )?),
            Way::to(&west).properties_file(file(
                "plain.properties",
                "PLAIN",
                &KMIRROR.plain_jaas(),
            )?),
        ),
        (
            "keys",
            keys,
            mutual_tls_by_stores(pair, Store::Jks, pair.west.door(Door::Mtls))?,
        ),
    ])
}

/// Files with mistakes at or near secrets.
fn wrong(pair: &Pair) -> Vec<(&'static str, String)> {
    let west = Way::to(pair.west.bootstrap());
    let way = Way::to(pair.east.door(Door::Sasl))
        .set("security.protocol", "SASL_SSL")
        .set("sasl.mechanism", "PLAIN")
        .set("sasl.username", KMIRROR.name)
        .set("ssl.ca.location", text(&pair.realm.authority.certificate));
    let quoted = |value: &str| toml::Value::from(value).to_string();
    let secret = quoted(WRONG);
    let file = |way: Way| pair.file(&way, &west, &["inline"]);
    let password = |value: &str| file(way.clone().refer("sasl.password", value));
    let jaas = |value: &str| {
        file(
            way.clone()
                .without("sasl.username")
                .set("sasl.jaas.config", value),
        )
    };
    let plain =
        "org.apache.kafka.common.security.plain.PlainLoginModule required username='kmirror'";
    let line = format!("sasl.password = {secret}\n");
    let head = "[clusters.east.client]\n";
    let twice = file(way.clone()).replace(head, &format!("{head}{line}{line}"));
    vec![
        ("a wrong password", password(&secret)),
        (
            "a wrong password, SCRAM",
            file(
                way.clone()
                    .set("sasl.mechanism", "SCRAM-SHA-512")
                    .refer("sasl.password", &secret),
            ),
        ),
        (
            "a quote that is not closed",
            password(&format!("\"{WRONG}")),
        ),
        ("no quotes", password(WRONG)),
        ("a secret in an array", password(&format!("[{secret}]"))),
        (
            "a secret in a table",
            password(&format!("{{ env = \"HOME\", value = {secret} }}")),
        ),
        (
            "a secret as a variable's name",
            password(&format!("{{ env = {secret} }}")),
        ),
        ("a password twice", twice),
        (
            "a misspelt key",
            file(way.clone().set("sasl.pasword", WRONG)),
        ),
        (
            "a key of another mechanism",
            file(
                way.clone()
                    .set("sasl.mechanism", "GSSAPI")
                    .refer("sasl.password", &secret),
            ),
        ),
        (
            "JAAS without an end",
            jaas(&format!("{plain} password='{WRONG}'")),
        ),
        (
            "JAAS without a closing quote",
            jaas(&format!("{plain} password='{WRONG};")),
        ),
        (
            "JAAS with another module",
            jaas(&format!("com.example.Login required password='{WRONG}';")),
        ),
        (
            "JAAS of Kerberos",
            jaas(&format!(
                "com.sun.security.auth.module.Krb5LoginModule required password=\"{WRONG}\";"
            )),
        ),
        (
            "an address with a password",
            file(Way {
                address: format!("kmirror:{WRONG}@127.0.0.1:9092"),
                ..way.clone()
            }),
        ),
        (
            "a trust store that does not open",
            file(
                way.clone()
                    .without("ssl.ca.location")
                    .set("ssl.truststore.location", text(pair.realm.dir()))
                    .set("ssl.truststore.password", WRONG)
                    .set("sasl.password", WRONG),
            ),
        ),
    ]
}

/// Everything that came out.
struct Seen<'a> {
    lab: &'a Lab,
    pair: &'a Pair,
    /// Where the program finds its home and its folder for temporary files.
    home: PathBuf,
    texts: Vec<(String, Vec<u8>)>,
}

impl Seen<'_> {
    fn run(
        &mut self,
        title: &str,
        file: &str,
        command: &str,
        args: &[&str],
        code: Option<i32>,
    ) -> Result<()> {
        let home = text(&self.home).to_owned();
        let output = self
            .pair
            .kmirror(self.lab, file)?
            .env("HOME", &home)
            .env("TMPDIR", &home)
            .env("XDG_STATE_HOME", &home)
            .command(command, &[args, &["-vvv"]].concat())?;

        if let Some(code) = code {
            ensure!(
                output.status.code() == Some(code),
                "{title}: kmirror {command} {args:?}: {}\n{}",
                output.status,
                output.text()
            );
        } else {
            // A wrong password is for the broker to find.
            ensure!(
                command == "validate" || !output.status.success(),
                "{title}: kmirror {command} found nothing wrong\n{}",
                output.text()
            );
        }
        let name = format!("kmirror {command} {} ({title})", args.join(" "));
        self.texts.push((name, output.text().into_bytes()));
        Ok(())
    }

    /// What the program left in its home.
    fn files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        let mut folders = vec![self.home.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push((path.display().to_string(), fs::read(&path)?));
                }
            }
        }
        Ok(found)
    }
}

/// Keys, values and headers of every record of every topic.
fn everything(bootstrap: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for record in client::read_everything(bootstrap)? {
        let headers = record.headers.into_iter();
        let headers = headers.flat_map(|(name, value)| [Some(name.into_bytes()), value]);
        for part in [record.key, record.value].into_iter().chain(headers) {
            bytes.extend(part.unwrap_or_default());
            bytes.push(b'\n');
        }
    }
    Ok(bytes)
}

/// What must be found nowhere, and what it is.
fn needles(pair: &Pair) -> Result<Vec<(String, Vec<u8>)>> {
    let mut secrets = vec![
        ("the password".to_owned(), KMIRROR.password.to_owned()),
        ("a wrong password".to_owned(), WRONG.to_owned()),
        ("a store's password".to_owned(), STORE_PASSWORD.to_owned()),
        ("the client secret".to_owned(), CLIENT_SECRET.to_owned()),
    ];
    // The part of a password that no way of quoting touches.
    secrets.push(("a part of the password".to_owned(), "ohYe1aig".to_owned()));
    let mut needles: Vec<(String, Vec<u8>)> = secrets
        .iter()
        .flat_map(|(what, secret)| forms(what, secret))
        .collect();
    for token in pair.realm.oidc.issued() {
        for part in token.split('.').skip(1) {
            needles.push(("a token".to_owned(), part.as_bytes().to_vec()));
        }
    }
    for key in keys(pair.realm.dir())? {
        needles.push(("a private key".to_owned(), key.into_bytes()));
    }
    for message in [
        "n,,n=",
        "c=biws,r=",
        "auth=Bearer",
        "\0kmirror\0",
        "\\0kmirror\\0",
    ] {
        needles.push(("a SASL message".to_owned(), message.as_bytes().to_vec()));
    }
    Ok(needles)
}

/// The forms that a secret takes in messages and in logs.
fn forms(what: &str, secret: &str) -> Vec<(String, Vec<u8>)> {
    let bytes = secret.as_bytes();
    let mut forms = vec![
        (what.to_owned(), bytes.to_vec()),
        (format!("{what} as a list of bytes"), {
            let list = format!("{bytes:?}");
            list.trim_matches(['[', ']']).as_bytes().to_vec()
        }),
    ];
    let hex = |upper| -> String {
        bytes
            .iter()
            .map(|byte| {
                if upper {
                    format!("{byte:02X}")
                } else {
                    format!("{byte:02x}")
                }
            })
            .collect()
    };
    for text in [hex(false), hex(true)] {
        forms.push((format!("{what} in hexadecimal"), text.into_bytes()));
    }
    for shift in 0..3_usize {
        // Inside a longer message a secret begins at any of three positions of base64's groups; the characters at both
        // ends depend on what stands next to it.
        let shifted = [&vec![0; shift], bytes].concat();
        let first = (shift * 8).div_ceil(6);
        let last = shifted.len() * 8 / 6;
        for text in [
            STANDARD_NO_PAD.encode(&shifted),
            URL_SAFE_NO_PAD.encode(&shifted),
        ] {
            forms.push((
                format!("{what} in base64"),
                text.as_bytes()[first..last].to_vec(),
            ));
        }
    }
    forms
}

/// A line of each private key in the realm's folder.
fn keys(dir: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "key") {
            let pem = fs::read_to_string(&path)?;
            let line = pem
                .lines()
                .nth(1)
                .context("a PEM file has more than one line")?;
            lines.push(line.to_owned());
        }
    }
    ensure!(!lines.is_empty(), "no keys in {}", dir.display());
    Ok(lines)
}

fn search(texts: &[(String, Vec<u8>)], needles: &[(String, Vec<u8>)]) -> Result<()> {
    let mut patterns = Vec::new();
    for (what, needle) in needles {
        ensure!(needle.len() >= 5, "{what} is too short to be looked for");
        let hex = needle.iter().map(|byte| format!("\\x{byte:02x}"));
        patterns.push(format!("(?-u:{})", hex.collect::<String>()));
    }
    let any = regex::bytes::Regex::new(&patterns.join("|"))?;
    let mut found = Vec::new();
    for (place, text) in texts {
        for hit in any.find_iter(text) {
            let what = needles.iter().find(|(_, needle)| needle == hit.as_bytes());
            let what = what.map_or("a secret", |(what, _)| what);
            let from = hit.start().saturating_sub(80);
            let to = (hit.end() + 20).min(text.len());
            let around = text[from..to].escape_ascii();
            found.push(format!("{what} is in {place}: …{around}…"));
        }
    }
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}
