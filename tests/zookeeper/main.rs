//! The registry against real ZooKeeper servers.
//!
//! Module `slow` holds what takes longer than seconds; its tests are named `slow_*`, so that a runner can skip them by
//! name. All other tests share one server unless they disturb it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests: clippy knows tests only by their attribute"
)]

#[path = "../support/child.rs"]
mod child;
#[path = "../support/gate.rs"]
mod gate;
#[path = "../support/zookeeper.rs"]
mod zk;

mod common;
mod contract;
mod defects;
mod faults;
mod herd;
mod hostile;
mod nerves;
mod refusal;
mod registrar;
mod registrar_faults;
mod shapes;
mod slow;
mod takeover;
mod writer;
