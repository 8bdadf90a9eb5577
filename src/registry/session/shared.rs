//! What the supervisor publishes and callers read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::info;
use zookeeper_client::Client;

use super::super::credentials::Credentials;
use super::super::relay::SessionKey;
use super::super::{Session, SessionState};

/// State of the session and the client that has it. One writer, the supervisor; many readers.
#[derive(Debug)]
pub(in super::super) struct Shared {
    /// Written by the supervisor only.
    session: watch::Sender<Session>,
    /// The usable client; `None` unless connected. Written by the supervisor only, cloned for one operation.
    client: watch::Sender<Option<Client>>,
    /// Somebody saw signs that the client's own task is gone.
    suspect: Notify,
    /// A server refused `multiRead` (older than 3.6); forgotten with each new client, as servers get upgraded.
    lacks_multi_read: AtomicBool,
    /// The session as the relay sees it.
    key: Arc<SessionKey>,
    /// The end is to leave the session as it is.
    is_detached: AtomicBool,
}

impl Shared {
    /// Goes on with the session of `heir`, if there is one.
    pub(in super::super) fn new(heir: Option<Credentials>) -> Self {
        Self {
            session: watch::Sender::new(Session {
                state: SessionState::Connecting,
                generation: 0,
                since: Instant::now(),
                id: None,
                negotiated_timeout: None,
                last_error: None,
            }),
            client: watch::Sender::new(None),
            suspect: Notify::new(),
            lacks_multi_read: AtomicBool::new(false),
            key: Arc::new(SessionKey::new(heir)),
            is_detached: AtomicBool::new(false),
        }
    }

    pub(in super::super) fn key(&self) -> &Arc<SessionKey> {
        &self.key
    }

    /// From now on a stop leaves the session alone.
    pub(in super::super) fn detach(&self) {
        self.is_detached.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_detached(&self) -> bool {
        self.is_detached.load(Ordering::Relaxed)
    }

    pub(in super::super) fn session(&self) -> watch::Receiver<Session> {
        self.session.subscribe()
    }

    pub(in super::super) fn client(&self) -> watch::Receiver<Option<Client>> {
        self.client.subscribe()
    }

    /// The current client may be dead: the supervisor looks, and replaces it if so.
    pub(in super::super) fn suspect_client(&self) {
        self.suspect.notify_one();
    }

    pub(in super::super) fn lacks_multi_read(&self) -> bool {
        self.lacks_multi_read.load(Ordering::Relaxed)
    }

    pub(in super::super) fn note_no_multi_read(&self) {
        if !self.lacks_multi_read.swap(true, Ordering::Relaxed) {
            info!("the server is older than ZooKeeper 3.6: nodes are read one by one");
        }
    }

    /// Enters a state without a usable client.
    pub(super) fn enter(&self, state: SessionState) {
        self.client.send_replace(None);
        self.session.send_if_modified(|session| {
            let changed = session.state != state;
            if changed {
                session.state = state;
                session.since = Instant::now();
            }
            changed
        });
    }

    /// The client is usable. A session id not seen before starts a generation. The id is the one that the server granted
    /// to this connection: one that hands out another session than asked for is not noticed by the crate.
    pub(super) fn enter_connected(&self, client: &Client) {
        let granted = self.key.granted().borrow().as_ref().map(|granted| granted.id);
        let id = granted.unwrap_or_else(|| client.session_id().0);
        self.session.send_modify(|session| {
            if session.state != SessionState::Connected {
                session.state = SessionState::Connected;
                session.since = Instant::now();
            }
            if session.id != Some(id) {
                session.id = Some(id);
                session.generation += 1;
            }
            session.negotiated_timeout = Some(client.session_timeout());
        });
        self.client.send_replace(Some(client.clone()));
    }

    /// The current client may be dead.
    pub(super) async fn suspected(&self) {
        self.suspect.notified().await;
    }

    /// Whether there is a usable client now.
    pub(super) fn is_connected(&self) -> bool {
        self.client.borrow().is_some()
    }

    /// A new client has taken over: what was learnt about its predecessor's server is forgotten.
    pub(super) fn forget_server(&self) {
        self.lacks_multi_read.store(false, Ordering::Relaxed);
    }

    /// The last trouble, for people.
    pub(super) fn note(&self, trouble: &Arc<str>) {
        self.session.send_if_modified(|session| {
            let changed = session.last_error.as_ref() != Some(trouble);
            if changed {
                session.last_error = Some(Arc::clone(trouble));
            }
            changed
        });
    }
}
