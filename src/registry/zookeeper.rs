//! Registry over zookeeper-client.
//!
//! [`ZooKeeperRegistry::start`] makes one thread per ensemble (`zk-1`, `zk-2`, …) with a runtime of its own; relay,
//! client and supervisor live there. Callers on other threads get a plain future: the work runs as a task on the registry
//! thread, so a panic in the client crate (a lying server can cause one) becomes an error of this call. A dropped future
//! aborts its task; a dropped watch is removed at the server.
//!
//! Invariants: only `write` writes; watches are one-shot; every call ends within 6 s per request, whatever
//! the ensemble does.

mod call;
mod read;
mod write;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::error;
use zookeeper_client::Client;

use self::call::{AsyncWork, Operation, shield, unavailable, with_client};
use super::credentials::Credentials;
use super::relay::ensemble::{Ensemble, EnsembleError};
pub use super::session::SessionSettings;
use super::session::{Shared, Supervisor};
use super::{Node, NodeRead, Registry, RegistryError, Session, Watched};
use crate::health::BoxFuture;

/// Makes an error of one of reading.
type Wrap<E> = fn(RegistryError) -> E;

/// What callers hear while the thread ends.
const STOPPING: &str = "the registry is stopping";

/// Why a registry cannot be started. Everything else is a state of the session.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The connect string.
    #[error(transparent)]
    Ensemble(#[from] EnsembleError),
    /// The system gives no thread or no descriptors.
    #[error("registry thread for {ensemble}")]
    Thread {
        /// The connect string.
        ensemble: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// One ensemble: a thread, a session and its successors. Usable from every thread and runtime.
///
/// Dropped, or when the token given to [`start`](Self::start) is cancelled, the session is closed at the server and the
/// thread ends, within about a second.
pub struct ZooKeeperRegistry {
    ensemble: Arc<str>,
    runtime: Handle,
    shared: Arc<Shared>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl fmt::Debug for ZooKeeperRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZooKeeperRegistry")
            .field("ensemble", &self.ensemble)
            .field("session", &*self.shared.session().borrow())
            .finish_non_exhaustive()
    }
}

impl ZooKeeperRegistry {
    /// Starts the ensemble's thread and returns at once; the session comes up by itself and is never given up.
    ///
    /// `ensemble` is a connect string, `host:port,host:port/chroot`. Watch [`Registry::session`] for the state.
    ///
    /// # Errors
    /// When the connect string cannot be parsed, or the system gives no thread. An unreachable ensemble is no error.
    pub fn start(
        ensemble: &str,
        settings: SessionSettings,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, StartError> {
        static THREADS: AtomicUsize = AtomicUsize::new(1);
        let parsed: Ensemble = ensemble.parse()?;
        let no_thread = |source| StartError::Thread { ensemble: ensemble.into(), source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(no_thread)?;
        // A token of our own, so that dropping the registry ends the thread without touching the caller's token.
        let stop = stop.child_token();
        let registry = Arc::new(Self {
            ensemble: Arc::clone(parsed.text()),
            runtime: runtime.handle().clone(),
            shared: Arc::new(Shared::new(settings.heir.clone())),
            stop: stop.clone(),
            ended: CancellationToken::new(),
        });
        let supervisor = Arc::new(Supervisor {
            ensemble: parsed,
            settings,
            shared: Arc::clone(&registry.shared),
            stop,
        });
        let ended = registry.ended.clone().drop_guard();
        let number = THREADS.fetch_add(1, Ordering::Relaxed);
        std::thread::Builder::new()
            .name(format!("zk-{number}"))
            .spawn(move || {
                runtime.block_on(supervisor.run());
                // Not `drop`: that would wait for a name server that does not answer.
                runtime.shutdown_background();
                drop(ended);
            })
            .map_err(no_thread)?;
        Ok(registry)
    }

    /// The connect string, as given.
    pub fn ensemble(&self) -> &str {
        &self.ensemble
    }

    /// Asks the thread to end: the session is closed at the server. Waits for nothing, see [`closed`](Self::closed).
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Asks the thread to end and to leave the session at the server as it is: it and its ephemeral nodes live on for the
    /// session's timeout, for whoever has its [`credentials`](Self::credentials). What is under way ends with an unknown
    /// outcome. Waits for nothing; the session is free for the next process when [`closed`](Self::closed) completes.
    pub fn detach(&self) {
        self.shared.detach();
        self.stop.cancel();
    }

    /// What it takes to go on with the current session elsewhere. `None` while there is none: before the first one, and
    /// from the moment on in which a server says that the last one expired. Kept after the end.
    pub fn credentials(&self) -> watch::Receiver<Option<Credentials>> {
        self.shared.key().granted()
    }

    /// Completes when the thread has ended, after a stop: the session is closed, or the attempt took too long (1 s).
    pub async fn closed(&self) {
        self.ended.cancelled().await;
    }

    /// Runs `work` with the current client on the registry thread.
    async fn call<T, W>(&self, what: Operation, work: W) -> Result<T, RegistryError>
    where
        T: Send + 'static,
        W: AsyncWork<T>,
    {
        let ensemble = Arc::clone(&self.ensemble);
        let shared = Arc::clone(&self.shared);
        let stop = self.stop.clone();
        let context = what.clone();
        let task = async move {
            let call = with_client(&shared, &ensemble, &context, work);
            tokio::select! {
                result = call => result,
                () = stop.cancelled() => Err(unavailable(&ensemble, STOPPING)),
            }
        };
        self.on_thread(&what, task, (|panic| panic, |ended| ended)).await
    }

    /// Runs `task` on the registry thread. The two functions make errors of a panic in the client crate, and of a thread
    /// that has ended before.
    async fn on_thread<T, E>(
        &self,
        what: &Operation,
        task: impl Future<Output = Result<T, E>> + Send + 'static,
        (panicked, ended): (Wrap<E>, Wrap<E>),
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        match AbortOnDropHandle::new(self.runtime.spawn(task)).await {
            Ok(result) => result,
            Err(join) if join.is_panic() => {
                error!(operation = what.name, path = %what.path, "the client crate panicked");
                self.shared.suspect_client();
                Err(panicked(what.failed("the server's answer made the client crate panic")))
            }
            Err(_) => Err(ended(unavailable(&self.ensemble, "the registry thread has ended"))),
        }
    }
}

impl Drop for ZooKeeperRegistry {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Registry for ZooKeeperRegistry {
    fn watch_children<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Watched<Option<Vec<String>>>, RegistryError>> {
        let what = Operation::new("list", path);
        let path = what.path.clone();
        let shared = Arc::clone(&self.shared);
        Box::pin(self.call(what, move |client: Client| async move {
            let (value, watcher) = read::children(&client, &path).await?;
            let changed = shield(watcher, shared);
            Ok(Watched { value, changed })
        }))
    }

    fn watch_data<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Watched<Option<Node>>, RegistryError>> {
        let what = Operation::new("get", path);
        let path = what.path.clone();
        let shared = Arc::clone(&self.shared);
        Box::pin(self.call(what, move |client: Client| async move {
            let (value, watcher) = read::data(&client, &path).await?;
            let changed = shield(watcher, shared);
            Ok(Watched { value, changed })
        }))
    }

    fn read_many<'a>(
        &'a self,
        paths: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<NodeRead>, RegistryError>> {
        Box::pin(async move {
            let mut nodes = Vec::with_capacity(paths.len());
            for chunk in read::chunks(paths) {
                let first = chunk.first().map_or("", String::as_str);
                let what = Operation::new("get", first);
                let chunk = chunk.to_vec();
                let shared = Arc::clone(&self.shared);
                let work =
                    move |client: Client| async move { read::many(&client, &chunk, &shared).await };
                nodes.extend(self.call(what, work).await?);
            }
            Ok(nodes)
        })
    }

    fn session(&self) -> watch::Receiver<Session> {
        self.shared.session()
    }
}
