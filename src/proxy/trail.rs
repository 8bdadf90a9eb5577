//! What the access log says of how a backend was come by.

use std::sync::Arc;

use tokio::time::Instant;

use crate::lb::backend::Backend;
use crate::lb::queue::Ahead;

/// What a dialer has done, for the access log.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    /// Whom it tried last.
    pub(crate) server: Option<Arc<Backend>>,
    /// When that one was chosen, if that was not at once. haproxy counts the time before as waiting, the time after, with
    /// pauses between attempts, as connecting; and it chooses anew for its last attempt, be it the same one.
    pub(crate) chosen: Option<Instant>,
    /// Attempts after the first.
    pub(crate) retries: u32,
    /// Another was tried than the first.
    pub(crate) redispatched: bool,
    /// Who was served before it in queues, as `%sq/%bq`.
    pub(crate) ahead: Ahead,
    /// It waits in a queue, or did when it ended.
    pub(crate) is_queued: bool,
}

impl Trail {
    /// Empties it.
    pub(crate) fn clear(&mut self) {
        let Self { server, chosen, retries, redispatched, ahead, is_queued } = self;
        *server = None;
        (*chosen, *retries, *redispatched, *ahead, *is_queued) = Default::default();
    }

    /// So many were served before it in one more queue.
    pub(super) fn add(&mut self, ahead: Ahead) {
        self.ahead.server = self.ahead.server.saturating_add(ahead.server);
        self.ahead.backend = self.ahead.backend.saturating_add(ahead.backend);
    }
}
