//! What shards and the controller say to each other: a question, its answer, and news of the metadata.
//!
//! Letters between two addresses arrive in the order they were sent. Record bytes travel as shared slices.

use std::sync::Arc;

use bytes::Bytes;
use net::{ErrorCode, Request, Response};
use storage::{FileSlice, Offset, PartitionKey};

use crate::ids::{AskId, ListenerKind, ShardId};
use crate::ledger::Passage;
use crate::metadata::Image;

/// One message of the mesh.
#[derive(Clone, Debug)]
pub enum Letter {
    /// A question; the answer carries the same id.
    Ask {
        /// Chosen by the asker.
        id: AskId,
        /// The question.
        ask: Ask,
    },
    /// The answer to a question.
    Answer {
        /// The id of the question.
        id: AskId,
        /// The answer.
        answer: Answer,
        /// When the owner of the partitions did what, for the ledger.
        passage: Passage,
    },
    /// The asker of a fetch has enough: answer with what is there.
    Hurry {
        /// The id of the fetch.
        id: AskId,
    },
    /// A shard's first checkpoint of this process is complete: when all say so, files of earlier lives may go.
    FirstCheckpoint,
    /// The controller's newest image of the metadata.
    Image(Arc<Image>),
    /// A shard has applied an image.
    ImageApplied {
        /// The shard.
        shard: ShardId,
        /// `Image::version` of what it applied.
        version: u64,
    },
}

/// A question to the owner of something.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Append record batches; answered by `Answer::Appended`.
    Append(AppendAsk),
    /// Read record batches; answered by `Answer::Fetched`.
    Fetch(FetchAsk),
    /// Look up offsets; answered by `Answer::Offsets`.
    ListOffsets(Vec<ListOffsetsPart>),
    /// End offsets of leader epochs; answered by `Answer::EpochEnds`.
    OffsetForLeaderEpoch(Vec<EpochPart>),
    /// Move log starts; answered by `Answer::LowWatermarks`.
    DeleteRecords(Vec<DeleteRecordsPart>),
    /// Active producers; answered by `Answer::Producers`.
    DescribeProducers(Vec<PartitionKey>),
    /// Sizes of all logs; answered by `Answer::LogDirs`.
    LogDirs,
    /// A request for one group coordinator; answered by `Answer::Response`.
    Group {
        /// The partition of `__consumer_offsets` whose coordinator is meant.
        partition: i32,
        /// Who asked.
        client: Client,
        /// The request's version.
        version: i16,
        /// The request, already narrowed to the groups of that coordinator.
        request: Request,
    },
    /// A request for the controller; answered by `Answer::Response`.
    Control {
        /// The listener it came by: node ids depend on it.
        listener: ListenerKind,
        /// The request's version.
        version: i16,
        /// The request.
        request: Request,
    },
    /// Create topics that were named and are missing; answered by `Answer::Created`.
    AutoCreate(Vec<String>),
    /// A block of producer ids; answered by `Answer::ProducerIds`.
    ProducerIds,
}

/// An answer; the variants match those of [`Ask`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// One result per part of an [`AppendAsk`], in its order.
    Appended(Vec<AppendedPart>),
    /// One result per part of a [`FetchAsk`], in its order.
    Fetched(Vec<FetchedPart>),
    /// One result per part, in order.
    Offsets(Vec<FoundOffset>),
    /// `(error, leader epoch, end offset)` per part, in order.
    EpochEnds(Vec<(ErrorCode, i32, i64)>),
    /// `(error, low watermark)` per part, in order.
    LowWatermarks(Vec<(ErrorCode, i64)>),
    /// Active producers per partition, in order.
    Producers(Vec<Result<Vec<ActiveProducer>, ErrorCode>>),
    /// `(partition, size in bytes)` of all logs of the shard.
    LogDirs(Vec<(PartitionKey, u64)>),
    /// The response to hand to the client.
    Response(Response),
    /// What became of each topic of an `AutoCreate`.
    Created(Vec<(String, ErrorCode)>),
    /// A block of producer ids: first and count. A count of zero: none could be had, ask again.
    ProducerIds {
        /// The first id.
        first: i64,
        /// How many, consecutive.
        count: i64,
    },
}

/// The client behind a request, as groups and quotas name it.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// `client_id` of the request header, or empty.
    pub id: String,
    /// The peer's address, as Kafka writes it: `/127.0.0.1`.
    pub host: String,
}

/// Batches to append to partitions of one shard.
#[derive(Clone, Debug)]
pub struct AppendAsk {
    /// Kafka's `acks`: 0, 1 or -1.
    pub acks: i16,
    /// How long to wait for durability, milliseconds.
    pub timeout_ms: i32,
    /// What goes where.
    pub parts: Vec<AppendPart>,
}

/// A record batch for one partition.
#[derive(Clone, Debug)]
pub struct AppendPart {
    /// The partition.
    pub key: PartitionKey,
    /// The `records` field of the request, undecoded.
    pub records: Bytes,
}

/// What became of an [`AppendPart`].
#[derive(Clone, Debug, PartialEq)]
pub struct AppendedPart {
    /// `ErrorCode::None` if the batch is as durable as was asked.
    pub error: ErrorCode,
    /// First offset, -1 on error.
    pub base_offset: i64,
    /// The stamp of the log, -1 for `CreateTime`.
    pub log_append_time_ms: i64,
    /// First offset of the log.
    pub log_start_offset: i64,
    /// `(index in the batch, message)` of records that were refused.
    pub record_errors: Vec<(i32, String)>,
    /// Says more than the code where there is more to say.
    pub error_message: Option<String>,
}

impl AppendedPart {
    /// A refusal without details.
    pub fn refused(error: ErrorCode) -> AppendedPart {
        AppendedPart {
            error,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
        }
    }
}

/// Batches to read from partitions of one shard.
#[derive(Clone, Debug)]
pub struct FetchAsk {
    /// What to read, in order of preference.
    pub parts: Vec<FetchPart>,
    /// How much is enough to answer before `wait_ms` is over, bytes.
    pub min_bytes: i32,
    /// Bound of all parts together, bytes; the first batch may exceed it.
    pub max_bytes: i32,
    /// How long to wait for `min_bytes`, milliseconds.
    pub wait_ms: i32,
}

/// One partition to read.
#[derive(Clone, Copy, Debug)]
pub struct FetchPart {
    /// The partition.
    pub key: PartitionKey,
    /// First wanted offset.
    pub offset: Offset,
    /// Bound for this partition, bytes.
    pub max_bytes: i32,
    /// The epoch that the client believes in, -1 for none (KIP-320).
    pub current_leader_epoch: i32,
    /// The epoch of the last record that the client has, -1 for none (KIP-595).
    pub last_fetched_epoch: i32,
}

/// What was read of one partition.
#[derive(Clone, Debug)]
pub struct FetchedPart {
    /// `ErrorCode::None` if there is something to say.
    pub error: ErrorCode,
    /// End of what may be read, -1 if unknown.
    pub high_watermark: i64,
    /// First offset of the log, -1 if unknown.
    pub log_start_offset: i64,
    /// `(epoch, end offset)` where the client's log diverges.
    pub diverging_epoch: Option<(i32, i64)>,
    /// The records.
    pub records: FetchedRecords,
}

impl FetchedPart {
    /// A refusal.
    pub fn refused(error: ErrorCode) -> FetchedPart {
        FetchedPart {
            error,
            high_watermark: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            records: FetchedRecords::Memory(Vec::new()),
        }
    }
}

/// Record batches: shared memory, or a range of a segment file that never enters user space.
#[derive(Clone, Debug)]
pub enum FetchedRecords {
    /// Whole batches.
    Memory(Vec<Bytes>),
    /// A range that begins and ends at batch boundaries.
    File(FileSlice),
}

impl FetchedRecords {
    /// Size in bytes.
    pub fn len(&self) -> usize {
        match self {
            FetchedRecords::Memory(parts) => parts.iter().map(Bytes::len).sum(),
            FetchedRecords::File(slice) => slice.length as usize,
        }
    }
    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One offset lookup.
#[derive(Clone, Copy, Debug)]
pub struct ListOffsetsPart {
    /// The partition.
    pub key: PartitionKey,
    /// The epoch that the client believes in, -1 for none.
    pub current_leader_epoch: i32,
    /// A timestamp in milliseconds, or Kafka's -1 latest, -2 earliest, -3 max timestamp.
    pub timestamp: i64,
}

/// The result of an offset lookup.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundOffset {
    /// `ErrorCode::None` if the lookup was carried out.
    pub error: ErrorCode,
    /// Milliseconds, -1 if none.
    pub timestamp: i64,
    /// -1 if none.
    pub offset: i64,
    /// Epoch of the record at the offset, -1 if unknown.
    pub leader_epoch: i32,
}

impl FoundOffset {
    /// A refusal.
    pub fn refused(error: ErrorCode) -> FoundOffset {
        FoundOffset { error, timestamp: -1, offset: -1, leader_epoch: -1 }
    }
}

/// One lookup of an epoch's end.
#[derive(Clone, Copy, Debug)]
pub struct EpochPart {
    /// The partition.
    pub key: PartitionKey,
    /// The epoch that the client believes in, -1 for none.
    pub current_leader_epoch: i32,
    /// The epoch whose end is asked.
    pub leader_epoch: i32,
}

/// One move of a log start.
#[derive(Clone, Copy, Debug)]
pub struct DeleteRecordsPart {
    /// The partition.
    pub key: PartitionKey,
    /// New first offset; -1 for the high watermark.
    pub before: i64,
}

/// A producer that a partition remembers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActiveProducer {
    /// Producer id.
    pub producer_id: i64,
    /// Producer epoch.
    pub producer_epoch: i32,
    /// Last sequence number.
    pub last_sequence: i32,
    /// Time of the last append, milliseconds.
    pub last_timestamp: i64,
    /// Start of the open transaction, -1 for none.
    pub current_txn_start_offset: i64,
}
