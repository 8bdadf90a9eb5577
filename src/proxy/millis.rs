//! Time of one worker thread, as coarse as its time-outs are.

use std::time::Duration;

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
