//! Watches and sessions as those of ZooKeeper.

use super::*;
use crate::registry::SessionState;

async fn children(registry: &MemoryRegistry, path: &str) -> Watched<Option<Vec<String>>> {
    registry.watch_children(path).await.unwrap()
}

fn pending<T>(watched: &mut Watched<T>) -> bool {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    watched.changed.as_mut().poll(&mut cx).is_pending()
}

#[tokio::test]
async fn a_child_watch_fires_once_for_a_create_and_for_a_delete() {
    let registry = MemoryRegistry::default();
    registry.put("/s", "");
    let mut first = children(&registry, "/s").await;
    assert_eq!(first.value, Some(vec![]));
    assert!(pending(&mut first));
    registry.put("/s/a", "1");
    first.changed.await;
    let second = children(&registry, "/s").await;
    assert_eq!(second.value, Some(vec!["a".to_owned()]));
    registry.delete("/s/a");
    second.changed.await;
}

#[tokio::test]
async fn data_of_a_child_does_not_fire_the_child_watch() {
    let registry = MemoryRegistry::default();
    registry.put("/s/a", "1");
    let mut list = children(&registry, "/s").await;
    let data = registry.watch_data("/s/a").await.unwrap();
    assert!(registry.set_data("/s/a", "2"));
    data.changed.await;
    assert!(pending(&mut list));
    assert!(!registry.set_data("/s/b", "2"));
}

#[tokio::test]
async fn a_watch_on_a_missing_path_waits_for_it() {
    let registry = MemoryRegistry::default();
    let missing = children(&registry, "/a/b").await;
    assert_eq!(missing.value, None);
    registry.put("/a/b/c", "");
    missing.changed.await;
    let there = children(&registry, "/a/b").await;
    registry.delete("/a");
    there.changed.await;
}

#[tokio::test]
async fn a_cut_session_refuses_reads_and_delivers_watches_when_it_heals() {
    let registry = MemoryRegistry::default();
    registry.put("/s/a", "");
    let mut list = children(&registry, "/s").await;
    registry.cut();
    registry.put("/s/b", "");
    assert!(pending(&mut list));
    assert!(matches!(registry.watch_children("/s").await, Err(RegistryError::Unavailable { .. })));
    assert_eq!(registry.session().borrow().state, SessionState::Disconnected);
    registry.heal();
    list.changed.await;
    assert_eq!(registry.session().borrow().generation, 1);
}

#[tokio::test]
async fn an_expiry_ends_watches_and_ephemerals_and_opens_a_new_session() {
    let registry = MemoryRegistry::default();
    let own = registry.session().borrow().id.unwrap();
    registry.put_ephemeral("/s/mine", "", own);
    registry.put_ephemeral("/s/other", "", 77);
    let list = children(&registry, "/s").await;
    registry.expire();
    list.changed.await;
    registry.heal();
    assert_eq!(registry.session().borrow().generation, 2);
    assert_eq!(registry.peek_children("/s"), ["other"]);
    registry.end_session_of(77);
    assert!(registry.peek_children("/s").is_empty());
}

#[tokio::test]
async fn sequence_numbers_never_repeat_under_one_parent() {
    let registry = MemoryRegistry::default();
    registry.put("/s", "");
    let first = registry.put_sequential("/s/i-1_", "", 0);
    assert_eq!(first, "/s/i-1_0000000000");
    registry.delete(&first);
    assert_eq!(registry.put_sequential("/s/i-1_", "", 0), "/s/i-1_0000000001");
}

#[tokio::test]
async fn reads_many_nodes_in_order_and_tells_the_missing_and_the_forbidden() {
    let registry = MemoryRegistry::default();
    registry.put("/s/a", "1");
    let paths = ["/s/b".to_owned(), "/s/a".to_owned()];
    let nodes = registry.read_many(&paths).await.unwrap();
    assert_eq!(nodes[0], Ok(None));
    assert_eq!(nodes[1].clone().unwrap().unwrap().data, b"1");
    registry.forbid("/s/a");
    let path = "/s/a".to_owned();
    let expected = [Ok(None), Err(RegistryError::NotAuthorised { path })];
    assert_eq!(registry.read_many(&paths).await.unwrap(), expected);
}
