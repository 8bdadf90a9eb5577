//! The reads themselves: what is asked of the client, in which order.

use tracing::warn;
use zookeeper_client as zk;
use zookeeper_client::{Client, MultiReadResult, OneshotWatcher, Stat};

use super::super::Node;
use super::super::session::Shared;

/// Nodes per request: the answer of 500 registrations of 250 B is 150 KB, read in about 2 ms.
const CHUNK_NODES: usize = 500;

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

/// Data of one chunk, in order. A node that is gone, unreadable or unspeakable is `None`; the others are unaffected.
pub(super) async fn many(
    client: &Client,
    paths: &[String],
    shared: &Shared,
) -> Result<Vec<Option<Node>>, zk::Error> {
    if !shared.lacks_multi_read() {
        match multi_read(client, paths, shared).await {
            Err(zk::Error::Unimplemented) => shared.note_no_multi_read(),
            result => return result,
        }
    }
    one_by_one(client, paths, shared).await
}

async fn multi_read(
    client: &Client,
    paths: &[String],
    shared: &Shared,
) -> Result<Vec<Option<Node>>, zk::Error> {
    let mut reader = client.new_multi_reader();
    let mut asked = Vec::with_capacity(paths.len());
    for path in paths {
        let added = reader.add_get_data(path);
        asked.push(added.is_ok());
        if let Err(error) = added {
            skip(path, error, shared)?;
        }
    }
    let mut results = reader.commit().await?.into_iter();
    let mut nodes = Vec::with_capacity(paths.len());
    for (path, asked) in paths.iter().zip(asked) {
        let node = match asked.then(|| results.next()) {
            None => None,
            Some(Some(MultiReadResult::Data { data, stat })) => Some(node(data, stat)),
            Some(Some(MultiReadResult::Error { err })) => skip(path, err, shared)?,
            // The crate's enum is open; too few answers are a server's lie.
            Some(_) => return Err(zk::Error::MarshallingError),
        };
        nodes.push(node);
    }
    Ok(nodes)
}

/// For servers before 3.6. The requests are queued as the futures are made, so this is one round trip, not hundreds.
async fn one_by_one(
    client: &Client,
    paths: &[String],
    shared: &Shared,
) -> Result<Vec<Option<Node>>, zk::Error> {
    let requests: Vec<_> = paths.iter().map(|path| client.get_data(path)).collect();
    let mut nodes = Vec::with_capacity(paths.len());
    for (path, request) in paths.iter().zip(requests) {
        nodes.push(match request.await {
            Ok((data, stat)) => Some(node(data, stat)),
            Err(error) => skip(path, error, shared)?,
        });
    }
    Ok(nodes)
}

/// Errors of one node skip that node, all others are errors of the request.
fn skip(path: &str, error: zk::Error, shared: &Shared) -> Result<Option<Node>, zk::Error> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the crate's enum is open")]
    match error {
        zk::Error::NoNode => Ok(None),
        zk::Error::NoAuth | zk::Error::BadArguments(_) => {
            if shared.is_new_skip(path) {
                warn!(%path, %error, "node skipped");
            }
            Ok(None)
        }
        error => Err(error),
    }
}

fn node(data: Vec<u8>, stat: Stat) -> Node {
    Node {
        data,
        created_zxid: stat.czxid,
        modified_zxid: stat.mzxid,
        ephemeral_owner: stat.ephemeral_owner,
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
