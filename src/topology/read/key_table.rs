//! The table of keys: each with what it takes, what is the case without it, and what it is for.
//!
//! The reader knows no key that is not here, the JSON schema is made of it, and tests compare it
//! with the tables in docs/topology.md.

use super::keys::Kind;
use crate::topology::engines::{Engine, Setting, Support};

/// A key of one kind of table.
#[derive(Clone, Copy, Debug)]
pub(in crate::topology) struct Key {
    pub(in crate::topology) name: &'static str,
    pub(in crate::topology) takes: Takes,
    pub(in crate::topology) without: Without,
    pub(in crate::topology) asks: Asks,
    /// One or two sentences, in Markdown.
    pub(in crate::topology) about: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub(in crate::topology) enum Takes {
    /// The format version.
    Version,
    Text,
    Bool,
    /// A whole number from 1 on.
    Count {
        most: i64,
    },
    Words(&'static [Word]),
    /// A duration such as `10s`.
    Duration,
    /// A size such as `200MB`.
    Size,
    /// `HOST:PORT`, several in one string or an array, or references.
    Servers,
    /// Client properties.
    Client,
    /// Those of them that are about TLS, under a key that is the first part of their names.
    Tls,
    /// A string or a reference to one.
    TextOrReference,
    /// Names, globs and regexes.
    Selectors,
    /// A regex.
    Regex,
    /// A template, a prefix or rules.
    Rename,
    /// A word or an RFC 3339 time.
    Start,
    /// Topic configs.
    Config,
    /// Link configs.
    LinkConfig,
    /// A table of its own kind.
    Table(Kind),
    /// Tables by names of the user's choice.
    Named(Kind),
}

/// A word that a key takes, and what it asks of the engine.
#[derive(Clone, Copy, Debug)]
pub(in crate::topology) struct Word {
    pub(in crate::topology) text: &'static str,
    pub(in crate::topology) asks: Option<Setting>,
}

/// What a key asks of the engine by being there.
#[derive(Clone, Copy, Debug)]
pub(in crate::topology) enum Asks {
    Nothing,
    For(Setting),
}

/// Why no engine carries the setting out, if none does.
pub(in crate::topology) fn refusal(setting: Setting) -> Option<&'static str> {
    let mut why = None;
    for engine in Engine::ALL {
        match engine.support(setting) {
            Support::Yes => return None,
            Support::No { why: reason, .. } => why = Some(reason),
        }
    }
    why
}

impl Key {
    /// Why the key is refused whatever its value, if it is.
    pub(in crate::topology) fn refusal(&self) -> Option<&'static str> {
        match self.asks {
            Asks::Nothing => None,
            Asks::For(setting) => refusal(setting),
        }
    }
}

const fn plain(text: &'static str) -> Word {
    Word { text, asks: None }
}

const fn asking(text: &'static str, setting: Setting) -> Word {
    Word {
        text,
        asks: Some(setting),
    }
}

/// What is the case when a key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::topology) enum Without {
    /// It has to be there.
    Required,
    /// As if this had been written, in TOML.
    Value(&'static str),
    /// Said in words.
    Words(&'static str),
}

/// Rows of the form `"name" what-it-takes, what-without => "about";`, with `for Setting` before the
/// arrow where being there asks for something that not every engine does.
macro_rules! rows {
    ($($name:literal $takes:expr, $without:expr $(, for $setting:expr)? => $about:literal;)*) => {
        &[$(Key {
            name: $name,
            takes: $takes,
            without: $without,
            asks: rows!(@asks $($setting)?),
            about: $about,
        },)*]
    };
    (@asks) => { Asks::Nothing };
    (@asks $setting:expr) => { Asks::For($setting) };
}

use Takes::{
    Bool, Client, Config, Count, Duration, LinkConfig, Named, Regex, Rename, Selectors, Servers,
    Size, Start, Table, Text, TextOrReference, Tls, Version,
};
use Without::{Required, Value, Words};

const REPLICATION_FACTOR: Takes = Count {
    most: i16::MAX as i64,
};

const ROOT: &[Key] = rows! {
    "kmirror" Version, Required => "Format version of the file. It is the number that the file's meaning is bound to.";
    "clusters" Named(Kind::Cluster), Words("none") => "The Kafka clusters, by a name of your choice.";
    "links" Named(Kind::Link), Words("none") => "The links between clusters, by a name of your choice.";
};

const CLUSTER: &[Key] = rows! {
    "title" Text, Words("none") => "What people call the cluster.";
    "bootstrap_servers" Servers, Words("those of the properties file, else required") => "Brokers to begin with, as `HOST:PORT`: one string with commas, or an array. IPv6 addresses are in brackets. A reference, such as `{ env = \"NAME\" }`, may stand for the whole or for one of them.";
    "properties_file" Text, Words("none") => "Path of a Java properties file, as `kafka-topics --command-config` takes it, relative to this file.";
    "client" Client, Words("none") => "Client properties as Kafka or librdkafka spell them. They win over those of the properties file.";
    "rest" Table(Kind::Endpoint), Words("none") => "The REST API of the cluster's brokers. The built-in engine speaks to brokers only and does not ask it.";
    "connect" Table(Kind::Endpoint), Words("none") => "A Kafka Connect cluster. The built-in engine speaks to brokers only and does not ask it.";
    "cluster_id" Text, Words("any") => "The id that the cluster has to report. On another cluster nothing is planned or done.";
    "topics" Named(Kind::OwnedTopic), Words("none") => "Topics that this file owns on the cluster, by name. They may be mirrored and are never mirrors.";
};

const OWNED_TOPIC: &[Key] = rows! {
    "partitions" Count { most: i32::MAX as i64 }, Words("the broker's") => "Number of partitions. It can grow and never shrink.";
    "replication_factor" REPLICATION_FACTOR, Words("the broker's") => "Number of replicas of each partition.";
    "state" Takes::Words(&[plain("active"), plain("absent")]), Value("\"active\"") => "Whether there is to be such a topic: `absent` deletes it, if `--allow-delete` says so too.";
    "config" Config, Words("none") => "Topic configs as Kafka spells them, such as `\"retention.ms\" = 604800000`.";
    "other_configs" Takes::Words(&[plain("keep"), plain("reset")]), Value("\"keep\"") => "What becomes of configs that are set on the topic and that this file does not name, also of those that were taken out of it: they stay and are mentioned, or are reset to what the topic inherits.";
};

const LINK: &[Key] = rows! {
    "source" Text, Required => "Name of the cluster that is copied from.";
    "destination" Text, Required => "Name of the cluster that is copied to.";
    "topics" Selectors, Words("none; then `mirrors` names the topics") => "Topics to mirror: names, globs such as `payments-*`, and `{ regex = \"…\" }`. All have to match the whole name. Internal topics match no pattern.";
    "exclude" Selectors, Words("none") => "Names and patterns that are not mirrored. It wins over everything else.";
    "rename" Rename, Words("the same name") => "Names at the destination: a template such as `\"${topic}.replica\"`, `{ prefix = \"east.\" }`, or rules by regex.";
    "auto_create" Bool, Value("true") => "Whether running workers create mirrors of topics that come to match later, without another apply.";
    "start" Start, Value("\"earliest\"") => "Where a mirror that has never copied anything begins: `\"earliest\"`, `\"latest\"`, or an RFC 3339 time with its offset from UTC.";
    "offsets" Takes::Words(&[asking("preserve", Setting::OffsetsPreserve), asking("translate", Setting::OffsetsTranslate)]), Value("\"preserve\"") => "What is asked of destination offsets: `preserve` gives every record the offset that it has at the source, `translate` keeps an exact map.";
    "on_hole" Table(Kind::OnHole), Words("none"), for Setting::OnHole => "What is done, with `offsets = \"preserve\"`, about many offsets in a row for which the source has no record.";
    "timestamps" Takes::Words(&[plain("as-consumed"), asking("original", Setting::TimestampsOriginal)]), Value("\"as-consumed\"") => "Which timestamps consumers of a mirror see: those that they would see at the source, or the producer's own also where the source stamps on append.";
    "replication_factor" REPLICATION_FACTOR, Words("the source topic's") => "Number of replicas of the mirrors.";
    "state" Takes::Words(&[plain("active"), plain("paused"), asking("absent", Setting::LinkAbsent)]), Value("\"active\"") => "What the link's mirrors do, unless their own state says otherwise; `absent` deletes the link, once none of its mirrors is left.";
    "moved" Text, Words("none") => "The link's former name, when it was renamed in the file.";
    "on_foreign_write" Takes::Words(&[plain("stop"), asking("translate", Setting::ForeignWriteTranslate)]), Value("\"stop\"") => "What a mirror does whose topic somebody else wrote into: it stops, or, with `offsets = \"translate\"`, goes on behind that.";
    "provenance_header" Bool, Value("false"), for Setting::ProvenanceHeader => "Whether each copied record says in a header which cluster and topic it came from, and records that came from the very topic that is written to are left out. Links may lead back to where they began where all of them have it.";
    "check_interval" Duration, Words("the engine's"), for Setting::CheckInterval => "How often idle mirrors are looked at, such as `\"30s\"`.";
    "initiated_by" Takes::Words(&[plain("destination"), asking("source", Setting::SourceInitiated)]), Value("\"destination\"") => "Whose side opens the connection between the clusters.";
    "properties_file" Text, Words("none"), for Setting::LinkProperties => "Path of a Java properties file with keys of the engine's own.";
    "engine" Takes::Words(&[plain("kmirror"), plain("cluster-link")]), Value("\"kmirror\"") => "What moves the data: kmirror's own workers, or Cluster Linking inside the destination's brokers.";
    "mirrors" Named(Kind::Mirror), Words("none") => "Settings of single mirrors, by the name of the source topic. A topic that is named here is mirrored.";
    "groups" Table(Kind::Groups), Words("none"), for Setting::Groups => "Consumer groups whose offsets are synced.";
    "acls" Table(Kind::Acls), Words("none") => "Whether ACLs of the topics are synced.";
    "limit" Table(Kind::Limit), Words("as fast as brokers allow"), for Setting::Limit => "How fast the link may copy.";
    "config" Table(Kind::EngineConfig), Words("none") => "Keys of the engine's own.";
    "at_source" Table(Kind::AtSource), Words("none"), for Setting::AtSource => "What the half at the source has, of a link that is begun there.";
    "bidirectional" Text, Words("none"), for Setting::Bidirectional => "The name that brokers know the link by, where it is one direction of a link in both: two links of the file with swapped ends have the same.";
};

const MIRROR: &[Key] = rows! {
    "as" Text, Words("what `rename` gives") => "The mirror's whole name at the destination. It wins over `rename`.";
    "state" Takes::Words(&[
        plain("active"),
        plain("paused"),
        asking("promoted", Setting::Promoted),
        asking("failed-over", Setting::FailedOver),
        asking("absent", Setting::MirrorAbsent),
    ]), Words("the link's") => "What this mirror does. `promoted` and `failed-over` hand its topic over for good, after all that the source has is copied or at once; `absent` deletes the topic at the destination, if `--allow-delete` says so too.";
    "replication_factor" REPLICATION_FACTOR, Words("the link's") => "Number of replicas of this mirror.";
    "config" Config, Words("none") => "Topic configs that win over the source topic's.";
};

const GROUPS: &[Key] = rows! {
    "include" Selectors, Words("all") => "Names and patterns of groups that are synced.";
    "exclude" Selectors, Words("none") => "Names and patterns of groups that are not synced.";
    "interval" Duration, Words("the engine's") => "How often offsets are synced, such as `\"10s\"`.";
};

const ACLS: &[Key] = rows! {
    "sync" Bool, Value("false"), for Setting::Acls => "Whether ACLs of the source topics are kept at the destination.";
};

const LIMIT: &[Key] = rows! {
    "bytes_per_second" Size, Words("none") => "The total of all workers, such as `\"200MB\"`.";
};

const ON_HOLE: &[Key] = rows! {
    "larger_than" Count { most: i64::MAX }, Value("1000000") => "Up to so many missing offsets in a row are taken up by control markers, 78 bytes each.";
    "then" Takes::Words(&[plain("stop"), plain("translate")]), Value("\"stop\"") => "What a partition does about more: it stops, or its offsets are translated from there on.";
};

const ENGINE_CONFIG: &[Key] = rows! {
    "acks" Takes::Words(&[plain("all"), plain("1")]), Value("\"all\"") => "When a leader acknowledges what is written: once all in-sync replicas have it, or at once. Nothing counts as copied before all of them have it.";
};

const AT_SOURCE: &[Key] = rows! {
    "properties_file" Text, Words("none") => "Path of a Java properties file with link configs.";
    "config" LinkConfig, Words("none") => "Link configs, such as `\"local.listener.name\" = \"INTERNAL\"`.";
};

const SELECTOR: &[Key] = rows! {
    "regex" Regex, Required => "A regex that has to match the whole topic name, in the syntax of the Rust crate `regex`.";
};

const RENAME: &[Key] = rows! {
    "prefix" Text, Required => "What is put before every name.";
};

const RENAME_RULE: &[Key] = rows! {
    "regex" Regex, Required => "A regex that has to match the whole topic name. Of several rules the first that matches is taken.";
    "to" Text, Required => "The name at the destination, with the regex's groups as `${1}` or `${name}`.";
};

const REFERENCE: &[Key] = rows! {
    "env" Text, Words("`file` says where the value is") => "The environment variable that holds the value.";
    "file" Text, Words("`env` says where the value is") => "The file that holds the value and nothing else; one newline at its end is left away.";
};

const ENDPOINT: &[Key] = rows! {
    "url" TextOrReference, Required => "Address of the server: `https://` or `http://`, a host, a port and a path.";
    "username" TextOrReference, Words("none") => "User for HTTP's Basic authentication.";
    "password" TextOrReference, Words("none") => "Password for HTTP's Basic authentication, which should be a reference such as `{ env = \"NAME\" }`.";
    "token" TextOrReference, Words("none") => "Bearer token, instead of user and password; it should be a reference, and one in a file is read again when it changes.";
    "ssl" Tls, Words("the system's authorities") => "Client properties of TLS: whom to trust, and a client certificate.";
};

impl Kind {
    /// The keys of this kind of table, in the order in which they are documented.
    pub(in crate::topology) fn table(self) -> &'static [Key] {
        match self {
            Self::Root => ROOT,
            Self::Cluster => CLUSTER,
            Self::OwnedTopic => OWNED_TOPIC,
            Self::Link => LINK,
            Self::Mirror => MIRROR,
            Self::Selector => SELECTOR,
            Self::Rename => RENAME,
            Self::RenameRule => RENAME_RULE,
            Self::Groups => GROUPS,
            Self::Acls => ACLS,
            Self::Limit => LIMIT,
            Self::OnHole => ON_HOLE,
            Self::EngineConfig => ENGINE_CONFIG,
            Self::AtSource => AT_SOURCE,
            Self::Reference => REFERENCE,
            Self::Endpoint => ENDPOINT,
        }
    }
}
