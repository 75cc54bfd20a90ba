//! What each engine carries out of what a link can ask for.
//!
//! A setting that an engine cannot honour is an error where it stands, never silence: a reader of the
//! file has to be able to trust that what it says is what happens. [`Engine::support`] is the one
//! table; another engine is another column.

use super::codes::Code;
use super::diagnostic::Diagnostic;
use super::model::Span;

/// What moves the data of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// The built-in one: workers that copy whole batches.
    #[default]
    Kmirror,
    /// Links inside Confluent's brokers.
    ClusterLink,
    /// Apache Kafka's connectors on a Connect cluster.
    MirrorMaker2,
    /// Confluent's connector on a Connect cluster.
    Replicator,
}

/// Something a link or a mirror can ask for that not every engine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `offsets = "preserve"`
    OffsetsPreserve,
    /// `offsets = "translate"`
    OffsetsTranslate,
    /// `timestamps = "original"`
    TimestampsOriginal,
    /// `on_hole`
    OnHole,
    /// `on_foreign_write = "translate"`
    ForeignWriteTranslate,
    /// `provenance_header = true`
    ProvenanceHeader,
    /// `check_interval`
    CheckInterval,
    /// `groups`
    Groups,
    /// `acls = { sync = true }`
    Acls,
    /// `limit`
    Limit,
    /// A key of the engine's own in `config`.
    Config,
    /// `properties_file` of a link
    LinkProperties,
    /// `initiated_by = "source"`
    SourceInitiated,
    /// `at_source`
    AtSource,
    /// `bidirectional`
    Bidirectional,
    /// `{ regex = … }` among the topics
    RegexTopics,
    /// `rename = { prefix = … }`
    RenamePrefix,
    /// `rename = "…"`
    RenameTemplate,
    /// `rename = [{ regex = …, to = … }]`
    RenameRules,
    /// `as` of a mirror
    RenameOne,
    /// `start = 2026-01-31T18:00:00Z`
    StartTime,
    /// A mirror's `state = "promoted"`
    Promoted,
    /// A mirror's `state = "failed-over"`
    FailedOver,
    /// A mirror's `state = "absent"`
    MirrorAbsent,
    /// A link's `state = "absent"`
    LinkAbsent,
}

/// Whether an engine carries a setting out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Yes,
    No {
        /// What is not done.
        why: &'static str,
        /// What can be written instead.
        instead: &'static str,
    },
}

impl Engine {
    /// Those that this build has.
    pub const ALL: &'static [Self] = &[Self::Kmirror, Self::ClusterLink];

    /// As `engine` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kmirror => "kmirror",
            Self::ClusterLink => "cluster-link",
            Self::MirrorMaker2 => "mirrormaker2",
            Self::Replicator => "replicator",
        }
    }

    /// The table.
    pub fn support(self, setting: Setting) -> Support {
        match self {
            Self::Kmirror => built_in(setting),
            Self::ClusterLink => cluster_link(setting),
            Self::MirrorMaker2 => mirrormaker2(setting),
            Self::Replicator => replicator(setting),
        }
    }

    /// Whether it is set up through the brokers' REST API.
    pub fn needs_rest(self) -> bool {
        self == Self::ClusterLink
    }

    /// Whether it runs on a Connect cluster.
    pub fn needs_connect(self) -> bool {
        matches!(self, Self::MirrorMaker2 | Self::Replicator)
    }
}

fn built_in(setting: Setting) -> Support {
    let (why, instead) = match setting {
        Setting::CheckInterval => (
            "how often idle mirrors are looked at is fixed",
            "leave `check_interval` out",
        ),
        Setting::LinkProperties => (
            "the built-in engine has no configs of its own",
            "leave it out; client properties belong into [clusters.NAME.client] or a cluster's `properties_file`",
        ),
        Setting::SourceInitiated => (
            "workers connect to both clusters",
            "leave `initiated_by` out, and run workers where both clusters can be reached",
        ),
        Setting::AtSource => (
            "workers connect to both clusters, so a link has one half",
            "leave `at_source` out",
        ),
        Setting::Bidirectional => (
            "a link has one direction",
            "leave it out, and write a second link with swapped ends",
        ),
        Setting::OffsetsPreserve
        | Setting::OffsetsTranslate
        | Setting::TimestampsOriginal
        | Setting::OnHole
        | Setting::ForeignWriteTranslate
        | Setting::ProvenanceHeader
        | Setting::RegexTopics
        | Setting::RenamePrefix
        | Setting::RenameTemplate
        | Setting::RenameRules
        | Setting::RenameOne
        | Setting::StartTime
        | Setting::Limit
        | Setting::Config
        | Setting::Promoted
        | Setting::FailedOver
        | Setting::MirrorAbsent
        | Setting::LinkAbsent => return Support::Yes,
        Setting::Groups => (
            "offsets of consumer groups are not synced",
            "leave `groups` out; groups at the destination keep the offsets that they commit there",
        ),
        Setting::Acls => (
            "ACLs are not synced",
            "write acls = { sync = false } or leave it out, and create the ACLs at the destination yourself",
        ),
    };
    Support::No { why, instead }
}

fn cluster_link(setting: Setting) -> Support {
    let (why, instead) = match setting {
        Setting::OffsetsPreserve
        | Setting::Groups
        | Setting::Acls
        | Setting::Config
        | Setting::LinkProperties
        | Setting::SourceInitiated
        | Setting::AtSource
        | Setting::Bidirectional
        | Setting::RenamePrefix
        | Setting::StartTime
        | Setting::Promoted
        | Setting::FailedOver
        | Setting::MirrorAbsent
        | Setting::LinkAbsent => return Support::Yes,
        Setting::OffsetsTranslate => (
            "mirrors have the offsets of their sources",
            "leave `offsets` out",
        ),
        Setting::TimestampsOriginal => (
            "brokers copy records and message.timestamp.type as they are",
            "leave `timestamps` out",
        ),
        Setting::OnHole => (
            "offsets are those of the source, so there are no holes to fill",
            "leave `on_hole` out",
        ),
        Setting::ForeignWriteTranslate => (
            "brokers let nobody else write to a mirror",
            "leave `on_foreign_write` out",
        ),
        Setting::ProvenanceHeader => (
            "brokers copy records as they are",
            "leave `provenance_header` out",
        ),
        Setting::CheckInterval => (
            "brokers look after their mirrors themselves",
            "write availability.check.ms in the link's `config`",
        ),
        Setting::Limit => (
            "a link has no limit of its own",
            "leave `limit` out, and set a quota for links at the brokers",
        ),
        Setting::RegexTopics => (
            "a link knows names and prefixes",
            "write names, or globs with a `*` at their end",
        ),
        Setting::RenameTemplate | Setting::RenameRules | Setting::RenameOne => (
            "a link can only put one prefix before all names",
            "write rename = { prefix = \"…\" } or leave it out",
        ),
    };
    Support::No { why, instead }
}

fn mirrormaker2(setting: Setting) -> Support {
    let (why, instead) = match setting {
        Setting::Groups
        | Setting::OffsetsTranslate
        | Setting::Acls
        | Setting::Config
        | Setting::LinkProperties
        | Setting::RegexTopics
        | Setting::RenamePrefix
        | Setting::RenameTemplate
        | Setting::RenameRules
        | Setting::RenameOne
        | Setting::MirrorAbsent
        | Setting::LinkAbsent => return Support::Yes,
        Setting::OffsetsPreserve | Setting::OnHole => (
            "records are produced anew and get the destination's own offsets",
            "write offsets = \"translate\" or leave it out; groups are translated as far as its offset syncs reach",
        ),
        Setting::ForeignWriteTranslate | Setting::CheckInterval => {
            ("connectors do not notice who else writes", "leave it out")
        }
        Setting::ProvenanceHeader => (
            "records are told by the names of their topics",
            "leave `provenance_header` out, and give the copies of each side a prefix",
        ),
        Setting::Limit => (
            "connectors have no limit of their own",
            "leave `limit` out, and set a quota for the worker's producer at the brokers",
        ),
        Setting::SourceInitiated | Setting::AtSource => (
            "the Connect cluster connects to both clusters",
            "leave it out",
        ),
        Setting::Bidirectional => (
            "a flow has one direction",
            "leave it out, and write a second link with swapped ends",
        ),
        Setting::TimestampsOriginal => (
            "records are consumed and produced again",
            "leave `timestamps` out",
        ),
        Setting::StartTime => (
            "a connector begins at the earliest or at the latest offset",
            "write start = \"earliest\" or start = \"latest\"",
        ),
        Setting::Promoted | Setting::FailedOver => {
            ("connectors have no promotion", "write state = \"paused\"")
        }
    };
    Support::No { why, instead }
}

fn replicator(setting: Setting) -> Support {
    let (why, instead) = match setting {
        Setting::Config
        | Setting::OffsetsTranslate
        | Setting::ProvenanceHeader
        | Setting::LinkProperties
        | Setting::RegexTopics
        | Setting::RenamePrefix
        | Setting::RenameTemplate
        | Setting::MirrorAbsent
        | Setting::LinkAbsent => return Support::Yes,
        Setting::OffsetsPreserve | Setting::OnHole => (
            "records are produced anew and get the destination's own offsets",
            "write offsets = \"translate\" or leave it out",
        ),
        Setting::ForeignWriteTranslate | Setting::CheckInterval => (
            "the connector does not notice who else writes",
            "leave it out",
        ),
        Setting::Groups => (
            "groups are translated by time, with an interceptor in each consumer",
            "leave `groups` out, and set offset.translator.* in the link's `config`",
        ),
        Setting::Acls => (
            "ACLs are not synced",
            "write acls = { sync = false } or leave it out",
        ),
        Setting::Limit => (
            "the connector has no limit of its own",
            "leave `limit` out, and set a quota for the worker's producer at the brokers",
        ),
        Setting::SourceInitiated | Setting::AtSource => (
            "the Connect cluster connects to both clusters",
            "leave it out",
        ),
        Setting::Bidirectional => (
            "a connector has one direction",
            "leave it out, and write a second link with swapped ends",
        ),
        Setting::TimestampsOriginal => (
            "records are consumed and produced again",
            "leave `timestamps` out",
        ),
        Setting::RenameRules | Setting::RenameOne => (
            "one template holds for all topics",
            "write rename = \"${topic}.suffix\", or a link for each name",
        ),
        Setting::StartTime => (
            "the connector begins at the earliest or at the latest offset",
            "write start = \"earliest\" or start = \"latest\"",
        ),
        Setting::Promoted | Setting::FailedOver => {
            ("the connector has no promotion", "write state = \"paused\"")
        }
    };
    Support::No { why, instead }
}

/// The error for a setting that the engine does not carry out; `asked` is how the file spells it.
pub(super) fn check(
    engine: Engine,
    setting: Setting,
    asked: &str,
    span: Span,
) -> Option<Diagnostic> {
    let Support::No { why, instead } = engine.support(setting) else {
        return None;
    };
    let able: Vec<String> = Engine::ALL
        .iter()
        .filter(|other| other.support(setting) == Support::Yes)
        .map(|other| format!("`{}`", other.name()))
        .collect();
    let able = if able.is_empty() {
        String::new()
    } else {
        format!("; engines that do it: {}", able.join(", "))
    };
    let message = format!("the engine `{}` does not carry out {asked}", engine.name());
    Some(
        Diagnostic::error(Code::NotCarriedOut, message)
            .at(span, why)
            .help(format!("{instead}{able}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: [Engine; 4] = [
        Engine::Kmirror,
        Engine::ClusterLink,
        Engine::MirrorMaker2,
        Engine::Replicator,
    ];

    #[test]
    fn an_engine_that_is_not_there_is_never_offered() {
        for engine in EVERY {
            for setting in [
                Setting::OffsetsPreserve,
                Setting::Groups,
                Setting::RenameOne,
                Setting::Promoted,
                Setting::Limit,
            ] {
                let Some(found) = check(engine, setting, "it", Span::default()) else {
                    continue;
                };
                let help = found.help.unwrap_or_default();
                for other in EVERY.iter().filter(|other| !Engine::ALL.contains(other)) {
                    assert!(!help.contains(&format!("`{}`", other.name())), "{help}");
                }
            }
        }
    }

    #[test]
    fn engines_differ_where_their_makers_say_so() {
        let able = |setting| -> Vec<Engine> {
            EVERY
                .into_iter()
                .filter(|engine| engine.support(setting) == Support::Yes)
                .collect()
        };
        assert_eq!(
            able(Setting::OffsetsPreserve),
            [Engine::Kmirror, Engine::ClusterLink]
        );
        assert_eq!(
            able(Setting::RenameRules),
            [Engine::Kmirror, Engine::MirrorMaker2]
        );
        assert_eq!(
            able(Setting::StartTime),
            [Engine::Kmirror, Engine::ClusterLink]
        );
        assert_eq!(
            able(Setting::Promoted),
            [Engine::Kmirror, Engine::ClusterLink]
        );
        assert_eq!(
            able(Setting::Groups),
            [Engine::ClusterLink, Engine::MirrorMaker2]
        );
        assert!(
            EVERY
                .into_iter()
                .all(|engine| !(engine.needs_rest() && engine.needs_connect()))
        );
    }
}
