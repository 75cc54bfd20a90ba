//! What a seed draws before anything happens: sizes, settings, habits, and which faults may strike how often.
//!
//! Faults come in groups whose promises differ, so a plan draws from each on purpose instead of mixing all of them always:
//! harmless ones, in any mixture; a destination that *loses* what it had acknowledged; leaders that *forget* the
//! producer id, where only settling and the lease protect; and fatal ones, after which a mirror has to stand still.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::source::Habits;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    // Whatever the promise, these change nothing.
    KillWorker,
    FreezeWorker,
    CutConnection,
    LoseAnswers,
    MoveLeader,
    CrashBroker,
    PowerLoss,
    FreezeBroker,
    StallFollower,
    Throttle,
    HandOver,
    PauseMirror,
    TwoOwners,
    LateSave,
    StaleEnd,
    SourceLag,
    SourceRetention,
    ClearDestination,
    // The destination loses what it had confirmed.
    PowerCut,
    UncleanElection,
    // Leaders forget the producer id.
    Forget,
    ClockJump,
    // The source is no longer what was copied.
    CompactSource,
    // The mirror has to stop.
    ForeignWrite,
    Fence,
    SmallLimit,
    ExpireSource,
    TruncateSource,
    RecreateSource,
    RecreateDestination,
}

/// Kinds of faults.
pub const FAULTS: usize = Fault::RecreateDestination as usize + 1;

const HARMLESS: [Fault; 18] = [
    Fault::KillWorker,
    Fault::FreezeWorker,
    Fault::CutConnection,
    Fault::LoseAnswers,
    Fault::MoveLeader,
    Fault::CrashBroker,
    Fault::PowerLoss,
    Fault::FreezeBroker,
    Fault::StallFollower,
    Fault::Throttle,
    Fault::HandOver,
    Fault::PauseMirror,
    Fault::TwoOwners,
    Fault::LateSave,
    Fault::StaleEnd,
    Fault::SourceLag,
    Fault::SourceRetention,
    Fault::ClearDestination,
];

/// Faults that leave settling able to see everything that is still under way.
const HARMLESS_TO_SETTLING: [Fault; 8] = [
    Fault::KillWorker,
    Fault::FreezeWorker,
    Fault::CutConnection,
    Fault::HandOver,
    Fault::PauseMirror,
    Fault::StaleEnd,
    Fault::SourceLag,
    Fault::SourceRetention,
];

const FATAL: [Fault; 7] = [
    Fault::ForeignWrite,
    Fault::Fence,
    Fault::SmallLimit,
    Fault::ExpireSource,
    Fault::TruncateSource,
    Fault::RecreateSource,
    Fault::RecreateDestination,
];

/// A fault and the mean time between two of its kind, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Strikes {
    pub fault: Fault,
    pub every: u64,
}

/// Everything that a seed fixes beforehand.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub brokers: usize,
    pub min_in_sync: usize,
    pub workers: usize,
    pub session: u64,
    /// Batches and markers that the source's producers write.
    pub batches: u32,
    /// Milliseconds in which faults strike and producers write.
    pub trouble: u64,
    pub strikes: Vec<Strikes>,
    /// Whether the leader may forget the producer id: then late requests arrive while the end is watched, and
    /// replication never stands still for long.
    pub forgets: bool,
    pub habits: Habits,
    pub source_start: i64,
    /// Records that the mirror had written before the run, all of them expired at the destination.
    pub written_before: i64,
    pub destination_start: i64,
    pub window_bytes: usize,
    pub window_batches: usize,
    pub queue_bytes: usize,
    /// Longest ordinary delay of a message, in milliseconds.
    pub delay: u64,
    /// Whether Produce names topic ids, so that a recreated topic refuses what was meant for its predecessor.
    pub by_topic_id: bool,
    /// Transactions that stay open for good.
    pub left_open: usize,
    /// Whether the mirror has run before, with progress stored.
    pub start_known: bool,
    /// Whether the leader still knows the producer id then.
    pub id_known: bool,
    /// Whether destination offsets are to be those of the source.
    pub preserve: bool,
    /// Holes larger than this end equal offsets.
    pub translate_over: Option<i64>,
    /// Whether the leader alone acknowledges.
    pub acks_leader: bool,
    /// Batches smaller than this are merged.
    pub merge_below: usize,
    /// Whether records are marked with where they came from, and those of the destination left out.
    pub provenance: bool,
}

impl Plan {
    pub fn draw(seed: u64) -> Self {
        let rng = &mut SmallRng::seed_from_u64(seed);
        let group = rng.random_range(0..100);
        let forgets = (60..78).contains(&group);
        let loses = (78..88).contains(&group);
        let fatal = group >= 88;
        let trouble = rng.random_range(3_000..40_000);
        let brokers = if forgets && rng.random_bool(0.5) {
            1
        } else {
            [1, 2, 3, 3][rng.random_range(0..4)]
        };
        let mut strikes = Vec::new();
        let mut add = |fault, often: u64| {
            strikes.push(Strikes {
                fault,
                every: (trouble / often).max(1),
            });
        };
        let pool: &[Fault] = if forgets {
            &HARMLESS_TO_SETTLING
        } else {
            &HARMLESS
        };
        for fault in pool {
            if rng.random_bool(0.25) {
                add(*fault, rng.random_range(1..8));
            }
        }
        if forgets {
            let often = rng.random_range(2..20);
            add(
                [Fault::Forget, Fault::ClockJump][rng.random_range(0..2)],
                often,
            );
        }
        if loses {
            let often = rng.random_range(1..5);
            add(
                [Fault::PowerCut, Fault::UncleanElection][rng.random_range(0..2)],
                often,
            );
        }
        if fatal {
            add(FATAL[rng.random_range(0..FATAL.len())], 2);
        }
        let compacts = !forgets && !loses && !fatal && rng.random_bool(0.1);
        if compacts {
            add(Fault::CompactSource, rng.random_range(1..4));
            // With nothing at the destination to compare with, positions are counted alone.
            strikes.retain(|strikes| strikes.fault != Fault::ClearDestination);
        }
        let mut habits = habits(rng, forgets);
        let expires = strikes
            .iter()
            .any(|strikes| strikes.fault == Fault::ExpireSource);
        if expires && strikes.iter().any(|it| it.fault == Fault::TwoOwners) {
            // One of them may move the start behind what the other has copied: only a comparison tells.
            strikes.retain(|strikes| strikes.fault != Fault::ClearDestination);
        }
        if compacts || expires {
            // The judge could not tell a record that is gone from one that looks alike.
            habits.identical = 0.0;
        }
        let (source_start, destination_start) = match rng.random_range(0..6) {
            0 => (rng.random_range(1..5_000), 0),
            1 => (3_000_000_000 + rng.random_range(0..1_000), 0),
            2 => (0, rng.random_range(1..100)),
            _ => (0, 0),
        };
        let start_known = rng.random_bool(0.15);
        let preserve = !start_known && destination_start == 0 && rng.random_bool(0.5);
        let source_start = if preserve && source_start > 0 {
            // Filled with so many records.
            rng.random_range(1..300)
        } else {
            source_start
        };
        let has = |strikes: &[Strikes], which: &[Fault]| {
            strikes.iter().any(|strikes| which.contains(&strikes.fault))
        };
        let shifting = [Fault::PowerCut, Fault::UncleanElection, Fault::ForeignWrite];
        if preserve && has(&strikes, &shifting) {
            // What shows that records are missing, or lie elsewhere, must not be deleted.
            strikes.retain(|strikes| strikes.fault != Fault::ClearDestination);
        }
        let mut leaves_out = true;
        if preserve && has(&strikes, &[Fault::TwoOwners]) {
            // Markers have no sequence, so that they are one owner's alone: two meet where none are needed.
            habits.transactions = 0.0;
            habits.gappy = 0.0;
            leaves_out = false;
            strikes.retain(|strikes| strikes.fault != Fault::CompactSource);
        }
        let translate_over = rng.random_range(0..30);
        let may_translate = preserve
            && !forgets
            && !has(&strikes, &shifting)
            && !has(&strikes, &[Fault::TwoOwners]);
        if may_translate && translate_over < 8 {
            // A late write of progress could take back that offsets are translated.
            strikes.retain(|strikes| strikes.fault != Fault::LateSave);
        }
        let translate_over = Some(translate_over).filter(|most| may_translate && *most < 8);
        let written_before = match rng.random_range(0..4) {
            _ if !start_known => 0,
            // Sequence numbers wrap during the run.
            0 | 1 => (1 << 31) - rng.random_range(0..200),
            _ => rng.random_range(0..10_000_000_000),
        };
        // From a source of its own, so that seeds keep everything else.
        let apart = &mut SmallRng::seed_from_u64(!seed);
        let provenance = apart.random_bool(0.2);
        if provenance && leaves_out {
            habits.returns = [0.0, 0.1, 0.4, 0.9][apart.random_range(0..4)];
        }
        Self {
            seed,
            brokers,
            min_in_sync: if brokers == 3 { 2 } else { 1 },
            workers: rng.random_range(1..=3),
            session: rng.random_range(3_000..12_000),
            batches: if rng.random_bool(0.1) {
                rng.random_range(0..3)
            } else {
                rng.random_range(3..80)
            },
            trouble,
            strikes,
            forgets,
            habits,
            source_start,
            written_before,
            destination_start,
            window_bytes: rng.random_range(200..6_000),
            window_batches: rng.random_range(1..16),
            queue_bytes: rng.random_range(200..4_000),
            delay: if forgets {
                rng.random_range(1..60)
            } else {
                [5, 20, 100, 400][rng.random_range(0..4)]
            },
            by_topic_id: rng.random_bool(0.5),
            left_open: usize::from(rng.random_bool(0.1)),
            start_known,
            id_known: written_before > 0 && rng.random_bool(0.5),
            preserve,
            translate_over,
            acks_leader: rng.random_bool(0.4),
            merge_below: [0, 100, 4_000][rng.random_range(0..3)],
            provenance,
        }
    }

    /// The same without some faults.
    #[must_use]
    pub fn without(&self, faults: &[Fault]) -> Self {
        let mut plan = self.clone();
        plan.strikes
            .retain(|strikes| !faults.contains(&strikes.fault));
        plan
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.strikes.iter().any(|strikes| strikes.fault == fault)
    }
}

/// When the run begins, by the brokers' clocks.
pub const BEGINNING: i64 = 1_800_000_000_000;
/// How long a producer id is remembered after its last record's time.
pub const EXPIRY: i64 = 86_400_000;

fn habits(rng: &mut SmallRng, old: bool) -> Habits {
    let codecs = match rng.random_range(0..8) {
        // Making and reading these takes a while.
        0 => vec![0, 1, 2, 3, 4],
        1 | 2 => vec![2, 3],
        _ => vec![0],
    };
    let pick = |rng: &mut SmallRng, values: &[f64]| values[rng.random_range(0..values.len())];
    Habits {
        codecs,
        transactions: pick(rng, &[0.0, 0.0, 0.3, 0.8]),
        append_time: pick(rng, &[0.0, 0.0, 0.0, 0.3]),
        identical: pick(rng, &[0.0, 0.0, 0.7]),
        gappy: pick(rng, &[0.0, 0.0, 0.2]),
        returns: 0.0,
        first_time: if old {
            BEGINNING - 3 * EXPIRY
        } else {
            BEGINNING
        },
    }
}
