//! A service's checks, a pass at a time.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::window::Window;
use super::{LocalCheck, LocalCheckSettings, ProbeResult, probe};
use crate::health::runner::DEFAULT_PROBE_LIMIT;
use crate::health::tcp::failure;
use crate::health::{BoxFuture, SOCKET_ERROR};

/// Stands for deadlines beyond what the clock can count: a year.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Asks what a check asks, once, until the instant given. [`super::probe`] in production; tests script it.
pub type Prober =
    Arc<dyn Fn(Arc<LocalCheck>, Instant) -> BoxFuture<'static, ProbeResult> + Send + Sync>;

/// Bounds the probes under way. One for the process; cheap to clone.
#[derive(Clone)]
pub struct LocalRunner {
    limit: Arc<Semaphore>,
    prober: Prober,
}

impl LocalRunner {
    /// Real probes, at most `limit` at once (at least 1).
    pub fn new(limit: usize) -> Self {
        Self::with_prober(
            limit,
            Arc::new(|check, deadline| Box::pin(async move { probe(&check, deadline).await })),
        )
    }

    /// Probes of the caller's making.
    pub fn with_prober(limit: usize, prober: Prober) -> Self {
        Self { limit: Arc::new(Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS))), prober }
    }

    /// One probe, ended by its deadline; how long it took. Waiting for the permit is not the service's fault and not
    /// counted.
    async fn attempt(&self, check: &Arc<LocalCheck>) -> (ProbeResult, Duration) {
        // The semaphore is never closed; were it, probing unbounded is better than not at all.
        let _permit = self.limit.acquire().await.ok();
        let start = Instant::now();
        let deadline = start.checked_add(check.deadline).unwrap_or_else(|| start + FOREVER);
        // A probe looks at its deadline itself and says which stage was too slow; this ends those that do not.
        let probing = survive((self.prober)(Arc::clone(check), deadline));
        let result = timeout_at(deadline, probing).await.unwrap_or_else(|_| {
            Err(failure("L7TOUT", format!("no result within {:?}", check.deadline)))
        });
        (result, start.elapsed())
    }
}

impl Default for LocalRunner {
    /// [`DEFAULT_PROBE_LIMIT`] at once: the descriptors of 256 checks.
    fn default() -> Self {
        Self::new(DEFAULT_PROBE_LIMIT)
    }
}

impl fmt::Debug for LocalRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalRunner").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// A panic is a failed probe, as every exception is in the original. Here and not in a task of its own, so that whoever
/// drops the pass ends the probe then and there.
async fn survive(mut probing: BoxFuture<'static, ProbeResult>) -> ProbeResult {
    std::future::poll_fn(move |cx| {
        let poll = catch_unwind(AssertUnwindSafe(|| probing.as_mut().poll(cx)));
        poll.unwrap_or_else(|_| Err(failure("PROCERR", "the probe panicked".to_owned())).into())
    })
    .await
}

/// The checks of one service and their verdicts. Belongs to one task.
#[derive(Debug)]
pub struct ServiceChecks {
    runner: LocalRunner,
    is_mocked: bool,
    checks: Vec<Check>,
}

#[derive(Debug)]
struct Check {
    settings: Arc<LocalCheck>,
    window: Window,
    last: Option<CheckResult>,
}

/// What a pass brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The verdict on the service. `None` while there is no evidence: the first check without a verdict could not be
    /// tried for a reason of our own ([`SOCKET_ERROR`]).
    pub is_up: Option<bool>,
    /// The checks that ran, in order; empty for a service without checks and for a mocked one.
    pub results: Vec<CheckResult>,
}

/// What one check brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// Its name.
    pub name: Arc<str>,
    /// Its verdict after this result; `None` as in [`Pass::is_up`].
    pub is_up: Option<bool>,
    /// What came out.
    pub result: ProbeResult,
    /// How long the probe took.
    pub took: Duration,
    /// When it ended.
    pub at: SystemTime,
}

impl ServiceChecks {
    /// Nothing checked yet.
    pub fn new(settings: &LocalCheckSettings, runner: &LocalRunner) -> Self {
        let check = |check: &LocalCheck| Check {
            settings: Arc::new(check.clone()),
            window: Window::new(check.rise, check.fall),
            last: None,
        };
        Self {
            runner: runner.clone(),
            is_mocked: settings.is_mocked,
            checks: settings.checks.iter().map(check).collect(),
        }
    }

    /// Goes through the checks in order up to the first whose verdict is down (later ones freeze). Takes at most the sum
    /// of their deadlines, plus the wait for permits when very many probes are under way.
    ///
    /// Dropping the future ends the probe under way at once (its connection, or the process group of an `exec`) without a
    /// result; those of the checks before it stay counted.
    pub async fn pass(&mut self) -> Pass {
        let mut results: Vec<CheckResult> = Vec::new();
        if self.is_mocked {
            return Pass { is_up: Some(true), results };
        }
        for check in &mut self.checks {
            let (result, took) = self.runner.attempt(&check.settings).await;
            let result = check.record(result, took);
            let goes_on = result.is_up == Some(true);
            results.push(result);
            if !goes_on {
                break;
            }
        }
        Pass { is_up: results.last().map_or(Some(true), |last| last.is_up), results }
    }

    /// Every check in order: its name, and its last result with the verdict then, if it has ever run.
    pub fn checks(&self) -> impl Iterator<Item = (&Arc<str>, Option<&CheckResult>)> {
        self.checks.iter().map(|check| (&check.settings.name, check.last.as_ref()))
    }
}

impl Check {
    fn record(&mut self, result: ProbeResult, took: Duration) -> CheckResult {
        match &result {
            Ok(_) => {
                self.window.record(true);
            }
            // The original counts every exception. Our own lack of descriptors says nothing about the service, and would
            // deregister all services of the host at once.
            Err(error) if error.code == SOCKET_ERROR => {}
            Err(_) => {
                self.window.record(false);
            }
        }
        let result = CheckResult {
            name: Arc::clone(&self.settings.name),
            is_up: self.window.is_up(),
            result,
            took,
            at: SystemTime::now(),
        };
        self.last = Some(result.clone());
        result
    }
}

#[cfg(test)]
mod tests;
