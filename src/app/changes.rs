//! Who may change what runs: one at a time, and nobody here while another process is about to take over.
//!
//! Invariant: whoever holds the [`Turn`] is the only one who changes services, or reads them as a whole. A hand-over holds it
//! from before the offer; it gives it back when it comes to nothing, and keeps it for ever otherwise. A reload that is wanted
//! stays wanted until somebody with the turn takes it: the fleet obeys, a process that was relieved passes it on.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::signal::ReloadSignal;
use crate::telemetry::access;

/// Changes that are wanted, and the right to carry them out.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// When the last reload ended.
    turn: Arc<Mutex<Option<Instant>>>,
    wanted: watch::Sender<bool>,
    closed: CancellationToken,
}

/// The right to change things, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    reloaded: OwnedMutexGuard<Option<Instant>>,
    wanted: watch::Sender<bool>,
}

impl Changes {
    /// The file shall be read again. Said several times before that is done, it counts as once.
    pub(crate) fn want_reload(&self) {
        self.wanted.send_replace(true);
    }

    /// Wants a reload at each signal. Log files do not wait for that: logrotate has moved them, whoever serves.
    pub(crate) async fn want_at(self: Arc<Self>, mut hangup: ReloadSignal) {
        loop {
            hangup.next().await;
            access::reopen().await;
            self.want_reload();
        }
    }

    /// This process stops: it obeys nothing more, whoever has the turn. What is wanted may still be passed on.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// See [`Changes::close`].
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Waits until a reload is wanted; [`Turn::take_reload`] takes it.
    pub(crate) async fn reload_wanted(&self) {
        let gone = self.wanted.subscribe().wait_for(|wanted| *wanted).await.is_err();
        debug_assert!(!gone, "we hold the sender");
    }

    /// The turn, if nobody has it.
    pub(crate) fn free_turn(&self) -> Option<Turn> {
        Arc::clone(&self.turn).try_lock_owned().ok().map(|reloaded| self.granted(reloaded))
    }

    /// The turn, when it is our turn.
    pub(crate) async fn turn(&self) -> Turn {
        self.granted(Arc::clone(&self.turn).lock_owned().await)
    }

    fn granted(&self, reloaded: OwnedMutexGuard<Option<Instant>>) -> Turn {
        Turn { reloaded, wanted: self.wanted.clone() }
    }
}

impl Turn {
    /// True once for a reload that is wanted.
    pub(crate) fn take_reload(&self) -> bool {
        self.wanted.send_replace(false)
    }

    /// A reload has ended.
    pub(crate) fn reload_ended(&mut self) {
        *self.reloaded = Some(Instant::now());
    }

    /// True when the file may have been read here later than at `then`.
    pub(crate) fn has_reloaded_since(&self, then: Instant) -> bool {
        self.reloaded.is_some_and(|reloaded| reloaded >= then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reload_stays_wanted_until_somebody_with_the_turn_takes_it() {
        let changes = Changes::default();
        let turn = changes.free_turn().unwrap();
        assert!(!turn.take_reload() && changes.free_turn().is_none());
        changes.want_reload();
        changes.want_reload();
        changes.reload_wanted().await;
        drop(turn);
        let turn = changes.turn().await;
        assert!(turn.take_reload() && !turn.take_reload(), "twice is once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_before_a_reload_ended_may_be_older() {
        let changes = Changes::default();
        let before = Instant::now();
        let mut turn = changes.turn().await;
        assert!(!turn.has_reloaded_since(before));
        turn.reload_ended();
        drop(turn);
        let turn = changes.turn().await;
        assert!(turn.has_reloaded_since(before));
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
        assert!(!turn.has_reloaded_since(Instant::now()));
    }
}
