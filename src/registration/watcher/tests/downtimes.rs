//! Announced downtimes.

use super::*;

fn mark(seconds: Option<u64>) -> DownMark {
    let since = SystemTime::now();
    let until = seconds.map(|seconds| since + Duration::from_secs(seconds));
    DownMark { reason: "deploy\n42".into(), since, until }
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
