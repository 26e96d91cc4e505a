//! The shell of this crate: sockets that do not block. Who owns them waits until they are ready, by what means it
//! likes, and calls again.

pub mod listener;
pub mod stream;

pub use listener::{BindError, BoundListener, bind_shared};
pub use stream::{FrameHost, FrameReader, FrameWriter, Pass, ReadError, Written};
