//! When to probe: the checks of one owner on one timer queue.
//!
//! A [`Checker`] belongs to a task (the pool of a service) that polls [`Checker::next`] among its other inputs. A check
//! costs an entry in a queue, not a task; a task exists only while a probe is under way, and a semaphore shared by all
//! services ([`CheckRunner`]) bounds those. Each target has one probe under way at most; the next is due one interval after
//! the last has ended, so a slow target is never asked twice at once.
//!
//! Owner of the verdicts: nobody else calls [`RiseFall::record`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::rise_fall::{RiseFall, Verdict};
use super::runner::{Attempt, CheckRunner};
use super::{CheckSettings, Health, Probe, ProbeError, ProbePass, SOCKET_ERROR};
use crate::dial::Address;

/// Between two probes that were asked for out of turn, per target: evidence comes in at the rate of requests.
const MIN_FORCED_GAP: Duration = Duration::from_millis(250);

/// Identity of a check, chosen by the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(pub u64);

/// A check has ended, or evidence was taken.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// Whose.
    pub id: CheckId,
    /// What came out.
    pub result: Result<ProbePass, ProbeError>,
    /// How long the probe took; zero for evidence.
    pub took: Duration,
    /// When it ended.
    pub at: Instant,
    /// True when the verdict changed with it.
    pub changed: bool,
}

/// The schedule and verdicts of one owner's targets.
#[derive(Debug)]
pub struct Checker {
    runner: CheckRunner,
    checks: HashMap<CheckId, Check>,
    due: BTreeSet<(Instant, CheckId)>,
    running: JoinSet<Attempt>,
    /// Who a running task probes for; a panic leaves only the task's id.
    tasks: HashMap<Id, CheckId>,
}

/// One target.
#[derive(Debug)]
struct Check {
    target: Address,
    settings: Arc<CheckSettings>,
    probe: Arc<dyn Probe>,
    verdict: RiseFall,
    stage: Stage,
    /// When a probe was last started out of turn.
    forced: Option<Instant>,
}

/// Where a check is in its cycle.
#[derive(Debug)]
enum Stage {
    /// In the queue under this time.
    Waiting(Instant),
    /// Being probed.
    Probing(AbortHandle),
}

impl Checker {
    /// No checks yet.
    pub fn new(runner: CheckRunner) -> Self {
        Self {
            runner,
            checks: HashMap::new(),
            due: BTreeSet::new(),
            running: JoinSet::new(),
            tasks: HashMap::new(),
        }
    }

    /// Starts checking a target for the first time after `delay`, or changes how a known one is checked: then its
    /// verdict stays, and with other settings it is checked at the next moment.
    pub fn set(
        &mut self,
        id: CheckId,
        target: impl Into<Address>,
        settings: &Arc<CheckSettings>,
        delay: Duration,
    ) {
        let target = target.into();
        let now = Instant::now();
        let (verdict, first) = match self.checks.get(&id) {
            Some(known) if known.target == target && known.settings == *settings => return,
            Some(known) if known.settings == *settings => (known.verdict.clone(), now),
            Some(known) => (known.verdict.with_thresholds(settings), now),
            None => {
                let first = self.runner.align(now + delay, delay);
                (RiseFall::new(settings, now), first)
            }
        };
        self.remove(id);
        self.due.insert((first, id));
        self.checks.insert(
            id,
            Check {
                target,
                settings: Arc::clone(settings),
                probe: self.runner.build(settings),
                verdict,
                stage: Stage::Waiting(first),
                forced: None,
            },
        );
    }

    /// Puts an earlier verdict on a known target in the place of the one it began with. Its schedule stays.
    pub fn restore(&mut self, id: CheckId, verdict: &Verdict) {
        if let Some(check) = self.checks.get_mut(&id) {
            check.verdict = RiseFall::restored(&check.settings, verdict);
        }
    }

    /// Stops checking; a probe under way is cancelled.
    pub fn remove(&mut self, id: CheckId) {
        match self.checks.remove(&id).map(|check| check.stage) {
            Some(Stage::Waiting(at)) => {
                self.due.remove(&(at, id));
            }
            Some(Stage::Probing(task)) => {
                self.tasks.remove(&task.id());
                task.abort();
            }
            None => {}
        }
    }

    /// Stops checking all but those that `keep` accepts.
    pub fn retain(&mut self, keep: impl Fn(CheckId) -> bool) {
        let others: Vec<_> = self.checks.keys().copied().filter(|id| !keep(*id)).collect();
        for id in others {
            self.remove(id);
        }
    }

    /// The verdict on a target; `None` when it is not checked.
    pub fn verdict(&self, id: CheckId) -> Option<&RiseFall> {
        self.checks.get(&id).map(|check| &check.verdict)
    }

    /// Live traffic was refused by an up target: counts as a failed check, and a probe follows at once.
    pub fn refused(&mut self, id: CheckId) -> Option<CheckReport> {
        let now = Instant::now();
        let check = self.checks.get_mut(&id)?;
        if check.verdict.health() != Health::Up {
            return None;
        }
        let changed = check.verdict.record(false, now);
        self.probe_soon(id);
        Some(CheckReport {
            id,
            result: Err(ProbeError {
                code: "L4CON",
                status: None,
                detail: "connection refused (live traffic)".to_owned(),
                info: "Connection refused (live traffic)".to_owned(),
            }),
            took: Duration::ZERO,
            at: now,
            changed,
        })
    }

    /// Probes at once instead of in turn, at most every 250 ms per target.
    pub fn probe_soon(&mut self, id: CheckId) {
        let now = Instant::now();
        let Some(check) = self.checks.get_mut(&id) else {
            return;
        };
        let Stage::Waiting(at) = check.stage else {
            return;
        };
        let earliest = check.forced.map_or(now, |last| now.max(last + MIN_FORCED_GAP));
        if earliest >= at {
            return;
        }
        check.forced = Some(earliest);
        check.stage = Stage::Waiting(earliest);
        self.due.remove(&(at, id));
        self.due.insert((earliest, id));
    }

    /// Waits for the end of the next check; forever when there are none. Cancelling it loses nothing.
    pub async fn next(&mut self) -> CheckReport {
        loop {
            self.launch_due();
            let first = self.due.first().map(|(at, _)| *at);
            let joined = tokio::select! {
                Some(joined) = self.running.join_next_with_id() => joined,
                () = wait_for(first) => continue,
            };
            if let Some(report) = self.finish(joined) {
                return report;
            }
        }
    }

    /// A check that has already ended, if there is one.
    pub fn try_next(&mut self) -> Option<CheckReport> {
        while let Some(joined) = self.running.try_join_next_with_id() {
            if let Some(report) = self.finish(joined) {
                return Some(report);
            }
        }
        None
    }

    fn launch_due(&mut self) {
        let now = Instant::now();
        while let Some((at, id)) = self.due.first().copied()
            && at <= now
        {
            self.due.remove(&(at, id));
            let Some(check) = self.checks.get_mut(&id) else {
                continue;
            };
            let attempt =
                self.runner.attempt(&check.probe, check.target.clone(), check.settings.deadline());
            let task = self.running.spawn(attempt);
            self.tasks.insert(task.id(), id);
            check.stage = Stage::Probing(task);
        }
    }

    /// Takes the end of a probe task; `None` when it was cancelled because its check is gone.
    fn finish(&mut self, joined: Result<(Id, Attempt), JoinError>) -> Option<CheckReport> {
        let (task, (result, took)) = match joined {
            Ok((task, attempt)) => (task, attempt),
            Err(error) => (error.id(), (Err(died(&error)), Duration::ZERO)),
        };
        let id = self.tasks.remove(&task)?;
        let check = self.checks.get_mut(&id)?;
        let at = Instant::now();
        let changed = match &result {
            Ok(_) => check.verdict.record(true, at),
            // Our own lack of descriptors or ports says nothing about the target.
            Err(error) if error.code == SOCKET_ERROR => false,
            Err(_) => check.verdict.record(false, at),
        };
        let wait = spread(check.verdict.interval(&check.settings), check.settings.spread_percent);
        let next = self.runner.align(at + wait, wait);
        check.stage = Stage::Waiting(next);
        self.due.insert((next, id));
        Some(CheckReport { id, result, took, at, changed })
    }
}

/// The first delays of `count` targets that start together, as parts of their intervals: evenly, at a random phase, so
/// that the services of a host do not check in step.
pub fn stagger(count: usize) -> impl Iterator<Item = f64> {
    let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    let phase = fastrand::f64();
    (0..count).map(move |n| (f64::from(n) + phase) / f64::from(count))
}

async fn wait_for(first: Option<Instant>) {
    match first {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn died(error: &JoinError) -> ProbeError {
    ProbeError {
        code: "PROCERR",
        status: None,
        detail: if error.is_panic() { "the probe panicked" } else { "the probe was cancelled" }
            .to_owned(),
        info: String::new(),
    }
}

/// `spread-checks`: plus or minus up to `percent`, never zero (no busy loop).
fn spread(interval: Duration, percent: u8) -> Duration {
    let part = f64::from(percent.min(50)) / 100.0;
    let factor = 1.0 + part * (2.0 * fastrand::f64() - 1.0);
    interval.mul_f64(factor).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests;
