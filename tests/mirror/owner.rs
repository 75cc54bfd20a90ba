//! What only the owner of a partition writes besides batches: markers, and how far it has come.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use kmirror::control::progress;
use kmirror::control::records::{
    Alignment, Anchor, IncarnationId, OFFSETS_PARTITIONS, OFFSETS_TOPIC,
};
use kmirror::kafka::admin::NewTopic;
use kmirror::mirror::io::keeper::{self, Save, Wish};
use kmirror::mirror::io::pad::{MarkerProducer, Padder};
use kmirror::mirror::io::reader::bounds;
use kmirror::mirror::io::{Events, PartitionKey, Route, TopicPartition};
use kmirror::mirror::partition::{Event, PadAnswer};
use kmirror::mirror::worker::lease::Moment;
use uuid::Uuid;

use crate::lab::{Lab, MIRROR};

fn incarnation(lab: &Lab) -> IncarnationId {
    IncarnationId {
        link: Uuid::from_u128(1),
        source_topic: lab.ids.0,
        destination_topic: lab.ids.1,
    }
}

fn route(lab: &Lab, partition: i32) -> Arc<Route> {
    let destination = TopicPartition {
        topic: MIRROR.to_owned(),
        topic_id: lab.ids.1,
        partition,
    };
    Route::new(destination, Arc::clone(&lab.lease))
}

/// Markers have no sequence: a second owner's would take the offsets of records.
#[tokio::test(flavor = "multi_thread")]
async fn markers_are_written_only_under_the_lease_and_for_slots_that_are_held() {
    let lab = Lab::new(1).await;
    let client = lab.destination_client.clone();
    let route = route(&lab, 0);
    let key = PartitionKey {
        id: incarnation(&lab),
        partition: 0,
    };
    let padder = Padder::new(
        client.clone(),
        Arc::clone(&route),
        key,
        MarkerProducer::default(),
    );
    let ends = || async {
        bounds(&client, &route.destination)
            .await
            .expect("its end")
            .1
    };

    lab.lease.give_up();
    let answer = padder.pad(0, 3, true).await;
    assert!(matches!(answer, PadAnswer::Lost { .. }), "{answer:?}");
    assert_eq!(ends().await, 0);
    lab.lease.renew(Moment::now());
    let answer = padder.pad(0, 3, true).await;
    assert!(matches!(answer, PadAnswer::Ends { at: 3 }), "{answer:?}");
    route.make_void(u64::MAX);
    let answer = padder.pad(3, 5, true).await;
    assert!(matches!(answer, PadAnswer::Lost { .. }), "{answer:?}");
    assert_eq!(ends().await, 3);
}

/// A worker that was frozen past its session, or has given a slot away, would set back what its successor stored.
#[tokio::test(flavor = "multi_thread")]
async fn progress_is_stored_only_under_the_lease_and_for_slots_that_are_held() {
    let lab = Lab::new(1).await;
    let client = &lab.destination_client;
    let topic = NewTopic {
        name: OFFSETS_TOPIC.to_owned(),
        partitions: Some(OFFSETS_PARTITIONS),
        replication_factor: Some(1),
        configs: Vec::new(),
    };
    let created = client.admin().create_topics(vec![topic], false).await;
    created[0].1.as_ref().expect("created");
    let id = incarnation(&lab);
    let save = |partition: i32, events: Events| {
        let anchor = Anchor {
            source_offset: 7,
            source_leader_epoch: -1,
            destination_offset: 7,
            count: 7,
            epoch: 0,
        };
        Save {
            key: PartitionKey { id, partition },
            anchors: vec![anchor],
            map_chunk: 0,
            map: Vec::new(),
            alignment: Alignment::default(),
            pads_by_transactions: false,
            destination_leader_epoch: -1,
            route: route(&lab, partition),
            events,
        }
    };
    let stored = || async {
        let read = progress::read(client, &HashSet::from([id])).await;
        let mut partitions: Vec<i32> = read.expect("read").into_keys().map(|it| it.1).collect();
        partitions.sort_unstable();
        partitions
    };

    lab.lease.give_up();
    let (keeper, _trouble) = keeper::start(client.clone(), lab.lease.clone());
    let (events, mut told) = Events::channel();
    let (given_away, _keep) = Events::channel();
    let revoked = save(1, given_away);
    let route = revoked.route.clone();
    keeper
        .send(Wish::Progress(save(0, events)))
        .expect("it runs");
    keeper.send(Wish::Progress(revoked)).expect("it runs");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stored().await, [0; 0]);
    route.make_void(u64::MAX);
    lab.lease.renew(Moment::now());
    let heard = told.recv().await;
    assert!(matches!(heard.as_deref(), Some(Event::Saved)));
    assert_eq!(stored().await, [0]);
}
