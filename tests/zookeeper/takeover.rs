//! A session that goes from one process to the next.

use std::sync::Arc;
use std::time::Duration;

use smartstack::registry::credentials::Credentials;
use smartstack::registry::writer::{NodeKind, RegistryWriter};
use smartstack::registry::zookeeper::ZooKeeperRegistry;
use smartstack::registry::{Registry, SessionState};
use tokio::time::{Instant, timeout};
use zookeeper_client::Client;

use crate::common::{connected, eventually, fresh_path, heir_of, shared, wait_session, wait_state};
use crate::zk::Zk;

/// A connected registry with an ephemeral node of its own.
async fn with_node(zk: &Zk, client: &Client) -> (Arc<ZooKeeperRegistry>, String) {
    let path = fresh_path(client).await;
    let registry = connected(&zk.connect_string(), 4).await;
    registry.create(&path, b"", NodeKind::Ephemeral).await.unwrap();
    (registry, path)
}

fn credentials(registry: &ZooKeeperRegistry) -> Credentials {
    registry.credentials().borrow().clone().unwrap()
}

async fn owner(client: &Client, path: &str) -> Option<i64> {
    client.check_stat(path).await.unwrap().map(|stat| stat.ephemeral_owner)
}

async fn detached(registry: &ZooKeeperRegistry) {
    registry.detach();
    registry.closed().await;
}

#[tokio::test]
async fn a_detached_session_is_gone_on_with_and_its_node_never_notices() {
    let zk = shared();
    let client = zk.client().await;
    let (mut registry, path) = with_node(zk, &client).await;
    let first = credentials(&registry);
    assert_eq!(Some(first.id), registry.session().borrow().id);
    for _ in 0..5 {
        let started = Instant::now();
        detached(&registry).await;
        assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
        let before = Some(credentials(&registry));
        registry = heir_of(&zk.connect_string(), 4, before);
        let session = wait_state(&registry, SessionState::Connected, 5).await;
        assert_eq!((session.id, session.generation), (Some(first.id), 1));
        assert_eq!(owner(&client, &path).await, Some(first.id));
        // The next process writes with it as the first one did.
        registry.set_data(&path, b"next", None).await.unwrap();
    }
    registry.stop();
    registry.closed().await;
    assert_eq!(owner(&client, &path).await, None);
}

#[tokio::test]
async fn a_detached_session_lives_until_its_timeout() {
    let zk = shared();
    let client = zk.client().await;
    let (registry, path) = with_node(zk, &client).await;
    let id = credentials(&registry).id;
    detached(&registry).await;
    drop(registry);
    let (stat, gone) = client.check_and_watch_stat(&path).await.unwrap();
    assert_eq!(stat.map(|stat| stat.ephemeral_owner), Some(id));
    let started = Instant::now();
    timeout(Duration::from_secs(8), gone.changed()).await.unwrap();
    assert!(started.elapsed() > Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_stop_closes_the_session_and_its_nodes_go_at_once() {
    let zk = shared();
    let client = zk.client().await;
    let (registry, path) = with_node(zk, &client).await;
    let (_, gone) = client.check_and_watch_stat(&path).await.unwrap();
    let started = Instant::now();
    registry.stop();
    timeout(Duration::from_secs(2), gone.changed()).await.unwrap();
    println!("stop -> node gone: {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_millis(100), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_heir_of_an_expired_session_gets_a_new_one() {
    let zk = shared();
    let client = zk.client().await;
    let (registry, path) = with_node(zk, &client).await;
    let former = credentials(&registry);
    registry.stop();
    registry.closed().await;
    let heir = heir_of(&zk.connect_string(), 4, Some(former.clone()));
    let started = Instant::now();
    let session = wait_state(&heir, SessionState::Connected, 5).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_ne!(session.id, Some(former.id));
    assert_eq!(Some(credentials(&heir).id), session.id);
    assert_eq!(owner(&client, &path).await, None);
}

#[tokio::test]
async fn a_wrong_password_gets_a_new_session_and_leaves_the_old_one_alone() {
    let zk = shared();
    let client = zk.client().await;
    let (registry, path) = with_node(zk, &client).await;
    let right = credentials(&registry);
    let wrong = Credentials { id: right.id, password: vec![1; 16] };
    let heir = heir_of(&zk.connect_string(), 4, Some(wrong));
    let session = wait_state(&heir, SessionState::Connected, 5).await;
    assert_ne!(session.id, Some(right.id));
    assert_eq!(owner(&client, &path).await, Some(right.id));
}

#[tokio::test]
async fn credentials_change_with_the_session() {
    let zk = Zk::standalone();
    let registry = connected(&zk.connect_string(), 4).await;
    let before = credentials(&registry);
    zk.kill9();
    zk.member(0).wipe();
    zk.restart();
    let after = wait_session(&registry, 8, |session| session.generation == 2).await;
    assert_ne!(after.id, Some(before.id));
    assert_eq!(Some(credentials(&registry).id), after.id);
    assert_eq!(credentials(&registry).password.len(), 16);
}

/// Case 45, the server away at the wrong moment: the heir waits for it with the session that it was left.
#[tokio::test]
async fn an_heir_that_finds_no_server_keeps_what_it_was_left() {
    let zk = Zk::standalone();
    let client = zk.client().await;
    let (registry, path) = with_node(&zk, &client).await;
    let left = credentials(&registry);
    detached(&registry).await;
    zk.kill9();
    let heir = heir_of(&zk.connect_string(), 4, Some(left.clone()));
    let mut session = heir.session();
    session.wait_for(|session| session.last_error.is_some()).await.unwrap();
    zk.restart();
    wait_state(&heir, SessionState::Connected, 5).await;
    assert_eq!(heir.session().borrow().id, Some(left.id));
    let client = zk.client().await;
    assert_eq!(owner(&client, &path).await, Some(left.id));
    eventually("published", Duration::from_secs(1), || credentials(&heir) == left).await;
}
