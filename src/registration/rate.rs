//! nerve's token bucket, number for number. Pure; time is an argument.
//!
//! The bucket starts with `average_rate` tokens, not with `max_burst`, and fills by `average_rate` a second up to
//! `max_burst`; what has flowed in is booked only when a token is taken. So a rate of 0.1 delays the very first
//! registration by 9 s, and a rate of 0 forbids it.

use tokio::time::Instant;

use super::RateSettings;

/// The bucket of one service.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    average_rate: f64,
    max_burst: f64,
    tokens: f64,
    booked: Instant,
}

impl TokenBucket {
    /// A bucket that was set up at `now`.
    pub fn new(settings: &RateSettings, now: Instant) -> Self {
        let RateSettings { average_rate, max_burst, is_shadow: _ } = *settings;
        Self { average_rate, max_burst, tokens: average_rate, booked: now }
    }

    /// Takes a token, if there is a whole one at `now`.
    pub fn take(&mut self, now: Instant) -> bool {
        let available = self.available(now);
        if available < 1.0 {
            return false;
        }
        self.tokens = available - 1.0;
        self.booked = now;
        true
    }

    fn available(&self, now: Instant) -> f64 {
        // Infinity times no time at all is not a number.
        if self.average_rate.is_infinite() {
            return self.max_burst;
        }
        let elapsed = now.saturating_duration_since(self.booked).as_secs_f64();
        (self.tokens + self.average_rate * elapsed).min(self.max_burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn bucket(average_rate: f64, max_burst: f64) -> (TokenBucket, Instant) {
        let now = Instant::now();
        let settings = RateSettings { average_rate, max_burst, is_shadow: false };
        (TokenBucket::new(&settings, now), now)
    }

    /// Whether a token was there at each of these seconds.
    fn trace(average_rate: f64, max_burst: f64, at: &[f64]) -> Vec<bool> {
        let (mut bucket, start) = bucket(average_rate, max_burst);
        at.iter().map(|at| bucket.take(start + Duration::from_secs_f64(*at))).collect()
    }

    #[test]
    fn the_default_is_unlimited_even_in_no_time() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(&RateSettings::default(), now);
        assert!((0..1000).all(|_| bucket.take(now)));
        assert_eq!(trace(f64::INFINITY, 1.0, &[0.0, 0.0, 0.0]), [true; 3]);
    }

    #[test]
    fn a_tenth_a_second_delays_the_first_by_nine_seconds() {
        let at = [0.0, 4.0, 8.9, 9.0, 9.1, 18.9, 19.0];
        let expected = [false, false, false, true, false, false, true];
        assert_eq!(trace(0.1, f64::INFINITY, &at), expected);
    }

    #[test]
    fn a_rate_of_zero_forbids_for_ever() {
        assert_eq!(trace(0.0, f64::INFINITY, &[0.0, 1.0, 1e9]), [false; 3]);
    }

    #[test]
    fn starts_with_the_rate_and_saves_up_to_the_burst() {
        // n2: 0.5 a second, 3 at most.
        assert_eq!(trace(0.5, 3.0, &[0.0, 0.9, 1.0]), [false, false, true]);
        let late = [100.0, 100.0, 100.0, 100.0, 102.0, 103.9, 104.0];
        assert_eq!(trace(0.5, 3.0, &late), [true, true, true, false, true, false, true]);
        // More than the burst at the start is worth the burst.
        assert_eq!(trace(5.0, 1.0, &[0.0, 0.0]), [true, false]);
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_what_was_saved(
            rate in 0.0_f64..10.0,
            burst in 1.0_f64..10.0,
            steps in proptest::collection::vec(0_u64..3_000, 1..200),
        ) {
            let (mut bucket, start) = bucket(rate, burst);
            let mut now = start;
            let mut taken = 0.0;
            for step in steps {
                now += Duration::from_millis(step);
                taken += f64::from(u8::from(bucket.take(now)));
                let most = burst.max(rate) + rate * (now - start).as_secs_f64();
                prop_assert!(taken <= most + 1e-6, "{taken} > {most}");
            }
        }
    }
}
