//! Giving way: before a worker sleeps it offers its core once to whoever waits for one.
//!
//! Those are often its own clients and backends. What they send meanwhile is found without having slept; to sleep and be
//! woken again for each request costs more than the request does (docs/performance.md: two workers). But there may be
//! others, who keep a core for as long as the kernel lets them, while a sleeper would have been woken. So a long absence
//! is followed by a time a hundred times as long in which nothing is offered: long absences together are a hundredth of the
//! time at most, whoever the others are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// An absence that counts as long: less than a busy process gets at a time (Linux: 2.8 to 4 ms), more than our own peers
/// take for what they have.
pub(super) const LONG: Duration = Duration::from_millis(2);

/// Long absences are one part in so many of the time, so that none shows in a 99th percentile.
const SHARE: u64 = 100;

/// One worker's. Nobody shares it: the runtime wants what it calls to be `Sync`.
#[derive(Debug)]
pub(super) struct GiveWay {
    started: Instant,
    /// Nothing is offered before; microseconds after `started`.
    again: AtomicU64,
}

impl GiveWay {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), again: AtomicU64::new(0) }
    }

    /// Call when nothing is left to do.
    pub(super) fn before_sleep(&self) {
        let begun = self.now();
        if self.may_offer(begun) {
            rustix::thread::sched_yield();
            self.was_away(begun, self.now());
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn may_offer(&self, now: u64) -> bool {
        now >= self.again.load(Ordering::Relaxed)
    }

    fn was_away(&self, from: u64, to: u64) {
        let away = to.saturating_sub(from);
        if u128::from(away) >= LONG.as_micros() {
            self.again.store(to.saturating_add(away.saturating_mul(SHARE)), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_absences_are_a_hundredth_of_the_time_and_short_ones_are_free() {
        let way = GiveWay::new();
        way.was_away(10, 1_990);
        assert!(way.may_offer(1_990));
        way.was_away(2_000, 5_000);
        assert!(!way.may_offer(5_000 + 299_999));
        assert!(way.may_offer(5_000 + 300_000));
    }
}
