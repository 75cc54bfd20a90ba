//! Which keys exist where, and what a misspelt one was probably meant to be.

use crate::nearest::nearest;

/// The kinds of table in a topology file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::topology) enum Kind {
    Root,
    Cluster,
    OwnedTopic,
    Link,
    Mirror,
    Selector,
    Rename,
    RenameRule,
    Groups,
    Acls,
    Limit,
    OnHole,
    EngineConfig,
    AtSource,
    Reference,
    Endpoint,
}

impl Kind {
    pub(in crate::topology) const ALL: [Self; 16] = [
        Self::Root,
        Self::Cluster,
        Self::OwnedTopic,
        Self::Link,
        Self::Mirror,
        Self::Selector,
        Self::Rename,
        Self::RenameRule,
        Self::Groups,
        Self::Acls,
        Self::Limit,
        Self::OnHole,
        Self::EngineConfig,
        Self::AtSource,
        Self::Reference,
        Self::Endpoint,
    ];

    pub(in crate::topology) fn keys(self) -> impl Iterator<Item = &'static str> {
        self.table().iter().map(|key| key.name)
    }

    pub(in crate::topology) fn knows(self, key: &str) -> bool {
        self.keys().any(|known| known == key) || (self == Self::Endpoint && key.starts_with("ssl."))
    }

    /// With an article, as in "no key of …".
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Root => "a topology file",
            Self::Cluster => "a cluster",
            Self::OwnedTopic => "an owned topic",
            Self::Link => "a link",
            Self::Mirror => "a mirror",
            Self::Selector => "a topic pattern",
            Self::Rename => "a rename",
            Self::RenameRule => "a rename rule",
            Self::Groups => "a link's `groups`",
            Self::Acls => "a link's `acls`",
            Self::Limit => "a link's `limit`",
            Self::OnHole => "a link's `on_hole`",
            Self::EngineConfig => "a link's `config`",
            Self::AtSource => "a link's `at_source`",
            Self::Reference => "a reference",
            Self::Endpoint => "an endpoint",
        }
    }

    /// Where such a table stands.
    fn place(self) -> &'static str {
        match self {
            Self::Root => "at the top of the file",
            Self::Cluster => "[clusters.NAME]",
            Self::OwnedTopic => "[clusters.NAME.topics.TOPIC]",
            Self::Link => "[links.NAME]",
            Self::Mirror => "[links.NAME.mirrors.TOPIC]",
            Self::Selector => "topics = [{ regex = \"…\" }]",
            Self::Rename => "rename = { prefix = \"…\" }",
            Self::RenameRule => "rename = [{ regex = \"…\", to = \"…\" }]",
            Self::Groups => "groups = { … }",
            Self::Acls => "acls = { … }",
            Self::Limit => "limit = { … }",
            Self::OnHole => "on_hole = { … }",
            Self::EngineConfig => "config = { … }",
            Self::AtSource => "[links.NAME.at_source]",
            Self::Reference => "{ env = \"NAME\" } or { file = \"PATH\" }",
            Self::Endpoint => "[clusters.NAME.rest] and [clusters.NAME.connect]",
        }
    }

    /// Whether a table of this kind has a name of the user's choice in its header.
    pub(super) fn is_named(self) -> bool {
        matches!(
            self,
            Self::Cluster | Self::OwnedTopic | Self::Link | Self::Mirror
        )
    }
}

/// What other tools and earlier habits call our keys.
const ALIASES: &[(&str, &str)] = &[
    ("bootstrap", "bootstrap_servers"),
    ("brokers", "bootstrap_servers"),
    ("servers", "bootstrap_servers"),
    ("id", "cluster_id"),
    ("properties", "properties_file"),
    ("client_properties", "client"),
    ("command_config", "properties_file"),
    ("variable", "env"),
    ("path", "file"),
    ("uri", "url"),
    ("user", "username"),
    ("from", "source"),
    ("src", "source"),
    ("to", "destination"),
    ("dest", "destination"),
    ("target", "destination"),
    ("include", "topics"),
    ("whitelist", "topics"),
    ("blacklist", "exclude"),
    ("name", "as"),
    ("rename", "as"),
    ("consumer_groups", "groups"),
    ("bandwidth", "limit"),
    ("rate", "bytes_per_second"),
    ("replicas", "replication_factor"),
    ("configs", "config"),
    ("version", "kmirror"),
];

/// The key of this kind of table that was most likely meant.
pub(super) fn suggest(kind: Kind, written: &str) -> Option<&'static str> {
    let written = normalise(written);
    if let Some(key) = kind.keys().find(|key| *key == written) {
        return Some(key);
    }
    let nearest = nearest(&written, kind.keys());
    nearest.or_else(|| {
        ALIASES
            .iter()
            .find(|(alias, key)| *alias == written && kind.knows(key))
            .map(|(_, key)| *key)
    })
}

/// Whether it is a key of this kind of table, but for dots, hyphens and capitals.
pub(super) fn is_spelling(kind: Kind, written: &str) -> bool {
    kind.knows(&normalise(written))
}

/// Help for a key that is unknown in a table of this kind.
pub(super) fn help(kind: Kind, written: &str) -> String {
    if let Some(key) = suggest(kind, written) {
        return format!("did you mean `{key}`?");
    }
    let normalised = normalise(written);
    let elsewhere: Vec<_> = Kind::ALL
        .into_iter()
        .filter(|other| *other != kind && other.knows(&normalised))
        .map(|other| format!("{}, {}", other.noun(), other.place()))
        .collect();
    if !elsewhere.is_empty() {
        return format!("`{normalised}` is a key of {}", elsewhere.join("; of "));
    }
    let keys: Vec<_> = kind.keys().map(|key| format!("`{key}`")).collect();
    format!("the keys of {} are {}", kind.noun(), keys.join(", "))
}

/// `bootstrap.servers`, `bootstrap-servers` and `bootstrapServers` are `bootstrap_servers`.
fn normalise(key: &str) -> String {
    let mut normalised = String::new();
    for char in key.chars() {
        if char.is_ascii_uppercase() {
            if !normalised.is_empty() && !normalised.ends_with('_') {
                normalised.push('_');
            }
            normalised.push(char.to_ascii_lowercase());
        } else if char == '-' || char == '.' {
            normalised.push('_');
        } else {
            normalised.push(char);
        }
    }
    normalised
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_keys_get_their_neighbour() {
        for (kind, written, meant) in [
            (Kind::Link, "topcis", Some("topics")),
            (Kind::Link, "stat", Some("state")),
            (Kind::Link, "auto-create", Some("auto_create")),
            (Kind::Link, "autoCreate", Some("auto_create")),
            (
                Kind::Cluster,
                "bootstrap.servers",
                Some("bootstrap_servers"),
            ),
            (Kind::Cluster, "bootstrap_server", Some("bootstrap_servers")),
            (Kind::Link, "from", Some("source")),
            (Kind::Root, "link", Some("links")),
            (Kind::Mirror, "rename", Some("as")),
            (Kind::Link, "partitions", None),
            (Kind::Mirror, "x", None),
        ] {
            assert_eq!(suggest(kind, written), meant, "{written}");
        }
    }

    #[test]
    fn a_key_in_the_wrong_table_is_shown_its_home() {
        let text = help(Kind::Link, "partitions");
        assert_eq!(
            text,
            "`partitions` is a key of an owned topic, [clusters.NAME.topics.TOPIC]"
        );
    }
}
