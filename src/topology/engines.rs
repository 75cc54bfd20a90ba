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
}

/// Something a link or a mirror can ask for that not every engine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `offsets = "preserve"`
    OffsetsPreserve,
    /// `on_hole`
    OnHole,
    /// `on_foreign_write = "translate"`
    ForeignWriteTranslate,
    /// `groups`
    Groups,
    /// `acls = { sync = true }`
    Acls,
    /// `limit`
    Limit,
    /// A key of the engine's own in `config`.
    Config,
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
    pub const ALL: &'static [Self] = &[Self::Kmirror];

    /// As `engine` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kmirror => "kmirror",
        }
    }

    /// The table.
    pub fn support(self, setting: Setting) -> Support {
        match self {
            Self::Kmirror => built_in(setting),
        }
    }
}

fn built_in(setting: Setting) -> Support {
    let (why, instead) = match setting {
        Setting::OffsetsPreserve => (
            "offsets at the destination are counted there",
            "write offsets = \"translate\" or leave it out: an exact map from source to destination offsets is kept, and \
             offsets are equal where nothing had to be left out",
        ),
        Setting::OnHole => (
            "offsets that the source does not have are not filled",
            "leave `on_hole` out: the offset map says where each record is",
        ),
        Setting::ForeignWriteTranslate => (
            "a mirror stops when somebody else wrote into its topic",
            "write on_foreign_write = \"stop\" or leave it out",
        ),
        Setting::Groups => (
            "offsets of consumer groups are not synced",
            "leave `groups` out; groups at the destination keep the offsets that they commit there",
        ),
        Setting::Acls => (
            "ACLs are not synced",
            "write acls = { sync = false } or leave it out, and create the ACLs at the destination yourself",
        ),
        Setting::Limit => (
            "the link copies as fast as brokers allow",
            "leave `limit` out; a quota of the brokers for the client id `kmirror` limits it (producer_byte_rate, consumer_byte_rate)",
        ),
        Setting::Config => (
            "the built-in engine has no configs of its own",
            "leave it out; configs of a topic belong into [links.NAME.mirrors.TOPIC]",
        ),
        Setting::Promoted | Setting::FailedOver => (
            "mirrors are not promoted: the topic would still be taken for a copy",
            "write state = \"paused\": nothing is copied until it is active again",
        ),
        Setting::MirrorAbsent => (
            "mirror topics are never deleted",
            "remove the mirror from the file: it is paused and its topic stays, until you delete that with Kafka's own tools",
        ),
        Setting::LinkAbsent => (
            "links are never deleted",
            "write state = \"paused\", or leave the link out of the file: its mirrors are paused and their topics stay",
        ),
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
