//! Clients of all kinds at random, on a log that is slow, full or killed, against what no order of events may break:
//!
//! - every request is answered, once;
//! - a partition has one owner in a generation (C7);
//! - a committed offset that was acknowledged is what a reader sees, unless a later commit was tried.
//!
//! `MONEDULA_SEED` runs one seed alone.

use std::collections::BTreeSet;

use net::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use net::messages::offset_fetch::OffsetFetchRequestTopic;
use net::messages::{OffsetCommitRequest, OffsetFetchRequest};

use super::*;

const SEEDS: u64 = 200;
const STEPS: usize = 400;
const PARTITIONS: usize = 4;

/// A client that does what Kafka's consumers do, more or less.
#[derive(Default)]
struct ClientModel {
    member_id: String,
    generation_id: i32,
    instance: Option<String>,
    state: ClientState,
}

#[derive(Default, PartialEq, Debug)]
enum ClientState {
    #[default]
    Outside,
    Joining(Token),
    Syncing(Token),
    In,
    /// Killed: it sends nothing, and does not read what comes.
    Dead,
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        // Xorshift (Marsaglia 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

struct Story {
    world: World,
    random: Random,
    clients: Vec<ClientModel>,
    /// Every request and whether the process lived on to answer it.
    open: BTreeSet<Token>,
    /// The members that got a partition, by generation.
    owners: BTreeMap<(i32, usize), String>,
    /// Offsets in the order in which they were sent, and how many of them are known to hold.
    sent: Vec<i64>,
    holds: usize,
    commits: BTreeMap<Token, usize>,
    epoch: u64,
}

#[test]
fn whatever_happens_requests_are_answered_partitions_have_one_owner_and_offsets_stay() {
    let seeds = match std::env::var("MONEDULA_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("MONEDULA_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 1..SEEDS + 1,
    };
    let (mut stories, mut generations) = (0, 0);
    for seed in seeds {
        match std::panic::catch_unwind(|| Story::new(seed).run()) {
            Ok(owned) => generations += owned,
            Err(panic) => {
                eprintln!("MONEDULA_SEED={seed} replays this");
                std::panic::resume_unwind(panic);
            }
        }
        stories += 1;
    }
    assert!(generations > 5 * stories, "{generations} generations in {stories} stories show little");
}

impl Story {
    fn new(seed: u64) -> Story {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let delay = [0, 3_000][random.below(2)];
        let config = GroupConfig { initial_rebalance_delay_ms: delay, ..GroupConfig::default() };
        let clients = (0..5).map(|n| ClientModel {
            instance: (n < 2).then(|| format!("instance-{n}")),
            ..ClientModel::default()
        });
        Story {
            world: World::with(config),
            random,
            clients: clients.collect(),
            open: BTreeSet::new(),
            owners: BTreeMap::new(),
            sent: vec![-1],
            holds: 0,
            commits: BTreeMap::new(),
            epoch: 1,
        }
    }

    /// Returns how many generations got as far as an assignment.
    fn run(mut self) -> usize {
        for _ in 0..STEPS {
            self.step();
            self.read_answers();
        }
        // Everyone falls silent and the log recovers: whatever was asked is answered.
        self.world.log = Log::Durable;
        self.world.commit();
        self.world.pass_ms(2 * 3_600_000);
        self.read_answers();
        assert_eq!(self.open, BTreeSet::new(), "every request is answered");
        self.check_offset();
        self.owners.keys().map(|(generation_id, _)| generation_id).collect::<BTreeSet<_>>().len()
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..60 => {
                let client = self.random.below(self.clients.len());
                self.client_step(client);
            }
            60..75 => {
                let ms = [1, 100, 1_000, 3_000, 7_000][self.random.below(5)];
                self.world.pass_ms(ms);
            }
            75..85 => self.world.commit(),
            85..92 => {
                self.world.log = [Log::Durable, Log::Durable, Log::Slow, Log::Full][self.random.below(4)]
            }
            92..97 => self.check_offset(),
            97..99 => {
                let client = self.random.below(self.clients.len());
                self.clients[client].state = ClientState::Dead;
            }
            _ => self.restart(),
        }
    }

    fn client_step(&mut self, n: usize) {
        let client = &mut self.clients[n];
        match client.state {
            ClientState::Dead => {
                *client = ClientModel { instance: client.instance.take(), ..Default::default() }
            }
            ClientState::Outside => self.join(n),
            ClientState::Joining(_) | ClientState::Syncing(_) => (),
            ClientState::In => match self.random.below(10) {
                0..5 => self.heartbeat(n),
                5..8 => self.commit_offset(n),
                8 => self.join(n),
                _ => self.leave(n),
            },
        }
    }

    fn ask(&mut self, version: i16, request: impl Into<Request>) -> Token {
        let token = self.world.request(version, request);
        self.open.insert(token);
        token
    }

    fn join(&mut self, n: usize) {
        let version = [3, 5, 9][self.random.below(3)];
        let version = if self.clients[n].instance.is_some() { version.max(5) } else { version };
        let client = &self.clients[n];
        let mut join = JoinGroupRequest {
            group_instance_id: client.instance.clone(),
            session_timeout_ms: 6_000,
            rebalance_timeout_ms: 20_000,
            ..join_as(&client.member_id)
        };
        let topics: &[&str] = [&["topic"][..], &["topic", "other"]][self.random.below(2)];
        join.protocols[0].metadata = subscription(topics);
        let token = self.ask(version, join);
        self.clients[n].state = ClientState::Joining(token);
    }

    fn heartbeat(&mut self, n: usize) {
        let client = &self.clients[n];
        let request = HeartbeatRequest {
            group_id: "group".into(),
            generation_id: client.generation_id,
            member_id: client.member_id.clone(),
            group_instance_id: client.instance.clone(),
        };
        let token = self.ask(4, request);
        let Some(Response::Heartbeat(response)) = self.world.answer(token) else {
            panic!("a heartbeat is answered at once")
        };
        self.open.remove(&token);
        self.react(n, response.error_code);
    }

    /// What a consumer does about an error.
    fn react(&mut self, n: usize, error: ErrorCode) {
        let client = &mut self.clients[n];
        match error {
            ErrorCode::None => (),
            ErrorCode::RebalanceInProgress | ErrorCode::NotCoordinator => client.state = ClientState::Outside,
            _ => {
                client.member_id.clear();
                client.state = ClientState::Outside;
            }
        }
    }

    fn leave(&mut self, n: usize) {
        let client = &mut self.clients[n];
        let member = net::messages::leave_group::MemberIdentity {
            member_id: std::mem::take(&mut client.member_id),
            group_instance_id: client.instance.clone(),
            reason: None,
        };
        client.state = ClientState::Outside;
        let request =
            LeaveGroupRequest { group_id: "group".into(), members: vec![member], ..Default::default() };
        self.ask(5, request);
    }

    fn commit_offset(&mut self, n: usize) {
        let client = &self.clients[n];
        let offset = self.sent.len() as i64;
        let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
        let topic = OffsetCommitRequestTopic { name: "topic".into(), partitions: vec![partition] };
        let request = OffsetCommitRequest {
            group_id: "group".into(),
            generation_id_or_member_epoch: client.generation_id,
            member_id: client.member_id.clone(),
            group_instance_id: client.instance.clone(),
            topics: vec![topic],
            ..Default::default()
        };
        let token = self.ask(8, request);
        self.commits.insert(token, self.sent.len());
        self.sent.push(offset);
    }

    fn check_offset(&mut self) {
        self.read_answers();
        let topic = OffsetFetchRequestTopic { name: "topic".into(), partition_indexes: vec![0] };
        let request =
            OffsetFetchRequest { group_id: "group".into(), topics: Some(vec![topic]), ..Default::default() };
        let Response::OffsetFetch(response) = self.world.ask(7, request) else { unreachable!() };
        let seen = response.topics[0].partitions[0].committed_offset;
        let place = self.sent.iter().position(|sent| *sent == seen).expect("an offset that was committed");
        assert!(place >= self.holds, "offset {seen} was overwritten by one that was acknowledged");
        self.holds = place;
    }

    /// Kills the process; nobody will be answered, and clients start over with what they know.
    fn restart(&mut self) {
        self.read_answers();
        self.open.clear();
        self.commits.clear();
        self.epoch += 1;
        self.world.restart(self.epoch);
        for client in &mut self.clients {
            if matches!(client.state, ClientState::Joining(_) | ClientState::Syncing(_)) {
                client.state = ClientState::Outside;
            }
        }
    }

    fn read_answers(&mut self) {
        loop {
            let open: Vec<Token> = self.open.iter().copied().collect();
            let answered: Vec<_> = open
                .into_iter()
                .filter_map(|token| self.world.answer(token).map(|response| (token, response)))
                .collect();
            if answered.is_empty() {
                return;
            }
            for (token, response) in answered {
                self.open.remove(&token);
                self.read_answer(token, response);
            }
        }
    }

    fn read_answer(&mut self, token: Token, response: Response) {
        let waits = |state: &ClientState| {
            *state == ClientState::Joining(token) || *state == ClientState::Syncing(token)
        };
        let client = self.clients.iter().position(|client| waits(&client.state));
        match (response, client) {
            (Response::OffsetCommit(response), _) => {
                let place = self.commits.remove(&token).expect("it was sent");
                if response.topics[0].partitions[0].error_code == ErrorCode::None {
                    self.holds = self.holds.max(place);
                }
            }
            (Response::JoinGroup(response), Some(n)) => self.joined(n, response),
            (Response::SyncGroup(response), Some(n)) => self.synced(n, response),
            _ => (),
        }
    }

    fn joined(&mut self, n: usize, response: JoinGroupResponse) {
        let client = &mut self.clients[n];
        match response.error_code {
            ErrorCode::None => (),
            ErrorCode::MemberIdRequired => {
                client.member_id = response.member_id;
                client.state = ClientState::Outside;
                return;
            }
            error => {
                client.state = ClientState::In;
                return self.react(n, error);
            }
        }
        client.member_id = response.member_id;
        client.generation_id = response.generation_id;
        let mut assignments = Vec::new();
        if client.member_id == response.leader && !response.skip_assignment {
            assert!(!response.members.is_empty(), "a leader is told who is there");
            let mut shares: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
            for partition in 0..PARTITIONS {
                let member = &response.members[partition % response.members.len()];
                shares.entry(&member.member_id).or_default().push(partition as u8);
            }
            assignments = shares
                .into_iter()
                .map(|(member, partitions)| SyncGroupRequestAssignment {
                    member_id: member.to_owned(),
                    assignment: partitions.into(),
                })
                .collect();
        }
        let request = SyncGroupRequest {
            group_instance_id: client.instance.clone(),
            ..sync_as(&client.member_id, client.generation_id, assignments)
        };
        let token = self.ask(5, request);
        self.clients[n].state = ClientState::Syncing(token);
    }

    fn synced(&mut self, n: usize, response: SyncGroupResponse) {
        self.clients[n].state = ClientState::In;
        if response.error_code != ErrorCode::None {
            return self.react(n, response.error_code);
        }
        let client = &self.clients[n];
        // A static member takes over from itself: it owns what it had before it was restarted.
        let owner = client.instance.clone().unwrap_or_else(|| client.member_id.clone());
        for partition in &response.assignment {
            let key = (client.generation_id, usize::from(*partition));
            let before = self.owners.insert(key, owner.clone());
            assert!(before.is_none_or(|before| before == owner), "a partition has one owner in a generation");
        }
    }
}
