//! What can go wrong between kmirror and a cluster, in words that name the cluster, the address and
//! the operation.

use std::fmt;
use std::time::Duration;

use super::code::{ErrorClass, ErrorCode};
use super::security::problem::SecurityError;

/// One address that was tried, and why it did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub address: String,
    pub cause: String,
}

/// The cluster that was asked, and the user it was asked as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub cluster: String,
    /// Where the cluster was found.
    pub addresses: Vec<String>,
    /// Who that is, by the key that says so: `the user of sasl.username (mirror.toml:7)`.
    pub user: String,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.addresses.join(", ");
        write!(f, "cluster {}, {addresses}, as {}", self.cluster, self.user)
    }
}

/// What was asked of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Delete,
    Describe,
    Read,
    Write,
    AddPartitions,
    DescribeConfigs,
    AlterConfigs,
    ListOffsets,
    ReadEnd,
    DescribeProducers,
    DeleteRecords,
    InitProducerId,
    BeginTransaction,
    EndTransaction,
    WriteMarkers,
    CommitOffsets,
    FetchOffsets,
    FindLeader,
    FindGroupCoordinator,
    FindTransactionCoordinator,
    FindController,
    FindBroker,
    Fetch,
    Negotiate,
}

impl Operation {
    /// The operation of Kafka's access control lists that it takes on its resource, as `kafka-acls` calls it.
    pub fn right(self) -> Option<&'static str> {
        Some(match self {
            Self::Create => "Create",
            Self::Delete | Self::DeleteRecords => "Delete",
            Self::Describe
            | Self::ListOffsets
            | Self::FetchOffsets
            | Self::FindLeader
            | Self::FindGroupCoordinator => "Describe",
            Self::Read | Self::ReadEnd | Self::DescribeProducers | Self::CommitOffsets => "Read",
            Self::Write
            | Self::InitProducerId
            | Self::BeginTransaction
            | Self::EndTransaction
            // Describe would do for this call, and not for what it is for.
            | Self::FindTransactionCoordinator => "Write",
            Self::AddPartitions | Self::WriteMarkers => "Alter",
            Self::DescribeConfigs => "DescribeConfigs",
            Self::AlterConfigs => "AlterConfigs",
            Self::FindController | Self::FindBroker | Self::Fetch | Self::Negotiate => return None,
        })
    }
}

impl fmt::Display for Operation {
    /// As a verb with its preposition: `read the configuration of`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Describe => "describe",
            Self::Read => "read",
            Self::Write => "write to",
            Self::AddPartitions => "add partitions to",
            Self::DescribeConfigs => "read the configuration of",
            Self::AlterConfigs => "change the configuration of",
            Self::ListOffsets => "look up offsets of",
            Self::ReadEnd => "read the end of",
            Self::DescribeProducers => "list the producers of",
            Self::DeleteRecords => "delete records of",
            Self::InitProducerId => "allocate a producer id",
            Self::BeginTransaction => "begin a transaction on",
            Self::EndTransaction => "end a transaction on",
            Self::WriteMarkers => "write control markers to",
            Self::CommitOffsets => "commit offsets of",
            Self::FetchOffsets => "read the committed offsets of",
            Self::FindLeader => "find the leader of",
            Self::FindGroupCoordinator | Self::FindTransactionCoordinator => {
                "find the coordinator of"
            }
            Self::FindController => "find the controller of",
            Self::FindBroker => "find the address of",
            Self::Fetch => "fetch from",
            Self::Negotiate => "negotiate versions with",
        })
    }
}

/// A failed call. Cheap enough to clone: a lost connection fails everything that waits on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No broker could be connected to.
    Unreachable {
        cluster: String,
        attempts: Vec<Attempt>,
        elapsed: Duration,
    },
    /// The connection ended while an answer was due; the request may or may not have been carried out.
    Disconnected {
        address: String,
        /// The request that waited.
        during: String,
        cause: Option<String>,
    },
    /// The broker kept the connection but did not answer; the connection is closed because of it.
    Timeout {
        address: String,
        during: String,
        after: Duration,
    },
    /// The broker answered with an error.
    Broker {
        code: ErrorCode,
        /// The broker's own text, where the answer has one.
        message: Option<String>,
        operation: Operation,
        /// What it was asked of: `topic orders`.
        resource: String,
        /// As whom, and of which cluster; for refusals that depend on it.
        asked: Option<Box<Asked>>,
    },
    /// The answer is not what Kafka's protocol says it should be.
    Protocol {
        address: String,
        during: String,
        problem: String,
    },
    /// The announced answer is larger than the limit, so it was not read.
    Oversized {
        address: String,
        during: String,
        size: u64,
        limit: u64,
    },
    /// Broker and kmirror have no version of a request in common.
    UnsupportedApi {
        address: String,
        api: String,
        needed: (i16, i16),
        /// `None` when the broker does not know the request at all.
        offered: Option<(i16, i16)>,
    },
    /// Trust, identity or authentication stand in the way.
    Security(Box<SecurityError>),
}

impl From<Box<SecurityError>> for Error {
    fn from(error: Box<SecurityError>) -> Self {
        Self::Security(error)
    }
}

impl Error {
    /// A broker's error code together with what was asked of it.
    pub fn broker(
        code: impl Into<ErrorCode>,
        message: Option<String>,
        operation: Operation,
        resource: impl Into<String>,
    ) -> Self {
        Self::Broker {
            code: code.into(),
            message: message.filter(|text| !text.trim().is_empty()),
            operation,
            resource: resource.into(),
            asked: None,
        }
    }

    /// A refusal for lack of a right says who lacks it, and where.
    #[must_use]
    pub fn asked_by(mut self, who: impl FnOnce() -> Asked) -> Self {
        if let Self::Broker { code, asked, .. } = &mut self
            && code.is_authorization()
            && asked.is_none()
        {
            *asked = Some(Box::new(who()));
        }
        self
    }

    /// What to do about it. Lost connections and absent brokers ask for a fresh look at the cluster.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { .. } | Self::Disconnected { .. } | Self::Timeout { .. } => {
                ErrorClass::Refresh
            }
            Self::Broker { code, .. } => code.class(),
            Self::Protocol { .. }
            | Self::Oversized { .. }
            | Self::UnsupportedApi { .. }
            | Self::Security(_) => ErrorClass::Fatal,
        }
    }

    /// Whether a worker that has been running goes on trying. Trust and authentication are final for a command
    /// that was just started, because somebody has to change something; a worker waits for that somebody, since
    /// files are read again at every connection and brokers get renewed certificates and users without being asked.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Security(_)) || self.class() != ErrorClass::Fatal
    }

    /// The broker's code, if it was the broker that refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Broker { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the broker may have carried the request out although no answer says so.
    pub fn outcome_is_unknown(&self) -> bool {
        match self {
            Self::Disconnected { .. }
            | Self::Timeout { .. }
            | Self::Protocol { .. }
            | Self::Oversized { .. } => true,
            Self::Broker { code, .. } => *code == ErrorCode::REQUEST_TIMED_OUT,
            // Found before a request is sent, or when a session is renewed, which the broker does between two.
            Self::Unreachable { .. } | Self::UnsupportedApi { .. } | Self::Security(_) => false,
        }
    }
}

/// Said of a peer that fails before it has shown to be a broker.
const NOT_KAFKA: &str =
    "is this the port of a Kafka broker, and is `security.protocol` that of its listener?";

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable {
                cluster,
                attempts,
                elapsed,
            } => {
                let elapsed = elapsed.as_secs_f64();
                write!(
                    f,
                    "no broker of cluster {cluster} can be reached (tried for {elapsed:.1} s)"
                )?;
                for (index, attempt) in attempts.iter().enumerate() {
                    let lead = if index == 0 { ": " } else { "; " };
                    write!(f, "{lead}{}: {}", attempt.address, attempt.cause)?;
                }
                Ok(())
            }
            Self::Disconnected {
                address,
                during,
                cause,
            } => {
                write!(f, "{address} closed the connection during {during}")?;
                if let Some(cause) = cause {
                    write!(f, ": {cause}")?;
                }
                if during == "ApiVersions" {
                    write!(f, "; {NOT_KAFKA}")?;
                }
                Ok(())
            }
            Self::Timeout {
                address,
                during,
                after,
            } => {
                let after = after.as_secs_f64();
                write!(f, "{address} did not answer {during} within {after:.1} s")?;
                if during == "ApiVersions" {
                    write!(f, "; {NOT_KAFKA}")?;
                }
                Ok(())
            }
            Self::Broker {
                code,
                message,
                operation,
                resource,
                asked,
            } => {
                let words = message.as_deref().unwrap_or_else(|| code.description());
                let words = words.trim_end_matches('.');
                write!(
                    f,
                    "cannot {operation} {resource}: {words} ({})",
                    code.name()
                )?;
                if let Some(asked) = asked {
                    if let Some(right) = operation.right() {
                        write!(f, "; it takes the right {right}")?;
                    }
                    write!(f, "; asked of {asked}")?;
                }
                Ok(())
            }
            Self::Protocol {
                address,
                during,
                problem,
            } => {
                write!(
                    f,
                    "{address} gave a malformed answer to {during}: {problem}"
                )?;
                if during == "ApiVersions" {
                    write!(f, "; {NOT_KAFKA}")?;
                }
                Ok(())
            }
            Self::Oversized {
                address,
                during,
                size,
                limit,
            } => {
                write!(
                    f,
                    "{address} announced an answer of {size} bytes to {during}, more than the {limit} allowed"
                )?;
                if during == "ApiVersions" {
                    write!(f, "; {NOT_KAFKA}")?;
                }
                Ok(())
            }
            Self::UnsupportedApi {
                address,
                api,
                needed: (low, high),
                offered,
            } => match offered {
                None => write!(f, "{address} does not offer {api}; its Kafka is too old"),
                Some((min, max)) => write!(
                    f,
                    "{address} offers {api} in versions {min} to {max}, kmirror needs one of {low} to {high}"
                ),
            },
            Self::Security(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// An I/O error without the parts that say nothing to a user.
pub(super) fn io_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => "connection refused (nothing listens there)".to_owned(),
        Kind::ConnectionReset => "connection reset by the peer".to_owned(),
        Kind::BrokenPipe => "the peer no longer reads".to_owned(),
        Kind::HostUnreachable => "host unreachable".to_owned(),
        Kind::NetworkUnreachable => "network unreachable".to_owned(),
        Kind::TimedOut => "the network gave up waiting".to_owned(),
        _ => {
            let text = error.to_string();
            match text.strip_prefix("failed to lookup address information: ") {
                Some(reason) => format!("the host name cannot be resolved: {reason}"),
                None => text,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_cluster_names_every_address_and_its_cause() {
        let error = Error::Unreachable {
            cluster: "east".into(),
            attempts: vec![
                Attempt {
                    address: "a:1".into(),
                    cause: "connection refused".into(),
                },
                Attempt {
                    address: "b:2".into(),
                    cause: "no such host".into(),
                },
            ],
            elapsed: Duration::from_millis(1234),
        };
        assert_eq!(
            error.to_string(),
            "no broker of cluster east can be reached (tried for 1.2 s): \
             a:1: connection refused; b:2: no such host"
        );
    }

    #[test]
    fn the_brokers_own_words_win_over_the_general_ones() {
        let own = Error::broker(
            38,
            Some("Replication factor: 3 larger than available brokers: 1.".into()),
            Operation::Create,
            "topic orders",
        );
        assert_eq!(
            own.to_string(),
            "cannot create topic orders: \
             Replication factor: 3 larger than available brokers: 1 (INVALID_REPLICATION_FACTOR)"
        );
        let general = Error::broker(36, Some(String::new()), Operation::Create, "topic orders");
        assert_eq!(
            general.to_string(),
            "cannot create topic orders: \
             a topic of that name exists already (TOPIC_ALREADY_EXISTS)"
        );
    }
}
