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
pub mod stages;
pub mod outcome;

// What a load is made of: pure, but for the clock.
pub mod clock;
pub mod random;
pub mod schedule;
pub mod sizes;
pub mod payload;
pub mod keys;
pub mod codec;
pub mod record;
pub mod batch;
pub mod recorder;
pub mod correctness;

// The load itself, and what is read of the machine and the broker meanwhile.
pub mod environment;
pub mod status_socket;
pub mod waiter;
pub mod null_broker;
pub mod cluster;
pub mod engine;
pub mod calibrate;
pub mod churn;
pub mod table;
pub mod progress;
pub mod scenario;

// What is said of outcomes, and how it is shown and kept.
pub mod statistics;
pub mod files;
pub mod plot;
pub mod results;
pub mod figures;
pub mod report;
pub mod bundle;
pub mod omb;
pub mod sustain;
pub mod compare;

// What people type.
pub mod cli;
