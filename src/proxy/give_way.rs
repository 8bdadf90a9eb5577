//! Giving way: before a worker sleeps it offers its core once to whoever waits for one.
//!
//! Those are often its own clients and backends. What they send meanwhile is found without having slept; to sleep and be
//! woken again for each request costs more than the request does (docs/performance.md: two workers). But there may be
//! others, who keep a core for as long as the kernel lets them, while a sleeper would have been woken. So a long absence
//! uses up a time a hundred times as long, of which a second may be saved up; nothing is offered until it is over: long
//! absences together are a hundredth of the time, a second's worth and the last one at most, whoever the others are. What is
//! saved up is for single ones, which a host that is shared brings along: they are nobody's habit.
//!
//! An offer that nobody takes costs a system call and two looks at the clock, a fortieth of a lonely request. A worker whose
//! offers hardly anybody takes, because it has its core for itself, therefore makes few.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use tokio::time::Instant;

/// An absence that counts as long: less than a busy process gets at a time (Linux: 2.8 to 4 ms), more than our own peers
/// take for what they have. In nanoseconds, as all times here.
const LONG: u64 = 2_000_000;

/// Long absences are one part in so many of the time, so that over some seconds none shows in a 99th percentile.
const SHARE: u64 = 100;

/// Time that may be saved up: three or four long absences at once.
const SAVED: u64 = 1_000_000_000;

/// Of a longer absence no more is charged: the machine stood still, and nobody here is to blame.
const MOST: u64 = 100_000_000;

/// An absence from which on an offer was taken: another thread has run. Without one the call takes half of it. An interrupt
/// looks the same; on a core that has very many of them offers stay as frequent as they are.
const TAKEN: u64 = 3_000;

/// Offers that nobody takes before they become rare: a tenth of a second of a worker that sleeps often. Many, because
/// neighbours who share several cores are now and then all on the others.
const TRIES: u32 = 1024;

/// One that is taken outweighs so many: offers stay as they are while one in 64 is taken. Fewer are interrupts.
const WEIGHT: u32 = 64;

/// Sleeps for each rare offer.
const RARELY: u32 = 32;

/// One worker's. Nobody shares it: the runtime wants what it calls to be `Sync`.
#[derive(Debug)]
pub(super) struct GiveWay {
    started: Instant,
    /// So far the time is used up; nothing is offered before. Nanoseconds after `started`.
    used: AtomicU64,
    /// Offers that nobody took less those that were taken, weighed; up to [`TRIES`].
    declined: AtomicU32,
    /// Sleeps since an offer was last thought of.
    slept: AtomicU32,
}

impl GiveWay {
    pub(super) fn new() -> Self {
        let (used, declined, slept) = Default::default();
        Self { started: Instant::now(), used, declined, slept }
    }

    /// Call when nothing is left to do.
    pub(super) fn before_sleep(&self) {
        if self.is_rare() {
            return;
        }
        let begun = self.now();
        if self.may_offer(begun) {
            rustix::thread::sched_yield();
            self.was_away(begun, self.now());
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// True when offers have become rare, and none is due.
    fn is_rare(&self) -> bool {
        let slept = self.slept.load(Ordering::Relaxed).saturating_add(1);
        let is_rare = self.declined.load(Ordering::Relaxed) >= TRIES && slept < RARELY;
        self.slept.store(if is_rare { slept } else { 0 }, Ordering::Relaxed);
        is_rare
    }

    fn may_offer(&self, now: u64) -> bool {
        now >= self.used.load(Ordering::Relaxed)
    }

    fn was_away(&self, from: u64, to: u64) {
        let away = to.saturating_sub(from);
        if away >= LONG {
            let used = self.used.load(Ordering::Relaxed).max(to.saturating_sub(SAVED));
            let charge = away.min(MOST).saturating_mul(SHARE);
            self.used.store(used.saturating_add(charge), Ordering::Relaxed);
        }
        let is_taken = away >= TAKEN;
        let declined = self.declined.load(Ordering::Relaxed);
        let declined = if is_taken { declined.saturating_sub(WEIGHT) } else { declined + 1 };
        self.declined.store(declined.min(TRIES), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn long_absences_are_a_hundredth_of_the_time_and_short_ones_are_free() {
        let way = GiveWay::new();
        way.was_away(10, 2 * MS);
        assert!(way.may_offer(2 * MS));
        way.was_away(2 * MS, 5 * MS);
        assert!(!way.may_offer(300 * MS - 1));
        assert!(way.may_offer(300 * MS));
    }

    #[test]
    fn a_few_long_absences_after_a_good_while_are_free_and_many_are_not() {
        let way = GiveWay::new();
        let mut now = 60_000 * MS;
        let (mut away, mut at_once) = (0, 0);
        // Who takes an offer keeps the core for 3 ms; else a millisecond passes.
        for _ in 0..10_000 {
            let is_made = way.may_offer(now);
            let lasts = if is_made { 3 * MS } else { MS };
            if is_made {
                way.was_away(now, now + lasts);
                away += lasts;
            }
            now += lasts;
            at_once += u32::from(is_made && now <= 60_020 * MS);
            let allowed = (now - 60_000 * MS + 1_000 * MS) / SHARE + 3 * MS;
            assert!(away <= allowed, "{away} of {allowed}");
        }
        assert_eq!(at_once, 4);
    }

    #[test]
    fn offers_are_rare_where_hardly_anybody_takes_them() {
        let way = GiveWay::new();
        let offers = |sleeps: u32, away: u64| {
            let offered = (0..sleeps).filter(|_| !way.is_rare());
            offered.map(|_| way.was_away(0, away)).count()
        };
        let all = TRIES as usize;
        assert_eq!(offers(TRIES, 1_000), all);
        assert_eq!(offers(10 * RARELY, 1_000), 10);
        // One is taken: some are made again. If nobody takes them either, they are as rare as before.
        assert_eq!(offers(RARELY, 10_000), 1);
        assert_eq!(offers(WEIGHT + 10 * RARELY, 1_000), WEIGHT as usize + 10);
        // More are: all are made.
        assert_eq!(offers(RARELY + 20, 10_000), 1 + 20);
        assert_eq!(offers(TRIES, 1_000), all);
    }
}
