//! nerve's checks against real services, and what a check costs.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests: clippy knows them only by their attribute, and these are helpers too"
)]

#[path = "../support/child.rs"]
mod child;
#[path = "../support/services.rs"]
mod services;
#[path = "../support/zookeeper.rs"]
mod zookeeper;

mod cost;
mod descriptors;
mod rabbitmq;
mod redis;

use std::time::Duration;

use smartstack::health::local::{LocalCheck, LocalProbe, ProbeResult, Target, probe};
use tokio::time::Instant;

/// The deadline of a check that is to pass. Long: the machine may be busy.
const LONG: Duration = Duration::from_secs(20);

fn target(port: u16) -> Target {
    Target { host: "127.0.0.1".into(), port }
}

fn check(probe: LocalProbe, deadline: Duration) -> LocalCheck {
    let one = std::num::NonZeroU32::MIN;
    LocalCheck { name: "test".into(), probe, deadline, rise: one, fall: one }
}

/// One probe within `deadline`, and how long it took.
async fn run(asked: LocalProbe, deadline: Duration) -> (ProbeResult, Duration) {
    let start = Instant::now();
    let result = probe(&check(asked, deadline), start + deadline).await;
    (result, start.elapsed())
}

/// The code, or the code and the detail.
async fn said(asked: LocalProbe) -> String {
    match run(asked, LONG).await.0 {
        Ok(pass) => pass.code.to_owned(),
        Err(error) => error.to_string(),
    }
}
