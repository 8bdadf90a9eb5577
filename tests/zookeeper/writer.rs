//! The contract of `RegistryWriter`, against a server that behaves.

use smartstack::registry::writer::{MAX_DATA_BYTES, NodeKind, RegistryWriter, WriteError};
use smartstack::registry::{Registry, RegistryError};
use zookeeper_client::{Acl, Acls, AuthId, Client, CreateMode, Permission};

use crate::common::{connected, fresh_path, shared};
use crate::zk::PERSISTENT;

fn missing(path: &str) -> WriteError {
    WriteError::Missing { path: path.to_owned() }
}

async fn data(client: &Client, path: &str) -> Vec<u8> {
    client.get_data(path).await.unwrap().0
}

#[tokio::test]
async fn the_four_kinds_are_created_with_open_acl_and_the_servers_number() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_path(&client).await;
    let registry = connected(&zk.connect_string(), 4).await;
    let own = registry.session().borrow().id.unwrap();
    let name = format!("{path}/i-abc_");
    let before = registry.create(&name, b"1", NodeKind::Ephemeral).await.unwrap_err();
    assert_eq!(before, missing(&name));
    registry.make_path(&path).await.unwrap();
    for (kind, suffix, owner) in [
        (NodeKind::EphemeralSequential, "0000000000", own),
        (NodeKind::Ephemeral, "", own),
        (NodeKind::PersistentSequential, "0000000002", 0),
    ] {
        let created = registry.create(&name, b"{}", kind).await.unwrap();
        assert_eq!(created.path, format!("{name}{suffix}"), "{kind:?}");
        let (data, stat) = client.get_data(&created.path).await.unwrap();
        assert_eq!((&*data, stat.ephemeral_owner), (&b"{}"[..], owner));
        assert_eq!(created.node.created_zxid, stat.czxid);
        assert_eq!((created.node.ephemeral_owner, created.node.version), (owner, 0));
        let (acl, _) = client.get_acl(&created.path).await.unwrap();
        assert_eq!(acl, [Acl::new(Permission::ALL, AuthId::anyone())]);
    }
    let persistent = format!("{path}/other_");
    let created = registry.create(&persistent, b"", NodeKind::Persistent).await.unwrap();
    assert_eq!((created.path, created.node.ephemeral_owner), (persistent.clone(), 0));
    let exists = WriteError::Exists { path: persistent.clone() };
    assert_eq!(registry.create(&persistent, b"", NodeKind::Persistent).await, Err(exists));
    let mut names = registry.children(&path).await.unwrap().unwrap();
    names.sort();
    assert_eq!(names, ["i-abc_", "i-abc_0000000000", "i-abc_0000000002", "other_"]);
    assert_eq!(registry.children(&format!("{path}/none")).await, Ok(None));
}

#[tokio::test]
async fn a_path_is_made_around_what_exists() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_path(&client).await;
    client.create(&path, b"kept", &PERSISTENT).await.unwrap();
    let registry = connected(&zk.connect_string(), 4).await;
    let deep = format!("{path}/a/b/c");
    registry.make_path(&deep).await.unwrap();
    registry.make_path(&deep).await.unwrap();
    registry.make_path("/").await.unwrap();
    assert_eq!(data(&client, &path).await, b"kept");
    assert_eq!(data(&client, &deep).await, b"");
    assert_eq!(client.check_stat(&deep).await.unwrap().unwrap().ephemeral_owner, 0);
}

/// Case 40.
#[tokio::test]
async fn a_missing_chroot_is_made_with_the_path() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_path(&client).await;
    let registry = connected(&format!("{}{path}/x/y", zk.connect_string()), 4).await;
    let node = "/services/web/i_";
    assert_eq!(registry.create(node, b"", NodeKind::Ephemeral).await, Err(missing(node)));
    registry.make_path("/services/web").await.unwrap();
    registry.create(node, b"here", NodeKind::Ephemeral).await.unwrap();
    assert_eq!(data(&client, &format!("{path}/x/y{node}")).await, b"here");
}

#[tokio::test]
async fn data_are_set_and_nodes_deleted_at_their_version_only() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_path(&client).await;
    let registry = connected(&zk.connect_string(), 4).await;
    assert_eq!(registry.set_data(&path, b"", None).await, Err(missing(&path)));
    assert_eq!(registry.delete(&path, None).await, Ok(false));
    registry.create(&path, b"0", NodeKind::Persistent).await.unwrap();
    registry.set_data(&path, b"1", Some(0)).await.unwrap();
    let changed = Err(WriteError::Changed { path: path.clone() });
    assert_eq!(registry.set_data(&path, b"2", Some(0)).await, changed);
    registry.set_data(&path, b"3", None).await.unwrap();
    assert_eq!(data(&client, &path).await, b"3");
    assert_eq!(
        registry.delete(&path, Some(1)).await,
        Err(WriteError::Changed { path: path.clone() })
    );
    assert_eq!(registry.delete(&path, Some(2)).await, Ok(true));
}

#[tokio::test]
async fn a_replacement_is_both_or_neither() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_path(&client).await;
    let former = connected(&zk.connect_string(), 4).await;
    let next = connected(&zk.connect_string(), 4).await;
    former.create(&path, b"old", NodeKind::Ephemeral).await.unwrap();
    let kind = NodeKind::Ephemeral;
    let end = next.replace(&path, 1, b"new", kind).await.unwrap_err();
    assert_eq!(end, WriteError::Changed { path: path.clone() });
    assert_eq!(data(&client, &path).await, b"old");
    let taken = next.replace(&path, 0, b"new", kind).await.unwrap();
    let (data, stat) = client.get_data(&path).await.unwrap();
    assert_eq!((&*data, stat.ephemeral_owner), (&b"new"[..], next.session().borrow().id.unwrap()));
    assert_eq!((taken.path, taken.node.ephemeral_owner), (path.clone(), stat.ephemeral_owner));
    assert_eq!((taken.node.version, taken.node.created_zxid), (0, stat.czxid));
    let gone = format!("{path}-none");
    assert_eq!(next.replace(&gone, 0, b"", kind).await, Err(missing(&gone)));
}

/// Case 17: the server would cut the connection, with everything in flight.
#[tokio::test]
async fn two_megabytes_are_refused_here_and_the_session_does_not_notice() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_path(&client).await;
    let registry = connected(&zk.connect_string(), 4).await;
    let since = registry.session().borrow().since;
    let big = vec![b'x'; 2_000_000];
    let end = registry.create(&path, &big, NodeKind::Persistent).await.unwrap_err();
    assert_eq!(end, WriteError::TooLarge { bytes: 2_000_000, limit: MAX_DATA_BYTES });
    registry.create(&path, &big[..MAX_DATA_BYTES], NodeKind::Persistent).await.unwrap();
    let end = registry.set_data(&path, &big, None).await.unwrap_err();
    assert!(matches!(end, WriteError::TooLarge { .. }));
    registry.delete(&path, None).await.unwrap();
    assert_eq!(registry.session().borrow().since, since);
}

#[tokio::test]
async fn a_lack_of_rights_is_a_refusal() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_path(&client).await;
    let acl = [Acl::new(Permission::ALL, AuthId::new("digest", "nobody:xxxx"))];
    let options = CreateMode::Persistent.with_acls(Acls::new(&acl));
    client.create(&path, b"", &options).await.unwrap();
    let registry = connected(&zk.connect_string(), 4).await;
    let child = format!("{path}/c");
    let end = registry.create(&child, b"", NodeKind::Ephemeral).await.unwrap_err();
    assert_eq!(end, WriteError::Refused(RegistryError::NotAuthorised { path: child }));
    let end = registry.set_data(&path, b"", None).await.unwrap_err();
    assert!(matches!(end, WriteError::Refused(_)), "{end:?}");
}

#[tokio::test]
async fn without_a_session_nothing_is_sent() {
    let registry = crate::common::registry("127.0.0.1:1", 4);
    let end = registry.create("/a", b"", NodeKind::Persistent).await.unwrap_err();
    assert!(matches!(end, WriteError::NotSent(_)), "{end:?}");
}
