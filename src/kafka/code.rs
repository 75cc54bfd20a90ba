//! The broker's error codes: their names, what they mean for a caller, and Kafka's own words.

use std::fmt;

use kafka_protocol::ResponseError;

/// An error code as it stands in an answer. Zero is success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(pub i16);

/// What a caller does about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// No error.
    None,
    /// The same request to the same broker may succeed later.
    Retriable,
    /// Look up leader, coordinator or controller again, then retry.
    Refresh,
    /// The answer will stay the same until somebody changes something.
    Fatal,
}

impl ErrorCode {
    pub const NONE: Self = Self(0);
    pub const UNKNOWN_SERVER_ERROR: Self = Self(-1);
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    pub const CORRUPT_MESSAGE: Self = Self(2);
    pub const UNKNOWN_TOPIC_OR_PARTITION: Self = Self(3);
    pub const LEADER_NOT_AVAILABLE: Self = Self(5);
    pub const NOT_LEADER_OR_FOLLOWER: Self = Self(6);
    pub const REQUEST_TIMED_OUT: Self = Self(7);
    pub const MESSAGE_TOO_LARGE: Self = Self(10);
    pub const COORDINATOR_LOAD_IN_PROGRESS: Self = Self(14);
    pub const COORDINATOR_NOT_AVAILABLE: Self = Self(15);
    pub const NOT_COORDINATOR: Self = Self(16);
    pub const RECORD_LIST_TOO_LARGE: Self = Self(18);
    pub const NOT_ENOUGH_REPLICAS: Self = Self(19);
    pub const NOT_ENOUGH_REPLICAS_AFTER_APPEND: Self = Self(20);
    pub const TOPIC_AUTHORIZATION_FAILED: Self = Self(29);
    pub const GROUP_AUTHORIZATION_FAILED: Self = Self(30);
    pub const CLUSTER_AUTHORIZATION_FAILED: Self = Self(31);
    pub const INVALID_TIMESTAMP: Self = Self(32);
    pub const UNSUPPORTED_VERSION: Self = Self(35);
    pub const TOPIC_ALREADY_EXISTS: Self = Self(36);
    pub const NOT_CONTROLLER: Self = Self(41);
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: Self = Self(45);
    pub const DUPLICATE_SEQUENCE_NUMBER: Self = Self(46);
    pub const INVALID_PRODUCER_EPOCH: Self = Self(47);
    pub const INVALID_TXN_STATE: Self = Self(48);
    pub const INVALID_PRODUCER_ID_MAPPING: Self = Self(49);
    pub const CONCURRENT_TRANSACTIONS: Self = Self(51);
    pub const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Self = Self(53);
    pub const GROUP_ID_NOT_FOUND: Self = Self(69);
    pub const FETCH_SESSION_ID_NOT_FOUND: Self = Self(70);
    pub const INVALID_FETCH_SESSION_EPOCH: Self = Self(71);
    pub const FENCED_LEADER_EPOCH: Self = Self(74);
    pub const UNKNOWN_LEADER_EPOCH: Self = Self(75);
    pub const INVALID_RECORD: Self = Self(87);
    pub const THROTTLING_QUOTA_EXCEEDED: Self = Self(89);
    pub const PRODUCER_FENCED: Self = Self(90);
    pub const UNKNOWN_TOPIC_ID: Self = Self(100);
    pub const INCONSISTENT_TOPIC_ID: Self = Self(103);
    pub const FETCH_SESSION_TOPIC_ID_ERROR: Self = Self(106);

    /// Whether the code says success.
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// Success, or the code as the error.
    ///
    /// # Errors
    /// The code itself, when it is not zero.
    pub const fn ok(self) -> Result<(), Self> {
        if self.is_ok() { Ok(()) } else { Err(self) }
    }

    /// What to do about it.
    pub const fn class(self) -> ErrorClass {
        match self.0 {
            0 => ErrorClass::None,
            // The cluster's own state moved, or has not reached this broker yet.
            3 | 5 | 6 | 8 | 9 | 15 | 16 | 41 | 56 | 72 | 74 | 75 | 100 | 103 => ErrorClass::Refresh,
            // The broker is busy, is loading, throttles, or lacks replicas just now.
            7 | 13 | 14 | 19 | 20 | 51 | 70 | 71 | 78 | 80 | 83 | 88 | 89 | 106 => {
                ErrorClass::Retriable
            }
            _ => ErrorClass::Fatal,
        }
    }

    /// The name in Kafka's protocol guide, such as `NOT_LEADER_OR_FOLLOWER`.
    pub fn name(self) -> String {
        match ResponseError::try_from_code(self.0) {
            None => "NONE".to_owned(),
            Some(ResponseError::Unknown(code)) => format!("UNKNOWN_CODE_{code}"),
            Some(known) => screaming(&known.to_string()),
        }
    }

    /// Whether the broker says that the user lacks a right.
    pub fn is_authorization(self) -> bool {
        [
            Self::TOPIC_AUTHORIZATION_FAILED,
            Self::GROUP_AUTHORIZATION_FAILED,
            Self::CLUSTER_AUTHORIZATION_FAILED,
            Self::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ]
        .contains(&self)
    }

    /// What the code says in general, for answers that carry no text of their own.
    pub fn description(self) -> &'static str {
        match self.0 {
            0 => "no error",
            -1 => "the broker met an error that it does not explain; its log does",
            1 => "the offset is outside the log",
            2 => "the broker found the batch corrupt",
            3 => "the topic or partition does not exist (or this user may not see it)",
            5 => "the partition has no leader at the moment",
            6 => "the broker is not the partition's leader",
            7 => "the broker could not finish within the request's time limit",
            10 => "the batch is larger than the topic's max.message.bytes",
            14 => "the coordinator is still loading its state",
            15 => "the coordinator is not available",
            16 => "the broker is not the coordinator",
            17 => "the topic name is not legal, or the topic is internal",
            18 => "the batch is larger than the topic's segment.bytes",
            19 | 20 => "fewer replicas are in sync than min.insync.replicas asks for",
            29 => "this user has no right to do that on the topic",
            30 => "this user has no right to do that with the group",
            31 => "this user has no right to do that on the cluster",
            32 => "the timestamp is outside what the topic accepts",
            35 => "the broker does not support this version of the request",
            36 => "a topic of that name exists already",
            37 => "the number of partitions is not acceptable",
            38 => {
                "the replication factor is not acceptable; it cannot exceed the number of brokers"
            }
            40 => "the broker does not accept the configuration",
            41 => "the broker is not the controller",
            42 => "the broker finds the request invalid; its log says why",
            44 => "a policy on the broker forbids it",
            45 => "the sequence number does not continue what the broker has",
            46 => "the sequence number was used before",
            47 | 90 => "a newer producer with the same id has taken over",
            48 => "the transaction is not in a state that allows this",
            49 => "the producer id does not belong to the transactional id",
            51 => "the former transaction is still being completed",
            53 => "this user has no right to use the transactional id",
            58 => "authentication failed",
            69 => "the group does not exist",
            74 => "the leader epoch is older than the broker's",
            75 => "the leader epoch is newer than the broker's",
            87 => "the broker refuses a record in the batch",
            89 => "the broker's quota is exhausted for now",
            100 => "no topic with this id exists on the broker",
            103 => "the topic has another id on the broker",
            _ => "no further explanation was given",
        }
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        Self(code)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl std::error::Error for ErrorCode {}

fn screaming(camel: &str) -> String {
    let mut out = String::with_capacity(camel.len() + 8);
    for (index, letter) in camel.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_the_protocol_guide() {
        assert_eq!(ErrorCode(0).name(), "NONE");
        assert_eq!(ErrorCode(6).name(), "NOT_LEADER_OR_FOLLOWER");
        assert_eq!(ErrorCode(-1).name(), "UNKNOWN_SERVER_ERROR");
        assert_eq!(ErrorCode(12345).name(), "UNKNOWN_CODE_12345");
        assert_eq!(
            ErrorCode::INVALID_TXN_STATE.to_string(),
            "INVALID_TXN_STATE (48)"
        );
    }

    #[test]
    fn the_named_constants_have_the_names_of_the_crate() {
        for (code, name) in [
            (
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                "UNKNOWN_TOPIC_OR_PARTITION",
            ),
            (ErrorCode::PRODUCER_FENCED, "PRODUCER_FENCED"),
            (ErrorCode::INVALID_PRODUCER_EPOCH, "INVALID_PRODUCER_EPOCH"),
            (
                ErrorCode::CONCURRENT_TRANSACTIONS,
                "CONCURRENT_TRANSACTIONS",
            ),
            (ErrorCode::UNKNOWN_TOPIC_ID, "UNKNOWN_TOPIC_ID"),
            (
                ErrorCode::FETCH_SESSION_ID_NOT_FOUND,
                "FETCH_SESSION_ID_NOT_FOUND",
            ),
            (
                ErrorCode::INVALID_FETCH_SESSION_EPOCH,
                "INVALID_FETCH_SESSION_EPOCH",
            ),
            (
                ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR,
                "FETCH_SESSION_TOPIC_ID_ERROR",
            ),
            (ErrorCode::INVALID_RECORD, "INVALID_RECORD"),
            (ErrorCode::RECORD_LIST_TOO_LARGE, "RECORD_LIST_TOO_LARGE"),
            (
                ErrorCode::TOPIC_AUTHORIZATION_FAILED,
                "TOPIC_AUTHORIZATION_FAILED",
            ),
        ] {
            assert_eq!(code.name(), name);
        }
    }

    proptest! {
        /// Whatever Kafka calls final is never retried here.
        #[test]
        fn nothing_that_kafka_calls_final_is_retried(code in -1_i16..140) {
            let class = ErrorCode(code).class();
            prop_assert_eq!(class == ErrorClass::None, code == 0);
            if let Some(known) = ResponseError::try_from_code(code) {
                // BROKER_NOT_AVAILABLE and CONCURRENT_TRANSACTIONS pass by themselves all the same.
                let passes = matches!(code, 8 | 51);
                if !known.is_retriable() && !passes {
                    prop_assert_eq!(class, ErrorClass::Fatal);
                }
            }
        }

        #[test]
        fn every_code_has_a_name_and_words(code in any::<i16>()) {
            prop_assert!(!ErrorCode(code).name().is_empty());
            prop_assert!(!ErrorCode(code).description().is_empty());
        }
    }
}
