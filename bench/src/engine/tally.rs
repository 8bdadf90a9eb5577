//! What clients and origins count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the clients of a world have seen since the last reset.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Complete exchanges.
    pub(crate) done: u64,
    /// The same, whenever they were.
    pub(crate) total: u64,
    /// Bytes of bulk transfers.
    pub(crate) bytes: u64,
    /// Refused, reset, cut off, not a 200, or too late.
    pub(crate) errors: u64,
    /// The first of them in words.
    pub(crate) first_error: Option<String>,
    /// Nanoseconds of each exchange.
    latencies: Vec<u64>,
}

impl Tally {
    /// Counts an exchange.
    pub(crate) fn exchange(&mut self, latency: Duration) {
        self.done += 1;
        self.total += 1;
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.push(nanos);
    }

    /// Counts a failure.
    pub(crate) fn fail(&mut self, why: &str) {
        self.errors += 1;
        if self.first_error.is_none() {
            self.first_error = Some(why.to_owned());
        }
    }

    /// Forgets everything but failures and totals: those of the warm-up count too.
    pub(crate) fn begin(&mut self) {
        self.done = 0;
        self.bytes = 0;
        self.latencies.clear();
    }

    /// The latency that `percent` of the exchanges do not exceed (nearest rank); zero without any.
    pub(crate) fn latency(&mut self, percent: f64) -> Duration {
        self.latencies.sort_unstable();
        let at = rank(self.latencies.len(), percent);
        Duration::from_nanos(self.latencies.get(at).copied().unwrap_or(0))
    }
}

/// Index of the value that `percent` of `len` sorted values do not exceed.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a count of samples"
)]
fn rank(len: usize, percent: f64) -> usize {
    let rank = (len as f64 * percent / 100.0).ceil() as usize;
    rank.max(1) - 1
}

/// What each origin has been asked. Written by the load's thread, read by anyone.
#[derive(Debug)]
pub(crate) struct Seen {
    base: Instant,
    origins: Vec<Asked>,
}

/// Requests at one origin, checks excluded.
#[derive(Debug, Default)]
struct Asked {
    count: AtomicU64,
    /// Nanoseconds after the base, of the first since the mark; 0: none.
    first: AtomicU64,
    last: AtomicU64,
}

impl Seen {
    /// For so many origins.
    pub(crate) fn new(origins: usize) -> Self {
        Self { base: Instant::now(), origins: (0..origins).map(|_| Asked::default()).collect() }
    }

    /// A request at an origin, now.
    pub(crate) fn request(&self, origin: usize) {
        let Some(asked) = self.origins.get(origin) else {
            return;
        };
        let now = u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX);
        asked.last.store(now, Ordering::Relaxed);
        if asked.first.load(Ordering::Relaxed) == 0 {
            asked.first.store(now, Ordering::Relaxed);
        }
        asked.count.fetch_add(1, Ordering::Release);
    }

    /// The next request is the first again.
    pub(crate) fn mark(&self, origin: usize) {
        if let Some(asked) = self.origins.get(origin) {
            asked.first.store(0, Ordering::Relaxed);
        }
    }

    /// Requests so far.
    pub(crate) fn count(&self, origin: usize) -> u64 {
        let asked = self.origins.get(origin);
        asked.map_or(0, |a| a.count.load(Ordering::Acquire))
    }

    /// The first request since the mark.
    pub(crate) fn first(&self, origin: usize) -> Option<Instant> {
        self.time(self.origins.get(origin)?.first.load(Ordering::Relaxed))
    }

    /// The last request.
    pub(crate) fn last(&self, origin: usize) -> Option<Instant> {
        self.time(self.origins.get(origin)?.last.load(Ordering::Relaxed))
    }

    fn time(&self, nanos: u64) -> Option<Instant> {
        (nanos != 0).then(|| self.base + Duration::from_nanos(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut tally = Tally::default();
        for ms in (1..=20).rev() {
            tally.exchange(Duration::from_millis(ms));
        }
        assert_eq!(tally.latency(50.0), Duration::from_millis(10));
        assert_eq!(tally.latency(99.0), Duration::from_millis(20));
        tally.begin();
        assert_eq!(tally.latency(99.0), Duration::ZERO);
    }

    #[test]
    fn the_first_request_is_the_first_since_the_mark() {
        let seen = Seen::new(1);
        assert_eq!(seen.first(0), None);
        seen.request(0);
        let first = seen.first(0).unwrap();
        seen.request(0);
        assert_eq!(seen.first(0), Some(first));
        seen.mark(0);
        assert_eq!(seen.first(0), None);
        seen.request(0);
        assert!(seen.first(0).unwrap() >= first);
        assert_eq!(seen.count(0), 3);
    }
}
