//! The directory: sessions, watches and nodes of ZooKeeper, and an in-memory twin for tests and the demo.
//!
//! Nothing outside this module names the client crate. Each ensemble has one session on a *registry thread* of its own,
//! so that a misbehaving ensemble (or client) can freeze neither control nor data plane. Watches are one-shot and
//! re-armed: persistent watches are silently lost on reconnect by the client crate (its defect A).

pub mod credentials;
pub mod memory;
pub mod path;
pub mod record;
pub mod relay;
pub mod session;
pub mod writer;
pub mod zookeeper;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::health::BoxFuture;

/// The directory as readers use it. ZooKeeper in production, memory in tests and in the demo.
pub trait Registry: Debug + Send + Sync {
    /// Names of the children of `path`, and a watch that fires on the next change of that list. `None` = the path does
    /// not exist; the watch then fires when it appears.
    fn watch_children<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Watched<Option<Vec<String>>>, RegistryError>>;

    /// Data of `path`, and a watch that fires on its next change, creation or deletion.
    fn watch_data<'a>(
        &'a self,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Watched<Option<Node>>, RegistryError>>;

    /// Data of many nodes in few requests, in the order asked. A node that must not be read costs its own place only;
    /// the outer error is one of the session.
    fn read_many<'a>(
        &'a self,
        paths: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<NodeRead>, RegistryError>>;

    /// State of the session, for status and metrics.
    fn session(&self) -> watch::Receiver<Session>;
}

/// What became of one node of many: `None` = it is gone; an error ([`RegistryError::NotAuthorised`] or
/// [`RegistryError::Failed`]) names it and says nothing about the others.
pub type NodeRead = Result<Option<Node>, RegistryError>;

/// A value and the promise to tell when it is outdated.
pub struct Watched<T> {
    /// What was read when the watch was set.
    pub value: T,
    /// Completes once, when the value changed *or* the session ended (read again either way).
    pub changed: BoxFuture<'static, ()>,
}

impl<T: Debug> Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("value", &self.value).finish_non_exhaustive()
    }
}

/// A node's data and the parts of its stat that we use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The bytes.
    pub data: Vec<u8>,
    /// zxid of the creation; the newest registration of an identity wins.
    pub created_zxid: i64,
    /// zxid of the last change of the data.
    pub modified_zxid: i64,
    /// Session that owns an ephemeral node, else 0.
    pub ephemeral_owner: i64,
    /// How often the data were changed.
    pub version: i32,
}

/// State of the session with an ensemble.
#[derive(Clone, Debug)]
pub struct Session {
    /// Connected, or why not.
    pub state: SessionState,
    /// Counts sessions: a new value means that watches and ephemerals of the former are gone.
    pub generation: u64,
    /// When `state` was entered.
    pub since: Instant,
    /// Session id, once there is one.
    pub id: Option<i64>,
    /// The timeout that the server granted.
    pub negotiated_timeout: Option<Duration>,
    /// The last trouble, one line with the member's address: "zk1:2181: connection refused".
    pub last_error: Option<Arc<str>>,
}

/// Connected, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// No session yet.
    Connecting,
    /// Usable.
    Connected,
    /// The connection is lost, the session may survive.
    Disconnected,
    /// The session is over; a new one is being opened.
    Expired,
    /// The ensemble refuses our credentials.
    AuthFailed,
}

/// Why an operation did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// No usable session now; retry when the session's state changes.
    #[error("no session with {ensemble}: {detail}")]
    Unavailable {
        /// The connect string.
        ensemble: Arc<str>,
        /// What is wrong.
        detail: String,
    },
    /// The ACL forbids it: retry slowly.
    #[error("not authorised to read {path}")]
    NotAuthorised {
        /// The node.
        path: String,
    },
    /// Anything else, with the client's text.
    #[error("{operation} {path}: {detail}")]
    Failed {
        /// `list`, `get`, …
        operation: &'static str,
        /// The node.
        path: String,
        /// The cause.
        detail: String,
    },
}
