//! Edge cases of a registration while servers die, sleep and forget; the numbers are those of `spec/zookeeper.md`.

use std::time::Duration;

use smartstack::registration::{Phase, Wanted};
use smartstack::registry::writer::NodeKind;
use smartstack::registry::{Registry, SessionState};
use tokio::time::{Instant, sleep, sleep_until};

use crate::common::{connected, heard, registry, wait_state};
use crate::nerves::{Spec, session};
use crate::zk::Zk;

fn spec() -> Spec {
    Spec::new("/services/web", NodeKind::EphemeralSequential)
}

/// Case 1.
#[tokio::test]
async fn case_01_without_a_server_at_start_it_registers_when_one_comes() {
    let zk = Zk::standalone();
    zk.kill9();
    let registry = registry(&zk.connect_string(), 4);
    let spec = spec();
    let mut running = spec.start(&registry, Wanted::Present);
    let state = running.phase(Phase::Changing, 5).await;
    assert!(state.trouble.unwrap().starts_with("waiting for ZooKeeper: no session yet"));
    zk.restart();
    running.phase(Phase::Registered, 2).await;
    spec.the_one(&zk.client().await).await;
}

/// Case 4: we believe that the session is over, the server does not.
#[tokio::test]
async fn case_04_an_outage_of_two_and_a_half_timeouts_costs_no_node() {
    let zk = Zk::standalone();
    let registry = connected(&zk.connect_string(), 2).await;
    let spec = spec();
    let mut running = spec.start(&registry, Wanted::Present);
    running.phase(Phase::Registered, 5).await;
    let before = spec.the_one(&zk.client().await).await;
    zk.kill9();
    let killed = Instant::now();
    wait_state(&registry, SessionState::Expired, 8).await;
    running.phase(Phase::Unconfirmed, 1).await;
    // While it asks to go on with the session, from 1.4 to 3.2 timeouts: the length is the case.
    sleep_until(killed + Duration::from_secs(5)).await;
    zk.restart();
    let client = zk.client().await;
    assert_eq!(spec.the_one(&client).await, before);
    let (_, watch) = client.check_and_watch_stat(&before.0).await.unwrap();
    running.phase(Phase::Registered, 5).await;
    tokio::select! {
        () = zk.outlast_a_session(Duration::from_secs(2)) => {}
        touched = watch.changed() => panic!("the node was touched: {touched:?}"),
    }
    assert_eq!(spec.the_one(&client).await, before);
    let state = running.phase(Phase::Registered, 1).await;
    assert_eq!((state.owner, state.writes), (Some(before.1), 1));
}

/// Case 19.
#[tokio::test]
async fn case_19_a_leader_that_dies_delays_a_registration_by_an_election() {
    let zk = Zk::ensemble(3);
    let registry = connected(&zk.connect_string(), 10).await;
    let spec = spec();
    zk.leader().kill9();
    let mut running = spec.start(&registry, Wanted::Present);
    running.phase(Phase::Registered, 8).await;
    assert_eq!(registry.session().borrow().generation, 1);
    let (node, owner) = spec.the_one(&zk.client().await).await;
    assert_eq!(owner, session(&registry));
    // Another one, under a node that stands.
    zk.restart();
    zk.leader().kill9();
    wait_state(&registry, SessionState::Connected, 8).await;
    running.phase(Phase::Registered, 8).await;
    assert_eq!(spec.the_one(&zk.client().await).await, (node, owner));
}

/// Case 20, short and long: nothing is lost while two of three are away.
#[tokio::test]
async fn case_20_without_a_quorum_the_node_stands() {
    let zk = Zk::ensemble(3);
    let registry = connected(&zk.connect_string(), 2).await;
    let spec = spec();
    let mut running = spec.start(&registry, Wanted::Present);
    running.phase(Phase::Registered, 5).await;
    let before = spec.the_one(&zk.client().await).await;
    for seconds in [3, 7] {
        for member in zk.members().iter().take(2) {
            member.kill9();
        }
        running.phase(Phase::Unconfirmed, 8).await;
        // In the first attempt to go on with the session, and in the second one. Only the time tells them apart: each lasts
        // 1.8 timeouts, from 1.4 of them on.
        sleep(Duration::from_secs(seconds)).await;
        zk.restart();
        let state = running.phase(Phase::Registered, 8).await;
        assert_eq!(state.owner, Some(before.1), "after {seconds} s");
        assert_eq!(spec.the_one(&zk.client().await).await, before);
    }
}

/// Case 39.
#[tokio::test]
async fn case_39_a_wiped_server_gets_path_and_node_again() {
    let zk = Zk::standalone();
    let registry = connected(&zk.connect_string(), 4).await;
    for kind in [NodeKind::EphemeralSequential, NodeKind::Persistent] {
        let spec = Spec::new("/services/web", kind);
        let mut running = spec.start(&registry, Wanted::Present);
        running.phase(Phase::Registered, 5).await;
        let writes = running.state.borrow().writes;
        zk.kill9();
        running.phase(Phase::Unconfirmed, 5).await;
        zk.member(0).wipe();
        zk.restart();
        running.until(8, |s| s.phase == Phase::Registered && s.writes > writes).await;
        spec.the_one(&zk.client().await).await;
        running.wanted.send_replace(Wanted::Absent);
        running.phase(Phase::Absent, 5).await;
    }
}

/// A server that sleeps for a while now and then (case 26) is no reason to touch anything.
#[tokio::test]
async fn case_26_a_server_that_dozes_changes_nothing() {
    let zk = Zk::standalone();
    let registry = connected(&zk.connect_string(), 5).await;
    let spec = spec();
    let mut running = spec.start(&registry, Wanted::Present);
    running.phase(Phase::Registered, 5).await;
    let before = spec.the_one(&zk.client().await).await;
    for _ in 0..3 {
        zk.stop();
        // Shorter than a server may be silent, 0.4 of the session: the length is the case.
        sleep(Duration::from_millis(1_500)).await;
        zk.cont();
        heard(&zk, &registry).await;
    }
    running.phase(Phase::Registered, 5).await;
    assert_eq!(spec.the_one(&zk.client().await).await, before);
    assert_eq!(running.state.borrow().writes, 1);
}
