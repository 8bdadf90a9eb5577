//! A connection's deadline: its entry on the thread's wheel, and ways to wait for it.
//!
//! One per connection, for whatever it waits for at the moment. Deadlines come up to a slot of the wheel and 2 ms late,
//! never early: [`Millis::after`] allows for the clock's rounding.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::local::Local;
use super::millis::Millis;
use super::wheel::{Entry, Group};

/// The connection's entry on the wheel.
#[derive(Debug)]
pub(crate) struct Timer {
    local: Rc<Local>,
    entry: Entry,
    /// Idle connections to backends are kept for this connection alone: they end with it, however it ends, because the next
    /// one gets the same entry.
    is_owner: Cell<bool>,
}

impl Timer {
    /// For the task that asks: the wheel wakes that one.
    pub(crate) async fn new(local: &Rc<Local>, group: Group) -> Self {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let entry = local.wheel.borrow_mut().add(waker, group);
        Self { local: Rc::clone(local), entry, is_owner: Cell::new(false) }
    }

    /// The thread's state.
    pub(crate) fn local(&self) -> &Local {
        &self.local
    }

    /// Its entry: no other connection of the thread has the same.
    pub(crate) fn entry(&self) -> Entry {
        self.entry
    }

    /// True when idle connections to backends are kept for its connection alone.
    pub(crate) fn is_owner(&self) -> bool {
        self.is_owner.get()
    }

    /// One is, from now on.
    pub(crate) fn own(&self) {
        self.is_owner.set(true);
    }

    /// Wakes the connection at `deadline`; true when that has come.
    pub(crate) fn expires(&self, deadline: Millis) -> bool {
        let mut wheel = self.local.wheel.borrow_mut();
        if wheel.has_fired(self.entry) && deadline <= self.local.clock.tick() {
            return true;
        }
        wheel.set(self.entry, deadline);
        false
    }

    /// What `work` comes to, or `None` after so long. It may use the timer itself only if `limit` is `None`.
    pub(crate) async fn within<F: Future>(
        &self,
        limit: Option<Duration>,
        work: F,
    ) -> Option<F::Output> {
        let deadline = limit.map(|limit| self.local.clock.tick().after(limit));
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            if deadline.is_some_and(|deadline| self.expires(deadline)) {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    /// Returns after so long.
    pub(crate) async fn sleep(&self, time: Duration) {
        // Nothing to do meanwhile.
        let _elapsed = self.within(Some(time), std::future::pending::<()>()).await;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if self.is_owner()
            && let Ok(mut upstreams) = self.local.upstreams.try_borrow_mut()
        {
            upstreams.forget(self.entry);
        }
        self.local.wheel.borrow_mut().remove(self.entry);
    }
}
