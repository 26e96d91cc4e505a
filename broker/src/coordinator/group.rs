//! A classic group: its members, its generation, and the rules of who may do what. No time passes here and nothing
//! is answered here; `join`, `sync` and `membership` drive it.
//!
//! ```text
//! Empty ──join──▶ PreparingRebalance ──all joined, or time is up──▶ CompletingRebalance ──assignment durable──▶ Stable
//!   ▲                │        ▲  ▲                                      │                                        │
//!   └──nobody left───┘        │  └──────────join, leave, expiry─────────┘                                        │
//!                             └─────────────────────────join, leave, expiry──────────────────────────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use net::ErrorCode;
use net::messages::records::{ConsumerProtocolSubscription, record_version};
use net::wire::{Message, Reader};

use super::Token;

/// The id of a group.
pub(super) type GroupId = Arc<str>;
/// The id of a member, chosen by the coordinator.
pub(super) type MemberId = Arc<str>;

/// The protocol type of consumers: the only one whose metadata the coordinator understands.
const CONSUMER: &str = "consumer";

/// Where a group stands; the picture at the head of this file lists the ways between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GroupState {
    /// No members; offsets may be kept.
    Empty,
    /// Waits for members to (re)join.
    PreparingRebalance,
    /// Waits for the leader's assignment.
    CompletingRebalance,
    /// Every member can have its assignment.
    Stable,
}

impl GroupState {
    /// Kafka's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
        }
    }

    fn may_become(self, next: GroupState) -> bool {
        use GroupState::*;
        matches!(
            (self, next),
            (Empty | CompletingRebalance | Stable, PreparingRebalance)
                | (PreparingRebalance, CompletingRebalance | Empty)
                | (CompletingRebalance, Stable)
        )
    }
}

/// A request that is answered later, and the version that shapes the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Waiter {
    pub(super) token: Token,
    pub(super) version: i16,
}

/// A protocol that a member speaks, with its metadata.
pub(super) type Protocol = (String, Bytes);

/// A member of a group.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Member {
    pub(super) id: MemberId,
    /// Set for static members (KIP-345).
    pub(super) group_instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    /// In the member's order of preference.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// In its first join: it does not know its id yet and cannot send heartbeats.
    pub(super) is_new: bool,
    awaiting_join: Option<Waiter>,
    awaiting_sync: Option<Waiter>,
}

impl Member {
    #[expect(clippy::too_many_arguments, reason = "a record of the log has as many fields")]
    pub(super) fn new(
        id: MemberId,
        group_instance_id: Option<String>,
        client_id: String,
        client_host: String,
        rebalance_timeout_ms: i32,
        session_timeout_ms: i32,
        protocols: Vec<Protocol>,
        assignment: Bytes,
    ) -> Member {
        Member {
            id,
            group_instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms,
            session_timeout_ms,
            protocols,
            assignment,
            is_new: false,
            awaiting_join: None,
            awaiting_sync: None,
        }
    }

    pub(super) fn is_awaiting_join(&self) -> bool {
        self.awaiting_join.is_some()
    }

    pub(super) fn is_static(&self) -> bool {
        self.group_instance_id.is_some()
    }

    /// True if the end of the session is no sign of death: the member waits for us, not we for it.
    pub(super) fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    /// Metadata for `protocol`; empty if the member does not speak it.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    fn speaks(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }
}

/// A classic group.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Group {
    pub(super) id: GroupId,
    state: GroupState,
    previous_state: GroupState,
    /// When the group came into its state, wall clock milliseconds; none for records of old schemas.
    pub(super) state_since_ms: Option<i64>,
    /// None for a simple group: one that only keeps offsets.
    pub(super) protocol_type: Option<String>,
    pub(super) protocol_name: Option<String>,
    pub(super) generation_id: i32,
    pub(super) leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member>,
    static_members: BTreeMap<String, MemberId>,
    /// Ids that were given out with MEMBER_ID_REQUIRED and have not come back yet (KIP-394).
    pub(super) pending_join: BTreeSet<MemberId>,
    /// Members of this generation that have not sent SyncGroup yet.
    pub(super) pending_sync: BTreeSet<MemberId>,
    members_awaiting_join: usize,
    /// How many members speak each protocol.
    supported_protocols: BTreeMap<String, usize>,
    /// Topics that members of this generation subscribe to; none if unknown or no consumers.
    subscribed_topics: Option<BTreeSet<String>>,
    /// A member came during the initial delay, so that it may be extended.
    pub(super) new_member_added: bool,
    /// The step and what is left of the initial rebalance delay, milliseconds; none in any later rebalance.
    pub(super) initial_delay_ms: Option<(i32, i32)>,
}

impl Group {
    /// An empty group of no protocol.
    pub(super) fn new(id: GroupId, now_ms: i64) -> Group {
        Group {
            id,
            state: GroupState::Empty,
            previous_state: GroupState::Empty,
            state_since_ms: Some(now_ms),
            protocol_type: None,
            protocol_name: None,
            generation_id: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            members_awaiting_join: 0,
            supported_protocols: BTreeMap::new(),
            subscribed_topics: None,
            new_member_added: false,
            initial_delay_ms: None,
        }
    }

    /// A group as a record of the log describes it: stable if it has members.
    pub(super) fn restored(
        id: GroupId,
        generation_id: i32,
        protocol_type: Option<String>,
        protocol_name: Option<String>,
        leader: Option<MemberId>,
        state_since_ms: Option<i64>,
        members: Vec<Member>,
    ) -> Group {
        let mut group = Group::new(id, 0);
        group.generation_id = generation_id;
        group.protocol_type = protocol_type.clone();
        group.protocol_name = protocol_name;
        group.state_since_ms = state_since_ms;
        group.leader = leader;
        let protocol_type = protocol_type.unwrap_or_default();
        for member in members {
            group.state = GroupState::Stable;
            group.add(member, &protocol_type, None);
        }
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    pub(super) fn state(&self) -> GroupState {
        self.state
    }

    pub(super) fn is(&self, state: GroupState) -> bool {
        self.state == state
    }

    /// True if the rebalance under way is the first since the group was empty.
    pub(super) fn is_initial_rebalance(&self) -> bool {
        self.state == GroupState::PreparingRebalance && self.previous_state == GroupState::Empty
    }

    pub(super) fn transition_to(&mut self, next: GroupState, now_ms: i64) {
        assert!(self.state.may_become(next), "{:?} cannot become {next:?}", self.state);
        self.previous_state = self.state;
        self.state = next;
        self.state_since_ms = Some(now_ms);
    }

    pub(super) fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(super) fn member_ids(&self) -> Vec<MemberId> {
        self.members.keys().cloned().collect()
    }

    pub(super) fn member_count(&self) -> usize {
        self.members.len()
    }

    pub(super) fn awaiting_join_count(&self) -> usize {
        self.members_awaiting_join
    }

    pub(super) fn static_member(&self, group_instance_id: &str) -> Option<&MemberId> {
        self.static_members.get(group_instance_id)
    }

    pub(super) fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    /// True if every member is in the join phase and nobody is on the way.
    pub(super) fn has_all_joined(&self) -> bool {
        self.members.len() == self.members_awaiting_join && self.pending_join.is_empty()
    }

    /// The longest time that a member asked for, milliseconds.
    pub(super) fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|m| m.rebalance_timeout_ms).max().unwrap_or(0).max(0)
    }

    // ------------------------------------------------------------------------------------------- membership

    /// Adds a member; the first one decides the protocol type and leads.
    pub(super) fn add(&mut self, mut member: Member, protocol_type: &str, waiter: Option<Waiter>) {
        if let Some(instance) = &member.group_instance_id {
            let before = self.static_members.insert(instance.clone(), member.id.clone());
            assert!(before.is_none(), "an instance id has one member");
        }
        if self.members.is_empty() && !protocol_type.is_empty() {
            self.protocol_type = Some(protocol_type.to_owned());
        }
        self.leader.get_or_insert_with(|| member.id.clone());
        self.pending_join.remove(&member.id);
        self.count_protocols(&member.protocols);
        member.awaiting_join = waiter;
        self.members_awaiting_join += usize::from(waiter.is_some());
        let before = self.members.insert(member.id.clone(), member);
        assert!(before.is_none(), "a member is added once");
    }

    /// Takes a member out, or the id of one that was on the way. Whoever leads next is the first by id.
    /// The returned waiters have to be answered.
    pub(super) fn remove(&mut self, id: &str) -> Vec<JoinOrSync> {
        let mut waiters = Vec::new();
        if let Some(mut member) = self.members.remove(id) {
            self.uncount_protocols(&member.protocols);
            if let Some(waiter) = member.awaiting_join.take() {
                self.members_awaiting_join -= 1;
                waiters.push(JoinOrSync::Join(waiter));
            }
            waiters.extend(member.awaiting_sync.take().map(JoinOrSync::Sync));
            if let Some(instance) = &member.group_instance_id {
                self.static_members.remove(instance);
            }
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_join.remove(id);
        self.pending_sync.remove(id);
        waiters
    }

    /// Gives the place of a static member to a new id: its client was restarted. The waiters of the old id are fenced.
    pub(super) fn replace_static(&mut self, old: &str, new: MemberId) -> Vec<JoinOrSync> {
        let mut member = self.members.remove(old).expect("the old member is there");
        let instance = member.group_instance_id.clone().expect("only static members are replaced");
        let mut waiters = Vec::new();
        if let Some(waiter) = member.awaiting_join.take() {
            self.members_awaiting_join -= 1;
            waiters.push(JoinOrSync::Join(waiter));
        }
        waiters.extend(member.awaiting_sync.take().map(JoinOrSync::Sync));
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        // The wait for SyncGroup stays with the instance: a restarted client owes it like any other.
        if self.pending_sync.remove(old) {
            self.pending_sync.insert(new.clone());
        }
        self.static_members.insert(instance, new.clone());
        member.id = new.clone();
        member.is_new = false;
        self.members.insert(new, member);
        waiters
    }

    /// Takes over what a member said in its newest JoinGroup. Returns the waiter of an earlier one, if it is still
    /// unanswered.
    pub(super) fn update(
        &mut self,
        id: &str,
        protocols: Vec<Protocol>,
        rebalance_timeout_ms: i32,
        session_timeout_ms: i32,
        waiter: Waiter,
    ) -> Option<Waiter> {
        let before = self.members[id].protocols.clone();
        self.uncount_protocols(&before);
        self.count_protocols(&protocols);
        let member = self.members.get_mut(id).expect("just seen");
        member.protocols = protocols;
        member.rebalance_timeout_ms = rebalance_timeout_ms;
        member.session_timeout_ms = session_timeout_ms;
        let superseded = member.awaiting_join.replace(waiter);
        self.members_awaiting_join += usize::from(superseded.is_none());
        superseded
    }

    pub(super) fn take_join_waiter(&mut self, id: &str) -> Option<Waiter> {
        let waiter = self.members.get_mut(id)?.awaiting_join.take();
        self.members_awaiting_join -= usize::from(waiter.is_some());
        waiter
    }

    pub(super) fn take_sync_waiter(&mut self, id: &str) -> Option<Waiter> {
        self.members.get_mut(id)?.awaiting_sync.take()
    }

    /// Parks a SyncGroup request; returns an earlier one of the same member.
    pub(super) fn await_sync(&mut self, id: &str, waiter: Waiter) -> Option<Waiter> {
        self.members.get_mut(id).expect("the member was validated").awaiting_sync.replace(waiter)
    }

    pub(super) fn set_is_new(&mut self, id: &str, is_new: bool) {
        self.members.get_mut(id).expect("the member is there").is_new = is_new;
    }

    pub(super) fn set_assignment(&mut self, id: &str, assignment: Bytes) {
        self.members.get_mut(id).expect("the member is there").assignment = assignment;
    }

    // --------------------------------------------------------------------------------------------- protocols

    /// True if a member of these protocols fits in.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|(name, _)| self.speakers(name) == self.members.len())
    }

    /// The protocol that all members speak and most prefer; the leader's preference breaks a tie.
    pub(super) fn select_protocol(&self) -> String {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.protocols.iter().find(|(name, _)| self.speakers(name) == self.members.len());
            let (name, _) = vote.expect("members share a protocol: each was checked when it joined");
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.values().copied().max().expect("a protocol is selected among members");
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        let preferred = leader.iter().flat_map(|m| &m.protocols).map(|(name, _)| name.as_str());
        let tied = votes.keys().copied();
        preferred
            .chain(tied)
            .find(|name| votes.get(name) == Some(&most))
            .expect("one has the most")
            .to_owned()
    }

    fn speakers(&self, protocol: &str) -> usize {
        self.supported_protocols.get(protocol).copied().unwrap_or(0)
    }

    fn count_protocols(&mut self, protocols: &[Protocol]) {
        for (name, _) in protocols {
            *self.supported_protocols.entry(name.clone()).or_default() += 1;
        }
    }

    fn uncount_protocols(&mut self, protocols: &[Protocol]) {
        for (name, _) in protocols {
            let count = self.supported_protocols.get_mut(name).expect("counted when it came");
            *count -= 1;
            if *count == 0 {
                self.supported_protocols.remove(name);
            }
        }
    }

    // ------------------------------------------------------------------------------------------- generations

    /// If the leader has not rejoined, elects one that has. False if nobody has.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else { return false };
        if self.members.get(leader).is_some_and(Member::is_awaiting_join) {
            return true;
        }
        let Some(joined) = self.members.values().find(|m| m.is_awaiting_join()) else { return false };
        self.leader = Some(joined.id.clone());
        true
    }

    /// Begins the next generation: of the members there are, or of nobody.
    pub(super) fn begin_generation(&mut self, now_ms: i64) {
        self.generation_id = self.generation_id.checked_add(1).unwrap_or(1);
        self.pending_sync.clear();
        self.initial_delay_ms = None;
        self.new_member_added = false;
        if self.members.is_empty() {
            self.protocol_name = None;
            self.leader = None;
            self.transition_to(GroupState::Empty, now_ms);
        } else {
            self.protocol_name = Some(self.select_protocol());
            self.transition_to(GroupState::CompletingRebalance, now_ms);
        }
        self.subscribed_topics = self.compute_subscribed_topics();
    }

    /// Dynamic members that have not rejoined.
    pub(super) fn dynamic_members_not_rejoined(&self) -> Vec<MemberId> {
        let absent = self.members.values().filter(|m| !m.is_awaiting_join() && !m.is_static());
        absent.map(|m| m.id.clone()).collect()
    }

    // ------------------------------------------------------------------------------------------------ checks

    /// Checks that a request comes from a member and not from one that was replaced.
    pub(super) fn validate_member(&self, id: &str, group_instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = group_instance_id {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if **current != *id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => (),
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Checks who may commit offsets: members of this generation, and anyone while nobody is in the group.
    pub(super) fn validate_offset_commit(
        &self,
        member_id: &str,
        group_instance_id: Option<&str>,
        generation_id: i32,
    ) -> Result<(), ErrorCode> {
        if generation_id < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        if generation_id < 0 && member_id.is_empty() && group_instance_id.is_none() {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.validate_member(member_id, group_instance_id)?;
        if generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        // A valid member has the newest generation from its JoinGroup, and shall get its assignment first.
        if self.state == GroupState::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// True for a group of consumers, whose subscriptions the coordinator can read.
    pub(super) fn has_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// True if offsets of `topic` are in use; unknown subscriptions count as subscribed.
    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.has_consumers(),
        }
    }

    /// True if the subscriptions of the members are known.
    pub(super) fn knows_subscriptions(&self) -> bool {
        self.subscribed_topics.is_some()
    }

    fn compute_subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if !self.has_consumers() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol_name.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            debug_assert!(member.speaks(protocol));
            topics.extend(subscription_topics(member.metadata(protocol))?);
        }
        Some(topics)
    }
}

/// A request that was parked in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum JoinOrSync {
    Join(Waiter),
    Sync(Waiter),
}

/// The topics of a consumer's subscription. Version 0 is the prefix of every later version.
fn subscription_topics(metadata: Bytes) -> Option<Vec<String>> {
    record_version(&metadata).ok()?;
    let mut reader = Reader::new(metadata.slice(size_of::<i16>()..));
    ConsumerProtocolSubscription::decode(&mut reader, 0).ok().map(|subscription| subscription.topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, protocols: &[&str]) -> Member {
        let protocols = protocols.iter().map(|name| (name.to_string(), Bytes::new())).collect();
        Member::new(id.into(), None, "c".into(), "/h".into(), 1000, 1000, protocols, Bytes::new())
    }

    fn group(members: &[(&str, &[&str])]) -> Group {
        let mut group = Group::new("g".into(), 0);
        for (id, protocols) in members {
            group.add(member(id, protocols), CONSUMER, None);
        }
        group
    }

    #[test]
    fn the_protocol_with_the_most_votes_among_those_all_speak_is_selected() {
        let group = group(&[
            ("m1", &["range", "roundrobin"]),
            ("m2", &["sticky", "roundrobin", "range"]),
            ("m3", &["roundrobin", "range"]),
        ]);
        assert_eq!(group.select_protocol(), "roundrobin");
    }

    #[test]
    fn a_tie_goes_to_what_the_leader_prefers() {
        let group = group(&[("m1", &["b", "a"]), ("m2", &["a", "b"])]);
        assert_eq!(group.select_protocol(), "b");
    }

    #[test]
    fn subscriptions_are_read_from_the_prefix_that_all_versions_share() {
        let mut metadata = vec![0, 3, 0, 0, 0, 2];
        metadata.extend([0, 1, b'a', 0, 2, b'b', b'c']);
        metadata.extend([0xff; 4]);
        metadata.extend([1, 2, 3]);
        let metadata = Bytes::from(metadata);
        assert_eq!(subscription_topics(metadata.clone()), Some(vec!["a".to_owned(), "bc".to_owned()]));
        assert_eq!(subscription_topics(metadata.slice(..10)), None);
        assert_eq!(subscription_topics(Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff])), None);
    }
}
