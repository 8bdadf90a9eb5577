//! How many connections are open to a backend, over all workers, and whether idle ones are to make room.
//!
//! Each worker keeps idle connections for itself. A server that serves few at a time, with a thread for each, does not take up
//! a new one while its threads look after idle ones of other workers. A connection that is held up there pleads for room,
//! and one idle connection ends, whoever's, as long as more are open than the backend's `maxconn`. A plea ends with what it
//! is for: nothing is closed for a connection that is held up no more. Counted per connection, not per request.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The connections to one backend. A cache line of its own: connections look at it whenever they become idle, and only a crowd
/// writes to it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Crowd {
    open: AtomicU32,
    /// The backend's `maxconn`; 0: it has none. Written by the pool task only.
    max: AtomicU32,
    /// [`Pleas`], in one word.
    pleas: AtomicU64,
}

/// Who pleads, and what for. `wanted` is never more than `held_up`.
#[derive(Clone, Copy, Debug, Default)]
struct Pleas {
    /// Connections that are held up.
    held_up: u32,
    /// Idle connections that are to end for them.
    wanted: u32,
}

impl Crowd {
    /// The backend's `maxconn`, without slow start: how many it can serve at a time.
    pub(crate) fn set_max(&self, max: Option<NonZeroU32>) {
        self.max.store(max.map_or(0, NonZeroU32::get), Ordering::Relaxed);
    }

    /// Counts an open connection until it is dropped.
    pub fn enter(self: &Arc<Self>) -> Counted {
        self.open.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(self))
    }

    /// True when the backend has a `maxconn` and as many connections: one of them may be held up.
    pub fn is_full(&self) -> bool {
        self.compare(|open, max| open >= max)
    }

    /// A connection is held up.
    pub fn plead(self: &Arc<Self>) -> Plea {
        self.change(|it| Pleas { held_up: it.held_up + 1, wanted: it.wanted + 1 });
        Plea(Arc::clone(self))
    }

    /// True when an idle connection is to end. One relaxed load where nobody pleads.
    pub fn wants_room(&self) -> bool {
        Pleas::from(self.pleas.load(Ordering::Relaxed)).wanted > 0
            && self.compare(|open, max| open > max)
    }

    /// True when the caller's connection, which is idle, is to end: once for each that is wanted.
    pub fn takes_room(&self) -> bool {
        let one_less = |word| {
            let it = Pleas::from(word);
            it.wanted.checked_sub(1).map(|wanted| Pleas { wanted, ..it }.into())
        };
        self.wants_room()
            && self.pleas.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    /// False without a `maxconn`.
    fn compare(&self, is_so: impl Fn(u32, u32) -> bool) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        max > 0 && is_so(self.open.load(Ordering::Relaxed), max)
    }

    fn change(&self, changed: impl Fn(Pleas) -> Pleas) {
        let change = |word| Some(changed(Pleas::from(word)).into());
        // It is never refused.
        let _before = self.pleas.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }
}

impl From<u64> for Pleas {
    #[expect(clippy::cast_possible_truncation, reason = "both halves of the word")]
    fn from(word: u64) -> Self {
        Self { held_up: (word >> 32) as u32, wanted: word as u32 }
    }
}

impl From<Pleas> for u64 {
    fn from(it: Pleas) -> Self {
        Self::from(it.held_up) << 32 | Self::from(it.wanted)
    }
}

/// One open connection.
#[derive(Debug)]
pub struct Counted(Arc<Crowd>);

impl Counted {
    /// The connections to the same backend.
    pub fn crowd(&self) -> &Arc<Crowd> {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection that is held up, as long as it is.
#[derive(Debug)]
pub struct Plea(Arc<Crowd>);

impl Plea {
    /// One idle connection is to end, or another if one has: what ended may have been no help.
    pub fn repeat(&self) {
        self.0.change(|it| Pleas { wanted: it.held_up.min(it.wanted + 1), ..it });
    }
}

impl Drop for Plea {
    fn drop(&mut self) {
        self.0.change(|it| {
            let held_up = it.held_up - 1;
            Pleas { held_up, wanted: it.wanted.min(held_up) }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(max: u32) -> Arc<Crowd> {
        let crowd = Arc::<Crowd>::default();
        crowd.set_max(NonZeroU32::new(max));
        crowd
    }

    #[test]
    fn one_connection_ends_for_each_that_is_held_up() {
        let crowd = crowd(1);
        assert!(!crowd.is_full());
        let connections: Vec<_> = (0..4).map(|_| crowd.enter()).collect();
        assert!(crowd.is_full() && !crowd.wants_room() && !crowd.takes_room());
        let pleas = [crowd.plead(), crowd.plead()];
        assert!(crowd.takes_room() && crowd.takes_room() && !crowd.takes_room());
        // Both were no help.
        for plea in &pleas {
            plea.repeat();
            plea.repeat();
        }
        assert!(crowd.takes_room() && crowd.takes_room() && !crowd.takes_room());
        drop((connections, pleas));
    }

    #[test]
    fn nothing_ends_for_what_is_held_up_no_more() {
        let crowd = crowd(1);
        let _connections = [crowd.enter(), crowd.enter()];
        drop(crowd.plead());
        assert!(!crowd.wants_room());
        let others = crowd.plead();
        let plea = crowd.plead();
        assert!(crowd.takes_room());
        // Whichever it was for: the other is held up still.
        drop(plea);
        assert!(crowd.takes_room() && !crowd.takes_room());
        drop(others);
        assert_eq!(crowd.pleas.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_backend_that_can_serve_all_keeps_them() {
        let crowd = crowd(2);
        let connections = [crowd.enter(), crowd.enter()];
        let _plea = crowd.plead();
        assert!(!crowd.wants_room() && !crowd.takes_room(), "as many as it serves at a time");
        let third = crowd.enter();
        assert!(crowd.wants_room());
        crowd.set_max(None);
        assert!(!crowd.wants_room() && !crowd.is_full());
        crowd.set_max(NonZeroU32::new(2));
        drop(third);
        assert!(!crowd.takes_room());
        drop(connections);
        assert_eq!(crowd.open.load(Ordering::Relaxed), 0);
    }
}
