//! Time of one worker thread, as coarse as its time-outs are.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// A time on the wheel: milliseconds since the worker started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Millis(pub(crate) u64);

impl Millis {
    /// Later than anything: no deadline.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// `self` and so long.
    pub(crate) fn after(self, time: Duration) -> Self {
        // Rounded up: a deadline is never early.
        let millis = u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// `self` and so long, or never.
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
}

impl Clock {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { started: now, seen: Cell::new(now) }
    }

    /// Looks.
    pub(crate) fn tick(&self) -> Millis {
        self.seen.set(Instant::now());
        self.now()
    }

    /// The time of the last look.
    pub(crate) fn now(&self) -> Millis {
        let since = self.seen.get().saturating_duration_since(self.started);
        Millis(since.as_secs() * 1000 + u64::from(since.subsec_millis()))
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
