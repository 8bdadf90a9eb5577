//! What bounds a member besides a fixed `maxconn`, as haproxy computes it.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use super::backend::Slot;
use super::queue::Queue;

/// Of one member. The default bounds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `minconn` and `fullconn`. Default none: `maxconn` is the limit at any load.
    pub elastic: Option<Elastic>,
    /// `maxqueue`: requests that may wait for this member and no other. Default `None`: any number.
    pub max_queue: Option<NonZeroU32>,
    /// How much of its share it takes. Default all.
    pub ramp: Ramp,
}

/// `minconn N` with `fullconn M`: the limit of a server grows with the load of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elastic {
    /// `minconn`: the least limit.
    pub min: NonZeroU32,
    /// `fullconn`: requests in the service, waiting ones included, from which on the limit is `maxconn`.
    pub full: NonZeroU32,
}

impl Elastic {
    /// The limit now of a server with `maxconn max`.
    pub(super) fn limit(self, max: u32, slot: &Slot, busy: Option<&Busy>) -> u32 {
        let min = self.min.get();
        if min >= max || slot.get() < min {
            // The load decides nothing: it is not looked up.
            return max;
        }
        self.at(max, busy.map_or_else(|| slot.queue.busy(), |busy| busy.of(&slot.queue)))
    }

    /// The limit with `busy` requests in the service.
    fn at(self, max: u32, busy: u32) -> u32 {
        let full = self.full.get();
        if busy >= full {
            return max;
        }
        let share = u64::from(busy) * u64::from(max) / u64::from(full);
        u32::try_from(share).unwrap_or(max).max(self.min.get())
    }
}

/// The load of a service, `Queue::busy`, for one pick: many members ask for it, and it is a sum over all counters.
/// Looked up when the first one asks.
#[derive(Debug)]
pub struct Busy(AtomicU32);

/// No load: nobody has that many requests.
const UNKNOWN: u32 = u32::MAX;

impl Default for Busy {
    fn default() -> Self {
        Self(AtomicU32::new(UNKNOWN))
    }
}

impl Busy {
    fn of(&self, queue: &Queue) -> u32 {
        let known = self.0.load(Ordering::Relaxed);
        if known != UNKNOWN {
            return known;
        }
        let busy = queue.busy();
        self.0.store(busy, Ordering::Relaxed);
        busy
    }
}

/// How far a server is in its slow start, in sixteenths: haproxy's steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ramp(u8);

impl Default for Ramp {
    fn default() -> Self {
        Self::FULL
    }
}

impl Ramp {
    /// All of its share.
    pub const FULL: Self = Self(16);

    /// After `elapsed` of `whole` seconds.
    pub fn at(elapsed: u64, whole: u64) -> Self {
        let full = u64::from(Self::FULL.0);
        if elapsed >= whole {
            return Self::FULL;
        }
        let steps = (full * elapsed + whole) / whole;
        Self(u8::try_from(steps.clamp(1, full)).unwrap_or(Self::FULL.0))
    }

    /// haproxy's `throttle`: percent of its share, rounded up.
    pub fn percent(self) -> u64 {
        (100 * u64::from(self.0)).div_ceil(u64::from(Self::FULL.0))
    }

    /// 1 to 16.
    pub fn sixteenths(self) -> u64 {
        u64::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_follows_the_load_from_minconn_to_maxconn() {
        let nz = |n| NonZeroU32::new(n).unwrap();
        let elastic = Elastic { min: nz(10), full: nz(1000) };
        for (busy, limit) in [(0, 10), (100, 10), (200, 20), (999, 99), (1000, 100), (5000, 100)] {
            assert_eq!(elastic.at(100, busy), limit, "{busy}");
        }
    }

    #[test]
    fn a_slow_start_is_linear_from_the_first_step() {
        let steps: Vec<_> = [0, 1, 5, 10, 15, 19, 20, 99].map(|s| Ramp::at(s, 20).0).into();
        assert_eq!(steps, [1, 1, 5, 9, 13, 16, 16, 16]);
        assert_eq!(Ramp::at(0, 0), Ramp::FULL);
    }
}
