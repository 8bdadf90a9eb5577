//! Checks with scripted probes, on a paused clock.

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
