//! The log of Monedula: bytes on disk, offsets, recovery. The modules stand from the ground up: each uses
//! only those above it. All but `disk` are pure: no I/O, no clock, no thread.

#![deny(unsafe_code)]

pub mod types;
pub mod config;
pub mod header;
pub mod op;
pub mod locate;
pub mod memory_disk;
pub mod compression;
pub mod record;
pub mod batch;
pub mod producer_state;
pub mod leader_epochs;
pub mod index;
pub mod tail;
pub mod segment;
pub mod wal;
pub mod log;
pub mod retention;
pub mod checkpoint;
pub mod recovery;
pub mod store;
#[cfg(feature = "disk")]
pub mod disk;

pub use batch::{AppendError, AppendOrigin};
pub use config::{Cleanup, FlushMode, LogConfig, StoreConfig, TimestampType};
pub use header::BatchHeader;
pub use leader_epochs::LeaderEpochs;
pub use op::{DiskError, Done, FileName, FileSlice, Op, OpKind};
pub use producer_state::ProducerState;
pub use recovery::Recovered;
pub use store::{
    Appended, Event, FoundTimestamp, Locate, Located, Offsets, Pressure, Read, ReadError, Store,
    TimestampSearch,
};
pub use types::{LeaderEpoch, Lsn, Now, Offset, PartitionKey, ProducerId, Slot, TopicId};
