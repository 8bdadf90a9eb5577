//! Verdicts of checks, and the wish that follows.

use super::*;

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
