//! What a partition is told and what it answers.

use bytes::Bytes;

use super::Failure;
use crate::control::records::{Alignment, Anchor, FillWay, MapRecord};
use crate::kafka::ErrorCode;
use crate::mirror::batch::{BatchHeader, Rewritten};

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// The source offset that the link's `start` means, where the destination's log begins and ends, and
    /// what can take up offsets there before the first record.
    StartResolved {
        source: i64,
        destination: LogSpan,
        fill: FillWay,
    },
    /// What [`Action::Save`] asked for is stored for good.
    Saved,
    /// The settled tail of the destination.
    Tail(Tail),
    /// The same of a partition that others write to as well.
    SharedTail(SharedTail),
    Fetched(Fetched),
    /// The source no longer (or not yet) has the offset that was asked for.
    SourceLost {
        attempt: u64,
        log_start: i64,
        end: i64,
    },
    /// What was read up to the offset asked for is not in the source's log any more (KIP-320): of the leader epoch read last
    /// it has what lies before `end`, -1 where it knows nothing of that epoch.
    SourceDiverged {
        attempt: u64,
        end: i64,
    },
    /// One answer for each [`Action::Send`], in order.
    Answer {
        attempt: u64,
        answer: Answer,
    },
    /// The answer to [`Action::Pad`].
    Padded {
        attempt: u64,
        answer: PadAnswer,
    },
    /// What [`Action::DeleteBefore`] asked for is done.
    Deleted,
    /// The destination's high watermark, as [`Action::AskWatermark`] asked.
    Watermark {
        attempt: u64,
        end: i64,
        /// Of the leader that told it, -1 where it does not say.
        leader_epoch: i32,
    },
    /// What the destination holds, as [`Action::ReadBack`] asked; nothing where it could not be read just now.
    ReadBack {
        attempt: u64,
        /// The first offset that is still there.
        start: i64,
        /// Batches below the high watermark, one after the other.
        batches: Vec<TailBatch>,
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
    /// The mirror is promoted: what the source has is copied, then the partition stops.
    Drain,
    /// The worker gives the partition up.
    Stop,
    /// Where the source's `read_committed` view ended, as [`Action::AskSourceEnd`] asked.
    SourceEnd {
        end: i64,
    },
    /// A second passed.
    Tick,
}

/// Where a log begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSpan {
    pub start: i64,
    /// The high watermark.
    pub end: i64,
}

/// What became of control markers.
#[derive(Debug)]
pub enum PadAnswer {
    /// They are written; the log's end was looked up afterwards.
    Ends { at: i64 },
    /// Nothing was written: this user may only write empty transactions, and that there may be some has to be stored first.
    OnlyByTransactions,
    /// By a broker; where a right is missing, neither way is open.
    Refused {
        code: ErrorCode,
        message: Option<String>,
    },
    /// Whether they were written is not known, or they were never sent.
    Lost { cause: String },
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
    /// The first offset that is still there.
    pub start: i64,
    /// The high watermark, with nothing appended beyond it.
    pub end: i64,
    /// The last data batch, unless the log is empty or ends in markers only.
    pub last: Option<TailBatch>,
    /// The sequence that the leader expects next of the mirror's producer id, if it remembers it.
    pub producer_next_sequence: Option<i32>,
    /// The epoch that the leader knows of it, if it remembers it.
    pub producer_epoch: Option<i32>,
    /// In which epoch that leader leads, -1 where it does not say.
    pub leader_epoch: i32,
}

/// A data batch of the destination, most often the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailBatch {
    pub header: BatchHeader,
    /// The whole batch, header included.
    pub batch: Bytes,
}

/// What a partition that others write to as well holds of this mirror, once no more of that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedTail {
    /// The first offset that is still there.
    pub start: i64,
    /// Up to where it was looked through, which is below the high watermark.
    pub end: i64,
    /// The batch that holds the offset before the one that was asked for, where there still is one.
    pub before: Option<BatchHeader>,
    /// This mirror's batches from the offset asked for on, in the order of the log.
    pub spans: Vec<Span>,
    /// The last of these batches.
    pub last: Option<TailBatch>,
    /// The sequence that the leader expects next of the mirror's producer id, if it remembers it.
    pub producer_next_sequence: Option<i32>,
    /// The epoch that the leader knows of it, if it remembers it.
    pub producer_epoch: Option<i32>,
}

/// Where records of this mirror lie one after another: a batch, or several that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub base_offset: i64,
    /// Sequence of the first one.
    pub base_sequence: i32,
    pub count: i64,
}

/// Which of the source's histories the destination has: a leader whose log parted from it is not read (KIP-320).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownEpoch {
    /// The source was read up to here.
    pub before: i64,
    /// Leader epoch of the last batch before it, -1 where it is not known.
    pub leader_epoch: i32,
}

impl KnownEpoch {
    /// Nothing is known.
    pub const NONE: Self = Self {
        before: -1,
        leader_epoch: -1,
    };

    pub fn of(position: &Anchor) -> Self {
        Self {
            before: position.source_offset,
            leader_epoch: position.source_leader_epoch,
        }
    }
}

/// Something to do.
#[derive(Debug)]
pub enum Action {
    /// Find the source offset that `start` means and the destination's log: [`Event::StartResolved`].
    ResolveStart,
    /// Wait until the destination's end does not move, read it: [`Event::Tail`].
    ReadTail {
        /// First end what a former owner's transactions may still append.
        fence: bool,
        /// No data batch needs to be looked for before this offset.
        from: i64,
    },
    /// Wait until no more of this mirror's batches come, and find those from offset `from` on: [`Event::SharedTail`].
    ReadSharedTail {
        /// First end what a former owner's transactions may still append.
        fence: bool,
        from: i64,
    },
    /// Fetch from the source: [`Event::Fetched`], [`Event::SourceLost`] or [`Event::SourceDiverged`].
    Fetch {
        attempt: u64,
        offset: i64,
        known: KnownEpoch,
    },
    /// Write to the destination: [`Event::Answer`]. Once a batch of an attempt got lost, those of the same
    /// attempt that follow must not be sent: a leader that forgot the producer id would take them.
    Send {
        attempt: u64,
        batch: Rewritten,
    },
    /// Write control markers until the destination ends at `to`; it ends at `from` and nothing is on its way there:
    /// [`Event::Padded`].
    Pad {
        attempt: u64,
        from: i64,
        to: i64,
        /// Empty transactions may be used where the right to write markers is missing.
        by_transactions: bool,
    },
    /// Delete what the destination holds before the offset: [`Event::Deleted`].
    DeleteBefore {
        offset: i64,
    },
    /// Look up where the source's `read_committed` view ends now: [`Event::SourceEnd`].
    AskSourceEnd,
    /// Look up the destination's high watermark: [`Event::Watermark`].
    AskWatermark {
        attempt: u64,
    },
    /// Read some of what the destination holds from this offset on: [`Event::ReadBack`].
    ReadBack {
        attempt: u64,
        from: i64,
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
        alignment: Alignment,
        pads_by_transactions: bool,
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
    /// Offsets from `from` to `to` are taken up before anything is copied.
    Filling {
        from: i64,
        to: i64,
    },
    /// From this source offset on, records get other offsets at the destination.
    Translating {
        from: i64,
        why: String,
    },
    Recovering {
        cause: String,
        round: u32,
    },
    Paused,
    Stopped,
    Failed(Failure),
}
