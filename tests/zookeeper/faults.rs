//! Servers that die, hang and come back.

use std::time::Duration;

use smartstack::registry::zookeeper::ZooKeeperRegistry;
use smartstack::registry::{Registry, RegistryError, SessionState};
use tokio::time::{Instant, sleep, timeout};

use crate::child::{Cpu, is_child};
use crate::common::{
    back_in_session, connected, fires, fresh_node, registry, shared, wait_session, wait_state,
};
use crate::zk::{Member, PERSISTENT, Zk};

/// Reads until it works, at most `seconds`; the session may be on its way.
async fn children(registry: &ZooKeeperRegistry, path: &str, seconds: u64) -> Option<Vec<String>> {
    let read = async {
        loop {
            match registry.watch_children(path).await {
                Ok(watched) => return watched.value,
                Err(RegistryError::Unavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    timeout(Duration::from_secs(seconds), read).await.unwrap()
}

#[tokio::test]
async fn a_server_killed_and_back_within_the_timeout_keeps_session_and_watches() {
    let zk = Zk::standalone();
    let client = zk.client().await;
    let path = fresh_node(&client).await;
    let registry = connected(&zk.connect_string(), 10).await;
    let before = registry.session().borrow().clone();
    let watched = registry.watch_children(&path).await.unwrap();

    zk.kill9();
    let lost = wait_state(&registry, SessionState::Disconnected, 5).await;
    assert_eq!(lost.generation, before.generation);
    zk.restart();
    back_in_session(&registry, 2).await;
    client.create(&format!("{path}/new"), b"", &PERSISTENT).await.unwrap();
    fires(watched.changed, 2).await;
}

#[tokio::test]
async fn a_server_away_for_longer_than_the_timeout_ends_watches_and_is_used_again() {
    let zk = Zk::standalone();
    let client = zk.client().await;
    let path = fresh_node(&client).await;
    let registry = connected(&zk.connect_string(), 1).await;
    let watched = registry.watch_children(&path).await.unwrap();

    zk.kill9();
    wait_state(&registry, SessionState::Expired, 5).await;
    fires(watched.changed, 1).await;
    let error = registry.watch_children(&path).await.unwrap_err().to_string();
    let expected = format!("{}: connection refused", zk.connect_string());
    assert!(error.contains(&expected), "{error}");
    zk.restart();
    wait_state(&registry, SessionState::Connected, 3).await;
    assert_eq!(children(&registry, &path, 2).await, Some(vec![]));
}

#[tokio::test]
async fn a_wiped_server_means_a_new_generation() {
    let zk = Zk::standalone();
    let registry = connected(&zk.connect_string(), 2).await;
    let before = registry.session().borrow().clone();
    let watched = registry.watch_children("/").await.unwrap();
    zk.kill9();
    zk.member(0).wipe();
    zk.restart();
    let after = wait_session(&registry, 5, |session| session.generation == 2).await;
    assert_ne!(after.id, before.id);
    fires(watched.changed, 1).await;
    assert!(children(&registry, "/", 2).await.is_some());
}

#[tokio::test]
async fn a_cut_socket_is_replaced_in_milliseconds() {
    let zk = Zk::standalone();
    let registry = connected(&zk.connect_string(), 10).await;
    for _ in 0..5 {
        zk.member(0).cut_sockets();
        assert!(children(&registry, "/", 1).await.is_some());
    }
    back_in_session(&registry, 1).await;
}

#[tokio::test]
async fn a_hung_server_is_noticed_named_and_used_again_when_it_wakes() {
    let zk = Zk::standalone();
    let registry = connected(&zk.connect_string(), 4).await;
    zk.member(0).stop();
    wait_state(&registry, SessionState::Disconnected, 4).await;
    wait_session(&registry, 3, |session| {
        session
            .last_error
            .as_ref()
            .is_some_and(|text| text.ends_with("accepts but does not answer"))
    })
    .await;
    zk.member(0).cont();
    back_in_session(&registry, 1).await;
}

#[tokio::test]
async fn a_short_hang_changes_nothing() {
    let zk = Zk::standalone();
    let registry = connected(&zk.connect_string(), 4).await;
    let since = registry.session().borrow().since;
    zk.member(0).stop();
    let (answer, ()) = tokio::join!(registry.watch_children("/"), async {
        // Shorter than a server may be silent, 0.4 of the session: the length is the case.
        sleep(Duration::from_secs(1)).await;
        zk.member(0).cont();
    });
    assert!(answer.is_ok());
    assert_eq!(registry.session().borrow().since, since);
}

#[tokio::test]
async fn a_stop_with_a_hung_server_takes_a_second() {
    let zk = Zk::standalone();
    let registry = connected(&zk.connect_string(), 10).await;
    zk.member(0).stop();
    let (started, read) = (Instant::now(), registry.watch_children("/"));
    let ended = async {
        registry.stop();
        registry.closed().await;
    };
    let (read, ()) = tokio::join!(read, ended);
    assert!(matches!(read, Err(RegistryError::Unavailable { .. })), "{read:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    zk.member(0).cont();
}

#[tokio::test]
async fn a_killed_leader_costs_neither_session_nor_watches() {
    let zk = Zk::ensemble(3);
    let client = zk.client().await;
    let path = fresh_node(&client).await;
    let registry = connected(&zk.connect_string(), 10).await;
    let watched = registry.watch_children(&path).await.unwrap();
    zk.leader().kill9();
    let created = async {
        let child = format!("{path}/c");
        while client.create(&child, b"", &PERSISTENT).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(8), created).await.unwrap();
    fires(watched.changed, 3).await;
    assert_eq!(children(&registry, &path, 2).await, Some(vec!["c".to_owned()]));
    back_in_session(&registry, 2).await;
}

#[tokio::test]
async fn a_hung_member_is_left_for_another() {
    let zk = Zk::ensemble(3);
    let registry = connected(&zk.connect_string(), 5).await;
    let before = registry.session().borrow().clone();
    let session = format!("{:#x}", before.id.unwrap());
    for _ in 0..2 {
        let is_ours = |member: &&Member| member.clients().iter().any(|it| it.session == session);
        let member = zk.members().iter().find(is_ours).unwrap();
        // Behind a leader that hangs come `syncLimit` and an election, which wait for the hung one as well.
        let patience = if member.leads() { 20 } else { 4 };
        member.stop();
        wait_state(&registry, SessionState::Disconnected, 5).await;
        let back = wait_state(&registry, SessionState::Connected, patience).await;
        assert_eq!(back.generation, 1);
        member.cont();
        member.wait_serving();
    }
    assert_eq!(registry.session().borrow().id, before.id);
}

/// In a process of its own, for the measure of its CPU time.
#[test]
fn no_server_at_start_costs_nothing_and_one_that_comes_is_used() {
    if !is_child("faults::no_server_at_start_costs_nothing_and_one_that_comes_is_used", false) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let zk = Zk::standalone();
        zk.kill9();
        let registry = registry(&zk.connect_string(), 1);
        let cpu = Cpu::start();
        let started = Instant::now();
        let error = registry.watch_children("/").await.unwrap_err();
        assert!(matches!(error, RegistryError::Unavailable { .. }));
        assert!(error.to_string().contains("connection refused"), "{error}");
        assert!(started.elapsed() < Duration::from_millis(1_500));
        // What is measured.
        sleep(Duration::from_secs(4)).await;
        println!("CPU without a server: {:.4}", cpu.share());
        assert!(cpu.share() < 0.02, "{}", cpu.share());
        assert_eq!(registry.session().borrow().generation, 0);
        zk.restart();
        wait_state(&registry, SessionState::Connected, 2).await;
    });
}

#[tokio::test]
async fn members_that_are_not_there_are_passed_over() {
    let zk = shared();
    // Port 1 of loopback refuses; `.invalid` never resolves.
    let ensemble = format!("127.0.0.1:1,{},no-such-host.invalid:2181", zk.connect_string());
    let started = Instant::now();
    let registry = connected(&ensemble, 4).await;
    assert!(children(&registry, "/", 1).await.is_some());
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}
