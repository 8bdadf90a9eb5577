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
    }
}

/// `spread-checks`: plus or minus up to `percent`, never zero (no busy loop).
fn spread(interval: Duration, percent: u8) -> Duration {
    let part = f64::from(percent.min(50)) / 100.0;
    let factor = 1.0 + part * (2.0 * fastrand::f64() - 1.0);
    interval.mul_f64(factor).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::runner::DEFAULT_PROBE_LIMIT;
    use crate::health::testing::{Answer, Script, settings};
    use std::net::SocketAddr;

    use tokio::time::timeout;

    const ONE: CheckId = CheckId(1);

    fn target(n: u16) -> SocketAddr {
        ([127, 0, 0, 1], 1000 + n).into()
    }

    fn checker(script: &Script) -> Checker {
        Checker::new(script.runner(DEFAULT_PROBE_LIMIT))
    }

    fn millis(times: &[Duration]) -> Vec<u128> {
        times.iter().map(Duration::as_millis).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn probes_on_haproxys_schedule() {
        let (script, start) = (Script::default(), Instant::now());
        let mut checker = checker(&script);
        checker.set(ONE, target(1), &Arc::new(settings(3, 2)), Duration::from_millis(500));
        let mut texts = Vec::new();
        for answer in [true, true, false, false, false, true, true, true] {
            script.answer(target(1), if answer { Answer::Pass } else { Answer::Refuse });
            let report = checker.next().await;
            assert_eq!(report.result.is_ok(), answer);
            texts.push(checker.verdict(ONE).unwrap().to_string());
        }
        assert_eq!(texts, ["UP", "UP", "UP 1/2", "DOWN", "DOWN", "DOWN 1/3", "DOWN 2/3", "UP"]);
        // Each probe takes 1 ms; intervals are rounded up to ticks of 1/64.
        let asked = millis(&script.asked(target(1), start));
        let gaps: Vec<_> = asked.windows(2).map(|w| w[1] - w[0]).collect();
        for (gap, wanted) in gaps.iter().zip([1000, 1000, 200, 600, 600, 200, 200]) {
            assert!((wanted..wanted + wanted / 50 + 5).contains(gap), "{gaps:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_probe_fails_at_the_deadline() {
        let script = Script::default();
        script.answer(target(1), Answer::Hang);
        let mut checker = checker(&script);
        checker.set(ONE, target(1), &Arc::new(settings(2, 3)), Duration::ZERO);
        let report = checker.next().await;
        assert!(report.changed);
        assert_eq!(report.result.unwrap_err().code, "L7TOUT");
        assert!(report.took >= Duration::from_secs(1) && report.took < Duration::from_millis(1200));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panicking_probe_counts_as_failed_and_is_tried_again() {
        let script = Script::default();
        script.answer(target(1), Answer::Panic);
        let mut checker = checker(&script);
        checker.set(ONE, target(1), &Arc::new(settings(1, 1)), Duration::ZERO);
        let report = checker.next().await;
        assert_eq!((report.changed, report.result.unwrap_err().code), (true, "PROCERR"));
        script.answer(target(1), Answer::Pass);
        assert!(checker.next().await.changed);
        assert_eq!(checker.verdict(ONE).unwrap().health(), Health::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn our_own_lack_of_descriptors_does_not_take_a_target_down() {
        let script = Script::default();
        script.answer(target(1), Answer::OurFault);
        let mut checker = checker(&script);
        checker.set(ONE, target(1), &Arc::new(settings(1, 1)), Duration::ZERO);
        for _ in 0..5 {
            assert!(!checker.next().await.changed);
        }
        assert_eq!(checker.verdict(ONE).unwrap().health(), Health::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn probes_under_way_are_bounded_over_all_checkers() {
        let script = Script::default();
        let runner = script.runner(3);
        let mut checkers = [Checker::new(runner.clone()), Checker::new(runner)];
        let settings = Arc::new(settings(2, 3));
        for checker in &mut checkers {
            for n in 0..20 {
                checker.set(CheckId(n), target(1), &settings, Duration::ZERO);
            }
        }
        let [a, b] = &mut checkers;
        for _ in 0..20 {
            tokio::join!(a.next(), b.next());
        }
        assert_eq!(script.most_under_way(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_traffic_counts_and_a_probe_follows_at_once() {
        let (script, start) = (Script::default(), Instant::now());
        let mut checker = checker(&script);
        checker.set(ONE, target(1), &Arc::new(settings(2, 3)), Duration::ZERO);
        checker.next().await;
        script.answer(target(1), Answer::Refuse);
        assert!(!checker.refused(ONE).unwrap().changed);
        assert_eq!(checker.verdict(ONE).unwrap().to_string(), "UP 2/3");
        checker.next().await;
        assert_eq!(checker.verdict(ONE).unwrap().to_string(), "UP 1/3");
        assert!(checker.refused(ONE).unwrap().changed);
        assert!(checker.refused(ONE).is_none(), "down already");
        let asked = millis(&script.asked(target(1), start));
        assert!(asked[1] < 20, "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_evidence_probes_four_times_a_second() {
        let (script, start) = (Script::default(), Instant::now());
        let mut checker = checker(&script);
        let mut slow = settings(2, 3);
        slow.interval = Duration::from_secs(60);
        checker.set(ONE, target(1), &Arc::new(slow), Duration::from_secs(60));
        let end = start + Duration::from_millis(2_100);
        while Instant::now() < end {
            checker.probe_soon(ONE);
            let _report = timeout(Duration::from_millis(5), checker.next()).await;
        }
        let asked = script.asked(target(1), start).len();
        assert!((8..=10).contains(&asked), "{asked} probes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_removed_check_reports_nothing_more() {
        let script = Script::default();
        script.answer(target(1), Answer::Hang);
        let mut checker = checker(&script);
        let settings = Arc::new(settings(2, 3));
        checker.set(ONE, target(1), &settings, Duration::ZERO);
        checker.set(CheckId(2), target(2), &settings, Duration::from_millis(100));
        let _ = timeout(Duration::from_millis(50), checker.next()).await.unwrap_err();
        checker.remove(ONE);
        assert!(checker.verdict(ONE).is_none());
        for _ in 0..3 {
            assert_eq!(checker.next().await.id, CheckId(2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_address_or_schedule_keeps_the_verdict() {
        let script = Script::default();
        script.answer(target(1), Answer::Refuse);
        let mut checker = checker(&script);
        let first = Arc::new(settings(2, 3));
        checker.set(ONE, target(1), &first, Duration::ZERO);
        checker.next().await;
        checker.set(ONE, target(2), &first, Duration::ZERO);
        assert_eq!(checker.verdict(ONE).unwrap().health(), Health::Down);
        checker.set(ONE, target(2), &Arc::new(settings(1, 1)), Duration::ZERO);
        assert_eq!(checker.verdict(ONE).unwrap().health(), Health::Down);
        assert!(checker.next().await.changed, "the new target passes");
    }

    #[test]
    fn first_checks_are_spread_over_one_interval() {
        let parts: Vec<f64> = stagger(20).collect();
        assert_eq!(parts.len(), 20);
        assert!(parts.iter().all(|p| (0.0..1.0).contains(p)), "{parts:?}");
        for pair in parts.windows(2) {
            assert!((pair[1] - pair[0] - 0.05).abs() < 1e-9);
        }
    }

    #[test]
    fn spread_stays_within_its_percentage() {
        let second = Duration::from_secs(1);
        assert_eq!(spread(second, 0), second);
        for _ in 0..1000 {
            let spread = spread(second, 50).as_secs_f64();
            assert!((0.5..=1.5).contains(&spread));
        }
        assert!(spread(Duration::ZERO, 50) > Duration::ZERO);
    }
}
