//! The one table of link configs: their names, defaults and values, and what becomes of each here.
//!
//! Names, defaults and ranges are those that Cluster Linking's own servers answer with. Every config is carried
//! out, kept and read back because it tunes something that this engine decides itself, or refused because leaving it
//! out in silence would harm whoever relies on it.

use crate::client::keys as client;
use crate::nearest::nearest;

/// What precedes the name of a config about the cluster that holds the link.
pub const LOCAL: &str = "local.";

pub const LINK_MODE: &str = "link.mode";
pub const CONNECTION_MODE: &str = "connection.mode";
pub const REMOTE_CONNECTION_MODE: &str = "remote.link.connection.mode";
pub const BOOTSTRAP_SERVERS: &str = "bootstrap.servers";
pub const PREFIX: &str = "cluster.link.prefix";
pub const PAUSED: &str = "cluster.link.paused";
pub const AUTO_CREATE: &str = "auto.create.mirror.topics.enable";
pub const AUTO_CREATE_FILTERS: &str = "auto.create.mirror.topics.filters";
pub const START: &str = "mirror.start.offset.spec";
pub const CONFIG_SYNC_MS: &str = "topic.config.sync.ms";
pub const GROUP_FILTERS: &str = "consumer.offset.group.filters";
pub const ACL_FILTERS: &str = "acl.filters";

/// A link config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// What it is where nobody sets it.
    pub default: Option<&'static str>,
    pub effect: Effect,
    /// Whether it is fixed once the link is there.
    pub is_fixed: bool,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// Never read back.
    Secret,
    /// One of these, in any letter case.
    Word(&'static [&'static str]),
    Bool,
    /// From and to, both allowed.
    Number(i64, i64),
    /// `HOST:PORT` with commas.
    Servers,
    /// JSON with a list of this name.
    Filters(&'static str),
    /// `earliest`, `latest` or an ISO 8601 time.
    Start,
    /// The beginning of a topic name.
    Prefix,
}

/// What becomes of a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    CarriedOut,
    /// Read back, and nothing else: why.
    Stored(&'static str),
    /// Only with the value that it has by default: why, and what to do instead.
    OnlyDefault(&'static str),
}

const ENGINE: &str = "workers decide this themselves";
const CONNECTIONS: &str = "kmirror keeps and renews its connections by itself";
const LOOKS: &str = "workers look every three seconds";
const LISTENER: &str = "workers reach the cluster as their own file says";
const GROUPS: &str = "offsets of consumer groups are not synced, so its filters select nothing";
const ACLS: &str = "ACLs are not synced, so its filters select nothing";
const NO_GROUPS: &str = "the built-in engine does not sync offsets of consumer groups: groups at the destination begin with what they \
                         commit there (kafka-consumer-groups --reset-offsets sets them once)";
const NO_ACLS: &str =
    "the built-in engine does not sync ACLs: create those that are needed at the destination";
const NO_GROUP_PREFIX: &str =
    "the built-in engine does not sync offsets of consumer groups, so their names get no prefix";
const NO_CHOICE: &str = "a mirror takes over every config that its source topic has set itself: give a mirror that is to differ \
                         its own value with `configs` when it is created";

const MODES: Kind = Kind::Word(&["DESTINATION", "SOURCE", "BIDIRECTIONAL"]);
const CONNECTS: Kind = Kind::Word(&["OUTBOUND", "INBOUND"]);
const PROTOCOLS: Kind = Kind::Word(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]);
const MILLIS: Kind = Kind::Number(0, i64::MAX);
const TIMEOUT: Kind = Kind::Number(1, u32::MAX as i64);
const BYTES: Kind = Kind::Number(0, i32::MAX as i64);

const fn carried(name: &'static str, kind: Kind, default: Option<&'static str>) -> Key {
    Key {
        name,
        kind,
        default,
        effect: Effect::CarriedOut,
        is_fixed: false,
    }
}

const fn fixed(name: &'static str, kind: Kind, default: Option<&'static str>) -> Key {
    Key {
        is_fixed: true,
        ..carried(name, kind, default)
    }
}

const fn stored(name: &'static str, kind: Kind, default: &'static str, why: &'static str) -> Key {
    Key {
        effect: Effect::Stored(why),
        ..carried(name, kind, Some(default))
    }
}

const fn only_default(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    why: &'static str,
) -> Key {
    Key {
        effect: Effect::OnlyDefault(why),
        ..carried(name, kind, default)
    }
}

/// Everything but what says how clusters are reached safely.
const KEYS: &[Key] = &[
    fixed(LINK_MODE, MODES, Some("DESTINATION")),
    fixed(CONNECTION_MODE, CONNECTS, Some("OUTBOUND")),
    carried(BOOTSTRAP_SERVERS, Kind::Servers, None),
    fixed(PREFIX, Kind::Prefix, None),
    carried(PAUSED, Kind::Bool, Some("false")),
    carried(AUTO_CREATE, Kind::Bool, Some("false")),
    carried(AUTO_CREATE_FILTERS, Kind::Filters("topicFilters"), Some("")),
    carried(START, Kind::Start, Some("earliest")),
    carried(CONFIG_SYNC_MS, Kind::Number(1_000, i64::MAX), Some("5000")),
    only_default("topic.config.sync.include", Kind::Text, None, NO_CHOICE),
    carried("request.timeout.ms", TIMEOUT, Some("30000")),
    carried("socket.connection.setup.timeout.ms", TIMEOUT, Some("10000")),
    only_default(
        "consumer.offset.sync.enable",
        Kind::Bool,
        Some("false"),
        NO_GROUPS,
    ),
    stored(
        "consumer.offset.sync.ms",
        Kind::Number(1_000, i64::MAX),
        "30000",
        GROUPS,
    ),
    stored(GROUP_FILTERS, Kind::Filters("groupFilters"), "", GROUPS),
    only_default(
        "consumer.group.prefix.enable",
        Kind::Bool,
        Some("false"),
        NO_GROUP_PREFIX,
    ),
    only_default("acl.sync.enable", Kind::Bool, Some("false"), NO_ACLS),
    stored("acl.sync.ms", Kind::Number(1_000, i64::MAX), "5000", ACLS),
    stored(ACL_FILTERS, Kind::Filters("aclFilters"), "", ACLS),
    stored("availability.check.ms", MILLIS, "60000", LOOKS),
    stored(
        "availability.check.consecutive.failure.threshold",
        Kind::Number(1, i64::MAX),
        "5",
        LOOKS,
    ),
    stored(
        "client.dns.lookup",
        Kind::Text,
        "use_all_dns_ips",
        CONNECTIONS,
    ),
    stored(
        "cluster.link.retry.timeout.ms",
        MILLIS,
        "300000",
        CONNECTIONS,
    ),
    stored("connections.max.idle.ms", MILLIS, "600000", CONNECTIONS),
    stored("default.api.timeout.ms", MILLIS, "60000", CONNECTIONS),
    stored("metadata.max.age.ms", MILLIS, "300000", LOOKS),
    stored(
        "num.cluster.link.fetchers",
        Kind::Number(1, i32::MAX as i64),
        "1",
        ENGINE,
    ),
    stored("reconnect.backoff.ms", MILLIS, "50", CONNECTIONS),
    stored("reconnect.backoff.max.ms", MILLIS, "1000", CONNECTIONS),
    stored("replica.fetch.backoff.ms", MILLIS, "1000", ENGINE),
    stored("replica.fetch.max.bytes", BYTES, "5242880", ENGINE),
    stored("replica.fetch.min.bytes", BYTES, "1", ENGINE),
    stored(
        "replica.fetch.response.max.bytes",
        BYTES,
        "10485760",
        ENGINE,
    ),
    stored("replica.fetch.wait.max.ms", MILLIS, "500", ENGINE),
    stored(
        "replica.socket.receive.buffer.bytes",
        Kind::Number(-1, i32::MAX as i64),
        "-1",
        ENGINE,
    ),
    stored("replica.socket.timeout.ms", MILLIS, "30000", ENGINE),
    stored("retry.backoff.ms", MILLIS, "100", CONNECTIONS),
    stored(
        "socket.connection.setup.timeout.max.ms",
        MILLIS,
        "30000",
        CONNECTIONS,
    ),
    carried(REMOTE_CONNECTION_MODE, CONNECTS, None),
    Key {
        default: None,
        ..stored("local.listener.name", Kind::Text, "", LISTENER)
    },
    carried("local.bootstrap.servers", Kind::Servers, None),
];

/// How a cluster is reached safely; each of them is there with `local.`, too.
const SECURITY: &[(Key, &str)] = &[
    (
        carried("security.protocol", PROTOCOLS, Some("PLAINTEXT")),
        "local.security.protocol",
    ),
    (
        carried("sasl.mechanism", Kind::Text, Some("GSSAPI")),
        "local.sasl.mechanism",
    ),
    (
        carried("sasl.jaas.config", Kind::Secret, None),
        "local.sasl.jaas.config",
    ),
    (
        carried("sasl.login.callback.handler.class", Kind::Text, None),
        "local.sasl.login.callback.handler.class",
    ),
    (
        carried("sasl.oauthbearer.token.endpoint.url", Kind::Text, None),
        "local.sasl.oauthbearer.token.endpoint.url",
    ),
    (
        carried("sasl.oauthbearer.scope", Kind::Text, None),
        "local.sasl.oauthbearer.scope",
    ),
    (
        carried("ssl.enabled.protocols", Kind::Text, Some("TLSv1.2,TLSv1.3")),
        "local.ssl.enabled.protocols",
    ),
    (
        stored(
            "ssl.protocol",
            Kind::Text,
            "TLSv1.3",
            "ssl.enabled.protocols says it",
        ),
        "local.ssl.protocol",
    ),
    (
        carried(
            "ssl.endpoint.identification.algorithm",
            Kind::Text,
            Some("https"),
        ),
        "local.ssl.endpoint.identification.algorithm",
    ),
    (
        carried("ssl.truststore.type", Kind::Text, Some("JKS")),
        "local.ssl.truststore.type",
    ),
    (
        carried("ssl.truststore.certificates", Kind::Secret, None),
        "local.ssl.truststore.certificates",
    ),
    (
        carried("ssl.keystore.type", Kind::Text, Some("JKS")),
        "local.ssl.keystore.type",
    ),
    (
        carried("ssl.keystore.key", Kind::Secret, None),
        "local.ssl.keystore.key",
    ),
    (
        carried("ssl.keystore.certificate.chain", Kind::Secret, None),
        "local.ssl.keystore.certificate.chain",
    ),
    (
        carried("ssl.key.password", Kind::Secret, None),
        "local.ssl.key.password",
    ),
];

/// Every config there is, in alphabetical order.
pub fn all() -> Vec<Key> {
    let security = SECURITY.iter().flat_map(|(key, local)| {
        let local = Key {
            name: local,
            ..*key
        };
        [*key, local]
    });
    let mut all: Vec<Key> = KEYS.iter().copied().chain(security).collect();
    all.sort_by_key(|key| key.name);
    all
}

/// The config of this name.
///
/// # Errors
/// Why there is none, with the one that was probably meant.
pub fn find(name: &str) -> Result<Key, String> {
    all()
        .into_iter()
        .find(|key| key.name == name)
        .ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> String {
    if name == "link.prefix" {
        return "`link.prefix` only repeats what `cluster.link.prefix` says: set that one"
            .to_owned();
    }
    let plain = name.strip_prefix(LOCAL).unwrap_or(name);
    let names_a_file = client::find(plain).is_some_and(|key| key.value == client::Value::Path);
    if names_a_file || plain.ends_with(".location") {
        return format!(
            "`{}` names a file, and files of the machines that workers run on are not read for links that are made over REST: \
             put the PEM text into `ssl.truststore.certificates`, `ssl.keystore.certificate.chain` and `ssl.keystore.key`",
            citable(name)
        );
    }
    let all = all();
    match nearest(name, all.iter().map(|key| key.name)) {
        Some(meant) => format!(
            "there is no link config `{}`: did you mean `{meant}`?",
            citable(name)
        ),
        None => format!("there is no link config `{}`", citable(name)),
    }
}

/// A name as it may be repeated: clients put anything into it, a password by mistake.
fn citable(name: &str) -> &str {
    if crate::client::interpret::is_citable(name) {
        name
    } else {
        "…"
    }
}

impl Key {
    pub fn is_sensitive(&self) -> bool {
        self.kind == Kind::Secret
    }

    /// Whether it says how a cluster is reached.
    pub fn is_connection(&self) -> bool {
        let plain = self.name.strip_prefix(LOCAL).unwrap_or(self.name);
        matches!(
            plain,
            BOOTSTRAP_SERVERS | "request.timeout.ms" | "socket.connection.setup.timeout.ms"
        ) || ["security.", "sasl.", "ssl."]
            .iter()
            .any(|family| plain.starts_with(family))
    }
}

/// The table of docs/link-configs.md.
pub fn markdown() -> String {
    use std::fmt::Write;
    let mut text = "| config | default | here |\n|---|---|---|\n".to_owned();
    for key in all() {
        if key.name.starts_with(LOCAL) && SECURITY.iter().any(|(_, local)| *local == key.name) {
            continue;
        }
        let default = match key.default {
            Some("") => "empty".to_owned(),
            Some(default) => format!("`{default}`"),
            None => String::new(),
        };
        let mut here = match key.effect {
            Effect::CarriedOut => "carried out".to_owned(),
            Effect::Stored(why) => format!("kept and read back, without effect: {why}"),
            Effect::OnlyDefault(why) => format!("anything but the default is refused: {why}"),
        };
        if key.is_fixed {
            here.push_str("; fixed once the link is there");
        }
        if key.is_sensitive() {
            here.push_str("; stored encrypted, reads as null");
        }
        let _ = writeln!(text, "| `{}` | {default} | {here} |", key.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_config_is_there_twice_and_every_default_is_a_value() {
        let mut seen = HashSet::new();
        for key in all() {
            assert!(seen.insert(key.name), "{}", key.name);
            if let Some(default) = key.default {
                assert_eq!(
                    super::super::configs::check_value(&key, default),
                    Ok(default.to_owned()),
                    "{}",
                    key.name
                );
            }
        }
        for (key, local) in SECURITY {
            assert_eq!(*local, format!("{LOCAL}{}", key.name));
            assert!(key.is_connection());
        }
    }

    /// What a client would understand of a link is a client's key, so that both mean the same.
    #[test]
    fn configs_that_reach_a_cluster_are_client_properties() {
        for (key, _) in SECURITY {
            let known = client::find(key.name);
            assert!(known.is_some(), "{}", key.name);
            assert!(
                !known.is_some_and(client::Key::is_secret) || key.is_sensitive(),
                "{}",
                key.name
            );
        }
    }

    #[test]
    fn what_does_not_exist_is_refused_with_what_was_probably_meant() {
        let refused = |name: &str| find(name).expect_err("unknown");
        let shown = [
            "bootstrap.server",
            "link.prefix",
            "ssl.truststore.location",
            "local.ssl.keystore.location",
            "hunter2 is my password",
            "schema.registry.url",
        ];
        insta::with_settings!({
            prepend_module_to_snapshot => false,
            snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
        }, {
            insta::assert_snapshot!("link_configs_unknown", shown.map(refused).join("\n"));
        });
    }

    #[test]
    fn the_documentation_has_the_table() {
        let page = include_str!("../../docs/link-configs.md");
        let table = markdown();
        if !page.contains(&table) {
            let path = std::env::temp_dir().join("link-configs-table.md");
            std::fs::write(&path, table).expect("is written");
            panic!("the table of docs/link-configs.md differs from {path:?}");
        }
    }
}
