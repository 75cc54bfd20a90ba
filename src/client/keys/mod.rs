//! The one table of client keys: what each means, and what becomes of it here.
//!
//! It holds the properties of Kafka's own clients (producer, consumer, admin) and those of
//! librdkafka, because people bring files that were written for either. Every key is carried out,
//! refused with what to write instead, or said to have no effect; none is passed over in silence.
//! The documentation's table is made from this one.

use super::sensitive::looks_secret;

mod table;

/// A client key.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub spelling: Spelling,
    pub value: Value,
    /// A few words.
    pub meaning: &'static str,
    pub effect: Effect,
}

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    Java,
    Librdkafka,
    Both,
    /// kmirror's.
    Own,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Word,
    /// With commas.
    List,
    Bool,
    Number,
    Millis,
    Path,
    Url,
    /// The name of a Java class.
    Class,
    /// A user, a group: no secret, but about somebody.
    Id,
    /// Never shown.
    Secret,
    /// A private key in PEM form, never shown.
    PemKey,
    /// Certificates in PEM form.
    PemPublic,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// And how.
    CarriedOut(&'static str),
    /// And why.
    NoEffect(&'static str),
    /// And what to write instead.
    Refused(&'static str),
}

/// Keys of a family that has no effect.
#[derive(Debug)]
struct Prefix {
    prefix: &'static str,
    meaning: &'static str,
    why: &'static str,
}

impl Key {
    pub fn is_secret(&self) -> bool {
        matches!(self.value, Value::Secret | Value::PemKey)
    }
}

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    table::KEYS.iter().find(|key| key.name == name)
}

/// Every key there is.
pub fn all() -> impl Iterator<Item = &'static Key> {
    table::KEYS.iter()
}

/// Why a key of another program's family has no effect.
pub fn foreign(name: &str) -> Option<&'static str> {
    table::PREFIXES
        .iter()
        .find(|family| name.starts_with(family.prefix))
        .map(|family| family.why)
}

/// Whether the value of the key may be shown: only that of a key which is known to be no secret.
pub fn is_harmless(name: &str) -> bool {
    match find(name) {
        Some(key) => !key.is_secret(),
        None => foreign(name).is_some() && !looks_secret(name),
    }
}

/// The tables of docs/client-properties.md.
pub fn markdown() -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for (index, (title, column)) in [
        ("Carried out", "how"),
        ("Refused", "what instead"),
        ("Without effect", "why"),
    ]
    .into_iter()
    .enumerate()
    {
        let gap = if index == 0 { "" } else { "\n" };
        let _ = write!(
            text,
            "{gap}## {title}\n\n| key | of | value | meaning | {column} |\n|---|---|---|---|---|\n"
        );
        for key in all() {
            let why = match (index, key.effect) {
                (0, Effect::CarriedOut(why))
                | (1, Effect::Refused(why))
                | (2, Effect::NoEffect(why)) => why,
                _ => continue,
            };
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} |",
                key.name,
                key.spelling.name(),
                key.value.name(),
                key.meaning,
                cell(why)
            );
        }
    }
    for family in table::PREFIXES {
        let _ = writeln!(
            text,
            "| `{}*` | others |  | {} | {} |",
            family.prefix,
            family.meaning,
            cell(family.why)
        );
    }
    text
}

/// Text as it may stand in a cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

impl Spelling {
    fn name(self) -> &'static str {
        match self {
            Self::Java => "Kafka",
            Self::Librdkafka => "librdkafka",
            Self::Both => "both",
            Self::Own => "kmirror",
        }
    }
}

impl Value {
    pub fn name(self) -> &'static str {
        match self {
            Self::Word | Self::Id => "text",
            Self::List => "list with commas",
            Self::Bool => "true or false",
            Self::Number => "number",
            Self::Millis => "milliseconds",
            Self::Path => "path",
            Self::Url => "URL",
            Self::Class => "Java class",
            Self::Secret => "secret",
            Self::PemKey => "PEM, secret",
            Self::PemPublic => "PEM",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_key_is_there_twice() {
        let mut seen = HashSet::new();
        for key in all() {
            assert!(seen.insert(key.name), "{}", key.name);
            assert!(foreign(key.name).is_none(), "{}", key.name);
        }
    }

    #[test]
    fn what_looks_secret_is_secret() {
        for key in all() {
            let harmless_pem = key.value == Value::PemPublic;
            if looks_secret(key.name) && !key.is_secret() && !harmless_pem {
                // Its name has a word of a secret, and the value is none.
                assert!(
                    ["sasl.oauthbearer.client.credentials.client.id"].contains(&key.name),
                    "{}",
                    key.name
                );
            }
            // What the table calls a secret is one also where only the name is known.
            assert!(!key.is_secret() || looks_secret(key.name), "{}", key.name);
        }
    }

    #[test]
    fn every_key_of_the_clients_is_known() {
        // `configNames()` of Kafka's ProducerConfig, ConsumerConfig and AdminClientConfig, and
        // librdkafka's CONFIGURATION.md without what only a linked program can set.
        let names = include_str!("names.txt");
        let unknown: Vec<_> = names.lines().filter(|name| find(name).is_none()).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn the_documentation_has_the_table() {
        let page = include_str!("../../../docs/client-properties.md");
        let table = markdown();
        if !page.contains(&table) {
            let path = std::env::temp_dir().join("client-properties-table.md");
            std::fs::write(&path, table).expect("is written");
            panic!("the tables of docs/client-properties.md differ from {path:?}");
        }
    }
}
