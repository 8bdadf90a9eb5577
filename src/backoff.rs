//! Waiting times between attempts: validated, capped, jittered, pure. Nobody else sleeps in a loop.

use std::time::Duration;

/// Exponential back-off with full jitter in its upper half.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// First wait about `base`, doubling up to `cap`. A zero `base` becomes 1 ms (no busy loop by accident).
    pub fn new(base: Duration, cap: Duration) -> Self {
        let base = base.max(Duration::from_millis(1));
        Self { base, cap: cap.max(base), attempt: 0 }
    }

    /// The next wait: between half and all of `min(cap, base * 2^n)`.
    pub fn next_delay(&mut self) -> Duration {
        let full = self.base.saturating_mul(2_u32.saturating_pow(self.attempt)).min(self.cap);
        self.attempt = self.attempt.saturating_add(1);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// Attempts since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_zero_and_never_above_the_cap(base in 0_u64..5_000, cap in 1_u64..60_000, n in 0_usize..80) {
            let mut backoff = Backoff::new(Duration::from_millis(base), Duration::from_millis(cap));
            for _ in 0..n {
                let delay = backoff.next_delay();
                prop_assert!(delay > Duration::ZERO);
                prop_assert!(delay <= Duration::from_millis(cap.max(base).max(1)));
            }
        }
    }
}
