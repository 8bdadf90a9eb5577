//! When to read again: the first event at once, bursts together, retries without haste.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::registry::{RegistryError, Session, SessionState};

/// Longest time between two reads in a burst.
///
/// Counted from the *last read*, so a change that comes alone is never held back. A hundred registrations at once cost a
/// handful of lists instead of a hundred, and an event in a burst still reaches the pool within 50 ms.
const BURST: Duration = Duration::from_millis(40);

/// First and longest wait after a failed read. A second is what a service may stay stale after the registry heals
/// without telling.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(1);

/// Wait after "not authorised": somebody has to change an ACL first.
const RETRY_FORBIDDEN: Duration = Duration::from_secs(30);

/// Keeps reads of one path apart.
#[derive(Debug)]
pub(super) struct Pace {
    last_read: Option<Instant>,
    jitter: Duration,
}

impl Pace {
    /// `jitter` is `discovery_jitter`, 0 without.
    pub(super) fn new(jitter: Duration) -> Self {
        Self { last_read: None, jitter }
    }

    /// A read begins.
    pub(super) fn mark(&mut self) {
        self.last_read = Some(Instant::now());
    }

    /// Holds an event that has just arrived.
    pub(super) async fn rest(&self) {
        let hold = self.hold(fastrand::f64());
        // Even a sleep of zero would wait for the timer's next millisecond.
        if !hold.is_zero() {
            tokio::time::sleep(hold).await;
        }
    }

    /// How long to hold an event that arrives now; `random` in 0..1 spreads hosts.
    ///
    /// `discovery_jitter` is drawn anew each time: the original sleeps its full value everywhere, which moves the herd
    /// instead of spreading it.
    fn hold(&self, random: f64) -> Duration {
        let Some(last_read) = self.last_read else {
            return Duration::ZERO;
        };
        let since = last_read.elapsed();
        if since < self.jitter {
            return self.jitter.mul_f64(random);
        }
        BURST.mul_f64(random).saturating_sub(since)
    }
}

/// Waits between failed reads.
#[derive(Debug)]
pub(super) struct Retry {
    backoff: Backoff,
    session: watch::Receiver<Session>,
}

impl Retry {
    pub(super) fn new(session: watch::Receiver<Session>) -> Self {
        Self { backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST), session }
    }

    /// A read succeeded.
    pub(super) fn reset(&mut self) {
        self.backoff.reset();
    }

    /// Waits until it makes sense to try again: a while, or until the session is back.
    pub(super) async fn wait(&mut self, error: &RegistryError) {
        let delay = match error {
            RegistryError::NotAuthorised { .. } => {
                RETRY_FORBIDDEN.mul_f64(0.75 + fastrand::f64() / 2.0)
            }
            RegistryError::Unavailable { .. } | RegistryError::Failed { .. } => {
                self.backoff.next_delay()
            }
        };
        if is_connected(&self.session.borrow_and_update()) {
            // The session is fine, so its recovery is nothing to wait for.
            tokio::time::sleep(delay).await;
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = connected(&mut self.session) => {}
        }
    }
}

/// Completes at the next change after which the session is usable; never when the registry has gone.
pub(super) async fn reconnected(session: &mut watch::Receiver<Session>) {
    if session.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    connected(session).await;
}

async fn connected(session: &mut watch::Receiver<Session>) {
    if session.wait_for(is_connected).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn is_connected(session: &Session) -> bool {
    session.state == SessionState::Connected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lone_event_is_never_held_and_a_burst_at_most_40_ms() {
        let mut pace = Pace::new(Duration::ZERO);
        assert_eq!(pace.hold(0.99), Duration::ZERO);
        pace.mark();
        assert!(pace.hold(0.99) <= BURST);
        tokio::time::advance(Duration::from_millis(30)).await;
        assert!(pace.hold(0.99) <= Duration::from_millis(10));
        tokio::time::advance(BURST).await;
        assert_eq!(pace.hold(0.99), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn discovery_jitter_spreads_reads_that_follow_within_it() {
        let mut pace = Pace::new(Duration::from_secs(8));
        pace.mark();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(pace.hold(0.5), Duration::from_secs(4));
        assert_eq!(pace.hold(0.0), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(pace.hold(0.5), Duration::ZERO);
    }
}
