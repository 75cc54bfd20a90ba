//! Why a partition stands still, in words that say where to look.

use thiserror::Error;
use uuid::Uuid;

use crate::control::records::{Anchor, ENDING_VERSION, FailureCause, FailureRecord};
use crate::kafka::ErrorCode;

/// A partition that stopped and needs somebody. The others go on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Failure {
    #[error(
        "somebody else wrote to the mirror topic: offset {offset} was expected next, the log is at {found}{}",
        .producer_id.map_or(String::new(), |id| format!(" (its last batch has producer id {id})"))
    )]
    ForeignWrite {
        offset: i64,
        found: i64,
        producer_id: Option<i64>,
    },
    #[error(
        "the mirror topic was taken over: the mirror's producer id was used there with epoch {epoch}"
    )]
    Fenced { epoch: i32 },
    #[error(
        "the destination lost records: it holds {present} of this mirror's, fewer than the oldest known point{}",
        .oldest.map_or(String::new(), |anchor| format!(" ({} records, source offset {})", anchor.count, anchor.source_offset))
    )]
    DestinationCutBack {
        present: i64,
        oldest: Option<Anchor>,
    },
    #[error(
        "nothing says how many records of this mirror the destination holds: it ends at {end}, the last known point is {known}, what was between them is deleted, and the leader has forgotten the producer id; the mirror has to be made anew"
    )]
    Uncountable { known: i64, end: i64 },
    #[error(
        "the destination lost records: it ends at {end}, and what this mirror wrote reached to {known}; the mirror has to be made anew"
    )]
    DestinationTooShort { known: i64, end: i64 },
    #[error(
        "the records of this mirror do not follow each other at the destination: at offset {offset} lies its record {found}, where {expected} was expected; the cleaner removed some of them, or the log lost them, and the mirror has to be made anew"
    )]
    Scattered {
        offset: i64,
        /// Counts of records written before.
        expected: i64,
        found: i64,
    },
    #[error("the offset map does not reach back to source offset {}", .anchor.source_offset)]
    MapTooShort { anchor: Anchor },
    #[error(
        "the destination's record at offset {destination_offset} is not the source's at offset {source_offset}"
    )]
    NotACopy {
        source_offset: i64,
        destination_offset: i64,
    },
    #[error(
        "the destination does not have the source's record of offset {offset}, or one shortly before it, and something else in its place: it lost records that were acknowledged, or somebody else wrote to it; the mirror has to be made anew"
    )]
    Displaced { offset: i64 },
    #[error(
        "offsets cannot be kept: copying begins at source offset {source_start}, and the mirror topic already reaches from {start} to {end}; link it with offsets = \"translate\" or on_hole.then = \"translate\", or mirror into another topic"
    )]
    CannotAlign {
        source_start: i64,
        start: i64,
        end: i64,
    },
    #[error(
        "the source has no records at offsets {from} to {}, more than on_hole.larger_than = {larger_than}; raise it, or write on_hole.then = \"translate\"", .to - 1
    )]
    HoleTooLarge {
        from: i64,
        to: i64,
        larger_than: i64,
    },
    #[error(
        "offset {offset} has no record at the source, and the destination lets nobody take it up: {code}{}; grant Alter on the cluster (control markers) or Write on the transactional ids that begin with kmirror (empty transactions), or link it with offsets = \"translate\"",
        .message.as_ref().map_or(String::new(), |message| format!(": {message}"))
    )]
    CannotPad {
        code: ErrorCode,
        message: Option<String>,
        offset: i64,
    },
    #[error("the source deleted offsets {from} to {} before they were copied (retention or DeleteRecords)", .to - 1)]
    SourceExpired { from: i64, to: i64 },
    #[error(
        "the source deleted offsets {from} to {} (retention or DeleteRecords), and the destination holds {present} records from there on: which ones can no longer be counted; delete the mirror and have it copied anew, or mirror the topic under another name", .to - 1
    )]
    SourceExpiredUncounted { from: i64, to: i64, present: i64 },
    #[error(
        "the source's log ends at {end}, before the position {position}: it was truncated (unclean leader election) or recreated"
    )]
    SourceTruncated { position: i64, end: i64 },
    #[error(
        "the source lost records that were copied: the mirror has read up to offset {position}, {} (unclean leader election); delete the mirror and have it copied anew, or mirror the topic under another name",
        match .end {
            -1 => "and the source knows nothing of the leader that it read from".to_owned(),
            end => format!("and what the source holds from {end} on was written anew"),
        }
    )]
    SourceDiverged { position: i64, end: i64 },
    #[error(
        "the source lost what lay from offset {end} on (unclean leader election), and with it how a transaction ended of which records were copied or left out: it may end otherwise now; delete the mirror and have it copied anew, or mirror the topic under another name"
    )]
    SourceUndecided { end: i64 },
    #[error(
        "{present} records were copied after source offset {offset} that the destination has deleted since, and from there on the source has another leader (epoch {is}, was {was}): nothing tells whether these are the records that it has there now; delete the mirror and have it copied anew, or mirror the topic under another name"
    )]
    SourceUncompared {
        offset: i64,
        present: i64,
        was: i32,
        is: i32,
    },
    #[error(
        "the destination holds {missing} records that the source no longer has from offset {offset} on: the source was truncated, or its cleaner removed them"
    )]
    SourceCutBack { offset: i64, missing: i64 },
    #[error(
        "the source topic was deleted and created again: the mirror copies topic id {was}, the topic's id is now {is}"
    )]
    SourceRecreated { was: Uuid, is: Uuid },
    #[error("the source topic {topic} no longer exists")]
    SourceDeleted { topic: String },
    #[error(
        "the destination topic was deleted and created again: the mirror writes to topic id {was}, the topic's id is now {is}"
    )]
    DestinationRecreated { was: Uuid, is: Uuid },
    #[error("the destination topic {topic} no longer exists")]
    DestinationDeleted { topic: String },
    #[error("{0}")]
    Unreadable(String),
    #[error(
        "the destination refused the batch at source offset {source_offset} (destination offset {destination_offset}): {code}{}{}",
        .message.as_ref().map_or(String::new(), |message| format!(": {message}")),
        remedy(*.code)
    )]
    Refused {
        code: ErrorCode,
        message: Option<String>,
        source_offset: i64,
        destination_offset: i64,
    },
    /// A call failed with something that only a person can mend, such as a missing right.
    #[error("{operation}: {cause}")]
    Call {
        operation: &'static str,
        cause: String,
        retried: bool,
    },
}

impl Failure {
    /// Whether it is tried again by itself, because granting a right or changing a topic's setting mends it.
    pub fn is_retried(&self) -> bool {
        match self {
            Self::Refused { code, .. } => is_authorization(*code) || is_setting(*code),
            Self::CannotPad { code, .. } => is_authorization(*code),
            Self::Call { retried, .. } => *retried,
            _ => false,
        }
    }
}

impl Failure {
    /// As it is stored, for whoever wants to know without the worker.
    pub fn record(&self, now_ms: i64) -> FailureRecord {
        let (source_offset, destination_offset) = self.place();
        FailureRecord {
            version: ENDING_VERSION,
            cause: self.cause(),
            message: self.to_string(),
            source_offset,
            destination_offset,
            since_ms: now_ms,
            is_retried: self.is_retried(),
        }
    }

    fn cause(&self) -> FailureCause {
        match self {
            Self::ForeignWrite { .. } => FailureCause::ForeignWrite,
            Self::Fenced { .. } => FailureCause::Fenced,
            Self::DestinationCutBack { .. }
            | Self::Uncountable { .. }
            | Self::DestinationTooShort { .. }
            | Self::Scattered { .. }
            | Self::MapTooShort { .. }
            | Self::NotACopy { .. }
            | Self::Displaced { .. } => FailureCause::DestinationLost,
            Self::CannotPad { code, .. } | Self::Refused { code, .. }
                if is_authorization(*code) =>
            {
                FailureCause::Authorization
            }
            Self::CannotAlign { .. } | Self::HoleTooLarge { .. } | Self::CannotPad { .. } => {
                FailureCause::Offsets
            }
            Self::SourceExpired { .. } | Self::SourceExpiredUncounted { .. } => {
                FailureCause::SourceExpired
            }
            Self::SourceTruncated { .. }
            | Self::SourceDiverged { .. }
            | Self::SourceUndecided { .. }
            | Self::SourceUncompared { .. }
            | Self::SourceCutBack { .. } => FailureCause::SourceTruncated,
            Self::SourceRecreated { .. } => FailureCause::SourceRecreated,
            Self::SourceDeleted { .. } => FailureCause::SourceDeleted,
            Self::DestinationRecreated { .. } => FailureCause::DestinationRecreated,
            Self::DestinationDeleted { .. } => FailureCause::DestinationDeleted,
            Self::Unreadable(_) => FailureCause::Unreadable,
            Self::Refused { .. } => FailureCause::Refused,
            Self::Call { .. } => FailureCause::Other,
        }
    }

    /// Source and destination offset, as far as it has a place there.
    fn place(&self) -> (Option<i64>, Option<i64>) {
        match self {
            Self::ForeignWrite { offset, .. } | Self::Scattered { offset, .. } => {
                (None, Some(*offset))
            }
            Self::DestinationTooShort { end, .. } | Self::Uncountable { end, .. } => {
                (None, Some(*end))
            }
            Self::NotACopy {
                source_offset,
                destination_offset,
            }
            | Self::Refused {
                source_offset,
                destination_offset,
                ..
            } => (Some(*source_offset), Some(*destination_offset)),
            Self::Displaced { offset }
            | Self::CannotPad { offset, .. }
            | Self::SourceCutBack { offset, .. }
            | Self::SourceUncompared { offset, .. } => (Some(*offset), None),
            Self::CannotAlign {
                source_start, end, ..
            } => (Some(*source_start), Some(*end)),
            Self::HoleTooLarge { from, .. }
            | Self::SourceExpired { from, .. }
            | Self::SourceExpiredUncounted { from, .. } => (Some(*from), None),
            Self::SourceTruncated { end, .. }
            | Self::SourceDiverged { end, .. }
            | Self::SourceUndecided { end } => (Some(*end), None),
            Self::Fenced { .. }
            | Self::DestinationCutBack { .. }
            | Self::MapTooShort { .. }
            | Self::SourceRecreated { .. }
            | Self::SourceDeleted { .. }
            | Self::DestinationRecreated { .. }
            | Self::DestinationDeleted { .. }
            | Self::Unreadable(_)
            | Self::Call { .. } => (None, None),
        }
    }
}

/// What a refusal of a batch means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Final only if a few rounds of reading the tail bring nothing.
    AfterRounds,
    Final,
}

/// `None`: passes by itself, the tail decides how to go on. Codes as in Kafka's `Errors`.
pub(super) fn of_refusal(code: ErrorCode) -> Option<Verdict> {
    match code.0 {
        // CORRUPT_MESSAGE may be the network; OUT_OF_ORDER_SEQUENCE_NUMBER and DUPLICATE_SEQUENCE_NUMBER are
        // what a stale view of the tail gives; UNKNOWN_SERVER_ERROR may pass.
        2 | 45 | 46 | 59 | -1 => Some(Verdict::AfterRounds),
        // MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE, INVALID_TIMESTAMP, INVALID_RECORD, INVALID_PRODUCER_EPOCH,
        // PRODUCER_FENCED, UNSUPPORTED_COMPRESSION_TYPE, UNSUPPORTED_FOR_MESSAGE_FORMAT, UNKNOWN_TOPIC_ID, authorization.
        10 | 18 | 32 | 87 | 47 | 90 | 76 | 43 | 100 | 29 | 30 | 31 | 53 => Some(Verdict::Final),
        _ => None,
    }
}

/// Whether smaller batches may be taken: MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE.
pub(super) fn is_about_size(code: ErrorCode) -> bool {
    matches!(code.0, 10 | 18)
}

pub(super) fn is_authorization(code: ErrorCode) -> bool {
    matches!(code.0, 29 | 30 | 31 | 53)
}

/// MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE, INVALID_TIMESTAMP, INVALID_RECORD: what a setting of the destination topic
/// forbids.
fn is_setting(code: ErrorCode) -> bool {
    matches!(code.0, 10 | 18 | 32 | 87)
}

fn remedy(code: ErrorCode) -> &'static str {
    match code.0 {
        10 => "; raise max.message.bytes of the destination topic",
        18 => "; raise segment.bytes of the destination topic",
        32 => {
            "; the destination topic limits timestamps (message.timestamp.before.max.ms, message.timestamp.after.max.ms)"
        }
        87 => "; a compacted topic takes no record without a key",
        47 | 90 => "; another producer took over the mirror's id",
        29 | 31 => {
            "; grant Write on the destination topic (and IdempotentWrite on the cluster for brokers before 3.0)"
        }
        100 => "; the destination topic was deleted or recreated",
        _ => "",
    }
}
