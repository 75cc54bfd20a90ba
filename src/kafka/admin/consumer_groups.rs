//! Consumer groups as their coordinators know them: which there are, who is in them, and what each member reads.

use std::collections::HashMap;

use bytes::{Buf, Bytes};
use futures::future::join_all;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DescribeGroupsRequest, GroupId, ListGroupsRequest,
    consumer_group_describe_response, describe_groups_response,
};
use kafka_protocol::protocol::StrBytes;

use super::{Admin, Error, ErrorCode, Operation, Outcomes, Target, Topics, in_order};
use crate::kafka::client::CoordinatorKind;
use crate::kafka::connection::Connection;

/// Groups in one request: an answer holds all members of each.
const GROUPS_A_REQUEST: usize = 100;

/// A group that one of the brokers coordinates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    pub id: String,
    /// The broker that told of it.
    pub coordinator: i32,
    /// `consumer`, empty where offsets were committed without a member, or what else uses groups: `connect`, `share`.
    pub protocol_type: String,
}

/// A group with its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupDescription {
    /// `Stable`, `Empty`, `PreparingRebalance` and so on, as brokers spell it.
    pub state: String,
    pub protocol_type: String,
    /// How partitions are shared out; empty without members.
    pub assignor: String,
    pub members: Vec<GroupMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub id: String,
    /// `group.instance.id`
    pub instance_id: Option<String>,
    pub client_id: String,
    /// What it reads, by topic. Empty also where the group's protocol is none of consumers.
    pub partitions: Vec<(String, Vec<i32>)>,
}

impl GroupDescription {
    /// What brokers before 3.8 say of a group that they do not know.
    fn is_dead(&self) -> bool {
        self.state == "Dead" && self.members.is_empty()
    }
}

impl Admin {
    /// The groups that consumers use, in order of their ids; those of Connect and others are left out.
    ///
    /// # Errors
    /// The first broker that does not tell.
    pub async fn list_consumer_groups(&self) -> Result<Vec<ListedGroup>, Error> {
        let brokers = self.metadata(Topics::Named(&[])).await?.brokers;
        let asking = brokers.iter().map(|broker| self.groups_of(broker.id));
        let mut groups = Vec::new();
        for listed in join_all(asking).await {
            groups.extend(listed?);
        }
        groups.retain(|group| ["", "consumer"].contains(&group.protocol_type.as_str()));
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        // While a coordinator moves, both may tell of its groups.
        groups.dedup_by(|a, b| a.id == b.id);
        Ok(groups)
    }

    async fn groups_of(&self, broker: i32) -> Result<Vec<ListedGroup>, Error> {
        self.one(Target::Broker(broker), |connection| async move {
            let response = connection.send(&ListGroupsRequest::default()).await?;
            let resource = || format!("the groups of broker {broker}");
            let code = ErrorCode(response.error_code);
            code.ok()
                .map_err(|code| Error::broker(code, None, Operation::Describe, resource()))?;
            let groups = response.groups.into_iter().map(|group| ListedGroup {
                id: group.group_id.0.to_string(),
                coordinator: broker,
                protocol_type: group.protocol_type.to_string(),
            });
            Ok(groups.collect())
        })
        .await
    }

    /// Groups with their members, by id. `GROUP_ID_NOT_FOUND` for one that does not exist.
    pub async fn describe_consumer_groups(
        &self,
        groups: Vec<String>,
    ) -> Outcomes<String, GroupDescription> {
        self.describe_groups_at(groups, |group| Target::Coordinator {
            kind: CoordinatorKind::Group,
            key: group.clone(),
        })
        .await
    }

    /// The same for groups that were just listed, without looking for their coordinators again.
    pub async fn describe_listed_groups(
        &self,
        groups: &[ListedGroup],
    ) -> Outcomes<String, GroupDescription> {
        let at: HashMap<&str, i32> = groups
            .iter()
            .map(|group| (group.id.as_str(), group.coordinator))
            .collect();
        let ids = groups.iter().map(|group| group.id.clone()).collect();
        self.describe_groups_at(ids, |group| Target::Broker(at[group.as_str()]))
            .await
    }

    async fn describe_groups_at(
        &self,
        groups: Vec<String>,
        target: impl Fn(&String) -> Target,
    ) -> Outcomes<String, GroupDescription> {
        let results = self
            .each(
                groups.clone(),
                GROUPS_A_REQUEST,
                target,
                |connection, items| async move {
                    let wanted: Vec<String> = items.into_iter().map(|item| item.value).collect();
                    describe(&connection, wanted).await
                },
            )
            .await;
        groups.into_iter().zip(results).collect()
    }
}

/// Groups of the classic protocol first; what has none of that name is looked for among those of the later one (KIP-848).
async fn describe(
    connection: &Connection,
    wanted: Vec<String>,
) -> Result<Vec<Result<GroupDescription, Error>>, Error> {
    let request = DescribeGroupsRequest::default().with_groups(ids(&wanted));
    let response = connection.send(&request).await?;
    let answers = response
        .groups
        .into_iter()
        .map(|group| (group.group_id.0.to_string(), group))
        .collect();
    let mut results = in_order(
        connection,
        "DescribeGroups",
        wanted.iter().cloned(),
        answers,
        |id, group| {
            checked(group.error_code, group.error_message.as_ref(), id)?;
            let group = classic(group);
            if group.is_dead() {
                return Err(unknown(id));
            }
            Ok(group)
        },
    );
    let is_missing = |result: &Result<GroupDescription, Error>| {
        let code = result.as_ref().err().and_then(Error::code);
        code == Some(ErrorCode::GROUP_ID_NOT_FOUND)
    };
    let missing: Vec<usize> = (0..results.len())
        .filter(|&index| is_missing(&results[index]))
        .collect();
    if missing.is_empty()
        || connection
            .version::<ConsumerGroupDescribeRequest>()
            .is_err()
    {
        return Ok(results);
    }
    let wanted: Vec<String> = missing.iter().map(|&index| wanted[index].clone()).collect();
    let later = describe_later(connection, wanted).await?;
    for (index, result) in missing.into_iter().zip(later) {
        let code = result.as_ref().err().and_then(Error::code);
        // Kafka 3.7 to 3.9 knows the request and, unless it is told to, none of these groups.
        if code != Some(ErrorCode::UNSUPPORTED_VERSION) {
            results[index] = result;
        }
    }
    Ok(results)
}

async fn describe_later(
    connection: &Connection,
    wanted: Vec<String>,
) -> Result<Vec<Result<GroupDescription, Error>>, Error> {
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(ids(&wanted));
    let response = connection.send(&request).await?;
    let answers = response
        .groups
        .into_iter()
        .map(|group| (group.group_id.0.to_string(), group))
        .collect();
    Ok(in_order(
        connection,
        "ConsumerGroupDescribe",
        wanted.into_iter(),
        answers,
        |id, group| {
            checked(group.error_code, group.error_message.as_ref(), id)?;
            Ok(later(group))
        },
    ))
}

fn ids(groups: &[String]) -> Vec<GroupId> {
    let id = |group: &String| GroupId(StrBytes::from_string(group.clone()));
    groups.iter().map(id).collect()
}

fn checked(code: i16, message: Option<&StrBytes>, group: &str) -> Result<(), Error> {
    let message = message.map(ToString::to_string);
    ErrorCode(code)
        .ok()
        .map_err(|code| Error::broker(code, message, Operation::Describe, format!("group {group}")))
}

fn unknown(group: &str) -> Error {
    let resource = format!("group {group}");
    Error::broker(
        ErrorCode::GROUP_ID_NOT_FOUND,
        None,
        Operation::Describe,
        resource,
    )
}

fn classic(group: describe_groups_response::DescribedGroup) -> GroupDescription {
    let members = group.members.into_iter().map(|member| GroupMember {
        id: member.member_id.to_string(),
        instance_id: member.group_instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        partitions: assigned(member.member_assignment),
    });
    GroupDescription {
        state: group.group_state.to_string(),
        protocol_type: group.protocol_type.to_string(),
        assignor: group.protocol_data.to_string(),
        members: members.collect(),
    }
}

/// What a group's leader has given a member: `ConsumerProtocolAssignment`, versions 0 to 3, which is between consumers and none of the broker's
/// business. Nothing where it is something else.
///
/// Read by hand, because members put there what they like: the counts in it are believed only as far as bytes follow.
fn assigned(bytes: Bytes) -> Vec<(String, Vec<i32>)> {
    read_assigned(bytes).unwrap_or_default()
}

fn read_assigned(mut bytes: Bytes) -> Option<Vec<(String, Vec<i32>)>> {
    // Later versions add to the end.
    let _version = bytes.try_get_i16().ok()?;
    let mut topics = Vec::new();
    for _ in 0..bytes.try_get_i32().ok()? {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        if length > bytes.remaining() {
            return None;
        }
        let name = String::from_utf8(bytes.split_to(length).to_vec()).ok()?;
        let count = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
        if count > bytes.remaining() / size_of::<i32>() {
            return None;
        }
        let partitions = (0..count).map(|_| bytes.get_i32()).collect();
        topics.push((name, partitions));
    }
    Some(topics)
}

fn later(group: consumer_group_describe_response::DescribedGroup) -> GroupDescription {
    let members = group.members.into_iter().map(|member| {
        let topics = member.assignment.topic_partitions.into_iter();
        let partitions = topics.map(|topic| (topic.topic_name.0.to_string(), topic.partitions));
        GroupMember {
            id: member.member_id.to_string(),
            instance_id: member.instance_id.map(|id| id.to_string()),
            client_id: member.client_id.to_string(),
            partitions: partitions.collect(),
        }
    });
    GroupDescription {
        state: group.group_state.to_string(),
        protocol_type: "consumer".to_owned(),
        assignor: group.assignor_name.to_string(),
        members: members.collect(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as Assigned;
    use kafka_protocol::messages::{ConsumerProtocolAssignment, TopicName};
    use kafka_protocol::protocol::Encodable;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_consumer_was_given_is_read_in_all_versions() {
        for version in 0..=5_i16 {
            let topic = Assigned::default()
                .with_topic(TopicName(StrBytes::from_static_str("orders")))
                .with_partitions(vec![0, 2]);
            let mut bytes = BytesMut::new();
            bytes.put_i16(version);
            ConsumerProtocolAssignment::default()
                .with_assigned_partitions(vec![topic])
                .encode(&mut bytes, version.min(3))
                .unwrap();
            let expected = vec![("orders".to_owned(), vec![0, 2])];
            assert_eq!(assigned(bytes.freeze()), expected, "version {version}");
        }
    }

    proptest! {
        /// Members of other kinds of groups put there what they like; a count that nothing follows takes no memory.
        #[test]
        fn whatever_stands_there_takes_no_more_than_its_own_size(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let size = bytes.len();
            let topics = assigned(Bytes::from(bytes));
            let partitions: usize = topics.iter().map(|(_, partitions)| partitions.capacity()).sum();
            prop_assert!(topics.len() + partitions <= size);
        }
    }
}
