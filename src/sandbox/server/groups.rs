//! Members of groups: join, synchronise, stay, leave; and the views that tools ask for.

use bytes::Bytes;
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    ApiKey, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest,
    ListGroupsResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::dispatch::{Call, Handler};
use super::meta::text;
use super::now_ms;
use crate::sandbox::broker::group::{Caller, Completion, Group, Join, JoinRefused, Joined, Ticket};
use crate::sandbox::lock;

impl Handler {
    /// Waits for what a ticket comes to.
    async fn redeem(&self, ticket: Ticket) -> Completion {
        loop {
            let notified = self.shared.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let done = lock(&self.shared.cluster).groups.take(ticket);
            match done {
                Some(done) => return done,
                None => notified.await,
            }
        }
    }

    pub(super) async fn join_group(
        &self,
        request: &JoinGroupRequest,
        call: &Call,
    ) -> JoinGroupResponse {
        let refuse = |error: E| JoinRefused {
            error,
            member_id: request.member_id.to_string(),
        };
        let ticket = self.shared.change(|cluster| {
            self.faulted(ApiKey::JoinGroup)?;
            self.check_coordinator(cluster, &request.group_id)?;
            let session = request.session_timeout_ms;
            let join = Join {
                member_id: request.member_id.to_string(),
                instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
                client_id: call.client_id.clone(),
                client_host: format!("/{}", self.peer.ip()),
                session_timeout_ms: session,
                rebalance_timeout_ms: if call.version >= 1 {
                    request.rebalance_timeout_ms
                } else {
                    session
                },
                protocol_type: request.protocol_type.to_string(),
                protocols: request
                    .protocols
                    .iter()
                    .map(|protocol| (protocol.name.to_string(), protocol.metadata.clone()))
                    .collect(),
                id_required: call.version >= 4,
                may_skip: call.version >= 9,
            };
            Ok(cluster.groups.join(&request.group_id, join, now_ms()))
        });
        let result = match ticket {
            Err(error) => Err(refuse(error)),
            Ok(ticket) => match self.redeem(ticket).await {
                Completion::Join(result) => result,
                Completion::Sync(_) => Err(refuse(E::UnknownServerError)),
            },
        };
        join_answer(result, call.version)
    }

    pub(super) async fn sync_group(
        &self,
        request: &SyncGroupRequest,
        call: &Call,
    ) -> SyncGroupResponse {
        let caller = Caller {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id,
        };
        let assignments = request
            .assignments
            .iter()
            .map(|one| (one.member_id.to_string(), one.assignment.clone()))
            .collect();
        let protocol = (
            request.protocol_type.as_deref(),
            request.protocol_name.as_deref(),
        );
        let ticket = self.shared.change(|cluster| {
            self.faulted(ApiKey::SyncGroup)?;
            self.check_coordinator(cluster, &request.group_id)?;
            Ok(cluster
                .groups
                .sync(&request.group_id, caller, protocol, assignments, now_ms()))
        });
        let result = match ticket {
            Err(error) => Err(error),
            Ok(ticket) => match self.redeem(ticket).await {
                Completion::Sync(result) => result,
                Completion::Join(_) => Err(E::UnknownServerError),
            },
        };
        match result {
            Ok(synced) => {
                let answer = SyncGroupResponse::default().with_assignment(synced.assignment);
                if call.version >= 5 {
                    answer
                        .with_protocol_type(Some(text(synced.protocol_type)))
                        .with_protocol_name(Some(text(synced.protocol)))
                } else {
                    answer
                }
            }
            Err(error) => SyncGroupResponse::default().with_error_code(error.code()),
        }
    }

    pub(super) fn heartbeat(&self, request: &HeartbeatRequest) -> HeartbeatResponse {
        let caller = Caller {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id,
        };
        // No one waits for a heartbeat, so nobody is woken.
        let mut cluster = lock(&self.shared.cluster);
        let result = self
            .faulted(ApiKey::Heartbeat)
            .and_then(|()| self.check_coordinator(&cluster, &request.group_id))
            .and_then(|()| {
                cluster
                    .groups
                    .heartbeat(&request.group_id, caller, now_ms())
            });
        HeartbeatResponse::default().with_error_code(result.err().map_or(0, |error| error.code()))
    }

    pub(super) fn leave_group(
        &self,
        request: &LeaveGroupRequest,
        call: &Call,
    ) -> LeaveGroupResponse {
        let group_id = request.group_id.as_str();
        self.shared.change(|cluster| {
            let allowed = self
                .faulted(ApiKey::LeaveGroup)
                .and_then(|()| self.check_coordinator(cluster, group_id));
            if let Err(error) = allowed {
                return LeaveGroupResponse::default().with_error_code(error.code());
            }
            if call.version < 3 {
                let left = cluster
                    .groups
                    .leave(group_id, &request.member_id, None, now_ms());
                return LeaveGroupResponse::default()
                    .with_error_code(left.err().map_or(0, |error| error.code()));
            }
            let members = request.members.iter().map(|member| {
                let instance = member.group_instance_id.as_deref();
                let left = cluster
                    .groups
                    .leave(group_id, &member.member_id, instance, now_ms());
                MemberResponse::default()
                    .with_member_id(member.member_id.clone())
                    .with_group_instance_id(member.group_instance_id.clone())
                    .with_error_code(left.err().map_or(0, |error| error.code()))
            });
            LeaveGroupResponse::default().with_members(members.collect())
        })
    }

    pub(super) fn describe_groups(
        &self,
        request: &DescribeGroupsRequest,
        call: &Call,
    ) -> DescribeGroupsResponse {
        let cluster = lock(&self.shared.cluster);
        let groups = request.groups.iter().map(|id| {
            let answer = DescribedGroup::default().with_group_id(id.clone());
            if let Err(error) = self.check_coordinator(&cluster, id) {
                return answer.with_error_code(error.code());
            }
            match cluster.groups.get(id) {
                Some(group) => described(answer, group, call.version),
                None if call.version >= 6 => answer
                    .with_group_state(text("Dead"))
                    .with_error_code(E::GroupIdNotFound.code())
                    .with_error_message(Some(text(format!("Group {} not found.", id.as_str())))),
                None => answer.with_group_state(text("Dead")),
            }
        });
        DescribeGroupsResponse::default().with_groups(groups.collect())
    }

    pub(super) fn list_groups(
        &self,
        request: &ListGroupsRequest,
        call: &Call,
    ) -> ListGroupsResponse {
        let cluster = lock(&self.shared.cluster);
        let wanted = |filter: &[kafka_protocol::protocol::StrBytes], name: &str| {
            filter.is_empty() || filter.iter().any(|one| one.eq_ignore_ascii_case(name))
        };
        let groups = cluster
            .groups
            .iter()
            .filter(|(id, _)| self.check_coordinator(&cluster, id).is_ok())
            .filter(|(_, group)| wanted(&request.states_filter, group.state_name()))
            .filter(|_| wanted(&request.types_filter, "classic"))
            .map(|(id, group)| {
                let mut listed = ListedGroup::default()
                    .with_group_id(GroupId(text(id)))
                    .with_protocol_type(text(group.protocol_type.clone()));
                if call.version >= 4 {
                    listed = listed.with_group_state(text(group.state_name()));
                }
                if call.version >= 5 {
                    listed = listed.with_group_type(text("classic"));
                }
                listed
            });
        ListGroupsResponse::default().with_groups(groups.collect())
    }

    pub(super) fn delete_groups(&self, request: &DeleteGroupsRequest) -> DeleteGroupsResponse {
        let results = self.shared.change(|cluster| {
            let mut results = Vec::new();
            for id in &request.groups_names {
                let deleted = self
                    .check_coordinator(cluster, id)
                    .and_then(|()| cluster.groups.delete(id));
                results.push(
                    DeletableGroupResult::default()
                        .with_group_id(id.clone())
                        .with_error_code(deleted.err().map_or(0, |error| error.code())),
                );
            }
            results
        });
        DeleteGroupsResponse::default().with_results(results)
    }
}

fn join_answer(result: Result<Joined, JoinRefused>, version: i16) -> JoinGroupResponse {
    let nameless = (version < 7).then(|| text(""));
    match result {
        Ok(joined) => {
            let members = joined.members.into_iter().map(|(id, instance, metadata)| {
                let member = JoinGroupResponseMember::default()
                    .with_member_id(text(id))
                    .with_metadata(metadata);
                if version >= 5 {
                    member.with_group_instance_id(instance.map(text))
                } else {
                    member
                }
            });
            let answer = JoinGroupResponse::default()
                .with_generation_id(joined.generation)
                .with_protocol_name(Some(text(joined.protocol)))
                .with_leader(text(joined.leader))
                .with_member_id(text(joined.member_id))
                .with_members(members.collect());
            let answer = if version >= 7 {
                answer.with_protocol_type(Some(text(joined.protocol_type)))
            } else {
                answer
            };
            if version >= 9 {
                answer.with_skip_assignment(joined.skip_assignment)
            } else {
                answer
            }
        }
        Err(refused) => JoinGroupResponse::default()
            .with_error_code(refused.error.code())
            .with_generation_id(-1)
            .with_protocol_name(nameless)
            .with_member_id(text(refused.member_id)),
    }
}

fn described(answer: DescribedGroup, group: &Group, version: i16) -> DescribedGroup {
    let stable = group.state_name() == "Stable";
    let members = group.members.iter().map(|(id, member)| {
        let described = DescribedGroupMember::default()
            .with_member_id(text(id.clone()))
            .with_client_id(text(member.client_id.clone()))
            .with_client_host(text(member.client_host.clone()))
            .with_member_metadata(if stable {
                group.subscription(member)
            } else {
                Bytes::new()
            })
            .with_member_assignment(if stable {
                member.assignment.clone()
            } else {
                Bytes::new()
            });
        if version >= 4 {
            described.with_group_instance_id(member.instance_id.clone().map(text))
        } else {
            described
        }
    });
    answer
        .with_group_state(text(group.state_name()))
        .with_protocol_type(text(group.protocol_type.clone()))
        .with_protocol_data(text(if stable {
            group.protocol.clone()
        } else {
            String::new()
        }))
        .with_members(members.collect())
}
