//! States as clients of Cluster Linking know them, from every combination of what can be known.

use std::collections::HashMap;

use indexmap::IndexMap;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::control::progress::{Kept, Stored};
use crate::control::records::{
    Acks, Alignment, Anchor, DesiredState, EndedPartition, EndingKind, FailureCause, Fence,
    FillWay, ForeignWrites, LinkRecord, MirrorRecord, MirrorSettings, OffsetsSpec, Owner,
    ProgressRecord, RECORD_VERSION, StartSpec, TimestampsSpec,
};
use crate::control::store::ControlState;
use crate::topology::selector::{RenameRule, TopicSelector};

const LINK: Uuid = Uuid::from_u128(1);
const SOURCE: Uuid = Uuid::from_u128(2);
const DESTINATION: Uuid = Uuid::from_u128(3);

fn id() -> IncarnationId {
    IncarnationId {
        link: LINK,
        source_topic: SOURCE,
        destination_topic: DESTINATION,
    }
}

type Change = Box<dyn Fn(&mut Scene)>;

struct Scene {
    state: ControlState,
    kept: HashMap<(IncarnationId, i32), Kept>,
    live: Live,
}

impl Scene {
    /// One partition, of which 7 records were stored as copied; the source has 20, the destination 9.
    fn new() -> Self {
        let link = LinkRecord {
            version: RECORD_VERSION,
            id: LINK,
            name: "east-to-west".to_owned(),
            owner: Owner::File,
            source_cluster_id: "east".to_owned(),
            destination_cluster_id: "west".to_owned(),
            topics: vec![TopicSelector::from_text("orders").expect("a name")],
            exclude: Vec::new(),
            rename: RenameRule::Prefix("east.".to_owned()),
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
            generation: 1,
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
            generation: 1,
            ending: None,
            takes_over: None,
        };
        let topic = |id, end| TopicEnds {
            id,
            ends: vec![Some(end)],
        };
        let mut scene = Self {
            state: ControlState {
                links: IndexMap::from([(LINK, link)]),
                mirrors: IndexMap::from([(id(), mirror)]),
                ..ControlState::default()
            },
            kept: HashMap::new(),
            live: Live {
                destination: Topics::from([("east.orders".to_owned(), topic(DESTINATION, 9))]),
                sources: HashMap::from([(
                    "east".to_owned(),
                    Ok(Topics::from([("orders".to_owned(), topic(SOURCE, 20))])),
                )]),
                workers: HashMap::from([("kmirror".to_owned(), 1)]),
            },
        };
        scene.stored(Alignment::default());
        scene
    }

    fn stored(&mut self, alignment: Alignment) {
        let anchor = Anchor {
            source_offset: 7,
            source_leader_epoch: 0,
            destination_offset: 7,
            count: 7,
            epoch: 0,
        };
        let record = ProgressRecord {
            version: RECORD_VERSION,
            anchors: vec![anchor],
            map_chunk: 0,
            alignment,
            pads_by_transactions: false,
            destination_leader_epoch: -1,
        };
        let chunks = HashMap::new();
        self.kept.entry((id(), 0)).or_default().progress = Some(Stored { record, chunks });
    }

    fn failed(&mut self, cause: FailureCause, message: &str) {
        self.kept.entry((id(), 0)).or_default().failure = Some(FailureRecord {
            version: 2,
            cause,
            message: message.to_owned(),
            source_offset: None,
            destination_offset: Some(5),
            since_ms: 77,
            is_retried: false,
        });
    }

    fn link(&mut self) -> &mut LinkRecord {
        self.state.links.get_mut(&LINK).expect("it is there")
    }

    fn mirror(&mut self) -> &mut MirrorRecord {
        self.state.mirrors.get_mut(&id()).expect("it is there")
    }

    fn ends(&mut self, kind: EndingKind, stopped_ms: Option<i64>) {
        self.mirror().ending = Some(EndingRecord {
            kind,
            generation: 2,
            requested_ms: 1_000,
            partitions: stopped_ms.map_or_else(Vec::new, |_| {
                vec![EndedPartition {
                    partition: 0,
                    source_offset: 9,
                    destination_offset: 9,
                    fence: Fence::Waited,
                }]
            }),
            stopped_ms,
            reversal: None,
        });
    }

    fn status(&self) -> MirrorStatus {
        let mut found = mirrors(&self.state, &self.kept, &self.live);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    fn words(&self) -> String {
        let status = self.status();
        let message = status.message.unwrap_or_default();
        format!("{} {} {message}", status.state.name(), status.error.name())
    }
}

#[test]
fn a_healthy_mirror_is_active_and_its_lag_is_counted_to_the_live_ends() {
    let scene = Scene::new();
    assert_eq!(scene.words(), "ACTIVE NO_ERROR ");
    let status = scene.status();
    assert_eq!(status.id, Some(id()));
    let [partition] = status.partitions.as_slice() else {
        panic!("{status:?}");
    };
    // Two more came since the position was stored.
    assert_eq!(
        (partition.lag, partition.last_source_fetch_offset),
        (Some(11), 8)
    );
    assert_eq!(
        (partition.source_end, partition.destination_end),
        (Some(20), Some(9))
    );
}

#[test]
fn lag_is_what_is_known_and_nothing_else() {
    let lag = |change: &dyn Fn(&mut Scene)| {
        let mut scene = Scene::new();
        change(&mut scene);
        let partition = scene.status().partitions.remove(0);
        (partition.lag, partition.last_source_fetch_offset)
    };
    let equal = |filling| Alignment::Equal {
        start: 7,
        fill: FillWay::Records,
        filling,
    };
    assert_eq!(lag(&|it| it.stored(equal(false))), (Some(11), 8));
    // Filler is no record of the source.
    assert_eq!(lag(&|it| it.stored(equal(true))), (Some(13), 6));
    // Others write to it as well, so its end says nothing.
    let shared = |it: &mut Scene| it.link().on_foreign_write = ForeignWrites::Translate;
    assert_eq!(lag(&shared), (Some(13), 6));
    assert_eq!(lag(&|it| it.kept.clear()), (None, -1), "never fetched");
    assert_eq!(
        lag(&|it| it.live.sources.clear()),
        (None, 8),
        "nobody asked"
    );
    let ended = |kind| move |it: &mut Scene| it.ends(kind, Some(5));
    assert_eq!(lag(&ended(EndingKind::Promote)), (Some(0), 8));
    assert_eq!(lag(&ended(EndingKind::FailOver)), (None, 8));
}

#[test]
fn each_state_has_its_cause() {
    let words = |change: &dyn Fn(&mut Scene)| {
        let mut scene = Scene::new();
        change(&mut scene);
        scene.words()
    };
    let unreachable = |it: &mut Scene| {
        let cause = "east does not answer".to_owned();
        it.live.sources.insert("east".to_owned(), Err(cause));
    };
    let recreated = |topic: &str| {
        let topic = topic.to_owned();
        move |it: &mut Scene| {
            for topics in [
                &mut it.live.destination,
                it.live
                    .sources
                    .get_mut("east")
                    .expect("asked")
                    .as_mut()
                    .expect("seen"),
            ] {
                if let Some(found) = topics.get_mut(&topic) {
                    found.id = Uuid::from_u128(9);
                }
            }
        }
    };
    let no_workers = |it: &mut Scene| {
        it.live.workers.insert("kmirror".to_owned(), 0);
    };
    let table: Vec<(Change, &str)> = vec![
        (
            Box::new(|it: &mut Scene| it.mirror().state = DesiredState::Paused),
            "PAUSED NO_ERROR ",
        ),
        (
            Box::new(|it: &mut Scene| it.link().state = DesiredState::Paused),
            "LINK_PAUSED NO_ERROR ",
        ),
        (
            Box::new(unreachable),
            "SOURCE_UNAVAILABLE NO_ERROR east does not answer",
        ),
        (
            Box::new(|it: &mut Scene| {
                it.failed(
                    FailureCause::ForeignWrite,
                    "somebody else wrote at offset 5",
                )
            }),
            "FAILED UNKNOWN partition 0: somebody else wrote at offset 5",
        ),
        (
            Box::new(|it: &mut Scene| it.failed(FailureCause::SourceTruncated, "it ends before")),
            "FAILED UNEXPECTED_TRUNCATION partition 0: it ends before",
        ),
        (
            Box::new(|it: &mut Scene| {
                it.live
                    .sources
                    .insert("east".to_owned(), Ok(Topics::new()))
                    .map_or((), drop)
            }),
            "FAILED SOURCE_TOPIC_MAY_BE_DELETED the source topic orders does not exist, or is not shown",
        ),
        (
            Box::new(recreated("orders")),
            "FAILED SOURCE_TOPIC_ID_CHANGED the source topic orders was deleted and created again",
        ),
        (
            Box::new(recreated("east.orders")),
            "FAILED UNKNOWN the mirror topic east.orders was deleted and created again",
        ),
        (
            Box::new(|it: &mut Scene| it.live.destination.clear()),
            "FAILED UNKNOWN the mirror topic east.orders is gone",
        ),
        (
            Box::new(no_workers),
            "ACTIVE NO_ERROR no worker runs, so nothing is copied",
        ),
        (
            Box::new(|it: &mut Scene| it.ends(EndingKind::Promote, None)),
            "PENDING_STOPPED NO_ERROR ",
        ),
        (
            Box::new(|it: &mut Scene| {
                it.ends(EndingKind::Promote, None);
                it.live.workers.insert("kmirror".to_owned(), 0);
            }),
            "PENDING_STOPPED NO_ERROR no worker runs that could end it: start `kmirror run`",
        ),
        (
            Box::new(|it: &mut Scene| {
                it.ends(EndingKind::Promote, None);
                let cause = "east does not answer".to_owned();
                it.live.sources.insert("east".to_owned(), Err(cause));
            }),
            "PENDING_STOPPED NO_ERROR the source cannot be reached, so it cannot be promoted, only failed over: east does not answer",
        ),
        (
            Box::new(|it: &mut Scene| {
                it.ends(EndingKind::FailOver, Some(9));
                // What a worker stored before counts no more.
                it.failed(FailureCause::ForeignWrite, "somebody else wrote");
            }),
            "STOPPED NO_ERROR it ended without a fence, for want of the right to write control markers",
        ),
    ];
    for (change, expected) in table {
        assert_eq!(words(&*change), expected);
    }
}

#[test]
fn a_source_with_fewer_partitions_than_were_copied_is_named_so() {
    let mut scene = Scene::new();
    let kept = scene.kept[&(id(), 0)].clone();
    scene.kept.insert((id(), 1), kept);
    let topic = scene.live.destination.get_mut("east.orders");
    topic.expect("it is there").ends.push(Some(9));
    let status = scene.status();
    assert_eq!(status.error, MirrorTopicError::SourcePartitionsDecreased);
    assert_eq!(status.partitions.len(), 2);
}

#[test]
fn times_are_those_of_the_last_change_where_it_is_known() {
    let mut scene = Scene::new();
    assert_eq!(scene.status().since_ms, None);
    scene.failed(FailureCause::Refused, "no");
    assert_eq!(scene.status().since_ms, Some(77));
    scene.ends(EndingKind::FailOver, None);
    assert_eq!(scene.status().since_ms, Some(1_000));
    scene.ends(EndingKind::FailOver, Some(2_000));
    assert_eq!(scene.status().since_ms, Some(2_000));
}

#[test]
fn a_topic_that_is_named_and_not_mirrored_yet_is_pending() {
    let mut scene = Scene::new();
    scene.link().mirrors.insert(
        "audit".to_owned(),
        MirrorSettings {
            rename_to: Some("east-audit".to_owned()),
            ..MirrorSettings::default()
        },
    );
    let found = mirrors(&scene.state, &scene.kept, &scene.live);
    let short: Vec<_> = found
        .iter()
        .map(|it| (it.mirror_topic.as_str(), it.state.name()))
        .collect();
    assert_eq!(
        short,
        [("east-audit", "PENDING_MIRROR"), ("east.orders", "ACTIVE")]
    );
}

proptest! {
    /// Whatever ends are seen, the lag is no less than nothing and no more than the source has.
    #[test]
    fn lag_stays_within_the_source(source in prop::option::of(0..100i64), destination in prop::option::of(0..100i64), equal: bool) {
        let mut scene = Scene::new();
        if equal {
            scene.stored(Alignment::Equal { start: 0, fill: FillWay::Records, filling: false });
        }
        if let Some(Ok(topics)) = scene.live.sources.get_mut("east") {
            topics.get_mut("orders").expect("there").ends = vec![source];
        }
        scene.live.destination.get_mut("east.orders").expect("there").ends = vec![destination];
        let partition = scene.status().partitions.remove(0);
        match source {
            None => prop_assert_eq!(partition.lag, None),
            Some(end) => {
                let lag = partition.lag.expect("both ends are known");
                prop_assert!((0..=end.max(0)).contains(&lag));
            }
        }
        prop_assert!(partition.last_source_fetch_offset >= 6);
    }
}
