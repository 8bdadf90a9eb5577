//! What takes longer than seconds. A runner skips these by name (`slow_`) unless asked for them.

use std::time::Duration;

use smartstack::registry::{Registry, SessionState};
use tokio::time::{Instant, sleep};
use zookeeper_client::Client;

use crate::child::{Cpu, ip, is_child};
use crate::common::{back_in_session, connected, eventually, fires, heard, wait_state};
use crate::defects::{in_runtime, outage};
use crate::zk::{PERSISTENT, Zk};

/// Defect C where it hurts: without the cure the crate's next attempt would come after about 26 s.
#[tokio::test]
async fn slow_c_an_outage_of_14_s_at_a_timeout_of_20_s() {
    let zk = Zk::standalone_with("maxSessionTimeout=60000");
    outage(&zk, 20, Duration::from_secs(14)).await;
}

/// The control of `b_no_route_burns_no_cpu`: the same fault does make the crate spin when it dials the member itself.
/// Should a newer crate fail this test, the relay has one reason less.
#[test]
fn slow_the_crate_alone_still_has_defect_b() {
    if !is_child("slow::slow_the_crate_alone_still_has_defect_b", true) {
        return;
    }
    ip("link set lo up");
    ip("addr add 10.99.7.1/32 dev lo");
    let zk = Zk::standalone_with("clientPortAddress=0.0.0.0");
    let member = format!("10.99.7.1:{}", zk.member(0).addr().port());
    let (connected, is_connected) = std::sync::mpsc::channel();
    // Its own thread: the loop never yields, so that a runtime shared with the test would hang it.
    std::thread::spawn(move || {
        in_runtime(async {
            let connector = Client::connector().with_session_timeout(Duration::from_secs(1));
            let client = connector.connect(&member).await.unwrap();
            connected.send(()).unwrap();
            let mut states = client.state_watcher();
            while !states.changed().await.is_terminated() {}
        });
    });
    is_connected.recv().unwrap();
    ip("addr del 10.99.7.1/32 dev lo");
    in_runtime(async {
        let begun = Instant::now();
        loop {
            let cpu = Cpu::start();
            // What is measured.
            sleep(Duration::from_secs(1)).await;
            let share = cpu.share();
            println!("CPU of the crate alone: {share:.4} after {:?}", begun.elapsed());
            // Three times what the cured one may use; a busy machine has no whole core for it.
            if share > 0.15 {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not spin: {share}");
        }
    });
}

#[tokio::test]
async fn slow_a_stuttering_server_costs_no_session() {
    let zk = Zk::standalone();
    let registry = connected(&zk.connect_string(), 5).await;
    for stopped in [1_500, 2_300].repeat(5) {
        zk.member(0).stop();
        // Shorter and longer than a server may be silent, 0.4 of the session: the length is the case.
        sleep(Duration::from_millis(stopped)).await;
        zk.member(0).cont();
        heard(&zk, &registry).await;
    }
    back_in_session(&registry, 2).await;
}

#[tokio::test]
async fn slow_a_rolling_restart_costs_no_session() {
    let zk = Zk::ensemble(3);
    let client = zk.client().await;
    client.create("/roll", b"", &PERSISTENT).await.unwrap();
    let registry = connected(&zk.connect_string(), 10).await;
    let before = registry.session().borrow().clone();
    let session = format!("{:#x}", before.id.unwrap());
    for member in zk.members() {
        member.kill9();
        let moved = || zk.is_used_by(&session);
        eventually("another member has the session", Duration::from_secs(10), moved).await;
        member.restart();
        wait_state(&registry, SessionState::Connected, 5).await;
    }
    let watched = registry.watch_data("/roll").await.unwrap();
    client.set_data("/roll", b"x", None).await.unwrap();
    fires(watched.changed, 3).await;
    assert_eq!(registry.session().borrow().id, before.id);
}

/// A server that starts accepts connections which it never answers; with a long timeout the client would wait for it.
#[tokio::test]
async fn slow_ten_restarts_are_each_over_within_two_seconds() {
    let zk = Zk::standalone();
    let registry = connected(&zk.connect_string(), 10).await;
    for round in 0..10 {
        zk.kill9();
        wait_state(&registry, SessionState::Disconnected, 5).await;
        zk.restart();
        let started = Instant::now();
        wait_state(&registry, SessionState::Connected, 10).await;
        println!("round {round}: back after {:?}", started.elapsed());
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    assert_eq!(registry.session().borrow().generation, 1);
}

/// A minute without a server at a timeout of 1 s: some thirty expiries. Nothing may pile up.
#[test]
fn slow_a_long_absence_leaks_nothing() {
    if !is_child("slow::slow_a_long_absence_leaks_nothing", false) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let zk = Zk::standalone();
        let registry = connected(&zk.connect_string(), 1).await;
        zk.kill9();
        wait_state(&registry, SessionState::Expired, 5).await;
        // Nothing is told of an attempt to connect: the time that some take, which fill what is kept for the next.
        sleep(Duration::from_secs(5)).await;
        let (cpu, before) = (Cpu::start(), resources());
        // What is measured.
        sleep(Duration::from_secs(60)).await;
        let after = resources();
        println!("CPU {:.4}, descriptors and KiB before {before:?}, after {after:?}", cpu.share());
        assert!(cpu.share() < 0.02);
        assert!(after.0 <= before.0 + 2 && after.1 <= before.1 + 1_024);
        zk.restart();
        let started = Instant::now();
        wait_state(&registry, SessionState::Connected, 3).await;
        assert!(started.elapsed() < Duration::from_secs(2));
    });
}

/// Open descriptors and resident KiB.
fn resources() -> (usize, usize) {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let kib = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (descriptors, kib)
}
