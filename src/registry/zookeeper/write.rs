//! The writes: what is asked of the client, and which of its answers mean "done", "refused" and "unknown".
//!
//! The client queues a request in the moment in which it is made, and sends in that order; a server executes the
//! requests of one session in the order in which it got them. After a reconnect to another member a *read* may be answered
//! by a member that lags behind a write of ours; [`children`] therefore lets the member catch up first (`sync`).

use std::sync::Arc;

use tokio::time::timeout;
use tracing::info;
use zookeeper_client as zk;
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions, MultiWriteResult};

use super::super::RegistryError;
use super::super::writer::{Created, NodeKind, RegistryWriter, WriteError, within_bounds};
use super::call::{AsyncWork, Operation, READ_TIMEOUT, client, no_answer, translate, unavailable};
use super::read::node;
use super::{STOPPING, ZooKeeperRegistry};
use crate::health::BoxFuture;

impl ZooKeeperRegistry {
    /// Runs `work` with the current client on the registry thread. A write whose future is dropped may still be done.
    async fn write<T, W>(&self, what: Operation, work: W) -> Result<T, WriteError>
    where
        T: Send + 'static,
        W: AsyncWork<T>,
    {
        let ensemble = Arc::clone(&self.ensemble);
        let shared = Arc::clone(&self.shared);
        let stop = self.stop.clone();
        let context = what.clone();
        let task = async move {
            let client = client(&shared, &ensemble).await.map_err(WriteError::NotSent)?;
            let answer = tokio::select! {
                answer = timeout(READ_TIMEOUT, work.start(client)) => answer,
                () = stop.cancelled() => {
                    return Err(WriteError::Unknown(unavailable(&ensemble, STOPPING)));
                }
            };
            match answer {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(error)) => {
                    if matches!(error, zk::Error::UnexpectedError(_)) {
                        shared.suspect_client();
                    }
                    Err(refusal(error, &ensemble, &context))
                }
                Err(_) => Err(WriteError::Unknown(no_answer(&ensemble))),
            }
        };
        self.on_thread(&what, task, (WriteError::Unknown, WriteError::NotSent)).await
    }
}

impl RegistryWriter for ZooKeeperRegistry {
    fn create<'a>(
        &'a self,
        path: &'a str,
        data: &'a [u8],
        kind: NodeKind,
    ) -> BoxFuture<'a, Result<Created, WriteError>> {
        Box::pin(async move {
            within_bounds(data)?;
            let (target, bytes) = (path.to_owned(), data.to_vec());
            let work =
                move |client: Client| async move { create(&client, &target, bytes, kind).await };
            self.write(Operation::new("create", path), work).await
        })
    }

    fn make_path<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), WriteError>> {
        let target = path.to_owned();
        let work = move |client: Client| async move { make_path(&client, &target).await };
        Box::pin(self.write(Operation::new("create", path), work))
    }

    fn set_data<'a>(
        &'a self,
        path: &'a str,
        data: &'a [u8],
        version: Option<i32>,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(async move {
            within_bounds(data)?;
            let (target, bytes) = (path.to_owned(), data.to_vec());
            let work = move |client: Client| async move {
                client.set_data(&target, &bytes, version).await.map(|_| ())
            };
            self.write(Operation::new("set", path), work).await
        })
    }

    fn delete<'a>(
        &'a self,
        path: &'a str,
        version: Option<i32>,
    ) -> BoxFuture<'a, Result<bool, WriteError>> {
        let target = path.to_owned();
        let work = move |client: Client| async move {
            match client.delete(&target, version).await {
                Ok(()) => Ok(true),
                Err(zk::Error::NoNode) => Ok(false),
                Err(error) => Err(error),
            }
        };
        Box::pin(self.write(Operation::new("delete", path), work))
    }

    fn replace<'a>(
        &'a self,
        path: &'a str,
        version: i32,
        data: &'a [u8],
        kind: NodeKind,
    ) -> BoxFuture<'a, Result<Created, WriteError>> {
        Box::pin(async move {
            within_bounds(data)?;
            let (target, bytes) = (path.to_owned(), data.to_vec());
            let work = move |client: Client| async move {
                replace(&client, &target, version, (bytes, kind)).await
            };
            self.write(Operation::new("replace", path), work).await
        })
    }

    fn children<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, RegistryError>> {
        let what = Operation::new("list", path);
        let path = what.path.clone();
        Box::pin(
            self.call(what, move |client: Client| async move { children(&client, &path).await }),
        )
    }

    fn own_ephemerals(&self) -> BoxFuture<'_, Result<Option<Vec<String>>, RegistryError>> {
        let what = Operation::new("list", "/");
        Box::pin(self.call(what, move |client: Client| async move {
            match client.list_ephemerals("/").await {
                Ok(paths) => Ok(Some(paths)),
                Err(zk::Error::Unimplemented) => Ok(None),
                Err(error) => Err(error),
            }
        }))
    }
}

/// Anybody may do anything, as nerve's nodes are.
fn options(kind: NodeKind) -> CreateOptions<'static> {
    let mode = match kind {
        NodeKind::EphemeralSequential => CreateMode::EphemeralSequential,
        NodeKind::Ephemeral => CreateMode::Ephemeral,
        NodeKind::PersistentSequential => CreateMode::PersistentSequential,
        NodeKind::Persistent => CreateMode::Persistent,
    };
    mode.with_acls(Acls::anyone_all())
}

async fn create(
    client: &Client,
    path: &str,
    data: Vec<u8>,
    kind: NodeKind,
) -> Result<Created, zk::Error> {
    let (stat, sequence) = client.create(path, &data, &options(kind)).await?;
    let path = if kind.is_sequential() { format!("{path}{sequence}") } else { path.to_owned() };
    Ok(Created { path, node: node(data, stat) })
}

/// Level by level, so that no write touches what exists.
async fn make_path(client: &Client, path: &str) -> Result<(), zk::Error> {
    match make_levels(client, path).await {
        // Not even the first level can be made: the chroot is missing.
        Err(zk::Error::NoNode) => {}
        ended => return ended,
    }
    let chroot = client.path().to_owned();
    let Ok(whole) = client.clone().chroot("/") else {
        return Err(zk::Error::NoNode);
    };
    make_levels(&whole, &chroot).await?;
    info!(%chroot, "the chroot did not exist: made");
    make_levels(client, path).await
}

async fn make_levels(client: &Client, path: &str) -> Result<(), zk::Error> {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    let levels = ends.filter_map(|end| path.get(..end)).filter(|level| level.len() > 1);
    for level in levels {
        match client.create(level, b"", &options(NodeKind::Persistent)).await {
            Ok(_) | Err(zk::Error::NodeExists) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn replace(
    client: &Client,
    path: &str,
    version: i32,
    (data, kind): (Vec<u8>, NodeKind),
) -> Result<Created, zk::Error> {
    let mut writer = client.new_multi_writer();
    writer.add_delete(path, Some(version))?;
    writer.add_create(path, &data, &options(kind))?;
    let results = writer.commit().await.map_err(zk::Error::from)?;
    let made = |result| {
        if let MultiWriteResult::Create { stat, .. } = result { Some(stat) } else { None }
    };
    let stat = results.into_iter().find_map(made).filter(|stat| !stat.is_invalid());
    let node = match stat {
        Some(stat) => node(data, stat),
        // Some servers leave the stat out (ZOOKEEPER-4026, -4667).
        None => {
            let (data, stat) = client.get_data(path).await.map_err(|error| {
                zk::Error::UnexpectedError(format!("replaced, but then: {error}"))
            })?;
            node(data, stat)
        }
    };
    Ok(Created { path: path.to_owned(), node })
}

/// Both requests are under way at once; the list is read behind the `sync`.
async fn children(client: &Client, path: &str) -> Result<Option<Vec<String>>, zk::Error> {
    let synced = client.sync(path);
    let listed = client.list_children(path);
    synced.await?;
    match listed.await {
        Ok(names) => Ok(Some(names)),
        Err(zk::Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

fn refusal(error: zk::Error, ensemble: &Arc<str>, what: &Operation) -> WriteError {
    let path = || what.path.clone();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the crate's enum is open")]
    match error {
        zk::Error::NodeExists => WriteError::Exists { path: path() },
        zk::Error::NoNode => WriteError::Missing { path: path() },
        zk::Error::BadVersion => WriteError::Changed { path: path() },
        // A request that the server did not look at.
        zk::Error::NotReadOnly | zk::Error::Throttled => {
            WriteError::NotSent(unavailable(ensemble, &error.to_string()))
        }
        // The session ended or the connection broke under the request; it may have been executed before.
        zk::Error::ConnectionLoss
        | zk::Error::Timeout
        | zk::Error::SessionExpired
        | zk::Error::SessionMoved
        | zk::Error::ClientClosed
        | zk::Error::AuthFailed
        | zk::Error::UnexpectedError(_)
        | zk::Error::UnmarshalError { .. }
        | zk::Error::Custom(_) => WriteError::Unknown(translate(error, ensemble, what)),
        other => WriteError::Refused(translate(other, ensemble, what)),
    }
}

#[cfg(test)]
mod tests;
