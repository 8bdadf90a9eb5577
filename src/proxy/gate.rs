//! Connection limits: who may enter, and how those at the door learn that somebody left.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

/// Counts open connections against a limit that may change between calls. Shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: AtomicU32,
    waiting: AtomicU32,
    left: Notify,
}

impl Gate {
    /// Counts one more unless `limit` are open. Whoever got true calls [`Gate::leave`] once.
    pub(crate) fn try_enter(&self, limit: Option<u32>) -> bool {
        let before = self.open.fetch_add(1, Ordering::SeqCst);
        if limit.is_some_and(|limit| before >= limit) {
            self.open.fetch_sub(1, Ordering::SeqCst);
            return false;
        }
        true
    }

    /// One less; wakes one who waits, and all of them when nobody is inside any more.
    pub(crate) fn leave(&self) {
        let before = self.open.fetch_sub(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        if before == 1 {
            self.left.notify_waiters();
        } else {
            self.left.notify_one();
        }
    }

    /// Returns when fewer than `limit` may be open. Not a promise: ask [`Gate::try_enter`] again.
    pub(crate) async fn wait_below(&self, limit: u32) {
        let _waiting = Waiting::new(&self.waiting);
        let left = self.left.notified();
        tokio::pin!(left);
        // Registered before the look, so that a leave in between is not missed.
        left.as_mut().enable();
        if self.open.load(Ordering::SeqCst) >= limit {
            left.await;
        }
    }

    /// Connections inside.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::SeqCst)
    }
}

/// Counts a waiter even when its future is dropped.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_leave_wakes_one_who_waits() {
        let gate = std::sync::Arc::new(Gate::default());
        assert!(gate.try_enter(Some(1)));
        assert!(!gate.try_enter(Some(1)));
        assert!(gate.try_enter(None));
        gate.leave();
        let waiter = {
            let gate = std::sync::Arc::clone(&gate);
            tokio::spawn(async move { gate.wait_below(1).await })
        };
        while gate.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        gate.leave();
        waiter.await.unwrap();
        assert!(gate.try_enter(Some(1)));
        assert_eq!(gate.open(), 1);
    }
}
