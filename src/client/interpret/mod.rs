//! Client properties to [`ClientSettings`]: what keys mean together.
//!
//! [`interpret`] takes the entries of a cluster, from its properties file and from its `client`
//! table, and gives back settings and [`Finding`]s. It does no I/O. The `client` table wins: a key
//! in it over the same key in the file, and one way to say something over another way to say it
//! (`sasl.username` over a login module, PEM over a store).

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::keys::{self, Effect, Value};
use super::secret::Text;
use super::settings::{ClientSettings, Keyed, Place, SecurityProtocol, TlsSettings};
use crate::nearest::nearest;

mod oauth;
mod sasl;
#[cfg(test)]
mod tests;
mod tls;

/// A key with its value, as it was found.
#[derive(Clone, Debug)]
pub struct Entry {
    /// As it was spelled.
    pub key: String,
    /// `None` when a reference could not be, or was not to be, looked up.
    pub value: Option<Text>,
    pub place: Place,
    pub from: From,
    /// Where relative paths start.
    pub folder: PathBuf,
}

/// Which of the two places of a cluster an entry stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum From {
    PropertiesFile,
    ClientTable,
}

/// What is to be said about an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    pub at: Spot,
    pub message: String,
    /// What is said beside the place.
    pub label: String,
    pub help: Option<String>,
    /// Other parties to it.
    pub also: Vec<(Spot, String)>,
}

/// What kind of mistake a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No client has such a key. In a properties file, which other programs read too, that is not
    /// held against it.
    Unknown,
    /// The key is known and does nothing here.
    NoEffect,
    /// What is asked for is not supported.
    Refused,
    BadValue,
    BadJaas,
    /// Something that another key needs.
    Missing,
    /// Set, and not used because of another key.
    Unused,
    /// Two ways to say one thing.
    Conflict,
    /// Less safe than it should be.
    Insecure,
}

/// A place in an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Index into the entries.
    pub entry: usize,
    pub part: Part,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Key,
    Value,
    /// Bytes of the value.
    Within(Range<usize>),
}

/// What the entries mean.
#[derive(Clone, Debug)]
pub struct Interpreted {
    pub settings: ClientSettings,
    /// `bootstrap.servers`, as an index into the entries.
    pub bootstrap_servers: Option<usize>,
    pub findings: Vec<Finding>,
    /// Files that are going to be read, of the entries that count.
    pub files: Vec<NamedFile>,
    /// Parts of values that were recognised and are no secrets, though the rest of the value is.
    pub harmless: Vec<Spot>,
}

/// A file that an entry names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Index into the entries.
    pub entry: usize,
    pub path: PathBuf,
    /// It holds a secret that no password protects.
    pub is_secret: bool,
}

/// Finds out what the entries mean. `folder` of each is only put before relative paths.
pub fn interpret(entries: &[Entry]) -> Interpreted {
    let mut table = Table::new(entries);
    table.check_keys();
    let mut settings = ClientSettings {
        protocol: table.protocol(),
        client_id: table.text("client.id"),
        request_timeout: table.millis(&["request.timeout.ms", "socket.timeout.ms"]),
        connect_timeout: table.millis(&["socket.connection.setup.timeout.ms"]),
        ..ClientSettings::default()
    };
    let protocol = table
        .is_known("security.protocol")
        .then_some(settings.protocol.value);
    settings.tls = tls::read(&mut table);
    if protocol.is_some_and(|protocol| !protocol.has_tls()) {
        settings.tls = TlsSettings::default();
        table.files.clear();
    }
    settings.sasl = sasl::read(&mut table, protocol);
    if let Some(protocol) = protocol {
        table.report_unused(protocol);
    }
    let bootstrap_servers = table.bootstrap_servers();
    Interpreted {
        settings,
        bootstrap_servers,
        findings: table.findings,
        files: table.files,
        harmless: table.harmless,
    }
}

/// The same for the connection to an HTTP server, which has properties of TLS only.
pub fn interpret_tls(entries: &[Entry], protocol: SecurityProtocol) -> Interpreted {
    let mut table = Table::new(entries);
    table.check_keys();
    let mut settings = ClientSettings {
        tls: tls::read(&mut table),
        ..ClientSettings::default()
    };
    if !protocol.has_tls() {
        settings.tls = TlsSettings::default();
        table.files.clear();
        let mut entries = entries.iter().enumerate();
        if let Some((index, entry)) = entries.find(|(_, entry)| asks_for_security(&entry.key)) {
            let found = Found { index, entry };
            table.report(
                Kind::Unused,
                found.key(),
                "TLS is set up and not used",
                "not used with an http:// address",
            );
            table.help("write an https:// address, or take the keys out");
        }
    }
    Interpreted {
        settings,
        bootstrap_servers: None,
        findings: table.findings,
        files: table.files,
        harmless: table.harmless,
    }
}

/// The entries by key, and what has been found in them.
struct Table<'e> {
    entries: &'e [Entry],
    findings: Vec<Finding>,
    harmless: Vec<Spot>,
    files: Vec<NamedFile>,
}

/// An entry that counts.
#[derive(Clone, Copy)]
struct Found<'e> {
    index: usize,
    entry: &'e Entry,
}

impl<'e> Found<'e> {
    fn key(&self) -> Spot {
        self.spot(Part::Key)
    }

    fn value(&self) -> Spot {
        self.spot(Part::Value)
    }

    fn spot(&self, part: Part) -> Spot {
        Spot {
            entry: self.index,
            part,
        }
    }

    /// The value; `None` when it is not known.
    fn text(&self) -> Option<&'e Text> {
        self.entry.value.as_ref()
    }

    fn str(&self) -> Option<&'e str> {
        self.text().map(|text| text.value.expose())
    }

    fn keyed<T>(&self, value: T) -> Keyed<T> {
        Keyed {
            value,
            place: self.entry.place.clone(),
        }
    }
}

impl<'e> Table<'e> {
    fn new(entries: &'e [Entry]) -> Self {
        Self {
            entries,
            findings: Vec::new(),
            harmless: Vec::new(),
            files: Vec::new(),
        }
    }

    /// The file that an entry names.
    fn file(&mut self, found: Found<'_>, path: &str, is_secret: bool) -> PathBuf {
        let path = found.entry.folder.join(path);
        self.files.push(NamedFile {
            entry: found.index,
            path: path.clone(),
            is_secret,
        });
        path
    }

    /// The entry that counts for a key: the last of the `client` table, else of the file.
    fn get(&self, key: &str) -> Option<Found<'e>> {
        self.entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.key == key)
            .max_by_key(|(index, entry)| (entry.from, *index))
            .map(|(index, entry)| Found { index, entry })
    }

    /// The entry that counts among several spellings of one key.
    fn one_of(&mut self, keys: &[&str]) -> Option<Found<'e>> {
        self.alternatives(keys, "these are two spellings of one key")
    }

    /// The entry that counts among several ways to say one thing. Two of them in one place are a
    /// mistake.
    fn alternatives(&mut self, keys: &[&str], why: &str) -> Option<Found<'e>> {
        let found: Vec<Found<'e>> = keys.iter().filter_map(|key| self.get(key)).collect();
        let from = found.iter().map(|found| found.entry.from).max()?;
        let mut found = found
            .into_iter()
            .filter(|found| found.entry.from == from)
            .collect::<Vec<_>>()
            .into_iter();
        let first = found.next()?;
        for other in found {
            self.report(
                Kind::Conflict,
                other.key(),
                format!(
                    "`{}` and `{}` are both set",
                    first.entry.key, other.entry.key
                ),
                why,
            )
            .also
            .push((first.key(), "the other one".to_owned()));
            self.help("keep one of them");
        }
        Some(first)
    }

    fn is_set(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Whether what the key says is known; also where it is not set.
    fn is_known(&self, key: &str) -> bool {
        self.get(key).is_none_or(|found| found.text().is_some())
    }

    fn text(&self, key: &str) -> Option<String> {
        let text = self.get(key)?.str()?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A text with its place.
    fn keyed(&self, key: &str) -> Option<Keyed<Text>> {
        let found = self.get(key)?;
        found.text().map(|text| found.keyed(text.clone()))
    }

    fn millis(&mut self, keys: &[&str]) -> Option<Duration> {
        let found = self.one_of(keys)?;
        match found.str()?.trim().parse::<u32>() {
            Ok(millis @ 1..) => Some(Duration::from_millis(millis.into())),
            _ => {
                self.bad_value(
                    found,
                    "has to be a number of milliseconds from 1 to 4294967295",
                );
                None
            }
        }
    }

    fn bool(&mut self, key: &str) -> Option<bool> {
        let found = self.get(key)?;
        match found.str()?.trim().to_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.bad_value(found, "has to be true or false");
                None
            }
        }
    }

    fn protocol(&mut self) -> Keyed<SecurityProtocol> {
        const KEY: &str = "security.protocol";
        let default = Keyed {
            value: SecurityProtocol::Plaintext,
            place: Place {
                key: KEY.to_owned(),
                at: String::new(),
            },
        };
        let Some(found) = self.get(KEY) else {
            return default;
        };
        let Some(text) = found.str() else {
            return found.keyed(SecurityProtocol::Plaintext);
        };
        let protocols = [
            SecurityProtocol::Plaintext,
            SecurityProtocol::Ssl,
            SecurityProtocol::SaslPlaintext,
            SecurityProtocol::SaslSsl,
        ];
        let written = text.trim().to_uppercase();
        if let Some(protocol) = protocols.iter().find(|one| one.name() == written) {
            return found.keyed(*protocol);
        }
        let names = protocols.map(SecurityProtocol::name);
        self.bad_word(found, &written, &names);
        found.keyed(SecurityProtocol::Plaintext)
    }

    /// In a properties file; the topology file has a key of its own.
    fn bootstrap_servers(&mut self) -> Option<usize> {
        let found = self.one_of(&["bootstrap.servers", "metadata.broker.list"])?;
        if found.entry.from == From::PropertiesFile {
            return Some(found.index);
        }
        self.report(
            Kind::Refused,
            found.key(),
            format!("`{}` does not belong into `client`", found.entry.key),
            "addresses are not among the client properties",
        );
        self.help("write bootstrap_servers = \"HOST:9092\" in the table of the cluster");
        None
    }

    /// Looks at every key by itself.
    fn check_keys(&mut self) {
        for (index, entry) in self.entries.iter().enumerate() {
            let found = Found { index, entry };
            match keys::find(&entry.key).map(|key| (key, key.effect)) {
                Some((key, Effect::CarriedOut(_))) => self.check_form(found, key.value),
                Some((key, Effect::NoEffect(why))) => {
                    let message = format!("`{}` has no effect here", key.name);
                    self.report(Kind::NoEffect, found.key(), message, why);
                    self.help("take it out, or leave it for the other programs that read the file");
                }
                Some((key, Effect::Refused(instead))) if self.refuses(found) => {
                    let message = format!("`{}` is not supported", key.name);
                    self.report(Kind::Refused, found.key(), message, key.meaning);
                    self.help(instead);
                }
                Some((_, Effect::Refused(_))) => {}
                None => self.unknown(found),
            }
        }
    }

    /// Refused keys are harmless with the values that they have by default.
    fn refuses(&self, found: Found<'_>) -> bool {
        let default = match found.entry.key.as_str() {
            "enable.sasl.oauthbearer.unsecure.jwt" | "sasl.oauthbearer.header.urlencode" => "false",
            "sasl.oauthbearer.metadata.authentication.type" => "none",
            "sasl.kerberos.kinit.cmd" => "/usr/bin/kinit",
            "sasl.kerberos.min.time.before.relogin" => "60000",
            "sasl.kerberos.ticket.renew.jitter" => "0.05",
            "sasl.kerberos.ticket.renew.window.factor" => "0.8",
            _ => "",
        };
        found.str().is_none_or(|value| value.trim() != default)
    }

    fn check_form(&mut self, found: Found<'e>, value: Value) {
        let Some(text) = found.str() else { return };
        let may_be_empty = matches!(
            found.entry.key.as_str(),
            "ssl.endpoint.identification.algorithm" | "client.id"
        );
        if text.is_empty() && !may_be_empty {
            self.bad_value(found, "this is empty");
        } else if matches!(value, Value::PemKey | Value::PemPublic) && !text.contains("-----BEGIN ")
        {
            self.report(
                Kind::BadValue,
                found.value(),
                format!("`{}` is no PEM text", found.entry.key),
                "-----BEGIN … is missing",
            );
            self.help(
                "write the text of the PEM file, in a properties file with \\n\\ at the end of each line; \
                 for a path there is a key that ends in .location",
            );
        }
    }

    fn unknown(&mut self, found: Found<'e>) {
        let key = found.entry.key.as_str();
        if let Some(why) = keys::foreign(key) {
            let message = format!("`{key}` has no effect here");
            self.report(Kind::NoEffect, found.key(), message, why);
            return;
        }
        let meant = nearest_key(key);
        let message = if is_citable(key) {
            format!("no Kafka client has a property `{key}`")
        } else {
            "this is no property of a Kafka client".to_owned()
        };
        self.report(Kind::Unknown, found.key(), message, "unknown property");
        self.help(match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "the properties are listed in docs/client-properties.md".to_owned(),
        });
    }

    /// Keys of a kind that the protocol leaves unused.
    fn report_unused(&mut self, protocol: SecurityProtocol) {
        let families = [
            ("sasl.", protocol.has_sasl(), "SASL"),
            ("ssl.", protocol.has_tls(), "TLS"),
        ];
        for (prefix, used, family) in families {
            if used {
                continue;
            }
            let unused: Vec<Found<'e>> = (0..self.entries.len())
                .map(|index| Found {
                    index,
                    entry: &self.entries[index],
                })
                .filter(|found| {
                    found.entry.key.starts_with(prefix) && asks_for_security(&found.entry.key)
                })
                .collect();
            let Some((first, others)) = unused.split_first() else {
                continue;
            };
            let stated = self.get("security.protocol");
            let label = match stated {
                Some(_) => format!("not used with {}", protocol.name()),
                None => "not used: without `security.protocol` nothing is secured".to_owned(),
            };
            let message = format!("{family} is set up and not used");
            let wanted = match (protocol.has_tls(), prefix) {
                (true, "sasl.") | (_, "ssl.") if family == "SASL" || protocol.has_sasl() => {
                    "SASL_SSL"
                }
                (_, "ssl.") if self.is_set("sasl.mechanism") => "SASL_SSL",
                (_, "ssl.") => "SSL",
                _ => "SASL_SSL",
            };
            let also: Vec<_> = others
                .iter()
                .take(2)
                .map(|found| (found.key(), "nor this".to_owned()))
                .chain(stated.map(|found| (found.value(), "because of this".to_owned())))
                .collect();
            self.report(Kind::Unused, first.key(), message, label).also = also;
            self.help(format!(
                "set security.protocol to {wanted}, or take these keys out"
            ));
        }
    }

    fn report(
        &mut self,
        kind: Kind,
        at: Spot,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> &mut Finding {
        self.findings.push(Finding {
            kind,
            at,
            message: message.into(),
            label: label.into(),
            help: None,
            also: Vec::new(),
        });
        self.findings.last_mut().expect("one was just added")
    }

    /// Adds help to the last finding.
    fn help(&mut self, help: impl Into<String>) {
        if let Some(finding) = self.findings.last_mut() {
            finding.help = Some(help.into());
        }
    }

    fn bad_value(&mut self, found: Found<'_>, label: &str) {
        let message = format!("`{}` has no usable value", found.entry.key);
        self.report(Kind::BadValue, found.value(), message, label);
    }

    /// A value that is none of the words that it can be.
    fn bad_word(&mut self, found: Found<'_>, written: &str, words: &[&str]) {
        let label = format!("has to be {}", words.join(", "));
        self.bad_value(found, &label);
        if let Some(meant) = nearest(written, words.iter().copied()) {
            self.help(format!("did you mean {meant}?"));
        }
    }
}

/// Whether a key does more than choose among defaults, so that not using it would surprise.
fn asks_for_security(key: &str) -> bool {
    let carried_out =
        keys::find(key).is_some_and(|key| matches!(key.effect, Effect::CarriedOut(_)));
    carried_out
        && !matches!(
            key,
            "ssl.enabled.protocols"
                | "ssl.endpoint.identification.algorithm"
                | "ssl.truststore.type"
                | "ssl.keystore.type"
        )
}

/// Whether a key may be repeated in a message: the second line of a value whose first line does
/// not end in a backslash is a key, too.
pub fn is_citable(key: &str) -> bool {
    const LONGEST: usize = 80;
    !key.is_empty()
        && key.len() <= LONGEST
        && key.chars().all(|char| {
            char.is_ascii_lowercase() || char.is_ascii_digit() || matches!(char, '.' | '_' | '-')
        })
        && (key.contains(['.', '_', '-']) || key.len() < 12)
}

/// The key that was probably meant by one that does not exist.
pub fn nearest_key(written: &str) -> Option<&'static str> {
    let dotted = written.to_lowercase().replace(['_', '-'], ".");
    if let Some(key) = keys::find(&dotted) {
        return Some(key.name);
    }
    // Keys that do something are likelier to be meant.
    let named = |wanted: fn(Effect) -> bool| {
        keys::all()
            .filter(move |key| wanted(key.effect))
            .map(|key| key.name)
    };
    nearest(
        &dotted,
        named(|effect| matches!(effect, Effect::CarriedOut(_))),
    )
    .or_else(|| nearest(&dotted, named(|_| true)))
}
