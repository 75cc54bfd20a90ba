//! The stable codes of topology diagnostics.
//!
//! A code never changes its meaning and is never used again once it is retired; docs/errors.md has
//! a section for each, which [`super::explain`] reads.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)+) => {
        /// What kind of mistake a diagnostic is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($(#[$doc])* $name = $number,)+
        }

        impl Code {
            /// Every code there is, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}

codes! {
    // The file as such.
    /// The file cannot be read.
    Unreadable = 1,
    /// The file is not UTF-8.
    NotUtf8 = 2,
    /// Not TOML.
    Syntax = 3,
    /// A key or a table is there twice.
    DuplicateKey = 4,

    // Keys and values.
    /// A key that does not exist in this place.
    UnknownKey = 10,
    /// A required key is not there.
    MissingKey = 11,
    /// A value of another type.
    WrongType = 12,
    /// A word or number that is not among the allowed ones.
    InvalidValue = 13,
    /// The file's format version is absent or not this build's.
    FormatVersion = 14,
    /// A topic or other name with a dot, written without quotes in a table header.
    UnquotedName = 15,
    /// A cluster or link name that cannot be used as a label.
    IllegalLabel = 16,
    /// A topic config that is no plain value.
    ConfigValue = 17,
    /// A topic config that looks misspelt.
    SuspiciousConfig = 18,

    // Clusters.
    /// A bootstrap server that is no `host:port`.
    BadAddress = 20,
    /// One bootstrap server, or one cluster id, in two places.
    SharedAddress = 21,
    /// A link's end that is no cluster of the file.
    UnknownCluster = 22,
    /// An address that can be listened on and not be connected to.
    WildcardAddress = 23,

    // References to what lies outside of the file.
    /// An environment variable that is not set, or a file that cannot be read.
    UnresolvedReference = 24,
    /// A secret in the topology file itself.
    InlineSecret = 25,
    /// A file with secrets that others can read.
    ReadableSecret = 26,
    /// `${…}`, which nothing expands.
    Placeholder = 27,

    // Endpoints that are no brokers.
    /// The address of an HTTP server that is none.
    BadUrl = 28,
    /// An endpoint that no link needs.
    UnusedEndpoint = 29,

    // Topics.
    /// A name that brokers refuse.
    IllegalTopicName = 30,
    /// Not a regex.
    BadRegex = 31,
    /// Not a glob.
    BadGlob = 32,
    /// A glob that looks like a regex.
    AmbiguousPattern = 33,
    /// A link that takes no topic.
    NoTopics = 34,
    /// One selector twice.
    RepeatedSelector = 35,
    /// A topic that is both named and excluded.
    NamedAndExcluded = 36,
    /// A topic that only its own brokers can use.
    NeverMirrored = 37,
    /// Two owned topics whose names brokers hold to be the same.
    CollidingTopics = 38,

    // Renames.
    /// A `$` that means nothing in a rename.
    BadPlaceholder = 40,
    /// A rename that cannot give a usable topic name.
    IllegalDestination = 41,
    /// A rename that gives every topic the same name.
    ConstantRename = 42,

    // What the links are together.
    /// Two mirrors that write to one topic.
    SameDestination = 50,
    /// A mirror that writes to a topic which the file owns.
    MirrorIsOwned = 51,
    /// Links that feed a topic back to where it came from.
    Loop = 52,
    /// A former name that cannot be meant.
    BadMove = 53,

    // Engines.
    /// A setting that the link's engine does not carry out.
    NotCarriedOut = 60,

    // Client properties.
    /// A key of the `client` table that no client has.
    UnknownClientKey = 70,
    /// A key of a properties file that no client has.
    UnknownProperty = 71,
    /// A client property that does nothing here.
    PropertyWithoutEffect = 72,
    /// A client property that asks for what is not supported.
    UnsupportedProperty = 73,
    /// A value that its property cannot have.
    BadPropertyValue = 74,
    /// No login module.
    BadLoginModule = 75,
    /// Something that another property needs.
    MissingProperty = 76,
    /// Security that is set up and not used.
    UnusedProperty = 77,
    /// A connection that is less safe than it should be.
    InsecureConnection = 78,
    /// Two ways to say one thing.
    ConflictingProperties = 79,
    /// A properties file that Java refuses.
    PropertiesSyntax = 80,
    /// A property that is there twice.
    DuplicateProperty = 81,
    /// A properties file that Java takes for another text.
    PropertiesEncoding = 82,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "K{:04}", *self as u16)
    }
}
