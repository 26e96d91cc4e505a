//! What the status socket answers, as JSON. Times are microseconds, and moments count from the start of the process.

use serde::{Deserialize, Serialize};

/// The form of the answers. It is counted up when a reader of an earlier form would misread one; what is only added is left
/// alone by earlier readers.
pub const FORM: u32 = 1;

/// The answer to `status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`FORM`].
    pub form: u32,
    /// Of the broker.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// How long it has been running.
    pub uptime_us: u64,
    /// Its data directory.
    pub data: String,
    /// Whether a ledger is kept. If not, rates and stages are empty.
    pub ledger: bool,
    /// The block device of the data directory; `None` where the kernel keeps no figures of it.
    pub disk: Option<Disk>,
    /// In their order.
    pub shards: Vec<Shard>,
    /// Topics with traffic in the last second of their shards, the most bytes first.
    pub topics: Vec<Topic>,
    /// Topics with traffic that the list has no room for.
    pub topics_left_out: usize,
    /// The lag of consumer groups; only in answers to `status groups`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Groups>,
    /// The newest stalls that were looked at, the newest last.
    pub stalls: Vec<Stall>,
}

/// How far behind consumer groups are. Shards tell of it while somebody asks, once a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Groups {
    /// Whether every shard has told all that it has; if not, ask again in a second.
    pub settled: bool,
    /// Per group and topic, the largest first.
    pub lags: Vec<GroupLag>,
    /// Groups and topics that the list has no room for.
    pub left_out: usize,
}

/// The lag of one group in one topic, over the partitions that it has committed offsets for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupLag {
    /// The group.
    pub group: String,
    /// Kafka's name of its state.
    pub state: String,
    /// Its members.
    pub members: usize,
    /// The topic.
    pub topic: String,
    /// Partitions with a committed offset.
    pub partitions: usize,
    /// Records between the committed offsets and the high watermarks.
    pub lag: u64,
    /// The partition that is the farthest behind.
    pub worst_partition: i32,
    /// By how many records.
    pub worst_lag: u64,
}

/// A block device during about the last second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// Its name.
    pub name: String,
    /// Share of the time in which it had something to do, 0 to 1, whoever asked for it.
    pub utilisation: f64,
    /// Writes a second.
    pub writes_per_s: f64,
    /// Bytes written a second.
    pub bytes_written_per_s: f64,
    /// Bytes read a second.
    pub bytes_read_per_s: f64,
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number.
    pub shard: u16,
    /// Its core.
    pub core: usize,
    /// Turns that took longer than the bound since the start.
    pub stalls: u64,
    /// The longest of them, as far as it was seen.
    pub longest_stall_us: u64,
    /// Its last second; `None` before the first is over, or without a ledger.
    pub second: Option<Second>,
    /// Since the start, per API.
    pub since_start: Vec<Requests>,
}

/// About one second of a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// When it ended.
    pub ended_us: u64,
    /// How long it was.
    pub length_us: u64,
    /// Share of its core that the shard's thread had, 0 to 1.
    pub cpu: f64,
    /// Share of the time that the shard was in turns, 0 to 1: more than `cpu` where it waits for its core.
    pub busy: f64,
    /// Share of the time in which a block of its WAL was with the disk, 0 to 1.
    pub wal_busy: f64,
    /// Requests of all kinds a second.
    pub requests_per_s: f64,
    /// Bytes of requests a second.
    pub bytes_in_per_s: f64,
    /// Bytes of responses a second.
    pub bytes_out_per_s: f64,
    /// Letters from other shards and the controller a second.
    pub letters_per_s: f64,
    /// Turns a second.
    pub turns_per_s: f64,
    /// The longest turn.
    pub longest_turn_us: u64,
    /// Blocks of the WAL a second.
    pub wal_blocks_per_s: f64,
    /// Bytes of them a second.
    pub wal_bytes_per_s: f64,
    /// How much was waiting at its end.
    pub waiting: Waiting,
    /// Per API.
    pub requests: Vec<Requests>,
}

/// How much is waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// Open connections.
    pub connections: u32,
    /// Requests that are not answered.
    pub requests_in_flight: u32,
    /// Letters that found no room in the queue of their receiver.
    pub letters: u32,
    /// Appends, fetches and questions to other shards that are not answered.
    pub open_work: u32,
    /// Bytes that are in no segment file yet.
    pub dirty_bytes: u64,
}

/// Answered requests of one API. The means of its stages sum to the mean of its total.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// `produce` or `fetch`.
    pub api: String,
    /// From readable to written.
    pub total: Times,
    /// In order.
    pub stages: Vec<StageTimes>,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageTimes {
    /// Its name.
    pub stage: String,
    /// How long it took.
    #[serde(flatten)]
    pub times: Times,
}

/// A histogram.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// How many values.
    pub count: u64,
    /// Their exact sum.
    pub sum_us: u64,
    /// Their exact mean.
    pub mean_us: f64,
    /// Half of them took no longer, to 3 %.
    pub p50_us: u64,
    /// 99 % of them.
    pub p99_us: u64,
    /// 99.9 % of them.
    pub p999_us: u64,
    /// The longest, exactly.
    pub max_us: u64,
    /// `[highest value, count]` of every bucket that is not empty; only since the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<(u64, u32)>,
}

/// Traffic of one topic over all shards, a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Batches appended.
    pub batches_in_per_s: f64,
    /// Their bytes.
    pub bytes_in_per_s: f64,
    /// Reads of a partition that brought something.
    pub reads_per_s: f64,
    /// Their bytes.
    pub bytes_out_per_s: f64,
}

/// A stall that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    /// When.
    pub at_us: u64,
    /// The shard or executor.
    pub name: String,
    /// How long it had lasted by then.
    pub length_us: u64,
    /// What it was doing.
    pub doing: String,
    /// What the kernel said of its thread.
    pub kernel: String,
    /// Its frames, the innermost first.
    pub backtrace: Vec<String>,
}

/// The answer to `slow SECONDS`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlowReport {
    /// Whether a ledger is kept. If not, there is nothing here.
    pub ledger: bool,
    /// When it was made.
    pub at_us: u64,
    /// How far it looks back.
    pub seconds: u32,
    /// The slowest requests of each of these seconds and shards, the slowest first. What a fetch waited for data does not
    /// count.
    pub requests: Vec<SlowRequest>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlowRequest {
    /// The shard of its connection.
    pub shard: u16,
    /// `produce` or `fetch`.
    pub api: String,
    /// Its connection: numbers of one shard.
    pub connection: u64,
    /// Its size.
    pub bytes: u32,
    /// When it was there to read.
    pub readable_us: u64,
    /// From then until its response was written.
    pub total_us: u64,
    /// The same without what a fetch waited for data: the order of the list.
    pub own_us: u64,
    /// `(stage, how long)`, in order; they sum to the total.
    pub stages: Vec<(String, u64)>,
    /// The turn in which it came; `None` if that is no longer known.
    pub arrived: Option<Turn>,
    /// The longest turn of its shard while it was under way.
    pub longest: Option<Turn>,
    /// The turn in which it was answered.
    pub written: Turn,
}

/// A turn of a shard: what it took in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// When it began.
    pub begun_us: u64,
    /// How long it took.
    pub length_us: u64,
    /// Requests that came in.
    pub requests: u32,
    /// Letters.
    pub letters: u32,
    /// Operations of the disk that ended.
    pub disk: u32,
    /// How much was waiting when it began.
    pub waiting: Waiting,
}

/// The answer to `ledger on` and `ledger off`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerState {
    /// Whether a ledger is kept from now on.
    pub ledger: bool,
}

/// The answer to anything else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong with the question.
    pub error: String,
}
