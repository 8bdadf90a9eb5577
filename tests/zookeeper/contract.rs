//! The contract of `Registry`, against a server that behaves.

use smartstack::registry::{Registry, RegistryError};

use crate::common::{connected, fires, fresh_path, shared};
use crate::zk::PERSISTENT;

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
    client
        .create(&format!("{path}/a"), b"1", &PERSISTENT)
        .await
        .unwrap();
    fires(empty.changed, 2).await;

    let one = registry.watch_children(&path).await.unwrap();
    assert_eq!(one.value, Some(vec!["a".to_owned()]));
    client
        .create(&format!("{path}/b"), b"2", &PERSISTENT)
        .await
        .unwrap();
    fires(one.changed, 2).await;

    let two = registry.watch_children(&path).await.unwrap();
    assert_eq!(
        two.value.map(sorted),
        Some(vec!["a".to_owned(), "b".to_owned()])
    );
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
        assert!(
            matches!(error, RegistryError::Failed { .. }),
            "{path:?}: {error}"
        );
    }
    assert!(registry.watch_children("/").await.unwrap().value.is_some());
}
