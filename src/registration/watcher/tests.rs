//! The watcher with a paused clock and scripted checks.

use std::collections::VecDeque;
use std::time::SystemTime;

use tokio::task::JoinHandle;

use super::*;
use crate::health::local::CheckResult;
use crate::health::{ProbeError, ProbePass};
use crate::registration::{DampingSettings, RateSettings};
use crate::telemetry::statsd::testing::Agent;

const INTERVAL: Duration = Duration::from_millis(500);

/// Verdicts of the passes in order; `None` hangs for ever. After the last one: its repetition.
#[derive(Debug)]
struct Script {
    steps: VecDeque<Option<bool>>,
    last: bool,
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Option<bool>>) -> Box<Self> {
        Box::new(Self { steps: steps.into_iter().collect(), last: false })
    }

    fn always(is_up: bool) -> Box<Self> {
        Self::new([Some(is_up)])
    }
}

impl Checks for Script {
    fn names(&self) -> Vec<Arc<str>> {
        vec!["first".into(), "second".into()]
    }

    fn pass(&mut self) -> BoxFuture<'_, Pass> {
        Box::pin(async {
            match self.steps.pop_front() {
                Some(Some(is_up)) => self.last = is_up,
                Some(None) => std::future::pending().await,
                None => {}
            }
            let passed = CheckResult {
                name: "first".into(),
                is_up: Some(true),
                result: Ok(ProbePass { code: "L4OK", status: None }),
                took: Duration::from_millis(1),
                at: SystemTime::now(),
            };
            let mut second = CheckResult { name: "second".into(), ..passed.clone() };
            if !self.last {
                second.is_up = Some(false);
                second.result =
                    Err(ProbeError { code: "L4CON", status: None, detail: "refused\nhard".into() });
            }
            Pass { is_up: Some(self.last), results: vec![passed, second] }
        })
    }
}

struct Running {
    marks: watch::Sender<Option<DownMark>>,
    wanted: watch::Receiver<Wanted>,
    view: watch::Receiver<WatchView>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    start: Instant,
}

impl Running {
    fn start(checks: Box<Script>, limits: LimitSettings) -> Self {
        Self::start_marked(checks, limits, None)
    }

    fn start_marked(checks: Box<Script>, limits: LimitSettings, mark: Option<DownMark>) -> Self {
        let (marks, marks_seen) = watch::channel(mark);
        let (out, wanted) = watch::channel(Wanted::Undecided);
        let (page, view) = watch::channel(WatchView::default());
        let stop = CancellationToken::new();
        let watcher = Watcher::with_checks(checks, INTERVAL, limits, ServiceName::new("web"));
        let task = tokio::spawn(watcher.run(marks_seen, out, page, stop.clone()));
        Self { marks, wanted, view, stop, task, start: Instant::now() }
    }

    /// Waits for the wish and says how long after the start it came.
    async fn until(&mut self, wanted: Wanted) -> Duration {
        self.wanted.wait_for(|w| *w == wanted).await.unwrap();
        self.start.elapsed()
    }

    /// Every change of the wish within `time`, and when.
    async fn changes(&mut self, time: Duration) -> Vec<(Duration, Wanted)> {
        let mut changes = Vec::new();
        let end = Instant::now() + time;
        while let Ok(changed) = tokio::time::timeout_at(end, self.wanted.changed()).await {
            changed.unwrap();
            changes.push((self.start.elapsed(), *self.wanted.borrow_and_update()));
        }
        changes
    }

    fn reason(&self) -> String {
        self.view.borrow().reason.to_string()
    }
}

fn mark(seconds: Option<u64>) -> DownMark {
    let since = SystemTime::now();
    let until = seconds.map(|seconds| since + Duration::from_secs(seconds));
    DownMark { reason: "deploy\n42".into(), since, until }
}

fn limited(average_rate: f64) -> LimitSettings {
    let rate = RateSettings { average_rate, max_burst: f64::INFINITY, is_shadow: false };
    LimitSettings { rate, damping: None }
}

fn damped() -> LimitSettings {
    LimitSettings { damping: Some(DampingSettings::default()), ..LimitSettings::default() }
}

#[tokio::test(start_paused = true)]
async fn follows_the_verdicts_and_says_why() {
    let script = Script::new([Some(true), Some(true), Some(false), Some(true)]);
    let mut running = Running::start(script, LimitSettings::default());
    assert_eq!(running.until(Wanted::Present).await, Duration::ZERO);
    assert_eq!(running.reason(), "checks pass");
    let at = running.until(Wanted::Absent).await;
    assert!(at >= 2 * INTERVAL && at < 2 * INTERVAL + Duration::from_millis(5), "{at:?}");
    running.view.wait_for(|view| view.wanted == Wanted::Absent).await.unwrap();
    assert_eq!(running.reason(), "second: L4CON: refused hard");
    running.until(Wanted::Present).await;
    let view = running.view.wait_for(|view| view.wanted == Wanted::Present).await.unwrap().clone();
    assert_eq!((view.is_up, view.passes, view.transitions), (Some(true), 4, 3));
    assert_eq!((view.checks[0].is_up, view.checks[1].is_up), (Some(true), Some(true)));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_decided_while_the_first_pass_hangs() {
    let mut running = Running::start(Script::new([None]), LimitSettings::default());
    assert_eq!(running.changes(Duration::from_secs(3600)).await, []);
    assert_eq!(running.reason(), "no check has ended yet");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_check_does_not_delay_an_announced_downtime() {
    let script = Script::new([Some(true), None]);
    let mut running = Running::start(script, LimitSettings::default());
    running.until(Wanted::Present).await;
    sleep(Duration::from_secs(100)).await;
    let before = running.start.elapsed();
    running.marks.send_replace(Some(mark(Some(30))));
    assert_eq!(running.until(Wanted::Absent).await, before, "at once");
    running.view.wait_for(|view| view.down.is_some()).await.unwrap();
    assert_eq!(running.reason(), "down for 30s by an operator: deploy 42");
    let back = running.until(Wanted::Present).await - before;
    assert!(back > Duration::from_millis(29_900) && back < Duration::from_millis(30_100));
    running.view.wait_for(|view| view.down.is_none()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_downtime_from_before_the_start_counts_at_once_and_can_be_ended() {
    let script = Script::always(true);
    let mut running = Running::start_marked(script, LimitSettings::default(), Some(mark(None)));
    assert_eq!(running.until(Wanted::Absent).await, Duration::ZERO);
    assert_eq!(running.changes(Duration::from_secs(1000)).await, []);
    running.marks.send_replace(None);
    assert_eq!(running.until(Wanted::Present).await, running.start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn after_a_downtime_the_checks_are_asked_at_once_and_only_that_counts() {
    let script = Script::new([Some(true), Some(false), Some(true)]);
    let mut running = Running::start(script, LimitSettings::default());
    running.until(Wanted::Present).await;
    running.marks.send_replace(Some(mark(None)));
    running.until(Wanted::Absent).await;
    let before = running.start.elapsed();
    running.marks.send_replace(None);
    let changes = running.changes(INTERVAL / 2).await;
    assert_eq!(changes, [(before, Wanted::Absent)], "never present: it did not come back well");
    assert_eq!(running.until(Wanted::Present).await, before + INTERVAL);
    assert!(running.view.borrow().penalty < f64::EPSILON);
}

#[tokio::test(start_paused = true)]
async fn an_expired_mark_is_no_mark() {
    let past = SystemTime::now() - Duration::from_secs(60);
    let old = DownMark { reason: String::new(), since: past, until: Some(past) };
    let limits = LimitSettings::default();
    let mut running = Running::start_marked(Script::always(true), limits, Some(old));
    let changes = running.changes(Duration::from_secs(10)).await;
    assert_eq!(changes, [(Duration::ZERO, Wanted::Present)]);
}

#[tokio::test(start_paused = true)]
async fn goes_on_when_nobody_can_announce_any_more() {
    let script = Script::new([Some(true), Some(false)]);
    let Running { marks, mut wanted, stop: _stop, .. } =
        Running::start(script, LimitSettings::default());
    drop(marks);
    wanted.wait_for(|w| *w == Wanted::Absent).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_tenth_a_second_delays_the_first_registration_by_nine_seconds() {
    let mut running = Running::start(Script::always(true), limited(0.1));
    let at = running.until(Wanted::Present).await;
    assert!(at >= Duration::from_secs(9) && at < Duration::from_millis(9_600), "{at:?}");
    assert_eq!(running.view.borrow().throttled, 1);
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_zero_forbids_for_ever() {
    let mut running = Running::start(Script::always(true), limited(0.0));
    assert_eq!(running.changes(Duration::from_secs(3600)).await, []);
    assert_eq!(running.reason(), "checks pass; held back by rate_limiting");
}

#[tokio::test(start_paused = true)]
async fn a_flapper_is_quiet_while_suppressed_and_back_soon_after() {
    // Up and down with every pass, for three minutes; then up.
    let steps = (0..360).map(|n| Some(n % 2 == 0)).chain([Some(true)]);
    let mut running = Running::start(Script::new(steps), damped());
    let changes = running.changes(Duration::from_secs(180)).await;
    let after = |second| changes.iter().filter(|(at, _)| at.as_secs() >= second).count();
    assert!(changes.len() <= 12, "{} changes", changes.len());
    assert_eq!(after(10), 0, "no write while suppressed");
    assert!(running.view.borrow().penalty > 3.0);
    assert!(running.view.borrow().suppressed_until.is_some());
    let back = running.until(Wanted::Present).await;
    assert!(back > Duration::from_secs(180) && back < Duration::from_secs(241), "{back:?}");
    assert!(running.view.borrow().suppressed_until.is_none());
}

#[tokio::test(start_paused = true)]
async fn five_real_deaths_a_minute_are_not_delayed() {
    // Dead for one pass of every 24 (12 s).
    let steps = (0..2400).map(|n| Some(n % 24 != 23));
    let mut running = Running::start(Script::new(steps), damped());
    let changes = running.changes(Duration::from_secs(1200)).await;
    for pair in changes.windows(2).filter(|pair| pair[0].1 == Wanted::Absent) {
        let away = pair[1].0 - pair[0].0;
        assert!(away < Duration::from_millis(510), "{away:?}");
    }
    assert!(changes.len() > 190, "{}", changes.len());
}

#[tokio::test(start_paused = true)]
async fn waiters_are_not_woken_by_a_pass_like_the_last() {
    let mut running = Running::start(Script::always(true), LimitSettings::default());
    running.until(Wanted::Present).await;
    sleep(Duration::from_secs(1)).await;
    running.view.borrow_and_update();
    sleep(Duration::from_secs(60)).await;
    assert!(!running.view.has_changed().unwrap());
    assert!(running.view.borrow().passes > 100, "but the view is up to date");
}

#[tokio::test(start_paused = true)]
async fn a_stop_leaves_the_wish_even_if_a_check_hangs() {
    let script = Script::new([Some(true), None]);
    let mut running = Running::start(script, LimitSettings::default());
    running.until(Wanted::Present).await;
    sleep(Duration::from_secs(5)).await;
    running.stop.cancel();
    running.task.await.unwrap();
    assert_eq!(*running.wanted.borrow(), Wanted::Present);
}

#[tokio::test]
async fn real_checks_are_shown_by_name() {
    let settings = LocalCheckSettings {
        checks: vec![crate::health::local::LocalCheck {
            name: "web noop".into(),
            probe: crate::health::local::LocalProbe::Noop,
            deadline: INTERVAL,
            rise: std::num::NonZeroU32::MIN,
            fall: std::num::NonZeroU32::MIN,
        }],
        interval: INTERVAL,
        is_mocked: false,
    };
    let (limits, service) = (LimitSettings::default(), ServiceName::new("web"));
    let watcher = Watcher::new(&settings, &LocalRunner::default(), limits, service);
    let (_marks, marks) = watch::channel(None);
    let (out, _wanted) = watch::channel(Wanted::Undecided);
    let (page, mut view) = watch::channel(WatchView::default());
    let stop = CancellationToken::new();
    tokio::spawn(watcher.run(marks, out, page, stop.clone()));
    let seen = view.wait_for(|view| view.is_up == Some(true)).await.unwrap().clone();
    assert_eq!((&*seen.checks[0].name, seen.checks[0].is_up), ("web noop", Some(true)));
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn no_evidence_changes_nothing() {
    #[derive(Debug)]
    struct Blind(u32);
    impl Checks for Blind {
        fn names(&self) -> Vec<Arc<str>> {
            Vec::new()
        }
        fn pass(&mut self) -> BoxFuture<'_, Pass> {
            self.0 += 1;
            let is_up = if self.0 == 3 { Some(true) } else { None };
            Box::pin(std::future::ready(Pass { is_up, results: Vec::new() }))
        }
    }
    let (limits, service) = (LimitSettings::default(), ServiceName::new("web"));
    let watcher = Watcher::with_checks(Box::new(Blind(0)), INTERVAL, limits, service);
    let (_marks, marks) = watch::channel(None);
    let (out, wanted) = watch::channel(Wanted::Undecided);
    let (page, mut view) = watch::channel(WatchView::default());
    let stop = CancellationToken::new();
    tokio::spawn(watcher.run(marks, out, page, stop.clone()));
    view.wait_for(|view| view.is_up.is_some()).await.unwrap();
    assert_eq!(view.borrow().passes, 3);
    sleep(10 * INTERVAL).await;
    assert_eq!((*wanted.borrow(), view.borrow().is_up), (Wanted::Present, Some(true)));
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn statsd_hears_of_each_pass_and_of_what_changes() {
    let agent = Agent::install(&[]);
    let rate = RateSettings { average_rate: 1.0, max_burst: 1.0, is_shadow: true };
    let limits = LimitSettings { rate, damping: None };
    let mut running = Running::start(Script::new([Some(true), Some(false)]), limits);
    running.until(Wanted::Present).await;
    running.until(Wanted::Absent).await;
    running.stop.cancel();
    running.task.await.unwrap();
    let ping = concat!(
        "nerve.watcher.status.ping.count:1|c|#ping_result:success,service_name:web,nerve_version:",
        env!("CARGO_PKG_VERSION")
    );
    let check = |result: &str, name: &str| {
        format!(
            "nerve.watcher.status.service_check:1|c|#check_result:{result},service_name:web,check_name:{name}"
        )
    };
    assert_eq!(
        agent.events::<11>(),
        [
            "nerve.watcher.start:1|c|#service_name:web",
            ping,
            &check("up", "first"),
            &check("up", "second"),
            "nerve.watcher.status.transition:1|c|#new_status:up,service_name:web",
            ping,
            &check("up", "first"),
            &check("down", "second"),
            "nerve.watcher.throttled:1|c|#service_name:web,shadow_mode:true",
            "nerve.watcher.status.transition:1|c|#new_status:down,service_name:web",
            "nerve.watcher.stop:1|c|#stop_avenue:clean,stop_location:main_loop,service_name:web",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_ping_fails_while_the_session_is_not_connected() {
    let agent = Agent::install(&[]);
    let session = Session {
        state: SessionState::Disconnected,
        generation: 1,
        since: Instant::now(),
        id: Some(1),
        negotiated_timeout: None,
        last_error: None,
    };
    let (_session, session) = watch::channel(session);
    let (limits, name) = (LimitSettings::default(), ServiceName::new("web"));
    let watcher = Watcher::with_checks(Script::always(true), INTERVAL, limits, name);
    let (out, mut wanted) = watch::channel(Wanted::Undecided);
    let (_marks, marks) = watch::channel(None);
    let (stop, view) = (CancellationToken::new(), watch::Sender::default());
    let watcher = watcher.over(Some(session));
    let task = tokio::spawn(watcher.run(marks, out, view, stop.clone()));
    wanted.wait_for(|wanted| *wanted == Wanted::Present).await.unwrap();
    stop.cancel();
    task.await.unwrap();
    assert_eq!(agent.next(), "nerve.watcher.start:1|c|#service_name:web");
    let ping = agent.next();
    assert!(ping.contains("ping_result:fail,service_name:web"), "{ping}");
}
