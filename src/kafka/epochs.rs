//! Where a leader epoch ends in a partition's log (`OffsetForLeaderEpoch`, KIP-101 and KIP-320).
//!
//! A reader that has read up to an offset in some epoch asks the next leader where that epoch ends in its log. Where that is
//! before the offset, what was read was lost there, however long the log is by now.

use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{BrokerId, OffsetForLeaderEpochRequest};
use kafka_protocol::protocol::Request;

use super::client::topic_name;
use super::error::Operation;
use super::{Client, Error, ErrorCode, Target};

/// As consumers ask, who are no replicas.
const NO_REPLICA: BrokerId = BrokerId(-1);

/// The epoch that is asked for, in one partition.
#[derive(Clone, Copy, Debug)]
pub struct EpochPosition<'a> {
    pub topic: &'a str,
    pub partition: i32,
    /// Refused when the broker's differs; -1 does not ask.
    pub current_leader_epoch: i32,
    pub leader_epoch: i32,
}

/// Where an epoch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch asked for, or the largest smaller one that the log has; -1: none is known.
    pub leader_epoch: i32,
    /// The offset after its last record; -1 where no epoch is known.
    pub end_offset: i64,
}

impl Client {
    /// Where an epoch ends in the log of the broker that leads the partition; `None` where it does not know the request.
    ///
    /// # Errors
    /// The broker's own; `FENCED_LEADER_EPOCH` and `UNKNOWN_LEADER_EPOCH` where it is led by another, or not yet by this one.
    pub async fn epoch_end(
        &self,
        leader: i32,
        asked: EpochPosition<'_>,
    ) -> Result<Option<EpochEnd>, Error> {
        let connection = self.route(&Target::Broker(leader)).await?;
        if connection
            .versions()
            .offered(OffsetForLeaderEpochRequest::KEY)
            .is_none()
        {
            return Ok(None);
        }
        let partition = OffsetForLeaderPartition::default()
            .with_partition(asked.partition)
            .with_current_leader_epoch(asked.current_leader_epoch)
            .with_leader_epoch(asked.leader_epoch);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(topic_name(asked.topic))
            .with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id(NO_REPLICA)
            .with_topics(vec![topic]);
        let response = connection.send(&request).await?;
        let mut partitions = response
            .topics
            .into_iter()
            .flat_map(|topic| topic.partitions);
        let Some(found) = partitions.next() else {
            return Err(Error::Protocol {
                address: connection.address().to_owned(),
                during: "OffsetForLeaderEpoch".to_owned(),
                problem: "the partition asked for is missing".to_owned(),
            });
        };
        ErrorCode(found.error_code).ok().map_err(|code| {
            let resource = format!("{}-{}", asked.topic, asked.partition);
            Error::broker(code, None, Operation::Describe, resource).asked_by(|| self.asked())
        })?;
        Ok(Some(EpochEnd {
            leader_epoch: found.leader_epoch,
            end_offset: found.end_offset,
        }))
    }
}
