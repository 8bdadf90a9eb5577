//! Sessions: opened, cut, given up, ended, healed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::super::{Session, SessionState};
use super::reads::Reads;
use super::tree::{State, View};
use super::{MemoryRegistry, Shared};

impl MemoryRegistry {
    /// A session of its own on the same tree, connected: another process, as it were.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::open(Arc::clone(&self.shared.ensemble), Arc::clone(&self.shared.state))
    }

    pub(super) fn open(ensemble: Arc<str>, state: Arc<Mutex<State>>) -> Self {
        let (id, view) = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let id = state.next_session();
            let view = state.views.last_key_value().map_or(0, |(last, _)| last + 1);
            state.views.insert(view, View::default());
            (id, view)
        };
        let session = Session {
            state: SessionState::Connected,
            generation: 1,
            since: Instant::now(),
            id: Some(id),
            negotiated_timeout: Some(Duration::from_secs(30)),
            last_error: None,
        };
        Self {
            shared: Arc::new(Shared {
                ensemble,
                state,
                view,
                session: watch::Sender::new(session),
                reads: Reads::default(),
                faults: Mutex::default(),
            }),
        }
    }

    /// The connection breaks: reads fail, watches are held back, the session survives.
    pub fn cut(&self) {
        self.lock().view(self.shared.view).cut = true;
        self.enter(SessionState::Disconnected, "connection cut");
    }

    /// The session ends: reads fail, all watches end, our ephemerals go. [`Self::heal`] opens the next session.
    pub fn expire(&self) {
        let owner = self.shared.session.borrow().id;
        let ended = {
            let mut state = self.lock();
            let fired = owner.map(|owner| state.delete_owned(owner));
            let view = state.view(self.shared.view);
            view.cut = true;
            (fired, view.end())
        };
        self.enter(SessionState::Expired, "session expired");
        drop(ended);
    }

    /// We believe that the session is over while the server still has it: its ephemerals stay until
    /// [`Self::end_session_of`]. [`Self::heal`] opens the next session.
    pub fn give_up(&self) {
        let ended = {
            let mut state = self.lock();
            let view = state.view(self.shared.view);
            view.cut = true;
            view.end()
        };
        self.enter(SessionState::Expired, "session expired");
        drop(ended);
    }

    /// The connection is back; after an expiry with a new session. Held back watches fire.
    pub fn heal(&self) {
        let late = {
            let mut state = self.lock();
            let next = self.shared.session.borrow().state == SessionState::Expired;
            let next = next.then(|| state.next_session());
            let view = state.view(self.shared.view);
            view.cut = false;
            (std::mem::take(&mut view.undelivered), next)
        };
        let (late, next) = late;
        self.shared.session.send_modify(|session| {
            if let Some(id) = next {
                session.generation += 1;
                session.id = Some(id);
            }
            session.state = SessionState::Connected;
            session.since = Instant::now();
            session.last_error = None;
        });
        drop(late);
    }

    fn enter(&self, new: SessionState, error: &str) {
        self.shared.session.send_modify(|session| {
            session.state = new;
            session.since = Instant::now();
            session.last_error = Some(Arc::from(error));
        });
    }
}
