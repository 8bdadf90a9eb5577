//! Writes through the session, and faults on their way.

use super::*;
use crate::registry::Registry;

const KIND: NodeKind = NodeKind::Ephemeral;

/// The inherent methods of the same names act on the server.
fn session(registry: &MemoryRegistry) -> &dyn RegistryWriter {
    registry
}

fn missing(path: &str) -> WriteError {
    WriteError::Missing { path: path.to_owned() }
}

#[tokio::test]
async fn nodes_are_created_replaced_and_deleted_at_their_version() {
    let registry = MemoryRegistry::default();
    let own = registry.session_id();
    assert_eq!(registry.create("/a/b", b"1", KIND).await, Err(missing("/a/b")));
    registry.make_path("/a").await.unwrap();
    registry.put("/a", "kept");
    registry.make_path("/a").await.unwrap();
    assert_eq!(registry.peek("/a").unwrap().data, b"kept");
    let created = registry.create("/a/b", b"1", KIND).await.unwrap();
    assert_eq!((created.path.as_str(), created.node.ephemeral_owner), ("/a/b", own));
    let exists = WriteError::Exists { path: "/a/b".into() };
    assert_eq!(registry.create("/a/b", b"1", KIND).await, Err(exists));
    session(&registry).set_data("/a/b", b"2", Some(0)).await.unwrap();
    let changed = WriteError::Changed { path: "/a/b".into() };
    assert_eq!(session(&registry).delete("/a/b", Some(0)).await, Err(changed.clone()));
    let other = registry.another();
    assert_eq!(other.replace("/a/b", 0, b"3", KIND).await, Err(changed));
    let taken = other.replace("/a/b", 1, b"3", KIND).await.unwrap();
    assert_eq!(taken.node.ephemeral_owner, other.session_id());
    assert_ne!(taken.node.ephemeral_owner, own);
    assert_eq!(session(&registry).delete("/a/b", Some(0)).await, Ok(true));
    assert_eq!(session(&registry).delete("/a/b", None).await, Ok(false));
    assert_eq!(session(&registry).set_data("/a/b", b"", None).await, Err(missing("/a/b")));
}

#[tokio::test]
async fn sequential_nodes_are_numbered_and_ephemerals_end_with_their_session() {
    let registry = MemoryRegistry::default();
    registry.make_path("/s").await.unwrap();
    let kind = NodeKind::EphemeralSequential;
    let first = registry.create("/s/i_", b"", kind).await.unwrap();
    let kind = NodeKind::PersistentSequential;
    let second = registry.another().create("/s/i_", b"", kind).await.unwrap();
    assert_eq!((&*first.path, &*second.path), ("/s/i_0000000000", "/s/i_0000000001"));
    assert_eq!(second.node.ephemeral_owner, 0);
    registry.expire();
    assert_eq!(registry.peek_children("/s"), ["i_0000000001"]);
    assert!(matches!(
        session(&registry).delete(&second.path, None).await,
        Err(WriteError::NotSent(_))
    ));
    let before = registry.session_id();
    registry.heal();
    assert_ne!(registry.session_id(), before);
    assert_eq!(session(&registry).delete(&second.path, None).await, Ok(true));
}

#[tokio::test]
async fn sessions_on_one_tree_see_each_other_and_break_apart() {
    let first = MemoryRegistry::default();
    let second = first.another();
    let seen = first.watch_children("/").await.unwrap();
    second.cut();
    first.make_path("/a").await.unwrap();
    seen.changed.await;
    let held = first.watch_children("/a").await.unwrap();
    assert!(matches!(second.children("/").await, Err(RegistryError::Unavailable { .. })));
    second.heal();
    second.create("/a/b", b"", KIND).await.unwrap();
    held.changed.await;
    assert_eq!(first.children("/a").await, Ok(Some(vec!["b".to_owned()])));
    second.give_up();
    second.heal();
    assert_eq!(first.peek_children("/a"), ["b"], "the server does not know yet");
}

#[tokio::test]
async fn lost_requests_and_lost_answers_look_the_same() {
    let registry = MemoryRegistry::default();
    registry.fail_next_write(WriteFault::LostRequest);
    registry.fail_next_write(WriteFault::LostAnswer);
    for there in [false, true] {
        let end = registry.create("/a", b"", KIND).await;
        assert!(matches!(end, Err(WriteError::Unknown(_))), "{end:?}");
        assert_eq!(registry.peek("/a").is_some(), there);
    }
    registry.forbid("/a");
    assert!(matches!(session(&registry).delete("/a", None).await, Err(WriteError::Refused(_))));
}
