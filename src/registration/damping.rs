//! Flap damping after RFC 2439: who comes and goes too often has to stay away for a while. Pure; time is an argument.
//!
//! Each loss (the checks go from up to down) adds 1 to a penalty that halves every `half_life`. A service is suppressed
//! from a loss that finds the penalty at `suppress` *and* more than `flaps` losses within `window`, until the penalty is
//! down to `reuse`; losses meanwhile prolong that. The penalty has a ceiling from which it decays to `reuse` in
//! `max_suppress`, so a service that stops flapping is back by then, however long it flapped.
//!
//! With the defaults: 2 losses a second are suppressed at the sixth, after 3 s, and stay so; 5 a minute never are, and
//! 12 s between losses are too slow for the penalty even if six of them fall into a minute.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::DampingSettings;

impl DampingSettings {
    /// Ours: the originals have none. A deployment restarts an instance once or twice; five times a minute is a crash
    /// loop. With these numbers a service that goes up and down every half second is written less than once in 10 s.
    pub const DEFAULT: Self = Self {
        flaps: 5,
        window: Duration::from_secs(60),
        half_life: Duration::from_secs(15),
        suppress: 3.0,
        reuse: 1.0,
        max_suppress: Duration::from_secs(60),
    };
}

impl Default for DampingSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The record of one service.
#[derive(Clone, Debug)]
pub struct Damping {
    settings: DampingSettings,
    ceiling: f64,
    /// Penalty at `at`.
    penalty: f64,
    at: Instant,
    /// Losses within the window before the last one, itself included.
    losses: VecDeque<Instant>,
    until: Option<Instant>,
}

impl Damping {
    /// A clean record.
    pub fn new(settings: DampingSettings, now: Instant) -> Self {
        let halvings = ratio(settings.max_suppress, settings.half_life);
        // Not below `suppress`, else a short `max_suppress` would switch everything off.
        let ceiling = (settings.reuse * halvings.exp2()).max(settings.suppress);
        Self { settings, ceiling, penalty: 0.0, at: now, losses: VecDeque::new(), until: None }
    }

    /// The checks went from up to down at `now`.
    pub fn loss(&mut self, now: Instant) {
        self.penalty = (self.penalty(now) + 1.0).min(self.ceiling);
        self.at = now;
        self.losses.push_back(now);
        let window = self.settings.window;
        while self.losses.front().is_some_and(|loss| now.duration_since(*loss) >= window) {
            self.losses.pop_front();
        }
        if self.suppressed_until(now).is_some() || self.is_too_much() {
            self.until = now.checked_add(self.time_to_reuse());
        }
    }

    /// The penalty at `now`, from 0 to the ceiling.
    pub fn penalty(&self, now: Instant) -> f64 {
        let halvings = ratio(now.saturating_duration_since(self.at), self.settings.half_life);
        self.penalty * (-halvings).exp2()
    }

    /// A return is held back until then; `None` when it is not at `now`.
    pub fn suppressed_until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }

    fn is_too_much(&self) -> bool {
        let losses = u32::try_from(self.losses.len()).unwrap_or(u32::MAX);
        losses > self.settings.flaps && self.penalty >= self.settings.suppress
    }

    fn time_to_reuse(&self) -> Duration {
        let DampingSettings { half_life, reuse, max_suppress, .. } = self.settings;
        let halvings = (self.penalty / reuse).log2().max(0.0);
        let time = half_life.as_secs_f64() * halvings;
        Duration::try_from_secs_f64(time).map_or(max_suppress, |time| time.min(max_suppress))
    }
}

/// How many times `unit` goes into `time`; nothing goes into nothing.
fn ratio(time: Duration, unit: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { time.as_secs_f64() / unit.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// Losses every `spacing` seconds for `total` seconds: when (if at all) it was suppressed first, and the record.
    fn regular(spacing: f64, total: f64) -> (Option<f64>, Damping, Instant) {
        let start = Instant::now();
        let mut damping = Damping::new(DampingSettings::default(), start);
        let (mut first, mut at) = (None, 0.0);
        let mut now = start;
        while at < total {
            now = start + seconds(at);
            damping.loss(now);
            if first.is_none() && damping.suppressed_until(now).is_some() {
                first = Some(at);
            }
            at += spacing;
        }
        (first, damping, now)
    }

    #[test]
    fn five_real_deaths_a_minute_are_never_delayed() {
        assert_eq!(regular(12.0, 3600.0).0, None);
        // Not even with six of them in some minutes.
        assert_eq!(regular(11.0, 3600.0).0, None);
    }

    #[test]
    fn five_deaths_in_a_row_are_not_delayed() {
        assert_eq!(regular(0.5, 2.5).0, None);
        assert_eq!(regular(0.5, 3.0).0, Some(2.5));
    }

    #[test]
    fn a_flapper_is_suppressed_as_long_as_it_flaps() {
        let (first, damping, now) = regular(0.5, 600.0);
        assert_eq!(first, Some(2.5));
        let until = damping.suppressed_until(now).unwrap();
        assert!(until - now > seconds(58.0) && until - now <= seconds(60.0));
        assert_eq!(damping.suppressed_until(until), None);
        assert!((damping.penalty(until) - 1.0).abs() < 0.01);
    }

    #[test]
    fn once_suppressed_a_slower_flapping_keeps_it_suppressed() {
        let (_, mut damping, mut now) = regular(0.5, 10.0);
        for _ in 0..100 {
            now += seconds(12.0);
            assert!(damping.suppressed_until(now).is_some());
            damping.loss(now);
        }
    }

    #[test]
    fn a_short_max_suppress_still_suppresses() {
        let now = Instant::now();
        let settings = DampingSettings { max_suppress: seconds(10.0), ..Default::default() };
        let mut damping = Damping::new(settings, now);
        for _ in 0..6 {
            damping.loss(now);
        }
        assert_eq!(damping.suppressed_until(now), Some(now + seconds(10.0)));
    }

    #[test]
    fn senseless_settings_are_survived() {
        let now = Instant::now();
        for (half_life, reuse, max) in
            [(Duration::ZERO, 1.0, seconds(60.0)), (seconds(1.0), 0.0, Duration::MAX)]
        {
            let settings = DampingSettings {
                half_life,
                reuse,
                max_suppress: max,
                flaps: 0,
                suppress: 0.5,
                ..Default::default()
            };
            let mut damping = Damping::new(settings, now);
            damping.loss(now);
            damping.loss(now + seconds(1.0));
            assert!(!damping.penalty(now + seconds(2.0)).is_nan());
        }
    }

    proptest! {
        #[test]
        fn laws(
            flaps in 0_u32..8,
            half_life in 1_u64..60,
            reuse in 0.1_f64..2.0,
            above in 0.1_f64..5.0,
            max_suppress in 1_u64..300,
            gaps in proptest::collection::vec(0_u64..20_000, 1..200),
        ) {
            let start = Instant::now();
            let settings = DampingSettings {
                flaps,
                half_life: Duration::from_secs(half_life),
                reuse,
                suppress: reuse + above,
                max_suppress: Duration::from_secs(max_suppress),
                ..Default::default()
            };
            let mut damping = Damping::new(settings.clone(), start);
            prop_assert_eq!(damping.suppressed_until(start), None, "never a first registration");
            let mut now = start;
            let mut all = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                let was_suppressed = damping.suppressed_until(now).is_some();
                damping.loss(now);
                all.push(now);
                prop_assert!(damping.penalty(now) <= damping.ceiling);
                let recent = all.iter().filter(|loss| now - **loss < settings.window).count();
                if let Some(until) = damping.suppressed_until(now) {
                    prop_assert!(was_suppressed || recent > flaps as usize, "{recent} are allowed");
                    prop_assert!(until - now <= settings.max_suppress);
                    prop_assert_eq!(damping.suppressed_until(until), None);
                }
            }
        }
    }
}
