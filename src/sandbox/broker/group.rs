//! One consumer group of the classic protocol: members, generations, who waits for whom.
//!
//! Members that must wait (to join, to get their assignment) hold a [`Ticket`]; its completion is
//! put where the server finds it. Assignments are made by the clients; the coordinator only carries
//! them, so the cooperative protocol needs nothing special here.

use std::collections::HashMap;

use bytes::Bytes;
use indexmap::IndexMap;
use kafka_protocol::ResponseError as E;

use super::offsets::Offsets;

/// Something to wait for.
pub type Ticket = u64;

/// A request to join.
#[derive(Clone, Debug)]
pub struct Join {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    /// Name and subscription, in the member's order of preference.
    pub protocols: Vec<(String, Bytes)>,
    /// Whether a new member must come back with the id it is given (JoinGroup v4).
    pub id_required: bool,
    /// Whether the member understands that it may skip the assignment (JoinGroup v9).
    pub may_skip: bool,
}

/// The answer to a member that has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: String,
    pub leader: String,
    pub member_id: String,
    pub skip_assignment: bool,
    /// Id, instance and subscription of all members; the leader's only.
    pub members: Vec<(String, Option<String>, Bytes)>,
}

/// The answer to a member that has synchronised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: String,
    pub protocol: String,
    pub assignment: Bytes,
}

/// A refused join, with the member id that belongs into the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    pub error: E,
    pub member_id: String,
}

/// What a ticket was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    Join(Result<Joined, JoinRefused>),
    Sync(Result<Synced, E>),
}

/// Who asks: the fields by which every request of a member is judged.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub member_id: &'a str,
    pub instance_id: Option<&'a str>,
    pub generation: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Empty,
    /// Members are asked to join again; those that have not by then are removed.
    Preparing {
        deadline: i64,
    },
    /// The leader is asked for the assignment.
    Completing {
        deadline: i64,
    },
    Stable,
}

/// A member of a group.
#[derive(Clone, Debug)]
pub struct Member {
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub assignment: Bytes,
    pub(super) session_timeout_ms: i64,
    pub(super) rebalance_timeout_ms: i64,
    pub(super) protocols: Vec<(String, Bytes)>,
    /// When its session ends unless it is heard of.
    pub(super) deadline: i64,
    pub(super) joining: Option<Ticket>,
    pub(super) syncing: Option<Ticket>,
}

impl Member {
    pub(super) fn heard(&mut self, now: i64) {
        self.deadline = now + self.session_timeout_ms;
    }

    fn subscription(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    }
}

/// One group.
#[derive(Clone, Debug)]
pub struct Group {
    pub(super) state: State,
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: String,
    pub(super) leader: Option<String>,
    pub members: IndexMap<String, Member>,
    /// Ids given out whose members have not come back yet, with the time until when.
    pub(super) expected: HashMap<String, i64>,
    pub offsets: Offsets,
}

impl Default for Group {
    fn default() -> Self {
        Group {
            state: State::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: None,
            members: IndexMap::new(),
            expected: HashMap::new(),
            offsets: Offsets::default(),
        }
    }
}

pub(super) type Completions = HashMap<Ticket, Completion>;

impl Group {
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Empty => "Empty",
            State::Preparing { .. } => "PreparingRebalance",
            State::Completing { .. } => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// A member's subscription under the protocol in force.
    #[must_use]
    pub fn subscription(&self, member: &Member) -> Bytes {
        member.subscription(&self.protocol)
    }

    pub(super) fn instance_owner(&self, instance_id: &str) -> Option<&str> {
        self.members
            .iter()
            .find(|(_, member)| member.instance_id.as_deref() == Some(instance_id))
            .map(|(id, _)| id.as_str())
    }

    /// Whether the caller is a member, by id and by instance.
    pub(super) fn check_member(&self, caller: Caller<'_>) -> Result<(), E> {
        if let Some(instance) = caller.instance_id {
            match self.instance_owner(instance) {
                None => return Err(E::UnknownMemberId),
                Some(owner) if owner != caller.member_id => return Err(E::FencedInstanceId),
                Some(_) => return Ok(()),
            }
        }
        if self.members.contains_key(caller.member_id) {
            Ok(())
        } else {
            Err(E::UnknownMemberId)
        }
    }

    pub(super) fn check_generation(&self, caller: Caller<'_>) -> Result<(), E> {
        self.check_member(caller)?;
        if caller.generation == self.generation {
            Ok(())
        } else {
            Err(E::IllegalGeneration)
        }
    }

    /// Whether the caller may commit offsets.
    pub fn check_commit(&self, caller: Caller<'_>, transactional: bool) -> Result<(), E> {
        if caller.generation < 0 && self.is_empty() {
            return Ok(());
        }
        let named = !caller.member_id.is_empty() || caller.instance_id.is_some();
        if caller.generation >= 0 || named {
            self.check_generation(caller)?;
            if matches!(self.state, State::Completing { .. }) && !transactional {
                return Err(E::RebalanceInProgress);
            }
            return Ok(());
        }
        if transactional {
            Ok(())
        } else {
            Err(E::UnknownMemberId)
        }
    }

    /// Whether all present members could use one of these protocols.
    pub(super) fn accepts(&self, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
        if protocols.is_empty() || protocol_type.is_empty() {
            return false;
        }
        self.members.is_empty()
            || (self.protocol_type == protocol_type
                && protocols.iter().any(|(name, _)| {
                    self.members
                        .values()
                        .all(|member| member.protocols.iter().any(|(known, _)| known == name))
                }))
    }

    /// The protocol that most members prefer among those that all know.
    fn elect_protocol(&self) -> String {
        let mut votes: IndexMap<&str, usize> = IndexMap::new();
        for member in self.members.values() {
            let first = member.protocols.iter().find(|(name, _)| {
                self.members
                    .values()
                    .all(|other| other.protocols.iter().any(|(known, _)| known == name))
            });
            if let Some((name, _)) = first {
                *votes.entry(name).or_default() += 1;
            }
        }
        let best = votes.iter().max_by_key(|(_, count)| **count);
        best.map(|(name, _)| (*name).to_owned()).unwrap_or_default()
    }

    pub(super) fn joined(&self, member_id: &str) -> Joined {
        let leader = self.leader.clone().unwrap_or_default();
        let members = if leader == member_id {
            self.members
                .iter()
                .map(|(id, m)| {
                    (
                        id.clone(),
                        m.instance_id.clone(),
                        m.subscription(&self.protocol),
                    )
                })
                .collect()
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader,
            member_id: member_id.to_owned(),
            skip_assignment: false,
            members,
        }
    }

    pub(super) fn prepare_rebalance(&mut self, now: i64, done: &mut Completions) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if let Some(ticket) = member.syncing.take() {
                done.insert(ticket, Completion::Sync(Err(E::RebalanceInProgress)));
                member.heard(now);
            }
        }
        let longest = self.members.values().map(|m| m.rebalance_timeout_ms).max();
        self.state = State::Preparing {
            deadline: now + longest.unwrap_or(0),
        };
        self.try_complete_join(now, done);
    }

    pub(super) fn try_complete_join(&mut self, now: i64, done: &mut Completions) {
        let waiting = matches!(self.state, State::Preparing { .. });
        let all_here = self.members.values().all(|member| member.joining.is_some());
        if waiting && all_here && self.expected.is_empty() {
            self.complete_join(now, done);
        }
    }

    fn complete_join(&mut self, now: i64, done: &mut Completions) {
        // A static member may be back before its session ends; others are gone.
        self.members
            .retain(|_, member| member.joining.is_some() || member.instance_id.is_some());
        self.generation += 1;
        if self.members.is_empty() {
            self.state = State::Empty;
            self.leader = None;
            self.protocol.clear();
            return;
        }
        self.protocol = self.elect_protocol();
        let keeps = self.leader.as_ref().is_some_and(|id| {
            self.members
                .get(id)
                .is_some_and(|member| member.joining.is_some())
        });
        if !keeps {
            let here = self
                .members
                .iter()
                .find(|(_, member)| member.joining.is_some());
            self.leader = here.map(|(id, _)| id.clone());
        }
        let longest = self.members.values().map(|m| m.rebalance_timeout_ms).max();
        self.state = State::Completing {
            deadline: now + longest.unwrap_or(0),
        };
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.joined(&id);
            let member = &mut self.members[&id];
            if let Some(ticket) = member.joining.take() {
                done.insert(ticket, Completion::Join(Ok(answer)));
                member.heard(now);
            }
        }
    }

    pub(super) fn synced(&self, member: &Member) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: member.assignment.clone(),
        }
    }

    pub(super) fn remove(&mut self, member_id: &str, now: i64, done: &mut Completions) {
        if let Some(member) = self.members.shift_remove(member_id) {
            if let Some(ticket) = member.joining {
                let member_id = member_id.to_owned();
                let refused = JoinRefused {
                    error: E::UnknownMemberId,
                    member_id,
                };
                done.insert(ticket, Completion::Join(Err(refused)));
            }
            if let Some(ticket) = member.syncing {
                done.insert(ticket, Completion::Sync(Err(E::UnknownMemberId)));
            }
            if self.leader.as_deref() == Some(member_id) {
                self.leader = None;
            }
        }
        match self.state {
            State::Stable | State::Completing { .. } => self.prepare_rebalance(now, done),
            State::Preparing { .. } => self.try_complete_join(now, done),
            State::Empty => (),
        }
    }

    pub(super) fn tick(&mut self, now: i64, done: &mut Completions) {
        let before = self.expected.len();
        self.expected.retain(|_, until| now < *until);
        if self.expected.len() < before {
            self.try_complete_join(now, done);
        }
        let silent: Vec<String> = self
            .members
            .iter()
            .filter(|(_, m)| m.joining.is_none() && m.syncing.is_none() && m.deadline <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in silent {
            self.remove(&id, now, done);
        }
        match self.state {
            State::Preparing { deadline } if deadline <= now => {
                let anybody = self.members.values().any(|member| member.joining.is_some());
                if anybody
                    || self.members.is_empty()
                    || self.members.values().all(|m| m.instance_id.is_none())
                {
                    self.complete_join(now, done);
                }
            }
            State::Completing { deadline } if deadline <= now => {
                let late: Vec<String> = self
                    .members
                    .iter()
                    .filter(|(_, member)| member.syncing.is_none())
                    .map(|(id, _)| id.clone())
                    .collect();
                for id in late {
                    self.remove(&id, now, done);
                }
            }
            _ => (),
        }
    }
}
