//! A registry whose writes are told to statsd: what became of them, and how long they took.
//!
//! Each is an event of the original's: a write that is acknowledged or fails. One that somebody else's write came before
//! is neither: the next look says what is to be done then.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::endpoint::ServiceName;
use crate::health::BoxFuture;
use crate::registry::writer::{Created, NodeKind, RegistryWriter, WriteError};
use crate::registry::{Node, NodeRead, Registry, RegistryError, Session, Watched};
use crate::telemetry::statsd::nerve as statsd;

/// The registry as one service writes to it.
#[derive(Debug)]
pub(super) struct Told {
    registry: Arc<dyn RegistryWriter>,
    ensemble: Arc<str>,
    /// `zk_path`.
    path: Arc<str>,
    service: ServiceName,
}

impl Told {
    /// `service` is registered under `path` of `ensemble`.
    pub(super) fn new(
        registry: Arc<dyn RegistryWriter>,
        (ensemble, path): (&Arc<str>, &Arc<str>),
        service: &ServiceName,
    ) -> Self {
        let (ensemble, path) = (Arc::clone(ensemble), Arc::clone(path));
        Self { registry, ensemble, path, service: service.clone() }
    }

    fn report<T>(&self, written: &Result<T, WriteError>) {
        let is_acknowledged = match written {
            Ok(_) => true,
            Err(
                WriteError::Exists { .. } | WriteError::Missing { .. } | WriteError::Changed { .. },
            ) => return,
            Err(
                WriteError::TooLarge { .. }
                | WriteError::NotSent(_)
                | WriteError::Unknown(_)
                | WriteError::Refused(_),
            ) => false,
        };
        statsd::report(is_acknowledged, self.service.as_str());
    }
}

impl Registry for Told {
    fn watch_children<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Watched<Option<Vec<String>>>, RegistryError>> {
        self.registry.watch_children(path)
    }

    fn watch_data<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Watched<Option<Node>>, RegistryError>> {
        self.registry.watch_data(path)
    }

    fn read_many<'a>(
        &'a self,
        paths: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<NodeRead>, RegistryError>> {
        self.registry.read_many(paths)
    }

    fn session(&self) -> watch::Receiver<Session> {
        self.registry.session()
    }
}

impl RegistryWriter for Told {
    fn create<'a>(
        &'a self,
        path: &'a str,
        data: &'a [u8],
        kind: NodeKind,
    ) -> BoxFuture<'a, Result<Created, WriteError>> {
        Box::pin(async move {
            let begun = Instant::now();
            let created = self.registry.create(path, data, kind).await;
            if created.is_ok() {
                statsd::create_took(&self.ensemble, &self.path, begun.elapsed());
            }
            self.report(&created);
            created
        })
    }

    /// Part of a creation in the original's eyes.
    fn make_path<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), WriteError>> {
        self.registry.make_path(path)
    }

    fn set_data<'a>(
        &'a self,
        path: &'a str,
        data: &'a [u8],
        version: Option<i32>,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(async move {
            let begun = Instant::now();
            let written = self.registry.set_data(path, data, version).await;
            if written.is_ok() {
                statsd::save_took(&self.ensemble, begun.elapsed());
            }
            self.report(&written);
            written
        })
    }

    fn delete<'a>(
        &'a self,
        path: &'a str,
        version: Option<i32>,
    ) -> BoxFuture<'a, Result<bool, WriteError>> {
        Box::pin(async move {
            let begun = Instant::now();
            let deleted = self.registry.delete(path, version).await;
            if deleted.is_ok() {
                statsd::delete_took(&self.ensemble, begun.elapsed());
            }
            self.report(&deleted);
            deleted
        })
    }

    /// A creation.
    fn replace<'a>(
        &'a self,
        path: &'a str,
        version: i32,
        data: &'a [u8],
        kind: NodeKind,
    ) -> BoxFuture<'a, Result<Created, WriteError>> {
        Box::pin(async move {
            let begun = Instant::now();
            let replaced = self.registry.replace(path, version, data, kind).await;
            if replaced.is_ok() {
                statsd::create_took(&self.ensemble, &self.path, begun.elapsed());
            }
            self.report(&replaced);
            replaced
        })
    }

    fn children<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, RegistryError>> {
        self.registry.children(path)
    }

    fn own_ephemerals(&self) -> BoxFuture<'_, Result<Option<Vec<String>>, RegistryError>> {
        self.registry.own_ephemerals()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::memory::MemoryRegistry;
    use crate::telemetry::statsd::testing::Agent;

    #[tokio::test(start_paused = true)]
    async fn every_write_is_told_with_its_end_and_its_time() {
        let agent = Agent::install(&[]);
        let told = Told::new(
            Arc::new(MemoryRegistry::default()),
            (&"zk1.ex.com:2181".into(), &"/s".into()),
            &ServiceName::new("web"),
        );
        told.make_path("/s").await.unwrap();
        let made = told.create("/s/i_", b"1", NodeKind::EphemeralSequential).await.unwrap();
        told.set_data(&made.path, b"2", Some(7)).await.unwrap_err();
        told.set_data(&made.path, b"2", None).await.unwrap();
        told.delete(&made.path, None).await.unwrap();
        let success =
            "nerve.watcher.status.report.count:1|c|#report_result:success,service_name:web";
        assert_eq!(
            agent.events::<6>(),
            [
                "nerve.reporter.zk.create.elapsed_time:0|ms|#zk_cluster:zk,zk_path:/s",
                success,
                "nerve.reporter.zk.save.elapsed_time:0|ms|#zk_cluster:zk",
                success,
                "nerve.reporter.zk.delete.elapsed_time:0|ms|#zk_cluster:zk",
                success,
            ]
        );
    }
}
