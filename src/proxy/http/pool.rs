//! Idle connections to backends, per worker: last in, first out, bounded, and never kept for a backend that has gone.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::upstream::{Key, Upstream};

/// How long an unused connection is kept: below the 5 s after which common servers (Node, gunicorn, Apache) close
/// theirs, so that a request rarely meets a connection that is just being closed.
pub const IDLE: Duration = Duration::from_secs(4);

/// Idle connections kept per backend and worker; more are closed. haproxy's `pool-max-conn` has no default limit;
/// without one a burst would pin descriptors for [`IDLE`].
pub const MAX_IDLE: usize = 128;

/// Idle connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    #[expect(
        clippy::vec_box,
        reason = "moved between task and pool: a pointer instead of a kilobyte"
    )]
    idle: HashMap<Key, Vec<Box<Upstream>>>,
}

impl Pool {
    /// The connection used last, if one still works.
    pub(crate) fn take(&mut self, key: Key) -> Option<Box<Upstream>> {
        let idle = self.idle.get_mut(&key)?;
        while let Some(upstream) = idle.pop() {
            if upstream.idle_since.elapsed() >= IDLE {
                // Those below are older still.
                idle.clear();
                return None;
            }
            if upstream.is_usable() {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection that has finished an exchange.
    pub(crate) fn put(&mut self, mut upstream: Box<Upstream>) {
        let idle = self.idle.entry(upstream.key).or_default();
        if idle.len() < MAX_IDLE {
            upstream.idle_since = Instant::now();
            idle.push(upstream);
        }
    }

    /// Closes what is too old, closed by its peer, or belongs to a backend that has gone.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.idle.retain(|_, idle| {
            idle.retain(|upstream| {
                now.saturating_duration_since(upstream.idle_since) < IDLE
                    && upstream.backend.strong_count() > 0
                    && upstream.is_usable()
            });
            !idle.is_empty()
        });
    }
}
