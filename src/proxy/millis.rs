//! Time of one worker thread, as coarse as its time-outs are.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A time on the wheel: whole milliseconds since the worker started, rounded down. What it stands for was up to one later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Millis(pub(crate) u64);

impl Millis {
    /// Later than anything: no deadline.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// When so long has passed for certain since what `self` stands for: up to 2 ms after that, never before. No time at
    /// all has passed at once.
    pub(crate) fn after(self, time: Duration) -> Self {
        if time.is_zero() {
            return self;
        }
        let whole = time.as_secs().saturating_mul(1000);
        let rest = u64::from(time.subsec_nanos().div_ceil(1_000_000));
        // `self` was rounded down, and so will be the time that is compared with this one.
        Self(self.0.saturating_add(whole).saturating_add(rest + 1))
    }

    /// Milliseconds from `earlier` until `self`; as many as a log can show.
    pub(crate) fn since(self, earlier: Self) -> u32 {
        u32::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(u32::MAX)
    }

    /// [`Millis::after`] so long, or never.
    pub(crate) fn after_or_never(self, time: Option<Duration>) -> Self {
        time.map_or(Self::NEVER, |time| self.after(time))
    }
}

/// A clock that is looked at when something has come, not for every note of the time: between two reads of a socket
/// nothing waits, so no time passes that matters.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    seen: Cell<Instant>,
    /// `seen` on this clock: asked for several times per request.
    now: Cell<Millis>,
    /// Unix time in ms at `started`, as the system's clock had it at the last [`Clock::correct`].
    anchor: Cell<u64>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let (seen, now_here) = (Cell::new(now), Cell::default());
        let clock = Self { started: now, seen, now: now_here, anchor: Cell::new(0) };
        clock.correct();
        clock
    }

    /// Looks at the system's clock, which may have been set meanwhile. Called at every tick of the worker: times in logs
    /// follow a stepped clock within a second, and cost no look of their own.
    pub(crate) fn correct(&self) {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let unix = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        self.anchor.set(unix.saturating_sub(self.tick().0));
    }

    /// A time as Unix time in ms.
    pub(crate) fn unix(&self, time: Millis) -> u64 {
        self.anchor.get().saturating_add(time.0)
    }

    /// A time of the runtime's on this clock, rounded down.
    pub(crate) fn of(&self, time: Instant) -> Millis {
        let since = time.saturating_duration_since(self.started);
        Millis(since.as_secs() * 1000 + u64::from(since.subsec_millis()))
    }

    /// Looks.
    pub(crate) fn tick(&self) -> Millis {
        let seen = Instant::now();
        let now = self.of(seen);
        self.seen.set(seen);
        self.now.set(now);
        now
    }

    /// The time of the last look.
    pub(crate) fn now(&self) -> Millis {
        self.now.get()
    }

    /// The same, exactly.
    pub(crate) fn instant(&self) -> Instant {
        self.seen.get()
    }

    /// A time as the runtime's.
    pub(crate) fn at(&self, time: Millis) -> Option<Instant> {
        self.started.checked_add(Duration::from_millis(time.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_set_late_within_a_millisecond_is_not_early() {
        for (time, latest) in [(10_000, 11_000), (9_300, 11_000), (1, 2_000)] {
            let clock = Clock::new();
            tokio::time::advance(Duration::from_micros(5_900)).await;
            let deadline = clock.tick().after(Duration::from_micros(time));
            tokio::time::advance(Duration::from_micros(time - 1)).await;
            assert!(clock.tick() < deadline, "{time} us");
            tokio::time::advance(Duration::from_micros(latest - time + 1)).await;
            assert!(clock.tick() >= deadline, "{time} us");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_time_at_all_has_passed_at_once() {
        let clock = Clock::new();
        tokio::time::advance(Duration::from_micros(900)).await;
        assert_eq!(clock.tick().after(Duration::ZERO), clock.now());
    }

    #[test]
    fn what_is_too_long_for_the_clock_is_never() {
        assert_eq!(Millis(5).after(Duration::MAX), Millis::NEVER);
        assert_eq!(Millis::NEVER.after(Duration::from_millis(1)), Millis::NEVER);
        assert_eq!(Millis(5).after_or_never(None), Millis::NEVER);
    }
}
