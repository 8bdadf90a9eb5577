//! Log lines about unusable children: the first by name, the rest as a number, so that ten thousand of them stay readable.

use tracing::warn;

use super::children::shown;
use crate::discovery::MAX_SHOWN_MALFORMED;

/// Logs unusable children: the first by name, the rest as a number.
pub(super) struct Faults<'a> {
    parent: &'a str,
    count: usize,
}

impl<'a> Faults<'a> {
    pub(super) fn new(parent: &'a str) -> Self {
        Self { parent, count: 0 }
    }

    pub(super) fn log(&mut self, name: &str, reason: &str) {
        self.count += 1;
        if self.count <= MAX_SHOWN_MALFORMED {
            warn!(path = self.parent, child = shown(name), reason, "unusable registration skipped");
        }
    }

    pub(super) fn summarise(&self) {
        if let Some(more @ 1..) = self.count.checked_sub(MAX_SHOWN_MALFORMED) {
            warn!(path = self.parent, more, "more unusable registrations skipped");
        }
    }
}
