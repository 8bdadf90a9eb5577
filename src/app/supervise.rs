//! Long-lived tasks are watched: one that panics or ends when it should not is named, counted and started again.
//!
//! Never the process silently half-dead. The restart waits with back-off, so a task that dies at once cannot burn the
//! control thread; a clean run of a minute forgets earlier failures.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::backoff::Backoff;
use crate::telemetry::cold;

/// First wait before a restart.
const RESTART_BASE: Duration = Duration::from_millis(50);

/// Longest wait before a restart: a service is never without its task for longer.
const RESTART_CAP: Duration = Duration::from_secs(5);

/// A run this long counts as healthy.
const HEALTHY_RUN: Duration = Duration::from_secs(60);

/// Runs what `start` makes until `stop`, again and again if need be. Aborting the handle ends the task with it.
///
/// `kind` and `name` say in the log which one it was: `discovery`, `search`.
pub fn supervise<F>(
    tasks: &TaskTracker,
    (kind, name): (&'static str, String),
    stop: CancellationToken,
    mut start: impl FnMut() -> F + Send + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tasks.spawn(async move {
        let mut backoff = Backoff::new(RESTART_BASE, RESTART_CAP);
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let end = AbortOnDropHandle::new(tokio::spawn(start())).await;
            if stop.is_cancelled() {
                return;
            }
            cold::task_restarts(kind).increment(1);
            let cause =
                end.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string());
            tracing::error!(task = kind, name, cause, "task ended unexpectedly; restarting it");
            if begun.elapsed() >= HEALTHY_RUN {
                backoff.reset();
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_delay()) => {}
                () = stop.cancelled() => return,
            }
        }
    })
}

/// Drives `work`; a panic ends it, and what the panic said is the error.
///
/// # Errors
/// The text of the panic.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Err(panic) => Poll::Ready(Err(text(&*panic))),
    })
    .await
}

fn text(panic: &(dyn Any + Send)) -> String {
    let owned = panic.downcast_ref::<String>().cloned();
    let fixed = || panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    owned.or_else(fixed).unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_or_returns_is_started_again_until_the_stop() {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let starts = Arc::new(AtomicU32::new(0));
        let (count, token) = (Arc::clone(&starts), stop.clone());
        let running = supervise(&tasks, ("test", "x".to_owned()), stop.clone(), move || {
            let run = count.fetch_add(1, Ordering::Relaxed);
            let token = token.clone();
            async move {
                match run {
                    0 => panic!("first"),
                    1 => {}
                    _ => token.cancelled().await,
                }
            }
        });
        while starts.load(Ordering::Relaxed) < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        running.await.unwrap();
        assert_eq!(starts.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_words() {
        let said = caught(async { panic!("no {}", "way") }).await;
        assert_eq!(said, Err::<(), _>("no way".to_owned()));
        assert_eq!(caught(async { 5 }).await, Ok(5));
    }
}
