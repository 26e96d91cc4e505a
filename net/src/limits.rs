//! The bounds on what a peer can make us hold. Those on single values of a message stand in [`crate::wire`].

/// The largest request, in bytes behind the length: Kafka's `socket.request.max.bytes`.
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;
/// The largest request of a peer that has yet to prove who it is.
pub const REQUEST_BYTES_MAX_UNAUTHENTICATED: usize = 64 * 1024;
/// Requests of one connection that may wait for their response to be taken.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 256;
/// Bytes of the requests of one connection that may wait; the request that reaches it is still taken.
pub const BYTES_IN_FLIGHT_MAX: usize = 16 * 1024 * 1024;
/// The read buffer of a connection. A frame that fits is copied out of it, so that records that stay in memory do
/// not keep the buffer of their neighbours alive; a larger one is read into its own allocation.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;

const _: () = assert!(REQUEST_BYTES_MAX_UNAUTHENTICATED < REQUEST_BYTES_MAX);
