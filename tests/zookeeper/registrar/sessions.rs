//! Sessions that end or are handed over, and sockets that die.

use std::time::Duration;

use smartstack::registration::{Phase, Relation, Wanted};
use smartstack::registry::writer::NodeKind;
use smartstack::registry::{Registry, SessionState};
use tokio::time::{sleep, timeout};
use zookeeper_client::Client;

use super::{fresh, gone, one};
use crate::common::{connected, heir_of, shared, wait_state};
use crate::nerves::{Spec, session};
use crate::zk::EPHEMERAL;

/// Case 5: the ghost of a killed nerve under our fixed name.
#[tokio::test]
async fn case_05_a_fixed_name_is_taken_over_from_our_own_former_session() {
    let zk = shared();
    let client = zk.client().await;
    let spec = fresh(&client, NodeKind::Ephemeral).await;
    let former = connected(&zk.connect_string(), 4).await;
    let mut killed = spec.start(&former, Wanted::Present);
    killed.phase(Phase::Registered, 5).await;
    killed.stop().await;
    former.detach();
    former.closed().await;

    let registry = connected(&zk.connect_string(), 4).await;
    spec.kin.tell(session(&former), Relation::Former);
    let mut running = spec.start(&registry, Wanted::Present);
    let state = running.phase(Phase::Registered, 2).await;
    assert_eq!((state.owner, state.writes), (Some(session(&registry)), 1));
    let (node, owner) = spec.the_one(&client).await;
    assert_eq!(owner, session(&registry));
    // Past the end of the former session it still stands.
    let (_, watch) = client.check_and_watch_stat(&node).await.unwrap();
    assert!(timeout(Duration::from_secs(6), watch.changed()).await.is_err());
}

/// Case 45, a restart: the session goes from one process to the next and the node never notices.
#[tokio::test]
async fn case_45_a_handed_over_session_keeps_the_node_through_restarts() {
    let zk = shared();
    let client = zk.client().await;
    for kind in [NodeKind::EphemeralSequential, NodeKind::Ephemeral] {
        let spec = fresh(&client, kind).await;
        let mut registry = connected(&zk.connect_string(), 4).await;
        let mut running = spec.start(&registry, Wanted::Present);
        running.phase(Phase::Registered, 5).await;
        let (node, owner) = spec.the_one(&client).await;
        let (stat, watch) = client.check_and_watch_stat(&node).await.unwrap();
        assert!(stat.is_some());
        for _ in 0..5 {
            running.stop().await;
            registry.detach();
            registry.closed().await;
            let left = registry.credentials().borrow().clone();
            registry = heir_of(&zk.connect_string(), 4, left);
            running = spec.start(&registry, Wanted::Undecided);
            let state = running.phase(Phase::Registered, 5).await;
            assert_eq!(state.owner, Some(owner));
            running.wanted.send_replace(Wanted::Present);
        }
        let untouched = timeout(Duration::from_millis(500), watch.changed()).await;
        assert!(untouched.is_err(), "{untouched:?}");
        assert_eq!(running.state.borrow().writes, 0);
        assert_eq!(spec.the_one(&client).await, (node, owner));
    }
}

/// Case 7, a short one: sockets die under registrations and farewells.
#[tokio::test]
async fn case_07_an_open_outcome_leaves_exactly_one_node() {
    open_outcomes(20).await;
}

/// Case 7, as the issue asks for it.
#[tokio::test]
async fn slow_case_07_five_hundred_registrations_with_dying_sockets() {
    open_outcomes(500).await;
}

async fn open_outcomes(rounds: u32) {
    let zk = crate::zk::Zk::standalone();
    let client = zk.client().await;
    let registry = connected(&zk.connect_string(), 10).await;
    let foreign = "/foreign";
    client.create(foreign, b"", &EPHEMERAL).await.unwrap();
    let kinds = [
        NodeKind::EphemeralSequential,
        NodeKind::Ephemeral,
        NodeKind::PersistentSequential,
        NodeKind::Persistent,
    ];
    for (round, kind) in (0..rounds).zip(kinds.into_iter().cycle()) {
        let spec = Spec::new(&format!("/s{round}/web"), kind);
        let mut running = spec.start(&registry, Wanted::Present);
        for _ in 0..3 {
            // At whatever step it is.
            sleep(Duration::from_micros(fastrand::u64(0..4_000))).await;
            zk.member(0).cut_sockets();
        }
        running.phase(Phase::Registered, 10).await;
        let watcher = zk.client().await;
        spec.the_one(&watcher).await;
        running.wanted.send_replace(Wanted::Absent);
        // Here, too.
        sleep(Duration::from_micros(fastrand::u64(0..4_000))).await;
        zk.member(0).cut_sockets();
        running.phase(Phase::Absent, 10).await;
        let watcher = zk.client().await;
        assert!(spec.children(&watcher).await.is_empty(), "round {round}");
    }
    wait_state(&registry, SessionState::Connected, 5).await;
    assert_eq!(registry.session().borrow().generation, 1);
}

/// Case 3 in small: the session ended at the server, nobody told us before.
#[tokio::test]
async fn a_session_that_ended_is_followed_by_one_node_of_the_next() {
    let zk = crate::zk::Zk::standalone();
    let registry = connected(&zk.connect_string(), 2).await;
    let spec = Spec::new("/services/web", NodeKind::Ephemeral);
    let mut running = spec.start(&registry, Wanted::Present);
    running.phase(Phase::Registered, 5).await;
    let before = session(&registry);
    zk.stop();
    running.phase(Phase::Unconfirmed, 5).await;
    // We believe that it is over, and the server is to find that out when it wakes up.
    wait_state(&registry, SessionState::Expired, 8).await;
    zk.cont();
    let client = zk.client().await;
    running.phase(Phase::Registered, 10).await;
    let (node, owner) = one(&spec, &client, Duration::from_secs(5)).await;
    assert_eq!(owner, session(&registry));
    println!("session {before:#x} -> {owner:#x}");
    gone_never(&client, &node, Duration::from_secs(4)).await;
}

async fn gone_never(client: &Client, node: &str, time: Duration) {
    let (stat, watch) = client.check_and_watch_stat(node).await.unwrap();
    assert!(stat.is_some());
    assert!(timeout(time, watch.changed()).await.is_err(), "{node} was touched");
}

/// A farewell while ZooKeeper is away is said when it is back.
#[tokio::test]
async fn a_farewell_waits_for_the_server() {
    let zk = crate::zk::Zk::standalone();
    let registry = connected(&zk.connect_string(), 10).await;
    let spec = Spec::new("/services/web", NodeKind::Persistent);
    let mut running = spec.start(&registry, Wanted::Present);
    running.phase(Phase::Registered, 5).await;
    zk.kill9();
    let state = running.phase(Phase::Unconfirmed, 5).await;
    assert!(state.trouble.unwrap().starts_with("waiting for ZooKeeper: the connection is lost"));
    running.wanted.send_replace(Wanted::Absent);
    running.phase(Phase::Changing, 2).await;
    zk.restart();
    running.phase(Phase::Absent, 5).await;
    let client = zk.client().await;
    gone(&client, "/services/web/i-abc123_", Duration::from_secs(1)).await;
}
