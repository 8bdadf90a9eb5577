//! What holds a wish back: limits of rate, and damping.

use super::*;
use crate::registration::{DampingSettings, RateSettings};

fn limited(average_rate: f64) -> LimitSettings {
    let rate = RateSettings { average_rate, max_burst: f64::INFINITY, is_shadow: false };
    LimitSettings { rate, damping: None }
}

fn damped() -> LimitSettings {
    LimitSettings { damping: Some(DampingSettings::default()), ..LimitSettings::default() }
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
