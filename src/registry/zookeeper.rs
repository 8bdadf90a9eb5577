//! Registry over zookeeper-client.
//!
//! [`ZooKeeperRegistry::start`] makes one thread per ensemble (`zk-1`, `zk-2`, …) with a runtime of its own; relay,
//! client and supervisor live there. Callers on other threads get a plain future: the work runs as a task on the registry
//! thread, so a panic in the client crate (a lying server can cause one) becomes an error of this call. A dropped future
//! aborts its task; a dropped watch is removed at the server.
//!
//! Invariants: nothing here writes; watches are one-shot; every call ends within [`SESSION_WAIT`] + [`READ_TIMEOUT`] per
//! request, whatever the ensemble does.

mod read;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, trace};
use zookeeper_client as zk;
use zookeeper_client::{Client, OneshotWatcher};

use super::relay::ensemble::{Ensemble, EnsembleError};
pub use super::session::SessionSettings;
use super::session::{Shared, Supervisor};
use super::{Node, Registry, RegistryError, Session, Watched};
use crate::health::BoxFuture;

/// How long a call waits for a session before it says `Unavailable`. Covers a reconnect (milliseconds) and a leader
/// election (half a second); a longer outage is the caller's to wait out, on the session's state.
const SESSION_WAIT: Duration = Duration::from_secs(1);

/// Bound on one request of a connected session. 50,000 names take 73 ms; a server that needs 5 s hangs, and the client
/// itself would notice only at 0.4 of the session timeout.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

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
        let no_thread = |source| StartError::Thread {
            ensemble: ensemble.into(),
            source,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(no_thread)?;
        // A token of our own, so that dropping the registry ends the thread without touching the caller's token.
        let stop = stop.child_token();
        let registry = Arc::new(Self {
            ensemble: Arc::clone(parsed.text()),
            runtime: runtime.handle().clone(),
            shared: Arc::new(Shared::new()),
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
        let task = self.runtime.spawn(async move {
            let call = with_client(&shared, &ensemble, &context, work);
            tokio::select! {
                result = call => result,
                () = stop.cancelled() => Err(unavailable(&ensemble, "the registry is stopping")),
            }
        });
        match AbortOnDropHandle::new(task).await {
            Ok(result) => result,
            Err(join) if join.is_panic() => {
                error!(operation = what.name, path = %what.path, "the client crate panicked");
                self.shared.suspect_client();
                Err(what.failed("the server's answer made the client crate panic"))
            }
            Err(_) => Err(unavailable(&self.ensemble, "the registry thread has ended")),
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
    ) -> BoxFuture<'a, Result<Vec<Option<Node>>, RegistryError>> {
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

/// What is being done to which node, for error texts.
#[derive(Clone, Debug)]
struct Operation {
    name: &'static str,
    path: String,
}

impl Operation {
    fn new(name: &'static str, path: &str) -> Self {
        Self {
            name,
            path: path.into(),
        }
    }

    fn failed(&self, detail: impl fmt::Display) -> RegistryError {
        RegistryError::Failed {
            operation: self.name,
            path: self.path.clone(),
            detail: detail.to_string(),
        }
    }
}

/// A read with a client, as a task.
trait AsyncWork<T>: Send + 'static {
    fn start(self, client: Client) -> impl Future<Output = Result<T, zk::Error>> + Send;
}

impl<T, F, R> AsyncWork<T> for F
where
    F: FnOnce(Client) -> R + Send + 'static,
    R: Future<Output = Result<T, zk::Error>> + Send,
{
    fn start(self, client: Client) -> impl Future<Output = Result<T, zk::Error>> + Send {
        self(client)
    }
}

/// Waits for a session, works, and translates the outcome; both waits are bounded.
async fn with_client<T>(
    shared: &Shared,
    ensemble: &Arc<str>,
    what: &Operation,
    work: impl AsyncWork<T>,
) -> Result<T, RegistryError> {
    let mut clients = shared.client();
    let client = match timeout(SESSION_WAIT, clients.wait_for(Option::is_some)).await {
        Ok(Ok(client)) => client.clone(),
        Ok(Err(_)) | Err(_) => None,
    };
    let Some(client) = client else {
        return Err(unavailable(ensemble, &no_session(shared)));
    };
    match timeout(READ_TIMEOUT, work.start(client)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            if matches!(error, zk::Error::UnexpectedError(_)) {
                shared.suspect_client();
            }
            Err(translate(error, ensemble, what))
        }
        Err(_) => Err(unavailable(
            ensemble,
            &format!("no answer within {} s", READ_TIMEOUT.as_secs()),
        )),
    }
}

/// The state of the session with the last trouble, as text.
fn no_session(shared: &Shared) -> String {
    let session = shared.session().borrow().clone();
    let state = format!("{:?}", session.state).to_lowercase();
    match session.last_error {
        Some(trouble) => format!("{state} ({trouble})"),
        None => state,
    }
}

fn unavailable(ensemble: &Arc<str>, detail: &str) -> RegistryError {
    RegistryError::Unavailable {
        ensemble: Arc::clone(ensemble),
        detail: detail.into(),
    }
}

fn translate(error: zk::Error, ensemble: &Arc<str>, what: &Operation) -> RegistryError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the crate's enum is open")]
    match error {
        zk::Error::NoAuth => RegistryError::NotAuthorised {
            path: what.path.clone(),
        },
        // The connection or the session went away under the request; reading again is safe and right.
        zk::Error::ConnectionLoss
        | zk::Error::Timeout
        | zk::Error::SessionExpired
        | zk::Error::SessionMoved
        | zk::Error::ClientClosed
        | zk::Error::AuthFailed
        | zk::Error::Throttled
        | zk::Error::UnexpectedError(_)
        | zk::Error::Custom(_) => unavailable(ensemble, &error.to_string()),
        other => what.failed(other),
    }
}

/// The crate's watch as a future that cannot panic and completes also when the session, its task or the thread ends.
fn shield(watcher: OneshotWatcher, shared: Arc<Shared>) -> BoxFuture<'static, ()> {
    let (fired, fires) = oneshot::channel();
    tokio::spawn(async move {
        let mut fired = fired;
        tokio::select! {
            // Nobody waits any more: dropping the watcher removes the watch at the server.
            () = fired.closed() => {}
            event = watcher.changed() => {
                trace!(?event, "watch fired");
                if fired.send(()).is_err() {
                    trace!("nobody waits for it any more");
                }
            }
        }
    });
    Box::pin(async move {
        // The task ended without a word: it panicked in the crate (the session's task died), or the thread is gone.
        if fires.await.is_err() {
            shared.suspect_client();
        }
    })
}
