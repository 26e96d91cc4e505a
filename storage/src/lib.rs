//! Placeholder map of the crate.
