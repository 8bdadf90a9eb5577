//! The contract of `Registry`, against a server that behaves.

mod ends;

use std::time::Duration;

use smartstack::registry::zookeeper::{SessionSettings, StartError, ZooKeeperRegistry};
use smartstack::registry::{Registry, RegistryError};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use zookeeper_client::{Acl, Acls, AuthId, CreateMode, Permission};

use crate::common::{connected, fires, fresh_node, fresh_path, shared};
use crate::zk::{EPHEMERAL, PERSISTENT};

/// Readable by nobody who has not the password.
fn secret() -> [Acl; 1] {
    [Acl::new(Permission::ALL, AuthId::new("digest", "nobody:xxxx"))]
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[tokio::test]
async fn children_are_listed_and_every_change_is_told() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_path(&client).await;
    let registry = connected(&zk.connect_string(), 4).await;

    let missing = registry.watch_children(&path).await.unwrap();
    assert_eq!(missing.value, None);
    client.create(&path, b"", &PERSISTENT).await.unwrap();
    fires(missing.changed, 2).await;

    let empty = registry.watch_children(&path).await.unwrap();
    assert_eq!(empty.value, Some(vec![]));
    client.create(&format!("{path}/a"), b"1", &PERSISTENT).await.unwrap();
    fires(empty.changed, 2).await;

    let one = registry.watch_children(&path).await.unwrap();
    assert_eq!(one.value, Some(vec!["a".to_owned()]));
    client.create(&format!("{path}/b"), b"2", &PERSISTENT).await.unwrap();
    fires(one.changed, 2).await;

    let two = registry.watch_children(&path).await.unwrap();
    assert_eq!(two.value.map(sorted), Some(vec!["a".to_owned(), "b".to_owned()]));
    client.delete(&format!("{path}/a"), None).await.unwrap();
    fires(two.changed, 2).await;

    let last = registry.watch_children(&path).await.unwrap();
    client.delete(&format!("{path}/b"), None).await.unwrap();
    fires(last.changed, 2).await;
    let gone = registry.watch_children(&path).await.unwrap();
    client.delete(&path, None).await.unwrap();
    fires(gone.changed, 2).await;
    assert_eq!(registry.watch_children(&path).await.unwrap().value, None);
}

#[tokio::test]
async fn a_malformed_path_is_an_error_of_that_call_only() {
    let zk = shared();
    let registry = connected(&zk.connect_string(), 4).await;
    for path in ["", "relative", "/a//b", "/a/../b", "/a/", "/a\u{1}b"] {
        let error = registry.watch_children(path).await.unwrap_err();
        assert!(matches!(error, RegistryError::Failed { .. }), "{path:?}: {error}");
    }
    assert!(registry.watch_children("/").await.unwrap().value.is_some());
}

#[tokio::test]
async fn data_is_read_and_creation_change_and_deletion_are_told() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_path(&client).await;
    let registry = connected(&zk.connect_string(), 4).await;

    let missing = registry.watch_data(&path).await.unwrap();
    assert_eq!(missing.value, None);
    let (created, _) = client.create(&path, b"one", &EPHEMERAL).await.unwrap();
    fires(missing.changed, 2).await;

    let first = registry.watch_data(&path).await.unwrap();
    let node = first.value.unwrap();
    assert_eq!(node.data, b"one");
    assert_eq!(node.created_zxid, created.czxid);
    assert_eq!(node.ephemeral_owner, client.session_id().0);
    let stat = client.set_data(&path, b"two", None).await.unwrap();
    fires(first.changed, 2).await;

    let second = registry.watch_data(&path).await.unwrap();
    let node = second.value.unwrap();
    assert_eq!((node.data.as_slice(), node.modified_zxid), (&b"two"[..], stat.mzxid));
    client.delete(&path, None).await.unwrap();
    fires(second.changed, 2).await;
    assert_eq!(registry.watch_data(&path).await.unwrap().value, None);
}

#[tokio::test]
async fn a_path_below_a_missing_parent_can_be_watched() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_path(&client).await;
    let deep = format!("{path}/b/c");
    let registry = connected(&zk.connect_string(), 4).await;
    let missing = registry.watch_children(&deep).await.unwrap();
    client.mkdir(&deep, &PERSISTENT).await.unwrap();
    fires(missing.changed, 2).await;
    assert_eq!(registry.watch_children(&deep).await.unwrap().value, Some(vec![]));
}

#[tokio::test]
async fn a_chroot_that_does_not_exist_yet_is_waited_for() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_path(&client).await;
    let registry = connected(&format!("{}{path}", zk.connect_string()), 4).await;
    let missing = registry.watch_children("/services").await.unwrap();
    assert_eq!(missing.value, None);
    client.mkdir(&format!("{path}/services/a"), &PERSISTENT).await.unwrap();
    fires(missing.changed, 2).await;
    let found = registry.watch_children("/services").await.unwrap();
    assert_eq!(found.value, Some(vec!["a".to_owned()]));
    let nodes = registry.read_many(&["/services/a".to_owned()]).await.unwrap();
    assert!(matches!(nodes[0], Ok(Some(_))));
}

#[tokio::test]
async fn many_nodes_come_in_the_order_asked_and_bad_ones_have_their_error() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_node(&client).await;
    let acl = secret();
    let creator_only = CreateMode::Persistent.with_acls(Acls::new(&acl));
    for (name, options) in [("z", &PERSISTENT), ("a", &PERSISTENT), ("secret", &creator_only)] {
        client.create(&format!("{path}/{name}"), name.as_bytes(), options).await.unwrap();
    }
    let registry = connected(&zk.connect_string(), 4).await;
    let names = ["z", "gone", "secret", "bad\u{2}name", "a", "é", "100%"];
    let paths: Vec<_> = names.iter().map(|name| format!("{path}/{name}")).collect();
    let nodes = registry.read_many(&paths).await.unwrap();
    let data: Vec<_> = nodes
        .iter()
        .map(|node| node.as_ref().map(|node| node.as_ref().map(|n| &*n.data)))
        .collect();
    let secret = RegistryError::NotAuthorised { path: format!("{path}/secret") };
    assert_eq!(data[..3], [Ok(Some(&b"z"[..])), Ok(None), Err(&secret)]);
    assert!(matches!(data[3], Err(RegistryError::Failed { .. })));
    assert_eq!(data[4..], [Ok(Some(&b"a"[..])), Ok(None), Ok(None)]);
    assert_eq!(registry.read_many(&[]).await.unwrap(), vec![]);
}

#[tokio::test]
async fn an_unreadable_node_is_not_authorised() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_path(&client).await;
    let acl = secret();
    let options = CreateMode::Persistent.with_acls(Acls::new(&acl));
    client.create(&path, b"", &options).await.unwrap();
    let registry = connected(&zk.connect_string(), 4).await;
    let expected = RegistryError::NotAuthorised { path: path.clone() };
    assert_eq!(registry.watch_children(&path).await.unwrap_err(), expected);
    assert_eq!(registry.watch_data(&path).await.unwrap_err(), expected);
}

#[tokio::test]
async fn two_thousand_children_are_read_within_two_seconds() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_node(&client).await;
    let data = [b'x'; 250];
    let names: Vec<_> = (0..2_000).map(|index| format!("{path}/n{index:04}")).collect();
    let created: Vec<_> =
        names.iter().map(|name| client.create(name, &data, &PERSISTENT)).collect();
    for create in created {
        create.await.unwrap();
    }
    let registry = connected(&zk.connect_string(), 4).await;
    let started = Instant::now();
    let children = registry.watch_children(&path).await.unwrap().value.unwrap();
    let paths: Vec<_> = children.iter().map(|name| format!("{path}/{name}")).collect();
    let nodes = registry.read_many(&paths).await.unwrap();
    let took = started.elapsed();
    println!("2,000 children in {took:?}");
    assert_eq!(nodes.len(), 2_000);
    assert!(nodes.iter().all(|node| matches!(node, Ok(Some(node)) if node.data == data)));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn no_change_is_lost_while_a_path_is_made_and_removed() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_path(&client).await;
    let registry = connected(&zk.connect_string(), 4).await;
    let child = format!("{path}/c");
    let churn = async {
        for _ in 0..100 {
            client.create(&path, b"", &PERSISTENT).await.unwrap();
            client.create(&child, b"", &PERSISTENT).await.unwrap();
            client.delete(&child, None).await.unwrap();
            client.delete(&path, None).await.unwrap();
        }
        client.create(&path, b"", &PERSISTENT).await.unwrap();
        client.create(&child, b"last", &PERSISTENT).await.unwrap();
    };
    // Follows the list by its watches only, until it shows the last state and nothing more is told.
    let follow = async {
        loop {
            let seen = registry.watch_children(&path).await.unwrap();
            let quiet = timeout(Duration::from_secs(1), seen.changed).await.is_err();
            if quiet {
                return seen.value;
            }
        }
    };
    let ((), seen) = tokio::join!(churn, follow);
    assert_eq!(seen, Some(vec!["c".to_owned()]));
}

/// The relay adds two copies; what it must not add is a delayed acknowledgement (40 ms).
#[tokio::test]
async fn a_change_is_told_and_read_within_milliseconds() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_node(&client).await;
    let registry = connected(&zk.connect_string(), 4).await;
    let mut took = Vec::new();
    for round in 0..50 {
        let watched = registry.watch_children(&path).await.unwrap();
        let child = format!("{path}/c{round}");
        client.create(&child, b"data", &PERSISTENT).await.unwrap();
        let created = Instant::now();
        fires(watched.changed, 2).await;
        let names = registry.watch_children(&path).await.unwrap().value.unwrap();
        assert_eq!(names.len(), round + 1);
        let nodes = registry.read_many(&[child]).await.unwrap();
        assert!(matches!(nodes[0], Ok(Some(_))));
        took.push(created.elapsed());
    }
    took.sort();
    println!("create returned -> child's data: p50 {:?}, p95 {:?}", took[25], took[47]);
    assert!(took[25] < Duration::from_millis(30), "{took:?}");
}

#[test]
fn bad_connect_strings_are_refused_at_start() {
    for bad in ["", "zk1,", "zk1:port", "zk1/a//b", "tcp+tls://zk1"] {
        let started =
            ZooKeeperRegistry::start(bad, SessionSettings::default(), CancellationToken::new());
        assert!(matches!(started, Err(StartError::Ensemble(_))), "{bad:?}");
    }
}
