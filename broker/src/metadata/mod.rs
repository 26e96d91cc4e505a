//! What the cluster has agreed on: the records that say it, the image that they build, and the log that keeps them.
//!
//! ```text
//! names     what a topic may be called
//! record    what can happen, and its bytes            (pure values)
//! image     what is, after all that has happened      (`Image::apply`, deterministic)
//! snapshot  an image as bytes, and back
//! log       which bytes go to which file, and what they mean after a crash
//! ```

pub mod chunk_map;
pub mod names;
pub mod record;
pub mod image;
pub mod snapshot;
pub mod log;

pub use image::{
    Applied, Broker, ConfigTarget, Configs, Endpoint, Image, Partition, Topic, TopicChange, TopicIndex,
};
pub use log::{MetaDone, MetaOp, MetaOpId, MetaOpKind, RecoveredMeta, RecoveryError};
pub use names::{check_topic_name, is_internal_topic};
pub use record::Record;
