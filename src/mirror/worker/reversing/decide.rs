//! What is decided about a mirror that is reversed: from records, and from where logs end.

use std::fmt;

use crate::control::Write;
use crate::control::records::{
    Alignment, Anchor, DesiredState, EndedPartition, FillWay, IncarnationId, LinkRecord,
    MirrorRecord, MirrorSettings, ProgressRecord, REVERSAL_VERSION, ReversalRecord, TakeOverRecord,
    TakeOverStage, WantedState,
};
use crate::control::store::ControlState;
use crate::kafka::admin::ProducerIdentity;
use crate::linking::configs::Configs;
use crate::linking::operations;

/// A mirror that is reversed, on the cluster that holds it.
#[derive(Clone, Copy, Debug)]
pub struct Reversed<'a> {
    pub link: &'a LinkRecord,
    pub mirror: &'a MirrorRecord,
    pub reversal: &'a ReversalRecord,
    /// Of the request.
    pub generation: u64,
}

/// What was seen of one partition at both clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionSeen {
    /// Where the log ends at the source; `None`: a transaction is open, or something is not replicated yet.
    pub source: Option<i64>,
    /// The same at the mirror topic.
    pub destination: Option<i64>,
    /// What is stored; `None`: nothing was copied yet.
    pub copied: Option<Copied>,
    pub has_failed: bool,
}

/// How far a partition was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    pub source_offset: i64,
    pub destination_offset: i64,
    /// Whether offsets are those of the source.
    pub is_equal: bool,
}

/// Why a reversal does not go on yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// The partition is not copied to its end.
    Behind {
        partition: i32,
        offsets: i64,
    },
    /// Something is on its way at the source.
    Unsettled {
        partition: i32,
    },
    NotBegun {
        partition: i32,
    },
    Failed {
        partition: i32,
    },
    /// Offsets are not those of the source.
    Translated {
        partition: i32,
    },
    /// The mirror topic ends elsewhere than its mirror.
    Foreign {
        partition: i32,
    },
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Behind { partition, offsets } => write!(
                f,
                "partition {partition} of the source topic has {offsets} offsets that are not copied: the reversal waits until nothing \
                 more is written there; stop its producers"
            ),
            Self::Unsettled { partition } => write!(
                f,
                "partition {partition} of the source topic has records that are not replicated, or a transaction that is open: the \
                 reversal waits until nothing is on its way there; stop its producers"
            ),
            Self::NotBegun { partition } => write!(
                f,
                "partition {partition} was not copied yet: the reversal waits for a worker that carries the link"
            ),
            Self::Failed { partition } => write!(
                f,
                "partition {partition} has FAILED, so it cannot be reversed; the mirror can be failed over with what it holds"
            ),
            Self::Translated { partition } => write!(
                f,
                "partition {partition} has other offsets than the source, and only mirrors with equal offsets can be reversed: promote \
                 the mirror instead"
            ),
            Self::Foreign { partition } => write!(
                f,
                "partition {partition} of the mirror topic ends elsewhere than its mirror does: the reversal waits until that is looked into"
            ),
        }
    }
}

/// Where all partitions end, if everything is copied and nothing is on its way.
///
/// # Errors
/// What is waited for.
pub fn standstill(partitions: &[PartitionSeen]) -> Result<Vec<i64>, Waits> {
    let indexed = (0..).zip(partitions);
    indexed
        .map(|(index, seen)| stands_at(index, seen))
        .collect()
}

fn stands_at(partition: i32, seen: &PartitionSeen) -> Result<i64, Waits> {
    if seen.has_failed {
        return Err(Waits::Failed { partition });
    }
    let copied = seen.copied.ok_or(Waits::NotBegun { partition })?;
    if !copied.is_equal || copied.source_offset != copied.destination_offset {
        return Err(Waits::Translated { partition });
    }
    let end = seen.source.ok_or(Waits::Unsettled { partition })?;
    if end > copied.source_offset {
        let offsets = end - copied.source_offset;
        return Err(Waits::Behind { partition, offsets });
    }
    match seen.destination {
        Some(mirror) if mirror == end && copied.source_offset == end => Ok(end),
        _ => Err(Waits::Foreign { partition }),
    }
}

/// What has become of a source since its mirror has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It ends, by partition, where the mirror does.
    Agrees(Vec<i64>),
    /// Something is on its way there.
    Unsettled(Waits),
    /// It holds something else than the mirror.
    Parted(String),
}

/// Compares where a mirror ended with where its source ends now; `None` as [`PartitionSeen::source`].
pub fn compare(ended: &[EndedPartition], source: &[Option<i64>]) -> Verdict {
    if ended.len() != source.len() {
        return Verdict::Parted(format!(
            "the former source topic has {} partitions by now, and its mirror ended with {}: what the others hold is not at the new source; \
             delete the topic here and make a mirror of it anew",
            source.len(),
            ended.len()
        ));
    }
    let mut ends = Vec::with_capacity(source.len());
    for (end, found) in ended.iter().zip(source) {
        let partition = end.partition;
        let Some(found) = *found else {
            return Verdict::Unsettled(Waits::Unsettled { partition });
        };
        let (agreed, mirror) = (end.source_offset, end.destination_offset);
        if found > agreed {
            return Verdict::Parted(format!(
                "partition {partition} of the former source topic was written to while the mirror ended: what lies from offset {agreed} to \
                 {found} is here alone. Save it if it is wanted, then delete the topic here and make a mirror of it anew"
            ));
        }
        if found < agreed || mirror != agreed {
            return Verdict::Parted(format!(
                "partition {partition} of the former source topic ends at offset {found}, and its mirror ended at {mirror}, with {agreed} \
                 copied: delete the topic here and make a mirror of it anew"
            ));
        }
        ends.push(found);
    }
    Verdict::Agrees(ends)
}

/// The mirror in the other direction, which follows.
pub fn incarnation(half: &LinkRecord, mirror: &MirrorRecord) -> IncarnationId {
    IncarnationId {
        link: half.id,
        source_topic: mirror.id.destination_topic,
        destination_topic: mirror.id.source_topic,
    }
}

/// The half of the link on the other cluster, with everything that a mirror in the other direction needs.
///
/// # Errors
/// Why there cannot be one.
pub fn other_half<'s>(
    remote: &'s ControlState,
    reversed: Reversed<'_>,
) -> Result<&'s LinkRecord, String> {
    let Reversed { link, mirror, .. } = reversed;
    let found = operations::other_half(remote, &link.name, &link.destination_cluster_id)
        .map_err(|refusal| refusal.to_string())?;
    let half = found.ok_or_else(|| {
        format!(
            "the other cluster has no link `{}` with link.mode BIDIRECTIONAL: create it",
            link.name
        )
    })?;
    let configs = remote.configs.get(&half.id).map(Configs::sealed);
    if configs.is_some_and(|configs| configs.prefix().is_some()) {
        return Err(format!(
            "the link `{}` on the other cluster has a cluster.link.prefix: mirrors of such links cannot be reversed",
            link.name
        ));
    }
    let id = incarnation(half, mirror);
    let mut others = remote.mirrors.values();
    let taken = others.find(|other| {
        other.destination_topic == mirror.source_topic && !other.is_stopped() && other.id != id
    });
    match taken {
        Some(other) => Err(format!(
            "the source topic {} is a mirror of {} itself",
            mirror.source_topic, other.source_topic
        )),
        None => Ok(half),
    }
}

/// Whether the other cluster is prepared: the mirror there waits for this reversal.
///
/// # Errors
/// Why it cannot be.
pub fn is_prepared(remote: &ControlState, reversed: Reversed<'_>) -> Result<bool, String> {
    let half = other_half(remote, reversed)?;
    let Some(record) = remote.mirrors.get(&incarnation(half, reversed.mirror)) else {
        return Ok(false);
    };
    if record.waits_to_take_over() {
        let generation = record.takes_over.as_ref().map(|it| it.generation);
        return Ok(generation == Some(reversed.generation));
    }
    let is_live = !record.is_stopped() && !record.has_not_taken_over();
    match is_live {
        true => Err(format!(
            "{} is mirrored back to the other cluster already",
            reversed.mirror.destination_topic
        )),
        false => Ok(false),
    }
}

/// What prepares the other cluster: a mirror that waits, with a producer id of its own. Of what it was before, if it was there, nothing is left but its
/// generation.
///
/// # Errors
/// As [`other_half`].
pub fn prepare(
    remote: &ControlState,
    reversed: Reversed<'_>,
    partitions: i32,
    producer: ProducerIdentity,
) -> Result<Vec<Write>, String> {
    let half = other_half(remote, reversed)?;
    let Reversed {
        mirror, reversal, ..
    } = reversed;
    let id = incarnation(half, mirror);
    let former = remote.mirrors.get(&id).map_or(0, |it| it.generation);
    let waiting = MirrorRecord {
        version: REVERSAL_VERSION,
        id,
        source_topic: mirror.destination_topic.clone(),
        destination_topic: mirror.source_topic.clone(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        provenance_header: false,
        state: reversal.state,
        initial_partitions: partitions,
        generation: former + 1,
        ending: None,
        takes_over: Some(TakeOverRecord {
            generation: reversed.generation,
            stage: TakeOverStage::Waiting,
        }),
    };
    let mut half = half.clone();
    half.generation += 1;
    let by_rule = half.rename.apply(&waiting.source_topic);
    let is_renamed = by_rule.as_deref() != Ok(waiting.destination_topic.as_str());
    let settings = half
        .mirrors
        .entry(waiting.source_topic.clone())
        .or_default();
    *settings = MirrorSettings {
        rename_to: is_renamed.then(|| waiting.destination_topic.clone()),
        state: Some(match reversal.state {
            DesiredState::Active => WantedState::Active,
            DesiredState::Paused => WantedState::Paused,
        }),
        ..settings.clone()
    };
    Ok(vec![Write::Link(half), Write::Mirror(waiting)])
}

/// Where the mirror in the other direction has come to, as the other cluster has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Other {
    /// It waits.
    Waiting(Box<MirrorRecord>),
    /// It mirrors, or did so before somebody ended it.
    Begun,
    /// There is none, for this reason.
    None(String),
}

pub fn other_mirror(remote: &ControlState, reversed: Reversed<'_>) -> Other {
    let mut mirrors = remote.mirrors.values();
    let found = mirrors.find(|other| {
        let takes_over = other.takes_over.as_ref();
        other.id.source_topic == reversed.mirror.id.destination_topic
            && other.id.destination_topic == reversed.mirror.id.source_topic
            && takes_over.is_some_and(|it| it.generation == reversed.generation)
    });
    match found.and_then(|it| Some((it, it.takes_over.as_ref()?))) {
        Some((mirror, takes_over)) => match &takes_over.stage {
            TakeOverStage::Waiting => Other::Waiting(Box::new(mirror.clone())),
            TakeOverStage::Begun => Other::Begun,
            TakeOverStage::Parted { message } => Other::None(message.clone()),
        },
        None => Other::None(
            "the mirror in the other direction was given up at the other cluster before it began"
                .to_owned(),
        ),
    }
}

/// The waiting mirror with what became of it.
pub fn decided(mirror: &MirrorRecord, generation: u64, stage: TakeOverStage) -> MirrorRecord {
    MirrorRecord {
        generation: mirror.generation + 1,
        takes_over: Some(TakeOverRecord { generation, stage }),
        ..mirror.clone()
    }
}

/// What is stored of a partition before the mirror in the other direction writes there: both logs are the same up to here, and nothing of it is the
/// mirror's own.
pub fn first_progress(offset: i64, producer_epoch: i16) -> ProgressRecord {
    ProgressRecord {
        version: REVERSAL_VERSION,
        anchors: vec![Anchor {
            source_offset: offset,
            source_leader_epoch: -1,
            destination_offset: offset,
            count: 0,
            epoch: producer_epoch,
        }],
        map_chunk: 0,
        alignment: Alignment::Equal {
            start: offset,
            fill: FillWay::Content,
            filling: false,
        },
        pads_by_transactions: false,
        destination_leader_epoch: -1,
    }
}
