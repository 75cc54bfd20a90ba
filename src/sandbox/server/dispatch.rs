//! From a frame to an answer: which APIs there are, in which versions, and who handles them.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AlterConfigsRequest, ApiKey,
    ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeGroupsRequest, DescribeProducersRequest, EndTxnRequest, FetchRequest,
    FindCoordinatorRequest, HeartbeatRequest, IncrementalAlterConfigsRequest,
    InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest,
    ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, OffsetForLeaderEpochRequest, ProduceRequest, RequestHeader, ResponseHeader,
    SaslAuthenticateRequest, SaslHandshakeRequest, SyncGroupRequest, TxnOffsetCommitRequest,
    WriteTxnMarkersRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

use super::Shared;
use super::login::Login;
use crate::sandbox::faults::Loss;
use crate::sandbox::lock;

/// What is offered, with the lowest and highest version. What is not here is not implemented.
///
/// Produce is offered from version 0 because librdkafka looks there for what compression a broker
/// understands; versions below 3 are refused all the same, as Kafka 4 does.
pub const OFFERED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 0, 13),
    (ApiKey::Fetch, 4, 17),
    (ApiKey::ListOffsets, 1, 9),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::OffsetCommit, 2, 9),
    (ApiKey::OffsetFetch, 1, 9),
    (ApiKey::FindCoordinator, 0, 5),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::DescribeGroups, 0, 6),
    (ApiKey::ListGroups, 0, 5),
    (ApiKey::SaslHandshake, 0, 1),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 5),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::AddPartitionsToTxn, 0, 3),
    (ApiKey::AddOffsetsToTxn, 0, 3),
    (ApiKey::EndTxn, 0, 3),
    (ApiKey::WriteTxnMarkers, 1, 1),
    (ApiKey::TxnOffsetCommit, 0, 3),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::AlterConfigs, 0, 2),
    (ApiKey::SaslAuthenticate, 0, 2),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::OffsetDelete, 0, 0),
    (ApiKey::DescribeCluster, 0, 2),
    (ApiKey::DescribeProducers, 0, 0),
];

/// Lowest Produce version that is carried out.
const LOWEST_PRODUCE: i16 = 3;

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome {
    Answer(BytesMut),
    /// Sent, and then the connection is closed.
    Last(BytesMut),
    /// Nothing is sent (a produce request with acks=0).
    Silence,
    /// The connection is closed; the reason is logged unless empty.
    Close(String),
}

/// Handles the requests of one connection.
#[derive(Debug)]
pub struct Handler {
    pub(super) shared: Arc<Shared>,
    pub(super) broker: i32,
    pub(super) peer: SocketAddr,
    login: Login,
}

/// The part of a request's header that handlers use.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub version: i16,
    pub client_id: String,
}

impl Handler {
    pub fn new(shared: Arc<Shared>, broker: i32, peer: SocketAddr) -> Self {
        let login = Login::new(shared.access.accounts.clone());
        Handler {
            shared,
            broker,
            peer,
            login,
        }
    }

    /// Bytes of the longest request that is taken now.
    pub fn longest_request(&self) -> usize {
        self.login.longest_request()
    }

    pub async fn handle(&mut self, frame: Bytes) -> Outcome {
        if frame.len() < 8 {
            return Outcome::Close("a frame too short for a request".to_owned());
        }
        let mut peek = frame.clone();
        let (code, version) = (peek.get_i16(), peek.get_i16());
        let offered = OFFERED.iter().find(|(key, ..)| *key as i16 == code);
        let Some((key, min, max)) = offered.copied() else {
            return Outcome::Close(format!("API {code} is not implemented by the sandbox"));
        };
        if let Some(objection) = self.login.objection(key) {
            return Outcome::Close(objection);
        }
        if key == ApiKey::ApiVersions && !(min..=max).contains(&version) {
            // KIP-511: the client learns the versions from an answer in version 0.
            let answer = Self::api_versions(Some(E::UnsupportedVersion), 0);
            return finish(encode(peek.get_i32(), 0, &answer));
        }
        let lowest = if key == ApiKey::Produce {
            LOWEST_PRODUCE
        } else {
            min
        };
        if !(lowest..=max).contains(&version) {
            return Outcome::Close(format!(
                "{key:?} version {version} is not implemented by the sandbox"
            ));
        }
        *lock(&self.shared.requests).entry(code).or_default() += 1;
        let loss = self.shared.faults.count(code);
        if loss == Some(Loss::Request) {
            return Outcome::Close(String::new());
        }
        let outcome = finish(self.decode_and_run(key, version, frame).await);
        if let Some(delay) = self.shared.faults.delay_of(code) {
            tokio::time::sleep(delay).await;
        }
        if loss == Some(Loss::Answer) {
            return Outcome::Close(String::new());
        }
        match outcome {
            Outcome::Answer(answer) if self.login.is_refused() => Outcome::Last(answer),
            outcome => outcome,
        }
    }

    async fn decode_and_run(
        &mut self,
        key: ApiKey,
        version: i16,
        mut frame: Bytes,
    ) -> anyhow::Result<Option<BytesMut>> {
        let header = RequestHeader::decode(&mut frame, key.request_header_version(version))
            .with_context(|| format!("the header of a {key:?} request cannot be read"))?;
        let id = header.correlation_id;
        let call = Call {
            version,
            client_id: header
                .client_id
                .map(|id| id.to_string())
                .unwrap_or_default(),
        };
        // Decodes a request and encodes what the handler answers.
        macro_rules! run {
            ($request:ty, |$decoded:ident| $answer:expr) => {{
                let $decoded = <$request>::decode(&mut frame, version)
                    .with_context(|| format!("a {key:?} request cannot be read"))?;
                encode(id, version, &$answer)
            }};
        }
        match key {
            ApiKey::ApiVersions => {
                run!(ApiVersionsRequest, |_r| Self::api_versions(None, version))
            }
            ApiKey::SaslHandshake => {
                run!(SaslHandshakeRequest, |r| self.login.handshake(&r, version))
            }
            ApiKey::SaslAuthenticate => {
                run!(SaslAuthenticateRequest, |r| self.login.authenticate(&r))
            }
            ApiKey::Metadata => run!(MetadataRequest, |r| self.metadata(&r, &call)),
            ApiKey::DescribeCluster => {
                run!(DescribeClusterRequest, |r| self.describe_cluster(&r, &call))
            }
            ApiKey::FindCoordinator => {
                run!(FindCoordinatorRequest, |r| self.find_coordinator(&r, &call))
            }
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut frame, version)
                    .context("a Produce request cannot be read")?;
                let silent = request.acks == 0;
                let answer = self.produce(request, &call).await;
                if silent {
                    return Ok(None);
                }
                encode(id, version, &answer)
            }
            ApiKey::Fetch => run!(FetchRequest, |r| self.fetch(&r, &call).await),
            ApiKey::ListOffsets => run!(ListOffsetsRequest, |r| self.list_offsets(&r, &call)),
            ApiKey::OffsetForLeaderEpoch => {
                run!(OffsetForLeaderEpochRequest, |r| self
                    .offset_for_leader_epoch(&r))
            }
            ApiKey::DeleteRecords => run!(DeleteRecordsRequest, |r| self.delete_records(&r)),
            ApiKey::DescribeProducers => {
                run!(DescribeProducersRequest, |r| self.describe_producers(&r))
            }
            ApiKey::CreateTopics => run!(CreateTopicsRequest, |r| self.create_topics(&r, &call)),
            ApiKey::DeleteTopics => run!(DeleteTopicsRequest, |r| self.delete_topics(&r, &call)),
            ApiKey::CreatePartitions => {
                run!(CreatePartitionsRequest, |r| self.create_partitions(&r))
            }
            ApiKey::DescribeConfigs => {
                run!(DescribeConfigsRequest, |r| self.describe_configs(&r, &call))
            }
            ApiKey::IncrementalAlterConfigs => {
                run!(IncrementalAlterConfigsRequest, |r| self
                    .incremental_alter_configs(&r))
            }
            ApiKey::AlterConfigs => run!(AlterConfigsRequest, |r| self.alter_configs(&r)),
            ApiKey::InitProducerId => {
                run!(InitProducerIdRequest, |r| self.init_producer_id(&r, &call))
            }
            ApiKey::AddPartitionsToTxn => {
                run!(AddPartitionsToTxnRequest, |r| self
                    .add_partitions_to_txn(&r, &call))
            }
            ApiKey::AddOffsetsToTxn => run!(AddOffsetsToTxnRequest, |r| self
                .add_offsets_to_txn(&r, &call)),
            ApiKey::EndTxn => run!(EndTxnRequest, |r| self.end_txn(&r, &call)),
            ApiKey::WriteTxnMarkers => run!(WriteTxnMarkersRequest, |r| self.write_txn_markers(&r)),
            ApiKey::TxnOffsetCommit => run!(TxnOffsetCommitRequest, |r| self.txn_offset_commit(&r)),
            ApiKey::JoinGroup => run!(JoinGroupRequest, |r| self.join_group(&r, &call).await),
            ApiKey::SyncGroup => run!(SyncGroupRequest, |r| self.sync_group(&r, &call).await),
            ApiKey::Heartbeat => run!(HeartbeatRequest, |r| self.heartbeat(&r)),
            ApiKey::LeaveGroup => run!(LeaveGroupRequest, |r| self.leave_group(&r, &call)),
            ApiKey::DescribeGroups => {
                run!(DescribeGroupsRequest, |r| self.describe_groups(&r, &call))
            }
            ApiKey::ListGroups => run!(ListGroupsRequest, |r| self.list_groups(&r, &call)),
            ApiKey::DeleteGroups => run!(DeleteGroupsRequest, |r| self.delete_groups(&r)),
            ApiKey::OffsetCommit => run!(OffsetCommitRequest, |r| self.offset_commit(&r)),
            ApiKey::OffsetFetch => run!(OffsetFetchRequest, |r| self.offset_fetch(&r, &call)),
            ApiKey::OffsetDelete => run!(OffsetDeleteRequest, |r| self.offset_delete(&r)),
            other => anyhow::bail!("{other:?} is offered but has no handler"),
        }
    }
}

fn finish(result: anyhow::Result<Option<BytesMut>>) -> Outcome {
    match result {
        Ok(Some(answer)) => Outcome::Answer(answer),
        Ok(None) => Outcome::Silence,
        Err(error) => Outcome::Close(format!("{error:#}")),
    }
}

/// An answer with its length and header.
fn encode<R: Encodable + HeaderVersion>(
    correlation_id: i32,
    version: i16,
    answer: &R,
) -> anyhow::Result<Option<BytesMut>> {
    let mut out = BytesMut::new();
    out.put_i32(0);
    ResponseHeader::default()
        .with_correlation_id(correlation_id)
        .encode(&mut out, R::header_version(version))?;
    answer
        .encode(&mut out, version)
        .with_context(|| format!("an answer in version {version} cannot be encoded"))?;
    let length = i32::try_from(out.len() - 4).context("an answer above 2 GiB")?;
    out[0..4].copy_from_slice(&length.to_be_bytes());
    Ok(Some(out))
}
