//! From results to a verdict: haproxy's counter. Pure; time is an argument.
//!
//! The counter runs from 0 to `rise + fall - 1`; at `rise` and above the target is up. A pass that reaches `rise` goes
//! straight to the top, a failure that falls below it straight to 0. A new target starts *at* `rise`: up, but its first
//! failed check takes it down.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::{CheckSettings, Health};

/// The verdict on one target and what it rests on.
#[derive(Clone, Debug)]
pub struct RiseFall {
    rise: u32,
    fall: u32,
    counter: u32,
    /// Results in a row that went the same way, with that way (`true` = passed).
    streak: (bool, u32),
    since: Instant,
}

/// A verdict as another process may hand it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Up or down.
    pub is_up: bool,
    /// haproxy's counter, 0 to `rise + fall - 1`.
    pub counter: u32,
    /// Results in a row that went the same way, with that way (`true` = passed).
    pub streak: (bool, u32),
    /// When it last changed.
    pub since: Instant,
}

impl RiseFall {
    /// What there is to hand over.
    pub fn verdict(&self) -> Verdict {
        Verdict {
            is_up: self.is_up(),
            counter: self.counter,
            streak: self.streak,
            since: self.since,
        }
    }

    /// Goes on from `verdict`. Other thresholds keep up what is up and down what is down.
    pub fn restored(settings: &CheckSettings, verdict: &Verdict) -> Self {
        let (rise, fall) = (settings.rise.get(), settings.fall.get());
        let mut restored =
            Self { rise, fall, counter: 0, streak: verdict.streak, since: verdict.since };
        restored.counter = if verdict.is_up {
            verdict.counter.clamp(rise, restored.top())
        } else {
            verdict.counter.min(rise - 1)
        };
        restored
    }

    /// A target nobody has checked yet: up, one failure from down.
    pub fn new(settings: &CheckSettings, now: Instant) -> Self {
        Self {
            rise: settings.rise.get(),
            fall: settings.fall.get(),
            counter: settings.rise.get(),
            streak: (true, 0),
            since: now,
        }
    }

    /// The same target under new thresholds: the verdict stays, the credit starts over. A known-dead target is not sent
    /// traffic because somebody edited its check.
    #[must_use]
    pub fn with_thresholds(&self, settings: &CheckSettings) -> Self {
        let rise = settings.rise.get();
        Self {
            rise,
            fall: settings.fall.get(),
            counter: if self.is_up() { rise } else { 0 },
            streak: self.streak,
            since: self.since,
        }
    }

    /// Takes a result; true when the verdict changed.
    pub fn record(&mut self, passed: bool, now: Instant) -> bool {
        let was_up = self.is_up();
        self.counter = match passed {
            true if self.counter + 1 >= self.rise => self.top(),
            true => self.counter + 1,
            false if self.counter > self.rise => self.counter - 1,
            false => 0,
        };
        let length = if self.streak.0 == passed { self.streak.1 } else { 0 };
        self.streak = (passed, length.saturating_add(1));
        let changed = was_up != self.is_up();
        if changed {
            self.since = now;
        }
        changed
    }

    /// [`Health::Up`] or [`Health::Down`].
    pub fn health(&self) -> Health {
        if self.is_up() { Health::Up } else { Health::Down }
    }

    /// When the verdict last changed; the beginning for one that never did.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Passes or failures in a row; 0 before the first.
    pub fn streak(&self) -> u32 {
        self.streak.1
    }

    /// Time from the end of one check to the next: `inter` when fully up, `downinter` when fully down, else `fastinter`.
    pub fn interval(&self, settings: &CheckSettings) -> Duration {
        let other = if self.streak.1 > 0 && self.counter == self.top() {
            None
        } else if self.counter == 0 {
            settings.down_interval
        } else {
            settings.fast_interval
        };
        other.unwrap_or(settings.interval)
    }

    fn is_up(&self) -> bool {
        self.counter >= self.rise
    }

    fn top(&self) -> u32 {
        (self.rise - 1).saturating_add(self.fall)
    }
}

/// As in haproxy's stats: `UP`, `UP 1/2` (failures left), `DOWN 1/3` (passes so far), `DOWN`.
impl fmt::Display for RiseFall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.counter {
            0 => f.write_str("DOWN"),
            n if n < self.rise => write!(f, "DOWN {n}/{}", self.rise),
            n if n == self.top() => f.write_str("UP"),
            n => write!(f, "UP {}/{}", n - self.rise + 1, self.fall),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::testing::settings;
    use proptest::prelude::*;

    /// The timeline measured on haproxy 2.6 with `inter 1s fastinter 200ms downinter 600ms rise 3 fall 2`.
    #[tokio::test(start_paused = true)]
    async fn follows_the_measured_timeline() {
        let settings = settings(3, 2);
        let now = Instant::now();
        let mut check = RiseFall::new(&settings, now);
        assert_eq!(check.to_string(), "UP 1/2");
        let steps = [
            (true, "UP", 1000),
            (true, "UP", 1000),
            (false, "UP 1/2", 200),
            (false, "DOWN", 600),
            (false, "DOWN", 600),
            (true, "DOWN 1/3", 200),
            (true, "DOWN 2/3", 200),
            (true, "UP", 1000),
        ];
        for (passed, text, wait) in steps {
            check.record(passed, now);
            assert_eq!(check.to_string(), text);
            assert_eq!(check.interval(&settings), Duration::from_millis(wait), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_failed_check_takes_a_new_target_down() {
        let now = Instant::now();
        for (rise, fall) in [(1, 1), (2, 3), (5, 10)] {
            let mut check = RiseFall::new(&settings(rise, fall), now);
            assert_eq!(check.health(), Health::Up);
            assert!(check.record(false, now));
            assert_eq!(check.health(), Health::Down);
            assert_eq!(check.interval(&settings(rise, fall)), Duration::from_millis(600));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unset_fastinter_and_downinter_are_inter() {
        let mut settings = settings(2, 2);
        settings.fast_interval = None;
        settings.down_interval = None;
        let now = Instant::now();
        let mut check = RiseFall::new(&settings, now);
        for passed in [true, false, false, true] {
            check.record(passed, now);
            assert_eq!(check.interval(&settings), Duration::from_secs(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn new_thresholds_keep_the_verdict() {
        let now = Instant::now();
        let mut check = RiseFall::new(&settings(2, 3), now);
        check.record(false, now);
        let down = check.with_thresholds(&settings(4, 4));
        assert_eq!((down.health(), down.to_string()), (Health::Down, "DOWN".to_owned()));
        check.record(true, now);
        check.record(true, now);
        let up = check.with_thresholds(&settings(4, 4));
        assert_eq!((up.health(), up.to_string()), (Health::Up, "UP 1/4".to_owned()));
    }

    proptest! {
        #[test]
        fn rise_passes_bring_up_and_fall_failures_take_down(
            rise in 1_u32..8, fall in 1_u32..8, history in prop::collection::vec(any::<bool>(), 0..40),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _guard = runtime.enter();
            let now = Instant::now();
            let settings = settings(rise, fall);
            let mut check = RiseFall::new(&settings, now);
            for passed in history {
                let before = check.health();
                let changed = check.record(passed, now);
                prop_assert_eq!(changed, before != check.health());
                if changed {
                    prop_assert_eq!(check.health() == Health::Up, passed);
                }
                prop_assert!(check.counter < rise + fall);
            }
            for _ in 0..rise { check.record(true, now); }
            prop_assert_eq!(check.to_string(), "UP");
            for _ in 0..fall { check.record(false, now); }
            prop_assert_eq!(check.to_string(), "DOWN");
        }
    }
}
