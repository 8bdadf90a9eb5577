//! What happens when the pool's own code panics: the same inputs and the same handle, a new book.
//!
//! The snapshot stays in force until the new book is published. Backends come back with their counters, and those that
//! were down stay down. If the panic repeats the checker itself is suspected and replaced; it is retried with back-off, so
//! that one unlucky registration cannot burn the control thread.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::book::Book;
use super::{Dirty, Pool};
use crate::backoff::Backoff;
use crate::health::Health;
use crate::health::checker::{CheckId, Checker};
use crate::lb::balancer;
use crate::telemetry::cold;

/// First wait before a restart.
const RESTART_BASE: Duration = Duration::from_millis(50);

/// Longest wait before a restart: for so long changes may go unseen.
const RESTART_CAP: Duration = Duration::from_secs(5);

/// A run this long makes the next panic a first one.
const HEALTHY_RUN: Duration = Duration::from_secs(60);

impl Pool {
    /// Runs until `stop`, whatever panics. Sources that end leave their last word standing.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(RESTART_BASE, RESTART_CAP);
        let mut is_repeated = false;
        loop {
            let begun = Instant::now();
            let Err(panic) = caught(self.work(&stop)).await else {
                return;
            };
            cold::task_lost();
            let cause = text(&*panic);
            tracing::error!(service = %self.name, cause, "pool task panicked; its backends stay as they are until it is back");
            if begun.elapsed() >= HEALTHY_RUN {
                backoff.reset();
                is_repeated = false;
            }
            tokio::select! {
                () = sleep(backoff.next_delay()) => {}
                () = stop.cancelled() => return,
            }
            self.begin_anew(is_repeated);
            is_repeated = true;
        }
    }

    /// Trusts nothing that was derived; `published` stays, because it is replaced whole and is what "previous" means.
    fn begin_anew(&mut self, distrust_verdicts: bool) {
        let view = self.view.load_full();
        let former: Vec<_> = view.backends.iter().map(|b| Arc::clone(&b.backend)).collect();
        self.book = Book::after(self.workers, &self.queue, &former);
        self.balancer = balancer::build(&self.settings.strategy);
        self.picker_outdated = true;
        self.dirty = Dirty::Set;
        if distrust_verdicts {
            self.checker = Checker::new(self.inputs.checks.clone());
            let down = view.backends.iter().filter(|b| b.health == Health::Down);
            self.were_down = down.map(|b| b.backend.id).collect();
        } else {
            let known = |id: CheckId| former.iter().any(|backend| backend.id.0 == id.0);
            self.checker.retain(known);
        }
    }

    /// Tells a new checker who was down: the first failure takes a server down, and a probe follows at once.
    pub(super) fn recall_down(&mut self) {
        for id in std::mem::take(&mut self.were_down) {
            if let Some(report) = self.checker.refused(CheckId(id.0)) {
                self.take_report(report);
            }
        }
    }
}

/// Drives `work`; a panic ends it and is the error.
async fn caught(work: impl Future<Output = ()>) -> Result<(), Box<dyn Any + Send>> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// What the panic said.
fn text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text")
}
