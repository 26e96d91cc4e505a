//! The shard and its shell.
