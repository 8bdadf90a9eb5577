//! What all checkers of the process share: how probes are made, and how many may be under way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::{CheckSettings, Probe, ProbeError, ProbePass};
use crate::dial::Address;

/// Probes under way at once in the whole process. 256 descriptors; with `inter 2s` and answers in 10 ms enough for
/// 50,000 targets.
pub const DEFAULT_PROBE_LIMIT: usize = 256;

/// What the probe's own bounds leave to the checker's: the probe names the stage that was too slow, this only ends those
/// that do not bound themselves.
const GRACE: Duration = Duration::from_millis(100);

/// Longest tick on which checks are aligned.
const MAX_TICK: Duration = Duration::from_millis(250);

/// Makes the probe that settings ask for.
pub type ProbeFactory = Arc<dyn Fn(&CheckSettings) -> Arc<dyn Probe> + Send + Sync>;

/// Makes probes and bounds those under way. One for the process; cheap to clone.
#[derive(Clone)]
pub struct CheckRunner {
    limit: Arc<Semaphore>,
    factory: ProbeFactory,
    epoch: Instant,
}

impl CheckRunner {
    /// Real probes, at most `limit` at once (at least 1).
    pub fn new(limit: usize) -> Self {
        Self::with_probes(limit, Arc::new(super::build))
    }

    /// Probes of the caller's making.
    pub fn with_probes(limit: usize, factory: ProbeFactory) -> Self {
        Self {
            limit: Arc::new(Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS))),
            factory,
            epoch: Instant::now(),
        }
    }

    /// The first common tick at or after `at`. Ten thousand checks a minute that are due one by one cost as many wake-ups
    /// of the process; on common ticks they cost four a second. A tick is 1/64 of `interval`, 250 ms at most, so that no
    /// interval is off by more than 2 %.
    pub fn align(&self, at: Instant, interval: Duration) -> Instant {
        let tick = (interval / 64).min(MAX_TICK).max(Duration::from_millis(1)).as_nanos();
        let offset = at.saturating_duration_since(self.epoch).as_nanos();
        let missing = (tick - offset % tick) % tick;
        at + Duration::from_nanos(u64::try_from(missing).unwrap_or(0))
    }

    pub(super) fn build(&self, settings: &CheckSettings) -> Arc<dyn Probe> {
        (self.factory)(settings)
    }

    /// One probe, bounded by `deadline` once it has its permit.
    pub(super) fn attempt(
        &self,
        probe: &Arc<dyn Probe>,
        target: Address,
        deadline: Duration,
    ) -> impl Future<Output = Attempt> + Send + 'static {
        attempt(Arc::clone(probe), target, deadline + GRACE, Arc::clone(&self.limit))
    }
}

impl Default for CheckRunner {
    fn default() -> Self {
        Self::new(DEFAULT_PROBE_LIMIT)
    }
}

impl fmt::Debug for CheckRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckRunner").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// What a probe task brings back.
pub(super) type Attempt = (Result<ProbePass, ProbeError>, Duration);

/// One probe with its permit and its deadline. Waiting for the permit is not the target's fault and not counted.
async fn attempt(
    probe: Arc<dyn Probe>,
    target: Address,
    deadline: Duration,
    limit: Arc<Semaphore>,
) -> Attempt {
    // The semaphore is never closed; were it, probing unbounded is better than not at all.
    let _permit = limit.acquire_owned().await.ok();
    let start = Instant::now();
    let result = match timeout(deadline, probe.probe(target)).await {
        Ok(result) => result,
        Err(_) => Err(ProbeError {
            code: "L7TOUT",
            status: None,
            detail: format!("no result within {deadline:?}"),
            info: String::new(),
        }),
    };
    (result, start.elapsed())
}
