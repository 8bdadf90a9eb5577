//! What ends: watches that are dropped, and sessions.

use std::time::Duration;

use smartstack::registry::{Registry, RegistryError};
use tokio::time::Instant;

use crate::common::{connected, eventually, fires, fresh_node, shared};
use crate::zk::PERSISTENT;

#[tokio::test]
async fn a_dropped_watch_does_not_take_its_successor_along() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_node(&client).await;
    let registry = connected(&zk.connect_string(), 4).await;
    for round in 0..100 {
        let former = registry.watch_children(&path).await.unwrap();
        let (latter, ()) = tokio::join!(registry.watch_children(&path), async { drop(former) });
        let child = format!("{path}/c{round}");
        client.create(&child, b"", &PERSISTENT).await.unwrap();
        fires(latter.unwrap().changed, 2).await;
    }
}

#[tokio::test]
async fn dropped_watches_are_removed_at_the_server() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_node(&client).await;
    let registry = connected(&zk.connect_string(), 4).await;
    let watched = registry.watch_data(&path).await.unwrap();
    let is_watched = || zk.member(0).four_letters("wchp").unwrap().contains(&path);
    assert!(is_watched());
    drop(watched);
    eventually("the watch is gone", Duration::from_secs(5), || !is_watched()).await;
}

#[tokio::test]
async fn a_stop_closes_the_session_at_the_server() {
    let zk = shared();
    let registry = connected(&zk.connect_string(), 4).await;
    let id = format!("{:#x}", registry.session().borrow().id.unwrap());
    assert!(zk.member(0).four_letters("dump").unwrap().contains(&id));
    let watched = registry.watch_children("/").await.unwrap();
    let started = Instant::now();
    registry.stop();
    registry.closed().await;
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    assert!(!zk.member(0).four_letters("dump").unwrap().contains(&id));
    fires(watched.changed, 1).await;
    let error = registry.watch_children("/").await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_dropped_registry_closes_its_session() {
    let zk = shared();
    let registry = connected(&zk.connect_string(), 4).await;
    let id = format!("{:#x}", registry.session().borrow().id.unwrap());
    drop(registry);
    eventually("the session is gone", Duration::from_secs(2), || {
        !zk.member(0).four_letters("dump").unwrap().contains(&id)
    })
    .await;
}
