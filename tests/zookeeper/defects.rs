//! The three defects of the client crate, each made harmless. See the module page of `registry::session`.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smartstack::registry::{Registry, SessionState};
use tokio::time::{Instant, sleep};

use crate::child::{Cpu, ip, is_child};
use crate::common::{back_in_session, connected, fires, fresh_node, shared, wait_state};
use crate::gate::Gate;
use crate::zk::{PERSISTENT, Zk};

/// A: watches outlive a reconnect, for changes made meanwhile and for changes made later.
#[tokio::test]
async fn a_watches_survive_a_reconnect() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_node(&client).await;
    let missing = format!("{path}/missing");
    let mut gate = Gate::open_to(zk.member(0).addr()).await;
    let registry = connected(&gate.connect_string(), 10).await;

    let children = registry.watch_children(&path).await.unwrap();
    let creation = registry.watch_data(&missing).await.unwrap();
    let data = registry.watch_data(&path).await.unwrap();
    gate.close().await;
    wait_state(&registry, SessionState::Disconnected, 2).await;
    client.create(&missing, b"", &PERSISTENT).await.unwrap();
    client.set_data(&path, b"new", None).await.unwrap();
    gate.open().await;
    fires(children.changed, 2).await;
    fires(creation.changed, 2).await;
    fires(data.changed, 2).await;

    let children = registry.watch_children(&path).await.unwrap();
    let data = registry.watch_data(&path).await.unwrap();
    gate.close().await;
    wait_state(&registry, SessionState::Disconnected, 2).await;
    gate.open().await;
    wait_state(&registry, SessionState::Connected, 2).await;
    client.delete(&missing, None).await.unwrap();
    client.set_data(&path, b"newer", None).await.unwrap();
    fires(children.changed, 2).await;
    fires(data.changed, 2).await;
    assert_eq!(registry.session().borrow().generation, 1);
}

/// A, and ZOOKEEPER-4466 with it (a one-shot watch that fires ends the recursive one of its path): there are none but
/// one-shot watches.
#[test]
fn a_persistent_watches_are_never_set() {
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut files = 0;
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.contains("AddWatchMode"), "{}", path.display());
        }
    }
    assert!(files > 100, "only {files} files seen");
}

/// B: `connect(2)` fails at once because there is no route to the ensemble.
#[test]
fn b_no_route_burns_no_cpu() {
    if !is_child("defects::b_no_route_burns_no_cpu", true) {
        return;
    }
    ip("link set lo up");
    ip("addr add 10.99.7.1/32 dev lo");
    in_runtime(async {
        let zk = Zk::standalone_with("clientPortAddress=0.0.0.0");
        let member = format!("10.99.7.1:{}", zk.member(0).addr().port());
        let registry = connected(&member, 1).await;
        ip("addr del 10.99.7.1/32 dev lo");
        wait_state(&registry, SessionState::Expired, 5).await;
        let cpu = Cpu::start();
        // What is measured.
        sleep(Duration::from_secs(4)).await;
        println!("CPU without a route: {:.4}", cpu.share());
        assert!(cpu.share() < 0.05, "{}", cpu.share());
        let session = registry.session().borrow().clone();
        assert_eq!(session.state, SessionState::Expired);
        let expected = format!("{member}: network is unreachable");
        assert_eq!(session.last_error.as_deref(), Some(expected.as_str()));
        ip("addr add 10.99.7.1/32 dev lo");
        let healed = Instant::now();
        wait_state(&registry, SessionState::Connected, 5).await;
        println!("back after {:?}", healed.elapsed());
        assert!(healed.elapsed() < Duration::from_secs(1), "{:?}", healed.elapsed());
    });
}

/// B: the crate cannot even reach the relay, because loopback is down.
#[test]
fn b_an_interface_that_is_down_burns_no_cpu() {
    if !is_child("defects::b_an_interface_that_is_down_burns_no_cpu", true) {
        return;
    }
    ip("link set lo up");
    in_runtime(async {
        let zk = Zk::standalone();
        let registry = connected(&zk.connect_string(), 1).await;
        ip("link set lo down");
        wait_state(&registry, SessionState::Expired, 5).await;
        let cpu = Cpu::start();
        // What is measured.
        sleep(Duration::from_secs(4)).await;
        println!("CPU without an interface: {:.4}", cpu.share());
        assert!(cpu.share() < 0.05, "{}", cpu.share());
        assert_ne!(registry.session().borrow().state, SessionState::Connected);
        ip("link set lo up");
        let healed = Instant::now();
        wait_state(&registry, SessionState::Connected, 5).await;
        println!("back after {:?}", healed.elapsed());
        // Here the crate's own pauses count, of up to a second, and the supervisor's.
        assert!(healed.elapsed() < Duration::from_secs(3), "{:?}", healed.elapsed());
    });
}

/// B: the same with no descriptor left in the process.
#[test]
fn b_no_descriptors_burn_no_cpu() {
    if !is_child("defects::b_no_descriptors_burn_no_cpu", false) {
        return;
    }
    in_runtime(async {
        let zk = Zk::standalone();
        let registry = connected(&zk.connect_string(), 1).await;
        let cpu = Cpu::start();
        let limits = getrlimit(Resource::Nofile);
        let none_left = Rlimit { current: Some(3), ..limits };
        setrlimit(Resource::Nofile, none_left).unwrap();
        zk.member(0).stop();
        wait_state(&registry, SessionState::Expired, 5).await;
        zk.member(0).cont();
        // What is measured.
        sleep(Duration::from_secs(4)).await;
        println!("CPU without descriptors: {:.4}", cpu.share());
        assert!(cpu.share() < 0.05, "{}", cpu.share());
        assert_ne!(registry.session().borrow().state, SessionState::Connected);
        setrlimit(Resource::Nofile, limits).unwrap();
        let healed = Instant::now();
        wait_state(&registry, SessionState::Connected, 5).await;
        println!("back after {:?}", healed.elapsed());
        assert!(healed.elapsed() < Duration::from_millis(2_000), "{:?}", healed.elapsed());
    });
}

/// C: an outage of 0.7 of the timeout costs no session, and ends within a second of the healing.
#[tokio::test]
async fn c_a_healed_network_is_used_within_a_second() {
    let zk = shared();
    outage(zk, 4, Duration::from_millis(2_800)).await;
}

/// The connection is refused for `outage`; asserts that the same session is back within a second.
pub(crate) async fn outage(zk: &Zk, timeout_seconds: u64, outage: Duration) {
    let mut gate = Gate::open_to(zk.member(0).addr()).await;
    let registry = connected(&gate.connect_string(), timeout_seconds).await;
    let before = registry.session().borrow().clone();
    assert_eq!(before.negotiated_timeout, Some(Duration::from_secs(timeout_seconds)));
    gate.close().await;
    wait_state(&registry, SessionState::Disconnected, 2).await;
    // How much of the timeout it takes is the case.
    sleep(outage).await;
    assert_eq!(registry.session().borrow().state, SessionState::Disconnected);
    gate.open().await;
    let healed = Instant::now();
    back_in_session(&registry, 5).await;
    assert!(healed.elapsed() < Duration::from_secs(1), "{:?}", healed.elapsed());
}

/// Runs `test` on a runtime of this thread.
pub(crate) fn in_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}
