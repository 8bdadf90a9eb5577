//! What is promised in milliseconds and in failed requests. Each test runs alone.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::lab::Lab;
use crate::support::load::{Load, percentile};
use crate::support::origin::Origin;
use crate::support::registry::Registrations;
use crate::support::synapse::{config, fixed, listener};
use crate::support::wait::eventually;
use crate::support::zookeeper::Zk;

const PATIENCE: Duration = Duration::from_secs(10);
const PATH: &str = "/nerve/services/web";
/// The promise: 95 % of the changes are in effect this long after ZooKeeper confirmed them.
const REACTION: Duration = Duration::from_millis(50);
const PER_SECOND: u32 = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timed_a_registration_is_used_within_50_ms() {
    reaction(20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_a_registration_is_used_within_50_ms() {
    reaction(100).await;
}

/// At 500 requests per second, 3 -> 4 -> 3 backends, again and again.
async fn reaction(rounds: usize) {
    let lab = Lab::alone().await;
    let zk = Zk::standalone();
    let registrations = Registrations::connect(&zk.connect_string()).await;
    registrations.path(PATH).await;
    for name in ["A", "B", "C"] {
        registrations.nerve(PATH, &lab.origin(name).await).await;
    }
    let fourth = lab.origin("D").await;
    let front = lab.free_addr();
    let service = json!({
        "discovery": {"method": "zookeeper", "hosts": [zk.connect_string()], "path": PATH},
        "haproxy": listener(front, "http", &[])
    });
    let _synapse = lab.synapse(config(json!({"web": service}))).await;
    let load = Load::start(front, PER_SECOND);
    let (mut created, mut deleted) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        fourth.mark();
        let node = registrations.nerve(PATH, &fourth).await;
        created.push(until_used(&fourth).await);
        // Let it be a backend like the others for a while: otherwise the two changes would be one burst.
        let asked = fourth.requests();
        eventually("it has its share", PATIENCE, || async {
            let more = fourth.requests() - asked;
            if more >= 20 { Ok(()) } else { Err(more) }
        })
        .await;
        fourth.mark();
        registrations.delete(&node).await;
        deleted.push(until_left_alone(&fourth).await);
    }
    let report = load.stop().await;
    report.assert_no_failure();
    let (created, deleted) = (percentile(created, 95), percentile(deleted, 95));
    println!(
        "{rounds} rounds: p95 from create to first request {created:?}, from delete to last {deleted:?}; \
         request p99 {:?}",
        report.latency(99)
    );
    assert!(created <= REACTION, "create to first request: p95 {created:?}");
    assert!(deleted <= REACTION, "delete to last request: p95 {deleted:?}");
}

/// From now to the first request since the mark; zero when it came before (the watch was faster than we).
async fn until_used(origin: &Origin) -> Duration {
    let begun = Instant::now();
    let first = eventually("the new one is used", PATIENCE, || async {
        origin.times().first.ok_or("no request yet")
    })
    .await;
    first.saturating_duration_since(begun)
}

/// From now to the last request.
async fn until_left_alone(origin: &Origin) -> Duration {
    let begun = Instant::now();
    // Quiet for that long means over: at this load a used backend is asked each 8 ms.
    eventually("the old one is left alone", PATIENCE, || async {
        let since = origin.times().last.unwrap_or(begun).max(begun);
        if since.elapsed() > 4 * REACTION { Ok(()) } else { Err(since.elapsed()) }
    })
    .await;
    origin.times().last.unwrap_or(begun).saturating_duration_since(begun)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timed_a_backend_killed_under_load_costs_no_request() {
    let lab = Lab::alone().await;
    let (a, b) = (lab.origin_process("A").await, lab.origin_process("B").await);
    let mut victim = lab.origin_process("C").await;
    let front = lab.free_addr();
    let check = "check inter 1s rise 2 fall 3";
    let servers = [("A", a.addr(), check), ("B", b.addr(), check), ("C", victim.addr(), check)];
    let lines = ["option httpchk GET /ping"];
    let synapse = lab.synapse(config(json!({"web": fixed(front, "http", &lines, &servers)}))).await;
    let load = Load::start(front, PER_SECOND);
    let until = |n: usize| {
        let load = &load;
        eventually("enough requests", Duration::from_secs(30), move || async move {
            if load.ended() >= n { Ok(()) } else { Err(load.ended()) }
        })
    };
    until(1_500).await;
    victim.kill9().await;
    until(4_000).await;
    let report = load.stop().await;
    println!(
        "{} requests, {:?}, p99 {:?}",
        report.samples.len(),
        report.per_origin(),
        report.latency(99)
    );
    report.assert_no_failure();
    assert!(report.per_origin().len() == 3, "all three served before");
    let shown = synapse.service("web").await.to_string().to_ascii_lowercase();
    assert!(shown.contains("down"), "the dead one is shown as down: {shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timed_membership_churn_costs_no_request() {
    let lab = Lab::alone().await;
    let zk = Zk::standalone();
    let registrations = Registrations::connect(&zk.connect_string()).await;
    registrations.path(PATH).await;
    let stable = lab.origin("A").await;
    registrations.nerve(PATH, &stable).await;
    let others = [lab.origin("B").await, lab.origin("C").await, lab.origin("D").await];
    let front = lab.free_addr();
    let service = json!({
        "discovery": {"method": "zookeeper", "hosts": [zk.connect_string()], "path": PATH},
        "haproxy": listener(front, "http", &[])
    });
    let _synapse = lab.synapse(config(json!({"web": service}))).await;
    let load = Load::start(front, PER_SECOND);
    for _ in 0..20 {
        let mut nodes = Vec::new();
        for other in &others {
            nodes.push(registrations.nerve(PATH, other).await);
        }
        for node in nodes {
            registrations.delete(&node).await;
        }
    }
    load.stop().await.assert_no_failure();
}
