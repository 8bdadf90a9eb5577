//! Black-box tests: the real binaries, a real ZooKeeper, real sockets.
//!
//! The program is known here only by its contract: files in; sockets, exit codes and texts out. Names state behaviour.
//! `slow_…` tests run with `scripts/test --slow`; `timed_…` tests measure, so `scripts/test` runs them on the release
//! build. Everything else is over in seconds.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests: clippy knows them only by their attribute, and these are helpers too"
)]

#[path = "../support/mod.rs"]
mod support;

mod access_log;
mod admin;
mod balancing;
mod bench;
mod bodies;
mod budget;
mod cli;
mod config;
mod connecting;
mod demo;
mod docs;
mod ends;
mod file;
mod h2;
mod handover;
mod harness;
mod hashing;
mod health;
mod http;
mod idle;
mod last_known;
mod layers;
mod listening;
mod nerve;
mod outages;
mod queue;
mod reload;
mod robust;
mod scale;
mod tcp;
mod timed;
mod upstreams;
mod wire;
mod zookeeper;
