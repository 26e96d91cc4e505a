//! Open-loop load on any Kafka-protocol broker, and latency that can be believed.
//!
//! A record has an intended time, set by a schedule that never waits for the broker. Its latency counts from there, so
//! that a broker that stops for half a second is seen by every record that it made late, and not by one.
//!
//! The modules stand from the ground up; each uses only those above it.

#![deny(unsafe_code)]

// What was asked, and what one run measured.
pub mod workload;
pub mod histogram;
pub mod outcome;

// What people type.
pub mod cli;
