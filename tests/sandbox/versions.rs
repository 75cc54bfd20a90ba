//! Every API in every version that is offered gets an answer that its own definition can decode.

use bytes::{Buf, BufMut, BytesMut};
use kafka_protocol::messages as m;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kmirror::sandbox::Sandbox;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clients::{PATIENCE, create_topic, sandbox};

/// A raw connection, as no client library offers it.
pub struct Raw {
    pub stream: TcpStream,
}

impl Raw {
    pub async fn connect(sandbox: &Sandbox) -> Raw {
        let address = sandbox.addresses().remove(0);
        Raw {
            stream: TcpStream::connect(address).await.expect("connects"),
        }
    }

    pub async fn send(&mut self, key: i16, version: i16, header_version: i16, body: &[u8]) {
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(7)
            .with_client_id(Some(StrBytes::from_static_str("raw")))
            .encode(&mut frame, header_version)
            .expect("encodes");
        frame.extend_from_slice(body);
        let length = i32::try_from(frame.len()).expect("short");
        self.stream
            .write_all(&length.to_be_bytes())
            .await
            .expect("writes");
        self.stream.write_all(&frame).await.expect("writes");
    }

    /// `None` when the broker has closed the connection.
    pub async fn answer(&mut self) -> Option<BytesMut> {
        let reading = tokio::time::timeout(PATIENCE, self.stream.read_i32());
        let length = reading.await.expect("an answer or an end").ok()?;
        let mut frame = vec![0; usize::try_from(length).expect("a length")];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(BytesMut::from(&frame[..]))
    }

    pub async fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let mut body = BytesMut::new();
        request
            .encode(&mut body, version)
            .unwrap_or_else(|error| panic!("{} v{version}: {error}", R::KEY));
        self.send(R::KEY, version, R::header_version(version), &body)
            .await;
        let mut answer = self
            .answer()
            .await
            .unwrap_or_else(|| panic!("API {} version {version} was not answered", R::KEY));
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))
            .expect("a header");
        assert_eq!(header.correlation_id, 7);
        let decoded = R::Response::decode(&mut answer, version)
            .unwrap_or_else(|error| panic!("API {} version {version}: {error}", R::KEY));
        assert!(
            !answer.has_remaining(),
            "API {} version {version} has bytes left",
            R::KEY
        );
        decoded
    }
}

/// Sends a default request of each offered API in each offered version.
macro_rules! call_all {
    ($raw:expr, $offered:expr, $($request:ident),+ $(,)?) => {{
        let mut called = std::collections::BTreeSet::new();
        $(
            let key = <m::$request as Request>::KEY;
            let Some(offer) = $offered.api_keys.iter().find(|offer| offer.api_key == key) else {
                panic!("{} is not offered", stringify!($request));
            };
            for version in offer.min_version..=offer.max_version {
                $raw.call(&m::$request::default(), version).await;
            }
            called.insert(key);
        )+
        called
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn every_offered_version_is_answered_in_its_own_form() {
    let sandbox = sandbox(2).await;
    create_topic(&sandbox, "t", 2, 2).await;
    let mut raw = Raw::connect(&sandbox).await;
    let offered = raw.call(&ApiVersionsRequest::default(), 3).await;
    let called = call_all!(
        raw,
        offered,
        ApiVersionsRequest,
        MetadataRequest,
        DescribeClusterRequest,
        FindCoordinatorRequest,
        FetchRequest,
        ListOffsetsRequest,
        OffsetForLeaderEpochRequest,
        DeleteRecordsRequest,
        DescribeProducersRequest,
        CreateTopicsRequest,
        DeleteTopicsRequest,
        CreatePartitionsRequest,
        DescribeConfigsRequest,
        IncrementalAlterConfigsRequest,
        AlterConfigsRequest,
        InitProducerIdRequest,
        AddPartitionsToTxnRequest,
        AddOffsetsToTxnRequest,
        EndTxnRequest,
        WriteTxnMarkersRequest,
        TxnOffsetCommitRequest,
        JoinGroupRequest,
        SyncGroupRequest,
        HeartbeatRequest,
        LeaveGroupRequest,
        DescribeGroupsRequest,
        ListGroupsRequest,
        SaslHandshakeRequest,
        SaslAuthenticateRequest,
        DeleteGroupsRequest,
        OffsetCommitRequest,
        OffsetFetchRequest,
        OffsetDeleteRequest,
    );
    // A default produce request wants no answer.
    let mut called = called;
    for version in 3..=13 {
        raw.call(&m::ProduceRequest::default().with_acks(1), version)
            .await;
    }
    called.insert(ApiKey::Produce as i16);
    let offered: std::collections::BTreeSet<i16> =
        offered.api_keys.iter().map(|offer| offer.api_key).collect();
    assert_eq!(
        called, offered,
        "an API is offered that this test does not call"
    );
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_and_configs_with_content_fit_every_version() {
    let sandbox = sandbox(2).await;
    create_topic(&sandbox, "t", 2, 2).await;
    let mut raw = Raw::connect(&sandbox).await;
    for version in 0..=12 {
        let answer = raw
            .call(
                &m::MetadataRequest::default().with_topics(Some(vec![])),
                version,
            )
            .await;
        assert_eq!(answer.topics.len(), usize::from(version == 0));
        let all = raw
            .call(
                &m::MetadataRequest::default().with_topics((version == 0).then(Vec::new)),
                version,
            )
            .await;
        assert_eq!((all.topics.len(), all.brokers.len()), (1, 2));
        assert_eq!(all.topics[0].partitions.len(), 2);
    }
    let resource = m::describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("t"))
        .with_configuration_keys(None);
    for version in 1..=4 {
        let request = m::DescribeConfigsRequest::default()
            .with_resources(vec![resource.clone()])
            .with_include_synonyms(true);
        let answer = raw.call(&request, version).await;
        assert!(
            answer.results[0]
                .configs
                .iter()
                .any(|entry| { entry.name.as_str() == "retention.ms" && entry.config_source == 5 })
        );
    }
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_apiversions_version_is_answered_in_version_0() {
    let sandbox = sandbox(1).await;
    let mut raw = Raw::connect(&sandbox).await;
    raw.send(18, 99, 2, &[]).await;
    let mut answer = raw.answer().await.expect("an answer");
    answer.advance(4);
    let decoded = ApiVersionsResponse::decode(&mut answer, 0).expect("version 0");
    assert_eq!(decoded.error_code, 35);
    assert!(!decoded.api_keys.is_empty());
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_offered_ends_the_connection() {
    let sandbox = sandbox(1).await;
    let cases: [(i16, i16); 3] = [(29, 2), (0, 2), (1, 99)];
    for (key, version) in cases {
        let mut raw = Raw::connect(&sandbox).await;
        raw.send(key, version, 1, &[0; 8]).await;
        assert!(raw.answer().await.is_none(), "API {key} version {version}");
    }
    let mut huge = Raw::connect(&sandbox).await;
    let mut length = BytesMut::new();
    length.put_i32(i32::MAX);
    huge.stream.write_all(&length).await.expect("writes");
    assert!(huge.answer().await.is_none());
    sandbox.shutdown().await;
}
