//! Who is usable: checks, refused traffic, backups, and a slow start.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_failed_check_takes_a_new_backend_out_and_rise_brings_it_back() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.script.answer(addr(1), Answer::Refuse);
    bench.with(&[("1", "check"), ("2", "check")]).await;
    assert_eq!(hosts(&bench.handle).len(), 2, "up until checked");
    assert_eq!(bench.view(1).reason, "up, not checked yet");
    bench.until_health(1, Health::Down).await;
    assert_eq!(hosts(&bench.handle), ["127.0.0.2"]);
    assert_eq!(bench.view(1).reason, "down: L4CON: connection refused");
    assert_eq!(bench.handle.view().health_changes, 1);
    bench.script.answer(addr(1), Answer::Pass);
    bench.until_health(1, Health::Up).await;
    assert_eq!(hosts(&bench.handle).len(), 2);
    assert_eq!(bench.view(1).last_check.unwrap().streak, 2);
}

#[tokio::test(start_paused = true)]
async fn backups_serve_only_when_no_active_is_usable() {
    let mut config = settings(Strategy::RoundRobin);
    let bench = start(config.clone());
    bench.script.answer(addr(1), Answer::Refuse);
    bench.with(&[("3", "backup"), ("4", "backup"), ("1", "check")]).await;
    assert_eq!(hosts(&bench.handle), ["127.0.0.1"]);
    assert_eq!(bench.view(3).reason, "backup, actives are up");
    bench.until_health(1, Health::Down).await;
    assert_eq!(hosts(&bench.handle), ["127.0.0.3"]);
    assert_eq!(bench.view(4).reason, "backup, an earlier backup is in use");
    config.all_backups = true;
    bench.command(config).await;
    assert_eq!(hosts(&bench.handle), ["127.0.0.3", "127.0.0.4"]);
}

#[tokio::test(start_paused = true)]
async fn refused_traffic_takes_a_backend_out_within_fall_refusals() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", "check"), ("2", "check")]).await;
    let checked = |v: &PoolView| v.backends.iter().all(|b| b.last_check.is_some());
    assert!(bench.handle.until(checked).await);
    bench.script.answer(addr(1), Answer::Refuse);
    let start = Instant::now();
    for _ in 0..3 {
        bench.refuse(1);
    }
    bench.until_health(1, Health::Down).await;
    assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
    assert_eq!(hosts(&bench.handle), ["127.0.0.2"]);
}

#[tokio::test(start_paused = true)]
async fn refused_traffic_does_not_touch_an_unchecked_backend_or_another_address() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", ""), ("2", "fall=1")]).await;
    for _ in 0..2_000 {
        bench.refuse(1);
    }
    let backend = bench.view(2).backend.id;
    bench.handle.report(Outcome { backend, addr: addr(7), kind: OutcomeKind::Refused });
    bench.with(&[("1", ""), ("2", "fall=1"), ("3", "")]).await;
    assert_eq!(hosts(&bench.handle).len(), 3);
    assert!(bench.handle.outcomes_dropped() > 0, "the queue is bounded");
    assert_eq!(bench.handle.view().health_changes, 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_when_a_worker_could_not_tell() {
    let bench = start(settings(Strategy::LeastConn));
    bench.with(&[("1", "check"), ("2", "")]).await;
    let before = bench.handle.snapshot();
    tokio::time::sleep(Duration::from_secs(30)).await; // thirty passed checks
    bench.command(settings(Strategy::LeastConn)).await;
    bench.word.send_modify(|d| d.trouble = Some("connecting".into()));
    assert!(bench.handle.until(|v| v.discovered.trouble.is_some()).await);
    assert!(Arc::ptr_eq(&before, &bench.handle.snapshot()));
    assert_eq!(bench.handle.view().membership_changes, 1);
    assert_eq!(bench.view(1).last_check.unwrap().code, "L4OK");
}

/// Share in sixteenths and limit of the first backend.
fn warmth(bench: &Bench) -> (u64, Option<u32>) {
    let snapshot = bench.handle.snapshot();
    let member = snapshot.members.iter().find(|m| m.addr == addr(1)).unwrap();
    (member.share(), member.limit())
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_takes_its_share_step_by_step() {
    let line = "weight=2 maxconn=10 slowstart=20 check";
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", line), ("2", "weight=2")]).await;
    assert_eq!(warmth(&bench), (32, Some(10)), "not at the start");
    bench.script.answer(addr(1), Answer::Refuse);
    bench.until_health(1, Health::Down).await;
    bench.script.answer(addr(1), Answer::Pass);
    bench.until_health(1, Health::Up).await;
    let start = Instant::now();
    assert_eq!((warmth(&bench), bench.view(1).ramp.percent()), ((2, Some(1)), 7));
    assert!(bench.view(1).reason.contains("slow start, 7 %"), "{}", bench.view(1).reason);
    let picked: Vec<_> = (0..17).map(|_| bench.acquire().unwrap().addr().clone()).collect();
    assert_eq!(picked.iter().filter(|a| **a == addr(1)).count(), 1, "a sixteenth of the other's");
    for (second, wanted) in [(5, (10, Some(2))), (10, (18, Some(5))), (19, (32, Some(9)))] {
        let view = |v: &PoolView| v.revision > 0 && start.elapsed().as_secs() >= second;
        assert!(bench.handle.until(view).await);
        assert_eq!(warmth(&bench), wanted, "after {second} s");
    }
    assert!(bench.handle.until(|_| start.elapsed().as_secs() >= 20).await);
    assert_eq!((warmth(&bench), bench.view(1).ramp.percent()), ((32, Some(10)), 100));
    assert_eq!(bench.view(1).reason, "up");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_leaves_maintenance_starts_slowly_and_going_down_ends_that() {
    let bench = start(settings(Strategy::LeastConn));
    bench.with(&[("1", "slowstart=60 disabled check"), ("2", "")]).await;
    bench.with(&[("1", "slowstart=60 check"), ("2", "")]).await;
    assert_eq!(warmth(&bench).0, 1);
    bench.script.answer(addr(1), Answer::Refuse);
    bench.until_health(1, Health::Down).await;
    assert!(bench.view(1).reason.starts_with("down"), "{}", bench.view(1).reason);
    bench.with(&[("1", "check"), ("2", "")]).await;
    bench.script.answer(addr(1), Answer::Pass);
    bench.until_health(1, Health::Up).await;
    assert_eq!(warmth(&bench).0, 16, "no slow start any more");
}
