//! Client properties that stand among the settings of something else, or in a file of their own.
//!
//! A property that the table of client keys knows to be harmless is copied; a secret, and whatever
//! looks as if it held one, becomes a reference that says where the value is to be put.

use std::path::Path;

use super::input::Input;
use super::model::{Bootstrap, ClientValue, ClusterDraft, Draft, Fate, Finding, Place};
use super::settings::{Setting, Settings, list};
use crate::client::keys::{self, Effect, Key, Value};
use crate::client::sensitive::looks_secret;
use crate::client::url::HttpUrl;

/// Where a key has several spellings, the addresses of the first brokers.
const BOOTSTRAP: [&str; 2] = ["bootstrap.servers", "metadata.broker.list"];

/// Names the properties file of a client as it is, unless it holds what kmirror refuses; then its
/// properties are taken over one by one.
pub(super) fn of_file(cluster: &mut ClusterDraft, input: &Input, spelled: &Path) {
    let settings = Settings::of_properties(input);
    let carried_out = |setting: &Setting| {
        !BOOTSTRAP.contains(&setting.key.as_str())
            && keys::find(&setting.key)
                .is_some_and(|key| matches!(key.effect, Effect::CarriedOut(_)))
    };
    let refused = |setting: &Setting| {
        keys::find(&setting.key).is_some_and(|key| matches!(key.effect, Effect::Refused(_)))
    };
    let path = spelled
        .to_str()
        .filter(|path| !path.contains(char::is_control));
    let (true, false, Some(path)) = (
        settings.iter().any(carried_out),
        settings.iter().any(refused),
        path,
    ) else {
        return inline(cluster, settings);
    };
    cluster.properties_file = Some(path.to_owned());
    for setting in settings.iter() {
        if let Some(finding) = without_effect(setting) {
            cluster.findings.push(finding);
        }
    }
    if !BOOTSTRAP.iter().any(|key| settings.get(key).is_some()) {
        let place = input.place(0);
        need_bootstrap(cluster, &place);
    }
}

/// Takes the properties over one by one.
pub(super) fn inline(cluster: &mut ClusterDraft, mut settings: Settings) {
    for key in BOOTSTRAP {
        if let Some(setting) = settings.take(key) {
            bootstrap(cluster, &setting);
        }
    }
    for setting in settings.iter() {
        match keys::find(&setting.key) {
            Some(key) if matches!(key.effect, Effect::CarriedOut(_)) => {
                carry_out(cluster, key, setting);
            }
            Some(key) => {
                let (Effect::Refused(why) | Effect::NoEffect(why) | Effect::CarriedOut(why)) =
                    key.effect;
                let finding = if matches!(key.effect, Effect::Refused(_)) {
                    setting
                        .lost(format!("{} is not supported", key.meaning))
                        .instead(why)
                        .near("client")
                } else {
                    setting.unneeded(why)
                };
                cluster.findings.push(finding);
            }
            None => cluster.findings.extend(without_effect(setting)),
        }
    }
}

/// Says that the addresses of the brokers are not known.
pub(super) fn need_bootstrap(cluster: &mut ClusterDraft, place: &Place) {
    let name = variable(&cluster.name, "bootstrap.servers");
    let why = format!(
        "the addresses of the cluster are not in it; put them into the environment variable {name}, or here"
    );
    let finding = Finding::to_provide("bootstrap.servers", place.clone(), why);
    cluster.findings.push(finding.near("bootstrap_servers"));
    cluster.bootstrap = Some(Bootstrap::Env(name));
}

fn bootstrap(cluster: &mut ClusterDraft, setting: &Setting) {
    let servers = list(&setting.value);
    let is_address = |server: &String| {
        let legal = |char: char| char.is_ascii_alphanumeric() || "._-:[]".contains(char);
        server.chars().all(legal) && server.contains(':')
    };
    if servers.is_empty() || !servers.iter().all(is_address) {
        let name = variable(&cluster.name, "bootstrap.servers");
        let why = format!(
            "it is no list of HOST:PORT as it stands there; put the addresses into the environment variable {name}, or here"
        );
        let finding = setting.finding(Fate::ToProvide, why);
        cluster.findings.push(finding.near("bootstrap_servers"));
        cluster.bootstrap = Some(Bootstrap::Env(name));
        return;
    }
    cluster.bootstrap = Some(Bootstrap::Servers(servers));
}

fn carry_out(cluster: &mut ClusterDraft, key: &Key, setting: &Setting) {
    if is_plain(key, &setting.value) {
        if key.value == Value::Path {
            let why = "it is a file on the machine that the setting was made for; kmirror's machines need it under this path, too";
            let finding = setting.finding(Fate::ToProvide, why);
            let near = format!("client.{}", setting.key);
            cluster.findings.push(finding.near(near));
        }
        let value = ClientValue::Plain(setting.value.clone());
        cluster.client.insert(setting.key.clone(), value);
        return;
    }
    let name = variable(&cluster.name, &setting.key);
    let why = if setting.value.is_empty() {
        format!(
            "its value is not given away; put it into the environment variable {name}, or name a file that holds it: {{ file = \"PATH\" }}"
        )
    } else if setting.value.contains("${") {
        format!(
            "it has a placeholder that Connect expands; put what it stands for into the environment variable {name}"
        )
    } else {
        format!(
            "put the value that stands there into the environment variable {name}, or name a file that holds it: {{ file = \"PATH\" }}"
        )
    };
    let near = format!("client.{}", setting.key);
    let finding = setting.finding(Fate::ToProvide, why).near(near);
    cluster.findings.push(finding);
    cluster
        .client
        .insert(setting.key.clone(), ClientValue::Env(name));
}

/// What is to be said about a property that changes nothing.
fn without_effect(setting: &Setting) -> Option<Finding> {
    let why = match keys::find(&setting.key) {
        Some(key) => match key.effect {
            Effect::NoEffect(why) => why,
            Effect::CarriedOut(_) | Effect::Refused(_) => return None,
        },
        None => keys::foreign(&setting.key).unwrap_or("no client has such a property"),
    };
    Some(setting.unneeded(why))
}

/// The environment variable that a cluster's property is looked up in.
pub(super) fn variable(cluster: &str, key: &str) -> String {
    let upper = |text: &str| -> String {
        text.chars()
            .map(|char| {
                if char.is_ascii_alphanumeric() {
                    char.to_ascii_uppercase()
                } else {
                    '_'
                }
            })
            .collect()
    };
    let name = format!("{}_{}", upper(cluster), upper(key));
    // A shell's variable does not begin with a digit.
    if name.starts_with(|char: char| char.is_ascii_digit()) {
        format!("K_{name}")
    } else {
        name
    }
}

/// Whether a value may be shown: that of a key which is known to be harmless, and which holds
/// nothing that a mistake may have brought there.
fn is_plain(key: &Key, value: &str) -> bool {
    const LONGEST: usize = 500;
    if key.is_secret() || value.is_empty() {
        return false;
    }
    if key.value == Value::PemPublic {
        return !value.contains("PRIVATE") && value.trim_start().starts_with("-----BEGIN ");
    }
    let legal = |char: char| char.is_alphanumeric() || "._:/\\,+@- ~()".contains(char);
    if value.len() > LONGEST || !value.chars().all(legal) {
        return false;
    }
    if key.value == Value::Url {
        return value.starts_with("file:") || HttpUrl::of(value).is_ok();
    }
    let mut parts = value.split([' ', ',', ':']).filter(|part| !part.is_empty());
    let first = parts.next();
    let is_alone = parts.next().is_none();
    let is_suspicious = || value.split([' ', ',', ':']).any(looks_secret);
    first.is_none() || is_alone || !is_suspicious()
}

/// The clusters that several inputs may name, each once.
#[derive(Default)]
pub(super) struct Clusters {
    /// What reaching each takes, secrets included, with its name.
    known: Vec<(Vec<(String, String)>, String)>,
}

impl Clusters {
    /// Adds a cluster that is reached with these settings, unless it is there already. Returns its name.
    pub(super) fn add(
        &mut self,
        draft: &mut Draft,
        wanted: &str,
        settings: Settings,
        place: &Place,
    ) -> String {
        let mut reached: Vec<_> = settings
            .iter()
            .filter(|setting| setting.key != "client.id")
            .filter(|setting| {
                keys::find(&setting.key)
                    .is_some_and(|key| matches!(key.effect, Effect::CarriedOut(_)))
            })
            .map(|setting| (setting.key.clone(), setting.value.clone()))
            .collect();
        reached.sort();
        let is_addressed = reached
            .iter()
            .any(|(key, _)| BOOTSTRAP.contains(&key.as_str()));
        let known = self.known.iter().find(|(known, _)| *known == reached);
        if let Some((_, name)) = known.filter(|_| is_addressed) {
            return name.clone();
        }
        let mut cluster = draft.new_cluster(wanted);
        inline(&mut cluster, settings);
        if cluster.bootstrap.is_none() {
            need_bootstrap(&mut cluster, place);
        }
        let name = cluster.name.clone();
        draft.clusters.push(cluster);
        self.known.push((reached, name.clone()));
        name
    }
}
