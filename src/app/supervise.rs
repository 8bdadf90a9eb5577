//! Long-lived tasks are watched: one that panics or ends when it should not is named, counted and started again.
//!
//! Never the process silently half-dead. The restart waits with back-off, so a task that dies at once cannot burn the
//! control thread; a clean run of a minute forgets earlier failures.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::Backoff;
use crate::telemetry::cold;

/// First wait before a restart.
const RESTART_BASE: Duration = Duration::from_millis(50);

/// Longest wait before a restart: a service is never without its task for longer.
const RESTART_CAP: Duration = Duration::from_secs(5);

/// A run this long counts as healthy.
const HEALTHY_RUN: Duration = Duration::from_secs(60);

/// Runs what `start` makes until `stop`, again and again if need be.
///
/// `kind` and `name` say in the log which one it was: `discovery`, `search`.
pub fn supervise<F>(
    tasks: &TaskTracker,
    (kind, name): (&'static str, String),
    stop: CancellationToken,
    mut start: impl FnMut() -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    tasks.spawn(async move {
        let mut backoff = Backoff::new(RESTART_BASE, RESTART_CAP);
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let end = tokio::spawn(start()).await;
            if stop.is_cancelled() {
                return;
            }
            cold::task_lost();
            let cause = end
                .err()
                .map_or_else(|| "it returned".to_owned(), |error| error.to_string());
            tracing::error!(
                task = kind,
                name,
                cause,
                "task ended unexpectedly; restarting it"
            );
            if begun.elapsed() >= HEALTHY_RUN {
                backoff.reset();
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_delay()) => {}
                () = stop.cancelled() => return,
            }
        }
    });
}
