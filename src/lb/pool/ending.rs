//! Sessions that the pool ends: who is to be ended, when, and in which order it is said.

use std::sync::{Arc, Weak};

use tokio::time::{Instant, sleep_until};

use super::Pool;
use super::book::Moves;
use crate::lb::backend::Backend;
use crate::lb::ending::Reason;

/// Sessions to be ended.
#[derive(Debug, Default)]
pub(super) struct Endings {
    /// As soon as the snapshot without these is in force: else a session could begin after the mark.
    now: Vec<(Arc<Backend>, Reason)>,
    /// Removed; what is left of their sessions ends then.
    draining: Vec<(Instant, Weak<Backend>)>,
}

impl Endings {
    /// The sessions of `backend` end with the next publication.
    pub(super) fn end(&mut self, backend: &Arc<Backend>, reason: Reason) {
        self.now.push((Arc::clone(backend), reason));
    }

    /// Returns when the first drain is over.
    pub(super) async fn due(&self) {
        match self.draining.iter().map(|(at, _)| *at).min() {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

impl Pool {
    /// Follows a change of the set: who left is ended, now or later; who is back is not.
    pub(super) fn note_moves(&mut self, moves: &Moves) {
        let is_back = |backend: &Arc<Backend>| moves.joined.iter().any(|j| Arc::ptr_eq(j, backend));
        let draining = &mut self.endings.draining;
        draining.retain(|(_, weak)| weak.upgrade().is_some_and(|backend| !is_back(&backend)));
        let Some(grace) = self.settings.removal.grace() else {
            return;
        };
        for backend in &moves.left {
            if grace.is_zero() {
                self.endings.end(backend, Reason::Removed);
            } else {
                let at = Instant::now() + grace;
                self.endings.draining.push((at, Arc::downgrade(backend)));
            }
        }
    }

    /// Ends what is due. Call after publishing.
    pub(super) fn end_sessions(&mut self) {
        let now = Instant::now();
        let Endings { now: due, draining } = &mut self.endings;
        for (_, weak) in draining.extract_if(.., |(at, _)| *at <= now) {
            due.extend(weak.upgrade().map(|backend| (backend, Reason::Removed)));
        }
        if due.is_empty() {
            return;
        }
        for (backend, reason) in due.drain(..) {
            let sessions = backend.in_flight.get();
            if sessions > 0 {
                tracing::info!(service = %self.name, backend = %backend.server_name, sessions, ?reason, "sessions ended");
            }
            backend.ended.raise(reason);
        }
        self.ends.send_modify(|n| *n += 1);
    }
}
