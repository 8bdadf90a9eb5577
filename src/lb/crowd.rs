//! How many connections are open to a backend, over all workers, and whether idle ones are to make room.
//!
//! Each worker keeps idle connections for itself. A server that serves few at a time, with a thread for each, does not take up
//! a new one while its threads look after idle ones of other workers. Whoever waits there says so here, and each word ends
//! one idle connection, whoever's. Counted per connection, not per request.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The connections to one backend.
#[derive(Debug, Default)]
pub struct Crowd {
    open: AtomicU32,
    /// Idle connections that are to end.
    wanted: AtomicU32,
}

impl Crowd {
    /// Counts an open connection until it is dropped.
    pub fn enter(self: &Arc<Self>) -> Standing {
        self.open.fetch_add(1, Ordering::Relaxed);
        Standing(Arc::clone(self))
    }

    /// True when more are open than the backend's `maxconn`, if it has one.
    pub fn is_beyond(&self, max: Option<NonZeroU32>) -> bool {
        max.is_some_and(|max| self.open.load(Ordering::Relaxed) > max.get())
    }

    /// One idle connection is to end.
    pub fn ask_for_room(&self) {
        self.wanted.fetch_add(1, Ordering::Relaxed);
    }
}

/// One open connection.
#[derive(Debug)]
pub struct Standing(Arc<Crowd>);

impl Standing {
    /// The connections to the same backend.
    pub fn crowd(&self) -> &Arc<Crowd> {
        &self.0
    }

    /// True when this one, which is idle, is to make room: once for each that was asked for. One relaxed load if none was.
    pub fn makes_room(&self) -> bool {
        let wanted = &self.0.wanted;
        if wanted.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let one_less = |wanted: u32| wanted.checked_sub(1);
        wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_heeded_once_and_whoever_leaves_is_not_counted() {
        let crowd = Arc::<Crowd>::default();
        let one = NonZeroU32::new(1);
        let first = crowd.enter();
        assert!(!crowd.is_beyond(one) && !first.makes_room());
        let second = crowd.enter();
        assert!(
            crowd.is_beyond(one) && !crowd.is_beyond(NonZeroU32::new(2)) && !crowd.is_beyond(None)
        );
        crowd.ask_for_room();
        assert!(first.makes_room() && !second.makes_room() && !first.makes_room());
        drop(first);
        assert!(!crowd.is_beyond(one));
    }
}
