//! How much was read, for tests that bound it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counted by every read through the session.
#[derive(Debug, Default)]
pub(super) struct Reads {
    lists: AtomicU64,
    nodes: AtomicU64,
}

impl Reads {
    /// A list of children was read.
    pub(super) fn list(&self) {
        self.lists.fetch_add(1, Ordering::Relaxed);
    }

    /// So many nodes were read.
    pub(super) fn nodes(&self, count: u64) {
        self.nodes.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> ReadCounts {
        ReadCounts {
            lists: self.lists.load(Ordering::Relaxed),
            nodes: self.nodes.load(Ordering::Relaxed),
        }
    }
}

/// How much was read through the session, for tests that bound it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadCounts {
    /// Lists of children.
    pub lists: u64,
    /// Nodes read by `read_many`.
    pub nodes: u64,
}
