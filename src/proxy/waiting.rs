//! Waiting in the queue of a service, for those that found all backends full.

use std::sync::Arc;

use tokio::time::Instant;

use super::connect::Dialer;
use super::error::ProxyError;
use super::leaving::gone;
use super::trail::Trail;
use crate::lb::lease::Lease;
use crate::lb::queue::Place;

impl Dialer<'_> {
    /// Waits in the queue for a backend.
    ///
    /// # Errors
    /// See [`Dialer::acquire`].
    pub(crate) async fn wait(&mut self) -> Result<Lease, ProxyError> {
        let place = self.service.pool.line_up(self.context())?;
        let mut queued = Queued { place, trail: &mut self.trail };
        queued.trail.server = None;
        queued.trail.is_queued = true;
        let left = async {
            match self.client {
                Some(client) => gone(client).await,
                None => std::future::pending().await,
            }
        };
        let work = async {
            tokio::select! {
                biased;
                served = &mut queued.place => Some(served),
                () = left => None,
            }
        };
        let timeouts = &self.settings.timeouts;
        let end = self.timer.within(timeouts.queue.or(timeouts.connect), work).await;
        let (lease, ahead) = match end {
            Some(Some(served)) => served,
            Some(None) => return Err(ProxyError::ClientAbort),
            None => return Err(ProxyError::QueueTimeout),
        };
        queued.trail.add(ahead);
        queued.trail.is_queued = false;
        queued.trail.chosen = Some(Instant::now());
        drop(queued);
        if self.settings.access_log.is_some() {
            self.trail.server = Some(Arc::clone(lease.backend()));
        }
        Ok(lease)
    }
}

/// A place in a queue that notes where it stood, also when nobody waits for it any longer.
struct Queued<'a> {
    place: Place,
    trail: &'a mut Trail,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let ahead = self.place.leave();
        self.trail.add(ahead);
        if self.trail.is_queued {
            self.trail.chosen = Some(Instant::now());
        }
    }
}
