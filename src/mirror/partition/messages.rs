//! What a partition is told and what it answers.

use bytes::Bytes;

use super::Failure;
use crate::control::records::{Anchor, MapRecord};
use crate::kafka::ErrorCode;
use crate::mirror::batch::header::ContentKey;
use crate::mirror::batch::{BatchHeader, Rewritten};

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// The source offset that the link's `start` means, and the destination's end offset.
    StartResolved {
        source: i64,
        destination: i64,
    },
    /// What [`Action::Save`] asked for is stored for good.
    Saved,
    /// The settled tail of the destination.
    Tail(Tail),
    Fetched(Fetched),
    /// The source no longer (or not yet) has the offset that was asked for.
    SourceLost {
        attempt: u64,
        log_start: i64,
        end: i64,
    },
    /// One answer for each [`Action::Send`], in order.
    Answer {
        attempt: u64,
        answer: Answer,
    },
    /// The destination's end offset, looked up while nothing was being written.
    EndSeen {
        end: i64,
    },
    /// A call around the partition failed for good.
    Failed(Failure),
    /// The link wants data to flow.
    Run,
    /// The link wants no more written, and the position kept.
    Pause,
    /// The worker gives the partition up.
    Stop,
    /// A second passed.
    Tick,
}

/// What became of a batch.
#[derive(Debug)]
pub enum Answer {
    Acknowledged {
        base_offset: i64,
    },
    Refused {
        code: ErrorCode,
        message: Option<String>,
    },
    /// No answer will come (connection lost), or it was never sent.
    Lost {
        cause: String,
    },
}

/// Part of the source's log.
#[derive(Debug)]
pub struct Fetched {
    pub attempt: u64,
    pub records: Bytes,
    /// (producer id, first offset) of transactions that were rolled back.
    pub aborted: Vec<(i64, i64)>,
    pub last_stable_offset: i64,
}

/// The destination's end once it no longer moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The high watermark, with nothing appended beyond it.
    pub end: i64,
    /// The last data batch, unless the log is empty or ends in markers only.
    pub last: Option<TailBatch>,
    /// The sequence that the leader expects next of the mirror's producer id, if it remembers it.
    pub producer_next_sequence: Option<i32>,
}

/// The last data batch of the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailBatch {
    pub header: BatchHeader,
    pub key: ContentKey,
}

/// Something to do.
#[derive(Debug)]
pub enum Action {
    /// Find the source offset that `start` means and the destination's end: [`Event::StartResolved`].
    ResolveStart,
    /// Wait until the destination's end does not move, read it: [`Event::Tail`].
    ReadTail,
    /// Fetch from the source: [`Event::Fetched`] or [`Event::SourceLost`].
    Fetch {
        attempt: u64,
        offset: i64,
    },
    /// Write to the destination: [`Event::Answer`]. Once a batch of an attempt got lost, those of the same
    /// attempt that follow must not be sent: a leader that forgot the producer id would take them.
    Send {
        attempt: u64,
        batch: Rewritten,
    },
    /// Batches of attempts before this one need not be sent any more (their answers are still due).
    Abandon {
        attempt: u64,
    },
    /// Store progress: [`Event::Saved`].
    Save {
        anchors: Vec<Anchor>,
        map_chunk: u32,
        map: Vec<(u32, MapRecord)>,
    },
    /// Records arrived, for the figures.
    Copied {
        records: i64,
        bytes: u64,
    },
    Notify(Notice),
}

/// Something people may want to know.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    FirstRecord {
        source_offset: i64,
        destination_offset: i64,
    },
    CaughtUp {
        offset: i64,
    },
    /// The source dropped the beginning before the first record was copied.
    StartMoved {
        from: i64,
        to: i64,
    },
    Recovering {
        cause: String,
        round: u32,
    },
    Paused,
    Stopped,
    Failed(Failure),
}
