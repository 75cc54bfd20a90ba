//! The settings of an input by key, each taken once, so that what nobody took can be told.

use indexmap::IndexMap;

use super::input::Input;
use super::json::Node;
use super::model::{Fate, Finding, Place};
use crate::client::interpret::is_citable;
use crate::client::properties;
use crate::client::sensitive::looks_secret;

/// A setting as it was written.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// Without the prefix that has been taken off.
    pub(super) key: String,
    /// The whole key.
    pub(super) written: String,
    /// May be a secret.
    pub(super) value: String,
    pub(super) place: Place,
    /// The key may be a part of the value before it, whose line lacks its backslash.
    may_go_on: bool,
}

/// Settings in the order of the input. Of a repeated key the last one counts.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Settings {
    by_key: IndexMap<String, Setting>,
}

impl Settings {
    /// Of a Java properties file.
    pub(super) fn of_properties(input: &Input) -> Self {
        let text = properties::decode(input.bytes.clone()).text;
        let mut settings = Self::default();
        let mut goes_on = false;
        for property in properties::parse(&text).properties {
            let line = 1 + text[..property.key.whole().start].matches('\n').count();
            let key = property.key.into_string();
            let is_secret = looks_secret(&key);
            settings.put(Setting {
                key: key.clone(),
                written: key,
                value: property.value.into_string(),
                place: input.place(line),
                may_go_on: goes_on,
            });
            goes_on = is_secret || (goes_on && settings.last_is_stray());
        }
        settings
    }

    /// Of a JSON object of plain values.
    pub(super) fn of_json(node: &Node, input: &Input) -> Self {
        let mut settings = Self::default();
        for (key, value) in node.entries() {
            let Some(text) = value.plain() else { continue };
            settings.set(key, text, value.place(input));
        }
        settings
    }

    fn last_is_stray(&self) -> bool {
        self.by_key
            .last()
            .is_some_and(|(_, setting)| !setting.key.contains('.'))
    }

    fn put(&mut self, setting: Setting) {
        self.by_key.shift_remove(&setting.key);
        self.by_key.insert(setting.key.clone(), setting);
    }

    pub(super) fn set(&mut self, key: &str, value: String, place: Place) {
        self.put(Setting {
            key: key.to_owned(),
            written: key.to_owned(),
            value,
            place,
            may_go_on: false,
        });
    }

    pub(super) fn get(&self, key: &str) -> Option<&Setting> {
        self.by_key.get(key)
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Setting> {
        self.by_key.shift_remove(key)
    }

    /// Takes everything that begins with the prefix, which is taken off.
    pub(super) fn take_prefixed(&mut self, prefix: &str) -> Self {
        let mut taken = Self::default();
        self.by_key.retain(|key, setting| {
            let Some(rest) = key.strip_prefix(prefix).filter(|rest| !rest.is_empty()) else {
                return true;
            };
            let mut setting = setting.clone();
            setting.key = rest.to_owned();
            taken.put(setting);
            false
        });
        taken
    }

    /// Adds what another one has; the other one wins.
    pub(super) fn extend(&mut self, other: Self) {
        for (_, setting) in other.by_key {
            self.put(setting);
        }
    }

    /// Adds what another one has and this one has not.
    pub(super) fn fill(&mut self, other: &Self) {
        for (key, setting) in &other.by_key {
            if !self.by_key.contains_key(key) {
                self.put(setting.clone());
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Takes everything of which this holds.
    pub(super) fn take_where(&mut self, wanted: impl Fn(&Setting) -> bool) -> Self {
        let mut taken = Self::default();
        self.by_key.retain(|_, setting| {
            let is_wanted = wanted(setting);
            if is_wanted {
                taken.put(setting.clone());
            }
            !is_wanted
        });
        taken
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.by_key.values()
    }

    /// Takes a list as Kafka reads one: by commas, blanks around entries left out.
    pub(super) fn take_list(&mut self, key: &str) -> Option<(Vec<String>, Setting)> {
        let setting = self.take(key)?;
        Some((list(&setting.value), setting))
    }

    /// What became of everything that is left.
    pub(super) fn into_findings(self, rules: &[Rule]) -> Vec<Finding> {
        self.by_key
            .into_values()
            .map(|setting| setting.judge(rules))
            .collect()
    }
}

/// Entries of a list with commas.
pub(super) fn list(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Whether a name is one that people gave, and not something that slipped into its place.
pub(super) fn is_plain_name(name: &str) -> bool {
    const LONGEST: usize = 80;
    !name.is_empty()
        && name.len() <= LONGEST
        && name
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.'))
}

/// What becomes of settings by their names alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// A whole key, or one that ends in `*`.
    pub(super) key: &'static str,
    pub(super) fate: Fate,
    pub(super) why: &'static str,
    pub(super) instead: &'static str,
}

impl Rule {
    pub(super) const fn unneeded(key: &'static str, why: &'static str) -> Self {
        Self {
            key,
            fate: Fate::Unneeded,
            why,
            instead: "",
        }
    }

    pub(super) const fn lost(key: &'static str, why: &'static str, instead: &'static str) -> Self {
        Self {
            key,
            fate: Fate::Lost,
            why,
            instead,
        }
    }

    fn covers(&self, key: &str) -> bool {
        match self.key.strip_suffix('*') {
            Some(prefix) => key.starts_with(prefix),
            None => key == self.key,
        }
    }
}

impl Setting {
    pub(super) fn is_true(&self) -> bool {
        self.value.trim().eq_ignore_ascii_case("true")
    }

    pub(super) fn is_false(&self) -> bool {
        self.value.trim().eq_ignore_ascii_case("false")
    }

    /// The number that the value stands for.
    pub(super) fn number<T: std::str::FromStr>(&self) -> Option<T> {
        self.value.trim().parse().ok()
    }

    pub(super) fn lost(&self, why: impl Into<String>) -> Finding {
        self.finding(Fate::Lost, why)
    }

    pub(super) fn unneeded(&self, why: impl Into<String>) -> Finding {
        self.finding(Fate::Unneeded, why)
    }

    pub(super) fn finding(&self, fate: Fate, why: impl Into<String>) -> Finding {
        Finding {
            fate,
            key: self.citable().map(str::to_owned),
            place: self.place.clone(),
            near: None,
            why: why.into(),
            instead: None,
        }
    }

    /// The key, if it is one for certain. A line that goes on by mistake and a separator that is
    /// missing make a secret a key.
    fn citable(&self) -> Option<&str> {
        const LONGEST: usize = 120;
        let shape =
            |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-' | '>');
        if !self.written.chars().all(shape) || self.written.len() > LONGEST {
            return None;
        }
        // What has been taken off is known.
        let has_known_prefix = self.written.len() > self.key.len();
        let is_like_others = || {
            has_known_prefix
                || KNOWN_FAMILIES
                    .iter()
                    .any(|family| self.key.starts_with(family))
                || (is_citable(&self.key) && self.key.contains('.') && !self.may_go_on)
        };
        let is_known = crate::client::keys::find(&self.key).is_some()
            || KNOWN_WORDS.contains(&self.key.as_str())
            || (!self.value.is_empty() && !looks_secret(&self.key) && is_like_others());
        is_known.then_some(self.written.as_str())
    }

    fn judge(&self, rules: &[Rule]) -> Finding {
        let Some(rule) = rules.iter().find(|rule| rule.covers(&self.key)) else {
            return self
                .lost("kmirror does not know what it does")
                .instead("leave it out if nothing depends on it");
        };
        let mut finding = self.finding(rule.fate, rule.why);
        if !rule.key.ends_with('*') {
            // The name is in the table, so it may be repeated.
            finding.key = Some(self.written.clone());
        }
        if !rule.instead.is_empty() {
            finding = finding.instead(rule.instead);
        }
        finding
    }
}

/// Keys of one word.
const KNOWN_WORDS: &[&str] = &["enabled", "groups", "name", "topics", "transforms"];

/// First words of keys that are shown with whatever follows.
const KNOWN_FAMILIES: &[&str] = &[
    "topic.",
    "offset.",
    "src.",
    "dest.",
    "schema.",
    "confluent.",
    "provenance.",
    "transforms.",
    "predicates.",
    "producer.",
    "consumer.",
    "admin.",
    "config.",
    "status.",
    "errors.",
    "sync.",
    "emit.",
    "refresh.",
    "replication.",
];
