//! The reads themselves: what is asked of the client, in which order.

use zookeeper_client as zk;
use zookeeper_client::{Client, MultiReadResult, OneshotWatcher, Stat};

use super::super::session::Shared;
use super::super::{Node, NodeRead, RegistryError};
use super::call::Operation;

/// Nodes per request. A node may hold 1 MiB, and a server builds the whole answer in its heap: 500 such nodes per request
/// have killed one with 256 MB. 2,000 registrations are 63 requests, some 60 ms.
const CHUNK_NODES: usize = 32;

/// Bytes of paths per request. A server closes the connection on requests above `jute.maxbuffer` (1 MiB), with all that
/// is in flight; half of it leaves room for headers and chroot.
const CHUNK_BYTES: usize = 512 * 1024;

/// Header, lengths and a generous chroot of one entry.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// Children of `path` and the watch on the list, or `None` and the watch on its creation. Asks again while the node is
/// created and deleted between our two requests; the caller's deadline bounds that.
pub(super) async fn children(
    client: &Client,
    path: &str,
) -> Result<(Option<Vec<String>>, OneshotWatcher), zk::Error> {
    loop {
        match client.get_and_watch_children(path).await {
            Ok((names, _, watcher)) => return Ok((Some(names), watcher)),
            Err(zk::Error::NoNode) => {}
            Err(error) => return Err(error),
        }
        if let Some(watcher) = watch_missing(client, path).await? {
            return Ok((None, watcher));
        }
    }
}

/// Data of `path` and the watch on it, or `None` and the watch on its creation; as [`children`].
pub(super) async fn data(
    client: &Client,
    path: &str,
) -> Result<(Option<Node>, OneshotWatcher), zk::Error> {
    loop {
        match client.get_and_watch_data(path).await {
            Ok((data, stat, watcher)) => return Ok((Some(node(data, stat)), watcher)),
            Err(zk::Error::NoNode) => {}
            Err(error) => return Err(error),
        }
        if let Some(watcher) = watch_missing(client, path).await? {
            return Ok((None, watcher));
        }
    }
}

/// A watch on the creation of `path`; `None` when it exists by now, so that nothing is lost between the two requests.
async fn watch_missing(client: &Client, path: &str) -> Result<Option<OneshotWatcher>, zk::Error> {
    let (stat, watcher) = client.check_and_watch_stat(path).await?;
    Ok(stat.is_none().then_some(watcher))
}

/// Splits `paths` into requests that every server accepts.
pub(super) fn chunks(paths: &[String]) -> Vec<&[String]> {
    let mut chunks = Vec::new();
    let mut rest = paths;
    while !rest.is_empty() {
        let mut bytes = 0_usize;
        let fitting = rest.iter().take(CHUNK_NODES).take_while(|path| {
            bytes += path.len() + ENTRY_OVERHEAD_BYTES;
            bytes <= CHUNK_BYTES
        });
        // At least one: a single path above the limit cannot exist in a server with the same limit.
        let (chunk, tail) = rest.split_at(fitting.count().max(1));
        chunks.push(chunk);
        rest = tail;
    }
    chunks
}

/// Data of one chunk, in order. One that is unreadable or unspeakable has its error in its place; the others are
/// unaffected.
pub(super) async fn many(
    client: &Client,
    paths: &[String],
    shared: &Shared,
) -> Result<Vec<NodeRead>, zk::Error> {
    if !shared.lacks_multi_read() {
        match multi_read(client, paths).await {
            Err(zk::Error::Unimplemented) => shared.note_no_multi_read(),
            result => return result,
        }
    }
    one_by_one(client, paths).await
}

async fn multi_read(client: &Client, paths: &[String]) -> Result<Vec<NodeRead>, zk::Error> {
    let mut reader = client.new_multi_reader();
    let asked: Vec<_> = paths.iter().map(|path| reader.add_get_data(path)).collect();
    let mut results = reader.commit().await?.into_iter();
    let mut nodes = Vec::with_capacity(paths.len());
    for (path, asked) in paths.iter().zip(asked) {
        let read = match asked.map(|()| results.next()) {
            Err(error) => Err(error),
            Ok(Some(MultiReadResult::Data { data, stat })) => Ok((data, stat)),
            Ok(Some(MultiReadResult::Error { err })) => Err(err),
            // The crate's enum is open; too few answers are a server's lie.
            Ok(_) => return Err(zk::Error::MarshallingError),
        };
        nodes.push(place(path, read)?);
    }
    Ok(nodes)
}

/// For servers before 3.6. The requests are queued as the futures are made, so this is one round trip, not dozens.
async fn one_by_one(client: &Client, paths: &[String]) -> Result<Vec<NodeRead>, zk::Error> {
    let requests: Vec<_> = paths.iter().map(|path| client.get_data(path)).collect();
    let mut nodes = Vec::with_capacity(paths.len());
    for (path, request) in paths.iter().zip(requests) {
        nodes.push(place(path, request.await)?);
    }
    Ok(nodes)
}

/// Errors of one node stay in its place, all others are errors of the request.
fn place(path: &str, read: Result<(Vec<u8>, Stat), zk::Error>) -> Result<NodeRead, zk::Error> {
    match read {
        Ok((data, stat)) => Ok(Ok(Some(node(data, stat)))),
        Err(zk::Error::NoNode) => Ok(Ok(None)),
        Err(zk::Error::NoAuth) => Ok(Err(RegistryError::NotAuthorised { path: path.to_owned() })),
        Err(error @ zk::Error::BadArguments(_)) => {
            Ok(Err(Operation::new("get", path).failed(error)))
        }
        Err(error) => Err(error),
    }
}

pub(super) fn node(data: Vec<u8>, stat: Stat) -> Node {
    Node {
        data,
        created_zxid: stat.czxid,
        modified_zxid: stat.mzxid,
        ephemeral_owner: stat.ephemeral_owner,
        version: stat.version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chunks_keep_order_and_limits(lengths in prop::collection::vec(0_usize..40_000, 0..1_500)) {
            let paths: Vec<String> = lengths.iter().map(|length| "x".repeat(*length)).collect();
            let chunks = chunks(&paths);
            prop_assert_eq!(&chunks.concat(), &paths);
            for chunk in chunks {
                prop_assert!((1..=CHUNK_NODES).contains(&chunk.len()));
                prop_assert!(chunk.iter().map(String::len).sum::<usize>() <= CHUNK_BYTES);
            }
        }
    }
}
