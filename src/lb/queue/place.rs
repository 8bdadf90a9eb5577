//! What a waiter holds.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Queue;
use super::line::{Ahead, Lines, Served};
use crate::lb::backend::Backend;
use crate::lb::lease::Lease;

/// A place in a queue: a future of a lease. Dropping it leaves the queue.
#[derive(Debug)]
pub struct Place {
    pub(super) queue: Arc<Queue>,
    pub(super) arrival: u64,
    /// Whose line it came to; it may have been moved to that of the service.
    pub(super) server: Option<Arc<Backend>>,
    pub(super) since: Instant,
    pub(super) slot: oneshot::Receiver<Served>,
    pub(super) is_over: bool,
}

impl Place {
    /// Leaves the queue, and who was served before. A slot that is on its way goes to the next.
    pub fn leave(&mut self) -> Ahead {
        if std::mem::replace(&mut self.is_over, true) {
            return Ahead::default();
        }
        self.count_wait();
        let removed = {
            let mut lines = self.queue.lock();
            self.remove(&mut lines)
        };
        if let Some(ahead) = removed {
            return ahead;
        }
        self.slot.close();
        match self.slot.try_recv() {
            // Its drop hands the slot on.
            Ok(Served { grant, ahead }) => {
                drop(Lease::from(grant));
                ahead
            }
            Err(_) => Ahead::default(),
        }
    }

    fn remove(&self, lines: &mut Lines) -> Option<Ahead> {
        if let Some(server) = &self.server
            && let Some(line) = lines.bound.get_mut(&server.id)
            && let Some(waiter) = line.waiting.remove(&self.arrival)
        {
            self.queue.length.fetch_sub(1, Ordering::SeqCst);
            server.in_flight.queued.set(line);
            return Some(Ahead { server: line.turn(&waiter), backend: 0 });
        }
        let waiter = lines.common.waiting.remove(&self.arrival)?;
        self.queue.length.fetch_sub(1, Ordering::SeqCst);
        self.queue.common.set(&lines.common);
        Some(Ahead { server: 0, backend: lines.common.turn(&waiter) })
    }

    fn count_wait(&self) {
        let waited = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.queue.counts.waited_us.fetch_add(waited, Ordering::Relaxed);
    }
}

impl Future for Place {
    type Output = (Lease, Ahead);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_over {
            return Poll::Pending;
        }
        match ready!(Pin::new(&mut self.slot).poll(cx)) {
            Ok(Served { grant, ahead }) => {
                self.is_over = true;
                self.count_wait();
                self.queue.counts.served.fetch_add(1, Ordering::Relaxed);
                Poll::Ready((Lease::from(grant), ahead))
            }
            // Nobody drops a sender but with its waiter's leave.
            Err(_) => Poll::Pending,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Where it stood interests nobody any more.
        let _ahead = self.leave();
    }
}
