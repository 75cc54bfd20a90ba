//! Rebalances as tables of steps.

use super::super::group::Joined;
use super::*;

fn join(member_id: &str, subscription: &'static str) -> Join {
    Join {
        member_id: member_id.to_owned(),
        instance_id: None,
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: 6_000,
        rebalance_timeout_ms: 20_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![(
            "range".to_owned(),
            Bytes::from_static(subscription.as_bytes()),
        )],
        id_required: true,
        may_skip: true,
    }
}

fn caller(member_id: &str, generation: i32) -> Caller<'_> {
    Caller {
        member_id,
        instance_id: None,
        generation,
    }
}

/// The id that a newcomer is told to come back with.
fn given_id(groups: &mut Groups, now: i64) -> String {
    let ticket = groups.join("g", join("", "s"), now);
    match groups.take(ticket) {
        Some(Completion::Join(Err(JoinRefused {
            error: E::MemberIdRequired,
            member_id,
        }))) => member_id,
        other => panic!("{other:?}"),
    }
}

fn joined(groups: &mut Groups, ticket: Ticket) -> Joined {
    match groups.take(ticket) {
        Some(Completion::Join(Ok(joined))) => joined,
        other => panic!("{other:?}"),
    }
}

fn synced(groups: &mut Groups, ticket: Ticket) -> Bytes {
    match groups.take(ticket) {
        Some(Completion::Sync(Ok(synced))) => synced.assignment,
        other => panic!("{other:?}"),
    }
}

/// A stable group of one; its id.
fn alone(groups: &mut Groups) -> String {
    let id = given_id(groups, 0);
    let ticket = groups.join("g", join(&id, "s"), 0);
    let answer = joined(groups, ticket);
    assert_eq!(
        (answer.leader.as_str(), answer.generation),
        (id.as_str(), 1)
    );
    let ticket = groups.sync(
        "g",
        caller(&id, 1),
        (None, None),
        vec![(id.clone(), "all".into())],
        0,
    );
    assert_eq!(synced(groups, ticket), "all");
    id
}

/// A second member joins the group of `first`; its id. Both are synchronised.
fn second(groups: &mut Groups, first: &str, now: i64) -> String {
    let id = given_id(groups, now);
    let mine = groups.join("g", join(&id, "s"), now);
    assert_eq!(groups.take(mine), None, "waits for the other member");
    let generation = groups.get("g").expect("there").generation;
    assert_eq!(
        groups.heartbeat("g", caller(first, generation), now),
        Err(E::RebalanceInProgress)
    );
    let other = groups.join("g", join(first, "s"), now);
    let (leader, follower) = (joined(groups, other), joined(groups, mine));
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));
    assert_eq!(follower.leader, first);
    let waiting = groups.sync("g", caller(&id, generation + 1), (None, None), vec![], now);
    assert_eq!(groups.take(waiting), None, "waits for the leader");
    let parts = vec![(first.to_owned(), "a".into()), (id.clone(), "b".into())];
    let leading = groups.sync("g", caller(first, generation + 1), (None, None), parts, now);
    assert_eq!(
        (synced(groups, leading), synced(groups, waiting)),
        ("a".into(), "b".into())
    );
    id
}

#[test]
fn two_members_share_and_one_inherits_when_the_other_leaves() {
    let mut groups = Groups::default();
    let first = alone(&mut groups);
    let other = second(&mut groups, &first, 100);
    assert_eq!(groups.get("g").expect("there").state_name(), "Stable");
    groups.leave("g", &first, None, 200).expect("a member");
    assert_eq!(
        groups.heartbeat("g", caller(&other, 2), 200),
        Err(E::RebalanceInProgress)
    );
    let ticket = groups.join("g", join(&other, "s"), 200);
    let answer = joined(&mut groups, ticket);
    assert_eq!(
        (answer.leader.as_str(), answer.generation),
        (other.as_str(), 3)
    );
}

#[test]
fn a_silent_member_is_removed_when_its_session_ends() {
    let mut groups = Groups::default();
    let first = alone(&mut groups);
    let other = second(&mut groups, &first, 0);
    groups
        .heartbeat("g", caller(&first, 2), 5_000)
        .expect("a member");
    groups.tick(5_999);
    assert_eq!(groups.get("g").expect("there").members.len(), 2);
    groups.tick(6_000);
    assert_eq!(groups.get("g").expect("there").members.len(), 1);
    assert_eq!(
        groups.heartbeat("g", caller(&other, 2), 6_001),
        Err(E::UnknownMemberId)
    );
    groups.tick(11_000);
    let group = groups.get("g").expect("there");
    assert_eq!((group.members.len(), group.state_name()), (0, "Empty"));
}

#[test]
fn who_does_not_join_again_in_time_is_left_out() {
    let mut groups = Groups::default();
    let first = alone(&mut groups);
    let id = given_id(&mut groups, 0);
    let ticket = groups.join("g", join(&id, "s"), 0);
    // The first member keeps its session alive but does not join again.
    for now in (0..20_000).step_by(5_000) {
        let _rebalancing = groups.heartbeat("g", caller(&first, 1), now);
        groups.tick(now);
    }
    assert_eq!(groups.take(ticket), None);
    groups.tick(20_000);
    let answer = joined(&mut groups, ticket);
    assert_eq!((answer.leader, answer.members.len()), (id, 1));
}

#[test]
fn an_id_that_was_given_out_and_never_used_does_not_block_for_ever() {
    let mut groups = Groups::default();
    let _never_back = given_id(&mut groups, 0);
    let id = given_id(&mut groups, 0);
    let ticket = groups.join("g", join(&id, "s"), 0);
    assert_eq!(groups.take(ticket), None);
    groups.tick(6_000);
    assert_eq!(joined(&mut groups, ticket).generation, 1);
}

#[test]
fn generations_and_members_fence_requests_and_commits() {
    let mut groups = Groups::default();
    let id = alone(&mut groups);
    let cases = [
        (id.as_str(), 1, Ok(())),
        (id.as_str(), 0, Err(E::IllegalGeneration)),
        ("stranger", 1, Err(E::UnknownMemberId)),
        ("", -1, Err(E::UnknownMemberId)),
    ];
    for (member, generation, expected) in cases {
        let group = groups.get("g").expect("there");
        assert_eq!(
            group.check_commit(caller(member, generation), false),
            expected,
            "{member} {generation}"
        );
    }
    groups.leave("g", &id, None, 0).expect("a member");
    let group = groups.get("g").expect("there");
    assert_eq!(group.check_commit(caller("", -1), false), Ok(()));
    assert_eq!(
        group.check_commit(caller(&id, 1), false),
        Err(E::UnknownMemberId)
    );
}

#[test]
fn commits_wait_for_the_assignment() {
    let mut groups = Groups::default();
    let id = given_id(&mut groups, 0);
    let ticket = groups.join("g", join(&id, "s"), 0);
    let generation = joined(&mut groups, ticket).generation;
    let group = groups.get("g").expect("there");
    assert_eq!(
        group.check_commit(caller(&id, generation), false),
        Err(E::RebalanceInProgress)
    );
}

#[test]
fn joining_again_unchanged_starts_a_rebalance_for_the_leader_only() {
    let mut groups = Groups::default();
    let first = alone(&mut groups);
    let other = second(&mut groups, &first, 0);
    let ticket = groups.join("g", join(&other, "s"), 10);
    assert_eq!(joined(&mut groups, ticket).generation, 2);
    let ticket = groups.join("g", join(&first, "s"), 10);
    assert_eq!(groups.take(ticket), None);
    assert_eq!(
        groups.get("g").expect("there").state_name(),
        "PreparingRebalance"
    );
}

#[test]
fn a_static_member_returns_without_a_rebalance_and_fences_its_former_self() {
    let mut groups = Groups::default();
    let fixed = |member_id: &str| Join {
        instance_id: Some("i".into()),
        ..join(member_id, "s")
    };
    let ticket = groups.join("g", fixed(""), 0);
    let first = joined(&mut groups, ticket).member_id;
    let ticket = groups.sync(
        "g",
        caller(&first, 1),
        (None, None),
        vec![(first.clone(), "all".into())],
        0,
    );
    assert_eq!(synced(&mut groups, ticket), "all");
    let ticket = groups.join("g", fixed(""), 10);
    let back = joined(&mut groups, ticket);
    assert_eq!((back.generation, back.skip_assignment), (1, true));
    assert_ne!(back.member_id, first);
    let ticket = groups.sync("g", caller(&back.member_id, 1), (None, None), vec![], 10);
    assert_eq!(synced(&mut groups, ticket), "all");
    let old = Caller {
        instance_id: Some("i"),
        ..caller(&first, 1)
    };
    assert_eq!(groups.heartbeat("g", old, 20), Err(E::FencedInstanceId));
}

#[test]
fn joins_are_refused_with_kafkas_codes() {
    let mut groups = Groups::default();
    let _member = alone(&mut groups);
    let cases = [
        ("", join("", "s"), E::InvalidGroupId),
        (
            "g",
            Join {
                session_timeout_ms: 10,
                ..join("", "s")
            },
            E::InvalidSessionTimeout,
        ),
        ("g", join("nobody", "s"), E::UnknownMemberId),
        (
            "g",
            Join {
                protocol_type: "connect".into(),
                ..join("", "s")
            },
            E::InconsistentGroupProtocol,
        ),
        (
            "g",
            Join {
                protocols: vec![("other".into(), Bytes::new())],
                ..join("", "s")
            },
            E::InconsistentGroupProtocol,
        ),
    ];
    for (group, request, expected) in cases {
        let ticket = groups.join(group, request, 0);
        match groups.take(ticket) {
            Some(Completion::Join(Err(refused))) => assert_eq!(refused.error, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn only_an_empty_group_can_be_deleted() {
    let mut groups = Groups::default();
    assert_eq!(groups.delete("g"), Err(E::GroupIdNotFound));
    let id = alone(&mut groups);
    assert_eq!(groups.delete("g"), Err(E::NonEmptyGroup));
    groups.leave("g", &id, None, 0).expect("a member");
    assert_eq!(groups.delete("g"), Ok(()));
}
