//! A real broker process in a directory of its own, on free ports, and a client that speaks to it.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::disallowed_methods, reason = "tests of processes use clocks, files and threads")]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use net::client::blocking::{CallError, Client};
use net::messages::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use net::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use net::messages::init_producer_id::InitProducerIdRequest;
use net::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use net::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use net::{ErrorCode, RecordsPart};
use storage::batch::RecordBatchBuilder;
use storage::header::BatchHeader;
use storage::record::Records;
use storage::types::ProducerId;

/// Nothing here takes that long; a test that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory that is removed when the test ends.
pub struct TestDirectory(PathBuf);

impl TestDirectory {
    pub fn new(name: &str) -> TestDirectory {
        TestDirectory::new_in(&std::env::temp_dir(), name)
    }

    pub fn new_in(parent: &Path, name: &str) -> TestDirectory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("monedula-{name}-{}-{unique}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a test can make a directory");
        TestDirectory(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} was not removed: {error}", self.0.display());
        }
    }
}

/// `monedula start`, not yet started.
pub fn start_command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monedula"));
    command.args([
        "start",
        "--listen",
        "127.0.0.1:0",
        "--core-listen",
        "127.0.0.1:0",
        "--log",
        "warn",
        "--data",
    ]);
    command.arg(data);
    command
}

/// Runs a command that is to end by itself.
pub fn output_of(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("a child can be waited for").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("a child can be killed");
            let output = child.wait_with_output().expect("it has ended");
            panic!("{command:?} did not end: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("it has ended")
}

/// What a start that must fail says on stderr.
pub fn refusal(command: Command) -> String {
    let output = output_of(command);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "the start was to be refused: {stderr}");
    assert!(output.stdout.is_empty(), "a refused start is not ready");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

/// A broker process. Killed when dropped.
pub struct Broker {
    child: Child,
    pub ready_line: String,
    pub address: SocketAddr,
    pub core_address: SocketAddr,
    rest_of_stdout: BufReader<std::process::ChildStdout>,
}

impl Broker {
    /// Starts a broker and waits until it is ready.
    pub fn start(data: &Path) -> Broker {
        Broker::start_with(start_command(data))
    }

    pub fn start_with(mut command: Command) -> Broker {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut ready_line = String::new();
        stdout.read_line(&mut ready_line).expect("stdout is text");
        if ready_line.is_empty() {
            panic!("the broker did not start: {:?}", child.wait());
        }
        let after = |marker: &str| {
            let rest =
                &ready_line[ready_line.find(marker).expect("the line names its addresses") + marker.len()..];
            let end = rest.find([' ', ')', '-', ',']).unwrap_or(rest.len());
            rest[..end].parse::<SocketAddr>().expect("the line names addresses")
        };
        let (address, core_address) = (after(" ready on "), after("(core-direct "));
        Broker { child, address, core_address, rest_of_stdout: stdout, ready_line }
    }

    pub fn client(&self) -> Session {
        Session::connect(self.address).expect("a broker that is ready accepts connections")
    }

    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child has not been waited for, so the number is still its own.
        #[allow(unsafe_code)]
        let result = unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert_eq!(result, 0, "a signal can be sent to a child");
    }

    /// SIGTERM, then the end.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait()
    }

    /// SIGKILL, then the end.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                let mut rest = String::new();
                self.rest_of_stdout.read_to_string(&mut rest).expect("stdout is text");
                assert_eq!(rest, "", "nothing but the ready line goes to stdout");
                return status;
            }
            assert!(Instant::now() < deadline, "the broker did not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().expect("a child can be killed");
            self.child.wait().expect("a child can be waited for");
        }
    }
}

/// A connection with the requests that tests need.
pub struct Session(pub Client);

impl Session {
    pub fn connect(address: SocketAddr) -> std::io::Result<Session> {
        let mut client = Client::connect(address)?;
        client.set_timeout(Some(PATIENCE))?;
        Ok(Session(client))
    }

    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> ErrorCode {
        let configs = configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig { name: (*name).into(), value: Some((*value).into()) })
            .collect();
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        let response = self.0.call(5, request).expect("CreateTopics is answered");
        response.topics[0].error_code
    }

    /// The base offset, or what was refused.
    pub fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        acks: i16,
        batch: Bytes,
    ) -> Result<i64, ErrorCode> {
        self.try_produce(topic, partition, acks, batch).expect("Produce is answered")
    }

    pub fn try_produce(
        &mut self,
        topic: &str,
        partition: i32,
        acks: i16,
        batch: Bytes,
    ) -> Result<Result<i64, ErrorCode>, CallError> {
        let response = self.0.call(9, produce_request(topic, partition, acks, batch))?;
        let answer = &response.responses[0].partition_responses[0];
        Ok(match answer.error_code {
            ErrorCode::None => Ok(answer.base_offset),
            error => Err(error),
        })
    }

    /// One fetch: the batches as they came, or an error.
    pub fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        max_bytes: i32,
    ) -> Result<Bytes, ErrorCode> {
        let request = FetchRequest {
            max_wait_ms: 0,
            min_bytes: 1,
            max_bytes,
            topics: vec![FetchTopic {
                topic: topic.into(),
                partitions: vec![FetchPartition {
                    partition,
                    fetch_offset: offset,
                    partition_max_bytes: max_bytes,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let response = self.0.call(11, request).expect("Fetch is answered");
        assert_eq!(response.error_code, ErrorCode::None);
        let partition = &response.responses[0].partitions[0];
        if partition.error_code != ErrorCode::None {
            return Err(partition.error_code);
        }
        let mut bytes = Vec::new();
        for part in partition.records.iter().flat_map(|records| &records.parts) {
            match part {
                RecordsPart::Memory(part) => bytes.extend_from_slice(part),
                RecordsPart::File { .. } => unreachable!("a client reads bytes"),
            }
        }
        Ok(bytes.into())
    }

    /// All records from `offset` to the end: `(offset, value)`.
    pub fn read_all(&mut self, topic: &str, partition: i32, offset: i64) -> Vec<(i64, Vec<u8>)> {
        let mut next = offset;
        let mut all = Vec::new();
        let end = self.list_offset(topic, partition, -1);
        while next < end {
            let bytes =
                self.fetch(topic, partition, next, 1 << 20).expect("what is below the end can be read");
            let records = records_of(&bytes);
            assert!(!records.is_empty(), "a fetch below the end brings something");
            for (offset, value) in records {
                if offset >= next {
                    all.push((offset, value));
                    next = offset + 1;
                }
            }
        }
        all
    }

    /// -1 for the end, -2 for the start.
    pub fn list_offset(&mut self, topic: &str, partition: i32, timestamp: i64) -> i64 {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: topic.into(),
                partitions: vec![ListOffsetsPartition {
                    partition_index: partition,
                    timestamp,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let response = self.0.call(5, request).expect("ListOffsets is answered");
        let answer = &response.topics[0].partitions[0];
        assert_eq!(answer.error_code, ErrorCode::None);
        answer.offset
    }

    pub fn init_producer_id(&mut self) -> (ProducerId, i16) {
        let request = InitProducerIdRequest { transaction_timeout_ms: 60_000, ..Default::default() };
        let response = self.0.call(3, request).expect("InitProducerId is answered");
        assert_eq!(response.error_code, ErrorCode::None);
        (ProducerId(response.producer_id), response.producer_epoch)
    }
}

pub fn produce_request(topic: &str, partition: i32, acks: i16, batch: Bytes) -> ProduceRequest {
    ProduceRequest {
        acks,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: vec![PartitionProduceData { index: partition, records: Some(batch) }],
        }],
        ..Default::default()
    }
}

/// A batch of records with these values.
pub fn batch(values: &[&[u8]]) -> Bytes {
    values
        .iter()
        .fold(RecordBatchBuilder::new(), |builder, value| builder.record(1, None, Some(value)))
        .build()
}

/// The records of whole batches: `(offset, value)`. Checks CRCs; a part of a batch at the end is left out.
pub fn records_of(mut bytes: &[u8]) -> Vec<(i64, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(header) = BatchHeader::read(bytes) {
        let size = header.bytes;
        if bytes.len() < size {
            break;
        }
        let crc = u32::from_be_bytes(bytes[17..21].try_into().expect("four bytes"));
        assert_eq!(crc, crc32c::crc32c(&bytes[21..size]), "a batch leaves as it came");
        for record in Records::new(&bytes[61..size]) {
            let record = record.expect("a stored record is well-formed");
            let offset = header.base_offset.0 + i64::from(record.offset_delta);
            all.push((offset, record.value.unwrap_or_default().to_vec()));
        }
        bytes = &bytes[size..];
    }
    all
}

/// Random numbers that a seed replays.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        eprintln!("seed {seed}");
        Random(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// How long a soak goes on: short by default, longer by the environment.
pub fn soak_time(variable: &str, default_ms: u64) -> Duration {
    let seconds = std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    seconds.map_or(Duration::from_millis(default_ms), Duration::from_secs)
}
