//! Networks that fail between nerve and a ZooKeeper that is well.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use super::{BACK_WITHIN, one_of_each, path, registered, session_is, shows, up, watch};
use crate::outages::fault::{OWN, interface_down, interface_of_its_own, interface_up};
use crate::outages::run;
use crate::scale::cpu_seconds;
use crate::support::child::is_child;
use crate::support::gate::Gate;
use crate::support::lab::Lab;
use crate::support::memory;
use crate::support::nerve::{Nerve, nodes, until_nodes};
use crate::support::oracle::need;
use crate::support::synapse::is_release;
use crate::support::zookeeper::Zk;

/// What nerve may use of a core while it cannot reach ZooKeeper.
const CPU: f64 = 0.05;
/// The promise, for an interface that is up again.
const AFTER_INTERFACE: Duration = Duration::from_millis(1_500);

/// The server lives and counts; nerve is refused for two thirds of its session.
async fn unreachable(session: u32, outage: Duration) {
    let lab = Lab::new().await;
    let zk = block_in_place(|| Zk::standalone_with("maxSessionTimeout=60000"));
    let client = zk.client().await;
    let mut gate = Gate::open_to(zk.member(0).addr()).await;
    let (mut services, places) = one_of_each(&gate.connect_string());
    services["web"] = up(&gate.connect_string(), "web", 9_000, json!({})).0;
    let nerve = registered(&lab, services, session, &client).await;
    let before = shows(&nerve, "connected", session_is("connected")).await;
    assert_eq!(before["session"]["timeout_s"], json!(f64::from(session)));
    let witness = watch(&zk, places);
    witness.looks(1).await;

    gate.close().await;
    let closed = Instant::now();
    shows(&nerve, "the loss is noticed", session_is("disconnected")).await;
    tokio::time::sleep_until(closed + outage).await;
    gate.open().await;
    let opened = Instant::now();
    let after = shows(&nerve, "connected", session_is("connected")).await;
    let back = opened.elapsed();
    shows(&nerve, "confirmed", |shown| shown["registration"]["phase"] == "registered").await;
    zk.outlast_a_session(Duration::from_secs(session.into())).await;
    println!("unreachable for {outage:?} of {session} s: connected {back:?} after its end");
    assert_eq!(after["session"]["id"], before["session"]["id"], "the session is kept");
    assert_eq!(after["session"]["generation"], 1);
    witness.looks(100).await;
    witness.end().assert_never_absent(100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_for_two_thirds_of_the_session_costs_nothing() {
    unreachable(4, Duration::from_millis(2_700)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_unreachable_for_13_seconds_and_a_half_of_20_costs_nothing() {
    unreachable(20, Duration::from_millis(13_500)).await;
}

/// Three sessions long, so that the server has given the node away meanwhile.
#[test]
fn timed_the_interface_down_for_three_sessions_costs_no_cpu_and_a_second_to_register() {
    const NAME: &str = "nerve::faults::network::timed_the_interface_down_for_three_sessions_costs_no_cpu_and_a_second_to_register";
    need("unshare", "util-linux");
    need("ip", "iproute2");
    if is_child(NAME, true) {
        run(interface());
    }
}

async fn interface() {
    const SESSION: u32 = 2;
    let lab = Lab::alone().await;
    let zk = block_in_place(interface_of_its_own);
    let client = zk.client().await;
    let hosts = format!("{OWN}:{}", zk.member(0).addr().port());
    let (web, _) = up(&hosts, "web", 8_080, json!({}));
    let nerve = registered(&lab, json!({"web": web}), SESSION, &client).await;
    for round in 0..3 {
        interface_down();
        let (down, before) = (Instant::now(), cpu_seconds(nerve.pid()));
        // What is measured.
        sleep(Duration::from_secs(3 * u64::from(SESSION))).await;
        let busy = (cpu_seconds(nerve.pid()) - before) / down.elapsed().as_secs_f64();
        assert!(nodes(&client, &path("web")).await.is_empty(), "the session is over");
        let shown = nerve.service("web").await;
        assert_ne!(shown["session"]["state"], "connected", "that is shown");
        assert_eq!(shown["registration"]["phase"], "unconfirmed", "{shown}");
        interface_up();
        let up = Instant::now();
        until_nodes(&client, &path("web"), 1).await;
        let back = up.elapsed();
        nerve.until_settled(&[]).await;
        println!("{round}: interface down: {:.2} % CPU, registered after {back:?}", busy * 100.0);
        assert!(busy < CPU, "{busy}");
        assert!(back < AFTER_INTERFACE, "{back:?}");
    }
}

/// Frozen as a virtual machine is while it moves: for longer than its session, which the server ends meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_for_longer_than_its_session_nerve_registers_anew_within_a_second() {
    let lab = Lab::new().await;
    let zk = block_in_place(Zk::standalone);
    let client = zk.client().await;
    let (services, places) = one_of_each(&zk.connect_string());
    let nerve = registered(&lab, services, 2, &client).await;
    for _ in 0..2 {
        let before = nodes(&client, &path("sequential")).await;
        nerve.signal(Signal::STOP);
        until_nodes(&client, &path("sequential"), 0).await;
        until_nodes(&client, &path("fixed"), 0).await;
        nerve.signal(Signal::CONT);
        let thawed = Instant::now();
        for place in &places {
            let seen = until_nodes(&client, &place.path, 1).await;
            assert_ne!(seen[0].owner, before[0].owner, "of a new session");
        }
        println!("thawed: all registered after {:?}", thawed.elapsed());
        assert!(thawed.elapsed() < BACK_WITHIN, "{:?}", thawed.elapsed());
    }
}

/// 200 times gone for longer than a session lives, or five times in a normal run.
async fn gone(outages: usize) {
    const SESSION: u32 = 1;
    let lab = Lab::new().await;
    let zk = block_in_place(Zk::standalone);
    let client = zk.client().await;
    let mut gate = Gate::open_to(zk.member(0).addr()).await;
    let (services, places) = one_of_each(&gate.connect_string());
    let nerve = registered(&lab, services, SESSION, &client).await;
    // The first ones fill pools and caches.
    let warm = outages / 10;
    let (mut start, mut worst) = (None, Duration::ZERO);
    let cpu = (cpu_seconds(nerve.pid()), Instant::now());
    for outage in 0..outages {
        if outage == warm {
            start = Some(resources(&nerve));
        }
        gate.close().await;
        for kind in ["sequential", "fixed", "encoded"] {
            until_nodes(&client, &path(kind), 0).await;
        }
        gate.open().await;
        let opened = Instant::now();
        for place in &places {
            until_nodes(&client, &place.path, 1).await;
        }
        worst = worst.max(opened.elapsed());
        nerve.until_settled(&[]).await;
    }
    let busy = (cpu_seconds(nerve.pid()) - cpu.0) / cpu.1.elapsed().as_secs_f64();
    let (start, end) = (start.expect("some outages"), resources(&nerve));
    let lines = nerve.log().lines().count();
    println!(
        "{outages} outages: registered at most {worst:?} after each; KiB and descriptors {start:?} -> {end:?}; \
         {lines} log lines; {:.2} % CPU",
        busy * 100.0
    );
    assert!(worst < 2 * BACK_WITHIN, "{worst:?}");
    assert!(end.1 <= start.1 + 2, "descriptors: {start:?} -> {end:?}");
    // Memory of a debug build and of a warm-up of one outage says nothing.
    if is_release() && outages >= 100 {
        assert!(end.0 <= start.0 + 1_024, "KiB: {start:?} -> {end:?}");
        assert!(busy < CPU, "{busy}");
    }
    assert!(lines < 30 * outages + 100, "{lines} lines");
}

/// Resident KiB, and open descriptors.
fn resources(nerve: &Nerve) -> (u64, usize) {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", nerve.pid())).expect("it runs");
    (memory::resident(nerve.pid()) / 1_024, descriptors.count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_outages_of_more_than_a_session_leak_no_descriptor() {
    gone(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_two_hundred_outages_of_more_than_a_session_leak_nothing() {
    gone(200).await;
}
