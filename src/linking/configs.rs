//! A link's configs: taken from a request or from the control records, checked, changed, and shown again.
//!
//! Values that must not be seen are known by their keys. They are held as [`Secret`]s, or sealed where they came from
//! the records; whoever only shows or changes other configs needs no key.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::filters::{self, TopicFilters};
use super::keys::{self, Effect, Key as ConfigKey, Kind};
use super::reach::{self, Side};
use super::seal::{Key, Sealed, Unreadable};
use crate::client::Secret;
use crate::control::records::{
    LinkConfigsRecord, LinkRecord, RECORD_VERSION, StartSpec, StoredConfig,
};
use crate::topology::names;

/// Bytes of all values of a link: they are one control record.
const MOST_BYTES: usize = 256 << 10;

/// Which end of the link its holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkMode {
    Destination,
    Source,
    /// Both: each of two clusters holds a link of the same name, which brings mirrors to it.
    Bidirectional,
}

/// Who opens the connections between the two clusters: the holder of this link, or the other cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionMode {
    Outbound,
    Inbound,
}

/// A change of one config.
#[derive(Clone, Debug)]
pub struct Change {
    pub name: String,
    /// `None`: back to the default.
    pub value: Option<Secret>,
}

/// Why configs cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// A link's configs as far as they were set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configs {
    set: BTreeMap<&'static str, Value>,
}

#[derive(Clone, PartialEq)]
enum Value {
    Plain(String),
    Secret(Secret),
    Sealed(Sealed),
}

/// Plain values are harmless: their keys say so.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) => text.fmt(f),
            Self::Secret(_) | Self::Sealed(_) => f.write_str("(secret)"),
        }
    }
}

/// A config as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub name: &'static str,
    /// `None` where it is not set, and of secrets.
    pub value: Option<String>,
    pub is_default: bool,
    pub is_read_only: bool,
    pub is_sensitive: bool,
    /// The value that it has where nobody sets it.
    pub default: Option<&'static str>,
}

impl Shown {
    /// Where the value comes from, as the API names it.
    pub fn source(&self) -> &'static str {
        if self.is_default {
            "DEFAULT_CONFIG"
        } else {
            "DYNAMIC_CLUSTER_LINK_CONFIG"
        }
    }
}

impl Configs {
    /// The configs of a new link. `None` as value is the default.
    ///
    /// # Errors
    /// What cannot be taken, and why.
    pub fn new(pairs: Vec<Change>) -> Result<Self, Invalid> {
        let mut configs = Self::default();
        for pair in &pairs {
            if configs.set.contains_key(pair.name.as_str()) {
                return Err(Invalid(format!("`{}` is given twice", pair.name)));
            }
            configs.change(pair)?;
        }
        configs.check()?;
        Ok(configs)
    }

    /// The configs after changes, which all succeed or none.
    ///
    /// # Errors
    /// What cannot be taken, and why.
    pub fn altered(&self, changes: &[Change]) -> Result<Self, Invalid> {
        let mut altered = self.clone();
        for change in changes {
            let key = keys::find(&change.name).map_err(Invalid)?;
            altered.change(change)?;
            if key.is_fixed && altered.value(key.name) != self.value(key.name) {
                return Err(Invalid(format!(
                    "`{}` is fixed once the link is there: delete the link and create it anew",
                    key.name
                )));
            }
        }
        // As servers of the original do: what a feature selects goes with the feature.
        let filters_are_new = changes
            .iter()
            .any(|change| change.name == keys::AUTO_CREATE_FILTERS && change.value.is_some());
        if self.is_true(keys::AUTO_CREATE)
            && !altered.is_true(keys::AUTO_CREATE)
            && !filters_are_new
        {
            altered.set.remove(keys::AUTO_CREATE_FILTERS);
        }
        altered.check()?;
        Ok(altered)
    }

    fn change(&mut self, change: &Change) -> Result<(), Invalid> {
        let key = keys::find(&change.name).map_err(Invalid)?;
        let Some(value) = &change.value else {
            self.set.remove(key.name);
            return Ok(());
        };
        let text = check_value(&key, value.expose())
            .map_err(|problem| Invalid(format!("`{}`: {problem}", key.name)))?;
        if let Effect::OnlyDefault(why) = key.effect
            && Some(text.as_str()) != key.default
        {
            return Err(Invalid(format!(
                "`{}` cannot be set to this: {why}",
                key.name
            )));
        }
        if key.kind == Kind::Prefix && text.is_empty() {
            self.set.remove(key.name);
            return Ok(());
        }
        let value = if key.is_sensitive() {
            Value::Secret(Secret::new(text))
        } else {
            Value::Plain(text)
        };
        self.set.insert(key.name, value);
        Ok(())
    }

    /// Looks at all configs together.
    fn check(&self) -> Result<(), Invalid> {
        let invalid = |text: &str| Err(Invalid(text.to_owned()));
        if self.size() > MOST_BYTES {
            return invalid("the configs are larger than 256 KiB together");
        }
        match (self.link_mode(), self.connection_mode()) {
            (LinkMode::Source, ConnectionMode::Inbound) => {
                return invalid(
                    "`link.mode` SOURCE needs `connection.mode` OUTBOUND: it is for sources that open the connections",
                );
            }
            (LinkMode::Bidirectional, ConnectionMode::Inbound)
                if self.remote_connection_mode() == Some(ConnectionMode::Inbound) =>
            {
                return invalid(
                    "`connection.mode` and `remote.link.connection.mode` are both INBOUND: one of the two clusters has to open the \
                     connections",
                );
            }
            (_, ConnectionMode::Outbound) if !self.is_set(keys::BOOTSTRAP_SERVERS) => {
                return invalid(
                    "`bootstrap.servers` is missing: it says where the other cluster is",
                );
            }
            _ => {}
        }
        if self.link_mode() == LinkMode::Source {
            let misplaced = [
                keys::PREFIX,
                keys::AUTO_CREATE,
                keys::AUTO_CREATE_FILTERS,
                keys::START,
                keys::CONFIG_SYNC_MS,
            ];
            if let Some(key) = misplaced.into_iter().find(|key| self.is_set(key)) {
                return Err(Invalid(format!(
                    "`{key}` belongs to the link of the same name at the destination: set it there"
                )));
            }
        }
        if self.is_true(keys::AUTO_CREATE) && self.topic_filters().include.is_empty() {
            return invalid(
                "`auto.create.mirror.topics.enable` needs `auto.create.mirror.topics.filters` with something to INCLUDE",
            );
        }
        if self.connection_mode() == ConnectionMode::Outbound {
            self.reach(Side::Remote)?;
        }
        if self.carries_other_half() {
            self.reach(Side::Local)?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let size = |value: &Value| match value {
            Value::Plain(text) => text.len(),
            Value::Secret(secret) => secret.expose().len(),
            Value::Sealed(sealed) => sealed.text.len(),
        };
        self.set.values().map(size).sum()
    }

    /// How a cluster is reached.
    ///
    /// # Errors
    /// What of it cannot be taken.
    pub fn reach(&self, side: Side) -> Result<reach::Reach, Invalid> {
        reach::of(self, side).map_err(Invalid)
    }

    /// The value in force, unless it is secret or not there.
    pub fn value(&self, name: &str) -> Option<&str> {
        match self.set.get(name) {
            Some(Value::Plain(text)) => Some(text),
            Some(Value::Secret(_) | Value::Sealed(_)) => None,
            None => keys::find(name).ok()?.default,
        }
    }

    /// The value that was set, also where it is secret; the inner `None` of one that is sealed.
    pub(super) fn exposed(&self, name: &str) -> Option<Option<&str>> {
        Some(match self.set.get(name)? {
            Value::Plain(text) => Some(text.as_str()),
            Value::Secret(secret) => Some(secret.expose()),
            Value::Sealed(_) => None,
        })
    }

    pub fn is_set(&self, name: &str) -> bool {
        self.set.contains_key(name)
    }

    fn is_true(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }

    pub fn link_mode(&self) -> LinkMode {
        match self.value(keys::LINK_MODE) {
            Some("SOURCE") => LinkMode::Source,
            Some("BIDIRECTIONAL") => LinkMode::Bidirectional,
            _ => LinkMode::Destination,
        }
    }

    /// How the link of the same name on the other cluster is connected, where somebody said so.
    fn remote_connection_mode(&self) -> Option<ConnectionMode> {
        match self.value(keys::REMOTE_CONNECTION_MODE)? {
            "INBOUND" => Some(ConnectionMode::Inbound),
            _ => Some(ConnectionMode::Outbound),
        }
    }

    /// Whether workers beside this cluster carry the link of the same name on the other cluster, too: that one cannot open
    /// connections itself.
    pub fn carries_other_half(&self) -> bool {
        match self.link_mode() {
            LinkMode::Source => true,
            LinkMode::Destination => false,
            LinkMode::Bidirectional => {
                self.connection_mode() == ConnectionMode::Outbound
                    && self.remote_connection_mode() == Some(ConnectionMode::Inbound)
            }
        }
    }

    pub fn connection_mode(&self) -> ConnectionMode {
        match self.value(keys::CONNECTION_MODE) {
            Some("INBOUND") => ConnectionMode::Inbound,
            _ => ConnectionMode::Outbound,
        }
    }

    pub fn prefix(&self) -> Option<&str> {
        self.value(keys::PREFIX)
    }

    pub fn is_paused(&self) -> bool {
        self.is_true(keys::PAUSED)
    }

    pub fn creates_mirrors(&self) -> bool {
        self.is_true(keys::AUTO_CREATE)
    }

    /// What gets mirrors by itself, if the link does that at all.
    pub fn topic_filters(&self) -> TopicFilters {
        let text = self.value(keys::AUTO_CREATE_FILTERS).unwrap_or_default();
        // Checked when it was set.
        filters::topics(text).unwrap_or_default()
    }

    /// Where mirrors that are made begin.
    pub fn start(&self) -> StartSpec {
        let text = self.value(keys::START).unwrap_or_default();
        start(text).unwrap_or(StartSpec::Earliest)
    }

    /// How often mirrors take over configs from their sources.
    pub fn config_sync(&self) -> Duration {
        let millis = self
            .value(keys::CONFIG_SYNC_MS)
            .and_then(|text| text.parse().ok());
        Duration::from_millis(millis.unwrap_or(5_000))
    }

    /// Every config that there is, by name.
    pub fn shown(&self) -> Vec<Shown> {
        keys::all().into_iter().map(|key| self.show(key)).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// Why there is none of this name.
    pub fn shown_one(&self, name: &str) -> Result<Shown, String> {
        keys::find(name).map(|key| self.show(key))
    }

    fn show(&self, key: ConfigKey) -> Shown {
        Shown {
            name: key.name,
            value: if key.is_sensitive() {
                None
            } else {
                self.value(key.name).map(str::to_owned)
            },
            is_default: !self.is_set(key.name),
            is_read_only: key.is_fixed,
            is_sensitive: key.is_sensitive(),
            default: key.default,
        }
    }

    /// Whether some of them are kept sealed.
    pub fn has_secrets(&self) -> bool {
        let mut values = self.set.values();
        values.any(|value| !matches!(value, Value::Plain(_)))
    }

    /// As they are stored. What was sealed before stays as it is.
    ///
    /// # Errors
    /// There are secrets, and no key to seal them with.
    pub fn store(&self, link: Uuid, key: Option<&Key>) -> Result<LinkConfigsRecord, Invalid> {
        let stored = self.set.iter().map(|(name, value)| {
            let value = match value {
                Value::Plain(text) => StoredConfig::Plain(text.clone()),
                Value::Sealed(sealed) => StoredConfig::Sealed {
                    sealed: sealed.clone(),
                },
                Value::Secret(secret) => {
                    let key = key.ok_or_else(|| no_key(name))?;
                    StoredConfig::Sealed {
                        sealed: key.seal(link, name, secret),
                    }
                }
            };
            Ok(((*name).to_owned(), value))
        });
        Ok(LinkConfigsRecord {
            version: RECORD_VERSION,
            configs: stored.collect::<Result<_, Invalid>>()?,
        })
    }

    /// As they were stored, with secrets left sealed. A config that only a later kmirror knows is passed over.
    pub fn sealed(record: &LinkConfigsRecord) -> Self {
        let set = record.configs.iter().filter_map(|(name, value)| {
            let key = keys::find(name).ok()?;
            let value = match value {
                StoredConfig::Plain(text) => Value::Plain(text.clone()),
                StoredConfig::Sealed { sealed } => Value::Sealed(sealed.clone()),
            };
            Some((key.name, value))
        });
        Self { set: set.collect() }
    }

    /// What a link of a topology file is in terms of configs.
    pub fn of_record(record: &LinkRecord) -> Self {
        let configs = super::record::configs_of(record).into_iter();
        Self {
            set: configs
                .map(|(name, value)| (name, Value::Plain(value)))
                .collect(),
        }
    }

    /// As they were stored, secrets included.
    ///
    /// # Errors
    /// The key is missing, or it is another one than they were sealed with.
    pub fn open(
        record: &LinkConfigsRecord,
        link: Uuid,
        key: Option<&Key>,
    ) -> Result<Self, Unreadable> {
        let mut configs = Self::sealed(record);
        for (name, value) in &mut configs.set {
            if let Value::Sealed(sealed) = value {
                *value = Value::Secret(Key::open(key, link, name, sealed)?);
            }
        }
        Ok(configs)
    }
}

fn no_key(name: &str) -> Invalid {
    Invalid(format!(
        "`{name}` is secret, and secrets are stored encrypted only: make a key with `kmirror key new`, give it to this server and \
         to every worker in KMIRROR_KEY, and try again"
    ))
}

/// The value in the form in which it is kept.
///
/// # Errors
/// Why it is none for this config.
pub(super) fn check_value(key: &ConfigKey, text: &str) -> Result<String, String> {
    let trimmed = text.trim();
    match key.kind {
        Kind::Bool => match trimmed.to_ascii_lowercase() {
            word if word == "true" || word == "false" => Ok(word),
            _ => Err("it has to be true or false".to_owned()),
        },
        Kind::Word(words) => words
            .iter()
            .find(|word| word.eq_ignore_ascii_case(trimmed))
            .map(|word| (*word).to_owned())
            .ok_or_else(|| format!("it has to be {}", words.join(", "))),
        Kind::Number(least, most) => match trimmed.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(number.to_string()),
            Ok(_) if most == i64::MAX => Err(format!("it has to be at least {least}")),
            Ok(_) => Err(format!("it has to be from {least} to {most}")),
            Err(_) => Err("it has to be a whole number".to_owned()),
        },
        Kind::Servers => servers(trimmed).map(|servers| servers.join(",")),
        Kind::Filters("topicFilters") => filters::topics(text).map(|_| text.to_owned()),
        Kind::Filters(list) => filters::check(text, list).map(|()| text.to_owned()),
        Kind::Start => start(trimmed).map(|_| trimmed.to_owned()).ok_or_else(|| {
            "it has to be earliest, latest or a time such as 2026-01-31T12:00:00Z".to_owned()
        }),
        Kind::Prefix if trimmed.is_empty() => Ok(String::new()),
        Kind::Prefix => {
            let name = format!("{trimmed}x");
            names::validate_topic_name(&name)
                .map(|()| trimmed.to_owned())
                .map_err(|problem| format!("it gives no legal topic names: {problem}"))
        }
        Kind::Text if trimmed.chars().any(char::is_control) => {
            Err("it has control characters".to_owned())
        }
        Kind::Text => Ok(trimmed.to_owned()),
        Kind::Secret if trimmed.is_empty() => Err("it is empty".to_owned()),
        Kind::Secret => Ok(text.to_owned()),
    }
}

/// Addresses with commas between them.
pub(super) fn servers(text: &str) -> Result<Vec<String>, String> {
    const MOST: usize = 100;
    let servers: Vec<String> = text
        .split(',')
        .map(|server| server.trim().to_owned())
        .filter(|server| !server.is_empty())
        .collect();
    if servers.is_empty() || servers.len() > MOST {
        return Err(format!(
            "it needs from 1 to {MOST} addresses, HOST:PORT with commas"
        ));
    }
    let is_address = |server: &&String| {
        server.rsplit_once(':').is_some_and(|(host, port)| {
            let printable = host
                .chars()
                .all(|char| char.is_ascii_graphic() && char != '/');
            !host.is_empty() && printable && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    match servers.iter().position(|server| !is_address(&server)) {
        None => Ok(servers),
        Some(place) => Err(format!(
            "address {} is not of the form HOST:PORT",
            place + 1
        )),
    }
}

fn start(text: &str) -> Option<StartSpec> {
    if text.eq_ignore_ascii_case("earliest") {
        return Some(StartSpec::Earliest);
    }
    if text.eq_ignore_ascii_case("latest") {
        return Some(StartSpec::Latest);
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    let millis = time.as_millisecond();
    (millis >= 0).then_some(StartSpec::Timestamp(millis))
}

#[cfg(test)]
mod tests;
