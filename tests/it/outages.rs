//! Whatever becomes of ZooKeeper: no request fails, and a registration made afterwards is used within two seconds.
//!
//! Each fault is tried twice: briefly, and as `slow_…` with 60 s of load. What the registry alone has to endure
//! (`tests/zookeeper`) is not repeated here.

mod crowd;
mod ensemble;
pub(crate) mod fault;
mod long;
mod network;
mod registrations;
pub(crate) mod time;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::{Instant, sleep_until};

use crate::support::child::is_child;
use crate::support::client::get;
use crate::support::lab::Lab;
use crate::support::load::Load;
use crate::support::oracle::need;
use crate::support::origin::Origin;
use crate::support::registry::Registrations;
use crate::support::scene::Scene;
use crate::support::synapse::Synapse;
use crate::support::wait::eventually;
use crate::support::zookeeper::Zk;

use fault::{BRIEF, Fault, LONG, Pace, hosts, until_asked, until_used, web};

const PATIENCE: Duration = Duration::from_secs(30);
const PATH: &str = Scene::PATH;
const PER_SECOND: u32 = 500;
/// The promise: from the registration after healing to its first request.
const CONVERGENCE: Duration = Duration::from_secs(2);
/// So many log lines in a minute are too many.
const FLOOD: usize = 100;
/// The load, the fault, the load, the healing, a registration, the load.
async fn survives(fault: Fault, pace: Pace) {
    let lab = Lab::new().await;
    let zk = block_in_place(|| fault.zookeeper());
    let registrations = Registrations::connect(&zk.connect_string()).await;
    registrations.path(PATH).await;
    let (mut origins, mut nodes) = (Vec::new(), Vec::new());
    for name in ["A", "B", "C"] {
        let origin = lab.origin(name).await;
        nodes.push(registrations.keep(PATH, &origin).await);
        origins.push(origin);
    }
    let late = lab.origin("D").await;
    let (front, config) = web(&hosts(fault, &zk), &lab, pace.session);
    let synapse = lab.synapse(config).await;
    all_used(front, &origins).await;

    let begun = Instant::now();
    let load = Load::start(front, PER_SECOND);
    eventually("the load is answered", PATIENCE, || async {
        // A second's worth.
        if load.ended() >= PER_SECOND as usize { Ok(()) } else { Err(load.ended()) }
    })
    .await;
    fault.strike(&zk, &nodes, pace.outage).await;
    serves_as_before(fault, &origins, &synapse).await;
    fault.heal(&zk);
    let healed = Instant::now();
    let since_registered = newcomer(&zk, &late).await;
    let since_healed = healed.elapsed();
    sleep_until(begun + pace.load).await;

    let report = load.stop().await;
    let lines = synapse.log().lines().count();
    println!(
        "{fault:?}: {} requests in {:?}, p99 {:?}; new one used {since_registered:?} after its registration, \
         {since_healed:?} after healing; {lines} log lines",
        report.samples.len(),
        begun.elapsed(),
        report.latency(99),
    );
    report.assert_no_failure();
    assert!(since_registered <= CONVERGENCE, "{since_registered:?}");
    assert!(synapse.is_connected().await);
    assert!(lines < FLOOD, "{lines} lines:\n{}", synapse.log());
}

async fn all_used(front: SocketAddr, origins: &[Origin]) {
    for origin in origins {
        until_used(front, origin).await;
    }
}

/// Registers one more; the time from there to its first request.
async fn newcomer(zk: &Zk, late: &Origin) -> Duration {
    let registrations = Registrations::connect(&zk.connect_string()).await;
    registrations.path(PATH).await;
    late.mark();
    registrations.keep(PATH, late).await;
    let registered = Instant::now();
    until_asked(late).await;
    registered.elapsed()
}

/// At the end of the outage: the set is what it was, and what is wrong is shown.
async fn serves_as_before(fault: Fault, origins: &[Origin], synapse: &Synapse) {
    origins.iter().for_each(Origin::mark);
    let (last, others) = origins.split_last().expect("three");
    until_asked(last).await;
    if fault.deletes() {
        // Deletions are obeyed, except that of the last one.
        let used = others.iter().filter(|o| o.times().first.is_some());
        assert_eq!(used.count(), 0, "the deleted ones are used");
    } else {
        for origin in others {
            until_asked(origin).await;
        }
    }
    let ready = get(synapse.admin(), "/ready").await.expect("admin");
    assert_eq!(ready.status, 200, "{}", ready.text());
    is_shown(fault, synapse).await;
}

/// Where the operator's table says.
async fn is_shown(fault: Fault, synapse: &Synapse) {
    // A server that starts anew beside other tests is heard of late.
    let patience = if fault.starts_anew() { PATIENCE } else { Duration::ZERO };
    eventually(&format!("{fault:?} is shown"), patience, || async {
        let metrics = synapse.metrics().await;
        let reason = synapse.service("web").await["reason"].to_string();
        let is_silent = metrics.contains("synapse_discovery_trouble{service=\"web\"} 1\n")
            && reason.contains("discovery: ");
        let is_kept = reason.contains("discovery says nobody, the previous set is kept");
        let is_said = synapse.is_connected().await != fault.silences()
            && (is_silent || !fault.silences())
            && (is_kept || !(fault.deletes() || fault == Fault::Wiped));
        if is_said { Ok(()) } else { Err(reason) }
    })
    .await;
    if fault.silences() {
        synapse.until_logged("disconnected").await;
        synapse.until_logged("session expired").await;
    }
}

#[test]
fn zookeeper_killed_costs_no_request() {
    run(survives(Fault::Killed, BRIEF));
}

#[test]
fn slow_zookeeper_killed_costs_no_request() {
    run(survives(Fault::Killed, LONG));
}

#[test]
fn zookeeper_hung_costs_no_request() {
    run(survives(Fault::Hung, BRIEF));
}

#[test]
fn slow_zookeeper_hung_costs_no_request() {
    run(survives(Fault::Hung, LONG));
}

#[test]
fn zookeeper_restarted_costs_no_request() {
    run(survives(Fault::Restarted, BRIEF));
}

#[test]
fn slow_zookeeper_restarted_costs_no_request() {
    run(survives(Fault::Restarted, LONG));
}

#[test]
fn zookeeper_wiped_costs_no_request() {
    run(survives(Fault::Wiped, BRIEF));
}

#[test]
fn slow_zookeeper_wiped_costs_no_request() {
    run(survives(Fault::Wiped, LONG));
}

#[test]
fn all_registrations_deleted_cost_no_request() {
    run(survives(Fault::Emptied, BRIEF));
}

#[test]
fn slow_all_registrations_deleted_cost_no_request() {
    run(survives(Fault::Emptied, LONG));
}

#[test]
fn the_parent_deleted_costs_no_request() {
    run(survives(Fault::ParentDeleted, BRIEF));
}

#[test]
fn slow_the_parent_deleted_costs_no_request() {
    run(survives(Fault::ParentDeleted, LONG));
}

#[test]
fn the_leader_lost_costs_no_request() {
    run(survives(Fault::LeaderLost, BRIEF));
}

#[test]
fn slow_the_leader_lost_costs_no_request() {
    run(survives(Fault::LeaderLost, LONG));
}

#[test]
fn the_quorum_lost_costs_no_request() {
    run(survives(Fault::QuorumLost, BRIEF));
}

#[test]
fn slow_the_quorum_lost_costs_no_request() {
    run(survives(Fault::QuorumLost, LONG));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zookeeper_absent_at_start_is_said_and_waited_for() {
    let lab = Lab::new().await;
    let zk = block_in_place(Zk::standalone);
    let registrations = Registrations::connect(&zk.connect_string()).await;
    registrations.path(PATH).await;
    let origin = lab.origin("A").await;
    registrations.keep(PATH, &origin).await;
    zk.kill9();
    let (front, config) = web(&[zk.connect_string()], &lab, BRIEF.session);
    let synapse = lab.synapse_unready(config).await;
    let ready = get(synapse.admin(), "/ready").await.expect("admin");
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.text().contains("web"), "{}", ready.text());
    synapse.until_logged("no session").await;
    assert!(!synapse.is_connected().await);

    block_in_place(|| zk.restart());
    let healed = Instant::now();
    until_used(front, &origin).await;
    println!("absent at start: used {:?} after it came", healed.elapsed());
    assert!(healed.elapsed() <= CONVERGENCE, "{:?}", healed.elapsed());
    synapse.until_ready().await;
}

/// True in a process with a network and mounts of its own; the caller then does the test there.
fn in_own_network(test: &str) -> bool {
    need("unshare", "util-linux");
    need("ip", "iproute2");
    is_child(&format!("outages::{test}"), true)
}

pub(crate) fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}

#[test]
fn the_interface_down_costs_no_request() {
    if in_own_network("the_interface_down_costs_no_request") {
        run(survives(Fault::InterfaceDown, BRIEF));
    }
}

#[test]
fn slow_the_interface_down_costs_no_request() {
    if in_own_network("slow_the_interface_down_costs_no_request") {
        run(survives(Fault::InterfaceDown, LONG));
    }
}
