//! Who waits, in which order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Weak;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::oneshot;

use crate::lb::BackendId;
use crate::lb::backend::Backend;
use crate::lb::lease::Grant;

/// How long a line is and has been.
#[derive(Debug, Default)]
pub(in crate::lb) struct Depth {
    now: AtomicU32,
    most: AtomicU32,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Counts arrivals; who has the lower number comes first.
    pub(super) arrivals: u64,
    pub(super) common: Line,
    pub(super) bound: HashMap<BackendId, Line>,
}

#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) waiting: BTreeMap<u64, Waiter>,
    /// Whose it is; of nobody for the line of the service.
    pub(super) server: Weak<Backend>,
    /// Served from this line so far, wrapping.
    pub(super) served: u32,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) slot: oneshot::Sender<Served>,
    /// [`Line::served`] when it came.
    pub(super) came_at: u32,
}

#[derive(Debug)]
pub(super) struct Served {
    pub(super) grant: Grant,
    pub(super) ahead: Ahead,
}

/// Who was served before, as haproxy counts in `%sq/%bq`: itself included, so 0 means that it did not wait there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// In the line of its server.
    pub server: u32,
    /// In the line of the service.
    pub backend: u32,
}

impl Depth {
    pub(in crate::lb) fn get(&self) -> (u32, u32) {
        (self.now.load(Ordering::Relaxed), self.most.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, line: &Line) {
        let length = u32::try_from(line.waiting.len()).unwrap_or(u32::MAX);
        self.now.store(length, Ordering::Relaxed);
        self.most.fetch_max(length, Ordering::Relaxed);
    }
}

impl Line {
    pub(super) fn first(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|(arrival, _)| *arrival)
    }

    /// Whom a waiter that leaves now had before it.
    pub(super) fn turn(&self, waiter: &Waiter) -> u32 {
        self.served.wrapping_sub(waiter.came_at).wrapping_add(1)
    }

    /// Forgets those at the head that have left already.
    pub(super) fn skip_gone(&mut self) -> u32 {
        let mut gone = 0;
        while let Some(first) = self.waiting.first_entry()
            && first.get().slot.is_closed()
        {
            drop(first.remove());
            gone += 1;
        }
        gone
    }

    /// Gives the first one its slot; the slot comes back when that one has left meanwhile. `is_bound`: the line is a
    /// server's.
    pub(super) fn give(&mut self, grant: Grant, is_bound: bool) -> Option<Grant> {
        let Some((_, waiter)) = self.waiting.pop_first() else {
            return Some(grant);
        };
        let turn = self.turn(&waiter);
        self.served = self.served.wrapping_add(1);
        let ahead = match is_bound {
            true => Ahead { server: turn, backend: 0 },
            false => Ahead { server: 0, backend: turn },
        };
        waiter.slot.send(Served { grant, ahead }).err().map(|back| back.grant)
    }
}
