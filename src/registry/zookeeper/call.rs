//! One call: waits for a session, reads, translates the outcome. And the watch that outlives the call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::trace;
use zookeeper_client as zk;
use zookeeper_client::{Client, OneshotWatcher};

use super::super::RegistryError;
use super::super::session::Shared;
use crate::health::BoxFuture;

/// How long a call waits for a session before it says `Unavailable`. Covers a reconnect (milliseconds) and a leader
/// election (half a second); a longer outage is the caller's to wait out, on the session's state.
const SESSION_WAIT: Duration = Duration::from_secs(1);

/// Bound on one request of a connected session. 50,000 names take 73 ms; a server that needs 5 s hangs, and the client
/// itself would notice only at 0.4 of the session timeout.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// What is being done to which node, for error texts.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// `list`, `get`.
    pub(super) name: &'static str,
    /// The node, or the first of many.
    pub(super) path: String,
}

impl Operation {
    pub(super) fn new(name: &'static str, path: &str) -> Self {
        Self { name, path: path.into() }
    }

    pub(super) fn failed(&self, detail: impl fmt::Display) -> RegistryError {
        RegistryError::Failed {
            operation: self.name,
            path: self.path.clone(),
            detail: detail.to_string(),
        }
    }
}

/// A read with a client, as a task.
pub(super) trait AsyncWork<T>: Send + 'static {
    /// Starts reading.
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
pub(super) async fn with_client<T>(
    shared: &Shared,
    ensemble: &Arc<str>,
    what: &Operation,
    work: impl AsyncWork<T>,
) -> Result<T, RegistryError> {
    let client = client(shared, ensemble).await?;
    match timeout(READ_TIMEOUT, work.start(client)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            if matches!(error, zk::Error::UnexpectedError(_)) {
                shared.suspect_client();
            }
            Err(translate(error, ensemble, what))
        }
        Err(_) => Err(no_answer(ensemble)),
    }
}

/// The client, once there is a session.
pub(super) async fn client(shared: &Shared, ensemble: &Arc<str>) -> Result<Client, RegistryError> {
    let mut clients = shared.client();
    let client = match timeout(SESSION_WAIT, clients.wait_for(Option::is_some)).await {
        Ok(Ok(client)) => client.clone(),
        Ok(Err(_)) | Err(_) => None,
    };
    client.ok_or_else(|| unavailable(ensemble, &no_session(shared)))
}

/// Nothing came within [`READ_TIMEOUT`].
pub(super) fn no_answer(ensemble: &Arc<str>) -> RegistryError {
    unavailable(ensemble, &format!("no answer within {} s", READ_TIMEOUT.as_secs()))
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

pub(super) fn unavailable(ensemble: &Arc<str>, detail: &str) -> RegistryError {
    RegistryError::Unavailable { ensemble: Arc::clone(ensemble), detail: detail.into() }
}

pub(super) fn translate(error: zk::Error, ensemble: &Arc<str>, what: &Operation) -> RegistryError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the crate's enum is open")]
    match error {
        zk::Error::NoAuth => RegistryError::NotAuthorised { path: what.path.clone() },
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
pub(super) fn shield(watcher: OneshotWatcher, shared: Arc<Shared>) -> BoxFuture<'static, ()> {
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
