//! What may be asked of mirrors that exist: to pause, to go on, to be promoted, to be failed over, to be reversed.
//!
//! [`act`] decides, from what is recorded alone, what is allowed and what has to be written for it; [`ask`] does it as the
//! holder of the lock. A promotion or failover is only asked for here: workers carry it out, and there is no way back from it.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::progress;
use super::records::{
    DesiredState, EndingKind, EndingRecord, IncarnationId, LinkRecord, LockRecord, MirrorRecord,
    ReversalRecord, WantedState,
};
use super::store::ControlState;
use super::writer::{ControlWriter, LockError, Write};
use crate::kafka::Client;

/// What is asked of a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum MirrorAction {
    Pause,
    Resume,
    /// Copy what the source has, then hand the topic over.
    Promote,
    /// Hand the topic over as it is.
    FailOver,
    /// Copy what the source has, hand the topic over, and mirror it to the former source from then on.
    ReverseAndStart,
    /// The same, with the mirror in the other direction paused.
    ReverseAndPause,
}

impl MirrorAction {
    fn ending(self) -> Option<EndingKind> {
        match self {
            Self::Promote | Self::ReverseAndStart | Self::ReverseAndPause => {
                Some(EndingKind::Promote)
            }
            Self::FailOver => Some(EndingKind::FailOver),
            Self::Pause | Self::Resume => None,
        }
    }

    /// What the mirror in the other direction is to do, if there is to be one.
    pub fn reversal(self) -> Option<DesiredState> {
        match self {
            Self::ReverseAndStart => Some(DesiredState::Active),
            Self::ReverseAndPause => Some(DesiredState::Paused),
            Self::Pause | Self::Resume | Self::Promote | Self::FailOver => None,
        }
    }

    /// Whether everything has to be copied first.
    pub fn copies_all(self) -> bool {
        self.ending() == Some(EndingKind::Promote)
    }

    fn wanted(self) -> WantedState {
        match self {
            Self::Pause => WantedState::Paused,
            Self::Resume => WantedState::Active,
            Self::Promote | Self::ReverseAndStart | Self::ReverseAndPause => WantedState::Promoted,
            Self::FailOver => WantedState::FailedOver,
        }
    }
}

/// What became of it for one mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is asked for now.
    Written,
    /// It was already: asking again changes nothing.
    AlreadySo,
}

/// Why it is not done for one mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionRefusal {
    /// The link has no mirror topic of that name.
    NoSuchMirror { topic: String },
    /// It was handed over already.
    Stopped { topic: String },
    /// It is being handed over.
    Pending { topic: String, kind: EndingKind },
    /// It stands still, so that nobody can say that everything is copied.
    Failed { topic: String },
    /// It is being reversed, another way than was asked for.
    Reversing { topic: String },
    /// It was to follow one that is reversed, and has not begun.
    NotTakenOver { topic: String },
}

impl fmt::Display for ActionRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchMirror { topic } => write!(f, "the link has no mirror topic {topic}"),
            Self::Stopped { topic } => write!(
                f,
                "mirror topic {topic} has already stopped mirroring: nothing more can be asked of it"
            ),
            Self::Pending { topic, kind } => {
                let what = match kind {
                    EndingKind::Promote => "promotion",
                    EndingKind::FailOver => "failover",
                };
                write!(
                    f,
                    "mirror topic {topic} is about to stop mirroring: its {what} is under way"
                )
            }
            Self::Failed { topic } => write!(
                f,
                "mirror topic {topic} has FAILED, so it cannot be promoted; it can be failed over with what it holds"
            ),
            Self::Reversing { topic } => write!(
                f,
                "mirror topic {topic} is being reversed; it can be promoted or failed over instead"
            ),
            Self::NotTakenOver { topic } => write!(
                f,
                "mirror topic {topic} has not begun to mirror, because the mirror in the other direction is to be reversed; a failover gives it up"
            ),
        }
    }
}

impl std::error::Error for ActionRefusal {}

/// What there is to write, and what becomes of each mirror topic.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// To be committed at once.
    pub writes: Vec<Write>,
    /// As they were named.
    pub outcomes: Vec<(String, Result<Asked, ActionRefusal>)>,
}

/// Decides what is done about mirror topics of a link, which are named as they are at the destination. `has_failed` says
/// whether a partition of a mirror stands still.
pub fn act(
    state: &ControlState,
    link: Uuid,
    topics: &[String],
    action: MirrorAction,
    has_failed: impl Fn(IncarnationId) -> bool,
    now_ms: i64,
) -> Decision {
    let mut decision = Decision::default();
    let mut record = state.links.get(&link).cloned();
    for topic in topics {
        let mirror = state
            .mirrors
            .values()
            .find(|mirror| mirror.id.link == link && mirror.destination_topic == *topic);
        let outcome = match (mirror, &mut record) {
            (Some(mirror), Some(record)) => {
                let asked = allowed(mirror, action, &has_failed);
                if asked == Ok(Asked::Written) {
                    let changed = changed(mirror, action, now_ms);
                    decision.writes.push(Write::Mirror(changed));
                    note(record, mirror, action);
                }
                asked
            }
            _ => Err(ActionRefusal::NoSuchMirror {
                topic: topic.clone(),
            }),
        };
        decision.outcomes.push((topic.clone(), outcome));
    }
    if let (Some(mut record), false) = (record, decision.writes.is_empty()) {
        record.generation += 1;
        decision.writes.push(Write::Link(record));
    }
    decision
}

/// Whether it may be done to a mirror, and whether there is anything to do.
fn allowed(
    mirror: &MirrorRecord,
    action: MirrorAction,
    has_failed: impl Fn(IncarnationId) -> bool,
) -> Result<Asked, ActionRefusal> {
    let topic = || mirror.destination_topic.clone();
    if mirror.has_not_taken_over() {
        return match action {
            MirrorAction::FailOver => Ok(Asked::Written),
            _ => Err(ActionRefusal::NotTakenOver { topic: topic() }),
        };
    }
    if let Some(ending) = &mirror.ending {
        let reversal = ending.reversal.as_ref().map(|it| it.state);
        return match (ending.is_over(), ending.kind, action) {
            (true, ..) => Err(ActionRefusal::Stopped { topic: topic() }),
            (false, EndingKind::FailOver, MirrorAction::FailOver) => Ok(Asked::AlreadySo),
            (false, EndingKind::Promote, _)
                if action.copies_all() && action.reversal() == reversal =>
            {
                Ok(Asked::AlreadySo)
            }
            // The other cluster may be what it waits for.
            (false, EndingKind::Promote, MirrorAction::Promote) => Ok(Asked::Written),
            // The source may have died meanwhile.
            (false, EndingKind::Promote, MirrorAction::FailOver) => Ok(Asked::Written),
            (false, ..) if reversal.is_some() => Err(ActionRefusal::Reversing { topic: topic() }),
            (false, kind, _) => Err(ActionRefusal::Pending {
                topic: topic(),
                kind,
            }),
        };
    }
    match action {
        _ if action.copies_all() && has_failed(mirror.id) => {
            Err(ActionRefusal::Failed { topic: topic() })
        }
        MirrorAction::Pause if mirror.state == DesiredState::Paused => Ok(Asked::AlreadySo),
        MirrorAction::Resume if mirror.state == DesiredState::Active => Ok(Asked::AlreadySo),
        _ => Ok(Asked::Written),
    }
}

/// The mirror's record with what is asked of it.
pub fn changed(mirror: &MirrorRecord, action: MirrorAction, now_ms: i64) -> MirrorRecord {
    let generation = mirror.generation + 1;
    let mut changed = mirror.clone();
    changed.generation = generation;
    match action.ending() {
        Some(kind) => {
            changed.ending = Some(EndingRecord {
                kind,
                generation,
                requested_ms: now_ms,
                partitions: Vec::new(),
                // Of one that never copied, nothing is left to end.
                stopped_ms: mirror.has_not_taken_over().then_some(now_ms),
                reversal: action.reversal().map(|state| ReversalRecord {
                    state,
                    is_agreed: false,
                    trouble: None,
                }),
            });
        }
        None => {
            changed.state = match action {
                MirrorAction::Pause => DesiredState::Paused,
                _ => DesiredState::Active,
            };
        }
    }
    changed
}

/// What the link says of the mirror from now on, so that a file which says otherwise is noticed.
fn note(link: &mut LinkRecord, mirror: &MirrorRecord, action: MirrorAction) {
    let settings = link.mirrors.entry(mirror.source_topic.clone()).or_default();
    settings.state = Some(action.wanted());
}

/// Asks it as the holder of the lock, for which another one is waited for `lock_timeout` at most. Gives what became of each
/// mirror topic; what is allowed is written all at once, so that a kill leaves nothing half done and asking again succeeds.
///
/// # Errors
/// That the lock was not got, or that control records cannot be read or written.
pub async fn ask(
    client: &Client,
    lock: LockRecord,
    lock_timeout: Duration,
    link: Uuid,
    topics: &[String],
    action: MirrorAction,
    now_ms: i64,
) -> Result<Vec<(String, Result<Asked, ActionRefusal>)>, LockError> {
    let mut writer = ControlWriter::acquire(client, lock, lock_timeout).await?;
    let decided = decide(client, &writer, link, topics, action, now_ms).await;
    let written = match decided {
        Ok(decision) if decision.writes.is_empty() => Ok(decision.outcomes),
        Ok(decision) => {
            let written = writer.commit(decision.writes).await;
            written.map(|()| decision.outcomes)
        }
        Err(error) => Err(error),
    };
    if let Err(error) = writer.release().await {
        // The lock ages out by itself.
        tracing::debug!(%error, "the lock could not be given back");
    }
    Ok(written?)
}

async fn decide(
    client: &Client,
    writer: &ControlWriter,
    link: Uuid,
    topics: &[String],
    action: MirrorAction,
    now_ms: i64,
) -> Result<Decision, super::ControlError> {
    let failed = match action.copies_all() {
        true => {
            let mirrors = writer.state().mirrors.keys().copied();
            failed(client, &mirrors.filter(|id| id.link == link).collect()).await?
        }
        false => HashSet::new(),
    };
    let has_failed = |id| failed.contains(&id);
    Ok(act(
        writer.state(),
        link,
        topics,
        action,
        has_failed,
        now_ms,
    ))
}

/// Those of the mirrors of which a partition stands still.
///
/// # Errors
/// That what workers stored cannot be read.
pub async fn failed(
    client: &Client,
    ids: &HashSet<IncarnationId>,
) -> Result<HashSet<IncarnationId>, super::ControlError> {
    let kept = progress::read(client, ids).await?;
    let failed = kept.into_iter().filter(|(_, kept)| kept.failure.is_some());
    Ok(failed.map(|((id, _), _)| id).collect())
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;
    use proptest::prelude::*;

    use super::*;
    use crate::control::records::{
        Acks, ForeignWrites, OffsetsSpec, Owner, RECORD_VERSION, StartSpec, TakeOverRecord,
        TakeOverStage, TimestampsSpec,
    };
    use crate::topology::selector::RenameRule;

    const LINK: Uuid = Uuid::from_u128(1);
    const ACTIONS: [MirrorAction; 6] = [
        MirrorAction::Pause,
        MirrorAction::Resume,
        MirrorAction::Promote,
        MirrorAction::FailOver,
        MirrorAction::ReverseAndStart,
        MirrorAction::ReverseAndPause,
    ];

    fn id() -> IncarnationId {
        IncarnationId {
            link: LINK,
            source_topic: Uuid::from_u128(2),
            destination_topic: Uuid::from_u128(3),
        }
    }

    fn state() -> ControlState {
        let link = LinkRecord {
            version: RECORD_VERSION,
            id: LINK,
            name: "east-to-west".to_owned(),
            owner: Owner::File,
            source_cluster_id: "east".to_owned(),
            destination_cluster_id: "west".to_owned(),
            topics: Vec::new(),
            exclude: Vec::new(),
            rename: RenameRule::Keep,
            auto_create: true,
            start: StartSpec::Earliest,
            timestamps: TimestampsSpec::AsConsumed,
            offsets: OffsetsSpec::Translate,
            replication_factor: None,
            bytes_per_second: None,
            acks: Acks::All,
            on_foreign_write: ForeignWrites::Stop,
            provenance_header: false,
            state: DesiredState::Active,
            mirrors: IndexMap::new(),
            generation: 4,
        };
        let mirror = MirrorRecord {
            version: RECORD_VERSION,
            id: id(),
            source_topic: "orders".to_owned(),
            destination_topic: "east.orders".to_owned(),
            producer_id: 1,
            producer_epoch: 0,
            provenance_header: false,
            state: DesiredState::Active,
            initial_partitions: 1,
            generation: 7,
            ending: None,
            takes_over: None,
        };
        ControlState {
            links: IndexMap::from([(LINK, link)]),
            mirrors: IndexMap::from([(mirror.id, mirror)]),
            ..ControlState::default()
        }
    }

    fn apply(state: &mut ControlState, writes: Vec<Write>) {
        for write in writes {
            write.apply(state);
        }
    }

    fn do_it(state: &mut ControlState, action: MirrorAction) -> Result<Asked, ActionRefusal> {
        let topics = ["east.orders".to_owned()];
        let decision = act(state, LINK, &topics, action, |_| false, 1_000);
        apply(state, decision.writes);
        decision.outcomes[0].1.clone()
    }

    fn stop(state: &mut ControlState) {
        let mirror = state.mirrors.get_mut(&id()).expect("it is there");
        let ending = mirror.ending.as_mut().expect("it was asked for");
        ending.stopped_ms = Some(2_000);
    }

    #[test]
    fn a_promotion_is_asked_for_once_and_noted_at_the_link() {
        let mut state = state();
        assert_eq!(do_it(&mut state, MirrorAction::Promote), Ok(Asked::Written));
        let mirror = &state.mirrors[&id()];
        let ending = mirror.pending().expect("it is pending");
        assert_eq!((ending.kind, ending.generation), (EndingKind::Promote, 8));
        assert_eq!((mirror.generation, ending.requested_ms), (8, 1_000));
        let link = &state.links[&LINK];
        assert_eq!(
            link.mirrors["orders"].state,
            Some(WantedState::Promoted),
            "else a file that says otherwise would undo it"
        );
        assert_eq!(link.generation, 5);
        let asked = do_it(&mut state, MirrorAction::Promote);
        assert_eq!(asked, Ok(Asked::AlreadySo));
        assert_eq!(state.mirrors[&id()].generation, 8);
    }

    /// Without it, a promotion whose source died could neither end nor be given up.
    #[test]
    fn a_promotion_under_way_can_become_a_failover_and_not_the_other_way_round() {
        let mut state = state();
        do_it(&mut state, MirrorAction::Promote).expect("it is active");
        let asked = do_it(&mut state, MirrorAction::FailOver);
        assert_eq!(asked, Ok(Asked::Written));
        let ending = state.mirrors[&id()].pending().cloned().expect("pending");
        assert_eq!((ending.kind, ending.generation), (EndingKind::FailOver, 9));
        let refused = do_it(&mut state, MirrorAction::Promote).expect_err("it is too late");
        assert_eq!(
            refused.to_string(),
            "mirror topic east.orders is about to stop mirroring: its failover is under way"
        );
    }

    #[test]
    fn a_paused_mirror_can_be_promoted_and_failed_over() {
        for action in [MirrorAction::Promote, MirrorAction::FailOver] {
            let mut state = state();
            do_it(&mut state, MirrorAction::Pause).expect("it is active");
            assert_eq!(do_it(&mut state, action), Ok(Asked::Written));
        }
    }

    #[test]
    fn a_stopped_mirror_refuses_everything() {
        for action in ACTIONS {
            let mut state = state();
            do_it(&mut state, MirrorAction::FailOver).expect("it is active");
            stop(&mut state);
            let before = serde_json::to_string(&state.mirrors[&id()]).expect("a record");
            let refused = do_it(&mut state, action).expect_err("it has stopped");
            assert_eq!(
                refused.to_string(),
                "mirror topic east.orders has already stopped mirroring: nothing more can be asked of it"
            );
            let after = serde_json::to_string(&state.mirrors[&id()]).expect("a record");
            assert_eq!(before, after);
        }
    }

    #[test]
    fn a_reversal_waits_for_the_source_and_can_become_a_promotion() {
        let mut state = state();
        let asked = do_it(&mut state, MirrorAction::ReverseAndPause);
        assert_eq!(asked, Ok(Asked::Written));
        let ending = state.mirrors[&id()].pending().cloned().expect("pending");
        assert!(ending.waits_for_source());
        let reversal = ending.reversal.expect("it is reversed");
        assert_eq!(reversal.state, DesiredState::Paused);
        let again = do_it(&mut state, MirrorAction::ReverseAndPause);
        assert_eq!(again, Ok(Asked::AlreadySo));
        for action in [MirrorAction::ReverseAndStart, MirrorAction::Resume] {
            let refused = do_it(&mut state, action).expect_err("it is another thing");
            assert_eq!(
                refused.to_string(),
                "mirror topic east.orders is being reversed; it can be promoted or failed over instead"
            );
        }
        assert_eq!(do_it(&mut state, MirrorAction::Promote), Ok(Asked::Written));
        let ending = state.mirrors[&id()].pending().cloned().expect("pending");
        assert_eq!((ending.reversal.clone(), ending.generation), (None, 9));
        let refused = do_it(&mut state, MirrorAction::ReverseAndStart);
        assert!(matches!(refused, Err(ActionRefusal::Pending { .. })));
    }

    /// It wrote nothing, so nobody has to end it; without it, one whose other direction is gone would wait for ever.
    #[test]
    fn a_mirror_that_has_not_taken_over_is_given_up_at_once() {
        for stage in [
            TakeOverStage::Waiting,
            TakeOverStage::Parted {
                message: "no".to_owned(),
            },
        ] {
            let mut state = state();
            let mirror = state.mirrors.get_mut(&id()).expect("it is there");
            mirror.takes_over = Some(TakeOverRecord {
                generation: 3,
                stage,
            });
            for action in [
                MirrorAction::Promote,
                MirrorAction::Pause,
                MirrorAction::ReverseAndStart,
            ] {
                let refused = do_it(&mut state, action);
                assert!(matches!(refused, Err(ActionRefusal::NotTakenOver { .. })));
            }
            let asked = do_it(&mut state, MirrorAction::FailOver);
            assert_eq!(asked, Ok(Asked::Written));
            assert!(state.mirrors[&id()].is_stopped());
        }
    }

    #[test]
    fn a_failed_mirror_can_be_failed_over_and_not_promoted() {
        let state = state();
        let topics = ["east.orders".to_owned(), "east.gone".to_owned()];
        let promoted = act(&state, LINK, &topics, MirrorAction::Promote, |_| true, 0);
        assert!(promoted.writes.is_empty());
        let words: Vec<String> = promoted
            .outcomes
            .into_iter()
            .map(|(_, outcome)| outcome.expect_err("it is refused").to_string())
            .collect();
        assert_eq!(
            words,
            [
                "mirror topic east.orders has FAILED, so it cannot be promoted; it can be failed over with what it holds",
                "the link has no mirror topic east.gone",
            ]
        );
        let failed_over = act(&state, LINK, &topics, MirrorAction::FailOver, |_| true, 0);
        assert_eq!(failed_over.outcomes[0].1, Ok(Asked::Written));
        assert_eq!(failed_over.writes.len(), 2, "the mirror and its link");
    }

    proptest! {
        /// In whatever order things are asked: what was handed over stays so, and asking twice is asking once.
        #[test]
        fn nothing_leads_back_from_an_end(steps in prop::collection::vec((0..ACTIONS.len(), any::<bool>()), 1..12)) {
            let mut state = state();
            let mut ended = false;
            for (action, stops) in steps {
                let action = ACTIONS[action];
                let generation = state.mirrors[&id()].generation;
                let outcome = do_it(&mut state, action);
                let mirror = state.mirrors[&id()].clone();
                prop_assert_eq!(outcome == Ok(Asked::Written), mirror.generation == generation + 1);
                prop_assert!(!ended || mirror.ending.is_some());
                ended = mirror.ending.is_some();
                if outcome.is_ok() {
                    prop_assert_eq!(do_it(&mut state, action), Ok(Asked::AlreadySo));
                    let settings = state.links[&LINK].mirrors.get("orders").and_then(|it| it.state);
                    prop_assert!(!ended || settings.and_then(WantedState::ending).is_some());
                }
                if stops && ended {
                    stop(&mut state);
                }
            }
        }
    }
}
