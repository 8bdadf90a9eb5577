//! A target that does not work: when to try it again, and one line in the process log per outage.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// First wait after a failure.
const FIRST: Duration = Duration::from_millis(100);

/// Longest wait: what a target that came back costs in lines.
const LONGEST: Duration = Duration::from_secs(5);

/// Whether a target works.
#[derive(Debug)]
pub(super) struct Outage {
    /// Lines lost in this one; `None`: there is none.
    lost: Option<u64>,
    backoff: Backoff,
    again: Option<Instant>,
}

impl Outage {
    pub(super) fn none() -> Self {
        Self { lost: None, backoff: Backoff::new(FIRST, LONGEST), again: None }
    }

    /// True while it is too early to try again.
    pub(super) fn is_waiting(&self) -> bool {
        self.again.is_some_and(|again| Instant::now() < again)
    }

    /// A failure: nothing is tried for a while.
    pub(super) fn begin(&mut self, target: &dyn Display, error: &dyn Display) {
        self.again = Some(Instant::now() + self.backoff.next_delay());
        self.told(target, error);
    }

    /// The next line is tried at once.
    pub(super) fn be_impatient(&mut self) {
        self.backoff.reset();
        self.again = None;
    }

    /// A failure that says nothing about the next try.
    pub(super) fn told(&mut self, target: &dyn Display, error: &dyn Display) {
        if self.lost.is_none() {
            self.lost = Some(0);
            tracing::warn!(%target, %error, "access log: lines are lost until it works again");
        }
    }

    pub(super) fn lose(&mut self, lines: usize) {
        self.lost = self.lost.map(|lost| lost.saturating_add(lines as u64));
    }

    /// It worked.
    pub(super) fn end(&mut self, target: &dyn Display) {
        if let Some(lost) = self.lost.take() {
            tracing::info!(%target, lost, "access log: works again");
            self.backoff.reset();
            self.again = None;
        }
    }
}
