//! What can be wrong with the internal topics and their records.

use std::fmt;

use super::records::{LockRecord, NEWEST_VERSION};
use crate::kafka::{Error, ErrorClass, ErrorCode};

/// Why control records cannot be read or written.
#[derive(Clone, Debug)]
pub enum ControlError {
    Kafka(Error),
    /// A record of a later kmirror.
    Newer {
        topic: String,
        record: String,
        version: u64,
    },
    /// A record that is none of ours.
    Malformed {
        topic: String,
        offset: i64,
        problem: String,
    },
    /// An internal topic that cannot be used as it is.
    Shape {
        topic: String,
        partitions: usize,
        wanted: i32,
    },
    /// Somebody else has taken over; nothing of this change was made.
    Fenced {
        /// Who holds the lock now, if anybody does.
        by: Option<LockRecord>,
    },
}

impl ControlError {
    /// Whether a right is missing.
    pub fn is_authorization(&self) -> bool {
        match self {
            Self::Kafka(error) => error.code().is_some_and(ErrorCode::is_authorization),
            _ => false,
        }
    }

    /// Whether trying again cannot help.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Kafka(error) => error.class() == ErrorClass::Fatal,
            _ => true,
        }
    }
}

impl From<Error> for ControlError {
    fn from(error: Error) -> Self {
        Self::Kafka(error)
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kafka(error) => error.fmt(f),
            Self::Newer {
                topic,
                record,
                version,
            } => write!(
                f,
                "the record {record} in topic {topic} has version {version}; this kmirror reads up to \
                 {NEWEST_VERSION}: use the newer kmirror that wrote it"
            ),
            Self::Malformed {
                topic,
                offset,
                problem,
            } => write!(
                f,
                "topic {topic} has something at offset {offset} that kmirror did not write: {problem}"
            ),
            Self::Shape {
                topic,
                partitions,
                wanted,
            } => write!(
                f,
                "internal topic {topic} has {partitions} partitions where {wanted} are needed; \
                 was it created by hand?"
            ),
            Self::Fenced { by: Some(lock) } => write!(
                f,
                "{} has taken over with `{}`; nothing more was changed by this command",
                lock.holder, lock.command
            ),
            Self::Fenced { by: None } => f.write_str(
                "another kmirror has taken over in the meantime; nothing more was changed by this command",
            ),
        }
    }
}

impl std::error::Error for ControlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Kafka(error) => Some(error),
            _ => None,
        }
    }
}
