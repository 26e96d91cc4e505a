//! What a start finds on the volume.
use crate::op::{DiskError, RecoverySource};
use crate::types::{Offset, PartitionKey};

/// What one shard's store starts from.
#[derive(Debug)]
pub struct Recovered {
    /// What a start has to tell.
    pub report: RecoveryReport,
}

/// What recovery found, for the log and for the controller.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Bytes of WAL that were replayed.
    pub replayed_bytes: u64,
    /// Blocks of WAL that were replayed.
    pub replayed_blocks: u64,
    /// WALs whose end was torn, which is what a crash leaves.
    pub torn_tails: u32,
    /// A block at the end was damaged and nothing proves that it had not been acknowledged.
    pub tail_uncertain: bool,
    /// Partitions that lost acknowledged records, with the first offset lost.
    pub damaged: Vec<(PartitionKey, Offset)>,
    /// Set if acknowledged records were lost of partitions that cannot be named.
    pub unattributed_loss: Option<String>,
}

/// Reads a volume and hands each of its partitions to its shard: `placement` says which. The number of shards
/// may differ from that of the last start.
pub fn recover_volume(
    _source: &mut dyn RecoverySource,
    _shards: u16,
    _placement: &dyn Fn(PartitionKey) -> u16,
) -> Result<Vec<Recovered>, DiskError> {
    todo!()
}
