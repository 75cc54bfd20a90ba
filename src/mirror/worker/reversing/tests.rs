use std::collections::BTreeMap;

use indexmap::IndexMap;
use uuid::Uuid;

use super::decide::*;
use crate::control::ControlState;
use crate::control::records::{
    Acks, Alignment, DesiredState, EndedPartition, EndingKind, EndingRecord, Fence, FillWay,
    ForeignWrites, IncarnationId, LinkConfigsRecord, LinkRecord, MirrorRecord, OffsetsSpec, Owner,
    RECORD_VERSION, ReversalRecord, StartSpec, StoredConfig, TakeOverStage, TimestampsSpec,
    WantedState,
};
use crate::kafka::admin::ProducerIdentity;
use crate::topology::selector::RenameRule;

const LINK: Uuid = Uuid::from_u128(1);
const PRODUCER: ProducerIdentity = ProducerIdentity { id: 77, epoch: 0 };

fn link(from: &str, to: &str) -> LinkRecord {
    LinkRecord {
        version: RECORD_VERSION,
        id: LINK,
        name: "both".to_owned(),
        owner: Owner::Rest,
        source_cluster_id: from.to_owned(),
        destination_cluster_id: to.to_owned(),
        topics: Vec::new(),
        exclude: Vec::new(),
        rename: RenameRule::Keep,
        auto_create: false,
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
    }
}

/// `orders` of the east, mirrored to the west as `orders-w`, and to be reversed.
fn mirror() -> MirrorRecord {
    MirrorRecord {
        version: RECORD_VERSION,
        id: IncarnationId {
            link: LINK,
            source_topic: Uuid::from_u128(2),
            destination_topic: Uuid::from_u128(3),
        },
        source_topic: "orders".to_owned(),
        destination_topic: "orders-w".to_owned(),
        producer_id: 4,
        producer_epoch: 0,
        provenance_header: false,
        state: DesiredState::Active,
        initial_partitions: 1,
        generation: 9,
        ending: Some(EndingRecord {
            kind: EndingKind::Promote,
            generation: 9,
            requested_ms: 1,
            partitions: Vec::new(),
            stopped_ms: None,
            reversal: Some(reversal()),
        }),
        takes_over: None,
    }
}

fn reversal() -> ReversalRecord {
    ReversalRecord {
        state: DesiredState::Active,
        is_agreed: false,
        trouble: None,
    }
}

/// What stands on the east, with these configs besides.
fn east(more: &[(&str, &str)]) -> ControlState {
    let mut state = ControlState::default();
    state.links.insert(LINK, link("west", "east"));
    let configs = [("link.mode", "BIDIRECTIONAL")];
    let configs: BTreeMap<String, StoredConfig> = configs
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), StoredConfig::Plain((*value).to_owned())))
        .collect();
    let record = LinkConfigsRecord {
        version: RECORD_VERSION,
        configs,
    };
    state.configs.insert(LINK, record);
    state
}

fn with<R>(act: impl FnOnce(Reversed<'_>) -> R) -> R {
    let (link, mirror, reversal) = (link("east", "west"), mirror(), reversal());
    act(Reversed {
        link: &link,
        mirror: &mirror,
        reversal: &reversal,
        generation: 9,
    })
}

fn prepared(state: &mut ControlState) -> MirrorRecord {
    let writes = with(|it| prepare(state, it, 1, PRODUCER)).expect("nothing is in the way");
    for write in writes {
        match write {
            crate::control::Write::Link(link) => drop(state.links.insert(link.id, link)),
            crate::control::Write::Mirror(mirror) => {
                drop(state.mirrors.insert(mirror.id, mirror));
            }
            other => panic!("{other:?}"),
        }
    }
    state.mirrors[0].clone()
}

fn seen(copied: i64, source: Option<i64>, destination: Option<i64>) -> PartitionSeen {
    PartitionSeen {
        source,
        destination,
        copied: Some(Copied {
            source_offset: copied,
            destination_offset: copied,
            is_equal: true,
        }),
        has_failed: false,
    }
}

/// Any of these, taken for the end, would leave records behind or double them.
#[test]
fn a_mirror_is_not_ended_before_both_topics_are_the_same() {
    let whole = seen(5, Some(5), Some(5));
    assert_eq!(
        standstill(&[whole, seen(0, Some(0), Some(0))]),
        Ok(vec![5, 0])
    );
    let mut translated = whole;
    translated.copied = Some(Copied {
        source_offset: 5,
        destination_offset: 4,
        is_equal: false,
    });
    let cases = [
        (
            seen(5, Some(7), Some(5)),
            Waits::Behind {
                partition: 1,
                offsets: 2,
            },
        ),
        (seen(5, None, Some(5)), Waits::Unsettled { partition: 1 }),
        (
            PartitionSeen {
                copied: None,
                ..whole
            },
            Waits::NotBegun { partition: 1 },
        ),
        (
            PartitionSeen {
                has_failed: true,
                ..whole
            },
            Waits::Failed { partition: 1 },
        ),
        (translated, Waits::Translated { partition: 1 }),
        (seen(5, Some(5), Some(6)), Waits::Foreign { partition: 1 }),
        (seen(5, Some(5), None), Waits::Foreign { partition: 1 }),
        (seen(5, Some(4), Some(5)), Waits::Foreign { partition: 1 }),
    ];
    for (partition, waits) in cases {
        assert_eq!(standstill(&[whole, partition]), Err(waits), "{partition:?}");
    }
}

fn ended(source: i64, destination: i64) -> EndedPartition {
    EndedPartition {
        partition: 0,
        source_offset: source,
        destination_offset: destination,
        fence: Fence::Marker,
    }
}

#[test]
fn a_source_that_was_written_to_meanwhile_is_not_taken_over() {
    let one = [ended(5, 5)];
    assert_eq!(compare(&one, &[Some(5)]), Verdict::Agrees(vec![5]));
    assert!(matches!(compare(&one, &[None]), Verdict::Unsettled(_)));
    let Verdict::Parted(words) = compare(&one, &[Some(7)]) else {
        panic!("it has two more");
    };
    assert!(
        words.contains("from offset 5 to 7 is here alone"),
        "{words}"
    );
    for (ended, found) in [
        (&[ended(5, 5)][..], &[Some(4)][..]),
        (&[ended(5, 4)], &[Some(5)]),
        (&[ended(5, 5)], &[Some(5), Some(1)]),
        (&[ended(5, 5)], &[]),
    ] {
        let verdict = compare(ended, found);
        assert!(matches!(verdict, Verdict::Parted(_)), "{verdict:?}");
    }
}

#[test]
fn the_other_cluster_gets_a_mirror_that_waits_with_a_producer_of_its_own() {
    let mut east = east(&[]);
    assert_eq!(with(|it| is_prepared(&east, it)), Ok(false));
    let waiting = prepared(&mut east);
    assert!(waiting.waits_to_take_over());
    assert_eq!(
        (
            waiting.source_topic.as_str(),
            waiting.destination_topic.as_str()
        ),
        ("orders-w", "orders")
    );
    assert_eq!(
        (waiting.id.source_topic, waiting.id.destination_topic),
        (Uuid::from_u128(3), Uuid::from_u128(2))
    );
    assert_eq!((waiting.producer_id, waiting.generation), (77, 1));
    let settings = &east.links[0].mirrors["orders-w"];
    assert_eq!(settings.rename_to.as_deref(), Some("orders"));
    assert_eq!(settings.state, Some(WantedState::Active));
    assert_eq!(with(|it| is_prepared(&east, it)), Ok(true));
    // One that waits for an earlier request waits for nothing.
    let earlier = with(|it| {
        is_prepared(
            &east,
            Reversed {
                generation: 10,
                ..it
            },
        )
    });
    assert_eq!(earlier, Ok(false));
    assert_eq!(
        with(|it| other_mirror(&east, it)),
        Other::Waiting(Box::new(waiting.clone()))
    );

    let begun = decided(&waiting, 9, TakeOverStage::Begun);
    assert_eq!(begun.generation, 2);
    east.mirrors.insert(begun.id, begun);
    assert_eq!(with(|it| other_mirror(&east, it)), Other::Begun);
    let refused = with(|it| is_prepared(&east, it)).expect_err("it mirrors");
    assert_eq!(
        refused,
        "orders-w is mirrored back to the other cluster already"
    );
}

/// There and back again: the same two topics by the same link, and nothing of the former mirror may be mistaken for the new one's.
#[test]
fn a_mirror_that_was_reversed_before_begins_a_new_life() {
    let mut east = east(&[]);
    let mut former = prepared(&mut east);
    former.takes_over = None;
    former.producer_id = 5;
    former.generation = 40;
    former.ending = mirror().ending;
    former.ending.as_mut().expect("it ends").stopped_ms = Some(1);
    east.mirrors.insert(former.id, former);
    assert_eq!(with(|it| is_prepared(&east, it)), Ok(false));
    let again = prepared(&mut east);
    assert_eq!(
        (again.generation, again.producer_id, &again.ending),
        (41, 77, &None)
    );
    assert_eq!(east.mirrors.len(), 1);
}

#[test]
fn what_has_no_other_half_is_not_reversed() {
    let words = |state: &ControlState| with(|it| other_half(state, it).map(|_| ()));
    let refused = words(&ControlState::default()).expect_err("nothing is there");
    assert!(refused.contains("has no link `both`"), "{refused}");
    let one_way = east(&[("link.mode", "DESTINATION")]);
    assert!(
        words(&one_way)
            .expect_err("one way")
            .contains("another link.mode")
    );
    let prefixed = east(&[("cluster.link.prefix", "w.")]);
    assert!(
        words(&prefixed)
            .expect_err("a prefix")
            .contains("cluster.link.prefix")
    );
    let mut elsewhere = east(&[]);
    elsewhere.links[0].source_cluster_id = "north".to_owned();
    assert!(
        words(&elsewhere)
            .expect_err("another")
            .contains("is for the cluster north")
    );
    // The source topic is a mirror of something else.
    let mut chained = east(&[]);
    let mut other = mirror();
    other.ending = None;
    other.destination_topic = "orders".to_owned();
    chained.mirrors.insert(other.id, other);
    assert!(
        words(&chained)
            .expect_err("a chain")
            .contains("is a mirror of")
    );
}

#[test]
fn a_mirror_that_was_given_up_at_the_other_cluster_does_not_begin() {
    let given_up = with(|it| other_mirror(&east(&[]), it));
    assert!(matches!(given_up, Other::None(words) if words.contains("given up")));
    let mut east = east(&[]);
    let waiting = prepared(&mut east);
    let message = "it was written to".to_owned();
    let parted = decided(
        &waiting,
        9,
        TakeOverStage::Parted {
            message: message.clone(),
        },
    );
    east.mirrors.insert(parted.id, parted);
    assert_eq!(with(|it| other_mirror(&east, it)), Other::None(message));
    // Asked for again, it may go better.
    assert_eq!(with(|it| is_prepared(&east, it)), Ok(false));
}

#[test]
fn the_first_position_lies_behind_what_was_there() {
    let first = first_progress(12, 3);
    let anchor = first.anchors[0];
    assert_eq!(
        (
            anchor.source_offset,
            anchor.destination_offset,
            anchor.count,
            anchor.epoch
        ),
        (12, 12, 0, 3)
    );
    let alignment = Alignment::Equal {
        start: 12,
        fill: FillWay::Content,
        filling: false,
    };
    assert_eq!(first.alignment, alignment);
}
