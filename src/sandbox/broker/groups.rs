//! All consumer groups of a cluster, and who may join them.
//!
//! Rebalances are not delayed for an empty group, so that tests and demonstrations need not wait.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use kafka_protocol::ResponseError as E;
use uuid::Uuid;

use super::group::{
    Caller, Completion, Completions, Group, Join, JoinRefused, Member, State, Ticket,
};

/// All groups of a cluster.
#[derive(Debug)]
pub struct Groups {
    by_id: BTreeMap<String, Group>,
    done: Completions,
    next_ticket: Ticket,
    /// Session timeouts outside are refused.
    pub session_timeouts_ms: std::ops::RangeInclusive<i32>,
}

impl Default for Groups {
    fn default() -> Self {
        Groups {
            by_id: BTreeMap::new(),
            done: HashMap::new(),
            next_ticket: 0,
            session_timeouts_ms: 6_000..=1_800_000,
        }
    }
}

impl Groups {
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Group> {
        self.by_id.get(id)
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Group> {
        self.by_id.get_mut(id)
    }

    /// The group, made if there is none: offsets may be committed without members.
    pub fn get_or_create(&mut self, id: &str) -> &mut Group {
        self.by_id.entry(id.to_owned()).or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.by_id.iter().map(|(id, group)| (id.as_str(), group))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Group)> {
        self.by_id
            .iter_mut()
            .map(|(id, group)| (id.as_str(), group))
    }

    /// What a ticket came to, once.
    pub fn take(&mut self, ticket: Ticket) -> Option<Completion> {
        self.done.remove(&ticket)
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// A member wants to join, or to join again.
    pub fn join(&mut self, group_id: &str, join: Join, now: i64) -> Ticket {
        let ticket = self.ticket();
        if let Err(refused) = self.try_join(group_id, join, now, ticket) {
            self.done.insert(ticket, Completion::Join(Err(refused)));
        }
        ticket
    }

    fn try_join(
        &mut self,
        group_id: &str,
        mut join: Join,
        now: i64,
        ticket: Ticket,
    ) -> Result<(), JoinRefused> {
        let refuse = |error, member_id: &str| JoinRefused {
            error,
            member_id: member_id.to_owned(),
        };
        if group_id.is_empty() {
            return Err(refuse(E::InvalidGroupId, &join.member_id));
        }
        if !self.session_timeouts_ms.contains(&join.session_timeout_ms) {
            return Err(refuse(E::InvalidSessionTimeout, &join.member_id));
        }
        if !join.member_id.is_empty() && !self.by_id.contains_key(group_id) {
            return Err(refuse(E::UnknownMemberId, &join.member_id));
        }
        let done = &mut self.done;
        let group = self.by_id.entry(group_id.to_owned()).or_default();
        if !group.accepts(&join.protocol_type, &join.protocols) {
            return Err(refuse(E::InconsistentGroupProtocol, &join.member_id));
        }
        if join.member_id.is_empty() {
            let owner = join
                .instance_id
                .as_deref()
                .and_then(|id| group.instance_owner(id))
                .map(str::to_owned);
            let prefix = join.instance_id.as_deref().unwrap_or(&join.client_id);
            let new_id = format!("{prefix}-{}", Uuid::new_v4());
            if let Some(old) = owner {
                replace_static(group, &old, &new_id, join, now, ticket, done);
                return Ok(());
            }
            if join.id_required && join.instance_id.is_none() {
                let until = now + i64::from(join.session_timeout_ms);
                group.expected.insert(new_id.clone(), until);
                return Err(refuse(E::MemberIdRequired, &new_id));
            }
            join.member_id = new_id;
        } else {
            let caller = Caller {
                member_id: &join.member_id,
                instance_id: join.instance_id.as_deref(),
                generation: -1,
            };
            let expected = group.expected.remove(&join.member_id).is_some();
            if !expected && let Err(error) = group.check_member(caller) {
                return Err(refuse(error, &join.member_id));
            }
        }
        admit(group, join, now, ticket, done);
        Ok(())
    }

    /// A member asks for its assignment; the leader brings all of them.
    pub fn sync(
        &mut self,
        group_id: &str,
        caller: Caller<'_>,
        protocol: (Option<&str>, Option<&str>),
        assignments: Vec<(String, Bytes)>,
        now: i64,
    ) -> Ticket {
        let ticket = self.ticket();
        if let Err(error) = self.try_sync(group_id, caller, protocol, assignments, now, ticket) {
            self.done.insert(ticket, Completion::Sync(Err(error)));
        }
        ticket
    }

    fn try_sync(
        &mut self,
        group_id: &str,
        caller: Caller<'_>,
        (protocol_type, protocol): (Option<&str>, Option<&str>),
        assignments: Vec<(String, Bytes)>,
        now: i64,
        ticket: Ticket,
    ) -> Result<(), E> {
        let done = &mut self.done;
        let group = self.by_id.get_mut(group_id).ok_or(E::UnknownMemberId)?;
        group.check_generation(caller)?;
        if protocol_type.is_some_and(|name| name != group.protocol_type)
            || protocol.is_some_and(|name| name != group.protocol)
        {
            return Err(E::InconsistentGroupProtocol);
        }
        match group.state {
            State::Empty => Err(E::UnknownMemberId),
            State::Preparing { .. } => Err(E::RebalanceInProgress),
            State::Stable => {
                let member = &group.members[caller.member_id];
                let answer = group.synced(member);
                group.members[caller.member_id].heard(now);
                done.insert(ticket, Completion::Sync(Ok(answer)));
                Ok(())
            }
            State::Completing { .. } => {
                if let Some(old) = group.members[caller.member_id].syncing.replace(ticket) {
                    done.insert(old, Completion::Sync(Err(E::RebalanceInProgress)));
                }
                if group.leader.as_deref() == Some(caller.member_id) {
                    for (id, assignment) in assignments {
                        if let Some(member) = group.members.get_mut(&id) {
                            member.assignment = assignment;
                        }
                    }
                    group.state = State::Stable;
                }
                if group.state == State::Stable {
                    let ids: Vec<String> = group.members.keys().cloned().collect();
                    for id in ids {
                        let answer = group.synced(&group.members[&id]);
                        let member = &mut group.members[&id];
                        if let Some(waiting) = member.syncing.take() {
                            done.insert(waiting, Completion::Sync(Ok(answer)));
                        }
                        member.heard(now);
                    }
                }
                Ok(())
            }
        }
    }

    pub fn heartbeat(&mut self, group_id: &str, caller: Caller<'_>, now: i64) -> Result<(), E> {
        let group = self.by_id.get_mut(group_id).ok_or(E::UnknownMemberId)?;
        group.check_generation(caller)?;
        group.members[caller.member_id].heard(now);
        if matches!(group.state, State::Preparing { .. }) {
            return Err(E::RebalanceInProgress);
        }
        Ok(())
    }

    /// A member leaves. A static one may be named by its instance alone.
    pub fn leave(
        &mut self,
        group_id: &str,
        member_id: &str,
        instance_id: Option<&str>,
        now: i64,
    ) -> Result<(), E> {
        let group = self.by_id.get_mut(group_id).ok_or(E::UnknownMemberId)?;
        let mut leaving = member_id.to_owned();
        if let Some(instance) = instance_id {
            let owner = group.instance_owner(instance).ok_or(E::UnknownMemberId)?;
            if !member_id.is_empty() && owner != member_id {
                return Err(E::FencedInstanceId);
            }
            owner.clone_into(&mut leaving);
        }
        if group.expected.remove(&leaving).is_some() {
            group.try_complete_join(now, &mut self.done);
            return Ok(());
        }
        if !group.members.contains_key(&leaving) {
            return Err(E::UnknownMemberId);
        }
        group.remove(&leaving, now, &mut self.done);
        Ok(())
    }

    pub fn delete(&mut self, group_id: &str) -> Result<(), E> {
        match self.by_id.get(group_id) {
            None => Err(E::GroupIdNotFound),
            Some(group) if !group.is_empty() => Err(E::NonEmptyGroup),
            Some(_) => {
                self.by_id.remove(group_id);
                Ok(())
            }
        }
    }

    /// Lets time pass; true when somebody may have been waiting for it.
    pub fn tick(&mut self, now: i64) -> bool {
        let before = self.done.len();
        for group in self.by_id.values_mut() {
            group.tick(now, &mut self.done);
        }
        self.done.len() != before
    }
}

/// Takes a member in, or its new subscription.
fn admit(group: &mut Group, join: Join, now: i64, ticket: Ticket, done: &mut Completions) {
    let id = join.member_id.clone();
    let is_leader = group.leader.as_deref() == Some(id.as_str());
    let mut changed = true;
    if let Some(member) = group.members.get_mut(&id) {
        changed = member.protocols != join.protocols;
        member.protocols = join.protocols;
        member.session_timeout_ms = i64::from(join.session_timeout_ms);
        member.rebalance_timeout_ms = i64::from(join.rebalance_timeout_ms);
        member.heard(now);
    } else {
        if group.members.is_empty() {
            group.protocol_type = join.protocol_type;
        }
        let member = Member {
            instance_id: join.instance_id,
            client_id: join.client_id,
            client_host: join.client_host,
            assignment: Bytes::new(),
            session_timeout_ms: i64::from(join.session_timeout_ms),
            rebalance_timeout_ms: i64::from(join.rebalance_timeout_ms),
            protocols: join.protocols,
            deadline: now + i64::from(join.session_timeout_ms),
            joining: None,
            syncing: None,
        };
        group.members.insert(id.clone(), member);
    }
    let as_it_was = match group.state {
        State::Stable => !changed && !is_leader,
        State::Completing { .. } => !changed,
        State::Empty | State::Preparing { .. } => false,
    };
    if as_it_was {
        done.insert(ticket, Completion::Join(Ok(group.joined(&id))));
        return;
    }
    if let Some(old) = group.members[&id].joining.replace(ticket) {
        let refused = JoinRefused {
            error: E::RebalanceInProgress,
            member_id: id,
        };
        done.insert(old, Completion::Join(Err(refused)));
    }
    if matches!(group.state, State::Preparing { .. }) {
        group.try_complete_join(now, done);
    } else {
        group.prepare_rebalance(now, done);
    }
}

/// A static member is back under a new id: the old id is fenced, and when nothing else changed the
/// group goes on as it was.
fn replace_static(
    group: &mut Group,
    old: &str,
    new: &str,
    mut join: Join,
    now: i64,
    ticket: Ticket,
    done: &mut Completions,
) {
    let Some(mut member) = group.members.shift_remove(old) else {
        return;
    };
    if let Some(waiting) = member.joining.take() {
        let refused = JoinRefused {
            error: E::FencedInstanceId,
            member_id: old.to_owned(),
        };
        done.insert(waiting, Completion::Join(Err(refused)));
    }
    if let Some(waiting) = member.syncing.take() {
        done.insert(waiting, Completion::Sync(Err(E::FencedInstanceId)));
    }
    let unchanged = member.protocols == join.protocols;
    group.members.insert(new.to_owned(), member);
    let was_leader = group.leader.as_deref() == Some(old);
    if was_leader {
        group.leader = Some(new.to_owned());
    }
    if group.state == State::Stable && unchanged {
        group.members[new].heard(now);
        let mut answer = group.joined(new);
        if was_leader && join.may_skip {
            answer.skip_assignment = true;
        } else if was_leader {
            // An older client would assign again; under the old leader's id it does not.
            old.clone_into(&mut answer.leader);
            answer.members.clear();
        }
        done.insert(ticket, Completion::Join(Ok(answer)));
        return;
    }
    new.clone_into(&mut join.member_id);
    if group.state == State::Stable {
        // Force the rebalance that the changed subscription asks for.
        group.members[new].protocols.clear();
    }
    admit(group, join, now, ticket, done);
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
