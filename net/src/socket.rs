//! The shell of this crate: sockets on glommio.

pub mod listener;
pub mod stream;

pub use listener::{BindError, BoundListener, Listener, bind_shared};
pub use stream::{FrameReader, FrameWriter, ReadError, SendFileRange};
