//! When the sessions of a backend are ended: because it went down, or because it was removed.
//!
//! The pool task alone decides. It raises the backend's [`Mark`] after the snapshot without the backend is in force, and
//! tells the workers, who wake the sessions of the service; each compares the mark with the one its lease began with. A
//! backend that comes back is the same one, and its new sessions begin with the new mark.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Why sessions are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its checks took it down: `on-marked-down shutdown-sessions`.
    Down,
    /// Discovery removed it: `on_remove: kill`, or the end of `drain`.
    Removed,
}

/// How often the sessions of a backend have been ended, and why the last time. Raised by the pool task only, read by
/// whoever holds a lease: one relaxed load.
#[derive(Debug, Default)]
pub struct Mark(AtomicU32);

/// What a mark was at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen(u32);

impl Mark {
    /// The mark now.
    pub(super) fn seen(&self) -> Seen {
        Seen(self.0.load(Ordering::Relaxed))
    }

    /// Why sessions that began at `before` are to end, if they are.
    pub(super) fn since(&self, before: Seen) -> Option<Reason> {
        let now = self.0.load(Ordering::Relaxed);
        let reason = if now & 1 == 0 { Reason::Down } else { Reason::Removed };
        (now != before.0).then_some(reason)
    }

    /// Ends the sessions there are.
    pub(super) fn raise(&self, reason: Reason) {
        let next = (self.0.load(Ordering::Relaxed) | 1).wrapping_add(1);
        self.0.store(next | u32::from(reason == Reason::Removed), Ordering::Relaxed);
    }
}

/// What becomes of the sessions of a backend that discovery removes. It is never picked again, in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnRemove {
    /// They go on until either side ends them. The default, as with the original and haproxy's reload.
    #[default]
    Keep,
    /// They have [`Removal::drain_time`] to end by themselves.
    Drain,
    /// They are ended at once.
    Kill,
}

/// `on_remove` and `drain_time` of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Removal {
    /// What becomes of sessions.
    pub then: OnRemove,
    /// From the removal until sessions are ended, with [`OnRemove::Drain`]. Default [`DRAIN_TIME`].
    pub drain_time: Duration,
}

/// As long as a terminating pod has by default (Kubernetes, `terminationGracePeriodSeconds`): its registration goes when
/// that time begins, and after it nobody is there to talk to.
pub const DRAIN_TIME: Duration = Duration::from_secs(30);

impl Default for Removal {
    fn default() -> Self {
        Self { then: OnRemove::Keep, drain_time: DRAIN_TIME }
    }
}

impl Removal {
    /// How long sessions may still last; `None`: for ever.
    pub fn grace(&self) -> Option<Duration> {
        match self.then {
            OnRemove::Keep => None,
            OnRemove::Drain => Some(self.drain_time),
            OnRemove::Kill => Some(Duration::ZERO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_ends_what_began_before_it_and_says_why() {
        let mark = Mark::default();
        let first = mark.seen();
        assert_eq!(mark.since(first), None);
        for reason in [Reason::Removed, Reason::Down, Reason::Down, Reason::Removed] {
            let before = mark.seen();
            mark.raise(reason);
            assert_eq!(mark.since(before), Some(reason));
            assert_eq!(mark.since(first), Some(reason));
            assert_eq!(mark.since(mark.seen()), None);
        }
    }

    #[test]
    fn grace_is_what_the_setting_says() {
        let with = |then| Removal { then, drain_time: Duration::from_secs(7) }.grace();
        assert_eq!(with(OnRemove::Keep), None);
        assert_eq!(with(OnRemove::Drain), Some(Duration::from_secs(7)));
        assert_eq!(with(OnRemove::Kill), Some(Duration::ZERO));
        assert_eq!(Removal::default().grace(), None);
    }
}
