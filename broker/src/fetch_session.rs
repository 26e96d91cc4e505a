//! Incremental fetch sessions (KIP-227): a client names its partitions once, and later only what changed.
//!
//! A session lives on the shard of the connection that made it. A client that comes back by another shard is told
//! that its session is not there and begins a new one, which costs one full request.

use std::collections::BTreeMap;

use net::ErrorCode;
use storage::Now;

use crate::limits::FETCH_SESSION_PARTITIONS_MAX;

/// A session that was not used for this long may be thrown out for a new one, microseconds.
/// Kafka's `min.incremental.fetch.session.eviction.ms`.
const EVICTION_IDLE_US: u64 = 120_000_000;

/// `session_id` of a fetch outside of any session.
pub(crate) const NO_SESSION: i32 = 0;
/// `session_epoch` that asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// `session_epoch` of a full fetch that wants no session.
const FINAL_EPOCH: i32 = -1;

/// What a client wants of one partition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) fetch_offset: i64,
    pub(crate) max_bytes: i32,
    pub(crate) current_leader_epoch: i32,
    pub(crate) last_fetched_epoch: i32,
}

/// What the client was last told of a partition.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    high_watermark: i64,
    log_start_offset: i64,
}

const NOTHING: Told = Told { high_watermark: -1, log_start_offset: -1 };

#[derive(Debug)]
struct Member {
    wanted: Wanted,
    told: Told,
}

#[derive(Debug)]
struct Session {
    /// In the order in which they are read: what returned data goes to the end, so that none starves.
    members: BTreeMap<u64, Member>,
    places: BTreeMap<(String, i32), u64>,
    next_place: u64,
    next_epoch: i32,
    used_us: u64,
}

/// How a fetch is to be answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// What to read, in this order.
    pub(crate) wanted: Vec<Wanted>,
    /// What the response says; `NO_SESSION` if there is none.
    pub(crate) session_id: i32,
    /// True if unchanged partitions are left out of the response.
    pub(crate) incremental: bool,
}

/// The part of a fetch request that sessions look at.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) session_id: i32,
    pub(crate) session_epoch: i32,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) forgotten: Vec<(String, i32)>,
}

/// The sessions of one shard.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    sessions: BTreeMap<i32, Session>,
    slots: usize,
    /// Mixed into session ids, so that shards and restarts do not hand out the same ones.
    salt: u64,
    serial: u64,
}

impl FetchSessions {
    /// At most `slots` sessions.
    pub(crate) fn new(shard: u16, slots: usize) -> FetchSessions {
        FetchSessions { sessions: BTreeMap::new(), slots, salt: u64::from(shard) + 1, serial: 0 }
    }

    /// Number of sessions.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Decides what a fetch reads. Errors: `FetchSessionIdNotFound`, `InvalidFetchSessionEpoch`.
    pub(crate) fn plan(&mut self, now: Now, asked: Asked) -> Result<Plan, ErrorCode> {
        if asked.session_epoch == INITIAL_EPOCH || asked.session_epoch == FINAL_EPOCH {
            self.sessions.remove(&asked.session_id);
            let wants_session = asked.session_epoch == INITIAL_EPOCH && !asked.wanted.is_empty();
            let session_id = if wants_session { self.create(now, &asked.wanted) } else { NO_SESSION };
            return Ok(Plan { wanted: asked.wanted, session_id, incremental: false });
        }
        let session = self.sessions.get_mut(&asked.session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.next_epoch != asked.session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        session.next_epoch = next_epoch(asked.session_epoch);
        session.used_us = now.monotonic_us;
        for forgotten in &asked.forgotten {
            session.forget(forgotten);
        }
        for wanted in asked.wanted {
            session.want(wanted);
        }
        if session.members.len() > FETCH_SESSION_PARTITIONS_MAX || session.members.is_empty() {
            let session = self.sessions.remove(&asked.session_id).expect("just found");
            return Ok(Plan { wanted: session.wanted(), session_id: NO_SESSION, incremental: false });
        }
        Ok(Plan { wanted: session.wanted(), session_id: asked.session_id, incremental: true })
    }

    /// Notes what a response of a session says of a partition; false if an incremental response may leave it out.
    pub(crate) fn tell(
        &mut self,
        session_id: i32,
        partition: (&str, i32),
        high_watermark: i64,
        log_start_offset: i64,
        has_news: bool,
        has_records: bool,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(&session_id) else { return true };
        let name = (partition.0.to_owned(), partition.1);
        let Some(place) = session.places.get(&name).copied() else { return true };
        let told = Told { high_watermark, log_start_offset };
        let member = session.members.get_mut(&place).expect("places and members agree");
        let changed = member.told != told || has_news || has_records;
        // An error is told again until the partition has recovered from it.
        member.told = if has_news { NOTHING } else { told };
        if has_records {
            let member = session.members.remove(&place).expect("just found");
            session.places.remove(&name);
            session.insert(name, member);
        }
        changed
    }

    fn create(&mut self, now: Now, wanted: &[Wanted]) -> i32 {
        if wanted.len() > FETCH_SESSION_PARTITIONS_MAX || self.slots == 0 {
            return NO_SESSION;
        }
        if self.sessions.len() >= self.slots && !self.evict(now) {
            return NO_SESSION;
        }
        let id = self.fresh_id(now);
        let mut session = Session {
            members: BTreeMap::new(),
            places: BTreeMap::new(),
            next_place: 0,
            next_epoch: 1,
            used_us: now.monotonic_us,
        };
        for wanted in wanted {
            session.want(wanted.clone());
        }
        self.sessions.insert(id, session);
        id
    }

    fn evict(&mut self, now: Now) -> bool {
        let idle = self.sessions.iter().min_by_key(|(_, session)| session.used_us);
        match idle {
            Some((id, session)) if session.used_us + EVICTION_IDLE_US <= now.monotonic_us => {
                let id = *id;
                self.sessions.remove(&id);
                true
            }
            _ => false,
        }
    }

    fn fresh_id(&mut self, now: Now) -> i32 {
        loop {
            self.serial += 1;
            let seed = (now.wall_ms as u64) ^ self.salt.rotate_left(48) ^ self.serial.rotate_left(24);
            let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let id = (mixed >> 33) as i32;
            if id != NO_SESSION && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }
}

impl Session {
    fn want(&mut self, wanted: Wanted) {
        let name = (wanted.topic.clone(), wanted.partition);
        match self.places.get(&name) {
            Some(place) => self.members.get_mut(place).expect("places and members agree").wanted = wanted,
            None => self.insert(name, Member { wanted, told: NOTHING }),
        }
    }

    fn insert(&mut self, name: (String, i32), member: Member) {
        self.places.insert(name, self.next_place);
        self.members.insert(self.next_place, member);
        self.next_place += 1;
    }

    fn forget(&mut self, name: &(String, i32)) {
        if let Some(place) = self.places.remove(name) {
            self.members.remove(&place);
        }
    }

    fn wanted(&self) -> Vec<Wanted> {
        self.members.values().map(|member| member.wanted.clone()).collect()
    }
}

/// Epochs count up from 1 and go from the largest back to 1.
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { monotonic_us: seconds * 1_000_000, wall_ms: 1_700_000_000_000 + seconds as i64 * 1_000 }
    }

    fn want(partition: i32, fetch_offset: i64) -> Wanted {
        Wanted {
            topic: "t".into(),
            partition,
            fetch_offset,
            max_bytes: 1 << 20,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        }
    }

    fn ask(session_id: i32, session_epoch: i32, wanted: Vec<Wanted>) -> Asked {
        Asked { session_id, session_epoch, wanted, forgotten: Vec::new() }
    }

    fn partitions(plan: &Plan) -> Vec<i32> {
        plan.wanted.iter().map(|wanted| wanted.partition).collect()
    }

    #[test]
    fn a_session_remembers_its_partitions() {
        let mut sessions = FetchSessions::new(0, 10);
        let full = sessions.plan(at(0), ask(0, 0, vec![want(0, 5), want(1, 7)])).unwrap();
        assert!(!full.incremental);
        assert_ne!(full.session_id, NO_SESSION);
        let next = sessions.plan(at(1), ask(full.session_id, 1, vec![want(1, 9)])).unwrap();
        assert!(next.incremental);
        assert_eq!(next.wanted, vec![want(0, 5), want(1, 9)]);
        let mut asked = ask(full.session_id, 2, Vec::new());
        asked.forgotten = vec![("t".into(), 0)];
        assert_eq!(partitions(&sessions.plan(at(2), asked).unwrap()), [1]);
    }

    #[test]
    fn a_wrong_id_or_epoch_is_refused() {
        let mut sessions = FetchSessions::new(0, 10);
        let id = sessions.plan(at(0), ask(0, 0, vec![want(0, 0)])).unwrap().session_id;
        assert_eq!(sessions.plan(at(0), ask(id ^ 1, 1, Vec::new())), Err(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(sessions.plan(at(0), ask(id, 2, Vec::new())), Err(ErrorCode::InvalidFetchSessionEpoch));
        assert!(sessions.plan(at(0), ask(id, 1, Vec::new())).is_ok());
    }

    #[test]
    fn unchanged_partitions_are_left_out_and_busy_ones_go_last() {
        let mut sessions = FetchSessions::new(0, 10);
        let id = sessions.plan(at(0), ask(0, 0, vec![want(0, 0), want(1, 0)])).unwrap().session_id;
        assert!(sessions.tell(id, ("t", 0), 10, 0, false, true), "the first answer says everything");
        assert!(sessions.tell(id, ("t", 1), 0, 0, false, false));
        let plan = sessions.plan(at(0), ask(id, 1, Vec::new())).unwrap();
        assert_eq!(partitions(&plan), [1, 0]);
        assert!(!sessions.tell(id, ("t", 1), 0, 0, false, false), "nothing new");
        assert!(sessions.tell(id, ("t", 1), 0, 0, true, false), "an error is news");
        assert!(sessions.tell(id, ("t", 1), 0, 0, false, false), "and so is its end");
    }

    #[test]
    fn slots_are_bounded_and_only_idle_sessions_give_way() {
        let mut sessions = FetchSessions::new(0, 1);
        let first = sessions.plan(at(0), ask(0, 0, vec![want(0, 0)])).unwrap().session_id;
        assert_eq!(sessions.plan(at(1), ask(0, 0, vec![want(0, 0)])).unwrap().session_id, NO_SESSION);
        let second = sessions.plan(at(121), ask(0, 0, vec![want(0, 0)])).unwrap().session_id;
        assert!(second != NO_SESSION && second != first);
        assert_eq!(sessions.len(), 1);
    }

    #[test]
    fn a_final_epoch_closes_the_session() {
        let mut sessions = FetchSessions::new(0, 10);
        let id = sessions.plan(at(0), ask(0, 0, vec![want(0, 0)])).unwrap().session_id;
        let last = sessions.plan(at(0), ask(id, -1, vec![want(0, 0)])).unwrap();
        assert_eq!((last.session_id, last.incremental, sessions.len()), (NO_SESSION, false, 0));
    }
}
