//! Many outages in a row, and a long one: nothing leaks, nothing spins.

use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use super::fault::{
    Fault, hosts, interface_down, interface_of_its_own, interface_up, until_used, web,
};
use super::{CONVERGENCE, PATH, PATIENCE, in_own_network, run};
use crate::scale::cpu_seconds;
use crate::support::client::get;
use crate::support::gate::Gate;
use crate::support::lab::Lab;
use crate::support::load::percentile;
use crate::support::memory;
use crate::support::registry::Registrations;
use crate::support::synapse::{Synapse, is_release};
use crate::support::wait::eventually;
use crate::support::zookeeper::Zk;

#[test]
fn timed_the_interface_down_for_three_sessions_costs_no_cpu() {
    if in_own_network("long::timed_the_interface_down_for_three_sessions_costs_no_cpu") {
        run(three_sessions());
    }
}

/// Interface down for three sessions without load: CPU < 5 %, back < 2 s after it is up.
async fn three_sessions() {
    let lab = Lab::alone().await;
    let zk = block_in_place(interface_of_its_own);
    let registrations = Registrations::connect(&zk.connect_string()).await;
    registrations.path(PATH).await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    registrations.keep(PATH, &a).await;
    let (front, config) = web(&hosts(Fault::InterfaceDown, &zk), &lab, 2);
    let synapse = lab.synapse(config).await;
    assert_eq!(get(front, "/").await.expect("served").text(), "A");
    interface_down();
    let (down, before) = (Instant::now(), cpu_seconds(synapse.pid()));
    // What is measured.
    sleep(Duration::from_secs(6)).await;
    let busy = (cpu_seconds(synapse.pid()) - before) / down.elapsed().as_secs_f64();
    assert!(!synapse.is_connected().await, "that is shown");
    // Made while synapse could not see it: being told of it proves that the session and its watches are back.
    registrations.keep(PATH, &b).await;
    interface_up();
    let up = Instant::now();
    until_used(front, &b).await;
    let back = up.elapsed();
    println!("interface down: {:.2} % CPU, back after {back:?}", busy * 100.0);
    assert!(busy < 0.05, "{busy}");
    assert!(back < CONVERGENCE, "{back:?}");
}

/// `$SMARTSTACK_OUTAGES` for a quicker look.
fn rounds() -> usize {
    std::env::var("SMARTSTACK_OUTAGES").map_or(200, |n| n.parse().expect("a number"))
}

fn descriptors(pid: u32) -> usize {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("still running");
    entries.count()
}

/// Refused and silent in turn, each time until a session is over: for the server, which lives, or for us.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_two_hundred_outages_leak_nothing() {
    const SESSION: Duration = Duration::from_secs(1);
    let lab = Lab::alone().await;
    let zk = block_in_place(Zk::standalone);
    let mut gate = Gate::open_to(zk.member(0).addr()).await;
    let registrations = Registrations::connect(&zk.connect_string()).await;
    registrations.path(PATH).await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    registrations.keep(PATH, &a).await;
    let (_, config) = web(&[gate.connect_string()], &lab, 1);
    let synapse = lab.synapse(config).await;
    let rounds = rounds();
    let (mut back, mut start) = (Vec::new(), (0, 0));
    for round in 0..rounds {
        if round == rounds / 10 {
            start = (memory::resident(synapse.pid()), descriptors(synapse.pid()));
        }
        let expired = || synapse.log().matches("session expired").count();
        let before = expired();
        if round % 2 == 0 {
            gate.close().await;
            zk.outlast_a_session(SESSION).await;
            gate.open().await;
        } else {
            zk.stop();
            eventually("the session has expired", PATIENCE, || async {
                if expired() > before { Ok(()) } else { Err(synapse.log()) }
            })
            .await;
            zk.cont();
        }
        let healed = Instant::now();
        // Each round ends with a change, so that the watches prove to be back, too.
        let registrations = Registrations::connect(&zk.connect_string()).await;
        let known = if round % 2 == 0 {
            registrations.keep(PATH, &b).await;
            "synapse_backends_known{service=\"web\"} 2\n"
        } else {
            registrations.delete(&format!("{PATH}/B")).await;
            "synapse_backends_known{service=\"web\"} 1\n"
        };
        until_metric(&synapse, known).await;
        back.push(healed.elapsed());
    }
    let end = (memory::resident(synapse.pid()), descriptors(synapse.pid()));
    let lines = synapse.log().lines().count();
    let back = percentile(back, 95);
    println!(
        "{rounds} outages: RSS {} -> {} kB, descriptors {} -> {}, {lines} log lines, back after (p95) {back:?}, \
         release: {}",
        start.0 / 1024,
        end.0 / 1024,
        start.1,
        end.1,
        is_release()
    );
    assert!(end.0 <= start.0 + 4_000_000, "RSS {} -> {}", start.0, end.0);
    // A connection to the admin server or a reconnect may be under way; a leak would be one per outage.
    assert!(end.1 <= start.1 + 8, "descriptors {} -> {}", start.1, end.1);
    assert!(back <= CONVERGENCE, "{back:?}");
    assert!(lines < 30 * rounds, "{lines} lines are a flood");
}

async fn until_metric(synapse: &Synapse, line: &str) {
    eventually("the change is seen", PATIENCE, || async {
        let metrics = synapse.metrics().await;
        if metrics.contains(line) { Ok(()) } else { Err(metrics) }
    })
    .await;
}
