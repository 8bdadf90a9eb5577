//! Nodes as an independent client sees them.

use zookeeper_client::{Client, Error, Stat};

use super::super::wait::eventually;
use super::START;

/// A node as an independent client sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) data: String,
    pub(crate) owner: i64,
    pub(crate) version: i32,
    /// The transaction that made it: another one means another node, whatever its name.
    pub(crate) made_by: i64,
}

/// Children of `path` with data and owner, by name; empty when `path` does not exist.
pub(crate) async fn nodes(client: &Client, path: &str) -> Vec<Seen> {
    let mut names = match client.list_children(path).await {
        Ok(names) => names,
        Err(Error::NoNode) => return Vec::new(),
        Err(error) => panic!("{path}: {error}"),
    };
    names.sort();
    let mut seen = Vec::new();
    for name in names {
        let path = format!("{path}/{name}");
        match client.get_data(&path).await {
            Ok((data, stat)) => seen.push(see(path, data, &stat)),
            Err(Error::NoNode) => {}
            Err(error) => panic!("{path}: {error}"),
        }
    }
    seen
}

fn see(path: String, data: Vec<u8>, stat: &Stat) -> Seen {
    let data = String::from_utf8(data).expect("nerve writes text");
    let (owner, made_by) = (stat.ephemeral_owner, stat.czxid);
    Seen { path, data, owner, version: stat.version, made_by }
}

/// Waits until exactly `count` nodes stand below `path`.
pub(crate) async fn until_nodes(client: &Client, path: &str, count: usize) -> Vec<Seen> {
    eventually(&format!("{count} nodes below {path}"), START, || async {
        let seen = nodes(client, path).await;
        if seen.len() == count { Ok(seen) } else { Err(seen) }
    })
    .await
}
