//! The rules for trying again, against a broker made of a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, CreatePartitionsResponse, CreateTopicsResponse,
    DeleteTopicsResponse, ListOffsetsResponse, MetadataResponse, ResponseHeader,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::kafka::client::topic_name;
use crate::kafka::{ClientConfig, CoordinatorKind, Isolation};

/// Callers spawn these calls, so their futures have to move between threads.
#[allow(dead_code, reason = "it only has to compile")]
fn calls_can_be_spawned(admin: &'static Admin) {
    fn check<F: Future + Send>(_: F) {}
    check(admin.metadata(Topics::All));
    check(admin.create_topics(vec![], true));
    check(admin.delete_topics(vec![]));
    check(admin.create_partitions(vec![], true));
    check(admin.describe_configs(vec![]));
    check(admin.incremental_alter_configs(vec![], true));
    check(admin.list_offsets(vec![], Isolation::ReadCommitted));
    check(admin.delete_records(vec![]));
    check(admin.offset_commit("", vec![]));
    check(admin.offset_fetch("", None));
    check(admin.find_coordinator(CoordinatorKind::Group, ""));
    check(admin.init_producer_id(None, 0));
    check(admin.describe_producers(vec![]));
}

/// What the scripted broker does with the next request of a kind.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Answers with this error code for every item.
    Code(i16),
    /// Refuses for its quota, and says for how many milliseconds.
    Throttle(i32),
    /// Hangs up instead of answering.
    HangUp,
}

/// A broker that knows one topic and follows a script; without one it answers that all went well.
#[derive(Debug, Default)]
struct Script {
    steps: Mutex<HashMap<i16, VecDeque<Step>>>,
    /// What was asked, by API.
    asked: Mutex<Vec<i16>>,
    partitions: Mutex<i32>,
}

use std::collections::HashMap;

const TOPIC: &str = "orders";

impl Script {
    fn new(api: ApiKey, steps: &[Step]) -> Arc<Self> {
        let script = Self {
            partitions: Mutex::new(1),
            ..Self::default()
        };
        let steps = steps.iter().copied().collect();
        script.steps.lock().unwrap().insert(api as i16, steps);
        Arc::new(script)
    }

    fn asked(&self, api: ApiKey) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|key| **key == api as i16).count()
    }

    async fn client(self: &Arc<Self>) -> Admin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let script = Arc::clone(&script);
                tokio::spawn(async move { script.serve(stream, port).await });
            }
        });
        let config = ClientConfig::new("scripted", vec![format!("127.0.0.1:{port}")]);
        Client::connect(config).await.unwrap().admin()
    }

    async fn serve(&self, mut stream: TcpStream, port: u16) -> Option<()> {
        loop {
            let size = stream.read_i32().await.ok()?;
            let mut frame = vec![0; usize::try_from(size).ok()?];
            stream.read_exact(&mut frame).await.ok()?;
            let mut frame = Bytes::from(frame);
            let header =
                kafka_protocol::protocol::decode_request_header_from_buffer(&mut frame).ok()?;
            let (key, version) = (header.request_api_key, header.request_api_version);
            self.asked.lock().unwrap().push(key);
            let step = self
                .steps
                .lock()
                .unwrap()
                .get_mut(&key)
                .and_then(VecDeque::pop_front);
            let (code, throttle) = match step {
                Some(Step::HangUp) => return None,
                Some(Step::Code(code)) => (code, 0),
                Some(Step::Throttle(throttle)) => {
                    (ErrorCode::THROTTLING_QUOTA_EXCEEDED.0, throttle)
                }
                None => (0, 0),
            };
            let mut answer = BytesMut::new();
            answer.put_i32(0);
            let id = header.correlation_id;
            match ApiKey::try_from(key).unwrap() {
                ApiKey::ApiVersions => put(&mut answer, id, version, &versions()),
                ApiKey::Metadata => put(&mut answer, id, version, &self.metadata(port)),
                ApiKey::CreateTopics => {
                    let topic = CreatableTopicResult::default()
                        .with_name(topic_name(TOPIC))
                        .with_error_code(code);
                    let response = CreateTopicsResponse::default()
                        .with_throttle_time_ms(throttle)
                        .with_topics(vec![topic]);
                    put(&mut answer, id, version, &response);
                }
                ApiKey::DeleteTopics => {
                    let topic = DeletableTopicResult::default()
                        .with_name(Some(topic_name(TOPIC)))
                        .with_error_code(code);
                    let response = DeleteTopicsResponse::default().with_responses(vec![topic]);
                    put(&mut answer, id, version, &response);
                }
                ApiKey::CreatePartitions => {
                    let topic = CreatePartitionsTopicResult::default()
                        .with_name(topic_name(TOPIC))
                        .with_error_code(code);
                    let response = CreatePartitionsResponse::default().with_results(vec![topic]);
                    put(&mut answer, id, version, &response);
                }
                ApiKey::ListOffsets => {
                    let partitions = (0..*self.partitions.lock().unwrap()).map(|index| {
                        ListOffsetsPartitionResponse::default()
                            .with_partition_index(index)
                            .with_error_code(code)
                            .with_offset(42)
                    });
                    let topic = ListOffsetsTopicResponse::default()
                        .with_name(topic_name(TOPIC))
                        .with_partitions(partitions.collect());
                    let response = ListOffsetsResponse::default().with_topics(vec![topic]);
                    put(&mut answer, id, version, &response);
                }
                other => panic!("the script has no {other:?}"),
            }
            let size = i32::try_from(answer.len() - 4).unwrap();
            answer[..4].copy_from_slice(&size.to_be_bytes());
            stream.write_all(&answer).await.ok()?;
        }
    }

    fn metadata(&self, port: u16) -> MetadataResponse {
        let broker = MetadataResponseBroker::default()
            .with_node_id(1.into())
            .with_host(StrBytes::from_static_str("127.0.0.1"))
            .with_port(i32::from(port));
        let partitions = (0..*self.partitions.lock().unwrap()).map(|index| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(1.into())
                .with_replica_nodes(vec![1.into()])
        });
        let topic = MetadataResponseTopic::default()
            .with_name(Some(topic_name(TOPIC)))
            .with_topic_id(uuid::Uuid::from_u128(7))
            .with_partitions(partitions.collect());
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_controller_id(1.into())
            .with_cluster_id(Some(StrBytes::from_static_str("scripted")))
            .with_topics(vec![topic])
    }
}

fn put<T: Encodable + HeaderVersion>(answer: &mut BytesMut, id: i32, version: i16, body: &T) {
    ResponseHeader::default()
        .with_correlation_id(id)
        .encode(answer, T::header_version(version))
        .unwrap();
    body.encode(answer, version).unwrap();
}

fn versions() -> ApiVersionsResponse {
    let api = |(key, max): (ApiKey, i16)| {
        ApiVersion::default()
            .with_api_key(key as i16)
            .with_max_version(max)
    };
    let apis = [
        (ApiKey::ApiVersions, 3),
        (ApiKey::Metadata, 12),
        (ApiKey::CreateTopics, 7),
        (ApiKey::DeleteTopics, 6),
        (ApiKey::CreatePartitions, 3),
        (ApiKey::ListOffsets, 7),
    ];
    ApiVersionsResponse::default().with_api_keys(apis.into_iter().map(api).collect())
}

fn topic() -> NewTopic {
    NewTopic {
        name: TOPIC.into(),
        partitions: Some(1),
        replication_factor: None,
        configs: vec![],
    }
}

async fn create(steps: &[Step]) -> (Result<CreatedTopic, Error>, usize) {
    let script = Script::new(ApiKey::CreateTopics, steps);
    let admin = script.client().await;
    let mut outcomes = admin.create_topics(vec![topic()], false).await;
    (
        outcomes.pop().unwrap().1,
        script.asked(ApiKey::CreateTopics),
    )
}

#[tokio::test]
async fn a_topic_that_exists_is_refused_at_once() {
    let (outcome, asked) = create(&[Step::Code(36)]).await;
    assert_eq!(
        outcome.unwrap_err().code(),
        Some(ErrorCode::TOPIC_ALREADY_EXISTS)
    );
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_topic_created_by_a_request_whose_answer_got_lost_is_ours() {
    let (outcome, asked) = create(&[Step::HangUp, Step::Code(36)]).await;
    let created = outcome.unwrap();
    assert_eq!(created.id, uuid::Uuid::from_u128(7));
    assert_eq!(created.partitions, Some(1));
    assert_eq!(asked, 2);
    let (outcome, _) = create(&[Step::Code(7), Step::Code(36)]).await;
    assert!(outcome.is_ok(), "a time-out leaves it open as well");
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_lasts_is_not() {
    let (outcome, asked) = create(&[Step::Code(41), Step::Code(89), Step::HangUp]).await;
    assert!(outcome.is_ok());
    assert_eq!(asked, 4);
    let (outcome, asked) = create(&[Step::Code(29), Step::Code(0)]).await;
    assert!(outcome.is_err());
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_quota_is_waited_for_as_long_as_the_broker_says_and_not_for_ever() {
    let script = Script::new(
        ApiKey::CreateTopics,
        &[Step::Throttle(400), Step::Throttle(600)],
    );
    let admin = script
        .client()
        .await
        .with_deadline(Duration::from_millis(300));
    let started = Instant::now();
    let outcome = admin.create_topics(vec![topic()], false).await;
    assert!(outcome[0].1.is_ok(), "{outcome:?}");
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    assert_eq!(script.asked(ApiKey::CreateTopics), 3);

    let script = Script::new(ApiKey::CreateTopics, &[Step::Throttle(1); 1000]);
    let admin = script
        .client()
        .await
        .with_deadline(Duration::from_millis(300));
    let outcome = admin.create_topics(vec![topic()], false).await;
    let code = outcome[0].1.as_ref().unwrap_err().code();
    assert_eq!(code, Some(ErrorCode::THROTTLING_QUOTA_EXCEEDED));
}

#[tokio::test]
async fn a_topic_deleted_by_a_request_whose_answer_got_lost_is_deleted() {
    let script = Script::new(ApiKey::DeleteTopics, &[Step::HangUp, Step::Code(3)]);
    let outcome = script
        .client()
        .await
        .delete_topics(vec![TOPIC.into()])
        .await;
    assert_eq!(outcome[0].1, Ok(()));
    let script = Script::new(ApiKey::DeleteTopics, &[Step::Code(3); 100]);
    let admin = script
        .client()
        .await
        .with_deadline(Duration::from_millis(300));
    let outcome = admin.delete_topics(vec![TOPIC.into()]).await;
    let code = outcome[0].1.as_ref().unwrap_err().code();
    assert_eq!(code, Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
}

/// Without this, ten thousand partitions that start would ask two hundred thousand times where their logs end.
#[tokio::test]
async fn what_many_partitions_ask_for_at_once_is_asked_in_one_request() {
    let script = Script::new(ApiKey::ListOffsets, &[Step::Code(0), Step::Code(29)]);
    *script.partitions.lock().unwrap() = 200;
    let client = script.client().await.client;
    for fine in [true, false] {
        let ask = |n| client.offset_together((TOPIC.to_owned(), n), OffsetSpec::Latest);
        for outcome in futures::future::join_all((0..200).map(ask)).await {
            assert_eq!(outcome.is_ok_and(|found| found.offset == 42), fine);
        }
    }
    assert_eq!(script.asked(ApiKey::ListOffsets), 2);
}

#[tokio::test]
async fn partitions_added_by_a_request_whose_answer_got_lost_are_there() {
    for (now, fine) in [(3, true), (5, false)] {
        let script = Script::new(ApiKey::CreatePartitions, &[Step::HangUp, Step::Code(37)]);
        *script.partitions.lock().unwrap() = now;
        let admin = script.client().await;
        let outcome = admin
            .create_partitions(vec![(TOPIC.into(), 3)], false)
            .await;
        assert_eq!(outcome[0].1.is_ok(), fine, "with {now} partitions");
    }
}

#[tokio::test]
async fn a_moved_leader_is_looked_up_again() {
    let script = Script::new(ApiKey::ListOffsets, &[Step::Code(6), Step::Code(6)]);
    let admin = script.client().await;
    let before = script.asked(ApiKey::Metadata);
    let wanted = vec![(TOPIC.to_owned(), 0, OffsetSpec::Latest)];
    let outcome = admin.list_offsets(wanted, Isolation::ReadCommitted).await;
    assert_eq!(outcome[0].1.as_ref().unwrap().offset, 42);
    assert_eq!(script.asked(ApiKey::ListOffsets), 3);
    assert_eq!(script.asked(ApiKey::Metadata) - before, 2);
}

#[tokio::test]
async fn a_partition_that_does_not_exist_does_not_cost_the_deadline() {
    let script = Script::new(ApiKey::ListOffsets, &[]);
    let admin = script.client().await;
    let started = Instant::now();
    let wanted = vec![
        (TOPIC.to_owned(), 9, OffsetSpec::Latest),
        (TOPIC.to_owned(), 0, OffsetSpec::Latest),
    ];
    let outcome = admin.list_offsets(wanted, Isolation::ReadCommitted).await;
    assert!(started.elapsed() < Duration::from_secs(4));
    assert_eq!(
        outcome[0].1.as_ref().unwrap_err().to_string(),
        "cannot find the leader of partition 9 of topic orders: \
         the topic or partition does not exist (or this user may not see it) \
         (UNKNOWN_TOPIC_OR_PARTITION)"
    );
    assert!(outcome[1].1.is_ok(), "the others are answered all the same");
}

#[tokio::test]
async fn the_deadline_ends_all_tries() {
    let script = Script::new(ApiKey::ListOffsets, &[Step::Code(5); 1000]);
    let admin = script
        .client()
        .await
        .with_deadline(Duration::from_millis(500));
    let started = Instant::now();
    let wanted = vec![(TOPIC.to_owned(), 0, OffsetSpec::Latest)];
    let outcome = admin.list_offsets(wanted, Isolation::ReadCommitted).await;
    let code = outcome[0].1.as_ref().unwrap_err().code();
    assert_eq!(code, Some(ErrorCode::LEADER_NOT_AVAILABLE));
    assert!(started.elapsed() < Duration::from_millis(1500));
}

#[tokio::test]
async fn an_unreachable_cluster_fails_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let started = Instant::now();
    let config = ClientConfig::new("east", vec![address.clone()]);
    let error = Client::connect(config).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable { attempts, .. } if attempts[0].address == address)
    );
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn something_that_accepts_but_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut config = ClientConfig::new("east", vec![address]);
    config.request_timeout = Duration::from_millis(300);
    let text = Client::connect(config).await.unwrap_err().to_string();
    assert!(
        text.contains("did not answer ApiVersions within 0.3 s"),
        "{text}"
    );
    assert!(
        text.contains("is this the port of a Kafka broker"),
        "{text}"
    );
}
