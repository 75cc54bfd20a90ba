//! What a recorded trace says: requests to one partition, and what a broker answered.
//!
//! The same text is read by the tests that record it from real brokers, by those that replay it against the sandbox, and
//! by the simulator's model of a replica.

use serde::{Deserialize, Serialize};

/// One script, as a broker of some version answered it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// What the script is about.
    pub about: String,
    /// The version of Kafka that answered.
    pub kafka: String,
    pub steps: Vec<Taken>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub step: Step,
    pub answer: Answer,
}

/// A request. Producers are named by letters, each an id that the broker gave out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// One batch.
    Produce {
        producer: char,
        epoch: i16,
        sequence: i32,
        records: i32,
        /// How old the records are.
        hours: i64,
    },
    /// As many control markers, in one request.
    Mark {
        producer: char,
        epoch: i16,
        coordinator_epoch: i32,
        markers: usize,
    },
    DeleteRecords {
        before: i64,
    },
    /// Until the broker has forgotten the producer.
    AwaitExpiry {
        producer: char,
    },
    /// An orderly restart of the broker.
    Restart,
    /// The log's offsets and what is known of producers.
    Look,
}

/// A broker's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Base offset, -1 with an error.
    Produced {
        code: i16,
        base: i64,
    },
    Marked {
        code: i16,
    },
    /// The log's start, -1 with an error.
    Deleted {
        code: i16,
        start: i64,
    },
    Done,
    Seen {
        start: i64,
        end: i64,
        producers: Vec<Known>,
    },
}

/// What a broker knows of a producer (`DescribeProducers`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub producer: char,
    pub epoch: i16,
    pub last_sequence: i32,
    pub coordinator_epoch: i32,
}
